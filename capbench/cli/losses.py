"""What a format could not hold: a noun beside what came back of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from capbench.cli.common import count
from cohorts.bounded import shorten

#: field -> what it is in words
WORDS = {
    "time": "times (s)",
    "names": "names",
    "xyz": "positions (m)",
    "xy": "positions (px)",
    "confidence": "confidences",
    "covariance": "covariances",
    "frames": "frame numbers",
    "score": "scores of the whole person",
    "camera": "the camera's name",
    "person": "the person's name",
    "skeleton": "the skeleton",
    "values": "values",
    "kinds": "which coordinates rotate and which translate",
    "coupled": "which coordinates are coupled",
    "in_degrees": "whether rotations are in degrees",
    "matrix": "intrinsics (px)",
    "rotation": "rotation",
    "translation": "translation (m)",
    "size": "size of the picture",
    "distortion": "distortion",
    "lens": "kind of lens",
    "poses": "poses (rad)",
    "trans": "translations (m)",
    "betas": "shape",
    "gender": "gender",
    "family": "body model",
}
#: differences this small, relative to the largest value, are the last digits of a float64
_DIGITS = 1e-12


def losses(before: Any, after: Any) -> list[str]:
    """What differs between a noun (or tuple of nouns) and its second reading, in words."""
    wholes = before if isinstance(before, tuple) else (before,)
    backs = after if isinstance(after, tuple) else (after,)
    if len(wholes) != len(backs):
        return [f"{count(len(wholes), 'track')} went in, {len(backs)} came back"]
    found: list[str] = []
    for whole, back in zip(wholes, backs, strict=True):
        if type(whole) is not type(back):
            found.append(f"{type(whole).__name__.lower()} went in, {type(back).__name__.lower()} came back")
            continue
        if hasattr(whole, "time") and len(whole) != len(back):
            found.append(f"{count(len(whole), 'frame')} went in, {len(back)} came back")
            continue
        for field in fields(whole):
            said = _difference(getattr(whole, field.name), getattr(back, field.name))
            if said:
                found.append(f"{WORDS.get(field.name, field.name)} {said}")
    return list(dict.fromkeys(found))


def _difference(whole: Any, back: Any) -> str:
    if isinstance(whole, np.ndarray) or isinstance(back, np.ndarray):
        return _array_difference(whole, back)
    if whole == back:
        return ""
    if isinstance(whole, tuple):
        return f"changed: {shorten([a for a in whole if a not in back])}"
    name = getattr(whole, "name", whole)
    return f"changed from {name!r} to {getattr(back, 'name', back)!r}"


def _array_difference(whole: Any, back: Any) -> str:
    if back is None:
        return "are not kept"
    if whole is None:
        return ""  # made up on reading, not lost
    if whole.shape != back.shape:
        wider = whole.ndim == 1 and len(back) > len(whole) and not back[len(whole) :].any()
        if not wider:  # a distortion filled up with zeros is the same
            return f"changed from shape {whole.shape} to {back.shape}"
        back = back[: len(whole)]
    gone, new = np.isnan(whole), np.isnan(back)
    if (gone != new).any():
        return f"changed where they are missing ({int((gone != new).sum())} numbers)"
    both = ~gone
    if not both.any():
        return ""
    worst = float(np.abs(whole[both] - back[both]).max())
    if worst <= _DIGITS * max(1.0, float(np.abs(whole[both]).max())):
        return ""
    if (back[both] == back[both].flat[0]).all() and back[both].flat[0] in (0, 1):
        return f"are not kept (all are {back[both].flat[0]:g} now)"
    return f"rounded or changed by up to {worst:.2g}"
