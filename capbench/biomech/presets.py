"""Named marker weights: what ``--tasks`` takes besides a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from capbench.biomech.opensim_setup import Tasks
from cohorts.bounded import load_yaml
from cohorts.errors import unknown_name


@cache
def presets() -> Mapping[str, Any]:
    """Every preset's card: title, source, and weights (weight -> marker names)."""
    cards: Mapping[str, Any] = load_yaml(Path(__file__).parent / "presets.yaml")
    return cards


def preset(name: str) -> Tasks:
    """The marker weights of that name."""
    if name not in presets():
        raise unknown_name("preset of marker weights", name, presets())
    weights = presets()[name]["weights"]
    return Tasks({str(marker): float(w) for w, markers in weights.items() for marker in markers}, ())
