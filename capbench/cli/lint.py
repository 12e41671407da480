"""``capbench lint``: do the numbers in a published table fit together?"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from capbench.cli.common import count, echo_json, json_option, readable, wrapped
from cohorts.bounded import MB, read_lines
from cohorts.errors import CapbenchError, printable

if TYPE_CHECKING:
    from metrics.lint import Finding, Outcome

LIMIT = 4 * MB
COLUMNS = 1000

#: the line below the headings of a pipe table
_RULE = re.compile(r"\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?)?")
_PIPE = re.compile(r"(?<!\\)\|")


class Table(NamedTuple):
    """One table of a file: its rows, and the line each stands on."""

    rows: list[dict[str, str]]
    lines: list[int]


@click.command("lint")
@click.argument("file", metavar="TABLE", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check that the numbers of a table fit together.

    TABLE is a .csv or .tsv file, or a Markdown file with pipe tables. Columns are told by their names, such
    as "3DPW PA-MPJPE" or "B-NMVE"; a number counts as known to half its last digit. The exit code is 1 if
    something does not fit.
    """
    from metrics.lint import check

    tables = list(read(file))
    outcome = check([table.rows for table in tables])
    lines = [line for table in tables for line in table.lines]
    rows = [row for table in tables for row in table.rows]
    if as_json:
        echo_json(account(file, outcome, lines))
    else:
        click.echo(text(file, outcome, lines, rows))
    ctx.exit(1 if outcome.findings else 0)


def account(file: Path, outcome: Outcome, lines: list[int]) -> dict[str, object]:
    """The outcome in JSON's terms."""
    return {
        "file": str(file),
        "rows": outcome.rows,
        "checked": outcome.checked,
        "findings": [
            {
                "line": lines[finding.row],
                "row": finding.row + 1,
                "columns": finding.columns,
                "rule": finding.rule,
                "certain": finding.certain,
                "expected": finding.expected,
                "found": finding.found,
                "sentence": finding.sentence,
            }
            for finding in outcome.findings
        ],
    }


def text(file: Path, outcome: Outcome, lines: list[int], rows: list[dict[str, str]]) -> str:
    """The outcome in words, the findings below the rule that they break."""
    from metrics.lint import RULES

    found = outcome.findings
    told = [
        f"{readable(file)}: {count(len(found), 'finding') if found else 'nothing found'}; checked "
        f"{count(outcome.checked, 'relation')} in {count(outcome.rows, 'row')}"
    ]
    if rows and not any(_understood(name) for row in rows for name in row):
        told.append("  No column has a name that is known, such as MPJPE, PA-MPJPE, PVE, B-NMVE, AP50 or F1.")
    for rule, must in RULES.items():
        broken = [finding for finding in found if finding.rule == rule]
        if broken:
            told.append(wrapped(must + ("" if broken[0].certain else " Worth a look:"), "  ", "  "))
        told += [_line(finding, lines, rows) for finding in broken]
    return "\n".join(told)


def _understood(name: str) -> bool:
    from metrics.printed import read_column, split_name

    pieces = split_name(name, name.count("/") + 1)
    return any(read_column(piece).quantity or read_column(piece).mean for piece in pieces)


def _line(finding: Finding, lines: list[int], rows: list[dict[str, str]]) -> str:
    from metrics.printed import plain

    first = next(iter(rows[finding.row].values()))
    name = f", {plain(first)[:40]}" if re.search("[^\\W\\d_]", first) else ""
    return wrapped(printable(f"line {lines[finding.row]}{name}: {finding.sentence}"), "    ", "      ")


# --- reading -----------------------------------------------------------------------------------


def read(file: Path) -> Iterator[Table]:
    """The tables of a file: all pipe tables in it, or else the one of a CSV or TSV file."""
    lines = read_lines(file, LIMIT)
    piped = False
    below = 0  # a line of dashes inside a table is one of its rows
    for k in range(1, len(lines)):
        if k >= below and "|" in lines[k - 1] and "|" in lines[k] and _RULE.fullmatch(lines[k].strip()):
            table = _pipe_table(file, lines, k)
            below = k + 1 + len(table.rows)
            piped = True
            yield table
    if not piped and file.suffix.lower() in (".md", ".markdown"):
        raise CapbenchError(
            "Expected a pipe table, such as '| Method | MPJPE |' over '|---|---|'.", file=file
        )
    if not piped:
        yield _csv_table(file, lines)


def _pipe_table(file: Path, lines: list[str], rule: int) -> Table:
    heads = _headings(file, _cells(lines[rule - 1]), rule)
    table = Table([], [])
    for k in range(rule + 1, len(lines)):
        if "|" not in lines[k]:
            break
        cells = _cells(lines[k])
        cells += [""] * (len(heads) - len(cells))
        table.rows.append(dict(zip(heads, cells, strict=False)))
        table.lines.append(k + 1)
    return table


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    cells = [cell.strip() for cell in _PIPE.split(line)]
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def _csv_table(file: Path, lines: list[str]) -> Table:
    separator = max("\t;,", key=next(filter(str.strip, lines), "").count)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    heads: list[str] = []
    table = Table([], [])
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not heads:
                heads = _headings(file, cells, reader.line_num)
                continue
            if len(cells) != len(heads):
                raise CapbenchError(
                    f"Expected {count(len(heads), 'cell')} as in the headings, got {len(cells)}.",
                    file=file,
                    line=reader.line_num,
                    fix='"…" around texts that hold the separator',
                )
            table.rows.append(dict(zip(heads, cells, strict=True)))
            table.lines.append(reader.line_num)
    except csv.Error as error:
        raise CapbenchError(f"Expected CSV, got: {error}.", file=file, line=reader.line_num) from None
    if not table.rows:
        raise CapbenchError("Expected a line of headings and rows below it.", file=file)
    return table


def _headings(file: Path, cells: list[str], line: int) -> list[str]:
    """The names of the columns; one that stands there again gets a number, for it is of something else."""
    if len(cells) > COLUMNS:
        raise CapbenchError(f"Expected at most {COLUMNS} columns, got {len(cells)}.", file=file, line=line)
    times: Counter[str] = Counter()
    names: dict[str, None] = {}
    for cell in cells:
        name = bare = cell.strip()
        while name in names:
            times[bare] += 1
            name = f"{bare} ({times[bare] + 1})"
        names[name] = None
    return list(names)
