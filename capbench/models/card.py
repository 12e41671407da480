"""The model card: what a model is, what it was trained on, and how pictures go in and keypoints come out.

YAML (``model.yaml`` beside the model's files), strict, exported as a JSON Schema. A card says nothing that
the machine knows better: no paths out of its folder, no interpreter, no device number.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from cohorts.bounded import write_text
from cohorts.card import leads_out
from cohorts.errors import CapbenchError, RefusedError, did_you_mean
from cohorts.skeleton import Skeleton, skeleton, skeleton_names
from cohorts.store import files_below, sha256
from cohorts.strict import Strict, Texts, parse_strict, read_strict, to_yaml, wrong

FILE_NAME = "model.yaml"  #: the card of a model that lies in a folder
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Kind = Literal["keypoints2d", "keypoints3d", "body", "motion"]
Route = Literal[
    "onnx", "hf", "torch", "torchscript", "python", "command", "mediapipe", "mmpose", "predictions"
]
Geometry = Literal["msra", "udp"]
Decoding = Literal["argmax", "msra", "dark", "udp"]
Triple = Annotated[tuple[float, float, float], Field(strict=False)]
#: routes whose answers follow from any file of the folder, since code of the folder runs
CODE_ROUTES: frozenset[str] = frozenset({"python", "command"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class TrainingData(Strict):
    """One source of what the model learnt from, as its authors declare it."""

    name: str = Field(description="The data set's name.")
    synthetic: bool = Field(description="Whether its people were made and not recorded.")
    note: str = Field(default="", description="Which part of it, or what else a reader should know.")


class Points(Strict):
    """A skeleton that is not among the built-in ones."""

    name: str = Field(description="Its short name.")
    points: Texts = Field(description="The points' names, in the order of the model's channels.")
    flip_pairs: Annotated[
        tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)
    ] = Field(default=(), description="[left, right] names that change places in a mirrored picture.")
    landmarks: Texts = Field(
        default=(),
        description="What landmark each point marks (capbench describe SKELETON shows them); without them "
        "no built-in skeleton can be made from the points.",
    )

    def skeleton(self) -> Skeleton:
        """As the rest of capbench knows it."""
        return Skeleton(
            name=self.name, points=self.points, landmarks=self.landmarks, flip_pairs=self.flip_pairs
        )


class Input(Strict):
    """What picture the network wants."""

    size: Annotated[
        tuple[Annotated[int, Field(ge=8, le=4096)], Annotated[int, Field(ge=8, le=4096)]], Field(strict=False)
    ] = Field(description="[width, height] of the crop, pixels.")
    padding: float = Field(
        default=1.25, gt=0, le=10, description="How much larger than the person's box the crop is."
    )
    mean: Triple = Field(
        default=IMAGENET_MEAN, description="Subtracted from each channel, in units of 'scale'."
    )
    std: Triple = Field(
        default=IMAGENET_STD, description="Each channel is divided by it, in units of 'scale'."
    )
    scale: Literal[1, 255] = Field(
        default=1, description="What white is before mean and std: 1 or 255. Both must be in its units."
    )
    colour: Literal["rgb", "bgr"] = Field(default="rgb", description="Order of the channels.")
    layout: Literal["nchw", "nhwc"] = Field(default="nchw", description="Order of the axes.")

    @model_validator(mode="after")
    def _units(self) -> Input:
        if min(self.std) <= 0:
            wrong(f"Expected positive std, got {list(self.std)}.", at=("std",))
        if self.scale == 1 and max(*self.mean, *self.std) > 2:
            wrong(
                f"Expected mean and std for colours of 0 to 1, got {list(self.mean)} and {list(self.std)}.",
                at=("mean",),
                fix="divide them by 255, or add scale: 255",
            )
        if self.scale == 255 and min(self.std) < 1:
            wrong(
                f"Expected mean and std for colours of 0 to 255, got {list(self.mean)} and {list(self.std)}.",
                at=("mean",),
                fix="give both, multiplied by 255",
            )
        return self


class Codec(Strict):
    """How the network's numbers become points."""

    kind: Literal["heatmap", "simcc", "regression", "direct"] = Field(
        description="heatmap: a map per point; simcc: a vector of bins per axis and point; regression: "
        "shares of the crop's width and height; direct: pixels of the crop."
    )
    decoding: Decoding | None = Field(
        default=None,
        description="Of heatmaps: argmax (whole cells), msra (quarter cell towards the higher neighbour), "
        "dark (Taylor expansion of the blurred map's logarithm) or udp (the same in UDP's geometry). "
        "Default: dark.",
    )
    geometry: Geometry | None = Field(
        default=None,
        description="How pixels of crop and map correspond: msra (by widths) or udp (by distances between "
        "first and last pixel). Default: udp with decoding udp, else msra.",
    )
    sigma: float | None = Field(default=None, gt=0, description="Of the training targets, cells or bins.")
    kernel: int = Field(default=11, ge=3, le=51, description="Width of dark's and udp's blur, cells; odd.")
    split_ratio: float | None = Field(
        default=None, gt=0, description="SimCC's bins a pixel. Default: from the vectors' lengths."
    )
    refine: bool = Field(default=False, description="SimCC: place the peak between bins by a parabola.")
    activation: Literal["none", "sigmoid", "softmax"] = Field(
        default="none", description="What to apply to the network's output first."
    )
    covariance: bool = Field(
        default=True, description="Whether the spread of a map or vector is given as the point's covariance."
    )

    @model_validator(mode="after")
    def _fits(self) -> Codec:
        if self.decoding is not None and self.kind != "heatmap":
            wrong(f"Expected 'decoding' with heatmaps only, got it with {self.kind}.", at=("decoding",))
        if self.split_ratio is not None and self.kind != "simcc":
            wrong("Expected 'split_ratio' with simcc only.", at=("split_ratio",))
        if self.kernel % 2 == 0:
            wrong(f"Expected an odd width, got {self.kernel}.", at=("kernel",))
        return self

    @property
    def udp(self) -> bool:
        """Whether crop and map correspond as UDP has it."""
        return (self.geometry or ("udp" if self.decoding == "udp" else "msra")) == "udp"


