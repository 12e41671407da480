"""Losses against what their definitions give when laid out cell by cell, and what their best answer is."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.special import rel_entr

from capbench.models import decode
from capbench.models.card import Codec
from capbench.models.nets.architecture import architecture
from synthpose import losses
from synthpose.train_recipe import Loss

N, K, H, W = 3, 4, 12, 9


@pytest.fixture
def random():
    return np.random.default_rng(0)


def laid_out(points, sigma, *, peak=False):
    """(n, K, H, W) Gaussians cell by cell, of sum 1 over the cells or of height 1."""
    y, x = np.mgrid[:H, :W]
    far = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    made = np.exp(-0.5 * far / sigma**2)
    return made if peak else made / made.sum((2, 3), keepdims=True)


def softmaxed(maps):
    powers = np.exp(maps - maps.max((2, 3), keepdims=True))
    return powers / powers.sum((2, 3), keepdims=True)


def some(random):
    maps = random.normal(size=(N, K, H, W))
    points = random.uniform([-0.4, -0.4], [W - 0.6, H - 0.6], (N, K, 2))
    return maps, points


def t(array):
    return torch.tensor(np.asarray(array), dtype=torch.float32)


@pytest.mark.truth("scipy's relative entropy of the maps laid out cell by cell")
def test_divergence_is_that_of_the_whole_maps(random) -> None:
    maps, points = some(random)
    wanted = rel_entr(laid_out(points, 1.3), softmaxed(maps)).sum((2, 3))
    found = losses.mass(t(maps), t(points), 1.3).divergence.numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.truth("torch's cross-entropy with soft targets")
def test_divergence_pulls_as_the_cross_entropy_does(random) -> None:
    maps, points = some(random)
    own, theirs = t(maps).requires_grad_(), t(maps).requires_grad_()
    losses.mass(own, t(points), 1.3).divergence.sum().backward()
    target = t(laid_out(points, 1.3)).flatten(2).flatten(0, 1)
    torch.nn.functional.cross_entropy(theirs.flatten(2).flatten(0, 1), target, reduction="sum").backward()
    torch.testing.assert_close(own.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_the_map_that_is_asked_for_costs_nothing_and_stays(random) -> None:
    _, points = some(random)
    maps = t(np.log(laid_out(points, 1.0)) + 7.0).requires_grad_()
    cost = losses.mass(maps, t(points), 1.0).divergence
    cost.sum().backward()
    np.testing.assert_allclose(cost.detach().numpy(), 0, atol=1e-4)
    assert maps.grad.abs().max() < 1e-5


def test_the_map_that_is_asked_for_is_decoded_to_the_point(random) -> None:
    """Training targets and the decoding of the card belong together."""
    points = random.uniform(3, 8, (N, K, 2)) * [1.0, 1.0]
    made = architecture("fpn-mini", points=K, input_size=(96, 128))
    target = np.zeros((N, K, 32, 24))
    y, x = np.mgrid[:32, :24]
    target[:] = np.exp(-0.5 * ((x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2))
    maps = decode.activate(np.log(target + 1e-12), "softmax", axes=(2, 3))
    codec = Codec(kind="heatmap", decoding="dark", kernel=7, activation="softmax")
    found = decode.heatmaps(maps, decoding="dark", kernel=7).cells * decode.cell_size(
        (96, 128), (24, 32), codec=codec
    )
    np.testing.assert_allclose(losses.cells_of(t(found), made, udp=False).numpy(), points, atol=0.06)


@pytest.mark.truth("sums over the maps laid out cell by cell")
def test_moments(random) -> None:
    maps, points = some(random)
    shares = softmaxed(maps)
    y, x = np.mgrid[:H, :W]
    whole = losses.mass(t(maps), t(points), 1.0)
    found = losses.moments(whole.x, whole.y)
    for axis, at in ((0, x), (1, y)):
        mean = (shares * at).sum((2, 3))
        np.testing.assert_allclose(found.mean[..., axis], mean, rtol=1e-4)
        spread = (shares * (at - mean[..., None, None]) ** 2).sum((2, 3))
        np.testing.assert_allclose(found.variance[..., axis], spread, rtol=1e-4)


@pytest.mark.truth("torch's automatic gradient of the maps laid out cell by cell")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_is_that_of_the_definition(random, layout) -> None:
    """Of the divergence, and of anything that is asked of the mass along the axes."""
    maps, points = some(random)
    by_x, by_y, by_cost = (t(random.normal(size=s)) for s in ((N, K, W), (N, K, H), (N, K)))
    own, theirs = (t(maps).to(memory_format=layout).requires_grad_() for _ in range(2))
    found = losses.mass(own, t(points), 1.3)
    ((found.x * by_x).sum() + (found.y * by_y).sum() + (found.divergence * by_cost).sum()).backward()
    log = torch.log_softmax(theirs.flatten(2), 2).view(N, K, H, W)
    shares, target = log.exp(), t(laid_out(points, 1.3))
    cost = (target * (target.log() - log)).sum((2, 3))
    masses = (shares.sum(2) * by_x).sum() + (shares.sum(3) * by_y).sum()
    (masses + (cost * by_cost).sum()).backward()
    torch.testing.assert_close(own.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_half_precision_maps_get_half_precision_gradients(random) -> None:
    maps, points = some(random)
    own = t(maps).to(torch.bfloat16).requires_grad_()
    exact = own.detach().float().requires_grad_()
    losses.mass(own, t(points), 1.0).divergence.sum().backward()
    losses.mass(exact, t(points), 1.0).divergence.sum().backward()
    assert own.grad.dtype == torch.bfloat16
    torch.testing.assert_close(own.grad.float(), exact.grad, rtol=1e-2, atol=1e-3)


def test_far_is_in_cells() -> None:
    found = losses.Moments(t([[[3.0, 4.0]]]), t([[[1.0, 1.0]]]))
    assert losses.far(found, t([[[5.0, 3.0]]])).item() == pytest.approx(1.5)


@pytest.mark.truth("the likelihood is highest where the variance is the squared error")
@pytest.mark.parametrize("error", [0.7, 2.0, 5.0])
def test_surprise_is_least_where_the_spread_is_the_error(error) -> None:
    variances = np.linspace(0.05, 40, 4000)
    mean = np.zeros((1, len(variances), 2))
    found = losses.Moments(t(mean), t(np.repeat(variances[None, :, None], 2, 2)))
    cost = losses.surprise(found, t(mean + error)).numpy()[0]
    assert variances[cost.argmin()] + losses.LEAST_VARIANCE == pytest.approx(error**2, abs=0.1)
    least = 0.5 * (np.log(error**2) + 1)
    assert cost.min() == pytest.approx(least, abs=1e-3)


@pytest.mark.truth("MMPose's KeypointMSELoss: both sides times the weight, mean over everything")
def test_squares_are_mmpose_s(random) -> None:
    maps, points = some(random)
    weight = random.uniform(0, 1.5, (N, K))
    mask = weight[..., None, None]
    wanted = np.mean((maps * mask - laid_out(points, 2.0, peak=True) * mask) ** 2)
    found = losses.squares(t(maps), t(points), t(weight), 2.0).item()
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.truth("scipy's relative entropy")
def test_bins_have_a_divergence_along_each_axis(random) -> None:
    x, y = random.normal(size=(N, K, 20)), random.normal(size=(N, K, 30))
    points = random.uniform(2, 18, (N, K, 2))
    wanted = np.zeros((N, K))
    for bins, centre in ((x, points[..., 0]), (y, points[..., 1])):
        target = np.exp(-0.5 * ((np.arange(bins.shape[2]) - centre[..., None]) / 3.0) ** 2)
        target /= target.sum(2, keepdims=True)
        own = np.exp(bins) / np.exp(bins).sum(2, keepdims=True)
        wanted += rel_entr(target, own).sum(2)
    found = losses.bins_divergence(t(x), t(y), t(points), 3.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


ASKED = (
    Loss(soft_argmax=0.5, variance=0.3),
    Loss(kind="mse", sigma=2.0),
    Loss(sigma=1.5),
)


@pytest.mark.parametrize("asked", ASKED)
def test_a_point_without_weight_teaches_nothing_wherever_it_is(random, asked) -> None:
    maps, points = some(random)
    weight = np.ones((N, K))
    weight[:, 1] = 0
    grads = []
    for place in (0.0, 1e6):
        points[:, 1] = place
        given = t(maps).requires_grad_()
        terms = losses.loss_of(given, t(points), t(weight), asked)
        terms.total.backward()
        grads.append(given.grad)
        assert torch.isfinite(given.grad).all()
        assert given.grad[:, 1].abs().max() == 0
        assert given.grad[:, 0].abs().max() > 0
    assert torch.equal(*grads)


@pytest.mark.parametrize("asked", ASKED)
def test_a_batch_without_any_label_costs_nothing(random, asked) -> None:
    maps, points = some(random)
    given = t(maps).requires_grad_()
    terms = losses.loss_of(given, t(points), torch.zeros(N, K), asked)
    terms.total.backward()
    assert terms.total.item() == 0
    assert given.grad.abs().max() == 0


def test_half_a_batch_counts_as_much_as_a_whole_one(random) -> None:
    """The mean is over labelled points: masking half of equal points leaves the loss."""
    maps, points = some(random)
    maps, points = np.repeat(maps[:1], 2, 0), np.repeat(points[:1], 2, 0)
    full = losses.loss_of(t(maps), t(points), torch.ones(2, K), ASKED[0]).total
    half = losses.loss_of(t(maps), t(points), t([[1.0] * K, [0.0] * K]), ASKED[0]).total
    assert half.item() == pytest.approx(full.item(), rel=1e-5)


def test_terms_add_up_and_are_named(random) -> None:
    maps, points = some(random)
    weight = t(random.uniform(0, 1, (N, K)))
    terms = losses.loss_of(t(maps), t(points), weight, Loss(soft_argmax=0.5, variance=0.3))
    assert set(terms.parts) == {"maps", "soft_argmax", "variance"}
    assert terms.total.item() == pytest.approx(sum(v.item() for v in terms.parts.values()), rel=1e-6)
    whole = losses.mass(t(maps), t(points), 1.0)
    far = losses.weighted_mean(losses.far(losses.moments(whole.x, whole.y), t(points)), weight)
    assert terms.parts["soft_argmax"].item() == pytest.approx(0.5 * far.item(), rel=1e-5)


def test_simcc_s_bins_are_asked_too(random) -> None:
    x, y = t(random.normal(size=(N, K, 20))), t(random.normal(size=(N, K, 30)))
    points = t(random.uniform(2, 18, (N, K, 2)))
    terms = losses.loss_of((x, y), points, torch.ones(N, K), Loss(sigma=3.0, soft_argmax=1.0))
    mean = torch.softmax(x, 2) @ torch.arange(20.0)
    assert set(terms.parts) == {"maps", "soft_argmax"}
    assert terms.parts["maps"].item() == pytest.approx(
        losses.bins_divergence(x, y, points, 3.0).mean().item(), rel=1e-5
    )
    axis = (mean - points[..., 0]).abs()
    assert terms.parts["soft_argmax"].item() > 0.5 * axis.mean().item() - 1e-5


@pytest.mark.parametrize("udp", [False, True])
def test_cells_are_what_decoding_turns_back_into_pixels(random, udp) -> None:
    made = architecture("fpn-mini", points=K, input_size=(96, 128))
    codec = Codec(kind="heatmap", geometry="udp" if udp else "msra")
    points = random.uniform(0, 90, (N, K, 2))
    cells = losses.cells_of(t(points), made, udp=udp).numpy()
    np.testing.assert_allclose(cells * decode.cell_size((96, 128), (24, 32), codec=codec), points, rtol=1e-5)
    if not udp:
        np.testing.assert_allclose(cells, points / 4, rtol=1e-6)


def test_half_precision_maps_are_judged_in_full() -> None:
    maps = torch.zeros(1, 1, H, W, dtype=torch.bfloat16)
    maps[..., 5, 4] = 30.0
    points = t([[[4.0, 5.0]]])
    exact = losses.mass(maps.float(), points, 1.0).divergence
    assert torch.equal(losses.mass(maps, points, 1.0).divergence, exact)
