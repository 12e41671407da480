"""Where the rays of several cameras meet, and how well: all moments and points at once.

Good enough to tell people apart, and in metres; markers come from :mod:`capbench.vision.triangulate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cohorts.camera import Camera
from cohorts.values import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Bundle:
    """One camera's rays to points (...): what the least-squares meeting point needs of them.

    Attributes
    ----------
    there : (...) 1 where there is a ray, else 0
    ahead : (..., 3) unit directions
    across : (..., 3, 3) projector onto the plane across each ray, 0 where there is none
    centre : (3,) metres
    """

    there: FloatArray
    ahead: FloatArray
    across: FloatArray
    centre: FloatArray

    def at(self, rows: IntArray) -> Bundle:
        """Only these of the first axis."""
        return Bundle(self.there[rows], self.ahead[rows], self.across[rows], self.centre)


def bundle(camera: Camera, xy: ArrayLike) -> Bundle:
    """The rays of pixels (..., 2), NaN where there is none."""
    centre, ahead = camera.ray(xy)
    there = np.asarray(np.isfinite(ahead).all(axis=-1))
    ahead = np.where(there[..., None], ahead, 0.0)
    across = (np.eye(3) - ahead[..., :, None] * ahead[..., None, :]) * there[..., None, None]
    return Bundle(there.astype(float), ahead, across, centre)


def meet(bundles: Sequence[Bundle]) -> tuple[FloatArray, FloatArray]:
    """(..., 3) the points nearest to all rays, metres, and (...) by how much the rays miss them, metres.

    The miss is the root of the squared distances' sum over its degrees of freedom, 2 n - 3 for n rays, so it
    doesn't grow with the number of cameras. NaN with fewer than two rays or where all are parallel; the miss
    is infinite for a point behind one of the cameras.
    """
    total = np.sum([b.across for b in bundles], axis=0)
    pull = np.sum([b.across @ b.centre for b in bundles], axis=0)
    count = np.sum([b.there for b in bundles], axis=0)
    good = (count >= 2) & (np.linalg.det(total) > 1e-4)
    safe = np.where(good[..., None, None], total, np.eye(3))
    points = np.linalg.solve(safe, pull[..., None])[..., 0]
    square = np.zeros(count.shape)
    behind = np.zeros(count.shape, bool)
    for b in bundles:
        base = points - b.centre
        square += ((b.across @ base[..., None])[..., 0] ** 2).sum(axis=-1)
        behind |= (b.there > 0) & ((base * b.ahead).sum(axis=-1) <= 0)
    miss = np.sqrt(square / np.maximum(2 * count - 3, 1))
    miss = np.where(behind, np.inf, miss)
    return np.where(good[..., None], points, np.nan), np.where(good, miss, np.nan)


def median(values: FloatArray) -> float:
    """The median of those that are no NaN; NaN for none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def together(reference: FloatArray, other: FloatArray) -> IntArray:
    """(T,) for each time of ``reference`` the frame of ``other`` nearest in time; -1 where none is near.

    Near is half a frame of the slower camera.
    """
    if not len(reference) or not len(other):
        return np.full(len(reference), -1, np.int64)
    after = np.searchsorted(other, reference).clip(0, len(other) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(other[before] - reference) <= np.abs(other[after] - reference), before, after)
    steps = [float(np.median(np.diff(x))) for x in (reference, other) if len(x) > 1]
    good = np.abs(other[nearest] - reference) <= max(steps, default=0.04) / 2 + 1e-6
    return np.where(good, nearest, -1)
