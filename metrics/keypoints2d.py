"""How near predicted points lie to labelled ones: PCK in its published variants, AUC, end-point error, NME.

All four take predictions and references as (…, K, D): any leading axes (pictures, people), K points, D = 2
pixels or, for limits in metres, D = 3. A reference point counts where it is **labelled**: its visibility is
above 0 and none of its coordinates is NaN. A prediction with a NaN coordinate is missing; where the
reference is labelled, a missing prediction is wrong (PCK, AUC) or counted in ``unanswered`` (EPE, NME).

A PCK is defined by four choices, which the names of the cards fix:

- what a distance is divided by (``SIZES``): the longer side of the person's box, 0.6 of the diagonal of the
  head's box, or a given length (the torso; 1 for a limit in the unit of the points);
- the threshold, and whether a distance equal to it is right (3DPW) or wrong (MMPose, COCO-style);
- whether the mean is over points as such (MPII, 3DPW) or over the means of each of the K points (MMPose);
- which points are left out (MPII: pelvis and thorax).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import BoolArray, FloatArray, IntArray, MetricError, alike, floats, mean_present, names_of
from metrics.catalogue import metric

Size = Literal["bbox", "head", "length"]

HEAD_SHARE = 0.6  #: MPII takes 0.6 of the diagonal of the head's box as the head's length
AUC_STEPS = 20  #: MMPose's AUC: thresholds 0, 1/20, … 19/20


@dataclass(frozen=True)
class PointScores:
    """One score of points: its mean and what each of the K points has.

    Attributes
    ----------
    mean : the score; NaN where nothing is labelled
    per_keypoint : (K,) the score of each point, NaN where it is never labelled
    labelled : (K,) how many times each point is labelled, and so counts
    unanswered : (K,) how many of those have no prediction
    """

    mean: float
    per_keypoint: FloatArray
    labelled: IntArray
    unanswered: IntArray


def bbox_size(bbox: ArrayLike) -> FloatArray:
    """The longer side of boxes (…, 4) of x, y, width, height: what MMPose divides by.

    >>> bbox_size([10, 20, 30, 40])
    array(40.)
    """
    return np.asarray(floats("bbox", bbox, last=4)[..., 2:].max(axis=-1))


def head_size(bbox: ArrayLike) -> FloatArray:
    """0.6 of the diagonal of head boxes (…, 4) of x, y, width, height: MPII's length of the head.

    >>> head_size([10, 20, 30, 40])
    array(30.)
    """
    sides = floats("bbox", bbox, last=4)[..., 2:]
    return np.asarray(HEAD_SHARE * np.hypot(sides[..., 0], sides[..., 1]))


def torso_length(
    points: ArrayLike,
    names: Sequence[str],
    *,
    ends: tuple[str, str] = ("left_shoulder", "right_hip"),
) -> FloatArray:
    """The distance between two named points of (…, K, D): by default the torso's diagonal.

    >>> torso_length([[0, 0], [3, 4]], ["left_shoulder", "right_hip"])
    array(5.)
    """
    array = _points("points", points)
    known = names_of("points", names, array.shape[-2])
    if missing := [end for end in ends if end not in known]:
        raise MetricError(f"Expected {' and '.join(ends)} among the points, found no {missing[0]}.")
    first, second = (array[..., known.index(end), :] for end in ends)
    return np.asarray(np.linalg.norm(second - first, axis=-1))


def _points(name: str, values: ArrayLike) -> FloatArray:
    array = floats(name, values)
    if array.ndim < 2:
        raise MetricError(f"Expected {name} as (…, K, D), got shape {array.shape}.")
    return array


def _length(values: ArrayLike) -> FloatArray:
    return floats("of", values)


#: what distances are divided by, from what ``of`` holds
SIZES: Mapping[Size, Callable[[ArrayLike], FloatArray]] = {
    "bbox": bbox_size,
    "head": head_size,
    "length": _length,
}


def _distances(
    predicted: ArrayLike, reference: ArrayLike, visibility: ArrayLike | None, of: ArrayLike, size: Size
) -> FloatArray:
    """(N, K) distances over sizes: NaN where nothing counts, infinite where the prediction is missing."""
    p, r = alike(predicted=predicted, reference=_points("reference", reference))
    if size not in SIZES:
        raise MetricError(f"Expected size as one of {', '.join(SIZES)}, got {size!r}.")
    scale = SIZES[size](of)
    try:
        scale = np.broadcast_to(scale, r.shape[:-2])
    except ValueError:
        raise MetricError(
            f"Expected one size for each of {r.shape[:-2]} people, got shape {scale.shape}."
        ) from None
    distance = np.linalg.norm(p - r, axis=-1)
    distance = np.where(np.isnan(p).any(axis=-1), np.inf, distance)
    usable = ((scale > 0) & np.isfinite(scale))[..., None]
    ratio = distance / np.where(usable, scale[..., None], 1.0)
    return np.where(_labelled(r, visibility) & usable, ratio, np.nan).reshape(-1, r.shape[-2])


def _labelled(reference: FloatArray, visibility: ArrayLike | None) -> BoolArray:
    there = ~np.isnan(reference).any(axis=-1)
    if visibility is None:
        return np.asarray(there)
    seen = floats("visibility", visibility)
    if seen.shape != there.shape:
        raise MetricError(f"Expected visibility of shape {there.shape}, got {seen.shape}.")
    return np.asarray(there & (seen > 0))


def _scores(value_nk: FloatArray, distance_nk: FloatArray, *, pooled: bool) -> PointScores:
    """The means of ``value_nk``, whose NaN don't count, with the counts of ``distance_nk``."""
    per_keypoint = np.asarray(mean_present(value_nk, axis=0))
    return PointScores(
        mean=mean_present(value_nk if pooled else per_keypoint),
        per_keypoint=per_keypoint,
        labelled=np.count_nonzero(~np.isnan(distance_nk), axis=0),
        unanswered=np.count_nonzero(np.isinf(distance_nk), axis=0),
    )


