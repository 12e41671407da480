"""Keeps one model's process: starts it, bounds its memory, and leaves nothing of it behind.

Run by path, as ``python -I -S keeper.py PARENT MEMORY DATA REPORT COMMAND...``; nothing of capbench is
imported. It stands between capbench and the model because neither end can do its work:

- capbench may be killed at any moment, and what it has started must die with it. The kernel's "die with your
  parent" signal is bound to the *thread* that started the process, and capbench has many that come and go.
- A model may fork, and may take its children out of its process group. Orphans here fall to the keeper (it
  is their "subreaper"), so that all that the model ever started can be found and ended.

Memory has two bounds, in bytes. DATA (RLIMIT_DATA; 0 for none) stops one process in the very call that asks
for too much, and the model is told (``MemoryError``); it counts private writable memory, not address space,
of which torch reserves far more than it uses. MEMORY is for all its processes together: their resident
memory is looked at ten times a second. What a GPU's driver maps may count as data and is never resident, so
a model on a GPU has the second bound only.

On the file descriptor REPORT one line of JSON says how it ended: {"ended": "exit", "code": 3}, {"ended":
"signal", "number": 11}, {"ended": "memory", "bytes": ...} or {"ended": "unstarted", "why": ...}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

PERIOD = 0.1  #: seconds between two looks at the parent and at the memory
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
WAKING = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def main(parent: int, memory: int, data: int, report: int, command: list[str]) -> None:
    """Run ``command`` until it ends, is told to end (SIGTERM), or ``parent`` is gone."""
    os.set_inheritable(report, False)
    control = ctypes.CDLL(None, use_errno=True).prctl
    control(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKING)
    try:
        home = tempfile.mkdtemp(prefix="capbench-")  # the model's whole HOME; gone with it
    except OSError as error:
        return tell(report, {"ended": "unstarted", "why": f"a folder for it: {error.strerror}"})
    try:
        model = os.fork()
        if model == 0:
            become(command, home, data, report, control)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # the model's alone from here on, so that its end closes them
            os.dup2(nothing, stream)
        ended = watch(model, parent, memory)
        end_all()
        tell(report, ended)
    finally:
        end_all()
        shutil.rmtree(home, ignore_errors=True)


def tell(report: int, ended: dict[str, Any]) -> None:
    """Write how it ended."""
    with contextlib.suppress(OSError):  # the parent is gone: nobody to tell
        os.write(report, json.dumps(ended).encode() + b"\n")


def become(command: list[str], home: str, data: int, report: int, control: Any) -> NoReturn:
    """In the fork: turn into the model, in a session of its own."""
    try:
        os.setsid()
        control(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # the keeper has one thread: this is sound here
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAKING)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if data:
            resource.setrlimit(resource.RLIMIT_DATA, (data, data))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ.update(HOME=home, TMPDIR=home)
        if os.getcwd() == "/":  # noqa: PTH109 - nowhere in particular
            os.chdir(home)
        os.execvp(command[0], command)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        tell(report, {"ended": "unstarted", "why": f"{command[0]}: {why}"})
    finally:
        os._exit(127)


def watch(model: int, parent: int, memory: int) -> dict[str, Any]:
    """How the model ended."""
    while True:
        woken = signal.sigtimedwait(WAKING, PERIOD)
        told = woken is not None and woken.si_signo != signal.SIGCHLD
        status = reap(model)
        if status is not None and os.WIFSIGNALED(status):
            return {"ended": "signal", "number": os.WTERMSIG(status)}
        if status is not None:
            return {"ended": "exit", "code": os.WEXITSTATUS(status)}
        if told or os.getppid() != parent:
            return {"ended": "told"}
        used = resident(memory)
        if used > memory:
            return {"ended": "memory", "bytes": used}


def reap(model: int) -> int | None:
    """Take leave of every ended process; the model's wait status if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            found = status if process == model else found
    return found


def end_all() -> None:
    """Kill all that descends from the keeper, until nothing does."""
    for _ in range(200):
        left = descendants(os.getpid())
        if not left:
            return
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
        reap(-1)


def descendants(process: int) -> list[int]:
    """The processes below ``process``, ended ones that nobody took leave of included."""
    found = []
    for task in tasks(process):
        with contextlib.suppress(OSError):
            children = [int(word) for word in (task / "children").read_text().split()]
            for child in children:
                found += [child, *descendants(child)]
    return found


def tasks(process: int) -> list[Path]:
    """The kernel's folders of a process's threads; each thread has the children that it started."""
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{process}/task").iterdir())
    return []


def resident(limit: int) -> int:
    """Bytes of memory held by all descendants; where their sum exceeds ``limit``, shared pages count once."""
    processes = descendants(os.getpid())
    page = resource.getpagesize()
    used = sum(page * int(field(Path(f"/proc/{p}/statm"), 1)) for p in processes)
    if used > limit:  # the exact figure takes the kernel a thousand times as long
        used = sum(1024 * int(field(Path(f"/proc/{p}/smaps_rollup"), after="Pss:")) for p in processes)
    return used


def field(file: Path, number: int = 0, *, after: str | None = None) -> str:
    """A word of a file of the kernel's; "0" where the process is gone."""
    try:
        words = file.read_text().split()
        return words[number if after is None else words.index(after) + 1]
    except (OSError, LookupError, ValueError):
        return "0"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
