"""Speeds and signals whose spectra and jerks are known, and the numbers of the authors' own examples."""

from __future__ import annotations

import cmath
import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import welch
from scipy.spatial.transform import Rotation

from metrics import catalogue
from metrics.arrays import MetricError
from metrics.smoothness import ldlj, power_share_above, sparc, speed_profile

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


def close(expected: float, rel: float = 1e-9):
    return pytest.approx(expected, rel=rel)


def bell(peaks: list[float], rate: float = 100.0, seconds: float = 2.0) -> np.ndarray:
    """A speed profile with one bell around each of ``peaks`` (s)."""
    time = np.arange(0, seconds, 1 / rate)
    return sum(np.exp(-30 * (time - peak) ** 2) for peak in peaks)


def noisy(seed: int, frames: int) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=frames)) + np.hanning(frames) * 5


# ------------------------------------------------------------------ SPARC


def literal_sparc(
    speed, rate: float, cutoff: float = 10.0, threshold: float = 0.05, padding: int = 4
) -> float:
    """The definition with its Fourier sums written out, one frequency at a time."""
    size = 1
    while size < len(speed):
        size *= 2
    size *= 2**padding
    spectrum = [
        abs(sum(v * cmath.exp(-2j * math.pi * k * n / size) for n, v in enumerate(speed)))
        for k in range(size // 2 + 1)
    ]
    points = [
        (k * rate / size, m / max(spectrum)) for k, m in enumerate(spectrum) if k * rate <= cutoff * size
    ]
    while points[0][1] < threshold:
        points.pop(0)
    while points[-1][1] < threshold:
        points.pop()
    span = points[-1][0] - points[0][0]
    return -sum(math.sqrt(((b[0] - a[0]) / span) ** 2 + (b[1] - a[1]) ** 2) for a, b in pairwise(points))


@pytest.mark.truth("published")
def test_the_authors_own_examples():
    time = np.arange(-1, 1, 0.01)
    move = np.exp(-5 * time**2)
    assert f"{sparc(move, rate=100.0):.5f}" == "-1.41403"
    assert f"{ldlj(move):.5f}" == "-5.81636"
    assert math.exp(-ldlj(move)) == close(335.74684, rel=1e-7)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize(("frames", "rate"), [(16, 30.0), (17, 60.0), (31, 24.0), (32, 100.0), (20, 12.0)])
def test_sparc_is_the_arc_length_of_the_spectrum(frames, rate, padding):
    speed = noisy(frames, frames)
    found = sparc(speed, rate=rate, padding=padding)
    assert found == close(literal_sparc(speed, rate, padding=padding))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("cutoff", [2.0, 5.0, 20.0])
@pytest.mark.parametrize("threshold", [0.02, 0.05, 0.3])
def test_sparc_stops_at_cutoff_and_threshold(cutoff, threshold):
    speed = noisy(4, 24)
    found = sparc(speed, rate=50, cutoff=cutoff, threshold=threshold, padding=2)
    assert found == close(literal_sparc(speed, 50, cutoff, threshold, 2))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("frequency", [4.0, 6.0, 8.0])
def test_sparc_starts_at_the_first_strong_frequency(frequency):
    """A band away from zero, as of an angular velocity that changes its sign."""
    time = np.arange(64) / 32
    speed = np.hanning(64) * np.cos(2 * np.pi * frequency * time)
    assert abs(np.fft.rfft(speed)[0]) < 0.05 * abs(np.fft.rfft(speed)).max()
    assert sparc(speed, rate=32, padding=1) == close(literal_sparc(speed, 32, padding=1))


def test_frequency_at_the_cutoff_and_magnitude_at_the_threshold_are_in():
    # one sample: the spectrum is 1 at every frequency, 0 to 2 Hz in steps of 1/4 Hz
    assert sparc([1.0], rate=4, cutoff=1.0) == close(-1.0)
    # three-point spectrum of [1, 0, x, 0] unpadded: 1 + x, 1 - x, 1 + x at 0, 1, 2 Hz
    for cutoff, expected in [
        (2.0, 2 * math.hypot(0.5, 0.5)),
        (1.999, math.hypot(1, 0.5)),
        (1.0, math.hypot(1, 0.5)),
    ]:
        found = sparc([3.0, 0, 1.0, 0], rate=4, cutoff=cutoff, padding=0, threshold=0.5)
        assert found == close(-expected)
    # a hair above: the middle one is weak and stays inside while the last is strong
    assert sparc([3.0, 0, 1.0, 0], rate=4, cutoff=2, padding=0, threshold=0.51) == close(
        -2 * math.hypot(0.5, 0.5)
    )
    # and is out where it would be the last
    assert math.isnan(sparc([3.0, 0, 1.0, 0], rate=4, cutoff=1, padding=0, threshold=0.51))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("x", [0.2, 0.5, 1.0])
def test_two_strong_frequencies_are_enough(x):
    # [1, x] unpadded at 2 Hz: 1 + x at 0 Hz, |1 - x| at 1 Hz
    low = (1 - x) / (1 + x)
    found = sparc([1.0, x], rate=2, padding=0, threshold=0.2)
    assert found == close(-math.hypot(1.0, 1 - low)) if low >= 0.2 else math.isnan(found)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [1e-5, 3.0, -2.0])
