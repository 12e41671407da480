"""Any lab's folder: patterns, people, what is missing; and the real subject 4 of LabValidation."""

from pathlib import Path

import made_up_lab
import pytest

from cohorts import CapbenchError
from cohorts.check import check
from cohorts.formats import write
from cohorts.sources import find_source, options_of, read_folder, recognise, sources
from cohorts.sources.folder import compile_pattern
from cohorts.store import open_cohort, save

SUBJECT4 = """\
name: labvalidation-subject4
title: Subject 4 of LabValidation, markers and two solutions
subjects:
  subject4: {mass: 62.6}
layout:
  markers: "markers/{trial}.trc"
  motion: "reference_ik/{trial}.mot"
  extras:
    model: "model/manually_scaled.osim"
    forces: "forces/{trial}_grf.mot"
    "motion:addbiomechanics": "addbiomechanics_ik/{trial}.mot"
activities: {walking: "walking*"}
"""


@pytest.fixture
def lab(tmp_path) -> Path:
    return made_up_lab.make_lab(tmp_path, videos=False)


def described(lab: Path, good: str, bad: str) -> Path:
    file = lab / "capbench.yaml"
    text = file.read_text()
    assert good in text
    file.write_text(text.replace(good, bad, 1))
    return file


def test_a_real_folder_of_markers_and_two_solutions(tmp_path, shared_data) -> None:
    layout = tmp_path / "subject4.yaml"
    layout.write_text(SUBJECT4)
    folder = shared_data / "labvalidation_subject4"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    imported = read_folder(folder, source="folder", layout=layout)
    trials = {trial.name: trial for trial in imported.cohort.trials}
    assert set(trials) == {"static1", "walking1", "walking2", "squats1", "DJ1"}
    assert trials["static1"].motion is None and trials["static1"].markers == "markers/static1.trc"
    walking = trials["walking1"]
    assert (walking.activity, walking.motion) == ("walking", "reference_ik/walking1.mot")
    assert dict(walking.extras) == {
        "model": "model/manually_scaled.osim",
        "forces": "forces/walking1_grf.mot",
        "motion:addbiomechanics": "addbiomechanics_ik/walking1.mot",
    }
    stored = save(imported, tmp_path / "c")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before  # nothing written there
    # real data: nothing is wrong but that nobody wrote down how tall the subject is
    assert [(f.severity, f.code) for f in check(stored)] == [("warning", "no-height")]


def test_what_a_pattern_finds() -> None:
    pattern = compile_pattern("{subject}/{session}/{camera}/{trial}_synced.*")
    found = pattern.fullmatch("s1/Session0/Cam1/walk_fast_synced.mp4")
    assert found is not None
    assert found.groupdict() == {
        "subject": "s1", "session": "Session0", "camera": "Cam1", "trial": "walk_fast",
    }  # fmt: skip
    assert pattern.fullmatch("s1/Session0/Cam1/extra/walk_synced.mp4") is None
    assert compile_pattern("{trial}/{trial}.avi").fullmatch("walk/run.avi") is None  # the same text twice
    assert compile_pattern("a+b/{trial}.c3d").fullmatch("aab/w.c3d") is None  # no regular expression


def test_sessions_cameras_and_one_calibration_for_several(tmp_path) -> None:
    lab = tmp_path / "lab"
    for session in ("day1", "day2"):
        (lab / "s01" / session).mkdir(parents=True)
        write(lab / "s01" / session / "rig.toml", made_up_lab.rig())
        for camera in made_up_lab.rig():
            place = lab / "s01" / session / camera.name
            place.mkdir()
            (place / "walk1.mp4").write_bytes(b"x")
    (lab / "s01" / "mocap").mkdir()
    write(lab / "s01" / "mocap" / "walk1.trc", made_up_lab.markers())
    (lab / "capbench.yaml").write_text(
        "name: days\nsubjects: {s01: {mass: 60}}\nlayout:\n"
        "  videos: '{subject}/{session}/{camera}/{trial}.mp4'\n"
        "  calibrations: '{subject}/{session}/rig.toml'\n"
        "  markers: '{subject}/mocap/{trial}.trc'\n"
    )
    trials = read_folder(lab).cohort.trials
    assert [trial.key for trial in trials] == ["s01/day1/walk1", "s01/day2/walk1"]
    assert dict(trials[1].videos) == {
        "camA": "s01/day2/camA/walk1.mp4", "camB": "s01/day2/camB/walk1.mp4",
    }  # fmt: skip
    assert set(trials[1].calibrations.values()) == {"s01/day2/rig.toml"}
    assert {trial.markers for trial in trials} == {"s01/mocap/walk1.trc"}


def test_without_a_layout_the_plain_one_is_taken(tmp_path) -> None:
    person = tmp_path / "lab" / "p7"
    for part in ("markers", "motion", "calibration", "videos/camA"):
        (person / part).mkdir(parents=True)
    write(person / "markers" / "squat_2.trc", made_up_lab.markers())
    write(person / "motion" / "squat_2.mot", made_up_lab.motion())
    write(person / "calibration" / "camA.toml", (made_up_lab.rig()[0],))
    (person / "videos" / "camA" / "squat_2.mp4").write_bytes(b"x")
    (tmp_path / "lab" / "capbench.yaml").write_text("name: plain\nsubjects: {p7: {mass: 60, height: 1.6}}\n")
    imported = read_folder(tmp_path / "lab")
    trial = imported.cohort.trials[0]
    assert (trial.name, trial.activity, trial.subject) == ("squat_2", "squat", "p7")
    assert trial.markers and trial.motion and trial.videos and trial.calibrations
    assert imported.notes == ()


