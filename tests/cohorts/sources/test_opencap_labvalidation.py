"""The LabValidation importer on a made-up copy of the archive with every trap in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labvalidation_tree import (
    FILMED,
    LATE,
    PUBLISHED_OFF,
    SHIPPED_OFF,
    TRAPS,
    TRIALS,
    Tree,
    make_tree,
    to_checkerboard,
)

from cohorts import CapbenchError, Motion
from cohorts.check import check
from cohorts.formats import storage
from cohorts.sources import opencap_labvalidation, read_folder, recognise
from cohorts.sources.labvalidation_layout import find_archive, published_trials
from cohorts.sources.labvalidation_traps import content_traps, layout_traps
from cohorts.sources.opencap_labvalidation import shipped_results
from cohorts.store import Imported, open_cohort, save


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_tree(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def cohort(tree: Tree) -> Imported:
    return read_folder(tree.root)


def names(imported: Imported, subject: str) -> set[str]:
    return {trial.name for trial in imported.cohort.trials if trial.subject == subject}


@pytest.mark.parametrize("up", [0, 1, 2])
def test_it_is_recognised_wherever_it_was_unpacked_to(tree, tmp_path, up) -> None:
    folder = tree.root
    if up == 2:  # a folder with the same name inside, as Windows unpacks
        folder = tmp_path / "Downloads"
        (folder / "outer").mkdir(parents=True)
        (folder / "outer" / tree.root.name).symlink_to(tree.root)
    elif up == 1:
        folder = tree.root.parent
    name, reason = recognise(folder)
    assert name == "opencap-labvalidation" and tree.root.name in reason


def test_other_folders_are_not(tree, tmp_path, shared_data) -> None:
    for folder in (tmp_path, shared_data, tree.root / "subject2" / "VideoData"):
        assert opencap_labvalidation.recognise(folder) is None
    with pytest.raises(CapbenchError, match="subject2, subject3"):
        read_folder(tmp_path, source="opencap-labvalidation")


def test_trials_are_found_and_not_assumed(tree, cohort) -> None:
    for subject, trials in TRIALS.items():
        assert names(cohort, subject) == set(trials) - {"walkingTI1"}
    assert {s.pseudonym for s in cohort.cohort.subjects} == set(TRIALS)  # and no pilot
    person = cohort.cohort.subject("subject4")
    assert (person.mass, person.height, person.sex) == (62.6, 1.7, "female")
    for trial in cohort.cohort.trials:
        assert trial.session == ("Session1" if trial.name.startswith("walking") else "Session0")
        assert trial.activity == trial.name.rstrip("0123456789")
        for path in (trial.markers, trial.motion, *trial.videos.values(), *trial.extras.values()):
            assert path is None or cohort.path(path).is_file()
        assert (trial.motion is None) == (trial.activity == "static")
        filmed = trial.name in FILMED.get(trial.subject, ())
        assert bool(trial.videos) == filmed
    jump = next(t for t in cohort.cohort.trials if t.name == "DJ1")
    assert sorted(jump.videos) == ["Cam0", "Cam1", "Cam2", "Cam3"]  # Cam4's was never cut
    assert all(path.endswith("DJ1_syncdWithMocap.avi") for path in jump.videos.values())
    assert set(jump.extras) == {"model", "static", "forces", "emg"}
    assert jump.extras["static"].endswith("static1.trc")


def test_the_card_is_the_data_sets_own_of_what_is_there(cohort) -> None:
    card = cohort.card
    assert card.name == "opencap-labvalidation" and card.licence.name == "Apache-2.0"
    assert (card.subjects.count, card.subjects.female, card.subjects.male) == (3, 2, 1)
    assert set(card.activities) == {"walking", "walkingTS", "squats", "DJ", "DJAsym", "STS", "static"}
    assert card.cameras is not None and not card.cameras.synchronised


def test_choices(tree) -> None:
    raw = read_folder(tree.root, videos="raw")
    jump = next(t for t in raw.cohort.trials if t.name == "DJ1")
    assert sorted(jump.videos) == ["Cam0", "Cam1", "Cam2", "Cam3", "Cam4"]
    assert all(path.endswith("/DJ1.avi") for path in jump.videos.values())
    none = read_folder(tree.root, videos="none")
    assert not any(trial.videos for trial in none.cohort.trials) and none.card.cameras is None
    published = read_folder(tree.root, trials="published")
    # subject2 has walkingTS4 in the authors' list, subject4 no DJAsym4 but DJAsym2, walking1 and walking4
    assert names(published, "subject2") == {"static1", "squats1", "DJ1", "walking1", "walkingTS4"}
    assert "walkingTI1" in names(read_folder(tree.root, others="yes"), "subject6")
    two = read_folder(tree.root, subjects="subject4, subject2")
    assert [s.pseudonym for s in two.cohort.subjects] == ["subject2", "subject4"]
    for options, said in (
        ({"videos": "sync"}, "Did you mean 'synced'"),
        ({"trials": "publish"}, "Did you mean 'published'"),
        ({"subjects": "subject22"}, "Did you mean 'subject2'"),
    ):
        with pytest.raises(CapbenchError, match=said):
            read_folder(tree.root, **options)


@pytest.mark.truth("the authors' list: 16 trials of each of ten subjects, numbers as in their scripts")
def test_the_published_list_has_160_trials() -> None:
    listed = {f"subject{n}": published_trials(f"subject{n}") for n in range(2, 12)}
    assert sum(map(len, listed.values())) == 160
    assert {"walkingTS4", "DJAsym5"} <= set(listed["subject2"]) and "walkingTS3" not in listed["subject2"]
    assert {"walking1", "walking2", "walking4"} <= set(listed["subject4"])
    assert {"DJ1", "DJ4", "DJ5", "walking4", "DJAsym3"} <= set(listed["subject11"])
    assert set(listed["subject7"]) >= {"DJ2", "DJ3", "DJ4"} and "DJ1" not in listed["subject7"]


def test_cameras_are_where_the_pictures_were_taken_from(tree, cohort) -> None:
    """Markers carried into the checkerboard's world and through the pickled calibrations fall on the dots."""
    trial = next(t for t in cohort.cohort.trials if t.name == "squats1" and t.videos)
    turn, shift = to_checkerboard()
    markers = tree.markers["subject2", "squats1"]
    for name, camera in cohort.cameras(trial).items():
        assert camera.size == (90, 160)  # [height; width] in the pickle
        seen = tree.keypoints["subject2", "squats1", name]
        # video frame k shows the moment (k - late) / 60 s, which every third is one of the 100 Hz markers'
        frame, sample = 30 + LATE[name], 50
        there = camera.project(markers.xyz[sample] @ turn.T + shift)
        np.testing.assert_allclose(there, seen[frame], atol=1e-6)


