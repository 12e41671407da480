"""Pose2Sim projects: the real one, several trials, matching by name and by order."""

from pathlib import Path

import made_up_lab
import pytest

from cohorts import CapbenchError
from cohorts.check import check
from cohorts.formats import write
from cohorts.sources import read_folder, recognise
from cohorts.store import save


def test_a_real_project(tmp_path, shared_data) -> None:
    folder = shared_data / "pose2sim_single"
    assert recognise(folder) == ("pose2sim", "it holds calibration/ and videos/")
    imported = read_folder(folder, activity="walking", mass="70", height="1.8")
    (trial,) = imported.cohort.trials
    assert dict(trial.videos) == {f"cam0{k}": f"videos/cam0{k}.mp4" for k in (1, 2, 3, 4)}
    assert set(trial.calibrations) == set(trial.videos)
    assert (trial.markers, trial.motion, trial.activity) == (None, None, "walking")
    assert imported.card.reference.kind == "none"
    assert any("a converter wrote this file" in note for note in imported.notes)
    cameras = imported.cameras(trial)
    assert cameras["cam01"].centre == pytest.approx([1.4602, -1.9092, 1.8965], abs=1e-3)  # x y z of the file
    stored = save(imported, tmp_path / "c")
    found = [f for f in check(stored, decode=False) if f.severity != "note"]
    assert found == []


@pytest.mark.truth("the four videos were decoded with ffmpeg: 100 frames each, two of them 1080 pixels wide")
def test_the_real_projects_pictures_are_not_what_was_calibrated(shared_data) -> None:
    from dataclasses import replace

    imported = read_folder(shared_data / "pose2sim_single", mass="70", height="1.8")
    (trial,) = imported.cohort.trials
    pair = {name: trial.videos[name] for name in ("cam01", "cam03")}
    small = replace(trial, videos=pair, calibrations={n: trial.calibrations[n] for n in pair})
    imported = replace(imported, cohort=replace(imported.cohort, trials=(small,)))
    found = [(f.severity, f.code) for f in check(imported) if f.severity != "note"]
    assert found == [("warning", "picture-size")]


def project(folder: Path, names: tuple[str, ...], place: str = "") -> Path:
    root = folder / "study"
    (root / "calibration").mkdir(parents=True, exist_ok=True)
    if not (root / "calibration" / "Calib.toml").exists():
        write(root / "calibration" / "Calib.toml", made_up_lab.rig())
    (root / place / "videos").mkdir(parents=True)
    for name in names:
        (root / place / "videos" / f"{name}.mp4").write_bytes(b"x")
    return root


def test_videos_are_matched_by_order_where_no_name_is_shared(tmp_path) -> None:
    root = project(tmp_path, ("view10", "view9"))
    imported = read_folder(root)
    assert dict(imported.cohort.trials[0].videos) == {"camA": "videos/view9.mp4", "camB": "videos/view10.mp4"}
    assert any("camA = view9.mp4, camB = view10.mp4" in note for note in imported.notes)


def test_videos_are_not_matched_where_their_number_differs(tmp_path) -> None:
    imported = read_folder(project(tmp_path, ("one", "two", "three")))
    trial = imported.cohort.trials[0]
    assert set(trial.videos) == {"one", "two", "three"} and not trial.calibrations
    assert any("were not matched" in note for note in imported.notes)


def test_several_people_and_trials_with_results(tmp_path) -> None:
    for place in ("anna/walk_1", "anna/walk_2", "ben/squat"):
        root = project(tmp_path, ("camA", "camB"), place)
    (root / "anna" / "Config.toml").write_text("[project]\nparticipant_height = 1.7\nparticipant_mass = 60\n")
    (root / "Config.toml").write_text("[project]\nparticipant_height = 'auto'\nparticipant_mass = [70, 80]\n")
    result = root / "ben" / "squat" / "pose-3d"
    result.mkdir()
    for name in ("squat.trc", "squat_filt_butterworth.trc"):
        (result / name).write_text("")
    imported = read_folder(root)
    trials = {trial.key: trial for trial in imported.cohort.trials}
    assert list(trials) == ["anna/walk_1", "anna/walk_2", "ben/squat"]
    assert {trial.activity for trial in trials.values()} == {"walk", "squat"}
    assert dict(trials["ben/squat"].extras) == {
        "markers:pose2sim": "ben/squat/pose-3d/squat_filt_butterworth.trc"
    }
    anna, ben = imported.cohort.subjects
    assert (anna.mass, anna.height, ben.mass, ben.height) == (60, 1.7, None, None)
    assert any(note.startswith("ben: no mass and no height") for note in imported.notes)


def test_a_project_without_videos(tmp_path) -> None:
    root = project(tmp_path, ())
    with pytest.raises(CapbenchError, match="videos in videos/, got none"):
        read_folder(root, source="pose2sim")
