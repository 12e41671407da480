"""What training pictures are made of: the ``data`` of a training recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator

from capbench.models.card import Geometry
from cohorts.strict import Strict, Texts, wrong
from synthpose.motion import CONDITIONS
from synthpose.people import GROUPS
from synthpose.recipe import LARGEST_SEED

Share = Annotated[float, Field(ge=0, le=1)]


class DataRecipe(Strict):
    """Synthetic training pictures: crops of one person each, with the 52 points of ``synthpose-52``."""

    seed: int = Field(ge=0, le=LARGEST_SEED, description="Of every random choice.")
    size: Annotated[tuple[int, int], Field(strict=False)] = Field(
        default=(96, 128), description="Width and height of the crops, pixels."
    )
    padding: float = Field(default=1.25, ge=1, le=3, description="By which a person's box is made larger.")
    geometry: Geometry = Field(default="msra", description="Of the crop, as the model's card will say.")
    held_out_conditions: Texts = Field(
        default=(), description="Of synthpose.motion.CONDITIONS: never trained on."
    )
    people: Mapping[str, Annotated[float, Field(ge=0, le=1000)]] = Field(
        default={"child": 0.2, "teen": 0.15, "adult": 0.4, "elder": 0.25},
        description="Group of people -> how often, in proportion.",
    )
    shots_per_person: int = Field(default=128, ge=1, le=1000, description="Pictures in a row of one person.")
    motions_per_person: int = Field(default=6, ge=1, le=50, description="Motions that these are taken from.")
    variants: int = Field(default=6, ge=1, le=100, description="Motions of each condition in all.")
    perturbed: Share = Field(default=0.6, description="Share of postures moved away from the motion's.")
    free_arms: Share = Field(default=0.25, description="Share of arms that are held anyhow.")
    front: Share = Field(default=0.4, description="Share of cameras before the person, others all round.")
    others: Share = Field(default=0.2, description="Share of pictures with a second person.")
    aids: Share = Field(
        default=0.2, description="Share of walks with a walker or bars; of people with a cane."
    )
    things: Share = Field(default=0.25, description="Share of pictures with things before the person.")
    smooth: Share = Field(
        default=0.4,
        description="Share of pictures that average over each pixel; the others look at its middle, as "
        "cutting a crop from a larger picture does.",
    )
    loose: Share = Field(default=0.12, description="Share of boxes that are far off.")
    whole: Share = Field(default=0.05, description="Share of crops that show a whole picture.")

    @field_validator("size")
    @classmethod
    def _sides(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(16 <= side <= 1024 for side in value):
            wrong(f"Expected crops of 16 to 1024 pixels a side, got {list(value)}.")
        return value

    @field_validator("held_out_conditions")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in CONDITIONS:
                wrong(f"Expected conditions among {', '.join(CONDITIONS)}, got {name!r}.")
        if len(set(value)) == len(CONDITIONS):
            wrong("Expected at least one condition to train on, got all of them held out.")
        return value

    @field_validator("people")
    @classmethod
    def _groups(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for name in value:
            if name not in GROUPS:
                wrong(f"Expected groups among {', '.join(GROUPS)}, got {name!r}.")
        if not sum(value.values()) > 0:
            wrong("Expected at least one group of people, got none.")
        return value

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is trained on."""
        return tuple(name for name in CONDITIONS if name not in self.held_out_conditions)

    @property
    def digest(self) -> str:
        """SHA-256 of all that it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
