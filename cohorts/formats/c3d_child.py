"""Child process in which ezc3d reads or writes one file (see :mod:`cohorts.formats.c3d` for why)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from cohorts.errors import EnvironmentFault
from cohorts.formats.child import refuse

#: point groups in which gait software stores results that are no markers
_NO_MARKERS = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS", "REACTIONS")


def main(source: str, target: str) -> None:
    """Read a .c3d into an .npz, or write an .npz as a .c3d; the ending of ``target`` says which."""
    try:
        import ezc3d
    except ImportError:
        sys.stderr.write("C3D needs the package ezc3d, which is not installed. Try: pip install ezc3d\n")
        sys.exit(EnvironmentFault.exit_code)
    if target.endswith(".npz"):
        read(ezc3d, source, target)
    else:
        write(ezc3d, source, target)


def read(ezc3d: Any, source: str, target: str) -> None:
    """Leave points, labels, rate and the rest of ``source`` as arrays in ``target``."""
    file = ezc3d.c3d(source)
    points = np.asarray(file["data"]["points"], float)  # (4, points, frames)
    group = file["parameters"]["POINT"]
    labels = _texts(group, "LABELS")
    for extra in range(2, 100):
        labels += _texts(group, f"LABELS{extra}")
    if points.ndim != 3 or points.shape[0] != 4:
        refuse(f"Expected C3D points of shape (4, points, frames), got {points.shape}.")
    residuals = np.asarray(file["data"]["meta_points"]["residuals"], float).reshape(points.shape[1:])
    other = {label for name in _NO_MARKERS for label in _texts(group, name)}
    np.savez(
        target,
        xyz=np.moveaxis(points[:3], 0, -1).swapaxes(0, 1),
        missing=(residuals < 0).T,
        labels=np.array(labels[: points.shape[1]] or [""], dtype=np.str_),
        is_marker=np.array([label not in other for label in labels[: points.shape[1]]], dtype=bool),
        rate=np.float64(file["header"]["points"]["frame_rate"]),
        first_frame=np.int64(file["header"]["points"]["first_frame"]),
        units=np.array((_texts(group, "UNITS") or [""])[0]),
        vertical=np.array((_texts(group, "Y_SCREEN") or [""])[0]),
        analog=np.int64(np.asarray(file["data"]["analogs"]).shape[1]),
    )


def write(ezc3d: Any, source: str, target: str) -> None:
    """Write markers (T, M, 3) in metres, their labels, rate and first frame as a .c3d in millimetres."""
    given = np.load(source, allow_pickle=False)
    xyz = given["xyz"]
    missing = np.isnan(xyz).any(axis=-1).T
    file = ezc3d.c3d()
    points = np.ones((4, xyz.shape[1], len(xyz)))
    points[:3] = np.moveaxis(xyz, -1, 0).swapaxes(1, 2) * 1000
    group = file["parameters"]["POINT"]
    group["RATE"]["value"] = [float(given["rate"])]
    group["LABELS"]["value"] = [str(label) for label in given["labels"]]
    group["UNITS"]["value"] = ["mm"]
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = np.where(missing, -1.0, 0.0)[None]
    file["data"]["meta_points"]["camera_masks"] = np.zeros((7, *missing.shape), bool)
    file["header"]["points"]["first_frame"] = int(given["first_frame"])
    file.write(target)


def _texts(group: Any, name: str) -> list[str]:
    if name not in group:
        return []
    return [str(text).strip() for text in group[name]["value"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
