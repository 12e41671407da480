"""A worker process under watch: its time, its memory, its death.

A pool of the standard library hangs or loses the run when a worker is killed. Here each child does one unit
at a time; the parent sees it die, measures its memory and that of all it started, and kills the lot where a
limit is passed. What that means for the unit is :mod:`capbench.run.executors`' to decide.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from capbench.run.units import Failed, Unit
from capbench.run.worker import Report, report_from_dict, short
from cohorts.errors import EnvironmentFault

TICK = 0.05  #: seconds between two looks at a worker's memory and life
START_LIMIT = 180.0  #: seconds a worker may take to import the stages; a cold disk is slow
LOG_LIMIT = 64 << 20  #: bytes a unit may print
#: what numerical libraries read at their start
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
#: signals by which code ends itself; others come from outside
_OWN_SIGNALS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS}
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from capbench.run.worker import main; main(*map(int, sys.argv[2:]))"
)


@dataclass(frozen=True)
class Limits:
    """What one unit may take; None: no limit.

    seconds : of wall time, the opening of a model included
    memory_bytes : of its worker and every process it started, together
    """

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Setup:
    """What every worker of a run is told.

    work : ``"module:function"``, imported in the worker
    context : JSON, handed to each call
    store : the store's folder
    threads : for each worker's numerical libraries. Never made to follow the number of workers: a sum over
        four threads may differ in its last bit from a sum over one, and the bytes must not depend on that
    overwrite : whether outputs replace what is kept
    """

    work: str
    context: Any
    store: str
    threads: int = 1
    overwrite: bool = False


class Child:
    """One worker process. Used by the thread that made it: with that thread it dies."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self.unit: Unit | None = None
        self.stage = ""  #: of its last unit: what it has opened for that stage is still open
        self._limits = limits
        self.ready = False  #: whether it has started
        self._garbled = False
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the child lives
        except OSError as error:
            raise EnvironmentFault(f"No worker can be started: {error.strerror}.") from error
        # each line goes to the end as it is then: the log is cut while the child writes
        fcntl.fcntl(self._log, fcntl.F_SETFL, fcntl.fcntl(self._log, fcntl.F_GETFL) | os.O_APPEND)
        ours, theirs = multiprocessing.Pipe()
        hold, self._lifeline = os.pipe()
        self.channel: Connection = ours
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, _path(), *map(str, (os.getpid(), theirs.fileno(), hold))],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(), hold),
                start_new_session=True,  # Ctrl-C is for the parent alone, and the group can be killed
                env=_environment(setup.threads),
            )
        except OSError as error:
            os.close(self._lifeline)
            raise EnvironmentFault(f"No worker can be started: {error.strerror}.") from error
        finally:
            theirs.close()
            os.close(hold)
        told = {"work": setup.work, "context": setup.context, "store": setup.store}
        self._send({**told, "overwrite": setup.overwrite})
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def idle(self) -> bool:
        """Whether it can be given a unit."""
        return self.ready and self.unit is None and self.process.poll() is None

    def give(self, unit: Unit) -> None:
        """Start a unit."""
        self.unit, self.stage = unit, unit.stage
        self._since = time.monotonic()
        self._send(unit.to_dict())

    def look(self) -> Report | None:
        """What came of the unit, None while it works.

        After a "lost" the child is dead; it is of kind "start" where no unit was ever begun.
        """
        said = self._receive()
        if isinstance(said, Report):
            self.unit = None
            if said.state == "lost":  # it ran out of memory: what it holds is best dropped
                self.kill()
            return said
        if self.process.poll() is not None:
            return self._lost(*self._how_it_ended())
        seconds = time.monotonic() - self._since
        if not self.ready:
            if seconds > START_LIMIT:
                return self._lost("hung", f"it did not start within {START_LIMIT:.0f} s")
        elif self.unit is not None:
            return self._over_limit(seconds)
        return None

    def kill(self) -> None:
        """End it and all it started, now."""
        for pid in tree(self.process.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it leads its group
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self._log.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    # --- within -----------------------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: look() will tell
            self.channel.send_bytes(json.dumps(message).encode())

    def _receive(self) -> Report | None:
        try:
            while self.channel.poll():
                said = json.loads(self.channel.recv_bytes(1 << 20))
                if "broken" in said:
                    self.kill()
                    raise EnvironmentFault(f"A worker can't start: {said['broken']}")
                if self.ready:
                    return report_from_dict(said)
                self.ready = True
        except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
            # it is dead, or has written over the channel and can't be understood any more
            self._garbled = not isinstance(error, EOFError | ConnectionError)
            self.process.kill()
            self.process.wait()
        return None

    def _over_limit(self, seconds: float) -> Report | None:
        if self._limits.seconds is not None and seconds > self._limits.seconds:
            return self._lost("hung", f"still at work after the {self._limits.seconds:g} s it may take")
        most = self._limits.memory_bytes
        if most is not None and memory(self.process.pid, most) > most:
            return self._lost("memory", f"took more than the {most / 2**20:.0f} MB of memory it may")
        if os.fstat(self._log.fileno()).st_size > LOG_LIMIT:
            os.ftruncate(self._log.fileno(), 0)
        return None

    def _how_it_ended(self) -> tuple[str, str]:
        code = self.process.returncode
        if self._garbled:
            return "crashed", "its process wrote over the channel to its parent"
        if code >= 0:
            return "crashed", f"its process ended with status {code}{self._last_words()}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        if -code in _OWN_SIGNALS:
            return "crashed", f"its process crashed ({name}){self._last_words()}"
        return "killed", f"its process was killed ({name}: by hand, or by a machine out of memory)"

    def _last_words(self) -> str:
        self._log.seek(max(0, os.fstat(self._log.fileno()).st_size - 2000))
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return f": {last}" if last else ""

    def _lost(self, kind: str, reason: str) -> Report:
        if not self.ready:
            kind, reason = "start", f"a worker did not get ready: {reason}"
        self.kill()
        self.unit = None
        return Report("lost", Failed("environment", kind, short(reason)))


def wait_for(children: Sequence[Child], seconds: float = TICK) -> None:
    """Return when one of them says something, at the latest after ``seconds``."""
    wait([child.channel for child in children], seconds)


def _path() -> str:
    """This process's module path; the current folder by name, as it is meant now."""
    return json.dumps([folder or str(Path.cwd()) for folder in sys.path])


def _environment(threads: int) -> dict[str, str]:
    made = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    made["PYTHONHASHSEED"] = "0"  # the order of a set must not be chance
    made["PYTHONUNBUFFERED"] = "1"  # so that its last words are on record
    return made


# --- processes ----------------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """Every process that ``pid`` started, directly or not."""
    found, at = [], [pid]
    while at:
        children = list(_children(at.pop()))
        found += children
        at += children
    return found


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                yield from map(int, (thread / "children").read_text("ascii").split())


def memory(pid: int, enough: int | None = None) -> int:
    """Bytes that a process and all it started hold, but for files they share with the disk.

    Pages that a process shares with its forks are counted once for each; only where that comes to more than
    ``enough`` is the exact count made, which takes a thousand times as long.
    """
    pids = [pid, *tree(pid)]
    total = sum(map(_anonymous, pids))
    if enough is not None and total > enough and len(pids) > 1:
        return min(total, sum(map(_proportional, pids)))
    return total


def _anonymous(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:"))


def _proportional(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))


def _kilobytes(file: str, names: tuple[str, ...]) -> int:
    """The sum of the named lines of a table under /proc, in bytes; 0 for a process that has ended."""
    try:
        lines = Path(file).read_text("ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(names))
