"""Several predictions for every frame: errors of the best, of their mean, of the one the picture picks.

Hypotheses are (H, T, J, 3), the truth is (T, J, 3), both in metres and in the frame in which they are to be
compared (the published numbers move both roots to the origin first). Best-of-H scores are oracles: they use
the truth to choose, fall with H whatever the model, and can't be had in use. So every result carries H.

A hypothesis that lacks a point is never chosen for it, nor for the pose or clip that holds the point. Points
that the truth or every hypothesis lacks count for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, BoolArray, FloatArray, MetricError, floats, mean_present
from metrics.catalogue import metric

#: the quantiles at which calibration is read: 0, 0.05, …, 1
QUANTILES = np.arange(21) / 20
NEEDS = ("reference", "hypotheses")
ORACLE = "oracle: uses the truth to choose, and falls with the number of hypotheses"
D3DP = "Shan 2023, ICCV (D3DP); Xu 2024, CVPR (FinePOSE)"


class OfHypotheses(NamedTuple):
    """An error and out of how many hypotheses it came.

    Attributes
    ----------
    error : mm
    hypotheses : H; two errors of different H don't compare
    """

    error: float
    hypotheses: int


def _inputs(hypotheses: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Hypotheses (H, T, J, 3) and truth (T, J, 3), checked to fit."""
    guesses = floats("hypotheses", hypotheses, ndim=4, last=3)
    truth = floats("reference", reference, ndim=3, last=3)
    if guesses.shape[1:] != truth.shape or len(guesses) == 0:
        raise MetricError(
            f"Expected at least one hypothesis, each as the reference {truth.shape}, got {guesses.shape}."
        )
    return guesses, truth


