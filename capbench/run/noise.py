"""The noise floor: how well a cohort's reference is known, coordinate by coordinate.

The published reference, the same markers solved to the end (:mod:`capbench.run.reference`) and, where there
is one, a second pipeline's answer are three attempts at the same motion. A difference between two models that
is smaller than what lies between those means nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from capbench.run.reference import (
    PUBLISHED,
    WEIGHTS,
    Recorded,
    Reference,
    Weights,
    engine_version,
    recordings,
    resolve_all,
)
from cohorts.card import Card
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Motion
from cohorts.store import Imported
from cohorts.values import FloatArray
from metrics.angles import rmse, unwrap

OURS = "re-solved"
#: seconds by which two answers' times may differ and still be the same sample
SLACK = 1e-4


@dataclass(frozen=True)
class Gap:
    """How far two answers lie apart in one coordinate: in one activity, or (activity "") in the whole cohort.

    Attributes
    ----------
    pair : such as ("published", "re-solved")
    coordinate, unit : its name, and "°" or "mm"
    activity : its name, or "" for the mean over all
    rmse : root mean square over time of the (wrapped) difference, averaged as scores are: over the trials of
        an activity, the activities of a subject, the subjects
    rmse_offset_removed : the same after each trial's mean difference is taken away
    worst : the largest rmse of a single trial
    trials : how many there are
    held : whether no marker shows the coordinate in our answer, so that its number means nothing
    """

    pair: tuple[str, str]
    coordinate: str
    unit: str
    activity: str
    rmse: float
    rmse_offset_removed: float
    worst: float
    trials: int
    held: bool


@dataclass(frozen=True)
class NoiseFloor:
    """How well a cohort's reference is known.

    Attributes
    ----------
    gaps : one for each pair, activity (and "" for all) and coordinate
    failures : key of a trial without a reference -> why
    engine : what solved it again
    weights : the marker weights it was solved with
    """

    gaps: tuple[Gap, ...]
    failures: Mapping[str, str]
    engine: str
    weights: str

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of answers that were compared."""
        return tuple(dict.fromkeys(gap.pair for gap in self.gaps))


@dataclass(frozen=True)
class _Trial:
    """One trial's difference in one coordinate of one pair."""

    subject: str
    activity: str
    rmse: float
    offset_removed: float
    held: bool


def noise_floor(
    trials: Imported | Iterable[Recorded],
    *,
    weights: Weights = WEIGHTS,
    cache: str | os.PathLike[str] | None = None,
    sides: bool = True,
) -> NoiseFloor:
    """How far the published reference, ours and other pipelines' lie apart, per coordinate.

    ``sides=False`` averages right and left (``hip_flexion_r`` and ``hip_flexion_l`` become ``hip_flexion``).
    ``trials`` is a cohort, or its trials as :func:`capbench.run.reference.recordings` gives them.
    Coupled coordinates are left out. A trial that can't be solved is in ``failures``.
    """
    failures: dict[str, str] = {}
    if isinstance(trials, Imported):
        trials = recordings(trials, failures=failures)
    found: dict[tuple[tuple[str, str], str, str], list[_Trial]] = {}
    for reference in resolve_all(trials, weights=weights, cache=cache, failures=failures):
        try:
            compared = list(_compared(reference))
        except CapbenchError as error:
            failures[reference.trial.key] = str(error)
            continue
        for pair, coordinate, unit, trial in compared:
            name = coordinate if sides else _without_side(coordinate)
            found.setdefault((pair, name, unit), []).append(trial)
    gaps = []
    for (pair, coordinate, unit), each in found.items():
        for activity in ("", *dict.fromkeys(trial.activity for trial in each)):
            some = [trial for trial in each if activity in ("", trial.activity)]
            gaps.append(_gap(pair, coordinate, unit, activity, some))
    return NoiseFloor(tuple(gaps), failures, engine_version(), "equal" if weights is None else str(weights))


def _gap(pair: tuple[str, str], coordinate: str, unit: str, activity: str, some: list[_Trial]) -> Gap:
    return Gap(
        pair,
        coordinate,
        unit,
        activity,
        _averaged(some, "rmse"),
        _averaged(some, "offset_removed"),
        max(trial.rmse for trial in some),
        len(some),
        all(trial.held for trial in some),
    )


def _averaged(trials: list[_Trial], what: str) -> float:
    """Over the trials of an activity, then the activities of a subject, then the subjects."""
    tree: dict[str, dict[str, list[float]]] = {}
    for trial in trials:
        tree.setdefault(trial.subject, {}).setdefault(trial.activity, []).append(getattr(trial, what))
    subjects = [[float(np.mean(values)) for values in activities.values()] for activities in tree.values()]
    return float(np.mean([np.mean(values) for values in subjects]))


def _without_side(name: str) -> str:
    return name[:-2] if name.endswith(("_r", "_l")) else name


