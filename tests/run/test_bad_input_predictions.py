"""Files of predictions with one thing wrong: refused, or a typed reason, and never a better score."""

import hostile_predictions
import pytest
from bad_input import judge
from hostile_motions import CASES

from capbench.run.result import Result


@pytest.mark.parametrize("name", CASES)
def test_one_thing_wrong(name, good, predictions, tmp_path) -> None:
    case = CASES[name]
    folder, base = predictions[case.kind]
    spoilt = hostile_predictions.spoilt(folder, tmp_path / "predictions", name)
    found = good.bench.run(spoilt, good.cohort, files=True)
    judge(found, base, says=case.says, outcome=case.outcome)


def test_good_files_score_as_the_run_they_are_of(good, predictions) -> None:
    for kind in ("keypoints", "markers", "motion"):
        _, result = predictions[kind]
        assert result.overall.value == pytest.approx(good.result.overall.value, abs=1e-6), kind


@pytest.mark.parametrize(
    "name", ["motion-with-columns-in-another-order", "keypoints-with-left-and-right-exchanged"]
)
def test_what_can_be_put_right_costs_nothing(name, good, predictions, tmp_path) -> None:
    case = CASES[name]
    folder, base = predictions[case.kind]
    found = good.bench.run(hostile_predictions.spoilt(folder, tmp_path / "p", name), good.cohort, files=True)
    assert isinstance(found, Result)
    assert found.overall.value == pytest.approx(base.overall.value, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("motion-with-left-and-right-exchanged", 2),
        ("motion-with-columns-called-by-their-neighbours", 2),
        ("motion-that-is-constant", 1),
        ("motion-without-knees", 1),
        ("markers-mirrored", 2),
        ("markers-with-axes-exchanged", 2),
        ("keypoints-in-another-order", 1),
    ],
)
def test_what_cannot_be_put_right_costs(name, least, good, predictions, tmp_path) -> None:
    """Degrees that the score falls by at least, over both walks of which one is spoilt."""
    case = CASES[name]
    folder, base = predictions[case.kind]
    found = good.bench.run(hostile_predictions.spoilt(folder, tmp_path / "p", name), good.cohort, files=True)
    assert isinstance(found, Result) and found.overall.value is not None
    assert found.overall.value > base.overall.value + least
