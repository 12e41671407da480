"""Low sun through a row of windows, and coloured light from the other side; compiled.

The sun makes hard shadows and patches of light in the shape of the window's panes, on the room and on people;
what it does not reach has the sky's light from above and the floor's from below, less of it in corners.
Smooth things shine. The room is drawn once for a view, in the sun and without; a picture then takes the sun
away where somebody stands in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.values import FloatArray, IntArray
from synthpose.render import Buffers, Float32Array, Int32Array
from synthpose.scene import Room, Scene, View, light_rows, material_rows
from synthpose.shade import seen_side
from synthpose.shadow import CLEAR
from synthpose.sunlit.prints import BOARDS, laid, printed, within

SHINING = 0.3  #: rougher than this is dull
STRAY = 0.10  #: of the sun that reaches what no pane lights
RAIL, SKIRTING = 0.9, 0.09  #: metres up to which walls are boarded, and have a skirting board
BARS = 0.05  #: metres wide, of a window's frame
SKY = (1.7, 1.95, 2.3)  #: what is seen through the panes


@dataclass(frozen=True)
class Windows:
    """A row of equal windows in one wall.

    Attributes
    ----------
    axis, at : the wall: 0 (x) or 2 (z), and where it is on it, metres
    pitch, wide : metres from one window to the next, and from a window's left to its right
    start : metres along the wall at which one begins
    sill, lintel : metres above the floor, where they begin and end
    panes : (across, up) of each window
    """

    axis: int
    at: float
    pitch: float
    wide: float
    start: float
    sill: float
    lintel: float
    panes: tuple[int, int]

    @property
    def row(self) -> FloatArray:
        """(10,) for the compiled functions."""
        across, up = self.panes
        return np.array([
            self.axis, self.at, self.pitch, self.wide, self.start, self.sill, self.lintel,
            self.wide / across, (self.lintel - self.sill) / up, BARS,
        ], float)  # fmt: skip


def windows(room: Room) -> Windows:
    """The windows that go with a room: in the wall that its first light comes through."""
    random = np.random.default_rng(np.random.SeedSequence([room.seed, 4]))
    toward = np.array(room.lights[0].toward)
    axis = 0 if abs(toward[0]) > abs(toward[2]) else 2
    wide = float(random.uniform(1.3, 2.4))
    return Windows(
        axis=axis,
        at=float((room.high if toward[axis] > 0 else room.low)[axis]),
        pitch=wide + float(random.uniform(0.25, 0.6)),
        wide=wide,
        start=float(random.uniform(0.0, 2.0)),
        sill=float(random.uniform(0.75, 1.1)),
        lintel=room.high[1] - float(random.uniform(0.1, 0.3)),
        panes=(int(random.integers(2, 5)), int(random.integers(2, 4))),
    )


def painter(view: View) -> Callable[[Scene, Buffers, FloatArray], Float32Array]:
    """Draws what a view sees: the light (h, w, 3) of a scene, its buffers and its vertices' pixels."""
    r, eye, beneath, focal = view.room, view.camera.centre, view.beneath, view.focal
    if len(r.lights) != 2:
        raise CapbenchError(f"Expected a room with the sun and one light more, got {len(r.lights)} lights.")
    lights, glass = light_rows(r.lights), windows(r).row
    colours, pattern, size, _ = material_rows(r.surfaces)
    sky = np.array(r.ambient, float)
    earth = sky * colours[0, 0] * 1.2
    lit, sun = np.empty((2, *view.empty.shape), np.float32)
    bounds = np.stack([np.minimum(r.low, eye - 0.01), np.maximum(r.high, eye + 0.01)])
    _walls(
        beneath, view.surface, r.axes, eye, bounds, colours, pattern, size, lights, sky, glass, focal, r.seed,
        lit, sun,
    )  # fmt: skip

    def paint(scene: Scene, buffers: Buffers, pixels: FloatArray) -> Float32Array:
        stage, shadow = scene.stage, scene.shadow
        out: Float32Array = np.empty_like(lit)
        _before(buffers.face_hw, lit, sun, beneath, shadow.far, shadow.scale, shadow.corner, out)
        _people(
            buffers.face_hw, buffers.bary_hw2, buffers.depth_hw, stage.faces, pixels, scene.normal,
            stage.canonical, scene.vertices, stage.material, *stage.table, lights, sky, earth, glass,
            eye, r.axes, shadow.far, shadow.scale, shadow.corner, focal, r.seed, out,
        )  # fmt: skip
        return out

    return paint


