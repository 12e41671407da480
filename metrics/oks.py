"""People in pictures, how alike their points are (OKS), and COCO's average precision over that likeness.

The evaluation is COCO's (Lin et al. 2014; pycocotools), computed for all pictures at once:

1. In each picture the 20 best-scored detections count. Taken from the best score down, each goes to the
   free reference it is most like, if its OKS reaches the threshold: first among those that count, else among
   those that are ignored. Of equals the later reference is taken. A crowd may be taken many times.
2. Ignored are references that are a crowd, have no labelled point, or whose area is outside the range; so
   are the detections that went to them, and unmatched ones whose own area is outside. Ends belong to a range.
3. Precision is read off its envelope at 101 recalls; AP is its mean over recalls and the thresholds
   .50, .55, … .95, AR the mean over thresholds of the greatest recall.

Detections of equal score keep the order of their pictures' numbers, then the order in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import BoolArray, FloatArray, IntArray, MetricError, floats

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 20  #: detections of one picture that count
#: COCO's ranges of the reference's area in px²; COCO has no small people among those with keypoints
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e5**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
EPS = float(np.spacing(1.0))
BLOCK = 1 << 20  #: point pairs held in memory at a time


@dataclass(frozen=True, eq=False)
class People2D:
    """P people in pictures, labelled or detected; made and checked by ``people2d``.

    Attributes
    ----------
    images : (P,) the number of the picture each is in
    keypoints : (P, K, 2) px; NaN where a point is missing
    visibility : (P, K) above 0 where a point is labelled (or predicted)
    area : (P,) px²; of a reference its segment's, of a detection the box of its points
    bbox : (P, 4) x, y, width, height in px
    crowd : (P,) whether it stands for a crowd
    scores : (P,) a detection's confidence; NaN for references
    """

    images: IntArray
    keypoints: FloatArray
    visibility: FloatArray
    area: FloatArray
    bbox: FloatArray
    crowd: BoolArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.images)

    def only(self, index: BoolArray | IntArray) -> People2D:
        """The people at ``index``.

        >>> people = people2d([7, 8], [[[0, 0]], [[1, 1]]])
        >>> people.only(np.array([1])).images
        array([8])
        """
        return People2D(
            self.images[index],
            self.keypoints[index],
            self.visibility[index],
            self.area[index],
            self.bbox[index],
            self.crowd[index],
            self.scores[index],
        )

    def points(self, index: slice | IntArray) -> People2D:
        """The same people with only the points at ``index``; area, box and score stay those of the person.

        >>> people2d([7], [[[0, 0], [4, 2]]]).points(slice(1, 2)).area
        array([8.])
        """
        return replace(self, keypoints=self.keypoints[:, index], visibility=self.visibility[:, index])


def people2d(
    images: ArrayLike,
    keypoints: ArrayLike,
    *,
    visibility: ArrayLike | None = None,
    area: ArrayLike | None = None,
    bbox: ArrayLike | None = None,
    crowd: ArrayLike | None = None,
    scores: ArrayLike | None = None,
) -> People2D:
    """People from plain arrays, checked; see ``People2D`` for shapes and units.

    Left out, ``visibility`` is 1 where a point is not NaN, ``bbox`` the box of those points (COCO's rule for
    detections), ``area`` the box's, ``crowd`` false. A NaN point is never labelled, whatever ``visibility``
    says.

    >>> people2d([1], [[[10, 20], [13, 24]]], scores=[0.9]).area
    array([12.])
    """
    xy = floats("keypoints", keypoints, ndim=3, last=2)
    number = floats("images", images, ndim=1)
    if len(number) != len(xy) or not np.array_equal(number, np.floor(number)):
        raise MetricError(f"Expected one whole number of a picture for each of {len(xy)} people.")
    if np.isinf(xy).any():
        raise MetricError("Expected finite keypoints, NaN where one is missing; got an infinite one.")
    there = ~np.isnan(xy).any(axis=-1)
    box = point_box(xy) if bbox is None else _shaped("bbox", bbox, (len(xy), 4))
    seen = np.ones(xy.shape[:2]) if visibility is None else _shaped("visibility", visibility, xy.shape[:2])
    return People2D(
        images=number.astype(np.int64),
        keypoints=xy,
        visibility=np.where(there, seen, 0.0),
        area=box[:, 2] * box[:, 3] if area is None else _shaped("area", area, (len(xy),)),
        bbox=box,
        crowd=np.zeros(len(xy), bool) if crowd is None else _shaped("crowd", crowd, (len(xy),)) > 0,
        scores=np.full(len(xy), np.nan) if scores is None else _shaped("scores", scores, (len(xy),)),
    )


def _shaped(name: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = floats(name, values)
    if array.shape != shape:
        raise MetricError(f"Expected {name} of shape {shape}, got {array.shape}.")
    return array


def point_box(keypoints: ArrayLike) -> FloatArray:
    """(P, 4) boxes x, y, width, height around the points (P, K, 2) that are not NaN; zeros around none.

    >>> point_box([[[1, 2], [4, 6], [np.nan, 0]]])
    array([[1., 2., 3., 4.]])
    """
    xy = floats("keypoints", keypoints, ndim=3, last=2)
    there = ~np.any(np.isnan(xy), axis=-1, keepdims=True)
    some = np.any(there, axis=1)
    low = np.where(some, np.where(there, xy, np.inf).min(axis=1, initial=np.inf), 0.0)
    high = np.where(some, np.where(there, xy, -np.inf).max(axis=1, initial=-np.inf), 0.0)
    return np.concatenate([low, high - low], axis=1)


def checked_sigmas(sigmas: ArrayLike, count: int) -> FloatArray:
    """``sigmas`` as ``count`` numbers above 0.

    >>> checked_sigmas([0.05], 1)
    array([0.05])
    """
    found = _shaped("sigmas", sigmas, (count,))
    if not (np.isfinite(found) & (found > 0)).all():
        raise MetricError("Expected every sigma above zero.")
    return found


def closeness(
    detected: FloatArray, reference: FloatArray, area: FloatArray, sigmas: FloatArray
) -> FloatArray:
    """(P, K) exp(-e) of each point of P pairs, 0 where the detection's is NaN, NaN where the reference's is.

    e = d² / ((2σ)² · 2 · (area + ε)), ε the spacing of 1: COCO's ks, which OKS is the mean of.

    >>> closeness(np.zeros((1, 1, 2)), np.array([[[0.0, 2.0]]]), np.array([100.0]), np.array([0.1])).round(4)
    array([[0.6065]])
    """
    offset = detected - reference
    return _decay(offset[..., 0] ** 2 + offset[..., 1] ** 2, detected, area, sigmas)


def _decay(square: FloatArray, detected: FloatArray, area: FloatArray, sigmas: FloatArray) -> FloatArray:
    e = square / (sigmas * 2.0) ** 2 / (area[:, None] + EPS) / 2.0
    return np.exp(-np.where(np.isnan(detected).any(axis=-1), np.inf, e))


def _outside(detected: FloatArray, bbox: FloatArray) -> FloatArray:
    """Squared distance of points to a box of three times the width and height about the same middle."""
    low, high = (bbox[:, :2] - bbox[:, 2:])[:, None], (bbox[:, :2] + bbox[:, 2:] * 2.0)[:, None]
    away = np.maximum(low - detected, 0.0) + np.maximum(detected - high, 0.0)
    return np.asarray(away[..., 0] ** 2 + away[..., 1] ** 2)


def _pair_oks(
    detections: FloatArray, reference: People2D, sigmas: FloatArray, d: IntArray, g: IntArray
) -> FloatArray:
    """The OKS of detection ``d[p]`` and reference ``g[p]`` for each pair p."""
    labelled = reference.visibility > 0
    count = labelled.sum(axis=1)
    result = np.empty(len(d))
    step = 1 + BLOCK // (1 + len(sigmas))
    for start in range(0, len(d), step):
        i, j = d[start : start + step], g[start : start + step]
        detected, seen = detections[i], labelled[j]
        near = closeness(detected, reference.keypoints[j], reference.area[j], sigmas)
        oks_pairs = np.where(seen, near, 0.0).sum(axis=1) / np.maximum(count[j], 1)
        if (bare := count[j] == 0).any():
            j = j[bare]
            square = _outside(detected[bare], reference.bbox[j])
            oks_pairs[bare] = _decay(square, detected[bare], reference.area[j], sigmas).mean(axis=1)
        result[start : start + step] = oks_pairs
    return result


def oks(detections: People2D, reference: People2D, *, sigmas: ArrayLike) -> FloatArray:
    """(D, G) object keypoint similarity of every detection to every reference, whatever picture they are in.

    A reference without any labelled point is compared by COCO's rule for ignored people: by the distances of
    all the detection's points to the reference's box, widened by its own width and height on each side.

    >>> person = people2d([1], [[[10, 10], [20, 30]]])
    >>> oks(person, person, sigmas=[0.05, 0.05])
    array([[1.]])
    """
    constants = _compatible(reference, detections, sigmas)
    d = np.repeat(np.arange(len(detections)), len(reference))
    g = np.tile(np.arange(len(reference)), len(detections))
    pairs = _pair_oks(detections.keypoints, reference, constants, d, g)
    return pairs.reshape(len(detections), len(reference))


def _compatible(reference: People2D, detections: People2D, sigmas: ArrayLike) -> FloatArray:
    ours, theirs = reference.keypoints.shape[1], detections.keypoints.shape[1]
    if ours != theirs:
        raise MetricError(f"Expected detections of {ours} points as the references have, got {theirs}.")
    return checked_sigmas(sigmas, ours)


class Matching(NamedTuple):
    """Which detection went to which reference, for A ranges of area and T thresholds.

    ``order`` (N,): the detections that count, by picture and falling score; ``partner`` (A, T, N): the
    reference each went to, -1 for none; ``ignored`` (A, T, N): neither right nor wrong; ``counted`` (A,): how
    many references count.
    """

    order: IntArray
    partner: IntArray
    ignored: BoolArray
    counted: IntArray


def same_image(images: IntArray, sorted_images: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs (d, g) with ``images[d] == sorted_images[g]``, d rising, then g.

    >>> same_image(np.array([2, 1]), np.array([1, 2, 2]))
    (array([0, 0, 1]), array([1, 2, 0]))
    """
    first = np.searchsorted(sorted_images, images, side="left")
    count = np.searchsorted(sorted_images, images, side="right") - first
    d = np.repeat(np.arange(len(images)), count)
    return d, np.arange(len(d)) - np.repeat(np.cumsum(count) - count - first, count)


