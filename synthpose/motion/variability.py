"""Seeded chance: the same words give the same numbers, whatever else was drawn before."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from scipy.interpolate import PchipInterpolator

from cohorts.values import FloatArray


def chance(seed: int, *words: str) -> np.random.Generator:
    """A generator for one purpose, named by words, of one seed."""
    return np.random.default_rng(np.random.SeedSequence([seed, *(crc32(w.encode()) for w in words)]))


def drawn(rng: np.random.Generator, sd: float) -> float:
    """A normal deviate that is never beyond 2 SD: a person, not an outlier."""
    return float(np.clip(rng.standard_normal(), -2.0, 2.0) * sd)


def wandering(rng: np.random.Generator, count: int, sd: float, memory: float) -> FloatArray:
    """(count,) first-order autoregression of this standard deviation; ``memory`` is its lag-1 correlation."""
    fresh = np.clip(rng.standard_normal(count), -2.5, 2.5)
    made = np.empty(count)
    last = 0.0
    for k in range(count):
        last = fresh[0] if k == 0 else memory * last + np.sqrt(1 - memory**2) * fresh[k]
        made[k] = last
    return sd * made


def through(knots: FloatArray, values: FloatArray, at: FloatArray) -> FloatArray:
    """A smooth, never overshooting curve through values at knots; level beyond the ends."""
    made: FloatArray = PchipInterpolator(knots, values)(np.clip(at, knots[0], knots[-1]))
    return made


def at_least(values: FloatArray, low: float, soft: float = 0.03) -> FloatArray:
    """Values that stay above ``low`` without a kink: rounded over about ``soft`` (same units)."""
    made: FloatArray = low + soft * np.logaddexp(0.0, (values - low) / soft)
    return made


def ease(time: FloatArray, start: float, end: float) -> FloatArray:
    """(T,) 0 before ``start``, 1 after ``end`` (s), with the least jerk between."""
    x = np.clip((time - start) / (end - start), 0.0, 1.0)
    made: FloatArray = x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
    return made
