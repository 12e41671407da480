"""COCO-style pictures of a user: cut out as inference does, points by name; hostile files are refused."""

import copy
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cohorts.errors import CapbenchError, RefusedError
from cohorts.skeleton import skeleton
from synthpose.coco import CocoSource, read_picture, stated_size

COCO = skeleton("coco-17")
SIZE = (48, 64)


def annotations() -> dict:
    """One person of 17 points in a picture of 200 x 150, in the box 40 30 60 80; one crowd."""
    random = np.random.default_rng(1)
    points = np.column_stack([random.uniform(42, 98, 17), random.uniform(32, 108, 17), np.full(17, 2)])
    points[3] = 0
    points[4, 2] = 1
    return {
        "images": [{"id": 7, "file_name": "sub/one.png", "width": 200, "height": 150}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.points)}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "bbox": [40, 30, 60, 80],
             "keypoints": points.ravel().tolist()},
            {"id": 2, "image_id": 7, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 9, 9],
             "keypoints": [0] * 51},
        ],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    write(tmp_path, annotations())
    picture = np.zeros((150, 200, 3), np.uint8)
    for k, (x, y, _) in enumerate(marks(annotations())):
        cv2.circle(picture, (round(x), round(y)), 2, (30, 8 * k + 40, 250 - 8 * k), -1)
    cv2.imwrite(str(tmp_path / "pictures/sub/one.png"), picture)
    return tmp_path


def write(folder: Path, content) -> None:
    (folder / "a.json").write_text(json.dumps(content))


def marks(content) -> np.ndarray:
    return np.array(content["annotations"][0]["keypoints"], float).reshape(17, 3)


def opened(folder: Path, **how) -> CocoSource:
    return CocoSource(folder / "a.json", folder / "pictures", size=SIZE, **how)


@pytest.mark.truth("closed form: the box, padded by 1.25, fills the crop's height")
def test_people_are_cut_out_and_points_follow(folder) -> None:
    source = opened(folder)
    assert len(source) == 1 and source.left_out == 1 and source.skeleton == COCO
    pictures, points, visible = source.batch(np.array([0, 0]))
    assert pictures.shape == (2, 64, 48, 3) and visible[0].tolist() == [2, 2, 2, 0, 1] + [2] * 12
    given = marks(annotations())
    scale = 64 / (80 * 1.25)
    want = (given[:, :2] - [70, 70]) * scale + [24, 32]
    known = visible[0] > 0
    np.testing.assert_allclose(points[0, known], want[known], atol=1e-4)
    assert points[0, 3].tolist() == [0, 0]
    for k in (0, 8, 16):  # RGB, the colour of that very point
        x, y = np.rint(points[0, k]).astype(int)
        np.testing.assert_allclose(pictures[0, y, x], [250 - 8 * k, 8 * k + 40, 30], atol=60)
    with pytest.raises(CapbenchError, match="numbers from 0 to 0"):
        source.batch(np.array([1]))


def test_points_are_taken_by_name(folder) -> None:
    content = annotations()
    content["categories"][0]["keypoints"] = list(COCO.points[::-1])
    write(folder, content)
    _, points, _ = opened(folder).batch(np.array([0]))
    _, plain, _ = _with(folder, annotations()).batch(np.array([0]))
    np.testing.assert_array_equal(points[0], plain[0, ::-1])
    content["categories"] = []
    np.testing.assert_array_equal(_with(folder, content).batch(np.array([0]))[1], plain)


def _with(folder: Path, content) -> CocoSource:
    write(folder, content)
    return opened(folder)


def test_without_a_box_the_points_say_where(folder) -> None:
    content = annotations()
    del content["annotations"][0]["bbox"]
    box = _with(folder, content).people[0].box
    known = marks(content)[marks(content)[:, 2] > 0, :2]
    longer = np.ptp(known, axis=0).max()
    np.testing.assert_allclose(box[:2], known.min(axis=0) - 0.06 * longer)
    np.testing.assert_allclose(box[2:], known.max(axis=0) + 0.06 * longer)


def test_who_is_left_out(folder) -> None:
    content = annotations()
    one = content["annotations"][0]
    few, small, none = copy.deepcopy(one), copy.deepcopy(one), copy.deepcopy(one)
    few["keypoints"] = [50, 50, 2, 60, 60, 2] + [0] * 45
    small["bbox"] = [40, 30, 10, 15]
    del none["keypoints"]
    content["annotations"] += [few, small, none]
    source = _with(folder, content)
    assert len(source) == 1 and source.left_out == 4
    content["annotations"] = content["annotations"][1:]
    with pytest.raises(CapbenchError, match="Expected people with 3 points"):
        _with(folder, content)


# --- what strangers may have done ---------------------------------------------------------------------


