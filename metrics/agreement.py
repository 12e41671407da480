"""Do two methods, or several visits, give the same number: ICC, SEM, MDC, limits of agreement, concordance.

A table ``values_sr`` has a row for each subject (target) and a column for each rater (visit, device,
method). What is missing is NaN: a subject or pair that lacks a value is left out and counted in ``dropped``.

>>> visits = [[9, 2], [6, 1], [8, 4], [7, 1], [10, 5], [6, 2]]
>>> round(icc(visits, form="C,1").value, 3), round(icc(visits, form="A,1").value, 3)
(0.745, 0.126)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from metrics.arrays import FloatArray, MetricError, alike, floats, share
from metrics.catalogue import Direction, metric

F = TypeVar("F", bound=Callable[..., Any])
Form = Literal["A,1", "C,1", "A,k", "C,k"]
ZOU = "Bland & Altman 2007, J Biopharm Stat 17; Zou 2013, Stat Methods Med Res 22(6)"
AS_GIVEN = "as given"  #: the unit of a score that comes out in the unit of its input
NAN = math.nan


@dataclass(frozen=True)
class Reliability:
    """An intraclass correlation with its confidence interval.

    >>> icc([[1, 2], [3, 4], [5, 7]]).subjects
    3

    Attributes
    ----------
    value, low, high : the ICC and the ends of its interval
    subjects, raters : the size of the table that went in
    dropped : the subjects left out because a value was missing
    """

    value: float
    low: float
    high: float
    subjects: int
    raters: int
    dropped: int


class _TwoWay(NamedTuple):
    """Mean squares of a two-way table without replicates: rows (subjects), columns (raters), error."""

    msr: np.float64
    msc: np.float64
    mse: np.float64
    sd: np.float64
    n: int
    k: int
    dropped: int


def _two_way(values_sr: ArrayLike) -> _TwoWay:
    given = floats("values_sr", values_sr, ndim=2)
    table = given[~np.isnan(given).any(axis=1)]
    n, k = table.shape
    if k < 2:
        raise MetricError(f"Expected at least 2 raters (columns), got shape {given.shape}.")
    if n < 2:
        nan = np.float64(NAN)
        return _TwoWay(nan, nan, nan, nan, n, k, len(given) - n)
    rows, columns, grand = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True), table.mean()
    msr = k * ((rows - grand) ** 2).sum() / (n - 1)
    msc = n * ((columns - grand) ** 2).sum() / (k - 1)
    mse = ((table - rows - columns + grand) ** 2).sum() / ((n - 1) * (k - 1))
    return _TwoWay(msr, msc, mse, table.std(ddof=1), n, k, len(given) - n)


def _consistency(a: _TwoWay, tail: float) -> tuple[Any, Any, Any]:
    """ICC(C,1) and its interval, from F = MSR/MSE being F-distributed (McGraw & Wong 1996, table 7)."""
    df1, df2 = a.n - 1, (a.n - 1) * (a.k - 1)
    above = stats.f.ppf(tail, df1, df2)
    below = stats.f.ppf(tail, df2, df1)
    return (
        (a.msr - a.mse) / (a.msr + (a.k - 1) * a.mse),
        (a.msr - above * a.mse) / (a.msr + (a.k - 1) * above * a.mse),
        (below * a.msr - a.mse) / (below * a.msr + (a.k - 1) * a.mse),
    )


def _agreement(a: _TwoWay, tail: float) -> tuple[Any, Any, Any]:
    """ICC(A,1) and its interval, with Satterthwaite's degrees of freedom for the mix of MSC and MSE."""
    n, k = a.n, a.k
    value = (a.msr - a.mse) / (a.msr + (k - 1) * a.mse + k * (a.msc - a.mse) / n)
    of_columns = k * value * a.msc
    of_error = (n * (1 - value) + k * value * (n - 1)) * a.mse
    df1 = n - 1
    df2 = (of_columns + of_error) ** 2 / (of_columns**2 / (k - 1) + of_error**2 / (df1 * (k - 1)))
    above = stats.f.ppf(tail, df1, df2)
    below = stats.f.ppf(tail, df2, df1)
    spread = k * a.msc + (k * n - k - n) * a.mse
    return (
        value,
        n * (a.msr - above * a.mse) / (above * spread + n * a.msr),
        n * (below * a.msr - a.mse) / (spread + n * below * a.msr),
    )


_icc = partial(metric, unit="1", direction="higher", needs=("raters",), merge="samples", part="value")
MCGRAW = "McGraw & Wong 1996, Psychological Methods 1(1)"


