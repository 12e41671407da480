"""By how much each camera's clock is off, from the motion of the points alone.

Two views of one moment satisfy the epipolar constraint; views of different moments of a moving person do not.

1. Tracks are smoothed lightly (a local straight line under a Gaussian): interpolating raw samples between
   frames would average noise away and make every half frame look better than a whole one.
2. For each pair of cameras the robust epipolar error is computed at every lag within ``max_offset``. The
   correlation of the points' speeds, which needs no calibration, is computed beside it; where the calibration
   can't decide, neither can the correlation, but a contradiction between the two is noted.
3. All offsets are refined together, to fractions of a frame, by Gauss-Newton on the robust epipolar errors of
   all pairs.

**Confidence** of a camera is an estimate of the probability that its offset is right to half a frame (of the
slowest camera): the probability that no other lag is the true one, times that of an error below half a frame
by the fit's own standard deviation. The first weighs the lags by their likelihoods, where all points and
frames together count as :data:`PIECES` independent ones, since errors of neighbouring points and moments go
together; the second goes by the scatter over points and over stretches of a quarter second. A person who
stands still, or repeats a motion without difference, gets a confidence near 0; below :data:`SURE` the offset
is left at 0, with a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from capbench.vision.clock import resample
from capbench.vision.views import BoolArray, check_calibrated, epipolar, fundamental, to_flat, to_pixels
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.values import FloatArray, IntArray

MAX_OFFSET = 2.0  #: seconds
SURE = 0.75  #: confidence below which an offset is not used
CONTRADICTED = 0.95  #: confidence needed to overrule a card that says the cameras are synchronised
FEWEST = 8  #: frames needed
BLOCK = 0.25  #: seconds that errors hang together for
#: independent errors that a trial's points and frames are worth when lags are compared; tests hold what
#: follows from it against how often it is right
PIECES = 15.0
#: median error at the best lag, as a share of the picture's height, from which on sides may be swapped
POOR = 0.003
OVERLAP = 0.4  #: of the points that the lag with most points compares; lags with less don't count
_FRAMES = {"curve": 120, "fit": 300}  # looked at, at most
_POINTS = 60  # likewise
_KAPPA = 3.0  # robust standard deviations at which an error's pull is down to a quarter


@dataclass(frozen=True)
class Sync:
    """What :func:`synchronise` found.

    Attributes
    ----------
    offsets : camera -> seconds its clock is ahead; 0 for the reference and where unsure
    confidence : camera -> see the module; 1 for the reference and for known offsets
    sd : camera -> standard deviation of the offset, seconds (given that the right lag was found)
    reference : the camera that the others are compared with
    before, after : median epipolar distance over all pairs, pixels, with offsets of 0 and with those found
    notes : what was odd, in words
    """

    offsets: Mapping[str, float]
    confidence: Mapping[str, float]
    sd: Mapping[str, float]
    reference: str
    before: float
    after: float
    notes: tuple[str, ...] = ()


class _Pair(NamedTuple):
    """The best lag of b against a, seconds; the chance that it is right; whether sides are swapped."""

    lag: float
    chance: float
    crossed: bool


def synchronise(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    *,
    max_offset: float = MAX_OFFSET,
    known: Mapping[str, float] | None = None,
    snap: bool = False,
) -> Sync:
    """The offsets of all cameras.

    Parameters
    ----------
    tracks : camera -> points on its own clock
    cameras : camera -> calibration
    max_offset : seconds between any two cameras, at most
    known : camera -> offset in seconds that is taken as it is
    snap : whether the cameras are said to be synchronised: an offset of less than half a frame, or of less
        than three standard deviations, is 0 then, and a larger one needs a confidence of ``CONTRADICTED``
    """
    check_calibrated(tracks, cameras)
    if not 0 < max_offset < np.inf:
        raise CapbenchError(f"Expected a positive largest offset in seconds, got {max_offset:g}.")
    known = {name: float(value) for name, value in (known or {}).items() if name in tracks}
    names = list(tracks)
    usable = [n for n in names if int((tracks[n].confidence > 0).any(axis=1).sum()) >= FEWEST]
    if len(usable) < 2 or all(name in known for name in names):
        why = (
            () if all(name in known for name in names) else (f"fewer than {FEWEST} frames: not synchronised",)
        )
        confidence = {n: 1.0 if n in known else 0.0 for n in names}
        offsets = {n: known.get(n, 0.0) for n in names}
        return Sync(
            offsets, confidence, dict.fromkeys(names, np.inf), names[0] if names else "", np.nan, np.nan, why
        )
    rig = _Rig.of({n: tracks[n] for n in usable}, cameras)
    pairs = {(a, b): _compare(rig, a, b, max_offset) for a, b in combinations(range(len(usable)), 2)}
    fixed = {usable.index(n): value for n, value in known.items() if n in usable}
    start = _tree(len(usable), pairs, fixed)
    offsets_c, sd_c = _refine(rig, start)
    return _report(rig, names, usable, known, start, offsets_c, sd_c, snap)


# --- the cameras' tracks, smoothed --------------------------------------------------------------


@dataclass(frozen=True)
class _Rig:
    """Undistorted pixel tracks, smoothed, and what else pairs of cameras need."""

    names: tuple[str, ...]
    tracks: tuple[Keypoints, ...]
    cameras: tuple[Camera, ...]
    step: float  # seconds of the fastest camera's frame
    frame: float  # seconds of the slowest camera's frame
    flip: IntArray

    @classmethod
    def of(cls, tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera]) -> _Rig:
        rates = [track.rate for track in tracks.values()]
        width = max(1.2 / min(rates), 0.03)
        smoothed = []
        for name, track in tracks.items():
            camera = cameras[name]
            ideal = to_pixels(camera, to_flat(camera, camera.undistort(track.xy)))
            smoothed.append(_smoothed(track, ideal, width))
        skeleton = smoothed[0].skeleton
        return cls(
            tuple(tracks),
            tuple(smoothed),
            tuple(cameras[name] for name in tracks),
            1 / max(rates),
            1 / min(rates),
            np.array(skeleton.flip_indices),
        )


def _smoothed(track: Keypoints, xy: FloatArray, width: float) -> Keypoints:
    """The track with a straight line fitted at each sample under a Gaussian of ``width`` seconds."""
    present = np.isfinite(xy[..., 0]) & (track.confidence > 0)
    time, total = track.time, len(track)
    reach = min(int(np.ceil(3 * width * track.rate)), total - 1)
    values = np.where(present[..., None], xy, 0.0)
    s = np.zeros((3, *present.shape))
    y = np.zeros((2, *xy.shape))
    for d in range(-reach, reach + 1):
        to = slice(max(0, -d), total - max(0, d))
        of = slice(max(0, d), total - max(0, -d))
        apart = (time[of] - time[to])[:, None]
        weight = np.exp(-0.5 * (apart / width) ** 2) * present[of]
        for power in range(3):
            s[power, to] += weight * apart**power
        for power in range(2):
            y[power, to] += (weight * apart**power)[..., None] * values[of]
    det = s[0] * s[2] - s[1] ** 2
    with np.errstate(all="ignore"):
        line = (s[2][..., None] * y[0] - s[1][..., None] * y[1]) / det[..., None]
    good = present & (det > 1e-6 * s[0] ** 2 * width**2)
    return replace(
        track,
        xy=np.where(good[..., None], line, np.nan),
        confidence=np.where(good, track.confidence, 0.0),
        covariance=None,
    )


# --- two cameras at every lag -------------------------------------------------------------------


def _compare(rig: _Rig, a: int, b: int, max_offset: float) -> _Pair:
    """The lag at which the two views agree best, with sides as they are named or swapped in one view."""
    straight = _curve(rig, a, b, max_offset, crossed=False)
    if straight is None:
        return _Pair(0.0, 0.0, False)
    crossed = None
    poor = straight.least > POOR * rig.cameras[a].size[1]
    if poor and (rig.flip != np.arange(len(rig.flip))).any():
        crossed = _curve(rig, a, b, max_offset, crossed=True)
    if crossed is not None and crossed.least < 0.5 * straight.least:
        return _Pair(crossed.lag, crossed.chance, True)
    return _Pair(straight.lag, straight.chance, False)


class _Curve(NamedTuple):
    lag: float
    chance: float
    least: float  # pixels, the median error at the best lag


def _curve(rig: _Rig, a: int, b: int, max_offset: float, *, crossed: bool) -> _Curve | None:
    """Epipolar errors at lags of whole (fastest) frames."""
    first, second = rig.tracks[a], rig.tracks[b]
    steps = int(np.ceil(max_offset / rig.step))
    start = min(first.time[0], second.time[0])
    total = int((max(first.time[-1], second.time[-1]) - start) / rig.step) + 1
    grid = start + np.arange(total) * rig.step
    one, two = resample(first, grid), resample(second, grid)
    if crossed:
        two = replace(two, xy=two.xy[:, rig.flip], confidence=two.confidence[:, rig.flip])
    rows = np.flatnonzero(np.isfinite(one.xy[..., 0]).any(axis=1))
    rows = rows[:: max(1, int(np.ceil(len(rows) / _FRAMES["curve"])))]
    if not len(rows):
        return None
    f = fundamental(rig.cameras[a], rig.cameras[b])
    lags = np.arange(-steps, steps + 1)
    points = np.unique(np.linspace(0, len(rig.flip) - 1, _POINTS).round().astype(int))
    errors = np.full((len(lags), len(rows), len(points)), np.nan)
    for n, lag in enumerate(lags):
        inside = (rows + lag >= 0) & (rows + lag < total)
        errors[n, inside] = epipolar(
            f, one.xy[rows[inside]][:, points], two.xy[rows[inside] + lag][:, points]
        )
    weight = one.confidence[rows][:, points] / max(float(np.median(one.confidence[one.confidence > 0])), 1e-9)
    return _best(errors, np.minimum(weight, 1.0), lags, rig)


def _best(errors: FloatArray, weight: FloatArray, lags: IntArray, rig: _Rig) -> _Curve | None:
    """The lag of least robust error, and the chance that it is the right one."""
    valid = np.isfinite(errors)
    counts = valid.sum(axis=(1, 2))
    enough = counts >= max(OVERLAP * counts.max(), 10)
    if not enough.any():
        return None
    sizes = np.abs(errors)
    middle = np.array(
        [np.median(s[v]) if e else np.inf for s, v, e in zip(sizes, valid, enough, strict=True)]
    )
    kappa = _KAPPA * max(1.4826 * float(middle.min()), 0.3)
    squared = sizes.astype(np.float64) ** 2
    loss = np.where(valid, squared / (squared + kappa**2), 0.0) * weight
    with np.errstate(all="ignore"):
        mean = np.where(enough, loss.sum(axis=(1, 2)) / (valid * weight).sum(axis=(1, 2)), np.inf)
    best = int(np.argmin(mean))
    if best in (0, len(lags) - 1):
        return _Curve(float(lags[best]) * rig.step, 0.0, float(middle[best]))  # may well lie beyond
    padded = np.concatenate([[np.inf], mean, [np.inf]])
    dips = enough & (mean <= padded[:-2]) & (mean <= padded[2:])
    dips &= np.abs(lags - lags[best]) * rig.step > rig.frame
    worse = PIECES * _KAPPA**2 / 2 * (mean[dips] - mean[best])
    chance = 1 / (1 + float(np.exp(-worse).sum()))
    return _Curve(float(lags[best]) * rig.step, chance, float(middle[best]))


def _spread(parts: FloatArray, blocks: IntArray) -> FloatArray:
    """(n, n) variance of the sum over frames and points of ``parts`` (T, K, n); errors of one point, or one
    block of time, go together: clustered both ways, or the larger of the two if that is not positive."""
    by_block = np.zeros((int(blocks.max()) + 1, *parts.shape[1:]))
    np.add.at(by_block, blocks, parts)

    def variance(sums: FloatArray) -> FloatArray:
        off = sums - sums.mean(axis=0)
        return np.asarray(off.T @ off * (len(sums) / max(len(sums) - 1, 1)), np.float64)

    point = variance(by_block.sum(axis=0))
    block = variance(by_block.sum(axis=1)) if len(by_block) >= 4 else point
    cell = variance(by_block.reshape(-1, parts.shape[2]))
    both = point + block - cell
    larger = point if np.trace(point) >= np.trace(block) else block
    return both if np.trace(both) > np.trace(larger) else larger


# --- all cameras together -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Start:
    """Offsets (seconds) to start from, the chance that each is on the right lag, whose sides are swapped."""

    root: int
    offsets: FloatArray
    chance: FloatArray
    crossed: BoolArray
    free: BoolArray


def _tree(count: int, pairs: Mapping[tuple[int, int], _Pair], fixed: Mapping[int, float]) -> _Start:
    """From the best-known pairs outwards: each camera by the surest way from the reference."""
    chance = np.zeros((count, count))
    for (a, b), pair in pairs.items():
        chance[a, b] = chance[b, a] = pair.chance
    root = next(iter(fixed)) if fixed else int(np.argmax(chance.sum(axis=1)))
    offsets, sure, crossed = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    reached = dict(fixed) if fixed else {root: 0.0}
    for c, value in reached.items():
        offsets[c], sure[c] = value, 1.0
    while len(reached) < count:
        ways = [(sure[a] * chance[a, b], -a, -b) for a in reached for b in range(count) if b not in reached]
        best, a, b = max(ways)
        a, b = -a, -b
        pair = pairs[min(a, b), max(a, b)]
        offsets[b] = offsets[a] + (pair.lag if a < b else -pair.lag)
        crossed[b] = crossed[a] ^ pair.crossed
        sure[b] = best
        reached[b] = float(offsets[b])
    free = np.array([c not in fixed and c != root for c in range(count)])
    return _Start(root, offsets, sure, crossed, free)


def _refine(rig: _Rig, start: _Start) -> tuple[FloatArray, FloatArray]:
    """Offsets (C,) and their standard deviations, seconds: all pairs' robust errors at once."""
    offsets, free = start.offsets.copy(), np.flatnonzero(start.free)
    tracks = [
        replace(t, xy=t.xy[:, rig.flip], confidence=t.confidence[:, rig.flip]) if cross else t
        for t, cross in zip(rig.tracks, start.crossed, strict=True)
    ]
    grid = _grid(rig, offsets)
    sd = np.zeros(len(offsets))
    if not len(free) or not len(grid):
        return offsets, np.where(start.free, np.inf, 0.0)
    blocks = np.floor((grid - grid[0]) / BLOCK).astype(np.int64)
    kappas: dict[tuple[int, int], float] = {}
    for _ in range(15):
        h, score = _equations(rig, tracks, grid, offsets, kappas)
        part = h[np.ix_(free, free)]
        gradient = score.sum(axis=(0, 1))[free]
        step = np.linalg.lstsq(part, gradient, rcond=1e-12)[0]
        step = np.clip(step, -rig.step, rig.step)
        offsets[free] -= step
        if np.abs(step).max() < 1e-5 * rig.step:
            break
    inverse = np.linalg.pinv(part, rcond=1e-12)
    meat = _spread(score[..., free], blocks)
    variance = np.diag(inverse @ meat @ inverse)
    sd[free] = np.sqrt(np.maximum(variance, 0.0))
    stuck = np.diag(part) <= 1e-9 * max(float(np.diag(h).max()), 1e-9)
    sd[free[stuck]] = np.inf
    return offsets, sd


