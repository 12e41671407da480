"""How late a prediction is, measured on signals that are not scored, and a signal moved in time.

A lag is positive where the prediction is late: predicted(t) = reference(t - lag). It belongs to a session
(one set of cameras, started once), so it is measured over all its trials together. Measured on the curve
that is scored, trial by trial, it would hide errors; that is done only where a published protocol does so
(``metrics.protocols``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from metrics.angles import Kind, times
from metrics.arrays import FloatArray, MetricError, floats, positive
from metrics.catalogue import metric
from metrics.waveforms import resample

Method = Literal["correlation", "difference"]

#: a lag at which fewer samples overlap than this share of the most that do at any lag is not considered
LEAST_OVERLAP = 0.5
#: lags whose agreement is within this of the best are as good as the best: ``Lag.width``
AS_GOOD = 0.01


class Pair(NamedTuple):
    """The same signals of one trial as predicted and as they were, each on its own times.

    predicted_time_t, reference_time_t : (time,) seconds
    predicted_ts, reference_ts : (time, signal) in any unit, NaN where missing, angles unwrapped

    >>> Pair([0.0, 0.1], [[1.0], [2.0]], [0.0], [[1.0]]).reference_ts
    [[1.0]]
    """

    predicted_time_t: ArrayLike
    predicted_ts: ArrayLike
    reference_time_t: ArrayLike
    reference_ts: ArrayLike


class Lag(NamedTuple):
    """A measured lag, and how far to trust it.

    seconds : how late the prediction is; NaN where nothing could be measured
    agreement : at that lag: correlation (1 is perfect), or minus the mean absolute difference in SDs of the
        reference (0 is perfect)
    width : seconds between the first and the last lag tried that agrees as well within 0.01: small for a
        sharp peak; large for signals that hardly move or repeat themselves
    at_edge : the best lag tried is the first or last: the true one may lie beyond
    samples : how many samples were compared at that lag

    >>> Lag(0.02, 0.99, 0.01, False, 300).seconds
    0.02
    """

    seconds: float
    agreement: float
    width: float
    at_edge: bool
    samples: int


def shift_samples(values_tc: ArrayLike, samples: int) -> FloatArray:
    """Rows moved to later (positive) or earlier by whole samples; NaN where none arrive. Any trailing axes.

    >>> shift_samples([1.0, 2.0, 3.0], 1), shift_samples([1.0, 2.0, 3.0], -2)
    (array([nan,  1.,  2.]), array([ 3., nan, nan]))
    """
    values = floats("values", values_tc)
    row = np.arange(len(values)) - samples
    out = np.full(values.shape, np.nan)
    there = (row >= 0) & (row < len(values))
    out[there] = values[row[there]]
    return out


def shift(
    values_tc: ArrayLike, time_t: ArrayLike, seconds: float, *, max_gap: float, kind: Kind = "rotation"
) -> FloatArray:
    """Curves moved to later (positive) by ``seconds``, on the same times; NaN at the end that is uncovered.

    To undo a measured lag, shift the prediction by ``-lag.seconds``. Linear between samples, angles are
    unwrapped: see ``waveforms.resample``.

    >>> shift([[0.0], [0.1], [0.2]], [0.0, 0.1, 0.2], 0.05, max_gap=0.2).round(3).ravel()
    array([ nan, 0.05, 0.15])
    """
    time = floats("times", time_t, ndim=1)
    return resample(values_tc, time, time - seconds, max_gap=max_gap, kind=kind)


@metric(
    "lag·correlation",
    unit="s",
    direction="zero",
    definition="Time shift of a session's unscored signals, all together, at which they correlate best with "
    "the reference.",
    reference="capbench",
    needs=("reference", "time"),
    merge="samples",
    part="seconds",
    method="correlation",
)
@metric(
    "lag·difference",
    unit="s",
    direction="zero",
    definition="Time shift of a session's unscored signals, all together, at which they differ least on "
    "average.",
    reference="capbench; criterion as OpenCapBench, Gozlan 2024",
    needs=("reference", "time"),
    merge="samples",
    part="seconds",
    method="difference",
)
def measure_lag(
    pairs: Sequence[Pair],
    *,
    max_lag: float,
    step: float,
    max_gap: float,
    method: Method = "correlation",
    subsample: bool = False,
) -> Lag:
    """One lag for all trials of a session, the best of those tried: -max_lag to max_lag in steps.

    For each lag tried, the prediction is moved back by it and read at the reference's times. Signals are in
    units of their reference's SD, so that any may be mixed; those whose reference does not vary are left out.

    "correlation": sum (p - mean p)(r - mean r) / sqrt(sum (p - mean p)² · sum (r - mean r)²), sums over all
    samples of all signals and trials, each mean over one signal of one trial. Blind to offsets.
    "difference": mean |p - r|. Sees offsets.

    Equal ones go to the lag nearest to 0.

    Parameters
    ----------
    pairs : one a trial
    max_lag, step : seconds
    max_gap : seconds of missing prediction to interpolate over
    subsample : refine by the vertex of the parabola through the best and its two neighbours

    >>> time = np.arange(0, 2, 0.01)
    >>> pair = Pair(time, np.sin(3 * (time[:, None] - 0.05)), time, np.sin(3 * time[:, None]))
    >>> lag = measure_lag([pair], max_lag=0.2, step=0.01, max_gap=0.1)
    >>> round(lag.seconds, 6), round(lag.agreement, 6), lag.at_edge
    (0.05, 1.0, False)
    """
    if method not in get_args(Method):
        raise MetricError(f"Expected method 'correlation' or 'difference', got {method!r}.")
    steps = int(positive("max_lag", max_lag) / positive("step", step) + 1e-9)
    lags = floats("lags", np.arange(-steps, steps + 1) * step)
    signals = [signal for pair in pairs for signal in _signals(pair, lags, max_gap)]
    if not signals:
        return Lag(np.nan, np.nan, np.nan, False, 0)
    count = np.sum([(~np.isnan(p)).sum(axis=0) for p, _ in signals], axis=0)
    score = (_correlation if method == "correlation" else _difference)(signals)
    # a few samples at the end of the range agree by chance
    score = np.where((count >= LEAST_OVERLAP * count.max()) & ~np.isnan(score), score, -np.inf)
    nearest = np.argsort(np.abs(lags), kind="stable")
    best = int(nearest[score[nearest].argmax()])
    if np.isinf(score[best]):
        return Lag(np.nan, np.nan, np.nan, False, 0)
    good = lags[score >= score[best] - AS_GOOD]
    beside = np.append(score, -np.inf)[[best - 1, best + 1]]  # index -1 and the one past the end: -inf
    at_edge = bool(np.isinf(beside).any())
    seconds = float(lags[best])
    bend = 2 * score[best] - beside.sum()
    if subsample and not at_edge and bend > 0:
        seconds += step * float(beside[1] - beside[0]) / (2 * float(bend))
    return Lag(seconds, float(score[best]), float(good[-1] - good[0]), at_edge, int(count[best]))


def _signals(pair: Pair, lags: FloatArray, max_gap: float) -> list[tuple[FloatArray, FloatArray]]:
    """Each varying signal of a trial, in SDs of its reference: predicted and reference as (time, lag)."""
    predicted = floats("predicted signals", pair.predicted_ts, ndim=2)
    reference = floats("reference signals", pair.reference_ts, ndim=2, last=predicted.shape[1])
    time = times(pair.reference_time_t, len(reference))
    moments = (time[:, None] + lags).ravel()
    moved = resample(predicted, pair.predicted_time_t, moments, max_gap=max_gap, kind="translation")
    signals = []
    for column, truth in zip(moved.T, reference.T, strict=True):
        there = truth[~np.isnan(truth)]
        if there.size and there.max() > there.min():
            at_lag = column.reshape(len(time), len(lags)) / there.std()
            target = np.broadcast_to(truth[:, None] / there.std(), at_lag.shape)
            missing = np.isnan(at_lag) | np.isnan(target)
            signals.append((np.where(missing, np.nan, at_lag), np.where(missing, np.nan, target)))
    return signals


def _correlation(signals: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
    pp = rr = pr = np.float64(0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for predicted, reference in signals:
            count = (~np.isnan(predicted)).sum(axis=0)
            dev_p = predicted - np.nansum(predicted, axis=0) / count
            dev_r = reference - np.nansum(reference, axis=0) / count
            pp = pp + np.nansum(dev_p**2, axis=0)
            rr = rr + np.nansum(dev_r**2, axis=0)
            pr = pr + np.nansum(dev_p * dev_r, axis=0)
        return np.asarray(pr / np.sqrt(pp * rr))


def _difference(signals: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
    apart = np.concatenate([np.abs(predicted - reference) for predicted, reference in signals])
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.nansum(apart, axis=0) / (~np.isnan(apart)).sum(axis=0))