def changed(where: str, value) -> dict:
    content = annotations()
    *way, last = where.split(".")
    at = content
    for key in way:
        at = at[int(key)] if key.isdigit() else at[key]
    if value is KeyError:
        del at[last]
    else:
        at[int(last) if last.isdigit() else last] = value
    return content


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("images", KeyError, "'images'"),
        ("annotations", 3, "annotations to be a list"),
        ("images.0", [], "an image"),
        ("images.0.id", "x", "id"),
        ("images.0.width", -5, "million pixels"),
        ("images.0.width", 10**9, "million pixels"),
        ("images.0.width", True, "width to be a whole number"),
        ("images.0.file_name", "../../etc/passwd", "below the folder"),
        ("images.0.file_name", "/etc/passwd", "below the folder"),
        ("images.0.file_name", "C:\\secret.png", "below the folder"),
        ("images.0.file_name", "sub\\..\\..\\x.png", "below the folder"),
        ("images.0.file_name", "a\0b", "to be a path"),
        ("images.0.file_name", 5, "to be a path"),
        ("annotations.0.image_id", 8, "got id 8"),
        ("annotations.0.keypoints", [1, 2, 2], "17 points of coco-17, got 1"),
        ("annotations.0.keypoints", [1.0] * 50, "three numbers"),
        ("annotations.0.keypoints", [1e300, 5, 2] * 17, "near the picture"),
        ("annotations.0.keypoints", ["x"] * 51, "keypoints"),
        ("annotations.0.bbox", [1, 2, 3], "four numbers"),
        ("annotations.0.bbox", [1, 2, 3, "x"], "bbox to be a number"),
        ("annotations.0.bbox", [1, 2, -3, 5], "near the picture"),
        ("annotations.0.bbox", [1, 2, 1e12, 5], "near the picture"),
        ("categories.0.keypoints", ["nose"] * 17, "each once"),
        ("categories.0.keypoints", ["nose", "left_eye", "tail"], "tail"),
        ("categories.0.keypoints", [1, 2], "each once"),
    ],
)
def test_files_that_are_wrong_are_refused(folder, where, value, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        _with(folder, changed(where, value)).batch(np.array([0]))


def test_an_image_twice_and_other_json(folder) -> None:
    content = annotations()
    content["images"] *= 2
    with pytest.raises(CapbenchError, match="id 7 twice"):
        _with(folder, content)
    with pytest.raises(CapbenchError, match="COCO annotations"):
        _with(folder, [1, 2])
    (folder / "a.json").write_text('{"images": [], "images": []}')
    with pytest.raises(CapbenchError, match="each key once"):
        opened(folder)
    with pytest.raises(CapbenchError, match="folder of pictures"):
        CocoSource(folder / "a.json", folder / "nowhere", size=SIZE)


def test_pictures_that_are_wrong_are_refused(folder) -> None:
    path = folder / "pictures/sub/one.png"
    whole = path.read_bytes()

    def error(kind=CapbenchError):
        return pytest.raises(kind)

    path.write_bytes(whole[: len(whole) // 3])
    with error() as caught:
        read_picture(path, (200, 150))
    assert "damaged" in str(caught.value) or "whole" in str(caught.value)
    bomb = whole[:16] + struct.pack(">II", 60_000, 60_000) + whole[24:29]
    path.write_bytes(bomb + struct.pack(">I", zlib.crc32(bomb[12:29])) + whole[33:])
    with error() as caught:  # never unpacked: its first bytes tell
        opened(folder).batch(np.array([0]))
    assert "60000 x 60000" in str(caught.value)
    path.write_bytes(b"GIF89a" + b"\0" * 100)
    with error() as caught:
        read_picture(path, (200, 150))
    assert "JPEG or PNG" in str(caught.value)
    path.unlink()
    with error():
        opened(folder).batch(np.array([0]))
    (folder / "secret.png").write_bytes(whole)
    path.symlink_to(folder / "secret.png")
    with error(RefusedError) as caught:
        opened(folder).batch(np.array([0]))
    assert "link out of it" in str(caught.value)


@pytest.mark.truth("OpenCV")
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "progressive.jpg"])
def test_sizes_are_read_from_the_first_bytes(tmp_path, name) -> None:
    random = np.random.default_rng(0)
    for width, height in ((1, 1), (33, 70), (640, 480)):
        how = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if name.startswith("p") else []
        cv2.imwrite(str(tmp_path / name), random.integers(0, 255, (height, width, 3), np.uint8), how)
        data = (tmp_path / name).read_bytes()
        assert stated_size(data) == (width, height)
        assert stated_size(data[:20]) is None
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0" * 50, b"\xff\xd8" + b"\xff" * 10**6):
        assert stated_size(nothing) is None
