"""Head surgery: a network of few points becomes one of many without forgetting what it sees.

The backbone is kept. Of the head, whatever every point shares is kept too, and the rows that make one point's
map are copied by landmark: a point that both skeletons have answers as before, to the bit. A point that is new
starts as its nearest kin, the old point that is closest to it on a body of average size standing, plus a
little noise, so that points with the same kin can part.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

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
) -> dict[str, NDArray[Any]]:
    """The weights of a network for ``to_points``, made of those of one for ``from_points``.

    Parameters
    ----------
    tensors : weights under our names (``backbone.…``, ``head.…``)
    into : weights that the new network starts with otherwise; names and shapes come from them, and the rows
        of points that have no kin because the old skeleton lies in no known body
    noise : standard deviation of what new rows are moved by, as a share of their kin's
    """
    sources = kin(from_points, to_points)
    random = np.random.default_rng([seed, 4])
    made: dict[str, NDArray[Any]] = {}
    for name, fresh in into.items():
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
    sources: tuple[tuple[int | None, bool], ...],
    random: np.random.Generator,
    noise: float,
) -> NDArray[Any]:
    made = np.array(fresh)
    for row, (source, exact) in enumerate(sources):
        if source is None:
            continue
        made[row] = old[source]
        if not exact:
            spread = float(old[source].std()) if old[source].ndim else 0.0
            made[row] += (noise * spread * random.standard_normal(made[row].shape)).astype(made.dtype)
    return made


def kin(from_points: Skeleton, to_points: Skeleton) -> tuple[tuple[int | None, bool], ...]:
    """For each new point the old one it starts as, and whether that is the very same landmark."""
    shared = from_points.map_to(to_points).exact
    made: list[tuple[int | None, bool]] = []
    for point, landmark in zip(to_points.points, to_points.landmarks, strict=True):
        if point in shared:
            made.append((from_points.index(shared[point]), True))
        else:
            made.append((_nearest(landmark, from_points), False))
    return tuple(made)


def _nearest(landmark: str, among: Skeleton) -> int | None:
    """The point of ``among`` closest to a landmark on the standing body; None where one of them is not on it."""
    at = standing().get(landmark)
    places = [standing().get(name) for name in among.landmarks]
    far = [np.inf if at is None or p is None else float(np.linalg.norm(p - at)) for p in places]
    best = int(np.argmin(far)) if far else 0
    return best if far and np.isfinite(far[best]) else None


@cache
def standing() -> Mapping[str, FloatArray]:
    """Landmark -> (3,) metres on our body of reference size, all its coordinates at their defaults."""
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
