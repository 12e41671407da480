"""ICC, SEM, limits of agreement, concordance: against pingouin, statsmodels, printed tables, definitions."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from metrics import agreement
from metrics.agreement import (
    bland_altman,
    bland_altman_constant,
    bland_altman_varying,
    concordance,
    icc,
    measurement_error,
)
from metrics.arrays import MetricError
from metrics.catalogue import card

FORMS = ("A,1", "C,1", "A,k", "C,k")
NAN = float("nan")
# Shrout & Fleiss 1979, Psychological Bulletin 86, table 2: 6 targets, 4 judges.
SHROUT = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def table(
    seed: int, n: int, k: int, *, subjects: float = 2.0, raters: float = 1.0, gaps: bool = False
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = (
        20 + subjects * rng.normal(size=(n, 1)) + raters * rng.normal(size=(1, k)) + rng.normal(size=(n, k))
    )
    if gaps:
        values[[1, n - 1], [0, k - 1]] = np.nan
    return values


TABLES = {
    "5×2": table(0, 5, 2),
    "12×3": table(1, 12, 3),
    "20×4, no subjects": table(2, 20, 4, subjects=0.0),
    "9×2, large offsets": table(3, 9, 2, raters=30.0),
    "15×5, gaps": table(4, 15, 5, gaps=True),
    "2×3": table(5, 2, 3),
}


# ---------------------------------------------------------------------------------------------- reliability
@cache
def by_pingouin(name: str) -> pd.DataFrame:
    import pingouin

    n, k = TABLES[name].shape
    long = pd.DataFrame(
        {"s": np.repeat(np.arange(n), k), "r": np.tile(np.arange(k), n), "v": TABLES[name].ravel()}
    )
    rounding = pingouin.options.pop("round.column.CI95")
    try:
        return pingouin.intraclass_corr(long, "s", "r", "v", nan_policy="omit").set_index("Type")
    finally:
        pingouin.options["round.column.CI95"] = rounding


@pytest.mark.filterwarnings("ignore")
@pytest.mark.truth("pingouin")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TABLES)
def test_icc_equals_pingouin(name: str, form: str) -> None:
    values = TABLES[name]
    n, k = values.shape
    expected = by_pingouin(name).loc[f"ICC({form})"]
    found = icc(values, form=form)  # type: ignore[arg-type]
    assert found.value == pytest.approx(expected["ICC"], rel=1e-9)
    assert [found.low, found.high] == pytest.approx(list(expected["CI95"]), rel=1e-9)
    missing = np.isnan(values).any(axis=1).sum()
    assert (found.subjects, found.raters, found.dropped) == (n - missing, k, missing)


@pytest.mark.truth("published table")
@pytest.mark.parametrize(("form", "printed"), [("A,1", 0.29), ("C,1", 0.71), ("A,k", 0.62), ("C,k", 0.91)])
def test_shrout_and_fleiss_print_these(form: str, printed: float) -> None:
    assert round(icc(SHROUT, form=form).value, 2) == printed  # type: ignore[arg-type]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_consistency_interval_inverts_the_f_distribution(confidence: float) -> None:
    """At the ends, F·(1 − ρ)/(1 + (k−1)ρ) cuts off (1 − confidence)/2 on either side."""
    values = TABLES["12×3"]
    found = icc(values, form="C,1", confidence=confidence)
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    f = 3 * rows.var(ddof=1) / (((values - rows - columns + values.mean()) ** 2).sum() / 22)
    for rho, side in ((found.low, stats.f.sf), (found.high, stats.f.cdf)):
        assert side(f * (1 - rho) / (1 + 2 * rho), 11, 22) == pytest.approx((1 - confidence) / 2, rel=1e-9)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_agreement_interval_at_other_confidence(confidence: float) -> None:
    """McGraw & Wong 1996, table 7, case 2A, with their a and b."""
    values = TABLES["12×3"]
    n, k = values.shape
    rows, columns, grand = values.mean(1), values.mean(0), values.mean()
    msr = k * sum((r - grand) ** 2 for r in rows) / (n - 1)
    msc = n * sum((c - grand) ** 2 for c in columns) / (k - 1)
    mse = sum((values[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(n) for j in range(k)) / (
        (n - 1) * (k - 1)
    )
    rho = icc(values).value
    a = k * rho / (n * (1 - rho))
    b = 1 + k * rho * (n - 1) / (n * (1 - rho))
    v = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / ((n - 1) * (k - 1)))
    upper = stats.f.ppf((1 + confidence) / 2, n - 1, v)
    lower = stats.f.ppf((1 + confidence) / 2, v, n - 1)
    spread = k * msc + (k * n - k - n) * mse
    found = icc(values, confidence=confidence)
    assert found.low == pytest.approx(n * (msr - upper * mse) / (upper * spread + n * msr), rel=1e-9)
    assert found.high == pytest.approx(n * (lower * msr - mse) / (spread + n * lower * msr), rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("form", FORMS)
def test_icc_ignores_order_scale_and_origin(form: str) -> None:
    values = TABLES["12×3"]
    shuffled = -3.5 * values[np.random.default_rng(0).permutation(12)][:, [2, 0, 1]] + 40
    first, second = icc(values, form=form), icc(shuffled, form=form)  # type: ignore[arg-type]
    assert second.value == pytest.approx(first.value, rel=1e-9)
    assert (second.low, second.high) == pytest.approx((first.low, first.high), rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("form", FORMS)
def test_offsets_of_raters_matter_to_agreement_only(form: str) -> None:
    values = TABLES["12×3"]
    moved = icc(values + np.array([0.0, 8.0, -8.0]), form=form).value  # type: ignore[arg-type]
    before = icc(values, form=form).value  # type: ignore[arg-type]
    assert (moved < before - 0.1) if form[0] == "A" else moved == pytest.approx(before, rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("k", [2, 5])
def test_mean_of_k_follows_spearman_and_brown(k: int) -> None:
    values = table(7, 8, k)
    for kind in "AC":
        one, many = icc(values, form=f"{kind},1"), icc(values, form=f"{kind},k")  # type: ignore[arg-type]
        for low, high in zip((one.value, one.low, one.high), (many.value, many.low, many.high), strict=True):
            assert 1 / high == pytest.approx((1 / low + k - 1) / k, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "values", [[[1.0, 2.0]], [[NAN, 1.0], [2.0, 3.0]], [[1.0, NAN]] * 3, np.ones((4, 3))]
)
def test_undefined_icc_is_nan_without_warning(values: object, form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = icc(values, form=form)  # type: ignore[arg-type]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_perfect_agreement_is_one() -> None:
    values = [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]
    exact = icc(values, form="C,1")
    assert (exact.value, exact.low, exact.high) == (1.0, 1.0, 1.0)
    found = icc(values)
    assert found.value == 1.0
    assert np.isnan([found.low, found.high]).all()
    assert measurement_error(values).mdc95_icc == 0.0


def test_what_icc_refuses() -> None:
    with pytest.raises(MetricError, match=r"at least 2 raters \(columns\), got shape \(3, 1\)"):
        icc(np.ones((3, 1)))
    with pytest.raises(MetricError, match="values_sr with 2 axes"):
        icc([1.0, 2.0])
    with pytest.raises(MetricError, match="form as one of A,1, C,1, A,k, C,k; got 'B,1'"):
        icc(SHROUT, form="B,1")  # type: ignore[arg-type]
    for confidence in (0.0, 1.0, -0.5, 95):
        with pytest.raises(MetricError, match="confidence between 0 and 1, got"):
            icc(SHROUT, confidence=confidence)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("seed", range(4))
def test_two_visits_reduce_to_their_differences(seed: int) -> None:
    """Dahlberg: SEM_agreement² = mean d²/2; SEM_consistency = SD(d)/√2."""
    values = table(seed, 6 + seed, 2)
    gap = values[:, 0] - values[:, 1]
    found = measurement_error(values)
    assert found.sem_agreement == pytest.approx(np.sqrt((gap**2).mean() / 2), rel=1e-9)
    assert found.sem_consistency == pytest.approx(gap.std(ddof=1) / np.sqrt(2), rel=1e-9)
    assert found.mdc95_consistency == pytest.approx(1.96 * gap.std(ddof=1), rel=1e-9)


@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize("name", ["12×3", "15×5, gaps", "20×4, no subjects"])
def test_sem_from_an_anova_table(name: str) -> None:
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    values = TABLES[name][~np.isnan(TABLES[name]).any(axis=1)]
    n, k = values.shape
    long = pd.DataFrame({"s": np.repeat(range(n), k), "r": np.tile(range(k), n), "v": values.ravel()})
    squares = anova_lm(ols("v ~ C(s) + C(r)", long).fit())["sum_sq"]
    msc, mse = squares["C(r)"] / (k - 1), squares["Residual"] / ((n - 1) * (k - 1))
    found = measurement_error(TABLES[name])
    agreed, consistent = np.sqrt((msc - mse) / n + mse), np.sqrt(mse)
    by_icc = np.sqrt(squares.sum() / (n * k - 1)) * np.sqrt(1 - icc(values).value)
    assert [found.sem_agreement, found.sem_consistency, found.sem_icc] == pytest.approx(
        [agreed, consistent, by_icc], rel=1e-9
    )
    assert [found.mdc95_agreement, found.mdc95_consistency, found.mdc95_icc] == pytest.approx(
        [2.771859 * s for s in (agreed, consistent, by_icc)], rel=1e-6
    )
    assert (found.subjects, found.raters, found.dropped) == (n, k, len(TABLES[name]) - n)


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[NAN, 1.0]]])
def test_sem_of_too_few_is_nan(values: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measurement_error(values)  # type: ignore[arg-type]
    assert np.isnan([found.sem_agreement, found.sem_consistency, found.sem_icc, found.mdc95_icc]).all()


# ------------------------------------------------------------------------------------- limits of agreement
# Bland & Altman 1986, Lancet: peak flow by a Wright and a mini Wright meter, first readings, l/min.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# Bland & Altman 2007, J Biopharm Stat 17, table 1: cardiac output by radionuclide ventriculography (RV) and
# impedance cardiography (IC), 12 subjects.
RV = {
    1: "7.83 7.42 7.89 7.12 7.88",
    2: "6.16 7.26 6.71 6.54",
    3: "4.75 5.24 4.86 4.78 6.05 5.42",
    4: "4.21 3.61 3.72 3.87 3.92",
    5: "3.13 2.98 2.85 3.17 3.09 3.12",
    6: "5.92 6.42 5.92 6.27",
    7: "7.13 6.62 6.58 6.93",
    8: "4.54 4.81 5.11 5.29 5.39 5.57",
    9: "4.48 4.92 3.97",
    10: "4.22 4.65 4.74 4.44 4.50",
    11: "6.78 6.07 6.52 6.42 6.41 5.76",
    12: "5.06 4.72 4.90 4.80 4.90 5.10",
}
IC = {
    1: "6.57 5.62 6.90 6.57 6.35",
    2: "4.06 4.29 4.26 4.09",
    3: "4.71 5.50 5.08 5.02 6.01 5.67",
    4: "4.14 4.20 4.61 4.68 5.04",
    5: "3.03 2.86 2.77 2.46 2.32 2.43",
    6: "5.90 5.81 5.70 5.76",
    7: "5.09 4.63 4.61 5.09",
    8: "4.72 4.61 4.36 4.20 4.36 4.20",
    9: "3.17 3.12 2.96",
    10: "4.35 4.62 3.16 3.53 3.53",
    11: "7.20 6.09 7.00 7.10 7.40 6.80",
    12: "4.50 4.20 3.80 3.80 4.20 4.50",
}
WHO = [str(s) for s, row in RV.items() for _ in row.split()]
OUTPUT_RV = np.array([float(v) for row in RV.values() for v in row.split()])
OUTPUT_IC = np.array([float(v) for row in IC.values() for v in row.split()])


@pytest.mark.truth("published table")
def test_peak_flow_of_1986() -> None:
    found = bland_altman(WRIGHT, MINI)
    assert (round(found.bias, 1), round(found.sd, 1)) == (-2.1, 38.8)
    # The paper takes 2 SD: −79.7 and 75.5, with 38.8 rounded.
    assert found.bias - 2 * found.sd == pytest.approx(-79.7, abs=0.1)
    assert (found.subjects, found.pairs, found.dropped) == (17, 17, 0)


@pytest.mark.truth("published table")
def test_cardiac_output_of_2007_true_value_varies() -> None:
    """Printed: bias 0.6021667, SD 0.99062408, limits −1.3394565 and 2.5437899 (with 1.96)."""
    found = bland_altman_varying(OUTPUT_RV, OUTPUT_IC, WHO)
    assert found.bias == pytest.approx(0.6021667, abs=5e-8)
    assert found.sd == pytest.approx(0.99062408, abs=5e-8)
    assert found.bias - 1.96 * found.sd == pytest.approx(-1.3394565, abs=1e-7)
    assert found.bias + 1.96 * found.sd == pytest.approx(2.5437899, abs=1e-7)
    assert (found.subjects, found.pairs, found.dropped) == (12, 60, 0)


@pytest.mark.truth("published table")
def test_cardiac_output_of_2007_true_value_constant() -> None:
    """Printed: mean of the subjects' differences 0.7092361, SD 1.0518506."""
    found = bland_altman_constant(OUTPUT_RV, OUTPUT_IC, WHO)
    assert found.bias == pytest.approx(0.7092361, abs=5e-8)
    assert found.sd == pytest.approx(1.0518506, abs=5e-8)
    assert (found.subjects, found.pairs, found.dropped) == (12, 120, 0)


