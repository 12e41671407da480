"""How pictures look: everything that a cohort's ``style`` decides, and nothing of what they show.

A style draws rooms, colours and light and develops pictures in its own way. People, motion, cameras and every
label come from elsewhere, so the same seed gives the same truth in any style, and only videos differ. All
training pictures are in the style "default"; "sunlit" is kept from training, to measure what another look of
the same people costs a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synthpose import room, sensor
from synthpose.render import Float32Array
from synthpose.scene import Material, Paint, Room, View
from synthpose.sunlit import choices, film, light


class Developing(Protocol):
    """What makes pictures of light."""

    def __call__(
        self, linear: Float32Array, phone: sensor.Sensor, /, *, seed: int, camera: str, frame: int
    ) -> NDArray[np.uint8]:
        """(h, w, 3) the 8-bit picture of linear light; ``frame`` has noise of its own."""


@dataclass(frozen=True)
class Style:
    """One look.

    Attributes
    ----------
    room : the room of a person's seed and a session's name
    dressed : what somebody or something is made of in this style, given what it is in the default, and a seed
    painter : draws light and texture for a view (None: as the default style does)
    develop : makes a picture of light; see ``synthpose.sensor.develop``
    """

    room: Callable[[int, str], Room]
    dressed: Callable[[Mapping[str, Material], int], Mapping[str, Material]]
    painter: Callable[[View], Paint] | None
    develop: Developing


def _as_it_is(colours: Mapping[str, Material], _: int) -> Mapping[str, Material]:
    return colours


DEFAULT = "default"
#: name -> style
STYLES: Mapping[str, Style] = {
    DEFAULT: Style(room.draw_room, _as_it_is, None, sensor.develop),
    "sunlit": Style(choices.draw_room, choices.dressed, light.painter, film.develop),
}
