"""Which model is better, how sure is that, and how many subjects would settle it.

Scores come as ``values_ms``, a row for each model and a column for each subject. Every model needs a score
for every subject: what is missing is charged before it comes here, and refused by name if it isn't. Models
are compared within subjects, on the same resamples.

>>> scores = [[3.0, 4.0, 5.0, 4.0, 3.5], [4.0, 5.5, 6.0, 4.5, 4.0]]
>>> table = rank_models(scores, ["a", "b"], ["s1", "s2", "s3", "s4", "s5"])
>>> table.first.tolist()
[1.0, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from metrics.arrays import FloatArray, MetricError, floats, names_of, share, whole
from metrics.bootstrap import Method, blocks, bootstrap_means, complete, exact_terms
from metrics.catalogue import metric

Better = Literal["lower", "higher"]
PAIRS = 256  #: pairs of models whose resamples are in memory at once
MOST_SUBJECTS = 2**30  #: where the search for a number of subjects stops
NAN = math.nan


def holm(p: ArrayLike) -> FloatArray:
    """Holm's adjusted p-values: the i-th smallest of m times m − i + 1, made monotone, at most 1 (Holm 1979).

    A NaN stays NaN and still counts in m: a test that was planned belongs to the family.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    given = floats("p", p, ndim=1)
    if bool(((given < 0) | (given > 1)).any()):
        raise MetricError(f"Expected p between 0 and 1, got {given.tolist()}.")
    order = np.argsort(given)  # NaN last
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def flips_are_exact(subjects: int, permutations: int) -> bool:
    """Whether ``permutations`` suffice for every way to flip signs, 2^(subjects−1) up to the overall sign.

    >>> flips_are_exact(5, 16), flips_are_exact(5, 15)
    (True, False)
    """
    return bool(2 ** (whole("subjects", subjects, 1) - 1) <= whole("permutations", permutations, 1))


def sign_flips(subjects: int, *, permutations: int = 10_000, seed: int = 0) -> Iterator[FloatArray]:
    """Blocks (b, ``subjects``) of +1 and −1, the first row all +1: all flips if few, else random ones.

    A flip and its mirror image are one, for tests with two sides.

    >>> [block.tolist() for block in sign_flips(2)]
    [[[1.0, 1.0], [1.0, -1.0]]]
    """
    exact = flips_are_exact(subjects, permutations)
    start = 0
    for size, rng in blocks(2 ** (subjects - 1) if exact else permutations, seed):
        if exact:
            minus = np.arange(start, start + size)[:, None] >> np.arange(subjects - 1, -1, -1) & 1
        else:
            minus = rng.integers(2, size=(size, subjects))
            if start == 0:
                minus[0] = 0
        start += size
        yield np.asarray(1 - 2 * minus, dtype=np.float64)


@metric(
    "p·sign-flip",
    unit="1",
    direction="neither",
    definition="Two-sided p of the mean paired difference under flips of each subject's sign.",
    reference="Fisher 1935; Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9",
    needs=("reference", "subjects"),
    merge="samples",
)
def sign_flip_p(differences_xs: ArrayLike, *, permutations: int = 10_000, seed: int = 0) -> Any:
    """p of paired differences (subjects last): the share of flips with a mean at least as far from 0.

    Exact if 2^(subjects−1) ≤ ``permutations``, else over ``permutations`` flips, the first none, so p is
    never 0. Means that differ by less than 1e-12 of the mean size are ties. No difference at all: p = 1.

    >>> sign_flip_p([1.0, 2.0, 3.0, 4.0])
    0.125
    """
    differences = floats("differences_xs", differences_xs)
    complete(differences)
    n = differences.shape[-1]
    terms = exact_terms(differences, n)
    least = np.abs(terms.sum(axis=-1)) - 1e-12 * np.abs(terms).sum(axis=-1)
    hits, total = np.zeros(terms.shape[:-1]), 0
    for flips in sign_flips(n, permutations=permutations, seed=seed):
        hits = hits + (np.abs(terms @ flips.T) >= least[..., None]).sum(axis=-1)
        total += len(flips)
    p = hits / total
    return float(p) if p.ndim == 0 else p


