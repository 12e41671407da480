"""The model inside the mesh, its markers, and that OpenSim and inverse kinematics agree with them."""

from dataclasses import replace

import numpy as np
import pytest
from biomech.models import OpenSim
from sample_people import ADULT, CHILD, HEAVY, UNEVEN, held, person, sweep

from capbench.biomech.kinematics import joint_centres
from capbench.biomech.osim_write import write_model
from capbench.biomech.solve import solve
from cohorts import CapbenchError
from cohorts.skeleton import skeleton
from synthpose.bind import bind_model, bones
from synthpose.body import Phenotype, asset, rest_vertices
from synthpose.hands import relaxed
from synthpose.person import landmark_sites, make_person, mesh_landmarks
from synthpose.softtissue import DRIFT, magnitude, soft_tissue

#: joint -> landmarks it lies between, and metres it may be off their middle
BETWEEN = {
    "walker_knee": ("femur_lateral_epicondyle", "femur_medial_epicondyle", 0.015),
    "ankle": ("lateral_malleolus", "medial_malleolus", 0.012),
    "elbow": ("humerus_lateral_epicondyle", "humerus_medial_epicondyle", 0.008),
    "radius_hand": ("radial_styloid", "ulnar_styloid", 0.008),
}


def centres(whose, motion=None) -> dict[str, np.ndarray]:
    found = joint_centres(whose.model, whose.bind if motion is None else motion)
    return dict(zip(found.names, found.xyz[0], strict=True))


# --- the fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("phenotype", [ADULT, CHILD, HEAVY], ids=["adult", "child", "heavy"])
def test_joints_lie_between_their_landmarks(phenotype) -> None:
    who = person(phenotype)
    there = mesh_landmarks(rest_vertices(phenotype))
    size = phenotype.stature / 1.70
    at = centres(who)
    for joint, (one, other, allowed) in BETWEEN.items():
        for side, word in (("r", "right"), ("l", "left")):
            middle = (there[f"{word}_{one}"] + there[f"{word}_{other}"]) / 2
            assert np.linalg.norm(at[f"{joint}_{side}"] - middle) < allowed * size, (joint, side)
    assert who.misfit < 0.013 * size


@pytest.mark.parametrize("phenotype", [ADULT, CHILD, HEAVY], ids=["adult", "child", "heavy"])
def test_hips_and_shoulders_are_where_anatomy_has_them(phenotype) -> None:
    """Shares of stature: hip joints 0.50 to 0.53 high (Winter 2009), 0.08 to 0.11 apart; inside the mesh."""
    who = person(phenotype)
    at = {name: place / phenotype.stature for name, place in centres(who).items()}
    assert 0.49 < at["hip_r"][1] < 0.53
    assert 0.075 < at["hip_r"][2] - at["hip_l"][2] < 0.115
    assert 0.18 < at["acromial_r"][2] - at["acromial_l"][2] < 0.23
    there = mesh_landmarks(rest_vertices(phenotype))
    assert there["right_acromion"][1] - 0.05 * phenotype.stature < phenotype.stature * at["acromial_r"][1]
    assert phenotype.stature * at["acromial_r"][1] < there["right_acromion"][1]


def test_a_symmetric_person_is_bound_symmetrically() -> None:
    who = person(ADULT)
    q = dict(zip(who.bind.names, who.bind.values[0], strict=True))
    for name, value in q.items():
        if name.endswith("_r"):
            assert value == pytest.approx(q[name[:-2] + "_l"], abs=1e-6), name
        elif name in ("pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "neck_rotation"):
            assert value == pytest.approx(0, abs=1e-6), name
    right = {m.name: m for m in who.model.markers}
    pairs = skeleton("synthpose-52").flip_pairs
    for a, b in pairs:
        assert np.abs(right[a].location * [1, 1, -1] - right[b].location).max() < 1e-6, a
    shape = {b.name: b.mass for b in who.model.bodies}
    assert shape["femur_r"] == pytest.approx(shape["femur_l"])


def test_unlike_legs_show_in_the_bones() -> None:
    """Femur and tibia, hip to knee to ankle, to 2 mm."""
    for phenotype in (UNEVEN, replace(UNEVEN, leg_difference=-0.02)):
        at = centres(person(phenotype))
        length = {
            s: np.linalg.norm(at[f"hip_{s}"] - at[f"walker_knee_{s}"])
            + np.linalg.norm(at[f"walker_knee_{s}"] - at[f"ankle_{s}"])
            for s in "lr"
        }
        assert length["l"] - length["r"] == pytest.approx(phenotype.leg_difference, abs=2e-3)


def test_the_fit_returns_a_known_model() -> None:
    """Landmarks put where a stretched model in a known pose has them: pose and stretch come back."""
    from capbench.biomech.body import fullbody
    from capbench.biomech.kinematics import coordinates_of, forward, points
    from capbench.biomech.scale import scale_model
    from capbench.biomech.tree import build_tree

    who = person(ADULT)
    true = bind_model(mesh_landmarks(rest_vertices(ADULT)), stature=ADULT.stature)
    model = scale_model(fullbody(markers=None, groups=("head", "wrists")), true.factors)
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, true.pose))
    wanted = {n: b for n, b in bones().items() if not b.is_centre}
    there = dict(
        zip(
            wanted,
            points(
                tree,
                frames,
                [b.body for b in wanted.values()],
                np.array([b.at * true.factors[b.body] for b in wanted.values()]),
            )[0],
            strict=True,
        )
    )
    again = bind_model(there, stature=ADULT.stature)
    assert again.misfit < 0.5 * true.misfit
    off = np.degrees(again.pose.values - true.pose.values)[0]
    turns = [k for k, kind in enumerate(true.pose.kinds) if kind == "rotation"]
    assert np.abs(off[turns]).max() < 5.0
    assert who.misfit == pytest.approx(true.misfit, rel=0.1)


