"""How a network is trained: a YAML recipe, strict, whose hash goes into all that comes of it.

``recipes/`` holds those that come with capbench. A recipe may have phases (sparse, then dense from it): each
states what it changes, and :func:`read_recipe` gives one phase as a whole recipe.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from capbench.models.card import Codec, Geometry
from capbench.models.nets.architecture import Architecture, from_options
from cohorts.errors import CapbenchError, unknown_name
from cohorts.skeleton import Skeleton, skeleton, skeleton_names
from cohorts.strict import Strict, Texts, parse_strict, read_strict, wrong
from synthpose.augment import Augmentation
from synthpose.data_recipe import DataRecipe
from synthpose.recipe import LARGEST_SEED

FOLDER = Path(__file__).parent / "recipes"
Sides = Annotated[
    tuple[Annotated[int, Field(ge=16, le=1024)], Annotated[int, Field(ge=16, le=1024)]], Field(strict=False)
]
Positive = Annotated[float, Field(gt=0)]


class Network(Strict):
    """What is trained."""

    architecture: str = Field(description="Its name, such as fpn-mini, hrnet-w48 or vit-base.")
    options: Mapping[str, Any] = Field(default_factory=dict, description="What departs from the name.")
    input_size: Sides = Field(description="Width and height of the crops, pixels.")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="Of a ViT: share of blocks skipped.")


class Loss(Strict):
    """What the network is asked for; see ``synthpose.losses``."""

    kind: Literal["divergence", "mse"] = Field(
        default="divergence",
        description="divergence: cross-entropy of the softmaxed map (or SimCC's vectors) with a Gaussian, "
        "less the Gaussian's own entropy; mse: squared difference from a Gaussian of height 1, as MMPose.",
    )
    sigma: Positive = Field(default=1.0, description="Of the Gaussian, cells of the map or SimCC bins.")
    soft_argmax: float = Field(default=0.0, ge=0, description="Weight of the distance of the map's mean.")
    variance: float = Field(
        default=0.0, ge=0, description="Weight of the log-likelihood under the map's own mean and spread."
    )
    hidden: float = Field(default=1.0, ge=0, le=1, description="Weight of points that are hidden.")
    points: Mapping[str, Annotated[float, Field(ge=0, le=100)]] = Field(
        default_factory=dict, description="Weight of single points, by name; 1 unless given."
    )
    geometry: Geometry = Field(default="msra", description="How pixels of crop and map correspond.")

    @model_validator(mode="after")
    def _fits(self) -> Loss:
        if self.kind == "mse" and self.moments:
            wrong("Expected soft_argmax and variance with divergence only: mse leaves a map's mass open.")
        return self

    @property
    def moments(self) -> bool:
        """Whether it looks at where a map's mass is."""
        return bool(self.soft_argmax or self.variance)


class Optimiser(Strict):
    """How weights follow gradients."""

    kind: Literal["adamw", "adam"] = Field(default="adamw", description="Which one.")
    rate: Positive = Field(description="Learning rate at its highest.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Not of biases, norms and positions.")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="Of a ViT: rate of each layer below.")
    head_rate: Positive = Field(default=1.0, description="What the head's rate is multiplied by.")
    clip: Positive | None = Field(default=None, description="Largest norm of the gradient.")
    schedule: Literal["cosine", "step", "constant"] = Field(default="cosine", description="Of the rate.")
    warm_up: int = Field(default=0, ge=0, description="Steps until the rate is at its highest.")
    drops: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(strict=False)] = Field(
        default=(), description="Of a step schedule: shares of the training at which the rate falls to 0.1."
    )
    floor: float = Field(default=0.0, ge=0, lt=1, description="Of cosine: share of the rate at its end.")
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="Decay of the running average of the weights, which is kept."
    )


