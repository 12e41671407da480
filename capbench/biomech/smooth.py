"""A declared temporal prior: the motion that trades marker misfit against acceleration, solved exactly.

Added to the sum of all frames' costs is ``½ Σ_c λ_c Σ_t h_t a_tc²`` with a_tc the second difference quotient
of coordinate c (per s²) and h_t the frame's share of time relative to the mean step. ``λ_c = k_c / (2π f)⁴``
with k_c the mean curvature of the marker cost along c, so that a wobble of a single coordinate (the others
still) at ``f`` hertz is halved, a slower one kept and a faster one removed (at twice f, 94 % of it). Nothing
else is assumed; it is off unless asked for. Frames are coupled to two neighbours on each side, so Newton's
step is a banded solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, solveh_banded

from capbench.biomech import kernel_proof
from capbench.biomech.problem import BoolArray, Problem
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

ITERATIONS = 60
TOLERANCE = 1e-10  #: largest projected gradient of the whole trial's cost, per frame


@dataclass(frozen=True)
class Smoothed:
    """(T, Q) coordinates, the marker cost of each frame, and the largest projected gradient of each frame."""

    q: FloatArray
    cost: FloatArray
    slope: FloatArray
    iterations: int


@dataclass(frozen=True)
class _Trial:
    """What does not change between iterations: the chosen coordinates and the prior's bands."""

    problem: Problem
    y: FloatArray
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]]
    prior: FloatArray  # (3, T) diagonals of Dᵀ h D: main, first, second
    strength: FloatArray  # (n,) λ of each chosen coordinate


def smooth(problem: Problem, y: FloatArray, q: FloatArray, time: FloatArray, hertz: float) -> Smoothed:
    """The smoothed motion, from the frame-by-frame answer ``q`` (T, Q), whose gaps are bridged.

    ``y`` is (T, M, 3) metres, ``time`` (T,) seconds, ``hertz`` the frequency at which a wobble is halved.
    """
    if not 0 < hertz < np.inf:
        raise CapbenchError(f"Expected a positive frequency for the prior, got {hertz:g} Hz.")
    if len(q) < 3:
        raise CapbenchError(f"Expected three frames or more for a prior over time, got {len(q)}.")
    q = _bridged(q, time)
    chosen = np.flatnonzero(problem.moved)
    _, _, hessian = _frames(problem, y, q)
    curvature = np.mean(np.abs(np.diagonal(hessian, axis1=1, axis2=2)), axis=0)[chosen]
    strength = curvature / (2 * np.pi * hertz) ** 4
    trial = _Trial(problem, y, chosen, _second_differences(time), strength)
    return _minimise(trial, q)


def _bridged(q: FloatArray, time: FloatArray) -> FloatArray:
    """Empty frames filled in a straight line between their neighbours (held at the ends)."""
    known = np.isfinite(q).all(axis=1)
    if not known.any():
        raise CapbenchError("Expected markers in some frame, got none.")
    filled = q.copy()
    for c in range(q.shape[1]):
        filled[:, c] = np.interp(time, time[known], q[known, c])
    return filled


def _second_differences(time: FloatArray) -> FloatArray:
    """(3, T) main, first and second diagonals of Dᵀ h D, D the second difference quotient at uneven times."""
    before, after = np.diff(time)[:-1], np.diff(time)[1:]
    span = before + after
    rows = np.stack([2 / (before * span), -2 / (before * after), 2 / (after * span)])  # of t-1, t, t+1
    share = 0.5 * span / np.mean(np.diff(time))
    bands = np.zeros((3, len(time)))
    for i in range(3):
        for j in range(i, 3):
            bands[j - i, i : i + rows.shape[1]] += share * rows[i] * rows[j]
    return bands


def _frames(problem: Problem, y: FloatArray, q: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    frames, size = q.shape
    cost, gradient, hessian = np.empty(frames), np.empty((frames, size)), np.empty((frames, size, size))
    kernel_proof.costs_of_frames(problem.arrays, problem.weights, q, y, cost, gradient, hessian)
    return cost, gradient, hessian


def _apply(bands: FloatArray, x: FloatArray) -> FloatArray:
    """The symmetric pentadiagonal matrix of ``bands`` times x (T, n)."""
    out: FloatArray = bands[0][:, None] * x
    for k in (1, 2):
        out[k:] += bands[k, :-k][:, None] * x[:-k]
        out[:-k] += bands[k, :-k][:, None] * x[k:]
    return out


def _total(trial: _Trial, q: FloatArray) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """The whole cost, the frames' own costs, the gradient (T, n) and the frames' Hessians (T, n, n)."""
    cost, gradient, hessian = _frames(trial.problem, trial.y, q)
    x = q[:, trial.chosen]
    pull = _apply(trial.prior, x) * trial.strength
    whole = float(cost.sum() + 0.5 * (x * pull).sum())
    return whole, cost, gradient[:, trial.chosen] + pull, hessian[:, trial.chosen][:, :, trial.chosen]


def _minimise(trial: _Trial, q: FloatArray) -> Smoothed:
    low, high = trial.problem.tree.low[trial.chosen], trial.problem.tree.high[trial.chosen]
    damping = 0.0
    whole, cost, gradient, hessian = _total(trial, q)
    for iteration in range(ITERATIONS + 1):
        x = q[:, trial.chosen]
        free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
        slope = np.abs(np.where(free, gradient, 0)).max(axis=1)
        if slope.max() <= TOLERANCE or iteration == ITERATIONS or damping > 1e3:
            return Smoothed(q, cost, slope, iteration)
        step, damping = _step(trial, hessian, gradient, free, damping)
        length, better = 1.0, False
        for _ in range(20):
            tried = q.copy()
            tried[:, trial.chosen] = np.clip(x + length * step, low, high)
            new = _total(trial, tried)
            if new[0] <= whole * (1 + 1e-13) + 1e-20:
                better = True
                break
            length *= 0.5
        if better:
            q, (whole, cost, gradient, hessian) = tried, new
            damping = 0.1 * damping if damping > 1e-9 else 0.0
        else:
            damping = max(10 * damping, 1e-6)
    raise AssertionError("unreachable")


def _step(
    trial: _Trial, hessian: FloatArray, gradient: FloatArray, free: BoolArray, damping: float
) -> tuple[FloatArray, float]:
    """(T, n) Newton step over the free values, with as much damping as makes the matrix positive definite."""
    frames, n = gradient.shape
    both = free[:, :, None] & free[:, None, :]
    block = np.where(both, hessian, 0.0)
    right = np.where(free, -gradient, 0.0).ravel()
    while True:
        band = np.zeros((2 * n + 1, frames * n))
        for k in range(n):  # within a frame: entry (c + k, c)
            values = np.zeros((frames, n))
            values[:, : n - k] = np.diagonal(block, offset=k, axis1=1, axis2=2)
            band[k] = values.ravel()
        diagonal = trial.prior[0][:, None] * trial.strength + damping
        band[0] += np.where(free, diagonal, 0.0).ravel() + ~free.ravel()
        for k in (1, 2):  # a coordinate with itself, k frames on
            values = np.zeros((frames, n))
            linked = free[k:] & free[:-k]
            values[:-k] = np.where(linked, trial.prior[k, :-k][:, None] * trial.strength, 0.0)
            band[k * n] += values.ravel()
        try:
            solved: FloatArray = solveh_banded(band, right, lower=True, overwrite_ab=True)
            return solved.reshape(frames, n), damping
        except LinAlgError:
            damping = max(4 * damping, 1e-8)
