"""MMPose predictions as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keypoint_samples import MMPOSE_DEMO, MMPOSE_IMAGE, MMPOSE_VIDEO, put_json, tracks, xy_of

from cohorts.errors import CapbenchError
from cohorts.formats import mmpose_json
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton

INSTANCE: dict[str, Any] = MMPOSE_IMAGE[0]  # type: ignore[index,assignment]


@pytest.mark.parametrize("content", [MMPOSE_VIDEO, MMPOSE_IMAGE, MMPOSE_DEMO], ids=["video", "image", "demo"])
def test_all_three_layouts(tmp_path: Path, content: Any) -> None:
    (track,) = mmpose_json.read(put_json(tmp_path / "cam.json", content))
    assert (track.camera, track.person, track.skeleton.name) == ("cam", "0", "coco-17")
    assert track.frames is not None and track.frames.tolist() == [0]
    assert np.array_equal(track.xy, [xy_of(17)])
    assert (track.confidence == 0.5).all()
    assert track.score is not None and track.score.tolist() == [0.75]


def test_frames_and_people(tmp_path: Path) -> None:
    other = INSTANCE | {"keypoints": xy_of(17, 900).tolist()}
    content = [{"frame_id": 10, "instances": [INSTANCE, other]}, {"frame_id": 11, "instances": [other]}]
    first, second = mmpose_json.read(put_json(tmp_path / "a.json", content), rate=10)
    assert first.time.tolist() == [1.0, 1.1] and second.time.tolist() == [1.0]
    assert first.xy[:, 0, 0].tolist() == [100, 900] and second.xy[0, 0, 0] == 900


def test_track_ids_say_who_is_who(tmp_path: Path) -> None:
    content = [
        {"frame_id": i, "instances": [INSTANCE | {"track_id": t} for t in who]}
        for i, who in ((0, [5, 2]), (1, [2]))
    ]
    found = mmpose_json.read(put_json(tmp_path / "a.json", content))
    assert [(t.person, len(t)) for t in found] == [("2", 2), ("5", 1)]


def test_what_is_written(tmp_path: Path) -> None:
    xy = np.ones((1, 17, 2))
    xy[0, 1:] = np.nan
    track = Keypoints("a", [0.0], xy, skeleton("coco-17"), frames=[12], score=[0.5])
    mmpose_json.write(tmp_path / "a.json", track)
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {
            "frame_id": 12,
            "instances": [
                {
                    "keypoints": [[1.0, 1.0]] + [[0.0, 0.0]] * 16,
                    "keypoint_scores": [1.0] + [0.0] * 16,
                    "bbox_score": 0.5,
                }
            ],
        }
    ]


@settings(max_examples=50, deadline=None)
@given(people=tracks(persons=st.text(min_size=1, max_size=8)))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, people: tuple[Keypoints, ...]) -> None:
    path = tmp_path_factory.mktemp("m") / "cam01.json"
    mmpose_json.write(path, people)
    read = {t.person: t for t in mmpose_json.read(path)}
    assert read == {t.person: t for t in people}


def frame(**changes: Any) -> list[dict[str, Any]]:
    return [{"frame_id": 0, "instances": [INSTANCE | changes]}]


BAD: list[tuple[Any, str]] = [
    ([], "at least one person"),
    ({}, "instance_info"),
    ({"instance_info": {}}, "a list of frames"),
    ({"instance_info": None}, "a list of frames"),
    ("x", "a list of frames"),
    ([{"frame_id": 0, "instances": []}], "at least one person"),
    ([1, *frame()], "entry 0"),
    ([{"frame_id": -1, "instances": []}], "frame_id"),
    ([{"frame_id": True, "instances": []}], "frame_id"),
    ([{"frame_id": "x", "instances": []}], "frame_id"),
    ([{"instances": []}], "frame_id"),
    ([{"frame_id": 0}, *frame()], "the entry 'instances'"),
    ([{"frame_id": 0, "instances": {}}], "a list of people"),
    (frame() * 2, "frame 0: Expected each frame once"),
    ([{"frame_id": 3, "instances": [None]}], "frame 3, instance 0"),
    ([None], "an instance"),
    (frame(keypoints=None), "a list of points"),
    (frame(keypoints=[]), "keypoints"),
    (frame(keypoints=[[1, 2]] * 1001), "keypoints"),
    (frame(keypoints=[[1, 2, 3]] * 17), "these are 3D"),
    (frame(keypoints=[1.0] * 34), r"\[x, y\]"),
    (frame(keypoints=[[1, True]] * 17), "True"),
    (frame(keypoints=[[1, [2]]] * 17), "keypoints to be numbers"),
    (frame(keypoints=[["1", 2]] * 17), "'1'"),
    (frame(keypoint_scores=[0.5]), "a score for each of 17"),
    (frame(keypoint_scores=None), "keypoint_scores"),
    (frame(keypoint_scores=[-1] * 17), "negative confidence"),
    (frame(bbox_score="x"), "bbox_score"),
    (frame(track_id=[]), "track_id"),
]


@pytest.mark.parametrize(("content", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = put_json(tmp_path / "a.json", content)
    with pytest.raises(CapbenchError, match="(?s)" + match) as caught:
        mmpose_json.read(path)
    assert caught.value.file == str(path)


def test_the_same_person_twice_in_a_frame_is_refused(tmp_path: Path) -> None:
    content = [{"frame_id": 0, "instances": [INSTANCE | {"track_id": 1}] * 2}]
    with pytest.raises(CapbenchError, match="frame 0: Expected person 1 once per frame"):
        mmpose_json.read(put_json(tmp_path / "a.json", content))
