"""Predictions made elsewhere: files that enter the flow at whichever arrow they belong to.

A folder holds, for each trial, 2D keypoints per camera, or 3D markers, or body-model parameters, or a motion,
in any format that :mod:`cohorts.formats` reads. Where they lie is told by their names,

    SUBJECT/[SESSION/]TRIAL.EXT                    the whole trial (all cameras, or 3D)
    SUBJECT/[SESSION/]TRIAL/CAMERA.EXT             one camera; also TRIAL_CAMERA.EXT and TRIAL.CAMERA.EXT

or by ``predictions.yaml``, which lists them and is then the only one that counts. Nothing is opened before
it is asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from capbench.models.card import ModelCard, file_below, read_card
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import FORMATS, holds_of, identify, options_of
from cohorts.recording import BodyParameters, Keypoints, Markers, Motion, Trial
from cohorts.store import sha256
from cohorts.strict import Strict, read_strict

LIST_NAME = "predictions.yaml"
CARD_NAMES = ("submission.yaml", "model.yaml")
HOLDS = ("keypoints", "markers", "body", "motion")
WHOLE = ""  #: the slot of a file that holds a whole trial; the others are cameras
MOST = 200_000  #: files that are looked at
_OPENPOSE = "_keypoints.json"

PerCamera = dict[str, tuple[Keypoints, ...]]  #: camera -> everyone that was found in it
Loaded = PerCamera | Markers | BodyParameters | Motion


class Row(Strict):
    """One file."""

    trial: str = Field(description="SUBJECT/SESSION/TRIAL, the session left out where there is none.")
    camera: str = Field(default=WHOLE, description="The camera; none for a file of the whole trial.")
    file: str = Field(description="Path below this file's folder.")


class Listed(Strict):
    """``predictions.yaml``."""

    rate: float | None = Field(default=None, gt=0, description="Frames per second, for files without times.")
    skeleton: str | None = Field(default=None, description="Of files that don't name their points.")
    predictions: Annotated[tuple[Row, ...], Field(strict=False)] = Field(description="The files.")


@dataclass(frozen=True)
class Predictions:
    """What a folder holds, and what it doesn't.

    Attributes
    ----------
    folder : where the files lie
    card : of the model that made them, where a card lies beside them
    files : trial's key -> camera ("" for the whole trial) -> file or folder
    missing : trials without any file, and cameras without one of trials that have some
    extra : files that belong to no trial that was asked for
    rate : frames per second, where the folder itself says so
    skeleton : of files that don't name their points, where the folder says so
    """

    folder: Path
    card: ModelCard | None
    files: Mapping[str, Mapping[str, Path]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    rate: float | None = None
    skeleton: str | None = None

    def load(
        self, trial: Trial, *, rate: float | None = None, notes: list[str] | None = None
    ) -> Loaded | None:
        """What was predicted for ``trial``, or None where nothing was.

        ``rate`` (frames per second, such as the video's) is for files that only count frames. Keypoints are
        given by camera, everyone in it; 3D as it is.
        """
        slots = self.files.get(trial.key)
        if slots is None:
            return None
        if WHOLE in slots:
            found = self._read(slots[WHOLE], None, rate, notes)
            return _by_camera(found, slots[WHOLE], trial) if isinstance(found, tuple) else found
        cameras: PerCamera = {}
        for camera, path in slots.items():
            tracks = self._read(path, camera, rate, notes)
            if not isinstance(tracks, tuple):
                raise CapbenchError(
                    f"Expected the keypoints of {camera}, got {holds_of(tracks)}.",
                    file=path,
                    fix=f"name a file of the whole trial {trial.name}{path.suffix}",
                )
            cameras[camera] = _of_camera(tracks, camera, path)
        return cameras

    def fingerprint(self, trial: Trial) -> str:
        """SHA-256 of the files that ``load`` reads for ``trial``."""
        slots = self.files.get(trial.key, {})
        lines = [f"{camera}\0{sha256(path)}\n" for camera, path in sorted(slots.items())]
        head = f"{self.rate}\0{self._points}\n"
        return hashlib.sha256((head + "".join(lines)).encode()).hexdigest()

    @property
    def _points(self) -> str | None:
        given = None if self.card is None else self.card.skeleton
        return self.skeleton or (given if isinstance(given, str) else None)

    def _read(
        self, path: Path, camera: str | None, rate: float | None, notes: list[str] | None
    ) -> tuple[Keypoints, ...] | Markers | BodyParameters | Motion:
        format = identify(path)
        reader = format.load().read
        known = options_of(reader)
        options: dict[str, Any] = {"rate": self.rate or rate, "skeleton": self._points, "camera": camera}
        given = {name: value for name, value in options.items() if name in known and value is not None}
        if not format.has_time and "rate" in known and "rate" not in given:
            raise CapbenchError(
                f"Expected times, got {format.title}, which only counts frames.",
                file=path,
                fix=f"write rate: (frames per second) into {LIST_NAME}, or give --rate",
            )
        found: tuple[Keypoints, ...] | Markers | BodyParameters | Motion = reader(path, notes=notes, **given)
        parts = found if isinstance(found, tuple) else (found,)
        fits = (Keypoints,) if isinstance(found, tuple) else (Markers, BodyParameters, Motion)
        if not all(isinstance(part, fits) for part in parts):
            raise CapbenchError(
                f"Expected keypoints, markers, body parameters or a motion, got {format.title}.", file=path
            )
        return found


def find_predictions(
    folder: str | os.PathLike[str], trials: Sequence[Trial], cameras: Sequence[str] | None = None
) -> Predictions:
    """Which files of ``folder`` are predictions for which of ``trials``; only cards and lists are opened.

    ``cameras`` are those that a run uses; by default those that each trial has a video of. A single file will
    do where there is one trial. Two files for one thing are refused.
    """
    path = Path(folder)
    if path.is_file() and path.name != LIST_NAME:
        return _single(path, trials)
    base = path.parent if path.is_file() else path
    if not base.is_dir():
        raise CapbenchError("Expected a folder or file of predictions, got nothing of that name.", file=path)
    card = _card(base)
    if (base / LIST_NAME).is_file():
        found = _listed(base, card, trials)
    else:
        found = _by_name(base, card, trials, cameras)
    for key, slots in found.files.items():
        if WHOLE in slots and len(slots) > 1:
            raise CapbenchError(
                f"Expected one file for the whole of {key} or one a camera, got both: "
                f"{shorten([str(p.relative_to(base)) for p in slots.values()])}.",
                file=base,
                fix=f"take some away, or list those that count in {LIST_NAME}",
            )
    return replace(found, missing=_missing(found.files, trials, cameras))


def _single(path: Path, trials: Sequence[Trial]) -> Predictions:
    if len(trials) != 1:
        raise CapbenchError(
            f"Expected a folder of predictions for {len(trials)} trials, got one file.",
            file=path,
            fix="put it into a folder as SUBJECT/SESSION/TRIAL" + path.suffix,
        )
    return Predictions(path.parent, _card(path.parent), {trials[0].key: {WHOLE: path}})


def _card(base: Path) -> ModelCard | None:
    for name in CARD_NAMES:
        if (base / name).is_file():
            return read_card(base / name)
    return None


def _missing(
    files: Mapping[str, Mapping[str, Path]], trials: Sequence[Trial], cameras: Sequence[str] | None
) -> tuple[str, ...]:
    told = []
    for trial in trials:
        slots = files.get(trial.key)
        if slots is None:
            told.append(trial.key)
        elif WHOLE not in slots:
            told += [f"{trial.key} camera {c}" for c in _cameras(trial, cameras) if c not in slots]
    return tuple(told)


def _cameras(trial: Trial, cameras: Sequence[str] | None) -> Sequence[str]:
    return tuple(trial.videos) if cameras is None else cameras


# --- by predictions.yaml ------------------------------------------------------------------------


def _listed(base: Path, card: ModelCard | None, trials: Sequence[Trial]) -> Predictions:
    given = read_strict(base / LIST_NAME, Listed, what="list of predictions")
    wanted = {trial.key for trial in trials}
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    extra = []
    for row in given.predictions:
        path = file_below(base, row.file)
        if not path.exists():
            raise CapbenchError(
                f"Expected {row.file!r}, which {LIST_NAME} names, got no such file.", file=path
            )
        if row.trial not in wanted:
            extra.append(row.file)
        elif row.camera in files[row.trial]:
            _refuse_two(row.trial, row.camera, files[row.trial][row.camera], path, base)
        else:
            files[row.trial][row.camera] = path
    named = {key: slots for key, slots in files.items() if slots}
    return Predictions(base, card, named, (), tuple(extra), given.rate, given.skeleton)


# --- by name ------------------------------------------------------------------------------------


class _Names:
    """Which stem (path without its ending) means which camera of which trial."""

    def __init__(self) -> None:
        self._exact: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._short: dict[str, set[tuple[str, str]]] = defaultdict(set)  # the session left out

    def add(self, trial: Trial, cameras: Sequence[str]) -> None:
        """All ways to name a file of ``trial``."""
        for base, slots in ((trial.key, self._exact), (f"{trial.subject}/{trial.name}", self._short)):
            slots[base].add((trial.key, WHOLE))
            for camera in cameras:
                for between in "/_.":
                    slots[f"{base}{between}{camera}"].add((trial.key, camera))

    def of(self, stem: str) -> set[tuple[str, str]]:
        """(trial's key, camera) of what ``stem`` may mean."""
        return self._exact.get(stem) or self._short.get(stem, set())


def _by_name(
    base: Path, card: ModelCard | None, trials: Sequence[Trial], cameras: Sequence[str] | None
) -> Predictions:
    names = _Names()
    for trial in trials:
        names.add(trial, sorted({*trial.videos, *_cameras(trial, cameras)}))
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    extra = []
    for relative, stem in _units(base):
        meant = names.of(stem)
        path = file_below(base, relative)
        if len(meant) > 1:
            listed = ", ".join(" camera ".join(filter(None, slot)) for slot in sorted(meant))
            raise CapbenchError(
                f"Expected a name that means one thing, got {relative!r}, which could be {listed}.",
                file=path,
                fix=f"write SUBJECT/SESSION/TRIAL/CAMERA, or list the files in {LIST_NAME}",
            )
        if not meant:
            extra.append(relative)
            continue
        ((key, camera),) = meant
        if camera in files[key]:
            _refuse_two(key, camera, files[key][camera], path, base)
        files[key][camera] = path
    return Predictions(base, card, dict(files), (), tuple(extra))


def _refuse_two(key: str, camera: str, one: Path, other: Path, base: Path) -> None:
    what = f"camera {camera} of {key}" if camera else key
    raise CapbenchError(
        f"Expected one file for {what}, got {one.relative_to(base)} and {other.relative_to(base)}.",
        file=base,
        fix=f"take one away, or list those that count in {LIST_NAME}",
    )


def _endings() -> tuple[str, ...]:
    """Endings of all formats that hold predictions, the longest first."""
    fits = [f for f in FORMATS.values() if set(f.holds) & set(HOLDS)]
    return tuple(sorted({s for f in fits for s in f.suffixes if s not in ("/", _OPENPOSE)}, key=len)[::-1])


def _units(base: Path) -> list[tuple[str, str]]:
    """(path, path without its ending) of each file, or folder of OpenPose files, that may be a prediction."""
    endings, found, seen = _endings(), [], 0
    for top, folders, files in os.walk(base):
        place = Path(top).relative_to(base).as_posix()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen += len(files) + len(folders)
        if seen > MOST:
            raise RefusedError(f"Expected at most {MOST:,} files, got more.", file=base)
        if place != "." and any(name.endswith(_OPENPOSE) for name in files):
            found.append((place, place))
            folders.clear()
            continue
        for name in sorted(files):
            ending = next((e for e in endings if name.lower().endswith(e) and len(name) > len(e)), None)
            if ending is not None and not name.startswith("."):
                whole = name if place == "." else f"{place}/{name}"
                found.append((whole, whole[: -len(ending)]))
    return sorted(found)


# --- what a file holds --------------------------------------------------------------------------


def _by_camera(tracks: tuple[Keypoints, ...], path: Path, trial: Trial) -> PerCamera:
    """Tracks of a file of all cameras, by camera; whatever it is called, the only one there is."""
    cameras: dict[str, list[Keypoints]] = defaultdict(list)
    for track in tracks:
        cameras[track.camera].append(track)
    if len(cameras) == 1 and len(trial.videos) == 1:
        (only,) = trial.videos
        return {only: _of_camera(tracks, only, path)}
    strange = sorted(set(cameras) - set(trial.videos))
    if trial.videos and strange:
        raise CapbenchError(
            f"Expected keypoints of the cameras {', '.join(trial.videos)}, got {shorten(strange)}.",
            file=path,
            fix=f"write one file a camera: {trial.name}_CAMERA{path.suffix}",
        )
    return {camera: tuple(cameras[camera]) for camera in sorted(cameras)}


def _of_camera(tracks: tuple[Keypoints, ...], camera: str, path: Path) -> tuple[Keypoints, ...]:
    """Tracks that all belong to one camera, whatever the file calls it."""
    named = {track.camera for track in tracks}
    if len(named) > 1:
        raise CapbenchError(
            f"Expected keypoints of {camera} only, got those of {shorten(sorted(named))}.", file=path
        )
    return tuple(track if track.camera == camera else replace(track, camera=camera) for track in tracks)
