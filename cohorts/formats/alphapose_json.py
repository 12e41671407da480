"""AlphaPose results: a list of ``{"image_id": "12.jpg", "keypoints": [x, y, c, …], "score", "idx"}``.

The frame number is the number at the end of the image's name. ``idx`` is who it is, where AlphaPose
tracked. Confidences may exceed 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cohorts.bounded import about, load_json
from cohorts.errors import CapbenchError
from cohorts.formats import keypoint_lists as lists
from cohorts.recording import Keypoints


def recognise(content: Any) -> bool:
    """Whether parsed JSON looks like AlphaPose's default results."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    image, points = content[0].get("image_id"), content[0].get("keypoints")
    named = isinstance(image, str) and not image.isdigit()
    return named and isinstance(points, list) and not any(isinstance(p, list) for p in points[:1])


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """Keypoints (pixels) of everyone in an AlphaPose results file.

    ``rate`` is in images per second, ``skeleton`` the name of a built-in one, ``camera`` a name.
    """
    notes = [] if notes is None else notes
    content = load_json(path)
    with about(path):
        if isinstance(content, dict):
            raise CapbenchError(
                "Expected AlphaPose's default results, a list; got a mapping, as it writes for "
                "--format cmu or open.",
                fix="run AlphaPose without --format",
            )
        entries = [
            lists.need_dict(entry, "a detection", f"detection {i}")
            for i, entry in enumerate(lists.need_list(content, "a list of detections"))
        ]
        names = [_image(entry, f"detection {i}") for i, entry in enumerate(entries)]
        frames = frame_numbers(names, notes)
        found = lists.Detections()
        for i, (entry, name) in enumerate(zip(entries, names, strict=True)):
            found.add(_detection(entry, frames[name], f"detection {i}"))
        if any("pred_xyz_jts" in entry for entry in entries):
            notes.append("3D joints (pred_xyz_jts) are not read")
    return lists.tracks(found, path, notes=notes, rate=rate, skeleton=skeleton, camera=camera)


def _image(entry: dict[Any, Any], place: str) -> str:
    name = lists.need_entry(entry, "image_id", place)
    if isinstance(name, int) and not isinstance(name, bool):  # as written "for evaluation"
        name = str(lists.frame_number(name, "image_id", place))
    if not isinstance(name, str):
        raise CapbenchError(f"Expected image_id to name an image, got {lists.said(name)}.", place=place)
    return name


def frame_numbers(names: Iterable[str], notes: list[str]) -> dict[str, int]:
    """Frame number of each image name: the number it ends in, or its place in the file.

    The place is used for all where some name ends in no number, or two names end in the same one.
    """
    distinct = list(dict.fromkeys(names))
    numbers = {}
    for name in distinct:
        digits = re.search(r"([0-9]{1,15})$", re.sub(r"\.[A-Za-z]{1,5}$", "", name[-100:]))
        if digits and int(digits[1]) < lists.FRAME_LIMIT:
            numbers[name] = int(digits[1])
    if len(set(numbers.values())) == len(distinct):
        return numbers
    notes.append("image names give no frame numbers: numbered in the order of the file")
    return {name: i for i, name in enumerate(distinct)}


def _detection(entry: dict[Any, Any], frame: int, place: str) -> lists.Detection:
    idx, score = entry.get("idx"), entry.get("score")
    return lists.Detection(
        frame=frame,
        points=lists.flat_points(lists.need_entry(entry, "keypoints", place), "keypoints", place),
        person=None if idx is None else lists.identity(idx, "idx", place),
        score=None if score is None else lists.finite(score, "score", place),
    )


def write(path: Path, value: Keypoints | Sequence[Keypoints], *, overwrite: bool = False) -> None:
    """Write one camera's keypoints as AlphaPose results; a missing point is (0, 0, 0).

    Images are named by frame ("12.jpg"). People whose names are not all numbers are numbered anew.
    Where there is no score, the mean confidence of the points that are there is written.
    """
    entries = []
    for row in lists.rows(value, path):
        entry: dict[str, Any] = {
            "image_id": f"{row.frame}.jpg",
            "category_id": 1,
            "keypoints": row.points.ravel().tolist(),
            "score": row.mean_confidence() if row.score is None else row.score,
        }
        if row.label is not None:
            entry["idx"] = row.number
        entries.append(entry)
    lists.write_json(path, entries, overwrite=overwrite)
