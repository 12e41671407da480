"""A room with people and things in it, seen by a camera: colours, depth, normals, parts, silhouettes.

What stands still for a whole trial is worked out once: the joined mesh of all actors per ``Stage``, the empty
room and its shadows' places per ``View``. What all cameras share of a frame (normals, shadows) is worked out
once per ``Scene``. A picture then costs projecting, rasterising and shading what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.recording import Markers
from cohorts.values import FloatArray, IntArray
from synthpose import lens
from synthpose.mesh import Surface
from synthpose.render import Buffers, Float32Array, Int32Array, normals, rasterise
from synthpose.shade import PLAIN, backdrop, room, seen_normals, shade, to_bytes
from synthpose.shadow import Shadow, axes_of, cast

VISIBLE = 0.05  #: metres that a landmark may lie behind the first surface and still count as seen
DARKNESS = (0.0, 1.0, 0.0)  #: where a room without lights has its light from: nobody sees its shadows
Colour = tuple[float, float, float]
Rasteriser = Callable[..., Buffers]
#: draws the light (h, w, 3) of a scene, given its buffers and its vertices' pixels
Paint = Callable[["Scene", Buffers, FloatArray], Float32Array]


@dataclass(frozen=True)
class Material:
    """Two linear colours, how the second enters (see ``synthpose.shade``), its size (m), roughness 0 to 1."""

    first: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: int = PLAIN
    size: float = 0.1
    rough: float = 0.25


@dataclass(frozen=True)
class Light:
    """Where a distant light comes from (a vector towards it) and its linear colour."""

    toward: Colour
    colour: Colour = (0.8, 0.8, 0.8)


@dataclass(frozen=True)
class Room:
    """A box to be in, and the light there.

    Attributes
    ----------
    low, high : its corners, metres; the floor is y = 0. A camera outside sees the walls moved back behind it
    surfaces : six materials: floor, ceiling, walls at -x, +x, -z, +z
    lights : the first one casts shadows
    ambient : light from everywhere
    seed : of the textures
    """

    low: Colour = (-5.0, 0.0, -4.0)
    high: Colour = (6.0, 3.0, 4.0)
    surfaces: tuple[Material, ...] = (
        Material((0.45, 0.42, 0.38)),
        Material((0.8, 0.8, 0.8)),
        *(Material((0.6, 0.62, 0.65)),) * 4,
    )
    lights: tuple[Light, ...] = (Light((0.4, 1.0, 0.5)), Light((-0.6, 0.5, -0.4), (0.25, 0.27, 0.3)))
    ambient: Colour = (0.35, 0.35, 0.37)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.surfaces) != 6:
            raise CapbenchError(f"Expected six surfaces of a room, got {len(self.surfaces)}.")

    @property
    def axes(self) -> FloatArray:
        """(3, 3) right, down and forward of the light that casts shadows, as rows."""
        return axes_of(self.lights[0].toward if self.lights else DARKNESS)


@dataclass(frozen=True)
class Actor:
    """Something to draw: a surface, its materials by name, and who it belongs to (0: nobody, a thing)."""

    surface: Surface
    materials: Mapping[str, Material]
    person: int = 1


class Stage:
    """All actors of a trial as one mesh, in a room; only its vertices move.

    Attributes
    ----------
    faces : (F, 3) vertices of the joined mesh
    canonical : (V, 3) metres: where textures are looked up
    material, part, person : (F,) numbers: of ``table``'s row, of ``parts``' body, of the person
    """

    def __init__(self, actors: Sequence[Actor], room: Room) -> None:
        self.actors, self.room, self.parts = tuple(actors), room, parts(actors)
        self.counts = [len(a.surface.rest_v3) for a in actors]
        first = np.cumsum([0, *self.counts])
        materials: list[Material] = []
        faces, material, part, person = [_NO_FACES], [_NONE], [_NONE], [_NONE]
        for actor, start in zip(actors, first, strict=False):
            surface = actor.surface
            faces.append(surface.faces_f3 + start)
            material.append(surface.material_f + len(materials))
            materials += [_material(actor, name) for name in surface.materials]
            number = np.array([self.parts.index(b) for b in surface.bodies], np.int64)
            part.append(number[_owner(surface)])
            person.append(np.full(len(surface.faces_f3), actor.person, np.int64))
        self.faces: IntArray = np.ascontiguousarray(np.concatenate(faces), np.int64)
        self.canonical: FloatArray = np.concatenate(
            [np.empty((0, 3)), *(a.surface.canonical_v3 for a in actors)]
        )
        self.material, self.part, self.person = map(np.concatenate, (material, part, person))
        self.table = material_rows(materials)

    def pose(self, posed: Sequence[FloatArray]) -> Scene:
        """One frame: the actors where ``posed`` (V, 3) of each puts them (metres in ground)."""
        if [p.shape for p in posed] != [(n, 3) for n in self.counts]:
            raise CapbenchError(
                f"Expected places (V, 3) of {self.counts} vertices, got {[p.shape for p in posed]}."
            )
        vertices = np.concatenate([np.empty((0, 3)), *posed])
        return Scene(
            self, vertices, normals(vertices, self.faces), cast(vertices, self.faces, self.room.axes)
        )


@dataclass(frozen=True)
class Scene:
    """One frame of a stage: where its vertices are (metres), their unit normals, what the light reaches."""

    stage: Stage
    vertices: FloatArray
    normal: FloatArray
    shadow: Shadow


@dataclass(frozen=True)
class Picture:
    """What a camera sees of one frame.

    Attributes
    ----------
    linear : (h, w, 3) light that falls on each pixel, 1 being as much as 8 bits hold at gain 1
    depth : (h, w) metres along the optical axis to the first person or thing; infinite for the room
    buffers : the triangle that each pixel sees, and where on it
    scene, pixels : what was drawn and where its vertices are seen (V, 2)
    gain : of ``rgb``
    """

    linear: Float32Array
    buffers: Buffers
    scene: Scene
    pixels: FloatArray
    gain: float = 1.0

    @property
    def depth(self) -> Float32Array:
        """(h, w) metres along the optical axis to the first person or thing; infinite for the room."""
        return self.buffers.depth_hw

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """(h, w, 3) 8-bit, as a perfect sensor has it; see ``synthpose.sensor`` for a real one's."""
        return to_bytes(self.linear, self.gain)

    @cached_property
    def normal(self) -> Float32Array:
        """(h, w, 3) unit vectors in ground of the side that is seen, NaN for the room."""
        b = self.buffers
        return seen_normals(b.face_hw, b.bary_hw2, self.scene.stage.faces, self.pixels, self.scene.normal)

    @cached_property
    def part(self) -> Int32Array:
        """(h, w) number of the model's body in ``parts`` that the pixel moves with; -1 elsewhere."""
        return self._of_face(self.scene.stage.part, -1)

    @cached_property
    def person(self) -> Int32Array:
        """(h, w) whose pixel it is: 0 nobody's, 1 the subject's, 2 … others'."""
        return self._of_face(self.scene.stage.person, 0)

    def silhouette(self, person: int = 1) -> NDArray[np.bool_]:
        """(h, w) where that person is seen."""
        return np.asarray(self.person == person)

    def _of_face(self, numbers: IntArray, otherwise: int) -> Int32Array:
        # the last entry is what face -1 picks
        return np.append(numbers, otherwise).astype(np.int32)[self.buffers.face_hw]


