"""Forward kinematics and Jacobians: against OpenSim on real models, and against differences."""

import numpy as np
import pytest
from biomech import models
from biomech.models import C, J, coupler, document, linear, polynomial, table

from capbench.biomech.kinematics import (
    coordinates_of,
    forward,
    jacobian,
    joint_centres,
    marker_tracks,
    points,
)
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.tree import build_tree
from cohorts import CapbenchError, Motion

#: real models: bodies, coordinates, and how many of these are locked or coupled
PUBLISHED = {
    "labvalidation_subject4/model/manually_scaled.osim": (22, 35, 0, 2),
    "opencap_setup/LaiUhlrich2022.osim": (22, 35, 0, 2),
    "opensim_gait2354/gait2354_simbody.osim": (12, 23, 0, 0),
    "opensim_gait2354/subject01_scaledOnly.osim": (12, 23, 0, 0),
    "opensim_gait2354/subject01_simbody.osim": (12, 23, 0, 0),
}
TURNING, SLIDING = 1, 2  # OpenSim's Coordinate::MotionType


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_move_as_in_opensim(shared_data, name) -> None:
    """500 random poses, a tenth of the coordinates outside their range: to 1e-12 m."""
    model = read_model(shared_data / name)
    tree = build_tree(model)
    counts = (len(model.bodies), len(model.coordinates), len(tree.locked), len(tree.coupled))
    assert counts == PUBLISHED[name]
    oracle = models.OpenSim(shared_data / name)
    q = models.random_poses(tree, 500, 4, model)
    names = [n for n in model.coordinate_names if n not in tree.locked]
    expected = oracle.places(model, names, tree.expand(q, names))
    assert models.our_places(model, tree, q).distance(expected) <= 1e-12


@pytest.mark.parametrize("name", PUBLISHED)
def test_coordinates_and_joint_centres_of_published_models(shared_data, name) -> None:
    model = read_model(shared_data / name)
    tree = build_tree(model)
    oracle = models.OpenSim(shared_data / name)
    assert {oracle.coordinates.get(i).getName() for i in range(oracle.coordinates.getSize())} == set(
        model.coordinate_names
    )
    for coordinate in model.coordinates:
        theirs = oracle.coordinates.get(coordinate.name)
        assert coordinate.default == theirs.getDefaultValue()
        assert coordinate.range == (theirs.getRangeMin(), theirs.getRangeMax())
        assert (coordinate.clamped, coordinate.locked) == (theirs.get_clamped(), theirs.get_locked())
        kind = theirs.getMotionType()
        assert coordinate.kind == "rotation" or kind != TURNING
        assert coordinate.kind == "translation" or kind != SLIDING
        if coordinate.name in tree.locked:
            assert tree.locked[coordinate.name] == oracle.value(coordinate.name)
    for body in model.bodies:
        theirs = oracle.model.getBodySet().get(body.name)
        assert body.mass == theirs.getMass()
        assert body.mass_centre.tolist() == [theirs.getMassCenter().get(k) for k in range(3)]

    q = models.random_poses(tree, 5, 8, model)
    names = [n for n in model.coordinate_names if n not in tree.locked]
    motion = Motion(np.arange(5.0), names, tree.expand(q, names))
    centres = joint_centres(model, motion)
    for t in range(5):
        oracle.pose(names, motion.values[t])
        for j, joint in enumerate(centres.names):
            frame = oracle.model.getJointSet().get(joint).getParentFrame()
            theirs = frame.getPositionInGround(oracle.state)
            np.testing.assert_allclose(
                centres.xyz[t, j], [theirs.get(k) for k in range(3)], rtol=0, atol=1e-12
            )


