"""Solids whose pictures have closed forms, cameras to see them, and rays to hold them against."""

from __future__ import annotations

import numpy as np

from cohorts.camera import Camera
from cohorts.recording import Markers
from synthpose.mesh import Surface
from synthpose.rig import facing
from synthpose.scene import Actor, Light, Material, Room


def camera(place=(3.0, 1.2, 1.0), aim=(0.0, 1.0, 0.0), size=(96, 72), focal=110.0, **lens) -> Camera:
    rotation = facing(np.array(place, float), np.array(aim, float))
    matrix = np.array([[focal, 0, size[0] / 2 - 0.3], [0, 1.02 * focal, size[1] / 2 - 0.7], [0, 0, 1]])
    return Camera("cam", matrix, rotation, -rotation @ np.array(place, float), size, **lens)


def pixels_of(cam: Camera) -> np.ndarray:
    width, height = cam.size
    return np.stack(np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float)), axis=-1)


def sphere(rows=24, radius=1.0, centre=(0.0, 0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Vertices on the sphere; triangles with sides of at most pi radius / rows, outside anticlockwise."""
    polar = np.pi * np.arange(1, rows) / rows
    turn = np.pi * np.arange(2 * rows) / rows
    ring = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(turn),
            np.cos(polar)[:, None] * np.ones_like(turn),
            np.sin(polar)[:, None] * np.sin(turn),
        ],
        axis=-1,
    )
    v = np.concatenate([[[0, 1, 0]], ring.reshape(-1, 3), [[0, -1, 0]]])
    return np.asarray(centre) + radius * v, _grid_faces(rows, len(v))


def capsule(rows=24, radius=0.3, length=1.0) -> tuple[np.ndarray, np.ndarray]:
    """Along y about the origin, ``length`` between the centres of its ends; ``rows`` is even."""
    v, faces = sphere(rows, radius)
    polar = np.concatenate([[0], np.repeat(np.arange(1, rows), 2 * rows), [rows]])
    low = polar >= rows / 2
    seam = np.flatnonzero(polar == rows / 2)
    copy = len(v) + np.arange(len(seam))  # the equator once for each end, with a wall between
    above = dict(zip(seam.tolist(), copy.tolist(), strict=True))
    ends = [[above.get(i, i) if not low[list(f)].all() else i for i in f] for f in faces.tolist()]
    n = 2 * rows
    wall = []
    for k in range(n):
        a, b, c, d = copy[k], copy[(k + 1) % n], seam[k], seam[(k + 1) % n]
        wall += [[a, b, d], [a, d, c]]
    shift = np.where(low, -length / 2, length / 2)[:, None] * [0, 1, 0]
    return np.concatenate([v + shift, v[seam] + [0, length / 2, 0]]), np.array(ends + wall)


def _grid_faces(rows: int, count: int) -> np.ndarray:
    n = 2 * rows
    faces = []
    for k in range(n):
        right = (k + 1) % n
        faces.append([0, 1 + right, 1 + k])
        for row in range(rows - 2):
            a, b = 1 + row * n + k, 1 + row * n + right
            faces += [[a, b, b + n], [a, b + n, a + n]]
        last = 1 + (rows - 2) * n
        faces.append([count - 1, last + k, last + right])
    return np.array(faces)


def box(low, high) -> tuple[np.ndarray, np.ndarray]:
    """Each side with corners of its own, so that it is flat."""
    low, high = np.array(low, float), np.array(high, float)
    vertices, faces = [], []
    for axis in range(3):
        for end in (0, 1):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = np.empty(3)
                corner[axis], corner[u], corner[v] = end, a, b
                vertices.append(low + corner * (high - low))
            k = len(vertices) - 4
            quad = [[k, k + 1, k + 2], [k, k + 2, k + 3]]
            faces += quad if end else [f[::-1] for f in quad]
    return np.array(vertices), np.array(faces)


def surface(vertices, faces, *, body="torso", name="solid", material="stuff") -> Surface:
    count = len(vertices)
    return Surface(
        name, np.asarray(vertices, float), np.asarray(vertices, float), np.asarray(faces, np.int64),
        np.zeros(len(faces), np.int64), (material,), np.zeros((count, 1), np.int64), np.ones((count, 1)),
        (body,),
    )  # fmt: skip


def actor(vertices, faces, *, person=1, colour=(0.5, 0.4, 0.3), rough=0.0, **kind) -> Actor:
    return Actor(surface(vertices, faces, **kind), {"stuff": Material(colour, rough=rough)}, person)


def bare_room(toward=(0.0, 1.0, 0.0), lamp=(0.6, 0.6, 0.6), ambient=(0.3, 0.3, 0.3), **kind) -> Room:
    return Room(lights=(Light(toward, lamp),), ambient=ambient, **kind)


def markers(points) -> Markers:
    points = np.atleast_2d(np.asarray(points, float))
    return Markers(np.zeros(1), tuple(f"m{k}" for k in range(len(points))), points[None])


def ray_hits(origin, directions, vertices, faces) -> tuple[np.ndarray, np.ndarray]:
    """(N,) how far along each direction (N, 3) the first triangle is, and which: Möller and Trumbore's."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    e, g = b - a, c - a
    best, face = np.full(len(directions), np.inf), np.full(len(directions), -1)
    for n, d in enumerate(directions):
        p = np.cross(d, g)
        det = (e * p).sum(axis=1)
        with np.errstate(all="ignore"):
            t = origin - a
            u = (t * p).sum(axis=1) / det
            q = np.cross(t, e)
            v = (d * q).sum(axis=1) / det
            far = (g * q).sum(axis=1) / det
            far = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (far > 0), far, np.inf)
        if np.isfinite(far).any():
            best[n], face[n] = far.min(), far.argmin()
    return best, face
