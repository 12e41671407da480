"""People that several tests look at, made once, and motions of theirs in closed form."""

import numpy as np

from cohorts.recording import Motion
from synthpose.body import Phenotype
from synthpose.person import Person, make_person

ADULT = Phenotype(stature=1.70, bmi=23)
CHILD = Phenotype(sex=0.2, age=7, stature=1.22, bmi=15.5)
HEAVY = Phenotype(sex=1, age=55, stature=1.60, bmi=36)
UNEVEN = Phenotype(sex=0, age=40, stature=1.80, bmi=26, leg_difference=0.03)
_MADE: dict[tuple[object, ...], Person] = {}


def person(phenotype: Phenotype) -> Person:
    """The person of a phenotype."""
    key = (phenotype.sex, phenotype.age, phenotype.stature, phenotype.bmi, phenotype.leg_difference)
    if key not in _MADE:
        _MADE[key] = make_person(phenotype)
    return _MADE[key]


def sweep(person: Person, *, frames: int = 12, reach: float = 0.35) -> Motion:
    """``frames`` at 100 Hz: coordinate k at ``bind + reach (sin(2π p t) + 1) / 2`` rad, p its pace in hertz.

    Metres swing by a tenth of that. Knees and elbows only bend from the bind pose on, so all stays in range.
    """
    time = np.arange(frames) / 100
    start = person.bind.values[0]
    pace = 2 * np.pi * (2 + np.arange(len(start)) % 7)
    size = np.array([reach if kind == "rotation" else reach / 10 for kind in person.bind.kinds])
    size[[k for k, name in enumerate(person.bind.names) if name.startswith(("mtp", "wrist", "subtalar"))]] = (
        0.2
    )
    values = start + 0.5 * size * (np.sin(np.outer(time, pace)) + 1)
    return Motion(time, person.bind.names, values, person.bind.kinds)


def held(person: Person, **degrees: float) -> Motion:
    """One frame: the bind pose but for some coordinates."""
    values = person.bind.values.copy()
    for name, angle in degrees.items():
        values[0, person.bind.names.index(name)] = np.radians(angle)
    return Motion(np.zeros(1), person.bind.names, values, person.bind.kinds)
