"""MMPose predictions as JSON, in the three layouts its tools write.

- the inferencer on a video: a list of ``{"frame_id", "instances": [instance, …]}``;
- the inferencer on an image: a list of instances;
- the demo scripts: ``{"meta_info", "instance_info": either of the above}``.

An instance is ``{"keypoints": [[x, y], …], "keypoint_scores": [c, …], "bbox", "bbox_score"}``, and may
carry a ``track_id``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import about, load_json
from cohorts.errors import CapbenchError
from cohorts.formats import keypoint_lists as lists
from cohorts.recording import Keypoints
from cohorts.values import FloatArray


def recognise(content: Any) -> bool:
    """Whether parsed JSON looks like MMPose predictions."""
    if isinstance(content, dict):
        return isinstance(content.get("instance_info"), list)
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    first = content[0]
    return ("instances" in first and "frame_id" in first) or (
        "keypoint_scores" in first and isinstance(first.get("keypoints"), list)
    )


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """Keypoints (pixels) of everyone in a file of MMPose predictions.

    ``rate`` is in frames per second, ``skeleton`` the name of a built-in one, ``camera`` a name.
    """
    notes = [] if notes is None else notes
    content = load_json(path)
    with about(path):
        if isinstance(content, dict):
            content = lists.need_entry(content, "instance_info")
        found = lists.Detections()
        _collect(lists.need_list(content, "a list of frames or of people"), found)
    return lists.tracks(found, path, notes=notes, rate=rate, skeleton=skeleton, camera=camera)


def _collect(entries: list[Any], found: lists.Detections) -> None:
    if not any(isinstance(entry, dict) and "instances" in entry for entry in entries):
        for i, entry in enumerate(entries):
            found.add(_instance(entry, 0, f"instance {i}"))
        return
    seen: set[int] = set()
    for i, entry in enumerate(entries):
        place = f"entry {i}"
        entry = lists.need_dict(entry, "a frame", place)
        frame = lists.frame_number(lists.need_entry(entry, "frame_id", place), "frame_id", place)
        if frame in seen:
            raise CapbenchError("Expected each frame once, got it twice.", place=f"frame {frame}")
        seen.add(frame)
        people = lists.need_list(lists.need_entry(entry, "instances", place), "a list of people", place)
        for j, person in enumerate(people):
            found.add(_instance(person, frame, f"frame {frame}, instance {j}"))


def _instance(entry: Any, frame: int, place: str) -> lists.Detection:
    entry = lists.need_dict(entry, "an instance", place)
    pairs = lists.need_list(lists.need_entry(entry, "keypoints", place), "a list of points", place)
    xy = _pairs(pairs, place)
    confidence = lists.numbers(lists.need_entry(entry, "keypoint_scores", place), "keypoint_scores", place)
    if len(confidence) != len(xy):
        raise CapbenchError(
            f"Expected a score for each of {len(xy)} keypoints, got {len(confidence)}.", place=place
        )
    score, track = entry.get("bbox_score"), entry.get("track_id")
    return lists.Detection(
        frame=frame,
        points=np.column_stack([xy, confidence]),
        person=None if track is None else lists.identity(track, "track_id", place),
        score=None if score is None else lists.finite(score, "bbox_score", place),
    )


def _pairs(pairs: list[Any], place: str) -> FloatArray:
    """(K, 2) of a list of ``[x, y]``."""
    if not 0 < len(pairs) <= lists.POINT_LIMIT:
        raise CapbenchError(f"Expected 1 to {lists.POINT_LIMIT} keypoints, got {len(pairs)}.", place=place)
    flat: list[Any] = []
    for pair in pairs:
        pair = lists.need_list(pair, "each keypoint to be [x, y]", place)
        if len(pair) != 2:
            hint = ": these are 3D" if len(pair) == 3 else ""
            raise CapbenchError(
                f"Expected each keypoint to be [x, y], got {len(pair)} numbers{hint}.", place=place
            )
        flat += pair
    return lists.numbers(flat, "keypoints", place).reshape(-1, 2)


def write(path: Path, value: Keypoints | Sequence[Keypoints], *, overwrite: bool = False) -> None:
    """Write one camera's keypoints as MMPose's inferencer does for a video.

    A missing point is [0, 0] with score 0. No boxes are written. ``track_id`` is added where there is
    more than one person.
    """
    frames: dict[int, list[dict[str, Any]]] = {}
    for row in lists.rows(value, path):
        instance: dict[str, Any] = {
            "keypoints": row.points[:, :2].tolist(),
            "keypoint_scores": row.points[:, 2].tolist(),
        }
        if row.score is not None:
            instance["bbox_score"] = row.score
        if row.label is not None:
            instance["track_id"] = row.label
        frames.setdefault(row.frame, []).append(instance)
    content = [{"frame_id": frame, "instances": people} for frame, people in frames.items()]
    lists.write_json(path, content, overwrite=overwrite)
