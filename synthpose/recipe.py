"""What a synthetic cohort is made of: its card's ``recipe``, and the people and trials that it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from zlib import crc32

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from cohorts.card import Card
from cohorts.errors import CapbenchError
from cohorts.strict import Strict, Texts, wrong
from synthpose.motion import CONDITIONS
from synthpose.people import GROUPS
from synthpose.rig import AZIMUTHS
from synthpose.style import DEFAULT, STYLES

LARGEST_SEED = 2**63 - 1
AIDS = ("cane", "walker", "bars")


def _range(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value, value)


Range = Annotated[tuple[float, float], BeforeValidator(_range)]


class Doing(Strict):
    """Something that every person does."""

    condition: str = Field(description="Of synthpose.motion.CONDITIONS.")
    repeats: int = Field(default=1, ge=1, le=20, description="How many trials of it each person makes.")
    severity: Range = Field(
        default=(1.0, 1.0), description="0 to 1, or a range to draw from, a trial at a time."
    )
    seconds: float | None = Field(default=None, gt=0.5, le=60, description="How long, for walking.")
    repetitions: int | None = Field(default=None, ge=1, le=20, description="How often, for squats and rises.")

    @field_validator("condition")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in CONDITIONS:
            wrong(f"Expected one of the conditions {', '.join(CONDITIONS)}, got {value!r}.")
        return value

    @field_validator("severity")
    @classmethod
    def _share(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1] <= 1:
            wrong(f"Expected a severity, or a range of them, from 0 to 1, got {list(value)}.")
        return value

    @property
    def options(self) -> dict[str, Any]:
        """What the activity is to be told."""
        given = {"duration": self.seconds, "repetitions": self.repetitions}
        return {name: value for name, value in given.items() if value is not None}


class Recipe(Strict):
    """How a synthetic cohort is made."""

    seed: int | None = Field(
        default=None, ge=0, le=LARGEST_SEED, description="Of every random choice; none: it is a secret."
    )
    people: Mapping[str, Annotated[int, Field(ge=0, le=1000)]] = Field(
        description="Group of people (child, teen, adult, elder) -> how many."
    )
    trials: Annotated[tuple[Doing, ...], Field(strict=False)] = Field(description="What each person does.")
    cameras: Texts = Field(default=("Cam1", "Cam3"), description="Phones of synthpose.rig.AZIMUTHS.")
    size: Annotated[tuple[int, int], Field(strict=False)] = Field(
        default=(720, 1280), description="Width and height of the videos, 9 : 16."
    )
    rate: float = Field(default=60.0, gt=0, le=240, description="Frames per second of the videos.")
    offset: float = Field(
        default=0.0, ge=0, le=0.5, description="Seconds that two cameras' clocks may be apart."
    )
    blur: bool = Field(
        default=False, description="Motion blur by several moments a frame; costs their number."
    )
    others: float = Field(default=0.0, ge=0, le=1, description="Share of trials with a second person behind.")
    aids: float = Field(
        default=0.0, ge=0, le=1, description="Share of walks with a cane, a walker or between bars."
    )
    static: float = Field(default=1.0, gt=0, le=10, description="Seconds of each person's standing trial.")
    style: str = Field(
        default=DEFAULT, description="Of synthpose.style.STYLES: how pictures look; changes nothing else."
    )

    @field_validator("people")
    @classmethod
    def _groups(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        for name in value:
            if name not in GROUPS:
                wrong(f"Expected groups among {', '.join(GROUPS)}, got {name!r}.")
        if not sum(value.values()):
            wrong("Expected at least one person, got none.")
        return value

    @field_validator("style")
    @classmethod
    def _drawn(cls, value: str) -> str:
        if value not in STYLES:
            wrong(f"Expected one of the styles {', '.join(STYLES)}, got {value!r}.")
        return value

    @field_validator("cameras")
    @classmethod
    def _phones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in AZIMUTHS:
                wrong(f"Expected phones among {', '.join(AZIMUTHS)}, got {name!r}.")
        return value


def recipe_of(card: Card, *, seed: int | None = None) -> Recipe:
    """The recipe of a card, its seed replaced by ``seed`` where that is given."""
    if card.recipe is None:
        raise CapbenchError(
            f"Expected a card with a recipe, got that of {card.name}: its people are not made here.",
            fix=card.licence.obtain,
        )
    try:
        recipe = Recipe.model_validate(dict(card.recipe))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("recipe", *first["loc"])))
        raise CapbenchError(f"Expected a recipe that can be made: {first['msg']}", place=where) from None
    if seed is not None:
        recipe = recipe.model_copy(update={"seed": seed})
    if recipe.seed is None:
        raise CapbenchError(
            f"Expected a seed for {card.name}: its recipe keeps it a secret.", fix="give --seed NUMBER"
        )
    return recipe


@dataclass(frozen=True)
class TrialPlan:
    """One trial of one person; ``doing`` is None for the standing one, ``aid`` one of ``AIDS`` or empty."""

    name: str
    doing: Doing | None
    severity: float
    side: str
    seed: int
    other: bool
    aid: str = ""

    @property
    def activity(self) -> str:
        """What the trial counts as."""
        return "static" if self.doing is None else CONDITIONS[self.doing.condition].activity


@dataclass(frozen=True)
class PersonPlan:
    """One person and what they do."""

    name: str
    group: str
    seed: int
    trials: tuple[TrialPlan, ...]


def chance(seed: int, *words: object) -> np.random.Generator:
    """A generator of its own for every thing that is named."""
    return np.random.default_rng(np.random.SeedSequence([seed, *(crc32(str(w).encode()) for w in words)]))


def plan(recipe: Recipe) -> tuple[PersonPlan, ...]:
    """Who does what: follows from the recipe alone, and each person's part from nobody else's."""
    assert recipe.seed is not None
    people = []
    for group, count in sorted(recipe.people.items()):
        for k in range(count):
            name = f"{group}{k + 1:02d}"
            seed = int(chance(recipe.seed, name).integers(2**31))
            people.append(PersonPlan(name, group, seed, _trials(recipe, seed)))
    return tuple(people)


def _aid(recipe: Recipe, doing: Doing, random: np.random.Generator) -> str:
    walks = CONDITIONS[doing.condition].activity == "walking"
    return str(random.choice(AIDS)) if walks and random.random() < recipe.aids else ""


def _trials(recipe: Recipe, person: int) -> tuple[TrialPlan, ...]:
    made = [TrialPlan("static1", None, 0.0, "r", person, False)]
    for doing in recipe.trials:
        for k in range(1, doing.repeats + 1):
            name = f"{doing.condition}{k}"
            random = chance(person, name)
            made.append(
                TrialPlan(
                    name,
                    doing,
                    float(random.uniform(*doing.severity)),
                    str(random.choice(["r", "l"])),
                    int(random.integers(2**31)),
                    bool(random.random() < recipe.others),
                    _aid(recipe, doing, chance(person, name, "aid")),
                )
            )
    return tuple(made)
