"""How far a network's points are from the truth: groups by hand, decoding as a card would have it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from toy_people import ToyPeople, toy_recipe

from capbench.models.card import Input
from capbench.models.topdown import normalised
from cohorts.skeleton import skeleton
from synthpose.feeding import Feed, Order
from synthpose.looks import by_group, by_picture, decoded, network_input, point_errors
from synthpose.losses import cells_of, squares

CPU = torch.device("cpu")


def test_pictures_go_in_as_the_evaluation_s_do() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    found = network_input(pictures, CPU)
    wanted = normalised(pictures, Input(size=(64, 96)))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": {"sigma": 1.0}},
        {"loss": {"sigma": 1.5, "geometry": "udp"}},
        {"loss": {"kind": "mse", "sigma": 2.0, "soft_argmax": 0.0}},
        {"loss": {"sigma": 3.0}, "network": {"options": {"bins": [128, 128]}}},
    ],
)
def test_the_output_that_is_asked_for_is_read_as_the_points(changes) -> None:
    """Loss, codec and decoding agree on where a point is: also between cells, in either geometry."""
    recipe = toy_recipe(**changes)
    points = torch.tensor(np.random.default_rng(1).uniform(16, 48, (4, 17, 2)), dtype=torch.float32)
    cells = cells_of(points, recipe.made, udp=recipe.loss.geometry == "udp")
    axes = []
    bins = recipe.made.head.bins
    for axis, count in enumerate(bins or recipe.made.heatmap_size):
        far = torch.arange(count) - cells[..., axis, None]
        axes.append(-0.5 * (far / recipe.loss.sigma) ** 2)
    if bins is not None:
        out = (axes[0], axes[1])
    else:
        logs = axes[1][..., :, None] + axes[0][..., None, :]
        out = logs.exp() if recipe.loss.kind == "mse" else logs
        if recipe.loss.kind == "mse":
            assert squares(out, cells, torch.ones(4, 17), recipe.loss.sigma).item() < 1e-10
    error = np.linalg.norm(decoded(out, recipe) - points.numpy(), axis=-1)
    assert error.max() < 0.25


@pytest.mark.truth("by hand")
def test_groups() -> None:
    points = skeleton("synthpose-52")
    errors = np.zeros((2, 52))
    errors[:, :17] = 1.0
    errors[:, 17:] = 3.0
    errors[0, 0] = 101.0
    errors[1, 20] = np.nan  # a point that isn't given is as far as the worst
    weight = np.ones((2, 52), np.float32)
    weight[1, 50] = 0
    found = by_group(errors, weight, points)
    assert found["px_coco"] == pytest.approx((33 * 1.0 + 101) / 34)
    assert found["px_anatomical"] == pytest.approx((68 * 3.0 + 101) / 69)
    assert found["px"] == pytest.approx((33 + 101 + 68 * 3 + 101) / 103)
    assert found["px_p95"] == pytest.approx(3.0)
    sparse = by_group(np.ones((2, 17)), np.ones((2, 17), np.float32), skeleton("coco-17"))
    assert set(sparse) == {"px", "px_coco", "px_p95"}
    assert by_group(errors, np.zeros_like(weight), points) == {}


def test_errors_are_those_of_the_recipe_s_points_on_plain_pictures() -> None:
    recipe, data = toy_recipe(augment={"moved": 1.0}), ToyPeople(20)
    net = recipe.made.build(seed=0)
    feed = Feed(recipe, data, Order(16, 8, 0))
    numbers = np.arange(4, 20)
    errors, weight = point_errors(net, feed, numbers, device=CPU, autocast=False)
    with torch.inference_mode():
        found = decoded(net.eval()(network_input(data.pictures[4:], CPU)), recipe)
    np.testing.assert_allclose(errors, np.linalg.norm(found - data.points[4:, :17], axis=-1), rtol=1e-4)
    assert weight.shape == (16, 17)


@pytest.mark.truth("by hand")
def test_a_picture_s_error_is_the_mean_of_the_points_that_count() -> None:
    errors = np.array([[1.0, 3.0, 9.0], [2.0, np.nan, 4.0], [5.0, 5.0, 5.0]])
    weight = np.array([[1, 0.5, 0], [1, 1, 0], [0, 0, 0]], np.float32)
    # a point that was not given counts as the largest error of all, 9
    assert by_picture(errors, weight) == pytest.approx([2.0, 5.5, np.nan], nan_ok=True)
