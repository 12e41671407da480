"""Finite differences of motions whose differences are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from metrics import catalogue, temporal
from metrics.arrays import MetricError
from metrics.temporal import (
    acceleration_error,
    acceleration_error_per_frame,
    angle_jerk,
    compare_jitter,
    foot_sliding,
    frame_noise,
    frame_noise_px,
    jitter,
    jitter_in_tens,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
RATES = [24.0, 30.0, 60.0, 100.0, 240.0]
CIRCLES = pytest.mark.parametrize(
    ("frequency", "rate", "radius"), [(1, 30, 0.1), (2, 100, 0.25), (6, 60, 0.02), (15, 30, 0.5)]
)


def close(expected: float, rel: float = 1e-9, abs: float = 0.0):
    return pytest.approx(expected, rel=rel, abs=abs)


def walk(seed: int, frames: int = 12, joints: int = 3, axes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, joints, axes))


def circle(frames: int, turn: float, radius: float) -> np.ndarray:
    """One point on a circle, ``turn`` radians a frame: every difference of it has one constant length."""
    angle = turn * np.arange(frames)
    return radius * np.stack([np.cos(angle), np.zeros(frames), np.sin(angle)], axis=-1)[:, None]


# ------------------------------------------------------------------ acceleration error


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("acceleration", [0.5, -3.0, 9.81])
def test_a_constant_acceleration_between_the_two_is_the_error(rate, acceleration):
    time = np.arange(9) / rate
    reference = walk(0, 9) * 0.001
    predicted = reference + (0.5 * acceleration * time**2)[:, None, None] * np.array([0.6, 0.0, -0.8])
    assert acceleration_error(predicted, reference, rate=rate) == close(abs(acceleration))
    assert acceleration_error_per_frame(predicted, reference) == close(abs(acceleration) * 1000 / rate**2)


@pytest.mark.truth("closed form")
@CIRCLES
def test_points_on_a_circle_accelerate_as_the_sampled_circle_does(frequency, rate, radius):
    points = circle(40, 2 * np.pi * frequency / rate, radius)
    expected = radius * (2 * rate * math.sin(math.pi * frequency / rate)) ** 2
    assert acceleration_error(points, 0 * points, rate=rate) == close(expected)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", RATES)
def test_a_spike_costs_one_two_one(rate):
    predicted = np.zeros((7, 1, 3))
    predicted[3, 0, 1] = 0.004
    # differences 1, -2, 1 at frames 2, 3, 4 of five
    assert acceleration_error(predicted, np.zeros((7, 1, 3)), rate=rate) == close(0.004 * 4 / 5 * rate**2)
    assert acceleration_error_per_frame(predicted, np.zeros((7, 1, 3))) == close(4 * 4 / 5)


def literal_difference_error(p: np.ndarray, g: np.ndarray, weights: list[int]) -> float:
    """Mean over frames and joints of ‖Σ wᵢ (p - g)[t+i]‖ where nothing it touches is NaN."""
    lengths = []
    for t in range(len(p) - len(weights) + 1):
        for j in range(p.shape[1]):
            vector = [
                sum(w * (p[t + i, j, k] - g[t + i, j, k]) for i, w in enumerate(weights)) for k in range(3)
            ]
            if not any(math.isnan(v) for v in vector):
                lengths.append(math.sqrt(sum(v * v for v in vector)))
    return sum(lengths) / len(lengths) if lengths else NAN


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lost", [[], [0], [5], [4, 5], [0, 11], [3, 8]])
def test_missing_frames_mask_every_difference_that_touches_them(seed, lost):
    p, g = walk(seed), walk(seed + 50)
    p[lost, :] = NAN
    g[2, seed % 3, seed % 2] = NAN
    expected = literal_difference_error(p, g, [1, -2, 1])
    assert acceleration_error_per_frame(p, g) == close(expected * 1000)
    assert acceleration_error(p, g, rate=50) == close(expected * 2500)
    jerky = literal_difference_error(p, 0 * p, [-1, 3, -3, 1])
    assert jitter(p, rate=10) == close(jerky * 1000)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("lost", range(10))
def test_one_missing_frame_takes_out_three_accelerations(lost):
    accelerations = 2.0 ** np.arange(8)  # each different, so that the mean tells which are left
    predicted = np.zeros((10, 1, 3))
    predicted[2:, 0, 0] = np.cumsum(np.cumsum(accelerations)) / 1000
    predicted[lost] = NAN
    left = [2.0**k for k in range(8) if k not in (lost - 2, lost - 1, lost)]
    assert acceleration_error_per_frame(predicted, np.zeros((10, 1, 3))) == close(sum(left) / len(left))


def test_the_mean_counts_every_difference_of_every_point_once():
    p = np.zeros((5, 2, 3))
    p[0, 0, 0] = 0.003  # point 0: second differences 3, 0, 0; point 1 has one left: 0
    p[4, 1] = p[3, 1] = NAN
    assert acceleration_error_per_frame(p, np.zeros((5, 2, 3))) == close(3 / 4)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_fewer_than_three_frames_have_no_acceleration(frames):
    p = np.zeros((frames, 2, 3))
    assert math.isnan(acceleration_error(p, p, rate=30))
    assert math.isnan(acceleration_error_per_frame(p, p))


def test_three_frames_have_one_acceleration_and_four_one_jerk():
    assert acceleration_error_per_frame(np.zeros((3, 2, 3)), np.zeros((3, 2, 3))) == 0
    assert math.isnan(jitter(np.zeros((3, 2, 3)), rate=30))
    assert jitter(np.zeros((4, 2, 3)), rate=30) == 0


# ------------------------------------------------------------------ jitter


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("jerk", [0.7, -12.0])
def test_a_cubic_has_its_jerk(rate, jerk):
    time = np.arange(10) / rate
    path = jerk / 6 * time**3 - 2 * time**2 + 0.5 * time + 0.1
    points = path[:, None, None] * np.array([[2 / 3, 1 / 3, -2 / 3], [0, 0, 1.0]])
    assert jitter(points, rate=rate) == close(abs(jerk))
    assert jitter_in_tens(points, rate=rate) == close(abs(jerk) / 10)


@pytest.mark.truth("closed form")
@CIRCLES
def test_points_on_a_circle_jerk_as_the_sampled_circle_does(frequency, rate, radius):
    points = circle(40, 2 * np.pi * frequency / rate, radius)
    expected = radius * (2 * rate * math.sin(math.pi * frequency / rate)) ** 3
    assert jitter(points, rate=rate) == close(expected)
    assert jitter_in_tens(points, rate=rate) == close(expected / 10)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("sigma", [0.001, 0.004])
@pytest.mark.parametrize("rate", [30.0, 120.0])
def test_white_noise_gives_root_twenty_times_root_eight_over_pi(sigma, rate):
    noise = np.random.default_rng(3).normal(scale=sigma, size=(4000, 17, 3))
    assert jitter(noise, rate=rate) == close(sigma * math.sqrt(20 * 8 / math.pi) * rate**3, rel=0.01)
    assert frame_noise(noise) == close(sigma * 1000, rel=0.01)
    assert frame_noise_px(1000 * noise[..., :2]) == close(sigma * 1000, rel=0.01)
    accel = acceleration_error(noise, 0 * noise, rate=rate)
    assert accel == close(sigma * math.sqrt(6 * 8 / math.pi) * rate**2, rel=0.01)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.5, 2.0, 7.0])
def test_noise_scores_scale_with_the_noise(scale):
    noise = walk(8, 30)
    assert jitter(scale * noise, rate=25) == close(scale * jitter(noise, rate=25))
    assert frame_noise(scale * noise) == close(scale * frame_noise(noise))
    assert acceleration_error(scale * noise, 0 * noise, rate=25) == close(
        scale * acceleration_error(noise, 0 * noise, rate=25)
    )


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(5))
def test_neither_frame_of_reference_nor_direction_of_time_matters(seed):
    p, g = walk(seed, 15), walk(seed + 20, 15)
    rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    q, h = (x @ rotation.T + [1.0, -2.0, 3.0] for x in (p, g))
    order = np.random.default_rng(seed).permutation(3)
    slid = foot_sliding(p, g, rate=30, still=60)
    assert 0 < slid.steps < 42
    for a, b in [(q, h), (p[::-1], g[::-1]), (p[:, order], g[:, order]), (-p, -g)]:
        assert acceleration_error(a, b, rate=30) == close(acceleration_error(p, g, rate=30))
        assert foot_sliding(a, b, rate=30, still=60) == pytest.approx(slid, rel=1e-9)
    assert acceleration_error(g, p, rate=30) == close(acceleration_error(p, g, rate=30))
    for a in (q, p[::-1], p[:, order], -p):
        assert jitter(a, rate=30) == close(jitter(p, rate=30))
        assert frame_noise(a) == close(frame_noise(p))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("order", [0, 1, 2])
def test_motion_up_to_constant_acceleration_adds_no_jitter(order):
    noise = walk(5, 20)
    drift = (np.arange(20.0) / 10) ** order
    moved = noise + drift[:, None, None] * np.array([1.0, -2.0, 0.5])
    assert jitter(moved, rate=30) == close(jitter(noise, rate=30))
    assert frame_noise(moved) == close(frame_noise(noise))
    assert frame_noise_px(moved[..., :2]) == close(frame_noise_px(noise[..., :2]))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_the_same_samples_at_another_rate(factor):
    p, g = walk(1), walk(2)
    assert acceleration_error(p, g, rate=20 * factor) == close(factor**2 * acceleration_error(p, g, rate=20))
    assert jitter(p, rate=20 * factor) == close(factor**3 * jitter(p, rate=20))
    assert angle_jerk(p, rate=20 * factor) == close(factor**3 * angle_jerk(p, rate=20))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", [60.0, 120.0, 240.0])
def test_a_smooth_motion_keeps_its_jerk_when_resampled(rate):
    time = np.arange(0, 2, 1 / rate)
    points = np.stack([0.3 * np.sin(2 * np.pi * time), 0 * time, 0.3 * np.cos(2 * np.pi * time)], axis=-1)
    assert jitter(points, rate=rate) == close(0.3 * (2 * np.pi) ** 3, rel=(2 * np.pi / rate) ** 2)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_frame_noise_is_the_root_mean_square_third_difference_over_root_twenty(seed):
    p = walk(seed, 9, 2)
    p[4, 1, 2] = NAN
    squares = []
    for t in range(6):
        for j in range(2):
            for k in range(3):
                third = p[t + 3, j, k] - 3 * p[t + 2, j, k] + 3 * p[t + 1, j, k] - p[t, j, k]
                if not math.isnan(third):
                    squares.append(third**2)
    assert frame_noise(p) == close(1000 * math.sqrt(sum(squares) / len(squares) / 20))


def test_frame_noise_needs_four_frames():
    assert math.isnan(frame_noise(np.zeros((3, 1, 3))))
    assert math.isnan(frame_noise_px(np.zeros((3, 1, 2))))
    assert frame_noise(np.zeros((4, 1, 3))) == 0


@pytest.mark.truth("closed form")
def test_jitter_of_prediction_beside_that_of_the_truth():
    frames = np.arange(12.0)
    truth = (frames**3 / 6000)[:, None, None] * np.array([0, 1.0, 0])
    predicted = (frames**3 / 1500)[:, None, None] * np.array([0, 0, 1.0])
    found = compare_jitter(predicted, truth, rate=10)
    assert found == pytest.approx((4.0, 1.0, 3.0), rel=1e-9)
    assert compare_jitter(0 * truth, truth, rate=10).excess == close(-1.0)


def test_jitters_are_compared_over_the_differences_both_have():
    rng = np.random.default_rng(0)
    p, g = rng.normal(size=(2, 11, 2, 3))
    p[:4, 0] = NAN
    g[8, 1, 1] = NAN
    p_masked, g_masked = p.copy(), g.copy()
    p_masked[8, 1] = NAN
    g_masked[:4, 0] = NAN
    found = compare_jitter(p, g, rate=2)
    assert found.predicted == jitter(p_masked, rate=2) != jitter(p, rate=2)
    assert found.reference == jitter(g_masked, rate=2) != jitter(g, rate=2)
    assert found.excess == found.predicted - found.reference


# ------------------------------------------------------------------ foot sliding


def line(speeds: list[float], rate: float) -> np.ndarray:
    """One foot point that moves along x with these speeds from frame to frame, in m/s."""
    x = np.concatenate([[0.0], np.cumsum(speeds)]) / rate
    return np.stack([x, 0 * x, 0 * x], axis=-1)[:, None]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", [25.0, 30.0, 50.0, 100.0, 120.0])
def test_sliding_does_not_depend_on_the_rate(rate):
    true = line([0.0, 0.1, 0.29, 0.31, 1.5, 0.2], rate)
    predicted = line([0.2, 0.1, 0.3, 5.0, 5.0, 0.6], rate)
    found = foot_sliding(predicted, true, rate=rate)
    assert found == pytest.approx((300.0, 10.0, 4), rel=1e-9)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(5))
def test_at_30_frames_a_second_it_is_the_published_number(seed):
    rng = np.random.default_rng(seed)
    true = np.cumsum(rng.normal(scale=0.006, size=(40, 4, 3)), axis=0)
    predicted = true + rng.normal(scale=0.002, size=true.shape)
    slides = [
        math.dist(predicted[t, j], predicted[t + 1, j])
        for t in range(39)
        for j in range(4)
        if math.dist(true[t, j], true[t + 1, j]) < 0.01
    ]
    found = foot_sliding(predicted, true, rate=30)
    assert 10 < len(slides) == found.steps < 146
    assert found.step == close(1000 * sum(slides) / len(slides))
    assert found.speed == close(30 * found.step)


@pytest.mark.parametrize(("speed", "stands"), [(0.5, 0), (0.5 - 2**-20, 1), (0.5 + 2**-20, 0), (0.0, 1)])
def test_at_the_threshold_the_foot_moves(speed, stands):
    true = line([speed], 32)  # powers of two: no rounding between displacement and speed
    assert foot_sliding(true, true, rate=32, still=0.5).steps == stands


@pytest.mark.parametrize(("speed", "stands"), [(0.2999999, 1), (0.3000001, 0)])
def test_the_threshold_is_thirty_centimetres_a_second(speed, stands):
    assert foot_sliding(line([speed], 60), line([speed], 60), rate=60).steps == stands


def test_missing_points_are_no_steps():
    true, predicted = line([0.1] * 6, 10), line([0.2] * 6, 10)
    true[1] = NAN
    predicted[5, 0, 2] = NAN
    found = foot_sliding(predicted, true, rate=10)
    assert found.steps == 2
    assert found.speed == close(200.0)


def test_feet_that_never_stand_have_no_sliding():
    found = foot_sliding(line([1.0, 2.0], 10), line([1.0, 2.0], 10), rate=10)
    assert math.isnan(found.speed)
    assert math.isnan(found.step)
    assert found.steps == 0
    assert foot_sliding(np.zeros((1, 1, 3)), np.zeros((1, 1, 3)), rate=10).steps == 0


# ------------------------------------------------------------------ angles


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("jerk", [40.0, -900.0])
def test_a_cubic_angle_has_its_jerk_in_degrees(rate, jerk):
    time = np.arange(12) / rate
    angle = np.radians(jerk / 6 * time**3 + 5 * time)
    assert angle_jerk(angle, rate=rate) == close(abs(jerk))
    assert angle_jerk(np.stack([angle, 0 * angle], axis=1), rate=rate) == close(abs(jerk) / 2)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_angle_jerk_is_the_mean_absolute_third_difference(seed):
    angle = np.random.default_rng(seed).uniform(-1, 1, size=(9, 2))
    angle[3, 0] = NAN
    thirds = [
        abs(angle[t + 3, j] - 3 * angle[t + 2, j] + 3 * angle[t + 1, j] - angle[t, j])
        for t in range(6)
        for j in range(2)
    ]
    kept = [x for x in thirds if not math.isnan(x)]
    assert len(kept) == 8
    assert angle_jerk(angle, rate=7) == close(math.degrees(sum(kept) / len(kept)) * 343)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("turns", [-2, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_full_turns_do_not_jerk(turns, seed):
    rng = np.random.default_rng(seed)
    angle = np.cumsum(rng.uniform(-0.5, 0.5, size=20)) + 3
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    jumping = angle + 2 * np.pi * turns * rng.integers(0, 2, size=20)
    expected = np.degrees(np.abs(np.diff(angle, n=3)).mean()) * 1000
    assert angle_jerk(wrapped, rate=10) == close(expected)
    assert angle_jerk(jumping, rate=10) == close(expected)


def test_the_shorter_way_round_ends_at_half_a_turn():
    # steps 0, 0, then x: up to half a turn the jerk is x, beyond it the step goes the other way round
    for degrees, jerk in [(179.0, 179.0), (181.0, 179.0), (-181.0, 179.0), (359.0, 1.0), (100.0, 100.0)]:
        assert angle_jerk(np.radians([0, 0, 0, degrees]), rate=1) == close(jerk)


def test_angle_jerk_needs_four_frames():
    assert math.isnan(angle_jerk([0, 0, 0], rate=1))
    assert angle_jerk([0, 0, 0, 0], rate=1) == 0


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "score", [acceleration_error_per_frame, foot_sliding, acceleration_error, compare_jitter]
)
def test_shapes_have_to_agree(score):
    options = {} if score is acceleration_error_per_frame else {"rate": 30}
    with pytest.raises(MetricError, match="predicted and reference of one shape"):
        score(np.zeros((5, 2, 3)), np.zeros((5, 1, 3)), **options)


@pytest.mark.parametrize("shape", [(5,), (3,), (5, 2), (5, 3, 2), ()])
def test_points_have_time_first_and_three_entries_last(shape):
    points = np.zeros(shape)
    for call in (
        lambda: acceleration_error_per_frame(points, points),
        lambda: foot_sliding(points, points, rate=1),
        lambda: jitter(points, rate=1),
        lambda: frame_noise(points),
    ):
        with pytest.raises(MetricError, match=r"time first and 3 entries on the last axis, got shape"):
            call()


def test_points_may_have_no_joint_axis_or_several():
    p = walk(0, 8, 6)
    assert jitter(p.reshape(8, 2, 3, 3), rate=2) == close(jitter(p, rate=2))
    assert jitter(p[:, 0], rate=2) == close(jitter(p[:, :1], rate=2))


def test_image_points_have_two_entries():
    with pytest.raises(MetricError, match="2 entries on the last axis"):
        frame_noise_px(np.zeros((5, 1, 3)))
    with pytest.raises(MetricError, match="time first"):
        frame_noise_px(np.zeros(2))
    with pytest.raises(MetricError, match="time on the first axis, got a single number"):
        angle_jerk(1.0, rate=3)


@pytest.mark.parametrize("rate", [0, -30, NAN, float("inf")])
def test_rates_are_above_zero(rate):
    p = np.zeros((5, 1, 3))
    for call in (
        lambda: acceleration_error(p, p, rate=rate),
        lambda: jitter(p, rate=rate),
        lambda: jitter_in_tens(p, rate=rate),
        lambda: compare_jitter(p, p, rate=rate),
        lambda: foot_sliding(p, p, rate=rate),
        lambda: angle_jerk(p, rate=rate),
    ):
        with pytest.raises(MetricError, match="rate above zero"):
            call()
    with pytest.raises(MetricError, match="still above zero"):
        foot_sliding(p, p, rate=1, still=rate)


# ------------------------------------------------------------------ cards


@pytest.mark.parametrize(
    ("name", "unit", "direction", "needs", "value"),
    [
        ("acceleration error·mm/frame²", "mm/frame²", "lower", ("reference",), 0.5),
        ("acceleration error·m/s²", "m/s²", "lower", ("reference", "time"), 0.05),
        ("jitter·m/s³", "m/s³", "lower", ("time",), 1.0),
        ("jitter·10m/s³", "10 m/s³", "lower", ("time",), 0.1),
        ("jitter of the reference·m/s³", "m/s³", "neither", ("reference", "time"), 0.0),
        ("jitter excess·m/s³", "m/s³", "zero", ("reference", "time"), 1.0),
        ("frame noise·mm", "mm", "lower", (), math.sqrt(1 / 3 / 20)),
        ("frame noise·px", "px", "lower", (), math.sqrt(1 / 2 / 20) / 1000),
        ("foot sliding·mm/frame@30", "mm", "lower", ("reference", "time"), 10 / 3 / 30),
        ("foot sliding·mm/s", "mm/s", "lower", ("reference", "time"), 10 / 3),
        ("angle jerk·°/s³", "°/s³", "lower", ("time", "angles"), math.degrees(1.0) / 3),
    ],
)
def test_cards(name, unit, direction, needs, value):
    card = catalogue._cards[name]
    assert (card.unit, card.direction, card.needs, card.merge) == (unit, direction, needs, "trials")
    points = np.zeros((4, 3))
    points[3, 0] = 0.001
    if "px" in name:
        points = points[:, :2]
    arguments = [points, 0 * points] if "reference" in needs else [points]
    options = {"rate": 10} if "time" in needs else {}
    assert card(*arguments, **options) == close(value)


def test_the_threshold_is_fixed_by_name():
    assert temporal.STILL == 0.30
    for name in ("foot sliding·mm/frame@30", "foot sliding·mm/s"):
        with pytest.raises(MetricError, match="still"):
            catalogue._cards[name](np.zeros((2, 1, 3)), np.zeros((2, 1, 3)), rate=1, still=1)
