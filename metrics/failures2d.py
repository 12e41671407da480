"""Why a detected person's points are wrong: jitter, inversion, swap or miss, and what each costs.

After Ronchi & Perona 2017 (ICCV) and their coco-analyze. Detections go to references by COCO's greedy
matching at OKS .1, over all areas; those that go to a person who is ignored (a crowd, nothing labelled) are
not looked at. Each labelled point of a matched person is then classed by the closeness
ks = exp(-d² / (2 (2σ)² area)) of the detected point to

- its own true place,
- the place of its mirrored twin on the same person (a left wrist at the right wrist),
- the places of the same point and of its twin on every other person in the picture, with that one's area.

Whichever is closest decides; of equals the first in the order own, twin, other person:

- ``good`` own, ks ≥ .85
- ``jitter`` own, .5 ≤ ks < .85
- ``inversion`` own twin, ks ≥ .5
- ``swap`` another person's point or its twin, ks ≥ .5
- ``miss`` nothing with ks ≥ .5, or no prediction

One kind is corrected by moving each of its points to a distance (along +x) from its true place at which its
ks is .85 for jitter, .5 for a miss, and for inversion and swap the ks that it had with the wrong place. The
dearer a kind is, the more a correction gains. Two differences to coco-analyze, on purpose: its distances
take σ where ks has 2σ, so they bring a point nearer than its own paper says, and a ks of exactly .85 is no
kind at all there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import BoolArray, FloatArray, IntArray, MetricError, names_of
from metrics.catalogue import metric
from metrics.oks import AREAS, EPS, People2D, checked_sigmas, closeness, evaluate, match, same_image

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("good", "jitter", "inversion", "swap", "miss")
MATCHED = 0.1  #: the OKS from which a detection is taken for a try at a person
NEAR, CLOSE = 0.5, 0.85  #: the ks at which a point is meant for a place, and at which it is good there
#: corrected points stand this much nearer than their ks asks, lest rounding puts an OKS below its threshold
INWARD = 1.0 - 1e-9

_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "good": "are right: closest to their own place, ks at least .85",
        "jitter": "are near their own place only: ks from .5 to below .85",
        "inversion": "lie at the same person's mirrored point: ks at least .5",
        "swap": "lie at another person's point: ks at least .5",
        "miss": "lie at no labelled place: ks below .5",
    }
)
_SOURCE = "Ronchi & Perona 2017, ICCV; coco-analyze"
_NEEDS = ("detections", "reference", "visibility", "area", "bbox", "sigmas", "scores")


@dataclass(frozen=True, eq=False)
class PointFailures:
    """The kinds of all labelled points of matched people.

    Attributes
    ----------
    good, jitter, inversion, swap, miss : their shares in %, NaN where nobody was matched
    counts : (5, K) how many points of each of ``KINDS``
    matched : people with a detection
    unmatched : labelled points of people that no detection went to, which have no kind
    """

    good: float
    jitter: float
    inversion: float
    swap: float
    miss: float
    counts: IntArray
    matched: int
    unmatched: int


class Gain(NamedTuple):
    """What correcting one kind gains: in AP, and in the matched people's mean OKS (NaN for no match)."""

    ap: float
    oks: float


class _Classed(NamedTuple):
    """M matched detections: their places ``d`` and their references' ``g``, and for their K points (M, K)
    whether labelled, the kind (an index of ``KINDS``), the ks with the own place and with the closest one.
    """

    d: IntArray
    g: IntArray
    labelled: BoolArray
    kind: IntArray
    own: FloatArray
    best: FloatArray


def _share_cards(function: F) -> F:
    for kind in KINDS:
        metric(
            f"keypoint-failure·{kind}",
            unit="%",
            direction="higher" if kind == "good" else "lower",
            definition=f"Share of the labelled points of matched people that {_MEANING[kind]}.",
            reference=_SOURCE,
            needs=_NEEDS,
            merge="sums",
            part=kind,
        )(function)
    return function


@_share_cards
def point_failures(
    reference: People2D,
    detections: People2D,
    *,
    sigmas: ArrayLike,
    points: Sequence[str],
    flip_pairs: Sequence[tuple[str, str]],
) -> PointFailures:
    """How many points are good, jittered, inverted, swapped or missed (see the module).

    ``points``: the K names; ``flip_pairs``: the (left, right) names that are each other's twins.

    >>> from metrics.oks import people2d
    >>> truth = people2d([1], [[[0, 0], [30, 0]]], area=[900])
    >>> found = people2d([1], [[[0, 0], [0, 0]]], scores=[0.9])
    >>> kinds = point_failures(
    ...     truth, found, sigmas=[0.1, 0.1], points=["l", "r"], flip_pairs=[("l", "r")]
    ... )
    >>> kinds.good, kinds.inversion
    (50.0, 50.0)
    """
    classed = _classify(reference, detections, sigmas, points, flip_pairs)
    counts = np.array([((classed.kind == k) & classed.labelled).sum(axis=0) for k in range(len(KINDS))])
    total = int(counts.sum())
    good, jitter, inversion, swap, miss = (
        100.0 * int(n) / total if total else np.nan for n in counts.sum(axis=1)
    )
    counting = np.where(reference.crowd[:, None], 0.0, reference.visibility) > 0
    missed = np.isin(np.arange(len(reference)), classed.g, invert=True)
    unmatched = int(counting[missed].sum())
    return PointFailures(good, jitter, inversion, swap, miss, counts, len(classed.g), unmatched)