@pytest.mark.truth("published table")
@pytest.mark.parametrize(("n", "factor"), [(10, 2.911), (20, 2.396), (30, 2.220)])
def test_outer_ends_are_one_sided_tolerance_limits(n: int, factor: float) -> None:
    """NIST/SEMATECH e-Handbook 7.2.6.3: 95 % content with 95 % confidence, one side."""
    rng = np.random.default_rng(n)
    found = bland_altman(rng.normal(size=n), np.zeros(n), coverage=0.9, confidence=0.9)
    assert round((found.upper_high - found.bias) / found.sd, 3) == factor
    assert round((found.bias - found.lower_low) / found.sd, 3) == factor


@pytest.mark.truth("numerical integration")
@pytest.mark.parametrize(
    ("n", "coverage", "confidence"), [(3, 0.95, 0.95), (8, 0.95, 0.95), (8, 0.8, 0.9), (40, 0.99, 0.5)]
)
def test_exact_intervals_of_limits(n: int, coverage: float, confidence: float) -> None:
    """P(d̄ + k·s ≥ μ + zσ) over the joint distribution of mean and SD is what the confidence says."""
    found = bland_altman(
        np.random.default_rng(n).normal(size=n), np.zeros(n), coverage=coverage, confidence=confidence
    )
    z = stats.norm.ppf((1 + coverage) / 2)

    def chance(k: float) -> float:
        def given(s: float) -> float:
            return stats.norm.cdf(np.sqrt(n) * (k * s - z)) * stats.chi.pdf(s * np.sqrt(n - 1), n - 1)

        return np.sqrt(n - 1) * integrate.quad(given, 0, 20, epsabs=1e-13, epsrel=1e-12, limit=300)[0]

    k_low, k_high = ((end - found.bias) / found.sd for end in (found.upper_low, found.upper_high))
    assert chance(k_low) == pytest.approx((1 - confidence) / 2, rel=1e-7)
    assert chance(k_high) == pytest.approx((1 + confidence) / 2, rel=1e-7)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_interval_of_the_bias_is_that_of_a_t_test(confidence: float) -> None:
    found = bland_altman(WRIGHT, MINI, confidence=confidence)
    expected = stats.ttest_rel(WRIGHT, MINI).confidence_interval(confidence)
    assert (found.bias_low, found.bias_high) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.truth("closed form")