@_icc("ICC(A,1)", definition="Absolute agreement of single ratings.", reference=MCGRAW, form="A,1")
@_icc("ICC(C,1)", definition="Consistency of single ratings.", reference=MCGRAW, form="C,1")
@_icc("ICC(A,k)", definition="Absolute agreement of means of k ratings.", reference=MCGRAW, form="A,k")
@_icc("ICC(C,k)", definition="Consistency of means of k ratings.", reference=MCGRAW, form="C,k")
def icc(values_sr: ArrayLike, *, form: Form = "A,1", confidence: float = 0.95) -> Reliability:
    """Intraclass correlation of ``values_sr`` (subjects × raters) from a two-way ANOVA.

    With MSR, MSC, MSE the mean squares of rows, columns and error, n subjects and k raters:
    ICC(C,1) = (MSR − MSE) / (MSR + (k−1)MSE), ICC(A,1) = (MSR − MSE) / (MSR + (k−1)MSE + k(MSC − MSE)/n);
    ICC(·,k) = k·ICC / (1 + (k−1)·ICC), its interval too. The interval of C is exact under the model, that of
    A rests on Satterthwaite's degrees of freedom. A negative ICC is left negative. NaN below 2 subjects
    or where nothing varies; the interval of A is NaN where all raters agree to the last digit.

    >>> round(icc([[1, 2], [3, 4], [5, 7]], form="A,k").value, 4)
    0.9091
    """
    if form not in get_args(Form):
        raise MetricError(f"Expected form as one of {', '.join(get_args(Form))}; got {form!r}.")
    tail = 0.5 + share("confidence", confidence) / 2
    table = _two_way(values_sr)
    with np.errstate(divide="ignore", invalid="ignore"):
        three = (_agreement if form.startswith("A") else _consistency)(table, tail)
        if form.endswith("k"):
            three = tuple(table.k * r / (1 + (table.k - 1) * r) for r in three)
    value, low, high = (float(r) for r in three)
    return Reliability(value, low, high, table.n, table.k, table.dropped)


@dataclass(frozen=True)
class MeasurementError:
    """Standard errors of measurement (SEM) and minimal detectable changes (MDC95), in the unit of the values.

    >>> measurement_error([[1, 2], [3, 4], [5, 7]]).raters
    2

    Attributes
    ----------
    sem_agreement, mdc95_agreement : the raters' offsets count as error
    sem_consistency, mdc95_consistency : they don't
    sem_icc, mdc95_icc : from SD·√(1 − ICC(A,1)), SD that of all values; not the same as ``sem_agreement``
    subjects, raters, dropped : as in ``Reliability``
    """

    sem_agreement: float
    sem_consistency: float
    sem_icc: float
    mdc95_agreement: float
    mdc95_consistency: float
    mdc95_icc: float
    subjects: int
    raters: int
    dropped: int


def _cards(rows: Iterable[tuple[str, str, Direction, str]], by: str, *needs: str) -> Callable[[F], F]:
    def put(function: F) -> F:
        for name, part, way, says in rows:
            card = partial(metric, name, unit=AS_GIVEN, direction=way, definition=says, reference=by)
            card(needs=needs, merge="samples", part=part)(function)
        return function

    return put


def _sem_cards(part: str, label: str, formula: str, by: str) -> Callable[[F], F]:
    sem = f"Standard error of measurement, {formula}."
    mdc = f"Minimal detectable change, 1.96·√2 times {formula}."
    named = ("SEM", f"sem_{part}", sem), ("MDC95", f"mdc95_{part}", mdc)
    return _cards([(f"{name}·{label}", field, "lower", says) for name, field, says in named], by, "raters")


@_sem_cards("agreement", "agreement", "√((MSC − MSE)/n + MSE)", "de Vet 2006, J Clin Epidemiol 59")
@_sem_cards("consistency", "consistency", "√MSE", "Weir 2005, J Strength Cond Res")
@_sem_cards("icc", "SD√(1−ICC(A,1))", "SD of all values·√(1 − ICC(A,1))", "Weir 2005, J Strength Cond Res")
def measurement_error(values_sr: ArrayLike) -> MeasurementError:
    """SEM and MDC95 of ``values_sr`` (subjects × raters), in the unit of the values.

    SEM_agreement = √((MSC − MSE)/n + MSE) (MSC < MSE is not cut off at zero), SEM_consistency = √MSE,
    MDC95 = 1.96·√2·SEM. NaN below 2 subjects.

    >>> error = measurement_error([[1, 2], [3, 4], [5, 7]])
    >>> round(error.sem_agreement, 4), round(error.sem_consistency, 4)
    (1.0, 0.4082)
    """
    table = _two_way(values_sr)
    value = icc(values_sr).value
    agreement = float(np.sqrt((table.msc - table.mse) / table.n + table.mse))
    consistency = float(np.sqrt(table.mse))
    by_icc = float(table.sd) * math.sqrt(max(1 - value, 0.0))
    mdc = 1.96 * math.sqrt(2)
    mdcs = mdc * agreement, mdc * consistency, mdc * by_icc
    return MeasurementError(agreement, consistency, by_icc, *mdcs, table.n, table.k, table.dropped)


