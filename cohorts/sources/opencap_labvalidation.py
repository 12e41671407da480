"""OpenCap's LabValidation data set from SimTK, as its users unpack it, with or without videos.

What lies where is found out by :mod:`cohorts.sources.labvalidation_layout`, and nothing is assumed: trial
numbers differ from subject to subject, a subject has no videos, cameras may be missing. The published joint
angles are the trials' reference here; a run solves them anew (:mod:`capbench.run.reference`), for which each
trial names the subject's scaled model.

Roles among a trial's ``extras``: ``model``, ``static`` (markers of the subject's static trial), ``forces``,
``emg`` and ``result:<detector>/<k>-cameras``, OpenCap's own joint angles from video: submissions that can be
scored without a video and without a GPU (:func:`shipped_results`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohorts.bounded import load_yaml, shorten
from cohorts.card import Card, People, builtin_card
from cohorts.checks.findings import Finding
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Cohort, Subject, Trial
from cohorts.sources.common import cohort_of, number_or_none
from cohorts.sources.labvalidation_layout import (
    Archive,
    SubjectFiles,
    TrialFiles,
    find_archive,
    find_root,
    published_trials,
)
from cohorts.sources.labvalidation_traps import DECISIONS, content_traps, layout_traps, note_of
from cohorts.store import Imported

NAME = "opencap-labvalidation"
TITLE = "OpenCap LabValidation (SimTK project 2385), as unpacked"
RESULT = "result:"  #: begins the role of a file of OpenCap's own joint angles
VIDEOS = ("synced", "raw", "none")
TRIALS = ("found", "published")


def recognise(folder: Path) -> str | None:
    """Why the folder looks like the unpacked archive, or None."""
    try:
        root = find_root(folder)
    except CapbenchError:
        return None
    if root is None:
        return None
    return f"{root.name} holds folders subjectN with OpenSimData/Mocap or MarkerData/Mocap"


def read(
    folder: Path,
    *,
    videos: str = "synced",
    trials: str = "found",
    others: str = "no",
    subjects: str = "all",
) -> Imported:
    """The archive's subjects and trials; nothing is copied.

    Parameters
    ----------
    folder : what the archive was unpacked to
    videos : "synced" takes the clips that are cut to the mocap trial, "raw" the films as the phones made
        them, "none" neither
    trials : "found" takes every trial that is there, "published" only the 16 of each subject that the
        authors' results are of
    others : "yes" also takes conditions that the published results leave out (toe-in, toe-out, …); the
        static trial always comes along
    subjects : such as "subject2,subject4"
    """
    for what, given, known in (
        ("choice of videos", videos, VIDEOS),
        ("choice of trials", trials, TRIALS),
        ("choice of others", others, ("no", "yes")),
    ):
        if given not in known:
            raise unknown_name(what, given, known)
    archive = find_archive(folder)
    chosen = _chosen(archive, subjects)
    people, made = [], []
    for subject in chosen:
        people.append(_person(subject))
        wanted = [t for t in subject.trials if _wanted(subject, t, trials, others)]
        made += [_trial(subject, trial, videos) for trial in wanted]
    notes = [note_of(odd) for odd in layout_traps(archive, chosen) if odd.code in DECISIONS]
    if others == "no":
        notes += _left_out(chosen)
    about = builtin_card(NAME)
    cohort = cohort_of(about.name, about.version, people, made, folder=folder)
    return Imported(_card(about, cohort, chosen), cohort, tuple(notes))


def _chosen(archive: Archive, subjects: str) -> list[SubjectFiles]:
    known = {subject.name: subject for subject in archive.subjects}
    names = list(known) if subjects == "all" else [name.strip() for name in subjects.split(",")]
    for name in names:
        if name not in known:
            raise unknown_name("subject", name, known)
    return [known[name] for name in dict.fromkeys(names)]


def _wanted(subject: SubjectFiles, trial: TrialFiles, trials: str, others: str) -> bool:
    if trial.condition.name == "static":
        return True
    if trial.condition.extra:
        return others == "yes"
    return trials == "found" or trial.name in published_trials(subject.name)


def _person(subject: SubjectFiles) -> Subject:
    """The person of a sessionMetadata.yaml; one without a mass can't be scaled and is refused."""
    if subject.metadata is None:
        raise CapbenchError(
            "Expected sessionMetadata.yaml with the subject's mass, got none.",
            file=subject.folder,
            place=subject.name,
            fix="unpack it from the archive, or leave the subject out with --subjects",
        )
    about = load_yaml(subject.metadata)
    about = about if isinstance(about, dict) else {}
    mass, height = number_or_none(about.get("mass_kg")), number_or_none(about.get("height_m"))
    if mass is None:
        raise CapbenchError(
            f"Expected the subject's mass, got {about.get('mass_kg')!r}.",
            file=subject.metadata,
            place=subject.name,
            fix="add a line 'mass_kg: …' (kilograms), or leave the subject out with --subjects",
        )
    sex: Any = {"f": "female", "m": "male"}.get(str(about.get("gender_mf")).lower()[:1])
    try:
        return Subject(subject.name, mass, height, sex)
    except CapbenchError as error:
        error.file = str(subject.metadata)
        raise


