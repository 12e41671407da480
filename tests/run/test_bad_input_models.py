"""Models that go wrong while they run, and models that must not run at all."""

import re

import hostile_models
import pytest
from bad_input import QUICK, check_said, judge, reasons

from capbench.run.evaluate import prepare
from capbench.run.result import Result
from capbench.run.sources import source_of
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort

FLAWS = {**hostile_models.FLAWS_AT_START, **hostile_models.FLAWS}


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_told_and_never_pays(name, good, tmp_path) -> None:
    flaw = FLAWS[name]
    model = hostile_models.flawed(tmp_path / "model", good.model, flaw)
    found = good.bench.run(model, good.cohort)
    judge(found, good.result, says=flaw.says, outcome="failure" if flaw.kind else "harmless")
    assert isinstance(found, Result)
    if not flaw.kind:
        return
    fault = "environment" if flaw.kind == "environment" else "model"
    told = [f for f in found.failures if f.fault == fault and re.fullmatch(flaw.kind, f.kind)]
    assert told, found.failures
    assert found.answered == (0 if name in hostile_models.FLAWS_AT_START else 1)


@pytest.mark.parametrize("name", ["prints", "leaves-a-thread-behind", "exchanges-left-and-right"])
def test_noise_costs_nothing(name, good, tmp_path) -> None:
    model = hostile_models.flawed(tmp_path / "model", good.model, FLAWS[name])
    found = good.bench.run(model, good.cohort)
    assert isinstance(found, Result)
    assert found.overall.value == pytest.approx(good.result.overall.value, abs=1e-9)


@pytest.mark.parametrize("name", hostile_models.REFUSALS)
def test_what_is_no_model_is_said_to_be_none(name, good, tmp_path) -> None:
    """Before the work, or, where only opening the file can tell, as the reason why nothing has an answer."""
    refusal = hostile_models.REFUSALS[name]
    found = good.bench.run(refusal.make(tmp_path), good.cohort)
    assert not (tmp_path / "ran").exists(), "its payload ran"
    if isinstance(found, CapbenchError):
        check_said(refusal.says, str(found))
        return
    assert found.answered == 0 and found.overall.coverage == 0
    assert {f.fault for f in found.failures} == {"model"}
    check_said(refusal.says, reasons(found))


def test_code_needs_leave(good) -> None:
    with pytest.raises(CapbenchError, match="leave"):
        prepare(lambda c: source_of(str(good.model), c), open_cohort(good.cohort), QUICK)
