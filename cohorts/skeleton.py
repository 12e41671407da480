"""Named keypoint sets, kept as data (``skeletons/*.yaml``), and the maps between them.

Each point says which **landmark** of the body it marks. Two points mark exactly the same thing only
when their landmarks are the same text. A landmark may carry a variant behind ``@``
(``left_hip@coco``, ``left_hip@h36m``): same place in name, another definition, so a map between them
is an approximation and says so. ``skeletons/landmarks.yaml`` holds what each landmark is and which
others can stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FrozenDict, check_unique

if TYPE_CHECKING:
    from cohorts.recording import Keypoints, Markers

Side = Literal["left", "right", "middle"]
FOLDER = Path(__file__).parent / "skeletons"


@dataclass(frozen=True)
class Skeleton:
    """A named, ordered set of keypoints.

    Attributes
    ----------
    name : such as "coco-17"
    points : K unique point names, in the order of the files that use it
    landmarks : K landmark names (see the module's docstring)
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
        object.__setattr__(self, "aliases", FrozenDict(self.aliases))
        check_unique("point", self.points)
        if not self.landmarks:
            object.__setattr__(self, "landmarks", tuple(f"{p}@{self.name}" for p in self.points))
        if len(self.landmarks) != len(self.points):
            raise CapbenchError(
                f"Expected one landmark for each of {len(self.points)} points, got {len(self.landmarks)}.",
                place=f"skeleton {self.name}",
            )
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
            raise unknown_name(f"point of skeleton {self.name}", name, (*self.points, *self.aliases))
        return self.points.index(name)

    @property
    def sides(self) -> tuple[Side, ...]:
        """K of "left", "right" or "middle": the subject's own sides, from the flip pairs."""
        side: dict[str, Side] = {}
        for left, right in self.flip_pairs:
            side[left], side[right] = "left", "right"
        return tuple(side.get(p, "middle") for p in self.points)

    @property
    def flip_indices(self) -> tuple[int, ...]:
        """K places: point k of a mirrored picture is point ``flip_indices[k]`` of the original."""
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

    def apply(self, keypoints: Keypoints, *, approximate: bool = True) -> Keypoints:
        """``keypoints`` in the target skeleton; missing points (and, on demand, approximate ones) are NaN.

        A mean of several points takes the lowest of their confidences, and their mean covariance / n
        as if their errors were independent.
        """
        from cohorts.recording import Keypoints

        if keypoints.skeleton != self.source:
            raise CapbenchError(
                f"Expected keypoints of skeleton {self.source.name}, got {keypoints.skeleton.name}."
            )
        xy, confidence, covariance = self._gather(
            keypoints.xy, keypoints.confidence, keypoints.covariance, approximate
        )
        return Keypoints(
            camera=keypoints.camera,
            time=keypoints.time,
            xy=xy,
            skeleton=self.target,
            confidence=confidence,
            person=keypoints.person,
            covariance=covariance,
            frames=keypoints.frames,
            score=keypoints.score,
        )

    def apply_to_markers(self, markers: Markers, *, approximate: bool = True) -> Markers:
        """``markers`` named by the source skeleton, as markers named by the target's; as ``apply``."""
        from cohorts.recording import Markers

        own = markers.select(self.source.points)
        xyz, confidence, _ = self._gather(own.xyz, own.confidence, None, approximate)
        return Markers(markers.time, self.target.points, xyz, confidence)

    def _gather(
        self, points: Any, confidence: Any, covariance: Any, approximate: bool
    ) -> tuple[Any, Any, Any]:
        frames, size = points.shape[0], len(self.target)
        new_points = np.full((frames, size, points.shape[2]), np.nan)
        new_confidence = np.zeros((frames, size))
        new_covariance = None if covariance is None else np.full((frames, size, 2, 2), np.nan)
        takes: dict[str, tuple[str, ...]] = {target: (source,) for target, source in self.exact.items()}
        if approximate:
            takes |= {target: a.points for target, a in self.approximate.items()}
        for target, sources in takes.items():
            k = self.target.index(target)
            rows = [self.source.index(s) for s in sources]
            new_points[:, k] = points[:, rows].mean(axis=1)
            new_confidence[:, k] = confidence[:, rows].min(axis=1)
            if new_covariance is not None:
                new_covariance[:, k] = covariance[:, rows].mean(axis=1) / len(rows)
        new_confidence[np.isnan(new_points).any(axis=-1)] = 0
        return new_points, new_confidence, new_covariance


def _stand_in(landmark: str, own: Mapping[str, str]) -> Approximation | None:
    """The best stand-in for ``landmark`` among the landmarks in ``own`` (landmark -> point)."""
    base = landmark.partition("@")[0]
    for candidate, point in own.items():
        if candidate.partition("@")[0] == base:
            return Approximation((point,), f"{point} is {describe(candidate)}, not {describe(landmark)}")
    for kin in _landmarks().get(base, {}).get("near", ()):
        points = []
        for part in kin["mean"]:
            found = [p for c, p in own.items() if c.partition("@")[0] == part]
            if not found:
                break
            points.append(found[0])
        else:
            return Approximation(tuple(points), kin["why"])
    return None


def describe(landmark: str) -> str:
    """What a landmark is, in words; its own name where the vocabulary has none."""
    base, _, variant = landmark.partition("@")
    entry = _landmarks().get(base, {})
    text = entry.get("variants", {}).get(variant) or entry.get("is") or base.replace("_", " ")
    return str(text)


def _load(path: Path) -> Any:
    from cohorts.formats.bounded import load_yaml

    return load_yaml(path)


@cache
def _landmarks() -> Mapping[str, Any]:
    landmarks: Mapping[str, Any] = _load(FOLDER / "landmarks.yaml")
    return landmarks


@cache
def skeleton_names() -> tuple[str, ...]:
    """The names of all built-in skeletons, sorted."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem != "landmarks"))


@cache
def skeleton(name: str) -> Skeleton:
    """The built-in skeleton ``name``, such as "coco-17"."""
    if name not in skeleton_names():
        raise unknown_name("skeleton", name, skeleton_names())
    return parse_skeleton(_load(FOLDER / f"{name}.yaml"), file=FOLDER / f"{name}.yaml")


_KEYS = {"name", "title", "source", "points", "flip_pairs", "limbs", "sigmas_source"}
_POINT_KEYS = {"name", "landmark", "sigma", "aliases"}


def parse_skeleton(card: Any, *, file: Path | None = None) -> Skeleton:
    """A skeleton from a parsed YAML card; unknown keys are refused."""
    if not isinstance(card, dict):
        raise CapbenchError(f"Expected a mapping, got {type(card).__name__}.", file=file)
    for key in card.keys() - _KEYS:
        raise CapbenchError(f"Expected one of {sorted(_KEYS)}, got the key {key!r}.", file=file)
    points = card["points"]
    for point in points:
        for key in point.keys() - _POINT_KEYS:
            raise CapbenchError(
                f"Expected one of {sorted(_POINT_KEYS)}, got the key {key!r}.",
                file=file,
                place=f"point {point.get('name')}",
            )
    sigmas = [p["sigma"] for p in points if "sigma" in p]
    if sigmas and len(sigmas) != len(points):
        raise CapbenchError("Expected a sigma for every point or for none.", file=file)
    return Skeleton(
        name=card["name"],
        title=card.get("title", ""),
        source=card.get("source", ""),
        points=tuple(p["name"] for p in points),
        landmarks=tuple(p["landmark"] for p in points),
        flip_pairs=tuple((left, right) for left, right in card.get("flip_pairs", ())),
        limbs=tuple((a, b) for a, b in card.get("limbs", ())),
        aliases={alias: p["name"] for p in points for alias in p.get("aliases", ())},
        sigmas=tuple(map(float, sigmas)) if sigmas else None,
        sigmas_source=card.get("sigmas_source", ""),
    )
