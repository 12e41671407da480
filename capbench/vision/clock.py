"""One clock for all cameras: their points at the same times, whatever their frame rates and offsets.

An offset is how far a camera's clock runs ahead of the common one: what happens at ``t`` stands at
``t + offset`` in that camera's file. Between samples runs the polynomial through the two before and the two
after (cubic; of lower degree at the edges), never across more than one missing sample; where a camera did not
record there is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from capbench.vision.faults import DifferentPoints
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.values import FloatArray, IntArray

BRIDGE = 2.05  #: frames between two samples that are still joined: one may be missing
SAME = 1e-3  #: frames by which two times may differ and still be one
_LONGEST = 1_000_000  #: samples of a common clock: four and a half hours at 60 Hz


def common_clock(
    tracks: Mapping[str, Keypoints],
    offsets: Mapping[str, float] | None = None,
    *,
    rate: float | None = None,
) -> dict[str, Keypoints]:
    """Every track at the same times (seconds of the common clock).

    Tracks that already share their times are handed back as they are, sample by sample. Else the clock ticks
    ``rate`` times a second (default: as the fastest camera), through a sample of the first camera with that
    rate, from the first moment that two cameras have to the last. ``offsets`` are seconds, 0 where none is
    given. Confidences are the smaller of the two neighbours', covariances lie between theirs.
    """
    offsets = {} if offsets is None else offsets
    shifts = {name: float(offsets.get(name, 0.0)) for name in tracks}
    if not all(np.isfinite(list(shifts.values()))):
        raise CapbenchError(f"Expected finite offsets in seconds, got {shifts}.")
    if not tracks or (rate is None and _shared(tracks, shifts)):
        return dict(tracks)
    time = _ticks(tracks, shifts, rate)
    return {name: resample(track, time, offset=shifts[name]) for name, track in tracks.items()}


def _shared(tracks: Mapping[str, Keypoints], shifts: Mapping[str, float]) -> bool:
    if any(shifts.values()):
        return False
    first, *others = tracks.values()
    slack = SAME / first.rate if len(first) > 1 else 1e-6
    return all(
        len(track) == len(first) and bool((np.abs(track.time - first.time) <= slack).all())
        for track in others
    )


def _ticks(tracks: Mapping[str, Keypoints], shifts: Mapping[str, float], rate: float | None) -> FloatArray:
    """The times of the common clock."""
    recorded = {name: track for name, track in tracks.items() if len(track)}
    if not recorded:
        return np.empty(0)
    if rate is not None and not 0 < rate < np.inf:
        raise CapbenchError(f"Expected a positive rate for the common clock, got {rate:g} Hz.")
    rates = {name: track.rate for name, track in recorded.items() if len(track) > 1}
    fastest = max(rates.values(), default=1.0) if rate is None else rate
    starts = sorted(track.time[0] - shifts[name] for name, track in recorded.items())
    ends = sorted((track.time[-1] - shifts[name] for name, track in recorded.items()), reverse=True)
    start, end = (starts[1], ends[1]) if len(recorded) > 1 else (starts[0], ends[0])
    # the first camera that is nearly the fastest keeps its own samples: they pass through unchanged
    anchor = next((n for n, r in rates.items() if r > 0.99 * fastest), next(iter(recorded)))
    zero = recorded[anchor].time[0] - shifts[anchor]
    first = int(np.ceil((start - zero) * fastest - SAME))
    last = int(np.floor((end - zero) * fastest + SAME))
    if last - first > _LONGEST:
        raise CapbenchError(
            f"Expected at most {_LONGEST} samples on the common clock, got {last - first} ({fastest:g} Hz).",
            fix="give times in seconds",
        )
    return np.asarray(zero + np.arange(first, last + 1) / fastest, np.float64)


def resample(track: Keypoints, time: FloatArray, *, offset: float = 0.0) -> Keypoints:
    """``track`` at other times (seconds of the common clock); see the module's docstring."""
    count, points = len(time), len(track.skeleton)
    if not len(track):
        return Keypoints(track.camera, time, np.full((count, points, 2), np.nan), track.skeleton)
    nodes, weights, found = _stencil(track, time + offset)
    column = np.arange(points)
    xy = np.zeros((count, points, 2))
    for node, weight in zip(nodes, weights, strict=True):
        xy += weight[..., None] * np.nan_to_num(track.xy[node, column])
    low, high = nodes[1], nodes[2]
    confidence = np.minimum(track.confidence[low, column], track.confidence[high, column])
    covariance = None
    if track.covariance is not None:
        share = _share(track.time, low, high, time + offset)[..., None, None]
        covariance = (1 - share) * track.covariance[low, column] + share * track.covariance[high, column]
        covariance[~found] = np.nan
    score = None if track.score is None else np.interp(time + offset, track.time, track.score)
    return replace(
        track,
        time=time,
        xy=np.where(found[..., None], xy, np.nan),
        confidence=np.where(found, confidence, 0.0),
        covariance=covariance,
        frames=None,
        score=score,
    )


