"""Writing models as OpenSim documents of version 4.0, which our reader and OpenSim read back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from capbench.biomech.functions import Polynomial, Spline, constant, piecewise_linear, simm_spline
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
from capbench.biomech.osim import body_fixed_xyz
from cohorts.bounded import write_text
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

VERSION = 40000
HEAD = '<?xml version="1.0" encoding="UTF-8" ?>'
_EYE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def write_model(model: Model, path: str | Path, *, overwrite: bool = False) -> None:
    """Write ``model`` to an .osim file; see :func:`model_text`."""
    write_text(path, model_text(model), overwrite=overwrite)


def model_text(model: Model) -> str:
    """The OpenSim document of a model.

    It holds what kinematics needs: bodies with their masses, joints, coordinates, couplers and markers.
    Numbers are written so that they read back exactly. Muscles, wrap objects, contact and pictures are no
    part of our models, so a model read from a file and written again has lost them.
    """
    return "\n".join(_document(model)) + "\n"


def marker_set_text(markers: Iterable[Marker]) -> str:
    """An OpenSim document of markers alone."""
    inner = _set("MarkerSet", "markerset", (_marker(m) for m in markers))
    lines = _inside(f'<OpenSimDocument Version="{VERSION}">', inner)
    return "\n".join((HEAD, *lines)) + "\n"


# --- pieces -------------------------------------------------------------------------------------


def _open(tag: str, name: str) -> str:
    return f"<{tag} name={quoteattr(_legal(name, tag))}>"


def _legal(name: str, what: str) -> str:
    """``name`` if OpenSim and XML can hold it."""
    bad = [c for c in name if c in "\\/*+" or c.isspace() or ord(c) < 32 or 0xD7FF < ord(c) < 0xE000]
    if bad or not name:
        raise CapbenchError(
            f"Expected a name that OpenSim allows (no spaces and none of / \\ * +), got {name!r}.",
            place=what,
            fix="rename it",
        )
    return name


def _numbers(values: Iterable[float]) -> str:
    """Numbers in the shortest form that reads back exactly."""
    numbers = [float(v) for v in values]
    if not all(math.isfinite(n) for n in numbers):
        raise CapbenchError(f"Expected finite numbers, got {numbers[:6]}.")
    return " ".join(repr(n) for n in numbers)


def _leaf(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def _flag(tag: str, value: bool) -> str:
    return _leaf(tag, "true" if value else "false")


def _inside(opening: str, lines: Iterable[str]) -> Iterator[str]:
    """``lines`` within an element, one step further in."""
    yield opening
    yield from ("\t" + line for line in lines)
    yield f"</{opening[1:].split()[0].rstrip('>')}>"


def _set(tag: str, name: str, objects: Iterable[Iterable[str]]) -> Iterator[str]:
    lines = [line for piece in objects for line in piece]
    yield from _inside(f'<{tag} name="{name}">', _inside("<objects>", lines))


# --- the document -------------------------------------------------------------------------------


def _document(model: Model) -> Iterator[str]:
    yield HEAD
    yield from _inside(f'<OpenSimDocument Version="{VERSION}">', _model(model))


def _model(model: Model) -> Iterator[str]:
    bodies = {GROUND, *(b.name for b in model.bodies)}
    parts = (
        _inside('<Ground name="ground">', ()),
        [_leaf("gravity", "0 -9.80665 0"), _leaf("length_units", "meters"), _leaf("force_units", "N")],
        _set("BodySet", "bodyset", (_body(b) for b in model.bodies)),
        _set("JointSet", "jointset", (_joint(j, bodies) for j in model.joints)),
        _set("ConstraintSet", "constraintset", (_coupler(c) for c in model.couplers)),
        _set("MarkerSet", "markerset", (_marker(m) for m in model.markers)),
    )
    name = "".join("_" if c in "\\/*+" or c.isspace() or ord(c) < 32 else c for c in model.name) or "model"
    yield from _inside(_open("Model", name), (line for part in parts for line in part))


def _body(body: Body) -> Iterator[str]:
    yield from _inside(
        _open("Body", body.name),
        [
            _leaf("mass", _numbers([body.mass])),
            _leaf("mass_center", _numbers(body.mass_centre)),
            _leaf("inertia", _numbers(body.inertia)),
        ],
    )


def _marker(marker: Marker) -> Iterator[str]:
    yield from _inside(
        _open("Marker", marker.name),
        [
            _leaf("socket_parent_frame", _path(marker.body)),
            _leaf("location", _numbers(marker.location)),
            _flag("fixed", marker.fixed),
        ],
    )


def _path(body: str) -> str:
    return "/ground" if body == GROUND else f"/bodyset/{body}"


def _coupler(coupler: Coupler) -> Iterator[str]:
    yield from _inside(
        _open("CoordinateCouplerConstraint", coupler.name),
        [
            _flag("isEnforced", True),
            *_inside("<coupled_coordinates_function>", _function(coupler.function, coupler.name)),
            _leaf("independent_coordinate_names", coupler.independent),
            _leaf("dependent_coordinate_name", coupler.dependent),
            _leaf("scale_factor", "1"),
        ],
    )


def _function(function: AxisFunction, place: str) -> Iterator[str]:
    if isinstance(function, Polynomial):
        tag = {1: "Constant", 2: "LinearFunction"}.get(len(function.coefficients), "PolynomialFunction")
        inner = "value" if tag == "Constant" else "coefficients"
        yield from _inside(f"<{tag}>", [_leaf(inner, _numbers(function.coefficients))])
    else:
        inner_lines = [_leaf("x", _numbers(function.x)), _leaf("y", _numbers(function.y))]
        yield from _inside(f"<{_kind_of(function, place)}>", inner_lines)


def _kind_of(spline: Spline, place: str) -> str:
    """Which of OpenSim's functions goes through these knots in this way."""
    kinds: dict[str, Callable[[FloatArray, FloatArray], Spline]] = {
        "SimmSpline": simm_spline,
        "PiecewiseLinearFunction": piecewise_linear,
    }
    size = float(np.abs(spline.b).max()) + 1e-300
    for tag, make in kinds.items():
        made = make(spline.x, spline.y)
        if all(np.abs(getattr(made, n) - getattr(spline, n))[:-1].max() <= 1e-9 * size for n in "bcd"):
            return tag
    raise CapbenchError(
        "Expected a spline of a kind that OpenSim has, got one with slopes of its own.", place=place
    )


