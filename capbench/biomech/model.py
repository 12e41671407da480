"""A musculoskeletal model: bodies in a tree of joints, coordinates that move them, markers on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import Literal

import numpy as np

from capbench.biomech.functions import IDENTITY, Polynomial, Spline, constant
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import ByValue, FloatArray, check_unique, frozen

GROUND = "ground"
AxisFunction = Polynomial | Spline


@dataclass(frozen=True, eq=False)
class Placement(ByValue):
    """A frame fixed in a body: rotation (3, 3) and translation (3,) metres, frame -> body."""

    rotation: FloatArray = field(default_factory=lambda: np.eye(3))
    translation: FloatArray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", frozen(self.rotation))
        object.__setattr__(self, "translation", frozen(self.translation))

    def then(self, inner: Placement) -> Placement:
        """The placement of a frame that is placed by ``inner`` within this one."""
        return Placement(self.rotation @ inner.rotation, self.rotation @ inner.translation + self.translation)

    @property
    def inverse(self) -> Placement:
        """body -> frame."""
        return Placement(self.rotation.T, -self.rotation.T @ self.translation)


@dataclass(frozen=True, eq=False)
class Body(ByValue):
    """A rigid body: mass (kg), mass centre (3,) metres, inertia (xx yy zz xy xz yz) kg m² about it."""

    name: str
    mass: float = 0.0
    mass_centre: FloatArray = field(default_factory=lambda: np.zeros(3))
    inertia: FloatArray = field(default_factory=lambda: np.zeros(6))

    def __post_init__(self) -> None:
        object.__setattr__(self, "mass_centre", frozen(self.mass_centre))
        object.__setattr__(self, "inertia", frozen(self.inertia))


@dataclass(frozen=True)
class Coordinate:
    """A generalised coordinate, radians or metres.

    ``range`` binds the solver only where ``clamped``; ``locked`` holds it at ``default``.
    """

    name: str
    default: float = 0.0
    range: tuple[float, float] = (-np.inf, np.inf)
    clamped: bool = False
    locked: bool = False
    kind: Literal["rotation", "translation"] = "rotation"


@dataclass(frozen=True, eq=False)
class Axis(ByValue):
    """One of a joint's six motions: along or about ``direction`` by ``function(coordinate)``."""

    direction: FloatArray
    function: AxisFunction
    coordinate: str | None = None  # None: the function is constant

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", frozen(self.direction))


@dataclass(frozen=True, eq=False)
class Joint(ByValue):
    """What lets ``child`` move in ``parent``.

    The child frame F' stands in the parent frame F at ``p = Σ translation axes``, turned by the three
    rotations one after the other about the turned axes. F lies in the parent body at ``in_parent``, F' in
    the child at ``in_child``.
    """

    name: str
    kind: str
    parent: str
    child: str
    in_parent: Placement
    in_child: Placement
    rotations: tuple[Axis, ...]
    translations: tuple[Axis, ...]
    coordinates: tuple[Coordinate, ...]


@dataclass(frozen=True)
class Coupler:
    """``dependent = scale · function(independent)``, always."""

    name: str
    dependent: str
    independent: str
    function: AxisFunction


@dataclass(frozen=True, eq=False)
class Marker(ByValue):
    """A point fixed at ``location`` (3,) metres in a body; ``fixed`` ones are not moved when placed anew."""

    name: str
    body: str
    location: FloatArray
    fixed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "location", frozen(self.location))


@dataclass(frozen=True, eq=False)
class Model(ByValue):
    """A tree of bodies. Joints come parents first; the first body of each joint chain hangs on ground."""

    name: str
    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...]
    couplers: tuple[Coupler, ...] = ()
    markers: tuple[Marker, ...] = ()

    def __post_init__(self) -> None:
        check_unique("body", tuple(b.name for b in self.bodies))
        check_unique("joint", tuple(j.name for j in self.joints))
        check_unique("coordinate", tuple(c.name for c in self.coordinates))
        check_unique("marker", tuple(m.name for m in self.markers))
        known = {GROUND, *(b.name for b in self.bodies)}
        for joint in self.joints:
            for body in (joint.parent, joint.child):
                if body not in known:
                    raise unknown_name("body", body, known)
        for marker in self.markers:
            if marker.body not in known:
                raise unknown_name("body", marker.body, known)
        object.__setattr__(self, "joints", _in_order(self.joints))
        carried = {j.child for j in self.joints}
        for body in sorted(known - carried - {GROUND}):
            raise CapbenchError(f"Expected a joint that carries each body, got none for {body}.")
        self._check_couplers()

    def _check_couplers(self) -> None:
        check_unique("coupled coordinate", tuple(c.dependent for c in self.couplers))
        known = as_mapping(self)
        for coupler in self.couplers:
            for name in (coupler.dependent, coupler.independent):
                if name not in known:
                    raise unknown_name("coordinate", name, known)
            if known[coupler.dependent].locked:
                raise CapbenchError(
                    f"Expected coordinates to be coupled or locked, got {coupler.dependent}, which is both.",
                    fix="unlock it, or switch its coupler off",
                )

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """All coordinates, joint by joint."""
        return tuple(c for joint in self.joints for c in joint.coordinates)

    @cached_property
    def coordinate_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(c.name for c in self.coordinates)

    def body(self, name: str) -> Body:
        """The body of that name."""
        for body in self.bodies:
            if body.name == name:
                return body
        raise unknown_name("body", name, (b.name for b in self.bodies))

    def joint_of(self, child: str) -> Joint:
        """The joint that carries a body."""
        for joint in self.joints:
            if joint.child == child:
                return joint
        raise unknown_name("body", child, (j.child for j in self.joints))

    def with_markers(self, markers: tuple[Marker, ...]) -> Model:
        """The same model with these markers instead of its own."""
        return replace(self, markers=tuple(markers))

    @property
    def mass(self) -> float:
        """Total mass, kg."""
        return float(sum(b.mass for b in self.bodies))


def _in_order(joints: tuple[Joint, ...]) -> tuple[Joint, ...]:
    """Joints with parents before children, else as given; refuses loops, islands and twice carried bodies."""
    for name, count in Counter(j.child for j in joints).items():
        if count > 1 or name == GROUND:
            raise CapbenchError(
                f"Expected one joint for each body and none for {GROUND}, got {count} for {name}: "
                "capbench knows no closed loops."
            )
    below: dict[str, list[int]] = {}
    for i, joint in enumerate(joints):
        below.setdefault(joint.parent, []).append(i)
    order, ready = [], below.get(GROUND, []).copy()
    while ready:
        joint = joints[heappop(ready)]
        order.append(joint)
        for i in below.get(joint.child, ()):
            heappush(ready, i)
    if len(order) < len(joints):
        placed = {j.child for j in order}
        left = ", ".join([j.child for j in joints if j.child not in placed][:10])
        raise CapbenchError(
            f"Expected every body to hang on ground; {left} go round in a circle or hang on nothing."
        )
    return tuple(order)


def fixed_axis(direction: tuple[float, float, float]) -> Axis:
    """An axis along which nothing moves."""
    return Axis(np.array(direction), constant(0.0))


def free_axis(direction: tuple[float, float, float], coordinate: str) -> Axis:
    """An axis along or about which ``coordinate`` moves, one to one."""
    return Axis(np.array(direction), IDENTITY, coordinate)


def as_mapping(model: Model) -> Mapping[str, Coordinate]:
    """Coordinates by name."""
    return {c.name: c for c in model.coordinates}
