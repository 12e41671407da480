"""Distillation: a network learns from a larger one, then its head anew from the network it became.

After Yang et al., "Effective Whole-body Pose Estimation with Two-stages Distillation" (2023), DWPose. In the
first stage the student is trained as ever, and beside it to have its teacher's features and to answer with
its teacher's maps; both losses fade in a straight line, 1 at the first step and 0 after the last. In the
second stage nothing but a head is trained, on the first stage's backbone and by its maps alone.

The teacher may be another network, see the same crop in another size and know other points: features and maps
are resampled from its cells to the student's by where these lie on the crop, and points that it lacks are
learnt from the truth alone.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from capbench.models.nets.pose import PoseNet
from cohorts.bounded import MB, read_bytes, replacing
from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.store import sha256
from cohorts.strict import Strict, wrong
from synthpose.cells import Resampled, feature_cells, map_cells, picture_cells
from synthpose.feeding import Source
from synthpose.losses import Terms, weighted_mean
from synthpose.processes import autocast
from synthpose.train import MODEL, Start, Trained, Validate, load_trained, placed, start_from, train
from synthpose.train_recipe import TrainRecipe, digest
from synthpose.training_state import NAME as STATE

FIRST = "first-stage"  #: folder of the first stage, in that of the whole
Maps = Tensor | tuple[Tensor, Tensor]  #: what a head gives: (n, K, h, w), or SimCC's (n, K, bins) twice


class Distillation(Strict):
    """How a network learns from another one."""

    features: float = Field(
        default=1.0,
        ge=0,
        description="Weight at the first step of the mean square difference from the teacher's features. "
        "DWPose's alpha, 0.00007, is of their sum over channels and cells: 3.4 of the mean for a teacher "
        "of 1024 x 8 x 6.",
    )
    maps: float = Field(
        default=0.1, ge=0, description="Weight at the first step of the teacher's maps, DWPose's beta."
    )
    truth: float = Field(default=1.0, ge=0, description="Weight of the recipe's own loss.")
    unlabelled: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the teacher's maps where the truth has none: points outside the picture, or "
        "that a source doesn't label. DWPose: 1.",
    )
    second: float = Field(
        default=0.2, ge=0, le=1, description="Steps of the second stage, as a share of the first's; 0: none."
    )
    head: Literal["new", "kept"] = Field(
        default="new",
        description="What the second stage's head starts as: new, as DWPose's, or the first stage's, which "
        "has little left to learn from itself.",
    )

    @model_validator(mode="after")
    def _teaches(self) -> Distillation:
        if not (self.features or self.maps or self.truth):
            wrong("Expected a weight above 0 of features, maps or truth, got none.")
        return self


@dataclass(frozen=True)
class Teacher:
    """A trained network, how it was trained, and the hash of its weights."""

    recipe: TrainRecipe
    net: PoseNet
    sha256: str


def teacher_from(folder: Path) -> Teacher:
    """The best weights of a training's folder as a teacher."""
    recipe, net = load_trained(folder)
    return Teacher(recipe, net, sha256(folder / MODEL))


