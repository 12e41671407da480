"""What is known to be wrong with LabValidation, looked for in the user's copy and told in words.

Reported by users of the archive: phones that are not synchronised, transforms that are none, references that
start late, trial numbers that nobody can guess. ``layout_traps`` needs names only, ``content_traps`` opens
the small files; what can be wrong with any cohort (frames, offsets, calibrations, units) is the affair of
:mod:`cohorts.check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cohorts.bounded import load_yaml, shorten
from cohorts.checks.findings import Finding, Severity
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.sources.labvalidation_layout import (
    CAMERAS,
    Archive,
    SubjectFiles,
    TrialFiles,
    published_trials,
)
from cohorts.values import FloatArray

ROTATION_KEY = "R_fromMocap_toVideo"
DECISIONS = {"junk", "pilot", "unknown-trials"}  #: kinds that say what the import left out
LATE = 0.05  #: seconds after the markers' start that a reference may begin
PROPER = 1e-3  #: how far R Rᵀ may be from 1 in a file of rounded numbers


def trap(severity: Severity, code: str, place: str, message: str, fix: str | None = None) -> Finding:
    """A finding from a phrase without a full stop."""
    return Finding(severity, code, f"{message}.", place or None, fix=fix)


def note_of(finding: Finding) -> str:
    """The phrase again, as notes of an import are."""
    return finding.message.removesuffix(".")


def layout_traps(archive: Archive, subjects: Iterable[SubjectFiles]) -> list[Finding]:
    """What the names of files and folders show."""
    found = []
    if archive.junk:
        found.append(
            trap(
                "note", "junk", "", f"{len(archive.junk)} files that Windows or macOS left behind are ignored"
            )
        )
    if archive.pilot is not None:
        found.append(
            trap(
                "note",
                "pilot",
                archive.pilot.name,
                f"{archive.pilot.name} was a pilot with another set-up and is left out",
            )
        )
    subjects = list(subjects)
    for subject in subjects:
        found += _of_subject(subject)
    return found + _static_sessions(subjects) + _numbers(subjects)


def _of_subject(subject: SubjectFiles) -> Iterator[Finding]:
    name = subject.name
    if subject.unknown:
        yield trap(
            "note",
            "unknown-trials",
            name,
            f"{name} has files of no condition that is known, left out: {shorten(subject.unknown)}",
        )
    if subject.model is None:
        yield trap(
            "warning",
            "no-model",
            name,
            f"{name} has no scaled model, so that its reference can't be solved again",
            "unpack OpenSimData/Mocap/Model",
        )
    if not any(trial.synced or trial.raw for trial in subject.trials):
        yield trap(
            "warning",
            "no-videos",
            name,
            f"{name} has no videos: only results that were computed elsewhere can be scored",
            "subject6 never had any; for others unpack LabValidation_withVideos.zip",
        )
    else:
        yield from _of_cameras(subject)
    yield from _of_published(subject)
    if not any(trial.condition.name == "static" for trial in subject.trials):
        yield trap("warning", "no-static", name, f"{name} has no static trial to scale a model with")


def _static_sessions(subjects: list[SubjectFiles]) -> list[Finding]:
    """Sessions in which nobody stood still, so that their model comes from another one."""
    found: dict[str, list[str]] = {}
    for subject in subjects:
        static = {trial.session for trial in subject.trials if trial.condition.name == "static"}
        for session in sorted({trial.session for trial in subject.trials} - static) if static else ():
            found.setdefault(session, []).append(subject.name)
    return [
        trap(
            "note",
            "static-session",
            session,
            f"{session} has no static trial ({shorten(names)}): its models are scaled on another session's",
        )
        for session, names in found.items()
    ]


def _of_cameras(subject: SubjectFiles) -> Iterator[Finding]:
    for session in subject.sessions.values():
        where = f"{subject.name}/{session.name}"
        missing = [camera for camera in CAMERAS if camera not in session.cameras]
        if missing:
            yield trap("warning", "missing-camera", where, f"{where} lacks {shorten(missing)}")
    for trial in subject.trials:
        where = f"{subject.name}/{trial.session}/{trial.name}"
        unsynced = [camera for camera in trial.raw if camera not in trial.synced]
        if unsynced:
            yield trap(
                "warning",
                "no-synced-video",
                where,
                f"{where}: {shorten(unsynced)} has only a raw film, which starts nobody knows when",
                "leave the camera out, or import with videos=raw and synchronise",
            )
        if (trial.raw or trial.synced) and trial.motion is None and trial.condition.name != "static":
            yield trap("warning", "no-reference", where, f"{where} was filmed but has no mocap angles")


def _of_published(subject: SubjectFiles) -> Iterator[Finding]:
    here = {trial.name for trial in subject.trials if not trial.condition.extra}
    listed = published_trials(subject.name)
    missing = [name for name in listed if name not in here]
    more = sorted(here.difference(listed))
    if missing or more:
        said = [f"lacks {shorten(missing)}"] if missing else []
        said += [f"has {shorten(more)} besides"] if more else []
        yield trap(
            "note",
            "published-trials",
            subject.name,
            f"of the 16 trials that the authors' results are of, {subject.name} {' and '.join(said)}",
            "import with trials=published to compare with published tables",
        )


def _numbers(subjects: list[SubjectFiles]) -> list[Finding]:
    """Which subjects' trials are not numbered from 1 without a gap."""
    odd = []
    for subject in subjects:
        numbers: dict[str, list[int]] = {}
        for trial in subject.trials:
            numbers.setdefault(trial.condition.name, []).append(trial.number)
        odd += [
            f"{subject.name} {name} {','.join(map(str, sorted(n)))}"
            for name, n in numbers.items()
            if sorted(n) != list(range(1, len(n) + 1))
        ]
    if not odd:
        return []
    text = f"trial numbers differ from subject to subject ({shorten(odd)}): never assume 1, 2, 3"
    return [trap("note", "trial-numbers", "", text)]


