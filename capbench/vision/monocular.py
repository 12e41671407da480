"""Markers from one camera, by models that give points in space.

Such a model says where points are in the camera's axes (x right, y down, z ahead), in metres, either as they
stand before the camera or relative to a root, with the place and often the size left open. This brings them
to the ground frame.

- Turn: the calibrated camera's rotation.
- Size (root-relative models without a scale): the person's height, against what the points' own segments make
  of it: shank, thigh and trunk together are 0.779 of a person's height (Drillis & Contini 1966).
- Place: where the points' 2D projections ask for it (least squares per frame, in closed form and then on the
  pixels). Without 2D points only the height over the floor can be told: the lowest foot point stands on it,
  and the root stays at x = z = 0: joint angles are unharmed, paths through the room are not known.

How far such markers can be trusted along the line of sight nobody has measured here; confidences are the
model's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from capbench.vision.faults import DifferentPoints
from capbench.vision.markers import ground_rotation
from capbench.vision.views import BoolArray, to_flat
from cohorts.camera import Camera
from cohorts.card import Axis
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray, check_shape

#: share of a person's height: ankle to knee 0.246, knee to hip 0.245, hip to shoulder 0.288
SEGMENTS: Mapping[tuple[str, str], float] = {
    ("ankle", "knee"): 0.246,
    ("knee", "hip"): 0.245,
    ("hip", "shoulder"): 0.288,
}
_JOINTS: Mapping[str, tuple[str, ...]] = {
    "ankle": ("ankle", "malleolus"),
    "knee": ("knee", "femur_lateral_epicondyle", "femur_medial_epicondyle"),
    "hip": ("hip",),
    "shoulder": ("shoulder", "acromion"),
}
_SOLES = ("toe", "heel", "calcaneus", "metatarsal")
ANKLE = 0.08  #: metres of an ankle over the floor in a standing person
_ROUNDS = 10


def markers_from_camera(
    points: FloatArray,
    time: FloatArray,
    skeleton: Skeleton,
    camera: Camera,
    *,
    confidence: FloatArray | None = None,
    root_relative: bool = False,
    height: float | None = None,
    keypoints: Keypoints | None = None,
    up: Axis = "+y",
    floor: float = 0.0,
) -> Markers:
    """Markers in the ground frame from (T, K, 3) points in a camera's axes, metres; NaN where missing.

    Parameters
    ----------
    points, time, skeleton, confidence : what the model says, T frames of K points
    camera : calibrated
    root_relative : whether place (and, with ``height`` given, size) is open
    height : of the person, metres; scales root-relative points
    keypoints : the same points in the picture, for placing root-relative ones; at the same times
    up, floor : as in :func:`capbench.vision.markers.to_ground`
    """
    points = np.asarray(points, float)
    check_shape("points", points, (len(time), len(skeleton), 3))
    points = np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan)
    if root_relative and height is not None:
        points = points * scale_to(points, skeleton, height)
    turn = ground_rotation(up)
    lift = np.array([0.0, floor if up.startswith("-") else -floor, 0.0])
    if not root_relative or keypoints is not None:
        if root_relative:
            assert keypoints is not None
            points = points + placed(points, keypoints, camera)[:, None]
        world = (points - camera.translation) @ camera.rotation
        xyz = world @ turn.T + lift
    else:
        xyz = _on_the_floor(points @ camera.rotation @ turn.T, skeleton)
    if confidence is None:
        return Markers(time, skeleton.points, xyz)
    check_shape("confidence", confidence, xyz.shape[:2])
    trust = np.where(np.isfinite(xyz[..., 0]), np.nan_to_num(confidence), 0.0)
    return Markers(time, skeleton.points, xyz, trust)


def scale_to(points: FloatArray, skeleton: Skeleton, height: float) -> float:
    """The factor that makes (T, K, 3) points those of a person of ``height`` metres."""
    if not 0.3 < height < 2.8:
        raise CapbenchError(f"Expected a person's height in metres, got {height:g}.", fix="give it in metres")
    length, share = 0.0, 0.0
    for (lower, upper), part in SEGMENTS.items():
        found = _segment(points, skeleton, lower, upper)
        if found is not None:
            length += found
            share += part
    if length <= 0:
        raise DifferentPoints(
            f"Expected ankles, knees, hips or shoulders to tell the size from, got {skeleton.name} without.",
            fix="use a model that gives metres",
        )
    return float(height * share / length)


def _segment(points: FloatArray, skeleton: Skeleton, lower: str, upper: str) -> float | None:
    """Median length over frames, mean of the sides, between joints (means of the points that mark them)."""
    lengths = []
    for side in ("left", "right"):
        ends = [_joint(points, skeleton, _JOINTS[joint], side) for joint in (lower, upper)]
        if ends[0] is not None and ends[1] is not None:
            apart = np.linalg.norm(ends[1] - ends[0], axis=-1)
            if np.isfinite(apart).any():
                lengths.append(float(np.median(apart[np.isfinite(apart)])))
    return float(np.mean(lengths)) if lengths else None


def _joint(points: FloatArray, skeleton: Skeleton, words: tuple[str, ...], side: str) -> FloatArray | None:
    marks = zip(skeleton.landmarks, skeleton.sides, strict=True)
    places = [k for k, (mark, own) in enumerate(marks) if own == side and any(w in mark for w in words)]
    return np.asarray(points[:, places].mean(axis=1), np.float64) if places else None


def placed(points: FloatArray, keypoints: Keypoints, camera: Camera) -> FloatArray:
    """(T, 3) metres by which to move each frame's points, in the camera's axes, onto its keypoints.

    Start: x + X = u (z + Z) and y + Y = v (z + Z) are linear in the move. Then Gauss-Newton on the error of
    u and v, weighed by confidence. NaN where fewer than three points show it.
    """
    check_shape("keypoints", keypoints.xy, (*points.shape[:2], 2))
    flat = to_flat(camera, camera.undistort(keypoints.xy))
    seen = np.isfinite(flat[..., 0]) & np.isfinite(points[..., 0])
    weight = np.where(seen, keypoints.confidence, 0.0) ** 2
    u, v = np.where(seen, flat[..., 0], 0.0), np.where(seen, flat[..., 1], 0.0)
    x, y, z = np.moveaxis(np.where(seen[..., None], points, 0.0), -1, 0)
    zero, one = np.zeros_like(u), np.ones_like(u)
    rows = np.stack([np.stack([one, zero, -u], -1), np.stack([zero, one, -v], -1)], axis=2)
    right = np.stack([u * z - x, v * z - y], axis=-1)
    enough = (weight > 0).sum(axis=1) >= 3
    move = _least_squares(rows, right, weight, enough)
    for _ in range(_ROUNDS):
        px, py, pz = x + move[:, :1], y + move[:, 1:2], z + move[:, 2:]
        near = np.where(pz > 0.05, 1 / np.maximum(pz, 0.05), 0.0)
        du, dv = u - px * near, v - py * near
        rows = np.stack(
            [np.stack([near, zero, -px * near**2], -1), np.stack([zero, near, -py * near**2], -1)], axis=2
        )
        step = _least_squares(rows, np.stack([du, dv], axis=-1), weight * (near > 0), enough)
        move = move + np.clip(step, -1.0, 1.0)
        if np.nanmax(np.abs(step), initial=0.0) < 1e-9:
            break
    return np.where(enough[:, None] & (move[:, 2:] + z.mean(axis=1, keepdims=True) > 0), move, np.nan)


def _least_squares(rows: FloatArray, right: FloatArray, weight: FloatArray, enough: BoolArray) -> FloatArray:
    """(T, 3) minimisers of Σ w |row · m - right|², rows (T, K, 2, 3); NaN where there is not enough."""
    h = np.einsum("tk,tkri,tkrj->tij", weight, rows, rows)
    g = np.einsum("tk,tkri,tkr->ti", weight, rows, right)
    found = np.full(g.shape, np.nan)
    good = enough & (
        np.linalg.det(np.nan_to_num(h)) > 1e-12 * np.maximum(np.trace(h, axis1=1, axis2=2), 1e-12) ** 3
    )
    found[good] = np.linalg.solve(h[good], g[good][..., None])[..., 0]
    return found


def _on_the_floor(xyz: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Points lifted so that each frame's lowest foot point stands as high over y = 0 as it does in a foot.

    Where toes or heels are known they are the sole; ankles stand 8 cm over it.
    """
    marks = list(enumerate(skeleton.landmarks))
    heights = [xyz[:, k, 1] for k, mark in marks if any(word in mark for word in _SOLES)]
    heights = heights or [
        xyz[:, k, 1] - ANKLE for k, mark in marks if any(w in mark for w in _JOINTS["ankle"])
    ]
    if not heights:
        raise DifferentPoints(
            f"Expected feet to stand on the floor, got {skeleton.name} without.",
            fix="give the keypoints of the picture too",
        )
    table = np.stack(heights)
    lowest = np.where(np.isfinite(table), table, np.inf).min(axis=0)
    lowest = np.where(np.isfinite(lowest), lowest, np.nan)
    lift = np.stack([np.zeros_like(lowest), lowest, np.zeros_like(lowest)], axis=-1)
    return np.asarray(xyz - lift[:, None], np.float64)
