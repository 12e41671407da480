"""How far a gait is from a control group's: movement analysis profile, gait profile score, GDI-like index.

Curves are gait cycles in rad, 0–100 % along their last axis; the control group (norm) is the user's. What
comes out describes a person, and a model is judged by the error of it: ``metrics.gait.value_error``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import FloatArray, MetricError, floats
from metrics.catalogue import metric

#: the nine variables in the order in which a movement analysis profile shows them
MAP = (
    "pelvic tilt",
    "hip flexion",
    "knee flexion",
    "ankle dorsiflexion",
    "pelvic obliquity",
    "hip adduction",
    "pelvic rotation",
    "hip rotation",
    "foot progression",
)
#: those of one segment that both sides share, counted once in the overall score, with the left cycle
PELVIS = ("pelvic tilt", "pelvic obliquity", "pelvic rotation")


@metric(
    "GVS",
    unit="°",
    direction="neither",
    definition="Gait variable score: root mean square over the cycle of a curve minus the control mean.",
    reference="Baker et al. 2009, Gait & Posture 30:265",
    needs=("norm", "angles"),
)
def gvs(curve: ArrayLike, norm: ArrayLike) -> FloatArray:
    """Gait variable score √(mean over the cycle of (curve − norm)²), in °.

    ``curve`` : (…, points) rad, ``norm`` : (points,) rad, the mean of the control group. Returns (…); NaN
    where a sample is missing, for part of a cycle is not comparable.

    >>> gvs(np.radians([3.0, 5.0]), np.radians([0.0, 1.0])).round(4)
    np.float64(3.5355)
    """
    middle = floats("norm", norm, ndim=1)
    if len(middle) == 0:
        raise MetricError("Expected a norm curve with points, got none.")
    off = floats("curve", curve, last=len(middle)) - middle
    return np.asarray(np.degrees(np.sqrt(np.mean(off**2, axis=-1))))[()]


@dataclass(frozen=True)
class GaitProfile:
    """Movement analysis profile and gait profile scores, all in °.

    Attributes
    ----------
    left, right : gait variable score by name, in the order of ``MAP``
    gps_left, gps_right : root mean square of the nine scores of a side
    gps : root mean square of 15 scores: the left nine and the right six that are not of the pelvis
    """

    left: Mapping[str, float]
    right: Mapping[str, float]
    gps_left: float
    gps_right: float
    gps: float


@metric(
    "GPS·overall",
    unit="°",
    direction="neither",
    definition="Gait profile score: root mean square of 15 gait variable scores, the pelvis once (the left).",
    reference="Baker et al. 2009, Gait & Posture 30:265",
    needs=("norm", "angles"),
    part="gps",
)
@metric(
    "GPS·left",
    unit="°",
    direction="neither",
    definition="Gait profile score of the left side: root mean square of its nine gait variable scores.",
    reference="Baker et al. 2009, Gait & Posture 30:265",
    needs=("norm", "angles"),
    part="gps_left",
)
@metric(
    "GPS·right",
    unit="°",
    direction="neither",
    definition="Gait profile score of the right side: root mean square of its nine gait variable scores.",
    reference="Baker et al. 2009, Gait & Posture 30:265",
    needs=("norm", "angles"),
    part="gps_right",
)
def gait_profile(
    left: Mapping[str, ArrayLike], right: Mapping[str, ArrayLike], norm: Mapping[str, ArrayLike]
) -> GaitProfile:
    """Movement analysis profile and gait profile scores of a person (Baker 2009).

    GPS = √(mean GVS²): a root mean square, as published. pyCGM2's takes the arithmetic mean, which is
    smaller wherever the scores differ. Pelvic obliquity and rotation of the right side are signed as
    the right leg sees them, like its norm.

    ``left``, ``right``, ``norm`` : (points,) rad for each name of ``MAP``; other names are not looked at.

    >>> flat = {name: np.zeros(51) for name in MAP}
    >>> bent = flat | {"knee flexion": np.full(51, np.radians(9.0))}
    >>> profile = gait_profile(flat, bent, flat)
    >>> round(profile.gps_right, 6), round(profile.gps, 4), profile.gps_left
    (3.0, 2.3238, 0.0)
    """
    scores = {}
    for side, curves in (("left", left), ("right", right)):
        found, middle = _curves(side, curves), _curves("norm", norm)
        scores[side] = {name: float(gvs(floats(name, found[name], ndim=1), middle[name])) for name in MAP}
    alone = [score for name, score in scores["right"].items() if name not in PELVIS]
    return GaitProfile(
        left=scores["left"],
        right=scores["right"],
        gps_left=_rms([*scores["left"].values()]),
        gps_right=_rms([*scores["right"].values()]),
        gps=_rms([*scores["left"].values(), *alone]),
    )


def _rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _curves(whose: str, curves: Mapping[str, ArrayLike]) -> Mapping[str, ArrayLike]:
    if missing := [name for name in MAP if name not in curves]:
        raise MetricError(f"Expected a curve for {', '.join(missing)} in {whose}, got none.")
    return curves


def gdi_vector(curves: Mapping[str, ArrayLike]) -> FloatArray:
    """The nine curves of a stride in one vector (459,): each at 0, 2, … 100 %, in the order of ``MAP``.

    ``curves`` : (51,) or (101,) for each name of ``MAP``, any unit, the same in the control group.

    >>> gdi_vector({name: np.arange(101.0) for name in MAP})[49:53]
    array([ 98., 100.,   0.,   2.])
    """
    parts = []
    for name in MAP:
        curve = floats(name, _curves("the stride", curves)[name], ndim=1)
        if len(curve) not in (51, 101):
            raise MetricError(f"Expected 51 or 101 points of {name}, got {len(curve)}.")
        parts.append(curve[:: len(curve) // 50])
    return np.concatenate(parts)


@dataclass(frozen=True)
class GDIBasis:
    """What a GDI-like index is measured with: features and the spread of the control group.

    Attributes
    ----------
    features : (K, D) orthonormal rows, the strongest first
    explained : share (0–1) of the sum of squares of the patterns that the features keep
    centre : (K,) mean feature scores of the control group
    log_mean, log_sd : mean and SD (n − 1) in the control group of ln of the distance to ``centre``
    """

    features: FloatArray
    explained: float
    centre: FloatArray
    log_mean: float
    log_sd: float


def gdi_basis(
    control: ArrayLike,
    *,
    patterns: ArrayLike | None = None,
    features: int | None = 15,
    explained: float = 0.98,
) -> GDIBasis:
    """Features and scale for ``gdi_like`` from a control group (after Schwartz & Rozumalski 2008).

    The features are the first right singular vectors of the strides as they are, not centred. The
    published index took 15, which kept 98 % of its own thousands of strides, and those were of patients
    too: give such strides as ``patterns``. Its basis is not public, so numbers from this one are
    "GDI-like" and compare only with numbers from the same basis.

    ``control`` : (N, D), N ≥ 3 strides of the control group, one a person, from ``gdi_vector``.
    ``patterns`` : (M, D) strides to take the features from, the control group by default.
    ``features`` : how many, or None for the fewest that keep ``explained`` of the sum of squares.

    >>> basis = gdi_basis(np.random.default_rng(0).normal(size=(30, 459)))
    >>> basis.features.shape
    (15, 459)
    """
    group = floats("control", control, ndim=2)
    strides = group if patterns is None else floats("patterns", patterns, ndim=2, last=group.shape[1])
    if len(group) < 3 or not np.isfinite(group).all() or not np.isfinite(strides).all():
        raise MetricError(f"Expected at least 3 control strides, and no gaps in any, got {len(group)}.")
    if not 0 < explained <= 1:
        raise MetricError(f"Expected explained as a share above 0 and up to 1, got {explained!r}.")
    if features is not None and not 1 <= features <= min(strides.shape):
        raise MetricError(f"Expected 1 to {min(strides.shape)} features of these strides, got {features}.")
    _, strength, rows = np.linalg.svd(strides, full_matrices=False)
    kept = np.cumsum(strength**2) / np.sum(strength**2)
    count = int(np.searchsorted(kept, explained)) + 1 if features is None else features
    rows = rows[:count]
    centre = (group @ rows.T).mean(axis=0)
    logs = _log_distance(group @ rows.T, centre)
    return GDIBasis(
        features=rows,
        explained=float(kept[len(rows) - 1]),
        centre=centre,
        log_mean=float(logs.mean()),
        log_sd=float(logs.std(ddof=1)),
    )


def _log_distance(scores: FloatArray, centre: FloatArray) -> FloatArray:
    distance = np.linalg.norm(scores - centre, axis=-1)
    return np.log(np.where(distance > 0, distance, np.nan))


@metric(
    "GDI-like",
    unit="1",
    direction="neither",
    definition="100 − 10·z of ln of the distance to the control group's mean in features of a given basis.",
    reference="after Schwartz & Rozumalski 2008, Gait & Posture 28:351",
    needs=("norm", "angles"),
)
def gdi_like(stride: ArrayLike, basis: GDIBasis) -> FloatArray:
    """GDI-like index 100 − 10·(ln‖Δ‖ − log_mean)/log_sd, Δ the feature scores minus the control group's mean.

    The control group that the basis was made of has mean 100 and SD (n − 1) 10 by construction; 10 less
    is one SD farther. NaN for a stride with a gap, one exactly at the mean, and where the control group
    has no spread.

    ``stride`` : (…, D) from ``gdi_vector``. Returns (…).

    >>> control = np.random.default_rng(0).normal(size=(30, 459))
    >>> index = gdi_like(control, gdi_basis(control))
    >>> index.mean().round(9), index.std(ddof=1).round(9)
    (np.float64(100.0), np.float64(10.0))
    """
    vector = floats("stride", stride, last=basis.features.shape[1])
    logs = _log_distance(vector @ basis.features.T, basis.centre)
    # equal distances differ by rounding alone
    spread = basis.log_sd if basis.log_sd > 1e-9 else np.nan
    return np.asarray(100.0 - 10.0 * (logs - basis.log_mean) / spread)[()]
