import numpy as np
import pytest
from scipy import stats

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.robustness import (
    OCCLUSION_EDGES,
    adversarial_occlusion,
    binned_error,
    break_point,
    group_errors,
    mean_corruption_error,
    occlusion_sensitivity,
    relative_under_corruption,
    repeatability,
    severity_slope,
    under_corruption,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN, INF = np.nan, np.inf


# --- under corruption


@pytest.mark.truth("published")
@pytest.mark.parametrize(
    ("clean", "corrupted", "relative"),
    [(70.4, 47.8, 67.9), (75.1, 53.7, 71.6)],
    ids=["ResNet-50 on COCO-C", "HRNet-W48 on COCO-C"],
)
def test_published_relative_performance(clean: float, corrupted: float, relative: float) -> None:
    # printed to one decimal: the quotient of the unrounded two lies between these, and so must the third
    low = relative_under_corruption({"all": [corrupted - 0.05]}, clean + 0.05)
    high = relative_under_corruption({"all": [corrupted + 0.05]}, clean - 0.05)
    assert low < relative + 0.05
    assert relative - 0.05 < high
    assert high - low < 0.25
    if clean == 70.4:
        assert round(card("rPC")({"all": [corrupted]}, clean), 1) == relative


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_means_over_15_corruptions_and_5_severities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = {f"c{c}": rng.uniform(20, 80, 5) for c in range(15)}
    base = {name: rng.uniform(20, 80, 5) for name in reversed(scores)}
    mean = sum(sum(float(p) for p in scores[f"c{c}"]) / 5 for c in range(15)) / 15
    assert card("mPC")(scores) == pytest.approx(mean, rel=1e-12)
    assert card("mEC")(scores) == pytest.approx(mean, rel=1e-12)
    assert card("rPC")(scores, 90.0) == pytest.approx(mean / 0.9, rel=1e-12)
    assert card("rEC")(scores, 10.0) == pytest.approx(mean * 10, rel=1e-12)
    ratios = [sum(scores[f"c{c}"]) / sum(base[f"c{c}"]) for c in range(15)]
    assert card("mCE")(scores, base) == pytest.approx(100 * sum(ratios) / 15, rel=1e-12)


@pytest.mark.truth("closed form")
def test_each_corruption_weighs_the_same() -> None:
    assert under_corruption({"fog": [10.0, 20.0, 30.0], "blur": [60.0]}) == 40.0
    assert mean_corruption_error({"a": [1.0, 5.0], "b": [9.0]}, {"a": [2.0, 2.0], "b": [9.0]}) == 125.0


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_corruption_error_against_a_multiple_of_itself(factor: float) -> None:
    scores = {"fog": [3.0, 4.0, 9.0], "blur": [2.0]}
    base = {name: [factor * e for e in errors] for name, errors in scores.items()}
    assert mean_corruption_error(scores, base) == pytest.approx(100 / factor, rel=1e-12)
    assert relative_under_corruption(base, factor * 5.0) == pytest.approx(
        relative_under_corruption(scores, 5.0), rel=1e-12
    )


def test_corruption_limits() -> None:
    assert np.isnan(under_corruption({"fog": [1.0, NAN], "blur": [1.0]}))
    assert np.isnan(relative_under_corruption({"fog": [1.0]}, 0.0))
    assert np.isnan(relative_under_corruption({"fog": [1.0]}, NAN))
    assert relative_under_corruption({"fog": [1.0]}, 0.5) == 200.0
    assert np.isnan(mean_corruption_error({"fog": [1.0], "b": [1.0]}, {"fog": [0.0], "b": [1.0]}))
    for empty in ({}, {"fog": []}, {"fog": [1.0], "blur": []}):
        with pytest.raises(MetricError, match="corrupted with a score for one severity or more"):
            under_corruption(empty)
    with pytest.raises(MetricError, match="baseline with a score"):
        mean_corruption_error({"fog": [1.0]}, {})
    with pytest.raises(MetricError, match=r"severities \{'fog': 1\}, got \{'blur': 1\}"):
        mean_corruption_error({"fog": [1.0]}, {"blur": [1.0]})
    with pytest.raises(MetricError, match=r"severities \{'fog': 1\}, got \{'fog': 2\}"):
        mean_corruption_error({"fog": [1.0]}, {"fog": [1.0, 2.0]})
    with pytest.raises(MetricError, match="fog with 1 axes"):
        under_corruption({"fog": [[1.0]]})


# --- severity


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(4))
def test_slope_is_that_of_a_regression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    severity, error = rng.uniform(0, 5, 12), rng.normal(size=12)
    there = np.arange(12) % 4 != 0
    holed = np.where(there, error, NAN)
    expected = stats.linregress(severity[there], error[there]).slope
    assert severity_slope(severity, holed) == pytest.approx(expected, rel=1e-10)
    assert severity_slope(np.where(there, severity, NAN), error) == pytest.approx(expected, rel=1e-10)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("a", "b"), [(4.0, 1.5), (0.0, -2.0), (7.0, 0.0)])
