"""Curves cut by events: against numpy.interp, polynomials and the definition taken literally."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.arrays import MetricError
from metrics.cycles import at, cycles, only, ordered, phase_peak, segment, stance_mean, stance_peak, stances
from metrics.events import FootEvents

NONE = np.empty(0)


def bare(function, *args, **options):
    with np.errstate(all="raise"):
        return function(*args, **options)


@pytest.mark.truth("numpy.interp")
@pytest.mark.parametrize("seed", range(5))
def test_at_is_linear_interpolation_of_every_channel(seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.01, 0.1, 40))
    curve = rng.normal(size=(40, 2, 3))
    when = rng.uniform(time[0], time[-1], (6, 5))
    found = at(curve, time, when)
    assert found.shape == (6, 5, 2, 3)
    for j in range(2):
        for k in range(3):
            np.testing.assert_allclose(found[..., j, k], np.interp(when, time, curve[:, j, k]), rtol=1e-9)


def test_at_the_ends_outside_and_without_a_time():
    curve, time = [1.0, 2.0, 4.0], [0.0, 1.0, 3.0]
    when = np.array([0.0, 1.0, 3.0, -3e-6, 3.0 + 3e-6, np.nan])
    np.testing.assert_array_equal(bare(at, curve, time, when), [1, 2, 4, np.nan, np.nan, np.nan])
    with pytest.raises(MetricError, match="each of 2 samples, got 3"):
        at([1.0, 2.0], time, when)
    with pytest.raises(MetricError, match="at least 2 frames, got 0"):
        at(1.0, time, when)
    # an event that rounding puts just outside is on the last sample
    assert at(curve, time, np.array([3.0 + 1e-9])) == 4.0


def test_at_beside_a_gap():
    found = bare(at, [1.0, np.nan, 3.0, 4.0], [0, 1, 2, 3], np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]))
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, np.nan, 3, 3.5, 4])
    last = bare(at, [1.0, np.nan, 3.0], [0, 1, 2], np.array([2.0, 1.99]))
    np.testing.assert_array_equal(last, [3, np.nan])
    # a channel with a gap leaves the others alone
    two = bare(at, [[1.0, 1.0], [np.nan, 2.0], [3.0, 3.0]], [0, 1, 2], np.array([0.5]))
    np.testing.assert_array_equal(two, [[np.nan, 1.5]])
    # uneven frames: bridged up to the longest time between two of them, here 2 s
    uneven = bare(at, [0.0, np.nan, 2.0, np.nan, 4.5], [0, 1, 2, 3, 5], np.array([1.0, 4.0]))
    np.testing.assert_array_equal(uneven, [1.0, np.nan])
    # and never an angle's jump: a curve is taken as it is
    np.testing.assert_array_equal(at([0.0, 6.0], [0, 1], np.array([0.5])), [3.0])


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("points", [2, 11, 101])
def test_segment_of_a_straight_line_is_one(points):
    time = np.arange(50) / 10
    found = segment(3 * time - 1, time, [0.05, 1.0], [2.15, 4.9], points=points)
    expected = [3 * np.linspace(0.05, 2.15, points) - 1, 3 * np.linspace(1.0, 4.9, points) - 1]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_segment_defaults_shapes_and_refusals():
    time = np.arange(5.0)
    assert segment(time, time, [0, 1], [2, 3]).shape == (2, 101)
    assert segment(np.zeros((5, 4, 3)), time, [0.0], [2.0], points=7).shape == (1, 7, 4, 3)
    assert segment(time, time, NONE, NONE).shape == (0, 101)
    with pytest.raises(MetricError, match="at least 2 points, got 1"):
        segment(time, time, [0.0], [1.0], points=1)
    with pytest.raises(MetricError, match="starts and ends of one shape"):
        segment(time, time, [0.0, 1.0], [1.0])
    with pytest.raises(MetricError, match="Expected starts with 1 axes"):
        segment(time, time, [[0.0]], [[1.0]])


@pytest.mark.parametrize(("start", "end"), [(2.0, 2.0), (3.0, 2.0), (np.nan, 2.0), (1.0, np.nan)])
def test_a_piece_without_length_is_missing(start, end):
    time = np.arange(5.0)
    found = bare(segment, time, time, [start, 0.0], [end, 1.0], points=3)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], [0.0, 0.5, 1.0])


def test_a_piece_that_leaves_the_recording_is_missing_there():
    time = np.arange(5.0)
    np.testing.assert_array_equal(
        segment(time, time, [3.0], [5.0], points=5), [[3.0, 3.5, 4.0, np.nan, np.nan]]
    )


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("harmonic", [1, 2, 3])
def test_cycles_of_uneven_length_all_look_the_same(harmonic):
    strikes = np.array([0.2, 1.3, 2.25, 3.5])
    knots = np.interp(np.arange(0, 3.7, 0.0005), strikes, np.arange(4.0))
    curve = np.sin(2 * np.pi * harmonic * knots)
    found = cycles(curve, np.arange(0, 3.7, 0.0005), strikes)
    assert found.shape == (3, 101)
    phase = np.linspace(0, 1, 101)
    np.testing.assert_allclose(found, np.tile(np.sin(2 * np.pi * harmonic * phase), (3, 1)), atol=1e-5)


def test_cycles_points_and_too_few_strikes():
    time = np.arange(5.0)
    assert cycles(time, time, [0, 2, 4], points=5).shape == (2, 5)
    assert cycles(time, time, [1.0]).shape == cycles(time, time, NONE).shape == (0, 101)
    with pytest.raises(MetricError, match="heel strikes with 1 axes"):
        cycles(time, time, [[1.0, 2.0]])


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("strikes", "offs", "ends"),
    [
        ([0.0, 1.0], [0.6, 1.6], [0.6, 1.6]),
        ([1.0, 0.0], [1.6, 0.6], [0.6, 1.6]),  # in any order
        ([0.0, 1.0], [0.6], [0.6, np.nan]),
        ([0.0, 1.0], [0.5, 0.6, 1.6], [np.nan, 1.6]),  # a strike between is missing
        ([0.0], [0.6, 1.6], [np.nan]),
        ([0.0, np.nan], [0.6, np.nan], [0.6]),
        ([0.0, 1.0], [0.0, 1.0], [np.nan, np.nan]),  # an event at the very instant is not inside
        ([0.0, 1.0], [1.0], [np.nan, np.nan]),
        ([0.0], [], [np.nan]),
        ([], [0.6], []),
    ],
)
def test_stances(strikes, offs, ends):
    start, end = bare(stances, FootEvents(np.array(strikes), np.array(offs)))
    np.testing.assert_array_equal(start, np.sort([t for t in strikes if not np.isnan(t)]))
    np.testing.assert_array_equal(end, ends)


def test_ordered_wants_lists():
    with pytest.raises(MetricError, match="events with 1 axes"):
        ordered(FootEvents(np.zeros((2, 2)), NONE))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(4))
def test_only_is_the_value_of_the_one_inside(seed):
    rng = np.random.default_rng(seed)
    times, values = rng.integers(0, 10, 8) * 1.0, rng.normal(size=8)
    values[0] = np.nan
    start = rng.integers(0, 9, 30) * 1.0
    end = start + rng.integers(0, 4, 30)
    expected = []
    for a, b in zip(start, end, strict=True):
        inside = [v for t, v in zip(times, values, strict=True) if a < t < b]
        expected.append(inside[0] if len(inside) == 1 else np.nan)
    np.testing.assert_array_equal(bare(only, times, values, start, end), expected)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize(("start", "end"), [(0, 50), (0, 100), (50, 100), (40, 40), (33, 66.5), (12, 12.5)])
@pytest.mark.parametrize("lowest", [False, True])
def test_phase_peak_looks_at_the_samples_of_the_phase(start, end, lowest):
    curve = np.random.default_rng(1).normal(size=(2, 3, 51))
    percent = [2 * k for k in range(51)]
    inside = [k for k in range(51) if start <= percent[k] <= end]
    best = (min if lowest else max) if inside else (lambda row: np.nan)
    expected = [[best([row[k] for k in inside]) for row in block] for block in curve]
    found = bare(phase_peak, curve, start=start, end=end, lowest=lowest)
    np.testing.assert_array_equal(found, expected)


def test_phase_peak_defaults_to_the_first_half_and_its_highest():
    assert phase_peak([0.0, 1.0, 2.0, 3.0, 4.0]) == 2.0
    assert phase_peak([9.0, 1.0, 2.0, 3.0, 4.0]) == 9.0
    assert phase_peak([5.0, 1.0, 2.0, 3.0, 4.0], lowest=True) == 1.0
    assert phase_peak([0.0, 1.0, 2.0, 3.0, 4.0], start=25.0, end=100.0, lowest=True) == 1.0
    assert phase_peak([7.0], end=100.0) == 7.0
    assert np.isnan(phase_peak(np.zeros((2, 0)))).tolist() == [True, True]


def test_phase_peak_with_a_gap_is_unknown():
    curve = np.array([[1.0, np.nan, 2.0, 3.0, 9.0], [1.0, 0.0, 2.0, np.nan, 9.0]])
    np.testing.assert_array_equal(bare(phase_peak, curve), [np.nan, 2.0])
    np.testing.assert_array_equal(bare(phase_peak, curve, lowest=True), [np.nan, 0.0])


@pytest.mark.parametrize(("start", "end"), [(-1, 50), (60, 50), (0, 100.5), (np.nan, 50)])
def test_phase_peak_refuses_what_is_no_phase(start, end):
    with pytest.raises(MetricError, match="phase within 0–100 %"):
        phase_peak([1.0, 2.0], start=start, end=end)


def test_phase_peak_of_a_number():
    with pytest.raises(MetricError, match="points on its last axis"):
        phase_peak(3.0)


FEET = FootEvents(np.array([0.5, 1.5, 2.5]), np.array([1.1, 2.2]))


@pytest.mark.truth("closed form")
def test_stance_peak_and_mean_of_parabolas():
    time = np.arange(0, 3.0001, 0.001)
    # a hump in each stance, one at 30 % and one at 70 % of it; the other stances are flat
    early = 0.5 + 0.3 * 0.6
    late = 1.5 + 0.7 * 0.7
    curve = np.maximum(1 - (10 * (time - early)) ** 2, 0) + 2 * np.maximum(1 - (10 * (time - late)) ** 2, 0)
    np.testing.assert_allclose(stance_peak(curve, time, FEET, end=50)[0], 1.0, atol=1e-9)
    at_half = 2 * max(1 - (10 * 0.2 * 0.7) ** 2, 0)
    np.testing.assert_allclose(stance_peak(curve, time, FEET)[1], at_half, atol=1e-9)
    np.testing.assert_allclose(stance_peak(curve, time, FEET, end=100), [1.0, 2.0, np.nan], atol=1e-9)
    np.testing.assert_allclose(
        stance_peak(curve, time, FEET, start=50, end=100), [0.0, 2.0, np.nan], atol=1e-9
    )
    # area of a hump of height h and half width w is 4/3·h·w
    np.testing.assert_allclose(
        stance_mean(curve, time, FEET, points=6001),
        [4 / 3 * 0.1 / 0.6, 2 * 4 / 3 * 0.1 / 0.7, np.nan],
        rtol=1e-3,
    )


def test_stance_peak_and_mean_count_their_points():
    time = np.arange(4.0)
    feet = FootEvents(np.array([0.0]), np.array([3.0]))
    curve = [0.0, 3.0, 0.0, 0.0]
    # 4 samples are 0, 33, 67 and 100 %; 2 samples are the ends alone
    assert stance_peak(curve, time, feet, points=4) == 3.0
    assert stance_peak(curve, time, feet, points=2) == 0.0
    assert stance_mean(curve, time, feet, points=4) == 0.75
    assert stance_mean(curve, time, feet, points=2) == 0.0
    # 101 by default: 1 s is sampled at 33 and 34 %
    assert stance_peak(curve, time, feet)[0] == pytest.approx(3.0 * 0.99)
    steep = [9.0, 0.0, 0.0, 0.0]
    expected = np.interp(np.arange(101) * 0.03, time, steep).mean()
    assert stance_mean(steep, time, feet)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("function", [stance_peak, stance_mean])
def test_stance_values_want_one_curve_and_leave_gaps_open(function):
    time = np.arange(4.0)
    with pytest.raises(MetricError, match="curve with 1 axes"):
        function(np.zeros((4, 2)), time, FEET)
    feet = FootEvents(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    found = bare(function, [0.0, np.nan, 1.0, 1.0], time, feet)
    np.testing.assert_array_equal(found, [np.nan, 1.0])
