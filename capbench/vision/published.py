"""Keypoints to markers as the published OpenCapBench code makes them, habits included.

Part of protocol "opencapbench", to compare with published numbers; nothing here is advice. What it does:

- No synchronisation: all cameras must have the same number of frames, and frame k is frame k.
- Two passes of an order-2 Butterworth over the 2D tracks at "30 Hz", cut to 0.99 of the Nyquist frequency:
  29.7 Hz at 60 frames a second, which is no filter, for gait too. Missing samples are NaN, and one of them
  makes the whole track NaN. (There the run then stops in the singular value decomposition; here the marker
  is missing in all frames.)
- Linear triangulation of undistorted pixels, not normalised, rows multiplied by the raw confidence (0.5 where
  it is NaN), so that the cost is weighed by its square. No view is ever rejected.
- Fewer than two cameras with confidence: the point (0, 0, 0), the world's origin, which then is a marker.
- Inner stretches of such points, shorter than a fifth of a second, are bridged (pchip).
- Straight lines to 100 Hz, continued past the last frame.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.interpolate import pchip_interpolate
from scipy.signal import butter, sosfiltfilt

from capbench.vision.faults import DifferentPoints, TooFewViews
from capbench.vision.views import BoolArray, check_calibrated
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers
from cohorts.values import FloatArray

CUTOFF = 30.0  #: Hz, nominally
HIGHEST = 0.99  #: of the Nyquist frequency
RATE = 100.0  #: Hz of the markers
_LONGEST = 1_000_000


def markers_published(
    tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera], *, rate: float | None = None
) -> Markers:
    """Markers at 100 Hz in the cameras' world, as the published code makes them.

    ``rate`` is the frame rate that the video's header states; default: as the first track's times have it.
    Time starts at 0, whatever the tracks say. A marker that is NaN there is missing here.
    """
    names = list(tracks)
    if len(names) < 2:
        raise TooFewViews(f"Expected two cameras or more to triangulate, got {len(names)}.")
    check_calibrated(tracks, cameras)
    first = tracks[names[0]]
    lengths = {name: len(track) for name, track in tracks.items()}
    if len(set(lengths.values())) > 1:
        raise DifferentPoints(
            f"Expected the same number of frames in all cameras, got {lengths}; otherwise the published code "
            "stops (AssertionError).",
            fix="use protocol capbench-1, or cut the videos to one length",
        )
    if any(track.skeleton.points != first.skeleton.points for track in tracks.values()):
        raise DifferentPoints("Expected the same points in all cameras, got several skeletons.")
    rate = first.rate if rate is None else rate
    if not (np.isfinite(rate) and rate > 0 and len(first) / rate * RATE < _LONGEST):
        raise CapbenchError(
            f"Expected the frame rate of the videos, got {rate:g} Hz for {len(first)} frames.",
            fix="give the rate: one frame does not show it",
        )
    flat, weight = [], []
    for name in names:
        xy = filtered(tracks[name].xy, rate)
        flat.append(cameras[name].undistort(xy))
        missing = np.isnan(tracks[name].xy[..., 0])  # NaN there, point and confidence
        weight.append(np.where(missing, np.nan, tracks[name].confidence))
    xyz, confidence = linear(np.stack(flat), np.stack(weight), [cameras[name] for name in names])
    xyz = bridged(xyz, confidence, rate / 5)
    time, xyz = at_100_hz(xyz, rate)
    return Markers(
        time, first.skeleton.points, np.where(np.isfinite(xyz).all(axis=-1, keepdims=True), xyz, np.nan)
    )


def filtered(xy: FloatArray, rate: float) -> FloatArray:
    """(T, K, 2) pixels after the published filter; one NaN in a track makes all of it NaN."""
    share = min(CUTOFF / (rate / 2), HIGHEST)
    share = HIGHEST if share >= 1 else share
    sos = butter(2, share, output="sos")
    pad = min(3 * 3, len(xy) - 1)  # SciPy's own, where there are as many samples
    return np.asarray(sosfiltfilt(sos, xy, axis=0, padlen=pad), np.float64)


def linear(xy: FloatArray, confidence: FloatArray, cameras: list[Camera]) -> tuple[FloatArray, FloatArray]:
    """(T, K, 3) metres and (T, K) confidence: weighted direct linear transform of (C, T, K, 2) pixels."""
    weight = np.nan_to_num(confidence, nan=0.5)
    rows = []
    for camera, uv, w in zip(cameras, xy, weight, strict=True):
        p = camera.matrix @ np.column_stack([camera.rotation, camera.translation])
        rows += [w[..., None] * (uv[..., i, None] * p[2] - p[i]) for i in range(2)]
    d = np.stack(rows, axis=-2)  # (T, K, 2C, 4)
    good = np.isfinite(d).all(axis=(-1, -2))
    xyz = np.full((*good.shape, 3), np.nan)
    _, _, vh = np.linalg.svd(np.swapaxes(d[good], -1, -2) @ d[good])
    with np.errstate(all="ignore"):
        xyz[good] = vh[:, -1, :3] / vh[:, -1, 3:]
    few = (weight > 0).sum(axis=0) < 2
    xyz[few] = 0.0
    total = weight.sum(axis=0) / np.maximum((weight > 0).sum(axis=0), 1)
    return xyz, np.where(few, 0.0, total)


def bridged(xyz: FloatArray, confidence: FloatArray, longest: float) -> FloatArray:
    """Inner stretches of no confidence, shorter than ``longest`` frames, bridged from all else, zeros too."""
    xyz = xyz.copy()
    for k in range(xyz.shape[1]):
        zero = confidence[:, k] == 0
        if zero.all():
            continue
        fill = _short_inner(zero, longest)
        known = np.flatnonzero(~fill)
        if fill.any() and np.isfinite(xyz[known, k]).all():
            xyz[fill, k] = pchip_interpolate(known, xyz[known, k], np.flatnonzero(fill), axis=0)
    return xyz


def _short_inner(zero: BoolArray, longest: float) -> BoolArray:
    edges = np.diff(np.concatenate([[0], zero.astype(np.int8), [0]]))
    fill = np.zeros(len(zero), bool)
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if start > 0 and stop < len(zero) and stop - start < longest:
            fill[start:stop] = True
    return fill


def at_100_hz(xyz: FloatArray, rate: float) -> tuple[FloatArray, FloatArray]:
    """Times 0, 0.01, … to one step past the last frame's end, and (T', K, 3) on straight lines, continued."""
    total = len(xyz)
    time = np.arange(0, np.round(total / rate + 1 / RATE, 6), 1 / RATE)
    at = time * rate
    low = np.clip(np.floor(at).astype(np.int64), 0, max(total - 2, 0))
    high = np.minimum(low + 1, total - 1)
    share = (at - low)[:, None, None]
    return time, np.asarray(xyz[low] + share * (xyz[high] - xyz[low]), np.float64)
