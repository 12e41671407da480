"""The self-test finds what it should, and finds out a scoring that is wrong."""

import numpy as np
import pytest

from capbench.run import scoring, selftest
from capbench.run.evaluate import Means
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort


@pytest.fixture(scope="module")
def cohort(tiny_cohort):
    return open_cohort(tiny_cohort)


def perform(cohort, folder, monkeypatch, pixels=()):
    """Quick: few offsets and pixels; 10 frames/s leave more to lines between frames."""
    monkeypatch.setattr(selftest, "OFFSETS", (5.0, 90.0))
    monkeypatch.setattr(selftest, "PIXELS", pixels)
    monkeypatch.setattr(selftest, "EXACT", 1.0)
    if not pixels:
        monkeypatch.setattr(
            selftest, "_rises", lambda ladder: selftest.Check("noise ladder", "", 0.0, not ladder)
        )
    means = Means(workers=0)
    told: list[str] = []
    checks = selftest.selftest(cohort, folder / "out", means=means, store=folder / "store", told=told.append)
    assert told == [c.name for c in checks[:-1]]
    assert (folder / "store").is_dir()
    return {c.name: c for c in checks}


def test_known_answers_are_found(cohort, tmp_path, monkeypatch) -> None:
    found = perform(cohort, tmp_path, monkeypatch, pixels=(0.0, 0.3))
    assert list(found) == ["gold", "null", "offset 5°", "offset 90°", "one trial of all",
                           "true points, true model", "noise 0 px", "noise 0.3 px",
                           "noise ladder"]  # fmt: skip
    assert all(c.good for c in found.values()), found
    assert found["gold"].found == pytest.approx(0, abs=1e-6)
    assert found["offset 5°"].found == pytest.approx(5, abs=1e-6)
    assert found["one trial of all"].found == pytest.approx(15, abs=0.5)  # one of two at 30°
    assert 0 < found["true points, true model"].found < found["noise 0.3 px"].found


def wrong(monkeypatch, change):
    """The scores of each trial, changed."""
    charge = scoring.charge
    monkeypatch.setattr(scoring, "charge", lambda error, null, **rest: change(charge, error, null, rest))


WRONG = {
    "missing samples vanish": (
        lambda charge, error, null, rest: charge(error, np.where(np.isnan(error), np.nan, null), **rest),
        {"one trial of all"},
    ),
    "signs cancel": (
        lambda charge, error, null, rest: charge(
            np.where(np.isnan(error), np.nan, np.nan_to_num(error).mean()), null, **rest
        ),
        {"null"},
    ),
    "twice": (lambda charge, error, null, rest: charge(2 * error, null, **rest), {"null", "offset 5°"}),
    "a bit more": (
        lambda charge, error, null, rest: charge(error + 0.001, null, **rest),
        {"gold", "offset 5°"},
    ),
    "no cap": (
        lambda charge, error, null, rest: charge(error, null, **{**rest, "declared_cap": 120.0}),
        {"offset 90°"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_scoring_is_found_out(name, cohort, tmp_path, monkeypatch) -> None:
    change, caught = WRONG[name]
    wrong(monkeypatch, change)
    found = perform(cohort, tmp_path, monkeypatch)
    assert caught <= {c.name for c in found.values() if not c.good}


def test_a_ladder_must_rise() -> None:
    def ladder(*values: float) -> selftest.Check:
        return selftest._rises([selftest.Check("noise", "", v, good=True) for v in values])

    assert ladder(1.0, 2.0, 3.0).good and ladder(1.0, 2.0, 3.0).found == 3.0
    assert not ladder(1.0, 3.0, 2.0).good and not ladder(1.0, 1.0).good and not ladder(1.0, float("nan")).good


def test_a_measured_cohort_has_no_known_answers(cohort, tmp_path) -> None:
    from dataclasses import replace

    card = cohort.card.model_copy(
        update={"reference": cohort.card.reference.model_copy(update={"exact": False})}
    )
    with pytest.raises(CapbenchError, match="truth is exact"):
        selftest.selftest(replace(cohort, card=card), tmp_path)
