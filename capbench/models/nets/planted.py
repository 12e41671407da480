"""Networks of random weights that nevertheless see something: for checks of routes, exports and speed.

The maps of a random network are flat, so that rounding decides where their highest cell is. Here the backbone
stays random, its norms are given the statistics of some pictures, and the last convolution is solved for by
least squares so that map k is high where mark k of those pictures is. Nothing is learnt that would hold for
other pictures; peaks are as decided as a trained network's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from capbench.models.nets.heads import HeatmapHead
from capbench.models.nets.pose import PoseNet
from cohorts.values import FloatArray

RIDGE = 1e-4  #: share of the features' mean square that is added to the diagonal
DISC = 5.0  #: sigma of a disc, pixels


COLOURS = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]], float
)


def marked_pictures(
    count: int, points: int, *, size: tuple[int, int] = (320, 240), seed: int = 0
) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Made-up pictures of "people": soft grey, and discs of six colours, which the points share in turn.

    Returns
    -------
    pictures : (count, height, width, 3) RGB
    marks : (count, points, 2) the discs' centres, pixels
    boxes : (count, 4) x0 y0 x1 y1 around them
    """
    random = np.random.default_rng(seed)
    width, height = size
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(float)
    pictures = np.empty((count, height, width, 3), dtype=np.uint8)
    marks, boxes = np.empty((count, points, 2)), np.empty((count, 4))
    for i in range(count):
        tall = random.uniform(0.55, 0.75) * height
        extent = np.array([tall * random.uniform(0.45, 0.7), tall])
        crop = 1.3 * tall * np.array([0.75, 1.0])  # its crop stays inside, so that no border shows
        corner = (np.array(size) - crop) * random.uniform(0, 1, 2) + (crop - extent) / 2
        places = corner + random.uniform(0.05, 0.95, (len(COLOURS), 2)) * extent
        marks[i] = places[np.arange(points) % len(COLOURS)]
        boxes[i] = *corner, *(corner + extent)
        picture = _enlarged(random.uniform(90, 130, (height // 16 + 2, width // 16 + 2, 1)), grid / 16)
        for place, colour in zip(places, COLOURS, strict=True):
            weight = np.exp(-0.5 * (((grid - place) / DISC) ** 2).sum(-1))[..., None]
            picture = picture * (1 - weight) + colour * weight
        pictures[i] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return pictures, marks, boxes


def _enlarged(coarse: FloatArray, places: FloatArray) -> FloatArray:
    """Bilinear values of ``coarse`` at ``places`` (…, 2)."""
    low = places.astype(int)
    x, y = low[..., 0], low[..., 1]
    fx, fy = (places - low)[..., :1], (places - low)[..., 1:]
    upper = coarse[y, x] * (1 - fx) + coarse[y, x + 1] * fx
    lower = coarse[y + 1, x] * (1 - fx) + coarse[y + 1, x + 1] * fx
    made: FloatArray = upper * (1 - fy) + lower * fy
    return made


def target_maps(cells: FloatArray, size: tuple[int, int], *, sigma: float = 2.0) -> NDArray[np.float32]:
    """(n, K, h, w) maps with a Gaussian about each of ``cells`` (n, K, 2); ``size`` is (w, h)."""
    x = np.exp(-0.5 * ((np.arange(size[0]) - cells[..., :1]) / sigma) ** 2)
    y = np.exp(-0.5 * ((np.arange(size[1]) - cells[..., 1:]) / sigma) ** 2)
    return (y[..., :, None] * x[..., None, :]).astype(np.float32)


def plant(net: PoseNet, crops: NDArray[np.float32], maps: NDArray[np.float32]) -> PoseNet:
    """``net`` with norms that know ``crops`` (n, 3, h, w) and a last layer that gives ``maps``, nearly."""
    head = net.head
    if not isinstance(head, HeatmapHead):
        raise ValueError("only a head of heatmaps can be planted")
    batch, wanted = torch.from_numpy(crops), torch.from_numpy(maps)
    with torch.no_grad():
        _calibrate(net, batch)
        features = _before_last(head, net.backbone(batch))
        weight, bias = _solved(features, wanted, head.final_layer)
        head.final_layer.weight.copy_(weight)
        assert head.final_layer.bias is not None
        head.final_layer.bias.copy_(bias)
    return net.eval()


def _calibrate(net: nn.Module, batch: Tensor) -> None:
    """Give every norm the mean and variance of what ``batch`` brings to it."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
    net.train()
    net(batch)
    for norm in norms:
        norm.momentum = 0.1
    net.eval()


def _before_last(head: HeatmapHead, features: Tensor) -> Tensor:
    kept: dict[str, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Any, ...]) -> None:
        kept["features"] = given[0]

    handle = head.final_layer.register_forward_pre_hook(keep)
    head(features)
    handle.remove()
    return kept["features"]


def _solved(features: Tensor, maps: Tensor, layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of ``layer`` by ridge regression, in float64."""
    kernel = layer.kernel_size[0]
    columns = nn.functional.unfold(features, kernel, padding=kernel // 2)  # (n, C k k, cells)
    rows = columns.transpose(1, 2).flatten(0, 1).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
    wanted = maps.flatten(2).transpose(1, 2).flatten(0, 1).double()
    square = rows.T @ rows
    square += RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
    found = torch.linalg.solve(square, rows.T @ wanted).T
    return found[:, :-1].reshape(layer.weight.shape).float(), found[:, -1].float()
