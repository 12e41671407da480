"""``capbench info`` on every kind of file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import samples
from click.testing import CliRunner

from capbench.cli.main import cli
from capbench.cli.summary import FEW, summarise
from cohorts import Camera, Keypoints, Markers, Motion, skeleton
from cohorts.formats import write


def run(*words: object):
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["info", *map(str, words)])


def told(*words: object) -> dict:
    result = run("--json", *words)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    samples.make_all(folder)
    return folder


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, file, _ in samples.MAKERS])
def test_every_sample_is_told_in_words_and_as_json(made, name, file) -> None:
    result = run(made / file)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(str(made / file))
    found = told(made / file)
    assert found["format"] == name
    assert isinstance(found["notes"], list)
    assert "array(" not in result.stdout and "Traceback" not in result.stdout


def test_output_is_the_same_each_time(made) -> None:
    files = [made / file for _, file, _ in samples.MAKERS]
    assert run(*files).stdout == run(*files).stdout


def test_markers(tmp_path) -> None:
    time = np.arange(5) / 100
    xyz = np.zeros((5, 2, 3))
    xyz[:, 0], xyz[:, 1] = (1.0, 0.1, -0.5), (2.0, 1.8, 0.5)
    xyz[:2, 1] = np.nan
    xyz[1, 0] = np.nan  # a frame without any marker
    write(tmp_path / "m.trc", Markers(time, ("low", "high"), xyz), units="mm")
    found = told(tmp_path / "m.trc")
    assert (found["frames"], found["markers"]) == (5, ["low", "high"])
    assert found["rate_hz"] == pytest.approx(100)
    assert found["duration_s"] == pytest.approx(0.04)
    assert found["missing_share"] == pytest.approx(3 / 10)
    assert found["missing_by_name"] == {"high": 2, "low": 1}
    assert found["extent_m"]["y"] == pytest.approx([0.1, 1.8])
    # spans along y by frame: 0, none, 1.7, 1.7, 1.7
    assert found["height_m"] == pytest.approx(1.7)
    assert found["units_in_file"] == "mm"
    text = run(tmp_path / "m.trc").stdout
    assert "30.0 % of the points; high 40.0 %, low 20.0 %" in text
    assert "5 at 100 Hz, 0.040 s (0.000 to 0.040 s)" in text
    assert "mm in the file" in text


def test_gaps_in_time_are_told(tmp_path) -> None:
    time = np.array([0.0, 0.01, 0.02, 0.05, 0.06])
    write(tmp_path / "m.trc", Markers(time, ("a",), np.ones((5, 1, 3))))
    assert told(tmp_path / "m.trc")["gaps"] == 1
    assert "the longest 0.030 s after 0.020 s" in run(tmp_path / "m.trc").stdout


def motion() -> Motion:
    time = np.arange(3) / 10
    names = ("pelvis_tx", *(f"angle_{i}" for i in range(12)))
    values = np.zeros((3, 13))
    values[:, 0] = [0, 0.5, 1.5]
    values[:, 3] = np.radians([-10, 0, 50])
    return Motion(time, names, values)


def test_motions_are_in_degrees_and_millimetres(tmp_path) -> None:
    write(tmp_path / "m.mot", motion())
    rows = {row["name"]: row for row in told(tmp_path / "m.mot")["coordinates"]}
    assert (rows["pelvis_tx"]["unit"], rows["angle_2"]["unit"]) == ("mm", "deg")
    assert [rows["pelvis_tx"][k] for k in ("min", "max")] == pytest.approx([0, 1500])
    assert [rows["angle_2"][k] for k in ("min", "max")] == pytest.approx([-10, 50])
    lines = run(tmp_path / "m.mot").stdout.splitlines()
    top = [line.split() for line in lines if line.startswith(("  pelvis_tx ", "  angle_2 "))]
    assert top == [
        ["pelvis_tx", "0.0", "1500.0", "1500.0", "mm"],
        ["angle_2", "-10.0", "50.0", "60.0", "deg"],
    ]
    assert f"… and {13 - FEW} more (--all shows them)" in lines[-1]
    every = run("--all", tmp_path / "m.mot").stdout
    assert "more (--all" not in every and "  angle_11 " in every


def test_units_in_the_file_of_motions_only(made) -> None:
    assert told(made / "walk.mot")["units_in_file"] == "degrees"
    assert told(made / "forces.sto")["units_in_file"] == ""


def test_cameras(tmp_path) -> None:
    half_turn = np.diag([1.0, -1.0, -1.0])  # looks along -z
    camera = Camera(
        "a", np.array([[900.0, 0, 320], [0, 910, 240], [0, 0, 1]]), half_turn, [0.5, 1, 4], (640, 480)
    )
    write(tmp_path / "c.toml", (camera,))
    (found,) = told(tmp_path / "c.toml")["cameras"]
    assert found["size_px"] == [640, 480] and found["focal_px"] == [900, 910]
    # centre = -R' t by hand
    assert found["centre_m"] == pytest.approx([-0.5, 1, 4])
    assert "640 x 480" in run(tmp_path / "c.toml").stdout


def test_keypoints() -> None:
    xy = np.ones((4, 17, 2))
    xy[0, :17] = np.nan
    confidence = np.where(np.isnan(xy).any(-1), 0, 0.25)
    track = Keypoints("c", np.arange(4) / 2, xy, skeleton("coco-17"), confidence, "7")
    found = summarise((track,)).data
    assert found["people"][0]["missing_share"] == 0.25
    assert found["people"][0]["confidence_median"] == 0.25
    assert found["people"][0]["rate_hz"] == 2


def test_frames_that_are_only_counted_get_no_seconds(made) -> None:
    (person,) = told(made / "results.json")["people"]
    assert person["frames"] == 6 and "duration_s" not in person
    assert "no times in the file" in run(made / "results.json").stdout
    (person,) = told("--rate", 50, made / "results.json")["people"]
    assert person["duration_s"] == pytest.approx(0.1)  # six frames at 50 Hz


def test_options_reach_only_the_formats_that_take_them(made) -> None:
    result = run(
        "--rate",
        50,
        "--units",
        "mm",
        "--skeleton",
        "h36m-17",
        "--json",
        made / "walk.trc",
        made / "results.json",
    )
    assert result.exit_code == 0
    markers, people = json.loads(result.stdout)
    assert people["skeleton"] == "h36m-17"
    assert markers["height_m"] < 0.01  # metres taken for millimetres, as ordered


def test_video(made) -> None:
    found = told(made / "clip.mp4")
    assert (found["frames"], found["declared_frames"], found["size_px"]) == (8, 8, [64, 48])
    assert found["rate_hz"] == pytest.approx(25)
    text = run(made / "clip.mp4").stdout
    assert "64 x 48 pixels" in text and "8 decoded at 25 frames/s" in text


def test_an_error_in_one_file_does_not_hide_the_others(made, tmp_path) -> None:
    (tmp_path / "bad.trc").write_text("nonsense\n")
    result = run(tmp_path / "bad.trc", made / "walk.trc", tmp_path / "none.mot")
    assert result.exit_code == 2
    assert "marker tracks (TRC)" in result.stdout
    assert result.stdout.count("error  ") == 2
    found = json.loads(run("--json", tmp_path / "bad.trc", made / "walk.trc").stdout)
    assert found[0]["error"]["exit_code"] == 2 and "PathFileType" in found[0]["error"]["problem"]
    assert found[1]["frames"] == 6


def test_the_exit_code_is_that_of_the_worst(made, tmp_path) -> None:
    (tmp_path / "bomb.osim").write_text('<!DOCTYPE a [<!ENTITY b "c">]><OpenSimDocument/>')
    assert run(tmp_path / "none.trc", tmp_path / "bomb.osim", made / "walk.trc").exit_code == 4


def test_a_pipe_is_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.trc")
    assert run(tmp_path / "pipe.trc").exit_code == 4


def test_a_folder_that_is_no_recording(tmp_path) -> None:
    (tmp_path / "a.txt").touch()
    result = run(tmp_path)
    assert result.exit_code == 2
    text = " ".join(result.stdout.split())
    assert "folder of OpenPose files" in text and "got a folder with 1 other entry" in text


def test_unknown_names(made) -> None:
    assert "Did you mean 'trc'" in run("--format", "trcc", made / "walk.trc").stdout
    text = " ".join(run("--skeleton", "coco17", made / "results.json").stdout.split())
    assert "Did you mean 'coco-17'" in text
    assert "Expected units deg or rad" in run("--units", "mm", made / "walk.mot").stdout


def test_names_from_files_cannot_steer_the_terminal(tmp_path) -> None:
    write(tmp_path / "m.npz", Markers([0.0, 0.1], ("a\x1b[2J", "b"), np.ones((2, 2, 3))))
    result = run(tmp_path / "m.npz")
    assert result.exit_code == 0 and "\x1b" not in result.stdout and "a\\x1b[2J" in result.stdout


def test_empty_and_short_recordings(tmp_path) -> None:
    for frames in (0, 1):
        write(tmp_path / f"{frames}.npz", Markers(np.arange(frames), ("a",), np.ones((frames, 1, 3))))
        assert told(tmp_path / f"{frames}.npz")["frames"] == frames
        assert run(tmp_path / f"{frames}.npz").exit_code == 0
    gone = Markers([0.0, 1.0], ("a",), np.full((2, 1, 3), np.nan))
    write(tmp_path / "gone.npz", gone)
    assert told(tmp_path / "gone.npz")["missing_share"] == 1
    track = Keypoints("c", np.zeros(0), np.zeros((0, 17, 2)), skeleton("coco-17"))
    assert summarise((track,)).table(everything=True)
    empty = Motion(np.zeros(0), ("a",), np.zeros((0, 1)))
    assert summarise(empty).data["frames"] == 0


# --- real files ---------------------------------------------------------------------------------

ENDINGS = {".trc", ".mot", ".sto", ".osim", ".xml", ".txt"}


def test_every_real_file_is_told(shared_data) -> None:
    files = sorted(p for p in shared_data.rglob("*") if p.suffix in ENDINGS)
    assert len(files) > 30
    result = run("--json", *files)
    wrong = [f for f in json.loads(result.stdout) if "error" in f]
    assert not wrong and result.exit_code == 0


def test_a_real_recording(shared_data) -> None:
    found = told(shared_data / "labvalidation_subject4" / "markers" / "walking1.trc")
    # the file's own header: 100 Hz; its README: 51 names, metres
    assert (len(found["markers"]), found["units_in_file"]) == (51, "m")
    assert found["rate_hz"] == pytest.approx(100, rel=1e-6)
    assert 1.2 < found["height_m"] < 2.0  # a standing adult, up to the C7 or head markers
