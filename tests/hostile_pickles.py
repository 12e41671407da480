"""Pickles that would write a file if they were run: one for each way in, those that scanners miss among them.

``PAYLOADS`` are named functions (where to write, a folder for helpers) -> an object whose pickle does it.
"""

import builtins
import functools
import io
import logging
import marshal
import operator
import os
import pickle
import pydoc
import runpy
import shutil
import sqlite3
import subprocess
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Calls:
    """Pickles as a call of ``function`` with ``args``; stands for what the call gives, callable or not."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __call__(self) -> None:  # pickle asks that whatever is called looks callable
        raise AssertionError

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


class Fills(Calls):
    """The same as a step that fills an object made elsewhere."""

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (print,), (self.function, self.args, {}, None)


def _hub(mark: Path, folder: Path) -> Any:
    import torch

    (folder / "hubconf.py").write_text(f"def entry():\n    open({str(mark)!r}, 'w').close()\n")
    return Calls(functools.partial(torch.hub.load, str(folder), "entry", source="local", verbose=False))


def _script(mark: Path, folder: Path) -> str:
    path = folder / "script.py"
    path.write_text(f"open({str(mark)!r}, 'w').close()\n")
    return str(path)


def _inner(mark: Path, folder: Path) -> Any:
    return Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {mark}")))


def _source(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()"


PAYLOADS: dict[str, Callable[[Path, Path], Any]] = {
    "os.system": lambda mark, folder: Calls(os.system, f"touch {mark}"),
    "subprocess.run": lambda mark, folder: Calls(subprocess.check_call, ["touch", str(mark)]),
    "builtins.eval": lambda mark, folder: Calls(eval, _source(mark)),
    "builtins.exec": lambda mark, folder: Calls(exec, _source(mark)),
    "builtins.open": lambda mark, folder: Calls(builtins.open, str(mark), "w"),
    "io.FileIO": lambda mark, folder: Calls(io.FileIO, str(mark), "w"),
    "numpy.savetxt": lambda mark, folder: Calls(np.savetxt, str(mark), [1.0]),
    "numpy.memmap": lambda mark, folder: Calls(np.memmap, str(mark), "uint8", "w+", 0, (4,)),
    "sqlite3.connect": lambda mark, folder: Calls(sqlite3.connect, str(mark)),
    "a chain of getattr": lambda mark, folder: Calls(Calls(getattr, mark, "touch")),
    "operator.methodcaller": lambda mark, folder: Calls(operator.methodcaller("touch"), mark),
    "functools.partial": lambda mark, folder: Calls(functools.partial(os.system, f"touch {mark}")),
    "torch.hub.load": _hub,
    "runpy.run_path": lambda mark, folder: Calls(runpy.run_path, _script(mark, folder)),
    "shutil.copyfile": lambda mark, folder: Calls(shutil.copyfile, _script(mark, folder), str(mark)),
    "logging.FileHandler": lambda mark, folder: Calls(logging.FileHandler, str(mark)),
    "timeit.timeit": lambda mark, folder: Calls(
        timeit.timeit, _source(mark), "pass", timeit.default_timer, 1
    ),
    "pydoc.pipepager": lambda mark, folder: Calls(pydoc.pipepager, "x", f"cat > {mark}"),
    "marshalled code": lambda mark, folder: Calls(
        exec, Calls(marshal.loads, marshal.dumps(compile(_source(mark), "x", "exec")))
    ),
    "a pickle in a pickle": _inner,
    "an object's state": lambda mark, folder: Calls(Fills(os.system, (f"touch {mark}"))),
}
