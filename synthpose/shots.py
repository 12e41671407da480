"""Training pictures of synthetic people: each follows from the recipe and its number alone.

A shot is the crop that a network would get of one person, rendered through the crop's own camera, with the 52
landmarks where they truly are. Neighbouring numbers share a person, whose body, clothes' shapes and postures
are made at once; colours, room, light, camera, box, things and sensor are each shot's own.

The people are nobody from a cohort: their seeds are at least 2^32 and cohorts' are below 2^31, so no stream
of random numbers is shared, whatever the recipe's seed.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.recording import Markers, Motion
from cohorts.skeleton import skeleton
from cohorts.values import FloatArray
from synthpose import aids, sensor, things
from synthpose.clothing import draw_outfit, dress, materials
from synthpose.data_recipe import DataRecipe
from synthpose.person import MARKERS, Person
from synthpose.postures import STANDING_SHARE, Library, Moments, hip_height, make_anybody, own_seed, varied
from synthpose.recipe import chance
from synthpose.render import Float32Array
from synthpose.room import draw_room
from synthpose.scene import Actor, Material, Picture, Room, Stage, View, tolerances
from synthpose.viewpoints import Viewpoint, draw_viewpoint, straight

SEEN, HIDDEN, OUTSIDE = 2, 1, 0
KEPT = 2  #: people with their postures that a process holds
BYSTANDERS = 8  #: who may stand beside the subject, in all
STRONG_JPEG = 0.15  #: share of pictures that are compressed more than a little
SOFT = 0.2  #: share of pictures out of focus
POINTS = skeleton(MARKERS).points


@dataclass(frozen=True)
class Shot:
    """One training picture.

    Attributes
    ----------
    jpeg : the crop as compressed by the camera; what is stored
    points : (52, 2) float32, pixels of the crop; (0, 0) is the middle of its top-left pixel
    visible : (52,) uint8: 2 seen, 1 hidden by the person, somebody or something, 0 outside the picture
    condition : whose motion the posture comes from, or "standing"
    person : number of the person
    """

    jpeg: bytes
    points: Float32Array
    visible: NDArray[np.uint8]
    condition: str
    person: int

    @cached_property
    def picture(self) -> NDArray[np.uint8]:
        """(h, w, 3) RGB."""
        return decoded(self.jpeg)


def draw_shot(data: DataRecipe, number: int) -> Shot:
    """Shot ``number`` of a recipe; ask for neighbouring numbers in a row: they share a person."""
    if number < 0:
        raise CapbenchError(f"Expected a shot's number from 0 on, got {number}.")
    return studio(data).shot(number)


_STUDIOS: OrderedDict[str, Studio] = OrderedDict()


def studio(data: DataRecipe) -> Studio:
    """This process' studio for a recipe."""
    key = data.digest
    if key not in _STUDIOS:
        while len(_STUDIOS) >= 2:
            _STUDIOS.popitem(last=False)
        _STUDIOS[key] = Studio(data)
    _STUDIOS.move_to_end(key)
    return _STUDIOS[key]


# --- who ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dressed:
    """Somebody ready to be posed.

    Attributes
    ----------
    person, stage : with all they wear, and that as one mesh
    rows : the material of each row of the stage's table
    leg : metres from hip to ground
    """

    person: Person
    stage: Stage
    rows: tuple[str, ...]
    leg: float

    def coloured(self, random: np.random.Generator) -> Stage:
        """The stage in other colours: skin, hair, clothes."""
        outfit = draw_outfit(own_seed(random), self.person.phenotype)
        named = {**aids.MATERIALS, **materials(outfit)}
        return _with_table(self.stage, [named[row] for row in self.rows])


def _with_table(stage: Stage, rows: Sequence[Material]) -> Stage:
    made = copy.copy(stage)
    made.table = (
        np.array([[m.first, m.second] for m in rows], float).reshape(-1, 2, 3),
        np.array([m.pattern for m in rows], np.int64),
        np.array([m.size for m in rows], float),
        np.array([m.rough for m in rows], float),
    )
    return made


