"""The same answers by the protocol opencapbench, to compare with published tables; it is no advice.

What has no answer vanishes from its means, as in the published code; coverage says how much that is. Columns
that it asks for and does not score (the patella, the toes, the pelvis' place) are filled with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capbench.run.result import Score
from capbench.run.scoring import interval
from cohorts.recording import Motion, Trial
from metrics.aggregate import exact_mean
from metrics.arrays import MetricError
from metrics.protocols import LEGS, LUMBAR, PELVIS, PELVIS_PLACE, PROTOCOLS, Curves
from metrics.published import NOT_SCORED, BenchTrial, OpenCapBench, opencapbench

PROTOCOL = PROTOCOLS["opencapbench"]
LABEL_DECIMALS = 8  #: times meet where the texts of their files would be equal


@dataclass(frozen=True)
class Published:
    """What the protocol says, and why the published code would have stopped at a trial."""

    table: OpenCapBench
    stopped: Mapping[str, str]


def score(
    predicted: Mapping[str, Motion], truths: Mapping[str, Motion], trials: Sequence[Trial]
) -> Published:
    """Score the trials by key; a trial at which the published code stops is left out, with the reason."""
    reference = {t.key: _columns(truths[t.key]) for t in trials}
    answers: dict[str, Curves] = {}
    stopped: dict[str, str] = {}
    for key in reference:
        if key not in predicted:
            continue
        answer = _columns(predicted[key])
        try:
            opencapbench({key: answer}, {key: reference[key]})
        except MetricError as error:
            stopped[key] = str(error)
            continue
        answers[key] = answer
    if not answers:
        raise MetricError("Expected a trial that the published code can score, got none: " + _first(stopped))
    return Published(opencapbench(answers, reference), stopped)


def _first(stopped: Mapping[str, str]) -> str:
    return next(iter(stopped.values()), "nothing was predicted")


def _columns(motion: Motion) -> Curves:
    """The columns of a published file up to lumbar_rotation, in their order."""
    wanted = [*PELVIS, *PELVIS_PLACE]
    for name in (*LEGS, *LUMBAR):
        wanted.append(name)
        side = name[-2:]
        if name.startswith("knee_angle"):
            wanted.append(f"knee_angle{side}_beta")
        if name.startswith("subtalar_angle"):
            wanted.append(f"mtp_angle{side}")
    found = Curves(np.round(motion.time, LABEL_DECIMALS), motion.values, motion.names, motion.kinds).select(
        wanted
    )
    values = found.values_tc.copy()
    blank = [name in NOT_SCORED for name in wanted]
    values[:, blank] = 0.0
    return Curves(found.time_t, values, found.names, found.kinds)


def rows(
    found: Published, trials: Sequence[Trial], *, seed: int
) -> tuple[Score, list[Score], list[Score], list[Score]]:
    """The headline (the mean of the twelve), and the rows by coordinate, activity and subject."""
    compared = found.table.trials
    people = sorted({t.subject for t in trials})
    activities = sorted({t.activity for t in trials})

    def made(name: str, value: float, some: Sequence[Trial], coordinate: str | None = None) -> Score:
        each = [_mean([t for t in some if t.subject == p], compared, coordinate) for p in people]
        each = [v for v in each if not math.isnan(v)]
        low, high = interval(each, seed=seed)
        answered = sum(t.key in compared for t in some)
        return Score(
            name=name, unit="°", value=value if math.isfinite(value) else None, low=low, high=high,
            n=len(each), trials=len(some), coverage=100 * answered / len(some),
        )  # fmt: skip

    overall = made("all", float(np.mean(list(found.table.rmse.values()))), trials)
    by_coordinate = [made(name, value, trials, name) for name, value in found.table.rmse.items()]

    def part(name: str, some: list[Trial]) -> Score:
        return made(name, _mean(some, compared, None), some)

    by_activity = [part(name, [t for t in trials if t.activity == name]) for name in activities]
    by_subject = [part(name, [t for t in trials if t.subject == name]) for name in people]
    return overall, by_coordinate, by_activity, by_subject


def _mean(trials: Sequence[Trial], compared: Mapping[str, BenchTrial], coordinate: str | None) -> float:
    """Over trials that were compared, of one coordinate (left and right averaged) or of all."""
    return exact_mean(trial_mean(compared[t.key], coordinate) for t in trials if t.key in compared)


def trial_mean(trial: BenchTrial, coordinate: str | None = None) -> float:
    """A trial's mean over its coordinates, sides averaged first; of one of them where it is named."""
    sides: dict[str, list[float]] = {}
    for name, value in trial.rmse.items():
        sides.setdefault(name[:-2] if name.endswith(("_r", "_l")) else name, []).append(value)
    if coordinate is not None:
        return exact_mean(sides[coordinate])
    return exact_mean(exact_mean(values) for values in sides.values())
