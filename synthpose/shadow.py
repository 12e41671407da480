"""Shadows of a distant light: what it reaches first, drawn as a map that every picture of a frame shares.

The map is a parallel projection along the light: metres to its right and down count as pixels, and each pixel
holds how far along the light the first surface lies. What lies farther than that is in shadow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np

from cohorts.values import FloatArray, IntArray
from synthpose.render import Float32Array

PER_METRE = 64.0  #: pixels of the map
MOST = 1024  #: pixels a side: a larger scene gets a coarser map
MARGIN = 4  #: pixels round what casts shadows, for soft edges
CLEAR = 0.02  #: metres behind the first surface that still count as lit


@dataclass(frozen=True)
class Shadow:
    """What a light reaches first.

    Attributes
    ----------
    far : (n, m) metres along the light; infinite where nothing is
    scale : pixels a metre
    corner : (2,) metres right and down, in the light's axes, of the centre of the first pixel
    cast_v3 : (V, 3) the scene's vertices in the light's axes, metres
    """

    far: Float32Array
    scale: float
    corner: FloatArray
    cast_v3: FloatArray


def axes_of(toward: Sequence[float]) -> FloatArray:
    """(3, 3) right, down and forward of a light that comes from ``toward``, as rows in ground."""
    forward = -np.array(toward, float)
    forward /= np.sqrt((forward**2).sum())
    right = np.cross(forward, [1.0, 0.0, 0.0] if abs(forward[0]) < 0.9 else [0.0, 0.0, 1.0])
    right /= np.sqrt((right**2).sum())
    return np.ascontiguousarray(np.stack([right, np.cross(forward, right), forward]))


def cast(vertices_v3: FloatArray, faces_f3: IntArray, axes: FloatArray) -> Shadow:
    """The map of a light with those axes over the whole scene (metres in ground)."""
    inside = turned(vertices_v3, axes)
    if not len(faces_f3):
        return Shadow(np.full((1, 1), np.inf, np.float32), 1.0, np.zeros(2), inside)
    low, high = inside[:, :2].min(axis=0), inside[:, :2].max(axis=0)
    scale = min(PER_METRE, (MOST - 2 * MARGIN - 3) / max(float((high - low).max()), 1e-6))
    # whole pixels from the axes' origin, so that a shadow does not shimmer when its caster moves
    corner = (np.floor(low * scale) - MARGIN) / scale
    width, height = (np.ceil((high - corner) * scale) + MARGIN + 1).astype(int)
    far = np.full((height, width), np.inf, np.float32)
    _cast(inside, np.ascontiguousarray(faces_f3, np.int64), corner, scale, far)
    return Shadow(far, scale, corner, inside)


@nb.njit(cache=True)
def turned(points: FloatArray, axes: FloatArray) -> FloatArray:
    """(V, 3) points in other axes (rows of ``axes``)."""
    out = np.empty_like(points)
    for p in range(len(points)):
        a, b, c = points[p, 0], points[p, 1], points[p, 2]
        for r in range(3):
            out[p, r] = axes[r, 0] * a + axes[r, 1] * b + axes[r, 2] * c
    return out


@nb.njit(cache=True)
def _cast(points: FloatArray, faces: IntArray, corner: FloatArray, scale: float, far: Float32Array) -> None:
    height, width = far.shape
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        xi, yi = (points[i, 0] - corner[0]) * scale, (points[i, 1] - corner[1]) * scale
        xj, yj = (points[j, 0] - corner[0]) * scale, (points[j, 1] - corner[1]) * scale
        xk, yk = (points[k, 0] - corner[0]) * scale, (points[k, 1] - corner[1]) * scale
        left, right = max(np.ceil(min(xi, xj, xk)), 0.0), min(np.floor(max(xi, xj, xk)), width - 1.0)
        top, low = max(np.ceil(min(yi, yj, yk)), 0.0), min(np.floor(max(yi, yj, yk)), height - 1.0)
        if not (left <= right and top <= low):
            continue
        area = (xj - xi) * (yk - yi) - (yj - yi) * (xk - xi)
        if not 0.0 < abs(area) < np.inf:
            continue
        zi, zj, zk = points[i, 2], points[j, 2], points[k, 2]
        for row in range(int(top), int(low) + 1):
            y = float(row)
            for column in range(int(left), int(right) + 1):
                x = float(column)
                a = ((xj - x) * (yk - y) - (yj - y) * (xk - x)) / area
                b = ((xk - x) * (yi - y) - (yk - y) * (xi - x)) / area
                c = ((xi - x) * (yj - y) - (yi - y) * (xj - x)) / area
                if a >= 0.0 and b >= 0.0 and c >= 0.0:
                    far[row, column] = min(far[row, column], np.float32(a * zi + b * zj + c * zk))


@nb.njit(cache=True)
def hidden(
    far: Float32Array, scale: float, corner: FloatArray, x: float, y: float, z: float, clear: float
) -> float:
    """Which share of the light does not reach a point (metres in the light's axes), over 4 x 4 pixels."""
    u, v = (x - corner[0]) * scale, (y - corner[1]) * scale
    height, width = far.shape
    if not (1.0 <= u < width - 2.0 and 1.0 <= v < height - 2.0):
        return 0.0
    i, j = int(u), int(v)
    count = 0
    for row in range(j - 1, j + 3):
        for column in range(i - 1, i + 3):
            if far[row, column] < z - clear:
                count += 1
    return count / 16.0