def together(stages: Sequence[Stage], room: Room) -> Stage:
    """Several stages as one, in a room; vertices in their order."""
    made = copy.copy(stages[0])
    made.room = room
    if len(stages) == 1:
        return made
    starts = np.cumsum([0, *(len(s.canonical) for s in stages)])
    rows = np.cumsum([0, *(len(s.table[1]) for s in stages)])
    bodies = np.cumsum([0, *(len(s.parts) for s in stages)])
    made.actors = tuple(a for s in stages for a in s.actors)
    made.counts = [n for s in stages for n in s.counts]
    made.parts = tuple(b for s in stages for b in s.parts)
    made.faces = np.concatenate([s.faces + k for s, k in zip(stages, starts, strict=False)])
    made.canonical = np.concatenate([s.canonical for s in stages])
    made.material = np.concatenate([s.material + k for s, k in zip(stages, rows, strict=False)])
    made.part = np.concatenate([s.part + k for s, k in zip(stages, bodies, strict=False)])
    made.person = np.concatenate([s.person for s in stages])
    colours, pattern, size, rough = (np.concatenate([s.table[k] for s in stages]) for k in range(4))
    made.table = (colours, pattern, size, rough)
    return made


def make_dressed(seed: int, group: str, *, number: int = 1, cane: str = "") -> Dressed:
    """Somebody of a group, dressed; ``number`` 1 is the subject, 2 somebody else; a cane in hand r or l."""
    bare = make_anybody(seed, group)
    outfit = draw_outfit(seed, bare.phenotype)
    person = dress(bare, outfit)
    leg = hip_height(person)
    if cane:
        stick = aids.cane(person, side=cane)
        person = replace(person, surfaces=(*person.surfaces, stick))
    colours = {**aids.MATERIALS, **materials(outfit)}
    actors = [Actor(surface, colours, person=number) for surface in person.surfaces]
    rows = tuple(name for surface in person.surfaces for name in surface.materials)
    return Dressed(person, Stage(actors, Room()), rows, leg)


@dataclass(frozen=True)
class Session:
    """One person's shots: postures of all of them.

    Attributes
    ----------
    subject : who
    vertices, marks : (N, V, 3) and (N, 52, 3) metres, the lowest place of each posture on its floor
    moments, at : of which motion each posture is, and of which moment
    tolerance : (52,) metres, see ``scene.tolerances``
    other : somebody else, and for the shots that have them (N, ...) vertices; else empty
    """

    subject: Dressed
    vertices: FloatArray
    marks: FloatArray
    moments: tuple[Moments, ...]
    at: tuple[int, ...]
    tolerance: FloatArray
    other: Dressed | None
    beside: Mapping[int, FloatArray]


@dataclass(frozen=True)
class Taken:
    """A shot before the sensor.

    Attributes
    ----------
    view, picture, finer : camera and crop; its light, on ``finer`` x ``finer`` pixels for each
    marks : (52, 3) metres
    points, visible, condition, person : as in a Shot
    random : goes on with the sensor
    """

    view: Viewpoint
    picture: Picture
    finer: int
    marks: FloatArray
    points: FloatArray
    visible: NDArray[np.int64]
    condition: str
    person: int
    random: np.random.Generator


