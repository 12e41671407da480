"""Units on a Dask cluster: for those who outgrew one machine.

Any cluster with a scheduler will do: ``dask scheduler`` and ``dask worker`` by hand, dask-jobqueue on SLURM,
dask-kubernetes. The same capbench must be installed on its workers, and the paths in the context (videos,
model files) must be readable there. Whoever can reach a Dask scheduler can run code on its workers: keep it
within a network you trust, or give Dask its TLS certificates.

The store is this process's alone: inputs travel to the workers with the task, outputs come back as bytes and
are put here. So no file system need be shared for the store, no worker can leave half an object on one, and
the rules about what is kept are the local executor's. Outputs are small (keypoints, angles: megabytes at
most); the videos they come from are not sent.

On a worker a unit runs in a supervised child process, as at home, with the same limits: Dask's own threads
can't be stopped, and a crash would take its worker along.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import queue
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import capbench
from capbench.run.store import Store
from capbench.run.supervise import Child, Limits, Setup, wait_for
from capbench.run.units import Failed, Unit
from capbench.run.worker import Report, short
from cohorts.errors import EnvironmentFault

if TYPE_CHECKING:
    from capbench.run.executors import Desk

CONNECT = 20.0  #: seconds to find the scheduler, at the start and when the connection broke
LOOK = 2.0  #: seconds between two looks at how large the cluster is
AHEAD = 4  #: tasks sent per thread of the cluster: no thread waits, and little is held in memory
AHEAD_AT_LEAST = 64  #: also while the cluster has no workers yet: what waits is what makes it grow


# --- here ---------------------------------------------------------------------------------------


def run_on_dask(desk: Desk, setup: Setup, limits: Limits, scheduler: str) -> None:
    """Work the desk's agenda off on the cluster of ``scheduler`` (its address)."""
    try:
        from distributed import Client
        from distributed.comm.core import CommClosedError
    except ImportError:
        raise EnvironmentFault(
            "Expected the package distributed, got none.", fix="pip install 'capbench[dask]'"
        ) from None
    try:
        client = Client(scheduler, timeout=CONNECT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise EnvironmentFault(
            f"Expected a Dask scheduler at {scheduler}, got no answer: {short(str(error))}.",
            fix="dask scheduler, and dask worker ADDRESS",
        ) from error
    job = {
        **asdict(setup),
        "limits": asdict(limits),
        "code": code_digest(setup.work),
        "run": secrets.token_hex(8),
    }
    with client:
        try:
            _work_off(client, desk, job)
        except CommClosedError as error:
            raise _gone(str(error)) from error
        finally:
            if client.status == "running":
                with suppress(Exception):  # what failed before is what must be told
                    client.run(close_benches, job["run"], on_error="ignore")


def _work_off(client: Any, desk: Desk, job: Mapping[str, Any]) -> None:
    agenda = desk.agenda
    looked = -LOOK
    flying: dict[str, tuple[Unit, Any]] = {}  # Dask's name of a task -> the unit, the task
    landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    begun: set[str] = set()
    try:
        while not agenda.finished:
            if time.monotonic() - looked > LOOK:
                desk.workers, looked = max(1, sum(client.nthreads().values())), time.monotonic()
            while len(flying) < max(AHEAD_AT_LEAST, AHEAD * desk.workers):
                unit = agenda.take()
                if unit is None:
                    break
                again = unit.key in begun
                begun.add(unit.key)
                name = f"capbench-{unit.stage}-{unit.key}-{secrets.token_hex(4)}"
                given = {need: desk.store.get(need) for need in unit.needs}
                task = client.submit(
                    remote, unit.to_dict(), job, given, again, key=name, pure=False, retries=1
                )
                flying[name] = unit, task
                task.add_done_callback(landed.put)
            if not flying:
                return  # a circle of needs; the caller says so
            name = _next(client, landed).key
            unit, task = flying.pop(name)
            desk.file(unit, _fetched(task, unit, desk.store, overwrite=job["overwrite"]))
    finally:
        if client.status == "running":
            client.cancel([task for _, task in flying.values()], force=True)


def _next(client: Any, landed: queue.SimpleQueue[Any]) -> Any:
    """The next task that ended; an ``EnvironmentFault`` where the scheduler is gone."""
    while True:
        with suppress(queue.Empty):
            return landed.get(timeout=0.5)
        if client.status == "closed":  # the client tried for CONNECT seconds to reach it again
            raise _gone("it closed the connection")


def _gone(why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The Dask scheduler was lost: {why}.",
        fix="the same command again once it is back: what is done is kept",
    )


def _fetched(task: Any, unit: Unit, store: Store, *, overwrite: bool) -> Report:
    """The report of a task that ended; what it gave is in the store."""
    from distributed import KilledWorker

    if task.status in ("cancelled", "lost"):
        raise _gone("it dropped our tasks")
    try:
        report, output = task.result()
    except KilledWorker as error:  # Dask tried it again by itself, on other workers
        return Report("failed", Failed("environment", "killed", short(f"its Dask workers died: {error}")))
    except Exception as error:  # whatever Dask or a broken worker raises: the reason is in the result
        reason = short(f"Dask: {type(error).__name__}: {error}")
        return Report("failed", Failed("environment", "environment", reason))
    if report.state == "done":
        store.put(unit.key, report.failed or output, overwrite=overwrite)
        store.time(unit.key, unit.stage, report.timing)
    return report  # type: ignore[no-any-return]  # what remote() returned


def code_digest(work: str) -> str:
    """Of capbench's version and the module of the stages: must be equal everywhere, or bytes would differ."""
    source = b""
    with suppress(ImportError, ValueError, OSError):
        spec = importlib.util.find_spec(work.partition(":")[0])
        if spec is not None and spec.origin is not None:
            source = Path(spec.origin).read_bytes()
    return hashlib.sha256(f"{capbench.__version__}\n".encode() + source).hexdigest()


# --- there: what runs on a Dask worker ----------------------------------------------------------


class Bench:
    """A child process and its own small store, for one thread of a Dask worker and one run."""

    def __init__(self, job: Mapping[str, Any], folder: str) -> None:
        self.run: str = job["run"]
        self._folder = tempfile.TemporaryDirectory(dir=folder, prefix="capbench-")
        self._store = Store(self._folder.name)
        self._limits = Limits(**job["limits"])
        self._setup = Setup(job["work"], job["context"], self._folder.name, job["threads"], overwrite=True)
        self.child: Child | None = None
        self.busy = threading.Lock()

    def attempt(self, unit: Unit, given: Mapping[str, bytes | Failed]) -> tuple[Report, bytes | None]:
        """Compute a unit from what its needs gave."""
        try:
            for key, gave in given.items():
                self._store.put(key, gave)
            report = self._watched(unit)
            output = self._store.get(unit.key)
            if report.state == "done":  # with the traceback, which stayed in the store
                report = Report("done", report.failed, self._store.timing(unit.key, unit.stage))
        finally:
            for key in (*given, unit.key):
                self._store.forget(key)
        return report, output if isinstance(output, bytes) else None

    def _watched(self, unit: Unit) -> Report:
        if self.child is not None and self.child.process.poll() is not None:
            self.drop_child()  # it was killed while it had nothing to do
        if self.child is None:
            self.child = Child(self._setup, self._limits)
        child = self.child
        report = None
        while report is None and not child.idle:
            wait_for([child])
            report = child.look()
        if report is None:
            child.give(unit)
        while report is None:
            wait_for([child])
            report = child.look()
        if report.state == "lost":
            self.child = None
        return report

    def drop_child(self) -> None:
        """End the child; the next unit gets a fresh one."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def close(self) -> None:
        """End the child, even in the midst of a unit, which is then lost."""
        if self.busy.acquire(blocking=False):
            self.drop_child()
            self._folder.cleanup()
        elif (child := self.child) is not None:
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)


_BENCHES: dict[int, Bench] = {}  #: by thread


def remote(
    fields: Mapping[str, Any], job: Mapping[str, Any], given: Mapping[str, bytes | Failed], again: bool
) -> tuple[Report, bytes | None]:
    """Compute one unit on a Dask worker: the report, and the output where there is one."""
    unit = Unit.from_dict(fields)
    if code_digest(job["work"]) != job["code"]:
        reason = f"a Dask worker on {os.uname().nodename} has another version of capbench or of {job['work']}"
        return Report("stop", Failed("environment", "version", reason)), None
    try:
        bench = _bench(job)
        with bench.busy:
            if again:
                bench.drop_child()
            return bench.attempt(unit, given)
    except EnvironmentFault as error:  # of this worker: no child can be started, its disk is full
        return Report("lost", Failed("environment", "start", short(str(error)))), None


def _bench(job: Mapping[str, Any]) -> Bench:
    """This thread's, made anew for another run."""
    thread = threading.get_ident()
    bench = _BENCHES.get(thread)
    if bench is None or bench.run != job["run"]:
        if bench is not None:
            bench.close()
        bench = _BENCHES[thread] = Bench(job, _scratch())
    return bench


def _scratch() -> str:
    """The folder of this Dask worker, which Dask empties when the worker is gone."""
    from distributed import get_worker

    return str(get_worker().local_directory)


def close_benches(run: str) -> None:
    """End what a run has left on this Dask worker."""
    for thread, bench in list(_BENCHES.items()):
        if bench.run == run:
            _BENCHES.pop(thread, None)
            bench.close()
