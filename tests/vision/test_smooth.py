"""The filter's gain in closed form, its silence about gaps, and what its ends do."""

import numpy as np
import pytest

from capbench.vision.smooth import CUTOFFS, OTHER, cutoff_of, low_pass, smooth
from cohorts.errors import CapbenchError
from cohorts.recording import Markers


def gain(frequency: float, rate: float, cutoff: float) -> float:
    """Measured in the middle of a long sine."""
    time = np.arange(4000) / rate
    wave = np.exp(2j * np.pi * frequency * time)
    out = low_pass(np.stack([wave.real, wave.imag], axis=-1), rate, cutoff)
    middle = slice(1500, 2500)
    found = (out[middle, 0] + 1j * out[middle, 1]) / wave[middle]
    assert np.abs(found.imag).max() < 1e-4  # no delay
    return float(found.real.mean())


@pytest.mark.truth("closed form: two passes of an order-2 Butterworth on the bilinear transform's axis")
@pytest.mark.parametrize(("rate", "cutoff"), [(100.0, 6.0), (60.0, 12.0), (25.0, 6.0), (240.0, 4.0)])
def test_half_the_power_at_the_cutoff_and_the_whole_curve(rate, cutoff) -> None:
    assert gain(cutoff, rate, cutoff) == pytest.approx(np.sqrt(0.5), abs=2e-4)
    one_pass = np.tan(np.pi * cutoff / rate) / (np.sqrt(2) - 1) ** 0.25
    for frequency in (0.2 * cutoff, 0.6 * cutoff, 1.5 * cutoff):
        expected = 1 / (1 + (np.tan(np.pi * frequency / rate) / one_pass) ** 4)
        assert gain(frequency, rate, cutoff) == pytest.approx(expected, abs=2e-4)


def test_straight_lines_pass_to_their_ends() -> None:
    time = np.arange(80) / 60
    line = np.stack([3 * time - 1, np.full(80, 7.0)], axis=-1)
    np.testing.assert_allclose(low_pass(line, 60.0, 6.0), line, atol=1e-10)


def test_ends_are_no_worse_than_a_few_times_the_middle() -> None:
    random = np.random.default_rng(0)
    time = np.arange(120) / 60
    true = np.sin(2 * np.pi * 1.0 * time)[:, None] * np.ones(200)
    error = low_pass(true + 0.02 * random.normal(size=true.shape), 60.0, 6.0) - true
    rms = np.sqrt((error**2).mean(axis=1))
    assert rms[40:80].mean() < 0.012  # the white noise's share below 6 of 30 Hz: 0.02 sqrt(0.2) = 0.009
    assert rms[0] < 0.03 and rms[-1] < 0.03 and rms[6] < 0.016


@pytest.mark.truth("each stretch alone is what it would be by itself")
def test_gaps_stay_and_do_not_spread() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(200, 3, 3)).cumsum(axis=0)
    gappy = values.copy()
    gappy[50:60, 1] = np.nan
    gappy[:2, 2] = gappy[100:103, 2] = gappy[105:107, 2] = np.nan
    out = low_pass(gappy, 100.0, 6.0)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(gappy))
    np.testing.assert_allclose(out[:, 0], low_pass(values[:, 0], 100.0, 6.0))
    np.testing.assert_allclose(out[:50, 1], low_pass(values[:50, 1], 100.0, 6.0))
    np.testing.assert_allclose(out[60:, 1], low_pass(values[60:, 1], 100.0, 6.0))
    np.testing.assert_array_equal(out[103:105, 2], gappy[103:105, 2])  # two samples: left alone
    assert np.abs(np.nan_to_num(out - gappy)).max() < 10


@pytest.mark.parametrize("cutoff", [27.0, 30.0, 500.0])
def test_a_cutoff_near_nyquist_filters_nothing(cutoff) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(low_pass(values, 60.0, cutoff), values)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
def test_short_trials(count) -> None:
    values = np.linspace(0, 1, count)[:, None]
    np.testing.assert_allclose(low_pass(values, 60.0, 6.0), values, atol=1e-12)
    track = Markers(np.arange(count) / 60, ("a",), np.zeros((count, 1, 3)))
    assert smooth(track, cutoff=6.0) == track


def test_cutoffs_by_activity() -> None:
    assert cutoff_of("walking") == cutoff_of("walkingTS") == cutoff_of("gait") == CUTOFFS["walking"]
    assert cutoff_of("STSweakLegs") == cutoff_of("sit-to-stand") and cutoff_of("squatsAsym") == cutoff_of(
        "squats"
    )
    assert cutoff_of("DJ") == cutoff_of("drop jump") > cutoff_of("walking") > cutoff_of("squats")
    assert cutoff_of("") == cutoff_of("dancing") == OTHER


def test_what_can_not_be_filtered_is_refused() -> None:
    time = np.array([0, 0.01, 0.02, 0.08, 0.09, 0.1])
    with pytest.raises(CapbenchError, match="evenly sampled"):
        smooth(Markers(time, ("a",), np.zeros((6, 1, 3))), cutoff=6.0)
    for rate, cutoff in ((0.0, 6.0), (60.0, 0.0), (60.0, np.nan)):
        with pytest.raises(CapbenchError, match="positive"):
            low_pass(np.zeros((10, 1)), rate, cutoff)
