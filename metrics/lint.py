"""What a table of published numbers must satisfy, whatever the method: relations between its numbers.

A number printed with d decimals is known to ±½·10⁻ᵈ, and all arithmetic is exact, so rounding alone never
makes a finding. A finding is *certain* where no unrounded numbers fit what is printed, given what the columns
are called (``CERTAIN``); the others are odd enough to be looked at.

>>> [finding.sentence for finding in lint([{"Method": "A", "AP": "71.8", "AP50": "69.8"}])]
['AP 71.8 is above AP50 69.8.']
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from metrics.printed import (
    LENGTHS,
    MISSING,
    PARTS,
    Column,
    Printed,
    Span,
    is_error,
    is_share,
    plain,
    read_cell,
)

#: what must hold, by the name of the rule
RULES: Mapping[str, str] = {
    "range": "Errors are not negative, and shares lie within 0 and 100.",
    "threshold": "AP and AR fall as more overlap is asked for, and rise with the distance allowed.",
    "average AP": "As the mean over .50, .55, … .95, AP is from (AP50 + 5·AP75)/10 to (AP50 + AP75)/2.",
    "F1": "NMVE·F1 = MVE and NMJE·F1 = MPJPE, with one F1 up to 1 for all parts of the body (AGORA).",
    "full body": "FB = B + (LH + RH + F)/3 (AGORA).",
    "alignment": "An error after more alignment is not larger.",
    "mean": "A mean is that of the columns before it, unless it is weighted.",
    "unit": "There are no metres among millimetres, nor the reverse.",
    "decimals": "A column has one number of decimals.",
    "duplicate": "Different rows have different numbers.",
}
#: not so "alignment": Procrustes minimises *squared* distances, so that a mean distance can rise where one
#: point carries the error, though hardly over a test set
CERTAIN = frozenset(["range", "threshold", "average AP", "F1", "full body"])

PROPER = Span(Fraction(0), Fraction(1))  #: what F1 can be
AGORA_DECIMALS = 2  #: AGORA's own tool rounds precision, recall and F1 to these before it divides
#: … so that the F1 divided by may be this far from one printed finer: a whole unit for what rounding
#: precision and recall can do to it, and half a unit for rounding itself
AGORA_SLACK = Fraction(15, 1000)
DIGITS = 3  #: significant digits of a number that tells; fewer are often equal by chance
TELLING = 3  #: such numbers that rows must have in common to be duplicates
SMALL, LARGE = 1, 10  #: mean errors in mm are not below the one, errors in m not above the other
#: columns with these words are no parts of a mean
NOT_SCORES = frozenset(
    ["params", "param", "flops", "gflops", "macs", "fps", "year", "epoch", "epochs", "frames", "size", "time"]
)


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit.

    >>> lint([{"MPJPE": "-3.0"}])[0].rule
    'range'

    Attributes
    ----------
    row : which row, counted from 0
    columns : the names of the columns involved, the one most likely to be wrong first
    rule : its name in ``RULES``
    expected, found : what would fit, and what is printed
    sentence : both in words
    """

    row: int
    columns: tuple[str, ...]
    rule: str
    expected: str
    found: str
    sentence: str

    @property
    def certain(self) -> bool:
        """Whether no unrounded numbers fit, as the columns are called."""
        return self.rule in CERTAIN


class Outcome(NamedTuple):
    """What ``check`` found.

    Attributes
    ----------
    findings : by row
    checked : how many relations were put to the test
    rows : how many rows there are
    """

    findings: list[Finding]
    checked: int
    rows: int


Key = tuple[str, str, str]  #: group, quantity, part of a column
Judged = tuple[int, Finding | None]  #: the row of a relation that was tested; None where it holds


