"""Closed solids that aids and ornaments are made of: boxes, rods along a path, rings, ellipsoids.

Each function gives vertices (N, 3) metres and triangles (F, 3), anticlockwise seen from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cohorts.values import FloatArray, IntArray

Solid = tuple[FloatArray, IntArray]


STEP = 0.15  #: metres: sides and rods are divided so, for a lens bends vertices and not edges


def box(low: ArrayLike, high: ArrayLike) -> Solid:
    """The box between two corners; each side has its own vertices, so edges look sharp."""
    corner, size = np.minimum(low, high), np.abs(np.subtract(high, low))
    vertices, faces, first = [], [], 0
    for axis in range(3):
        across, up = (axis + 1) % 3, (axis + 2) % 3
        n, m = (int(np.ceil(size[k] / STEP)) + 1 for k in (across, up))
        for end in (0, 1):
            place = np.empty((m, n, 3))
            place[..., axis] = end
            place[..., across] = np.linspace(0, 1, n)
            place[..., up] = np.linspace(0, 1, m)[:, None]
            vertices.append(corner + place.reshape(-1, 3) * size)
            side = strip(m, n, closed=False)
            faces.append(first + (side if end else side[:, ::-1]))
            first += n * m
    return np.concatenate(vertices), np.concatenate(faces)


def rod(path: Sequence[ArrayLike], radius: ArrayLike, *, sides: int = 10) -> Solid:
    """A round rod along a path, its ends capped; ``radius`` metres, of the whole or of each point."""
    points = np.array(path, float)
    radii = np.broadcast_to(np.asarray(radius, float), len(points))
    points, radii = _divided(points, radii)
    step = np.diff(points, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    tangent = np.vstack([step[:1], step[:-1] + step[1:], step[-1:]])
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.eye(3)[np.abs(tangent[0]).argmin()]
    angle = 2 * np.pi * np.arange(sides) / sides
    rings = []
    for centre, way, r in zip(points, tangent, radii, strict=True):
        across = across - np.dot(across, way) * way  # carried along, so the rod does not twist
        across /= np.linalg.norm(across)
        other = np.cross(way, across)
        rings.append(centre + r * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * other))
    return capped(np.array(rings))


def _divided(points: FloatArray, radii: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A path with as many points more as its long stretches need."""
    lengths = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    places = [np.zeros(1)]
    for k, count in enumerate(np.maximum(np.ceil(lengths / STEP).astype(int), 1)):
        places.append(k + np.linspace(0, 1, count + 1)[1:])
    at, known = np.concatenate(places), np.arange(len(points), dtype=float)
    return np.stack([np.interp(at, known, points[:, k]) for k in range(3)], axis=1), np.interp(
        at, known, radii
    )


def capped(rings: FloatArray) -> Solid:
    """A solid from rings (J, K, 3) that turn anticlockwise about the way they go on; both ends get a cap."""
    count, around, _ = rings.shape
    faces = [strip(count, around)]
    ends = np.stack([rings[0].mean(axis=0), rings[-1].mean(axis=0)])
    k = np.arange(around)
    first, last, turn = count * around, count * around + 1, (k + 1) % around
    faces.append(np.stack([np.full(around, first), turn, k], axis=1))
    top = (count - 1) * around
    faces.append(np.stack([np.full(around, last), top + k, top + turn], axis=1))
    return np.concatenate([rings.reshape(-1, 3), ends]), np.concatenate(faces)


def strip(rings: int, around: int, *, closed: bool = True) -> IntArray:
    """Triangles between rings of vertices that turn anticlockwise about the way they go on.

    ``closed`` joins each ring's last vertex with its first.
    """
    j, k = np.meshgrid(np.arange(rings - 1), np.arange(around if closed else around - 1), indexing="ij")
    a, b = j * around + k, j * around + (k + 1) % around
    c, d = a + around, b + around
    faces = np.stack([np.stack([a, b, c], axis=-1), np.stack([b, d, c], axis=-1)], axis=2)
    return np.asarray(faces.reshape(-1, 3))


def hoop(
    centre: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    radius: float,
    *,
    around: int = 20,
    sides: int = 6,
) -> Solid:
    """A ring of round wire: ``first`` and ``second`` (3,) are the half-axes of the oval it follows."""
    a, b = np.array(first, float), np.array(second, float)
    angle = 2 * np.pi * np.arange(around) / around
    out = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
    axis = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    radial = out / np.linalg.norm(out, axis=1, keepdims=True)
    turn = 2 * np.pi * np.arange(sides) / sides
    wire = np.cos(turn)[:, None, None] * radial - np.sin(turn)[:, None, None] * axis
    rings = np.moveaxis(np.array(centre) + out + radius * wire, 0, 1)
    closed = np.concatenate([rings, rings[:1]])
    faces = strip(around + 1, sides) % (around * sides)
    return closed[:-1].reshape(-1, 3), faces


def ellipsoid(centre: ArrayLike, half: ArrayLike, *, rings: int = 8, around: int = 14) -> Solid:
    """An ellipsoid with half-axes along x, y, z."""
    tilt = np.pi * (np.arange(rings) + 1) / (rings + 1) - np.pi / 2
    angle = -2 * np.pi * np.arange(around) / around
    ring = np.stack(
        [
            np.cos(tilt)[:, None] * np.cos(angle),
            np.broadcast_to(np.sin(tilt)[:, None], (rings, around)),
            np.cos(tilt)[:, None] * np.sin(angle),
        ],
        axis=-1,
    )
    vertices, faces = capped(ring)
    vertices[-2:] = [[0, -1, 0], [0, 1, 0]]
    return np.array(centre) + vertices * np.array(half), faces


def joined(solids: Sequence[Solid]) -> tuple[FloatArray, IntArray, IntArray]:
    """All vertices, all triangles, and the number of each triangle's solid."""
    starts = np.cumsum([0, *(len(v) for v, _ in solids)])
    faces = np.concatenate([f + s for (_, f), s in zip(solids, starts, strict=False)])
    which = np.repeat(np.arange(len(solids)), [len(f) for _, f in solids])
    return np.concatenate([v for v, _ in solids]), faces, which


def volume(vertices: FloatArray, faces: IntArray) -> float:
    """Cubic metres inside a closed surface; negative where it is turned inside out."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)