class Mixture(Strict):
    """One source of pictures among several; where it lies is said when training starts."""

    kind: Literal["made", "coco"] = Field(
        description="made: the synthetic pictures of 'data'; coco: pictures with COCO-style annotations."
    )
    ratio: Positive = Field(default=1.0, description="Of its pictures among all, in proportion.")
    skeleton: str | None = Field(default=None, description="Of its points; None: as its file says.")
    without: Texts = Field(default=(), description="Points that are not learnt from it.")
    approximate: float = Field(
        default=0.0, ge=0, le=1, description="Weight of points that it defines a little differently."
    )
    weight: Positive = Field(default=1.0, description="Of all its points.")
    hidden: float = Field(default=1.0, ge=0, le=1, description="Weight of points that it says are hidden.")
    note: str = Field(default="", description="What it is.")


class Checks(Strict):
    """What is looked at while it trains."""

    every: int = Field(default=1000, ge=1, description="Steps from one validation and checkpoint to another.")
    shots: int = Field(
        default=0,
        ge=0,
        description="Last pictures of the data that are held out for it: whole people, so that this "
        "and the number of pictures are multiples of data.shots_per_person.",
    )
    cohort: str | None = Field(
        default=None,
        description="Cohort on whose development people the joint angles choose the best weights.",
    )
    trials: int = Field(default=12, ge=1, le=10_000, description="Of that cohort, at each validation.")
    log: int = Field(default=50, ge=1, description="Steps from one line of the log to the next.")


class Machine(Strict):
    """How it runs here; not part of the recipe's hash, though threads may change the last bit."""

    threads: int = Field(default=2, ge=1, le=256, description="Of torch, on a CPU.")
    workers: int = Field(default=1, ge=0, le=256, description="That prepare batches; 0: none beside.")
    processes: bool = Field(default=False, description="Whether workers are processes instead of threads.")
    prefetch: int = Field(default=4, ge=1, le=256, description="Batches made ahead.")
    compile: bool = Field(default=False, description="torch.compile: faster after minutes of compiling.")


