"""How OpenCap's LabValidation archive lies on a disk: what is found there, nothing assumed.

::

    LabValidation_withVideos/subjectN/
      sessionMetadata.yaml
      ForceData/<trial>_forces.mot               EMGData/<trial>_EMG.sto
      MarkerData/Mocap/<trial>.trc
      OpenSimData/Mocap/IK/<trial>.mot           OpenSimData/Mocap/Model/*_scaled.osim
      OpenSimData/Video/<detector>/<k>-cameras/IK/<trial>.mot
      VideoData/SessionK/CamM/cameraIntrinsicsExtrinsics.pickle
      VideoData/SessionK/CamM/<trial>/<trial>.avi and <trial>_syncdWithMocap.avi
      VideoData/SessionK/mocapToVideoTransform.yaml (its place differs: looked for below the subject)

Trial numbers differ from subject to subject, one subject has no videos, subject1 was a pilot, and Windows
left its ``desktop.ini`` everywhere. Sources: the loaders of opencap-core and OpenCapBench; Uhlrich et al.,
PLOS Computational Biology 19 (2023) e1011462.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cohorts.errors import CapbenchError, RefusedError

ENTRY_LIMIT = 5000  #: files and folders in one folder; the archive has some 40 at most
CAMERAS = ("Cam0", "Cam1", "Cam2", "Cam3", "Cam4")  #: at -70°, -45°, 0°, 45° and 70° from the facing side
SYNCED = "_syncdWithMocap"  #: ends the name of a video that is cut to the time of the mocap trial
CALIBRATION = "cameraIntrinsicsExtrinsics.pickle"
TRANSFORM = "mocapToVideoTransform.yaml"
METADATA = "sessionMetadata.yaml"
PILOT = "subject1"
#: files that systems leave behind
JUNK = re.compile(r"(desktop\.ini|thumbs\.db|\.ds_store|\._.*|~.*|__macosx)\Z", re.IGNORECASE)
_SUBJECT = re.compile(r"subject(\d{1,4})\Z")
_TRIAL = re.compile(r"(?P<condition>[A-Za-z_]+?)(?P<number>\d{1,3})\Z")


class Condition(NamedTuple):
    """A kind of trial: in which session, and, where the published results are not of it, what is done."""

    name: str
    session: str
    extra: str = ""


CONDITIONS: Mapping[str, Condition] = {
    c.name.lower(): c
    for c in (
        Condition("walking", "Session1"),
        Condition("walkingTS", "Session1"),
        Condition("walkingTI", "Session1", "walking with the toes turned in"),
        Condition("walkingTO", "Session1", "walking with the toes turned out"),
        Condition("squats", "Session0"),
        Condition("squatsAsym", "Session0"),
        Condition("STS", "Session0"),
        Condition("STSweakLegs", "Session0"),
        Condition("STSasym", "Session0", "rising from a chair with the weight on one leg"),
        Condition("STSfast", "Session0", "rising from a chair fast"),
        Condition("DJ", "Session0"),
        Condition("DJAsym", "Session0"),
        Condition("static", "Session0", "standing still, to scale the model"),
    )
}

#: the trials of the published results, where they are not 1, 2, 3: subject -> condition -> numbers
_NUMBERS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "subject2": {"walkingTS": (1, 2, 4), "DJAsym": (1, 4, 5)},
    "subject3": {"walkingTS": (2, 3, 4), "DJ": (1, 2, 4), "DJAsym": (1, 2, 4)},
    "subject4": {"walking": (1, 2, 4)},
    "subject7": {"DJ": (2, 3, 4)},
    "subject11": {"walking": (2, 3, 4), "DJ": (1, 4, 5), "DJAsym": (3, 4, 5)},
}
_THREE_EACH = ("walking", "walkingTS", "DJ", "DJAsym")
_ONE_EACH = ("squats", "squatsAsym", "STS", "STSweakLegs")


def published_trials(subject: str) -> tuple[str, ...]:
    """The 16 trials of a subject that the authors' results are of.

    >>> published_trials("subject4")[:4]
    ('squats1', 'squatsAsym1', 'STS1', 'STSweakLegs1')
    """
    own = _NUMBERS.get(subject, {})
    some = [f"{condition}{n}" for condition in _THREE_EACH for n in own.get(condition, (1, 2, 3))]
    return (*(f"{condition}1" for condition in _ONE_EACH), *some)


@dataclass(frozen=True)
class TrialFiles:
    """The files of one trial; cameras by name.

    Attributes
    ----------
    name, condition, number : such as "walkingTS2", "walkingTS" and 2
    session : such as "Session1", from where its videos are, or else from its condition
    synced, raw : camera -> video cut to the mocap trial, and as filmed
    markers, motion, forces, emg : the mocap trial's, where they exist
    """

    name: str
    condition: Condition
    number: int
    session: str
    synced: Mapping[str, Path]
    raw: Mapping[str, Path]
    markers: Path | None
    motion: Path | None
    forces: Path | None
    emg: Path | None


@dataclass(frozen=True)
class SessionFiles:
    """A recording session: its cameras, their calibrations, and what links the two worlds."""

    name: str
    cameras: tuple[str, ...]
    calibrations: Mapping[str, Path]
    transform: Path | None


@dataclass(frozen=True)
class SubjectFiles:
    """One subject's folder.

    Attributes
    ----------
    name : such as "subject4"
    metadata : sessionMetadata.yaml, or None
    sessions : by name
    trials : by condition and number
    model : the scaled model that the published mocap angles belong to, or None
    shipped : (detector, cameras such as "2-cameras") -> trial -> OpenCap's own joint angles
    unknown : names of trials that fit no condition
    """

    name: str
    folder: Path
    metadata: Path | None
    sessions: Mapping[str, SessionFiles]
    trials: tuple[TrialFiles, ...]
    model: Path | None
    shipped: Mapping[tuple[str, str], Mapping[str, Path]]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    """What was found: subjects by number, the pilot where it was left in, and how many files are junk."""

    root: Path
    subjects: tuple[SubjectFiles, ...]
    pilot: Path | None
    junk: tuple[Path, ...]


def find_root(folder: Path) -> Path | None:
    """The folder that holds the subjects: ``folder`` itself, or one or two folders into it."""
    if _looks_like(folder):
        return folder
    below = [path for path in _entries(folder, []) if path.is_dir()]
    for path in (*below, *(inner for outer in below[:20] for inner in _folders(outer))):
        if _looks_like(path):
            return path
    return None


def _looks_like(folder: Path) -> bool:
    return any(
        (subject / "OpenSimData" / "Mocap").is_dir() or (subject / "MarkerData" / "Mocap").is_dir()
        for subject in _subject_folders(folder, [])
    )


def find_archive(folder: Path) -> Archive:
    """Everything that the folder of an unpacked archive holds."""
    root = find_root(folder)
    if root is None:
        raise CapbenchError(
            "Expected folders subject2, subject3, … with OpenSimData/Mocap in them, got none.",
            file=folder,
            fix="give the folder that LabValidation_withVideos.zip was unpacked to",
        )
    junk: list[Path] = []
    _entries(root, junk)
    folders = _subject_folders(root, junk)
    pilot = next((path for path in folders if path.name == PILOT), None)
    subjects = tuple(_subject(path, junk) for path in folders if path.name != PILOT)
    return Archive(root, subjects, pilot, tuple(dict.fromkeys(junk)))


def _subject_folders(folder: Path, junk: list[Path]) -> list[Path]:
    found = [(_SUBJECT.match(path.name), path) for path in _folders(folder, junk)]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def _subject(folder: Path, junk: list[Path]) -> SubjectFiles:
    sessions: dict[str, SessionFiles] = {}
    videos: dict[str, dict[str, dict[str, dict[str, Path]]]] = {}
    for session in _folders(folder / "VideoData", junk):
        if session.name.startswith("Session"):
            sessions[session.name], videos[session.name] = _session(session, junk)
    files = {
        "markers": _by_stem(folder / "MarkerData" / "Mocap", ".trc", junk),
        "motion": _by_stem(folder / "OpenSimData" / "Mocap" / "IK", ".mot", junk),
        "forces": _by_stem(folder / "ForceData", "_forces.mot", junk),
        "emg": _by_stem(folder / "EMGData", "_EMG.sto", junk),
    }
    names = {*files["markers"], *files["motion"], *(name for found in videos.values() for name in found)}
    known = {name: found for name in names if (found := parse_trial(name)) is not None}
    order = list(CONDITIONS.values())
    trials = [
        _trial(name, *known[name], files, videos)
        for name in sorted(known, key=lambda n: (order.index(known[n][0]), known[n][1]))
    ]
    metadata = folder / METADATA
    _entries(folder, junk)
    return SubjectFiles(
        folder.name,
        folder,
        metadata if metadata.is_file() else None,
        _with_transforms(sessions, folder, junk),
        tuple(trials),
        _model(folder / "OpenSimData" / "Mocap" / "Model", junk),
        _shipped(folder / "OpenSimData" / "Video", junk),
        tuple(sorted(names - known.keys())),
    )


def parse_trial(name: str) -> tuple[Condition, int] | None:
    """The condition and number of a trial's name, or None where it is of no kind that is known.

    >>> parse_trial("walkingTS2")[1], parse_trial("ground_jumps1")
    (2, None)
    """
    match = _TRIAL.match(name)
    if match is None or match["condition"].lower() not in CONDITIONS:
        return None
    return CONDITIONS[match["condition"].lower()], int(match["number"])


def _trial(
    name: str,
    condition: Condition,
    number: int,
    files: Mapping[str, Mapping[str, Path]],
    videos: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Path]]]],
) -> TrialFiles:
    filmed = [session for session, found in videos.items() if name in found]
    session = condition.session if condition.session in filmed or not filmed else filmed[0]
    seen = videos.get(session, {}).get(name, {})
    return TrialFiles(
        name,
        condition,
        number,
        session,
        seen.get("synced", {}),
        seen.get("raw", {}),
        *(files[what].get(name) for what in ("markers", "motion", "forces", "emg")),
    )


def _session(folder: Path, junk: list[Path]) -> tuple[SessionFiles, dict[str, dict[str, dict[str, Path]]]]:
    """The session, and trial -> "synced" or "raw" -> camera -> video."""
    cameras = [path for path in _folders(folder, junk) if path.name.startswith("Cam")]
    calibrations = {c.name: c / CALIBRATION for c in cameras if (c / CALIBRATION).is_file()}
    videos: dict[str, dict[str, dict[str, Path]]] = {}
    for camera in cameras:
        for trial in _folders(camera, junk):
            if trial.name == "extrinsics":  # the film of the checkerboard
                continue
            for kind, ending in (("synced", SYNCED), ("raw", "")):
                path = trial / f"{trial.name}{ending}.avi"
                if path.is_file():
                    videos.setdefault(trial.name, {}).setdefault(kind, {})[camera.name] = path
    names = tuple(camera.name for camera in cameras)
    return SessionFiles(folder.name, names, calibrations, None), videos


def _with_transforms(
    sessions: Mapping[str, SessionFiles], subject: Path, junk: list[Path]
) -> dict[str, SessionFiles]:
    """The sessions with their mocapToVideoTransform.yaml, in the session's folder or one like it."""
    found: dict[str, Path] = {}
    for name in sessions:
        for place in (
            subject / "VideoData" / name,
            subject / "MarkerData" / "Mocap" / name,
            subject / "MarkerData" / name,
            subject / name,
        ):
            if (place / TRANSFORM).is_file():
                found.setdefault(name, place / TRANSFORM)
    return {
        name: SessionFiles(name, session.cameras, session.calibrations, found.get(name))
        for name, session in sessions.items()
    }


