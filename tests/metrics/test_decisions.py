"""Decisions at a cut-off and sensitivity to change: other libraries, counts by hand, and edges."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.decisions import (
    Decisions,
    change_agreement,
    change_correlation,
    changes_beyond,
    decisions,
    effect_size,
    proportion_interval,
    responsiveness,
    srm_error,
    standardised_response_mean,
)

NAN = math.nan


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- intervals of proportions ----------------------------------------------------------------------


@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize(("method", "theirs"), [("wilson", "wilson"), ("exact", "beta")])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 17), (17, 17), (9, 10), (23, 160)])
def test_intervals_of_proportions(method, theirs, confidence, successes, trials) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    found = proportion_interval(successes, trials, confidence=confidence, method=method)
    expected = proportion.proportion_confint(successes, trials, alpha=1 - confidence, method=theirs)
    np.testing.assert_allclose(found, 100 * np.array(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize(("successes", "trials"), [(3, 8), (41, 50)])
def test_the_default_interval_is_wilsons_of_95_percent(successes, trials) -> None:
    theirs = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(proportion_interval(successes, trials), 100 * np.array(theirs), rtol=1e-9)


@pytest.mark.parametrize("method", ["wilson", "exact"])
def test_intervals_stay_within_bounds(method) -> None:
    for trials in range(1, 200):
        low, high = proportion_interval(0, trials, method=method)
        assert 0 <= low < 1e-9 and high < 100
        low, high = proportion_interval(trials, trials, method=method)
        assert 100 >= high > 100 - 1e-9 and low > 0
    assert np.isnan(proportion_interval(0, 0, method=method)).all()


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((-1, 3), {}, "0 to 3 successes in 3 trials, got -1"),
        ((4, 3), {}, "got 4"),
        ((1, 3), {"confidence": 0.0}, "confidence between 0 and 1, got 0.0"),
        ((1, 3), {"confidence": 1.0}, "got 1.0"),
        ((1, 3), {"method": "wald"}, "wilson or exact, got 'wald'"),
    ],
)
def test_intervals_of_nonsense(arguments, options, match) -> None:
    with pytest.raises(MetricError, match=match):
        proportion_interval(*arguments, **options)


# --- decisions ------------------------------------------------------------------------------------


def trials(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 10, count).astype(float)  # whole numbers, so that many lie on the cut-off
    return true + rng.integers(-2, 3, count), true


RULES = {
    "at or above": lambda v, c: v >= c,
    "above": lambda v, c: v > c,
    "at or below": lambda v, c: v <= c,
    "below": lambda v, c: v < c,
}


@pytest.mark.truth("sklearn")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_rates_and_kappa(rule, seed) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    told, true = trials(seed)
    found = decisions(told, true, 5, positive=rule)
    says, ill = RULES[rule](told, 5), RULES[rule](true, 5)
    assert found.agreement == pytest.approx(100 * metrics.accuracy_score(ill, says), rel=1e-12)
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(ill, says), rel=1e-12)
    assert found.sensitivity == pytest.approx(100 * metrics.recall_score(ill, says), rel=1e-12)
    assert found.specificity == pytest.approx(100 * metrics.recall_score(~ill, ~says), rel=1e-12)
    assert found.ppv == pytest.approx(100 * metrics.precision_score(ill, says), rel=1e-12)
    assert found.npv == pytest.approx(100 * metrics.precision_score(~ill, ~says), rel=1e-12)
    assert found.trials == 60 and found.changed == (ill != says).sum()


@pytest.mark.truth("sklearn")
@pytest.mark.parametrize("seed", range(3))
def test_no_answer_is_a_third_category(seed) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    told, true = trials(seed)
    told[:15] = NAN
    words = np.where(np.isnan(told), "none", np.where(told >= 5, "ill", "well"))
    truth = np.where(true >= 5, "ill", "well")
    found = decisions(told, true, 5)
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(truth, words), rel=1e-12)
    assert found.agreement == pytest.approx(100 * np.mean(words == truth), rel=1e-12)
    assert found.sensitivity == pytest.approx(100 * np.mean(words[truth == "ill"] == "ill"), rel=1e-12)
    assert found.specificity == pytest.approx(100 * np.mean(words[truth == "well"] == "well"), rel=1e-12)
    assert found.ppv == pytest.approx(100 * np.mean(truth[words == "ill"] == "ill"), rel=1e-12)
    assert found.npv == pytest.approx(100 * np.mean(truth[words == "well"] == "well"), rel=1e-12)
    assert found.unanswered_positive + found.unanswered_negative == 15


def test_counts_by_hand() -> None:
    told = [[9, 1, NAN, 9], [1, NAN, 5, 1]]
    true = [[9, 1, 9, 1], [9, 1, 5, NAN]]
    found = decisions(told, true, 5)
    assert found == Decisions(
        true_positive=2,
        false_positive=1,
        true_negative=1,
        false_negative=1,
        unanswered_positive=1,
        unanswered_negative=1,
    )
    assert (found.trials, found.changed) == (7, 4)
    assert found.agreement == pytest.approx(300 / 7)
    assert (found.sensitivity, found.specificity) == (50, pytest.approx(100 / 3))
    assert (found.ppv, found.npv) == (pytest.approx(200 / 3), 50)
    # observed 3/7; chance (3·4 + 2·3) / 49
    assert found.kappa == pytest.approx((3 / 7 - 18 / 49) / (1 - 18 / 49))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(3))
def test_turning_the_scale_round_turns_the_rule_round(seed) -> None:
    told, true = trials(seed)
    for rule, turned in (("at or above", "at or below"), ("above", "below")):
        assert decisions(told, true, 4, positive=rule) == decisions(-told, -true, -4, positive=turned)
    ours, swapped = decisions(told, true, 4), decisions(true, told, 4)
    assert ours.kappa == pytest.approx(swapped.kappa, rel=1e-12)
    assert (ours.ppv, ours.npv) == (swapped.sensitivity, swapped.specificity)
    flipped = decisions(told, true, 4, positive="below")  # what is not a finding is one
    assert (flipped.sensitivity, flipped.ppv) == (ours.specificity, ours.npv)


@pytest.mark.parametrize(
    ("rule", "positives"), [("at or above", 2), ("above", 1), ("at or below", 2), ("below", 1)]
)
def test_values_on_the_cutoff(rule, positives) -> None:
    found = decisions([1, 2, 3], [1, 2, 3], 2, positive=rule)
    assert (found.true_positive, found.true_negative) == (positives, 3 - positives)
    by_default = decisions([2], [2], 2)
    assert by_default.true_positive == 1


def test_what_is_undefined_is_missing() -> None:
    nobody = decisions([], [], 1)
    assert nobody.trials == nobody.changed == 0
    for rate in ("agreement", "kappa", "sensitivity", "specificity", "ppv", "npv"):
        assert math.isnan(getattr(nobody, rate))
    ill = decisions([2, 2], [2, 2], 1)
    assert ill.agreement == ill.sensitivity == ill.ppv == 100
    assert math.isnan(ill.kappa) and math.isnan(ill.specificity) and math.isnan(ill.npv)
    well = decisions([0, 0], [0, 0], 1)
    assert math.isnan(well.kappa) and math.isnan(well.sensitivity) and math.isnan(well.ppv)
    assert decisions([2, 0], [2, 2], 1).kappa == 0
    assert decisions([0, 2], [2, 0], 1).kappa == -1
    assert decisions([NAN, NAN], [2, 0], 1).kappa == 0
    assert decisions([1, 1], [NAN, NAN], 1).trials == 0


def test_intervals_of_rates() -> None:
    told, true = trials(1)
    told[:4] = NAN
    found = decisions(told, true, 5)
    ill = found.true_positive + found.false_negative + found.unanswered_positive
    well = found.true_negative + found.false_positive + found.unanswered_negative
    counts = {
        "agreement": (60 - found.changed, 60),
        "sensitivity": (found.true_positive, ill),
        "specificity": (found.true_negative, well),
        "ppv": (found.true_positive, found.true_positive + found.false_positive),
        "npv": (found.true_negative, found.true_negative + found.false_negative),
    }
    for rate, (successes, whole) in counts.items():
        assert found.interval(rate) == proportion_interval(successes, whole)
        assert getattr(found, rate) == 100 * successes / whole
    other = found.interval("ppv", confidence=0.9, method="exact")
    assert other == proportion_interval(*counts["ppv"], confidence=0.9, method="exact")
    with pytest.raises(MetricError, match="agreement, sensitivity, specificity, ppv, npv, got 'kappa'"):
        found.interval("kappa")


def test_wrong_decisions() -> None:
    with pytest.raises(MetricError, match="at or above, above, at or below, below, got 'over'"):
        decisions([1], [1], 1, positive="over")
    for cutoff in (NAN, math.inf):
        with pytest.raises(MetricError, match="finite cutoff"):
            decisions([1], [1], cutoff)
    with pytest.raises(MetricError, match="predicted and reference of one shape"):
        decisions([1], [1, 2], 1)


# --- sensitivity to change ------------------------------------------------------------------------


def visits(seed: int, subjects: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    before = rng.normal(20, 5, subjects)
    true = np.stack([before, before + rng.normal(3, 2, subjects)], axis=1)
    return true + rng.normal(0, 1.5, true.shape), true


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(4))
def test_change_correlation(seed) -> None:
    told, true = visits(seed)
    expected = stats.pearsonr(np.diff(told)[:, 0], np.diff(true)[:, 0]).statistic
    assert change_correlation(told, true) == pytest.approx(expected, rel=1e-9)
    assert change_correlation(true, told) == pytest.approx(expected, rel=1e-9)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(3))
def test_srm_is_the_paired_t_over_root_n(seed) -> None:
    told, true = visits(seed)
    srm = [stats.ttest_rel(v[:, 1], v[:, 0]).statistic / math.sqrt(len(v)) for v in (told, true)]
    assert standardised_response_mean(true) == pytest.approx(srm[1], rel=1e-9)
    assert srm_error(told, true) == pytest.approx(srm[0] - srm[1], rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("score", "arguments", "value"),
    [
        (standardised_response_mean, ([[0, 1], [0, 3]],), math.sqrt(2)),
        (standardised_response_mean, ([[5, 4], [5, 2], [5, 3]],), -2),
        (effect_size, ([[1, 4], [3, 8]],), 4 / math.sqrt(2)),
        (effect_size, ([[1, 0], [2, 2], [3, 1]],), -1),
        (responsiveness, ([[0, 4], [1, 7]], [[0, 1], [0, -1]]), 5 / math.sqrt(2)),
        (responsiveness, ([[2, 0]], [[0, 3], [0, 4], [0, 5]]), -2),
        (srm_error, ([[0, 2], [0, 3], [0, 4]], [[0, 1], [0, 2], [0, 3]]), 1),
        (change_correlation, ([[0, 1], [0, 2], [9, 12]], [[0, 2], [0, 4], [0, 6]]), 1),
        (change_correlation, ([[0, 1], [0, 2], [9, 12]], [[0, -2], [0, -4], [0, -6]]), -1),
    ],
)
def test_change_scores(score, arguments, value) -> None:
    assert score(*arguments) == pytest.approx(value, rel=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [0.01, 7.0])
def test_units_and_offsets_do_not_matter_for_change(scale) -> None:
    told, true = visits(9)
    for score in (srm_error, change_correlation):
        assert score(scale * told + 4, scale * true - 2) == pytest.approx(score(told, true), rel=1e-9)
    for score in (standardised_response_mean, effect_size):
        assert score(scale * true + 4) == pytest.approx(score(true), rel=1e-9)
        assert score(-true) == pytest.approx(-score(true), rel=1e-9)
    assert changes_beyond(scale * true, mdc=scale * 2) == changes_beyond(true, mdc=2)


@pytest.mark.parametrize("many", [1e-3, 1e3])
def test_a_correlation_stays_within_one(many) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        true = np.stack([np.zeros(5), rng.normal(0, many, 5)], axis=1)
        assert change_correlation(true * 0.1, true) <= 1.0
        assert change_correlation(true * -0.1, true) >= -1.0


def test_change_scores_that_are_undefined() -> None:
    for visits_sv in (np.empty((0, 2)), [[0, 1]], [[0, 1], [NAN, 2]], [[0, 1], [1, 2]]):
        assert math.isnan(standardised_response_mean(visits_sv))
    for visits_sv in (np.empty((0, 2)), [[0, 1]], [[0, 1], [1, NAN]], [[0, 1], [0, 5]]):
        assert math.isnan(effect_size(visits_sv))
    assert math.isnan(responsiveness(np.empty((0, 2)), [[0, 1], [0, 2]]))
    assert math.isnan(responsiveness([[0, 1]], [[0, 1]]))
    assert math.isnan(responsiveness([[0, 1]], [[0, 1], [5, 6]]))
    assert math.isnan(change_correlation([[0, 1], [0, 2]], [[0, 1], [0, 2]]))
    assert math.isnan(change_correlation([[0, 1]] * 3, [[0, 1], [0, 2], [0, 3]]))
    assert math.isnan(change_correlation([[0, 1], [0, 2], [0, 3]], [[0, 1]] * 3))
    assert math.isnan(srm_error([[0, 1], [0, 1]], [[0, 1], [0, 2]]))
    assert math.isnan(srm_error([[0, 1], [0, 2]], [[0, 1], [0, 1]]))
    assert math.isnan(change_agreement(np.empty((0, 2)), np.empty((0, 2)), beyond=0))
    assert math.isnan(changes_beyond([[0, NAN]], mdc=1))


def test_subjects_that_lack_a_visit() -> None:
    told, true = visits(2)
    gap_told = np.vstack([told, [NAN, 99], [0, 7], [1, 1]])
    gap_true = np.vstack([true, [0, 1], [5, NAN], [NAN, 0]])
    assert change_correlation(gap_told, gap_true) == pytest.approx(change_correlation(told, true))
    assert srm_error(gap_told, gap_true) == pytest.approx(srm_error(told, true))
    assert standardised_response_mean(gap_true[:-1]) == pytest.approx(
        standardised_response_mean(np.vstack([true, [0, 1]]))
    )
    whole = np.vstack([true, [0, 1]])
    assert effect_size(gap_true) == pytest.approx(effect_size(whole))
    assert responsiveness(gap_true, gap_true) == pytest.approx(responsiveness(whole, whole))
    assert changes_beyond(gap_true, mdc=2) == changes_beyond(whole, mdc=2)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("beyond", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_change_agreement(beyond, seed) -> None:
    rng = np.random.default_rng(seed)
    told, true = rng.integers(-3, 4, (2, 50, 2)).astype(float)
    told[3, 0] = true[5, 1] = NAN

    def word(visit):
        change = visit[1] - visit[0]
        return "rose" if change > beyond else "fell" if change < -beyond else "same"

    judged = [
        (word(a), word(b), a) for a, b in zip(told.tolist(), true.tolist(), strict=True) if b[1] == b[1]
    ]
    same = [not math.isnan(a[0]) and one == other for one, other, a in judged]
    assert len(judged) == 49
    assert change_agreement(told, true, beyond=beyond) == pytest.approx(100 * sum(same) / 49, rel=1e-12)


def test_changes_at_the_limit() -> None:
    steps = [[0, 2.0], [0, -2.0], [0, 2.25], [0, -2.25]]
    assert changes_beyond(steps, mdc=2.0) == 50
    assert change_agreement([[0, 2.0]], [[0, 0.0]], beyond=2.0) == 100
    assert change_agreement([[0, 0.0]], [[0, -2.0]], beyond=2.0) == 100
    assert change_agreement([[0, 2.25]], [[0, 2.0]], beyond=2.0) == 0
    assert change_agreement([[0, 2.25]], [[0, -2.25]], beyond=2.0) == 0
    assert change_agreement([[0, 0.0]], [[0, 1e-9]], beyond=0) == 0
    assert change_agreement([[0, NAN]], [[0, 0.0]], beyond=2.0) == 0


@pytest.mark.parametrize(
    "score",
    [standardised_response_mean, effect_size, lambda v: responsiveness(v, v), lambda v: srm_error(v, v)],
)
def test_wrong_visits(score) -> None:
    with pytest.raises(MetricError, match="2 axes"):
        score([0.0, 1.0])
    with pytest.raises(MetricError, match="2 entries on the last axis"):
        score([[0.0, 1.0, 2.0]])


def test_wrong_changes() -> None:
    for score in (srm_error, change_correlation, lambda a, b: change_agreement(a, b, beyond=0)):
        with pytest.raises(MetricError, match="predicted and reference of one shape"):
            score([[0, 1]], [[0, 1], [0, 1]])
    for beyond in (-0.1, NAN, math.inf):
        with pytest.raises(MetricError, match="beyond as zero or more"):
            change_agreement([[0, 1]], [[0, 1]], beyond=beyond)
    with pytest.raises(MetricError, match="mdc above zero"):
        changes_beyond([[0, 1]], mdc=0)
    for score, name in ((standardised_response_mean, "visits"), (effect_size, "visits")):
        with pytest.raises(MetricError, match=f"Expected {name} with"):
            score([0.0])
    with pytest.raises(MetricError, match="Expected treated with"):
        responsiveness([0.0], [[0, 1]])
    with pytest.raises(MetricError, match="Expected stable with"):
        responsiveness([[0, 1]], [0.0])
    with pytest.raises(MetricError, match="Expected visits with"):
        changes_beyond([0.0], mdc=1)


def test_cards() -> None:
    pair = ([9, 1, 9, 1], [9, 1, 1, 1])
    steps = ([[0, 2], [0, 3], [0, 4]], [[0, 1], [0, 2], [0, 3]])
    values = {
        "decision agreement": (pair, {"cutoff": 5}, 75, "%", "higher"),
        "decisions changed": (pair, {"cutoff": 5}, 1, "1", "lower"),
        "decision κ": (pair, {"cutoff": 5}, 0.5, "1", "higher"),
        "decision sensitivity": (pair, {"cutoff": 5}, 100, "%", "higher"),
        "decision specificity": (pair, {"cutoff": 5}, 200 / 3, "%", "higher"),
        "decision PPV": (pair, {"cutoff": 5}, 50, "%", "higher"),
        "decision NPV": (pair, {"cutoff": 5}, 100, "%", "higher"),
        "SRM": (steps[:1], {}, 3, "1", "neither"),
        "SRM error": (steps, {}, 1, "1", "zero"),
        "effect size·baseline SD": (([[1, 2], [2, 3], [3, 4]],), {}, 1, "1", "neither"),
        "responsiveness·Guyatt": (steps, {}, 3, "1", "neither"),
        "change r": (steps, {}, 1, "1", "higher"),
        "change direction agreement": (steps, {}, 100, "%", "higher"),
        "change agreement beyond MDC": (steps, {"beyond": 3.5}, 200 / 3, "%", "higher"),
        "changes beyond MDC": (steps[:1], {"mdc": 2.5}, 200 / 3, "%", "neither"),
    }
    for name, (arrays, options, value, unit, direction) in values.items():
        found = card(name)
        assert found(*arrays, **options) == pytest.approx(value), name
        assert (found.unit, found.direction, found.merge) == (unit, direction, "samples")
    assert card("change direction agreement").fixed == {"beyond": 0.0}
