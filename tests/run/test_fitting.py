"""From markers to angles: planted people and motions come back; the ladder of priors; what is not shown."""

from dataclasses import replace

import numpy as np
import pytest

from capbench.biomech.body import fullbody, fullbody_card, marker_sets
from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.model import Model
from capbench.biomech.scale import scale_model
from capbench.run import fitting
from capbench.run.fitting import PRIORS, as_worn, scale_person, solve_trial, worn
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion, Subject
from cohorts.skeleton import Skeleton, skeleton

POINTS = skeleton("synthpose-52")
TURNS = {"pelvis_tilt": 6, "hip_flexion_r": 35, "hip_adduction_l": 8, "knee_angle_r": 50,
         "knee_angle_l": 40, "ankle_angle_r": 15, "lumbar_extension": 8, "lumbar_rotation": 10,
         "arm_flex_r": 30, "elbow_flex_l": 40, "hip_flexion_l": 30, "hip_rotation_r": 9}  # fmt: skip


def model(points: str = "synthpose-52") -> Model:
    return fullbody(markers=points)


def moving(of: Model, frames: int = 12, amount: float = 1.0) -> Motion:
    """All coordinates at their defaults but ``TURNS``, which swing (degrees) about a bent posture."""
    time = np.arange(frames) / 10
    free = [c for c in of.coordinates if not c.locked]
    values = np.tile([c.default for c in free], (frames, 1))
    for k, (name, size) in enumerate(TURNS.items()):
        column = [c.name for c in free].index(name)
        swing = 0.5 + 0.5 * np.sin(3 * time + k)
        values[:, column] += amount * np.radians(size) * swing
    kinds = tuple("translation" if c.name.endswith(("_tx", "_ty", "_tz")) else "rotation" for c in free)
    return Motion(time, tuple(c.name for c in free), values, kinds)


def subject(height: float | None = None, mass: float | None = 70.0) -> Subject:
    return Subject("p", mass=mass, height=height)


# --- what a skeleton is worn as ------------------------------------------------------------------


@pytest.mark.parametrize("name", marker_sets())
def test_a_set_of_the_model_is_worn_as_itself(name) -> None:
    assert worn(skeleton(name)) == name


def test_other_skeletons_are_worn_as_the_set_they_share_most_with() -> None:
    """Counted by landmarks: two points are the same where their landmarks have one name."""
    for name in ("crowdpose-14", "opencap-augmenter-43"):
        own = {mark for mark in skeleton(name).landmarks if mark}
        shared = {s: len(own & set(skeleton(s).landmarks)) for s in marker_sets()}
        assert shared[worn(skeleton(name))] == max(shared.values()) >= 6
    with pytest.raises(CapbenchError, match="at least 6 landmarks"):
        worn(Skeleton("hand", ("wrist", "thumb"), ("left_wrist@coco", "left_thumb")))


def test_a_skeleton_with_a_set_s_name_but_other_points_is_not_that_set() -> None:
    few = skeleton("coco-17").points[5:]
    cut = Skeleton("synthpose-52", few, tuple(skeleton("coco-17").landmarks[5:]))
    markers = Markers(np.arange(2.0), few, np.ones((2, len(few), 3)))
    found = as_worn(markers, cut)
    assert set(found.names) <= {m.name for m in model(worn(cut)).markers} and len(found.names) >= 6


def test_nor_is_one_with_a_set_s_name_and_the_same_landmarks_by_other_names() -> None:
    plain = skeleton("coco-17")
    mine = Skeleton("coco-17", tuple(f"point {k}" for k in range(17)), plain.landmarks)
    xyz = np.random.default_rng(0).normal(size=(2, 17, 3))
    found = as_worn(Markers(np.arange(2.0), mine.points, xyz), mine)
    assert worn(mine) in marker_sets() and len(found.names) >= 12
    target = skeleton(worn(mine))
    for column, name in enumerate(found.names):
        mark = target.landmarks[target.index(name)]
        np.testing.assert_array_equal(found.xyz[:, column], xyz[:, plain.landmarks.index(mark)])


