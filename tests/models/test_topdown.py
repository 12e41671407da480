"""From pictures and boxes to points, round any network function."""

import numpy as np
import pytest
from onnx_models import blobs

from capbench.models.card import Codec, Input, ModelCard, Points
from capbench.models.faults import ModelFault
from capbench.models.topdown import TopDown, normalised
from cohorts.errors import CapbenchError

SIZE = (96, 128)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def card(codec, **more):
    given = {
        "name": "blobs",
        "version": "1",
        "licence": "CC0-1.0",
        "route": "onnx",
        "skeleton": Points(name="three", points=("left", "right", "nose"), flip_pairs=(("left", "right"),)),
        "input": Input(size=SIZE, **PLAIN),
        "codec": codec,
    }
    return ModelCard(**{**given, **more})


def peaks(x, y, size, sigma=2.0):
    """(n, K, h, w) maps with a Gaussian at cells (x, y), each (n, K)."""
    w, h = size
    columns = np.exp(-0.5 * ((np.arange(w) - x[..., None]) / sigma) ** 2)
    rows = np.exp(-0.5 * ((np.arange(h) - y[..., None]) / sigma) ** 2)
    return rows[..., :, None] * columns[..., None, :]


def centre(batch):
    """(n, 2) the red blob's centre of mass, pixels of the crop."""
    red = np.maximum(batch[:, 0].astype(float) - 0.02, 0)
    y, x = np.mgrid[0 : red.shape[1], 0 : red.shape[2]]
    return np.array([[(one * x).sum(), (one * y).sum()] / one.sum() for one in red])


def facing(batch):
    """A person who faces us: the nose is the red blob, the left hand 10 pixels to the right of it."""
    nose = centre(batch)
    xs = nose[:, 0, None] + np.array([10.0, -10.0, 0.0])
    ys = nose[:, 1, None] + np.array([12.0, 12.0, 0.0])
    return xs, ys


def heatmap_run(cell):
    def run(batch):
        xs, ys = facing(batch)
        return {"heatmaps": peaks(xs / cell[0], ys / cell[1], (24, 32))}

    return run


def simcc_run(ratio):
    def run(batch):
        xs, ys = facing(batch)
        bins = [np.arange(side * ratio) for side in SIZE]
        return {
            "simcc_x": np.exp(-0.5 * ((bins[0] - ratio * xs[..., None]) / 5) ** 2),
            "simcc_y": np.exp(-0.5 * ((bins[1] - ratio * ys[..., None]) / 5) ** 2),
        }

    return run


def points_run(share):
    def run(batch):
        points = np.stack(facing(batch), axis=-1)
        return {"points": points / SIZE if share else points, "confidence": np.full((len(batch), 3), 0.7)}

    return run


UDP = (95 / 23, 127 / 31)
CASES = {
    "dark": (Codec(kind="heatmap", decoding="dark"), heatmap_run((4, 4)), {}),
    "udp": (Codec(kind="heatmap", decoding="udp"), heatmap_run(UDP), {}),
    "udp flip": (Codec(kind="heatmap", decoding="udp"), heatmap_run(UDP), {"flip_test": True}),
    "simcc": (Codec(kind="simcc", refine=True), simcc_run(2), {}),
    "simcc flip": (
        Codec(kind="simcc", refine=True),
        simcc_run(2),
        {"flip_test": True, "shift_heatmap": True},
    ),
    "regression": (Codec(kind="regression"), points_run(True), {"flip_test": True}),
    "direct": (Codec(kind="direct"), points_run(False), {"flip_test": True}),
}


def scene(seed=1):
    """Three pictures of three sizes, each with a nose, and boxes that are not centred on it."""
    rng = np.random.default_rng(seed)
    pictures, noses, boxes = [], [], []
    for w, h, high in ((300, 400, 240), (200, 260, 128 / 1.25), (640, 480, 300)):
        nose = np.array([w / 2, h / 2]) + rng.uniform(-9, 9, 2)
        middle = nose + rng.uniform(-0.06, 0.06, 2) * high
        half = np.array([0.6 * high, high]) / 2
        pictures.append(blobs([nose, (-900, 0), (-900, 0)], (w, h), sigma=high / 20))
        noses.append(nose)
        boxes.append([*(middle - half), *(middle + half)])
    return pictures, np.array(boxes), np.array(noses)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("case", CASES)
