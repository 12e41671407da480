"""Keypoint pickles of OpenCap and OpenCapBench."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keypoint_samples import flat, put_pickle, xy_of

from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import keypoint_lists as lists
from cohorts.formats import opencap_keypoints


def person(x: float = 100, k: int = 25, who: Any = (0,), **changes: Any) -> dict[str, Any]:
    return {"person_id": list(who), "pose_keypoints_2d": flat(k, x)} | changes


@pytest.mark.parametrize("protocol", range(6))
def test_a_hand_made_pickle(tmp_path: Path, protocol: int) -> None:
    frames = [[], [person(10)], None, [person(20), person(500, who=[1])]]
    path = put_pickle(tmp_path / "walking1_rotated_pp.pkl", frames, protocol)
    first, second = opencap_keypoints.read(path, rate=60, camera="Cam1")
    assert (first.camera, first.person, second.person) == ("Cam1", "0", "1")
    assert first.skeleton.name == "openpose-25"
    assert first.frames is not None and first.frames.tolist() == [1, 3]
    assert first.time.tolist() == [1 / 60, 3 / 60]
    assert np.array_equal(first.xy, [xy_of(25, 10), xy_of(25, 20)])
    assert second.time.tolist() == [3 / 60]


def test_52_points_are_the_anatomical_set(tmp_path: Path) -> None:
    (track,) = opencap_keypoints.read(put_pickle(tmp_path / "a.pkl", [[person(k=52)]]))
    assert track.skeleton.name == "synthpose-52"
    names = track.skeleton.points
    assert names.index("l_calc") + 1 == names.index("r_calc")  # the order the files use


def test_zero_frames_and_nan_frames_are_missing(tmp_path: Path) -> None:
    zero, nan = [0.0] * 75, [float("nan")] * 75
    frames = [[person()], [person(pose_keypoints_2d=zero)], [person(pose_keypoints_2d=nan)]]
    notes: list[str] = []
    (track,) = opencap_keypoints.read(put_pickle(tmp_path / "a.pkl", frames), notes=notes)
    assert np.isnan(track.xy[1:]).all() and (track.confidence[1:] == 0).all()
    assert any("25 points without a confidence" in note for note in notes)


def test_arrays_and_numpy_numbers_will_do(tmp_path: Path) -> None:
    frames = [[person(pose_keypoints_2d=np.array(flat(25), np.float32), who=[np.int64(3)])]]
    frames += [[person(pose_keypoints_2d=[np.float32(v) for v in flat(25)], who=[3])]]
    (track,) = opencap_keypoints.read(put_pickle(tmp_path / "a.pkl", frames))
    assert track.person == "3"
    assert np.array_equal(track.xy, [xy_of(25)] * 2)


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    with pytest.raises(RefusedError, match=r"would run \w+\.system"):
        opencap_keypoints.read(put_pickle(tmp_path / "a.pkl", [[person()], [Evil()]]))
    assert not (tmp_path / "canary").exists()


def test_one_person_named_a_million_times_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PICKLED_LIMIT", 25 * 100)
    shared = person()
    with pytest.raises(RefusedError, match="points in one file"):
        opencap_keypoints.read(put_pickle(tmp_path / "a.pkl", [[shared] for _ in range(101)]))


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
BAD: list[tuple[Any, str]] = [
    ([], "at least one person"),
    ([[], []], "at least one person"),
    (None, "a list of frames"),
    ({"a": 1}, "a list of frames"),
    ([3], "frame 0"),
    ([[3]], "frame 0, person 0"),
    (ENDLESS, "frame 0, person 0"),
    ([[ENDLESS]], "frame 0, person 0"),
    ([[{}]], "pose_keypoints_2d"),
    ([[person(pose_keypoints_2d=ENDLESS)]], "pose_keypoints_2d"),
    ([[person(pose_keypoints_2d=b"xyz")]], "pose_keypoints_2d"),
    ([[person(pose_keypoints_2d=np.ones((25, 3)))]], "pose_keypoints_2d"),
    ([[person(pose_keypoints_2d=[1, 2, 10**400])]], "huge"),
    ([[person(pose_keypoints_2d=[1, 2, True])]], "True"),
    ([[person(pose_keypoints_2d=[1, 2])]], "three numbers"),
    ([[person(k=31)]], "31 points"),
    ([[person(), person()]], "frame 0: Expected person 0 once per frame"),
    ([[person(who=ENDLESS)]], "person_id"),
    ([[person(who=["x" * 1000])]], "person_id"),
    ([[person(pose_keypoints_2d=flat(25, confidence=-1.0))]], "negative confidence"),
]


@pytest.mark.parametrize(("content", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = put_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(CapbenchError, match="(?s)" + match) as caught:
        opencap_keypoints.read(path)
    assert caught.value.file == str(path)
    assert len(str(caught.value)) < 900