def _share_within(distance_nk: FloatArray, thresholds: Sequence[float], *, closed: bool) -> FloatArray:
    """(N, K) the share of ``thresholds`` that a distance is within; NaN stays NaN."""
    within = np.less_equal if closed else np.less
    share = np.mean([within(distance_nk, threshold) for threshold in thresholds], axis=0)
    return np.where(np.isnan(distance_nk), np.nan, share)


@metric(
    "PCK@0.05·bbox",
    unit="%",
    direction="higher",
    definition="Points nearer (strictly) than 0.05 of the box's longer side, mean over the keypoints' means.",
    reference="MMPose PCKAccuracy (keypoint_pck_accuracy, norm_item bbox)",
    needs=("reference", "visibility", "bbox"),
    merge="sums",
    part="mean",
    threshold=0.05,
    size="bbox",
)
@metric(
    "PCK@0.1·bbox",
    unit="%",
    direction="higher",
    definition="Points nearer (strictly) than 0.1 of the box's longer side, mean over the keypoints' means.",
    reference="MMPose PCKAccuracy (keypoint_pck_accuracy, norm_item bbox)",
    needs=("reference", "visibility", "bbox"),
    merge="sums",
    part="mean",
    threshold=0.1,
    size="bbox",
)
@metric(
    "PCK@0.2·bbox",
    unit="%",
    direction="higher",
    definition="Points nearer (strictly) than 0.2 of the box's longer side, mean over the keypoints' means.",
    reference="MMPose PCKAccuracy (keypoint_pck_accuracy, norm_item bbox)",
    needs=("reference", "visibility", "bbox"),
    merge="sums",
    part="mean",
    threshold=0.2,
    size="bbox",
)
@metric(
    "PCK@0.2·torso",
    unit="%",
    direction="higher",
    definition="Points nearer (strictly) than 0.2 of the torso's length, mean over the keypoints' means.",
    reference="Yang & Ramanan 2013, TPAMI; MMPose JhmdbPCKAccuracy (torso: left shoulder to right hip)",
    needs=("reference", "visibility", "torso"),
    merge="sums",
    part="mean",
    threshold=0.2,
    size="length",
)
@metric(
    "PCKh@0.5",
    unit="%",
    direction="higher",
    definition="Points nearer (strictly) than 0.5 of 0.6 head box diagonals, mean over the keypoints' means.",
    reference="Andriluka et al. 2014, CVPR; MMPose PCKAccuracy (norm_item head)",
    needs=("reference", "visibility", "head"),
    merge="sums",
    part="mean",
    threshold=0.5,
    size="head",
)
@metric(
    "PCKh@0.5·mpii",
    unit="%",
    direction="higher",
    definition="As PCKh@0.5 without pelvis and thorax, and every labelled point weighs the same.",
    reference="Andriluka et al. 2014, CVPR; MMPose MpiiPCKAccuracy (joints 6 and 7 masked, weighed by count)",
    needs=("reference", "visibility", "head"),
    merge="sums",
    part="mean",
    threshold=0.5,
    size="head",
    pooled=True,
    without=("pelvis", "thorax"),
)
@metric(
    "PCK@50mm",
    unit="%",
    direction="higher",
    definition="Points in metres that are at most 0.05 m off (0.05 m itself is right), all points pooled.",
    reference="von Marcard et al. 2018, ECCV; 3dpw-eval (on its 12 major joints)",
    needs=("reference",),
    merge="sums",
    part="mean",
    threshold=0.05,
    size="length",
    of=1.0,
    closed=True,
    pooled=True,
)
def pck(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    of: ArrayLike,
    visibility: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    threshold: float,
    size: Size,
    closed: bool = False,
    pooled: bool = False,
    without: Sequence[str] = (),
) -> PointScores:
    """The share of labelled points whose distance over the size is below ``threshold``, in %.

    ``predicted``, ``reference``: (…, K, D); ``visibility``: (…, K), labelled where above 0 (default: all
    that are not NaN). ``of``: what the size is taken from: boxes (…, 4) for "bbox" and "head", lengths (…)
    or one number for "length". A person whose size is not finite and above 0 does not count. ``names``: the
    K points' names, asked for where some are left out by ``without``.

    >>> found = pck([[0, 0], [10, 9]], [[0, 4], [10, 0]], of=[0, 0, 20, 50], threshold=0.1, size="bbox")
    >>> found.mean, found.per_keypoint
    (50.0, array([100.,   0.]))
    """
    distance = _distances(predicted, reference, visibility, of, size)
    if without:
        known = names_of("points", names or (), distance.shape[1])
        if unknown := [name for name in without if name not in known]:
            raise MetricError(f"Expected {', '.join(without)} among the points, found no {unknown[0]}.")
        distance = np.where(np.isin(known, list(without)), np.nan, distance)
    share = _share_within(distance, (threshold,), closed=closed)
    return _scores(100.0 * share, distance, pooled=pooled)


