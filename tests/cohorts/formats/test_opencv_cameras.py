from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts.bounded import parse_yaml
from cohorts.camera import Camera
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import opencv_cameras

OPENCV = """%YAML:1.0
---
calibration_time: "Mon 01 Jan 2024 10:00:00"
image_width: 640
image_height: 480
fisheye_model: 0
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 5.0e+02, 0., 320., 0., 501.5,
       240., 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ -0.25, 1.0000000000000001e-05, 1e-05, 0., .05 ]
rvec: !!opencv-matrix
   rows: 1
   cols: 3
   dt: d
   data: [ 0.1, -0.2, 0.3 ]
tvec: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 1., 2., 3. ]
"""

ROS = """image_width: 2448
image_height: 2050
camera_name: prosilica
camera_matrix:
  rows: 3
  cols: 3
  data: [4827.94, 0, 1223.5, 0, 4835.62, 1024.5, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.41527, 0.31874, -0.00197, 0.00071, 0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [4827.94, 0, 1223.5, 0, 0, 4835.62, 1024.5, 0, 0, 0, 1, 0]
"""


def save(folder: Path, text: str, name: str = "left.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_opencv(tmp_path: Path) -> None:
    notes: list[str] = []
    (camera,) = opencv_cameras.read(save(tmp_path, OPENCV), notes=notes)
    assert camera.name == "left"
    assert camera.size == (640, 480)
    assert camera.matrix.tolist() == [[500, 0, 320], [0, 501.5, 240], [0, 0, 1]]
    assert camera.distortion.tolist() == [-0.25, 1.0000000000000001e-05, 1e-5, 0, 0.05]
    assert np.allclose(camera.rotation, cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0], atol=1e-15)
    assert camera.translation.tolist() == [1, 2, 3]
    assert camera.lens == "pinhole"
    assert notes == []


def test_ros(tmp_path: Path) -> None:
    notes: list[str] = []
    (camera,) = opencv_cameras.read(save(tmp_path, ROS, "camera_info.yaml"), notes=notes)
    assert camera.name == "prosilica"
    assert camera.size == (2448, 2050)
    assert camera.matrix[1].tolist() == [0, 4835.62, 1024.5]
    assert camera.distortion.tolist() == [-0.41527, 0.31874, -0.00197, 0.00071, 0]
    assert camera.rotation.tolist() == np.eye(3).tolist()
    assert camera.centre.tolist() == [0, 0, 0]
    assert notes == ["camera prosilica has no pose (intrinsics only): it stands at the world's origin"]


def test_ros_message_and_lenses(tmp_path: Path) -> None:
    message = (
        "height: 480\nwidth: 640\ndistortion_model: equidistant\nD: [0.1, 0.01, 0, 0]\n"
        "K: [500, 0, 320, 0, 500, 240, 0, 0, 1]\nR: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n"
        "P: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]\ncamera_name: 0\n"
    )
    (camera,) = opencv_cameras.read(save(tmp_path, message))
    assert (camera.name, camera.lens, camera.size) == ("0", "fisheye", (640, 480))
    text = OPENCV.replace("fisheye_model: 0", "fisheye_model: 1").replace(
        "rows: 5\n   cols: 1\n   dt: d\n   data: [ -0.25, 1.0000000000000001e-05, 1e-05, 0., .05 ]",
        "rows: 4\n   cols: 1\n   dt: d\n   data: [ -0.25, 0., 0., 0. ]",
    )
    assert opencv_cameras.read(save(tmp_path, text))[0].lens == "fisheye"


