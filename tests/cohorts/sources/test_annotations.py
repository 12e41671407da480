"""Annotated pictures: COCO JSON and npz, read as keypoints and as cohorts."""

import json
from pathlib import Path

import numpy as np
import pytest

from cohorts import CapbenchError, RefusedError, skeleton
from cohorts.check import check
from cohorts.sources import read_folder, recognise
from cohorts.sources.annotations import read_keypoints
from cohorts.store import save

COCO = skeleton("coco-17")


def points(seed: int, seen: int = 2) -> list[float]:
    xy = np.random.default_rng(seed).uniform(10, 90, (17, 2)).round(2)
    return np.column_stack([xy, np.full(17, seen)]).ravel().tolist()


def coco(folder: Path) -> Path:
    hidden = points(2)
    hidden[2], hidden[5] = 1, 0  # nose hidden, left eye not annotated
    content = {
        "images": [
            {"id": 7, "file_name": "b/10.jpg", "width": 100, "height": 100},
            {"id": 3, "file_name": "b/9.jpg", "width": 100, "height": 100},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "keypoints": points(1), "track_id": 4},
            {"id": 2, "image_id": 3, "keypoints": hidden, "track_id": 4},
            {"id": 3, "image_id": 3, "keypoints": points(3), "track_id": 5},
            {"id": 4, "image_id": 3, "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.points)}],
    }
    (folder / "annotations").mkdir(parents=True)
    path = folder / "annotations" / "val.json"
    path.write_text(json.dumps(content))
    return path


def test_coco_annotations_become_tracks(tmp_path) -> None:
    first, second = read_keypoints(coco(tmp_path))
    assert (first.person, second.person) == ("4", "5") and first.skeleton is COCO
    assert first.frames is not None and first.frames.tolist() == [0, 1]  # 9.jpg comes before 10.jpg
    np.testing.assert_array_equal(first.xy[1].ravel(), np.reshape(points(1), (17, 3))[:, :2].ravel())
    assert first.confidence[0, 0] == 0.5 and first.confidence[0, 1] == 0 and np.isnan(first.xy[0, 1]).all()
    assert (first.confidence[1] == 1).all()


def test_a_folder_of_coco_annotations(tmp_path) -> None:
    coco(tmp_path)
    (tmp_path / "images").mkdir()
    assert recognise(tmp_path) == ("annotations", "annotations/val.json holds annotated keypoints")
    imported = read_folder(tmp_path)
    (trial,) = imported.cohort.trials
    assert dict(trial.extras) == {"keypoints": "annotations/val.json", "images": "images"}
    assert imported.card.reference.kind == "keypoints" and imported.card.cameras is None
    stored = save(imported, tmp_path.parent / f"{tmp_path.name}-cohort")
    assert {f.severity for f in check(stored)} <= {"note"}  # no mass is needed to score keypoints


def npz(folder: Path, **changes: object) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "imgname": np.array(["s/0001.png", "s/0002.png", "s/0002.png"]),
        "gtkps": np.concatenate([rng.uniform(1, 99, (3, 127, 2)), np.ones((3, 127, 1))], axis=-1),
        "sub": np.array(["rp_a", "rp_a", "rp_b"]),
        "pose_cam": rng.normal(size=(3, 165)),
    }
    arrays |= changes
    path = folder / "scene.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})  # type: ignore[arg-type]
    return path


def test_npz_labels_of_smplx_keep_the_55_joints(tmp_path) -> None:
    notes: list[str] = []
    path = npz(tmp_path)
    first, second = read_keypoints(path, notes=notes)
    assert (first.person, second.person) == ("rp_a", "rp_b")
    assert first.skeleton is skeleton("smplx-55") and first.xy.shape == (2, 55, 2)
    np.testing.assert_array_equal(second.xy[0], np.load(path)["gtkps"][2, :55, :2])
    assert notes == ["127 points are taken for SMPL-X's; the 55 joints were kept"]
    assert recognise(tmp_path)[0] == "annotations"


def test_npz_labels_without_visibility_or_people(tmp_path) -> None:
    xy = np.random.default_rng(1).uniform(1, 99, (3, 24, 2))
    xy[0, 5] = 0
    found = read_keypoints(npz(tmp_path, gtkps=xy, sub=None))
    assert [track.person for track in found] == ["0", "1"]
    assert np.isnan(found[0].xy[0, 5]).all() and found[0].skeleton.name == "smpl-24"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gtkps": np.zeros((3, 5))}, r"gtkps of shape \(N, K, 2 or 3\)"),
        ({"gtkps": np.ones((3, 99, 3))}, "one skeleton has, got 99"),
        ({"gtkps": np.ones((3, 17, 3))}, "have as many"),
        ({"imgname": np.array(["one.png"])}, "imgname as 3 texts"),
        ({"sub": np.array(["a", "b", "b"])}, "each person once, got 'b' twice"),
        ({"imgname": None}, "got neither"),
    ],
)
def test_npz_labels_that_are_none(tmp_path, changes, says) -> None:
    with pytest.raises(CapbenchError, match=says) as caught:
        read_keypoints(npz(tmp_path, **changes))
    assert caught.value.file == str(tmp_path / "scene.npz")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["annotations"][0].update(image_id=99), "image_id among the images"),
        (lambda c: c["annotations"][0]["keypoints"].pop(), "three numbers"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(2, 5), "visibilities 0, 1 or 2"),
        (lambda c: c.pop("categories"), "points' names in categories"),
        (lambda c: c["categories"][0]["keypoints"].pop(), "Expected 16 points"),
        (lambda c: c["images"][0].pop("file_name"), "file_name"),
        (lambda c: c.update(annotations=[]), "at least one annotated person"),
    ],
)
def test_coco_annotations_that_are_none(tmp_path, change, says) -> None:
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(CapbenchError, match=says) as caught:
        read_keypoints(path)
    assert caught.value.file == str(path)


def test_a_skeleton_that_was_named_is_kept_for_later(tmp_path) -> None:
    npz(tmp_path, gtkps=np.ones((3, 17, 3)))
    imported = read_folder(tmp_path, skeleton="h36m-17")
    assert imported.card.reference.model == "skeleton h36m-17"
    assert {f.severity for f in check(imported)} <= {"note"}


def test_pictures_outside_the_folder_are_refused(tmp_path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "set").mkdir()
    coco(tmp_path / "set")
    with pytest.raises(RefusedError, match="below the folder that is imported"):
        read_folder(tmp_path / "set", images="../pictures")


def test_nothing_annotated(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(CapbenchError, match="with annotated keypoints, got none"):
        read_folder(tmp_path, source="annotations")