def distill(
    recipe: TrainRecipe,
    out: Path,
    *,
    teacher: Teacher,
    how: Distillation | None = None,
    data: Source,
    data_hash: str = "",
    held_out: Source | None = None,
    start: Start | None = None,
    validate: Validate | None = None,
    device: str = "cpu",
    seconds: float | None = None,
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> Trained:
    """Train by ``recipe`` and ``teacher`` into the folder ``out``, or go on with what lies there.

    The first stage lies in a folder of its own inside, see :func:`first_folder`. The weights that the second
    leaves are never worse than the first's by what the best are chosen by. Steps that ``told`` hears count on
    from one stage to the other; everything else is as for :func:`synthpose.train.train`.

    Returns
    -------
    The stage that ran last: where ``done`` is False the same call goes on.
    """
    how, began = how or Distillation(), time.perf_counter()
    beside = Taught(recipe, teacher, how)  # refuses a teacher that doesn't fit before anything is written
    same: dict[str, Any] = {
        "data": data, "data_hash": data_hash, "held_out": held_out, "validate": validate, "device": device,
    }  # fmt: skip
    place = first_folder(out, how)
    first = train(recipe, place, start=start, beside=beside, seconds=seconds, told=told, **same)
    if not first.done or not how.second:
        return first
    if seconds is not None:
        seconds = max(seconds - (time.perf_counter() - began), 0.0)
    best_so_far(place, out)
    return train(
        second_recipe(recipe, how, first.step),
        out,
        start=start_from(place),
        beside=SelfTaught(place, teacher, how, first.best),
        seconds=seconds,
        told=None if told is None else lambda entry: told({**entry, "step": first.step + entry["step"]}),
        **same,
    )


def first_folder(out: Path, how: Distillation) -> Path:
    """Where the first stage lies."""
    return out / FIRST if how.second else out


def second_steps(how: Distillation, steps: int) -> int:
    """Steps of the second stage after so many of the first."""
    return max(1, round(how.second * steps)) if how.second else 0


def second_recipe(recipe: TrainRecipe, how: Distillation, steps: int) -> TrainRecipe:
    """The second stage as a recipe of its own, after so many steps of the first."""
    warm_up = round(how.second * recipe.optimiser.warm_up)
    changes = {
        "head": "new" if how.head == "new" else "grown",
        "samples": second_steps(how, steps) * recipe.batch,
        "epochs": None,
        "optimiser": recipe.optimiser.model_copy(update={"warm_up": warm_up}),
    }
    return recipe.model_copy(update=changes)


def best_so_far(first: Path, out: Path) -> None:
    """Let the second stage start with the first's weights as the best: a worse head doesn't replace them."""
    if not (out / STATE).exists():
        out.mkdir(parents=True, exist_ok=True)
        content = read_bytes(first / MODEL, 8192 * MB)
        with replacing(out / MODEL, overwrite=True) as temporary:
            temporary.write_bytes(content)


# --- the first stage --------------------------------------------------------------------------------


class Taught:
    """The first stage's losses: see :class:`synthpose.beside.Beside`."""

    def __init__(self, recipe: TrainRecipe, teacher: Teacher, how: Distillation) -> None:
        self.recipe, self.how, self.teacher = recipe, how, teacher
        check(recipe, teacher.recipe)
        self.mine, self.theirs = shared_points(recipe.points, teacher.recipe.points)
        made, other = recipe.made, teacher.recipe.made
        own, geometry = recipe.loss.geometry, teacher.recipe.loss.geometry
        self.hashes = hashes_of(teacher, how)
        self.told = {"distillation": how.model_dump(mode="json")}
        self.best: float | None = None
        self.own: nn.Module = nn.Identity()
        if how.features and made.backbone.width != other.backbone.width:
            self.own = projection(made.backbone.width, other.backbone.width, seed=recipe.seed)
        self.picture = Resampled(picture_cells(made, own), picture_cells(other, geometry))
        self.maps = Resampled(map_cells(other, geometry), map_cells(made, own))
        mine, theirs = feature_cells(made, own), feature_cells(other, geometry)
        coarser = min(mine, theirs, key=lambda cells: cells[0].number * cells[1].number)
        self.my_features, self.their_features = Resampled(mine, coarser), Resampled(theirs, coarser)

    def around(self, net: PoseNet) -> nn.Module:
        """The network and, where features are learnt, what the projection makes of its."""
        device = next(net.parameters()).device
        placed(self.teacher.net, self.teacher.recipe.made, device).eval().requires_grad_(False)
        for part in (self.own, self.picture, self.maps, self.my_features, self.their_features):
            part.to(device)
        return _WithFeatures(net, self.my_features, self.own if self.how.features else None)

    def terms(self, truth: Terms, answer: Any, pictures: Tensor, weight: Tensor, *, share: float) -> Terms:
        """The recipe's loss beside the teacher's, which fade; see :class:`synthpose.beside.Beside`."""
        how, fade = self.how, 1 - share
        out, features = answer
        their_features, their_maps = self._asked(pictures)
        parts = {name: how.truth * value for name, value in truth.parts.items()}
        total = how.truth * truth.total
        if features is not None:
            apart = features_apart(features, self.their_features(their_features.float()))
            parts["teacher_features"] = fade * how.features * apart
            total = total + parts["teacher_features"]
        if how.maps:
            target = targets(picked(their_maps, self.theirs), self.maps, kind=self.recipe.loss.kind)
            known = weight[:, self.mine]
            known = torch.where(known > 0, known, how.unlabelled)
            apart = maps_apart(picked(out, self.mine), target, known, kind=self.recipe.loss.kind)
            parts["teacher_maps"] = fade * how.maps * apart
            total = total + parts["teacher_maps"]
        return Terms(total, {name: value.detach() for name, value in parts.items()})

    @torch.no_grad()
    def _asked(self, pictures: Tensor) -> tuple[Tensor, Maps]:
        """The teacher's features and maps of the same crops, in the size that it knows."""
        seen = self.picture(pictures)
        with autocast(self.recipe.precision, pictures.device):
            features = self.teacher.net.backbone(seen)
            return features, self.teacher.net.head(features)


class _WithFeatures(nn.Module):
    """A network that also gives its features, resampled and projected; None where nobody asks for them."""

    def __init__(self, net: PoseNet, resample: Resampled, projection: nn.Module | None) -> None:
        super().__init__()
        self.net, self.resample, self.projection = net, resample, projection

    def forward(self, pictures: Tensor) -> tuple[Maps, Tensor | None]:
        """(n, 3, h, w) -> the head's output, and features as many and as wide as the teacher's."""
        features = self.net.backbone(pictures)
        out: Maps = self.net.head(features)
        return out, None if self.projection is None else self.projection(self.resample(features))


def hashes_of(teacher: Teacher, how: Distillation) -> dict[str, str]:
    """What a distillation follows from, beside what any training does."""
    return {"teacher": teacher.sha256, "distillation": digest(how.model_dump(mode="json"))}


def projection(given: int, wanted: int, *, seed: int) -> nn.Module:
    """From the student's channels to the teacher's, at each cell; torch's own seed stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Conv2d(given, wanted, 1)


def shared_points(own: Skeleton, teacher: Skeleton) -> tuple[list[int], list[int]]:
    """Places of the points that both know: in the student's order, and in the teacher's."""
    found = teacher.map_to(own).exact
    if not found:
        raise CapbenchError(
            f"Expected a teacher that knows points of {own.name}, got one of {teacher.name}, none of whose "
            "points mark the same landmark.",
            fix="a teacher trained on one of their skeletons, or on one that contains it",
        )
    return [own.index(point) for point in found], [teacher.index(point) for point in found.values()]


def check(recipe: TrainRecipe, teacher: TrainRecipe) -> None:
    """Refuse a teacher whose points, crops or maps don't correspond to the student's."""
    shared_points(recipe.points, teacher.points)
    size, other = recipe.network.input_size, teacher.network.input_size
    if size[0] * other[1] != size[1] * other[0]:
        raise CapbenchError(
            f"Expected a teacher whose crops have the aspect of {size[0]}x{size[1]}, got one of "
            f"{other[0]}x{other[1]}.",
            fix="a teacher of the same aspect: its picture is resampled, but not cut anew",
        )
    if recipe.loss.kind != teacher.loss.kind:
        raise CapbenchError(
            f"Expected a teacher whose maps were learnt by the loss {recipe.loss.kind}, got "
            f"{teacher.loss.kind}: one's maps are logarithms of shares, the other's heights.",
            fix=f"loss.kind: {teacher.loss.kind} in the recipe, or another teacher",
        )
    kinds = recipe.made.head.kind, teacher.made.head.kind
    if kinds[0] != kinds[1]:
        raise CapbenchError(f"Expected a teacher whose head is of the kind {kinds[0]}, got {kinds[1]}.")


# --- the second stage -------------------------------------------------------------------------------


class SelfTaught:
    """The second stage's loss: a head learns the first stage's maps on the first stage's backbone.

    Attributes
    ----------
    best : the first stage's lowest score; see :class:`synthpose.beside.Beside` for the others
    """

    def __init__(self, first: Path, teacher: Teacher, how: Distillation, best: float | None) -> None:
        self.recipe, net = load_trained(first)
        self.head, self.how, self.best = copy.deepcopy(net.head), how, best
        self.hashes = hashes_of(teacher, how)
        self.told = {"distillation": how.model_dump(mode="json")}
        self.own: nn.Module = nn.Module()

    def around(self, net: PoseNet) -> nn.Module:
        """The network with its backbone frozen, and the features that the other head answers to."""
        self.head = self.head.to(next(net.parameters()).device).eval().requires_grad_(False)
        return _HeadOnly(net)

    def terms(self, truth: Terms, answer: Any, pictures: Tensor, weight: Tensor, *, share: float) -> Terms:
        """How far the maps are from the first stage's; the truth is not asked."""
        out, features = answer
        with torch.no_grad(), autocast(self.recipe.precision, pictures.device):
            target = self.head(features)
        kind = self.recipe.loss.kind
        known = torch.where(weight > 0, weight, self.how.unlabelled)
        total = maps_apart(out, targets(target, None, kind=kind), known, kind=kind)
        return Terms(total, {"teacher_maps": total.detach()})


class _HeadOnly(nn.Module):
    """A network of which only the head is trained: its backbone's norms stay as they are too."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net
        net.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> _HeadOnly:
        """As ever, but for the backbone."""
        super().train(mode)
        self.net.backbone.eval()
        return self

    def forward(self, pictures: Tensor) -> tuple[Maps, Tensor]:
        """(n, 3, h, w) -> the head's output, and the backbone's features."""
        with torch.no_grad():
            features = self.net.backbone(pictures)
        return self.net.head(features), features


# --- losses -----------------------------------------------------------------------------------------


def features_apart(own: Tensor, theirs: Tensor) -> Tensor:
    """Mean square difference of two (n, C, h, w) features."""
    return ((own.float() - theirs.float()) ** 2).mean()


def picked(maps: Maps, places: list[int]) -> Maps:
    """Of some points only."""
    return (maps[0][:, places], maps[1][:, places]) if isinstance(maps, tuple) else maps[:, places]


def targets(maps: Maps, to: Resampled | None, *, kind: str) -> tuple[Tensor, ...]:
    """What a teacher's output asks of each of the student's cells.

    Of maps (n, K, h, w), or of SimCC's two vectors (n, K, bins): with divergence their softmax, which sums to
    1 over the student's cells too; with mse (maps only) heights.
    """
    if kind == "mse":
        assert isinstance(maps, Tensor)
        return (maps.float() if to is None else to(maps.float()),)
    if isinstance(maps, tuple):
        x, y = (torch.softmax(bins.float(), 2) for bins in maps)
        if to is not None:
            x, y = to.along_x(x), to.along_y(y)
        return x / x.sum(2, keepdim=True), y / y.sum(2, keepdim=True)
    shares = torch.softmax(maps.float().flatten(2), 2).view(maps.shape)
    if to is not None:
        shares = to(shares)
    return (shares / shares.sum((2, 3), keepdim=True),)


def maps_apart(out: Maps, target: tuple[Tensor, ...], weight: Tensor, *, kind: str) -> Tensor:
    """How far a network's output is from :func:`targets`, points weighted by ``weight`` (n, K).

    With divergence the Kullback-Leibler divergence from the target, at temperature 1; SimCC's two are summed.
    With mse the mean square difference, weighted as in :func:`synthpose.losses.squares`.
    """
    given = out if isinstance(out, tuple) else (out,)
    if kind == "mse":
        return (((given[0].float() - target[0]) ** 2).mean((2, 3)) * weight**2).mean()
    apart = torch.zeros_like(weight)
    for own, wanted in zip(given, target, strict=True):
        logs = torch.log_softmax(own.float().flatten(2), 2)
        shares = wanted.flatten(2)
        apart = apart + (torch.xlogy(shares, shares) - shares * logs).sum(2)
    return weighted_mean(apart, weight)
