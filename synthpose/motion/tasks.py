"""Squats, and rising from a chair: postures taken one after the other on feet that stay where they are.

Postures are sums of what a joint does at full depth (``curves.yaml`` names the measured ranges they lie in),
led through by minimum-jerk courses. The solver then keeps both soles flat and the seat bones on the seat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from capbench.biomech.kinematics import forward
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray
from synthpose.motion.contact import OUTWARD, SIDES
from synthpose.motion.curves import Condition, figures
from synthpose.motion.gait import turned_print
from synthpose.motion.plant import Pins, world
from synthpose.motion.stage import PATH, RATE, Contact, Performance, Stage, sampled
from synthpose.motion.variability import chance, drawn, ease

PAD = 0.3  #: seconds made before and after what is kept
REPETITIONS = (1, 50)
SEATS = (0.35, 0.75)  #: height of a seat as a share of the leg, least and most


@dataclass(frozen=True)
class Stand:
    """How somebody stands: metres between the heels, radians of toeing out of each foot, metres ahead."""

    width: float
    toe_out: Mapping[str, float]
    ahead: Mapping[str, float]


def drawn_stand(stage: Stage, rng: np.random.Generator, variability: float, *, wide: float) -> Stand:
    """A stance ``wide`` legs wide, give or take."""
    width = wide * stage.leg * (1.0 + variability * drawn(rng, 0.10))
    out = np.radians(9.0 + variability * drawn(rng, 5.0))
    return Stand(
        width,
        {side: float(out + np.radians(variability * drawn(rng, 2.5))) for side in SIDES},
        {side: 0.012 * variability * drawn(rng, 1.0) for side in SIDES},
    )


def flat_feet(stage: Stage, stand: Stand, frames: int) -> Pins:
    """Both soles flat on the floor, heels at x = 0, in every frame."""
    sole = stage.sole
    places, shares = np.zeros((frames, len(sole.names), 3)), np.zeros((frames, len(sole.names), 3))
    for side in SIDES:
        points = sole.of(side)
        rolled, share = sole.rolled(side, np.zeros(1))
        local = turned_print(rolled, sole.flat[points][:, 2], side, -stand.toe_out[side])[0]
        places[:, points] = local + np.array([stand.ahead[side], 0.0, OUTWARD[side] * stand.width / 2])
        shares[:, points] = share[0][:, None]
    return Pins(sole.bodies, sole.locations, places, shares, np.zeros(places.shape[:2]))


def over_feet(stage: Stage, table: dict[str, FloatArray], pins: Pins) -> None:
    """Puts the pelvis where, on average, the template's feet come to stand on their prints."""
    for name in PATH:
        table[name] = np.zeros_like(table[name])
    feet = stage.feet(forward(stage.legs.tree, stage.legs_table(table)))
    count = feet.shape[1]
    gap = ((pins.places[:, :count] - feet) * pins.shares[:, :count]).sum(axis=1)
    gap = gap / np.maximum(pins.shares[:, :count].sum(axis=1), 1e-9)
    for k, name in enumerate(PATH):
        table[name] = gaussian_filter1d(gap[:, k], 0.05 * RATE, mode="nearest")


def bent(
    stage: Stage,
    table: dict[str, FloatArray],
    posture: Mapping[str, float],
    course: Mapping[str, FloatArray] | FloatArray,
) -> None:
    """Adds a posture (coordinate without side -> degrees) times its course (T,) to the table.

    Trunk and legs only change by what is added; a name with a side acts on that side alone.
    """
    for name, degrees in posture.items():
        share = course[name] if isinstance(course, Mapping) else course
        names = [name] if name in table else [f"{name}_{side}" for side in SIDES]
        for full in names:
            if full in table:
                table[full] = table[full] + np.radians(degrees) * share


def own_posture(
    posture: Mapping[str, float], rng: np.random.Generator, variability: float
) -> dict[str, float]:
    """A person's way of taking a posture: each angle 8 % and 2 degrees off."""
    return {
        n: a * (1 + variability * drawn(rng, 0.08)) + variability * drawn(rng, 2.0)
        for n, a in posture.items()
    }


def _times(repetitions: int, rng: np.random.Generator, length: float, variability: float) -> FloatArray:
    if not REPETITIONS[0] <= repetitions <= REPETITIONS[1]:
        raise CapbenchError(f"Expected 1 to {REPETITIONS[1]} repetitions, got {repetitions}.")
    return length * np.array([1.0 + variability * drawn(rng, 0.06) for _ in range(repetitions)])


# --- squats -------------------------------------------------------------------------------------

#: degrees at the bottom, beside standing: labvalidation, squats (thigh 65 forward, shank 33)
SQUAT = {
    "pelvis_tilt": -31.0, "hip_flexion": 96.0, "hip_adduction": -9.0, "hip_rotation": 4.0, "knee_angle": 98.0,
    "ankle_angle": 33.0, "subtalar_angle": -3.0, "lumbar_extension": -18.0, "neck_extension": 26.0,
    "arm_flex": 122.0, "arm_add": 4.0, "elbow_flex": 6.0,
}  # fmt: skip


