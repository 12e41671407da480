"""How far predicted coordinates are from the true ones: joint angles in degrees, translations in millimetres.

Curves go in as (..., time, coordinate): radians for ``kind="rotation"``, metres for ``"translation"``;
NaN (or infinite) is missing. A score has the shape (..., coordinate) and comes out in ° or mm. Every error is
prediction minus reference. Angles live on a circle: differences are wrapped to (-180°, 180°], and a curve
is unwrapped before its range or its peak is read.

A translation is measured in some origin. Where the video's differs from the reference's, the mean
difference over the trial can be taken away first (``align="offset"``); the name of the score says so.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, FloatArray, IntArray, MetricError, alike, floats, mean_present
from metrics.catalogue import metric

Kind = Literal["rotation", "translation"]
Align = Literal["none", "offset"]
Extreme = Literal["max", "min"]
Relative = Literal["none", "trial", "cycle"]

# what the cards below have in common
ANGLE: dict[str, Any] = {"unit": "°", "needs": ("reference", "angles"), "kind": "rotation"}
TRANSLATION: dict[str, Any] = {"unit": "mm", "needs": ("reference", "angles"), "kind": "translation"}
TIMING: dict[str, Any] = {
    "direction": "zero",
    "reference": "capbench",
    "needs": ("reference", "angles", "time"),
}
TURN = 2 * np.pi  #: radians in a turn
UNIT = {"rotation": 180 / np.pi, "translation": MM}  #: from SI to what is reported: °, mm


def wrap(angle: ArrayLike) -> FloatArray:
    """The same angle in (-pi, pi]: ``angle - 2 pi ceil((angle - pi) / (2 pi))``, radians, any shape.

    >>> wrap([0.5, np.pi, -np.pi, 2 * np.pi]).round(3)
    array([0.5  , 3.142, 3.142, 0.   ])
    """
    values = floats("angles", angle)
    return np.asarray(values - TURN * np.ceil((values - np.pi) / TURN))


def unwrap(angle_tc: ArrayLike) -> FloatArray:
    """Curves (..., time, coordinate) without jumps of a turn, in radians; what is missing is stepped over.

    Of two neighbours that are present, the second moves by whole turns to within half a turn of the first.

    >>> unwrap([[3.0], [np.nan], [-3.0]]).round(3).ravel()
    array([3.   ,   nan, 3.283])
    """
    angle = _curves(floats("angles", angle_tc))
    if angle.shape[-2] == 0:
        return angle
    there = ~np.isnan(angle)
    frame = np.arange(angle.shape[-2])[:, None]
    # each sample's last present one, or the first present one for those before it
    last = np.maximum.accumulate(np.where(there, frame, 0), axis=-2)
    last = np.maximum(last, there.argmax(axis=-2, keepdims=True))
    whole = np.unwrap(np.take_along_axis(angle, last, axis=-2), axis=-2)
    return np.where(there, whole, np.nan)


def continuous(
    predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation"
) -> tuple[FloatArray, FloatArray]:
    """Both curves unwrapped, the predicted one moved by whole turns to where its mean error is least.

    Predictions where the reference has no value are left out. Translations stay as they are.

    >>> predicted, reference = continuous([[3.0], [-3.0]], [[-3.2], [-2.9]])
    >>> (predicted - reference).round(3).ravel()
    array([-0.083, -0.1  ])
    """
    predicted, reference = _pair(predicted_tc, reference_tc, kind)
    if kind == "rotation":
        predicted, reference = unwrap(predicted), unwrap(reference)
        turns = np.round(mean_present(predicted - reference, axis=-2) / TURN)
        predicted = predicted - TURN * turns[..., None, :]
    return np.where(np.isnan(reference), np.nan, predicted), reference


def _pair(predicted_tc: ArrayLike, reference_tc: ArrayLike, kind: Kind) -> list[FloatArray]:
    if kind not in UNIT:
        raise MetricError(f"Expected kind 'rotation' or 'translation', got {kind!r}.")
    return [_curves(values) for values in alike(predicted=predicted_tc, reference=reference_tc)]


def _curves(values_tc: FloatArray) -> FloatArray:
    """(..., time, coordinate), with what is infinite missing: no angle and no place is infinite."""
    if values_tc.ndim < 2:
        raise MetricError(f"Expected curves as (..., time, coordinate), got shape {values_tc.shape}.")
    return np.where(np.isinf(values_tc), np.nan, values_tc)


def _offset(predicted_tc: FloatArray, reference_tc: FloatArray, kind: Kind) -> FloatArray:
    """The mean difference over time, (..., 1, coordinate), rad or m."""
    difference = predicted_tc - reference_tc
    if kind == "translation":
        return np.asarray(mean_present(difference, axis=-2))[..., None, :]
    # Wrapped differences either side of ±180° must average to 180°, not to 0°: take them from their middle.
    middle = np.arctan2(mean_present(np.sin(difference), axis=-2), mean_present(np.cos(difference), axis=-2))
    rest = wrap(difference - middle[..., None, :])
    return wrap(middle + mean_present(rest, axis=-2))[..., None, :]


def remove_offset(predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation") -> FloatArray:
    """The prediction without its mean offset from the reference, one offset per trial and coordinate.

    >>> remove_offset([[1.1], [1.3]], [[0.0], [0.0]], kind="translation").round(3).ravel()
    array([-0.1,  0.1])
    """
    predicted, reference = _pair(predicted_tc, reference_tc, kind)
    return predicted - _offset(predicted, reference, kind)


def error_series(
    predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation", align: Align = "none"
) -> FloatArray:
    """Prediction minus reference at each sample, (..., time, coordinate), ° (wrapped) or mm.

    Parameters
    ----------
    predicted_tc, reference_tc : (..., time, coordinate) radians or metres
    kind : what the coordinates are
    align : "offset" takes the mean difference over time away first

    >>> error_series(np.radians([[359.0]]), np.radians([[1.0]])).round(6)
    array([[-2.]])
    """
    if align not in get_args(Align):
        raise MetricError(f"Expected align 'none' or 'offset', got {align!r}.")
    predicted, reference = _pair(predicted_tc, reference_tc, kind)
    if align == "offset":
        predicted = remove_offset(predicted, reference, kind=kind)
    difference = predicted - reference
    return (wrap(difference) if kind == "rotation" else difference) * UNIT[kind]


@metric(
    "RMSE·angle",
    direction="lower",
    definition="Root mean square over time of the wrapped difference of a joint angle.",
    reference="capbench; without the wrap: OpenCapBench, Gozlan 2024",
    align="none",
    **ANGLE,
)
@metric(
    "RMSE·angle·offset removed",
    direction="lower",
    definition="RMSE·angle after the trial's mean difference is taken away: the shape of the curve alone.",
    reference="capbench",
    align="offset",
    **ANGLE,
)
@metric(
    "RMSE·translation·as is",
    direction="lower",
    definition="Root mean square over time of the difference of a translation, in the frames as they are.",
    reference="capbench",
    align="none",
    **TRANSLATION,
)
@metric(
    "RMSE·translation·offset removed",
    direction="lower",
    definition="RMSE·translation after the trial's mean offset from video to reference is taken away.",
    reference="Uhlrich 2023, PLOS Comput Biol (OpenCap)",
    align="offset",
    **TRANSLATION,
)
def rmse(
    predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation", align: Align = "none"
) -> FloatArray:
    """Root mean square error, sqrt(mean_t e²), of each coordinate, ° or mm, over the samples both have.

    >>> rmse(np.radians([[1.0], [7.0]]), np.radians([[0.0], [0.0]])).round(6)
    array([5.])
    >>> rmse(np.radians([[1.0], [7.0]]), np.radians([[0.0], [0.0]]), align="offset").round(6)
    array([3.])
    """
    error = error_series(predicted_tc, reference_tc, kind=kind, align=align)
    return np.asarray(np.sqrt(mean_present(error**2, axis=-2)))


@metric(
    "MAE·angle",
    direction="lower",
    definition="Mean absolute wrapped difference of a joint angle over time.",
    reference="capbench; without the wrap: Uhlrich 2023, PLOS Comput Biol",
    align="none",
    **ANGLE,
)
@metric(
    "MAE·translation·as is",
    direction="lower",
    definition="Mean absolute difference of a translation over time, in the frames as they are.",
    reference="capbench",
    align="none",
    **TRANSLATION,
)
@metric(
    "MAE·translation·offset removed",
    direction="lower",
    definition="MAE·translation after the trial's mean offset from video to reference is taken away.",
    reference="Uhlrich 2023, PLOS Comput Biol (OpenCap)",
    align="offset",
    **TRANSLATION,
)
def mae(
    predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation", align: Align = "none"
) -> FloatArray:
    """Mean absolute error, mean_t |e|, of each coordinate, ° or mm, over the samples both have.

    >>> mae([[0.001], [-0.003]], [[0.0], [0.0]], kind="translation")
    array([2.])
    """
    error = error_series(predicted_tc, reference_tc, kind=kind, align=align)
    return np.asarray(mean_present(np.abs(error), axis=-2))


@metric(
    "bias·angle",
    direction="zero",
    definition="Mean over time of the wrapped difference of a joint angle, taken about its circular mean.",
    reference="capbench",
    **ANGLE,
)
@metric(
    "bias·translation",
    direction="zero",
    definition="Mean difference of a translation over time.",
    reference="capbench",
    **TRANSLATION,
)
def bias(predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation") -> FloatArray:
    """Mean signed error of each coordinate, ° in (-180, 180] or mm, over the samples both have.

    RMSE² = bias² + (RMSE·offset removed)² unless the differences reach across ±180°.

    >>> bias(np.radians([[179.0], [-179.0]]), [[0.0], [0.0]]).round(6)
    array([180.])
    """
    predicted, reference = _pair(predicted_tc, reference_tc, kind)
    return _offset(predicted, reference, kind)[..., 0, :] * UNIT[kind]


@metric(
    "SD·angle",
    direction="lower",
    definition="Standard deviation (n - 1) over time of a joint angle's wrapped difference about its bias.",
    reference="capbench",
    **ANGLE,
)
@metric(
    "SD·translation",
    direction="lower",
    definition="Standard deviation (n - 1) over time of the difference of a translation.",
    reference="capbench",
    **TRANSLATION,
)
def sd(predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation") -> FloatArray:
    """Standard deviation of the error, sqrt(sum_t (e - bias)² / (n - 1)), ° or mm; NaN below two samples.

    >>> sd(np.radians([[1.0], [3.0]]), [[0.0], [0.0]]).round(4)
    array([1.4142])
    """
    error = error_series(predicted_tc, reference_tc, kind=kind, align="offset")
    count = (~np.isnan(error)).sum(axis=-2)
    total = np.nansum(error**2, axis=-2)
    variance = np.divide(total, count - 1, out=np.full(total.shape, np.nan), where=count > 1)
    return np.asarray(np.sqrt(variance))


def _peak(curve_tc: FloatArray, extreme: Extreme) -> tuple[FloatArray, IntArray]:
    """The highest or lowest value over time and its first frame; NaN and 0 where there is none."""
    if extreme not in get_args(Extreme):
        raise MetricError(f"Expected extreme 'max' or 'min', got {extreme!r}.")
    if curve_tc.shape[-2] == 0:
        none = np.full(curve_tc.shape[:-2] + curve_tc.shape[-1:], np.nan)
        return none, np.zeros(none.shape, dtype=np.int64)
    height = curve_tc if extreme == "max" else -curve_tc
    frame = np.where(np.isnan(height), -np.inf, height).argmax(axis=-2, keepdims=True)
    return np.take_along_axis(curve_tc, frame, axis=-2)[..., 0, :], frame[..., 0, :]


@metric(
    "ROM error·angle",
    direction="zero",
    definition="Range (max - min) of the unwrapped predicted angle minus that of the reference.",
    reference="capbench",
    **ANGLE,
)
@metric(
    "ROM error·translation",
    direction="zero",
    definition="Range (max - min) of the predicted translation minus that of the reference.",
    reference="capbench",
    **TRANSLATION,
)
def rom_error(predicted_tc: ArrayLike, reference_tc: ArrayLike, *, kind: Kind = "rotation") -> FloatArray:
    """Signed error of the range of motion, (max - min)_pred - (max - min)_ref, ° or mm.

    Each range is over all samples that curve has (the prediction's only where the reference has one): it
    is what would be reported, so leaving out the extremes costs.

    >>> rom_error(np.radians([[170.0], [-170.0]]), np.radians([[0.0], [15.0]])).round(6)
    array([5.])
    """
    predicted, reference = continuous(predicted_tc, reference_tc, kind=kind)
    range_p, range_r = (_peak(curve, "max")[0] - _peak(curve, "min")[0] for curve in (predicted, reference))
    return np.asarray((range_p - range_r) * UNIT[kind])


@metric(
    "peak error·max·angle",
    direction="zero",
    definition="Highest value of the unwrapped predicted angle minus that of the reference.",
    reference="capbench",
    align="none",
    extreme="max",
    **ANGLE,
)
@metric(
    "peak error·min·angle",
    direction="zero",
    definition="Lowest value of the unwrapped predicted angle minus that of the reference.",
    reference="capbench",
    align="none",
    extreme="min",
    **ANGLE,
)
@metric(
    "peak error·max·translation·offset removed",
    direction="zero",
    definition="Highest predicted value minus the reference's after the trial's mean offset is taken away.",
    reference="capbench",
    align="offset",
    extreme="max",
    **TRANSLATION,
)
@metric(
    "peak error·min·translation·offset removed",
    direction="zero",
    definition="Lowest predicted value minus the reference's after the trial's mean offset is taken away.",
    reference="capbench",
    align="offset",
    extreme="min",
    **TRANSLATION,
)
def peak_error(
    predicted_tc: ArrayLike,
    reference_tc: ArrayLike,
    *,
    kind: Kind = "rotation",
    align: Align = "none",
    extreme: Extreme = "max",
) -> FloatArray:
    """Signed error of the peak, max_t p - max_t g (or min), ° or mm, each over all samples that curve has.

    >>> peak_error(np.radians([[10.0], [65.0]]), np.radians([[12.0], [60.0]])).round(6)
    array([5.])
    """
    if align not in get_args(Align):
        raise MetricError(f"Expected align 'none' or 'offset', got {align!r}.")
    predicted, reference = continuous(predicted_tc, reference_tc, kind=kind)
    if align == "offset":
        predicted = remove_offset(predicted, reference, kind=kind)
    return (_peak(predicted, extreme)[0] - _peak(reference, extreme)[0]) * UNIT[kind]


def times(time_t: ArrayLike, count: int) -> FloatArray:
    """``count`` strictly increasing, finite times in seconds.

    >>> times([0.0, 0.01], 2)
    array([0.  , 0.01])
    """
    time = floats("times", time_t, ndim=1)
    if len(time) != count:
        raise MetricError(f"Expected a time for each of {count} samples, got {len(time)}.")
    if not np.isfinite(time).all() or (np.diff(time) <= 0).any():
        raise MetricError("Expected finite times that increase strictly.")
    return time


@metric(
    "peak timing·max·s",
    definition="Time of the first highest predicted value minus that of the reference; late is positive.",
    extreme="max",
    relative_to="none",
    unit="s",
    **TIMING,
)
@metric(
    "peak timing·min·s",
    definition="Time of the first lowest predicted value minus that of the reference; late is positive.",
    extreme="min",
    relative_to="none",
    unit="s",
    **TIMING,
)
@metric(
    "peak timing·max·% trial",
    definition="Peak timing·max by the duration of the trial.",
    extreme="max",
    relative_to="trial",
    unit="%",
    **TIMING,
)
@metric(
    "peak timing·min·% trial",
    definition="Peak timing·min by the duration of the trial.",
    extreme="min",
    relative_to="trial",
    unit="%",
    **TIMING,
)
@metric(
    "peak timing·max·% cycle",
    definition="Peak timing·max by the duration of the cycle, whose end is its start: within (-50, 50].",
    extreme="max",
    relative_to="cycle",
    unit="%",
    **TIMING,
)
@metric(
    "peak timing·min·% cycle",
    definition="Peak timing·min by the duration of the cycle, whose end is its start: within (-50, 50].",
    extreme="min",
    relative_to="cycle",
    unit="%",
    **TIMING,
)
def peak_timing(
    predicted_tc: ArrayLike,
    reference_tc: ArrayLike,
    time_t: ArrayLike,
    *,
    kind: Kind = "rotation",
    extreme: Extreme = "max",
    relative_to: Relative = "none",
) -> FloatArray:
    """How late each coordinate peaks, positive for too late; of equal peaks the first counts.

    Parameters
    ----------
    predicted_tc, reference_tc : (..., time, coordinate) radians or metres
    time_t : (time,) seconds
    relative_to : "none": seconds. "trial": % of the time from the first sample to the last. "cycle": the
        same where the last sample is the first of the next cycle, so that a peak at 98 % is 3 % early
        against one at 1 %

    >>> time = np.linspace(0, 2, 5)[:, None]
    >>> peak_timing(np.sin(time - 0.5), np.sin(time), time[:, 0])
    array([0.5])
    """
    if relative_to not in get_args(Relative):
        raise MetricError(f"Expected relative_to 'none', 'trial' or 'cycle', got {relative_to!r}.")
    predicted, reference = continuous(predicted_tc, reference_tc, kind=kind)
    time = times(time_t, predicted.shape[-2])
    (peak_p, frame_p), (peak_r, frame_r) = _peak(predicted, extreme), _peak(reference, extreme)
    if len(time) == 0:
        return peak_p
    late = np.where(np.isnan(peak_p + peak_r), np.nan, time[frame_p] - time[frame_r])
    if relative_to == "none":
        return late
    with np.errstate(invalid="ignore"):
        share = late / (time[-1] - time[0])  # a single sample has no duration: 0 / 0
    return np.asarray(100.0 * (share - np.ceil(share - 0.5) if relative_to == "cycle" else share))


@metric(
    "coverage",
    unit="%",
    direction="higher",
    definition="Share of the reference's samples for which there is a prediction.",
    reference="capbench",
    needs=("reference", "angles"),
    merge="sums",
)
def coverage(predicted_tc: ArrayLike, reference_tc: ArrayLike) -> FloatArray:
    """100 · (samples that both have) / (samples the reference has), %; NaN where the reference has none.

    >>> coverage([[1.0], [np.nan], [1.0]], [[1.0], [1.0], [np.nan]])
    array([50.])
    """
    predicted, reference = _pair(predicted_tc, reference_tc, "rotation")
    answered = np.where(np.isnan(reference), np.nan, ~np.isnan(predicted))
    return np.asarray(100.0 * mean_present(answered, axis=-2))