def test_limits_are_z_standard_deviations_away() -> None:
    found = bland_altman([1.0, 2.0, 6.0], [0.0, 0.0, 0.0])
    assert (found.bias, found.sd) == (3.0, pytest.approx(np.sqrt(7)))
    assert found.upper == pytest.approx(3 + 1.959963984540054 * np.sqrt(7), rel=1e-12)
    assert found.lower == pytest.approx(3 - 1.959963984540054 * np.sqrt(7), rel=1e-12)


def everything(found: agreement.Limits) -> list[float]:
    return [
        found.bias, found.bias_low, found.bias_high, found.sd, found.lower, found.lower_low,
        found.lower_high, found.upper, found.upper_low, found.upper_high,
    ]  # fmt: skip


def run(
    design: str, predicted: np.ndarray, reference: np.ndarray, who: list[str], **level: float
) -> agreement.Limits:
    if design == "single":
        return bland_altman(predicted, reference, **level)
    function = {"varying": bland_altman_varying, "constant": bland_altman_constant}[design]
    return function(predicted, reference, who, **level)


DESIGNS = ("single", "varying", "constant")


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("design", DESIGNS)
def test_swapping_the_methods_mirrors_everything(design: str) -> None:
    found = everything(run(design, OUTPUT_RV, OUTPUT_IC, WHO))
    mirror = everything(run(design, OUTPUT_IC, OUTPUT_RV, WHO))
    order = [0, 2, 1, 3, 7, 9, 8, 4, 6, 5]
    signs = np.array([-1, -1, -1, 1, -1, -1, -1, -1, -1, -1])
    assert signs * np.array(mirror)[order] == pytest.approx(found, rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("design", DESIGNS)
def test_limits_follow_units_and_ignore_order_and_names(design: str) -> None:
    order = np.random.default_rng(1).permutation(60)
    renamed = [f"subject {99 - int(WHO[i])}" for i in order]
    found = everything(run(design, OUTPUT_RV, OUTPUT_IC, WHO))
    other = everything(run(design, 1000 * OUTPUT_RV[order] + 7, 1000 * OUTPUT_IC[order] + 7, renamed))
    assert np.array(other) / 1000 == pytest.approx(found, rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("design", ["varying", "constant"])
def test_one_value_a_subject_gives_the_simple_limits(design: str) -> None:
    who = [str(i) for i in range(17)]
    simple = bland_altman(WRIGHT, MINI)
    found = run(design, np.array(WRIGHT), np.array(MINI), who)
    for part in ("bias", "bias_low", "bias_high", "sd", "lower", "upper"):
        assert getattr(found, part) == pytest.approx(getattr(simple, part), rel=1e-9)
    # MOVER then uses the chi-square interval of the SD.
    z, var = stats.norm.ppf(0.975), simple.sd**2
    half = simple.bias_high - simple.bias
    top, bottom = (np.sqrt(16 * var / stats.chi2.ppf(q, 16)) for q in (0.025, 0.975))
    assert found.upper_high == pytest.approx(found.upper + np.hypot(half, z * (top - simple.sd)), rel=1e-9)
    assert found.upper_low == pytest.approx(found.upper - np.hypot(half, z * (simple.sd - bottom)), rel=1e-9)
    assert found.pairs == (17 if design == "varying" else 34)


@pytest.mark.truth("statsmodels")
@pytest.mark.parametrize("coverage", [0.95, 0.8])
@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_varying_by_anova_and_cluster_robust_error(coverage: float, confidence: float) -> None:
    import statsmodels.api as sm
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    gap = OUTPUT_RV - OUTPUT_IC
    anova = anova_lm(ols("d ~ C(s)", pd.DataFrame({"d": gap, "s": WHO})).fit())["mean_sq"]
    between, within = anova["C(s)"], anova["Residual"]
    m0 = 4.9818182  # printed in the paper
    total = between / m0 + (1 - 1 / m0) * within
    found = bland_altman_varying(OUTPUT_RV, OUTPUT_IC, WHO, coverage=coverage, confidence=confidence)
    assert found.sd**2 == pytest.approx(total, rel=1e-7)
    z, tail = stats.norm.ppf((1 + coverage) / 2), (1 + confidence) / 2
    assert found.upper == pytest.approx(found.bias + z * found.sd, rel=1e-12)
    fit = sm.OLS(gap, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": [int(w) for w in WHO]})
    half = stats.t.ppf(tail, 11) * fit.bse[0]
    assert found.bias_high - found.bias == pytest.approx(half, rel=1e-9)
    low = total - np.hypot(
        between / m0 * (1 - 11 / stats.chi2.ppf(tail, 11)),
        (1 - 1 / m0) * within * (1 - 48 / stats.chi2.ppf(tail, 48)),
    )
    high = total + np.hypot(
        between / m0 * (11 / stats.chi2.ppf(1 - tail, 11) - 1),
        (1 - 1 / m0) * within * (48 / stats.chi2.ppf(1 - tail, 48) - 1),
    )
    inner, outer = (np.hypot(half, z * (found.sd - np.sqrt(v))) for v in (low, high))
    assert found.lower_high - found.lower == pytest.approx(inner, rel=1e-7)
    assert found.lower - found.lower_low == pytest.approx(outer, rel=1e-7)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_constant_with_unpaired_replicates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    who = [f"s{i}" for i in range(5) for _ in range(4)]
    x, y = rng.normal(3, 2, 20), rng.normal(2, 1, 20)
    x[[0, 1, 4, 9]] = y[[3, 7, 6]] = np.nan  # 2, 3, 3, 4, 4 values of x; 3, 2, 4, 4, 4 of y
    gaps, terms = [], {"x": [], "y": []}
    spread = {"x": 0.0, "y": 0.0}
    for i in range(5):
        rows = {k: v[4 * i : 4 * i + 4] for k, v in (("x", x), ("y", y))}
        rows = {k: v[~np.isnan(v)] for k, v in rows.items()}
        gaps.append(rows["x"].mean() - rows["y"].mean())
        for k, v in rows.items():
            terms[k].append(1 / len(v))
            spread[k] += ((v - v.mean()) ** 2).sum()
    df = {"x": 16 - 5, "y": 17 - 5}
    parts = [(np.var(gaps, ddof=1), 4)]
    parts += [((1 - np.mean(terms[k])) * spread[k] / df[k], df[k]) for k in "xy"]
    variance = sum(p for p, _ in parts)
    found = bland_altman_constant(x, y, who)
    assert (found.bias, found.sd) == pytest.approx((np.mean(gaps), np.sqrt(variance)), rel=1e-9)
    half = stats.t.ppf(0.975, 4) * np.std(gaps, ddof=1) / np.sqrt(5)
    assert found.bias_low == pytest.approx(found.bias - half, rel=1e-9)
    up = variance + np.sqrt(sum((p * (d / stats.chi2.ppf(0.025, d) - 1)) ** 2 for p, d in parts))
    down = variance - np.sqrt(sum((p * (1 - d / stats.chi2.ppf(0.975, d))) ** 2 for p, d in parts))
    z = stats.norm.ppf(0.975)
    assert found.upper_high == pytest.approx(
        found.upper + np.hypot(half, z * (np.sqrt(up) - found.sd)), rel=1e-9
    )
    assert found.upper_low == pytest.approx(
        found.upper - np.hypot(half, z * (found.sd - np.sqrt(down))), rel=1e-9
    )
    assert (found.subjects, found.pairs, found.dropped) == (5, 33, 7)


@pytest.mark.truth("coverage by simulation")
@pytest.mark.parametrize("design", ["varying", "constant"])
def test_intervals_of_upper_limit_cover_the_truth(design: str) -> None:
    rng = np.random.default_rng(5)
    who = [str(i) for i in range(12) for _ in range(3)]
    truth = 1 + stats.norm.ppf(0.975) * np.sqrt(2**2 + 1**2)
    hits = 0
    for _ in range(250):
        gap = 1 + np.repeat(2 * rng.normal(size=12), 3) + rng.normal(size=36)
        found = run(design, gap, np.zeros(36), who)
        hits += found.upper_low <= truth <= found.upper_high
    assert 0.91 <= hits / 250 <= 0.99


@pytest.mark.parametrize("design", DESIGNS)
def test_missing_pairs_are_dropped_and_counted(design: str) -> None:
    x, y, who = OUTPUT_RV.copy(), OUTPUT_IC.copy(), list(WHO)
    keep = np.ones(60, dtype=bool)
    if design == "constant":  # a subject that lacks one method goes with all its values
        x[[i for i, w in enumerate(who) if w == "9"]] = np.nan
        keep = np.array([w != "9" for w in who])
    else:
        x[3], y[[10, 20]] = np.nan, np.nan
        keep[[3, 10, 20]] = False
    found = run(design, x, y, who)
    clean = run(design, x[keep], y[keep], [w for w, k in zip(who, keep, strict=True) if k])
    assert everything(found) == pytest.approx(everything(clean), rel=1e-12)
    assert clean.dropped == 0
    assert found.dropped == (6 if design == "constant" else 3)
    assert found.pairs == clean.pairs
    assert found.subjects == clean.subjects


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_limits_need_two_subjects(design: str, n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(design, np.arange(n) * 2.0, np.ones(n), [str(i) for i in range(n)])
    assert np.isnan(everything(found)).all() == (n < 2)
    assert np.isfinite(everything(found)).all() == (n == 2)
    assert found.subjects == n


@pytest.mark.parametrize("design", ["varying", "constant"])
def test_several_pairs_of_one_subject_are_not_enough(design: str) -> None:
    found = run(design, np.arange(4.0), np.ones(4), ["ann"] * 4)
    assert np.isnan(everything(found)).all()
    assert found.subjects == 1


@pytest.mark.parametrize("design", ["varying", "constant"])
def test_very_low_confidence_stays_real(design: str) -> None:
    """Below the median of chi-square the recovered lower variance would be negative."""
    found = run(design, np.array([0.0, 3.0]), np.zeros(2), ["a", "b"], confidence=0.01)
    half = stats.t.ppf(0.505, 1) * 1.5
    z = stats.norm.ppf(0.975)
    assert found.upper - found.upper_low == pytest.approx(np.hypot(half, z * found.sd), rel=1e-9)


def test_what_limits_refuse() -> None:
    with pytest.raises(MetricError, match=r"predicted and reference of one shape, got \(2,\) and \(3,\)"):
        bland_altman([1, 2], [1, 2, 3])
    with pytest.raises(MetricError, match="predicted with 1 axes"):
        bland_altman([[1, 2]], [[1, 2]])
    for function in (bland_altman_varying, bland_altman_constant):
        with pytest.raises(MetricError, match="Expected 2 subjects, one for each value, got 3"):
            function([1, 2], [1, 2], ["a", "b", "c"])
        with pytest.raises(MetricError, match=r"coverage between 0 and 1, got 1\.0"):
            function([1, 2], [1, 2], ["a", "b"], coverage=1.0)
        with pytest.raises(MetricError, match=r"confidence between 0 and 1, got 0\.0"):
            function([1, 2], [1, 2], ["a", "b"], confidence=0.0)
    with pytest.raises(MetricError, match="coverage between 0 and 1, got 0"):
        bland_altman([1, 2], [1, 2], coverage=0)
    with pytest.raises(MetricError, match="confidence between 0 and 1, got 2"):
        bland_altman([1, 2], [1, 2], confidence=2)


# ---------------------------------------------------------------------------------------------- concordance
def pairs(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(10, 2, n)
    return x, 0.8 * x + 1 + rng.normal(size=n)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("shift", [0.0, 1.0, -3.0])
def test_concordance_of_a_shifted_copy(shift: float) -> None:
    x = np.array([1.0, 2.0, 3.0, 6.0])
    found = concordance(x, x + shift)
    assert found.value == pytest.approx(2 * 3.5 / (2 * 3.5 + shift**2), rel=1e-9)
    assert found.pearson == pytest.approx(1.0, rel=1e-12)
    assert found.bias_correction == pytest.approx(found.value, rel=1e-9)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(4))
def test_concordance_is_pearson_times_bias_correction(seed: int) -> None:
    x, y = pairs(seed, 5 + seed)
    found = concordance(x, y)
    r = stats.pearsonr(x, y).statistic
    ratio, u = x.std() / y.std(), (x.mean() - y.mean()) / np.sqrt(x.std() * y.std())
    assert found.pearson == pytest.approx(r, rel=1e-9)
    assert found.bias_correction == pytest.approx(2 / (ratio + 1 / ratio + u**2), rel=1e-9)
    assert found.value == pytest.approx(found.pearson * found.bias_correction, rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("seed", range(3))
def test_concordance_and_icc_differ_by_a_known_term(seed: int) -> None:
    """With two raters ICC(A,1) = 2s_xy/(s_x² + s_y² + (x̄ − ȳ)² − s_d²/n), variances over n − 1."""
    x, y = pairs(seed, 9)
    cov = np.cov(x, y)
    below = cov[0, 0] + cov[1, 1] + (x.mean() - y.mean()) ** 2 - (x - y).var(ddof=1) / 9
    assert icc(np.stack([x, y], axis=1)).value == pytest.approx(2 * cov[0, 1] / below, rel=1e-9)
    assert concordance(x, y).value == pytest.approx(
        2 * cov[0, 1] * 8 / 9 / ((cov[0, 0] + cov[1, 1]) * 8 / 9 + (x.mean() - y.mean()) ** 2), rel=1e-9
    )


@pytest.mark.truth("delta method")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_concordance_interval(seed: int, confidence: float) -> None:
    """Var(artanh CCC) from the covariance matrix of normal moments and a numerical gradient, over n − 2."""
    x, y = pairs(seed, 12)
    sxx, syy, sxy = x.var(), y.var(), ((x - x.mean()) * (y - y.mean())).mean()
    moments = np.array([x.mean(), y.mean(), sxx, syy, sxy])

    def z(m: np.ndarray) -> float:
        return np.arctanh(2 * m[4] / (m[2] + m[3] + (m[0] - m[1]) ** 2))

    h = 1e-5
    gradient = np.array([(z(moments + h * e) - z(moments - h * e)) / (2 * h) for e in np.eye(5)])
    spread = np.zeros((5, 5))
    spread[:2, :2] = [[sxx, sxy], [sxy, syy]]
    spread[2:, 2:] = [
        [2 * sxx**2, 2 * sxy**2, 2 * sxx * sxy],
        [2 * sxy**2, 2 * syy**2, 2 * syy * sxy],
        [2 * sxx * sxy, 2 * syy * sxy, sxx * syy + sxy**2],
    ]
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(gradient @ spread @ gradient / (12 - 2))
    found = concordance(x, y, confidence=confidence)
    assert np.arctanh([found.low, found.high]) == pytest.approx(
        z(moments) + np.array([-half, half]), rel=1e-6
    )


def test_concordance_where_little_is_defined() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(concordance([1.0], [1.0]).value)
        assert np.isnan(concordance([], []).value)
        assert np.isnan(concordance([2.0, 2.0], [2.0, 2.0]).value)
        flat = concordance([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
        two = concordance([1.0, 2.0], [1.5, 1.7])
        three = concordance([1.0, 2.0, 4.0], [1.5, 1.7, 3.0])
        perfect = concordance([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert flat.value == 0.0
    assert np.isnan([flat.pearson, flat.low, flat.high]).all()
    assert np.isfinite(two.value)
    assert np.isnan([two.low, two.high]).all()
    assert np.isfinite([three.low, three.high]).all()
    assert perfect.value == pytest.approx(1.0, rel=1e-12)


def test_concordance_drops_incomplete_pairs() -> None:
    x, y = pairs(0, 8)
    found = concordance([*x, 3.0, NAN], [*y, NAN, 2.0])
    clean = concordance(x, y)
    assert (found.value, found.low, found.n, found.dropped) == (clean.value, clean.low, 8, 2)
    assert clean.dropped == 0
    with pytest.raises(MetricError, match="confidence between 0 and 1, got 1"):
        concordance(x, y, confidence=1)


# -------------------------------------------------------------------------------------------------- cards
@pytest.mark.parametrize("form", FORMS)
def test_cards_of_icc(form: str) -> None:
    found = card(f"ICC({form})")
    assert found(SHROUT) == icc(SHROUT, form=form).value  # type: ignore[arg-type]
    assert (found.unit, found.direction, found.needs, found.merge) == ("1", "higher", ("raters",), "samples")


@pytest.mark.parametrize(
    ("label", "part"),
    [("agreement", "agreement"), ("consistency", "consistency"), ("SD√(1−ICC(A,1))", "icc")],
)
def test_cards_of_measurement_error(label: str, part: str) -> None:
    error = measurement_error(SHROUT)
    for name in ("SEM", "MDC95"):
        found = card(f"{name}·{label}")
        assert found(SHROUT) == getattr(error, f"{name.lower()}_{part}")
        assert (found.unit, found.direction, found.needs) == ("as given", "lower", ("raters",))
        assert found.merge == "samples"


@pytest.mark.parametrize(
    ("design", "label", "needs"),
    [
        ("single", "one pair a subject", ("reference",)),
        ("varying", "several pairs a subject, true value varies", ("reference", "subjects")),
        ("constant", "several values a subject, true value constant", ("reference", "subjects")),
    ],
)
def test_cards_of_limits(design: str, label: str, needs: tuple[str, ...]) -> None:
    limits = run(design, OUTPUT_RV, OUTPUT_IC, WHO)
    more = () if design == "single" else (WHO,)
    for name, part, way in (
        ("bias", "bias", "zero"),
        ("SD", "sd", "lower"),
        ("lower limit", "lower", "zero"),
        ("upper limit", "upper", "zero"),
    ):
        found = card(f"Bland–Altman {name}·{label}")
        assert found(OUTPUT_RV, OUTPUT_IC, *more) == getattr(limits, part)
        assert (found.unit, found.direction, found.needs, found.merge) == ("as given", way, needs, "samples")


def test_card_of_concordance() -> None:
    found = card("CCC")
    assert found(WRIGHT, MINI) == concordance(WRIGHT, MINI).value
    assert (found.unit, found.direction, found.merge) == ("1", "higher", "samples")
