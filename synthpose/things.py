"""What stands about in training pictures: aids, furniture, posts, balls, and where somebody else stands.

Things are made once for each of a few sizes, and moved and coloured from picture to picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from cohorts.values import FloatArray
from synthpose import aids
from synthpose.mesh import Surface
from synthpose.palette import dye
from synthpose.scene import Actor, Material, Room, Stage
from synthpose.solids import Solid, box, ellipsoid, rod

SIZES = 24  #: posts, boxes and balls there are of each kind
STEP = 0.02  #: metres between the heights of one kind of aid
BEHIND = 0.25  #: share of things behind the person


@dataclass(frozen=True)
class Prop:
    """A thing in the middle of the floor.

    Attributes
    ----------
    stage, rest : itself as a mesh, and its vertices (V, 3) metres
    rows : the material of each row of the stage's table
    """

    stage: Stage
    rest: FloatArray
    rows: tuple[str, ...]

    def placed(self, at: FloatArray, facing: float) -> FloatArray:
        """(V, 3) with its middle ``at`` (x, z) metres, turned to the left by ``facing`` radians."""
        c, s = np.cos(facing), np.sin(facing)
        turned = self.rest @ np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]).T
        return np.asarray(turned + np.array([at[0], 0.0, at[1]]))


class Standing(NamedTuple):
    """A prop, where on the floor it stands (x, z; metres) and how it is turned (radians to the left)."""

    prop: Prop
    at: FloatArray
    facing: float


def _prop(surface: Surface) -> Prop:
    looks = dict.fromkeys(surface.materials, Material((0.5, 0.5, 0.5)))
    return Prop(Stage([Actor(surface, looks, person=0)], Room()), surface.rest_v3, surface.materials)


def _rounded(make: Callable[[float], Prop], height: float, low: float, high: float) -> Prop:
    return make(round(round(min(max(height, low), high) / STEP) * STEP, 4))


def chair(seat: float, back: bool, arms: bool) -> Prop:
    """A chair; ``seat`` metres high or nearly."""
    return _rounded(lambda high: _chair(high, back, arms), seat, 0.16, 0.78)


@cache
def _chair(seat: float, back: bool, arms: bool) -> Prop:
    return _prop(aids.chair(seat=seat, back=back, arms=arms))


def jump_box(height: float) -> Prop:
    """A box to jump from."""
    return _rounded(_jump_box, height, 0.06, 0.78)


@cache
def _jump_box(height: float) -> Prop:
    return _prop(aids.jump_box(height=height))


def bars(height: float) -> Prop:
    """Parallel bars."""
    return _rounded(_bars, height, 0.46, 1.2)


@cache
def _bars(height: float) -> Prop:
    return _prop(aids.bars(height=height, length=4.0))


def walker(height: float) -> Prop:
    """A walking frame."""
    return _rounded(_walker, height, 0.46, 1.1)


@cache
def _walker(height: float) -> Prop:
    return _prop(aids.walker(height=height))


@cache
def _solid(kind: str, number: int) -> Prop:
    """The ``number``-th box, post or ball."""
    random = np.random.default_rng([number, len(kind)])
    solid: Solid
    if kind == "box":
        half = random.uniform([0.1, 0.1], [0.45, 0.3])
        solid = box([-half[0], 0, -half[1]], [half[0], random.uniform(0.3, 1.1), half[1]])
    elif kind == "post":
        lean = random.uniform(-0.3, 0.3, 2)
        top = [lean[0], random.uniform(0.8, 2.2), lean[1]]
        solid = rod([[0, 0, 0], top], float(random.uniform(0.012, 0.08)))
    else:
        half = random.uniform(0.08, 0.35, 3)
        solid = ellipsoid([0, random.uniform(half[1], 1.4), 0], half, rings=12, around=20)
    local, faces = solid
    count = len(local)
    surface = Surface(
        kind, local, local, faces, np.zeros(len(faces), np.int64), ("cloth",),
        np.zeros((count, 1), np.int64), np.ones((count, 1)), (aids.GROUND,),
    )  # fmt: skip
    return _prop(surface)


# --- by chance ------------------------------------------------------------------------------------


def about(eye: FloatArray, middle: FloatArray, random: np.random.Generator) -> Standing:
    """Something, mostly between the camera's place ``eye`` and the person's ``middle`` (3,) metres."""
    way, across, far = _directions(eye, middle)
    if random.random() < BEHIND:
        near = -random.uniform(0.4, 1.2)
    else:
        near = random.uniform(0.3, max(0.45 * far, 0.4))
    aside = random.uniform(-0.7, 0.7) * (1 - 0.5 * max(near, 0.0) / far)
    at = middle + near * way + aside * across
    kind = int(random.integers(5))
    if kind == 0:
        prop = chair(
            float(random.uniform(0.35, 0.6)), bool(random.random() < 0.8), bool(random.random() < 0.3)
        )
    elif kind == 1:
        prop = walker(float(random.uniform(0.6, 1.0)))
    else:
        prop = _solid(("box", "post", "ball")[kind - 2], int(random.integers(SIZES)))
    return Standing(prop, at[[0, 2]], float(random.uniform(0, 2 * np.pi)))


def beside(eye: FloatArray, middle: FloatArray, random: np.random.Generator) -> FloatArray:
    """(3,) where somebody else stands: mostly behind the person, sometimes half before them."""
    way, across, far = _directions(eye, middle)
    across = across * float(random.choice([-1.0, 1.0]))
    if random.random() < 0.3:
        near, aside = random.uniform(0.35, max(0.4, min(1.2, 0.4 * far))), random.uniform(0.2, 0.6)
    else:
        near, aside = -random.uniform(0.4, 2.0), random.uniform(0.0, 1.1)
    return np.asarray((middle + near * way + aside * across) * [1.0, 0.0, 1.0])


def _directions(eye: FloatArray, middle: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Level and one long: from the person to the camera, and across; and metres between them."""
    way = (eye - middle) * [1.0, 0.0, 1.0]
    far = float(np.linalg.norm(way))
    way = way / far
    return way, np.array([-way[2], 0.0, way[0]]), far


def stuff(name: str, random: np.random.Generator) -> Material:
    """A thing's material: its own, or any colour."""
    if name in aids.MATERIALS and random.random() < 0.5:
        return aids.MATERIALS[name]
    pattern = int(random.integers(5)) if random.random() < 0.4 else 0
    return Material(dye(random), dye(random), pattern, float(random.uniform(0.03, 0.3)), 0.2)
