"""The flip test: what a network says of the mirrored picture, mirrored back, averaged with what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mirrored(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 3, h, w) pictures with left and right exchanged."""
    return np.ascontiguousarray(batch[..., ::-1])


def heatmaps_back(maps: NDArray[Any], flip_indices: Sequence[int], *, shift: bool) -> NDArray[Any]:
    """(n, K, h, w) maps of the mirrored picture as maps of the picture itself.

    In msra geometry a mirrored map lies 1 - w/W of a cell (W: the crop's width, w: the map's) to the left of
    where it ought to; ``shift`` moves it one cell to the right, which leaves w/W too much. In udp geometry it
    lies right as it is.
    """
    back = maps[:, list(flip_indices), :, ::-1]
    return np.concatenate([back[..., :1], back[..., :-1]], axis=-1) if shift else back


def simcc_back(
    x: NDArray[Any], y: NDArray[Any], flip_indices: Sequence[int], *, shift: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(n, K, bins) vectors of the mirrored picture as vectors of the picture itself.

    Pixel W - 1 - x is bin r (W - 1 - x) of r W, so the mirrored vector lies r - 1 bins to the right of where
    it ought to: ``shift`` is how many bins it is moved to the left.
    """
    order = list(flip_indices)
    back = x[:, order, ::-1]
    if shift:
        back = np.concatenate([back[..., shift:], np.repeat(back[..., -1:], shift, axis=-1)], axis=-1)
    return back, y[:, order]


def points_back(points: NDArray[Any], flip_indices: Sequence[int], *, width: float) -> NDArray[Any]:
    """(n, K, 2) points of the mirrored picture as points of the picture itself: x becomes ``width`` - x."""
    back = points[:, list(flip_indices)].copy()
    back[..., 0] = width - back[..., 0]
    return back


def averaged(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The mean of each output."""
    return {name: (one[name] + other[name]) * 0.5 for name in one}
