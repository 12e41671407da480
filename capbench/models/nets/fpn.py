"""A feature pyramid: a narrow chain of residual stages to 1/32 of the picture, and back up to 1/4.

After Lin et al., "Feature Pyramid Networks for Object Detection" (2017), in the size a CPU can train. Most of
its work is at 1/4 of the picture, where the maps are; the coarse stages cost little and see the whole person.
"""

from __future__ import annotations

from torch import Tensor, nn

from capbench.models.nets.architecture import FPNSize


def _step(given: int, made: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution and its norm, with or without a ReLU."""
    layers = [nn.Conv2d(given, made, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(made)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _step(channels, channels)
        self.second = _step(channels, channels, relu=False)
        self.relu = nn.ReLU(inplace=True)
        for module in self.second:
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)  # starts as its shortcut, which trains sooner

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) -> the same."""
        out: Tensor = self.relu(self.second(self.first(x)) + x)
        return out


class FPN(nn.Module):
    """(n, 3, h, w) pictures -> (n, width, h / 4, w / 4) features."""

    def __init__(self, size: FPNSize) -> None:
        super().__init__()
        self.stem = _step(3, size.stem, stride=2)
        given = (size.stem, *size.stages[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(_step(before, wide, stride=2), *(Residual(wide) for _ in range(blocks)))
            for before, wide, blocks in zip(given, size.stages, size.stage_blocks, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(wide, size.width, 1) for wide in size.stages)
        self.smooth = _step(size.width, size.width)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, picture: Tensor) -> Tensor:
        """Down the chain, then up again with what each stage saw."""
        seen = []
        x = self.stem(picture)
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        merged = self.lateral[-1](seen[-1])
        for k in reversed(range(len(seen) - 1)):
            merged = self.lateral[k](seen[k]) + self.up(merged)
        out: Tensor = self.smooth(merged)
        return out