# --- joints -------------------------------------------------------------------------------------


def _joint(joint: Joint, bodies: set[str]) -> Iterator[str]:
    plain = _plain_axes(joint)
    own_kind = plain is not None and plain == (joint.rotations, joint.translations)
    frames = {joint.parent: joint.in_parent, joint.child: joint.in_child}
    names = {body: _free_name(f"{body}_offset", bodies) for body in frames}
    lines = [
        _leaf("socket_parent_frame", names[joint.parent]),
        _leaf("socket_child_frame", names[joint.child]),
    ]
    if joint.coordinates:
        coordinates = [line for c in joint.coordinates for line in _coordinate(c)]
        lines += _inside("<coordinates>", coordinates)
    offsets = [line for body, at in frames.items() for line in _offset(names[body], body, at)]
    lines += _inside("<frames>", offsets)
    if not own_kind:
        lines += _inside("<SpatialTransform>", _spatial_transform(joint))
    yield from _inside(_open(joint.kind if own_kind else "CustomJoint", joint.name), lines)


def _plain_axes(joint: Joint) -> tuple[tuple[Axis, ...], tuple[Axis, ...]] | None:
    """The axes that a joint of this kind has in OpenSim; None for kinds that bring axes of their own."""
    names = [c.name for c in joint.coordinates]
    x, y, z = _EYE
    plans: dict[str, tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]]] = {
        "PinJoint": ([z], []),
        "SliderJoint": ([], [x]),
        "UniversalJoint": ([x, y], []),
        "BallJoint": ([x, y, z], []),
        "GimbalJoint": ([x, y, z], []),
        "PlanarJoint": ([z], [x, y]),
        "FreeJoint": ([x, y, z], [x, y, z]),
        "WeldJoint": ([], []),
    }
    if joint.kind not in plans:
        return None
    about, along = plans[joint.kind]
    if len(names) != len(about) + len(along):
        return None
    axes = [free_axis(direction, name) for direction, name in zip([*about, *along], names, strict=True)]
    return tuple(axes[: len(about)]), tuple(axes[len(about) :])


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _offset(name: str, body: str, at: Placement) -> Iterator[str]:
    yield from _inside(
        _open("PhysicalOffsetFrame", name),
        [
            _leaf("socket_parent", _path(body)),
            _leaf("translation", _numbers(at.translation)),
            _leaf("orientation", _numbers(orientation(at.rotation))),
        ],
    )


