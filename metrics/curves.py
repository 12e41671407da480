"""Where along a waveform do two conditions differ: permutation tests over whole curves, subjects as the unit.

Non-parametric statistical parametric mapping (Nichols & Holmes 2002; Pataky 2015 for biomechanics): a t at
every instant, and one threshold that the largest |t| of the curve exceeds by chance with probability alpha.
Every subject gives one curve; several trials are averaged first, by ``subject_curves``.

>>> gap = [[0.0, 2.0], [1.0, 3.0], [-1.0, 2.5], [0.5, 3.5], [-0.5, 3.0], [0.0, 2.5]]
>>> test = one_sample_curves(gap, ["ann", "bob", "cat", "dan", "eve", "fay"])
>>> test.p_global, [(c.start, c.stop) for c in test.clusters]
(0.03125, [(1, 2)])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import BoolArray, FloatArray, IntArray, MetricError, floats, positive, share, whole
from metrics.bootstrap import BLOCK, blocks, exact_terms
from metrics.catalogue import metric
from metrics.inference import flips_are_exact, sign_flips

NAN = math.nan
TIE = 1e-12  #: cosines (see ``_test``) that differ by less are ties; so small a share of the input is noise


class SubjectCurves(NamedTuple):
    """One curve a subject.

    >>> subject_curves([[1.0, 2.0], [3.0, 4.0]], ["ann", "ann"]).trials.tolist()
    [2]

    Attributes
    ----------
    subjects : names, sorted
    curves_st : the mean curve of each
    trials : how many trials each gave
    """

    subjects: tuple[str, ...]
    curves_st: FloatArray
    trials: IntArray


def subject_curves(curves_kt: ArrayLike, subjects: Sequence[str]) -> SubjectCurves:
    """The mean curve of each subject; an instant that a trial misses is the mean of the others.

    >>> subject_curves([[1.0, 2.0], [9.0, 9.0], [3.0, 4.0]], ["bob", "ann", "bob"]).curves_st.tolist()
    [[9.0, 9.0], [2.0, 3.0]]
    """
    curves = _curves("curves_kt", curves_kt, subjects)
    names, which, trials = np.unique([str(s) for s in subjects], return_inverse=True, return_counts=True)
    there = ~np.isnan(curves)
    sums, counts = np.zeros((2, len(names), curves.shape[1]))
    np.add.at(sums, which, np.where(there, curves, 0.0))
    np.add.at(counts, which, there)
    means = np.divide(sums, counts, out=np.full_like(sums, NAN), where=counts > 0)
    return SubjectCurves(tuple(names.tolist()), means, trials.astype(np.int64))


def _curves(name: str, curves_st: ArrayLike, subjects: Sequence[str]) -> FloatArray:
    curves = floats(name, curves_st, ndim=2)
    if len(curves) != len(subjects) or curves.shape[1] == 0:
        raise MetricError(
            f"Expected {name} with one curve for each of {len(subjects)} subjects, got shape {curves.shape}."
        )
    return curves


@dataclass(frozen=True)
class Cluster:
    """Neighbouring instants where the curve exceeds the threshold on one side.

    >>> Cluster(3, 5, 4.0, 7.5, 0.01).stop
    5

    Attributes
    ----------
    start, stop : first instant and the one after the last
    peak : the t that is farthest from 0
    mass : the sum of |t|
    p : corrected for the whole curve: of the peak, or of the mass where a forming threshold was given
    """

    start: int
    stop: int
    peak: float
    mass: float
    p: float


@dataclass(frozen=True)
class CurveTest:
    """What a permutation test over curves found.

    >>> one_sample_curves([[1.0], [2.0], [3.0]], ["a", "b", "c"]).permutations
    4

    Attributes
    ----------
    t_t : t at every instant; NaN where no subject differs from 0 (for two samples: from the others)
    threshold : the |t| that the largest of a curve exceeds by chance with probability alpha at most
    p_global : of the largest |t|
    clusters : where |t| exceeds the threshold, or the forming threshold if given, in order of time
    subjects : how many went in
    dropped : the subjects left out because their curve has gaps
    permutations : how many were gone through, the data themselves being one
    exact : whether these are all there are
    """

    t_t: FloatArray
    threshold: float
    p_global: float
    clusters: tuple[Cluster, ...]
    subjects: int
    dropped: tuple[str, ...]
    permutations: int
    exact: bool


def swaps_are_exact(first: int, total: int, permutations: int) -> bool:
    """Whether ``permutations`` suffice for every choice of ``first`` out of ``total``.

    >>> swaps_are_exact(2, 4, 6), swaps_are_exact(2, 4, 5)
    (True, False)
    """
    whole("first", first, 1)
    return math.comb(whole("total", total, first), first) <= whole("permutations", permutations, 1)


def label_swaps(first: int, total: int, *, permutations: int = 10_000, seed: int = 0) -> Iterator[FloatArray]:
    """Blocks (b, ``total``) of 1 (in the first group) and 0, ``first`` ones a row, the data's own row first.

    All choices if there are few, else random ones.

    >>> [block.tolist() for block in label_swaps(1, 2)]
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    exact = swaps_are_exact(first, total, permutations)
    every = combinations(range(total), first)
    given = (np.arange(total) < first).astype(np.float64)
    count = math.comb(total, first) if exact else permutations
    for start, (size, rng) in zip(range(0, count, BLOCK), blocks(count, seed), strict=True):
        if exact:
            block = np.zeros((size, total))
            chosen = np.array([next(every) for _ in range(size)])
            np.put_along_axis(block, chosen, 1.0, axis=1)
        else:
            block = rng.permuted(np.tile(given, (size, 1)), axis=1)
            if start == 0:
                block[0] = given
        yield block