def _rank(sorted_groups: IntArray) -> IntArray:
    """The place of each entry within its group, from 0."""
    return np.arange(len(sorted_groups)) - np.searchsorted(sorted_groups, sorted_groups, side="left")


def match(
    reference: People2D,
    detections: People2D,
    *,
    sigmas: ArrayLike,
    thresholds: ArrayLike = THRESHOLDS,
    areas: Sequence[tuple[float, float]] = tuple(AREAS.values()),
) -> Matching:
    """COCO's greedy matching in all pictures at once; ``thresholds`` rise and are above 0.

    >>> person = people2d([1, 1], [[[10, 10]], [[20, 30]]], area=[100, 100], scores=[0.5, 0.9])
    >>> match(person, person, sigmas=[0.05], thresholds=[0.5], areas=[(0, 1e10)]).partner
    array([[[1, 0]]])
    """
    constants = _compatible(reference, detections, sigmas)
    if np.isnan(detections.scores).any():
        raise MetricError("Expected a score for every detection.")
    order = np.lexsort((-detections.scores, detections.images))
    order = order[_rank(detections.images[order]) < MOST]
    rows = np.argsort(reference.images, kind="stable")
    images = detections.images[order]
    d, g = same_image(images, reference.images[rows])
    g = rows[g]
    alike = _pair_oks(detections.keypoints[order], reference, constants, d, g)

    out_of = np.array([(reference.area < low) | (reference.area > high) for low, high in areas])
    ignore = out_of | reference.crowd | (reference.visibility <= 0).all(axis=1)
    limits = floats("thresholds", thresholds, ndim=1)
    keep = alike >= limits[0]
    partner = _assign(alike[keep], d[keep], g[keep], images, ignore, reference.crowd, limits)

    strays = np.array([(detections.area < low) | (detections.area > high) for low, high in areas])[:, order]
    index = np.arange(len(areas))[:, None, None]
    to_ignored = np.zeros(partner.shape, bool) if not len(reference) else ignore[index, partner]
    ignored = np.where(partner >= 0, to_ignored, strays[:, None])
    return Matching(order, partner, ignored, (~ignore).sum(axis=1))


