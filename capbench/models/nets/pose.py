"""A backbone and a head: what a native checkpoint is loaded into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from capbench.models.nets.architecture import Architecture, FPNSize, HRNetSize
from capbench.models.nets.fpn import FPN
from capbench.models.nets.heads import HeatmapHead, SimCCHead
from capbench.models.nets.hrnet import HRNet
from capbench.models.nets.vit import ViT
from cohorts.errors import CapbenchError, printable


class PoseNet(nn.Module):
    """(n, 3, h, w) normalised crops -> heatmaps (n, K, H, W), or SimCC's pair of bins.

    Its parameters are ``backbone.…`` and ``head.…`` as in MMPose 1.x.
    """

    def __init__(self, architecture: Architecture, *, drop_path: float = 0.0) -> None:
        super().__init__()
        size, head = architecture.backbone, architecture.head
        self.architecture = architecture
        self.backbone: nn.Module
        self.head: nn.Module
        if isinstance(size, HRNetSize):
            self.backbone = HRNet(size)
        elif isinstance(size, FPNSize):
            self.backbone = FPN(size)
        else:
            self.backbone = ViT(size, architecture.input_size, drop_path=drop_path)
        if head.bins is None:
            self.head = HeatmapHead(size.width, head)
        else:
            cells = architecture.heatmap_size[0] * architecture.heatmap_size[1]
            self.head = SimCCHead(size.width, head, cells)

    def forward(self, picture: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(n, 3, h, w) -> the head's output."""
        out: Tensor | tuple[Tensor, Tensor] = self.head(self.backbone(picture))
        return out


def build(architecture: Architecture, *, seed: int | None = None, drop_path: float = 0.0) -> PoseNet:
    """A network with random weights, the same for the same ``seed``; torch's own seed stays as it is."""
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return PoseNet(architecture, drop_path=drop_path)


def load(architecture: Architecture, tensors: Mapping[str, NDArray[Any]]) -> PoseNet:
    """The network with these weights, in evaluation mode: see :func:`fill`."""
    with torch.device("meta"):  # no time spent on random weights that go at once
        net = PoseNet(architecture)
    fill(net, tensors)
    return net


def fill(net: nn.Module, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Give ``net`` these weights as float32: all of them, no others, each in its shape; then no training."""
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    # checkpoints from before torch 0.4.1 lack the norms' counters, which only training needs
    given: dict[str, NDArray[Any]] = {
        name: np.zeros((), np.int64) for name in wanted if name.endswith(".num_batches_tracked")
    }
    given.update(tensors)
    _check_names(wanted, {name: array.shape for name, array in given.items()})
    net.load_state_dict({name: _tensor(given[name]) for name in wanted}, strict=True, assign=True)
    net.requires_grad_(True).eval()


def _tensor(array: NDArray[Any]) -> Tensor:
    """A copy, because the array may lie over a file's bytes."""
    kind = np.float32 if array.dtype.kind == "f" else array.dtype
    return torch.from_numpy(np.array(array, dtype=kind, order="C"))


def _check_names(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not this network's, naming the first few."""
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{printable(name)[:100]} is not part of it" for name in given if name not in wanted]
    problems += [
        f"{name} has shape {given[name]} where {wanted[name]} is due"
        for name in wanted
        if name in given and given[name] != wanted[name]
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CapbenchError(
            f"Expected the weights of this network, but {'; '.join(problems[:4])}{more}.",
            fix="see whether the card's net, skeleton and input size are those of the file",
        )
