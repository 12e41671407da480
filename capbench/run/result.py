"""``result.json``: everything an evaluation says, as a strict schema.

Angles and their errors are in degrees, translations in millimetres, shares in per cent, lags in milliseconds:
this file is read by people and by boards. Nothing in it depends on the clock, on the machine or on the number
of workers, so the same inputs give the same bytes; seconds and hardware are in ``timing.json`` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cohorts.bounded import load_json, write_text
from cohorts.errors import CapbenchError

SCHEMA = 1  #: counts up when the meaning of a field changes
FILE_NAME = "result.json"
TIMING_NAME = "timing.json"
REPORT_NAME = "report.html"
#: who is to blame for a failure: the model, the cohort's files, or the machine that the run was on
Fault = Literal["model", "cohort", "environment"]


class Row(BaseModel):
    """A part of a result: nothing unknown, nothing changed afterwards, NaN written as null."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(Row):
    """One number that ranks, and all that must stand beside it.

    ``value`` is the error over the cohort (trials, activities, subjects averaged in turn) with samples capped
    and missing ones charged the cap; ``uncapped`` is blind to what was left out.
    """

    name: str = Field(description="What it is of: a coordinate, an activity, a subject, or 'all'.")
    unit: str = Field(description="Such as '°' or 'mm'.")
    value: float | None = Field(description="The error that ranks; none where nothing was scored.")
    low: float | None = Field(default=None, description="95 % confidence interval, resampling subjects.")
    high: float | None = Field(default=None, description="Its upper end.")
    n: int = Field(description="Subjects behind it.")
    trials: int = Field(description="Trials behind it.")
    coverage: float | None = Field(description="Share of the reference's samples that were answered, %.")
    uncapped: float | None = Field(default=None, description="Error of what was answered, as it is.")
    null: float | None = Field(default=None, description="What the cohort's constant mean pose costs.")
    skill: float | None = Field(default=None, description="1 - value / null.")
    noise_floor: float | None = Field(
        default=None, description="How well the reference itself is known; smaller differences mean nothing."
    )


class Beside(Row):
    """A score of another kind: of keypoints in pictures or of points in space."""

    name: str = Field(description="The metric's card (capbench describe metric NAME).")
    unit: str = Field(description="Its unit.")
    direction: Literal["higher", "lower", "zero", "neither"] = Field(description="Which way is better.")
    value: float | None = Field(
        description="Mean over trials, activities, subjects in turn, of what was answered."
    )
    low: float | None = Field(default=None, description="95 % confidence interval, resampling subjects.")
    high: float | None = Field(default=None, description="Its upper end.")
    n: int = Field(description="Subjects behind it.")
    coverage: float | None = Field(
        default=None, description="Share of what is labelled that was answered, %."
    )


class TrialRow(Row):
    """What became of one trial."""

    key: str = Field(description="subject/session/name.")
    subject: str = Field(description="Pseudonym.")
    activity: str = Field(description="Activity.")
    charged: float | None = Field(description="The error that ranks, mean over coordinates.")
    uncapped: float | None = Field(description="Error of what was answered.")
    coverage: float = Field(description="Share of samples answered, %.")
    lag: float | None = Field(default=None, description="Of the session's clock, milliseconds.")
    coordinates: Mapping[str, float | None] = Field(
        default_factory=dict, description="Coordinate -> error that ranks."
    )
    facts: Mapping[str, float | str | None] = Field(
        default_factory=dict,
        description="What the way there showed: reprojection px, cameras used, offsets, filled samples …",
    )
    notes: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="What was odd, in words."
    )


class Failure(Row):
    """Why something has no answer. It never leaves the denominator."""

    unit: str = Field(description="Stage and what it was of, such as 'predict a1/walk/gait1'.")
    fault: Fault = Field(description="Whose fault: the model's, the cohort's, or the environment's.")
    kind: str = Field(description="A word for it, such as 'threw', 'hung', 'shape', 'missing-camera'.")
    reason: str = Field(description="In words: expected, found, where.")


