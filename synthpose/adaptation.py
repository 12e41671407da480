"""What an adaptation without labels is asked for, what it learns from, and the rule by which it is judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cohorts.errors import CapbenchError
from cohorts.strict import Strict
from cohorts.values import FloatArray, IntArray
from synthpose.augment import NOTHING, Augmentation
from synthpose.plausible import GATE
from synthpose.recipe import LARGEST_SEED

CLUSTERS = 5  #: videos from which on each counts as one for the standard error; with fewer, runs of crops do
RUNS = 10

WEAK = NOTHING.model_copy(update={"moved": 1.0, "turn": 10.0, "scale": 1.15, "shift": 0.06})


class Adaptation(Strict):
    """How it is adapted and judged; hashed into what comes of it."""

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Of every random choice.")
    rounds: int = Field(default=3, ge=1, le=100, description="Of labelling and training.")
    samples: int = Field(default=8192, ge=1, description="Pictures trained on in a round, with repetition.")
    rate: float = Field(default=0.3, gt=0, le=10, description="Learning rate, of the source recipe's.")
    ema: float = Field(default=0.99, gt=0, lt=1, description="Decay of the teacher's running average.")
    views: int = Field(default=4, ge=2, le=16, description="Weak views of each crop; every other mirrored.")
    weak: Augmentation = Field(default=WEAK, description="What the teacher sees.")
    strong: Augmentation | None = Field(
        default=None,
        description="What the student sees. Default: what the source learnt from; a network that is not used "
        "to stronger changes loses more by them than it learns.",
    )
    sure: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Height of a point's map, of a perfect one's, from which on it counts.",
    )
    spread: float = Field(
        default=0.03, gt=0, le=1, description="How far the views' points may lie apart, of the crop's height."
    )
    gate: float = Field(
        default=GATE, gt=0, description="Standard deviations at which a point is implausible."
    )
    labelled: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Labelled pictures, made to look as the crops do, for each pseudo-labelled one.",
    )
    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="Share of crops, and of labelled pictures, only judged by."
    )
    least: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of points with a pseudo-label below which nothing is learnt.",
    )
    follows: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Most that the views' spread may be, of a network's that answers each view alike.",
    )
    errors: float = Field(default=2.0, ge=1, description="Standard errors that count as more than chance.")


@dataclass(frozen=True)
class Crops:
    """People cut out of pictures that nobody labelled.

    Attributes
    ----------
    pictures : (n, h, w, 3) uint8 RGB, of the network's size
    group : (n,) which video, or trial of several cameras, each is of; those are held out as a whole
    """

    pictures: NDArray[np.uint8]
    group: IntArray

    def __post_init__(self) -> None:
        if self.pictures.ndim != 4 or self.pictures.dtype != np.uint8 or self.pictures.shape[3] != 3:
            raise CapbenchError(
                f"Expected crops (n, h, w, 3) of uint8, got {self.pictures.shape} of {self.pictures.dtype}."
            )
        if self.group.shape != (len(self.pictures),):
            raise CapbenchError(f"Expected a group for each of {len(self.pictures)} crops.")

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def sha256(self) -> str:
        """Of pictures and groups."""
        made = hashlib.sha256(json.dumps(self.pictures.shape).encode())
        made.update(np.ascontiguousarray(self.pictures).data)
        made.update(np.ascontiguousarray(self.group, np.int64).data)
        return made.hexdigest()

    def held_out(self, share: float, seed: int) -> NDArray[np.bool_]:
        """(n,) those to judge by: whole groups, or the last crops where there is but one."""
        wanted = max(1, round(share * len(self)))
        groups = np.random.default_rng([seed, 41]).permutation(np.unique(self.group))
        chosen = np.zeros(len(self), bool)
        if len(groups) == 1:
            chosen[-wanted:] = True
        for group in groups[:-1]:
            if chosen.sum() < wanted:
                chosen |= self.group == group
        if chosen.all():
            raise CapbenchError(
                f"Expected crops to learn from beside those held out, got {len(self)} in all."
            )
        return chosen


class Labels(NamedTuple):
    """Points (n, K, 2) in pixels of the crops, weight (n, K), and numbers by name."""

    points: FloatArray
    weight: FloatArray
    facts: dict[str, float]


# --- the decision -----------------------------------------------------------------------------------


class Marks(NamedTuple):
    """How well a network does where no crop is labelled.

    Attributes
    ----------
    labelled : (m,) its error on labelled pictures made to look as the crops do, pixels
    terms : name -> (n,) of each crop, the lower the better; a network that agrees with itself has low ones
    follows : share of a blind network's spread; 1 or more sees nothing, a perfect one has 0
    """

    labelled: FloatArray
    terms: dict[str, FloatArray]
    follows: float


class Gain(NamedTuple):
    """By how much something is better, as a share of what it was, and the standard error of that."""

    share: float
    error: float


class Verdict(NamedTuple):
    """Whether it helped, and the numbers that say so.

    Attributes
    ----------
    better : whether the adapted weights are taken
    reason : in words
    labelled : gain of the error on labelled pictures
    unlabelled : mean gain of the marks of crops
    marks : name -> (source's mean, adapted's mean)
    follows : (source's, adapted's) spread, of a blind network's
    """

    better: bool
    reason: str
    labelled: Gain | None = None
    unlabelled: Gain | None = None
    marks: Mapping[str, tuple[float, float]] = {}
    follows: tuple[float, float] | None = None


LABELLED = "error in their look, px"  #: what the error on labelled pictures is called among marks


def decide(source: Marks, adapted: Marks, group: IntArray, asked: Adaptation) -> Verdict:
    """The rule: a smaller error in the crops' look, no worse marks, and points that follow the pictures.

    The marks of the crops themselves can only speak against it: a network that has learnt from its own points
    agrees with itself more, whether they were right or not. Each of them counts by its mean for the source,
    so that none outweighs another. Standard errors are those of a mean over clusters: crops of one video, and
    labelled pictures made one after the other, err alike.
    """
    labelled = _gain(
        {LABELLED: (source.labelled, adapted.labelled)}, np.zeros(len(source.labelled), np.int64)
    )
    pairs = {name: (before, adapted.terms[name]) for name, before in source.terms.items()}
    unlabelled = _gain(pairs, group)
    told = {
        name: (float(before.mean()), float(after.mean()))
        for name, (before, after) in {LABELLED: (source.labelled, adapted.labelled), **pairs}.items()
    }
    follows = (source.follows, adapted.follows)
    better, reason = True, "the error in the recordings' look is smaller by more than chance"
    if adapted.follows > asked.follows:
        better, reason = False, "the network's points don't follow its pictures"
    elif not labelled.share > asked.errors * labelled.error:
        better, reason = False, "the error in the recordings' look is not smaller by more than chance"
    elif unlabelled.share < -asked.errors * unlabelled.error:
        better, reason = False, "the marks of the recordings are worse by more than chance"
    return Verdict(better, reason, labelled, unlabelled, told, follows)


def _gain(pairs: Mapping[str, tuple[FloatArray, FloatArray]], group: IntArray) -> Gain:
    """Mean over names of (before - after) / mean before."""
    parts = [(before - after) / max(float(before.mean()), 1e-12) for before, after in pairs.values()]
    gains = np.mean(parts, axis=0)
    return Gain(float(gains.mean()), standard_error(gains, clusters(group)))


def clusters(group: IntArray) -> IntArray:
    """(n,) what counts as one for the standard error: a group; where there are few, runs within them."""
    names, of = np.unique(group, return_inverse=True)
    of = np.ravel(of)
    if len(names) >= CLUSTERS:
        return np.asarray(of, np.int64)
    made = np.empty(len(group), np.int64)
    for k in range(len(names)):
        rows = np.flatnonzero(of == k)
        made[rows] = k * RUNS + np.arange(len(rows)) * RUNS // max(len(rows), 1)
    return made


def standard_error(values: FloatArray, cluster: IntArray) -> float:
    """Of the mean of (n,) values that depend on each other within clusters; infinite with one cluster."""
    names, of = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        return float("inf")
    sums = np.bincount(np.ravel(of), values - values.mean())
    return float(np.sqrt(len(names) / (len(names) - 1) * (sums**2).sum()) / len(values))
