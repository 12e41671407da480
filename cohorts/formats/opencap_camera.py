"""OpenCap's cameraIntrinsicsExtrinsics.pickle: one camera per file, in a folder that names it.

A dict of ``intrinsicMat`` (3, 3), ``distortion`` (1, 5) k1 k2 p1 p2 k3, ``imageSize`` (2, 1) as
**[height; width]**, ``rotation`` (3, 3) world -> camera, ``translation`` (3, 1) in mm, and
``rotation_EulerAngles``, which is in truth the Rodrigues vector of ``rotation``. The world is that of the
checkerboard; where it hangs on the back wall, y points down.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import CARD_LIMIT, about
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.formats.camera_fields import check_rig, matrix_of, numbers, rotation_from, shown
from cohorts.formats.inert_pickle import load_pickle
from cohorts.values import FloatArray


def recognise(content: Any) -> bool:
    """Whether an unpickled value is an OpenCap camera."""
    return isinstance(content, dict) and "intrinsicMat" in content and "imageSize" in content


def read(path: Path, *, notes: list[str] | None = None) -> tuple[Camera, ...]:
    """The one camera of the pickle, in metres; named by its folder ("Cam1"), or by a renamed file."""
    notes = [] if notes is None else notes
    content = load_pickle(path, CARD_LIMIT)
    if not recognise(content):
        keys = ", ".join(map(shown, islice(content, 6))) if isinstance(content, dict) else "no dict"
        raise CapbenchError(
            "Expected a dict with intrinsicMat, distortion, imageSize, rotation and translation, "
            f"got {keys or 'an empty one'}.",
            file=path,
        )
    usual = path.stem.startswith("cameraIntrinsics")
    name = (path.absolute().parent.name if usual else "") or path.stem
    with about(path):
        matrix = numbers(content["intrinsicMat"], "intrinsicMat", (9,), camera=name).reshape(3, 3)
        rotation, translation = _pose(content, name, notes)
        camera = Camera(
            name=name,
            matrix=matrix,
            rotation=rotation,
            translation=translation,
            size=_size(content, matrix, name, notes),  # type: ignore[arg-type]  # Camera checks it
            distortion=_distortion(content, name),
        )
        check_rig([camera], units=None, notes=notes)
    return (camera,)


def _distortion(content: dict[str, Any], name: str) -> FloatArray:
    if "distortion" not in content:
        raise CapbenchError("Expected distortion, got none.", place=f"camera {name}")
    return numbers(content["distortion"], "distortion", (4, 5, 8, 12), camera=name)


def _pose(content: dict[str, Any], name: str, notes: list[str]) -> tuple[FloatArray, FloatArray]:
    given = [part for part in ("rotation", "translation") if content.get(part) is not None]
    if not given:
        notes.append(f"camera {name} has no pose (intrinsics only): it stands at the world's origin")
        return np.eye(3), np.zeros(3)
    if len(given) == 1:
        raise CapbenchError(
            f"Expected both rotation and translation, got only {given[0]}.", place=f"camera {name}"
        )
    rotation = rotation_from(content["rotation"], "rotation", camera=name)
    vector = content.get("rotation_EulerAngles")
    if vector is not None:
        again = matrix_of(numbers(vector, "rotation_EulerAngles", (3,), camera=name))
        off = float(np.abs(again - rotation).max())
        if off > 1e-3:
            notes.append(
                f"camera {name}: rotation_EulerAngles (a Rodrigues vector in truth) disagrees with rotation "
                f"by {off:.2g}; rotation was taken"
            )
    notes.append("the world is that of the checkerboard, as OpenCap writes it; millimetres became metres")
    return rotation, numbers(content["translation"], "translation", (3,), camera=name) / 1000


def _size(content: dict[str, Any], matrix: FloatArray, name: str, notes: list[str]) -> tuple[float, float]:
    """(width, height); stored as [height; width], unless the principal point shows the opposite."""
    height, width = numbers(content["imageSize"], "imageSize", (2,), camera=name).tolist()
    x, y = float(matrix[0, 2]), float(matrix[1, 2])
    if (x > width or y > height) and x <= height and y <= width:
        notes.append(
            f"camera {name}: imageSize was read as [width; height] = {height:g} x {width:g}, not OpenCap's "
            f"[height; width], since the principal point is at ({x:.0f}, {y:.0f})"
        )
        return height, width
    return width, height
