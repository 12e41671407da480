"""Pose2Sim projects: ``calibration/``, ``videos/`` and, where they were made, its own results.

A project is one trial, or holds one folder per trial (each with its ``videos/``), or one folder per person
with such folders in it; the calibration is looked for in the trial and in every folder above it.
Videos are matched with calibrated cameras by name, else in sorted order, as Pose2Sim itself does.

Pose2Sim's own ``pose-3d/*.trc`` and ``kinematics/*.mot`` are results and no reference: they are kept as
extras ("markers:pose2sim", "motion:pose2sim"). Mass and height are those of ``Config.toml`` where it says
numbers.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from cohorts.bounded import load_toml, shorten
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.recording import Subject, Trial
from cohorts.sources import common
from cohorts.store import Imported

NAME = "pose2sim"
TITLE = "a Pose2Sim project: calibration, videos"
CONFIG = "Config.toml"
_CALIBRATIONS = (".toml", ".qca.txt", ".xml", ".yml", ".yaml")
#: which of two results is the newest: the longest name, as each step adds its own ending
_RESULTS = {"pose-3d": ("markers:pose2sim", ".trc"), "kinematics": ("motion:pose2sim", ".mot")}


def recognise(folder: Path) -> str | None:
    """Whether there are a calibration and videos, or a Config.toml of Pose2Sim."""
    files = _listed(folder)
    videos = [path for path in files if _is_input(path)]
    if videos and _calibrations(files):
        return "it holds calibration/ and videos/"
    if videos and (folder / CONFIG).is_file() and "pose" in _config(folder / CONFIG):
        return f"it holds a {CONFIG} of Pose2Sim"
    return None


def read(
    folder: Path,
    *,
    name: str | None = None,
    subject: str = "subject1",
    activity: str | None = None,
    mass: float | None = None,
    height: float | None = None,
) -> Imported:
    """The project as a cohort; ``mass`` in kg and ``height`` in m go before what Config.toml says."""
    notes: list[str] = []
    files = _listed(folder, notes)
    inputs = [path for path in files if _is_input(path)]
    if not inputs:
        raise CapbenchError(
            "Expected videos in videos/, got none.", file=folder, fix="put the videos where Pose2Sim has them"
        )
    trials: list[Trial] = []
    people: dict[str, Subject] = {}
    for place in sorted({PurePosixPath(path).parent.parent for path in inputs}):
        person = place.parts[-2] if len(place.parts) > 1 else subject
        title = place.name or folder.absolute().name
        if person not in people:
            people[person] = _person(folder, place, person, mass, height, notes)
        own = [path for path in inputs if PurePosixPath(path).parent.parent == place]
        videos, calibrations = _rig(folder, place, own, files, notes)
        trials.append(
            Trial(
                name=title,
                subject=person,
                activity=activity or common.activity_of(title),
                videos=videos,
                calibrations=calibrations,
                extras=_results(place, files),
            )
        )
    short = common.short_name(name or folder.absolute().name)
    cohort = common.cohort_of(short, "1", people.values(), trials, folder=folder)
    card = common.draft_card(cohort, title=f"Pose2Sim project {folder.absolute().name}", up="+z")
    notes.append("Pose2Sim's world has z up; check that yours has")
    return Imported(card, cohort, tuple(dict.fromkeys(notes)), folder)


def _listed(folder: Path, notes: list[str] | None = None) -> list[str]:
    return common.files_of(folder, notes)


def _is_input(path: str) -> bool:
    """A video directly in a folder called videos."""
    parent = PurePosixPath(path).parent
    return common.is_video(path) and parent.name.lower() == "videos"


def _is_calibration_folder(name: str) -> bool:
    return name.lower().startswith("calib")


def _calibrations(files: list[str]) -> list[str]:
    found = [
        path
        for path in files
        if path.lower().endswith(_CALIBRATIONS) and _is_calibration_folder(PurePosixPath(path).parent.name)
    ]
    # a .toml is what Pose2Sim made of the others
    return sorted(found, key=lambda path: (not path.lower().endswith(".toml"), path))


def _config(path: Path) -> dict[str, Any]:
    return load_toml(path)


def _person(
    folder: Path,
    place: PurePosixPath,
    person: str,
    mass: float | None,
    height: float | None,
    notes: list[str],
) -> Subject:
    """The subject, with what the nearest Config.toml says; "auto" and lists of several say nothing."""
    for above in (place, *place.parents):
        path = folder / above / CONFIG
        if not path.is_file():
            continue
        project = _config(path).get("project")
        said = project if isinstance(project, dict) else {}
        mass = common.number_or_none(_single(said.get("participant_mass"))) if mass is None else mass
        height = common.number_or_none(_single(said.get("participant_height"))) if height is None else height
    missing = [what for what, value in (("mass", mass), ("height", height)) if value is None]
    if missing:
        notes.append(f"{person}: no {' and no '.join(missing)} in {CONFIG}; give --with mass=… height=…")
    return Subject(person, mass, height)


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _rig(
    folder: Path, place: PurePosixPath, videos: list[str], files: list[str], notes: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Camera -> video, and camera -> calibration, under the names that the calibration has."""
    by_name = {PurePosixPath(path).stem: path for path in sorted(videos, key=common.natural)}
    if len(by_name) < len(videos):
        raise CapbenchError(
            f"Expected one video per camera, got several of one name: {shorten(sorted(videos))}.",
            file=folder / place,
        )
    for above in (place, *place.parents):
        here = [path for path in _calibrations(files) if PurePosixPath(path).parent.parent == above]
        if here:
            break
    else:
        notes.append(f"{place}: no calibration was found")
        return by_name, {}
    if len(here) > 1:
        notes.append(f"of {len(here)} calibrations {here[0]} was taken")
    cameras = common.calibrated(folder / here[0], notes)
    return _matched(by_name, here[0], cameras, notes)


def _matched(
    videos: dict[str, str], calibration: str, cameras: tuple[Camera, ...], notes: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    names = [camera.name for camera in cameras]
    if set(names) & set(videos):
        return videos, {name: calibration for name in names if name in videos}
    if len(names) != len(videos):
        notes.append(
            f"{calibration} calibrates {len(names)} cameras ({shorten(names)}), there are {len(videos)} "
            f"videos ({shorten(list(videos))}), and no name is in both: they were not matched"
        )
        return videos, {}
    ordered = sorted(names, key=common.natural)
    pairs = dict(zip(ordered, videos.values(), strict=True))
    said = ", ".join(f"{name} = {PurePosixPath(path).name}" for name, path in pairs.items())
    notes.append(f"videos and calibrated cameras were matched in sorted order, as Pose2Sim does: {said}")
    return pairs, dict.fromkeys(ordered, calibration)


def _results(place: PurePosixPath, files: list[str]) -> dict[str, str]:
    """Pose2Sim's own results of a trial."""
    found: dict[str, str] = {}
    for folder, (role, suffix) in _RESULTS.items():
        own = [p for p in files if PurePosixPath(p).parent == place / folder and p.lower().endswith(suffix)]
        if own:
            found[role] = max(own, key=lambda path: (len(path), path))
    return found
