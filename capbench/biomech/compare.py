"""How two models differ: where joints and markers are in the same poses, and what only one of them has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from capbench.biomech.kinematics import body_frames, forward, points
from capbench.biomech.model import Model
from capbench.biomech.tree import Tree, build_tree
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray

REACH = {"rotation": np.pi, "translation": 1.0}  #: radians and metres that sampled coordinates go at most


@dataclass(frozen=True)
class Gap:
    """How far apart something is over the poses: the largest and the mean distance (metres or radians)."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Only:
    """Names that just one of the models has."""

    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes
    ----------
    poses : how many poses were compared
    posed : the coordinates that were varied; all others stood at their defaults
    joints, markers : shared name -> distance of their places in ground, metres
    bodies : shared name -> angle between their frames, radians
    ranges : shared coordinate -> (low, high) of A and (low, high) of B, radians or metres, where they differ
    coordinates_only, joints_only, markers_only, bodies_only : names that one model lacks
    """

    poses: int
    posed: tuple[str, ...]
    joints: Mapping[str, Gap]
    markers: Mapping[str, Gap]
    bodies: Mapping[str, Gap]
    ranges: Mapping[str, tuple[tuple[float, float], tuple[float, float]]]
    coordinates_only: Only
    joints_only: Only
    markers_only: Only
    bodies_only: Only


def compare(a: Model, b: Model, *, poses: int = 500, seed: int = 0, beyond: float = 0.0) -> Comparison:
    """How ``a`` and ``b`` differ over random poses within the ranges of both, by name.

    Coordinates that both have free are drawn evenly from what their ranges share, widened by the share
    ``beyond`` at each end; rotations at most half a turn, translations at most 1 m from zero.
    """
    if poses < 1:
        raise CapbenchError(f"Expected one pose or more, got {poses}.")
    trees = build_tree(a), build_tree(b)
    posed = tuple(n for n in trees[0].coordinates if n in trees[1].coordinates)
    drawn = _draw((a, b), posed, poses, seed, beyond)
    first, second = (_places(m, t, _filled(t, posed, drawn)) for m, t in zip((a, b), trees, strict=True))
    return Comparison(
        poses,
        posed,
        _gaps(first.joints, second.joints, _distance),
        _gaps(first.markers, second.markers, _distance),
        _gaps(first.bodies, second.bodies, _angle),
        _ranges(a, b),
        _only(a.coordinate_names, b.coordinate_names),
        _only(first.joints, second.joints),
        _only(first.markers, second.markers),
        _only(first.bodies, second.bodies),
    )


def random_poses(model: Model, poses: int, *, seed: int = 0, beyond: float = 0.0) -> FloatArray:
    """(poses, Q) random values of a model's free coordinates, drawn as ``compare`` draws them."""
    return _draw((model,), build_tree(model).coordinates, poses, seed, beyond)


def _draw(models: Iterable[Model], names: Iterable[str], poses: int, seed: int, beyond: float) -> FloatArray:
    """(poses, N) values of coordinates, within what the models' ranges share."""
    known = [{c.name: c for c in m.coordinates} for m in models]
    bounds = []
    for name in names:
        reach = REACH[known[0][name].kind]
        low = max(max(k[name].range[0] for k in known), -reach)
        high = min(min(k[name].range[1] for k in known), reach)
        if low > high:
            raise CapbenchError(
                f"Expected ranges that overlap, got none for {name}.", place=f"coordinate {name}"
            )
        room = beyond * (high - low)
        bounds.append((low - room, high + room))
    ends = np.array(bounds).reshape(-1, 2)
    return np.random.default_rng(seed).uniform(ends[:, 0], ends[:, 1], (poses, len(bounds)))


def _filled(tree: Tree, names: tuple[str, ...], drawn: FloatArray) -> FloatArray:
    """(T, Q) coordinates: those drawn, the others at their defaults."""
    q = np.repeat(tree.defaults[None], len(drawn), axis=0)
    q[:, [tree.index(name) for name in names]] = drawn
    return q


@dataclass(frozen=True)
class _Places:
    """(T, 3) metres of joint centres and markers, (T, 3, 3) of body frames, by name."""

    joints: Mapping[str, FloatArray]
    markers: Mapping[str, FloatArray]
    bodies: Mapping[str, FloatArray]


def _places(model: Model, tree: Tree, q: FloatArray) -> _Places:
    frames = forward(tree, q)

    def at(body: str, location: FloatArray) -> FloatArray:
        return points(tree, frames, [body], location[None])[:, 0]

    return _Places(
        {j.name: at(j.parent, j.in_parent.translation) for j in model.joints},
        {m.name: at(m.body, m.location) for m in model.markers},
        {b.name: body_frames(tree, frames, b.name)[0] for b in model.bodies},
    )


def _distance(a: FloatArray, b: FloatArray) -> FloatArray:
    gap: FloatArray = np.linalg.norm(a - b, axis=-1)
    return gap


def _angle(a: FloatArray, b: FloatArray) -> FloatArray:
    """(T,) radians of the turn that takes one rotation to the other; exact near 0, unlike arccos."""
    chord = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8.0)  # sin(angle / 2)
    angle: FloatArray = 2 * np.arcsin(np.clip(chord, 0.0, 1.0))
    return angle


def _gaps(
    a: Mapping[str, FloatArray],
    b: Mapping[str, FloatArray],
    measure: Callable[[FloatArray, FloatArray], FloatArray],
) -> dict[str, Gap]:
    found = {name: measure(a[name], b[name]) for name in a if name in b}
    return {name: Gap(float(d.max()), float(d.mean())) for name, d in found.items()}


def _ranges(a: Model, b: Model) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    other = {c.name: c.range for c in b.coordinates}
    return {
        c.name: (c.range, other[c.name])
        for c in a.coordinates
        if c.name in other and not np.allclose(c.range, other[c.name], rtol=0, atol=1e-6)
    }


def _only(a: Iterable[str], b: Iterable[str]) -> Only:
    a, b = tuple(a), tuple(b)
    return Only(tuple(n for n in a if n not in b), tuple(n for n in b if n not in a))
