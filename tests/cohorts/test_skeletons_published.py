"""The built-in skeletons against published orders and figures, and against OpenCap's own files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from cohorts import skeleton, skeleton_names
from cohorts.formats import trc
from cohorts.remap import remap_markers
from cohorts.skeleton import FOLDER


def words(text: str) -> list[str]:
    return text.split()


NAMES = words(
    "blazepose-33 coco-17 coco-wholebody-133 crowdpose-14 h36m-17 halpe-26 lsp-14 mano-16 mano-21 "
    "mpi-inf-3dhp-17 mpi-inf-3dhp-28 mpii-16 ntu-25 opencap-augmenter-43 opencap-mocap-49 openpose-25 "
    "panoptic-15 panoptic-19 smpl-24 smplh-52 smplx-55 synthpose-52"
)
COCO = words(
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)
SMPL_BODY = words(
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot "
    "right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist"
)
MANO_FINGERS = [f"{finger}{i}" for finger in ("index", "middle", "pinky", "ring", "thumb") for i in (1, 2, 3)]
# the swaps of the 68-point face scheme as MMPose's coco_wholebody config lists them, right -> left
FACE_SWAPS = {
    **{i: 16 - i for i in range(8)},
    **{i: 43 - i for i in range(17, 22)},
    **{31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 48: 54, 49: 53, 50: 52},
    **{59: 55, 58: 56, 60: 64, 61: 63, 67: 65},
}


def test_all_skeletons_are_there() -> None:
    assert list(skeleton_names()) == sorted(NAMES)
    assert {p.name for p in FOLDER.iterdir()} == {f"{name}.yaml" for name in (*NAMES, "landmarks")}


# --- orders, as published ---


def points_by(name: str, order: str) -> list[str]:
    """Points of skeleton ``name`` in the ``order`` of names or aliases."""
    it = skeleton(name)
    return [it.points[it.index(word)] for word in words(order)]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        # person category of COCO's person_keypoints annotations
        ("coco-17", " ".join(COCO)),
        # OpenPose, doc/02_output.md, BODY_25
        (
            "openpose-25",
            "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee "
            "LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel",
        ),
        # README of Halpe-FullBody
        (
            "halpe-26",
            "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee "
            "LAnkle RAnkle Head Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel",
        ),
        # README.txt of the Leeds Sports Pose data set
        (
            "lsp-14",
            "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
            "right_shoulder left_shoulder left_elbow left_wrist neck head_top",
        ),
        # MPII, http://human-pose.mpi-inf.mpg.de, joint ids 0-15
        (
            "mpii-16",
            "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck "
            "head_top right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist",
        ),
        # 3d-pose-baseline, H36M_NAMES without the joints that do not move
        (
            "h36m-17",
            "Hip RHip RKnee RFoot LHip LKnee LFoot Spine Thorax Neck/Nose Head LShoulder LElbow LWrist "
            "RShoulder RElbow RWrist",
        ),
        # README of the Panoptic toolbox
        (
            "panoptic-19",
            "Neck Nose BodyCenter lShoulder lElbow lWrist lHip lKnee lAnkle rShoulder rElbow rWrist rHip "
            "rKnee rAnkle lEye lEar rEye rEar",
        ),
        # NTU RGB+D paper, labels 1-25, by the names Kinect gives them
        (
            "ntu-25",
            "SpineBase SpineMid Neck Head ShoulderLeft ElbowLeft WristLeft HandLeft ShoulderRight ElbowRight "
            "WristRight HandRight HipLeft KneeLeft AnkleLeft FootLeft HipRight KneeRight AnkleRight "
            "FootRight SpineShoulder HandTipLeft ThumbLeft HandTipRight ThumbRight",
        ),
        # facts of the protocol: the order in which SynthPose was trained
        (
            "synthpose-52",
            " ".join(COCO) + " sternum rshoulder lshoulder r_lelbow l_lelbow r_melbow l_melbow r_lwrist "
            "l_lwrist r_mwrist l_mwrist r_ASIS l_ASIS r_PSIS l_PSIS r_knee l_knee r_mknee l_mknee r_ankle "
            "l_ankle r_mankle l_mankle r_5meta l_5meta r_toe l_toe r_big_toe l_big_toe l_calc r_calc C7 L2 "
            "T11 T6",
        ),
        # opencap-core, utils.getOpenPoseMarkers_lowerExtremity2 then getMarkers_upperExtremity_noPelvis2
        (
            "opencap-augmenter-43",
            "r.ASIS_study L.ASIS_study r.PSIS_study L.PSIS_study r_knee_study r_mknee_study r_ankle_study "
            "r_mankle_study r_toe_study r_5meta_study r_calc_study L_knee_study L_mknee_study L_ankle_study "
            "L_mankle_study L_toe_study L_calc_study L_5meta_study r_shoulder_study L_shoulder_study "
            "C7_study r_thigh1_study r_thigh2_study r_thigh3_study L_thigh1_study L_thigh2_study "
            "L_thigh3_study r_sh1_study r_sh2_study r_sh3_study L_sh1_study L_sh2_study L_sh3_study "
            "RHJC_study LHJC_study r_lelbow_study r_melbow_study r_lwrist_study r_mwrist_study "
            "L_lelbow_study L_melbow_study L_lwrist_study L_mwrist_study",
        ),
        # smplx/joint_names.py
        ("smpl-24", " ".join([*SMPL_BODY, "left_hand", "right_hand"])),
        (
            "smplh-52",
            " ".join([*SMPL_BODY, *(f"{s}_{f}" for s in ("left", "right") for f in MANO_FINGERS)]),
        ),
        (
            "smplx-55",
            " ".join(
                [*SMPL_BODY, "jaw", "left_eye_smplhf", "right_eye_smplhf"]
                + [f"{s}_{f}" for s in ("left", "right") for f in MANO_FINGERS]
            ),
        ),
        ("mano-16", " ".join(["wrist", *MANO_FINGERS])),
        (
            "mano-21",
            " ".join(["wrist", *MANO_FINGERS]) + " thumb_tip index_tip middle_tip ring_tip pinky_tip",
        ),
        # Google's pose landmarker guide
        (
            "blazepose-33",
            "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear "
            "right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist "
            "right_wrist left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip "
            "right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel left_foot_index "
            "right_foot_index",
        ),
    ],
)
def test_order_as_published(name: str, order: str) -> None:
    assert points_by(name, order) == list(skeleton(name).points)


def test_synthpose_has_the_left_heel_before_the_right_one() -> None:
    points = skeleton("synthpose-52").points
    assert points.index("l_calc") == 46
    assert points.index("r_calc") == 47


def test_wholebody_order_and_sections() -> None:
    points = skeleton("coco-wholebody-133").points
    assert list(points[:17]) == COCO == list(skeleton("coco-17").points)
    assert points[17:23] == (
        *("left_big_toe", "left_small_toe", "left_heel"),
        *("right_big_toe", "right_small_toe", "right_heel"),
    )
    assert points[23:91] == tuple(f"face-{i}" for i in range(68))
    assert all(p.startswith("left_") for p in points[91:112])
    assert [p.replace("left", "right") for p in points[91:112]] == list(points[112:])
    hand = [p.removeprefix("left_") for p in points[91:112]]
    fingers = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
    assert hand == ["hand_root"] + [f"{finger}{i}" for finger in fingers for i in (1, 2, 3, 4)]


def test_3dhp_17_is_the_relevant_set_of_its_28() -> None:
    relevant = [8, 6, 15, 16, 17, 10, 11, 12, 24, 25, 26, 19, 20, 21, 5, 4, 7]  # mpii_get_joint_set.m
    points = skeleton("mpi-inf-3dhp-28").points
    assert [points[i - 1] for i in relevant] == list(skeleton("mpi-inf-3dhp-17").points)
    assert points[:5] == ("spine3", "spine4", "spine2", "spine", "pelvis")


def test_panoptic_15_begins_with_neck_head_and_body_centre_then_the_left_side() -> None:
    # Visualize3DPose.m of the Panoptic toolbox: {headtop, neck, bodyCenter} = [2 1 3], left arm [1 4 5 6]
    points = skeleton("panoptic-15").points
    assert points[:6] == ("Neck", "HeadTop", "BodyCenter", "lShoulder", "lElbow", "lWrist")
    assert points[6:] == ("lHip", "lKnee", "lAnkle", *(p.replace("l", "r", 1) for p in points[3:9]))


def test_panoptic_19_sides_agree_with_the_sample_frame_of_its_readme() -> None:
    # z of joints19 in the README's sample frame: this person's left is at negative z
    z = dict(zip(skeleton("panoptic-19").points, (
        4.24, -0.52, 4.24, -16.11, -20.67, -17.78, -6.55, -4.84, -4.21, 19.18, 28.04, 30.08, 15.04, 15.97,
        13.47, -3.26, -7.16, 2.56, 8.18), strict=True))  # fmt: skip
    for left, right in skeleton("panoptic-19").flip_pairs:
        assert z[left] < z[right], (left, right)


# --- sigmas, as published ---


def test_coco_sigmas_are_pycocotools() -> None:
    from pycocotools.cocoeval import Params

    expected = Params(iouType="keypoints").kpt_oks_sigmas
    np.testing.assert_allclose(skeleton("coco-17").sigmas, expected, rtol=0, atol=1e-12)


def test_wholebody_sigmas_are_the_published_table() -> None:
    sigmas = np.array(skeleton("coco-wholebody-133").sigmas)
    assert tuple(sigmas[:17]) == skeleton("coco-17").sigmas
    sections = np.split(sigmas, [17, 23, 91, 112])
    # sums over the lists "body", "foot", "face", "lefthand", "righthand" of myeval_wholebody.py
    np.testing.assert_allclose([s.sum() for s in sections], [1.138, 0.480, 1.137, 0.553, 0.553], atol=1e-9)
    assert tuple(sections[1]) == (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
    assert tuple(sections[3]) == tuple(sections[4])
    # and sums of place x 1000 sigma, which notice two values that changed places
    by_place = [round(float(np.arange(len(s)) @ s * 1000)) for s in (sections[2], sections[3])]
    assert by_place == [26208, 5137]


def test_crowdpose_sigmas_are_those_of_its_api() -> None:
    expected = [.79, .79, .72, .72, .62, .62, 1.07, 1.07, .87, .87, .89, .89, .79, .79]  # fmt: skip
    np.testing.assert_allclose(skeleton("crowdpose-14").sigmas, np.array(expected) / 10)


def test_halpe_sigmas_are_those_of_its_authors() -> None:
    sigmas = skeleton("halpe-26").sigmas
    assert sigmas is not None
    assert sigmas[:17] == skeleton("coco-17").sigmas
    assert sigmas[17:] == (0.08,) * 3 + (0.089,) * 6


def test_no_one_else_has_sigmas_but_synthpose() -> None:
    assert {name for name in NAMES if skeleton(name).sigmas} == {
        *("coco-17", "halpe-26", "crowdpose-14", "coco-wholebody-133", "synthpose-52")
    }
    sigmas = skeleton("synthpose-52").sigmas
    assert sigmas is not None
    assert sigmas[:17] == skeleton("coco-17").sigmas
    assert set(sigmas[17:]) == {0.05}


# --- flips, as published ---


def test_every_face_swap_is_a_flip_pair() -> None:
    pairs = skeleton("coco-wholebody-133").flip_pairs
    expected = {(f"face-{left}", f"face-{right}") for right, left in FACE_SWAPS.items()}
    assert {pair for pair in pairs if pair[0].startswith("face-")} == expected


# --- against the model files of OpenCap ---


def markers_of(file: Path) -> dict[str, ET.Element]:
    return {str(marker.get("name")): marker for marker in ET.parse(file).getroot().iter("Marker")}


def test_mocap_49_is_the_marker_set_of_the_model(shared_data: Path) -> None:
    file = shared_data / "opencap_setup" / "RajagopalModified2016_markers_mocap.xml"
    assert list(markers_of(file)) == list(skeleton("opencap-mocap-49").points)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("opencap-mocap-49", "RajagopalModified2016_markers_mocap.xml"),
        ("synthpose-52", "RajagopalModified2016_markers_mmpose_final_adjusted.xml"),
    ],
)
def test_landmarks_lie_on_the_side_the_model_puts_them(shared_data: Path, name: str, file: str) -> None:
    it = skeleton(name)
    seen = 0
    for marker, element in markers_of(shared_data / "opencap_setup" / file).items():
        k = it.index(marker)
        body = str(element.findtext("socket_parent_frame")).rpartition("/")[2]
        z = float(str(element.findtext("location")).split()[2])  # metres, to the right
        if body[-2:] in ("_r", "_l"):
            assert it.sides[k] == {"_r": "right", "_l": "left"}[body[-2:]], marker
        else:
            assert it.sides[k] == ("middle" if abs(z) < 0.01 else "right" if z > 0 else "left"), marker
        outwards = z if body.endswith("_r") else -z
        if "lateral" in it.landmarks[k] or "fifth" in it.landmarks[k]:
            assert outwards > 0.03, marker
            seen += 1
        elif "medial" in it.landmarks[k]:
            assert outwards < -0.03, marker
            seen += 1
    assert seen == 14  # on each side: knee, ankle and elbow twice, fifth metatarsal


def test_synthpose_names_are_the_models_markers(shared_data: Path) -> None:
    file = shared_data / "opencap_setup" / "RajagopalModified2016_markers_mmpose_final_adjusted.xml"
    anatomical = set(skeleton("synthpose-52").points) - set(COCO)
    assert anatomical - set(markers_of(file)) == {"r_big_toe", "l_big_toe"}
    assert set(markers_of(file)) <= anatomical


def test_openpose_markers_of_the_model_resolve(shared_data: Path) -> None:
    openpose = skeleton("openpose-25")
    file = shared_data / "opencap_setup" / "RajagopalModified2016_markers_openpose.xml"
    found = {openpose.points[openpose.index(marker)] for marker in markers_of(file)}
    assert set(openpose.points) - found == {"Nose", "REye", "LEye", "REar", "LEar"}


def test_recorded_marker_names_resolve(shared_data: Path) -> None:
    it = skeleton("opencap-mocap-49")
    recorded = trc.read(shared_data / "labvalidation_subject4" / "markers" / "walking1.trc").names
    known = set(it.points) | set(it.aliases)
    assert [n for n in recorded if n not in known] == [
        *("L_HJC_reg", "L_forearm", "L_humerus", "R_HJC_reg", "R_forearm", "R_humerus")
    ]
    assert sorted(set(it.points) - set(recorded)) == ["L_mankle", "L_mknee", "r_mankle", "r_mknee"]
    assert it.index("r_ASIS") == it.index("r.ASIS")


def test_recorded_markers_become_coco_points(shared_data: Path) -> None:
    static = trc.read(shared_data / "labvalidation_subject4" / "markers" / "static1.trc")
    mocap, coco = skeleton("opencap-mocap-49"), skeleton("coco-17")
    made = remap_markers(static, mocap.map_to(coco))
    # from the mean positions of HJC, r_knee, r_mknee, r_ankle and r_mankle in the file, by hand
    hip, knee, ankle = (made.select([f"right_{j}"]).xyz[:, 0] for j in ("hip", "knee", "ankle"))
    assert np.linalg.norm((hip - knee).mean(axis=0)) == pytest.approx(0.393, abs=0.002)
    assert np.linalg.norm((knee - ankle).mean(axis=0)) == pytest.approx(0.393, abs=0.002)
    lateral, medial = static.select(["r_knee", "r_mknee"]).xyz[0]
    np.testing.assert_allclose(made.xyz[0, coco.index("right_knee")], (lateral + medial) / 2, atol=1e-12)
    assert np.isnan(made.xyz[:, coco.index("nose")]).all()
