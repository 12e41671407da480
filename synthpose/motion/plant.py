"""Bends a motion as little as it takes to keep feet planted: smooth least squares over a whole trial.

Minimises, over the pelvis and both legs of all frames at once, how far coordinates are from a template (each
in units of its own tolerance), how far pinned points are from their places, how deep points are under their
floor, and how far coordinates are outside their ranges; and the accelerations of the correction, so that it
sets in before a foot lands and fades after it leaves. Gauss-Newton; each step is one banded Cholesky
factorisation, written out so that no library's threads decide the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba as nb
import numpy as np

from capbench.biomech.kinematics import Frames, forward
from capbench.biomech.model import Model
from capbench.biomech.tree import Tree, build_tree
from cohorts.values import FloatArray, IntArray

#: coordinate (without its side) -> how far it may be off its template, radians or metres (one SD) ...
TOLERANCE = {
    "pelvis_tilt": 0.035, "pelvis_list": 0.012, "pelvis_rotation": 0.04, "pelvis_tx": 0.012,
    "pelvis_ty": 0.10, "pelvis_tz": 0.015, "hip_flexion": 0.06, "hip_adduction": 0.05, "hip_rotation": 0.10,
    "knee_angle": 0.06, "ankle_angle": 0.06, "subtalar_angle": 0.08,
}  # fmt: skip
#: ... and the acceleration of that (rad/s² or m/s²)
JERKY = {
    "pelvis_tilt": 4.0, "pelvis_list": 4.0, "pelvis_rotation": 4.0,
    "pelvis_tx": 0.8, "pelvis_ty": 1.0, "pelvis_tz": 0.8,
}  # fmt: skip
JERKY_LEG = 20.0
PINNED = 5e-4  #: metres a pinned point may be off
SUNK = 6e-4  #: metres a free point may be under its floor
SOFT = 1.2e-3  #: metres over which that sets in
OUTSIDE = 0.01  #: radians a coordinate may be outside its range, less MARGIN
MARGIN = 0.01
LOOSE = 12.0  #: how many times softer the floor is in the first round
ROUNDS = 40
STILL = 6e-4  #: radians or metres: a step smaller than this everywhere ends the search


@dataclass(frozen=True)
class Pins:
    """What holds points of a body, frame by frame.

    Attributes
    ----------
    bodies, locations : P points: the bodies they are fixed in and (P, 3) metres there
    places : (T, P, 3) metres in ground where they should be
    shares : (T, P, 3) 0 (free) to 1 (held) of each axis
    floor : (T, P) metres: the height under which a point must not be
    centre : (T, 3) metres where the body's mass centre should be, or None
    centre_share : (T, 3) 0 to 1
    """

    bodies: tuple[str, ...]
    locations: FloatArray
    places: FloatArray
    shares: FloatArray
    floor: FloatArray
    centre: FloatArray | None = None
    centre_share: FloatArray | None = None


@dataclass(frozen=True)
class Rig:
    """A model made ready: its tree, which coordinates may change, and what moves each point."""

    tree: Tree
    free: IntArray
    low: FloatArray
    high: FloatArray
    tolerance: FloatArray
    jerky: FloatArray
    masses: FloatArray
    mass_bodies: tuple[str, ...]
    mass_at: FloatArray


def make_rig(model: Model, *, whole: bool = False) -> Rig:
    """The rig of a model's legs; ``whole`` keeps the upper body too, which a mass centre needs."""
    part = model if whole else _legs(model)
    tree = build_tree(part)
    known = {c.name: c for c in part.coordinates}
    free = [i for i, name in enumerate(tree.coordinates) if _base(name) in TOLERANCE]
    names = [tree.coordinates[i] for i in free]
    bodies = tuple(b.name for b in part.bodies if b.mass > 0)
    return Rig(
        tree,
        np.array(free, np.int64),
        np.array([known[n].range[0] for n in names]),
        np.array([known[n].range[1] for n in names]),
        np.array([TOLERANCE[_base(n)] for n in names]),
        np.array([JERKY.get(_base(n), JERKY_LEG) for n in names]),
        np.array([part.body(b).mass for b in bodies]),
        bodies,
        np.array([part.body(b).mass_centre for b in bodies]),
    )


def _base(name: str) -> str:
    return name.removesuffix("_r").removesuffix("_l")


def _legs(model: Model) -> Model:
    """The same model without what hangs on the pelvis above the legs."""
    kept = {"ground", "pelvis"}
    joints = []
    for joint in model.joints:
        if joint.parent in kept and joint.child.rsplit("_", 1)[-1] in ("r", "l", "pelvis"):
            kept.add(joint.child)
            joints.append(joint)
    bodies = tuple(b for b in model.bodies if b.name in kept)
    coordinates = {c.name for j in joints for c in j.coordinates}
    couplers = tuple(c for c in model.couplers if c.dependent in coordinates)
    return replace(model, bodies=bodies, joints=tuple(joints), couplers=couplers, markers=())


