"""Postures for training pictures: moments of motions, moved away from them for breadth.

Motions are made once, by a few performers, and carried over to other people by their joint angles: in a
single picture nobody sees that a foot was planted for a leg of another length, and the points are true for
whatever the angles are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capbench.biomech.model import Model
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.values import FloatArray
from synthpose.data_recipe import DataRecipe
from synthpose.motion import CONDITIONS, perform, sole_points
from synthpose.people import GROUPS, draw_phenotype
from synthpose.person import Person, make_person
from synthpose.recipe import chance

#: seeds of all that is made for training are at least this: those of cohorts' people, trials and rooms are
#: below 2^31, and numpy's seed sequences take a seed's 32-bit words, so no stream of numbers is shared
OWN_SEEDS = 2**32
RATE = 20.0  #: moments a second that are kept of a motion
DRAWS = 5  #: tries to draw a build
STANDING = "standing"  #: a posture of its own beside the conditions: how everybody stands to be scaled
STANDING_SHARE = 0.06
SLOWEST, MILDEST = 3.0, 0.3  #: seconds of walking; severity of the mildest impairment
HIGH = 0.06  #: metres above the lowest place of a motion from which feet count as off the floor
#: coordinate -> radians, standard deviation of what is added to it
SPREAD: Mapping[str, float] = {
    "pelvis_tilt": 0.15, "pelvis_list": 0.08, "hip_flexion": 0.30, "hip_adduction": 0.12,
    "hip_rotation": 0.16, "knee_angle": 0.35, "ankle_angle": 0.18, "subtalar_angle": 0.14, "mtp_angle": 0.12,
    "lumbar_extension": 0.16, "lumbar_bending": 0.12, "lumbar_rotation": 0.16, "neck_extension": 0.25,
    "neck_bending": 0.15, "neck_rotation": 0.40, "arm_flex": 0.40, "arm_add": 0.25, "arm_rot": 0.35,
    "elbow_flex": 0.45, "pro_sup": 0.40, "wrist_flex": 0.30, "wrist_dev": 0.15,
}  # fmt: skip
#: coordinate of an arm held anyhow -> radians from, to
ARM: Mapping[str, tuple[float, float]] = {
    "arm_flex": (-0.7, 2.8), "arm_add": (-1.5, 0.1), "arm_rot": (-0.9, 0.9), "elbow_flex": (0.0, 2.4),
    "pro_sup": (0.1, 2.0), "wrist_flex": (-0.6, 0.6),
}  # fmt: skip
#: what a shoulder can do; the model lets it turn anywhere
SHOULDER: Mapping[str, tuple[float, float]] = {
    "arm_flex": (-1.0, 3.0), "arm_add": (-2.0, 0.25), "arm_rot": (-1.3, 1.3)
}  # fmt: skip


def own_seed(random: np.random.Generator) -> int:
    """A seed that no cohort has."""
    return OWN_SEEDS + int(random.integers(2**62))


def make_anybody(seed: int, group: str) -> Person:
    """Somebody of a group; one whose build the mesh does not reach (one in some hundreds) is drawn again."""
    for k in range(DRAWS):
        try:
            return make_person(draw_phenotype(seed, group=group, word="" if not k else str(k)))
        except CapbenchError:
            if k == DRAWS - 1:
                raise
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Moments:
    """A motion at a few moments.

    Attributes
    ----------
    condition : of the motion, or ``STANDING``
    names, values : coordinates and (T, N) radians; the pelvis' place is left at 0
    lift : (T,) metres by which both feet are off the floor
    seat, box : heights, and places (T,) behind the pelvis' middle, metres; NaN where there is none
    leg : metres from the performer's hip to the floor
    """

    condition: str
    names: tuple[str, ...]
    values: FloatArray
    lift: FloatArray
    seat: tuple[float, FloatArray]
    box: tuple[float, FloatArray]
    leg: float

    @property
    def walks(self) -> bool:
        """Whether somebody walks."""
        return self.condition != STANDING and CONDITIONS[self.condition].activity == "walking"


def hip_height(person: Person) -> float:
    """Metres from the hips to the ground of a bound person."""
    marks = person.landmarks(person.bind)
    at = [marks.names.index(n) for n in ("right_hip", "left_hip")]
    return float(marks.xyz[0, at, 1].mean())


@dataclass
class Library:
    """All motions of a recipe, each made when it is first asked for."""

    data: DataRecipe

    def __post_init__(self) -> None:
        self._made: dict[tuple[str, int], Moments] = {}
        self._performers: dict[int, Person] = {}

    @cached_property
    def names(self) -> tuple[tuple[str, int], ...]:
        """Every motion: its condition and variant."""
        return tuple((c, k) for c in (*self.data.conditions, STANDING) for k in range(self.data.variants))

    def drawn(self, random: np.random.Generator) -> tuple[Moments, ...]:
        """Some motions of different conditions, for one person."""
        count = min(self.data.motions_per_person, len(self.data.conditions))
        chosen = random.choice(len(self.data.conditions), count, replace=False)
        variants = random.integers(self.data.variants, size=count + 1).tolist()
        found = [self.motion(self.data.conditions[c], v) for c, v in zip(chosen, variants[:-1], strict=True)]
        return (self.motion(STANDING, variants[-1]), *found)

    def motion(self, condition: str, variant: int) -> Moments:
        """One motion."""
        key = (condition, variant)
        if key not in self._made:
            self._made[key] = self._perform(condition, variant)
        return self._made[key]

    def _performer(self, number: int) -> Person:
        if number not in self._performers:
            random = chance(self.data.seed, "performer", number)
            group = tuple(GROUPS)[number % len(GROUPS)]
            self._performers[number] = make_anybody(own_seed(random), group)
        return self._performers[number]

    def _perform(self, condition: str, variant: int) -> Moments:
        random = chance(self.data.seed, "motion", condition, variant)
        person = self._performer(int(random.integers(2 * len(GROUPS))))
        name = "squat" if condition == STANDING else condition
        activity = CONDITIONS[name].activity
        how: dict[str, float | int] = {}
        if activity == "walking":
            how = {"duration": SLOWEST}
        elif activity != "drop jump":
            how = {"repetitions": 1}
        done = perform(
            name,
            person.model,
            seed=own_seed(random),
            rate=RATE,
            severity=float(random.uniform(MILDEST, 1.0)),
            side=str(random.choice(["r", "l"])),
            sole=sole_points(person),
            **how,
        )
        motion = done.motion
        if condition == STANDING:
            motion = motion[: int(0.3 * RATE)]
        return _moments(condition, person, motion, done.facts)


def _moments(condition: str, person: Person, motion: Motion, facts: Mapping[str, float]) -> Moments:
    marks = person.landmarks(motion)
    feet = [marks.names.index(n) for n in ("r_calc", "l_calc", "r_toe", "l_toe", "r_5meta", "l_5meta")]
    low = marks.xyz[:, feet, 1].min(axis=1)
    lift = low - low.min()
    lift = np.where((lift > HIGH) & ("box" in facts), lift, 0.0)
    forward = motion.column("pelvis_tx")
    values = motion.values.copy()
    for axis in "xyz":
        values[:, motion.names.index(f"pelvis_t{axis}")] = 0.0
    seat, box = facts.get("seat", np.nan), facts.get("box", np.nan)
    return Moments(
        condition,
        motion.names,
        values,
        lift,
        (float(seat), facts.get("seat_x", 0.0) + 0.02 - forward),
        (float(box), forward[0] - forward),
        hip_height(person),
    )


# --- moved away -----------------------------------------------------------------------------------


def varied(
    values_n: FloatArray, names: Sequence[str], model: Model, data: DataRecipe, random: np.random.Generator
) -> FloatArray:
    """(N,) a posture moved away from the one given, within every joint's range."""
    values = values_n.copy()
    if random.random() < data.perturbed:
        strong = random.uniform(0.2, 1.0)
        values += strong * random.normal(size=len(names)) * [SPREAD.get(_plain(n), 0.0) for n in names]
    elif random.random() < 0.5:  # at least where they look
        for name in ("neck_rotation", "neck_extension"):
            values[names.index(name)] += random.normal(0.0, 0.5 * SPREAD[name])
    for side in "rl":
        if random.random() < data.free_arms:
            for name, (low, high) in ARM.items():
                values[names.index(f"{name}_{side}")] = random.uniform(low, high)
    ranges = [SHOULDER.get(_plain(c.name), c.range) for c in model.coordinates]
    low, high = np.array(ranges).T
    return np.asarray(np.clip(values, low, high))


def _plain(name: str) -> str:
    return name[:-2] if name.endswith(("_r", "_l")) else name
