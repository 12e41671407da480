"""What a fit takes and gives, whatever solves it: which markers meet which; the motion and its misfit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capbench.biomech.certificate import Certificate
from capbench.biomech.opensim_setup import CoordinateTask, ModelNames, Tasks, model_names, read_tasks
from capbench.biomech.presets import preset
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray

MARKERS_NEEDED = 3  #: fewer points don't fix even one body in space


@dataclass(frozen=True)
class Fit:
    """A motion fitted to markers.

    Attributes
    ----------
    motion : every coordinate of the model at the markers' times; NaN in frames that could not be fitted
    marker_rms : (T,) metres, root mean square distance between the fitted markers and the model's
    marker_worst : (T,) metres, the largest such distance
    markers : names of the fitted markers
    notes : oddities that did not stop it, in words
    seconds : time that the solver took, reading the files left out
    engine : which solver, its version and its accuracy
    certificate : the proof of each frame, where the engine gives one
    """

    motion: Motion
    marker_rms: FloatArray
    marker_worst: FloatArray
    markers: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    engine: str
    certificate: Certificate | None = None

    @property
    def fitted_frames(self) -> int:
        """How many frames have a solution."""
        return int(np.isfinite(self.marker_rms).sum())

    @property
    def rms(self) -> float:
        """Root mean square marker distance over all fitted frames, metres."""
        return float(np.sqrt(np.nanmean(self.marker_rms**2)))


@dataclass(frozen=True)
class Plan:
    """What will be fitted to what.

    Attributes
    ----------
    markers : the recorded markers that model and tasks share, all frames
    fittable : (T,) which frames have enough of them
    weights : marker -> weight, in the markers' order
    steering : coordinate tasks
    notes : what was left out, in words
    """

    markers: Markers
    fittable: NDArray[np.bool_]
    weights: dict[str, float]
    steering: tuple[CoordinateTask, ...]
    notes: tuple[str, ...]


def plan(markers: Markers, model: Path, tasks: str | os.PathLike[str] | None) -> Plan:
    """Match a recording with a model and, where given, a preset or an OpenSim task file with the weights.

    Without one all markers weigh the same. The task file's accuracy, times and file names are left aside.
    """
    notes: list[str] = []
    names = model_names(model)
    wanted = _everything(names) if tasks is None else _tasks(tasks)
    weights = _match(wanted, names, markers, model, tasks, notes)
    steering = _coordinate_tasks(wanted, names, notes)
    used = markers.select(weights)
    return Plan(used, _fittable(used, notes), weights, tuple(steering), tuple(notes))


def _tasks(name: str | os.PathLike[str]) -> Tasks:
    """The tasks of a preset, or of a file: what ends in .xml or exists is a file."""
    text = os.fspath(name)
    if text.endswith(".xml") or Path(text).exists():
        return read_tasks(Path(text))
    return preset(text)


def _everything(names: ModelNames) -> Tasks:
    return Tasks(dict.fromkeys(names.markers, 1.0), ())


def _match(
    tasks: Tasks,
    model: ModelNames,
    markers: Markers,
    model_file: Path,
    task_file: str | os.PathLike[str] | None,
    notes: list[str],
) -> dict[str, float]:
    """Weights of the markers that model, recording and tasks share; notes say what was left out.

    OpenSim itself passes over all of these without a word.
    """
    weighed = {name: weight for name, weight in tasks.markers.items() if weight > 0}
    present = np.asarray(np.isfinite(markers.xyz).all(axis=-1))
    seen = {name: bool(present[:, i].any()) for i, name in enumerate(markers.names)}
    shared = {n: w for n, w in weighed.items() if n in model.markers and seen.get(n, False)}
    for left_out, why in (
        ([n for n in weighed if n not in model.markers], "tasks name markers that the model lacks"),
        ([n for n in weighed if n in model.markers and n not in seen], "markers to fit were not recorded"),
        ([n for n in weighed if not seen.get(n, True)], "markers to fit are missing in every frame"),
        ([n for n in markers.names if n not in model.markers], "recorded markers are not in the model"),
        (
            [n for n in markers.names if n in model.markers and n not in weighed],
            "recorded markers have no task or weight 0",
        ),
    ):
        if left_out:
            notes.append(f"{len(left_out)} {why}: {shorten(left_out)}")
    if len(shared) < MARKERS_NEEDED:
        raise CapbenchError(
            f"Expected at least {MARKERS_NEEDED} markers that the recording"
            f"{', the tasks' if task_file else ''} and the model share, got {len(shared)}. "
            f"Recorded: {shorten(markers.names)}. Model: {shorten(model.markers) or 'none'}.",
            file=model_file,
            fix="rename the recorded markers, or give a model with this marker set",
        )
    return shared


def _coordinate_tasks(tasks: Tasks, model: ModelNames, notes: list[str]) -> list[CoordinateTask]:
    unknown = [task.name for task in tasks.coordinates if task.name not in model.coordinates]
    if unknown:
        notes.append(f"{len(unknown)} tasks name coordinates that the model lacks: {shorten(unknown)}")
    return [task for task in tasks.coordinates if task.name in model.coordinates]


def _fittable(markers: Markers, notes: list[str]) -> NDArray[np.bool_]:
    """(T,) which frames have enough markers; one frame without any stops OpenSim's whole run."""
    good = np.isfinite(markers.xyz).all(axis=-1).sum(axis=1) >= MARKERS_NEEDED
    if not good.any():
        raise CapbenchError(
            f"Expected frames with at least {MARKERS_NEEDED} of the {len(markers.names)} markers to fit, "
            f"got none in {len(markers)} frames."
        )
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        notes.append(
            f"{(~good).sum()} of {len(good)} frames have fewer than {MARKERS_NEEDED} markers and are "
            f"left empty, the first at {markers.time[first]:g} s"
        )
    return np.asarray(good, dtype=np.bool_)
