"""Units through workers: the same bytes however many there are, whoever is killed, whatever a stage does."""

from __future__ import annotations

import json
import random
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_work
from toy_work import WORK, bad, begun, draws, ladder, outputs, scratch

from capbench.run import executors, supervise
from capbench.run.executors import Limits, Outcomes, Progress, run_units
from capbench.run.plan import describe, make_plan
from capbench.run.store import Store
from capbench.run.units import Failed, Unit, unpack
from cohorts.errors import CapbenchError, EnvironmentFault


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "units")


@pytest.fixture
def shared(tmp_path) -> dict[str, Any]:
    return scratch(tmp_path)


# --- the same bytes -----------------------------------------------------------------------------


@pytest.mark.truth("the sums done by numpy in this process")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_number_of_workers_gives_the_sums(store, shared, workers) -> None:
    units = ladder(12)
    random.Random(workers).shuffle(units)
    outcomes = run_units(units, WORK, store, shared=shared, workers=workers)
    assert outcomes.failures == {} and outcomes.cached == 0
    drawn = [np.random.default_rng(seed).normal(size=50) for seed in range(12)]
    (top,) = (unit for unit in units if unit.of == "all")
    got, about = unpack(outcomes[top])
    pairs = [a + b for a, b in pairwise(drawn)]
    np.testing.assert_array_equal(got["x"], np.sum(pairs, axis=0))
    assert about == {"of": 11, "names": sorted(f"p{i:03}" for i in range(11))}
    assert set(begun(shared).values()) == {1}
    assert [unit.of for unit, _ in outcomes] == [unit.of for unit in units]


def test_one_worker_three_workers_and_none_give_the_same_bytes(tmp_path) -> None:
    made = []
    for workers in (0, 1, 3):
        units = ladder(10)
        random.Random(workers).shuffle(units)
        made.append(
            outputs(run_units(units, WORK, Store(tmp_path / str(workers)), shared={}, workers=workers))
        )
    assert made[0] == made[1] == made[2]


def test_what_is_kept_is_not_computed_again_unless_fresh(store, shared) -> None:
    units = ladder(4)
    first = outputs(run_units(units, WORK, store, shared=shared, workers=0))
    again = run_units(units, WORK, store, shared=shared, workers=2)
    assert again.cached == len(units) == 8 and set(begun(shared).values()) == {1}
    assert outputs(again) == first
    fresh = run_units(units, WORK, store, shared=shared, workers=1, fresh=True)
    assert fresh.cached == 0 and set(begun(shared).values()) == {2} and outputs(fresh) == first


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stage_sees_json_wherever_it_runs(store, workers) -> None:
    unit = Unit("show", "x", params={"list": (1, 2.5), "nested": {"t": ()}})
    seen = json.loads(run_units([unit], "toy_work:shown", store, shared={"t": (1,)}, workers=workers)[unit])
    assert seen == [repr({"list": [1, 2.5], "nested": {"t": []}}), repr({"t": [1]})]


def test_fresh_replaces_an_output_by_the_failure_it_came_to(store, shared) -> None:
    unit = bad("hang", blame="model")
    store.put(unit.key, b"of better days")
    run_units([unit], WORK, store, shared=shared, workers=1, limits=Limits(seconds=0.2), fresh=True)
    assert store.get(unit.key).kind == "hung"


def test_a_damaged_object_is_computed_again(store, shared) -> None:
    units = ladder(3)
    first = outputs(run_units(units, WORK, store, shared=shared, workers=0))
    path = store.root / "objects" / units[-1].key[:2] / units[-1].key
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    again = run_units(units, WORK, store, shared=shared, workers=1)
    assert again.cached == len(units) - 1 and outputs(again) == first
    assert begun(shared)[units[-1].key] == 2


def test_equal_keys_are_one_unit(store, shared) -> None:
    units = [Unit("draw", name, params={"seed": 1}) for name in ("left", "right")]
    outcomes = run_units(units, WORK, store, shared=shared, workers=1)
    assert outcomes[units[0]] == outcomes[units[1]] and list(begun(shared).values()) == [1]


def test_a_worker_stays_with_its_stage(store, shared) -> None:
    units = [Unit("rest", unit.of, params={"how": f"throw {unit.of}"}) for unit in draws(10)]
    for unit in units:  # "throw x" throws the first time only
        (Path(shared["scratch"]) / f"tried-{unit.key}").touch()
    mixed = [unit for pair in zip(units, draws(10), strict=True) for unit in pair]
    assert run_units(mixed, WORK, store, shared={**shared, "pause": 0.02}, workers=2).failures == {}
    lines = [path.read_text().split() for path in Path(shared["calls"]).iterdir()]
    stages: dict[str, set[str]] = {}
    for pid, stage in lines:
        stages.setdefault(pid, set()).add(stage)
    assert len(stages) == 2 and sum(map(len, stages.values())) <= 3


