"""Permutation tests over curves against scipy, full enumeration and the definition in a plain loop."""

from __future__ import annotations

import warnings
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from metrics import curves as module
from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.curves import (
    Cluster,
    CurveTest,
    label_swaps,
    one_sample_curves,
    paired_curves,
    subject_curves,
    swaps_are_exact,
    two_sample_curves,
)

NAN = float("nan")


def names(count: int, prefix: str = "s") -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def smooth(seed: int, n: int, instants: int = 25, *, bump: float = 0.0) -> np.ndarray:
    """Curves of neighbours' means, with a bump in the middle third."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, instants + 4))
    curves = np.stack([noise[:, i : i + instants] for i in range(5)]).mean(axis=0)
    curves[:, instants // 3 : 2 * instants // 3] += bump
    return curves


def mass(t: np.ndarray, forming: float) -> list[tuple[int, int, float]]:
    """Clusters (start, stop, Σ|t|) on either side, an instant at a time."""
    found, start = [], None
    side = 0
    for i in range(len(t) + 1):
        now = 0 if i == len(t) or abs(t[i]) <= forming else int(np.sign(t[i]))
        if now != side:
            if side:
                found.append((start, i, float(np.abs(t[start:i]).sum())))
            start, side = i, now
    return found


# ------------------------------------------------------------------------------------------------------ t
def same_t(found: np.ndarray, expected: np.ndarray, df: int) -> None:
    """Equal as an angle everywhere, and as t up to 300: beyond, both sides lose digits as ε·t²."""
    assert found / np.hypot(found, np.sqrt(df)) == pytest.approx(
        expected / np.hypot(expected, np.sqrt(df)), rel=1e-9
    )
    usual = np.abs(expected) < 300
    assert usual.mean() > 0.9
    assert found[usual] == pytest.approx(expected[usual], rel=1e-9)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [2, 5, 12])
def test_t_of_one_sample_and_pairs(seed: int, n: int) -> None:
    curves, other = smooth(seed, n, bump=2.0), smooth(seed + 50, n)
    found = one_sample_curves(curves, names(n), permutations=20)
    same_t(found.t_t, stats.ttest_1samp(curves, 0).statistic, n - 1)
    found = paired_curves(curves, other, names(n), permutations=20)
    same_t(found.t_t, stats.ttest_rel(curves, other).statistic, n - 1)
    assert found.subjects == n


@pytest.mark.truth("scipy")
@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1), (3, 3), (4, 7), (9, 2)])
def test_t_of_two_samples(first: int, second: int) -> None:
    a, b = smooth(first, first, bump=1.0) + 30, smooth(second + 20, second) + 30
    found = two_sample_curves(a, names(first, "a"), b, names(second, "b"), permutations=20)
    same_t(found.t_t, stats.ttest_ind(a, b).statistic, first + second - 2)
    assert found.subjects == first + second


# --------------------------------------------------------------------------------------- against enumeration
def by_loop(kind: str, a: np.ndarray, b: np.ndarray, alpha: float, forming: float | None) -> CurveTest:
    """The whole test with scipy's t, one permutation at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "two":
            both, n = np.concatenate([a, b]), len(a) + len(b)
            ts = []
            for chosen in combinations(range(n), len(a)):
                rest = [i for i in range(n) if i not in chosen]
                ts.append(stats.ttest_ind(both[list(chosen)], both[rest]).statistic)
        else:
            gap = a - b
            ts = [
                stats.ttest_1samp(np.array(signs)[:, None] * gap, 0).statistic
                for signs in product((1, -1), repeat=len(gap))
            ]
    t = np.array(ts)
    peaks = np.abs(t).max(axis=1)
    total = len(peaks)
    rank = int(np.floor(alpha * total + 1e-9))
    threshold = np.sort(peaks)[::-1][rank]
    clusters = []
    for start, stop, weight in mass(t[0], threshold * (1 + 1e-9) if forming is None else forming):
        peak = t[0][start:stop][np.abs(t[0][start:stop]).argmax()]
        if forming is None:
            p = np.mean(peaks >= abs(peak) * (1 - 1e-9))
        else:
            heaviest = [max([m for _, _, m in mass(row, forming)], default=0.0) for row in t]
            p = np.mean(np.array(heaviest) >= weight * (1 - 1e-9))
        clusters.append(Cluster(start, stop, float(peak), weight, float(p)))
    p_global = float(np.mean(peaks >= peaks[0] * (1 - 1e-9)))
    return CurveTest(t[0], float(threshold), p_global, tuple(clusters), 0, (), total, True)


