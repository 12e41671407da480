"""``capbench:fullbody``: our own model of the whole body, read from ``fullbody.yaml`` and built to any size.

The card gives the right side; the left one is made here by mirroring, so no figure is written twice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from capbench.biomech.functions import IDENTITY, Polynomial
from capbench.biomech.model import Axis, Body, Coordinate, Joint, Marker, Model, Placement
from capbench.biomech.osim import read_model
from cohorts.bounded import about, load_yaml
from cohorts.errors import CapbenchError, unknown_name
from cohorts.skeleton import skeleton
from cohorts.values import FloatArray

FILE = Path(__file__).parent / "fullbody.yaml"
SCHEME = "capbench:"
FULLBODY = "capbench:fullbody"
MARKERS = "synthpose-52"  #: what it wears unless told otherwise
HEIGHTS = (0.4, 2.6)  #: metres
MASSES = (2.0, 700.0)  #: kilograms
SIDE = "SIDE_"
_MIRROR = np.array([1.0, 1.0, -1.0])
_NAMED_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Site:
    """Where a landmark is: ``location`` metres in ``body``, of the right side where its name says SIDE."""

    body: str
    location: FloatArray
    fixed: bool


@dataclass(frozen=True)
class MarkerSet:
    """How a skeleton's points become markers: landmarks that lie elsewhere, and starts of names left out."""

    moved: Mapping[str, FloatArray]
    without: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A body of reference size, both sides, with every optional joint free to move.

    Attributes
    ----------
    height, mass : metres and kilograms of the reference size; the bodies have masses in kilograms
    groups : optional joints by group -> what the group is
    group_of : joint -> group, of those that are rigid unless asked for
    sites : landmark -> where it is
    sets : skeleton -> how its points become markers
    """

    name: str
    height: float
    mass: float
    groups: Mapping[str, str]
    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...]
    group_of: Mapping[str, str]
    sites: Mapping[str, Site]
    sets: Mapping[str, MarkerSet]


# --- building -----------------------------------------------------------------------------------


def fullbody(
    *,
    markers: str | None = MARKERS,
    groups: tuple[str, ...] = (),
    height: float | None = None,
    mass: float | None = None,
) -> Model:
    """Our model of the whole body.

    ``markers`` names the skeleton whose points it wears (None: none). ``groups`` frees optional joints
    ("head", "wrists"). ``height`` (metres) scales all lengths alike, ``mass`` (kilograms) all masses. A
    height without a mass keeps the reference's body-mass index, so the mass grows with the height squared.
    """
    return build(fullbody_card(), markers=markers, groups=groups, height=height, mass=mass)


def build(
    card: Card,
    *,
    markers: str | None,
    groups: tuple[str, ...] = (),
    height: float | None = None,
    mass: float | None = None,
) -> Model:
    """The model of a card; see :func:`fullbody`."""
    for group in groups:
        if group not in card.groups:
            raise unknown_name("group of optional joints", group, card.groups)
    size = 1.0 if height is None else _within("height", height, HEIGHTS, "m", "metres") / card.height
    weight = size**2 if mass is None else _within("mass", mass, MASSES, "kg", "kilograms") / card.mass
    rigid = {joint for joint, group in card.group_of.items() if group not in groups}
    joints = tuple(_welded(j) if j.name in rigid else j for j in card.joints)
    worn = () if markers is None else card_markers(card, markers)
    return Model(
        card.name,
        tuple(_sized_body(b, size, weight) for b in card.bodies),
        tuple(_sized_joint(j, size) for j in joints),
        markers=tuple(replace(m, location=m.location * size) for m in worn),
    )


def _within(what: str, value: float, bounds: tuple[float, float], unit: str, units: str) -> float:
    low, high = bounds
    if not low <= value <= high:
        raise CapbenchError(
            f"Expected a {what} from {low:g} to {high:g} {unit}, got {value:g}.", fix=f"give it in {units}"
        )
    return value


def _welded(joint: Joint) -> Joint:
    return replace(joint, kind="WeldJoint", rotations=(), translations=(), coordinates=())


def _sized_body(body: Body, size: float, weight: float) -> Body:
    return Body(body.name, body.mass * weight, body.mass_centre * size, body.inertia * (weight * size**2))


def _sized_joint(joint: Joint, size: float) -> Joint:
    """The joint ``size`` times as large. A translation's own coordinate is in metres already, so its default
    grows, not its function."""
    metres = {c.name for c in joint.coordinates if c.kind == "translation"}
    return replace(
        joint,
        in_parent=Placement(joint.in_parent.rotation, joint.in_parent.translation * size),
        in_child=Placement(joint.in_child.rotation, joint.in_child.translation * size),
        translations=tuple(
            a if a.coordinate in metres else replace(a, function=a.function.scaled(size))
            for a in joint.translations
        ),
        coordinates=tuple(
            replace(c, default=c.default * size) if c.name in metres else c for c in joint.coordinates
        ),
    )


def marker_sets() -> tuple[str, ...]:
    """The skeletons whose points ``capbench:fullbody`` can wear as markers."""
    return tuple(fullbody_card().sets)


def card_markers(card: Card, name: str) -> tuple[Marker, ...]:
    """A skeleton's points as markers, at the reference size."""
    if name not in card.sets:
        raise unknown_name("marker set", name, card.sets)
    chosen, made = card.sets[name], []
    points = skeleton(name)
    for point, landmark in zip(points.points, points.landmarks, strict=True):
        if point.startswith(chosen.without):
            continue
        key = next((k for k in _lookup(landmark) if k in card.sites), None)
        if key is None:
            raise CapbenchError(
                f"Expected a site for the landmark {landmark}, got none.",
                place=f"marker set {name}, point {point}",
            )
        site = card.sites[key]
        body, location = site.body, chosen.moved.get(key, site.location)
        if landmark.startswith("left_") and key.startswith(SIDE):
            body, location = mirrored_name(body), location * _MIRROR
        made.append(Marker(point, body, location, site.fixed))
    return tuple(made)


