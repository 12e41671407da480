"""scripts/switches.py: its statistics against scipy, its pictures, and all switches on dots for people."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from toy_people import ToyPeople

pytest.importorskip("torch")

SIZE = (64, 96)


def loaded():
    path = Path(__file__).parents[1] / "scripts" / "switches.py"
    name = "scripts_switches"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look for their module
        kept = list(sys.path)
        spec.loader.exec_module(sys.modules[name])
        sys.path[:] = kept
    return sys.modules[name]


switches = loaded()


@pytest.mark.truth("scipy")
def test_differences_are_paired_within_seeds() -> None:
    on, off = [4.1, 5.0, 3.2, 4.4], [4.9, 5.3, 4.4, 4.5]
    found = switches.effect("a", "px", on, off)
    theirs = stats.ttest_rel(on, off)
    interval = theirs.confidence_interval(0.95)
    assert found.difference == pytest.approx(np.mean(on) - np.mean(off))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.sd == pytest.approx(theirs._standard_error * 2)  # of a mean of four
    assert not stats.ttest_ind(on, off).pvalue < theirs.pvalue  # seeds vary more than the switch does


@pytest.mark.parametrize(
    ("on", "off", "word"),
    [
        ([4.0, 4.1, 4.2], [5.0, 5.1, 5.3], "helps"),
        ([5.0, 5.1, 5.3], [4.0, 4.1, 4.2], "**harms**"),
        ([4.0, 4.0, 4.0], [4.1, 5.0, 7.0], "not shown (better with every seed)"),
        ([4.1, 5.0, 7.0], [4.0, 4.0, 4.0], "not shown (worse with every seed)"),
        ([4.0, 5.0, 4.0], [4.1, 4.0, 4.1], "not shown"),
        ([4.0], [9.0], "not shown"),
        ([4.0, 5.0], [4.0, 5.0], "the same"),
    ],
)
def test_what_may_be_said(on, off, word) -> None:
    assert switches.effect("a", "px", on, off).word == word


def people(count, seed=0):
    from synthpose.feeding import Held

    made = ToyPeople(count, size=SIZE, seed=seed)
    return Held(made.skeleton, *made.batch(np.arange(count)))


def test_patches_cover_the_points_that_they_are_said_to() -> None:
    from synthpose.augment import NOTHING

    plain = people(90)
    how = NOTHING.model_copy(update={"part_drop": 1.0, "covered": switches.COVERED})
    patched = switches.changed(plain, how)
    np.testing.assert_array_equal(patched.points, plain.points)
    seen = plain.visible > 0
    assert set(np.unique(patched.visible[seen]).tolist()) == {switches.COVERED, 1.0}
    at = np.rint(plain.points).astype(int)
    rows, columns = at[..., 1].clip(0, SIZE[1] - 1), at[..., 0].clip(0, SIZE[0] - 1)
    number = np.arange(90)[:, None]
    same = (patched.pictures[number, rows, columns] == plain.pictures[number, rows, columns]).all(-1)
    covered = patched.visible == switches.COVERED
    assert covered.any(axis=1).all()  # somebody's point in every picture
    assert same[seen & ~covered].mean() > 0.97  # but for points at the very edge of a patch
    assert same[covered].mean() < 0.1
    again = switches.changed(plain, how)
    np.testing.assert_array_equal(again.pictures, patched.pictures)


@pytest.fixture
def dots(monkeypatch):
    """Dots instead of rendered people, as many."""
    seeds = {"train": 1, "test": 2, "unlabelled": 3}

    def pictures(self, name, count, **changes):
        return people(count, seeds[name])

    monkeypatch.setattr(switches.Bench, "_pictures", pictures)


def test_every_switch_runs_and_a_second_call_trains_nothing(dots, tmp_path, capsys) -> None:
    words = [str(tmp_path), "--seeds", "1", "--samples", "32", "--people", "1", "--pictures", "150"]
    assert switches.main(words) == 0
    page = capsys.readouterr().out
    found = json.loads((tmp_path / "switches.json").read_text())
    assert {one["switch"] for one in found} == {switch.name for switch in switches.SWITCHES}
    assert (tmp_path / "switches.md").read_text() in page
    logs = {path: path.read_bytes() for path in tmp_path.rglob("log.jsonl")}
    assert len(logs) >= 9
    assert switches.main(words) == 0
    assert capsys.readouterr().out == page
    assert {path: path.read_bytes() for path in tmp_path.rglob("log.jsonl")} == logs
    steps = {path.parent.name: json.loads(path.read_text())["samples"]
             for path in tmp_path.glob("*/training.json")}  # fmt: skip
    # as many on both sides of each switch: two phases of 32
    assert steps["sparse-0"] + steps["second-grown-0"] == steps["scratch-0"] == 64
    assert steps["second-new-0"] == steps["scratch-short-0"] == 32
    assert steps["part-drop-0"] == steps["no-part-drop-0"] == steps["small-0"] == 64
    first = json.loads((tmp_path / "distilled-0" / "first-stage" / "training.json").read_text())["samples"]
    assert first + steps["distilled-0"] == 64


@pytest.mark.truth("one picture at a time")
def test_scores_are_means_over_points_of_the_pictures_they_name(dots, tmp_path) -> None:
    import torch

    from synthpose import looks
    from synthpose.train import load_trained

    bench = switches.Bench(tmp_path, samples=32, people=1, pictures=150, workers=1)
    folder = switches.WHOLE(bench, 0)
    found = bench.scores(folder, tuple(switches.MEASURES))
    recipe, net = load_trained(folder)
    net.eval()
    for name, source, which in (
        ("px", bench.plain, bench.plain.visible > 0),
        ("px_patched", bench.patched, bench.patched.visible > 0),
        ("px_covered", bench.patched, bench.patched.visible == switches.COVERED),
        ("px_foreign", bench.foreign, bench.foreign.visible > 0),
    ):
        apart = []
        with torch.no_grad():
            for picture, points, there in zip(source.pictures, source.points, which, strict=True):
                out = net(looks.network_input(picture[None], torch.device("cpu")))
                at = looks.decoded(out, recipe)[0]
                apart += [np.hypot(*(at[k] - points[k])) for k in np.flatnonzero(there)]
        # one by one, rounding may move the peak of a flat map: this network has hardly learnt anything
        assert found[name] == pytest.approx(np.mean(apart), rel=1e-3)
    assert len({round(value, 6) for value in found.values()}) == 4
