"""Child process that lets ezc3d read one file: it crashes and hangs on damaged ones."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from cohorts.errors import EnvironmentFault
from cohorts.formats.child import refuse

#: point groups in which gait software stores results that are no markers
_NO_MARKERS = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS", "REACTIONS")


def main(source: str, target: str) -> None:
    """Read ``source`` and leave points, labels, rate and the rest as arrays in ``target``."""
    try:
        import ezc3d
    except ImportError:
        sys.stderr.write("C3D needs the package ezc3d, which is not installed. Try: pip install ezc3d\n")
        sys.exit(EnvironmentFault.exit_code)
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


def _texts(group: Any, name: str) -> list[str]:
    if name not in group:
        return []
    return [str(text).strip() for text in group[name]["value"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
