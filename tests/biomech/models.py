"""Small models as OpenSim documents of any version, and OpenSim itself as the oracle for what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.biomech.kinematics import body_frames, forward, points
from capbench.biomech.model import Model
from capbench.biomech.osim import read_model
from capbench.biomech.tree import Tree

Vec = tuple[float, float, float]
ORIGIN: Vec = (0.0, 0.0, 0.0)
AXES = ("rotation1", "rotation2", "rotation3", "translation1", "translation2", "translation3")
DIRECTIONS: tuple[Vec, ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)) * 2


def words(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(n)) for n in numbers)


# --- functions as XML ---------------------------------------------------------------------------


def constant(value: float) -> str:
    return f"<Constant><value>{value!r}</value></Constant>"


def linear(slope: float = 1.0, offset: float = 0.0) -> str:
    return f"<LinearFunction><coefficients>{slope!r} {offset!r}</coefficients></LinearFunction>"


def polynomial(*coefficients: float) -> str:
    return f"<PolynomialFunction><coefficients>{words(coefficients)}</coefficients></PolynomialFunction>"


def table(kind: str, x: Iterable[float], y: Iterable[float]) -> str:
    return f"<{kind}><x>{words(x)}</x><y>{words(y)}</y></{kind}>"


def multiplied(scale: float, inner: str) -> str:
    return f"<MultiplierFunction><function>{inner}</function><scale>{scale!r}</scale></MultiplierFunction>"


# --- joints -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class C:
    """A coordinate."""

    name: str
    default: float = 0.0
    range: tuple[float, float] = (-2.0, 2.0)
    clamped: bool = False
    locked: bool = False
    extra: str = ""

    @property
    def xml(self) -> str:
        return (
            f'<Coordinate name="{self.name}"><default_value>{self.default!r}</default_value>'
            f"<range>{words(self.range)}</range><clamped>{str(self.clamped).lower()}</clamped>"
            f"<locked>{str(self.locked).lower()}</locked>{self.extra}</Coordinate>"
        )


@dataclass(frozen=True)
class J:
    """A joint. ``axes``: name of a TransformAxis -> (coordinate or "", direction, function XML)."""

    name: str
    parent: str
    child: str
    kind: str = "CustomJoint"
    coordinates: tuple[C, ...] = ()
    axes: dict[str, tuple[str, Vec, str]] = field(default_factory=dict)
    in_parent: tuple[Vec, Vec] = (ORIGIN, ORIGIN)  # place, orientation
    in_child: tuple[Vec, Vec] = (ORIGIN, ORIGIN)
    extra: str = ""

    def transform(self, wrap: bool) -> str:
        """The SpatialTransform; ``wrap`` puts functions in <function>, as before OpenSim 4."""
        if self.kind != "CustomJoint":
            return ""
        text = ""
        for name, direction in zip(AXES, DIRECTIONS, strict=True):
            coordinate, along, function = self.axes.get(name, ("", direction, constant(0.0)))
            function = f"<function>{function}</function>" if wrap and function else function
            text += (
                f'<TransformAxis name="{name}"><coordinates>{coordinate}</coordinates>'
                f"<axis>{words(along)}</axis>{function}</TransformAxis>"
            )
        return f"<SpatialTransform>{text}</SpatialTransform>"

    @property
    def new(self) -> str:
        """As in a document of OpenSim 4: a child of the JointSet."""
        frames = "".join(
            f'<PhysicalOffsetFrame name="{body}_offset"><socket_parent>'
            f"{'/ground' if body == 'ground' else f'/bodyset/{body}'}</socket_parent>"
            f"<translation>{words(place[0])}</translation><orientation>{words(place[1])}</orientation>"
            "</PhysicalOffsetFrame>"
            for body, place in ((self.parent, self.in_parent), (self.child, self.in_child))
        )
        return (
            f'<{self.kind} name="{self.name}">'
            f"<socket_parent_frame>{self.parent}_offset</socket_parent_frame>"
            f"<socket_child_frame>{self.child}_offset</socket_child_frame>"
            f"<coordinates>{''.join(c.xml for c in self.coordinates)}</coordinates><frames>{frames}</frames>"
            f"{self.transform(False)}{self.extra}</{self.kind}>"
        )

    @property
    def old(self) -> str:
        """As in older documents: within its child body."""
        return (
            f'<Joint><{self.kind} name="{self.name}"><parent_body>{self.parent}</parent_body>'
            f"<location_in_parent>{words(self.in_parent[0])}</location_in_parent>"
            f"<orientation_in_parent>{words(self.in_parent[1])}</orientation_in_parent>"
            f"<location>{words(self.in_child[0])}</location>"
            f"<orientation>{words(self.in_child[1])}</orientation>"
            f"<CoordinateSet><objects>{''.join(c.xml for c in self.coordinates)}</objects></CoordinateSet>"
            f"<reverse>false</reverse>{self.transform(True)}{self.extra}</{self.kind}></Joint>"
        )


def coupler(dependent: str, independent: str, function: str, scale: float = 1.0, extra: str = "") -> str:
    return (
        f'<CoordinateCouplerConstraint name="{dependent}_follows">'
        f"<coupled_coordinates_function>{function}</coupled_coordinates_function>"
        f"<independent_coordinate_names>{independent}</independent_coordinate_names>"
        f"<dependent_coordinate_name>{dependent}</dependent_coordinate_name>"
        f"<scale_factor>{scale!r}</scale_factor>{extra}</CoordinateCouplerConstraint>"
    )


# --- documents ----------------------------------------------------------------------------------


def _body(name: str, inside: str = "") -> str:
    inertia = (
        "<inertia>1 1 1 0 0 0</inertia>"
        if not inside.startswith("<Joint>")
        else "".join(
            f"<inertia_{ij}>{int(ij[0] == ij[1])}</inertia_{ij}>"
            for ij in ("xx", "yy", "zz", "xy", "xz", "yz")
        )
    )
    return f'<Body name="{name}"><mass>1</mass><mass_center>0 0 0</mass_center>{inertia}{inside}</Body>'


def _marker(name: str, body: str, at: Vec, old: bool) -> str:
    where = f"<body>{body}</body>" if old else f"<socket_parent_frame>/bodyset/{body}</socket_parent_frame>"
    return f'<Marker name="{name}">{where}<location>{words(at)}</location><fixed>false</fixed></Marker>'


def document(
    joints: Iterable[J],
    version: int = 40000,
    constraints: str = "",
    markers: str | None = None,
    components: dict[str, str] | None = None,
) -> str:
    """An .osim text; each body gets two markers. ``components``: body -> XML put into it."""
    joints = tuple(joints)
    old = version < 40000
    names = dict.fromkeys(j.child for j in joints)
    if old:
        bodies = '<Body name="ground"><mass>0</mass><Joint /></Body>'
        bodies += "".join(_body(j.child, j.old) for j in joints)
        joint_set = ""
    else:
        parts = components or {}
        bodies = "".join(
            _body(n, f"<components>{parts[n]}</components>" if n in parts else "") for n in names
        )
        joint_set = (
            f'<JointSet name="jointset"><objects>{"".join(j.new for j in joints)}</objects></JointSet>'
        )
    if markers is None:
        markers = "".join(
            _marker(f"{n}_{i}", n, at, old)
            for n in names
            for i, at in enumerate([(0.1, 0.2, -0.3), (-0.25, 0.05, 0.15)])
        )
    ground = "" if old else '<Ground name="ground" />'
    text = (
        f'<?xml version="1.0" encoding="UTF-8" ?>\n<OpenSimDocument Version="{version}">'
        f'<Model name="small">{ground}<BodySet name="bodyset"><objects>{bodies}</objects></BodySet>'
        f'{joint_set}<ConstraintSet name="constraintset"><objects>{constraints}</objects></ConstraintSet>'
        f'<MarkerSet name="markerset"><objects>{markers}</objects></MarkerSet>'
        "</Model></OpenSimDocument>\n"
    )
    return text.replace("><", ">\n<")  # a line for each tag: refusals name lines


def parsed(text: str, folder: Path) -> Model:
    """The model of a document's text."""
    path = folder / "model.osim"
    path.write_text(text)
    return read_model(path)