def _distances(guesses: FloatArray, truth: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Distances (H, T, J), infinite where only some hypotheses lack the point; whether any has it."""
    distance: FloatArray = np.linalg.norm(guesses - truth, axis=-1)
    there: BoolArray = np.logical_not(np.isnan(distance).all(axis=0))
    return np.where(np.isnan(distance) & there, np.inf, distance), there


def _mean_mm(distance: FloatArray) -> float:
    """Mean in mm of the distances that are there and finite."""
    return float(mean_present(np.where(np.isfinite(distance), distance, np.nan))) * MM


def _best(hypotheses: ArrayLike, reference: ArrayLike, axes: tuple[int, ...]) -> OfHypotheses:
    """Error of the hypothesis with the least mean over ``axes`` of (H, T, J), chosen anew for the other axes.

    Choices are weighed by how many true points they are made for, so the result is a mean over points.
    """
    distance, there = _distances(*_inputs(hypotheses, reference))
    whole = np.where(there, distance, 0.0).sum(axis=axes).min(axis=0)
    points = there.sum(axis=tuple(axis - 1 for axis in axes))
    known = np.isfinite(whole)
    count = int(points[known].sum())
    return OfHypotheses(float(whole[known].sum()) / count * MM if count else float("nan"), len(distance))


@metric(
    "P-Best·frame",
    unit="mm",
    direction="lower",
    definition=f"MPJPE of the pose nearest to the truth, chosen for each frame ({ORACLE}).",
    reference=f"{D3DP}, as the papers put it",
    needs=NEEDS,
    part="error",
)
def best_pose(hypotheses: ArrayLike, reference: ArrayLike) -> OfHypotheses:
    """Oracle of poses: ``mean_t min_h mean_j ‖x[h,t,j] - g[t,j]‖``; frames weigh by their true points.

    >>> truth = np.zeros((1, 2, 3))
    >>> guesses = np.zeros((2, 1, 2, 3))
    >>> guesses[:, 0, :, 0] = [[0.0, 0.03], [0.02, 0.02]]
    >>> best_pose(guesses, truth)
    OfHypotheses(error=15.0, hypotheses=2)
    """
    return _best(hypotheses, reference, (2,))


@metric(
    "P-Best·clip",
    unit="mm",
    direction="lower",
    definition=f"MPJPE of the one hypothesis that is nearest to the truth over the whole clip ({ORACLE}).",
    reference=f"{D3DP}, as common/loss.py mpjpe_diffusion computes it",
    needs=NEEDS,
    part="error",
)
def best_clip(hypotheses: ArrayLike, reference: ArrayLike) -> OfHypotheses:
    """Oracle of clips: ``min_h mean_tj ‖x[h,t,j] - g[t,j]‖``: what the published code calls P-Best.

    The code takes the minimum after the mean over everything it was handed at once, so the number depends
    on the length of the clip: the longer, the larger.

    >>> truth = np.zeros((2, 1, 3))
    >>> guesses = np.zeros((2, 2, 1, 3))
    >>> guesses[:, :, 0, 0] = [[0.00, 0.04], [0.03, 0.00]]
    >>> best_clip(guesses, truth).error, best_pose(guesses, truth).error
    (15.0, 0.0)
    """
    return _best(hypotheses, reference, (1, 2))


@metric(
    "J-Best",
    unit="mm",
    direction="lower",
    definition=f"Mean distance of the nearest hypothesis, chosen for each joint and frame ({ORACLE}).",
    reference=f"{D3DP}, common/loss.py mpjpe_diffusion_all_min",
    needs=NEEDS,
    part="error",
)
def best_joint(hypotheses: ArrayLike, reference: ArrayLike) -> OfHypotheses:
    """Oracle of joints: ``mean_tj min_h ‖x[h,t,j] - g[t,j]‖``; the pose so put together need not exist.

    >>> truth = np.zeros((1, 2, 3))
    >>> guesses = np.zeros((2, 1, 2, 3))
    >>> guesses[:, 0, :, 0] = [[0.0, 0.03], [0.02, 0.02]]
    >>> best_joint(guesses, truth)
    OfHypotheses(error=10.0, hypotheses=2)
    """
    return _best(hypotheses, reference, ())


@metric(
    "P-Agg",
    unit="mm",
    direction="lower",
    definition="MPJPE of the mean of all hypotheses.",
    reference=f"{D3DP}, common/loss.py mpjpe_diffusion(mean_pos=True)",
    needs=NEEDS,
    part="error",
)
def mean_pose(hypotheses: ArrayLike, reference: ArrayLike) -> OfHypotheses:
    """Error of the mean pose: ``mean_tj ‖mean_h x[h,t,j] - g[t,j]‖``, over the hypotheses that have a point.

    >>> truth = np.zeros((1, 1, 3))
    >>> guesses = np.zeros((2, 1, 1, 3))
    >>> guesses[:, 0, 0, 0] = [0.75, -0.25]
    >>> mean_pose(guesses, truth)
    OfHypotheses(error=250.0, hypotheses=2)
    """
    guesses, truth = _inputs(hypotheses, reference)
    # A point of which one axis is missing is missing: its other axes must not enter the mean.
    guesses = np.where(np.isnan(guesses).any(axis=-1, keepdims=True), np.nan, guesses)
    middle: FloatArray = mean_present(guesses, axis=0)
    return OfHypotheses(_mean_mm(np.linalg.norm(middle - truth, axis=-1)), len(guesses))


@metric(
    "J-Agg",
    unit="mm",
    direction="lower",
    definition=(
        "Mean error of the hypothesis whose projection is nearest to the observed 2D point, chosen for each "
        "joint and frame without the truth."
    ),
    reference=f"{D3DP}, common/loss.py mpjpe_diffusion_reproj (JPMA)",
    needs=NEEDS,
    part="error",
)
def reprojected_joint(
    hypotheses: ArrayLike, reference: ArrayLike, *, projected: ArrayLike, observed: ArrayLike
) -> OfHypotheses:
    """Error of the joints the picture picks: ``mean_tj ‖x[h*,t,j] - g[t,j]‖``.

    ``h* = argmin_h ‖π(x[h,t,j]) - u[t,j]‖`` for each joint and frame. ``u`` is what the 2D detector saw (what
    the model was given), not the true 2D point: with that it would be an oracle. Where two projections are
    equally near, the first hypothesis is taken.

    Parameters
    ----------
    hypotheses, reference : (H, T, J, 3) and (T, J, 3) in metres
    projected : (H, T, J, 2), the hypotheses through the camera, px
    observed : (T, J, 2), px; where it is missing nothing is chosen

    >>> truth = np.zeros((1, 1, 3))
    >>> guesses = np.zeros((2, 1, 1, 3))
    >>> guesses[:, 0, 0, 0] = [0.01, 0.02]
    >>> pixels = np.array([[[[103.0, 50.0]]], [[[101.0, 50.0]]]])
    >>> reprojected_joint(guesses, truth, projected=pixels, observed=[[[100, 50]]])
    OfHypotheses(error=20.0, hypotheses=2)
    """
    guesses, truth = _inputs(hypotheses, reference)
    pixels = floats("projected", projected)
    seen = floats("observed", observed)
    if pixels.shape != (*guesses.shape[:-1], 2) or seen.shape != pixels.shape[1:]:
        raise MetricError(
            f"Expected projected {(*guesses.shape[:-1], 2)} and observed {(*truth.shape[:-1], 2)}, "
            f"got {pixels.shape} and {seen.shape}."
        )
    distance, _ = _distances(guesses, truth)
    miss = np.linalg.norm(pixels - seen, axis=-1)
    miss = np.where(np.isnan(miss) | np.isinf(distance), np.inf, miss)
    chosen = np.take_along_axis(distance, miss.argmin(axis=0)[None], axis=0)[0]
    return OfHypotheses(_mean_mm(np.where(np.isinf(miss).all(axis=0), np.nan, chosen)), len(guesses))


@metric(
    "MPJPE·any hypothesis",
    unit="mm",
    direction="lower",
    definition="Mean MPJPE over all hypotheses: what one drawn at random would cost.",
    reference="capbench",
    needs=NEEDS,
    part="error",
)
def any_hypothesis(hypotheses: ArrayLike, reference: ArrayLike) -> OfHypotheses:
    """Error of a hypothesis drawn at random: ``mean_htj ‖x[h,t,j] - g[t,j]‖``; read best-of-H against it.

    >>> truth = np.zeros((1, 1, 3))
    >>> guesses = np.zeros((2, 1, 1, 3))
    >>> guesses[:, 0, 0, 0] = [0.03, -0.01]
    >>> any_hypothesis(guesses, truth)
    OfHypotheses(error=20.0, hypotheses=2)
    """
    guesses, truth = _inputs(hypotheses, reference)
    return OfHypotheses(_mean_mm(_distances(guesses, truth)[0]), len(guesses))


@dataclass(frozen=True)
class Calibration:
    """How often the truth lies as near to the middle of the hypotheses as they say.

    Attributes
    ----------
    score : mean over quantiles of |frequency - quantile|, from 0 to about 0.5
    overconfidence : mean over quantiles of quantile - frequency; above zero: too little spread
    quantiles : (21,), 0 to 1
    frequencies : (21,), median over joints of the share of frames whose truth is nearer than the quantile
    hypotheses : H; finite H alone costs about 1 / 2H
    """

    score: float
    overconfidence: float
    quantiles: FloatArray
    frequencies: FloatArray
    hypotheses: int


@metric(
    "calibration·cGNF",
    unit="1",
    direction="lower",
    definition=(
        "Mean over the quantiles 0, 0.05, …, 1 of |share - quantile|, the share being the median over joints "
        "of the part of frames whose truth is nearer to the hypotheses' median than that quantile of them."
    ),
    reference="Pierzchlewicz 2022 (cGNF) scripts/eval/human36m/calibration.py",
    needs=NEEDS,
    merge="samples",
    part="score",
)
@metric(
    "overconfidence·cGNF",
    unit="1",
    direction="zero",
    definition="As calibration·cGNF, of quantile - share with its sign: positive means too little spread.",
    reference="capbench, after Pierzchlewicz 2022 (cGNF)",
    needs=NEEDS,
    merge="samples",
    part="overconfidence",
)
def calibration(hypotheses: ArrayLike, reference: ArrayLike) -> Calibration:
    """Whether the truth lies among the hypotheses as one of them would.

    For each joint and frame: the median of the hypotheses (axis by axis), their distances from it and the
    truth's; for each quantile q of the former the share of frames in which the truth is strictly nearer.
    The score is ``mean_q |median_j share[q, j] - q|``: 0 for a truth drawn as the hypotheses were, 0.5 for
    hypotheses that all agree and are wrong. Quantiles are interpolated linearly; of an even H the median is
    the mean of the middle two (the published code takes the lower). A joint and frame that any hypothesis
    lacks is left out.

    Parameters
    ----------
    hypotheses, reference : (H, T, J, 3) and (T, J, 3) in metres; frames may be those of many trials

    >>> round(calibration(np.ones((5, 10, 2, 3)), np.zeros((10, 2, 3))).score, 9)
    0.5
    """
    guesses, truth = _inputs(hypotheses, reference)
    middle = np.median(guesses, axis=0)
    spread = np.linalg.norm(guesses - middle, axis=-1)
    off = np.linalg.norm(truth - middle, axis=-1)
    known = ~np.isnan(off)
    # Filled with zeros so that quantiles of what is missing warn of nothing; it's masked right after.
    nearer = np.quantile(np.where(known, spread, 0.0), QUANTILES, axis=0) > off
    share = mean_present(np.where(known, nearer, np.nan), axis=1)
    seen = known.any(axis=0)
    frequencies = np.median(share[:, seen], axis=1) if seen.any() else np.full(QUANTILES.size, np.nan)
    gap = QUANTILES - frequencies
    return Calibration(
        float(np.abs(gap).mean()), float(gap.mean()), QUANTILES.copy(), frequencies, hypotheses=len(guesses)
    )
