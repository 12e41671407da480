"""What importers have in common: listing a user's folder, naming activities, drafting a card."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cohorts.bounded import shorten
from cohorts.camera import Camera
from cohorts.card import Card, Licence, People, Reference, Rig, Split, Splits, leads_out
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import FORMATS
from cohorts.recording import Cohort, Subject, Trial

FILE_LIMIT = 500_000
VIDEO_SUFFIXES = FORMATS["video"].suffixes
MARKER_SUFFIXES = (".trc", ".c3d")
MOTION_SUFFIXES = (".mot", ".sto")
#: what systems leave in folders
_JUNK = {"desktop.ini", "thumbs.db", "__macosx"}


def files_of(folder: Path, notes: list[str] | None = None) -> list[str]:
    """Every file below ``folder``, relative and with "/", sorted; hidden ones and junk are left out.

    Links to folders are not followed. Names that a card can't hold are left out and noted.
    """
    found: list[str] = []
    odd: list[str] = []
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n.lower() not in _JUNK)
        base = Path(top).relative_to(folder)
        for name in names:
            if name.startswith(".") or name.lower() in _JUNK:
                continue
            path = (base / name).as_posix()
            (odd if leads_out(path) else found).append(path)
        if len(found) > FILE_LIMIT:
            raise RefusedError(f"Expected at most {FILE_LIMIT} files, got more.", file=folder)
    if odd and notes is not None:
        notes.append(f"files whose names hold unprintable signs were left out: {shorten(odd)}")
    return sorted(found)


def is_video(path: str) -> bool:
    """Whether a file's name ends like a video's."""
    return path.lower().endswith(VIDEO_SUFFIXES)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sorting key in which "cam10" follows "cam9"."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), "") if p.isdigit() and len(p) < 19 else (0, 0, p) for p in parts]


def activity_of(trial: str, activities: Mapping[str, str] | None = None) -> str:
    """What a trial's name says is done: the name without the number at its end.

    ``activities`` (name -> wildcard) are asked first, in order.

    >>> activity_of("walkingTS2"), activity_of("squat_03"), activity_of("07")
    ('walkingTS', 'squat', 'unnamed')
    """
    from fnmatch import fnmatchcase

    for activity, pattern in (activities or {}).items():
        if fnmatchcase(trial, pattern):
            return activity
    return re.sub(r"[\s._-]*\d+$", "", trial) or "unnamed"


def calibrated(path: Path, notes: list[str] | None = None) -> tuple[Camera, ...]:
    """All cameras in a calibration file."""
    from cohorts.formats import read

    _, found = read(path, notes=notes)
    given = found if isinstance(found, tuple) else ()
    cameras = tuple(camera for camera in given if isinstance(camera, Camera))
    if not cameras:
        raise CapbenchError("Expected a calibration, got something else.", file=path)
    return cameras


def number_or_none(value: Any) -> float | None:
    """A number, or None for what is none ("auto", an empty cell, true)."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def cohort_of(
    name: str,
    version: str,
    people: Iterable[Subject],
    trials: Iterable[Trial],
    *,
    folder: Path,
) -> Cohort:
    """The cohort; refuses one without trials. People are sorted as one counts."""
    trials = sorted(trials, key=lambda trial: natural(trial.key))
    if not trials:
        raise CapbenchError("Expected at least one trial, got none.", file=folder)
    return Cohort(name, version, tuple(sorted(people, key=lambda s: natural(s.pseudonym))), tuple(trials))


def draft_card(
    cohort: Cohort,
    *,
    title: str,
    reference: Reference | None = None,
    up: str | None = None,
    floor: float | None = None,
    note: str = "",
    **fields: Any,
) -> Card:
    """A card that says what can be seen in the files; its owner fills in the rest. ``fields`` override."""
    sexes = Counter(subject.sex for subject in cohort.subjects)
    cameras = sorted({name for t in cohort.trials for name in (*t.videos, *t.calibrations)}, key=natural)
    known: dict[str, Any] = {
        "name": cohort.name,
        "version": cohort.version,
        "title": title,
        "kind": "real",
        "licence": Licence(
            name="not stated",
            obtain="These are files of whoever imported them. Their owner states the terms in cohort.yaml.",
        ),
        "consent": "not stated: whoever imported these files answers for it",
        "subjects": People(
            count=max(1, len(cohort.subjects)),
            female=sexes["female"] if not sexes[None] else None,
            male=sexes["male"] if not sexes[None] else None,
        ),
        "activities": {activity: activity for activity in sorted({t.activity for t in cohort.trials})},
        "cameras": Rig.model_validate(
            {"names": cameras, "synchronised": False, "up": up, "floor": floor, "note": note}
        )
        if cameras
        else None,
        "reference": reference or reference_of(cohort),
        "protocol": "capbench-1",
        "splits": Splits(test=Split(subjects=("all",))),
    }
    return Card.model_validate({**known, **fields})


def reference_of(cohort: Cohort, model: str = "") -> Reference:
    """What the trials hold for a reference; ``model`` names the model of its joint angles."""
    if any(trial.motion for trial in cohort.trials):
        models = sorted({t.extras["model"] for t in cohort.trials if "model" in t.extras})
        said = model or ", ".join(models[:3]) or "not stated"
        return Reference(kind="motion", model=said, solved="not stated")
    if any(trial.markers for trial in cohort.trials):
        return Reference(kind="markers", solved="not stated")
    if any("keypoints" in trial.extras for trial in cohort.trials):
        return Reference(kind="keypoints", solved="not stated")
    return Reference(kind="none")


def short_name(text: str) -> str:
    """``text`` as a cohort's name may be: other signs become dashes.

    >>> short_name("Lab of Übung, 2024")
    'Lab-of-bung-2024'
    """
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", text.encode("ascii", "ignore").decode()).strip("-._")
    return cleaned[:80] or "cohort"
