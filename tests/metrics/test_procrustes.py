"""Alignments that are planted, and slow ones to hold the fast one to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from metrics import procrustes as module
from metrics.arrays import MetricError
from metrics.procrustes import aligned_errors, point_pair, procrustes

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


def turn(seed: int) -> np.ndarray:
    return Rotation.random(rng=np.random.default_rng(seed)).as_matrix()


def cloud(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.4, size=(*shape, 3))


def axes(a: float, b: float, c: float) -> np.ndarray:
    """Six points on the axes: their moments are 2a², 2b², 2c²."""
    arms = np.diag([float(a), b, c])
    return np.concatenate([arms, -arms])


def literal(x: np.ndarray, y: np.ndarray, scale: bool) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """One frame by singular values, as Umeyama (1991) writes it."""
    both = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
    mx, my = x[both].mean(0), y[both].mean(0)
    u, d, vt = np.linalg.svd((y[both] - my).T @ (x[both] - mx))
    s = np.array([1, 1, 1.0 if np.linalg.det(u @ vt) > 0 else -1.0])
    rotation = u @ np.diag(s) @ vt
    factor = float((d * s).sum() / ((x[both] - mx) ** 2).sum()) if scale else 1.0
    shift = my - factor * rotation @ mx
    return factor * x @ rotation.T + shift, factor, rotation, shift


NOISES = [0.0, 0.01, 0.1, 1.0]
FLAT = np.array([1.0, 1.0, 0.0])
THIN = np.array([1.0, 0.01, 0.001])
SHAPES = {
    "body": (cloud(0, 25, 17), 0.05),
    "independent": (cloud(1, 25, 17), 1.0),
    "four points": (cloud(2, 25, 4), 0.2),
    "triangle": (cloud(3, 25, 3), 0.2),
    "flat": (cloud(4, 25, 9) * FLAT, 0.0),
    "thin": (cloud(5, 25, 9) * THIN, 1e-4),
    "small": (cloud(6, 25, 9) * 1e-5, 1e-7),
    "large": (cloud(7, 25, 9) * 1e5, 1e3),
}


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_each_frame_as_its_singular_values_say(name, mirror, scale):
    y, noise = SHAPES[name]
    x = 1.7 * (y + noise * cloud(9, *y.shape[:2])) @ turn(1).T + [1, -2, 0.5]
    if mirror:
        x = x * [-1, 1, 1]
    fit = procrustes(x, y, scale=scale)
    size = np.abs(y).max()
    for k in range(len(y)):
        aligned, factor, rotation, shift = literal(x[k], y[k], scale)
        np.testing.assert_allclose(fit.aligned[k], aligned, rtol=0, atol=2e-9 * size)
        assert fit.scale[k] == pytest.approx(factor, rel=1e-9)
        if name not in ("flat", "thin", "triangle") or not mirror:
            np.testing.assert_allclose(fit.rotation[k], rotation, rtol=0, atol=2e-9)
            np.testing.assert_allclose(fit.translation[k], shift, rtol=0, atol=1e-8 * max(1, size))


@pytest.mark.truth("scipy Rotation.align_vectors")
@pytest.mark.parametrize("seed", range(6))
def test_rotation_as_wahba(seed):
    x, y = cloud(seed, 12), cloud(seed + 50, 12)
    wanted = Rotation.align_vectors(y - y.mean(0), x - x.mean(0))[0].as_matrix()
    assert procrustes(x, y).rotation == pytest.approx(wanted, abs=1e-9)


@pytest.mark.truth("scipy.spatial.procrustes")
@pytest.mark.parametrize("seed", range(6))
def test_disparity_as_scipy(seed):
    y = cloud(seed, 12)
    x = 3 * (y + 0.1 * cloud(seed + 50, 12)) @ turn(seed).T + 1
    disparity = scipy_procrustes(y, x)[2]
    spread = ((y - y.mean(0)) ** 2).sum()
    assert ((procrustes(x, y).aligned - y) ** 2).sum() / spread == pytest.approx(disparity, rel=1e-9)


@pytest.mark.truth("planted")
@pytest.mark.parametrize("scale", [1e-3, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_planted_similarity_is_found(seed, scale):
    x, rotation, shift = cloud(seed, 5, 8), turn(seed), np.array([3.0, -1, 0.2])
    fit = procrustes(x, scale * x @ rotation.T + shift)
    assert fit.scale == pytest.approx(np.full(5, scale), rel=1e-9)
    assert fit.rotation == pytest.approx(np.tile(rotation, (5, 1, 1)), abs=1e-9)
    assert fit.translation == pytest.approx(np.tile(shift, (5, 1)), abs=1e-9)
    assert fit.aligned == pytest.approx(scale * x @ rotation.T + shift, abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("a", "b", "c"), [(3, 2, 1), (1, 1, 0.5), (1, 0.8, 0.1), (5, 1, 0.9), (1, 0.3, 0.28)]
)
def test_mirror_image_gives_up_the_shortest_axis(a, b, c):
    """The best proper rotation turns it so that only the shortest axis stays flipped."""
    y = axes(a, b, c)
    fit = procrustes(y * [-1, 1, 1], y)
    factor = (a * a + b * b - c * c) / (a * a + b * b + c * c)
    assert fit.scale == pytest.approx(factor, rel=1e-9)
    assert fit.aligned == pytest.approx(factor * y * [1, 1, -1], abs=1e-9)
    assert np.linalg.det(fit.rotation) == pytest.approx(1, abs=1e-9)
    assert procrustes(y * [-1, 1, 1], y, scale=False).aligned == pytest.approx(y * [1, 1, -1], abs=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("thin", [1.0, 0.3, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-5])
def test_needle_of_any_thinness(thin):
    """Moments 1, thin², thin²/4: from where the closed form holds to where singular values take over."""
    y = axes(1, thin, thin / 2)
    rotation = turn(4)
    fit = procrustes(y @ rotation, y)
    assert fit.rotation == pytest.approx(rotation, abs=1e-15 / thin**2 + 1e-11)
    assert fit.aligned == pytest.approx(y, abs=1e-11)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("ratio", [0.9, 0.97, 0.99, 0.999, 1.0])
def test_mirror_near_its_tie(ratio):
    """As two axes become alike, it matters less which stays flipped, but the scale is always known."""
    y = axes(1, 1, ratio)
    fit = procrustes(y * [1, 1, -1], y)
    assert fit.scale == pytest.approx((2 - ratio**2) / (2 + ratio**2), rel=1e-9)
    assert np.linalg.det(fit.rotation) == pytest.approx(1, abs=1e-9)
    assert fit.rotation @ fit.rotation.T == pytest.approx(np.eye(3), abs=1e-9)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_map_is_better(seed, scale):
    x, y = cloud(seed, 7), cloud(seed + 20, 7)
    fit = procrustes(x, y, scale=scale)
    best = ((fit.aligned - y) ** 2).sum()
    rng = np.random.default_rng(seed)
    for _ in range(40):
        wiggle = Rotation.from_rotvec(rng.normal(scale=0.05, size=3)).as_matrix()
        factor = fit.scale * (1 + rng.normal(scale=0.05)) if scale else 1.0
        other = factor * x @ (wiggle @ fit.rotation).T + fit.translation + rng.normal(scale=0.01, size=3)
        assert ((other - y) ** 2).sum() > best


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_errors_do_not_see_how_the_prediction_is_put(seed):
    x, y = cloud(seed, 6, 9), cloud(seed + 20, 6, 9)
    wanted = aligned_errors(x, y, scale=True)
    moved = 2.5 * x @ turn(seed).T + [1, 2, 3]
    assert aligned_errors(moved, y, scale=True) == pytest.approx(wanted, rel=1e-9)
    assert aligned_errors(moved / 2.5, y, scale=False) == pytest.approx(
        aligned_errors(x, y, scale=False), rel=1e-9
    )
    order = np.random.default_rng(seed).permutation(9)
    assert aligned_errors(x[:, order], y[:, order], scale=True) == pytest.approx(wanted[:, order], rel=1e-9)
    assert aligned_errors(x * [1, 1, -1], y * [1, 1, -1], scale=True) == pytest.approx(wanted, rel=1e-9)
    assert aligned_errors(x, 3 * y, scale=True) == pytest.approx(3 * wanted, rel=1e-9)


def test_errors_are_the_distances_of_the_aligned_points():
    x, y = cloud(1, 4, 5, 7), cloud(2, 4, 5, 7)
    for scale in (True, False):
        wanted = 1000 * np.linalg.norm(procrustes(x, y, scale=scale).aligned - y, axis=-1)
        assert aligned_errors(x, y, scale=scale) == pytest.approx(wanted, rel=1e-9)
    assert aligned_errors(x, y, scale=True).shape == (4, 5, 7)


def test_scale_is_on_unless_it_is_turned_off():
    x = cloud(1, 5)
    assert procrustes(x, 2 * x).scale == pytest.approx(2)
    assert procrustes(x, 2 * x, scale=False).scale == 1


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("side", ["predicted", "reference", "both"])
def test_missing_points_are_left_out_of_the_fit(side):
    x, y = cloud(1, 3, 8), cloud(2, 3, 8)
    holes_x, holes_y = x.copy(), y.copy()
    if side in ("predicted", "both"):
        holes_x[1, 2] = NAN
    if side in ("reference", "both"):
        holes_y[1, 5, 1] = NAN
    keep = [k for k in range(8) if not np.isnan(holes_x[1, k] + holes_y[1, k]).any()]
    fit = procrustes(holes_x, holes_y)
    alone = procrustes(x[1, keep], y[1, keep])
    assert fit.scale[1] == pytest.approx(alone.scale, rel=1e-9)
    assert fit.rotation[1] == pytest.approx(alone.rotation, abs=1e-9)
    # applied to all that was predicted, even where the reference has nothing to hold it to
    there = ~np.isnan(holes_x[1]).any(axis=1)
    assert fit.aligned[1, there] == pytest.approx(
        (alone.scale * x[1] @ alone.rotation.T + alone.translation)[there]
    )
    assert np.isnan(fit.aligned[1, ~there]).all()
    assert fit.scale[[0, 2]] == pytest.approx(procrustes(x, y).scale[[0, 2]], rel=1e-12)
    errors = aligned_errors(holes_x, holes_y, scale=True)
    assert np.flatnonzero(~np.isnan(errors[1])).tolist() == keep
    assert errors[1, keep] == pytest.approx(aligned_errors(x[1, keep], y[1, keep], scale=True), rel=1e-9)


@pytest.mark.parametrize("common", [0, 1, 2])
def test_fewer_than_three_common_points_say_nothing(common):
    x, y = cloud(1, 2, 5), cloud(2, 2, 5)
    x[0, common:] = NAN
    fit = procrustes(x, y)
    for part in fit:
        assert np.isnan(part[0]).all()
        assert not np.isnan(part[1]).any()
    assert np.isnan(aligned_errors(x, y, scale=True)[0]).all()
    assert np.isnan(procrustes(x, y, scale=False).scale[0])


def test_three_common_points_are_enough():
    x, y = cloud(1, 5), cloud(2, 5)
    x[3:] = NAN
    assert not np.isnan(procrustes(x, y).aligned[:3]).any()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("scale", [True, False])
def test_collapsed_prediction_lies_on_the_centroid(scale):
    y = 1.0 + axes(3, 2, 1)
    fit = procrustes(np.full_like(y, 0.25), y, scale=scale)
    assert fit.aligned == pytest.approx(np.ones_like(y), abs=1e-12)
    assert fit.scale == (0 if scale else 1)
    assert np.linalg.det(fit.rotation) == pytest.approx(1)
    wanted = [3000, 2000, 1000] * 2
    assert aligned_errors(np.full_like(y, 0.25), y, scale=scale) == pytest.approx(wanted)


@pytest.mark.truth("closed form")
def test_collapsed_reference_draws_the_prediction_together():
    fit = procrustes(axes(3, 2, 1), np.full((6, 3), 0.5))
    assert fit.scale == pytest.approx(0, abs=1e-12)
    assert fit.aligned == pytest.approx(np.full((6, 3), 0.5))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("seed", range(4))
def test_points_on_a_line_are_laid_along_it(seed):
    """(0, 1, 2, 5) on one line onto (0, 2, 4, 10) on another: fits exactly, by one of many rotations."""
    spots = np.array([[0.0], [1], [2], [5]])
    one, other = turn(seed)[0], turn(seed + 10)[0]
    fit = procrustes(spots * one, 2 * spots * other + 1)
    assert fit.aligned == pytest.approx(2 * spots * other + 1, abs=1e-9)
    assert fit.scale == pytest.approx(2)
    assert fit.rotation @ one == pytest.approx(other, abs=1e-9)
    assert np.linalg.det(fit.rotation) == pytest.approx(1)


@pytest.mark.parametrize("points", [3, 40, 600])
def test_long_recordings_are_worked_off_in_pieces(points, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 60)
    x, y = cloud(1, 35, points), cloud(2, 35, points)
    x[20, :2] = NAN
    whole = procrustes(x, y)
    for k in (0, 15, 16, 19, 20, 31, 32, 34):
        alone = procrustes(x[k], y[k])
        for one, many in zip(alone, whole, strict=True):
            np.testing.assert_allclose(many[k], one, rtol=1e-9, atol=1e-9)
    errors = aligned_errors(x, y, scale=True)
    wanted = 1000 * np.linalg.norm(whole.aligned - y, axis=-1)
    np.testing.assert_allclose(errors, wanted, rtol=1e-9)


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (0,), (2, 0)])
def test_leading_axes_are_free(lead):
    fit = procrustes(cloud(1, *lead, 5), cloud(2, *lead, 5))
    assert fit.aligned.shape == (*lead, 5, 3)
    assert fit.scale.shape == lead
    assert fit.rotation.shape == (*lead, 3, 3)
    assert fit.translation.shape == (*lead, 3)
    assert aligned_errors(cloud(1, *lead, 5), cloud(2, *lead, 5), scale=True).shape == (*lead, 5)


def test_no_points_at_all():
    assert np.isnan(procrustes(np.empty((4, 0, 3)), np.empty((4, 0, 3))).scale).all()


def test_what_goes_in_stays_as_it_was():
    x, y = cloud(1, 4, 5), cloud(2, 4, 5)
    x[0, 0] = NAN
    before = x.copy(), y.copy()
    procrustes(x, y)
    aligned_errors(x, y, scale=True)
    assert np.array_equal(x, before[0], equal_nan=True)
    assert np.array_equal(y, before[1])


def test_wrong_points_are_refused():
    with pytest.raises(MetricError, match=r"predicted and reference of one shape, got \(4, 3\) and \(5, 3\)"):
        procrustes(np.zeros((4, 3)), np.zeros((5, 3)))
    with pytest.raises(MetricError, match=r"3 entries on the last axis of predicted, got shape \(4, 2\)"):
        procrustes(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(MetricError, match=r"points shaped \(…, point, 3\), got shape \(3,\)"):
        point_pair(np.zeros(3), np.zeros(3))
    for name in ("predicted", "reference"):
        sides = {"predicted": np.zeros((2, 4, 3)), "reference": np.zeros((2, 4, 3))}
        for bad in (np.inf, -np.inf):
            sides[name][1, 2, 0] = bad
            sides[name][0, 0, 0] = NAN
            with pytest.raises(
                MetricError, match=f"Expected {name} finite, or NaN where missing, got an inf"
            ):
                procrustes(**sides)


def test_nan_is_no_infinity():
    x, y = point_pair([[NAN, 0, 0]], [[1e308, 1e308, 1e308]])
    assert np.isnan(x[0, 0])
    assert y[0, 0] == 1e308
