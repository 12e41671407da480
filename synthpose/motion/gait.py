"""Walking: normal curves at a speed, edited by an impairment, on footprints that do not slide.

Steps are planned first (when each foot lands and leaves, from cadence and foot-off, with variability from
stride to stride). The curves, run through at each side's own phase, give a template; each foot's print on
the floor is put where the template has the foot, on average over its stance, so that the walker gets on at
exactly the speed that was asked for. Then the template is bent until the prints hold (``plant``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from capbench.biomech.kinematics import forward
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray
from synthpose.motion.contact import OUTWARD, SIDES
from synthpose.motion.curves import (
    GRAVITY,
    POINTS,
    Condition,
    figures,
    foot_off,
    free_speed,
    normal,
    normal_cadence,
)
from synthpose.motion.plant import Pins
from synthpose.motion.stage import RATE, Contact, Performance, Stage, sampled
from synthpose.motion.variability import at_least, chance, drawn, through, wandering

PAD = 0.4  #: seconds made before and after what is kept
LEVEL = np.radians(5.0)  #: foot pitch that still counts as flat
CLEARANCE = 0.010  #: metres that every point of the sole keeps from the floor in mid-swing
TILT_ZERO = 11.5  #: degrees of anterior tilt in the norm's pelvic frame of a person who stands upright
SIGNED = ("pelvic_obliquity", "pelvic_rotation", "trunk_sway", "trunk_rotation")  #: mirrored between sides
MIDDLE = ("pelvic_tilt", "trunk_lean")  #: of the whole body: the mean of what the sides' cycles say
STRIDE_REACH = (0.5, 1.6)  #: how far the thigh's swing may be scaled to fit speed and cadence


@dataclass(frozen=True)
class Steps:
    """When the feet touch the floor.

    Attributes
    ----------
    time : (T,) seconds, from ``-PAD``
    strikes, offs : side -> seconds of landing and leaving, in pairs
    phase : side -> (T,) cycles since the side's first strike, foot-off where the norm has it
    """

    time: FloatArray
    strikes: Mapping[str, FloatArray]
    offs: Mapping[str, FloatArray]
    phase: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Walk:
    """What is asked of a walk: figures in m/s, seconds, metres; ``pace`` is the nondimensional speed."""

    condition: Condition
    severity: float
    affected: str
    speed: float
    pace: float
    stride_time: float
    width: float
    variability: float
    seed: int

    def role(self, side: str) -> str:
        """Whether a side is the affected one."""
        return "affected" if side == self.affected else "other"

    def factor(self, name: str) -> float:
        """A factor of the condition at this severity."""
        return 1.0 + self.severity * (float(getattr(self.condition, name)) - 1.0)


def walk(
    stage: Stage,
    condition: Condition,
    *,
    seed: int,
    rate: float = RATE,
    severity: float = 1.0,
    side: str = "r",
    duration: float = 3.0,
    speed: float | None = None,
    cadence: float | None = None,
    age: float | None = None,
    width: float | None = None,
    variability: float = 1.0,
) -> Performance:
    """Walking straight along +x for ``duration`` seconds.

    ``speed`` (m/s) and ``cadence`` (steps/min) default to what is comfortable for the leg's length and the
    ``age`` (years), changed as the condition changes them; ``width`` (m) between the heels. ``variability``
    scales every random difference, between people, trials and strides; 0 gives the plain curves.
    """
    out = sampled(duration, rate)
    plan = plan_walk(
        stage,
        condition,
        seed=seed,
        severity=severity,
        side=side,
        speed=speed,
        cadence=cadence,
        age=age,
        width=width,
        variability=variability,
    )
    steps = plan_steps(plan, duration)
    offsets = person_offsets(plan)
    table = _fitted_to_speed(stage, plan, steps, offsets)
    pins = footprints(stage, plan, steps, table, offsets)
    table = stage.planted(table, pins)
    motion = stage.motion(table, steps.time, out)
    facts = {
        "speed": plan.speed,
        "cadence": 120.0 / plan.stride_time,
        "leg": stage.leg,
        "pace": plan.pace,
        "width": plan.width,
    }
    return Performance(motion, _contacts(steps, out[-1]), facts)


def plan_walk(
    stage: Stage,
    condition: Condition,
    *,
    seed: int,
    severity: float = 1.0,
    side: str = "r",
    speed: float | None = None,
    cadence: float | None = None,
    age: float | None = None,
    width: float | None = None,
    variability: float = 1.0,
) -> Walk:
    """What a walk is to be: what was asked for, and what is comfortable where nothing was; see ``walk``."""
    plan = Walk(condition, severity, side, 1.0, 1.0, 1.0, 0.1, variability, seed)
    rng = chance(seed, condition.name, "pace")
    cycle, leg = figures()["cycle"], stage.leg
    own = 1.0 + variability * drawn(rng, cycle["free_sd"] / cycle["free"])
    natural = free_speed(leg, age=age) * own
    chosen = natural * plan.factor("speed") if speed is None else speed
    pace = chosen / np.sqrt(GRAVITY * leg)
    if not (np.isfinite(pace) and 0.05 <= pace <= 1.0):
        raise CapbenchError(
            f"Expected a walking speed between {0.05 * np.sqrt(GRAVITY * leg):.2f} and "
            f"{np.sqrt(GRAVITY * leg):.2f} m/s for a leg of {leg:.2f} m, got {chosen:g} m/s."
        )
    # an impairment slows by shorter steps more than by fewer, unless it says otherwise
    rhythm = normal_cadence(chosen, leg)
    if condition.cadence != 1.0:
        rhythm = normal_cadence(natural, leg) * plan.factor("cadence")
    rhythm *= 1.0 + variability * drawn(rng, 0.03)
    if cadence is not None:
        rhythm = cadence
    if not (np.isfinite(rhythm) and 20 <= rhythm <= 300):
        raise CapbenchError(f"Expected a cadence between 20 and 300 steps/min, got {rhythm:g}.")
    stout = 1.0 + 0.03 * max(0.0, stage.corpulence - 24.0)  # thighs that touch walk wider: estimate
    wide = cycle["width"] * leg / 0.90 * stout * plan.factor("width")
    wide *= 1.0 + variability * drawn(rng, 0.12)
    wide = wide if width is None else width
    return Walk(condition, severity, side, chosen, pace, 120.0 / rhythm, wide, variability, seed)


# --- when the feet land and leave ---------------------------------------------------------------


def plan_steps(plan: Walk, duration: float) -> Steps:
    """The steps of a walk: landings, leavings and each side's phase at every frame."""
    rng = chance(plan.seed, plan.condition.name, "steps")
    time = np.arange(-round(PAD * RATE), round((duration + PAD) * RATE) + 1) / RATE
    spread = figures()["strides"]
    cv = spread["time"] * plan.factor("time_cv") * plan.variability
    count = int(np.ceil((time[-1] - time[0]) / plan.stride_time * 1.3)) + 4
    times = plan.stride_time * (1.0 + wandering(rng, count, cv, spread["memory"]))
    first = time[0] - plan.stride_time * (1.2 + rng.uniform())
    strikes = {"r": first + np.concatenate([[0.0], np.cumsum(times)])}
    longer = {s: plan.severity * plan.condition.stance.get(plan.role(s), 0.0) / 100.0 for s in SIDES}
    normal_off = foot_off(plan.pace)
    stance = {s: float(np.clip(normal_off + longer[s], 0.52, 0.85)) for s in SIDES}
    # both double supports alike: the other foot lands later where this leg stands longer
    half = 0.5 + 0.5 * (stance["r"] - stance["l"])
    jitter = 0.3 * cv * np.clip(rng.standard_normal(count), -2, 2)
    strikes["l"] = strikes["r"][:-1] + (half + jitter) * times
    offs, phase = {}, {}
    for side in SIDES:
        length = np.diff(strikes[side])
        shares = stance[side] + 0.3 * cv * np.clip(rng.standard_normal(len(length)), -2, 2)
        offs[side] = strikes[side][:-1] + shares * length
        knots = np.sort(np.concatenate([strikes[side], offs[side]]))
        marks = np.arange(len(knots)) // 2 + (np.arange(len(knots)) % 2) * normal_off
        phase[side] = through(knots, marks, time)
    return Steps(time, strikes, offs, phase)


