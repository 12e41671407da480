import pickle

import numpy as np
import pytest
import samples

from cohorts import CapbenchError, Cohort, Keypoints, Markers, Motion, Signals, Subject, Trial, skeleton


def test_arrays_are_frozen_copies() -> None:
    xyz = np.ones((2, 1, 3))
    markers = Markers([0, 1], ("a",), xyz)
    xyz[0, 0, 0] = 7
    assert markers.xyz[0, 0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        markers.xyz[0, 0, 0] = 7


def test_equal_by_value_with_nan_equal_to_nan() -> None:
    assert samples.markers() == samples.markers()
    moved = samples.markers().xyz.copy()
    moved[0, 0, 0] += 1e-12
    assert samples.markers() != Markers(samples.TIME, samples.markers().names, moved)
    assert samples.markers() != samples.motion()


@pytest.mark.parametrize(
    "noun",
    [samples.markers, samples.motion, samples.signals, samples.keypoints, samples.camera, samples.body],
)
def test_nouns_cross_process_borders(noun) -> None:
    assert pickle.loads(pickle.dumps(noun())) == noun()  # noqa: S301  # our own bytes


def test_slicing_in_time_shares_memory_and_keeps_everything_else() -> None:
    markers = samples.markers()
    part = markers[2:5]
    assert np.shares_memory(part.xyz, markers.xyz)
    assert part.time.tolist() == markers.time[2:5].tolist()
    assert part.confidence.shape == (3, 4)
    assert part.names == markers.names
    # samples are 20 ms apart: 0.02 to 0.06 s holds frames 1, 2 and 3, both ends included
    assert markers.between(0.02, 0.06) == markers[1:4]
    assert len(markers.between(5, 6)) == 0
    with pytest.raises(CapbenchError, match="time to increase"):
        markers[::-1]


def test_rate_is_that_of_even_samples_even_when_times_are_rounded() -> None:
    rounded = np.round(np.arange(100) / 60, 3)  # 16, 17, 17 ms: a median step would say 58.8 Hz
    assert Signals(rounded, ("a",), np.zeros((100, 1))).rate == pytest.approx(60, rel=1e-3)
    gap = np.concatenate([np.arange(50) / 50, 10 + np.arange(50) / 50])
    assert Signals(gap, ("a",), np.zeros((100, 1))).rate == pytest.approx(50)
    assert np.isnan(Signals([1.0], ("a",), [[0.0]]).rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": [0, 0, 1]}, "time to increase, got 0 s after 0 s"),
        ({"time": [0, np.nan, 1]}, "finite times"),
        ({"time": [0, 1]}, r"shape \(2, 2, 3\)"),
        ({"names": ("a", "a")}, "'a' twice"),
        ({"names": ("a", "")}, "non-empty"),
        ({"xyz": np.full((3, 2, 3), np.inf)}, "all finite or, where missing, all NaN"),
        ({"xyz": np.stack([np.ones((3, 3)), [[0, np.nan, 1]] * 3], 1)}, "frame 0, point b"),
        ({"confidence": np.full((3, 2), -1.0)}, "negative"),
        ({"xyz": np.full((3, 2, 3), np.nan), "confidence": np.ones((3, 2))}, "positive one for a missing"),
    ],
)
def test_bad_markers_are_refused_in_words(change, message) -> None:
    good = {"time": [0, 1, 2], "names": ("a", "b"), "xyz": np.ones((3, 2, 3))}
    Markers(**good)
    with pytest.raises(CapbenchError, match=message):
        Markers(**{**good, **change})


def test_missing_points_have_no_confidence() -> None:
    markers = samples.markers()
    assert markers.confidence[2, 1] == 0
    assert markers.confidence.sum() == 6 * 4 - 2


def test_motion_knows_what_its_coordinates_are() -> None:
    motion = samples.motion()
    assert motion.kinds == ("rotation", "translation", "translation", "rotation", "rotation")
    assert motion.coupled == ("knee_angle_r_beta",)
    assert motion.select(["knee_angle_r_beta", "pelvis_tx"]).kinds == ("rotation", "translation")
    assert motion.select(["pelvis_tx"]).coupled == ()
    np.testing.assert_array_equal(motion.column("pelvis_tx"), 1.2 * samples.TIME)
    with pytest.raises(CapbenchError, match="Did you mean 'knee_angle_r'"):
        motion.column("knee_angle")
    with pytest.raises(CapbenchError, match="infinity"):
        Motion([0], ("a",), [[np.inf]])
    with pytest.raises(CapbenchError, match="rotation"):
        Motion([0], ("a",), [[1.0]], ("slide",))


def test_covariances_must_be_positive_definite_where_points_are() -> None:
    k = samples.keypoints()
    good = np.broadcast_to(np.diag([4.0, 9.0]), (6, 17, 2, 2)).copy()
    Keypoints("c", k.time, k.xy, k.skeleton, k.confidence, covariance=good)
    for bad in (np.diag([4.0, -9.0]), [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], np.eye(2) * np.nan):
        wrong = good.copy()
        wrong[3, 4] = bad
        with pytest.raises(CapbenchError, match="frame 3, point right_ear"):
            Keypoints("c", k.time, k.xy, k.skeleton, k.confidence, covariance=wrong)
    missing = good.copy()
    missing[1, 2] = np.nan  # the one missing point needs none
    Keypoints("c", k.time, k.xy, k.skeleton, k.confidence, covariance=missing)


def test_keypoints_must_fit_their_skeleton() -> None:
    with pytest.raises(CapbenchError, match="coco-17 of shape"):
        Keypoints("c", [0.0], np.zeros((1, 26, 2)), skeleton("coco-17"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mass": 62600}, "is it in grams"),
        ({"height": 1750}, "is it in centimetres or millimetres"),
        ({"height": float("nan")}, "between"),
        ({"sex": "f"}, "sex"),
    ],
)
def test_implausible_subjects_are_refused(values, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        Subject("p01", **values)


def test_cohort_selects_by_name_and_knows_its_people() -> None:
    people = (Subject("p1", mass=70), Subject("p2"))
    trials = tuple(
        Trial(name, who, activity, session="s1", videos={"cam01": "a.mp4"})
        for name, who, activity in (("w1", "p1", "walking"), ("w1", "p2", "walking"), ("s1", "p1", "squat"))
    )
    cohort = Cohort("demo", "1", people, trials)
    assert [t.key for t in cohort.select(subjects=["p1"]).trials] == ["p1/s1/w1", "p1/s1/s1"]
    assert [s.pseudonym for s in cohort.select(activities=["squat"]).subjects] == ["p1"]
    assert cohort.subject("p1").mass == 70
    with pytest.raises(TypeError, match="immutable"):
        cohort.trials[0].videos["cam02"] = "b.mp4"
    for wrong in (
        lambda: Cohort("demo", "1", people, (*trials, trials[0])),
        lambda: Cohort("demo", "1", people[:1], trials),
        lambda: cohort.select(subjects=["p3"]),
        lambda: cohort.select(activities=["walk"]),
    ):
        with pytest.raises(CapbenchError):
            wrong()
