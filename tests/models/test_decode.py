"""Planted peaks are found where they were put."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capbench.models import decode
from capbench.models.card import Codec


def gaussians(centres, size, sigma, height=1.0):
    """(n, K, h, w) maps with a Gaussian at each of ``centres`` (n, K, 2), in cells."""
    w, h = size
    x, y = np.arange(w), np.arange(h)[:, None]
    cx, cy = centres[..., 0, None, None], centres[..., 1, None, None]
    return height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))


def planted(seed, size, margin, n=4, k=25):
    rng = np.random.default_rng(seed)
    return rng.uniform(margin, np.array(size) - 1 - margin, (n, k, 2))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("decoding", ["dark", "udp"])
@pytest.mark.parametrize(("size", "sigma", "kernel"), [((48, 64), 2.0, 11), ((72, 96), 3.0, 17)])
@pytest.mark.parametrize("height", [1.0, 0.3])
def test_dark_and_udp_find_a_gaussian_to_a_hundredth_of_a_cell(decoding, size, sigma, kernel, height):
    centres = planted(1, size, margin=8)
    found = decode.heatmaps(gaussians(centres, size, sigma, height), decoding=decoding, kernel=kernel)
    # 4 pixels of the crop a cell: 0.0125 cells are 0.05 px
    assert np.abs(found.cells - centres).max() < 0.0125
    assert np.abs(found.confidence / height - 1).max() < 0.07  # half a cell off the peak at worst


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("decoding", "reach"), [("argmax", 0.5), ("msra", 0.25)])
def test_what_whole_and_quarter_cells_reach(decoding, reach):
    centres = planted(2, (48, 64), margin=8, k=200)
    found = decode.heatmaps(gaussians(centres, (48, 64), 2.0), decoding=decoding)
    far = np.abs(found.cells - centres)
    assert far.max() <= reach + 1e-12
    assert far.max() > 0.9 * reach  # and no better
    assert far.mean() == pytest.approx(reach / 2, rel=0.05)


@pytest.mark.truth("brute force")
def test_the_blur_is_a_plain_convolution_with_nothing_beyond_the_border():
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(1, 2, 9, 13))
    taps = np.array([np.exp(-0.5 * ((i - 5) / 2.0) ** 2) for i in range(11)])  # 0.3 (5 - 1) + 0.8 = 2
    taps /= taps.sum()
    wanted = np.zeros_like(maps)
    for k in range(2):
        for y in range(9):
            for x in range(13):
                for j in range(-5, 6):
                    for i in range(-5, 6):
                        if 0 <= y + j < 9 and 0 <= x + i < 13:
                            wanted[0, k, y, x] += taps[j + 5] * taps[i + 5] * maps[0, k, y + j, x + i]
    wanted *= (maps.max(axis=(2, 3)) / wanted.max(axis=(2, 3)))[..., None, None]
    np.testing.assert_allclose(decode._blurred(maps, 11), wanted, rtol=1e-9)


@pytest.mark.truth("opencv")
def test_the_blur_is_opencv_s():
    import cv2

    rng = np.random.default_rng(4)
    maps = rng.random((1, 1, 64, 48)).astype(np.float32)
    padded = cv2.GaussianBlur(np.pad(maps[0, 0], 8), (17, 17), 0)[8:-8, 8:-8]
    padded *= maps.max() / padded.max()
    np.testing.assert_allclose(decode._blurred(maps, 17)[0, 0], padded, atol=2e-6)


def test_near_the_border_udp_still_answers_and_dark_keeps_the_cell():
    centres = np.array([[[0.2, 30.0], [24.0, 63.0], [47.4, 0.0]]])
    maps = gaussians(centres, (48, 64), 2.0)
    for decoding in ("dark", "udp", "msra"):
        found = decode.heatmaps(maps, decoding=decoding)
        assert np.abs(found.cells - centres).max() < 1.5, decoding
    np.testing.assert_array_equal(decode.heatmaps(maps, decoding="dark").cells[0, 0], [0, 30])


@pytest.mark.parametrize("decoding", ["argmax", "msra", "dark", "udp"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_gives_a_missing_point_and_spoils_no_other(decoding, bad):
    centres = planted(5, (24, 32), margin=6, n=2, k=3)
    maps = gaussians(centres, (24, 32), 2.0)
    clean = decode.heatmaps(maps, decoding=decoding, covariance=True)
    maps[1, 2, 5, 6] = bad
    found = decode.heatmaps(maps, decoding=decoding, covariance=True)
    assert np.isnan(found.cells[1, 2]).all() and found.confidence[1, 2] == 0
    assert np.isnan(found.covariance[1, 2]).all()
    keep = np.ones((2, 3), dtype=bool)
    keep[1, 2] = False
    np.testing.assert_array_equal(found.cells[keep], clean.cells[keep])
    np.testing.assert_array_equal(found.covariance[keep], clean.covariance[keep])


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_a_positive_value_gives_a_missing_point(value):
    found = decode.heatmaps(np.full((1, 1, 8, 8), value), decoding="udp", covariance=True)
    assert np.isnan(found.cells).all() and (found.confidence == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["argmax", "msra", "dark", "udp"]), st.integers(1, 7))
def test_whatever_the_map_the_answer_is_whole_and_near_it(seed, decoding, side):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, 3, side, side + 2)) * 10.0 ** rng.integers(-20, 20, (2, 3, 1, 1))
    maps[rng.random(maps.shape) < 0.002] = np.nan
    found = decode.heatmaps(maps, decoding=decoding, covariance=True)
    missing = np.isnan(found.cells)
    assert (missing.all(axis=-1) == missing.any(axis=-1)).all()
    assert ((found.confidence > 0) == ~missing.any(axis=-1)).all()
    assert np.isfinite(found.covariance).all(axis=(-1, -2))[~missing.any(axis=-1)].all()
    assert (np.linalg.eigvalsh(found.covariance[~missing.any(axis=-1)]) > 0).all()
    assert np.nanmax(np.abs(found.cells), initial=0) <= side + 2 + decode.FARTHEST


@pytest.mark.truth("closed form")
def test_the_spread_of_a_gaussian_is_its_covariance():
    """A slanted Gaussian: covariance R diag(9, 4) R' with R a turn of 30 degrees."""
    turn = np.pi / 6
    r = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wanted = r @ np.diag([9.0, 4.0]) @ r.T
    away = np.stack(np.meshgrid(np.arange(48) - 23.3, np.arange(64) - 30.7), axis=-1)
    maps = np.exp(-0.5 * np.einsum("...i,ij,...j", away, np.linalg.inv(wanted), away))[None, None]
    found = decode.heatmaps(maps, decoding="udp", covariance=True)
    np.testing.assert_allclose(found.covariance[0, 0], wanted, atol=0.1)
    soft = decode.soft_argmax(maps)
    np.testing.assert_allclose(soft.cells[0, 0], [23.3, 30.7], atol=0.02)


