"""How many floating-point operations a solved frame costs, and how many a core can do at best.

Every addition, subtraction, multiplication and division of ``kernel_numba`` counts as one, sines and cosines
apart; comparisons, changes of sign and copies do not count. The figures below are read off its loops, all
coordinates taken as free. Steps that had to be shortened are not counted, nor the ones and zeros that the
kernel works with where it spares itself a branch: the share of the peak is rather too low than too high.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numba as nb
import numpy as np

from capbench.biomech.problem import POLYNOMIAL, SPLINE, Problem

COMPOSE = (
    9 * 5 + 3 * 6
)  # a frame with its parent's: nine sums of three products, an origin moved and added to
SLIDE = 3 * 2  # the origin along the axis
TURN = 3 * 6  # two columns mixed by sine and cosine
COEFFICIENT = 7  # of a polynomial: one step of Horner's rule for the value and two derivatives
PIECE = 17  # of a spline: its offset 1, value 6, slope 6, second derivative 4
MARKER = 18 + 3 + 8 + 43  # its place, its residual, the cost, the 22 sums
GROUND_MARKER = 3 + 8
TASK = 5  # of a coordinate, in the cost; there are also those of weight 0
TASK_SLOPE = 2
SLOPE = {True: 5, False: 20}  # the cost's derivative by u, for an element that slides or turns
CHAIN = 2  # ... carried to the coordinate
SUMS = 22  # added to the parent's
FORCES = {True: 3 + 21, False: 6 + 9 + 8 + 9 + 11 + 36}  # F and M: slides; turns, line by line
BEND = 2  # the function's second derivative
PAIR = {True: 5 + 3, False: 17 + 3}  # an entry of the Hessian, by the upper element's kind
TWICE = 1  # ... of two elements of one coordinate
DAMP = 1  # per coordinate
MOVE = 2  # per coordinate: along the step
CHECK = 3  # length of the step, has the cost fallen


@dataclass(frozen=True)
class Count:
    """Operations of one frame: ``start`` once, then each ``iteration``.

    Both hold the ``placing`` of all elements, which needs ``trigonometry`` sines and cosines too.
    """

    placing: int
    start: int
    iteration: int
    trigonometry: int

    def frame(self, iterations: float) -> float:
        """Operations of a frame that takes so many iterations on average."""
        return self.start + self.iteration * iterations


def count_operations(problem: Problem) -> Count:
    """Operations of the compiled kernel on this problem, all its markers seen."""
    parent, slides, coordinate = problem.parent, problem.slides != 0, problem.coordinate
    size = len(problem.order)
    place = slopes = curvature = 0
    for e, a in enumerate(parent):
        sliding = bool(slides[e])
        place += (COMPOSE if a >= 0 else 0) + (SLIDE if sliding else TURN) + _function(problem, e)
        slopes += SLOPE[sliding] + CHAIN + (SUMS if a >= 0 else 0)
        curvature += FORCES[sliding] + BEND
        b = e
        while b >= 0:
            curvature += PAIR[bool(slides[b])] + (TWICE if b != e and coordinate[b] == coordinate[e] else 0)
            b = int(parent[b])
    on_ground = int((problem.marker_element < 0).sum())
    misfit = MARKER * (len(problem.markers) - on_ground) + GROUND_MARKER * on_ground + TASK * size
    look = place + misfit + slopes + TASK_SLOPE * size
    step = curvature + _factor(problem) + MOVE * size + CHECK
    return Count(place, look, look + step, 2 * int((~slides).sum()))


def _function(problem: Problem, element: int) -> int:
    kind = int(problem.kind[element])
    return {0: 0, POLYNOMIAL: COEFFICIENT * int(problem.count[element]), SPLINE: PIECE}[kind]


def _factor(problem: Problem) -> int:
    """The Hessian damped, factored, and one step solved for."""
    total = 0
    for k in problem.order:
        depth = 0
        a = int(problem.ancestor[k])
        while a >= 0:
            depth += 1
            a = int(problem.ancestor[a])
        total += DAMP + depth + depth * (depth + 1)  # a division and a row of products for each ancestor
        total += 1 + 4 * depth  # solved downwards and upwards
    return total


@nb.njit(cache=False, fastmath={"contract"})  # products and sums fused, but not reordered
def _fused_chains(x, a, b, rounds):  # type: ignore[no-untyped-def]
    """Independent chains of 8 multiply-adds: short enough that the core works on several at once."""
    for _ in range(rounds):
        for j in range(x.shape[0]):
            v = x[j]
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            x[j] = v
    return x.sum()


def measure_peak(seconds: float = 0.5) -> float:
    """Operations per second of one core in double precision, the best of many; a multiply-add counts two.

    512 numbers stay in the innermost cache; their chains don't wait for each other, so that what limits is
    how many fused multiply-adds the core can start.
    """
    x = np.linspace(0.1, 0.9, 512)
    rounds = 8000
    _fused_chains(x, 0.5, 0.25, 1)
    best, began = 0.0, time.process_time()
    while time.process_time() - began < seconds:
        before = time.process_time()
        _fused_chains(x, 0.5, 0.25, rounds)
        best = max(best, 2 * 8 * len(x) * rounds / (time.process_time() - before))
    return best