def _assign(
    alike: FloatArray,
    d: IntArray,
    g: IntArray,
    images: IntArray,
    ignore: BoolArray,
    crowd: BoolArray,
    limits: FloatArray,
) -> IntArray:
    """(A, T, N) the reference each detection goes to: the n-th best of all pictures at once, n = 0, 1, …

    ``alike``, ``d``, ``g``: the pairs worth a look, sorted by detection, then by reference.
    """
    partner = np.full((len(ignore), len(limits), len(images)), -1)
    taken = np.zeros((len(ignore), len(limits), ignore.shape[1]), bool)
    looked_at, start = np.unique(d, return_index=True)
    rank = _rank(images[looked_at])
    end = np.append(start, len(d))[1:]
    for n in range(rank.max(initial=-1) + 1):
        now = rank == n
        first = start[now]
        count = end[now] - first
        at = np.cumsum(count) - count  # where each detection's pairs begin among this round's
        pair = np.repeat(first - at, count) + np.arange(count.sum())
        refs, value = g[pair], alike[pair]
        able = (~taken[:, :, refs] | crowd[refs]) & (value >= limits[:, None])
        counting = able & ~ignore[:, None, refs]
        some_count = np.logical_or.reduceat(counting, at, axis=-1)
        able = np.where(np.repeat(some_count, count, axis=-1), counting, able)
        best = np.maximum.reduceat(np.where(able, value, -1.0), at, axis=-1)
        able &= value == np.repeat(best, count, axis=-1)
        last = np.maximum.reduceat(np.where(able, np.arange(len(refs)), -1), at, axis=-1)
        goes = np.where(last >= 0, refs[last], -1)
        partner[:, :, looked_at[now]] = goes
        a, t, k = np.nonzero(goes >= 0)
        taken[a, t, goes[a, t, k]] = True
    return partner


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """COCO's ten numbers for keypoints, from 0 to 1; NaN where no reference counts (pycocotools: -1).

    Attributes
    ----------
    ap, ar : over the thresholds .50, .55, … .95, all areas
    ap50, ap75, ar50, ar75 : at OKS .50 or .75
    ap_medium, ap_large, ar_medium, ar_large : for references of 32² to 96² px², and from 96² px²
    precision : (3, 10, 101) for each range of area, threshold and recall
    recall : (3, 10) the greatest for each range of area and threshold
    """

    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float
    precision: FloatArray
    recall: FloatArray