def _trial(subject: SubjectFiles, trial: TrialFiles, videos: str) -> Trial:
    session = subject.sessions.get(trial.session)
    extras = {
        "model": subject.model,
        "static": next((t.markers for t in subject.trials if t.condition.name == "static"), None),
        "forces": trial.forces,
        "emg": trial.emg,
    }
    for (detector, cameras), motions in subject.shipped.items():
        extras[f"{RESULT}{detector}/{cameras}"] = motions.get(trial.name)
    films: Mapping[str, Path] = {"synced": trial.synced, "raw": trial.raw}.get(videos, {})
    return Trial(
        trial.name,
        subject.name,
        trial.condition.name,
        trial.session,
        {camera: str(path.absolute()) for camera, path in films.items()},
        {name: str(path.absolute()) for name, path in session.calibrations.items()} if session else {},
        None if trial.markers is None else str(trial.markers.absolute()),
        None if trial.motion is None else str(trial.motion.absolute()),
        extras={role: str(path.absolute()) for role, path in extras.items() if path is not None},
    )


def _card(about: Card, cohort: Cohort, subjects: Iterable[SubjectFiles]) -> Card:
    """The data set's card, of what is there."""
    sexes = [person.sex for person in cohort.subjects]
    said = about.subjects
    people = People(
        count=len(sexes),
        female=sexes.count("female"),
        male=sexes.count("male"),
        ages=said.ages if len(sexes) == said.count else "",
        health=said.health,
        note=said.note if len(sexes) == said.count else f"{len(sexes)} of the data set's {said.count}.",
    )
    extra = {t.condition.name: t.condition.extra for s in subjects for t in s.trials}
    done = {trial.activity for trial in cohort.trials}
    activities = {name: text for name, text in {**extra, **about.activities}.items() if name in done}
    filmed = any(trial.videos for trial in cohort.trials)
    return about.model_copy(
        update={
            "subjects": people,
            "activities": activities,
            "cameras": about.cameras if filmed else None,
        }
    )


def _left_out(subjects: Iterable[SubjectFiles]) -> list[str]:
    names = [
        f"{s.name}/{t.name}"
        for s in subjects
        for t in s.trials
        if t.condition.extra and t.condition.name != "static"
    ]
    if not names:
        return []
    return [
        f"conditions that the published results leave out are left out, unless others=yes: {shorten(names)}"
    ]


def check(imported: Imported) -> list[Finding]:
    """What is known to be wrong with this data set, as far as it is wrong in the user's copy.

    It goes beyond what :mod:`cohorts.check` finds in any cohort, and leaves out what the import's notes say
    already; empty where the archive's layout is gone.
    """
    if imported.root is None:
        return []
    try:
        archive = find_archive(imported.root)
    except CapbenchError:
        return []
    people = {subject.pseudonym for subject in imported.cohort.subjects}
    chosen = [subject for subject in archive.subjects if subject.name in people]
    found = [*layout_traps(archive, chosen), *content_traps(chosen)]
    return [odd for odd in found if note_of(odd) not in imported.notes]


# --- OpenCap's own results ------------------------------------------------------------------------


@dataclass(frozen=True)
class Shipped:
    """Joint angles that OpenCap's makers computed from the videos, shipped with the data.

    Attributes
    ----------
    name : such as "opencap-hrnet-2-cameras"
    detector : such as "HRNet" or "OpenPose_highAccuracy"
    cameras : how many cameras were used; 2 are Cam1 and Cam3, 3 are Cam1 to Cam3, 5 are all
    motions : key of a trial -> .mot, relative to the cohort's root
    missing : keys of trials with a reference for which there is none: a failure to be charged
    """

    name: str
    detector: str
    cameras: int
    motions: Mapping[str, str]
    missing: tuple[str, ...]


def shipped_results(cohort: Cohort) -> tuple[Shipped, ...]:
    """OpenCap's own results among the extras of a cohort's trials, to be scored as submissions."""
    found: dict[str, dict[str, str]] = {}
    for trial in cohort.trials:
        for role, path in trial.extras.items():
            if role.startswith(RESULT):
                found.setdefault(role, {})[trial.key] = path
    scored = [trial.key for trial in cohort.trials if trial.motion is not None]
    made = []
    for role, motions in sorted(found.items()):
        detector, _, cameras = role.removeprefix(RESULT).rpartition("/")
        number = re.match(r"\d{1,3}", cameras)
        made.append(
            Shipped(
                f"opencap-{detector}-{cameras}".lower().replace("_", "-"),
                detector,
                int(number[0]) if number else 0,
                motions,
                tuple(key for key in scored if key not in motions),
            )
        )
    return tuple(made)