def test_points_come_back_to_the_pixels_of_each_picture(case):
    codec, run, more = CASES[case]
    pictures, boxes, noses = scene()
    found = TopDown(card(codec, **more), run).predict(pictures, boxes)
    high = 1.25 * (boxes[:, 3] - boxes[:, 1])  # the padded box is as high as the crop, and 0.75 as wide
    sides = np.array(SIZE) - codec.udp  # UDP counts from the first pixel to the last
    pixel = np.stack([0.75 * high, high], axis=1) / sides
    target = noses[:, None] + np.array([[10, 12], [-10, 12], [0, 0]]) * pixel[:, None]
    off = np.abs(found.points - target) / pixel[:, None]
    assert off.max() < 0.05  # pixels of the crop
    assert (found.confidence > 0.6).all()


@pytest.mark.truth("closed form")
def test_the_published_shift_of_an_msra_flip_test_leaves_an_eighth_of_a_cell():
    codec = Codec(kind="heatmap", decoding="dark")
    pictures, boxes, _ = scene()
    plain = TopDown(card(codec), heatmap_run((4, 4))).predict(pictures, boxes).points
    scale = 128 / (1.25 * (boxes[:, 3] - boxes[:, 1]))
    for shift, cells in ((None, 0.125), (False, -0.375)):
        flipped = TopDown(card(codec, flip_test=True, shift_heatmap=shift), heatmap_run((4, 4)))
        off = (flipped.predict(pictures, boxes).points - plain) * scale[:, None, None]
        np.testing.assert_allclose(off[..., 0], 4 * cells, atol=0.05)
        np.testing.assert_allclose(off[..., 1], 0, atol=0.01)


@pytest.mark.truth("closed form")
def test_covariances_are_in_pixels_of_the_picture():
    pictures, boxes, _ = scene()
    scale = (1.25 * (boxes[:, 3] - boxes[:, 1])) / 128
    found = TopDown(card(Codec(kind="heatmap", decoding="dark")), heatmap_run((4, 4))).predict(
        pictures, boxes
    )
    wanted = (2.0 * 4 * scale) ** 2  # sigma 2 cells of 4 pixels
    np.testing.assert_allclose(found.covariance[:, 2, 0, 0], wanted, rtol=0.05)
    np.testing.assert_allclose(found.covariance[:, 2, 1, 1], wanted, rtol=0.05)
    found = TopDown(card(Codec(kind="simcc")), simcc_run(2)).predict(pictures, boxes)
    np.testing.assert_allclose(found.covariance[:, 2, 0, 0], (5 / 2 * scale) ** 2, rtol=0.05)
    for codec, run in (
        (Codec(kind="direct"), points_run(False)),
        (Codec(kind="simcc", covariance=False), simcc_run(2)),
    ):
        assert TopDown(card(codec), run).predict(pictures, boxes).covariance is None


def test_any_number_at_once_gives_the_same_and_none_gives_none():
    codec, run, _ = CASES["udp"]
    pictures, boxes, _ = scene()
    many = TopDown(card(codec), run).predict(pictures * 3, np.tile(boxes, (3, 1)))
    few = TopDown(card(codec, limits={"batch": 2}), run).predict(pictures * 3, np.tile(boxes, (3, 1)))
    np.testing.assert_array_equal(many.points, few.points)
    empty = TopDown(card(codec), run).predict([], np.zeros((0, 4)))
    assert empty.points.shape == (0, 3, 2) and empty.covariance.shape == (0, 3, 2, 2)


def test_a_box_that_holds_nobody_gives_nothing_and_is_not_asked_for():
    asked = []
    codec, run, _ = CASES["udp"]

    def counted(batch):
        asked.append(len(batch))
        return run(batch)

    pictures, boxes, _ = scene()
    boxes[1] = np.nan
    found = TopDown(card(codec), counted).predict(pictures, boxes)
    assert np.isnan(found.points[1]).all() and not found.confidence[1].any()
    assert np.isfinite(found.points[[0, 2]]).all()
    assert asked == [2]