def same(found: CurveTest, expected: CurveTest) -> None:
    assert found.t_t == pytest.approx(expected.t_t, rel=1e-9)
    assert found.threshold == pytest.approx(expected.threshold, rel=1e-9)
    assert found.p_global == pytest.approx(expected.p_global, rel=1e-12)
    assert [(c.start, c.stop) for c in found.clusters] == [(c.start, c.stop) for c in expected.clusters]
    for left, right in zip(found.clusters, expected.clusters, strict=True):
        assert (left.peak, left.mass, left.p) == pytest.approx((right.peak, right.mass, right.p), rel=1e-9)


@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize("forming", [None, 1.0, 2.0])
@pytest.mark.parametrize(
    ("seed", "bump", "alpha"), [(0, 1.5, 0.05), (1, -0.8, 0.1), (2, 0.0, 0.3), (3, 0.6, 0.0625)]
)
def test_paired_test_by_enumeration(seed: int, bump: float, alpha: float, forming: float | None) -> None:
    a, b = smooth(seed, 6, 15, bump=bump), smooth(seed + 9, 6, 15)
    a[:, 12:] -= bump
    found = paired_curves(a, b, names(6), alpha=alpha, forming=forming)
    same(found, by_loop("paired", a, b, alpha, forming))
    assert (found.permutations, found.exact, found.subjects, found.dropped) == (32, True, 6, ())


@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize("forming", [None, 1.5])
@pytest.mark.parametrize(("seed", "bump", "alpha"), [(0, 2.0, 0.05), (1, -1.0, 0.1), (2, 0.0, 0.3)])
def test_two_sample_test_by_enumeration(seed: int, bump: float, alpha: float, forming: float | None) -> None:
    a, b = smooth(seed, 3, 15, bump=bump), smooth(seed + 9, 4, 15)
    a[:, 12:] -= bump
    found = two_sample_curves(a, names(3, "a"), b, names(4, "b"), alpha=alpha, forming=forming)
    same(found, by_loop("two", a, b, alpha, forming))
    assert (found.permutations, found.exact, found.subjects) == (35, True, 7)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("forming", [None, 1.0])
def test_one_sample_is_paired_with_zero(forming: float | None) -> None:
    curves = smooth(3, 7, bump=1.0)
    one = one_sample_curves(curves, names(7), forming=forming)
    two = paired_curves(curves + 5, np.full_like(curves, 5.0), names(7), forming=forming)
    same(two, one)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("forming", [None, 0.8])
def test_time_reversed_scaled_and_mirrored(forming: float | None) -> None:
    curves = smooth(4, 6, bump=1.2)
    found = one_sample_curves(curves, names(6), alpha=0.1, forming=forming)
    turned = one_sample_curves(-1000 * curves[::-1, ::-1], names(6), alpha=0.1, forming=forming)
    assert turned.t_t[::-1] == pytest.approx(-found.t_t, rel=1e-9)
    assert turned.threshold == pytest.approx(found.threshold, rel=1e-9)
    assert turned.p_global == found.p_global
    back = [(25 - c.stop, 25 - c.start, -c.peak, c.mass, c.p) for c in reversed(turned.clusters)]
    assert found.clusters
    for cluster, other in zip(found.clusters, back, strict=True):
        assert (cluster.start, cluster.stop) == other[:2]
        assert (cluster.peak, cluster.mass, cluster.p) == pytest.approx(other[2:], rel=1e-9)


