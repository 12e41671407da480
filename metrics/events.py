"""Gait events: when each foot meets and leaves the ground, from markers or plates, and how well it was told.

Nothing here supposes that people walk along x. The direction of progression comes from the path of
the pelvis, or is given (on a treadmill it has to be). Times are seconds, points metres with y up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.signal import find_peaks

from metrics.angles import times
from metrics.arrays import FloatArray, IntArray, MetricError, alike, floats, positive
from metrics.catalogue import Direction, metric

TOLERANCE = 0.05  #: s; an event told within ± this of a true one is the same event
PATH = 0.5  #: m; a shorter path of the pelvis has no direction of progression
#: s; times are sums of frame periods, and what is exactly on a limit must not hang on how they were rounded
SLACK = 1e-9
MS = 1000.0  #: milliseconds in a second


class FootEvents(NamedTuple):
    """The events of one foot.

    Attributes
    ----------
    heel_strikes : (H,) s, increasing
    toe_offs : (O,) s, increasing
    """

    heel_strikes: FloatArray
    toe_offs: FloatArray


def clock(time: ArrayLike, length: int) -> FloatArray:
    """``time`` in s as float64: ``length`` finite values, each later than the one before, and 2 at least.

    >>> clock([0.0, 0.01, 0.02], 3)
    array([0.  , 0.01, 0.02])
    """
    if length < 2:
        raise MetricError(f"Expected at least 2 frames, got {length}.")
    return times(time, length)


def direction_of_progression(pelvis_txyz: ArrayLike, time: ArrayLike) -> FloatArray:
    """Where the walker is heading: a unit vector (3,) in the ground plane.

    The direction of the mean velocity, by least squares: Σ(t−t̄)(p−p̄), p the pelvis on the ground.
    Frames without a pelvis are left out. NaN where the pelvis got less than ``PATH`` along: standing,
    a treadmill, there and back.

    ``pelvis_txyz`` : (T, 3) m, ``time`` : (T,) s.

    >>> direction_of_progression([[0, 1, 0], [0, 1, 1], [0, 1, 2]], [0, 1, 2])
    array([0., 0., 1.])
    """
    pelvis = floats("pelvis", pelvis_txyz, ndim=2, last=3)
    seen = clock(time, len(pelvis))
    present = ~np.isnan(pelvis[:, [0, 2]]).any(axis=1)
    path, seen = pelvis[present], seen[present]
    if len(seen) < 2:
        return np.full(3, np.nan)
    since = seen - seen.mean()
    path[:, 1] = 0.0  # the height may be missing, and does not matter
    slope: FloatArray = since @ path / (since @ since)
    speed = float(np.linalg.norm(slope))
    if speed * (seen[-1] - seen[0]) < PATH:
        return np.full(3, np.nan)
    return slope / speed


def ground_axes(forward: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Unit vectors (3,) forward and to the right, both in the ground plane.

    ``forward`` : (3,) the direction of progression; its length and height do not matter.

    >>> ahead, right = ground_axes([2.0, 0.0, 0.0])
    >>> right
    array([0., 0., 1.])
    """
    x, _, z = floats("forward", forward, ndim=1, last=3)
    length = np.hypot(x, z)
    if length == 0:
        raise MetricError(f"Expected forward as a direction along the ground, got {forward!r}.")
    x, z = x / length, z / length
    return np.array([x, 0.0, z]), np.array([0.0 - z, 0.0, x])


def zeni_events(
    heel_txyz: ArrayLike,
    toe_txyz: ArrayLike,
    sacrum_txyz: ArrayLike,
    time: ArrayLike,
    *,
    forward: ArrayLike | None = None,
    prominence: float = 0.05,
) -> FootEvents:
    """Events of one foot by the coordinate rule of Zeni 2008; on a treadmill ``forward`` has to be given.

    A heel strike is where the heel is farthest ahead of the sacrum along the direction of progression,
    a toe off where the toe is farthest behind it; both refined between frames by the parabola through
    three samples. Extrema that stand out by less than ``prominence`` (m) are noise. Nothing is filtered
    here: filter before, and say so. Short gaps are bridged by straight lines, but an extremum that
    touches a missing frame is left out, as is one at either end of the recording. No events where
    there is no direction of progression.

    ``heel_txyz``, ``toe_txyz``, ``sacrum_txyz`` : (T, 3) m, ``time`` : (T,) s.

    >>> t = np.arange(0, 3, 0.01)
    >>> body = np.stack([1.2 * t, 0 * t, 0 * t], axis=1)
    >>> swing = 0.3 * np.cos(2 * np.pi * t)[:, None] * [1, 0, 0]
    >>> events = zeni_events(body + swing, body + swing, body, t)
    >>> events.heel_strikes.round(6), events.toe_offs.round(6)
    (array([1., 2.]), array([0.5, 1.5, 2.5]))
    """
    heel, toe, sacrum = alike(heel=heel_txyz, toe=toe_txyz, sacrum=sacrum_txyz)
    floats("heel", heel, ndim=2, last=3)
    time_t = clock(time, len(heel))
    positive("prominence", prominence)
    ahead, _ = ground_axes(direction_of_progression(sacrum, time_t) if forward is None else forward)
    return FootEvents(
        heel_strikes=_peaks((heel - sacrum) @ ahead, time_t, prominence),
        toe_offs=_peaks((sacrum - toe) @ ahead, time_t, prominence),
    )


