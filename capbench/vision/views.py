"""The views of a trial as arrays: points, confidences and rays of every camera, and how two views differ.

Letters: c camera, t time, k point. "Flat" coordinates are undistorted and normalised (x/z, y/z).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from capbench.vision.clock import check_one_clock
from capbench.vision.faults import NoCalibration
from cohorts.camera import Camera
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Views:
    """All views on one clock.

    Attributes
    ----------
    cameras : C calibrated cameras
    time : (T,) seconds
    skeleton : the K points
    xy : (C, T, K, 2) pixels; NaN where missing
    confidence : (C, T, K); 0 where missing
    flat : (C, T, K, 2) undistorted, normalised; NaN where missing or where the lens model has no answer
    covariance : (C, T, K, 2, 2) pixels², or None unless every view has it
    """

    cameras: tuple[Camera, ...]
    time: FloatArray
    skeleton: Skeleton
    xy: FloatArray
    confidence: FloatArray
    flat: FloatArray
    covariance: FloatArray | None

    @cached_property
    def seen(self) -> BoolArray:
        """(C, T, K) where a view has the point, with a ray and some confidence."""
        return np.isfinite(self.flat[..., 0]) & (self.confidence > 0)

    @cached_property
    def undistorted(self) -> FloatArray:
        """(C, T, K, 2) pixels as a perfect lens would give them."""
        return np.stack([to_pixels(c, flat) for c, flat in zip(self.cameras, self.flat, strict=True)])


def to_pixels(camera: Camera, flat: FloatArray) -> FloatArray:
    """Flat coordinates (..., 2) to pixels of a perfect lens."""
    k = camera.matrix
    return np.stack(
        [k[0, 0] * flat[..., 0] + k[0, 1] * flat[..., 1] + k[0, 2], k[1, 1] * flat[..., 1] + k[1, 2]], axis=-1
    )


def to_flat(camera: Camera, pixels: FloatArray) -> FloatArray:
    """The inverse of :func:`to_pixels`."""
    k = camera.matrix
    y = (pixels[..., 1] - k[1, 2]) / k[1, 1]
    return np.stack([(pixels[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0], y], axis=-1)


def check_calibrated(tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera]) -> None:
    """Refuse a camera that has keypoints but no calibration."""
    lacking = [name for name in tracks if name not in cameras]
    if lacking:
        raise NoCalibration(
            f"Expected a calibration for each camera with keypoints, got none for {', '.join(lacking)}; "
            f"calibrated: {', '.join(cameras) or 'none'}.",
            fix=f"calibrate it, or leave {lacking[0]} out",
        )


def views_of(tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera]) -> Views:
    """Tracks on one clock, each with its camera, as arrays."""
    check_calibrated(tracks, cameras)
    check_one_clock(tracks)
    names = list(tracks)
    first = tracks[names[0]]
    used = tuple(cameras[name] for name in names)
    xy = np.stack([tracks[name].xy for name in names])
    given = [tracks[name].covariance for name in names]
    return Views(
        used,
        first.time,
        first.skeleton,
        xy,
        np.stack([tracks[name].confidence for name in names]),
        np.stack([to_flat(camera, camera.undistort(each)) for camera, each in zip(used, xy, strict=True)]),
        None if any(c is None for c in given) else np.stack([c for c in given if c is not None]),
    )


def fundamental(a: Camera, b: Camera) -> FloatArray:
    """(3, 3) F with x_bᵀ F x_a = 0 for undistorted pixels of one point; zeros if both stand in one place."""
    rotation = b.rotation @ a.rotation.T
    x, y, z = b.translation - rotation @ a.translation
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    found = np.linalg.inv(b.matrix).T @ essential @ np.linalg.inv(a.matrix)
    size = float(np.linalg.norm(found))
    return np.asarray(found / size if size > 0 else found, np.float64)


def epipolar(f: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """(...,) Sampson distances, pixels with sign, of undistorted pixels a and b (..., 2).

    To first order, how far the two points together would have to move to be views of one point. With noise of
    s pixels in either, it has a standard deviation of s.
    """
    x, y, u, v = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
    line_b = [f[i, 0] * x + f[i, 1] * y + f[i, 2] for i in range(3)]
    line_a = [f[0, i] * u + f[1, i] * v + f[2, i] for i in range(2)]
    with np.errstate(all="ignore"):
        steep = np.sqrt(line_b[0] ** 2 + line_b[1] ** 2 + line_a[0] ** 2 + line_a[1] ** 2)
        return np.asarray((u * line_b[0] + v * line_b[1] + line_b[2]) / steep, np.float64)
