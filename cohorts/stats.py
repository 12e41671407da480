"""How much of what a cohort holds: people, trials, minutes, frames, cameras."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion, Trial
from cohorts.store import Imported

Range = tuple[float, float] | None


@dataclass(frozen=True)
class ActivityStats:
    """One activity.

    Attributes
    ----------
    activity : its name
    subjects, trials : how many
    reference_minutes : of joint angles, or of markers where there are none
    videos, video_minutes, frames : of all cameras together
    """

    activity: str
    subjects: int
    trials: int
    reference_minutes: float
    videos: int
    video_minutes: float
    frames: int


@dataclass(frozen=True)
class Stats:
    """A cohort in numbers.

    Attributes
    ----------
    name, version : of the cohort
    subjects, trials : how many
    sexes, age_bands : people per sex and age band; "unknown" where not stated
    mass, height : lowest and highest known, kg and m
    activities : one row each, sorted by name
    cameras : camera -> number of its videos
    decoded : whether frames were counted by decoding, or as the headers claim
    unreadable : files that could not be read and count as nothing
    """

    name: str
    version: str
    subjects: int
    trials: int
    sexes: dict[str, int]
    age_bands: dict[str, int]
    mass: Range
    height: Range
    activities: tuple[ActivityStats, ...]
    cameras: dict[str, int]
    decoded: bool
    unreadable: tuple[str, ...]


def stats(imported: Imported, *, decode: bool = False) -> Stats:
    """The numbers of a cohort; ``decode`` counts frames by decoding, which takes its time."""
    cohort = imported.cohort
    lost: list[str] = []
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in cohort.trials:
        groups[trial.activity].append(trial)
    people = cohort.subjects
    cameras = Counter(name for trial in cohort.trials for name in trial.videos)
    return Stats(
        name=cohort.name,
        version=cohort.version,
        subjects=len(people),
        trials=len(cohort.trials),
        sexes=dict(sorted(Counter(p.sex or "unknown" for p in people).items())),
        age_bands=dict(sorted(Counter(p.age_band or "unknown" for p in people).items())),
        mass=_range([p.mass for p in people]),
        height=_range([p.height for p in people]),
        activities=tuple(_activity(imported, name, groups[name], decode, lost) for name in sorted(groups)),
        cameras=dict(sorted(cameras.items())),
        decoded=decode,
        unreadable=tuple(dict.fromkeys(lost)),
    )


def _range(values: list[float | None]) -> Range:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None


def _activity(
    imported: Imported, name: str, trials: list[Trial], decode: bool, lost: list[str]
) -> ActivityStats:
    films = [_film(imported, path, decode, lost) for trial in trials for path in trial.videos.values()]
    return ActivityStats(
        activity=name,
        subjects=len({trial.subject for trial in trials}),
        trials=len(trials),
        reference_minutes=sum(_duration(imported, trial, lost) for trial in trials) / 60,
        videos=len(films),
        video_minutes=sum(seconds for seconds, _ in films) / 60,
        frames=sum(count for _, count in films),
    )


def _duration(imported: Imported, trial: Trial, lost: list[str]) -> float:
    """Seconds of a trial's reference: samples times their step."""
    from cohorts.formats import read

    path = trial.motion or trial.markers
    if path is None:
        return 0.0
    try:
        _, found = read(imported.path(path))
    except CapbenchError:
        lost.append(path)
        return 0.0
    if not isinstance(found, Markers | Motion) or len(found) < 2:
        return 0.0
    return found.duration + float(np.median(np.diff(found.time)))


def _film(imported: Imported, path: str, decode: bool, lost: list[str]) -> tuple[float, int]:
    """Seconds and frames of a video."""
    from cohorts.formats import video

    try:
        place = imported.path(path)
        if not decode:
            return _claimed(place)
        info = video.read(place, notes=[])
        return (info.frames / info.rate if info.frames > 1 else 0.0), info.frames
    except CapbenchError:
        lost.append(path)
        return 0.0, 0


def _claimed(path: Path) -> tuple[float, int]:
    """Seconds and frames as the header claims them."""
    from cohorts.formats.video import _open

    cv2, capture = _open(path)
    try:
        count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    known = 0 < count < 1e9 and 0 < rate < 1e5
    return (count / rate, int(count)) if known else (0.0, 0)
