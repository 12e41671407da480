"""One unit's work, and the child process that does one after another.

The child is started by :mod:`capbench.run.supervise`, with a fresh Python. It is told the stage function and
the context once, then unit after unit; it reads inputs from the store and puts outputs there, so that only
short messages (JSON, never pickles) cross the border. It dies with its parent: the kernel kills its whole
process group when the parent's end of a pipe closes, even while C code holds the interpreter.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from capbench.run.store import Store, Timing
from capbench.run.units import Failed, Unit, UnitError
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError, printable

Work = Callable[[Unit, Any, Mapping[str, bytes]], bytes]

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  #: no unit could be kept any more
MACHINE = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENODEV, errno.ENXIO}
REASON_LIMIT = 500  #: letters
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Report:
    """What came of one attempt at a unit.

    ``done``: its output, or the failure that is kept like one, is in the store. ``failed``: an environment
    fault of this unit alone. ``lost``: the attempt ended from outside, and may be made again. ``stop``: no
    unit could go on.
    """

    state: Literal["done", "failed", "lost", "stop"]
    failed: Failed | None = None
    timing: Timing | None = None


def find_work(work: str) -> Work:
    """The function named ``"module:function"``."""
    module, _, name = work.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault(f"The stages {work} can't be imported: {error}.") from error
    return found  # type: ignore[no-any-return]  # a name says no type


def perform(unit: Unit, work: Work, context: Any, store: Store, *, overwrite: bool = False) -> Report:
    """Call the stage, keep what it gives; every exception becomes a report."""
    began = time.perf_counter()
    trace = ""
    try:
        output: bytes | Failed = _called(unit, work, context, store)
    except (Exception, SystemExit) as error:
        trace = "".join(traceback.format_exception(error))[-20_000:]
        report = _judge(unit, error)
        if report.failed is None or report.state != "done":
            return report
        output = report.failed
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    timing = Timing(seconds, unit.size, len(output) if isinstance(output, bytes) else 0, peak, trace)
    try:
        store.put(unit.key, output, overwrite=overwrite)
        store.time(unit.key, unit.stage, timing)
    except EnvironmentFault as error:
        return Report("stop", Failed("environment", "disk", short(f"{error.file}: {error.problem}")))
    return Report("done", output if isinstance(output, Failed) else None, timing)


def _called(unit: Unit, work: Work, context: Any, store: Store) -> bytes:
    inputs = {}
    for name, key in unit.from_needs().items():
        given = store.get(key)
        if isinstance(given, bytes):
            inputs[name] = given
        elif given is None:
            raise EnvironmentFault(
                f"Expected the output that {name} is in the store, got none: it was damaged or removed while "
                "the run went on.",
                fix="give the same command again",
            )
        elif name not in unit.may_lack:
            raise EnvironmentFault(f"Expected {name}, got a failure: {given.reason}")
    output = work(unit, context, inputs)
    if not isinstance(output, bytes):
        raise TypeError(f"the stage returned {type(output).__name__}, not bytes")
    return output


def _judge(unit: Unit, error: BaseException) -> Report:
    """Whose fault an exception is, and what follows."""
    if isinstance(error, UnitError):
        failed = Failed(error.fault, error.kind, short(str(error)))
    elif (number := _disk_error(error)) is not None:
        failed = Failed("environment", "disk", short(f"{os.strerror(number)}: {error}"))
        return Report("stop" if number in NO_ROOM else "failed", failed)
    elif isinstance(error, EnvironmentFault):
        failed = Failed("environment", "environment", short(str(error)))
    elif isinstance(error, RefusedError):
        failed = Failed(unit.blame, "refused", short(str(error)))
    elif isinstance(error, CapbenchError):
        failed = Failed(unit.blame, "unusable", short(str(error)))
    elif isinstance(error, MemoryError):
        return Report("lost", Failed(unit.blame, "memory", short(f"out of memory: {error}")))
    else:
        failed = Failed(unit.blame, "threw", short(f"{type(error).__name__}: {error}"))
    return Report("failed" if failed.fault == "environment" else "done", failed)


def _disk_error(error: BaseException | None) -> int | None:
    """The number of the system's error behind ``error``, if it is the machine's rather than a wrong path."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, OSError) and error.errno in NO_ROOM | MACHINE:
            return error.errno
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        seen += 1
    return None


def short(text: str) -> str:
    """A reason as results hold it: one line, bounded, without the addresses that differ from run to run."""
    line = re.sub(r"0x[0-9a-fA-F]+", "0x…", printable(" ".join(text.split())))
    return line if len(line) <= REASON_LIMIT else line[: REASON_LIMIT - 1] + "…"


# --- the child ----------------------------------------------------------------------------------


def main(parent: int, channel: int, lifeline: int) -> None:
    """Work for the process ``parent`` on what comes through ``channel`` until it closes."""
    die_with(parent, lifeline)
    for descriptor in (channel, lifeline):
        os.set_inheritable(descriptor, False)  # what the stages start must not hold them open
    with suppress(OSError):
        # where memory runs out, the kernel's choice should be a worker, not the run
        Path("/proc/self/oom_score_adj").write_text("600", "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not fill the disk
    pipe = Connection(channel)
    setup = json.loads(pipe.recv_bytes())
    try:
        work = find_work(setup["work"])
        store = Store(setup["store"], sweep=False)
    except Exception as error:
        _say(pipe, {"broken": short(f"{type(error).__name__}: {error}")})
        return
    _say(pipe, {"ready": True})
    while True:
        try:
            unit = Unit.from_dict(json.loads(pipe.recv_bytes()))
        except EOFError:
            return
        for log in (1, 2):
            with suppress(OSError):
                os.ftruncate(log, 0)  # the log's tail explains a death: it should be of this unit
        report = perform(unit, work, setup["context"], store, overwrite=setup["overwrite"])
        sys.stdout.flush()
        sys.stderr.flush()
        _say(pipe, report_to_dict(report))


def die_with(parent: int, lifeline: int) -> None:
    """Have the kernel kill this process group when ``lifeline``'s other end closes, or ``parent`` dies."""
    with suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the lines above
        os._exit(1)


def report_to_dict(report: Report) -> dict[str, Any]:
    """A report as JSON; the traceback stays in the store."""
    timing = None if report.timing is None else report.timing._replace(trace="")._asdict()
    failed = None if report.failed is None else asdict(report.failed)
    return {"state": report.state, "failed": failed, "timing": timing}


def report_from_dict(fields: Mapping[str, Any]) -> Report:
    """What :func:`report_to_dict` gave."""
    failed, timing = fields["failed"], fields["timing"]
    return Report(
        fields["state"],
        None if failed is None else Failed(**failed),
        None if timing is None else Timing(**timing),
    )


def _say(pipe: Connection, message: Mapping[str, Any]) -> None:
    pipe.send_bytes(json.dumps(message).encode())