@pytest.mark.parametrize("seed", range(3))
def test_smoothness_of_speed_knows_no_unit_and_no_direction_of_time(seed, scale):
    speed = noisy(seed, 40)
    for changed in (scale * speed, speed[::-1]):
        assert sparc(changed, rate=50) == close(sparc(speed, rate=50))
        assert ldlj(changed) == close(ldlj(speed))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("gap", [0.6, 0.8, 1.2])
def test_submovements_further_apart_are_less_smooth(gap):
    one, near, far = (bell([1.0 - g / 2, 1.0 + g / 2]) for g in (0.0, gap / 2, gap))
    assert sparc(one, rate=100) > sparc(near, rate=100) > sparc(far, rate=100)
    assert ldlj(one) > ldlj(far) > ldlj(bell([0.4, 1.0, 1.6]))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("rate", [50.0, 200.0])
def test_resampling_hardly_changes_a_smooth_movement(rate):
    assert sparc(bell([0.6, 1.4], rate), rate=rate) == close(sparc(bell([0.6, 1.4]), rate=100), rel=0.02)
    assert ldlj(bell([0.6, 1.4], rate)) == close(ldlj(bell([0.6, 1.4])), rel=0.005)


def test_sparc_of_2015_ends_at_ten_hertz_with_five_per_cent_and_four_octaves():
    speed = [0.0, 1.0, 4.0, 1.0, 0.0, 2.0, 0.0]  # strong beyond 10 Hz
    default = sparc(speed, rate=40)
    assert default == sparc(speed, rate=40, cutoff=10, threshold=0.05, padding=4)
    for other in ({"cutoff": 10.5}, {"cutoff": 9.5}, {"padding": 3}, {"padding": 5}):
        assert sparc(speed, rate=40, **other) != default
    edge = np.hanning(24)  # here the threshold ends the band, not the cutoff
    assert sparc(edge, rate=100) == sparc(edge, rate=100, threshold=0.05)
    for other in (0.03, 0.07):
        assert sparc(edge, rate=100, threshold=other) != sparc(edge, rate=100)


@pytest.mark.parametrize("speed", [[], [0.0] * 9, [1.0, NAN, 2.0, 1.0], [NAN] * 5, [0.0, NAN]])
def test_speeds_without_smoothness(speed):
    assert math.isnan(sparc(speed, rate=30))
    assert math.isnan(ldlj(speed))


def test_nothing_strong_below_the_cutoff_is_no_sparc():
    alternating = np.hanning(64) * (-1.0) ** np.arange(64)
    assert math.isnan(sparc(alternating, rate=100))
    assert sparc(alternating, rate=100, cutoff=50) < -1


# ------------------------------------------------------------------ LDLJ


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("frames", [401, 801, 1601])
def test_a_minimum_jerk_reach_has_the_ldlj_of_its_polynomial(frames):
    # v = 30 s²(1 - s)², peak 15/8; v'' = 60 (1 - 6 s + 6 s²), whose square integrates to 720
    s = np.linspace(0, 1, frames)
    expected = -math.log(720 / (15 / 8) ** 2)
    assert ldlj(30 * s**2 * (1 - s) ** 2) == close(expected, rel=6 / frames)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("frames", [3, 5, 8, 50])
