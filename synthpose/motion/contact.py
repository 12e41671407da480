"""Where a body meets floor and seat: the few points of each sole that carry it, and how a sole rolls.

A sole is a short row of points of the foot, from the back of the heel to the tip of the toes, as high above
the floor as they are when the foot stands flat. Tipping the foot rolls it over these points without slipping,
so where each of them is at a given pitch follows from geometry alone (``Sole.rolled``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from capbench.biomech.body import fullbody
from capbench.biomech.kinematics import body_frames, coordinates_of, forward, points
from capbench.biomech.model import Model
from capbench.biomech.tree import build_tree
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.values import FloatArray, IntArray
from synthpose.mesh import Surface, frames_of, skin

SIDES = ("r", "l")
OUTWARD: Mapping[str, float] = {"r": 1.0, "l": -1.0}  #: which way along z a side lies
#: the points of a sole, from behind: (name, part of the foot's length from, to, which side: +1 outer)
REGIONS = (
    ("heel_back", 0.0, 0.12, 0),
    ("heel", 0.08, 0.30, 0),
    ("mt1", 0.62, 0.82, -1),
    ("mt5", 0.52, 0.76, 1),
    ("toe5", 0.76, 0.93, 1),
    ("toe1", 0.80, 1.00, -1),
    ("tip", 0.85, 1.00, 0),
    ("toe3", 0.80, 1.00, 1),
)
TOES = ("toe5", "toe1", "tip", "toe3")
#: degrees of foot pitch (toes up positive) at which each point is the one that touches
_TOUCHES = {
    "heel_back": 28.0,
    "heel": 4.0,
    "mt1": 0.0,
    "mt5": 0.0,
    "toe5": -14.0,
    "toe1": -28.0,
    "tip": -58.0,
    "toe3": -45.0,
}
#: the sole of the unscaled model, metres in calcn: the LaiUhlrich2022 foot with 20 mm under its origin, about
#: as thick as heel pad and shoe; x and z as its heel, metatarsal and toe markers
_PLAIN = {
    "heel_back": (-0.030, -0.015, -0.008), "heel": (-0.005, -0.020, -0.006), "mt1": (0.175, -0.020, -0.030),
    "mt5": (0.145, -0.020, 0.050), "toe5": (0.200, -0.020, 0.035), "toe1": (0.230, -0.017, -0.015),
    "tip": (0.236, -0.008, 0.0), "toe3": (0.222, -0.014, 0.018),
}  # fmt: skip
_PLAIN_SEAT = (-0.075, -0.155, 0.065)  #: ischial tuberosity with 20 mm of tissue, metres in pelvis
_PLAIN_MTP = np.array([0.1788, -0.002, 0.00108])  #: the unscaled model's toe joint in calcn
#: degrees of pitch (toes up) and roll (outer edge up) in which a sole must not sink, and the metres it may
TIPPED = tuple((p, r) for p in (-60.0, -45.0, -30.0, -15.0, 15.0, 25.0) for r in (0.0, -14.0, 14.0))
SPARE = 0.0015
SHARP = 0.0012  #: metres: points this much higher than the lowest carry 1/e of what it carries
MEMBER = 0.5  #: share of a vertex's weight that makes it part of the foot or the seat


class Bound(Protocol):
    """A mesh with a model inside, such as ``synthpose.person.Person``."""

    @property
    def model(self) -> Model:
        """The model inside."""
        ...

    @property
    def bind(self) -> Motion:
        """The one-frame pose in which the mesh was bound, standing."""
        ...

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """Skin and what is worn."""
        ...


@dataclass(frozen=True)
class Sole:
    """What of a body touches floor and chair, and how it holds itself when it stands upright.

    Attributes
    ----------
    names, bodies : of the P points of both feet: ``heel_r``, ``toe1_l``, … and the bodies they are fixed in
    locations : (P, 3) metres in those bodies
    flat : (P, 3) metres: forward along the foot, up from the floor, outward, of each point in a foot that
        stands flat; forward and outward from the middle of the ankle-to-toe line's heel
    axes : side -> (3, 3) the directions forward, up and right of a flat foot, in calcn
    seat : (2, 3) metres in pelvis: where the right and the left side sit
    upright : coordinate -> radians when standing straight; those not named are 0
    """

    names: tuple[str, ...]
    bodies: tuple[str, ...]
    locations: FloatArray
    flat: FloatArray
    axes: Mapping[str, FloatArray]
    seat: FloatArray
    upright: Mapping[str, float] = field(default_factory=dict)

    def of(self, side: str) -> IntArray:
        """Numbers of the points of a side."""
        return np.array([i for i, name in enumerate(self.names) if name.endswith(f"_{side}")], np.int64)

    def rolled(self, side: str, pitch: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where a foot's points are once it has rolled from flat to a pitch, and how much each carries.

        ``pitch`` (T,) radians, toes up positive. Returns (T, P', 2) metres, forward and up, P' the points of
        the side, and (T, P') shares that sum to 1 for heel and forefoot together.
        """
        flat = self.flat[self.of(side)][:, :2]
        steps = np.radians(np.arange(-90.0, 61.0, 0.5))
        zero = int(np.argmin(np.abs(steps)))
        turned = _turned(flat, steps)
        shift = np.zeros((len(steps), 2))
        shift[:, 1] = -turned[..., 1].min(axis=1)
        pivot = turned[..., 1].argmin(axis=1)
        for k in [*range(zero + 1, len(steps)), *range(zero - 1, -1, -1)]:
            near = k - 1 if k > zero else k + 1  # the pose before, nearer to flat
            i = pivot[near]  # what carries it does not slip
            shift[k, 0] = shift[near, 0] + turned[near, i, 0] - turned[k, i, 0]
        at = np.stack([np.interp(pitch, steps, shift[:, a]) for a in range(2)], axis=-1)
        placed = _turned(flat, pitch) + at[:, None]
        share = np.exp(-np.maximum(placed[..., 1], 0.0) / SHARP)
        return placed, share


