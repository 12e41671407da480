"""Joint angles from body parameters: planted postures, composed by scipy from the card's own figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from capbench.biomech import body as body_module
from capbench.biomech.body import fullbody
from capbench.biomech.body_parameters import APPROXIMATIONS, LINKS, angles_of, approximation, motion_of
from capbench.biomech.functions import Polynomial
from cohorts.errors import CapbenchError
from cohorts.recording import BodyParameters, Motion
from cohorts.skeleton import skeleton

JOINTS = yaml.safe_load(Path(body_module.__file__).with_name("fullbody.yaml").read_text())["joints"]
SMPL = ("smpl", "smplh", "smplx")
WIDTHS = {"smpl": 24, "smplh": 52, "smplx": 55}
#: the parametric body's x, y, z are our -z, y, x
TURN = Rotation.from_matrix([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
MIRROR = {"l": np.array([-1.0, -1.0, 1.0]), "r": np.ones(3)}  # of the axis of a turn


def parameters(joints: dict, *, family: str = "smpl", trans=None) -> BodyParameters:
    """Body parameters with these joints' axis-angles, each (3,) or (T, 3), and zeros for the others."""
    frames = max((len(np.atleast_2d(v)) for v in joints.values()), default=1)
    names = skeleton(f"{family}-{WIDTHS[family]}").points
    poses = np.zeros((frames, WIDTHS[family], 3))
    for name, vector in joints.items():
        poses[:, names.index(name)] = vector
    trans = np.zeros((frames, 3)) if trans is None else trans
    return BodyParameters(family, np.arange(frames) / 30, poses, trans, np.zeros(10))


def angles(joints: dict, **options) -> Motion:
    return motion_of(parameters(joints), **options)


def degrees(joints: dict, coordinate: str, **options) -> np.ndarray:
    return np.degrees(angles(joints, **options).column(coordinate))


def about(axis, angles) -> Rotation:
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    return Rotation.from_rotvec(np.multiply.outer(np.atleast_1d(angles), axis))


def ball(side: str, first, second, third) -> Rotation:
    """Turns about z, then x, then y of the moved frame, as the card's ball joints; mirrored on the left."""
    sign = {"r": 1, "l": -1, "": 1}[side]
    return Rotation.from_euler("ZXY", np.stack([first, sign * second, sign * third], axis=-1))


def pin(joint: str, name: str, side: str, angle) -> Rotation:
    return about(np.array(JOINTS[joint]["axes"][name]) * MIRROR[side], angle)


def knee(side: str, angle) -> Rotation:
    """The knee's three turns: each about its axis, by a polynomial of the bend."""
    made = Rotation.identity(len(angle))
    for turn in JOINTS["walker_knee_r"]["turns"]:
        by = np.polyval(turn.get("by", [1, 0]), angle)
        made = made * pin("walker_knee_r", turn["about"], side, by)
    return made


def ankle(side: str, angle, subtalar) -> Rotation:
    return pin("ankle_r", "ankle", side, angle) * pin("subtalar_r", "subtalar", side, subtalar)


def forearm(side: str, bend, twist) -> Rotation:
    return pin("elbow_r", "elbow", side, bend) * pin("radioulnar_r", "forearm", side, twist)


def vector(turn: Rotation) -> np.ndarray:
    """A turn in our axes as an axis-angle in the parametric body's."""
    return (TURN.inv() * turn * TURN).as_rotvec()


