"""From a person's box to the crop that a network looks at, and back: exactly.

Two ways of saying which pixel of the crop is which pixel of the picture are in use. Both take the box's
centre and its size, padded and grown to the crop's aspect. Pixel (0, 0) is the centre of the top-left pixel:

- msra: x' = (x - centre) · W / width + W / 2        (widths correspond)
- udp:  x' = (x - centre) · (W - 1) / width + (W - 1) / 2   (distances from the first to the last pixel do)

A model must be run in the geometry that it was trained in. Either is undone exactly, so which one it is costs
nothing afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capbench.models.card import Geometry
from capbench.models.predictor import Picture
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

SMALLEST = 1.0  #: pixels; a box with a shorter side holds nobody
FARTHEST = 1e6  #: pixels; a box that reaches farther is not of a picture


@dataclass(frozen=True, eq=False)
class Crops:
    """How n crops of one size lie in their pictures: x_crop = scale · x_picture + shift, per axis.

    Attributes
    ----------
    size : (width, height) of the crops, pixels
    scale : (n, 2) pixels of the crop per pixel of the picture, along x and y
    shift : (n, 2) pixels of the crop
    good : (n,) whether the box held anything; where not, scale is 1 and shift 0
    """

    size: tuple[int, int]
    scale: FloatArray
    shift: FloatArray
    good: NDArray[np.bool_]

    def to_crop(self, points: FloatArray) -> FloatArray:
        """(n, K, 2) pixels of the pictures as pixels of the crops."""
        moved: FloatArray = points * self.scale[:, None] + self.shift[:, None]
        return moved

    def to_picture(self, points: FloatArray) -> FloatArray:
        """(n, K, 2) pixels of the crops as pixels of the pictures."""
        moved: FloatArray = (points - self.shift[:, None]) / self.scale[:, None]
        return moved

    def covariance_to_picture(self, covariance: FloatArray) -> FloatArray:
        """(n, K, 2, 2) pixels² of the crops as pixels² of the pictures."""
        moved: FloatArray = covariance / (self.scale[:, :, None] * self.scale[:, None, :])[:, None]
        return moved


def plan(
    boxes: FloatArray, size: tuple[int, int], *, padding: float = 1.25, geometry: Geometry = "msra"
) -> Crops:
    """Where the crops of ``boxes`` (n, 4: x0 y0 x1 y1, pixels) lie.

    Each box is padded by the factor ``padding`` and then grown, about its centre, to the crop's aspect. A box
    that is not finite or has no area gives a crop that is not ``good``.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise CapbenchError(f"Expected boxes of shape (n, 4), got {boxes.shape}.")
    corner, other = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        sound = (np.abs(boxes) < FARTHEST).all(axis=1) & (other - corner >= SMALLEST).all(axis=1)
    good = np.asarray(sound, dtype=np.bool_)
    centre = np.where(good[:, None], (corner + other) / 2, 0.0)
    extent = np.where(good[:, None], other - corner, 1.0) * padding
    aspect = size[0] / size[1]
    width = np.maximum(extent[:, 0], extent[:, 1] * aspect)
    extent = np.stack([width, width / aspect], axis=1)
    target = np.array(size, dtype=np.float64) - (geometry == "udp")
    scale = np.where(good[:, None], target / extent, 1.0)
    shift = np.where(good[:, None], target / 2 - centre * scale, 0.0)
    return Crops(size, scale, shift, good)


def cut(frames: Sequence[Picture], crops: Crops) -> Picture:
    """(n, height, width, 3) crops by bilinear interpolation; black outside the pictures."""
    import cv2

    width, height = crops.size
    made = np.zeros((len(crops.scale), height, width, 3), dtype=np.uint8)
    for i, frame in enumerate(frames):
        if not crops.good[i]:
            continue
        affine = np.array(
            [[crops.scale[i, 0], 0, crops.shift[i, 0]], [0, crops.scale[i, 1], crops.shift[i, 1]]]
        )
        cv2.warpAffine(
            np.ascontiguousarray(frame),
            affine,
            (width, height),
            dst=made[i],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
    return made