def _peaks(signal: FloatArray, time_t: FloatArray, prominence: float) -> FloatArray:
    present = ~np.isnan(signal)
    if not present.any():
        return np.empty(0)
    filled = np.interp(time_t, time_t[present], signal[present])
    at, _ = find_peaks(filled, prominence=prominence)
    at = at[present[at - 1] & present[at] & present[at + 1]]
    before, after = time_t[at] - time_t[at - 1], time_t[at] - time_t[at + 1]
    fall_before, fall_after = filled[at] - filled[at - 1], filled[at] - filled[at + 1]
    # the vertex of the parabola through three samples that need not be evenly spaced
    shift = before**2 * fall_after - after**2 * fall_before
    scale = 2 * (before * fall_after - after * fall_before)
    return np.asarray(time_t[at] - np.divide(shift, scale, out=np.zeros(len(at)), where=scale != 0))


def force_events(
    force_t: ArrayLike,
    time: ArrayLike,
    *,
    threshold: float = 20.0,
    release: float | None = None,
    minimum_contact: float = 0.1,
) -> FootEvents:
    """Events of one foot from its vertical ground reaction force.

    A contact begins where the force rises to ``threshold`` (N) and ends where it falls below
    ``release`` (N, at most ``threshold`` and equal to it by default; lower gives hysteresis). The times
    are those of the crossings on straight lines between samples. Contacts that are seen for less than
    ``minimum_contact`` (s) are no contacts. A contact under way when the recording begins or ends, or
    beside a missing sample, has no event there. No low-pass is applied.

    ``force_t`` : (T,) N, upwards on the foot, the plates under one foot added up; ``time`` : (T,) s.

    >>> force_events([0, 0, 40, 800, 40, 0], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    FootEvents(heel_strikes=array([0.15]), toe_offs=array([0.45]))
    """
    force = floats("force", force_t, ndim=1)
    time_t = clock(time, len(force))
    high = positive("threshold", threshold)
    low = high if release is None else positive("release", release)
    if low > high:
        raise MetricError(f"Expected release at most the threshold of {high} N, got {low} N.")
    on, off = force >= high, ~(force >= low)
    latest = np.maximum.accumulate(np.where(on | off, np.arange(len(force)), -1))
    contact = on[latest] & (latest >= 0)
    change = np.diff(contact.astype(np.int64), prepend=0, append=0)
    first, past = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    begin, end = _crossings(force, time_t, high, first), _crossings(force, time_t, low, past)
    seen = np.where(np.isnan(end), time_t[past - 1], end) - np.where(np.isnan(begin), time_t[first], begin)
    lasting = seen >= minimum_contact - SLACK
    begin, end = begin[lasting], end[lasting]
    return FootEvents(heel_strikes=begin[~np.isnan(begin)], toe_offs=end[~np.isnan(end)])


def _crossings(force: FloatArray, time_t: FloatArray, level: float, at: IntArray) -> FloatArray:
    """When ``force`` passes ``level`` between samples ``at - 1`` and ``at``; NaN outside the recording."""
    inside = (at > 0) & (at < len(force))
    k = np.where(inside, at, 1)
    part = np.divide(level - force[k - 1], force[k] - force[k - 1], out=np.full(len(k), np.nan), where=inside)
    return np.asarray(time_t[k - 1] + part * (time_t[k] - time_t[k - 1]))


