"""What a network is asked for: maps or vectors whose mass lies where the point is, and spreads as its error.

Shapes: maps (n, K, h, w), points (n, K, 2) in cells of the map (or bins), weight (n, K); 0 leaves a point
out. Everything is computed in float32, whatever the network's maps come in. A loss is the weighted mean over
points, so that a batch with few labelled points counts as much as one with many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from capbench.models.nets.architecture import Architecture
    from synthpose.train_recipe import Loss

#: cells² that a map's spread can't be below: a point anywhere within a cell
LEAST_VARIANCE = 1 / 12


class Terms(NamedTuple):
    """The loss, and what it is the sum of (already weighted, detached)."""

    total: Tensor
    parts: dict[str, Tensor]


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of (n, K) values by (n, K) weights; 0 (and no gradient) where all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def gaussian(centres: Tensor, cells: int, sigma: float) -> Tensor:
    """(…,) centres -> (…, cells) Gaussians that sum to 1 over the cells there are."""
    at = torch.arange(cells, dtype=torch.float32, device=centres.device)
    return torch.softmax(-0.5 * ((at - centres[..., None]) / sigma) ** 2, dim=-1)


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp(min=1e-30).log()).sum(-1)


class _Mass(torch.autograd.Function):
    """Softmaxed maps: their cross-entropy with products of two Gaussians, and their mass along each axis.

    What costs is to go over the maps' cells: forwards and backwards do so as seldom as they can, picture by
    picture on a CPU, whose cache holds one picture's maps.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, K, h, w), (n, K, w), (n, K, h) -> (n, K) cross-entropies, (n, K, w) and (n, K, h) masses."""
        n, k, height, width = maps.shape
        laid = maps.permute(0, 2, 3, 1)  # as channels-last maps lie in memory
        shares = torch.empty(n, height, width, k, device=maps.device)
        crosses, across, down = [], [], []
        for part in _parts(maps):
            flat = laid[part].reshape(-1, height * width, k).float()
            log = torch.log_softmax(flat, 1).view(-1, height, width, k)
            target = _product(x[part], y[part])
            crosses.append(-target.mul_(log).sum((1, 2)))
            torch.exp(log, out=shares[part])
            across.append(shares[part].sum(1))
            down.append(shares[part].sum(2))
        by_x, by_y = torch.cat(across), torch.cat(down)
        ctx.save_for_backward(shares, x, y, by_x, by_y)
        ctx.dtype = maps.dtype
        return torch.cat(crosses), by_x.transpose(1, 2), by_y.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, None]:
        """p (g_x + g_y - mean of them under p) of the masses; p - target of the cross-entropy."""
        shares, x, y, across, down = ctx.saved_tensors
        by_cross, by_x, by_y = given[0], given[1].transpose(1, 2), given[2].transpose(1, 2)
        mean = (across * by_x).sum(1) + (down * by_y).sum(1)
        of_columns = by_x + (by_cross - mean)[:, None]
        made = torch.empty(shares.shape, dtype=ctx.dtype, device=shares.device)
        for part in _parts(shares):
            pull = of_columns[part][:, None] + by_y[part][:, :, None]
            pull.mul_(shares[part]).sub_(_product(x[part], y[part] * by_cross[part][..., None]))
            made[part] = pull
        return made.permute(0, 3, 1, 2), None, None


def _parts(given: Tensor) -> list[slice]:
    if given.device.type != "cpu":
        return [slice(None)]
    return [slice(s, s + 1) for s in range(len(given))]


def _product(x: Tensor, y: Tensor) -> Tensor:
    """(n, K, w) and (n, K, h) -> (n, h, w, K)."""
    return y.transpose(1, 2)[:, :, None] * x.transpose(1, 2)[:, None]


class Mass(NamedTuple):
    """What is asked of softmaxed maps: (n, K) divergences; (n, K, w) and (n, K, h) mass along x and y."""

    divergence: Tensor
    x: Tensor
    y: Tensor


def mass(maps: Tensor, points: Tensor, sigma: float) -> Mass:
    """Kullback-Leibler divergence of the softmaxed maps from Gaussians at the points, and where mass lies.

    The divergence's gradient is that of the cross-entropy with the same soft target; a perfect map gives 0.
    The target is a product of one Gaussian along each axis.
    """
    x = gaussian(points[..., 0], maps.shape[3], sigma)
    y = gaussian(points[..., 1], maps.shape[2], sigma)
    cross, across, down = _Mass.apply(maps, x, y)  # type: ignore[no-untyped-call]
    return Mass(cross - _entropy(x) - _entropy(y), across, down)


