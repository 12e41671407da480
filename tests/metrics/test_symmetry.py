"""Indices of asymmetry: closed forms, what holds under swapping and scaling, where they are undefined."""

import math
import warnings

import numpy as np
import pytest

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.symmetry import (
    CANCELS,
    gait_asymmetry,
    limb_symmetry_index,
    normalised_symmetry_index,
    symmetry_index,
    symmetry_ratio,
)


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("right", "left", "index"),
    [
        (1.0, 1.0, 0.0),
        (3.0, 1.0, 100.0),
        (1.0, 3.0, -100.0),
        (1.0, 0.0, 200.0),  # one side does nothing
        (0.0, 1.0, -200.0),
        (-20.0, -10.0, 200 / 3),  # the literal formula: -10 / -15
        (5.0, -3.0, 800.0),  # straddles zero: inflated, but defined
        (60.0, 50.0, 200 / 11),
    ],
)
def test_symmetry_index(right, left, index) -> None:
    assert symmetry_index(right, left) == pytest.approx(index, rel=1e-12)
    assert symmetry_index(right, left, signed=False) == pytest.approx(abs(index), rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("right", "left", "ratio"),
    [(3.0, 2.0, 1.5), (2.0, 4.0, 0.5), (0.0, 4.0, 0.0), (-6.0, -4.0, 1.5), (7.0, 7.0, 1.0)],
)
def test_ratios(right, left, ratio) -> None:
    assert symmetry_ratio(right, left) == pytest.approx(ratio, rel=1e-12)
    assert limb_symmetry_index(right, left) == pytest.approx(100 * ratio, rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("right", "left", "asymmetry"),
    [
        (math.e, 1.0, 100.0),
        (1.0, math.e, 100.0),
        (0.4, 0.4, 0.0),
        (-(math.e**2), -1.0, 200.0),
        (2, 1, 69.314718056),
    ],
)
def test_gait_asymmetry(right, left, asymmetry) -> None:
    assert gait_asymmetry(right, left) == pytest.approx(asymmetry, rel=1e-11)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("right", "left", "index"),
    [
        ([10.0], [0.0], 100.0),
        ([0.0], [10.0], -100.0),
        ([10.0], [5.0], 50.0),
        ([4.0], [-6.0], 100.0),  # range 4 - (-6)
        ([-4.0], [-6.0], 100 / 3),  # zero belongs to the range: 0 - (-6)
        ([-8.0, -2.0], [-4.0, -2.0], -25.0),
        ([10.0, 8.0], [5.0, 6.0], 35.0),  # mean of 50 and 20
        ([2.0, np.nan, 4.0], [1.0, 99.0, 4.0], 12.5),  # the trial without a right is left out, range included
        ([2.0, 99.0, 4.0], [1.0, np.nan, 4.0], 12.5),
        ([0.2, np.nan], [0.1, 0.1], 50.0),  # what is left out does not widen the range
    ],
)
def test_normalised_symmetry_index(right, left, index) -> None:
    assert normalised_symmetry_index(right, left) == pytest.approx(index, rel=1e-12)


BY_PAIR = (symmetry_index, symmetry_ratio, limb_symmetry_index, gait_asymmetry)
PAIRS = np.random.default_rng(3).uniform(0.2, 2.0, (2, 40))


@pytest.mark.truth("metamorphic")
def test_swapped_sides() -> None:
    right, left = PAIRS
    np.testing.assert_allclose(symmetry_index(left, right), -symmetry_index(right, left), rtol=1e-12)
    np.testing.assert_allclose(symmetry_ratio(left, right), 1 / symmetry_ratio(right, left), rtol=1e-12)
    np.testing.assert_allclose(gait_asymmetry(left, right), gait_asymmetry(right, left), rtol=1e-12)
    assert normalised_symmetry_index(left, right) == pytest.approx(-normalised_symmetry_index(right, left))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [1e-6, 0.37, 1000.0])
def test_units_do_not_matter(scale) -> None:
    right, left = PAIRS
    for index in (
        symmetry_index,
        symmetry_ratio,
        limb_symmetry_index,
        gait_asymmetry,
        normalised_symmetry_index,
    ):
        np.testing.assert_allclose(index(scale * right, scale * left), index(right, left), rtol=1e-9)


