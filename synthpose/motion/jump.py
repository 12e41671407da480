"""Drop jumps: off a box, down, up again at once, and down to a stand; flights obey gravity.

The course of the mass centre comes first: at rest on the box, a ballistic fall, a landing that turns it
round, a ballistic jump, a landing and a rise. Postures follow its height; the solver keeps the soles on box
and floor and the mass centre on its course.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import BPoly
from scipy.ndimage import gaussian_filter1d

from capbench.biomech.kinematics import forward
from capbench.biomech.problem import BoolArray
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray
from synthpose.motion.contact import OUTWARD, SIDES
from synthpose.motion.curves import GRAVITY, Condition
from synthpose.motion.gait import turned_print
from synthpose.motion.plant import Pins, mass_centre
from synthpose.motion.stage import PATH, RATE, Contact, Performance, Stage, sampled
from synthpose.motion.tasks import SQUAT, Stand, bent, drawn_stand, own_posture, stand_still
from synthpose.motion.variability import chance, drawn, ease

PAD = 0.3  #: seconds made before and after what is kept
BOXES = (0.05, 0.60)  #: metres
#: seconds: quiet on the box, gathering before the drop, rising to a stand at the end, quiet at the end
QUIET, GATHER, RISE, END = 0.25, 0.45, 0.9, 0.3
SINK = 0.27  #: how far the mass centre goes down in a landing, as a share of the leg
TIPTOE = 0.09  #: how much higher than standing it is when the toes leave, as a share of the leg
GATHERED = 0.035  #: how much lower when dropping off the box, as a share of the leg
LAND = 0.02  #: how much lower than standing when the toes land (knees a little bent, toes pointed)
FLIGHT = {
    "hip_flexion": 12.0,
    "knee_angle": 14.0,
    "ankle_angle": -24.0,
    "arm_flex": 12.0,
    "elbow_flex": 25.0,
    "arm_add": -14.0,
}
COMES = 0.8  #: m/s at which a foot comes down on the floor
WHOLE = 0.15  #: share of the pins with which a sole is held as a whole, beside the points that carry
PUSH = {"ankle_angle": -26.0, "knee_angle": -4.0, "hip_flexion": -6.0}  #: when the toes leave


@dataclass(frozen=True)
class Course:
    """The mass centre of a drop jump over time.

    Attributes
    ----------
    time : (T,) s
    centre : (T, 2) metres forward and up, beside where it is when standing on the floor at x = 0
    leaves, lands, jumps, lands_again : s
    depth : (T,) how far below standing while on the ground, in full squats; flight : (T,) bool
    """

    time: FloatArray
    centre: FloatArray
    leaves: float
    lands: float
    jumps: float
    lands_again: float
    depth: FloatArray
    flight: BoolArray


def drop_jump(
    stage: Stage,
    condition: Condition,
    *,
    seed: int,
    rate: float = RATE,
    severity: float = 1.0,
    side: str = "r",
    box: float | None = None,
    height: float | None = None,
    variability: float = 1.0,
) -> Performance:
    """A drop off a ``box`` (m; default 0.30, less for short legs), and a jump of ``height`` (m) at once.

    Asymmetric ones land first and more on the other leg, the trunk turned.
    """
    leg = stage.leg
    drop = 0.30 * min(1.0, leg / 0.80) if box is None else box
    if not BOXES[0] <= drop <= BOXES[1]:
        raise CapbenchError(f"Expected a box between {BOXES[0]} and {BOXES[1]} m, got {drop:g} m.")
    rng = chance(seed, condition.name, "jump")
    jump = 0.27 * leg * (1.0 + variability * drawn(rng, 0.18)) if height is None else height
    if not 0.03 <= jump <= 0.8:
        raise CapbenchError(f"Expected a jump of 0.03 to 0.8 m, got {jump:g} m.")
    course = plan_course(leg, drop, jump, rng, variability)
    out = sampled(float(course.time[-1]) - PAD, rate)
    lopsided = condition.asymmetry * severity
    stand = drawn_stand(stage, rng, variability, wide=0.28)
    table = _postures(stage, course, rng, variability, lopsided, side)
    later = 0.035 * lopsided
    late = {s: later if s == side else 0.0 for s in SIDES}
    pins = _pins(stage, table, course, stand, drop, late)
    aside = -OUTWARD[side] * 0.05 * lopsided * leg * np.clip(course.depth, 0.0, 1.0)
    pins = _on_course(stage, table, pins, course, aside)
    table = stage.planted(table, pins, whole=True, brisk=2.0)
    _exact_flight(stage, table, pins, course)
    facts = {"box": drop, "height": jump, "leg": leg, "leaves": course.leaves, "lands": course.lands,
             "jumps": course.jumps, "lands_again": course.lands_again}  # fmt: skip
    return Performance(stage.motion(table, course.time, out), _contacts(course, late), facts)


def plan_course(leg: float, drop: float, jump: float, rng: np.random.Generator, variability: float) -> Course:
    """The mass centre's course; every piece begins as the one before it ends, speed and all."""
    gait = 0.95 + 0.05 * variability * drawn(rng, 1.0)
    t = [0.0, QUIET, QUIET + GATHER]
    x = [(-0.45 * leg, 0.0, 0.0), (-0.45 * leg, 0.0, 0.0)]
    y = [(drop, 0.0, 0.0), (drop, 0.0, 0.0)]
    # off the box: forward and hardly down
    ahead, down = 1.05 * gait * np.sqrt(leg / 0.9), -0.15
    x.append((-0.45 * leg + 0.22 * leg, ahead, 0.0))
    y.append((drop - GATHERED * leg, down, -GRAVITY))
    fall = _fall_time(y[-1][0] + LAND * leg, down)
    t.append(t[-1] + fall)
    x.append((x[-1][0] + ahead * fall, ahead, 0.0))
    y.append((-LAND * leg, down - GRAVITY * fall, -GRAVITY))
    speed = np.sqrt(2 * GRAVITY * jump)
    contact = np.pi * SINK * leg / (0.5 * (speed - y[-1][1])) * (1.0 + 0.08 * variability * drawn(rng, 1.0))
    t.append(t[-1] + contact)
    x.append((x[-1][0] + 0.42 * ahead * contact, 0.12, 0.0))
    y.append((TIPTOE * leg, speed, -GRAVITY))
    fall = _fall_time(y[-1][0] + LAND * leg, speed)
    t.append(t[-1] + fall)
    x.append((x[-1][0] + 0.12 * fall, 0.12, 0.0))
    y.append((-LAND * leg, speed - GRAVITY * fall, -GRAVITY))
    give = 2.2 * 0.8 * SINK * leg / abs(y[-1][1])
    t.append(t[-1] + give)
    x.append((x[-1][0] + 0.04 * give, 0.0, 0.0))
    y.append((-0.85 * SINK * leg, 0.0, 3.0))
    t.append(t[-1] + RISE)
    x.append((x[-1][0], 0.0, 0.0))
    y.append((0.0, 0.0, 0.0))
    total = t[-1] + END
    time = np.arange(-round(PAD * RATE), round((total + PAD) * RATE) + 1) / RATE
    at = np.clip(time, t[0], t[-1])
    centre = np.stack([BPoly.from_derivatives(t, np.array(v)[..., None])(at)[:, 0] for v in (x, y)], axis=-1)
    leaves, lands, jumps, again = t[2], t[3], t[4], t[5]
    flight = ((time > leaves) & (time < lands)) | ((time > jumps) & (time < again))
    ground = np.where(time <= leaves, drop, 0.0)
    depth = np.where(flight, 0.0, (ground - centre[:, 1]) / (SINK * leg))
    return Course(time, centre, leaves, lands, jumps, again, depth, flight)


