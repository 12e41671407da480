"""Skeletons: sides, flips, limbs, vocabulary, the maps between them, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohorts import CapbenchError, Keypoints, Markers, Skeleton, skeleton, skeleton_names
from cohorts.remap import remap_keypoints, remap_markers
from cohorts.skeleton import _vocabulary, describe, parse_skeleton

NAMES = skeleton_names()


@pytest.mark.parametrize("name", NAMES)
def test_a_skeleton_has_as_many_points_as_its_name_says_and_says_its_source(name: str) -> None:
    it = skeleton(name)
    assert it.name == name
    assert len(it) == len(it.points) == len(it.landmarks) == int(name.rpartition("-")[2])
    assert it.title
    assert len(it.source) > 40
    assert bool(it.sigmas) == bool(it.sigmas_source)
    assert pickle.loads(pickle.dumps(it)) == it  # noqa: S301  # made one line above


# --- sides, flips and limbs ---

LONE_SIDED = {  # points of one side that have no partner
    "opencap-mocap-49": [
        *("r_thigh1", "r_thigh2", "r_thigh3", "r_thigh4", "r_thigh5"),
        *("r_shank_antsup", "r_sh2", "r_sh3", "r_sh4"),
        *("L_thigh1", "L_thigh2", "L_thigh3", "L_thigh4", "L_shank_antsup", "L_sh2", "L_sh3"),
    ],
    "opencap-augmenter-43": [
        f"{side}_{part}{i}_study" for part in ("thigh", "sh") for side in "rL" for i in (1, 2, 3)
    ],
    "mano-16": list(skeleton("mano-16").points),
    "mano-21": list(skeleton("mano-21").points),
}


@pytest.mark.parametrize("name", NAMES)
def test_flip_changes_sides_and_undoes_itself(name: str) -> None:
    it = skeleton(name)
    flip = it.flip_indices
    assert sorted(flip) == list(range(len(it)))
    opposite = {"left": "right", "right": "left", "middle": "middle"}
    lone = []
    for k, side in enumerate(it.sides):
        assert flip[flip[k]] == k
        if flip[k] == k and side != "middle":
            lone.append(it.points[k])
        else:
            assert it.sides[flip[k]] == opposite[side], it.points[k]
    assert lone == LONE_SIDED.get(name, [])


@pytest.mark.parametrize("name", NAMES)
def test_flip_pairs_are_left_then_right_by_name_and_by_landmark(name: str) -> None:
    it = skeleton(name)
    landmark = dict(zip(it.points, it.landmarks, strict=True))
    for left, right in it.flip_pairs:
        assert landmark[left].startswith("left_"), left
        assert landmark[right] == landmark[left].replace("left", "right"), right
        if not left.startswith("face-"):
            assert left[0] in "lL" or left.endswith("_left"), left
            assert right[0] in "rR" or right.endswith("_right"), right
            assert left.lower().replace("left", "l")[1:] == right.lower().replace("right", "r")[1:] or (
                left.endswith("_left") and right.endswith("_right")
            )


@pytest.mark.parametrize("name", NAMES)
def test_middle_points_have_no_side_in_their_landmark(name: str) -> None:
    it = skeleton(name)
    for point, side, landmark in zip(it.points, it.sides, it.landmarks, strict=True):
        assert landmark.startswith(f"{side}_") == (side != "middle"), point


@pytest.mark.parametrize("name", NAMES)
def test_limbs_join_all_points_into_one_body(name: str) -> None:
    it = skeleton(name)
    assert all(a != b for a, b in it.limbs)
    assert len({frozenset(limb) for limb in it.limbs}) == len(it.limbs)
    # the lines of the face float: eyes, brows and lips touch nothing
    body = {p for p in it.points if not p.startswith("face-")}
    reached, grown = {min(body)}, True
    while grown:
        more = {q for a, b in it.limbs for q in (a, b) if a in reached or b in reached} & body
        grown = not more <= reached
        reached |= more
    assert reached == body


def test_sides_of_lone_markers_come_from_their_landmarks() -> None:
    it = skeleton("opencap-mocap-49")
    sides = dict(zip(it.points, it.sides, strict=True))
    assert sides["r_thigh5"] == "right"
    assert sides["L_sh3"] == "left"
    assert sides["C7"] == "middle"
    assert set(skeleton("mano-16").sides) == {"right"}


# --- vocabulary ---


def words_of(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from words_of(part)


def test_every_landmark_and_family_is_in_the_vocabulary() -> None:
    families, landmarks = _vocabulary()["families"], _vocabulary()["landmarks"]
    for name in NAMES:
        for landmark in skeleton(name).landmarks:
            base, _, family = landmark.partition("@")
            assert base in landmarks, landmark
            assert not family or family in families, landmark
    for base, entry in landmarks.items():
        assert entry.keys() <= {"is", "variants", "near"}, base
        assert entry["is"]
        assert set(entry.get("variants", {})) <= set(families), base
        for kin in entry.get("near", ()):
            assert kin.keys() == {"mean", "why"}, base
            assert set(kin["mean"]) <= set(landmarks) - {base}, base
    assert not any("SIDE" in word for word in words_of(landmarks))


def test_every_family_and_landmark_is_used() -> None:
    used = {landmark for name in NAMES for landmark in skeleton(name).landmarks}
    assert {landmark.partition("@")[2] for landmark in used} - {""} == set(_vocabulary()["families"])
    unused = set(_vocabulary()["landmarks"]) - {landmark.partition("@")[0] for landmark in used}
    assert unused == {"left_mocap_thigh_5", "left_mocap_shank_4"}  # only the right leg has those


def test_describe_says_what_and_whose() -> None:
    assert describe("left_hip@coco") == "the left hip joint as COCO's annotators marked it by eye"
    assert "Human3.6M" in describe("right_ankle@h36m")
    assert describe("nose") == "the tip of the nose"
    assert describe("left_horn@mine") == "left horn as mine has it"
    assert describe("mid_hip@smpl").startswith("the root joint in the pelvis")


# --- maps ---


@pytest.mark.parametrize("name", NAMES)
def test_a_skeleton_maps_onto_itself_exactly(name: str) -> None:
    it = skeleton(name)
    made = it.map_to(it)
    assert made.exact == {p: p for p in it.points}
    assert not made.approximate
    assert made.missing == ()


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_a_map_accounts_for_each_target_point_once(source: str, target: str) -> None:
    made = skeleton(source).map_to(skeleton(target))
    accounted = [*made.exact, *made.approximate, *made.missing]
    assert sorted(accounted) == sorted(skeleton(target).points)
    assert set(made.exact.values()) <= set(skeleton(source).points)
    for stand_in in made.approximate.values():
        assert set(stand_in.points) <= set(skeleton(source).points)
        assert len(set(stand_in.points)) == len(stand_in.points) > 0
        assert stand_in.why


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_a_map_never_crosses_sides(source: str, target: str) -> None:
    from_side = dict(zip(skeleton(source).points, skeleton(source).sides, strict=True))
    to_side = dict(zip(skeleton(target).points, skeleton(target).sides, strict=True))
    made = skeleton(source).map_to(skeleton(target))
    for point, origin in made.exact.items():
        assert from_side[origin] == to_side[point], point
    for point, stand_in in made.approximate.items():
        sides = [from_side[p] for p in stand_in.points]
        if to_side[point] == "middle":  # as many from the left as from the right
            assert sides.count("left") == sides.count("right"), point
        else:
            assert set(sides) == {to_side[point]}, point


def test_coco_is_exact_in_what_was_annotated_or_trained_by_its_rules() -> None:
    coco = skeleton("coco-17")
    for name in ("coco-wholebody-133", "halpe-26", "openpose-25", "panoptic-19", "synthpose-52"):
        assert len(coco.map_to(skeleton(name)).exact) == 17, name
        assert len(skeleton(name).map_to(coco).exact) == 17, name
    assert coco.map_to(skeleton("coco-wholebody-133")).exact == {p: p for p in coco.points}
    assert coco.map_to(skeleton("openpose-25")).exact["LHip"] == "left_hip"
    assert len(coco.map_to(skeleton("crowdpose-14")).exact) == 12


def test_a_human36m_hip_is_not_a_coco_hip() -> None:
    made = skeleton("coco-17").map_to(skeleton("h36m-17"))
    assert not made.exact
    assert made.approximate["left_hip"].points == ("left_hip",)
    assert "COCO" in made.approximate["left_hip"].why
    assert "Human3.6M" in made.approximate["left_hip"].why
    assert made.approximate["left_foot"].points == ("left_ankle",)  # Human3.6M's foot is the ankle
    assert made.approximate["root"].points == ("left_hip", "right_hip")
    assert made.approximate["thorax"].points == ("left_shoulder", "right_shoulder")
    assert made.missing == ("head",)


def test_data_sets_of_other_annotators_are_never_exact() -> None:
    families = ("coco-17", "mpii-16", "lsp-14", "h36m-17", "mpi-inf-3dhp-28", "ntu-25", "smpl-24", "smplx-55")
    for a, b in itertools.permutations(families, 2):
        assert not skeleton(a).map_to(skeleton(b)).exact, (a, b)


def test_synthpose_bones_are_the_mocap_markers() -> None:
    made = skeleton("synthpose-52").map_to(skeleton("opencap-mocap-49"))
    pelvis = {"r.ASIS": "r_ASIS", "L.ASIS": "l_ASIS", "r.PSIS": "r_PSIS", "L.PSIS": "l_PSIS"}
    foot = {"r_calc": "r_calc", "L_calc": "l_calc", "r_5meta": "r_5meta", "L_toe": "l_toe"}
    leg = {"r_knee": "r_knee", "L_mknee": "l_mknee", "L_ankle": "l_ankle", "r_mankle": "r_mankle"}
    arm = {"R_Shoulder": "rshoulder", "L_elbow_lat": "l_lelbow", "R_elbow_med": "r_melbow"}
    wrist = {"R_wrist_radius": "r_lwrist", "L_wrist_ulna": "l_mwrist"}
    assert made.exact.items() >= (pelvis | foot | leg | arm | wrist | {"C7": "C7"}).items()
    assert len(made.exact) == 29
    assert set(made.approximate) == {"R_HJC", "L_HJC"}
    assert "r_thigh1" in made.missing


def test_a_joint_centre_is_the_middle_of_its_bony_sides() -> None:
    made = skeleton("opencap-mocap-49").map_to(skeleton("coco-17"))
    assert set(made.approximate["left_ankle"].points) == {"L_ankle", "L_mankle"}
    assert set(made.approximate["right_wrist"].points) == {"R_wrist_radius", "R_wrist_ulna"}
    assert made.missing == ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    back = skeleton("coco-17").map_to(skeleton("opencap-mocap-49"))
    assert {"r_knee", "r_mknee", "r.ASIS"} <= set(back.missing)  # nothing can be read off a joint centre


def test_hands_share_finger_names_but_not_definitions() -> None:
    made = skeleton("coco-wholebody-133").map_to(skeleton("mano-21"))
    assert made.exact["right_thumb_tip"] == "right_thumb4"
    assert len(made.exact) == 5
    assert made.approximate["right_index1"].points == ("right_forefinger1",)
    assert made.missing == ()
    assert len(skeleton("smplh-52").map_to(skeleton("mano-16")).exact) == 15  # all but the wrist
    assert len(skeleton("mano-21").map_to(skeleton("mano-16")).exact) == 16
    left = [p for p in skeleton("smplx-55").points if p.startswith("left_")]
    assert set(left) <= set(skeleton("mano-21").map_to(skeleton("smplx-55")).missing)


def keypoints_of(it: Skeleton, **more: Any) -> Keypoints:
    """Two frames; point k lies at (10 k, k) and (10 k + 1, k + 2) with confidence k / 100 + 0.1."""
    k = np.arange(len(it), dtype=float)
    first = np.stack([10 * k, k], axis=-1)
    xy = np.stack([first, first + np.array([1.0, 2.0])])
    return Keypoints("cam0", [0.0, 0.1], xy, it, confidence=np.tile(k / 100 + 0.1, (2, 1)), **more)


def test_apply_takes_means_lowest_confidences_and_leaves_the_rest_missing() -> None:
    coco, h36m = skeleton("coco-17"), skeleton("h36m-17")
    made = remap_keypoints(keypoints_of(coco, person="7", frames=[4, 5], score=[0.5, 0.6]), coco.map_to(h36m))
    assert made.skeleton == h36m
    assert (made.camera, made.person) == ("cam0", "7")
    assert made.frames is not None and made.frames.tolist() == [4, 5]
    assert made.score is not None and made.score.tolist() == [0.5, 0.6]
    # COCO's hips are points 11 and 12: middle (115, 11.5), lower confidence 0.21
    np.testing.assert_allclose(made.xy[:, h36m.index("root")], [[115, 11.5], [116, 13.5]])
    np.testing.assert_allclose(made.confidence[:, h36m.index("root")], 0.21)
    np.testing.assert_allclose(made.xy[0, h36m.index("right_knee")], [140, 14])
    # the spine is the middle of points 5, 6, 11 and 12
    np.testing.assert_allclose(made.xy[0, h36m.index("spine")], [85, 8.5])
    assert np.isnan(made.xy[:, h36m.index("head")]).all()
    assert (made.confidence[:, h36m.index("head")] == 0).all()


def test_apply_can_refuse_approximations() -> None:
    coco, openpose = skeleton("coco-17"), skeleton("openpose-25")
    made = remap_keypoints(keypoints_of(coco), coco.map_to(openpose), approximate=False)
    assert np.isnan(made.xy[:, openpose.index("Neck")]).all()
    np.testing.assert_allclose(made.xy[0, openpose.index("LWrist")], [90, 9])
    assert int((made.confidence[0] > 0).sum()) == 17


def test_a_mean_with_a_missing_part_is_missing() -> None:
    coco, openpose = skeleton("coco-17"), skeleton("openpose-25")
    whole = keypoints_of(coco)
    xy, confidence = whole.xy.copy(), whole.confidence.copy()
    xy[0, coco.index("left_hip")], confidence[0, coco.index("left_hip")] = np.nan, 0
    made = remap_keypoints(
        Keypoints("cam0", whole.time, xy, coco, confidence=confidence), coco.map_to(openpose)
    )
    assert np.isnan(made.xy[0, openpose.index("MidHip")]).all()
    assert made.confidence[0, openpose.index("MidHip")] == 0
    assert made.confidence[1, openpose.index("MidHip")] == pytest.approx(0.21)


def test_covariance_of_a_mean_assumes_independent_errors() -> None:
    coco, openpose = skeleton("coco-17"), skeleton("openpose-25")
    covariance = np.zeros((2, 17, 2, 2))
    covariance[..., 0, 0] = covariance[..., 1, 1] = 4.0
    covariance[:, coco.index("right_hip"), 0, 0] = 6.0
    covariance[:, coco.index("right_hip"), 0, 1] = covariance[:, coco.index("right_hip"), 1, 0] = 1.0
    made = remap_keypoints(keypoints_of(coco, covariance=covariance), coco.map_to(openpose))
    assert made.covariance is not None
    # var((a + b) / 2) = (var a + var b) / 4 for independent a and b
    np.testing.assert_allclose(made.covariance[0, openpose.index("MidHip")], [[2.5, 0.25], [0.25, 2.0]])
    np.testing.assert_allclose(made.covariance[0, openpose.index("RHip")], [[6, 1], [1, 4]])
    assert np.isnan(made.covariance[0, openpose.index("LHeel")]).all()


def test_apply_wants_the_maps_own_skeleton() -> None:
    made = skeleton("coco-17").map_to(skeleton("h36m-17"))
    with pytest.raises(CapbenchError, match="Expected keypoints of skeleton coco-17, got halpe-26"):
        remap_keypoints(keypoints_of(skeleton("halpe-26")), made)


def test_apply_to_markers_takes_aliases_and_lets_markers_be_absent() -> None:
    mocap, coco = skeleton("opencap-mocap-49"), skeleton("coco-17")
    names = ("r_knee", "r_mknee", "L_knee", "Extra")
    xyz = np.array([[[0.0, 0.5, 0.2], [0.0, 0.52, 0.1], [1.0, 1, 1], [9, 9, 9]]])
    markers = Markers([0.0], names, xyz, [[0.9, 0.7, 1.0, 1.0]])
    made = remap_markers(markers, mocap.map_to(coco))
    assert made.names == coco.points
    np.testing.assert_allclose(made.xyz[0, coco.index("right_knee")], [0, 0.51, 0.15])
    assert made.confidence[0, coco.index("right_knee")] == pytest.approx(0.7)
    assert np.isnan(made.xyz[0, coco.index("left_knee")]).all()  # its inner marker is absent
    aliased = Markers([0.0], ("r_ASIS",), [[[1.0, 2.0, 3.0]]])
    kept = remap_markers(aliased, mocap.map_to(mocap))
    np.testing.assert_allclose(kept.xyz[0, mocap.index("r.ASIS")], [1, 2, 3])
    with pytest.raises(CapbenchError, match="got Extra"):
        remap_markers(Markers([0.0], ("Extra",), [[[1.0, 2.0, 3.0]]]), mocap.map_to(coco))


def test_own_skeletons_map_by_landmark() -> None:
    mine = Skeleton("mine", ("a", "b"), ("left_hip@coco", "nose"))
    made = mine.map_to(skeleton("coco-17"))
    assert made.exact == {"left_hip": "a", "nose": "b"}
    nameless = Skeleton("nameless", ("left_hip",))  # says nothing about what its points are
    assert nameless.landmarks == ("left_hip@nameless",)
    assert nameless.map_to(skeleton("coco-17")).approximate["left_hip"].points == ("left_hip",)


# --- refusals ---


def test_unknown_skeleton_suggests_the_nearest() -> None:
    with pytest.raises(CapbenchError, match="Did you mean 'coco-17'") as caught:
        skeleton("coco17")
    assert "synthpose-52" in str(caught.value)
    with pytest.raises(CapbenchError, match="Expected the name of a skeleton, got 'landmarks'"):
        skeleton("landmarks")  # the vocabulary lies beside the skeletons and is none


def test_unknown_point_suggests_the_nearest() -> None:
    with pytest.raises(CapbenchError, match="Did you mean 'left_knee'"):
        skeleton("coco-17").index("left_kne")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"points": ("a", "a")}, "each point once, got 'a' twice"),
        ({"points": ("a", "")}, "non-empty text"),
        ({"landmarks": ("x",)}, "one landmark for each of 2 points, got 1"),
        ({"landmarks": ("x", "x")}, "got 'x' twice"),
        ({"sigmas": (0.1,)}, "2 OKS sigmas"),
        ({"sigmas": (0.1, 1.0)}, "between 0 and 1"),
        ({"sigmas": (0.1, math.nan)}, "between 0 and 1"),
        ({"flip_pairs": (("a", "c"),)}, "point of skeleton own"),
        ({"limbs": (("c", "b"),)}, "point of skeleton own"),
        ({"aliases": {"x": "c"}}, "point of skeleton own"),
        ({"aliases": {"a": "b"}}, "alias that is no point's name"),
        ({"flip_pairs": (("a", "b"), ("b", "a"))}, "one flip pair at most"),
        ({"flip_pairs": (("a", "a"),)}, "one flip pair at most"),
    ],
)
def test_a_skeleton_that_contradicts_itself_is_refused(more: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "own", "points": ("a", "b")}
    assert len(Skeleton(**good)) == 2
    with pytest.raises(CapbenchError, match=message):
        Skeleton(**(good | more))


CARD = {
    "name": "own",
    "points": [{"name": "a", "landmark": "nose", "sigma": 0.1}, {"name": "b", "landmark": "x", "sigma": 0.2}],
    "limbs": [["a", "b"]],
}


def changed(path: str, value: Any) -> Any:
    """CARD with the entry at ``path`` ("points.0.sigma") replaced, or dropped where ``value`` is ...."""
    card = json.loads(json.dumps(CARD))
    place = path.split(".")
    inner = card
    for key in place[:-1]:
        inner = inner[int(key) if key.isdigit() else key]
    last = place[-1]
    if value is ...:
        del inner[last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return card


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", "got 'colour'"),
        ("points.0.colour", "red", "got 'colour'"),
        ("name", ..., "to have 'name'"),
        ("points", ..., "to have 'points'"),
        ("points.1.landmark", ..., "to have 'landmark'"),
        ("name", 5, "text for name, got 5"),
        ("points", {"a": 1}, "list of points, got dict"),
        ("points.0", "a", "a point as a mapping, got str"),
        ("points.0.name", None, "text for name, got None"),
        ("points.0.sigma", ..., "a sigma for every point or for none"),
        ("points.0.sigma", True, "a sigma between 0 and 1, got True"),
        ("points.0.sigma", "0.1", "a sigma between 0 and 1"),
        ("points.0.sigma", 10**400, "a sigma between 0 and 1"),
        ("points.0.aliases", "A", "list of aliases, got str"),
        ("points.0.aliases", ["A", "A"], "each alias once, got 'A' twice"),
        ("points.0.aliases", [["A"]], "text for aliases"),
        ("points.0.aliases", ["b"], "alias that is no point's name"),
        ("limbs", "ab", "list of limbs, got str"),
        ("limbs.0", "ab", "two names in each of limbs"),
        ("limbs.0", ["a", "b", "a"], "two names in each of limbs"),
        ("limbs.0", [["a"], "b"], "text for limbs"),
        ("flip_pairs", [["a", "c"]], "point of skeleton own"),
        ("title", ["t"], "text for title"),
    ],
)
def test_a_bad_card_is_refused_and_the_file_named(path: str, value: Any, message: str) -> None:
    assert parse_skeleton(CARD).sigmas == (0.1, 0.2)
    with pytest.raises(CapbenchError, match=message) as caught:
        parse_skeleton(changed(path, value), file=Path("own.yaml"))
    assert caught.value.file == "own.yaml"


@pytest.mark.parametrize("card", [None, [], "text", 3])
def test_a_card_that_is_no_mapping_is_refused(card: object) -> None:
    with pytest.raises(CapbenchError, match="a skeleton as a mapping"):
        parse_skeleton(card)
