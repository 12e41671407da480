"""``report.html`` of an evaluation: what the model scored, where it errs, why, and how to do it again."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capbench.report import tables
from capbench.report.figures import (
    Mark,
    Scale,
    axis,
    bar,
    curve,
    legend,
    picture,
    scale_of,
    shape,
    strip,
    tick,
)
from capbench.report.heat import heat
from capbench.report.markup import Safe, el, join, named, text
from capbench.report.page import (
    UNITS,
    Limits,
    banner,
    fitting,
    folded,
    left_out,
    n,
    nh,
    page,
    pic,
    row,
    section,
    table,
    tiles,
    write_page,
)
from capbench.report.words import (
    by_unit,
    drawable,
    finite,
    interval,
    number,
    percent,
    quantity,
    side_of,
    spoken,
    title,
    verdict,
    worst_first,
)
from capbench.run.result import Cause, Curve, Result, Score, TrialRow

SAMPLES = 202  #: of a curve that are drawn at most
STAGES: Mapping[str, str] = {
    "keypoints": "the model's points in the pictures",
    "calibration and sync": "cameras and clocks",
    "scaling": "fitting the skeleton to the person",
    "solver": "all the rest: what remains with the truth everywhere else",
}


def write_report(
    result: Result,
    timing: Mapping[str, Any] | None,
    path: str | os.PathLike[str],
    *,
    command: str | None = None,
) -> None:
    """Write the page of ``result``; an older one is replaced.

    Parameters
    ----------
    timing : what ``timing.json`` holds: seconds of the stages, frames, frames per second, hardware; or None
    command : the line that makes this result; by default one made of the names in it
    """
    write_page(Path(path), report(result, timing, command=command))


def report(result: Result, timing: Mapping[str, Any] | None = None, *, command: str | None = None) -> str:
    """The page's text: the same bytes for equal input."""
    return fitting(lambda most: _report(result, timing, command, most))


def _report(result: Result, timing: Mapping[str, Any] | None, command: str | None, most: Limits) -> str:
    parts: list[tuple[str, str, Safe | None]] = [
        ("angles", "Joint angles", coordinates(result, most)),
        ("tasks", "Activities", heat(result, most)),
        ("people", "People", people(result, most)),
        ("causes", "Causes", causes(result)),
        ("curves", "Curves", curves(result, most)),
        ("points", "Points", tables.beside(result, most)),
        ("failures", "Failures", tables.failures(result, most)),
        ("trials", "Trials", tables.trials(result, most)),
        ("speed", "Speed", tables.speed(timing, most)),
        ("made", "How it was made", tables.made(result, command, most)),
        ("words", "Words", tables.glossary()),
    ]
    links = [el("a", name, href=f"#{anchor}") for anchor, name, part in parts if part is not None]
    return page(
        title(result),
        head(result),
        el("nav", *links, aria_label="Parts of this page"),
        *[part for _, _, part in parts],
        el(
            "footer",
            "Written by capbench ",
            text(result.capbench.version, 40),
            ". For research, not for diagnosis.",
        ),
    )


# --- the headline -------------------------------------------------------------------------------


def head(result: Result) -> Safe:
    """Who on what, what a reader must know, and the number that ranks."""
    about = f". Protocol {result.protocol.name}, version {result.protocol.version}."
    return el(
        "header",
        el("h1", named(f"{result.model.name} {result.model.version}"), " on ",
           named(f"{result.cohort.name} {result.cohort.version}")),
        el("p", text(result.cohort.title or result.cohort.name, 160), text(about, 160), class_="sub"),
        banner("Not a whole evaluation", result.partial),
        banner("To be known before reading on", result.marks),
        hero(result),
    )  # fmt: skip


