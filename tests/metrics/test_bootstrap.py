"""Cluster bootstrap against scipy, full enumeration, closed forms and a plain loop."""

from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from metrics import bootstrap as module
from metrics.arrays import MetricError
from metrics.bootstrap import (
    blocks,
    bootstrap,
    bootstrap_means,
    bootstrap_ratio,
    bootstrap_trials,
    complete,
    each_resample,
    exact_terms,
    share,
    subject_counts,
    trial_counts,
    whole,
)


def scores(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 3.0, size=shape)


# -------------------------------------------------------------------------------------------------- sums
@pytest.mark.truth("rational arithmetic")
@pytest.mark.parametrize("seed", range(4))
def test_sums_of_exact_terms_have_no_rounding_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = exact_terms(rng.normal(size=60) * 10.0 ** rng.integers(-6, 6, size=60), 200)
    counts = rng.multinomial(200, np.full(60, 1 / 60)).astype(float)
    expected = sum(Fraction(c) * Fraction(t) for c, t in zip(counts, terms, strict=True))
    assert Fraction(float(counts @ terms)) == expected
    assert Fraction(float((counts[::-1] * terms[::-1]).cumsum()[-1])) == expected


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("total", [1, 2, 3, 100, 128, 129])
@pytest.mark.parametrize("top", [1.0, 3.7, 1e-9, 6.02e23])
def test_exact_terms_keep_all_the_bits_they_may(total: int, top: float) -> None:
    """The step is the smallest for which ``total`` values just below the next power of two fit 53 bits."""
    values = top * np.array([1.0, -np.pi / 4, 1 / 3])
    terms = exact_terms(values, total)
    power = 2.0 ** (np.floor(np.log2(top)) + 1)
    step = power * 2.0 ** np.ceil(np.log2(total)) / 2.0**53
    assert np.abs(terms - values).max() <= step / 2
    assert (terms / step == np.rint(terms / step)).all()
    assert (terms == np.rint(values / step) * step).all()


def test_exact_terms_take_each_row_alone() -> None:
    values = scores(0, 3, 7)
    values[1] *= 1e9
    values[2] = 0.0
    whole_table = exact_terms(values, 7)
    for row, alone in zip(whole_table, values, strict=True):
        assert row.tobytes() == exact_terms(alone, 7).tobytes()
    assert (whole_table[2] == 0).all()


# ------------------------------------------------------------------------------------------------- counts
@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize("seed", [0, 1])
def test_every_resample_of_four_is_as_likely_as_it_should_be(seed: int) -> None:
    """All 4⁴ = 256 drawings give 35 different counts; chi-square over them."""
    expected: dict[tuple[int, ...], int] = {}
    for drawn in product(range(4), repeat=4):
        key = tuple(np.bincount(drawn, minlength=4).tolist())
        expected[key] = expected.get(key, 0) + 1
    rows = np.concatenate(list(subject_counts(4, resamples=20_000, seed=seed)))
    seen = dict.fromkeys(expected, 0)
    for key, count in zip(*np.unique(rows, axis=0, return_counts=True), strict=True):
        seen[tuple(key.astype(int).tolist())] = int(count)
    assert len(expected) == 35
    frequencies = np.array([expected[k] for k in expected]) * 20_000 / 256
    assert stats.chisquare([seen[k] for k in expected], frequencies).pvalue > 1e-3


@pytest.mark.truth("full enumeration")
def test_every_nested_resample_is_as_likely_as_it_should_be() -> None:
    """Subjects with 1 and 2 trials: each of 2 drawings is trial 0, or one of 4 pairs of the trials 1, 2."""
    expected: dict[tuple[int, ...], float] = {}
    for first, second in product((0, 1), repeat=2):
        choices = [[(0,)] if s == 0 else list(product((1, 2), repeat=2)) for s in (first, second)]
        for a, b in product(*choices):
            key = tuple(np.bincount(a + b, minlength=3).tolist())
            expected[key] = expected.get(key, 0) + 0.25 / len(choices[0]) / len(choices[1])
    rows = np.concatenate(list(trial_counts([1, 2], resamples=20_000, seed=3)))
    keys, counts = np.unique(rows, axis=0, return_counts=True)
    found = {tuple(k.astype(int).tolist()): int(c) for k, c in zip(keys, counts, strict=True)}
    assert found.keys() == expected.keys()
    order = list(expected)
    assert stats.chisquare([found[k] for k in order], [20_000 * expected[k] for k in order]).pvalue > 1e-3


