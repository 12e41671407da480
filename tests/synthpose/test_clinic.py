"""A made cohort: everything it holds agrees with everything else, and nothing is left half made."""

import dataclasses
import hashlib
import json
import math

import cv2
import numpy as np
import pytest
from tiny_clinic import tiny_card

from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.osim import read_model
from cohorts import formats
from cohorts.card import builtin_card
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.store import open_cohort
from metrics.aggregate import TrialKey
from synthpose import clinic
from synthpose.clinic import Angles, angles_of, at_times, cast_of, make, null_errors
from synthpose.recipe import plan, recipe_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tiny_card(), tmp_path_factory.mktemp("made") / "tiny")


def read(made, path):
    found = formats.read(made.path(path))[1]
    return found[0] if isinstance(found, tuple) and len(found) == 1 else found


def test_it_opens_as_a_cohort_with_its_trials(made) -> None:
    again = open_cohort(made.folder)
    assert again.cohort == made.cohort
    assert [t.name for t in made.cohort.trials] == ["static1", "gait1", "sts1"]
    assert [t.activity for t in made.cohort.trials] == ["static", "walking", "sit-to-stand"]
    (person,) = made.cohort.subjects
    assert person.pseudonym == "adult01" and person.mass and person.height and person.sex
    assert made.card.reference.exact


def test_markers_are_where_the_models_own_angles_put_them(made) -> None:
    for trial in made.cohort.trials:
        motion = read(made, trial.motion)
        for model, markers in (
            (trial.extras["model"], trial.markers),
            (trial.extras["mocap_model"], trial.extras["mocap"]),
        ):
            placed = marker_tracks(read_model(made.path(model)), motion)
            stored = read(made, markers).select(placed.names)
            np.testing.assert_allclose(stored.xyz, placed.xyz, atol=1e-6)


def test_keypoints_are_where_the_camera_sees_the_landmarks(made) -> None:
    for trial in made.cohort.trials:
        camera = made.cameras(trial)["Cam3"]
        keypoints = read(made, trial.extras["keypoints:Cam3"])
        landmarks = read(made, trial.markers).select(keypoints.skeleton.points)
        frames = np.searchsorted(landmarks.time, keypoints.time - 1e-6)
        np.testing.assert_allclose(landmarks.time[frames], keypoints.time, atol=1e-9)  # 10 Hz falls on 100 Hz
        np.testing.assert_allclose(keypoints.xy, camera.project(landmarks.xyz[frames]), atol=0.01)
        assert set(np.unique(keypoints.confidence)) <= {0.5, 1.0}
        assert 0.2 < (keypoints.confidence == 1).mean() < 0.95  # some are hidden, most are not


def test_the_person_is_in_the_picture_and_on_the_floor(made) -> None:
    for trial in made.cohort.trials:
        keypoints = read(made, trial.extras["keypoints:Cam3"])
        assert (keypoints.xy > 0).all() and (keypoints.xy < [90, 160]).all()
        feet = read(made, trial.markers).select(["r_calc", "l_calc", "r_toe", "l_toe"]).xyz[..., 1]
        assert 0.0 < feet.min() < 0.12


def test_markers_on_skin_move_a_little_and_only_with_the_body(made) -> None:
    off = {}
    for trial in made.cohort.trials:
        rigid, skin = (read(made, trial.extras[kind]) for kind in ("mocap", "mocap_skin"))
        off[trial.activity] = np.linalg.norm(skin.xyz - rigid.xyz, axis=-1)
    assert 0.005 < off["sit-to-stand"].max() < 0.06
    assert np.ptp(off["static"], axis=0).max() < 0.003


@pytest.mark.parametrize("aid", ["cane", "walker", "bars"])
def test_what_a_walk_leans_on_is_in_the_picture(aid, tmp_path) -> None:
    """The same person, walk and camera with and without: nearer pixels are the thing's."""
    recipe = recipe_of(tiny_card(trials=[{"condition": "gait", "seconds": 0.6}]))
    (who,) = plan(recipe)
    one = who.trials[1]
    cast = cast_of(who)
    pictures = []
    for chosen in ("", aid):
        trial = dataclasses.replace(one, aid=chosen)
        take = clinic.take_of(recipe, who, trial, cast)
        _, digests = clinic.film(recipe, who, trial, take, tmp_path / (chosen or "none"))
        (video,) = digests
        capture = cv2.VideoCapture(str(tmp_path / (chosen or "none") / video))
        pictures.append(capture.read()[1].astype(float))
    changed = np.abs(pictures[1] - pictures[0]).max(axis=2) > 20
    assert 8 < changed.sum() < 3000  # a cane is a pixel wide


