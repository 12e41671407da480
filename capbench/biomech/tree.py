"""A model as a chain of one-dimensional motions: what forward kinematics and the solver run on.

Each **element** turns about, or slides along, the z axis of its own frame by ``u = f(q)`` for a coordinate q:
``frame = parent frame ∘ fixed placement ∘ motion(u)``. A joint becomes up to six elements (first its
translations, then its rotations), what stands still is folded into the fixed placements, locked coordinates
are constants, and coupled coordinates are functions of those they follow. Bodies and markers are points
fixed in an element, so the solver's work does not depend on how many bodies there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from capbench.biomech.functions import IDENTITY, Polynomial, Spline, constant
from capbench.biomech.model import GROUND, Axis, AxisFunction, Joint, Model, Placement
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FloatArray

TURN, SLIDE = 0, 1
_NEGLIGIBLE = 1e-15


@dataclass(frozen=True)
class Element:
    """One motion: ``placement`` of its z axis in the frame of ``parent`` (-1: ground)."""

    parent: int
    slides: bool
    placement: Placement
    coordinate: int
    function: AxisFunction
    joint: str


@dataclass(frozen=True)
class Attached:
    """Something rigid with an element: a body's frame, placed in the element's frame (-1: ground)."""

    element: int
    placement: Placement


@dataclass(frozen=True)
class Tree:
    """The elements of a model, parents first.

    Attributes
    ----------
    coordinates : names of the free coordinates q, in the model's order
    defaults, low, high : of each free coordinate; infinite where it is not clamped
    elements : the motions
    bodies : where each body's frame is
    locked : coordinates that stand still -> value
    coupled : coordinates that follow another -> (that other, function)
    """

    coordinates: tuple[str, ...]
    defaults: FloatArray
    low: FloatArray
    high: FloatArray
    elements: tuple[Element, ...]
    bodies: dict[str, Attached]
    locked: dict[str, float]
    coupled: dict[str, tuple[str, AxisFunction]]

    def index(self, coordinate: str) -> int:
        """Where a free coordinate stands."""
        if coordinate not in self.coordinates:
            raise unknown_name("free coordinate", coordinate, self.coordinates)
        return self.coordinates.index(coordinate)

    def expand(self, q: FloatArray, names: Iterable[str]) -> FloatArray:
        """(T, N) values of any coordinates, free, locked or coupled, from the free ones (T, Q)."""
        columns = []
        for name in names:
            if name in self.locked:
                columns.append(np.full(len(q), self.locked[name]))
            elif name in self.coupled:
                other, function = self.coupled[name]
                columns.append(function(q[:, self.index(other)]))
            else:
                columns.append(q[:, self.index(name)])
        return np.stack(columns, axis=-1) if columns else np.empty((len(q), 0))


def build_tree(model: Model) -> Tree:
    """The tree of a whole model."""
    known = {c.name: c for c in model.coordinates}
    followers = {c.dependent: (c.independent, c.function) for c in model.couplers}
    locked = {n: c.default for n, c in known.items() if c.locked and n not in followers}
    for dependent, (independent, function) in list(followers.items()):
        if independent in followers:
            raise CapbenchError(
                f"Expected coupled coordinates to follow free ones, got {dependent}, which follows "
                f"{independent}, which follows {followers[independent][0]}."
            )
        if independent in locked:
            locked[dependent] = float(function(np.array([locked[independent]]))[0])
            del followers[dependent]
    free = [c for c in model.coordinates if c.name not in locked and c.name not in followers]
    place = {c.name: i for i, c in enumerate(free)}
    elements: list[Element] = []
    bodies = {GROUND: Attached(-1, Placement())}
    for joint in model.joints:
        bodies[joint.child] = _add_joint(joint, bodies[joint.parent], elements, place, locked, followers)
    bounds = np.array([c.range if c.clamped else (-np.inf, np.inf) for c in free]).reshape(-1, 2)
    return Tree(
        tuple(place),
        np.array([c.default for c in free]),
        bounds[:, 0],
        bounds[:, 1],
        tuple(elements),
        bodies,
        locked,
        followers,
    )


def _add_joint(
    joint: Joint,
    parent: Attached,
    elements: list[Element],
    place: dict[str, int],
    locked: dict[str, float],
    followers: dict[str, tuple[str, AxisFunction]],
) -> Attached:
    at, fixed = parent.element, parent.placement.then(joint.in_parent)
    axes = [(a, True) for a in joint.translations] + [(a, False) for a in joint.rotations]
    for axis, slides in axes:
        coordinate, function = _driver(axis, locked, followers)
        if coordinate is None:
            fixed = fixed.then(_motion(axis.direction, float(function(np.zeros(1))[0]), slides))
            continue
        turned = Placement(_z_onto(axis.direction))
        elements.append(Element(at, slides, fixed.then(turned), place[coordinate], function, joint.name))
        at, fixed = len(elements) - 1, turned.inverse
    return Attached(at, fixed.then(joint.in_child.inverse))


def _driver(
    axis: Axis, locked: dict[str, float], followers: dict[str, tuple[str, AxisFunction]]
) -> tuple[str | None, AxisFunction]:
    """The free coordinate that drives an axis, and how; None and a constant where it stands still."""
    if axis.coordinate is None:
        return None, axis.function
    if axis.coordinate in locked:
        return None, constant(float(axis.function(np.array([locked[axis.coordinate]]))[0]))
    if axis.coordinate in followers:
        independent, inner = followers[axis.coordinate]
        return independent, compose(axis.function, inner, axis.coordinate)
    return axis.coordinate, axis.function


def compose(outer: AxisFunction, inner: AxisFunction, name: str) -> AxisFunction:
    """``outer(inner(q))``, for the kinds of which it is one of our functions again."""
    if isinstance(inner, Polynomial) and inner.is_identity:
        return outer
    if isinstance(outer, Polynomial) and isinstance(inner, Polynomial):
        total = np.zeros(1)
        for c in outer.coefficients:
            total = np.polyadd(np.polymul(total, inner.coefficients), [c])
        return Polynomial(total)
    if isinstance(outer, Polynomial) and len(np.trim_zeros(outer.coefficients, "f")) <= 2:
        slope, offset = ([0.0, 0.0, *outer.coefficients])[-2:]
        scaled = inner.scaled(slope)
        if isinstance(scaled, Spline):
            return Spline(scaled.x, scaled.y + offset, scaled.b, scaled.c, scaled.d)
    if isinstance(outer, Spline) and isinstance(inner, Polynomial):
        c = np.concatenate([np.zeros(2), inner.coefficients])
        slope, offset = c[-2:]
        if not c[:-2].any() and slope > 0:
            x = (outer.x - offset) / slope
            return Spline(x, outer.y, outer.b * slope, outer.c * slope**2, outer.d * slope**3)
    raise CapbenchError(
        f"Expected a coupler whose function can be joined with its joint's, got {type(outer).__name__} of "
        f"{type(inner).__name__}.",
        place=f"coordinate {name}",
        fix="use OpenSim's own engine for this model",
    )


def _motion(direction: FloatArray, amount: float, slides: bool) -> Placement:
    if slides:
        return Placement(np.eye(3), direction * amount)
    return Placement(rotation_about(direction, amount))


def rotation_about(axis: FloatArray, angle: float) -> FloatArray:
    """(3, 3) rotation by ``angle`` radians about a unit axis."""
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: FloatArray = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * (skew @ skew)
    return turned


def _z_onto(direction: FloatArray) -> FloatArray:
    """(3, 3) rotation that takes the z axis onto ``direction``; exact permutations for the three axes."""
    k = int(np.argmax(np.abs(direction)))
    side = np.zeros(3)
    side[(k + 1) % 3] = 1.0
    x = side - direction * (direction @ side)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(direction, x), direction], axis=1)


def is_identity(function: AxisFunction) -> bool:
    """Whether an element moves one to one with its coordinate."""
    return isinstance(function, Polynomial) and (function is IDENTITY or function.is_identity)
