"""Boxes: closed forms, brute force, and files."""

from types import SimpleNamespace

import numpy as np
import pytest

from capbench.vision import boxes
from capbench.vision.boxes import BoxTrack
from cohorts.errors import CapbenchError
from cohorts.formats import native_npz
from cohorts.recording import Keypoints, Trial
from cohorts.skeleton import skeleton

NAN = np.nan


@pytest.mark.truth("closed form")
def test_extent_and_margin_of_the_longer_side() -> None:
    xy = [[10, 20], [30, 120], [20, 50], [500, 500]]
    got = boxes.from_points(xy, [0.9, 0.3, 0.5, 0.29], margin=0.1)
    np.testing.assert_allclose(got, [0, 10, 40, 130])  # 10 px all round: a tenth of 100


def test_too_few_points_are_nobody_and_never_a_warning() -> None:
    xy = np.array([[[0, 0], [5, 5], [9, 9]], [[0, 0], [5, 5], [NAN, NAN]], [[1, 1], [1, 1], [1, 1]]])
    with np.errstate(all="raise"):
        got = boxes.from_points(xy, margin=0)
    np.testing.assert_array_equal(got, [[0, 0, 9, 9], [NAN] * 4, [NAN] * 4])
    assert np.isnan(boxes.from_points(np.zeros((0, 2)))).all()
    assert boxes.from_points(np.zeros((0, 5, 2))).shape == (0, 4)


def test_a_size_cuts_off_and_what_is_outside_is_nobody() -> None:
    xy = [[-10, 5], [20, 5], [20, 50]]
    np.testing.assert_allclose(boxes.from_points(xy, margin=0), [-10, 5, 20, 50])
    np.testing.assert_allclose(boxes.from_points(xy, margin=0, size=(16, 40)), [-0.5, 5, 15.5, 39.5])
    assert np.isnan(boxes.clip([30, 0, 40, 10], (16, 40))).all()
    np.testing.assert_array_equal(boxes.clip(boxes.whole((7, 9)), (7, 9)), [-0.5, -0.5, 6.5, 8.5])


@pytest.mark.truth("brute force over pixels")
def test_iou_counts_pixels() -> None:
    rng = np.random.default_rng(1)
    some = rng.integers(0, 12, (40, 4)).astype(float)
    some[:, 2:] = some[:, :2] + rng.integers(1, 9, (40, 2))
    grid = np.zeros((40, 24, 24), bool)
    for i, (x0, y0, x1, y1) in enumerate(some.astype(int)):
        grid[i, y0:y1, x0:x1] = True
    both = (grid[:, None] & grid).sum(axis=(2, 3))
    either = (grid[:, None] | grid).sum(axis=(2, 3))
    np.testing.assert_allclose(boxes.iou(some[:, None], some), both / either)


def test_nobody_shares_nothing() -> None:
    assert boxes.iou([NAN] * 4, [0, 0, 1, 1]) == 0
    assert boxes.iou([0, 0, 1, 1], [1, 0, 2, 1]) == 0
    assert boxes.area([3, 0, 1, 5]) == 0
    assert boxes.area([NAN] * 4) == 0


@pytest.mark.truth("closed form")
def test_enlarging_keeps_the_centre() -> None:
    np.testing.assert_allclose(boxes.enlarge([10, 20, 30, 60], 1.5), [5, 10, 35, 70])
    np.testing.assert_allclose(boxes.centre([10, 20, 30, 60]), [20, 40])
    assert boxes.scale([0, 0, 4, 9]) == 6


@pytest.mark.truth("the weighted mean written out frame by frame")
def test_smoothing_is_a_gaussian_mean_over_uneven_times() -> None:
    rng = np.random.default_rng(2)
    time = np.cumsum(rng.uniform(0.02, 0.04, 30))
    track = rng.normal(100, 5, (30, 4))
    track[[4, 5, 20]] = NAN
    got = boxes.smooth(track, time, span=0.05)
    for k in range(30):
        weight = np.exp(-0.5 * ((time - time[k]) / 0.05) ** 2) * np.isfinite(track[:, 0])
        weight[np.abs(np.arange(30) - k) > np.ceil(0.15 / np.median(np.diff(time)))] = 0
        want = (weight[:, None] * np.nan_to_num(track)).sum(axis=0) / weight.sum()
        np.testing.assert_allclose(got[k], want if k not in (4, 5, 20) else [NAN] * 4)


def test_smoothing_does_not_shift_a_steady_walk() -> None:
    time = np.arange(50) / 25
    track = np.array([0, 0, 40, 100]) + 30 * time[:, None]
    got = boxes.smooth(track, time, span=0.1)
    np.testing.assert_allclose(got[10:-10], track[10:-10], atol=1e-9)
    np.testing.assert_array_equal(boxes.smooth(track, time, span=0), track)
    np.testing.assert_array_equal(boxes.smooth(track[:1], time[:1]), track[:1])


# --- boxes over time ----------------------------------------------------------------------------