def test_slope_of_a_line(a: float, b: float) -> None:
    severity = np.array([0.0, 1.0, 2.0, 5.0])
    assert severity_slope(severity, a + b * severity) == pytest.approx(b, abs=1e-12)


def test_slope_limits() -> None:
    assert np.isnan(severity_slope([], []))
    assert np.isnan(severity_slope([1.0], [1.0]))
    assert np.isnan(severity_slope([2.0, 2.0], [1.0, 3.0]))
    assert np.isnan(severity_slope([1.0, 2.0, 3.0], [1.0, NAN, NAN]))
    with pytest.raises(MetricError, match="severity and score of one shape"):
        severity_slope([1.0, 2.0], [1.0])


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("factor", [1.1, 1.5, 2.0])
@pytest.mark.parametrize("slope", [0.3, 2.0])
def test_break_point_of_a_straight_error(factor: float, slope: float) -> None:
    # clean + slope · s = factor · clean
    severity, clean = np.array([0.5, 1.0, 3.0, 40.0]), 4.0
    expected = (factor - 1) * clean / slope
    assert break_point(severity, clean + slope * severity, clean=clean, factor=factor) == pytest.approx(
        expected
    )


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("factor", [0.9, 0.5, 0.2])
def test_break_point_of_a_straight_performance(factor: float) -> None:
    severity, clean = np.array([1.0, 2.0, 3.0, 10.0]), 80.0
    found = break_point(severity, clean - 7.5 * severity, clean=clean, factor=factor)
    assert found == pytest.approx((1 - factor) * clean / 7.5)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(6))