@pytest.mark.truth("metamorphic")
def test_groups_may_trade_places() -> None:
    a, b = smooth(5, 4, bump=1.5), smooth(6, 5)
    there = two_sample_curves(a, names(4, "a"), b, names(5, "b"))
    back = two_sample_curves(b, names(5, "b"), a, names(4, "a"))
    assert back.t_t == pytest.approx(-there.t_t, rel=1e-9)
    assert (back.p_global, back.permutations) == (there.p_global, 126)
    assert back.threshold == pytest.approx(there.threshold, rel=1e-9)


@pytest.mark.truth("closed form")
def test_familywise_error_is_alpha() -> None:
    """Without an effect an exact test of 6 subjects rejects in 2 of 32 cases at 2/32, at any length."""
    rejected = sum(
        bool(one_sample_curves(smooth(seed, 6, 10), names(6), alpha=2 / 32).clusters) for seed in range(400)
    )
    assert rejected / 400 == pytest.approx(2 / 32, abs=4 * np.sqrt(2 / 32 * 30 / 32 / 400))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("alpha", "rank"), [(0.05, 0), (1 / 16, 1), (0.124, 1), (0.125, 2), (0.9, 14)])
def test_threshold_leaves_at_most_alpha_above_it(alpha: float, rank: int) -> None:
    """5 subjects, 16 flips: ⌊16·alpha⌋ peaks lie above the threshold; p ≤ alpha where t exceeds it."""
    for seed in range(6):
        curves = smooth(seed, 5, 4, bump=0.7)
        found = one_sample_curves(curves, names(5), alpha=alpha)
        peaks = np.sort(
            [
                np.abs(stats.ttest_1samp(np.array([1, *s])[:, None] * curves, 0).statistic).max()
                for s in product((1, -1), repeat=4)
            ]
        )
        assert found.threshold == pytest.approx(peaks[15 - rank], rel=1e-9)
        assert bool(found.clusters) == (found.p_global <= alpha)


def test_alpha_times_permutations_is_not_cut_short_by_rounding() -> None:
    """0.29 × 100 is 28.999999999999996 in floating point, and means 29."""
    curves = smooth(8, 12, 5, bump=0.3)
    found = one_sample_curves(curves, names(12), alpha=0.29, permutations=100)
    finer = one_sample_curves(curves, names(12), alpha=0.2901, permutations=100)
    coarser = one_sample_curves(curves, names(12), alpha=0.2899, permutations=100)
    assert found.threshold == finer.threshold
    assert found.threshold < coarser.threshold


# --------------------------------------------------------------------------------------- random permutations
@pytest.mark.truth("full enumeration")
def test_random_permutations_come_near_the_exact_p() -> None:
    a, b = smooth(9, 6, bump=0.5), smooth(10, 6)
    for test in (
        lambda **k: paired_curves(smooth(11, 13, bump=0.25), smooth(12, 13), names(13), forming=1.5, **k),
        lambda **k: two_sample_curves(a, names(6, "a"), b, names(6, "b"), forming=1.5, **k),
    ):
        exact, drawn = test(), test(permutations=900, seed=3)
        assert exact.exact and not drawn.exact
        assert drawn.permutations == 900
        for left, right in zip(
            [exact.p_global, *(c.p for c in exact.clusters)],
            [drawn.p_global, *(c.p for c in drawn.clusters)],
            strict=True,
        ):
            assert right == pytest.approx(left, abs=4 * np.sqrt(left * (1 - left) / 900))
        assert drawn.threshold == pytest.approx(exact.threshold, rel=0.1)
        again = test(permutations=900, seed=3)
        assert (again.p_global, again.threshold) == (drawn.p_global, drawn.threshold)
        assert test(permutations=900, seed=4).threshold != drawn.threshold


