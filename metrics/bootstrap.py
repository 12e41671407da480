"""Cluster bootstrap: subjects are drawn with replacement, with all their trials or with trials drawn anew.

The subject is the unit. How often each subject is drawn in resample b comes from ``seed`` and b alone, and
values are rounded so that their sums are exact: a result is the same to the last byte however the work is cut
up and the models are ordered. A missing value is refused: it has to be charged before it comes here.

>>> found = bootstrap_means([1.0, 2.0, 4.0, 5.0])
>>> float(found.estimate), float(found.low), float(found.high)
(3.0, 1.5, 4.5)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from metrics.arrays import FloatArray, IntArray, MetricError, alike, floats, share, whole

Method = Literal["percentile", "BCa"]
Statistic = Callable[[FloatArray], ArrayLike]
BLOCK = 1000  #: resamples that are drawn from one stream and held in memory at once
NAN = math.nan


def blocks(total: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Sizes of the blocks of at most ``BLOCK`` that make up ``total``, each with a generator of its own.

    >>> [size for size, _ in blocks(2500, seed=0)]
    [1000, 1000, 500]
    """
    for block, start in enumerate(range(0, total, BLOCK)):
        yield min(BLOCK, total - start), np.random.default_rng([whole("seed", seed, 0), block])


def complete(
    values_xs: FloatArray, rows: Sequence[str] | None = None, subjects: Sequence[str] | None = None
) -> None:
    """Refuse a missing or infinite value, by the names of its row (model) and subject where there are any.

    >>> complete(np.array([[1.0, 2.0], [3.0, np.nan]]), ["toe", "heel"], ["ann", "bob"])
    Traceback (most recent call last):
    metrics.arrays.MetricError: Expected a number for every subject, got nan for 'heel', 'bob' (1 in all).
    """
    if values_xs.ndim == 0 or values_xs.shape[-1] == 0:
        raise MetricError(f"Expected at least one subject on the last axis, got shape {values_xs.shape}.")
    bad = np.argwhere(~np.isfinite(values_xs))
    if not len(bad):
        return
    *row, column = bad[0].tolist()
    where = f"{rows[row[0]]!r}" if rows else f"row {row}"
    who = f"{subjects[column]!r}" if subjects else f"subject {column}"
    raise MetricError(
        f"Expected a number for every subject, got {values_xs[tuple(bad[0])]} for {where}, {who}"
        f" ({len(bad)} in all)."
    )


def exact_terms(values_xs: FloatArray, total: int) -> FloatArray:
    """Values rounded so far that their sums with whole weights that add up to ``total`` at most are exact.

    Each row keeps 53 − ⌈log₂ total⌉ bits below the power of two above its greatest value (1e-14 of it for
    100): sums then fit the 53 bits of a float64 and don't depend on the order of the terms.

    >>> terms = exact_terms(np.array([0.1, 0.2, 0.3]), 3)
    >>> bool(terms[0] + terms[1] + terms[2] == terms[2] + terms[1] + terms[0])
    True
    """
    _, exponent = np.frexp(np.abs(values_xs).max(axis=-1, keepdims=True))
    step = np.ldexp(1.0, exponent + math.ceil(math.log2(total)) - 53)
    return np.asarray(np.rint(values_xs / step) * step)


def subject_counts(subjects: int, *, resamples: int = 10_000, seed: int = 0) -> Iterator[FloatArray]:
    """How often each subject is drawn in each resample: blocks of shape (b, ``subjects``), rows adding to it.

    The first resamples of a longer run are those of a shorter one.

    >>> [block.sum(axis=1).tolist() for block in subject_counts(4, resamples=2)]
    [[4.0, 4.0]]
    """
    whole("subjects", subjects, 1)
    for size, rng in blocks(whole("resamples", resamples, 1), seed):
        yield _tally(rng.integers(subjects, size=(size, subjects)), subjects)


def trial_counts(trials_s: Sequence[int], *, resamples: int = 10_000, seed: int = 0) -> Iterator[FloatArray]:
    """How often each trial is drawn when subjects are drawn and, for each drawing, as many of its trials.

    ``trials_s``: number of trials of each subject. Blocks of shape (b, all trials), subject after subject.

    >>> [block.sum(axis=1).tolist() for block in trial_counts([2, 2], resamples=3)]
    [[4.0, 4.0, 4.0]]
    """
    trials = np.asarray([whole("trials of a subject", t, 1) for t in trials_s], dtype=np.int64)
    n, total, most = whole("subjects", len(trials), 1), int(trials.sum()), int(trials.max(initial=0))
    first = np.cumsum(trials) - trials
    for size, rng in blocks(whole("resamples", resamples, 1), seed):
        chance = rng.random((size, n, 1 + most))
        drawn = (chance[..., :1] * n).astype(np.int64)
        picked = (chance[..., 1:] * trials[drawn]).astype(np.int64) + first[drawn]
        # Every drawing has places for the longest subject; those beyond its own trials go to a spare bin.
        picked = np.where(np.arange(most) < trials[drawn], picked, total)
        yield _tally(picked.reshape(size, -1), total + 1)[:, :total]