@dataclass
class View:
    """A camera in a room: the empty room as it sees it, and where each of its pixels is in the light's axes.

    ``rasteriser`` is ``synthpose.render.rasterise`` or its equal on another device; ``painter`` gives what
    draws light and texture for a view in another style than the default (see ``synthpose.style``).
    """

    camera: Camera
    room: Room
    rasteriser: Rasteriser = rasterise
    painter: Callable[[View], Paint] | None = None
    empty: Float32Array = field(init=False)
    beneath: Float32Array = field(init=False)
    surface: NDArray[np.uint8] = field(init=False)
    _stage: Stage | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        width, height = self.camera.size
        self.empty, self.beneath = np.empty((2, height, width, 3), np.float32)
        self.surface = np.empty((height, width), np.uint8)
        r, place = self.room, self.camera.centre
        if place[1] <= r.low[1] + 0.01:
            raise CapbenchError(
                f"Expected a camera above the floor, got one {place[1]:.2f} m high.",
                place=f"camera {self.camera.name}",
            )
        bounds = np.array([np.minimum(r.low, place - 0.01), np.maximum(r.high, place + 0.01)])
        bounds[0, 1] = r.low[1]
        colours, pattern, size, _ = material_rows(r.surfaces)
        bright, first = _on_walls(r)
        self._share = first / np.maximum(bright, 1e-12)
        room(
            place, lens.rays(self.camera), bounds, colours, pattern, size, bright, r.axes,
            self.focal, r.seed, self.empty, self.beneath, self.surface,
        )  # fmt: skip
        self._paint = None if self.painter is None else self.painter(self)

    @property
    def focal(self) -> float:
        """Pixels."""
        return float(np.sqrt(self.camera.matrix[0, 0] * self.camera.matrix[1, 1]))

    def draw(self, actors: Sequence[Actor], posed: Sequence[FloatArray], *, gain: float = 1.0) -> Picture:
        """The actors where ``posed`` (V, 3) of each puts them; ``see`` is for several cameras at once."""
        stage = self._stage
        if stage is None or len(stage.actors) != len(actors) or any(map(_differ, stage.actors, actors)):
            stage = self._stage = Stage(actors, self.room)
        return self.see(stage.pose(posed), gain=gain)

    def see(self, scene: Scene, *, gain: float = 1.0) -> Picture:
        """A frame of a stage in this room."""
        stage = scene.stage
        if stage.room is not self.room and stage.room != self.room:
            raise CapbenchError("Expected a stage in the room of this view, got one in another room.")
        pixels, depth = lens.project(self.camera, scene.vertices)
        buffers = self.rasteriser(pixels, depth, stage.faces, size=self.camera.size)
        linear = (self._paint or self._shaded)(scene, buffers, pixels)
        return Picture(linear, buffers, scene, pixels, gain)

    def _shaded(self, scene: Scene, buffers: Buffers, pixels: FloatArray) -> Float32Array:
        """Light and texture in the default style."""
        stage, shadow = scene.stage, scene.shadow
        linear = np.empty_like(self.empty)
        backdrop(
            buffers.face_hw, self.empty, self.beneath, self.surface, self._share,
            shadow.far, shadow.scale, shadow.corner, linear,
        )  # fmt: skip
        shade(
            buffers.face_hw, buffers.bary_hw2, buffers.depth_hw, stage.faces, pixels, scene.normal,
            stage.canonical, stage.material, *stage.table, light_rows(self.room.lights),
            np.array(self.room.ambient, float), shadow.cast_v3, shadow.far, shadow.scale, shadow.corner,
            self.focal, self.room.seed, linear,
        )  # fmt: skip
        return linear

    def visible(
        self, picture: Picture, landmarks: Markers, frame: int, *, tolerance: ArrayLike = VISIBLE
    ) -> NDArray[np.bool_]:
        """(M,) whether each landmark of the subject is seen.

        It must lie in the picture, and at most ``tolerance`` (metres; one, or one per landmark: joint centres
        lie deeper under the skin than bony landmarks) behind the first surface, which must be the subject's.
        """
        pixels, depth = lens.project(self.camera, landmarks.xyz[frame])
        pixels = np.round(pixels)
        width, height = self.camera.size
        with np.errstate(invalid="ignore"):
            inside = np.asarray((pixels >= 0).all(axis=1) & (pixels < [width, height]).all(axis=1))
        x, y = np.where(inside[:, None], pixels, 0).astype(int).T
        first = picture.depth[y, x]
        own = (picture.person[y, x] == 1) | ~np.isfinite(first)
        return np.asarray(inside & own & (depth <= first + np.asarray(tolerance, float)))