def test_break_point_by_a_fine_walk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    severity = np.cumsum(rng.uniform(0.5, 2, 8))
    error = 4.0 + np.abs(np.cumsum(rng.normal(0.2, 0.9, 8)))
    fine = np.linspace(0, severity[-1], 200_001)
    path = np.interp(fine, [0.0, *severity], [4.0, *error])
    beyond = np.flatnonzero(path > 6.0)
    found = card("break point·1.5×error")(severity, error, clean=4.0)
    expected = fine[beyond[0]] if beyond.size else INF
    assert found == pytest.approx(expected, abs=2e-4)
    # the mirror image of the error is a performance that breaks at the same place
    lost = card("break point·50%·performance")(severity, 8.0 - error, clean=4.0)
    assert lost == pytest.approx(found, rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_break_point_goes_with_the_severity_not_with_the_score(factor: float) -> None:
    severity, score = np.array([1.0, 2.0, 4.0]), np.array([5.0, 4.5, 9.0 if factor > 1 else 1.0])
    found = break_point(severity, score, clean=5.0, factor=factor)
    assert 2 < found < 4
    assert break_point(10 * severity, score, clean=5.0, factor=factor) == pytest.approx(10 * found)
    assert break_point(severity, 10 * score, clean=50.0, factor=factor) == pytest.approx(found)


def test_break_point_limits() -> None:
    assert (
        break_point([1, 2], [5.0, 6.0], clean=4.0, factor=1.5) == INF
    )  # reaches the limit, does not exceed it
    assert break_point([1, 2, 3], [6.0, 4.0, 8.0], clean=4.0, factor=1.5) == 2.5  # touched at 1, passed later
    assert break_point([1, 2, 3], [5.0, 6.0, 8.0], clean=4.0, factor=1.5) == 2.0  # touched at 2, and on
    assert break_point([1, 2, 3], [8.0, 4.0, 9.0], clean=4.0, factor=1.5) == 0.5  # the first of two
    assert break_point([2.0], [8.0], clean=4.0, factor=1.5) == 1.0
    assert break_point([1, 2], [5.0, INF], clean=4.0, factor=1.5) == 1.0
    assert np.isnan(break_point([1, 2], [NAN, 9.0], clean=4.0, factor=1.5))
    assert break_point([1, 2], [9.0, NAN], clean=4.0, factor=1.5) == pytest.approx(0.4)
    assert np.isnan(break_point([1, 2], [5.0, NAN], clean=4.0, factor=1.5))
    for clean in (0.0, -1.0, NAN):
        assert np.isnan(break_point([1.0], [9.0], clean=clean, factor=1.5))
    assert break_point([1.0], [9.0], clean=0.5, factor=1.5) == pytest.approx(0.25 / 8.5)
    assert np.isnan(break_point([], [], clean=4.0, factor=1.5))


@pytest.mark.parametrize(
    "severity", [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [-1.0, 1.0], [[1.0, 2.0]], 1.0, [1.0, NAN]]
)
def test_severities_increase(severity: object) -> None:
    with pytest.raises(MetricError, match="strictly increasing row, all above 0"):
        break_point(severity, np.ones(np.shape(severity)), clean=1.0, factor=1.5)


def test_break_factor() -> None:
    with pytest.raises(MetricError, match="performance\\), got 1"):
        break_point([1.0], [1.0], clean=1.0, factor=1.0)
    with pytest.raises(MetricError, match=r"factor above zero, got -0\.5"):
        break_point([1.0], [1.0], clean=1.0, factor=-0.5)


# --- groups and bins


def test_groups_by_hand() -> None:
    error = [1.0, 3.0, 10.0, NAN, 4.0, 6.0, 50.0, NAN]
    group = ["b", "b", "a", "a", "c", "c", "d", "e"]
    found = group_errors(error, group, min_n=2)
    assert found.names == ("a", "b", "c", "d", "e")
    np.testing.assert_array_equal(found.mean, [10, 2, 5, 50, NAN])
    assert found.n.tolist() == [1, 2, 2, 1, 0]
    assert found.missed.tolist() == [1, 0, 0, 0, 1]
    assert found.ranked == ("c", "b")
    assert (found.worst, found.worst_error, found.gap) == ("c", 5.0, 3.0)


def test_what_a_miss_costs() -> None:
    found = group_errors([1.0, NAN, 4.0, NAN], ["a", "a", "b", "c"], min_n=1, miss_cost=9.0)
    assert found.mean.tolist() == [5.0, 4.0, 9.0]
    assert found.n.tolist() == [2, 1, 1]
    assert found.missed.tolist() == [1, 0, 1]
    assert (found.worst, found.gap, found.ranked) == ("c", 5.0, ("c", "a", "b"))
    bins = binned_error([1.0, NAN, NAN], [0.1, 0.2, 0.9], edges=[0.0, 0.5, 1.0], miss_cost=9.0)
    assert (bins.mean.tolist(), bins.n.tolist(), bins.missed.tolist()) == ([5.0, 9.0], [2, 1], [1, 1])


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_groups_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    error, group = rng.gamma(2, 3, 200), rng.integers(0, 6, 200)
    error[rng.random(200) < 0.1] = NAN
    found = group_errors(error, group.tolist(), min_n=30)
    rows = {str(g): [e for e, h in zip(error, group, strict=True) if h == g and e == e] for g in range(6)}
    means = {g: sum(row) / len(row) for g, row in rows.items() if len(row) >= 30}
    assert dict(zip(found.names, found.n.tolist(), strict=True)) == {g: len(r) for g, r in rows.items()}
    assert found.ranked == tuple(sorted(means, key=lambda g: -means[g]))
    assert found.worst_error == pytest.approx(max(means.values()), rel=1e-12)
    assert found.gap == pytest.approx(max(means.values()) - min(means.values()), rel=1e-12)


def test_small_groups_are_not_ranked() -> None:
    error, group = [9.0] * 19 + [1.0] * 20, ["few"] * 19 + ["enough"] * 20
    found = group_errors(error, group)
    assert (found.ranked, found.worst, found.worst_error) == (("enough",), "enough", 1.0)
    assert np.isnan(found.gap)  # one group has no other to differ from
    assert card("worst group")(error, group) == 1.0
    assert card("group gap")([*error, 9.0], [*group, "few"]) == 8.0
    none = group_errors([1.0], ["a"])
    assert (none.worst, none.ranked, none.mean.tolist()) == ("", (), [1.0])
    assert np.isnan([none.worst_error, none.gap]).all()
    empty = group_errors([], [])
    assert (empty.names, empty.worst, len(empty.mean)) == ((), "", 0)
    with pytest.raises(MetricError, match="group for each of 2 errors, got 1"):
        group_errors([1.0, 2.0], ["a"])
    with pytest.raises(MetricError, match="min_n of 1 or more, got 0"):
        group_errors([1.0], ["a"], min_n=0)
    with pytest.raises(MetricError, match="error with 1 axes"):
        group_errors([[1.0]], ["a"])


def test_of_equal_groups_the_first_by_name_is_worst() -> None:
    found = group_errors([2.0, 2.0, 1.0], ["z", "y", "x"], min_n=1)
    assert (found.worst, found.ranked) == ("y", ("y", "z", "x"))
    assert group_errors([2.0, 3.0], [10, 9], min_n=1).names == ("10", "9")  # labels are text


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(3))
def test_bins_as_binned_statistic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    error, occluded = rng.gamma(2, 3, 80), np.round(rng.uniform(0, 1, 80), 1)
    found = binned_error(error, occluded, edges=OCCLUSION_EDGES)
    np.testing.assert_allclose(
        found.mean, stats.binned_statistic(occluded, error, bins=list(OCCLUSION_EDGES)).statistic, rtol=1e-12
    )
    assert found.n.tolist() == np.histogram(occluded, OCCLUSION_EDGES)[0].tolist()
    np.testing.assert_array_equal(card("occlusion-binned error")(error, occluded), found.mean)


