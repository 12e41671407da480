"""Calibrations: can they be read, and do they describe cameras that stand around a person?

What :class:`cohorts.Camera` refuses (singular, mirrored or NaN matrices, impossible lenses) is an error here.
Beyond it: the optical axis far from the picture's middle, cameras in one place, below the floor or looking
away from where the others look.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cohorts.camera import Camera
from cohorts.card import Rig
from cohorts.checks.findings import Report
from cohorts.errors import CapbenchError
from cohorts.formats.camera_fields import check_rig as check_places
from cohorts.recording import Trial
from cohorts.store import camera_in
from cohorts.values import FloatArray

OFF_CENTRE = 0.15  #: of the picture's side; phones and video cameras stay below 0.05
LOWER = 1.5  #: metres below the others: nobody hangs cameras so
_AXES = {sign + "xyz"[i]: (i, 1.0 if sign == "+" else -1.0) for i in range(3) for sign in "+-"}
#: readers' notes that are no oddities of the calibration itself
_USUAL = ("the world is", "a converter wrote", "is a marker camera", "is shown turned")
_TOGETHER = ("same place", "check the units")  #: notes about several cameras, told once of all


def check_rig(report: Report, trial: Trial, files: Mapping[str, Path], card: Rig | None) -> dict[str, Camera]:
    """The cameras of a trial by name; whatever is wrong with them is reported."""
    cameras: dict[str, Camera] = {}
    for name, path in files.items():
        notes: list[str] = []
        try:
            cameras[name] = camera_in(path, name, notes=notes)
        except CapbenchError as error:
            report.add_error(error, "calibration", trial=trial, file=path)
            continue
        for note in notes:
            about_another = note.startswith("camera ") and not note.startswith(f"camera {name}")
            if not about_another and not any(usual in note for usual in (*_USUAL, *_TOGETHER)):
                report.add_error(
                    CapbenchError(note, file=path), "calibration", severity="warning", trial=trial
                )
        _check_centre(report, trial, cameras[name], path)
    if len(cameras) > 1:
        _check_together(report, trial, cameras, next(iter(files.values())), card)
    elif cameras and card is not None and card.floor is not None:
        _check_heights(report, trial, cameras, next(iter(files.values())), card)
    return cameras


def _check_centre(report: Report, trial: Trial, camera: Camera, path: Path) -> None:
    off = (camera.matrix[:2, 2] - (np.array(camera.size) - 1) / 2) / np.array(camera.size)
    inside = (np.abs(off) <= 0.5).all()  # outside is told by the reader
    if inside and np.abs(off).max() > OFF_CENTRE:
        x, y = camera.matrix[:2, 2]
        message = (
            f"Expected the optical axis near the middle of the picture, got ({x:.0f}, {y:.0f}) in "
            f"{camera.size[0]} x {camera.size[1]}."
        )
        error = CapbenchError(
            message,
            file=path,
            place=f"camera {camera.name}",
            fix="check whether the picture was cropped, turned or resized after calibration",
        )
        report.add_error(error, "calibration", severity="warning", trial=trial)


def _check_together(
    report: Report, trial: Trial, cameras: dict[str, Camera], path: Path, card: Rig | None
) -> None:
    notes: list[str] = []
    try:
        check_places(list(cameras.values()), units=None, notes=notes)
    except CapbenchError as error:
        report.add_error(error, "calibration", trial=trial, file=path)
        return
    placed = [note for note in notes if any(part in note for part in _TOGETHER)]
    for note in placed:
        report.add_error(CapbenchError(note, file=path), "calibration", trial=trial)
    if not placed:
        _check_heights(report, trial, cameras, path, card)
        _check_gaze(report, trial, cameras, path)


def _check_heights(
    report: Report, trial: Trial, cameras: dict[str, Camera], path: Path, card: Rig | None
) -> None:
    """No camera below the floor, where the card says where it is, nor far below all others."""
    centres = np.array([camera.centre for camera in cameras.values()])
    up = _AXES[card.up] if card is not None and card.up is not None else None
    if up is None:
        return
    heights = centres[:, up[0]] * up[1]
    floor = None if card is None else card.floor
    for i, (name, height) in enumerate(zip(cameras, heights, strict=True)):
        if floor is not None and height < floor:
            message = f"Expected cameras above the floor, got one {floor - height:.2f} m below it."
        elif len(heights) > 1 and height < np.median(np.delete(heights, i)) - LOWER:
            lower = float(np.median(np.delete(heights, i)) - height)
            message = f"Expected cameras at about one height, got one {lower:.2f} m below the others."
        else:
            continue
        error = CapbenchError(
            message,
            file=path,
            place=f"camera {name}",
            fix="calibrate it again; or is the world's up axis another than the card says?",
        )
        report.add_error(error, "camera-below-floor", trial=trial)


def _check_gaze(report: Report, trial: Trial, cameras: dict[str, Camera], path: Path) -> None:
    """All look at one place: where their optical axes come nearest to each other is in front of each."""
    centres = np.array([camera.centre for camera in cameras.values()])
    axes = np.array([camera.rotation[2] for camera in cameras.values()])
    meeting = _meeting_point(centres, axes)
    if meeting is None:
        return
    depths = np.einsum("ci,ci->c", meeting - centres, axes)
    behind = [name for name, depth in zip(cameras, depths, strict=True) if depth <= 0]
    if behind:
        all_behind = len(behind) == len(cameras)
        error = CapbenchError(
            "Expected all cameras to look at one place, got "
            + ("all of them" if all_behind else ", ".join(behind))
            + " looking away from where the optical axes meet.",
            file=path,
            fix="check whether rotation and translation map the world to the camera, and not back",
        )
        report.add_error(error, "camera-looks-away", severity="warning", trial=trial)


def _meeting_point(centres: FloatArray, axes: FloatArray) -> FloatArray | None:
    """(3,) the point nearest to all axes; None where they are (nearly) parallel.

    Minimises Σ |(1 − a aᵀ)(p − c)|², linear in p.
    """
    planes = np.eye(3) - np.einsum("ci,cj->cij", axes, axes)
    matrix = planes.sum(axis=0)
    if np.linalg.eigvalsh(matrix)[0] < 0.02 * len(axes):
        return None
    return np.asarray(np.linalg.solve(matrix, np.einsum("cij,cj->i", planes, centres)))