# --- stages that misbehave ----------------------------------------------------------------------

#: how -> (fault with blame on the model, kind, a word of the reason), whether it ends its worker
MISBEHAVIOUR = {
    "throw": ("model", "threw", "ValueError: no sense at <object object at 0x…>"),
    "typed": ("cohort", "frame-rate", "a.mp4: Expected 25, got 30."),
    "unusable": ("model", "unusable", "Expected a video. Try: give one"),
    "refused": ("model", "refused", "Expected no bomb."),
    "lacking": ("environment", "environment", "Expected ezc3d."),
    "exit": ("model", "threw", "SystemExit: 3"),
    "bad-disk": ("environment", "disk", "Input/output error"),
    "die": ("model", "crashed", "ended with status 9: the library said: no such chip (2 times)"),
    "segfault": ("model", "crashed", "SIGSEGV"),
    "killed": ("environment", "killed", "SIGKILL"),
    "hang": ("model", "hung", "still at work after the 1.5 s it may take (2 times)"),
    "hang-in-c": ("model", "hung", "still at work after the 1.5 s it may take (2 times)"),
    "hog": ("model", "memory", "300 MB"),
    "hog-in-child": ("model", "memory", "300 MB"),
    "too-big": ("model", "memory", "out of memory"),
    "scribble": ("model", "crashed", "wrote over the channel"),
}
ENDS_WORKER = ("die", "segfault", "killed", "hang", "hang-in-c", "hog", "hog-in-child", "too-big", "scribble")
ONCE = ("die", "killed", "hang", "hog", "too-big")
UNBLAMED = ("hang", "throw", "die")
LIMITS = Limits(seconds=1.5, memory_bytes=300 << 20)


class Misbehaved:
    """One run in which everything goes wrong at once, and the same run again."""

    def __init__(self, folder: Path) -> None:
        self.shared = scratch(folder)
        self.store = Store(folder / "units")
        self.blamed = {how: bad(how, blame="model") for how in MISBEHAVIOUR}
        self.needing = {
            how: Unit("sum", f"of {how}", inputs={"x": unit.key}, needs=(unit.key,))
            for how, unit in self.blamed.items()
        }
        self.once = {how: bad(f"{how} once", blame="model") for how in ONCE}
        self.unblamed = {how: bad(how, version="2") for how in UNBLAMED}
        self.units = [
            unit for group in (self.needing, self.blamed, self.once, self.unblamed) for unit in group.values()
        ] + draws(3)
        self.first = self.run()
        self.begun = begun(self.shared)
        self.again = self.run()

    def run(self) -> Outcomes:
        return run_units(self.units, WORK, self.store, shared=self.shared, workers=3, limits=LIMITS)


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory) -> Misbehaved:
    return Misbehaved(tmp_path_factory.mktemp("misbehaved"))


@pytest.mark.parametrize("how", MISBEHAVIOUR)
def test_what_a_misbehaving_stage_comes_to(misbehaved, how) -> None:
    fault, kind, word = MISBEHAVIOUR[how]
    unit, needing = misbehaved.blamed[how], misbehaved.needing[how]
    failed = misbehaved.first.failures[unit.key]
    assert (failed.fault, failed.kind) == (fault, kind) and word in failed.reason, failed
    derived = Failed(failed.fault, failed.kind, f"needs bad {how}: {failed.reason}")
    assert misbehaved.first[needing] == derived
    assert misbehaved.begun[unit.key] == (2 if how in ENDS_WORKER else 1)
    assert needing.key not in misbehaved.begun
    # run again: replayed from the store, or, where it was the environment, tried once more
    assert misbehaved.again.failures[unit.key] == failed and misbehaved.again[needing] == derived
    kept = fault != "environment"
    assert begun(misbehaved.shared)[unit.key] == misbehaved.begun[unit.key] * (1 if kept else 2)
    assert misbehaved.store.get(unit.key) == (failed if kept else None)
    assert misbehaved.store.get(needing.key) is None


@pytest.mark.parametrize("how", ONCE)
def test_who_ends_its_worker_once_is_tried_again(misbehaved, how) -> None:
    unit = misbehaved.once[how]
    assert unpack(misbehaved.first[unit]) == ({}, "survived") and misbehaved.begun[unit.key] == 2


@pytest.mark.parametrize("how", UNBLAMED)
def test_without_blame_it_is_the_environment_and_tried_next_time(misbehaved, how) -> None:
    unit = misbehaved.unblamed[how]
    assert misbehaved.first.failures[unit.key].fault == "environment"
    assert misbehaved.store.get(unit.key) is None
    assert begun(misbehaved.shared)[unit.key] == 2 * misbehaved.begun[unit.key]


