"""Light and texture, compiled: what colour each pixel of a rasterised scene, and of the room behind it, has.

Textures live in space ("solid" textures): a garment's cloth is a function of the place on the canonical body,
a wall's of the place in the room. No picture is needed and nothing slides when the person moves. Grain finer
than a pixel is left out, as a lens would, or it would flicker.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cohorts.values import FloatArray, IntArray
from synthpose.render import Float32Array, Int32Array
from synthpose.shadow import CLEAR, hidden

#: how a material's second colour enters: not at all, in stripes across or along, in checks, in blotches
PLAIN, STRIPES, PINSTRIPES, CHECKS, BLOTCHES = range(5)
GAMMA = 2.2  #: of 8-bit values, as of sRGB nearly
COARSE, FINE = 40.0, 150.0  #: grains of a material per metre


@nb.njit(cache=True)
def _hash(i: int, j: int, k: int, seed: int) -> float:
    """A number in [0, 1) for a corner of the lattice."""
    h = np.uint32(i * 374761393 + j * 668265263 + k * 2147483647 + seed * 1274126177)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(2246822519))
    return float(h ^ (h >> np.uint32(13))) / 4294967296.0


@nb.njit(cache=True)
def noise(x: float, y: float, z: float, seed: int) -> float:
    """Smooth noise in [0, 1] over space: a lattice of random numbers, joined by cubics."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        for b in range(2):
            near, far = _hash(i + a, j + b, k, seed), _hash(i + a, j + b, k + 1, seed)
            total += (u if a else 1 - u) * (v if b else 1 - v) * (near + w * (far - near))
    return total


@nb.njit(cache=True)
def _second(pattern: int, x: float, y: float, z: float, size: float, seed: int) -> float:
    """How much of a material's second colour shows at a place, 0 to 1."""
    if pattern == STRIPES:
        return 1.0 if np.sin(2 * np.pi * y / size) > 0.2 else 0.0
    if pattern == PINSTRIPES:
        return 1.0 if np.sin(2 * np.pi * z / size) > 0.7 else 0.0
    if pattern == CHECKS:
        a, b = np.sin(2 * np.pi * y / size), np.sin(2 * np.pi * z / size)
        return (0.5 if a > 0 else 0.0) + (0.5 if b > 0 else 0.0)
    if pattern == BLOTCHES:
        return 1.0 if noise(x / size, y / size, z / size, seed) > 0.55 else 0.0
    return 0.0


@nb.njit(cache=True)
def _grain(p: float, q: float, r: float, pixel: float, seed: int) -> float:
    """A material's grain at a place, mean 0.5, where a pixel is ``pixel`` metres wide."""
    total = 0.5
    strong = min(1.0 / (COARSE * pixel) - 1.0, 1.0)
    if strong > 0.0:
        total += 0.6 * strong * (noise(COARSE * p, COARSE * q, COARSE * r, seed) - 0.5)
    strong = min(1.0 / (FINE * pixel) - 1.0, 1.0)
    if strong > 0.0:
        total += 0.4 * strong * (noise(FINE * p, FINE * q, FINE * r, seed) - 0.5)
    return total


@nb.njit(cache=True)
def seen_side(faces: IntArray, pixels: FloatArray, f: int) -> float:
    """1 where a triangle shows its outside, -1 where its inside."""
    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
    area = (pixels[j, 0] - pixels[i, 0]) * (pixels[k, 1] - pixels[i, 1])
    area -= (pixels[j, 1] - pixels[i, 1]) * (pixels[k, 0] - pixels[i, 0])
    return 1.0 if area < 0.0 else -1.0  # anticlockwise as seen, and y points down


@nb.njit(cache=True)
def seen_normals(
    face: Int32Array, bary: Float32Array, faces: IntArray, pixels: FloatArray, normal_v: FloatArray
) -> Float32Array:
    """(h, w, 3) unit normals of the side that each pixel sees; NaN where it sees nothing."""
    height, width = face.shape
    out = np.full((height, width, 3), np.nan, np.float32)
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f >= 0:
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                a, b = float(bary[y, x, 0]), float(bary[y, x, 1])
                c = 1.0 - a - b
                n0 = a * normal_v[i, 0] + b * normal_v[j, 0] + c * normal_v[k, 0]
                n1 = a * normal_v[i, 1] + b * normal_v[j, 1] + c * normal_v[k, 1]
                n2 = a * normal_v[i, 2] + b * normal_v[j, 2] + c * normal_v[k, 2]
                length = seen_side(faces, pixels, f) * (np.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-12)
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = n0 / length, n1 / length, n2 / length
    return out


