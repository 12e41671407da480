"""A calibrated camera: where a point of the world falls in the picture, and back.

Model: OpenCV's. ``x_cam = R x_world + t`` (metres), normalised by depth, bent by the distortion,
then ``pixel = K [x, y, 1]``. Pixel (0, 0) is the centre of the top-left pixel.

Distortion polynomials hold only near the picture they were fitted in. Farther off the axis their radial
part turns back, and a point beside or even behind the scene would fall into the middle of the picture.
So beyond ``Camera.reach``, where the radial part stops growing, there is no answer: NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from cohorts.errors import CapbenchError
from cohorts.values import ByValue, FloatArray, frozen

#: lengths of OpenCV's distortion vector: none, k1 k2 p1 p2, + k3, + k4 k5 k6, + s1..s4
_PINHOLE_LENGTHS = (0, 4, 5, 8, 12)
_FISHEYE_LENGTHS = (4,)
#: no lens, picture or room comes near these; beyond, squares and products would overflow
_LARGEST = {"matrix": 1e9, "rotation": 1e3, "translation": 1e6, "distortion": 1e6}
_LARGEST_SIDE = 100_000  # pixels
_ROUNDED = 1e-3  # a rotation printed with four digits is off by 2e-4


@dataclass(frozen=True, eq=False)
class Camera(ByValue):
    """One calibrated camera.

    Attributes
    ----------
    name : unique in its rig
    matrix : (3, 3) intrinsics K, pixels
    rotation : (3, 3) world -> camera, a proper rotation; one that was rounded (by up to 0.001) is
        replaced by the nearest proper one, so that rays and projections agree
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
        if not isinstance(self.name, str) or not self.name:
            raise CapbenchError(f"Expected a camera's name to be non-empty text, got {self.name!r}.")
        self._set_array("matrix", (3, 3))
        self._set_array("rotation", (3, 3))
        self._set_array("translation", (3,))
        self._set_array("distortion", None)
        object.__setattr__(self, "size", self._checked_size())
        self._check_lens()
        object.__setattr__(self, "rotation", self._proper_rotation())

    def _error(self, problem: str, fix: str | None = None) -> CapbenchError:
        return CapbenchError(problem, place=f"camera {self.name}", fix=fix)

    def _set_array(self, field: str, shape: tuple[int, ...] | None) -> None:
        try:
            array = frozen(getattr(self, field))
        except (TypeError, ValueError, OverflowError):
            raise self._error(f"Expected the {field} to be an array of numbers.") from None
        if shape is not None and array.shape != shape:
            raise self._error(f"Expected a {field} of shape {shape}, got {array.shape}.")
        if not np.isfinite(array).all():
            raise self._error(f"Expected a finite {field}, got NaN or infinity.")
        largest = np.abs(array).max(initial=0)
        if largest > _LARGEST[field]:
            raise self._error(f"Expected a {field} below {_LARGEST[field]:g}, got {largest:.3g}.")
        object.__setattr__(self, field, array)

    def _checked_size(self) -> tuple[int, int]:
        try:
            width, height = (float(side) for side in self.size)
        except (TypeError, ValueError, OverflowError):
            width = height = np.nan
        for side in (width, height):
            if not 1 <= side <= _LARGEST_SIDE or side != int(side):
                raise self._error(
                    "Expected a size (width, height) in whole pixels, "
                    f"1 to {_LARGEST_SIDE}, got {str(self.size)[:60]}."
                )
        return int(width), int(height)

    def _check_lens(self) -> None:
        k = self.matrix
        if min(k[0, 0], k[1, 1]) < 1e-3 or k[1, 0] != 0 or tuple(k[2]) != (0, 0, 1):
            raise self._error(
                f"Expected intrinsics [[fx s cx] [0 fy cy] [0 0 1]] with fx, fy > 0, got {k.tolist()}."
            )
        if self.lens not in ("pinhole", "fisheye"):
            raise self._error(f"Expected a pinhole or fisheye lens, got {self.lens!r}.")
        allowed = _PINHOLE_LENGTHS if self.lens == "pinhole" else _FISHEYE_LENGTHS
        if self.distortion.ndim != 1 or len(self.distortion) not in allowed:
            raise self._error(
                f"Expected {' or '.join(map(str, allowed))} distortion coefficients for a {self.lens} lens, "
                f"got shape {self.distortion.shape}."
            )

    def _proper_rotation(self) -> FloatArray:
        """The rotation, or the nearest proper one where it was rounded; refuses all others."""
        off = float(np.abs(self.rotation @ self.rotation.T - np.eye(3)).max())
        det = float(np.linalg.det(self.rotation))
        if off > _ROUNDED or det < 0:
            what = "singular" if abs(det) < 1e-6 else "mirrored" if det < 0 else "not orthonormal"
            raise self._error(
                f"Expected a proper rotation (R Rᵀ = 1, det = 1), got a matrix that is {what} "
                f"(det = {det:.3g}, |R Rᵀ - 1| = {off:.2g}).",
                fix="calibrate this camera again, or use another calibration file.",
            )
        if off < 1e-12:
            return self.rotation
        u, _, vt = np.linalg.svd(self.rotation)
        return frozen(u @ vt)

    @property
    def centre(self) -> FloatArray:
        """(3,) the camera's own place in the world, metres."""
        return -self.rotation.T @ self.translation

    @cached_property
    def reach(self) -> float:
        """Tangent of the angle off the axis (so x/z) up to which the lens model holds; may be infinite."""
        if not len(self.distortion):
            return np.inf
        return _fisheye_reach(self.distortion) if self.lens == "fisheye" else _reach(self.distortion)

    def project(self, xyz: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of world points (..., 3) in metres.

        NaN for points that are not in front of the camera or lie beyond the lens model's ``reach``.
        A pixel may lie outside the picture: compare with ``size``.
        """
        in_camera = np.asarray(xyz, float) @ self.rotation.T + self.translation
        depth = in_camera[..., 2:]
        with np.errstate(all="ignore"):
            ideal = np.where(depth > 0, in_camera[..., :2] / depth, np.nan)
            if not len(self.distortion):
                return self._to_pixels(ideal)
            ideal = np.where(_radius(ideal) < self.reach, ideal, np.nan)
            bent = _bend_fisheye if self.lens == "fisheye" else _bend
            return self._to_pixels(bent(ideal, self.distortion))

    def undistort(self, xy: ArrayLike) -> FloatArray:
        """Where distorted pixels (..., 2) would lie through a perfect lens with the same matrix.

        Solved by Newton's method; NaN where the lens model has no answer within its ``reach``.
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

    def _ideal(self, xy: ArrayLike) -> FloatArray:
        """Undistorted normalised coordinates (..., 2) of pixels (..., 2)."""
        xy = np.asarray(xy, float)
        k = self.matrix
        y = (xy[..., 1] - k[1, 2]) / k[1, 1]
        bent = np.stack([(xy[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0], y], axis=-1)
        if not len(self.distortion):
            return np.where(np.isfinite(bent).all(axis=-1, keepdims=True), bent, np.nan)
        unbend = _unbend_fisheye if self.lens == "fisheye" else _unbend
        return unbend(bent.reshape(-1, 2), self.distortion, self.reach).reshape(bent.shape)


# --- lens models --------------------------------------------------------------------------------
# All work on normalised coordinates (..., 2): x/z and y/z, without unit.


def _radius(points: FloatArray) -> FloatArray:
    """(..., 1) lengths of points (..., 2), or of numbers (..., 1) as they are."""
    return np.hypot(points[..., :1], points[..., 1:]) if points.shape[-1] == 2 else np.abs(points)


_IS_RADIAL = np.array([1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0], bool)


def _padded(d: FloatArray) -> list[float]:
    return [*d.tolist(), *[0.0] * (12 - len(d))]


def _bend(ideal: FloatArray, d: FloatArray) -> FloatArray:
    """Pinhole distortion of normalised points: radial (rational), tangential and thin prism."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = _padded(d)
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


def _slopes(ideal: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """The Jacobian of ``_bend``: d bent_x / dx, d bent_x / dy, d bent_y / dx, d bent_y / dy."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = _padded(d)
    x, y = ideal[..., 0], ideal[..., 1]
    r2 = x * x + y * y
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    growth = (k1 + r2 * (2 * k2 + 3 * k3 * r2) - radial * (k4 + r2 * (2 * k5 + 3 * k6 * r2))) / below
    prism_x, prism_y = 2 * (s1 + 2 * s2 * r2), 2 * (s3 + 2 * s4 * r2)
    cross = 2 * (growth * x * y + p1 * x + p2 * y)
    return (
        radial + 2 * growth * x * x + 2 * p1 * y + 6 * p2 * x + prism_x * x,
        cross + prism_x * y,
        cross + prism_y * x,
        radial + 2 * growth * y * y + 6 * p1 * y + 2 * p2 * x + prism_y * y,
    )


def _unbend(bent: FloatArray, d: FloatArray, reach: float) -> FloatArray:
    """The inverse of ``_bend`` for points (N, 2) by Newton's method, kept within ``reach``; else NaN."""

    def radial(r: FloatArray) -> FloatArray:
        on_axis = np.stack([r, np.zeros_like(r)], axis=1)
        return _bend(on_axis, np.where(_IS_RADIAL[: len(d)], d, 0))[:, 0]

    def step(ideal: FloatArray, goal: FloatArray) -> tuple[FloatArray, FloatArray]:
        miss = _bend(ideal, d) - goal
        xx, xy, yx, yy = _slopes(ideal, d)
        det = xx * yy - xy * yx
        move = np.stack([yy * miss[:, 0] - xy * miss[:, 1], xx * miss[:, 1] - yx * miss[:, 0]], axis=1)
        return ideal - move / det[:, None], miss

    angles = np.linspace(0, np.arctan(min(0.9999 * reach, 10.0)), 256)
    return _solve(step, bent, _start(bent, np.tan(angles), radial), reach)


def _start(goal: FloatArray, radii: FloatArray, radial: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """A first guess from a table of the radial part, good to a percent: Newton's method ends from there."""
    bent = _radius(goal)
    with np.errstate(all="ignore"):
        table = radial(radii)
        guess = np.interp(bent, table, radii, right=np.nan)
        guess = np.where(bent > table[-1], np.fmin(bent, radii[-1] * bent / table[-1]), guess)
        return goal * np.where(bent > 1e-12, guess / bent, 1.0)


def _solve(
    step: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]],
    goal: FloatArray,
    start: FloatArray,
    reach: float,
) -> FloatArray:
    """Newton's iteration (N, C) for the points that still move, within ``reach``; NaN where none ends."""
    found = _within(start, reach)
    todo = np.flatnonzero(np.isfinite(goal).all(axis=1))
    with np.errstate(all="ignore"):
        scale = 1 + np.abs(goal).max(axis=1)
        for _ in range(40):
            if not len(todo):
                break
            moved, miss = step(found[todo], goal[todo])
            found[todo] = _within(moved, reach)
            todo = todo[~(np.abs(miss).max(axis=1) <= 1e-14 * scale[todo])]
        _, miss = step(found, goal)
        good = (np.abs(miss).max(axis=1) < 1e-11 * scale) & (_radius(found)[:, 0] < reach)
    return np.where(good[:, None], found, np.nan)


def _within(points: FloatArray, reach: float) -> FloatArray:
    """``points`` (N, C) pulled back to the circle of radius ``reach`` where they lie outside."""
    with np.errstate(all="ignore"):
        return np.where(_radius(points) > reach, points * (reach / _radius(points)), points)


def _first_root(coefficients: FloatArray) -> float:
    """The smallest positive real root of a polynomial (constant term first); infinite if none."""
    kept = np.where(np.abs(coefficients) < 1e-12, 0, coefficients)  # these would act beyond 89 degrees only
    roots = np.roots(kept[::-1])
    real = roots.real[(np.abs(roots.imag) < 1e-7 * np.abs(roots)) & (roots.real > 0)]
    return float(real.min(initial=np.inf))


def _reach(d: FloatArray) -> float:
    """The radius r at which r * above(r²) / below(r²) stops growing, or has a pole.

    With s = r² the slope is (above * below + 2 s (above' * below - above * below')) / below².
    """
    k1, k2, _, _, k3, k4, k5, k6 = _padded(d)[:8]
    poly = np.polynomial.polynomial
    above, below = np.array([1, k1, k2, k3]), np.array([1, k4, k5, k6])
    turn = poly.polysub(poly.polymul(poly.polyder(above), below), poly.polymul(above, poly.polyder(below)))
    slope = poly.polyadd(poly.polymul(above, below), poly.polymulx(2 * turn))
    return float(np.sqrt(min(_first_root(slope), _first_root(below))))


def _angle(theta: FloatArray, d: FloatArray) -> FloatArray:
    t2 = theta * theta
    return cast(FloatArray, theta * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3])))))


