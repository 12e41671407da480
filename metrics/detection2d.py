"""Scores of whole people detected in pictures, under the names of the benchmarks that define them.

``coco`` and its kin are COCO's evaluation (``metrics.oks``) with the choices of each benchmark on top:

- **COCO-WholeBody** scores the points of one part of the body at a time, with the part's own sigmas. A
  person whose part has no labelled point is ignored there, and a detection without any point of the part is
  left out; area and box stay the whole person's (xtcocotools, ``keypoints_wholebody`` and its parts).
- **CrowdPose** has no segments: the area is 0.53 of the box's. It is read on all pictures or on those whose
  crowd index is in a level; the paper and the published code put the first bound at 0.1 and at 0.2.
- **capbench-σ-v1** is ours, for SynthPose's anatomical points, whose sigmas nobody published (see
  ``PALPATION``). Its scores are not COCO's AP and never carry that name.

Sigmas are always given by the caller: those of published point sets are data of ``cohorts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import FloatArray, MetricError, floats, names_of
from metrics.catalogue import metric
from metrics.oks import AveragePrecision, People2D, checked_sigmas, evaluate

F = TypeVar("F", bound=Callable[..., Any])

#: where each part's points stand among the 133 of COCO-WholeBody
WHOLEBODY_PARTS: Mapping[str, slice] = MappingProxyType(
    {
        "body": slice(0, 17),
        "foot": slice(17, 23),
        "face": slice(23, 91),
        "lefthand": slice(91, 112),
        "righthand": slice(112, 133),
        "wholebody": slice(0, 133),
    }
)
BOX_FILLED = 0.53  #: the share of a person's box that counts as area where there is no segment (CrowdPose)
#: crowd index from (included) and up to (left out); both the paper's bounds and those of the published code
CROWD_LEVELS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "all": (-np.inf, np.inf),
        "easy<0.1": (-np.inf, 0.1),
        "medium0.1-0.8": (0.1, 0.8),
        "easy<0.2": (-np.inf, 0.2),
        "medium0.2-0.8": (0.2, 0.8),
        "hard≥0.8": (0.8, np.inf),
    }
)
#: COCO's ten numbers: part of the card's name, field of the result, what it is
_COCO = (
    (
        "AP",
        "ap",
        "Mean precision over 101 recalls and the OKS thresholds .50:.05:.95, at most 20 detections.",
    ),
    ("AP50", "ap50", "Mean precision over 101 recalls at OKS .50, at most 20 detections a picture."),
    ("AP75", "ap75", "Mean precision over 101 recalls at OKS .75, at most 20 detections a picture."),
    ("APm", "ap_medium", "AP of the people of 32² to 96² px²."),
    ("APl", "ap_large", "AP of the people of 96² px² or more."),
    (
        "AR",
        "ar",
        "Greatest recall, mean over the OKS thresholds .50:.05:.95, at most 20 detections a picture.",
    ),
    ("AR50", "ar50", "Greatest recall at OKS .50, at most 20 detections a picture."),
    ("AR75", "ar75", "Greatest recall at OKS .75, at most 20 detections a picture."),
    ("ARm", "ar_medium", "AR of the people of 32² to 96² px²."),
    ("ARl", "ar_large", "AR of the people of 96² px² or more."),
)
_NEEDS = ("detections", "reference", "visibility", "area", "bbox", "sigmas", "scores")


def _ap_cards(
    ending: str,
    what: str,
    reference: str,
    fields: Sequence[str],
    needs: tuple[str, ...] = _NEEDS,
    **fixed: Any,
) -> Callable[[F], F]:
    """One card for each of ``fields`` of an ``AveragePrecision``, called ``OKS-<number>·<ending>``."""

    def register(function: F) -> F:
        for short, field, definition in _COCO:
            if field in fields:
                metric(
                    f"OKS-{short}·{ending}",
                    unit="1",
                    direction="higher",
                    definition=f"{what}: {definition}",
                    reference=reference,
                    needs=needs,
                    merge="samples",
                    part=field,
                    **fixed,
                )(function)
        return function

    return register


@_ap_cards(
    "coco", "COCO keypoints", "Lin et al. 2014; pycocotools COCOeval", [field for _, field, _ in _COCO]
)
def coco(reference: People2D, detections: People2D, *, sigmas: ArrayLike) -> AveragePrecision:
    """COCO's keypoint evaluation, equal to pycocotools; ``sigmas``: (K,) of the point set.

    >>> from metrics.oks import people2d
    >>> people = people2d([1], [[[10, 10], [50, 90]]], scores=[0.9])
    >>> coco(people, people, sigmas=[0.05, 0.05]).ar
    1.0
    """
    return evaluate(reference, detections, sigmas=sigmas)


def _answering(detections: People2D) -> People2D:
    """Those detections that have any point: xtcocotools leaves out the others."""
    return detections.only(np.asarray((detections.visibility > 0).any(axis=1)))


def _region_cards(function: F) -> F:
    for region in WHOLEBODY_PARTS:
        _ap_cards(
            f"wholebody·{region}",
            f"COCO-WholeBody, {region} points",
            "Jin et al. 2020, ECCV; xtcocotools",
            ["ap", "ar"],
            region=region,
        )(function)
    return function


@_region_cards
def wholebody(
    reference: People2D,
    detections: People2D,
    *,
    sigmas: ArrayLike,
    region: str,
    scores: ArrayLike | None = None,
) -> AveragePrecision:
    """COCO-WholeBody's evaluation of one region of ``WHOLEBODY_PARTS``; people and sigmas of 133 points.

    ``scores``: the detections' scores for this region (``foot_score``, … of the result files), where there
    are any. xtcocotools takes a detection's area from its 17 body points: build ``detections`` with the area
    of ``point_box(keypoints[:, :17])`` for the same numbers for medium and large people.

    >>> from metrics.oks import people2d
    >>> people = people2d([1], np.arange(266.0).reshape(1, 133, 2), scores=[0.9])
    >>> wholebody(people, people, sigmas=np.full(133, 0.05), region="foot").ar
    1.0
    """
    if region not in WHOLEBODY_PARTS:
        raise MetricError(f"Expected region as one of {', '.join(WHOLEBODY_PARTS)}, got {region!r}.")
    constants = checked_sigmas(sigmas, 133)
    for name, people in (("reference", reference), ("detections", detections)):
        if people.keypoints.shape[1] != len(constants):
            raise MetricError(f"Expected {name} with 133 points, got {people.keypoints.shape[1]}.")
    if scores is not None:
        detections = _scored(detections, scores)
    part = WHOLEBODY_PARTS[region]
    found = _answering(detections.points(part))
    return evaluate(reference.points(part), found, sigmas=constants[part])


def _scored(detections: People2D, scores: ArrayLike) -> People2D:
    found = floats("scores", scores)
    if found.shape != detections.scores.shape:
        raise MetricError(f"Expected scores of shape {detections.scores.shape}, got {found.shape}.")
    return replace(detections, scores=found)


def _level_cards(function: F) -> F:
    for level in CROWD_LEVELS:
        everywhere = level == "all"
        _ap_cards(
            "crowdpose" if everywhere else f"crowdpose·{level}",
            f"CrowdPose, area {BOX_FILLED} of the box, crowd index {level}",
            "Li et al. 2019, CVPR; crowdposetools, xtcocotools keypoints_crowd",
            ["ap", "ap50", "ap75", "ar", "ar50", "ar75"] if everywhere else ["ap"],
            ("detections", "reference", "visibility", "bbox", "sigmas", "scores"),
            level=level,
        )(function)
    return function


@_level_cards
def crowdpose(
    reference: People2D,
    detections: People2D,
    *,
    sigmas: ArrayLike,
    level: str,
    crowd_index: Mapping[int, float] | None = None,
) -> AveragePrecision:
    """CrowdPose's evaluation on the pictures of one of ``CROWD_LEVELS``; ``crowd_index``: of each picture.

    The published code rounds its levels' AP to 4 decimals; this doesn't.

    >>> from metrics.oks import people2d
    >>> people = people2d([1, 2], [[[10, 10], [50, 90]]] * 2, scores=[0.9, 0.8])
    >>> crowdpose(people, people, sigmas=[0.05, 0.05], level="hard≥0.8", crowd_index={1: 0.8, 2: 0.3}).ar
    1.0
    """
    if level not in CROWD_LEVELS:
        raise MetricError(f"Expected level as one of {', '.join(CROWD_LEVELS)}, got {level!r}.")
    people, found = without_segments(reference), _answering(detections)
    if level != "all":
        people, found = (_in_level(each, level, crowd_index or {}) for each in (people, found))
    return evaluate(people, found, sigmas=sigmas)


def without_segments(people: People2D) -> People2D:
    """``people`` with an area of 0.53 of their boxes': what ``use_area=False`` of xtcocotools does.

    >>> from metrics.oks import people2d
    >>> without_segments(people2d([1], [[[0, 0]]], bbox=[[5, 5, 10, 20]])).area
    array([106.])
    """
    return replace(people, area=people.bbox[:, 3] * people.bbox[:, 2] * BOX_FILLED)


def _in_level(people: People2D, level: str, crowd_index: Mapping[int, float]) -> People2D:
    low, high = CROWD_LEVELS[level]
    if unknown := sorted(set(people.images.tolist()) - set(crowd_index)):
        raise MetricError(f"Expected a crowd index for every picture, found none for {unknown[0]}.")
    index = np.array([crowd_index[image] for image in people.images.tolist()], dtype=np.float64)
    return people.only((low <= index) & (index < high))


#: How far examiners are apart in finding each of SynthPose's anatomical points by palpation: the RMS distance
#: from their mean in mm, in three levels. No study measured all of them, so the levels are ours: they lie in
#: the range that studies of palpation report between examiners (roughly 6 to 25 mm on pelvis and lower limb:
#: Della Croce et al. 1999, Med Biol Eng Comput 37:155; reviewed in Della Croce et al. 2005, Gait Posture
#: 21:226), and a landmark's level says how sharply the bone ends under the skin:
#: 20 mm: iliac spines (15 to 20 mm) and spinous processes whose level has to be counted (raters 16 mm apart
#:   on L4, 25 mm on PSIS: Simmonds & Kumar 1993, Int J Ind Ergon 11:145);
#: 15 mm: broad ends of bones and C7 (raters 12 mm apart on the lateral knee: the same);
#: 10 mm: small bony tips under thin skin (between observers 5.8 mm on the calcaneus: PubMed 24504576).
#: For sternum, shoulder, elbow, wrist and toes no figure was found: their level is by analogy.
_LEVELS = {
    20.0: ("r_ASIS", "l_ASIS", "r_PSIS", "l_PSIS", "T6", "T11", "L2"),
    15.0: (
        *("C7", "rshoulder", "lshoulder", "r_lelbow", "l_lelbow", "r_melbow", "l_melbow"),
        *("r_knee", "l_knee", "r_mknee", "l_mknee"),
    ),
    10.0: (
        *("sternum", "r_lwrist", "l_lwrist", "r_mwrist", "l_mwrist"),
        *("r_ankle", "l_ankle", "r_mankle", "l_mankle", "r_calc", "l_calc"),
        *("r_5meta", "l_5meta", "r_toe", "l_toe", "r_big_toe", "l_big_toe"),
    ),
}
PALPATION: Mapping[str, float] = MappingProxyType(
    {name: level for level, names in _LEVELS.items() for name in names}
)
#: √area of the nominal person in mm: a box of 1.7 m by 0.5 m, of which 0.53 is filled
PERSON_SCALE = 1000.0 * float(np.sqrt(BOX_FILLED * 1.7 * 0.5))


def capbench_sigmas(points: Sequence[str], sigmas: ArrayLike) -> FloatArray:
    """capbench σ v1: the (K,) sigmas of ``points``, ours for anatomical ones, the given ones for the others.

    COCO's σ of a point is the SD of where annotators put it over the person's scale √area. Ours puts the
    examiner's hand in the place of the annotator's eye: σ = palpation SD in mm (``PALPATION``) over the √area
    of a nominal person (``PERSON_SCALE``), rounded to 3 decimals. Points are named as in SynthPose's set.

    >>> capbench_sigmas(["left_hip", "r_ASIS", "r_calc"], [0.107, 0.05, 0.05])
    array([0.107, 0.03 , 0.015])
    """
    names = names_of("points", points, len(points))
    given = checked_sigmas(sigmas, len(names))
    ours = [
        round(PALPATION[n] / PERSON_SCALE, 3) if n in PALPATION else s
        for n, s in zip(names, given, strict=True)
    ]
    return np.array(ours, dtype=np.float64)


@_ap_cards(
    "capbench-σ-v1",
    "COCO's evaluation with capbench σ v1 for anatomical points, not comparable to COCO's AP",
    "capbench (palpation SDs after Della Croce et al. 1999, 2005)",
    ["ap", "ap50", "ap75", "ar"],
    anatomical=False,
)
@_ap_cards(
    "capbench-σ-v1·anatomical",
    "As capbench-σ-v1 on the anatomical points only",
    "capbench (palpation SDs after Della Croce et al. 1999, 2005)",
    ["ap", "ap50", "ap75", "ar"],
    anatomical=True,
)
def synthpose(
    reference: People2D,
    detections: People2D,
    *,
    points: Sequence[str],
    sigmas: ArrayLike,
    anatomical: bool,
) -> AveragePrecision:
    """COCO's evaluation with ``capbench_sigmas``, on all ``points`` or on the anatomical ones only.

    ``sigmas``: the published ones; those of anatomical points are replaced.

    >>> from metrics.oks import people2d
    >>> people = people2d([1], [[[10, 10], [50, 90]]], scores=[0.9])
    >>> synthpose(people, people, points=["nose", "C7"], sigmas=[0.026, 0.05], anatomical=True).ar
    1.0
    """
    constants = capbench_sigmas(points, sigmas)
    if anatomical:
        index = np.array([k for k, name in enumerate(points) if name in PALPATION], dtype=np.int64)
        if not len(index):
            raise MetricError("Expected anatomical points of SynthPose among the points, found none.")
        reference, detections, constants = reference.points(index), detections.points(index), constants[index]
    return evaluate(reference, detections, sigmas=constants)
