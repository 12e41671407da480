"""``capbench convert``: what goes over, what is lost, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import samples
from click.testing import CliRunner

from capbench.cli.losses import losses
from capbench.cli.main import cli
from cohorts import Keypoints, Markers, skeleton
from cohorts.formats import read, write


def run(*words: object):
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["convert", *map(str, words)])


def told(*words: object) -> dict:
    result = run("--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    samples.make_all(folder)
    return folder


def test_markers_through_many_formats_come_back_the_same(made, tmp_path) -> None:
    chain = ["walk.trc", "a.csv", "b.parquet", "c.npz", "d.trc"]
    before = made / chain[0]
    for name in chain[1:]:
        assert told(before, tmp_path / name)["lost"] == []
        before = tmp_path / name
    assert read(before)[1] == read(made / "walk.trc")[1]


def test_motions_through_many_formats(made, tmp_path) -> None:
    before = made / "walk.mot"
    for name in ("a.csv", "b.parquet", "c.npz", "d.sto"):
        assert told(before, tmp_path / name)["lost"] == []
        before = tmp_path / name
    np.testing.assert_allclose(read(before)[1].values, samples.motion().values, rtol=1e-12, atol=1e-12)


def test_the_written_format_follows_the_ending_or_the_order(made, tmp_path) -> None:
    assert told(made / "walk.trc", tmp_path / "a.csv")["written"]["format"] == "csv"
    assert told(made / "walk.trc", tmp_path / "b.txt", "--to", "csv")["written"]["format"] == "csv"
    assert told(tmp_path / "b.txt", tmp_path / "c.trc", "--from", "csv")["read"]["format"] == "csv"


def test_units_to_write(made, tmp_path) -> None:
    told(made / "walk.trc", tmp_path / "mm.trc", "--to-units", "mm")
    text = (tmp_path / "mm.trc").read_text().splitlines()
    assert "mm" in text[2].split()
    np.testing.assert_allclose(read(tmp_path / "mm.trc")[1].xyz, read(made / "walk.trc")[1].xyz, rtol=1e-12)
    assert (
        "Expected units deg or rad" in run(made / "walk.mot", tmp_path / "x.mot", "--to-units", "mm").stderr
    )


def test_nothing_is_overwritten_without_force(made, tmp_path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("mine")
    result = run(made / "walk.trc", out)
    assert result.exit_code == 2 and "--force" in result.stderr
    assert out.read_text() == "mine"
    assert run(made / "walk.trc", out, "--force").exit_code == 0
    assert out.read_text() != "mine"


def test_counted_frames_need_a_rate(made, tmp_path) -> None:
    result = run(made / "results.json", tmp_path / "a.npz")
    assert result.exit_code == 2 and "--rate" in result.stderr
    assert not (tmp_path / "a.npz").exists()
    assert told(made / "results.json", tmp_path / "a.npz", "--rate", 50)["lost"] == []
    (track,) = read(tmp_path / "a.npz")[1]
    # the sample's image ids are 10 to 15
    np.testing.assert_allclose(track.time, np.arange(10, 16) / 50)
    assert track.confidence.max() < 1
    assert run(made / "walk.trc", tmp_path / "a.csv", "--rate", 50).exit_code == 2  # it has times


def test_counted_frames_go_to_counted_frames_without_a_rate(made, tmp_path) -> None:
    account = told(made / "results.json", tmp_path / "a.json", "--to", "alphapose")
    assert account["written"]["format"] == "alphapose"
    before, after = read(made / "results.json")[1], read(tmp_path / "a.json")[1]
    np.testing.assert_array_equal(before[0].frames, after[0].frames)
    np.testing.assert_allclose(before[0].xy, after[0].xy)


def test_what_is_lost_is_said(tmp_path) -> None:
    time = np.arange(3) / 10
    confidence = np.full((3, 1), 0.4)
    write(tmp_path / "a.npz", Markers(time, ("m",), np.ones((3, 1, 3)), confidence))
    assert told(tmp_path / "a.npz", tmp_path / "a.trc")["lost"] == [
        "confidences are not kept (all are 1 now)"
    ]
    assert "confidences are not kept" in run(tmp_path / "a.npz", tmp_path / "b.trc").stdout


def test_a_rate_lost_in_a_format_that_counts_is_said(tmp_path) -> None:
    xy = np.ones((3, 17, 2))
    spread = np.broadcast_to(np.eye(2), (3, 17, 2, 2))
    track = Keypoints(
        "cam", np.arange(3) / 30, xy, skeleton("coco-17"), np.full((3, 17), 0.5), covariance=spread
    )
    write(tmp_path / "a.npz", (track,))
    lost = told(tmp_path / "a.npz", tmp_path / "a.json")["lost"]
    assert "the rate: the file only counts frames; read it with --rate 30" in lost
    assert "covariances are not kept" in lost
    assert not any("times" in loss or "positions" in loss for loss in lost)


def test_skeletons_are_mapped_by_name(made, tmp_path) -> None:
    account = told(made / "people.npz", tmp_path / "a.npz", "--map-to", "h36m-17")
    assert account["mapping"]["target"] == "h36m-17"
    assert "left_hip" in account["mapping"]["approximate"]
    before, after = read(made / "people.npz")[1], read(tmp_path / "a.npz")[1]
    assert [t.skeleton.name for t in after] == ["h36m-17"] * 2
    # Human3.6M calls the ankle "left_foot"
    np.testing.assert_array_equal(
        after[1].xy[:, skeleton("h36m-17").index("left_foot")],
        before[1].xy[:, skeleton("coco-17").index("left_ankle")],
    )
    text = run(made / "people.npz", tmp_path / "b.npz", "--map-to", "h36m-17").stdout
    assert "coco-17 to h36m-17" in text and "nearly" in text and "missing" in text


def test_parts_are_picked(made, tmp_path) -> None:
    told(made / "people.npz", tmp_path / "a.npz", "--person", "1", "--start", 1, "--stop", 3)
    (track,) = read(tmp_path / "a.npz")[1]
    assert track.person == "1"
    np.testing.assert_array_equal(track.time, [1, 2, 3])
    told(made / "calib.toml", tmp_path / "a.toml", "--camera", "cam02")
    assert [c.name for c in read(tmp_path / "a.toml")[1]] == ["cam02"]


def test_a_camera_is_named_where_the_file_has_no_name(made, tmp_path) -> None:
    told(made / "results.json", tmp_path / "a.npz", "--rate", 30, "--camera", "left")
    assert read(tmp_path / "a.npz")[1][0].camera == "left"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("people.npz", "out.npz", "--person", "3"), "Expected the name of a person, got '3'"),
        (("walk.trc", "out.csv", "--person", "3"), "tells one person from another"),
        (("walk.trc", "out.csv", "--camera", "a"), "tells one camera from another"),
        (("calib.toml", "out.toml", "--camera", "cam03"), "Did you mean 'cam0"),
        (("calib.toml", "out.toml", "--start", "1"), "Expected a recording with times"),
        (("walk.trc", "out.csv", "--start", "7"), "they keep none"),
        (("walk.trc", "out.npz", "--map-to", "coco-17"), "Expected 2D keypoints"),
        (("people.npz", "out.npz", "--map-to", "h36m17"), "Did you mean 'h36m-17'"),
        (("people.npz", "out.trc"), "2D keypoints of one camera have no depth"),
        (("people.npz", "out.mot"), "joint angles need 3D markers and a fit"),
        (("walk.trc", "out.mot"), "by fitting a model (capbench fit)"),
        (("walk.mot", "out.trc"), "only through a musculoskeletal model"),
        (("walk.mot", "out.x", "--to", "trc"), "only through a musculoskeletal model"),
        (("clip.mp4", "out.trc"), "Expected something that another format can hold, got video"),
        (("few_markers.xml", "out.trc"), "OpenSim model or set-up document"),
        (("walk.trc", "out.xyz"), "trc (.trc)"),
        (("walk.trc", "out.x", "--to", "trcc"), "Did you mean 'trc'"),
        (("walk.trc", "out.csv", "--from", "trcc"), "Did you mean 'trc'"),
        (("nothing.trc", "out.csv"), "does not exist"),
        (("walk.trc", "no/such/folder/out.csv"), "Expected an existing folder"),
    ],
)
def test_refusals_say_why_and_write_nothing(made, tmp_path, words, said) -> None:
    source, target, *rest = words
    result = run(made / source, tmp_path / target, *rest)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_quiet_says_nothing_and_json_only_json(made, tmp_path) -> None:
    assert run("-q", made / "walk.trc", tmp_path / "a.csv").output == ""
    error = json.loads(run("--json", made / "walk.trc", tmp_path / "a.csv").stdout)["error"]
    assert error["exit_code"] == 2 and error["file"].endswith("a.csv")


def test_losses_of_like_and_unlike() -> None:
    markers = samples.markers()
    assert losses(markers, markers) == []
    moved = Markers(markers.time, markers.names, markers.xyz + 0.25)
    assert losses(markers, moved) == ["positions (m) rounded or changed by up to 0.25"]
    assert losses(markers, markers[:3]) == ["6 frames went in, 3 came back"]
    assert losses((samples.camera(), samples.camera("b")), (samples.camera(),)) == [
        "2 tracks went in, 1 came back"
    ]
    assert losses(samples.camera("a"), samples.camera("b")) == ["name changed from 'a' to 'b'"]
    filled = markers.xyz.copy()
    filled[np.isnan(filled)] = 1
    lost = losses(markers, Markers(markers.time, markers.names, filled, markers.confidence))
    assert lost == ["positions (m) changed where they are missing (6 numbers)"]