@pytest.mark.truth("closed form")
def test_two_equal_peaks_spread_by_half_their_distance_squared():
    """Means at -10 and +10 with variance 4 each: 4 + 100 along x."""
    maps = gaussians(np.array([[[14.0, 20.0], [34.0, 20.0]]]), (48, 40), 2.0).sum(axis=1, keepdims=True)
    spread = decode.heatmaps(maps, decoding="dark", covariance=True).covariance[0, 0]
    # the cut's correction is for one Gaussian, so it overrates the distance between the two
    kept = 1 - 0.05 * -np.log(0.05) / 0.95
    assert spread[0, 0] == pytest.approx(4 + 100 / kept, rel=0.02)
    assert spread[1, 1] == pytest.approx(4, rel=0.05)


@pytest.mark.truth("closed form")
def test_simcc_finds_bins_and_between_them():
    rng = np.random.default_rng(6)
    x, y = rng.uniform(20, 360, (3, 17)), rng.uniform(20, 490, (3, 17))
    vx = np.exp(-0.5 * ((np.arange(384) - x[..., None]) / 4.9) ** 2)
    vy = 0.5 * np.exp(-0.5 * ((np.arange(512) - y[..., None]) / 5.66) ** 2)
    found = decode.simcc(vx, vy, covariance=True)
    np.testing.assert_array_equal(found.cells, np.stack([np.rint(x), np.rint(y)], axis=-1))
    np.testing.assert_allclose(found.confidence, 0.5, rtol=0.01)
    np.testing.assert_allclose(found.covariance[..., 0, 0], 4.9**2, rtol=0.04)
    np.testing.assert_allclose(found.covariance[..., 1, 1], 5.66**2, rtol=0.04)
    fine = decode.simcc(vx, vy, refine=True)
    np.testing.assert_allclose(fine.cells, np.stack([x, y], axis=-1), atol=1e-9)