def _contacts(steps: Steps, end: float) -> tuple[Contact, ...]:
    found = []
    for side in SIDES:
        for start, stop in zip(steps.strikes[side][:-1], steps.offs[side], strict=True):
            if stop > 0 and start < end:
                begin = float(start) if start >= 0 else -np.inf
                found.append(Contact(f"foot_{side}", begin, float(stop) if stop <= end else np.inf))
    return tuple(sorted(found, key=lambda c: (c.start, c.end, c.what)))


# --- the template -------------------------------------------------------------------------------


def person_offsets(plan: Walk) -> dict[tuple[str, str], float]:
    """(curve, side) -> degrees by which this person's curve is off the norm's, in this trial."""
    rng = chance(plan.seed, plan.condition.name, "offsets")
    file = figures()["offsets"]
    found: dict[tuple[str, str], float] = {}
    for name, sd in sorted(file["both"].items()):
        value = drawn(rng, sd * plan.variability)
        for side in SIDES:
            found[name, side] = value * (OUTWARD[side] if name in SIGNED else 1.0)
    for name, sd in sorted(file["side"].items()):
        shared = drawn(rng, file["shared"].get(name, 0.0) * plan.variability)
        for side in SIDES:
            found[name, side] = shared + drawn(rng, sd * plan.variability)
    return found


