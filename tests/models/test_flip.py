"""What a network says of the mirrored picture comes back to where the picture has it."""

import numpy as np
import pytest

from capbench.models import decode, flip

PAIR = (1, 0, 2)  # points 0 and 1 are each other's mirror image


def peak(x, size, sigma):
    return np.exp(-0.5 * ((np.arange(size) - np.asarray(x)[..., None]) / sigma) ** 2)


def maps_at(points, size=(48, 64), sigma=2.0):
    points = np.asarray(points, dtype=float)[None]
    return (
        peak(points[..., 1], size[1], sigma)[..., :, None]
        * peak(points[..., 0], size[0], sigma)[..., None, :]
    )


def test_pictures_are_mirrored_left_to_right():
    batch = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    np.testing.assert_array_equal(flip.mirrored(batch)[0, 0], [[3, 2, 1, 0], [7, 6, 5, 4]])


@pytest.mark.truth("closed form")
def test_udp_maps_come_back_exactly_and_msra_maps_with_a_quarter_cell_left():
    """A crop of 192 pixels, a map of 48 cells; the mirror image of pixel x is pixel 191 - x."""
    pixels = np.array([[100.0, 80.0], [60.0, 90.0], [33.0, 200.0]])
    for cell, shift, left in ((47 / 191, False, 0.0), (0.25, True, 0.25), (0.25, False, -0.75)):
        there = np.stack([(191 - pixels[list(PAIR), 0]) * cell, pixels[list(PAIR), 1] / 4], axis=-1)
        back = flip.heatmaps_back(maps_at(there), PAIR, shift=shift)
        found = decode.heatmaps(back, decoding="udp").cells[0]
        np.testing.assert_allclose(found[:, 0] - pixels[:, 0] * cell, left, atol=1e-3)
        np.testing.assert_allclose(found[:, 1], pixels[:, 1] / 4, atol=1e-3)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("ratio", "shift", "left"), [(2, 0, 0.5), (2, 1, 0.0), (3, 2, 0.0), (1, 0, 0.0)])
def test_simcc_vectors_come_back_half_a_pixel_off_unless_shifted(ratio, shift, left):
    pixels = np.array([[100.0, 80.0], [60.0, 90.0], [33.0, 200.0]])
    x = peak((191 - pixels[list(PAIR), 0])[None] * ratio, 192 * ratio, 5.0)
    y = peak(pixels[list(PAIR), 1][None] * ratio, 256 * ratio, 5.0)
    found = decode.simcc(*flip.simcc_back(x, y, PAIR, shift=shift), refine=True).cells[0] / ratio
    np.testing.assert_allclose(found[:, 0] - pixels[:, 0], left, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], pixels[:, 1], atol=1e-6)


def test_points_come_back():
    back = flip.points_back(np.array([[[10.0, 1.0], [20.0, 2.0], [30.0, 3.0]]]), PAIR, width=95)
    np.testing.assert_array_equal(back, [[[75, 2], [85, 1], [65, 3]]])


def test_the_mean():
    one, other = {"a": np.array([1.0, 2.0])}, {"a": np.array([3.0, 6.0])}
    np.testing.assert_array_equal(flip.averaged(one, other)["a"], [2, 4])
