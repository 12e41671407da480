"""Rows of numbers in text files: the part that TRC, MOT, STO and CSV have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

#: what OpenSim and C runtimes print for a number that is none
_NOT_NUMBERS = {"", "nan", "-nan", "+nan", "nan(ind)", "-nan(ind)", "1.#qnan", "-1.#ind", "1.#ind", "null"}


def parse_rows(
    lines: list[str],
    first: int,
    width: int,
    path: Path,
    *,
    separator: str | None = None,
    what: str = "numbers",
    required: int = 1,
) -> FloatArray:
    """(rows, width) numbers from ``lines[first:]``; blank lines are passed over, missing ones are NaN.

    ``separator`` None means: tabs where the line has any, white space elsewhere. The first ``required``
    cells of a row must be there; later ones may be empty where tabs or a separator show the gap.
    """
    rows = [
        _row(cells, width, path, number, gaps, what, required)
        for number, cells, gaps in _cells(lines, first, separator)
    ]
    return np.array(rows).reshape(-1, width)


def _cells(lines: list[str], first: int, separator: str | None) -> Iterator[tuple[int, list[str], bool]]:
    for number, line in enumerate(lines[first:], start=first + 1):
        if line.strip():
            cut = separator or ("\t" if "\t" in line else None)
            yield number, line.split(cut), cut is not None


def _row(
    cells: list[str], width: int, path: Path, number: int, gaps: bool, what: str, required: int
) -> FloatArray:
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
    if gaps and required <= len(cells) < width:
        cells += [""] * (width - len(cells)) if _may_end_early(cells, width) else []
    if len(cells) != width:
        raise CapbenchError(f"Expected {width} {what}, got {len(cells)}.", file=path, line=number)
    try:
        row = np.array(list(map(float, cells)))
        plain = not any("_" in cell for cell in cells)  # Python reads 1_000 as a number; files don't
    except ValueError:
        plain = False
    if not plain:
        row = np.array([_number(cell, path, number) for cell in cells])
    if not np.isfinite(row).all():
        if np.isinf(row).any():
            raise CapbenchError("Expected finite numbers, got infinity.", file=path, line=number)
        if np.isnan(row[:required]).any():
            raise CapbenchError(
                f"Expected a number in each of the first {required} columns, got none.",
                file=path,
                line=number,
            )
    return row


def _may_end_early(cells: list[str], width: int) -> bool:
    """Editors strip trailing tabs of missing last markers; a line cut inside its numbers is a fault."""
    return (width - len(cells)) % 3 == 0 and len(cells) > 2


def _number(cell: str, path: Path, line: int) -> float:
    text = cell.strip()
    if text.lower() in _NOT_NUMBERS:
        return float("nan")
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise CapbenchError(f"Expected a number, got {text[:40]!r}.", file=path, line=line) from None