def test_defaults() -> None:
    a, b = smooth(13, 16, bump=0.4), smooth(14, 16)
    who = names(16)
    plain = one_sample_curves(a, who)
    assert plain.permutations == 10_000
    full = {"alpha": 0.05, "forming": None, "permutations": 10_000, "seed": 0}
    assert plain.threshold == one_sample_curves(a, who, **full).threshold  # type: ignore[arg-type]
    assert paired_curves(a, b, who).threshold == paired_curves(a, b, who, **full).threshold  # type: ignore[arg-type]
    other = names(16, "b")
    found = two_sample_curves(a, who, b, other)
    assert found.threshold == two_sample_curves(a, who, b, other, **full).threshold  # type: ignore[arg-type]
    assert found.permutations == 10_000


@pytest.mark.truth("full enumeration")
@pytest.mark.parametrize(("first", "total"), [(1, 1), (1, 4), (3, 6), (4, 14)])
def test_all_swaps_are_gone_through_once(first: int, total: int) -> None:
    rows = np.concatenate(list(label_swaps(first, total)))
    assert {tuple(np.flatnonzero(row).tolist()) for row in rows} == set(combinations(range(total), first))
    assert len(rows) == len(set(map(tuple, rows.tolist())))
    assert np.flatnonzero(rows[0]).tolist() == list(range(first))


@pytest.mark.truth("closed form")
def test_random_swaps_are_fair_and_start_with_the_data() -> None:
    found = list(label_swaps(5, 20, permutations=2500, seed=1))
    assert [len(block) for block in found] == [1000, 1000, 500]
    rows = np.concatenate(found)
    assert (rows.sum(axis=1) == 5).all()
    assert np.flatnonzero(rows[0]).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(rows[1000]).tolist() != [0, 1, 2, 3, 4]
    assert np.abs(rows.mean(axis=0) - 0.25).max() < 0.04
    assert (next(label_swaps(5, 20, permutations=60, seed=1)) == rows[:60]).all()
    assert (next(label_swaps(5, 20, permutations=60, seed=2)) != rows[:60]).any()
    default = np.concatenate(list(label_swaps(5, 30)))
    assert len(default) == 10_000
    assert (next(label_swaps(5, 30, seed=0)) == default[:1000]).all()


def test_when_swaps_are_exact() -> None:
    assert swaps_are_exact(7, 14, 3432)
    assert not swaps_are_exact(7, 14, 3431)
    for first, total, permutations, message in (
        (0, 3, 5, "first as a whole number of at least 1, got 0"),
        (4, 3, 5, "total as a whole number of at least 4, got 3"),
        (1, 3, 0, "permutations as a whole number of at least 1, got 0"),
    ):
        with pytest.raises(MetricError, match=message):
            swaps_are_exact(first, total, permutations)


# ------------------------------------------------------------------------------------------------- clusters
@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(6))
def test_heaviest_cluster_of_each_row(seed: int) -> None:
    t = np.random.default_rng(seed).normal(0, 2, size=(30, 12))
    expected = [max([m for _, _, m in mass(row, 1.3)], default=0.0) for row in t]
    assert module._heaviest(t, 1.3) == pytest.approx(expected, rel=1e-12)


def test_heaviest_takes_sides_apart_and_the_threshold_out() -> None:
    t = np.array([[2.0, -2.0, 2.0], [1.0, 1.0, 1.0], [1.5, 1.0, 1.5], [-3.0, -3.0, 0.0], [0.0, 2.0, 2.0]])
    assert module._heaviest(t, 1.0).tolist() == [2.0, 0.0, 1.5, 6.0, 4.0]


def test_clusters_of_both_sides_come_in_order_of_time() -> None:
    curves = np.array([[0.0, -3.0, -2.0, 3.0, 2.5, 0.0, 4.0]] * 6) + 0.1 * smooth(0, 6, 7)
    found = one_sample_curves(curves, names(6))
    assert [(c.start, c.stop) for c in found.clusters] == [(1, 3), (3, 5), (6, 7)]
    assert [np.sign(c.peak) for c in found.clusters] == [-1, 1, 1]
    for c in found.clusters:
        part = found.t_t[c.start : c.stop]
        assert abs(c.peak) == np.abs(part).max()
        assert c.mass == pytest.approx(np.abs(part).sum(), rel=1e-12)