def evaluate(reference: People2D, detections: People2D, *, sigmas: ArrayLike) -> AveragePrecision:
    """COCO's keypoint evaluation of one category (see the module); what the named scores are made of.

    A picture with detections and no reference has only wrong detections, so give detections of the pictures
    that are evaluated only.

    >>> person = people2d([1], [[[10, 10], [50, 90]]], scores=[0.9])
    >>> result = evaluate(person, person, sigmas=[0.05, 0.05])
    >>> round(result.ap, 9), result.ap_large
    (1.0, nan)
    """
    found = match(reference, detections, sigmas=sigmas)
    best_first = np.argsort(-detections.scores[found.order], kind="stable")
    curves = [
        _curves(partner[:, best_first] >= 0, ignored[:, best_first], int(counted))
        for partner, ignored, counted in zip(found.partner, found.ignored, found.counted, strict=True)
    ]
    precision, recall = (np.array(part) for part in zip(*curves, strict=True))
    ap, ar = precision.mean(axis=-1), recall
    at50, at75 = 0, 5  # where .50 and .75 stand among the thresholds
    return AveragePrecision(
        ap=float(ap[0].mean()),
        ap50=float(ap[0, at50]),
        ap75=float(ap[0, at75]),
        ap_medium=float(ap[1].mean()),
        ap_large=float(ap[2].mean()),
        ar=float(ar[0].mean()),
        ar50=float(ar[0, at50]),
        ar75=float(ar[0, at75]),
        ar_medium=float(ar[1].mean()),
        ar_large=float(ar[2].mean()),
        precision=precision,
        recall=recall,
    )


def _curves(matched: BoolArray, ignored: BoolArray, counted: int) -> tuple[FloatArray, FloatArray]:
    """(T, 101) precision at ``RECALLS`` and (T,) greatest recall of detections (T, N), best first."""
    if not counted:
        return np.full((len(matched), len(RECALLS)), np.nan), np.full(len(matched), np.nan)
    right = np.cumsum(matched & ~ignored, axis=1).astype(float)
    wrong = np.cumsum(~matched & ~ignored, axis=1)
    recall = right / counted
    precision = right / (right + wrong + EPS)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.append(envelope, np.zeros((len(matched), 1)), axis=1)  # recalls never reached
    at = [np.searchsorted(row, RECALLS, side="left") for row in recall]
    return np.take_along_axis(envelope, np.array(at), axis=1), recall.max(axis=1, initial=0.0)