def _lookup(landmark: str) -> tuple[str, ...]:
    """Where a landmark may be written, best first: with its variant, then without."""
    base = landmark.partition("@")[0]
    return tuple(k for text in (landmark, base) for k in (text, _sided(text)))


def _sided(landmark: str) -> str:
    for side in ("left_", "right_"):
        if landmark.startswith(side):
            return SIDE + landmark.removeprefix(side)
    return landmark


def resolve_model(name: str | os.PathLike[str]) -> Model:
    """A model by name or by the path of an .osim file.

    ``capbench:fullbody`` may be followed by groups of optional joints and by one marker set, each after a
    plus: ``capbench:fullbody+head+wrists``, ``capbench:fullbody+coco-17``.
    """
    text = os.fspath(name)
    if not text.startswith(SCHEME):
        return read_model(text)
    markers, groups = parse_name(text)
    return fullbody(markers=markers or MARKERS, groups=groups)


def parse_name(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The marker set, if any, and the groups that a name of our model asks for; see :func:`resolve_model`."""
    first, *words = name.split("+")
    if first != FULLBODY:
        raise unknown_name("model", first, (FULLBODY,))
    card = fullbody_card()
    sets = [w for w in words if w in card.sets]
    groups = tuple(w for w in words if w not in card.sets)
    for group in groups:
        if group not in card.groups:
            raise unknown_name(f"group or marker set of {FULLBODY}", group, (*card.groups, *card.sets))
    if len(sets) > 1:
        raise CapbenchError(f"Expected one marker set, got {' and '.join(sets)}.", place=f"model {name}")
    return (sets[0] if sets else None), groups


# --- the other side -----------------------------------------------------------------------------


def mirrored_name(name: str) -> str:
    """The left side's name: ``femur_r`` -> ``femur_l``; names of the middle stay."""
    return name[:-2] + "_l" if name.endswith("_r") else name


def mirrored_body(body: Body) -> Body:
    """Its mirror image in the x-y plane; a product of inertia with one z changes its sign."""
    signs = np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    return Body(mirrored_name(body.name), body.mass, body.mass_centre * _MIRROR, body.inertia * signs)


def mirrored_joint(joint: Joint) -> Joint:
    """Its mirror image in the x-y plane: the same coordinate values give the mirrored posture.

    A mirror turns the sense of rotations round, so their axes are mirrored and reversed.
    """

    def axis(a: Axis, sign: float) -> Axis:
        coordinate = None if a.coordinate is None else mirrored_name(a.coordinate)
        return Axis(a.direction * _MIRROR * sign, a.function, coordinate)

    def place(p: Placement) -> Placement:
        return Placement(p.rotation * np.outer(_MIRROR, _MIRROR), p.translation * _MIRROR)

    return Joint(
        mirrored_name(joint.name),
        joint.kind,
        mirrored_name(joint.parent),
        mirrored_name(joint.child),
        place(joint.in_parent),
        place(joint.in_child),
        tuple(axis(a, -1.0) for a in joint.rotations),
        tuple(axis(a, 1.0) for a in joint.translations),
        tuple(replace(c, name=mirrored_name(c.name)) for c in joint.coordinates),
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


def _both_sides(things: Iterable[T], mirrored: Callable[[T], T]) -> tuple[T, ...]:
    """Every run of right-side things followed by its mirror image."""
    made: list[T] = []
    run: list[T] = []
    for thing in things:
        if not thing.name.endswith("_r"):
            made += map(mirrored, run)
            run = []
        else:
            run.append(thing)
        made.append(thing)
    return (*made, *map(mirrored, run))


# --- reading the card ---------------------------------------------------------------------------


@cache
def fullbody_card() -> Card:
    """The card of ``capbench:fullbody``."""
    return read_card(FILE)


def read_card(path: str | os.PathLike[str]) -> Card:
    """A card from a YAML file; errors name the file and the place in it."""
    with about(path):
        return parse_card(load_yaml(path))


def parse_card(value: Any) -> Card:
    """A card from parsed YAML; unknown keys, wrong types and impossible figures are refused."""
    card = _Node(value, "").record("name height mass groups bodies joints sites sets")
    mass = card["mass"].number(*MASSES)
    groups = {name: node.text() for name, node in card["groups"].named().items()}
    bodies = _both_sides([_body(n, b, mass) for n, b in card["bodies"].named().items()], mirrored_body)
    share = sum(b.mass for b in bodies) / mass
    if abs(share - 1) > 1e-9:
        raise card["bodies"].error(f"masses that sum to 1 over both sides, got {share:.9g}")
    known = {b.name for b in bodies}
    right = [_joint(name, node, known, groups) for name, node in card["joints"].named().items()]
    joints = _both_sides([joint for joint, _ in right], mirrored_joint)
    group_of = {n: g for joint, g in right if g is not None for n in (joint.name, mirrored_name(joint.name))}
    sites = {name: _site(node, known) for name, node in card["sites"].named().items()}
    return Card(
        card["name"].text(),
        card["height"].number(*HEIGHTS),
        mass,
        groups,
        bodies,
        joints,
        group_of,
        sites,
        {name: _set(node, sites) for name, node in card["sets"].named().items()},
    )


@dataclass(frozen=True)
class _Node:
    """A value of the card and the way to it, for messages."""

    value: Any
    path: str

    def error(self, expected: str) -> CapbenchError:
        return CapbenchError(f"Expected {expected}.", place=self.path or "the card")

    def wrong(self, expected: str) -> CapbenchError:
        return self.error(f"{expected}, got {str(self.value)[:60]!r}")

    def named(self) -> dict[str, _Node]:
        """A mapping with any text as keys."""
        if not isinstance(self.value, dict):
            raise self.wrong("a mapping")
        for key in self.value:
            if not isinstance(key, str) or not key:
                raise self.error(f"text as key, got {key!r}")
        return {k: _Node(v, f"{self.path}.{k}" if self.path else k) for k, v in self.value.items()}

    def record(self, needed: str, optional: str = "") -> dict[str, _Node]:
        """A mapping with these keys and no others."""
        found = self.named()
        known = [*needed.split(), *optional.split()]
        for key in found:
            if key not in known:
                raise self.error(f"the keys {', '.join(known)}, got {key!r}")
        for key in needed.split():
            if key not in found:
                raise self.error(f"the key {key}, got none")
        return found

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [_Node(v, f"{self.path}[{i}]") for i, v in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("text")
        return self.value

    def one_of(self, kind: str, known: Iterable[str]) -> str:
        known = list(known)
        if self.text() not in known:
            error = unknown_name(kind, self.text(), known)
            error.place = self.path
            raise error
        return self.text()

    def number(self, low: float = -1e6, high: float = 1e6) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong("a number")
        if not low <= self.value <= high:  # NaN too
            raise self.wrong(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def numbers(self, count: int | None = None, low: float = -1e6, high: float = 1e6) -> FloatArray:
        items = self.items()
        if not items or (count is not None and len(items) != count):
            raise self.wrong(f"{count or 'some'} numbers")
        return np.array([item.number(low, high) for item in items])

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value


def _body(name: str, node: _Node, mass: float) -> Body:
    fields = node.record("mass centre gyration")
    kilograms = fields["mass"].number(0, 1) * mass
    gyration = fields["gyration"].numbers(3, 0, 1)
    inertia = np.concatenate([kilograms * gyration**2, np.zeros(3)])
    return Body(name, kilograms, fields["centre"].numbers(3, -2, 2), inertia)


def _joint(name: str, node: _Node, bodies: set[str], groups: Iterable[str]) -> tuple[Joint, str | None]:
    fields = node.record("parent child", "at in_child group axes turns slides coordinates")
    empty: dict[str, _Node] = {}
    axes = {k: n.numbers(3) for k, n in (fields["axes"].named() if "axes" in fields else empty).items()}
    for key, axis in axes.items():
        if not np.linalg.norm(axis) > 1e-9:
            raise fields["axes"].named()[key].error("an axis, got one of no length")
    axes = {k: a / np.linalg.norm(a) for k, a in axes.items()}
    axes |= {k: np.array(a) for k, a in _NAMED_AXES.items()}
    given = fields["coordinates"].named() if "coordinates" in fields else empty
    turns = _motions(fields.get("turns"), "about", axes, given)
    slides = _motions(fields.get("slides"), "along", axes, given)
    turning = {a.coordinate for a in turns}
    unused = given.keys() - turning - {a.coordinate for a in slides}
    if unused:
        raise fields["coordinates"].error(f"coordinates that move something, got {sorted(unused)[0]!r}")
    at, in_child = (
        Placement(translation=fields[k].numbers(3, -2, 2)) if k in fields else Placement()
        for k in ("at", "in_child")
    )
    joint = Joint(
        name,
        "CustomJoint" if given else "WeldJoint",
        fields["parent"].one_of("body", {"ground", *bodies}),
        fields["child"].one_of("body", bodies),
        at,
        in_child,
        turns,
        slides,
        tuple(_coordinate(k, n, k in turning) for k, n in given.items()),
    )
    for inner in (joint.child, *given):
        if name.endswith("_r") != inner.endswith("_r"):
            raise node.error(
                f"names that end in _r in a joint of the right side and only there, got {inner!r} in {name!r}"
            )
    return joint, fields["group"].one_of("group", groups) if "group" in fields else None


def _motions(
    node: _Node | None, preposition: str, axes: Mapping[str, FloatArray], coordinates: Iterable[str]
) -> tuple[Axis, ...]:
    made: list[Axis] = []
    for item in [] if node is None else node.items():
        fields = item.record(f"{preposition} coordinate", "by")
        function = Polynomial(fields["by"].numbers()) if "by" in fields else IDENTITY
        coordinate = fields["coordinate"].one_of("coordinate of this joint", coordinates)
        axis = axes[fields[preposition].one_of("axis", axes)]
        if made and np.linalg.norm(np.cross(made[-1].direction, axis)) < 1e-6:
            raise item.error("an axis that differs from the one before")
        made.append(Axis(axis, function, coordinate))
    if node is not None and len(made) > 3:
        raise node.error(f"at most three motions, got {len(made)}")
    return tuple(made)


def _coordinate(name: str, node: _Node, turns: bool) -> Coordinate:
    fields = node.record("range", "default")
    unit = math.pi / 180 if turns else 1.0
    low, high = fields["range"].numbers(2)
    default = fields["default"].number() if "default" in fields else 0.0
    if not low <= default <= high:
        raise node.error(
            f"a range from low to high that holds the default {default:g}, got {low:g} to {high:g}"
        )
    kind: Any = "rotation" if turns else "translation"
    return Coordinate(name, default * unit, (float(low) * unit, float(high) * unit), clamped=True, kind=kind)


def _site(node: _Node, bodies: Iterable[str]) -> Site:
    fields = node.record("body at", "fixed")
    return Site(
        fields["body"].one_of("body", bodies),
        fields["at"].numbers(3, -2, 2),
        fields["fixed"].flag() if "fixed" in fields else False,
    )


def _set(node: _Node, sites: Iterable[str]) -> MarkerSet:
    fields = node.record("", "moved without")
    moved = fields["moved"].named() if "moved" in fields else {}
    for name, place in moved.items():
        _Node(name, place.path).one_of("site", sites)
    starts = [item.text() for item in fields["without"].items()] if "without" in fields else []
    both = [s.replace(SIDE, side) for s in starts for side in ("left_", "right_")]
    return MarkerSet({k: n.numbers(3, -2, 2) for k, n in moved.items()}, tuple(dict.fromkeys(both)))
