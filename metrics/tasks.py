"""What clinics time and measure in a chair rise, a squat and a jump, from curves.

Curves are arrays (T,) over ``time`` (T,) s, in SI units: heights in m with y up, angles in rad with the named
direction positive, forces in N. Nothing is filtered here: filter before, and say so. Where a curve crosses a
level between two frames, the moment is interpolated linearly. What is not found is NaN.

The values describe the person: score a model by the difference between the value of its curves and that of
the true ones. Every threshold is an argument, and its default is part of the value's meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import find_peaks

from metrics.arrays import MM, BoolArray, FloatArray, IntArray, MetricError, floats, positive
from metrics.catalogue import metric
from metrics.events import clock

GRAVITY = 9.80665  #: m/s², standard
FIVE = 5  #: rises in the five-times sit-to-stand test

F = TypeVar("F", bound=Callable[..., Any])
Carrier = Literal["seat", "feet"]


def _card(
    name: str,
    unit: str,
    definition: str,
    reference: str = "capbench",
    needs: tuple[str, ...] = ("time",),
    **more: Any,
) -> Callable[[F], F]:
    """The card of a value that describes the person."""
    return metric(
        name, unit=unit, direction="neither", definition=definition, reference=reference, needs=needs, **more
    )


def _curve(time: ArrayLike, name: str, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    curve = floats(name, values, ndim=1)
    return clock(time, len(curve)), curve


def _moment(times: FloatArray, curve: FloatArray, frame: IntArray, level: float) -> FloatArray:
    """When ``curve`` passes ``level`` between each ``frame`` and the next."""
    share = (level - curve[frame]) / (curve[frame + 1] - curve[frame])
    moments: FloatArray = times[frame] + share * (times[frame + 1] - times[frame])
    return moments


def _crossings(times: FloatArray, curve: FloatArray, level: float, *, rising: bool) -> FloatArray:
    """When ``curve`` comes to ``level`` or above (rising), or falls below it; not across missing frames."""
    above = curve >= level
    turns = above[1:] & ~above[:-1] if rising else above[:-1] & ~above[1:]
    (frames,) = np.nonzero(turns & ~np.isnan(np.diff(curve)))
    return _moment(times, curve, frames, level)


def _first(moments: FloatArray) -> float:
    return float(moments[0]) if len(moments) else math.nan


def _within(times: FloatArray, curve: FloatArray, start: float, end: float) -> BoolArray:
    """The frames from ``start`` to ``end``, both included, that are there."""
    inside: BoolArray = (times >= start) & (times <= end) & ~np.isnan(curve)
    return inside


# ----------------------------------------------------------------------------------------------- chair rises
@dataclass(frozen=True)
class ChairRises:
    """The rises found in a recording, one entry each, in s.

    >>> rises = chair_rises([0, 1, 2, 3], [0.5, 0.5, 1.0, 0.5])
    >>> rises.repetitions, round(rises.rise_time, 3)
    (1, 0.8)

    Attributes
    ----------
    starts : the height leaves the level of the seat for the last time before the rise
    ends : the height comes to the level of standing
    seated : the height is back at the level of the seat; NaN where the recording ends standing
    """

    starts: FloatArray
    ends: FloatArray
    seated: FloatArray

    @property
    def repetitions(self) -> int:
        """How many rises there are."""
        return len(self.starts)

    @property
    def rise_time(self) -> float:
        """The mean time from seat to standing in s; NaN without a rise."""
        return float(np.mean(self.ends - self.starts)) if self.repetitions else math.nan

    @property
    def five_times_standing(self) -> float:
        """From the start of the first rise to standing for the fifth time, s; NaN with fewer than five."""
        return float(self.ends[FIVE - 1] - self.starts[0]) if self.repetitions >= FIVE else math.nan

    @property
    def five_times_seated(self) -> float:
        """From the start of the first rise to being seated after the fifth, s; NaN with fewer than five."""
        return float(self.seated[FIVE - 1] - self.starts[0]) if self.repetitions >= FIVE else math.nan


@_card("STS repetitions", "1", "Number of rises from seat to standing.", part="repetitions")
@_card("STS rise time", "s", "Mean time from leaving the level of the seat to standing.", part="rise_time")
@_card(
    "5×STS time·standing",
    "s",
    "Time from the start of the first of five rises to standing after the fifth.",
    "Guralnik et al. 1994, J Gerontol (SPPB)",
    part="five_times_standing",
)
@_card(
    "5×STS time·seated",
    "s",
    "Time from the start of the first of five rises to being seated after the fifth.",
    "Whitney et al. 2005, Phys Ther",
    part="five_times_seated",
)
def chair_rises(
    time: ArrayLike, height: ArrayLike, *, seat: float = 0.1, stand: float = 0.9, least: float = 0.15
) -> ChairRises:
    """The rises from a chair in the ``height`` of the pelvis (m).

    The seat's level lies the share ``seat`` of the way from the lowest to the highest height of the
    recording, the standing level the share ``stand``. A rise goes from at or below the one to at or above
    the other, so half a rise and wobble in between count for nothing. No rise in a recording whose height
    varies by less than ``least`` (m): nobody stood up in it.

    >>> t = np.linspace(0, 4, 401)
    >>> rises = chair_rises(t, 0.7 - 0.2 * np.cos(np.pi * t))
    >>> rises.repetitions, rises.starts.round(2)
    (2, array([0.2, 2.2]))
    """
    times, curve = _curve(time, "height", height)
    if not 0 < seat < stand < 1:
        raise MetricError(f"Expected 0 < seat < stand < 1, got {seat!r} and {stand!r}.")
    positive("least", least)
    present = curve[~np.isnan(curve)]
    reach = np.ptp(present) if len(present) else 0.0
    if reach < least:
        return ChairRises(np.empty(0), np.empty(0), np.empty(0))
    low, high = present.min() + reach * np.array([seat, stand])
    (frames,) = np.nonzero((curve <= low) | (curve >= high))
    up = curve[frames] >= high
    rises = np.flatnonzero(~up[:-1] & up[1:])
    falls = np.flatnonzero(up[:-1] & ~up[1:])
    back = np.append(_moment(times, curve, frames[falls + 1] - 1, low), np.nan)
    return ChairRises(
        starts=_moment(times, curve, frames[rises], low),
        ends=_moment(times, curve, frames[rises + 1] - 1, high),
        seated=back[np.searchsorted(falls, rises)],
    )


@_card(
    "seat-off time·velocity",
    "s",
    "When the upward velocity of hip or pelvis last comes to 0.1 m/s before its peak in the rise.",
    speed=0.1,
)
def seat_off_by_velocity(
    time: ArrayLike, height: ArrayLike, *, speed: float = 0.1, **levels: float
) -> FloatArray:
    """When the seat is left in each rise (s), from the ``height`` of hip or pelvis (m) alone.

    The last moment before the peak velocity of the rise at which the upward velocity (central differences)
    comes to ``speed`` (m/s). NaN where it never does. ``chair_rises`` says what a rise is, and takes the
    ``levels``.

    >>> t = np.arange(0, 3, 0.01)
    >>> seat_off_by_velocity(t, 0.5 + np.clip(t - 1, 0, 1) ** 2 / 2).round(2)
    array([1.1])
    """
    rises = chair_rises(time, height, **levels)
    times, curve = _curve(time, "height", height)
    velocity = np.gradient(curve, times)
    comes = _crossings(times, velocity, positive("speed", speed), rising=True)
    found = np.full(rises.repetitions, np.nan)
    for k in range(rises.repetitions):
        (inside,) = np.nonzero(_within(times, velocity, rises.starts[k], rises.ends[k]))
        if len(inside) and velocity[inside].max() >= speed:
            before = comes[comes <= times[inside[velocity[inside].argmax()]]]
            found[k] = before[-1] if len(before) else np.nan
    return found


@_card(
    "seat-off time·seat force",
    "s",
    "When the force on the seat first falls below a threshold.",
    needs=("time", "forces"),
    carried_by="seat",
)
@_card(
    "seat-off time·feet force",
    "s",
    "When the vertical force under the feet first comes to a threshold, such as body weight.",
    needs=("time", "forces"),
    carried_by="feet",
)
def seat_off_by_force(time: ArrayLike, force: ArrayLike, *, carried_by: Carrier, threshold: float) -> float:
    """When the seat is left (s), from the vertical ``force`` (N) on the seat or under the feet.

    The first moment at which the force on the seat falls below ``threshold`` (N, some 10), or that under
    the feet comes to it (N, the body weight). A recording that begins beyond the threshold has not shown it.

    >>> seat_off_by_force([0, 1, 2, 3], [600, 600, 0, 0], carried_by="seat", threshold=15)
    1.975
    """
    if carried_by not in get_args(Carrier):
        raise MetricError(f"Expected carried_by seat or feet, got {carried_by!r}.")
    times, curve = _curve(time, "force", force)
    return _first(_crossings(times, curve, positive("threshold", threshold), rising=carried_by == "feet"))


# -------------------------------------------------------------------------------------------- angles
@_card(
    "trunk-flexion peak",
    "°",
    "Largest forward lean of the trunk in a window, such as one rise.",
    needs=("time", "angles"),
)
@_card(
    "knee-flexion peak", "°", "Largest knee flexion in a window, such as one squat.", needs=("time", "angles")
)
@_card(
    "knee-valgus peak",
    "°",
    "Largest knee valgus in a window, such as a landing.",
    "Hewett et al. 2005, Am J Sports Med",
    needs=("time", "angles"),
)
def peak_angle(
    time: ArrayLike, angle: ArrayLike, *, start: float = -math.inf, end: float = math.inf
) -> float:
    """The largest ``angle`` (rad in, ° out) from ``start`` to ``end`` (s, both included).

    The named direction is positive: turn the sign of a coordinate that counts it the other way. Missing
    frames are left out; NaN where no frame is left.

    >>> round(peak_angle([0, 1, 2], [0.0, 0.5, 1.0], end=1), 3)
    28.648
    """
    times, curve = _curve(time, "angle", angle)
    inside = curve[_within(times, curve, start, end)]
    return float(np.degrees(inside.max())) if len(inside) else math.nan


@_card(
    "knee valgus at contact",
    "°",
    "Knee valgus at the moment the foot meets the ground.",
    "Hewett et al. 2005, Am J Sports Med",
    needs=("time", "angles", "events"),
)
def angle_at(time: ArrayLike, angle: ArrayLike, moment: float) -> float:
    """The ``angle`` (rad in, ° out) at a ``moment`` (s), between frames linearly; NaN outside the recording.

    >>> round(angle_at([0, 1], [0.0, 1.0], 0.5), 3)
    28.648
    """
    times, curve = _curve(time, "angle", angle)
    return float(np.degrees(np.interp(moment, times, curve, left=np.nan, right=np.nan)))


# ----------------------------------------------------------------------------------------------------- squats
class Squats(NamedTuple):
    """The squats found in a recording.

    Attributes
    ----------
    bottoms : when each is deepest, s
    depths : how far below the highest height of the recording, mm
    repetitions : how many there are
    depth : the mean of ``depths``, mm; NaN without a squat
    """

    bottoms: FloatArray
    depths: FloatArray
    repetitions: int
    depth: float


@_card(
    "squat repetitions",
    "1",
    "Number of lowest points of the pelvis at least 0.2 m down and 0.7 s apart.",
    "Uhlrich et al. 2023, PLoS Comput Biol (OpenCap)",
    part="repetitions",
    least=0.2,
    apart=0.7,
)
@_card(
    "squat depth",
    "mm",
    "Mean depth of the pelvis in squats at least 0.2 m deep and 0.7 s apart.",
    "Uhlrich et al. 2023, PLoS Comput Biol (OpenCap)",
    part="depth",
    least=0.2,
    apart=0.7,
)
def squats(time: ArrayLike, height: ArrayLike, *, least: float = 0.2, apart: float = 0.7) -> Squats:
    """The squats in the ``height`` of the pelvis (m): its lowest points.

    Each is at least ``least`` (m) below the highest height of the recording; of two closer than ``apart``
    (s) the deeper counts. The frames are to be evenly spaced.

    >>> t = np.linspace(0, 6, 601)
    >>> found = squats(t, 0.7 + 0.2 * np.cos(np.pi * t))
    >>> found.repetitions, round(found.depth, 6)
    (3, 400.0)
    """
    times, curve = _curve(time, "height", height)
    below = np.nanmax(curve, initial=-np.inf) - curve
    # rounded, so that 0.7 s at 100 Hz are 70 frames and not 71
    frames = max(1.0, round(positive("apart", apart) / float(np.median(np.diff(times))), 6))
    (found, _) = find_peaks(below, height=positive("least", least), distance=frames)
    depths = below[found] * MM
    return Squats(times[found], depths, len(found), float(depths.mean()) if len(found) else math.nan)


# ------------------------------------------------------------------------------------------------------ jumps
class Flight(NamedTuple):
    """A time in the air.

    Attributes
    ----------
    takeoff, landing : s
    """

    takeoff: float
    landing: float


def longest_flight(time: ArrayLike, force: ArrayLike, *, threshold: float = 20.0) -> Flight:
    """The longest time between contacts: the ``force`` (N) under the feet is below ``threshold`` (N).

    NaN where the recording shows no flight from its take-off to its landing. Without a plate, any curve
    serves that is at or above the threshold in contact, such as minus the height of the lower toe.

    >>> longest_flight([0, 1, 2, 3], [800, 0, 0, 800], threshold=400.0)
    Flight(takeoff=0.5, landing=2.5)
    """
    times, curve = _curve(time, "force", force)
    takeoffs = _crossings(times, curve, threshold, rising=False)
    landings = np.append(_crossings(times, curve, threshold, rising=True), np.nan)
    landings = landings[np.searchsorted(landings[:-1], takeoffs, side="right")]
    lasting = landings - takeoffs
    if np.isnan(lasting).all():
        return Flight(math.nan, math.nan)
    longest = np.nanargmax(lasting)
    return Flight(float(takeoffs[longest]), float(landings[longest]))


@_card(
    "jump height·flight time",
    "mm",
    "Height of a jump from its time in the air, as if landing in the posture of take-off.",
    "Bosco, Luhtanen & Komi 1983, Eur J Appl Physiol",
    needs=("events",),
)
def jump_height_by_flight(takeoff: float, landing: float) -> float:
    """Jump height ``g t² / 8`` in mm, from the moments of ``takeoff`` and ``landing`` (s).

    NaN where landing is not after take-off. Bent knees at landing lengthen the flight and flatter the jump.

    >>> round(jump_height_by_flight(1.0, 1.5), 3)
    306.458
    """
    flight = float(landing) - float(takeoff)
    return GRAVITY * flight**2 / 8 * MM if flight > 0 else math.nan


@_card(
    "jump height·COM rise",
    "mm",
    "Rise of the centre of mass, or the pelvis, from take-off to its highest point in the air.",
    needs=("time", "events"),
)
def jump_height_by_rise(time: ArrayLike, height: ArrayLike, *, takeoff: float, landing: float) -> float:
    """Jump height in mm: the highest ``height`` (m) between ``takeoff`` and ``landing`` (s) over the first.

    Missing frames in the air are left out; NaN where none is there or the height at take-off is missing.

    >>> round(jump_height_by_rise([0, 1, 2], [1.0, 1.4, 1.0], takeoff=0, landing=2), 6)
    400.0
    """
    times, curve = _curve(time, "height", height)
    inside = curve[_within(times, curve, takeoff, landing)]
    ground = np.interp(takeoff, times, curve, left=np.nan, right=np.nan)
    return float(inside.max() - ground) * MM if len(inside) else math.nan


class DropJump(NamedTuple):
    """A drop jump: down from a box, contact, up, and down again.

    Attributes
    ----------
    landing, takeoff, second_landing : s
    contact_time, flight_time : s
    height : from the flight time, mm
    rsi : reactive strength index, height over contact time, m/s
    flight_ratio : flight time over contact time
    """

    landing: float
    takeoff: float
    second_landing: float
    contact_time: float
    flight_time: float
    height: float
    rsi: float
    flight_ratio: float


@_card(
    "drop-jump contact time",
    "s",
    "Time on the ground between the drop from the box and the jump.",
    "Young 1995, New Stud Athlet",
    needs=("time", "forces"),
    part="contact_time",
)
@_card(
    "RSI·height",
    "m/s",
    "Reactive strength index: jump height by flight time, over contact time.",
    "Young 1995, New Stud Athlet",
    needs=("time", "forces"),
    part="rsi",
)
@_card(
    "RSI·flight time",
    "1",
    "Reactive strength ratio: flight time over contact time.",
    "Healy, Kenny & Harrison 2018, Int J Sports Physiol Perform",
    needs=("time", "forces"),
    part="flight_ratio",
)
def drop_jump(time: ArrayLike, force: ArrayLike, *, threshold: float = 20.0) -> DropJump:
    """Contact, flight and reactive strength from the vertical ``force`` (N) on the plate below the box.

    The first moment at which the force comes to ``threshold`` (N), the first after it at which the force
    falls below, and the next at which it is back. What the recording does not show is NaN.

    >>> jump = drop_jump([0, 1, 2, 3, 4, 5], [0, 0, 900, 900, 0, 900], threshold=450.0)
    >>> jump.contact_time, jump.flight_time, jump.flight_ratio
    (2.0, 1.0, 0.5)
    """
    times, curve = _curve(time, "force", force)
    landings = _crossings(times, curve, threshold, rising=True)
    leaves = _crossings(times, curve, threshold, rising=False)
    landing = _first(landings)
    takeoff = _first(leaves[leaves >= landing])
    second = _first(landings[landings > takeoff])
    contact, flight = takeoff - landing, second - takeoff
    height = jump_height_by_flight(takeoff, second)
    per_contact = 1 / contact if contact > 0 else math.nan
    return DropJump(
        landing, takeoff, second, contact, flight, height, height / MM * per_contact, flight * per_contact
    )


def landing_window(
    time: ArrayLike, knee_flexion: ArrayLike, *, landing: float, takeoff: float
) -> tuple[float, float]:
    """The window of a landing (s): from contact to the deepest ``knee_flexion`` (rad) before ``takeoff``.

    Peak valgus is sought in it. NaN where no frame of the contact is there.

    >>> landing_window([0, 1, 2, 3, 4], [0.1, 0.3, 0.9, 0.5, 0.2], landing=0.5, takeoff=3.5)
    (0.5, 2.0)
    """
    times, curve = _curve(time, "knee_flexion", knee_flexion)
    (inside,) = np.nonzero(_within(times, curve, landing, takeoff))
    if not len(inside):
        return math.nan, math.nan
    return float(landing), float(times[inside[curve[inside].argmax()]])