def test_open_caps_own_results_are_scored_without_videos(tree, tmp_path) -> None:
    bare = make_tree(tmp_path, videos=False, name="LabValidation_withoutVideos")
    cohort = read_folder(bare.root)
    assert not any(trial.videos or trial.calibrations for trial in cohort.cohort.trials)
    found = {result.name: result for result in shipped_results(cohort.cohort)}
    assert set(found) == {"opencap-hrnet-2-cameras", "opencap-openpose-highaccuracy-5-cameras"}
    hrnet = found["opencap-hrnet-2-cameras"]
    assert (hrnet.detector, hrnet.cameras) == ("HRNet", 2)
    assert set(hrnet.motions) == {"subject2/Session0/squats1", "subject2/Session1/walking1"}
    assert len(hrnet.missing) == 7 and "subject4/Session1/walking1" in hrnet.missing  # charged, not dropped
    for key, path in hrnet.motions.items():
        subject, _, name = key.split("/")
        motion = storage.read(cohort.path(path))
        assert isinstance(motion, Motion)
        truth = tree.motions[subject, name]
        for coordinate, off in SHIPPED_OFF["HRNet"].items():
            there = np.interp(motion.time, truth.time, truth.column(coordinate))
            gap = np.degrees(motion.column(coordinate) - there)
            np.testing.assert_allclose(gap, off, atol=1e-6)


