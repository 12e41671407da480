"""The card against the trials, the people, and the files as files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from cohorts.bounded import shorten
from cohorts.card import FILE_NAME, SPLITS
from cohorts.checks.findings import Report
from cohorts.errors import CapbenchError
from cohorts.recording import Trial
from cohorts.store import paths_of, sha256
from cohorts.strict import Lines

Located = dict[tuple[str, ...], Path]


def check_people(report: Report) -> None:
    """Everyone has trials, mass and height where a model must be scaled, and a place in the splits."""
    cohort = report.imported.cohort
    trials: dict[str, list[Trial]] = defaultdict(list)
    for trial in cohort.trials:
        trials[trial.subject].append(trial)
    for person in cohort.subjects:
        own = trials[person.pseudonym]
        if not own:
            report.add(
                "warning",
                "no-trials",
                "Expected at least one trial of the subject, got none.",
                subject=person.pseudonym,
                fix="remove the subject, or import its recordings",
            )
            continue
        measured = any(t.markers or t.motion for t in own)
        filmed = any(t.videos for t in own)
        for what, value, unit in (("mass", person.mass, "kilograms"), ("height", person.height, "metres")):
            if value is None and (measured or filmed):
                report.add(
                    "error" if measured and what == "mass" else "warning",
                    f"no-{what}",
                    f"Expected the subject's {what}, got none: a model can't be scaled to the person.",
                    subject=person.pseudonym,
                    fix=f"add {what}: in {unit}",
                )


def check_card(report: Report) -> None:
    """The card says of people, activities, cameras and splits what the trials hold."""
    card, cohort = report.imported.card, report.imported.cohort
    folder = report.imported.folder
    file = None if folder is None else folder / FILE_NAME
    lines = None if file is None else Lines.of_file(file)

    def say(severity: str, message: str, *at: str, fix: str | None = None) -> None:
        line = None if lines is None else lines.of(*at)
        place = None if file is not None else "card"
        report.add("error" if severity == "error" else "warning", "card", message, place=place, file=file,
                   line=line, fix=fix)  # fmt: skip

    if card.subjects.count != len(cohort.subjects):
        say(
            "warning",
            f"Expected {card.subjects.count} subjects as the card says, got {len(cohort.subjects)}.",
            "subjects", "count",
            fix="correct the count, or say in note: who is left out",
        )  # fmt: skip
    done = {trial.activity for trial in cohort.trials}
    unsaid = sorted(done - set(card.activities))
    if unsaid:
        say("warning", f"Expected every activity on the card, got trials of {shorten(unsaid)}.", "activities")
    undone = sorted(set(card.activities) - done)
    if undone:
        say("warning", f"Expected trials of every activity of the card, got none of {shorten(undone)}.",
            "activities")  # fmt: skip
    used = {name for trial in cohort.trials for name in trial.videos}
    unnamed = sorted(used - set(() if card.cameras is None else card.cameras.names))
    if unnamed:
        say("warning", f"Expected every camera on the card, got videos of {shorten(unnamed)}.", "cameras")
    people = {person.pseudonym for person in cohort.subjects}
    for split in SPLITS:
        given = getattr(card.splits, split)
        lost = [] if given is None else sorted(set(given.subjects) - people - {"all"})
        if lost:
            say(
                "error",
                f"Expected the split's subjects among {shorten(sorted(people))}, got {shorten(lost)}.",
                "splits", split, "subjects",
            )  # fmt: skip


def locate(report: Report, trial: Trial) -> Located:
    """Where each file of a trial lies; what is missing, empty or outside the root is reported."""
    found: Located = {}
    for at, path in paths_of(trial).items():
        what = " ".join(at[::-1]) if at[0] != "extras" else at[1]
        try:
            place = report.imported.path(path)
        except CapbenchError as error:
            report.add("error", "outside-root", error.problem, trial=trial, at=at, place=what, fix=error.fix)
            continue
        if place.exists() and not (place.is_file() and place.stat().st_size == 0):
            found[at] = place
            continue
        report.add(
            "error",
            "missing-file",
            f"Expected a file at {place}, got {'an empty one' if place.exists() else 'none'}.",
            trial=trial,
            at=at,
            place=what,
            fix="fetch it again, or correct the path (or the root: of the whole list)",
        )
    return found


def check_hashes(report: Report) -> None:
    """Every file is still the one whose hash the card holds."""
    for path, digest in report.imported.card.hashes.items():
        try:
            place = report.imported.path(path)
            if place.exists() and sha256(place) != digest:
                report.add(
                    "error",
                    "changed-file",
                    "Expected the file whose SHA-256 the card holds, got another: it changed since.",
                    file=place,
                    fix="fetch it again; if the change is meant, import anew with a new version",
                )
        except CapbenchError as error:
            report.add_error(error, "unreadable")


#: what may well be equal in two trials: a subject's model, a rig that stood still
_SHARED = {"model", "static", "setup", "images"}


def check_duplicates(report: Report, located: dict[str, Located]) -> None:
    """No two files of different trials or cameras hold the same bytes."""
    by_size: dict[tuple[str, int], dict[Path, str]] = defaultdict(dict)
    for key, files in located.items():
        for at, path in files.items():
            if not path.is_file() or (at[0] == "extras" and at[1].partition(":")[0] in _SHARED):
                continue
            name = " ".join((key, *at[1:]))
            by_size[at[0], path.stat().st_size].setdefault(path, name)
    for (what, _), paths in sorted(by_size.items()):
        if len(paths) < 2:
            continue
        same: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            same[sha256(path)].append(path)
        for group in same.values():
            if len(group) > 1:
                _tell_duplicates(report, what, group, paths)


def _tell_duplicates(report: Report, what: str, group: list[Path], names: dict[Path, str]) -> None:
    said = shorten([names[path] for path in group], 4)
    singular = {"videos": "video", "calibrations": "calibration", "extras": "file"}.get(what, what)
    # a rig that stood still may have been calibrated once; two cameras can't stand in one place
    cameras = {names[path].rpartition(" ")[2] for path in group}
    harmless = what == "extras" or (what == "calibrations" and len(cameras) == 1)
    report.add(
        "note" if harmless else "error",
        "duplicate-file",
        f"Expected a {singular} of its own for each, got the same bytes for {said}.",
        file=group[-1],
        fix=None if harmless else "find out which of them it belongs to, and fetch the others",
    )
