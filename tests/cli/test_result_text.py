"""The table of an evaluation in the terminal."""

import math
import re
from pathlib import Path

import pytest
from results import FAILED, TIMING, made_result, made_trials

from capbench.cli.result_text import columns, cut, result_table
from capbench.run.result import Beside, Failure


def test_the_first_line_and_the_number_that_ranks() -> None:
    result = made_result()
    lines = result_table(result).splitlines()
    score = result.overall
    assert lines[0] == "acme:pose-large 1.2 on clinic-mini 1, protocol capbench-1"
    said = "\n".join(lines[:8])
    assert re.search(
        rf"joint-angle error +{score.value:.2f}°  \(95 % CI {score.low:.2f} to {score.high:.2f}\)", said
    )
    assert re.search(rf"noise floor +{score.noise_floor:.2f}°", said)
    assert re.search(rf"null model +{score.null:.2f}° .*skill {score.skill:.2f}", said)
    assert re.search(
        rf"coverage +{score.coverage:.1f} % +of samples answered; 48 of 48 trials, 6 people", said
    )


def test_the_five_worst_coordinates_in_order() -> None:
    result = made_result()
    worst = sorted((s for s in result.coordinates if s.unit == "°"), key=lambda s: -(s.value or 0))[:5]
    lines = result_table(result).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("  worst coordinates"))
    for score, line in zip(worst, lines[at + 1 : at + 6], strict=True):
        assert line.split()[:2] == [score.name, f"{score.value:.2f}°"]
        assert f"{score.low:.2f} to {score.high:.2f}" in line
    assert lines[at + 6] == "  and 13 more, less bad"


def test_activities_points_failures_speed_and_files() -> None:
    said = result_table(made_result(failures=FAILED), TIMING, folder=Path("runs/mine"))
    assert re.search(r"^  stiff_knee +\d\.\d\d° .* 12$", said, re.M)
    assert re.search(r"^  MPJPE +24\.1 mm +20\.2 to 28\.9 +lower is better +98\.2 %$", said, re.M)
    assert "3 failures, charged, never left out:" in said
    assert "2 x threw (model), first predict p02/day1/gait1: IndexError" in said
    assert "1 x killed (environment), first solve p04/day1/sts1: Out of memory." in said
    assert "150 frames/s, 12,480 frames" in said
    assert "predict 1 min 23 s" in said
    assert said.endswith("  report  runs/mine/report.html\n  result  runs/mine/result.json")


def test_what_must_be_known_stands_above_the_numbers() -> None:
    said = result_table(
        made_result(partial=("3 of 40 trials",), marks=("Self-test model: given the truth.",))
    )
    first = said.split("joint-angle error")[0]
    assert "  ! PARTIAL: 3 of 40 trials\n  ! Self-test model: given the truth." in first


def test_nothing_scored_and_a_single_person_are_told() -> None:
    result = made_result(subjects=1)
    assert "(no interval: it takes more than one person)" in result_table(result)
    assert "1 person" in result_table(result)
    empty = result.overall.model_copy(
        update={"value": None, "low": math.nan, "null": None, "skill": None, "noise_floor": None}
    )
    said = result_table(result.model_copy(update={"overall": empty, "coordinates": (), "activities": ()}))
    assert re.search(r"joint-angle error +– ", said)
    assert "nan" not in said.lower().replace("nanometre", "")


HOSTILE = "<b>\x1b[2J\r\n\u202e" + "x" * 300


@pytest.mark.parametrize("timing", [None, {}, TIMING, {"stages": {HOSTILE: 1.0}, "hardware": 3}])
def test_no_name_steers_the_terminal_or_widens_the_table(timing) -> None:
    rows = [
        r.model_copy(update={"activity": HOSTILE + r.activity})
        for r in made_trials(0, 4.0, 2, ("a", "b"), 1, 0.0)
    ]
    base = made_result(rows=rows, name=HOSTILE, partial=(HOSTILE,), marks=(HOSTILE,), curves=())
    result = base.model_copy(
        update={
            "coordinates": tuple(s.model_copy(update={"name": HOSTILE + s.name}) for s in base.coordinates),
            "beside": (Beside(name=HOSTILE, unit=HOSTILE, direction="lower", value=1.0, n=1),),
            "failures": tuple(
                Failure(unit=HOSTILE, fault="model", kind=f"{k}{HOSTILE}", reason=HOSTILE) for k in range(9)
            ),
        }
    )
    said = result_table(result, timing, folder=Path("a\x1bb"))
    assert all(c.isprintable() or c == "\n" for c in said)
    assert max(map(len, said.splitlines())) <= 100
    assert len(said.splitlines()) < 100


def test_lines_are_at_most_100_columns_wide() -> None:
    said = result_table(made_result(failures=FAILED, marks=("word " * 60,)), TIMING, folder=Path("runs/x"))
    assert max(map(len, said.splitlines())) <= 100


def test_cutting() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert cut("\x1b", 9) == "\\x1b"


def test_columns_are_to_the_right_and_empty_ones_left_out() -> None:
    assert columns(("name", "x", "no"), [("a", "−1.0", ""), ("bb", "10.0", "")]).splitlines() == [
        "  name     x",
        "  a     −1.0",
        "  bb    10.0",
    ]
