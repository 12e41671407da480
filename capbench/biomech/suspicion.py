"""What a check of a recording found, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.recording import Markers

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Suspicion:
    """What is odd about a recording.

    Attributes
    ----------
    severity : "refuse": a fit would be wrong; "flag": look at it
    kind : one word for programs, such as "units" or "mirrored"
    text : what was expected and found, in words
    fix : what to do, or None
    markers : names it is about; empty: all
    frames : numbers of the frames it is about; empty: all
    """

    severity: Literal["refuse", "flag"]
    kind: str
    text: str
    fix: str | None = None
    markers: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.text if self.fix is None else f"{self.text} Try: {self.fix}"


Found = tuple[Suspicion, ...]


def refuse(found: Iterable[Suspicion]) -> None:
    """Raise the refusals among what was found, if any, as one error."""
    worst = [s for s in found if s.severity == "refuse"]
    if worst:
        fixes = [s.fix for s in worst if s.fix]
        raise CapbenchError(" ".join(s.text for s in worst), fix="; ".join(fixes) or None)


def there(markers: Markers) -> BoolArray:
    """(T, M) which points are there."""
    return ~np.isnan(markers.xyz[..., 0])


def where(markers: Markers, at: BoolArray) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the markers and numbers of the frames with a hit in ``at`` (T, M)."""
    names = tuple(markers.names[i] for i in np.flatnonzero(at.any(axis=0)))
    return names, tuple(np.flatnonzero(at.any(axis=1)).tolist())
