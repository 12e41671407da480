"""Units through workers: the same bytes however many there are, whoever is killed, whatever a stage does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_work
from toy_work import WORK, draws, ladder

from capbench.run import executors, supervise
from capbench.run.executors import Limits, Outcomes, Progress, run_units
from capbench.run.plan import describe, make_plan
from capbench.run.store import Store
from capbench.run.supervise import Child, Setup, wait_for
from capbench.run.units import Failed, Unit, unpack
from cohorts.errors import CapbenchError, EnvironmentFault

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "tests" / "toy_driver.py"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "units")


@pytest.fixture
def shared(tmp_path) -> dict[str, Any]:
    for name in ("scratch", "calls"):
        (tmp_path / name).mkdir()
    return {"scratch": str(tmp_path / "scratch"), "calls": str(tmp_path / "calls")}


def bad(how: str, **fields: Any) -> Unit:
    return Unit("bad", how, params={"how": how}, **fields)


def outputs(outcomes: Outcomes) -> dict[str, bytes | Failed]:
    return {key: outcomes[key] for key in outcomes.units}


def begun(shared: dict[str, Any]) -> dict[str, int]:
    """How often each unit was begun."""
    return {path.name: len(path.read_text().splitlines()) for path in Path(shared["calls"]).iterdir()}


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
    "hang": ("model", "hung", "1 s"),
    "hang-in-c": ("model", "hung", "1 s"),
    "hog": ("model", "memory", "300 MB"),
    "hog-in-child": ("model", "memory", "300 MB"),
    "too-big": ("model", "memory", "out of memory"),
    "scribble": ("model", "crashed", "wrote over the channel"),
}
ENDS_WORKER = ("die", "segfault", "killed", "hang", "hang-in-c", "hog", "hog-in-child", "too-big", "scribble")
LIMITS = Limits(seconds=1.0, memory_bytes=300 << 20)


@pytest.mark.parametrize("how", MISBEHAVIOUR)
def test_what_a_misbehaving_stage_comes_to(store, shared, how) -> None:
    fault, kind, word = MISBEHAVIOUR[how]
    unit = bad(how, blame="model")
    dependant = Unit("sum", "of it", inputs={"x": unit.key}, needs=(unit.key,))
    units = [dependant, unit, *draws(3)]
    outcomes = run_units(units, WORK, store, shared=shared, workers=2, limits=LIMITS)
    assert set(outcomes.failures) == {unit.key, dependant.key}
    failed = outcomes.failures[unit.key]
    assert (failed.fault, failed.kind) == (fault, kind) and word in failed.reason, failed
    derived = outcomes.failures[dependant.key]
    assert derived == Failed(failed.fault, failed.kind, f"needs bad {how}: {failed.reason}")
    assert begun(shared)[unit.key] == (2 if how in ENDS_WORKER else 1)
    assert dependant.key not in begun(shared)
    again = run_units(units, WORK, store, shared=shared, workers=1, limits=LIMITS)
    assert again.failures == outcomes.failures
    replayed = failed.fault != "environment"
    assert again.cached == (4 if replayed else 3)
    if replayed:
        assert store.get(unit.key) == failed and store.get(dependant.key) is None


@pytest.mark.parametrize("how", ["die", "killed", "hang", "hog", "too-big"])
def test_who_ends_its_worker_once_is_tried_again(store, shared, how) -> None:
    unit = bad(f"{how} once", blame="model")
    outcomes = run_units([unit, *draws(2)], WORK, store, shared=shared, workers=1, limits=LIMITS)
    assert outcomes.failures == {} and unpack(outcomes[unit]) == ({}, "survived")
    assert begun(shared)[unit.key] == 2


@pytest.mark.parametrize("how", ["hang", "throw", "die"])
def test_without_blame_it_is_the_environment_and_tried_next_time(store, shared, how) -> None:
    outcomes = run_units([bad(how)], WORK, store, shared=shared, workers=1, limits=LIMITS)
    (failed,) = outcomes.failures.values()
    assert failed.fault == "environment" and store.get(bad(how).key) is None


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


# --- killing ------------------------------------------------------------------------------------


def setup(store: Store, shared: dict[str, Any]) -> Setup:
    return Setup(WORK, shared, str(store.root))


def gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True


def wait_until(true, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return bool(true())


def test_a_child_s_own_children_die_with_it(store, shared) -> None:
    with Child(setup(store, shared), Limits()) as child:
        while not child.idle:
            wait_for([child])
            assert child.look() is None
        child.give(bad("hog-in-child"))
        assert wait_until(lambda: supervise.tree(child.process.pid))
        pids = [child.process.pid, *supervise.tree(child.process.pid)]
        assert wait_until(lambda: supervise.memory(child.process.pid) > 300 << 20)
    assert len(pids) == 2 and wait_until(lambda: all(map(gone, pids)))


@pytest.mark.parametrize("how", ["hang-in-c", "hog-in-child"])
def test_no_worker_outlives_its_parent(tmp_path, shared, how) -> None:
    """Even while C code holds the interpreter's lock, and what a worker started neither."""
    run = drive(tmp_path, shared, how, workers=1)
    assert wait_until(lambda: len(supervise.tree(run.pid)) >= (1 if how == "hang-in-c" else 2), 20)
    time.sleep(0.3)
    pids = supervise.tree(run.pid)
    run.kill()
    run.wait()
    assert wait_until(lambda: all(map(gone, pids)), 3)


def drive(tmp_path: Path, shared: dict[str, Any], what: str, *, workers: int) -> subprocess.Popen[bytes]:
    """A whole run as a process of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            DRIVER,
            tmp_path / "units",
            json.dumps(shared),
            what,
            str(workers),
            tmp_path / "answer",
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )


def test_killed_at_random_and_run_again_the_bytes_are_the_same(tmp_path, shared) -> None:
    """Workers and whole runs, at random moments; the last run may end by itself."""
    shared = {**shared, "pause": 0.03}
    undisturbed = outputs(run_units(ladder(50), WORK, Store(tmp_path / "calm"), shared={}, workers=0))
    chance, kills = random.Random(5), 0
    for _ in range(5):
        run = drive(tmp_path, shared, "ladder 50", workers=3)
        for _ in range(2):
            assert wait_until(lambda run=run: supervise.tree(run.pid), 20)
            time.sleep(chance.uniform(0.0, 0.3))
            kills += kill(chance.choice(supervise.tree(run.pid) or [run.pid]))
        time.sleep(chance.uniform(0.0, 0.3))
        kills += kill(run.pid)
        run.wait(5)
    assert kills == 15 and run.returncode == -signal.SIGKILL
    assert drive(tmp_path, shared, "ladder 50", workers=3).wait(60) == 0
    store = Store(tmp_path / "units")
    assert {key: store.get(key) for key in undisturbed} == undisturbed
    assert not list(store.root.rglob("*.part")) and not list((store.root / "damaged").iterdir())


def kill(pid: int) -> int:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return 1
    return 0


def test_ctrl_c_ends_at_once_and_keeps_what_is_done(tmp_path, shared) -> None:
    run = drive(tmp_path, {**shared, "pause": 0.05}, "ladder 100", workers=2)
    assert wait_until(lambda: len(begun(shared)) > 5, 20)
    pids = supervise.tree(run.pid)
    run.send_signal(signal.SIGINT)
    assert run.wait(5) == 130 and wait_until(lambda: all(map(gone, pids)), 3)
    store = Store(tmp_path / "units")
    assert 3 <= make_plan(ladder(100), store).cached < 200
    assert not list((store.root / "damaged").iterdir())


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