def squat(
    stage: Stage,
    condition: Condition,
    *,
    seed: int,
    rate: float = RATE,
    severity: float = 1.0,
    side: str = "r",
    repetitions: int = 3,
    depth: float = 1.0,
    variability: float = 1.0,
) -> Performance:
    """Squats one after the other, ``depth`` of 1 to about 95 degrees of knee flexion.

    Asymmetric ones shift the weight off the affected leg, which stands a little ahead.
    """
    if not 0.2 <= depth <= 1.25:
        raise CapbenchError(f"Expected a depth between 0.2 and 1.25 of a full squat, got {depth:g}.")
    rng = chance(seed, condition.name, "squat")
    lengths = _times(repetitions, rng, 2.9, variability)
    out = sampled(float(lengths.sum()) + 0.6, rate)
    time = np.arange(-round(PAD * RATE), round((out[-1] + PAD) * RATE) + 1) / RATE
    down = np.zeros(len(time))
    start = 0.4
    for length in lengths:
        deep = 1.0 + variability * drawn(rng, 0.05)
        down += deep * (
            ease(time, start, start + 0.42 * length)
            - ease(time, start + 0.46 * length, start + 0.88 * length)
        )
        start += length
    stand = drawn_stand(stage, rng, variability, wide=0.36)
    table = stage.blank(len(time))
    stand_still(stage, table, rng, variability)
    bent(stage, table, own_posture(SQUAT, rng, variability), depth * down)
    lopsided = condition.asymmetry * severity
    if lopsided:
        away = -OUTWARD[side]  # towards the other leg
        stand = Stand(
            stand.width, stand.toe_out, {**stand.ahead, side: stand.ahead[side] + 0.06 * lopsided * stage.leg}
        )
        bent(
            stage,
            table,
            {"pelvis_list": 4.0 * away, "lumbar_bending": 5.0 * away, "pelvis_rotation": -5.0 * away},
            lopsided * down,
        )
        bent(stage, table, {f"knee_angle_{side}": -10.0, f"hip_flexion_{side}": -6.0}, lopsided * down)
    pins = flat_feet(stage, stand, len(time))
    over_feet(stage, table, pins)
    if lopsided:
        table["pelvis_tz"] = table["pelvis_tz"] - OUTWARD[side] * 0.055 * lopsided * stage.leg * (
            0.3 + 0.7 * down
        )
    table = stage.planted(table, pins)
    contacts = tuple(Contact(f"foot_{s}", -np.inf, np.inf) for s in SIDES)
    facts = {"repetitions": float(repetitions), "width": stand.width, "leg": stage.leg}
    return Performance(stage.motion(table, time, out), contacts, facts)


def stand_still(
    stage: Stage, table: dict[str, FloatArray], rng: np.random.Generator, variability: float
) -> None:
    """How this person stands: the norm's spread of pelvis and hips, a hint of bend in the knees, and sway."""
    spread = figures()["offsets"]["both"]
    tilt = variability * drawn(rng, spread["pelvic_tilt"])
    bent(stage, table, {
        "pelvis_tilt": tilt, "hip_flexion": 4.0 - tilt, "lumbar_extension": -0.6 * tilt,
        "knee_angle": 5.0, "ankle_angle": 1.0, "hip_adduction": -5.0,
        "pelvis_list": variability * drawn(rng, 1.2),
        "pelvis_rotation": variability * drawn(rng, 2.0),
        "arm_flex": 2.0 + variability * drawn(rng, 3.0),
    }, np.ones(len(table["pelvis_tilt"])))  # fmt: skip
    for side in SIDES:
        table[f"ankle_angle_{side}"] = table[f"ankle_angle_{side}"] + stage.flat_pitch[side]


# --- sit to stand -------------------------------------------------------------------------------

#: degrees when seated, beside standing; and leaning ready to rise: labvalidation, sit-to-stand
SEATED = {
    "pelvis_tilt": 12.0, "hip_flexion": 70.0, "hip_adduction": -3.0, "knee_angle": 88.0, "ankle_angle": 7.0,
    "lumbar_extension": -8.0, "neck_extension": -2.0, "arm_flex": 14.0, "elbow_flex": 22.0,
}  # fmt: skip
LEANING = {
    "pelvis_tilt": -22.0, "hip_flexion": 102.0, "hip_adduction": -4.0, "knee_angle": 92.0,
    "ankle_angle": 20.0,
    "lumbar_extension": -20.0, "neck_extension": 22.0, "arm_flex": 42.0, "elbow_flex": 24.0,
}  # fmt: skip
WEAKER = {
    "pelvis_tilt": -12.0,
    "hip_flexion": 12.0,
    "lumbar_extension": -18.0,
    "neck_extension": 10.0,
    "arm_flex": 16.0,
}


