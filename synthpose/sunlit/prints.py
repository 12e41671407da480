"""Prints of cloth, and what floors and walls are laid with; compiled.

Everything is made of two things that the default style does not have: a scatter of points in cells (after
Worley, 1996, "A cellular texture basis function"), and waves that are bent by other waves. Edges are smoothed
over the width of a pixel, and lines thinner than that fade.
"""

from __future__ import annotations

import numba as nb
import numpy as np

PLAIN = 0
#: of cloth, then of skin and hair
DOTS, PATCHES, ZIGZAG, DIAMONDS, MARBLE, MOTTLE, STREAKS = range(20, 27)
#: of rooms
TILES, BOARDS, BRICKS, PAPER, TERRAZZO = range(30, 35)
CLOTHS = (DOTS, PATCHES, ZIGZAG, DIAMONDS, MARBLE)
FLOORS = (TILES, BOARDS, TERRAZZO)
WALLS = (BRICKS, PAPER, TILES)
JITTER = 0.6  #: of a cell, by which its point may be away from the middle


@nb.njit(cache=True)
def scatter(i: int, j: int, k: int, seed: int) -> float:
    """A number in [0, 1) for a cell."""
    h = np.uint32(i * 2654435761 ^ j * 2246822519 ^ k * 3266489917) ^ np.uint32(seed * 668265263 + 374761393)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
    return float(h ^ (h >> np.uint32(16))) / 4294967296.0


@nb.njit(cache=True)
def cells(x: float, y: float, z: float, seed: int) -> tuple[float, float, float]:
    """How far the nearest and the next point are, in cells, and the nearest one's own number in [0, 1)."""
    near, next_, own = 9.0, 9.0, 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                i, j, k = int(np.floor(x - 0.5)) + a, int(np.floor(y - 0.5)) + b, int(np.floor(z - 0.5)) + c
                u = i + 0.5 + JITTER * (scatter(i, j, k, seed) - 0.5) - x
                v = j + 0.5 + JITTER * (scatter(i, j, k, seed + 101) - 0.5) - y
                w = k + 0.5 + JITTER * (scatter(i, j, k, seed + 202) - 0.5) - z
                far = u * u + v * v + w * w
                if far < near:
                    near, next_, own = far, near, scatter(i, j, k, seed + 303)
                elif far < next_:
                    next_ = far
    return np.sqrt(near), np.sqrt(next_), own


@nb.njit(cache=True)
def wave(t: float) -> float:
    """Nearly the sine of a turn: parabolas from -1 to 1, with the same result on any machine."""
    f = t - np.floor(t)
    return float(16.0 * f * (0.5 - f) if f < 0.5 else -16.0 * (f - 0.5) * (1.0 - f))


@nb.njit(cache=True)
def bent(x: float, y: float, z: float, seed: int) -> float:
    """A wave bent by two others, 0 to 1: veins, folds and rings about as wide as one."""
    start = scatter(1, 2, 3, seed)
    first = wave(0.37 * x + 0.23 * y - 0.41 * z + start)
    second = wave(0.29 * y - 0.43 * x + 0.31 * z + 0.35 * first + 3.7 * start)
    return 0.5 + 0.5 * wave(0.53 * z + 0.41 * y + 0.22 * x + 0.55 * second + 0.3 * first)


@nb.njit(cache=True)
def within(inside: float, pixel: float) -> float:
    """Share of a pixel inside an edge that is ``inside`` metres away (outside: less than 0)."""
    return min(max(inside / pixel + 0.5, 0.0), 1.0)


@nb.njit(cache=True)
def lines(t: float, pitch: float, wide: float, pixel: float) -> float:
    """Which share of a pixel lines cover that lie at every multiple of ``pitch``, ``wide`` metres."""
    away = abs(t - pitch * np.floor(t / pitch + 0.5))
    return float(max(min(0.5 * wide, away + 0.5 * pixel) - max(-0.5 * wide, away - 0.5 * pixel), 0.0) / pixel)