@pytest.mark.truth("closed form")
def test_colours_are_ordered_scaled_and_centred():
    crops = np.zeros((1, 8, 8, 3), np.uint8)
    crops[..., 0], crops[..., 1], crops[..., 2] = 255, 51, 102
    rgb = normalised(crops, Input(size=(8, 8), mean=(0.5, 0.1, 0.4), std=(0.5, 0.1, 0.2)))
    np.testing.assert_allclose(rgb[0, :, 0, 0], [1, 1, 0], atol=1e-6)
    assert rgb.dtype == np.float32 and rgb.shape == (1, 3, 8, 8)
    bgr = normalised(
        crops, Input(size=(8, 8), mean=(2.0, 1.0, 5.0), std=(10.0, 25.0, 50.0), scale=255, colour="bgr")
    )
    np.testing.assert_allclose(bgr[0, :, 0, 0], [10, 2, 5], atol=1e-5)


# --- models that do wrong -----------------------------------------------------------------------


def threw(_):
    raise KeyError("layer7")


def memory(_):
    raise MemoryError("9 GB")


BAD = {
    "threw": (threw, "threw", "KeyError: 'layer7'"),
    "memory": (memory, "memory", "9 GB"),
    "nothing": (lambda _: None, "shape", "heatmaps, got NoneType"),
    "other name": (lambda b: {"maps": np.zeros((len(b), 3, 8, 8))}, "shape", "heatmaps, got maps"),
    "points": (
        lambda b: {"heatmaps": np.zeros((len(b), 4, 8, 8))},
        "shape",
        r"\(1, 3, h, w\), got shape \(1, 4",
    ),
    "batch": (lambda b: {"heatmaps": np.zeros((2, 3, 8, 8))}, "shape", r"got shape \(2, 3"),
    "axes": (lambda b: {"heatmaps": np.zeros((1, 3, 64))}, "shape", r"got shape \(1, 3, 64\)"),
    "empty": (lambda b: {"heatmaps": np.zeros((1, 3, 0, 8))}, "shape", r"got shape \(1, 3, 0, 8\)"),
    "text": (lambda b: {"heatmaps": np.full((1, 3, 8, 8), "a")}, "shape", "numbers for heatmaps"),
    "complex": (lambda b: {"heatmaps": np.full((1, 3, 8, 8), 1j)}, "shape", "numbers for heatmaps"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_a_model_does_wrong_is_its_fault_and_says_what(bad):
    run, kind, words = BAD[bad]
    pictures, boxes, _ = scene()
    with pytest.raises(ModelFault, match=words) as caught:
        TopDown(card(Codec(kind="heatmap")), run).predict(pictures[:1], boxes[:1])
    assert caught.value.kind == kind


def test_three_coordinates_where_two_belong():
    pictures, boxes, _ = scene()
    with pytest.raises(ModelFault, match="points"):
        TopDown(card(Codec(kind="direct")), lambda b: {"points": np.zeros((len(b), 3, 3))}).predict(
            pictures, boxes
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_give_missing_points(bad):
    pictures, boxes, _ = scene()

    def run(batch):
        maps = heatmap_run((4, 4))(batch)["heatmaps"]
        maps[:, 1] = bad
        return {"heatmaps": maps}

    found = TopDown(card(Codec(kind="heatmap")), run).predict(pictures, boxes)
    assert np.isnan(found.points[:, 1]).all() and not found.confidence[:, 1].any()
    assert np.isfinite(found.points[:, [0, 2]]).all()

    def points(batch):
        return {
            "points": np.zeros((len(batch), 3, 2)),
            "confidence": np.array([[1.0, bad, -2.0]] * len(batch)),
        }

    found = TopDown(card(Codec(kind="direct")), points).predict(pictures, boxes)
    assert np.isnan(found.points[:, 1]).all()
    np.testing.assert_array_equal(found.confidence[0], [1, 0, 0])


def test_the_caller_s_own_mistakes_are_not_the_model_s():
    model = TopDown(card(Codec(kind="heatmap")), heatmap_run((4, 4)))
    pictures, boxes, _ = scene()
    for frames, where, words in (
        (pictures[:2], boxes, "a box a picture"),
        ([pictures[0][..., 0]], boxes[:1], "uint8"),
        ([pictures[0].astype(float)], boxes[:1], "uint8"),
    ):
        with pytest.raises(CapbenchError, match=words) as caught:
            model.predict(frames, where)
        assert not isinstance(caught.value, ModelFault)


def test_closing_gives_back_what_the_network_holds():
    closed = []
    TopDown(card(Codec(kind="heatmap")), heatmap_run((4, 4)), close=lambda: closed.append(1)).close()
    assert closed == [1]
