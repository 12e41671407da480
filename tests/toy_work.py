"""Stages for the tests of the executors: sums, and every way to misbehave."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from capbench.run.store import Store
from capbench.run.units import Unit, UnitError, pack, unpack
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError

WORK = "toy_work:work"


def work(unit: Unit, context: dict[str, Any], inputs: Mapping[str, bytes]) -> bytes:
    time.sleep(context.get("pause", 0.0))
    if folder := context.get("calls"):  # how often each unit was begun
        with (Path(folder) / unit.key).open("a") as file:
            file.write(f"{os.getpid()} {unit.stage}\n")
    if unit.stage == "sum":
        values = [unpack(data)[0]["x"] for _, data in sorted(inputs.items())]
        return pack({"x": np.sum(values, axis=0)}, {"of": len(values), "names": sorted(inputs)})
    if unit.stage == "draw":
        seed = unit.params["seed"]
        return pack({"x": np.random.default_rng(seed).normal(size=unit.params.get("n", 50))}, {"seed": seed})
    if unit.params["how"] == "keep and die":
        Store(Path(context["units"])).put(unit.key, pack({}, "kept"))
        os._exit(9)
    misbehave(unit.params["how"], context, first=_first_time(unit, context))
    return pack({}, "survived")


def _first_time(unit: Unit, context: dict[str, Any]) -> bool:
    mark = Path(context["scratch"]) / f"tried-{unit.key}"
    new = not mark.exists()
    mark.touch()
    return new


def misbehave(how: str, context: dict[str, Any], *, first: bool) -> None:  # noqa: C901
    how, _, once = how.partition(" ")
    if once and not first:
        return
    if how == "throw":
        raise ValueError(f"no\nsense at {object()!r}")
    elif how == "typed":
        raise UnitError("Expected 25, got 30.", fault="cohort", kind="frame-rate", file="a.mp4")
    elif how == "unusable":
        raise CapbenchError("Expected a video.", fix="give one")
    elif how == "refused":
        raise RefusedError("Expected no bomb.")
    elif how == "lacking":
        raise EnvironmentFault("Expected ezc3d.")
    elif how == "exit":
        sys.exit(3)
    elif how == "die":
        os.write(2, b"the library said: no such chip\n")
        os._exit(9)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        while True:
            time.sleep(1)
    elif how == "hang-in-c":  # PyDLL keeps the interpreter's lock
        ctypes.PyDLL(None).sleep(1000)
    elif how == "hog":
        held = []
        while True:
            held.append(np.ones(1 << 20))
            time.sleep(0.005)
    elif how == "hog-in-child":
        code = "import time; x = bytearray(b'1' * (400 << 20)); time.sleep(100)"
        subprocess.run([sys.executable, "-c", code], check=True)
    elif how == "too-big":
        np.ones(1 << 45)
    elif how == "full":
        raise OSError(28, "No space left on device")
    elif how == "bad-disk":
        raise OSError(5, "Input/output error")
    elif how == "print":
        for _ in range(2000):
            os.write(1, b"x" * 65536)
    elif how == "scribble":
        for descriptor in range(3, 100):
            try:
                os.write(descriptor, b"\x00\x00\x00\x05hello")
            except OSError:
                continue
    else:
        raise AssertionError(how)


def wrong_type(unit: Unit, context: Any, inputs: Mapping[str, bytes]) -> Any:
    return {"not": "bytes"}


def draws(count: int, **fields: Any) -> list[Unit]:
    return [Unit("draw", f"d{k}", params={"seed": k}, **fields) for k in range(count)]


def ladder(count: int) -> list[Unit]:
    """``count`` draws, the sums of each neighbouring pair, and the sum of those."""
    low = draws(count)
    pairs = [
        Unit("sum", f"p{i}", inputs={"a": a.key, "b": b.key}, needs=(a.key, b.key))
        for i, (a, b) in enumerate(pairwise(low))
    ]
    names = {f"p{i:03}": unit.key for i, unit in enumerate(pairs)}
    return [Unit("sum", "all", inputs=names, needs=tuple(names.values())), *pairs, *low]


def environment(unit: Unit, context: Any, inputs: Mapping[str, bytes]) -> bytes:
    return json.dumps(dict(os.environ), sort_keys=True).encode()


def shown(unit: Unit, context: Any, inputs: Mapping[str, bytes]) -> bytes:
    return json.dumps([repr(unit.params), repr(context)]).encode()


def bad(how: str, **fields: Any) -> Unit:
    return Unit("bad", how, params={"how": how}, **fields)


def outputs(outcomes: Any) -> dict[str, Any]:
    return {key: outcomes[key] for key in outcomes.units}


def begun(shared: dict[str, Any]) -> dict[str, int]:
    """How often each unit was begun."""
    return {path.name: len(path.read_text().splitlines()) for path in Path(shared["calls"]).iterdir()}


def scratch(folder: Path) -> dict[str, str]:
    """A context with places for the stages' notes."""
    for name in ("scratch", "calls"):
        (folder / name).mkdir()
    return {name: str(folder / name) for name in ("scratch", "calls")}