def _fisheye_reach(d: FloatArray) -> float:
    """The tangent of the angle at which theta (1 + k1 theta² + …) stops growing."""
    theta = np.sqrt(_first_root(np.array([1, *(d * [3, 5, 7, 9])])))
    return float(np.tan(theta)) if theta < np.pi / 2 else np.inf


def _bend_fisheye(ideal: FloatArray, d: FloatArray) -> FloatArray:
    r = _radius(ideal)
    with np.errstate(all="ignore"):
        scale = np.where(r > 1e-12, _angle(np.arctan(r), d) / r, 1.0)
    return ideal * scale


def _unbend_fisheye(bent: FloatArray, d: FloatArray, reach: float) -> FloatArray:
    """The inverse of ``_bend_fisheye`` for points (N, 2); NaN where it has none."""
    slopes = d * [3, 5, 7, 9]

    def step(theta: FloatArray, goal: FloatArray) -> tuple[FloatArray, FloatArray]:
        t2 = theta * theta
        slope = 1 + t2 * (slopes[0] + t2 * (slopes[1] + t2 * (slopes[2] + t2 * slopes[3])))
        miss = _angle(theta, d) - goal
        return np.maximum(theta - miss / slope, 0), miss

    goal = _radius(bent)
    limit = float(np.arctan(reach))
    table = np.linspace(0, limit, 256)
    theta = _solve(step, goal, _start(goal, table, lambda angles: _angle(angles, d)), limit)
    with np.errstate(all="ignore"):
        return bent * np.where(goal <= 1e-12, 1.0, np.tan(theta) / goal)
