import itertools

import numpy as np
import pytest
from scipy import integrate, special, stats
from scipy.spatial.distance import mahalanobis
from scipy.spatial.transform import Rotation

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.uncertainty import (
    LEVELS,
    covariance_of,
    coverage_curve,
    ence,
    ensemble_crps,
    gaussian_crps,
    gaussian_nll,
    interval_score,
    pit_distance,
    sharpness,
    squared_distance,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN, INF = np.nan, np.inf


def quantile_errors(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Errors whose squared distances are the (k − ½)/n quantiles of χ²_d, under random covariances."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, d, d)) + 2 * np.eye(d)
    way = rng.normal(size=(n, d))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    radius = np.sqrt(stats.chi2.ppf((np.arange(n) + 0.5) / n, d))
    return np.einsum("nij,nj->ni", root, way * radius[:, None]), root @ root.transpose(0, 2, 1)


def heavy_tailed(d: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(d)
    root = rng.normal(size=(n, d, d))
    return rng.standard_t(2, size=(n, d)), root @ root.transpose(0, 2, 1) + 0.3 * np.eye(d)


# --- the coverage curve, ECE and its sign


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3.0])
def test_sigma_wrong_by_a_factor(d: int, scale: float) -> None:
    error, covariance = quantile_errors(1000, d)
    curve = coverage_curve(error, scale**2 * covariance)
    inside = stats.chi2.cdf(scale**2 * stats.chi2.ppf(LEVELS, d), d)
    np.testing.assert_allclose(curve.observed, np.round(1000 * inside) / 1000, atol=1e-12)
    assert curve.ece == pytest.approx(np.abs(np.round(1000 * inside) / 1000 - LEVELS).mean(), abs=1e-12)
    assert curve.ece == pytest.approx(abs(stats.f.cdf(scale**2, d, d) - 0.5), abs=3e-3)
    assert curve.bias == pytest.approx(np.sign(scale - 1) * curve.ece, abs=1e-12)


@pytest.mark.truth("closed form")
def test_doubled_and_halved_sigma_of_points_score_036() -> None:
    error, covariance = quantile_errors(2000, 3)
    for scale in (2.0, 0.5):
        assert card("ECE·interval")(error, scale**2 * covariance) == pytest.approx(0.358, abs=2e-3)
    assert card("calibration bias·interval")(error, 0.25 * covariance) == pytest.approx(-0.358, abs=2e-3)
    assert card("ECE·interval")(error, covariance) < 1e-12


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("levels", [(0.5, 0.8, 0.95), LEVELS], ids=["three", "default"])
def test_coverage_by_quantiles_and_inverses(d: int, levels: tuple[float, ...]) -> None:
    error, covariance = heavy_tailed(d)
    far = [e @ np.linalg.inv(c) @ e for e, c in zip(error, covariance, strict=True)]
    observed = [np.mean([x <= stats.chi2.ppf(p, d) for x in far]) for p in levels]
    curve = coverage_curve(error, covariance, levels=levels)
    np.testing.assert_allclose(curve.levels, levels)
    np.testing.assert_allclose(curve.observed, observed, atol=1e-12)
    assert curve.ece == pytest.approx(np.mean([abs(o - p) for o, p in zip(observed, levels, strict=True)]))
    assert curve.bias == pytest.approx(np.mean(observed) - np.mean(levels))


@pytest.mark.truth("closed form")
def test_gaps_of_both_signs_cancel_in_the_bias_only() -> None:
    curve = coverage_curve([[0.0], [100.0]], [[[1.0]]] * 2)  # half inside at every level
    assert curve.ece == pytest.approx(0.25, rel=1e-12)
    assert curve.bias == pytest.approx(0.0, abs=1e-15)


def test_default_levels_are_20_middles() -> None:
    np.testing.assert_allclose(LEVELS, np.arange(0.025, 1, 0.05))
    np.testing.assert_allclose(coverage_curve([[0.0]], [[[1.0]]]).levels, LEVELS)


def test_a_sample_on_the_boundary_is_inside() -> None:
    level = float(special.gammainc(1.0, 0.5 * 1.7**2))
    at = coverage_curve(
        [[1.7, 0.0]], [np.eye(2)], levels=[np.nextafter(level, 0), level, np.nextafter(level, 1)]
    )
    assert at.observed.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_coverage_and_nll_do_not_turn_with_the_frame(seed: int) -> None:
    error, covariance = heavy_tailed(3)
    turn = Rotation.random(random_state=seed).as_matrix()
    turned = error @ turn.T, turn @ covariance @ turn.T
    np.testing.assert_allclose(squared_distance(*turned), squared_distance(error, covariance), rtol=1e-9)
    assert gaussian_nll(*turned) == pytest.approx(gaussian_nll(error, covariance), rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [1e-3, 57.3, 1000.0])
def test_coverage_has_no_unit(scale: float) -> None:
    error, covariance = heavy_tailed(2)
    there, here = coverage_curve(scale * error, scale**2 * covariance), coverage_curve(error, covariance)
    np.testing.assert_allclose(there.observed, here.observed, atol=1e-12)


def test_missing_samples_are_left_out() -> None:
    error = np.array([[0.0, 0.0], [NAN, 0.0], [0.0, 0.0], [9.0, 9.0]])
    covariance = np.stack([np.eye(2)] * 4)
    covariance[2, 0, 1] = NAN
    curve = coverage_curve(error, covariance)
    assert curve.observed.tolist() == [0.5] * 20
    np.testing.assert_array_equal(np.isnan(squared_distance(error, covariance)), [False, True, True, False])
    assert gaussian_nll(error, covariance) == pytest.approx(np.log(2 * np.pi) + 81 / 2)


@pytest.mark.parametrize("n", [0, 2])
def test_nothing_to_judge_is_nan(n: int) -> None:
    error, covariance = np.full((n, 2), NAN), np.ones((n, 2, 2))
    curve = coverage_curve(error, covariance, levels=[0.5])
    assert np.isnan([*curve.observed, curve.ece, curve.bias]).all()
    assert curve.levels.tolist() == [0.5]
    assert curve.observed.shape == (1,)
    row = np.full(n, NAN)
    for score in (gaussian_crps, interval_score, pit_distance, ence):
        assert np.isnan(score(row, row))
    assert np.isnan(gaussian_nll(error, covariance))
    assert np.isnan(sharpness(row))
    assert np.isnan(ensemble_crps(np.full((n, 3), NAN), row))


def test_leading_axes_are_free() -> None:
    error, covariance = heavy_tailed(3)
    shaped = error.reshape(6, 10, 3), covariance.reshape(6, 10, 3, 3)
    assert squared_distance(*shaped).shape == (6, 10)
    assert coverage_curve(*shaped).ece == coverage_curve(error, covariance).ece
    assert gaussian_nll(*shaped) == pytest.approx(gaussian_nll(error, covariance), rel=1e-12)


@pytest.mark.parametrize("levels", [[], [0.0], [1.0], [0.5, 1.2], [-0.1], [NAN]])
def test_levels_lie_between_0_and_1(levels: list[float]) -> None:
    with pytest.raises(MetricError, match="levels between 0 and 1, got"):
        coverage_curve([[0.0]], [[[1.0]]], levels=levels)


@pytest.mark.parametrize(
    ("error", "covariance"),
    [
        (0.0, [[1.0]]),
        ([0.0], [1.0]),
        ([[0.0]], [[1.0]]),
        ([[0.0, 0.0]], [[[1.0]]]),
        ([[0.0]], [[[1.0]], [[1.0]]]),
        (np.zeros((1, 0)), np.zeros((1, 0, 0))),
    ],
)
def test_error_and_covariance_go_together(error: object, covariance: object) -> None:
    with pytest.raises(MetricError, match=r"Expected error \(…, d\) and covariance \(…, d, d\), got"):
        squared_distance(error, covariance)


def test_what_is_no_covariance() -> None:
    with pytest.raises(MetricError, match="symmetric"):
        squared_distance([[1.0, 1.0]], [[[1.0, 0.5], [0.4, 1.0]]])
    with pytest.raises(MetricError, match="symmetric"):
        squared_distance([[1.0, 1.0]], [[[1.0, 0.0], [1.1e-9, 1.0]]])
    assert squared_distance([[1.0, 0.0]], [[[1.0, 0.0], [0.9e-9, 1.0]]]) == pytest.approx([1.0])
    # the tolerance goes with the sample's own largest entry
    with pytest.raises(MetricError, match="symmetric"):
        squared_distance(np.ones((2, 2)), [[[1e3, 0.0], [0.0, 1e3]], [[1e-3, 0.0], [1e-11, 1e-3]]])
    with pytest.raises(MetricError, match=r"negative eigenvalue, got -1\.1e-12"):
        squared_distance([[1.0, 0.0]], [[[1.0, 0.0], [0.0, -1.1e-12]]])
    with pytest.raises(MetricError, match="negative eigenvalue"):
        squared_distance(np.ones((2, 2)), [1e6 * np.eye(2), np.diag([1e-3, -1e-6])])
    assert squared_distance([[1.0, 0.0]], [[[1.0, 0.0], [0.0, -0.9e-12]]]).tolist() == [1.0]
    with pytest.raises(MetricError, match="covariance finite"):
        squared_distance([[1.0, 0.0]], [[[1.0, 0.0], [0.0, INF]]])
    with pytest.raises(MetricError, match="error finite, or NaN where missing, got infinity"):
        squared_distance([[INF, 0.0]], [np.eye(2)])


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_distance_is_mahalanobis(d: int) -> None:
    error, covariance = heavy_tailed(d, 5)
    expected = [
        mahalanobis(e, np.zeros(d), np.linalg.inv(c)) ** 2 for e, c in zip(error, covariance, strict=True)
    ]
    np.testing.assert_allclose(squared_distance(error, covariance), expected, rtol=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("error", "expected"),
    [([1.0, 1.0], 1.0), ([3.0, 3.0], 9.0), ([1.0, -1.0], INF), ([1.0, 1.001], INF), ([0.0, 0.0], 0.0)],
)
def test_a_flat_covariance_knows_only_its_own_line(error: list[float], expected: float) -> None:
    flat = np.ones((2, 2))  # pseudo-inverse: a quarter of itself
    assert squared_distance([error], [flat]) == pytest.approx([expected], rel=1e-9)


@pytest.mark.parametrize(("variance", "expected"), [(0.9e-12, INF), (1e-12, INF), (1.1e-12, 1 / 1.1e-12)])
def test_what_counts_as_flat(variance: float, expected: float) -> None:
    assert squared_distance([[0.0, 1.0]], [np.diag([1.0, variance])]) == pytest.approx([expected])


@pytest.mark.parametrize(("across", "expected"), [(0.9e-12, 1.0), (1e-12, 1.0), (1.1e-12, INF)])
def test_what_counts_as_on_the_line(across: float, expected: float) -> None:
    assert squared_distance([[1.0, across]], [np.diag([1.0, 0.0])]).tolist() == [expected]


def test_independent_axes() -> None:
    sigma = np.array([[1.0, 2.0], [3.0, NAN]])
    covariance = covariance_of(sigma)
    assert covariance[0].tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert np.isnan(squared_distance(np.ones((2, 2)), covariance)).tolist() == [False, True]
    assert covariance_of([0.0]).tolist() == [[0.0]]
    with pytest.raises(MetricError, match=r"sigma of 0 or more, got -0\.5"):
        covariance_of([NAN, -0.5])
    with pytest.raises(MetricError, match="sigma finite"):
        covariance_of([1.0, INF])
    with pytest.raises(MetricError, match="got a bare number"):
        covariance_of(1.0)


# --- log score


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_nll_is_minus_the_log_density(d: int) -> None:
    error, covariance = heavy_tailed(d)
    densities = [
        stats.multivariate_normal(np.zeros(d), c).logpdf(e) for e, c in zip(error, covariance, strict=True)
    ]
    assert gaussian_nll(error, covariance) == pytest.approx(-np.mean(densities), rel=1e-10)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_nll_of_errors_with_the_variance_of_a_normal(scale: float) -> None:
    # errors ±s have mean square s², as N(0, s²) has: the mean NLL is the cross-entropy of the two Gaussians
    expected = 0.5 * np.log(2 * np.pi * scale**2) + 0.5 / scale**2
    assert gaussian_nll([[1.0], [-1.0]], [[[scale**2]]] * 2) == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_nll_moves_by_the_unit(d: int) -> None:
    error, covariance = heavy_tailed(d)
    moved = gaussian_nll(1000 * error, 1e6 * covariance) - gaussian_nll(error, covariance)
    assert moved == pytest.approx(d * np.log(1000), rel=1e-9)


def test_nll_of_point_masses() -> None:
    assert gaussian_nll([[1.0]], [[[0.0]]]) == INF
    assert gaussian_nll([[0.0]], [[[0.0]]]) == -INF
    assert gaussian_nll([[1.0], [1.0]], [[[0.0]], [[1.0]]]) == INF
    assert np.isnan(gaussian_nll([[1.0], [0.0]], [[[0.0]], [[0.0]]]))


# --- ENCE


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("bins", [1, 3, 10])
def test_ence_of_sigma_wrong_by_a_factor(scale: float, bins: int) -> None:
    sigma = np.linspace(0.1, 3, 60)
    error = sigma * np.where(np.arange(60) % 2, 1, -1)  # in every bin RMSE = root mean variance
    assert ence(error, scale * sigma, bins=bins) == pytest.approx(abs(1 / scale - 1), abs=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize(("n", "bins"), [(50, 10), (50, 5), (47, 10), (11, 10), (10, 10), (23, 4)])
def test_ence_by_hand(n: int, bins: int) -> None:
    rng = np.random.default_rng(n)
    sigma, error = rng.permutation(n) + 1.0, rng.normal(size=n) * 10
    members: list[list[int]] = [[] for _ in range(bins)]
    for rank, k in enumerate(sorted(range(n), key=lambda k: sigma[k])):
        members[(2 * rank + 1) * bins // (2 * n)].append(k)  # ⌊(rank + ½) bins / n⌋ in whole numbers
    sizes = [len(m) for m in members]
    assert max(sizes) - min(sizes) <= 1
    gaps = []
    for m in members:
        rmse = np.sqrt(sum(error[k] ** 2 for k in m) / len(m))
        rmv = np.sqrt(sum(sigma[k] ** 2 for k in m) / len(m))
        gaps.append(abs(rmse - rmv) / rmv)
    assert ence(error, sigma, bins=bins) == pytest.approx(sum(gaps) / bins, rel=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_ence_does_not_know_the_order_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sigma, error = rng.integers(1, 5, 40).astype(float), rng.normal(size=40)
    mixed = rng.permutation(40)
    assert ence(error[mixed], sigma[mixed]) == pytest.approx(ence(error, sigma), rel=1e-12)


@pytest.mark.truth("closed form")
def test_equal_sigma_stay_in_one_bin() -> None:
    error = np.arange(12.0)
    assert ence(error, np.full(12, 2.0)) == pytest.approx(abs(np.sqrt(np.mean(error**2)) - 2) / 2, rel=1e-12)
    # ranks 1, 2, and 4.5 for the last four: with 3 bins of 6 the middle bin of the four is bin 2
    sigma = np.array([1.0, 2.0, 5.0, 5.0, 5.0, 5.0])
    error = np.array([2.0, 2.0, 15.0, -15.0, 15.0, 15.0])
    expected = np.mean([abs(2 - np.sqrt(2.5)) / np.sqrt(2.5), 2.0])
    assert ence(error, sigma, bins=3) == pytest.approx(expected, rel=1e-12)


def test_ence_limits() -> None:
    assert ence([1.0] * 10, [1.0] * 10) == 0.0
    assert np.isnan(ence([1.0] * 9, [1.0] * 9))
    assert np.isnan(ence([1.0, NAN, 1.0], [1.0, 1.0, NAN], bins=2))
    assert ence([1.0, NAN, 1.0], [1.0, 1.0, NAN], bins=1) == 0.0
    assert ence([1.0], [0.0], bins=1) == INF
    assert np.isnan(ence([0.0], [0.0], bins=1))
    assert card("ENCE·10 bins")(np.arange(1.0, 11), np.arange(1.0, 11)) == 0.0
    assert np.isnan(card("ENCE·10 bins")(np.arange(1.0, 10), np.arange(1.0, 10)))
    with pytest.raises(MetricError, match="bins of 1 or more, got 0"):
        ence([1.0], [1.0], bins=0)


# --- CRPS


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("error", [-3.0, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_gaussian_crps_is_the_integral_of_its_definition(error: float, sigma: float) -> None:
    # prediction N(error, σ²), reference 0
    below, _ = integrate.quad(
        lambda x: stats.norm.cdf(x, error, sigma) ** 2, -60, 0, epsabs=1e-12, points=[error]
    )
    above, _ = integrate.quad(
        lambda x: stats.norm.sf(x, error, sigma) ** 2, 0, 60, epsabs=1e-12, points=[error]
    )
    assert gaussian_crps([error], [sigma]) == pytest.approx(below + above, rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("sigma", [0.2, 1.0, 7.0])
def test_the_expected_crps_of_a_perfect_gaussian(sigma: float) -> None:
    # E|X − Y| − ½ E|X − X′| with all of N(0, σ²): σ / √π, by quantiles of the error
    error = sigma * special.ndtri((np.arange(4000) + 0.5) / 4000)
    assert gaussian_crps(error, np.full(4000, sigma)) == pytest.approx(sigma / np.sqrt(np.pi), rel=2e-4)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [1e-3, 2.0, 1000.0])
def test_scores_in_the_unit_scale_with_it(scale: float) -> None:
    rng = np.random.default_rng(0)
    error, sigma = rng.normal(size=30), rng.uniform(0.1, 2, 30)
    for score in (gaussian_crps, interval_score):
        assert score(scale * error, scale * sigma) == pytest.approx(scale * score(error, sigma), rel=1e-9)
        assert score(error, sigma, factor=scale) == pytest.approx(scale * score(error, sigma), rel=1e-9)
        assert score(-error, sigma) == pytest.approx(score(error, sigma), rel=1e-9)
    assert sharpness(sigma, factor=scale) == pytest.approx(sharpness(scale * sigma), rel=1e-9)
    members, truth = rng.normal(size=(30, 4)), rng.normal(size=30)
    assert ensemble_crps(scale * members, scale * truth) == pytest.approx(
        ensemble_crps(members, truth, factor=scale), rel=1e-9
    )


@pytest.mark.truth("closed form")
def test_crps_of_point_masses_is_the_absolute_error() -> None:
    assert gaussian_crps([-2.0, 0.0, 4.0], [0.0, 0.0, 0.0]) == 2.0
    assert gaussian_crps([3.0], [1e-9]) == pytest.approx(3.0, rel=1e-8)


def literal_crps(members: np.ndarray, truth: float, pairs: int) -> float:
    spread = sum(abs(a - b) for a in members for b in members)
    return float(np.mean([abs(a - truth) for a in members]) - spread / (2 * pairs))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("m", [2, 3, 8])
@pytest.mark.parametrize("fair", [True, False])
def test_ensemble_crps_by_all_pairs(m: int, fair: bool) -> None:
    rng = np.random.default_rng(m)
    members, truth = rng.normal(size=(5, 2, m)), rng.normal(size=(5, 2))
    pairs = m * (m - 1) if fair else m * m
    expected = np.mean([literal_crps(members[i], truth[i], pairs) for i in np.ndindex(5, 2)])
    assert ensemble_crps(members, truth, fair=fair) == pytest.approx(expected, rel=1e-10)
    if fair:
        assert ensemble_crps(members, truth) == pytest.approx(expected, rel=1e-10)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("truth", [-1.0, 0.3, 5.0])
def test_plain_ensemble_crps_is_the_integral_of_its_definition(truth: float) -> None:
    members = np.array([-0.7, 0.1, 0.1, 2.4])
    knots = sorted([*members, truth, -2.0, 6.0])
    total = sum(
        (b - a) * (np.mean(members <= (a + b) / 2) - ((a + b) / 2 >= truth)) ** 2
        for a, b in itertools.pairwise(knots)
    )
    assert ensemble_crps(members[None], [truth], fair=False) == pytest.approx(total, rel=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("truth", [0.0, 2.5])
def test_fair_crps_of_small_sets_is_that_of_the_population_on_average(m: int, truth: float) -> None:
    population = np.array([-1.0, 0.5, 0.7, 4.0])
    draws = np.array(list(itertools.product(population, repeat=m)))
    whole = ensemble_crps(population[None], [truth], fair=False)
    assert ensemble_crps(draws, np.full(len(draws), truth)) == pytest.approx(whole, rel=1e-12)
    assert ensemble_crps(draws, np.full(len(draws), truth), fair=False) > whole + 0.1


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("error", [0.0, 1.5])
def test_many_quantiles_of_a_gaussian_score_as_it(error: float) -> None:
    members = error + special.ndtri((np.arange(2000) + 0.5) / 2000)
    assert ensemble_crps(members[None], [0.0], fair=False) == pytest.approx(
        gaussian_crps([error], [1.0]), abs=1e-3
    )


def test_ensemble_limits() -> None:
    assert ensemble_crps([[3.0]], [1.0], fair=False) == 2.0
    assert np.isnan(ensemble_crps([[3.0]], [1.0]))
    assert np.isnan(ensemble_crps(np.zeros((1, 0)), [1.0], fair=False))
    assert ensemble_crps([[3.0, NAN], [1.0, 1.0], [1.0, 1.0]], [1.0, NAN, 2.0]) == 1.0
    assert ensemble_crps([0.0, 2.0], 1.0) == 0.0
    with pytest.raises(MetricError, match=r"Expected members \(2, 'm'\), got shape \(3, 2\)"):
        ensemble_crps(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(MetricError, match="Expected members"):
        ensemble_crps(3.0, 3.0)


# --- sharpness, interval score, PIT


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_interval_score_by_its_ends(level: float) -> None:
    rng = np.random.default_rng(1)
    error, sigma = rng.standard_t(3, 40), rng.uniform(0.2, 2, 40)
    scores = []
    for e, s in zip(error, sigma, strict=True):
        low, high = stats.norm.interval(level, loc=e, scale=s)  # prediction e, reference 0
        alpha = 1 - level
        scores.append(high - low + 2 / alpha * (max(low - 0, 0) + max(0 - high, 0)))
    assert interval_score(error, sigma, level=level) == pytest.approx(np.mean(scores), rel=1e-9)
    if level == 0.95:
        assert interval_score(error, sigma) == pytest.approx(np.mean(scores), rel=1e-9)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, NAN])
def test_interval_level(level: float) -> None:
    with pytest.raises(MetricError, match="level between 0 and 1"):
        interval_score([1.0], [1.0], level=level)


@pytest.mark.truth("closed form")
def test_sharpness_is_a_root_mean_square() -> None:
    assert sharpness([1.0, 7.0, NAN]) == 5.0
    assert sharpness([[0.0]]) == 0.0
    with pytest.raises(MetricError, match=r"sigma of 0 or more, got -1\.0"):
        sharpness([2.0, -1.0])
    with pytest.raises(MetricError, match="sigma finite"):
        sharpness([INF])


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.5])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_pit_distance_is_the_kolmogorov_smirnov_statistic(shift: float, scale: float) -> None:
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.5, 2, 37)
    error = sigma * (shift + scale * rng.normal(size=37))
    expected = stats.kstest(stats.norm.cdf(error, scale=sigma), "uniform").statistic
    assert pit_distance(error, sigma) == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_pit_of_perfect_quantiles_is_half_a_step(n: int) -> None:
    error = special.ndtri((np.arange(n) + 0.5) / n)
    assert pit_distance(error, np.ones(n)) == pytest.approx(0.5 / n, rel=1e-9)


def test_pit_of_point_masses() -> None:
    assert pit_distance([5.0], [0.0]) == 1.0
    assert pit_distance([0.0, 0.0], [0.0, 0.0]) == 0.5


@pytest.mark.parametrize("score", [gaussian_crps, interval_score, pit_distance, ence])
def test_error_and_sigma_are_checked(score: object) -> None:
    assert callable(score)
    with pytest.raises(MetricError, match="error and sigma of one shape"):
        score([1.0, 2.0], [1.0])
    with pytest.raises(MetricError, match=r"sigma of 0 or more, got -2\.0"):
        score([1.0, 1.0], [1.0, -2.0])
    with pytest.raises(MetricError, match="error finite"):
        score([INF], [1.0])
    with pytest.raises(MetricError, match="sigma finite"):
        score([1.0], [INF])


@pytest.mark.parametrize("score", [gaussian_crps, interval_score, pit_distance])
def test_a_sample_without_error_or_sigma_is_left_out(score: object) -> None:
    assert callable(score)
    assert score([1.0, NAN, 2.0], [0.5, 1.0, NAN]) == score([1.0], [0.5])
    assert score([[1.0], [2.0]], [[0.5], [1.0]]) == pytest.approx(score([1.0, 2.0], [0.5, 1.0]), rel=1e-12)


# --- cards


@pytest.mark.parametrize(("quantity", "unit", "factor"), [
    ("position", "mm", 1000.0),
    ("angle", "°", 57.29577951308232),
    ("pixels", "px", 1.0),
])  # fmt: skip
def test_cards_by_quantity(quantity: str, unit: str, factor: float) -> None:
    error, sigma, members = [0.1, 0.4], [0.2, 0.3], [[0.1, 0.3, 0.4], [0.0, 0.2, 0.9]]
    expected = {
        "CRPS·Gaussian": ((error, sigma), gaussian_crps(error, sigma)),
        "interval score·95%": ((error, sigma), interval_score(error, sigma, level=0.95)),
        "sharpness": ((sigma,), sharpness(sigma)),
        "CRPS·ensemble·fair": ((members, error), ensemble_crps(members, error, fair=True)),
        "CRPS·ensemble·plain": ((members, error), ensemble_crps(members, error, fair=False)),
    }
    for name, (given, value) in expected.items():
        found = card(f"{name}·{quantity}")
        assert found.unit == unit
        assert found(*given) == pytest.approx(factor * value, rel=1e-12)
        assert found.direction == ("neither" if name == "sharpness" else "lower")
