"""Cohorts with one thing wrong: a clear error before the work, or a typed reason and no better score."""

import os
from dataclasses import replace

import hostile_cohorts
import hostile_models
import pytest
import spoiling
from bad_input import OWN, QUICK, judge, reasons

from capbench.run.result import Result


#: what the way still gets wrong
@pytest.mark.parametrize("name", hostile_cohorts.CASES)
def test_one_thing_wrong(name, good, tmp_path) -> None:
    if name.endswith("unreadable") and os.geteuid() == 0:
        pytest.skip("root may read any file")
    case = hostile_cohorts.CASES[name]
    cohort = hostile_cohorts.spoilt(good.cohort, tmp_path / "cohort", name)
    own = name.startswith("static")  # only then does a person's own scaling matter
    found = good.bench.run(good.model, cohort, options=OWN if own else QUICK)
    judge(found, good.own if own else good.result, says=case.says, outcome=case.outcome)


def test_a_person_without_mass_is_scaled_all_the_same(good, tmp_path) -> None:
    cohort = hostile_cohorts.spoilt(good.cohort, tmp_path / "cohort", "subject-without-mass")
    found = good.bench.run(good.model, cohort, options=OWN)
    assert isinstance(found, Result)
    assert found.overall.value == pytest.approx(good.own.overall.value, abs=0.05)


# --- three cameras -------------------------------------------------------------------------------


CAMERAS = replace(QUICK, cameras=("Cam1", "Cam2", "Cam3"))


@pytest.fixture(scope="module")
def three(good, tmp_path_factory):
    """A cohort with three cameras, a model that knows it, and what that scores."""
    folder = tmp_path_factory.mktemp("three")
    cohort = spoiling.make_tiny(folder / "cohort", cameras=["Cam1", "Cam2", "Cam3"])
    model = hostile_models.learn(folder / "model", cohort)
    result = good.bench.run(model, cohort, options=CAMERAS)
    assert isinstance(result, Result) and not result.failures
    return cohort, model, result


@pytest.mark.parametrize(
    "name", ["video-truncated", "video-of-random-bytes", "video-lies-on-its-side", "video-without-frames"]
)
def test_one_bad_video_of_three_loses_that_camera_only(name, three, good, tmp_path) -> None:
    cohort, model, base = three
    spoilt = hostile_cohorts.spoilt(cohort, tmp_path / "cohort", name)
    found = good.bench.run(model, spoilt, options=CAMERAS)
    assert isinstance(found, Result)
    assert {(f.unit.split()[-1], f.fault) for f in found.failures} == {("Cam1", "cohort")}, reasons(found)
    assert found.answered == base.answered
    assert found.overall.coverage == base.overall.coverage
    assert found.overall.value is not None and base.overall.value is not None
    # the points are exact, so two cameras do what three do; the score may not fall by more than rounding
    assert found.overall.value == pytest.approx(base.overall.value, abs=0.02)
