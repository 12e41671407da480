"""Scores that stand beside joint angles: of keypoints in pictures (PCK, EPE), of points in space (MPJPE)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from capbench.run.fitting import wearable
from capbench.run.result import Beside
from capbench.run.scoring import beside
from cohorts import formats
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.recording import Keypoints, Markers, Trial
from cohorts.skeleton import Skeleton, skeleton
from cohorts.store import Imported
from cohorts.values import FloatArray
from metrics.aggregate import TrialKey
from metrics.catalogue import card
from metrics.waveforms import resample

TRUTH = "synthpose-52"  #: the skeleton of a cohort's true points
PIXELS = ("PCK@0.05·bbox", "EPE·2D")
SPACE = ("MPJPE·world", "PA-MPJPE·rigid")
MAX_GAP = 0.1  #: seconds over which points in space are joined by a line, as the protocol does with angles


class Found(NamedTuple):
    """One trial's score, and the share (0 to 1) of what is labelled that was answered."""

    value: float
    answered: float


NOTHING = Found(math.nan, 0.0)


def of_pixels(
    cohort: Imported,
    trials: Sequence[Trial],
    tracks: Mapping[str, Mapping[str, Keypoints]],
    cameras: Sequence[str],
    *,
    seed: int,
    notes: dict[str, str],
) -> list[Beside]:
    """Scores of keypoints in pictures, where the cohort has true ones; ``tracks`` by trial and camera.

    ``cameras`` are all that were asked for: one that was lost in every trial is unanswered too.
    """
    if not any(role.startswith("keypoints:") for trial in trials for role in trial.extras):
        return []
    if not tracks:
        return []
    each = {}
    for trial in trials:
        with _excused(trial, notes):
            each[trial.key] = _pixels(cohort, trial, tracks.get(trial.key, {}), cameras)
    return _rows(PIXELS, trials, each, seed=seed)


def of_space(
    cohort: Imported,
    trials: Sequence[Trial],
    markers: Mapping[str, tuple[Markers, Skeleton]],
    lags: Mapping[str, float],
    *,
    seed: int,
    notes: dict[str, str],
) -> list[Beside]:
    """Scores of points in space, where the cohort has true landmarks; ``lags`` in seconds by trial.

    ``notes`` hears of trials whose true points can't be read, and which stand beside nothing.
    """
    if not markers or not cohort.card.reference.exact or not any(t.markers for t in trials):
        return []
    each = {}
    for trial in trials:
        found = markers.get(trial.key)
        if found is None or trial.markers is None:
            each[trial.key] = dict.fromkeys(SPACE, NOTHING)
            continue
        with _excused(trial, notes):
            each[trial.key] = _space(cohort, trial, *found, lags.get(trial.key, math.nan))
    return _rows(SPACE, trials, each, seed=seed)


@contextmanager
def _excused(trial: Trial, notes: dict[str, str]) -> Iterator[None]:
    """A trial whose true points can't be read has no score beside the others; ``notes`` says why."""
    try:
        yield
    except EnvironmentFault:
        raise
    except CapbenchError as error:
        notes[trial.key] = str(error)


def _rows(
    names: Sequence[str], trials: Sequence[Trial], each: Mapping[str, Mapping[str, Found]], *, seed: int
) -> list[Beside]:
    keys = {trial.key: TrialKey(trial.subject, trial.activity, trial.key) for trial in trials}
    if not each:
        return []
    return [
        beside(
            name,
            {keys[key]: found[name].value for key, found in each.items()},
            {keys[key]: found[name].answered for key, found in each.items()},
            seed=seed,
        )
        for name in names
    ]


# --- pictures -----------------------------------------------------------------------------------


