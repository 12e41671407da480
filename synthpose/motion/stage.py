"""What every motion stands on: a body's figures, its coordinates in a table, the way back to a ``Motion``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from capbench.biomech.kinematics import Frames, forward
from capbench.biomech.model import Model
from capbench.biomech.tree import Tree, build_tree
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.values import FloatArray
from synthpose.motion.contact import OUTWARD, SIDES, Sole, model_sole
from synthpose.motion.plant import Pins, Rig, make_rig, plant, world

RATE = 100.0  #: Hz at which motions are made; other rates are sampled from it
RATES = (10.0, 1000.0)
PATH = ("pelvis_tx", "pelvis_ty", "pelvis_tz")  #: the coordinates that carry the body about


@dataclass(frozen=True)
class Contact:
    """A foot, or the seat, on what carries it.

    Attributes
    ----------
    what : "foot_r", "foot_l" or "seat"
    start, end : seconds of touching down and leaving; infinite where the motion begins or ends with it
    """

    what: str
    start: float
    end: float


@dataclass(frozen=True)
class Performance:
    """A motion and what is true of it by construction.

    Attributes
    ----------
    motion : all coordinates of the model
    contacts : when feet and seat touch, in the order of time
    facts : name -> figure: speed (m/s), cadence (steps/min), seat (m), …
    """

    motion: Motion
    contacts: tuple[Contact, ...]
    facts: Mapping[str, float]

    def strikes(self, side: str) -> FloatArray:
        """Seconds at which a foot lands."""
        return np.array([c.start for c in self.contacts if c.what == f"foot_{side}" and np.isfinite(c.start)])

    def offs(self, side: str) -> FloatArray:
        """Seconds at which a foot leaves."""
        return np.array([c.end for c in self.contacts if c.what == f"foot_{side}" and np.isfinite(c.end)])


@dataclass(frozen=True)
class Stage:
    """A model made ready to move.

    Attributes
    ----------
    model, sole : the body and what of it touches floor and seat
    """

    model: Model
    sole: Sole

    @cached_property
    def legs(self) -> Rig:
        """The rig of pelvis and legs."""
        return make_rig(self.model)

    @cached_property
    def body(self) -> Rig:
        """The rig of the whole body, for its mass centre."""
        return make_rig(self.model, whole=True)

    @cached_property
    def tree(self) -> Tree:
        """The whole model's tree."""
        return build_tree(self.model)

    @cached_property
    def flat_pitch(self) -> dict[str, float]:
        """Side -> radians by which calcn points up when the foot stands flat: where its ankle's zero is."""
        return {side: float(-np.arcsin(self.sole.axes[side][0, 1])) for side in SIDES}

    @cached_property
    def leg(self) -> float:
        """Metres from the hip to the floor when standing straight, mean of both sides."""
        table = self.blank(1)
        for side in SIDES:
            table[f"ankle_angle_{side}"] = np.full(1, self.flat_pitch[side])
        q = self.legs_table(table)
        frames = forward(self.legs.tree, q)
        low = world(self.legs, frames, self.sole.bodies, self.sole.locations)[0]
        hips = [self.model.joint_of(f"femur_{side}").in_parent.translation for side in SIDES]
        high = world(self.legs, frames, ("pelvis", "pelvis"), np.array(hips))[0]
        gaps = [high[k, 1] - low[self.sole.of(side), 1].min() for k, side in enumerate(SIDES)]
        return float(np.mean(gaps))

    @property
    def corpulence(self) -> float:
        """Body-mass index as the model tells it (stature from the leg: leg/stature 0.53), kg/m²."""
        return float(self.model.mass / (self.leg / 0.53) ** 2)

    def blank(self, frames: int) -> dict[str, FloatArray]:
        """Coordinate -> (T,) of standing still: 0, or as the person stands upright."""
        held = dict(self.sole.upright)
        arm = held.pop("arm_add", 0.0)
        table = {name: np.zeros(frames) for name in self.model.coordinate_names}
        for name, angle in held.items():
            if name in table:
                table[name] = np.full(frames, angle)
        for side in SIDES:
            for name, angle in (("arm_add", arm), ("pro_sup", 1.2), ("elbow_flex", 0.25), ("arm_rot", -0.12)):
                if f"{name}_{side}" in table:
                    table[f"{name}_{side}"] = np.full(frames, angle)
        return table

    def legs_table(self, table: Mapping[str, FloatArray]) -> FloatArray:
        """(T, Q) of the legs' tree from named coordinates."""
        return np.stack([table[n] for n in self.legs.tree.coordinates], axis=-1)

    def body_table(self, table: Mapping[str, FloatArray]) -> FloatArray:
        """(T, Q) of the whole tree."""
        return np.stack([table[n] for n in self.tree.coordinates], axis=-1)

    def feet(self, frames: Frames) -> FloatArray:
        """(T, P, 3) metres of the soles' points, for frames of the legs' tree."""
        return world(self.legs, frames, self.sole.bodies, self.sole.locations)

    def pitch_yaw(self, frames: Frames, side: str) -> tuple[FloatArray, FloatArray]:
        """(T,) pitch (toes up) and (T,) in-toeing of a foot, radians, for frames of the legs' tree."""
        at = self.legs.tree.bodies[f"calcn_{side}"]
        ahead = at.placement.rotation @ self.sole.axes[side][0]
        way = np.einsum("tij,j->ti", frames.rotation[:, at.element], ahead)
        level = np.hypot(way[:, 0], way[:, 2])
        return np.arctan2(way[:, 1], level), -OUTWARD[side] * np.arctan2(way[:, 2], way[:, 0])

    def rest_on_floor(
        self, table: dict[str, FloatArray], carried: FloatArray, *, smooth: float = 0.06
    ) -> None:
        """Sets pelvis_ty so that the lowest of the points ``carried`` (T, P) is on the floor."""
        table["pelvis_ty"] = np.zeros_like(table["pelvis_ty"])
        heights = self.feet(forward(self.legs.tree, self.legs_table(table)))[..., 1]
        low = np.where(carried, heights, np.inf).min(axis=1)
        known = np.isfinite(low)
        index = np.arange(len(low))
        low = np.interp(index, index[known], low[known])
        table["pelvis_ty"] = gaussian_filter1d(-low, smooth * RATE, mode="nearest")

    def planted(
        self, table: dict[str, FloatArray], pins: Pins, *, whole: bool = False, brisk: float = 1.0
    ) -> dict[str, FloatArray]:
        """The table with pelvis and legs bent to the pins."""
        rig = self.body if whole else self.legs
        template = self.body_table(table) if whole else self.legs_table(table)
        q = plant(rig, template, RATE, pins, brisk=brisk)
        return {**table, **{name: q[:, k] for k, name in enumerate(rig.tree.coordinates)}}

    def motion(self, table: Mapping[str, FloatArray], time: FloatArray, out: FloatArray) -> Motion:
        """The table at times ``out``, within every range, as a motion from time 0."""
        names = self.model.coordinate_names
        values = np.stack([table[n] for n in self.tree.coordinates], axis=-1)
        if len(out) != len(time) or not np.array_equal(out, time):
            exact = np.searchsorted(time, out - 1e-9)
            if np.allclose(time[np.minimum(exact, len(time) - 1)], out, atol=1e-9):
                values = values[exact]
            else:
                values = np.asarray(CubicSpline(time, values)(out))
        known = {c.name: c for c in self.model.coordinates}
        low = np.array([known[n].range[0] for n in self.tree.coordinates])
        high = np.array([known[n].range[1] for n in self.tree.coordinates])
        values = self.tree.expand(np.clip(values, low, high), names)
        kinds = tuple(c.kind for c in self.model.coordinates)
        return Motion(out - out[0], names, values, kinds, tuple(self.tree.coupled))