@dataclass(frozen=True)
class EventScore:
    """How well events of one kind were told.

    Attributes
    ----------
    matched, missed, extra : pairs; true events without a partner; told events without a partner
    precision : matched/(matched + extra), 0 to 1; NaN where nothing was told
    recall : matched/(matched + missed), 0 to 1; NaN where nothing is true
    f1 : 2·matched/(2·matched + missed + extra); NaN where there are no events at all
    bias : ms, mean of told − true over the pairs; above zero is late
    sd : ms, standard deviation (n − 1) of told − true; NaN with fewer than two pairs
    mae : ms, mean of |told − true|
    """

    matched: int
    missed: int
    extra: int
    precision: float
    recall: float
    f1: float
    bias: float
    sd: float
    mae: float


def match_events(predicted: ArrayLike, reference: ArrayLike, *, tolerance: float = TOLERANCE) -> IntArray:
    """Who is who: pairs (K, 2) of indices into ``predicted`` and ``reference``, in the order of time.

    One to one and within ± ``tolerance`` (s, the limit included): as many pairs as there can be and, of
    all such pairings, one with the least sum of |Δt|. Taking each event's nearest neighbour would lose
    pairs. A NaN is no event.

    ``predicted`` : (P,) s, ``reference`` : (R,) s, in any order.

    >>> match_events([1.03, 1.06], [1.0, 1.04])
    array([[0, 0],
           [1, 1]])
    """
    told, true = floats("predicted", predicted, ndim=1), floats("reference", reference, ndim=1)
    limit = positive("tolerance", tolerance) + SLACK
    gap = np.abs(told[:, None] - true)
    near = gap <= limit
    # a pair more is worth more than all gaps together, so that the count comes first and the gaps second
    worth = np.where(near, gap, 0.0).sum() + 1.0
    rows, columns = linear_sum_assignment(np.where(near, gap - worth, 0.0))
    kept = near[rows, columns]
    rows, columns = rows[kept], columns[kept]
    # two pairs that cross may cost the same as the two that do not: events stay in their order
    return np.stack([rows[np.argsort(told[rows])], columns[np.argsort(true[columns])]], axis=1)


def score_events(predicted: ArrayLike, reference: ArrayLike, *, tolerance: float = TOLERANCE) -> EventScore:
    """Score the told times of one kind of event of one foot against the true ones (see ``match_events``).

    ``predicted`` : (P,) s, ``reference`` : (R,) s, in any order; NaN is no event. The timing errors are
    of the matched pairs alone, so read them beside ``f1``.

    >>> score = score_events([1.02, 2.01, 2.5], [1.0, 2.0, 3.0])
    >>> score.matched, score.missed, score.extra, round(score.bias, 6)
    (2, 1, 1, 15.0)
    """
    told, true = floats("predicted", predicted, ndim=1), floats("reference", reference, ndim=1)
    pairs = match_events(told, true, tolerance=tolerance)
    matched = len(pairs)
    extra, missed = int((~np.isnan(told)).sum()) - matched, int((~np.isnan(true)).sum()) - matched
    error = (told[pairs[:, 0]] - true[pairs[:, 1]]) * MS
    return EventScore(
        matched=matched,
        missed=missed,
        extra=extra,
        precision=_share(matched, matched + extra),
        recall=_share(matched, matched + missed),
        f1=_share(2 * matched, 2 * matched + missed + extra),
        bias=_share(float(error.sum()), matched),
        sd=float(error.std(ddof=1)) if matched > 1 else float("nan"),
        mae=_share(float(np.abs(error).sum()), matched),
    )


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")


#: what is told of events: the name on the card, its field, unit, better direction and meaning
_TOLD: tuple[tuple[str, str, str, Direction, str], ...] = (
    ("event F1", "f1", "1", "higher", "F1 of told events"),
    ("event precision", "precision", "1", "higher", "Share of told events that are true"),
    ("event recall", "recall", "1", "higher", "Share of true events that were told"),
    ("event bias", "bias", "ms", "zero", "Mean of told minus true time (late is above zero)"),
    ("event SD", "sd", "ms", "lower", "Standard deviation (n − 1) of told minus true time"),
    ("event MAE", "mae", "ms", "lower", "Mean distance of told and true time"),
    ("events missed", "missed", "1", "lower", "Number of true events that were not told"),
    ("events extra", "extra", "1", "lower", "Number of told events that are not true"),
)
for _name, _part, _unit, _direction, _meaning in _TOLD:
    metric(
        f"gait {_name}@50ms",
        unit=_unit,
        direction=_direction,
        definition=f"{_meaning}, one kind of one foot, paired one to one within ±50 ms, most pairs first.",
        reference="capbench",
        needs=("reference", "events"),
        merge="sums",
        part=_part,
        tolerance=TOLERANCE,
    )(score_events)