def _pixels(
    cohort: Imported, trial: Trial, tracks: Mapping[str, Keypoints], cameras: Sequence[str]
) -> dict[str, Found]:
    """All cameras' frames together; a camera without an answer is unanswered."""
    predicted, reference, boxes = [], [], []
    for name in cameras:
        role = f"keypoints:{name}"
        if role not in trial.extras:
            continue
        truth = next(iter(formats.read(cohort.path(trial.extras[role]))[1]))
        found, true = _matched(tracks.get(name), truth, _shared(tracks, truth.skeleton))
        predicted.append(found)
        reference.append(true)
        boxes.append(_boxes(truth.xy))
    if not predicted or not reference[0].shape[1]:
        return dict.fromkeys(PIXELS, NOTHING)
    p, r, of = np.concatenate(predicted), np.concatenate(reference), np.concatenate(boxes)
    labelled = np.isfinite(r).all(axis=-1)
    answered = float((labelled & np.isfinite(p).all(axis=-1)).sum() / max(labelled.sum(), 1))
    return {
        "PCK@0.05·bbox": Found(float(card("PCK@0.05·bbox")(p, r, of=of)), answered),
        "EPE·2D": Found(float(card("EPE·2D")(p, r)), answered),
    }


def _shared(tracks: Mapping[str, Keypoints], target: Skeleton) -> list[str]:
    """The points of ``target`` that every camera's skeleton marks exactly."""
    maps = [track.skeleton.map_to(target).exact for track in tracks.values()]
    return [name for name in target.points if maps and all(name in exact for exact in maps)]


def _matched(
    track: Keypoints | None, truth: Keypoints, names: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Predicted and true points (T, K, 2) of these names, at the truth's frames."""
    true = truth.xy[:, [truth.skeleton.index(name) for name in names]]
    found = np.full_like(true, np.nan)
    if track is not None and len(track) and len(truth):
        exact = track.skeleton.map_to(truth.skeleton).exact
        columns = [track.skeleton.index(exact[name]) for name in names]
        row = _frames(track, truth)
        found[row >= 0] = track.xy[row[row >= 0]][:, columns]
    return found, true


def _frames(track: Keypoints, truth: Keypoints) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each frame of the truth the track's row that shows it, -1 where none does."""
    if track.frames is not None and truth.frames is not None:
        place = {int(frame): row for row, frame in enumerate(track.frames.tolist())}
        return np.array([place.get(int(frame), -1) for frame in truth.frames.tolist()], dtype=np.int64)
    own, wanted = track.time - track.time[0], truth.time - truth.time[0]
    row = np.abs(own[None, :] - wanted[:, None]).argmin(axis=1)
    step = 0.5 / truth.rate if len(truth) > 1 else 1e-3
    return np.where(np.abs(own[row] - wanted) <= step, row, -1)


def _boxes(xy: FloatArray) -> FloatArray:
    """(T, 4) x, y, width, height of the extent of true points (T, K, 2)."""
    with np.errstate(all="ignore"):
        low, high = np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)
    return np.concatenate([low, high - low], axis=1)


# --- space --------------------------------------------------------------------------------------


def _space(
    cohort: Imported, trial: Trial, markers: Markers, points: Skeleton, lag: float
) -> dict[str, Found]:
    truth = formats.read(cohort.path(str(trial.markers)))[1]
    worn, gives = wearable(points)
    exact = {
        target: source
        for target, source in worn.map_to(skeleton(TRUTH)).exact.items()
        if source in gives and target in truth.names
    }
    if not exact or len(markers) < 1:
        return dict.fromkeys(SPACE, NOTHING)
    true = truth.select(exact).xyz
    own = np.full((len(markers), len(exact), 3), np.nan)  # a point that was never found stays missing
    for k, source in enumerate(exact.values()):
        if source in markers.names:
            own[:, k] = markers.xyz[:, markers.names.index(source)]
    shift = 0.0 if math.isnan(lag) else lag
    flat = resample(
        own.reshape(len(own), -1), markers.time - shift, truth.time, max_gap=MAX_GAP, kind="translation"
    )
    found = flat.reshape(len(true), len(exact), 3)
    answered = float(np.isfinite(found).all(axis=-1).mean())
    if not answered:
        return dict.fromkeys(SPACE, NOTHING)
    return {name: Found(float(card(name)(found, true)), answered) for name in SPACE}