def _fall_time(height: float, speed: float) -> float:
    """Seconds to come down by ``height`` m, starting at ``speed`` m/s upwards."""
    return float((speed + np.sqrt(speed**2 + 2 * GRAVITY * height)) / GRAVITY)


def _postures(
    stage: Stage, course: Course, rng: np.random.Generator, variability: float, lopsided: float, side: str
) -> dict[str, FloatArray]:
    table = stage.blank(len(course.time))
    stand_still(stage, table, rng, variability)
    deep = own_posture(
        {**SQUAT, "arm_flex": -35.0, "elbow_flex": 30.0, "arm_add": -8.0, "neck_extension": 20.0},
        rng,
        variability,
    )
    depth = gaussian_filter1d(np.clip(course.depth, 0.0, 1.3), 0.02 * RATE)
    bent(stage, table, deep, 0.85 * depth)
    air = gaussian_filter1d(course.flight.astype(float), 0.04 * RATE)
    bent(stage, table, own_posture(FLIGHT, rng, variability), air)
    raised = ease(course.time, course.jumps - 0.22, course.jumps) - ease(
        course.time, course.lands_again - 0.1, course.lands_again + 0.35
    )
    for start in (course.leaves, course.jumps):
        push = ease(course.time, start - 0.13, start + 0.01) - ease(course.time, start + 0.03, start + 0.2)
        bent(stage, table, PUSH, push * (1.0 if start == course.jumps else 0.5))
    bent(stage, table, {"arm_flex": 50.0, "elbow_flex": 25.0}, raised)
    if lopsided:
        turn = gaussian_filter1d(np.clip(course.depth, 0, 1), 0.05 * RATE) + 0.4 * air
        away = -OUTWARD[side]
        bent(
            stage,
            table,
            {
                "lumbar_rotation": 18.0 * away,
                "lumbar_bending": 5.0 * away,
                "pelvis_list": 3.0 * away,
                "pelvis_rotation": -6.0 * away,
            },
            lopsided * turn,
        )
        bent(stage, table, {f"knee_angle_{side}": -12.0, f"hip_flexion_{side}": -6.0}, lopsided * depth)
    return table