def clinical(plan: Walk, steps: Steps, offsets: Mapping[tuple[str, str], float]) -> dict[str, FloatArray]:
    """``curve_side`` -> (T,) degrees in clinical signs, edited, varying and off the norm; one row a side."""
    file = figures()
    found: dict[str, FloatArray] = {}
    cycle = np.linspace(0, 1, POINTS)[:-1]
    for name in (*file["norms"], *file["extra"]):
        for side in SIDES:
            own = [e for e in plan.condition.edits if e.curve == name and e.side in ("both", plan.role(side))]
            phase = steps.phase[side]
            base = normal(name, phase, plan.pace)
            middle = float(normal(name, cycle, plan.pace).mean())
            level = np.zeros_like(base)
            for edit in own:
                share = plan.severity * edit.share(phase)
                base = base + share * (edit.scale - 1.0) * (base - edit.about)
                level = level + share * edit.add
            base = middle + (base - middle) * (1.0 + _amplitude(plan, name, side, phase))
            found[f"{name}_{side}"] = base + offsets.get((name, side), 0.0)
            found[f"{name}_{side}+"] = level
    return found


def _amplitude(plan: Walk, name: str, side: str, phase: FloatArray) -> FloatArray:
    """(T,) by how much a curve is larger than usual: one number a stride, run through smoothly."""
    spread = figures()["strides"]
    first, last = int(np.floor(phase.min())) - 1, int(np.ceil(phase.max())) + 1
    sd = spread["amplitude"] * plan.factor("amplitude") * plan.variability
    rng = chance(plan.seed, plan.condition.name, "amplitude", name, side)
    values = wandering(rng, last - first + 1, sd, spread["memory"])
    return through(np.arange(first, last + 1, dtype=float) + 0.3, values, phase)


def _both(curves: Mapping[str, FloatArray], name: str) -> FloatArray:
    """(T,) degrees of a curve of pelvis or trunk, as the right side sees it, from both sides' cycles."""
    sign = -1.0 if name in SIGNED else 1.0
    right, left = curves[f"{name}_r"], curves[f"{name}_l"]
    added = curves[f"{name}_r+"], curves[f"{name}_l+"]
    share = 1.0 if name in SIGNED else 0.5
    made: FloatArray = 0.5 * (right + sign * left) + share * (added[0] + sign * added[1])
    return made


def template(
    stage: Stage, plan: Walk, steps: Steps, offsets: Mapping[tuple[str, str], float], reach: float
) -> dict[str, FloatArray]:
    """Coordinate -> (T,) before the feet are planted; ``reach`` scales the thighs' swing."""
    curves = clinical(plan, steps, offsets)
    table = stage.blank(len(steps.time))
    rad = np.radians
    upright = {n: float(table[n][0]) for n in ("pelvis_tilt", "lumbar_extension")}
    tilt = upright["pelvis_tilt"] - rad(_both(curves, "pelvic_tilt") - TILT_ZERO)
    table["pelvis_tilt"] = tilt
    table["pelvis_list"] = -rad(_both(curves, "pelvic_obliquity"))
    table["pelvis_rotation"] = rad(_both(curves, "pelvic_rotation"))
    free = rad(_both(curves, "pelvic_tilt"))
    for side in SIDES:
        _leg(stage, plan, steps, curves, table, side, free, reach)
    _trunk(curves, table, upright)
    _path(stage, plan, steps, table)
    return table