@nb.njit(cache=True)
def _pane(h: float, q: float, glass: FloatArray, soft: float) -> float:
    """Whether a place on the wall with the windows (metres along it and up) is glass, 0 to 1."""
    if not glass[5] < q < glass[6]:
        return 0.0
    along = h - glass[4]
    along -= glass[2] * np.floor(along / glass[2])
    if along > glass[3]:
        return 0.0
    up = q - glass[5]
    half = 0.5 * glass[9]
    side = along - glass[7] * np.floor(along / glass[7] + 0.5)
    rung = up - glass[8] * np.floor(up / glass[8] + 0.5)
    return within(abs(side) - half, soft) * within(abs(rung) - half, soft)


@nb.njit(cache=True)
def _through(x: float, y: float, z: float, sun: FloatArray, glass: FloatArray) -> float:
    """Which share of the sun reaches a place through the panes; their edges blur with the way."""
    toward, from_, other, along = (sun[0], x, z, sun[2]) if glass[0] == 0.0 else (sun[2], z, x, sun[0])
    way = (glass[1] - from_) / toward if abs(toward) > 1e-6 else 0.0
    if way <= 0.0:
        return STRAY
    return STRAY + (1.0 - STRAY) * _pane(other + way * along, y + way * sun[1], glass, 0.01 + 0.006 * way)


@nb.njit(cache=True)
def _struck(
    far: Float32Array, scale: float, corner: FloatArray, x: float, y: float, z: float, clear: float
) -> float:
    """Which share of the sun somebody takes from a place (metres in its axes): 0 or 1 but at edges."""
    u, v = (x - corner[0]) * scale, (y - corner[1]) * scale
    height, width = far.shape
    if not (0.0 <= u < width - 1.0 and 0.0 <= v < height - 1.0):
        return 0.0
    i, j = int(u), int(v)
    a, b = u - i, v - j
    taken = 0.0
    if far[j, i] < z - clear:
        taken += (1.0 - a) * (1.0 - b)
    if far[j, i + 1] < z - clear:
        taken += a * (1.0 - b)
    if far[j + 1, i] < z - clear:
        taken += (1.0 - a) * b
    if far[j + 1, i + 1] < z - clear:
        taken += a * b
    return taken


@nb.njit(cache=True)
def _corner(place: FloatArray, bounds: FloatArray, surface: int) -> float:
    """How much of the sky's light reaches a place on a room's surface: less near the others."""
    own = 1 if surface < 2 else 0 if surface < 4 else 2
    near = 9.0
    for d in range(3):
        if d != own:
            near = min(near, place[d] - bounds[0, d], bounds[1, d] - place[d])
    near = min(max(near / 0.9, 0.0), 1.0)
    return 0.5 + 0.5 * near * (2.0 - near)


