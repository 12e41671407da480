"""A real scheduler and two worker processes on loopback: the same bytes as at home, the same rules."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from toy_work import WORK, draws, ladder, scratch

from capbench.run import dask_executor
from capbench.run.executors import Limits, run_units
from capbench.run.plan import make_plan
from capbench.run.store import Store
from capbench.run.units import Failed, Unit, unpack
from cohorts.errors import EnvironmentFault

pytest.importorskip("distributed")
ROOT = Path(__file__).parents[2]


class Cluster:
    """A scheduler and workers, each a process that dies with the test."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder = folder
        self.processes = [self._start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port))]
        self.workers = [self.add_worker() for _ in range(2)]

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One more worker, with one thread and no nanny that would replace it."""
        folder = self._folder / f"w{len(self.processes)}"
        worker = self._start("dask_worker", self.address, "--no-nanny", "--nthreads", "1",
                             "--local-directory", str(folder))  # fmt: skip
        self.processes.append(worker)
        return worker

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *words, "--no-dashboard"],
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


@pytest.fixture
def shared(tmp_path) -> dict[str, Any]:
    return scratch(tmp_path)


def on_dask(units: list[Unit], store: Store, shared: Any, cluster: Cluster, **options: Any):
    return run_units(units, WORK, store, shared=shared, executor="dask", scheduler=cluster.address, **options)


def pids(shared: dict[str, Any]) -> set[str]:
    return {line.split()[0] for f in Path(shared["calls"]).iterdir() for line in f.read_text().splitlines()}


def test_two_dask_workers_give_the_bytes_of_local_ones(cluster, tmp_path, shared) -> None:
    units = ladder(12)
    run_units(units, WORK, Store(tmp_path / "local"), shared={}, workers=2)
    dask = on_dask(units, Store(tmp_path / "dask"), {**shared, "pause": 0.02}, cluster)
    assert dask.failures == {} and len(pids(shared)) == 2  # both worked
    objects = [sorted((tmp_path / name / "objects").rglob("*")) for name in ("local", "dask")]
    names = [[path.name for path in some if path.is_file()] for some in objects]
    assert names[0] == names[1] and len(names[0]) == len(units) == 24
    for one, other in zip(*objects, strict=True):
        assert one.is_dir() or one.read_bytes() == other.read_bytes()
    assert dask.seconds()["draw"] >= 12 * 0.02
    again = on_dask(units, dask.store, shared, cluster)
    assert again.cached == 24
    wait_until_idle(shared)


def wait_until_idle(shared: dict[str, Any]) -> None:
    """No child of a run is left on the workers."""
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids(shared)):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_failures_are_told_apart_as_at_home(cluster, tmp_path, shared) -> None:
    store = Store(tmp_path / "units")
    ways = {
        "throw": "threw",
        "typed": "frame-rate",
        "die": "crashed",
        "hang": "hung",
        "lacking": "environment",
    }
    units = [Unit("bad", how, params={"how": how}, blame="model") for how in ways]
    once = Unit("bad", "once", params={"how": "killed once"}, blame="model")
    inputs = {"good": draws(1)[0].key, "maybe": units[0].key}
    able = Unit("sum", "able", inputs=inputs, needs=tuple(inputs.values()), may_lack=("maybe",))
    doomed = Unit("sum", "doomed", inputs={"x": units[1].key}, needs=(units[1].key,))
    outcomes = on_dask(
        [*units, once, able, doomed, *draws(2)], store, shared, cluster, limits=Limits(seconds=1.0)
    )
    assert {unit.of: outcomes.failures[unit.key].kind for unit in units} == ways
    assert [outcomes.failures[unit.key].fault for unit in units] == [
        "model", "cohort", "model", "model", "environment"
    ]  # fmt: skip
    assert unpack(outcomes[once])[1] == "survived" and unpack(outcomes[able])[1]["names"] == ["good"]
    assert outcomes[doomed] == Failed("cohort", "frame-rate", "needs bad typed: a.mp4: Expected 25, got 30.")
    assert store.get(units[3].key) == outcomes.failures[units[3].key]  # hung twice: kept
    assert store.get(units[4].key) is None
    assert "misbehave" in store.timing(units[0].key, "bad").trace
    wait_until_idle(shared)


def test_a_dask_worker_may_be_killed(cluster, tmp_path, shared) -> None:
    units = ladder(10)
    killed = []

    def told(progress) -> None:
        if progress.done == 4:
            killed.append(cluster.workers[0].pid)
            with suppress(ProcessLookupError):
                os.kill(cluster.workers[0].pid, signal.SIGKILL)
            cluster.workers[0] = cluster.add_worker()

    store = Store(tmp_path / "dask")
    outcomes = on_dask(units, store, {**shared, "pause": 0.05}, cluster, told=told)
    local = run_units(units, WORK, Store(tmp_path / "local"), shared={}, workers=0)
    assert len(killed) == 1 and outcomes.failures == {}
    assert all(outcomes[unit] == local[unit] for unit in units)
    wait_until_idle(shared)


def test_a_full_disk_there_stops_the_run_here(cluster, tmp_path, shared) -> None:
    unit = Unit("bad", "full", params={"how": "full"})
    with pytest.raises(EnvironmentFault, match="make room on the disk"):
        on_dask([unit], Store(tmp_path / "units"), shared, cluster)
    assert make_plan([unit], Store(tmp_path / "units")).cached == 0


def test_workers_with_other_stages_are_refused(cluster, tmp_path, shared, monkeypatch) -> None:
    monkeypatch.setattr(dask_executor, "code_digest", lambda work: "another")
    with pytest.raises(EnvironmentFault, match="has another version of capbench or of toy_work"):
        on_dask(draws(1), Store(tmp_path / "units"), shared, cluster)


def test_no_scheduler(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dask_executor, "CONNECT", 0.5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    for wrong in (address, "nonsense://x"):
        with pytest.raises(EnvironmentFault, match="Expected a Dask scheduler at"):
            run_units(draws(1), WORK, Store(tmp_path), shared={}, executor="dask", scheduler=wrong)


def test_a_scheduler_that_dies_ends_the_run(tmp_path, shared, monkeypatch) -> None:
    monkeypatch.setattr(dask_executor, "CONNECT", 6.0)
    cluster = Cluster(tmp_path)
    try:
        with pytest.raises(EnvironmentFault, match="scheduler was lost"):
            on_dask(
                draws(200), Store(tmp_path / "units"), {**shared, "pause": 0.05}, cluster,
                told=lambda progress: cluster.processes[0].kill(),
            )  # fmt: skip
        assert make_plan(draws(200), Store(tmp_path / "units")).cached >= 1
    finally:
        cluster.close()
    wait_until_idle(shared)
