"""Crops lie where they should, and every point comes back to where it was."""

import numpy as np
import pytest

from capbench.models import crop
from cohorts.errors import CapbenchError

BOXES = np.array([[100.0, 50.0, 300.0, 450.0], [0.5, 0.25, 640.0, 90.0], [-50.0, -80.0, 60.0, 120.0]])


@pytest.mark.parametrize("geometry", ["msra", "udp"])
@pytest.mark.parametrize("size", [(192, 256), (288, 384), (256, 256)])
def test_there_and_back_is_exact(geometry, size):
    crops = crop.plan(BOXES, size, geometry=geometry)
    points = np.random.default_rng(1).uniform(-100, 700, (3, 50, 2))
    np.testing.assert_allclose(crops.to_picture(crops.to_crop(points)), points, atol=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("size", [(192, 256), (288, 384)])
def test_the_padded_box_reaches_from_edge_to_edge(size):
    """The centre and both ends of the padded, grown box, in each geometry's own words."""
    w, h = size
    for box in BOXES:
        wide, high = (box[2:] - box[:2]) * 1.25
        wide, high = max(wide, high * w / h), max(high, wide * h / w)
        ends = np.array(
            [(box[:2] + box[2:]) / 2 - [wide / 2, high / 2], (box[:2] + box[2:]) / 2 + [wide / 2, high / 2]]
        )
        msra = crop.plan(box[None], size, geometry="msra").to_crop(ends[None])[0]
        np.testing.assert_allclose(msra, [[0, 0], [w, h]], atol=1e-9)
        udp = crop.plan(box[None], size, geometry="udp").to_crop(ends[None])[0]
        np.testing.assert_allclose(udp, [[0, 0], [w - 1, h - 1]], atol=1e-9)


def test_padding_one_of_a_box_of_the_crop_s_size_leaves_the_picture_alone():
    picture = np.random.default_rng(2).integers(0, 255, (256, 192, 3)).astype(np.uint8)
    msra = crop.plan(np.array([[0.0, 0, 192, 256]]), (192, 256), padding=1.0)
    np.testing.assert_array_equal(crop.cut([picture], msra)[0], picture)
    udp = crop.plan(np.array([[0.0, 0, 255, 255]]), (256, 256), padding=1.0, geometry="udp")
    square = np.concatenate([picture, picture[:, :64]], axis=1)
    np.testing.assert_array_equal(crop.cut([square], udp)[0], square)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("geometry", ["msra", "udp"])
@pytest.mark.parametrize("person", [(180, 330), (64, 120), (500, 900)])
def test_what_is_drawn_at_a_pixel_is_found_there_through_the_crop(geometry, person):
    """A soft blob drawn at a sub-pixel place; its centre of mass in the crop, taken back, is that place."""
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[0:1000, 0:700]
    for _ in range(4):
        spot = rng.uniform([250, 350], [450, 600])
        wide = person[0] / 12
        glow = 250 * np.exp(-((xs - spot[0]) ** 2 + (ys - spot[1]) ** 2) / (2 * wide**2))
        picture = np.repeat(np.rint(glow).astype(np.uint8)[..., None], 3, axis=2)
        middle = spot + rng.uniform(-0.2, 0.2, 2) * person
        box = np.concatenate([middle - np.array(person) / 2, middle + np.array(person) / 2])[None]
        crops = crop.plan(box, (192, 256), geometry=geometry)
        seen = crop.cut([picture], crops)[0, ..., 0].astype(float)
        seen[seen < 12] = 0
        cy, cx = np.mgrid[0:256, 0:192]
        mass = np.array([(seen * cx).sum(), (seen * cy).sum()]) / seen.sum()
        back = crops.to_picture(mass[None, None])[0, 0]
        assert np.abs(back - spot).max() * crops.scale[0, 0] < 0.05  # pixels of the crop


def test_boxes_that_hold_nobody_are_told_and_cost_nothing():
    boxes = np.array(
        [
            [10, 10, 60, 90],
            [np.nan, 0, 5, 5],
            [0, 0, np.inf, 5],
            [5, 5, 5, 50],
            [50, 50, 10, 90],
            [0, 0, 1e9, 1e9],
        ],
        dtype=float,
    )
    crops = crop.plan(boxes, (96, 128))
    np.testing.assert_array_equal(crops.good, [True, False, False, False, False, False])
    assert np.isfinite(crops.scale).all() and np.isfinite(crops.shift).all()
    made = crop.cut([np.full((100, 100, 3), 200, np.uint8)] * 6, crops)
    assert made[0].any() and not made[1:].any()


@pytest.mark.truth("closed form")
def test_a_covariance_grows_with_the_square_of_the_scale():
    crops = crop.plan(np.array([[0.0, 0, 96 * 3 / 1.25, 128 * 3 / 1.25]]), (96, 128))
    back = crops.covariance_to_picture(np.array([[[[4.0, 1.0], [1.0, 2.0]]]]))
    np.testing.assert_allclose(back[0, 0], np.array([[4, 1], [1, 2]]) * 9)


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(CapbenchError, match=r"boxes of shape \(n, 4\)"):
        crop.plan(np.zeros((3, 5)), (96, 128))


@pytest.mark.truth("transformers")
def test_udp_crops_and_points_are_those_of_vitpose_s_own_processor():
    """transformers' VitPose: its warp (by scipy) and its way from a heatmap's peak back to the picture."""
    vitpose = pytest.importorskip("transformers.models.vitpose.image_processing_pil_vitpose")
    from capbench.models import decode

    size, box = (192, 256), np.array([40.0, 30.0, 190.0, 310.0])
    centre, scale = vitpose.box_to_center_and_scale(
        np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]]), image_width=192, image_height=256
    )
    ys, xs = np.mgrid[0:360, 0:240]
    picture = np.stack([127 + 120 * np.sin(xs / 9), 127 + 120 * np.cos(ys / 7), (xs + ys) / 3], axis=-1)
    picture = picture.astype(np.uint8)
    crops = crop.plan(box[None], size, geometry="udp")
    matrix = vitpose.get_warp_matrix(0, centre * 2, np.array(size) - 1, scale * 200)
    theirs = vitpose.scipy_warp_affine(picture, matrix, (256, 192)).astype(int)
    grid = np.stack(np.mgrid[0:192, 0:256], axis=-1).reshape(1, -1, 2)
    back = crops.to_picture(grid).reshape(192, 256, 2).transpose(1, 0, 2)
    inside = ((back > 1) & (back < [238, 358])).all(axis=2)
    assert inside.mean() > 0.7
    assert np.abs(crop.cut([picture], crops)[0].astype(int) - theirs)[inside].max() <= 2

    peaks = np.random.default_rng(5).uniform(8, 38, (1, 17, 2))
    x, y = (peaks[..., axis, None] for axis in (0, 1))
    maps = np.exp(-((np.arange(48) - x) ** 2)[..., None, :] / 8 - ((np.arange(64) - y) ** 2)[..., None] / 8)
    processor = vitpose.VitPoseImageProcessorPil()
    wanted, _ = processor.keypoints_from_heatmaps(maps.copy(), centre[None], scale[None], kernel=11)
    found = decode.heatmaps(maps, decoding="udp").cells * np.array([191 / 47, 255 / 63])
    np.testing.assert_allclose(crops.to_picture(found), wanted, atol=0.02)
