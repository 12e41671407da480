"""Skinned triangle surfaces, moved directly by the frames of a musculoskeletal model's bodies.

A vertex follows each of its bodies rigidly and is put at the weighted mean of where they take it (linear
blend skinning): ``v(q) = Σ_b w_b · T_b(q) · T_b(q_bind)⁻¹ · v_bind``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

from capbench.biomech.kinematics import body_frames, coordinates_of, forward
from capbench.biomech.model import Model
from capbench.biomech.tree import build_tree
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.values import FloatArray, IntArray


@dataclass(frozen=True)
class Surface:
    """A triangle surface that follows the bodies of a model: skin, a garment, hair, a cane.

    Attributes
    ----------
    name : "body", "top", "cane", …
    rest_v3 : (V, 3) metres in ground, in the bind pose
    canonical_v3 : (V, 3) metres: a place that is the same for all persons and poses, for textures in space
    faces_f3 : (F, 3) vertices, anticlockwise seen from outside
    material_f : (F,) number of each face's material
    materials : their names: "skin", "hair", "top", "bottom", "shoe", "eye", "prop", …
    bones_vk : (V, K) numbers of bodies
    weights_vk : (V, K) shares, summing to 1
    bodies : names of the model's bodies
    """

    name: str
    rest_v3: FloatArray
    canonical_v3: FloatArray
    faces_f3: IntArray
    material_f: IntArray
    materials: tuple[str, ...]
    bones_vk: IntArray
    weights_vk: FloatArray
    bodies: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.rest_v3)
        for what, array in (("bones", self.bones_vk), ("weights", self.weights_vk)):
            if array.shape[0] != count or array.shape != self.weights_vk.shape:
                raise CapbenchError(f"Expected {what} for each of {count} vertices, got {array.shape}.")
        if self.canonical_v3.shape != self.rest_v3.shape or len(self.material_f) != len(self.faces_f3):
            raise CapbenchError(
                f"Expected surface {self.name} with a place for each vertex and a material a face."
            )


@dataclass(frozen=True)
class BodyFrames:
    """Where bodies are: rotations (T, B, 3, 3) and origins (T, B, 3) metres in ground, named."""

    bodies: tuple[str, ...]
    rotation: FloatArray
    origin: FloatArray


def frames_of(model: Model, motion: Motion, bodies: tuple[str, ...]) -> BodyFrames:
    """The frames of a model's bodies during a motion."""
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, motion))
    placed = [body_frames(tree, frames, body) for body in bodies]
    return BodyFrames(
        bodies,
        np.ascontiguousarray(np.stack([r for r, _ in placed], axis=1)),
        np.ascontiguousarray(np.stack([o for _, o in placed], axis=1)),
    )


def skin(surface: Surface, bind: BodyFrames, frames: BodyFrames) -> FloatArray:
    """(T, V, 3) metres: the surface's vertices at every frame.

    ``bind`` holds the one frame that the surface was bound in; both name the surface's bodies.
    """
    if bind.bodies != surface.bodies or frames.bodies != surface.bodies:
        raise CapbenchError(f"Expected the frames of the bodies of surface {surface.name}, in their order.")
    turn = np.einsum("tbij,bkj->tbik", frames.rotation, bind.rotation[0])
    shift = frames.origin - np.einsum("tbij,bj->tbi", turn, bind.origin[0])
    return _blend(surface.rest_v3, surface.bones_vk, surface.weights_vk, turn, shift)


@nb.njit(cache=True)
def _blend(
    rest: FloatArray, bones: IntArray, weights: FloatArray, turn: FloatArray, shift: FloatArray
) -> FloatArray:
    out = np.empty((len(turn), len(rest), 3))
    for t in range(len(turn)):
        for v in range(len(rest)):
            x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
            a = b = c = 0.0
            for k in range(bones.shape[1]):
                w = weights[v, k]
                if w > 0.0:
                    r, s = turn[t, bones[v, k]], shift[t, bones[v, k]]
                    a += w * (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + s[0])
                    b += w * (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + s[1])
                    c += w * (r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + s[2])
            out[t, v, 0], out[t, v, 1], out[t, v, 2] = a, b, c
    return out
