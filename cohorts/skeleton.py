"""Named keypoint sets, kept as data (``skeletons/*.yaml``), and the maps between them.

Each point says which **landmark** of the body it marks. Two points mark exactly the same thing only
when their landmarks are the same text. A landmark may carry a variant behind ``@``
(``left_hip@coco``, ``left_hip@h36m``): same place in name, another definition, so a map between them
is an approximation and says so. ``skeletons/landmarks.yaml`` holds what each landmark is, who places
it that way, and which others can stand in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cohorts.bounded import load_yaml
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FrozenDict, check_unique

Side = Literal["left", "right", "middle"]
FOLDER = Path(__file__).parent / "skeletons"


@dataclass(frozen=True)
class Skeleton:
    """A named, ordered set of keypoints.

    Attributes
    ----------
    name : such as "coco-17"
    points : K unique point names, in the order of the files that use it
    landmarks : K unique landmark names (see the module's docstring); default: known to this skeleton only
    title, source : what it is in words, and where the order and the sigmas come from
    flip_pairs : (left, right) point names that change places when a picture is mirrored
    limbs : pairs of point names to draw
    aliases : other spellings -> point name
    sigmas : K OKS constants (COCO's k_i = 2 sigma_i), or None where nobody published any
    sigmas_source : who published them
    """

    name: str
    points: tuple[str, ...]
    landmarks: tuple[str, ...] = ()
    title: str = ""
    source: str = ""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    limbs: tuple[tuple[str, str], ...] = ()
    aliases: Mapping[str, str] = field(default_factory=FrozenDict)
    sigmas: tuple[float, ...] | None = None
    sigmas_source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(self.points))
        object.__setattr__(self, "landmarks", tuple(self.landmarks))
        object.__setattr__(self, "aliases", FrozenDict(self.aliases))
        check_unique("point", self.points)
        if not self.landmarks:
            object.__setattr__(self, "landmarks", tuple(f"{p}@{self.name}" for p in self.points))
        if len(self.landmarks) != len(self.points):
            raise CapbenchError(
                f"Expected one landmark for each of {len(self.points)} points, got {len(self.landmarks)}.",
                place=f"skeleton {self.name}",
            )
        check_unique(f"landmark of skeleton {self.name}", self.landmarks)
        if self.sigmas is not None and (
            len(self.sigmas) != len(self.points) or not all(0 < s < 1 for s in self.sigmas)
        ):
            raise CapbenchError(
                f"Expected {len(self.points)} OKS sigmas between 0 and 1, got {self.sigmas}.",
                place=f"skeleton {self.name}",
            )
        self._check_references()

    def _check_references(self) -> None:
        known = set(self.points)
        named = [n for pair in (*self.flip_pairs, *self.limbs) for n in pair]
        for name in (*named, *self.aliases.values()):
            if name not in known:
                raise unknown_name(f"point of skeleton {self.name}", name, self.points)
        for alias in self.aliases:
            if alias in known:
                raise CapbenchError(
                    f"Expected an alias that is no point's name, got {alias!r}.",
                    place=f"skeleton {self.name}",
                )
        mirrored = [n for pair in self.flip_pairs for n in pair]
        if len(mirrored) != len(set(mirrored)):
            raise CapbenchError(
                "Expected each point in one flip pair at most.", place=f"skeleton {self.name}"
            )

    def __len__(self) -> int:
        return len(self.points)

    def __hash__(self) -> int:
        return hash((self.name, self.points))

    def index(self, name: str) -> int:
        """Where the point (or alias) ``name`` stands among the points."""
        name = self.aliases.get(name, name)
        if name not in self.points:
            raise unknown_name(f"point of skeleton {self.name}", name, self.points)
        return self.points.index(name)

    @property
    def sides(self) -> tuple[Side, ...]:
        """K of "left", "right" or "middle": the subject's own sides.

        A point without a flip pair (a tracking marker, a lone hand) has the side its landmark names.
        """
        side: dict[str, Side] = {}
        for left, right in self.flip_pairs:
            side[left], side[right] = "left", "right"
        return tuple(
            side.get(p) or _side_named(landmark)
            for p, landmark in zip(self.points, self.landmarks, strict=True)
        )

    @property
    def flip_indices(self) -> tuple[int, ...]:
        """K places: point k of a mirrored picture is point ``flip_indices[k]`` of the original.

        A point of one side without a partner keeps its place, though its mirror image is no such point.
        """
        other = {a: b for left, right in self.flip_pairs for a, b in ((left, right), (right, left))}
        return tuple(self.index(other.get(p, p)) for p in self.points)

    def map_to(self, other: Skeleton) -> SkeletonMap:
        """How ``other``'s points follow from this skeleton's: exactly, approximately, or not at all."""
        own: dict[str, str] = {}
        for point, landmark in zip(self.points, self.landmarks, strict=True):
            own.setdefault(landmark, point)
        exact: dict[str, str] = {}
        approximate: dict[str, Approximation] = {}
        missing: list[str] = []
        for point, landmark in zip(other.points, other.landmarks, strict=True):
            if landmark in own:
                exact[point] = own[landmark]
            elif (stand_in := _stand_in(landmark, own)) is not None:
                approximate[point] = stand_in
            else:
                missing.append(point)
        return SkeletonMap(self, other, FrozenDict(exact), approximate, tuple(missing))


@dataclass(frozen=True)
class Approximation:
    """A point made as the mean of others that mark nearly, but not quite, the same landmark."""

    points: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class SkeletonMap:
    """What ``source.map_to(target)`` found.

    Attributes
    ----------
    exact : target point -> source point with the very same landmark
    approximate : target point -> the mean of which source points, and what is wrong with it
    missing : target points that nothing in the source stands for
    """

    source: Skeleton
    target: Skeleton
    exact: Mapping[str, str]
    approximate: Mapping[str, Approximation]
    missing: tuple[str, ...]


def _stand_in(landmark: str, own: Mapping[str, str]) -> Approximation | None:
    """The best stand-in for ``landmark`` among the landmarks in ``own`` (landmark -> point)."""
    base = _base(landmark)
    by_base: dict[str, str] = {}
    for candidate, point in own.items():
        by_base.setdefault(_base(candidate), point)
        if _base(candidate) == base:
            return Approximation((point,), f"{point} is {describe(candidate)}, not {describe(landmark)}")
    for kin in _vocabulary()["landmarks"].get(base, {}).get("near", ()):
        if all(part in by_base for part in kin["mean"]):
            points = tuple(by_base[part] for part in kin["mean"])
            return Approximation(points, f"{', '.join(points)}: {kin['why']}, not {describe(landmark)}")
    return None


def _base(landmark: str) -> str:
    return landmark.partition("@")[0]


def _side_named(landmark: str) -> Side:
    if landmark.startswith("left_"):
        return "left"
    return "right" if landmark.startswith("right_") else "middle"


def describe(landmark: str) -> str:
    """What a landmark is and who places it so, in words; its own name where the vocabulary has none.

    >>> describe("left_hip@coco")
    "the left hip joint as COCO's annotators marked it by eye"
    """
    base, _, family = landmark.partition("@")
    entry = _vocabulary()["landmarks"].get(base, {})
    if family in entry.get("variants", {}):
        return str(entry["variants"][family])
    text = str(entry.get("is") or base.replace("_", " "))
    return f"{text} {_vocabulary()['families'].get(family, f'as {family} has it')}" if family else text


@cache
def _vocabulary() -> Mapping[str, Any]:
    """``landmarks.yaml`` with each ``SIDE_*`` landmark as a left and a right one."""
    card = load_yaml(FOLDER / "landmarks.yaml")
    landmarks: dict[str, Any] = {}
    for name, entry in card["landmarks"].items():
        for side in ("left", "right") if name.startswith("SIDE_") else ("",):
            landmarks[name.replace("SIDE", side)] = _on_side(entry, side)
    return {"families": card["families"], "landmarks": landmarks}


def _on_side(entry: Any, side: str) -> Any:
    """A landmark's entry, three levels deep, with ``SIDE`` spelled out in every text."""
    if isinstance(entry, str):
        return entry.replace("SIDE", side)
    if isinstance(entry, list):
        return [_on_side(part, side) for part in entry]
    return {key: _on_side(part, side) for key, part in entry.items()}


@cache
def skeleton_names() -> tuple[str, ...]:
    """The names of all built-in skeletons, sorted."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem != "landmarks"))


@cache
def skeleton(name: str) -> Skeleton:
    """The built-in skeleton ``name``, such as "coco-17"."""
    if name not in skeleton_names():
        raise unknown_name("skeleton", name, skeleton_names())
    return parse_skeleton(load_yaml(FOLDER / f"{name}.yaml"), file=FOLDER / f"{name}.yaml")


_KEYS = {"name", "title", "source", "points", "flip_pairs", "limbs", "sigmas_source"}
_POINT_KEYS = {"name", "landmark", "sigma", "aliases"}


def parse_skeleton(card: Any, *, file: Path | None = None) -> Skeleton:
    """A skeleton from a parsed YAML card; unknown keys and wrong types are refused."""
    from cohorts.bounded import about

    with about(file) if file is not None else nullcontext():
        _check_keys(card, _KEYS, {"name", "points"}, "a skeleton")
        points = _list(card["points"], "points")
        for point in points:
            _check_keys(point, _POINT_KEYS, {"name", "landmark"}, "a point")
        sigmas = [_number(p["sigma"]) for p in points if "sigma" in p]
        if sigmas and len(sigmas) != len(points):
            raise CapbenchError("Expected a sigma for every point or for none.")
        return Skeleton(
            name=_text(card["name"], "name"),
            title=_text(card.get("title", ""), "title"),
            source=_text(card.get("source", ""), "source"),
            points=tuple(_text(p["name"], "name") for p in points),
            landmarks=tuple(_text(p["landmark"], "landmark") for p in points),
            flip_pairs=_pairs(card.get("flip_pairs", []), "flip_pairs"),
            limbs=_pairs(card.get("limbs", []), "limbs"),
            aliases=_aliases(points),
            sigmas=tuple(sigmas) if sigmas else None,
            sigmas_source=_text(card.get("sigmas_source", ""), "sigmas_source"),
        )


def _check_keys(card: Any, allowed: set[str], needed: set[str], what: str) -> None:
    if not isinstance(card, dict):
        raise CapbenchError(f"Expected {what} as a mapping, got {type(card).__name__}.")
    for key in card.keys() - allowed:
        raise CapbenchError(
            f"Expected the keys of {what} ({', '.join(sorted(allowed))}), got {key!r}.",
            place=f"{card.get('name')}",
        )
    for key in sorted(needed - card.keys()):
        raise CapbenchError(f"Expected {what} to have {key!r}.", place=f"{card.get('name')}")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise CapbenchError(f"Expected text for {what}, got {value!r}.", fix="put it in quotes")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise CapbenchError(f"Expected a sigma between 0 and 1, got {value!r}.")
    return float(value)


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise CapbenchError(f"Expected a list of {what}, got {type(value).__name__}.")
    return value


def _pairs(value: Any, what: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for pair in _list(value, what):
        if not isinstance(pair, list) or len(pair) != 2:
            raise CapbenchError(f"Expected two names in each of {what}, got {pair!r}.")
        pairs.append((_text(pair[0], what), _text(pair[1], what)))
    return tuple(pairs)


def _aliases(points: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for point in points:
        for alias in _list(point.get("aliases", []), "aliases"):
            if _text(alias, "aliases") in aliases:
                raise CapbenchError(
                    f"Expected each alias once, got {alias!r} twice.", place=f"point {point['name']}"
                )
            aliases[alias] = point["name"]
    return aliases
