"""Written models: read back as they were, and opened by OpenSim with everything in the same place."""

from dataclasses import replace

import numpy as np
import pytest
from biomech import models
from biomech.models import C, J, coupler, document, linear, multiplied, polynomial, table
from hypothesis import given, settings
from hypothesis import strategies as st

from capbench.biomech.functions import Polynomial, Spline, constant, piecewise_linear, simm_spline
from capbench.biomech.model import (
    Axis,
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
from capbench.biomech.osim import body_fixed_xyz, parse_model, read_markers, read_model
from capbench.biomech.osim_write import marker_set_text, model_text, orientation, write_model
from capbench.biomech.tree import build_tree
from cohorts import CapbenchError
from cohorts.bounded import load_xml

#: real models, and whether they hold functions that are multiplied, which are written out as splines
PUBLISHED = {
    "labvalidation_subject4/model/manually_scaled.osim": True,
    "opencap_setup/LaiUhlrich2022.osim": False,
    "opensim_gait2354/gait2354_simbody.osim": False,
    "opensim_gait2354/subject01_scaledOnly.osim": True,
    "opensim_gait2354/subject01_simbody.osim": True,
}


def again(model: Model, folder) -> Model:
    write_model(model, folder / "again.osim")
    return read_model(folder / "again.osim")


def assert_same(model: Model, other: Model) -> None:
    """Equal but for splines' derivatives, which may differ in the last digits."""
    functions = [[a.function for j in m.joints for a in j.translations + j.rotations] for m in (model, other)]
    for one, two in zip(*functions, strict=True):
        if isinstance(one, Spline):
            assert isinstance(two, Spline)
            assert np.array_equal(one.x, two.x) and np.array_equal(one.y, two.y)
            for name in "bcd":
                a, b = getattr(one, name), getattr(two, name)
                assert np.abs(a - b).max() <= 1e-14 * max(1, np.abs(a).max())
        else:
            assert one == two
    still = {id(f): constant(0) for f in functions[0] + functions[1]}

    def bare(m: Model) -> Model:
        return replace(
            m,
            joints=tuple(
                replace(
                    j,
                    rotations=tuple(replace(a, function=still[id(a.function)]) for a in j.rotations),
                    translations=tuple(replace(a, function=still[id(a.function)]) for a in j.translations),
                )
                for j in m.joints
            ),
        )

    assert bare(model) == bare(other)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_kept(shared_data, tmp_path, name) -> None:
    """Read back equal, and in OpenSim bodies and markers are where the original's are, to 1e-12 m."""
    model = read_model(shared_data / name)
    copy = again(model, tmp_path)
    assert_same(model, copy)
    assert PUBLISHED[name] or copy == model
    assert model_text(copy) == model_text(model)
    tree = build_tree(model)
    q = models.random_poses(tree, 50, 3, model)
    names = [n for n in model.coordinate_names if n not in tree.locked]
    poses = tree.expand(q, names)
    theirs = models.OpenSim(shared_data / name)
    ours = models.OpenSim(tmp_path / "again.osim")
    assert ours.places(model, names, poses).distance(theirs.places(model, names, poses)) <= 1e-12
    assert ours.model.getTotalMass(ours.state) == pytest.approx(
        theirs.model.getTotalMass(theirs.state), 1e-14
    )


def kinds() -> Model:
    """A joint of each kind, couplers, functions of each kind, odd ranges."""
    names = {
        "PinJoint": 1,
        "SliderJoint": 1,
        "UniversalJoint": 2,
        "GimbalJoint": 3,
        "PlanarJoint": 3,
        "FreeJoint": 6,
        "WeldJoint": 0,
    }
    joints, parent = [], "ground"
    for kind, count in names.items():
        coordinates = tuple(C(f"{kind}{i}", range=(-1.5, 1.25)) for i in range(count))
        joints.append(
            J(kind.lower(), parent, f"b{kind}", kind, coordinates, {}, ((0.1, -0.2, 1 / 3), (0.3, -1.2, 2.9)))
        )
        parent = f"b{kind}"
    axes = {
        "rotation1": ("bend", (0.6, 0.0, 0.8), linear()),
        "rotation2": ("", (0.0, 1.0, 0.0), models.constant(0.4)),
        "rotation3": ("bend", (1.0, 0.0, 0.0), polynomial(0.1, -0.2, 0.3, 0.1)),
        "translation1": ("bend", (1.0, 0.0, 0.0), table("SimmSpline", (-2, 0, 0.5, 2), (0, 0.1, 0.2, -0.1))),
        "translation2": ("slide", (0.0, 1.0, 0.0), multiplied(0.7, linear(2.0, 0.1))),
        "translation3": (
            "bend",
            (0.0, 0.0, 1.0),
            table("PiecewiseLinearFunction", (-1, 0, 2), (0, 0.3, 0.1)),
        ),
    }
    custom = (C("bend", 0.1, (-np.inf, np.inf)), C("slide", 0.2, (-1.0, 1.0), clamped=True))
    joints.append(J("custom", parent, "last", "CustomJoint", custom, axes))
    follow = coupler("slide", "PinJoint0", polynomial(0.5, 0.1), scale=1.0)
    return parse(document(joints, constraints=follow))


def parse(text: str) -> Model:
    from xml.etree.ElementTree import fromstring

    return parse_model(fromstring(text))


def test_every_kind_of_joint_and_function_is_kept(tmp_path) -> None:
    model = kinds()
    copy = again(model, tmp_path)
    assert copy == model
    assert [j.kind for j in copy.joints] == [j.kind for j in model.joints]
    tree = build_tree(model)
    rng = np.random.default_rng(5)
    q = rng.uniform(-1, 1, (20, len(tree.coordinates)))
    names = model.coordinate_names
    oracle = models.OpenSim(tmp_path / "again.osim")
    places = oracle.places(model, names, tree.expand(q, names))
    assert models.our_places(model, tree, q).distance(places) <= 1e-12
    limits = oracle.coordinates.get("bend")
    assert (limits.getRangeMin(), limits.getRangeMax()) == (-np.inf, np.inf)


def test_a_joint_of_few_axes_and_no_known_kind_becomes_a_custom_joint(tmp_path) -> None:
    """Our own joints may have any number of axes; the file's missing ones stand still."""
    tilted = np.array([1.0, 2.0, 2.0]) / 3
    hinge = Joint(
        "hinge",
        "PinJoint",  # but about no pin's axis
        "ground",
        "arm",
        Placement(np.eye(3), np.array([0.1, 0.2, 0.3])),
        Placement(),
        (Axis(tilted, Polynomial(np.array([1.0, 0.0])), "turn"),),
        (),
        (Coordinate("turn", 0.25, (-1.0, 1.0), True),),
    )
    model = Model("arm", (Body("arm", 2.0),), (hinge,), (), (Marker("m", "arm", np.array([0.5, 0, 0])),))
    copy = again(model, tmp_path)
    assert copy.joints[0].kind == "CustomJoint"
    assert len(copy.joints[0].rotations) == len(copy.joints[0].translations) == 3
    q = np.linspace(-1, 1, 5)[:, None]
    oracle = models.OpenSim(tmp_path / "again.osim")
    expected = oracle.places(model, ["turn"], q)
    assert models.our_places(model, build_tree(model), q).distance(expected) <= 1e-15


angles = st.floats(-np.pi, np.pi)


@settings(max_examples=50, deadline=None)
@given(angles, st.one_of(st.floats(-np.pi / 2, np.pi / 2), st.just(np.pi / 2), st.just(-np.pi / 2)), angles)
def test_orientations_give_their_matrix_back(a, b, c) -> None:
    turn = body_fixed_xyz(np.array([a, b, c]))
    assert np.abs(body_fixed_xyz(orientation(turn)) - turn).max() <= 1e-15


@settings(max_examples=50, deadline=None)
@given(*[st.integers(-157, 157).map(lambda n: n / 100)] * 3)
def test_orientations_that_people_wrote_are_found_again(a, b, c) -> None:
    """To the last bit of the matrix: what is read, written and read is what was read first."""
    turn = body_fixed_xyz(np.array([a, b, c]))
    assert np.array_equal(body_fixed_xyz(orientation(turn)), turn)


def test_marker_sets_are_kept(tmp_path) -> None:
    markers = (
        Marker("R.ASIS", "pelvis", np.array([0.1, 1 / 3, -2e-17])),
        Marker("x", "ground", np.ones(3), True),
    )
    (tmp_path / "m.xml").write_text(marker_set_text(markers))
    assert read_markers(tmp_path / "m.xml") == markers
    assert load_xml(tmp_path / "m.xml").tag == "OpenSimDocument"


def test_an_existing_file_is_kept_unless_told(tmp_path) -> None:
    model = kinds()
    path = tmp_path / "m.osim"
    path.write_text("mine")
    with pytest.raises(CapbenchError, match="exists"):
        write_model(model, path)
    assert path.read_text() == "mine"
    write_model(model, path, overwrite=True)
    assert read_model(path) == model


@pytest.mark.parametrize("name", ["a b", "a/b", "a\nb", "a*", "a+", "a\x01"])
def test_names_that_opensim_would_change_are_refused(name) -> None:
    body = Body(name, 1.0)
    joint = Joint("j", "WeldJoint", "ground", name, Placement(), Placement(), (), (), ())
    with pytest.raises(CapbenchError, match="name that OpenSim allows"):
        model_text(Model("m", (body,), (joint,)))


def test_markup_in_names_stays_text(tmp_path) -> None:
    model = kinds()
    marker = Marker("<&\">'", "last", np.zeros(3))
    assert again(model.with_markers((marker,)), tmp_path).markers == (marker,)


def with_function(function) -> Model:
    joint = Joint(
        "j", "CustomJoint", "ground", "b", Placement(), Placement(),
        tuple(fixed_axis(tuple(d)) for d in np.eye(3)),
        (Axis(np.array([1.0, 0, 0]), function, "q"), fixed_axis((0, 1, 0)), fixed_axis((0, 0, 1))),
        (Coordinate("q", kind="translation"),),
    )  # fmt: skip
    return Model("m", (Body("b", 1.0),), (joint,))


def test_splines_of_both_kinds_are_told_apart(tmp_path) -> None:
    x, y = np.array([-1.0, 0.0, 0.3, 2.0]), np.array([0.0, 1.0, 0.5, 0.25])
    for i, make in enumerate((simm_spline, piecewise_linear)):
        (tmp_path / str(i)).mkdir()
        model = with_function(make(x, y))
        assert again(model, tmp_path / str(i)) == model


def test_a_spline_that_opensim_lacks_is_refused() -> None:
    x, y = np.array([-1.0, 0.0, 0.3, 2.0]), np.array([0.0, 1.0, 0.5, 0.25])
    plain = simm_spline(x, y)
    with pytest.raises(CapbenchError, match="kind that OpenSim has"):
        model_text(with_function(Spline(x, y, plain.b + 0.1, plain.c, plain.d)))


def test_numbers_that_are_none_are_refused() -> None:
    model = with_function(Polynomial(np.array([1.0, 0.0])))
    with pytest.raises(CapbenchError, match="finite numbers"):
        model_text(replace(model, bodies=(Body("b", float("nan")),)))


def test_a_rotation_that_is_none_is_refused() -> None:
    with pytest.raises(CapbenchError, match="rotation matrix"):
        orientation(np.diag([1.0, 1.0, -1.0]))


def test_couplers_keep_their_scale(tmp_path) -> None:
    """The scale is in the function; OpenSim then moves the dependent coordinate as we do."""
    model = with_function(Polynomial(np.array([1.0, 0.0])))
    second = Joint(
        "k", "PinJoint", "b", "c", Placement(), Placement(), (free_axis((0.0, 0.0, 1.0), "r"),), (),
        (Coordinate("r", 0.0, (-2.0, 2.0)),),
    )  # fmt: skip
    follow = Coupler("follow", "r", "q", Polynomial(np.array([3.0, 0.25])))
    model = Model("m", (*model.bodies, Body("c", 1.0)), (*model.joints, second), (follow,))
    assert again(model, tmp_path) == model
    oracle = models.OpenSim(tmp_path / "again.osim")
    oracle.coordinates.get("q").setValue(oracle.state, 0.2, True)  # and satisfy the constraint
    assert oracle.value("r") == pytest.approx(3 * oracle.value("q") + 0.25, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1))
def test_tilted_axes_are_kept_to_the_last_bit(direction) -> None:
    model = with_function(Polynomial(np.array([1.0, 0.0])))
    along = np.array(direction) / np.linalg.norm(direction)
    across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    axes = (along, across / np.linalg.norm(across), np.cross(along, across) / np.linalg.norm(across))
    turned = tuple(Axis(axis, constant(0.1)) for axis in axes)
    model = replace(model, joints=(replace(model.joints[0], rotations=turned),))
    once = parse(model_text(model))
    assert np.abs(once.joints[0].rotations[0].direction - along).max() <= 2.3e-16
    assert parse(model_text(once)) == once