def parts(actors: Sequence[Actor]) -> tuple[str, ...]:
    """The bodies that ``Picture.part`` numbers, in its order."""
    return tuple(dict.fromkeys(b for a in actors for b in a.surface.bodies))


def tolerances(posed: Sequence[FloatArray], landmarks: Markers, frame: int = 0) -> FloatArray:
    """(M,) metres for ``View.visible``: how deep each landmark lies under the surface, and 3 cm.

    ``posed`` (V, 3): what the subject wears or is made of at that frame. So a hip centre counts as seen where
    nothing but the hip's own flesh and clothes is before it. At least ``VISIBLE``; one frame serves a trial.
    """
    deep, _ = cKDTree(np.concatenate(list(posed))).query(landmarks.xyz[frame])
    return np.maximum(VISIBLE, deep + 0.03)


_NO_FACES, _NONE = np.empty((0, 3), np.int64), np.empty(0, np.int64)


def _differ(one: Actor, other: Actor) -> bool:
    return not (
        one.surface is other.surface and one.materials is other.materials and one.person == other.person
    )


def _material(actor: Actor, name: str) -> Material:
    try:
        return actor.materials[name]
    except KeyError:
        raise CapbenchError(
            f"Expected a material {name!r} for surface {actor.surface.name}, got {sorted(actor.materials)}."
        ) from None


def _owner(surface: Surface) -> IntArray:
    """(F,) which of the surface's bodies each face follows most, over its three vertices."""
    count = len(surface.rest_v3)
    shares = np.zeros((count, len(surface.bodies)))
    for k in range(surface.bones_vk.shape[1]):  # a body may stand in two columns
        shares[np.arange(count), surface.bones_vk[:, k]] += surface.weights_vk[:, k]
    return np.asarray(shares[surface.faces_f3].sum(axis=1).argmax(axis=1))


def light_rows(lights: Sequence[Light]) -> FloatArray:
    """(L, 6) of each light: the unit vector towards it, and its colour."""
    rows = [[*(np.array(light.toward) / np.linalg.norm(light.toward)), *light.colour] for light in lights]
    return np.array(rows, float).reshape(-1, 6)


def _on_walls(r: Room) -> tuple[FloatArray, FloatArray]:
    """(6, 3) the light on each surface of a room, and how much of it the first lamp gives."""
    inward = np.array([[0, 1, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1]], float)
    given = [np.maximum(inward @ lamp[:3], 0)[:, None] * lamp[3:] for lamp in light_rows(r.lights)]
    bright = (0.75 + 0.25 * inward[:, 1:2]) * np.array(r.ambient, float) + sum(given)
    return np.ascontiguousarray(bright), given[0] if given else np.zeros((6, 3))


def material_rows(materials: Sequence[Material]) -> tuple[FloatArray, IntArray, FloatArray, FloatArray]:
    """Of M materials: both colours (M, 2, 3), pattern, size (metres) and roughness (M,)."""
    return (
        np.array([[m.first, m.second] for m in materials], float).reshape(-1, 2, 3),
        np.array([m.pattern for m in materials], np.int64),
        np.array([m.size for m in materials], float),
        np.array([m.rough for m in materials], float),
    )