@nb.njit(cache=True)
def printed(
    pattern: int, x: float, y: float, z: float, size: float, pixel: float, seed: int
) -> tuple[float, float]:
    """How much of the second colour shows at a place on cloth or skin, 0 to 1, and a factor of both colours.

    Places in metres, y up; ``pixel`` metres wide.
    """
    if pattern == MARBLE:
        return bent(x / size, y / size, z / size, seed), 1.0
    if pattern == MOTTLE:
        return 0.7 * bent(x / size, y / size, z / size, seed), 1.0
    if pattern == STREAKS:
        way = (z + 0.7 * x) / size
        return 0.5 + 0.5 * wave(way + 0.8 * bent(way, 0.1 * y / size, 0.0, seed)), 1.0
    if pattern == DOTS:
        near, _, _ = cells(x / size, y / size, z / size, seed)
        return within((0.34 - near) * size, pixel), 1.0
    if pattern == PATCHES:
        near, far, own = cells(x / size, y / size, z / size, seed)
        return np.floor(3.0 * own) / 2.0, 1.0 - 0.5 * within((0.09 - far + near) * size, pixel)
    across, up = (z + 0.6 * x) / size, y / size
    if pattern == ZIGZAG:
        t = up + abs(across - np.floor(across) - 0.5)
        return within((0.25 - abs(t - np.floor(t) - 0.5)) * size, pixel), 1.0
    if pattern == DIAMONDS:
        a, b = abs(across - np.floor(across) - 0.5), abs(up / 1.5 - np.floor(up / 1.5) - 0.5)
        thin = within(0.006 - 0.7 * size * abs(a + b - 0.3), max(pixel, 0.006))
        return within((0.5 - a - b) * 0.7 * size, pixel), 1.0 - 0.5 * thin
    return 0.0, 1.0


@nb.njit(cache=True)
def laid(pattern: int, u: float, v: float, size: float, pixel: float, seed: int) -> tuple[float, float]:
    """The same for a floor or wall at (u, v) metres on it."""
    if pattern == TILES:
        i, j = int(np.floor(u / size)), int(np.floor(v / size))
        joint = max(lines(u, size, 0.02, pixel), lines(v, size, 0.02, pixel))
        return joint, 0.82 + 0.36 * (1.0 - joint) * scatter(i, j, 0, seed)
    if pattern == BOARDS:
        row = int(np.floor(v / size))
        along = u + 8.0 * size * scatter(row, 0, 1, seed)
        own = scatter(row, int(np.floor(along / (7.0 * size))), 2, seed)
        joint = max(lines(v, size, 0.008, pixel), lines(along, 7.0 * size, 0.008, pixel))
        veins = bent(2.0 * u, 40.0 * v * own, 9.0 * own, seed) if pixel < 0.03 else 0.5
        return 0.6 * own, (1.0 - 0.6 * joint) * (0.85 + 0.3 * veins)
    if pattern == BRICKS:
        tall = 0.36 * size
        row = int(np.floor(u / tall))
        shifted = v + 0.5 * size * (row % 2)
        joint = max(lines(u, tall, 0.018, pixel), lines(shifted, size, 0.018, pixel))
        return joint, 0.75 + 0.5 * (1.0 - joint) * scatter(row, int(np.floor(shifted / size)), 3, seed)
    if pattern == PAPER:
        a, b = (u + v) / size, (u - v) / size
        a, b = a - np.floor(a) - 0.5, b - np.floor(b) - 0.5
        away = np.sqrt(a * a + b * b)
        ring = within((0.06 - abs(away - 0.36)) * size, pixel)
        petal = within((0.16 - abs(a * b) * 2.5 - 0.5 * away) * size, pixel)
        return max(ring, petal), 1.0
    if pattern == TERRAZZO:
        near, _, own = cells(u / size, v / size, 0.5, seed)
        return within((0.2 + 0.25 * own - near) * size, pixel) * own, 1.0
    return 0.0, 1.0