def test_the_others_are_none_the_worse(misbehaved) -> None:
    count = 2 * len(MISBEHAVIOUR) + len(UNBLAMED)
    assert len(misbehaved.first.failures) == len(misbehaved.again.failures) == count
    assert all(isinstance(misbehaved.first[unit], bytes) for unit in draws(3))


def test_what_a_lost_worker_kept_is_not_taken_for_its_output(tmp_path, shared) -> None:
    """Else a run says that the unit failed, and the same run again that it did not."""
    store, unit = Store(tmp_path / "units"), bad("keep and die", blame="model")
    context = {**shared, "units": str(tmp_path / "units")}
    first, again = (run_units([unit], WORK, store, shared=context, workers=1) for _ in range(2))
    assert first[unit] == again[unit] == store.get(unit.key)
    assert (first[unit].fault, first[unit].kind) == ("model", "crashed")
    assert begun(shared)[unit.key] == 2  # tried twice, then replayed


def test_a_stage_must_return_bytes(store) -> None:
    unit = Unit("x", "x", blame="model")
    outcomes = run_units([unit], "toy_work:wrong_type", store, workers=1)
    assert outcomes[unit] == Failed("model", "threw", "TypeError: the stage returned dict, not bytes")


def test_a_full_disk_stops_the_run_and_what_was_done_is_kept(store, shared) -> None:
    units = [*draws(3), bad("full", blame="model", needs=tuple(u.key for u in draws(3)))]
    with pytest.raises(EnvironmentFault, match=r"bad full.*make room on the disk"):
        run_units(units, WORK, store, shared=shared, workers=2)
    assert make_plan(units, store).cached == 3
    assert not list(store.root.rglob("*.part"))


def test_a_stage_may_print_what_it_likes(store, shared) -> None:
    outcomes = run_units([bad("print")], WORK, store, shared=shared, workers=1)
    assert outcomes.failures == {}


def test_a_traceback_is_kept_beside_and_not_in_the_outcome(store, shared) -> None:
    unit = bad("throw", blame="model")
    run_units([unit], WORK, store, shared=shared, workers=1)
    timing = store.timing(unit.key, "bad")
    assert timing is not None and "in misbehave" in timing.trace
    assert b"misbehave" not in (store.root / "objects" / unit.key[:2] / unit.key).read_bytes()


# --- needs --------------------------------------------------------------------------------------


def lacking(how: str) -> tuple[Unit, Unit, Unit]:
    good, failing = draws(1)[0], bad(how, blame="model")
    inputs = {"good": good.key, "maybe": failing.key}
    needs = (failing.key, good.key)
    return good, failing, Unit("sum", "some", inputs=inputs, needs=needs, may_lack=("maybe",))


@pytest.mark.parametrize("how", ["throw", "typed"])
def test_a_stage_can_do_without_what_the_model_or_the_cohort_failed_to_give(store, shared, how) -> None:
    units = lacking(how)
    outcomes = run_units(units, WORK, store, shared=shared, workers=1)
    assert unpack(outcomes[units[2]])[1] == {"of": 1, "names": ["good"]}


def test_it_never_does_without_what_the_environment_failed_to_give(store, shared) -> None:
    units = lacking("lacking")
    outcomes = run_units(units, WORK, store, shared=shared, workers=1)
    assert outcomes.failures[units[2].key].fault == "environment" and store.get(units[2].key) is None


def test_the_reason_at_the_end_of_a_chain_is_the_first_one(store, shared) -> None:
    chain = [bad("typed")]
    for k in range(2000):  # deeper than Python's stack
        chain.append(Unit("sum", f"{k}", inputs={"x": chain[-1].key}, needs=(chain[-1].key,)))
    outcomes = run_units(chain[::-1], WORK, store, shared=shared, workers=0)
    assert len(outcomes.failures) == 2001
    assert outcomes.failures[chain[-1].key].reason == "needs bad typed: a.mp4: Expected 25, got 30."


def test_needs_of_an_earlier_run_are_in_the_store(store, shared) -> None:
    one, failing = draws(1)[0], bad("typed")
    run_units([one, failing], WORK, store, shared=shared, workers=0)
    later = Unit("sum", "later", inputs={"x": one.key}, needs=(one.key,))
    doomed = Unit("sum", "doomed", inputs={"x": failing.key}, needs=(failing.key,))
    outcomes = run_units([later, doomed], WORK, store, shared=shared, workers=1)
    assert unpack(outcomes[later])[1]["of"] == 1 and outcomes.failures[doomed.key].fault == "cohort"
    with pytest.raises(ValueError, match="neither in the list nor in the store"):
        run_units([Unit("sum", "x", needs=("e" * 64,))], WORK, store, shared=shared)