def frames_of(rig: Rig, q: FloatArray) -> Frames:
    """Element frames of the rig's tree for (T, Q) coordinates."""
    return forward(rig.tree, q)


def world(rig: Rig, frames: Frames, bodies: tuple[str, ...], locations: FloatArray) -> FloatArray:
    """(T, P, 3) metres of points fixed in bodies."""
    placed = np.empty((len(frames.origin), len(bodies), 3))
    for i, (body, location) in enumerate(zip(bodies, locations, strict=True)):
        at = rig.tree.bodies[body]
        local = at.placement.rotation @ location + at.placement.translation
        if at.element < 0:
            placed[:, i] = local
        else:
            placed[:, i] = np.einsum("tij,j->ti", frames.rotation[:, at.element], local)
            placed[:, i] += frames.origin[:, at.element]
    return placed


def slopes(rig: Rig, frames: Frames, q: FloatArray, bodies: tuple[str, ...], at: FloatArray) -> FloatArray:
    """(T, P, 3, F) metres per radian or metre: how points at (T, P, 3) move with each free coordinate."""
    column = {int(c): k for k, c in enumerate(rig.free)}
    chains = [_chain(rig.tree, body) for body in bodies]
    made = np.zeros((len(rig.free), len(q), len(bodies), 3))
    for e, element in enumerate(rig.tree.elements):
        k = column.get(element.coordinate)
        mine = [p for p, chain in enumerate(chains) if e in chain]
        if k is None or not mine:
            continue
        made[k][:, mine] += _moves(rig.tree, frames, q, e, at[:, mine])
    return np.moveaxis(made, 0, -1)


def _moves(tree: Tree, frames: Frames, q: FloatArray, e: int, at: FloatArray) -> FloatArray:
    """(T, P, 3) what one element's coordinate does to points."""
    element = tree.elements[e]
    axis = frames.rotation[:, e, :, 2]
    axis = axis * element.function.derivatives(q[:, element.coordinate])[1][:, None]
    if element.slides:
        return np.broadcast_to(axis[:, None], at.shape)
    arm = at - frames.origin[:, None, e]
    x, y, z = (axis[:, None, i] for i in range(3))
    return np.stack(
        [
            y * arm[..., 2] - z * arm[..., 1],
            z * arm[..., 0] - x * arm[..., 2],
            x * arm[..., 1] - y * arm[..., 0],
        ],
        axis=-1,
    )


def _chain(tree: Tree, body: str) -> set[int]:
    found: set[int] = set()
    e = tree.bodies[body].element
    while e >= 0:
        found.add(e)
        e = tree.elements[e].parent
    return found


def mass_centre(rig: Rig, frames: Frames) -> FloatArray:
    """(T, 3) metres: the mass centre of the rig's bodies."""
    at = world(rig, frames, rig.mass_bodies, rig.mass_at)
    made: FloatArray = np.einsum("tbi,b->ti", at, rig.masses / rig.masses.sum())
    return made


def _centre_slopes(rig: Rig, frames: Frames, q: FloatArray) -> FloatArray:
    """(T, 3, F): how the mass centre moves with each free coordinate."""
    at = world(rig, frames, rig.mass_bodies, rig.mass_at)
    each = slopes(rig, frames, q, rig.mass_bodies, at)
    made: FloatArray = np.einsum("tbif,b->tif", each, rig.masses / rig.masses.sum())
    return made


def plant(rig: Rig, template: FloatArray, rate: float, pins: Pins, *, brisk: float = 1.0) -> FloatArray:
    """(T, Q) the motion nearest to a template (T, Q) that the pins allow; ``rate`` in Hz.

    ``brisk`` times the acceleration is as good where movements are fast.
    """
    q = np.array(template)
    still = 1.0 / rig.tolerance**2
    bend = (rate**2 / (brisk * rig.jerky)) ** 2
    for k in range(ROUNDS):
        loose = max(1.0, LOOSE * 0.5**k)  # from far off, a hard floor sends joints to and fro
        normal, pull = _equations(rig, q, template, still, pins, loose)
        step = _solve_banded(normal, pull, np.ascontiguousarray(q[:, rig.free] - template[:, rig.free]), bend)
        size = np.abs(step).max()
        q[:, rig.free] += step * min(1.0, 0.6 / max(size, 1e-12))
        if size < STILL and loose == 1.0:
            break
    q[:, rig.free] = np.clip(q[:, rig.free], rig.low, rig.high)
    return q


