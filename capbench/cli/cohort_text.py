"""What ``capbench cohort`` says of cards, cohorts, findings and numbers, in words and tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capbench.cli.common import count, facts, readable, table, wrapped
from cohorts.errors import CapbenchError, printable

if TYPE_CHECKING:
    from cohorts.card import Card
    from cohorts.check import Finding
    from cohorts.stats import Stats
    from cohorts.store import Imported


FEW = 3  #: findings of a kind that are told in full
_GRAVE = ("error", "warning", "note")


def show_card(card: Card, root: Path | None) -> str:
    """A card in words and tables."""
    people, rig, reference = card.subjects, card.cameras, card.reference
    sexes = [f"{n} {what}" for n, what in ((people.female, "female"), (people.male, "male")) if n is not None]
    subjects = ", ".join(filter(None, [str(people.count), *sexes, people.ages, people.health]))
    passing = {None: "not stated", True: "allowed", False: "not allowed"}[card.licence.redistribution]
    rows = [
        ("what", f"{card.title}. {card.summary}".removesuffix(". ").strip()),
        ("version", f"{card.version}, {card.kind}"),
        (
            "licence",
            f"{card.licence.name}; passing on: {passing}",
        ),
        ("obtain", f"{card.licence.obtain.strip()} {card.licence.url or ''}".strip()),
        ("consent", card.consent),
        ("subjects", f"{subjects}. {people.note}".removesuffix(". ")),
        ("activities", "; ".join(n if n == said else f"{n}: {said}" for n, said in card.activities.items())),
    ]
    if rig is not None:
        size = f", {rig.size[0]} x {rig.size[1]}" if rig.size else ""
        rate = f", {rig.rate:g} frames/s" if rig.rate else ""
        synced = "synchronised" if rig.synchronised else "not synchronised"
        if rig.max_offset is not None:
            synced += f" (up to {rig.max_offset:g} frames apart)"
        rows.append(
            ("cameras", f"{', '.join(rig.names)}{size}{rate}, {synced}. {rig.note}".removesuffix(". "))
        )
    truth = f"{reference.kind}{', exact' if reference.exact else ''}"
    rows.append(("reference", f"{truth}. {reference.model or ''}. {reference.solved}".strip(". ")))
    for what, source in (
        ("noise floor", reference.noise_floor_source),
        ("null", reference.null_error_source),
    ):
        if source:
            rows.append((what, source))
    rows.append(("protocol", card.protocol))
    for name in ("development", "test", "hidden"):
        split = getattr(card.splits, name)
        if split is not None:
            rows.append((name, " ".join(filter(None, [", ".join(split.subjects), split.note]))))
    rows += [("cite", text) for text in card.cite]
    if root is not None:
        rows.append(("files", readable(root)))
    lines = [card.name, facts(rows)]
    names = sorted({*reference.noise_floor, *reference.null_error})
    if names:
        lines += [
            "",
            table(("coordinate", "noise floor", "null error", ""), _floors(card, names), indent="  "),
        ]
    return "\n".join(lines)


def _floors(card: Card, names: list[str]) -> list[tuple[str, str, str, str]]:
    def cell(values: Any, name: str) -> str:
        return f"{values[name]:.2f}" if name in values else "-"

    reference = card.reference
    return [
        (
            name,
            cell(reference.noise_floor, name),
            cell(reference.null_error, name),
            "mm" if name.endswith(("_tx", "_ty", "_tz")) else "deg",
        )
        for name in names
    ]


def account(stored: Imported) -> dict[str, Any]:
    """A stored cohort in JSON's terms."""
    cohort = stored.cohort
    return {
        "name": cohort.name,
        "version": cohort.version,
        "source": stored.source,
        "folder": str(stored.folder),
        "root": str(stored.root),
        "subjects": len(cohort.subjects),
        "trials": len(cohort.trials),
        "activities": dict(sorted(Counter(trial.activity for trial in cohort.trials).items())),
        "cameras": sorted({name for trial in cohort.trials for name in trial.videos}),
        "reference": stored.card.reference.kind,
        "notes": list(stored.notes),
    }