@pytest.mark.parametrize("height", [1.0, -0.3])
def test_one_spike_of_speed(frames, height):
    # Δ²v of a spike in the middle: 1, -2, 1; squares 6; at the end of three samples only 1 is left
    speed = np.zeros(frames)
    speed[frames // 2] = height
    squares = 4 if frames == 3 else 6
    assert ldlj(speed) == close(-math.log(frames**3 * squares))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("rate", [1.0, 30.0, 250.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_rate_cancels(seed, rate):
    speed = noisy(seed, 25) - 0.5
    jerk = [(speed[t] - 2 * speed[t + 1] + speed[t + 2]) * rate**2 for t in range(23)]
    dimensionless = (25 / rate) ** 3 / max(abs(v) for v in speed) ** 2 * sum(j * j for j in jerk) / rate
    assert ldlj(speed) == close(-math.log(dimensionless))


@pytest.mark.parametrize("speed", [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0], [2.0] * 8])
def test_without_jerk_there_is_no_ldlj(speed):
    assert math.isnan(ldlj(speed))


def test_three_samples_are_enough_for_ldlj():
    assert ldlj([0.0, 1.0, 0.0]) == close(-math.log(27 * 4))


# ------------------------------------------------------------------ speed profile


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", [1.0, 25.0, 100.0])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_speed_of_a_straight_run(rate, axes):
    path = np.outer(np.arange(6.0) ** 2, np.ones(axes)) / rate
    assert speed_profile(path, rate=rate) == pytest.approx(
        (2 * np.arange(5.0) + 1) * math.sqrt(axes), rel=1e-12
    )


def test_speed_keeps_points_apart_and_misses_beside_what_is_missing():
    points = np.arange(24.0).reshape(4, 2, 3) ** 2
    points[2, 1, 0] = NAN
    speed = speed_profile(points, rate=2)
    assert speed.shape == (3, 2)
    assert np.isnan(speed).tolist() == [[False, False], [False, True], [False, True]]
    assert speed[0, 1] == close(2 * math.dist(points[0, 1], points[1, 1]))
    assert speed_profile(np.zeros((1, 3)), rate=2).shape == (0,)


# ------------------------------------------------------------------ power above 6 Hz


def cosine(frequency: float, frames: int = 200, rate: float = 100.0) -> np.ndarray:
    """Even about the middle of the recording, so without mean or slope where whole periods fit."""
    return np.cos(2 * np.pi * frequency * (np.arange(frames) - (frames - 1) / 2) / rate)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("low", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("high", [8.0, 15.0, 40.0])
@pytest.mark.parametrize("amplitude", [0.1, 1.0, 3.0])
def test_shares_of_two_cosines(low, high, amplitude):
    signal = cosine(low) + amplitude * cosine(high)
    assert power_share_above(signal, rate=100) == close(100 * amplitude**2 / (1 + amplitude**2))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("frequency", "share"), [(5.0, 0.0), (5.5, 0.0), (6.0, 100 / 6), (6.5, 500 / 6), (7.0, 100.0)]
)
def test_a_hann_window_spills_a_sixth_into_each_neighbour(frequency, share):
    # bins every half hertz: the line of 6 Hz itself is not above 6 Hz
    assert power_share_above(cosine(frequency), rate=100) == pytest.approx(share, abs=1e-9)


@pytest.mark.truth("scipy")
@pytest.mark.parametrize("cutoff", [2.0, 6.0, 12.0])
@pytest.mark.parametrize(("frames", "rate"), [(50, 30.0), (81, 60.0), (64, 100.0)])
def test_as_welch_with_one_segment(frames, rate, cutoff):
    signal = np.cumsum(np.random.default_rng(frames).normal(size=frames)) + 7
    frequency, power = welch(signal, fs=rate, window="hann", nperseg=frames, detrend="linear")
    expected = 100 * power[frequency > cutoff].sum() / power.sum()
    assert power_share_above(signal, rate=rate, cutoff=cutoff) == close(expected)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_share_of_points_in_any_frame_and_either_direction_of_time(seed):
    rng = np.random.default_rng(seed)
    points = np.cumsum(rng.normal(size=(60, 3)), axis=0)
    share = power_share_above(points, rate=50)
    rotation = Rotation.random(rng=rng).as_matrix()
    slope = np.arange(60)[:, None] * [0.3, -1.0, 2.0]
    assert power_share_above(points @ rotation.T + [5, 6, 7], rate=50) == close(share)
    assert power_share_above(points + slope, rate=50) == close(share)
    assert power_share_above(1e-3 * points, rate=50) == close(share)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_share_of_the_same_samples_at_another_rate(factor):
    signal = np.cumsum(np.random.default_rng(9).normal(size=70))
    expected = power_share_above(signal, rate=40, cutoff=5)
    assert power_share_above(signal, rate=40 * factor, cutoff=5 * factor) == close(expected)


@pytest.mark.truth("closed form")
def test_channels_add_their_power():
    both = np.stack([3 * cosine(2), cosine(20)], axis=1)
    assert power_share_above(both, rate=100) == close(10.0)
    assert power_share_above(both.reshape(200, 2, 1), rate=100) == close(10.0)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("rate", [100.0, 200.0])
def test_white_noise_has_its_share_of_the_band(rate):
    noise = np.random.default_rng(1).normal(size=(2000, 50))
    assert power_share_above(noise, rate=rate) == close(100 * (1 - 6 / (rate / 2)), rel=0.01)


@pytest.mark.parametrize(
    "signal", [[], [1.0], [1.0, 5.0], [3.0] * 30, [0.0] * 8, np.arange(40.0), [NAN] * 9, [1.0, NAN, 2.0, 5.0]]
)
def test_signals_without_power(signal):
    assert math.isnan(power_share_above(signal, rate=30))


@pytest.mark.parametrize(("ripple", "defined"), [(0.97e-12, False), (1.03e-12, True), (1e-6, True)])
@pytest.mark.parametrize("size", [1.0, 1024.0])
def test_what_is_left_beside_the_line_must_be_more_than_rounding(ripple, defined, size):
    signal = size * (1 + ripple * np.tile([1.0, -1.0, -1.0, 1.0], 16))
    assert math.isnan(power_share_above(signal, rate=64)) is not defined


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("rate", [0, -1, NAN, float("inf")])
def test_rates_cutoffs_and_thresholds_are_above_zero(rate):
    for call in (
        lambda: sparc([1.0, 2.0], rate=rate),
        lambda: power_share_above([1.0, 2.0], rate=rate),
        lambda: speed_profile(np.zeros((4, 3)), rate=rate),
    ):
        with pytest.raises(MetricError, match="rate above zero"):
            call()
    with pytest.raises(MetricError, match="cutoff above zero"):
        sparc([1.0, 2.0], rate=10, cutoff=rate)
    with pytest.raises(MetricError, match="threshold above zero"):
        sparc([1.0, 2.0], rate=10, threshold=rate)
    with pytest.raises(MetricError, match="cutoff above zero"):
        power_share_above([1.0, 2.0], rate=100, cutoff=rate)


@pytest.mark.parametrize("padding", [-1, 1.0, True, "4", None])
def test_padding_is_a_whole_number(padding):
    with pytest.raises(MetricError, match="padding as a whole number from 0"):
        sparc([1.0, 2.0], rate=10, padding=padding)


@pytest.mark.parametrize("score", [ldlj, lambda speed: sparc(speed, rate=1)])
@pytest.mark.parametrize("shape", [(), (4, 3)])
def test_speed_has_one_axis(score, shape):
    with pytest.raises(MetricError, match="speed with 1 axes"):
        score(np.zeros(shape))


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("points", lambda x: speed_profile(x, rate=1)),
        ("speed", lambda x: sparc(x, rate=1)),
        ("speed", ldlj),
        ("signal", lambda x: power_share_above(x, rate=100)),
    ],
)
def test_only_numbers_are_scored(name, score):
    with pytest.raises(MetricError, match=f"Expected {name} as numbers, got str"):
        score("fast")