class Cause(Row):
    """How much of the error one stage brings: the whole way again with the truth in its place."""

    stage: Literal["keypoints", "calibration and sync", "scaling", "solver"] = Field(
        description="What was swapped for the truth ('solver': everything else was)."
    )
    value: float | None = Field(description="Mean joint-angle error with it swapped, degrees.")
    brings: float | None = Field(
        description="How much the error falls by it (solver: what remains), degrees."
    )
    coordinates: Mapping[str, float | None] = Field(
        default_factory=dict, description="Coordinate -> error with it swapped."
    )


class Curve(Row):
    """An angle of one trial for the pictures of the report: at most 101 samples."""

    trial: str = Field(description="subject/session/name.")
    coordinate: str = Field(description="Which.")
    time: tuple[float, ...] = Field(description="Seconds.")
    reference: tuple[float | None, ...] = Field(description="Degrees.")
    predicted: tuple[float | None, ...] = Field(description="Degrees.")
    sd: tuple[float | None, ...] = Field(
        default=(), description="Its standard deviation by the fit, degrees."
    )


class About(Row):
    """A thing that took part, by name, version and hash."""

    name: str
    version: str
    sha256: str | None = None
    title: str = ""
    licence: str = ""
    details: Mapping[str, Any] = Field(default_factory=dict)


class Result(Row):
    """An evaluation."""

    schema_version: Literal[1] = Field(default=1, description="Of this file.")
    capbench: About = Field(description="What computed it.")
    model: About = Field(description="What was evaluated.")
    cohort: About = Field(description="On whom.")
    protocol: About = Field(description="By which rules.")
    settings: Mapping[str, Any] = Field(description="Every choice that changes a number, seeds included.")
    partial: tuple[str, ...] = Field(
        default=(), description="Why it is no whole evaluation; empty: it is one."
    )
    marks: tuple[str, ...] = Field(
        default=(),
        description="What a reader must be told, such as that the model was scaled by the reference.",
    )
    subjects: int = Field(description="People.")
    trials: int = Field(description="Trials that count.")
    answered: int = Field(description="Trials with any answer.")
    overall: Score = Field(description="The number that ranks: mean joint-angle error.")
    coordinates: tuple[Score, ...] = Field(description="Each coordinate.")
    activities: tuple[Score, ...] = Field(description="Each activity.")
    by_subject: tuple[Score, ...] = Field(description="Each person: what a paired comparison uses.")
    beside: tuple[Beside, ...] = Field(default=(), description="MPJPE, PCK and the like.")
    causes: tuple[Cause, ...] = Field(
        default=(), description="Which stage brings how much, where truth is known."
    )
    curves: tuple[Curve, ...] = Field(default=(), description="A few trials to look at.")
    per_trial: tuple[TrialRow, ...] = Field(description="Each trial.")
    failures: tuple[Failure, ...] = Field(default=(), description="What has no answer, and why.")
    hashes: Mapping[str, str] = Field(
        default_factory=dict, description="Prediction file of this run -> SHA-256."
    )


def to_json(result: Result) -> str:
    """The file's text: keys in the schema's order, NaN as null, the same bytes for equal results."""
    return json.dumps(finite(result.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """``value`` with every float that is not finite replaced by None."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def write_result(path: Path, result: Result) -> None:
    """Write ``result.json``; an older one is replaced, whole or not at all."""
    write_text(path, to_json(result), overwrite=True)


def read_result(path: str | Path) -> Result:
    """A result, from its file or from the folder of its run."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise CapbenchError(
            f"Expected the folder of a run with a {FILE_NAME}, or such a file, got neither.",
            file=path,
            fix="capbench evaluate MODEL --cohort COHORT --out FOLDER",
        )
    try:
        return Result.model_validate(load_json(file))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise CapbenchError(
            f"Expected a result of schema {SCHEMA}, got at {where or 'the top'}: {first['msg']}.",
            file=file,
            fix="evaluate again with this version",
        ) from None


def schema() -> dict[str, Any]:
    """The JSON Schema of ``result.json`` (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Result.model_json_schema()}
