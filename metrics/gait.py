"""Gait: the time–distance table leg by leg, the angles that a clinic reads, and their errors.

Values are SI inside: metres, seconds, radians (and % of the cycle, steps per minute); ``value_error``
hands out the unit of the card. Points are (T, 3) with y up, ``forward`` is the direction of progression
(``metrics.events.direction_of_progression``), so nothing depends on which way the laboratory looks.
Peaks and means of curves in a phase of stance are in ``metrics.cycles``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, FloatArray, MetricError, alike, floats, mean_present
from metrics.catalogue import Direction, metric
from metrics.cycles import at, only, ordered, segment, stances
from metrics.events import MS, FootEvents, ground_axes

#: which way along the walker's right a leg lies; a sideways quantity times this is outward for that leg
OUTWARD: Mapping[str, float] = {"left": -1.0, "right": 1.0}
V = TypeVar("V")


@dataclass(frozen=True)
class Strides:
    """One leg's strides, an entry each: from a heel strike of the leg to its next.

    All but ``start`` and ``end`` is NaN for a stride without exactly one toe off of the leg inside (an
    event was missed or invented); the rows stay, so that they can be counted.

    Attributes
    ----------
    start, toe_off, end : s
    stride_time : s, end − start
    stride_length : m, along the direction of progression, from heel at ``start`` to the same heel at ``end``
    speed : m/s, stride_length / stride_time
    cadence : steps per minute, 120 / stride_time
    step_time : s, from the other foot's heel strike inside the stride to ``end``
    step_length : m, at ``end``, from the trailing heel (of the other foot) to the leading one
    step_width : m, how far the foot is outward of the other one across the direction of progression, each
        the mean over 40–60 % of its stance; negative where the feet cross
    stance, swing : % of stride_time, start to toe_off and toe_off to end
    double_support : % of stride_time, both phases together: start to the other foot's toe off, and the
        other foot's heel strike to toe_off
    single_support : % of stride_time on this leg alone: the other foot's toe off to its heel strike
    """

    start: FloatArray
    toe_off: FloatArray
    end: FloatArray
    stride_time: FloatArray
    stride_length: FloatArray
    speed: FloatArray
    cadence: FloatArray
    step_time: FloatArray
    step_length: FloatArray
    step_width: FloatArray
    stance: FloatArray
    swing: FloatArray
    double_support: FloatArray
    single_support: FloatArray


def strides(
    heels: Mapping[str, ArrayLike],
    events: Mapping[str, FootEvents],
    time: ArrayLike,
    forward: ArrayLike,
) -> dict[str, Strides]:
    """The time–distance table of walking over ground, a ``Strides`` for "left" and one for "right".

    On a treadmill add belt speed × time to the points along ``forward`` first. Not for running: where
    the other foot does not leave and land within the stance, both supports are NaN.

    ``heels`` : (T, 3) m by side, ``events`` : by side, ``time`` : (T,) s, ``forward`` : (3,).

    >>> t = np.arange(0, 3, 0.01)
    >>> left = np.stack([np.floor(t), 0 * t, 0 * t - 0.1], axis=1)
    >>> right = np.stack([np.floor(t + 0.5), 0 * t, 0 * t], axis=1)
    >>> feet = {"left": FootEvents(np.array([0.0, 1, 2]), np.array([0.6, 1.6, 2.6])),
    ...         "right": FootEvents(np.array([0.5, 1.5, 2.5]), np.array([0.1, 1.1, 2.1]))}
    >>> found = strides({"left": left, "right": right}, feet, t, [1, 0, 0])["left"]
    >>> found.stride_length, found.step_width.round(3), found.single_support.round(6)
    (array([1., 1.]), array([0.1, 0.1]), array([40., 40.]))
    """
    ahead, right = ground_axes(forward)
    where = _sides("heels", heels)
    clean = {side: ordered(found) for side, found in _sides("events", events).items()}
    left_heel, right_heel = alike(left_heel=where["left"], right_heel=where["right"])
    floats("heels", left_heel, ndim=2, last=3)
    along = {"left": left_heel @ ahead, "right": right_heel @ ahead}
    across = {"left": left_heel @ right, "right": right_heel @ right}
    middle = {side: _midstance(across[side], time, clean[side]) for side in OUTWARD}
    return {
        side: _leg(side, other, along, middle, clean, time)
        for side, other in (("left", "right"), ("right", "left"))
    }


def _sides(name: str, given: Mapping[str, V]) -> Mapping[str, V]:
    if given.keys() != OUTWARD.keys():
        raise MetricError(f"Expected {name} of left and right, got {', '.join(given) or 'none'}.")
    return given


def _midstance(across: FloatArray, time: ArrayLike, events: FootEvents) -> FloatArray:
    """Where the foot stands across the walk: mean over 40–60 % of the stance of each heel strike (H,)."""
    start, end = stances(events)
    length = end - start
    pieces = segment(across, time, start + 0.4 * length, start + 0.6 * length, points=21)
    return np.asarray(pieces.mean(axis=1))


def _leg(
    side: str,
    other: str,
    along: Mapping[str, FloatArray],
    middle: Mapping[str, FloatArray],
    events: Mapping[str, FootEvents],
    time: ArrayLike,
) -> Strides:
    strikes, offs = events[side]
    other_strikes, other_offs = events[other]
    first, end = strikes[:-1], strikes[1:]
    toe_off = only(offs, offs, first, end)
    start, finish = np.where(np.isnan(toe_off), np.nan, [first, end])
    strike = only(other_strikes, other_strikes, start, end)
    off = only(other_offs, other_offs, start, end)
    stride_time = finish - start
    walks = (off <= strike) & (strike <= toe_off)
    percent = 100.0 / stride_time
    both = np.where(walks, (off - start) + (toe_off - strike), np.nan)
    alone = np.where(walks, strike - off, np.nan)
    before, leading = at(along[side], time, start), at(along[side], time, finish)
    trailing = at(along[other], time, finish)
    width = OUTWARD[side] * (middle[side][:-1] - only(other_strikes, middle[other], start, end))
    return Strides(
        start=first,
        toe_off=toe_off,
        end=end,
        stride_time=stride_time,
        stride_length=leading - before,
        speed=(leading - before) / stride_time,
        cadence=120.0 / stride_time,
        step_time=finish - strike,
        step_length=leading - trailing,
        step_width=width,
        stance=percent * (toe_off - start),
        swing=percent * (finish - toe_off),
        double_support=percent * both,
        single_support=percent * alone,
    )


class LegMeans(NamedTuple):
    """Means over the strides of each leg, and the mean of the two legs (of the one there is).

    Attributes
    ----------
    left, right : mean over the leg's strides, NaN without any
    both : mean of ``left`` and ``right``, so that a leg with more strides does not count for more
    """

    left: float
    right: float
    both: float


def summary(table: Mapping[str, Strides]) -> dict[str, LegMeans]:
    """Leg means of each measure of ``strides``, by the name of its field; units as there.

    >>> none = np.empty(0)
    >>> two = Strides(*[np.array([2.0, 4.0])] * 14)
    >>> summary({"left": two, "right": Strides(*[none] * 14)})["speed"]
    LegMeans(left=3.0, right=nan, both=3.0)
    """
    legs = _sides("strides", table)
    means = {}
    for found in fields(Strides)[3:]:
        left, right = (mean_present(getattr(legs[side], found.name)) for side in OUTWARD)
        means[found.name] = LegMeans(left, right, mean_present(np.array([left, right])))
    return means


def foot_progression(
    heel_txyz: ArrayLike, toe_txyz: ArrayLike, forward: ArrayLike, *, side: str
) -> FloatArray:
    """Angle from the direction of progression to the foot on the ground, toes outward positive, in rad.

    ``heel_txyz``, ``toe_txyz`` : (…, 3) m, ``side`` : "left" or "right". Returns (…) in (−π, π].

    >>> np.degrees(foot_progression([0, 0, 0], [0.1, 0, 0.1], [1, 0, 0], side="right"))
    np.float64(45.0)
    """
    heel, toe = alike(heel=heel_txyz, toe=toe_txyz)
    ahead, right = ground_axes(forward)
    foot = floats("heel", toe - heel, last=3)
    return np.asarray(np.arctan2(_outward(side) * (foot @ right), foot @ ahead))


class TrunkLean(NamedTuple):
    """How far the trunk leans from the vertical.

    Attributes
    ----------
    frontal : rad, to the walker's right positive; times ``OUTWARD[side]`` it is towards that leg
    sagittal : rad, forward positive
    """

    frontal: FloatArray
    sagittal: FloatArray


def trunk_lean(lower_txyz: ArrayLike, upper_txyz: ArrayLike, forward: ArrayLike) -> TrunkLean:
    """Lean of the trunk from the vertical in the planes of the walk: atan2(sideways or ahead, up).

    ``lower_txyz`` : (…, 3) m, the middle of the pelvis, say; ``upper_txyz`` : (…, 3) m, C7 or the middle
    of the shoulders.

    >>> np.degrees(trunk_lean([0, 1, 0], [0.5, 1.5, 0], [1, 0, 0]).sagittal)
    np.float64(45.0)
    """
    lower, upper = alike(lower=lower_txyz, upper=upper_txyz)
    ahead, right = ground_axes(forward)
    trunk = floats("lower", upper - lower, last=3)
    return TrunkLean(
        frontal=np.asarray(np.arctan2(trunk @ right, trunk[..., 1])),
        sagittal=np.asarray(np.arctan2(trunk @ ahead, trunk[..., 1])),
    )


def pelvis_list(left_asis_txyz: ArrayLike, right_asis_txyz: ArrayLike) -> FloatArray:
    """Obliquity of the line between the ASIS, rad, signed as OpenSim's pelvis_list: right side down positive.

    ``left_asis_txyz``, ``right_asis_txyz`` : (…, 3) m.

    >>> np.degrees(pelvis_list([0, 1.1, -0.1], [0, 0.9, 0.1])).round(9)
    np.float64(45.0)
    """
    left, right = alike(left_asis=left_asis_txyz, right_asis=right_asis_txyz)
    line = floats("left_asis", right - left, last=3)
    return np.asarray(np.arctan2(0.0 - line[..., 1], np.hypot(line[..., 0], line[..., 2])))


def pelvic_drop(list_t: ArrayLike, *, side: str) -> FloatArray:
    """How far the pelvis drops on the side that swings while ``side`` stands: contralateral drop, in rad.

    ``list_t`` : (…) rad, OpenSim's pelvis_list (right side down positive).

    >>> pelvic_drop([0.1, -0.1], side="left")
    array([ 0.1, -0.1])
    """
    return -_outward(side) * floats("pelvis_list", list_t)


def _outward(side: str) -> float:
    if side not in OUTWARD:
        raise MetricError(f"Expected side left or right, got {side!r}.")
    return OUTWARD[side]


class Quantity(NamedTuple):
    """A number that a gait report prints.

    Attributes
    ----------
    unit : that its error is given in
    factor : from the unit inside (s, m, m/s, rad, %, steps per minute) to ``unit``
    meaning : how the value is made
    reference : who defined it so
    """

    unit: str
    factor: float
    meaning: str
    reference: str


_DEGREES = 180.0 / np.pi
_PERRY = "Perry & Burnfield 2010"
_OPENCAP = "Uhlrich et al. 2023, opencap-processing gait_analysis"
#: everything ``value_error`` knows the unit of
QUANTITIES: Mapping[str, Quantity] = {
    "gait speed": Quantity("m/s", 1.0, "stride length over stride time", _PERRY),
    "cadence": Quantity("steps/min", 1.0, "120 over stride time", _PERRY),
    "stride time": Quantity("ms", MS, "time between heel strikes of one foot", _PERRY),
    "stride length": Quantity("mm", MM, "way of a heel between its strikes along the progression", _PERRY),
    "step time": Quantity("ms", MS, "time from the other foot's heel strike to this one's", _PERRY),
    "step length": Quantity(
        "mm", MM, "trailing to leading heel along the progression at heel strike", _PERRY
    ),
    "step width": Quantity(
        "mm", MM, "heels apart across the progression at 40–60 % of their stance", _OPENCAP
    ),
    "stance": Quantity("%", 1.0, "heel strike to toe off in % of the stride", _PERRY),
    "swing": Quantity("%", 1.0, "toe off to heel strike in % of the stride", _PERRY),
    "double support": Quantity("%", 1.0, "both double supports of a stride in % of it", _PERRY),
    "single support": Quantity(
        "%", 1.0, "the other foot's swing within this stance in % of the stride", _PERRY
    ),
    "foot progression": Quantity(
        "°", _DEGREES, "mean of foot against progression over stance, out positive", _PERRY
    ),
    "frontal trunk lean": Quantity(
        "°", _DEGREES, "peak lean to the stance leg in stance", "Hunt et al. 2008"
    ),
    "sagittal trunk lean": Quantity("°", _DEGREES, "mean forward lean over stance", "capbench"),
    "pelvic drop peak": Quantity("°", _DEGREES, "peak drop of the swing side in stance", _PERRY),
    "knee adduction peak": Quantity("°", _DEGREES, "peak in the first half of stance", "capbench"),
    "hip adduction peak": Quantity("°", _DEGREES, "peak in the first half of stance", "capbench"),
    "GPS": Quantity("°", 1.0, "root mean square of the gait variable scores in °", "Baker et al. 2009"),
    "GDI-like": Quantity(
        "1", 1.0, "gait deviation index on a given control group", "Schwartz & Rozumalski 2008"
    ),
}


class ValueDifference(NamedTuple):
    """How far a reported value is from the true one.

    Attributes
    ----------
    bias : mean predicted − mean true; above zero is too much
    absolute : |bias|
    """

    bias: float
    absolute: float


def value_error(predicted: ArrayLike, reference: ArrayLike, *, quantity: str) -> ValueDifference:
    """Error of a number in a gait report: mean of the predicted values minus mean of the true ones.

    The values of one trial and leg, one a stride or just one. The two may differ in number, for events
    are told and true; each side is averaged over what is not NaN. In the unit of ``QUANTITIES``.

    ``predicted``, ``reference`` : any shape, in s, m, m/s, rad, %, steps per minute (GPS in °).

    >>> value_error([1.30, 1.34], [1.30], quantity="stride length").bias.__round__(6)
    20.0
    """
    if quantity not in QUANTITIES:
        raise MetricError(f"Expected one of {', '.join(QUANTITIES)}, got {quantity!r}.")
    told = mean_present(floats("predicted", predicted))
    true = mean_present(floats("reference", reference))
    bias = (told - true) * QUANTITIES[quantity].factor
    return ValueDifference(bias=bias, absolute=abs(bias))


_PARTS: tuple[tuple[str, Direction, str], ...] = (
    ("bias", "zero", "Mean told minus mean true value"),
    ("absolute", "lower", "Distance of mean told and mean true value"),
)
for _name, _quantity in QUANTITIES.items():
    for _part, _direction, _words in _PARTS:
        metric(
            f"{_name} {_part} error",
            unit=_quantity.unit,
            direction=_direction,
            definition=f"{_words} of a trial's {_name}: {_quantity.meaning}.",
            reference=_quantity.reference,
            part=_part,
            quantity=_name,
        )(value_error)