def test_published_angles_are_the_reference(tree, cohort) -> None:
    for trial in cohort.cohort.trials:
        if trial.motion is None:
            continue
        motion = storage.read(cohort.path(trial.motion))
        assert isinstance(motion, Motion)
        truth = tree.motions[trial.subject, trial.name]
        at = np.searchsorted(truth.time, motion.time - 1e-6)
        for coordinate in ("hip_flexion_r", "knee_angle_r"):
            gap = np.degrees(motion.column(coordinate) - truth.column(coordinate)[at])
            np.testing.assert_allclose(gap, PUBLISHED_OFF.get(coordinate, 0.0), atol=1e-6)
        # in radians in the file although its header says degrees
        np.testing.assert_allclose(
            motion.column("knee_angle_r_beta"), motion.column("knee_angle_r"), atol=1e-7
        )


def test_it_is_stored_and_opened_and_nothing_is_copied(cohort, tree, tmp_path) -> None:
    save(cohort, tmp_path / "stored", hashes="none")
    again = open_cohort(tmp_path / "stored")
    assert again.cohort == cohort.cohort and again.notes == cohort.notes
    assert again.root == tree.root.absolute()
    assert sorted(p.name for p in (tmp_path / "stored").iterdir()) == ["cohort.yaml", "trials.yaml"]
    assert shipped_results(again.cohort) == shipped_results(cohort.cohort)


# --- traps ----------------------------------------------------------------------------------------

#: trap -> the code it is found under and words that its sentence must have
FOUND_AS = {
    "junk": ("import", "files that Windows or macOS left"),
    "pilot": ("import", "subject1 was a pilot"),
    "unknown-trials": ("import", "ground_gaits1"),
    "extra-trials": ("import", "unless others=yes: subject6/walkingTI1"),
    "trial-numbers": ("trial-numbers", "subject2 walkingTS 4, subject4 walking 1,4, subject4 DJAsym 2"),
    "published-trials": ("published-trials", "subject2 lacks squatsAsym1"),
    "no-videos": ("no-videos", "subject6 has no videos"),
    "unfilmed-trials": ("no-video", "Expected videos of Cam0"),
    "no-synced-video": ("no-synced-video", "subject2/Session0/DJ1: Cam4 has only a raw film"),
    "missing-camera": ("missing-camera", "subject4/Session1 lacks Cam0"),
    "missing-calibration": ("no-calibration", "got none of Cam4"),
    "static-session": ("static-session", "Session1 has no static trial"),
    "phantom-frames": ("phantom-frames", "Cam0 87 and 83"),
    "frame-counts": ("frame-counts", "Cam1 59, Cam2 56"),
    "camera-offsets": ("camera-offset", "got camera Cam3 4 frames before camera Cam0"),
    "degenerate-transform": (
        "degenerate-transform",
        "subject2/Session1 (determinant 0), subject4/Session1 (determinant 0)",
    ),
    "late-reference": (
        "late-reference",
        "subject2/DJ1 0.5-1.1 of 0-1.39 s, subject4/DJAsym2 0.5-1.1 of 0-1.39 s",
    ),
    "old-force-header": ("old-force-header", "SIMM's old header"),
}