class Cell(NamedTuple):
    """A number and the column it stands in."""

    column: Column
    number: Printed

    def __str__(self) -> str:
        return f"{plain(self.column.name)} {self.number.text}"

    @property
    def key(self) -> Key:
        """What it is, to find it by."""
        return self.column.group, self.column.quantity, self.column.part

    @property
    def span(self) -> Span:
        """Where the number was before it was rounded."""
        return self.number.span

    @property
    def unit(self) -> str:
        """As printed behind the number, or in the name of the column; or ""."""
        return self.number.unit or self.column.unit


@dataclass(frozen=True)
class _Row:
    index: int
    stretches: list[list[Cell | None]]  # neighbours in the table, None where missing; text parts stretches
    names: tuple[str, ...]  # the text: the method, the data set
    numbers: tuple[tuple[str, str], ...]  # the cells with numbers: their columns and texts
    cells: list[Cell]
    keyed: dict[Key, Cell]  # columns that say the same can't be told apart, and are left out

    def holds(self) -> Judged:
        return self.index, None

    def broken(
        self,
        rule: str,
        cells: Sequence[Cell],
        expected: str,
        sentence: str,
        *,
        found: str = "",
    ) -> Judged:
        columns = tuple(cell.column.name for cell in cells)
        found = found or cells[0].number.text
        return self.index, Finding(self.index, columns, rule, expected, found, sentence)


def _of_one_unit(*cells: Cell) -> bool:
    return len({cell.unit for cell in cells} - {""}) <= 1


def lint(rows: Sequence[Mapping[str, str]]) -> list[Finding]:
    """What does not fit in a table: each row a mapping of column names to the text of the cells, in order.

    Columns are told by their names, tolerantly (``metrics.printed.read_column``), and held against one
    another where the rest of the name is the same ("3DPW MPJPE" against "3DPW PA-MPJPE"). What is not
    understood is not judged.

    >>> lint([{"Method": "HMR", "3DPW MPJPE": "130.0", "3DPW PA-MPJPE": "81.3"}])
    []
    """
    return check([rows]).findings


def check(tables: Sequence[Sequence[Mapping[str, str]]]) -> Outcome:
    """As ``lint``, for several tables whose rows are numbered through; says also how much was tested.

    >>> check([[{"Method": "HMR", "AP": "70.1", "AP50": "89.2"}]])
    Outcome(findings=[], checked=4, rows=1)
    """
    judged: list[Judged] = []
    every: list[_Row] = []
    for table in tables:
        rows = [_read(len(every) + k, row) for k, row in enumerate(table)]
        every += rows
        for row in rows:
            for rule in (_range, _thresholds, _normalised, _full_body, _alignment, _means):
                judged += rule(row)
        judged += [*_units(rows), *_decimals(rows)]
    judged += _duplicates(every)
    findings = [finding for _, finding in judged if finding is not None]
    return Outcome(sorted(findings, key=lambda finding: finding.row), len(judged), len(every))


def _read(index: int, row: Mapping[str, str]) -> _Row:
    stretches: list[list[Cell | None]] = [[]]
    names, numbers = [], []
    for name, text in row.items():
        cells = [Cell(*found) for found in read_cell(name, text)]
        if cells:
            numbers.append((name, plain(text)))
            stretches[-1] += cells
        elif plain(text).lower() in MISSING:
            stretches[-1].append(None)
        else:
            names.append(text.strip())
            stretches.append([])
    found = [cell for stretch in stretches for cell in stretch if cell is not None]
    often = Counter(cell.key for cell in found)
    keyed = {cell.key: cell for cell in found if often[cell.key] == 1}
    return _Row(index, stretches, tuple(names), tuple(numbers), found, keyed)


# ------------------------------------------------------------------------------------------ within a row
def _range(row: _Row) -> Iterator[Judged]:
    for cell in row.cells:
        share, error = is_share(cell.column.quantity), is_error(cell.column.quantity)
        if not (share or error):
            continue
        if cell.span.high < 0:
            yield row.broken("range", [cell], "0 or more", f"{cell} is negative.")
        elif share and cell.span.low > 100:
            yield row.broken("range", [cell], "0 to 100", f"{cell} is above 100 %.")
        else:
            yield row.holds()