def test_simcc_misses_what_is_not_finite_or_not_positive_and_stands_at_the_ends():
    x, y = np.zeros((1, 4, 8)), np.zeros((1, 4, 8))
    x[0, 0, 3], y[0, 0, 4] = 1, 1
    x[0, 1, 3], y[0, 1, 4] = np.nan, 1
    x[0, 2, 3], y[0, 2, :] = 1, -1
    x[0, 3, 0], y[0, 3, 7] = 2, 3
    found = decode.simcc(x, y, refine=True, covariance=True)
    np.testing.assert_array_equal(np.isnan(found.cells[0, :, 0]), [False, True, True, False])
    np.testing.assert_array_equal(found.confidence[0], [1, 0, 0, 2])
    np.testing.assert_array_equal(found.cells[0, 3], [0, 7])


def test_activations():
    values = np.array([[[[0.0, 1000.0], [-1000.0, 0.0]]]])
    np.testing.assert_array_equal(decode.activate(values, "sigmoid", axes=(2, 3)), [[[[0.5, 1], [0, 0.5]]]])
    np.testing.assert_array_equal(decode.activate(values, "softmax", axes=(2, 3)), [[[[0, 1], [0, 0]]]])
    assert decode.activate(values, "none", axes=(2, 3)) is values


@pytest.mark.truth("closed form")
def test_a_cell_in_pixels_of_the_crop():
    assert decode.cell_size((192, 256), (48, 64), codec=Codec(kind="heatmap")) == (4, 4)
    # UDP: the first and the last pixel are those of the map
    x, y = decode.cell_size((192, 256), (48, 64), codec=Codec(kind="heatmap", decoding="udp"))
    assert (x * 47, y * 63) == pytest.approx((191, 255))


@pytest.mark.parametrize("decoding", ["argmax", "msra", "dark", "udp"])
def test_one_map_has_the_same_bytes_alone_and_among_others(decoding):
    rng = np.random.default_rng(7)
    maps = rng.random((5, 17, 64, 48)).astype(np.float32) ** 8
    many = decode.heatmaps(maps, decoding=decoding, covariance=True)
    for i in range(5):
        alone = decode.heatmaps(maps[i : i + 1], decoding=decoding, covariance=True)
        for one, all_ in zip(alone, many, strict=True):
            assert one.tobytes() == all_[i : i + 1].tobytes()


@pytest.mark.truth("a map laid out by hand")
@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_a_softmaxed_map_counts_against_the_gaussian_that_was_asked_for(sigma) -> None:
    y, x = np.mgrid[:41, :41] - 20.0
    perfect = np.exp(-0.5 * (x**2 + y**2) / sigma**2)
    soft = Codec(kind="heatmap", activation="softmax", sigma=sigma)
    assert decode.highest(soft) == pytest.approx(perfect.max() / perfect.sum(), rel=1e-5)
    along = Codec(kind="simcc", activation="softmax", sigma=sigma)
    assert decode.highest(along) == pytest.approx(perfect[20].max() / perfect[20].sum(), rel=1e-5)


def test_other_maps_count_as_they_are() -> None:
    for codec in (
        Codec(kind="heatmap"),
        Codec(kind="heatmap", activation="softmax"),
        Codec(kind="simcc", sigma=3.0),
    ):
        assert decode.highest(codec) == 1.0