_card = partial(
    metric,
    unit="1",
    direction="neither",
    reference="Nichols & Holmes 2002, Hum Brain Mapp 15(1); Pataky 2015, J Biomech 48(7)",
    merge="samples",
    part="p_global",
)


@_card(
    "max-t p·one-sample curves",
    definition="p of the largest |t| of curves that should be 0, under sign flips of whole subjects.",
    needs=("subjects",),
)
def one_sample_curves(
    curves_st: ArrayLike,
    subjects: Sequence[str],
    *,
    alpha: float = 0.05,
    forming: float | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> CurveTest:
    """Do curves (subjects × time) differ from 0 anywhere: max-t under sign flips, one curve a subject.

    Exact if 2^(subjects−1) ≤ ``permutations``, else over that many random flips, the first being none. With
    ``forming``, clusters are where |t| exceeds it and their p is that of their mass. A curve with gaps is
    left out and named. NaN below 2 subjects.

    >>> one_sample_curves([[0.0, 1.0], [0.5, 2.0], [-0.5, 3.0]], ["ann", "bob", "cat"]).t_t.round(3).tolist()
    [0.0, 3.464]
    """
    curves = _curves("curves_st", curves_st, subjects)
    return _flipped(curves, np.abs(curves), subjects, alpha, forming, permutations, seed)


@_card(
    "max-t p·paired curves",
    definition="p of the largest |t| of paired differences of curves, under sign flips of whole subjects.",
    needs=("reference", "subjects"),
)
def paired_curves(
    predicted_st: ArrayLike,
    reference_st: ArrayLike,
    subjects: Sequence[str],
    *,
    alpha: float = 0.05,
    forming: float | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> CurveTest:
    """Do predicted and reference curves differ anywhere: ``one_sample_curves`` of predicted − reference.

    >>> predicted, reference = [[0.0, 1.0], [0.5, 2.0], [-0.5, 3.0]], np.zeros((3, 2))
    >>> paired_curves(predicted, reference, ["ann", "bob", "cat"]).p_global
    0.25
    """
    predicted = _curves("predicted_st", predicted_st, subjects)
    reference = _curves("reference_st", reference_st, subjects)
    if predicted.shape != reference.shape:
        raise MetricError(f"Expected curves of one shape, got {predicted.shape} and {reference.shape}.")
    size = np.abs(predicted) + np.abs(reference)
    return _flipped(predicted - reference, size, subjects, alpha, forming, permutations, seed)


@_card(
    "max-t p·two-sample curves",
    definition="p of the largest pooled |t| between the curves of two groups, under swaps of group labels.",
    needs=("groups", "subjects"),
)
def two_sample_curves(
    first_st: ArrayLike,
    first_subjects: Sequence[str],
    second_st: ArrayLike,
    second_subjects: Sequence[str],
    *,
    alpha: float = 0.05,
    forming: float | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> CurveTest:
    """Do the curves of two groups differ anywhere: max-t of the pooled t, first − second, under label swaps.

    Exact if there are at most ``permutations`` ways to choose the first group. The groups are taken to spread
    alike. NaN below 3 subjects in all and without one in each group. Else as ``one_sample_curves``.

    >>> test = two_sample_curves([[1.0], [2.0]], ["ann", "bob"], [[4.0], [5.0], [6.0]], ["cat", "dan", "eve"])
    >>> test.p_global, test.permutations
    (0.1, 10)
    """
    first_curves = _curves("first_st", first_st, first_subjects)
    second_curves = _curves("second_st", second_st, second_subjects)
    if first_curves.shape[1] != second_curves.shape[1]:
        raise MetricError(
            f"Expected curves of one length, got shapes {first_curves.shape} and {second_curves.shape}."
        )
    both = np.concatenate([first_curves, second_curves])
    kept, dropped = _one_each(both, [*first_subjects, *second_subjects])
    n, first = int(kept.sum()), int(kept[: len(first_curves)].sum())
    if n < 3 or first in (0, n):
        return _undefined(both.shape[1], n, dropped)
    curves = both[kept]
    unit = _unit(curves - curves.mean(axis=0), np.abs(curves))
    swaps = label_swaps(first, n, permutations=permutations, seed=seed)
    # The values are centred, so the first group's sum says all: mean difference = sum·n/(first·second).
    scale = math.sqrt(n / (first * (n - first)))
    data = _Data(unit, n - 2, dropped, swaps_are_exact(first, n, permutations))
    return _test(data, (scale * (block @ unit) for block in swaps), alpha, forming)


def _flipped(
    values_st: FloatArray,
    size_st: FloatArray,
    subjects: Sequence[str],
    alpha: float,
    forming: float | None,
    permutations: int,
    seed: int,
) -> CurveTest:
    kept, dropped = _one_each(values_st, subjects)
    n = int(kept.sum())
    if n < 2:
        return _undefined(values_st.shape[1], n, dropped)
    unit = _unit(values_st[kept], size_st[kept])
    flips = sign_flips(n, permutations=permutations, seed=seed)
    data = _Data(unit, n - 1, dropped, flips_are_exact(n, permutations))
    return _test(data, (block @ unit / math.sqrt(n) for block in flips), alpha, forming)


def _one_each(curves_st: FloatArray, subjects: Sequence[str]) -> tuple[BoolArray, tuple[str, ...]]:
    """Which curves have no gaps, and whose do; refuses several curves of one subject."""
    names, counts = np.unique([str(s) for s in subjects], return_counts=True)
    if (counts > 1).any():
        raise MetricError(
            f"Expected one curve for each subject, got several for {', '.join(names[counts > 1])}:"
            " average trials first (subject_curves)."
        )
    gaps = np.asarray(np.isnan(curves_st).any(axis=1))
    return ~gaps, tuple(str(subject) for subject, gap in zip(subjects, gaps, strict=True) if gap)


def _undefined(instants: int, subjects: int, dropped: tuple[str, ...]) -> CurveTest:
    return CurveTest(np.full(instants, NAN), NAN, NAN, (), subjects, dropped, 0, False)


class _Data(NamedTuple):
    """Columns of length 1 (or 0), their degrees of freedom, and what the result says besides."""

    unit_st: FloatArray
    df: int
    dropped: tuple[str, ...]
    exact: bool


def _unit(values_st: FloatArray, size_st: FloatArray) -> FloatArray:
    """Columns of length 1, rounded so that their sums are exact; 0 where only rounding noise is left."""
    length = np.sqrt((values_st**2).sum(axis=0))
    there = length > TIE * size_st.max(axis=0)
    unit = np.divide(values_st, length, out=np.zeros_like(values_st), where=there)
    return exact_terms(unit.T, len(unit)).T


def _t(cosine: FloatArray, df: int) -> FloatArray:
    """t of a cosine; |t| stays below 1e6·√df, beyond which the spread within subjects is rounding noise."""
    return np.asarray(math.sqrt(df) * cosine / np.sqrt(np.maximum(1 - cosine**2, 1e-12)))


def _test(data: _Data, cosines: Iterator[FloatArray], alpha: float, forming: float | None) -> CurveTest:
    """The test, from blocks of cosines (permutations × time) whose first row is that of the data.

    Permuting leaves the sum of squares at an instant as it is, so that t = √df·c/√(1 − c²) rises with the
    cosine c of the angle between the values and the contrast: the largest c of a curve is its largest t.
    """
    share("alpha", alpha)
    if forming is not None:
        positive("forming", forming)
    peaks: list[FloatArray] = []
    masses: list[FloatArray] = []
    observed = np.zeros(0)
    for block in cosines:
        observed = observed if peaks else block[0]
        peaks.append(np.abs(block).max(axis=1))
        if forming is not None:
            masses.append(_heaviest(_t(block, data.df), forming))
    peak = np.sort(np.concatenate(peaks))
    total = len(peak)
    # At most alpha of the permutations may lie above the threshold; 1e-9 is for an alpha·total like 2.9999….
    critical = peak[total - 1 - math.floor(alpha * total + 1e-9)]
    t = _t(observed, data.df)

    def of_peak(cosine: float) -> float:
        return float((peak >= abs(cosine) - TIE).sum() / total)

    clusters = []
    for side in (1, -1):
        above = side * t > forming if forming is not None else side * observed > critical + TIE
        for start, stop in _runs(above):
            at = start + int(np.abs(t[start:stop]).argmax())
            mass = float(np.abs(t[start:stop]).sum())
            p = of_peak(observed[at])
            if forming is not None:
                p = float((np.concatenate(masses) >= mass * (1 - 1e-9)).sum() / total)
            clusters.append(Cluster(start, stop, float(t[at]), mass, p))
    return CurveTest(
        t_t=np.where(data.unit_st.any(axis=0), t, NAN),
        threshold=float(_t(critical, data.df)),
        p_global=of_peak(np.abs(observed).max()),
        clusters=tuple(sorted(clusters, key=lambda cluster: cluster.start)),
        subjects=len(data.unit_st),
        dropped=data.dropped,
        permutations=total,
        exact=data.exact,
    )


def _runs(above_t: BoolArray) -> list[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(above_t.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _heaviest(t_bt: FloatArray, forming: float) -> FloatArray:
    """The mass of the heaviest cluster of each row, on either side; 0 where there is none."""
    heaviest = np.zeros(len(t_bt))
    for side in (t_bt, -t_bt):
        inside = side > forming
        mass = np.cumsum(np.where(inside, side, 0.0), axis=1)
        before = np.maximum.accumulate(np.where(inside, 0.0, mass), axis=1)
        heaviest = np.maximum(heaviest, (mass - before).max(axis=1))
    return heaviest
