"""What MMPose's ``tools/test.py --dump`` pickles: a list with one mapping per sample.

A sample is one image, or one box of an image: ``{"img_id", "img_path", …, "pred_instances":
{"keypoints": (N, K, 2), "keypoint_scores": (N, K), "bboxes", "bbox_scores": (N,)}}``. Samples of one
image may lie apart. The pickle may name torch and mmengine; they are read as objects that do nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import about, shorten
from cohorts.errors import CapbenchError, RefusedError
from cohorts.formats import keypoint_lists as lists
from cohorts.formats.alphapose_json import frame_numbers
from cohorts.formats.inert_pickle import load_pickle
from cohorts.formats.inert_values import InertObject
from cohorts.recording import Keypoints

#: an honest dump may name what lies in these packages; naming anything else is an attack or another format
_HONEST = ("torch.", "mmengine.", "mmpose.", "mmdet.", "mmcv.", "numpy.", "collections.")


def recognise(content: Any) -> bool:
    """Whether an unpickled object looks like an MMPose dump."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    return "pred_instances" in content[0]


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """Keypoints (pixels) of everyone in an MMPose dump; frames are its image ids.

    ``rate`` is in images per second, ``skeleton`` the name of a built-in one, ``camera`` a name.
    """
    notes = [] if notes is None else notes
    foreign: list[str] = []
    content = load_pickle(path, foreign="placeholder", found=foreign)
    with about(path):
        _check_foreign(foreign, notes)
        samples = [
            lists.need_dict(sample, "a sample", f"sample {i}")
            for i, sample in enumerate(lists.need_list(content, "a list of samples"))
        ]
        frames = _frames(samples, notes)
        found = lists.Detections(lists.PICKLED_LIMIT)
        for i, (sample, frame) in enumerate(zip(samples, frames, strict=True)):
            place = f"sample {i}"
            people = lists.need_entry(sample, "pred_instances", place)
            _collect(lists.need_dict(people, "pred_instances to be a mapping", place), frame, place, found)
    return lists.tracks(found, path, notes=notes, rate=rate, skeleton=skeleton, camera=camera)


def _check_foreign(foreign: list[str], notes: list[str]) -> None:
    for name in foreign:
        if not name.startswith(_HONEST):
            raise RefusedError(f"Expected an MMPose dump, got a pickle that would run {name}.")
    if foreign:
        notes.append(f"not read, since only their own packages understand them: {shorten(foreign)}")


def _frames(samples: list[dict[Any, Any]], notes: list[str]) -> list[int]:
    """The frame of each sample: its img_id, else the number its image's name ends in."""
    if all("img_id" in sample for sample in samples):
        return [lists.frame_number(s["img_id"], "img_id", f"sample {i}") for i, s in enumerate(samples)]
    names = [sample.get("img_path") for sample in samples]
    if not all(isinstance(name, str) for name in names):
        raise CapbenchError("Expected every sample to have an img_id or an img_path, got neither.")
    numbers = frame_numbers((str(name) for name in names), notes)
    return [numbers[str(name)] for name in names]


def _collect(people: dict[Any, Any], frame: int, place: str, found: lists.Detections) -> None:
    xy = _array(people, "keypoints", 3, place)
    confidence = _array(people, "keypoint_scores", 2, place)
    if xy.shape[2] != 2:
        raise CapbenchError(f"Expected keypoints of shape (N, K, 2), got {xy.shape}.", place=place)
    if confidence.shape != xy.shape[:2] or not 0 < xy.shape[1] <= lists.POINT_LIMIT:
        raise CapbenchError(
            f"Expected a score for each keypoint, got {confidence.shape} for {xy.shape}.", place=place
        )
    scores: list[float | None] = [None] * len(xy)
    if "bbox_scores" in people:
        given = _array(people, "bbox_scores", 1, place)
        if len(given) != len(xy):
            raise CapbenchError(f"Expected {len(xy)} bbox_scores, got {len(given)}.", place=place)
        scores = [lists.finite(score, "bbox_scores", place) for score in given.tolist()]
    found.reserve(confidence.size)  # before the copy: samples may share one large array
    with np.errstate(invalid="ignore"):  # signalling NaN in damaged files; they are missing points
        points = np.concatenate([xy, confidence[..., None]], axis=2, dtype=np.float64)
    for rows, score in zip(points, scores, strict=True):
        found.add(lists.Detection(frame, rows, None, score))


def _array(people: dict[Any, Any], key: str, axes: int, place: str) -> NDArray[Any]:
    value = lists.need_entry(people, key, place)
    if isinstance(value, InertObject):
        raise CapbenchError(
            f"Expected {key} as a numpy array, got {value.module}.{value.name}.",
            place=place,
            fix="turn tensors into arrays before dumping",
        )
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or value.ndim != axes:
        raise CapbenchError(
            f"Expected {key} as an array of numbers with {axes} axes, got {lists.said(value)}.", place=place
        )
    return value
