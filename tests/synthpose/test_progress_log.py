"""The log of a training: one line a step, readable after any kill, and its curves."""

import json

import numpy as np

from synthpose.progress_log import ProgressLog, draw_curves, read_log


def entry(step, loss=1.0):
    return {"step": step, "loss": loss, "parts": {"maps": loss}, "rate": 0.1, "samples_per_second": 9.0}


def test_lines_come_back_as_they_went_in(tmp_path) -> None:
    log = ProgressLog(tmp_path / "log.jsonl")
    log.write(entry(1))
    log.write({"step": 1, "validation": {"px": 2.5}})
    assert read_log(tmp_path / "log.jsonl") == [entry(1), {"step": 1, "validation": {"px": 2.5}}]
    assert read_log(tmp_path / "none.jsonl") == []


def test_numbers_are_short_and_always_json(tmp_path) -> None:
    ProgressLog(tmp_path / "log.jsonl").write({"step": 3, "loss": 1 / 3, "rate": float("nan")})
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 3, "loss": 0.333333, "rate": None}


def test_going_on_drops_what_came_after_the_checkpoint(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    log = ProgressLog(path)
    for step in (4, 8, 12, 16):
        log.write(entry(step))
    with path.open("a") as file:
        file.write('{"step": 20, "lo')
    again = ProgressLog(path, from_step=8)
    again.write(entry(12, loss=0.5))
    assert [(e["step"], e["loss"]) for e in read_log(path)] == [(4, 1.0), (8, 1.0), (12, 0.5)]
    ProgressLog(path)  # from the first step on: nothing is left
    assert read_log(path) == []


def test_processes_but_the_first_write_nothing(tmp_path) -> None:
    ProgressLog(None).write(entry(1))
    assert list(tmp_path.iterdir()) == []


def test_curves_are_drawn_from_whatever_there_is(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    log = ProgressLog(path)
    sizes = []
    for lines in (
        [],
        [entry(step, loss=10 / step) for step in range(1, 9)],
        [{"step": 8, "validation": {"px": 2.0, "px_coco": 1.5, "joint_angles": 7.0}}],
        [entry(9, loss=float("nan"))],
    ):
        for line in lines:
            log.write(line)
        draw_curves(path, tmp_path / "curves.png")
        sizes.append((tmp_path / "curves.png").read_bytes())
        assert sizes[-1][:8] == b"\x89PNG\r\n\x1a\n"
    assert len({len(one) for one in sizes[:3]}) == 3
    assert np.all([len(one) > 10_000 for one in sizes])
