"""From frame to frame: acceleration error, jitter, frame noise, foot sliding, jerk of angles.

All of these are finite differences of samples taken at one even rate; time is the first axis. A missing
sample (NaN) masks every difference that touches it, so one missing frame costs three accelerations and
four jerks; what is left is averaged with every difference of every point counting once. What was masked is
not punished here: coverage is a score of its own.

The same published name comes in several units, so each card says its unit. Numbers of noise grow with the
square (acceleration) or the cube (jitter) of the rate: compare only what was sampled alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.angles import wrap
from metrics.arrays import MM, FloatArray, MetricError, alike, floats, mean_present, positive
from metrics.catalogue import metric

#: a foot point stands while it is truly slower than this, in m/s: WHAM's 1 cm per frame of 1/30 s
STILL = 0.30
#: the frame rate of the published foot-sliding numbers, per second
WHAM_RATE = 30.0
#: the third difference has the weights 1, -3, 3, -1, whose squares add up to 20
THIRD_DIFFERENCE_POWER = 20.0


def _time_first(points: FloatArray, last: int) -> FloatArray:
    """``points`` (T, …, last), or an error that says so."""
    if points.ndim < 2 or points.shape[-1] != last:
        raise MetricError(
            f"Expected points with time first and {last} entries on the last axis, got shape {points.shape}."
        )
    return points


def _lengths(points: FloatArray, order: int) -> FloatArray:
    """‖Δᵏp‖ along the first axis for points (T, …, 3), in metres per frame to the ``order``."""
    lengths: FloatArray = np.linalg.norm(np.diff(points, n=order, axis=0), axis=-1)
    return lengths


@metric(
    "acceleration error·mm/frame²",
    unit="mm/frame²",
    direction="lower",
    definition=(
        "Mean length of the difference of predicted and true second differences, per frame squared: "
        "the rate is left out, so it falls with the square of the rate for the same motion."
    ),
    reference="Kanazawa 2019 (HMMR), VIBE 2020 compute_error_accel",
)
def acceleration_error_per_frame(predicted: ArrayLike, reference: ArrayLike) -> float:
    """The legacy acceleration error, whose rate nobody multiplied in, in mm/frame².

    ``mean ‖(p[t-1] - 2 p[t] + p[t+1]) - (g[t-1] - 2 g[t] + g[t+1])‖ · 1000``

    Many tables print this number under the heading mm/s²; it isn't.

    Parameters
    ----------
    predicted, reference : (T, …, 3) points in metres, NaN where missing

    Returns
    -------
    mm/frame²; NaN where no three frames in a row are there

    >>> still = np.zeros((3, 1, 3))
    >>> hop = still.copy()
    >>> hop[1] = [0.001, 0, 0]
    >>> acceleration_error_per_frame(hop, still)
    2.0
    """
    p, g = alike(predicted=predicted, reference=reference)
    return float(mean_present(_lengths(_time_first(p, 3) - g, 2))) * MM


@metric(
    "acceleration error·m/s²",
    unit="m/s²",
    direction="lower",
    definition="Mean length of predicted less true second differences, times the rate squared.",
    reference="Shin 2024, CVPR (WHAM) eval_utils.compute_error_accel × 30²",
    needs=("reference", "time"),
)
def acceleration_error(predicted: ArrayLike, reference: ArrayLike, *, rate: float) -> float:
    """Acceleration error in m/s²: ``mean ‖Δ²p - Δ²g‖ · rate²``.

    Parameters
    ----------
    predicted, reference : (T, …, 3) points in metres, NaN where missing
    rate : samples per second

    Returns
    -------
    m/s²; NaN where no three frames in a row are there

    >>> still = np.zeros((3, 1, 3))
    >>> hop = still.copy()
    >>> hop[1] = [0.001, 0, 0]
    >>> acceleration_error(hop, still, rate=100)
    20.0
    """
    return acceleration_error_per_frame(predicted, reference) * positive("rate", rate) ** 2 / MM


@metric(
    "jitter·m/s³",
    unit="m/s³",
    direction="lower",
    definition="Mean length of the third difference of the predicted points by rate³, without any reference.",
    reference="Yi 2021 (TransPose); Shin 2024 (WHAM), here not divided by 10",
    needs=("time",),
)
def jitter(points: ArrayLike, *, rate: float) -> float:
    """Jitter, the mean jerk of points: ``mean ‖p[t+3] - 3 p[t+2] + 3 p[t+1] - p[t]‖ · rate³``.

    White noise of standard deviation σ on each axis gives ``σ √20 √(8/π) rate³``. A frozen prediction has
    none, so it never stands alone: see ``compare_jitter``.

    Parameters
    ----------
    points : (T, …, 3) in metres, NaN where missing
    rate : samples per second

    Returns
    -------
    m/s³; NaN where no four frames in a row are there

    >>> jitter([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0.001, 0, 0]], rate=10)
    1.0
    """
    return (
        float(mean_present(_lengths(_time_first(floats("points", points), 3), 3)))
        * positive("rate", rate) ** 3
    )


@metric(
    "jitter·10m/s³",
    unit="10 m/s³",
    direction="lower",
    definition="Mean length of the third difference of the predicted points by rate³, divided by 10.",
    reference="Shin 2024, CVPR (WHAM) eval_utils.compute_jitter; GVHMR 2024 alike",
    needs=("time",),
)
def jitter_in_tens(points: ArrayLike, *, rate: float) -> float:
    """Jitter as WHAM and GVHMR print it, in units of 10 m/s³: a tenth of ``jitter``.

    >>> jitter_in_tens([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0.001, 0, 0]], rate=10)
    0.1
    """
    return jitter(points, rate=rate) / 10.0


class JitterComparison(NamedTuple):
    """Jitter of prediction and truth over the same differences, m/s³.

    Attributes
    ----------
    predicted : of the prediction
    reference : of the truth, over the differences that both have
    excess : predicted - reference; below zero is smoother than life
    """

    predicted: float
    reference: float
    excess: float


@metric(
    "jitter of the reference·m/s³",
    unit="m/s³",
    direction="neither",
    definition="Mean length of the true third differences by rate³, where the prediction has them too.",
    reference="capbench",
    needs=("reference", "time"),
    part="reference",
)
@metric(
    "jitter excess·m/s³",
    unit="m/s³",
    direction="zero",
    definition="Jitter of the prediction less that of the truth; negative means smoother than life.",
    reference="capbench",
    needs=("reference", "time"),
    part="excess",
)
def compare_jitter(predicted: ArrayLike, reference: ArrayLike, *, rate: float) -> JitterComparison:
    """Jitter of the prediction beside that of the truth, over the third differences that both have.

    Parameters
    ----------
    predicted, reference : (T, …, 3) points in metres, NaN where missing
    rate : samples per second

    >>> frozen = np.zeros((4, 3))
    >>> moving = frozen.copy()
    >>> moving[3, 0] = 0.001
    >>> compare_jitter(frozen, moving, rate=10)
    JitterComparison(predicted=0.0, reference=1.0, excess=-1.0)
    """
    p, g = alike(predicted=predicted, reference=reference)
    missing = np.isnan(p) | np.isnan(g)
    ours = jitter(np.where(missing, np.nan, p), rate=rate)
    theirs = jitter(np.where(missing, np.nan, g), rate=rate)
    return JitterComparison(ours, theirs, ours - theirs)


def _noise(points: FloatArray) -> float:
    """√(mean (Δ³p)² / 20) over frames, points and axes."""
    return float(np.sqrt(mean_present(np.diff(points, n=3, axis=0) ** 2) / THIRD_DIFFERENCE_POWER))


@metric(
    "frame noise·mm",
    unit="mm",
    direction="lower",
    definition=(
        "Standard deviation on each axis of the white noise that would give the third differences seen in "
        "the predicted 3D points, without any reference."
    ),
    reference="capbench; difference-based variance as Gasser 1986, Biometrika 73:625",
    needs=(),
)
def frame_noise(points: ArrayLike) -> float:
    """Flicker of 3D points: the white noise behind their third differences, ``√(mean (Δ³p)² / 20) · 1000``.

    The third difference takes out motion up to constant acceleration, and white noise of standard deviation
    σ leaves it with the variance 20 σ²; so the number doesn't depend on the rate while the motion between
    frames is slow beside the noise. Motion that is jerky in truth counts as noise.

    Parameters
    ----------
    points : (T, …, 3) in metres, NaN where missing

    Returns
    -------
    mm on each axis; NaN where no four frames in a row are there

    >>> round(frame_noise([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0.001, 0, 0]]), 4)
    0.1291
    """
    return _noise(_time_first(floats("points", points), 3)) * MM


@metric(
    "frame noise·px",
    unit="px",
    direction="lower",
    definition=(
        "Standard deviation on each axis of the white noise that would give the third differences seen in "
        "the predicted image points, without any reference."
    ),
    reference="capbench; difference-based variance as Gasser 1986, Biometrika 73:625",
    needs=(),
)
def frame_noise_px(points: ArrayLike) -> float:
    """Flicker of image points (T, …, 2) in pixels: as ``frame_noise``.

    >>> round(frame_noise_px([[0, 0], [0, 0], [0, 0], [1, 0]]), 4)
    0.1581
    """
    return _noise(_time_first(floats("points", points), 2))


class FootSliding(NamedTuple):
    """How feet that stand in truth move in the prediction.

    Attributes
    ----------
    speed : mean predicted speed while the truth stands, mm/s
    step : the same in mm per frame of 1/30 s, as published
    steps : how many steps from frame to frame of a foot point it is the mean of
    """

    speed: float
    step: float
    steps: int


@metric(
    "foot sliding·mm/frame@30",
    unit="mm",
    direction="lower",
    definition=(
        "Mean predicted displacement of foot points in 1/30 s while the truth is slower than 0.30 m/s "
        "(1 cm per frame at 30 frames a second), in all three axes."
    ),
    reference="Shin 2024, CVPR (WHAM) eval_utils.compute_foot_sliding, rescaled by the rate",
    needs=("reference", "time"),
    part="step",
    still=STILL,
)
@metric(
    "foot sliding·mm/s",
    unit="mm/s",
    direction="lower",
    definition="Mean predicted 3D speed of foot points while the truth is slower than 0.30 m/s.",
    reference="after Shin 2024, CVPR (WHAM)",
    needs=("reference", "time"),
    part="speed",
    still=STILL,
)
def foot_sliding(
    predicted: ArrayLike, reference: ArrayLike, *, rate: float, still: float = STILL
) -> FootSliding:
    """Speed of predicted feet while the true ones stand: ``mean ‖Δp‖ rate`` where ``‖Δg‖ rate < still``.

    The published threshold is 1 cm from frame to frame at 30 frames a second; left so, a recording at
    100 frames a second would call a foot in full swing standing. Both threshold and displacement are
    therefore taken per second, and at 30 frames a second the published number comes out.

    Parameters
    ----------
    predicted, reference : (T, foot points, 3) in metres, NaN where missing
    rate : samples per second
    still : a foot point stands while its true speed is below this, m/s

    Returns
    -------
    numbers are NaN where no foot ever stands

    >>> still = np.zeros((2, 1, 3))
    >>> sliding = still + [[[0, 0, 0]], [[0.002, 0, 0]]]
    >>> foot_sliding(sliding, still, rate=30)
    FootSliding(speed=60.0, step=2.0, steps=1)
    """
    p, g = alike(predicted=predicted, reference=reference)
    rate, still = positive("rate", rate), positive("still", still)
    moved = _lengths(_time_first(p, 3), 1) * rate
    stands = _lengths(g, 1) * rate < still
    counted = np.where(stands, moved, np.nan)
    speed = float(mean_present(counted)) * MM
    return FootSliding(speed, speed / WHAM_RATE, int((~np.isnan(counted)).sum()))


@metric(
    "angle jerk·°/s³",
    unit="°/s³",
    direction="lower",
    definition="Mean absolute third difference of the predicted joint angles by rate³, full turns taken out.",
    reference="capbench",
    needs=("time", "angles"),
)
def angle_jerk(angles: ArrayLike, *, rate: float) -> float:
    """Mean absolute jerk of joint angles: ``mean |Δ³θ| · rate³ · 180/π``.

    Steps from frame to frame are taken by the shorter way round, so an angle that passes from 180° to -180°
    doesn't jump.

    Parameters
    ----------
    angles : (T,) or (T, coordinates) in radians, NaN where missing
    rate : samples per second

    Returns
    -------
    °/s³; NaN where no four frames in a row are there

    >>> round(angle_jerk(np.radians([0, 0, 0, 1]), rate=10), 6)
    1000.0
    """
    theta = floats("angles", angles)
    if theta.ndim == 0:
        raise MetricError("Expected angles with time on the first axis, got a single number.")
    step = wrap(np.diff(theta, axis=0))
    return float(np.degrees(mean_present(np.abs(np.diff(step, n=2, axis=0))))) * positive("rate", rate) ** 3