# ------------------------------------------------------------------------------------------- what is missing
@pytest.mark.truth("literal definition")
def test_subject_curves_average_what_is_there() -> None:
    curves = np.array([[1.0, 2.0, NAN], [5.0, NAN, NAN], [3.0, 4.0, 9.0], [3.0, 6.0, NAN]])
    found = subject_curves(curves, ["b", "a", "b", "b"])
    assert found.subjects == ("a", "b")
    assert found.curves_st == pytest.approx(np.array([[5.0, NAN, NAN], [7 / 3, 4.0, 9.0]]), nan_ok=True)
    assert found.trials.tolist() == [1, 3]
    with pytest.raises(
        MetricError, match=r"curves_kt with one curve for each of 1 subjects, got shape \(4, 3\)"
    ):
        subject_curves(curves, ["a"])


def test_curves_with_gaps_are_left_out_and_named() -> None:
    a, b = smooth(15, 7, bump=1.0), smooth(16, 7)
    broken, other = a.copy(), b.copy()
    broken[2, 3], other[5, 0] = NAN, NAN
    keep = [0, 1, 3, 4, 6]
    who = names(7)
    found = paired_curves(broken, other, who)
    same(found, paired_curves(a[keep], b[keep], [who[i] for i in keep]))
    assert (found.dropped, found.subjects) == (("s2", "s5"), 5)
    found = one_sample_curves(broken, who)
    assert (found.dropped, found.subjects) == (("s2",), 6)
    found = two_sample_curves(broken, who, other, names(7, "b"))
    rest = [0, 1, 2, 3, 4, 6]
    same(found, two_sample_curves(a[[0, 1, 3, 4, 5, 6]], names(6), b[rest], names(6, "b")))
    assert (found.dropped, found.subjects) == (("s2", "b5"), 12)


def undefined(found: CurveTest, subjects: int, dropped: tuple[str, ...]) -> None:
    assert found.t_t.shape == (3,)
    assert np.isnan(found.t_t).all()
    assert np.isnan([found.threshold, found.p_global]).all()
    assert (found.clusters, found.subjects, found.dropped) == ((), subjects, dropped)
    assert (found.permutations, found.exact) == (0, False)


def test_too_few_subjects_give_nan() -> None:
    ok, gap = [1.0, 2.0, 3.0], [1.0, NAN, 2.0]
    undefined(one_sample_curves([ok], ["a"]), 1, ())
    undefined(one_sample_curves([ok, gap], ["a", "b"]), 1, ("b",))
    undefined(paired_curves([gap], [ok], ["a"]), 0, ("a",))
    assert one_sample_curves([ok, ok], ["a", "b"]).permutations == 2
    undefined(two_sample_curves([ok], ["a"], [ok], ["b"]), 2, ())
    undefined(two_sample_curves([gap], ["a"], [ok] * 3, names(3)), 3, ("a",))
    undefined(two_sample_curves([ok] * 3, names(3), [gap], ["a"]), 3, ("a",))
    assert two_sample_curves([ok], ["a"], [ok, [2.0, 3.0, 5.0]], ["b", "c"]).permutations == 3


def test_instants_without_differences_have_no_t() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves = smooth(17, 5, 6)
        curves[:, 2] = 0.0
        one = one_sample_curves(curves, names(5))
        nothing = one_sample_curves(np.zeros((5, 3)), names(5))
        # Equal up to rounding is equal: 0.1 + 0.2 is not 0.3 here, nor is a mean of 0.1s always 0.1.
        pair = paired_curves(curves + 0.3, curves + (0.1 + 0.2), names(5))
        below = smooth(23, 5, 6) - 40
        neighbour = paired_curves(below, np.nextafter(below, 0), names(5))
        a, b = smooth(18, 3, 4), smooth(19, 4, 4)
        a[:, 1] = b[:, 1] = 0.1
        two = two_sample_curves(a, names(3, "a"), b, names(4, "b"))
    assert np.isnan(one.t_t).tolist() == [False, False, True, False, False, False]
    assert np.isnan(nothing.t_t).all()
    assert (nothing.threshold, nothing.p_global, nothing.clusters) == (0.0, 1.0, ())
    assert np.isnan(pair.t_t).all()
    assert np.isnan(neighbour.t_t).all()
    assert pair.p_global == 1.0
    assert np.isnan(two.t_t).tolist() == [False, True, False, False]