def test_markers_are_renamed_and_those_never_seen_left_out() -> None:
    points = skeleton("crowdpose-14")
    xyz = np.random.default_rng(0).normal(size=(3, len(points), 3))
    gone = points.landmarks.index("left_knee@coco")
    xyz[:, gone] = np.nan
    xyz[1, points.landmarks.index("left_hip@coco")] = np.nan
    found = as_worn(Markers(np.arange(3.0), points.points, xyz), points)
    target = skeleton(worn(points))
    landmarks = [target.landmarks[target.index(n)] for n in found.names]
    assert "left_knee@coco" not in landmarks and "left_hip@coco" in landmarks
    for column, mark in enumerate(landmarks):
        np.testing.assert_array_equal(found.xyz[:, column], xyz[:, points.landmarks.index(mark)])


# --- scaling -------------------------------------------------------------------------------------


@pytest.mark.truth("planted person")
def test_a_planted_person_comes_back() -> None:
    """Thighs 6 % longer and a trunk 4 % shorter than height says; standing and moving, without noise."""
    size = 1.05
    scales = {b.name: np.full(3, size * (1.06 if "femur" in b.name else 0.96 if b.name == "torso" else 1.0))
              for b in model().bodies}  # fmt: skip
    true = scale_model(model(), scales)
    walk = marker_tracks(true, moving(true, 16))
    still = marker_tracks(true, moving(true, 4, 0.0))
    known = subject(size * fullbody_card().height)
    found = scale_person(POINTS, still, [walk], known)
    assert found.model.mass == pytest.approx(70) and found.facts["size"] == pytest.approx(size)
    assert found.notes == () and found.facts["scaling rms mm"] < 5

    def knee(m: Model) -> float:
        return float(np.linalg.norm(m.joint_of("tibia_r").in_parent.translation))

    assert knee(found.model) == pytest.approx(knee(true), rel=0.015)
    assert abs(knee(model()) * size / knee(true) - 1) > 0.05  # which height alone would not have said
    solved = solve_trial(found.model, walk)
    off = np.degrees(solved.motion.column("knee_angle_r") - moving(true, 16).column("knee_angle_r"))
    assert np.abs(off).max() < 1.5


def refuses(times: int, calls: list[dict]):
    """A scaling that says no so many times."""

    def scale(generic, markers, **given):
        calls.append(given | {"markers": markers})
        if len(calls) <= times:
            raise CapbenchError(f"No person, {len(calls)}.")

        class Found:
            model = generic
            rms, size = 0.002, given["size"]

        return Found

    return scale


@pytest.mark.parametrize("times", [0, 1, 2])
def test_the_priors_are_tried_from_the_loosest(times, monkeypatch) -> None:
    calls: list[dict] = []
    monkeypatch.setattr(fitting, "scale_from_motion", refuses(times, calls))
    still, walk = (Markers(np.arange(2.0), POINTS.points, np.full((2, 52, 3), v)) for v in (1.0, 2.0))
    found = scale_person(POINTS, still, [walk, walk], subject(1.8, 80))
    assert [(c["factor_sd"], c["noise"]) for c in calls] == list(PRIORS[: times + 1])
    assert sorted(PRIORS, reverse=True) == list(PRIORS)  # tighter and tighter
    assert len(found.notes) == times and all("not scaled" in note for note in found.notes)
    last = calls[-1]
    assert last["standing"] is still and last["mass"] == 80
    assert last["size"] == pytest.approx(1.8 / fullbody_card().height)
    assert len(last["markers"]) == 4  # both walks, one after the other
    assert found.facts == {"scaling rms mm": pytest.approx(2), "size": last["size"]}