def _turned(flat_p2: FloatArray, pitch: FloatArray) -> FloatArray:
    """(T, P, 2) of points (P, 2) turned by pitches (T,), toes up positive."""
    c, s = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    return np.stack([c * flat_p2[:, 0] - s * flat_p2[:, 1], s * flat_p2[:, 0] + c * flat_p2[:, 1]], axis=-1)


# --- from a mesh --------------------------------------------------------------------------------


def sole_points(person: Bound) -> Sole:
    """The soles, seat and upright posture of a person, dressed as they are: shoes count."""
    tree = build_tree(person.model)
    frames = forward(tree, coordinates_of(tree, person.bind))
    names: list[str] = []
    bodies: list[str] = []
    places: list[FloatArray] = []
    flats: list[FloatArray] = []
    axes: dict[str, FloatArray] = {}
    for side in SIDES:
        vertices, toe_share = _foot(person.surfaces, side)
        rotation, _ = body_frames(tree, frames, f"calcn_{side}")
        flat, ground = _flat(vertices, side)
        axes[side] = np.stack(ground, axis=1).T @ rotation[0]
        picked = {name: _lowest(flat, a, b, outer, _TOUCHES[name]) for name, a, b, outer in REGIONS}
        for k, i in enumerate(_missed(flat, list(picked.values()))):
            picked[f"edge{k + 1}"] = i
        bends = toe_share[picked["toe1"]] > MEMBER  # else the mesh's foot is rigid, whatever some of it does
        for name, i in picked.items():
            toe = name in TOES or (name.startswith("edge") and toe_share[i] > MEMBER)
            body = f"toes_{side}" if bends and toe else f"calcn_{side}"
            turn, origin = body_frames(tree, frames, body)
            names.append(f"{name}_{side}")
            bodies.append(body)
            places.append((vertices[i] - origin[0]) @ turn[0])
            flats.append(flat[i])
    seat = _seat(person)
    return Sole(tuple(names), tuple(bodies), np.array(places), np.array(flats), axes, seat, _upright(person))


def _weights(surface: Surface, bodies: tuple[str, ...]) -> FloatArray:
    """(V,) share of each vertex that follows any of these bodies."""
    wanted = np.array([b in bodies for b in surface.bodies])
    share: FloatArray = (surface.weights_vk * wanted[surface.bones_vk]).sum(axis=1)
    return share


