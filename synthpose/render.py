"""A z-buffer rasteriser: which triangle each pixel sees, how far away, and where on the triangle.

Compiled, single-threaded and without reordering of sums, so the same scene gives the same bytes everywhere.
Vertices come projected already (a lens bends vertices, not edges: triangles are small), depth is what the
camera measures along its axis. Depth and whatever else lives on vertices is interpolated with perspective.

Vertices are moved to the nearest 1/4096 of a pixel first. In pictures of up to 8192 pixels a side, the tests
of on which side of an edge a pixel lies are then whole numbers below 2^53, so they are exact: two triangles
that share an edge never leave a hole between them, however they are wound and in whatever order they come.
``synthpose.render_torch`` does the same sums in the same order on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.values import FloatArray, IntArray

NEAR = 0.05  #: metres: a triangle with a vertex nearer than this is left out
GRID = 4096.0  #: places for a vertex in a pixel, each way
LARGEST = 8192  #: pixels a side
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


@dataclass(frozen=True)
class Buffers:
    """What each pixel sees.

    Attributes
    ----------
    depth_hw : metres along the optical axis; infinite where nothing is
    face_hw : number of the triangle, -1 where nothing is
    bary_hw2 : shares of its first and second vertex, perspective-correct
    """

    depth_hw: Float32Array
    face_hw: Int32Array
    bary_hw2: Float32Array


def rasterise(
    pixels_v2: FloatArray, depth_v: FloatArray, faces_f3: IntArray, *, size: tuple[int, int]
) -> Buffers:
    """Draw triangles, both sides, nearest first.

    Parameters
    ----------
    pixels_v2 : (V, 2) where vertices are seen; (0, 0) is the centre of the top-left pixel; NaN: not seen
    depth_v : (V,) metres along the optical axis
    faces_f3 : (F, 3) vertices
    size : (width, height) pixels

    A pixel belongs to a triangle that covers its centre, edges included; where two cover it at one depth (as
    a 32-bit number), the lower number has it. Triangles with a vertex nearer than ``NEAR``, or not seen, or
    without area, are left out.
    """
    check_mesh(pixels_v2, depth_v, faces_f3, size)
    width, height = size
    depth = np.full((height, width), np.inf, np.float32)
    face = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    _draw(
        snapped(pixels_v2),
        np.ascontiguousarray(depth_v, np.float64),
        np.ascontiguousarray(faces_f3, np.int64),
        depth,
        face,
        bary,
    )
    return Buffers(depth, face, bary)


def check_mesh(pixels_v2: FloatArray, depth_v: FloatArray, faces_f3: IntArray, size: tuple[int, int]) -> None:
    """Refuse arrays that don't fit together, and pictures too large."""
    if pixels_v2.shape != (len(depth_v), 2) or faces_f3.ndim != 2 or faces_f3.shape[1] != 3:
        raise CapbenchError(
            f"Expected pixels (V, 2), depths (V,) and faces (F, 3), got {pixels_v2.shape}, {depth_v.shape} "
            f"and {faces_f3.shape}."
        )
    if len(faces_f3) and not 0 <= faces_f3.min() <= faces_f3.max() < len(depth_v):
        raise CapbenchError(f"Expected faces of vertices 0 to {len(depth_v) - 1}.")
    if not (min(size) >= 1 and max(size) <= LARGEST):
        raise CapbenchError(f"Expected pictures of 1 to {LARGEST} pixels a side, got {size[0]} x {size[1]}.")


def snapped(pixels_v2: FloatArray) -> FloatArray:
    """Pixels on the grid of 1 / ``GRID``."""
    return np.ascontiguousarray(np.rint(np.asarray(pixels_v2, np.float64) * GRID) / GRID)


