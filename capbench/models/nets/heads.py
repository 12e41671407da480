"""Heads: from features to heatmaps or SimCC bins, with the parameter names of MMPose 1.x."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capbench.models.nets.architecture import HeadSize

_PADDING = {2: (0, 0), 3: (1, 1), 4: (1, 0)}  # kernel -> padding, output padding: each doubles exactly


class HeatmapHead(nn.Module):
    """(n, C, h, w) features -> (n, K, H, W) heatmaps."""

    def __init__(self, channels: int, size: HeadSize) -> None:
        super().__init__()
        self.upsample = size.upsample
        padding, extra = _PADDING[size.deconv_kernel]
        layers: list[nn.Module] = []
        for wide in size.deconv:
            layers += [
                nn.ConvTranspose2d(
                    channels,
                    wide,
                    size.deconv_kernel,
                    stride=2,
                    padding=padding,
                    output_padding=extra,
                    bias=False,
                ),
                nn.BatchNorm2d(wide),
                nn.ReLU(inplace=True),
            ]
            channels = wide
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, size.points, size.final_kernel, padding=size.final_kernel // 2)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, std=0.001)  # heatmaps start near zero, as their background is
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(n, C, h, w) -> (n, K, H, W)."""
        if self.upsample != 1:
            features = nn.functional.interpolate(
                torch.relu(features), scale_factor=float(self.upsample), mode="bilinear", align_corners=False
            )
        heatmaps: Tensor = self.final_layer(self.deconv_layers(features))
        return heatmaps


class SimCCHead(nn.Module):
    """(n, C, h, w) features -> (n, K, bins across) and (n, K, bins down): SimCC (Li et al. 2022)."""

    def __init__(self, channels: int, size: HeadSize, cells: int) -> None:
        super().__init__()
        if size.bins is None:
            raise ValueError("a SimCC head needs its numbers of bins")
        maps = HeatmapHead(channels, size)
        if size.deconv:
            self.deconv_head = maps
        else:
            self.final_layer = maps.final_layer
        self.mlp_head_x = nn.Linear(cells, size.bins[0])
        self.mlp_head_y = nn.Linear(cells, size.bins[1])
        for layer in (self.mlp_head_x, self.mlp_head_y):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, h, w) -> (n, K, bins across), (n, K, bins down)."""
        maps = self.deconv_head if hasattr(self, "deconv_head") else self.final_layer
        cells = maps(features).flatten(2)
        return self.mlp_head_x(cells), self.mlp_head_y(cells)