def _foot(surfaces: tuple[Surface, ...], side: str) -> tuple[FloatArray, FloatArray]:
    """(V, 3) vertices of a foot with what it wears, and (V,) how far each follows the toes."""
    found, toes = [], []
    for surface in surfaces:
        part = _weights(surface, (f"calcn_{side}", f"toes_{side}"))
        of_toes = _weights(surface, (f"toes_{side}",))
        mine = part > MEMBER
        found.append(surface.rest_v3[mine])
        toes.append(of_toes[mine])
    vertices = np.concatenate(found)
    if len(vertices) < len(REGIONS):
        raise CapbenchError(
            f"Expected a surface that follows calcn_{side} and toes_{side}, got {len(vertices)} vertices.",
            fix="bind the body's mesh to the feet",
        )
    return vertices, np.concatenate(toes)


def _flat(vertices: FloatArray, side: str) -> tuple[FloatArray, tuple[FloatArray, ...]]:
    """(V, 3) along, above and outward of a foot at rest, and its three directions in ground."""
    level = vertices[:, [0, 2]] - vertices[:, [0, 2]].mean(axis=0)
    sole = level[vertices[:, 1] < vertices[:, 1].min() + 0.25 * np.ptp(vertices[:, 1])]
    covariance = np.einsum("va,vb->ab", sole, sole)
    angle = 0.5 * np.arctan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1])
    ahead = np.array([np.cos(angle), 0.0, np.sin(angle)])
    ahead *= np.sign(ahead[0]) or 1.0
    right = np.array([-ahead[2], 0.0, ahead[0]])
    along = vertices @ ahead
    low = along < along.min() + 0.3 * np.ptp(along)
    middle = (vertices @ right)[low].mean()
    flat = np.stack(
        [
            along - along.min(),
            vertices[:, 1] - vertices[:, 1].min(),
            OUTWARD[side] * (vertices @ right - middle),
        ],
        axis=1,
    )
    return flat, (ahead, np.array([0.0, 1.0, 0.0]), right)


def _lowest(flat: FloatArray, first: float, last: float, outer: int, pitch: float) -> int:
    """The vertex of a region that touches the floor first when the foot is pitched (degrees, toes up)."""
    length = np.ptp(flat[:, 0])
    inside = (flat[:, 0] >= first * length) & (flat[:, 0] <= last * length)
    if outer:
        across = flat[inside, 2]
        half = 0.5 * (across.min() + across.max())
        inside &= outer * (flat[:, 2] - half) > 0.15 * np.ptp(across)
    angle = np.radians(pitch)
    height = flat[:, 0] * np.sin(angle) + flat[:, 1] * np.cos(angle)
    return int(np.flatnonzero(inside)[height[inside].argmin()])


def _missed(flat: FloatArray, picked: list[int]) -> list[int]:
    """Vertices that would sink if the picked ones alone kept a tipped and rolled foot above the floor."""
    found = list(picked)
    for pitch, roll in TIPPED:
        p, r = np.radians(pitch), np.radians(roll)
        height = flat[:, 0] * np.sin(p) + (flat[:, 1] * np.cos(r) + flat[:, 2] * np.sin(r)) * np.cos(p)
        low = int(height.argmin())
        if height[low] < height[found].min() - SPARE:
            found.append(low)
    return found[len(picked) :]


def _seat(person: Bound) -> FloatArray:
    """(2, 3) metres in pelvis of the points that a person sits on, right and left.

    Found with the thighs level: the buttock's lowest vertices under the hips when the trunk is upright.
    """
    bind = person.bind
    values = np.array(bind.values)
    for name, angle in {"hip_flexion": 85.0, "knee_angle": 90.0}.items():
        for side in SIDES:
            values[:, bind.names.index(f"{name}_{side}")] = np.radians(angle)
    for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "hip_rotation_r", "hip_rotation_l"):
        values[:, bind.names.index(name)] = 0.0
    sitting = Motion(bind.time, bind.names, values, bind.kinds, bind.coupled)
    hips = _hips(person.model, sitting)
    found = np.empty((2, 3))
    vertices, mine = [], []
    for surface in person.surfaces:
        before = frames_of(person.model, bind, surface.bodies)
        vertices.append(skin(surface, before, frames_of(person.model, sitting, surface.bodies))[0])
        mine.append(_weights(surface, ("pelvis", "femur_r", "femur_l")) > MEMBER)
    body, part = np.concatenate(vertices), np.concatenate(mine)
    rotation, origin = _pelvis(person.model, sitting)
    for k, side in enumerate(SIDES):
        hip = hips[k]
        near = part & (np.abs(body[:, 0] - hip[0] + 0.02) < 0.07)
        near &= (body[:, 2] - rotation[:, 2] @ origin) * OUTWARD[side] > 0.02
        low = body[np.flatnonzero(near)[body[near, 1].argmin()]]
        found[k] = (np.array([hip[0], low[1], hip[2]]) - origin) @ rotation
    return found


