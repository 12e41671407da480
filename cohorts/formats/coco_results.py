"""COCO keypoint results: a list of ``{"image_id", "category_id", "keypoints": [x, y, c, …], "score"}``.

The format names images and no people; detections of one image are told apart by their order in the file.
Where a ``track_id`` is given (as PoseTrack does, and as is written here for more than one person), it
says who is who.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cohorts.bounded import about, load_json
from cohorts.errors import CapbenchError
from cohorts.formats import keypoint_lists as lists
from cohorts.recording import Keypoints


def recognise(content: Any) -> bool:
    """Whether parsed JSON looks like COCO keypoint results."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    first = content[0]
    image, points = first.get("image_id"), first.get("keypoints")
    numbered = isinstance(image, int) or (isinstance(image, str) and image.isdigit())
    return numbered and isinstance(points, list) and not any(isinstance(p, list) for p in points[:1])


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """Keypoints (pixels) of everyone in a COCO results file; frames are its image ids.

    ``rate`` is in images per second, ``skeleton`` the name of a built-in one, ``camera`` a name.
    """
    notes = [] if notes is None else notes
    content = load_json(path)
    with about(path):
        if isinstance(content, dict) and "annotations" in content:
            raise CapbenchError("Expected COCO results, a list; got COCO annotations (ground truth).")
        entries = lists.need_list(content, "a list of detections")
        found = lists.Detections()
        for i, entry in enumerate(entries):
            found.add(_detection(entry, f"detection {i}"))
    return lists.tracks(found, path, notes=notes, rate=rate, skeleton=skeleton, camera=camera)


def _detection(entry: Any, place: str) -> lists.Detection:
    entry = lists.need_dict(entry, "a detection", place)
    track, score = entry.get("track_id"), entry.get("score")
    return lists.Detection(
        frame=lists.frame_number(lists.need_entry(entry, "image_id", place), "image_id", place),
        points=lists.flat_points(lists.need_entry(entry, "keypoints", place), "keypoints", place),
        person=None if track is None else lists.identity(track, "track_id", place),
        score=None if score is None else lists.finite(score, "score", place),
    )


def write(path: Path, value: Keypoints | Sequence[Keypoints], *, overwrite: bool = False) -> None:
    """Write one camera's keypoints as COCO results; a missing point is (0, 0, 0).

    ``image_id`` is the frame number. COCO asks for a score: where there is none, the mean confidence
    of the points that are there is written.
    """
    entries = []
    for row in lists.rows(value, path):
        entry: dict[str, Any] = {
            "image_id": row.frame,
            "category_id": 1,
            "keypoints": row.points.ravel().tolist(),
            "score": row.mean_confidence() if row.score is None else row.score,
        }
        if row.label is not None:
            entry["track_id"] = row.label
        entries.append(entry)
    lists.write_json(path, entries, overwrite=overwrite)
