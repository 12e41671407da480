"""Skinning: closed forms of linear blend skinning, and what it does to a person."""

from dataclasses import replace

import numpy as np
import pytest
from sample_people import ADULT, HEAVY, held, person, sweep
from scipy.spatial.transform import Rotation

from cohorts import CapbenchError
from synthpose.bind import bones
from synthpose.mesh import BodyFrames, Surface, frames_of, skin
from synthpose.person import landmark_sites

ONE = np.array([[0.3, -0.2, 0.5]])


def patch(weights: list[float], *, rest: np.ndarray = ONE) -> Surface:
    """Vertices that follow two bodies, each with the same weights."""
    count = len(rest)
    return Surface(
        name="patch",
        rest_v3=rest,
        canonical_v3=rest,
        faces_f3=np.empty((0, 3), np.int64),
        material_f=np.empty(0, np.int64),
        materials=("skin",),
        bones_vk=np.tile(np.arange(2), (count, 1)),
        weights_vk=np.tile(weights, (count, 1)).astype(float),
        bodies=("a", "b"),
    )


def frames(turns: list[Rotation], origins: list[list[float]]) -> BodyFrames:
    return BodyFrames(
        ("a", "b"), np.array([[t.as_matrix() for t in turns]]), np.array([origins], dtype=float)
    )


BIND = frames([Rotation.from_euler("y", 0.4), Rotation.identity()], [[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]])


# --- closed forms -------------------------------------------------------------------------------


def test_a_vertex_of_one_body_moves_rigidly() -> None:
    rest = np.random.default_rng(1).normal(size=(20, 3))
    turn, shift = Rotation.from_rotvec([0.3, -1.1, 0.7]), np.array([1.0, 2.0, -0.5])
    moved = frames(
        [turn * Rotation.from_matrix(BIND.rotation[0, 0]), Rotation.identity()],
        [(turn.apply(BIND.origin[0, 0]) + shift).tolist(), [9.0, 9.0, 9.0]],
    )
    made = skin(patch([1.0, 0.0], rest=rest), BIND, moved)
    assert made.shape == (1, 20, 3)
    assert np.abs(made[0] - (turn.apply(rest) + shift)).max() < 1e-14


def test_half_and_half_lies_in_the_middle() -> None:
    """Between where both bodies would take it: the mean of the two images."""
    half = Rotation.from_euler("x", 90, degrees=True)
    moved = frames([Rotation.from_matrix(BIND.rotation[0, 0]), half], [[0.1, 0.2, 0.3], [0.0, 0.0, 1.0]])
    made = skin(patch([0.5, 0.5]), BIND, moved)[0, 0]
    by_b = np.array([0.3, -0.5, -0.2 + 1.0])  # a quarter turn about x: (x, y, z) -> (x, -z, y), then 1 up z
    assert np.abs(made - (ONE[0] + by_b) / 2).max() < 1e-15


def test_opposite_half_turns_meet_on_the_axis() -> None:
    """What blending loses: a vertex between a body at rest and one turned by 180° falls onto the axis."""
    moved = frames(
        [Rotation.from_matrix(BIND.rotation[0, 0]), Rotation.from_euler("z", 180, degrees=True)],
        [[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]],
    )
    assert np.abs(skin(patch([0.5, 0.5]), BIND, moved)[0, 0] - [0, 0, 0.5]).max() < 1e-15


def test_other_bodies_than_the_surface_s_are_refused() -> None:
    other = replace(BIND, bodies=("b", "a"))
    with pytest.raises(CapbenchError, match="frames of the bodies"):
        skin(patch([1.0, 0.0]), BIND, other)
    with pytest.raises(CapbenchError, match="bones for each of 1 vertices"):
        replace(patch([1.0, 0.0]), bones_vk=np.zeros((2, 2), np.int64))


# --- a person ------------------------------------------------------------------------------------


def test_the_bind_pose_is_the_rest() -> None:
    for phenotype in (ADULT, HEAVY):
        who = person(phenotype)
        assert np.abs(who.posed(who.bind)[0][0] - who.surfaces[0].rest_v3).max() < 1e-9


def test_weights_are_shares_of_bodies_that_are_there() -> None:
    surface = person(ADULT).surfaces[0]
    assert np.abs(surface.weights_vk.sum(axis=1) - 1).max() < 1e-12 and surface.weights_vk.min() >= 0
    assert surface.bones_vk.max() < len(surface.bodies)


def test_skin_at_bony_landmarks_moves_with_the_bone() -> None:
    """The triangle of each bony landmark stays rigid with its body, and its point on the landmark."""
    who = person(ADULT)
    motion = sweep(who, frames=6, reach=0.9)
    surface = who.surfaces[0]
    posed = who.posed(motion)[0]
    placed = frames_of(who.model, motion, surface.bodies)
    at_rest = frames_of(who.model, who.bind, surface.bodies)
    true = dict(zip(who.landmarks(motion).names, np.moveaxis(who.landmarks(motion).xyz, 1, 0), strict=True))
    names = {
        "r_knee": "right_femur_lateral_epicondyle",
        "l_ASIS": "left_asis",
        "r_mankle": "right_medial_malleolus",
        "C7": "c7",
        "l_calc": "left_calcaneus",
        "r_melbow": "right_humerus_medial_epicondyle",
        "lshoulder": "left_acromion",
        "l_big_toe": "left_big_toe",
        "r_lwrist": "right_radial_styloid",
    }
    for point, landmark in names.items():
        on, shares = landmark_sites()[landmark]
        body = surface.bodies.index(bones()[landmark].body)
        local = (surface.rest_v3[on] - at_rest.origin[0, body]) @ at_rest.rotation[0, body]
        rigid = np.einsum("tij,vj->tvi", placed.rotation[:, body], local) + placed.origin[:, None, body]
        assert np.abs(posed[:, on] - rigid).max() < 1e-9, point
        seen = np.einsum("v,tvi->ti", shares, posed[:, on])
        assert np.abs(seen - true[point]).max() < 1e-9, point


POSES = {
    "squat": {"hip_flexion_r": 115, "knee_angle_r": 120, "hip_flexion_l": 115, "ankle_angle_r": 30},
    "arms": {"arm_flex_r": 90, "elbow_flex_r": 130, "arm_add_l": -90, "elbow_flex_l": 10},
    "stride": {"hip_flexion_l": -15, "knee_angle_l": 60, "mtp_angle_l": -30, "neck_rotation": 60},
}


@pytest.mark.parametrize("pose", POSES.values(), ids=list(POSES))
def test_nothing_tears(pose) -> None:
    """Edges of the skin: almost none doubles its length, and none becomes longer than 4 cm by bending."""
    who = person(ADULT)
    rest, faces = who.surfaces[0].rest_v3, who.surfaces[0].faces_f3
    posed = who.posed(held(who, **pose))[0][0]
    edges = np.unique(
        np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0
    )
    before, after = (np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1) for v in (rest, posed))
    assert ((after > 2 * before) & (before > 0.003)).mean() < 0.01
    assert (after - before).max() < 0.04


def test_bodies_keep_their_volume_where_they_bend() -> None:
    """The legs' bend costs blended skin some of its volume, but little."""
    who = person(ADULT)
    faces = who.surfaces[0].faces_f3

    def volume(v: np.ndarray) -> float:
        a, b, c = (v[faces[:, k]] for k in range(3))
        return float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)

    squat = held(who, hip_flexion_r=100, hip_flexion_l=100, knee_angle_r=110, knee_angle_l=110)
    assert volume(who.posed(squat)[0][0]) == pytest.approx(volume(who.surfaces[0].rest_v3), rel=0.05)
