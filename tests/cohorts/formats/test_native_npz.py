"""capbench's own .npz: everything comes back bit for bit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keypoint_samples import tracks
from strategies import all_markers, all_motions

from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import native_npz
from cohorts.recording import Keypoints, Markers, Motion
from cohorts.skeleton import Skeleton, skeleton

COCO = skeleton("coco-17")


def full_track(**changes: Any) -> Keypoints:
    xy = np.arange(68.0).reshape(2, 17, 2) + 1 / 3
    xy[1, 4] = np.nan
    parts: dict[str, Any] = {
        "camera": "Käm 1",
        "time": [-0.1, 2 / 3],
        "xy": xy,
        "skeleton": COCO,
        "person": "p\u00e9",
        "covariance": np.broadcast_to([[2.0, 0.5], [0.5, 1.0]], (2, 17, 2, 2)),
        "frames": [-4, 2**50],
        "score": [-0.5, 1e300],
    }
    return Keypoints(**(parts | changes))


def there_and_back(path: Path, value: Any) -> Any:
    native_npz.write(path, value)
    return native_npz.read(path)


@settings(max_examples=50, deadline=None)
@given(people=tracks(persons=st.text(max_size=8).filter(lambda t: not t.endswith("\0"))))
def test_keypoints_round_trip(
    tmp_path_factory: pytest.TempPathFactory, people: tuple[Keypoints, ...]
) -> None:
    assert there_and_back(tmp_path_factory.mktemp("n") / "a.npz", people) == people


@settings(max_examples=50, deadline=None)
@given(value=st.one_of(all_markers(), all_motions()))
def test_markers_and_motions_round_trip(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    read = there_and_back(tmp_path_factory.mktemp("n") / "a.npz", value)
    assert type(read) is type(value)
    assert read == value


def test_every_field_of_a_track_comes_back(tmp_path: Path) -> None:
    track = full_track()
    (read,) = there_and_back(tmp_path / "a.npz", track)
    assert read == track
    assert read.covariance is not None and read.covariance[0, 0].tolist() == [[2, 0.5], [0.5, 1]]
    assert read.frames is not None and read.frames.tolist() == [-4, 2**50]
    assert (read.camera, read.person) == ("Käm 1", "pé")
    assert read.skeleton is COCO  # with sigmas, limbs and landmarks


def test_several_cameras_in_one_file(tmp_path: Path) -> None:
    value = (full_track(), full_track(camera="b", frames=None, score=None, covariance=None))
    assert there_and_back(tmp_path / "a.npz", value) == value


def test_motion_kinds_and_coupled_come_back(tmp_path: Path) -> None:
    motion = Motion([0.0], ("a", "b_tx"), [[1.0, np.nan]], kinds=("translation", "rotation"), coupled=("a",))
    read = there_and_back(tmp_path / "a.npz", motion)
    assert (read.kinds, read.coupled) == (("translation", "rotation"), ("a",))
    assert read == motion


def test_nothing_is_a_length_too(tmp_path: Path) -> None:
    for value in (
        Markers([], (), np.zeros((0, 0, 3))),
        Motion([0.0], (), np.zeros((1, 0))),
        Motion([0.0], ("a",), [[1.0]], coupled=()),
        (full_track()[:0],),
    ):
        assert there_and_back(tmp_path / "a.npz", value) == value
        (tmp_path / "a.npz").unlink()


def test_a_skeleton_that_is_not_built_in_keeps_its_name_and_points(tmp_path: Path) -> None:
    mine = Skeleton("mine", ("tip", "tail"))
    track = Keypoints("a", [0.0], [[[1.0, 2.0], [3.0, 4.0]]], mine)
    (read,) = there_and_back(tmp_path / "a.npz", track)
    assert read == track and read.skeleton.points == ("tip", "tail")


def test_another_skeleton_under_a_built_in_name_is_refused(tmp_path: Path) -> None:
    swapped = Skeleton("coco-17", COCO.points[::-1])
    track = Keypoints("a", [0.0], np.ones((1, 17, 2)), swapped)
    with pytest.raises(CapbenchError, match="points of skeleton coco-17"):
        native_npz.write(tmp_path / "a.npz", track)
    native_npz.write(tmp_path / "a.npz", full_track())
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays["0.points"] = arrays["0.points"][::-1]
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(CapbenchError, match="another order") as caught:
        native_npz.read(tmp_path / "b.npz")
    assert caught.value.file == str(tmp_path / "b.npz")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native_npz.write(tmp_path / "a.npz", full_track())
    later = time.localtime(86400 * 365 * 20)
    monkeypatch.setattr(time, "localtime", lambda *_: later)  # what zip entries are stamped with
    native_npz.write(tmp_path / "b.npz", full_track())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_reads_it_without_pickles_and_finds_names(tmp_path: Path) -> None:
    native_npz.write(tmp_path / "a.npz", full_track())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["capbench"].tolist() == ["1", "keypoints"]
        assert arrays["0.about"].tolist() == ["Käm 1", "pé", "coco-17"]
        assert arrays["0.points"][0] == "nose"
        assert arrays["0.xy"].dtype == np.float64


def test_a_file_that_packs_too_well_stays_readable(tmp_path: Path) -> None:
    """100 MB of missing points squeeze into what a reader takes for a bomb."""
    frames = 260_000
    still = Keypoints("a", np.arange(float(frames)), np.full((frames, 17, 2), np.nan), COCO)
    read = there_and_back(tmp_path / "a.npz", still)
    assert read == (still,)


def test_names_numpy_can_not_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CapbenchError, match="NUL"):
        native_npz.write(tmp_path / "a.npz", full_track(person="x\0"))


@pytest.mark.parametrize("value", [(), (1,), ("x",), [full_track(), None]])
def test_other_things_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CapbenchError, match="to write"):
        native_npz.write(tmp_path / "a.npz", value)
    assert not (tmp_path / "a.npz").exists()


def test_overwriting_is_refused(tmp_path: Path) -> None:
    native_npz.write(tmp_path / "a.npz", full_track())
    with pytest.raises(CapbenchError, match="exists"):
        native_npz.write(tmp_path / "a.npz", full_track())
    native_npz.write(tmp_path / "a.npz", full_track(score=None), overwrite=True)


def damaged(path: Path, value: Any, **changes: Any) -> Path:
    """What ``value`` is written as, with arrays changed; None drops one."""
    native_npz.write(path, value, overwrite=True)
    with np.load(path) as stored:
        arrays = {k: v for k, v in (dict(stored) | changes).items() if v is not None}
    np.savez(path, **arrays)
    return path


MARKERS = Markers([0.0], ("a", "b"), np.ones((1, 2, 3)))
MOTION = Motion([0.0], ("a",), [[1.0]])
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (MARKERS, {"capbench": None}, "'capbench'"),
    (MARKERS, {"capbench": np.array(["2", "markers"])}, "version 1"),
    (MARKERS, {"capbench": np.array(["1", "poems"])}, "poems"),
    (MARKERS, {"capbench": np.array(["1"])}, "2 texts"),
    (MARKERS, {"capbench": np.array("1")}, "2 texts"),
    (MARKERS, {"capbench": np.ones(2)}, "text"),
    (MARKERS, {"time": None}, "'time'"),
    (MARKERS, {"time": np.array(["a"])}, "numbers"),
    (MARKERS, {"time": np.array([np.nan])}, "finite times"),
    (MARKERS, {"time": np.array([0.0, 1.0])}, "shape"),
    (MARKERS, {"names": np.array(["a", "a"])}, "once"),
    (MARKERS, {"names": np.array([["a", "b"]])}, "a list of texts"),
    (MARKERS, {"names": np.array([b"a", b"b"])}, "text"),
    (MARKERS, {"xyz": np.ones((1, 3, 2))}, "shape"),
    (MARKERS, {"xyz": np.ones((1, 2, 3), bool)}, "numbers"),
    (MARKERS, {"xyz": np.full((1, 2, 3), np.inf)}, "finite"),
    (MARKERS, {"confidence": None}, "'confidence'"),
    (MARKERS, {"confidence": -np.ones((1, 2))}, "negative"),
    (MOTION, {"kinds": np.array(["turn"])}, "kinds"),
    (MOTION, {"coupled": np.array(["zzz"])}, "zzz"),
    (MOTION, {"values": np.ones((1, 2))}, "shape"),
    (full_track(), {"0.xy": None}, "at least one track"),
    (full_track(), {"0.about": None}, "0.about"),
    (full_track(), {"0.about": np.array(["a", "b"])}, "3 texts"),
    (full_track(), {"0.points": np.array(["a"])}, "points of skeleton"),
    (full_track(), {"0.frames": np.array([1.5, 2.5])}, "whole numbers"),
    (full_track(), {"0.frames": np.array([1])}, "frames"),
    (full_track(), {"0.score": np.array([np.nan, 1])}, "scores"),
    (full_track(), {"0.covariance": -np.ones((2, 17, 2, 2))}, "positive definite"),
    (full_track(), {"0.xy": np.array({}, dtype=object)}, "at least one track"),
]


@pytest.mark.parametrize(("value", "changes", "match"), BAD, ids=range(len(BAD)))
def test_damaged_files_are_refused(tmp_path: Path, value: Any, changes: dict[str, Any], match: str) -> None:
    path = damaged(tmp_path / "a.npz", value, **changes)
    with pytest.raises(CapbenchError, match=match) as caught:
        native_npz.read(path)
    assert caught.value.file == str(path)


def test_pickled_objects_are_left_unread_with_a_note(tmp_path: Path) -> None:
    path = damaged(tmp_path / "a.npz", MARKERS, extra=np.array({"a": 1}, dtype=object))
    notes: list[str] = []
    assert native_npz.read(path, notes=notes) == MARKERS
    assert any("extra" in note for note in notes)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", capbench=np.zeros(20_000_000))
    with pytest.raises(RefusedError, match="bomb"):
        native_npz.read(tmp_path / "a.npz")