def _compared(reference: Reference) -> Iterator[tuple[tuple[str, str], str, str, _Trial]]:
    """Every pair of answers, coordinate by coordinate: (pair, coordinate, unit, difference)."""
    ours, others = reference.resolved.motion, list(reference.others.items())
    pairs = [(OURS, ours, name, motion) for name, motion in others]
    if reference.published is not None:
        pairs.insert(0, (PUBLISHED, reference.published, OURS, ours))
        pairs += [(PUBLISHED, reference.published, name, motion) for name, motion in others]
    for first, a, second, b in pairs:
        if not sharing(a, b):
            raise CapbenchError(
                f"Expected {first} and {second} angles to overlap in time, got {_span(a)} and {_span(b)}.",
                place=reference.trial.key,
            )
        for name, unit, whole, shape in differences(a, b):
            held = name in reference.resolved.held and OURS in (first, second)
            trial = _Trial(reference.trial.subject, reference.trial.activity, whole, shape, held)
            yield (first, second), name, unit, trial


def _span(motion: Motion) -> str:
    return f"{motion.time[0]:g} to {motion.time[-1]:g} s" if len(motion) else "no samples"


def sharing(a: Motion, b: Motion) -> bool:
    """Whether two motions have any time in common."""
    return bool(len(a) and len(b) and max(a.time[0], b.time[0]) <= min(a.time[-1], b.time[-1]) + SLACK)


def differences(a: Motion, b: Motion) -> Iterator[tuple[str, str, float, float]]:
    """For each coordinate that both have free: name, unit, RMSE and RMSE with the mean difference removed.

    Both at the times of ``a``: a published reference may start in the middle of the trial.
    """
    coupled = {*a.coupled, *b.coupled}
    shared = [name for name in a.names if name in b.names and name not in coupled]
    moved = at_times(b.select(shared), a.time)
    for i, name in enumerate(shared):
        kind = a.kinds[a.names.index(name)]
        curves = a.column(name)[:, None], moved[:, i : i + 1]
        if not (np.isfinite(curves[0]) & np.isfinite(curves[1])).any():
            continue
        whole, shape = (float(rmse(*curves, kind=kind, align=align)[0]) for align in ("none", "offset"))
        yield name, "°" if kind == "rotation" else "mm", whole, shape


def at_times(motion: Motion, time: FloatArray) -> FloatArray:
    """(len(time), N) values at other times (seconds), on straight lines between samples; else NaN.

    Angles are unwrapped first, so no line runs the long way round.
    """
    own = motion.time
    turns = np.array([kind == "rotation" for kind in motion.kinds], dtype=bool)
    values = motion.values.copy()
    values[:, turns] = unwrap(values[:, turns])
    found = np.full((len(time), len(motion.names)), np.nan)
    if not len(own):
        return found
    right = np.clip(np.searchsorted(own, time), 1, max(len(own) - 1, 1))
    near = np.minimum(np.abs(time - own[right - 1]), np.abs(own[np.minimum(right, len(own) - 1)] - time))
    step = 1 / motion.rate if len(own) > 1 else 0.0
    inside = (time >= own[0] - SLACK) & (time <= own[-1] + SLACK) & (near <= 0.75 * step + SLACK)
    for i in range(len(motion.names)):
        found[inside, i] = np.interp(time[inside], own, values[:, i])
    return found


def noise_floor_table(floor: NoiseFloor, *, activity: str = "") -> list[dict[str, Any]]:
    """The noise floor as a table: a row per coordinate, two columns per pair (RMSE; mean difference removed).

    ``activity`` "" is the mean over all. ``held`` is true where no marker shows the coordinate.
    """
    known = {gap.activity for gap in floor.gaps}
    if activity not in known:
        raise unknown_name("activity", activity, known - {""})
    rows: dict[str, dict[str, Any]] = {}
    for gap in floor.gaps:
        if gap.activity != activity:
            continue
        row = rows.setdefault(
            gap.coordinate, {"coordinate": gap.coordinate, "unit": gap.unit, "trials": 0, "held": False}
        )
        row["trials"] = max(row["trials"], gap.trials)
        row["held"] = row["held"] or gap.held
        name = " vs ".join(gap.pair)
        row[name] = gap.rmse
        row[f"{name}, offset removed"] = gap.rmse_offset_removed
    return list(rows.values())


def with_noise_floor(card: Card, floor: NoiseFloor) -> Card:
    """The card with the noise floor stored: per coordinate, how far our answer lies from an independent one.

    Where there is a second pipeline that is the independent one; the published answer, solved from the same
    markers with the same weights and model, stands in only where there is none. Coordinates that no marker
    shows are left out.
    """
    second = [pair for pair in floor.pairs if pair[0] == OURS]
    chosen = second or [pair for pair in floor.pairs if pair == (PUBLISHED, OURS)]
    worst: dict[str, float] = {}
    for gap in floor.gaps:
        if gap.pair in chosen and gap.activity == "" and not gap.held:
            worst[gap.coordinate] = max(worst.get(gap.coordinate, 0.0), gap.rmse)
    trials = max((gap.trials for gap in floor.gaps if gap.pair in chosen), default=0)
    said = "; ".join(" against ".join(pair) for pair in chosen)
    source = f"RMSE, {said}; at most {trials} trials a coordinate; weights {floor.weights}; {floor.engine}."
    reference = card.reference.model_copy(
        update={
            "noise_floor": {name: round(value, 3) for name, value in worst.items()},
            "noise_floor_source": source if worst else "",
        }
    )
    return card.model_copy(update={"reference": reference})
