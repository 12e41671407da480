"""What the text of an MMPose configuration says, read as text: no Python of it is run or even parsed.

Checkpoints keep the configuration they were trained with as text, whole and without inheritance, which is why
looking for a few words is enough. What isn't found is left open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from capbench.models.card import Points
from cohorts.errors import CapbenchError

_HEADS = {"small": 12, "base": 12, "large": 16, "huge": 16}  # as mmpose's own ViTPose files set them


@dataclass(frozen=True)
class Said:
    """What was found; None where nothing was."""

    input_size: tuple[int, int] | None = None
    decoding: Literal["msra", "dark", "udp"] | None = None
    sigma: float | None = None
    kernel: int | None = None
    split_ratio: float | None = None
    flip_test: bool | None = None
    shift_heatmap: bool | None = None
    padding: float | None = None
    heads: int | None = None
    guessed: frozenset[str] = field(default_factory=frozenset)


def said(meta: Mapping[str, Any] | None) -> Said:
    """What the configuration kept in a checkpoint's ``meta`` says of crop, codec and test."""
    text = next((t for key in ("cfg", "config") if isinstance(t := (meta or {}).get(key), str)), None)
    if text is None:
        return Said()
    pair = _value(text, r"input_size", r"[(\[]\s*(\d{2,4})\s*,\s*(\d{2,4})\s*[)\]]")
    codec = _codec_of(text)
    padding = _value(text, r"padding", r"(\d\.\d{1,4})")
    heads = _value(text, r"num_heads", r"(\d{1,3})")
    arch = _value(text, r"arch", r"'(\w+)'")
    return Said(
        input_size=(int(pair[1]), int(pair[2])) if pair else None,
        decoding=codec,
        sigma=_number(text, "sigma"),
        kernel=None if (kernel := _number(text, "blur_kernel_size")) is None else int(kernel),
        split_ratio=_number(text, "simcc_split_ratio"),
        flip_test=_truth(text, "flip_test"),
        shift_heatmap=_truth(text, "shift_heatmap"),
        padding=float(padding[1]) if padding else None,
        heads=int(heads[1]) if heads else _HEADS.get(arch[1]) if arch else None,
        guessed=frozenset({"heads"} if arch and not heads else ()),
    )


def _value(text: str, key: str, pattern: str) -> re.Match[str] | None:
    """The first ``key = value`` or ``'key': value`` of that form."""
    return re.search(rf"\b{key}['\"]?\s*[=:]\s*{pattern}", text)


def _number(text: str, key: str) -> float | None:
    found = _value(text, key, r"(\d{1,4}(?:\.\d{1,6})?)")
    return float(found[1]) if found and float(found[1]) > 0 else None


def _truth(text: str, key: str) -> bool | None:
    found = _value(text, key, r"(True|False)")
    return None if found is None else found[1] == "True"


def _codec_of(text: str) -> Literal["msra", "dark", "udp"] | None:
    if "UDPHeatmap" in text:
        return "udp"
    if "MSRAHeatmap" in text:
        return "dark" if _truth(text, "unbiased") else "msra"
    return None


def points_of(meta: Mapping[str, Any] | None) -> Points | None:
    """The names and flip pairs that MMPose keeps beside the weights, where they are whole."""
    given = (meta or {}).get("dataset_meta")
    if not isinstance(given, dict):
        return None
    by_place, flips = given.get("keypoint_id2name"), given.get("flip_indices")
    if not isinstance(by_place, dict) or len(by_place) > 1000:
        return None
    points = tuple(str(by_place.get(i, ""))[:80] for i in range(len(by_place)))
    pairs: list[tuple[str, str]] = []
    if isinstance(flips, list) and len(flips) == len(points):
        for i, j in enumerate(flips):
            if type(j) is int and i < j < len(points) and flips[j] == i:
                one, other = points[i], points[j]
                pairs.append((one, other) if "left" in one or one.startswith("l_") else (other, one))
    try:
        made = Points(
            name=str(given.get("dataset_name") or "points")[:80], points=points, flip_pairs=tuple(pairs)
        )
        made.skeleton()
    except (CapbenchError, ValueError):
        return None
    return made
