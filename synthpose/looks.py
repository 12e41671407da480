"""How far a network's points are from the truth while it trains, in pixels of the crop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from capbench.models import decode
from capbench.models.nets.pose import PoseNet
from cohorts.skeleton import Skeleton, skeleton
from cohorts.values import FloatArray
from synthpose.feeding import Feed
from synthpose.train_recipe import TrainRecipe

COCO = "coco-17"


def network_input(pictures: NDArray[np.uint8] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """(n, h, w, 3) uint8 RGB -> (n, 3, h, w) float32 as ImageNet's networks expect, channels last."""
    from capbench.models.card import IMAGENET_MEAN, IMAGENET_STD

    there = torch.as_tensor(pictures).to(device, non_blocking=True)  # as bytes: a quarter of the way's load
    made = there.to(torch.float32, copy=True)
    mean = 255 * torch.tensor(IMAGENET_MEAN, device=device)
    std = 255 * torch.tensor(IMAGENET_STD, device=device)
    return made.sub_(mean).div_(std).permute(0, 3, 1, 2)


def decoded(out: torch.Tensor | tuple[torch.Tensor, torch.Tensor], recipe: TrainRecipe) -> FloatArray:
    """(n, K, 2) pixels of the crop, by the decoding that the model's card will name."""
    return peaks(out, recipe).cells


def peaks(out: torch.Tensor | tuple[torch.Tensor, torch.Tensor], recipe: TrainRecipe) -> decode.Peaks:
    """Likewise, with each point's confidence; its cells are pixels of the crop."""
    codec, size = recipe.codec, recipe.network.input_size
    if isinstance(out, tuple):
        x, y = (decode.activate(v.float().cpu().numpy(), codec.activation, axes=(2,)) for v in out)
        per = np.array([size[0] / x.shape[2], size[1] / y.shape[2]])
        bins = decode.simcc(x, y, refine=codec.refine)
        return decode.Peaks(bins.cells * per, bins.confidence)
    maps = decode.activate(out.float().cpu().numpy(), codec.activation, axes=(2, 3))
    found = decode.heatmaps(maps, decoding=codec.decoding or "dark", kernel=codec.kernel)
    each = decode.cell_size(size, (maps.shape[3], maps.shape[2]), codec=codec)
    return decode.Peaks(found.cells * each, found.confidence)


def _chunks(numbers: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for k in range(0, len(numbers), size):
        yield numbers[k : k + size]


def point_errors(
    net: PoseNet, feed: Feed, numbers: NDArray[np.int64], *, device: torch.device, autocast: bool
) -> tuple[FloatArray, NDArray[np.float32]]:
    """((n, K) pixels, (n, K) weight) over pictures as they are, of the recipe's points."""
    errors, kept = [], []
    net.eval()
    with torch.inference_mode():
        for some in _chunks(numbers, 64):
            batch = feed.plain(some)
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                out = net(network_input(batch.pictures, device))
            points = decoded(out, feed.recipe)
            errors.append(np.linalg.norm(points - batch.points[:, feed.columns], axis=-1))
            kept.append(batch.weight[:, feed.columns])
    return np.concatenate(errors), np.concatenate(kept)


def by_picture(errors: FloatArray, weight: NDArray[np.float32]) -> FloatArray:
    """(n,) mean error of a picture's points; NaN where none counts. As in ``by_group``, none is left out."""
    errors = np.where(np.isfinite(errors), errors, np.nanmax(errors, initial=0.0))
    used = weight > 0
    total = np.where(used, errors, 0.0).sum(1)
    return np.asarray(np.where(used.any(1), total / np.maximum(used.sum(1), 1), np.nan))


def by_group(errors: FloatArray, weight: NDArray[np.float32], points: Skeleton) -> dict[str, float]:
    """Mean error of all points ("px"), of COCO's and of the anatomical ones, and what 95 % stay below.

    A point that the network doesn't give counts as the largest error of all.
    """
    known = set(skeleton(COCO).landmarks)
    coco = np.array([landmark in known for landmark in points.landmarks])
    errors = np.where(np.isfinite(errors), errors, np.nanmax(errors, initial=0.0))
    used = weight > 0
    groups = {"px": used, "px_coco": used & coco, "px_anatomical": used & ~coco}
    made = {name: float(errors[where].mean()) for name, where in groups.items() if where.any()}
    if used.any():
        made["px_p95"] = float(np.percentile(errors[used], 95))
    return made