def _pitch(course: Course, late: float) -> FloatArray:
    """(T,) radians of a foot's pitch: flat on box and floor, on the toes when leaving and landing."""
    t = course.time
    toes = 0.35 * (
        ease(t, course.leaves - 0.20, course.leaves + 0.02)
        - ease(t, course.lands - 0.12, course.lands + 0.02)
    )
    toes += 0.32 * (
        ease(t, course.lands - 0.12, course.lands) - ease(t, course.lands + late, course.lands + late + 0.09)
    )
    toes += 0.95 * (
        ease(t, course.jumps - 0.18, course.jumps + 0.02)
        - ease(t, course.lands_again - 0.15, course.lands_again)
    )
    toes += 0.32 * (
        ease(t, course.lands_again - 0.15, course.lands_again)
        - ease(t, course.lands_again + late, course.lands_again + late + 0.09)
    )
    return -np.asarray(toes)


def _pins(
    stage: Stage,
    table: dict[str, FloatArray],
    course: Course,
    stand: Stand,
    drop: float,
    late: Mapping[str, float],
) -> Pins:
    """Soles on the box, on the floor where they land, and again."""
    sole, time = stage.sole, course.time
    frames, count = len(time), len(sole.names)
    x = course.centre[:, 0]
    between = 0.5 * (np.interp(course.lands, time, x) + np.interp(course.jumps, time, x))
    prints = (
        (-np.inf, course.leaves, float(x[0]), drop),
        (course.lands, course.jumps, float(between), 0.0),
        (course.lands_again, np.inf, float(x[-1]), 0.0),
    )
    places, shares = np.zeros((frames, count, 3)), np.zeros((frames, count, 3))
    for s in SIDES:
        points = sole.of(s)
        rolled, share = sole.rolled(s, _pitch(course, late[s]))
        share = np.maximum(share, WHOLE)
        local = turned_print(rolled, sole.flat[points][:, 2], s, -stand.toe_out[s])
        local += np.array([stand.ahead[s] - _balance(stage), 0.0, OUTWARD[s] * stand.width / 2])
        for start, end, ahead, high in prints:
            delay = late[s] if np.isfinite(start) else 0.0
            at = np.flatnonzero((time >= start + delay) & (time <= end))
            places[np.ix_(at, points)] = local[at] + np.array([ahead, high, 0.0])
            shares[np.ix_(at, points)] = share[at][..., None]
            near = (
                np.flatnonzero((time >= start - 0.03) & (time < start + delay))
                if np.isfinite(start)
                else at[:0]
            )
            # over its print and coming down, not on it yet
            down = (start + delay - time[near])[:, None, None] * np.array([0.0, COMES, 0.0])
            places[np.ix_(near, points)] = places[at[0], points] + down
            shares[np.ix_(near, points)] = share[at[0]][:, None] * np.array([0.05, 0.02, 0.05])
    floor = np.where(time <= course.leaves, drop, 0.0)[:, None] * np.ones(count)
    return Pins(sole.bodies, sole.locations, places, shares, floor)


