"""Curves cut by gait events and brought to 0–100 %, and their peaks and means in a phase.

Times are seconds; a curve may be in any unit and has time first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import FloatArray, MetricError, alike, floats
from metrics.events import FootEvents, clock
from metrics.waveforms import resample


def segment(
    curve: ArrayLike, time: ArrayLike, starts: ArrayLike, ends: ArrayLike, *, points: int = 101
) -> FloatArray:
    """Pieces of a curve, each brought to ``points`` samples from its start to its end by straight lines.

    ``curve`` : (T, …), ``time`` : (T,) s, ``starts`` and ``ends`` : (K,) s. Returns (K, points, …).
    No gap is bridged that is longer than the longest time between two frames: what lies beside a missing
    sample or outside the recording is missing. A piece that does not end after it starts, or has a NaN
    end, is all NaN. Angles must not jump by 360° (``metrics.angles.unwrap`` first).

    >>> segment([0.0, 10.0, 20.0], [0.0, 1.0, 2.0], [0.5], [1.5], points=3)
    array([[ 5., 10., 15.]])
    """
    begin, end = alike(starts=starts, ends=ends)
    floats("starts", begin, ndim=1)
    if points < 2:
        raise MetricError(f"Expected at least 2 points, got {points}.")
    begin, end = np.where(end > begin, [begin, end], np.nan)
    return at(curve, time, np.linspace(begin, end, points, axis=1))


def cycles(curve: ArrayLike, time: ArrayLike, heel_strikes: ArrayLike, *, points: int = 101) -> FloatArray:
    """A curve cut at each heel strike and brought to 0–100 % of the cycle.

    ``curve`` : (T, …), ``time`` : (T,) s, ``heel_strikes`` : (H,) s of one foot, increasing.
    Returns (H − 1, points, …), see ``segment``.

    >>> cycles([0.0, 1.0, 2.0, 3.0, 4.0], [0, 1, 2, 3, 4], [0, 2, 4], points=3)
    array([[0., 1., 2.],
           [2., 3., 4.]])
    """
    strikes = floats("heel strikes", heel_strikes, ndim=1)
    return segment(curve, time, strikes[:-1], strikes[1:], points=points)


def at(curve: ArrayLike, time: ArrayLike, when: FloatArray) -> FloatArray:
    """``curve`` at the times ``when``, on straight lines; NaN outside and beside what is missing.

    ``curve`` : (T, …), ``time`` : (T,) s, ``when`` : any shape, s. Returns (*when.shape, …).

    >>> at([0.0, 10.0, 20.0], [0.0, 1.0, 2.0], np.array([0.5, 2.0, 2.5]))
    array([ 5., 20., nan])
    """
    values = floats("curve", curve)
    seconds = clock(time, len(values) if values.ndim else 0)
    # neighbours farther apart than any two frames have a missing sample between them
    step = float(np.diff(seconds).max())
    found = resample(values.reshape(len(values), -1), seconds, when.ravel(), max_gap=step, kind="translation")
    return found.reshape(when.shape + values.shape[1:])


def stances(events: FootEvents) -> tuple[FloatArray, FloatArray]:
    """Start and end (H,) in s of the stance that each heel strike of a foot begins.

    It ends at the foot's only toe off before its next heel strike; NaN where there is none or more
    than one, for then an event is missing.

    >>> stances(FootEvents(np.array([0.0, 1.0]), np.array([0.6, 1.6])))
    (array([0., 1.]), array([0.6, 1.6]))
    """
    strikes, offs = ordered(events)
    return strikes, only(offs, offs, strikes, np.append(strikes[1:], np.inf))


def ordered(events: FootEvents) -> FootEvents:
    """The events of a foot in the order of time, NaN taken out.

    >>> ordered(FootEvents(np.array([2.0, np.nan, 1.0]), np.empty(0)))
    FootEvents(heel_strikes=array([1., 2.]), toe_offs=array([], dtype=float64))
    """
    found = [np.sort(floats("events", times, ndim=1)) for times in events]
    return FootEvents(*(times[~np.isnan(times)] for times in found))


def only(times: FloatArray, values: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """The value of the one of ``times`` strictly between each start and end; NaN unless exactly one is.

    ``times``, ``values`` : (E,), ``start``, ``end`` : (K,). Returns (K,).

    >>> only(np.array([1.0, 2.0]), np.array([10.0, 20.0]), np.array([0.5, 0.0]), np.array([1.5, 3.0]))
    array([10., nan])
    """
    inside = (times > start[:, None]) & (times < end[:, None])
    value = np.where(inside, values, 0.0).sum(axis=1)
    return np.where(inside.sum(axis=1) == 1, value, np.nan)


def phase_peak(
    curve: ArrayLike, *, start: float = 0.0, end: float = 50.0, lowest: bool = False
) -> FloatArray:
    """The highest (or ``lowest``) value of a curve between ``start`` and ``end`` % of it, both included.

    ``curve`` : (…, points), its last axis from 0 to 100 %. Returns (…), in the unit of the curve; NaN
    where a sample in the phase is missing (the peak may have been there) or the phase holds no sample.

    >>> phase_peak([0.0, 5.0, 3.0, 9.0, 1.0], end=50)
    array(5.)
    """
    values = floats("curve", curve)
    if values.ndim == 0:
        raise MetricError("Expected a curve with points on its last axis, got a single number.")
    if not 0 <= start <= end <= 100:
        raise MetricError(f"Expected a phase within 0–100 %, got {start}–{end} %.")
    percent = np.linspace(0.0, 100.0, values.shape[-1])
    phase = values[..., (percent >= start) & (percent <= end)]
    if phase.shape[-1] == 0:
        return np.full(phase.shape[:-1], np.nan)
    return np.asarray(phase.min(axis=-1) if lowest else phase.max(axis=-1))


def stance_peak(
    curve: ArrayLike,
    time: ArrayLike,
    events: FootEvents,
    *,
    start: float = 0.0,
    end: float = 50.0,
    points: int = 101,
) -> FloatArray:
    """The peak of a curve in a phase of each stance: by default its highest value in the first half.

    Knee and hip adduction peak: the defaults. Pelvic drop peak: ``end=100``. The curve is brought to
    ``points`` samples from heel strike to toe off, then ``phase_peak``.

    ``curve`` : (T,) any unit, ``time`` : (T,) s, ``events`` of that leg. Returns (H,), NaN where unknown.

    >>> stance_peak([0, 1, 4, 2, 8, 0], range(6), FootEvents(np.array([0.0]), np.array([5.0])))
    array([4.])
    """
    begin, finish = stances(events)
    pieces = segment(floats("curve", curve, ndim=1), time, begin, finish, points=points)
    return phase_peak(pieces, start=start, end=end)


def stance_mean(curve: ArrayLike, time: ArrayLike, events: FootEvents, *, points: int = 101) -> FloatArray:
    """The mean of a curve over each stance, of ``points`` samples from heel strike to toe off.

    ``curve`` : (T,) any unit, ``time`` : (T,) s, ``events`` of that leg. Returns (H,), NaN where a
    sample of the stance is missing.

    >>> stance_mean([0.0, 1.0, 2.0, 3.0], range(4), FootEvents(np.array([1.0]), np.array([3.0])))
    array([2.])
    """
    begin, finish = stances(events)
    pieces = segment(floats("curve", curve, ndim=1), time, begin, finish, points=points)
    return np.asarray(pieces.mean(axis=1))
