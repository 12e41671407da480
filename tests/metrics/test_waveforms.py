"""Shapes of curves, against scipy, closed forms and slow loops over the definition."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from metrics import waveforms
from metrics.arrays import MetricError
from metrics.catalogue import card

NAN = np.nan
SWING = np.sin(2 * np.pi * np.arange(100) / 100)  # mean 0, mean square 1/2 exactly


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def curves(*, seed=0, shape=(60, 3), gaps=0.0):
    rng = np.random.default_rng(seed)
    reference = np.cumsum(rng.normal(0, 0.05, shape), axis=-2)
    predicted = 0.2 + 0.8 * reference + rng.normal(0, 0.05, shape)
    for values in (predicted, reference):
        values[rng.random(shape) < gaps] = NAN
    return predicted, reference


# --- correlation and linear fit ---


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_fit_and_correlation_are_scipys(seed, gaps):
    predicted, reference = curves(seed=seed, gaps=gaps)
    fit = waveforms.linear_fit(predicted, reference)
    metres = waveforms.linear_fit(predicted, reference, kind="translation")
    for column in range(3):
        p, r = predicted[:, column], reference[:, column]
        both = ~np.isnan(p + r)
        line = stats.linregress(r[both], p[both])
        assert fit.slope[column] == pytest.approx(line.slope, rel=1e-9)
        assert fit.intercept[column] == pytest.approx(math.degrees(line.intercept), rel=1e-9)
        assert metres.intercept[column] == pytest.approx(1000 * line.intercept, rel=1e-9)
        assert fit.r2[column] == pytest.approx(line.rvalue**2, rel=1e-9)
        assert waveforms.pearson_r(predicted, reference)[column] == pytest.approx(line.rvalue, rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("slope", [-1.0, 0.4, 1.0, 1.5])
@pytest.mark.parametrize("intercept", [-10.0, 0.0, 3.0])
def test_a_line_is_found_exactly(slope, intercept):
    reference = np.radians(5 + 30 * SWING)[:, None]
    predicted = math.radians(intercept) + slope * reference
    assert card("LFM·slope")(predicted, reference) == pytest.approx([slope])
    assert card("LFM·intercept·angle")(predicted, reference) == pytest.approx([intercept], abs=1e-9)
    assert card("LFM·R²")(predicted, reference) == pytest.approx([1.0])
    assert card("Pearson r")(predicted, reference) == pytest.approx([math.copysign(1, slope)])
    metres = card("LFM·intercept·translation")(predicted, reference)
    assert metres == pytest.approx([1000 * math.radians(intercept)], abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("phase", [0.0, 30.0, 60.0, 90.0, 150.0])
def test_a_phase_shift_has_its_cosine(phase):
    reference = SWING[:, None]
    predicted = np.sin(2 * np.pi * np.arange(100) / 100 + math.radians(phase))[:, None]
    assert waveforms.pearson_r(predicted, reference) == pytest.approx(
        [math.cos(math.radians(phase))], abs=1e-12
    )
    fit = waveforms.linear_fit(predicted, reference)
    assert fit.slope == pytest.approx([math.cos(math.radians(phase))], abs=1e-12)
    assert fit.r2 == pytest.approx([math.cos(math.radians(phase)) ** 2], abs=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("turns", [-1, 2])
def test_angles_that_cross_half_a_turn(turns):
    reference = math.pi + 0.3 * SWING[:, None]
    predicted = 0.1 + math.pi + 0.2 * SWING[:, None]
    plain = waveforms.linear_fit(predicted, reference)
    wrapped = (predicted + math.pi) % (2 * math.pi) - math.pi + 2 * math.pi * turns
    again = waveforms.linear_fit(wrapped, reference)
    assert again.slope == pytest.approx(plain.slope)
    assert again.intercept == pytest.approx(plain.intercept)
    assert waveforms.pearson_r(wrapped, reference) == pytest.approx([1.0])
    assert waveforms.pearson_r(wrapped, reference, kind="translation")[0] < 0.5


@pytest.mark.truth("closed form")
def test_a_flat_reference_leaves_the_fit_undefined():
    flat, moving = np.full((10, 1), 0.1), np.linspace(0, 1, 10)[:, None]
    for fit in (waveforms.linear_fit(moving, flat), waveforms.linear_fit(flat, flat)):
        assert np.isnan([fit.slope, fit.intercept, fit.r2]).all()
    fit = waveforms.linear_fit(flat, moving)
    assert fit.slope == pytest.approx([0.0], abs=1e-12)
    assert fit.intercept == pytest.approx([math.degrees(0.1)])
    assert np.isnan(fit.r2)
    assert np.isnan(waveforms.pearson_r(flat, moving)) and np.isnan(waveforms.pearson_r(moving, flat))


def test_a_flat_curve_is_flat_whatever_rounding_says():
    flat = np.full((7, 1), 0.1)  # its mean is not 0.1
    assert flat.mean() != 0.1 or np.square(flat - flat.mean()).sum() >= 0
    assert np.isnan(waveforms.pearson_r(flat, np.arange(7.0)[:, None]))


@pytest.mark.parametrize("count", [0, 1])
def test_a_line_needs_two_samples(count):
    predicted = np.where(np.arange(3)[:, None] < count, 1.0, NAN)
    fit = waveforms.linear_fit(predicted, np.arange(3.0)[:, None])
    assert np.isnan([fit.slope, fit.intercept, fit.r2]).all()
    assert np.isnan(waveforms.pearson_r(predicted, np.arange(3.0)[:, None]))
    assert np.isnan(waveforms.pearson_r(np.empty((0, 1)), np.empty((0, 1))))


@pytest.mark.truth("closed form")
def test_two_samples_lie_on_a_line():
    pair = np.radians([[1.0], [NAN], [3.0]]), np.radians([[10.0], [20.0], [20.0]])
    fit = waveforms.linear_fit(*pair)
    assert fit.slope == pytest.approx([0.2]) and fit.intercept == pytest.approx([-1.0])
    assert waveforms.pearson_r(*pair) == pytest.approx([1.0])


def test_rounding_never_passes_one():
    for seed in range(40):
        reference = np.random.default_rng(seed).normal(size=(5, 40))
        r = waveforms.pearson_r(np.array([1.0, -1.0] * 20) * reference, reference, kind="translation")
        assert (np.abs(r) <= 1.0).all()


@pytest.mark.truth("metamorphic")
def test_trials_stack_in_front():
    predicted, reference = curves(seed=9, shape=(4, 30, 2), gaps=0.1)
    fit, r = waveforms.linear_fit(predicted, reference), waveforms.pearson_r(predicted, reference)
    for trial in range(4):
        one = waveforms.linear_fit(predicted[trial], reference[trial])
        assert np.allclose([f[trial] for f in fit], one)
        assert np.allclose(r[trial], waveforms.pearson_r(predicted[trial], reference[trial]))


# --- CMC ---


def slow_cmc(curves_gpf):
    cycles, count, frames = len(curves_gpf), len(curves_gpf[0]), len(curves_gpf[0][0])
    above = below = 0.0
    for cycle in curves_gpf:
        grand = sum(sum(curve) for curve in cycle) / (count * frames)
        for f in range(frames):
            at_f = sum(curve[f] for curve in cycle) / count
            for curve in cycle:
                above += (curve[f] - at_f) ** 2
                below += (curve[f] - grand) ** 2
    ratio = (above / (cycles * frames * (count - 1))) / (below / (cycles * (count * frames - 1)))
    return math.sqrt(1 - ratio) if ratio <= 1 else NAN


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("cycles", [1, 3])
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("noise", [0.05, 0.2, 0.8])
def test_cmc_is_its_definition(cycles, count, noise):
    rng = np.random.default_rng(cycles * count)
    y_gpf = 0.5 * SWING[::5] + rng.normal(0, noise, (cycles, count, 20)) + rng.normal(0, 1, (cycles, 1, 1))
    truth = slow_cmc(y_gpf.tolist())
    assert card("CMC")(y_gpf, kind="translation") == pytest.approx(truth, rel=1e-9, nan_ok=True)
    if noise < 0.8:
        assert card("CMC")(y_gpf) == pytest.approx(truth, rel=1e-9, nan_ok=True)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("rom", "offset"), [(60.0, 3.0), (60.0, 6.0), (6.0, 3.0), (6.0, 4.0), (2.0, 1.0)])
def test_cmc_of_an_offset(rom, offset):
    frames = 100
    swing = np.radians(rom / 2 * SWING)
    between = 2 * frames * (offset / 2) ** 2 / frames
    total = 2 * frames * (rom**2 / 8 + offset**2 / 4) / (2 * frames - 1)
    found = waveforms.cmc([[swing, swing + math.radians(offset)]])
    assert found == pytest.approx(math.sqrt(1 - between / total), rel=1e-9)


@pytest.mark.truth("closed form")
def test_cmc_is_undefined_where_curves_differ_more_than_they_vary():
    small = np.radians(3 * SWING)
    assert np.isnan(waveforms.cmc([[small, small + math.radians(6)]]))
    assert np.isnan(waveforms.cmc(np.full((1, 2, 5), 0.1)))
    assert np.isnan(waveforms.cmc(np.empty((0, 2, 5))))


def test_cmc_with_one_varying_cycle_is_defined():
    flat, swing = np.full(100, 0.1), 0.1 + SWING
    assert waveforms.cmc([[flat, flat], [swing, swing]]) == pytest.approx(1.0)
    assert waveforms.cmc([[flat, swing]], kind="translation") == pytest.approx(
        slow_cmc([[flat, swing]]), nan_ok=True
    )


def test_cmc_with_a_gap_is_undefined():
    y_gpf = np.stack([SWING, SWING])[None]
    assert waveforms.cmc(y_gpf) == pytest.approx(1.0)
    for curve in (0, 1):
        holed = y_gpf.copy()
        holed[0, curve, 3] = NAN
        assert np.isnan(waveforms.cmc(holed)) and np.isnan(waveforms.cmc(holed, kind="translation"))


@pytest.mark.truth("metamorphic")
def test_cmc_does_not_see_turns_scale_or_order():
    rng = np.random.default_rng(4)
    y_gpf = np.array([0.0, 1.0])[:, None, None] + 0.5 * SWING + rng.normal(0, 0.05, (2, 3, 100))
    plain = waveforms.cmc(y_gpf)
    assert waveforms.cmc(y_gpf + 2 * math.pi * rng.integers(-2, 3, y_gpf.shape)) == pytest.approx(plain)
    assert waveforms.cmc(7 * y_gpf, kind="translation") == pytest.approx(plain)
    assert waveforms.cmc(y_gpf[::-1, ::-1, ::-1]) == pytest.approx(plain)
    assert waveforms.cmc(np.stack([y_gpf, y_gpf])) == pytest.approx(np.full(2, plain))
    assert waveforms.cmc(np.concatenate([y_gpf, y_gpf + 1])) == pytest.approx(plain)


def test_cmc_of_one_frame_is_zero():
    assert waveforms.cmc([[[1.0], [2.0]]]) == pytest.approx(0.0)


@pytest.mark.parametrize("shape", [(2, 5), (1, 1, 5), (1, 2, 0)])
def test_cmc_checks_its_shape(shape):
    with pytest.raises(MetricError, match=r"\(\.\.\., cycle, curve >= 2, frame >= 1\), got shape"):
        waveforms.cmc(np.zeros(shape))


# --- time ---


@pytest.mark.truth("numpy")
@pytest.mark.parametrize("seed", range(4))
def test_resampling_without_gaps_is_numpys(seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.005, 0.02, 40))
    values = rng.normal(0, 1, (40, 3))
    new = rng.uniform(time[0], time[-1], 100)
    found = waveforms.resample(values, time, new, max_gap=1.0, kind="translation")
    for column in range(3):
        assert np.allclose(found[:, column], np.interp(new, time, values[:, column]), atol=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("new", "value"),
    [
        (-0.001, NAN),
        (0.0, 0.0),
        (0.05, 0.5),
        (0.1, 1.0),
        (0.2, 2.0),
        (0.25, 2.5),
        (0.3, 3.0),
        (0.35, NAN),
        (0.6, 6.0),
        (0.601, NAN),
    ],
)
def test_resampling_gaps_and_ends(new, value):
    time = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    values = 10 * time[:, None]
    values[[2, 4, 5]] = NAN  # 0.1 to 0.3 may be bridged, 0.3 to 0.6 not
    found = waveforms.resample(values, time, [new], max_gap=0.2, kind="translation")
    assert found[0, 0] == pytest.approx(value, nan_ok=True)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("gap", "bridged"), [(0.1999, False), (0.2 - 2e-6, False), (0.2 - 5e-7, True), (0.2, True), (0.3, True)]
)
def test_a_gap_as_long_as_the_limit_is_bridged(gap, bridged):
    found = waveforms.resample([[0.0], [1.0]], [0.0, 0.2], [0.1], max_gap=gap)
    assert found[0, 0] == pytest.approx(0.5 if bridged else NAN, nan_ok=True)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("late", "there"), [(-2e-6, False), (-9e-7, True), (9e-7, True), (2e-6, False)])
def test_nearly_equal_times_are_equal(late, there):
    found = waveforms.resample([[3.0]], [0.5], [0.5 + late], max_gap=1.0)
    assert found[0, 0] == pytest.approx(3.0 if there else NAN, nan_ok=True)
    beside_gap = waveforms.resample([[1.0], [3.0], [5.0]], [0.0, 1.0, 2.0], [1.0 + late], max_gap=0.5)
    assert beside_gap[0, 0] == pytest.approx(3.0 if there else NAN, nan_ok=True)


def test_the_sample_is_taken_as_it_is():
    found = waveforms.resample([[1.0], [3.0]], [0.0, 1e-3], [9e-7, 1e-3 - 9e-7, 5e-4], max_gap=1.0)
    assert found.ravel().tolist() == [1.0, 3.0, 2.0]


@pytest.mark.truth("closed form")
def test_columns_have_gaps_of_their_own():
    values = [[0.0, NAN, NAN], [NAN, 1.0, NAN], [2.0, 2.0, NAN]]
    found = waveforms.resample(values, [0.0, 1.0, 2.0], [0.0, 0.5, 1.5], max_gap=2.0)
    assert np.array_equal(found, [[0.0, NAN, NAN], [0.5, NAN, NAN], [1.5, 1.5, NAN]], equal_nan=True)


@pytest.mark.truth("closed form")
def test_angles_take_the_short_way():
    values = np.radians([[170.0], [-170.0]])
    assert np.degrees(waveforms.resample(values, [0.0, 1.0], [0.5], max_gap=1.0)) == pytest.approx(180)
    metres = waveforms.resample(values, [0.0, 1.0], [0.5], max_gap=1.0, kind="translation")
    assert metres == pytest.approx(0.0, abs=1e-12)


def test_resampling_nothing():
    assert waveforms.resample(np.empty((0, 2)), [], [0.0, 1.0], max_gap=1.0).shape == (2, 2)
    assert np.isnan(waveforms.resample(np.empty((0, 2)), [], [0.0, 1.0], max_gap=1.0)).all()
    assert waveforms.resample(np.empty((3, 0)), [0.0, 1.0, 2.0], [0.0, 1.0], max_gap=1.0).shape == (2, 0)
    assert waveforms.resample([[1.0]], [0.0], [], max_gap=0.0).shape == (0, 1)


@pytest.mark.parametrize("max_gap", [-0.1, NAN])
def test_the_limit_is_checked(max_gap):
    with pytest.raises(MetricError, match="max_gap in seconds, zero or more, got"):
        waveforms.resample([[1.0]], [0.0], [0.0], max_gap=max_gap)


def test_no_gap_at_all_may_be_bridged():
    found = waveforms.resample([[0.0], [1.0]], [0.0, 0.2], [0.0, 0.1, 0.2], max_gap=0)
    assert np.array_equal(found.ravel(), [0.0, NAN, 1.0], equal_nan=True)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("points", [2, 5, 101])
def test_normalised_time_runs_from_first_to_last(points):
    time = 3.0 + np.array([0.0, 0.1, 0.5, 0.9, 2.0])
    values = np.column_stack([time, -time])
    found = waveforms.time_normalise(values, time, max_gap=2.0, points=points, kind="translation")
    assert np.allclose(found[:, 0], [3.0 + 2.0 * k / (points - 1) for k in range(points)], atol=1e-6)
    assert np.allclose(found[:, 1], -found[:, 0])


def test_normalised_time_defaults_and_limits():
    time = np.linspace(0, 1, 11)
    assert waveforms.time_normalise(time[:, None], time, max_gap=1.0).shape == (101, 1)
    assert np.isnan(waveforms.time_normalise([[1.0, 2.0]], [0.0], max_gap=1.0, points=3)).sum() == 6
    assert np.isnan(waveforms.time_normalise(np.empty((0, 1)), [], max_gap=1.0)).all()
    assert np.isfinite(waveforms.time_normalise([[1.0], [2.0]], [0.0, 1.0], max_gap=1.0)).all()
    holed = np.where(np.arange(11)[:, None] == 5, NAN, time[:, None])
    assert np.isnan(waveforms.time_normalise(holed, time, max_gap=0.1)).sum() == 19  # 41 % to 59 %
    assert np.isfinite(waveforms.time_normalise(holed, time, max_gap=0.2)).all()
    around = waveforms.time_normalise(np.radians([[170.0], [-170.0]]), [0.0, 1.0], max_gap=1.0, points=3)
    assert np.degrees(around[1]) == pytest.approx([180.0])
    with pytest.raises(MetricError, match="at least two points, got 1"):
        waveforms.time_normalise([[1.0]], [0.0], max_gap=1.0, points=1)
    with pytest.raises(MetricError, match="each of 1 samples, got 2"):
        waveforms.time_normalise([[1.0]], [0.0, 1.0], max_gap=1.0)
