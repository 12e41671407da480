import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.ranking import (
    aurc,
    aurg,
    ause,
    correlation,
    failure_auroc,
    risk_coverage,
    within_joint_correlation,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN, INF = np.nan, np.inf
Risk = Literal["MAE", "RMSE"]
RISKS: tuple[Risk, ...] = ("MAE", "RMSE")
KINDS: tuple[Literal["pearson", "spearman"], ...] = ("pearson", "spearman")


def noisy(seed: int, n: int = 60, levels: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Errors and an uncertainty with many ties that follows them a little."""
    rng = np.random.default_rng(seed)
    error = rng.gamma(2, 0.03, n)
    return error, np.round(levels * (error / error.max() + rng.uniform(0, 1, n)))


# --- sparsification


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_areas_of_errors_1_to_n(n: int) -> None:
    error = np.arange(1.0, n + 1)
    rank, best, worst, none = np.arange(n), error, -error, np.zeros(n)
    np.testing.assert_allclose(risk_coverage(error, best).risk, 1 + rank / 2)
    np.testing.assert_allclose(risk_coverage(error, worst).risk, n - rank / 2)
    np.testing.assert_allclose(risk_coverage(error, none).risk, (n + 1) / 2)
    np.testing.assert_allclose(risk_coverage(error, worst).coverage, (rank + 1) / n)
    np.testing.assert_allclose(risk_coverage(error, worst).oracle, 1 + rank / 2)
    assert ause(error, best) == 0.0
    assert ause(error, worst) == pytest.approx((n - 1) / (n + 1), rel=1e-12)
    assert ause(error, none) == pytest.approx((n - 1) / (2 * n + 2), rel=1e-12)
    assert aurg(error, best) == pytest.approx((n - 1) / (2 * n + 2), rel=1e-12)
    assert aurg(error, worst) == pytest.approx(-(n - 1) / (2 * n + 2), rel=1e-12)
    assert aurg(error, none) == pytest.approx(0.0, abs=1e-15)
    assert aurc(error, best) == pytest.approx((n + 3) / 4, rel=1e-12)


@pytest.mark.truth("closed form")
def test_root_mean_square_curve_by_hand() -> None:
    curve = risk_coverage([3.0, 4.0, 0.0], [0.1, 0.2, 0.3], risk="RMSE")
    np.testing.assert_allclose(curve.risk, [3, np.sqrt(12.5), np.sqrt(25 / 3)])
    np.testing.assert_allclose(curve.oracle, [0, np.sqrt(4.5), np.sqrt(25 / 3)])
    gap = (3 + np.sqrt(12.5) - np.sqrt(4.5)) / 3
    assert ause([3.0, 4.0, 0.0], [0.1, 0.2, 0.3], risk="RMSE") == pytest.approx(gap / np.sqrt(25 / 3))
    gain = (2 * np.sqrt(25 / 3) - 3 - np.sqrt(12.5)) / 3
    assert aurg([3.0, 4.0, 0.0], [0.1, 0.2, 0.3], risk="RMSE") == pytest.approx(gain / np.sqrt(25 / 3))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("uncertainty", [[1, 1, 2, 2, 2], [3, 1, 1, 1, 0], [1, 1, 1, 1, 1], [2, 4, 3, 1, 5]])
def test_ties_are_the_mean_over_all_orders(risk: Risk, uncertainty: list[float]) -> None:
    error = [0.5, 2.0, 1.0, 7.0, 3.0]
    power = 1 if risk == "MAE" else 2
    orders = [
        [error[k] ** power for k in order]
        for order in itertools.permutations(range(5))
        if all(uncertainty[a] <= uncertainty[b] for a, b in itertools.pairwise(order))
    ]
    losses = [np.mean([np.mean(order[:k]) for order in orders]) for k in range(1, 6)]
    expected = np.array(losses) ** (1 / power)
    np.testing.assert_allclose(risk_coverage(error, uncertainty, risk=risk).risk, expected, rtol=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("seed", range(3))
def test_areas_by_removing_one_sample_at_a_time(risk: Risk, seed: int) -> None:
    rng = np.random.default_rng(seed)
    error, uncertainty = rng.gamma(2, 1, 30), rng.permutation(30)

    def area(key: Callable[[int], float]) -> float:
        kept, total = sorted(range(30), key=key), 0.0
        while kept:
            left = error[kept]
            total += left.mean() if risk == "MAE" else np.sqrt(np.mean(left**2))
            kept.pop()  # the most uncertain goes
        return total / 30

    full = error.mean() if risk == "MAE" else np.sqrt(np.mean(error**2))
    by_uncertainty, by_error = area(lambda k: uncertainty[k]), area(lambda k: error[k])
    assert aurc(error, uncertainty, risk=risk) == pytest.approx(by_uncertainty, rel=1e-12)
    assert ause(error, uncertainty, risk=risk) == pytest.approx((by_uncertainty - by_error) / full, rel=1e-10)
    assert aurg(error, uncertainty, risk=risk) == pytest.approx((full - by_uncertainty) / full, rel=1e-10)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_lost_and_what_is_gained_make_the_oracle(risk: Risk, seed: int) -> None:
    error, uncertainty = noisy(seed)
    both = ause(error, uncertainty, risk=risk) + aurg(error, uncertainty, risk=risk)
    assert both == pytest.approx(aurg(error, error, risk=risk), rel=1e-10)


RANKERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "AUSE·MAE": lambda e, u: ause(e, u, risk="MAE"),
    "AUSE·RMSE": lambda e, u: ause(e, u, risk="RMSE"),
    "AURG·MAE": lambda e, u: aurg(e, u, risk="MAE"),
    "AURG·RMSE": lambda e, u: aurg(e, u, risk="RMSE"),
    "AUROC": lambda e, u: failure_auroc(e / np.median(e), u, threshold=1.0),
    "Spearman": lambda e, u: correlation(e, u, kind="spearman"),
    "Pearson": lambda e, u: correlation(e, u, kind="pearson"),
}


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("name", RANKERS)
def test_what_ranking_scores_do_not_see(name: str) -> None:
    score = RANKERS[name]
    error, uncertainty = noisy(7)
    value = score(error, uncertainty)
    mixed = np.random.default_rng(0).permutation(error.size)
    assert score(error[mixed], uncertainty[mixed]) == pytest.approx(
        value, rel=1e-9
    )  # order of samples, ties too
    assert score(error, 2 * uncertainty) == pytest.approx(value, rel=1e-9)  # σ twice as large
    assert score(1000 * error, uncertainty) == pytest.approx(value, rel=1e-9)  # unit
    assert score(error.reshape(6, 10), uncertainty.reshape(6, 10)) == pytest.approx(value, rel=1e-9)
    if name != "Pearson":
        assert score(error, np.exp(uncertainty / 3)) == pytest.approx(value, rel=1e-9)
        assert score(error, -uncertainty) != pytest.approx(value, rel=1e-2)
    else:
        assert score(error, np.exp(uncertainty / 3)) != pytest.approx(value, rel=1e-2)


def test_sparsification_limits() -> None:
    for score in (ause, aurg, aurc):
        assert np.isnan(score([], []))
        assert np.isnan(score([NAN, 1.0], [1.0, NAN]))
    assert np.isnan(ause([0.0, 0.0], [1.0, 2.0]))
    assert np.isnan(aurg([0.0, 0.0], [1.0, 2.0]))
    assert np.isnan(ause([INF, 1.0], [1.0, 2.0]))
    assert aurc([0.0, 0.0], [1.0, 2.0]) == 0.0
    assert ause([3.0, NAN, 1.0, 9.0], [2.0, 1.0, 1.0, NAN]) == 0.0
    empty = risk_coverage([], [])
    assert [len(part) for part in empty] == [0, 0, 0]
    assert risk_coverage([1.0, 3.0], [1.0, 2.0]).risk.tolist() == [1.0, 2.0]
    for score in (ause, aurg, aurc):  # MAE by default
        assert score([1.0, 4.0], [2.0, 1.0]) == score([1.0, 4.0], [2.0, 1.0], risk="MAE")
        assert score([1.0, 4.0], [2.0, 1.0]) != score([1.0, 4.0], [2.0, 1.0], risk="RMSE")


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("quantity", "unit", "factor"), [
    ("position", "mm", 1000.0),
    ("angle", "°", 57.29577951308232),
    ("pixels", "px", 1.0),
])  # fmt: skip
def test_aurc_cards(quantity: str, unit: str, factor: float) -> None:
    found = card(f"AURC·MAE·{quantity}")
    assert (found.unit, found.direction) == (unit, "lower")
    assert found([0.1, 0.5], [2.0, 1.0]) == pytest.approx(factor * 0.4, rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("wrong", [0, 3, 9])
def test_aurc_of_a_classifier(wrong: int) -> None:
    # 10 answers, one wrong, of confidence rank `wrong`: Σ 1/k from there on, over 10
    error = np.zeros(10)
    error[wrong] = 1
    assert aurc(error, np.arange(10)) == pytest.approx(
        sum(1 / k for k in range(wrong + 1, 11)) / 10, rel=1e-12
    )


# --- failures


@pytest.mark.truth("sklearn")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.04, 0.09])
def test_auroc_of_failures(seed: int, threshold: float) -> None:
    error, uncertainty = noisy(seed, levels=3 + 4 * seed)
    expected = roc_auc_score(error > threshold, uncertainty)
    assert failure_auroc(error, uncertainty, threshold=threshold) == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_auroc_by_all_pairs(seed: int) -> None:
    error, uncertainty = noisy(seed, n=25, levels=4)
    pairs = [
        (uncertainty[i] > uncertainty[j]) + 0.5 * (uncertainty[i] == uncertainty[j])
        for i in range(25)
        for j in range(25)
        if error[i] > 0.06 >= error[j]
    ]
    assert card("AUROC·error>60mm")(error, uncertainty) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_auroc_limits() -> None:
    assert (
        failure_auroc([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], threshold=2.0) == 1.0
    )  # at the threshold: no failure
    assert failure_auroc([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], threshold=2.0) == 0.5
    assert failure_auroc([1.0, INF], [0.5, INF], threshold=2.0) == 1.0
    assert failure_auroc([1.0, 3.0, NAN, 9.0], [2.0, 1.0, 9.0, NAN], threshold=2.0) == 0.0
    assert np.isnan(failure_auroc([1.0, 2.0], [1.0, 2.0], threshold=2.0))
    assert np.isnan(failure_auroc([3.0, 4.0], [1.0, 2.0], threshold=2.0))
    assert np.isnan(failure_auroc([], [], threshold=2.0))


# --- correlation


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(4))
def test_pooled_correlations(seed: int) -> None:
    error, uncertainty = noisy(seed)
    holed = error.copy()
    holed[::7] = NAN
    there = ~np.isnan(holed)
    pearson = stats.pearsonr(error[there], uncertainty[there]).statistic
    spearman = stats.spearmanr(error[there], uncertainty[there]).statistic
    assert correlation(holed, uncertainty) == pytest.approx(pearson, rel=1e-10)
    assert correlation(uncertainty, holed, kind="pearson") == pytest.approx(pearson, rel=1e-10)
    assert card("POCO r·pooled")(holed, uncertainty) == pytest.approx(pearson, rel=1e-10)
    assert card("Spearman·pooled")(holed, uncertainty) == pytest.approx(spearman, rel=1e-10)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("spread", "tolerance"), [(0.1, 2e-3), (0.2, 2e-3), (0.5, 0.02)])
def test_pearson_of_a_perfect_gaussian_is_no_grade(spread: float, tolerance: float) -> None:
    # |e|² = V χ²₃ with log-normal V = σ²: r = 3 √(a − 1) / √(15 a − 9), a = E[V²]/E[V]² = exp(4 spread²)
    grid = (np.arange(500) + 0.5) / 500
    variance = np.exp(2 * spread * stats.norm.ppf(grid))[:, None] * np.ones(500)
    squared = variance * stats.chi2.ppf(grid, 3)
    a = np.exp(4 * spread**2)
    expected = 3 * np.sqrt(a - 1) / np.sqrt(15 * a - 9)
    assert correlation(squared, variance) == pytest.approx(expected, abs=tolerance)
    assert correlation(squared, 4 * variance) == pytest.approx(expected, abs=tolerance)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holes", [0, 40])
def test_correlation_within_joints(kind: Literal["pearson", "spearman"], holes: int) -> None:
    rng = np.random.default_rng(3)
    error = rng.gamma(2, 1, (25, 5))
    uncertainty = np.round(error + rng.gamma(2, 1, (25, 5)), 1)
    error[rng.integers(0, 25, holes), rng.integers(0, 5, holes)] = NAN
    uncertainty[rng.integers(0, 25, holes), rng.integers(0, 5, holes)] = NAN
    uncertainty[:, 2] = 0.1
    function = stats.pearsonr if kind == "pearson" else stats.spearmanr
    expected = []
    for joint in (0, 1, 3, 4):
        there = ~np.isnan(error[:, joint] + uncertainty[:, joint])
        expected.append(function(error[there, joint], uncertainty[there, joint]).statistic)
    found = within_joint_correlation(error, uncertainty, kind=kind)
    np.testing.assert_allclose(found.per_joint[[0, 1, 3, 4]], expected, rtol=1e-10)
    assert np.isnan(found.per_joint[2])
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-10)
    assert found.share == 80.0
    name = "POCO r·within joint" if kind == "pearson" else "Spearman·within joint"
    assert card(name)(error, uncertainty) == found.mean
    assert card("joints with a ranking")(error, uncertainty) == 80.0


@pytest.mark.truth("closed form")
def test_a_constant_of_the_joint_is_known_by_the_pooled_score_only() -> None:
    # errors of joint j are size j times the same quantiles: the pooled r is that of the sizes
    quantiles = np.sqrt(stats.chi2.ppf((np.arange(200) + 0.5) / 200, 3))
    size = np.arange(1.0, 11)
    error, sigma = quantiles[:, None] * size, np.ones(200)[:, None] * size
    expected = size.std() * quantiles.mean() / error.std()
    assert correlation(error, sigma) == pytest.approx(expected, rel=1e-10)
    assert expected > 0.7
    for kind in KINDS:
        within = within_joint_correlation(error, sigma, kind=kind)
        assert np.isnan(within.mean)
        assert within.share == 0.0
    assert ause(error, sigma) < 0.5 * ause(error, np.ones_like(error))


@pytest.mark.parametrize("kind", KINDS)
def test_no_correlation_without_variation(kind: Literal["pearson", "spearman"]) -> None:
    varied = np.array([0.3, 0.1, 0.7])
    assert np.isnan(correlation(varied, np.full(3, 0.1), kind=kind))  # 0.1 − mean of 0.1s is not 0
    assert np.isnan(correlation(np.full(3, 0.1), varied, kind=kind))
    assert np.isnan(correlation([1.0], [1.0], kind=kind))
    assert np.isnan(correlation([], [], kind=kind))
    assert np.isnan(correlation([1.0, NAN], [1.0, 2.0], kind=kind))
    assert correlation([1.0, 2.0], [1.0, 3.0], kind=kind) == pytest.approx(1.0)
    assert correlation([1.0, 2.0], [3.0, 1.0], kind=kind) == pytest.approx(-1.0)
    # a pair that lacks one half does not vary either
    assert np.isnan(correlation([1.0, 2.0, 3.0], [5.0, 5.0, NAN], kind=kind))
    none = within_joint_correlation(np.zeros((0, 2)), np.zeros((0, 2)), kind=kind)
    assert np.isnan(none.per_joint).tolist() == [True, True]
    assert (np.isnan(none.mean), none.share) == (True, 0.0)
    assert np.isnan(within_joint_correlation(np.zeros((3, 0)), np.zeros((3, 0)), kind=kind).share)


def test_an_infinite_error_has_a_rank_but_no_size() -> None:
    assert correlation([1.0, 2.0, INF], [1.0, 2.0, 3.0], kind="spearman") == pytest.approx(1.0)
    assert np.isnan(correlation([1.0, 2.0, INF], [1.0, 2.0, 3.0], kind="pearson"))


def test_default_kind_is_pearson() -> None:
    error, uncertainty = np.array([[1.0], [2.0], [9.0]]), np.array([[1.0], [2.0], [3.0]])
    assert correlation(error, uncertainty) == correlation(error, uncertainty, kind="pearson") < 0.95
    assert within_joint_correlation(error, uncertainty).mean == correlation(error, uncertainty)


def test_correlation_stays_within_one() -> None:
    rng = np.random.default_rng(0)
    error = rng.uniform(0, 1, (7, 400))
    for sign in (1.0, -1.0):
        r = within_joint_correlation(error, sign * 0.3 * error + 0.7).per_joint
        np.testing.assert_allclose(r, sign, rtol=1e-12)
        assert np.abs(r).max() == 1.0


# --- what is refused


@pytest.mark.parametrize("score", [
    ause, aurg, aurc, correlation, within_joint_correlation,
    lambda e, u: failure_auroc(e, u, threshold=1.0),
])  # fmt: skip
def test_errors_are_sizes(score: Callable[[object, object], object]) -> None:
    with pytest.raises(MetricError, match=r"errors of 0 or more, got -2\.0"):
        score([[1.0, NAN], [-2.0, 1.0]], np.ones((2, 2)))
    with pytest.raises(MetricError, match="error and uncertainty of one shape"):
        score(np.ones((2, 3)), np.ones((2, 2)))
    score([[0.0]], [[-1.0]])


def test_arguments_are_known() -> None:
    with pytest.raises(MetricError, match="risk MAE or RMSE, got 'MSE'"):
        risk_coverage([1.0], [1.0], risk="MSE")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="kind pearson or spearman, got 'kendall'"):
        correlation([1.0], [1.0], kind="kendall")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match=r"\(samples, joints\), got shape \(2,\)"):
        within_joint_correlation([1.0, 2.0], [1.0, 2.0])


@pytest.mark.parametrize("name", ["AUSE·MAE", "AUSE·RMSE", "AURG·MAE", "AURG·RMSE"])
def test_cards_fix_the_risk(name: str) -> None:
    error, uncertainty = noisy(1)
    assert card(name)(error, uncertainty) == RANKERS[name](error, uncertainty)
    assert card(name).direction == ("lower" if "AUSE" in name else "higher")
