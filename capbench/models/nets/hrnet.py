"""HRNet: parallel branches at 1/4, 1/8, 1/16 and 1/32 of the picture that keep exchanging what they see.

Written from Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation" (2019).
Names of parameters are those of MMPose 1.x, so that its checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from capbench.models.nets.architecture import HRNetSize

EXPANSION = 4  #: of a bottleneck


def _conv(given: int, made: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, kernel, stride=stride, padding=kernel // 2, bias=False)


def _step(given: int, made: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution and its norm, with or without a ReLU."""
    layers = [_conv(given, made, stride=stride), nn.BatchNorm2d(made)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) -> the same."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + x
        out: Tensor = self.relu(y)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, which is itself a 1x1 one where channels change."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        made = EXPANSION * width
        self.conv1, self.bn1 = _conv(given, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, made, 1), nn.BatchNorm2d(made)
        self.relu = nn.ReLU(inplace=True)
        same = given == made
        self.downsample = (
            nn.Identity() if same else nn.Sequential(_conv(given, made, 1), nn.BatchNorm2d(made))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) -> (n, 4 width, h, w)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y)) + self.downsample(x)
        out: Tensor = self.relu(y)
        return out


class Exchange(nn.Module):
    """One module of a stage: each branch on its own, then each the sum of all, brought to its size."""

    def __init__(self, widths: list[int], blocks: int, *, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Basic(w) for _ in range(blocks))) for w in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_bring(widths, j, i) for j in range(len(widths))) for i in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """One tensor a branch -> the same, or the finest alone."""
        ys = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        return [self._sum(row, ys) for row in cast(Iterable[nn.ModuleList], self.fuse_layers)]

    def _sum(self, row: Iterable[nn.Module], ys: list[Tensor]) -> Tensor:
        parts = [layer(y) for layer, y in zip(row, ys, strict=True)]
        total: Tensor = self.relu(sum(parts[1:], parts[0]))  # left to right, as published weights saw it
        return total


def _bring(widths: list[int], source: int, target: int) -> nn.Module:
    """From the size of one branch to that of another."""
    if source == target:
        return nn.Identity()
    given, made = widths[source], widths[target]
    if source > target:
        return nn.Sequential(
            _conv(given, made, 1),
            nn.BatchNorm2d(made),
            nn.Upsample(scale_factor=float(2 ** (source - target)), mode="nearest"),
        )
    steps = target - source
    between = [_step(given, given, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*between, _step(given, made, stride=2, relu=False))


class HRNet(nn.Module):
    """(n, 3, h, w) -> (n, width, h / 4, w / 4)."""

    def __init__(self, size: HRNetSize) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 64, stride=2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = _conv(64, 64, stride=2), nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        made = EXPANSION * size.stem_width
        self.layer1 = nn.Sequential(
            *(Bottleneck(made if i else 64, size.stem_width) for i in range(size.stem_blocks))
        )
        widths = [size.width * 2**i for i in range(4)]
        before = [made]
        for stage, modules in enumerate(size.modules, start=2):
            now = widths[:stage]
            setattr(self, f"transition{stage - 1}", _transition(before, now))
            ends = [stage] * modules
            if stage == 4:
                ends[-1] = 1  # only the finest branch leaves the network
            exchanges = (Exchange(now, size.blocks, outputs=end) for end in ends)
            setattr(self, f"stage{stage}", nn.Sequential(*exchanges))
            before = now

    def forward(self, picture: Tensor) -> Tensor:
        """(n, 3, h, w), h and w multiples of 32 -> the finest branch (n, width, h / 4, w / 4)."""
        x = self.relu(self.bn1(self.conv1(picture)))
        x = self.relu(self.bn2(self.conv2(x)))
        xs: list[Tensor] = [self.layer1(x)]
        for stage in (2, 3, 4):
            # a branch goes on as it is, a new one starts from the coarsest
            transition = getattr(self, f"transition{stage - 1}")
            xs = [step(xs[min(i, len(xs) - 1)]) for i, step in enumerate(transition)]
            xs = getattr(self, f"stage{stage}")(xs)
        return xs[0]


def _transition(before: list[int], now: list[int]) -> nn.ModuleList:
    """From the branches of one stage to those of the next, which has one more."""
    steps: list[nn.Module] = [
        nn.Identity() if given == made else _step(given, made)
        for given, made in zip(before, now, strict=False)
    ]
    steps.append(nn.Sequential(_step(before[-1], now[-1], stride=2)))
    return nn.ModuleList(steps)
