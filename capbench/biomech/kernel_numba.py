"""Newton's method for one frame, compiled: the exact Hessian of the marker problem in time linear in markers.

For an element b and any element a between it and the root (z their axes, o their origins, J how a marker p
moves with u, r = p - y its residual), summed over the markers beyond b::

    ∂/∂u_b       = Σ w r·J_b
    ∂²/∂u_a ∂u_b = Σ w J_a·J_b  +  z_a · Σ w J_b × r      (the second term only where a turns)

Both need only sums over the markers beyond b: of w, w p, w p pᵀ, w r and w p rᵀ, 22 numbers per element that
are added up from the tips to the root. The chain rule through ``u = f(q)`` then gives the derivatives in q.

Compiled without numba's ``fastmath``, which gains nothing here: with it the process that compiles a function
and one that finds it in the cache differ in their last digits, and no test for missing markers is safe.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cohorts.values import FloatArray, IntArray

Arrays = tuple[NDArray[Any], ...]
BoolArray = NDArray[np.bool_]

SUMS = 22
MOST_DAMPING = 1e3
LONGEST_STEP = 1.0  #: radians or metres in one iteration: an outlier must not throw the pose around

CONVERGED, STALLED, EMPTY = 0, 1, 2
"""Status of a frame: projected gradient small enough; no step lowers the cost any more; no markers."""


@nb.njit(cache=True, inline="always")
def _function(kind: int, first: int, count: int, table: FloatArray, x: float) -> tuple[float, float, float]:
    """Value, first and second derivative of an element's function."""
    if kind == 0:
        return x, 1.0, 0.0
    if kind == 1:
        f = d = dd = 0.0
        for i in range(first, first + count):
            dd = dd * x + 2.0 * d
            d = d * x + f
            f = f * x + table[i, 0]
        return f, d, dd
    last = first + count - 1
    if x < table[first, 0]:
        return table[first, 1] + table[first, 2] * (x - table[first, 0]), table[first, 2], 0.0
    if x > table[last, 0]:
        return table[last, 1] + table[last, 2] * (x - table[last, 0]), table[last, 2], 0.0
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        if table[middle, 0] <= x:
            low = middle
        else:
            high = middle
    h = x - table[low, 0]
    b, c, d3 = table[low, 2], table[low, 3], table[low, 4]
    return table[low, 1] + h * (b + h * (c + h * d3)), b + h * (2 * c + 3 * h * d3), 2 * c + 6 * h * d3


@nb.njit(cache=True)
def place_elements(p: Arrays, q: FloatArray, frame: FloatArray, du: FloatArray, ddu: FloatArray) -> None:
    """Frames of all elements in ground at ``q``: (E, 12) rotation rows, then origin; and f', f'' (E,)."""
    parent, slides, coordinate, rotation, translation, kind, first, count, table = p[:9]
    # written out in scalars: views of small arrays cost more than the arithmetic
    for e in range(parent.shape[0]):
        a = parent[e]
        u, du[e], ddu[e] = _function(kind[e], first[e], count[e], table, q[coordinate[e]])
        c, s, along = math.cos(u), math.sin(u), 0.0
        if slides[e]:
            c, s, along = 1.0, 0.0, u
        r00, r01, r02 = rotation[e, 0, 0], rotation[e, 0, 1], rotation[e, 0, 2]
        r10, r11, r12 = rotation[e, 1, 0], rotation[e, 1, 1], rotation[e, 1, 2]
        r20, r21, r22 = rotation[e, 2, 0], rotation[e, 2, 1], rotation[e, 2, 2]
        t0, t1, t2 = translation[e, 0], translation[e, 1], translation[e, 2]
        # the motion first: turned columns, and a slide along the third
        r00, r01 = r00 * c + r01 * s, r01 * c - r00 * s
        r10, r11 = r10 * c + r11 * s, r11 * c - r10 * s
        r20, r21 = r20 * c + r21 * s, r21 * c - r20 * s
        t0, t1, t2 = t0 + r02 * along, t1 + r12 * along, t2 + r22 * along
        for i in range(3):
            if a < 0:
                x0, x1, x2, o = 1.0 * (i == 0), 1.0 * (i == 1), 1.0 * (i == 2), 0.0
            else:
                x0, x1, x2 = frame[a, 3 * i], frame[a, 3 * i + 1], frame[a, 3 * i + 2]
                o = frame[a, 9 + i]
            frame[e, 3 * i] = x0 * r00 + x1 * r10 + x2 * r20
            frame[e, 3 * i + 1] = x0 * r01 + x1 * r11 + x2 * r21
            frame[e, 3 * i + 2] = x0 * r02 + x1 * r12 + x2 * r22
            frame[e, 9 + i] = x0 * t0 + x1 * t1 + x2 * t2 + o