class Moments(NamedTuple):
    """Where a softmaxed map's mass is: (n, K, 2) mean, and variance along x and y, in cells."""

    mean: Tensor
    variance: Tensor


def moments(x: Tensor, y: Tensor) -> Moments:
    """Mean and variance of mass along x (n, K, w) and y (n, K, h): "soft-argmax"."""
    means, variances = [], []
    for shares in (x, y):
        at = torch.arange(shares.shape[2], dtype=torch.float32, device=shares.device)
        mean = shares @ at
        means.append(mean)
        variances.append((shares * (at - mean[..., None]) ** 2).sum(2))
    return Moments(torch.stack(means, -1), torch.stack(variances, -1))


def far(found: Moments, points: Tensor) -> Tensor:
    """(n, K) mean over x and y of the distance between the maps' means and the points, in cells."""
    return (found.mean - points).abs().mean(-1)


def surprise(found: Moments, points: Tensor) -> Tensor:
    """(n, K) negative log-likelihood of the points under Gaussians with the maps' means and variances.

    Teaches a map to be as wide as the point is uncertain: its spread is the network's variance output. In
    nats a coordinate, without the constant.
    """
    variance = found.variance + LEAST_VARIANCE
    return 0.5 * (variance.log() + (found.mean - points) ** 2 / variance).mean(-1)


def squares(maps: Tensor, points: Tensor, weight: Tensor, sigma: float) -> Tensor:
    """Mean square difference from Gaussians of height 1, as MMPose's KeypointMSELoss with target weights.

    That loss multiplies both sides by the weight, so that it counts squared, and divides by all cells of all
    maps, whether they are weighted or not.
    """
    height, width = maps.shape[2:]
    axes = []
    for axis, cells in ((0, width), (1, height)):
        at = torch.arange(cells, dtype=torch.float32, device=maps.device)
        axes.append(torch.exp(-0.5 * ((at - points[..., axis, None]) / sigma) ** 2))
    target = axes[1][..., :, None] * axes[0][..., None, :]
    return (((maps.float() - target) ** 2).mean((2, 3)) * weight**2).mean()


def bins_divergence(x: Tensor, y: Tensor, points: Tensor, sigma: float) -> Tensor:
    """(n, K) divergence of SimCC's two softmaxed vectors from Gaussians, summed."""
    total = torch.zeros(x.shape[:2], device=x.device)
    for bins, centre in ((x.float(), points[..., 0]), (y.float(), points[..., 1])):
        target = gaussian(centre, bins.shape[2], sigma)
        total = total + torch.logsumexp(bins, 2) - (bins * target).sum(2) - _entropy(target)
    return total


def cells_of(points: Tensor, made: Architecture, *, udp: bool) -> Tensor:
    """Points in pixels of the crop -> cells of the maps, or bins of SimCC's vectors."""
    cells = made.head.bins or made.heatmap_size
    if made.head.bins is None and udp:
        per = [(c - 1) / (s - 1) for c, s in zip(cells, made.input_size, strict=True)]
    else:
        per = [c / s for c, s in zip(cells, made.input_size, strict=True)]
    return points * torch.tensor(per, dtype=points.dtype, device=points.device)


def loss_of(out: Tensor | tuple[Tensor, Tensor], points: Tensor, weight: Tensor, asked: Loss) -> Terms:
    """What the recipe asks for, from a network's output and the points in its cells."""
    parts: dict[str, Tensor] = {}
    if asked.kind == "mse":
        if isinstance(out, tuple):
            raise TypeError("mse is for maps")
        parts["maps"] = squares(out, points, weight, asked.sigma)
        return _summed(parts)
    if isinstance(out, tuple):
        parts["maps"] = weighted_mean(bins_divergence(*out, points, asked.sigma), weight)
        found = moments(*(torch.softmax(bins.float(), 2) for bins in out)) if asked.moments else None
    else:
        whole = mass(out, points, asked.sigma)
        parts["maps"] = weighted_mean(whole.divergence, weight)
        found = moments(whole.x, whole.y) if asked.moments else None
    if found is not None and asked.soft_argmax:
        parts["soft_argmax"] = asked.soft_argmax * weighted_mean(far(found, points), weight)
    if found is not None and asked.variance:
        parts["variance"] = asked.variance * weighted_mean(surprise(found, points), weight)
    return _summed(parts)


def _summed(parts: dict[str, Tensor]) -> Terms:
    total = torch.stack(list(parts.values())).sum()
    return Terms(total, {name: value.detach() for name, value in parts.items()})
