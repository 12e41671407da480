"""Where cells lie on a crop: from one network's pixels, maps and features to another's of the same crop."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from capbench.models.card import Geometry
from capbench.models.nets.architecture import Architecture, ViTSize
from capbench.models.nets.vit import PATCH_PADDING

STRIDE = 4  #: pixels from one cell of an HRNet's or FPN's features to the next


class Cells(NamedTuple):
    """Cells along one side of a crop: cell k lies at start + k · step, as a share of the person's box."""

    number: int
    start: float
    step: float


Sides = tuple[Cells, Cells]  #: along x, and along y


def _span(pixels: int, geometry: Geometry) -> int:
    """How many pixels the box measures, see ``capbench.models.crop``."""
    return pixels - 1 if geometry == "udp" else pixels


def picture_cells(made: Architecture, geometry: Geometry) -> Sides:
    """The crop's own pixels."""
    x, y = (Cells(side, 0.0, 1 / _span(side, geometry)) for side in made.input_size)
    return x, y


def map_cells(made: Architecture, geometry: Geometry) -> Sides:
    """Cells of the maps, or SimCC's bins, as ``synthpose.losses.cells_of`` has them."""
    sides = []
    for axis, pixels in enumerate(made.input_size):
        if made.head.bins is not None:  # they divide the width in either geometry
            bins = made.head.bins[axis]
            sides.append(Cells(bins, 0.0, pixels / bins / _span(pixels, geometry)))
        else:
            cells = made.heatmap_size[axis]
            sides.append(Cells(cells, 0.0, 1 / _span(cells, geometry)))
    return sides[0], sides[1]


def feature_cells(made: Architecture, geometry: Geometry) -> Sides:
    """The backbone's cells, each at the middle of what it sees."""
    start, step = 0.0, float(STRIDE)
    if isinstance(made.backbone, ViTSize):
        start, step = (made.backbone.patch - 1) / 2 - PATCH_PADDING, float(made.backbone.patch)
    sides = []
    for cells, pixels in zip(made.features, made.input_size, strict=True):
        span = _span(pixels, geometry)
        sides.append(Cells(cells, start / span, step / span))
    return sides[0], sides[1]


def resampling(given: Cells, wanted: Cells) -> Tensor | None:
    """(wanted, given) weights that sum to 1 over the given cells; None: they are the same cells.

    Linear between neighbours. Where wanted cells lie farther apart than the given ones each is a mean over a
    triangle as wide as their distance, so that nothing falls between them.
    """
    if given == wanted:
        return None
    at = torch.arange(wanted.number, dtype=torch.float64) * wanted.step + wanted.start
    at = ((at - given.start) / given.step).clamp(0, given.number - 1)
    reach = max(1.0, wanted.step / given.step)
    apart = (at[:, None] - torch.arange(given.number, dtype=torch.float64)).abs()
    made = (1 - apart / reach).clamp(min=0)
    return (made / made.sum(1, keepdim=True)).float()


class Resampled(nn.Module):
    """From some cells of a crop to others."""

    x: Tensor | None
    y: Tensor | None

    def __init__(self, given: Sides, wanted: Sides) -> None:
        super().__init__()
        for name, before, after in zip("xy", given, wanted, strict=True):
            self.register_buffer(name, resampling(before, after), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(..., h, w) -> (..., h', w')."""
        values = values if self.y is None else self.y @ values
        return self.along_x(values)

    def along_x(self, values: Tensor) -> Tensor:
        """(..., w) -> (..., w')."""
        return values if self.x is None else values @ self.x.T

    def along_y(self, values: Tensor) -> Tensor:
        """(..., h) -> (..., h')."""
        return values if self.y is None else values @ self.y.T
