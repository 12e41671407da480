"""Joint functions against numpy's polynomials and OpenSim's own splines."""

import numpy as np
import pytest

from capbench.biomech.functions import (
    IDENTITY,
    Polynomial,
    Spline,
    constant,
    piecewise_linear,
    simm_spline,
)
from cohorts import CapbenchError

rng = np.random.default_rng(3)
KNOTS = {n: (np.cumsum(rng.uniform(0.1, 1, n)) - 2, rng.normal(size=n)) for n in (2, 3, 4, 5, 13)}


def opensims(kind: str, x, y, at) -> np.ndarray:
    """(3, N) value, first and second derivative, as OpenSim computes them."""
    import opensim

    opensim.Logger.setLevelString("error")
    opensim.Logger.removeFileSink()
    function = getattr(opensim, kind)()
    for a, b in zip(x, y, strict=True):
        function.addPoint(float(a), float(b))
    once, twice = opensim.StdVectorInt(), opensim.StdVectorInt()
    once.append(0)
    twice.append(0)
    twice.append(0)
    rows = []
    for u in at:
        u = opensim.Vector(1, float(u))
        rows.append(
            [function.calcValue(u), function.calcDerivative(once, u), function.calcDerivative(twice, u)]
        )
    return np.array(rows).T


@pytest.mark.parametrize(
    "coefficients", [[3.0], [2.0, -1.0], [0.0, 0.0, 4.0, 1.0], [1.5, -2.0, 0.0, 0.3, 7.0]]
)
def test_polynomial_equals_numpys(coefficients) -> None:
    x = np.linspace(-3, 3, 41)
    numpys = np.polynomial.Polynomial(coefficients[::-1])
    found = Polynomial(np.array(coefficients)).derivatives(x)
    for order, values in enumerate(found):
        expected = (numpys.deriv(order) if order else numpys)(x)
        np.testing.assert_allclose(values, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(Polynomial(np.array(coefficients))(x), found[0])


def test_polynomial_derivatives_at_a_point() -> None:
    # 2 x³ - x + 5 at x = 2: 19; 6 x² - 1 = 23; 12 x = 24
    assert [float(v[0]) for v in Polynomial([2, 0, -1, 5]).derivatives(np.array([2.0]))] == [19, 23, 24]


def test_what_a_polynomial_is() -> None:
    assert IDENTITY.is_identity and Polynomial([0.0, 1.0, 0.0]).is_identity
    assert not any(Polynomial(c).is_identity for c in ([1.0, 1e-300], [2.0, 0.0], [1.0], [1.0, 0.0, 0.0]))
    assert constant(3.0).is_constant and Polynomial([0.0, 0.0, 2.0]).is_constant
    assert not Polynomial([1e-300, 2.0]).is_constant


@pytest.mark.parametrize("n", KNOTS)
@pytest.mark.parametrize("kind", ["SimmSpline", "PiecewiseLinearFunction"])
def test_splines_equal_opensims(kind, n) -> None:
    x, y = KNOTS[n]
    inside = np.linspace(x[0], x[-1], 50)[1:-1]
    outside = np.array([x[0] - 5, x[0] - 1e-3, x[-1] + 1e-3, x[-1] + 5])
    at = np.concatenate([inside, outside, x])
    spline = (simm_spline if kind == "SimmSpline" else piecewise_linear)(x, y)
    found, expected = np.array(spline.derivatives(at)), opensims(kind, x, y, at)
    if kind == "PiecewiseLinearFunction":  # at its kinks the slope is either side's
        found, expected = found[:, :-n], expected[:, :-n]
        np.testing.assert_allclose(spline(x), y, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_three_knots_by_hand() -> None:
    """Third derivative 0 at both ends, so both pieces are the parabola through the points: x²."""
    values, slopes, bends = simm_spline([-1, 0, 2], [1, 0, 4]).derivatives(np.array([-1, 0.5, 1, 2, 3, -2]))
    np.testing.assert_allclose(values, [1, 0.25, 1, 4, 8, 3], atol=1e-15)
    np.testing.assert_allclose(slopes, [-2, 1, 2, 4, 4, -2], atol=1e-15)
    np.testing.assert_allclose(bends, [2, 2, 2, 2, 0, 0], atol=1e-15)


def test_a_cubic_passes_through_unchanged() -> None:
    x = np.array([-2.0, -1.0, 0.5, 1.0, 3.0])
    at = np.linspace(-2, 3, 33)
    cubic = np.polynomial.Polynomial([1, -2, 0.5, 0.3])
    found = simm_spline(x, cubic(x)).derivatives(at)
    for order, values in enumerate(found):
        np.testing.assert_allclose(values, (cubic.deriv(order) if order else cubic)(at), atol=1e-12)


@pytest.mark.parametrize("n", KNOTS)
def test_spline_derivatives_are_those_of_its_values(n) -> None:
    x, y = KNOTS[n]
    spline, step = simm_spline(x, y), 1e-5
    at = np.setdiff1d(np.linspace(x[0] - 1, x[-1] + 1, 60), x)
    at = at[np.abs(at[:, None] - x).min(axis=1) > 2 * step]
    _, slope, bend = spline.derivatives(at)
    np.testing.assert_allclose((spline(at + step) - spline(at - step)) / (2 * step), slope, atol=1e-6)
    sides = [spline.derivatives(at + s)[1] for s in (step, -step)]
    np.testing.assert_allclose((sides[0] - sides[1]) / (2 * step), bend, atol=1e-5)


def test_scaled() -> None:
    x = np.linspace(-3, 6, 20)
    for function in (Polynomial([1.0, 2.0, 3.0]), simm_spline(*KNOTS[5]), piecewise_linear(*KNOTS[4])):
        for before, after in zip(function.derivatives(x), function.scaled(-2.5).derivatives(x), strict=True):
            np.testing.assert_allclose(after, -2.5 * before, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("make", [simm_spline, piecewise_linear])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([0], [1], "two or more increasing knots"),
        ([], [], "two or more increasing knots"),
        ([0, 1], [1], "got 2 and 1"),
        ([0, 1, 1], [1, 2, 3], "increasing"),
        ([1, 0], [1, 2], "increasing"),
        ([0, np.nan], [1, 2], "increasing"),
        ([0, 1], [1, np.nan], "finite knots"),
        ([0, np.inf], [1, 2], "finite knots"),
        ([0, 5e-324, 1], [0, 1, 2], "too steep"),
        ([0, 1, 2], [1e308, -1e308, 1e308], "too steep or too large"),
    ],
)
def test_bad_knots_are_refused(make, x, y, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        make(x, y)


@pytest.mark.parametrize("coefficients", [[np.nan], [1, np.inf], [[1.0, 2.0]]])
def test_bad_coefficients_are_refused(coefficients) -> None:
    with pytest.raises(CapbenchError, match="finite coefficients"):
        Polynomial(np.array(coefficients, dtype=float))


def test_functions_compare_by_value_and_stay_as_they_are() -> None:
    spline = simm_spline(*KNOTS[4])
    assert spline == simm_spline(*KNOTS[4]) != simm_spline(*KNOTS[5])
    assert isinstance(spline, Spline)
    with pytest.raises(ValueError, match="read-only"):
        spline.b[0] = 1
