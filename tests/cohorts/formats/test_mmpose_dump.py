"""MMPose's dumped test results."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keypoint_samples import MMPOSE_DUMP, put_pickle, xy_of

from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import keypoint_lists as lists
from cohorts.formats import mmpose_dump

INSTANCES: dict[str, Any] = MMPOSE_DUMP[0]["pred_instances"]  # type: ignore[assignment]


def sample(frame: Any = 785, *, drop: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    people = {k: v for k, v in (INSTANCES | changes).items() if k not in drop}
    return {"img_id": frame, "pred_instances": people}


def two(x: float, y: float) -> dict[str, Any]:
    return {
        "keypoints": np.stack([xy_of(17, x), xy_of(17, y)]),
        "keypoint_scores": np.full((2, 17), 0.25),
        "bbox_scores": np.array([0.5, 0.75]),
    }


@pytest.mark.parametrize("protocol", range(6))
def test_a_hand_made_dump(tmp_path: Path, protocol: int) -> None:
    (track,) = mmpose_dump.read(put_pickle(tmp_path / "cam.pkl", MMPOSE_DUMP, protocol), rate=100)
    assert (track.camera, track.person, track.skeleton.name) == ("cam", "0", "coco-17")
    assert track.frames is not None and track.frames.tolist() == [785]
    assert track.time.tolist() == [7.85]
    assert np.array_equal(track.xy, [xy_of(17)])
    assert (track.confidence == 0.5).all()
    assert track.score is not None and track.score.tolist() == [0.75]
    assert track.xy.dtype == np.float64


def test_people_of_one_image_may_lie_in_one_sample_or_apart(tmp_path: Path) -> None:
    together = [sample(1, **two(10, 20)), sample(2, **two(30, 40))]
    first, second = mmpose_dump.read(put_pickle(tmp_path / "a.pkl", together))
    assert first.xy[:, 0, 0].tolist() == [10, 30] and second.xy[:, 0, 0].tolist() == [20, 40]
    assert second.score is not None and second.score.tolist() == [0.75, 0.75]
    one = {k: v[:1] for k, v in two(50, 60).items()}
    apart = [sample(1, **one), sample(2, **one), sample(1, **one)]
    first, second = mmpose_dump.read(put_pickle(tmp_path / "b.pkl", apart))
    assert (len(first), len(second)) == (2, 1)


def test_images_without_ids_are_numbered_by_name(tmp_path: Path) -> None:
    samples = [{"img_path": f"video/{i:06d}.jpg", "pred_instances": INSTANCES} for i in (4, 9)]
    (track,) = mmpose_dump.read(put_pickle(tmp_path / "a.pkl", samples))
    assert track.frames is not None and track.frames.tolist() == [4, 9]


def test_an_image_without_people(tmp_path: Path) -> None:
    empty = sample(
        1, keypoints=np.zeros((0, 17, 2)), keypoint_scores=np.zeros((0, 17)), bbox_scores=np.zeros(0)
    )
    (track,) = mmpose_dump.read(put_pickle(tmp_path / "a.pkl", [empty, sample(2)]))
    assert track.frames is not None and track.frames.tolist() == [2]


def with_foreign(path: Path, name: bytes, samples: Any) -> Path:
    """A dump in protocol 0 in which the text PLACE became a call of ``name``."""
    data = pickle.dumps(samples, 0)
    assert data.count(b"VPLACE\n") == 1
    path.write_bytes(data.replace(b"VPLACE\n", b"c" + name + b"\n(tR"))
    return path


def test_tensors_beside_the_keypoints_do_not_matter(tmp_path: Path) -> None:
    samples = [sample() | {"gt_instance_labels": "PLACE"}]
    path = with_foreign(tmp_path / "a.pkl", b"torch._utils\n_rebuild_tensor_v2", samples)
    notes: list[str] = []
    (track,) = mmpose_dump.read(path, notes=notes)
    assert np.array_equal(track.xy, [xy_of(17)])
    assert any("torch._utils._rebuild_tensor_v2" in note for note in notes)


def test_keypoints_that_are_tensors_are_refused_in_words(tmp_path: Path) -> None:
    path = with_foreign(tmp_path / "a.pkl", b"torch._utils\n_rebuild_tensor_v2", [sample(keypoints="PLACE")])
    with pytest.raises(CapbenchError, match=r"numpy array, got torch\._utils\._rebuild_tensor_v2"):
        mmpose_dump.read(path)


@pytest.mark.parametrize(
    "name", [b"os\nsystem", b"builtins\neval", b"torchevil\nf", b"numpyx\nf", b"posix\nsystem"]
)
def test_other_code_is_refused(tmp_path: Path, name: bytes) -> None:
    path = with_foreign(tmp_path / "a.pkl", name, [sample() | {"x": "PLACE"}])
    with pytest.raises(RefusedError, match="would run") as caught:
        mmpose_dump.read(path)
    assert caught.value.file == str(path)


def test_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    with pytest.raises(RefusedError):
        mmpose_dump.read(put_pickle(tmp_path / "a.pkl", [sample() | {"x": Evil()}]))
    assert not (tmp_path / "canary").exists()


def test_samples_that_share_one_large_array_are_stopped_before_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PICKLED_LIMIT", 17 * 2 * 50)
    shared = two(10, 20)
    path = put_pickle(tmp_path / "a.pkl", [{"img_id": i, "pred_instances": shared} for i in range(51)])
    assert path.stat().st_size < 10_000
    with pytest.raises(RefusedError, match="points in one file"):
        mmpose_dump.read(path)


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
BAD: list[tuple[Any, str]] = [
    ([], "at least one person"),
    ({}, "a list of samples"),
    (None, "a list of samples"),
    ([1], "sample 0"),
    (ENDLESS, "sample 0"),
    ([{"img_id": 1}], "pred_instances"),
    ([{"img_id": 1, "pred_instances": ENDLESS}], "pred_instances"),
    ([sample(frame=-1)], "img_id"),
    ([sample(frame="x")], "img_id"),
    ([sample(frame=True)], "img_id"),
    ([sample(frame=10**30)], "img_id"),
    ([sample(frame=ENDLESS)], "img_id"),
    ([{"pred_instances": INSTANCES}], "img_id or an img_path"),
    ([sample(1), {"img_path": 3, "pred_instances": INSTANCES}], "img_id or an img_path"),
    ([sample(drop=("keypoints",))], "'keypoints'"),
    ([sample(drop=("keypoint_scores",))], "'keypoint_scores'"),
    ([sample(keypoints=xy_of(17).tolist())], "array of numbers"),
    ([sample(keypoints=xy_of(17))], "3 axes"),
    ([sample(keypoints=np.full((1, 17, 2), "x"))], "array of numbers"),
    ([sample(keypoints=np.zeros((1, 17, 3)))], r"\(N, K, 2\)"),
    ([sample(keypoints=np.zeros((1, 0, 2)), keypoint_scores=np.zeros((1, 0)))], "a score for each"),
    ([sample(keypoints=np.zeros((1, 1001, 2)), keypoint_scores=np.zeros((1, 1001)))], "a score for each"),
    ([sample(keypoint_scores=np.ones((1, 16)))], "a score for each"),
    ([sample(keypoint_scores=np.full((1, 17), -1.0))], "negative confidence"),
    ([sample(bbox_scores=np.ones(2))], "1 bbox_scores, got 2"),
    ([sample(bbox_scores=np.array([np.nan]))], "bbox_scores"),
    ([sample(keypoints=np.full((1, 17, 2), np.inf))], "infinity"),
]


@pytest.mark.parametrize(("content", "match"), BAD, ids=range(len(BAD)))
def test_bad_content_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = put_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(CapbenchError, match="(?s)" + match) as caught:
        mmpose_dump.read(path)
    assert caught.value.file == str(path)
    assert len(str(caught.value)) < 500
