"""Left and right, swapped by the detector in some views: found by what the other views and the neighbouring
frames say, and put right.

For each frame, view and group of paired points (head, arms, hips, legs) there are two readings: as named, or
with sides swapped. Over all views of a frame, a reading costs

- the robust epipolar error between each pair of views, in units of the trial's own noise: swapped and plain
  views of one leg don't meet, unless all that sets the legs apart lies along the epipolar lines, as in a
  person who stands between two cameras of one height;
- what the place where they meet says of the body: with its front (nose, toes, front of the pelvis) and its
  upright known, both from points that a swap does not move, left must be left of right, by a tenth of the
  person's height or so. A swap in one of two views exchanges "left of" and "in front of";
- ``PRICE`` for each swapped view, so that nothing is swapped without evidence. The whole body is read first,
  its groups having a vote each; then each group, for which it costs ``ALONE`` to differ from the body, since
  a group's own evidence may be thin;
- along time, how far the points of a view are from where they were heading, against the same with sides
  exchanged.

The cheapest sequence of readings is found exactly (Viterbi; transitions separate by view, so it takes
``views * 2^views`` steps a frame).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from capbench.vision.views import BoolArray, Views, epipolar, fundamental, views_of
from cohorts.camera import Camera
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray, IntArray

#: log-likelihood per frame that a view must win to be swapped, and that a group must to differ from its body;
#: points of hips and head lie so close together that steady errors of 5 pixels look like swaps; detectors
#: swap them with the rest
PRICE, ALONE, ALONE_CLOSE, CLOSE = 4.0, 4.0, 10.0, ("head", "hips")
#: points of one group that count as independent witnesses: a network that misplaces a leg misplaces all of
#: its points, and with a dozen of them a few centimetres of common error look like certainty
WITNESSES = 3
VOTE = 12.0  #: most that one group can say about the whole body in a frame
JUMP = 20.0  #: most that a jump of one group in one view can cost
CEILING = 8.0  #: most that one pair of views of one point can cost: 4 standard deviations
#: body heights by which left lies to the left of right, and how much it may fall short of that: shoulders and
#: hips are 0.15 to 0.2 apart, feet and wrists come together and cross a little; farther apart costs nothing
APART, APART_SD = 0.1, 0.06
#: the same of shoulders and hips, which can't cross
STIFF_SD, _STIFF = 0.02, ("shoulder", "acromion", "hip", "asis", "psis")
COMMON = 0.015  #: share of a person's height in the picture
MOST_VIEWS = 10  #: 2^10 readings a frame; more views outvote a swap by themselves
_GROUPS = {
    "head": ("eye", "ear"),
    "arms": (
        "shoulder",
        "acromion",
        "elbow",
        "humerus",
        "wrist",
        "radial",
        "ulnar",
        "hand",
        "sternum",
        "forearm",
    ),
    "hips": ("hip", "asis", "psis", "pelvis"),
}  # by words in the landmark's name; all others are legs
#: pairs (front, back) by landmark, sides averaged: what the body's front is told by
_FRONT = (("nose", "ear"), ("asis", "psis"), ("toe", "calcaneus"), ("toe", "heel"),
          ("second_metatarsal_head", "calcaneus"), ("sternum", "c7"), ("nose", "shoulder"))  # fmt: skip
_HIGH = ("nose", "ear", "eye", "shoulder", "acromion", "c7", "sternum")
_LOW = ("ankle", "malleolus", "calcaneus", "heel", "toe", "knee", "femur")


class Swaps(NamedTuple):
    """Tracks with sides put right, and where that was.

    Attributes
    ----------
    tracks : camera -> points
    swapped : camera -> (T, K) points that changed places with their partners
    mirrored : whether the body's front and sides still contradict each other; None where it can't be told
    """

    tracks: dict[str, Keypoints]
    swapped: dict[str, BoolArray]
    mirrored: bool | None


def repair_swaps(tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera]) -> Swaps:
    """Find and undo swaps of left and right; tracks on one clock."""
    nothing = Swaps(dict(tracks), {n: np.zeros(t.confidence.shape, bool) for n, t in tracks.items()}, None)
    if not 2 <= len(tracks) <= MOST_VIEWS:
        return nothing
    views = views_of(tracks, cameras)
    groups = groups_of(views.skeleton)
    if not groups or not len(views.time):
        return nothing
    flip = np.array(views.skeleton.flip_indices)
    evidence = _Evidence.of(views, flip)
    costs = {name: _costs(evidence, points) for name, points in groups.items()}
    votes = sum(np.minimum(cost, VOTE) for cost, _ in costs.values())
    jumps = sum(np.minimum(step, VOTE) for _, step in costs.values())
    body = _readings((np.asarray(votes), np.asarray(jumps)), None, PRICE)  # (T, C)
    readings = {
        name: _readings(each, body, ALONE_CLOSE if name in CLOSE else ALONE) for name, each in costs.items()
    }
    swapped = np.zeros(views.seen.shape, bool)
    for name, points in groups.items():
        swapped[:, :, points] = readings[name].T[:, :, None]
    repaired = {n: exchanged(t, swapped[c]) for c, (n, t) in enumerate(tracks.items())}
    handed = _handedness(views_of(repaired, cameras), groups)
    mirrored = None if handed is None else handed < 0
    return Swaps(repaired, {n: swapped[c] for c, n in enumerate(tracks)}, mirrored)


def groups_of(skeleton: Skeleton) -> dict[str, IntArray]:
    """Which paired points swap together: group -> their places, both sides."""
    found: dict[str, list[int]] = {}
    paired = {name for pair in skeleton.flip_pairs for name in pair}
    for k, (point, landmark) in enumerate(zip(skeleton.points, skeleton.landmarks, strict=True)):
        if point in paired:
            name = landmark.partition("@")[0].lower()
            group = next((g for g, words in _GROUPS.items() if any(w in name for w in words)), "legs")
            found.setdefault(group, []).append(k)
    return {group: np.array(places) for group, places in found.items()}


def exchanged(track: Keypoints, swapped: BoolArray) -> Keypoints:
    """The track with points where ``swapped`` (T, K) taken from their partners on the other side."""
    flip = np.array(track.skeleton.flip_indices)
    if not swapped.any():
        return track
    covariance = track.covariance
    if covariance is not None:
        covariance = np.where(swapped[..., None, None], covariance[:, flip], covariance)
    return replace(
        track,
        xy=np.where(swapped[..., None], track.xy[:, flip], track.xy),
        confidence=np.where(swapped, track.confidence[:, flip], track.confidence),
        covariance=covariance,
    )


# --- what speaks for which reading --------------------------------------------------------------


class _Evidence(NamedTuple):
    """Costs (minus log-likelihoods) by pair of views and by view.

    pairs : pair of views -> (2, 2, T, K), by the reading of either
    jump : (C, 2, T - 1, K) staying with the reading of the frame before, or changing it
    """

    views: int
    pairs: dict[tuple[int, int], FloatArray]
    jump: FloatArray

    @classmethod
    def of(cls, views: Views, flip: IntArray) -> _Evidence:
        count = len(views.cameras)
        pixels = np.where(views.seen[..., None], views.undistorted, np.nan)
        body = _body(views, flip)
        left = np.array([side == "left" for side in views.skeleton.sides])
        stiff = np.array([any(word in mark for word in _STIFF) for mark in views.skeleton.landmarks])
        sd = np.where(stiff, STIFF_SD, APART_SD)
        pairs = {}
        for a, b in combinations(range(count), 2):
            f = fundamental(views.cameras[a], views.cameras[b])
            plain = epipolar(f, pixels[a], pixels[b])
            other = epipolar(f, pixels[a], pixels[b][:, flip])
            noise = max(_noise(np.fmin(np.abs(plain), np.abs(other)), pixels.shape[2]), _common(pixels))
            known = np.isfinite(plain) & np.isfinite(other)  # only what speaks for either can be weighed
            known &= known[:, flip]
            alike, apart = _loss(plain / noise), _loss(other / noise)
            costs = np.stack([np.stack([alike, apart]), np.stack([apart, alike])])
            if body is not None:
                met, ghost = (_across(views, a, b, body, order) for order in (np.arange(len(flip)), flip))
                sides = np.array([[met, ghost], [-ghost, -met]])  # of left less right, by readings
                costs += np.nan_to_num(_loss(np.maximum(APART - sides, 0.0) / sd)) * left
            pairs[a, b] = np.where(known, costs, 0.0)
        return cls(count, pairs, _jumps(pixels, flip))


def _loss(error: FloatArray) -> FloatArray:
    return np.fmin(error**2 / 2, CEILING)


def _noise(error: FloatArray, points: int) -> float:
    """Standard deviation of the epipolar errors, pixels; at least half a pixel, as detectors have."""
    known = error[np.isfinite(error)]
    if len(known) < points:
        return 3.0
    return max(1.4826 * float(np.median(known)), 0.5)


def _common(pixels: FloatArray) -> float:
    """Pixels by which a network misplaces all points of a limb together: ``COMMON`` of the person's height.

    Left and right in two views that mirror each other are misplaced alike, so such errors look like swaps.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames without a point
        height = np.nanmax(pixels[..., 1], axis=-1) - np.nanmin(pixels[..., 1], axis=-1)
        middle = float(np.nanmedian(height))
    return COMMON * middle if np.isfinite(middle) else 0.0


