"""Reading OpenSim's .osim models (documents of version 2.x to 4.x) without OpenSim.

Forces, contact, geometry and controllers are passed over: they do not touch kinematics. What does, and is not
known here, is refused in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from posixpath import join, normpath
from typing import Any

import numpy as np

from capbench.biomech.functions import Polynomial, constant, piecewise_linear, simm_spline
from capbench.biomech.model import (
    GROUND,
    Axis,
    AxisFunction,
    Body,
    Coordinate,
    Coupler,
    Joint,
    Marker,
    Model,
    Placement,
    fixed_axis,
    free_axis,
)
from cohorts.bounded import about, load_xml, parse_number
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

_AXES = ("rotation1", "rotation2", "rotation3", "translation1", "translation2", "translation3")
X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
OLDEST = 20000
_SLACK = 1.5e-8  # by which OpenSim lets a default value leave its range
_COLLINEAR = 1e-5  # sine of the angle below which OpenSim takes two axes for one

Node = Any  # an ``Element`` of ``cohorts.bounded``; ElementTree's own stubs know no ``line``


def read_model(path: str | Path) -> Model:
    """The model of an .osim file; coordinates keep the file's order."""
    path = Path(path)
    root = load_xml(path)
    with about(path):
        return parse_model(root)


def parse_model(root: Node) -> Model:
    """The model of a parsed document."""
    model = root.find("Model") if root.tag == "OpenSimDocument" else None
    if model is None:
        raise CapbenchError(f"Expected an OpenSimDocument that holds a Model, got <{root.tag}>.")
    version = _version(root.get("Version", ""))
    if version < OLDEST:
        raise CapbenchError(
            f"Expected an OpenSim document of version 2.0 or later, got {root.get('Version')!r}.",
            fix="open it in OpenSim once and save it again",
        )
    body_nodes = [b for b in _objects(model, "BodySet", "Body") if b.get("name") != GROUND]
    bodies = tuple(_body(node) for node in body_nodes)
    frames = _Frames(model)
    if model.find("JointSet") is not None:
        joints = [_joint(node, frames) for node in _set_objects(model, "JointSet")]
    else:
        joints = [_old_joint(node) for node in body_nodes]
    couplers = tuple(_couplers(model))
    markers = tuple(_placed_marker(node, frames) for node in _objects(model, "MarkerSet", "Marker"))
    return Model(model.get("name", ""), bodies, tuple(joints), couplers, markers)


def read_markers(path: str | Path) -> tuple[Marker, ...]:
    """The markers of a MarkerSet file (or of a model)."""
    path = Path(path)
    root = load_xml(path)
    with about(path):
        found = tuple(_marker(node) for node in root.iter("Marker"))
    if not found:
        raise CapbenchError("Expected markers, got none.", file=path)
    return found