def _leg(
    stage: Stage,
    plan: Walk,
    steps: Steps,
    curves: Mapping[str, FloatArray],
    table: dict[str, FloatArray],
    side: str,
    tilt: FloatArray,
    reach: float,
) -> None:
    def of(name: str) -> FloatArray:
        return np.radians(curves[f"{name}_{side}"] + curves[f"{name}_{side}+"])

    thigh = of("hip_flexion") - tilt  # forward of vertical, whatever frame the pelvis has
    # the mid-swing of the thigh, about which reach scales: where the foot is under the hip
    thigh = np.radians(5.0) + (thigh - np.radians(5.0)) * reach
    table[f"hip_flexion_{side}"] = thigh - table["pelvis_tilt"]
    table[f"hip_adduction_{side}"] = of("hip_adduction")
    table[f"hip_rotation_{side}"] = of("hip_rotation")
    table[f"knee_angle_{side}"] = at_least(of("knee_flexion"), np.radians(1.0))
    table[f"ankle_angle_{side}"] = of("ankle_dorsiflexion") + stage.flat_pitch[side]
    table[f"subtalar_angle_{side}"] = of("subtalar")


def _trunk(
    curves: Mapping[str, FloatArray], table: dict[str, FloatArray], upright: Mapping[str, float]
) -> None:
    """Trunk, head and arms: their curves are of the trunk in space, the coordinates of it on the pelvis."""
    rad = np.radians
    lean, sway, turn = (rad(_both(curves, f"trunk_{n}")) for n in ("lean", "sway", "rotation"))
    straight = upright["pelvis_tilt"] + upright["lumbar_extension"]
    table["lumbar_extension"] = straight - lean - table["pelvis_tilt"]
    table["lumbar_bending"] = sway - table["pelvis_list"]
    table["lumbar_rotation"] = turn - table["pelvis_rotation"]
    if "neck_extension" in table:
        table["neck_extension"] = table["neck_extension"] + 0.75 * (lean - rad(4.0))
        table["neck_bending"] = -0.75 * sway
        table["neck_rotation"] = -0.9 * turn
    for side in SIDES:
        swing, elbow = (rad(curves[f"{n}_{side}"] + curves[f"{n}_{side}+"]) for n in ("arm_swing", "elbow"))
        table[f"arm_flex_{side}"] = swing + 0.8 * (lean - rad(4.0))
        table[f"elbow_flex_{side}"] = np.maximum(elbow, rad(3.0))


def _path(stage: Stage, plan: Walk, steps: Steps, table: dict[str, FloatArray]) -> None:
    """The pelvis' way: on at the speed, from side to side over the standing foot."""
    table["pelvis_tx"] = plan.speed * steps.time
    sway = (0.018 * stage.leg / 0.9 + 0.20 * max(0.0, plan.width - 0.12 * stage.leg / 0.9)) * plan.factor(
        "sway"
    )
    beat = [np.cos(2 * np.pi * (steps.phase[side] - 0.31)) for side in SIDES]
    table["pelvis_tz"] = sway * 0.5 * (beat[0] - beat[1])


def _fitted_to_speed(
    stage: Stage, plan: Walk, steps: Steps, offsets: Mapping[tuple[str, str], float]
) -> dict[str, FloatArray]:
    """The template whose standing feet go back, under the pelvis, as fast as the walker goes on."""
    reach = 1.0
    for _ in range(3):
        table = template(stage, plan, steps, offsets, reach)
        feet = stage.feet(forward(stage.legs.tree, stage.legs_table(table)))
        slope, weight = 0.0, 0.0
        for side in SIDES:
            points = stage.sole.of(side)
            heel = feet[:, points[0], 0] - table["pelvis_tx"]
            ankle = 0.5 * (heel + feet[:, points[2], 0] - table["pelvis_tx"])
            phase = steps.phase[side] % 1.0
            standing = (phase > 0.08) & (phase < 0.5 * foot_off(plan.pace) + 0.15)
            slope -= float(np.gradient(ankle, 1 / RATE)[standing].sum())
            weight += float(standing.sum())
        told = slope / weight
        better = float(np.clip(reach * plan.speed / max(told, 1e-3), *STRIDE_REACH))
        if abs(better - reach) < 0.01:
            break
        reach = better
    _aim(stage, plan, steps, table, offsets)
    carried = _standing(stage, steps)
    stage.rest_on_floor(table, carried)
    return table


def progression(plan: Walk, side: str, offsets: Mapping[tuple[str, str], float]) -> float:
    """Radians of in-toeing of a side's prints: the norm's in stance, the person's own, the condition's."""
    standing = normal("foot_progression", np.linspace(0.1, 0.5, 41), plan.pace).mean()
    added = sum(
        plan.severity * e.add
        for e in plan.condition.edits
        if e.curve == "foot_progression" and e.side in ("both", plan.role(side))
    )
    return float(np.radians(standing + added + offsets.get(("foot_progression", side), 0.0)))


