from __future__ import annotations

import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts.bounded import load_toml
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.formats import toml_cameras
from cohorts.formats.camera_fields import matrix_of, vector_of

POSE2SIM = """
[cam_01]
name = "cam_01"
size = [ 1088.0, 1920.0]
matrix = [ [ 1681.25, 0.0, 533.5], [ 0.0, 1681.0, 948.0], [ 0.0, 0.0, 1.0]]
distortions = [ -0.05, 0.14, 0.0006, 0.0007]
rotation = [ 1.6, 1.0, -0.4]
translation = [ 0.3, 0.95, 2.9]
fisheye = false

[cam_02]
name = "cam_02"
size = [ 1088.0, 1920.0]
matrix = [ [ 1670.0, 0.0, 534.0], [ 0.0, 1671.0, 963.0], [ 0.0, 0.0, 1.0]]
distortions = [ 0.05, -0.02, 0.004, -0.0005]
rotation = [ 1.35, 1.6, -1.2]
translation = [ -0.1, 0.8, 3.1]
fisheye = true

[metadata]
adjusted = false
error = 0.0
"""

ANIPOSE = """
[cam_0]
name = "A"
size = [ 1280, 720,]
matrix = [ [ 822.4, 0.0, 639.5,], [ 0.0, 822.4, 359.5,], [ 0.0, 0.0, 1.0,],]
distortions = [ -0.06, 0.0, 0.0, 0.0, 0.0,]
rotation = [ 0.0, 0.0, 0.0,]
translation = [ -940.0, 88.0, -972.0,]

[cam_1]
name = "B"
size = [ 1280, 720,]
matrix = [ [ 851.9, 0.0, 639.5,], [ 0.0, 851.9, 359.5,], [ 0.0, 0.0, 1.0,],]
distortions = [ -0.1, 0.0, 0.0, 0.0, 0.0,]
rotation = [ 0.0, -0.68, 0.0,]
translation = [ 3189.0, 103.0, -188.0,]

[metadata]
adjusted = false
error = 0.26
"""

CALISCOPE = """
[cameras.1]
cam_id = 1
rotation_count = 0
error = 0.457
exposure = "null"
grid_count = 20
size = [1920, 1080]
matrix = [[1540.0, 0.0, 940.0], [0.0, 1537.0, 538.0], [0.0, 0.0, 1.0]]
distortions = [0.07, -0.1, -0.0003, 0.00001, 0.04]
translation = [-3.4, -0.6, 1.7]
rotation = [-0.12, 1.17, 0.19]

[cameras.2]
port = 2
rotation_count = -1
ignore = false
size = [1920, 1080]
matrix = [[1314.0, 0.0, 972.0], [0.0, 1323.0, 562.0], [0.0, 0.0, 1.0]]
distortions = [0.07, -0.1, 0.0, 0.0, 0.04]
translation = [5.2, -0.7, 3.2]
rotation = [-0.02, -1.5, -0.2]

[cameras.4]
cam_id = 4
translation = "null"
rotation = "null"
size = [2376, 1080]
matrix = [[6231.0, 0.0, 1258.0], [0.0, 6908.0, 646.0], [0.0, 0.0, 1.0]]
distortions = [1.5, -47.9, 0.04, 0.08, 914.3]

[cameras.5]
cam_id = 5
ignore = true
size = [1920, 1080]
matrix = [[1314.0, 0.0, 972.0], [0.0, 1323.0, 562.0], [0.0, 0.0, 1.0]]
distortions = [0.0, 0.0, 0.0, 0.0, 0.0]
translation = [5.2, -0.7, 4.2]
rotation = [-0.02, -1.5, -0.2]
"""