def _gain_cards(function: F) -> F:
    for kind in KINDS[1:]:
        for part, what in (("ap", "AP"), ("oks", "OKS")):
            metric(
                f"Δ{what}·{kind}-corrected",
                unit="1",
                direction="lower",
                definition=f"What {what} gains when the points that {_MEANING[kind]} are corrected.",
                reference=_SOURCE,
                needs=_NEEDS,
                merge="samples",
                part=part,
                kind=kind,
            )(function)
    return function


@_gain_cards
def correction_gain(
    reference: People2D,
    detections: People2D,
    *,
    sigmas: ArrayLike,
    points: Sequence[str],
    flip_pairs: Sequence[tuple[str, str]],
    kind: str,
) -> Gain:
    """What the AP (.50:.05:.95) and the matched people's mean OKS gain when one kind alone is corrected.

    >>> from metrics.oks import people2d
    >>> truth = people2d([1], [[[0, 0], [30, 0]]], area=[900])
    >>> found = people2d([1], [[[0, 0], [0, 0]]], scores=[0.9])
    >>> gain = correction_gain(
    ...     truth, found, sigmas=[0.1, 0.1], points=["l", "r"], flip_pairs=[("l", "r")], kind="inversion"
    ... )
    >>> round(gain.ap, 6), round(gain.oks, 6)
    (0.9, 0.499998)
    """
    if kind not in KINDS[1:]:
        raise MetricError(f"Expected kind as one of {', '.join(KINDS[1:])}, got {kind!r}.")
    classed = _classify(reference, detections, sigmas, points, flip_pairs)
    constants = checked_sigmas(sigmas, len(points))
    wrong = (classed.kind == KINDS.index(kind)) & classed.labelled
    target = {"jitter": np.full_like(classed.best, CLOSE), "miss": np.full_like(classed.best, NEAR)}.get(
        kind, classed.best
    )
    area = reference.area[classed.g][:, None] + EPS
    away = INWARD * constants * np.sqrt(8.0 * area * -np.log(np.where(wrong, target, 1.0)))
    place = reference.keypoints[classed.g] + np.stack([away, np.zeros_like(away)], axis=-1)
    keypoints = detections.keypoints.copy()
    keypoints[classed.d] = np.where(wrong[..., None], place, keypoints[classed.d])
    corrected = replace(detections, keypoints=keypoints)
    before, after = (evaluate(reference, each, sigmas=constants).ap for each in (detections, corrected))
    if not len(classed.d):
        return Gain(after - before, np.nan)
    change = np.where(wrong, target - classed.own, 0.0).sum(axis=1) / classed.labelled.sum(axis=1)
    return Gain(after - before, float(change.mean()))


def _twins(points: Sequence[str], flip_pairs: Sequence[tuple[str, str]]) -> IntArray:
    """Where the mirrored twin of each point stands: itself for a point without one."""
    names = names_of("points", points, len(points))
    twin = np.arange(len(names))
    for pair in flip_pairs:
        if missing := [name for name in pair if name not in names]:
            raise MetricError(f"Expected the flip pairs' names among the points, found no {missing[0]}.")
        left, right = (names.index(name) for name in pair)
        twin[left], twin[right] = right, left
    return twin


def _classify(
    reference: People2D,
    detections: People2D,
    sigmas: ArrayLike,
    points: Sequence[str],
    flip_pairs: Sequence[tuple[str, str]],
) -> _Classed:
    twin = _twins(points, flip_pairs)
    constants = checked_sigmas(sigmas, len(twin))
    found = match(reference, detections, sigmas=constants, thresholds=[MATCHED], areas=[AREAS["all"]])
    tried = (found.partner[0, 0] >= 0) & ~found.ignored[0, 0]
    d, g = found.order[tried], found.partner[0, 0][tried]

    rows = np.argsort(reference.images, kind="stable")
    m, other = same_image(detections.images[d], reference.images[rows])
    other = rows[other]
    detected, area = detections.keypoints[d][m], reference.area[other]
    same, mirrored = (
        np.where(
            reference.visibility[other][:, index] > 0,
            closeness(detected, reference.keypoints[other][:, index], area, constants),
            -1.0,
        )
        for index in (np.arange(len(twin)), twin)
    )
    is_own = other == g[m]
    own, inverted = same[is_own], mirrored[is_own]
    elsewhere = np.where(is_own[:, None], -1.0, np.maximum(same, mirrored))
    start = np.searchsorted(m, np.arange(len(d)))
    swapped = np.maximum.reduceat(elsewhere, start, axis=0) if len(d) else own

    best = np.maximum(np.maximum(own, inverted), swapped)
    kind = np.select(
        [best < NEAR, (own == best) & (own >= CLOSE), own == best, inverted == best],
        [KINDS.index(k) for k in ("miss", "good", "jitter", "inversion")],
        default=KINDS.index("swap"),
    )
    return _Classed(d, g, reference.visibility[g] > 0, kind, own, best)
