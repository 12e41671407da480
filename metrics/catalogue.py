"""The cards of all scores: what each is called, its unit, which way is better, what it means and needs.

A score is a pure function; ``@metric`` puts a card on it and hands the function back unchanged. A
published name with several definitions has one card for each, whose name says the choice
(``PCK@0.2·bbox``) and whose ``fixed`` holds the arguments that make it so.

>>> card("MPJPE·root").unit
'mm'
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

from metrics.arrays import MM, MetricError

F = TypeVar("F", bound=Callable[..., Any])
Direction = Literal["lower", "higher", "zero", "neither"]
Merge = Literal["sums", "samples", "trials"]

#: which way is better
DIRECTIONS: Mapping[str, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "zero": "signed; nearest to zero is best",
    "neither": "describes; neither way is better",
}
#: how the parts of a cohort that were scored apart come together
MERGES: Mapping[str, str] = {
    "sums": "a function of sums and counts: shards add theirs exactly (metrics.aggregate.ExactSum)",
    "samples": "needs all samples at once: shards hand theirs over, to be sorted by name and scored once",
    "trials": "one value a trial: shards list theirs, metrics.aggregate takes them up the tree",
}
#: what a score may ask for beside the prediction
NEEDS: Mapping[str, str] = {
    "reference": "the true values",
    "time": "the times of the samples or their rate",
    "visibility": "which reference points are labelled or visible",
    "bbox": "the reference's bounding box",
    "area": "the reference's segment area",
    "head": "the reference's head segment length",
    "torso": "the reference's torso length",
    "sigmas": "an OKS constant for each point",
    "scores": "a confidence for each detection or sample",
    "covariance": "a predicted standard deviation or covariance",
    "hypotheses": "several predictions for each sample",
    "rotations": "rotation matrices of the joints",
    "vertices": "mesh vertices in correspondence",
    "detections": "several people in a picture",
    "forces": "force-plate signals",
    "events": "gait events",
    "norm": "curves of a control group",
    "groups": "a group label for each sample",
    "corruptions": "scores under named corruptions and severities",
    "subjects": "which subject each value belongs to",
    "raters": "the same targets measured several times",
    "model": "ranges or lengths of the body model",
    "baseline": "the same score of a baseline",
    "visits": "two sessions of the same subjects",
    "cutoff": "a clinical cut-off",
    "markers": "named 3D points",
    "angles": "named joint coordinates",
}
#: what an error may be of: the unit its score is reported in, and how many of those one unit given makes
QUANTITIES: dict[str, tuple[str, float]] = {
    "position": ("mm", MM),
    "angle": ("°", 180.0 / math.pi),
    "pixels": ("px", 1.0),
}
#: the modules that hold scores, in the order in which they are listed
ORDER = (
    "angles",
    "waveforms",
    "lag",
    "keypoints2d",
    "detection2d",
    "failures2d",
    "keypoints3d",
    "detection3d",
    "mesh",
    "temporal",
    "trajectory",
    "smoothness",
    "hypotheses",
    "uncertainty",
    "ranking",
    "robustness",
    "plausibility",
    "events",
    "gait",
    "profiles",
    "tasks",
    "symmetry",
    "decisions",
    "agreement",
    "curves",
    "inference",
    "aggregate",
)


@dataclass(frozen=True)
class Card:
    """What there is to know of one score.

    Attributes
    ----------
    name : unique; says every choice that the published name hides
    version : counts up when the number for the same input changes
    unit : of the value returned: "°", "mm", "%", "1" for a bare number, …
    direction : see ``DIRECTIONS``
    definition : one sentence
    reference : who published it, or "capbench"
    needs : see ``NEEDS``
    merge : see ``MERGES``
    fixed : the arguments that this name fixes
    part : the attribute of the function's result that holds the value (dots go deeper); "": the result itself
    module : the file in ``metrics/`` it lives in
    function : what computes it
    """

    name: str
    unit: str
    direction: Direction
    definition: str
    reference: str
    needs: tuple[str, ...]
    merge: Merge
    version: int
    fixed: Mapping[str, Any]
    part: str
    module: str
    function: Callable[..., Any] = field(repr=False)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The score, with the arguments this name fixes; those can't be given again."""
        if again := sorted(self.fixed.keys() & options.keys()):
            raise MetricError(f"Expected {', '.join(again)} as {self.name} fixes it, got another value.")
        value = self.function(*args, **self.fixed, **options)
        return attrgetter(self.part)(value) if self.part else value


_cards: dict[str, Card] = {}


def metric(
    name: str,
    *,
    unit: str,
    direction: Direction,
    definition: str,
    reference: str,
    needs: tuple[str, ...] = ("reference",),
    merge: Merge = "trials",
    version: int = 1,
    part: str = "",
    **fixed: Any,
) -> Callable[[F], F]:
    """Put a card on a function: a decorator, which may be stacked for several names."""

    def register(function: F) -> F:
        module = function.__module__.removeprefix("metrics.")
        card = Card(
            name=name,
            unit=unit,
            direction=direction,
            definition=definition,
            reference=reference,
            needs=needs,
            merge=merge,
            version=version,
            fixed=MappingProxyType(fixed),
            part=part,
            module=module,
            function=function,
        )
        _check(card)
        _cards[name] = card
        return function

    return register


def by_quantity(name: str, **card: Any) -> Callable[[F], F]:
    """A card for each of ``QUANTITIES`` on a function with a ``factor``: ``name·position`` in mm, and so on.

    >>> card("sharpness·angle").unit, card("sharpness·position")([0.003, 0.004, 0.0, 0.0])
    ('°', 2.5)
    """

    def register(function: F) -> F:
        for quantity, (unit, factor) in QUANTITIES.items():
            metric(f"{name}·{quantity}", unit=unit, factor=factor, **card)(function)
        return function

    return register


def _check(card: Card) -> None:
    known = _cards.get(card.name)
    if known is not None and known.function.__qualname__ != card.function.__qualname__:
        raise MetricError(f"Expected one score named {card.name!r}, got {known.module} and {card.module}.")
    if card.direction not in get_args(Direction) or card.merge not in get_args(Merge):
        raise MetricError(f"Card {card.name!r}: unknown {card.direction!r} or {card.merge!r}.")
    if unknown := sorted(set(card.needs) - NEEDS.keys()):
        raise MetricError(f"Card {card.name!r} needs {', '.join(unknown)}, which no one knows.")
    if not card.definition.endswith(".") or not card.unit or not card.reference:
        raise MetricError(f"Card {card.name!r}: expected a unit, a reference and a whole sentence.")
    if missing := sorted(set(card.fixed) - set(inspect.signature(card.function).parameters)):
        raise MetricError(f"Card {card.name!r} fixes {', '.join(missing)}: its function takes no such.")


def cards() -> Mapping[str, Card]:
    """Every card by its name, in the order of the modules.

    >>> len(cards()) > 100
    True
    """
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"metrics.{module.name}")
    return MappingProxyType(dict(sorted(_cards.items(), key=lambda item: ORDER.index(item[1].module))))


def card(name: str) -> Card:
    """The card called ``name``; an unknown name is told its nearest.

    >>> card("coverage").direction
    'higher'
    """
    known = cards()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        raise MetricError(
            f"Expected the name of a metric, got {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return known[name]
