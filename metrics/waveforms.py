"""Whether two curves have one shape: correlation, linear fit (LFM), multiple correlation (CMC); time axes.

Curves go in as (..., time, coordinate), radians or metres, NaN where missing, as in ``metrics.angles``;
angles are unwrapped first. A score has the shape (..., coordinate) and is over the samples that both have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.angles import UNIT, Kind, continuous, times, unwrap
from metrics.arrays import BoolArray, FloatArray, MetricError, floats, mean_present
from metrics.catalogue import metric

SAME_TIME = 1e-6  #: seconds; times closer than this are one: files round theirs


class LinearFit(NamedTuple):
    """The line predicted = intercept + slope · reference, and the share of the variance it explains.

    slope : 1 is perfect
    intercept : ° or mm; 0 is perfect
    r2 : 1 is perfect, whatever slope and intercept

    >>> LinearFit(slope=np.array([1.0]), intercept=np.array([0.0]), r2=np.array([1.0])).slope
    array([1.])
    """

    slope: FloatArray
    intercept: FloatArray
    r2: FloatArray


class _Moments(NamedTuple):
    """Means and mean products about them, of the samples both have; whether a curve does not vary."""

    mean_p: FloatArray
    mean_r: FloatArray
    pp: FloatArray
    rr: FloatArray
    pr: FloatArray
    flat_p: BoolArray
    flat_r: BoolArray


def _moments(predicted_tc: ArrayLike, reference_tc: ArrayLike, kind: Kind) -> _Moments:
    predicted, reference = continuous(predicted_tc, reference_tc, kind=kind)
    reference = np.where(np.isnan(predicted), np.nan, reference)
    mean_p, mean_r = (np.asarray(mean_present(curve, axis=-2)) for curve in (predicted, reference))
    dev_p, dev_r = predicted - mean_p[..., None, :], reference - mean_r[..., None, :]

    def mean(product: FloatArray) -> FloatArray:
        return np.asarray(mean_present(product, axis=-2))

    return _Moments(
        mean_p,
        mean_r,
        mean(dev_p**2),
        mean(dev_r**2),
        mean(dev_p * dev_r),
        _flat(predicted),
        _flat(reference),
    )


def _flat(curve_tc: FloatArray) -> BoolArray:
    """Whether a curve has one value or none. Exact, where a variance would be a rounding error."""
    there = ~np.isnan(curve_tc)
    high = np.where(there, curve_tc, -np.inf).max(axis=-2, initial=-np.inf)
    low = np.where(there, curve_tc, np.inf).min(axis=-2, initial=np.inf)
    return np.asarray(high <= low)


@metric(
    "LFM·slope",
    unit="1",
    direction="neither",
    definition="Slope a1 of predicted = a0 + a1 · reference by least squares; 1 is perfect.",
    reference="Iosa 2014, Gait Posture 40",
    needs=("reference", "angles"),
    part="slope",
)
@metric(
    "LFM·intercept·angle",
    unit="°",
    direction="zero",
    definition="Intercept a0 of predicted = a0 + a1 · reference by least squares.",
    reference="Iosa 2014, Gait Posture 40",
    needs=("reference", "angles"),
    part="intercept",
    kind="rotation",
)
@metric(
    "LFM·intercept·translation",
    unit="mm",
    direction="zero",
    definition="Intercept a0 of predicted = a0 + a1 · reference by least squares.",
    reference="Iosa 2014, Gait Posture 40",
    needs=("reference", "angles"),
    part="intercept",
    kind="translation",
)
@metric(
    "LFM·R²",
    unit="1",
    direction="higher",
    definition="Share of the predicted curve's variance that a line on the reference explains.",
    reference="Iosa 2014, Gait Posture 40",
    needs=("reference", "angles"),
    part="r2",
)
def linear_fit(predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation") -> LinearFit:
    """The linear fit method: regress the predicted curve on the reference.

    a1 = cov / var_ref, a0 = mean_pred - a1 · mean_ref, R² = cov² / (var_pred · var_ref). A reference that
    does not vary leaves all three undefined, a prediction that does not vary leaves R² undefined: NaN.

    >>> reference = np.radians([[0.0], [30.0], [60.0]])
    >>> fit = linear_fit(0.5 * reference + np.radians(5), reference)
    >>> fit.slope.round(6), fit.intercept.round(6), fit.r2.round(6)
    (array([0.5]), array([5.]), array([1.]))
    """
    m = _moments(predicted_tc, reference_tc, kind)
    slope = np.full(m.rr.shape, np.nan)
    np.divide(m.pr, m.rr, out=slope, where=~m.flat_r)
    return LinearFit(slope, (m.mean_p - slope * m.mean_r) * UNIT[kind], _correlation(m) ** 2)


@metric(
    "Pearson r",
    unit="1",
    direction="higher",
    definition="Pearson correlation over time of a predicted curve with the reference.",
    reference="Pearson 1895",
    needs=("reference", "angles"),
)
def pearson_r(predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation") -> FloatArray:
    """cov / (sd_pred · sd_ref) over time; NaN where either curve does not vary.

    >>> pearson_r([[0.0], [0.2], [0.1]], [[0.0], [0.4], [0.2]]).round(6)
    array([1.])
    """
    return _correlation(_moments(predicted_tc, reference_tc, kind))


def _correlation(m: _Moments) -> FloatArray:
    r = np.full(m.rr.shape, np.nan)
    np.divide(m.pr, np.sqrt(m.pp) * np.sqrt(m.rr), out=r, where=~(m.flat_p | m.flat_r))
    return np.asarray(np.clip(r, -1.0, 1.0))  # rounding may leave 1 + 2e-16


@metric(
    "CMC",
    unit="1",
    direction="higher",
    definition="Coefficient of multiple correlation of curves within cycles; undefined, not 0, where they "
    "differ more than they vary.",
    reference="Kadaba 1989, J Orthop Res 7; form: Ferrari 2010, Gait Posture 31",
    needs=("reference", "angles"),
)
def cmc(curves_gpf: ArrayLike, *, kind: Kind = "rotation") -> FloatArray:
    """Coefficient of multiple correlation of P curves (methods, or repetitions) within each of G cycles.

    CMC = sqrt(1 - [sum_gpf (Y - mean_p Y)² / (G F (P - 1))] / [sum_gpf (Y - mean_pf Y)² / (G (P F - 1))])

    Kadaba's within-day coefficient: cycle is the day, curve the run. NaN where it is undefined: the ratio
    above 1 (which curves of a small range reach with small errors: read an RMSE beside it), curves that do
    not vary, or a value missing.

    Parameters
    ----------
    curves_gpf : (..., cycle, curve, frame) radians or metres; at least two curves
    kind : angles are unwrapped over frames, and moved by whole turns towards the first curve

    >>> swing = np.radians(30 * np.sin(np.linspace(0, 2 * np.pi, 101)))
    >>> round(float(cmc([[swing, swing + np.radians(3)]])), 3)
    0.995
    """
    curves = floats("curves", curves_gpf)
    if curves.ndim < 3 or curves.shape[-2] < 2 or curves.shape[-1] < 1:
        raise MetricError(
            f"Expected curves as (..., cycle, curve >= 2, frame >= 1), got shape {curves.shape}."
        )
    y_gfp = np.swapaxes(curves, -1, -2)
    y_gfp, _ = continuous(y_gfp, np.broadcast_to(y_gfp[..., :1], y_gfp.shape), kind=kind)
    *_, cycles, frames, count = y_gfp.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        between = ((y_gfp - y_gfp.mean(axis=-1, keepdims=True)) ** 2).sum(axis=(-3, -2, -1))
        total = ((y_gfp - y_gfp.mean(axis=(-2, -1), keepdims=True)) ** 2).sum(axis=(-3, -2, -1))
        ratio = (between / (cycles * frames * (count - 1))) / (total / (cycles * (count * frames - 1)))
        flat = (y_gfp == y_gfp[..., :1, :1]).all(axis=(-3, -2, -1))
        return np.where(flat, np.nan, np.sqrt(1.0 - ratio))


def resample(
    values_tc: ArrayLike, time_t: ArrayLike, new_time_t: ArrayLike, *, max_gap: float, kind: Kind = "rotation"
) -> FloatArray:
    """Curves at other times: linear between two present neighbours, never beyond them, never over long gaps.

    Parameters
    ----------
    values_tc : (time, coordinate) radians or metres; NaN is missing
    time_t : (time,) seconds, strictly increasing
    new_time_t : (new time,) seconds, in any order
    max_gap : seconds; neighbours further apart than this have nothing between them (NaN)
    kind : angles are unwrapped first, and come out unwrapped

    A new time within ``SAME_TIME`` of a sample takes that sample.

    >>> resample([[0.0], [1.0], [3.0]], [0.0, 0.1, 0.4], [0.05, 0.1, 0.3, 0.5], max_gap=0.2).ravel()
    array([0.5, 1. , nan, nan])
    """
    values = floats("values", values_tc, ndim=2)
    time = times(time_t, len(values))
    new = floats("new times", new_time_t, ndim=1)
    if not max_gap >= 0:
        raise MetricError(f"Expected max_gap in seconds, zero or more, got {max_gap!r}.")
    whole = unwrap(values) if kind == "rotation" else values
    columns = [_at(column, time, new, max_gap) for column in whole.T]
    return np.column_stack(columns) if columns else np.empty((len(new), 0))


def _at(value_t: FloatArray, time_t: FloatArray, new_t: FloatArray, max_gap: float) -> FloatArray:
    """One column of ``resample``."""
    there = ~np.isnan(value_t)
    time, value = time_t[there], value_t[there]
    out = np.full(len(new_t), np.nan)
    if not there.any():
        return out
    after = np.searchsorted(time, new_t - SAME_TIME)  # the first sample that is not earlier
    right, left = np.minimum(after, len(time) - 1), np.maximum(after - 1, 0)
    hit = np.abs(time[right] - new_t) <= SAME_TIME
    gap = time[right] - time[left]
    bridged = (left < right) & (after < len(time)) & (gap <= max_gap + SAME_TIME) & ~hit
    out[hit] = value[right[hit]]
    left, right = left[bridged], right[bridged]
    share = (new_t[bridged] - time[left]) / gap[bridged]
    out[bridged] = value[left] + share * (value[right] - value[left])
    return out


def time_normalise(
    values_tc: ArrayLike, time_t: ArrayLike, *, max_gap: float, points: int = 101, kind: Kind = "rotation"
) -> FloatArray:
    """A cycle or trial at ``points`` evenly spaced times from its first sample to its last: 0 to 100 %.

    What is missing is interpolated over up to ``max_gap`` seconds and stays NaN beyond (see ``resample``);
    below two samples there is no cycle: all NaN.

    >>> time_normalise([[0.0], [0.2], [1.0]], [0.0, 0.2, 1.0], max_gap=1.0, points=5).round(3).ravel()
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    values = floats("values", values_tc, ndim=2)
    time = times(time_t, len(values))
    if points < 2:
        raise MetricError(f"Expected at least two points, got {points}.")
    if len(time) < 2:
        return np.full((points, values.shape[1]), np.nan)
    return resample(values, time, np.linspace(time[0], time[-1], points), max_gap=max_gap, kind=kind)