def test_videos_hold_the_frames_that_the_manifest_names(made) -> None:
    digests = json.loads((made.root / clinic.FRAMES_NAME).read_text())
    assert digests.keys() == {t.videos["Cam3"] for t in made.cohort.trials}
    assert len(set(digests.values())) == 3
    for trial in made.cohort.trials:
        capture = cv2.VideoCapture(str(made.path(trial.videos["Cam3"])))
        count = 0
        while (got := capture.read())[0]:
            assert got[1].shape == (160, 90, 3)
            count += 1
        assert count == len(read(made, trial.extras["keypoints:Cam3"]))


def test_the_seat_is_under_who_sits(made) -> None:
    trial = made.cohort.trials[2]
    motion = read(made, trial.motion)
    heights = motion.column("pelvis_ty")
    assert heights.max() - heights.min() > 0.2  # rose
    assert heights[0] == pytest.approx(heights[-1], abs=0.03)


def test_null_errors_by_hand() -> None:
    """Two people at 0 and 20 degrees, one swinging by 10 about them: the mean pose is 10 degrees."""
    swing = np.radians([[-10.0], [10.0]])
    trials = [
        Angles(TrialKey("a", "walk", "1"), ("knee_angle_r",), swing),
        Angles(TrialKey("b", "walk", "1"), ("knee_angle_r",), np.radians(20.0) + swing),
    ]
    assert null_errors(trials) == {"knee_angle_r": pytest.approx(math.sqrt(200.0), abs=1e-3)}
    moved = [
        Angles(TrialKey("a", "walk", "1"), ("pelvis_tx", "mtp_angle_r"), np.array([[0.0, 1.0], [0.2, 1.0]])),
    ]
    assert null_errors(moved) == {"pelvis_tx": 100.0}


def test_the_built_in_card_says_what_the_mean_pose_scores() -> None:
    card = builtin_card("clinic-mini")
    recipe = recipe_of(card)
    found = null_errors([row for who in plan(recipe) for row in angles_of(recipe, who)])
    assert found == pytest.approx(dict(card.reference.null_error), abs=2e-3)
    scored = ("pelvis_tilt", "hip_flexion_r", "knee_angle_r", "ankle_angle_l", "lumbar_extension")
    assert min(found[name] for name in scored) > 5  # a bad answer


def test_other_times_are_splines_within_and_still_beyond() -> None:
    time = np.linspace(0, 1, 11)
    motion = Motion(time, ("knee_angle_r",), (time**3)[:, None])
    found = at_times(motion, np.array([-0.5, 0.25, 0.75, 2.0]))
    np.testing.assert_allclose(found.values[:, 0], [0.0, 0.25**3, 0.75**3, 1.0], atol=1e-12)
    assert found.time.tolist() == [-0.5, 0.25, 0.75, 2.0]
    same = at_times(motion, np.array([0.5, 0.5]))
    assert same.time.tolist() == [0.0, 1.0] and np.ptp(same.values) == 0


def test_other_seeds_are_other_people(made, tmp_path) -> None:
    other = make(tiny_card(trials=[], people={"adult": 1}), tmp_path / "other", seed=6)
    assert other.cohort.subjects != made.cohort.subjects


def test_nothing_is_overwritten_unasked_nor_left_half_made(made, tmp_path, monkeypatch) -> None:
    target = tmp_path / "kept"
    card = tiny_card(trials=[], static=0.1)
    make(card, target)
    digest = hashlib.sha256((target / "trials.yaml").read_bytes()).hexdigest()
    with pytest.raises(CapbenchError, match="kept"):
        make(card, target)
    make(card, target, overwrite=True)  # replaced by the same, when asked
    assert hashlib.sha256((target / "trials.yaml").read_bytes()).hexdigest() == digest

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(clinic, "film", fails)
    for folder, overwrite in ((target, True), (tmp_path / "new", False)):
        with pytest.raises(KeyboardInterrupt):
            make(card, folder, overwrite=overwrite)
    assert hashlib.sha256((target / "trials.yaml").read_bytes()).hexdigest() == digest
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_blur_offsets_and_somebody_else_are_drawn(tmp_path) -> None:
    """The truth stays what it was; a second person hides nobody's own landmarks from the list."""
    busy = make(
        tiny_card(
            trials=[{"condition": "gait", "seconds": 0.6}],
            blur=True,
            others=1.0,
            offset=0.2,
            cameras=["Cam1", "Cam3"],
        ),
        tmp_path / "busy",
    )
    trial = busy.cohort.trials[1]
    late = [read(busy, trial.extras[f"keypoints:{c}"]).time[0] for c in ("Cam1", "Cam3")]
    assert late[0] != late[1] and max(map(abs, late)) <= 0.1
    plain = make(tiny_card(trials=[{"condition": "gait", "seconds": 0.6}]), tmp_path / "plain")
    for path in (trial.motion, trial.markers):
        assert busy.path(path).read_bytes() == plain.path(path).read_bytes()