def test_units(tmp_path: Path) -> None:
    far = OPENCV.replace("[ 1., 2., 3. ]", "[ 1000., 2000., 3000. ]")
    with pytest.raises(CapbenchError, match=r"camera left.*m from the world's origin.*--units mm"):
        opencv_cameras.read(save(tmp_path, far))
    (camera,) = opencv_cameras.read(save(tmp_path, far), units="mm")
    assert camera.translation.tolist() == [1, 2, 3]


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1), (14, 1)])
def test_reads_what_opencv_writes(shape: tuple[int, ...], tmp_path: Path) -> None:
    matrix = np.array([[500.123456789, 0, 320], [0, 1e3 / 3, 240], [0, 0, 1]])
    distortion = np.zeros(shape)
    distortion.flat[:5] = [-0.25, 1e-5, 1e-20, -1 / 3, 0.05]
    rotation = cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0]
    path = tmp_path / "cam.yml"
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    store.write("image_width", 640)
    store.write("image_height", 480)
    store.write("camera_matrix", matrix)
    store.write("distortion_coefficients", distortion)
    store.write("R", rotation)
    store.write("T", np.array([[0.1], [0.2], [1e-7]]))
    store.release()
    (camera,) = opencv_cameras.read(path)
    assert np.array_equal(camera.matrix, matrix)
    assert np.array_equal(camera.distortion, distortion.ravel()[:12])
    assert np.array_equal(camera.rotation, rotation)
    assert camera.translation.tolist() == [0.1, 0.2, 1e-7]


reals = st.floats(-50, 50)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_written_is_read_by_us_and_by_opencv(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    fisheye = data.draw(st.booleans())
    count = 4 if fisheye else data.draw(st.sampled_from([4, 5, 8, 12]))
    camera = Camera(
        data.draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.isprintable)),
        [[data.draw(st.floats(1, 1e5)), data.draw(reals), 3e-7], [0, 1e3, data.draw(reals)], [0, 0, 1]],
        cv2.Rodrigues(np.array([data.draw(reals) / 20 for _ in range(3)]))[0],
        [data.draw(reals), 1e-9, 1e5 / 3e3],
        (data.draw(st.integers(1, 9000)), data.draw(st.integers(1, 9000))),
        data.draw(st.lists(reals, min_size=count, max_size=count)),
        "fisheye" if fisheye else "pinhole",
    )
    path = tmp_path_factory.mktemp("cv") / "cam.yml"
    opencv_cameras.write(path, (camera,))
    assert opencv_cameras.read(path, units="m") == (camera,)
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    assert store.isOpened()
    assert np.array_equal(store.getNode("camera_matrix").mat(), camera.matrix)
    assert np.array_equal(store.getNode("distortion_coefficients").mat().ravel(), camera.distortion)
    assert np.array_equal(store.getNode("R").mat(), camera.rotation)
    assert np.array_equal(store.getNode("T").mat().ravel(), camera.translation)
    assert (store.getNode("image_width").real(), store.getNode("image_height").real()) == camera.size
    store.release()


def test_write_takes_one_camera(tmp_path: Path) -> None:
    camera = Camera("a", np.eye(3), np.eye(3), np.zeros(3), (2, 2))
    for cameras in ((), (camera, replace(camera, name="b"))):
        with pytest.raises(CapbenchError, match=rf"one camera.*got {len(cameras)}.*\.toml"):
            opencv_cameras.write(tmp_path / "a.yml", cameras)
    with pytest.raises(CapbenchError, match="printable"):
        opencv_cameras.write(tmp_path / "a.yml", (replace(camera, name="a\nb"),))
    assert list(tmp_path.iterdir()) == []
    opencv_cameras.write(tmp_path / "a.yml", (camera,))
    (again,) = opencv_cameras.read(tmp_path / "a.yml")
    assert again == replace(camera, distortion=np.zeros(4))  # OpenCV can't read none
    with pytest.raises(CapbenchError, match="exists"):
        opencv_cameras.write(tmp_path / "a.yml", (camera,))


def edit(old: str, new: str) -> str:
    assert old in OPENCV
    return OPENCV.replace(old, new, 1)