class Studio:
    """Everything that the shots of one recipe share in a process."""

    def __init__(self, data: DataRecipe) -> None:
        self.data, self.library = data, Library(data)
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        self._bystanders: dict[int, Dressed] = {}

    def session(self, number: int) -> Session:
        """One person's shots."""
        if number not in self._sessions:
            while len(self._sessions) >= KEPT:
                self._sessions.popitem(last=False)
            self._sessions[number] = self._make_session(number)
        self._sessions.move_to_end(number)
        return self._sessions[number]

    def _bystander(self, number: int) -> Dressed:
        if number not in self._bystanders:
            random = chance(self.data.seed, "bystander", number)
            group = _group(self.data, random)
            self._bystanders[number] = make_dressed(own_seed(random), group, number=2)
        return self._bystanders[number]

    def _make_session(self, number: int) -> Session:
        data, random = self.data, chance(self.data.seed, "person", number)
        cane = str(random.choice(["r", "l"])) if random.random() < data.aids else ""
        subject = make_dressed(own_seed(random), _group(data, random), cane=cane)
        motions = self.library.drawn(random)
        count = data.shots_per_person
        still = random.random(count) < STANDING_SHARE
        chosen = np.where(still, 0, random.integers(1, len(motions), count))
        moments = tuple(motions[int(k)] for k in chosen)
        at = tuple(int(random.integers(len(m.values))) for m in moments)
        model = subject.person.model
        wanted = np.stack(
            [varied(m.values[k], m.names, model, data, random) for m, k in zip(moments, at, strict=True)]
        )
        vertices, marks = _posed(subject.person, moments[0].names, wanted)
        lift = np.array([m.lift[k] * subject.leg / m.leg for m, k in zip(moments, at, strict=True)])
        up = lift - vertices[..., 1].min(axis=1)
        vertices[..., 1] += up[:, None]
        marks[..., 1] += up[:, None]
        shift = np.cumsum([0, *subject.stage.counts])
        first = [vertices[0, a:b] for a, b in pairwise(shift)]
        tolerance = tolerances(first, Markers(np.zeros(1), POINTS, marks[:1]))
        other = self._bystander(int(random.integers(BYSTANDERS))) if data.others else None
        with_other = np.flatnonzero(random.random(count) < data.others).tolist()
        beside: dict[int, FloatArray] = {}
        if other is not None and with_other:
            poses = [motions[int(random.integers(len(motions)))] for _ in with_other]
            values = np.stack([m.values[int(random.integers(len(m.values)))] for m in poses])
            there, _ = _posed(other.person, poses[0].names, values)
            there[..., 1] -= there[..., 1].min(axis=1)[:, None]
            beside = dict(zip(with_other, there, strict=True))
        return Session(subject, vertices, marks, moments, at, tolerance, other, beside)

    # --- a shot ---------------------------------------------------------------------------------

    def shot(self, number: int) -> Shot:
        """One picture."""
        taken = self.take(number)
        return Shot(
            _developed(taken),
            taken.points.astype(np.float32),
            taken.visible.astype(np.uint8),
            taken.condition,
            taken.person,
        )

    def take(self, number: int) -> Taken:
        """A shot as light, before the sensor."""
        data = self.data
        person, k = divmod(number, data.shots_per_person)
        session = self.session(person)
        random = chance(data.seed, "shot", number)
        room = draw_room(own_seed(random), "shots")
        marks = session.marks[k]
        view = draw_viewpoint(data, marks, random)
        stages, vertices = [session.subject.coloured(random)], [session.vertices[k]]
        for stage, placed in self._around(session, k, view, random):
            stages.append(stage)
            vertices.append(placed)
        stage = together(stages, room)
        whole = np.concatenate(vertices)
        scene = stage.pose(np.split(whole, np.cumsum(stage.counts)[:-1]))
        finer = 2 if random.random() < data.smooth else 1
        eye = View(straight(view.crop()), room)
        _look(eye, view.crop(finer), finer)
        picture = eye.see(scene)
        points = view.crop().project(marks)
        seen = eye.visible(picture, Markers(np.zeros(1), POINTS, marks[None]), 0, tolerance=session.tolerance)
        visible = np.where(view.inside(points), np.where(seen, SEEN, HIDDEN), OUTSIDE)
        condition = session.moments[k].condition
        return Taken(view, picture, finer, marks, points, visible, condition, person, random)

    def _around(
        self, session: Session, k: int, view: Viewpoint, random: np.random.Generator
    ) -> list[tuple[Stage, FloatArray]]:
        """What else there is: stages and vertices."""
        found = []
        eye, middle = view.camera.centre, session.marks[k].mean(axis=0)
        if k in session.beside and session.other is not None:
            placed = session.beside[k] + things.beside(eye, middle, random)
            found.append((session.other.coloured(random), placed))
        props = _aids(session, k, random, self.data.aids)
        if random.random() < self.data.things:
            props += [things.about(eye, middle, random) for _ in range(int(random.integers(1, 3)))]
        for prop, at, facing in props:
            rows = [things.stuff(name, random) for name in prop.rows]
            found.append((_with_table(prop.stage, rows), prop.placed(at, facing)))
        return found


