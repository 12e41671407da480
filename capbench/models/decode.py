"""From a network's maps and vectors to points: where the peak is, between the cells too.

Everything is vectorised over (n, K) and pure numpy. Cells count from 0 at the first one's centre. What each
decoding reaches on a Gaussian peak anywhere between cells: ``argmax`` half a cell per axis, ``msra`` (a
quarter cell towards the higher neighbour) a quarter cell; ``dark``, ``udp`` and refined SimCC the peak.

A map with a value that is not finite, or without a positive one, gives a missing point: NaN, confidence 0.
The confidence is the highest value of the map; of SimCC, the lower of both vectors' highest. Softmaxed ones
are to be divided by :func:`highest`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capbench.models.card import Codec, Decoding
from cohorts.values import FloatArray

CUT = 0.05  #: share of the peak below which a map says nothing of the spread
#: a cell's own variance if the point is anywhere in it: no spread is smaller
CELL_VARIANCE = 1 / 12
#: an expansion that leads farther than this many cells found no peak: the cell stands
FARTHEST = 4.0


class Peaks(NamedTuple):
    """Points in cells of the map (or bins of the vectors).

    Attributes
    ----------
    cells : (n, K, 2) x and y; NaN where missing
    confidence : (n, K) >= 0; 0 where missing
    covariance : (n, K, 2, 2) cells², or None where it was not asked for; NaN where missing
    """

    cells: FloatArray
    confidence: FloatArray
    covariance: FloatArray | None = None


def activate(values: NDArray[Any], activation: str, *, axes: tuple[int, ...]) -> NDArray[Any]:
    """``values`` through a sigmoid, or a softmax over ``axes``."""
    if activation == "none":
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        if activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-values)))
        powers = np.exp(values - values.max(axis=axes, keepdims=True))
        return np.asarray(powers / powers.sum(axis=axes, keepdims=True))


def highest(codec: Codec) -> float:
    """What confidences count against: the highest value of a map that says one place and nothing else.

    Softmaxed maps sum to 1, so that even one that is the Gaussian asked for, its point at a cell's centre,
    stays far below 1; others are asked to be 1 at the point, as are those whose Gaussian the card leaves out.
    """
    if codec.activation != "softmax" or codec.sigma is None:
        return 1.0
    reach = math.ceil(6 * codec.sigma)
    gaussian = np.exp(-0.5 * (np.arange(-reach, reach + 1) / codec.sigma) ** 2)
    peak = float(gaussian.max() / gaussian.sum())
    return peak**2 if codec.kind == "heatmap" else peak


# --- heatmaps -----------------------------------------------------------------------------------


def heatmaps(
    maps: NDArray[Any], *, decoding: Decoding = "dark", kernel: int = 11, covariance: bool = False
) -> Peaks:
    """The peak of each map of (n, K, h, w)."""
    maps, usable = _finite(np.asarray(maps), axes=(2, 3))
    n, k, height, width = maps.shape
    flat = maps.reshape(n, k, height * width)
    place = flat.argmax(axis=2)
    peak = np.take_along_axis(flat, place[..., None], axis=2)[..., 0]
    usable &= peak > 0
    y, x = np.divmod(place, width)
    cells = np.stack([x, y], axis=-1).astype(np.float64)
    if decoding == "msra":
        cells += _quarter(maps, x, y)
    elif decoding == "dark":
        cells += _dark(_blurred(maps, kernel), x, y)
    elif decoding == "udp":
        cells += _udp(_blurred(maps, kernel), x, y)
    cells[~usable] = np.nan
    confidence = np.where(usable, peak, 0.0).astype(np.float64)
    spread = _spread(maps, peak, usable) if covariance else None
    return Peaks(cells, confidence, spread)


def soft_argmax(maps: NDArray[Any], *, cut: float = CUT) -> Peaks:
    """The centre of mass of each map of (n, K, h, w) above ``cut`` of its peak, and its spread.

    For maps with one peak away from the border it is unbiased up to what the cut does to cells at its edge.
    """
    maps, usable = _finite(np.asarray(maps), axes=(2, 3))
    peak = maps.max(axis=(2, 3))
    usable &= peak > 0
    centre, spread = _moments(maps, peak, usable, cut)
    return Peaks(centre, np.where(usable, peak, 0.0).astype(np.float64), spread)


def _finite(values: NDArray[Any], axes: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """``values`` with zeros for what has a value that is not finite, and where all are."""
    usable = np.isfinite(values).all(axis=axes)
    if not usable.all():
        values = np.where(np.expand_dims(usable, axes), values, 0)
    if values.dtype != np.float64:
        values = values.astype(np.float32, copy=False)
    return values, usable


def _at(maps: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Values (n, K) of each map at its own cell; cells outside give the nearest one inside."""
    n, k, height, width = maps.shape
    flat = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    values = np.take_along_axis(maps.reshape(n, k, -1), flat[..., None], axis=2)[..., 0]
    return values.astype(np.float64)


