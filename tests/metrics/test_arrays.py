import math
import warnings

import numpy as np
import pytest

from metrics.arrays import MM, MetricError, alike, floats, mean_present, names_of, positive

NAN = math.nan


def test_floats_checks_axes_and_numbers() -> None:
    assert floats("x", [1, 2]).dtype == np.float64
    assert floats("x", [[1, 2, 3]], ndim=2, last=3).shape == (1, 3)
    with pytest.raises(MetricError, match=r"Expected x with 2 axes, got shape \(2,\)"):
        floats("x", [1, 2], ndim=2)
    with pytest.raises(MetricError, match=r"Expected 3 entries on the last axis of x, got shape \(2,\)"):
        floats("x", [1, 2], last=3)
    with pytest.raises(MetricError, match=r"3 entries on the last axis of x, got shape \(\)"):
        floats("x", 3.0, last=3)
    with pytest.raises(MetricError, match="Expected x as numbers, got str"):
        floats("x", "knee")
    with pytest.raises(MetricError, match="Expected x as numbers, got dict"):
        floats("x", {})


def test_alike_names_the_two_that_differ() -> None:
    a, b = alike(a=[1], b=[2])
    assert (a.dtype, b.tolist()) == (np.float64, [2.0])
    with pytest.raises(MetricError, match=r"Expected a and c of one shape, got \(1,\) and \(2,\)"):
        alike(a=[1], b=[2], c=[1, 2])


@pytest.mark.parametrize("bad", [0, -1, NAN, math.inf])
def test_positive(bad) -> None:
    with pytest.raises(MetricError, match="Expected rate above zero"):
        positive("rate", bad)
    assert positive("rate", 1e-300) == 1e-300


@pytest.mark.truth("closed form")
def test_mean_present_skips_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_present(np.array([1.0, NAN, 4.0])) == 2.5
        assert isinstance(mean_present(np.array([1.0])), float)
        assert math.isnan(mean_present(np.array([NAN])))
        assert math.isnan(mean_present(np.array([])))
        block = np.array([[[1.0, NAN], [3.0, NAN]], [[5.0, 2.0], [NAN, NAN]]])
        np.testing.assert_array_equal(mean_present(block, axis=(0, 1)), [3.0, 2.0])
        np.testing.assert_array_equal(mean_present(block, axis=1), [[2.0, NAN], [5.0, 2.0]])


def test_names_of() -> None:
    assert names_of("c", ["a", "b"], 2) == ("a", "b")
    with pytest.raises(MetricError, match="Expected 2 different names of c, got a, a"):
        names_of("c", ["a", "a"], 2)
    with pytest.raises(MetricError, match="Expected 1 different names of c, got none"):
        names_of("c", [], 1)


def test_a_metre_has_a_thousand_millimetres() -> None:
    assert MM == 1000.0
