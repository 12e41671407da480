"""Fitting a model file to markers with either engine."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from capbench.biomech import kinematics, opensim_tools
from capbench.biomech.matching import Fit, plan
from capbench.biomech.model import Model
from capbench.biomech.opensim_setup import CoordinateTask as SetupTask
from capbench.biomech.osim import read_model
from capbench.biomech.problem import CoordinateTask
from capbench.biomech.solve import solve
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray

Engine = Literal["fast", "opensim"]
ENGINES: tuple[Engine, ...] = ("fast", "opensim")


def fit(
    markers: Markers,
    model: str | os.PathLike[str],
    *,
    tasks: str | os.PathLike[str] | None = None,
    engine: Engine = "fast",
    accuracy: float | None = None,
    passes: int = 3,
    prior: float | None = None,
) -> Fit:
    """Fit an .osim model to markers, frame by frame.

    ``tasks`` is an OpenSim set-up or task file that gives the marker weights; without one all markers weigh
    the same. ``accuracy`` is OpenSim's; the fast engine always solves to the end, and takes ``passes``: 1, 2
    or 3 chains of starts, of which each frame keeps the best. ``prior`` in hertz makes the fast engine weigh
    misfit against acceleration (see :mod:`capbench.biomech.smooth`).
    """
    if engine == "opensim":
        exact = opensim_tools.ACCURACY if accuracy is None else accuracy
        return opensim_tools.fit(markers, model, tasks=tasks, accuracy=exact)
    model = Path(model).resolve()
    planned = plan(markers, model, tasks)
    parsed = read_model(model)
    used = planned.markers
    some = Markers(used.time, used.names, np.where(planned.fittable[:, None, None], used.xyz, np.nan))
    choices: dict[str, Any] = {
        "weights": planned.weights,
        "tasks": _tasks(planned.steering, parsed),
        "passes": passes,
    }
    solve(parsed, some[:1], **choices)  # compiles the kernel where that was not done before
    begun = time.perf_counter()
    solution = solve(parsed, some, prior=prior, **choices)
    seconds = time.perf_counter() - begun
    distance = marker_distances(parsed, solution.motion, some)
    with np.errstate(invalid="ignore"):
        worst = np.where(planned.fittable, np.nanmax(np.nan_to_num(distance), axis=1), np.nan)
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