def test_landmarks_that_are_not_there_are_an_error() -> None:
    there = mesh_landmarks(rest_vertices(ADULT))
    del there["left_asis"]
    with pytest.raises(CapbenchError, match="left_asis"):
        bind_model(there, stature=1.7)


# --- markers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("phenotype", [ADULT, UNEVEN], ids=["adult", "uneven"])
def test_landmarks_in_the_bind_pose_are_the_mesh_s(phenotype) -> None:
    who = person(phenotype)
    there = mesh_landmarks(rest_vertices(phenotype))
    at = who.landmarks(who.bind)
    assert at.names == skeleton("synthpose-52").points
    seen = dict(zip(at.names, at.xyz[0], strict=True))
    for point, landmark in zip(at.names, skeleton("synthpose-52").landmarks, strict=True):
        base = landmark.partition("@")[0]
        bony = base in there and not landmark.endswith("@coco")
        expected = there[base] if bony else there[f"{base}@coco"]
        assert np.abs(seen[point] - expected).max() < 1e-9, point


def test_every_bone_of_the_card_has_a_site_on_the_mesh() -> None:
    assert set(landmark_sites()) <= set(bones())
    for on, share in landmark_sites().values():
        assert share.sum() == pytest.approx(1) and share.min() >= 0
        assert on.max() < asset().body_vertices


def test_mocap_markers_are_worn_too() -> None:
    who = person(ADULT)
    assert tuple(m.name for m in who.mocap.markers) == skeleton("opencap-mocap-49").points
    assert who.mocap.joints == who.model.joints and who.mocap.mass == pytest.approx(ADULT.mass)
    for body in ("femur_r", "femur_l", "tibia_r", "tibia_l"):  # the clusters: no two in one place
        places = np.array([m.location for m in who.mocap.markers if m.body == body])
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(places), 1)]
        assert len(places) >= 4 and apart.min() > 0.01
    assert who.subject.mass == pytest.approx(ADULT.mass, abs=0.05) and who.subject.height == ADULT.stature


def test_opensim_places_landmarks_and_joints_where_we_do(tmp_path) -> None:
    """The written model, opened by OpenSim itself: 52 markers and all joint centres within 1e-6 m."""
    who = person(UNEVEN)
    motion = sweep(who)
    write_model(who.model, tmp_path / "person.osim")
    theirs = OpenSim(tmp_path / "person.osim")
    found = theirs.places(who.model, motion.names, motion.values)
    assert np.abs(found.markers - who.landmarks(motion).xyz).max() < 1e-6
    ours = joint_centres(who.model, motion)
    joints = theirs.model.getJointSet()
    for frame in (0, 7):
        theirs.pose(motion.names, motion.values[frame])
        for k, name in enumerate(ours.names):
            at = joints.get(name).getParentFrame().getPositionInGround(theirs.state)
            assert np.abs(np.array([at.get(i) for i in range(3)]) - ours.xyz[frame, k]).max() < 1e-6, name


def test_inverse_kinematics_returns_the_true_angles() -> None:
    who = person(CHILD)
    motion = sweep(who)
    found = solve(who.model, who.landmarks(motion)).motion
    told = [n for n in motion.names if not n.startswith(("wrist", "pelvis_t")) or n == "pelvis_tilt"]
    off = np.degrees(found.select(told).values - motion.select(told).values)
    assert np.abs(off).max() < 0.01


def test_the_same_phenotype_gives_the_same_person() -> None:
    one, other = make_person(CHILD), make_person(CHILD)
    assert np.array_equal(one.surfaces[0].rest_v3, other.surfaces[0].rest_v3)
    assert np.array_equal(one.bind.values, other.bind.values)
    assert one.model == other.model