@nb.njit(cache=True)
def shade(
    face: Int32Array,
    bary: Float32Array,
    depth: Float32Array,
    faces: IntArray,
    pixels: FloatArray,
    normal_v: FloatArray,
    canonical_v: FloatArray,
    material_f: IntArray,
    colours: FloatArray,
    pattern_m: IntArray,
    size_m: FloatArray,
    rough_m: FloatArray,
    lights: FloatArray,
    ambient: FloatArray,
    cast_v: FloatArray,
    far: Float32Array,
    scale: float,
    corner: FloatArray,
    focal: float,
    seed: int,
    out: Float32Array,
) -> None:
    """Write the linear colour of every covered pixel into ``out`` (h, w, 3).

    colours (M, 2, 3) two of each material; rough_m (M,) how far grain darkens it; lights (L, 6) unit
    direction towards each and its colour, the first with the shadow map ``far``, ``scale``, ``corner`` and
    the vertices in its axes ``cast_v`` (see ``synthpose.shadow``); focal: pixels.
    """
    height, width = face.shape
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            a, b = float(bary[y, x, 0]), float(bary[y, x, 1])
            c = 1.0 - a - b
            n0 = a * normal_v[i, 0] + b * normal_v[j, 0] + c * normal_v[k, 0]
            n1 = a * normal_v[i, 1] + b * normal_v[j, 1] + c * normal_v[k, 1]
            n2 = a * normal_v[i, 2] + b * normal_v[j, 2] + c * normal_v[k, 2]
            length = seen_side(faces, pixels, f) * (np.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-12)
            n0, n1, n2 = n0 / length, n1 / length, n2 / length
            p = a * canonical_v[i, 0] + b * canonical_v[j, 0] + c * canonical_v[k, 0]
            q = a * canonical_v[i, 1] + b * canonical_v[j, 1] + c * canonical_v[k, 1]
            r = a * canonical_v[i, 2] + b * canonical_v[j, 2] + c * canonical_v[k, 2]
            m = material_f[f]
            second = _second(pattern_m[m], p, q, r, size_m[m], seed)
            dark = 1.0
            if rough_m[m] > 0.0:
                dark -= rough_m[m] * _grain(p, q, r, float(depth[y, x]) / focal, seed + m)
            sky = 0.75 + 0.25 * n1
            red, green, blue = sky * ambient[0], sky * ambient[1], sky * ambient[2]
            for s in range(len(lights)):
                facing = n0 * lights[s, 0] + n1 * lights[s, 1] + n2 * lights[s, 2]
                if facing <= 0.0:
                    continue
                if s == 0:
                    # the map's pixels asked are up to 2 √2 away: that much depth the more the surface leans
                    lean = min(np.sqrt(max(1.0 - facing * facing, 0.0)) / facing, 16.0)
                    facing *= 1.0 - hidden(
                        far, scale, corner,
                        a * cast_v[i, 0] + b * cast_v[j, 0] + c * cast_v[k, 0],
                        a * cast_v[i, 1] + b * cast_v[j, 1] + c * cast_v[k, 1],
                        a * cast_v[i, 2] + b * cast_v[j, 2] + c * cast_v[k, 2],
                        CLEAR + 3.0 * lean / scale,
                    )  # fmt: skip
                red += facing * lights[s, 3]
                green += facing * lights[s, 4]
                blue += facing * lights[s, 5]
            out[y, x, 0] = (colours[m, 0, 0] * (1 - second) + colours[m, 1, 0] * second) * dark * red
            out[y, x, 1] = (colours[m, 0, 1] * (1 - second) + colours[m, 1, 1] * second) * dark * green
            out[y, x, 2] = (colours[m, 0, 2] * (1 - second) + colours[m, 1, 2] * second) * dark * blue


