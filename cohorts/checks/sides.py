"""Markers by the side their names say: is the left on the left?

Forward is from the back to the front of the pelvis and from heels to toes, up from the feet to the pelvis;
the subject's right is forward × up. Swapping names of one side with the other changes none of these, as they
are means over both sides, so a swap shows in the pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from cohorts.recording import Markers
from cohorts.values import FloatArray

#: names end like these, sides and punctuation taken off
FRONT = ("asis", "asi", "toe", "bigtoe", "mt1", "mt2", "mt5", "5meta", "hallux", "smalltoe")
BACK = ("psis", "psi", "calc", "heel", "hee")
FEET = ("toe", "bigtoe", "mt1", "mt2", "mt5", "5meta", "calc", "heel", "hee", "hallux", "smalltoe")
PELVIS = ("asis", "asi", "psis", "psi", "hjc", "hip")
#: pairs that crossing arms or legs can't swap
TRUNK_AND_LEGS = (
    *PELVIS,
    "shoulder",
    "knee",
    "ankle",
    "mankle",
    "mknee",
    "toe",
    "calc",
    "heel",
    "sh1",
    "thigh1",
)
_SIDE = re.compile(r"(?P<side>left|right|[lr])[\s._-]*(?P<stem>[a-z0-9].*)", re.IGNORECASE)
_ENOUGH = 0.02  # metres to the wrong side that no crossing of the legs explains


def pairs_of(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Stem -> (left, right) names of markers that come in pairs.

    >>> pairs_of(["L.ASIS", "R.ASIS", "LKNE", "RKNE", "C7", "lumbar"])
    {'asis': ('L.ASIS', 'R.ASIS'), 'kne': ('LKNE', 'RKNE')}
    """
    sides: dict[str, dict[str, str]] = {}
    for name in names:
        found = _SIDE.fullmatch(name.strip())
        if found is not None:
            stem = re.sub(r"[\s._-]", "", found["stem"].lower())
            sides.setdefault(stem, {}).setdefault(found["side"][0].lower(), name)
    return {stem: (both["l"], both["r"]) for stem, both in sides.items() if len(both) == 2}


def _middle(markers: Markers, pairs: dict[str, tuple[str, str]], stems: tuple[str, ...]) -> FloatArray | None:
    """(T, 3) mean of the pairs among ``stems``, both sides present; None where there is none."""
    middles = []
    for stem in stems:
        if stem in pairs:
            xyz = markers.select(pairs[stem]).xyz
            middles.append(xyz.mean(axis=1))
    if not middles:
        return None
    stacked = np.stack(middles)
    known = np.isfinite(stacked).all(axis=-1).any(axis=0)
    out = np.full(stacked.shape[1:], np.nan)
    out[known] = np.nanmean(stacked[:, known], axis=0)
    return out


def up_of(markers: Markers) -> FloatArray | None:
    """(T, 3) unit vectors from the feet to the pelvis; None without such markers."""
    pairs = pairs_of(markers.names)
    feet, pelvis = _middle(markers, pairs, FEET), _middle(markers, pairs, PELVIS)
    if feet is None or pelvis is None:
        return None
    return _unit(pelvis - feet)


def _unit(vectors: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def swapped(markers: Markers) -> tuple[list[str], int]:
    """The pairs whose left marker lies to the subject's right, and how many pairs were looked at."""
    pairs = pairs_of(markers.names)
    up = up_of(markers)
    front, back = _middle(markers, pairs, FRONT), _middle(markers, pairs, BACK)
    if up is None or front is None or back is None:
        return [], 0
    pelvis = _front_to_back(markers, pairs, ("asis", "asi"), ("psis", "psi"))
    feet = _front_to_back(markers, pairs, FEET[:6], BACK[2:])
    forward = [part for part in (pelvis, feet) if part is not None]
    if not forward:
        return [], 0
    right = _unit(np.cross(_unit(np.sum(forward, axis=0)), up))
    wrong, seen = [], 0
    for stem, (left_name, right_name) in pairs.items():
        if stem not in TRUNK_AND_LEGS:
            continue
        both = markers.select((left_name, right_name)).xyz
        across = np.einsum("ti,ti->t", both[:, 1] - both[:, 0], right)
        across = across[np.isfinite(across)]
        if not len(across):
            continue
        seen += 1
        if np.median(across) < -_ENOUGH:
            wrong.append(f"{left_name} and {right_name}")
    return wrong, seen


def _front_to_back(
    markers: Markers,
    pairs: dict[str, tuple[str, str]],
    front: tuple[str, ...],
    back: tuple[str, ...],
) -> FloatArray | None:
    ahead, behind = _middle(markers, pairs, front), _middle(markers, pairs, back)
    return None if ahead is None or behind is None else _unit(ahead - behind)