def _table(
    values_ms: ArrayLike, models: Sequence[str], subjects: Sequence[str]
) -> tuple[FloatArray, list[str]]:
    values = floats("values_ms", values_ms, ndim=2)
    named = list(names_of("models", models, values.shape[0]))
    complete(values, named, names_of("subjects", subjects, values.shape[1]))
    return values, named


@dataclass(frozen=True)
class Comparison:
    """Two models within subjects: the mean of a − b in the unit of the scores.

    >>> compare_models([[1.0, 2.0], [2.0, 4.0]], ["a", "b"], ["s1", "s2"])[0].difference
    -1.5

    Attributes
    ----------
    a, b : the models
    difference, low, high : mean paired difference a − b and its bootstrap interval
    p, p_holm : of the sign-flip test, and adjusted over all pairs
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def compare_models(
    values_ms: ArrayLike,
    models: Sequence[str],
    subjects: Sequence[str],
    *,
    method: Method = "percentile",
    confidence: float = 0.95,
    resamples: int = 10_000,
    permutations: int = 10_000,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Every pair of models: difference, interval (all on the same resamples), sign-flip p, Holm's p.

    >>> scores = [[1, 2, 3], [2, 4, 4], [1, 2, 3]]
    >>> [(c.a, c.b, c.p) for c in compare_models(scores, ["x", "y", "z"], ["p", "q", "r"])]
    [('x', 'y', 0.25), ('x', 'z', 1.0), ('y', 'z', 0.25)]
    """
    values, named = _table(values_ms, models, subjects)
    first, second = np.triu_indices(len(named), k=1)
    rows: list[tuple[float, float, float, float]] = []
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        gap = values[first[part]] - values[second[part]]
        found = bootstrap_means(gap, method=method, confidence=confidence, resamples=resamples, seed=seed)
        p = sign_flip_p(gap, permutations=permutations, seed=seed)
        rows += zip(found.estimate.tolist(), found.low.tolist(), found.high.tolist(), p.tolist(), strict=True)
    adjusted = holm([row[3] for row in rows]).tolist()
    pairs = zip(first, second, rows, adjusted, strict=True)
    return tuple(Comparison(named[a], named[b], *row, holm_p) for a, b, row, holm_p in pairs)


@dataclass(frozen=True)
class Ranking:
    """Ranks of models, 1 the best, in the order in which the models were given.

    >>> rank_models([[1.0, 2.0], [2.0, 4.0]], ["a", "b"], ["s1", "s2"]).rank.tolist()
    [1.0, 2.0]

    Attributes
    ----------
    models : their names
    mean : the mean score over subjects
    rank : of that mean; models that tie share the mean of their ranks
    low, high : interval of the rank over resamples, ranks that occurred; NaN for a single subject
    first : the share of resamples in which the model was first, split among those that tied; NaN likewise
    """

    models: tuple[str, ...]
    mean: FloatArray
    rank: FloatArray
    low: FloatArray
    high: FloatArray
    first: FloatArray