def test_height_alone_is_the_last_rung(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "scale_from_motion", refuses(99, []))
    walk = Markers(np.arange(2.0), POINTS.points, np.full((2, 52, 3), 1.0))
    found = scale_person(POINTS, None, [walk], subject(1.5, 50))
    assert found.notes[0].startswith("no static trial") and "height alone" in found.notes[-1]
    assert len(found.notes) == 2 + len(PRIORS)
    size = 1.5 / fullbody_card().height
    plain = model()
    for body in plain.bodies[1:]:
        joint, own = (m.joint_of(body.name).in_parent.translation for m in (plain, found.model))
        np.testing.assert_allclose(own, size * np.asarray(joint), atol=1e-9)
    assert found.model.mass == pytest.approx(50)


def test_without_height_and_limbs_there_is_no_last_rung(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "scale_from_motion", refuses(99, []))
    some = ("nose", "left_eye", "right_eye")
    walk = Markers(np.arange(2.0), some, np.ones((2, 3, 3)))
    with pytest.raises(CapbenchError, match="plausible person"):
        scale_person(skeleton("coco-17"), None, [walk], subject())
    with pytest.raises(CapbenchError, match="got none"):
        scale_person(POINTS, None, [], subject(1.8))
    with pytest.raises(CapbenchError, match="got none"):
        scale_person(POINTS, None, [walk[:0]], subject(1.8))


def test_standing_alone_will_do() -> None:
    true = model()
    still = marker_tracks(true, moving(true, 3, 0.0))
    found = scale_person(POINTS, still, [], subject(fullbody_card().height))
    assert found.facts["scaling rms mm"] < 1 and not found.notes


def test_trials_of_different_markers_are_joined_by_name(monkeypatch) -> None:
    calls: list[dict] = []
    monkeypatch.setattr(fitting, "scale_from_motion", refuses(0, calls))
    a = Markers(np.arange(2.0), ("nose", "left_eye"), np.ones((2, 2, 3)))
    b = Markers(np.arange(1.0), ("right_eye", "nose"), np.full((1, 2, 3), 2.0))
    scale_person(skeleton("coco-17"), None, [a, b], subject(1.8))
    joined = calls[0]["markers"]
    assert set(joined.names) == {"nose", "left_eye", "right_eye"}
    table = {n: joined.xyz[:, joined.names.index(n), 0].tolist() for n in joined.names}
    np.testing.assert_array_equal(table["nose"], [1, 1, 2])
    np.testing.assert_array_equal(table["left_eye"], [1, 1, np.nan])
    np.testing.assert_array_equal(table["right_eye"], [np.nan, np.nan, 2])


# --- solving -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walk() -> tuple[Model, Motion, Markers]:
    true = model()
    motion = moving(true)
    return true, motion, marker_tracks(true, motion)


@pytest.mark.truth("planted motion")
def test_planted_angles_come_back(walk) -> None:
    true, motion, markers = walk
    found = solve_trial(true, markers)
    for name in (*TURNS, "pelvis_ty"):
        np.testing.assert_allclose(found.motion.column(name), motion.column(name), atol=1e-5)
    assert found.facts["marker rms mm"] < 1e-2
    assert found.facts["frames solved %"] == found.facts["converged %"] == 100
    assert found.sd.shape == found.motion.values.shape
    knee = found.motion.names.index("knee_angle_r")
    assert np.isfinite(found.sd[:, knee]).all() and not any("few points" in n for n in found.notes)


