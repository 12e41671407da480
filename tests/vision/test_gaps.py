"""Gaps are filled inside only, not when long, marked, and with less confidence."""

import numpy as np
import pytest
from scipy.interpolate import pchip_interpolate

from capbench.vision.gaps import TRUST, fill_covariance, fill_gaps
from cohorts.errors import CapbenchError
from cohorts.recording import Markers


def markers(gaps, *, rate=100.0, total=60, confidence=0.8) -> Markers:
    time = np.arange(total) / rate
    xyz = np.stack([np.sin(8 * time), time**2, np.cos(3 * time)], axis=-1)[:, None].repeat(2, axis=1)
    trust = np.full((total, 2), confidence)
    for gap in gaps:
        xyz[gap, 0], trust[gap, 0] = np.nan, 0.0
    return Markers(time, ("a", "b"), xyz, trust)


@pytest.mark.truth("NumPy's cubic through the five samples on either side")
def test_a_short_gap_is_a_cubic_and_marked() -> None:
    gappy = markers([slice(20, 30)])
    filled, where = fill_gaps(gappy)
    assert where[:, 0].tolist() == [20 <= t < 30 for t in range(60)] and not where[:, 1].any()
    known = np.delete(np.arange(60), np.arange(20, 30))
    near = [*range(15, 20), *range(30, 35)]
    for axis in range(3):
        cubic = np.poly1d(np.polyfit(gappy.time[near], gappy.xyz[near, 0, axis], 3))
        np.testing.assert_allclose(filled.xyz[20:30, 0, axis], cubic(gappy.time[20:30]), atol=1e-9)
    np.testing.assert_allclose(filled.confidence[20:30, 0], TRUST * 0.8)
    np.testing.assert_array_equal(filled.xyz[known], gappy.xyz[known])
    assert np.abs(filled.xyz[20:30, 0] - filled.xyz[20:30, 1]).max() < 0.01


@pytest.mark.truth("SciPy's pchip, on the same gaps")
def test_noise_is_not_carried_into_the_gap() -> None:
    ours, theirs = [], []
    for seed in range(30):
        clean = markers([])
        noisy = clean.xyz + np.random.default_rng(seed).normal(0, 0.01, clean.xyz.shape)
        noisy[20:30, 0] = np.nan
        filled, _ = fill_gaps(Markers(clean.time, clean.names, noisy))
        known = np.delete(np.arange(60), np.arange(20, 30))
        pchip = pchip_interpolate(clean.time[known], noisy[known, 0], clean.time[20:30])
        ours.append(np.linalg.norm(filled.xyz[20:30, 0] - clean.xyz[20:30, 0], axis=-1).mean())
        theirs.append(np.linalg.norm(pchip - clean.xyz[20:30, 0], axis=-1).mean())
    assert np.mean(ours) < 0.85 * np.mean(theirs)


def test_two_gaps_and_samples_that_are_few() -> None:
    filled, where = fill_gaps(markers([slice(10, 14), slice(16, 20)]))
    assert where[:, 0].sum() == 8 and np.abs(filled.xyz[..., 0][:, 0] - filled.xyz[..., 0][:, 1]).max() < 0.01
    lone = markers([slice(1, 3), slice(4, 60)])  # one sample on either side: a line
    filled, where = fill_gaps(lone)
    np.testing.assert_allclose(filled.xyz[1, 0], (2 * lone.xyz[0, 0] + lone.xyz[3, 0]) / 3)


@pytest.mark.parametrize(
    ("length", "longest", "kept"), [(20, 0.2, False), (21, 0.2, True), (5, 0.04, True), (5, 0.0, True)]
)
def test_only_up_to_the_longest(length, longest, kept) -> None:
    filled, where = fill_gaps(markers([slice(15, 15 + length)]), longest=longest)
    assert np.isnan(filled.xyz[15 : 15 + length, 0]).all() == kept == (not where.any())


def test_never_at_the_ends_and_no_gap_no_change() -> None:
    ends = markers([slice(0, 3), slice(57, 60)])
    filled, where = fill_gaps(ends)
    assert not where.any() and filled == ends
    whole = markers([])
    assert fill_gaps(whole)[0] == whole
    gone = markers([slice(0, 60)])
    assert fill_gaps(gone)[0] == gone
    one = markers([], total=1)
    assert fill_gaps(one)[0] == one
    assert len(fill_gaps(markers([], total=0))[0]) == 0


def test_the_confidence_is_of_the_worse_side() -> None:
    gappy = markers([slice(20, 22)])
    trust = gappy.confidence.copy()
    trust[22, 0] = 0.1
    filled, _ = fill_gaps(Markers(gappy.time, gappy.names, gappy.xyz, trust))
    np.testing.assert_allclose(filled.confidence[20:22, 0], TRUST * 0.1)


@pytest.mark.truth("a chord's distance from a parabola: a τ (g - τ) / 2")
def test_covariance_of_what_was_filled() -> None:
    gappy = markers([slice(20, 30)])
    covariance = np.broadcast_to(1e-6 * np.eye(3), (60, 2, 3, 3)).copy()
    covariance[30, 0] *= 4
    covariance[20:30, 0] = np.nan
    _, where = fill_gaps(gappy)
    told = fill_covariance(gappy.time, covariance, where)
    assert np.isfinite(told).all()
    middle = (
        4e-6 + (5.0 * 0.05 * 0.06 / 2) ** 2
    )  # samples 19 and 30: 0.05 s after the one, 0.06 before the other
    np.testing.assert_allclose(told[24, 0], middle * np.eye(3), rtol=1e-9)
    np.testing.assert_array_equal(told[:, 1], covariance[:, 1])
    assert np.isnan(fill_covariance(gappy.time, covariance, np.zeros_like(where))[20:30, 0]).all()


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(CapbenchError, match="longest gap"):
        fill_gaps(markers([]), longest=-0.1)
