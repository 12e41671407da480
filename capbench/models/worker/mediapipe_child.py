"""MediaPipe's BlazePose in a worker: each picture by itself, the person looked for in the given box.

Loaded by path by ``child.py``. Tracking from picture to picture, MediaPipe's other mode, would make an answer
depend on which pictures came before it and from which camera; this one's answers don't.
"""

from __future__ import annotations

import importlib
import math
import sys
import types
from typing import Any

import numpy as np

child: Any = sys.modules["capbench_child"]
COUNT = 33
FIX = "capbench models install mediapipe"


def load(request: dict[str, Any]) -> tuple[str, Any]:
    """BlazePose of complexity 1, the one whose weights are in the package."""
    if len(request["points"]) != COUNT:
        raise child.Unfit(f"BlazePose has {COUNT} points, the card {len(request['points'])}")
    for name in ("matplotlib", "matplotlib.pyplot"):  # imported to draw with, which nobody does here
        sys.modules.setdefault(name, types.ModuleType(name))
    try:
        mediapipe: Any = importlib.import_module("mediapipe")
    except ImportError as error:
        raise child.Missing(f"{sys.executable} can't import mediapipe: {error}", FIX) from error
    if not hasattr(mediapipe, "solutions"):
        raise child.Missing(
            f"mediapipe {getattr(mediapipe, '__version__', '')} brings no pose model; 0.10.14 does", FIX
        )
    try:
        pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1)
    except AttributeError as error:
        if "label" in str(error):
            raise child.Missing("mediapipe 0.10.14 needs protobuf below 5", FIX) from error
        raise
    return "mediapipe BlazePose", Detector(pose, request["model"]["margin"]).predict


class Detector:
    """BlazePose on a crop around the box, ``margin`` times the box's longer side wider on every side."""

    def __init__(self, pose: Any, margin: float) -> None:
        self._pose = pose
        self._margin = margin

    def predict(self, frames: Any, boxes: Any) -> tuple[Any, Any]:
        """Points in pixels of the whole picture, and their visibility; a box of NaN is the whole picture."""
        points = np.full((len(boxes), COUNT, 2), np.nan)
        confidence = np.zeros((len(boxes), COUNT))
        for i, box in enumerate(boxes):
            left, top, right, bottom = self._part(frames[i].shape, box)
            if right - left < 8 or bottom - top < 8:
                continue
            found = self._pose.process(np.ascontiguousarray(frames[i][top:bottom, left:right]))
            if found.pose_landmarks is None:
                continue
            marks = found.pose_landmarks.landmark
            # MediaPipe counts in shares of the picture from the corner of the first pixel, not its centre
            points[i, :, 0] = [mark.x * (right - left) + left - 0.5 for mark in marks]
            points[i, :, 1] = [mark.y * (bottom - top) + top - 0.5 for mark in marks]
            confidence[i] = [mark.visibility for mark in marks]
        return points, confidence

    def _part(self, shape: Any, box: Any) -> tuple[int, int, int, int]:
        """Columns and rows of the picture to look at: from, from, to, to."""
        height, width = shape[:2]
        if not np.isfinite(box).all():
            return 0, 0, width, height
        x0, y0, x1, y1 = box
        more = self._margin * max(x1 - x0, y1 - y0)
        return (
            max(0, math.floor(x0 - more)),
            max(0, math.floor(y0 - more)),
            min(width, math.ceil(x1 + more) + 1),
            min(height, math.ceil(y1 + more) + 1),
        )
