"""CSV: a table with units in its headings (:mod:`cohorts.formats.table_columns`)."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

from cohorts.bounded import one_line, read_lines, write_text
from cohorts.errors import CapbenchError
from cohorts.formats.table_columns import from_columns, to_columns
from cohorts.formats.text_rows import parse_rows
from cohorts.recording import Markers, Motion, Signals


def read(
    path: Path, *, notes: list[str] | None = None, units: Literal["deg", "rad"] | None = None
) -> Motion | Signals | Markers:
    """The motion (radians, metres), markers (metres) or signals of a .csv file; empty cells are missing.

    ``units`` reads a table without units in its headings as a motion whose angles are so measured.
    """
    notes = [] if notes is None else notes
    lines = read_lines(path)
    separator = ";" if lines[0].count(";") > lines[0].count(",") else ","
    try:
        heads = next(csv.reader([lines[0]], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise CapbenchError(f"Expected CSV headings, got: {error}.", file=path, line=1) from None
    if len(heads) < 2:
        raise CapbenchError(
            f"Expected headings 'time [s]', 'name [unit]' …, got {lines[0][:60]!r}.", file=path, line=1
        )
    table = parse_rows(lines, 1, len(heads), path, separator=separator, what="cells")
    return from_columns(heads, table, path, notes, units)


def write(
    path: Path,
    value: Motion | Signals | Markers,
    *,
    overwrite: bool = False,
    units: Literal["deg", "rad"] = "deg",
) -> None:
    """Write a motion (angles in degrees unless ``units="rad"``), markers or signals; NaN becomes empty."""
    heads, table = to_columns(value, path, units)
    for head in heads:
        one_line(head, file=path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([["" if v != v else repr(v) for v in row] for row in table.tolist()])
    write_text(path, text.getvalue(), overwrite=overwrite)