@nb.njit(cache=True)
def misfit(
    p: Arrays, q: FloatArray, y: FloatArray, w: FloatArray, frame: FloatArray, sums: FloatArray
) -> float:
    """The cost at ``q``, its frames placed; each element's own markers are added up in ``sums`` (E, 22).

    ``w`` is 0 for missing markers and sums to 1.
    """
    marker_element, marker_at, order, _, task_weight, task_value = p[9:]
    for e in range(sums.shape[0]):
        for k in range(SUMS):
            sums[e, k] = 0.0
    cost = 0.0
    for m in range(marker_element.shape[0]):
        weight = w[m]
        if weight == 0.0:
            continue
        e = marker_element[m]
        p0, p1, p2 = marker_at[m, 0], marker_at[m, 1], marker_at[m, 2]
        if e >= 0:
            l0, l1, l2 = p0, p1, p2
            p0 = frame[e, 0] * l0 + frame[e, 1] * l1 + frame[e, 2] * l2 + frame[e, 9]
            p1 = frame[e, 3] * l0 + frame[e, 4] * l1 + frame[e, 5] * l2 + frame[e, 10]
            p2 = frame[e, 6] * l0 + frame[e, 7] * l1 + frame[e, 8] * l2 + frame[e, 11]
        r0, r1, r2 = p0 - y[m, 0], p1 - y[m, 1], p2 - y[m, 2]
        cost += 0.5 * weight * (r0 * r0 + r1 * r1 + r2 * r2)
        if e >= 0:
            w0, w1, w2 = weight * p0, weight * p1, weight * p2
            sums[e, 0] += weight
            sums[e, 1] += w0
            sums[e, 2] += w1
            sums[e, 3] += w2
            sums[e, 4] += w0 * p0
            sums[e, 5] += w1 * p1
            sums[e, 6] += w2 * p2
            sums[e, 7] += w0 * p1
            sums[e, 8] += w0 * p2
            sums[e, 9] += w1 * p2
            sums[e, 10] += weight * r0
            sums[e, 11] += weight * r1
            sums[e, 12] += weight * r2
            sums[e, 13] += w0 * r0
            sums[e, 14] += w0 * r1
            sums[e, 15] += w0 * r2
            sums[e, 16] += w1 * r0
            sums[e, 17] += w1 * r1
            sums[e, 18] += w1 * r2
            sums[e, 19] += w2 * r0
            sums[e, 20] += w2 * r1
            sums[e, 21] += w2 * r2
    for i in range(order.shape[0]):
        c = order[i]
        d = q[c] - task_value[c]
        cost += 0.5 * task_weight[c] * d * d
    return cost


@nb.njit(cache=True)
def slopes(
    p: Arrays,
    q: FloatArray,
    frame: FloatArray,
    du: FloatArray,
    sums: FloatArray,
    push: FloatArray,
    gradient: FloatArray,
) -> None:
    """Carry ``sums`` from tips to root; ∂cost/∂u (E,) goes into ``push``, ∂cost/∂q into ``gradient``."""
    parent, slides, coordinate = p[:3]
    order, task_weight, task_value = p[11], p[13], p[14]
    for i in range(order.shape[0]):
        c = order[i]
        gradient[c] = task_weight[c] * (q[c] - task_value[c])
    for e in range(parent.shape[0] - 1, -1, -1):
        z0, z1, z2 = frame[e, 2], frame[e, 5], frame[e, 8]
        o0, o1, o2 = frame[e, 9], frame[e, 10], frame[e, 11]
        s0, s1, s2 = sums[e, 10], sums[e, 11], sums[e, 12]
        if slides[e]:
            g = z0 * s0 + z1 * s1 + z2 * s2
        else:
            g = (
                z0 * (sums[e, 18] - sums[e, 20] - (o1 * s2 - o2 * s1))
                + z1 * (sums[e, 19] - sums[e, 15] - (o2 * s0 - o0 * s2))
                + z2 * (sums[e, 14] - sums[e, 16] - (o0 * s1 - o1 * s0))
            )
        push[e] = g
        gradient[coordinate[e]] += g * du[e]
        a = parent[e]
        if a >= 0:
            for k in range(SUMS):
                sums[a, k] += sums[e, k]