@pytest.mark.parametrize(
    ("good", "bad", "line_holds", "says"),
    [
        ("subjects:", "subject:", "subject:", "Did you mean 'subjects'?"),
        ("mass: 70.5", "mass: 70500", "s01:", "grams"),
        ("mass: 70.5", "weight: 70.5", "s01:", "got 'weight'"),
        (
            '"{subject}/mocap/{trial}.trc"',
            '"{subject}/mocap/walk1.trc"',
            "markers:",
            "{trial} in the pattern",
        ),
        ('"{subject}/{camera}/{trial}.avi"', '"{subject}/{trial}.avi"', "videos:", "{camera} in the pattern"),
        ("{trial}.trc", "{trail}{trial}.trc", "markers:", "got {trail}"),
        ("  s01: {", "  s02: {", "subjects:", "found files of s01"),
    ],
)
def test_descriptions_that_are_wrong(lab, good, bad, line_holds, says) -> None:
    file = described(lab, good, bad)
    with pytest.raises(CapbenchError) as caught:
        read_folder(lab)
    assert caught.value.file == str(file) and says in caught.value.problem
    assert caught.value.line is not None
    assert line_holds in file.read_text().splitlines()[caught.value.line - 1]


def test_a_pattern_without_a_subject_needs_a_single_one(lab) -> None:
    described(lab, "  s01: {", "  s02: {mass: 60}\n  s01: {")
    described(lab, '"{subject}/mocap/{trial}.trc"', '"s01/mocap/{trial}.trc"')
    with pytest.raises(CapbenchError, match="or one subject, got 2"):
        read_folder(lab)


def test_what_was_not_found_and_what_was_found_twice(lab) -> None:
    write(lab / "s01" / "mocap" / "walk1.c3d.trc", made_up_lab.markers())
    described(
        lab,
        '"{subject}/mocap/{trial}.trc"',
        '["{subject}/mocap/{trial}.trc", "{subject}/mocap/{trial}.*.trc"]',
    )
    described(lab, "{subject}/ik/", "{subject}/inverse/")
    notes = " ".join(read_folder(lab).notes)
    assert "no file fits motion: {subject}/inverse/{trial}.mot" in notes
    assert "no file fits videos" in notes


def test_trials_can_be_left_out_and_none_left_is_told(lab) -> None:
    described(lab, "activities:", "leave_out: walk*\nactivities:")
    with pytest.raises(CapbenchError, match="at least one trial, got none"):
        read_folder(lab)


def test_junk_and_hidden_files_are_passed_over(lab) -> None:
    for name in ("._walk1.trc", ".hidden.trc"):
        (lab / "s01" / "mocap" / name).write_text("")
    (lab / "s01" / "mocap" / "walk\x1b[2J.trc").write_text("")
    imported = read_folder(lab)
    assert [trial.name for trial in imported.cohort.trials] == ["walk1"]
    assert any("unprintable" in note for note in imported.notes)


def test_card_fields_are_taken_over(tmp_path, lab) -> None:
    described(
        lab,
        "activities:",
        "consent: written, for research\nsynchronised: true\n"
        "splits: {development: {subjects: [s01]}}\n"
        "licence: {name: CC-BY-4.0, obtain: ask us}\nactivities:",
    )
    card = save(read_folder(lab), tmp_path / "c").card
    assert (card.consent, card.licence.name) == ("written, for research", "CC-BY-4.0")
    assert card.splits.test is None and card.splits.development is not None
    assert open_cohort(tmp_path / "c").card == card


# --- the registry -------------------------------------------------------------------------------


def test_every_source_has_what_the_registry_asks_for() -> None:
    found = sources()
    assert {"folder", "pose2sim", "opencap-app", "addbiomechanics", "annotations"} <= set(found)
    for name, module in found.items():
        assert name == module.NAME and module.TITLE and module.__doc__
        assert callable(module.recognise) and callable(module.read)
        assert set(options_of(module).values()) <= {str, float, Path}


def test_a_folder_nobody_knows(tmp_path) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(CapbenchError, match="layouts that are known") as caught:
        read_folder(tmp_path)
    assert caught.value.fix is not None and "capbench.yaml" in caught.value.fix
    with pytest.raises(CapbenchError, match="Expected a folder, got a file"):
        recognise(tmp_path / "holiday.txt")
    with pytest.raises(CapbenchError, match="Did you mean 'pose2sim'"):
        find_source("pose2sin")


def test_options_are_checked(lab) -> None:
    with pytest.raises(CapbenchError, match=r"option of the source folder.*Did you mean 'layout'"):
        read_folder(lab, layuot="x")
    with pytest.raises(CapbenchError, match="Expected mass to be a number, got 'heavy'"):
        read_folder(lab, source="pose2sim", mass="heavy")
