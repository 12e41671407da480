"""What can be told of a motion without the truth: could a body have done it, and is it all there?

Points are named, in metres, in the ground frame (y up); coordinates in radians or metres. Missing is NaN and
is judged by nothing but the coverage scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from metrics.arrays import (
    MM,
    BoolArray,
    FloatArray,
    IntArray,
    MetricError,
    alike,
    floats,
    mean_present,
    names_of,
    positive,
)
from metrics.catalogue import metric

_ROTATION = 1e-6  # by how much RᵀR may differ from the identity


class OutOfRange(NamedTuple):
    """How often a motion leaves the ranges of its coordinates, in %.

    >>> out_of_range([[0.5], [2.5]], ["knee"], {"knee": (0.0, 2.0)}).per_coordinate
    {'knee': 50.0}
    """

    frames: float  #: frames with at least one coordinate outside, of those with at least one to judge
    per_coordinate: dict[str, float]  #: frames in which this one is outside, of those in which it is there


class Penetration(NamedTuple):
    """How deep and how often points are below the ground.

    >>> ground_penetration([[0.0, -0.25, 0.0], [0.0, 0.5, 0.0]])
    Penetration(mean=250.0, deepest=250.0, share=50.0)
    """

    mean: float  #: mm, mean depth of the samples below the ground; 0 where none is
    deepest: float  #: mm, depth of the deepest
    share: float  #: % of the samples that are below


class Answered(NamedTuple):
    """What part of a cohort has an answer, in %.

    >>> answered([[[0.1, float("nan")]], [[float("nan")] * 2]])
    Answered(trials=50.0, frames=50.0, coordinates=50.0)
    """

    trials: float  #: trials with any answer
    frames: float  #: frames of all trials with any answer
    coordinates: float  #: coordinates with any answer in any frame


@metric(
    "frames out of range",
    unit="%",
    direction="lower",
    definition="Share of frames in which at least one coordinate is outside its range.",
    reference="capbench",
    needs=("angles", "model"),
    merge="sums",
    part="frames",
)
def out_of_range(
    values_tc: ArrayLike,
    names: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
    *,
    tolerance: float = 1e-6,
) -> OutOfRange:
    """% of frames in which value < low − tolerance or value > high + tolerance.

    Parameters
    ----------
    values_tc : coordinates (time, coordinate), rad or m
    names : of the coordinates
    ranges : (low, high) of the coordinates to judge, in their unit; others are not judged
    tolerance : in the same unit. A solver that stops at the range writes its end, give or take a rounding

    >>> out_of_range([[0.5, -1.0], [2.5, 0.0]], ["knee", "hip"], {"knee": (0.0, 2.0)}).frames
    50.0
    """
    values = floats("values", values_tc, ndim=2)
    known = names_of("coordinates", names, values.shape[1])
    judged = values[:, _places(known, tuple(ranges))]
    bounds = floats("ranges", list(ranges.values()) or np.zeros((0, 2)), ndim=2, last=2)
    if not (bounds[:, 0] <= bounds[:, 1]).all():
        raise MetricError(f"Expected ranges (low, high) with low ≤ high, got {dict(ranges)}.")
    if not tolerance >= 0:
        raise MetricError(f"Expected a tolerance of 0 or more, got {tolerance!r}.")
    outside = (judged < bounds[:, 0] - tolerance) | (judged > bounds[:, 1] + tolerance)
    there = ~np.isnan(judged)
    share = _percent(outside, there)
    frames = _percent(np.asarray(outside.any(axis=1)), np.asarray(there.any(axis=1)))
    return OutOfRange(float(frames), dict(zip(ranges, share.tolist(), strict=True)))


@metric(
    "bone-length CV",
    unit="%",
    direction="lower",
    definition="Standard deviation over mean of a bone's length over time, mean over bones.",
    reference="capbench",
    needs=("markers", "time"),
)
def bone_length_cv(xyz_tj: ArrayLike, names: Sequence[str], bones: Sequence[tuple[str, str]]) -> float:
    """Mean over bones of 100 · SD_t(length) / mean_t(length), SD with n − 1; points (time, joint, 3).

    A bone with fewer than two lengths, or of no length, is left out; NaN where all are.

    >>> bone_length_cv([[[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [3, 0, 0]]], ["a", "b"], [("a", "b")])
    70.71067811865476
    """
    length = _lengths(xyz_tj, names, bones)
    mean = np.asarray(mean_present(length, axis=0))
    n = np.count_nonzero(~np.isnan(length), axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is one length only, or none above 0
        sd = np.sqrt(np.nansum((length - mean) ** 2, axis=0) / (n - 1))
        return float(mean_present(np.asarray(100.0 * sd / mean)))


@metric(
    "bone-length asymmetry",
    unit="%",
    direction="lower",
    definition="Difference of the mean lengths of a left bone and its right twin over the mean of the two, "
    "mean over pairs.",
    reference="capbench",
    needs=("markers",),
)
def length_asymmetry(
    xyz_tj: ArrayLike,
    names: Sequence[str],
    bones: Sequence[tuple[tuple[str, str], tuple[str, str]]],
) -> float:
    """Mean over pairs of 100 · 2 |L − R| / (L + R), L and R mean lengths over time; points (time, joint, 3).

    Parameters
    ----------
    xyz_tj : points
    names : of the joints
    bones : ((left from, left to), (right from, right to)) for each pair

    >>> points = [[[0, 0, 0], [3, 0, 0], [5, 0, 0]]]
    >>> length_asymmetry(points, ["hip", "l_knee", "r_knee"], [(("hip", "l_knee"), ("hip", "r_knee"))])
    50.0
    """
    sides = (mean_present(_lengths(xyz_tj, names, [pair[k] for pair in bones]), axis=0) for k in (0, 1))
    left, right = (np.asarray(side) for side in sides)
    with np.errstate(invalid="ignore"):
        asymmetry = 200.0 * np.abs(left - right) / (left + right)
    return float(mean_present(asymmetry))


@metric(
    "ground penetration·mean",
    unit="mm",
    direction="lower",
    definition="Mean depth below the ground of the samples that are below it.",
    reference="capbench, after Yuan 2023, ICCV (PhysDiff)",
    needs=("markers",),
    merge="sums",
    part="mean",
)
@metric(
    "ground penetration·max",
    unit="mm",
    direction="lower",
    definition="Depth below the ground of the deepest sample.",
    reference="capbench",
    needs=("markers",),
    merge="sums",
    part="deepest",
)
@metric(
    "ground penetration·share",
    unit="%",
    direction="lower",
    definition="Share of samples below the ground.",
    reference="capbench",
    needs=("markers",),
    merge="sums",
    part="share",
)
def ground_penetration(xyz: ArrayLike, *, ground: float = 0.0) -> Penetration:
    """Depth ground − y (in mm) of the points (…, 3) whose y is below ``ground`` (m).

    Nothing below the ground is 0, since that was seen; NaN is only for no point at all.

    >>> ground_penetration([[0.0, 0.25, 0.0]], ground=0.5).deepest
    250.0
    """
    points = floats("points", xyz, last=3)
    depth = ground - points[~np.isnan(points).any(axis=-1), 1]
    if depth.size == 0:
        return Penetration(np.nan, np.nan, np.nan)
    below = depth > 0
    deepest = max(0.0, float(depth.max()))
    mean = float(depth[below].mean()) if below.any() else 0.0
    return Penetration(MM * mean, MM * deepest, 100.0 * float(below.mean()))


def twist(rotation_33: ArrayLike, *, axis: Sequence[float]) -> FloatArray:
    """The twist about ``axis`` of each rotation (…, 3, 3), in degrees within ±180.

    R = swing · twist, where the twist turns about the axis and the swing about one at right angles to it:
    2 atan2(v · a, w) of the quaternion (w, v). NaN where R is missing, and where the swing is a half turn,
    which leaves the twist open. For a forearm give the hand's (or radius') rotation relative to the ulna and
    the long axis in the ulna's frame.

    >>> twist([[[0, 0, 1], [0, 1, 0], [-1, 0, 0]]], axis=(0, 1, 0)).round(9)
    array([90.])
    """
    rotation = floats("rotation", rotation_33, last=3)
    if rotation.shape[-2:] != (3, 3):
        raise MetricError(f"Expected rotations (…, 3, 3), got shape {rotation.shape}.")
    along = floats("axis", axis, ndim=1, last=3)
    along = along / positive("length of the axis", float(np.linalg.norm(along)))
    missing = np.asarray(np.isnan(rotation).any(axis=(-2, -1)))
    whole = np.where(missing[..., None, None], np.eye(3), rotation)
    with np.errstate(invalid="ignore"):  # an infinite entry gives NaN, which is refused
        off = np.abs(whole.swapaxes(-2, -1) @ whole - np.eye(3)).max(initial=0.0)
    if not off <= _ROTATION or (np.linalg.det(whole) < 0).any():
        raise MetricError("Expected rotation matrices (orthonormal, determinant +1), got one that is not.")
    quaternion = Rotation.from_matrix(whole.reshape(-1, 3, 3)).as_quat(canonical=True)
    w = quaternion[:, 3]
    part = quaternion[:, :3] @ along
    angle = np.rad2deg(2 * np.arctan2(part, w))  # w ≥ 0, so within ±180
    angle = np.where(np.hypot(part, w) > _ROTATION, angle, np.nan).reshape(missing.shape)
    return np.where(missing, np.nan, angle)


@metric(
    "forearm twist out of range",
    unit="%",
    direction="lower",
    definition="Share of frames in which the twist of the forearm about its long axis (swing–twist) is "
    "outside the range of pronation and supination.",
    reference="capbench, after Zhang 2023, TPAMI (PyMAF-X)",
    needs=("rotations", "model"),
    merge="sums",
)
def twist_out_of_range(
    rotation_t33: ArrayLike, *, axis: Sequence[float], limits: tuple[float, float], tolerance: float = 1e-6
) -> float:
    """% of the rotations whose ``twist`` is outside ``limits`` (low, high; rad) by more than ``tolerance``.

    >>> twist_out_of_range([[[0, 0, 1], [0, 1, 0], [-1, 0, 0]]], axis=(0, 1, 0), limits=(-1.5, 1.5))
    100.0
    """
    angle = np.deg2rad(np.ravel(twist(rotation_t33, axis=axis)))
    return out_of_range(angle[:, None], ["twist"], {"twist": limits}, tolerance=tolerance).frames


@metric(
    "flip consistency·2D",
    unit="px",
    direction="lower",
    definition="Mean distance between the points found in a picture and those found in its mirror image, "
    "mirrored back.",
    reference="capbench",
    needs=("markers",),
    merge="sums",
)
def flip_consistency_2d(
    points_nj2: ArrayLike,
    mirrored_nj2: ArrayLike,
    *,
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    width: float,
) -> float:
    """Mean ‖p − back(m)‖ in px, where back takes x to width − 1 − x and swaps the names of each pair.

    Parameters
    ----------
    points_nj2, mirrored_nj2 : points (…, j, 2) found in the picture and in its mirror image, px; (0, 0) is
        the centre of the top-left pixel
    names : of the j points
    pairs : (left, right) names that trade places in a mirror
    width : of the picture, px

    >>> flip_consistency_2d([[[2.0, 5.0]]], [[[7.0, 5.0]]], names=["nose"], pairs=[], width=10)
    0.0
    """
    points, back = _mirrored_back(points_nj2, mirrored_nj2, 2, names, pairs)
    back[..., 0] += positive("width", width) - 1
    return _mean_distance(points, back)


@metric(
    "flip consistency·3D",
    unit="mm",
    direction="lower",
    definition="Mean distance between the root-relative points found in a picture and those found in its "
    "mirror image, mirrored back.",
    reference="capbench",
    needs=("markers",),
    merge="sums",
)
def flip_consistency_3d(
    points_nj3: ArrayLike, mirrored_nj3: ArrayLike, *, names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> float:
    """Mean ‖p − back(m)‖ in mm, where back takes x to −x and swaps the names of each pair.

    The points are in the frame of the camera (x along the picture's rows), m, relative to the root; the rest
    as in ``flip_consistency_2d``.

    >>> flip_consistency_3d([[[0.5, 1.0, 3.0]]], [[[-0.5, 1.0, 3.25]]], names=["nose"], pairs=[])
    250.0
    """
    return MM * _mean_distance(*_mirrored_back(points_nj3, mirrored_nj3, 3, names, pairs))


@metric(
    "coverage·trials",
    unit="%",
    direction="higher",
    definition="Share of trials with any answer.",
    reference="capbench",
    needs=("angles",),
    merge="sums",
    part="trials",
)
@metric(
    "coverage·frames",
    unit="%",
    direction="higher",
    definition="Share of the frames of all trials with any answer.",
    reference="capbench",
    needs=("angles",),
    merge="sums",
    part="frames",
)
@metric(
    "coverage·coordinates",
    unit="%",
    direction="higher",
    definition="Share of the coordinates with any answer in the cohort.",
    reference="capbench",
    needs=("angles",),
    merge="sums",
    part="coordinates",
)
def answered(trials: Sequence[ArrayLike]) -> Answered:
    """% of trials, frames and coordinates that have an answer anywhere.

    ``trials`` holds the values (time, coordinate) of each trial at the frames where an answer was due, NaN
    where none came: a trial that failed is all NaN, never absent.

    >>> answered([[[0.1, 0.2], [float("nan"), 0.3]]]).frames
    100.0
    """
    there = [~np.isnan(floats("trial", trial, ndim=2)) for trial in trials]
    if len({trial.shape[1] for trial in there}) > 1:
        raise MetricError("Expected the same coordinates in all trials, got different numbers of them.")
    if not there:
        return Answered(np.nan, np.nan, np.nan)
    every = np.concatenate(there)
    parts = (np.array([trial.any() for trial in there]), every.any(axis=1), every.any(axis=0))
    return Answered(*(float(mean_present(100.0 * np.asarray(part))) for part in parts))


def _percent(outside: BoolArray, there: BoolArray) -> FloatArray:
    """Mean down the first axis of 100 · ``outside``, of what is ``there``."""
    return np.asarray(mean_present(np.where(there, 100.0 * outside, np.nan), axis=0))


def _places(names: tuple[str, ...], wanted: Sequence[str]) -> list[int]:
    if unknown := [name for name in wanted if name not in names]:
        raise MetricError(f"Expected names among {', '.join(names)}, got {', '.join(unknown)}.")
    return [names.index(name) for name in wanted]


def _lengths(xyz_tj: ArrayLike, names: Sequence[str], bones: Sequence[tuple[str, str]]) -> FloatArray:
    """Length of each bone in each frame (time, bone)."""
    points = floats("points", xyz_tj, ndim=3, last=3)
    known = names_of("joints", names, points.shape[1])
    start, end = (_places(known, [bone[k] for bone in bones]) for k in (0, 1))
    return np.asarray(np.linalg.norm(points[:, start] - points[:, end], axis=-1))


def _mirror_order(names: tuple[str, ...], pairs: Sequence[tuple[str, str]]) -> IntArray:
    """Where each of the named points is found in a mirror: its twin's place, or its own."""
    paired = [name for pair in pairs for name in pair]
    if len(set(paired)) != len(paired) or len(paired) != 2 * len(pairs):
        raise MetricError(f"Expected pairs of different points, got {list(pairs)}.")
    place = np.arange(len(names))
    for left, right in pairs:
        here, there = _places(names, (left, right))
        place[[here, there]] = there, here
    return place


def _mirrored_back(
    points_njd: ArrayLike,
    mirrored_njd: ArrayLike,
    d: int,
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]],
) -> tuple[FloatArray, FloatArray]:
    """The points, and the mirrored ones with the twins' places changed and x turned round."""
    points, mirrored = alike(points=points_njd, mirrored=mirrored_njd)
    if points.ndim < 2 or points.shape[-1] != d:
        raise MetricError(f"Expected points (…, j, {d}), got shape {points.shape}.")
    back = mirrored[..., _mirror_order(names_of("points", names, points.shape[-2]), pairs), :]
    back[..., 0] *= -1
    return points, back


def _mean_distance(a_njd: FloatArray, b_njd: FloatArray) -> float:
    return float(mean_present(np.asarray(np.linalg.norm(a_njd - b_njd, axis=-1))))