def test_frames_that_show_too_little_have_no_angles(walk) -> None:
    true, motion, markers = walk
    xyz = markers.xyz.copy()
    xyz[3, :20] = np.nan  # 32 of 52 are left
    xyz[5, :27] = np.nan  # less than half
    xyz[7] = np.nan
    found = solve_trial(true, Markers(markers.time, markers.names, xyz))
    missing = np.isnan(found.motion.values).all(axis=1)
    assert missing.nonzero()[0].tolist() == [5, 7]
    np.testing.assert_allclose(
        found.motion.column("knee_angle_r")[3], motion.column("knee_angle_r")[3], atol=1e-4
    )
    assert found.notes[0] == "2 of 12 frames show too few points"
    assert found.facts["frames solved %"] == pytest.approx(100 * 10 / 12)
    with pytest.raises(CapbenchError, match=r"half of the 52 points.*none of 12"):
        solve_trial(
            true, Markers(markers.time, markers.names, np.where(np.arange(52)[:, None] < 25, xyz, np.nan))
        )
    with pytest.raises(CapbenchError, match=r"at least 3 markers.*got 2"):
        solve_trial(true, markers.select(markers.names[:2]))


def test_coordinates_that_nothing_shows_are_held_and_named(walk) -> None:
    true, _, markers = walk
    legs = [m.name for m in true.markers if m.body in ("pelvis", "femur_r", "tibia_r", "calcn_r", "femur_l")]
    found = solve_trial(true, markers.select(legs))
    assert {"knee_angle_l", "ankle_angle_l", "lumbar_extension", "elbow_flex_r"} <= set(found.held)
    assert not {"knee_angle_r", "hip_flexion_l", "pelvis_ty"} & set(found.held)
    assert any("knee_angle_l" in note for note in found.notes)


@pytest.mark.truth("closed form")
def test_deviations_are_as_large_as_the_covariances_say_whatever_the_order(walk) -> None:
    """Twice the deviation of all points is twice that of each angle; one point's own is felt near it."""
    true, _, markers = walk
    plain = np.tile(np.eye(3) * 0.005**2, (*markers.xyz.shape[:2], 1, 1))
    plain[:, markers.names.index("right_ankle")] *= 100
    one, double = (solve_trial(true, markers, c) for c in (plain, 4 * plain))
    knee, elbow = (one.motion.names.index(n) for n in ("knee_angle_r", "elbow_flex_l"))
    for c in (knee, elbow):
        assert (one.sd[:, c] > 0).all()
        np.testing.assert_allclose(double.sd[:, c], 2 * one.sd[:, c], rtol=1e-9)
    same = solve_trial(true, markers, np.tile(np.eye(3) * 0.005**2, (*markers.xyz.shape[:2], 1, 1)))
    ankle = one.motion.names.index("ankle_angle_r")
    assert (one.sd[:, ankle] > 1.2 * same.sd[:, ankle]).all()
    np.testing.assert_allclose(one.sd[:, elbow], same.sd[:, elbow], rtol=0.03)
    np.testing.assert_array_equal(one.motion.values, same.motion.values)
    order = np.random.default_rng(0).permutation(len(markers.names))
    mixed = Markers(markers.time, tuple(markers.names[i] for i in order), markers.xyz[:, order])
    again = solve_trial(true, mixed, plain[:, order])
    np.testing.assert_allclose(again.motion.values, one.motion.values, atol=1e-5)
    # another answer may be carried on from frame to frame, and a solver stops near the optimum, not on it
    np.testing.assert_allclose(again.sd[:, knee], one.sd[:, knee], rtol=1e-3)
    more = replace(mixed, names=("unknown", *mixed.names[1:]))  # one that the model doesn't wear
    assert np.isfinite(solve_trial(true, more, plain[:, order]).sd[:, elbow]).all()


def test_a_point_that_came_without_covariance_is_taken_as_unsure(walk) -> None:
    true, _, markers = walk
    known = np.tile(np.eye(3) * 0.001**2, (*markers.xyz.shape[:2], 1, 1))
    some = known.copy()
    some[4, markers.names.index("right_knee")] = np.nan
    sure, unsure = (solve_trial(true, markers, c) for c in (known, some))
    knee = sure.motion.names.index("knee_angle_r")
    wider = unsure.sd[:, knee] / sure.sd[:, knee]
    assert wider[4] > 1.05
    np.testing.assert_allclose(np.delete(wider, 4), 1)
