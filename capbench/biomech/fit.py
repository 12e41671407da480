"""Fitting a model file to markers with either engine."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from capbench.biomech import kinematics, opensim_tools
from capbench.biomech.matching import Fit, Plan, plan
from capbench.biomech.model import Model
from capbench.biomech.opensim_setup import CoordinateTask as SetupTask
from capbench.biomech.osim import read_model
from capbench.biomech.problem import CoordinateTask
from capbench.biomech.solve import solve
from capbench.biomech.suspect import misplaced, suspicions
from capbench.biomech.suspicion import refuse
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray

Engine = Literal["fast", "opensim", "published"]
PUBLISHED = 1e-5  #: the accuracy that published set-ups use; it stops early


def fit(
    markers: Markers,
    model: str | os.PathLike[str],
    *,
    tasks: str | os.PathLike[str] | None = None,
    engine: Engine = "fast",
    accuracy: float | None = None,
    passes: int = 3,
    prior: float | None = None,
    anyway: bool = False,
) -> Fit:
    """Fit an .osim model to markers, frame by frame.

    ``tasks`` is an OpenSim set-up or task file that gives the marker weights; without one all markers weigh
    the same. ``accuracy`` is OpenSim's; the fast engine always solves to the end, and takes ``passes``: 1, 2
    or 3 chains of starts, of which each frame keeps the best. ``prior`` in hertz makes the fast engine weigh
    misfit against acceleration (see :mod:`capbench.biomech.smooth`). The engine "published" is OpenSim's at
    the accuracy of 1e-5 that published results were made with. A recording that is surely wrong
    (mirrored, upside down, other units) is refused unless ``anyway``; what is only odd goes into the notes.
    """
    path = Path(model).resolve()
    planned = plan(markers, path, tasks)
    parsed, notes = _parsed(path, engine)
    if parsed is not None:
        notes += _checked(parsed, planned, anyway=anyway)
    if engine != "fast":
        usual = PUBLISHED if engine == "published" else opensim_tools.ACCURACY
        exact = usual if accuracy is None else accuracy
        found = opensim_tools.fit(markers, path, tasks=tasks, accuracy=exact)
    else:
        assert parsed is not None  # read, or refused
        found = _fit_fast(parsed, planned, passes, prior)
    if parsed is not None:
        notes += [str(odd) for odd in misplaced(parsed, planned.markers, found.motion)]
    return replace(found, notes=(*found.notes, *notes))


def _parsed(path: Path, engine: Engine) -> tuple[Model | None, list[str]]:
    """The model as we read it; OpenSim may know models that we refuse, which are then fitted unchecked."""
    try:
        return read_model(path), []
    except CapbenchError as error:
        if engine == "fast":
            raise
        return None, [f"the recording was not checked against the model: {error.problem}"]


def _checked(model: Model, planned: Plan, *, anyway: bool) -> list[str]:
    """What is odd about the recording, in words; raises where it is surely wrong."""
    odd = [s for s in suspicions(model, planned.markers, planned.weights) if s.kind not in ("names", "few")]
    if not anyway:
        refuse(odd)
    return [str(suspicion) for suspicion in odd]


def _fit_fast(model: Model, planned: Plan, passes: int, prior: float | None) -> Fit:
    used = planned.markers
    some = Markers(used.time, used.names, np.where(planned.fittable[:, None, None], used.xyz, np.nan))
    steering = _tasks(planned.steering, model)
    choices: dict[str, Any] = {"weights": planned.weights, "tasks": steering, "passes": passes}
    solve(model, some[:1], **choices)  # compiles the kernel where that was not done before
    begun = time.perf_counter()
    solution = solve(model, some, prior=prior, **choices)
    seconds = time.perf_counter() - begun
    distance = marker_distances(model, solution.motion, some)
    worst = np.where(planned.fittable, np.nan_to_num(distance).max(axis=1), np.nan)
    return Fit(
        solution.motion,
        solution.certificate.rms,
        worst,
        used.names,
        planned.notes,
        seconds,
        "capbench" if prior is None else f"capbench, temporal prior {prior:g} Hz",
        solution.certificate,
    )


def _tasks(steering: tuple[SetupTask, ...], model: Model) -> tuple[CoordinateTask, ...]:
    defaults = {c.name: c.default for c in model.coordinates}
    return tuple(
        CoordinateTask(t.name, t.weight, t.value if t.kind == "manual_value" else defaults[t.name])
        for t in steering
    )


def marker_distances(model: Model, motion: Motion, markers: Markers) -> FloatArray:
    """(T, M) metres from each recorded marker to the model's, NaN where either is missing."""
    own = {m.name: m for m in model.markers}
    chosen = model.with_markers(tuple(own[name] for name in markers.names))
    whole = replace(motion, values=np.nan_to_num(motion.values))  # empty frames are taken out again below
    placed = kinematics.marker_tracks(chosen, whole)
    distance: FloatArray = np.linalg.norm(placed.xyz - markers.xyz, axis=-1)
    distance[np.isnan(motion.values).any(axis=1)] = np.nan
    return distance
