"""Calibrations in YAML: OpenCV's FileStorage and ROS's camera_info.

Both hold one camera: ``camera_matrix``, ``distortion_coefficients``, ``image_width``, ``image_height``.
OpenCV writes its version as a first line that is no YAML (``%YAML:1.0``), and matrices with a tag of its own
(``!!opencv-matrix``); programs add the pose as they like, as ``R`` and ``T`` or as ``rvec`` and ``tvec``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cohorts.bounded import CARD_LIMIT, about, parse_yaml, read_text, shorten, write_text
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
)
from cohorts.values import FloatArray

TAGS = ("opencv-matrix", "opencv-nd-matrix")
_MATRIX = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "intrinsic_matrix", "K")
_DISTORTION = ("distortion_coefficients", "distCoeffs", "dist_coeffs", "Distortion_Coefficients", "D", "dist")
_WIDTH = ("image_width", "image_Width", "width")
_HEIGHT = ("image_height", "image_Height", "height")
_ROTATION = ("R", "rotation_matrix", "rotation", "rvec")
_TRANSLATION = ("T", "t", "translation", "tvec")
#: ROS's words for the lens
_LENSES: dict[str, Literal["pinhole", "fisheye"]] = {
    "plumb_bob": "pinhole",
    "rational_polynomial": "pinhole",
    "pinhole": "pinhole",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
}


def recognise(content: Any) -> bool:
    """Whether parsed YAML holds a camera."""
    return isinstance(content, dict) and any(key in content for key in _MATRIX)


def read(path: Path, *, notes: list[str] | None = None, units: Units | None = None) -> tuple[Camera, ...]:
    """The one camera of a .yml or .yaml file in metres; ``units`` of its translation (default: m)."""
    notes = [] if notes is None else notes
    text = read_text(path, CARD_LIMIT)
    if text.startswith("%YAML"):  # "%YAML:1.0" is no YAML; the line stays so that line numbers do
        text = "#" + text
    content = parse_yaml(text, file=path, plain_tags=TAGS)
    if not recognise(content):
        keys = shorten(list(map(str, content))) if isinstance(content, dict) else type(content).__name__
        raise CapbenchError(
            f"Expected a camera_matrix (OpenCV or ROS calibration of one camera), got {keys or 'nothing'}.",
            file=path,
        )
    with about(path):
        camera = _camera(content, path.stem, metres(units, "m"), notes)
        check_rig([camera], units=units, notes=notes)
    return (camera,)


def _pick(content: dict[Any, Any], keys: tuple[str, ...]) -> Any:
    return next((content[key] for key in keys if content.get(key) is not None), None)


def _camera(content: dict[Any, Any], stem: str, scale: float, notes: list[str]) -> Camera:
    name = content.get("camera_name", stem)
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < 10**9:
        name = str(name)  # "camera_name: 0" is a number to YAML
    if not isinstance(name, str) or not name:
        raise CapbenchError(f"Expected camera_name to be text, got {shown(name)}.")

    def values(keys: tuple[str, ...], counts: tuple[int, ...]) -> FloatArray:
        found = _pick(content, keys)
        if found is None:
            raise CapbenchError(f"Expected {keys[0]}, got none.", place=f"camera {name}")
        return numbers(_data(found, keys[0], name), keys[0], counts, camera=name)

    rotation, translation = _pose(content, name, notes)
    lens = _lens(content, name)
    distortion = values(_DISTORTION, (0, 4, 5, 8, 12, 14))
    if len(distortion) == 14:
        distortion = _without_tilt(distortion, name)
    return Camera(
        name=name,
        matrix=values(_MATRIX, (9,)).reshape(3, 3),
        rotation=rotation,
        translation=translation * scale,
        size=tuple(values(keys, (1,))[0] for keys in (_WIDTH, _HEIGHT)),
        distortion=distortion,
        lens=lens,
    )


def _data(value: Any, what: str, name: str) -> Any:
    """The numbers of a matrix written as {rows, cols, data}, of a plain list, or of one number."""
    if not isinstance(value, dict):
        return value if isinstance(value, list) else [value]
    data = value.get("data")
    sides = value.get("sizes", [value.get("rows"), value.get("cols")])
    if not isinstance(data, list) or not isinstance(sides, list) or not 1 <= len(sides) <= 4:
        raise CapbenchError(f"Expected {what} with rows, cols and data.", place=f"camera {name}")
    held = 1.0
    for side in sides:
        held *= number(side, f"rows and cols of {what}", camera=name)
    if held != len(data):
        raise CapbenchError(
            f"Expected {what} to hold {held:g} numbers as its rows and cols say, got {len(data)}.",
            place=f"camera {name}",
        )
    return data


def _without_tilt(distortion: FloatArray, name: str) -> FloatArray:
    if distortion[12:].any():
        raise CapbenchError(
            "Expected no tilt of the sensor (distortion coefficients 13 and 14), got some.",
            place=f"camera {name}",
            fix="calibrate without CALIB_TILTED_MODEL",
        )
    return distortion[:12]


def _lens(content: dict[Any, Any], name: str) -> Literal["pinhole", "fisheye"]:
    model = content.get("distortion_model")
    if model is not None:
        if not isinstance(model, str) or model not in _LENSES:
            raise CapbenchError(
                f"Expected a distortion_model of {', '.join(_LENSES)}, got {shown(model)}.",
                place=f"camera {name}",
            )
        return _LENSES[model]
    return "fisheye" if content.get("fisheye_model") in (1, True) else "pinhole"


def _pose(content: dict[Any, Any], name: str, notes: list[str]) -> tuple[FloatArray, FloatArray]:
    # beside ROS's P, its R is a rectification, not a pose
    turns = tuple(key for key in _ROTATION if key != "R") if "P" in content else _ROTATION
    rotation, translation = _pick(content, turns), _pick(content, _TRANSLATION)
    if rotation is None and translation is None:
        notes.append(f"camera {name} has no pose (intrinsics only): it stands at the world's origin")
        return np.eye(3), np.zeros(3)
    if rotation is None or translation is None:
        given, absent = ("T", "R") if rotation is None else ("R", "T")
        raise CapbenchError(
            "Expected both a rotation (R or rvec) and a translation (T or tvec), "
            f"got {given} without {absent}.",
            place=f"camera {name}",
        )
    return (
        rotation_from(_data(rotation, "rotation", name), "rotation", camera=name),
        numbers(_data(translation, "translation", name), "translation", (3,), camera=name),
    )


def write(path: Path, value: tuple[Camera, ...], *, overwrite: bool = False) -> None:
    """Write one camera as OpenCV's FileStorage reads it, digits exact, translation in metres."""
    if len(value) != 1:
        raise CapbenchError(
            f"Expected one camera (OpenCV's YAML holds one), got {len(value)}.",
            file=path,
            fix="write a .toml file, which holds several",
        )
    camera = value[0]
    check_names(value)
    fisheye = camera.lens == "fisheye"
    # OpenCV can't read a matrix of nothing; four zeros are the same as no coefficients
    distortion = camera.distortion if len(camera.distortion) else np.zeros(4)
    lines = [
        "%YAML:1.0",
        "---",
        f"camera_name: {json.dumps(camera.name, ensure_ascii=False)}",
        f"image_width: {camera.size[0]}",
        f"image_height: {camera.size[1]}",
        f"fisheye_model: {int(fisheye)}",
        *_matrix("camera_matrix", camera.matrix),
        *_matrix("distortion_coefficients", distortion[:, None]),
        *_matrix("R", camera.rotation),
        *_matrix("T", camera.translation[:, None]),
    ]
    write_text(path, "\n".join(lines) + "\n", overwrite=overwrite)


def _matrix(name: str, values: FloatArray) -> list[str]:
    data = ", ".join(map(_digits, values.ravel().tolist()))
    return [
        f"{name}: !!opencv-matrix",
        f"   rows: {values.shape[0]}",
        f"   cols: {values.shape[1]}",
        "   dt: d",
        f"   data: [ {data} ]",
    ]


def _digits(value: float) -> str:
    """As short as exact, and a number to YAML 1.1, which wants a point before an exponent."""
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return text
