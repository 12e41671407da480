"""OpenSim's own tools, as the reference: each runs in a child process that may crash or hang.

OpenSim's readers are only ever given files that ours have parsed: the model is read as bounded XML first,
and the markers are written anew.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from capbench.biomech import opensim_child
from capbench.biomech.matching import Fit, plan
from capbench.biomech.opensim_setup import CoordinateTask
from cohorts.bounded import MB
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.formats import storage, trc
from cohorts.recording import Kind, Markers, Motion, Signals, kind_by_name
from cohorts.values import FloatArray

#: Solver accuracy. The published benchmark's 1e-5 stops early: up to degrees from the optimum on real
#: recordings. 1e-7 stays within 0.03 degrees of it at twice the time; 1e-9 takes three times as long.
ACCURACY = 1e-7

_SECONDS = 60.0  # of processor time to load a model, and
_SECONDS_PER_FRAME = 3.0  # for each frame; the slowest measured model needs 0.13
_MEMORY = 4096 * MB
_FILE_SIZE = 2048 * MB


def fit(
    markers: Markers,
    model: str | os.PathLike[str],
    *,
    tasks: str | os.PathLike[str] | None = None,
    accuracy: float = ACCURACY,
    timeout: float | None = None,
) -> Fit:
    """Fit an .osim model to markers with OpenSim's inverse kinematics tool.

    ``tasks`` is an OpenSim set-up or task file that gives the marker weights; without one all markers weigh
    the same. ``timeout`` is in seconds of wall time.
    """
    model = Path(model).resolve()
    if not 0 < accuracy <= 0.1:
        raise CapbenchError(f"Expected an accuracy between 0 and 0.1, got {accuracy:g}.")
    planned = plan(markers, model, tasks)
    used, good = planned.markers, planned.fittable
    some = Markers(used.time[good], used.names, used.xyz[good])
    done, motion, errors = _run(some, model, planned.weights, list(planned.steering), accuracy, timeout)
    values, rms, worst = (np.full((len(used), *a.shape[1:]), np.nan) for a in (motion.values, *errors))
    values[good], rms[good], worst[good] = motion.values, *errors
    return Fit(
        Motion(used.time, motion.names, values, motion.kinds, motion.coupled),
        rms,
        worst,
        used.names,
        planned.notes,
        float(done["seconds"]),
        f"OpenSim {str(done['version']).split('-')[0][:20]}, accuracy {accuracy:g}",
    )


# --- the child process --------------------------------------------------------------------------


def _run(
    markers: Markers,
    model: Path,
    weights: dict[str, float],
    steering: list[CoordinateTask],
    accuracy: float,
    timeout: float | None,
) -> tuple[dict[str, Any], Motion, tuple[FloatArray, FloatArray]]:
    """What the child says of itself, the motion, and the marker errors (rms and largest, metres)."""
    with tempfile.TemporaryDirectory(prefix="capbench-") as name:
        folder = Path(name)
        trc.write(folder / "markers.trc", markers)
        job = {
            "model": str(model),
            "markers": "markers.trc",
            "accuracy": accuracy,
            "marker_tasks": list(weights.items()),
            "coordinate_tasks": [[t.name, t.weight, t.kind, t.value] for t in steering],
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        call_child(folder, model, _SECONDS + _SECONDS_PER_FRAME * len(markers), timeout)
        done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
        motion = _motion(folder / "fit.mot", done["kinds"], markers.time, model)
        errors = storage.read(folder / "fit_ik_marker_errors.sto", kind="signals")
        _check_frames(errors, len(markers), model)
        return done, motion, (errors.column("marker_error_RMS"), errors.column("marker_error_max"))


def call_child(folder: Path, model: Path, seconds: float, timeout: float | None) -> None:
    """Run the child on ``job.json`` in ``folder``, within so many seconds of processor time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE, _FILE_SIZE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    log = folder / "log.txt"
    allowed = 4 * seconds if timeout is None else timeout  # a busy machine may give the child little time
    with log.open("wb") as stream:
        try:
            ended = subprocess.run(
                [sys.executable, "-P", opensim_child.__file__, "job.json"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                timeout=allowed,
                preexec_fn=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CapbenchError(
                f"Expected OpenSim to finish within {allowed:.0f} s; it did not. "
                f"Its last words: {_last_words(log)}",
                file=model,
                fix="fit fewer frames at a time, or with a lower accuracy",
            ) from None
        except OSError as error:
            raise EnvironmentFault(f"Can't start OpenSim's process: {error.strerror}.") from error
    if ended.returncode != 0:
        raise _failure(ended.returncode, _last_words(log), model)


def _failure(status: int, words: str, model: Path) -> CapbenchError:
    if status == opensim_child.NO_OPENSIM:
        return EnvironmentFault(
            f"Fitting needs OpenSim: {words}.", fix="pip install 'opensim>=4.6,<4.7' (Python 3.11 to 3.13)"
        )
    if status == opensim_child.REFUSED:
        return CapbenchError(f"OpenSim can't fit this model: {words}", file=model)
    if status < 0:
        name = signal.Signals(-status).name
        if name == "SIGKILL":
            return EnvironmentFault(
                f"OpenSim's process was killed, most likely for want of memory. Its last words: {words}",
                fix="fit fewer frames at a time",
            )
        how = "ran too long" if name == "SIGXCPU" else f"crashed ({name})"
        return CapbenchError(f"OpenSim {how} on this model. Its last words: {words}", file=model)
    return CapbenchError(f"OpenSim failed on this model: {words}", file=model)


def _last_words(log: Path) -> str:
    """What the log ends with: OpenSim's last error where it logged one, else the last line."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 8192))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [i for i, line in enumerate(lines) if line.startswith("[error]")]
    if errors:  # the tool's own last line then only says "see messages window"
        told = [line for line in lines[errors[-1] : -1] if not line.startswith("Thrown at")]
        return " ".join(told or lines[-1:]).removeprefix("[error] ")[:500]
    return lines[-1][:500] if lines else "none"


_ROTATION, _TRANSLATION, _COUPLED = 1, 2, 3  # OpenSim's Coordinate::MotionType


def _motion(path: Path, kinds: dict[str, int], time: FloatArray, model: Path) -> Motion:
    """The fitted coordinates; OpenSim writes those it calls rotational in degrees, all others as they are."""
    table = storage.read(path, kind="signals")
    _check_frames(table, len(time), model)
    values = table.values.copy()
    for i, name in enumerate(table.names):
        if kinds.get(name) == _ROTATION:
            values[:, i] = np.radians(values[:, i])
    return Motion(
        time,
        table.names,
        values,
        tuple(_kind(kinds.get(name), name) for name in table.names),
        tuple(name for name in table.names if kinds.get(name) == _COUPLED),
    )


def _kind(number: int | None, name: str) -> Kind:
    if number in (_ROTATION, _TRANSLATION):
        return "rotation" if number == _ROTATION else "translation"
    return kind_by_name(name)


def _check_frames(table: Motion | Signals, frames: int, model: Path) -> None:
    if len(table) != frames:
        raise CapbenchError(f"Expected OpenSim to fit {frames} frames, got {len(table)}.", file=model)
    if np.isnan(table.values).any():
        raise CapbenchError("Expected OpenSim to find numbers, got NaN.", file=model)