def track(time, *rows, source="test") -> BoxTrack:
    return BoxTrack(np.array(time, float), np.array(rows, float), source)


@pytest.mark.truth("closed form")
def test_between_two_frames_in_proportion() -> None:
    given = track([0, 1], [0, 0, 10, 10], [4, 8, 14, 18])
    np.testing.assert_allclose(given.at(0.25), [1, 2, 11, 12])
    np.testing.assert_allclose(given.at([0.0, 1.0]), given.boxes)


def test_a_box_holds_for_a_tenth_of_a_second_beside_a_gap_and_beyond_the_ends() -> None:
    box = [0.0, 0, 10, 10]
    given = track([0, 1, 2], box, [NAN] * 4, box)
    at = given.at([-0.2, -0.05, 0, 0.05, 0.2, 1.0, 1.8, 1.95, 2.0, 2.05, 2.2])
    there = np.isfinite(at).all(axis=1).tolist()
    assert there == [False, True, True, True, False, False, False, True, True, True, False]
    assert (at[there] == box).all()


def test_no_boxes_at_all_are_nobody_at_any_time() -> None:
    given = BoxTrack(np.zeros(0), np.zeros((0, 4)), "none")
    assert given.at([0.0, 3.0]).shape == (2, 4)
    assert np.isnan(given.at([0.0, 3.0])).all()


def test_a_box_turned_inside_out_is_refused_with_a_hint() -> None:
    with pytest.raises(CapbenchError, match=r"row 1: Expected boxes x0 y0 x1 y1.*width height"):
        track([0, 1], [0, 0, 5, 5], [50, 50, 20, 40])
    half = track([0], [0, 0, NAN, 5])
    assert np.isnan(half.boxes).all()  # half a box is none


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_files(tmp_path, kind) -> None:
    path = tmp_path / f"boxes.{kind}"
    if kind == "csv":
        path.write_text("time,x0,y0,x1,y1\n0,1,2,3,4\n0.5,,,,\n1,5,6,7,9\n")
    else:
        np.savez(path, time=[0, 0.5, 1], boxes=[[1, 2, 3, 4], [NAN] * 4, [5, 6, 7, 9]])
    got = boxes.read_boxes(path)
    assert got == track([0, 0.5, 1], [1, 2, 3, 4], [NAN] * 4, [5, 6, 7, 9], source="boxes from a file")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "time,x,y,w,h\n0,1,2,3,4\n", "x0, y0"),
        ("a.csv", "time,x0,y0,x1,y1\n0,1,2,3,4\n0,1,2,3,4\n", "increase"),
        ("a.csv", "time,x0,y0,x1,y1\n0,9,2,3,4\n", "x0 < x1"),
        ("a.npz", {"time": [0.0], "bbox": [[0, 0, 1, 1]]}, "'boxes'"),
        ("a.npz", {"time": [0.0], "boxes": [["a"] * 4]}, "numbers"),
        ("a.npz", {"time": [0.0], "boxes": [[0, 0, 1]]}, "shape"),
    ],
)
def test_wrong_files_are_told_by_name(tmp_path, name, content, words) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    else:
        np.savez(path, **content)
    with pytest.raises(CapbenchError, match=words) as caught:
        boxes.read_boxes(path)
    assert str(path) in str(caught.value)


def test_the_cohort_s_boxes_come_before_its_reference(tmp_path) -> None:
    people = skeleton("coco-17")
    xy = np.random.default_rng(3).uniform(10, 90, (4, 17, 2))
    sure = np.full((4, 17), 0.5)
    xy[0, 3], sure[0, 3], sure[1] = [0, 0], 0.1, 0.0
    tracks = Keypoints("Cam2", np.arange(4) / 25, xy, people, sure)
    native_npz.write(tmp_path / "k.npz", (tracks,))
    (tmp_path / "b.csv").write_text("time,x0,y0,x1,y1\n0,1,2,3,4\n")
    trial = Trial(
        "t", "s", "walk",
        videos={"Cam1": "1.mp4", "Cam2": "2.mp4", "Cam3": "3.mp4"},
        extras={"boxes:Cam1": "b.csv", "keypoints:Cam1": "k.npz", "keypoints:Cam2": "k.npz"},
    )  # fmt: skip
    imported = SimpleNamespace(path=lambda relative: tmp_path / relative)
    found = boxes.of_trial(imported, trial)
    assert list(found) == ["Cam1", "Cam2"]
    assert found["Cam1"].source == "boxes from the cohort"
    np.testing.assert_array_equal(found["Cam1"].boxes, [[1, 2, 3, 4]])
    assert "2D reference" in found["Cam2"].source
    low, high = xy[2].min(axis=0), xy[2].max(axis=0)
    pad = 0.06 * (high - low).max()
    np.testing.assert_allclose(found["Cam2"].boxes[2], [*low - pad, *high + pad])
    assert found["Cam2"].boxes[0, 0] > 5  # the doubtful point at the corner doesn't count
    assert np.isnan(found["Cam2"].boxes[1]).all()