def test_every_trap_is_found_and_named(cohort) -> None:
    assert set(FOUND_AS) == set(TRAPS)
    found = check(cohort)
    for trap, (code, words) in FOUND_AS.items():
        assert any(words in finding.message for finding in found if finding.code == code), trap
    # and nothing that was not planted: whatever is graver than a note is one of them
    assert {f.code for f in found if f.severity != "note"} <= {code for code, _ in FOUND_AS.values()}
    # the phones are late by what was planted, in the trials that show it
    assert (LATE["Cam3"] - LATE["Cam0"], LATE["Cam1"] - LATE["Cam0"]) == (-4, 2)
    offsets = {
        (f.place, f.message.split("got camera ")[1].split(",")[0]) for f in found if "offset" in f.code
    }
    assert offsets == {
        (f"subject2/Session0/{trial}, camera {camera}", f"{camera} {said} camera Cam0")
        for trial in ("DJ1", "squats1")
        for camera, said in (("Cam1", "2 frames after"), ("Cam3", "4 frames before"))
    }


def test_nothing_is_said_twice(cohort) -> None:
    own = opencap_labvalidation.check(cohort)
    assert len({finding.message for finding in own}) == len(own)
    assert not {finding.message.rstrip(".") for finding in own} & set(cohort.notes)
    archive = find_archive(cohort.root)
    junk = {path.relative_to(archive.root).as_posix() for path in archive.junk}
    assert junk == {path.relative_to(archive.root).as_posix() for path in archive.root.rglob("desktop.ini")}


def test_a_copy_without_the_archives_layout_is_no_fault(cohort, tmp_path) -> None:
    assert opencap_labvalidation.check(replace(cohort, root=tmp_path)) == []
    assert opencap_labvalidation.check(replace(cohort, root=None)) == []


# --- archives that are worse than that ------------------------------------------------------------


@pytest.fixture
def spoilt(tree: Tree, tmp_path: Path) -> Path:
    shutil.copytree(tree.root, tmp_path / "copy", ignore=shutil.ignore_patterns("*.avi"))
    return tmp_path / "copy"


def test_a_subject_without_mass_is_refused(spoilt) -> None:
    file = spoilt / "subject4" / "sessionMetadata.yaml"
    text = file.read_text()
    for change, said in (
        ("", "Expected the subject's mass, got None"),
        ("mass_kg: heavy\n", "got 'heavy'"),
        ("mass_kg: 62600\n", "is it in grams"),
    ):
        file.write_text(text.replace("mass_kg: 62.6\n", change))
        with pytest.raises(CapbenchError, match=said) as caught:
            read_folder(spoilt)
        assert caught.value.file == str(file)
    file.unlink()
    with pytest.raises(CapbenchError, match="sessionMetadata"):
        read_folder(spoilt)
    assert len(read_folder(spoilt, subjects="subject2,subject6").cohort.subjects) == 2


def delete_model(root: Path) -> None:
    shutil.rmtree(root / "subject2" / "OpenSimData" / "Mocap" / "Model")


def delete_static(root: Path) -> None:
    (root / "subject2" / "MarkerData" / "Mocap" / "static1.trc").unlink()


@pytest.mark.parametrize(
    ("spoil", "kind"), [(delete_model, "no-model"), (delete_static, "no-static")], ids=["model", "static"]
)
def test_what_else_may_be_missing_is_told(spoilt, spoil: Callable[[Path], None], kind) -> None:
    spoil(spoilt)
    archive = find_archive(spoilt)
    traps = [trap for trap in layout_traps(archive, archive.subjects) if trap.code == kind]
    assert [trap.place for trap in traps] == ["subject2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("R_fromMocap_toVideo: [[1, 0, 0], [0, 1, 0]]\n", "three rows of three"),
        ("R_fromMocap_toVideo: [[1, 0, 0], [0, 1, 0], [0, 0, -1]]\n", "determinant -1"),
        ("R_fromMocap_toVideo: [[2, 0, 0], [0, 2, 0], [0, 0, 2]]\n", "determinant 8"),
        ("- &a [*a]\n", "alias"),
    ],
)
def test_transforms_that_are_none(spoilt, text, said) -> None:
    (spoilt / "subject2" / "VideoData" / "Session0" / "mocapToVideoTransform.yaml").write_text(text)
    (trap,) = [t for t in content_traps(find_archive(spoilt).subjects) if t.code == "degenerate-transform"]
    assert trap.message.startswith("3 ") and said in trap.message