DATA = "[ 5.0e+02, 0., 320., 0., 501.5,\n       240., 0., 0., 1. ]"
BAD = {
    "empty": ("", "camera_matrix.*got NoneType"),
    "a list": ("- 1\n- 2", "camera_matrix.*got list"),
    "another card": ("name: coco\npoints: []", "camera_matrix.*got name, points"),
    "not yaml": ("camera_matrix: [1, 2", "Expected YAML"),
    "no distortion": (
        edit("distortion_coefficients", "distortions"),
        "camera left.*distortion_coefficients, got none",
    ),
    "no size": (edit("image_width", "wide"), "camera left.*image_width, got none"),
    "size a list": (edit("image_width: 640", "image_width: [640, 480]"), "image_width as 1 numbers, got 2"),
    "size a word": (edit("image_width: 640", "image_width: HD"), "image_width to be a number, got 'HD'"),
    "size true": (edit("image_width: 640", "image_width: yes"), "image_width to be a number, got True"),
    "size nan": (edit("image_width: 640", "image_width: .nan"), "image_width to be finite"),
    "huge size": (edit("image_width: 640", "image_width: 1" + "0" * 400), "image_width to be a number"),
    "hole": (edit("320.", ".Nan"), "camera left.*camera_matrix to be a number, got '.Nan'"),
    "fewer numbers": (edit("240., ", ""), "hold 9 numbers as its rows and cols say, got 8"),
    "rows a word": (edit("rows: 3", "rows: three"), "rows and cols of camera_matrix to be a number"),
    "rows missing": (edit("rows: 3\n", "high: 3\n"), "rows and cols of camera_matrix"),
    "data a word": (edit(DATA, "none"), "camera_matrix with rows, cols and data"),
    "matrix a word": (
        edit("!!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: " + DATA, "K"),
        "camera_matrix as 9",
    ),
    "nested": (edit("320.", "[[320.]]"), "camera_matrix to be a number"),
    "mirrored": (edit("5.0e+02", "-5.0e+02"), "camera left.*fx, fy > 0"),
    "rotation alone": (edit("tvec", "where"), "got R without T"),
    "translation alone": (edit("rvec", "turn"), "got T without R"),
    "no such lens": (
        "distortion_model: mirror\n" + ROS.replace("distortion_model: plumb_bob\n", ""),
        "prosilica.*distortion_model of",
    ),
    "name a list": (
        "camera_name: [a]\n" + ROS.replace("camera_name: prosilica\n", ""),
        "camera_name to be text",
    ),
    "name empty": (ROS.replace("prosilica", "''"), "camera_name to be text"),
    "tag on a list": ("camera_matrix: !!opencv-matrix [1]", "no YAML tags"),
    "tag on a word": ("camera_matrix: !!opencv-matrix 1", "no YAML tags"),
    "no such tag": ("camera_matrix: !!python/name:os.system", "no YAML tags"),
    "tilted sensor": (
        ROS.replace("cols: 5", "cols: 14").replace(
            "0.00071, 0]", "0.00071, 0, 0, 0, 0, 0, 0, 0, 0, 0.01, 0]"
        ),
        "tilt of the sensor",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_with_words(what: str, tmp_path: Path) -> None:
    text, words = BAD[what]
    path = save(tmp_path, text)
    with pytest.raises(CapbenchError, match=words) as caught:
        opencv_cameras.read(path)
    assert caught.value.file == str(path)


def test_line_numbers_count_the_first_line(tmp_path: Path) -> None:
    with pytest.raises(CapbenchError) as caught:
        opencv_cameras.read(save(tmp_path, OPENCV + "a: 1\na: 2\n"))
    assert caught.value.line == OPENCV.count("\n") + 2


@pytest.mark.parametrize(
    "tag", ["!!map [1]", "!!timestamp x", "!!bool x", "!!opencv-matrix {a: 1}", "!x 1", "! 1"]
)
def test_tags_are_refused_elsewhere(tag: str) -> None:
    with pytest.raises(RefusedError, match="no YAML tags"):
        parse_yaml(f"a: {tag}")


def test_recognise() -> None:
    assert opencv_cameras.recognise(parse_yaml(ROS))
    for other in (None, [], {"points": 1}, "camera_matrix"):
        assert not opencv_cameras.recognise(other)