class Net(Strict):
    """The architecture of a native torch model."""

    architecture: str = Field(description="Its name, such as 'hrnet-w48' or 'vit-base'.")
    options: Mapping[str, Any] = Field(default_factory=dict, description="What departs from the name.")


class Limits(Strict):
    """What a model that runs in its own process may take; more is a fault of the model."""

    start: float = Field(default=180, gt=0, description="Seconds until it is ready.")
    answer: float = Field(default=120, gt=0, description="Seconds for one batch.")
    memory: float = Field(default=8192, gt=0, description="MB of main memory.")
    batch: int = Field(default=32, ge=1, le=4096, description="Pictures in one batch at most.")


class ModelCard(Strict):
    """A model's card."""

    name: str = Field(description="Short name: letters, digits, dots, dashes and underscores.")
    version: str = Field(description="Counts up whenever the answers change; text, so in quotes.")
    title: str = Field(default="", description="What it is, in a phrase.")
    licence: str = Field(description="Of the weights, by name or SPDX identifier; 'unknown' where it is.")
    authors: Texts = Field(default=(), description="Who made it.")
    training_data: Annotated[tuple[TrainingData, ...], Field(strict=False)] = Field(
        default=(), description="What it learnt from, as declared; boards show it."
    )
    kind: Kind = Field(default="keypoints2d", description="What it gives.")
    route: Route = Field(description="How it runs.")
    skeleton: str | Points | None = Field(
        default=None, description="The points it gives: a built-in skeleton's name, or points and flip_pairs."
    )
    net: Net | None = Field(default=None, description="The architecture; for route torch.")
    input: Input | None = Field(default=None, description="What picture the network wants.")
    codec: Codec | None = Field(default=None, description="How its numbers become points.")
    flip_test: bool = Field(default=False, description="Average with the answer to the mirrored picture.")
    shift_heatmap: bool | None = Field(
        default=None,
        description="Whether the mirrored answer is shifted to meet the other (maps: by a cell; SimCC: by "
        "split_ratio - 1 bins). Default: for maps in msra geometry only, as published.",
    )
    files: Mapping[str, str] = Field(
        default_factory=dict,
        description="Path below this file's folder -> SHA-256; the first is the weights.",
    )
    entry: str | Texts | None = Field(
        default=None,
        description="Route python: FILE.py:CLASS; command: the command line; mmpose: the config's path.",
    )
    devices: Texts = Field(default=("cpu", "cuda"), description="Where it can run.")
    limits: Limits = Field(default_factory=Limits, description="What it may take.")
    notes: Texts = Field(default=(), description="What else a reader should know, such as what was guessed.")

    @field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            wrong(
                f"Expected a short name of letters, digits, dots, dashes and underscores, got {value[:60]!r}."
            )
        return value

    @field_validator("version", "licence")
    @classmethod
    def _filled(cls, value: str) -> str:
        if not value.strip():
            wrong("Expected some text, got none.")
        return value

    @field_validator("skeleton")
    @classmethod
    def _known(cls, value: str | Points | None) -> str | Points | None:
        if isinstance(value, str) and value not in skeleton_names():
            near = did_you_mean(value, skeleton_names())
            wrong(
                f"Expected the name of a built-in skeleton, got {value!r}."
                + (f" Did you mean {near!r}?" if near else ""),
                fix="see: capbench list skeletons; or give name, points and flip_pairs",
            )
        if isinstance(value, Points):
            try:
                value.skeleton()
            except CapbenchError as error:
                wrong(error.problem, fix=error.fix)
        return value

    @field_validator("files")
    @classmethod
    def _inside(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for path, digest in value.items():
            if leads_out(path):
                wrong(
                    f"Expected a path below the card's folder, got {path!r}.",
                    at=(path,),
                    fix="write it relative to the folder, with / and without ..",
                )
            if not _SHA256.fullmatch(digest):
                wrong("Expected a SHA-256 in 64 lower-case hexadecimal digits.", at=(path,))
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        if self.kind.startswith("keypoints") and self.skeleton is None and self.route != "predictions":
            wrong("Expected the skeleton of the keypoints, got none.", at=("kind",), fix="add skeleton:")
        if self.route == "torch" and self.net is None:
            wrong("Expected the architecture with route torch, got none.", at=("route",), fix="add net:")
        if self.route in ("onnx", "torch", "torchscript"):
            for needed in ("input", "codec"):
                if getattr(self, needed) is None:
                    wrong(f"Expected {needed!r} with route {self.route}, got none.", at=("route",))
            if self.kind != "keypoints2d":
                wrong(f"Expected kind keypoints2d with route {self.route}, got {self.kind}.", at=("kind",))
        if self.route in CODE_ROUTES and not self.entry:
            wrong(f"Expected 'entry' with route {self.route}, got none.", at=("route",), fix="add entry:")
        return self

    @property
    def points(self) -> Skeleton:
        """The skeleton that the model's points are named by."""
        if self.skeleton is None:
            raise CapbenchError(f"Expected a model of keypoints, got {self.name} of kind {self.kind}.")
        return skeleton(self.skeleton) if isinstance(self.skeleton, str) else self.skeleton.skeleton()

    @property
    def command(self) -> tuple[str, ...]:
        """The words of ``entry``."""
        if self.entry is None:
            return ()
        return tuple(shlex.split(self.entry)) if isinstance(self.entry, str) else self.entry

    @property
    def weights(self) -> str | None:
        """The first of the files, or None."""
        return next(iter(self.files), None)


# --- reading and writing ------------------------------------------------------------------------


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """The card in a YAML file, or in a folder's ``model.yaml``."""
    path = Path(path)
    return read_strict(path / FILE_NAME if path.is_dir() else path, ModelCard, what="model card")


def parse_card(text: str, *, file: str | os.PathLike[str] | None = None) -> ModelCard:
    """The card in a YAML text."""
    return parse_strict(text, ModelCard, file=file, what="model card")


def write_card(path: str | os.PathLike[str], card: ModelCard, *, overwrite: bool = False) -> None:
    """Write ``card`` as YAML; reading gives back an equal one."""
    write_text(path, to_yaml(card), overwrite=overwrite)


def schema() -> dict[str, Any]:
    """The JSON Schema of a card (draft 2020-12)."""
    made = ModelCard.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


# --- files --------------------------------------------------------------------------------------


def file_below(folder: Path, relative: str) -> Path:
    """A file of the model's folder; refused if it leads out, by name or by a link."""
    if leads_out(relative):
        raise RefusedError(f"Expected a path below the model's folder, got {relative!r}.", file=folder)
    path = folder / relative
    real, base = os.path.realpath(path), os.path.realpath(folder)
    if not real.startswith(base.rstrip(os.sep) + os.sep):
        raise RefusedError(
            f"Expected a file below the model's folder, got a link to {real}.",
            file=path,
            fix="copy the file into the folder",
        )
    return path


def verify(card: ModelCard, folder: Path) -> None:
    """Refuse files that are not those the card was written for."""
    for relative, digest in card.files.items():
        path = file_below(folder, relative)
        if not path.is_file():
            raise CapbenchError("Expected a file that the model's card names, got none.", file=path)
        found = sha256(path)
        if found != digest:
            raise RefusedError(
                f"Expected the file with SHA-256 {digest[:12]}…, got one with {found[:12]}…: it is not the "
                "one that the card was written for.",
                file=path,
                fix=f"get the right file, or write the card anew: capbench models init {path}",
            )


#: what says who made a model, not what it answers
_WORDS = frozenset(
    {"name", "version", "title", "licence", "authors", "training_data", "devices", "limits", "notes"}
)


def fingerprint(card: ModelCard, folder: Path | None) -> str:
    """SHA-256 of all that the model's answers follow from: how it is run, and the bytes of its files.

    Where code of the folder runs, every file in it counts (caches and hidden files apart), otherwise those
    that the card names, or, where it names none, all of them.
    """
    parts: dict[str, Any] = {"card": card.model_dump(mode="json", exclude=set(_WORDS))}
    parts["files"] = dict(sorted(card.files.items()))
    if folder is not None and (card.route in CODE_ROUTES or not card.files):
        parts["folder"] = {
            path.relative_to(folder).as_posix(): sha256(path) for path in _own_files(folder) if path.is_file()
        }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _own_files(folder: Path) -> list[Path]:
    def hidden(path: Path) -> bool:
        parts = path.relative_to(folder).parts
        return any(part.startswith(".") or part == "__pycache__" for part in parts) or parts == (FILE_NAME,)

    return [path for path in files_below(folder) if not hidden(path)]


def input_of(card: ModelCard) -> Input:
    """The card's input; refused where it has none."""
    return cast(Input, _needed(card, "input"))


def codec_of(card: ModelCard) -> Codec:
    """The card's codec; refused where it has none."""
    return cast(Codec, _needed(card, "codec"))


def _needed(card: ModelCard, what: str) -> object:
    found = getattr(card, what)
    if found is None:
        raise CapbenchError(f"Expected {what!r} in the card of {card.name}, got none.", fix=f"add {what}:")
    return found