def make_stage(model: Model, sole: Sole | None = None) -> Stage:
    """A stage, with the model's own plain soles where none are given."""
    needed = [
        f"{n}_{s}" for n in ("hip_flexion", "knee_angle", "ankle_angle", "subtalar_angle") for s in SIDES
    ]
    needed += ["pelvis_tilt", "pelvis_tx", "pelvis_ty", "pelvis_tz", "lumbar_extension"]
    missing = [name for name in needed if name not in model.coordinate_names]
    if missing:
        raise CapbenchError(
            f"Expected a model with the coordinates of capbench:fullbody, got none of {', '.join(missing)}."
        )
    return Stage(model, model_sole(model) if sole is None else sole)


def sampled(duration: float, rate: float) -> FloatArray:
    """Times 0, 1/rate, … up to ``duration`` (s)."""
    if not (np.isfinite(rate) and RATES[0] <= rate <= RATES[1]):
        raise CapbenchError(f"Expected a rate between {RATES[0]:g} and {RATES[1]:g} Hz, got {rate:g}.")
    if not (np.isfinite(duration) and 0.2 <= duration <= 600):
        raise CapbenchError(f"Expected a duration between 0.2 and 600 s, got {duration:g}.")
    return np.arange(int(np.floor(duration * rate + 1e-9)) + 1) / rate
