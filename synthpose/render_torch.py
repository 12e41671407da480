"""The rasteriser of ``synthpose.render`` in torch, for many pictures at once and on any device with float64.

Equal pictures: the same vertices on the same grid, the same sums in the same order in 64 bits, the same
rule for ties. Every pixel of a triangle's bounding box is a row of work; depth (whose 32 bits order as whole
numbers do, being positive) and the triangle's number are packed into one 64-bit number, of which each pixel
keeps the least. Large boxes are many rows, small ones few, so nothing is padded; rows are done in portions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cohorts.errors import EnvironmentFault
from cohorts.values import FloatArray, IntArray
from synthpose.render import GRID, NEAR, Buffers, check_mesh

if TYPE_CHECKING:
    from torch import Tensor

PORTION = 1 << 18  #: rows at once (about 250 bytes each); more keep a GPU busier
_NOTHING = (1 << 63) - 1
_FACE = (1 << 32) - 1


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise EnvironmentFault(
            f"Drawing with torch needs torch, which can't be imported ({error}).",
            fix="pip install 'capbench[torch]', or draw with synthpose.render",
        ) from error
    return torch


def rasterise(
    pixels_v2: FloatArray,
    depth_v: FloatArray,
    faces_f3: IntArray,
    *,
    size: tuple[int, int],
    device: str = "cpu",
    portion: int = PORTION,
) -> Buffers:
    """``synthpose.render.rasterise`` on a torch device ("cpu", "cuda")."""
    torch = _torch()
    check_mesh(pixels_v2, depth_v, faces_f3, size)
    drawn = rasterise_batch(
        torch.tensor(np.asarray(pixels_v2), dtype=torch.float64, device=device)[None],
        torch.tensor(np.asarray(depth_v), dtype=torch.float64, device=device)[None],
        torch.tensor(np.asarray(faces_f3), dtype=torch.int64, device=device),
        size=size,
        portion=portion,
    )
    depth, face, bary = (found[0].cpu().numpy() for found in drawn)
    return Buffers(depth, face, bary)


def rasterise_batch(
    pixels_bv2: Tensor, depth_bv: Tensor, faces_f3: Tensor, *, size: tuple[int, int], portion: int = PORTION
) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (B, h, w) float32, face (B, h, w) int32 and bary (B, h, w, 2) float32 of B pictures of one mesh.

    All tensors on one device, pixels and depth in float64, faces in int64; see ``synthpose.render.Buffers``.
    """
    torch = _torch()
    width, height = size
    corners = faces_f3.flatten()
    grid = (torch.round(pixels_bv2 * GRID) / GRID).index_select(1, corners)
    xy = grid.view(len(grid), -1, 3, 2)
    z = depth_bv.index_select(1, corners).view(len(grid), -1, 3)
    work = _boxes(torch, xy, z, size)
    best = torch.full((len(xy) * height * width,), _NOTHING, dtype=torch.int64, device=xy.device)
    for chosen in _portions(torch, work["count"], portion):
        _draw(torch, {name: column[..., chosen] for name, column in work.items()}, best, size)
    return _seen(torch, best, xy, z, size)