def planted(q: dict, *, frames: int, rng) -> dict:
    """Axis-angles of the joints of a parametric body in a posture of our coordinates (radians)."""
    joints = {"pelvis": vector(ball("", *(q[f"pelvis_{n}"] for n in ("tilt", "list", "rotation"))))}
    back = ball("", *(q[f"lumbar_{n}"] for n in ("extension", "bending", "rotation")))
    low, middle = (Rotation.from_rotvec(rng.normal(scale=0.2, size=(frames, 3))) for _ in range(2))
    joints["spine1"], joints["spine2"] = vector(low), vector(middle)
    joints["spine3"] = vector((low * middle).inv() * back)
    for side, long in (("l", "left"), ("r", "right")):
        hip = ball(side, *(q[f"hip_{n}_{side}"] for n in ("flexion", "adduction", "rotation")))
        joints[f"{long}_hip"] = vector(hip)
        joints[f"{long}_knee"] = vector(knee(side, q[f"knee_angle_{side}"]))
        joints[f"{long}_ankle"] = vector(ankle(side, q[f"ankle_angle_{side}"], q[f"subtalar_angle_{side}"]))
        joints[f"{long}_foot"] = vector(pin("mtp_r", "toes", side, q[f"mtp_angle_{side}"]))
        # in the rest pose the arm is out to the side, which is 90 degrees of abduction, and the palm down,
        # which is 90 degrees of pronation
        out = ball(side, 0, -np.pi / 2, 0)
        down = out * forearm(side, 0, np.pi / 2)
        arm = ball(side, *(q[f"arm_{n}_{side}"] for n in ("flex", "add", "rot"))) * out.inv()
        collar = Rotation.from_rotvec(rng.normal(scale=0.2, size=(frames, 3)))
        joints[f"{long}_collar"], joints[f"{long}_shoulder"] = vector(collar), vector(collar.inv() * arm)
        fore = forearm(side, q[f"elbow_flex_{side}"], q[f"pro_sup_{side}"])
        joints[f"{long}_elbow"] = vector(out * fore * down.inv())
    return joints


def posture(frames: int, rng) -> dict:
    """A made-up motion: each coordinate swings within its range, not farther than 80 degrees."""
    q = {}
    for coordinate in fullbody(markers=None).coordinates:
        if coordinate.kind == "rotation":
            low, high = (float(np.clip(np.degrees(v), -80, 80)) for v in coordinate.range)
            phase, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 2)
            swing = np.sin(np.linspace(0, 2 * np.pi * speed, frames) + phase)
            q[coordinate.name] = np.radians((low + high) / 2 + 0.45 * (high - low) * swing)
    return q


# --- there and back ------------------------------------------------------------------------------


