"""Session downloads of the OpenCap app (``OpenCapData_<session>/``).

::

    sessionMetadata.yaml                        mass_kg, height_m, gender_mf, subjectID
    Videos/CamN/cameraIntrinsicsExtrinsics.pickle
    Videos/CamN/InputMedia/<trial>/<trial>_sync.mp4
    MarkerData/<trial>.trc                      MarkerData/PostAugmentation/<trial>.trc in newer ones
    OpenSimData/Kinematics/<trial>.mot          OpenSimData/Model/<model>_scaled.osim

The folder may hold several sessions. What OpenCap computed is a result and no reference: it is kept as the
extras "markers:opencap" and "motion:opencap". Where a laboratory recorded the same trials, put its files into
``Mocap/<trial>.trc`` and ``Mocap/<trial>.mot`` of the session: they become the reference.
Sources: the downloads described in opencap-processing and read by opencap-core.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from cohorts.bounded import load_yaml
from cohorts.errors import CapbenchError
from cohorts.recording import Subject, Trial
from cohorts.sources import common
from cohorts.store import Imported

NAME = "opencap-app"
TITLE = "session downloads of the OpenCap app"
METADATA = "sessionMetadata.yaml"
CALIBRATION = "cameraIntrinsicsExtrinsics.pickle"
#: trials that calibrate or scale; their videos show no activity
_SET_UP = {"calibration", "neutral", "static"}


def recognise(folder: Path) -> str | None:
    """Whether a session lies here: its metadata, with OpenCap's results or videos beside."""
    found = _sessions(folder)
    return f"it holds OpenCap's {METADATA}" if found else None


def _sessions(folder: Path) -> list[Path]:
    """The session folders: the folder itself, or those in it."""
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    return [
        place
        for place in (folder, *folders)
        if (place / METADATA).is_file() and any((place / part).is_dir() for part in ("OpenSimData", "Videos"))
    ]


def read(folder: Path, *, name: str | None = None, activity: str | None = None) -> Imported:
    """The session, or the sessions, in a folder; ``activity`` of all trials, else from their names."""
    places = _sessions(folder)
    if not places:
        raise CapbenchError(
            f"Expected a session of OpenCap: {METADATA} beside OpenSimData or Videos.", file=folder
        )
    notes: list[str] = []
    people: dict[str, Subject] = {}
    trials: list[Trial] = []
    for place in places:
        person = _subject(place)
        known = people.setdefault(person.pseudonym, person)
        if known != person:
            notes.append(f"{person.pseudonym}: sessions disagree on mass, height or sex; the first was taken")
        prefix = place.relative_to(folder).as_posix()
        session = "" if prefix == "." else place.name
        trials += _trials(place, "" if prefix == "." else f"{prefix}/", person, session, activity, notes)
    short = common.short_name(name or folder.absolute().name)
    cohort = common.cohort_of(short, "1", people.values(), trials, folder=folder)
    card = common.draft_card(
        cohort,
        title=f"OpenCap sessions in {folder.absolute().name}",
        note="The world is that of the checkerboard; on the back wall its y axis points down.",
    )
    if card.reference.kind == "none":
        notes.append("OpenCap's own angles are a result, not the truth: this cohort has no reference")
    return Imported(card, cohort, tuple(dict.fromkeys(notes)), folder)


def _subject(place: Path) -> Subject:
    file = place / METADATA
    said: Any = load_yaml(file)
    if not isinstance(said, dict):
        raise CapbenchError("Expected OpenCap's metadata, a mapping of keys.", file=file, line=1)
    sexes: dict[Any, Any] = {"f": "female", "m": "male"}
    try:
        return Subject(
            pseudonym=str(said.get("subjectID") or place.name),
            mass=common.number_or_none(said.get("mass_kg")),
            height=common.number_or_none(said.get("height_m")),
            sex=sexes.get(str(said.get("gender_mf", "")).lower()[:1]),
        )
    except CapbenchError as error:
        error.file = str(file)
        raise


def _trials(
    place: Path, prefix: str, person: Subject, session: str, activity: str | None, notes: list[str]
) -> list[Trial]:
    files = common.files_of(place, notes)
    videos = _videos(files, notes)
    calibrations = {
        PurePosixPath(path).parent.name: prefix + path
        for path in files
        if path.endswith(f"/{CALIBRATION}") and path.startswith("Videos/")
    }
    models = [
        path for path in files if path.startswith("OpenSimData/Model/") and path.endswith("_scaled.osim")
    ]
    results = {
        "motion:opencap": _by_trial(files, ("OpenSimData/Kinematics/",), common.MOTION_SUFFIXES),
        "markers:opencap": _by_trial(
            files, ("MarkerData/PostAugmentation/", "MarkerData/"), common.MARKER_SUFFIXES
        ),
    }
    markers = _by_trial(files, ("Mocap/",), common.MARKER_SUFFIXES)
    motion = _by_trial(files, ("Mocap/",), common.MOTION_SUFFIXES)
    names = set(videos) | set(markers) | set(motion) | set(results["motion:opencap"])
    made = []
    for trial in sorted(names, key=common.natural):
        if trial.lower() in _SET_UP:
            continue
        extras = {role: prefix + found[trial] for role, found in results.items() if trial in found}
        if models:
            extras["model"] = prefix + models[0]
        made.append(
            Trial(
                name=trial,
                subject=person.pseudonym,
                session=session,
                activity=activity or common.activity_of(trial),
                videos={camera: prefix + path for camera, path in videos.get(trial, {}).items()},
                calibrations=calibrations,
                markers=prefix + markers[trial] if trial in markers else None,
                motion=prefix + motion[trial] if trial in motion else None,
                extras=extras,
            )
        )
    return made


def _videos(files: list[str], notes: list[str]) -> dict[str, dict[str, str]]:
    """trial -> camera -> video; of several, the one that OpenCap synchronised."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        parts = PurePosixPath(path).parts
        if common.is_video(path) and len(parts) == 5 and (parts[0], parts[2]) == ("Videos", "InputMedia"):
            found[parts[3]][parts[1]].append(path)
    chosen: dict[str, dict[str, str]] = {}
    for trial, cameras in found.items():
        chosen[trial] = {}
        for camera, paths in sorted(cameras.items(), key=lambda pair: common.natural(pair[0])):
            synced = [path for path in paths if "_sync" in PurePosixPath(path).stem]
            chosen[trial][camera] = (synced or paths)[0]
            if not synced:
                notes.append(f"{trial}: the videos are not synchronised (no …_sync file)")
    return chosen


def _by_trial(files: list[str], folders: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[str, str]:
    """trial -> its file directly in one of the folders, the first folder first."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in files:
            parent = f"{PurePosixPath(path).parent.as_posix()}/"
            if parent == folder and path.lower().endswith(suffixes):
                found.setdefault(PurePosixPath(path).stem, path)
    return found
