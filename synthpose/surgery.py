"""Head surgery: a network of few points becomes one of many without forgetting what it sees.

The backbone is kept. Of the head, whatever every point shares is kept too, and the rows that make one
point's map are copied by landmark: a point that both skeletons have answers as before. A point that is new
starts as its nearest kin, the old point (in the middle of the body: also the pair) that is closest to it on a
body of average size standing, plus a little noise, so that points with the same kin can part.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray

Tensors = Mapping[str, NDArray[Any]]
#: of a kin's row, what a new point's is moved by: seen in its map, too little to move its peak
NOISE = 0.02
#: parameters with a row for each point, in all heads
ROWS = tuple(
    f"head.{inner}final_layer.{kind}" for inner in ("", "deconv_head.") for kind in ("weight", "bias")
)


def grow(
    tensors: Tensors,
    from_points: Skeleton,
    to_points: Skeleton,
    *,
    into: Tensors,
    seed: int = 0,
    noise: float = NOISE,
    head: bool = True,
) -> dict[str, NDArray[Any]]:
    """The weights of a network for ``to_points``, made of those of one for ``from_points``.

    Parameters
    ----------
    tensors : weights under our names (``backbone.…``, ``head.…``)
    into : weights that the new network starts with otherwise; names and shapes come from them, and the rows
        of points that have no kin because the old skeleton lies in no known body
    head : keep the head too; False: only the backbone, the head stays that of ``into``
    noise : standard deviation of what new rows are moved by, as a share of their kin's
    """
    sources = kin_of(from_points, to_points)
    random = np.random.default_rng([seed, 4])
    made: dict[str, NDArray[Any]] = {}
    for name, fresh in into.items():
        if not head and name.startswith("head."):
            made[name] = np.array(fresh)
            continue
        old = tensors.get(name)
        if old is None and name.endswith(".num_batches_tracked"):
            old = fresh
        if old is None:
            raise CapbenchError(
                f"Expected the parameter {name} to start from, got none.",
                fix="give the recipe the network, with its options, that these weights are of",
            )
        wanted = (len(from_points), *fresh.shape[1:]) if name in ROWS else fresh.shape
        if old.shape != wanted:
            raise CapbenchError(f"Expected {name} of shape {wanted} to start from, got {old.shape}.")
        made[name] = _rows(old, fresh, sources, random, noise) if name in ROWS else np.array(old)
    return made


def _rows(
    old: NDArray[Any],
    fresh: NDArray[Any],
    sources: tuple[Kin, ...],
    random: np.random.Generator,
    noise: float,
) -> NDArray[Any]:
    made = np.array(fresh)
    for row, kin in enumerate(sources):
        if kin.exact:
            made[row] = old[kin.rows[0]]
        elif kin.rows:
            start = old[list(kin.rows)].mean(0, dtype=old.dtype)
            spread = float(start.std()) if start.ndim else 0.0
            made[row] = start + (noise * spread * random.standard_normal(start.shape)).astype(start.dtype)
    return made


class Kin(NamedTuple):
    """What a new point starts as: the mean of these old ones (none: from nothing), or the very same one."""

    rows: tuple[int, ...]
    exact: bool


def kin_of(from_points: Skeleton, to_points: Skeleton) -> tuple[Kin, ...]:
    """Each new point's kin among the old ones.

    A point in the body's middle looks alike from both sides, so its kin is a point of the middle or a pair.
    """
    shared = from_points.map_to(to_points).exact
    made = []
    for point, landmark, side in zip(to_points.points, to_points.landmarks, to_points.sides, strict=True):
        if point in shared:
            made.append(Kin((from_points.index(shared[point]),), True))
        else:
            made.append(Kin(_nearest(landmark, from_points, pairs=side == "middle"), False))
    return tuple(made)


def _nearest(landmark: str, among: Skeleton, *, pairs: bool) -> tuple[int, ...]:
    """The point or pair closest to a landmark on the standing body; empty where nothing is known of it."""
    at = standing().get(landmark)
    if at is None:
        return ()
    choices: list[tuple[int, ...]]
    if pairs:
        choices = [(among.index(left), among.index(right)) for left, right in among.flip_pairs]
        choices += [(k,) for k, side in enumerate(among.sides) if side == "middle"]
    else:
        choices = [(k,) for k in range(len(among))]
    best: tuple[int, ...] = ()
    shortest = np.inf
    for rows in choices:
        places = [standing().get(among.landmarks[k]) for k in rows]
        known = [place for place in places if place is not None]
        far = float(np.linalg.norm(np.mean(known, axis=0) - at)) if len(known) == len(rows) else np.inf
        if far < shortest:
            best, shortest = rows, far
    return best


@cache
def standing() -> Mapping[str, FloatArray]:
    """Landmark -> (3,) metres on our body of reference size, upright, all angles 0."""
    from capbench.biomech import kinematics
    from capbench.biomech.body import fullbody, marker_sets
    from capbench.biomech.tree import build_tree
    from cohorts.skeleton import skeleton

    made: dict[str, FloatArray] = {}
    for name in marker_sets():
        model, points = fullbody(markers=name), skeleton(name)
        tree = build_tree(model)
        frames = kinematics.forward(tree, np.zeros((1, len(tree.coordinates))))
        places = kinematics.points(
            tree, frames, [m.body for m in model.markers], np.array([m.location for m in model.markers])
        )[0]
        for marker, place in zip(model.markers, places, strict=True):
            made.setdefault(points.landmarks[points.index(marker.name)], place)
    return made
