"""OpenSim motion (.mot) and storage (.sto) tables.

A header that ends in ``endheader``, a line of labels that starts with ``time``, then numbers. Two headers
exist: the new one (``nRows=``, ``nColumns=``, ``inDegrees=``) and SIMM's old one (``datacolumns``,
``datarows``, ``range``). A table whose first line is "Coordinates" is a :class:`Motion`; any other
(forces, marker errors, states) is :class:`Signals`, whose numbers are left as they are.

OpenSim converts only *rotational* coordinates to degrees. A coordinate driven by a coupler (the patella's
``knee_angle_r_beta``) has its own motion type, so it is written in radians even where
``inDegrees=yes``. The reader compares it with its partner to see which it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cohorts.bounded import about, one_line, read_lines, shorten, write_text
from cohorts.errors import CapbenchError
from cohorts.formats.text_rows import parse_rows
from cohorts.recording import Motion, Signals, kind_by_name
from cohorts.values import FloatArray

_HEADER_LIMIT = 500  # lines; a file without "endheader" must not be searched for ever


@dataclass(frozen=True)
class _Header:
    title: str
    keys: dict[str, str]
    end: int  # index of the line "endheader"


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    units: Literal["deg", "rad"] | None = None,
    kind: Literal["motion", "signals"] | None = None,
) -> Motion | Signals:
    """The table of a .mot or .sto file: a Motion in radians and metres, or Signals as they stand.

    ``units`` overrides what the header says of angles; ``kind`` overrides what its first line says.
    """
    notes = [] if notes is None else notes
    lines = read_lines(path)
    header = _header(lines, path)
    names, row = _labels(lines, header, path)
    table = parse_rows(lines, row, 1 + len(names), path, what="numbers (time and one per label)")
    if len(table) and np.isnan(table[:, 1:]).any():
        notes.append(f"{np.isnan(table[:, 1:]).sum()} values are missing (NaN)")
    _check_counts(header, len(table), 1 + len(names), path, notes)
    is_motion = header.title.strip().lower() == "coordinates" if kind is None else kind == "motion"
    with about(path):
        if not is_motion:
            return Signals(table[:, 0], names, table[:, 1:], _in_degrees(header, path) or False)
        degrees = _in_degrees(header, path) if units is None else units == "deg"
        if degrees is None:
            raise CapbenchError(
                "Expected inDegrees=yes or inDegrees=no in the header, got neither.",
                fix="--units deg or --units rad",
            )
        values = _to_radians(names, table[:, 1:], notes) if degrees else table[:, 1:]
        return Motion(table[:, 0], names, values)


def _header(lines: list[str], path: Path) -> _Header:
    keys: dict[str, str] = {}
    for i, line in enumerate(lines[:_HEADER_LIMIT]):
        text = line.strip()
        if text.lower() == "endheader":
            title = lines[0] if i and "=" not in lines[0] else ""
            return _Header(title, keys, i)
        if "=" in text:
            key, _, value = text.partition("=")
        else:
            key, _, value = text.partition(" ")
            key = key if key.lower() in ("datacolumns", "datarows", "range") else ""
        if key.strip():
            keys[key.strip().lower()] = value.strip()
    searched = min(len(lines), _HEADER_LIMIT)
    raise CapbenchError(
        f"Expected a header that ends in 'endheader', got none in the first {searched} lines.",
        file=path,
        fix="the file is cut short, or it is no OpenSim table",
    )


def _labels(lines: list[str], header: _Header, path: Path) -> tuple[tuple[str, ...], int]:
    """Column labels after ``time``, and the index of the first line behind them."""
    kind = header.keys.get("datatype", "double").lower()
    if kind != "double":
        raise CapbenchError(
            f"Expected a table of plain numbers (DataType=double), got DataType={kind}.", file=path
        )
    row = header.end + 1
    while row < len(lines) and not lines[row].strip():
        row += 1
    if row == len(lines):
        raise CapbenchError("Expected column labels after 'endheader', got the end.", file=path, line=row)
    line = lines[row].strip()
    labels = [label.strip() for label in (line.split("\t") if "\t" in line else line.split())]
    if labels[0].lower() != "time":
        raise CapbenchError(
            f"Expected the first column to be 'time', got {labels[0][:40]!r}.", file=path, line=row + 1
        )
    names = tuple(labels[1:])
    if "" in names or len(set(names)) < len(names):
        wrong = next((n for i, n in enumerate(names) if not n or n in names[:i]), "")
        raise CapbenchError(
            f"Expected each label once and none empty, got {wrong!r} again or empty.", file=path, line=row + 1
        )
    return names, row + 1


def _in_degrees(header: _Header, path: Path) -> bool | None:
    text = header.keys.get("indegrees")
    if text is None:
        return None
    if text.lower() not in ("yes", "no", "true", "false", "1", "0"):
        raise CapbenchError(f"Expected inDegrees=yes or inDegrees=no, got {text[:20]!r}.", file=path)
    return text.lower() in ("yes", "true", "1")


def _check_counts(header: _Header, rows: int, columns: int, path: Path, notes: list[str]) -> None:
    for keys, found, what in (
        (("nrows", "datarows"), rows, "rows"),
        (("ncolumns", "datacolumns"), columns, "columns"),
    ):
        declared = next((header.keys[k] for k in keys if k in header.keys), None)
        if declared is None or declared == str(found):
            continue
        if not declared.isascii() or not declared.isdigit() or len(declared) > 12:
            raise CapbenchError(f"Expected a number of {what}, got {declared[:20]!r}.", file=path)
        if what == "rows" and int(declared) > found:
            raise CapbenchError(
                f"Expected {declared} rows as its header says, got {found}: the file is cut short.",
                file=path,
                fix="fetch it again, or mend the header if the rest was left out on purpose",
            )
        notes.append(f"the header says {declared} {what}, the file has {found}")


def _to_radians(names: tuple[str, ...], values: FloatArray, notes: list[str]) -> FloatArray:
    """Rotations from degrees to radians; coupled coordinates only where they truly are in degrees."""
    radians = values.copy()
    kept = []
    for i, name in enumerate(names):
        if kind_by_name(name) == "translation":
            continue
        partner = names.index(name[:-5]) if name.endswith("_beta") and name[:-5] in names else None
        in_degrees = partner is not None and _same_angle(values[:, i], values[:, partner])
        if name.endswith("_beta") and not in_degrees:
            kept.append(name)
        else:
            radians[:, i] = np.radians(values[:, i])
    if kept:
        notes.append(f"{shorten(kept)} taken in radians although inDegrees=yes, as OpenSim writes them")
    return radians


def _same_angle(coupled: FloatArray, partner: FloatArray) -> bool:
    """Whether a coupled column equals its partner, which is in degrees."""
    largest = np.nanmax(np.abs(partner), initial=0)
    return bool(largest > 0.1 and np.nanmax(np.abs(coupled - partner), initial=0) < 0.01 * largest)


def write(
    path: Path,
    value: Motion | Signals,
    *,
    overwrite: bool = False,
    units: Literal["deg", "rad"] = "deg",
) -> None:
    """Write a Motion (in degrees, coupled coordinates in radians as OpenSim does) or Signals as they are."""
    if isinstance(value, Motion):
        title, degrees = "Coordinates", units == "deg"
        values = value.values.copy()
        if degrees:
            turns = [
                i
                for i, (name, kind) in enumerate(zip(value.names, value.kinds, strict=True))
                if kind == "rotation" and name not in value.coupled
            ]
            values[:, turns] = np.degrees(values[:, turns])
    else:
        title, degrees, values = f"signals {path.stem}", value.in_degrees, value.values
    names = [one_line(name, file=path) for name in value.names]
    lines = [
        one_line(title, file=path),
        "version=1",
        f"nRows={len(value)}",
        f"nColumns={1 + len(names)}",
        f"inDegrees={'yes' if degrees else 'no'}",
        "",
        "Units are S.I. units (second, meters, Newtons, ...)",
        "",
        "endheader",
        "\t".join(["time", *names]),
    ]
    for time, row in zip(value.time.tolist(), values.tolist(), strict=True):
        lines.append("\t".join(map(repr, [time, *row])))
    write_text(path, "\n".join(lines) + "\n", overwrite=overwrite)