def _tally(drawn_bk: IntArray, bins: int) -> FloatArray:
    rows = len(drawn_bk)
    flat = (drawn_bk + bins * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * bins).reshape(rows, bins).astype(np.float64)


@dataclass(frozen=True)
class Bootstrap:
    """What a bootstrap found; the arrays have the shape of the statistic.

    >>> bootstrap_means([[1.0, 2.0], [3.0, 3.0]], resamples=7).samples.shape
    (2, 7)

    Attributes
    ----------
    estimate : the statistic of the sample itself
    low, high : the ends of the interval; NaN for a single subject
    se : the SD of the resamples; NaN for a single subject
    samples : the statistic of every resample, resamples on the last axis
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    se: FloatArray
    samples: FloatArray


def bootstrap(
    statistic: Statistic,
    subjects: int,
    *,
    method: Method = "percentile",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap any statistic of ``subjects`` subjects.

    ``statistic`` gets counts of shape (b, subjects), how often each subject counts, and gives (…, b): a
    weighted mean is ``lambda counts: x @ counts.T / counts.sum(axis=1)``. A function without weights goes
    through ``each_resample``. "percentile": quantiles of the resamples, linear between neighbours; "BCa":
    bias-corrected and accelerated (Efron 1987), the acceleration from leaving each subject out, NaN where all
    resamples lie on one side of the estimate.

    >>> x = np.array([1.0, 2.0, 6.0])
    >>> rms = bootstrap(lambda counts: np.sqrt(counts @ x**2 / counts.sum(axis=1)), 3)
    >>> round(float(rms.estimate), 3), float(rms.low), float(rms.high)
    (3.697, 1.0, 6.0)
    """
    _method(method)
    counts = subject_counts(subjects, resamples=resamples, seed=seed)
    samples = np.concatenate([_answered(statistic, block) for block in counts], axis=-1)
    estimate = _answered(statistic, np.ones((1, subjects)))[..., 0]
    left_out = _answered(statistic, 1 - np.eye(subjects)) if method == "BCa" and subjects > 1 else None
    return _interval(estimate, samples, left_out, subjects, confidence)