@nb.njit(cache=True)
def _walls(
    beneath: Float32Array,
    surface: NDArray[np.uint8],
    axes: FloatArray,
    eye: FloatArray,
    bounds: FloatArray,
    colours: FloatArray,
    pattern_s: IntArray,
    size_s: FloatArray,
    lights: FloatArray,
    sky: FloatArray,
    glass: FloatArray,
    focal: float,
    seed: int,
    lit: Float32Array,
    sun: Float32Array,
) -> None:
    """The empty room: all light on it, and the sun's part of that."""
    height, width = surface.shape
    place, normal = np.empty(3), np.empty(3)
    window = int(glass[0]) + (3 if lights[0, int(glass[0])] > 0.0 else 2)
    for y in range(height):
        for x in range(width):
            hit = int(surface[y, x])
            own, far = (1 if hit < 2 else 0 if hit < 4 else 2), 0.0
            for d in range(3):
                place[d] = (
                    axes[0, d] * beneath[y, x, 0]
                    + axes[1, d] * beneath[y, x, 1]
                    + axes[2, d] * beneath[y, x, 2]
                )
                far += (place[d] - eye[d]) ** 2
                normal[d] = 0.0
            normal[own] = 1.0 if hit % 2 == 0 else -1.0
            if hit < 2:
                normal[1] = 1.0 if hit == 0 else -1.0
            far = np.sqrt(far)
            leaning = max(abs(place[own] - eye[own]) / (far + 1e-9), 0.15)
            pixel = far / focal / leaning
            u, v = (place[0], place[2]) if own == 1 else (place[1], place[2] if own == 0 else place[0])
            second, shade = laid(pattern_s[hit], u, v, size_s[hit], pixel, seed + hit)
            wood, glow, frame = 0.0, 0.0, 0.0
            if hit >= 2 and u < RAIL:  # boarded in the floor's second colour, upright
                wood = 1.0
                _, shade = laid(BOARDS, u, v, 0.11, pixel, seed)
                shade *= 1.25 if u > RAIL - 0.05 or u < SKIRTING else 0.9
            if hit == window:
                glow = _pane(v, u, glass, pixel)
                along = v - glass[4] - glass[2] * np.floor((v - glass[4]) / glass[2])
                frame = 1.0 if glass[5] - 0.06 < u < glass[6] + 0.06 and along < glass[3] else 0.0
            sunny = max(normal[0] * lights[0, 0] + normal[1] * lights[0, 1] + normal[2] * lights[0, 2], 0.0)
            if sunny > 0.0:
                sunny *= _through(place[0], place[1], place[2], lights[0], glass)
            side = normal[0] * lights[1, 0] + normal[1] * lights[1, 1] + normal[2] * lights[1, 2]
            side = (0.5 + 0.5 * side) ** 2
            open_ = _corner(place, bounds, hit)
            for c in range(3):
                base = colours[hit, 0, c] * (1.0 - second) + colours[hit, 1, c] * second
                if wood > 0.0:
                    base = colours[0, 1, c]
                if frame > 0.0:
                    base, shade = 0.75, 1.0
                base *= shade
                sun[y, x, c] = base * sunny * lights[0, 3 + c] * (1.0 - glow)
                still = base * (open_ * sky[c] + side * lights[1, 3 + c])
                lit[y, x, c] = sun[y, x, c] + still * (1.0 - glow) + glow * SKY[c]


@nb.njit(cache=True)
def _before(
    face: Int32Array,
    lit: Float32Array,
    sun: Float32Array,
    beneath: Float32Array,
    far: Float32Array,
    scale: float,
    corner: FloatArray,
    out: Float32Array,
) -> None:
    """The empty room without the sun that people take from it."""
    height, width = face.shape
    left, right = np.float32(corner[0]), np.float32(corner[0] + far.shape[1] / scale)
    top, low = np.float32(corner[1]), np.float32(corner[1] + far.shape[0] / scale)
    for y in range(height):
        for x in range(width):
            if face[y, x] >= 0:
                continue
            a, b, c = lit[y, x, 0], lit[y, x, 1], lit[y, x, 2]
            u, v = beneath[y, x, 0], beneath[y, x, 1]
            if left < u < right and top < v < low:
                taken = np.float32(
                    _struck(far, scale, corner, float(u), float(v), float(beneath[y, x, 2]), CLEAR)
                )
                a -= taken * sun[y, x, 0]
                b -= taken * sun[y, x, 1]
                c -= taken * sun[y, x, 2]
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = a, b, c


@nb.njit(cache=True)
def _mean(values: FloatArray, corners: tuple[int, int, int], a: float, b: float, d: int) -> float:
    """What lives on vertices (V, 3), on a triangle."""
    i, j, k = corners
    return float(a * values[i, d] + b * values[j, d] + (1.0 - a - b) * values[k, d])