# --- where things are ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """Origins (T, B, 3) and rotations (T, B, 3, 3) of named bodies, markers (T, M, 3), metres in ground."""

    origins: NDArray[Any]
    rotations: NDArray[Any]
    markers: NDArray[Any]

    def distance(self, other: Places) -> float:
        """The largest difference of any number; NaN counts as endless."""
        pairs = (
            (self.origins, other.origins),
            (self.rotations, other.rotations),
            (self.markers, other.markers),
        )
        worst = max(float(np.abs(a - b).max()) for a, b in pairs if a.size)
        return worst if worst == worst else np.inf


def our_places(model: Model, tree: Tree, q: NDArray[Any]) -> Places:
    frames = forward(tree, q)
    bodies = [body_frames(tree, frames, b.name) for b in model.bodies]
    at = np.array([m.location for m in model.markers]).reshape(-1, 3)
    return Places(
        np.stack([origin for _, origin in bodies], axis=1),
        np.stack([rotation for rotation, _ in bodies], axis=1),
        points(tree, frames, [m.body for m in model.markers], at),
    )


def _triple(vec: Any) -> list[float]:
    return [vec.get(0), vec.get(1), vec.get(2)]


class OpenSim:
    """A model loaded by OpenSim, kept alive as long as anything of it is asked for."""

    def __init__(self, path: Path) -> None:
        import opensim

        opensim.Logger.setLevelString("error")
        opensim.Logger.removeFileSink()
        self.model = opensim.Model(str(path))
        self.state = self.model.initSystem()
        self.coordinates = self.model.getCoordinateSet()

    def pose(self, names: Iterable[str], values: Iterable[float]) -> None:
        """Set coordinates just so: no clamping, no constraints."""
        for name, value in zip(names, values, strict=True):
            self.coordinates.get(name).setValue(self.state, float(value), False)
        self.model.realizePosition(self.state)

    def value(self, name: str) -> float:
        return float(self.coordinates.get(name).getValue(self.state))

    def places(self, like: Model, names: Iterable[str], poses: NDArray[Any]) -> Places:
        """Where the bodies and markers of ``like`` are, in its order, for ``poses`` (T, N) of ``names``."""
        names = tuple(names)
        body_set, marker_set = self.model.getBodySet(), self.model.getMarkerSet()
        bodies = [body_set.get(b.name) for b in like.bodies]
        markers = [marker_set.get(m.name) for m in like.markers]
        assert (body_set.getSize(), marker_set.getSize()) == (len(bodies), len(markers))
        origins, rotations, found = [], [], []
        for pose in poses:
            self.pose(names, pose)
            for body in bodies:
                transform = body.getTransformInGround(self.state)
                matrix = transform.R().asMat33()
                origins.append(_triple(transform.p()))
                rotations.append([[matrix.get(i, j) for j in range(3)] for i in range(3)])
            found += [_triple(marker.getLocationInGround(self.state)) for marker in markers]
        count = len(poses)
        return Places(
            np.array(origins).reshape(count, -1, 3),
            np.array(rotations).reshape(count, -1, 3, 3),
            np.array(found).reshape(count, -1, 3),
        )


def random_poses(tree: Tree, count: int, seed: int, model: Model) -> NDArray[Any]:
    """(T, Q): each coordinate within its range, one in ten up to half a range outside it."""
    rng = np.random.default_rng(seed)
    ranges = {c.name: c.range for c in model.coordinates}
    low, high = np.array([ranges[name] for name in tree.coordinates]).reshape(-1, 2).T
    share = rng.random((count, len(low)))
    outside = rng.random(share.shape)
    share = np.where(outside < 0.05, -0.5 * share, np.where(outside > 0.95, 1 + 0.5 * share, share))
    poses: NDArray[Any] = low + share * (high - low)
    return poses