def test_coupled_coordinates_are_where_opensim_assembles_them(shared_data) -> None:
    """LabValidation's kneecaps follow the knees by splines."""
    name = "labvalidation_subject4/model/manually_scaled.osim"
    model = read_model(shared_data / name)
    tree = build_tree(model)
    assert tree.coupled
    oracle = models.OpenSim(shared_data / name)
    for bend in (0.0, 0.4, 1.1, 1.9):
        for independent, _ in tree.coupled.values():
            oracle.pose([independent], [bend])
        oracle.model.assemble(oracle.state)
        q = np.array([[oracle.value(n) for n in tree.coordinates]])
        for dependent in tree.coupled:
            assert tree.expand(q, [dependent])[0, 0] == pytest.approx(oracle.value(dependent), abs=1e-6)


def test_published_markers_on_the_model_they_were_made_for(shared_data, tmp_path) -> None:
    folder = shared_data / "opencap_setup"
    markers = read_markers(folder / "RajagopalModified2016_markers_mocap.xml")
    model = read_model(folder / "LaiUhlrich2022.osim").with_markers(markers)
    tree = build_tree(model)
    oracle = models.OpenSim(folder / "LaiUhlrich2022.osim")
    oracle.pose([], [])
    found = models.our_places(model, tree, tree.defaults[None]).markers[0]
    import opensim

    for marker, place in zip(model.markers, found, strict=True):
        body = oracle.model.getBodySet().get(marker.body)
        theirs = body.findStationLocationInGround(oracle.state, opensim.Vec3(*marker.location.tolist()))
        np.testing.assert_allclose(place, [theirs.get(k) for k in range(3)], rtol=0, atol=1e-12)


# --- by hand ------------------------------------------------------------------------------------


def arm() -> str:
    """Two links of 1 m in the plane, each turned about z."""
    upper = J("shoulder", "ground", "upper", "PinJoint", (C("s"),), in_parent=((0.0, 1.5, 0.0), (0.0,) * 3))
    lower = J("elbow", "upper", "lower", "PinJoint", (C("e"),), in_parent=((1.0, 0.0, 0.0), (0.0,) * 3))
    hand = (
        '<Marker name="hand"><socket_parent_frame>/bodyset/lower</socket_parent_frame>'
        "<location>1 0 0</location></Marker>"
    )
    return document([upper, lower], markers=hand)


def test_a_planar_arm_by_hand(tmp_path) -> None:
    model = models.parsed(arm(), tmp_path)
    s, e = np.array([0.0, 0.3, -1.0]), np.array([np.pi / 2, -0.4, 2.0])
    motion = Motion(np.arange(3.0), ("e", "s"), np.stack([e, s], axis=1))  # by name, in any order
    hand = [np.cos(s) + np.cos(s + e), 1.5 + np.sin(s) + np.sin(s + e), 0 * s]
    found = marker_tracks(model, motion)
    assert found.names == ("hand",)
    np.testing.assert_allclose(found.xyz[:, 0], np.stack(hand, axis=1), atol=1e-15)
    centres = joint_centres(model, motion)
    assert centres.names == ("shoulder", "elbow")
    elbow = [np.cos(s), 1.5 + np.sin(s), 0 * s]
    np.testing.assert_allclose(centres.xyz[:, 0], [[0, 1.5, 0]] * 3, atol=1e-15)
    np.testing.assert_allclose(centres.xyz[:, 1], np.stack(elbow, axis=1), atol=1e-15)
    tree = build_tree(model)
    q = coordinates_of(tree, motion)
    slopes = jacobian(tree, forward(tree, q), q, "lower", np.array([1.0, 0, 0]))
    by_e = np.stack([-np.sin(s + e), np.cos(s + e), 0 * s], axis=1)
    by_s = by_e + np.stack([-np.sin(s), np.cos(s), 0 * s], axis=1)
    np.testing.assert_allclose(slopes, np.stack([by_s, by_e], axis=2), atol=1e-15)


def test_a_motion_without_a_coordinate_is_refused(tmp_path) -> None:
    model = models.parsed(arm(), tmp_path)
    with pytest.raises(CapbenchError, match="none of e"):
        marker_tracks(model, Motion([0.0], ("s",), np.zeros((1, 1))))
    tree = build_tree(model)
    with pytest.raises(CapbenchError, match="'hand'"):
        points(tree, forward(tree, np.zeros((1, 2))), ["hand"], np.zeros((1, 3)))


