"""From joint angles to numbers: a cohort's trials against their references, by the protocol capbench-1.

Everything is charged to the reference's own samples: a trial, a coordinate or a frame without an answer costs
the cap, so nothing that is left out can improve a score.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capbench.run.result import Beside, Curve, Score
from cohorts.card import Card
from cohorts.recording import Motion, Trial
from cohorts.values import FloatArray
from metrics.aggregate import Line, Summary, TrialKey, TrialScores, charge, mean_pose, summarise, tree_mean
from metrics.angles import error_series, unwrap
from metrics.bootstrap import bootstrap_means
from metrics.catalogue import card as metric_card
from metrics.lag import Lag
from metrics.protocols import PROTOCOLS, Curves, TrialErrors, score_trial, session_lag
from metrics.waveforms import resample

PROTOCOL = PROTOCOLS["capbench-1"]
CAP = 30.0  #: degrees: what a sample costs at most, unless the null model costs more on the trial
#: a lag is believed only where the height of the pelvis tells it sharply
AGREEMENT, WIDTH = 0.8, 0.15
NO_LAG = Lag(math.nan, math.nan, math.nan, False, 0)
RESAMPLES = 10_000
LONGEST = 101  #: samples of a curve in the result


@dataclass(frozen=True)
class Scored:
    """All that scoring found; ``errors`` and ``scores`` by trial key, ``people`` by pseudonym."""

    coordinates: tuple[str, ...]
    summary: Summary
    people: Mapping[str, Summary]
    errors: Mapping[str, TrialErrors]
    scores: Mapping[str, TrialScores]


def score(predicted: Mapping[str, Motion], truths: Mapping[str, Motion], trials: Sequence[Trial]) -> Scored:
    """Score the trials by key; one that is not ``predicted`` is charged in full.

    ``truths`` has a reference for every trial, NaN where it has no value.
    """
    known = {name for truth in truths.values() for name in truth.names}
    names = tuple(name for name in PROTOCOL.coordinates if name in known)
    answers = {key: curves(motion) for key, motion in predicted.items()}
    reference = {trial.key: curves(truths[trial.key]) for trial in trials}
    errors: dict[str, TrialErrors] = {}
    for mine in _sessions(trials).values():
        lag = _lag({t.key: answers[t.key] for t in mine if t.key in answers}, reference, mine)
        for trial in mine:
            key = trial.key
            errors[key] = score_trial(answers.get(key), reference[key], lag=lag, coordinates=names)
    scores = _charged(errors, trials)
    roster = {trial.key: scores[trial.key].key for trial in trials}
    people = {}
    for person in sorted({trial.subject for trial in trials}):
        own = [scores[t.key] for t in trials if t.subject == person]
        people[person] = summarise([own], roster=[s.key for s in own], coordinates=names)
    summary = summarise([list(scores.values())], roster=list(roster.values()), coordinates=names)
    return Scored(names, summary, people, errors, scores)


def curves(motion: Motion) -> Curves:
    """A motion as the metrics take it."""
    return Curves(motion.time, motion.values, motion.names, motion.kinds)


def _sessions(trials: Sequence[Trial]) -> dict[tuple[str, str], list[Trial]]:
    """The trials of each person's sessions: cameras and clocks stay as they are within one."""
    found: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        found[trial.subject, trial.session].append(trial)
    return found


def _lag(answers: Mapping[str, Curves], reference: Mapping[str, Curves], mine: Sequence[Trial]) -> Lag:
    """The session's lag; none where nothing was answered, or the height of the pelvis does not tell it."""
    truths = {t.key: reference[t.key] for t in mine}
    shown = {name for truth in truths.values() for name in truth.names}
    if not answers or not set(PROTOCOL.lag_signals) <= shown:
        return NO_LAG
    lag = session_lag(answers, truths)
    believed = lag.agreement >= AGREEMENT and lag.width <= WIDTH and not lag.at_edge
    return lag if believed else NO_LAG


def _charged(errors: Mapping[str, TrialErrors], trials: Sequence[Trial]) -> dict[str, TrialScores]:
    """What every trial costs, with the cohort's mean pose as the null model."""
    keys = [TrialKey(t.subject, t.activity, t.key) for t in trials]
    rows = [errors[t.key] for t in trials]
    turns = np.array([kind == "rotation" for kind in rows[0].kinds])
    poses = np.array([_pose(row.reference_tc, turns) for row in rows])
    null = mean_pose(poses, keys, period_c=np.where(turns, 2 * np.pi, np.inf))
    found = {}
    for trial, key, row in zip(trials, keys, rows, strict=True):
        constant = np.broadcast_to(null, row.reference_tc.shape)
        null_tc = np.full(row.reference_tc.shape, np.nan)
        null_tc[:, turns] = error_series(constant[:, turns], row.reference_tc[:, turns])
        null_tc[:, ~turns] = error_series(
            constant[:, ~turns], row.reference_tc[:, ~turns], kind="translation"
        )
        answer = row.raw if row.corrected is None else row.corrected
        null_tc = np.where(row.excused_tc, np.nan, null_tc)
        found[trial.key] = charge(answer.error_tc, null_tc, key=key, declared_cap=CAP)
    return found