@metric(
    "P(first)",
    unit="1",
    direction="higher",
    definition="Share of bootstrap resamples of the subjects in which the model's mean score is best.",
    reference="Efron & Tibshirani 1993; capbench",
    needs=("subjects",),
    merge="samples",
    part="first",
)
@metric(
    "rank",
    unit="1",
    direction="lower",
    definition="Rank of the model's mean score over subjects, ties sharing their mean rank.",
    reference="capbench",
    needs=("subjects",),
    merge="samples",
    part="rank",
)
def rank_models(
    values_ms: ArrayLike,
    models: Sequence[str],
    subjects: Sequence[str],
    *,
    better: Better = "lower",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Ranking:
    """Rank models by their mean over subjects, with rank intervals and P(first) over resampled subjects.

    The interval holds the middle ``confidence`` of the resampled ranks (distribution function inverted).
    P(first) says how steady the first place is if other subjects of the same kind had been drawn.

    >>> table = rank_models([[1, 5, 2], [2, 3, 3], [9, 9, 9]], ["a", "b", "c"], ["p", "q", "r"])
    >>> table.rank.tolist(), table.low.tolist(), table.high.tolist()
    ([1.5, 1.5, 3.0], [1.0, 1.0, 3.0], [2.0, 2.0, 3.0])
    """
    if better not in get_args(Better):
        raise MetricError(f"Expected better as one of {', '.join(get_args(Better))}; got {better!r}.")
    values, named = _table(values_ms, models, subjects)
    sign = 1.0 if better == "lower" else -1.0
    found = bootstrap_means(values, confidence=confidence, resamples=resamples, seed=seed)
    rank = stats.rankdata(sign * found.estimate)
    if values.shape[1] < 2:
        nan = np.full(len(named), NAN)
        return Ranking(tuple(named), found.estimate, rank, nan, nan, nan)
    ranks = stats.rankdata(sign * found.samples, axis=0)
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = np.quantile(ranks, tails, axis=1, method="inverted_cdf")
    best = found.samples == (sign * (sign * found.samples).min(axis=0))
    first = (best / best.sum(axis=0)).mean(axis=1)
    return Ranking(tuple(named), found.estimate, rank, low, high, first)


def paired_power(effect: float, subjects: int, *, alpha: float = 0.05) -> float:
    """Power of a two-sided paired t-test: P(|T| > t_crit), T noncentral with n − 1 and effect·√n.

    ``effect``: mean paired difference over the SD of the differences. An infinite effect has power 1.

    >>> round(paired_power(0.5, 34), 4)
    0.8078
    """
    n = whole("subjects", subjects, 2)
    critical = stats.t.isf(share("alpha", alpha) / 2, n - 1)
    if math.isinf(effect):
        return 1.0
    # T² is noncentral F, which scipy gives to the last digits where its noncentral t underflows; not at 0.
    return float(stats.ncf.sf(critical**2, 1, n - 1, max(n * effect**2, 1e-20)))


def subjects_needed(effect: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest number of subjects (at least 2) for which a paired t-test has ``power``; NaN if none does.

    >>> subjects_needed(0.5)
    34.0
    """
    share("power", power)
    high = 2
    while not paired_power(effect, high, alpha=alpha) >= power:
        high *= 2
        if high > MOST_SUBJECTS:
            return NAN
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = paired_power(effect, middle, alpha=alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return float(high)


@metric(
    "subjects to separate",
    unit="1",
    direction="neither",
    definition="Subjects a two-sided paired t-test at 5 % needs for 80 % power with such differences.",
    reference="noncentral t; Cohen 1988",
    needs=("reference", "subjects"),
    merge="samples",
)
def subjects_to_separate(differences_s: ArrayLike, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Subjects needed to separate two models whose paired differences are like ``differences_s``.

    NaN below 2 subjects and where the mean difference is 0. 2 where all differ alike.

    >>> subjects_to_separate([1.0, 2.0, -1.0, 2.0])
    18.0
    """
    differences = floats("differences_s", differences_s, ndim=1)
    complete(differences)
    if len(differences) < 2:
        return NAN
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    effect = mean / sd if sd else math.copysign(math.inf, mean) if mean else 0.0
    return subjects_needed(effect, power=power, alpha=alpha)


def simulated_power(
    differences_s: ArrayLike, subjects: int, *, alpha: float = 0.05, draws: int = 10_000, seed: int = 0
) -> float:
    """Power of a paired t-test with ``subjects`` drawn with replacement from ``differences_s``: simulated.

    Makes no assumption on how the differences are distributed. A draw in which all are equal counts as
    significant unless they are 0.

    >>> simulated_power([1.0, 2.0, -1.0, 2.0], 19) > 0.8
    True
    """
    differences = floats("differences_s", differences_s, ndim=1)
    complete(differences)
    n = whole("subjects", subjects, 2)
    critical = stats.t.isf(share("alpha", alpha) / 2, n - 1)
    hits = 0
    for size, rng in blocks(whole("draws", draws, 1), seed):
        drawn = rng.choice(differences, size=(size, n))
        error = drawn.std(axis=1, ddof=1) / math.sqrt(n)
        hits += int((np.abs(drawn.mean(axis=1)) > critical * error).sum())
    return hits / draws
