"""How smooth a movement is: spectral arc length, log dimensionless jerk, share of power above a frequency.

SPARC and LDLJ read a speed profile (``speed_profile`` makes one), need every sample and grade one movement
from rest to rest. They say how smooth a prediction is, not whether it is as smooth as the truth: compare
with the same number of the reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import detrend, periodogram

from metrics.arrays import FloatArray, MetricError, floats, positive
from metrics.catalogue import metric

#: what is left of a signal after its trend counts as rounding below this share of its largest value
ROUNDING = 1e-12


def speed_profile(points: ArrayLike, *, rate: float) -> FloatArray:
    """Speed between frames, ``‖p[t+1] - p[t]‖ · rate``: what SPARC and LDLJ read.

    Parameters
    ----------
    points : (T, …, D) positions in metres or joint angles in radians, time first, one point's axes last
    rate : samples per second

    Returns
    -------
    (T - 1, …) in units per second; NaN beside a missing sample

    >>> speed_profile([[0, 0, 0], [3, 4, 0], [3, 4, 1]], rate=2)
    array([10.,  2.])
    """
    array = floats("points", points)
    if array.ndim < 2:
        raise MetricError(
            f"Expected points with time first and a point's axes last, got shape {array.shape}."
        )
    speed: FloatArray = np.linalg.norm(np.diff(array, axis=0), axis=-1) * positive("rate", rate)
    return speed


@metric(
    "SPARC@10Hz",
    unit="1",
    direction="higher",
    definition=(
        "Less the arc length of the speed's magnitude spectrum, normalised to its peak, up to the last "
        "frequency below 10 Hz that holds 5 % of the peak; padded to 16 times the next power of two."
    ),
    reference="Balasubramanian 2015, J NeuroEng Rehabil 12:112, and its published code",
    needs=("time",),
    cutoff=10.0,
    threshold=0.05,
    padding=4,
)
def sparc(
    speed: ArrayLike, *, rate: float, cutoff: float = 10.0, threshold: float = 0.05, padding: int = 4
) -> float:
    """Spectral arc length of a speed profile; the nearer to zero, the smoother.

    ``-Σ √((Δf / (f_last - f_first))² + ΔM²)`` over ``M(f) = |FFT(speed)| / max``
    between the first and the last frequency up to ``cutoff`` where ``M ≥ threshold``. The defaults are those
    of the published code of 2015; the spectral arc length of 2012 ran to 20 Hz without a threshold, and its
    numbers differ. The spectrum ends at half the rate, where that is below ``cutoff``; the published code
    would go on into its mirror image.

    Parameters
    ----------
    speed : (T,) in any unit, from rest to rest
    rate : samples per second
    cutoff : highest frequency, Hz
    threshold : share of the spectrum's peak, above 0
    padding : octaves of zeros beyond the next power of two

    Returns
    -------
    at most -1; NaN where a sample is missing, nothing moves or the spectrum has nothing below ``cutoff``

    >>> t = np.arange(-1, 1, 0.01)
    >>> round(sparc(np.exp(-5 * t**2), rate=100), 5)
    -1.41403
    """
    profile = floats("speed", speed, ndim=1)
    rate, cutoff, threshold = (
        positive("rate", rate),
        positive("cutoff", cutoff),
        positive("threshold", threshold),
    )
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise MetricError(f"Expected padding as a whole number from 0, got {padding!r}.")
    if not profile.any() or np.isnan(profile).any():
        return float("nan")
    size = 2 ** ((profile.size - 1).bit_length() + padding)
    magnitude = np.abs(np.fft.rfft(profile, size))
    magnitude /= magnitude.max()
    frequency = np.arange(magnitude.size) * rate / size
    strong = np.flatnonzero((frequency <= cutoff) & (magnitude >= threshold))
    if strong.size < 2:
        return float("nan")
    chosen = slice(strong[0], strong[-1] + 1)
    span = frequency[strong[-1]] - frequency[strong[0]]
    return -float(np.hypot(np.diff(frequency[chosen]) / span, np.diff(magnitude[chosen])).sum())


@metric(
    "LDLJ-V",
    unit="1",
    direction="higher",
    definition=(
        "Less the natural logarithm of the dimensionless jerk of the speed: duration cubed by peak speed "
        "squared, times the integral of its squared second derivative."
    ),
    reference="Balasubramanian 2015, J NeuroEng Rehabil 12:112, and its published code",
    needs=(),
)
def ldlj(speed: ArrayLike) -> float:
    """Log dimensionless jerk of a speed profile; the higher, the smoother.

    ``-ln( D³ / v_peak² · Σ (Δ²v · rate²)² / rate )`` with the duration ``D = T / rate``: the rate
    cancels, which is why it isn't asked for. It is made from speed (not from acceleration, LDLJ-A) and
    normalised by the peak speed (not by the amplitude, which gives D⁵ / A²).

    Parameters
    ----------
    speed : (T,) in any unit, evenly sampled, from rest to rest

    Returns
    -------
    NaN where a sample is missing, nothing moves or nothing bends (no jerk at all)

    >>> t = np.arange(-1, 1, 0.01)
    >>> round(ldlj(np.exp(-5 * t**2)), 5)
    -5.81636
    """
    profile = floats("speed", speed, ndim=1)
    bend = float((np.diff(profile, n=2) ** 2).sum()) * profile.size**3
    return float(np.log(np.abs(profile).max() ** 2 / bend)) if bend > 0 else float("nan")


@metric(
    "power above 6 Hz",
    unit="%",
    direction="lower",
    definition=(
        "Share of the power above 6 Hz, in the periodogram of all channels together after taking out each "
        "one's straight line and applying a periodic Hann window."
    ),
    reference="capbench",
    needs=("time",),
    cutoff=6.0,
)
def power_share_above(signal: ArrayLike, *, rate: float, cutoff: float = 6.0) -> float:
    """Share of a signal's power above ``cutoff``: ``100 Σ_{f > cutoff} P(f) / Σ P(f)``.

    ``P`` is the one-sided periodogram of the whole signal after taking out its straight line (least squares),
    under a periodic Hann window, added over channels; for points that makes it the same in any frame.
    Walking has nearly all its power below 6 Hz, so what is above is noise or an impact.

    Parameters
    ----------
    signal : (T,) or (T, …) positions or angles in one unit, time first
    rate : samples per second
    cutoff : Hz, below half the rate

    Returns
    -------
    %; NaN where a sample is missing or nothing is left beside straight lines

    >>> t = np.arange(200) / 100 - 0.995
    >>> round(power_share_above(3 * np.cos(4 * np.pi * t) + np.cos(40 * np.pi * t), rate=100), 6)
    10.0
    """
    array = floats("signal", signal)
    rate, cutoff = positive("rate", rate), positive("cutoff", cutoff)
    if array.ndim == 0:
        raise MetricError("Expected a signal with time on the first axis, got a single number.")
    if cutoff >= rate / 2:
        raise MetricError(f"Expected the cutoff below half the rate ({rate / 2:g} Hz), got {cutoff:g} Hz.")
    if array.size == 0 or np.isnan(array).any():
        return float("nan")
    left = detrend(array, axis=0, type="linear")
    if np.abs(left).max() <= ROUNDING * np.abs(array).max():
        return float("nan")
    frequency, power = periodogram(left, fs=rate, window="hann", detrend=False, axis=0)
    return 100.0 * float(power[frequency > cutoff].sum() / power.sum())