def sit_to_stand(
    stage: Stage,
    condition: Condition,
    *,
    seed: int,
    rate: float = RATE,
    severity: float = 1.0,
    side: str = "r",
    repetitions: int = 3,
    seat: float | None = None,
    variability: float = 1.0,
) -> Performance:
    """Rising from a chair and sitting down again; begins and ends seated.

    ``seat`` is the height of the chair's seat in metres (default: half the leg). Weak legs lean further
    forward before they rise, and take longer.
    """
    high = 0.50 * stage.leg if seat is None else seat
    if not SEATS[0] * stage.leg <= high <= SEATS[1] * stage.leg:
        raise CapbenchError(
            f"Expected a seat between {SEATS[0] * stage.leg:.2f} and {SEATS[1] * stage.leg:.2f} m high for a "
            f"leg of {stage.leg:.2f} m, got {high:g} m."
        )
    rng = chance(seed, condition.name, "sit")
    weak = condition.weak * severity
    lengths = _times(repetitions, rng, 3.9 * (1.0 + 0.4 * weak), variability)
    out = sampled(float(lengths.sum()) + 0.5, rate)
    time = np.arange(-round(PAD * RATE), round((out[-1] + PAD) * RATE) + 1) / RATE
    up, lean, rises = np.zeros(len(time)), np.zeros(len(time)), []
    start = 0.3
    for length in lengths:
        off, on = start + (0.20 + 0.06 * weak) * length, start + 0.80 * length
        risen, sinks = off + (0.25 + 0.05 * weak) * length, on - 0.28 * length
        up += ease(time, off - 0.02 * length, risen) - ease(time, sinks, on)
        lean += ease(time, start, off + 0.03 * length) - ease(time, risen - 0.1 * length, risen)
        lean += ease(time, sinks, sinks + 0.2 * length) - ease(time, on - 0.02 * length, on + 0.16 * length)
        rises.append((off, on))
        start += length
    lean, up = np.clip(lean, 0, 1), np.clip(up, 0, 1)
    stand = drawn_stand(stage, rng, variability, wide=0.26)
    table = stage.blank(len(time))
    stand_still(stage, table, rng, variability)
    leaning = {n: a + weak * WEAKER.get(n, 0.0) for n, a in LEANING.items()}
    bent(stage, table, own_posture(SEATED, rng, variability), (1 - up) * (1 - lean))
    bent(stage, table, own_posture(leaning, rng, variability), (1 - up) * lean)
    if weak:  # weak legs do not share alike
        away = -OUTWARD[side]
        bent(stage, table, {"pelvis_list": 2.0 * away, "lumbar_bending": 4.0 * away}, weak * lean)
    pins = flat_feet(stage, stand, len(time))
    over_feet(stage, table, pins)
    pins = _seated(stage, table, pins, time, rises, high)
    table = stage.planted(table, pins)
    contacts = _sits(rises, out[-1])
    facts = {
        "repetitions": float(repetitions),
        "seat": high,
        "seat_x": float(pins.places[0, -1, 0]),
        "leg": stage.leg,
    }
    return Performance(stage.motion(table, time, out), contacts, facts)


def _seated(
    stage: Stage,
    table: Mapping[str, FloatArray],
    pins: Pins,
    time: FloatArray,
    rises: list[tuple[float, float]],
    high: float,
) -> Pins:
    """The pins with the seat bones held on the seat while seated, and nowhere below it."""
    sole = stage.sole
    sitting = np.ones(len(time), bool)
    for off, on in rises:
        sitting &= (time < off) | (time > on)
    frames = forward(stage.legs.tree, stage.legs_table(table))
    bones = world(stage.legs, frames, ("pelvis", "pelvis"), sole.seat)
    back = bones[sitting][:, :, 0].mean()
    places = np.zeros((len(time), 2, 3))
    places[..., 0], places[..., 1] = back, high
    places[..., 2] = sole.seat[:, 2] + table["pelvis_tz"][sitting].mean()
    shares = np.zeros_like(places)
    shares[sitting] = (1.0, 1.0, 0.2)
    return Pins(
        (*pins.bodies, "pelvis", "pelvis"),
        np.concatenate([pins.locations, sole.seat]),
        np.concatenate([pins.places, places], axis=1),
        np.concatenate([pins.shares, shares], axis=1),
        np.concatenate([pins.floor, np.full((len(time), 2), high)], axis=1),
    )


def _sits(rises: list[tuple[float, float]], end: float) -> tuple[Contact, ...]:
    found = [Contact(f"foot_{s}", -np.inf, np.inf) for s in SIDES]
    edges = [-np.inf, *[t for pair in rises for t in pair], np.inf]
    found += [Contact("seat", edges[k], edges[k + 1]) for k in range(0, len(edges), 2) if edges[k] < end]
    return tuple(sorted(found, key=lambda c: (c.start, c.end, c.what)))
