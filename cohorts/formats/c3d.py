"""C3D: marker tracks as motion-capture systems write them (needs ezc3d: ``pip install capbench[mocap]``).

ezc3d runs in a child process: it crashes or hangs on damaged files, and its bindings break in a process that
has imported OpenSim's. Coordinates are stored as 32-bit floats: about seven digits. Points that gait software
added (angles, forces, powers) are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cohorts.bounded import TEXT_LIMIT, about, regular_file, replacing, shorten
from cohorts.errors import CapbenchError
from cohorts.formats.child import run_child, write_in_child
from cohorts.recording import Markers

_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def read(path: Path, *, notes: list[str] | None = None, units: str | None = None) -> Markers:
    """Markers of a .c3d file in metres, in the file's own axes; ``units`` overrides what it says."""
    notes = [] if notes is None else notes
    found = run_child("c3d_child", regular_file(path, TEXT_LIMIT), what="C3D")
    unit = (units or str(found["units"])).lower()
    if unit not in _METRES:
        raise CapbenchError(f"Expected units m, cm or mm, got {unit!r}.", file=path, fix="give --units")
    labels = [str(label) for label in found["labels"]]
    keep = [i for i, is_marker in enumerate(found["is_marker"]) if is_marker]
    dropped = [label for i, label in enumerate(labels) if i not in set(keep)]
    if dropped:
        notes.append(f"{len(dropped)} computed points that are no markers left out: {shorten(dropped)}")
    if found["analog"]:
        notes.append(f"{found['analog']} analog channels not read")
    if "Z" in str(found["vertical"]):
        notes.append("the file says its Z axis is up; capbench's ground frame has y up")
    rate = float(found["rate"])
    if not rate > 0:
        raise CapbenchError(f"Expected a positive frame rate, got {rate:g}.", file=path)
    xyz = found["xyz"][:, keep] * _METRES[unit]
    missing = found["missing"][:, keep] | ~np.isfinite(xyz).all(axis=-1)
    with about(path):
        return Markers(
            (int(found["first_frame"]) + np.arange(len(xyz))) / rate,
            tuple(labels[i] for i in keep),
            np.where(missing[..., None], np.nan, xyz),
        )


def write(path: Path, value: Markers, *, overwrite: bool = False) -> None:
    """Write evenly sampled markers to a .c3d file in millimetres; confidences are not kept."""
    rate = value.rate
    if len(value) < 2 or not np.allclose(np.diff(value.time), 1 / rate, rtol=0.01):
        raise CapbenchError(
            "Expected two or more evenly spaced frames, as C3D stores a rate and no times.",
            file=path,
            fix="write .trc or .npz, which keep each time",
        )
    with replacing(path, overwrite=overwrite) as temporary:
        arrays = {
            "xyz": value.xyz,
            "labels": np.array(value.names, dtype=np.str_),
            "rate": np.float64(rate),
            "first_frame": np.int64(round(float(value.time[0]) * rate)),
        }
        write_in_child("c3d_child", arrays, temporary, what="C3D")
