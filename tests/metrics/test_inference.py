"""Comparisons of models against statsmodels, scipy, full enumeration and closed forms."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from scipy import integrate, stats

from metrics import inference as module
from metrics.arrays import MetricError
from metrics.bootstrap import bootstrap_means, subject_counts
from metrics.catalogue import card
from metrics.inference import (
    compare_models,
    flips_are_exact,
    holm,
    paired_power,
    rank_models,
    sign_flip_p,
    sign_flips,
    simulated_power,
    subjects_needed,
    subjects_to_separate,
)

NAN = float("nan")


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


# ----------------------------------------------------------------------------------------------------- Holm
@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize("count", [1, 2, 5, 20])
@pytest.mark.parametrize("power", [1, 3])
def test_holm_equals_statsmodels(count: int, power: int) -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.round(np.random.default_rng(count).uniform(size=count) ** power, 2)  # ties and zeros among them
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_holm_of_nan_counts_in_the_family() -> None:
    assert holm([0.01, NAN, 0.02]) == pytest.approx([0.03, NAN, 0.04], nan_ok=True)
    assert holm([0.0, 1.0]).tolist() == [0.0, 1.0]
    assert holm([]).tolist() == []
    for bad in (-0.1, 1.1):
        with pytest.raises(MetricError, match=r"p between 0 and 1, got \[0\.5, "):
            holm([0.5, bad])


# ------------------------------------------------------------------------------------------------ sign flips
@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize("n", [1, 2, 3, 6, 12])
def test_all_flips_are_gone_through_once(n: int) -> None:
    rows = np.concatenate(list(sign_flips(n)))
    expected = {(1, *rest) for rest in product((1, -1), repeat=n - 1)}
    assert len(rows) == 2 ** (n - 1)
    assert {tuple(row.astype(int).tolist()) for row in rows} == expected
    assert (rows[0] == 1).all()


@pytest.mark.truth("closed form")
def test_random_flips_are_fair_and_start_with_none() -> None:
    found = list(sign_flips(30, permutations=2500, seed=1))
    assert [len(block) for block in found] == [1000, 1000, 500]
    rows = np.concatenate(found)
    assert (rows[0] == 1).all()
    assert (rows[1000] != 1).any()
    assert (rows[2000] != 1).any()
    assert set(np.unique(rows)) == {-1.0, 1.0}
    # 2500 fair coins: SD of the mean is 0.02; columns and neighbours are independent.
    assert np.abs(rows.mean(axis=0)).max() < 0.08
    assert np.abs((rows[:, 1:] * rows[:, :-1]).mean(axis=0)).max() < 0.08
    assert (np.concatenate(list(sign_flips(30, permutations=70, seed=1))) == rows[:70]).all()
    assert (np.concatenate(list(sign_flips(30, permutations=70, seed=2))) != rows[:70]).any()
    assert (next(sign_flips(30)) == next(sign_flips(30, permutations=10_000, seed=0))).all()
    assert sum(len(block) for block in sign_flips(30)) == 10_000


def test_when_flips_are_exact() -> None:
    assert flips_are_exact(14, 8192)
    assert not flips_are_exact(14, 8191)
    assert flips_are_exact(1, 1)
    assert len(np.concatenate(list(sign_flips(4, permutations=8)))) == 8
    assert len(np.concatenate(list(sign_flips(4, permutations=7)))) == 7
    with pytest.raises(MetricError, match="subjects as a whole number of at least 1, got 0"):
        flips_are_exact(0, 10)
    with pytest.raises(MetricError, match="permutations as a whole number of at least 1, got 0"):
        flips_are_exact(3, 0)


@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize("seed", range(5))
def test_sign_flip_p_by_enumeration(seed: int) -> None:
    """Whole numbers, so that ties are many: all 2ⁿ flips, the share at least as far from 0."""
    gap = np.random.default_rng(seed).integers(-3, 6, size=4 + seed)
    sums = [
        abs(sum(s * g for s, g in zip(signs, gap, strict=True)))
        for signs in product((1, -1), repeat=len(gap))
    ]
    assert sign_flip_p(gap) == np.mean([s >= abs(gap.sum()) for s in sums])


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(4))
def test_sign_flip_p_equals_scipy(seed: int) -> None:
    gap = np.random.default_rng(seed).normal(0.4, 1, size=9)
    expected = stats.permutation_test((gap,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p(gap) == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("full enumeration")
def test_ties_in_decimal_numbers_are_ties() -> None:
    """0.1 + 0.2 − 0.3 and its mirror images are 0 in truth, though not in floating point."""
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p([0.1, 0.2, 0.3]) == 0.25
    assert sign_flip_p([0.1, 0.2, 0.3, 0.3, 0.1]) == 2 / 32


@pytest.mark.truth("full enumeration")
def test_random_flips_come_near_the_exact_p() -> None:
    gap = np.random.default_rng(3).normal(0.5, 1, size=12)
    exact = sign_flip_p(gap)
    drawn = sign_flip_p(gap, permutations=2000, seed=5)
    assert exact == np.round(exact * 2048) / 2048
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2000))
    assert (drawn * 2000) % 1 == pytest.approx(0, abs=1e-9)
    assert sign_flip_p(gap, permutations=2000, seed=6) != drawn
    wide = np.random.default_rng(3).normal(0.2, 1, size=20)
    assert sign_flip_p(wide) == sign_flip_p(wide, permutations=10_000, seed=0)


def test_sign_flip_p_of_rows_and_of_little() -> None:
    gap = np.random.default_rng(0).normal(0.5, 1, size=(2, 3, 7))
    found = sign_flip_p(gap)
    assert found.shape == (2, 3)
    assert found[1, 2] == sign_flip_p(gap[1, 2])
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip_p([5.0]) == 1.0
    assert isinstance(sign_flip_p([5.0]), float)
    assert sign_flip_p(np.full(40, 2.0)) == 1 / 10_000
    with pytest.raises(MetricError, match="got nan for row"):
        sign_flip_p([1.0, NAN])


@pytest.mark.truth("coverage by simulation")
def test_exact_p_is_uniform_without_an_effect() -> None:
    p = sign_flip_p(np.random.default_rng(1).normal(size=(4000, 6)))
    for share in (1 / 32, 4 / 32, 16 / 32):
        assert np.mean(p <= share) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4000))


# ------------------------------------------------------------------------------------------- models in pairs
@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_comparisons_one_by_one(method: str) -> None:
    from statsmodels.stats.multitest import multipletests

    scores = np.random.default_rng(2).normal(5, 1, size=(4, 8)) + np.arange(4)[:, None] / 2
    options = {"confidence": 0.9, "resamples": 700, "seed": 3}
    found = compare_models(scores, names("m", 4), names("s", 8), method=method, permutations=100, **options)  # type: ignore[arg-type]
    expected = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    assert [(c.a, c.b) for c in found] == [(f"m{i}", f"m{j}") for i, j in expected]
    p = []
    for c, (i, j) in zip(found, expected, strict=True):
        gap = scores[i] - scores[j]
        alone = bootstrap_means(gap, method=method, **options)  # type: ignore[arg-type]
        assert (c.difference, c.low, c.high) == (float(alone.estimate), float(alone.low), float(alone.high))
        p.append(sign_flip_p(gap, permutations=100, seed=3))
        assert c.p == p[-1]
    assert [c.p_holm for c in found] == pytest.approx(multipletests(p, method="holm")[1])


def test_comparisons_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(4).normal(size=(6, 5))
    assert module.PAIRS == 256
    together = compare_models(scores, names("m", 6), names("s", 5), resamples=200)
    monkeypatch.setattr(module, "PAIRS", 4)
    assert compare_models(scores, names("m", 6), names("s", 5), resamples=200) == together
    assert len(together) == 15


@pytest.mark.truth("metamorphic")
def test_comparisons_turn_with_the_order_of_models() -> None:
    scores = np.random.default_rng(5).normal(size=(2, 9))
    (there,) = compare_models(scores, ["a", "b"], names("s", 9), resamples=999)
    (back,) = compare_models(scores[::-1], ["b", "a"], names("s", 9), resamples=999)
    assert (back.difference, back.p) == (-there.difference, there.p)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), rel=1e-9)


def test_defaults_of_comparisons_and_single_models() -> None:
    scores = np.random.default_rng(6).normal(size=(2, 20))
    (found,) = compare_models(scores, ["a", "b"], names("s", 20))
    alone = bootstrap_means(
        scores[0] - scores[1], method="percentile", confidence=0.95, resamples=10_000, seed=0
    )
    assert (found.low, found.high) == (float(alone.low), float(alone.high))
    assert found.p == sign_flip_p(scores[0] - scores[1], permutations=10_000, seed=0)
    assert found.p_holm == found.p
    assert compare_models(scores[:1], ["a"], names("s", 20)) == ()


@pytest.mark.parametrize("function", [compare_models, rank_models])
def test_a_missing_cell_is_refused_by_name(function: object) -> None:
    scores = np.ones((2, 3))
    scores[1, 0] = NAN
    with pytest.raises(MetricError, match=r"got nan for 'toe', 'ann' \(1 in all\)"):
        function(scores, ["heel", "toe"], ["ann", "bob", "cat"])  # type: ignore[operator]
    with pytest.raises(MetricError, match="3 different names of subjects"):
        function(np.ones((2, 3)), ["heel", "toe"], ["ann", "ann", "cat"])  # type: ignore[operator]
    with pytest.raises(MetricError, match="2 different names of models"):
        function(np.ones((2, 3)), ["heel"], ["ann", "bob", "cat"])  # type: ignore[operator]
    with pytest.raises(MetricError, match="values_ms with 2 axes"):
        function(np.ones(3), ["heel"], ["ann", "bob", "cat"])  # type: ignore[operator]


# --------------------------------------------------------------------------------------------------- ranks
@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_by_counting(better: str, seed: int) -> None:
    """Rank = 1 + how many are better + half of the others that tie; whole numbers make ties."""
    scores = np.random.default_rng(seed).integers(0, 4, size=(5, 4)).astype(float)
    found = rank_models(
        scores,
        names("m", 5),
        names("s", 4),
        better=better,
        confidence=0.8,
        resamples=300,
        seed=seed,  # type: ignore[arg-type]
    )
    sign = 1 if better == "lower" else -1

    def ranks(means: np.ndarray) -> list[float]:
        return [
            1 + sum(sign * o < sign * m for o in means) + (sum(o == m for o in means) - 1) / 2 for m in means
        ]

    counts = np.concatenate(list(subject_counts(4, resamples=300, seed=seed)))
    drawn = np.array([ranks((scores * c).sum(axis=1)) for c in counts])
    assert found.rank.tolist() == ranks(scores.sum(axis=1))
    assert found.mean == pytest.approx(scores.mean(axis=1))
    # The smallest rank with at least 10 % (90 %) of the resamples at or below it: the 30th and 270th of 300.
    ordered = np.sort(drawn, axis=0)
    assert found.low.tolist() == ordered[29].tolist()
    assert found.high.tolist() == ordered[269].tolist()
    best = [[sign * m == min(sign * row) for m in row] for row in ((scores * c).sum(axis=1) for c in counts)]
    assert found.first == pytest.approx(np.mean([np.array(b) / sum(b) for b in best], axis=0), rel=1e-12)
    assert found.first.sum() == pytest.approx(1.0)
    assert found.models == tuple(names("m", 5))


@pytest.mark.truth("full enumeration")
def test_p_first_against_all_resamples_of_four() -> None:
    scores = np.array([[1.0, 5.0, 2.0, 6.0], [3.0, 3.0, 4.0, 3.0], [2.0, 9.0, 1.0, 3.0]])
    first = np.zeros(3)
    for drawn in product(range(4), repeat=4):
        sums = scores[:, list(drawn)].sum(axis=1)
        first += (sums == sums.min()) / (sums == sums.min()).sum() / 256
    found = rank_models(scores, ["a", "b", "c"], names("s", 4), resamples=40_000)
    assert found.first == pytest.approx(first, abs=0.01)


@pytest.mark.truth("metamorphic")
def test_ranking_ignores_order_shift_and_scale() -> None:
    scores = np.random.default_rng(7).integers(0, 9, size=(6, 5)).astype(float)
    order = [3, 0, 5, 1, 4, 2]
    plain = rank_models(scores, names("m", 6), names("s", 5), resamples=400)
    moved = rank_models(
        64 - 2 * scores[order], [f"m{i}" for i in order], names("s", 5), better="higher", resamples=400
    )
    for part in ("rank", "low", "high", "first"):
        assert (getattr(moved, part) == getattr(plain, part)[order]).all()
    assert moved.models == tuple(f"m{i}" for i in order)


@pytest.mark.truth("closed form")
def test_twins_share_everything() -> None:
    scores = np.array([[0.1, 0.7, 0.4], [0.1, 0.7, 0.4], [9.0, 9.0, 9.0]])
    found = rank_models(scores, ["a", "b", "c"], names("s", 3), resamples=100)
    assert found.rank.tolist() == found.low.tolist() == found.high.tolist() == [1.5, 1.5, 3.0]
    assert found.first.tolist() == [0.5, 0.5, 0.0]


def test_ranking_of_one_subject_and_defaults() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rank_models([[1.0], [2.0]], ["a", "b"], ["s"])
    assert found.rank.tolist() == [1.0, 2.0]
    assert found.mean.tolist() == [1.0, 2.0]
    assert np.isnan([found.low, found.high, found.first]).all()
    scores = np.random.default_rng(8).normal(size=(8, 2))
    default = rank_models(scores, names("m", 8), ["p", "q"])
    same = rank_models(
        scores, names("m", 8), ["p", "q"], better="lower", confidence=0.95, resamples=10_000, seed=0
    )
    for part in ("rank", "low", "high", "first"):
        assert (getattr(default, part) == getattr(same, part)).all()
    other = rank_models(scores, names("m", 8), ["p", "q"], seed=1)
    assert (other.first != default.first).any()
    with pytest.raises(MetricError, match="better as one of lower, higher; got 'up'"):
        rank_models(scores, names("m", 8), ["p", "q"], better="up")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="confidence between 0 and 1"):
        rank_models(scores, names("m", 8), ["p", "q"], confidence=1.0)


# ----------------------------------------------------------------------------------------------------- power
@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize("effect", [0.1, -0.4, 0.8, 1.5])
@pytest.mark.parametrize("n", [4, 12, 60])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_power_equals_statsmodels(effect: float, n: int, alpha: float) -> None:
    from statsmodels.stats.power import TTestPower

    expected = TTestPower().power(abs(effect), n, alpha)
    if np.isnan(expected):  # scipy's noncentral t underflows where the far tail is empty
        expected = 1.0
    assert paired_power(effect, n, alpha=alpha) == pytest.approx(expected, rel=1e-9)


@pytest.mark.truth("numerical integration")
@pytest.mark.parametrize(("effect", "n"), [(0.5, 2), (5.0, 10), (50.0, 2), (1e-9, 7), (0.0, 7), (0.03, 9000)])
def test_power_by_integrating_over_the_sd(effect: float, n: int) -> None:
    critical, shift = stats.t.isf(0.025, n - 1), effect * np.sqrt(n)

    def given(s: float) -> float:
        tails = stats.norm.sf(critical * s - shift) + stats.norm.cdf(-critical * s - shift)
        return tails * stats.chi.pdf(s * np.sqrt(n - 1), n - 1) * np.sqrt(n - 1)

    expected = sum(
        integrate.quad(given, a, b, epsabs=1e-13, epsrel=1e-11, limit=200)[0]
        for a, b in ((0, 0.9), (0.9, 1.1), (1.1, 2), (2, 9))
    )
    assert paired_power(effect, n) == pytest.approx(expected, rel=1e-8)


@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize(
    ("effect", "power", "alpha"), [(0.5, 0.8, 0.05), (-0.2, 0.9, 0.05), (0.35, 0.8, 0.001), (1.1, 0.95, 0.05)]
)
def test_subjects_needed_equal_statsmodels(effect: float, power: float, alpha: float) -> None:
    from statsmodels.stats.power import TTestPower

    expected = TTestPower().solve_power(abs(effect), power=power, alpha=alpha)
    assert subjects_needed(effect, power=power, alpha=alpha) == np.ceil(expected)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("effect", [0.05, 0.3, 0.9, 3.0])
def test_subjects_needed_is_the_smallest_number(effect: float) -> None:
    n = int(subjects_needed(effect))
    assert paired_power(effect, n) >= 0.8
    assert paired_power(effect, n - 1) < 0.8


def test_ends_of_the_search() -> None:
    assert subjects_needed(100.0) == 2.0
    assert subjects_needed(float("inf")) == 2.0
    assert paired_power(float("-inf"), 2) == 1.0
    assert subjects_needed(0.5, power=paired_power(0.5, 16)) == 16.0
    assert subjects_needed(0.5, power=paired_power(0.5, 2)) == 2.0
    assert subjects_needed(0.5, power=paired_power(0.5, 3)) == 3.0
    assert subjects_needed(0.5, power=paired_power(0.5, 4)) == 4.0
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)  # for small effects n = (z/effect)²
    assert subjects_needed(z / np.sqrt(0.99 * 2**30)) == pytest.approx(0.99 * 2**30, rel=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for effect in (z / np.sqrt(1.01 * 2**30), 0.0, NAN):
            assert np.isnan(subjects_needed(effect))
    assert np.isnan(paired_power(NAN, 5))


@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize("seed", range(3))
def test_subjects_to_separate_from_differences(seed: int) -> None:
    from statsmodels.stats.power import TTestPower

    gap = np.random.default_rng(seed).normal(-0.7, 1, size=15)
    expected = TTestPower().solve_power(abs(gap.mean() / gap.std(ddof=1)), power=0.8, alpha=0.05)
    assert subjects_to_separate(gap) == np.ceil(expected)
    stricter = TTestPower().solve_power(abs(gap.mean() / gap.std(ddof=1)), power=0.9, alpha=0.01)
    assert subjects_to_separate(gap, power=0.9, alpha=0.01) == np.ceil(stricter)


def test_subjects_to_separate_where_little_is_known() -> None:
    assert np.isnan(subjects_to_separate([1.0]))
    assert np.isnan(subjects_to_separate([1.0, -1.0]))
    assert np.isnan(subjects_to_separate([0.0, 0.0]))
    assert subjects_to_separate([2.0, 2.0]) == 2.0
    assert subjects_to_separate([-2.0, -2.0]) == 2.0
    with pytest.raises(MetricError, match="got nan for row"):
        subjects_to_separate([1.0, NAN])
    with pytest.raises(MetricError, match="differences_s with 1 axes"):
        subjects_to_separate([[1.0]])


@pytest.mark.truth("full enumeration")
def test_simulated_power_against_all_draws_of_three() -> None:
    gap = [1.0, 2.0, -0.5, 1.5]
    for alpha in (0.05, 0.2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p = [stats.ttest_1samp(draw, 0).pvalue for draw in product(gap, repeat=3)]
        exact = np.mean(np.array(p) < alpha)
        found = simulated_power(gap, 3, alpha=alpha, draws=20_000)
        assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.truth("closed form")
def test_simulated_power_of_a_big_normal_sample_is_the_exact_one() -> None:
    gap = stats.norm.ppf((np.arange(500) + 0.5) / 500)
    gap = 0.6 + gap / gap.std()
    assert simulated_power(gap, 20) == pytest.approx(paired_power(0.6, 20), abs=0.015)


def test_simulated_power_at_its_ends() -> None:
    assert simulated_power([0.0, 0.0], 5) == 0.0
    assert simulated_power([0.1, 0.1, 0.1], 5, draws=1001) == 1.0
    assert simulated_power([1.0], 2) == 1.0
    gap = [1.0, 2.0, -0.5]
    assert simulated_power(gap, 4) == simulated_power(gap, 4, alpha=0.05, draws=10_000, seed=0)
    assert simulated_power(gap, 4, seed=1) != simulated_power(gap, 4)
    assert (simulated_power(gap, 4, draws=1500) * 1500) % 1 == pytest.approx(0, abs=1e-9)
    with pytest.raises(MetricError, match="subjects as a whole number of at least 2, got 1"):
        simulated_power(gap, 1)
    with pytest.raises(MetricError, match="draws as a whole number of at least 1, got 0"):
        simulated_power(gap, 2, draws=0)
    with pytest.raises(MetricError, match="got nan for row"):
        simulated_power([NAN], 2)
    with pytest.raises(MetricError, match="differences_s with 1 axes"):
        simulated_power([[1.0]], 2)


def test_what_power_refuses() -> None:
    with pytest.raises(MetricError, match="subjects as a whole number of at least 2, got 1"):
        paired_power(0.5, 1)
    with pytest.raises(MetricError, match="alpha between 0 and 1, got 0"):
        paired_power(0.5, 5, alpha=0)
    with pytest.raises(MetricError, match="power between 0 and 1, got 1"):
        subjects_needed(0.5, power=1)
    with pytest.raises(MetricError, match="alpha between 0 and 1, got 5"):
        simulated_power([1.0, 2.0], 5, alpha=5)


# -------------------------------------------------------------------------------------------------- cards
def test_cards() -> None:
    scores = [[1.0, 5.0, 2.0], [2.0, 3.0, 4.0]]
    table = rank_models(scores, ["a", "b"], names("s", 3))
    assert card("P(first)")(scores, ["a", "b"], names("s", 3)).tolist() == table.first.tolist()
    assert card("rank")(scores, ["a", "b"], names("s", 3)).tolist() == table.rank.tolist()
    assert card("p·sign-flip")([1.0, 2.0, 3.0]) == 0.25
    assert card("subjects to separate")([1.0, 2.0, -1.0, 2.0]) == 18.0
    for name, way, needs in (
        ("P(first)", "higher", ("subjects",)),
        ("rank", "lower", ("subjects",)),
        ("p·sign-flip", "neither", ("reference", "subjects")),
        ("subjects to separate", "neither", ("reference", "subjects")),
    ):
        found = card(name)
        assert (found.unit, found.direction, found.needs, found.merge) == ("1", way, needs, "samples")