def test_nested_counts_are_whole_drawings() -> None:
    """A drawing of subject i brings as many trials as i has, so each subject's count is a multiple of it."""
    for block in trial_counts([3, 1, 5], resamples=1500):
        drawings = np.add.reduceat(block, [0, 3, 4], axis=1) / [3, 1, 5]
        assert (drawings == np.rint(drawings)).all()
        assert (drawings.sum(axis=1) == 3).all()


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("fewer", [1, 999, 1000, 1001])
def test_a_longer_run_starts_with_the_shorter_one(fewer: int) -> None:
    for count in (
        lambda r: np.concatenate(list(subject_counts(5, resamples=r, seed=8))),
        lambda r: np.concatenate(list(trial_counts([2, 3, 1], resamples=r, seed=8))),
    ):
        short = count(fewer)
        assert len(short) == fewer
        assert (count(2100)[:fewer] == short).all()


def test_blocks_add_up_and_differ() -> None:
    assert module.BLOCK == 1000
    assert [size for size, _ in blocks(2000, 0)] == [1000, 1000]
    assert [size for size, _ in blocks(1, 0)] == [1]
    assert list(blocks(0, 0)) == []
    first, second = (rng.random() for _, rng in blocks(1001, 0))
    (_, other), *_ = blocks(1, 1)
    assert len({first, second, other.random()}) == 3
    default = np.concatenate(list(subject_counts(3)))
    assert default.shape == (10_000, 3)
    assert (default[:50] == next(subject_counts(3, resamples=50, seed=0))).all()
    assert (default[:50] != next(subject_counts(3, resamples=50, seed=1))).any()
    nested = np.concatenate(list(trial_counts([1, 2])))
    assert nested.shape == (10_000, 3)
    assert (nested[:50] == next(trial_counts([1, 2], resamples=50, seed=0))).all()


# ---------------------------------------------------------------------------------------------- intervals
@pytest.mark.truth("scipy")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize(
    ("seed", "n", "confidence"), [(0, 5, 0.95), (1, 12, 0.9), (2, 30, 0.5), (3, 7, 0.99)]
)
def test_intervals_equal_scipy_on_the_same_resamples(
    method: str, seed: int, n: int, confidence: float
) -> None:
    values = np.rint(16 * scores(seed, n))  # whole numbers: scipy then sees the same ties with the estimate
    found = bootstrap_means(values, method=method, confidence=confidence, resamples=1999, seed=seed)  # type: ignore[arg-type]

    class Given:
        bootstrap_distribution = found.samples

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=0,
            method=method,
            confidence_level=confidence,
            bootstrap_result=Given(),
        )
    assert float(found.low) == pytest.approx(expected.confidence_interval.low, rel=1e-9)
    assert float(found.high) == pytest.approx(expected.confidence_interval.high, rel=1e-9)
    assert float(found.estimate) == pytest.approx(values.mean(), rel=1e-12)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("name", ["sd", "median", "rms"])
def test_any_statistic_equals_scipy_on_the_same_resamples(method: str, name: str) -> None:
    plain = {"sd": np.std, "median": np.median, "rms": lambda v: np.sqrt(np.mean(np.square(v)))}[name]
    values = scores(4, 11)
    found = bootstrap(
        each_resample(lambda drawn: plain(values[drawn])),
        11,
        method=method,
        resamples=500,
        seed=2,  # type: ignore[arg-type]
    )

    class Given:
        bootstrap_distribution = found.samples

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = stats.bootstrap(
            (values,), plain, n_resamples=0, method=method, vectorized=False, bootstrap_result=Given()
        ).confidence_interval
    assert (float(found.low), float(found.high)) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_weights_and_a_plain_loop_agree(method: str) -> None:
    values = scores(5, 3, 9)
    found = bootstrap_means(values, method=method, resamples=300, seed=4)  # type: ignore[arg-type]
    looped = bootstrap(
        each_resample(lambda d: values[:, d].mean(axis=1)), 9, method=method, resamples=300, seed=4
    )  # type: ignore[arg-type]
    counts = np.concatenate(list(subject_counts(9, resamples=300, seed=4))).astype(int)
    for r in (0, 17, 299):
        drawn = [s for s in range(9) for _ in range(counts[r, s])]
        assert found.samples[:, r] == pytest.approx([np.mean([row[s] for s in drawn]) for row in values])
    for part in ("estimate", "low", "high", "se", "samples"):
        assert getattr(found, part) == pytest.approx(getattr(looped, part), rel=1e-9)
    assert found.samples.shape == (3, 300)