@metric(
    "AUC·2D·30px",
    unit="1",
    direction="higher",
    definition="Mean over the thresholds i/20 of 30 px, i = 0…19, of the PCK (strict, keypoints' means).",
    reference="MMPose AUC (keypoint_auc, norm_factor 30)",
    needs=("reference", "visibility"),
    merge="sums",
    part="mean",
    size="length",
    of=30.0,
)
@metric(
    "AUC·2D·bbox",
    unit="1",
    direction="higher",
    definition="Mean over the thresholds i/20 of the box's longer side, i = 0…19, of the PCK (strict).",
    reference="MMPose keypoint_auc, divided by each person's box",
    needs=("reference", "visibility", "bbox"),
    merge="sums",
    part="mean",
    size="bbox",
)
def auc(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    of: ArrayLike,
    visibility: ArrayLike | None = None,
    size: Size,
) -> PointScores:
    """The mean PCK (0 to 1) over the thresholds 0, 1/20, … 19/20 of the size: 1 is left out.

    Arguments as for ``pck``. A perfect point scores 0.95, not 1: nothing is strictly below threshold 0.

    >>> auc([[0, 0]], [[0, 0]], of=30.0, size="length").mean
    0.95
    """
    distance = _distances(predicted, reference, visibility, of, size)
    thresholds = [i / AUC_STEPS for i in range(AUC_STEPS)]
    return _scores(_share_within(distance, thresholds, closed=False), distance, pooled=False)


@metric(
    "EPE·2D",
    unit="px",
    direction="lower",
    definition="Mean distance of the labelled points that have a prediction; the rest are counted beside it.",
    reference="MMPose keypoint_epe",
    needs=("reference", "visibility"),
    merge="sums",
    part="mean",
)
def end_point_error(
    predicted: ArrayLike, reference: ArrayLike, *, visibility: ArrayLike | None = None
) -> PointScores:
    """The mean distance in the unit of the points, all labelled and predicted points pooled.

    A missing prediction has no distance: it is left out and counted in ``unanswered``.

    >>> end_point_error([[0, 0], [3, 4]], [[0, 1], [0, 0]]).mean
    3.0
    """
    distance = _distances(predicted, reference, visibility, 1.0, "length")
    return _scores(np.where(np.isinf(distance), np.nan, distance), distance, pooled=True)


@metric(
    "NME·bbox",
    unit="%",
    direction="lower",
    definition="Mean distance over the box's longer side of the labelled points that have a prediction.",
    reference="MMPose keypoint_nme, divided as its PCK@bbox",
    needs=("reference", "visibility", "bbox"),
    merge="sums",
    part="mean",
    size="bbox",
)
@metric(
    "NME·torso",
    unit="%",
    direction="lower",
    definition="Mean distance over the torso's length of the labelled points that have a prediction.",
    reference="MMPose keypoint_nme, divided by the torso (left shoulder to right hip)",
    needs=("reference", "visibility", "torso"),
    merge="sums",
    part="mean",
    size="length",
)
def normalised_error(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    of: ArrayLike,
    visibility: ArrayLike | None = None,
    size: Size,
) -> PointScores:
    """The mean distance over the size in %, all labelled and predicted points pooled.

    Arguments as for ``pck``; a missing prediction is left out and counted in ``unanswered``.

    >>> normalised_error([[0, 3], [4, 0]], [[0, 0], [0, 0]], of=[0, 0, 20, 50], size="bbox").mean
    7.0
    """
    distance = _distances(predicted, reference, visibility, of, size)
    return _scores(100.0 * np.where(np.isinf(distance), np.nan, distance), distance, pooled=True)
