"""Where a camera sees many points, compiled: ``Camera.project`` and the depth along the axis in one pass.

The same formulas as ``cohorts.camera`` (OpenCV's lens models), one point after the other: no matrix product
whose rounding could depend on a library's threads, so the same scene is the same pixels everywhere.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from cohorts.camera import Camera
from cohorts.values import FloatArray


def project(camera: Camera, xyz_v3: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pixels (V, 2) and metres along the optical axis (V,) of points (V, 3) in ground.

    Pixels are NaN for points that are not in front of the camera or lie beyond its lens model's reach.
    """
    xyz = np.ascontiguousarray(xyz_v3, np.float64)
    pixels, depth = np.empty((len(xyz), 2)), np.empty(len(xyz))
    bend = np.zeros(12)
    bend[: len(camera.distortion)] = camera.distortion
    kind = 0 if not len(camera.distortion) else 2 if camera.lens == "fisheye" else 1
    pose = np.concatenate([camera.rotation, camera.translation[:, None]], axis=1)
    _project(xyz, pose, camera.matrix.copy(), bend, kind, camera.reach, pixels, depth)
    return pixels, depth


def rays(camera: Camera) -> FloatArray:
    """(h, w, 3) directions in ground of every pixel's centre, 1 long along the optical axis.

    Beyond the lens model's reach (the corners, if at all) the picture goes on without distortion.
    """
    width, height = camera.size
    pixels = np.stack(np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float)), axis=-1)
    straight = camera.undistort(pixels)
    straight = np.where(np.isnan(straight), pixels, straight)
    k = camera.matrix
    y = (straight[..., 1:] - k[1, 2]) / k[1, 1]
    x = (straight[..., :1] - k[0, 2] - k[0, 1] * y) / k[0, 0]
    right, down, forward = camera.rotation
    return np.ascontiguousarray(x * right + y * down + forward)


@nb.njit(cache=True)
def _project(
    xyz: FloatArray,
    pose: FloatArray,
    matrix: FloatArray,
    bend: FloatArray,
    kind: int,
    reach: float,
    pixels: FloatArray,
    depth: FloatArray,
) -> None:
    """``pose`` (3, 4) world -> camera; ``kind`` 0: no distortion, 1: pinhole, 2: fisheye."""
    for p in range(len(xyz)):
        a, b, c = xyz[p, 0], xyz[p, 1], xyz[p, 2]
        right = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
        down = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
        ahead = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
        depth[p] = ahead
        pixels[p, 0] = pixels[p, 1] = np.nan
        if not ahead > 0.0:
            continue
        x, y = right / ahead, down / ahead
        if kind:
            r2 = x * x + y * y
            if not r2 < reach * reach:
                continue
            x, y = _fisheye(x, y, bend) if kind == 2 else _pinhole(x, y, bend)
        pixels[p, 0] = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
        pixels[p, 1] = matrix[1, 1] * y + matrix[1, 2]


@nb.njit(cache=True)
def _pinhole(x: float, y: float, d: FloatArray) -> tuple[float, float]:
    r2 = x * x + y * y
    above = 1 + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))
    radial = above / (1 + r2 * (d[5] + r2 * (d[6] + r2 * d[7])))
    return (
        x * radial + 2 * d[2] * x * y + d[3] * (r2 + 2 * x * x) + r2 * (d[8] + r2 * d[9]),
        y * radial + d[2] * (r2 + 2 * y * y) + 2 * d[3] * x * y + r2 * (d[10] + r2 * d[11]),
    )


@nb.njit(cache=True)
def _fisheye(x: float, y: float, d: FloatArray) -> tuple[float, float]:
    r = np.sqrt(x * x + y * y)
    if not r > 1e-12:
        return x, y
    t = np.arctan(r)
    t2 = t * t
    scale = t * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3])))) / r
    return x * scale, y * scale