# --- the Jacobian -------------------------------------------------------------------------------


def rich() -> str:
    """Every way a coordinate can move a point: turns, slides, splines, several axes, couplers."""
    base = J("root", "ground", "base", "FreeJoint", tuple(C(f"b{i}") for i in range(6)))
    axes = {
        "rotation1": ("q", (0.1, 0.2, 0.9), linear()),
        "rotation2": ("r", (0.8, 0.1, 0.1), polynomial(0.3, 0.8, 0.1)),
        "rotation3": ("q", (0.2, 1.0, 0.3), table("SimmSpline", [-2, -1, 0.3, 2], [0.2, 0.0, 0.4, 0.1])),
        "translation1": ("q", (1.0, 0.0, 0.0), polynomial(0.05, 0.1, 0.0)),
        "translation2": ("s", (0.0, 1.0, 0.0), linear(0.5, 0.1)),
        "translation3": ("r", (0.0, 0.0, 1.0), table("SimmSpline", [-2, 0, 2], [0.2, 0.0, 0.3])),
    }
    limb = J(
        "j", "base", "limb", "CustomJoint", (C("q"), C("r"), C("s")), axes, ((0.1, 0.4, 0.0), (0.3, 0.0, 0.9))
    )
    ball = J("k", "limb", "tip", "BallJoint", (C("u"), C("v"), C("w", 0.3, locked=True)))
    couplers = coupler("s", "r", polynomial(0.2, 0.5, 0.0)) + coupler("v", "b1", linear(-0.7, 0.2))
    return document([base, limb, ball], constraints=couplers)


def differences(model, tree, q, marker, step: float = 1e-5) -> np.ndarray:
    """(T, 3, Q) slopes of a marker by central differences of the fourth order."""
    columns = []
    for i in range(q.shape[1]):
        side = np.zeros(q.shape[1])
        side[i] = step
        at = [models.our_places(model, tree, q + k * side).markers[:, marker] for k in (-2, -1, 1, 2)]
        columns.append((at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step))
    return np.stack(columns, axis=2)


def test_the_jacobian_is_how_points_move(tmp_path) -> None:
    model = models.parsed(rich(), tmp_path)
    tree = build_tree(model)
    q = models.random_poses(tree, 30, 9, model)
    frames = forward(tree, q)
    for i, marker in enumerate(model.markers):
        found = jacobian(tree, frames, q, marker.body, marker.location)
        np.testing.assert_allclose(found, differences(model, tree, q, i), atol=1e-9)
    assert np.abs(found).max(axis=(0, 1)).min() > 0.1  # the tip is moved by every free coordinate
    base = jacobian(tree, frames, q, "base", np.zeros(3))
    assert not base[:, :, 6:].any()
    assert not jacobian(tree, frames, q, "ground", np.ones(3)).any()


def test_the_jacobian_of_a_published_model(shared_data) -> None:
    model = read_model(shared_data / "labvalidation_subject4/model/manually_scaled.osim")
    tree = build_tree(model)
    q = models.random_poses(tree, 5, 10, model)
    frames = forward(tree, q)
    for i in range(0, len(model.markers), 9):
        marker = model.markers[i]
        found = jacobian(tree, frames, q, marker.body, marker.location)
        np.testing.assert_allclose(found, differences(model, tree, q, i), atol=1e-8)


def test_no_frames_and_no_points(tmp_path) -> None:
    model = models.parsed(rich(), tmp_path)
    tree = build_tree(model)
    empty = np.empty((0, len(tree.coordinates)))
    assert models.our_places(model, tree, empty).markers.shape == (0, 6, 3)
    assert points(tree, forward(tree, tree.defaults[None]), [], np.empty((0, 3))).shape == (1, 0, 3)
