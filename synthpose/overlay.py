"""Pictures of what a model answers: points and limbs on people, side by side with what is true.

The subject's left is red, the right blue, the middle green; each with a dark edge, so that it can be told
from any clothes. A filled point is seen or sure, a ring hidden or doubtful.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import replacing
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray

Picture = NDArray[np.uint8]  #: (height, width, 3) RGB

#: RGB by side
COLOURS = {"left": (245, 60, 50), "right": (40, 130, 255), "middle": (60, 220, 70)}
EDGE, PAPER, INK = (15, 15, 20), (255, 255, 255), (20, 20, 20)
TILE = (240, 320)  #: width and height of a picture on the sheet
STRIP = 18  #: pixels of the line below it
MARGIN = 1.25  #: of the box, how much of the picture around it is shown
SURE = 0.3  #: confidence from which a point is filled
FAR = 4.0  #: tiles; what lies farther out is not drawn
FINE = 2  #: everything is drawn this much larger, then reduced: small circles are round so
BLEND = 0.65  #: how much of a limb covers the person
_SHIFT = 4  #: OpenCV's fixed point: sixteenths of a pixel


def tile(
    picture: Picture,
    box: FloatArray,
    skeleton: Skeleton,
    xy: FloatArray,
    confidence: FloatArray | None = None,
    *,
    sure: float = SURE,
    size: tuple[int, int] = TILE,
) -> Picture:
    """One person, cut out around ``box`` (x0 y0 x1 y1, pixels) and enlarged, with points (K, 2) on it.

    ``confidence`` (K,) says which points are rings: those below ``sure``. A box that is not finite shows the
    whole picture.
    """
    import cv2

    fine = (FINE * size[0], FINE * size[1])
    move = _move(picture, box, fine)
    made = cv2.warpAffine(
        np.ascontiguousarray(picture),
        move,
        fine,
        flags=cv2.INTER_AREA if move[0, 0] < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(90, 90, 90),
    )
    there = xy[:, :2] @ move[:, :2].T + move[:, 2]
    shown = np.asarray((np.abs(there) < FAR * max(fine)).all(axis=1), np.bool_)  # not of NaN
    filled = np.ones(len(there), np.bool_)
    if confidence is not None:
        shown &= confidence > 0
        filled = confidence >= sure
    bare = made.copy()
    _limbs(made, skeleton, there, shown)
    made = cv2.addWeighted(made, BLEND, bare, 1 - BLEND, 0)
    _points(made, skeleton, there, shown, filled)
    drawn: Picture = np.asarray(cv2.resize(made, size, interpolation=cv2.INTER_AREA), np.uint8)
    return drawn


def _move(picture: Picture, box: FloatArray, size: tuple[int, int]) -> FloatArray:
    """(2, 3) from pixels of the picture to pixels of the tile."""
    if not np.isfinite(box).all():
        box = np.array([0.0, 0.0, picture.shape[1], picture.shape[0]]) - 0.5
    middle = (box[:2] + box[2:]) / 2
    extent = MARGIN * np.maximum(box[2:] - box[:2], 2.0)
    scale = float((np.array(size) / extent).min())
    shift = (np.array(size) - 1) / 2 - scale * middle
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _limbs(made: Any, skeleton: Skeleton, there: FloatArray, shown: NDArray[np.bool_]) -> None:
    import cv2

    for first, second in skeleton.limbs:
        a, b = skeleton.index(first), skeleton.index(second)
        if not (shown[a] and shown[b]):
            continue
        sides = {skeleton.sides[a], skeleton.sides[b]}
        colour = COLOURS[sides.pop() if len(sides) == 1 else "middle"]
        ends = _fixed(there[a]), _fixed(there[b])
        cv2.line(made, *ends, EDGE, 5, cv2.LINE_AA, _SHIFT)
        cv2.line(made, *ends, colour, 3, cv2.LINE_AA, _SHIFT)


def _points(
    made: Any, skeleton: Skeleton, there: FloatArray, shown: NDArray[np.bool_], filled: NDArray[np.bool_]
) -> None:
    import cv2

    one = FINE << _SHIFT
    for k in np.flatnonzero(shown):
        colour, place = COLOURS[skeleton.sides[k]], _fixed(there[k])
        if filled[k]:
            cv2.circle(made, place, round(3.0 * one), EDGE, -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(made, place, round(2.2 * one), colour, -1, cv2.LINE_AA, _SHIFT)
        else:
            cv2.circle(made, place, round(2.6 * one), EDGE, 5, cv2.LINE_AA, _SHIFT)
            cv2.circle(made, place, round(2.6 * one), colour, 2, cv2.LINE_AA, _SHIFT)


def _fixed(place: FloatArray) -> tuple[int, int]:
    return round(float(place[0]) * (1 << _SHIFT)), round(float(place[1]) * (1 << _SHIFT))


def captioned(picture: Picture, words: str) -> Picture:
    """``picture`` with a line of text below it."""
    import cv2

    strip = np.full((STRIP, picture.shape[1], 3), PAPER, np.uint8)
    cv2.putText(strip, words, (3, STRIP - 5), 0, 0.36, INK, 1, cv2.LINE_AA)
    return np.vstack([picture, strip])


def pair(predicted: Picture, true: Picture, words: str) -> Picture:
    """What a model says on the left, what is true on the right, and a line of text below both."""
    return captioned(np.hstack([predicted, np.full((len(true), 2, 3), PAPER, np.uint8), true]), words)


def sheet(tiles: Sequence[Picture], *, across: int, gap: int = 6, title: str = "") -> Picture:
    """Pictures of one size in rows of ``across``, on white; a line of text above."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // across)
    made = np.full((rows * (height + gap) + gap, across * (width + gap) + gap, 3), PAPER, np.uint8)
    for k, one in enumerate(tiles):
        y, x = (k // across) * (height + gap) + gap, (k % across) * (width + gap) + gap
        made[y : y + height, x : x + width] = one
    if not title:
        return made
    head = np.full((STRIP, made.shape[1], 3), PAPER, np.uint8)
    return np.vstack([captioned(head, title)[STRIP:], made])


def write_png(path: Path, picture: Picture, *, overwrite: bool = False) -> None:
    """Write an RGB picture, all or nothing."""
    import cv2

    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
