from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest

from synthpose.body import Phenotype
from synthpose.motion.contact import sole_points
from synthpose.motion.stage import Stage, make_stage
from synthpose.person import Person, make_person

SHAPES = {
    "adult": Phenotype(sex=1.0, age=30, stature=1.68),
    "child": Phenotype(age=8, stature=1.28, bmi=16.0),
    "obese": Phenotype(sex=0.0, age=50, stature=1.75, bmi=36.0),
}


@dataclass(frozen=True)
class Cast:
    """A person and the stage that they move on."""

    person: Person
    stage: Stage


@cache
def cast(name: str) -> Cast:
    person = make_person(SHAPES[name], name=name)
    return Cast(person, make_stage(person.model, sole_points(person)))


@pytest.fixture(scope="session")
def adult() -> Cast:
    return cast("adult")


@pytest.fixture(scope="session", params=list(SHAPES))
def anybody(request: pytest.FixtureRequest) -> Cast:
    return cast(request.param)


@pytest.fixture(scope="session")
def child() -> Cast:
    return cast("child")