def _model(folder: Path, junk: list[Path]) -> Path | None:
    """The scaled model; ``_scaled_adjusted`` differs in its muscles, not in its bones or markers."""
    found = _by_stem(folder, ".osim", junk)
    for ending in ("_scaled", "_scaled_adjusted"):
        fits = [path for stem, path in found.items() if stem.endswith(ending)]
        if fits:
            return fits[0]
    return None


def _shipped(folder: Path, junk: list[Path]) -> dict[tuple[str, str], dict[str, Path]]:
    found = {}
    for detector in _folders(folder, junk):
        for cameras in _folders(detector, junk):
            motions = _by_stem(cameras / "IK", ".mot", junk)
            if motions:
                found[detector.name, cameras.name] = motions
    return found


# --- folders ------------------------------------------------------------------------------------


def _by_stem(folder: Path, ending: str, junk: list[Path]) -> dict[str, Path]:
    """Name without ``ending`` -> file, of the files in ``folder`` that end in it."""
    return {
        path.name[: -len(ending)]: path
        for path in _entries(folder, junk)
        if path.name.endswith(ending) and len(path.name) > len(ending) and path.is_file()
    }


def _folders(folder: Path, junk: list[Path] | None = None) -> list[Path]:
    return [path for path in _entries(folder, [] if junk is None else junk) if path.is_dir()]


def _entries(folder: Path, junk: list[Path]) -> Iterator[Path]:
    """What a folder holds, sorted, without what systems leave behind; nothing where there is no folder."""
    if not folder.is_dir():
        return iter(())
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise CapbenchError(f"Can't be read: {error.strerror}.", file=folder) from None
    if len(entries) > ENTRY_LIMIT:
        raise RefusedError(
            f"Expected at most {ENTRY_LIMIT} entries in a folder, got {len(entries)}.", file=folder
        )
    junk.extend(path for path in entries if JUNK.match(path.name))
    return iter([path for path in entries if not JUNK.match(path.name)])
