"""Checking a fitted motion by other means: OpenSim's cost, and the optimum that each engine finds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capbench.biomech import kernel_numba, kernel_proof, opensim_tools
from capbench.biomech.kinematics import coordinates_of
from capbench.biomech.matching import plan
from capbench.biomech.osim import read_model
from capbench.biomech.problem import BoolArray, Problem, build_problem
from capbench.biomech.solve import solve
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray, IntArray

REFERENCE_ACCURACY = 1e-9


@dataclass(frozen=True)
class Verdict:
    """How a motion compares with what both engines find on the same frames.

    Attributes
    ----------
    time : (N,) seconds, the sampled frames
    given, ours, opensim : (N,) cost (½ Σ w r² / Σ w, m²) of the motion, of the fast engine and of OpenSim
    apart : coordinate -> largest difference (radians or metres) of the motion from the lower of the two
    opensim_apart : coordinate -> largest difference between the two engines
    """

    time: FloatArray
    given: FloatArray
    ours: FloatArray
    opensim: FloatArray
    apart: dict[str, float]
    opensim_apart: dict[str, float]


def verify(
    motion: Motion,
    markers: Markers,
    model: str | os.PathLike[str],
    *,
    tasks: str | os.PathLike[str] | None = None,
    frames: int = 20,
) -> Verdict:
    """Re-solve a sample of ``frames`` evenly spread frames in both engines and compare the costs.

    The motion is taken at the markers' times that lie within half a sample of its own.
    """
    path = Path(model).resolve()
    planned = plan(markers, path, tasks)
    parsed = read_model(path)
    rows, columns = _common_frames(motion, planned.markers, planned.fittable, frames)
    some = Markers(planned.markers.time[columns], planned.markers.names, planned.markers.xyz[columns])
    problem = build_problem(parsed, planned.weights)
    names = problem.tree.coordinates
    q = coordinates_of(problem.tree, motion)[rows]
    fast = solve(parsed, some, weights=planned.weights)
    reference = opensim_tools.fit(some, path, tasks=tasks, accuracy=REFERENCE_ACCURACY)
    ours = fast.motion.select(names).values
    theirs = reference.motion.select(names).values
    costs = [cost_of(problem, values, some) for values in (q, ours, theirs)]
    best = np.where((costs[1] <= costs[2])[:, None], ours, theirs)
    seen = fast.certificate.observed
    return Verdict(
        some.time,
        costs[0],
        costs[1],
        costs[2],
        _largest(names, q - best, seen),
        _largest(names, ours - theirs, seen),
    )


def cost_of(problem: Problem, q: FloatArray, markers: Markers) -> FloatArray:
    """(T,) OpenSim's cost of free coordinates (T, Q), m²: ½ Σ w |x - y|² / Σ w over the markers seen."""
    y = np.ascontiguousarray(markers.select(problem.markers).xyz)
    size = q.shape[1]
    w, gradient, hessian = np.empty(len(problem.weights)), np.empty(size), np.empty((size, size))
    cost = np.full(len(q), np.nan)
    for t in range(len(q)):
        if kernel_numba.weigh(y[t], problem.weights, w) > 0 and np.isfinite(q[t]).all():
            cost[t] = kernel_proof.evaluate(problem.arrays, q[t], y[t], w, gradient, hessian)
    return cost


def _common_frames(
    motion: Motion, markers: Markers, fittable: BoolArray, frames: int
) -> tuple[IntArray, IntArray]:
    """Row numbers in the motion and in the markers of the same moments, at most ``frames`` of them."""
    near = np.clip(np.searchsorted(motion.time, markers.time), 1, max(len(motion) - 1, 1)) - 1
    near = near + (
        markers.time - motion.time[near] > motion.time[np.minimum(near + 1, len(motion) - 1)] - markers.time
    )
    half = 0.5 / markers.rate if len(markers) > 1 else np.inf
    here = np.abs(motion.time[near] - markers.time) < half
    here &= fittable & np.isfinite(motion.values[near]).all(axis=1)
    columns = np.flatnonzero(here)
    if not len(columns):
        raise CapbenchError(
            f"Expected motion and markers to share times, got {motion.time[0]:g} to {motion.time[-1]:g} s "
            f"and {markers.time[0]:g} to {markers.time[-1]:g} s."
        )
    columns = columns[np.unique(np.linspace(0, len(columns) - 1, frames).astype(int))]
    return near[columns], columns


def _largest(names: tuple[str, ...], difference: FloatArray, seen: BoolArray) -> dict[str, float]:
    worst = np.where(seen, np.abs(difference), 0).max(axis=0, initial=0)
    return dict(zip(names, worst.tolist(), strict=True))