def _equations(
    rig: Rig, q: FloatArray, template: FloatArray, still: FloatArray, pins: Pins, loose: float
) -> tuple[FloatArray, FloatArray]:
    """Normal matrices (T, F, F) and right sides (T, F) of one step, without the smoothness.

    ``loose`` times as soft is the floor.
    """
    frames = forward(rig.tree, q)
    at = world(rig, frames, pins.bodies, pins.locations)
    slope = slopes(rig, frames, q, pins.bodies, at)
    weight = pins.shares / PINNED**2
    miss = (pins.places - at) * weight
    # a one-sided wall with a rounded foot: a sharp one makes Gauss-Newton jump from side to side
    deep = (pins.floor - at[..., 1]) / (loose * SOFT)
    force = loose * SOFT * np.logaddexp(0.0, deep)
    slant = 1.0 / (1.0 + np.exp(-np.clip(deep, -40.0, 40.0)))
    free = (1.0 - pins.shares[..., 1]) / (loose * SUNK) ** 2
    weight[..., 1] += free * slant**2
    miss[..., 1] += free * slant * force
    t, f = len(q), len(rig.free)
    rows = slope.reshape(t, -1, f)
    flat_weight, flat_miss = weight.reshape(t, -1), miss.reshape(t, -1)
    if pins.centre is not None and pins.centre_share is not None:
        rows = np.concatenate([rows, _centre_slopes(rig, frames, q)], axis=1)
        share = pins.centre_share / PINNED**2
        flat_weight = np.concatenate([flat_weight, share], axis=1)
        gap = (pins.centre - mass_centre(rig, frames)) * share
        flat_miss = np.concatenate([flat_miss, gap], axis=1)
    normal, pull = _squares(np.ascontiguousarray(rows), flat_weight, flat_miss)
    now = q[:, rig.free]
    pull += (template[:, rig.free] - now) * still
    outside = np.maximum(rig.low + MARGIN - now, 0.0) - np.maximum(now - rig.high + MARGIN, 0.0)
    diagonal = np.arange(f)
    normal[:, diagonal, diagonal] += still + (outside != 0) / OUTSIDE**2
    pull += outside / OUTSIDE**2
    return normal, pull


@nb.njit(cache=True)
def _squares(rows: FloatArray, weight: FloatArray, miss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Per frame ``Σ w r rᵀ`` and ``Σ m r`` over rows r (T, R, F)."""
    frames, count, size = rows.shape
    normal, pull = np.zeros((frames, size, size)), np.zeros((frames, size))
    for t in range(frames):
        for r in range(count):
            w, m = weight[t, r], miss[t, r]
            if w == 0.0 and m == 0.0:
                continue
            for i in range(size):
                a = rows[t, r, i]
                if a == 0.0:
                    continue
                pull[t, i] += a * m
                for j in range(i + 1):
                    normal[t, i, j] += w * a * rows[t, r, j]
        for i in range(size):
            for j in range(i):
                normal[t, j, i] = normal[t, i, j]
    return normal, pull


def _solve_banded(normal: FloatArray, pull: FloatArray, off: FloatArray, bend: FloatArray) -> FloatArray:
    """(T, F) the step ``(N + S) x = p − S off``; S penalises second differences over the frames."""
    band, right = _banded(normal, pull, off, bend)
    _factorise(band)
    _substitute(band, right)
    return right.reshape(pull.shape)


@nb.njit(cache=True)
def _banded(
    normal: FloatArray, pull: FloatArray, off: FloatArray, bend: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The lower band, ``band[i, width - d] = matrix[i, i - d]``, and the right side."""
    frames, size = pull.shape
    width = 2 * size
    band, right = np.zeros((frames * size, width + 1)), np.empty(frames * size)
    for t in range(frames):
        for i in range(size):
            right[t * size + i] = pull[t, i]
            for j in range(i + 1):
                band[t * size + i, width - (i - j)] = normal[t, i, j]
    pattern = (1.0, -2.0, 1.0)
    for t in range(1, frames - 1):
        for i in range(size):
            second = off[t - 1, i] - 2.0 * off[t, i] + off[t + 1, i]
            for a in range(3):
                row = (t - 1 + a) * size + i
                right[row] -= bend[i] * pattern[a] * second
                for b in range(a + 1):
                    band[row, width - (a - b) * size] += bend[i] * pattern[a] * pattern[b]
    return band, right


@nb.njit(cache=True)
def _factorise(band: FloatArray) -> None:
    """Cholesky of a band, row by row, in place."""
    total, width = len(band), band.shape[1] - 1
    for i in range(total):
        first = max(0, i - width)
        for j in range(first, i + 1):
            value = band[i, width - (i - j)]
            for k in range(max(first, j - width), j):
                value -= band[i, width - (i - k)] * band[j, width - (j - k)]
            if j < i:
                band[i, width - (i - j)] = value / band[j, width]
            else:
                band[i, width] = np.sqrt(value)


@nb.njit(cache=True)
def _substitute(band: FloatArray, x: FloatArray) -> None:
    """Solves with a factorised band, in place."""
    total, width = len(band), band.shape[1] - 1
    for i in range(total):
        for k in range(max(0, i - width), i):
            x[i] -= band[i, width - (i - k)] * x[k]
        x[i] /= band[i, width]
    for i in range(total - 1, -1, -1):
        x[i] /= band[i, width]
        for k in range(max(0, i - width), i):
            x[k] -= band[i, width - (i - k)] * x[i]