def _jumps(points: FloatArray, flip: IntArray) -> FloatArray:
    """(C, 2, T - 1, K) cost of a point's distance from where it headed, and from where its partner did."""
    before = points[:, :-1]
    heading = before.copy()
    heading[:, 1:] += before[:, 1:] - before[:, :-1]
    heading = np.where(np.isfinite(heading), heading, before)
    stays = np.linalg.norm(points[:, 1:] - heading, axis=-1)
    changes = np.linalg.norm(points[:, 1:] - heading[:, :, flip], axis=-1)
    known = np.isfinite(stays) & np.isfinite(changes)
    known &= known[:, :, flip]
    costs = np.zeros((len(points), 2, *stays.shape[1:]))
    for c in range(len(points)):
        usual = np.fmin(stays[c], changes[c])[known[c]]
        scale = max(2 * float(np.median(usual)), 1.0) if len(usual) else 1.0
        for n, step in enumerate((stays[c], changes[c])):
            costs[c, n] = np.where(known[c], _loss(step / scale), 0.0)
    return costs


def _costs(evidence: _Evidence, points: IntArray) -> tuple[FloatArray, FloatArray]:
    """What the readings of these points cost: (T, S) of each state, a bit for each view, over the best one;
    and (C, 2, T - 1) of keeping or changing a view's bit."""
    bits = _bits(evidence.views)
    worth = min(1.0, WITNESSES / len(points))
    total = next(iter(evidence.pairs.values())).shape[2]
    cost = np.zeros((total, len(bits)))
    for (a, b), costs in evidence.pairs.items():
        by_reading = worth * costs[..., points].sum(axis=-1)  # (2, 2, T)
        cost += by_reading[bits[:, a], bits[:, b]].T / max(evidence.views - 1, 1)
    step = worth * evidence.jump[:, :, :, points].sum(axis=3)
    step = np.minimum(step - step.min(axis=1, keepdims=True), JUMP)
    return cost - cost.min(axis=1, keepdims=True), step