def _on_course(
    stage: Stage, table: dict[str, FloatArray], pins: Pins, course: Course, aside: FloatArray
) -> Pins:
    """The pins with the mass centre on its course, and the template's pelvis put where that needs it.

    ``aside`` (T,) metres to the right. In flight the course holds exactly, on the ground the feet come first.
    """
    high = _stand_height(stage, table) + course.centre[:, 1]
    centre = np.stack([course.centre[:, 0], high, gaussian_filter1d(aside, 0.06 * RATE)], axis=-1)
    hold = np.where(course.flight[:, None], (1.0, 1.0, 0.05), (0.01, 0.2, 0.005))
    for name in PATH:
        table[name] = np.zeros(len(course.time))
    off = centre - _centre(stage, table)
    for k, name in enumerate(PATH):
        table[name] = gaussian_filter1d(off[:, k], 0.02 * RATE, mode="nearest")
    return replace(pins, centre=centre, centre_share=hold)


def _centre(stage: Stage, table: Mapping[str, FloatArray]) -> FloatArray:
    """(T, 3) metres of the mass centre in a table."""
    return mass_centre(stage.body, forward(stage.body.tree, stage.body_table(table)))


def _stand_height(stage: Stage, table: Mapping[str, FloatArray]) -> float:
    """Metres of the mass centre above the soles in the posture of the last frame."""
    last = {n: v[-1:] for n, v in table.items()}
    heights = stage.feet(forward(stage.legs.tree, stage.legs_table(last)))[0, :, 1]
    lowest = [heights[stage.sole.of(side)].min() for side in SIDES]
    return float(_centre(stage, last)[0, 1] - np.mean(lowest))


def _balance(stage: Stage) -> float:
    """Metres from the back of a print to under the mass centre of a standing body (45 % of the foot)."""
    return float(0.45 * np.ptp(stage.sole.flat[stage.sole.of("r")][:, 0]))


def _exact_flight(stage: Stage, table: dict[str, FloatArray], pins: Pins, course: Course) -> None:
    """Takes the last fraction of a millimetre out of the mass centre's flight."""
    if pins.centre is None:
        return
    off = pins.centre - _centre(stage, table)
    for k, name in enumerate(("pelvis_tx", "pelvis_ty")):
        table[name] = table[name] + np.where(course.flight, off[:, k], 0.0)


def _contacts(course: Course, late: Mapping[str, float]) -> tuple[Contact, ...]:
    found = []
    for side in SIDES:
        found.append(Contact(f"foot_{side}", -np.inf, course.leaves))
        found.append(Contact(f"foot_{side}", course.lands + late[side], course.jumps))
        found.append(Contact(f"foot_{side}", course.lands_again + late[side], np.inf))
    return tuple(sorted(found, key=lambda c: (c.start, c.end, c.what)))
