"""Things that people use: a chair, a walker, a cane, parallel bars, a box to jump from.

Each is a surface of closed solids that is rigid on one body of the model: "ground" for what stands, a hand
for a cane. It may be added to a person's surfaces, or drawn as an actor of its own with ``MATERIALS``.
Places are metres in ground; ``at`` is the spot on the floor (x forward, z right) and ``facing`` the turn to
the left (radians) from +x, the way a sitting person would look. ``floor`` is the floor's height: the sole's
height below zero, where a person stands on soles (``synthpose.clothing.sole_height``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Motion
from cohorts.values import FloatArray
from synthpose.mesh import Surface, frames_of
from synthpose.palette import linear
from synthpose.person import Person
from synthpose.scene import Material
from synthpose.solids import Solid, box, joined, rod

GROUND = "ground"
#: what aids are made of, unless other materials of these names are given
MATERIALS: Mapping[str, Material] = {
    "metal": Material(linear("9a9da1"), rough=0.05),
    "seat": Material(linear("3b4a66"), rough=0.2),
    "wood": Material(linear("a37b4f"), linear("7e5a36"), 2, 0.03, 0.3),
    "rubber": Material(linear("1b1c1e"), rough=0.1),
}
#: radians of a standing person's arm that holds a cane, for the side it is on
CANE_POSE = {"arm_flex": 0.10, "arm_add": -0.12, "elbow_flex": 0.40}


def _placed(
    name: str,
    parts: Sequence[tuple[str, Solid]],
    *,
    body: str = GROUND,
    at: Sequence[float] = (0.0, 0.0),
    facing: float = 0.0,
    floor: float = 0.0,
) -> Surface:
    """Solids with their materials as one surface; what is local x comes to look along ``facing``."""
    local, faces, which = joined([solid for _, solid in parts])
    names = tuple(dict.fromkeys(material for material, _ in parts))
    material = np.array([names.index(m) for m, _ in parts])[which]
    c, s = np.cos(facing), np.sin(facing)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    rest = np.einsum("ij,vj->vi", turn, local) + np.array([at[0], floor, at[1]])
    return Surface(
        name=name,
        rest_v3=rest,
        canonical_v3=local,
        faces_f3=faces,
        material_f=material,
        materials=names,
        bones_vk=np.zeros((len(rest), 1), np.int64),
        weights_vk=np.ones((len(rest), 1)),
        bodies=(body,),
    )


def _between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise CapbenchError(f"Expected {what} from {low:g} to {high:g} m, got {value:g}.")


def chair(
    *,
    seat: float = 0.45,
    back: bool = True,
    arms: bool = False,
    at: Sequence[float] = (0.0, 0.0),
    facing: float = 0.0,
    floor: float = 0.0,
) -> Surface:
    """A chair; ``seat`` metres from the floor to its upper side, ``at`` the middle of the seat."""
    _between("a seat's height", seat, 0.15, 0.8)
    half, deep, leg = 0.22, 0.21, 0.015
    parts = [("seat", box([-deep, seat - 0.04, -half], [deep, seat, half]))]
    for x in (-deep + leg, deep - leg):
        for z in (-half + leg, half - leg):
            top = seat + 0.42 if back and x < 0 else seat + 0.22 if arms else seat - 0.01
            parts.append(("metal", rod([[x, 0, z], [x, top, z]], leg)))
    if back:
        parts.append(
            ("seat", box([-deep, seat + 0.16, -half + 0.02], [-deep + 0.03, seat + 0.42, half - 0.02]))
        )
    if arms:
        for z in (-half + leg, half - leg):
            parts.append(("rubber", box([-deep, seat + 0.20, z - 0.025], [deep, seat + 0.23, z + 0.025])))
    return _placed("chair", parts, at=at, facing=facing, floor=floor)


def jump_box(
    *,
    height: float = 0.30,
    at: Sequence[float] = (0.0, 0.0),
    facing: float = 0.0,
    floor: float = 0.0,
) -> Surface:
    """A box to jump from; ``at`` the middle of its upper side."""
    _between("a box's height", height, 0.05, 0.8)
    solid = box([-0.22, 0.0, -0.30], [0.22, height, 0.30])
    return _placed("box", [("wood", solid)], at=at, facing=facing, floor=floor)


def bars(
    *,
    height: float = 0.90,
    apart: float = 0.62,
    length: float = 3.0,
    at: Sequence[float] = (0.0, 0.0),
    facing: float = 0.0,
    floor: float = 0.0,
) -> Surface:
    """Parallel bars: two rails along the way, ``apart`` metres, their tops ``height`` above the floor."""
    _between("the rails' height", height, 0.4, 1.3)
    _between("the rails' distance", apart, 0.3, 1.2)
    _between("the rails' length", length, 0.5, 10.0)
    rail, post = 0.019, 0.022
    parts: list[tuple[str, Solid]] = []
    for z in (-apart / 2, apart / 2):
        middle = height - rail
        parts.append(("wood", rod([[-length / 2, middle, z], [length / 2, middle, z]], rail)))
        for x in (-0.4 * length, 0.0, 0.4 * length):
            parts.append(("metal", rod([[x, 0.02, z], [x, height - 2 * rail, z]], post)))
            parts.append(("metal", box([x - 0.06, 0.0, z - 0.14], [x + 0.06, 0.02, z + 0.14])))
    return _placed("bars", parts, at=at, facing=facing, floor=floor)


def walker(
    *,
    height: float = 0.85,
    width: float = 0.56,
    wheels: bool = True,
    at: Sequence[float] = (0.0, 0.0),
    facing: float = 0.0,
    floor: float = 0.0,
) -> Surface:
    """A walking frame, open behind; ``at`` the middle between its feet, ``height`` that of its grips."""
    _between("a walker's height", height, 0.4, 1.2)
    _between("a walker's width", width, 0.3, 0.9)
    tube, z = 0.0125, width / 2
    parts: list[tuple[str, Solid]] = []
    for side in (-z, z):
        frame = [[-0.22, 0.03, side], [-0.14, height, side], [0.06, height, 0.92 * side], [0.20, 0.08, side]]
        parts.append(("metal", rod(frame, tube)))
        parts.append(("metal", rod([[-0.17, 0.5 * height, side], [0.13, 0.5 * height, 0.96 * side]], tube)))
        parts.append(("rubber", rod([[-0.13, height, side], [0.0, height, 0.95 * side]], 0.019)))
        parts.append(("rubber", rod([[-0.22, 0.0, side], [-0.22, 0.04, side]], 0.017)))
        if wheels:
            parts.append(
                ("rubber", rod([[0.20, 0.06, side - 0.012], [0.20, 0.06, side + 0.012]], 0.06, sides=18))
            )
        else:
            parts.append(("rubber", rod([[0.20, 0.0, side], [0.20, 0.09, side]], 0.017)))
    for high, x in ((0.97, 0.066), (0.55, 0.125)):
        parts.append(("metal", rod([[x, high * height, -0.92 * z], [x, high * height, 0.92 * z]], tube)))
    return _placed("walker", parts, at=at, facing=facing, floor=floor)


def followed(surface: Surface, motion: Motion, *, over: float = 1.2) -> FloatArray:
    """(T, V, 3) metres: a thing on the ground that is pushed along with the person, as a walker is.

    It keeps its place relative to the pelvis at the first frame, moves with the pelvis' horizontal path
    averaged over ``over`` seconds (about a stride, so it neither sways nor stutters), and doesn't turn.
    """
    if surface.bodies != (GROUND,):
        raise CapbenchError(f"Expected a thing on the ground, got one on {', '.join(surface.bodies)}.")
    time = motion.time
    path = motion.values[:, [motion.names.index(f"pelvis_t{axis}") for axis in "xz"]]
    if len(time) > 1:
        step = float(np.median(np.diff(time)))
        reach = max(round(over / step / 2), 0)
        slope = path[-1] - path[0]
        ramp = np.linspace(0, 1, len(path))[:, None] * slope
        even = np.pad(path - ramp, ((reach, reach), (0, 0)), mode="edge")
        total = np.cumsum(np.vstack([np.zeros((1, 2)), even]), axis=0)
        path = (total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1) + ramp
    move = np.zeros((len(time), 1, 3))
    move[:, 0, [0, 2]] = path - path[0]
    return np.asarray(surface.rest_v3[None] + move)


def cane(person: Person, *, side: str = "r", sole: float = 0.0, forward: float = 0.02) -> Surface:
    """A cane in a hand, rigid on it.

    It stands upright, its tip on the floor (``sole`` metres below the bare feet), when the person stands with
    the arm as in ``CANE_POSE``. As the arm swings the tip swings too: that it meets the floor then is only
    roughly true, and no force passes through it.
    """
    if side not in ("r", "l"):
        raise unknown_name("side", side, ("r", "l"))
    hand = (f"hand_{side}",)
    pose = _standing(person, side)
    here, there = frames_of(person.model, person.bind, hand), frames_of(person.model, pose, hand)
    skin = person.surfaces[0]
    bone = skin.bodies.index(hand[0])
    own = (skin.bones_vk == bone) & (skin.weights_vk > 0.9)
    palm = skin.rest_v3[own.any(axis=1)].mean(axis=0)
    turn = there.rotation[0, 0] @ here.rotation[0, 0].T
    grip = turn @ (palm - here.origin[0, 0]) + there.origin[0, 0]
    floor = _lowest(person, pose) - sole
    size = person.phenotype.stature / 1.7
    tip, top = [grip[0] + forward, floor, grip[2]], [grip[0] + forward, grip[1] - 0.01, grip[2]]
    handle = grip + size * np.array([[0.045, 0.0, 0.0], [-0.075, 0.004, 0.0]])
    parts = [
        ("wood", rod([[tip[0], floor + 0.03, tip[2]], top], 0.011)),
        ("rubber", rod([tip, [tip[0], floor + 0.04, tip[2]]], [0.017, 0.014])),
        ("wood", rod(list(handle), 0.013)),
    ]
    made = _placed("cane", parts, body=hand[0])
    back = (made.rest_v3 - there.origin[0, 0]) @ turn + here.origin[0, 0]
    return Surface(
        made.name, np.ascontiguousarray(back), made.canonical_v3, made.faces_f3, made.material_f,
        made.materials, made.bones_vk, made.weights_vk, made.bodies,
    )  # fmt: skip


def _standing(person: Person, side: str) -> Motion:
    """The person upright with straight legs, the arm on that side holding a cane."""
    values = np.where(np.char.startswith(np.array(person.bind.names), "pelvis_t"), person.bind.values[0], 0.0)
    for name, angle in CANE_POSE.items():
        values[person.bind.names.index(f"{name}_{side}")] = angle
    return Motion(person.bind.time, person.bind.names, values[None])


def _lowest(person: Person, pose: Motion) -> float:
    """Metres: where the bare soles are in a pose, by the heel's marker and its height when bound."""

    def heel(motion: Motion) -> float:
        at = person.landmarks(motion)
        return float(min(at.xyz[0, at.names.index(n), 1] for n in ("r_calc", "l_calc")))

    return heel(pose) - heel(person.bind)
