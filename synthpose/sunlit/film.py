"""What the camera of this style makes of light: a film's curve, dark corners, halos at edges, grain, stains.

The default sensor's noise is each value's own and follows from electrons. This grain is of brightness, two
pixels wide and strongest in the dark, and colour has stains of its own, ``STAIN`` pixels wide. Edges are
sharpened, so that bright ones stand in dark seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cohorts.values import FloatArray
from synthpose.render import Float32Array
from synthpose.sensor import BYTES_SD, Sensor, random_sum, softened

STAIN = 5  #: pixels of a video 640 high
TALL = 640.0  #: pixels: the height at which sizes are as stated here
LUMA = np.array([0.30, 0.59, 0.11])  #: of red, green and blue light, in what eyes call bright


@dataclass(frozen=True)
class Film:
    """One camera's.

    Attributes
    ----------
    gains : (red, green, blue) of its white balance, which may be well off
    colour : 1 as it is, 0 grey, more: stronger
    halo : how much edges are sharpened, and over ``reach`` pixels
    grain, stains : standard deviations, of full scale
    corners : share of the light that the corners lose
    """

    gains: tuple[float, float, float]
    colour: float
    halo: float
    reach: float
    grain: float
    stains: float
    corners: float


def draw_film(seed: int, camera: str) -> Film:
    """A camera's film by chance, the same for all frames of a trial."""
    random = _random(seed, "film", camera)
    warm, green = random.uniform(-0.22, 0.22), random.uniform(-0.08, 0.08)
    return Film(
        gains=(float(np.exp(warm)), float(np.exp(green)), float(np.exp(-warm))),
        colour=float(random.uniform(0.75, 1.5)),
        halo=float(random.uniform(0.8, 1.8)),
        reach=float(random.uniform(0.9, 1.3)),
        grain=float(random.uniform(0.02, 0.038)),
        stains=float(random.uniform(0.008, 0.02)),
        corners=float(random.uniform(0.35, 0.65)),
    )


def _random(seed: int, *words: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, *(crc32(word.encode()) for word in words)]))


def develop(linear: Float32Array, phone: Sensor, *, seed: int, camera: str, frame: int) -> NDArray[np.uint8]:
    """(h, w, 3) the 8-bit picture; exposure and softness are the phone's, what follows is the film's."""
    film = draw_film(seed, camera)
    light = softened(linear, phone.soft)
    if light is linear:  # what follows is done in place
        light = linear.copy()
    height, width, _ = light.shape
    bright = np.empty((height, width, 1), np.float32)
    _curve(light, phone.gains * np.array(film.gains), film.colour, film.corners, LUMA, bright)
    around = softened(bright, film.reach)
    key = np.uint64(_random(seed, "grain", camera, str(frame)).integers(2**63))
    made = np.empty(light.shape, np.uint8)
    wide = max(round(STAIN * height / TALL), 1)
    stains = np.empty((height // wide + 2, width // wide + 2, 2), np.float32)
    _scattered(key, stains)
    _grained(light, bright, around, stains, wide, film.halo, film.grain, film.stains, key, made)
    return made


@nb.njit(cache=True)
def _film(light: float) -> float:
    """Light on a film's curve (Hejl and Burgess-Dawson, 2010), 0 to 1, as shown: no gamma follows."""
    x = max(light - 0.004, 0.0)
    return float((x * (6.2 * x + 0.5)) / (x * (6.2 * x + 1.7) + 0.06))


@nb.njit(cache=True)
def _curve(
    light: Float32Array,
    gains: FloatArray,
    colour: float,
    corners: float,
    luma: FloatArray,
    bright: Float32Array,
) -> None:
    """Light to shown values in place, and how bright each pixel is."""
    height, width, _ = light.shape
    middle, centre = 0.5 * (height - 1), 0.5 * (width - 1)
    most = middle * middle + centre * centre + 1e-9
    for y in range(height):
        for x in range(width):
            away = ((y - middle) ** 2 + (x - centre) ** 2) / most
            left = 1.0 - corners * away
            r = _film(light[y, x, 0] * gains[0] * left)
            g = _film(light[y, x, 1] * gains[1] * left)
            b = _film(light[y, x, 2] * gains[2] * left)
            grey = luma[0] * r + luma[1] * g + luma[2] * b
            bright[y, x, 0] = grey
            light[y, x, 0] = grey + colour * (r - grey)
            light[y, x, 1] = grey + colour * (g - grey)
            light[y, x, 2] = grey + colour * (b - grey)


@nb.njit(cache=True)
def _scattered(key: np.uint64, out: Float32Array) -> None:
    """Nearly Gaussian numbers of mean 0 and deviation 1."""
    flat = out.ravel()
    for n in range(len(flat)):
        flat[n] = (random_sum(key ^ np.uint64(0x5DEECE66D), np.uint64(n)) - 1020.0) / BYTES_SD


@nb.njit(cache=True)
def _between(values: Float32Array, i: int, j: int, a: float, b: float, c: int) -> float:
    """Of four neighbours, ``a`` of the way down and ``b`` to the right."""
    upper = values[i, j, c] + b * (values[i, j + 1, c] - values[i, j, c])
    lower = values[i + 1, j, c] + b * (values[i + 1, j + 1, c] - values[i + 1, j, c])
    return float(upper + a * (lower - upper))


@nb.njit(cache=True)
def _grained(
    shown: Float32Array,
    bright: Float32Array,
    around: Float32Array,
    stains: Float32Array,
    wide: int,
    halo: float,
    grain: float,
    stained: float,
    key: np.uint64,
    out: NDArray[np.uint8],
) -> None:
    """Halos, grain, stains and 8 bits."""
    height, width, _ = shown.shape
    above = np.zeros(width + 1)  # the last row's numbers, from one pixel further left
    for y in range(height):
        left = 0.0
        for x in range(width):
            own = (random_sum(key, np.uint64(y * width + x)) - 1020.0) / BYTES_SD
            rough = 0.5 * (own + left + above[x] + above[x + 1])  # of four neighbours: as wide as two pixels
            above[x] = left
            left = own
            grey = bright[y, x, 0]
            add = halo * (grey - around[y, x, 0]) + grain * (1.15 - 0.8 * grey) * rough
            i, j = y // wide, x // wide
            a, b = (y % wide) / wide, (x % wide) / wide
            red, blue = _between(stains, i, j, a, b, 0), _between(stains, i, j, a, b, 1)
            for c in range(3):
                tint = red if c == 0 else blue if c == 2 else -0.5 * (red + blue)
                value = 255.0 * (shown[y, x, c] + add + stained * tint) + 0.5
                out[y, x, c] = int(min(max(value, 0.0), 255.0))
        above[width] = left
