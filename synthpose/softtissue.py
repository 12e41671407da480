"""Movement of skin over bone, as an explicit nuisance: what rigid landmarks leave out, added where wanted.

A marker is shifted in its body's frame by a vector that grows with the angles of the joints next to that body
and never exceeds the landmark's magnitude: ``d = A · v · tanh(|v|) / |v|`` with ``v = Σ_k u_k (θ_k - θ_k0)``
over the rotations θ (radians) of the joints that begin or end at the body, each with a direction u of its
own, drawn once for a seed and a landmark. So skin returns with the joint, as it does in life, and no mean
over a stride removes it. A slow part of ``DRIFT`` of the magnitude, of three sines, is what else moves skin.

Magnitudes are near the largest displacements that studies with bone pins, fluoroscopy and palpation report:
Cappozzo et al. 1996 (Clin Biomech 11:90) and Leardini et al. 2005 (Gait Posture 21:212, review) for thigh and
shank, Tranberg & Karlsson 1998 (Gait Posture 8:71) for the foot, Hara et al. 2014 (Gait Posture 39:1177) for
the pelvis, Matsui et al. 2006 (J Shoulder Elbow Surg 15:180) for the acromion; trunk and forearm are our
estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from capbench.biomech.kinematics import body_frames, coordinates_of, forward
from capbench.biomech.model import GROUND, Model
from capbench.biomech.tree import Tree, build_tree
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Markers, Motion
from cohorts.skeleton import skeleton
from cohorts.values import FloatArray

#: metres at most, by the landmark's name without its side; what is not named here does not move
MAGNITUDES: Mapping[str, float] = {
    "asis": 0.012, "psis": 0.008, "hip": 0.010,
    "femur_lateral_epicondyle": 0.020, "femur_medial_epicondyle": 0.015, "knee": 0.012,
    "lateral_malleolus": 0.008, "medial_malleolus": 0.008, "ankle": 0.006,
    "calcaneus": 0.004, "fifth_metatarsal_head": 0.004, "second_metatarsal_head": 0.004, "big_toe": 0.002,
    "mocap_thigh": 0.020, "mocap_shank": 0.010,
    "sternum": 0.004, "c7": 0.006, "t6": 0.006, "t11": 0.006, "l2": 0.008,
    "acromion": 0.020, "shoulder": 0.015,
    "humerus_lateral_epicondyle": 0.010, "humerus_medial_epicondyle": 0.010, "elbow": 0.008,
    "radial_styloid": 0.006, "ulnar_styloid": 0.006, "wrist": 0.004,
}  # fmt: skip
DRIFT = 0.15  #: share of the magnitude that moves by itself
DRIFT_HERTZ = (0.15, 1.2)


@dataclass(frozen=True)
class SoftTissue:
    """Markers on moving skin, and by how much each is off its rigid place: (T, M, 3) metres in ground."""

    markers: Markers
    displacement_tm3: FloatArray


def soft_tissue(
    markers: Markers,
    model: Model,
    motion: Motion,
    *,
    seed: int,
    strength: float = 1.0,
    points: str = "synthpose-52",
    rest: Motion | None = None,
) -> SoftTissue:
    """Markers as they would be on skin.

    Parameters
    ----------
    markers : true tracks of ``model``'s markers during ``motion``, frame by frame
    seed : of the subject; the same seed moves the same skin the same way in every trial
    strength : multiplies all magnitudes; 0 to 3
    points : the skeleton whose points the markers are, which tells their landmarks
    rest : one frame in which skin lies as it was marked (default: the model's neutral pose)

    No marker is moved by more than ``strength`` times its magnitude times 1 + ``DRIFT``.
    """
    if not 0 <= strength <= 3:
        raise CapbenchError(f"Expected a strength from 0 to 3, got {strength:g}.")
    if len(markers.time) != len(motion.time):
        raise CapbenchError(f"Expected {len(motion.time)} frames of markers, got {len(markers.time)}.")
    tree = build_tree(model)
    q = coordinates_of(tree, motion)
    start = tree.defaults if rest is None else coordinates_of(tree, rest)[0]
    frames = forward(tree, q)
    own = {m.name: m.body for m in model.markers}
    known = dict(zip(skeleton(points).points, skeleton(points).landmarks, strict=True))
    shift = np.zeros_like(markers.xyz)
    for column, name in enumerate(markers.names):
        if name not in own:
            raise unknown_name("model marker", name, own)
        size = strength * magnitude(known.get(name, name))
        if size > 0:
            local = _local(q - start, _neighbours(model, tree, own[name]), motion.time, seed, name)
            turn = body_frames(tree, frames, own[name])[0]
            shift[:, column] = size * np.einsum("tij,tj->ti", turn, local)
    return SoftTissue(Markers(markers.time, markers.names, markers.xyz + shift), shift)


def magnitude(landmark: str) -> float:
    """Metres a landmark's skin moves at most; 0 where nothing is known.

    >>> magnitude("left_asis"), magnitude("right_mocap_thigh_2"), magnitude("nose")
    (0.012, 0.02, 0.0)
    """
    base = landmark.partition("@")[0].removeprefix("left_").removeprefix("right_")
    if base.startswith("mocap_"):
        base = base.rpartition("_")[0]
    return MAGNITUDES.get(base, 0.0)


def _neighbours(model: Model, tree: Tree, body: str) -> list[int]:
    """Numbers of the free rotations of the joints that begin or end at a body, the one to ground left out."""
    names = [
        c.name
        for joint in model.joints
        if body in (joint.parent, joint.child) and joint.parent != GROUND
        for c in joint.coordinates
        if c.kind == "rotation" and c.name in tree.coordinates
    ]
    return [tree.index(name) for name in names]


def _local(change: FloatArray, columns: list[int], time: FloatArray, seed: int, name: str) -> FloatArray:
    """(T, 3) share of the magnitude, in the body's frame: at most 1 by the joints, ``DRIFT`` by itself."""
    random = np.random.default_rng(np.random.SeedSequence([seed, crc32(name.encode())]))
    direction = random.normal(size=(len(columns), 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    pulled = change[:, columns] @ direction
    length = np.linalg.norm(pulled, axis=1, keepdims=True)
    driven = pulled * np.where(length > 1e-9, np.tanh(length) / np.maximum(length, 1e-9), 1.0)
    hertz = random.uniform(*DRIFT_HERTZ, size=3)
    phase = random.uniform(0, 2 * np.pi, size=3)
    way = random.normal(size=(3, 3))
    way /= 3 * np.linalg.norm(way, axis=1, keepdims=True)
    slow: FloatArray = np.sin(2 * np.pi * np.outer(time, hertz) + phase) @ way
    made: FloatArray = driven + DRIFT * slow
    return made