# --- what is in the files -------------------------------------------------------------------------


def content_traps(subjects: Iterable[SubjectFiles]) -> list[Finding]:
    """What transforms, references and force files hold; pictures are not opened."""
    subjects = list(subjects)
    made = [
        trap(
            "warning",
            "degenerate-transform",
            "",
            f"{len(found)} mocapToVideoTransform.yaml are no rotation, so they can't carry mocap markers "
            f"into the videos: {shorten(found)}",
            "don't use them; align by the trajectories themselves",
        )
        for found in [_degenerate(subjects)]
        if found
    ]
    late = [f"{s.name}/{said}" for s in subjects for t in s.trials if (said := _late(t)) is not None]
    if late:
        text = f"published angles of {len(late)} trials cover a part of the trial only: {shorten(late)}"
        made.append(trap("note", "late-reference", "", text, "compare by time, never by row number"))
    forces = [f"{s.name}/{t.name}" for s in subjects for t in s.trials if t.forces and _old_header(t.forces)]
    if forces:
        text = (
            f"{len(forces)} force files have SIMM's old header (datacolumns, datarows, range), which is read "
            f"all the same: {shorten(forces)}"
        )
        made.append(trap("note", "old-force-header", "", text))
    return made


def _degenerate(subjects: Iterable[SubjectFiles]) -> list[str]:
    """Where a transform is no rotation, and how it fails to be one."""
    found = []
    for subject in subjects:
        for session in subject.sessions.values():
            if session.transform is None:
                continue
            try:
                turn = read_transform(session.transform)
            except CapbenchError as error:
                found.append(f"{subject.name}/{session.name} ({error.problem})")
                continue
            det = float(np.linalg.det(turn))
            if np.abs(turn @ turn.T - np.eye(3)).max() > PROPER or det < 0:
                found.append(f"{subject.name}/{session.name} (determinant {det:.3g})")
    return found


def read_transform(path: Path) -> FloatArray:
    """(3, 3) the rotation mocap -> checkerboard world of a mocapToVideoTransform.yaml, proper or not."""
    content = load_yaml(path)
    rows = content.get(ROTATION_KEY) if isinstance(content, dict) else None
    try:
        turn = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError):
        turn = np.empty(0)
    if turn.shape != (3, 3) or not np.isfinite(turn).all():
        raise CapbenchError(f"Expected {ROTATION_KEY} as three rows of three numbers.", file=path)
    return turn


def _late(trial: TrialFiles) -> str | None:
    """Which part of the trial its published angles cover, where it is not all of it."""
    if trial.motion is None or trial.markers is None:
        return None
    from cohorts.formats import storage, trc

    try:
        motion, markers = storage.read(trial.motion), trc.read(trial.markers)
    except CapbenchError:
        return None  # said by the check that reads every file
    if (
        not isinstance(motion, Motion)
        or not isinstance(markers, Markers)
        or not len(motion)
        or not len(markers)
    ):
        return None
    first, last = float(motion.time[0]), float(motion.time[-1])
    if first - markers.time[0] < LATE and markers.time[-1] - last < LATE:
        return None
    return f"{trial.name} {first:g}-{last:g} of {markers.time[0]:g}-{markers.time[-1]:g} s"


def _old_header(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(2000).lower()
    except OSError:
        return False
    return b"datacolumns" in head.split(b"endheader")[0]
