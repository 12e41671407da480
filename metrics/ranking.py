"""Whether the predicted uncertainty orders the errors: sparsification, risk–coverage, AUROC, correlation.

Only the order of the uncertainties counts here (their size too for Pearson's r), so any number that grows
with doubt will do: σ, a variance, 1 − confidence. Errors are sizes, 0 or more. A sample without an error or
an uncertainty is left out; where a miss is to count as a failure, give its error as ∞ to the rank scores.

All of these stay as they are when σ doubles: they say nothing of calibration, see ``metrics.uncertainty``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from metrics.arrays import FloatArray, MetricError, alike, mean_present
from metrics.catalogue import by_quantity, metric

Risk = Literal["MAE", "RMSE"]
Kind = Literal["pearson", "spearman"]


class RiskCoverage(NamedTuple):
    """Error of the k samples of least uncertainty, k = 1 … n, and of the k least errors (the oracle).

    >>> risk_coverage([2.0, 0.0], [0.1, 0.2]).oracle
    array([0., 1.])
    """

    coverage: FloatArray  #: k / n
    risk: FloatArray  #: MAE or RMSE of the k samples of least uncertainty
    oracle: FloatArray  #: the same of the k least errors: no order does better


class WithinJoint(NamedTuple):
    """A correlation in each joint for itself.

    >>> within_joint_correlation([[1.0, 5.0], [2.0, 6.0]], [[1.0, 3.0], [2.0, 3.0]]).share
    50.0
    """

    mean: float  #: over the joints that have one; NaN where none has
    per_joint: FloatArray  #: NaN where the uncertainty or the error does not vary
    share: float  #: % of the joints that have one


def risk_coverage(error_n: ArrayLike, uncertainty_n: ArrayLike, *, risk: Risk = "MAE") -> RiskCoverage:
    """The risk–coverage curve: the sparsification curve read from its other end, without interpolation.

    Samples of equal uncertainty count with their mean |error| (or error²), which is the mean curve over all
    orders they could have: so the order of the samples plays no part.

    Parameters
    ----------
    error_n, uncertainty_n : one shape, any axes
    risk : of the samples kept: "MAE" their mean error, "RMSE" the root of their mean squared error

    >>> risk_coverage([1.0, 3.0, 2.0], [0.1, 0.5, 0.5]).risk
    array([1.  , 1.75, 2.  ])
    """
    if risk not in get_args(Risk):
        raise MetricError(f"Expected the risk MAE or RMSE, got {risk!r}.")
    error, uncertainty = _present(error_n, uncertainty_n)
    power = 1 if risk == "MAE" else 2
    kept = np.arange(1, error.size + 1)
    return RiskCoverage(kept / error.size, _risk(error, uncertainty, power), _risk(error, error, power))


@by_quantity(
    "AURC·MAE",
    direction="lower",
    definition="Area under the risk–coverage curve: mean over k of the mean error of the k samples of least "
    "uncertainty.",
    reference="Geifman 2019, ICLR",
    needs=("reference", "covariance"),
    merge="samples",
    risk="MAE",
)
def aurc(error_n: ArrayLike, uncertainty_n: ArrayLike, *, risk: Risk = "MAE", factor: float = 1.0) -> float:
    """(1/n) Σ_k risk(k) in the unit of the error times ``factor``; 0/1 errors give that of a classifier.

    >>> aurc([1.0, 3.0], [0.1, 0.2])
    1.5
    """
    return factor * float(mean_present(risk_coverage(error_n, uncertainty_n, risk=risk).risk))


@metric(
    "AUSE·MAE",
    unit="1",
    direction="lower",
    definition="Area between the sparsification curves by uncertainty and by the error itself, over the mean "
    "error.",
    reference="Ilg 2018, ECCV",
    needs=("reference", "covariance"),
    merge="samples",
    risk="MAE",
)
@metric(
    "AUSE·RMSE",
    unit="1",
    direction="lower",
    definition="Area between the root-mean-square sparsification curves by uncertainty and by the error "
    "itself, over the RMSE.",
    reference="Ilg 2018, ECCV",
    needs=("reference", "covariance"),
    merge="samples",
    risk="RMSE",
)
def ause(error_n: ArrayLike, uncertainty_n: ArrayLike, *, risk: Risk = "MAE") -> float:
    """(1/n) Σ_k (risk(k) − oracle(k)) / risk(n), k = 1 … n kept; 0 for the perfect order.

    Every sample is a step, so no number of steps has to be named; NaN where all errors are 0 or one is ∞.

    >>> ause([1.0, 2.0, 3.0], [0.3, 0.2, 0.1])
    0.5
    """
    curve = risk_coverage(error_n, uncertainty_n, risk=risk)
    return _over_all(curve, curve.risk, curve.oracle)


@metric(
    "AURG·MAE",
    unit="1",
    direction="higher",
    definition="Area between the sparsification curve of no order (the mean error throughout) and that by "
    "uncertainty, over the mean error.",
    reference="Poggi 2020, CVPR",
    needs=("reference", "covariance"),
    merge="samples",
    risk="MAE",
)
@metric(
    "AURG·RMSE",
    unit="1",
    direction="higher",
    definition="Area between the root-mean-square sparsification curve of no order (the RMSE throughout) and "
    "that by uncertainty, over the RMSE.",
    reference="Poggi 2020, CVPR",
    needs=("reference", "covariance"),
    merge="samples",
    risk="RMSE",
)
def aurg(error_n: ArrayLike, uncertainty_n: ArrayLike, *, risk: Risk = "MAE") -> float:
    """(1/n) Σ_k (risk(n) − risk(k)) / risk(n): what the order gains; 0 for none, below 0 for a wrong one.

    >>> aurg([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    0.25
    """
    curve = risk_coverage(error_n, uncertainty_n, risk=risk)
    return _over_all(curve, curve.risk[-1:], curve.risk)


@metric(
    "AUROC·error>60mm",
    unit="1",
    direction="higher",
    definition="Chance that a sample with an error above 60 mm has a larger uncertainty than one without; "
    "equal uncertainties count half.",
    reference="Hendrycks 2017, ICLR",
    needs=("reference", "covariance"),
    merge="samples",
    threshold=0.060,
)
def failure_auroc(error_n: ArrayLike, uncertainty_n: ArrayLike, *, threshold: float) -> float:
    """Area under the ROC curve of error > ``threshold`` told by the uncertainty; NaN where all or none fail.

    >>> failure_auroc([0.01, 0.10, 0.09], [0.2, 0.2, 0.9], threshold=0.06)
    0.75
    """
    error, uncertainty = _present(error_n, uncertainty_n)
    failed = error > threshold
    bad, good = np.count_nonzero(failed), np.count_nonzero(~failed)
    if bad == 0 or good == 0:
        return np.nan
    above = stats.rankdata(uncertainty)[failed].sum() - bad * (bad + 1) / 2  # pairs in order, ties half
    return float(above / (bad * good))


@metric(
    "POCO r·pooled",
    unit="1",
    direction="higher",
    definition="Pearson correlation of predicted variance and squared error over all joints and samples "
    "together; a constant variance for each joint already makes it high.",
    reference="Dwivedi 2024, 3DV (POCO)",
    needs=("reference", "covariance"),
    merge="samples",
    kind="pearson",
)
@metric(
    "Spearman·pooled",
    unit="1",
    direction="higher",
    definition="Rank correlation of uncertainty and error over all joints and samples together.",
    reference="Spearman 1904, Am J Psychol",
    needs=("reference", "covariance"),
    merge="samples",
    kind="spearman",
)
def correlation(error_n: ArrayLike, uncertainty_n: ArrayLike, *, kind: Kind = "pearson") -> float:
    """Correlation of uncertainty and error over all values; NaN where either is constant.

    Pearson's r depends on what is put in: POCO takes the variance and the mean squared difference of the
    rotation matrices. It is no absolute grade: a perfect σ of small spread makes a small r.

    >>> correlation([1.0, 2.0, 9.0], [1.0, 2.0, 3.0], kind="spearman")
    1.0
    """
    error, uncertainty = _present(error_n, uncertainty_n)
    return float(_columns(error[:, None], uncertainty[:, None], kind)[0])


@metric(
    "POCO r·within joint",
    unit="1",
    direction="higher",
    definition="Mean over joints of the Pearson correlation of predicted variance and squared error within "
    "the joint; a joint whose variance never changes has none.",
    reference="capbench",
    needs=("reference", "covariance"),
    merge="samples",
    part="mean",
    kind="pearson",
)
@metric(
    "Spearman·within joint",
    unit="1",
    direction="higher",
    definition="Mean over joints of the rank correlation of uncertainty and error within the joint; a joint "
    "whose uncertainty never changes has none.",
    reference="capbench",
    needs=("reference", "covariance"),
    merge="samples",
    part="mean",
    kind="spearman",
)
@metric(
    "joints with a ranking",
    unit="%",
    direction="higher",
    definition="Share of joints in which a correlation of uncertainty and error exists: in the others the "
    "uncertainty (or the error) never changes.",
    reference="capbench",
    needs=("reference", "covariance"),
    merge="samples",
    part="share",
)
def within_joint_correlation(
    error_nj: ArrayLike, uncertainty_nj: ArrayLike, *, kind: Kind = "pearson"
) -> WithinJoint:
    """Correlation of uncertainty and error in each joint, over its samples; error and uncertainty (n, j).

    A σ that is only a constant of the joint knows nothing of the frame: pooled it may correlate at 0.6, here
    it has no correlation at all (NaN, not 0). Read the mean beside ``share``.

    >>> within_joint_correlation([[1.0, 5.0], [2.0, 7.0]], [[1.0, 3.0], [2.0, 2.0]]).per_joint
    array([ 1., -1.])
    """
    error, uncertainty = alike(error=error_nj, uncertainty=uncertainty_nj)
    if error.ndim != 2:
        raise MetricError(f"Expected error and uncertainty as (samples, joints), got shape {error.shape}.")
    _sizes(error)
    r = _columns(error, uncertainty, kind)
    share = mean_present(100.0 * ~np.isnan(r))
    return WithinJoint(float(mean_present(r)), r, share)


def _sizes(error: FloatArray) -> None:
    if (error < 0).any():
        raise MetricError(f"Expected errors of 0 or more, got {np.nanmin(error)}.")


def _present(error_n: ArrayLike, uncertainty_n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Error and uncertainty of the samples that have both, in one row."""
    error, uncertainty = alike(error=error_n, uncertainty=uncertainty_n)
    _sizes(error)
    there = ~(np.isnan(error) | np.isnan(uncertainty))
    return error[there], uncertainty[there]


def _risk(error: FloatArray, order: FloatArray, power: int) -> FloatArray:
    """(mean error ** power of the k first by ``order``) ** (1 / power), k = 1 … n; ties share their mean."""
    _, group = np.unique(order, return_inverse=True)
    count = np.bincount(group)
    loss = np.repeat(np.bincount(group, error**power) / count, count)
    return np.asarray((np.cumsum(loss) / np.arange(1, error.size + 1)) ** (1 / power))


def _over_all(curve: RiskCoverage, above: FloatArray, below: FloatArray) -> float:
    """Mean of above − below over k, in parts of the risk of all samples."""
    if curve.risk.size == 0:
        return np.nan
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all, or an infinite one
        return float(np.mean(above - below) / curve.risk[-1])


def _columns(error_nj: FloatArray, uncertainty_nj: FloatArray, kind: Kind) -> FloatArray:
    """Correlation down each column over the rows that have both; NaN where either is constant."""
    if kind not in get_args(Kind):
        raise MetricError(f"Expected the kind pearson or spearman, got {kind!r}.")
    missing = np.isnan(error_nj) | np.isnan(uncertainty_nj)
    pair = np.stack([np.where(missing, np.nan, v) for v in (error_nj, uncertainty_nj)])
    if kind == "spearman":
        pair = stats.rankdata(pair, axis=1, nan_policy="omit")
    # by the extremes, not by the variance, which rounding may keep from 0
    low = np.fmin.reduce(pair, axis=1, initial=np.inf)
    high = np.fmax.reduce(pair, axis=1, initial=-np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = np.where(missing, 0.0, pair - np.asarray(mean_present(pair, axis=1))[:, None])
        size = np.sqrt((centred**2).sum(axis=1).prod(axis=0))
        r = np.clip(centred.prod(axis=0).sum(axis=0) / size, -1.0, 1.0)
    return np.where((high > low).all(axis=0), r, np.nan)
