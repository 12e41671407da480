#!/usr/bin/env python
"""A contact sheet of a made cohort: frames of its videos with the true landmarks on them.

    python scripts/draw_cohort.py COHORT sheet.png                 # 24 frames
    python scripts/draw_cohort.py COHORT sheet.png --frames 60 --across 10 --only gait,sts --whole

People, conditions and cameras take turns. A filled point is seen, a ring is hidden; right side red, left
side blue, the middle yellow. A frame is cut out around the person unless ``--whole``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cohorts import formats
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Trial
from cohorts.store import Imported, open_cohort
from cohorts.values import FloatArray

TILE = (330, 440)  #: width and height of a picture on the sheet
CAPTION = 16  #: pixels of the line below it
RIGHT, LEFT, MIDDLE = (60, 60, 255), (255, 120, 40), (40, 220, 255)  #: OpenCV's order: blue, green, red
SHARES = (0.5, 0.3, 0.75, 0.15, 0.6, 0.9, 0.4)  #: where in a video its frame is taken, in turn
Shot = tuple[Trial, str, float]


def chosen(trials: Sequence[Trial], count: int) -> list[Shot]:
    """(trial, camera, share of the video) of ``count`` frames, each time what was shown least so far."""
    every = [(t, c) for t in trials for c in t.videos]
    shown: Counter[tuple[str, str]] = Counter()
    found: list[Shot] = []
    while every and len(found) < count:

        def worn(at: tuple[Trial, str]) -> tuple[int, ...]:
            trial, camera = at
            keys = (("who", trial.subject), ("what", trial.name), ("camera", camera))
            return shown["pair", trial.key + camera], *sorted((shown[k] for k in keys), reverse=True)

        trial, camera = min(every, key=worn)
        for key in (("who", trial.subject), ("what", trial.name), ("camera", camera)):
            shown[key] += 1
        shown["pair", trial.key + camera] += 1
        found.append((trial, camera, SHARES[len(found) % len(SHARES)]))
    return found


def frame_of(video: Path, number: int) -> Any:
    """(h, w, 3) bytes, blue first: one frame."""
    capture = cv2.VideoCapture(str(video))
    picture = None
    for _ in range(number + 1):  # seeking is not exact in every build
        good, picture = capture.read()
        if not good:
            raise CapbenchError(
                f"Expected a video with frame {number}, got one that ends before.", file=video
            )
    capture.release()
    return picture


def around(xy: FloatArray, size: tuple[int, int]) -> tuple[float, float, float]:
    """Left, top and scale (sheet's pixels per video's) of a cut around points (N, 2)."""
    low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
    middle = (low + high) / 2
    tall = max(1.3 * (high[1] - low[1]), 1.25 * (high[0] - low[0]) * TILE[1] / TILE[0], 40.0)
    scale = min(TILE[1] / tall, 4.0)
    return float(middle[0] - TILE[0] / scale / 2), float(middle[1] - TILE[1] / scale / 2), scale


def tile(cohort: Imported, shot: Shot, *, whole: bool, marks: bool) -> Any:
    """One picture of the sheet with its caption."""
    trial, camera, share = shot
    points: Keypoints = formats.read(cohort.path(trial.extras[f"keypoints:{camera}"]))[1][0]
    number = round(share * (len(points) - 1))
    picture = frame_of(cohort.path(trial.videos[camera]), number)
    height, width = picture.shape[:2]
    xy, seen = points.xy[number], points.confidence[number] == 1
    if whole:
        scale = min(TILE[0] / width, TILE[1] / height)
        x, y = (width - TILE[0] / scale) / 2, (height - TILE[1] / scale) / 2
    else:
        x, y, scale = around(xy, (width, height))
    move = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
    made = cv2.warpAffine(picture, move, TILE, flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
                          borderValue=(90, 90, 90))  # fmt: skip
    for name, at, filled in zip(points.skeleton.points, (xy - (x, y)) * scale, seen, strict=True):
        if marks and np.isfinite(at).all() and (np.abs(at) < 5000).all():
            colour = LEFT if is_side(name, "l") else RIGHT if is_side(name, "r") else MIDDLE
            place = (round(16 * at[0]), round(16 * at[1]))
            if filled:
                cv2.circle(made, place, 56, (0, 0, 0), -1, cv2.LINE_AA, 4)
                cv2.circle(made, place, 40, colour, -1, cv2.LINE_AA, 4)
            else:
                cv2.circle(made, place, 56, colour, 1, cv2.LINE_AA, 4)
    strip = np.full((CAPTION, TILE[0], 3), 255, np.uint8)
    person = cohort.cohort.subject(trial.subject)
    words = (
        f"{trial.subject} {person.height:.2f}m {person.mass:.0f}kg {trial.name} {camera} f{number}"
        f" {int(seen.sum())}/{len(seen)}"
    )
    cv2.putText(strip, words, (2, 11), 0, 0.34, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.rectangle(made, (0, 0), (TILE[0] - 1, TILE[1] - 1), (255, 255, 255), 1)
    return np.vstack([made, strip])


def is_side(name: str, side: str) -> bool:
    """Whether a landmark of synthpose-52 is of that side: ``r_knee``, ``right_knee``, ``rshoulder``."""
    return name.startswith((f"{side}_", {"l": "left_", "r": "right_"}[side])) or name == f"{side}shoulder"


def main(words: Sequence[str] | None = None) -> int:
    """Choose, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--across", type=int, default=8)
    parser.add_argument("--only", default="", help="starts of trials' names, separated by commas")
    parser.add_argument("--whole", action="store_true", help="whole frames, not cut out around the person")
    parser.add_argument("--bare", action="store_true", help="without landmarks")
    given = parser.parse_args(words)
    cohort = open_cohort(given.cohort)
    only = tuple(given.only.split(","))
    shots = chosen([t for t in cohort.cohort.trials if t.name.startswith(only)], given.frames)
    tiles = [tile(cohort, shot, whole=given.whole, marks=not given.bare) for shot in shots]
    if not tiles:
        raise SystemExit(f"Expected trials called {given.only}, got none.")
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % given.across)
    rows = [np.hstack(tiles[k : k + given.across]) for k in range(0, len(tiles), given.across)]
    if not cv2.imwrite(str(given.output), np.vstack(rows)):
        raise SystemExit(f"Expected a PNG that can be written, got {given.output}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
