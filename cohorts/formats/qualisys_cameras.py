"""Qualisys calibrations: the .qca.txt (XML) that Qualisys Track Manager exports.

What its numbers mean:

- lengths on the sensor (focal lengths, centre point, skew) are in 1/64 pixel, and the centre point counts
  from the sensor's corner, so the corner of ``fov_video`` is taken off. The distortion coefficients have no
  unit and are used as they stand.
- ``transform`` holds the camera's place in mm and, row by row, the camera's axes in the world: right, up and
  backwards. OpenCV's camera looks along +z with y down, so the second and third row change sign.
- multiples of 64 are taken for the centres of pixels. If they meant the pixels' corners, pictures would
  be off by half a pixel, about 1 mm at 4 m; the format doesn't say.
- the world stays as it is: z up, as Qualisys writes it.

Converted files can be wrong where a camera hung sideways. Turning a picture by a quarter moves the principal
point to (height - y, x) or (y, width - x). In the sample of Pose2Sim both minus signs were forgotten; with
them its static points agree to 1.3 pixels, without them to 9. A file doesn't tell which way a camera hung,
so what it says is kept, with a note.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import Element, about, load_xml
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.formats.camera_fields import check_rig, number
from cohorts.values import FloatArray

_SUBPIXEL = 64
_FLIP = np.array([[1.0], [-1.0], [-1.0]])  # right, up, backwards -> right, down, ahead
_MOST_CAMERAS = 1000


def recognise(content: Any) -> bool:
    """Whether an XML root is a Qualisys calibration."""
    return (
        isinstance(content, Element) and content.tag == "calibration" and content.find("cameras") is not None
    )


def read(path: Path, *, notes: list[str] | None = None) -> tuple[Camera, ...]:
    """The cameras of a .qca.txt, in metres, in the file's own world (z up)."""
    notes = [] if notes is None else notes
    root = load_xml(path)
    if not recognise(root):
        raise CapbenchError(
            f"Expected a Qualisys calibration (<calibration> with <cameras>), got <{root.tag[:40]}>.",
            file=path,
            line=root.line,
        )
    found = root.findall("cameras/camera")
    if not 0 < len(found) <= _MOST_CAMERAS:
        raise CapbenchError(f"Expected 1 to {_MOST_CAMERAS} <camera> elements, got {len(found)}.", file=path)
    cameras = []
    with about(path):
        for place, element in enumerate(found, start=1):
            camera = _camera(element, place, notes)
            if camera is not None:
                cameras.append(camera)
        if not cameras:
            raise CapbenchError("Expected at least one active, calibrated camera, got none.")
        check_rig(cameras, units=None, notes=notes)
    notes.append("the world is z-up, as Qualisys writes it")
    if root.get("qtm-version", "") == "none":
        notes.append(
            "a converter wrote this file, not Qualisys: where it turned the pictures by 90 degrees, it may "
            "have mirrored the principal points (up to 60 pixels); check where known points fall"
        )
    return tuple(cameras)


def _camera(element: Any, place: int, notes: list[str]) -> Camera | None:
    name = element.get("serial") or element.get("name") or ""
    if not name:
        raise CapbenchError(
            "Expected a camera with a serial, got none.", line=element.line, place=f"camera number {place}"
        )
    missing = [part for part in ("transform", "intrinsic") if element.find(part) is None]
    if element.get("active", "1") == "0" or element.get("calibrated", "true") == "false":
        notes.append(f"camera {name} is inactive or not calibrated and was left out")
        return None
    if missing:
        raise CapbenchError(
            f"Expected <transform> and <intrinsic>, got no <{missing[0]}>.",
            line=element.line,
            place=f"camera {name}",
        )
    _note_view(element, name, notes)
    left, top, size = _view(element, name)
    intrinsic, transform = element.find("intrinsic"), element.find("transform")

    def lens(key: str, default: float | None = None) -> float:
        return _attribute(intrinsic, key, name, default)

    rotation = (
        np.array([[_attribute(transform, f"r{i}{j}", name) for j in (1, 2, 3)] for i in (1, 2, 3)]) * _FLIP
    )
    centre = np.array([_attribute(transform, axis, name) for axis in "xyz"]) / 1000
    matrix = np.array(
        [
            [lens("focalLengthU"), lens("skew", 0), lens("centerPointU") - left * _SUBPIXEL],
            [0, lens("focalLengthV"), lens("centerPointV") - top * _SUBPIXEL],
            [0, 0, _SUBPIXEL],
        ]
    )
    return Camera(
        name=name,
        matrix=matrix / _SUBPIXEL,
        rotation=rotation,
        translation=-rotation @ centre,
        size=size,  # type: ignore[arg-type]  # Camera checks that these are whole
        distortion=_distortion(lens),
    )


def _distortion(lens: Any) -> FloatArray:
    """k1 k2 p1 p2 [k3]; Qualisys spells tangential without its i."""
    k3 = lens("radialDistortion3", 0.0)
    first = [
        lens("radialDistortion1", 0.0),
        lens("radialDistortion2", 0.0),
        lens("tangentalDistortion1", 0.0),
        lens("tangentalDistortion2", 0.0),
    ]
    return np.array([*first, k3] if k3 else first)


def _attribute(element: Any, key: str, camera: str, default: float | None = None) -> float:
    text = element.get(key)
    if text is None and default is not None:
        return default
    if text is None:
        raise CapbenchError(
            f"Expected the attribute {key} in <{element.tag}>, got none.",
            line=element.line,
            place=f"camera {camera}",
        )
    try:
        return number(text, f"{key} of <{element.tag}>", camera=camera)
    except CapbenchError as error:
        error.line = element.line
        raise


def _view(element: Any, name: str) -> tuple[float, float, tuple[float, float]]:
    """Left and top of the picture on the sensor, and its (width, height), pixels."""
    fov = element.find("fov_video")
    fov = element.find("fov_marker") if fov is None else fov
    if fov is None:  # old exports: the whole sensor
        intrinsic = element.find("intrinsic")
        sides = [_attribute(intrinsic, f"sensorMax{axis}", name) // _SUBPIXEL + 1 for axis in "UV"]
        return 0.0, 0.0, (sides[0], sides[1])
    left, top, right, bottom = (_attribute(fov, side, name) for side in ("left", "top", "right", "bottom"))
    return left, top, (right - left + 1, bottom - top + 1)


def _note_view(element: Any, name: str, notes: list[str]) -> None:
    turned = element.get("viewrotation", "0")
    if turned not in ("0", "0.0"):
        notes.append(
            f"camera {name} is shown turned by {turned} degrees in Qualisys; the calibration is that of the "
            "picture as the sensor takes it, so videos must not be turned"
        )
    model = element.get("model", "")
    if model and not any(word in model.lower() for word in ("video", "none", "hybrid")):
        notes.append(f"camera {name} is a marker camera ({model})")
