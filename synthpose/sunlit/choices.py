"""What is drawn by chance for this style: rooms, and what people and things are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from zlib import crc32

import numpy as np

from cohorts.values import FloatArray
from synthpose import palette
from synthpose.scene import Colour, Light, Material, Room
from synthpose.sunlit.prints import (
    BOARDS,
    CLOTHS,
    DOTS,
    FLOORS,
    MARBLE,
    MOTTLE,
    PAPER,
    PLAIN,
    STREAKS,
    TERRAZZO,
    TILES,
    WALLS,
    ZIGZAG,
)

PRINTED = {"top": 0.85, "bottom": 0.45, "sock": 0.5, "shoe": 0.2}  #: share of each that has a print
#: metres, from one motif to the next
MOTIFS = {DOTS: (0.045, 0.09), ZIGZAG: (0.06, 0.13), MARBLE: (0.03, 0.07)}
OTHERS = (0.06, 0.13)
LAID = {TILES: (0.28, 0.6), BOARDS: (0.09, 0.18), TERRAZZO: (0.07, 0.14), PAPER: (0.3, 0.6)}
BRICK = (0.2, 0.26)
HALF = (-6.0, 6.0, -4.5, 4.5)  #: metres: where the walls are, as in the default rooms


def draw_room(seed: int, session: str) -> Room:
    """A hall with a row of windows: the same for all trials of a session."""
    random = _random(seed, "sunlit", session)
    floor, walls = int(random.choice(FLOORS)), random.choice(WALLS, 2)
    # the sun comes in from one side, so that one phone sees what it lights and the other what it leaves
    side, high = float(random.choice([-1.0, 1.0])), float(np.radians(random.uniform(9, 17)))
    turn = float(random.uniform(-0.6, 0.6))
    sun = (np.cos(high) * np.sin(turn), np.sin(high), side * np.cos(high) * np.cos(turn))
    power, warm = random.uniform(1.5, 2.3), random.uniform(0.5, 0.8)
    glow = np.array(palette.tinted(float(random.random()), float(random.uniform(0.35, 0.7)), 1.0))
    cool = np.array([random.uniform(0.75, 1.0), 0.95, random.uniform(1.05, 1.35)])
    shade = random.uniform(0.26, 0.40) * cool
    ceiling = Material((0.7, 0.68, 0.62))
    ends, sides = (_surface(random, int(pattern), (0.15, 0.6)) for pattern in walls)
    return Room(
        low=(HALF[0], 0.0, HALF[2]),
        high=(HALF[1], float(random.uniform(3.2, 4.2)), HALF[3]),
        surfaces=(_surface(random, floor, (0.12, 0.5)), ceiling, ends, ends, sides, sides),
        lights=(
            Light(_colour(np.array(sun)), _colour(power * np.array([1.0, 0.5 + 0.5 * warm, warm]))),
            Light((-0.5, 0.5, -side), _colour(random.uniform(0.25, 0.5) * glow)),
        ),
        ambient=_colour(shade),
        seed=int(random.integers(2**31)),
    )


def _surface(random: np.random.Generator, pattern: int, bright: tuple[float, float]) -> Material:
    """A floor or wall in a colour of its own, and what lies between its pieces."""
    hue, value = float(random.random()), float(random.uniform(*bright))
    if pattern == BOARDS:  # wood
        hue = float(random.uniform(0.04, 0.1))
    first = palette.tinted(hue, float(random.uniform(0.15, 0.55)), value)
    far = 0.45 if pattern in (PAPER, TERRAZZO) else 0.7
    second = palette.mixed(first, (0.75, 0.72, 0.66) if value < 0.3 else (0.08, 0.07, 0.06), far)
    return Material(first, second, pattern, float(random.uniform(*LAID.get(pattern, BRICK))), 0.2)


def dressed(colours: Mapping[str, Material], seed: int) -> Mapping[str, Material]:
    """What a person or thing is made of, in this style: the same skin and hair, other cloth, prints on it."""
    random = _random(seed, "sunlit", "cloth")
    made = dict(colours)
    hue = float(random.random())
    for k, (name, often) in enumerate(PRINTED.items()):
        draws = random.random(8)  # of each, whether worn or not: what one wears decides nothing else's looks
        if name in colours:
            made[name] = _cloth(draws, hue + 0.31 * k, often, colours.get("skin"))
    return {name: _other(name, material) for name, material in made.items()}


def _cloth(draws: FloatArray, hue: float, often: float, skin: Material | None) -> Material:
    """A cloth of strong colours near a hue, printed or not, unlike the skin it is worn on."""
    value = 0.12 + 0.68 * draws[0]
    first = _unlike(skin, hue + 0.1 * draws[1], 0.55 + 0.45 * draws[2], value)
    other = _unlike(skin, hue + 0.35 + 0.3 * draws[3], 0.2 + 0.8 * draws[4], 0.85 - 0.7 * value)
    pattern = int(CLOTHS[int(draws[5] * len(CLOTHS))]) if draws[6] < often else PLAIN
    low, high = MOTIFS.get(pattern, OTHERS)
    second = palette.mixed(first, other, 0.75)
    return Material(first, second, pattern, float(low + (high - low) * draws[7]), 0.4)


def _unlike(skin: Material | None, hue: float, strength: float, value: float) -> Colour:
    """A colour, or the next round the wheel that does not look like that skin."""
    turns = (palette.tinted(float(hue + 0.17 * k) % 1.0, float(strength), float(value)) for k in range(6))
    found = next(turns)
    while skin is not None and palette.alike(found, skin.first):
        found = next(turns, palette.tinted(0.33, 0.9, float(value)))
    return found


def _other(name: str, material: Material) -> Material:
    """What is no cloth keeps its colour; the default's patterns become this style's."""
    red, green, blue = material.first
    if name == "skin":
        return replace(material, second=(0.95 * red, 0.62 * green, 0.58 * blue), pattern=MOTTLE, size=0.06)
    if name in ("hair", "brow"):
        lighter = palette.mixed(material.first, (0.9, 0.8, 0.6), 0.12)
        return replace(material, second=lighter, pattern=STREAKS, size=0.02, rough=0.15)
    if name in PRINTED or material.pattern == PLAIN:
        return material
    return replace(material, pattern=MARBLE, size=0.04)


def _colour(values: FloatArray) -> Colour:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _random(seed: int, *words: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, *(crc32(word.encode()) for word in words)]))