@nb.njit(cache=True)
def _draw(
    pixels: FloatArray,
    depths: FloatArray,
    faces: IntArray,
    depth: Float32Array,
    face: Int32Array,
    bary: Float32Array,
) -> None:
    height, width = depth.shape
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        xi, xj, xk = pixels[i, 0], pixels[j, 0], pixels[k, 0]
        left, right = max(np.ceil(min(xi, xj, xk)), 0.0), min(np.floor(max(xi, xj, xk)), width - 1.0)
        yi, yj, yk = pixels[i, 1], pixels[j, 1], pixels[k, 1]
        top, low = max(np.ceil(min(yi, yj, yk)), 0.0), min(np.floor(max(yi, yj, yk)), height - 1.0)
        if not (left <= right and top <= low):  # most triangles are smaller than a pixel
            continue
        area = (xj - xi) * (yk - yi) - (yj - yi) * (xk - xi)
        zi, zj, zk = depths[i], depths[j], depths[k]
        if not (0.0 < abs(area) < np.inf and zi > NEAR and zj > NEAR and zk > NEAR):  # NaN too
            continue
        turn = 1.0 if area > 0.0 else -1.0
        wi, wj, wk = 1.0 / zi, 1.0 / zj, 1.0 / zk
        for row in range(int(top), int(low) + 1):
            y = float(row)
            for column in range(int(left), int(right) + 1):
                x = float(column)
                a = turn * ((xj - x) * (yk - y) - (yj - y) * (xk - x))
                b = turn * ((xk - x) * (yi - y) - (yk - y) * (xi - x))
                c = turn * ((xi - x) * (yj - y) - (yi - y) * (xj - x))
                if not (a >= 0.0 and b >= 0.0 and c >= 0.0):
                    continue
                near = a * wi + b * wj + c * wk
                if not 0.0 < near < np.inf:
                    continue
                z = np.float32((a + b + c) / near)
                if z < depth[row, column]:
                    depth[row, column] = z
                    face[row, column] = f
                    bary[row, column, 0] = a * wi / near
                    bary[row, column, 1] = b * wj / near


def interpolate(buffers: Buffers, faces_f3: IntArray, values_vc: FloatArray) -> Float32Array:
    """(h, w, C) values that live on vertices (V, C), as each pixel sees them; NaN where it sees nothing."""
    values = np.ascontiguousarray(values_vc, np.float64)
    return _spread(buffers.face_hw, buffers.bary_hw2, np.ascontiguousarray(faces_f3, np.int64), values)


@nb.njit(cache=True)
def _spread(face: Int32Array, bary: Float32Array, faces: IntArray, values: FloatArray) -> Float32Array:
    height, width = face.shape
    out = np.full((height, width, values.shape[1]), np.nan, np.float32)
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f >= 0:
                a, b = float(bary[y, x, 0]), float(bary[y, x, 1])
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                for c in range(values.shape[1]):
                    out[y, x, c] = a * values[i, c] + b * values[j, c] + (1.0 - a - b) * values[k, c]
    return out


def normals(vertices_v3: FloatArray, faces_f3: IntArray) -> FloatArray:
    """(V, 3) unit normals outward: the mean of the adjoining triangles', each by its area."""
    out = _normals(np.ascontiguousarray(vertices_v3, np.float64), np.ascontiguousarray(faces_f3, np.int64))
    return out


@nb.njit(cache=True)
def _normals(v: FloatArray, faces: IntArray) -> FloatArray:
    out = np.zeros_like(v)
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = v[j, 0] - v[i, 0], v[j, 1] - v[i, 1], v[j, 2] - v[i, 2]
        wx, wy, wz = v[k, 0] - v[i, 0], v[k, 1] - v[i, 1], v[k, 2] - v[i, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for corner in (i, j, k):
            out[corner, 0] += nx
            out[corner, 1] += ny
            out[corner, 2] += nz
    for p in range(len(v)):
        length = np.sqrt(out[p, 0] ** 2 + out[p, 1] ** 2 + out[p, 2] ** 2)
        if length > 0.0:
            out[p, 0] /= length
            out[p, 1] /= length
            out[p, 2] /= length
    return out