@pytest.mark.truth("metamorphic")
def test_the_indices_are_functions_of_one_another() -> None:
    right, left = PAIRS
    ratio = right / left
    # tanh(ln(ratio) / 2) = (R - L) / (R + L)
    np.testing.assert_allclose(symmetry_index(right, left), 200 * np.tanh(np.log(ratio) / 2), rtol=1e-9)
    np.testing.assert_allclose(gait_asymmetry(right, left), abs(100 * np.log(ratio)), rtol=1e-9)


@pytest.mark.truth("literal definition")
def test_normalised_index_by_hand_for_rows() -> None:
    right, left = np.random.default_rng(5).normal(0, 3, (2, 6, 7))
    by_hand = []
    for r, m in zip(right.tolist(), left.tolist(), strict=True):
        spread = max(0, *r, *m) - min(0, *r, *m)
        by_hand.append(sum(100 * (a - b) / spread for a, b in zip(r, m, strict=True)) / len(r))
    np.testing.assert_allclose(normalised_symmetry_index(right, left), by_hand, rtol=1e-12)
    assert (abs(normalised_symmetry_index(right, left)) <= 100).all()


@pytest.mark.parametrize(("right", "left"), [(0.0, 0.0), (2.0, -2.0), (-0.3, 0.3), (0.1 + 0.2, -0.3)])
def test_symmetry_index_is_undefined_where_the_sides_cancel(right, left) -> None:
    assert np.isnan(symmetry_index(right, left))
    assert np.isnan(symmetry_index(right, left, signed=False))


def test_the_bound_of_cancelling() -> None:
    assert CANCELS == 1e-9
    assert np.isnan(symmetry_index(1.0, -1 + 1.9e-9))  # the terms sum to 2
    assert symmetry_index(1.0, -1 + 2.1e-9) == pytest.approx(400 / 2.1e-9, rel=1e-6)


@pytest.mark.parametrize(("right", "left"), [(1.0, 0.0), (0.0, 0.0), (1.0, -1.0), (-1.0, 1.0)])
def test_ratios_are_undefined(right, left) -> None:
    for index in (symmetry_ratio, limb_symmetry_index, gait_asymmetry):
        assert np.isnan(index(right, left))


def test_logarithm_of_nothing_is_undefined() -> None:
    assert np.isnan(gait_asymmetry(0.0, 1.0))
    assert symmetry_ratio(0.0, 1.0) == 0


@pytest.mark.parametrize(
    ("right", "left"),
    [([], []), ([0.0, 0.0], [0.0, 0.0]), ([np.nan], [1.0]), ([np.nan, np.nan], [np.nan, 1.0])],
)
def test_normalised_index_is_undefined(right, left) -> None:
    assert np.isnan(normalised_symmetry_index(right, left))


def test_missing_in_missing_out_and_shapes() -> None:
    right = np.array([[1.0, np.nan], [3.0, 4.0]])
    left = np.array([[1.0, 2.0], [np.nan, 2.0]])
    for index in BY_PAIR:
        found = index(right, left)
        assert found.shape == (2, 2)
        assert np.isnan(found).tolist() == [[False, True], [True, False]]
    assert normalised_symmetry_index(right, left).tolist() == [0.0, 50.0]


def test_wrong_arguments() -> None:
    for index in (symmetry_index, symmetry_ratio, gait_asymmetry, normalised_symmetry_index):
        with pytest.raises(MetricError, match="right and left of one shape"):
            index([1.0, 2.0], [1.0])
    with pytest.raises(MetricError, match="involved and uninvolved of one shape"):
        limb_symmetry_index([1.0, 2.0], [1.0])
    with pytest.raises(MetricError, match="trials of each side on the last axis"):
        normalised_symmetry_index(1.0, 2.0)


def test_cards() -> None:
    from metrics import symmetry

    assert symmetry.symmetry_index(1.0, 3.0) == -100
    named = {
        "SI·Robinson": (-100.0, "%"),
        "SI·absolute": (100.0, "%"),
        "symmetry ratio": (1 / 3, "1"),
        "LSI": (100 / 3, "%"),
        "gait asymmetry·ln": (100 * math.log(3), "%"),
    }
    for name, (value, unit) in named.items():
        found = card(name)
        assert found(1.0, 3.0) == pytest.approx(value) and found.unit == unit
        assert found.direction == "neither" and found.needs == ()
    assert card("NSI·Queen")([1.0], [4.0]) == -75 and card("NSI·Queen").unit == "%"