def _version(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


# --- small readers ------------------------------------------------------------------------------


def _error(node: Node, problem: str, fix: str | None = None) -> CapbenchError:
    name = node.get("name")
    return CapbenchError(problem, line=node.line, place=f"{node.tag} {name}" if name else node.tag, fix=fix)


def _set_objects(model: Node, tag: str) -> Iterator[Node]:
    found = model.find(tag)
    objects = None if found is None else found.find("objects")
    yield from (objects if objects is not None else ())


def _objects(model: Node, tag: str, kind: str) -> list[Node]:
    return [node for node in _set_objects(model, tag) if node.tag == kind]


def _text(node: Node, tag: str, default: str = "") -> str:
    return (node.findtext(tag) or default).strip()


def _flag(node: Node, tag: str, default: bool = False) -> bool:
    word = _text(node, tag, str(default)).lower()
    if word not in ("true", "false", "1", "0"):
        raise _error(node, f"Expected true or false for {tag}, got {word[:40]!r}.")
    return word in ("true", "1")


def _numbers(
    node: Node, tag: str, count: int, default: tuple[float, ...], infinite: bool = False
) -> FloatArray:
    found = node.find(tag)
    if found is None or not (found.text or "").strip():
        return np.array(default)
    return _parse(found, count, infinite)


def _parse(node: Node, count: int | None = None, infinite: bool = False) -> FloatArray:
    words = (node.text or "").split()
    try:
        values = np.array([parse_number(word) for word in words])
    except ValueError:
        raise _error(node, f"Expected numbers, got {' '.join(words)[:60]!r}.") from None
    if count is not None and len(values) != count:
        raise _error(node, f"Expected {count} numbers, got {len(values)}.")
    if np.isnan(values).any() or not (infinite or np.isfinite(values).all()):
        raise _error(node, "Expected finite numbers, got NaN or infinity.")
    return values


def _number(node: Node, tag: str, default: float) -> float:
    found = node.find(tag)
    if found is None or not (found.text or "").strip():
        return default
    return float(_parse(found, 1)[0])


def body_fixed_xyz(angles: FloatArray) -> FloatArray:
    """(3, 3) rotation X(a) Y(b) Z(c), the way OpenSim writes orientations."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [cb * cc, -cb * sc, sb],
            [ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb],
            [sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb],
        ]
    )


# --- bodies, markers, couplers ------------------------------------------------------------------


def _body(node: Node) -> Body:
    name = node.get("name")
    if not name:
        raise _error(node, "Expected a name, got none.")
    if node.find("inertia") is not None:
        inertia = _numbers(node, "inertia", 6, (0.0,) * 6)
    else:
        inertia = np.array(
            [_number(node, f"inertia_{ij}", 0.0) for ij in ("xx", "yy", "zz", "xy", "xz", "yz")]
        )
    centre = _numbers(node, "mass_center", 3, (0.0,) * 3)
    return Body(name, _number(node, "mass", 0.0), centre, inertia)


def _marker(node: Node) -> Marker:
    body = _text(node, "socket_parent_frame") or _text(node, "body")
    if not body:
        raise _error(node, "Expected the body that the marker is fixed to, got none.")
    location = _numbers(node, "location", 3, (math.nan,) * 3)
    if np.isnan(location).any():
        raise _error(node, "Expected a location, got none.")
    return Marker(node.get("name", ""), body.rpartition("/")[2], location, _flag(node, "fixed"))


def _placed_marker(node: Node, frames: _Frames) -> Marker:
    """A marker of a model; one that is fixed to an offset frame is fixed to that frame's body."""
    marker = _marker(node)
    socket = _text(node, "socket_parent_frame") or _text(node, "body")
    body, at = frames.place(node, f"/markerset/{marker.name}", socket)
    return Marker(marker.name, body, at.rotation @ marker.location + at.translation, marker.fixed)


def _couplers(model: Node) -> Iterator[Coupler]:
    for node in _set_objects(model, "ConstraintSet"):
        off = _flag(node, "isDisabled") or not _flag(node, "isEnforced", True)
        if off:
            continue
        if node.tag != "CoordinateCouplerConstraint":
            raise _error(
                node,
                f"Expected couplers between coordinates only, got an enforced {node.tag}.",
                fix="use OpenSim's own engine for this model, or switch the constraint off",
            )
        names = _text(node, "independent_coordinate_names").split()
        if len(names) != 1:
            raise _error(node, f"Expected one independent coordinate, got {len(names)}.")
        wrapper = node.find("coupled_coordinates_function")
        inner = None if wrapper is None else next(iter(wrapper), None)
        if inner is None:
            raise _error(node, "Expected a coupled_coordinates_function, got none.")
        if inner.tag == "Constant":  # OpenSim 4.6 holds the independent one at it instead
            raise _error(inner, "Expected a function of the independent coordinate, got a Constant.")
        scale = _number(node, "scale_factor", 1.0)  # q_dependent = scale · f(q)
        function = _function(inner)
        yield Coupler(
            node.get("name", ""),
            _text(node, "dependent_coordinate_name"),
            names[0],
            function if scale == 1 else function.scaled(scale),
        )


# --- functions ----------------------------------------------------------------------------------


def _function(node: Node) -> AxisFunction:
    if node.tag == "function":  # documents before 4.0 wrap it
        inner = next(iter(node), None)
        if inner is None:
            raise _error(node, "Expected a function, got none.")
        return _function(inner)
    readers: dict[str, Callable[[Node], AxisFunction]] = {
        "Constant": lambda n: constant(_number(n, "value", 0.0)),
        "LinearFunction": lambda n: Polynomial(_numbers(n, "coefficients", 2, (1.0, 0.0))),
        "PolynomialFunction": _polynomial,
        "SimmSpline": lambda n: simm_spline(*_table(n)),
        "NaturalCubicSpline": lambda n: simm_spline(*_table(n)),
        "natCubicSpline": lambda n: simm_spline(*_table(n)),
        "PiecewiseLinearFunction": lambda n: piecewise_linear(*_table(n)),
        "MultiplierFunction": _multiplier,
    }
    if node.tag not in readers:
        raise _error(
            node,
            f"Expected a function that capbench knows ({', '.join(readers)}), got {node.tag}.",
            fix="use OpenSim's own engine for this model",
        )
    try:
        return readers[node.tag](node)
    except CapbenchError as error:
        raise error if error.line else _error(node, error.problem) from None


def _polynomial(node: Node) -> Polynomial:
    found = node.find("coefficients")
    if found is None or not len(_parse(found)):
        raise _error(node, "Expected coefficients, got none.")
    return Polynomial(_parse(found))


def _table(node: Node) -> tuple[FloatArray, FloatArray]:
    x, y = node.find("x"), node.find("y")
    if x is None or y is None:
        raise _error(node, "Expected lists x and y, got one or none.")
    return _parse(x), _parse(y)


def _multiplier(node: Node) -> AxisFunction:
    wrapper = node.find("function")
    if wrapper is None:
        raise _error(node, "Expected a function to multiply, got none.")
    return _function(wrapper).scaled(_number(node, "scale", 1.0))


# --- coordinates --------------------------------------------------------------------------------


def _coordinate(node: Node, kind: str) -> Coordinate:
    if _flag(node, "prescribed"):
        raise _error(
            node,
            "Expected a free, clamped or locked coordinate, got one prescribed over time.",
            fix="set <prescribed> to false",
        )
    low, high = _numbers(node, "range", 2, (-10.0, 10.0), infinite=True).tolist()  # OpenSim's own default
    if low > high:
        raise _error(node, f"Expected a range from low to high, got {low:g} {high:g}.")
    default, clamped = _number(node, "default_value", 0.0), _flag(node, "clamped")
    if clamped and not low - _SLACK <= default <= high + _SLACK:
        raise _error(
            node,
            f"Expected a default value within the clamped range {low:g} to {high:g}, got {default:g}.",
        )
    return Coordinate(
        node.get("name", ""),
        default,
        (low, high),
        clamped,
        _flag(node, "locked"),
        "translation" if kind == "translation" else "rotation",
    )


# --- joints -------------------------------------------------------------------------------------


def _joint_axes(node: Node, names: list[str]) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    """Rotations and translations of a joint of any known kind, given its coordinates' names in order."""
    wanted = {
        "PinJoint": 1, "SliderJoint": 1, "UniversalJoint": 2, "BallJoint": 3, "GimbalJoint": 3,
        "PlanarJoint": 3, "FreeJoint": 6, "WeldJoint": 0,
    }  # fmt: skip
    if node.tag == "CustomJoint":
        return _spatial_transform(node, names)
    if node.tag not in wanted:
        raise _error(
            node,
            f"Expected a joint that capbench knows (CustomJoint, {', '.join(wanted)}), got {node.tag}.",
            fix="use OpenSim's own engine for this model",
        )
    if len(names) != wanted[node.tag]:
        raise _error(node, f"Expected {wanted[node.tag]} coordinates, got {len(names)}.")
    about: list[Axis]
    along: list[Axis] = []
    match node.tag:
        case "PinJoint":
            about = [free_axis(Z, names[0])]
        case "SliderJoint":
            about, along = [], [free_axis(X, names[0])]
        case "PlanarJoint":
            about, along = [free_axis(Z, names[0])], [free_axis(X, names[1]), free_axis(Y, names[2])]
        case _:
            about = [free_axis(axis, name) for axis, name in zip((X, Y, Z), names[:3], strict=False)]
            along = [free_axis(axis, name) for axis, name in zip((X, Y, Z), names[3:], strict=False)]
    return tuple(about), tuple(along)


def _spatial_transform(node: Node, names: list[str]) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    axes = _transform_axes(node, names)
    made: dict[str, list[Axis]] = {"rotation": [], "translation": []}
    for kind, found in made.items():
        for i, default in enumerate((X, Y, Z), start=1):
            axis = axes.get(f"{kind}{i}")
            found.append(fixed_axis(default) if axis is None else _transform_axis(axis, names))
        for a, b in combinations(found, 2):
            if np.linalg.norm(np.cross(a.direction, b.direction)) < _COLLINEAR:
                raise _error(node, f"Expected three {kind} axes that differ, got parallel ones.")
    return tuple(made["rotation"]), tuple(made["translation"])


def _transform_axes(joint: Node, names: list[str]) -> dict[str, Node]:
    """The TransformAxis elements by name."""
    transform = joint.find("SpatialTransform")
    if transform is None and names:
        raise _error(joint, f"Expected a SpatialTransform that {', '.join(names)} move, got none.")
    axes: dict[str, Node] = {}
    for axis in () if transform is None else transform.iter("TransformAxis"):
        name = axis.get("name", "")
        if name in axes or name not in _AXES:
            raise _error(axis, f"Expected each of {', '.join(_AXES)} at most once, got {name!r}.")
        axes[name] = axis
    return axes


def _transform_axis(node: Node, names: list[str]) -> Axis:
    direction = _numbers(node, "axis", 3, (0.0,) * 3)
    length = math.hypot(*direction)
    if not 1e-12 < length < math.inf:
        raise _error(node, f"Expected an axis of some length, got {' '.join(f'{x:g}' for x in direction)}.")
    functions = [child for child in node if child.tag not in ("coordinates", "axis")]
    if functions and functions[0].get("name", "function") not in ("", "function"):
        raise _error(functions[0], "Expected a function without a name or called 'function'.")  # else unseen
    words = _text(node, "coordinates").split()
    # as in OpenSim, an axis without a function stands still
    function: AxisFunction = _function(functions[0]) if functions else constant(0.0)
    if len(words) > 1:
        raise _error(node, f"Expected one coordinate for an axis, got {len(words)}.")
    if words and words[0] not in names:
        raise _error(node, f"Expected a coordinate of this joint ({', '.join(names)}), got {words[0]!r}.")
    still = isinstance(function, Polynomial) and function.is_constant
    if not words and not still:
        raise _error(node, "Expected a coordinate that moves this axis, got none.")
    return Axis(direction / length, function, None if still else words[0])


def _kinds(rotations: tuple[Axis, ...], names: list[str]) -> dict[str, str]:
    """What each coordinate is: a rotation where it turns anything, else a translation."""
    turning = {axis.coordinate for axis in rotations}
    return {name: "rotation" if name in turning else "translation" for name in names}


def _joint(node: Node, frames: _Frames) -> Joint:
    """A joint of a document of version 4."""
    coordinates = node.find("coordinates")
    nodes = [] if coordinates is None else [c for c in coordinates if c.tag == "Coordinate"]
    names = [c.get("name", "") for c in nodes]
    rotations, translations = _joint_axes(node, names)
    kinds = _kinds(rotations, names)
    path = f"/jointset/{node.get('name', '')}"
    parent, in_parent = frames.place(node, path, _text(node, "socket_parent_frame"))
    child, in_child = frames.place(node, path, _text(node, "socket_child_frame"))
    return Joint(
        node.get("name", ""),
        node.tag,
        parent,
        child,
        in_parent,
        in_child,
        rotations,
        translations,
        tuple(_coordinate(c, kinds[c.get("name", "")]) for c in nodes),
    )


class _Frames:
    """Where the frames that joints and markers name are: in which body, and how placed there.

    A socket holds a path, absolute or from the object that has the socket, as in a file system. A bare name
    of a body is taken too.
    """

    def __init__(self, model: Node) -> None:
        self.frames: dict[str, list[Node]] = {}
        self.bodies = {GROUND: GROUND, f"/{GROUND}": GROUND}
        for body in _objects(model, "BodySet", "Body"):
            name = body.get("name", "")
            self.bodies |= {name: name, f"/bodyset/{name}": name}
        stack = [(child, f"/{_own_path(child)}") for child in model]
        while stack:
            node, path = stack.pop()
            if node.tag == "PhysicalOffsetFrame":
                self.frames.setdefault(path, []).append(node)
            stack += [(child, f"{path}/{child.get('name')}" if child.get("name") else path) for child in node]

    def place(self, user: Node, owner: str, socket: str, depth: int = 0) -> tuple[str, Placement]:
        """(body, placement in it) of the frame that ``socket`` of the object at path ``owner`` names."""
        if depth > 32:
            raise _error(user, "Expected offset frames that end in a body, got frames in a circle.")
        path = normpath(join(owner, socket))
        found = self.frames.get(path, [])
        if len(found) > 1:
            raise _error(user, f"Expected one frame {path}, got {len(found)}.")
        if not found:
            body = self.bodies.get(path) or self.bodies.get(socket)
            if body is None:
                raise _error(user, f"Expected the path of a body or frame, got {socket!r}.")
            return body, Placement()
        inner = Placement(
            body_fixed_xyz(_numbers(found[0], "orientation", 3, (0.0,) * 3)),
            _numbers(found[0], "translation", 3, (0.0,) * 3),
        )
        body, outer = self.place(user, path, _text(found[0], "socket_parent"), depth + 1)
        return body, outer.then(inner)


def _own_path(node: Node) -> str:
    """How OpenSim calls a part of the model in paths: sets by their kind, others by name."""
    tag: str = node.tag.lower()
    return tag if tag.endswith("set") else node.get("name", "")


def _old_joint(body: Node) -> Joint:
    """The joint that a body of a document before 4.0 carries within itself."""
    wrapper = body.find("Joint")
    node = None if wrapper is None else next(iter(wrapper), None)
    if node is None:
        raise _error(body, "Expected a joint that ties the body to its parent, got none.")
    if _flag(node, "reverse"):
        raise _error(node, "Expected a joint from parent to child, got a reversed one.")
    nodes = _objects(node, "CoordinateSet", "Coordinate")
    names = [c.get("name", "") for c in nodes]
    rotations, translations = _joint_axes(node, names)
    kinds = _kinds(rotations, names)
    return Joint(
        node.get("name", ""),
        node.tag,
        _text(node, "parent_body"),
        body.get("name", ""),
        _old_placement(node, "location_in_parent", "orientation_in_parent"),
        _old_placement(node, "location", "orientation"),
        rotations,
        translations,
        tuple(_coordinate(c, kinds[c.get("name", "")]) for c in nodes),
    )


def _old_placement(node: Node, location: str, orientation: str) -> Placement:
    return Placement(
        body_fixed_xyz(_numbers(node, orientation, 3, (0.0,) * 3)), _numbers(node, location, 3, (0.0,) * 3)
    )
