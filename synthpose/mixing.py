"""Several sources of training pictures as one: mixed by ratio, points that a source does not label masked.

An epoch of a mixture is as long as it takes to see every picture of every source at least once; sources that
are short for their ratio come round again. Which picture number n is follows from the sources' sizes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray
from synthpose.feeding import Source

Pictures = NDArray[np.uint8]
HIDDEN = 1
MOST = 100_000_000  #: pictures of an epoch


@dataclass(frozen=True)
class Part:
    """One source of a mixture.

    Attributes
    ----------
    source : pictures with points of its own skeleton
    ratio : of its pictures among all, in proportion to the others'
    without : points of the mixture that are not learnt from it, although it has them
    approximate : weight of points that it has only nearly (another definition of the landmark); 0: not used
    weight : of all its points
    hidden : weight of points that it says are hidden
    """

    source: Source
    ratio: float = 1.0
    without: tuple[str, ...] = ()
    approximate: float = 0.0
    weight: float = 1.0
    hidden: float = 1.0

    def __post_init__(self) -> None:
        for name in ("ratio", "weight"):
            if not 0 < getattr(self, name) < 1e6:
                raise CapbenchError(f"Expected a positive {name} of a source, got {getattr(self, name)!r}.")
        for name in ("approximate", "hidden"):
            if not 0 <= getattr(self, name) <= 1:
                raise CapbenchError(f"Expected {name} from 0 to 1, got {getattr(self, name)!r}.")
        if not len(self.source):
            raise CapbenchError("Expected pictures in every source, got an empty one.")


@dataclass(frozen=True)
class Mixed:
    """A mixture, itself a source of ``skeleton``'s points; a point's weight is 0 where nobody labelled it."""

    skeleton: Skeleton
    parts: tuple[Part, ...]
    _counts: NDArray[np.int64] = field(init=False, repr=False)
    _columns: tuple[tuple[FloatArray, FloatArray], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.parts:
            raise CapbenchError("Expected at least one source, got none.")
        ratios = np.array([p.ratio for p in self.parts])
        sizes = np.array([len(p.source) for p in self.parts])
        rounds = float((sizes / ratios).max())
        counts = np.maximum(np.rint(ratios * rounds), 1).astype(np.int64)
        if counts.sum() > MOST:
            raise CapbenchError(
                f"Expected ratios with which at most {MOST} pictures make an epoch, got {counts.sum()}.",
                fix="ratios nearer to the sources' sizes",
            )
        object.__setattr__(self, "_counts", counts)
        object.__setattr__(self, "_columns", tuple(_columns(p, self.skeleton) for p in self.parts))

    def __len__(self) -> int:
        return int(self._counts.sum())

    @property
    def counts(self) -> tuple[int, ...]:
        """How many of an epoch's pictures each source gives."""
        return tuple(self._counts.tolist())

    @property
    def labelled(self) -> tuple[tuple[str, ...], ...]:
        """Which points are learnt from each source."""
        points = np.array(self.skeleton.points)
        return tuple(tuple(points[weight > 0].tolist()) for _, weight in self._columns)

    def place(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which source each number is of, and its number there."""
        wanted = np.asarray(numbers, np.int64).ravel()
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise CapbenchError(f"Expected numbers from 0 to {len(self) - 1}.")
        ends = np.cumsum(self._counts)
        part = np.searchsorted(ends, wanted, side="right")
        sizes = np.array([len(p.source) for p in self.parts])
        return part, (wanted - (ends - self._counts)[part]) % sizes[part]

    def batch(
        self, numbers: NDArray[np.int64], /
    ) -> tuple[Pictures, NDArray[np.float32], NDArray[np.float32]]:
        """Pictures, points and weights (n, K) of these numbers; NaN-free."""
        part, own = self.place(numbers)
        count = len(self.skeleton)
        pictures: Pictures | None = None
        points = np.zeros((len(part), count, 2), np.float32)
        weight = np.zeros((len(part), count), np.float32)
        for k in np.unique(part).tolist():
            rows = np.flatnonzero(part == k)
            seen, at, given = self.parts[k].source.batch(own[rows])
            if pictures is None:
                pictures = np.empty((len(part), *seen.shape[1:]), np.uint8)
            if seen.shape[1:] != pictures.shape[1:]:
                raise CapbenchError(
                    f"Expected sources with pictures of one size, got {pictures.shape[2]} x "
                    f"{pictures.shape[1]} and {seen.shape[2]} x {seen.shape[1]}."
                )
            pictures[rows] = seen
            points[rows], weight[rows] = self._told(k, at, given)
        assert pictures is not None or not len(part)
        return (np.empty((0, 1, 1, 3), np.uint8) if pictures is None else pictures), points, weight

    def _told(
        self, k: int, at: NDArray[Any], given: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points and weights of source ``k`` in the mixture's skeleton."""
        shares, by_point = self._columns[k]
        part = self.parts[k]
        own = given.astype(np.float32)
        if given.dtype.kind in "ui":
            own = np.where(given > HIDDEN, 1, np.where(given == HIDDEN, part.hidden, 0)).astype(np.float32)
        good = np.isfinite(at).all(axis=2) & (own > 0)
        at = np.where(good[..., None], at, 0.0)
        needs = shares > 0
        # the mean of several is known where all of them are
        whole = (~needs[None] | good[:, None, :]).all(axis=2) & needs.any(axis=1)
        lowest = np.where(needs[None], np.where(good, own, 0)[:, None, :], np.inf).min(axis=2, initial=1e9)
        weight = np.where(whole, lowest * by_point, 0.0)
        made = np.where(whole[..., None], np.einsum("pk,nkc->npc", shares, at), 0.0)
        return made.astype(np.float32), weight.astype(np.float32)


def _columns(part: Part, target: Skeleton) -> tuple[FloatArray, FloatArray]:
    """(K, K') shares of a source's points in each point of the target, and (K,) weights."""
    given = part.source.skeleton
    found = given.map_to(target)
    for name in part.without:
        target.index(name)
    shares, weight = np.zeros((len(target), len(given))), np.zeros(len(target))
    sources: dict[str, Sequence[str]] = {point: (own,) for point, own in found.exact.items()}
    worth: Mapping[str, float] = dict.fromkeys(found.exact, 1.0)
    if part.approximate:
        sources |= {point: near.points for point, near in found.approximate.items()}
        worth = {**dict.fromkeys(found.approximate, part.approximate), **worth}
    for point, own in sources.items():
        if point in part.without:
            continue
        k = target.index(point)
        for name in own:
            shares[k, given.index(name)] += 1 / len(own)
        weight[k] = worth[point] * part.weight
    if not weight.any():
        raise CapbenchError(f"Expected a source that has points of {target.name}, got {given.name}.")
    return shares, weight
