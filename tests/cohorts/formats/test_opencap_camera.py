from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import opencap_camera

# iPhone13,3 as LabValidation has it (values as published with OpenCap's data set)
MATRIX = [[913.22, 0, 366.49], [0, 913.52, 638.50], [0, 0, 1]]
DISTORTION = [[0.1278, -0.2842, -0.0003, 0.0001, 0.2134]]
VECTOR = np.array([[0.1], [2.9], [-0.3]])


def content(**changes: Any) -> dict[str, Any]:
    made = {
        "intrinsicMat": np.array(MATRIX),
        "distortion": np.array(DISTORTION),
        "imageSize": np.array([[1280.0], [720.0]]),
        "rotation": cv2.Rodrigues(VECTOR)[0],
        "translation": np.array([[-500.0], [1200.0], [3500.0]]),
        "rotation_EulerAngles": VECTOR,
        **changes,
    }
    return {key: value for key, value in made.items() if value is not None}


def save(folder: Path, value: Any, name: str = "cameraIntrinsicsExtrinsics.pickle") -> Path:
    folder = folder / "Cam1"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(pickle.dumps(value, protocol=3))
    return path


def test_reads_by_hand(tmp_path: Path) -> None:
    notes: list[str] = []
    (camera,) = opencap_camera.read(save(tmp_path, content()), notes=notes)
    assert camera.name == "Cam1"
    assert camera.size == (720, 1280)  # (width, height): a phone held upright
    assert camera.matrix.tolist() == MATRIX
    assert camera.distortion.tolist() == DISTORTION[0]
    assert camera.translation.tolist() == [-0.5, 1.2, 3.5]
    assert np.array_equal(camera.rotation, cv2.Rodrigues(VECTOR)[0])
    assert np.allclose(camera.centre, -cv2.Rodrigues(VECTOR)[0].T @ [-0.5, 1.2, 3.5])
    assert notes == ["the world is that of the checkerboard, as OpenCap writes it; millimetres became metres"]
    # the world's origin is seen where OpenCV puts it, in whatever unit
    there, _ = cv2.projectPoints(
        np.zeros((1, 3)), VECTOR, np.array([-500.0, 1200, 3500]), np.array(MATRIX), np.array(DISTORTION)
    )
    assert np.allclose(camera.project([0, 0, 0]), there[0, 0], atol=1e-9)


def test_a_renamed_file_names_the_camera(tmp_path: Path) -> None:
    assert opencap_camera.read(save(tmp_path, content(), "left.pickle"))[0].name == "left"


def test_size_the_other_way_round(tmp_path: Path) -> None:
    notes: list[str] = []
    wide = content(
        imageSize=np.array([[1280], [720]]),
        intrinsicMat=np.array([[913, 0, 638.5], [0, 913, 366.5], [0, 0, 1]]),
    )
    # width 720 < cx would not do; 638 <= 720, so this one is no contradiction
    assert opencap_camera.read(save(tmp_path, wide))[0].size == (720, 1280)
    wide["intrinsicMat"][0, 2] = 730
    assert opencap_camera.read(save(tmp_path, wide), notes=notes)[0].size == (1280, 720)
    assert "imageSize was read as [width; height] = 1280 x 720" in notes[1]


def test_intrinsics_alone(tmp_path: Path) -> None:
    notes: list[str] = []
    value = content(rotation=None, translation=None, rotation_EulerAngles=None)
    (camera,) = opencap_camera.read(save(tmp_path, value, "cameraIntrinsics.pickle"), notes=notes)
    assert camera.name == "Cam1"
    assert camera.rotation.tolist() == np.eye(3).tolist()
    assert notes == ["camera Cam1 has no pose (intrinsics only): it stands at the world's origin"]


def test_second_rotation_that_disagrees(tmp_path: Path) -> None:
    notes: list[str] = []
    value = content(rotation_EulerAngles=VECTOR + 0.1)
    (camera,) = opencap_camera.read(save(tmp_path, value), notes=notes)
    assert np.array_equal(camera.rotation, cv2.Rodrigues(VECTOR)[0])
    assert any("disagrees with rotation" in note for note in notes)
    assert not any("disagrees" in note for note in notes[1:])


LOOP: list[Any] = []
LOOP.append(LOOP)
WIDE: list[Any] = [1]
for _ in range(50):
    WIDE = [WIDE, WIDE]  # 2^50 when walked

BAD = {
    "a list": ([1, 2], "Expected a dict with intrinsicMat.*no dict"),
    "empty": ({}, "an empty one"),
    "another": ({"a": 1, 7: 2}, "got 'a', 7"),
    "no matrix": (content(intrinsicMat=None), "Expected a dict with intrinsicMat"),
    "no distortion": (content(distortion=None), "camera Cam1.*distortion, got none"),
    "no rotation": (content(rotation=None), "only translation"),
    "no translation": (content(translation=None), "only rotation"),
    "matrix of 2 x 3": (
        content(intrinsicMat=np.zeros((2, 3))),
        "camera Cam1.*intrinsicMat as 9 numbers, got 6",
    ),
    "matrix a word": (content(intrinsicMat="K"), "intrinsicMat as 9 numbers, got 'K'"),
    "matrix of words": (content(intrinsicMat=np.full((3, 3), "a")), "intrinsicMat as 9 numbers"),
    "large": (content(intrinsicMat=np.zeros((1000, 100))), "intrinsicMat as 9 numbers, got 100000"),
    "hole": (content(translation=np.array([0, 0, np.nan])), "translation to be finite"),
    "huge": (content(translation=[0, 0, 10**400]), "translation to be a number"),
    "far": (content(translation=[0, 0, 5e5]), "camera Cam1.*500 m from the world's origin"),
    "true": (content(imageSize=[True, 720]), "imageSize to be a number, got True"),
    "loop": (content(imageSize=LOOP), "imageSize as 2 numbers, got 1"),
    "bush": (content(imageSize=WIDE), "imageSize"),
    "bush for a rotation": (content(rotation={"a": WIDE}), "rotation as 3 or 9"),
    "three sides": (content(imageSize=[1, 2, 3]), "imageSize as 2 numbers, got 3"),
    "negative": (content(imageSize=[-1280, 720]), "camera Cam1.*whole pixels"),
    "singular": (content(rotation=np.zeros((3, 3))), "camera Cam1.*singular"),
    "euler of four": (content(rotation_EulerAngles=[1, 2, 3, 4]), "rotation_EulerAngles as 3 numbers, got 4"),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_with_words(what: str, tmp_path: Path) -> None:
    value, words = BAD[what]
    path = save(tmp_path, value)
    with pytest.raises(CapbenchError, match=words) as caught:
        opencap_camera.read(path)
    assert caught.value.file == str(path)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run!",)


def test_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RefusedError):
        opencap_camera.read(save(tmp_path, content(distortion=Trap())))
    assert capsys.readouterr().out == ""


def test_recognise() -> None:
    assert opencap_camera.recognise(content())
    for other in (None, [], {"intrinsicMat": 1}, "imageSize"):
        assert not opencap_camera.recognise(other)
