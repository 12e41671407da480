"""Workers under watch: nothing outlives its parent, and killing changes no byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from toy_work import WORK, bad, begun, ladder, outputs, scratch

from capbench.run import supervise
from capbench.run.executors import Limits, run_units
from capbench.run.plan import make_plan
from capbench.run.store import Store
from capbench.run.supervise import Child, Setup, wait_for

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "tests" / "toy_driver.py"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "units")


@pytest.fixture
def shared(tmp_path) -> dict[str, Any]:
    return scratch(tmp_path)


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


@pytest.mark.parametrize(("writes", "status"), [("the same", 0), ("$RANDOM$RANDOM", 1)])
def test_the_kill_test_tells_same_from_different(tmp_path, writes, status) -> None:
    command = f'mkdir -p "$1"; sleep 0.1 & wait; echo {writes} > "$1/result.json"'
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "kill_test.py", "--kills", "4", "--folder", tmp_path, "--",
         "bash", "-c", command, "bash", "{out}"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1].startswith("4 kills (")


def test_ctrl_c_ends_at_once_and_keeps_what_is_done(tmp_path, shared) -> None:
    run = drive(tmp_path, {**shared, "pause": 0.05}, "ladder 100", workers=2)
    assert wait_until(lambda: len(begun(shared)) > 5, 20)
    pids = supervise.tree(run.pid)
    run.send_signal(signal.SIGINT)
    assert run.wait(5) == 130 and wait_until(lambda: all(map(gone, pids)), 3)
    store = Store(tmp_path / "units")
    assert 3 <= make_plan(ladder(100), store).cached < 200
    assert not list((store.root / "damaged").iterdir())
