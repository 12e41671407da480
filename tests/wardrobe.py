"""People for tests of clothes: four of very different build, made once, and poses for them."""

from __future__ import annotations

from functools import cache

import numpy as np

from cohorts.recording import Motion
from synthpose.body import Phenotype
from synthpose.person import Person, make_person

BUILDS = {
    "adult": Phenotype(sex=0.0, stature=1.80, bmi=23.0),
    "child": Phenotype(age=5.0, stature=1.10, bmi=15.5),
    "obese": Phenotype(sex=1.0, stature=1.62, bmi=36.0),
    "elder": Phenotype(sex=1.0, age=82.0, stature=1.55, bmi=25.0),
}
SQUAT = {
    "pelvis_tilt": -25, "hip_flexion_r": 100, "hip_flexion_l": 100, "knee_angle_r": 110, "knee_angle_l": 110,
    "ankle_angle_r": 30, "ankle_angle_l": 30, "lumbar_extension": -20, "arm_flex_r": 80, "arm_flex_l": 80,
}  # fmt: skip
STAND = {"arm_add_r": -8, "arm_add_l": -8}


@cache
def body(build: str) -> Person:
    return make_person(BUILDS[build])


def pose(person: Person, degrees: dict[str, float]) -> Motion:
    """One frame: the neutral pose where the person was bound, with some coordinates (degrees) set."""
    values = np.zeros(len(person.bind.names))
    for k, name in enumerate(person.bind.names):
        if name.startswith("pelvis_t") and name[-2:] in ("tx", "ty", "tz"):
            values[k] = person.bind.values[0, k]
        values[k] = np.radians(degrees[name]) if name in degrees else values[k]
    return Motion(person.bind.time, person.bind.names, values[None])