def test_bin_limits() -> None:
    error = np.array([1.0, 2.0, 3.0, 4.0, 5.0, NAN, 7.0])
    attribute = np.array([0.0, 0.5, 1.0, -0.1, 1.1, 0.2, NAN])
    found = binned_error(error, attribute, edges=[0.0, 0.5, 1.0])
    assert found.mean.tolist() == [1.0, 2.5]
    assert found.n.tolist() == [1, 2]
    assert found.missed.tolist() == [1, 0]
    assert found.unbinned == 3
    empty = binned_error([[1.0], [2.0]], [[0.1], [0.2]], edges=[0.0, 0.5, 1.0, 1.5])
    np.testing.assert_array_equal(empty.mean, [1.5, NAN, NAN])
    assert empty.unbinned == 0
    assert binned_error([1.0, 3.0], [0.0, 1.0], edges=[0.0, 1.0]).mean.tolist() == [2.0]
    assert OCCLUSION_EDGES == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    for edges in ([0.0], [], [0.0, 0.0], [1.0, 0.0], [0.0, NAN], [0.0, 1.0, 0.5]):
        with pytest.raises(MetricError, match="two or more strictly increasing edges"):
            binned_error([1.0], [0.0], edges=edges)
    with pytest.raises(MetricError, match="error and attribute of one shape"):
        binned_error([1.0], [0.0, 1.0], edges=[0.0, 1.0])


