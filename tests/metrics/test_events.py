"""Gait events: planted walks, forces with known crossings, pairings against trying them all."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from planted_gait import SIDES, Walk

from cohorts.formats import read
from metrics.arrays import MetricError
from metrics.catalogue import _cards
from metrics.events import (
    PATH,
    FootEvents,
    clock,
    direction_of_progression,
    force_events,
    ground_axes,
    match_events,
    score_events,
    zeni_events,
)

T3 = np.array([0.0, 1.0, 2.0])


def bare(function, *args, **options):
    """The result, with warnings as errors."""
    with np.errstate(all="raise"):
        return function(*args, **options)


# ---- time and directions


@pytest.mark.parametrize(
    ("time", "length", "message"),
    [
        ([0.0], 1, "at least 2 frames, got 1"),
        ([0.0, 1.0, 2.0], 2, "each of 2 samples, got 3"),
        ([0.0, 0.0], 2, "increase strictly"),
        ([1.0, 0.0], 2, "increase strictly"),
        ([0.0, np.nan], 2, "finite"),
        ([0.0, np.inf], 2, "finite"),
        ([[0.0, 1.0]], 2, "1 axes"),
    ],
)
def test_a_time_that_is_none_is_refused(time, length, message):
    with pytest.raises(MetricError, match=message):
        clock(time, length)


def test_two_frames_are_a_time():
    assert clock([0, 1], 2).dtype == np.float64


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("heading", np.radians([0, 37, 90, 135, 180, -60]))
def test_direction_is_that_of_the_path(heading):
    walk = Walk(heading=heading)
    found = direction_of_progression(walk.sacrum, walk.time)
    np.testing.assert_allclose(found, [np.cos(heading), 0.0, -np.sin(heading)], atol=1e-12)


@pytest.mark.truth("numpy.polyfit")
@pytest.mark.parametrize("seed", range(4))
def test_direction_is_the_least_squares_velocity_of_what_is_there(seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.01, 0.1, 60)) + 7.0
    path = np.stack([1.3 * time, rng.normal(size=60), -0.8 * time], axis=1) + 0.3 * rng.normal(size=(60, 3))
    path[::7, 0] = np.nan
    path[5, 2] = np.nan
    path[::4, 1] = np.nan  # a missing height does not matter
    there = ~np.isnan(path[:, [0, 2]]).any(axis=1)
    vx, vz = (np.polyfit(time[there], path[there, k], 1)[0] for k in (0, 2))
    expected = np.array([vx, 0.0, vz]) / np.hypot(vx, vz)
    np.testing.assert_allclose(direction_of_progression(path, time), expected, rtol=1e-9, atol=1e-12)


def test_a_path_must_be_half_a_metre_long():
    def line(length):
        return np.array([[0.0, 0, 0], [length / 2, 0, 0], [length, 0, 0]])

    assert PATH == 0.5
    np.testing.assert_array_equal(direction_of_progression(line(0.5), T3), [1.0, 0.0, 0.0])
    assert np.isnan(direction_of_progression(line(0.4999), T3)).all()
    # the length is speed × the time that was seen, wherever the clock starts
    np.testing.assert_array_equal(direction_of_progression(line(0.5), T3 + 64), [1.0, 0.0, 0.0])
    assert np.isnan(direction_of_progression(line(0.4999), T3 + 64)).all()
    gone = np.vstack([line(0.4), [[np.nan, 0, 0]] * 5])
    assert np.isnan(direction_of_progression(gone, np.arange(8.0))).all()


def test_there_and_back_and_nothing_have_no_direction():
    there_and_back = np.array([[0.0, 0, 0], [5.0, 0, 0], [0.0, 0, 0]])
    assert np.isnan(bare(direction_of_progression, there_and_back, T3)).all()
    none = np.full((3, 3), np.nan)
    assert np.isnan(bare(direction_of_progression, none, T3)).all()
    one = none.copy()
    one[1] = 1.0
    assert np.isnan(bare(direction_of_progression, one, T3)).all()
    two = none.copy()
    two[0], two[2] = 0.0, [0.0, 0.0, 3.0]
    np.testing.assert_array_equal(direction_of_progression(two, T3), [0.0, 0.0, 1.0])
    with pytest.raises(MetricError, match="Expected pelvis with 2 axes"):
        direction_of_progression([0.0, 0.0, 0.0], T3)
    with pytest.raises(MetricError, match="3 entries on the last axis of pelvis"):
        direction_of_progression(np.zeros((3, 2)), T3)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("forward", "right"),
    [([3, 0, 0], [0, 0, 1]), ([0, 5, 2], [-1, 0, 0]), ([-1, 1, 0], [0, 0, -1]), ([0, 0, -0.1], [1, 0, 0])],
)
def test_right_is_forward_cross_up(forward, right):
    ahead, aside = ground_axes(forward)
    np.testing.assert_allclose(aside, right)
    np.testing.assert_allclose(np.cross(ahead, [0, 1, 0]), aside)
    assert np.linalg.norm(ahead) == 1.0 and ahead[1] == 0.0


def test_forward_must_lie_on_the_ground():
    with pytest.raises(MetricError, match="direction along the ground"):
        ground_axes([0.0, 1.0, 0.0])
    with pytest.raises(MetricError, match="forward"):
        ground_axes([1.0, 0.0])
    assert np.isnan(ground_axes([np.nan] * 3)[0][[0, 2]]).all()


# ---- from markers


def zeni(walk: Walk, side: str, **options) -> FootEvents:
    return zeni_events(walk.heels[side], walk.toes[side], walk.sacrum, walk.time, **options)


def inner(times: np.ndarray, walk: Walk) -> np.ndarray:
    return times[(times > 0.02) & (times < walk.time[-1] - 0.02)]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("heading", np.radians([0, 73, 200]))
def test_zeni_where_the_foot_swings_at_even_speed_the_events_are_the_true_ones(side, heading):
    # the heel outruns the pelvis right up to the strike, so the rule's instant is the strike
    walk = Walk(swing="even", heading=heading, rate=200)
    found, true = zeni(walk, side), walk.events[side]
    np.testing.assert_allclose(found.heel_strikes, inner(true.heel_strikes, walk), atol=0.5 / 200)
    np.testing.assert_allclose(found.toe_offs, inner(true.toe_offs, walk), atol=0.5 / 200)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("rate", "tolerance"), [(100, 4e-4), (400, 2.5e-5)])
@pytest.mark.parametrize("stance", [0.55, 0.65])
def test_zeni_between_frames_on_a_cycloid(side, rate, tolerance, stance):
    # the cycloid foot has the speed of the pelvis where 1 − cos 2πτ = the share of swing in the cycle
    walk = Walk(rate=rate, stance={"left": stance, "right": stance}, period=1.13, left_phase=0.47)
    early = np.arccos(1 - (1 - stance)) / (2 * np.pi) * (1 - stance) * walk.period
    found, true = zeni(walk, side), walk.events[side]
    strikes, offs = true.heel_strikes - early, true.toe_offs + early
    last = walk.time[-1]
    np.testing.assert_allclose(found.heel_strikes, strikes[(strikes > 0) & (strikes < last)], atol=tolerance)
    np.testing.assert_allclose(found.toe_offs, offs[(offs > 0) & (offs < last)], atol=tolerance)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("vertex", [1.0, 1.13, 1.29, 0.71])
@pytest.mark.parametrize("step", [0.1, 0.25])
def test_zeni_vertex_of_a_parabola_seen_at_uneven_times(vertex, step):
    rng = np.random.default_rng(3)
    time = np.cumsum(rng.uniform(0.3 * step, step, 40))
    bump = np.zeros((40, 3))
    bump[:, 2] = -((time - vertex) ** 2)
    still = np.zeros((40, 3))
    found = zeni_events(bump, -bump, still, time, forward=[0, 0, 1])
    np.testing.assert_allclose(found.heel_strikes, [vertex], rtol=1e-9)
    np.testing.assert_allclose(found.toe_offs, [vertex], rtol=1e-9)


def ahead_of_a_still_body(values) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return np.stack([values, 0 * values, 0 * values], axis=1)


def single(values, **options) -> FootEvents:
    foot = ahead_of_a_still_body(values)
    return bare(
        zeni_events, foot, foot, 0 * foot, np.arange(len(foot)) * 1.0, forward=[1.0, 0.0, 0.0], **options
    )


def test_zeni_flat_tops():
    np.testing.assert_array_equal(single([0, 1, 2, 2, 2, 1, 0]).heel_strikes, [3.0])
    np.testing.assert_array_equal(single([0, 1, 2, 2, 1, 0]).heel_strikes, [2.5])
    np.testing.assert_array_equal(single([5, 1, 0, 0, 0, 1, 5]).toe_offs, [3.0])


def test_zeni_extrema_at_the_ends_are_none():
    found = single([9, 5, 1, 5, 9])
    assert found.heel_strikes.size == 0
    np.testing.assert_array_equal(found.toe_offs, [2.0])
    assert single([1.0, 1.0]).heel_strikes.size == 0


def test_zeni_prominence_is_the_least_that_counts():
    assert single([0, 1, 0.9375, 1.5, 0], prominence=0.0625).heel_strikes.size == 2
    assert single([0, 1, 0.9376, 1.5, 0], prominence=0.0625).heel_strikes.size == 1
    # the default is 5 cm
    assert single([0, 1, 0.9501, 1.5, 0]).heel_strikes.size == 1
    assert single([0, 1, 0.9499, 1.5, 0]).heel_strikes.size == 2
    assert single([1, 0, 0.0501, -1, 1]).toe_offs.size == 2
    assert single([1, 0, 0.0499, -1, 1]).toe_offs.size == 1
    with pytest.raises(MetricError, match="prominence above zero"):
        single([0, 1, 0], prominence=0.0)


@pytest.mark.parametrize("gap", [2, 3, 4])
def test_zeni_leaves_out_an_extremum_that_touches_a_gap(gap):
    values = np.array([0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0.0])
    values[gap] = np.nan
    found = single(values)
    np.testing.assert_array_equal(found.heel_strikes, [9.0])
    np.testing.assert_array_equal(found.toe_offs, [6.0])


@pytest.mark.parametrize("gap", [1, 5, 7, 11])
def test_zeni_bridges_a_gap_elsewhere(gap):
    values = np.array([0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0.0])
    values[gap] = np.nan
    np.testing.assert_array_equal(single(values).heel_strikes, [3.0, 9.0])


def test_zeni_bridges_by_time_not_by_count():
    # on the line in time the missing sample is no peak; on the line in frames it would be none either, but
    # the prominence of its neighbours would differ
    time = np.array([0.0, 1.0, 2.0, 2.1, 5.0, 6.0])
    foot = ahead_of_a_still_body([0.0, 2.0, 1.0, np.nan, 3.0, 0.0])
    foot[3] = np.nan
    found = zeni_events(foot, foot, 0 * foot, time, forward=[1, 0, 0], prominence=0.5)
    assert found.heel_strikes.size == 1 and 0 < found.heel_strikes[0] < 2


def test_zeni_without_markers_or_direction_has_no_events():
    for nothing in (np.full((5, 3), np.nan), np.zeros((5, 3))):
        found = bare(zeni_events, nothing, nothing, nothing, np.arange(5.0))
        assert found.heel_strikes.shape == found.toe_offs.shape == (0,)
    with pytest.raises(MetricError, match="heel and toe of one shape"):
        zeni_events(np.zeros((5, 3)), np.zeros((4, 3)), np.zeros((5, 3)), np.arange(5.0))
    with pytest.raises(MetricError, match="Expected heel with 2 axes"):
        zeni_events(np.zeros(3), np.zeros(3), np.zeros(3), np.arange(3.0))
    with pytest.raises(MetricError, match="3 entries"):
        zeni_events(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2)), np.arange(3.0))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("side", SIDES)
def test_zeni_on_a_treadmill_needs_only_the_direction(side):
    walk = Walk(heading=0.4)
    belt = np.outer(walk.time, walk.forward) * walk.stride / walk.period
    heel, toe, sacrum = walk.heels[side] - belt, walk.toes[side] - belt, walk.sacrum - belt
    overground = zeni(walk, side)
    still = zeni_events(heel, toe, sacrum, walk.time)
    assert still.heel_strikes.size == still.toe_offs.size == 0
    found = zeni_events(heel, toe, sacrum, walk.time, forward=walk.forward)
    np.testing.assert_allclose(found.heel_strikes, overground.heel_strikes, atol=1e-9)
    np.testing.assert_allclose(found.toe_offs, overground.toe_offs, atol=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("change", ["turn", "shift", "mirror", "grow", "delay", "slow"])
def test_zeni_does_not_mind_where_how_large_and_when(change):
    walk = Walk(heading=0.3)
    points = [walk.heels["left"], walk.toes["left"], walk.sacrum]
    time, scale, delay = walk.time, 1.0, 0.0
    c, s = np.cos(2.1), np.sin(2.1)
    if change == "turn":
        points = [p @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) for p in points]
    elif change == "shift":
        points = [p + np.array([3.0, -1.0, 5.0]) for p in points]
    elif change == "mirror":
        points = [p * [1, 1, -1] for p in points]
    elif change == "grow":
        points = [p * 1.5 for p in points]
    elif change == "delay":
        time, delay = time + 100.0, 100.0
    else:
        time, scale = time * 2.0, 2.0
    found, plain = zeni_events(*points, time), zeni(walk, "left")
    np.testing.assert_allclose(found.heel_strikes, plain.heel_strikes * scale + delay, atol=1e-9)
    np.testing.assert_allclose(found.toe_offs, plain.toe_offs * scale + delay, atol=1e-9)


@pytest.mark.truth("metamorphic")
def test_zeni_backwards_in_time_and_space_strikes_become_toe_offs():
    # played backwards the walker goes backwards; seen from behind, farthest ahead is farthest behind
    walk = Walk(out={"left": 0.0, "right": 0.0})
    end = walk.time[-1]
    heel, sacrum = walk.heels["right"], walk.sacrum
    plain = zeni_events(heel, heel, sacrum, walk.time)
    back = zeni_events(heel[::-1], heel[::-1], sacrum[::-1], end - walk.time[::-1])
    np.testing.assert_allclose(back.toe_offs, end - plain.heel_strikes[::-1], atol=1e-9)
    np.testing.assert_allclose(back.heel_strikes, end - plain.toe_offs[::-1], atol=1e-9)


@pytest.mark.truth("force plates")
def test_zeni_beside_the_force_plates_of_a_real_walk(shared_data):
    folder = shared_data / "labvalidation_subject4"
    _, markers = read(folder / "markers" / "walking1.trc")
    _, plates = read(folder / "forces" / "walking1_grf.mot")

    def point(name):
        return markers.xyz[:, markers.names.index(name)]

    sacrum = (point("L.PSIS") + point("r.PSIS")) / 2
    feet = {"ground_force_1_vy": ("r_calc", "r_toe"), "ground_force_2_vy": ("L_calc", "L_toe")}
    for signal, (heel, toe) in feet.items():
        force = force_events(plates.values[:, plates.names.index(signal)], plates.time)
        told = zeni_events(point(heel), point(toe), sacrum, markers.time)
        strikes = score_events(told.heel_strikes, force.heel_strikes)
        offs = score_events(told.toe_offs, force.toe_offs)
        assert (strikes.matched, strikes.extra, strikes.missed) == (1, 0, 0)
        assert -50 < strikes.bias < 0  # the heel is farthest ahead shortly before it lands
        assert (offs.matched, offs.missed) == (1, 0) and abs(offs.bias) < 15


# ---- from forces


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("threshold", [5.0, 20.0, 50.0])
@pytest.mark.parametrize("release", [None, 4.0])
def test_force_crossings_of_a_trapezium(threshold, release):
    # 0 until 1 s, up 1000 N/s to 2 s, down 500 N/s to 0 at 4 s; sampled every 0.25 s
    time = np.arange(0, 5.01, 0.25)
    force = np.interp(time, [1.0, 2.0, 4.0], [0.0, 1000.0, 0.0])
    found = bare(force_events, force, time, threshold=threshold, release=release)
    low = threshold if release is None else release
    np.testing.assert_allclose(found.heel_strikes, [1 + threshold / 1000], rtol=1e-12)
    np.testing.assert_allclose(found.toe_offs, [4 - low / 500], rtol=1e-12)


def test_force_threshold_is_20_newton_and_counts_itself():
    time = np.arange(5) * 1.0
    at_it = force_events([0, 20, 20, 20, 0], time)
    np.testing.assert_array_equal(at_it.heel_strikes, [1.0])
    np.testing.assert_array_equal(at_it.toe_offs, [3.0])
    assert force_events([0, 19.99, 19.99, 19.99, 0], time).heel_strikes.size == 0
    # at the release the contact goes on, too
    held = force_events([0, 40, 10, 40, 0], time, release=10.0)
    np.testing.assert_array_equal(held.heel_strikes, [0.5])
    np.testing.assert_array_equal(held.toe_offs, [3.75])
    assert force_events([0, 40, 9.99, 40, 0], time, release=10.0).heel_strikes.size == 2
    # without hysteresis it falls apart
    assert force_events([0, 40, 10, 40, 0], time).heel_strikes.size == 2
    assert force_events([0, 40, 20, 40, 0], time).heel_strikes.size == 1


def test_force_between_release_and_threshold_is_as_before():
    time = np.arange(7) * 1.0
    found = force_events([15, 15, 30, 15, 15, 5, 15], time, release=10.0)
    np.testing.assert_allclose(found.heel_strikes, [1 + 5 / 15])
    np.testing.assert_allclose(found.toe_offs, [4.5])


def test_force_contacts_must_last():
    def contact(length, **options):
        time = np.array([0.0, 1.0, 1.0 + 1e-6, 1.0 + 1e-6 + length, 1.0 + 2e-6 + length, 3.0])
        return force_events([0, 0, 40, 40, 0, 0], time, **options).heel_strikes.size

    assert contact(0.1) == 1 and contact(0.1 - 3e-6) == 0
    assert contact(0.3, minimum_contact=0.29) == 1 and contact(0.28, minimum_contact=0.29) == 0
    # ten samples of 10 ms are 0.1 s, whichever side rounding puts them
    for k in range(20):
        time = np.round(np.arange(40) * 0.01, 2)
        force = np.zeros(40)
        force[k + 1 : k + 11] = 20.0  # seen at the threshold from k + 1 to k + 10, and falls at once
        assert force_events(force, time, minimum_contact=0.09).heel_strikes.size == 1
        assert force_events(force, time, minimum_contact=0.0901).heel_strikes.size == 0


@pytest.mark.parametrize(("length", "counts"), [(0.5, 1), (0.5 - 1e-9, 1), (0.5 - 1.2e-9, 0)])
def test_force_contact_may_lack_a_nanosecond(length, counts):
    found = force_events([0, 20, 20, 0], [-1.0, 0.0, length, 1.0], minimum_contact=0.5)
    assert found.heel_strikes.size == found.toe_offs.size == counts


@pytest.mark.parametrize(("late", "counts"), [(0.05 + 1e-9, 1), (0.05 + 1.2e-9, 0)])
def test_an_event_may_be_a_nanosecond_late(late, counts):
    assert len(match_events([late], [0.0])) == len(match_events([-late], [0.0])) == counts


def test_force_short_contacts_take_both_events_along():
    time = np.arange(12) * 0.05
    force = [0, 800, 0, 0, 800, 800, 800, 800, 800, 0, 0, 0]
    found = force_events(force, time, minimum_contact=0.15)
    np.testing.assert_allclose(found.heel_strikes, [0.15 + 0.05 * 20 / 800])
    np.testing.assert_allclose(found.toe_offs, [0.4 + 0.05 * 780 / 800])


def test_force_under_way_at_the_ends_has_no_event_there():
    time = np.arange(6) * 0.1
    found = bare(force_events, [800, 800, 0, 0, 800, 800], time)
    np.testing.assert_allclose(found.heel_strikes, [0.3 + 0.1 * 20 / 800])
    np.testing.assert_allclose(found.toe_offs, [0.1 + 0.1 * 780 / 800])
    all_along = bare(force_events, [800.0] * 6, time)
    assert all_along.heel_strikes.size == all_along.toe_offs.size == 0
    # what is seen of them has to last as well: 0.2 − 0.1025 s
    assert bare(force_events, [0, 0, 0, 0, 800, 800], time, minimum_contact=0.1).heel_strikes.size == 1
    assert force_events([0, 0, 0, 0, 0, 800], time, minimum_contact=0.1).heel_strikes.size == 0
    assert force_events([800, 800, 0, 0, 0, 0], time, minimum_contact=0.1974).toe_offs.size == 1
    assert force_events([800, 800, 0, 0, 0, 0], time, minimum_contact=0.1976).toe_offs.size == 0
    assert force_events([0, 0, 0, 0, 800, 800], time, minimum_contact=0.1974).heel_strikes.size == 1
    assert force_events([0, 0, 0, 0, 800, 800], time, minimum_contact=0.1976).heel_strikes.size == 0


def test_force_beside_a_gap_has_no_event():
    time = np.arange(9) * 0.1
    found = bare(force_events, [0, np.nan, 800, 800, 800, 0, 800, 800, np.nan], time)
    np.testing.assert_allclose(found.heel_strikes, [0.5 + 0.1 * 20 / 800])
    np.testing.assert_allclose(found.toe_offs, [0.4 + 0.1 * 780 / 800])
    assert bare(force_events, [np.nan] * 9, time).heel_strikes.size == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold above zero"),
        ({"release": 0.0}, "release above zero"),
        ({"release": 20.5}, "release at most the threshold of 20.0 N, got 20.5 N"),
    ],
)
def test_force_options_are_checked(options, message):
    with pytest.raises(MetricError, match=message):
        force_events([0.0, 30.0], [0.0, 1.0], **options)
    assert force_events([0.0, 30.0, 30.0], [0.0, 1.0, 2.0], release=20.0).heel_strikes.size == 1


def slow_force_events(force, time, high, low, shortest):
    """The definition, a sample at a time."""
    strikes, offs, begin, seen_from = [], [], None, None
    contact = False
    for k, f in enumerate(force):
        previous = force[k - 1] if k else np.nan
        if not contact and f >= high:
            contact = True
            share = (high - previous) / (f - previous)
            begin = time[k - 1] + share * (time[k] - time[k - 1]) if k else np.nan
            seen_from = time[k] if np.isnan(begin) else begin
        elif contact and not f >= low:
            contact = False
            end = time[k - 1] + (low - previous) / (f - previous) * (time[k] - time[k - 1])
            until = time[k - 1] if np.isnan(end) else end
            if until - seen_from >= shortest:
                strikes.append(begin)
                offs.append(end)
    if contact and time[-1] - seen_from >= shortest:
        strikes.append(begin)
    return [t for t in strikes if not np.isnan(t)], [t for t in offs if not np.isnan(t)]


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(8))
def test_force_events_as_defined(seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.005, 0.02, 300))
    force = np.convolve(rng.normal(size=320), np.ones(9), "same")[10:310] * 15 + 15
    force[rng.random(300) < 0.02 * (seed % 2)] = np.nan
    high, low, shortest = rng.uniform(20, 40), rng.uniform(1, 20), rng.uniform(0.01, 0.1)
    strikes, offs = slow_force_events(force, time, high, low, shortest)
    found = force_events(force, time, threshold=high, release=low, minimum_contact=shortest)
    assert len(strikes) > 3
    np.testing.assert_allclose(found.heel_strikes, strikes, rtol=1e-12)
    np.testing.assert_allclose(found.toe_offs, offs, rtol=1e-12)


# ---- scoring


def best_pairing(told, true, tolerance):
    """Most pairs, then the least sum of gaps, by trying every pairing there is."""
    for count in range(min(len(told), len(true)), 0, -1):
        sums = [
            sum(abs(told[i] - true[j]) for i, j in zip(rows, columns, strict=True))
            for rows in combinations(range(len(told)), count)
            for columns in permutations(range(len(true)), count)
            if all(abs(told[i] - true[j]) <= tolerance + 1e-9 for i, j in zip(rows, columns, strict=True))
        ]
        if sums:
            return count, min(sums)
    return 0, 0.0


@pytest.mark.truth("brute force")
@pytest.mark.parametrize("seed", range(20))
def test_the_pairing_is_the_best_there_is(seed):
    rng = np.random.default_rng(seed)
    told = rng.uniform(0, 0.25, rng.integers(1, 6))
    true = rng.uniform(0, 0.25, rng.integers(1, 6))
    if seed % 3 == 0:
        told, true = told.round(2), true.round(2)
    pairs = match_events(told, true)
    gaps = np.abs(told[pairs[:, 0]] - true[pairs[:, 1]])
    count, least = best_pairing(told, true, 0.05)
    assert len(pairs) == count
    assert gaps.sum() == pytest.approx(least, abs=1e-12)
    assert (gaps <= 0.05 + 1e-9).all()
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == count
    assert (np.diff(told[pairs[:, 0]]) >= 0).all() and (np.diff(true[pairs[:, 1]]) >= 0).all()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("told", "true", "pairs"),
    [
        ([1.03, 1.06], [1.0, 1.04], [[0, 0], [1, 1]]),  # nearest first would take 1.03–1.04 and lose 1.06
        ([1.0], [0.97, 1.02], [[0, 1]]),
        ([0.97, 1.02], [1.0], [[1, 0]]),
        ([2.0, 1.0], [1.01, 2.01], [[1, 0], [0, 1]]),  # in the order of time
        ([1.0, 2.0], [2.01, 1.01], [[0, 1], [1, 0]]),
        ([0.0, 0.01], [0.02, 0.03], [[0, 0], [1, 1]]),  # crossed costs the same
        ([0.03, 0.02], [0.0, 0.01], [[1, 0], [0, 1]]),
        ([1.0], [2.0], []),
        ([], [1.0], []),
        ([1.0], [], []),
        ([], [], []),
        ([np.nan, 1.0], [np.nan, 1.0], [[1, 1]]),
        ([np.nan], [np.nan], []),
        # three far pairs are worth more than two that fit perfectly
        ([0.045, 0.09, 0.135], [0.0, 0.045, 0.09], [[0, 0], [1, 1], [2, 2]]),
    ],
)
def test_pairs_worked_out_by_hand(told, true, pairs):
    found = bare(match_events, told, true)
    assert found.shape == (len(pairs), 2)
    assert found.tolist() == pairs


@pytest.mark.truth("closed form")
def test_many_far_pairs_before_few_near_ones():
    # a comb against itself moved by one tooth: n pairs a tooth apart, or n − 1 that fit exactly
    comb = np.arange(30) * 0.04
    pairs = match_events(comb + 0.04, comb)
    assert len(pairs) == 30
    assert (pairs[:, 0] == pairs[:, 1]).all()


@pytest.mark.parametrize("start", [0.0, 1.0, 1.17, 3.3, 1e4])
def test_the_tolerance_counts_itself_however_it_was_rounded(start):
    assert len(match_events([start + 0.05], [start])) == 1
    assert len(match_events([start - 0.05], [start])) == 1
    assert len(match_events([start + 0.05 + 3e-9], [start])) == 0
    assert len(match_events([start - 0.05 - 3e-9], [start])) == 0
    assert len(match_events([start + 0.1], [start], tolerance=0.1)) == 1
    with pytest.raises(MetricError, match="tolerance above zero"):
        match_events([1.0], [1.0], tolerance=0.0)
    with pytest.raises(MetricError, match="Expected predicted with 1 axes"):
        match_events([[1.0]], [1.0])
    with pytest.raises(MetricError, match="Expected reference with 1 axes"):
        match_events([1.0], [[1.0]])


@pytest.mark.truth("closed form")
def test_score_of_a_list_worked_out_by_hand():
    score = score_events([1.02, 2.01, 2.97, 3.5, 3.9], [1.0, 2.0, 3.0, 7.0])
    assert (score.matched, score.missed, score.extra) == (3, 1, 2)
    assert score.precision == 3 / 5 and score.recall == 3 / 4 and score.f1 == pytest.approx(2 / 3)
    # errors 20, 10, −30 ms
    assert score.bias == pytest.approx(0.0, abs=1e-9)
    assert score.mae == pytest.approx(20.0)
    assert score.sd == pytest.approx(np.sqrt((400 + 100 + 900) / 2))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("told", "true", "precision", "recall", "f1"),
    [
        ([], [], np.nan, np.nan, np.nan),
        ([], [1.0], np.nan, 0.0, 0.0),
        ([1.0], [], 0.0, np.nan, 0.0),
        ([1.0], [2.0], 0.0, 0.0, 0.0),
        ([1.0, np.nan], [1.0, np.nan], 1.0, 1.0, 1.0),
    ],
)
def test_score_without_pairs_or_with_gaps(told, true, precision, recall, f1):
    score = bare(score_events, told, true)
    np.testing.assert_equal((score.precision, score.recall, score.f1), (precision, recall, f1))
    assert score.missed == (~np.isnan(true)).sum() - score.matched
    assert np.isnan(score.sd)  # one pair has no spread
    assert np.isnan(score.bias) == np.isnan(score.mae) == (score.matched == 0)


def test_two_pairs_have_a_spread():
    assert score_events([1.01, 2.03], [1.0, 2.0]).sd == pytest.approx(np.sqrt(200.0))


def test_score_takes_its_tolerance_along():
    assert score_events([1.08], [1.0]).matched == 0
    assert score_events([1.08], [1.0], tolerance=0.1).matched == 1
    assert score_events([1.04], [1.0], tolerance=0.03).matched == 0


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(6))
def test_score_shifted_reversed_and_swapped(seed):
    rng = np.random.default_rng(seed)
    true = np.cumsum(rng.uniform(0.5, 1.2, 12))
    told = np.delete(true + rng.normal(0, 0.02, 12), [seed])
    told = np.append(told, rng.uniform(20, 30, seed))
    plain = score_events(told, true)
    assert 6 < plain.matched < 12
    for other, sign in (
        (score_events(rng.permutation(told) + 5, rng.permutation(true) + 5), 1),
        (score_events(-told, -true), -1),
        (score_events(true, told), -1),
    ):
        assert other.matched == plain.matched and other.f1 == plain.f1
        np.testing.assert_allclose([other.mae, other.sd], [plain.mae, plain.sd], rtol=1e-9)
        np.testing.assert_allclose(other.bias, sign * plain.bias, rtol=1e-9)
    swapped = score_events(true, told)
    assert (swapped.precision, swapped.recall) == (plain.recall, plain.precision)
    assert (swapped.missed, swapped.extra) == (plain.extra, plain.missed)


@pytest.mark.parametrize(
    ("name", "part", "unit", "direction"),
    [
        ("gait event F1@50ms", "f1", "1", "higher"),
        ("gait event precision@50ms", "precision", "1", "higher"),
        ("gait event recall@50ms", "recall", "1", "higher"),
        ("gait event bias@50ms", "bias", "ms", "zero"),
        ("gait event SD@50ms", "sd", "ms", "lower"),
        ("gait event MAE@50ms", "mae", "ms", "lower"),
        ("gait events missed@50ms", "missed", "1", "lower"),
        ("gait events extra@50ms", "extra", "1", "lower"),
    ],
)
def test_cards(name, part, unit, direction):
    card = _cards[name]
    assert (card.unit, card.direction, card.merge) == (unit, direction, "sums")
    assert card.needs == ("reference", "events") and dict(card.fixed) == {"tolerance": 0.05}
    told, true = [1.04, 2.06, 3.01, 4.0], [1.0, 2.0, 3.0]
    assert card(told, true) == getattr(score_events(told, true, tolerance=0.05), part)
