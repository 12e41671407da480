"""Functions of one coordinate that move a joint's axes: value, first and second derivative.

The same five kinds as in OpenSim's joints. Each knows its derivatives exactly, as the solver needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cohorts.errors import CapbenchError
from cohorts.values import ByValue, FloatArray, frozen


class Function(Protocol):
    """A smooth function of one variable."""

    def __call__(self, x: FloatArray) -> FloatArray:
        """Values at ``x``."""

    def derivatives(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Value, first and second derivative at ``x``."""


@dataclass(frozen=True, eq=False)
class Polynomial(ByValue):
    """``c[0] x^n + … + c[n]``, highest power first; a constant and a line are special cases."""

    coefficients: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", frozen(np.atleast_1d(self.coefficients)))
        if self.coefficients.ndim != 1 or not np.isfinite(self.coefficients).all():
            raise CapbenchError(f"Expected finite coefficients, got {self.coefficients}.")

    @property
    def is_constant(self) -> bool:
        """Whether nothing moves it."""
        return not self.coefficients[:-1].any()

    @property
    def is_identity(self) -> bool:
        """Whether it is ``x`` itself."""
        c = np.trim_zeros(self.coefficients, "f")
        return len(c) == 2 and c[0] == 1 and c[1] == 0

    def __call__(self, x: FloatArray) -> FloatArray:
        """Values at ``x``."""
        return self.derivatives(np.asarray(x, float))[0]

    def derivatives(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Value, first and second derivative at ``x``, by Horner's rule."""
        f, d, dd = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        for c in self.coefficients:
            dd = dd * x + 2 * d
            d = d * x + f
            f = f * x + c
        return f, d, dd

    def scaled(self, factor: float) -> Polynomial:
        """``factor`` times this function."""
        return Polynomial(self.coefficients * factor)


def constant(value: float) -> Polynomial:
    """A function that is ``value`` everywhere."""
    return Polynomial(np.array([value]))


IDENTITY = Polynomial(np.array([1.0, 0.0]))


@dataclass(frozen=True, eq=False)
class Spline(ByValue):
    """A cubic spline through (x, y) with derivatives ``b, c, d`` per knot, straight outside its knots.

    On ``[x_i, x_{i+1}]``: ``y_i + h (b_i + h (c_i + h d_i))``, ``h = x - x_i``. Outside, it goes on along the
    end's tangent, as OpenSim's does.
    """

    x: FloatArray
    y: FloatArray
    b: FloatArray
    c: FloatArray
    d: FloatArray

    def __post_init__(self) -> None:
        for name in ("x", "y", "b", "c", "d"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if not all(np.isfinite(getattr(self, name)).all() for name in ("x", "y", "b", "c", "d")):
            raise CapbenchError(
                "Expected knots that a spline can pass through, got too steep or too large ones."
            )

    def derivatives(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Value, first and second derivative at ``x``."""
        x = np.asarray(x, float)
        last = len(self.x) - 1
        i = np.clip(np.searchsorted(self.x, x, side="right") - 1, 0, max(last - 1, 0))
        h = x - self.x[i]
        b, c, d = self.b[i], self.c[i], self.d[i]
        f = self.y[i] + h * (b + h * (c + h * d))
        df = b + h * (2 * c + 3 * h * d)
        ddf = 2 * c + 6 * h * d
        for outside, end in ((x < self.x[0], 0), (x > self.x[last], last)):
            f = np.where(outside, self.y[end] + self.b[end] * (x - self.x[end]), f)
            df = np.where(outside, self.b[end], df)
            ddf = np.where(outside, 0.0, ddf)
        return f, df, ddf

    def __call__(self, x: FloatArray) -> FloatArray:
        """Values at ``x``."""
        return self.derivatives(x)[0]

    def scaled(self, factor: float) -> Spline:
        """``factor`` times this function."""
        return Spline(self.x, *(factor * a for a in (self.y, self.b, self.c, self.d)))


def _knots(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not (np.diff(x) > 0).all():
        raise CapbenchError(
            f"Expected two or more increasing knots x with as many y, got {len(x)} and {len(y)}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise CapbenchError("Expected finite knots, got NaN or infinity.")
    return x, y


@np.errstate(all="ignore")  # overflow ends in the spline's own check
def simm_spline(x: FloatArray, y: FloatArray) -> Spline:
    """OpenSim's SimmSpline: the cubic spline of Forsythe, Malcolm and Moler (1977).

    Twice continuously differentiable; its third derivative at each end equals that of the cubic through the
    four points nearest to it. Two knots make a line, three make end third derivatives of zero.
    """
    x, y = _knots(x, y)
    n = len(x)
    if n == 2:
        b = np.full(2, (y[1] - y[0]) / (x[1] - x[0]))
        return Spline(x, y, b, np.zeros(2), np.zeros(2))
    h = np.diff(x)
    slope = np.diff(y) / h
    # tridiagonal system for sigma = s'' / 6 ("c" below)
    lower, diagonal, right = h.copy(), np.empty(n), np.empty(n)
    diagonal[1:-1] = 2 * (h[:-1] + h[1:])
    right[1:-1] = np.diff(slope)
    diagonal[0], diagonal[-1] = -h[0], -h[-1]
    right[0] = right[-1] = 0.0
    if n > 3:
        second = np.diff(slope) / (x[2:] - x[:-2])
        third = np.diff(second) / (x[3:] - x[:-3])
        right[0] = third[0] * h[0] ** 2
        right[-1] = -third[-1] * h[-1] ** 2
    for i in range(1, n):
        t = lower[i - 1] / diagonal[i - 1]
        diagonal[i] -= t * lower[i - 1]
        right[i] -= t * right[i - 1]
    c = np.empty(n)
    c[-1] = right[-1] / diagonal[-1]
    for i in range(n - 2, -1, -1):
        c[i] = (right[i] - lower[i] * c[i + 1]) / diagonal[i]
    b, d = np.empty(n), np.empty(n)
    b[:-1] = slope - h * (c[1:] + 2 * c[:-1])
    b[-1] = slope[-1] + h[-1] * (c[-2] + 2 * c[-1])
    d[:-1] = np.diff(c) / h
    d[-1] = d[-2]
    return Spline(x, y, b, 3 * c, d)


@np.errstate(all="ignore")
def piecewise_linear(x: FloatArray, y: FloatArray) -> Spline:
    """Straight lines between the knots (second derivative 0, kinks at the knots)."""
    x, y = _knots(x, y)
    slope = np.diff(y) / np.diff(x)
    return Spline(x, y, np.append(slope, slope[-1]), np.zeros(len(x)), np.zeros(len(x)))
