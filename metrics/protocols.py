"""Whole protocols: which coordinates, which lag, which gaps, which mean; no number means much without them.

``PROTOCOLS`` holds their choices as data; each result names its protocol and version.

- ``opencapbench`` and ``opencap`` are other people's (``metrics.published``), to compare with their tables.
- ``capbench-1`` is ours: ``session_lag`` and ``score_trial`` below. Here it ends with the errors of one
  trial; ``metrics.aggregate`` takes them on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from metrics import angles
from metrics.angles import UNIT, Kind, times, unwrap
from metrics.arrays import BoolArray, FloatArray, MetricError, floats, names_of
from metrics.lag import Lag, Pair, measure_lag
from metrics.waveforms import resample

_SIDED = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle")
_ARM = ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup")
PELVIS = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
PELVIS_PLACE = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
LEGS = tuple(f"{name}_{side}" for side in "rl" for name in _SIDED)
LUMBAR = ("lumbar_extension", "lumbar_bending", "lumbar_rotation")
ARMS = tuple(f"{name}_{side}" for side in "rl" for name in _ARM)


@dataclass(frozen=True)
class Protocol:
    """The choices of a protocol.

    Attributes
    ----------
    name, version : what a result cites; version counts up when a number changes
    definition, reference : in words; who published it
    coordinates : the coordinates it scores
    optional : those a cohort may add
    join : how a prediction meets the reference's times: by equal "labels" or by "interpolation"
    max_gap : seconds of missing prediction that are interpolated over
    wrap : whether angles live on a circle
    offset : whether translations lose their mean offset in each trial
    lag : what the lag is fitted to: "none", "trial" (each apart) or "session"
    lag_signals : the coordinates it is fitted on
    lag_range : the lowest and highest lag tried: samples for "trial", seconds for "session"
    lag_step : seconds, for "session"
    missing : what a missing sample does: "vanishes" or "counts" (is charged by ``metrics.aggregate``)
    decimals : that results are rounded to, or None
    """

    name: str
    version: int
    definition: str
    reference: str
    coordinates: tuple[str, ...]
    optional: tuple[str, ...] = ()
    join: Literal["labels", "interpolation"] = "labels"
    max_gap: float = 0.0
    wrap: bool = False
    offset: bool = False
    lag: Literal["none", "trial", "session"] = "none"
    lag_signals: tuple[str, ...] = ()
    lag_range: tuple[float, float] = (0, 0)
    lag_step: float = 0.0
    missing: Literal["vanishes", "counts"] = "vanishes"
    decimals: int | None = None


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="opencapbench",
                version=1,
                definition="RMSE of 18 joint angles, each trial shifted by the lag that fits its knees best; "
                "plain mean over the trials that remain; left and right averaged.",
                reference="Gozlan 2024, OpenCapBench: benchmarking/metrics.py",
                coordinates=PELVIS + LEGS + LUMBAR,
                lag="trial",
                lag_signals=("knee_angle_r", "knee_angle_l"),
                lag_range=(-40, 39),
                decimals=3,
            ),
            Protocol(
                name="opencap",
                version=1,
                definition="RMSE, MAE and mean error of 18 joint angles and 3 pelvis translations, these "
                "without their mean offset; mean and median over trials, left and right pooled.",
                reference="Uhlrich 2023, PLOS Comput Biol 19 (OpenCap), the authors' scripts",
                coordinates=PELVIS + PELVIS_PLACE + LEGS + LUMBAR,
                offset=True,
            ),
            Protocol(
                name="capbench-1",
                version=1,
                definition="Wrapped errors at the reference's times, as they are and with one lag a session "
                "that is measured on signals which are not scored; missing samples count.",
                reference="capbench",
                coordinates=PELVIS + LEGS + LUMBAR,
                optional=PELVIS_PLACE + ARMS,
                join="interpolation",
                max_gap=0.1,
                wrap=True,
                offset=True,
                lag="session",
                lag_signals=("pelvis_ty",),
                lag_range=(-0.5, 0.5),
                lag_step=0.01,
                missing="counts",
            ),
        )
    }
)


@dataclass(frozen=True, eq=False)
class Curves:
    """Named coordinates of one trial over time.

    Attributes
    ----------
    time_t : (T,) seconds, strictly increasing
    values_tc : (T, C) radians for rotations, metres for translations; NaN is missing
    names : C different names
    kinds : C of "rotation" or "translation"; default: names that end in _tx, _ty, _tz translate

    >>> curves = Curves(np.array([0.0]), np.array([[0.1, 0.9]]), ("knee_angle_r", "pelvis_ty"))
    >>> curves.kinds, curves.select(["pelvis_ty", "hip"]).values_tc
    (('rotation', 'translation'), array([[0.9, nan]]))
    """

    time_t: FloatArray
    values_tc: FloatArray
    names: tuple[str, ...]
    kinds: tuple[Kind, ...] = ()

    def __post_init__(self) -> None:
        values = floats("values", self.values_tc, ndim=2)
        names = names_of("coordinates", self.names, values.shape[1])
        kinds = tuple(self.kinds) or tuple(map(kind_by_name, names))
        if len(kinds) != len(names) or not set(kinds) <= UNIT.keys():
            raise MetricError(f"Expected {len(names)} kinds, each 'rotation' or 'translation', got {kinds}.")
        if np.isinf(values).any():
            raise MetricError("Expected finite values, or NaN where missing, got infinity.")
        time = times(self.time_t, len(values))
        for field, value in (("time_t", time), ("values_tc", values), ("names", names), ("kinds", kinds)):
            object.__setattr__(self, field, value)

    def select(self, names: Sequence[str]) -> Curves:
        """These coordinates in this order; NaN for those it lacks (their kind is by name)."""
        place = {name: column for column, name in enumerate(self.names)}
        values = np.full((len(self.time_t), len(names)), np.nan)
        for column, name in enumerate(names):
            if name in place:
                values[:, column] = self.values_tc[:, place[name]]
        kinds = tuple(self.kinds[place[n]] if n in place else kind_by_name(n) for n in names)
        return Curves(self.time_t, values, tuple(names), kinds)

    def reported(self) -> FloatArray:
        """(T, C) in ° or mm."""
        return floats("values", self.values_tc * np.array([UNIT[kind] for kind in self.kinds]))


def kind_by_name(name: str) -> Kind:
    """What OpenSim's habit of naming says.

    >>> kind_by_name("pelvis_ty"), kind_by_name("knee_angle_r")
    ('translation', 'rotation')
    """
    return "translation" if name.endswith(("_tx", "_ty", "_tz")) else "rotation"


class CoordinateScores(NamedTuple):
    """Of one trial, each (coordinate,), ° or mm; see the functions of those names in ``metrics.angles``.

    Errors are over what was answered, NaN where nothing was; ``coverage`` (%) says how much that is.
    RMSE, MAE, SD and peaks of translations are without the trial's mean offset; ``bias`` is that offset.

    >>> CoordinateScores._fields[0]
    'rmse'
    """

    rmse: FloatArray
    mae: FloatArray
    bias: FloatArray
    sd: FloatArray
    rmse_offset_removed: FloatArray
    rom_error: FloatArray
    peak_max_error: FloatArray
    peak_min_error: FloatArray
    coverage: FloatArray


CLOCK = 1e-6  #: share of a frame by which clocks of the same rate differ through rounding


class Answer(NamedTuple):
    """What was answered, on the reference's times.

    error_tc : (time, coordinate) signed errors, ° or mm; NaN where prediction or reference is missing
    scores : of each coordinate

    >>> Answer._fields
    ('error_tc', 'scores')
    """

    error_tc: FloatArray
    scores: CoordinateScores


@dataclass(frozen=True, eq=False)
class TrialErrors:
    """One trial by capbench-1.

    Attributes
    ----------
    protocol, version : what it was computed by
    coordinates, kinds : C names and kinds, as declared, whatever was predicted
    time_t : (T,) seconds, the reference's
    reference_tc : (T, C) radians or metres; NaN where the reference has nothing, which is nobody's fault
    lag : of the session
    raw : as it was predicted
    corrected : with the prediction moved back by the lag; None where no lag could be measured
    excused_tc : (T, C) samples that ``corrected`` lacks through no fault of the model: answered, but moved
        beyond the prediction's ends by the lag; or less than one of its frames beyond them, where its clock
        does not reach. Nobody is charged for them: give ``aggregate.charge`` no error of the null model there

    See ``score_trial``.
    """

    protocol: str
    version: int
    coordinates: tuple[str, ...]
    kinds: tuple[Kind, ...]
    time_t: FloatArray
    reference_tc: FloatArray
    lag: Lag
    raw: Answer
    corrected: Answer | None
    excused_tc: BoolArray


def session_lag(
    predicted: Mapping[str, Curves],
    reference: Mapping[str, Curves],
    *,
    signals: Sequence[str] | None = None,
    coordinates: Sequence[str] | None = None,
) -> Lag:
    """The lag of a session, over all its trials that are predicted (see ``metrics.lag``).

    Parameters
    ----------
    predicted, reference : by trial
    signals : what it is measured on, which may be anything that is not scored (other coordinates, or marker
        trajectories under names of their own); default: the height of the pelvis
    coordinates : what is scored; default: the protocol's

    >>> time = np.arange(0, 2, 0.01)
    >>> late, true = (np.sin(3 * (time - lag))[:, None] for lag in (0.04, 0.0))
    >>> walk = Curves(time, late, ("pelvis_ty",)), Curves(time, true, ("pelvis_ty",))
    >>> round(session_lag({"walk": walk[0]}, {"walk": walk[1]}).seconds, 3)
    0.04
    """
    protocol = PROTOCOLS["capbench-1"]
    names = protocol.lag_signals if signals is None else tuple(signals)
    scored = protocol.coordinates if coordinates is None else coordinates
    if both := sorted(set(names) & set(scored)):
        raise MetricError(f"Expected signals for the lag that are not scored, got {', '.join(both)}.")
    known = {name for curves in reference.values() for name in curves.names}
    if unknown := sorted(set(names) - known):
        raise MetricError(f"Expected signals that the reference has, got {', '.join(unknown)}.")
    pairs = []
    for trial in sorted(reference.keys() & predicted.keys()):
        p, r = predicted[trial].select(names), reference[trial].select(names)
        pairs.append(Pair(p.time_t, _unwrapped(p), r.time_t, _unwrapped(r)))
    return measure_lag(
        pairs,
        max_lag=protocol.lag_range[1],
        step=protocol.lag_step,
        max_gap=protocol.max_gap,
        subsample=True,
    )


def score_trial(
    predicted: Curves | None, reference: Curves, *, lag: Lag, coordinates: Sequence[str] | None = None
) -> TrialErrors:
    """The errors of a trial at the reference's times, raw and with the session's lag taken out.

    The prediction is interpolated linearly between its samples, never beyond them and never over more than
    the protocol's ``max_gap``. Coordinates go by name; one that is not predicted is missing throughout, and
    so is a trial that is not predicted (None).

    Parameters
    ----------
    predicted, reference : the trial
    lag : from ``session_lag``
    coordinates : what is scored, of the protocol's ``coordinates`` and ``optional``; default: the former

    >>> true = Curves(np.array([0.0, 0.1, 0.2]), np.radians([[10.0], [20.0], [40.0]]), ("knee_angle_r",))
    >>> half = Curves(np.array([0.0, 0.1]), np.radians([[11.0], [21.0]]), ("knee_angle_r",))
    >>> none = Lag(np.nan, np.nan, np.nan, False, 0)
    >>> errors = score_trial(half, true, lag=none, coordinates=["knee_angle_r"])
    >>> errors.raw.error_tc.round(6).ravel(), errors.raw.scores.coverage.round(1)
    (array([ 1.,  1., nan]), array([66.7]))
    """
    protocol = PROTOCOLS["capbench-1"]
    names = protocol.coordinates if coordinates is None else tuple(coordinates)
    if unknown := [name for name in names if name not in protocol.coordinates + protocol.optional]:
        raise MetricError(f"Expected coordinates of {protocol.name}, got {', '.join(unknown)}.")
    truth = reference.select(names)
    answer = truth if predicted is None else predicted.select(names)

    def at(seconds: float) -> Answer:
        values = np.full(truth.values_tc.shape, np.nan)
        if predicted is not None:
            moved = answer.time_t - seconds
            values = resample(
                _unwrapped(answer), moved, truth.time_t, max_gap=protocol.max_gap, kind="translation"
            )
        return _score(values, truth)

    raw, corrected = at(0.0), None if np.isnan(lag.seconds) else at(lag.seconds)
    return TrialErrors(
        protocol.name,
        protocol.version,
        truth.names,
        truth.kinds,
        truth.time_t,
        truth.values_tc,
        lag,
        raw,
        corrected,
        _excused(answer.time_t, truth.time_t, raw.error_tc, lag) & ~np.isnan(truth.values_tc),
    )


def _excused(answered_t: FloatArray, time_t: FloatArray, raw_error_tc: FloatArray, lag: Lag) -> BoolArray:
    """See ``TrialErrors.excused_tc``."""
    if np.isnan(lag.seconds) or np.isnan(raw_error_tc).all():
        return np.zeros(raw_error_tc.shape, np.bool_)
    needed, first, last = time_t + lag.seconds, answered_t[0], answered_t[-1]
    beyond = np.maximum(first - needed, needed - last)
    frame = np.median(np.diff(answered_t)) if len(answered_t) > 1 else 0.0
    off_clock = (beyond > 0) & (beyond < frame * (1 - CLOCK))
    return np.asarray((beyond[:, None] > 0) & ~np.isnan(raw_error_tc) | off_clock[:, None])


def _unwrapped(curves: Curves) -> FloatArray:
    turns = np.array([kind == "rotation" for kind in curves.kinds])
    return np.where(turns, unwrap(curves.values_tc), curves.values_tc)


def _score(predicted_tc: FloatArray, truth: Curves) -> Answer:
    error = np.full(predicted_tc.shape, np.nan)
    scores = np.full((len(CoordinateScores._fields), predicted_tc.shape[1]), np.nan)
    for kind in cast("tuple[Kind, ...]", tuple(UNIT)):
        columns = [column for column, k in enumerate(truth.kinds) if k == kind]
        pair = predicted_tc[:, columns], truth.values_tc[:, columns]
        as_declared: dict[str, Any] = {"kind": kind, "align": "offset" if kind == "translation" else "none"}
        error[:, columns] = angles.error_series(*pair, **as_declared)
        scores[:, columns] = CoordinateScores(
            rmse=angles.rmse(*pair, **as_declared),
            mae=angles.mae(*pair, **as_declared),
            bias=angles.bias(*pair, kind=kind),
            sd=angles.sd(*pair, kind=kind),
            rmse_offset_removed=angles.rmse(*pair, kind=kind, align="offset"),
            rom_error=angles.rom_error(*pair, kind=kind),
            peak_max_error=angles.peak_error(*pair, **as_declared, extreme="max"),
            peak_min_error=angles.peak_error(*pair, **as_declared, extreme="min"),
            coverage=angles.coverage(*pair),
        )
    return Answer(error, CoordinateScores(*scores))
