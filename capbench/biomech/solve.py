"""Inverse kinematics of whole trials: chains of exact solves, the best answer kept and certified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from capbench.biomech import kernel_numba
from capbench.biomech.certificate import Certificate, spread
from capbench.biomech.model import Model
from capbench.biomech.problem import CoordinateTask, Problem, build_problem
from capbench.biomech.smooth import TOLERANCE as SMOOTH_TOLERANCE
from capbench.biomech.smooth import smooth
from capbench.biomech.starts import neutral, rigid_starts
from capbench.biomech.tree import is_identity
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Kind, Markers, Motion
from cohorts.values import FloatArray, IntArray

TOLERANCE = 1e-12  #: largest projected gradient (m², per radian or metre) of a converged frame
ITERATIONS = 200
#: chains whose costs agree this well found the same optimum: the first, forward one is kept, so that the
#: answer does not jump between equal Euler angles
TIE = 5e-10


@dataclass(frozen=True)
class Solution:
    """A fitted motion and the proof that goes with it."""

    motion: Motion
    certificate: Certificate


@dataclass(frozen=True)
class Chain:
    """What one pass over the frames found: (T, Q) coordinates, (T,) costs, gradients, iterations, status."""

    q: FloatArray
    cost: FloatArray
    slope: FloatArray
    iterations: IntArray
    status: IntArray


def solve(
    model: Model,
    markers: Markers,
    *,
    weights: Mapping[str, float] | None = None,
    tasks: tuple[CoordinateTask, ...] = (),
    passes: int = 3,
    covariance: FloatArray | float | None = None,
    prior: float | None = None,
) -> Solution:
    """The motion of ``model`` whose markers lie nearest to ``markers``, frame by frame, within its bounds.

    ``weights`` names the markers to fit (default: all that model and recording share, equally). ``passes``
    is 1 (forward), 2 (and backward) or 3 (and each frame by itself): more find better minima in fast motion.
    ``covariance`` of the marker positions, m²: one variance, or (T, M, 3, 3) in the order of ``markers``;
    by default each frame's own misfit estimates one variance for the trial. ``prior`` in hertz adds the
    declared temporal prior of :mod:`capbench.biomech.smooth`, which also bridges empty frames; the standard
    deviations stay those of the frames alone, upper bounds then.
    """
    if passes not in (1, 2, 3):
        raise CapbenchError(f"Expected 1, 2 or 3 passes, got {passes}.")
    if weights is None:
        own = {m.name for m in model.markers}
        weights = {name: 1.0 for name in markers.names if name in own}
    if not all(np.isfinite(w) and w >= 0 for w in weights.values()):
        raise CapbenchError("Expected marker weights that are finite and not negative.")
    wanted = {name: w for name, w in weights.items() if w > 0 and name in markers.names}
    if not wanted:
        raise CapbenchError(
            "Expected markers with a weight that the model and the recording share, got none. "
            f"Recorded: {shorten(markers.names)}."
        )
    problem = build_problem(model, wanted, tasks)
    y = np.array(markers.select(problem.markers).xyz)  # a writable copy: the kernel is compiled for one kind
    best = best_of(run_passes(problem, y, passes))
    q = unwrapped(problem, best.q)
    if prior is not None:
        best = smoothed(problem, y, q, markers.time, prior, best)
        q = best.q
    order = [markers.names.index(name) for name in problem.markers]
    if isinstance(covariance, np.ndarray):
        covariance = covariance[:, order]
    certificate = spread(problem, q, y, best, covariance)
    return Solution(as_motion(model, problem, q, markers.time), certificate)


def run_passes(problem: Problem, y: FloatArray, passes: int) -> list[Chain]:
    """The chains: forward, backward, and every frame from its own rigid start."""
    start = rigid_starts(problem, y, neutral(problem.tree))
    plans = ((True, False), (True, True), (False, False))[:passes]
    return [run_chain(problem, y, start, warm=warm, backwards=backwards) for warm, backwards in plans]


def run_chain(problem: Problem, y: FloatArray, start: FloatArray, *, warm: bool, backwards: bool) -> Chain:
    """One pass over the frames, compiled."""
    frames, size = start.shape
    chain = Chain(
        np.empty((frames, size)),
        np.empty(frames),
        np.empty(frames),
        np.empty(frames, dtype=np.int64),
        np.empty(frames, dtype=np.int64),
    )
    kernel_numba.solve_frames(
        problem.arrays, problem.tree.low, problem.tree.high, problem.weights, y, np.ascontiguousarray(start),
        warm, backwards, TOLERANCE, ITERATIONS, chain.q, chain.cost, chain.slope, chain.iterations,
        chain.status,
    )  # fmt: skip
    return chain


def best_of(chains: list[Chain]) -> Chain:
    """Frame by frame the lowest cost; the earliest chain among equals."""
    costs = np.stack([np.where(np.isnan(c.cost), np.inf, c.cost) for c in chains])
    good = costs <= costs.min(axis=0) * (1 + TIE) + 1e-25
    pick = good.argmax(axis=0)
    rows = np.arange(costs.shape[1])

    def taken(name: str) -> Any:
        return np.stack([getattr(c, name) for c in chains])[pick, rows]

    return Chain(*(taken(name) for name in ("q", "cost", "slope", "iterations", "status")))


def smoothed(
    problem: Problem, y: FloatArray, q: FloatArray, time: FloatArray, hertz: float, chain: Chain
) -> Chain:
    """The chain under the temporal prior; frames before the first and after the last markers stay empty."""
    found = smooth(problem, y, q, time, hertz)
    status = np.where(chain.status == kernel_numba.EMPTY, kernel_numba.EMPTY, kernel_numba.CONVERGED)
    status[(found.slope > SMOOTH_TOLERANCE) & (status != kernel_numba.EMPTY)] = kernel_numba.STALLED
    known = np.flatnonzero(status != kernel_numba.EMPTY)
    outside = np.ones(len(q), dtype=bool)
    outside[known[0] : known[-1] + 1] = False
    smoothed_q = np.where(outside[:, None], np.nan, found.q)
    iterations = np.full(len(q), found.iterations)
    return Chain(smoothed_q, found.cost, found.slope, iterations, status)


def unwrapped(problem: Problem, q: FloatArray) -> FloatArray:
    """Rotations moved by whole turns, within their bounds, to follow on from the frame before."""
    tree = problem.tree
    # a whole turn changes nothing only where the coordinate does nothing but turn, one to one
    plain = np.ones(q.shape[1], dtype=bool)
    for element in tree.elements:
        plain[element.coordinate] &= not element.slides and is_identity(element.function)
    q = q.copy()
    for c in np.flatnonzero(plain):
        for t in range(1, len(q)):
            jump = q[t, c] - q[t - 1, c]
            if abs(jump) > np.pi:
                moved = q[t, c] - 2 * np.pi * np.round(jump / (2 * np.pi))
                if tree.low[c] <= moved <= tree.high[c]:
                    q[t, c] = moved
    return q


def as_motion(model: Model, problem: Problem, q: FloatArray, time: FloatArray) -> Motion:
    """All coordinates of the model, those locked or coupled too; frames without markers are NaN."""
    names = model.coordinate_names
    values = problem.tree.expand(q, names)
    values[np.isnan(q).any(axis=1)] = np.nan
    kinds: tuple[Kind, ...] = tuple(c.kind for c in model.coordinates)
    return Motion(time, names, values, kinds, tuple(problem.tree.coupled))
