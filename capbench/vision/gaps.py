"""Short gaps in markers' tracks, closed by a curve that does not overshoot, and marked."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from capbench.vision.views import BoolArray
from cohorts.errors import CapbenchError
from cohorts.recording import Markers
from cohorts.values import FloatArray, IntArray

LONGEST = 0.2  #: seconds
TRUST = 0.5  #: a filled sample's confidence, as a share of the smaller of those beside the gap
#: m/s² that a marker may change its pace by unseen, for the covariance of what was filled: half of gravity
ACCELERATION = 5.0


def fill_gaps(markers: Markers, *, longest: float = LONGEST) -> tuple[Markers, BoolArray]:
    """Markers with inner gaps of up to ``longest`` seconds filled, and where (T, M) that was.

    A gap's length is the time between the samples on either side less one step. The curve is a piecewise
    cubic through all samples that keeps rises and falls as they are (pchip). Nothing is added before the
    first sample of a marker or after its last. A filled sample has ``TRUST`` times the confidence of the
    less certain sample beside the gap.
    """
    if not longest >= 0:
        raise CapbenchError(f"Expected the longest gap to fill in seconds, got {longest:g}.")
    present = np.isfinite(markers.xyz[..., 0])
    filled, low, high = inner_gaps(markers.time, present, longest)
    if not filled.any():
        return markers, filled
    xyz, confidence = markers.xyz.copy(), markers.confidence.copy()
    for m in np.flatnonzero(filled.any(axis=0)):
        here, gap = present[:, m], filled[:, m]
        xyz[gap, m] = PchipInterpolator(markers.time[here], markers.xyz[here, m], axis=0)(markers.time[gap])
        beside = np.minimum(markers.confidence[low[gap, m], m], markers.confidence[high[gap, m], m])
        confidence[gap, m] = TRUST * beside
    return Markers(markers.time, markers.names, xyz, confidence), filled


def inner_gaps(time: FloatArray, present: BoolArray, longest: float) -> tuple[BoolArray, IntArray, IntArray]:
    """(T, M) the missing samples of inner gaps no longer than that, and the samples before and after each."""
    total = len(time)
    if not total:
        return np.zeros_like(present), np.zeros(present.shape, np.int64), np.zeros(present.shape, np.int64)
    index = np.arange(total)[:, None]
    low = np.maximum.accumulate(np.where(present, index, -1), axis=0)
    high = np.minimum.accumulate(np.where(present, index, total)[::-1], axis=0)[::-1]
    inside = ~present & (low >= 0) & (high < total)
    low, high = np.clip(low, 0, total - 1), np.clip(high, 0, total - 1)
    step = float(np.median(np.diff(time))) if total > 1 else 0.0
    short = time[high] - time[low] - step <= longest + 1e-9
    return inside & short, low, high


def fill_covariance(time: FloatArray, covariance: FloatArray, filled: BoolArray) -> FloatArray:
    """(T, M, 3, 3) metres² with filled samples given the worse neighbour's, and the width of the bridge.

    Between two samples a marker that accelerates by a strays from the line by ``a τ (g - τ) / 2``.
    """
    present = np.isfinite(covariance[..., 0, 0])
    _, low, high = inner_gaps(time, present, np.inf)
    column = np.arange(covariance.shape[1])
    before, after = covariance[low, column], covariance[high, column]
    worse = np.trace(before, axis1=-2, axis2=-1) >= np.trace(after, axis1=-2, axis2=-1)
    on, left = time[:, None] - time[low], time[high] - time[:, None]
    stray = (ACCELERATION * on * left / 2) ** 2
    bridge = np.where(worse[..., None, None], before, after) + stray[..., None, None] * np.eye(3)
    return np.where((filled & ~present)[..., None, None], bridge, covariance)
