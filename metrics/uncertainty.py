"""How well a predicted spread fits the errors: calibration, log score, CRPS, sharpness.

The prediction is Gaussian: a standard deviation σ for each value, or a covariance for each point of d
axes. The error is predicted − reference in the unit of σ (m, rad or px). A sample whose error or
spread is NaN is left out; what that hides is the business of the coverage scores. σ = 0 is taken at
its word, a point mass: the limit of each formula as σ goes to 0.

How well the spread *orders* the errors is another question: see ``metrics.ranking``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from metrics.arrays import FloatArray, MetricError, alike, floats, mean_present
from metrics.catalogue import by_quantity, metric

F = TypeVar("F", bound=Callable[..., Any])

#: nominal levels of the intervals: the middles of 20 equal steps of 0 … 1, so that the mean gap over
#: them is a midpoint rule for the area between the coverage curve and the diagonal
LEVELS: tuple[float, ...] = tuple((step + 0.5) / 20 for step in range(20))
_SYMMETRY = 1e-9  # of the largest entry: what rounding may do to a covariance
_ROUNDING = 1e-12  # of the largest entry: what is 0 but for rounding, on either side


class CoverageCurve(NamedTuple):
    """Share of errors inside the predicted region of each nominal level.

    >>> coverage_curve([[0.0]], [[[1.0]]], levels=[0.5]).observed
    array([1.])
    """

    levels: FloatArray  #: nominal, 0 … 1
    observed: FloatArray  #: share of samples inside, 0 … 1; NaN without samples
    ece: float  #: mean |observed − nominal|
    bias: float  #: mean (observed − nominal): above 0 where σ is too wide, below 0 where it is too narrow


def covariance_of(sigma_nd: ArrayLike) -> FloatArray:
    """The covariance of independent axes: σ (…, d) → (…, d, d) with σ² on the diagonal.

    >>> covariance_of([2.0, 3.0])
    array([[4., 0.],
           [0., 9.]])
    """
    sigma = _spread(floats("sigma", sigma_nd))
    if sigma.ndim == 0:
        raise MetricError("Expected sigma with an axis for the d axes of a point, got a bare number.")
    return np.asarray(sigma[..., None] ** 2 * np.eye(sigma.shape[-1]))


def squared_distance(error_nd: ArrayLike, covariance_ndd: ArrayLike) -> FloatArray:
    """eᵀ Σ⁻¹ e of each sample (squared Mahalanobis distance); error (…, d), covariance (…, d, d) → (…).

    Along an axis of no variance any error is infinitely far and none is at 0. NaN where missing.

    >>> squared_distance([[3.0, 4.0]], [[[9.0, 0.0], [0.0, 4.0]]])
    array([5.])
    """
    return _whitened(error_nd, covariance_ndd)[0]


@metric(
    "ECE·interval",
    unit="1",
    direction="lower",
    definition="Mean gap, over 20 levels, between the nominal and the observed share of errors inside the "
    "central region that the predicted Gaussian gives (χ² quantile for the error's number of axes).",
    reference="Kuleshov 2018, ICML; regions of several axes: capbench",
    needs=("reference", "covariance"),
    merge="sums",
    part="ece",
)
@metric(
    "calibration bias·interval",
    unit="1",
    direction="zero",
    definition="Mean, over 20 levels, of the observed minus the nominal share of errors inside the predicted "
    "central region: above 0 the spread is too wide, below 0 too narrow.",
    reference="capbench",
    needs=("reference", "covariance"),
    merge="sums",
    part="bias",
)
def coverage_curve(
    error_nd: ArrayLike, covariance_ndd: ArrayLike, *, levels: Sequence[float] = LEVELS
) -> CoverageCurve:
    """Observed share of errors inside the predicted region of each nominal level, and how far off it is.

    A sample is inside level p where eᵀ Σ⁻¹ e ≤ the p-quantile of χ²_d. With σ wrong by a factor c
    throughout, and levels without number, ECE = |F(c²) − ½| with F of the F-distribution of (d, d)
    degrees of freedom: 0.358 for c = 2 or ½ and d = 3.

    Parameters
    ----------
    error_nd : predicted − reference (…, d), d = 1, 2, 3, …
    covariance_ndd : predicted covariance (…, d, d) in the squared unit of the error; ``covariance_of`` a σ
    levels : nominal levels, each between 0 and 1

    >>> round(coverage_curve([[-1.0], [0.5], [3.0]], [[[1.0]]] * 3, levels=[0.5, 0.7]).bias, 4)
    -0.1
    """
    nominal = floats("levels", list(levels), ndim=1)
    if nominal.size == 0 or not ((nominal > 0) & (nominal < 1)).all():
        raise MetricError(f"Expected levels between 0 and 1, got {list(levels)}.")
    distance = squared_distance(error_nd, covariance_ndd)
    d = np.shape(error_nd)[-1]
    # where the error lies in the χ² distribution, so that the level need not be turned into a quantile
    depth = np.sort(special.gammainc(d / 2, distance[~np.isnan(distance)] / 2))
    if depth.size == 0:
        return CoverageCurve(nominal, np.full(nominal.shape, np.nan), np.nan, np.nan)
    observed = np.searchsorted(depth, nominal, side="right") / depth.size
    gap = observed - nominal
    return CoverageCurve(nominal, observed, float(np.abs(gap).mean()), float(gap.mean()))


@metric(
    "NLL·Gaussian",
    unit="nat",
    direction="lower",
    definition="Mean negative log density of the reference under the predicted Gaussian with its full "
    "covariance; the density is per m, rad or px.",
    reference="Good 1952, J R Stat Soc B",
    needs=("reference", "covariance"),
    merge="sums",
)
def gaussian_nll(error_nd: ArrayLike, covariance_ndd: ArrayLike) -> float:
    """Mean of ½ (d ln 2π + ln det Σ + eᵀ Σ⁻¹ e), in nats; error (…, d), covariance (…, d, d).

    In other units of length the value shifts by d ln(unit ratio). A point mass scores +∞ when it misses
    (and −∞ when it hits), as the log score will have it.

    >>> round(gaussian_nll([[1.0]], [[[1.0]]]), 4)
    1.4189
    """
    distance, log_det = _whitened(error_nd, covariance_ndd)
    with np.errstate(invalid="ignore"):  # −∞ + ∞ where a point mass misses, or misses once and hits once
        nll = 0.5 * (np.shape(error_nd)[-1] * np.log(2 * np.pi) + log_det + distance)
        return float(mean_present(np.where(np.isinf(distance), np.inf, nll)))


@metric(
    "ENCE·10 bins",
    unit="1",
    direction="lower",
    definition="Mean over 10 bins of equally many samples, by predicted σ, of |RMSE − root mean variance| / "
    "root mean variance; equal σ stay in one bin.",
    reference="Levi 2022, Sensors",
    needs=("reference", "covariance"),
    merge="samples",
    bins=10,
)
def ence(error_n: ArrayLike, sigma_n: ArrayLike, *, bins: int = 10) -> float:
    """mean_b |RMSE_b − RMV_b| / RMV_b, where RMV_b is the root mean σ² of bin b; error and σ of one shape.

    A sample of rank r among n (by σ, equal σ share their middle rank) goes to bin ⌊(r − ½) · bins / n⌋: so
    bins differ by one sample at most, equal σ are never torn apart, the order of the samples plays no
    part, and a constant σ makes one bin. Even a perfect σ scores above 0, the more so the fewer samples
    a bin has: compare at equal n and bins only. NaN with fewer samples than bins.

    >>> ence([1.0, -1.0, 3.0, -3.0], [1.0, 1.0, 2.0, 2.0], bins=2)
    0.25
    """
    if bins < 1:
        raise MetricError(f"Expected bins of 1 or more, got {bins}.")
    error, sigma = _present(error_n, sigma_n)
    if error.size < bins:
        return np.nan
    place = ((stats.rankdata(sigma) - 0.5) * bins / error.size).astype(np.int64)
    count = np.bincount(place)
    mse, variance = (np.bincount(place, v**2)[count > 0] / count[count > 0] for v in (error, sigma))
    with np.errstate(divide="ignore", invalid="ignore"):  # ∞ where a bin of σ = 0 has errors, NaN where none
        return float(np.mean(np.abs(np.sqrt(mse) - np.sqrt(variance)) / np.sqrt(variance)))


@by_quantity(
    "CRPS·Gaussian",
    direction="lower",
    definition="Mean continuous ranked probability score of the predicted Gaussian, each axis for itself.",
    reference="Gneiting 2005, Mon Weather Rev",
    needs=("reference", "covariance"),
    merge="sums",
)
def gaussian_crps(error_n: ArrayLike, sigma_n: ArrayLike, *, factor: float = 1.0) -> float:
    """Mean of ∫ (F(x) − [x ≥ reference])² dx = σ (z (2Φ(z) − 1) + 2φ(z) − 1/√π), z = error / σ.

    Error and σ of one shape; the result in their unit times ``factor``. A point mass scores |error|.

    >>> round(gaussian_crps([0.0], [1.0]), 4)
    0.2337
    """
    error, sigma = _present(error_n, sigma_n)
    z = _standard(error, sigma)
    with np.errstate(invalid="ignore"):  # 0 · ∞ at σ = 0, replaced by its limit
        score = sigma * (
            z * special.erf(z / np.sqrt(2)) + np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) - 1 / np.sqrt(np.pi)
        )
    return factor * float(mean_present(np.where(sigma == 0, np.abs(error), score)))


@by_quantity(
    "CRPS·ensemble·fair",
    direction="lower",
    definition="Mean continuous ranked probability score of a set of predictions, unbiased for its size.",
    reference="Ferro 2014, Q J R Meteorol Soc",
    needs=("reference", "hypotheses"),
    merge="sums",
    fair=True,
)
@by_quantity(
    "CRPS·ensemble·plain",
    direction="lower",
    definition="Mean continuous ranked probability score of the step distribution of a set of predictions.",
    reference="Gneiting 2007, J Am Stat Assoc",
    needs=("reference", "hypotheses"),
    merge="sums",
    fair=False,
)
def ensemble_crps(
    members_nm: ArrayLike, reference_n: ArrayLike, *, fair: bool = True, factor: float = 1.0
) -> float:
    """Mean of (1/m) Σ|xᵢ − y| − (1/2K) ΣΣ|xᵢ − xⱼ|, with K = m² (plain) or m (m − 1) (fair).

    The plain score takes the set for the whole distribution and favours large or too narrow sets; the fair
    one has the expectation that the distribution behind the set would score. It needs m ≥ 2 (else NaN).

    Parameters
    ----------
    members_nm : the m predictions of each value (…, m); a value with a missing one is left out
    reference_n : true values (…)
    factor : unit of the result per unit of the values

    >>> ensemble_crps([[0.0, 2.0]], [1.0], fair=False), ensemble_crps([[0.0, 2.0]], [1.0])
    (0.5, 0.0)
    """
    members, reference = floats("members", members_nm), floats("reference", reference_n)
    if members.shape[:-1] != reference.shape or members.ndim == 0:
        raise MetricError(f"Expected members {(*reference.shape, 'm')}, got shape {members.shape}.")
    m = members.shape[-1]
    weight = m * (m - 1) if fair else m * m
    if weight == 0:
        return np.nan
    # ΣΣ|xᵢ − xⱼ| / 2 by the order of the members: the k-th smallest is above k − 1 and below m − k others
    apart = (np.sort(members, axis=-1) * (2 * np.arange(m) - m + 1)).sum(axis=-1)
    score = np.abs(members - reference[..., None]).mean(axis=-1) - apart / weight
    return factor * float(mean_present(score))


@by_quantity(
    "sharpness",
    direction="neither",
    definition="Root mean square of the predicted σ: of two calibrated predictions the sharper says more.",
    reference="Gneiting 2007, J R Stat Soc B",
    needs=("covariance",),
    merge="sums",
)
def sharpness(sigma_n: ArrayLike, *, factor: float = 1.0) -> float:
    """√ mean σ², in the unit of σ times ``factor``. Small σ is worth nothing unless calibrated.

    >>> sharpness([3.0, 4.0, 0.0, 0.0])
    2.5
    """
    sigma = _spread(floats("sigma", sigma_n))
    return factor * float(np.sqrt(mean_present(sigma**2)))


@by_quantity(
    "interval score·95%",
    direction="lower",
    definition="Mean width of the predicted central 95 % interval plus 2/0.05 times the distance by which "
    "the reference lies outside it.",
    reference="Gneiting 2007, J Am Stat Assoc",
    needs=("reference", "covariance"),
    merge="sums",
    level=0.95,
)
def interval_score(
    error_n: ArrayLike, sigma_n: ArrayLike, *, level: float = 0.95, factor: float = 1.0
) -> float:
    """Mean of 2h + 2/(1 − level) · max(|error| − h, 0), where h = Φ⁻¹((1 + level)/2) σ.

    Error and σ of one shape; the result in their unit times ``factor``.

    >>> round(interval_score([0.0, 3.0], [1.0, 1.0]), 3)
    24.721
    """
    if not 0 < level < 1:
        raise MetricError(f"Expected a level between 0 and 1, got {level!r}.")
    error, sigma = _present(error_n, sigma_n)
    half = special.ndtri((1 + level) / 2) * sigma
    score = 2 * half + 2 / (1 - level) * np.maximum(np.abs(error) - half, 0.0)
    return factor * float(mean_present(score))


@metric(
    "PIT·KS",
    unit="1",
    direction="lower",
    definition="Largest gap between the distribution of Φ(error/σ) and the uniform one (Kolmogorov–Smirnov): "
    "unlike the interval ECE it also sees a bias.",
    reference="Dawid 1984, J R Stat Soc A",
    needs=("reference", "covariance"),
    merge="samples",
)
def pit_distance(error_n: ArrayLike, sigma_n: ArrayLike) -> float:
    """sup |share of Φ(error/σ) ≤ u, minus u| over u in 0 … 1; error and σ of one shape.

    >>> pit_distance([0.0], [1.0])
    0.5
    """
    u = np.sort(special.ndtr(_standard(*_present(error_n, sigma_n))))
    if u.size == 0:
        return np.nan
    step = np.arange(u.size + 1) / u.size
    return float(np.maximum(step[1:] - u, u - step[:-1]).max())


def _finite(name: str, values: FloatArray) -> FloatArray:
    if np.isinf(values).any():
        raise MetricError(f"Expected {name} finite, or NaN where missing, got infinity.")
    return values


def _spread(sigma: FloatArray) -> FloatArray:
    if (sigma < 0).any():
        raise MetricError(f"Expected sigma of 0 or more, got {np.nanmin(sigma)}.")
    return _finite("sigma", sigma)


def _present(error_n: ArrayLike, sigma_n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Error and σ of the samples that have both, in one row."""
    error, sigma = alike(error=error_n, sigma=sigma_n)
    there = ~(np.isnan(error) | np.isnan(sigma))
    return _finite("error", error)[there], _spread(sigma)[there]