def _grid(rig: _Rig, offsets: FloatArray) -> FloatArray:
    """Times of the common clock to compare at, at most as many as ``_FRAMES`` says."""
    start = min(t.time[0] - o for t, o in zip(rig.tracks, offsets, strict=True))
    end = max(t.time[-1] - o for t, o in zip(rig.tracks, offsets, strict=True))
    stride = max(1, int(np.ceil((end - start) / rig.step / _FRAMES["fit"])))
    return np.asarray(np.arange(start, end, rig.step * stride), np.float64)


def _equations(
    rig: _Rig,
    tracks: list[Keypoints],
    grid: FloatArray,
    offsets: FloatArray,
    kappas: dict[tuple[int, int], float],
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Newton's matrix (C, C) and each error's pull on each offset (T, K, C)."""
    count, h = len(tracks), rig.step / 4
    at = [
        [resample(t, grid, offset=o + d) for d in (-h, 0.0, h)] for t, o in zip(tracks, offsets, strict=True)
    ]
    matrix = np.zeros((count, count))
    score = np.zeros((len(grid), len(rig.flip), count))
    for a, b in combinations(range(count), 2):
        f = fundamental(rig.cameras[a], rig.cameras[b])
        error = epipolar(f, at[a][1].xy, at[b][1].xy)
        slope_a = (epipolar(f, at[a][2].xy, at[b][1].xy) - epipolar(f, at[a][0].xy, at[b][1].xy)) / (2 * h)
        slope_b = (epipolar(f, at[a][1].xy, at[b][2].xy) - epipolar(f, at[a][1].xy, at[b][0].xy)) / (2 * h)
        good = np.isfinite(error) & np.isfinite(slope_a) & np.isfinite(slope_b)
        if not good.any():
            continue
        kappa = kappas.setdefault((a, b), _KAPPA * max(1.4826 * float(np.median(np.abs(error[good]))), 0.3))
        trust = np.minimum(at[a][1].confidence, at[b][1].confidence)
        trust = np.minimum(trust / max(float(np.median(trust[good])), 1e-9), 1.0)
        weight = np.where(good, trust * (kappa**2 / (np.nan_to_num(error) ** 2 + kappa**2)) ** 2, 0.0)
        error, slopes = np.nan_to_num(error), {a: np.nan_to_num(slope_a), b: np.nan_to_num(slope_b)}
        for c, slope in slopes.items():
            score[..., c] += weight * error * slope
            for d, other in slopes.items():
                matrix[c, d] += float((weight * slope * other).sum())
    return matrix, score


def _error(rig: _Rig, offsets: FloatArray, crossed: BoolArray) -> float:
    """Median epipolar distance over all pairs, pixels."""
    grid = _grid(rig, offsets)
    at = []
    for track, offset, cross in zip(rig.tracks, offsets, crossed, strict=True):
        xy = resample(track, grid, offset=offset).xy
        at.append(xy[:, rig.flip] if cross else xy)
    errors = [
        np.abs(epipolar(fundamental(rig.cameras[a], rig.cameras[b]), at[a], at[b])).ravel()
        for a, b in combinations(range(len(at)), 2)
    ]
    every = np.concatenate(errors)
    every = every[np.isfinite(every)]
    return float(np.median(every)) if len(every) else float("nan")


def _report(
    rig: _Rig,
    names: list[str],
    usable: list[str],
    known: Mapping[str, float],
    start: _Start,
    found: FloatArray,
    sd: FloatArray,
    snap: bool,
) -> Sync:
    """Which offsets are sure enough to be used, in words for those that are not."""
    with np.errstate(divide="ignore"):
        near = 2 * ndtr(0.5 * rig.frame / np.maximum(sd, 1e-12)) - 1
    confidence = np.where(start.free, start.chance * near, 1.0)
    wandered = np.abs(found - start.offsets) > 1.5 * rig.frame
    confidence = np.where(wandered, np.minimum(confidence, 0.25), confidence)
    notes, used = [], found.copy()
    for c, name in enumerate(usable):
        if not start.free[c]:
            continue
        told = (
            f"{name}: {found[c] * 1e3:+.1f} ms against {usable[start.root]}, confidence {confidence[c]:.2f}"
        )
        if confidence[c] < SURE:
            used[c] = 0.0
            notes.append(f"{told}: too unsure to be used; the motion does not tell, 0 is assumed")
        elif snap and abs(found[c]) <= max(0.5 * rig.frame, 3 * sd[c]):
            used[c] = 0.0
        elif snap and confidence[c] < CONTRADICTED:
            used[c] = 0.0
            notes.append(f"{told}: not sure enough to doubt that the cameras are synchronised")
        elif snap:
            notes.append(f"{told}: the cameras are said to be synchronised, but are not")
    shown = dict(zip(usable, start.crossed.tolist(), strict=True))
    notes += [f"{name}: left and right seem swapped throughout" for name, cross in shown.items() if cross]
    notes += [f"{name}: too few points to synchronise" for name in names if name not in usable]
    plain = np.array([known.get(name, 0.0) for name in usable])
    every = dict(zip(usable, used.tolist(), strict=True))
    return Sync(
        {name: known.get(name, every.get(name, 0.0)) for name in names},
        {
            name: 1.0 if name in known else dict(zip(usable, confidence.tolist(), strict=True)).get(name, 0.0)
            for name in names
        },
        {name: dict(zip(usable, sd.tolist(), strict=True)).get(name, float("inf")) for name in names},
        usable[start.root],
        _error(rig, plain, start.crossed),
        _error(rig, used, start.crossed),
        tuple(notes),
    )
