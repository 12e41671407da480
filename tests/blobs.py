"""Made-up videos of coloured rectangles whose corners are known to the pixel, and a model that finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from capbench.models.card import Limits, ModelCard, Points
from capbench.models.predictor import Predicted
from synthpose import video

NAMES = ("top_left", "top_right", "bottom_right", "bottom_left")
RED, GREEN = (220, 20, 20), (20, 200, 20)
Rectangle = tuple[float, float, float, float]  # x0 y0 x1 y1: centres of its outermost pixels


def draw(size: tuple[int, int], rectangles: Sequence[tuple[Rectangle, tuple[int, int, int]]]):
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    for (x0, y0, x1, y1), colour in rectangles:
        rows = slice(max(int(y0), 0), max(int(y1) + 1, 0))
        picture[rows, max(int(x0), 0) : max(int(x1) + 1, 0)] = colour
    return picture


def film(
    path: Path,
    *,
    size: tuple[int, int] = (160, 240),
    rate: float = 25.0,
    count: int = 20,
    where: Callable[[int], Rectangle | None],
    colour: tuple[int, int, int] = RED,
) -> Path:
    """A video in whose frame k a rectangle stands at ``where(k)``."""
    frames = (
        draw(size, [] if where(k) is None else [(where(k), colour)])  # type: ignore[list-item]
        for k in range(count)
    )
    video.write(path, frames, rate=rate, quality=100)
    return path


def corners(rectangle: Rectangle) -> np.ndarray:
    x0, y0, x1, y1 = rectangle
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def card(**changes) -> ModelCard:
    return ModelCard(
        **{
            "name": "blob",
            "version": "1",
            "licence": "none",
            "route": "python",
            "entry": "blob.py:Blob",
            "skeleton": Points(name="rectangle", points=NAMES),
            "limits": Limits(batch=64),
            **changes,
        }
    )


class Blob:
    """Finds the extent of the red (or other) pixels in the box; sees nothing where fewer than ten are."""

    def __init__(self, channel: int = 0, **changes) -> None:
        self.card = card(**changes)
        self.channel = channel
        self.batches: list[int] = []
        self.looked: list[np.ndarray] = []

    def predict(self, frames, boxes) -> Predicted:
        self.batches.append(len(frames))
        self.looked += list(boxes)
        points = np.full((len(frames), 4, 2), np.nan)
        confidence = np.zeros((len(frames), 4))
        for i, (picture, (x0, y0, x1, y1)) in enumerate(zip(frames, boxes, strict=True)):
            left, top = max(int(np.ceil(x0)), 0), max(int(np.ceil(y0)), 0)
            inside = picture[top : int(y1) + 1, left : int(x1) + 1].astype(int)
            other = [c for c in range(3) if c != self.channel]
            mask = inside[..., self.channel] - inside[..., other].max(axis=-1) > 60
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if mask.sum() >= 10:
                extent = (columns[0] + left, rows[0] + top, columns[-1] + left, rows[-1] + top)
                points[i], confidence[i] = corners(extent), 0.9
        return Predicted(points, confidence)

    def close(self) -> None:
        pass