def _standard(error: FloatArray, sigma: FloatArray) -> FloatArray:
    """error / σ: without an error 0, even of no spread."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / sigma)


def _whitened(error_nd: ArrayLike, covariance_ndd: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """eᵀ Σ⁻¹ e and ln det Σ of each sample; NaN where the error or the covariance misses anything."""
    error, covariance = floats("error", error_nd), floats("covariance", covariance_ndd)
    if not error.shape or error.shape[-1] == 0 or covariance.shape != (*error.shape, error.shape[-1]):
        raise MetricError(
            f"Expected error (…, d) and covariance (…, d, d), got {error.shape} and {covariance.shape}."
        )
    missing = np.asarray(np.isnan(error).any(axis=-1) | np.isnan(covariance).any(axis=(-2, -1)))
    error = np.where(missing[..., None], 0.0, _finite("error", error))
    covariance = np.where(missing[..., None, None], 0.0, _finite("covariance", covariance))
    size = np.asarray(np.abs(covariance).max(axis=(-2, -1)))
    if (np.abs(covariance - covariance.swapaxes(-2, -1)) > _SYMMETRY * size[..., None, None]).any():
        raise MetricError("Expected symmetric covariances, got one that is not.")
    variance, axes = np.linalg.eigh(covariance)
    floor = _ROUNDING * size[..., None]
    if (variance < -floor).any():
        raise MetricError(f"Expected covariances without a negative eigenvalue, got {variance.min()}.")
    variance = np.where(variance > floor, variance, 0.0)
    along = (axes * error[..., None]).sum(axis=-2)  # the error along each principal axis
    along = np.where(np.abs(along) > _ROUNDING * np.abs(error).max(axis=-1, keepdims=True), along, 0.0)
    with np.errstate(divide="ignore"):
        log_det = np.log(variance).sum(axis=-1)
    distance = (_standard(along, np.sqrt(variance)) ** 2).sum(axis=-1)
    return np.where(missing, np.nan, distance), np.where(missing, np.nan, log_det)
