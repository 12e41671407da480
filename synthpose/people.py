"""Who comes to the clinic: phenotypes drawn from published distributions of stature and build.

Children and adolescents: medians of stature and of body-mass index by age and sex of the CDC's growth charts
(Kuczmarski et al. 2002, Vital Health Stat 11(246)), rounded to 1 cm and 0.5 kg/m²; standard deviations of
4.3 % and 9 to 17 % are round figures for theirs. Adults: stature of ANSUR II (Gordon et al. 2014,
NATICK/TR-15/007: men 1.756 ± 0.069 m, women 1.628 ± 0.064 m), less what age takes (Sorkin et al. 1999, Am J
Epidemiol 150:969: 3 cm in men and 5 cm in women at 70, 5 and 8 cm at 80; beyond 80 we go on alike). Their
body-mass index has a median of 26 kg/m², between the world's mean of 24 (NCD-RisC 2016, Lancet 387:1377) and
that of the United States of 29 to 30 (Fryar et al. 2021, Vital Health Stat 3(46)), and a spread of 17 % as in
the latter. A clinic's sample needs breadth, not a nation's means.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from cohorts.errors import unknown_name
from synthpose.body import Phenotype

#: group -> years
GROUPS: Mapping[str, tuple[float, float]] = {
    "child": (5.0, 12.0), "teen": (13.0, 17.0), "adult": (18.0, 64.0), "elder": (65.0, 88.0),
}  # fmt: skip
#: years, then boys' and girls' stature in metres
GROWTH = np.array([
    (4, 1.02, 1.01), (5, 1.09, 1.08), (6, 1.16, 1.15), (7, 1.22, 1.22), (8, 1.28, 1.28), (9, 1.34, 1.33),
    (10, 1.39, 1.38), (11, 1.44, 1.44), (12, 1.49, 1.52), (13, 1.56, 1.57), (14, 1.64, 1.60),
    (15, 1.70, 1.62), (16, 1.74, 1.625), (17, 1.75, 1.63),
])  # fmt: skip
#: years, then boys' and girls' kg/m², then the standard deviation of its logarithm
BUILD = np.array([
    (4, 15.5, 15.5, 0.09), (6, 15.5, 15.0, 0.10), (8, 16.0, 16.0, 0.12), (10, 16.5, 17.0, 0.14),
    (12, 18.0, 18.0, 0.15), (14, 19.0, 19.5, 0.16), (16, 20.5, 20.5, 0.16), (18, 22.0, 21.5, 0.17),
    (25, 25.0, 24.0, 0.17), (40, 26.5, 26.0, 0.17), (70, 26.5, 26.5, 0.16), (90, 24.5, 24.5, 0.15),
])  # fmt: skip
ADULT = ((1.756, 0.069), (1.628, 0.064))  #: metres, men and women: mean and standard deviation
SHRINKING = np.array([(30, 0.0, 0.0), (70, 0.03, 0.05), (80, 0.05, 0.08), (90, 0.07, 0.11)])  #: metres
CHILD_SPREAD = 0.043
FARTHEST = 2.2  #: standard deviations at which drawn figures end
RARE = 0.10  #: share of people with legs of unlike length, and of those with knock-knees or bowed legs
LEG_DIFFERENCE = 0.012  #: metres, standard deviation among the former; at most 0.03
VALGUS = 0.5  #: at most, either way


def draw_phenotype(seed: int, *, group: str = "adult", sex: str | None = None, word: str = "") -> Phenotype:
    """Somebody of a group ("child", "teen", "adult", "elder"), "female" or "male" (None: either).

    The same seed and word give the same person; ``word`` tells people of one seed apart, as a pseudonym does.
    """
    if group not in GROUPS:
        raise unknown_name("group of people", group, GROUPS)
    if sex not in (None, "female", "male"):
        raise unknown_name("sex", str(sex), ("female", "male"))
    seeds = [seed, crc32(b"phenotype"), crc32(group.encode()), crc32(word.encode())]
    random = np.random.default_rng(np.random.SeedSequence(seeds))
    girl = bool(random.random() < 0.5) if sex is None else sex == "female"
    age = float(random.uniform(*GROUPS[group]))
    tall, heavy = np.clip(random.normal(size=2), -FARTHEST, FARTHEST)
    middle, spread = _bmi(age, girl)
    lean = {"child": (0.4, 0.6), "teen": (0.4, 0.7), "adult": (0.3, 0.8), "elder": (0.25, 0.5)}[group]
    rare = random.random(2) < RARE
    legs = float(np.clip(random.normal(0, LEG_DIFFERENCE), -0.03, 0.03))
    bent = float(random.uniform(-VALGUS, VALGUS))
    return Phenotype(
        sex=float(random.uniform(0.85, 1.0) if girl else random.uniform(0.0, 0.15)),
        age=round(age, 1),
        stature=round(_stature(age, girl, float(tall)), 3),
        bmi=round(float(np.clip(middle * np.exp(spread * heavy), *_reach(age))), 1),
        muscle=float(random.uniform(*lean)),
        proportions=float(random.uniform(0.3, 0.7)),
        ancestry=_shares(random),
        leg_difference=round(legs, 4) if rare[0] else 0.0,
        valgus=bent if rare[1] else 0.0,
    )


def _shares(random: np.random.Generator) -> tuple[float, float, float]:
    """Three shares of one, every mixture as likely as any other."""
    first, second, third = random.dirichlet((1.0, 1.0, 1.0)).tolist()
    return first, second, third


def _stature(age: float, girl: bool, tall: float) -> float:
    """Metres at ``tall`` standard deviations; between 17 and 20 years growth ends."""
    mean, spread = ADULT[girl]
    adult = mean + spread * tall - float(np.interp(age, SHRINKING[:, 0], SHRINKING[:, 1 + girl]))
    young = float(np.interp(age, GROWTH[:, 0], GROWTH[:, 1 + girl])) * (1 + CHILD_SPREAD * tall)
    grown = float(np.clip((age - 17) / 3, 0, 1))
    return grown * adult + (1 - grown) * young


def _bmi(age: float, girl: bool) -> tuple[float, float]:
    """Median kg/m² and the standard deviation of its logarithm."""
    years = BUILD[:, 0]
    return float(np.interp(age, years, BUILD[:, 1 + girl])), float(np.interp(age, years, BUILD[:, 3]))


def _reach(age: float) -> tuple[float, float]:
    """kg/m² that the body's mesh can show at every stature, sex and muscle of that age."""
    ages = (5.0, 10.0, 14.0, 18.0, 90.0)
    low, high = (13.0, 13.5, 14.5, 16.5, 17.0), (21.0, 27.0, 33.0, 42.0, 42.0)
    return float(np.interp(age, ages, low)), float(np.interp(age, ages, high))
