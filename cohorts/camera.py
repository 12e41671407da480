"""A calibrated camera: where a point of the world falls in the picture, and back.

Model: OpenCV's. ``x_cam = R x_world + t`` (metres), normalised by depth, bent by the distortion,
then ``pixel = K [x, y, 1]``. Pixel (0, 0) is the centre of the top-left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from cohorts.errors import CapbenchError
from cohorts.values import ByValue, FloatArray, check_shape, frozen

#: lengths of OpenCV's distortion vector: none, k1 k2 p1 p2, + k3, + k4 k5 k6, + s1..s4, + tilt
_PINHOLE_LENGTHS = (0, 4, 5, 8, 12)


@dataclass(frozen=True, eq=False)
class Camera(ByValue):
    """One calibrated camera.

    Attributes
    ----------
    name : unique in its rig
    matrix : (3, 3) intrinsics K, pixels
    rotation : (3, 3) world -> camera, a proper rotation
    translation : (3,) world -> camera, metres
    size : (width, height) pixels
    distortion : k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]] ("pinhole") or k1..k4 ("fisheye"), or none
    lens : "pinhole" or "fisheye", as OpenCV defines them
    """

    name: str
    matrix: FloatArray
    rotation: FloatArray
    translation: FloatArray
    size: tuple[int, int]
    distortion: FloatArray = ()  # type: ignore[assignment]  # frozen below
    lens: Literal["pinhole", "fisheye"] = "pinhole"

    def __post_init__(self) -> None:
        for field in ("matrix", "rotation", "translation", "distortion"):
            object.__setattr__(self, field, frozen(getattr(self, field)))
            if not np.isfinite(getattr(self, field)).all():
                raise self._error(f"Expected a finite {field}, got NaN or infinity.")
        object.__setattr__(self, "size", tuple(int(s) for s in self.size))
        check_shape("the camera matrix", self.matrix, (3, 3))
        check_shape("the rotation", self.rotation, (3, 3))
        check_shape("the translation", self.translation, (3,))
        self._check_lens()
        self._check_rotation()

    def _error(self, problem: str, fix: str | None = None) -> CapbenchError:
        return CapbenchError(problem, place=f"camera {self.name}", fix=fix)

    def _check_lens(self) -> None:
        k = self.matrix
        if len(self.size) != 2 or min(self.size) < 1:
            raise self._error(f"Expected a size (width, height) in pixels, got {self.size}.")
        if k[0, 0] <= 0 or k[1, 1] <= 0 or k[1, 0] != 0 or tuple(k[2]) != (0, 0, 1):
            raise self._error(
                f"Expected intrinsics [[fx s cx] [0 fy cy] [0 0 1]] with fx, fy > 0, got {k.tolist()}."
            )
        allowed = _PINHOLE_LENGTHS if self.lens == "pinhole" else (4,)
        if self.lens not in ("pinhole", "fisheye"):
            raise self._error(f"Expected a pinhole or fisheye lens, got {self.lens!r}.")
        if self.distortion.ndim != 1 or len(self.distortion) not in allowed:
            raise self._error(
                f"Expected {' or '.join(map(str, allowed))} distortion coefficients, "
                f"got shape {self.distortion.shape}."
            )

    def _check_rotation(self) -> None:
        off = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        det = np.linalg.det(self.rotation)
        if off > 1e-4 or abs(det - 1) > 1e-3:
            what = "singular" if abs(det) < 1e-6 else "mirrored" if det < 0 else "not orthonormal"
            raise self._error(
                f"Expected a proper rotation (R Rᵀ = 1, det = 1), got a matrix that is {what} "
                f"(det = {det:.3g}, |R Rᵀ - 1| = {off:.2g}).",
                fix="calibrate this camera again, or use another calibration file.",
            )

    @property
    def centre(self) -> FloatArray:
        """(3,) the camera's own place in the world, metres."""
        return -self.rotation.T @ self.translation

    def project(self, xyz: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of world points (..., 3) in metres; NaN for points not in front of the camera."""
        in_camera = np.asarray(xyz, float) @ self.rotation.T + self.translation
        depth = in_camera[..., 2:]
        with np.errstate(invalid="ignore", divide="ignore"):
            ideal = np.where(depth > 0, in_camera[..., :2] / depth, np.nan)
        return self._to_pixels(self._distort(ideal))

    def undistort(self, xy: ArrayLike) -> FloatArray:
        """Where distorted pixels (..., 2) would lie through a perfect lens with the same matrix.

        Solved by Newton's method; NaN where the lens model has no answer (far outside the picture).
        """
        return self._to_pixels(self._ideal(xy))

    def ray(self, xy: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The camera's centre (3,) in metres and unit directions (..., 3) of pixels (..., 2)."""
        ideal = self._ideal(xy)
        ahead = np.concatenate([ideal, np.ones_like(ideal[..., :1])], axis=-1) @ self.rotation
        return self.centre, ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)

    def _to_pixels(self, flat: FloatArray) -> FloatArray:
        k = self.matrix
        u = k[0, 0] * flat[..., 0] + k[0, 1] * flat[..., 1] + k[0, 2]
        return np.stack([u, k[1, 1] * flat[..., 1] + k[1, 2]], axis=-1)

    def _distort(self, ideal: FloatArray) -> FloatArray:
        if self.lens == "fisheye":
            return _bend_fisheye(ideal, self.distortion)
        return _bend(ideal, self.distortion) if len(self.distortion) else ideal

    def _ideal(self, xy: ArrayLike) -> FloatArray:
        """Undistorted normalised coordinates (..., 2) of pixels (..., 2)."""
        xy = np.asarray(xy, float)
        k = self.matrix
        y = (xy[..., 1] - k[1, 2]) / k[1, 1]
        bent = np.stack([(xy[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0], y], axis=-1)
        if not len(self.distortion):
            return bent
        if self.lens == "fisheye":
            return _unbend_fisheye(bent, self.distortion)
        return _unbend(bent, self.distortion)


def _bend(ideal: FloatArray, d: FloatArray) -> FloatArray:
    """Pinhole distortion of normalised points: radial (rational), tangential and thin prism."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = np.pad(d, (0, 12 - len(d)))
    x, y = ideal[..., 0], ideal[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4),
        ],
        axis=-1,
    )


def _unbend(bent: FloatArray, d: FloatArray) -> FloatArray:
    """The inverse of ``_bend`` by Newton's method with a central-difference Jacobian."""
    step = 1e-6
    along_x, along_y = np.array([step, 0]), np.array([0, step])
    ideal = bent.copy()
    with np.errstate(all="ignore"):
        for _ in range(30):
            miss = _bend(ideal, d) - bent
            if not np.nanmax(np.abs(miss), initial=0) > 1e-14:
                break
            dx = (_bend(ideal + along_x, d) - _bend(ideal - along_x, d)) / (2 * step)
            dy = (_bend(ideal + along_y, d) - _bend(ideal - along_y, d)) / (2 * step)
            det = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
            ideal = ideal - np.stack(
                [
                    (dy[..., 1] * miss[..., 0] - dy[..., 0] * miss[..., 1]) / det,
                    (dx[..., 0] * miss[..., 1] - dx[..., 1] * miss[..., 0]) / det,
                ],
                axis=-1,
            )
        failed = ~(np.abs(_bend(ideal, d) - bent).max(axis=-1) < 1e-9)
    return np.where(failed[..., None], np.nan, ideal)


def _angle(theta: FloatArray, d: FloatArray) -> FloatArray:
    t2 = theta * theta
    return cast(FloatArray, theta * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3])))))


def _bend_fisheye(ideal: FloatArray, d: FloatArray) -> FloatArray:
    r = np.linalg.norm(ideal, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scale = np.where(r > 1e-12, _angle(np.arctan(r), d) / r, 1.0)
    return ideal * scale


def _unbend_fisheye(bent: FloatArray, d: FloatArray) -> FloatArray:
    goal = np.linalg.norm(bent, axis=-1, keepdims=True)
    theta = goal.copy()
    slopes = np.array([3, 5, 7, 9]) * d
    with np.errstate(all="ignore"):
        for _ in range(30):
            t2 = theta * theta
            slope = 1 + t2 * (slopes[0] + t2 * (slopes[1] + t2 * (slopes[2] + t2 * slopes[3])))
            theta = theta - (_angle(theta, d) - goal) / slope
        good = (np.abs(_angle(theta, d) - goal) < 1e-9) & (theta >= 0) & (theta < np.pi / 2)
        scale = np.where(goal > 1e-12, np.tan(theta) / goal, 1.0)
    return cast(FloatArray, np.where(good, bent * scale, np.nan))
