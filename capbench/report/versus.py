"""The page of ``capbench compare``: who is better, by how much, how sure, and for whom."""

from __future__ import annotations

from collections.abc import Sequence

from capbench.report.figures import Mark, Scale, axis, bar, legend, scale_of, shape, strip
from capbench.report.markup import Safe, el, join, named, text
from capbench.report.page import (
    UNITS,
    Limits,
    banner,
    fitting,
    left_out,
    n,
    nh,
    page,
    pic,
    row,
    section,
    table,
    write_page,
)
from capbench.report.words import (
    GLOSSARY,
    chance,
    conclusion,
    difference,
    drawable,
    number,
    percent,
    quantity,
    span,
    spoken,
)
from capbench.run.compare import Compared, Difference, Entrant, least_people

__all__ = ["versus", "write_page"]

PAIRS = 6  #: whose people the page shows
#: shape and colour of each entrant, told apart by both
LOOKS = [(kind, f"c{k % 6}") for k, kind in enumerate(("dot", "diamond", "square") * 4, start=1)]
WORDS = ("joint-angle error", "noise floor", "95 % CI", "coverage")


def versus(found: Compared) -> str:
    """The page's text: the same bytes for the same comparison."""
    return fitting(lambda most: _versus(found, most))


def _versus(found: Compared, most: Limits) -> str:
    marks = [f"{e.letter}: {mark}" for e in found.entrants for mark in e.marks]
    people = (
        f"{len(found.people):,} {'person' if len(found.people) == 1 else 'people'}, {found.trials:,} trials"
    )
    return page(
        f"{' · '.join(e.label for e in found.entrants)} on {found.cohort}",
        el("h1", "Which model is better on ", named(found.cohort), "?"),
        el("p", f"{people}, protocol ", named(found.protocol), class_="sub"),
        banner("To be known before reading on", [*marks, *found.warnings]),
        _ranks(found),
        el(
            "div",
            *[el("p", conclusion(gap, found.least_people)) for gap in found.pairs[: most.columns]],
            class_="hero",
        ),
        _pairs(found),
        _people(found, most),
        _table("angles", "By joint angle", found.coordinates, most),
        _table("tasks", "By activity", found.activities, most),
        section("words", "What the words mean", "", el("dl", *_words(), class_="words")),
    )


def _words() -> list[Safe]:
    told = {
        **{word: GLOSSARY[word] for word in WORDS},
        "difference": "One model's error minus the other's, taken within each person; mean over people.",
        "p, Holm": "How often chance alone, flipping the sign of each person's difference, would give a mean "
        "as far from zero. Holm's correction makes up for asking several questions. Shown: below 0.05.",
        "rank, first": "Rank by the mean error, and in which share of redrawn groups of people it is first.",
    }
    return [part for word, said in told.items() for part in (el("dt", word), el("dd", text(said, 600)))]


def _look(found: Compared, letter: str) -> tuple[str, str]:
    return LOOKS[[e.letter for e in found.entrants].index(letter)]


def _ranks(found: Compared) -> Safe:
    """The models in the order given, with their means."""
    scale = scale_of([v for e in found.entrants for v in (e.value, e.high)])
    rows = []
    for entrant in found.entrants:
        kind, class_ = _look(found, entrant.letter)
        mark = Mark(entrant.value, entrant.low, entrant.high, kind=kind, class_=class_)
        said = f"{entrant.label}: {quantity(entrant.value, found.unit)}"
        label = join([el("strong", entrant.letter, " "), named(entrant.label)])
        error = n(quantity(entrant.value, found.unit), span(entrant.low, entrant.high, found.unit))
        first, coverage = n(percent(100 * entrant.first)), n(percent(entrant.coverage))
        rows.append(
            row(
                label,
                pic(strip(scale, said, mark)),
                error,
                n(_rank(entrant), class_="n wide"),
                first,
                coverage,
            )
        )
    drawn = el("th", axis(scale, found.unit), scope="col", class_="pic")
    heads = [
        "model",
        drawn,
        nh("error, 95 % CI"),
        nh("rank", class_="n wide"),
        nh("first in"),
        nh("coverage"),
    ]
    lead = (
        "Mean joint-angle error. Intervals that overlap say little: the differences within people are below."
    )
    return section("ranks", "The models", lead, table(heads, rows, class_="strips"))


def _rank(entrant: Entrant) -> str:
    if entrant.rank_low != entrant.rank_low:
        return f"{entrant.rank:g}"
    return f"{entrant.rank:g} ({entrant.rank_low:g}–{entrant.rank_high:g})"


def _scale(gaps: Sequence[Difference]) -> Scale:
    return scale_of([v for g in gaps for v in (g.difference, g.low, g.high, g.noise_floor)], even=True)


