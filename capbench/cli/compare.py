"""``capbench compare``: which of several evaluated models is better, if any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from capbench.cli.common import count, echo_json, force_option, json_option, readable, wrapped
from capbench.cli.result_text import NAME, columns, cut, told

if TYPE_CHECKING:
    from capbench.run.compare import Compared, Difference

FEW = 6  #: rows of a table unless all are asked for


@click.command("compare")
@click.argument("results", nargs=-1, required=True, metavar="A B …", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with pictures.")
@click.option("--all", "every", is_flag=True, help="Print every row of the tables.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the resampling.")
@json_option
@force_option
def command(
    results: tuple[Path, ...], html: Path | None, every: bool, seed: int, as_json: bool, force: bool
) -> None:
    """Compare evaluations: which model is better, if any.

    A, B, … are folders of runs or their result.json, of the same trials of one cohort by one protocol.
    Differences are taken within people, with 95 % intervals over people, sign-flip tests and Holm's
    correction for as many comparisons as each table holds. Where nothing is shown, it says so.

    \b
    capbench compare runs/hrnet runs/vitpose
    capbench compare runs/* --html compare.html
    """
    from capbench.report.versus import versus, write_page
    from capbench.run.compare import compare
    from capbench.run.result import read_result
    from cohorts.bounded import check_new

    if html is not None:
        check_new(html, overwrite=force)
    found = compare([read_result(path) for path in results], names=[str(path) for path in results], seed=seed)
    if html is not None:
        write_page(html, versus(found))
    if as_json:
        echo_json(found)
    else:
        click.echo(text(found, every=every))
        if html is not None:
            click.echo(f"\n  page  {readable(html)}")


def text(found: Compared, *, every: bool = False) -> str:
    """A comparison in words and tables."""
    from capbench.report.words import conclusion

    people, trials = count(len(found.people), "person", "people"), count(found.trials, "trial")
    parts = [f"{cut(found.cohort, NAME)}, protocol {cut(found.protocol, NAME)}: {people}, {trials}"]
    warnings = [f"{e.letter}: {mark}" for e in found.entrants for mark in e.marks] + list(found.warnings)
    if warnings:
        parts.append("\n".join(told(said, "  ! ", "    ") for said in warnings))
    parts.append(_models(found))
    parts.append("\n".join(wrapped(conclusion(gap, found.least_people), "  ", "    ") for gap in found.pairs))
    parts.append(_gaps("pair", found.pairs, every=True))
    parts.append(_gaps("coordinate", found.coordinates, every=every))
    parts.append(_gaps("activity", found.activities, every=every))
    return "\n\n".join(part for part in parts if part)


def _models(found: Compared) -> str:
    from capbench.report.words import percent, quantity, span

    rows = [
        (
            f"{e.letter}  {cut(e.label, NAME)}",
            quantity(e.value, found.unit),
            span(e.low, e.high, found.unit),
            f"{e.rank:g}",
            percent(100 * e.first),
            percent(e.coverage),
        )
        for e in found.entrants
    ]
    return columns(("model", "error", "95 % CI", "rank", "first in", "coverage"), rows)


def _gaps(what: str, gaps: Sequence[Difference], *, every: bool) -> str:
    """Differences as a table: those that are shown first, then the largest; degrees before millimetres."""
    from capbench.report.words import chance, quantity, span

    order = {"shown": 0, "below the noise floor": 1}

    def place(gap: Difference) -> tuple[object, ...]:
        return (gap.unit != "°", order.get(gap.verdict, 2), -abs(gap.difference), gap.name, gap.a, gap.b)

    if not gaps:
        return ""
    several = len({(gap.a, gap.b) for gap in gaps}) > 1 or what == "pair"
    rows = [
        (
            "  ".join(
                ([f"{g.a} − {g.b}"] if several else []) + ([cut(g.name, NAME)] if what != "pair" else [])
            ),
            quantity(g.difference, g.unit, sign=True),
            span(g.low, g.high, g.unit, sign=True),
            chance(g.p),
            chance(g.p_holm),
            f"{g.a_better}:{g.b_better}",
            _verdict(g),
        )
        for g in (gaps if every else sorted(gaps, key=place)[:FEW])
    ]
    left = len(gaps) - len(rows)
    shown = columns((what, "first − second", "95 % CI", "p", "Holm", "better for", "says"), rows)
    return shown + (f"\n  and {left} more (--all)" if left else "")


def _verdict(gap: Difference) -> str:
    if gap.verdict != "shown":
        return gap.verdict
    return f"{gap.a if gap.difference < 0 else gap.b} better"
