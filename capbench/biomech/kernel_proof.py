"""Compiled loops over frames that prove, not solve: costs, derivatives, how noise reaches the angles."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from capbench.biomech.kernel_numba import (
    Arrays,
    BoolArray,
    curvature,
    misfit,
    observe,
    place_elements,
    slopes,
    weigh,
    workspace,
)
from cohorts.values import FloatArray, IntArray


@nb.njit(cache=True)
def _marker_columns(
    p: Arrays,
    frame: FloatArray,
    du: FloatArray,
    m: int,
    point: FloatArray,
    columns: FloatArray,
    touched: IntArray,
) -> int:
    """Columns (Q, 3) of marker m's Jacobian; ``touched`` lists its coordinates, and how many there are."""
    parent, slides, coordinate, marker_element = p[0], p[1], p[2], p[9]
    count = 0
    e = marker_element[m]
    while e >= 0:
        f = frame[e]
        z0, z1, z2 = f[2], f[5], f[8]
        if slides[e]:
            j0, j1, j2 = z0, z1, z2
        else:
            d0, d1, d2 = point[0] - f[9], point[1] - f[10], point[2] - f[11]
            j0, j1, j2 = z1 * d2 - z2 * d1, z2 * d0 - z0 * d2, z0 * d1 - z1 * d0
        c = coordinate[e]
        if count == 0 or touched[count - 1] != c:
            fresh = True
            for i in range(count):
                if touched[i] == c:
                    fresh = False
            if fresh:
                touched[count] = c
                count += 1
                columns[c, 0] = columns[c, 1] = columns[c, 2] = 0.0
        columns[c, 0] += du[e] * j0
        columns[c, 1] += du[e] * j1
        columns[c, 2] += du[e] * j2
        e = parent[e]
    return count


@nb.njit(cache=True)
def _place_marker(p: Arrays, frame: FloatArray, m: int, point: FloatArray) -> None:
    """Marker m of the model in ground."""
    e, at = p[9][m], p[10][m]
    for i in range(3):
        point[i] = at[i]
    if e >= 0:
        f = frame[e]
        for i in range(3):
            point[i] = f[3 * i] * at[0] + f[3 * i + 1] * at[1] + f[3 * i + 2] * at[2] + f[9 + i]


@nb.njit(cache=True)
def _add_noise(
    columns: FloatArray,
    touched: IntArray,
    count: int,
    weight: float,
    covariance: FloatArray,
    noise: FloatArray,
) -> None:
    """noise += w² Jᵀ C J of one marker; C is (3, 3), or (0, 0) for 1."""
    carried = np.zeros(3)
    for i in range(count):
        a = touched[i]
        for k in range(3):
            carried[k] = columns[a, k]
        if covariance.shape[0] > 0:
            for k in range(3):
                carried[k] = 0.0
                for j in range(3):
                    carried[k] += covariance[k, j] * columns[a, j]
        for j in range(count):
            b = touched[j]
            dot = carried[0] * columns[b, 0] + carried[1] * columns[b, 1] + carried[2] * columns[b, 2]
            noise[a, b] += weight * weight * dot


@nb.njit(cache=True, nogil=True)
def certify_frames(
    p: Arrays,
    weights: FloatArray,
    q: FloatArray,
    y: FloatArray,
    covariance: FloatArray,
    hessian: FloatArray,
    noise: FloatArray,
    gradient: FloatArray,
    observed: BoolArray,
    rms: FloatArray,
) -> None:
    """Hessian (T, Q, Q), Σ w² Jᵀ C J (T, Q, Q), gradient, observed coordinates and marker rms at ``q``.

    ``covariance`` is (T, M, 3, 3), or (0, 0, 3, 3) for C = 1.
    """
    frames, size = q.shape
    frame, sums, du, ddu, _, _, _, _, _, _, push = workspace(p[0].shape[0], size)
    w, point = np.empty(weights.shape[0]), np.zeros(3)
    seen, counts = np.zeros(size, dtype=np.bool_), np.zeros(max(p[0].shape[0], 1), dtype=np.int64)
    columns, touched = np.zeros((size, 3)), np.zeros(size, dtype=np.int64)
    order, ancestor = p[11], p[12]
    one = np.zeros((0, 0))
    for t in range(frames):
        if weigh(y[t], weights, w) == 0.0:
            continue
        there = observe(p, w, seen, counts)
        for c in range(size):
            observed[t, c] = seen[c]
        place_elements(p, q[t], frame, du, ddu)
        misfit(p, q[t], y[t], w, frame, sums)
        slopes(p, q[t], frame, du, sums, push, gradient[t])
        curvature(p, frame, du, ddu, sums, push, hessian[t])
        for i in range(order.shape[0]):
            c = order[i]
            b = ancestor[c]
            while b >= 0:
                hessian[t, b, c] = hessian[t, c, b]
                b = ancestor[b]
        squares = 0.0
        for m in range(weights.shape[0]):
            if w[m] == 0.0:
                continue
            _place_marker(p, frame, m, point)
            for i in range(3):
                squares += (point[i] - y[t, m, i]) ** 2
            count = _marker_columns(p, frame, du, m, point, columns, touched)
            if covariance.shape[0] > 0:
                _add_noise(columns, touched, count, w[m], covariance[t, m], noise[t])
            else:
                _add_noise(columns, touched, count, w[m], one, noise[t])
        rms[t] = math.sqrt(squares / there)


@nb.njit(cache=True)
def evaluate(
    p: Arrays, q: FloatArray, y: FloatArray, w: FloatArray, gradient: FloatArray, hessian: FloatArray
) -> float:
    """Cost, gradient (Q,) and Hessian (Q, Q; half of it, in the factor's order) of one frame, for checks."""
    frame, sums, du, ddu, _, _, _, _, _, _, push = workspace(p[0].shape[0], q.shape[0])
    place_elements(p, q, frame, du, ddu)
    cost = misfit(p, q, y, w, frame, sums)
    slopes(p, q, frame, du, sums, push, gradient)
    curvature(p, frame, du, ddu, sums, push, hessian)
    return cost


@nb.njit(cache=True, nogil=True)
def costs_of_frames(
    p: Arrays,
    weights: FloatArray,
    q: FloatArray,
    y: FloatArray,
    cost: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
) -> None:
    """Cost (T,), gradient (T, Q) and whole Hessian (T, Q, Q) at ``q``; 0 where no marker is seen."""
    frames, size = q.shape
    frame, sums, du, ddu, _, _, _, _, _, _, push = workspace(p[0].shape[0], size)
    w = np.empty(weights.shape[0])
    order, ancestor = p[11], p[12]
    for t in range(frames):
        cost[t] = 0.0
        for c in range(size):
            gradient[t, c] = 0.0
            for b in range(size):
                hessian[t, c, b] = 0.0
        if weigh(y[t], weights, w) == 0.0:
            continue
        place_elements(p, q[t], frame, du, ddu)
        cost[t] = misfit(p, q[t], y[t], w, frame, sums)
        slopes(p, q[t], frame, du, sums, push, gradient[t])
        curvature(p, frame, du, ddu, sums, push, hessian[t])
        for i in range(order.shape[0]):
            c = order[i]
            b = ancestor[c]
            while b >= 0:
                hessian[t, b, c] = hessian[t, c, b]
                b = ancestor[b]