def _answered(statistic: Statistic, counts_bs: FloatArray) -> FloatArray:
    values = np.asarray(statistic(counts_bs), dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != len(counts_bs):
        raise MetricError(
            f"Expected the statistic to give {len(counts_bs)} values on its last axis, one a row of counts,"
            f" got shape {values.shape}."
        )
    return values


def each_resample(statistic: Callable[[IntArray], Any]) -> Statistic:
    """A statistic for ``bootstrap`` from a function of the drawn subjects' indices: a call each, so slow.

    >>> x = np.array([1.0, 2.0, 9.0])
    >>> float(bootstrap(each_resample(lambda drawn: np.median(x[drawn])), 3, resamples=99).estimate)
    2.0
    """

    def of_counts(counts_bs: FloatArray) -> FloatArray:
        who = np.arange(counts_bs.shape[1])
        rows = [statistic(np.repeat(who, row)) for row in counts_bs.astype(np.int64)]
        return np.stack([np.asarray(row, dtype=np.float64) for row in rows], axis=-1)

    return of_counts


def bootstrap_means(
    values_xs: ArrayLike,
    *,
    method: Method = "percentile",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap the mean over subjects (last axis); the rows, models say, share the resamples.

    >>> two = bootstrap_means([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    >>> bool(np.allclose(two.samples[1] - two.samples[0], 1))
    True
    """
    values = floats("values_xs", values_xs)
    complete(values)
    n = values.shape[-1]
    terms = exact_terms(values, n)

    def mean(counts_bs: FloatArray) -> FloatArray:
        return np.asarray(terms @ counts_bs.T / counts_bs.sum(axis=1))

    return bootstrap(mean, n, method=method, confidence=confidence, resamples=resamples, seed=seed)


def bootstrap_ratio(
    above_xs: ArrayLike,
    below_xs: ArrayLike,
    *,
    method: Method = "percentile",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap the ratio of two means over the same subjects (last axis), both of each resample's subjects.

    The ratio of the means, not the mean of the subjects' ratios: a subject whose error below is nearly 0
    would decide that one alone.

    >>> twice = bootstrap_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    >>> float(twice.estimate), float(twice.low), float(twice.high)
    (2.0, 2.0, 2.0)
    """
    above, below = alike(above_xs=above_xs, below_xs=below_xs)
    complete(above)
    complete(below)
    if not (below > 0).all():
        raise MetricError(f"Expected numbers above 0 to divide by, got {below.min():g}.")
    n = above.shape[-1]
    terms_above, terms_below = exact_terms(above, n), exact_terms(below, n)

    def ratio(counts_bs: FloatArray) -> FloatArray:
        return np.asarray((terms_above @ counts_bs.T) / (terms_below @ counts_bs.T))

    return bootstrap(ratio, n, method=method, confidence=confidence, resamples=resamples, seed=seed)


def bootstrap_trials(
    values_xk: ArrayLike,
    subjects: Sequence[str],
    *,
    method: Method = "percentile",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap the mean of subject means in two stages: subjects, then trials within each drawn subject.

    ``subjects`` names the subject of each trial (last axis). Each drawing of a subject draws its trials
    anew. BCa leaves out whole subjects.

    >>> nested = bootstrap_trials([1.0, 3.0, 10.0], ["ann", "ann", "bob"])
    >>> float(nested.estimate), float(nested.low), float(nested.high)
    (6.0, 1.5, 10.0)
    """
    _method(method)
    values = floats("values_xk", values_xk)
    if values.shape[-1:] != (len(subjects),):
        raise MetricError(
            f"Expected a subject for each trial, got shape {values.shape} and {len(subjects)} subjects."
        )
    complete(values, subjects=subjects)
    names, which = np.unique([str(s) for s in subjects], return_inverse=True)
    order = np.argsort(which, kind="stable")
    trials = np.bincount(which)
    n = len(names)
    weighted = exact_terms(values[..., order] / np.repeat(trials, trials), n * int(trials.max()))
    counts = trial_counts(trials.tolist(), resamples=resamples, seed=seed)
    samples = np.concatenate([weighted @ block.T / n for block in counts], axis=-1)
    of_subject = np.add.reduceat(weighted, np.cumsum(trials) - trials, axis=-1)
    total = of_subject.sum(axis=-1)
    left_out = (total[..., None] - of_subject) / (n - 1) if method == "BCa" and n > 1 else None
    return _interval(total / n, samples, left_out, n, confidence)


def _method(method: str) -> None:
    if method not in get_args(Method):
        raise MetricError(f"Expected method as one of {', '.join(get_args(Method))}; got {method!r}.")


def _interval(
    estimate: FloatArray, samples: FloatArray, left_out: FloatArray | None, subjects: int, confidence: float
) -> Bootstrap:
    tails = np.array([1 - share("confidence", confidence), 1 + confidence]) / 2
    if subjects < 2:
        nan = np.full(estimate.shape, NAN)
        return Bootstrap(estimate, nan, nan, nan, samples)
    ordered = np.sort(samples, axis=-1)
    levels = np.broadcast_to(tails, (*estimate.shape, 2))
    if left_out is not None:
        levels = _corrected(estimate, samples, left_out, tails)
    low, high = np.moveaxis(_quantiles(ordered, levels), -1, 0)
    return Bootstrap(estimate, low, high, samples.std(axis=-1), samples)


def _corrected(
    estimate: FloatArray, samples: FloatArray, left_out: FloatArray, tails: FloatArray
) -> FloatArray:
    """The BCa levels in place of ``tails``, (…, 2); a resample equal to the estimate counts half below it."""
    centre = estimate[..., None]
    below = ((samples < centre).mean(axis=-1) + (samples <= centre).mean(axis=-1)) / 2
    pull = left_out.mean(axis=-1, keepdims=True) - left_out
    cubes, squares = (pull**3).sum(axis=-1), (pull**2).sum(axis=-1)
    speed = np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 0)[..., None]
    shift = stats.norm.ppf(below)[..., None]
    with np.errstate(invalid="ignore"):
        z = shift + stats.norm.ppf(tails)
        return np.asarray(stats.norm.cdf(shift + z / (1 - speed * z)))


def _quantiles(ordered: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of ``ordered`` (…, r) at ``levels`` (…, q), linear between neighbours; NaN stays NaN."""
    place = levels * (ordered.shape[-1] - 1)
    below = np.floor(np.nan_to_num(place)).astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, above, axis=-1)
    return np.asarray(low + (place - below) * (high - low))
