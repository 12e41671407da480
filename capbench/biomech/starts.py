"""Where to start a frame from: the root's pose in closed form, the rest in the middle of its range.

The marker problem has several minima. A start with the pelvis facing the right way finds the right one;
from the default pose, a subject who faces away ends in a wrong one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from capbench.biomech.kinematics import forward
from capbench.biomech.model import Placement
from capbench.biomech.problem import BoolArray, Problem
from capbench.biomech.tree import Tree
from cohorts.values import FloatArray


def neutral(tree: Tree) -> FloatArray:
    """(Q,) the defaults, moved to at least a quarter into each range: a start on a bound sticks to it."""
    q = tree.defaults.copy()
    bound = np.isfinite(tree.low) & np.isfinite(tree.high)
    width = tree.high[bound] - tree.low[bound]
    q[bound] = np.clip(q[bound], tree.low[bound] + 0.25 * width, tree.high[bound] - 0.25 * width)
    return q


def root_elements(problem: Problem) -> list[int]:
    """Elements (in the problem's numbering) of the joint that carries all, if it has six free motions."""
    roots = np.flatnonzero(problem.parent < 0)
    if len(roots) != 1:
        return []
    chain = [int(roots[0])]
    while True:
        children = np.flatnonzero(problem.parent == chain[-1])
        if len(children) != 1 or len(chain) == 6:
            break
        chain.append(int(children[0]))
    own = problem.coordinate[chain]
    plain = len(chain) == 6 and len(set(own.tolist())) == 6 and not problem.kind[chain].any()
    return chain if plain and problem.slides[chain].tolist() == [1, 1, 1, 0, 0, 0] else []


def rigid_starts(problem: Problem, y: FloatArray, pose: FloatArray) -> FloatArray:
    """(T, Q) starts: a pose with the root moved so that the model's markers lie best on ``y`` (T, M, 3).

    ``pose`` is one for all frames (Q,), which is quick, or one for each (T, Q). Least squares over the
    markers of the root's own body where it has three or more that are seen, else over all. Where the root is
    no free joint, or too few markers are seen, the start is ``pose`` itself.
    """
    chain = root_elements(problem)
    poses = np.atleast_2d(pose)
    still = np.broadcast_to(poses, (len(y), poses.shape[1])).copy()
    if not chain or not len(y):
        return still
    model = _model_points(problem, poses)
    own = problem.marker_element == chain[-1]
    seen: BoolArray = np.asarray(np.isfinite(y).all(axis=-1))
    few = np.asarray((seen & own).sum(axis=1) < 3)
    use = np.where(few[:, None], seen, seen & own) * problem.weights
    enough = np.asarray((use > 0).sum(axis=1) >= 3)
    turn, shift = best_rigid_motion(model, np.where(seen[..., None], y, 0.0), use)
    return np.where(enough[:, None], _move_root(problem, chain, poses, still, turn, shift), still)


def _model_points(problem: Problem, poses: FloatArray) -> FloatArray:
    """(P, M, 3) metres in ground of the problem's markers, the model in ``poses`` (P, Q)."""
    frames = forward(problem.tree, poses)
    out = np.repeat(problem.marker_at[None], len(poses), axis=0)
    for m, e in enumerate(problem.marker_element):
        if e >= 0:
            at = frames.rotation[:, problem.kept[e]] @ problem.marker_at[m]
            out[:, m] = at + frames.origin[:, problem.kept[e]]
    return out


def best_rigid_motion(a: FloatArray, b: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rotations (T, 3, 3) and shifts (T, 3) that take points a onto b (T, M, 3) best (Kabsch, weighted).

    ``a`` is (T, M, 3), or (1, M, 3) where it is the same for all.
    """
    w = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    mean_a, mean_b = (w[:, None] @ a)[:, 0], (w[:, None] @ b)[:, 0]
    spread = np.swapaxes(w[..., None] * (a - mean_a[:, None]), 1, 2) @ (b - mean_b[:, None])
    u, _, vt = np.linalg.svd(spread)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    flip = np.stack([np.ones_like(sign), np.ones_like(sign), np.where(sign == 0, 1, sign)], axis=-1)
    turn = np.einsum("tji,tj,tkj->tik", vt, flip, u)
    return turn, mean_b - np.einsum("tij,tj->ti", turn, mean_a)


def _move_root(
    problem: Problem,
    chain: list[int],
    poses: FloatArray,
    q: FloatArray,
    turn: FloatArray,
    shift: FloatArray,
) -> FloatArray:
    """``q`` with the root's six coordinates changed so that its frame moves by ``turn`` and ``shift``."""
    root = problem.kept[chain[-1]]
    tree = replace(problem.tree, elements=problem.tree.elements[: root + 1])  # the rest need not be placed
    frames = forward(tree, poses)
    rotation = turn @ frames.rotation[:, root]
    origin = (turn @ frames.origin[:, root, :, None])[..., 0] + shift
    moved = q.copy()
    coordinate = problem.coordinate[chain]
    base = [Placement(problem.rotation[e], problem.translation[e]) for e in chain]
    # rotations: placed by c3, c4, c5, about z each: R = A3 Rz(u3) A4 Rz(u4) A5 Rz(u5), A0..A2 fixed
    before = base[0].rotation @ base[1].rotation @ base[2].rotation @ base[3].rotation
    angles = z_angles(before.T @ rotation, base[4].rotation, base[5].rotation)
    near = moved[:, coordinate[3:]]
    moved[:, coordinate[3:]] = nearest_angles(
        angles, near, tree.low[coordinate[3:]], tree.high[coordinate[3:]]
    )
    # translations: the chain's origin is linear in the three slides
    zero = moved.copy()
    zero[:, coordinate[:3]] = 0.0
    start = forward(tree, zero).origin[:, root]
    axes = np.stack(
        [
            base[0].rotation[:, 2],
            (base[0].rotation @ base[1].rotation)[:, 2],
            (base[0].rotation @ base[1].rotation @ base[2].rotation)[:, 2],
        ],
        axis=1,
    )
    moved[:, coordinate[:3]] = np.linalg.solve(axes, (origin - start).T).T
    return moved


def z_angles(rotation: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """(2, T, 3) both triples (p, q, r) with ``Rz(p) a Rz(q) b Rz(r) = rotation``."""
    # the z axis of the last frame, seen in the first: its height fixes q, its direction p
    target = rotation[..., :, 2]
    tip = b[:, 2]
    # height of a Rz(q) tip: a[2,0] (c t0 - s t1) + a[2,1] (s t0 + c t1) + a[2,2] t2
    c1 = a[2, 0] * tip[0] + a[2, 1] * tip[1]
    c2 = a[2, 1] * tip[0] - a[2, 0] * tip[1]
    size = np.hypot(c1, c2)
    lift = np.clip((target[..., 2] - a[2, 2] * tip[2]) / max(size, 1e-12), -1, 1)
    middle, half = np.arctan2(c2, c1), np.arccos(lift)
    found = []
    for q in (middle + half, middle - half):
        inner = a @ _rz(q) @ b
        v = inner[..., :, 2]
        p = np.arctan2(target[..., 1], target[..., 0]) - np.arctan2(v[..., 1], v[..., 0])
        last = np.swapaxes(_rz(p) @ inner, -1, -2) @ rotation
        r = np.arctan2(last[..., 1, 0], last[..., 0, 0])
        found.append(np.stack([p, q, r], axis=-1))
    return np.stack(found)


def _rz(angle: FloatArray) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    made: FloatArray = np.zeros((*np.shape(angle), 3, 3))
    made[..., 0, 0], made[..., 0, 1], made[..., 1, 0], made[..., 1, 1] = c, -s, s, c
    made[..., 2, 2] = 1
    return made


def nearest_angles(both: FloatArray, near: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(T, 3) of two triples the one within bounds, or nearer to ``near``; each angle within pi of it."""
    both = near + np.mod(both - near + np.pi, 2 * np.pi) - np.pi
    outside = np.maximum(low - both, 0).sum(axis=-1) + np.maximum(both - high, 0).sum(axis=-1)
    cost = 100 * outside + np.abs(both - near).sum(axis=-1)
    nearest: FloatArray = np.where((cost[0] <= cost[1])[:, None], both[0], both[1])
    return nearest