def orientation(rotation: FloatArray) -> FloatArray:
    """(3,) radians, the body-fixed x-y-z angles of a rotation (3, 3).

    Angles that give the same matrix to the last bit are chosen where there are such among the nearest ones
    and among those with fewer digits, as people write them.
    """
    near = float(np.hypot(rotation[0, 0], rotation[0, 1]))
    b = math.atan2(rotation[0, 2], near)
    if near > 1e-8:
        a = math.atan2(-rotation[1, 2], rotation[2, 2])
        c = math.atan2(-rotation[0, 1], rotation[0, 0])
    else:  # x and z turn about the same line: all of it goes to x
        a, c = math.atan2(rotation[2, 1], rotation[1, 1]), 0.0
    best = np.array([a, b, c]) + 0.0  # no negative zeros
    if abs(body_fixed_xyz(best) - rotation).max() > 1e-9:
        raise CapbenchError(f"Expected a rotation matrix, got {np.round(rotation, 4).tolist()}.")
    error = np.inf
    for digits in (17, *range(15, 2, -1)):
        angles = np.round(np.array([a, b, c]), digits) + 0.0
        gap = float(abs(body_fixed_xyz(angles) - rotation).max())
        if gap <= min(error, 4e-16):
            best, error = angles, gap
    return best


def _coordinate(coordinate: Coordinate) -> Iterator[str]:
    low, high = coordinate.range
    yield from _inside(
        _open("Coordinate", coordinate.name),
        [
            _leaf("default_value", _numbers([coordinate.default])),
            _leaf("range", f"{low!r} {high!r}"),  # may be infinite
            _flag("clamped", coordinate.clamped),
            _flag("locked", coordinate.locked),
        ],
    )


def _spatial_transform(joint: Joint) -> Iterator[str]:
    for kind, axes in (("rotation", joint.rotations), ("translation", joint.translations)):
        for i, axis in enumerate(_three(axes)):
            lines = [
                _leaf("coordinates", axis.coordinate or ""),
                _leaf("axis", _numbers(_stable(axis.direction))),
                *_function(_bare(axis), joint.name),
            ]
            yield from _inside(f'<TransformAxis name="{kind}{i + 1}">', lines)


def _bare(axis: Axis) -> AxisFunction:
    """The function of an axis; OpenSim takes none but a Constant where no coordinate moves it."""
    if axis.coordinate is None and isinstance(axis.function, Polynomial):
        return constant(float(axis.function.coefficients[-1]))
    return axis.function


def _stable(direction: FloatArray) -> FloatArray:
    """A multiple of a unit vector that gives it back to the last bit when it is made a unit vector again."""
    for k in range(1024):  # the first few nearly always do
        longer = direction * (1 + k / 1024)
        if np.array_equal(longer / math.hypot(*longer), direction):
            return longer
    return direction


def _three(axes: tuple[Axis, ...]) -> list[Axis]:
    """A CustomJoint has three axes of each sort: those given, and still ones that no other lies along."""
    made = list(axes)
    for direction in _EYE:
        taken = [abs(float(np.dot(a.direction, direction))) for a in made]
        if len(made) < 3 and max(taken, default=0.0) < 0.999:
            made.append(fixed_axis(direction))
    if len(made) != 3:
        raise CapbenchError(f"Expected at most three axes of a sort, got {len(made)}.")
    return made