def _aim(
    stage: Stage,
    plan: Walk,
    steps: Steps,
    table: dict[str, FloatArray],
    offsets: Mapping[tuple[str, str], float],
) -> None:
    """Turns each hip by what its standing foot would otherwise point aside of its print, up to 12 degrees."""
    frames = forward(stage.legs.tree, stage.legs_table(table))
    for side in SIDES:
        _, yaw = stage.pitch_yaw(frames, side)
        phase = steps.phase[side] % 1.0
        off = progression(plan, side, offsets) - yaw[(phase > 0.1) & (phase < 0.45)].mean()
        table[f"hip_rotation_{side}"] = table[f"hip_rotation_{side}"] + np.clip(off, -0.21, 0.21)


def _standing(stage: Stage, steps: Steps) -> FloatArray:
    """(T, P) whether each point of the soles is one of a foot that stands."""
    carried = np.zeros((len(steps.time), len(stage.sole.names)), bool)
    for side in SIDES:
        for start, end in zip(steps.strikes[side][:-1], steps.offs[side], strict=True):
            frames = np.flatnonzero((steps.time >= start) & (steps.time <= end))
            carried[np.ix_(frames, stage.sole.of(side))] = True
    return carried


# --- the prints on the floor --------------------------------------------------------------------


def level_off(pitch: FloatArray) -> FloatArray:
    """A foot's pitch with what counts as flat made flat."""
    return np.asarray(np.sign(pitch) * np.maximum(np.abs(pitch) - LEVEL, 0.0))


def footprints(
    stage: Stage,
    plan: Walk,
    steps: Steps,
    table: Mapping[str, FloatArray],
    offsets: Mapping[tuple[str, str], float],
) -> Pins:
    """Where the soles are held: each stance rolls over a print that stays where it is."""
    rng = chance(plan.seed, plan.condition.name, "prints")
    frames = forward(stage.legs.tree, stage.legs_table(table))
    feet = stage.feet(frames)
    places, shares = np.zeros_like(feet), np.zeros_like(feet)
    floor = np.zeros(feet.shape[:2])
    step_sd = figures()["strides"]["step"] * plan.factor("step_cv") * plan.variability
    for side in SIDES:
        pitch, _ = stage.pitch_yaw(frames, side)
        points = stage.sole.of(side)
        outward = stage.sole.flat[points][:, 2]
        yaw = progression(plan, side, offsets)
        floor[:, points] = _clearance(steps, side)[:, None]
        for start, end in zip(steps.strikes[side][:-1], steps.offs[side], strict=True):
            at = np.flatnonzero((steps.time >= start) & (steps.time <= end))
            turn = yaw + np.radians(1.0) * plan.variability * drawn(rng, 1.0)
            aside = OUTWARD[side] * plan.width / 2 + 0.006 * plan.variability * drawn(rng, 1.0)
            ahead = 0.5 * plan.speed * plan.stride_time * drawn(rng, step_sd)
            if len(at) == 0:
                continue
            rolled, share = stage.sole.rolled(side, level_off(pitch[at]))
            local = turned_print(rolled, outward, side, turn)
            part = share * ((steps.time[at] - start) / (end - start) < 0.75)[:, None]
            if part.sum() < 1e-6:
                part = share
            gap = feet[np.ix_(at, points)][..., 0] - local[..., 0]
            local[..., 0] += (gap * part).sum() / part.sum() + ahead
            local[..., 2] += aside
            places[np.ix_(at, points)] = local
            shares[np.ix_(at, points)] = share[..., None]
    return Pins(stage.sole.bodies, stage.sole.locations, places, shares, floor)


def turned_print(rolled: FloatArray, outward: FloatArray, side: str, turn: float) -> FloatArray:
    """(T, P, 3) metres of a rolling foot's points about its heel, turned inwards by ``turn`` radians."""
    c, s = np.cos(turn), np.sin(turn) * OUTWARD[side]
    along = rolled[..., 0]
    across = np.broadcast_to(OUTWARD[side] * outward, along.shape)
    return np.stack([c * along + s * across, rolled[..., 1], c * across - s * along], axis=-1)


def _clearance(steps: Steps, side: str) -> FloatArray:
    """(T,) metres that a foot's points keep from the floor: 0 in stance, most in mid-swing."""
    found = np.zeros(len(steps.time))
    for end, start in zip(steps.offs[side][:-1], steps.strikes[side][1:-1], strict=True):
        part = (steps.time - end) / (start - end)
        inside = (part > 0) & (part < 1)
        found[inside] = CLEARANCE * np.sin(np.pi * np.clip((part[inside] - 0.15) / 0.75, 0, 1)) ** 2
    return found