def _gap(scale: Scale, gap: Difference) -> Safe:
    """A difference with its interval on a strip around 0, in the band of the noise floor."""
    floor = drawable(gap.noise_floor)
    band = None if floor is None else bar(scale, -floor, floor, 13, "floor", thick=26)
    kind, class_ = ("dot", "c1") if gap.verdict == "shown" else ("ring", "c0")
    said = f"{gap.name} {gap.a} − {gap.b}: {difference(gap)}"
    return strip(scale, said, Mark(gap.difference, gap.low, gap.high, kind=kind, class_=class_), extra=[band])


def _outcome(gap: Difference) -> Safe:
    if gap.verdict == "shown":
        return el("td", f"{gap.a if gap.difference < 0 else gap.b} better", class_="yes")
    said = {"too few people": "too few people", "none shown": "no difference shown"}
    return el("td", said.get(gap.verdict, gap.verdict), class_="why")


def _pairs(found: Compared) -> Safe:
    """Every pair's difference against zero and the noise floor."""
    return section(
        "pairs",
        "Differences within people",
        "Left of zero the first model is better. Filled: shown. A difference within the grey band is smaller "
        "than the reference is known.",
        legend(
            ("dot", "c1", "shown"),
            ("ring", "c0", "not shown"),
            ("ci", "c0", "95 % CI"),
            ("floor", "", "noise floor"),
        ),
        _gap_table(list(found.pairs), "pair"),
    )


def _gap_table(gaps: Sequence[Difference], head: str) -> Safe:
    scale, unit = _scale(gaps), gaps[0].unit
    several = len({(gap.a, gap.b) for gap in gaps}) > 1
    rows = [
        row(_name(gap, several=several), pic(_gap(scale, gap)),
            n(quantity(gap.difference, unit, sign=True), span(gap.low, gap.high, unit, sign=True)),
            n(chance(gap.p), class_="n wide"), n(chance(gap.p_holm)),
            n(f"{gap.a_better} : {gap.b_better}", class_="n wide"), _outcome(gap))
        for gap in gaps
    ]  # fmt: skip
    heads = [head, el("th", axis(scale, unit), scope="col", class_="pic"), nh("difference, 95 % CI"),
             nh("p", class_="n wide"), nh("Holm"), nh("better for", class_="n wide"), "says"]  # fmt: skip
    return table(heads, rows, class_="strips")


def _name(gap: Difference, *, several: bool) -> Safe:
    pair = el("span", f"{gap.a} − {gap.b}", class_="pair")
    if gap.what == "all":
        return pair
    return join([named(spoken(gap.name), 60), el("div", pair, class_="why") if several else Safe()])


def _people(found: Compared, most: Limits) -> Safe:
    """Each person's errors joined by a line, for every pair of the first few."""
    parts = []
    for gap in found.pairs[:PAIRS]:
        a, b = found.by_person[gap.a], found.by_person[gap.b]
        ordered = sorted(zip(found.people, a, b, strict=True), key=lambda p: (p[1] - p[2], p[0]))
        scale = scale_of([*a, *b])
        rows = [_person(found, gap, scale, *person) for person in ordered[: most.people]]
        heads = [
            "person",
            el("th", axis(scale, gap.unit), scope="col", class_="pic"),
            nh(f"{gap.a} − {gap.b}"),
        ]
        marks = [(*_look(found, letter), letter) for letter in (gap.a, gap.b)]
        parts += [el("h3", f"{gap.a} and {gap.b}"), legend(*marks), table(heads, rows, class_="strips")]
        if len(ordered) > len(rows):
            parts.append(el("p", left_out(len(ordered), len(rows), "people"), class_="note"))
    return section(
        "people", "Each person", "Sorted by the difference: best for the first model on top.", *parts
    )


def _person(found: Compared, gap: Difference, scale: Scale, name: str, a: float, b: float) -> Safe:
    joined = bar(scale, a, b, 13, "ci thin c0")
    dots = [
        shape(scale, known, 13, *_look(found, letter))
        for letter, value in ((gap.a, a), (gap.b, b))
        if (known := drawable(value)) is not None
    ]
    said = f"{name}: {gap.a} {number(a)}, {gap.b} {number(b)}"
    return row(
        named(name, 40),
        pic(strip(scale, said, extra=[joined, *dots])),
        n(quantity(a - b, gap.unit, sign=True)),
    )


def _table(anchor: str, heading: str, gaps: Sequence[Difference], most: Limits) -> Safe | None:
    """Differences in each coordinate or activity, one table a unit."""
    if not gaps:
        return None
    low = min(gap.people for gap in gaps)
    units = sorted({gap.unit for gap in gaps}, key=lambda unit: (unit != "°", unit))
    ranked = sorted(gaps, key=lambda g: (-abs(g.difference), g.name, g.a, g.b))
    parts = [
        _gap_table([g for g in ranked if g.unit == unit][: most.rows], heading[3:]) for unit in units[:UNITS]
    ]
    lead = f"The largest difference first. Holm's correction is over the {len(gaps):,} differences here."
    if low < (least := least_people(len(gaps))):
        lead += f" With {low} people nothing can be shown for so many; it takes {least}."
    return section(anchor, heading, lead, *parts)