def hero(result: Result) -> Safe:
    """The number that ranks with its interval, against the noise floor and the null model."""
    score = result.overall
    spread = interval(score)
    small = f"95 % CI {spread}{_sign(score.unit)}" if spread else "no interval: it takes more than one person"
    return el(
        "div",
        el("div", "Mean joint-angle error", class_="sub"),
        el("div", quantity(score.value, score.unit), el("small", small), class_="big"),
        el("p", verdict(result)),
        headline(score),
        tiles(
            (
                ("Noise floor", quantity(score.noise_floor, score.unit), "how well the truth is known"),
                ("Null model", quantity(score.null, score.unit), "always the mean pose"),
                ("Skill", number(score.skill), "1 perfect, 0 as the null model"),
                ("Coverage", percent(score.coverage), "of the samples answered"),
                ("Trials", f"{result.answered:,} of {result.trials:,}", "with any answer"),
                ("People", f"{result.subjects:,}", "what the interval rests on"),
            )
        ),
        class_="hero",
    )


def _sign(unit: str) -> str:
    return unit if unit == "°" else f" {unit}"


def headline(score: Score) -> Safe:
    """The headline's strip: band of the noise floor, the value with its interval, the null model."""
    scale = scale_of([score.value, score.high, score.null, score.noise_floor])
    value, floor, null = (drawable(v) for v in (score.value, score.noise_floor, score.null))
    drawn: list[Safe | None] = [
        el("line", x1="0", x2="100%", y1="32", y2="32", class_="zero"),
        bar(scale, 0.0, floor, 32, "floor", thick=28),
        tick(scale, null, 32, "null", half=14),
        bar(scale, score.low, score.high, 32, "ci c1"),
        shape(scale, value, 32, "dot", "c1") if value is not None else None,
    ]
    for at, said, y in ((floor, "noise floor", 60), (null, "null model", 13)):
        if at is not None:
            late = scale.share(at) > 0.5
            anchor = "end" if late else "start"
            drawn.append(
                el("text", f"{said} {quantity(at, score.unit)}", x=scale.at(at) if late else "0", y=y,
                   text_anchor=anchor)
            )  # fmt: skip
    return join([picture(66, _said("Mean joint-angle error", score), drawn), axis(scale, score.unit)])


def _said(what: str, score: Score) -> str:
    parts = [f"{what}: {quantity(score.value, score.unit)}"]
    for name, value in (("95 % CI", interval(score)), ("noise floor", number(score.noise_floor, score.unit)),
                        ("null model", number(score.null, score.unit))):  # fmt: skip
        if value not in ("", "–"):
            parts.append(f"{name} {value}")
    return ", ".join(parts)


# --- coordinates --------------------------------------------------------------------------------


def coordinates(result: Result, most: Limits) -> Safe | None:
    """Each coordinate, left and right beside each other, the worst first."""
    if not result.coordinates:
        return None
    marks = legend(
        ("dot", "c1", "right"), ("diamond", "c2", "left"), ("square", "c0", "middle"),
        ("ci", "c0", "95 % CI"), ("floor", "", "noise floor"), ("null", "", "null model"),
    )  # fmt: skip
    groups = [
        join([el("h3", _kind(unit)), _pairs(scores, unit, most)])
        for unit, scores in list(by_unit(result.coordinates).items())[:UNITS]
    ]
    return section(
        "angles",
        "Each joint angle",
        "The worst first. A dot within its grey band is as good as the reference can tell; a dot at the grey "
        "bar is no better than a mean pose.",
        marks,
        *groups,
        folded("All numbers", _numbers(result.coordinates, most)),
    )


def _kind(unit: str) -> str:
    return {"°": "Angles, degrees", "mm": "Translations, millimetres"}.get(unit, f"In {unit}")