def _pose(reference_tc: FloatArray, turns: FloatArray) -> FloatArray:
    """(C,) the mean over a trial, of unwrapped angles; NaN for what the reference lacks."""
    values = np.where(turns, unwrap(reference_tc), reference_tc)
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=0) / np.where(count > 0, count, np.nan))


# --- rows of the result -------------------------------------------------------------------------


def rows(scored: Scored, card: Card, *, seed: int) -> tuple[Score, list[Score], list[Score], list[Score]]:
    """The headline, and the rows by coordinate, activity and subject."""
    people = scored.people
    floors = card.reference.noise_floor
    floor = {n: 0.0 if card.reference.exact else floors.get(n) for n in scored.coordinates}
    known = [value for value in floor.values() if value is not None]
    trials = [s.key for s in scored.scores.values()]

    def made(name: str, line: Line, lines: Mapping[str, Line], count: int, floor: float | None) -> Score:
        low, high = interval([one.score for one in lines.values()], seed=seed)
        return Score(
            name=name, unit="°", value=_number(line.score), low=low, high=high, n=len(lines), trials=count,
            coverage=_number(line.coverage), uncapped=_number(line.uncapped), null=_number(line.null),
            skill=_number(line.skill), noise_floor=floor,
        )  # fmt: skip

    overall = made(
        "all",
        scored.summary.cohort,
        {name: s.cohort for name, s in people.items()},
        len(trials),
        float(np.mean(known)) if len(known) == len(floor) else None,
    )
    by_coordinate = [
        made(name, line, {p: s.by_coordinate[name] for p, s in people.items()}, len(trials), floor[name])
        for name, line in scored.summary.by_coordinate.items()
    ]
    by_activity = []
    for name, line in scored.summary.by_activity.items():
        doing = {p: s.by_activity[name] for p, s in people.items() if name in s.by_activity}
        by_activity.append(
            made(name, line, doing, sum(k.activity == name for k in trials), overall.noise_floor)
        )
    by_subject = [
        made(name, s.cohort, {name: s.cohort}, s.trials, overall.noise_floor) for name, s in people.items()
    ]
    return overall, by_coordinate, by_activity, by_subject


def interval(values: Sequence[float], *, seed: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a mean over subjects; none for a single one, or where somebody has no number."""
    if len(values) < 2 or not all(math.isfinite(v) for v in values):
        return None, None
    found = bootstrap_means(list(values), resamples=RESAMPLES, seed=seed)
    return float(found.low), float(found.high)


def beside(
    name: str, values: Mapping[TrialKey, float], coverage: Mapping[TrialKey, float], *, seed: int
) -> Beside:
    """A score of another kind, from one number a trial (NaN: no answer), taken up the same tree."""
    card = metric_card(name)
    people = sorted({key.subject for key in values})
    each = [tree_mean({k: v for k, v in values.items() if k.subject == person}) for person in people]
    low, high = interval(each, seed=seed)
    return Beside(
        name=name,
        unit=card.unit,
        direction=card.direction,
        value=_number(tree_mean(values)),
        low=low,
        high=high,
        n=len(people),
        coverage=_number(100 * tree_mean(coverage)),
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def curve(
    trial: str, coordinate: str, truth: Motion, predicted: Motion | None, sd: FloatArray | None, lag: float
) -> Curve:
    """One angle of one trial, reference and prediction, as the report draws it."""
    pick = np.unique(np.linspace(0, len(truth) - 1, min(LONGEST, len(truth))).round().astype(int))
    time = truth.time[pick]
    true = np.degrees(truth.column(coordinate)[pick])
    found, spread = np.full(len(pick), np.nan), np.full(len(pick), np.nan)
    if predicted is not None and coordinate in predicted.names and len(predicted):
        shift = lag if math.isfinite(lag) else 0.0
        own = unwrap(predicted.column(coordinate)[:, None])[:, 0]
        found = np.degrees(_between(time, predicted.time - shift, own))
        found += 360.0 * np.round(
            np.nan_to_num(np.nanmean(true - found) if np.isfinite(found).any() else 0) / 360
        )
        if sd is not None:
            spread = np.degrees(
                _between(time, predicted.time - shift, sd[:, predicted.names.index(coordinate)])
            )
    return Curve(
        trial=trial,
        coordinate=coordinate,
        time=tuple(time.tolist()),
        reference=_numbers(true),
        predicted=_numbers(found),
        sd=_numbers(spread),
    )


def _between(time: FloatArray, own: FloatArray, values: FloatArray) -> FloatArray:
    """Joined by lines as they are when scored: gaps stay gaps."""
    column = np.where(np.isfinite(values), values, np.nan)[:, None]
    return resample(column, own, time, max_gap=PROTOCOL.max_gap, kind="translation")[:, 0]


def _numbers(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(_number(v) for v in np.round(values, 4).tolist())