@dataclass(frozen=True)
class Limits:
    """Bias and limits of agreement, predicted − reference, in the unit of the values.

    >>> bland_altman([1, 3, 5], [1, 2, 3]).pairs
    3

    Attributes
    ----------
    bias, bias_low, bias_high : the mean difference and its confidence interval
    sd : of a single difference
    lower, lower_low, lower_high : the lower limit, bias − z·sd, and its interval
    upper, upper_low, upper_high : the upper limit, bias + z·sd, and its interval
    subjects : how many went in
    pairs : how many pairs went in (single values of both methods where the replicates are not paired)
    dropped : how many were left out
    """

    bias: float
    bias_low: float
    bias_high: float
    sd: float
    lower: float
    lower_low: float
    lower_high: float
    upper: float
    upper_low: float
    upper_high: float
    subjects: int
    pairs: int
    dropped: int


Counts = tuple[int, int, int]  # subjects, pairs, dropped


def _limits(bias: float, half: float, sd: float, z: float, inner: float, outer: float, n: Counts) -> Limits:
    """Limits bias ± z·sd; their intervals reach ``inner`` towards the bias and ``outer`` away from it."""
    low, up = bias - z * sd, bias + z * sd
    lower, upper = (low, low - outer, low + inner), (up, up - inner, up + outer)
    return Limits(bias, bias - half, bias + half, sd, *lower, *upper, *n)


def _quantiles(coverage: float, confidence: float) -> tuple[float, float]:
    """The z of the limits, and the probability below the upper end of an interval."""
    z = float(stats.norm.ppf(0.5 + share("coverage", coverage) / 2))
    return z, 0.5 + share("confidence", confidence) / 2


def _pairs(predicted: ArrayLike, reference: ArrayLike) -> list[FloatArray]:
    return alike(predicted=floats("predicted", predicted, ndim=1), reference=reference)


def _limits_cards(design: str, reference: str, *needs: str) -> Callable[[F], F]:
    rows: list[tuple[str, str, Direction, str]] = [
        ("bias", "bias", "zero", "Mean difference, predicted − reference"),
        ("SD", "sd", "lower", "Standard deviation of a single difference, predicted − reference"),
        ("lower limit", "lower", "zero", "Lower 95 % limit of agreement, bias − 1.96 SD"),
        ("upper limit", "upper", "zero", "Upper 95 % limit of agreement, bias + 1.96 SD"),
    ]
    named = [(f"Bland–Altman {r[0]}·{design}", r[1], r[2], f"{r[3]}; {design}.") for r in rows]
    return _cards(named, reference, "reference", *needs)


@_limits_cards("one pair a subject", "Bland & Altman 1986, Lancet; Carkeet 2015, Optom Vis Sci")
def bland_altman(
    predicted_s: ArrayLike, reference_s: ArrayLike, *, coverage: float = 0.95, confidence: float = 0.95
) -> Limits:
    """Limits of agreement of ``predicted_s`` and ``reference_s`` with one pair for each subject.

    Limits: d̄ ± z·s, s with n − 1, z = Φ⁻¹((1 + coverage)/2) = 1.95996 for 95 %. Their intervals are exact,
    each limit for itself (Carkeet 2015): d̄ + s·t/√n with t the quantiles of a noncentral t with n − 1
    degrees of freedom and noncentrality z√n. For several trials a subject see ``bland_altman_varying`` and
    ``bland_altman_constant``. NaN below 2 pairs.

    >>> limits = bland_altman([1, 3, 5, 4], [1, 2, 3, 3])
    >>> limits.bias, round(limits.upper, 3), round(limits.upper_high, 3)
    (1.0, 2.6, 7.295)
    """
    z, tail = _quantiles(coverage, confidence)
    predicted, reference = _pairs(predicted_s, reference_s)
    given = predicted - reference
    difference = given[~np.isnan(given)]
    n = len(difference)
    counts = (n, n, len(given) - n)
    if n < 2:
        return _limits(NAN, NAN, NAN, NAN, NAN, NAN, counts)
    sd, root = float(difference.std(ddof=1)), math.sqrt(n)
    half = float(stats.t.ppf(tail, n - 1)) * sd / root
    near, far = (float(stats.nct.ppf(q, n - 1, z * root)) * sd / root for q in (1 - tail, tail))
    return _limits(float(difference.mean()), half, sd, z, z * sd - near, far - z * sd, counts)


