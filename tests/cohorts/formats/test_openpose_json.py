"""OpenPose JSON folders and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from keypoint_samples import OPENPOSE, flat, put_json, tracks, xy_of

from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.formats import openpose_json
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton

EMPTY = {"version": 1.3, "people": []}


def person(x: float = 100, who: Any = (-1,), **more: Any) -> dict[str, Any]:
    return {"person_id": list(who), "pose_keypoints_2d": flat(25, x)} | more


def put(folder: Path, contents: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        put_json(folder / name, content)
    return folder


def test_a_hand_written_folder(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "left",
        {
            "walk_000000000011_keypoints.json": {"people": [person(50)]},
            "walk_000000000003_keypoints.json": {"people": [person(100)]},
            "walk_000000000004_keypoints.json": EMPTY,
            "readme.txt": "not read",
        },
    )
    notes: list[str] = []
    (track,) = openpose_json.read(folder, rate=2, notes=notes)
    assert (track.camera, track.person, track.skeleton.name) == ("left", "0", "openpose-25")
    assert track.frames is not None and track.frames.tolist() == [3, 11]
    assert track.time.tolist() == [1.5, 5.5]
    assert np.array_equal(track.xy, [xy_of(25), xy_of(25, 50)])
    assert (track.confidence == 0.5).all() and track.score is None
    assert not any("not in order" in note for note in notes)


def test_one_file(tmp_path: Path) -> None:
    path = put_json(tmp_path / "left_000000000012_keypoints.json", OPENPOSE)
    (track,) = openpose_json.read(path)
    assert (track.camera, track.time.tolist()) == ("left", [12])


def test_person_ids_say_who_is_who_unless_they_are_minus_1(tmp_path: Path) -> None:
    people = [person(1, [4]), person(2, [2])]
    found = openpose_json.read(put_json(tmp_path / "a_0_keypoints.json", {"people": people}))
    assert [(t.person, t.xy[0, 0, 0]) for t in found] == [("2", 2), ("4", 1)]
    people = [person(1), person(2), person(3, who=[])]
    found = openpose_json.read(put_json(tmp_path / "b_0_keypoints.json", {"people": people}))
    assert [(t.person, t.xy[0, 0, 0]) for t in found] == [("0", 1), ("1", 2), ("2", 3)]


def test_what_is_not_read_is_noted(tmp_path: Path) -> None:
    people = [person(face_keypoints_2d=[1, 2, 3], hand_left_keypoints_2d=[]), {"pose_keypoints_2d": []}]
    notes: list[str] = []
    found = openpose_json.read(put_json(tmp_path / "a_0_keypoints.json", {"people": people}), notes=notes)
    assert len(found) == 1
    assert "not read: face_keypoints_2d, people without body points" in notes


def test_points_nobody_saw_are_missing(tmp_path: Path) -> None:
    points = flat(25)
    points[3:6] = 0.0, 0.0, 0.0
    content = {"people": [{"pose_keypoints_2d": points}]}
    (track,) = openpose_json.read(put_json(tmp_path / "a_0_keypoints.json", content))
    assert np.isnan(track.xy[0, 1]).all() and track.confidence[0, 1] == 0
    assert np.isfinite(track.xy[0, [0, 2]]).all()


def test_names_without_numbers_are_taken_in_alphabetical_order(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", {f"{n}_keypoints.json": {"people": [person(ord(n))]} for n in "ba"})
    notes: list[str] = []
    (track,) = openpose_json.read(folder, notes=notes)
    assert track.xy[:, 0, 0].tolist() == [97, 98]
    assert any("alphabetical" in note for note in notes)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["cam1_000_keypoints.json", "cam2_000_keypoints.json"], "several kinds: cam1, cam2"),
        (["cam1_000_keypoints.json", "other_keypoints.json"], "several kinds: other_keypoints.json"),
        (["cam1_00_keypoints.json", "cam1_000_keypoints.json"], "frame 0 once"),
        (["a.json"], "got 0"),
    ],
)
def test_folders_that_are_not_one_recording(tmp_path: Path, names: list[str], match: str) -> None:
    folder = put(tmp_path / "f", dict.fromkeys(names, OPENPOSE))
    with pytest.raises(CapbenchError, match=match) as caught:
        openpose_json.read(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_full_of_giants_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path / "f", {f"a_{i}_keypoints.json": OPENPOSE for i in range(9)})
    monkeypatch.setattr(openpose_json, "JSON_LIMIT", 2000)
    with pytest.raises(RefusedError, match="all files"):
        openpose_json.read(folder)


# --- writing ------------------------------------------------------------------------------------


def track(frames: list[int], who: str = "0") -> Keypoints:
    xy = np.arange(len(frames) * 50.0).reshape(len(frames), 25, 2) + 1
    return Keypoints("a", np.array(frames) / 10, xy, skeleton("openpose-25"), person=who, frames=frames)


def test_what_is_written(tmp_path: Path) -> None:
    openpose_json.write(tmp_path / "left", (track([3, 5]), track([5], "1")))
    names = [f"left_00000000000{i}_keypoints.json" for i in (3, 4, 5)]
    assert sorted(p.name for p in (tmp_path / "left").iterdir()) == names
    first, empty, last = (json.loads((tmp_path / "left" / n).read_text()) for n in names)
    assert empty == EMPTY
    (someone,) = first["people"]
    assert someone["person_id"] == [0]
    assert someone["pose_keypoints_2d"][:6] == [1, 2, 1, 3, 4, 1]
    assert [p["person_id"] for p in last["people"]] == [[0], [1]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["left"]


@settings(max_examples=30, deadline=None)
@given(people=tracks(scores=False))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, people: tuple[Keypoints, ...]) -> None:
    path = tmp_path_factory.mktemp("o") / "cam01"
    openpose_json.write(path, people)
    assert openpose_json.read(path) == people


def test_overwriting_takes_consent_and_replaces_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "left"
    openpose_json.write(target, track([3, 4]))
    with pytest.raises(CapbenchError, match="exists"):
        openpose_json.write(target, track([7]))
    assert len(list(target.iterdir())) == 2
    openpose_json.write(target, track([7]), overwrite=True)
    assert [p.name for p in target.iterdir()] == ["left_000000000007_keypoints.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["left"]


def test_a_folder_with_anything_else_in_it_is_never_overwritten(tmp_path: Path) -> None:
    target = put(tmp_path / "left", {"a_0_keypoints.json": OPENPOSE, "thesis.json": 1})
    with pytest.raises(CapbenchError, match="something else"):
        openpose_json.write(target, track([7]), overwrite=True)
    assert sorted(p.name for p in target.iterdir()) == ["a_0_keypoints.json", "thesis.json"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(CapbenchError, match="something else"):
        openpose_json.write(tmp_path / "file", track([7]), overwrite=True)


def test_a_failure_leaves_the_old_folder_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "left"
    openpose_json.write(target, track([3]))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(openpose_json.os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="No space"):
        openpose_json.write(target, track([7]), overwrite=True)
    assert [p.name for p in target.iterdir()] == ["left_000000000003_keypoints.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["left"]


def test_what_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(CapbenchError, match="one file per frame"):
        openpose_json.write(tmp_path / "a.json", track([7]))
    with pytest.raises(CapbenchError, match="count frames"):
        openpose_json.write(tmp_path / "a", track([7, 10**9]))
    with pytest.raises(CapbenchError, match="existing folder"):
        openpose_json.write(tmp_path / "no" / "a", track([7]))
    assert list(tmp_path.iterdir()) == []


BAD: list[tuple[Any, str]] = [
    ([], "a mapping with the people"),
    ({}, "the entry 'people'"),
    ({"people": {}}, "a list of people"),
    ({"people": []}, "at least one person"),
    ({"people": [None]}, "frame 5, person 0"),
    ({"people": [{}]}, "pose_keypoints_2d"),
    ({"people": [person(pose_keypoints_2d=None)]}, "pose_keypoints_2d"),
    ({"people": [person(pose_keypoints_2d="x")]}, "pose_keypoints_2d"),
    ({"people": [person(pose_keypoints_2d=[1, 2])]}, "three numbers"),
    ({"people": [person(pose_keypoints_2d=[[1, 2, 3]] * 25)]}, "numbers"),
    ({"people": [person(pose_keypoints_2d=flat(25, confidence=-0.1))]}, "negative confidence"),
    ({"people": [person(who=[1, 2])]}, "person_id"),
    ({"people": [person(who=[True])]}, "person_id"),
    ({"people": [person(who=[1]), person(who=[1])]}, "frame 5: Expected person 1 once per frame"),
]


@pytest.mark.parametrize(("content", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = put_json(tmp_path / "a_5_keypoints.json", content)
    with pytest.raises(CapbenchError, match="(?s)" + match) as caught:
        openpose_json.read(path)
    assert caught.value.file == str(path)


def test_errors_in_a_folder_name_the_file(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", {"a_1_keypoints.json": OPENPOSE, "a_2_keypoints.json": {"people": 3}})
    with pytest.raises(CapbenchError) as caught:
        openpose_json.read(folder)
    assert caught.value.file == str(folder / "a_2_keypoints.json")
