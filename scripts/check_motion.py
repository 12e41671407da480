#!/usr/bin/env python3
"""Prints what the synthetic motions are beside what is published of walking: speed, steps, angles, feet.

    scripts/check_motion.py                     every condition of an adult, three seeds each
    scripts/check_motion.py --child             an eight-year-old
    scripts/check_motion.py --only gait,crouch

Angles are read as a gait report has them (see ``synthpose/motion/gait.py`` for the pelvic frame). "rms" is
the root mean square distance of the nine curves from the normal ones at that walk's own speed, over curves
and sides, in degrees: like the gait profile score, against the norm of ``curves.yaml``. "in 1 SD" is the
share of the cycle in which hip, knee, ankle and pelvis are within one standard deviation of it.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from capbench.biomech.kinematics import forward
from cohorts.values import FloatArray
from metrics.profiles import gvs
from synthpose.body import Phenotype
from synthpose.motion import CONDITIONS, Performance, perform, sole_points
from synthpose.motion.contact import SIDES
from synthpose.motion.curves import normal, normal_sd
from synthpose.motion.gait import TILT_ZERO
from synthpose.motion.stage import Stage, make_stage
from synthpose.person import Person, make_person

CYCLE = np.linspace(0, 1, 51)
CORE = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_flexion", "ankle_dorsiflexion",
        "pelvic_tilt", "pelvic_obliquity", "pelvic_rotation")  # fmt: skip
PUBLISHED = """published (adults unless said):
  free speed 1.28 m/s, cadence 121/min, step 0.65 m, width 0.12 m, foot-off 58 % (gaitutils)
  range of motion, free speed, children (Schwartz 2008): hip 42.5, knee 55.1, ankle 31.6, tilt 2.0,
    obliquity 8.2, rotation 8.8
  early Parkinson's disease: cadence 102 against 114/min (Pistacchi 2017); stiff knee: swing peak below 44.3
  LabValidation subject 4, 1st to 99th percentile: squats hip -13..104, knee 1..103, ankle 5..35, tilt -33..8
    sit-to-stand hip -8..105, knee 3..100, ankle 0..35, tilt -29..29
    drop jump hip 11..97, knee 0..115, ankle -45..39"""

HEAD = (
    "condition       m/s  steps/  step   hip  knee  swing peak  ankle  tilt obliq  rotn   rms  in 1  slide"
    "  sink  mesh\n"
    "                       min     m   ROM   ROM  right/left    ROM   ROM   ROM   ROM     °  SD %     mm"
    "    mm    mm"
)


def clinical(
    stage: Stage, table: dict[str, FloatArray], side: str, at: FloatArray, time: FloatArray
) -> dict[str, FloatArray]:
    """The nine curves of a side at times ``at``, degrees, in clinical signs."""
    sign = 1.0 if side == "r" else -1.0
    deg = {n: np.degrees(np.interp(at, time, v)) for n, v in table.items()}
    tilt = TILT_ZERO + np.degrees(stage.sole.upright.get("pelvis_tilt", 0.0)) - deg["pelvis_tilt"]
    frames = forward(stage.legs.tree, stage.legs_table(table))
    _, yaw = stage.pitch_yaw(frames, side)
    return {
        "pelvic_tilt": tilt,
        "pelvic_obliquity": -sign * deg["pelvis_list"],
        "pelvic_rotation": sign * deg["pelvis_rotation"],
        "hip_flexion": deg[f"hip_flexion_{side}"] + deg["pelvis_tilt"] + tilt,
        "hip_adduction": deg[f"hip_adduction_{side}"],
        "hip_rotation": deg[f"hip_rotation_{side}"],
        "knee_flexion": deg[f"knee_angle_{side}"],
        "ankle_dorsiflexion": deg[f"ankle_angle_{side}"] - np.degrees(stage.flat_pitch[side]),
        "foot_progression": np.degrees(np.interp(at, time, yaw)),
    }


def cycles(stage: Stage, done: Performance, side: str) -> list[dict[str, FloatArray]]:
    """The curves of every whole stride of a side."""
    table = {n: done.motion.column(n) for n in done.motion.names}
    strikes = done.strikes(side)
    pairs = pairwise(strikes)
    return [clinical(stage, table, side, a + CYCLE * (b - a), done.motion.time) for a, b in pairs]


def feet(stage: Stage, done: Performance) -> tuple[float, float]:
    """Worst slide of a point that is on the floor, and deepest sinking of a point of the soles, mm."""
    motion = done.motion
    at = stage.feet(forward(stage.legs.tree, stage.legs_table({n: motion.column(n) for n in motion.names})))
    ground = np.zeros(len(motion))
    if "box" in done.facts:
        ground[motion.time <= done.facts["leaves"]] = done.facts["box"]
    height = at[..., 1] - ground[:, None]
    slide = 0.0
    for contact in done.contacts:
        if contact.what == "seat":
            continue
        during = (motion.time >= contact.start) & (motion.time <= contact.end)
        for p in stage.sole.of(contact.what[-1]):
            on = during & (height[:, p] < 0.001)
            if on.any():
                where = at[on, p][:, [0, 2]]
                slide = max(slide, float(np.hypot(*(where - np.median(where, axis=0)).T).max()))
    return 1e3 * slide, 1e3 * max(0.0, -float(height.min()))


def mesh_low(person: Person, done: Performance) -> float:
    """Deepest sinking of the skin, mm (floor at 0; the box does not count)."""
    return 1e3 * max(0.0, -min(float(v[..., 1].min()) for v in person.posed(done.motion[::4])))


def walking(person: Person, stage: Stage, name: str, seeds: range, variability: float) -> str:
    """One row of the table of gaits."""
    speed, cadence, step, rms, inside, slide, sink, mesh = ([] for _ in range(8))
    curves: dict[str, list[dict[str, FloatArray]]] = {side: [] for side in SIDES}
    for seed in seeds:
        done = perform(name, person.model, seed=seed, sole=stage.sole, duration=5.0, variability=variability)
        for side in SIDES:
            curves[side] += cycles(stage, done, side)
            strikes = done.strikes(side)
            speed.append(done.motion.column("pelvis_tx")[-1] / done.motion.time[-1])
            cadence.append(120.0 * (len(strikes) - 1) / (strikes[-1] - strikes[0]))
        step.append(60 * np.mean(speed[-2:]) / np.mean(cadence[-2:]))
        a, b = feet(stage, done)
        slide.append(a)
        sink.append(b)
        mesh.append(mesh_low(person, done))
        pace = float(done.facts["pace"])
    ranges = {}
    for side in SIDES:
        mean = {n: np.mean([c[n] for c in curves[side]], axis=0) for n in curves[side][0]}
        ranges[side] = {n: float(np.ptp(v)) for n, v in mean.items()}
        ranges[side]["peak"] = float(mean["knee_flexion"][25:].max())
        for n, v in mean.items():
            norm = normal(n, CYCLE, pace)
            rms.append(float(gvs(np.radians(v), np.radians(norm))))
            if n in CORE:
                inside.append(float((np.abs(v - norm) <= normal_sd(n, pace)).mean()))
    r = ranges["r"]
    figures = [
        f"{name:14s} {np.mean(speed):5.2f} {np.mean(cadence):6.1f} {np.mean(step):5.2f}",
        f"{r['hip_flexion']:5.1f} {r['knee_flexion']:5.1f} {r['peak']:5.1f}/{ranges['l']['peak']:4.1f}",
        f"{r['ankle_dorsiflexion']:5.1f} {r['pelvic_tilt']:5.1f} {r['pelvic_obliquity']:5.1f}",
        f"{r['pelvic_rotation']:5.1f} {np.sqrt(np.mean(np.square(rms))):5.1f} {100 * np.mean(inside):5.0f}",
        f"{max(slide):6.1f} {max(sink):5.1f} {max(mesh):5.1f}",
    ]
    return " ".join(figures)


def task(person: Person, stage: Stage, name: str, seeds: range) -> str:
    """One row of the table of tasks."""
    rows, slide, sink, mesh = [], [], [], []
    for seed in seeds:
        done = perform(name, person.model, seed=seed, sole=stage.sole)
        rows.append(done.motion.values)
        a, b = feet(stage, done)
        slide.append(a)
        sink.append(b)
        mesh.append(mesh_low(person, done))
    names = done.motion.names
    values = np.degrees(np.concatenate(rows))

    def span(n: str) -> str:
        low, high = np.percentile(values[:, names.index(n)], [1, 99])
        return f"{low:4.0f}..{high:3.0f}"

    spans = " ".join(
        span(n) for n in ("pelvis_tilt", "hip_flexion_r", "knee_angle_r", "ankle_angle_r", "lumbar_extension")
    )
    length = np.mean([len(r) for r in rows]) / 100.0
    return f"{name:14s} {length:5.1f} s  {spans}  {max(slide):6.1f} {max(sink):5.1f} {max(mesh):5.1f}"


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--child", action="store_true", help="an eight-year-old instead of an adult")
    parser.add_argument("--only", default="", help="conditions, separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    phenotype = Phenotype(age=8, stature=1.28, bmi=16.0) if given.child else Phenotype(sex=1.0, stature=1.68)
    person = make_person(phenotype)
    stage = make_stage(person.model, sole_points(person))
    wanted = given.only.split(",") if given.only else list(CONDITIONS)
    print(f"leg {stage.leg:.3f} m")
    print(HEAD)
    if "gait" in wanted:
        print(walking(person, stage, "gait", range(1), 0.0) + "  (no variability)")
    for name in wanted:
        if CONDITIONS[name].activity == "walking":
            print(walking(person, stage, name, range(given.seeds), 1.0))
    print("\ncondition      length     tilt  hip flexion   knee     ankle    lumbar    slide  sink  mesh")
    for name in wanted:
        if CONDITIONS[name].activity != "walking":
            print(task(person, stage, name, range(given.seeds)))
    print("\n" + PUBLISHED)


if __name__ == "__main__":
    main()