def _thresholds(row: _Row) -> Iterator[Judged]:
    levels: dict[tuple[str, str], dict[int, Cell]] = {}  # 0: the average over all thresholds
    for (group, quantity, _), cell in row.keyed.items():
        if quantity[:2] in ("AP", "AR"):
            levels.setdefault((group, quantity[:2]), {})[int(quantity[2:] or 0)] = cell
    for found in levels.values():
        at = sorted(found.keys() - {0})
        if not at:
            continue
        if at[-1] >= 100 or any(cell.column.unit == "mm" for cell in found.values()):
            pairs = [(found[high], found[low]) for low, high in pairwise(at)]
        elif 0 in found and at[0] >= 50:
            pairs = [(found[low], found[high]) for low, high in pairwise(at)]
            if {50, 75} <= found.keys():
                yield _between(row, found[0], found[50], found[75])
            elif 50 in found:
                pairs.append((found[50], found[0]))
        else:
            continue  # AP50 alone may ask for half an overlap or allow 50 mm
        for above, below in pairs:
            if below.span.low > above.span.high:
                says = f"{below} is above {above}."
                yield row.broken("threshold", [below, above], f"{above.number.text} or less", says)
            else:
                yield row.holds()


def _between(row: _Row, average: Cell, at50: Cell, at75: Cell) -> Judged:
    """Of the ten thresholds five reach at most AP50 and five at most AP75; five reach AP75, one AP50."""
    low = (at50.span.low + 5 * at75.span.low) / 10
    allowed = Span(low, (at50.span.high + at75.span.high) / 2)
    if average.span.common(allowed):
        return row.holds()
    expected = allowed.text(average.number.decimals + 1)
    says = f"{average} is no mean over thresholds from .50 to .95: {at50} and {at75} bound it to {expected}."
    return row.broken("average AP", [average, at50, at75], expected, says)


class _Ratio(NamedTuple):
    """What F1 is by one column, or by two: an error and the same over F1."""

    cells: tuple[Cell, ...]
    span: Span


def _ratios(keyed: Mapping[Key, Cell], group: str) -> Iterator[_Ratio]:
    for quantity, plain_one in (("NMVE", "PVE"), ("NMJE", "MPJPE")):
        for part in PARTS:
            cell, error = keyed.get((group, quantity, part)), keyed.get((group, plain_one, part))
            if cell is None or error is None or not _of_one_unit(cell, error):
                continue
            if min(cell.span.low, error.span.low) > 0:
                yield _Ratio((cell, error), error.span.over(cell.span))
    printed = keyed.get((group, "F1", ""))
    if printed is not None and printed.number.value > 0:
        percent = printed.number.value > 1
        span = printed.span.times(Fraction(1, 100)) if percent else printed.span
        if printed.number.decimals + 2 * percent > AGORA_DECIMALS:
            span = Span(span.low - AGORA_SLACK, span.high + AGORA_SLACK)
        yield _Ratio((printed,), span)


def _common(ratios: Sequence[_Ratio]) -> Span | None:
    """What F1 can be by all ``ratios``; None where they contradict each other."""
    common: Span | None = PROPER
    for ratio in ratios:
        common = common and common.common(ratio.span)
    return common


def _normalised(row: _Row) -> Iterator[Judged]:
    keyed = row.keyed
    for group in dict.fromkeys(group for group, _, _ in keyed):
        ratios = list(_ratios(keyed, group))
        if all(len(ratio.cells) == 1 for ratio in ratios):
            continue  # an F1 alone, or nothing
        if _common(ratios):
            yield from (row.holds() for _ in ratios)
            continue
        rests = [_common([*ratios[:k], *ratios[k + 1 :]]) for k in range(len(ratios))]
        odd = [k for k, rest in enumerate(rests) if rest]
        yield from (row.holds() for _ in ratios[1:])
        yield _no_f1(row, ratios, rests, odd)


