"""Colours of skin, hair, eyes and cloth, in linear light, and how they are drawn by chance."""

from __future__ import annotations

import numpy as np

from synthpose.scene import Colour, Material
from synthpose.shade import BLOTCHES, CHECKS, PINSTRIPES, PLAIN, STRIPES

#: the Monk Skin Tone scale, light to dark (E. Monk, "The Monk Skin Tone Scale", 2022; skintone.google,
#: CC BY 4.0)
MONK = (
    "f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96",
    "a07e56", "825c43", "604134", "3a312a", "292420",
)  # fmt: skip
#: name -> (sRGB, how common among light and among dark skins); plausible, not measured
HAIR = {
    "black": ("15110f", 0.15, 0.75),
    "dark brown": ("2e2018", 0.30, 0.22),
    "brown": ("4d3524", 0.25, 0.03),
    "fair": ("8a6a45", 0.14, 0.0),
    "blond": ("b89762", 0.10, 0.0),
    "red": ("7a3b1f", 0.06, 0.0),
}
GREY, WHITE = "8b8986", "d6d3cd"
EYES = ("3a2413", "4f3520", "5d6b4a", "5a7896", "6d7b80")
NEUTRAL = ("101114", "1c2233", "2f3136", "5b5e63", "8d8f92", "c9c7c1", "e8e6e1", "7a6a55", "b6a488", "26324d")
GOWNS = ("a9c4d8", "b9d3c9", "c8cfe0", "d4d9dc", "9fb9b2")
SHELLS = ("1a1b1e", "e4e1d8", "3b3d42", "d9c7ae")


def linear(colour: str) -> Colour:
    """Linear light of an sRGB colour in hexadecimal; with the renderer's own gamma of 2.2.

    >>> linear("ffffff")
    (1.0, 1.0, 1.0)
    """
    red, green, blue = (float((int(colour[k : k + 2], 16) / 255) ** 2.2) for k in (0, 2, 4))
    return red, green, blue


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """A colour between two, ``share`` of the second."""
    red, green, blue = (float((1 - share) * x + share * y) for x, y in zip(a, b, strict=True))
    return red, green, blue


BRIGHTEST = 0.68  #: of red light that any skin gives back


def skin(tone: float) -> Material:
    """Skin at a place on the Monk scale, 1 (lightest) to 10 (darkest); between two tones they mix."""
    low = min(max(int(tone), 1), 9)
    red, green, blue = mixed(linear(MONK[low - 1]), linear(MONK[low]), tone - low)
    # the lightest tones are swatches on white paper: as bright as that, a face in a room looks like chalk
    dim = min(1.0, BRIGHTEST / red)
    return Material((dim * red, dim * green, dim * blue), rough=0.10)


def lips(of: Material) -> Material:
    """Lips that go with a skin: redder and darker."""
    red, green, blue = of.first
    return Material((0.80 * red, 0.56 * green, 0.56 * blue), rough=0.05)


def hair(random: np.random.Generator, tone: float, age: float) -> Material:
    """A hair colour that goes with a skin tone; grey and white come with age, from 35 years on."""
    dark = float(np.clip((tone - 3) / 4, 0, 1))
    names = list(HAIR)
    common = np.array([(1 - dark) * HAIR[n][1] + dark * HAIR[n][2] for n in names])
    base = linear(HAIR[names[int(random.choice(len(names), p=common / common.sum()))]][0])
    grey = float(np.clip((age - 35) / 35 + random.normal(0, 0.15), 0, 1)) if age > 30 else 0.0
    end = linear(WHITE) if random.random() < (age - 60) / 40 else linear(GREY)
    first = mixed(base, end, grey)
    return Material(first, mixed(first, (0.0, 0.0, 0.0), 0.4), BLOTCHES, 0.012, 0.55)


def dye(random: np.random.Generator) -> Colour:
    """A colour of cloth: often a neutral one, else any hue."""
    if random.random() < 0.45:
        return linear(NEUTRAL[int(random.integers(len(NEUTRAL)))])
    return tinted(random.random(), random.uniform(0.25, 0.9), random.uniform(0.08, 0.75))


def tinted(hue: float, strength: float, value: float) -> Colour:
    """A linear colour by its place on the wheel (0 to 1, red at 0), how strong it is, and how bright."""
    wheel = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    red, green, blue = (float(x) for x in value * (1 - strength * (1 - wheel)))
    return red, green, blue


def cloth(random: np.random.Generator, *, plain: float = 0.55, unlike: Material | None = None) -> Material:
    """A cloth: plain with that probability, else one of the patterns; of no colour near ``unlike``'s."""
    first, second = dye(random), dye(random)
    while unlike is not None and alike(first, unlike.first):
        first = dye(random)
    while unlike is not None and alike(second, unlike.first):
        second = dye(random)
    pattern = PLAIN
    if random.random() >= plain:
        pattern = int(random.choice([STRIPES, PINSTRIPES, CHECKS, BLOTCHES], p=[0.35, 0.2, 0.2, 0.25]))
    low, high = {STRIPES: (0.02, 0.09), PINSTRIPES: (0.012, 0.04), CHECKS: (0.02, 0.07)}.get(
        pattern, (0.015, 0.08)
    )
    return Material(
        first, second, pattern, float(random.uniform(low, high)), float(random.uniform(0.15, 0.4))
    )


def alike(a: Colour, b: Colour) -> bool:
    """Whether two linear colours look much the same: in hue and strength, and nearly in brightness."""
    x, y = np.array(a) ** (1 / 2.2), np.array(b) ** (1 / 2.2)
    return bool(np.abs((x - x.mean()) - (y - y.mean())).max() < 0.12 and abs(x.mean() - y.mean()) < 0.3)


def gown_cloth(random: np.random.Generator) -> Material:
    """A hospital gown's: pale, plain or finely patterned."""
    first = linear(GOWNS[int(random.integers(len(GOWNS)))])
    pattern = int(random.choice([PLAIN, BLOTCHES, PINSTRIPES]))
    return Material(
        first, mixed(first, (0.1, 0.15, 0.3), 0.5), pattern, float(random.uniform(0.01, 0.03)), 0.3
    )


def one_of(random: np.random.Generator, colours: tuple[str, ...], rough: float = 0.2) -> Material:
    """A plain material of one of some colours."""
    return Material(linear(colours[int(random.integers(len(colours)))]), rough=rough)