def _share(own: FloatArray, low: IntArray, high: IntArray, wanted: FloatArray) -> FloatArray:
    """How far each wanted time is on the way from its lower to its upper neighbour, 0..1."""
    span = own[high] - own[low]
    with np.errstate(all="ignore"):
        share = np.where(span > 0, (wanted[:, None] - own[low]) / span, 0.0)
    return np.clip(share, 0.0, 1.0)


def _stencil(
    track: Keypoints, wanted: FloatArray
) -> tuple[list[IntArray], list[FloatArray], NDArray[np.bool_]]:
    """For each wanted time and point: two samples before and two after, their weights, and if all is well."""
    own, total = track.time, len(track)
    step = float(np.median(np.diff(own))) if total > 1 else 1.0
    present = np.isfinite(track.xy[..., 0])
    index = np.arange(total)[:, None]
    before = np.maximum.accumulate(np.where(present, index, -1), axis=0)
    after = np.minimum.accumulate(np.where(present, index, total)[::-1], axis=0)[::-1]
    column = np.arange(present.shape[1])
    at = np.searchsorted(own, wanted + SAME * step, side="right") - 1
    inside = (at >= 0) & (wanted <= own[-1] + SAME * step)
    at = np.clip(at, 0, total - 1)
    low = before[at]
    on_it = np.abs(wanted - own[at]) <= SAME * step
    high = np.where(on_it[:, None] & (low == at[:, None]), low, _at(after, at[:, None] + 1, column, total))
    lower = _at(before, low - 1, column, -1)
    higher = _at(after, high + 1, column, total)
    nodes = [lower, low, high, higher]
    known = [(node >= 0) & (node < total) for node in nodes]
    safe = [np.clip(node, 0, total - 1) for node in nodes]
    times = [own[node] for node in safe]
    found = inside[:, None] & known[1] & known[2] & (times[2] - times[1] <= BRIDGE * step)
    exact = low == high
    known[0] &= ~exact & (times[1] - times[0] <= BRIDGE * step)
    known[3] &= ~exact & (times[3] - times[2] <= BRIDGE * step)
    known[2] &= ~exact
    return safe, _lagrange(times, known, wanted[:, None]), found


def _at(table: IntArray, row: IntArray, column: IntArray, outside: int) -> IntArray:
    """``table[row, column]``, or ``outside`` where the row lies beyond the table."""
    good = (row >= 0) & (row < len(table))
    return np.where(good, table[np.clip(row, 0, len(table) - 1), column], outside)


def _lagrange(
    times: list[FloatArray], known: list[NDArray[np.bool_]], wanted: FloatArray
) -> list[FloatArray]:
    """Weights of the samples in the polynomial through those that are known, at the wanted times."""
    weights = []
    for i in range(len(times)):
        weight = np.where(known[i], 1.0, 0.0)
        for j in range(len(times)):
            if i != j:
                both = known[i] & known[j]
                apart = np.where(both, times[i] - times[j], 1.0)
                weight = np.where(both, weight * (wanted - times[j]) / apart, weight)
        weights.append(weight)
    return weights


def check_one_clock(tracks: Mapping[str, Keypoints]) -> None:
    """Refuse tracks whose times or points differ."""
    if not tracks:
        return
    first, *others = tracks.items()
    for name, track in others:
        if track.skeleton.points != first[1].skeleton.points:
            raise DifferentPoints(
                f"Expected the same points in all views, got {first[1].skeleton.name} in {first[0]} and "
                f"{track.skeleton.name} in {name}.",
                fix="predict all cameras with one model",
            )
        if not _shared({"a": first[1], "b": track}, {"a": 0.0, "b": 0.0}):
            raise DifferentPoints(
                f"Expected all views at the same times, got {len(first[1])} samples in {first[0]} and "
                f"{len(track)} in {name}.",
                fix="bring them onto one clock first: capbench.vision.clock.common_clock",
            )