def _look(eye: View, camera: Camera, finer: int) -> None:
    """Let a view of the crop look through its lens, with ``finer`` x ``finer`` pixels for each."""

    def fine(a: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(a.repeat(finer, axis=0).repeat(finer, axis=1))

    eye.camera = camera
    if finer > 1:
        eye.empty, eye.beneath, eye.surface = fine(eye.empty), fine(eye.beneath), fine(eye.surface)


def _group(data: DataRecipe, random: np.random.Generator) -> str:
    names = sorted(data.people)
    often = np.array([data.people[n] for n in names])
    return str(names[int(random.choice(len(names), p=often / often.sum()))])


def _posed(person: Person, names: tuple[str, ...], values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N, V, 3) of all surfaces together, and (N, 52, 3) landmarks in the skeleton's order."""
    motion = Motion(np.arange(len(values), dtype=float), names, values)
    marks = person.landmarks(motion)
    order = [marks.names.index(n) for n in POINTS]
    return np.concatenate(person.posed(motion), axis=1), marks.xyz[:, order]


# --- what stands about ----------------------------------------------------------------------------


def _aids(session: Session, k: int, random: np.random.Generator, share: float) -> list[things.Standing]:
    """The chair that is sat on, the box that is jumped from, what a walk leans on."""
    moments, at = session.moments[k], session.at[k]
    ratio = session.subject.leg / moments.leg
    made = []
    if np.isfinite(moments.seat[0]) and random.random() < 0.9:
        back, arms = random.random() < 0.8, random.random() < 0.3
        place = np.array([moments.seat[1][at] * ratio, 0.0])
        made.append(things.Standing(things.chair(moments.seat[0] * ratio, back, arms), place, 0.0))
    if np.isfinite(moments.box[0]) and random.random() < 0.9:
        place = np.array([moments.box[1][at] * ratio, 0.0])
        made.append(things.Standing(things.jump_box(moments.box[0] * ratio), place, 0.0))
    if moments.walks and random.random() < share:
        if random.random() < 0.5:
            made.append(things.Standing(things.bars(0.9 * ratio), np.zeros(2), 0.0))
        else:
            place = np.array([random.uniform(0.3, 0.45), 0.0])
            made.append(things.Standing(things.walker(0.85 * ratio), place, 0.0))
    return made


# --- the sensor -----------------------------------------------------------------------------------


def _developed(taken: Taken) -> bytes:
    """The crop as a compressed picture; black beyond the edges of the whole one."""
    linear, finer, random, view = taken.picture.linear, taken.finer, taken.random, taken.view
    if finer > 1:
        parts = [linear[a::finer, b::finer] for a in range(finer) for b in range(finer)]
        linear = np.float32(1 / len(parts)) * sum(parts[1:], parts[0])
    seed = own_seed(random)
    phone = sensor.draw_sensor(seed, "camera")
    scale = float(view.crops.scale[0].mean())
    soft = float(random.uniform(0.4, 1.3)) if random.random() < SOFT else phone.soft * scale
    calm = 0.65 if scale < 1 else 1.0  # each pixel of a crop is a mean of up to four
    phone = replace(
        phone,
        exposure=phone.exposure + float(np.clip(random.normal(0.0, 0.4), -1.2, 1.0)),
        soft=soft if soft > 0.25 else 0.0,
        read_noise=phone.read_noise * calm,
        electrons=phone.electrons / calm**2,
        quality=0,
    )
    rgb = sensor.develop(np.ascontiguousarray(linear, np.float32), phone, seed=seed, camera="camera", frame=0)
    columns, rows = view.outside()
    rgb[rows] = 0
    rgb[:, columns] = 0
    quality = random.uniform(45, 80) if random.random() < STRONG_JPEG else random.uniform(80, 97)
    return encoded(rgb, int(quality))


def encoded(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """A picture (h, w, 3) as JPEG."""
    cv2 = _cv2()
    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    )
    return bytes(data.tobytes())


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of a compressed picture."""
    cv2 = _cv2()
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        raise CapbenchError("Expected a JPEG picture, got something else.")
    return np.asarray(np.ascontiguousarray(found[..., ::-1]), np.uint8)


def _cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            f"Training pictures need OpenCV, which can't be imported ({error}).",
            fix="pip install 'opencv-python-headless>=4.10,<6'",
        ) from error
    return cv2
