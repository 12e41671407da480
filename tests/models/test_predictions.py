"""Predictions made elsewhere are found by name or by list, and never twice for one thing."""

import json

import numpy as np
import pytest

from capbench.models.card import ModelCard, write_card
from capbench.models.predictions import LIST_NAME, find_predictions
from cohorts import formats
from cohorts.errors import CapbenchError, RefusedError
from cohorts.recording import BodyParameters, Keypoints, Markers, Motion, Trial
from cohorts.skeleton import skeleton

CAMERAS = ("Cam1", "Cam3")
TRIALS = (
    Trial("walk1", "s1", "walking", "day1", videos={c: f"{c}.mp4" for c in CAMERAS}),
    Trial("walk1", "s1", "walking", "day2", videos={c: f"{c}.mp4" for c in CAMERAS}),
    Trial("sts1", "s2", "sit-to-stand", videos={c: f"{c}.mp4" for c in CAMERAS}),
)
STS = TRIALS[2]
TIME = np.arange(4) / 25


def keypoints(camera="Cam1", value=1.0, person="0"):
    xy = np.full((4, 17, 2), value) + np.arange(4)[:, None, None]
    return Keypoints(camera, TIME, xy, skeleton("coco-17"), person=person)


def put(root, name, value, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    formats.write(path, value, **options)
    return path


def markers():
    return Markers(TIME, ("C7", "r.ASIS"), np.arange(24.0).reshape(4, 2, 3))


def motion():
    return Motion(TIME, ("knee_angle_r", "pelvis_tx"), np.arange(8.0).reshape(4, 2) / 10)


def body():
    return BodyParameters("smpl", TIME, np.zeros((4, 24, 3)), np.zeros((4, 3)), np.zeros(10))


# --- where files lie ----------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["/", "_", "."])
@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: t.key)
def test_one_file_a_camera(between, trial, tmp_path):
    for value, camera in enumerate(CAMERAS):
        put(tmp_path, f"{trial.key}{between}{camera}.npz", (keypoints("as the file has it", value),))
    found = find_predictions(tmp_path, TRIALS)
    assert set(found.files) == {trial.key}
    assert set(found.missing) == {t.key for t in TRIALS} - {trial.key} and not found.extra
    loaded = found.load(trial)
    assert set(loaded) == set(CAMERAS)
    for value, camera in enumerate(CAMERAS):
        (track,) = loaded[camera]
        assert track.camera == camera
        np.testing.assert_array_equal(track.xy[:, 0, 0], value + np.arange(4))


def test_one_file_of_all_cameras_and_everyone_in_them(tmp_path):
    put(tmp_path, "s2/sts1.npz", (keypoints("Cam3"), keypoints("Cam1"), keypoints("Cam1", 9, person="1")))
    found = find_predictions(tmp_path, [STS])
    assert not found.missing
    loaded = found.load(STS)
    assert {camera: len(tracks) for camera, tracks in loaded.items()} == {"Cam1": 2, "Cam3": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("s2/sts1.trc", markers()),
        ("s2/sts1.mot", motion()),
        ("s2/sts1.npz", motion()),
        ("s2/sts1.npz", markers()),
        ("s2/sts1.npz", body()),
        ("s2/sts1.csv", motion()),
    ],
)
def test_three_dimensions_enter_as_they_are(name, value, tmp_path):
    put(tmp_path, name, value)
    loaded = find_predictions(tmp_path, [STS]).load(STS)
    assert type(loaded) is type(value)
    np.testing.assert_allclose(loaded.time, TIME, atol=1e-6)


def test_the_session_may_be_left_out_where_it_is_not_missed(tmp_path):
    put(tmp_path, "s1/walk1.mot", motion())
    found = find_predictions(tmp_path, TRIALS[:1])
    assert found.load(TRIALS[0]) is not None
    with pytest.raises(CapbenchError, match=r"s1/day1/walk1, s1/day2/walk1"):
        find_predictions(tmp_path, TRIALS)


def test_a_folder_of_openpose_files_is_one_camera(tmp_path):
    for camera in CAMERAS:
        folder = tmp_path / "s2" / "sts1" / camera
        folder.mkdir(parents=True)
        for frame in range(3):
            person = {"pose_keypoints_2d": [float(frame), 2.0, 0.9] * 25}
            (folder / f"x_{frame:012d}_keypoints.json").write_text(
                json.dumps({"version": 1.3, "people": [person]})
            )
    found = find_predictions(tmp_path, [STS])
    assert not found.missing and not found.extra
    loaded = found.load(STS, rate=25)
    assert loaded["Cam3"][0].skeleton.name == "openpose-25"
    np.testing.assert_allclose(loaded["Cam3"][0].time, [0, 0.04, 0.08])