# --- hands --------------------------------------------------------------------------------------


def test_fingers_curl_and_nothing_else_moves() -> None:
    rest = rest_vertices(ADULT)
    there = mesh_landmarks(rest)
    curled = relaxed(rest, there["right_radial_styloid"], there["right_ulnar_styloid"], side="r")
    moved = np.linalg.norm(curled - rest, axis=1)
    wrist = (there["right_radial_styloid"] + there["right_ulnar_styloid"]) / 2
    reach = np.linalg.norm(rest - wrist, axis=1)
    assert moved[reach > 0.25].max() == 0 and moved[reach < 0.06].max() == 0
    assert 0.02 < moved.max() < 0.10
    tip = int(reach[: asset().body_vertices].argmax() if reach.max() < 0.3 else moved.argmax())
    assert np.linalg.norm(curled[tip] - wrist) < np.linalg.norm(rest[tip] - wrist)
    faces = asset().faces["body"]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    before, after = (np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1) for v in (rest, curled))
    long = before > 0.002
    assert np.abs(after[long] / before[long] - 1).max() < 0.6  # stretched outside of the bend, no tear


# --- skin over bone -----------------------------------------------------------------------------


def test_soft_tissue_is_recorded_bounded_and_follows_the_joints() -> None:
    who = person(ADULT)
    motion = sweep(who, frames=200, reach=1.0)
    true = who.landmarks(motion)
    made = soft_tissue(true, who.model, motion, seed=4, rest=who.bind)
    assert np.array_equal(made.markers.xyz, true.xyz + made.displacement_tm3)
    assert made.markers.names == true.names and np.array_equal(made.markers.time, true.time)
    landmarks = skeleton("synthpose-52").landmarks
    for k, (name, landmark) in enumerate(zip(true.names, landmarks, strict=True)):
        length = np.linalg.norm(made.displacement_tm3[:, k], axis=1)
        assert length.max() <= (1 + DRIFT) * magnitude(landmark) + 1e-12, name
        if magnitude(landmark) > 0.005:
            assert length.max() > 0.2 * magnitude(landmark), name
    jump = np.linalg.norm(np.diff(made.displacement_tm3, axis=0), axis=-1).max()
    assert jump < 0.02 * 1.0  # metres in a hundredth of a second, at 15 rad/s
    again = soft_tissue(true, who.model, motion, seed=4, rest=who.bind)
    other = soft_tissue(true, who.model, motion, seed=5, rest=who.bind)
    assert np.array_equal(again.displacement_tm3, made.displacement_tm3)
    assert not np.allclose(other.displacement_tm3, made.displacement_tm3)


def test_skin_over_a_joint_in_closed_form() -> None:
    """Only the knee turns: the epicondyle moves by A tanh(θ) one way in the femur, but for the drift."""
    who = person(ADULT)
    angles = np.radians([0.0, 30.0, 60.0, 120.0])
    k = who.model.markers.index(next(m for m in who.model.markers if m.name == "r_knee"))
    shifts = []
    for angle in angles:
        motion = held(who, knee_angle_r=np.degrees(who.bind.column("knee_angle_r")[0] + angle))
        made = soft_tissue(who.landmarks(motion), who.model, motion, seed=1, rest=who.bind)
        shifts.append(made.displacement_tm3[0, k])
    change = np.linalg.norm(np.array(shifts) - shifts[0], axis=1)
    assert change == pytest.approx(magnitude("right_femur_lateral_epicondyle") * np.tanh(angles), abs=1e-9)
    ankle = who.landmarks(who.bind).names.index("r_toe")
    for angle in angles:  # far from the knee nothing follows it
        motion = held(who, knee_angle_r=np.degrees(who.bind.column("knee_angle_r")[0] + angle))
        made = soft_tissue(who.landmarks(motion), who.model, motion, seed=1, rest=who.bind)
        drift = np.linalg.norm(made.displacement_tm3[0, ankle])
        assert drift <= DRIFT * magnitude("right_second_metatarsal_head") + 1e-12


def test_no_strength_no_movement_and_bad_calls() -> None:
    who = person(ADULT)
    true = who.landmarks(who.bind)
    assert not soft_tissue(true, who.model, who.bind, seed=0, strength=0).displacement_tm3.any()
    with pytest.raises(CapbenchError, match="strength from 0 to 3"):
        soft_tissue(true, who.model, who.bind, seed=0, strength=-1)
    with pytest.raises(CapbenchError, match="frames of markers"):
        soft_tissue(true, who.model, sweep(who), seed=0)


def test_phenotype_of_a_person_is_kept() -> None:
    assert person(CHILD).phenotype == CHILD and isinstance(person(CHILD).phenotype, Phenotype)
