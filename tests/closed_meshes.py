"""What tests of surfaces need: how often a closed mesh winds round points, and whether meshes are closed."""

from __future__ import annotations

import numba as nb
import numpy as np


def winding(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(P,) how often the mesh goes round each point: signed crossings of a ray along a skew direction."""
    way = np.array([0.231, 0.117, 0.966])
    way /= np.linalg.norm(way)
    across = np.cross(way, [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    turn = np.stack([across, np.cross(way, across), way])
    return _crossings(points @ turn.T, vertices @ turn.T, faces)


@nb.njit
def _crossings(p, v, faces):
    count = np.zeros(len(p), np.int64)
    for f in range(len(faces)):
        a, b, c = v[faces[f, 0]], v[faces[f, 1]], v[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0.0:
            continue
        low, high = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
        for i in range(len(p)):
            x, y = p[i, 0], p[i, 1]
            if x < low or x > high:
                continue
            s = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
            t = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
            if s < 0 or t < 0 or s + t > 1:
                continue
            if s * a[2] + t * b[2] + (1 - s - t) * c[2] > p[i, 2]:
                count[i] += 1 if area > 0 else -1
    return count


def merged(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces with vertices at one place counted as one."""
    _, place = np.unique(np.round(vertices, 9), axis=0, return_inverse=True)
    return place.reshape(-1)[faces]


def is_closed(faces: np.ndarray) -> bool:
    """Whether every edge has exactly two faces, which pass it in opposite directions."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward, times = np.unique(pairs, axis=0, return_counts=True)
    back = np.unique(pairs[:, ::-1], axis=0)
    return bool((times == 1).all() and np.array_equal(forward, back))
