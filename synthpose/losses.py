"""What a network is asked for: maps or vectors whose mass lies where the point is, and spreads as its error.

Shapes: maps (n, K, h, w), points (n, K, 2) in cells of the map (or bins), weight (n, K); 0 leaves a point
out. Everything is computed in float32, whatever the network's maps come in. A loss is the weighted mean over
points, so that a batch with few labelled points counts as much as one with many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


def divergence(maps: Tensor, points: Tensor, sigma: float) -> Tensor:
    """(n, K) Kullback-Leibler divergence of the softmaxed maps from Gaussians at the points.

    Its gradient is that of the cross-entropy with the same soft target; a perfect map gives 0. The target is
    a product of one Gaussian along each axis, so it is never laid out as a map.
    """
    maps = maps.float()
    x = gaussian(points[..., 0], maps.shape[3], sigma)
    y = gaussian(points[..., 1], maps.shape[2], sigma)
    expected = torch.einsum("nkhw,nkh,nkw->nk", maps, y, x)
    return torch.logsumexp(maps.flatten(2), dim=2) - expected - _entropy(x) - _entropy(y)


class Moments(NamedTuple):
    """Where a softmaxed map's mass is: (n, K, 2) mean, and variance along x and y, in cells."""

    mean: Tensor
    variance: Tensor


def moments(maps: Tensor) -> Moments:
    """Mean and variance of the softmaxed maps ("soft-argmax")."""
    n, k, height, width = maps.shape
    shares = torch.softmax(maps.float().flatten(2), dim=2).view(n, k, height, width)
    return _axis_moments(shares.sum(2), shares.sum(3))


def _axis_moments(x: Tensor, y: Tensor) -> Moments:
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
        found = _axis_moments(*(torch.softmax(bins.float(), 2) for bins in out)) if asked.moments else None
    else:
        parts["maps"] = weighted_mean(divergence(out, points, asked.sigma), weight)
        found = moments(out) if asked.moments else None
    if found is not None and asked.soft_argmax:
        parts["soft_argmax"] = asked.soft_argmax * weighted_mean(far(found, points), weight)
    if found is not None and asked.variance:
        parts["variance"] = asked.variance * weighted_mean(surprise(found, points), weight)
    return _summed(parts)


def _summed(parts: dict[str, Tensor]) -> Terms:
    total = torch.stack(list(parts.values())).sum()
    return Terms(total, {name: value.detach() for name, value in parts.items()})
