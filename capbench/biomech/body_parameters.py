"""Joint angles from the pose parameters of SMPL, SMPL+H and SMPL-X, without their licensed files.

Those bodies say how each of their joints turns; a musculoskeletal model says how its bones turn. Here every
bone follows one joint of the parametric body (``LINKS``), its rotation in the bone it hangs on is worked out,
and the model's own joints are set so that they turn the bone as nearly so as they can: three axes exactly,
fewer by least squares. Axes, order and the paths of coupled axes are read from the model. What that leaves
out is in ``APPROXIMATIONS``, coordinate by coordinate, and what could not be followed comes back in radians.

In its rest pose (all parameters zero) the parametric body stands in a T, x to its left, y up, z ahead; our
models have x ahead, y up, z to the right, and arms that hang with the palms ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import pi
from types import MappingProxyType
from typing import Literal

import numpy as np

from capbench.biomech.body import fullbody
from capbench.biomech.kinematics import body_frames, forward
from capbench.biomech.model import GROUND, AxisFunction, Model
from capbench.biomech.starts import z_angles
from capbench.biomech.tree import Element, Tree, build_tree, is_identity
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import BodyParameters, Motion
from cohorts.skeleton import skeleton
from cohorts.values import FloatArray, check_shape

Up = Literal["+y", "-y", "+z"]

#: the parametric body's axes (columns x to the left, y up, z ahead) in ours (x ahead, y up, z to the right)
AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
#: a world of parameters -> one with y up, by the shortest turn about its x axis
_UPRIGHT: Mapping[str, FloatArray] = {
    "+y": np.eye(3),
    "-y": np.diag([1.0, -1.0, -1.0]),
    "+z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
}
_LOCKED = 1e-6  #: sine of the angle between first and last axis below which they cannot be told apart
_SIDE = "SIDE"
_SIDES = {"left": "l", "right": "r"}  #: as the parametric body's joints and our bones call them


@dataclass(frozen=True)
class Link:
    """How a bone follows: as ``parent``, turned by the product of these ``joints`` of the parametric body."""

    parent: str
    joints: tuple[str, ...]


#: bone -> what it follows; "SIDE" stands for either side
LINKS: Mapping[str, Link] = MappingProxyType(
    {
        "pelvis": Link(GROUND, ("pelvis",)),
        "femur_SIDE": Link("pelvis", ("SIDE_hip",)),
        "tibia_SIDE": Link("femur_SIDE", ("SIDE_knee",)),
        "calcn_SIDE": Link("tibia_SIDE", ("SIDE_ankle",)),
        "toes_SIDE": Link("calcn_SIDE", ("SIDE_foot",)),
        "torso": Link("pelvis", ("spine1", "spine2", "spine3")),
        "head": Link("torso", ("neck", "head")),
        "humerus_SIDE": Link("torso", ("SIDE_collar", "SIDE_shoulder")),
        "radius_SIDE": Link("humerus_SIDE", ("SIDE_elbow",)),
        "hand_SIDE": Link("radius_SIDE", ("SIDE_wrist",)),
    }
)
#: what our coordinates are in the rest pose: arms out to the sides, palms down; all others are 0
REST: Mapping[str, float] = MappingProxyType({"arm_add_SIDE": -pi / 2, "pro_sup_SIDE": pi / 2})

_ROOT_ANGLE = "the turn of the root joint, exactly"
_ROOT_PLACE = (
    "trans as it is. It lacks where the root joint lies in the mesh (a constant offset, mostly downwards), "
    "which needs the body's file"
)
_LEG_REST = (
    "The thighs and shanks of the rest pose count as upright; those of the body's own mean shape slope by a "
    "few degrees, which stays as a constant offset"
)
_HIP = f"the turn of the hip joint, exactly. {_LEG_REST}"
_SPINE = (
    "the product of the three spine joints, exactly, as if they turned about one point. The curve of the "
    "back is lost"
)
_SHOULDER = (
    "the product of collar and shoulder joints, exactly, as our model has no collar bone. With the arm "
    "straight out to the side the first and the last angle can't be told apart and are held from the "
    "neighbouring frames"
)
_FOREARM = "with {other}, the turn of the elbow nearest to the joint's; what bends it sideways is lost"

#: coordinate -> how it follows from the parameters and what that approximates
APPROXIMATIONS: Mapping[str, str] = MappingProxyType(
    {
        "pelvis_tilt": _ROOT_ANGLE,
        "pelvis_list": _ROOT_ANGLE,
        "pelvis_rotation": f"{_ROOT_ANGLE}; where 0 is ahead is the world's choice",
        "pelvis_tx": _ROOT_PLACE,
        "pelvis_ty": _ROOT_PLACE,
        "pelvis_tz": _ROOT_PLACE,
        "hip_flexion_SIDE": _HIP,
        "hip_adduction_SIDE": _HIP,
        "hip_rotation_SIDE": _HIP,
        "knee_angle_SIDE": (
            "the bend whose turn, with what the model couples to it, is nearest to the knee joint's; twist "
            f"and sideways bend are lost. {_LEG_REST}"
        ),
        "ankle_angle_SIDE": (
            "with subtalar_angle, the turns about the model's two oblique axes nearest to the ankle joint's; "
            "the foot's turn about a third axis is lost"
        ),
        "subtalar_angle_SIDE": "see ankle_angle; badly known, as the parametric ankle is a ball joint",
        "mtp_angle_SIDE": "the turn about the toes' axis nearest to the foot joint's",
        "lumbar_extension": _SPINE,
        "lumbar_bending": _SPINE,
        "lumbar_rotation": _SPINE,
        "neck_extension": "the product of neck and head joints, exactly, as if they turned about one point",
        "neck_bending": "see neck_extension",
        "neck_rotation": "see neck_extension",
        "arm_flex_SIDE": _SHOULDER,
        "arm_add_SIDE": _SHOULDER,
        "arm_rot_SIDE": _SHOULDER,
        "elbow_flex_SIDE": _FOREARM.format(other="pro_sup"),
        "pro_sup_SIDE": (
            _FOREARM.format(other="elbow_flex")
            + ". The wrist joint's share of the forearm's twist is ignored"
        ),
        "wrist_flex_SIDE": "with wrist_dev, the turn nearest to the wrist joint's; its twist is lost",
        "wrist_dev_SIDE": "see wrist_flex",
    }
)


@dataclass(frozen=True)
class BodyAngles:
    """What body parameters say of a musculoskeletal model.

    Attributes
    ----------
    motion : all its coordinates, radians and metres; NaN where no joint of the parametric body moves it
    left_over : bone -> (T,) radians by which the model's joint could not follow the parametric body's
    """

    motion: Motion
    left_over: Mapping[str, FloatArray]


def angles_of(
    body: BodyParameters,
    *,
    model: Model | None = None,
    up: Up | FloatArray = "+y",
    rest: Mapping[str, float] | None = None,
) -> BodyAngles:
    """The coordinates of ``model`` (default: ``capbench:fullbody``) that follow body parameters.

    ``up`` is the axis of the parameters' world that points up: "+y" (the rest pose stands upright), "-y"
    (a camera's x right, y down, z away) or "+z" (AMASS). The world is turned about its x axis until that is
    y, and then a body that looks along its z looks along ground's x. Or (3, 3), the rotation that takes the
    world onto ground. ``rest`` says what coordinates are in the rest pose, radians, besides ``REST``.
    """
    chosen = fullbody(markers=None) if model is None else model
    tree = build_tree(chosen)
    turn = _world(up)
    bones = _bones(body, tree, turn, _rest(tree, rest))
    q = np.full((len(body), len(tree.coordinates)), np.nan)
    left_over: dict[str, FloatArray] = {}
    for bone in bones:
        parent = _followed_above(chosen, bone, bones)
        fixed, elements = _chain(tree, parent, bone)
        if not elements:
            continue  # a joint that does not move has nothing to follow with
        above = bones[parent] if parent != GROUND else np.broadcast_to(np.eye(3), bones[bone].shape)
        target = np.swapaxes(above, -1, -2) @ bones[bone]
        columns, values = _solve(tree, fixed, elements, target)
        q[:, columns] = values
        left_over[bone] = _angle_between(
            _turned(fixed, elements, dict(zip(columns, values.T, strict=True))), target
        )
    _place_pelvis(tree, body.trans @ turn.T, q)
    names = chosen.coordinate_names
    kinds = tuple(c.kind for c in chosen.coordinates)
    motion = Motion(body.time, names, tree.expand(q, names), kinds, tuple(tree.coupled))
    return BodyAngles(motion, MappingProxyType(left_over))


def motion_of(
    body: BodyParameters,
    *,
    model: Model | None = None,
    up: Up | FloatArray = "+y",
    rest: Mapping[str, float] | None = None,
) -> Motion:
    """The motion alone; see :func:`angles_of`."""
    return angles_of(body, model=model, up=up, rest=rest).motion


def approximation(coordinate: str) -> str:
    """How a coordinate of either side follows from body parameters; "" for one that none moves."""
    base, _, side = coordinate.rpartition("_")
    return APPROXIMATIONS.get(f"{base}_{_SIDE}" if side in _SIDES.values() else coordinate, "")


# --- the parametric body -------------------------------------------------------------------------


def _world(up: Up | FloatArray) -> FloatArray:
    """(3, 3) rotation that takes the parameters' world onto ground."""
    if isinstance(up, str):
        if up not in _UPRIGHT:
            raise unknown_name("direction of up", up, _UPRIGHT)
        upright: FloatArray = AXES @ _UPRIGHT[up]
        return upright
    given = np.asarray(up, dtype=np.float64)
    check_shape("up", given, (3, 3))
    if not (np.allclose(given @ given.T, np.eye(3), atol=1e-6) and np.linalg.det(given) > 0):
        raise CapbenchError(f"Expected a proper rotation as up, got {given.tolist()}.")
    return given


def _rest(tree: Tree, given: Mapping[str, float] | None) -> FloatArray:
    """(1, Q) the tree's coordinates in the rest pose: 0 but for ``REST`` and what is given."""
    both = {key.replace(_SIDE, mark): value for key, value in REST.items() for mark in _SIDES.values()}
    known = {name: value for name, value in both.items() if name in tree.coordinates}
    q = np.zeros((1, len(tree.coordinates)))
    for name, value in {**known, **(given or {})}.items():
        q[0, tree.index(name)] = value
    return q


def _bones(body: BodyParameters, tree: Tree, turn: FloatArray, rest: FloatArray) -> dict[str, FloatArray]:
    """(T, 3, 3) in ground of every bone of the model that follows the parametric body, parents first."""
    if body.family == "mano":
        raise CapbenchError("Expected parameters of a whole body, got those of a hand (mano).")
    if "pelvis" not in tree.bodies:
        raise CapbenchError(
            f"Expected a model with the body pelvis, got {', '.join(list(tree.bodies)[:20])}."
        )
    joints = skeleton(f"{body.family}-{body.JOINTS[body.family]}").points
    local = dict(zip(joints, np.moveaxis(_matrices(body.poses), 1, 0), strict=True))
    standing = forward(tree, rest)
    parts: dict[str, FloatArray] = {GROUND: np.broadcast_to(np.eye(3), (len(body), 3, 3))}
    bones: dict[str, FloatArray] = {}
    for pattern, link in LINKS.items():
        for side, mark in _SIDES.items():
            bone, parent = pattern.replace(_SIDE, mark), link.parent.replace(_SIDE, mark)
            part = parts[parent]
            for joint in link.joints:
                part = part @ local[joint.replace(_SIDE, side)]
            parts[bone] = part
            if bone in tree.bodies:
                bones[bone] = turn @ part @ AXES.T @ body_frames(tree, standing, bone)[0]
    return bones


def _matrices(vectors: FloatArray) -> FloatArray:
    """(..., 3, 3) rotations of axis-angle vectors (..., 3) of any length, by Rodrigues' formula."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    skew = _skew(vectors)
    half: FloatArray = np.sinc(angle / (2 * pi))  # sin(a/2) / (a/2), which is 1 at 0
    made: FloatArray = np.eye(3) + np.sinc(angle / pi) * skew + half**2 / 2 * (skew @ skew)
    return made


def _skew(vectors: FloatArray) -> FloatArray:
    x, y, z = np.moveaxis(vectors, -1, 0)
    o = np.zeros_like(x)
    rows = np.stack([o, -z, y, z, o, -x, -y, x, o], axis=-1)
    made: FloatArray = rows.reshape(*x.shape, 3, 3)
    return made


# --- the model's joints --------------------------------------------------------------------------


def _followed_above(model: Model, bone: str, followed: Iterable[str]) -> str:
    """The nearest body towards ground that follows the parametric body too, or ground."""
    above = model.joint_of(bone).parent
    while above != GROUND and above not in followed:
        above = model.joint_of(above).parent
    return above


def _chain(tree: Tree, parent: str, child: str) -> tuple[list[FloatArray], list[Element]]:
    """How ``child`` turns in ``parent``: ``fixed[0] Rz(u_0) fixed[1] Rz(u_1) … fixed[n]``."""
    path: list[Element] = []
    at, top = tree.bodies[child].element, tree.bodies[parent].element
    while at != top:
        path.insert(0, tree.elements[at])
        at = tree.elements[at].parent
    fixed, turning = [tree.bodies[parent].placement.rotation.T], []
    for element in path:
        fixed[-1] = fixed[-1] @ element.placement.rotation
        if not element.slides:
            turning.append(element)
            fixed.append(np.eye(3))
    fixed[-1] = fixed[-1] @ tree.bodies[child].placement.rotation
    return fixed, turning


def _solve(
    tree: Tree, fixed: list[FloatArray], elements: list[Element], target: FloatArray
) -> tuple[list[int], FloatArray]:
    """The coordinates a chain of joints has, and (T, n) what they must be to turn as ``target`` (T, 3, 3)."""
    columns = list(dict.fromkeys(e.coordinate for e in elements))
    plain = all(is_identity(e.function) for e in elements)
    if plain and len(elements) == len(columns) == 3 and _square(fixed[1]) and _square(fixed[2]):
        inner = fixed[0].T @ target @ fixed[3].T
        return columns, _three(inner, fixed[1], fixed[2], tree.defaults[columns])
    bounds = np.stack([np.maximum(tree.low, -pi), np.minimum(tree.high, pi)], axis=-1)[columns]
    values = _nearest(fixed, elements, columns, bounds, target)
    return columns, np.unwrap(values, axis=0) if plain else values


def _square(between: FloatArray) -> bool:
    """Whether two axes that follow one another are at right angles, as any rotation needs."""
    return abs(float(between[2, 2])) < 1e-9


def _three(target: FloatArray, a: FloatArray, b: FloatArray, defaults: FloatArray) -> FloatArray:
    """(T, 3) angles with ``Rz(p) a Rz(q) b Rz(r) = target``, continuous in time.

    Two triples give each rotation. The frame farthest from gimbal lock takes the one nearer to the model's
    default posture, and each neighbour the one nearer to its own neighbour. In lock, p is held.
    """
    if not len(target):
        return np.empty((0, 3))
    both = z_angles(target, a, b)
    clear = np.abs(np.sin((both[0, :, 1] - both[1, :, 1]) / 2))
    first = int(np.argmax(clear))
    chosen = np.empty(both.shape[1:])
    for frames in (range(first, len(chosen)), range(first, -1, -1)):
        near = chosen[first] if frames.step < 0 else defaults
        for t in frames:
            triples = both[:, t]
            if clear[t] < _LOCKED:
                triples = np.stack([_held(near[0], triples[i, 1], target[t], a, b) for i in (0, 1)])
            triples = near + np.mod(triples - near + pi, 2 * pi) - pi
            near = chosen[t] = triples[int(np.argmin(np.abs(triples - near).sum(axis=-1)))]
    return chosen


def _held(p: float, q: float, target: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """(3,) the triple with the first angle ``p``, where only first and last angle together are known."""
    last = (_about_z(np.array(p)) @ a @ _about_z(np.array(q)) @ b).T @ target
    return np.array([p, q, np.arctan2(last[1, 0], last[0, 0])])


def _nearest(
    fixed: list[FloatArray],
    elements: list[Element],
    columns: list[int],
    bounds: FloatArray,
    target: FloatArray,
) -> FloatArray:
    """(T, n) coordinates whose rotation is nearest to ``target``, its elements' squares summed.

    Starts from the best point of a grid over the coordinates' ranges, so of several minima the one in reach
    of the joint; then Levenberg-Marquardt, which may leave the range.
    """
    per_axis = {1: 24, 2: 9}.get(len(columns), 6)
    grids = np.meshgrid(*[np.linspace(low, high, per_axis) for low, high in bounds], indexing="ij")
    values = np.zeros((len(target), len(columns)))
    cost = np.full(len(target), np.inf)
    for start in np.stack(grids, axis=-1).reshape(-1, len(columns)):
        here = _turned(fixed, elements, dict(zip(columns, start[:, None], strict=True)))
        found = ((here - target) ** 2).sum(axis=(-1, -2))
        better = found < cost
        cost[better], values[better] = found[better], start
    damping = np.full(len(target), 1e-3)
    for _ in range(60):
        j, r = _slopes(fixed, elements, columns, values, target)
        normal = np.einsum("tki,tkj->tij", j, j) + damping[:, None, None] * np.eye(len(columns))
        step = -np.linalg.solve(normal, np.einsum("tki,tk->ti", j, r)[..., None])[..., 0]
        moved = values + step
        there = _turned(fixed, elements, dict(zip(columns, moved.T, strict=True)))
        found = ((there - target) ** 2).sum(axis=(-1, -2))
        better = found <= cost
        values[better], cost[better] = moved[better], found[better]
        damping = np.where(better, damping * 0.1, damping * 10)
        if np.abs(step).max(initial=0.0) < 1e-12:
            break
    return values


def _slopes(
    fixed: list[FloatArray],
    elements: list[Element],
    columns: list[int],
    values: FloatArray,
    target: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """(T, 9, n) and (T, 9): how the rotation's elements change with each coordinate, and what they lack."""
    axes, slopes = [], []
    r = np.broadcast_to(fixed[0], target.shape)
    for element, after in zip(elements, fixed[1:], strict=True):
        u, slope, _ = element.function.derivatives(values[:, columns.index(element.coordinate)])
        axes.append(r[:, :, 2])
        slopes.append(slope)
        r = r @ _about_z(u) @ after
    j = np.zeros((len(target), 9, len(columns)))
    for element, axis, slope in zip(elements, axes, slopes, strict=True):
        column = (_skew(axis * slope[:, None]) @ r).reshape(-1, 9)
        j[:, :, columns.index(element.coordinate)] += column
    return j, (r - target).reshape(-1, 9)


def _turned(fixed: list[FloatArray], elements: list[Element], values: Mapping[int, FloatArray]) -> FloatArray:
    """(T, 3, 3) what a chain turns by, for coordinates (T,) each."""
    r: FloatArray = fixed[0]
    for element, after in zip(elements, fixed[1:], strict=True):
        function: AxisFunction = element.function
        r = r @ _about_z(function(values[element.coordinate])) @ after
    return r


def _about_z(angle: FloatArray) -> FloatArray:
    """(..., 3, 3) rotations by ``angle`` radians about z."""
    vectors = np.zeros((*angle.shape, 3))
    vectors[..., 2] = angle
    return _matrices(vectors)


def _angle_between(a: FloatArray, b: FloatArray) -> FloatArray:
    """(T,) radians between rotations; exact near 0 too, where an arc cosine is not."""
    chord = np.linalg.norm(a - b, axis=(-1, -2)) / np.sqrt(8)
    angle: FloatArray = 2 * np.arcsin(np.clip(chord, 0.0, 1.0))
    return angle


def _place_pelvis(tree: Tree, at: FloatArray, q: FloatArray) -> None:
    """Sets the coordinates that slide the pelvis, where they do so one to one along axes at right angles."""
    element = tree.bodies["pelvis"].element
    slides: list[int] = []
    while element >= 0:
        if tree.elements[element].slides:
            slides.insert(0, element)
        element = tree.elements[element].parent
    if len(slides) != 3 or not all(is_identity(tree.elements[e].function) for e in slides):
        return
    frames = forward(tree, np.zeros((1, len(tree.coordinates))))
    axes = frames.rotation[0][slides][:, :, 2]
    q[:, [tree.elements[e].coordinate for e in slides]] = np.linalg.solve(
        axes.T, (at - body_frames(tree, frames, "pelvis")[1][0]).T
    ).T
