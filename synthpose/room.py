"""Rooms to be filmed in: floors, walls and light by chance."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from synthpose.scene import Light, Material, Room
from synthpose.shade import BLOTCHES, CHECKS, PINSTRIPES, PLAIN, STRIPES


def draw_room(seed: int, session: str) -> Room:
    """A gym, a corridor, a ward: the same for all trials of a session."""
    random = np.random.default_rng(np.random.SeedSequence([seed, crc32(session.encode())]))

    def material(low: float, high: float, patterns: tuple[int, ...], size: tuple[float, float]) -> Material:
        grey = random.uniform(low, high)
        tint = random.normal(0.0, 0.05, (2, 3))
        other = grey * random.uniform(0.75, 1.1)
        first, second = np.clip([grey, other] * np.ones((3, 2)) + tint.T, 0.02, 0.95).T
        return Material(
            (float(first[0]), float(first[1]), float(first[2])),
            (float(second[0]), float(second[1]), float(second[2])),
            int(random.choice(patterns)),
            float(random.uniform(*size)),
            float(random.uniform(0.1, 0.35)),
        )

    floor = material(0.12, 0.45, (PLAIN, CHECKS, STRIPES, BLOTCHES), (0.25, 0.9))
    ceiling = material(0.6, 0.8, (PLAIN,), (0.5, 0.6))
    walls = [material(0.2, 0.65, (PLAIN, PLAIN, STRIPES, PINSTRIPES, BLOTCHES), (0.3, 1.6)) for _ in range(2)]
    turn = random.uniform(0, 2 * np.pi)
    lamp = Light(
        (float(0.7 * np.cos(turn)), 1.0, float(0.7 * np.sin(turn))),
        (float(random.uniform(0.45, 0.8)),) * 3,
    )
    back = Light((-lamp.toward[0], 0.4, -lamp.toward[2]), (float(random.uniform(0.1, 0.3)),) * 3)
    ambient = float(random.uniform(0.3, 0.5))
    return Room(
        low=(-6.0, 0.0, -4.5),
        high=(6.0, float(random.uniform(2.7, 4.0)), 4.5),
        surfaces=(floor, ceiling, walls[0], walls[0], walls[1], walls[1]),
        lights=(lamp, back),
        ambient=(ambient, ambient, ambient),
        seed=int(random.integers(2**31)),
    )
