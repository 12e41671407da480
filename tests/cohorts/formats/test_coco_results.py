"""COCO keypoint results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keypoint_samples import COCO, flat, put_json, tracks, xy_of

from cohorts.errors import CapbenchError
from cohorts.formats import coco_results
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton


def test_a_hand_written_file(tmp_path: Path) -> None:
    (track,) = coco_results.read(put_json(tmp_path / "left.json", COCO), rate=10)
    assert track.camera == "left"
    assert track.skeleton.name == "coco-17"
    assert track.person == "0"
    assert track.frames is not None and track.frames.tolist() == [7, 9]
    assert track.time.tolist() == [0.7, 0.9]
    assert np.array_equal(track.xy, [xy_of(17), xy_of(17, 200)])
    assert (track.confidence == 0.5).all()
    assert track.score is not None and track.score.tolist() == [0.9, 0.8]


def test_image_ids_may_be_text_and_people_are_ranked(tmp_path: Path) -> None:
    entries = [
        {"image_id": "000000000139", "category_id": 1, "keypoints": flat(17, x), "score": s}
        for x, s in ((1, 0.5), (900, 0.9))
    ]
    notes: list[str] = []
    first, second = coco_results.read(put_json(tmp_path / "a.json", entries), notes=notes)
    assert (first.person, second.person) == ("0", "1")
    assert first.frames is not None and first.frames.tolist() == [139]
    assert (first.xy[0, 0, 0], second.xy[0, 0, 0]) == (1, 900)  # order of the file, not of scores
    assert any("nothing was tracked" in note for note in notes)


def test_track_ids_say_who_is_who(tmp_path: Path) -> None:
    entries = [{"image_id": i, "keypoints": flat(17), "track_id": t} for i, t in ((1, 4), (1, "b"), (2, 4))]
    found = coco_results.read(put_json(tmp_path / "a.json", entries))
    assert [(t.person, len(t), t.score) for t in found] == [("4", 2, None), ("b", 1, None)]


def test_what_is_written_is_what_coco_reads(tmp_path: Path) -> None:
    xy = np.full((2, 17, 2), np.nan)
    xy[0, 3] = 1.5, 2.5
    confidence = np.zeros((2, 17))
    confidence[0, 3] = 0.25
    track = Keypoints("a", [0.0, 0.5], xy, skeleton("coco-17"), confidence, frames=[4, 6])
    coco_results.write(tmp_path / "a.json", track)
    points = [0.0] * 51
    points[9:12] = 1.5, 2.5, 0.25
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {"image_id": 4, "category_id": 1, "keypoints": points, "score": 0.25},
        {"image_id": 6, "category_id": 1, "keypoints": [0.0] * 51, "score": 0.0},
    ]


@settings(max_examples=50, deadline=None)
@given(people=tracks(persons=st.text(min_size=1, max_size=8)))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, people: tuple[Keypoints, ...]) -> None:
    path = tmp_path_factory.mktemp("c") / "cam01.json"
    coco_results.write(path, people)
    read = {t.person: t for t in coco_results.read(path)}
    assert set(read) == {t.person for t in people}
    for track in people:
        again = read[track.person]
        if track.score is None:  # COCO needs one
            present = np.maximum((track.confidence > 0).sum(axis=1), 1)
            assert again.score is not None
            assert np.allclose(again.score, track.confidence.sum(axis=1) / present, rtol=1e-12)
            again = Keypoints(**{**again.__dict__, "score": None})
        assert again == track


def test_overwriting_is_refused(tmp_path: Path) -> None:
    track = Keypoints("a", [0.0], np.ones((1, 17, 2)), skeleton("coco-17"))
    coco_results.write(tmp_path / "a.json", track)
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(CapbenchError, match="exists"):
        coco_results.write(tmp_path / "a.json", track)
    coco_results.write(tmp_path / "a.json", track, overwrite=True)
    assert (tmp_path / "a.json").read_bytes() == before


GOOD = COCO[0]
BAD: list[tuple[Any, str]] = [
    ([], "at least one person"),
    ({}, "a list of detections"),
    ({"images": [], "annotations": []}, "ground truth"),
    (None, "a list of detections"),
    (3, "a list of detections"),
    ([None], "detection 0: Expected a detection, got null"),
    ([GOOD, []], "detection 1: Expected a detection, got a list of 0"),
    ([{"keypoints": flat(17)}], "the entry 'image_id'"),
    ([{"image_id": 1}], "the entry 'keypoints'"),
    ([GOOD | {"image_id": True}], "image_id"),
    ([GOOD | {"image_id": None}], "image_id"),
    ([GOOD | {"image_id": -3}], "image_id"),
    ([GOOD | {"image_id": 1e300}], "image_id"),
    ([GOOD | {"image_id": "12.jpg"}], "image_id"),
    ([GOOD | {"image_id": {}}], "image_id"),
    ([GOOD | {"keypoints": "x"}], "keypoints"),
    ([GOOD | {"keypoints": None}], "keypoints"),
    ([GOOD | {"keypoints": []}], "three numbers"),
    ([GOOD | {"keypoints": flat(17)[:-1]}], "three numbers"),
    ([GOOD | {"keypoints": [[1, 2, 3]] * 17}], "keypoints to be numbers, got a list of 3"),
    ([GOOD | {"keypoints": [True] * 51}], "keypoints to be numbers, got True"),
    ([GOOD | {"keypoints": [*flat(17)[:-1], "0.5"]}], "got '0.5'"),
    ([GOOD | {"keypoints": flat(17, confidence=-0.5)}], "frame 7, person 0, point nose"),
    ([GOOD | {"keypoints": flat(5)}], "5 points"),
    ([GOOD, GOOD | {"keypoints": flat(18)}], "Expected 17 points"),
    ([GOOD | {"score": "high"}], "score"),
    ([GOOD | {"score": True}], "score"),
    ([GOOD | {"track_id": 1.5}], "track_id"),
    ([GOOD | {"track_id": [1, 2]}], "track_id"),
    ([GOOD | {"track_id": 1}, GOOD | {"track_id": 1}], "once per frame"),
]


@pytest.mark.parametrize(("content", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = put_json(tmp_path / "a.json", content)
    with pytest.raises(CapbenchError, match="(?s)" + match) as caught:
        coco_results.read(path)
    assert caught.value.file == str(path)


def test_null_points_are_missing(tmp_path: Path) -> None:
    entry = GOOD | {"keypoints": [None, None, None, *flat(16)]}
    (track,) = coco_results.read(put_json(tmp_path / "a.json", [entry]))
    assert np.isnan(track.xy[0, 0]).all() and track.confidence[0, 0] == 0
