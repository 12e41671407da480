"""From the errors of single samples to one score for a cohort, so that silence never pays.

The way up is fixed by the reference alone, never by what was answered:

    sample -> trial (per coordinate) -> mean over coordinates -> mean over the trials of an activity
    -> mean over the activities of a subject -> mean over the subjects of the cohort

``charge`` turns the error series of one trial into what it costs. Each sample costs at most a cap, and a
sample without an answer costs exactly the cap, so taking an answer away can't lower any number above it.
``summarise`` takes all trials of a cohort up the tree. Means are exactly rounded (``math.fsum``), so the
order of the trials and the way they were sharded leave every byte as it is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import FloatArray, MetricError, floats, mean_present, names_of
from metrics.catalogue import metric

Kind = Literal["rms", "mean"]


class ExactSum:
    """A sum of floats without rounding: the same to the last bit in any order and any sharding.

    Held as a whole number of 2^-1074, the smallest float there is. For scores that pool samples over
    shards (card: merge = sums): each shard keeps sums of errors or of squares, and they are added.

    >>> a, b = ExactSum([1e16, 1.0]), ExactSum([-1e16, 0.5])
    >>> (a + b).value, (b + a).value, (a + b).count
    (1.5, 1.5, 4)
    """

    def __init__(self, values: ArrayLike = ()) -> None:
        array = floats("values", values).ravel()
        if not np.isfinite(array).all():
            raise MetricError("Expected finite values to sum; leave missing ones out and count them.")
        self.count = int(array.size)
        self._units = _exact_units(array)

    def __add__(self, other: ExactSum) -> ExactSum:
        total = ExactSum()
        total.count = self.count + other.count
        total._units = self._units + other._units
        return total

    @property
    def value(self) -> float:
        """The sum, rounded once."""
        return self._units / (1 << 1074)

    @property
    def mean(self) -> float:
        """The sum by the count, rounded once; NaN for no values."""
        return self._units / ((1 << 1074) * self.count) if self.count else math.nan


def _exact_units(array: FloatArray) -> int:
    """The sum of ``array`` in units of 2^-1074."""
    mantissa, exponent = np.frexp(array)  # array = mantissa * 2^exponent, |mantissa| < 1
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    total = 0
    for power in np.unique(exponent):
        part = whole[exponent == power]
        high, low = part >> 26, part & ((1 << 26) - 1)  # halves, so that no sum of int64 overflows
        units = (int(high.sum()) << 26) + int(low.sum())
        shift = int(power) - 53 + 1074
        total += units << shift if shift >= 0 else units >> -shift  # subnormals end in zeros: nothing is lost
    return total


class TrialKey(NamedTuple):
    """Which trial: names, by which trials are sorted.

    >>> TrialKey("subject2", "walking", "walking1").activity
    'walking'
    """

    subject: str
    activity: str
    trial: str


@dataclass(frozen=True)
class TrialScores:
    """What one trial costs, per coordinate; all in the unit of the errors given.

    Attributes
    ----------
    key : which trial
    charged_c : the error that ranks: samples capped, missing samples at the cap
    uncapped_c : the error of the answered samples as it is; NaN where none was answered
    null_c : what the null model is charged
    cap_c : what a sample costs at most, and exactly when it is missing
    answered_c : share (0 to 1) of the reference's samples that were answered

    A coordinate that the reference lacks is NaN in all of them, and counts for nobody.
    """

    key: TrialKey
    charged_c: FloatArray
    uncapped_c: FloatArray
    null_c: FloatArray
    cap_c: FloatArray
    answered_c: FloatArray


def charge(
    error_tc: ArrayLike, null_tc: ArrayLike, *, key: TrialKey, declared_cap: ArrayLike, kind: Kind = "rms"
) -> TrialScores:
    """What a trial costs, from the errors of its samples.

    cap = max(declared cap, error of the null model on this trial); each sample t costs min(|e_t|, cap),
    or cap where it has no answer; the trial costs their root mean square or mean.

    Parameters
    ----------
    error_tc : (time, coordinate) errors on the reference's samples, signed or not; NaN = no answer.
        Infinite is an answer, however bad.
    null_tc : the same of the null model (see ``mean_pose``); NaN where the reference has no value:
        such samples are nobody's
    key : which trial
    declared_cap : the protocol's cap, one number or one a coordinate
    kind : "rms" (joint angles) or "mean" (distances such as MPJPE)

    >>> missing = charge([[np.nan], [np.nan]], [[3.0], [4.0]], key=TrialKey("s", "a", "t"), declared_cap=2.0)
    >>> missing.charged_c == missing.cap_c, missing.cap_c.round(3)
    (array([ True]), array([3.536]))
    """
    error = np.abs(floats("errors", error_tc, ndim=2))
    null = np.abs(floats("errors of the null model", null_tc, ndim=2))
    if error.shape != null.shape:
        raise MetricError(f"Expected errors of one shape, got {error.shape}; the null model's {null.shape}.")
    if kind not in ("rms", "mean"):
        raise MetricError(f"Expected kind 'rms' or 'mean', got {kind!r}.")
    least = np.broadcast_to(floats("declared cap", declared_cap), null.shape[1:])
    if not (np.isfinite(least) & (least > 0)).all() or np.isinf(null).any():
        raise MetricError("Expected declared caps above zero and finite errors of the null model.")
    scored = ~np.isnan(null)
    there = scored & ~np.isnan(error)
    cap = np.maximum(least, _average(null, kind))  # NaN where the reference has nothing
    capped = np.where(there, np.minimum(error, cap), np.where(scored, cap, np.nan))
    with np.errstate(invalid="ignore", divide="ignore"):
        answered = there.sum(axis=0) / scored.sum(axis=0)
    return TrialScores(
        key=TrialKey(*key),
        # averaging n times the cap rounds; what is missing must cost the cap to the last bit
        charged_c=np.where(there.any(axis=0), np.minimum(_average(capped, kind), cap), cap),
        uncapped_c=_average(np.where(there, error, np.nan), kind),
        null_c=_average(np.where(scored, np.minimum(null, cap), np.nan), kind),
        cap_c=cap,
        answered_c=answered,
    )


def _average(values_tc: FloatArray, kind: Kind) -> FloatArray:
    """Root mean square or mean of what is not NaN, over time."""
    if kind == "rms":
        return np.asarray(np.sqrt(mean_present(values_tc**2, axis=0)))
    return np.asarray(mean_present(values_tc, axis=0))


def mean_pose(
    pose_kc: ArrayLike, keys: Sequence[TrialKey], *, period_c: ArrayLike | None = None
) -> FloatArray:
    """The null model: one pose for a whole cohort, the mean over its reference, taken up the same tree.

    Parameters
    ----------
    pose_kc : (trial, coordinate) mean of each trial's reference; NaN where it has none
    keys : which trials
    period_c : what each coordinate wraps at (2 pi for a rotation in radians, infinity for a translation);
        default: nothing wraps

    Wrapped coordinates are averaged on the circle, so that trials at +179° and -179° mean 180°, not 0°.

    >>> keys = [TrialKey("s1", "walk", "1"), TrialKey("s2", "walk", "1")]
    >>> mean_pose([[0.2, 1.0], [0.4, 3.0]], keys).round(3)
    array([0.3, 2. ])
    """
    pose = floats("poses", pose_kc, ndim=2)
    if len(keys) != len(pose):
        raise MetricError(f"Expected a key for each of {len(pose)} trials, got {len(keys)}.")
    period = np.full(pose.shape[1], np.inf) if period_c is None else floats("periods", period_c, ndim=1)
    if period.shape != pose.shape[1:] or not (period > 0).all():
        raise MetricError(f"Expected a period above zero for each of {pose.shape[1]} coordinates.")

    def tree(column: FloatArray) -> float:
        return tree_mean(dict(zip(keys, column.tolist(), strict=True)))

    mean = np.empty(pose.shape[1])
    for c, wraps_at in enumerate(period):
        if np.isinf(wraps_at):
            mean[c] = tree(pose[:, c])
        else:
            turn = pose[:, c] * (2 * np.pi / wraps_at)
            mean[c] = math.atan2(tree(np.sin(turn)), tree(np.cos(turn))) * wraps_at / (2 * np.pi)
    return mean


def tree_mean(values: Mapping[TrialKey, float]) -> float:
    """Trials -> activities -> subjects -> cohort, a plain mean at each step; NaN is left out.

    An activity with ten trials thus weighs as much as one with two, and a subject as much as any other.

    >>> walk = {TrialKey("s1", "walk", str(k)): 1.0 for k in range(9)}
    >>> tree_mean({**walk, TrialKey("s1", "squat", "1"): 3.0})
    2.0
    """
    subjects: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for key, value in values.items():
        subjects[key.subject][key.activity].append(value)
    return exact_mean(
        exact_mean(exact_mean(trials) for trials in activities.values()) for activities in subjects.values()
    )


def exact_mean(values: Iterable[float]) -> float:
    """The mean of what is not NaN, the same in any order; NaN of nothing.

    >>> exact_mean([0.1] * 10), exact_mean([2.0, math.nan])
    (0.1, 2.0)
    """
    there = [v for v in values if not math.isnan(v)]
    return math.fsum(there) / len(there) if there else math.nan


class Line(NamedTuple):
    """One row of a table of scores, in the unit of the errors given.

    score ranks; uncapped is the mean over what was answered, as it is; null is what the null model gets;
    skill is 1 - score / null (1 perfect, 0 no better than the null model, NaN where null is zero);
    coverage is the share of samples answered, in %.

    >>> Line(2.0, 2.0, 8.0, 0.75, 100.0).skill
    0.75
    """

    score: float
    uncapped: float
    null: float
    skill: float
    coverage: float


class WorstTrial(NamedTuple):
    """A trial to look at: its uncapped error (mean over coordinates; NaN: no answer) and what it was charged.

    >>> WorstTrial(TrialKey("s1", "walk", "1"), 12.0, 10.0).charged
    10.0
    """

    key: TrialKey
    uncapped: float
    charged: float


@dataclass(frozen=True)
class Summary:
    """All that a cohort says of one model.

    Attributes
    ----------
    cohort : the line that ranks
    by_coordinate, by_activity, by_subject : the same, apart; subjects are what inference resamples
    trials, answered : how many trials there are, and how many have any answer
    worst : the trials charged most, worst first
    """

    cohort: Line
    by_coordinate: Mapping[str, Line]
    by_activity: Mapping[str, Line]
    by_subject: Mapping[str, Line]
    trials: int
    answered: int
    worst: tuple[WorstTrial, ...]


@metric(
    "ranked error",
    unit="as given",
    direction="lower",
    definition="Error over the cohort (trials, activities, subjects averaged in turn), samples capped and "
    "missing ones charged the cap.",
    reference="capbench",
    needs=("reference", "subjects"),
    part="cohort.score",
)
@metric(
    "uncapped error",
    unit="as given",
    direction="lower",
    definition="Error over the answered samples of a cohort as it is, blind to what was left out.",
    reference="capbench",
    needs=("reference", "subjects"),
    part="cohort.uncapped",
)
@metric(
    "skill",
    unit="1",
    direction="higher",
    definition="1 - ranked error / ranked error of the null model, which answers every frame with the "
    "cohort's mean pose.",
    reference="capbench; the form is Murphy 1988, Mon. Weather Rev. 116",
    needs=("reference", "subjects"),
    part="cohort.skill",
)
@metric(
    "coverage·samples",
    unit="%",
    direction="higher",
    definition="Share of the reference's samples that were answered, averaged up the tree as the errors are.",
    reference="capbench",
    needs=("reference", "subjects"),
    part="cohort.coverage",
)
def summarise(
    shards: Iterable[Iterable[TrialScores]],
    *,
    roster: Iterable[TrialKey],
    coordinates: Sequence[str],
    worst: int = 5,
) -> Summary:
    """Merge the shards of a cohort and take them up the tree.

    Parameters
    ----------
    shards : trials scored apart, in any order
    roster : every trial of the cohort; each must come exactly once (a trial without an answer too: see
        ``charge``), so that none can drop out unseen
    coordinates : their names
    worst : how many of the worst trials to name

    >>> key = TrialKey("s1", "walk", "1")
    >>> one = charge([[1.0], [-1.0]], [[4.0], [4.0]], key=key, declared_cap=20.0)
    >>> summarise([[one]], roster=[key], coordinates=["knee"]).cohort
    Line(score=1.0, uncapped=1.0, null=4.0, skill=0.75, coverage=100.0)
    """
    trials = _merge(shards, roster)
    if not trials:
        raise MetricError("Expected at least one trial in the roster.")
    names = names_of("coordinates", coordinates, len(coordinates))
    for trial in trials:
        if trial.charged_c.shape != (len(names),):
            raise MetricError(
                f"Expected {len(names)} coordinates in trial {' '.join(trial.key)}, "
                f"got {len(trial.charged_c)}."
            )
    everything = range(len(names))
    means = [(t.key, exact_mean(t.uncapped_c.tolist()), exact_mean(t.charged_c.tolist())) for t in trials]
    by_charge = sorted((WorstTrial(*row) for row in means if row[2] >= 0), key=lambda w: (-w.charged, w.key))
    return Summary(
        cohort=_line(trials, everything),
        by_coordinate={name: _line(trials, [c]) for c, name in enumerate(names)},
        by_activity=_lines(trials, "activity", everything),
        by_subject=_lines(trials, "subject", everything),
        trials=len(trials),
        answered=sum(bool((t.answered_c > 0).any()) for t in trials),
        worst=tuple(by_charge[:worst]),
    )


def _merge(shards: Iterable[Iterable[TrialScores]], roster: Iterable[TrialKey]) -> list[TrialScores]:
    """The trials of all shards by key; an error where they are not the roster."""
    expected = {TrialKey(*key) for key in roster}
    found: dict[TrialKey, TrialScores] = {}
    for shard in shards:
        for trial in shard:
            if trial.key in found:
                raise MetricError(f"Expected each trial once, got {' '.join(trial.key)} again.")
            if trial.key not in expected:
                raise MetricError(f"Expected trials of the roster, got {' '.join(trial.key)}.")
            found[trial.key] = trial
    if missing := sorted(expected - found.keys()):
        listed = ", ".join(" ".join(key) for key in missing[:5])
        raise MetricError(
            f"Expected all {len(expected)} trials of the roster, {len(missing)} are missing: {listed}. "
            "A trial without an answer is charged, not left out."
        )
    return [found[key] for key in sorted(found)]


def _lines(
    trials: Sequence[TrialScores], level: Literal["activity", "subject"], coordinates: Iterable[int]
) -> dict[str, Line]:
    names = sorted({getattr(t.key, level) for t in trials})
    return {n: _line([t for t in trials if getattr(t.key, level) == n], coordinates) for n in names}


def _line(trials: Sequence[TrialScores], coordinates: Iterable[int]) -> Line:
    chosen = list(coordinates)

    def tree(field: str) -> float:
        return tree_mean({t.key: exact_mean(getattr(t, field)[chosen].tolist()) for t in trials})

    score, null = tree("charged_c"), tree("null_c")
    skill = 1.0 - score / null if null else math.nan
    return Line(score, tree("uncapped_c"), null, skill, 100.0 * tree("answered_c"))