def test_what_is_missing_and_what_is_too_much_is_named(tmp_path):
    put(tmp_path, "s2/sts1_Cam1.npz", (keypoints(),))
    put(tmp_path, "s2/sts9_Cam1.npz", (keypoints(),))
    put(tmp_path, "elsewhere/static.trc", markers())
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / ".hidden.npz").write_bytes(b"")
    found = find_predictions(tmp_path, TRIALS)
    assert found.missing == ("s1/day1/walk1", "s1/day2/walk1", "s2/sts1 camera Cam3")
    assert found.extra == ("elsewhere/static.trc", "s2/sts9_Cam1.npz")
    assert find_predictions(tmp_path, [STS], ["Cam1"]).missing == ()
    assert found.load(TRIALS[0]) is None


def test_nothing_is_opened_before_it_is_asked_for(tmp_path):
    (tmp_path / "s2").mkdir()
    (tmp_path / "s2" / "sts1.mot").write_text("this is no motion")
    found = find_predictions(tmp_path, [STS])
    with pytest.raises(CapbenchError, match=r"sts1\.mot"):
        found.load(STS)


def test_a_single_file_is_of_the_only_trial(tmp_path):
    path = put(tmp_path, "whatever.mot", motion())
    assert isinstance(find_predictions(path, [STS]).load(STS), Motion)
    with pytest.raises(CapbenchError, match="3 trials, got one file"):
        find_predictions(path, TRIALS)
    with pytest.raises(CapbenchError, match="nothing of that name"):
        find_predictions(tmp_path / "no", TRIALS)


# --- two for one --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("s2/sts1.mot", "s2/sts1.trc"),
        ("s2/sts1_Cam1.npz", "s2/sts1/Cam1.npz"),
        ("s2/sts1_Cam1.npz", "s2/sts1.mot"),
    ],
)
def test_two_files_for_one_thing_are_refused(names, tmp_path):
    for name in names:
        value = motion() if name.endswith(".mot") else markers() if name.endswith(".trc") else (keypoints(),)
        put(tmp_path, name, value)
    with pytest.raises(CapbenchError, match="Expected one file for") as caught:
        find_predictions(tmp_path, [STS])
    assert LIST_NAME in caught.value.fix
    for name in names:
        assert name in str(caught.value)


def test_a_name_that_could_mean_two_things_is_refused(tmp_path):
    other = Trial("sts1_Cam1", "s2", "sit-to-stand", videos={"Cam1": "x.mp4"})
    put(tmp_path, "s2/sts1_Cam1.mot", motion())
    with pytest.raises(CapbenchError, match="means one thing"):
        find_predictions(tmp_path, [STS, other])


# --- predictions.yaml ---------------------------------------------------------------------------


def listed(root, text):
    (root / LIST_NAME).write_text(text)


def test_a_list_is_the_only_thing_that_counts(tmp_path):
    put(tmp_path, "a.mot", motion())
    put(tmp_path, "s2/sts1.trc", markers())
    put(tmp_path, "b.npz", (keypoints(),))
    listed(
        tmp_path,
        "predictions:\n- {trial: s2/sts1, file: a.mot}\n- {trial: s1/day1/walk1, camera: Cam1, file: b.npz}\n"
        "- {trial: s9/x, file: b.npz}\n",
    )
    for spec in (tmp_path, tmp_path / LIST_NAME):
        found = find_predictions(spec, TRIALS)
        assert isinstance(found.load(STS), Motion)
        assert set(found.load(TRIALS[0])) == {"Cam1"}
        assert found.missing == ("s1/day1/walk1 camera Cam3", "s1/day2/walk1")
        assert found.extra == ("b.npz",)


WRONG = {
    "no such file": ("- {trial: s2/sts1, file: c.mot}", CapbenchError, "no such file"),
    "twice": (
        "- {trial: s2/sts1, file: a.mot}\n- {trial: s2/sts1, file: a.mot}",
        CapbenchError,
        "one file for",
    ),
    "way out": ("- {trial: s2/sts1, file: ../a.mot}", RefusedError, "below the model's folder"),
    "key": ("- {trail: s2/sts1, file: a.mot}", CapbenchError, "Did you mean 'trial'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_lists_that_are_wrong(case, tmp_path):
    rows, kind, words = WRONG[case]
    put(tmp_path, "a.mot", motion())
    listed(tmp_path, "predictions:\n" + rows + "\n")
    with pytest.raises(kind, match=words):
        find_predictions(tmp_path, TRIALS)


def test_links_that_lead_out_are_refused(tmp_path, tmp_path_factory):
    elsewhere = put(tmp_path_factory.mktemp("elsewhere"), "a.mot", motion())
    (tmp_path / "s2").mkdir()
    (tmp_path / "s2" / "sts1.mot").symlink_to(elsewhere)
    with pytest.raises(RefusedError, match="link"):
        find_predictions(tmp_path, TRIALS)


# --- rates, skeletons, cards --------------------------------------------------------------------


def counted(root, name="s2/sts1_Cam1.json", points=17):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"image_id": frame, "category_id": 1, "score": 1.0, "keypoints": [float(frame), 2.0, 0.9] * points}
        for frame in range(4)
    ]
    (root / name).write_text(json.dumps(rows))


