"""AlphaPose results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from keypoint_samples import ALPHAPOSE, flat, put_json, tracks, xy_of

from cohorts.errors import CapbenchError
from cohorts.formats import alphapose_json
from cohorts.formats.alphapose_json import frame_numbers
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton


def test_a_hand_written_file(tmp_path: Path) -> None:
    notes: list[str] = []
    (track,) = alphapose_json.read(put_json(tmp_path / "cam2.json", ALPHAPOSE), rate=4, notes=notes)
    assert (track.camera, track.person, track.skeleton.name) == ("cam2", "3", "halpe-26")
    assert track.frames is not None and track.frames.tolist() == [0, 2]
    assert track.time.tolist() == [0, 0.5]
    assert np.array_equal(track.xy, [xy_of(26), xy_of(26, 50)])
    assert track.score is not None and track.score.tolist() == [2.9, 2.5]
    assert notes == []


@pytest.mark.parametrize("idx", [5, 5.0, [5], [[5.0]]])
def test_identities_as_its_trackers_write_them(tmp_path: Path, idx: Any) -> None:
    (track,) = alphapose_json.read(put_json(tmp_path / "a.json", [ALPHAPOSE[0] | {"idx": idx}]))
    assert track.person == "5"


def test_without_idx_people_are_ranked(tmp_path: Path) -> None:
    entry = {"image_id": "4.jpg", "keypoints": flat(17), "score": 1.0}
    notes: list[str] = []
    found = alphapose_json.read(put_json(tmp_path / "a.json", [entry, entry]), notes=notes)
    assert [t.person for t in found] == ["0", "1"]
    assert any("nothing was tracked" in note for note in notes)


def test_frame_numbers_of_image_names() -> None:
    notes: list[str] = []
    names = ["0.jpg", "12.jpg", "frame_0007.png", "video.003.PNG", "C:/a/b01c99.jpeg", "5"]
    assert list(frame_numbers(names, notes).values()) == [0, 12, 7, 3, 99, 5]
    assert notes == []


@pytest.mark.parametrize(
    "names", [["b.jpg", "a.jpg"], ["a1.jpg", "b1.jpg"], ["3.jpg", "x.jpg"], ["", "1"], ["9" * 15, "1"]]
)
def test_names_without_frame_numbers_are_numbered_in_order(names: list[str]) -> None:
    notes: list[str] = []
    assert frame_numbers([names[0], names[0], names[1]], notes) == {names[0]: 0, names[1]: 1}
    assert any("order of the file" in note for note in notes)


def test_3d_joints_are_left_out_with_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    alphapose_json.read(
        put_json(tmp_path / "a.json", [ALPHAPOSE[0] | {"pred_xyz_jts": [[1, 2, 3]]}]), notes=notes
    )
    assert any("pred_xyz_jts" in note for note in notes)


def test_what_is_written(tmp_path: Path) -> None:
    track = Keypoints("a", [0.0], np.ones((1, 17, 2)), skeleton("coco-17"), person="7", frames=[12])
    alphapose_json.write(tmp_path / "a.json", track)
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {"image_id": "12.jpg", "category_id": 1, "keypoints": [1.0] * 51, "score": 1.0, "idx": 7}
    ]


@settings(max_examples=50, deadline=None)
@given(people=tracks())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, people: tuple[Keypoints, ...]) -> None:
    path = tmp_path_factory.mktemp("a") / "cam01.json"
    alphapose_json.write(path, people)
    for track, again in zip(people, alphapose_json.read(path), strict=True):
        if track.score is None:
            again = Keypoints(**{**again.__dict__, "score": None})
        assert again == track


GOOD = ALPHAPOSE[0]
BAD: list[tuple[Any, str]] = [
    ([], "at least one person"),
    (None, "a list"),
    ({"0.jpg": {"version": "AlphaPose v0.3", "bodies": []}}, "cmu or open"),
    ([1], "detection 0"),
    ([{"keypoints": flat(17)}], "image_id"),
    ([GOOD | {"image_id": None}], "image_id"),
    ([GOOD | {"image_id": True}], "image_id"),
    ([GOOD | {"image_id": [1]}], "image_id"),
    ([GOOD | {"image_id": -1}], "image_id"),
    ([GOOD | {"keypoints": {}}], "keypoints"),
    ([GOOD | {"keypoints": [[1, 2, 3]]}], "keypoints"),
    ([GOOD | {"keypoints": flat(136)}], "136 points"),
    ([GOOD | {"keypoints": flat(26, confidence=-1)}], "negative confidence"),
    ([GOOD | {"score": [1]}], "score"),
    ([GOOD | {"idx": {}}], "idx"),
    ([GOOD | {"idx": True}], "idx"),
    ([GOOD, GOOD], "frame 0: Expected person 3 once per frame"),
]


@pytest.mark.parametrize(("content", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = put_json(tmp_path / "a.json", content)
    with pytest.raises(CapbenchError, match="(?s)" + match) as caught:
        alphapose_json.read(path)
    assert caught.value.file == str(path)
