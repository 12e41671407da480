"""Keypoint pickles of OpenCap and OpenCapBench: a list of frames, each a list of people.

A person is ``{"person_id": [i], "pose_keypoints_2d": [x, y, confidence, …]}``: OpenPose's 25 points, or
the 52 of OpenCapBench's anatomical set. Frames without people are empty; points at (0, 0, 0) or NaN are
missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cohorts.bounded import about
from cohorts.formats import keypoint_lists as lists
from cohorts.formats.inert_pickle import load_pickle
from cohorts.formats.openpose_json import person_detection
from cohorts.recording import Keypoints


def recognise(content: Any) -> bool:
    """Whether an unpickled object looks like OpenCap's keypoints."""
    if not isinstance(content, list):
        return False
    people = next((frame for frame in content if isinstance(frame, list) and frame), None)
    return people is not None and isinstance(people[0], dict) and "pose_keypoints_2d" in people[0]


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """Keypoints (pixels) of everyone in an OpenCap keypoint pickle.

    ``rate`` is in frames per second, ``skeleton`` the name of a built-in one, ``camera`` a name.
    """
    notes = [] if notes is None else notes
    unread: set[str] = set()
    found = lists.Detections(lists.PICKLED_LIMIT)
    content = load_pickle(path)
    with about(path):
        for i, people in enumerate(lists.need_list(content, "a list of frames")):
            if people is None:
                continue
            for j, person in enumerate(lists.need_list(people, "a list of people", f"frame {i}")):
                detection = person_detection(person, i, f"frame {i}, person {j}", unread)
                if detection is not None:
                    found.add(detection)
    if unread:
        notes.append(f"not read: {', '.join(sorted(unread))}")
    return lists.tracks(found, path, notes=notes, rate=rate, skeleton=skeleton, camera=camera)
