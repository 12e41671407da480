#!/usr/bin/env python
"""The twofold test of docs/twofold.md: how much smaller joint-angle errors are with dense points.

    python scripts/twofold.py --sparse runs/sparse-0 runs/sparse-1 runs/sparse-2 \\
        --dense runs/dense-0 runs/dense-1 runs/dense-2 --scratch runs/scratch-0 --out twofold

Takes folders of ``capbench evaluate``, seeds in the same order for sparse and dense. Runs on several cohorts,
or with ``--scaling reference``, may be mixed: each cohort and scaling is a section of its own. Prints what it
writes into the folder: ``twofold.md`` and a picture of each section.

The ratio is that of mean errors, sparse / dense; each person's error is averaged over seeds first. Intervals
come from resampling people, both models on the same resamples.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from twofold_numbers import (
    KINDS,
    Estimate,
    Row,
    Run,
    Test,
    activities,
    coordinates,
    departures,
    mean,
    overall,
    tests_of,
    without,
)

from capbench.run.compare import Compared, compare
from cohorts.bounded import replacing, write_text
from cohorts.errors import CapbenchError

BAR, LEFT_OUT, CLAIMED = 1.5, 1.3, 2.0  #: least ratio, what its interval leaves out, what the paper claims
BARELY = 0.1  #: relative change of a score in pictures or space that is called small
UNSEEN = "no point shows"  #: how a trial's note begins that names coordinates without a point
COLOURS = {"sparse": "#1f4e8c", "dense": "#c1440e", "scratch": "#7a7a7a"}
MARKERS = {"sparse": "o", "dense": "D", "scratch": "s"}


# --- words --------------------------------------------------------------------------------------


def verdict(found: Estimate) -> tuple[bool, str]:
    """Whether the bar is met, and a sentence that says so."""
    value, low, high = found
    met = value >= BAR and low > LEFT_OUT
    reasons = [f"the ratio is {value:.2f}"]
    reasons.append(
        f"its interval, {low:.2f} to {high:.2f}, {'leaves out' if low > LEFT_OUT else 'does not leave out'} "
        f"{LEFT_OUT}"
    )
    if not math.isfinite(low):
        reasons[1] = "one person gives no interval"
    twofold = (
        f"{CLAIMED:g}, which the paper claims, lies "
        f"{'within' if low <= CLAIMED <= high else 'above' if high < CLAIMED else 'below'} the interval"
    )
    said = f"The bar (at least {BAR}, with an interval that leaves out {LEFT_OUT}) is "
    said += f"{'met' if met else 'NOT met'}: {' and '.join(reasons)}."
    return met, f"{said} {twofold}." if math.isfinite(low) else said


def section(test: Test, left_out: Sequence[str]) -> tuple[str, bool, list[Row]]:
    """Markdown of one cohort and scaling, whether the bar is met, and the rows for the picture."""
    # first of all: it refuses what was not measured on the same trials, and knows what weakens the rest
    compared = compare([run.result for run in test.every], names=[str(run.place) for run in test.every])
    whole = overall(test)
    rows = coordinates(test)
    met, sentence = verdict(whole.ratio)
    other = departures(test)
    lines = [
        f"## {test.cohort}, {test.protocol}, {_scaling(test)}",
        "",
        f"**Ratio of mean joint-angle errors, sparse / dense: {_told(whole.ratio)}.** {sentence}",
        "",
        "This is the registered test."
        if not other
        else f"This is not the registered test: {'; '.join(other)}.",
        "",
        f"{len(compared.people)} people, {compared.trials} trials, {len(test.runs['dense'])} "
        f"seed{'s' if len(test.runs['dense']) > 1 else ''}. Intervals are of 95 %, from resampling people; "
        "those of single coordinates are not adjusted for their number.",
        "",
        *_runs_table(test, compared),
        "",
        *_ratios_table(test, whole, left_out),
        "",
        "### Coordinates",
        "",
        *_rows_table(rows, test),
        "",
        *_losses(rows, test),
        "",
        "### Activities",
        "",
        *_rows_table(activities(test), test),
        "",
        "### Beside",
        "",
        *_beside(test),
    ]
    said = _remarks(test, compared)
    if said:
        lines += ["", "### To be kept in mind", "", *said]
    return "\n".join(lines) + "\n", met, [whole, *rows]


def _scaling(test: Test) -> str:
    return {"own": "scaled by what the model saw", "reference": "scaled by the reference"}.get(
        test.scaling, f"scaling {test.scaling}"
    )


def _told(found: Estimate, unit: str = "", digits: int = 2, sign: str = "") -> str:
    if not math.isfinite(found.value):
        return "–"
    value, low, high = (f"{v:{sign}.{digits}f}" for v in found)
    interval = f" ({low} to {high})" if math.isfinite(found.low) else ""
    return f"{value}{unit}{interval}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a markdown table; the first column of words, the others of numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _runs_table(test: Test, compared: Compared) -> list[str]:
    rows = []
    for run, entrant in zip(test.every, compared.entrants, strict=True):
        score = run.result.overall
        rows.append(
            [
                f"{entrant.letter}: {run.kind} {run.seed}",
                f"{run.result.model.name} `{(run.result.model.sha256 or '')[:8]}`",
                _told(Estimate(entrant.value, entrant.low, entrant.high), "°"),
                f"{_number(score.null)}°",
                _number(score.skill),
                f"{_number(score.coverage, 1)} %",
            ]
        )
    return table(["run", "model", "error", "null model", "skill", "answered"], rows)


def _ratios_table(test: Test, whole: Row, left_out: Sequence[str]) -> list[str]:
    rows = [["**sparse / dense**", f"**{_told(whole.ratio)}**", _told(whole.difference, "°", sign="+")]]
    for k, one in enumerate(whole.seeds, 1):
        if len(whole.seeds) > 1:
            rows.append([f"seed {k} alone", _told(one), ""])
    if "scratch" in test.runs:
        for above, below in (("sparse", "scratch"), ("scratch", "dense")):
            swapped = Test(test.cohort, test.protocol, test.scaling, _as_pair(test, above, below))
            found = overall(swapped)
            rows.append([f"{above} / {below}", _told(found.ratio), _told(found.difference, "°", sign="+")])
    if left_out:
        found = without(test, left_out)
        rows.append(
            [f"{found.name} (not registered)", _told(found.ratio), _told(found.difference, "°", sign="+")]
        )
    return table(["ratio of errors", "ratio", "difference"], rows)


def _as_pair(test: Test, above: str, below: str) -> dict[str, tuple[Run, ...]]:
    """Two kinds in the places of sparse and dense, with as many seeds each as both have."""
    count = min(len(test.runs[above]), len(test.runs[below]))
    return {"sparse": test.runs[above][:count], "dense": test.runs[below][:count]}


def _rows_table(rows: Sequence[Row], test: Test) -> list[str]:
    kinds = [kind for kind in KINDS if kind in test.runs]
    head = ["", *kinds, "null model", *(f"skill, {kind}" for kind in kinds[:2])]
    head += ["ratio", "difference", "dense is"]
    made = []
    for row in rows:
        unit = row.unit if row.unit == "°" else f" {row.unit}"
        made.append(
            [
                row.name,
                *(f"{_number(row.errors[kind])}{unit}" for kind in kinds),
                f"{_number(row.null)}{unit}",
                *(_number(1 - row.errors[kind] / row.null if row.null else math.nan) for kind in kinds[:2]),
                _told(row.ratio),
                _told(row.difference, unit, sign="+"),
                row.word,
            ]
        )
    return table(head, made)


def _losses(rows: Sequence[Row], test: Test) -> list[str]:
    """Which coordinates got worse, and which no model should be praised for."""
    worse = [f"{row.name} (ratio {row.ratio.value:.2f})" for row in rows if row.ratio.value < 1]
    lines = [
        f"Worse with dense points: {', '.join(worse)}."
        if worse
        else "No coordinate is worse with dense points.",
    ]
    blind = [row.name for row in rows if row.errors["dense"] >= row.null]
    if blind:
        lines.append(f"Not better than the null model with dense points: {', '.join(blind)}.")
    held = Counter(
        (run.kind, note) for run in test.every for row in run.result.per_trial for note in row.notes
        if note.startswith(UNSEEN)
    )  # fmt: skip
    for (kind, note), count in sorted(held.items()):
        lines.append(f"{kind.capitalize()}, {count} trials: {note}.")
    return [f"- {line}" for line in lines]


def _beside(test: Test) -> list[str]:
    """Scores of another kind, the mean over seeds of each."""
    kinds = [kind for kind in KINDS if kind in test.runs]
    rows: list[list[str]] = []
    small: list[str] = []
    large: list[str] = []
    for score in test.every[0].result.beside:
        of = {
            kind: mean(
                [b.value for run in test.runs[kind] for b in run.result.beside if b.name == score.name]
            )
            for kind in kinds
        }
        change = of["dense"] / of["sparse"] - 1 if of["sparse"] else math.nan
        rows.append(
            [
                f"{score.name} ({score.direction} is better)",
                *(f"{_number(of[kind])} {score.unit}" for kind in kinds),
                f"{100 * change:+.1f} %",
            ]
        )
        (small if abs(change) < BARELY else large).append(score.name)
    if not rows:
        return ["Nothing: the cohort has no true points."]
    lines = table(["", *kinds, "dense against sparse"], rows)
    said = []
    if small:
        said.append(
            f"By less than {100 * BARELY:.0f} %: {', '.join(small)} barely move{'s' * (len(small) == 1)}."
        )
    if large:
        said.append(f"By more: {', '.join(large)}.")
    said.append(
        "Each model is measured on the points that it gives, so these rows are not of the same points."
    )
    return [*lines, "", " ".join(said)]


def _remarks(test: Test, compared: Compared) -> list[str]:
    """What weakens it: warnings of the comparison, marks of the runs."""
    marks = Counter(mark for run in test.every for mark in run.result.marks)
    said = list(compared.warnings)
    said += [f"{mark} ({count} of {len(test.every)} runs)" for mark, count in sorted(marks.items())]
    return [f"- {line}" for line in said]


# --- picture ------------------------------------------------------------------------------------


def draw(test: Test, rows: Sequence[Row], target: Path, *, overwrite: bool) -> None:
    """Errors of every kind, and their ratio with its interval, a line for each coordinate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.unit == rows[0].unit]
    figure = Figure(figsize=(11, 1.6 + 0.32 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    at = np.arange(len(shown))
    for kind in KINDS:
        if kind in test.runs:
            values = [row.errors[kind] for row in shown]
            left.plot(values, at, MARKERS[kind], color=COLOURS[kind], label=kind, linestyle="none")
    left.plot(
        [row.null for row in shown],
        at,
        "|",
        color="black",
        markersize=13,
        label="null model",
        linestyle="none",
    )
    left.set(xlabel=f"mean error, {shown[0].unit}", xlim=(0, None))
    left.set_yticks(at, [row.name for row in shown])
    left.legend(fontsize="small", frameon=False)
    value, low, high = (np.array([row.ratio[k] for row in shown]) for k in range(3))
    for k, row in enumerate(shown):
        colour = "black" if k == 0 else COLOURS["dense"] if row.ratio.value < 1 else COLOURS["sparse"]
        span = [[value[k] - low[k]], [high[k] - value[k]]] if np.isfinite(low[k]) else None
        right.errorbar(value[k], k, xerr=span, fmt="D" if k == 0 else "o", color=colour, capsize=3)
        seeds = [one.value for one in row.seeds]
        if len(seeds) > 1:
            right.plot(seeds, [k + 0.25] * len(seeds), ".", color=colour, markersize=4)
    for place, style in ((1.0, "-"), (LEFT_OUT, ":"), (BAR, "--"), (CLAIMED, "-.")):
        right.axvline(place, color="black", linewidth=0.8, linestyle=style)
    right.set_xscale("log")
    ticks = [
        t
        for t in (0.25, 0.5, 0.75, 1, 1.3, 1.5, 2, 3, 4, 6)
        if np.nanmin(low) * 0.9 < t < 1.1 * np.nanmax(high)
    ]
    right.set_xticks(ticks or [1], [f"{t:g}" for t in ticks or [1]])
    right.set_xticks([], minor=True)
    right.set(xlabel="error of sparse / error of dense (right of 1: dense is better)")
    right.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.axhline(0.5, color="black", linewidth=0.5)
    figure.suptitle(f"{test.cohort}, {test.protocol}, {_scaling(test)}: people resampled, 95 %")
    with replacing(target, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def main(words: Sequence[str] | None = None) -> int:
    """Read, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in KINDS:
        parser.add_argument(
            f"--{kind}", type=Path, nargs="+", action="extend", default=[], metavar="RUN",
            help="folders of capbench evaluate, a seed each",
        )  # fmt: skip
    parser.add_argument("--without", nargs="+", default=[], metavar="ANGLE", help="a ratio without these too")
    parser.add_argument("--out", type=Path, default=Path("twofold"), help="folder to write into")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    given = parser.parse_args(words)
    tests = tests_of({kind: getattr(given, kind) for kind in KINDS})
    if not tests:
        parser.error("expected runs of --sparse and --dense models")
    given.out.mkdir(parents=True, exist_ok=True)
    pages = ["# The twofold test\n"]
    for test in tests:
        text, _, rows = section(test, given.without)
        picture = f"{test.cohort}-{test.scaling}.png"
        draw(test, rows, given.out / picture, overwrite=given.force)
        pages.append(f"{text}\n![Errors and their ratio for each coordinate]({picture})\n")
    page = "\n".join(pages)
    write_text(given.out / "twofold.md", page, overwrite=given.force)
    print(page)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
