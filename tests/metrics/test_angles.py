"""Scores of joint angles, against closed forms, slow loops over the definition and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from metrics import angles
from metrics.arrays import MetricError
from metrics.catalogue import card

NAN = np.nan
SIN = np.sin(np.linspace(0, 2 * np.pi, 101))[:, None]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def curves(*, seed=0, shape=(50, 3), gaps=0.0):
    """Predicted and reference, radians, within half a turn of each other."""
    rng = np.random.default_rng(seed)
    reference = np.cumsum(rng.normal(0, 0.05, shape), axis=-2)
    predicted = reference + rng.normal(0.05, 0.1, shape)
    for values in (predicted, reference):
        values[rng.random(shape) < gaps] = NAN
    return predicted, reference


def slow_wrap(angle):
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle <= -math.pi:
        angle += 2 * math.pi
    return angle


def slow_errors(predicted, reference, column):
    pairs = zip(predicted[:, column].tolist(), reference[:, column].tolist(), strict=True)
    return [slow_wrap(p - r) for p, r in pairs if not (math.isnan(p) or math.isnan(r))]


# --- wrap, unwrap, continuous ---


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("angle", [0.0, 1.0, -1.0, 3.0, -3.0, 3.2, -3.2, 6.0, -6.0, 7.0, 100.0, -100.0])
def test_wrap_is_the_same_angle_within_half_a_turn(angle):
    assert angles.wrap(angle) == pytest.approx(slow_wrap(angle), abs=1e-12)


@pytest.mark.truth("closed form")
def test_wrap_keeps_plus_half_a_turn_and_moves_minus():
    wrapped = angles.wrap([[math.pi, -math.pi, -3.141]])
    assert wrapped.tolist() == [[math.pi, math.pi, -3.141]]


def test_wrap_leaves_small_angles_to_the_bit():
    small = np.random.default_rng(1).uniform(-3.1, 3.1, 100)
    assert np.array_equal(angles.wrap(small), small)


@pytest.mark.truth("numpy")
@pytest.mark.parametrize("seed", range(3))
def test_unwrap_without_gaps_is_numpys(seed):
    curve = np.random.default_rng(seed).uniform(-9, 9, (2, 40, 3))
    assert np.allclose(angles.unwrap(curve), np.unwrap(curve, axis=1), atol=1e-12)


@pytest.mark.truth("metamorphic")
def test_unwrap_steps_over_gaps_as_if_they_were_not_there():
    curve = angles.wrap(np.linspace(0, 20, 80))[:, None] * [1.0, -1.0]
    holes = np.repeat([[False], [True], [False], [False], [True]], 16, axis=0) & np.array([True, False])
    curve[holes] = NAN
    curve[:2, 1] = NAN
    unwrapped = angles.unwrap(curve)
    for column in range(2):
        there = ~np.isnan(curve[:, column])
        assert np.array_equal(np.isnan(unwrapped[:, column]), ~there)
        assert np.allclose(unwrapped[there, column], np.unwrap(curve[there, column]), atol=1e-12)


def test_unwrap_of_nothing():
    assert angles.unwrap(np.empty((0, 2))).shape == (0, 2)
    assert np.isnan(angles.unwrap(np.full((3, 2), NAN))).all()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("turns", [-3, -1, 0, 1, 2])
def test_continuous_moves_the_prediction_by_whole_turns(turns):
    reference = np.linspace(2, 5, 30)[:, None]  # crosses pi
    predicted, unwrapped = angles.continuous(
        angles.wrap(reference + 0.3) + 2 * np.pi * turns, angles.wrap(reference)
    )
    assert np.allclose(predicted - unwrapped, 0.3)
    assert np.allclose(unwrapped, reference)


def test_continuous_leaves_out_what_the_reference_lacks():
    predicted, reference = angles.continuous([[1.0], [1.0], [NAN]], [[NAN], [1.0], [1.0]])
    assert np.array_equal(predicted, [[NAN], [1.0], [NAN]], equal_nan=True)
    assert np.array_equal(reference, [[NAN], [1.0], [1.0]], equal_nan=True)
    predicted, _ = angles.continuous([[9.0], [9.0]], [[NAN], [1.0]], kind="translation")
    assert np.array_equal(predicted, [[NAN], [9.0]], equal_nan=True)


# --- RMSE, MAE, bias, SD ---


@pytest.mark.truth("scikit-learn")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["rotation", "translation"])
def test_rmse_and_mae_are_scikit_learns(seed, kind):
    predicted, reference = curves(seed=seed)
    unit = 180 / math.pi if kind == "rotation" else 1000
    for score, other in ((angles.rmse, root_mean_squared_error), (angles.mae, mean_absolute_error)):
        truth = other(reference * unit, predicted * unit, multioutput="raw_values")
        assert score(predicted, reference, kind=kind) == pytest.approx(truth, rel=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_angle_scores_are_their_definitions(seed, gaps):
    predicted, reference = curves(seed=seed, gaps=gaps)
    predicted += 2 * math.pi * np.arange(-1, 2)
    for column in range(3):
        error = slow_errors(predicted, reference, column)
        n = len(error)
        bias = sum(error) / n
        rest = [e - bias for e in error]
        expected = {
            "RMSE·angle": math.sqrt(sum(e * e for e in error) / n),
            "RMSE·angle·offset removed": math.sqrt(sum(e * e for e in rest) / n),
            "MAE·angle": sum(abs(e) for e in error) / n,
            "bias·angle": bias,
            "SD·angle": math.sqrt(sum(e * e for e in rest) / (n - 1)),
        }
        for name, value in expected.items():
            assert card(name)(predicted, reference)[column] == pytest.approx(math.degrees(value), rel=1e-9)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_translation_scores_are_their_definitions(gaps):
    predicted, reference = curves(seed=5, gaps=gaps)
    predicted += 4.0  # metres: more than pi, never wrapped
    for column in range(3):
        error = (predicted - reference)[:, column]
        error = error[~np.isnan(error)] * 1000
        rest = error - error.mean()
        expected = {
            "RMSE·translation·as is": np.sqrt(np.mean(error**2)),
            "RMSE·translation·offset removed": np.sqrt(np.mean(rest**2)),
            "MAE·translation·as is": np.mean(np.abs(error)),
            "MAE·translation·offset removed": np.mean(np.abs(rest)),
            "bias·translation": np.mean(error),
            "SD·translation": np.std(error, ddof=1),
        }
        for name, value in expected.items():
            assert card(name)(predicted, reference)[column] == pytest.approx(value, rel=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("turns", [-2, 1, 5])
@pytest.mark.parametrize(
    "name",
    [
        "RMSE·angle",
        "RMSE·angle·offset removed",
        "MAE·angle",
        "bias·angle",
        "SD·angle",
        "ROM error·angle",
        "peak error·max·angle",
        "peak error·min·angle",
    ],
)
def test_a_whole_turn_changes_nothing(name, turns):
    predicted, reference = curves(seed=2)
    moved = card(name)(predicted + 2 * math.pi * turns, reference)
    assert moved == pytest.approx(card(name)(predicted, reference), abs=1e-10)
    jumps = 2 * math.pi * np.random.default_rng(0).integers(-2, 3, predicted.shape)
    assert card(name)(predicted + jumps, reference) == pytest.approx(moved, abs=1e-10)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("offset", [-179.0, -90.0, 0.0, 1.0, 120.0, 179.0, 180.0])
def test_constant_offset(offset):
    reference = 0.5 * SIN
    predicted = reference + math.radians(offset)
    assert angles.bias(predicted, reference) == pytest.approx([offset], abs=1e-9)
    assert angles.rmse(predicted, reference) == pytest.approx([abs(offset)], abs=1e-9)
    assert angles.mae(predicted, reference) == pytest.approx([abs(offset)], abs=1e-9)
    assert angles.rmse(predicted, reference, align="offset") == pytest.approx([0], abs=1e-9)
    assert angles.sd(predicted, reference) == pytest.approx([0], abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("degrees", "bias"),
    [
        ([170, -170], 180),
        ([160, -170], 175),
        ([175, -170, -155], -170),
        ([10, 30, -10], 10),
        ([-90, 90], 0),
        ([-140, -30, -20], -190 / 3),
    ],
)
def test_bias_across_half_a_turn(degrees, bias):
    predicted = np.radians(degrees)[:, None]
    assert angles.bias(predicted, np.zeros_like(predicted)) == pytest.approx([bias], abs=1e-9)
    rest = [slow_wrap(math.radians(d - bias)) for d in degrees]
    error = angles.error_series(predicted, np.zeros_like(predicted), align="offset")
    assert np.allclose(error[:, 0], np.degrees(rest), atol=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("amplitude", [1.0, 5.0, 20.0])
def test_sine_error_has_rms_of_its_amplitude_by_root_two(amplitude):
    time = np.arange(100) / 100
    error = math.radians(amplitude) * np.sin(2 * math.pi * time)[:, None]
    assert angles.rmse(1 + error, np.ones((100, 1))) == pytest.approx([amplitude / math.sqrt(2)])
    assert angles.sd(1 + error, np.ones((100, 1))) == pytest.approx([amplitude * math.sqrt(50 / 99)])


@pytest.mark.truth("metamorphic")
def test_rmse_is_bias_and_the_rest():
    predicted, reference = curves(seed=3, gaps=0.2)
    rest = angles.rmse(predicted, reference, align="offset")
    assert angles.rmse(predicted, reference) ** 2 == pytest.approx(
        angles.bias(predicted, reference) ** 2 + rest**2
    )


@pytest.mark.truth("metamorphic")
def test_trials_stack_in_front():
    predicted, reference = curves(seed=4, shape=(2, 5, 30, 3), gaps=0.1)
    time = np.arange(30.0)
    for score in (angles.rmse, angles.mae, angles.bias, angles.sd, angles.rom_error, angles.peak_error):
        stacked = score(predicted, reference)
        assert stacked.shape == (2, 5, 3)
        assert np.allclose(stacked[1, 4], score(predicted[1, 4], reference[1, 4]), atol=1e-9)
    stacked = angles.peak_timing(predicted, reference, time)
    assert np.array_equal(stacked[1, 4], angles.peak_timing(predicted[1, 4], reference[1, 4], time))
    assert np.allclose(
        angles.coverage(predicted, reference)[1, 4], angles.coverage(predicted[1, 4], reference[1, 4])
    )


@pytest.mark.truth("metamorphic")
def test_swapping_turns_the_sign_of_signed_scores():
    predicted, reference = curves(seed=6)
    for score in (angles.bias, angles.rom_error, angles.peak_error):
        assert score(predicted, reference) == pytest.approx(-score(reference, predicted))
    for score in (angles.rmse, angles.mae, angles.sd):
        assert score(predicted, reference) == pytest.approx(score(reference, predicted))


@pytest.mark.truth("closed form")
def test_sd_needs_two_samples():
    reference = np.zeros((2, 3))
    predicted = np.radians([[1.0, 1.0, NAN], [3.0, NAN, NAN]])
    assert np.array_equal(np.isnan(angles.sd(predicted, reference)), [False, True, True])
    assert angles.sd(predicted, reference)[0] == pytest.approx(math.sqrt(2))


@pytest.mark.truth("closed form")
def test_remove_offset_is_by_trial_and_coordinate():
    predicted = np.array([[[1.0, 2.0], [3.0, 2.0]], [[10.0, NAN], [20.0, 5.0]]])
    moved = angles.remove_offset(predicted, np.zeros_like(predicted), kind="translation")
    expected = [[[-1.0, 0.0], [1.0, 0.0]], [[-5.0, NAN], [5.0, 0.0]]]
    assert np.array_equal(moved, expected, equal_nan=True)
    turned = angles.remove_offset(np.radians([[170.0], [-170.0]]), np.zeros((2, 1)))
    assert np.allclose(np.degrees(angles.wrap(turned)), [[-10.0], [10.0]])


# --- range, peaks, timing ---


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("gain", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("centre", [0.0, 180.0, -175.0])
def test_range_and_peaks_of_a_scaled_curve(gain, centre):
    middle = math.radians(centre)
    reference = angles.wrap(middle + math.radians(30) * SIN)
    predicted = angles.wrap(middle + math.radians(2) + gain * math.radians(30) * SIN)
    top = SIN.max()
    assert angles.rom_error(predicted, reference) == pytest.approx([60 * top * (gain - 1)], abs=1e-9)
    assert angles.peak_error(predicted, reference) == pytest.approx([2 + 30 * top * (gain - 1)], abs=1e-9)
    low = angles.peak_error(predicted, reference, extreme="min")
    assert low == pytest.approx([2 - 30 * top * (gain - 1)], abs=1e-9)


@pytest.mark.truth("closed form")
def test_translations_have_ranges_and_peaks_in_mm():
    reference, predicted = 0.1 * SIN, 7.0 + 0.12 * SIN
    top = 1000 * SIN.max()
    assert angles.rom_error(predicted, reference, kind="translation") == pytest.approx([0.04 * top])
    assert angles.peak_error(predicted, reference, kind="translation") == pytest.approx([7000 + 0.02 * top])
    assert card("peak error·max·translation·offset removed")(predicted, reference) == pytest.approx(
        [0.02 * top]
    )
    assert card("peak error·min·translation·offset removed")(predicted, reference) == pytest.approx(
        [-0.02 * top]
    )
    assert card("ROM error·translation")(predicted, reference) == pytest.approx([0.04 * top])


@pytest.mark.truth("closed form")
def test_peak_error_without_the_offset():
    reference = np.radians([[0.0], [30.0], [60.0]])
    predicted = np.radians([[10.0], [40.0], [85.0]])  # mean error 15
    assert angles.peak_error(predicted, reference, align="offset") == pytest.approx([10.0])


@pytest.mark.truth("closed form")
def test_leaving_out_the_extremes_costs():
    reference = np.radians([[0.0], [30.0], [60.0]])
    predicted = np.where(reference > 0.6, NAN, reference)
    assert angles.rom_error(predicted, reference) == pytest.approx([-30.0])
    assert angles.peak_error(predicted, reference) == pytest.approx([-30.0])
    assert angles.peak_error(predicted, reference, extreme="min") == pytest.approx([0.0])


@pytest.mark.truth("closed form")
def test_predictions_beyond_the_reference_do_not_count():
    reference = np.radians([[0.0], [30.0], [NAN]])
    predicted = np.radians([[1.0], [30.0], [90.0]])
    assert angles.rom_error(predicted, reference) == pytest.approx([-1.0])
    assert angles.peak_error(predicted, reference) == pytest.approx([0.0])


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("late", [-9, -1, 0, 4])
def test_timing_of_a_late_peak(late):
    time = 2.0 + np.arange(201) / 100
    bump = np.exp(-(((time - 3.0) / 0.2) ** 2))[:, None]
    predicted = np.exp(-(((time - 3.0 - late / 100) / 0.2) ** 2))[:, None]
    for sign, extreme in ((1, "max"), (-1, "min")):
        pair = sign * predicted, sign * bump, time
        assert angles.peak_timing(*pair, extreme=extreme) == pytest.approx([late / 100], abs=1e-9)
        assert angles.peak_timing(*pair, extreme=extreme, relative_to="trial") == pytest.approx([late / 2])
        assert card(f"peak timing·{extreme}·s")(*pair) == pytest.approx([late / 100], abs=1e-9)
        assert card(f"peak timing·{extreme}·% cycle")(*pair) == pytest.approx([late / 2])


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("predicted", "reference", "trial", "cycle"),
    [
        (98, 1, 97, -3),
        (1, 98, -97, 3),
        (75, 25, 50, 50),
        (25, 75, -50, 50),
        (76, 25, 51, -49),
        (24, 74, -50, 50),
    ],
)
def test_a_cycle_ends_where_it_starts(predicted, reference, trial, cycle):
    time = np.linspace(0, 1, 101)
    peaks = [(np.arange(101) == frame).astype(float)[:, None] for frame in (predicted, reference)]
    assert card("peak timing·max·% trial")(*peaks, time) == pytest.approx([trial])
    # at half a cycle, early and late are one; rounding may call it either
    assert abs(card("peak timing·max·% cycle")(*peaks, time)) == pytest.approx([abs(cycle)])
    if abs(cycle) < 50:
        assert card("peak timing·max·% cycle")(*peaks, time) == pytest.approx([cycle])


def test_half_a_cycle_is_late():
    time = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    first, second = ([[0.0], [float(a)], [0.0], [float(b)], [0.0]] for a, b in ((1, 0), (0, 1)))
    assert angles.peak_timing(first, second, time, relative_to="cycle") == [50.0]
    assert angles.peak_timing(second, first, time, relative_to="cycle") == [50.0]
    assert angles.peak_timing(first, second, time, relative_to="trial") == [-50.0]


def test_of_equal_peaks_the_first_counts():
    time = np.array([0.0, 1.0, 3.0])
    assert angles.peak_timing([[1.0], [0.0], [1.0]], [[0.0], [0.0], [1.0]], time) == [-3.0]
    assert angles.peak_timing([[1.0], [0.0], [0.0]], [[1.0], [1.0], [0.0]], time, extreme="min") == [
        -2.0 + 0.0
    ]


@pytest.mark.truth("closed form")
def test_timing_across_half_a_turn_and_gaps():
    time = np.arange(5.0)
    reference = np.radians([[170.0], [178.0], [-175.0], [179.0], [170.0]])  # peaks at 185, frame 2
    predicted = np.radians([[170.0], [175.0], [NAN], [-178.0], [170.0]])  # peaks at 182, frame 3
    assert angles.peak_timing(predicted, reference, time) == pytest.approx([1.0])
    assert angles.peak_timing(predicted, reference, time, kind="translation") == pytest.approx([-2.0])
    assert angles.peak_error(predicted, reference) == pytest.approx([-3.0])


@pytest.mark.parametrize("relative_to", ["none", "trial", "cycle"])
def test_timing_that_is_undefined(relative_to):
    pair = np.ones((3, 2)), np.array([[1.0, NAN]] * 3)
    late = angles.peak_timing(*pair, [0.0, 1.0, 2.0], relative_to=relative_to)
    assert np.array_equal(late, [0.0, NAN], equal_nan=True)
    late = angles.peak_timing(*pair[::-1], [0.0, 1.0, 2.0], relative_to=relative_to)
    assert np.array_equal(late, [0.0, NAN], equal_nan=True)
    none = angles.peak_timing(np.empty((0, 2)), np.empty((0, 2)), [], relative_to=relative_to)
    assert none.shape == (2,) and np.isnan(none).all()
    single = angles.peak_timing([[1.0]], [[1.0]], [4.0], relative_to=relative_to)
    assert np.array_equal(single, [0.0 if relative_to == "none" else NAN], equal_nan=True)


# --- coverage ---


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("answered", "share"), [(0, 0.0), (1, 25.0), (3, 75.0), (4, 100.0)])
def test_coverage_counts_the_references_samples(answered, share):
    reference = np.array([[1.0], [2.0], [3.0], [4.0], [NAN]])
    predicted = np.where(np.arange(5)[:, None] < answered, 0.0, NAN)
    predicted[4] = 1.0  # nobody asked
    assert angles.coverage(predicted, reference) == pytest.approx([share])


def test_coverage_without_a_reference():
    assert np.isnan(angles.coverage([[1.0]], [[NAN]])).all()


# --- nothing, and wrong things ---

SCORES = [angles.rmse, angles.mae, angles.bias, angles.sd, angles.rom_error, angles.peak_error]


@pytest.mark.parametrize("score", [*SCORES, angles.coverage])
@pytest.mark.parametrize("shape", [(0, 2), (3, 2)])
def test_nothing_is_nan(score, shape):
    nothing = np.full(shape, NAN)
    assert np.array_equal(score(nothing, nothing), [NAN, NAN], equal_nan=True)
    if score is not angles.coverage:
        assert np.isnan(score(nothing, nothing, kind="translation")).all()
        assert np.isnan(score(nothing, np.zeros(shape))).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", ["rotation", "translation"])
def test_infinite_is_missing(score, kind):
    predicted, reference = curves(seed=7)
    holed = predicted.copy()
    holed[3], predicted[3] = NAN, [np.inf, -np.inf, np.inf]
    assert np.array_equal(score(predicted, reference, kind=kind), score(holed, reference, kind=kind))
    assert angles.coverage(predicted, reference) == pytest.approx([98.0] * 3)


@pytest.mark.parametrize("score", [*SCORES, angles.coverage, angles.error_series, angles.remove_offset])
def test_shapes_must_agree(score):
    with pytest.raises(MetricError, match=r"one shape, got \(2, 1\) and \(1, 1\)"):
        score(np.zeros((2, 1)), np.zeros((1, 1)))
    with pytest.raises(MetricError, match=r"\(\.\.\., time, coordinate\), got shape \(2,\)"):
        score(np.zeros(2), np.zeros(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "angle"}, "kind 'rotation' or 'translation', got 'angle'"), ({"align": "mean"}, "got 'mean'")],
)
@pytest.mark.parametrize("score", [angles.error_series, angles.rmse, angles.mae, angles.peak_error])
def test_options_are_checked(score, options, message):
    with pytest.raises(MetricError, match=message):
        score([[1.0]], [[1.0]], **options)


def test_more_options_are_checked():
    with pytest.raises(MetricError, match=r"got shape \(3,\)"):
        angles.unwrap(np.zeros(3))
    with pytest.raises(MetricError, match="extreme 'max' or 'min', got 'top'"):
        angles.peak_error([[1.0]], [[1.0]], extreme="top")
    with pytest.raises(MetricError, match="'none', 'trial' or 'cycle', got '%'"):
        angles.peak_timing([[1.0]], [[1.0]], [0.0], relative_to="%")


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ([0.0], "each of 2 samples, got 1"),
        ([0.0, 0.0], "increase strictly"),
        ([1.0, 0.0], "increase strictly"),
        ([0.0, NAN], "finite"),
        ([0.0, np.inf], "finite"),
        ([[0.0, 1.0]], "1 axes"),
    ],
)
def test_times_are_checked(time, message):
    with pytest.raises(MetricError, match=message):
        angles.times(time, 2)


@pytest.mark.truth("closed form")
def test_defaults_are_angles_as_they_are():
    pair = np.radians([[359.0], [2.0]]), np.zeros((2, 1))  # errors -1, 2; 1 turn apart as numbers
    assert angles.error_series(*pair) == pytest.approx(np.array([[-1.0], [2.0]]))
    assert angles.rmse(*pair) == pytest.approx([math.sqrt(2.5)])
    assert angles.mae(*pair) == pytest.approx([1.5])
    assert angles.bias(*pair) == pytest.approx([0.5])
    assert angles.rom_error(*pair) == pytest.approx([3.0])
    assert angles.peak_error(*pair) == pytest.approx([2.0])
    assert angles.sd(*pair) == pytest.approx([math.sqrt(4.5)])
    assert angles.peak_timing(*pair, [0.0, 0.5]) == pytest.approx([0.5])
    assert np.allclose(np.degrees(angles.wrap(angles.remove_offset(*pair))), [[-1.5], [1.5]])
