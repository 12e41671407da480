"""Several people in 3D: AP3D, recall and MPJPE of the people found, and PCP3D of their limbs.

A frame's people are (person, joint, 3) and its detections (detection, joint, 3), in m; frames come as a
sequence, since their numbers differ. A joint that nobody labelled is NaN; a person without any labelled
joint is nobody. The distance of a detection to a person is the mean over the person's labelled joints; a
detection that lacks one of them is infinitely far away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, FloatArray, IntArray, MetricError, floats, mean_present, positive
from metrics.catalogue import metric
from metrics.keypoints3d import Root, root_of

Mode = Literal["voxelpose", "exact"]
Frames = Sequence[ArrayLike]

AP_THRESHOLDS = (0.025, 0.050, 0.075, 0.100, 0.125, 0.150)  #: m
EPSILON = 1e-5  #: what VoxelPose adds to the number of people and of detections before it divides
PAIRS = 65_536  #: pairs of a detection and a person that are measured in one go


class Nearest(NamedTuple):
    """All detections, best score first (equal scores as they came), each with the person nearest to it.

    Attributes
    ----------
    distance : (detection,), in mm; infinite where the frame has no person
    person : (detection,), number of the person over all frames; -1 where the frame has none
    people : how many people there are in all frames
    """

    distance: FloatArray
    person: IntArray
    people: int


@dataclass(frozen=True, eq=False)
class PartScore:
    """PCP3D in %.

    Attributes
    ----------
    value : the mean of ``per_actor`` over the actors that appear
    per_actor : (actor,), correct limbs among those the reference has; NaN for one that never appears
    per_limb : the same for each limb by its name, over all actors' frames
    """

    value: float
    per_actor: FloatArray
    per_limb: Mapping[str, float]


def nearest3d(predicted: Frames, scores: Frames, reference: Frames) -> Nearest:
    """Give every detection the one person of its frame that it is nearest to; the first of equals.

    >>> nearest3d([[[[0, 0, 0.1]], [[0, 0, 2]]]], [[0.3, 0.9]], [[[[0, 0, 0]], [[0, 0, 9]]]])
    Nearest(distance=array([2000.,  100.]), person=array([0, 0]), people=2)
    """
    if not len(predicted) == len(scores) == len(reference):
        raise MetricError(
            f"Expected detections, scores and people for the same frames, got {len(predicted)}, "
            f"{len(scores)} and {len(reference)}."
        )
    ranks = [floats("scores", frame, ndim=1) for frame in scores]
    found, found_at = _stacked("detections", predicted)
    sizes = np.bincount(found_at, minlength=len(predicted))
    if (wrong := np.flatnonzero(sizes != [len(r) for r in ranks])).size:
        frame = int(wrong[0])
        raise MetricError(f"Expected {sizes[frame]} scores in frame {frame}, got {len(ranks[frame])}.")
    rank = np.concatenate([np.empty(0), *ranks])
    if np.isnan(rank).any():
        raise MetricError("Expected a score for every detection, got NaN.")
    people, people_at = _stacked("people", reference)
    labelled = ~np.isnan(people).all(axis=(-2, -1))
    people, people_at = people[labelled], people_at[labelled]
    detection, person, distance = _pairs(found, found_at, people, people_at)
    nearest, least = np.full(len(found), -1), np.full(len(found), np.inf)
    order = np.lexsort((person, distance, detection))[::-1]  # the last to be written is the nearest
    nearest[detection[order]], least[detection[order]] = person[order], distance[order]
    best_first = np.argsort(-rank, kind="stable")
    return Nearest(least[best_first], nearest[best_first], len(people))


def ap3d(predicted: Frames, scores: Frames, reference: Frames, *, threshold: float, mode: Mode) -> float:
    """Average precision in %, when a detection is right at a distance < ``threshold`` (m).

    In falling order of score, a detection is right if the person nearest to it is near enough and not yet
    taken; there is no second choice. AP is the area under precision, made monotone from the right, over
    recall. "voxelpose" adds ε = 1e-5 to both denominators and leaves out detections in frames without people;
    "exact" does neither. NaN where there are no people.

    >>> found, scores, people = [[[[0, 0, 0.1]], [[0, 0, 2]]]], [[0.3, 0.9]], [[[[0, 0, 0]]]]
    >>> ap3d(found, scores, people, threshold=0.15, mode="exact")
    50.0
    """
    return _ap(nearest3d(predicted, scores, reference), threshold, mode)


for _limit in AP_THRESHOLDS:
    metric(
        f"AP3D@{_limit * MM:.0f}",
        unit="%",
        direction="higher",
        definition=f"Average precision of people within {_limit * MM:.0f} mm mean joint distance.",
        reference="Tu 2020, VoxelPose lib/dataset/panoptic.py",
        needs=("reference", "markers", "detections", "scores"),
        merge="samples",
        threshold=_limit,
        mode="voxelpose",
    )(ap3d)


@metric(
    "mAP3D",
    unit="%",
    direction="higher",
    definition="Mean of AP3D@25, 50, …, 150, with VoxelPose's ε and without the frames that have no people.",
    reference="Tu 2020, VoxelPose lib/dataset/panoptic.py",
    needs=("reference", "markers", "detections", "scores"),
    merge="samples",
    mode="voxelpose",
)
@metric(
    "mAP3D·exact",
    unit="%",
    direction="higher",
    definition="Mean of average precision at 25, 50, …, 150 mm without ε; all detections count.",
    reference="capbench",
    needs=("reference", "markers", "detections", "scores"),
    merge="samples",
    mode="exact",
)
def map3d(predicted: Frames, scores: Frames, reference: Frames, *, mode: Mode) -> float:
    """The mean of ``ap3d`` over the thresholds 25, 50, …, 150 mm, in %.

    >>> map3d([[[[0, 0, 0.060]]]], [[1]], [[[[0, 0, 0]]]], mode="exact")  # right at 75 mm and above
    66.66666666666667
    """
    nearest = nearest3d(predicted, scores, reference)
    return float(np.mean([_ap(nearest, threshold, mode) for threshold in AP_THRESHOLDS]))


@metric(
    "recall3D@500",
    unit="%",
    direction="higher",
    definition="Share of people that are the nearest person, within 500 mm, of a detection.",
    reference="Tu 2020, VoxelPose lib/dataset/panoptic.py",
    needs=("reference", "markers", "detections"),
    merge="sums",
    threshold=0.500,
)
def recall3d(predicted: Frames, reference: Frames, *, threshold: float) -> float:
    """The share of people in % that some detection is nearest to, at a distance < ``threshold`` (m).

    >>> recall3d([[[[0, 0, 0.1]]]], [[[[0, 0, 0]], [[0, 0, 9]]]], threshold=0.5)
    50.0
    """
    nearest = nearest3d(predicted, _equal_scores(predicted), reference)
    near = nearest.distance < positive("threshold", threshold) * MM
    return 100.0 * len(np.unique(nearest.person[near])) / nearest.people if nearest.people else float("nan")


@metric(
    "MPJPE@500",
    unit="mm",
    direction="lower",
    definition="Mean joint distance of the best-scored detection nearest each person within 500 mm.",
    reference="Tu 2020, VoxelPose lib/dataset/panoptic.py",
    needs=("reference", "markers", "detections", "scores"),
    merge="sums",
    threshold=0.500,
)
def mpjpe_found(predicted: Frames, scores: Frames, reference: Frames, *, threshold: float) -> float:
    """The mean distance in mm of what ``ap3d`` has right at ``threshold`` (m); NaN where that is nothing.

    People who were missed aren't in it: report ``recall3d`` beside it.

    >>> mpjpe_found([[[[0, 0, 0.1]], [[0, 0, 0.2]]]], [[0.3, 0.9]], [[[[0, 0, 0]]]], threshold=0.5)
    200.0
    """
    nearest = nearest3d(predicted, scores, reference)
    return float(mean_present(nearest.distance[_right(nearest, threshold)]))


@metric(
    "PCP3D",
    unit="%",
    direction="higher",
    definition="Share of limbs whose ends are off by at most half its length on average, mean over actors.",
    reference="Burenius 2013; Belagiannis 2014; VoxelPose lib/dataset/shelf.py",
    needs=("reference", "markers", "detections"),
    merge="sums",
    part="value",
    alpha=0.5,
)
def pcp3d(
    predicted: Frames,
    reference: ArrayLike,
    *,
    limbs: Mapping[str, tuple[Root, Root]],
    alpha: float,
    joints: Sequence[str] | None = None,
) -> PartScore:
    """Percentage of correct parts; ``reference`` is (frame, actor, joint, 3), NaN where an actor isn't there.

    Each actor gets the detection nearest to it, which may serve two. A limb, from one joint (or mean of
    joints) to another, is correct if (‖start error‖ + ‖end error‖)/2 ≤ ``alpha`` · true length. All limbs of
    an actor without a detection are wrong; limbs that the reference lacks don't count.

    >>> actor = [[0, 0, 0], [0, 0, 1], [0, 0, 3]]
    >>> found = [[0, 0, 0], [0, 0, 2], [0, 0, 3]]
    >>> score = pcp3d([[found]], [[actor]], limbs={"short": (0, 1), "long": ((0, 1), 2)}, alpha=0.5)
    >>> score.value, score.per_limb
    (100.0, {'short': 100.0, 'long': 100.0})
    """
    true = floats("reference", reference, ndim=4, last=3)
    if len(predicted) != len(true):
        raise MetricError(f"Expected detections of {len(true)} frames, got {len(predicted)}.")
    if not limbs:
        raise MetricError("Expected at least one limb, got none.")
    frames, actors = true.shape[:2]
    people = _finite("people", true).reshape(frames * actors, *true.shape[2:])
    found, found_at = _stacked("detections", predicted)
    detection, person, distance = _pairs(found, found_at, people, np.repeat(np.arange(frames), actors))
    order = np.lexsort((detection, distance, person))[::-1]
    chosen = np.full(len(people), -1)
    chosen[person[order]] = detection[order]
    nothing = np.full((1, *true.shape[2:]), np.nan)  # for the actors whose frame has no detection
    answers = np.concatenate([found.reshape(-1, *true.shape[2:]), nothing])[chosen]
    correct = np.empty((frames, actors, len(limbs)))
    for k, (start, end) in enumerate(limbs.values()):
        a, b = (root_of(people, spot, joints=joints) for spot in (start, end))
        off = sum(
            np.linalg.norm(root_of(answers, spot, joints=joints) - place, axis=-1)
            for spot, place in ((start, a), (end, b))
        )
        length = np.linalg.norm(b - a, axis=-1)
        right = np.where(np.isnan(length), np.nan, off / 2 <= positive("alpha", alpha) * length)
        correct[..., k] = right.reshape(frames, actors)
    per_actor = np.asarray(100.0 * mean_present(correct, axis=(0, 2)))
    per_limb = np.asarray(100.0 * mean_present(correct, axis=(0, 1)))
    return PartScore(mean_present(per_actor), per_actor, dict(zip(limbs, per_limb.tolist(), strict=True)))


def _equal_scores(predicted: Frames) -> list[FloatArray]:
    return [np.zeros(len(np.atleast_1d(np.asarray(frame)))) for frame in predicted]


def _right(nearest: Nearest, threshold: float) -> IntArray:
    """Which detections are right: near enough to their person and the first, by score, that are."""
    near = np.flatnonzero(nearest.distance < positive("threshold", threshold) * MM)
    return near[np.unique(nearest.person[near], return_index=True)[1]]


def _ap(nearest: Nearest, threshold: float, mode: Mode) -> float:
    if mode not in get_args(Mode):
        raise MetricError(f"Expected mode as one of {', '.join(get_args(Mode))}, got {mode!r}.")
    if not nearest.people:
        return float("nan")
    epsilon = EPSILON if mode == "voxelpose" else 0.0
    right = np.zeros(len(nearest.person), dtype=np.bool_)
    right[_right(nearest, threshold)] = True
    if mode == "voxelpose":
        right = right[nearest.person >= 0]
    hits = np.cumsum(right)
    recall = np.concatenate([[0.0], hits / (nearest.people + epsilon)])
    precision = hits / (np.arange(1, len(hits) + 1) + epsilon)
    from_right = np.maximum.accumulate(precision[::-1])[::-1]
    return 100.0 * float(np.diff(recall) @ from_right)


def _stacked(name: str, frames: Frames) -> tuple[FloatArray, IntArray]:
    """All bodies of all frames, (body, joint, 3), and the frame each is in."""
    bodies = [floats(name, frame) for frame in frames]
    some = [b for b in bodies if b.size]
    shapes = {b.shape[1:] for b in some}
    if any(b.ndim != 3 or b.shape[-1] != 3 for b in some) or len(shapes) > 1:
        found = ", ".join(str(b.shape) for b in some[:3])
        raise MetricError(
            f"Expected {name} of each frame shaped (body, joint, 3) with the same joints, got {found}."
        )
    sizes = [len(b) if b.size else 0 for b in bodies]
    stacked = np.concatenate(some) if some else np.empty((0, 0, 3))
    return _finite(name, stacked), np.repeat(np.arange(len(bodies)), sizes)


def _finite(name: str, points: FloatArray) -> FloatArray:
    if np.isinf(points).any():
        raise MetricError(f"Expected {name} finite, or NaN where missing, got an infinite coordinate.")
    return points


def _pairs(
    found: FloatArray, found_at: IntArray, people: FloatArray, people_at: IntArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Every detection with every person of its frame: their numbers and their distance in mm."""
    if len(found) and len(people) and found.shape[1] != people.shape[1]:
        raise MetricError(
            f"Expected detections with {people.shape[1]} joints as the people have, got {found.shape[1]}."
        )
    first = np.searchsorted(people_at, found_at, side="left")
    partners = np.searchsorted(people_at, found_at, side="right") - first
    detection = np.repeat(np.arange(len(found)), partners)
    person = np.arange(len(detection)) - np.repeat(np.cumsum(partners) - partners - first, partners)
    distance = np.empty(len(detection))
    for start in range(0, len(detection), PAIRS):
        piece = slice(start, start + PAIRS)
        true = people[person[piece]]
        off = np.linalg.norm(found[detection[piece]] - true, axis=-1)
        off[np.isnan(off)] = np.inf
        off[np.isnan(true).any(axis=-1)] = np.nan
        distance[piece] = mean_present(off, axis=-1) * MM
    return detection, person, distance