def test_a_circle_is_told(store, shared) -> None:
    a = Unit("sum", "a", params={"n": 1})
    b = Unit("sum", "b", params={"n": 2}, needs=(a.key,))
    circle = [Unit("sum", "a", params={"n": 1}, needs=(b.key,)), b]
    for workers in (0, 2):
        with pytest.raises(ValueError, match="circle"):
            run_units([*circle, *draws(1)], WORK, store, shared=shared, workers=workers, fresh=True)


# --- what a caller sees -------------------------------------------------------------------------


def test_progress_counts_to_the_end(store, shared) -> None:
    run_units(draws(2), WORK, store, shared=shared, workers=0)
    seen: list[Progress] = []
    units = [*draws(5), bad("throw", blame="model")]
    run_units(units, WORK, store, shared=shared, workers=2, told=seen.append)
    assert [p.done for p in seen] == [3, 4, 5, 6]
    assert {(p.total, p.cached) for p in seen} == {(6, 2)} and seen[-1].failed == 1
    assert seen[-1].seconds_left == 0.0 and {p.last.stage for p in seen} == {"draw", "bad"}
    run_units(units, WORK, store, shared=shared, workers=2, told=seen.append)
    assert (seen[-1].done, seen[-1].cached, seen[-1].last) == (6, 6, None) and len(seen) == 5


@pytest.mark.parametrize("work", ["no_such_module:work", "toy_work:no_such_name", "toy_work"])
@pytest.mark.parametrize("workers", [0, 1])
def test_stages_that_cannot_be_imported_are_told(store, work, workers) -> None:
    with pytest.raises(EnvironmentFault, match="can't be imported"):
        run_units(draws(1), work, store, shared={}, workers=workers)


def test_an_executor_that_needs_an_address(store) -> None:
    with pytest.raises(CapbenchError, match="--scheduler"):
        run_units(draws(1), WORK, store, shared={}, executor="dask")


def test_workers_that_never_get_ready_end_the_run(store, monkeypatch) -> None:
    monkeypatch.setattr(supervise, "_BOOT", "import sys; print('broken python'); sys.exit(7)")
    with pytest.raises(EnvironmentFault, match=r"5 workers in a row.*status 7: broken python"):
        run_units(draws(3), WORK, store, shared={}, workers=2)


def test_threads_do_not_follow_the_number_of_workers(store, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    unit = Unit("env", "x")
    seen = []
    for workers in (1, 3):
        outcomes = run_units([unit], "toy_work:environment", store, workers=workers, fresh=True)
        seen.append(json.loads(outcomes[unit]))
    assert seen[0] == seen[1] and seen[0]["OMP_NUM_THREADS"] == "1" and seen[0]["PYTHONHASHSEED"] == "0"


def test_the_plan_says_what_is_done_and_what_the_rest_takes(store, shared) -> None:
    units = ladder(6)
    plan = make_plan(units, store)
    assert (plan.total, plan.cached, plan.to_do, plan.seconds) == (12, 0, 12, None)
    assert "?" in describe(plan)
    some = [unit for unit in units if unit.stage == "draw"][:4]
    run_units([*some, bad("throw", blame="model")], WORK, store, shared={**shared, "pause": 0.05}, workers=0)
    plan = make_plan([*some, Unit("draw", "long", params={"seed": 99}, size=10.0)], store)
    assert (plan.total, plan.cached, plan.to_do) == (5, 4, 1)
    assert 0.5 <= plan.seconds < 2.0  # ten times 50 ms and what a busy machine adds
    assert plan.bytes == 10 * len(store.get(some[0].key))
    failed = make_plan([bad("throw", blame="model")], store)
    assert failed.stages["bad"].failed == 1 and failed.seconds == 0.0
    text = describe(plan, workers=2).splitlines()
    assert text[0].split() == ["stage", "units", "done", "to", "do", "time", "disk"]
    assert text[-1].startswith("Time with 2 workers")


def test_a_run_may_be_in_any_thread(store) -> None:
    found: list[Outcomes] = []
    thread = threading.Thread(target=lambda: found.append(run_units(ladder(4), WORK, store, shared={})))
    thread.start()
    thread.join(20)
    assert found and found[0].failures == {}


def test_seconds_by_stage_are_those_of_the_computing(store, shared) -> None:
    outcomes = run_units(draws(3), WORK, store, shared={"pause": 0.05}, workers=1)
    assert 0.15 <= outcomes.seconds()["draw"] < 2.0
    again = run_units(draws(3), WORK, store, shared={"pause": 0.05}, workers=1)
    assert again.seconds() == outcomes.seconds()
    assert executors.TRIES == 2 and toy_work.WORK == WORK
