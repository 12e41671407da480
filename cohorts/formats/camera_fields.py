"""What the readers of camera calibrations have in common: numbers, rotations, units, oddities."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np

from cohorts.bounded import parse_number, shorten
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray, check_unique

Units = Literal["m", "cm", "mm"]
_METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_MOST_NUMBERS = 64
_LARGEST = 1e12  #: products of larger ones would overflow before the camera is checked
#: values from files may be deep, endless or refer to themselves
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxother = 2, 60
_FARTHEST, _FAR, _NEAREST = 100.0, 30.0, 0.01  # metres


def metres(units: str | None, default: Units) -> float:
    """How many metres one of ``units`` is; ``default`` where None is given."""
    if units is None:
        return _METRES[default]
    if units not in _METRES:
        raise CapbenchError(f"Expected units m, cm or mm, got {units!r}.", fix="--units mm")
    return _METRES[units]


def shown(value: object) -> str:
    """The beginning of a value from a file, for a message."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a whole number of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def number(value: Any, what: str, *, camera: str) -> float:
    """One finite number; text that reads as one counts (YAML 1.1 takes 1e-5 for text)."""
    try:
        if isinstance(value, str):
            found = parse_number(value)
        elif isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
            found = float(value)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise CapbenchError(
            f"Expected {what} to be a number, got {shown(value)}.", place=f"camera {camera}"
        ) from None
    if not np.isfinite(found):
        raise CapbenchError(f"Expected {what} to be finite, got {found}.", place=f"camera {camera}")
    if abs(found) > _LARGEST:
        raise CapbenchError(
            f"Expected {what} to be below {_LARGEST:g}, got {found:g}.", place=f"camera {camera}"
        )
    return found


def numbers(value: Any, what: str, counts: Collection[int], *, camera: str) -> FloatArray:
    """A list, nested list or array of as many finite numbers as one of ``counts``, flat in row order."""
    flat: list[Any] = []
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iuf" or value.size > _MOST_NUMBERS:
            raise _wrong_numbers(
                value.dtype if value.size <= _MOST_NUMBERS else value.size, what, counts, camera
            )
        flat = value.ravel().tolist()
    elif isinstance(value, (list, tuple)):
        for item in value[: _MOST_NUMBERS + 1]:
            flat.extend(item[: _MOST_NUMBERS + 1] if isinstance(item, (list, tuple)) else (item,))
    else:
        raise _wrong_numbers(value, what, counts, camera)
    if len(flat) not in counts:
        raise _wrong_numbers(len(flat), what, counts, camera)
    return np.array([number(item, what, camera=camera) for item in flat])


def _wrong_numbers(found: object, what: str, counts: Collection[int], camera: str) -> CapbenchError:
    wanted = " or ".join(map(str, sorted(counts)))
    return CapbenchError(
        f"Expected {what} as {wanted} numbers, got {shown(found)}.", place=f"camera {camera}"
    )


def matrix_of(vector: FloatArray) -> FloatArray:
    """(3, 3) rotation of a Rodrigues vector (3,): its direction is the axis, its length the angle in rad.

    ``R = 1 + sin(a)/a K + (1 - cos(a))/a² K²`` with K the cross-product matrix of the vector.
    """
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = float(np.linalg.norm(vector))
    # sinc keeps both factors exact down to an angle of 0
    first, half = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi))
    rotation: FloatArray = np.eye(3) + first * cross + 0.5 * half * half * (cross @ cross)
    return rotation


def vector_of(rotation: FloatArray) -> FloatArray:
    """Rodrigues vector (3,), 0 to pi long, of a rotation (3, 3).

    By way of the quaternion, from the largest of its parts: exact near 0 and near pi alike.
    """
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    parts = np.array([trace, r[0, 0], r[1, 1], r[2, 2]])
    i = int(parts.argmax())
    q = np.empty(4)  # w x y z, times a common factor
    if i == 0:
        q[:] = 1 + trace, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    else:
        a, b, c = (i - 1, i % 3, (i + 1) % 3)
        q[0] = r[c, b] - r[b, c]
        q[1 + a] = 1 + 2 * r[a, a] - trace
        q[1 + b] = r[a, b] + r[b, a]
        q[1 + c] = r[a, c] + r[c, a]
    q = q if q[0] >= 0 else -q
    length = float(np.linalg.norm(q[1:]))
    if length == 0:
        return np.zeros(3)
    vector: FloatArray = q[1:] / length * 2 * np.arctan2(length, q[0])
    return vector