def _no_f1(row: _Row, ratios: Sequence[_Ratio], rests: Sequence[Span | None], odd: Sequence[int]) -> Judged:
    """The finding where no F1 fits all columns; ``odd`` are those without which one does."""
    cells = [cell for ratio in ratios for cell in ratio.cells]
    rest = rests[odd[0]] if len(odd) == 1 else None
    if rest is None:
        says = "; ".join(f"by {' and '.join(map(str, r.cells))} it is {r.span.text(4)}" for r in ratios)
        return row.broken("F1", cells, "one F1 for all", f"No F1 up to 1 fits all columns: {says}.")
    cells = list(ratios[odd[0]].cells)
    others = (
        f"the F1 of {rest.text(4)} that the other columns have" if len(ratios) > 1 else "an F1 of at most 1"
    )
    if len(cells) == 1:
        return row.broken("F1", cells, rest.text(4), f"{cells[0]} is not {others}.")
    least = cells[1].span.low / rest.high
    decimals = cells[0].number.decimals + 1
    expected = (
        cells[1].span.over(rest).text(decimals) if rest.low > 0 else f"{float(least):.{decimals}f} or more"
    )
    return row.broken("F1", cells, expected, f"{cells[0]} should be {expected}: {cells[1]} over {others}.")


def _full_body(row: _Row) -> Iterator[Judged]:
    keyed = row.keyed
    for (group, quantity, part), whole in keyed.items():
        parts = [keyed.get((group, quantity, name)) for name in ("B", "LH", "RH", "F")]
        cells = [cell for cell in parts if cell is not None]
        if part != "FB" or len(cells) < 4 or not _of_one_unit(whole, *cells):
            continue
        body, left, right, face = (cell.span for cell in cells)
        total = body.plus(left.plus(right).plus(face).times(Fraction(1, 3)))
        if total.common(whole.span):
            yield row.holds()
            continue
        expected = total.text(whole.number.decimals + 1)
        says = f"{whole} is not B + (LH + RH + F)/3, which is {expected}."
        yield row.broken("full body", [whole, *cells], expected, says)


def _alignment(row: _Row) -> Iterator[Judged]:
    keyed = row.keyed
    for aligned, plainer in (
        ("PA-MPJPE", "MPJPE"),
        ("PA-MPJPE", "N-MPJPE"),
        ("N-MPJPE", "MPJPE"),
        ("PA-PVE", "PVE"),
    ):
        for (group, quantity, part), cell in keyed.items():
            other = keyed.get((group, plainer, part))
            if quantity != aligned or other is None or not _of_one_unit(cell, other):
                continue
            if cell.span.low > other.span.high:
                says = f"{cell} is above {other}, which is aligned less: swapped?"
                expected = f"{other.number.text} or less"
                yield row.broken("alignment", [cell, other], expected, says)
            else:
                yield row.holds()


def _means(row: _Row) -> Iterator[Judged]:
    for stretch in row.stretches:
        for place, cell in enumerate(stretch):
            if cell is None or not cell.column.mean:
                continue
            parts = _parts(stretch[:place])
            if len(parts) < 2 or len({parts[0].column.quantity, cell.column.quantity, ""}) > 2:
                continue
            if not _of_one_unit(cell, *parts):
                continue
            total = parts[0].span
            for part in parts[1:]:
                total = total.plus(part.span)
            mean = total.times(Fraction(1, len(parts)))
            if mean.common(cell.span):
                yield row.holds()
                continue
            expected = mean.text(cell.number.decimals + 1)
            says = f"{cell} is not the mean of the {len(parts)} columns before it, {expected}; weighted?"
            yield row.broken("mean", [cell, *parts], expected, says)


