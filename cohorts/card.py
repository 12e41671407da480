"""The cohort card: who was recorded, how, what is known of the truth, and on what terms.

A card says everything a reader of a score must know of the people behind it. It is YAML, strict (an unknown
key is an error that names the nearest known one) and exported as a JSON Schema. Built-in cards are
``cohorts/*.yaml``; an imported or made cohort keeps its own as ``cohort.yaml`` beside its trials
(:mod:`cohorts.store`).

Angles are in degrees here and translations (``*_tx``, ``*_ty``, ``*_tz``) in millimetres, as in tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cohorts.bounded import write_text
from cohorts.errors import unknown_name
from cohorts.strict import Strict, Texts, parse_strict, read_strict, to_yaml, wrong

FOLDER = Path(__file__).parent
FILE_NAME = "cohort.yaml"  #: the card of a cohort that lies in a folder
SPLITS = ("development", "test", "hidden")
Axis = Literal["+x", "-x", "+y", "-y", "+z", "-z"]
PerCoordinate = Mapping[str, Annotated[float, Field(ge=0)]]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Licence(Strict):
    """On what terms the data may be used, and how a person gets them."""

    name: str = Field(description="The licence by its name or SPDX identifier, such as 'CC0-1.0'.")
    obtain: str = Field(description="How a person lawfully gets the data, in a sentence or two.")
    url: str | None = Field(default=None, description="Where the data or the terms are.")
    redistribution: bool | None = Field(
        default=None, description="Whether the terms let anyone pass the data on; none: not stated here."
    )


class People(Strict):
    """The people of the cohort as a group; each one's row is among the trials."""

    count: int = Field(ge=1, description="How many people.")
    female: int | None = Field(default=None, ge=0, description="How many of them are female, where known.")
    male: int | None = Field(default=None, ge=0, description="How many of them are male, where known.")
    ages: str = Field(default="", description="Their ages in words, such as '23-35 years'.")
    health: str = Field(default="", description="Healthy, or which impairments, in words.")
    note: str = Field(default="", description="What else a reader should know, such as who can't be used.")

    @model_validator(mode="after")
    def _no_more_than_all(self) -> People:
        if (self.female or 0) + (self.male or 0) > self.count:
            wrong(
                f"Expected at most {self.count} people, got {self.female or 0} female and "
                f"{self.male or 0} male.",
                at=("count",),
            )
        return self


class Rig(Strict):
    """The cameras."""

    names: Texts = Field(description="Each camera's name, as the trials use it.")
    default: Texts = Field(
        default=(), description="The cameras that a run uses unless it is told others; empty: all."
    )
    rate: float | None = Field(default=None, gt=0, description="Frames per second.")
    size: Annotated[tuple[int, int], Field(strict=False)] | None = Field(
        default=None, description="Width and height in pixels."
    )
    synchronised: bool = Field(description="Whether frame k of all cameras shows the same moment.")
    max_offset: float | None = Field(
        default=None, ge=0, description="Largest known offset between two cameras, frames."
    )
    up: Axis | None = Field(
        default=None, description="Which axis of the calibrations' world points up, where it is known."
    )
    floor: float | None = Field(
        default=None, description="Where the floor is along that axis, metres; needs 'up'."
    )
    note: str = Field(default="", description="What else a reader should know.")

    @model_validator(mode="after")
    def _consistent(self) -> Rig:
        if len(set(self.names)) < len(self.names) or not all(self.names):
            wrong("Expected each camera's name once and none empty.", at=("names",))
        for name in self.default:
            if name not in self.names:
                wrong(f"Expected one of the cameras {', '.join(self.names)}, got {name!r}.", at=("default",))
        if self.floor is not None and self.up is None:
            wrong("Expected 'up' beside 'floor', got none.", at=("floor",))
        return self


class Reference(Strict):
    """What is taken for the truth, and how good it is."""

    kind: Literal["motion", "markers", "keypoints", "none"] = Field(
        description="The truth is given as joint angles, as 3D markers, as 2D keypoints, or not at all."
    )
    exact: bool = Field(
        default=False, description="Whether it is true by construction (synthetic) and not measured."
    )
    model: str | None = Field(default=None, description="The musculoskeletal model of the angles.")
    solved: str = Field(
        default="", description="How the angles were found: markers, scaling, solver, weights."
    )
    noise_floor: PerCoordinate = Field(
        default_factory=dict,
        description="Coordinate -> RMS difference between independent solutions of the same data, degrees "
        "(millimetres for translations): scores below it mean nothing.",
    )
    noise_floor_source: str = Field(
        default="", description="Between which solutions, and over which trials, the noise floor was taken."
    )
    null_error: PerCoordinate = Field(
        default_factory=dict,
        description="Coordinate -> RMSE of the cohort's constant mean pose, degrees (millimetres): what "
        "knowing nothing costs.",
    )
    null_error_source: str = Field(default="", description="Over which trials the null error was taken.")

    @model_validator(mode="after")
    def _model_for_angles(self) -> Reference:
        if self.kind == "motion" and not self.model:
            wrong(
                "Expected the model that the joint angles belong to, got none.",
                at=("kind",),
                fix="add model: (its name and where it is from)",
            )
        return self


