"""Where it breaks: a table of coordinates by activities, coloured at fixed steps.

The steps are the same in every report, so two reports can be laid side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from capbench.report.markup import Safe, el, named, text
from capbench.report.page import UNITS, Limits, left_out, section, table
from capbench.report.words import by_unit, drawable, finite, interval, number, spoken, worst_first
from capbench.run.result import Result, TrialRow
from metrics.aggregate import TrialKey, tree_mean

#: degrees and millimetres at which a cell of the heat table changes colour
LEVELS: Mapping[str, tuple[float, ...]] = {"°": (2, 5, 10, 20), "mm": (10, 20, 50, 100)}


def cell_means(rows: Sequence[TrialRow], coordinate: str, activity: str) -> float | None:
    """The error of a coordinate in an activity: mean over a person's trials, then over people."""
    found = {
        TrialKey(row.subject, activity, row.key): value
        for row in rows
        if row.activity == activity and (value := drawable(row.coordinates.get(coordinate))) is not None
    }
    return finite(tree_mean(found)) if found else None


def heat(result: Result, most: Limits) -> Safe | None:
    """Coordinates by activities: where it breaks."""
    ranked = worst_first(result.activities)
    activities = [score.name for score in ranked[: most.columns]]
    if not activities or not result.coordinates:
        return None
    rows = [
        el("tr", el("th", el("strong", "all joint angles"), scope="row"),
           *[_heat_cell(s.value, s.unit, interval(s)) for s in ranked[: most.columns]])
    ]  # fmt: skip
    for unit, scores in list(by_unit(result.coordinates).items())[:UNITS]:
        for score in scores[: most.rows]:
            cells = [_heat_cell(cell_means(result.per_trial, score.name, a), unit) for a in activities]
            label = f"{spoken(score.name)}{'' if unit == '°' else f' ({unit})'}"
            rows.append(el("tr", el("th", text(label, 60), scope="row"), *cells))
    chips = [el("span", el("span", class_=f"chip h{k + 1}"), said) for k, said in enumerate(_level_words())]
    return section(
        "tasks",
        "By activity",
        "Degrees (translations in millimetres). Below 2° counts as good and above 5° as likely to mislead in "
        "clinical gait analysis (McGinley 2009)." + left_out(len(ranked), len(activities), "activities"),
        el("p", *chips, class_="legend"),
        table(
            ["coordinate", *[el("th", named(a, 30), scope="col") for a in activities]], rows, class_="heat"
        ),
    )


def _level_words() -> list[str]:
    angles, places = LEVELS["°"], LEVELS["mm"]
    said = [f"below {angles[0]}°, {places[0]} mm"]
    said += [f"to {a}°, {b} mm" for a, b in zip(angles[1:], places[1:], strict=True)]
    return [*said, "above"]


def _heat_cell(value: object, unit: str, small: str = "") -> Safe:
    known = finite(value)
    if known is None:
        return el("td", "–")
    level = 1 + sum(known >= step for step in LEVELS.get(unit, LEVELS["°"]))
    shown = f"{known:.1f}" if unit == "°" and abs(known) < 1000 else number(known, unit)
    return el("td", shown, class_=f"h{level}", title=small or None)
