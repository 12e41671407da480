"""Relaxed hands: the open body's fingers are stretched; here they curl as a hand does that hangs idle."""

from __future__ import annotations

from functools import cache

import numpy as np

from cohorts.values import FloatArray, IntArray
from synthpose.body import asset

CURL = 0.9  #: radians between a finger's first and last part: about 50° shared by three joints
KNUCKLES = 0.50  #: share of the way from the wrist to the farthest fingertip at which fingers begin


@cache
def _hand(side: str) -> IntArray:
    """Vertices of one hand: those that mostly follow it."""
    a = asset()
    main = np.take_along_axis(a.bones_vk, a.weights_vk.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.flatnonzero(main[: a.body_vertices] == a.bodies.index(f"hand_{side}"))


def relaxed(rest_v3: FloatArray, radial: FloatArray, ulnar: FloatArray, *, side: str) -> FloatArray:
    """The mesh with the fingers of one hand curled towards the palm.

    ``radial`` and ``ulnar``: (3,) metres, the styloids of that side ("r" or "l"). Beyond the knuckles the
    hand is bent round a circle, so lengths along its middle stay and nothing tears; the wrist does not move.
    """
    on = _hand(side)
    wrist = (radial + ulnar) / 2
    from_wrist = rest_v3[on] - wrist
    tip = from_wrist[np.linalg.norm(from_wrist, axis=1).argmax()]
    length = float(np.linalg.norm(tip))
    along = tip / length
    across = radial - ulnar
    across = across - (across @ along) * along
    across /= np.linalg.norm(across)
    palm = np.cross(across, along) * (1.0 if side == "r" else -1.0)
    start = KNUCKLES * length
    radius = (length - start) / CURL
    far, deep = from_wrist @ along, from_wrist @ palm
    angle = np.maximum(far - start, 0.0) / radius
    bent_far = np.where(angle > 0, start + (radius - deep) * np.sin(angle), far)
    bent_deep = np.where(angle > 0, radius - (radius - deep) * np.cos(angle), deep)
    made = rest_v3.copy()
    made[on] += np.outer(bent_far - far, along) + np.outer(bent_deep - deep, palm)
    return made