def rotation_from(value: Any, what: str, *, camera: str) -> FloatArray:
    """A rotation given as a matrix (9 numbers) or as a Rodrigues vector (3)."""
    flat = numbers(value, what, (3, 9), camera=camera)
    if len(flat) == 9:
        return flat.reshape(3, 3)
    if np.abs(flat).max() > 100:
        raise CapbenchError(
            f"Expected {what} as an axis times an angle in radians, got {shown(flat.tolist())}.",
            place=f"camera {camera}",
            fix="if these are degrees, multiply by pi/180",
        )
    return matrix_of(flat)


def check_rig(cameras: Sequence[Camera], *, units: str | None, notes: list[str]) -> None:
    """Refuse two cameras of one name, and places that show a wrong unit; note what is odd.

    ``units`` is what the user gave: then the places are taken as they are.
    """
    check_unique("camera", tuple(camera.name for camera in cameras))
    if units is None:
        _check_places(cameras, notes)
    for camera in cameras:
        notes.extend(f"camera {camera.name}: {oddity}" for oddity in _oddities(camera))


def _check_places(cameras: Sequence[Camera], notes: list[str]) -> None:
    centres = np.array([camera.centre for camera in cameras]).reshape(-1, 3)
    if not len(centres):
        return
    middle = centres.mean(axis=0) if len(centres) > 1 else np.zeros(3)
    away = np.linalg.norm(centres - middle, axis=1)
    farthest = int(away.argmax())
    if away[farthest] > _FARTHEST:
        whence = "the middle of all cameras" if len(centres) > 1 else "the world's origin"
        raise CapbenchError(
            f"Expected cameras around a person, got one {away[farthest]:.3g} m from {whence}: "
            "these are surely not metres.",
            place=f"camera {cameras[farthest].name}",
            fix="--units mm (or --units cm)",
        )
    if away[farthest] > _FAR:
        notes.append(f"the cameras are up to {away[farthest]:.3g} m from their middle: check the units")
    if len(centres) < 2:
        return
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    if not apart.any():
        notes.append("all cameras are at the same place: the file gives no poses")
    elif apart.max() < _NEAREST:
        raise CapbenchError(
            f"Expected cameras around a person, got them {apart.max() * 1000:.3g} mm apart at most: "
            "the unit is surely a larger one.",
            fix="--units m",
        )
    else:
        near = np.argwhere(np.triu(apart < _NEAREST, 1)).tolist()
        notes.extend(
            f"cameras {cameras[a].name} and {cameras[b].name} are at the same place (less than 1 cm apart)"
            for a, b in near[:6]
        )


def _oddities(camera: Camera) -> list[str]:
    found = []
    width, height = camera.size
    x, y = camera.matrix[0, 2], camera.matrix[1, 2]
    if not (0 <= x <= width and 0 <= y <= height):
        found.append(
            f"the optical axis meets the picture plane at ({x:.0f}, {y:.0f}), outside the picture of "
            f"{width} x {height}: are width and height swapped?"
        )
    ratio = camera.matrix[0, 0] / camera.matrix[1, 1]
    if not 0.8 < ratio < 1.25:
        found.append(f"its pixels are not square: fx / fy = {ratio:.3g}; a calibration gone wrong?")
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], float)
    lost = int(np.isnan(camera.undistort(corners)).any(axis=1).sum())
    if lost:
        found.append(
            f"its lens model breaks down inside the picture (radius {camera.reach:.2f}): {lost} of 4 corners "
            "can't be undistorted and read as missing"
        )
    return found


def check_names(cameras: Sequence[Camera], reserved: Collection[str] = ()) -> None:
    """Refuse camera names that a text file can't carry."""
    wrong = [c.name for c in cameras if not c.name.isprintable() or c.name in reserved]
    if wrong:
        raise CapbenchError(
            f"Expected printable camera names that the format doesn't reserve, got {shorten(wrong)}.",
            fix="rename the cameras before writing this format",
        )