def test_files_that_count_frames_need_a_rate(tmp_path):
    counted(tmp_path)
    found = find_predictions(tmp_path, [STS], ["Cam1"])
    with pytest.raises(CapbenchError, match="only counts frames"):
        found.load(STS)
    np.testing.assert_allclose(found.load(STS, rate=50)["Cam1"][0].time, np.arange(4) / 50)
    listed(tmp_path, "rate: 10\npredictions:\n- {trial: s2/sts1, camera: Cam1, file: s2/sts1_Cam1.json}\n")
    found = find_predictions(tmp_path, [STS], ["Cam1"])
    np.testing.assert_allclose(found.load(STS, rate=50)["Cam1"][0].time, np.arange(4) / 10)  # the maker knows


def test_files_with_times_keep_them(tmp_path):
    put(tmp_path, "s2/sts1_Cam1.npz", (keypoints(),))
    np.testing.assert_array_equal(find_predictions(tmp_path, [STS]).load(STS, rate=50)["Cam1"][0].time, TIME)


@pytest.mark.parametrize("name", ["submission.yaml", "model.yaml"])
def test_a_card_beside_says_who_made_them_and_which_points_they_are(name, tmp_path):
    counted(tmp_path)
    card = ModelCard(name="mine", version="1", licence="x", route="predictions", skeleton="h36m-17")
    write_card(tmp_path / name, card)
    found = find_predictions(tmp_path, [STS])
    assert found.card == card and not found.extra
    assert found.load(STS, rate=25)["Cam1"][0].skeleton.name == "h36m-17"
    listed(
        tmp_path,
        "skeleton: coco-17\npredictions:\n- {trial: s2/sts1, camera: Cam1, file: s2/sts1_Cam1.json}\n",
    )
    assert find_predictions(tmp_path, [STS]).load(STS, rate=25)["Cam1"][0].skeleton.name == "coco-17"


def test_a_card_that_is_wrong_is_told(tmp_path):
    (tmp_path / "submission.yaml").write_text("name: x\n")
    with pytest.raises(CapbenchError, match=r"submission\.yaml"):
        find_predictions(tmp_path, [STS])


def test_fingerprints_follow_the_bytes_and_how_they_are_read(tmp_path):
    counted(tmp_path)
    first = find_predictions(tmp_path, [STS])
    assert first.fingerprint(STS) == find_predictions(tmp_path, [STS]).fingerprint(STS)
    assert first.fingerprint(STS) != first.fingerprint(TRIALS[0])
    listed(tmp_path, "rate: 10\npredictions:\n- {trial: s2/sts1, camera: Cam1, file: s2/sts1_Cam1.json}\n")
    second = find_predictions(tmp_path, [STS]).fingerprint(STS)
    counted(tmp_path, points=52)
    assert len({first.fingerprint(STS), second, find_predictions(tmp_path, [STS]).fingerprint(STS)}) == 3


# --- files that hold something else -------------------------------------------------------------


def test_what_a_file_holds_must_fit_its_name(tmp_path):
    path = put(tmp_path, "s2/sts1_Cam1.trc", markers())
    with pytest.raises(CapbenchError, match="keypoints of Cam1, got markers"):
        find_predictions(tmp_path, [STS]).load(STS)
    path.unlink()
    put(tmp_path, "s2/sts1_Cam1.npz", (keypoints("Cam1"), keypoints("Cam3")))
    with pytest.raises(CapbenchError, match="keypoints of Cam1 only"):
        find_predictions(tmp_path, [STS]).load(STS)


def test_cameras_that_the_trial_does_not_have(tmp_path):
    put(tmp_path, "s2/sts1.npz", (keypoints("Cam1"), keypoints("Cam9")))
    with pytest.raises(CapbenchError, match=r"cameras Cam1, Cam3, got Cam9"):
        find_predictions(tmp_path, [STS]).load(STS)
    one = Trial("sts1", "s2", "sit-to-stand", videos={"Cam1": "x.mp4"})
    put(tmp_path, "s2/sts1.npz", (keypoints("anything"),), overwrite=True)
    assert set(find_predictions(tmp_path, [one]).load(one)) == {"Cam1"}


def test_forces_are_no_prediction(tmp_path):
    from cohorts.recording import Signals

    put(tmp_path, "s2/sts1.sto", Signals(TIME, ("ground_force_vy",), np.zeros((4, 1))))
    with pytest.raises(CapbenchError, match="a motion"):
        find_predictions(tmp_path, [STS]).load(STS)
