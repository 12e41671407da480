"""The scores of two published protocols, as their authors' code gives them, to compare with their tables.

``opencapbench`` agrees with the published OpenCapBench code to the last digit it prints, with all its
habits: a lag fitted to the scored knees of each trial, a missing trial that costs nothing, no wrap of
angles. ``opencap`` is how the authors of OpenCap score their own data set. Neither is advice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, cast

import numpy as np

from metrics.angles import UNIT
from metrics.arrays import FloatArray, MetricError, mean_present
from metrics.lag import shift_samples
from metrics.protocols import PELVIS_PLACE, PROTOCOLS, Curves, Protocol, kind_by_name

#: the activities of OpenCap's data set: a trial belongs to each that is part of its name
MOTIONS = ("walking", "DJ", "squats", "STS")
#: columns it takes out by name; a file that lacks one stops it
NOT_SCORED = (*PELVIS_PLACE, "knee_angle_l_beta", "knee_angle_r_beta", "mtp_angle_l", "mtp_angle_r")
#: degrees as a file holds them: undoes what radians round, so that equal lags tie as they do in the files
FILE_DECIMALS = 10
#: degrees; a lag that differs by more is never the best
WORST_DIFFERENCE = 100000.0


class BenchTrial(NamedTuple):
    """One trial by opencapbench.

    lag : samples the prediction was moved by, positive to later
    frames, frames_unshifted : rows that were compared, with the lag and without
    rmse, rmse_unshifted : ° by coordinate, not rounded; NaN where no row has an equal time label

    >>> BenchTrial(7, 193, 200, {"knee_angle_r": 1.0}, {"knee_angle_r": 4.7}).lag
    7
    """

    lag: int
    frames: int
    frames_unshifted: int
    rmse: Mapping[str, float]
    rmse_unshifted: Mapping[str, float]


@dataclass(frozen=True)
class OpenCapBench:
    """What opencapbench says of a cohort: ° by coordinate, left and right averaged, rounded to 3 decimals.

    Attributes
    ----------
    protocol, version : what it was computed by
    rmse, rmse_unshifted : with each trial's lag (the published table) and without
    trials : those that were compared; the others have vanished
    """

    protocol: str
    version: int
    rmse: Mapping[str, float]
    rmse_unshifted: Mapping[str, float]
    trials: Mapping[str, BenchTrial]


def opencapbench(predicted: Mapping[str, Curves], reference: Mapping[str, Curves]) -> OpenCapBench:
    """Score as the published code does, from the coordinates of its files by trial.

    For each trial that is in both: the knees right and left are each shifted by -40 to 39 samples to the
    least mean absolute difference; the lag is half their sum, cut to a whole number towards 0. Prediction
    and reference meet where their time labels are equal to the last bit. RMSE of each column up to
    lumbar_rotation, those ``NOT_SCORED`` left out. Then the plain mean over all trials that had a row to
    compare, and the mean of left and right.

    Where the published code stops with an error, so does this, and says which. Without a common time label
    it does not stop: the trial is NaN and vanishes from the mean, as there.

    >>> time, names = np.arange(100) / 100, ("knee_angle_r", "knee_angle_l", *NOT_SCORED, "lumbar_rotation")
    >>> true = Curves(time, np.radians(60 * np.sin(5 * time))[:, None].repeat(len(names), axis=1), names)
    >>> off = Curves(time, true.values_tc + np.radians(1), names)
    >>> opencapbench({"walk1": off}, {"walk1": true, "walk2": true}).rmse["knee_angle"]
    1.0
    """
    protocol = PROTOCOLS["opencapbench"]
    trials = {
        name: _bench_trial(predicted[name], truth, name, protocol)
        for name, truth in reference.items()
        if name in predicted
    }
    if not trials:
        raise _stops("a trial that is predicted", "ValueError")
    return OpenCapBench(
        protocol.name,
        protocol.version,
        _bench_mean([trial.rmse for trial in trials.values()], protocol),
        _bench_mean([trial.rmse_unshifted for trial in trials.values()], protocol),
        MappingProxyType(trials),
    )


def _bench_trial(predicted: Curves, reference: Curves, trial: str, protocol: Protocol) -> BenchTrial:
    scored = _bench_columns(predicted, reference, trial, protocol)
    _, rows_p, rows_r = np.intersect1d(predicted.time_t, reference.time_t, return_indices=True)
    degrees_p, degrees_r = (np.round(curves.reported(), FILE_DECIMALS) for curves in (predicted, reference))

    def difference(shift: int, names: Sequence[str]) -> FloatArray:
        columns = [predicted.names.index(name) for name in names]
        moved = shift_samples(degrees_p[:, columns], shift)[rows_p] - degrees_r[:, columns][rows_r]
        return moved[~np.isnan(moved).any(axis=1)]

    def best_shift(name: str) -> int:
        best, least = 0, WORST_DIFFERENCE
        first, last = protocol.lag_range
        for shift in range(int(first), int(last) + 1):
            apart = np.abs(difference(shift, [name]))
            if apart.size and (mean := float(apart.mean())) < least:
                best, least = shift, mean
        return best

    def rmse(apart: FloatArray) -> dict[str, float]:
        mean = (apart**2).mean(axis=0) if len(apart) else np.full(len(scored), np.nan)
        return dict(zip(scored, np.sqrt(mean).tolist(), strict=True))

    lag = int(sum(map(best_shift, protocol.lag_signals)) / len(protocol.lag_signals))
    shifted, unshifted = difference(lag, scored), difference(0, scored)
    return BenchTrial(lag, len(shifted), len(unshifted), rmse(shifted), rmse(unshifted))


def _bench_columns(predicted: Curves, reference: Curves, trial: str, protocol: Protocol) -> tuple[str, ...]:
    """The columns that are scored; an error where the published code stops."""
    names = predicted.names
    # columns that differ come out of pandas sorted, pelvis_tx after lumbar_rotation: cut off, then not found
    if names != reference.names:
        raise _stops(f"the predicted columns of {trial} as in the reference and in their order", "KeyError")
    if lacking := {*protocol.lag_signals, "lumbar_rotation"} - set(names):
        raise _stops(f"{', '.join(sorted(lacking))} in {trial}", "KeyError")
    first = names[: names.index("lumbar_rotation") + 1]
    if lacking := set(NOT_SCORED) - set(first):
        raise _stops(f"{', '.join(sorted(lacking))} before lumbar_rotation in {trial}", "KeyError")
    if np.isnan(predicted.values_tc).any() or np.isnan(reference.values_tc).any():
        raise _stops(f"no NaN in {trial}", "TypeError")
    return tuple(name for name in first if name not in NOT_SCORED)


def _stops(expected: str, error: str) -> MetricError:
    return MetricError(f"Expected {expected}; otherwise the published code stops ({error}).")


def _bench_mean(trials: Sequence[Mapping[str, float]], protocol: Protocol) -> Mapping[str, float]:
    """Over trials, NaN left out; then of left and right."""
    found: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for name, value in trial.items():
            found[name].append(value)
    mean = {name: float(mean_present(np.array(found[name]))) for name in sorted(found)}
    for name in sorted(found):
        if name.endswith("_r"):
            side = name.removesuffix("_r")
            if side + "_l" not in mean:
                raise _stops(f"{side}_l beside {name}", "KeyError")
            mean[side] = (mean.pop(name) + mean.pop(side + "_l")) / 2
    return MappingProxyType(
        {name: float(np.round(v, cast(int, protocol.decimals))) for name, v in mean.items()}
    )


class Spread(NamedTuple):
    """Of one number a coordinate, each sided coordinate counted twice; sd with n.

    >>> Spread(mean=5.0, min=2.0, max=9.0, sd=2.5).max
    9.0
    """

    mean: float
    min: float
    max: float
    sd: float


@dataclass(frozen=True)
class OpenCapTable:
    """One kind of error over the trials of one motion.

    Attributes
    ----------
    mean, median, sd : over trials, by coordinate (° or mm); left and right are pooled under the bare name
    rotations, translations : of ``mean`` over the 18 angles and over the 3 translations
    """

    mean: Mapping[str, float]
    median: Mapping[str, float]
    sd: Mapping[str, float]
    rotations: Spread
    translations: Spread


@dataclass(frozen=True, eq=False)
class OpenCap:
    """What the OpenCap authors' way says of a cohort, not rounded.

    Attributes
    ----------
    protocol, version : what it was computed by
    trials, coordinates : K and 21 names
    rmse_kc, mae_kc, me_kc : (K, 21) ° or mm; the mean error is reference minus prediction, as theirs
    rmse, mae, me : tables by motion; "all" is all trials together
    """

    protocol: str
    version: int
    trials: tuple[str, ...]
    coordinates: tuple[str, ...]
    rmse_kc: FloatArray
    mae_kc: FloatArray
    me_kc: FloatArray
    rmse: Mapping[str, OpenCapTable]
    mae: Mapping[str, OpenCapTable]
    me: Mapping[str, OpenCapTable]


def opencap(predicted: Mapping[str, Curves], reference: Mapping[str, Curves]) -> OpenCap:
    """Score as the authors of OpenCap do, by trial; trials that are not predicted are left out.

    Prediction and reference are cut to the time from the later start to the earlier end, by equal labels,
    and compared row by row; angles are not wrapped and not shifted. A translation loses its mean offset of
    the trial (theirs is of the markers' trajectories, here that of the coordinate itself).

    >>> names = PROTOCOLS["opencap"].coordinates
    >>> true = Curves(np.array([0.0, 0.01]), np.zeros((2, 21)), names)
    >>> off = Curves(true.time_t, np.radians([[1.0] * 21, [2.0] * 21]), names)
    >>> result = opencap({"DJ1": off}, {"DJ1": true})
    >>> round(result.rmse["DJ"].mean["knee_angle"], 4), round(result.mae["all"].rotations.mean, 4)
    (1.5811, 1.5)
    """
    protocol = PROTOCOLS["opencap"]
    trials = tuple(name for name in reference if name in predicted)
    if not trials:
        raise MetricError("Expected a trial that is predicted, got none.")
    errors = [_opencap_trial(predicted[t], reference[t], t, protocol) for t in trials]
    rmse_kc, mae_kc, me_kc = np.stack(errors, axis=1)
    return OpenCap(
        protocol.name,
        protocol.version,
        trials,
        protocol.coordinates,
        rmse_kc,
        mae_kc,
        me_kc,
        *(_opencap_tables(error_kc, trials, protocol) for error_kc in (rmse_kc, mae_kc, me_kc)),
    )


def _opencap_trial(predicted: Curves, reference: Curves, trial: str, protocol: Protocol) -> FloatArray:
    """(3, coordinate): RMSE, MAE and mean error, ° or mm."""
    if not (len(predicted.time_t) and len(reference.time_t)):
        raise MetricError(f"Expected samples in {trial}, got none.")
    start = max(predicted.time_t[0], reference.time_t[0])
    end = min(predicted.time_t[-1], reference.time_t[-1])
    cut = []
    for curves in (predicted, reference):
        rows = [np.flatnonzero(curves.time_t == label) for label in (start, end)]
        if not all(row.size for row in rows):
            raise MetricError(f"Expected equal time labels at {start} s and {end} s in {trial}.")
        values = curves.select(protocol.coordinates).reported()[rows[0][0] : rows[1][0] + 1]
        if np.isnan(values).any():
            raise MetricError(f"Expected all of {', '.join(protocol.coordinates)} in {trial}, without NaN.")
        cut.append(values)
    if len(cut[0]) != len(cut[1]):
        raise MetricError(
            f"Expected as many predicted rows as true ones in {trial}, got {len(cut[0])} and {len(cut[1])}."
        )
    apart = cut[1] - cut[0]
    moves = np.array([kind_by_name(name) == "translation" for name in protocol.coordinates])
    apart = apart - np.where(moves, apart.mean(axis=0), 0.0)
    return np.stack([np.sqrt((apart**2).mean(axis=0)), np.abs(apart).mean(axis=0), apart.mean(axis=0)])


def _opencap_tables(
    error_kc: FloatArray, trials: Sequence[str], protocol: Protocol
) -> Mapping[str, OpenCapTable]:
    tables = {"all": _opencap_table(error_kc, protocol)}
    for motion in MOTIONS:
        rows = [k for k, trial in enumerate(trials) if motion in trial]
        if rows:
            tables[motion] = _opencap_table(error_kc[rows], protocol)
    return MappingProxyType(tables)


def _opencap_table(error_kc: FloatArray, protocol: Protocol) -> OpenCapTable:
    pooled: dict[str, list[float]] = defaultdict(list)
    for name, column in zip(protocol.coordinates, error_kc.T, strict=True):
        pooled[_bare(name)] += column.tolist()
    mean = {name: float(np.mean(values)) for name, values in pooled.items()}
    spread = {}
    for kind in UNIT:
        means = np.array([mean[_bare(n)] for n in protocol.coordinates if kind_by_name(n) == kind])
        spread[kind] = Spread(*(float(f(means)) for f in (np.mean, np.min, np.max, np.std)))
    return OpenCapTable(
        mean=MappingProxyType(mean),
        median=MappingProxyType({name: float(np.median(values)) for name, values in pooled.items()}),
        sd=MappingProxyType({name: float(np.std(values)) for name, values in pooled.items()}),
        rotations=spread["rotation"],
        translations=spread["translation"],
    )


def _bare(name: str) -> str:
    return name[:-2] if name.endswith(("_r", "_l")) else name