def _bits(views: int) -> IntArray:
    """(2^C, C) the states: which views are swapped."""
    return (np.arange(1 << views)[:, None] >> np.arange(views)) & 1


def _readings(costs: tuple[FloatArray, FloatArray], usual: BoolArray | None, price: float) -> BoolArray:
    """(T, C) whether the points are swapped in each view: the cheapest sequence of readings.

    ``usual`` (T, C): what it costs ``price`` a frame and view to differ from; None: from no swap.
    """
    cost, step = costs
    bits = _bits(len(step))
    expected = np.zeros((1, 1, len(step)), bool) if usual is None else usual[:, None]
    return bits[_cheapest(cost + price * (bits != expected).sum(axis=-1), step)].astype(bool)


def _cheapest(cost: FloatArray, step: FloatArray) -> IntArray:
    """(T,) states of least total cost: ``cost`` (T, S) of a state, ``step`` (C, 2, T - 1) of keeping or
    changing each view's bit. Views change one after the other, so each takes one pass over the states."""
    total, size = cost.shape
    views = len(step)
    states = np.arange(size)
    changed = np.zeros((max(total - 1, 0), views, size), bool)
    value = cost[0].copy()
    for t in range(1, total):
        for c in range(views):
            keep, change = value + step[c, 0, t - 1], value[states ^ (1 << c)] + step[c, 1, t - 1]
            changed[t - 1, c] = change < keep
            value = np.minimum(keep, change)
        value = value + cost[t]
    best = np.empty(total, np.int64)
    best[-1] = int(np.argmin(value))
    for t in range(total - 1, 0, -1):
        state = best[t]
        for c in reversed(range(views)):
            if changed[t - 1, c, state]:
                state ^= 1 << c
        best[t - 1] = state
    return best


# --- the body's own left and right --------------------------------------------------------------


def _across(views: Views, a: int, b: int, body: _Body, order: IntArray) -> FloatArray:
    """(T, K) how far each point lies to the left of its partner across the body, in body heights, as views a
    and b have it; ``order`` says which point of b is taken for which of a."""
    flip = np.array(views.skeleton.flip_indices)
    xyz = _meeting(views.cameras[a], views.flat[a], views.cameras[b], views.flat[b][:, order])
    return np.asarray(((xyz - xyz[:, flip]) * body.left[:, None]).sum(axis=-1) / body.height, np.float64)