@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize("seed", range(3))
def test_four_subjects_against_all_256_resamples(seed: int) -> None:
    values = scores(seed, 4)
    every = np.sort([np.mean(values[list(d)]) for d in product(range(4), repeat=4)])
    found = bootstrap_means(values, confidence=0.9, resamples=40_000, seed=seed)
    assert float(found.se) == pytest.approx(every.std(), rel=0.02)
    # The share of all 256 resamples at or below each end brackets the tail within Monte Carlo error.
    for end, tail in ((found.low, 0.05), (found.high, 0.95)):
        assert np.mean(every < end - 1e-9) <= tail + 0.005
        assert np.mean(every <= end + 1e-9) >= tail - 0.005


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("n", [3, 20])
def test_standard_error_of_a_mean(n: int) -> None:
    values = scores(6, n)
    assert float(bootstrap_means(values).se) == pytest.approx(values.std() / np.sqrt(n), rel=0.03)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("trials", [[4, 4, 4, 4, 4], [1, 2, 6, 3], [1, 1, 1, 1, 1, 1]])
def test_standard_error_of_two_stages(trials: list[int]) -> None:
    """Variance = (variance of subject means + mean over subjects of their trials' variance / trials) / n."""
    rng = np.random.default_rng(9)
    by_subject = [rng.normal(rng.normal(0, 2), 1, m) for m in trials]
    names = [f"s{i}" for i, m in enumerate(trials) for _ in range(m)]
    found = bootstrap_trials(np.concatenate(by_subject), names, resamples=20_000)
    means = np.array([v.mean() for v in by_subject])
    variance = (means.var() + np.mean([v.var() / len(v) for v in by_subject])) / len(trials)
    assert float(found.se) == pytest.approx(np.sqrt(variance), rel=0.03)
    assert float(found.estimate) == pytest.approx(means.mean(), rel=1e-9)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_two_stages_equal_a_plain_loop(method: str) -> None:
    trials, names = [2, 4, 1, 3], list("bbddddaccc")
    values = scores(7, 2, 10)
    found = bootstrap_trials(values, names, method=method, resamples=400, seed=1)  # type: ignore[arg-type]
    ordered = np.concatenate(
        [values[:, 6:7], values[:, :2], values[:, 7:], values[:, 2:6]], axis=1
    )  # a b c d
    sizes = [1, 2, 3, 4]
    counts = np.concatenate(list(trial_counts(sizes, resamples=400, seed=1)))
    weights = counts / np.repeat(sizes, sizes) / 4
    expected = np.einsum("mk,rk->mr", ordered, weights)
    assert found.samples == pytest.approx(expected, rel=1e-9)
    means = np.stack([part.mean(axis=1) for part in np.split(ordered, np.cumsum(sizes)[:-1], axis=1)], axis=1)
    assert found.estimate == pytest.approx(means.mean(axis=1), rel=1e-9)
    if method == "percentile":
        expected_ends = np.percentile(expected, [2.5, 97.5], axis=1)
    else:
        expected_ends = np.array([bca(means[m], expected[m]) for m in range(2)]).T
    assert np.array([found.low, found.high]) == pytest.approx(expected_ends, rel=1e-9)
    assert sorted(trials) == sizes


def bca(values: np.ndarray, samples: np.ndarray) -> list[float]:
    """Efron & Tibshirani 1993, eq. 14.9 to 14.15, a step at a time; ties with the estimate count half."""
    n, phi = len(values), stats.norm()
    jack = [np.mean([v for j, v in enumerate(values) if j != i]) for i in range(n)]
    top = sum((np.mean(jack) - j) ** 3 for j in jack)
    a = top / (6 * sum((np.mean(jack) - j) ** 2 for j in jack) ** 1.5)
    z0 = phi.ppf(np.mean(np.where(abs(samples - values.mean()) < 1e-9, 0.5, samples < values.mean())))
    levels = [phi.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in phi.ppf([0.025, 0.975])]
    return [float(np.percentile(samples, 100 * level)) for level in levels]