class _Groups(NamedTuple):
    """Values by subject: how many, their mean, and the sum of squares about those means."""

    size: FloatArray
    mean: FloatArray
    within: float


def _by_subject(values: FloatArray, names: NDArray[np.str_]) -> _Groups:
    _, which = np.unique(names, return_inverse=True)
    size = np.bincount(which).astype(np.float64)
    mean = np.bincount(which, weights=values) / size
    return _Groups(size, mean, float(((values - mean[which]) ** 2).sum()))


def _names(subjects: Sequence[str], length: int) -> NDArray[np.str_]:
    if len(subjects) != length:
        raise MetricError(f"Expected {length} subjects, one for each value, got {len(subjects)}.")
    return np.asarray([str(s) for s in subjects], dtype=np.str_)


def _recovered(
    bias: float, bias_se: float, parts: Sequence[tuple[float, int]], z: float, tail: float, counts: Counts
) -> Limits:
    """Limits whose variance is the sum of ``parts`` (estimate, degrees of freedom), with intervals by MOVER.

    Zou 2013: the interval of a sum is recovered from those of its parts; ours takes t for the bias.
    """
    variance = sum(part for part, _ in parts)
    down = sum((part * (1 - df / float(stats.chi2.ppf(tail, df)))) ** 2 for part, df in parts)
    up = sum((part * (df / float(stats.chi2.ppf(1 - tail, df)) - 1)) ** 2 for part, df in parts)
    sd = math.sqrt(variance)
    less = z * (sd - math.sqrt(max(0.0, variance - math.sqrt(down))))
    more = z * (math.sqrt(variance + math.sqrt(up)) - sd)
    half = float(stats.t.ppf(tail, counts[0] - 1)) * bias_se
    return _limits(bias, half, sd, z, math.hypot(half, less), math.hypot(half, more), counts)


@_limits_cards("several pairs a subject, true value varies", ZOU, "subjects")
def bland_altman_varying(
    predicted_p: ArrayLike,
    reference_p: ArrayLike,
    subjects: Sequence[str],
    *,
    coverage: float = 0.95,
    confidence: float = 0.95,
) -> Limits:
    """Limits of agreement with several pairs a subject, the true value differing from pair to pair.

    One-way ANOVA of the differences by subject (n subjects, mᵢ pairs, N in all): variance of a single
    difference = MSB/m₀ + (1 − 1/m₀)·MSW with m₀ = (N − Σmᵢ²/N)/(n − 1). Bias: the mean of all pairs; its
    standard error takes subjects as the unit, √(n/(n−1)·Σmᵢ²(d̄ᵢ − d̄)²)/N. Intervals: MOVER, approximate.
    NaN below 2 subjects.

    >>> limits = bland_altman_varying([1, 2, 3, 5], [1, 1, 1, 4], ["ann", "ann", "bob", "bob"])
    >>> limits.bias, limits.sd, limits.subjects
    (1.0, 0.8660254037844386, 2)
    """
    z, tail = _quantiles(coverage, confidence)
    predicted, reference = _pairs(predicted_p, reference_p)
    given, names = predicted - reference, _names(subjects, len(predicted))
    keep = ~np.isnan(given)
    difference = given[keep]
    group = _by_subject(difference, names[keep])
    n, total = len(group.size), len(difference)
    counts = (n, total, len(given) - total)
    if n < 2:
        return _limits(NAN, NAN, NAN, NAN, NAN, NAN, counts)
    bias = float(difference.mean())
    off = group.size * (group.mean - bias)
    divisor = (total - float((group.size**2).sum()) / total) / (n - 1)
    between = float((off**2 / group.size).sum()) / (n - 1)
    parts = [(between / divisor, n - 1)]
    if total > n:
        parts.append(((1 - 1 / divisor) * group.within / (total - n), total - n))
    bias_se = math.sqrt(n / (n - 1) * float((off**2).sum())) / total
    return _recovered(bias, bias_se, parts, z, tail, counts)