def _pairs(scores: Sequence[Score], unit: str, most: Limits) -> Safe:
    """A row for a coordinate and its mirror image, with a mark for each side."""
    pairs: dict[str, dict[str, Score]] = defaultdict(dict)
    for score in worst_first(scores):
        base, side = side_of(score.name)
        pairs[base][side] = score
    shown = dict(list(pairs.items())[: most.rows])
    scale = scale_of([v for s in scores for v in (s.value, s.high, s.null, s.noise_floor)])
    looks = {"right": ("dot", "c1"), "left": ("diamond", "c2"), "": ("square", "c0")}
    rows = []
    for base, sides in shown.items():
        ordered = [(side, sides[side]) for side in ("right", "left", "") if side in sides]
        marks = [Mark(s.value, s.low, s.high, s.noise_floor, s.null, *looks[side]) for side, s in ordered]
        said = "; ".join(_said(spoken(s.name), s) for _, s in ordered)
        cells = join(_sided(side, s) for side, s in ordered)
        rows.append(row(named(spoken(base)), pic(strip(scale, said, *marks)), el("td", cells, class_="n")))
    return table(
        ["coordinate", el("th", axis(scale, unit), scope="col", class_="pic"), nh("error, 95 % CI")],
        rows,
        class_="strips",
    )


def _sided(side: str, score: Score) -> Safe:
    letter = {"right": "R ", "left": "L "}.get(side, "")
    spread = interval(score).replace(" to ", "–")
    return el(
        "div",
        letter,
        el("strong", number(score.value, score.unit)),
        el("span", f" {spread}", class_="why wide"),
    )


def _numbers(scores: Sequence[Score], most: Limits) -> Safe:
    """A table with every number of each score."""
    heads = ["coordinate", nh("error"), nh("95 % CI"), nh("noise floor"), nh("null"), nh("skill"),
             nh("as answered"), nh("coverage"), nh("people"), nh("trials")]  # fmt: skip
    rows = [
        row(
            el("code", text(s.name, 60)),
            n(quantity(s.value, s.unit)),
            n(interval(s) or "–"),
            n(number(s.noise_floor, s.unit)),
            n(number(s.null, s.unit)),
            n(number(s.skill)),
            n(number(s.uncapped, s.unit)),
            n(percent(s.coverage)),
            n(s.n),
            n(s.trials),
        )
        for s in list(scores)[: 2 * most.rows]
    ]
    return table(heads, rows)


# --- people -------------------------------------------------------------------------------------


def people(result: Result, most: Limits) -> Safe | None:
    """Each person's error, with their trials as rings."""
    if not result.by_subject:
        return None
    ranked = worst_first(result.by_subject)[: most.people]
    trials: dict[str, list[TrialRow]] = defaultdict(list)
    for trial in result.per_trial:
        trials[trial.subject].append(trial)
    values = [t.charged for s in ranked for t in trials[s.name]]
    scale = scale_of([*values, *(s.value for s in ranked), result.overall.value])
    rows = [_person(score, trials[score.name][: most.specks], result.overall, scale) for score in ranked]
    return section(
        "people",
        "Each person",
        "The interval of the headline comes from how much people differ. The hardest first."
        + left_out(len(result.by_subject), len(ranked), "people"),
        legend(("dot", "c1", "person"), ("ring", "speck", "one trial"), ("null", "mean", "mean over people")),
        table(
            [
                "person",
                el("th", axis(scale, result.overall.unit), scope="col", class_="pic"),
                nh("error, coverage"),
            ],
            rows,
            class_="strips",
        ),
    )


def _person(score: Score, trials: Sequence[TrialRow], whole: Score, scale: Scale) -> Safe:
    """A person's row: the error above, the trials below."""
    specks = [
        el(
            "circle",
            el("title", text(f"{trial.key}: {quantity(value, '°')}", 120)),
            cx=scale.at(value),
            cy="20",
            r="3.5",
            class_="speck",
        )
        for trial in sorted(trials, key=lambda t: t.key)
        if (value := drawable(trial.charged)) is not None
    ]
    value = drawable(score.value)
    dot = None if value is None else shape(scale, value, 8, "dot", "c1")
    said = f"{score.name}: {quantity(score.value, score.unit)} over {score.trials} trials"
    drawn = strip(scale, said, extra=[tick(scale, whole.value, 13, "mean", half=13), *specks, dot])
    return row(named(score.name, 40), pic(drawn), n(number(score.value, score.unit), percent(score.coverage)))


# --- causes -------------------------------------------------------------------------------------


