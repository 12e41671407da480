"""The weighted marker problem that OpenSim states, as flat arrays a kernel can run on.

Per frame: minimise ``½ Σ w_m |x_m(q) - y_m|² / Σ w_m + ½ Σ W_c (q_c - q0_c)²`` over the free coordinates
within their bounds; the first sums go over the markers seen in that frame. Elements that move no weighted
marker are **pruned**: their coordinates can't change the cost, so they stay where they start and are flagged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.biomech.functions import Polynomial, Spline
from capbench.biomech.model import Model
from capbench.biomech.tree import Element, Tree, build_tree, is_identity
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FloatArray, IntArray

POLYNOMIAL, SPLINE = 1, 2  # and 0, the identity
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class CoordinateTask:
    """Pulls a coordinate towards ``value`` (radians, metres) with ``weight``."""

    name: str
    weight: float
    value: float


@dataclass(frozen=True)
class Problem:
    """Everything that stays the same from frame to frame.

    Attributes
    ----------
    tree : the whole model
    kept : the tree's number of each element (E)
    markers : names of the M weighted markers, in the order of the data columns
    weights : (M,) OpenSim's marker weights
    moved : (Q,) whether a coordinate moves any weighted marker or has a task of its own
    pruned : bodies moved by an element that no weighted marker depends on
    parent, slides, coordinate, rotation, translation : per kept element (E,), (E,), (E,), (E, 3, 3), (E, 3)
    kind, first, count, table : per element, where its function's numbers start in ``table`` (rows of 5)
    marker_element, marker_at : (M,) element of each marker (-1: ground) and (M, 3) its place there
    ancestor : (Q,) the next coordinate towards the root in the factorisation's order (-1: none)
    order : (Q,) coordinates from the root outwards
    task_weight, task_value : (Q,) coordinate tasks, 0 where there is none
    """

    tree: Tree
    kept: tuple[int, ...]
    markers: tuple[str, ...]
    weights: FloatArray
    moved: BoolArray
    pruned: tuple[str, ...]
    parent: IntArray
    slides: IntArray
    coordinate: IntArray
    rotation: FloatArray
    translation: FloatArray
    kind: IntArray
    first: IntArray
    count: IntArray
    table: FloatArray
    marker_element: IntArray
    marker_at: FloatArray
    order: IntArray
    ancestor: IntArray
    task_weight: FloatArray
    task_value: FloatArray

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What the kernel takes, in its order."""
        return (
            self.parent, self.slides, self.coordinate, self.rotation, self.translation, self.kind, self.first,
            self.count, self.table, self.marker_element, self.marker_at, self.order, self.ancestor,
            self.task_weight, self.task_value,
        )  # fmt: skip


def build_problem(
    model: Model, weights: Mapping[str, float], tasks: tuple[CoordinateTask, ...] = ()
) -> Problem:
    """The problem of fitting ``model`` to markers of these weights (0 leaves a marker out)."""
    tree = build_tree(model)
    own = {m.name: m for m in model.markers}
    names = tuple(name for name, weight in weights.items() if weight > 0)
    for name in names:
        if name not in own:
            raise unknown_name("model marker", name, own)
    if any(not (w >= 0 and np.isfinite(w)) for w in weights.values()):
        raise CapbenchError("Expected marker weights that are finite and not negative.")
    kept = _kept_elements(tree, {own[name].body for name in names})
    place = {old: new for new, old in enumerate(kept)}
    elements = [tree.elements[e] for e in kept]
    attached = [tree.bodies[own[name].body] for name in names]
    at = [
        a.placement.rotation @ own[n].location + a.placement.translation
        for a, n in zip(attached, names, strict=True)
    ]
    kind, first, count, table = _tables(elements)
    coordinate = np.array([e.coordinate for e in elements], dtype=np.int64)
    parent = np.array([place.get(e.parent, -1) for e in elements], dtype=np.int64)
    moved = np.zeros(len(tree.coordinates), dtype=bool)
    moved[coordinate] = True
    task_weight, task_value = np.zeros(len(moved)), np.zeros(len(moved))
    for task in tasks:
        i = tree.index(task.name)
        task_weight[i], task_value[i] = task.weight, task.value
        moved[i] |= task.weight > 0
    order, ancestor = _factor_order(parent, coordinate, moved)
    return Problem(
        tree=tree,
        kept=tuple(kept),
        markers=names,
        weights=np.array([float(weights[name]) for name in names]),
        moved=moved,
        pruned=tuple(b for b, a in tree.bodies.items() if a.element >= 0 and a.element not in place),
        parent=parent,
        slides=np.array([e.slides for e in elements], dtype=np.int64),
        coordinate=coordinate,
        rotation=np.array([e.placement.rotation for e in elements]).reshape(-1, 3, 3),
        translation=np.array([e.placement.translation for e in elements]).reshape(-1, 3),
        kind=kind,
        first=first,
        count=count,
        table=table,
        marker_element=np.array([place.get(a.element, -1) for a in attached], dtype=np.int64),
        marker_at=np.array(at).reshape(-1, 3),
        order=order,
        ancestor=ancestor,
        task_weight=task_weight,
        task_value=task_value,
    )


def _kept_elements(tree: Tree, bodies: set[str]) -> list[int]:
    """Elements on the way from ground to any of the bodies."""
    kept: set[int] = set()
    for body in bodies:
        e = tree.bodies[body].element
        while e >= 0 and e not in kept:
            kept.add(e)
            e = tree.elements[e].parent
    return sorted(kept)


def _tables(elements: list[Element]) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    kind: list[int] = []
    first: list[int] = []
    count: list[int] = []
    rows: list[list[float]] = []
    for element in elements:
        function = element.function
        first.append(len(rows))
        if is_identity(function):
            kind.append(0)
        elif isinstance(function, Polynomial):
            kind.append(POLYNOMIAL)
            rows += [[c, 0.0, 0.0, 0.0, 0.0] for c in function.coefficients]
        elif isinstance(function, Spline):
            kind.append(SPLINE)
            rows += np.stack([function.x, function.y, function.b, function.c, function.d], axis=1).tolist()
        count.append(len(rows) - first[-1])
    integers = [np.array(x, dtype=np.int64) for x in (kind, first, count)]
    return integers[0], integers[1], integers[2], np.array(rows or [[0.0] * 5])


def _factor_order(parent: IntArray, coordinate: IntArray, moved: BoolArray) -> tuple[IntArray, IntArray]:
    """An order of coordinates, and for each its ancestor in it, that holds every non-zero of the Hessian.

    Where each coordinate's elements lie in one stretch of one branch, the tree itself is the pattern and the
    factor has no fill. A coordinate that moves several branches (a coupler) makes it dense instead.
    """
    order: list[int] = []
    ancestor = np.full(len(moved), -1, dtype=np.int64)
    tree_like = True
    for e, q in enumerate(coordinate):
        up = parent[e]
        above = -1 if up < 0 else int(coordinate[up])
        if q not in order:
            order.append(int(q))
            ancestor[q] = above
        elif above != q:
            tree_like = False
    order += [int(q) for q in np.flatnonzero(moved) if q not in order]
    if not tree_like:
        for before, q in zip([-1, *order], order, strict=False):
            ancestor[q] = before
    return np.array(order, dtype=np.int64), ancestor