def test_equal_differences_have_a_bounded_t() -> None:
    found = one_sample_curves([[0.1], [0.1], [0.1]], names(3), alpha=0.3)
    assert found.t_t == pytest.approx([1e6 * np.sqrt(2)], rel=1e-6)
    assert found.p_global == 0.25
    assert found.threshold == pytest.approx(stats.ttest_1samp([0.1, 0.1, -0.1], 0).statistic, rel=1e-9)
    assert [(c.start, c.stop) for c in found.clusters] == [(0, 1)]


def test_what_is_refused() -> None:
    curves = smooth(20, 3)
    with pytest.raises(MetricError, match=r"several for a, b: average trials first \(subject_curves\)"):
        one_sample_curves(smooth(0, 5), ["b", "a", "b", "a", "c"])
    with pytest.raises(MetricError, match="several for s1:"):
        two_sample_curves(curves, names(3), curves[:1], ["s1"])
    with pytest.raises(MetricError, match="predicted_st with one curve for each of 2 subjects"):
        paired_curves(curves, curves, ["a", "b"])
    with pytest.raises(MetricError, match="reference_st with one curve for each of 3 subjects"):
        paired_curves(curves, curves[:2], names(3))
    with pytest.raises(MetricError, match=r"curves of one shape, got \(3, 25\) and \(3, 24\)"):
        paired_curves(curves, curves[:, 1:], names(3))
    with pytest.raises(MetricError, match=r"curves of one length, got shapes \(3, 25\) and \(2, 24\)"):
        two_sample_curves(curves, names(3), curves[:2, 1:], ["x", "y"])
    with pytest.raises(MetricError, match="first_st with one curve for each of 1 subjects"):
        two_sample_curves(curves, ["x"], curves, names(3))
    with pytest.raises(MetricError, match="second_st with one curve for each of 1 subjects"):
        two_sample_curves(curves, names(3), curves, ["x"])
    with pytest.raises(MetricError, match=r"got shape \(3, 0\)"):
        one_sample_curves(np.ones((3, 0)), names(3))
    with pytest.raises(MetricError, match="curves_st with 2 axes"):
        one_sample_curves(np.ones(3), names(3))
    with pytest.raises(MetricError, match="alpha between 0 and 1, got 1"):
        one_sample_curves(curves, names(3), alpha=1)
    with pytest.raises(MetricError, match="forming above zero, got 0"):
        one_sample_curves(curves, names(3), forming=0)
    for test in (
        lambda: one_sample_curves(curves, names(3), permutations=0),
        lambda: two_sample_curves(curves, names(3), curves[:1], ["x"], permutations=0),
    ):
        with pytest.raises(MetricError, match="permutations as a whole number of at least 1, got 0"):
            test()


# -------------------------------------------------------------------------------------------------- cards
def test_cards() -> None:
    a, b = smooth(21, 5, bump=1.0), smooth(22, 5)
    who, other = names(5), names(5, "b")
    expected = {
        "one-sample": (one_sample_curves(a, who), (a, who), ("subjects",)),
        "paired": (paired_curves(a, b, who), (a, b, who), ("reference", "subjects")),
        "two-sample": (two_sample_curves(a, who, b, other), (a, who, b, other), ("groups", "subjects")),
    }
    for kind, (result, arguments, needs) in expected.items():
        found = card(f"max-t p·{kind} curves")
        assert found(*arguments) == result.p_global
        assert (found.unit, found.direction, found.needs, found.merge) == ("1", "neither", needs, "samples")