def _parts(before: Sequence[Cell | None]) -> list[Cell]:
    """The columns next to a mean that it may be of: all of one quantity; none where one is missing."""
    parts: list[Cell] = []
    for cell in reversed(before):
        if cell is None:
            return []
        words = set(re.findall(r"[a-z]+", plain(cell.column.name).lower()))
        other = parts and parts[0].column.quantity != cell.column.quantity
        if other or cell.column.mean or words & NOT_SCORES:
            break
        parts.append(cell)
    return parts[::-1]


# ------------------------------------------------------------------------------------------ down a table
def _columns(rows: Sequence[_Row]) -> Iterator[list[tuple[_Row, Cell]]]:
    found: dict[str, list[tuple[_Row, Cell]]] = {}
    for row in rows:
        for cell in row.cells:
            found.setdefault(cell.column.name, []).append((row, cell))
    yield from found.values()


def _units(rows: Sequence[_Row]) -> Iterator[Judged]:
    for column in _columns(rows):
        if column[0][1].column.quantity not in LENGTHS:
            continue
        usual = median(cell.number.value for _, cell in column)
        for row, cell in column:
            value, unit = cell.number.value, cell.unit
            if 0 < value < SMALL and (unit == "mm" or (not unit and usual >= LARGE)):
                says = f"{cell} is in m, not mm?"
                yield row.broken("unit", [cell], f"{SMALL} mm or more", says)
            elif value >= LARGE and (unit == "m" or (not unit and usual < SMALL)):
                says = f"{cell} is in mm, not m?"
                yield row.broken("unit", [cell], f"less than {LARGE} m", says)
            else:
                yield row.holds()


def _decimals(rows: Sequence[_Row]) -> Iterator[Judged]:
    for column in _columns(rows):
        if not (column[0][1].column.quantity or column[0][1].column.mean):
            continue
        counts = Counter(cell.number.decimals for _, cell in column)
        usual, often = counts.most_common(1)[0]
        if often < 2 or 2 * often <= len(column):
            continue
        for row, cell in column:
            if cell.number.decimals == usual:
                yield row.holds()
                continue
            says = f"{cell} has {_decimal(cell.number.decimals)} where the column has {usual}."
            yield row.broken("decimals", [cell], _decimal(usual), says)


def _decimal(count: int) -> str:
    return f"{count} decimal" if count == 1 else f"{count} decimals"


def _duplicates(rows: Sequence[_Row]) -> Iterator[Judged]:
    first: dict[tuple[tuple[str, str], ...], _Row] = {}
    twins: dict[int, int] = {}  # a row, and the first that has its numbers under other names
    for row in rows:
        twin = first.setdefault(row.numbers, row)
        if row.numbers and twin.names != row.names:
            twins[row.index] = twin.index
    for row in rows:
        of = twins.get(row.index)
        if of is None:
            yield from [row.holds()] if row.numbers else []
        elif twins.get(row.index - 1) != of - 1:  # else it is told with the row before
            block = [row]
            while twins.get(row.index + len(block)) == of + len(block):
                block.append(rows[row.index + len(block)])
            yield _same(block, rows[of])


def _same(block: Sequence[_Row], twin: _Row) -> Judged:
    """Whether it is no chance that rows have the numbers of those from ``twin`` on."""
    row = block[0]
    if sum(_tells(cell.number) for one in block for cell in one.cells) < TELLING:
        return row.holds()
    of = plain(twin.names[0]) if twin.names else "a row without a name"
    if len(block) == 1:
        says = f"The numbers are those of {of}, under another name."
    else:
        says = f"The numbers of {len(block)} rows from here on are those of {of} and the rows after it."
    found = f"the numbers of {of}"
    return row.broken("duplicate", row.cells, "numbers of its own", says, found=found)


def _tells(number: Printed) -> bool:
    return len(number.text.lstrip("+-").replace(".", "").lstrip("0")) >= DIGITS