@nb.njit(cache=True)
def _shine(n: FloatArray, way: FloatArray, light: FloatArray) -> float:
    """A light's reflection on what is smooth (after Blinn, 1977), seen along ``way``."""
    h0, h1, h2 = light[0] - way[0], light[1] - way[1], light[2] - way[2]
    long = np.sqrt(h0 * h0 + h1 * h1 + h2 * h2) + 1e-9
    close = max((n[0] * h0 + n[1] * h1 + n[2] * h2) / long, 0.0)
    for _ in range(5):  # to the 32nd power
        close *= close
    return float(close) if n[0] * light[0] + n[1] * light[1] + n[2] * light[2] > 0.0 else 0.0


@nb.njit(cache=True)
def _people(
    face: Int32Array,
    bary: Float32Array,
    depth: Float32Array,
    faces: IntArray,
    pixels: FloatArray,
    normal_v: FloatArray,
    canonical_v: FloatArray,
    place_v: FloatArray,
    material_f: IntArray,
    colours: FloatArray,
    pattern_m: IntArray,
    size_m: FloatArray,
    rough_m: FloatArray,
    lights: FloatArray,
    sky: FloatArray,
    earth: FloatArray,
    glass: FloatArray,
    eye: FloatArray,
    axes: FloatArray,
    far: Float32Array,
    scale: float,
    corner: FloatArray,
    focal: float,
    seed: int,
    out: Float32Array,
) -> None:
    """People and things."""
    height, width = face.shape
    n, place, way, light = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f < 0:
                continue
            corners = (faces[f, 0], faces[f, 1], faces[f, 2])
            a, b = float(bary[y, x, 0]), float(bary[y, x, 1])
            long, away = 0.0, 0.0
            for d in range(3):
                n[d] = _mean(normal_v, corners, a, b, d)
                place[d] = _mean(place_v, corners, a, b, d)
                way[d] = place[d] - eye[d]
                long += n[d] * n[d]
                away += way[d] * way[d]
            long = seen_side(faces, pixels, f) * (np.sqrt(long) + 1e-12)
            away = np.sqrt(away) + 1e-9
            facing, turned, edge = 0.0, 0.0, 0.0
            for d in range(3):
                n[d] /= long
                way[d] /= away
                facing += n[d] * lights[0, d]
                turned += n[d] * lights[1, d]
                edge -= n[d] * way[d]
            edge = 1.0 - min(max(edge, 0.0), 1.0)
            m = material_f[f]
            second, shade = printed(
                pattern_m[m],
                _mean(canonical_v, corners, a, b, 0),
                _mean(canonical_v, corners, a, b, 1),
                _mean(canonical_v, corners, a, b, 2),
                size_m[m],
                float(depth[y, x]) / focal,
                seed + m,
            )
            sunny = 0.0
            if facing > 0.0:
                for d in range(3):
                    light[d] = axes[d, 0] * place[0] + axes[d, 1] * place[1] + axes[d, 2] * place[2]
                lean = min(np.sqrt(max(1.0 - facing * facing, 0.0)) / facing, 16.0)
                clear = CLEAR + 2.0 * lean / scale
                sunny = _through(place[0], place[1], place[2], lights[0], glass)
                sunny *= 1.0 - _struck(far, scale, corner, light[0], light[1], light[2], clear)
            turned = (0.5 + 0.5 * turned) ** 2
            up = 0.5 + 0.5 * n[1]
            smooth = max(1.0 - rough_m[m] / SHINING, 0.0)
            shine = 0.0
            if smooth > 0.0:
                shine = smooth * (sunny * _shine(n, way, lights[0]) + 0.5 * _shine(n, way, lights[1]))
            rim = (0.05 + 0.25 * smooth) * edge * edge * edge
            for c in range(3):
                base = (colours[m, 0, c] * (1.0 - second) + colours[m, 1, c] * second) * shade
                fill = up * sky[c] + (1.0 - up) * earth[c]
                fallen = sunny * facing * lights[0, 3 + c] + turned * lights[1, 3 + c] + fill
                out[y, x, c] = base * fallen + shine * 0.5 * lights[0, 3 + c] + rim * fill