@nb.njit(cache=True)
def curvature(
    p: Arrays,
    frame: FloatArray,
    du: FloatArray,
    ddu: FloatArray,
    sums: FloatArray,
    push: FloatArray,
    hessian: FloatArray,
) -> None:
    """The exact Hessian in q from carried sums: ``hessian[c, b]`` for each b between c and the root."""
    parent, slides, coordinate = p[:3]
    order, ancestor, task_weight = p[11], p[12], p[13]
    for i in range(order.shape[0]):
        c = order[i]
        b = c
        while b >= 0:
            hessian[c, b] = 0.0
            b = ancestor[b]
        hessian[c, c] = task_weight[c]
    for e in range(parent.shape[0]):
        z0, z1, z2 = frame[e, 2], frame[e, 5], frame[e, 8]
        o0, o1, o2 = frame[e, 9], frame[e, 10], frame[e, 11]
        # F = Σ w J, M = Σ w p × J + Σ w J × r
        if slides[e]:
            F0, F1, F2 = sums[e, 0] * z0, sums[e, 0] * z1, sums[e, 0] * z2
            M0 = sums[e, 2] * z2 - sums[e, 3] * z1 + z1 * sums[e, 12] - z2 * sums[e, 11]
            M1 = sums[e, 3] * z0 - sums[e, 1] * z2 + z2 * sums[e, 10] - z0 * sums[e, 12]
            M2 = sums[e, 1] * z1 - sums[e, 2] * z0 + z0 * sums[e, 11] - z1 * sums[e, 10]
        else:
            d0, d1, d2 = (
                sums[e, 1] - sums[e, 0] * o0,
                sums[e, 2] - sums[e, 0] * o1,
                sums[e, 3] - sums[e, 0] * o2,
            )
            F0, F1, F2 = z1 * d2 - z2 * d1, z2 * d0 - z0 * d2, z0 * d1 - z1 * d0
            spread = (
                sums[e, 4] + sums[e, 5] + sums[e, 6] - (sums[e, 1] * o0 + sums[e, 2] * o1 + sums[e, 3] * o2)
            )
            spread += (
                o0 * sums[e, 10]
                + o1 * sums[e, 11]
                + o2 * sums[e, 12]
                - (sums[e, 13] + sums[e, 17] + sums[e, 21])
            )
            along = (
                sums[e, 1] * z0
                + sums[e, 2] * z1
                + sums[e, 3] * z2
                - (z0 * sums[e, 10] + z1 * sums[e, 11] + z2 * sums[e, 12])
            )
            M0 = (
                z0 * spread
                + o0 * along
                + (sums[e, 13] - sums[e, 4]) * z0
                + (sums[e, 14] - sums[e, 7]) * z1
                + (sums[e, 15] - sums[e, 8]) * z2
            )
            M1 = (
                z1 * spread
                + o1 * along
                + (sums[e, 16] - sums[e, 7]) * z0
                + (sums[e, 17] - sums[e, 5]) * z1
                + (sums[e, 18] - sums[e, 9]) * z2
            )
            M2 = (
                z2 * spread
                + o2 * along
                + (sums[e, 19] - sums[e, 8]) * z0
                + (sums[e, 20] - sums[e, 9]) * z1
                + (sums[e, 21] - sums[e, 6]) * z2
            )
        c = coordinate[e]
        hessian[c, c] += push[e] * ddu[e]
        own = du[e]
        b = e
        while b >= 0:
            y0, y1, y2 = frame[b, 2], frame[b, 5], frame[b, 8]
            if slides[b]:
                h = y0 * F0 + y1 * F1 + y2 * F2
            else:
                p0, p1, p2 = frame[b, 9], frame[b, 10], frame[b, 11]
                h = (
                    y0 * (M0 - (p1 * F2 - p2 * F1))
                    + y1 * (M1 - (p2 * F0 - p0 * F2))
                    + y2 * (M2 - (p0 * F1 - p1 * F0))
                )
            k = coordinate[b]
            h *= own * du[b]
            hessian[c, k] += 2.0 * h if k == c and b != e else h
            b = parent[b]


@nb.njit(cache=True)
def _factor(
    order: IntArray,
    ancestor: IntArray,
    hessian: FloatArray,
    factor: FloatArray,
    free: BoolArray,
    damping: float,
) -> bool:
    """L and D of Hessian + damping = Lᵀ D L over free coordinates; False where a pivot is not positive."""
    n = order.shape[0]
    for i in range(n):
        c = order[i]
        b = c
        while b >= 0:
            factor[c, b] = hessian[c, b] if free[c] and free[b] else 0.0
            b = ancestor[b]
        factor[c, c] = hessian[c, c] + damping if free[c] else 1.0
    for i in range(n - 1, -1, -1):
        k = order[i]
        if not free[k]:
            continue
        pivot = factor[k, k]
        if not pivot > 1e-14:
            return False
        a = ancestor[k]
        while a >= 0:
            x = factor[k, a]
            if x != 0.0:
                x /= pivot
                b = a
                while b >= 0:
                    factor[a, b] -= x * factor[k, b]
                    b = ancestor[b]
                factor[k, a] = x
            a = ancestor[a]
    return True