@_limits_cards("several values a subject, true value constant", ZOU, "subjects")
def bland_altman_constant(
    predicted_p: ArrayLike,
    reference_p: ArrayLike,
    subjects: Sequence[str],
    *,
    coverage: float = 0.95,
    confidence: float = 0.95,
) -> Limits:
    """Limits of agreement with several values a subject, the subject's true value being constant.

    The values of the two methods are not paired: only the subject counts, and NaN fills up where one method
    has fewer. A subject that lacks a method is left out. Variance of a single difference = var(d̄ᵢ)
    + (1 − mean 1/mᵢ)·s²_within for each method, d̄ᵢ the difference of subject i's means. Bias: the mean of d̄ᵢ,
    each subject once (Bland & Altman 2007 print the mean of all pairs instead). Intervals: MOVER,
    approximate. NaN below 2 subjects.

    >>> nan = float("nan")
    >>> limits = bland_altman_constant([1, 3, 4, 6], [1, 1, 2, nan], ["ann", "ann", "bob", "bob"])
    >>> limits.bias, limits.pairs, limits.dropped
    (2.0, 7, 1)
    """
    z, tail = _quantiles(coverage, confidence)
    both = _pairs(predicted_p, reference_p)
    names = _names(subjects, len(both[0]))
    there = [~np.isnan(values) for values in both]
    usable = np.intersect1d(names[there[0]], names[there[1]])
    keep = [t & np.isin(names, usable) for t in there]
    groups = [_by_subject(values[k], names[k]) for values, k in zip(both, keep, strict=True)]
    n, used = len(usable), int(sum(k.sum() for k in keep))
    counts = (n, used, 2 * len(names) - used)
    if n < 2:
        return _limits(NAN, NAN, NAN, NAN, NAN, NAN, counts)
    difference = groups[0].mean - groups[1].mean
    variance = float(difference.var(ddof=1))
    parts = [(variance, n - 1)]
    for group in groups:
        df = int(group.size.sum()) - n
        if df > 0:
            parts.append((float(1 - (1 / group.size).mean()) * group.within / df, df))
    return _recovered(float(difference.mean()), math.sqrt(variance / n), parts, z, tail, counts)


@dataclass(frozen=True)
class Concordance:
    """Lin's concordance correlation and what it is made of.

    >>> concordance([1, 2, 3], [1, 2, 4]).n
    3

    Attributes
    ----------
    value, low, high : the coefficient and its confidence interval
    pearson : the correlation, how near the points lie to a line
    bias_correction : value / pearson, how near that line is to the diagonal
    n, dropped : pairs that went in, pairs left out
    """

    value: float
    low: float
    high: float
    pearson: float
    bias_correction: float
    n: int
    dropped: int


@metric(
    "CCC",
    unit="1",
    direction="higher",
    definition="Lin's concordance correlation coefficient, with variances over n.",
    reference="Lin 1989, Biometrics 45(1); corrected 2000, Biometrics 56(1)",
    merge="samples",
    part="value",
)
def concordance(predicted_s: ArrayLike, reference_s: ArrayLike, *, confidence: float = 0.95) -> Concordance:
    """Lin's CCC = 2·s_xy / (s_x² + s_y² + (x̄ − ȳ)²), variances over n.

    Interval: Fisher's z (Lin 1989, 2000). NaN below 2 pairs or where neither method varies nor differs;
    the interval is NaN below 3 pairs, where a method doesn't vary and where all points lie on the diagonal.

    >>> round(concordance([1, 2, 3], [2, 3, 4]).value, 4)
    0.5714
    """
    tail = 0.5 + share("confidence", confidence) / 2
    predicted, reference = alike(
        predicted_s=floats("predicted_s", predicted_s, ndim=1), reference_s=reference_s
    )
    keep = ~np.isnan(predicted - reference)
    x, y = predicted[keep], reference[keep]
    n, dropped = len(x), len(keep) - len(x)
    if n < 2:
        return Concordance(NAN, NAN, NAN, NAN, NAN, n, dropped)
    shift, sx, sy = x.mean() - y.mean(), x.std(), y.std()
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 2 * covariance / (sx**2 + sy**2 + shift**2)
        pearson = covariance / (sx * sy)
        correction = 2 * sx * sy / (sx**2 + sy**2 + shift**2)
        u2 = shift**2 / (sx * sy)
        rest = 1 - value**2
        variance = (
            (1 - pearson**2) * correction**2 / rest
            + 2 * value**2 * correction * (1 - value) * u2 / rest**2
            - value**2 * correction**2 * u2**2 / (2 * rest**2)
        ) / (n - 2 if n > 2 else NAN)
        half = stats.norm.ppf(tail) * np.sqrt(variance)
        low, high = np.tanh(np.arctanh(value) - half), np.tanh(np.arctanh(value) + half)
    return Concordance(float(value), float(low), float(high), float(pearson), float(correction), n, dropped)