def save(folder: Path, text: str, name: str = "calib.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_pose2sim(tmp_path: Path) -> None:
    notes: list[str] = []
    first, second = toml_cameras.read(save(tmp_path, POSE2SIM), notes=notes)
    assert (first.name, second.name) == ("cam_01", "cam_02")
    assert first.size == (1088, 1920)
    assert first.matrix.tolist() == [[1681.25, 0, 533.5], [0, 1681, 948], [0, 0, 1]]
    assert first.distortion.tolist() == [-0.05, 0.14, 0.0006, 0.0007]
    assert np.allclose(first.rotation, cv2.Rodrigues(np.array([1.6, 1.0, -0.4]))[0], atol=1e-15)
    assert first.translation.tolist() == [0.3, 0.95, 2.9]
    assert (first.lens, second.lens) == ("pinhole", "fisheye")
    assert notes == []


def test_anipose_in_millimetres(tmp_path: Path) -> None:
    path = save(tmp_path, ANIPOSE)
    with pytest.raises(CapbenchError, match=r"camera [AB].*m from the middle.*--units mm"):
        toml_cameras.read(path)
    first, second = toml_cameras.read(path, units="mm")
    assert (first.name, second.name) == ("A", "B")
    assert np.allclose(first.translation, [-0.94, 0.088, -0.972], atol=1e-15)
    assert np.allclose(first.centre, [0.94, -0.088, 0.972], atol=1e-15)
    assert first.distortion.tolist() == [-0.06, 0, 0, 0, 0]
    centimetres, _ = toml_cameras.read(path, units="cm")
    assert np.allclose(centimetres.translation, [-9.4, 0.88, -9.72])
    with pytest.raises(CapbenchError, match="m, cm or mm, got 'inch'"):
        toml_cameras.read(path, units="inch")  # type: ignore[arg-type]


def test_caliscope(tmp_path: Path) -> None:
    notes: list[str] = []
    cameras = toml_cameras.read(save(tmp_path, CALISCOPE), notes=notes)
    assert [c.name for c in cameras] == ["cam_1", "port_2"]
    assert cameras[1].translation.tolist() == [5.2, -0.7, 3.2]
    assert notes[0].startswith("camera port_2 is turned by -1 quarter turns")
    assert notes[1] == "camera cam_4 has no rotation and no translation yet and was left out"
    assert notes[2] == "camera cam_5 is marked to be ignored and was left out"
    assert len(notes) == 3


def test_lens_that_breaks_down_in_the_picture_is_noted(tmp_path: Path) -> None:
    # k1 = -0.9 alone: the radius stops growing at sqrt(1 / 2.7) = 0.609; the corners lie at 0.65
    notes: list[str] = []
    text = POSE2SIM.replace("[ -0.05, 0.14, 0.0006, 0.0007]", "[-0.9, 0, 0, 0]")
    toml_cameras.read(save(tmp_path, text), notes=notes)
    assert len(notes) == 1
    assert "camera cam_01: its lens model breaks down inside the picture (radius 0.61): 4 of 4" in notes[0]


def test_odd_geometry_is_noted(tmp_path: Path) -> None:
    notes: list[str] = []
    text = POSE2SIM.replace("[ 1088.0, 1920.0]", "[ 1920.0, 900.0]", 1).replace("1671.0", "671.0")
    toml_cameras.read(save(tmp_path, text), notes=notes)
    assert "cam_01" in notes[0] and "are width and height swapped?" in notes[0]
    assert "cam_02" in notes[1] and "not square: fx / fy = 2.49" in notes[1]
    notes = []
    same = POSE2SIM.replace("[ -0.1, 0.8, 3.1]", "[0, 0, 0]").replace("[ 0.3, 0.95, 2.9]", "[0, 0, 0]")
    toml_cameras.read(save(tmp_path, same), notes=notes)
    assert notes == ["all cameras are at the same place: the file gives no poses"]
    notes = []
    far = POSE2SIM.replace("[ -0.1, 0.8, 3.1]", "[0, 0, 90]")
    toml_cameras.read(save(tmp_path, far), notes=notes)
    assert "check the units" in notes[0]


def edit(old: str, new: str) -> str:
    assert old in POSE2SIM
    return POSE2SIM.replace(old, new, 1)


HUGE = "1" + "0" * 400
BAD = {
    "empty": ("", "1 to 1000 camera tables.*got 0"),
    "something else": ('[project]\nname = "x"', "top-level names: project"),
    "not toml": ("cam_01 = [", "Expected TOML"),
    "all uncalibrated": (CALISCOPE[CALISCOPE.index("[cameras.4]") :], "at least one calibrated"),
    "size a word": (edit("[ 1088.0, 1920.0]", '"HD"'), "camera cam_01.*size as 2 numbers, got 'HD'"),
    "size of one": (edit("[ 1088.0, 1920.0]", "[1088]"), "camera cam_01.*size as 2 numbers, got 1"),
    "size of zero": (edit("1088.0", "0"), "camera cam_01.*whole pixels"),
    "size of nan": (edit("1088.0", "nan"), "camera cam_01.*size to be finite"),
    "bool": (edit("1088.0", "true"), "camera cam_01.*size to be a number, got True"),
    "huge": (edit("1681.25", HUGE), "camera cam_01.*matrix to be a number, got"),
    "huge hex": (edit("1681.25", "0x" + "f" * 20_000), "camera cam_01.*a huge int"),
    "large": (edit("1681.25", "1e30"), "camera cam_01.*matrix to be below 1e"),
    "matrix of a vector": (edit("[ 0.0, 1681.0, 948.0], ", ""), "matrix as 9 numbers, got 6"),
    "nested": (edit("[ 0.0, 0.0, 1.0]", "[[[0.0]], 0.0, 1.0]"), "matrix to be a number"),
    "table for a list": (edit("[ 1.6, 1.0, -0.4]", "{x = 1}"), "rotation as 3 or 9 numbers"),
    "date": (edit("[ 1.6, 1.0, -0.4]", "1979-05-27"), "rotation as 3 or 9 numbers"),
    "degrees": (edit("[ 1.6, 1.0, -0.4]", "[160.0, 10, 0]"), "if these are degrees"),
    "no distortions": (edit("distortions", "distortion"), "camera cam_01.*distortions, got none"),
    "three distortions": (edit(", 0.0007]", "]"), "distortions as 0 or 4 or 5 or 8 or 12 numbers, got 3"),
    "fisheye a word": (edit("fisheye = false", 'fisheye = "no"'), "fisheye to be true or false"),
    "name a number": (edit('name = "cam_01"', "name = 1"), "table cam_01.*name to be text, got 1"),
    "empty name": (edit('name = "cam_01"', 'name = ""'), "name to be text"),
    "one name twice": (edit('name = "cam_02"', 'name = "cam_01"'), "camera once, got 'cam_01' twice"),
    "many": ("\n".join(f"[c{i}]\nsize=[1,1]" for i in range(1001)), "got 1001"),
    "touching": (
        POSE2SIM.replace("[ 0.3, 0.95, 2.9]", "[0.001, 0, 0]").replace("[ -0.1, 0.8, 3.1]", "[0.002, 0, 0]"),
        "mm apart at most.*--units m",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_with_words(what: str, tmp_path: Path) -> None:
    text, words = BAD[what]
    path = save(tmp_path, text)
    with pytest.raises(CapbenchError, match=words) as caught:
        toml_cameras.read(path)
    assert caught.value.file == str(path)


def test_recognise(tmp_path: Path) -> None:
    for text in (POSE2SIM, ANIPOSE, CALISCOPE):
        assert toml_cameras.recognise(load_toml(save(tmp_path, text)))
    for other in ({}, {"metadata": {"size": [1, 2]}}, {"cameras": 3}, [1], None):
        assert not toml_cameras.recognise(other)


angles = st.floats(-3.1, 3.1)
reals = st.floats(-20, 20)


@st.composite
def rigs(draw: st.DrawFn) -> tuple[Camera, ...]:
    names = draw(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=3)
    )
    names = sorted({n for n in names if n.isprintable() and n not in ("metadata", "cameras")}) or ["a"]
    made = []
    for i, name in enumerate(names):
        fisheye = draw(st.booleans())
        count = 4 if fisheye else draw(st.sampled_from([4, 5, 8, 12]))
        place = np.array([draw(reals), draw(reals), draw(reals) + 100 * i])
        rotation = cv2.Rodrigues(np.array([draw(angles), draw(angles), draw(angles)]))[0]
        made.append(
            Camera(
                name,
                [
                    [draw(st.floats(1, 1e5)), draw(reals), draw(reals)],
                    [0, draw(st.floats(1, 1e5)), 7],
                    [0, 0, 1],
                ],
                rotation,
                -rotation @ place,
                (draw(st.integers(1, 9000)), draw(st.integers(1, 9000))),
                draw(st.lists(st.floats(-10, 10), min_size=count, max_size=count)),
                "fisheye" if fisheye else "pinhole",
            )
        )
    return tuple(made)


@settings(max_examples=50, deadline=None)
@given(rigs())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, cameras: tuple[Camera, ...]
) -> None:
    path = tmp_path_factory.mktemp("rig") / "calib.toml"
    toml_cameras.write(path, cameras)
    again = toml_cameras.read(path, units="m")
    assert len(again) == len(cameras)
    for a, b in zip(again, cameras, strict=True):
        assert (a.name, a.size, a.lens) == (b.name, b.size, b.lens)
        for field in ("matrix", "translation", "distortion"):
            assert np.array_equal(getattr(a, field), getattr(b, field))
        assert np.abs(a.rotation - b.rotation).max() < 1e-14


def test_writes_what_pose2sim_reads(tmp_path: Path) -> None:
    matrix = [[900, 0, 640], [0, 901, 360], [0, 0, 1]]
    camera = Camera("cam 1", matrix, matrix_of(np.array([0.1, 0.2, 0.3])), [1, 2, 3], (1280, 720))
    path = tmp_path / "Calib.toml"
    toml_cameras.write(path, (camera,))
    content = tomllib.loads(path.read_text())
    assert list(content) == ["cam 1", "metadata"]
    table = content["cam 1"]
    assert table["size"] == [1280.0, 720.0]
    assert table["matrix"] == [[900.0, 0.0, 640.0], [0.0, 901.0, 360.0], [0.0, 0.0, 1.0]]
    assert table["distortions"] == [0.0, 0.0, 0.0, 0.0]
    assert np.allclose(table["rotation"], [0.1, 0.2, 0.3], atol=1e-15)
    assert table["translation"] == [1.0, 2.0, 3.0]
    assert table["fisheye"] is False
    with pytest.raises(CapbenchError, match="exists"):
        toml_cameras.write(path, (camera,))
    toml_cameras.write(path, (camera,), overwrite=True)


@pytest.mark.parametrize("name", ["metadata", "a\nb", "\x7f", "\ud800"])
def test_names_that_toml_or_pose2sim_can_not_hold(name: str, tmp_path: Path) -> None:
    camera = Camera(name, np.eye(3), np.eye(3), np.zeros(3), (2, 2))
    with pytest.raises(CapbenchError, match="camera names"):
        toml_cameras.write(tmp_path / "a.toml", (camera,))
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(angles, angles, angles),
    st.sampled_from([1e-12, 1e-6, 0.5, 1.0, np.pi - 1e-9, np.pi]),
)
def test_rodrigues_as_opencv(axis: tuple[float, float, float], angle: float) -> None:
    vector = np.array(axis)
    length = np.linalg.norm(vector)
    vector = np.array([0, 0, angle]) if length < 1e-3 else vector / length * angle
    rotation = matrix_of(vector)
    assert np.abs(rotation - cv2.Rodrigues(vector)[0]).max() < 1e-14
    back = vector_of(rotation)
    assert np.abs(matrix_of(back) - rotation).max() < 1e-14
    if angle < 3:
        assert np.abs(back - vector).max() < 1e-14
    else:  # at pi, an axis and its opposite are the same turn
        assert min(np.abs(back - vector).max(), np.abs(back + vector).max()) < 1e-7


def test_no_turn() -> None:
    assert matrix_of(np.zeros(3)).tolist() == np.eye(3).tolist()
    assert vector_of(np.eye(3)).tolist() == [0, 0, 0]