@nb.njit(cache=True)
def _solve(
    order: IntArray, ancestor: IntArray, factor: FloatArray, free: BoolArray, step: FloatArray
) -> None:
    """``step`` becomes (Lᵀ D L)⁻¹ step over the free coordinates; 0 elsewhere."""
    n = order.shape[0]
    for i in range(n - 1, -1, -1):
        k = order[i]
        if not free[k]:
            step[k] = 0.0
            continue
        a = ancestor[k]
        while a >= 0:
            step[a] -= factor[k, a] * step[k]
            a = ancestor[a]
    for i in range(n):
        k = order[i]
        if not free[k]:
            step[k] = 0.0
            continue
        step[k] /= factor[k, k]
        a = ancestor[k]
        while a >= 0:
            step[k] -= factor[k, a] * step[a]
            a = ancestor[a]


@nb.njit(cache=True)
def _mark_free(
    order: IntArray,
    q: FloatArray,
    low: FloatArray,
    high: FloatArray,
    gradient: FloatArray,
    seen: BoolArray,
    free: BoolArray,
) -> float:
    """Which coordinates may move: seen, and not pushed against a bound. Their largest |gradient|."""
    worst = 0.0
    for i in range(order.shape[0]):
        c = order[i]
        g = gradient[c]
        free[c] = seen[c] and not ((q[c] <= low[c] and g > 0.0) or (q[c] >= high[c] and g < 0.0))
        if free[c] and not abs(g) <= worst:  # so written that NaN is passed on, not passed over
            worst = abs(g)
    return worst


@nb.njit(cache=True)
def observe(p: Arrays, w: FloatArray, seen: BoolArray, counts: IntArray) -> int:
    """Which coordinates move a marker that is there (or have a task); how many markers are there."""
    parent, coordinate, marker_element = p[0], p[2], p[9]
    order, task_weight = p[11], p[13]
    for c in range(seen.shape[0]):
        seen[c] = False
    for e in range(parent.shape[0]):
        counts[e] = 0
    there = 0
    for m in range(marker_element.shape[0]):
        if w[m] > 0.0:
            there += 1
            if marker_element[m] >= 0:
                counts[marker_element[m]] += 1
    for e in range(parent.shape[0] - 1, -1, -1):
        if counts[e] > 0:
            seen[coordinate[e]] = True
            if parent[e] >= 0:
                counts[parent[e]] += counts[e]
    for i in range(order.shape[0]):
        if task_weight[order[i]] > 0.0:
            seen[order[i]] = True
    return there


@nb.njit(cache=True)
def _advance(
    p: Arrays,
    low: FloatArray,
    high: FloatArray,
    q: FloatArray,
    y: FloatArray,
    w: FloatArray,
    cost: float,
    work: Arrays,
) -> tuple[float, float]:
    """Try ever shorter pieces of the step until the cost falls: (cost, length); length 0: it never did.

    On success ``q``, the frames and the sums are those of the new point.
    """
    frame, sums, du, ddu = work[:4]
    step, trial = work[7], work[8]
    order = p[11]
    largest = 0.0
    for i in range(order.shape[0]):
        largest = max(largest, abs(step[order[i]]))
    length = min(1.0, LONGEST_STEP / largest) if largest > 0.0 else 1.0
    for c in range(q.shape[0]):
        trial[c] = q[c]
    for _ in range(30):
        for i in range(order.shape[0]):
            c = order[i]
            trial[c] = min(max(q[c] + length * step[c], low[c]), high[c])
        place_elements(p, trial, frame, du, ddu)
        new = misfit(p, trial, y, w, frame, sums)
        if new <= cost * (1.0 + 1e-13) + 1e-22:
            for c in range(q.shape[0]):
                q[c] = trial[c]
            return new, length
        length *= 0.25
    place_elements(p, q, frame, du, ddu)
    return misfit(p, q, y, w, frame, sums), 0.0


