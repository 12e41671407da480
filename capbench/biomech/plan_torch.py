"""A problem's arrays as tensors on one device, sorted so that each depth of the tree is worked on at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capbench.biomech.problem import POLYNOMIAL, SPLINE, Problem
from cohorts.errors import CapbenchError, EnvironmentFault


@dataclass(frozen=True)
class Plan:
    """A problem's arrays on one device, its elements sorted by their depth in the tree.

    Attributes
    ----------
    problem, device : whose, and where
    levels : of each depth, its elements (first, last + 1) and the places of their parents in the depth above
    fixed : (E, 3, 4) placement of each element in its parent, rotation and translation
    coordinate, turns : (E,) coordinate that drives it; 1.0 where it turns, 0.0 where it slides
    plain, polynomials, splines : numbers of the elements with each kind of function
    sorting : where each element stands in (plain, polynomials, splines)
    coefficients : (P, D) highest power first, padded with zeros in front
    knots, pieces, last : (S, K) knots, padded with infinity, (S, K, 4) what belongs to each, (S,) its last
    fold : (E, Q) 1 where the coordinate drives the element
    beyond : (E, M) 1 where the element moves the marker
    holder, at : (M,) element of each marker (E: ground), (M, 4) its place there, and a 1
    above : (E, E) 1 where the first is on the way to the second or is it
    first, some : (Q²) which product of elements makes each entry of the Hessian; 0 where there is none
    more_to, more_from, more : entries made of several products, the further products (X), and (X, Y) which
    low, high, weights, task_weight, task_value : as in the problem
    """

    problem: Problem
    device: torch.device
    levels: tuple[tuple[int, int, Tensor], ...]
    fixed: Tensor
    coordinate: Tensor
    turns: Tensor
    plain: Tensor
    polynomials: Tensor
    splines: Tensor
    sorting: Tensor
    coefficients: Tensor
    knots: Tensor
    pieces: Tensor
    last: Tensor
    fold: Tensor
    beyond: Tensor
    holder: Tensor
    at: Tensor
    above: Tensor
    first: Tensor
    some: Tensor
    more_to: Tensor
    more_from: Tensor
    more: Tensor
    low: Tensor
    high: Tensor
    weights: Tensor
    task_weight: Tensor
    task_value: Tensor


def prepare(problem: Problem | Plan, device: str | torch.device = "cpu") -> Plan:
    """The problem on a device; a plan that is there already is handed back."""
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("torch sees no CUDA device here.", fix="use the device 'cpu'")
    if isinstance(problem, Plan):
        if problem.device.type != device.type:
            raise CapbenchError(f"Expected tensors on {problem.device}, got {device}.")
        return problem
    order, levels = _by_depth(problem.parent)
    place = np.full(len(order) + 1, len(order))  # the last, for parent -1: ground
    place[order] = np.arange(len(order))
    parent, coordinate = place[problem.parent[order]], problem.coordinate[order]
    count, size = len(order), len(problem.moved)
    above = np.zeros((count, count))
    for e in range(count):
        above[:, e] = above[:, parent[e]] if parent[e] < count else 0.0
        above[e, e] = 1.0
    holder = place[problem.marker_element]
    beyond = np.concatenate([above, np.zeros((count, 1))], axis=1)[:, holder]
    fold = np.zeros((count, size))
    fold[np.arange(count), coordinate] = 1.0
    arrays = {
        "fixed": np.concatenate([problem.rotation[order], problem.translation[order][..., None]], axis=2),
        "coordinate": coordinate,
        "turns": np.where(problem.slides[order] != 0, 0.0, 1.0),
        "fold": fold,
        "beyond": beyond,
        "holder": holder,
        "at": np.concatenate([problem.marker_at, np.ones((len(holder), 1))], axis=1),
        "above": above,
        "low": problem.tree.low,
        "high": problem.tree.high,
        "weights": problem.weights,
        "task_weight": problem.task_weight,
        "task_value": problem.task_value,
        **_functions(problem, order),
        **_entries(above, coordinate, size),
    }
    tensors = {name: torch.tensor(a, device=device) for name, a in arrays.items()}
    steps = []
    for i, (a, b) in enumerate(levels):
        start = levels[i - 1][0] if i else 0
        steps.append((a, b, torch.tensor(parent[a:b] - start, device=device)))
    return Plan(problem, device, tuple(steps), **tensors)


def _by_depth(parent: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[tuple[int, int]]]:
    """Elements sorted by depth, and where each depth's begin and end."""
    depth = np.zeros(len(parent), dtype=np.int64)
    for e, a in enumerate(parent):
        depth[e] = 0 if a < 0 else depth[a] + 1
    order = np.argsort(depth, kind="stable")
    ends = np.searchsorted(depth[order], np.arange(depth.max(initial=-1) + 2))
    return order, [(int(a), int(b)) for a, b in pairwise(ends)]


def _functions(problem: Problem, order: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Tables of the elements' functions, one for each kind."""
    kind, first, count = problem.kind[order], problem.first[order], problem.count[order]
    groups = [np.flatnonzero(kind == k) for k in (0, POLYNOMIAL, SPLINE)]
    _, polynomials, splines = groups
    coefficients = np.zeros((len(polynomials), int(count[polynomials].max(initial=1))))
    for row, e in zip(coefficients, polynomials, strict=True):
        row[len(row) - count[e] :] = problem.table[first[e] : first[e] + count[e], 0]
    width = int(count[splines].max(initial=1))
    knots, pieces = np.full((len(splines), width), np.inf), np.zeros((len(splines), width, 4))
    for i, e in enumerate(splines):
        rows = problem.table[first[e] : first[e] + count[e]]
        knots[i, : count[e]], pieces[i, : count[e]] = rows[:, 0], rows[:, 1:]
    return {
        "plain": groups[0], "polynomials": polynomials, "splines": splines,
        "sorting": np.argsort(np.concatenate(groups)), "coefficients": coefficients,
        "knots": knots, "pieces": pieces, "last": count[splines] - 1,
    }  # fmt: skip


def _entries(
    above: np.ndarray[Any, Any], coordinate: np.ndarray[Any, Any], size: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Which products of elements (flat, upper one first) add up to each entry (flat) of the Hessian."""
    count = len(coordinate)
    made: dict[int, list[int]] = {}
    for a, b in np.argwhere(above):
        pair, row, column = int(a * count + b), int(coordinate[a]), int(coordinate[b])
        made.setdefault(row * size + column, []).append(pair)
        if a != b:
            made.setdefault(column * size + row, []).append(pair)
    first, some = np.zeros(size * size, dtype=np.int64), np.zeros(size * size)
    for entry, pairs in made.items():
        first[entry], some[entry] = pairs[0], 1.0
    several = [entry for entry, pairs in made.items() if len(pairs) > 1]
    further = [(i, pair) for i, entry in enumerate(several) for pair in made[entry][1:]]
    more = np.zeros((len(further), len(several)))
    more[np.arange(len(further)), [i for i, _ in further]] = 1.0
    return {
        "first": first, "some": some, "more": more,
        "more_to": np.array(several, dtype=np.int64),
        "more_from": np.array([pair for _, pair in further], dtype=np.int64),
    }  # fmt: skip
