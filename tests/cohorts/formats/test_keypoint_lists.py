"""What all formats of frame-wise keypoints share, tested once, on lists made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import keypoint_lists as lists
from cohorts.formats.keypoint_lists import Detection, Detections
from cohorts.recording import Keypoints
from cohorts.skeleton import skeleton

FILE = Path("folder") / "left.camera.json"


def detection(frame: int, person: str | None = None, k: int = 17, score: float | None = None) -> Detection:
    points = np.column_stack([np.arange(k) + 100.0 * frame, np.arange(k) + 7.0, np.full(k, 0.5)])
    return Detection(frame, points, person, score)


def tracks(*detections: Detection, **options: Any) -> tuple[tuple[Keypoints, ...], list[str]]:
    found, notes = Detections(), []
    for d in detections:
        found.add(d)
    return lists.tracks(found, FILE, notes=notes, **options), notes


# --- time, names, skeletons ---------------------------------------------------------------------


def test_time_is_frame_by_rate() -> None:
    (track,), notes = tracks(detection(30), detection(45), rate=60)
    assert track.time.tolist() == [0.5, 0.75]
    assert track.frames is not None and track.frames.tolist() == [30, 45]
    assert not any("rate" in note for note in notes)


def test_without_a_rate_time_counts_frames_and_a_note_says_so() -> None:
    (track,), notes = tracks(detection(30), detection(45))
    assert track.time.tolist() == [30, 45]
    assert "no frame rate in the file: time counts frames; give --rate" in notes


@pytest.mark.parametrize("rate", [0, -25, float("nan"), float("inf"), 1e7, True, "25"])
def test_rates_that_are_none(rate: Any) -> None:
    with pytest.raises(CapbenchError, match="frame rate"):
        tracks(detection(1), rate=rate)


def test_the_camera_is_the_file_or_what_is_asked_for() -> None:
    assert tracks(detection(1))[0][0].camera == "left.camera"
    assert tracks(detection(1), camera="cam3")[0][0].camera == "cam3"


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (14, "crowdpose-14"),
        (16, "mpii-16"),
        (17, "coco-17"),
        (25, "openpose-25"),
        (26, "halpe-26"),
        (33, "blazepose-33"),
        (52, "synthpose-52"),
        (133, "coco-wholebody-133"),
    ],
)
def test_the_number_of_points_names_the_skeleton(count: int, name: str) -> None:
    (track,), notes = tracks(detection(1, k=count))
    assert track.skeleton is skeleton(name)
    assert len(track.skeleton) == count
    assert any(name in note for note in notes) == (count in (14, 16, 17, 25, 52))


def test_an_ambiguous_number_is_noted_with_what_else_it_could_be() -> None:
    _, notes = tracks(detection(1, k=17))
    assert any("coco-17" in n and "h36m-17" in n and "--skeleton" in n for n in notes)
    _, notes = tracks(detection(1, k=17), skeleton="h36m-17")
    assert not any("h36m-17" in n for n in notes)


def test_a_skeleton_asked_for_is_taken() -> None:
    (track,), _ = tracks(detection(1, k=17), skeleton="h36m-17")
    assert track.skeleton.name == "h36m-17"


def test_a_skeleton_of_another_size_is_refused_with_those_that_fit() -> None:
    with pytest.raises(CapbenchError, match=r"25 points.*got 17.*coco-17") as caught:
        tracks(detection(1, k=17), skeleton="openpose-25")
    assert caught.value.file == str(FILE)


def test_unknown_numbers_and_names_are_refused() -> None:
    with pytest.raises(CapbenchError, match=r"got 18 points.*halpe-26"):
        tracks(detection(1, k=18))
    with pytest.raises(CapbenchError, match="coco-17"):
        tracks(detection(1, k=17), skeleton="coco17")


def test_a_mixture_of_sizes_is_refused() -> None:
    with pytest.raises(CapbenchError, match="frame 2: Expected 17 points"):
        tracks(detection(1), detection(2, k=25))


def test_nobody_is_an_error() -> None:
    with pytest.raises(CapbenchError, match="at least one person"):
        tracks()


# --- who is who ---------------------------------------------------------------------------------


def test_without_identities_the_rank_is_the_person_and_a_note_says_so() -> None:
    (first, second), notes = tracks(detection(1), detection(1), detection(2), detection(3), detection(3))
    assert (first.person, second.person) == ("0", "1")
    assert first.frames is not None and first.frames.tolist() == [1, 2, 3]
    assert second.frames is not None and second.frames.tolist() == [1, 3]
    assert any("nothing was tracked" in note for note in notes)


def test_identities_are_used_and_sorted_as_numbers() -> None:
    found, notes = tracks(*(detection(1, p) for p in ("10", "9", "anna", "2")))
    assert [t.person for t in found] == ["2", "9", "10", "anna"]
    assert not any("tracked" in note for note in notes)


def test_identities_of_some_only_are_not_used() -> None:
    found, notes = tracks(detection(1, "7"), detection(1), detection(2, "7"))
    assert [t.person for t in found] == ["0", "1"]
    assert any("1 of 3 detections have no identity" in note for note in notes)


def test_one_person_twice_in_a_frame_is_refused() -> None:
    with pytest.raises(CapbenchError, match="frame 4: Expected person 7 once per frame"):
        tracks(detection(4, "7"), detection(5, "7"), detection(4, "7"))


def test_frames_out_of_order_are_sorted_with_a_note() -> None:
    (track,), notes = tracks(detection(5), detection(2))
    assert track.frames is not None and track.frames.tolist() == [2, 5]
    assert track.xy[:, 0, 0].tolist() == [200, 500]
    assert any("not in order" in note for note in notes)


def test_the_number_of_people_is_bounded() -> None:
    with pytest.raises(CapbenchError, match="people"):
        tracks(*[detection(1)] * (lists.PERSON_LIMIT + 1))


def test_the_number_of_points_is_bounded() -> None:
    found = Detections(limit=33)
    found.add(detection(1))
    with pytest.raises(RefusedError, match="points"):
        found.add(detection(2))


# --- points -------------------------------------------------------------------------------------


def with_points(points: list[list[float]]) -> tuple[Keypoints, list[str]]:
    whole = np.full((17, 3), 5.0)
    whole[:, 2] = 0.5
    whole[: len(points)] = points
    (track,), notes = tracks(Detection(3, whole, "0", None))
    return track, notes


def test_points_of_confidence_0_are_missing() -> None:
    track, notes = with_points([[0, 0, 0], [4, 5, 0]])
    assert np.isnan(track.xy[0, :2]).all() and np.isfinite(track.xy[0, 2:]).all()
    assert track.confidence[0, :3].tolist() == [0, 0, 0.5]
    assert any("1 points with coordinates but confidence 0" in note for note in notes)


def test_points_that_are_not_numbers_are_missing_with_a_note() -> None:
    nan = float("nan")
    track, notes = with_points([[4, 5, nan], [nan, 5, 0.5], [nan, nan, 0.5], [nan, nan, nan]])
    assert np.isnan(track.xy[0, :4]).all()
    assert track.confidence[0, :4].tolist() == [0, 0, 0, 0]
    assert any("2 points without a confidence" in note for note in notes)
    assert any("2 points without coordinates" in note for note in notes)


@pytest.mark.parametrize(
    ("point", "match"),
    [
        ([4, 5, -0.1], "negative confidence"),
        ([4, float("inf"), 0.5], "infinity"),
        ([4, 5, float("inf")], "infinity"),
        ([4, 5, float("-inf")], "negative"),
    ],
)
def test_impossible_points_are_refused_with_their_whereabouts(point: list[float], match: str) -> None:
    with pytest.raises(CapbenchError, match=match) as caught:
        with_points([[1, 2, 0.5], point])
    assert caught.value.place == "frame 3, person 0, point left_eye"
    assert caught.value.file == str(FILE)


def test_normalised_coordinates_and_visibility_flags_are_noted() -> None:
    _, notes = with_points([[9, 9, 0.5]])
    assert not any("normalised" in n or "visibility" in n for n in notes)
    points = np.column_stack([np.linspace(0, 1, 17), np.linspace(0, 0.5, 17), np.ones(17)])
    _, notes = tracks(Detection(1, points))
    assert any("normalised" in note for note in notes)
    points = np.column_stack([np.arange(17) + 9.0, np.arange(17), np.full(17, 2.0)])
    _, notes = tracks(Detection(1, points))
    assert any("visibility flags" in note for note in notes)


def test_scores_are_kept_where_everyone_has_one() -> None:
    (track,), _ = tracks(detection(1, score=0.5), detection(2, score=-1.5))
    assert track.score is not None and track.score.tolist() == [0.5, -1.5]
    (track,), _ = tracks(detection(1, score=0.5), detection(2))
    assert track.score is None


# --- values -------------------------------------------------------------------------------------

ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
ODD: list[Any] = [None, True, "x", "1" * 30, 10**400, [], [[1]], {}, {"a": 1}, ENDLESS, b"x", set(), object()]


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_odd_values_are_refused_in_a_few_words(value: Any) -> None:
    functions: list[Any] = [lists.finite, lists.frame_number, lists.whole, lists.flat_points]
    for function in functions:
        with pytest.raises(CapbenchError) as caught:
            function(value, "this", "there")
        assert len(str(caught.value)) < 250
        assert caught.value.place == "there"
    assert len(lists.said(value)) < 80


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, -1, 2**48, 2**63, "-1", "1.0", "٣"])
def test_frame_numbers_count(value: Any) -> None:
    with pytest.raises(CapbenchError):
        lists.frame_number(value, "frame")


def test_frame_numbers_as_files_write_them() -> None:
    assert [lists.frame_number(v, "frame") for v in (0, 7.0, "000012", 2**48 - 1)] == [0, 7, 12, 2**48 - 1]


@pytest.mark.parametrize(
    ("value", "name"),
    [(3, "3"), (3.0, "3"), ([3], "3"), ([[3.0]], "3"), ("anna", "anna"), (-1, None), ([-1], None)],
)
def test_identities(value: Any, name: str | None) -> None:
    assert lists.identity(value, "person_id") == name


@pytest.mark.parametrize("value", [None, True, "", "x" * 101, [], [1, 2], ENDLESS, {}, 1.5, 10**400])
def test_identities_that_are_none(value: Any) -> None:
    with pytest.raises(CapbenchError):
        lists.identity(value, "person_id")


@pytest.mark.parametrize("size", [0, 1, 2, 4, 3 * 1001])
def test_points_come_in_threes(size: int) -> None:
    with pytest.raises(CapbenchError, match="three numbers"):
        lists.flat_points([1.0] * size, "keypoints")


@pytest.mark.parametrize("value", [True, "1", [1.0], {}, 10**400, object()])
def test_points_are_numbers(value: Any) -> None:
    with pytest.raises(CapbenchError):
        lists.flat_points([1.0, 2.0, value], "keypoints")


def test_null_is_not_a_number_and_arrays_will_do() -> None:
    assert np.isnan(lists.flat_points([None, 2, 0.5], "keypoints")[0, 0])
    assert lists.flat_points(np.array([1, 2, 3], np.int16), "keypoints").tolist() == [[1, 2, 3]]
    for odd in (np.ones((1, 3)), np.array(["a", "b", "c"]), np.array([True] * 3)):
        with pytest.raises(CapbenchError):
            lists.flat_points(odd, "keypoints")


# --- writing ------------------------------------------------------------------------------------


def track(person: str = "0", frames: list[int] | None = None, **changes: Any) -> Keypoints:
    parts: dict[str, Any] = {
        "camera": "a",
        "time": [0.0, 0.5],
        "xy": np.ones((2, 17, 2)),
        "skeleton": skeleton("coco-17"),
        "person": person,
        "frames": frames,
    }
    return Keypoints(**(parts | changes))


def test_tracks_without_frame_numbers_count_the_frames_of_their_common_time() -> None:
    late = track("1", time=[0.5, 1.0])
    rows = lists.rows((track("0"), late), FILE)
    assert [(r.frame, r.rank) for r in rows] == [(0, 0), (1, 0), (1, 1), (2, 1)]


def test_labels_say_no_more_than_needed() -> None:
    assert {r.label for r in lists.rows(track("0"), FILE)} == {None}
    assert {r.label for r in lists.rows(track("5"), FILE)} == {5}
    rows = lists.rows((track("5"), track("007"), track("anna")), FILE)
    assert {(r.label, r.number) for r in rows} == {(5, 0), ("007", 1), ("anna", 2)}


@pytest.mark.parametrize(
    ("people", "match"),
    [
        ((), "at least one frame"),
        ((track(time=[], xy=np.ones((0, 17, 2))),), "at least one frame"),
        ((track("0"), track("0")), "each person once"),
        ((track("0"), track("1", camera="b")), "one camera"),
        ((track("0"), track("1", xy=np.ones((2, 25, 2)), skeleton=skeleton("openpose-25"))), "one skeleton"),
        ((track("0", [1, 2]), track("1")), "for everyone or for no one"),
        ((track("0", [2, 1]),), "increase"),
        ((track("0", [2, 2]),), "increase"),
        ((track("0", [-1, 1]),), "increase"),
        ((track("0", [1, 2**48]),), "increase"),
        ((track(""),), "1 to 100 letters"),
    ],
)
def test_what_these_files_can_not_hold(people: tuple[Keypoints, ...], match: str) -> None:
    with pytest.raises(CapbenchError, match=match) as caught:
        lists.rows(people, FILE)
    assert caught.value.file == str(FILE)
