"""The tables of an evaluation's page: points, failures, trials, speed, how it was made, words."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

from capbench.report.figures import Scale, bar, scale_of, strip
from capbench.report.markup import Safe, el, join, named, text
from capbench.report.page import Limits, folded, left_out, n, nh, pic, row, section, table
from capbench.report.words import (
    GLOSSARY,
    failures_by_kind,
    finite,
    interval,
    number,
    percent,
    quantity,
    rate,
    seconds,
    speed_of,
)
from capbench.run.result import Failure, Result, TrialRow

FAULTS = {"model": "the model's", "cohort": "the cohort's files", "environment": "this machine's"}


def beside(result: Result, most: Limits) -> Safe | None:
    """Scores of another kind: points in pictures and in space."""
    if not result.beside:
        return None
    rows = [
        row(
            text(b.name, 60),
            n(quantity(b.value, b.unit)),
            n(interval(b) or "–"),
            el("td", f"{b.direction} is better"),
            n(percent(b.coverage)),
            n(b.n),
        )
        for b in result.beside[: most.lines]
    ]
    return section(
        "points",
        "Points beside angles",
        "What pose benchmarks usually report. They rank nothing here: points can be near and angles wrong. "
        "They are of what was answered, so read them beside their coverage.",
        table(["score", nh("value"), nh("95 % CI"), "", nh("coverage"), nh("people")], rows),
    )


def failures(result: Result, most: Limits) -> Safe | None:
    """What has no answer, by whose fault, and why."""
    if not result.failures:
        return None
    kinds = failures_by_kind(result.failures)
    rows = [
        row(text(k.kind, 40), FAULTS[k.fault], n(f"{k.count:,}"), text(k.first, 300))
        for k in kinds[: most.lines]
    ]
    each = [row(text(f.unit, 120), FAULTS[f.fault], text(f.kind, 40), text(f.reason)) for f in
            sorted(result.failures, key=lambda f: (f.unit, f.kind, f.reason))[: most.failures]]  # fmt: skip
    return section(
        "failures",
        "Failures",
        "None of these leaves the score: what has no answer is charged as a very bad one.",
        table(["kind", "whose", nh("times"), "the first"], rows),
        folded(
            "Each of them." + left_out(len(result.failures), len(each), "failures"),
            table(["what", "whose", "kind", "reason"], each),
        ),
    )


def trials(result: Result, most: Limits) -> Safe | None:
    """Every trial, the worst first."""
    if not result.per_trial:
        return None
    failed: dict[str, list[Failure]] = {}
    for failure in result.failures:
        for word in failure.unit.split():
            failed.setdefault(word, []).append(failure)

    def place(trial: TrialRow) -> tuple[float, str]:
        value = finite(trial.charged)
        return (-math.inf if value is None else -value, trial.key)

    ranked = sorted(result.per_trial, key=place)[: most.trials]
    rows = [
        row(
            named(t.key),
            named(t.activity, 40),
            n(number(t.charged)),
            n(number(t.uncapped)),
            n(percent(t.coverage), class_="n bad" if t.coverage < 50 else "n"),
            n(number(t.lag, "ms")),
            el("td", _remarks(t, failed.get(t.key, [])), class_="why remarks"),
        )
        for t in ranked
    ]
    return section(
        "trials",
        "Each trial",
        "The worst first." + left_out(len(result.per_trial), len(ranked), "trials"),
        table(
            [
                "trial",
                "activity",
                nh("charged °"),
                nh("as answered °"),
                nh("coverage"),
                nh("lag ms"),
                "remarks",
            ],
            rows,
        ),
    )


def _remarks(trial: TrialRow, failed: list[Failure]) -> Safe:
    parts = [
        el("div", el("span", text(f.kind, 40), class_="bad"), " ", text(f.reason, 160)) for f in failed[:3]
    ]
    parts += [el("div", text(note, 160)) for note in trial.notes[:4]]
    facts = [
        f"{name} {value if isinstance(value, str) else f'{value:.4g}'}"
        for name, value in list(trial.facts.items())[:6]
        if value is not None
    ]
    if facts:
        parts.append(el("div", text(" · ".join(facts), 200)))
    return join(parts)


def speed(timing: Mapping[str, Any] | None, most: Limits) -> Safe | None:
    """Seconds per stage and frames per second."""
    found = speed_of(timing)
    if not found.stages and found.rate is None:
        return None
    scale = scale_of([s for _, s in found.stages]) if found.stages else Scale(0.0, 1.0)
    total = sum(s for _, s in found.stages)
    rows = [
        row(text(name, 40), pic(strip(scale, f"{name}: {seconds(spent)}",
                                      extra=[bar(scale, 0.0, spent, 13, "rest", thick=12)])),
            n(seconds(spent), percent(100 * spent / total) if total else ""))
        for name, spent in found.stages[: most.lines]
    ]  # fmt: skip
    said = []
    if found.rate is not None:
        said.append(rate(found.rate))
    if found.frames is not None:
        said.append(f"{found.frames:,} frames")
    if total:
        said.append(f"{seconds(total)} in all stages")
    said += [f"{name}: {value}" for name, value in found.hardware[:8]]
    return section(
        "speed",
        "Speed",
        "",
        el("p", text(" · ".join(said), 600)),
        table(["stage", "", nh("time")], rows, class_="strips") if rows else None,
    )


def command_of(result: Result) -> str:
    """A line that evaluates the same model on the same cohort."""
    words = ["capbench", "evaluate", result.model.name, "--cohort", result.cohort.name]
    return " ".join(shlex.quote(word) for word in words)


def made(result: Result, command: str | None, most: Limits) -> Safe:
    """Versions, hashes, settings, and the line that does it again."""
    parts = (("capbench", result.capbench), ("model", result.model), ("cohort", result.cohort),
             ("protocol", result.protocol))  # fmt: skip
    rows = [
        row(what, named(a.name), text(a.version, 60), el("td", el("code", text(a.sha256 or "–", 64))),
            text(a.licence, 80) if a.licence else "–")
        for what, a in parts
    ]  # fmt: skip
    details = [
        row(f"{what}: ", text(key, 60), text(_value(value), 300))
        for what, a in parts
        for key, value in list(a.details.items())[: most.lines]
    ]
    settings = [
        row(el("code", text(key, 80)), text(_value(value), 300))
        for key, value in list(result.settings.items())[: most.lines]
    ]
    hashes = [
        row(el("code", text(name, 120)), el("td", el("code", text(digest, 64))))
        for name, digest in sorted(result.hashes.items())[: 2 * most.lines]
    ]
    return section(
        "made",
        "How it was made, and how to do it again",
        "The same inputs and settings give the same numbers to the last digit, with any number of workers.",
        el("pre", el("code", text(command or command_of(result), 2000))),
        table(["", "name", "version", "SHA-256", "licence"], rows),
        folded("Settings", table(["setting", "value"], settings)) if settings else None,
        folded("More on model, cohort and protocol", table(["of", "what", "value"], details))
        if details
        else None,
        folded(
            "Prediction files." + left_out(len(result.hashes), len(hashes), "files"),
            table(["file", "SHA-256"], hashes),
        )
        if hashes
        else None,
    )


def _value(value: object) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    )


def glossary() -> Safe:
    """What the words mean."""
    told = [
        part for word, meaning in GLOSSARY.items() for part in (el("dt", word), el("dd", text(meaning, 600)))
    ]
    return section("words", "What the words mean", "", el("dl", *told, class_="words"))