@pytest.mark.truth("closed form: scipy's rotations about the card's axes")
@pytest.mark.parametrize("family", SMPL)
@pytest.mark.parametrize("seed", range(3))
def test_planted_postures_come_back(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = posture(50, rng)
    body = parameters(planted(q, frames=50, rng=rng), family=family)
    found = angles_of(body)
    for name, expected in q.items():
        np.testing.assert_allclose(found.motion.column(name), expected, atol=1e-7, err_msg=name)
    assert max(left.max() for left in found.left_over.values()) < 1e-7


def test_every_coordinate_is_answered_and_explained() -> None:
    model = fullbody(markers=None, groups=("head", "wrists"))
    found = angles_of(parameters({}), model=model).motion
    assert found.names == model.coordinate_names
    assert np.isfinite(found.values).all()
    explained = {name: approximation(name) for name in found.names}
    assert all(explained.values())
    sides = {key.replace("SIDE", side) for key in APPROXIMATIONS for side in ("l", "r")}
    assert sides == set(found.names)  # and nothing is explained that is not there
    assert approximation("knee_angle_r_beta") == ""


def test_free_head_and_wrists_follow() -> None:
    model = fullbody(markers=None, groups=("head", "wrists"))
    zero = np.zeros(1)
    nod = ball("", np.array([-0.3]), np.array([0.1]), np.array([0.2]))
    part = Rotation.from_rotvec([[0.1, 0.2, -0.1]])
    hand = about([0, 0, 1], 0.4) * about([1, 0, 0], 0.1)
    down = ball("r", zero, zero - np.pi / 2, zero) * forearm("r", 0, np.pi / 2)
    joints = {
        "neck": vector(part),
        "head": vector(part.inv() * nod),
        "right_wrist": vector(down * hand * down.inv()),
    }
    found = angles(joints, model=model)
    expected = {"neck_extension": -0.3, "neck_bending": 0.1, "neck_rotation": 0.2}
    for name, value in {**expected, "wrist_flex_r": 0.4, "wrist_dev_r": 0.1, "wrist_flex_l": 0}.items():
        assert found.column(name)[0] == pytest.approx(value, abs=1e-8), name


# --- signs that anybody can check by standing up -------------------------------------------------

QUARTER = np.pi / 2


def test_the_rest_pose_is_a_t_with_palms_down() -> None:
    found = angles({})
    expected = {"arm_add_l": -90, "arm_add_r": -90, "pro_sup_l": 90, "pro_sup_r": 90}
    for name, value in zip(found.names, np.degrees(found.values[0]), strict=True):
        assert value == pytest.approx(expected.get(name, 0), abs=1e-9), name


@pytest.mark.parametrize(
    ("joints", "coordinate", "expected", "within"),
    [
        ({"left_knee": [QUARTER, 0, 0]}, "knee_angle_l", 90, 1),  # the model's axis is 4 degrees oblique
        ({"right_knee": [QUARTER, 0, 0]}, "knee_angle_r", 90, 1),
        ({"right_hip": [-1, 0, 0]}, "hip_flexion_r", np.degrees(1), 1e-9),
        ({"left_hip": [-1, 0, 0]}, "hip_flexion_l", np.degrees(1), 1e-9),
        ({"left_hip": [0, 0, 0.3]}, "hip_adduction_l", -np.degrees(0.3), 1e-9),  # y to -x: foot to the left
        ({"right_hip": [0, 0, -0.3]}, "hip_adduction_r", -np.degrees(0.3), 1e-9),
        ({"left_hip": [0, 0.3, 0]}, "hip_rotation_l", -np.degrees(0.3), 1e-9),  # toes to the left: outwards
        ({"right_hip": [0, 0.3, 0]}, "hip_rotation_r", np.degrees(0.3), 1e-9),
        ({"right_ankle": [-0.3, 0, 0]}, "ankle_angle_r", np.degrees(0.3), 2),  # toes up
        ({"spine2": [0.4, 0, 0]}, "lumbar_extension", -np.degrees(0.4), 1e-9),  # bent forward
        ({"pelvis": [0, 0.5, 0]}, "pelvis_rotation", np.degrees(0.5), 1e-9),  # turned to the left
        ({"pelvis": [0.5, 0, 0]}, "pelvis_tilt", -np.degrees(0.5), 1e-9),  # bent forward
        ({"right_shoulder": [0, 0, QUARTER]}, "arm_add_r", 0, 1e-6),  # hanging
        ({"left_shoulder": [0, 0, -QUARTER]}, "arm_add_l", 0, 1e-6),
        ({"right_elbow": [0, QUARTER, 0]}, "elbow_flex_r", 90, 3),
        ({"left_elbow": [0, -QUARTER, 0]}, "elbow_flex_l", 90, 3),
    ],
)
def test_signs(joints: dict, coordinate: str, expected: float, within: float) -> None:
    assert degrees(joints, coordinate)[0] == pytest.approx(expected, abs=within)


def test_a_hip_s_swing_is_not_the_other_hip_s() -> None:
    found = angles({"left_hip": [-1, 0, 0]})
    assert found.column("hip_flexion_r")[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_mirrored_parameters_give_mirrored_angles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = skeleton("smpl-24").points
    poses = rng.normal(scale=0.3, size=(20, 24, 3))
    there = {n: poses[:, i] for i, n in enumerate(names)}
    swapped = {"left": "right", "right": "left"}
    back = {}
    for name, turn in there.items():
        side, _, rest = name.partition("_")
        back[f"{swapped[side]}_{rest}" if side in swapped else name] = turn * [1, -1, -1]
    one, other = angles(there), angles(back)
    middle = {"pelvis_list", "pelvis_rotation", "lumbar_bending", "lumbar_rotation"}
    for name in one.names:
        side = {"_l": "_r", "_r": "_l"}.get(name[-2:])
        expected = one.column(name[:-2] + side if side else name) * (-1 if name in middle else 1)
        np.testing.assert_allclose(other.column(name), expected, atol=2e-6, err_msg=name)


# --- the world -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("up", "root", "at", "expected"),
    [
        ("+y", [0, 0, 0], [1, 2, 3], [3, 2, -1]),
        ("-y", [np.pi, 0, 0], [1, 2, 3], [-3, -2, -1]),  # a camera that the person looks into
        ("+z", [np.pi / 2, 0, 0], [1, 2, 3], [-2, 3, -1]),  # AMASS: y of the body along z of the world
    ],
)
def test_up(up: str, root: list, at: list, expected: list) -> None:
    found = angles_of(parameters({"pelvis": root}, trans=np.array([at], float)), up=up).motion
    for name, value in zip(("pelvis_tx", "pelvis_ty", "pelvis_tz"), expected, strict=True):
        assert found.column(name)[0] == pytest.approx(value, abs=1e-12)
    for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation"):
        assert found.column(name)[0] == pytest.approx(0, abs=1e-7)


@pytest.mark.truth("closed form: the same person seen by a tilted camera")
def test_a_world_given_as_a_rotation() -> None:
    rng = np.random.default_rng(1)
    root, where = rng.normal(scale=0.5, size=(10, 3)), rng.normal(size=(10, 3))
    camera = Rotation.from_euler("XYZ", [2.8, 0.4, 0.2])  # ground -> camera
    seen = (camera * TURN * Rotation.from_rotvec(root)).as_rotvec()
    at_home = angles_of(parameters({"pelvis": root}, trans=where)).motion
    tilted = parameters({"pelvis": seen}, trans=camera.apply(TURN.apply(where)))
    found = angles_of(tilted, up=camera.inv().as_matrix()).motion
    np.testing.assert_allclose(found.values, at_home.values, atol=1e-7)


# --- turns, locks and least squares --------------------------------------------------------------


@pytest.mark.parametrize("joint", ["pelvis", "left_hip", "right_knee", "spine2", "left_shoulder"])
def test_the_long_way_round_is_the_same_turn(joint: str) -> None:
    short = np.array([0.4, -0.5, 0.3])
    long = short * (1 - 2 * np.pi / np.linalg.norm(short))
    assert np.linalg.norm(long) > np.pi
    one, other = angles({joint: short}), angles({joint: long})
    np.testing.assert_allclose(one.values, other.values, atol=1e-7)


def test_walking_in_circles_never_jumps() -> None:
    heading = np.linspace(0, 4 * np.pi, 60)
    turn = np.outer(heading, [0, 1, 0])
    turn = Rotation.from_rotvec(turn).as_rotvec()  # folded into half a turn, as estimators give it
    found = angles({"pelvis": turn})
    np.testing.assert_allclose(found.column("pelvis_rotation"), heading, atol=1e-7)
    np.testing.assert_allclose(found.column("pelvis_list"), 0, atol=1e-7)


def raised(abduction: np.ndarray, side: str = "r") -> dict:
    turn = ball(side, np.full_like(abduction, 0.3), -abduction, np.full_like(abduction, 0.2))
    return {"right_shoulder": vector(turn * ball(side, 0, -np.pi / 2, 0).inv())}


@pytest.mark.truth("closed form: an arm raised from the side to above the head")
@pytest.mark.parametrize("locked", [False, True])
def test_an_arm_passes_the_lock_without_a_jump(locked: bool) -> None:
    abduction = np.radians(np.linspace(10, 150, 57 if locked else 52))  # 57: exactly 90 degrees is among them
    assert np.isclose(abduction, np.pi / 2).any() == locked
    found = angles(raised(abduction))
    np.testing.assert_allclose(found.column("arm_add_r"), -abduction, atol=1e-6)
    np.testing.assert_allclose(found.column("arm_flex_r"), 0.3, atol=1e-5)
    np.testing.assert_allclose(found.column("arm_rot_r"), 0.2, atol=1e-5)


def test_in_lock_the_first_angle_is_held_and_the_turn_is_right() -> None:
    turn = raised(np.full(4, np.pi / 2))
    found = angles(turn)
    three = [found.column(f"arm_{n}_r") for n in ("flex", "add", "rot")]
    np.testing.assert_allclose(three[0], 0, atol=1e-12)
    back = vector(ball("r", *three) * ball("r", 0, -np.pi / 2, 0).inv())
    np.testing.assert_allclose(back, turn["right_shoulder"], atol=1e-6)


@pytest.mark.truth("brute force: scipy.optimize from many starts")
@pytest.mark.parametrize("seed", range(4))
def test_an_ankle_turns_as_nearly_as_two_pins_can(seed: int) -> None:
    turn = Rotation.from_rotvec(np.random.default_rng(seed).normal(scale=0.25, size=3))

    def missed(q):
        return ((ankle("l", q[0], q[1]).as_matrix()[0] - turn.as_matrix()) ** 2).sum()

    starts = [(a, b) for a in (-0.6, 0, 0.6) for b in (-0.5, 0, 0.5)]
    best = min((minimize(missed, s, tol=1e-14) for s in starts), key=lambda r: r.fun)
    found = angles_of(parameters({"left_ankle": vector(turn)}))
    assert found.motion.column("ankle_angle_l")[0] == pytest.approx(best.x[0], abs=1e-5)
    assert found.motion.column("subtalar_angle_l")[0] == pytest.approx(best.x[1], abs=1e-5)
    missing = (ankle("l", *best.x).inv() * turn).magnitude()[0]
    assert found.left_over["calcn_l"][0] == pytest.approx(missing, abs=1e-5)
    assert missing > 0.01


@pytest.mark.truth("closed form: the turn about one axis nearest to a rotation")
def test_one_pin_alone() -> None:
    model = fullbody(markers=None)
    locked = tuple(
        replace(j, coordinates=tuple(replace(c, locked=True) for c in j.coordinates))
        if j.name == "subtalar_l"
        else j
        for j in model.joints
    )
    turn = Rotation.from_rotvec([0.1, -0.2, 0.4])
    axis = np.array(JOINTS["ankle_r"]["axes"]["ankle"]) * MIRROR["l"]
    axis /= np.linalg.norm(axis)
    m = turn.as_matrix()
    odd = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    expected = np.arctan2(axis @ odd, np.trace(m) - axis @ m @ axis)
    found = angles({"left_ankle": vector(turn)}, model=replace(model, joints=locked))
    assert found.column("ankle_angle_l")[0] == pytest.approx(expected, abs=1e-7)
    assert found.column("subtalar_angle_l")[0] == 0


def test_axes_and_their_functions_are_the_model_s() -> None:
    model = fullbody(markers=None)
    hip = next(j for j in model.joints if j.name == "hip_r")
    first, second, third = hip.rotations
    other = replace(
        hip, rotations=(third, first, replace(second, function=Polynomial(np.array([-1.0, 0.0]))))
    )
    changed = replace(model, joints=tuple(other if j is hip else j for j in model.joints))
    turn = Rotation.from_euler("YZX", [0.2, 0.5, 0.3])
    found = angles({"right_hip": vector(turn)}, model=changed)
    expected = {"hip_rotation_r": 0.2, "hip_flexion_r": 0.5, "hip_adduction_r": -0.3}
    for name, value in expected.items():
        assert found.column(name)[0] == pytest.approx(value, abs=1e-8), name


def test_another_rest_pose_shifts_by_what_it_says() -> None:
    slope = np.radians(6)
    joints = {"right_hip": [0, 0, 0.1]}
    plain, sloped = angles(joints), angles(joints, rest={"hip_adduction_r": -slope})
    shift = sloped.column("hip_adduction_r")[0] - plain.column("hip_adduction_r")[0]
    assert shift == pytest.approx(-slope, abs=1e-9)
    assert sloped.column("knee_angle_r")[0] == pytest.approx(0, abs=1e-6)


# --- what is refused -----------------------------------------------------------------------------


def test_no_frames() -> None:
    empty = BodyParameters("smpl", np.empty(0), np.empty((0, 24, 3)), np.empty((0, 3)), np.zeros(10))
    assert angles_of(empty).motion.values.shape == (0, len(fullbody(markers=None).coordinates))


def test_hands_alone_are_refused() -> None:
    hand = BodyParameters("mano", np.zeros(1), np.zeros((1, 16, 3)), np.zeros((1, 3)), np.zeros(10))
    with pytest.raises(CapbenchError, match="whole body, got those of a hand"):
        angles_of(hand)


@pytest.mark.parametrize("up", ["x", "+x", np.diag([1.0, 1.0, -1.0]), np.full((3, 3), np.nan), np.eye(2)])
def test_worlds_that_are_none(up) -> None:
    with pytest.raises(CapbenchError, match="up"):
        angles_of(parameters({}), up=up)


def test_a_rest_pose_of_what_is_not_there() -> None:
    with pytest.raises(CapbenchError, match="tail_wag"):
        angles_of(parameters({}), rest={"tail_wag": 1.0})


def test_a_model_without_a_pelvis() -> None:
    model = fullbody(markers=None)
    bodies = tuple(replace(b, name="hips") if b.name == "pelvis" else b for b in model.bodies)

    def renamed(name: str) -> str:
        return "hips" if name == "pelvis" else name

    joints = tuple(replace(j, parent=renamed(j.parent), child=renamed(j.child)) for j in model.joints)
    with pytest.raises(CapbenchError, match="Expected a model with the body pelvis"):
        angles_of(parameters({}), model=replace(model, bodies=bodies, joints=joints))


def test_links_name_joints_of_all_three_bodies() -> None:
    for family in SMPL:
        points = set(skeleton(f"{family}-{WIDTHS[family]}").points)
        used = {
            j.replace("SIDE", side) for k in LINKS.values() for j in k.joints for side in ("left", "right")
        }
        assert used <= points
