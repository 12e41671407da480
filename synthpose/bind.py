"""The musculoskeletal model inside a mesh: scaled and posed so that its joints lie where the mesh bends.

Unknown are the pose and the factors by which groups of bodies are stretched along their axes. Known are the
bony landmarks on the mesh, with where the bones of the model have them, and the centres of joints that lie
between two landmarks. What anatomy leaves open is drawn to the person's overall size and to a neutral pose.
All of it is solved at once by Gauss-Newton steps within the coordinates' bounds, until nothing moves any
more; so mirror images come out as mirror images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from capbench.biomech.body import fullbody, fullbody_card, mirrored_name
from capbench.biomech.kinematics import body_frames, forward, points
from capbench.biomech.model import Model
from capbench.biomech.scale import scale_model
from capbench.biomech.tree import Tree, build_tree
from cohorts.bounded import load_yaml
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.values import FloatArray

LANDMARKS = Path(__file__).parent / "landmarks.yaml"
GROUPS = ("head", "wrists")  #: optional joints that people here use
STEPS = 100  #: at most; most people take 8 to 12
MIXED, NEAR = 4, 0.005  #: earlier steps that the last one is combined with, once it is below this (radians)
LONGEST = 0.5  #: radians: a step that would turn anything further is shortened
SETTLED = 1e-9  #: radians, metres, log scales: a step below this is none
#: standard deviations of the logarithm of a scale about the person's overall size: along a bone, across it,
#: and of the pelvis
ALONG, ACROSS, NARROW = 0.15, 0.06, 0.04
LOOSE = 1.0  #: radians about neutral (standard deviation) of a coordinate that landmarks tell ...
#: ... and of those that they hardly tell, by the start of their names
HELD: Mapping[str, float] = {
    "mtp": 0.03, "wrist": 0.05, "subtalar": 0.05, "neck": 0.15, "lumbar_bending": 0.10,
    "lumbar_rotation": 0.10, "pelvis_list": 0.2, "pelvis_rotation": 0.2,
}  # fmt: skip
#: bodies that are stretched together, along which axes by one factor, and how loosely
SEGMENTS: Mapping[str, tuple[tuple[str, ...], tuple[tuple[tuple[int, ...], float], ...]]] = {
    "pelvis": (("pelvis",), (((0,), NARROW), ((1,), NARROW), ((2,), NARROW))),
    "torso": (("torso",), (((0,), ACROSS), ((1,), ALONG), ((2,), ALONG))),
    "head": (("head",), (((0, 1, 2), ACROSS),)),
    **{
        f"{name}_{side}": (tuple(f"{b}_{side}" for b in bodies), axes)
        for side in "rl"
        for name, bodies, axes in (
            ("thigh", ("femur",), (((1,), ALONG), ((0, 2), ACROSS))),
            ("shank", ("tibia",), (((1,), ALONG), ((0, 2), ACROSS))),
            ("foot", ("talus", "calcn", "toes"), (((0,), ALONG), ((1, 2), ACROSS))),
            ("upper_arm", ("humerus",), (((1,), ALONG), ((0, 2), ACROSS))),
            ("forearm", ("ulna", "radius"), (((1,), ALONG), ((0, 2), ACROSS))),
            ("hand", ("hand",), (((0, 1, 2), ACROSS),)),
        )
    },
}
_AXES = tuple((bodies, axes, spread) for bodies, groups in SEGMENTS.values() for axes, spread in groups)
_SCALES_OF = {body: [k for k, row in enumerate(_AXES) if body in row[0]] for row in _AXES for body in row[0]}
_MIRROR = np.array([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Bone:
    """A place of the model that the mesh tells: ``at`` metres in ``body`` at the card's size.

    ``spread`` is how far the mesh may be from it (metres, standard deviation), ``fat`` (3,) metres by which
    the skin lies farther off for each kg/m². A joint's centre is the mean of the landmarks ``mean``, moved by
    ``moved`` (shares of stature in ground).
    """

    body: str
    at: FloatArray
    spread: float
    fat: FloatArray
    mean: tuple[str, ...]
    moved: FloatArray
    is_centre: bool


@dataclass(frozen=True)
class Bound:
    """The model inside a mesh.

    Attributes
    ----------
    factors : body -> (3,) by which it is stretched
    pose : one frame
    misfit : metres, root mean square distance of the bony landmarks from their places on the model
    """

    factors: Mapping[str, FloatArray]
    pose: Motion
    misfit: float


@cache
def bones() -> dict[str, Bone]:
    """What ``landmarks.yaml`` says of the model's side: bony landmarks and joints' centres, both sides."""
    card = load_yaml(LANDMARKS)
    found: dict[str, Bone] = {}
    joints = {j.name: j for j in fullbody(groups=GROUPS).joints}
    for name, row in card["bones"].items():
        at, fat = np.array(row["at"], float), np.array(row.get("fat", (0, 0, 0)), float) / 1e3
        bone = Bone(row["body"], at, row["spread"] / 1e3, fat, (name,), np.zeros(3), False)
        found |= _both(name, bone)
    for name, row in card["centres"].items():
        joint = joints[row["joint"]]
        moved = np.array([0.0, -row.get("down", 0.0), -row.get("inward", 0.0)])
        at = joint.in_parent.translation
        centre = Bone(joint.parent, at, row["spread"] / 1e3, np.zeros(3), tuple(row["mean"]), moved, True)
        found |= _both(name, centre)
    return found


def _both(name: str, bone: Bone) -> dict[str, Bone]:
    if not name.startswith("SIDE_"):
        return {name: bone}
    made = {}
    for side, sign in (("right_", np.ones(3)), ("left_", _MIRROR)):
        body = bone.body if side == "right_" else mirrored_name(bone.body)
        mean = tuple(m.replace("SIDE_", side) for m in bone.mean)
        made[name.replace("SIDE_", side)] = Bone(
            body, bone.at * sign, bone.spread, bone.fat * sign, mean, bone.moved * sign, bone.is_centre
        )
    return made


def bind_model(there: Mapping[str, FloatArray], *, stature: float, fatness: float = 0.0) -> Bound:
    """The pose and scales that bring the bones of the model to the landmarks (metres) of a mesh at rest.

    ``fatness``: kg/m² of BMI above the usual.
    """
    wanted = {n: replace(b, at=b.at + fatness * b.fat) for n, b in bones().items()}
    targets = np.array([_target(there, bone, stature) for bone in wanted.values()])
    spread = np.array([bone.spread for bone in wanted.values()]) * (stature / fullbody_card().height)
    size = float(np.log(stature / fullbody_card().height))
    fit = _Fit(fullbody(markers=None, groups=GROUPS), tuple(wanted.values()), size)
    q, logs = fit.settled(targets, spread)
    tree = fit.tree(logs)
    off = fit.places(tree, q[None], logs)[0] - targets
    bony = [k for k, bone in enumerate(wanted.values()) if not bone.is_centre]
    pose = Motion(np.zeros(1), fit.base.coordinate_names, tree.expand(q[None], fit.base.coordinate_names))
    return Bound(factors(logs), pose, float(np.sqrt((off[bony] ** 2).sum(axis=1).mean())))


def _target(there: Mapping[str, FloatArray], bone: Bone, stature: float) -> FloatArray:
    """(3,) metres: where the mesh has a bony landmark (or COCO's point of that name) or a joint's centre."""
    at = [there.get(name, there.get(f"{name}@coco")) for name in bone.mean]
    if any(a is None for a in at):
        raise CapbenchError(f"Expected the mesh to have {', '.join(bone.mean)}.")
    mean: FloatArray = np.mean(np.array(at), axis=0) + bone.moved * stature
    return mean


def factors(logs: FloatArray) -> dict[str, FloatArray]:
    """Body -> (3,) factors, from the logarithms of the scales in the order of ``SEGMENTS``."""
    found: dict[str, FloatArray] = {}
    for (bodies, axes, _), log in zip(_AXES, logs, strict=True):
        for body in bodies:
            found.setdefault(body, np.ones(3))[list(axes)] = np.exp(log)
    return found


@dataclass(frozen=True)
class _Fit:
    """The problem: the model at the card's size, what is known of it, and the person's overall log size."""

    base: Model
    bones: tuple[Bone, ...]
    size: float

    def tree(self, logs: FloatArray) -> Tree:
        return build_tree(scale_model(self.base, factors(logs)))

    def settled(self, targets: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(Q,) pose and (scales,) logarithms that no step moves any more.

        Where landmarks contradict one another (bowed legs, and a knee without that freedom) plain steps close
        in slowly, so the last ones are combined (Anderson's mixing).
        """
        x = np.concatenate([self.start(targets), np.full(len(_AXES), self.size)])
        tree = self.tree(x[-len(_AXES) :])
        edge = np.full(len(_AXES), np.inf)
        low, high = np.concatenate([tree.low, -edge]), np.concatenate([tree.high, edge])
        places: list[FloatArray] = []
        steps: list[FloatArray] = []
        for _ in range(STEPS):
            q, logs = x[: -len(_AXES)], x[-len(_AXES) :]
            step = np.clip(x + self.step(q, logs, targets, spread), low, high) - x
            if np.abs(step).max() < SETTLED:
                return q, logs
            held = (x == low) | (x == high)
            if places and not np.array_equal(held, (places[-1] == low) | (places[-1] == high)):
                places, steps = [], []  # another bound holds: what was learned is of another problem
            places, steps = [*places[-MIXED:], x], [*steps[-MIXED:], step]
            x = np.clip(_mixed(places, steps), low, high)
        raise CapbenchError(
            f"Expected landmarks that the model can reach, but it still moves by {np.abs(step).max():.2g}."
        )

    def start(self, targets: FloatArray) -> FloatArray:
        """(Q,) the neutral pose with arms away from the body, its pelvis where the mesh has it."""
        tree = self.tree(np.full(len(_AXES), self.size))
        q = np.array(tree.defaults)
        for name, value in (("arm_add", -0.6), ("elbow_flex", 0.6), ("pro_sup", 1.0)):
            for side in "rl":
                q[tree.index(f"{name}_{side}")] = value
        logs = np.full(len(_AXES), self.size)
        on = [k for k, bone in enumerate(self.bones) if bone.body == "pelvis"]
        shift = (targets - self.places(tree, q[None], logs)[0])[on].mean(axis=0)
        for name, value in zip(("pelvis_tx", "pelvis_ty", "pelvis_tz"), shift, strict=True):
            q[tree.index(name)] += value
        return q

    def places(self, tree: Tree, q: FloatArray, logs: FloatArray) -> FloatArray:
        """(T, N, 3) metres in ground."""
        by = factors(logs)
        at = np.array([bone.at * by[bone.body] for bone in self.bones])
        return points(tree, forward(tree, q), [bone.body for bone in self.bones], at)

    def pose_slopes(self, tree: Tree, q: FloatArray, logs: FloatArray) -> FloatArray:
        """(N, 3, Q) metres per radian or metre, by central differences."""
        nudge = 1e-6 * np.eye(len(q))
        there = self.places(tree, np.concatenate([q + nudge, q - nudge]), logs)
        made: FloatArray = np.moveaxis((there[: len(q)] - there[len(q) :]) / 2e-6, 0, -1)
        return made

    def scale_slopes(self, tree: Tree, q: FloatArray, logs: FloatArray) -> FloatArray:
        """(N, 3, scales) metres per unit of log scale.

        A body's stretch moves what is fixed in it and, with the joints fixed in it, all that hangs on them.
        The few millimetres that the tibia glides over the femur are taken not to stretch.
        """
        by, frames = factors(logs), forward(tree, q[None])
        turn = {name: body_frames(tree, frames, name)[0][0] for name in by}
        joint = {j.child: j for j in self.base.joints}
        made = np.zeros((len(self.bones), 3, len(_AXES)))
        for row, bone in zip(made, self.bones, strict=True):
            body, at = bone.body, bone.at
            while body in by:
                for k in _SCALES_OF[body]:
                    axes = list(_AXES[k][1])
                    row[:, k] += turn[body][:, axes] @ (at * by[body])[axes]
                parent = joint[body]
                for k in _SCALES_OF[body]:  # the joint's place in the child holds the child's origin off
                    axes = list(_AXES[k][1])
                    row[:, k] -= turn[body][:, axes] @ (parent.in_child.translation * by[body])[axes]
                body, at = parent.parent, parent.in_parent.translation
        return made

    def step(self, q: FloatArray, logs: FloatArray, targets: FloatArray, spread: FloatArray) -> FloatArray:
        """(Q + scales,) a Gauss-Newton step; a coordinate at a bound it presses against stays there."""
        tree = self.tree(logs)
        miss = (targets - self.places(tree, q[None], logs)[0]) / spread[:, None]
        a = np.concatenate([self.pose_slopes(tree, q, logs), self.scale_slopes(tree, q, logs)], axis=2)
        a = (a / spread[:, None, None]).reshape(-1, a.shape[2])
        neutral = np.concatenate([tree.defaults, np.full(len(logs), self.size)])
        loose = np.array([*(_looseness(n) for n in tree.coordinates), *(s for _, _, s in _AXES)])
        pull = a.T @ miss.ravel() + (neutral - np.concatenate([q, logs])) / loose**2
        pressed = ((q <= tree.low) & (pull[: len(q)] < 0)) | ((q >= tree.high) & (pull[: len(q)] > 0))
        free = np.concatenate([~pressed, np.ones(len(logs), bool)])
        normal = (a.T @ a + np.diag(1 / loose**2))[np.ix_(free, free)]
        moved = np.zeros(len(free))
        moved[free] = np.linalg.solve(normal, pull[free])
        moved *= min(1.0, LONGEST / max(float(np.abs(moved).max()), 1e-300))
        return moved


def _mixed(places: list[FloatArray], steps: list[FloatArray]) -> FloatArray:
    """Where to go on: the last place and step, less what the differences before them foretell."""
    x, step = places[-1], steps[-1]
    if len(places) < 2 or np.abs(step).max() > NEAR:
        made: FloatArray = x + step
        return made
    moves, changes = np.diff(np.array(places), axis=0).T, np.diff(np.array(steps), axis=0).T
    shares = np.linalg.lstsq(changes, step, rcond=1e-10)[0]
    mixed: FloatArray = x + step - (moves + changes) @ shares
    return mixed


def _looseness(coordinate: str) -> float:
    if coordinate.startswith("pelvis_t") and coordinate != "pelvis_tilt":
        return 100.0
    return next((value for start, value in HELD.items() if coordinate.startswith(start)), LOOSE)