@nb.njit(cache=True)
def room(
    origin: FloatArray,
    ray: FloatArray,
    bounds: FloatArray,
    colours: FloatArray,
    pattern_s: IntArray,
    size_s: FloatArray,
    bright: FloatArray,
    axes: FloatArray,
    focal: float,
    seed: int,
    out: Float32Array,
    beneath: Float32Array,
    surface: NDArray[np.uint8],
) -> None:
    """Colour, place and surface of the inside of a box that each ray (h, w, 3) meets first.

    bounds (2, 3): the box's lower and upper corner, the camera inside; surfaces in the order floor, ceiling,
    walls at -x, +x, -z, +z, with ``bright`` (6, 3) the light that falls on each. Writes linear colours to
    ``out``, metres in ``axes`` to ``beneath`` and the number of the surface.
    """
    height, width, _ = ray.shape
    for y in range(height):
        for x in range(width):
            best, hit, axis = np.inf, 0, 0
            for d in range(3):
                step = ray[y, x, d]
                if abs(step) > 1e-9:
                    upper = step > 0
                    t = (bounds[1 if upper else 0, d] - origin[d]) / step
                    if 0 < t < best:
                        best, axis = t, d
                        hit = (1 if upper else 0) + (0 if d == 1 else 2 if d == 0 else 4)
            p = origin[0] + best * ray[y, x, 0]
            q = origin[1] + best * ray[y, x, 1]
            r = origin[2] + best * ray[y, x, 2]
            for d in range(3):
                beneath[y, x, d] = axes[d, 0] * p + axes[d, 1] * q + axes[d, 2] * r
            surface[y, x] = hit
            u, v = (q, p + r) if axis != 1 else (p, r)
            second = _second(pattern_s[hit], p, u, v, size_s[hit], seed + hit)
            cloud = 0.7 * noise(1.3 * p, 1.3 * q, 1.3 * r, seed + hit)
            cloud += 0.3 * (0.5 if best / focal > 0.1 else noise(9 * p, 9 * q, 9 * r, seed))
            for channel in range(3):
                base = colours[hit, 0, channel] * (1 - second) + colours[hit, 1, channel] * second
                out[y, x, channel] = base * (0.75 + 0.4 * cloud) * bright[hit, channel]


@nb.njit(cache=True)
def backdrop(
    face: Int32Array,
    empty: Float32Array,
    beneath: Float32Array,
    surface: NDArray[np.uint8],
    share: FloatArray,
    far: Float32Array,
    scale: float,
    corner: FloatArray,
    out: Float32Array,
) -> None:
    """Write the empty room into ``out`` where nobody stands before it, without the light that they take.

    ``share`` (6, 3): how much of the light on each surface comes from the lamp that casts shadows.
    """
    height, width = face.shape
    # most of the room is nowhere near a shadow: compare there, ask the map only inside
    left, right = np.float32(corner[0]), np.float32(corner[0] + far.shape[1] / scale)
    top, low = np.float32(corner[1]), np.float32(corner[1] + far.shape[0] / scale)
    for y in range(height):
        for x in range(width):
            if face[y, x] >= 0:
                continue
            a, b, c = empty[y, x, 0], empty[y, x, 1], empty[y, x, 2]
            u, v = beneath[y, x, 0], beneath[y, x, 1]
            if left < u < right and top < v < low:
                taken = hidden(far, scale, corner, float(u), float(v), float(beneath[y, x, 2]), CLEAR)
                if taken > 0.0:
                    s = surface[y, x]
                    a = np.float32(a * (1.0 - taken * share[s, 0]))
                    b = np.float32(b * (1.0 - taken * share[s, 1]))
                    c = np.float32(c * (1.0 - taken * share[s, 2]))
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = a, b, c


#: the least linear value of each 8-bit one, and the 8-bit value of the lower end of each of 65536 bins
STEPS = np.array([0.0, *((np.arange(1, 256) - 0.5) / 255) ** GAMMA, np.inf, np.inf])
GUESS = (np.searchsorted(STEPS, np.arange(65537) / 65536, side="right") - 1).astype(np.uint8)


@nb.njit(cache=True, inline="always")
def byte(value: float, steps: FloatArray, guess: NDArray[np.uint8]) -> int:
    """The 8-bit value nearest to a linear one: ``255 value ** (1 / GAMMA)``, by search, the same anywhere."""
    value = min(value, 1.0) if value > 0.0 else 0.0  # NaN too
    k = int(guess[int(value * 65536.0)])
    k += 1 if value >= steps[k + 1] else 0  # no bin has two steps in it, but the first
    k += 1 if value >= steps[k + 1] else 0
    return k


@nb.njit(cache=True)
def _to_bytes(
    linear: Float32Array, gain: float, steps: FloatArray, guess: NDArray[np.uint8], out: NDArray[np.uint8]
) -> None:
    flat, made = linear.ravel(), out.ravel()
    for n in range(len(flat)):
        made[n] = byte(float(flat[n]) * gain, steps, guess)


def to_bytes(linear: Float32Array, gain: float = 1.0) -> NDArray[np.uint8]:
    """Linear colours (h, w, 3) as 8-bit sRGB-like values."""
    out = np.empty(linear.shape, np.uint8)
    _to_bytes(np.ascontiguousarray(linear), float(gain), STEPS, GUESS, out)
    return out
