"""Each planted fault is found, named and placed, and nothing else is; a good cohort has no findings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import made_up_lab
import numpy as np
import pytest

from cohorts import Camera, Markers, Motion, Subject
from cohorts.check import Finding, check, worst
from cohorts.checks import sides
from cohorts.checks.videos import offset
from cohorts.formats import write
from cohorts.sources import read_folder
from cohorts.store import Imported, open_cohort, save

TRC, MOT = "s01/mocap/walk1.trc", "s01/ik/walk1.mot"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return made_up_lab.make_lab(tmp_path_factory.mktemp("good"))


@pytest.fixture
def lab(tmp_path, good) -> Path:
    """A copy of the good lab, to be spoilt."""
    import shutil

    return Path(shutil.copytree(good, tmp_path / "lab"))


def found(imported: Imported, **options: bool) -> list[Finding]:
    return check(imported, **options)


def add_trial(lab: Path) -> None:
    """A second trial, a millimetre aside."""
    markers, motion = made_up_lab.markers(), made_up_lab.motion()
    write(lab / TRC.replace("walk1", "walk2"), replace(markers, xyz=markers.xyz + 0.001))
    write(lab / MOT.replace("walk1", "walk2"), replace(motion, values=motion.values + 0.001))


def codes(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.severity, finding.code) for finding in findings}


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_nothing_is_wrong_with_a_good_lab(good) -> None:
    assert found(read_folder(good)) == []
    assert worst([]) is None


# --- people, card and files ---------------------------------------------------------------------


def test_a_subject_without_mass_is_told_with_card_line_and_fix(tmp_path, lab) -> None:
    description = lab / "capbench.yaml"
    description.write_text(description.read_text().replace("mass: 70.5, ", ""))
    stored = save(read_folder(lab), tmp_path / "c")
    finding = only(found(stored, decode=False))
    assert (finding.severity, finding.code, finding.place) == ("error", "no-mass", "s01")
    assert finding.file == str(tmp_path / "c" / "trials.yaml")
    assert (tmp_path / "c" / "trials.yaml").read_text().splitlines()[(finding.line or 0) - 1] == (
        "- pseudonym: s01"
    )
    assert finding.fix is not None and "mass:" in finding.fix


def test_people_and_card_must_agree(good) -> None:
    imported = read_folder(good)
    extra = replace(imported.cohort, subjects=(*imported.cohort.subjects, Subject("s02", 60, 1.6)))
    findings = found(replace(imported, cohort=extra), decode=False)
    assert codes(findings) == {("warning", "no-trials"), ("warning", "card")}
    assert any(f.message.startswith("Expected 1 subjects as the card says, got 2") for f in findings)


def test_splits_activities_and_cameras_of_the_card(good) -> None:
    imported = read_folder(good)
    card = imported.card
    from cohorts.card import Split, Splits

    card = card.model_copy(
        update={
            "splits": Splits(test=Split(subjects=("s09",))),
            "activities": {"running": "fast"},
            "cameras": card.cameras.model_copy(update={"names": ("camA",)}) if card.cameras else None,
        }
    )
    said = " ".join(f.message for f in found(replace(imported, card=card), decode=False))
    for part in ("got s09", "got trials of walking", "got none of running", "got videos of camB"):
        assert part in said


def test_missing_and_empty_files(lab) -> None:
    imported = read_folder(lab)
    (lab / MOT).unlink()
    (lab / TRC).write_bytes(b"")
    findings = found(imported, decode=False)
    assert [(f.code, f.place) for f in findings] == [
        ("missing-file", "s01/walk1, markers"),
        ("missing-file", "s01/walk1, motion"),
    ]


def test_a_link_out_of_the_root(tmp_path, lab) -> None:
    imported = read_folder(lab)
    (lab / TRC).rename(tmp_path / "out.trc")
    (lab / TRC).symlink_to(tmp_path / "out.trc")
    finding = only(found(imported, decode=False))
    assert finding.code == "outside-root" and str(tmp_path / "out.trc") in finding.message


def test_changed_files(tmp_path, lab) -> None:
    stored = save(read_folder(lab), tmp_path / "c")
    assert found(stored, decode=False) == []
    with (lab / TRC).open("a") as file:
        file.write("\n")
    finding = only(found(stored, decode=False))
    assert (finding.severity, finding.code, finding.file) == (
        "error", "changed-file", str(stored.path(TRC)),
    )  # fmt: skip
    assert found(stored, decode=False, hashes=False) == []


def test_the_same_bytes_for_two_trials_or_cameras(lab) -> None:
    for path in (TRC, MOT):
        (lab / path.replace("walk1", "walk2")).write_bytes((lab / path).read_bytes())
    video = lab / "s01" / "camA" / "walk1.avi"
    (lab / "s01" / "camB" / "walk1.avi").write_bytes(video.read_bytes())
    findings = [f for f in found(read_folder(lab), decode=False) if f.code == "duplicate-file"]
    said = {f.message for f in findings}
    assert said == {
        "Expected a markers of its own for each, got the same bytes for s01/walk1, s01/walk2.",
        "Expected a motion of its own for each, got the same bytes for s01/walk1, s01/walk2.",
        "Expected a video of its own for each, got the same bytes for s01/walk1 camA, s01/walk1 camB.",
    }
    assert all(f.severity == "error" for f in findings)


# --- videos -------------------------------------------------------------------------------------


def test_a_missing_camera(lab) -> None:
    add_trial(lab)
    made_up_lab.film(lab / "s01" / "camA" / "walk2.avi", made_up_lab.rig()[0], late=1)
    findings = found(read_folder(lab))
    finding = only([f for f in findings if f.code == "missing-camera"])
    assert (finding.severity, finding.place) == ("warning", "s01/walk2, camera camB")
    assert codes(findings) == {("warning", "missing-camera")}


def test_a_trial_without_videos_beside_trials_with_some(lab) -> None:
    add_trial(lab)
    finding = only(found(read_folder(lab), decode=False))
    assert (finding.code, finding.place) == ("no-video", "s01/walk2")


def test_a_video_that_is_not_one(lab) -> None:
    path = lab / "s01" / "camB" / "walk1.avi"
    path.write_text("#EXTM3U\nhttp://example.org/walk.ts\n")
    finding = only(found(read_folder(lab)))
    assert (finding.severity, finding.code, finding.file) == ("error", "not-a-video", str(path))
    assert finding.place == "s01/walk1, camera camB"


@pytest.mark.truth("the header's two frame counts are raised by 4 by hand")
def test_phantom_frames(lab) -> None:
    made_up_lab.add_phantoms(lab / "s01" / "camA" / "walk1.avi", 4)
    finding = only(found(read_folder(lab)))
    assert (finding.severity, finding.code) == ("warning", "phantom-frames")
    assert "camA 64 and 60" in finding.message


def test_different_frame_counts(lab) -> None:
    made_up_lab.film(lab / "s01" / "camB" / "walk1.avi", made_up_lab.rig()[1], frames=57)
    finding = only(found(read_folder(lab)))
    assert finding.code == "frame-counts" and "camA 60, camB 57 (3 apart)" in finding.message


@pytest.mark.parametrize(("late", "says"), [(5, "5 frames after"), (-4, "4 frames before")])
@pytest.mark.truth("camB's film is made so many frames late")
def test_a_constant_offset_between_cameras(lab, late, says) -> None:
    made_up_lab.film(lab / "s01" / "camB" / "walk1.avi", made_up_lab.rig()[1], late=late)
    finding = only(found(read_folder(lab)))
    assert (finding.severity, finding.code) == ("warning", "camera-offset")
    assert f"camera camB {says} camera camA" in finding.message


def test_an_offset_is_claimed_only_where_it_is_clear() -> None:
    rng = np.random.default_rng(0)
    noise, other = rng.normal(size=200), rng.normal(size=200)
    assert offset(noise, noise, most=30) == 0
    assert offset(noise[7:], noise[:-7], most=30) == 7
    assert offset(noise[:-7], noise[7:], most=30) == -7
    assert offset(noise, other, most=30) is None  # unlike signals
    slow = np.sin(np.arange(200) / 40)
    assert offset(slow[2:], slow[:-2], most=30) in (None, 0)  # 2 frames change nothing in it
    assert offset(np.zeros(200), np.zeros(200), most=30) is None
    assert offset(noise[:10], noise[:10], most=30) is None  # too short


def test_keypoints_tell_an_offset_where_there_are_any(lab) -> None:
    from cohorts import Keypoints, skeleton

    coco = skeleton("coco-17")
    description = lab / "capbench.yaml"
    text = description.read_text().replace(
        '    model: "{subject}/model.osim"\n',
        '    model: "{subject}/model.osim"\n'
        '    "keypoints:camA": "{subject}/camA/{trial}.npz"\n'
        '    "keypoints:camB": "{subject}/camB/{trial}.npz"\n',
    )
    description.write_text(text)
    rng = np.random.default_rng(1)
    height = np.cumsum(rng.normal(size=80))
    for name, late in (("camA", 0), ("camB", 6)):
        y = 60 + np.roll(height, late)[10:70]
        xy = np.stack(np.broadcast_arrays(30.0, y[:, None] + np.arange(17)), axis=-1)
        track = Keypoints(name, np.arange(60) / 50, xy, coco, frames=np.arange(60))
        write(lab / "s01" / name / "walk1.npz", (track,))
    finding = only(found(read_folder(lab)))
    assert finding.code == "camera-offset"
    assert "camera camB 6 frames after camera camA, by their keypoints" in finding.message


def test_pictures_of_another_size_than_calibrated(lab) -> None:
    turned = made_up_lab.camera("camA", (2.8, 1.2, 2.0), size=(128, 72))
    made_up_lab.film(lab / "s01" / "camA" / "walk1.avi", turned)
    findings = found(read_folder(lab))
    finding = only([f for f in findings if f.code == "picture-size"])
    assert finding.severity == "error"
    assert "72 x 128 as calibrated, got 128 x 72: width and height are swapped" in finding.message
    padded = made_up_lab.camera("camA", (2.8, 1.2, 2.0), size=(64, 128))
    made_up_lab.film(lab / "s01" / "camA" / "walk1.avi", padded)
    finding = only([f for f in found(read_folder(lab)) if f.code == "picture-size"])
    assert finding.severity == "warning" and "padding" in finding.message


# --- calibrations -------------------------------------------------------------------------------


def rewrite(lab: Path, change: Callable[[str], str]) -> None:
    file = lab / "s01" / "rig.toml"
    text = file.read_text()
    assert change(text) != text
    file.write_text(change(text))


def one(lab: Path, camera: Camera) -> Imported:
    """The lab with ``camera`` instead of its camB."""
    write(lab / "s01" / "rig.toml", (made_up_lab.rig()[0], camera), overwrite=True)
    return read_folder(lab)


def test_a_camera_that_is_not_calibrated(lab) -> None:
    write(lab / "s01" / "rig.toml", (made_up_lab.rig()[0],), overwrite=True)
    findings = found(read_folder(lab))
    finding = only([f for f in findings if f.severity == "error"])
    assert finding.code == "no-calibration" and "got none of camB" in finding.message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("matrix = [[90.0", "matrix = [[nan"), "finite"),
        (lambda text: text.replace("matrix = [[90.0", "matrix = [[0.0"), "fx, fy > 0"),
        (lambda text: text.replace("size = [72.0", "size = [72.5"), "whole pixels"),
        (lambda text: text[: len(text) // 2], "TOML"),
    ],
)
def test_degenerate_calibrations(lab, change, says) -> None:
    imported = read_folder(lab)
    rewrite(lab, change)
    errors = [f for f in found(imported, decode=False) if f.severity == "error"]
    assert errors and all(f.code == "calibration" for f in errors)
    assert any(says in f.message for f in errors)
    assert all(f.file == str(lab / "s01" / "rig.toml") for f in errors)


@pytest.mark.parametrize(
    ("rotation", "says"),
    [
        (np.diag([1.0, 1.0, -1.0]), "mirrored"),
        (np.zeros((3, 3)), "singular"),
        (np.full((3, 3), np.nan), "finite"),
    ],
)
def test_pickled_calibrations_that_are_none(tmp_path, lab, rotation, says) -> None:
    import pickle

    folder = lab / "s01" / "camA"
    camera = made_up_lab.rig()[0]
    content = {
        "intrinsicMat": camera.matrix,
        "distortion": np.zeros((1, 5)),
        "imageSize": np.array([[128.0], [72.0]]),
        "rotation": rotation,
        "translation": np.array([[0.0], [0.0], [3000.0]]),
    }
    (folder / "cam.pickle").write_bytes(pickle.dumps(content, protocol=3))
    description = lab / "capbench.yaml"
    text = description.read_text().replace('"{subject}/rig.toml"', '"{subject}/{camera}/cam.pickle"')
    description.write_text(text)
    errors = [f for f in found(read_folder(lab), decode=False) if f.code == "calibration"]
    assert says in only(errors).message


def test_an_unreadable_pickle_is_refused_without_running_it(tmp_path, lab) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "exploded").touch, ())

    (lab / "s01" / "camA" / "cam.pickle").write_bytes(pickle.dumps(Bomb()))
    (lab / "s01" / "camB" / "cam.pickle").write_bytes(b"\x80\x03 cut")
    description = lab / "capbench.yaml"
    text = description.read_text().replace('"{subject}/rig.toml"', '"{subject}/{camera}/cam.pickle"')
    description.write_text(text)
    errors = [f for f in found(read_folder(lab), decode=False) if f.code == "calibration"]
    assert {Path(f.file or "").parent.name for f in errors} == {"camA", "camB"}
    assert not (tmp_path / "exploded").exists()


def test_a_camera_below_the_floor(lab) -> None:
    finding = only(found(one(lab, made_up_lab.camera("camB", (2.6, -0.4, -2.2))), decode=False))
    assert (finding.severity, finding.code) == ("error", "camera-below-floor")
    assert "0.40 m below it" in finding.message and finding.place is not None and "camB" in finding.place


def test_a_calibration_that_maps_back_instead_of_to_the_camera(lab) -> None:
    right = made_up_lab.rig()[1]
    back = replace(right, rotation=right.rotation.T, translation=right.centre)
    findings = found(one(lab, back), decode=False)
    assert "camera-looks-away" in {f.code for f in findings}


def test_cameras_in_one_place_and_far_away(lab) -> None:
    first = made_up_lab.rig()[0]
    errors = [f for f in found(one(lab, replace(first, name="camB")), decode=False) if f.severity == "error"]
    assert "same place" in only(errors).message


def test_an_optical_axis_far_from_the_middle(lab) -> None:
    right = made_up_lab.rig()[1]
    off = replace(right, matrix=right.matrix + np.array([[0, 0, 20.0], [0, 0, 0], [0, 0, 0]]))
    finding = only(found(one(lab, off), decode=False))
    assert (finding.severity, finding.code) == ("warning", "calibration")
    assert "(56, 64) in 72 x 128" in finding.message
    outside = replace(right, matrix=right.matrix + np.array([[0, 0, 60.0], [0, 0, 0], [0, 0, 0]]))
    finding = only(found(one(lab, outside), decode=False))
    assert "outside the picture" in finding.message


# --- the reference ------------------------------------------------------------------------------


def with_markers(lab: Path, markers: Markers) -> list[Finding]:
    write(lab / TRC, markers, overwrite=True)
    return found(read_folder(lab), decode=False)


def with_motion(lab: Path, motion: Motion, *, decode: bool = False) -> list[Finding]:
    write(lab / MOT, motion, overwrite=True)
    return found(read_folder(lab), decode=decode)


def test_a_reference_of_another_time(lab) -> None:
    later = made_up_lab.motion()
    findings = with_motion(lab, replace(later, time=later.time + 30), decode=True)
    assert codes(findings) == {("error", "no-overlap")}
    video, markers = findings
    assert "joint angles from 30.00 to 31.19 s against a video from 0 to 1.18 s" in video.message
    assert video.file == str(lab / MOT)
    assert "30.00 to 31.19" in markers.message
    findings = with_motion(lab, replace(later, time=later.time + 0.9), decode=True)
    assert ("warning", "little-overlap") in codes(findings)


def test_a_reference_that_starts_late_is_a_note(lab) -> None:
    finding = only(with_motion(lab, made_up_lab.motion()[40:], decode=True))
    assert (finding.severity, finding.code) == ("note", "starts-late")


def test_millimetres_taken_for_metres(lab) -> None:
    good = made_up_lab.markers()
    finding = only(with_markers(lab, replace(good, xyz=good.xyz * 1000)))
    assert finding.severity == "error" and "millimetres" in finding.message
    assert finding.file == str(lab / TRC)


@pytest.mark.parametrize(
    ("factor", "says"), [(1000, "millimetres"), (100, "centimetres"), (0.01, "metres taken")]
)
def test_units_in_files_whose_readers_don_t_look(lab, factor, says) -> None:
    description = lab / "capbench.yaml"
    description.write_text(description.read_text().replace("{trial}.trc", "{trial}.npz"))
    good = made_up_lab.markers()
    (lab / TRC).unlink()
    write(lab / "s01/mocap/walk1.npz", replace(good, xyz=good.xyz * factor))
    units = [f for f in found(read_folder(lab), decode=False) if f.code == "unit"]
    assert only(units).severity == "error" and says in only(units).message


def test_units_of_joint_angles(lab) -> None:
    good = made_up_lab.motion()
    degrees = np.where([k == "rotation" for k in good.kinds], np.degrees(good.values), good.values)
    findings = [f for f in with_motion(lab, replace(good, values=degrees)) if f.code == "unit"]
    assert only(findings).severity == "error" and "degrees taken for radians" in only(findings).message
    small = np.where([k == "rotation" for k in good.kinds], np.radians(good.values), good.values)
    findings = [f for f in with_motion(lab, replace(good, values=small)) if f.code == "unit"]
    assert only(findings).severity == "warning" and "radians taken for degrees" in only(findings).message
    large = np.where([k == "translation" for k in good.kinds], good.values * 1000, good.values)
    findings = with_motion(lab, replace(good, values=large))
    assert {f.code for f in findings} == {"unit", "frames-differ"}


def test_markers_and_angles_in_different_frames(lab) -> None:
    good = made_up_lab.motion()
    aside = good.values + np.array([0, 0, 0, 1.5, 0])
    finding = only(with_motion(lab, replace(good, values=aside)))
    assert finding.code == "frames-differ" and "1.50 m away" in finding.message


def test_axes_with_z_up(lab) -> None:
    good = made_up_lab.markers()
    turned = good.xyz @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T  # y up becomes z up
    findings = with_markers(lab, replace(good, xyz=turned))
    axes = only([f for f in findings if f.code == "axes"])
    assert axes.severity == "error" and "along +z" in axes.message
    assert "swapped-sides" not in {f.code for f in findings}


def renamed(change: Callable[[str], str]) -> Markers:
    good = made_up_lab.markers()
    return replace(good, names=tuple(map(change, good.names)))


def other_side(name: str) -> str:
    return {"L": "R", "R": "L"}[name[0]] + name[1:] if name[0] in "LR" else name


def test_all_sides_swapped(lab) -> None:
    finding = only(with_markers(lab, renamed(other_side)))
    assert (finding.severity, finding.code) == ("error", "swapped-sides")
    assert "all of them on the other side" in finding.message


def test_mirrored_markers(lab) -> None:
    good = made_up_lab.markers()
    finding = only(with_markers(lab, replace(good, xyz=good.xyz * [1, 1, -1])))
    assert finding.code == "swapped-sides" and "mirrored" in finding.message


def test_one_pair_swapped(lab) -> None:
    findings = with_markers(lab, renamed(lambda n: other_side(n) if "knee" in n else n))
    assert "L_knee and R_knee swapped" in only(findings).message


@pytest.mark.parametrize("turn", [0.0, 1.0, 2.5, np.pi])
def test_people_may_face_anywhere(turn) -> None:
    good = made_up_lab.markers()
    c, s = np.cos(turn), np.sin(turn)
    turned = replace(good, xyz=good.xyz @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T)
    assert sides.swapped(turned) == ([], 7)
    swapped = replace(turned, names=tuple(map(other_side, turned.names)))
    assert len(sides.swapped(swapped)[0]) == 7


def test_missing_samples(lab) -> None:
    good = made_up_lab.markers()
    xyz = good.xyz.copy()
    xyz[:, 4] = np.nan  # never there
    xyz[: len(xyz) // 2, 5:12] = np.nan
    findings = with_markers(lab, Markers(good.time, good.names, xyz))
    assert codes(findings) == {("warning", "missing-samples")}
    never, share = findings
    assert "never got L_Shoulder" in never.message
    assert f"{100 * 7 * 60 / (14 * 120):.1f} % missing" in share.message


def test_references_that_are_something_else(lab) -> None:
    (lab / TRC).write_text("no marker file\n")
    (lab / MOT).write_text((lab / MOT).read_text().replace("Coordinates\n", "forces\n", 1))
    findings = found(read_folder(lab), decode=False)
    assert [f.code for f in findings] == ["unreadable", "unreadable"]
    assert "got a file of signals" in findings[1].message


# --- as a whole ---------------------------------------------------------------------------------


def test_findings_are_the_same_with_any_number_of_jobs_and_come_errors_first(tmp_path, lab) -> None:
    for path in (TRC, MOT):
        text = (lab / path).read_text()
        (lab / path.replace("walk1", "walk2")).write_text(text)
    (lab / "s01/camB/walk1.avi").write_text("none")
    stored = save(read_folder(lab), tmp_path / "c")
    once, again = check(stored), check(stored, jobs=3)
    assert once == again and worst(once) == "error"
    order = [("error", "warning", "note").index(f.severity) for f in once]
    assert order == sorted(order)
    assert check(open_cohort(tmp_path / "c")) == once


def test_notes_of_the_import_are_told(good) -> None:
    finding = only(found(replace(read_folder(good), notes=("the dog ate a sheet",)), decode=False))
    assert (finding.severity, finding.message) == ("note", "the dog ate a sheet")