def _pelvis(model: Model, motion: Motion) -> tuple[FloatArray, FloatArray]:
    tree = build_tree(model)
    rotation, origin = body_frames(tree, forward(tree, coordinates_of(tree, motion)), "pelvis")
    return rotation[0], origin[0]


def _hips(model: Model, motion: Motion) -> FloatArray:
    """(2, 3) metres: centres of the right and left hip in the first frame."""
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, motion))
    hips = [model.joint_of(f"femur_{side}") for side in SIDES]
    at = points(tree, frames, [j.parent for j in hips], np.array([j.in_parent.translation for j in hips]))
    return np.asarray(at[0])


def _upright(person: Bound) -> dict[str, float]:
    """How the person stands in the bind pose, and how far the arms hang from the trunk."""
    bind = person.bind
    kept = ("pelvis_tilt", "lumbar_extension", "neck_extension")
    held = {name: float(bind.column(name)[0]) for name in kept if name in bind}
    held["arm_add"] = _arms(person)
    return held


def _arms(person: Bound) -> float:
    """Radians by which the arms must be led away so that the hands clear hips and belly."""
    tree = build_tree(person.model)
    frames = forward(tree, coordinates_of(tree, person.bind))
    shoulder = points(tree, frames, ["humerus_r"], np.zeros((1, 3)))[0, 0]
    hand_at = points(tree, frames, ["hand_r"], np.zeros((1, 3)))[0, 0]
    elbow_at = points(tree, frames, ["ulna_r"], np.zeros((1, 3)))[0, 0]
    reach = float(np.linalg.norm(hand_at - elbow_at) + np.linalg.norm(elbow_at - shoulder))
    widest = 0.0
    for surface in person.surfaces:
        trunk = _weights(surface, ("pelvis", "torso", "femur_r")) > 0.9
        high = surface.rest_v3[:, 1]
        beside = trunk & (high < shoulder[1] - 0.35 * reach) & (high > shoulder[1] - 1.15 * reach)
        if beside.any():
            widest = max(widest, float(surface.rest_v3[beside, 2].max()))
    room = widest + 0.05 * reach / 0.55 - shoulder[2]
    return -float(
        np.clip(np.arcsin(np.clip(room / (0.85 * reach), -0.5, 0.7)), np.radians(5), np.radians(40))
    )


# --- from a model alone -------------------------------------------------------------------------


def model_sole(model: Model) -> Sole:
    """Soles and seat of a model without a mesh, scaled as its feet and pelvis are."""
    plain = fullbody()
    names: list[str] = []
    bodies: list[str] = []
    places: list[FloatArray] = []
    flats: list[FloatArray] = []
    for side in SIDES:
        mirror = np.array([1.0, 1.0, OUTWARD[side]])
        scale = model.joint_of(f"toes_{side}").in_parent.translation / (_PLAIN_MTP * mirror)
        local = {name: np.array(at) * mirror * scale for name, at in _PLAIN.items()}
        rear, floor, middle = local["heel_back"][0], local["heel"][1], local["heel"][2]
        for name, at in local.items():
            names.append(f"{name}_{side}")
            bodies.append(f"calcn_{side}")
            places.append(at)
            flats.append(np.array([at[0] - rear, at[1] - floor, OUTWARD[side] * (at[2] - middle)]))
    own = model.joint_of("femur_r").in_parent.translation / plain.joint_of("femur_r").in_parent.translation
    seat = np.array([np.array(_PLAIN_SEAT) * own * np.array([1.0, 1.0, OUTWARD[side]]) for side in SIDES])
    upright = {"lumbar_extension": np.radians(-6.0), "arm_add": np.radians(-10.0)}
    axes = {side: np.eye(3) for side in SIDES}
    return Sole(tuple(names), tuple(bodies), np.array(places), np.array(flats), axes, seat, upright)
