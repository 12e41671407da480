"""How far predicted 3D joints are from the true ones: MPJPE and its alignments, PCK3D, AUC3D, MPJVE.

Points go in as metres, shaped (…, joint, 3); the leading axes are frames, trials or hypotheses. A point
with a NaN in it is missing. ``joint_errors`` gives the error of every joint of every frame, in mm; the
scores are means of it over all joints that both sides have, frames and joints pooled.

What "MPJPE" hides is said by ``align``:

=============  ================================================================================
none           as given: the prediction must be in the reference's frame
root           both sides relative to their own root, which the caller names
scale          relative to the root, then the prediction times the least-squares factor per frame
rigid          rotated and shifted per frame to least squares
similarity     rotated, shifted and scaled per frame to least squares ("PA", "reconstruction error")
=============  ================================================================================

The root is a joint, or several whose mean it is (two hips). Joints go by name; where no names are given
they are called "0", "1", … ``scored`` keeps only some of them: the root may lie outside those, but rigid and
similarity alignments see nothing else (the field's habit).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, BoolArray, FloatArray, MetricError, names_of, positive
from metrics.catalogue import metric
from metrics.procrustes import LEAST_POINTS, aligned_errors, point_pair, refuse_infinite

Align = Literal["none", "root", "scale", "rigid", "similarity"]
Root = str | int | Sequence[str | int]

AUC_THRESHOLDS = np.linspace(0.0, 150.0, 31)  #: mm, 3DHP
AUC_3DPW_THRESHOLDS = np.arange(200.0)  #: mm


@dataclass(frozen=True, eq=False)
class PoseScore:
    """A score over joints that says what it was taken over.

    Attributes
    ----------
    value : over all points that counted, frames and joints pooled
    per_joint : (joint,), over the frames in which the joint counted; NaN where there is none
    count : how many points counted
    missing : how many points of the reference the score leaves out as the prediction lacks them: report it
        beside the value (PCK and AUC count those as misses, so they have 0)
    joints : names of the joints scored, in the order of ``per_joint``
    root : names of the joints whose mean is the root, () where no root was used
    align : see the table at the top of the module
    """

    value: float
    per_joint: FloatArray
    count: int
    missing: int
    joints: tuple[str, ...]
    root: tuple[str, ...]
    align: Align


class _Pair(NamedTuple):
    """Both sides, checked, relative to their roots where asked, cut down to the joints scored."""

    predicted: FloatArray
    reference: FloatArray
    joints: tuple[str, ...]
    root: tuple[str, ...]


def root_of(points: FloatArray, root: Root, *, joints: Sequence[str] | None = None) -> FloatArray:
    """The mean of the joints that ``root`` names, (…, 3); NaN where one of them is missing.

    >>> root_of(np.array([[0.0, 0, 0], [2, 0, 0]]), ("r_hip", "l_hip"), joints=["r_hip", "l_hip"])
    array([1., 0., 0.])
    """
    names = _names(joints, points.shape[-2])
    found: FloatArray = points[..., _places(names, _listed(root), "root"), :].mean(axis=-2)
    return found


def joint_errors(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    align: Align,
    root: Root = (),
    joints: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> FloatArray:
    """Each predicted joint's distance from its true place in mm, (…, joint); points (…, joint, 3) in m.

    NaN where either side is missing, where the root is, or where rigid or similarity alignment has fewer
    than three common points. ``align="scale"`` multiplies the root-relative prediction x by
    Σx·y/Σx·x of its frame, which may be negative.

    >>> joint_errors([[0, 0, 0], [0, 0, 1.5]], [[1, 0, 0], [1, 0, 1.0]], align="root", root=0)
    array([  0., 500.])
    """
    pair = _prepared(predicted, reference, align, root, joints, scored)
    return _errors(pair, align)


@metric(
    "MPJPE·world",
    unit="mm",
    direction="lower",
    definition="Mean distance of the joints from their true places, without any alignment.",
    reference="Ionescu 2014, Human3.6M",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="none",
)
@metric(
    "MPJPE·root",
    unit="mm",
    direction="lower",
    definition="Mean distance of the joints when each side is relative to its root, which the caller names.",
    reference="Ionescu 2014, Human3.6M",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="root",
)
@metric(
    "N-MPJPE",
    unit="mm",
    direction="lower",
    definition="MPJPE·root after the prediction of each frame is scaled to least squares.",
    reference="Rhodin 2018; VideoPose3D common/loss.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="scale",
)
@metric(
    "PA-MPJPE·rigid",
    unit="mm",
    direction="lower",
    definition="Mean distance of the joints after each frame is rotated and shifted to least squares.",
    reference="Kabsch 1976",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="rigid",
)
@metric(
    "PA-MPJPE",
    unit="mm",
    direction="lower",
    definition="Mean distance of the joints after each frame is rotated, shifted, scaled to least squares.",
    reference="Umeyama 1991; Zhou 2018; SPIN utils/pose_utils.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="similarity",
)
def mpjpe(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    align: Align,
    root: Root = (),
    joints: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> PoseScore:
    """The mean of ``joint_errors`` in mm, over all points that have one.

    >>> names = ["hip", "knee"]
    >>> score = mpjpe([[0, 0, 0], [0, 3, 4]], np.zeros((2, 3)), align="root", root="hip", joints=names)
    >>> score.value, score.root
    (2500.0, ('hip',))
    """
    pair = _prepared(predicted, reference, align, root, joints, scored)
    return _mean_score(_errors(pair, align), pair.reference, pair, align)


@metric(
    "MPJVE·world",
    unit="mm/s",
    direction="lower",
    definition="Mean length of the error of the joints' velocities, as differences of neighbouring frames.",
    reference="Pavllo 2019, VideoPose3D common/loss.py (there per frame)",
    needs=("reference", "markers", "time"),
    merge="sums",
    part="value",
    align="none",
)
@metric(
    "MPJVE·root",
    unit="mm/s",
    direction="lower",
    definition="MPJVE of joints that are taken relative to their own root, which the caller names.",
    reference="Pavllo 2019, VideoPose3D common/loss.py (there per frame)",
    needs=("reference", "markers", "time"),
    merge="sums",
    part="value",
    align="root",
)
def mpjve(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    rate: float,
    align: Literal["none", "root"],
    root: Root = (),
    joints: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> PoseScore:
    """Mean ‖Δpredicted − Δreference‖ · rate in mm/s; points (…, time, joint, 3) in m, ``rate`` in Hz.

    A difference counts where both of its frames have the joint on both sides.

    >>> mpjve([[[0, 0, 0]], [[0, 0, 0.01]]], [[[0, 0, 0]], [[0, 0, 0]]], rate=100, align="none").value
    1000.0
    """
    if align not in ("none", "root"):
        raise MetricError(f"Expected align 'none' or 'root' for velocities, got {align!r}.")
    pair = _prepared(predicted, reference, align, root, joints, scored)
    if pair.predicted.ndim < 3:
        raise MetricError(f"Expected points shaped (…, time, joint, 3), got shape {pair.predicted.shape}.")
    refuse_infinite(pair.predicted, pair.reference)
    steps = np.diff(pair.predicted - pair.reference, axis=-3) * positive("rate", rate)
    return _mean_score(_lengths(steps) * MM, np.diff(pair.reference, axis=-3), pair, align)


@metric(
    "PCK3D@150",
    unit="%",
    direction="higher",
    definition="Share of the reference's joints with a root-relative error below (not at) 150 mm.",
    reference="Mehta 2017, MPI-INF-3DHP; mmhuman3d eval_utils.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    threshold=0.150,
    strict=True,
    align="root",
)
@metric(
    "PA-PCK3D@150",
    unit="%",
    direction="higher",
    definition="Share of the reference's joints with an error below (not at) 150 mm once aligned as PA.",
    reference="mmhuman3d eval_utils.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    threshold=0.150,
    strict=True,
    align="similarity",
)
@metric(
    "PCK3D@50·3DPW",
    unit="%",
    direction="higher",
    definition="Share of the reference's joints (3DPW: 12) with a root-relative error of at most 50 mm.",
    reference="von Marcard 2018; 3dpw-eval evaluate.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    threshold=0.050,
    strict=False,
    align="root",
)
def pck3d(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    threshold: float,
    strict: bool,
    align: Align,
    root: Root = (),
    joints: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> PoseScore:
    """How many of the reference's joints are found within ``threshold`` (m), in %.

    ``strict`` counts errors below the threshold only, else those at it too. Joints that the reference lacks
    don't count; a joint that only the prediction lacks (or its root) is a miss.

    >>> pck3d([[0, 0, 0], [0, 0, 0.25]], np.zeros((2, 3)), threshold=0.25, strict=True, align="none").value
    50.0
    """
    pair = _prepared(predicted, reference, align, root, joints, scored)
    errors = _errors_or_miss(pair, align)
    limit = positive("threshold", threshold) * MM
    hits = np.where(np.isnan(errors), np.nan, (errors < limit) if strict else (errors <= limit)) * 100.0
    return _mean_score(hits, pair.reference, pair, align)


@metric(
    "AUC3D·31",
    unit="%",
    direction="higher",
    definition="Mean of PCK3D, root-relative and strict, at the 31 thresholds 0, 5, …, 150 mm.",
    reference="Mehta 2017, MPI-INF-3DHP; mmhuman3d eval_utils.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="root",
)
@metric(
    "PA-AUC3D·31",
    unit="%",
    direction="higher",
    definition="Mean of PCK3D, strict, after similarity alignment, at the 31 thresholds 0, 5, …, 150 mm.",
    reference="mmhuman3d eval_utils.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="similarity",
)
def auc3d(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    align: Align,
    root: Root = (),
    joints: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> PoseScore:
    """The mean over thresholds t = 0, 5, …, 150 mm of the share of joints with error < t, in %.

    As errors are never below 0, the best there is is 30/31. Joints count as in ``pck3d``.

    >>> round(auc3d([[0, 0, 0.052]], [[0, 0, 0]], align="none").value, 4)  # found at 55, 60, …, 150 mm
    64.5161
    """
    pair = _prepared(predicted, reference, align, root, joints, scored)
    errors = _errors_or_miss(pair, align)
    found = len(AUC_THRESHOLDS) - np.searchsorted(AUC_THRESHOLDS, errors, side="right")
    share = np.where(np.isnan(errors), np.nan, found) * (100.0 / len(AUC_THRESHOLDS))
    return _mean_score(share, pair.reference, pair, align)


@metric(
    "AUC3D·3DPW",
    unit="1",
    direction="higher",
    definition="Area under the share of root-relative joint errors ≤ t, for t from 0 to 199 mm, over 199 mm.",
    reference="von Marcard 2018; 3dpw-eval evaluate.py",
    needs=("reference", "markers"),
    merge="sums",
    part="value",
    align="root",
)
def auc3d_trapezoid(
    predicted: ArrayLike,
    reference: ArrayLike,
    *,
    align: Align,
    root: Root = (),
    joints: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> PoseScore:
    """The trapezoid area under the share of joints with error ≤ t, at t = 0, 1, …, 199 mm, divided by 199 mm.

    Joints count as in ``pck3d``. A perfect prediction has 1.

    >>> auc3d_trapezoid([[0, 0, 0.100]], [[0, 0, 0]], align="none").value  # (199 − 100 + ½) / 199
    0.5
    """
    pair = _prepared(predicted, reference, align, root, joints, scored)
    errors = _errors_or_miss(pair, align)
    # One joint's curve goes from 0 to 1 before the first threshold k that it meets: area 199 − k + ½, or 199.
    last = len(AUC_3DPW_THRESHOLDS) - 1
    first = np.searchsorted(AUC_3DPW_THRESHOLDS, errors, side="left")
    area = np.where(first == 0, last, np.maximum(last - first + 0.5, 0.0)) / last
    return _mean_score(np.where(np.isnan(errors), np.nan, area), pair.reference, pair, align)


def _listed(spec: Root) -> tuple[str, ...]:
    return (str(spec),) if np.ndim(spec) == 0 else tuple(str(s) for s in np.asarray(spec))


def _names(joints: Sequence[str] | None, count: int) -> tuple[str, ...]:
    return tuple(str(k) for k in range(count)) if joints is None else names_of("joints", joints, count)


def _places(names: tuple[str, ...], wanted: tuple[str, ...], what: str) -> list[int]:
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise MetricError(
            f"Expected {what} among the joints {', '.join(names)}, got {', '.join(unknown) or 'none'}."
        )
    return [names.index(name) for name in wanted]


def _prepared(
    predicted: ArrayLike,
    reference: ArrayLike,
    align: Align,
    root: Root,
    joints: Sequence[str] | None,
    scored: Sequence[str] | None,
) -> _Pair:
    if align not in get_args(Align):
        raise MetricError(f"Expected align as one of {', '.join(get_args(Align))}, got {align!r}.")
    p, r = point_pair(predicted, reference)
    names, roots = _names(joints, p.shape[-2]), _listed(root)
    if align in ("root", "scale"):
        p, r = (side - root_of(side, roots, joints=names)[..., None, :] for side in (p, r))
    elif roots:
        raise MetricError(f"Expected no root with align={align!r}, got {', '.join(roots)}.")
    if scored is not None:
        keep = _places(names, _listed(scored), "scored joints")
        p, r, names = p[..., keep, :], r[..., keep, :], tuple(names[k] for k in keep)
    return _Pair(p, r, names, roots)


def _lengths(vectors: FloatArray) -> FloatArray:
    lengths: FloatArray = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    return lengths


def _errors(pair: _Pair, align: Align) -> FloatArray:
    with np.errstate(invalid="ignore"):
        errors = _distances(pair, align)
    if not np.isfinite(errors.sum()):  # quick, and nearly always false
        refuse_infinite(pair.predicted, pair.reference)
    return errors


def _distances(pair: _Pair, align: Align) -> FloatArray:
    p, r = pair.predicted, pair.reference
    if align in ("rigid", "similarity"):
        return aligned_errors(p, r, scale=align == "similarity")
    if align == "scale":
        gone = np.isnan(p + r).any(axis=-1, keepdims=True)
        x, y = np.where(gone, 0.0, p), np.where(gone, 0.0, r)
        top, below = (x * y).sum(axis=(-2, -1)), (x * x).sum(axis=(-2, -1))
        factor = np.divide(top, below, out=np.zeros_like(top), where=below > 0)
        p = p * factor[..., None, None]
    return _lengths(p - r) * MM


def _countable(reference: FloatArray, align: Align) -> BoolArray:
    """Which points of the reference a prediction could be scored at."""
    there: BoolArray = ~np.isnan(reference.sum(axis=-1))
    if align in ("rigid", "similarity"):
        there = there & (there.sum(axis=-1, keepdims=True) >= LEAST_POINTS)
    return there


def _errors_or_miss(pair: _Pair, align: Align) -> FloatArray:
    """Errors in mm: infinite where only the prediction lacks the point, NaN where the reference does."""
    errors = _errors(pair, align)
    errors[np.isnan(errors)] = np.inf
    errors[~_countable(pair.reference, align)] = np.nan
    return errors


def _mean_score(errors: FloatArray, reference: FloatArray, pair: _Pair, align: Align) -> PoseScore:
    flat = errors.reshape(-1, errors.shape[-1])
    lost, missing = np.isnan(flat), 0
    count = np.full(flat.shape[1], len(flat))
    if lost.any():
        count = len(flat) - lost.sum(axis=0)
        missing = int((lost & _countable(reference, align).reshape(lost.shape)).sum())
        flat = np.where(lost, 0.0, flat)
    total = flat.sum(axis=0)
    per_joint = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    counted = int(count.sum())
    value = float(total.sum()) / counted if counted else float("nan")
    return PoseScore(value, per_joint, counted, missing, pair.joints, pair.root, align)
