"""What every model is to the rest of capbench: pictures and boxes in, keypoints out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from capbench.models.card import ModelCard
from cohorts.values import FloatArray

Picture = NDArray[np.uint8]  #: (height, width, 3), RGB


class Predicted(NamedTuple):
    """What a model says of n people, one a picture; K points in the order of its card's skeleton.

    Attributes
    ----------
    points : (n, K, 2) pixels of the whole picture, or (n, K, 3) metres in the camera's frame (x right, y
        down, z ahead) for a model of kind "keypoints3d"; NaN where it gives none
    confidence : (n, K) >= 0; 0 where the point is missing
    covariance : (n, K, 2, 2) pixels², or None where the model gives none
    """

    points: FloatArray
    confidence: FloatArray
    covariance: FloatArray | None = None


class Predictor(Protocol):
    """A model ready to run."""

    @property
    def card(self) -> ModelCard:
        """What it is."""

    def predict(self, frames: Sequence[Picture], boxes: FloatArray) -> Predicted:
        """Keypoints of the person in each picture.

        ``frames`` is an array (n, h, w, 3) or a list of pictures of any sizes; ``boxes`` is (n, 4), x0 y0 x1
        y1 in pixels of each picture, the person's extent without padding. Same input, same output.
        """

    def close(self) -> None:
        """Give back memory and child processes; it can't predict afterwards."""