def _meeting(one: Camera, flat_a: FloatArray, two: Camera, flat_b: FloatArray) -> FloatArray:
    """(T, K, 3) the point midway between two rays where they are nearest; NaN where they are parallel."""
    rays = []
    for camera, flat in ((one, flat_a), (two, flat_b)):
        ray = np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1) @ camera.rotation
        rays.append(ray / np.linalg.norm(ray, axis=-1, keepdims=True))
    base = one.centre - two.centre
    along, first, second = (rays[0] * rays[1]).sum(axis=-1), rays[0] @ base, rays[1] @ base
    off = 1 - along**2
    with np.errstate(all="ignore"):
        s = np.where(off > 1e-6, (along * second - first) / off, np.nan)
        t = np.where(off > 1e-6, (second - along * first) / off, np.nan)
    places = one.centre + s[..., None] * rays[0] + two.centre + t[..., None] * rays[1]
    return np.asarray(places / 2, np.float64)


class _Body(NamedTuple):
    """Where the body's left is (T, 3), a unit vector or NaN, and its height in metres, upright."""

    left: FloatArray
    height: float


def _body(views: Views, flip: IntArray) -> _Body | None:
    """The body's own axes, from the points midway between left and right, which a swap does not move."""
    middle = (views.flat + views.flat[:, :, flip]) / 2
    xyz = _midpoints(views, np.where(np.isfinite(middle), middle, np.nan))
    high, low = _mean_of(views.skeleton, xyz, _HIGH), _mean_of(views.skeleton, xyz, _LOW)
    if high is None or low is None:
        return None
    up = high - low
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    parts = []
    for front, back in _FRONT:
        ahead, behind = _mean_of(views.skeleton, xyz, (front,)), _mean_of(views.skeleton, xyz, (back,))
        if ahead is not None and behind is not None:
            parts.append(np.nan_to_num(ahead - behind))
    if not parts or not np.isfinite(length).any():
        return None
    left = np.cross(up, np.sum(parts, axis=0))
    size = np.linalg.norm(left, axis=-1, keepdims=True)
    height = float(np.nanpercentile(length, 90)) * 1.2
    with np.errstate(all="ignore"):
        sure = size / length > 0.02 * height
        return _Body(np.where(sure, left / size, np.nan), height)


def _handedness(views: Views, groups: Mapping[str, IntArray]) -> float | None:
    """-1..1: how surely, over all frames and groups, left is on the body's left; None where unknown."""
    flip = np.array(views.skeleton.flip_indices)
    body = _body(views, flip)
    if body is None:
        return None
    xyz = _midpoints(views, views.flat)
    sides = np.array(views.skeleton.sides)
    votes = []
    for points in groups.values():
        left = points[sides[points] == "left"]
        apart = ((xyz[:, left] - xyz[:, flip[left]]) * body.left[:, None]).sum(axis=-1)
        votes += [float(np.sign(apart[np.isfinite(apart)]).mean())] if np.isfinite(apart).any() else []
    return float(np.mean(votes)) if votes else None


def _midpoints(views: Views, flat: FloatArray) -> FloatArray:
    """(T, K, 3) the points nearest to all rays."""
    h = np.zeros((*flat.shape[1:3], 3, 3))
    g = np.zeros((*flat.shape[1:3], 3))
    for camera, each in zip(views.cameras, flat, strict=True):
        seen = np.isfinite(each[..., 0])
        d = np.concatenate([np.nan_to_num(each), np.ones((*each.shape[:2], 1))], axis=-1) @ camera.rotation
        d /= np.linalg.norm(d, axis=-1, keepdims=True)
        across = (np.eye(3) - d[..., :, None] * d[..., None, :]) * seen[..., None, None]
        h += across
        g += across @ camera.centre
    good = np.isfinite(flat[..., 0]).sum(axis=0) >= 2
    good &= np.linalg.det(h) > 1e-4
    xyz = np.full((*flat.shape[1:3], 3), np.nan)
    xyz[good] = np.linalg.solve(h[good], g[good][..., None])[..., 0]
    return xyz


def _mean_of(skeleton: Skeleton, xyz: FloatArray, words: tuple[str, ...]) -> FloatArray | None:
    """(T, 3) mean of the points whose landmarks hold one of the words; of both sides or of the middle."""
    places = [k for k, mark in enumerate(skeleton.landmarks) if any(w in mark.lower() for w in words)]
    if not places:
        return None
    chosen = xyz[:, places]
    counts = np.isfinite(chosen[..., :1]).sum(axis=1)
    with np.errstate(all="ignore"):
        return np.asarray(np.nansum(chosen, axis=1) / np.where(counts > 0, counts, np.nan), np.float64)