def causes(result: Result) -> Safe | None:
    """Which stage brings how much: from the error as it is down to what is left with the truth there."""
    if not result.causes:
        return None
    whole = result.overall
    scale = scale_of([whole.value, *(c.value for c in result.causes)])
    rows = [
        row(el("strong", "as it is"), pic(_fall(scale, 0.0, whole.value, "rest", "The error as it is")),
            n(quantity(whole.value, whole.unit)))
    ]  # fmt: skip
    rows += [_cause(cause, whole, scale) for cause in result.causes]
    return section(
        "causes",
        "Where the error comes from",
        "Each line does the whole way again with the truth in one stage's place. The bar is what the error "
        "falls by. The stages act on each other, so the bars need not add up.",
        legend(
            ("band", "gain", "falls with the truth"),
            ("band", "loss", "rises: two errors had cancelled"),
            ("band", "rest", "remains"),
        ),
        table(
            [
                "with the truth for",
                el("th", axis(scale, whole.unit), scope="col", class_="pic"),
                nh("brings"),
            ],
            rows,
            class_="strips",
        ),
    )


def _cause(cause: Cause, whole: Score, scale: Scale) -> Safe:
    brings = finite(cause.brings)
    if cause.stage == "solver":
        drawn = _fall(scale, 0.0, cause.value, "rest", f"What remains: {quantity(cause.value, '°')}")
    else:
        kind = "loss" if brings is not None and brings < 0 else "gain"
        said = (
            f"{cause.stage}: {quantity(cause.value, '°')} with the truth, else {quantity(whole.value, '°')}"
        )
        drawn = _fall(scale, cause.value, whole.value, kind, said)
    head = join([el("strong", cause.stage), el("div", STAGES[cause.stage], class_="why wide")])
    shown = (
        quantity(brings, "°")
        if cause.stage == "solver"
        else quantity(-brings if brings is not None else None, "°", sign=True)
    )
    return row(
        head, pic(drawn), n(shown, f"leaves {number(cause.value)}" if cause.stage != "solver" else "remains")
    )


def _fall(scale: Scale, low: object, high: object, class_: str, said: str) -> Safe:
    return strip(scale, said, extra=[bar(scale, low, high, 13, class_, thick=14)])


# --- curves -------------------------------------------------------------------------------------


def curves(result: Result, most: Limits) -> Safe | None:
    """A few trials over time, each angle with the reference."""
    shown = [c for c in result.curves if len(c.time) > 1][: most.curves]
    if not shown:
        return None
    trials: dict[str, list[Curve]] = defaultdict(list)
    for drawn in shown:
        trials[drawn.trial].append(drawn)
    rows = {row.key: row for row in result.per_trial}
    worst = max(rows.values(), key=lambda r: (finite(r.charged) or 0.0, r.key), default=None)
    parts: list[Safe] = []
    for key, group in trials.items():
        said = " (the worst)" if worst is not None and key == worst.key else ""
        error = f": {quantity(rows[key].charged, '°')} over all joint angles{said}" if key in rows else ""
        parts += [
            el("h3", named(key), error),
            el("div", *[_figure(c, rows.get(key)) for c in group], class_="curves"),
        ]
    return section(
        "curves",
        "A few trials over time",
        "Look here first when a number surprises.",
        legend(
            ("line", "truth", "reference"),
            ("dashed", "answer", "model"),
            ("band", "band", "± 1 SD by the fit"),
        ),
        *parts,
    )


def _figure(drawn: Curve, trial: TrialRow | None) -> Safe:
    error = quantity(trial.coordinates.get(drawn.coordinate), "°") if trial is not None else "–"
    label = f"{spoken(drawn.coordinate)}{'' if error == '–' else f', error {error}'}"
    series = (drawn.time[:SAMPLES], drawn.reference[:SAMPLES], drawn.predicted[:SAMPLES], drawn.sd[:SAMPLES])
    return el("figure", el("figcaption", text(label, 80)), curve(*series, said=f"{drawn.trial}, {label}"))