def test_shapes_that_do_not_fit():
    for shape in [(), (4,)]:
        with pytest.raises(MetricError, match="time first and a point's axes last, got shape"):
            speed_profile(np.zeros(shape), rate=1)
    with pytest.raises(MetricError, match="time on the first axis, got a single number"):
        power_share_above(1.0, rate=100)


@pytest.mark.parametrize("rate", [11.0, 12.0])
def test_the_cutoff_is_below_half_the_rate(rate):
    with pytest.raises(MetricError, match=rf"below half the rate \({rate / 2:g} Hz\), got 6 Hz"):
        power_share_above(np.zeros(9), rate=rate)
    assert power_share_above(cosine(1), rate=12.1) >= 0


# ------------------------------------------------------------------ cards


@pytest.mark.parametrize(
    ("name", "unit", "direction", "needs", "fixed"),
    [
        ("SPARC@10Hz", "1", "higher", ("time",), {"cutoff": 10.0, "threshold": 0.05, "padding": 4}),
        ("LDLJ-V", "1", "higher", (), {}),
        ("power above 6 Hz", "%", "lower", ("time",), {"cutoff": 6.0}),
    ],
)
def test_cards(name, unit, direction, needs, fixed):
    card = catalogue._cards[name]
    assert (card.unit, card.direction, card.needs, dict(card.fixed)) == (unit, direction, needs, fixed)
    assert (card.merge, card.part) == ("trials", "")
    speed = noisy(1, 40)
    options = {"rate": 50} if needs else {}
    assert card(speed, **options) == card.function(speed, **options)