def _quarter(maps: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> FloatArray:
    """A quarter cell towards the higher neighbour; none for cells at the border."""
    height, width = maps.shape[2:]
    dx = np.sign(_at(maps, x + 1, y) - _at(maps, x - 1, y))
    dy = np.sign(_at(maps, x, y + 1) - _at(maps, x, y - 1))
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    offset: FloatArray = np.stack([dx, dy], axis=-1) * np.where(inside, 0.25, 0.0)[..., None]
    return offset


def _blurred(maps: NDArray[Any], kernel: int) -> NDArray[Any]:
    """Each map blurred by a Gaussian, scaled so that its highest value stays what it was.

    The Gaussian's sigma is the one that OpenCV gives a kernel of that width, as the published code has it.
    Beyond the border there is nothing. One product of matrices a side, since maps are small.
    """
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    taps = np.exp(-0.5 * ((np.arange(kernel) - kernel // 2) / sigma) ** 2)
    taps /= taps.sum()
    height, width = maps.shape[2:]
    blurred = _band(taps, height).astype(maps.dtype) @ maps @ _band(taps, width).astype(maps.dtype)
    highest = blurred.max(axis=(2, 3), keepdims=True)
    return np.asarray(blurred * (maps.max(axis=(2, 3), keepdims=True) / (highest + 1e-12)))


def _band(taps: FloatArray, size: int) -> FloatArray:
    """The symmetric matrix that blurs a vector of ``size``."""
    apart = np.abs(np.arange(size)[:, None] - np.arange(size))
    half = len(taps) // 2
    band: FloatArray = np.where(apart <= half, taps[half + np.minimum(apart, half)], 0.0)
    return band


def _dark(blurred: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> FloatArray:
    """The way to the peak by a Taylor expansion of the logarithm, differences over two cells.

    None for cells within two of the border, where a difference would reach out.
    """
    height, width = blurred.shape[2:]
    logs = np.log(np.maximum(blurred, 1e-10))

    def at(dx: int, dy: int) -> NDArray[Any]:
        return _at(logs, x + dx, y + dy)

    middle = at(0, 0)
    gradient = (0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1)))
    dxx = 0.25 * (at(2, 0) - 2 * middle + at(-2, 0))
    dyy = 0.25 * (at(0, 2) - 2 * middle + at(0, -2))
    dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    return np.asarray(_step(gradient, dxx, dxy, dyy) * inside[..., None])


def _udp(blurred: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> FloatArray:
    """The same with differences over one cell and the logarithm's argument limited to 0.001 … 50.

    At the border the map goes on as it ends.
    """
    logs = np.log(np.clip(blurred, 1e-3, 50.0))

    def at(dx: int, dy: int) -> NDArray[Any]:
        return _at(logs, x + dx, y + dy)

    middle = at(0, 0)
    gradient = (0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1)))
    dxx = at(1, 0) - 2 * middle + at(-1, 0)
    dyy = at(0, 1) - 2 * middle + at(0, -1)
    cross = at(1, 1) - at(1, 0) - at(0, 1) + 2 * middle - at(-1, 0) - at(0, -1) + at(-1, -1)
    tiny = float(np.finfo(np.float32).eps)
    return _step(gradient, dxx + tiny, 0.5 * cross, dyy + tiny)


def _step(
    gradient: tuple[NDArray[Any], NDArray[Any]], dxx: NDArray[Any], dxy: NDArray[Any], dyy: NDArray[Any]
) -> FloatArray:
    """Newton's step (n, K, 2) to where the gradient vanishes; none where it leads out of sight."""
    dx, dy = gradient
    determinant = dxx * dyy - dxy * dxy
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1) / determinant[..., None]
        lost = ~(np.abs(step) <= FARTHEST).all(axis=-1)
    return np.asarray(np.where(lost[..., None], 0.0, step))


def _spread(maps: NDArray[Any], peak: NDArray[Any], usable: NDArray[np.bool_]) -> FloatArray:
    return _moments(maps, peak, usable, CUT)[1]


def _moments(
    maps: NDArray[Any], peak: NDArray[Any], usable: NDArray[np.bool_], cut: float
) -> tuple[FloatArray, FloatArray]:
    """Mean (n, K, 2) and covariance (n, K, 2, 2) of what stands above ``cut`` of the peak, in cells.

    What the cut takes from a Gaussian's variance is known in closed form and given back, so that a Gaussian's
    covariance is its own. Two peaks far apart give a large one, as they should.
    """
    height, width = maps.shape[2:]
    mass = np.where(maps >= cut * peak[..., None, None], maps, 0)
    xs, ys = np.arange(width, dtype=mass.dtype), np.arange(height, dtype=mass.dtype)
    columns, rows = mass.sum(axis=2, dtype=np.float64), mass.sum(axis=3, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = columns.sum(axis=2)
        mx, my = columns @ xs / total, rows @ ys / total
        xx = columns @ (xs * xs) / total - mx * mx
        yy = rows @ (ys * ys) / total - my * my
        xy = (mass @ xs).astype(np.float64) @ ys / total - mx * my
    depth = -np.log(cut)
    kept = 1 - cut * depth / (1 - cut)
    covariance = _proper(xx / kept, xy / kept, yy / kept)
    mean = np.stack([mx, my], axis=-1)
    mean[~usable] = np.nan
    covariance[~usable] = np.nan
    return mean, covariance


def _proper(xx: FloatArray, xy: FloatArray, yy: FloatArray) -> FloatArray:
    """The matrix with variances of no less than a cell's own and a correlation below 1."""
    xx, yy = np.maximum(xx, CELL_VARIANCE), np.maximum(yy, CELL_VARIANCE)
    limit = 0.99 * np.sqrt(xx * yy)
    xy = np.clip(xy, -limit, limit)
    return np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)


# --- SimCC --------------------------------------------------------------------------------------


def simcc(x: NDArray[Any], y: NDArray[Any], *, refine: bool = False, covariance: bool = False) -> Peaks:
    """The peaks of (n, K, bins) vectors, in bins; with ``refine`` by a parabola through three logarithms."""
    (x, good_x), (y, good_y) = _finite(np.asarray(x), axes=(2,)), _finite(np.asarray(y), axes=(2,))
    places = [values.argmax(axis=2) for values in (x, y)]
    peaks = [values.max(axis=2) for values in (x, y)]
    lowest = np.minimum(*peaks)
    usable = good_x & good_y & (lowest > 0)
    bins = np.stack(places, axis=-1).astype(np.float64)
    if refine:
        bins += np.stack([_vertex(v, p) for v, p in zip((x, y), places, strict=True)], axis=-1)
    bins[~usable] = np.nan
    confidence = np.where(usable, lowest, 0.0).astype(np.float64)
    if not covariance:
        return Peaks(bins, confidence)
    variances = [_variance(v, p) for v, p in zip((x, y), peaks, strict=True)]
    spread = _proper(variances[0], np.zeros_like(variances[0]), variances[1])
    spread[~usable] = np.nan
    return Peaks(bins, confidence, spread)


def _vertex(values: NDArray[Any], place: NDArray[Any]) -> FloatArray:
    """From the highest bin to the vertex of the parabola through its and its neighbours' logarithms.

    The logarithm of a Gaussian is a parabola, so its vertex is exact. None at either end, and none where a
    neighbour is not positive.
    """
    inner = np.clip(place, 1, values.shape[2] - 2)
    low, middle, high = (
        np.take_along_axis(values, (inner + d)[..., None], axis=2)[..., 0].astype(np.float64)
        for d in (-1, 0, 1)
    )
    sound = (inner == place) & (low > 0) & (high > 0) & (middle > 0)
    low, middle, high = (np.log(np.where(sound, v, 1.0)) for v in (low, middle, high))
    bend = low - 2 * middle + high
    sound &= bend < 0
    offset: FloatArray = np.where(sound, 0.5 * (low - high) / np.where(sound, bend, -1.0), 0.0)
    return offset


def _variance(values: NDArray[Any], peak: NDArray[Any]) -> FloatArray:
    """(n, K) variance of what stands above the cut, bins²; a Gaussian's is its own."""
    mass = np.where(values >= CUT * peak[..., None], values, 0).astype(np.float64)
    bins = np.arange(values.shape[2], dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = mass.sum(axis=2)
        mean = mass @ bins / total
        found: FloatArray = mass @ (bins * bins) / total - mean * mean
    return found / _kept_in_1d()


def _kept_in_1d() -> float:
    """Which share of a Gaussian's variance is left when it is cut at ``CUT`` of its peak."""
    from math import erf, exp, pi, sqrt

    end = sqrt(-2 * np.log(CUT))  # in sigmas
    return 1 - 2 * end * exp(-end * end / 2) / sqrt(2 * pi) / erf(end / sqrt(2))


# --- to pixels of the crop ----------------------------------------------------------------------


def cell_size(size: tuple[int, int], cells: tuple[int, int], *, codec: Codec) -> tuple[float, float]:
    """Pixels of the crop per cell of the map along x and y: pixel = cell · that, in either geometry."""
    if codec.udp:
        return (size[0] - 1) / max(cells[0] - 1, 1), (size[1] - 1) / max(cells[1] - 1, 1)
    return size[0] / cells[0], size[1] / cells[1]
