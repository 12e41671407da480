"""What corruption, occlusion and repetition do to a score, and for which group of people it is worst.

The scores under corruption come in as they were reported (%, °, mm, …), by the name of the corruption, one
for each severity; what comes out is in the same unit. A score that could not be had is NaN and makes the
mean NaN: put in what a missing answer costs first. A break is not an average, so where the tested range
never reaches it the break point is ∞.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import (
    MM,
    FloatArray,
    IntArray,
    MetricError,
    alike,
    floats,
    mean_present,
    positive,
)
from metrics.catalogue import by_quantity, metric

#: bins of the occluded share of a person
OCCLUSION_EDGES: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Groups(NamedTuple):
    """The error of each group, and how far the best and the worst are apart.

    >>> group_errors([1.0, 3.0], ["f", "m"], min_n=1).worst
    'm'
    """

    names: tuple[str, ...]  #: in alphabetical order
    mean: FloatArray  #: mean error of each group; NaN where it has none
    n: IntArray  #: samples that the mean is over
    missed: IntArray  #: samples without an error
    ranked: tuple[str, ...]  #: the groups of enough samples, the worst first
    worst: str  #: the group of the largest mean among the ranked; "" where none is
    worst_error: float  #: its mean
    gap: float  #: largest minus smallest mean of the ranked groups; NaN with fewer than two


class Bins(NamedTuple):
    """The error in each bin of an attribute.

    >>> binned_error([2.0], [0.1], edges=[0.0, 0.5, 1.0]).mean
    array([ 2., nan])
    """

    mean: FloatArray  #: mean error of each bin; NaN where it has none
    n: IntArray  #: samples that the mean is over
    missed: IntArray  #: samples in the bin without an error
    unbinned: int  #: samples outside the edges or without the attribute


class OcclusionMap(NamedTuple):
    """What a patch does wherever it goes.

    >>> occlusion_sensitivity([[[0.02, 0.05]]], [0.02], threshold=0.01).area
    50.0
    """

    highest: float  #: mm, mean over samples of the largest rise of the error
    mean: float  #: mm, mean rise over all positions
    area: float  #: % of positions at which the error rises above the threshold


@metric(
    "mPC",
    unit="%",
    direction="higher",
    definition="Performance (AP, …) under corruption: mean over corruptions of the mean over severities.",
    reference="Michaelis 2019; Wang 2021, CVPR (AdvMix)",
    needs=("corruptions",),
)
@metric(
    "mEC",
    unit="as given",
    direction="lower",
    definition="Error under corruption: mean over corruptions of the mean over severities.",
    reference="capbench, the error twin of mPC",
    needs=("corruptions",),
)
def under_corruption(corrupted: Mapping[str, ArrayLike]) -> float:
    """(1/N_c) Σ_c (1/N_s) Σ_s P_cs; ``corrupted`` holds the scores of each corruption's severities.

    >>> under_corruption({"fog": [60.0, 50.0], "blur": [40.0]})
    47.5
    """
    return float(np.mean([scores.mean() for scores in _by_severity("corrupted", corrupted).values()]))


@metric(
    "rPC",
    unit="%",
    direction="higher",
    definition="mPC in % of the clean performance.",
    reference="Michaelis 2019; Wang 2021, CVPR (AdvMix)",
    needs=("corruptions",),
)
@metric(
    "rEC",
    unit="%",
    direction="lower",
    definition="mEC in % of the clean error: 100 is unharmed.",
    reference="capbench, the error twin of rPC",
    needs=("corruptions",),
)
def relative_under_corruption(corrupted: Mapping[str, ArrayLike], clean: float) -> float:
    """100 · ``under_corruption`` / clean; NaN where the clean score is 0.

    >>> relative_under_corruption({"fog": [60.0, 50.0], "blur": [40.0]}, 95.0)
    50.0
    """
    return 100.0 * under_corruption(corrupted) / clean if clean != 0 else np.nan


@metric(
    "mCE",
    unit="%",
    direction="lower",
    definition="Mean over corruptions of the error summed over severities, in % of the baseline's.",
    reference="Hendrycks 2019, ICLR",
    needs=("corruptions", "baseline"),
)
def mean_corruption_error(corrupted: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike]) -> float:
    """100 · (1/N_c) Σ_c (Σ_s E_cs / Σ_s B_cs); the baseline has the same corruptions and severities.

    >>> mean_corruption_error({"fog": [2.0, 4.0], "blur": [3.0]}, {"blur": [6.0], "fog": [4.0, 8.0]})
    50.0
    """
    own, base = _by_severity("corrupted", corrupted), _by_severity("baseline", baseline)
    sizes, base_sizes = ({name: e.size for name, e in sorted(by.items())} for by in (own, base))
    if sizes != base_sizes:
        raise MetricError(f"Expected a baseline with the severities {sizes}, got {base_sizes}.")
    totals = np.array([(errors.sum(), base[name].sum()) for name, errors in own.items()])
    if (totals[:, 1] == 0).any():
        return np.nan
    return float(100.0 * np.mean(totals[:, 0] / totals[:, 1]))


@metric(
    "severity slope",
    unit="as the scores, per step",
    direction="zero",
    definition="Slope of the least-squares line of the score over severity (or noise level, or angle, …).",
    reference="capbench",
    needs=("corruptions",),
)
def severity_slope(severity_s: ArrayLike, score_s: ArrayLike) -> float:
    """Σ (s − s̄)(E − Ē) / Σ (s − s̄)² over the severities that have a score; NaN with fewer than two.

    Give the clean score as severity 0 if the line is to heed it.

    >>> severity_slope([0, 1, 2], [4.0, 5.0, 9.0])
    2.5
    """
    severity, score = alike(severity=severity_s, score=score_s)
    there = ~(np.isnan(severity) | np.isnan(score))
    severity, score = severity[there], score[there]
    if severity.size == 0 or severity.min() == severity.max():
        return np.nan
    step = severity - severity.mean()
    return float((step * score).sum() / (step**2).sum())  # Σ step = 0, so Ē drops out


@metric(
    "break point·1.5×error",
    unit="severity",
    direction="higher",
    definition="Severity at which the error first exceeds 1.5 times the clean error, by linear "
    "interpolation; infinite where it never does within the tested range.",
    reference="capbench",
    needs=("corruptions",),
    factor=1.5,
)
@metric(
    "break point·50%·performance",
    unit="severity",
    direction="higher",
    definition="Severity at which the performance first falls below half of the clean one, by linear "
    "interpolation; infinite where it never does within the tested range.",
    reference="capbench",
    needs=("corruptions",),
    factor=0.5,
)
def break_point(severity_s: ArrayLike, score_s: ArrayLike, *, clean: float, factor: float) -> float:
    """First severity at which the score passes ``factor`` × clean, on straight lines between those tested.

    Never passed gives ∞, not NaN: the break is known to lie beyond the range, which ranks above every break
    within it (and leaves medians right). A score that is missing before the break gives NaN, since the break
    may hide there; so does a clean score that is not above 0, and no severity at all.

    Parameters
    ----------
    severity_s : strictly increasing, above 0; the clean score stands at 0
    score_s : of each severity
    clean : score without corruption
    factor : above 1 for an error, which breaks upward; below 1 for a performance, which breaks downward

    >>> break_point([1, 2, 3], [4.0, 5.0, 7.0], clean=4.0, factor=1.5)
    2.5
    """
    severity, score = alike(severity=severity_s, score=score_s)
    if severity.ndim != 1 or not (np.diff(severity, prepend=0.0) > 0).all():
        raise MetricError("Expected severities in one strictly increasing row, all above 0.")
    upward = np.sign(positive("factor", factor) - 1)
    if upward == 0:
        raise MetricError("Expected a factor above 1 (error) or below 1 (performance), got 1.")
    if not clean > 0 or severity.size == 0:
        return np.nan
    at = np.concatenate([[0.0], severity])
    past = upward * (np.concatenate([[clean], score]) - factor * clean)  # how far past the limit
    stop = np.isnan(past) | (past > 0)
    if not stop.any():
        return np.inf
    k = int(stop.argmax())
    return float(at[k - 1] + (at[k] - at[k - 1]) * past[k - 1] / (past[k - 1] - past[k]))


@metric(
    "worst group",
    unit="as given",
    direction="lower",
    definition="Largest mean error of any group of at least 20 samples.",
    reference="Sagawa 2020, ICLR",
    needs=("reference", "groups"),
    merge="samples",
    part="worst_error",
    min_n=20,
)
@metric(
    "group gap",
    unit="as given",
    direction="lower",
    definition="Largest minus smallest mean error of the groups of at least 20 samples.",
    reference="capbench",
    needs=("reference", "groups"),
    merge="samples",
    part="gap",
    min_n=20,
)
def group_errors(
    error_n: ArrayLike, group_n: Sequence[object], *, min_n: int = 20, miss_cost: float = np.nan
) -> Groups:
    """Mean error of each group, the worst of them and the gap; small groups are reported but not ranked.

    Parameters
    ----------
    error_n : error of each sample, NaN for a miss
    group_n : label of each sample, taken as text
    min_n : samples with an error that a group needs to be ranked
    miss_cost : error that a miss counts with; by default it is counted in ``missed`` alone, which makes a
        group that is often missed look better than it is

    >>> group_errors([1.0, 2.0, 6.0, 9.0], ["a", "a", "b", "c"], min_n=1).gap
    7.5
    """
    error = floats("error", error_n, ndim=1)
    if len(group_n) != error.size:
        raise MetricError(f"Expected a group for each of {error.size} errors, got {len(group_n)}.")
    if min_n < 1:
        raise MetricError(f"Expected min_n of 1 or more, got {min_n}.")
    labels, place = np.unique(np.array([str(g) for g in group_n], dtype=str), return_inverse=True)
    mean, count, missed = _binned(error, place, labels.size, miss_cost)
    names = tuple(labels.tolist())
    enough = [k for k in range(labels.size) if count[k] >= min_n]
    order = sorted(enough, key=lambda k: -mean[k])  # stable: of equals the first by name
    return Groups(
        names=names,
        mean=mean,
        n=count,
        missed=missed,
        ranked=tuple(names[k] for k in order),
        worst=names[order[0]] if order else "",
        worst_error=float(mean[order[0]]) if order else np.nan,
        gap=float(mean[order[0]] - mean[order[-1]]) if len(order) > 1 else np.nan,
    )


@metric(
    "occlusion-binned error",
    unit="as given",
    direction="lower",
    definition="Mean error where 0–20, 20–40, 40–60, 60–80 and 80–100 % of the person are occluded.",
    reference="Patel 2021, CVPR (AGORA), with other bins",
    needs=("reference", "groups"),
    merge="samples",
    part="mean",
    edges=OCCLUSION_EDGES,
)
def binned_error(
    error_n: ArrayLike, attribute_n: ArrayLike, *, edges: Sequence[float], miss_cost: float = np.nan
) -> Bins:
    """Mean error in each bin [edge, next edge) of an attribute; the last bin holds its upper edge too.

    Parameters
    ----------
    error_n, attribute_n : error (NaN for a miss) and attribute of each sample, of one shape
    edges : strictly increasing, two or more
    miss_cost : error that a miss counts with; by default it is counted in ``missed`` alone

    >>> binned_error([2.0, 4.0, 9.0], [0.1, 0.3, 0.5], edges=[0.0, 0.5, 1.0]).mean
    array([3., 9.])
    """
    error, attribute = alike(error=error_n, attribute=attribute_n)
    bounds = floats("edges", edges, ndim=1)
    if bounds.size < 2 or not (np.diff(bounds) > 0).all():
        raise MetricError(f"Expected two or more strictly increasing edges, got {list(edges)}.")
    place = np.searchsorted(bounds, attribute.ravel(), side="right") - 1
    place[attribute.ravel() == bounds[-1]] -= 1
    inside = (place >= 0) & (place < bounds.size - 1)  # a missing attribute is sorted behind the last edge
    mean, count, missed = _binned(error.ravel()[inside], place[inside], bounds.size - 1, miss_cost)
    return Bins(mean, count, missed, int(np.count_nonzero(~inside)))


@metric(
    "AdvOcc@40",
    unit="mm",
    direction="lower",
    definition="Mean over samples of the largest error over all positions of a patch of 40 px.",
    reference="Zhang 2023, ICCV (3DNBF)",
    needs=("reference", "corruptions"),
    merge="sums",
)
@metric(
    "AdvOcc@80",
    unit="mm",
    direction="lower",
    definition="Mean over samples of the largest error over all positions of a patch of 80 px.",
    reference="Zhang 2023, ICCV (3DNBF)",
    needs=("reference", "corruptions"),
    merge="sums",
)
def adversarial_occlusion(error_nyx: ArrayLike, *, miss_cost: float = np.nan) -> float:
    """Mean over samples of max over y, x of the error (m) with the patch at row y, column x; in mm.

    The size and stride of the patch belong to the input (40 or 80 px on a crop of 224 px, as published). A
    patch that makes the model miss the person is its worst case: without a ``miss_cost`` (m) it gives NaN.

    >>> adversarial_occlusion([[[0.05, 0.09]], [[0.07, 0.01]]])
    80.0
    """
    error = _patches(error_nyx, miss_cost)
    return MM * float(error.max(axis=(-2, -1)).mean()) if error.size else np.nan


@metric(
    "occlusion rise·max",
    unit="mm",
    direction="lower",
    definition="Mean over samples of the largest rise of the error over all positions of a patch.",
    reference="capbench, after Kocabas 2021, ICCV (PARE)",
    needs=("reference", "corruptions"),
    merge="sums",
    part="highest",
)
@metric(
    "occlusion rise·mean",
    unit="mm",
    direction="lower",
    definition="Mean rise of the error over all samples and all positions of a patch.",
    reference="capbench, after Kocabas 2021, ICCV (PARE)",
    needs=("reference", "corruptions"),
    merge="sums",
    part="mean",
)
@metric(
    "occlusion area·rise>10mm",
    unit="%",
    direction="lower",
    definition="Share of patch positions at which the error rises by more than 10 mm.",
    reference="capbench",
    needs=("reference", "corruptions"),
    merge="sums",
    part="area",
    threshold=0.010,
)
def occlusion_sensitivity(
    error_nyx: ArrayLike, clean_n: ArrayLike, *, threshold: float = 0.010, miss_cost: float = np.nan
) -> OcclusionMap:
    """How the error with the patch at row y, column x rises above the clean error; m in, mm out.

    One joint's map gives that joint's sensitivity. Missing errors as in ``adversarial_occlusion``.

    Parameters
    ----------
    error_nyx : error (n, rows, columns) with the patch there, m
    clean_n : error (n,) without a patch, m
    threshold : rise (m) above which a position counts to the area

    >>> occlusion_sensitivity([[[0.25, 0.75]]], [0.25]).mean
    250.0
    """
    error, clean = _patches(error_nyx, miss_cost), floats("clean", clean_n, ndim=1)
    if error.shape[:1] != clean.shape:
        raise MetricError(f"Expected a clean error for each of {len(error)} maps, got {clean.size}.")
    rise = error - clean[:, None, None]
    if rise.size == 0 or np.isnan(rise).any():
        return OcclusionMap(np.nan, np.nan, np.nan)
    highest = rise.max(axis=(-2, -1)).mean()
    return OcclusionMap(
        MM * float(highest), MM * float(rise.mean()), 100.0 * float((rise > threshold).mean())
    )


@by_quantity(
    "repeatability SD",
    direction="lower",
    definition="Within-target standard deviation over repeats (other seed, crop, flip, camera subset), "
    "pooled over targets.",
    reference="Bland 1996, BMJ",
    needs=("raters",),
    merge="sums",
)
def repeatability(values_r: ArrayLike, *, factor: float = 1.0) -> float:
    """√(Σ_targets Σ_repeats (x − x̄_target)² / Σ_targets (repeats − 1)), unit of the values × ``factor``.

    ``values_r`` is (repeats, …): every further index is a target. A target with one repeat says nothing.
    Angles must not wrap between repeats.

    >>> repeatability([[1.0, 5.0], [3.0, 5.0]])
    1.0
    """
    values = floats("values", values_r)
    if values.ndim == 0:
        raise MetricError("Expected values with an axis for the repeats, got a bare number.")
    freedom = (np.count_nonzero(~np.isnan(values), axis=0) - 1).clip(min=0).sum()
    squares = np.nansum((values - mean_present(values, axis=0)) ** 2)
    return factor * float(np.sqrt(squares / freedom)) if freedom > 0 else np.nan


def _by_severity(name: str, scores: Mapping[str, ArrayLike]) -> dict[str, FloatArray]:
    found = {corruption: floats(corruption, values, ndim=1) for corruption, values in scores.items()}
    if not found or not all(values.size for values in found.values()):
        raise MetricError(f"Expected {name} with a score for one severity or more of each corruption.")
    return found


def _binned(
    error: FloatArray, place: IntArray, bins: int, miss_cost: float
) -> tuple[FloatArray, IntArray, IntArray]:
    """Mean error, count and misses of each bin; a miss enters mean and count where it has a cost."""
    missed = np.isnan(error)
    cost = np.where(missed, miss_cost, error)
    there = ~np.isnan(cost)
    count = np.bincount(place[there], minlength=bins)
    total = np.bincount(place[there], cost[there], minlength=bins)
    mean = np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)
    return mean, count, np.bincount(place[missed], minlength=bins)


def _patches(error_nyx: ArrayLike, miss_cost: float) -> FloatArray:
    error = floats("error", error_nyx, ndim=3)
    return np.where(np.isnan(error), miss_cost, error)
