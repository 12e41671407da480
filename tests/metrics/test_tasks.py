"""Chair rises, squats and jumps: planted motions whose times, depths and heights are known in closed form."""

import math
import warnings

import numpy as np
import pytest

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.tasks import (
    GRAVITY,
    Flight,
    angle_at,
    chair_rises,
    drop_jump,
    jump_height_by_flight,
    jump_height_by_rise,
    landing_window,
    longest_flight,
    peak_angle,
    seat_off_by_force,
    seat_off_by_velocity,
    squats,
)


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def polyline(rate: float, *corners: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Straight lines between corners (s, value), sampled at ``rate``."""
    at, values = np.array(corners).T
    time = np.arange(round((at[-1] - at[0]) * rate) + 1) / rate + at[0]
    return time, np.interp(time, at, values)


def sits(count: int, rise: float, rest: float = 1.0, rate: float = 50.0, *, down: bool = True):
    """``count`` rises of 0.4 m that take ``rise`` s each, with rests of ``rest`` s between all movements."""
    corners = [(0.0, 0.5), (rest, 0.5)]
    for _ in range(count):
        corners += [(corners[-1][0] + rise, 0.9), (corners[-1][0] + rise + rest, 0.9)]
        corners += [(corners[-1][0] + rise, 0.5), (corners[-1][0] + rise + rest, 0.5)]
    return polyline(rate, *(corners if down else corners[:-2]))


# --- chair rises ----------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize(("rise", "rest"), [(1.0, 1.0), (2.0, 0.5), (0.6, 0.0)])
def test_chair_rises_of_straight_lines(count, rise, rest) -> None:
    found = chair_rises(*sits(count, rise, rest))
    period = 2 * (rise + rest)
    k = np.arange(count)
    assert found.repetitions == count
    np.testing.assert_allclose(found.starts, rest + k * period + 0.1 * rise, rtol=1e-9)
    np.testing.assert_allclose(found.ends, rest + k * period + 0.9 * rise, rtol=1e-9)
    np.testing.assert_allclose(found.seated, 2 * rest + rise + k * period + 0.9 * rise, rtol=1e-9)
    assert found.rise_time == pytest.approx(0.8 * rise, rel=1e-9)
    if count < 5:
        assert math.isnan(found.five_times_standing) and math.isnan(found.five_times_seated)
    else:
        assert found.five_times_standing == pytest.approx(4 * period + 0.8 * rise, rel=1e-9)
        assert found.five_times_seated == pytest.approx(4 * period + 1.8 * rise + rest, rel=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("seat", "stand"), [(0.05, 0.95), (0.25, 0.5), (0.1, 0.8)])
def test_the_levels_are_shares_of_the_reach(seat, stand) -> None:
    found = chair_rises(*sits(1, 2.0, 1.0), seat=seat, stand=stand)
    assert found.starts == pytest.approx(1 + 2 * seat, rel=1e-9)
    assert found.ends == pytest.approx(1 + 2 * stand, rel=1e-9)
    assert found.seated == pytest.approx(4 + 2 * (1 - seat), rel=1e-9)


def test_a_recording_that_ends_standing_has_not_sat_down() -> None:
    found = chair_rises(*sits(5, 1.0, down=False))
    assert found.repetitions == 5
    assert np.isnan(found.seated).tolist() == [False] * 4 + [True]
    assert math.isnan(found.five_times_seated) and found.five_times_standing == pytest.approx(16.8)


def test_a_recording_that_begins_standing() -> None:
    found = chair_rises(*polyline(50, (0, 0.9), (1, 0.5), (2, 0.9), (3, 0.5)))
    assert found.starts == pytest.approx(1.1) and found.ends == pytest.approx(1.9)
    assert found.seated == pytest.approx(2.9)


def test_half_a_rise_and_wobble_count_for_nothing() -> None:
    half = polyline(
        50, (0, 0.5), (1, 0.8), (2, 0.5), (3, 0.5), (4, 0.9), (4.5, 0.6), (5, 0.9), (6, 0.5), (7, 0.5)
    )
    found = chair_rises(*half)
    assert found.repetitions == 1
    assert found.starts == pytest.approx(3.1) and found.ends == pytest.approx(3.9)
    assert found.seated == pytest.approx(5.9)


def literal_rises(time, height, seat, stand):
    """One frame after the other: a person who is sitting, standing, or neither."""
    low = min(height) + seat * (max(height) - min(height))
    high = min(height) + stand * (max(height) - min(height))

    def moment(k, level):  # between frames k - 1 and k
        return time[k - 1] + (level - height[k - 1]) / (height[k] - height[k - 1]) * (time[k] - time[k - 1])

    was, left, found = None, None, []
    for k, h in enumerate(height):
        if h <= low:
            if was == "standing" and found and found[-1][2] is None:
                found[-1][2] = moment(k, low)
            was, left = "sitting", None
        else:
            if was == "sitting" and left is None:
                left = moment(k, low)
            if h >= high:
                if was == "sitting":
                    found.append([left, moment(k, high), None])
                was = "standing"
    return found


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(8))
def test_chair_rises_of_noise(seed) -> None:
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.005, 0.02, 400))
    height = np.sin(time * 4) + rng.normal(0, 0.3, 400)
    seat, stand = rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9)
    found = chair_rises(time, height, seat=seat, stand=stand)
    expected = literal_rises(time.tolist(), height.tolist(), seat, stand)
    assert found.repetitions == len(expected) > 0
    np.testing.assert_allclose(found.starts, [e[0] for e in expected], rtol=1e-12)
    np.testing.assert_allclose(found.ends, [e[1] for e in expected], rtol=1e-12)
    np.testing.assert_allclose(found.seated, [e[2] if e[2] else np.nan for e in expected], rtol=1e-12)


@pytest.mark.truth("metamorphic")
def test_chair_rises_shift_with_time_and_not_with_the_floor() -> None:
    time, height = sits(5, 1.3)
    plain, moved = chair_rises(time, height), chair_rises(time * 2 + 7, height + 3)
    np.testing.assert_allclose(moved.starts, plain.starts * 2 + 7, rtol=1e-9)
    assert moved.five_times_seated == pytest.approx(2 * plain.five_times_seated, rel=1e-9)


def test_levels_are_met_when_reached() -> None:
    # of the reach 0 … 1: a frame exactly at the seat's level sits, one exactly at the standing level stands
    found = chair_rises([0, 1, 2, 3, 4], [0.0, 0.25, 0.75, 0.25, 1.0], seat=0.25, stand=0.75)
    assert found.starts.tolist() == [1, 3] and found.ends.tolist() == [2, pytest.approx(3 + 2 / 3)]
    assert found.seated[0] == 3 and np.isnan(found.seated[1])


def test_the_least_reach() -> None:
    time, height = [0.0, 1, 2], np.array([0.0, 0.25, 0.0])
    assert chair_rises(time, height, least=0.25).repetitions == 1
    none = chair_rises(time, height, least=0.2500001)
    assert none.repetitions == 0 and none.starts.shape == none.ends.shape == none.seated.shape == (0,)
    assert math.isnan(none.rise_time)
    assert chair_rises(time, height * 0.5999).repetitions == 0
    assert chair_rises(time, height * 0.6001).repetitions == 1


def test_missing_frames() -> None:
    time, height = sits(2, 1.0)
    gap = height.copy()
    gap[70:75] = np.nan  # in the first rise, between its levels
    np.testing.assert_array_equal(chair_rises(time, gap).starts, chair_rises(time, height).starts)
    gap[50:60] = np.nan  # where the seat is left
    assert np.isnan(chair_rises(time, gap).starts).tolist() == [True, False]
    assert chair_rises(time, np.full(len(time), np.nan)).repetitions == 0


@pytest.mark.parametrize(("seat", "stand"), [(0.0, 0.9), (0.1, 1.0), (0.5, 0.5), (0.6, 0.5)])
def test_levels_that_make_no_sense(seat, stand) -> None:
    with pytest.raises(MetricError, match=f"0 < seat < stand < 1, got {seat} and {stand}"):
        chair_rises([0, 1], [0, 1], seat=seat, stand=stand)


# --- seat-off -------------------------------------------------------------------------------------


def pushed(acceleration: float, start: float = 1.0, push: float = 0.6, rate: float = 100.0):
    """Height that accelerates for ``push`` s from ``start`` on and brakes as long."""
    time = np.arange(round((start + 2 * push + 1) * rate)) / rate
    since = np.clip(time - start, 0, 2 * push)
    up = acceleration * np.minimum(since, push) ** 2 / 2
    brake = np.maximum(since - push, 0)
    return time, 0.5 + up + acceleration * (push * brake - brake**2 / 2)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("acceleration", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("speed", [0.05, 0.1, 0.27])
def test_seat_off_by_velocity(acceleration, speed) -> None:
    found = seat_off_by_velocity(*pushed(acceleration), speed=speed)
    assert found == pytest.approx(1.0 + speed / acceleration, rel=1e-9)


@pytest.mark.truth("closed form")
def test_seat_off_of_each_rise() -> None:
    one, height = pushed(1.0)
    height = np.concatenate([height, height[::-1], height])
    time = np.arange(len(height)) / 100
    found = seat_off_by_velocity(time, height)
    np.testing.assert_allclose(found, [1.1, 1.1 + 2 * len(one) / 100], rtol=1e-9)


def test_the_first_push_that_ebbs_away_is_no_seat_off() -> None:
    # rocks up at 0.2 m/s, falls back to 0.04 m/s, then rises at 0.4 m/s
    time, velocity = polyline(
        100, (0, 0), (1, 0), (1.5, 0.2), (2, 0.04), (2.5, 0.4), (3, 0.4), (3.5, 0), (4, 0)
    )
    height = np.concatenate([[0], np.cumsum((velocity[1:] + velocity[:-1]) / 200)])
    found = seat_off_by_velocity(time, height, speed=0.1, seat=0.02)
    assert found == pytest.approx(2 + 0.5 * 0.06 / 0.36, abs=1e-9)
    assert seat_off_by_velocity(time, height, speed=0.02, seat=0.02) == pytest.approx(1.05, abs=1e-9)


def test_seat_off_that_is_not_found() -> None:
    time, height = pushed(0.5)  # its speed peaks at 0.3 m/s
    assert np.isnan(seat_off_by_velocity(time, height, speed=0.31)).tolist() == [True]
    assert seat_off_by_velocity(time, np.full(len(time), 0.5)).shape == (0,)
    # moves from the first frame on: when it began was not seen
    assert np.isnan(seat_off_by_velocity([0, 1, 2, 3], [0, 0.4, 0.8, 1.2])).tolist() == [True]
    # the rise lies between two frames
    assert np.isnan(seat_off_by_velocity([0, 1, 2, 3], [0, 0, 1, 1.0])).tolist() == [True]


def test_seat_off_at_the_peak_itself() -> None:
    # the velocities by central differences are 0, 0.5, 1, 0.5, 0: the peak just comes to the threshold
    time, height = [0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 1.0, 2.0, 2.0, 2.0]
    assert seat_off_by_velocity(time, height, speed=1.0).tolist() == [3.0]
    assert np.isnan(seat_off_by_velocity(time, height, speed=1.0001)).tolist() == [True]


def test_defaults_of_seat_off_by_velocity() -> None:
    time, height = pushed(1.0)
    assert seat_off_by_velocity(time, height) == pytest.approx(1.1)
    low = 0.5 + (height - 0.5) * 0.149 / 0.36  # rises by 0.149 m: less than a chair
    assert seat_off_by_velocity(time, low).shape == (0,)
    assert seat_off_by_velocity(time, low, least=0.14).shape == (1,)
    # a second push within the standing level is seen only where the level is set higher
    late = polyline(100, (0, 0), (1, 0), (2, 0.9), (3, 0.9), (3.02, 0.94), (4, 0.94), (4.01, 1.0), (5, 1.0))
    assert seat_off_by_velocity(*late)[0] < 1.1
    assert seat_off_by_velocity(*late, stand=0.93)[0] > 2.9
    assert seat_off_by_velocity(*late, seat=0.89, stand=0.93)[0] > 2.9
    assert seat_off_by_velocity(*late, seat=0.2)[0] < 1.1


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("threshold", "seat_at", "feet_at"), [(10, 1.99, 1.01), (250, 1.75, 1.25), (1000, 1, 2)]
)
def test_seat_off_by_force(threshold, seat_at, feet_at) -> None:
    seat = polyline(100, (0, 1000), (1, 1000), (2, 0), (3, 0), (4, 1000))
    feet = polyline(100, (0, 0), (1, 0), (2, 1000), (3, 1000), (4, 0))
    by_seat = seat_off_by_force(*seat, carried_by="seat", threshold=threshold)
    assert by_seat == pytest.approx(seat_at, rel=1e-9)
    assert seat_off_by_force(*feet, carried_by="feet", threshold=threshold) == pytest.approx(
        feet_at, rel=1e-9
    )


def test_seat_off_by_force_is_not_found() -> None:
    assert math.isnan(seat_off_by_force([0, 1, 2], [0, 0, 0], carried_by="seat", threshold=10))
    assert math.isnan(seat_off_by_force([0, 1, 2], [5, np.nan, 500], carried_by="feet", threshold=10))
    with pytest.raises(MetricError, match="carried_by seat or feet, got 'chair'"):
        seat_off_by_force([0, 1], [0, 1], carried_by="chair", threshold=10)
    with pytest.raises(MetricError, match="threshold above zero"):
        seat_off_by_force([0, 1], [0, 1], carried_by="seat", threshold=0)


# --- angles ---------------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("start", "end", "degrees"),
    [(-math.inf, math.inf, 50), (0, 4, 50), (0, 1, 20), (0, 1.99, 20), (3, 4, 40), (1, 2, 50), (3.5, 9, 10)],
)
def test_peak_angle_in_a_window(start, end, degrees) -> None:
    angle = np.radians([10, 20, 50, 40, 10])
    assert peak_angle(range(5), angle, start=start, end=end) == pytest.approx(degrees, rel=1e-12)
    gone = np.append(angle, np.nan)
    assert peak_angle(range(6), gone, start=start, end=end) == pytest.approx(degrees, rel=1e-12)


def test_peak_angle_is_signed_and_may_be_missing() -> None:
    assert peak_angle([0, 1], np.radians([-30, -20])) == pytest.approx(-20)
    assert math.isnan(peak_angle([0, 1], [1.0, 2.0], start=3))
    assert math.isnan(peak_angle([0, 1], [1.0, 2.0], start=math.nan))
    assert math.isnan(peak_angle([0, 1], [math.nan, math.nan]))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("moment", "degrees"), [(0, 10), (0.25, 12.5), (1, 20), (1.5, 0), (2, -20)])
def test_angle_at(moment, degrees) -> None:
    assert angle_at([0, 1, 2], np.radians([10, 20, -20]), moment) == pytest.approx(
        degrees, rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("moment", [-0.01, 2.01, math.nan])
def test_angle_outside_the_recording(moment) -> None:
    assert math.isnan(angle_at([0, 1, 2], [1.0, 1.0, 1.0], moment))
    assert math.isnan(angle_at([0, 1, 2], [1.0, np.nan, 1.0], 0.5))


def test_landing_window() -> None:
    flexion = np.radians([90, 20, 30, 70, 40, 80])
    assert landing_window(range(6), flexion, landing=0.5, takeoff=4.5) == (0.5, 3.0)
    assert landing_window(range(6), flexion, landing=0, takeoff=5) == (0, 0)
    assert landing_window(range(6), flexion, landing=1, takeoff=5) == (1, 5)
    flexion[3] = np.nan
    assert landing_window(range(6), flexion, landing=1, takeoff=4) == (1, 4)
    for landing, takeoff in ((4.2, 4.8), (math.nan, 5), (1, math.nan)):
        assert np.isnan(landing_window(range(6), flexion, landing=landing, takeoff=takeoff)).all()


# --- squats ---------------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("depth", [0.2000001, 0.35, 0.6])
def test_squats_of_cosines(count, depth) -> None:
    time = np.arange(count * 200 + 1) / 100
    found = squats(time, 0.9 - depth / 2 * (1 - np.cos(np.pi * time)))
    assert found.repetitions == count
    np.testing.assert_allclose(found.bottoms, 1 + 2 * np.arange(count), rtol=1e-9)
    np.testing.assert_allclose(found.depths, 1000 * depth, rtol=1e-9)
    assert found.depth == pytest.approx(1000 * depth, rel=1e-9)


def test_squats_of_several_depths() -> None:
    time, height = polyline(50, (0, 1), (1, 0.75), (2, 0.9), (3, 0.5), (4, 0.95), (5, 0.85), (6, 1))
    found = squats(time, height)
    assert found.bottoms.tolist() == [1, 3]
    assert found.depths == pytest.approx([250, 500]) and found.depth == pytest.approx(375)
    assert squats(time, height, least=0.1).repetitions == 3


def test_the_least_depth_counts() -> None:
    assert squats([0, 1, 2], [0.25, 0.0, 0.25], least=0.25).repetitions == 1
    none = squats([0, 1, 2], [0.25, 0.0, 0.25], least=0.2500001)
    assert (
        none.repetitions == 0 and none.bottoms.shape == none.depths.shape == (0,) and math.isnan(none.depth)
    )
    assert squats([0, 1, 2], [0.199, 0.0, 0.199]).repetitions == 0
    assert squats([0, 1, 2], [0.201, 0.0, 0.201]).repetitions == 1


@pytest.mark.parametrize("rate", [10, 30, 60, 100, 1000])
def test_squats_exactly_the_distance_apart_both_count(rate) -> None:
    # 0.7 s is 7, 21, 42, 70, 700 frames; as floats, 0.7 / 0.1 is 6.999999999999999
    time = np.arange(3 * rate) / rate
    height = np.ones(len(time))
    first, second = round(rate * 0.5), round(rate * 1.2)
    height[[first, second]] = 0.5, 0.4
    assert squats(time, height).repetitions == 2
    assert squats(time, height, apart=0.7 + 1.0 / rate).bottoms.tolist() == [time[second]]


def test_frames_farther_apart_than_squats_may_be() -> None:
    assert squats(range(5), [1, 0, 1, 0.5, 1]).repetitions == 2


def test_squats_with_missing_frames() -> None:
    assert squats(range(6), [np.nan, 1, 0.5, 1, np.nan, 1]).depths.tolist() == [500]
    assert squats(range(3), [np.nan] * 3).repetitions == 0
    with pytest.raises(MetricError, match="least above zero"):
        squats([0, 1], [0, 1], least=0)
    with pytest.raises(MetricError, match="apart above zero"):
        squats([0, 1], [0, 1], apart=0)


# --- jumps ----------------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("speed", [1.0, 1.9, 3.1])
def test_both_jump_heights_of_a_ballistic_flight(speed) -> None:
    flight = 2 * speed / GRAVITY
    time = np.linspace(0, flight, 201)  # the apex is frame 100
    height = 1.1 + speed * time - GRAVITY * time**2 / 2
    expected = 1000 * speed**2 / (2 * GRAVITY)
    assert jump_height_by_flight(4.0, 4.0 + flight) == pytest.approx(expected, rel=1e-9)
    assert jump_height_by_rise(time, height, takeoff=0, landing=flight) == pytest.approx(expected, rel=1e-9)


def test_gravity_is_the_standard_one() -> None:
    assert GRAVITY == 9.80665
    assert jump_height_by_flight(0, 1) == pytest.approx(1225.83125)


@pytest.mark.parametrize("landing", [1.0, 0.9, math.nan])
def test_no_height_without_a_flight(landing) -> None:
    assert math.isnan(jump_height_by_flight(1.0, landing))


def test_jump_height_by_rise() -> None:
    time, height = [0, 1, 2, 3, 4], [2.0, 1.0, 1.5, 1.25, 3.0]
    assert jump_height_by_rise(time, height, takeoff=0.75, landing=3) == pytest.approx(250)  # over 1.25 m
    assert jump_height_by_rise(time, height, takeoff=1, landing=4) == pytest.approx(2000)
    assert math.isnan(jump_height_by_rise(time, height, takeoff=1.2, landing=1.8))
    assert math.isnan(jump_height_by_rise(time, height, takeoff=-1, landing=3))
    height[2] = np.nan
    assert jump_height_by_rise(time, height, takeoff=1, landing=3) == pytest.approx(250)
    assert math.isnan(jump_height_by_rise(time, height, takeoff=1.5, landing=3))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("threshold", "edge"), [(100, 0.01), (500, 0.05), (900, 0.09)])
def test_longest_flight(threshold, edge) -> None:
    # hops of 0.2 s, 0.5 s and 0.3 s between force ramps of 0.1 s, at 100 Hz
    at, corners = 0.0, [(0.0, 1000.0)]
    for flight in (0.2, 0.5, 0.3):
        corners += [(at + 1, 1000), (at + 1.1, 0), (at + 1.1 + flight, 0), (at + 1.2 + flight, 1000)]
        at = corners[-1][0]
    found = longest_flight(*polyline(100, *corners), threshold=threshold)
    assert found.takeoff == pytest.approx(2.5 - edge, rel=1e-9)
    assert found.landing == pytest.approx(3.0 + edge, rel=1e-9)


def test_the_longest_flight_may_be_the_last() -> None:
    assert longest_flight(range(10), [40, 0, 40, 0, 0, 40, 0, 0, 0, 40]) == (5.5, 8.5)
    assert longest_flight(range(10), [40, 0, 0, 0, 40, 0, 0, 40, 0, 40]) == (0.5, 3.5)


def test_longest_flight_needs_both_its_ends() -> None:
    nothing = Flight(math.nan, math.nan)
    for force in (
        [0, 0, 800, 800],
        [800, 800, 0, 0],
        [800] * 4,
        [0] * 4,
        [np.nan] * 4,
        [800, np.nan, 0, 800],
    ):
        assert str(longest_flight(range(4), force)) == str(nothing)
    assert longest_flight(range(6), [0, 0, 40, 0, 0, 40]) == (2.5, 4.5)  # begins in the air
    assert longest_flight(range(4), [20, 0, 0, 20]) == (0, 3)  # 20 N is contact
    assert longest_flight(range(4), [19, 0, 0, 19]).takeoff is not None
    assert math.isnan(longest_flight(range(4), [19.9, 0, 0, 19.9]).takeoff)
    # a touch that only just reaches the threshold parts two flights
    assert longest_flight(range(6), [20, 0, 20, 0, 0, 20]) == (2, 5)


def test_kinematic_contact() -> None:
    toe = np.array([0.0, 0.0, 0.2, 0.2, 0.0])
    flight = longest_flight(range(5), -toe, threshold=-0.05)
    assert flight == pytest.approx((1.25, 3.75))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("contact", "flight"), [(0.2, 0.5), (0.35, 0.4), (0.6, 0.25)])
def test_drop_jump(contact, flight) -> None:
    # the force jumps from frame to frame of 1 ms: crossings at 20 N of 2000 N lie 0.01 ms from the frames
    time = np.arange(2001) / 1000
    landing, takeoff = 0.3, 0.3 + contact
    inside = ((time > landing - 5e-4) & (time < takeoff + 5e-4)) | (time > takeoff + flight - 5e-4)
    found = drop_jump(time, 2000.0 * inside)
    step = 0.001 * 20 / 2000
    assert found.landing == pytest.approx(landing - 0.001 + step, rel=1e-9)
    assert found.takeoff == pytest.approx(takeoff + 0.001 - step, rel=1e-9)
    on, off = contact + 0.002 - 2 * step, flight - 0.002 + 2 * step
    assert found.second_landing == pytest.approx(found.takeoff + off, rel=1e-9)
    assert found.contact_time == pytest.approx(on, rel=1e-9)
    assert found.flight_time == pytest.approx(off, rel=1e-9)
    assert found.height == pytest.approx(1000 * 9.80665 * off**2 / 8, rel=1e-9)
    assert found.rsi == pytest.approx(9.80665 * off**2 / 8 / on, rel=1e-9)
    assert found.flight_ratio == pytest.approx(off / on, rel=1e-9)


def test_a_drop_jump_that_begins_on_the_plate() -> None:
    # steps off first: that contact began before the recording
    found = drop_jump(range(8), [40, 0, 0, 40, 40, 0, 0, 40])
    assert found[:3] == (2.5, 4.5, 6.5)


def test_what_a_drop_jump_does_not_show_is_missing() -> None:
    assert np.isnan(drop_jump(range(4), [0, 0, 0, 0])).all()
    landed = drop_jump(range(4), [0, 0, 40, 40])
    assert landed.landing == 1.5 and np.isnan(landed[1:]).all()
    left = drop_jump(range(5), [0, 0, 40, 40, 0])
    assert (left.landing, left.takeoff, left.contact_time) == (1.5, 3.5, 2.0)
    assert np.isnan([left.second_landing, left.flight_time, left.height, left.rsi, left.flight_ratio]).all()
    touch = drop_jump(range(5), [0, 20, 0, 0, 20])  # on the ground for no time at all
    assert touch[:5] == (1, 1, 4, 0, 3) and math.isnan(touch.rsi) and math.isnan(touch.flight_ratio)


# --- arguments and cards --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "options"),
    [
        (chair_rises, {}),
        (seat_off_by_velocity, {}),
        (seat_off_by_force, {"carried_by": "seat", "threshold": 10}),
        (peak_angle, {}),
        (angle_at, {"moment": 0}),
        (squats, {}),
        (longest_flight, {}),
        (jump_height_by_rise, {"takeoff": 0, "landing": 1}),
        (drop_jump, {}),
        (landing_window, {"landing": 0, "takeoff": 1}),
    ],
)
def test_wrong_curves(score, options) -> None:
    with pytest.raises(MetricError, match="time"):
        score([0, 1, 2], [0, 1], **options)
    with pytest.raises(MetricError, match="time"):
        score([0, 0], [0, 1], **options)
    with pytest.raises(MetricError, match="with 1 axes"):
        score([0, 1], [[0, 1]], **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"speed": 0}, "speed above zero"), ({"least": 0}, "least above zero"), ({"seat": 0.9}, "seat < stand")],
)
def test_wrong_options(options, match) -> None:
    with pytest.raises(MetricError, match=match):
        seat_off_by_velocity([0, 1], [0, 1], **options)


def test_the_names_of_wrong_curves() -> None:
    for score, name in (
        (chair_rises, "height"),
        (squats, "height"),
        (peak_angle, "angle"),
        (drop_jump, "force"),
    ):
        with pytest.raises(MetricError, match=f"Expected {name} with"):
            score([0, 1], [[0, 1]])


def test_cards() -> None:
    five = sits(5, 1.0)
    jump = (range(6), [0, 0, 900, 900, 0, 900])
    values = {
        "STS repetitions": (five, {}, 5, "1"),
        "STS rise time": (five, {}, 0.8, "s"),
        "5×STS time·standing": (five, {}, 16.8, "s"),
        "5×STS time·seated": (five, {}, 18.8, "s"),
        "seat-off time·velocity": (pushed(1.0), {}, 1.1, "s"),
        "seat-off time·seat force": ((range(3), [20, 20, 0]), {"threshold": 10}, 1.5, "s"),
        "seat-off time·feet force": ((range(3), [0, 20, 20]), {"threshold": 10}, 0.5, "s"),
        "trunk-flexion peak": ((range(2), [0, math.pi]), {}, 180, "°"),
        "knee-flexion peak": ((range(2), [0, math.pi]), {}, 180, "°"),
        "knee-valgus peak": ((range(2), [0, math.pi]), {"end": 0}, 0, "°"),
        "knee valgus at contact": ((range(2), [0, math.pi]), {"moment": 0.5}, 90, "°"),
        "squat repetitions": ((range(3), [1, 0.7, 1]), {}, 1, "1"),
        "squat depth": ((range(3), [1, 0.7, 1]), {}, 300, "mm"),
        "jump height·flight time": ((0, 1), {}, 1225.83125, "mm"),
        "jump height·COM rise": ((range(3), [1, 2, 1]), {"takeoff": 0, "landing": 2}, 1000, "mm"),
        "drop-jump contact time": (jump, {"threshold": 450}, 2.0, "s"),
        "RSI·height": (jump, {"threshold": 450}, 9.80665 / 8 / 2, "m/s"),
        "RSI·flight time": (jump, {"threshold": 450}, 0.5, "1"),
    }
    for name, (curves, options, value, unit) in values.items():
        found = card(name)
        assert found(*curves, **options) == pytest.approx(value), name
        assert (found.unit, found.direction) == (unit, "neither")
        assert found.needs and found.definition[0].isupper()
    for name in ("squat depth", "squat repetitions"):
        assert card(name).fixed == {"least": 0.2, "apart": 0.7}
    assert card("seat-off time·velocity").fixed == {"speed": 0.1}
    assert card("STS repetitions").needs == ("time",) and card("STS repetitions").reference == "capbench"