def _boxes(torch: Any, xy: Tensor, z: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """What is worth drawing: pictures, faces, shapes, and the box of pixels that each triangle may cover."""
    width, height = size
    x, y = xy[..., 0], xy[..., 1]
    left, right = torch.ceil(_least(torch, x)).clamp(min=0.0), torch.floor(-_least(torch, -x))
    top, low = torch.ceil(_least(torch, y)).clamp(min=0.0), torch.floor(-_least(torch, -y))
    right, low = right.clamp(max=width - 1.0), low.clamp(max=height - 1.0)
    picture, face = ((left <= right) & (top <= low)).nonzero(as_tuple=True)  # few are left
    shape = _shape(torch, xy[picture, face], z[picture, face])
    area = _area(shape)
    good = (area.abs() > 0.0) & (area.abs() < torch.inf) & (z[picture, face] > NEAR).all(dim=1)
    good = good.nonzero()[:, 0]
    picture, face = picture[good], face[good]
    box = torch.stack([side[picture, face] for side in (left, right, top, low)]).long()
    wide = box[1] - box[0] + 1
    return {
        "shape": shape[:, good],
        "where": torch.stack([picture, face, box[0], box[2], wide]),
        "count": wide * (box[3] - box[2] + 1),
    }


def _least(torch: Any, corners: Tensor) -> Tensor:
    """The least of three along the last axis; NaN if one is."""
    least: Tensor = torch.minimum(torch.minimum(corners[..., 0], corners[..., 1]), corners[..., 2])
    return least


def _shape(torch: Any, xy: Tensor, z: Tensor) -> Tensor:
    """(10, N) of triangles: x y of the corners, their 1 / depth, and which way round they go."""
    shape: Tensor = torch.cat([xy.flatten(1).T, (1.0 / z).T, torch.ones_like(z[:, :1]).T])
    shape[9] = torch.where(_area(shape) > 0.0, 1.0, -1.0)
    return shape.contiguous()


def _area(shape: Tensor) -> Tensor:
    """Twice the signed area."""
    xi, yi, xj, yj, xk, yk = shape[:6].unbind()
    return (xj - xi) * (yk - yi) - (yj - yi) * (xk - xi)


def _portions(torch: Any, count: Tensor, portion: int) -> list[slice]:
    """Runs of triangles of about ``portion`` pixels together; one triangle at least."""
    if not len(count):
        return []
    bins = (count.cumsum(0) - 1) // portion
    _, lengths = torch.unique_consecutive(bins, return_counts=True)
    ends = np.cumsum(lengths.cpu().numpy())
    return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _sides(shape: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which side of each edge pixels lie on, and the sum that depth is made of, as in ``render._draw``."""
    xi, yi, xj, yj, xk, yk, wi, wj, wk, turn = shape.unbind()
    a = turn * ((xj - x) * (yk - y) - (yj - y) * (xk - x))
    b = turn * ((xk - x) * (yi - y) - (yk - y) * (xi - x))
    c = turn * ((xi - x) * (yj - y) - (yi - y) * (xj - x))
    return a, b, c, a * wi + b * wj + c * wk


def _draw(torch: Any, work: dict[str, Tensor], best: Tensor, size: tuple[int, int]) -> None:
    width, height = size
    count = work["count"]
    of = torch.repeat_interleave(count)
    picture, face, left, top, wide = work["where"].index_select(1, of).unbind()
    place = torch.arange(len(of), device=of.device) - (count.cumsum(0) - count)[of]
    row = torch.div(place, wide, rounding_mode="floor")
    column = left + place - row * wide
    row = row + top
    shape = work["shape"].index_select(1, of)
    a, b, c, near = _sides(shape, column.to(shape.dtype), row.to(shape.dtype))
    z = ((a + b + c) / near).to(torch.float32)
    good = (a >= 0.0) & (b >= 0.0) & (c >= 0.0) & (near > 0.0) & (near < torch.inf) & (z < torch.inf)
    good = good.nonzero()[:, 0]
    pixel = (picture[good] * height + row[good]) * width + column[good]
    packed = (z[good].view(torch.int32).long() << 32) | face[good]
    best.scatter_reduce_(0, pixel, packed, "amin")


def _seen(
    torch: Any, best: Tensor, xy: Tensor, z: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    width, height = size
    pixel = (best != _NOTHING).nonzero()[:, 0]
    found = best[pixel]
    depth = torch.full((len(best),), torch.inf, dtype=torch.float32, device=best.device)
    face = torch.full((len(best),), -1, dtype=torch.int32, device=best.device)
    bary = torch.zeros((len(best), 2), dtype=torch.float32, device=best.device)
    depth[pixel] = (found >> 32).to(torch.int32).view(torch.float32)
    triangle = found & _FACE
    face[pixel] = triangle.to(torch.int32)
    picture = pixel // (height * width)
    shape = _shape(torch, xy[picture, triangle], z[picture, triangle])
    x, y = (pixel % width).to(xy.dtype), (pixel // width % height).to(xy.dtype)
    a, b, _, total = _sides(shape, x, y)
    bary[pixel] = torch.stack([a * shape[6] / total, b * shape[7] / total], dim=1).to(torch.float32)
    return tuple(t.view(len(xy), height, width, *t.shape[1:]) for t in (depth, face, bary))