class Split(Strict):
    """One part of the people."""

    subjects: Texts = Field(
        default=(), description="Pseudonyms; 'all' alone means everyone. Empty where they are secret."
    )
    note: str = Field(default="", description="In words; how a hidden split is made and kept.")
    commitment: str | None = Field(
        default=None, description="SHA-256 of what is kept secret (such as a seed), to be checked afterwards."
    )

    @field_validator("commitment")
    @classmethod
    def _hash(cls, value: str | None) -> str | None:
        if value is not None and not _SHA256.fullmatch(value):
            wrong("Expected a SHA-256 in 64 lower-case hexadecimal digits.")
        return value


class Splits(Strict):
    """Who may be used for what; nobody is in two of them."""

    development: Split | None = Field(default=None, description="May be looked at and tuned on.")
    test: Split | None = Field(default=None, description="Public, scored, never tuned on.")
    hidden: Split | None = Field(default=None, description="Scored by the board's owner only.")

    @model_validator(mode="after")
    def _disjoint(self) -> Splits:
        seen: dict[str, str] = {}
        for name in SPLITS:
            split = getattr(self, name)
            for person in split.subjects if split is not None else ():
                if person in seen:
                    where = "twice" if seen[person] == name else f"in {seen[person]} too"
                    wrong(
                        f"Expected each subject in one split, got {person!r} {where}.", at=(name, "subjects")
                    )
                seen[person] = name
        if "all" in seen and len(seen) > 1:
            wrong("Expected 'all' or names, got both.", at=(seen["all"], "subjects"))
        return self


class Card(Strict):
    """A cohort's card."""

    name: str = Field(description="Short name: letters, digits, dots, dashes and underscores.")
    version: str = Field(description="Counts up whenever data or reference change; text, so in quotes.")
    title: str = Field(description="What it is, in a phrase.")
    summary: str = Field(default="", description="What it is, in a few sentences.")
    kind: Literal["real", "synthetic"] = Field(description="Recorded people, or made ones.")
    licence: Licence = Field(description="On what terms, and how to obtain.")
    consent: str = Field(description="What the people agreed to; for made people, that there are none.")
    subjects: People = Field(description="The people as a group.")
    activities: Mapping[str, str] = Field(description="Activity -> what people do, in a phrase.")
    cameras: Rig | None = Field(default=None, description="The cameras; none for cohorts without videos.")
    reference: Reference = Field(description="What is taken for the truth.")
    protocol: str = Field(description="Name of the scoring protocol, such as 'capbench-1'.")
    splits: Splits = Field(default_factory=Splits, description="Who may be used for what.")
    cite: Texts = Field(default=(), description="Publications to cite, and where facts come from.")
    hashes: Mapping[str, str] = Field(
        default_factory=dict, description="Path below the cohort's root -> SHA-256 of the file."
    )
    recipe: Mapping[str, Any] | None = Field(
        default=None, description="How a synthetic cohort is made; read by synthpose only."
    )

    @field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            wrong(
                f"Expected a short name of letters, digits, dots, dashes and underscores, got {value[:60]!r}."
            )
        return value

    @field_validator("version", "title", "consent", "protocol")
    @classmethod
    def _filled(cls, value: str) -> str:
        if not value.strip():
            wrong("Expected some text, got none.")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        if not self.activities:
            wrong("Expected at least one activity, got none.", at=("activities",))
        if self.recipe is not None and self.kind != "synthetic":
            wrong("Expected a recipe in synthetic cohorts only.", at=("recipe",))
        if self.reference.exact and self.kind != "synthetic":
            wrong(
                "Expected an exact reference in synthetic cohorts only: people can't be known exactly.",
                at=("reference", "exact"),
            )
        for path, digest in self.hashes.items():
            if not _SHA256.fullmatch(digest):
                wrong("Expected a SHA-256 in 64 lower-case hexadecimal digits.", at=("hashes", path))
            if leads_out(path):
                wrong(
                    f"Expected a path below the cohort's root, got {path!r}.",
                    at=("hashes", path),
                    fix="write it relative to the root, with / and without ..",
                )
        return self


def leads_out(path: str) -> bool:
    """Whether a path written in a card leads, or may lead, out of its folder.

    >>> leads_out("s1/walk.trc"), leads_out("../walk.trc"), leads_out("/walk.trc"), leads_out("C:/walk.trc")
    (False, True, True, True)
    """
    parts = PurePosixPath(path).parts
    return (
        not parts
        or path.startswith("/")
        or ".." in parts
        or "\\" in path
        or bool(re.match(r"[A-Za-z]:", path))
        or not path.isprintable()
    )


# --- reading and writing ------------------------------------------------------------------------


def read_card(path: str | Path) -> Card:
    """The card in a YAML file."""
    return read_strict(path, Card, what="cohort card")


def parse_card(text: str, *, file: str | Path | None = None) -> Card:
    """The card in a YAML text."""
    return parse_strict(text, Card, file=file, what="cohort card")


def write_card(path: str | Path, card: Card, *, overwrite: bool = False) -> None:
    """Write ``card`` as YAML; reading gives back an equal one."""
    write_text(path, to_yaml(card), overwrite=overwrite)


def schema() -> dict[str, Any]:
    """The JSON Schema of a card (draft 2020-12)."""
    made = Card.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def card_names() -> tuple[str, ...]:
    """The names of the built-in cards, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def builtin_path(name: str) -> Path:
    """Where the built-in card called ``name`` lies."""
    if name not in card_names():
        raise unknown_name("cohort", name, card_names())
    return FOLDER / f"{name}.yaml"


def builtin_card(name: str) -> Card:
    """The built-in card called ``name``."""
    return read_card(builtin_path(name))