def show_stored(stored: Imported, output: Path, *, notes: bool) -> str:
    """What was stored, in words."""
    told = account(stored)
    activities = ", ".join(f"{name} {number}" for name, number in told["activities"].items())
    rows = [
        ("cohort", f"{told['name']} {told['version']}" + (f", as {stored.source}" if stored.source else "")),
        ("holds", f"{count(told['subjects'], 'subject')}, {count(told['trials'], 'trial')}: {activities}"),
        ("cameras", ", ".join(told["cameras"]) or "none"),
        ("reference", told["reference"]),
        ("files", readable(stored.root) if stored.root is not None else ""),
        ("written", readable(output)),
    ]
    if notes:
        rows += [("note", note) for note in stored.notes]
    return facts(rows)


def show_findings(found: Imported, findings: list[Finding], *, notes: bool, every: bool = False) -> str:
    """Findings in words, the gravest first."""
    numbers = Counter(finding.severity for finding in findings)
    said = ", ".join(count(numbers[s], s) for s in ("error", "warning", "note") if numbers[s])
    lines = [f"{found.card.name} {found.card.version}: {said or 'nothing found'}"]
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if notes or finding.severity != "note":
            kinds.setdefault((finding.severity, finding.code), []).append(finding)
    for (severity, code), alike in sorted(kinds.items(), key=lambda pair: _GRAVE.index(pair[0][0])):
        few = alike if every or len(alike) <= FEW + 1 else alike[:FEW]
        lines += [_told(finding) for finding in few]
        if len(few) < len(alike):
            lines.append(f"  {severity} [{code}] and {len(alike) - len(few)} more (--all tells them)")
    return "\n".join(lines)


def _told(finding: Finding) -> str:
    where = CapbenchError("", file=finding.file, line=finding.line, place=finding.place)
    head = f"{finding.severity} [{finding.code}] "
    place = str(where).strip()
    lines = [wrapped(printable(f"{head}{finding.message}"), "  ", "    ")]
    if place:
        lines.append(f"    at {place.removesuffix(':')}")
    if finding.fix:
        lines.append(wrapped(printable(f"Try: {finding.fix}"), "    ", "      "))
    return "\n".join(lines)


def show_stats(found: Stats) -> str:
    """The numbers in words and a table."""

    def shown(limits: tuple[float, float] | None, unit: str) -> str:
        return "unknown" if limits is None else f"{limits[0]:g} to {limits[1]:g} {unit}"

    def counted(groups: dict[str, int]) -> str:
        return ", ".join(f"{name} {number}" for name, number in groups.items())

    rows = [
        ("cohort", f"{found.name} {found.version}"),
        ("subjects", f"{found.subjects}: {counted(found.sexes)}"),
        ("ages", counted(found.age_bands)),
        ("mass", shown(found.mass, "kg")),
        ("height", shown(found.height, "m")),
        ("cameras", ", ".join(f"{n} ({count(k, 'video')})" for n, k in found.cameras.items()) or "none"),
        ("frames", "counted by decoding" if found.decoded else "as the headers claim (--decode counts)"),
    ]
    if found.unreadable:
        rows.append(("unreadable", ", ".join(found.unreadable[:6])))
    cells = [
        (a.activity, a.subjects, a.trials, f"{a.reference_minutes:.2f}", a.videos, f"{a.video_minutes:.2f}",
         a.frames)
        for a in found.activities
    ]  # fmt: skip
    total = [sum(getattr(a, name) for a in found.activities) for name in
             ("trials", "reference_minutes", "videos", "video_minutes", "frames")]  # fmt: skip
    cells.append(("all", found.subjects, found.trials, f"{total[1]:.2f}", int(total[2]), f"{total[3]:.2f}",
                  int(total[4])))  # fmt: skip
    heads = ("activity", "subjects", "trials", "reference min", "videos", "video min", "frames")
    return "\n".join([facts(rows), "", table(heads, cells, indent="  ")])
