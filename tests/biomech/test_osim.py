"""The .osim reader against OpenSim: small documents of every version, with every joint and function."""

import copy
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from biomech import models
from biomech.models import C, J, constant, coupler, document, linear, multiplied, polynomial, table

from capbench.biomech.kinematics import forward
from capbench.biomech.model import Model
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.tree import build_tree
from cohorts import CapbenchError

X = (1.0, 0.0, 0.0)
VERSIONS = (40000, 30000, 20303)
ODD = {"in_parent": ((0.1, -0.2, 0.3), (0.4, -0.5, 0.6)), "in_child": ((-0.3, 0.15, 0.05), (0.2, 1.1, -0.7))}
KNEE = ([-2.1, -1.2, -0.5, 0.1, 0.9, 2.0], [0.1, -0.2, 0.35, 0.1, 0.0, 0.4])
SHORT = ([-1.0, 0.2, 1.5], [0.3, -0.1, 0.2])


def spanned(kind: str, *names: str, **more) -> J:
    """A joint of a kind other than CustomJoint, oddly placed."""
    return J("j", "base", "limb", kind, tuple(C(name) for name in names), **{**ODD, **more})


def custom(axes: dict, *coordinates: C, **more) -> J:
    return J("j", "base", "limb", "CustomJoint", coordinates, axes, **{**ODD, **more})


BASE = J("root", "ground", "base", "FreeJoint", tuple(C(f"b{i}") for i in range(6)), **ODD)
FUNCTIONS = {
    "constant": constant(0.4),
    "linear": linear(1.5, -0.2),
    "minus": linear(-1.0, 0.0),
    "polynomial": polynomial(0.2, -0.3, 0.5, 0.1),
    "spline": table("SimmSpline", *KNEE),
    "short spline": table("SimmSpline", *SHORT),
    "two knots": table("SimmSpline", [-1, 1], [0.5, 0.2]),
    "old spline": table("NaturalCubicSpline", *KNEE),
    "older spline": table("natCubicSpline", *KNEE),
    "lines": table("PiecewiseLinearFunction", *KNEE),
    "twice": multiplied(-2.0, table("SimmSpline", *KNEE)),
    "twice twice": multiplied(0.5, multiplied(3.0, linear(0.7, 0.1))),
    "constant twice": multiplied(3.0, constant(0.2)),
}
JOINTS = {
    "pin": spanned("PinJoint", "q"),
    "slider": spanned("SliderJoint", "q"),
    "universal": spanned("UniversalJoint", "q", "r"),
    "ball": spanned("BallJoint", "q", "r", "s"),
    "gimbal": spanned("GimbalJoint", "q", "r", "s"),
    "planar": spanned("PlanarJoint", "q", "r", "s"),
    "free": spanned("FreeJoint", *"qrstuv"),
    "weld": spanned("WeldJoint"),
    "custom": custom(
        {
            "rotation1": ("q", (0.0, 0.0, 1.0), linear()),
            "rotation2": ("r", (1.0, 0.0, 0.0), linear()),
            "rotation3": ("s", (0.0, 1.0, 0.0), linear()),
            "translation2": ("t", (0.0, 1.0, 0.0), linear()),
        },
        *(C(n) for n in "qrst"),
    ),
    "skew axes": custom(
        {
            "rotation1": ("q", (0.7, 0.2, -0.4), linear()),
            "rotation2": ("r", (-0.1, 0.9, 2.0), linear()),
            "rotation3": ("q", (0.0, 0.3, 0.1), polynomial(0.5, 0.0, 0.1)),
            "translation1": ("q", (1.0, 3.0, 0.0), linear(0.4, 0.1)),
            "translation3": ("r", (0.0, 2.0, 4.0), table("SimmSpline", *KNEE)),
        },
        C("q"),
        C("r"),
    ),
    "translations in a plane": custom(
        {
            "rotation1": ("q", (1.0, 0.0, 0.0), linear()),
            "translation1": ("q", (1.0, 1.0, 0.0), linear()),
            "translation2": ("q", (0.0, 1.0, 0.0), linear(0.5)),
            "translation3": ("q", (1.0, 0.0, 0.0), linear(2.0, 0.1)),
        },
        C("q"),
    ),
    "constants on the other axes": custom(
        {
            "rotation1": ("", (0.2, 0.5, 1.0), constant(-0.7)),
            "rotation2": ("q", (1.2, 0.5, 0.0), linear()),
            "rotation3": ("", (2.2, 0.5, -1.0), constant(0.4)),
            "translation1": ("", (1.0, 0.0, 0.0), constant(0.3)),
            "translation2": ("", (1.0, 1.0, 0.0), constant(-0.2)),
            "translation3": ("", (1.0, 2.0, 2.0), constant(0.8)),
        },
        C("q"),
    ),
    "a coordinate that moves nothing": custom({"rotation1": ("q", X, linear())}, C("q"), C("r")),
    "a coordinate without function": custom(
        {"rotation1": ("q", X, ""), "rotation2": ("r", (0.0, 1.0, 0.0), linear())}, C("q"), C("r")
    ),
}
JOINTS |= {
    f"turn by {name}": custom({"rotation2": ("q", (0.0, 1.0, 0.0), function)}, C("q"))
    for name, function in FUNCTIONS.items()
}
JOINTS |= {
    f"slide by {name}": custom({"translation3": ("q", (0.0, 0.6, 0.8), function)}, C("q"))
    for name, function in FUNCTIONS.items()
}