# --- patches


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_patch_maps_position_by_position(seed: int) -> None:
    rng = np.random.default_rng(seed)
    error, clean = rng.uniform(0.02, 0.2, (4, 3, 5)), rng.uniform(0.02, 0.1, 4)
    highest = [max(error[n, y, x] for y in range(3) for x in range(5)) for n in range(4)]
    rises = [[error[n, y, x] - clean[n] for y in range(3) for x in range(5)] for n in range(4)]
    flat = [rise for row in rises for rise in row]
    for name in ("AdvOcc@40", "AdvOcc@80"):
        assert card(name)(error) == pytest.approx(1000 * sum(highest) / 4, rel=1e-12)
    assert card("occlusion rise·max")(error, clean) == pytest.approx(250 * sum(map(max, rises)), rel=1e-12)
    assert card("occlusion rise·mean")(error, clean) == pytest.approx(1000 * sum(flat) / 60, rel=1e-12)
    share = 100 * sum(rise > 0.01 for rise in flat) / 60
    assert card("occlusion area·rise>10mm")(error, clean) == pytest.approx(share, rel=1e-12)
    assert occlusion_sensitivity(error, clean).area == pytest.approx(share, rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rise", [0.0, 0.25, 1.5])
def test_one_bad_position(rise: float) -> None:
    error = np.full((2, 4, 4), 0.5)
    error[:, 1, 3] += rise
    found = occlusion_sensitivity(error, [0.5, 0.5], threshold=0.25)
    assert found.highest == pytest.approx(1000 * rise)
    assert found.mean == pytest.approx(1000 * rise / 16)
    assert found.area == (6.25 if rise > 0.25 else 0.0)  # at the threshold it has not risen above it
    assert adversarial_occlusion(error) == pytest.approx(500 + 1000 * rise)


def test_patch_limits() -> None:
    error = [[[0.5, NAN]], [[0.25, 0.25]]]
    assert np.isnan(adversarial_occlusion(error))
    assert adversarial_occlusion(error, miss_cost=1.0) == 625.0
    assert np.isnan(occlusion_sensitivity(error, [0.25, 0.25])).all()
    assert np.isnan(occlusion_sensitivity([[[0.5]]], [NAN])).all()
    assert occlusion_sensitivity(error, [0.25, 0.25], miss_cost=1.0).highest == 375.0
    for nothing in (np.zeros((0, 2, 2)), np.zeros((2, 0, 2)), np.zeros((2, 2, 0))):
        assert np.isnan(adversarial_occlusion(nothing))
        assert np.isnan(occlusion_sensitivity(nothing, np.zeros(len(nothing)))).all()
    with pytest.raises(MetricError, match="error with 3 axes"):
        adversarial_occlusion([[0.5]])
    with pytest.raises(MetricError, match="clean with 1 axes"):
        occlusion_sensitivity([[[0.5]]], [[0.5]])
    with pytest.raises(MetricError, match="clean error for each of 1 maps, got 2"):
        occlusion_sensitivity([[[0.5]]], [0.5, 0.5])


# --- repeats


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("repeats", [2, 3, 6])
def test_repeatability_is_the_pooled_sd(repeats: int) -> None:
    rng = np.random.default_rng(repeats)
    values = rng.normal(size=(repeats, 4, 3))
    expected = np.sqrt(np.mean([np.var(values[:, i, j], ddof=1) for i, j in np.ndindex(4, 3)]))
    assert repeatability(values) == pytest.approx(expected, rel=1e-12)
    values[0, 0, 0] = NAN  # one repeat less of one target
    squares = sum(
        np.nanvar(values[:, i, j]) * np.sum(~np.isnan(values[:, i, j])) for i, j in np.ndindex(4, 3)
    )
    assert repeatability(values) == pytest.approx(np.sqrt(squares / (12 * (repeats - 1) - 1)), rel=1e-12)


@pytest.mark.truth("scipy")
def test_repeatability_is_the_root_of_the_error_mean_square() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)) + np.arange(7)
    f = stats.f_oneway(*values.T).statistic
    between = 5 * np.var(values.mean(axis=0), ddof=1)
    assert repeatability(values) ** 2 == pytest.approx(between / f, rel=1e-10)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("quantity", "unit", "factor"), [
    ("position", "mm", 1000.0),
    ("angle", "°", 57.29577951308232),
    ("pixels", "px", 1.0),
])  # fmt: skip
def test_repeatability_cards(quantity: str, unit: str, factor: float) -> None:
    found = card(f"repeatability SD·{quantity}")
    assert found.unit == unit
    assert found([[0.0, 5.0], [2.0, 5.0]]) == pytest.approx(factor, rel=1e-12)  # variances 2 and 0


def test_repeatability_limits() -> None:
    assert repeatability([1.0, 3.0]) == pytest.approx(np.sqrt(2))
    assert repeatability([[1.0, 1.0], [3.0, NAN], [NAN, NAN]]) == pytest.approx(np.sqrt(2))
    assert repeatability([[1.0, NAN], [3.0, NAN]]) == pytest.approx(np.sqrt(2))  # a target never answered
    assert np.isnan(repeatability([[1.0, 2.0]]))
    assert np.isnan(repeatability(np.zeros((0, 3))))
    assert np.isnan(repeatability([[NAN], [NAN]]))
    assert repeatability([[4.0], [4.0]]) == 0.0
    with pytest.raises(MetricError, match="got a bare number"):
        repeatability(1.0)