class TrainRecipe(Strict):
    """One training from its data to its last step."""

    name: str = Field(description="Short name.")
    title: str = Field(default="", description="What it is, in a phrase.")
    source: str = Field(default="", description="Where its numbers come from, if not from here.")
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Of weights, order and augmentation.")
    skeleton: str = Field(description="Whose points are learnt, a built-in skeleton's name.")
    start: str | None = Field(default=None, description="Phase whose weights it starts from.")
    head: Literal["grown", "new"] = Field(
        default="grown",
        description="What a start's head becomes: grown by head surgery, or new, as if only the backbone "
        "were given.",
    )
    network: Network = Field(description="What is trained.")
    data: DataRecipe | None = Field(default=None, description="Synthetic pictures, made by synthpose.")
    pictures: int = Field(default=0, ge=0, description="How many of them are made.")
    sources: Mapping[str, Mixture] = Field(
        default_factory=dict, description="Name -> source, where pictures are mixed; empty: only 'data'."
    )
    augment: Augmentation | None = Field(default=None, description="How they are changed each time.")
    batch: int = Field(ge=1, le=65536, description="Pictures a step, over all processes.")
    samples: int | None = Field(default=None, ge=1, description="Pictures trained on, with repetition; or:")
    epochs: Positive | None = Field(default=None, description="How often each picture is trained on.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Of the forward pass.")
    loss: Loss = Field(default_factory=Loss, description="What is asked for.")
    optimiser: Optimiser = Field(description="How weights follow gradients.")
    checks: Checks = Field(default_factory=Checks, description="What is looked at meanwhile.")
    machine: Machine = Field(default_factory=Machine, description="How it runs; not hashed.")

    @field_validator("skeleton")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in skeleton_names():
            wrong(f"Expected the name of a skeleton, got {value!r}.", fix="capbench describe lists them")
        return value

    @model_validator(mode="after")
    def _whole(self) -> TrainRecipe:
        if (self.samples is None) == (self.epochs is None):
            wrong("Expected samples or epochs, one of them.", at=("samples",))
        points = skeleton(self.skeleton).points
        for name in self.loss.points:
            if name not in points:
                wrong(f"Expected a point of {self.skeleton}, got {name!r}.", at=("loss", "points"))
        if self.data is not None:
            size, own = self.network.input_size, self.data.size
            if own[0] % size[0] or own[0] * size[1] != own[1] * size[0]:
                wrong(f"Expected data of the network's size {list(size)} or a multiple.", at=("data", "size"))
        return self

    @property
    def points(self) -> Skeleton:
        """Whose points are learnt."""
        return skeleton(self.skeleton)

    @property
    def made(self) -> Architecture:
        """The network's architecture."""
        net = self.network
        return from_options(net.architecture, net.options, points=len(self.points), input_size=net.input_size)

    @property
    def codec(self) -> Codec:
        """How a card says that the trained network's numbers become points."""
        soft: Literal["none", "softmax"] = "softmax" if self.loss.kind == "divergence" else "none"
        if self.made.head.bins is not None:
            return Codec(kind="simcc", refine=True, sigma=self.loss.sigma, activation=soft)
        decoding: Literal["udp", "dark"] = "udp" if self.loss.geometry == "udp" else "dark"
        kernel = 2 * int(2.5 * self.loss.sigma + 0.5) + 1  # 11 for a sigma of 2, 17 for 3, as MMPose
        return Codec(kind="heatmap", decoding=decoding, sigma=self.loss.sigma, kernel=kernel, activation=soft)

    def steps(self, pictures: int) -> int:
        """How many steps it takes with so many pictures to train on."""
        samples = self.samples if self.samples is not None else round((self.epochs or 0) * pictures)
        return max(1, samples // self.batch)

    @property
    def digest(self) -> str:
        """SHA-256 of all that the weights follow from."""
        return digest(self.model_dump(mode="json", exclude={"machine", "title", "source"}))


class RecipeFile(Strict):
    """A recipe as it lies in a file: what all phases share, and what each has of its own."""

    name: str = Field(description="Short name.")
    title: str = Field(default="", description="What it is, in a phrase.")
    source: str = Field(default="", description="Where its numbers come from, if not from here.")
    recipe: Mapping[str, Any] = Field(description="Keys of a training that all phases share.")
    phases: Mapping[str, Mapping[str, Any]] = Field(description="Phase -> keys that it adds or replaces.")


def digest(content: Any) -> str:
    """SHA-256 of anything that JSON can say."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with capbench."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def recipe_file(name: str | os.PathLike[str]) -> tuple[Path, RecipeFile]:
    """The file of a built-in recipe's name, or of a path."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in recipe_names():
            raise unknown_name("training recipe", str(name), recipe_names())
        path = FOLDER / f"{name}.yaml"
    return path, read_strict(path, RecipeFile, what="training recipe")


def phases(name: str | os.PathLike[str]) -> tuple[str, ...]:
    """The phases of a recipe, in the order of the file."""
    return tuple(recipe_file(name)[1].phases)


def read_recipe(name: str | os.PathLike[str], phase: str | None = None, **changes: Any) -> TrainRecipe:
    """One phase of a recipe as a whole recipe; a recipe of one phase needs no ``phase``.

    ``changes`` replace its keys ("seed", "samples", …); mappings are changed key by key.
    """
    path, file = recipe_file(name)
    if phase is None:
        if len(file.phases) != 1:
            raise CapbenchError(
                f"Expected one of the phases {', '.join(file.phases)}, got none.", file=path, fix="--phase"
            )
        phase = next(iter(file.phases))
    if phase not in file.phases:
        raise unknown_name(f"phase of {file.name}", phase, file.phases)
    own = {"name": f"{file.name}-{phase}", "title": file.title, "source": file.source}
    content = merged(merged(merged(own, file.recipe), file.phases[phase]), changes)
    made = _whole(content, path, phase)
    if made.start is not None and made.start not in file.phases:
        raise unknown_name(f"phase of {file.name}", made.start, file.phases)
    return made


def _whole(content: Mapping[str, Any], path: Path, phase: str) -> TrainRecipe:
    import yaml

    try:
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
        return parse_strict(text, TrainRecipe, file=path, what="training recipe")
    except CapbenchError as error:  # lines are those of the merged text, which nobody sees
        error.line = None
        error.place = ", ".join(part for part in (f"phase {phase}", error.place) if part)
        raise


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``; where both hold mappings these are merged likewise."""
    made = dict(base)
    for key, value in changes.items():
        old = made.get(key)
        made[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return made