def compare(text: str, folder: Path, poses: int = 50) -> Model:
    """No difference from OpenSim above 1e-12 over random poses; a tenth of the values out of range."""
    model = models.parsed(text, folder)
    tree = build_tree(model)
    oracle = models.OpenSim(folder / "model.osim")
    assert {oracle.coordinates.get(i).getName() for i in range(oracle.coordinates.getSize())} == set(
        model.coordinate_names
    )
    for coordinate in model.coordinates:
        theirs = oracle.coordinates.get(coordinate.name)
        assert theirs.getDefaultValue() == coordinate.default
        assert (theirs.getRangeMin(), theirs.getRangeMax()) == coordinate.range
        assert (theirs.get_clamped(), theirs.get_locked()) == (coordinate.clamped, coordinate.locked)
    q = models.random_poses(tree, poses, 11, model)
    names = [n for n in model.coordinate_names if n not in tree.locked]
    expected = oracle.places(model, names, tree.expand(q, names))
    assert models.our_places(model, tree, q).distance(expected) <= 1e-12
    assert np.ptp(expected.origins, axis=0).max() > 0.1  # it did move
    return model


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", JOINTS)
def test_every_joint_moves_as_in_opensim(name, version, tmp_path) -> None:
    tip = J("k", "limb", "tip", "PinJoint", (C("w", 0.3),), in_parent=((0.0, -0.4, 0.1), (0.1, 0.0, 0.2)))
    compare(document([BASE, JOINTS[name], tip], version), tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_opensim_makes_of_an_old_document_is_the_same_model(version, tmp_path) -> None:
    made = models.parsed(document([BASE, JOINTS["skew axes"]], version), tmp_path)
    models.OpenSim(tmp_path / "model.osim").model.printToXML(str(tmp_path / "saved.osim"))
    saved = read_model(tmp_path / "saved.osim")
    assert saved.bodies == made.bodies
    assert saved.coordinates == made.coordinates
    q = models.random_poses(build_tree(made), 20, 1, made)
    pair = [models.our_places(m, build_tree(m), q) for m in (made, saved)]
    assert pair[0].distance(pair[1]) <= 1e-12


def test_coordinates_are_read_as_written(tmp_path) -> None:
    pairs = (
        C("q", 0.5, (-1.0, 0.75), clamped=True), C("r", -0.25, (-3.0, 3.0), locked=True), C("s"), C("t"),
    )  # fmt: skip
    axes = {
        "rotation1": ("q", (1.0, 0.0, 0.0), linear()), "rotation2": ("r", (0.0, 1.0, 0.0), linear()),
        "translation1": ("s", (1.0, 0.0, 0.0), linear()), "translation2": ("q", (0.0, 1.0, 0.0), linear()),
    }  # fmt: skip
    model = compare(document([BASE, custom(axes, *pairs)]), tmp_path)
    own = {c.name: c for c in model.coordinates}
    assert (own["q"].default, own["q"].range, own["q"].clamped, own["q"].locked) == (
        0.5,
        (-1, 0.75),
        True,
        False,
    )
    assert (own["r"].default, own["r"].clamped, own["r"].locked) == (-0.25, False, True)
    assert [own[n].kind for n in "qrs"] == ["rotation", "rotation", "translation"]
    assert [own[f"b{i}"].kind for i in range(6)] == ["rotation"] * 3 + ["translation"] * 3
    tree = build_tree(model)
    assert tree.locked == {"r": -0.25}
    assert tree.coordinates == (*(f"b{i}" for i in range(6)), "q", "s", "t")
    assert (tree.low[6:8].tolist(), tree.high[6:8].tolist()) == ([-1, -np.inf], [0.75, np.inf])
    assert tree.defaults[6] == 0.5


def test_ranges_may_be_endless_or_left_out(tmp_path) -> None:
    text = document([J("j", "ground", "a", "PinJoint", (C("q", clamped=True),))])
    endless = models.parsed(text.replace("-2.0 2.0", "-Inf Inf"), tmp_path)
    assert endless.coordinates[0].range == (-np.inf, np.inf)
    models.OpenSim(tmp_path / "model.osim")  # takes it too
    left_out = models.parsed(text.replace("<range>-2.0 2.0</range>", ""), tmp_path)
    oracle = models.OpenSim(tmp_path / "model.osim")
    theirs = oracle.coordinates.get(0)
    assert left_out.coordinates[0].range == (theirs.getRangeMin(), theirs.getRangeMax()) == (-10, 10)


def test_masses_and_markers(tmp_path) -> None:
    text = document([BASE]).replace("<mass>1</mass>", "<mass>3.5</mass>")
    text = text.replace("<mass_center>0 0 0<", "<mass_center>.1 .2 .3<")
    text = text.replace("1 1 1 0 0 0", "1 2 3 4 5 6").replace("<fixed>false", "<fixed>true", 1)
    model = models.parsed(text, tmp_path)
    body = model.body("base")
    assert (body.mass, model.mass) == (3.5, 3.5)
    assert (body.mass_centre.tolist(), body.inertia.tolist()) == ([0.1, 0.2, 0.3], [1, 2, 3, 4, 5, 6])
    assert [(m.name, m.body, m.fixed) for m in model.markers] == [
        ("base_0", "base", True),
        ("base_1", "base", False),
    ]
    assert model.markers[0].location.tolist() == [0.1, 0.2, -0.3]
    old = models.parsed(document([BASE], 30000).replace("<inertia_xy>0", "<inertia_xy>7"), tmp_path)
    assert old.body("base").inertia.tolist() == [1, 1, 1, 7, 0, 0]


# --- couplers -----------------------------------------------------------------------------------

TWO = custom(
    {"rotation1": ("q", (1.0, 0.0, 0.0), linear()), "rotation2": ("r", (0.0, 1.0, 0.0), linear(1.0, 0.3))},
    C("q"),
    C("r"),
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scale", [1.0, 2.5, -1.0])
@pytest.mark.parametrize("name", ["linear", "minus", "polynomial", "spline", "lines", "twice"])
def test_couplers_hold_as_opensim_assembles_them(name, scale, version, tmp_path) -> None:
    """``dependent = scale · f(independent)``: the scale factor multiplies."""
    text = document([BASE, TWO], version, coupler("r", "q", FUNCTIONS[name], scale))
    model = models.parsed(text, tmp_path)
    tree = build_tree(model)
    assert "r" not in tree.coordinates
    oracle = models.OpenSim(tmp_path / "model.osim")
    for wanted in (-0.9, 0.4):
        oracle.pose(["q"], [wanted])
        oracle.model.assemble(oracle.state)
        q = np.array([[oracle.value(n) for n in tree.coordinates]])
        assert tree.expand(q, ["r"])[0, 0] == pytest.approx(oracle.value("r"), abs=1e-7)
        expected = oracle.places(model, model.coordinate_names, tree.expand(q, model.coordinate_names))
        assert models.our_places(model, tree, q).distance(expected) <= 1e-12


@pytest.mark.parametrize("off", ["<isEnforced>false</isEnforced>", "<isDisabled>true</isDisabled>"])
def test_constraints_that_are_off_are_passed_over(off, tmp_path) -> None:
    if "isEnforced" in off:
        version, one, two = 40000, "socket_body_1>/ground", "socket_body_2>/bodyset/limb"
    else:
        version, one, two = 30000, "body_1>ground", "body_2>limb"
    ends = "".join(f"<{end}</{end.partition('>')[0]}>" for end in (one, two))
    more = f'<PointConstraint name="p">{ends}{off}</PointConstraint>'
    text = document([BASE, TWO], version, coupler("r", "q", linear(), extra=off) + more)
    assert models.parsed(text, tmp_path).couplers == ()
    oracle = models.OpenSim(tmp_path / "model.osim")
    oracle.pose(["q", "r"], [0.5, -0.25])
    oracle.model.assemble(oracle.state)
    assert (oracle.value("q"), oracle.value("r")) == pytest.approx((0.5, -0.25), abs=1e-12)


# --- offset frames ------------------------------------------------------------------------------

PARTS = {
    "base": '<PhysicalOffsetFrame name="f"><socket_parent>..</socket_parent><translation>0 1 2</translation>'
    '<orientation>.1 .2 .3</orientation></PhysicalOffsetFrame><PhysicalOffsetFrame name="g">'
    "<socket_parent>../f</socket_parent><translation>1 0 0</translation><orientation>.3 -.2 .1</orientation>"
    "</PhysicalOffsetFrame>",
    "limb": '<PhysicalOffsetFrame name="f"><socket_parent>/bodyset/limb</socket_parent><translation>5 1 2'
    "</translation></PhysicalOffsetFrame>",
}
PIN = spanned("PinJoint", "q")


def with_sockets(parent: str | None = None, child: str | None = None) -> str:
    """A document whose second joint names these frames."""
    before, joint, after = document([BASE, PIN], components=PARTS).partition('<PinJoint name="j">')
    if parent is not None:
        after = after.replace(">base_offset</socket_parent_frame>", f">{parent}</socket_parent_frame>", 1)
    if child is not None:
        after = after.replace(">limb_offset</socket_child_frame>", f">{child}</socket_child_frame>", 1)
    return before + joint + after


@pytest.mark.parametrize(
    "parent",
    [
        "base_offset",  # the joint's own; the joint before has one of that name, placed elsewhere
        "/jointset/j/base_offset",
        "/jointset/root/base_offset",  # the other joint's
        "../root/base_offset",
        "/bodyset/base",
        "../../bodyset/base",
        "/bodyset/base/f",  # the limb has an f, too
        "/bodyset/base/g",  # stands on f
        "../../bodyset/base/g",
        "/ground",
    ],
)
def test_sockets_name_frames_by_path(parent, tmp_path) -> None:
    text = with_sockets(parent).replace("<location>0.0 ", "<location>0.5 ")
    model = compare(text, tmp_path)
    assert model.joint_of("limb").parent == ("ground" if parent == "/ground" else "base")


def test_child_frames_by_path(tmp_path) -> None:
    compare(with_sockets(child="/bodyset/limb/f"), tmp_path)
    compare(with_sockets("/bodyset/base/f", "/bodyset/limb"), tmp_path)


def test_a_joints_own_frame_may_bear_a_bodys_name(tmp_path) -> None:
    model = compare(with_sockets().replace("base_offset", "limb"), tmp_path)
    assert model.joint_of("limb").parent == "base"


def test_markers_on_offset_frames_are_on_their_bodies(tmp_path) -> None:
    text = with_sockets()
    for where in ("/bodyset/limb/f", "/jointset/j/limb_offset", "/jointset/j/base_offset", "/ground"):
        changed = text.replace("<socket_parent_frame>/bodyset/limb<", f"<socket_parent_frame>{where}<")
        model = compare(changed, tmp_path)
        body = {"f": "limb", "limb_offset": "limb", "base_offset": "base", "ground": "ground"}
        assert model.markers[2].body == body[where.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("socket", "message"),
    [
        ("nowhere", "path of a body or frame, got 'nowhere'"),
        ("/nowhere/base", "got '/nowhere/base'"),
        ("/bodyset/limb/g", "got '/bodyset/limb/g'"),
        ("f", "got 'f'"),  # a body's frame needs its path
        ("/jointset/other/base_offset", "path of a body or frame"),
        ("", "path of a body or frame, got ''"),
    ],
)
def test_sockets_that_lead_nowhere_are_refused(socket, message, tmp_path) -> None:
    text = with_sockets(socket)
    with pytest.raises(CapbenchError, match=message) as caught:
        models.parsed(text, tmp_path)
    assert caught.value.line == line_of(text, '<PinJoint name="j">')


# --- refusals -----------------------------------------------------------------------------------


def line_of(text: str, part: str) -> int:
    """The (first) line that holds ``part``, from 1."""
    return text[: text.index(part)].count("\n") + 1


def turning(function: str = linear(), coordinate: C = C("q"), **axes) -> J:  # noqa: B008  (frozen)
    first = {"rotation1": ("q", (1.0, 0.0, 0.0), function)}
    return J("j", "ground", "a", "CustomJoint", (coordinate,), first | axes)


TURN = document([turning()])
PINNED = document([J("j", "ground", "a", "PinJoint", (C("q"),))])
#: text, where the message must point to, what it must say
REFUSED = {
    "unknown joint": (
        PINNED.replace("PinJoint", "EllipsoidJoint"),
        "<EllipsoidJoint",
        "joint that capbench knows.*EllipsoidJoint",
    ),
    "unknown function": (
        document([turning(table("GCVSpline", *KNEE))]),
        "<GCVSpline>",
        "function that capbench knows.*GCVSpline",
    ),
    "pin without coordinate": (
        document([J("j", "ground", "a", "PinJoint")]),
        "<PinJoint",
        "Expected 1 coordinates, got 0",
    ),
    "planar of two": (
        document([J("j", "ground", "a", "PlanarJoint", (C("q"), C("r")))]),
        "<PlanarJoint",
        "3 coordinates, got 2",
    ),
    "prescribed": (
        document([turning(coordinate=C("q", extra="<prescribed>true</prescribed>"))]),
        "<Coordinate ",
        "prescribed",
    ),
    "range backwards": (TURN.replace("-2.0 2.0", "2.0 -2.0"), "<Coordinate ", "from low to high, got 2 -2"),
    "default out of range": (
        document([turning(coordinate=C("q", 2.5, clamped=True))]),
        "<Coordinate ",
        "default value within.*got 2.5",
    ),
    "NaN range": (TURN.replace("-2.0 2.0", "-2.0 nan"), "<range>", "finite numbers"),
    "infinite default": (
        TURN.replace("<default_value>0.0", "<default_value>inf"),
        "<default_value>",
        "finite numbers",
    ),
    "default in words": (
        TURN.replace("<default_value>0.0", "<default_value>none"),
        "<default_value>",
        "numbers, got 'none'",
    ),
    "NaN location": (TURN.replace("0.1 0.2 -0.3", "0.1 nan -0.3"), "<location>", "finite numbers"),
    "no location": (
        TURN.replace("<location>0.1 0.2 -0.3</location>", ""),
        '<Marker name="a_0"',
        "a location",
    ),
    "short location": (TURN.replace("0.1 0.2 -0.3", "0.1 0.2"), "<location>", "3 numbers, got 2"),
    "marker on nothing": (
        TURN.replace("<socket_parent_frame>/bodyset/a</socket_parent_frame>", "", 1),
        '<Marker name="a_0"',
        "body that the marker is fixed to",
    ),
    "marker on a stranger": (
        TURN.replace("<socket_parent_frame>/bodyset/a<", "<socket_parent_frame>/bodyset/b<", 1),
        '<Marker name="a_0"',
        "path of a body or frame, got '/bodyset/b'",
    ),
    "parallel rotations": (
        document([turning(rotation2=("", (-3.0, 0.0, 0.0), constant(0.0)))]),
        "<CustomJoint",
        "parallel",
    ),
    "first and last parallel": (
        document([turning(rotation3=("", (1.0, 0.0, 0.0), constant(0.0)))]),
        "<CustomJoint",
        "parallel",
    ),
    "almost parallel": (
        document([turning(rotation3=("", (1.0, 1e-6, 0.0), constant(0.0)))]),
        "<CustomJoint",
        "parallel",
    ),
    "parallel translations": (
        document([turning(translation3=("", (0.0, 2.0, 0.0), constant(0.0)))]),
        "<CustomJoint",
        "parallel",
    ),
    "function of another name": (
        TURN.replace("<LinearFunction>", '<LinearFunction name="bend">'),
        '<LinearFunction name="bend">',
        "without a name",
    ),
    "flag in numbers": (
        TURN.replace("<clamped>false", "<clamped>77"),
        "<Coordinate ",
        "true or false for clamped",
    ),
    "axis left out": (
        TURN.replace("<axis>0.0 1.0 0.0</axis>", "", 1),
        'name="rotation2"',
        "an axis of some length",
    ),
    "no axis": (
        document([turning(rotation2=("", (0.0, 0.0, 0.0), constant(0.0)))]),
        'name="rotation2"',
        "got 0 0 0",
    ),
    "endless axis": (
        document([turning(rotation2=("", (1.7e308, 1.7e308, 0.0), constant(0.0)))]),
        'name="rotation2"',
        "some length",
    ),
    "axis of two": (
        document([turning(rotation2=("q r", (0.0, 1.0, 0.0), linear()))]),
        'name="rotation2"',
        "one coordinate",
    ),
    "axis of a stranger": (
        document([turning(rotation2=("x", (0.0, 1.0, 0.0), linear()))]),
        'name="rotation2"',
        r"\(q\), got 'x'",
    ),
    "moved by nothing": (
        document([turning(rotation2=("", (0.0, 1.0, 0.0), linear()))]),
        'name="rotation2"',
        "that moves this axis",
    ),
    "axis twice": (
        TURN.replace('name="rotation3"', 'name="rotation2"'),
        None,
        "at most once, got 'rotation2'",
    ),
    "axis of no name": (
        TURN.replace('"rotation3"', '"rotation4"'),
        '"rotation4"',
        "at most once, got 'rotation4'",
    ),
    "no transform": (
        TURN[: TURN.index("<SpatialTransform>")] + TURN[TURN.index("</CustomJoint>") :],
        "<CustomJoint",
        "a SpatialTransform",
    ),
    "line of three": (
        TURN.replace("1.0 0.0</coefficients>", "1.0 0.0 2.0</coefficients>"),
        "<coefficients>",
        "2 numbers, got 3",
    ),
    "empty polynomial": (document([turning(polynomial())]), "<PolynomialFunction>", "Expected coefficients"),
    "endless polynomial": (document([turning(polynomial(1.0, np.inf))]), "<coefficients>", "finite numbers"),
    "knots that fall": (
        document([turning(table("SimmSpline", [1, 0], [0, 0]))]),
        "<SimmSpline>",
        "increasing knots",
    ),
    "one knot": (document([turning(table("SimmSpline", [1], [0]))]), "<SimmSpline>", "two or more"),
    "knots without values": (
        document([turning("<SimmSpline><x>0 1</x></SimmSpline>")]),
        "<SimmSpline>",
        "lists x and y",
    ),
    "multiplied nothing": (
        document([turning("<MultiplierFunction><scale>2</scale></MultiplierFunction>")]),
        "<MultiplierFunction>",
        "a function to multiply",
    ),
    "empty wrapper": (
        document([turning("")], 30000).replace("</TransformAxis>", "<function /></TransformAxis>", 1),
        "<function />",
        "a function, got none",
    ),
    "point constraint": (
        document([turning()], constraints='<PointConstraint name="p" />'),
        "<PointConstraint",
        "got an enforced Point",
    ),
    "coupler of two": (
        document([turning()], constraints=coupler("q", "q r", linear())),
        "<CoordinateCoupler",
        "one independent",
    ),
    "coupler of a constant": (
        document([turning()], constraints=coupler("q", "q", "<Constant />")),
        "<Constant />",
        "function of the independent coordinate, got a Constant",
    ),
    "coupler without function": (
        document([turning()], constraints=coupler("q", "q", "")),
        "<CoordinateCoupler",
        "coupled_coordinates_function",
    ),
    "nameless body": (TURN.replace('<Body name="a">', "<Body>"), "<Body>", "Expected a name"),
    "old body without joint": (
        document([turning()], 30000).replace("<Joint>", "<Other>").replace("</Joint>", "</Other>"),
        '<Body name="a">',
        "a joint that ties the body to its parent",
    ),
    "old reversed joint": (
        document([turning()], 30000).replace("<reverse>false", "<reverse>true"),
        "<CustomJoint",
        "reversed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_line(name, tmp_path) -> None:
    text, part, message = REFUSED[name]
    with pytest.raises(CapbenchError, match=message) as caught:
        models.parsed(text, tmp_path)
    assert str(tmp_path / "model.osim") in str(caught.value)
    line = text[: text.rindex('name="rotation2"')].count("\n") + 1 if part is None else line_of(text, part)
    assert caught.value.line == line


def hung(parent: str, child: str, number: int) -> J:
    return J(f"j{number}", parent, child, "PinJoint", (C(f"q{number}"),))


#: text, what must be said; these concern several places
REFUSED_WHOLE = {
    "cycle": (document([hung("b", "a", 1), hung("a", "b", 2)]), "a, b go round in a circle"),
    "self": (document([hung("a", "a", 1)], 30000), "a go round in a circle"),
    "island": (
        document([hung("ground", "a", 1), hung("c", "b", 2)], components={}).replace(
            "</objects>\n</BodySet>", '<Body name="c" /></objects></BodySet>', 1
        ),
        "b go round in a circle or hang on nothing",
    ),
    "two joints on a body": (
        document([hung("ground", "a", 1), hung("ground", "b", 2), hung("b", "a", 3)]),
        "one joint for each body.*got 2 for a",
    ),
    "ground on a body": (
        document([hung("ground", "a", 1), hung("a", "ground", 2)], markers="").replace(
            '<Body name="ground">', "<Body name='x'>"
        ),
        "none for ground",
    ),
    "body without joint": (
        document([hung("ground", "a", 1)]).replace(
            "</objects>\n</BodySet>", '<Body name="z" /></objects></BodySet>'
        ),
        "carries each body, got none for z",
    ),
    "missing body": (
        document([hung("ground", "a", 1)], 30000).replace("<parent_body>ground", "<parent_body>hand"),
        "'hand'",
    ),
    "bodies of one name": (
        document([hung("ground", "a", 1)]).replace(
            "</objects>\n</BodySet>", '<Body name="a" /></objects></BodySet>'
        ),
        "body once, got 'a' twice",
    ),
    "joints of one name": (
        document([hung("ground", "a", 1), hung("a", "b", 2)], 30000).replace('"j2"', '"j1"'),
        "joint once, got 'j1' twice",
    ),
    "coordinates of one name": (
        document([hung("ground", "a", 1), hung("a", "b", 2)]).replace('"q2"', '"q1"'),
        "coordinate once, got 'q1' twice",
    ),
    "markers of one name": (TURN.replace('"a_1"', '"a_0"'), "marker once, got 'a_0' twice"),
    "nameless coordinate": (PINNED.replace('Coordinate name="q"', "Coordinate"), "names to be non-empty"),
    "nameless marker": (TURN.replace('Marker name="a_0"', "Marker"), "names to be non-empty"),
    "coupler of a stranger": (
        document([BASE, TWO], constraints=coupler("r", "x", linear())),
        "coordinate, got 'x'",
    ),
    "two couplers on one": (
        document([BASE, TWO], constraints=coupler("r", "q", linear()) + coupler("r", "b0", linear())),
        "coupled coordinate once, got 'r' twice",
    ),
    "coupled and locked": (
        document([BASE, TWO], constraints=coupler("r", "q", linear()))
        .replace('name="r"><default_value>0.0</default_value>', 'name="r">')
        .replace("<locked>false", "<locked>true"),
        "coupled or locked",
    ),
    "version 1": (TURN.replace('"40000"', '"10905"'), "version 2.0 or later, got '10905'"),
    "no version": (TURN.replace(' Version="40000"', ""), "version 2.0 or later"),
    "version in words": (TURN.replace('"40000"', '"four"'), "version 2.0 or later"),
    "not OpenSim": ("<html />", "an OpenSimDocument that holds a Model, got <html>"),
    "no model": ('<OpenSimDocument Version="40000"><ScaleTool /></OpenSimDocument>', "that holds a Model"),
    "truncated": (TURN[: len(TURN) // 2], "Expected XML"),
    "empty": ("", "Expected XML"),
    "frames in a circle": (
        with_sockets("/bodyset/base/f").replace(
            "<socket_parent>..</socket_parent>", "<socket_parent>../g</socket_parent>"
        ),
        "frames in a circle",
    ),
    "frames of one name": (
        with_sockets("/bodyset/base/f").replace('name="g"', 'name="f"'),
        "one frame /bodyset/base/f, got 2",
    ),
    "entity bomb": (
        '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>' + TURN.partition("\n")[2],
        "no document type",
    ),
    "deep nest": ("<a>" * 100 + "</a>" * 100, "levels of nesting"),
}


@pytest.mark.parametrize("name", REFUSED_WHOLE)
def test_refusals_in_words(name, tmp_path) -> None:
    text, message = REFUSED_WHOLE[name]
    with pytest.raises(CapbenchError, match=message) as caught:
        models.parsed(text, tmp_path)
    assert str(tmp_path / "model.osim") in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["first and last parallel", "parallel rotations", "almost parallel", "parallel translations",
     "default out of range", "no transform", "planar of two"],
)  # fmt: skip
def test_opensim_refuses_these_too(name, tmp_path) -> None:
    (tmp_path / "model.osim").write_text(REFUSED[name][0])
    with pytest.raises(RuntimeError):
        models.OpenSim(tmp_path / "model.osim")


def test_joints_come_parents_first_else_in_the_files_order(tmp_path) -> None:
    text = document([hung("c", "d", 4), hung("a", "b", 2), hung("ground", "c", 3), hung("ground", "a", 1)])
    assert [j.name for j in models.parsed(text, tmp_path).joints] == ["j3", "j4", "j1", "j2"]


def test_a_chain_of_a_thousand_bodies_is_read(tmp_path) -> None:
    chain = [hung(f"s{i - 1}" if i else "ground", f"s{i}", i) for i in range(1000)]
    model = models.parsed(document(reversed(chain)), tmp_path)
    assert [j.child for j in model.joints] == [f"s{i}" for i in range(1000)]


# --- damaged files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mutate():
    script = Path(__file__).parents[2] / "scripts" / "fuzz_formats.py"
    spec = importlib.util.spec_from_file_location("fuzz_formats_for_models", script)
    module = importlib.util.module_from_spec(spec)
    before = sys.path.copy()
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module.mutate


SOUND = (
    document([BASE, JOINTS["skew axes"]], constraints=coupler("b0", "q", linear()), components=PARTS),
    document([BASE, JOINTS["skew axes"]], 30000, coupler("b0", "q", table("SimmSpline", *KNEE))),
)


def outcome(path: Path) -> str:
    """Read a file and pose what it holds: "read" or "refused"; anything else is raised."""
    try:
        with np.errstate(all="ignore"):
            tree = build_tree(read_model(path))
            forward(tree, tree.defaults[None])
    except CapbenchError as error:
        return "refused" if str(error) else "refused without a word"
    return "read"


def test_damaged_bytes_end_in_a_model_or_a_capbench_error(mutate, tmp_path) -> None:
    path, seen = tmp_path / "a.osim", Counter()
    for number in range(2000):
        path.write_bytes(mutate(SOUND[number % 2].encode(), np.random.default_rng([number, 5])))
        seen[outcome(path)] += 1
    assert set(seen) == {"read", "refused"}
    assert seen["read"] > 50


def rearranged(text: str, rng: np.random.Generator) -> bytes:
    """A document whose XML is whole but whose parts are lost, doubled, moved, renamed or filled with junk."""
    root = ElementTree.fromstring(text)
    junk = (
        "",
        "nan",
        "-1e400",
        "7" * 400,
        "../..",
        "/",
        "q",
        "base",
        "1 2",
        "true",
        "\u0661",
        "a" * 3000,
        "0 0 0",
    )
    for _ in range(int(rng.integers(1, 4))):
        parts = [(parent, child) for parent in root.iter() for child in parent]
        if not parts:
            break
        (parent, child), (_, other) = (parts[int(n)] for n in rng.integers(len(parts), size=2))
        match int(rng.integers(7)):
            case 0:
                parent.remove(child)
            case 1:
                parent.append(copy.deepcopy(other))
            case 2:
                parent[list(parent).index(child)] = copy.deepcopy(other)
            case 3:
                child.tag = other.tag
            case 4:
                child.attrib = {"name": str(rng.choice([other.get("name", "x"), "", "ground", "a/b"]))}
            case _:
                child.text = str(rng.choice([*junk, other.text or ""]))
    return ElementTree.tostring(root)


def test_rearranged_models_end_in_a_model_or_a_capbench_error(tmp_path) -> None:
    path, seen = tmp_path / "a.osim", Counter()
    for number in range(1200):
        path.write_bytes(rearranged(SOUND[number % 2], np.random.default_rng([number, 6])))
        seen[outcome(path)] += 1
    assert set(seen) == {"read", "refused"}
    assert min(seen.values()) > 200


# --- marker sets --------------------------------------------------------------------------------

SETS = {
    "RajagopalModified2016_markers_mmpose.xml": 18,
    "RajagopalModified2016_markers_mmpose_final_adjusted.xml": 33,
    "RajagopalModified2016_markers_mocap.xml": 49,
    "RajagopalModified2016_markers_openpose.xml": 20,
}
LIMBS = {"torso", "pelvis"} | {
    f"{part}_{side}"
    for part in ("femur", "tibia", "calcn", "toes", "humerus", "radius", "ulna", "hand", "talus")
    for side in "lr"
}


@pytest.mark.parametrize("name", SETS)
def test_published_marker_sets(shared_data, name) -> None:
    markers = read_markers(shared_data / "opencap_setup" / name)
    assert len(markers) == len({m.name for m in markers}) == SETS[name]
    assert {m.body for m in markers} <= LIMBS


def test_one_published_marker_by_its_figures(shared_data) -> None:
    markers = read_markers(shared_data / "opencap_setup" / "RajagopalModified2016_markers_mocap.xml")
    assert (markers[0].name, markers[0].body, markers[0].fixed) == ("C7", "torso", False)
    assert markers[0].location.tolist() == [-0.08, 0.42, 0.003]


def test_a_file_without_markers_is_refused(tmp_path) -> None:
    (tmp_path / "a.xml").write_text('<OpenSimDocument Version="30000"><MarkerSet /></OpenSimDocument>')
    with pytest.raises(CapbenchError, match="Expected markers, got none"):
        read_markers(tmp_path / "a.xml")
