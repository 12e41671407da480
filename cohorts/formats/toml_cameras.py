"""Calibrations in TOML: Pose2Sim, Anipose and Caliscope.

All three hold one table per camera with ``size`` (width, height), ``matrix``, ``distortions``, ``rotation``
(a Rodrigues vector) and ``translation``, world -> camera, as OpenCV has them:

- Pose2Sim: ``[cam_01]`` with ``name`` and ``fisheye``; metres.
- Anipose: ``[cam_0]`` with ``name``; the unit of the board, often mm, and nothing in the file says which.
- Caliscope: ``[cameras.1]`` with ``cam_id`` (earlier ``port``) for a name; metres. A camera that has no
  pose yet says ``"null"`` or nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import about, load_toml, shorten, write_text
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.formats.camera_fields import (
    Units,
    check_names,
    check_rig,
    metres,
    number,
    numbers,
    rotation_from,
    shown,
    vector_of,
)
from cohorts.values import FloatArray

_MOST_CAMERAS = 1000
#: tables that these programs keep beside the cameras
_OTHER_TABLES = {"metadata", "capture_volume", "charuco", "checkerboard"}


def recognise(content: Any) -> bool:
    """Whether parsed TOML holds camera tables."""
    return isinstance(content, dict) and bool(_tables(content))


def _tables(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nested = content.get("cameras")
    places = {**content, **nested} if isinstance(nested, dict) else content
    return {
        str(key): table
        for key, table in places.items()
        if isinstance(table, dict) and "size" in table and key not in _OTHER_TABLES
    }


def read(path: Path, *, notes: list[str] | None = None, units: Units | None = None) -> tuple[Camera, ...]:
    """The cameras of a .toml file in metres; ``units`` says what its translations are in (default: m)."""
    notes = [] if notes is None else notes
    content = load_toml(path)
    tables = _tables(content)
    if not 0 < len(tables) <= _MOST_CAMERAS:
        raise CapbenchError(
            f"Expected 1 to {_MOST_CAMERAS} camera tables (with size, matrix, distortions, rotation and "
            f"translation), got {len(tables)}; top-level names: {shorten(list(content)) or 'none'}.",
            file=path,
        )
    with about(path):
        scale = metres(units, "m")
        found = (_camera(key, table, scale, notes) for key, table in tables.items())
        cameras = tuple(camera for camera in found if camera is not None)
        if not cameras:
            raise CapbenchError("Expected at least one calibrated camera, got none.")
        check_rig(cameras, units=units, notes=notes)
    return cameras


def _camera(key: str, table: dict[str, Any], scale: float, notes: list[str]) -> Camera | None:
    name = _name(key, table)
    absent = [part for part in ("matrix", "rotation", "translation") if table.get(part, "null") == "null"]
    if absent:
        notes.append(f"camera {name} has no {' and no '.join(absent)} yet and was left out")
        return None
    if table.get("ignore") is True:
        notes.append(f"camera {name} is marked to be ignored and was left out")
        return None
    turns = table.get("rotation_count", 0)
    if turns != 0:
        notes.append(
            f"camera {name} is turned by {shown(turns)} quarter turns in Caliscope; the calibration is that "
            "of the picture as the camera took it"
        )
    return Camera(
        name=name,
        matrix=numbers(table["matrix"], "matrix", (9,), camera=name).reshape(3, 3),
        rotation=rotation_from(table["rotation"], "rotation", camera=name),
        translation=numbers(table["translation"], "translation", (3,), camera=name) * scale,
        size=tuple(numbers(table["size"], "size", (2,), camera=name)),
        distortion=_distortions(table, name),
        lens="fisheye" if _is_fisheye(table, name) else "pinhole",
    )


def _name(key: str, table: dict[str, Any]) -> str:
    if "name" in table:
        name = table["name"]
        if not isinstance(name, str) or not name:
            raise CapbenchError(f"Expected name to be text, got {shown(name)}.", place=f"table {key[:60]}")
        return name
    for word, prefix in (("cam_id", "cam"), ("port", "port")):
        if word in table:  # Caliscope's videos are called cam_1.mp4, earlier port_1.mp4
            return f"{prefix}_{number(table[word], word, camera=key[:60]):.0f}"
    return key


def _distortions(table: dict[str, Any], name: str) -> FloatArray:
    if "distortions" not in table:
        raise CapbenchError("Expected distortions, got none.", place=f"camera {name}")
    return numbers(table["distortions"], "distortions", (0, 4, 5, 8, 12), camera=name)


def _is_fisheye(table: dict[str, Any], name: str) -> bool:
    fisheye = table.get("fisheye", False)
    if not isinstance(fisheye, bool):
        raise CapbenchError(
            f"Expected fisheye to be true or false, got {shown(fisheye)}.", place=f"camera {name}"
        )
    return fisheye


def write(path: Path, value: tuple[Camera, ...], *, overwrite: bool = False) -> None:
    """Write cameras as Pose2Sim reads them: metres, rotations as Rodrigues vectors."""
    check_names(value, reserved=_OTHER_TABLES | {"cameras"})
    parts = []
    for camera in value:
        # Pose2Sim expects four coefficients at least; four zeros are the same as none
        distortion = camera.distortion if len(camera.distortion) else np.zeros(4)
        name = json.dumps(camera.name, ensure_ascii=False)
        parts.append(
            "\n".join(
                [
                    f"[{name}]",
                    f"name = {name}",
                    f"size = {_list(np.array(camera.size))}",
                    f"matrix = [{', '.join(map(_list, camera.matrix))}]",
                    f"distortions = {_list(distortion)}",
                    f"rotation = {_list(vector_of(camera.rotation))}",
                    f"translation = {_list(camera.translation)}",
                    f"fisheye = {'true' if camera.lens == 'fisheye' else 'false'}",
                ]
            )
        )
    parts.append("[metadata]\nadjusted = false\nerror = 0.0\n")
    write_text(path, "\n\n".join(parts), overwrite=overwrite)


def _list(row: FloatArray) -> str:
    return f"[{', '.join(repr(float(cell)) for cell in row)}]"
