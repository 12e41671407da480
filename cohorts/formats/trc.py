"""TRC: marker tracks as OpenSim, Cortex, Pose2Sim and OpenCap write them.

Five header lines, perhaps a blank one, then ``frame time x y z x y z …``.
Coordinates are in the unit the header names. A missing point is empty, NaN, or exactly (0, 0, 0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cohorts.bounded import about, one_line, parse_number, read_lines, shorten, write_text
from cohorts.errors import CapbenchError
from cohorts.formats.text_rows import parse_rows
from cohorts.recording import Markers
from cohorts.values import FloatArray

_METRES = {"m": 1.0, "meters": 1.0, "metres": 1.0, "cm": 0.01, "mm": 0.001}
#: metres across all markers of one frame: a person is 0.3 to 3 m, a room full of them 30 m
_SPAN = (0.01, 60.0)


def read(path: Path, *, notes: list[str] | None = None, units: str | None = None) -> Markers:
    """Markers of a .trc file in metres; ``units`` ("m", "cm", "mm") overrides what its header says."""
    notes = [] if notes is None else notes
    lines = read_lines(path)
    header = _header(lines, path)
    scale = _scale(units or header["Units"], path)
    names, first_row = _names(lines, path)
    declared = header.get("NumMarkers")
    if declared is not None and declared != str(len(names)):
        notes.append(f"the header says {declared} markers, the name line has {len(names)}")
    width = 2 + 3 * len(names)
    what = f"numbers (frame, time and x y z of {len(names)} markers)"
    table = parse_rows(lines, first_row, width, path, what=what, required=2)
    time, xyz = table[:, 1], table[:, 2:].reshape(-1, len(names), 3) * scale
    xyz = _without_missing(xyz, names, notes)
    if units is None:
        _check_span(xyz, header["Units"], path)
    _note_counts(header, len(time), time, path, notes)
    with about(path):
        return Markers(time, names, xyz)


def _header(lines: list[str], path: Path) -> dict[str, str]:
    if len(lines) < 4 or not lines[0].startswith("PathFileType"):
        raise CapbenchError(
            "Expected a TRC file, which starts with 'PathFileType', "
            f"got {lines[0][:40]!r} and {len(lines)} lines.",
            file=path,
            line=1,
        )
    keys, values = lines[1].split(), lines[2].split()
    if len(keys) != len(values) or "Units" not in keys:
        raise CapbenchError(
            f"Expected a value for each of the header's {len(keys)} keys (DataRate … Units …), "
            f"got {len(values)}.",
            file=path,
            line=3,
        )
    return dict(zip(keys, values, strict=True))


def _scale(units: str, path: Path) -> float:
    if units.lower() not in _METRES:
        raise CapbenchError(
            f"Expected units m, cm or mm, got {units!r}.", file=path, line=3, fix="give --units"
        )
    return _METRES[units.lower()]


def _names(lines: list[str], path: Path) -> tuple[tuple[str, ...], int]:
    """Marker names, and the index of the first line that can hold data."""
    cells = lines[3].split("\t") if "\t" in lines[3] else lines[3].split()
    if len(cells) < 3 or not cells[0].strip().lower().startswith("frame"):
        raise CapbenchError(
            f"Expected 'Frame#  Time  marker names', got {lines[3][:60]!r}.", file=path, line=4
        )
    names = tuple(name.strip() for name in cells[2:] if name.strip())
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise CapbenchError(
            f"Expected each marker once, got {shorten(twice)} more than once.", file=path, line=4
        )
    has_axes = len(lines) > 4 and lines[4].strip().upper().startswith("X")
    return names, 5 if has_axes else 4


def _without_missing(xyz: FloatArray, names: tuple[str, ...], notes: list[str]) -> FloatArray:
    """Points at exactly (0, 0, 0), or with a hole in one axis, become NaN; says how many."""
    zero = (xyz == 0).all(axis=-1)
    holed = np.isnan(xyz).any(axis=-1) & ~np.isnan(xyz).all(axis=-1)
    for wrong, what in ((zero, "at exactly (0, 0, 0)"), (holed, "with a coordinate missing")):
        if wrong.any():
            whose = [names[i] for i in np.flatnonzero(wrong.any(axis=0))]
            notes.append(f"{wrong.sum()} points {what} read as missing: {shorten(whose)}")
    return np.where((zero | holed)[..., None], np.nan, xyz)


def _check_span(xyz: FloatArray, units: str, path: Path) -> None:
    """Refuse a unit that makes the markers of a typical frame lie 60 m or less than 1 cm apart."""
    present = np.isfinite(xyz).all(axis=-1)
    full = present.sum(axis=1) >= 3
    if not full.any():
        return
    some = xyz[full]
    span = float(np.median((np.nanmax(some, axis=1) - np.nanmin(some, axis=1)).max(axis=-1)))
    if span > _SPAN[1] or 0 < span < _SPAN[0]:
        meant = "mm" if span > _SPAN[1] else "m"
        raise CapbenchError(
            f"Expected a person, got markers {span:.3g} m apart when read in {units}: "
            f"these are surely {'milli' if meant == 'mm' else ''}metres.",
            file=path,
            line=3,
            fix=f"--units {meant}",
        )


def _note_counts(header: dict[str, str], frames: int, time: FloatArray, path: Path, notes: list[str]) -> None:
    declared = header.get("NumFrames")
    if declared is not None and declared != str(frames):
        notes.append(f"the header says {declared} frames, the file has {frames}")
    try:
        rate = parse_number(header.get("DataRate", "nan"))
    except ValueError:
        raise CapbenchError(
            f"Expected DataRate to be a number, got {header['DataRate']!r}.", file=path, line=3
        ) from None
    if frames > 1 and np.isfinite(rate) and rate > 0:
        measured = (frames - 1) / (time[-1] - time[0]) if time[-1] > time[0] else np.inf
        if abs(measured / rate - 1) > 0.01:
            notes.append(f"the header says {rate:g} Hz, the time column {measured:.4g} Hz")


def write(path: Path, value: Markers, *, overwrite: bool = False, units: str = "m") -> None:
    """Write markers to a .trc file in metres (or "mm"), missing points as NaN, digits exact."""
    scale = 1 / _scale(units, path)
    names = [one_line(name, file=path) for name in value.names]
    rate = f"{value.rate:.6g}" if len(value) > 1 else "100"
    count = len(value)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{one_line(path.name, file=path)}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{count}\t{len(names)}\t{units}\t{rate}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(names) + 1)),
        "",
    ]
    numbers, times = value.xyz.reshape(count, -1) * scale, value.time.tolist()
    for i, row in enumerate(numbers.tolist()):
        cells = ["NaN" if v != v else repr(v) for v in row]  # OpenSim miscounts empty cells at line ends
        lines.append(f"{i + 1}\t{times[i]!r}\t" + "\t".join(cells))
    write_text(path, "\n".join(lines) + "\n", overwrite=overwrite)