@nb.njit(cache=True)
def newton(
    p: Arrays,
    low: FloatArray,
    high: FloatArray,
    q: FloatArray,
    y: FloatArray,
    w: FloatArray,
    seen: BoolArray,
    tolerance: float,
    most: int,
    work: Arrays,
) -> tuple[float, float, int, int]:
    """Minimise from ``q`` in place. Returns (cost, largest projected gradient, iterations, status)."""
    frame, sums, du, ddu, gradient, hessian, factor, step, _, free, push = work
    order, ancestor = p[11], p[12]
    for i in range(order.shape[0]):
        c = order[i]
        q[c] = min(max(q[c], low[c]), high[c])
    place_elements(p, q, frame, du, ddu)
    cost = misfit(p, q, y, w, frame, sums)
    damping = 0.0
    iteration = 0
    while True:
        slopes(p, q, frame, du, sums, push, gradient)
        worst = _mark_free(order, q, low, high, gradient, seen, free)
        if worst <= tolerance:
            return cost, worst, iteration, CONVERGED
        if iteration == most or damping > MOST_DAMPING:
            return cost, worst, iteration, STALLED
        curvature(p, frame, du, ddu, sums, push, hessian)
        while not _factor(order, ancestor, hessian, factor, free, damping):
            damping = max(4.0 * damping, 1e-6)
            if damping > MOST_DAMPING:  # the Hessian holds NaN
                return cost, worst, iteration, STALLED
        for i in range(order.shape[0]):
            step[order[i]] = -gradient[order[i]]
        _solve(order, ancestor, factor, free, step)
        cost, length = _advance(p, low, high, q, y, w, cost, work)
        iteration += 1
        if length == 0.0:
            damping = max(10.0 * damping, 1e-6)
        elif length == 1.0:
            damping = 0.1 * damping if damping > 1e-9 else 0.0


@nb.njit(cache=True)
def workspace(elements: int, size: int) -> Arrays:
    """Work arrays for ``elements`` elements and ``size`` coordinates."""
    return (
        np.empty((elements, 12)), np.empty((elements, SUMS)), np.empty(elements), np.empty(elements),
        np.zeros(size), np.zeros((size, size)), np.zeros((size, size)), np.zeros(size), np.zeros(size),
        np.zeros(size, dtype=np.bool_), np.empty(elements),
    )  # fmt: skip


@nb.njit(cache=True)
def weigh(y: FloatArray, weights: FloatArray, w: FloatArray) -> float:
    """Weights of the markers that are there, summing to 1; returns their sum before."""
    total = 0.0
    for m in range(weights.shape[0]):
        there = not (math.isnan(y[m, 0]) or math.isnan(y[m, 1]) or math.isnan(y[m, 2]))
        w[m] = weights[m] if there else 0.0
        total += w[m]
    if total > 0.0:
        for m in range(weights.shape[0]):
            w[m] /= total
    return total


@nb.njit(cache=True, nogil=True)
def solve_frames(
    p: Arrays,
    low: FloatArray,
    high: FloatArray,
    weights: FloatArray,
    y: FloatArray,
    start: FloatArray,
    warm: bool,
    backwards: bool,
    tolerance: float,
    most: int,
    q: FloatArray,
    cost: FloatArray,
    slope: FloatArray,
    turns: IntArray,
    status: IntArray,
) -> None:
    """Solve frames in order (or backwards), each from the last answer carried on, or from ``start``.

    ``start`` is (T, Q); with ``warm`` only its first row (backwards: last) starts the chain. Results are
    written into ``q`` (T, Q), ``cost``, ``slope`` (largest projected gradient), ``turns`` and ``status``.
    """
    frames, size = y.shape[0], start.shape[1]
    work = workspace(p[0].shape[0], size)
    w = np.empty(weights.shape[0])
    seen, counts = np.zeros(size, dtype=np.bool_), np.zeros(max(p[0].shape[0], 1), dtype=np.int64)
    now, last, before = np.empty(size), np.empty(size), np.empty(size)
    known = 0
    for k in range(frames):
        t = frames - 1 - k if backwards else k
        if weigh(y[t], weights, w) == 0.0:
            status[t] = EMPTY
            q[t] = np.nan
            cost[t] = slope[t] = np.nan
            turns[t] = 0
            continue
        observe(p, w, seen, counts)
        if not warm or known == 0:
            now[:] = start[t]
        elif known == 1:
            now[:] = last
        else:
            for c in range(size):
                now[c] = 2.0 * last[c] - before[c] if seen[c] else last[c]
        cost[t], slope[t], turns[t], status[t] = newton(
            p, low, high, now, y[t], w, seen, tolerance, most, work
        )
        q[t] = now
        before[:] = last
        last[:] = now
        known = min(known + 1, 2)
