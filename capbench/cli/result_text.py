"""The result of an evaluation as text: what a person reads in ten seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capbench.cli.common import WIDTH, facts, readable, table
from cohorts.errors import printable

if TYPE_CHECKING:
    from capbench.run.result import Result, Score

WORST, ACTIVITIES, KINDS, REASONS, STAGES, BESIDE = 5, 8, 6, 6, 12, 8  #: of each at most
NAME = 40  #: characters of a name


def result_table(
    result: Result, timing: Mapping[str, Any] | None = None, *, folder: Path | None = None
) -> str:
    """``result`` as plain text of at most 100 columns.

    Parameters
    ----------
    timing : what ``timing.json`` holds, or None
    folder : of the run, to say where its report and result are
    """
    from capbench.report.words import title

    parts = [
        cut(f"{title(result)}, protocol {result.protocol.name}", WIDTH),
        _told(result),
        headline(result),
        _scores("worst coordinates", result.coordinates, WORST),
        _scores("activities", result.activities, ACTIVITIES, trials=True),
        _beside(result),
        _failures(result),
        facts(_speed(timing) + _files(folder)),
    ]
    return "\n\n".join(part for part in parts if part)


def cut(value: object, most: int) -> str:
    """``value`` on one line without control characters, with "…" where it is too long."""
    text = printable(str(value)[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def columns(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose first column is of names, the others of numbers and what goes with them, to the right."""
    cells = [[printable(cell) for cell in row] for row in (heads, *rows)]
    for k in range(1, len(heads)):
        width = max(len(row[k]) for row in cells)
        if any(row[k] for row in cells[1:]):
            for row in cells:
                row[k] = row[k].rjust(width)
    return table(cells[0], cells[1:], indent="  ")


def told(value: object, first: str, then: str, most: int = 400) -> str:
    """A text from outside in lines of at most 100 columns, whatever is in it."""
    return textwrap.fill(
        cut(value, most), WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    )


def _told(result: Result) -> str:
    """What must be known before a number is read."""
    reasons = [f"PARTIAL: {reason}" for reason in result.partial[:REASONS]] + list(result.marks[:REASONS])
    return "\n".join(told(reason, "  ! ", "    ") for reason in reasons)


def headline(result: Result) -> str:
    """The number that ranks, and what it is to be held against."""
    from capbench.report.words import interval, number, percent, quantity

    score = result.overall
    spread = interval(score)
    said = f"(95 % CI {spread})" if spread else "(no interval: it takes more than one person)"
    rows = [("joint-angle error", quantity(score.value, score.unit), f"{said}; lower is better")]
    rows.append(("noise floor", quantity(score.noise_floor, score.unit),
                 "how well the truth is known; a smaller difference means nothing"))  # fmt: skip
    rows.append(("null model", quantity(score.null, score.unit),
                 f"always the mean pose; skill {number(score.skill)} (1 perfect, 0 as null)"))  # fmt: skip
    rows.append(("coverage", percent(score.coverage),
                 f"of samples answered; {result.answered:,} of {result.trials:,} trials, "
                 f"{result.subjects:,} {'person' if result.subjects == 1 else 'people'}"))  # fmt: skip
    width = max(len(value) for _, value, _ in rows)
    names = max(len(name) for name, _, _ in rows)
    return "\n".join(f"  {name.ljust(names)}  {value.rjust(width)}  {more}" for name, value, more in rows)


def _scores(head: str, scores: Sequence[Score], most: int, *, trials: bool = False) -> str:
    """The worst of ``scores``; degrees before other units."""
    from capbench.report.words import by_unit, interval, number, percent, quantity, worst_first

    if not scores:
        return ""
    unit, group = next(iter(by_unit(scores).items()))
    ranked = worst_first(group)
    rows = [
        (
            cut(s.name, NAME),
            cut(quantity(s.value, unit), 20),
            interval(s),
            number(s.noise_floor, unit) if s.noise_floor is not None else "",
            number(s.null, unit) if s.null is not None else "",
            percent(s.coverage),
            s.trials if trials else "",
        )
        for s in ranked[:most]
    ]
    left = len(ranked) - len(rows)
    heads = (head, "error", "95 % CI", "floor", "null", "coverage", "trials")
    more = f"\n  and {left} more, less bad" if left > 0 else ""
    return columns(heads, rows) + more


def _beside(result: Result) -> str:
    from capbench.report.words import interval, percent, quantity

    rows = [
        (cut(b.name, NAME), cut(quantity(b.value, b.unit), 20), interval(b), f"{b.direction} is better",
         "" if b.coverage is None else percent(b.coverage))
        for b in result.beside[:BESIDE]
    ]  # fmt: skip
    return (
        table(("beside (ranks nothing)", "value", "95 % CI", "", "coverage"), rows, indent="  ")
        if rows
        else ""
    )


def _failures(result: Result) -> str:
    from capbench.report.words import failures_by_kind

    kinds = failures_by_kind(result.failures)
    if not kinds:
        return ""
    total = len(result.failures)
    lines = [f"  {total:,} failure{'s' if total != 1 else ''}, charged, never left out:"]
    for kind in kinds[:KINDS]:
        said = f"{kind.count:,} x {cut(kind.kind, NAME)} ({kind.fault}), first {cut(kind.first, 160)}"
        lines.append(told(said, "    ", "      "))
    left = len(kinds) - KINDS
    return "\n".join([*lines, *([f"    and {left} more kinds"] if left > 0 else [])])


def _speed(timing: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    from capbench.report.words import rate, seconds, speed_of

    speed = speed_of(timing)
    said = []
    if speed.rate is not None:
        said.append(rate(speed.rate))
    if speed.frames is not None:
        said.append(f"{speed.frames:,} frames")
    rows = [("speed", ", ".join(said))] if said else []
    if speed.stages:
        rows.append(
            ("stages", ", ".join(f"{cut(name, NAME)} {seconds(s)}" for name, s in speed.stages[:STAGES]))
        )
    return rows


def _files(folder: Path | None) -> list[tuple[str, str]]:
    from capbench.run.result import FILE_NAME, REPORT_NAME

    if folder is None:
        return []
    return [("report", readable(folder / REPORT_NAME)), ("result", readable(folder / FILE_NAME))]
