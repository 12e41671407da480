"""Forward kinematics in numpy: bodies, joint centres and markers over many frames at once, with Jacobian."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from capbench.biomech.model import GROUND, Model, Placement
from capbench.biomech.tree import Attached, Tree, build_tree
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray


@dataclass(frozen=True)
class Frames:
    """Element frames in ground: rotations (T, E, 3, 3) and origins (T, E, 3) metres."""

    rotation: FloatArray
    origin: FloatArray


def coordinates_of(tree: Tree, motion: Motion) -> FloatArray:
    """(T, Q) values of the tree's free coordinates, taken from a motion by name (radians, metres)."""
    missing = [name for name in tree.coordinates if name not in motion]
    if missing:
        raise CapbenchError(
            f"Expected a motion with the model's coordinates, got none of {', '.join(missing)}."
        )
    return motion.select(tree.coordinates).values


def forward(tree: Tree, q: FloatArray) -> Frames:
    """Where every element is, for coordinates (T, Q)."""
    count = len(tree.elements)
    rotation, origin = np.empty((len(q), count, 3, 3)), np.empty((len(q), count, 3))
    for e, element in enumerate(tree.elements):
        r, o = _placed(rotation, origin, Attached(element.parent, element.placement), len(q))
        u = element.function(q[:, element.coordinate])
        if element.slides:
            rotation[:, e], origin[:, e] = r, o + r[..., 2] * u[:, None]
        else:
            c, s = np.cos(u)[:, None], np.sin(u)[:, None]
            rotation[:, e, :, 0] = r[..., 0] * c + r[..., 1] * s
            rotation[:, e, :, 1] = r[..., 1] * c - r[..., 0] * s
            rotation[:, e, :, 2] = r[..., 2]
            origin[:, e] = o
    return Frames(rotation, origin)


def _placed(
    rotation: FloatArray, origin: FloatArray, at: Attached, frames: int
) -> tuple[FloatArray, FloatArray]:
    if at.element < 0:
        shape = (frames, 3, 3)
        return np.broadcast_to(at.placement.rotation, shape), np.broadcast_to(
            at.placement.translation, shape[:2]
        )
    r = rotation[:, at.element]
    return r @ at.placement.rotation, r @ at.placement.translation + origin[:, at.element]


def body_frames(tree: Tree, frames: Frames, body: str) -> tuple[FloatArray, FloatArray]:
    """A body's rotation (T, 3, 3) and origin (T, 3) metres in ground."""
    if body not in tree.bodies:
        raise unknown_name("body", body, tree.bodies)
    return _placed(frames.rotation, frames.origin, tree.bodies[body], len(frames.rotation))


def points(tree: Tree, frames: Frames, bodies: Iterable[str], locations: FloatArray) -> FloatArray:
    """(T, N, 3) metres in ground of points fixed at ``locations`` (N, 3) in ``bodies``."""
    placed = []
    for body, location in zip(bodies, locations, strict=True):
        rotation, origin = body_frames(tree, frames, body)
        placed.append(rotation @ location + origin)
    return np.stack(placed, axis=1) if placed else np.empty((len(frames.rotation), 0, 3))


def jacobian(tree: Tree, frames: Frames, q: FloatArray, body: str, location: FloatArray) -> FloatArray:
    """(T, 3, Q) metres per radian (or metre): how a point of a body moves with each coordinate."""
    point = points(tree, frames, [body], np.asarray(location)[None])[:, 0]
    made = np.zeros((len(q), 3, len(tree.coordinates)))
    e = tree.bodies[body].element
    while e >= 0:
        element = tree.elements[e]
        axis = frames.rotation[:, e, :, 2]
        slope = element.function.derivatives(q[:, element.coordinate])[1][:, None]
        moves = axis if element.slides else np.cross(axis, point - frames.origin[:, e])
        made[:, :, element.coordinate] += slope * moves
        e = element.parent
    return made


def marker_tracks(model: Model, motion: Motion) -> Markers:
    """Where a model's markers are during a motion."""
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, motion))
    xyz = points(tree, frames, [m.body for m in model.markers], np.array([m.location for m in model.markers]))
    return Markers(motion.time, tuple(m.name for m in model.markers), xyz)


def joint_centres(model: Model, motion: Motion) -> Markers:
    """Where the joints' parent frames are during a motion, named by joint."""
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, motion))
    xyz = points(
        tree,
        frames,
        [j.parent for j in model.joints],
        np.array([j.in_parent.translation for j in model.joints]),
    )
    return Markers(motion.time, tuple(j.name for j in model.joints), xyz)


__all__ = [
    "GROUND", "Frames", "Placement", "body_frames", "coordinates_of", "forward", "jacobian", "joint_centres",
    "marker_tracks", "points",
]  # fmt: skip