@pytest.mark.truth("metamorphic")
def test_bytes_do_not_depend_on_order_or_company() -> None:
    values = scores(8, 40, 25)
    everyone = bootstrap_means(values, method="BCa", resamples=1500)
    order = np.random.default_rng(0).permutation(40)
    shuffled = bootstrap_means(values[order], method="BCa", resamples=1500)
    for part in ("estimate", "low", "high", "se", "samples"):
        together = getattr(everyone, part)
        assert getattr(shuffled, part).tobytes() == together[order].tobytes()
        for i in (0, 13, 39):
            alone = getattr(bootstrap_means(values[i], method="BCa", resamples=1500), part)
            assert alone.tobytes() == np.ascontiguousarray(together[i]).tobytes()
    nested = bootstrap_trials(values, [str(i // 5) for i in range(25)], resamples=1500)
    alone = bootstrap_trials(values[7], [str(i // 5) for i in range(25)], resamples=1500)
    assert alone.samples.tobytes() == nested.samples[7].tobytes()


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_follow_shift_and_scale(method: str) -> None:
    values = scores(9, 8)
    plain = bootstrap_means(values, method=method, resamples=1999)  # type: ignore[arg-type]
    moved = bootstrap_means(-4 * values + 100, method=method, resamples=1999)  # type: ignore[arg-type]
    assert float(moved.low) == pytest.approx(100 - 4 * float(plain.high), rel=1e-9)
    assert float(moved.high) == pytest.approx(100 - 4 * float(plain.low), rel=1e-9)
    assert float(moved.se) == pytest.approx(4 * float(plain.se), rel=1e-9)


@pytest.mark.truth("coverage by simulation")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_a_95_percent_interval_holds_the_mean_about_that_often(method: str) -> None:
    rng = np.random.default_rng(11)
    found = bootstrap_means(rng.normal(size=(600, 25)), method=method, resamples=1000)  # type: ignore[arg-type]
    # A bootstrap interval of 25 normal values is a little short: about 93 %.
    assert 0.90 <= np.mean((found.low <= 0) & (found.high >= 0)) <= 0.97


def test_defaults() -> None:
    values = scores(10, 6)
    found = bootstrap_means(values)
    same = bootstrap_means(values, method="percentile", confidence=0.95, resamples=10_000, seed=0)
    assert found.samples.tobytes() == same.samples.tobytes()
    assert (found.low, found.high) == (same.low, same.high)
    general = bootstrap(lambda c: c @ values / c.sum(axis=1), 6)
    assert general.samples == pytest.approx(found.samples, rel=1e-12)
    assert (float(general.low), float(general.high)) == pytest.approx((float(found.low), float(found.high)))
    names = list("aabbcc")
    found = bootstrap_trials(values, names)
    same = bootstrap_trials(values, names, method="percentile", confidence=0.95, resamples=10_000, seed=0)
    assert found.samples.tobytes() == same.samples.tobytes()
    assert (found.low, found.high) == (same.low, same.high)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_degenerate_samples(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = bootstrap_means([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]], method=method, resamples=50)  # type: ignore[arg-type]
        single = bootstrap_means([[3.0], [4.0]], method=method, resamples=50)  # type: ignore[arg-type]
        nested = bootstrap_trials([3.0, 5.0], ["ann", "ann"], method=method, resamples=50)  # type: ignore[arg-type]
    assert (same.low[0], same.high[0], same.se[0]) == (2.0, 2.0, 0.0)
    assert same.low[1] < same.high[1]
    assert single.estimate.tolist() == [3.0, 4.0]
    assert np.isnan([single.low, single.high, single.se]).all()
    assert float(nested.estimate) == 4.0
    assert np.isnan([nested.low, nested.high, nested.se]).all()


def test_bca_is_undefined_where_all_resamples_lie_on_one_side() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap(
            lambda c: np.where((c == 1).all(axis=1), 5.0, c[:, 0]), 8, method="BCa", resamples=20
        )
        ends = bootstrap(lambda c: np.where((c == 1).all(axis=1), 5.0, c[:, 0]), 8, resamples=20)
    assert np.isnan([found.low, found.high]).all()
    assert np.isfinite([ends.low, ends.high]).all()


def test_quantile_ends_are_reached() -> None:
    ordered = np.array([[0.0, 1.0, 3.0]])
    assert module._quantiles(ordered, np.array([[0.0, 0.25, 0.75, 1.0]])).tolist() == [[0.0, 0.5, 2.0, 3.0]]


# ------------------------------------------------------------------------------------------------- ratios
@pytest.mark.truth("rational arithmetic")
def test_a_ratio_equals_a_plain_loop_over_the_people_drawn() -> None:
    above, below = scores(3, 2, 6), scores(4, 2, 6)
    found = bootstrap_ratio(above, below, resamples=400, confidence=0.9, seed=7)
    counts = np.concatenate(list(subject_counts(6, resamples=400, seed=7))).astype(int)
    for row in range(2):
        looped = []
        for drawn in counts:
            people = [k for k, often in enumerate(drawn) for _ in range(often)]
            over = sum(Fraction(above[row, k]) for k in people)
            looped.append(float(over / sum(Fraction(below[row, k]) for k in people)))
        np.testing.assert_allclose(found.samples[row], looped, rtol=1e-13)
        ends = np.quantile(looped, [0.05, 0.95])
        np.testing.assert_allclose([found.low[row], found.high[row]], ends, rtol=1e-13)
        whole_sample = sum(above[row].tolist()) / sum(below[row].tolist())
        assert float(found.estimate[row]) == pytest.approx(whole_sample, rel=1e-13)
    assert not np.allclose(found.estimate, (above / below).mean(axis=1), rtol=0.01)  # not a mean of ratios


@pytest.mark.truth("full enumeration")
def test_a_ratio_s_interval_against_all_256_resamples_of_four() -> None:
    above, below = np.array([9.0, 4.0, 12.0, 7.5]), np.array([5.0, 3.0, 5.5, 6.0])
    every = [sum(above[list(d)]) / sum(below[list(d)]) for d in product(range(4), repeat=4)]
    found = bootstrap_ratio(above, below, resamples=40_000, seed=1)
    expected = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    np.testing.assert_allclose([float(found.low), float(found.high)], expected, rtol=0.01)
    assert float(found.se) == pytest.approx(np.std(every), rel=0.02)


@pytest.mark.truth("scipy")
def test_a_ratio_s_bca_interval_is_near_scipy_s() -> None:
    above, below = scores(5, 14) + 4, scores(6, 14) + 2
    found = bootstrap_ratio(above, below, method="BCa", resamples=40_000)
    theirs = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis),
        paired=True,
        n_resamples=40_000,
        vectorized=True,
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose([float(found.low), float(found.high)], [theirs.low, theirs.high], rtol=0.01)


@pytest.mark.truth("closed form")
def test_what_two_models_share_leaves_their_ratio_s_interval() -> None:
    """Errors in one proportion: no resample can tell another, though each error alone varies tenfold."""
    below = np.array([1.0, 3.0, 10.0, 0.7, 5.0])
    same = bootstrap_ratio(below, below)
    assert {float(same.estimate), float(same.low), float(same.high)} == {1.0}
    assert (same.samples == 1).all()
    for factor in (0.5, 1.7):
        found = bootstrap_ratio(factor * below, below, method="percentile")
        np.testing.assert_allclose([found.estimate, found.low, found.high], factor, rtol=1e-12)


@pytest.mark.truth("delta method")
def test_standard_error_of_a_ratio_of_many() -> None:
    rng = np.random.default_rng(8)
    below = 10 + rng.normal(size=400)
    above = 15 + 0.8 * (below - 10) + rng.normal(size=400)
    ratio = above.mean() / below.mean()
    expected = np.std(above - ratio * below) / below.mean() / np.sqrt(400)
    assert float(bootstrap_ratio(above, below).se) == pytest.approx(expected, rel=0.04)


def test_a_ratio_s_refusals() -> None:
    with pytest.raises(MetricError, match="above 0 to divide by, got 0"):
        bootstrap_ratio([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(MetricError, match="above 0 to divide by, got -1"):
        bootstrap_ratio([1.0, 2.0], [1.0, -1.0])
    with pytest.raises(MetricError, match="one shape"):
        bootstrap_ratio([1.0, 2.0], [1.0, 2.0, 3.0])
    for above, below in (([1.0, np.nan], [1.0, 1.0]), ([1.0, 1.0], [np.inf, 1.0])):
        with pytest.raises(MetricError, match="for every subject"):
            bootstrap_ratio(above, below)
    alone = bootstrap_ratio([3.0], [2.0])
    assert float(alone.estimate) == 1.5 and np.isnan([alone.low, alone.high, alone.se]).all()


# ------------------------------------------------------------------------------------------------ refusals
def test_missing_values_are_refused_by_name() -> None:
    values = np.ones((2, 3))
    values[1, 2] = values[1, 1] = np.nan
    with pytest.raises(MetricError, match=r"got nan for 'toe', 'bob' \(2 in all\)"):
        complete(values, ["heel", "toe"], ["ann", "bob", "cat"])
    with pytest.raises(MetricError, match=r"got nan for row \[1\], subject 1 \(2 in all\)"):
        bootstrap_means(values)
    with pytest.raises(MetricError, match=r"got inf for row \[\], 'b' \(1 in all\)"):
        bootstrap_trials([1.0, np.inf], ["a", "b"])
    complete(np.ones((2, 1)))


@pytest.mark.parametrize("values", [3.0, [], np.ones((2, 0))])
def test_no_subjects_are_refused(values: object) -> None:
    with pytest.raises(MetricError, match="at least one subject on the last axis, got shape"):
        bootstrap_means(values)  # type: ignore[arg-type]


def test_what_is_refused() -> None:
    with pytest.raises(MetricError, match="method as one of percentile, BCa; got 'bca'"):
        bootstrap_means([1.0, 2.0], method="bca")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="method as one of"):
        bootstrap_trials([1.0], ["a"], method="t")  # type: ignore[arg-type]
    for confidence in (0.0, 1.0):
        with pytest.raises(MetricError, match="confidence between 0 and 1"):
            bootstrap_means([1.0, 2.0], confidence=confidence, resamples=2)
    with pytest.raises(MetricError, match="resamples as a whole number of at least 1, got 0"):
        bootstrap_means([1.0, 2.0], resamples=0)
    with pytest.raises(MetricError, match="resamples as a whole number of at least 1, got 0"):
        bootstrap_trials([1.0, 2.0], ["a", "b"], resamples=0)
    with pytest.raises(MetricError, match="seed as a whole number of at least 0, got -1"):
        bootstrap_means([1.0, 2.0], seed=-1)
    with pytest.raises(MetricError, match="subjects as a whole number of at least 1, got 0"):
        list(subject_counts(0))
    with pytest.raises(MetricError, match="subjects as a whole number of at least 1, got 0"):
        list(trial_counts([]))
    with pytest.raises(MetricError, match="trials of a subject as a whole number of at least 1, got 0"):
        list(trial_counts([2, 0]))
    for values in ([1.0, 2.0], 1.0):
        with pytest.raises(MetricError, match=r"a subject for each trial, got shape \(.*\) and 3 subjects"):
            bootstrap_trials(values, ["a", "b", "c"])
    with pytest.raises(MetricError, match=r"give 5 values on its last axis.*got shape \(\)"):
        bootstrap(lambda counts: 1.0, 3, resamples=5)
    with pytest.raises(MetricError, match=r"give 5 values on its last axis.*got shape \(5, 3\)"):
        bootstrap(lambda counts: counts, 3, resamples=5)


def test_checks_of_arguments() -> None:
    assert share("x", 0.5) == 0.5
    assert whole("x", 2, 2) == 2
    assert isinstance(whole("x", 3.0, 2), int)  # type: ignore[arg-type]
    for bad in (0, 1, -0.1, 1.1, float("nan")):
        with pytest.raises(MetricError, match="x between 0 and 1"):
            share("x", bad)
    for number in (1, 2.5):
        with pytest.raises(MetricError, match="x as a whole number of at least 2"):
            whole("x", number, 2)  # type: ignore[arg-type]


def test_exact_terms_do_not_depend_on_order() -> None:
    terms = exact_terms(np.array([0.1, 0.7, 0.3, 123.456]), 4)
    assert len({float(sum(p)) for p in permutations(terms.tolist())}) == 1
    assert len({float(sum(p)) for p in permutations([0.1, 0.7, 0.3, 123.456])}) > 1


@pytest.mark.truth("literal definition")
def test_bca_of_two_subjects_is_corrected_too() -> None:
    """Leaving out either of two moves the mean as far: no acceleration, but the bias correction stays."""
    values, subjects = [0.0, 1.0, 5.0, 2.0, 2.5], ["ann", "ann", "ann", "bob", "bob"]
    found = bootstrap_trials(values, subjects, method="BCa", resamples=4000)
    samples, centre = np.sort(found.samples), float(found.estimate)
    below = ((samples < centre).mean() + (samples <= centre).mean()) / 2
    assert abs(below - 0.5) > 0.005  # there is something to correct
    shift = stats.norm.ppf(below)
    levels = stats.norm.cdf(2 * shift + stats.norm.ppf([0.025, 0.975]))
    assert [found.low, found.high] == pytest.approx(np.quantile(samples, levels), rel=1e-9)
