"""Where the points are in space: robust triangulation from any number of views, with its uncertainty.

Each point of each frame is the place that minimises the views' reprojection errors, in pixels of the real
(distorted) pictures, weighed by their confidence: a start from the rays in closed form, then Gauss-Newton.
Views that contradict the others are left out (three views and more: the largest set that agrees; two: the
point is missing, nobody can say which is right). A missing point is NaN, never (0, 0, 0).

Noise. Without covariances a view's standard deviation is ``s / confidence`` pixels, ``s`` being estimated for
each point name from the residuals of the whole trial. A model's own covariances are taken, and inflated where
the residuals prove them too small. A point's covariance is the inverse of the Gauss-Newton matrix times
``(NU + χ²) / (NU + degrees of freedom)``, so that frames in which the views agree badly say so. It knows of
what differs between views, not of what all get wrong alike.

Letters: c camera, t time, m marker; N = T * M points in one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincinv

from capbench.vision.faults import TooFewViews
from capbench.vision.views import BoolArray, Views, views_of
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers
from cohorts.values import FloatArray, IntArray

GATE = 4.5  #: standard deviations beyond which a view is an outlier: one in 25 000 of honest ones
SUSPECT = 3.5  #: standard deviations of any view that make a point's set of views be looked at again
HUBER = 2.5  #: standard deviations from which on a view pulls with constant force
NU = 6.0  #: how many residuals' worth the trial's scale counts against a point's own residuals
LARGEST_SD = 0.25  #: metres; a point known no better (rays nearly parallel) is missing
CAP = 0.05  #: share of the picture's height: a larger error is an outlier whatever the others are like
#: noise expected beforehand, as a share of the picture's height (2 px of 1280); it counts for so many points
PRIOR, PRIOR_POINTS = 1 / 640, 4.0
_BEHIND = 1e18  # pixels squared
_LEAST_SCALE = 0.02  # pixels; below, rounding is all there is
_PASSES, SETTLED = 3, 0.8  # the scale is taken again without the outliers as long as it falls by more
_ROUNDS = 8  # of Gauss-Newton, at most
_CHUNK = 8192  # points at a time: their arrays stay in the processor's cache


@dataclass(frozen=True)
class Triangulated:
    """Points in space.

    Attributes
    ----------
    markers : in the cameras' world; confidence is the second best of the views used (it takes two)
    covariance : (T, M, 3, 3) metres²; NaN where missing
    residual : (T, C, M) pixels from each view's point to where the marker falls in it, used or not; NaN
        where either is missing
    used : (T, C, M) whether the view had a say
    views : (T, M) how many had
    scale : (M,) standard deviation of a view of confidence 1, pixels (with covariances: by what factor their
        standard deviations were inflated)
    cameras : C names
    """

    markers: Markers
    covariance: FloatArray
    residual: FloatArray
    used: BoolArray
    views: IntArray
    scale: FloatArray
    cameras: tuple[str, ...]


class _Ray(NamedTuple):
    """One view of N points: camera, flat coordinates, and B, which makes their errors pixels or sigmas."""

    camera: Camera
    flat: FloatArray  # (2, N)
    b: FloatArray  # (2, 2, N)


def triangulate(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    *,
    threshold_px: float | None = None,
    largest_sd: float = LARGEST_SD,
    cap: float = CAP,
) -> Triangulated:
    """Triangulate tracks on one clock.

    Parameters
    ----------
    tracks : camera -> points, all at the same times
    cameras : camera -> calibration
    threshold_px : pixels from which on a view is an outlier; default: ``GATE`` standard deviations, at least
        0.1 % and at most ``cap`` of the picture's height
    largest_sd : metres; points known no better are missing
    cap : share of the picture's height
    """
    if len(tracks) < 2:
        raise TooFewViews(f"Expected two cameras or more to triangulate, got {len(tracks)}.")
    if threshold_px is not None and not threshold_px > 0:
        raise CapbenchError(f"Expected a positive threshold in pixels, got {threshold_px:g}.")
    return triangulate_views(
        views_of(tracks, cameras), threshold_px=threshold_px, largest_sd=largest_sd, cap=cap
    )


def triangulate_views(
    views: Views,
    *,
    threshold_px: float | None = None,
    largest_sd: float = LARGEST_SD,
    cap: float = CAP,
) -> Triangulated:
    """:func:`triangulate` for views that were stacked before."""
    count, frames, points = views.seen.shape
    seen = views.seen.reshape(count, -1)
    weight = np.where(seen, views.confidence.reshape(count, -1), 0.0)
    unit = [_ray(views, c) for c in range(count)]
    start = _start(unit, weight)
    rough, _ = _refine(unit, start, weight, rounds=3, huber=np.inf)
    scale = _scales(unit, rough, weight, views)
    for _ in range(_PASSES):
        sigma = np.tile(scale, frames)  # (N,) pixels of a view of confidence 1
        used = _agreeing(unit, rough, weight, sigma, _gates(views, scale, threshold_px, cap))
        found, h = _refine(unit, rough, np.where(used, weight / sigma, 0.0), rounds=_ROUNDS, huber=HUBER)
        before, scale = scale, _scales(unit, found, np.where(used, weight, 0.0), views)
        if (scale > SETTLED * before).all():
            break  # outliers had no large part in it
    used &= _ahead(unit, found)
    last = np.tile(scale, frames)
    covariance = _covariance(unit, found, h * (sigma / last) ** 2, np.where(used, weight / last, 0.0), used)
    good = (used.sum(axis=0) >= 2) & np.isfinite(found).all(axis=0)
    with np.errstate(invalid="ignore"):
        good &= _largest(covariance) <= largest_sd**2
    found = np.where(good, found, np.nan)
    used &= good
    covariance[~good] = np.nan
    best = np.sort(np.where(used, weight, 0.0), axis=0)
    xyz = found.T.reshape(frames, points, 3)
    return Triangulated(
        Markers(
            views.time,
            views.skeleton.points,
            xyz,
            np.where(good, best[-2], 0.0).reshape(frames, points),
        ),
        covariance.reshape(frames, points, 3, 3),
        residuals(views, xyz),
        used.reshape(count, frames, points).transpose(1, 0, 2),
        used.sum(axis=0).reshape(frames, points),
        scale,
        tuple(camera.name for camera in views.cameras),
    )


def residuals(views: Views, xyz: FloatArray) -> FloatArray:
    """(T, C, M) pixels between each view's points and where (T, M, 3) points in space fall in it."""
    apart = [
        np.linalg.norm(c.project(xyz) - xy, axis=-1) for c, xy in zip(views.cameras, views.xy, strict=True)
    ]
    return np.stack(apart, axis=1)


# --- the views of N points ----------------------------------------------------------------------


def _ray(views: Views, c: int) -> _Ray:
    """View c, with errors in pixels of the distorted picture, whitened by the model's covariance if given."""
    camera = views.cameras[c]
    flat = views.flat[c].reshape(-1, 2)
    b = _stretch(camera, flat)
    if views.covariance is not None:
        b = _whiten(views.covariance[c].reshape(-1, 2, 2), b)
    seen = views.seen[c].ravel()
    return _Ray(camera, np.where(seen, flat.T, 0.0), np.where(seen & np.isfinite(b).all(axis=(0, 1)), b, 0.0))


def _stretch(camera: Camera, flat: FloatArray) -> FloatArray:
    """(2, 2, N) how pixels move with flat coordinates there: d pixel / d flat, by central differences."""
    k = camera.matrix
    plain = np.array([[k[0, 0], k[0, 1]], [0.0, k[1, 1]]])
    if not len(camera.distortion):
        return np.repeat(plain[:, :, None], len(flat), axis=2)
    step = 1e-5
    b = np.empty((2, 2, len(flat)))
    for axis in range(2):
        shifted = []
        for sign in (1, -1):
            moved = flat.copy()
            moved[:, axis] += sign * step
            ahead = np.concatenate([moved, np.ones((len(flat), 1))], axis=1)
            shifted.append(camera.project((ahead - camera.translation) @ camera.rotation))
        b[:, axis] = ((shifted[0] - shifted[1]) / (2 * step)).T
    edge = ~np.isfinite(b).all(axis=(0, 1))  # a difference that steps over the lens model's reach
    b[:, :, edge] = plain[:, :, None]
    return b


def _whiten(covariance: FloatArray, b: FloatArray) -> FloatArray:
    """L⁻¹ b, with covariance = L Lᵀ; 2 x 2 in closed form."""
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    with np.errstate(all="ignore"):
        l00 = np.sqrt(xx)
        l10 = xy / l00
        l11 = np.sqrt(yy - l10**2)
        first = b[0] / l00
        return np.stack([first, (b[1] - l10 * first) / l11])


def _start(rays: list[_Ray], weight: FloatArray) -> FloatArray:
    """(3, N) the points nearest to all rays, by weight: Σ w (1 - d dᵀ) X = Σ w (1 - d dᵀ) centre."""
    h, g = np.zeros((6, weight.shape[1])), np.zeros((3, weight.shape[1]))
    for ray, w in zip(rays, weight, strict=True):
        x, y = ray.flat
        d = ray.camera.rotation.T @ np.stack([x, y, np.ones_like(x)])
        d /= np.sqrt((d**2).sum(axis=0))
        centre = ray.camera.centre
        along = centre @ d
        for i in range(3):
            g[i] += w * (centre[i] - d[i] * along)
        for n, (i, j) in enumerate(_UPPER):
            h[n] += w * ((i == j) - d[i] * d[j])
    return _solve(h, g)


_UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _solve(h: FloatArray, g: FloatArray) -> FloatArray:
    """(3, N) h⁻¹ g for symmetric h (6, N), upper triangle by rows; NaN where h is singular."""
    inverse, det = _adjugate(h)
    a, b, c, d, e, f = inverse
    x, y, z = g
    with np.errstate(all="ignore"):
        return np.stack([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z]) / det


def _adjugate(h: FloatArray) -> tuple[FloatArray, FloatArray]:
    a, b, c, d, e, f = h
    inverse = np.stack(
        [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    )
    det = a * inverse[0] + b * inverse[1] + c * inverse[2]
    # relative to a sphere of the same trace: 1e-12 is a direction a million times worse known than the others
    return inverse, np.where(det > 1e-12 * ((a + d + f) / 3) ** 3, det, np.nan)


def _error(ray: _Ray, xyz: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Error (2 x (N,)) of a view, flat u and v, and 1 / depth: 0 for what is not in front of the camera."""
    x, y, z = ray.camera.rotation @ xyz + ray.camera.translation[:, None]
    with np.errstate(all="ignore"):
        near = np.where(z > 0, 1 / z, 0.0)
    u, v = x * near, y * near
    du, dv = u - ray.flat[0], v - ray.flat[1]
    return ray.b[0, 0] * du + ray.b[0, 1] * dv, ray.b[1, 0] * du + ray.b[1, 1] * dv, u, v, near


def _size2(ray: _Ray, xyz: FloatArray, counts: BoolArray) -> FloatArray:
    """(N,) squared error of a view, very large where the point is behind it, 0 where it does not count."""
    first, second, _, _, near = _error(ray, xyz)
    return np.where(counts, np.where(near > 0, first**2 + second**2, _BEHIND), 0.0)


def _sizes2(rays: list[_Ray], xyz: FloatArray, counts: BoolArray) -> FloatArray:
    """(C, N) :func:`_size2` of all views."""
    return np.stack([_size2(ray, xyz, here) for ray, here in zip(rays, counts, strict=True)])


def _ahead(rays: list[_Ray], xyz: FloatArray) -> BoolArray:
    """(C, N) whether the point lies before the camera."""
    with np.errstate(invalid="ignore"):
        return np.stack([ray.camera.rotation[2] @ xyz + ray.camera.translation[2] > 0 for ray in rays])


def _refine(
    rays: list[_Ray], start: FloatArray, weight: FloatArray, *, rounds: int, huber: float
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Newton from ``start`` (3, N): points and last matrix (6, N). ``weight`` (C, N) is 1 / sigma."""
    found, matrix = np.empty_like(start), np.empty((6, start.shape[1]))
    for first in range(0, start.shape[1], _CHUNK):
        part = slice(first, first + _CHUNK)
        few = [_Ray(ray.camera, ray.flat[:, part], ray.b[:, :, part]) for ray in rays]
        found[:, part], matrix[:, part] = _refine_chunk(few, start[:, part], weight[:, part], rounds, huber)
    return found, matrix


def _refine_chunk(
    rays: list[_Ray], xyz: FloatArray, weight: FloatArray, rounds: int, huber: float
) -> tuple[FloatArray, FloatArray]:
    xyz = np.where(np.isfinite(xyz), xyz, 0.0)
    reach = np.full(xyz.shape[1], np.inf)  # a step may not be longer than a third of the way to a camera
    for ray, w in zip(rays, weight, strict=True):
        away = np.sqrt(((xyz - ray.camera.centre[:, None]) ** 2).sum(axis=0))
        reach = np.where(w > 0, np.fmin(reach, away / 3), reach)
    for turn in range(rounds + 1):
        h, g = _normal(rays, xyz, weight, huber)
        if turn == rounds:
            break
        step = np.nan_to_num(_solve(h, g))
        length = np.sqrt((step**2).sum(axis=0))
        with np.errstate(all="ignore"):
            step *= np.where(length > reach, reach / length, 1.0)
        xyz = xyz - step
        if not (length > 1e-10 * reach).any():
            h, g = _normal(rays, xyz, weight, huber)
            break
    return np.where(np.isfinite(_solve(h, g)), xyz, np.nan), h


def _normal(
    rays: list[_Ray], xyz: FloatArray, weight: FloatArray, huber: float
) -> tuple[FloatArray, FloatArray]:
    """(6, N) JᵀWJ and (3, N) JᵀWr over the views."""
    h, g = np.zeros((6, xyz.shape[1])), np.zeros((3, xyz.shape[1]))
    for ray, w in zip(rays, weight, strict=True):
        first, second, u, v, near = _error(ray, xyz)
        strength = w * w
        if np.isfinite(huber):
            size = w * np.sqrt(first**2 + second**2)
            with np.errstate(all="ignore"):
                strength = strength * np.where(size > huber, huber / size, 1.0)
        strength = np.where(near > 0, strength, 0.0)
        turn = ray.camera.rotation
        for b, r in ((ray.b[0], first), (ray.b[1], second)):
            p, q = b[0] * near, b[1] * near
            s = -(p * u + q * v)
            j = [turn[0, i] * p + turn[1, i] * q + turn[2, i] * s for i in range(3)]
            weighted = [strength * each for each in j]
            for i in range(3):
                g[i] += weighted[i] * r
            for n, (i, k) in enumerate(_UPPER):
                h[n] += weighted[i] * j[k]
    return h, g


# --- how noisy, who agrees, how well known ------------------------------------------------------


def _scales(rays: list[_Ray], xyz: FloatArray, weight: FloatArray, views: Views) -> FloatArray:
    """(M,) standard deviation of a view of confidence 1: from medians, so that outliers hardly count.

    A name with few points leans on all of them, and a trial with few on what is usual.
    """
    _, frames, points = views.seen.shape
    count = (weight > 0).sum(axis=0)
    squared = np.zeros(weight.shape[1])
    for ray, w in zip(rays, weight, strict=True):
        squared += w * w * _size2(ray, xyz, w > 0)
    freedom = np.maximum(2 * count - 3, 1)
    variance = np.where(
        (count >= 2) & np.isfinite(squared), squared / (2 * gammaincinv(freedom / 2, 0.5)), np.nan
    )
    table = variance.reshape(frames, points)
    height = float(np.median([camera.size[1] for camera in views.cameras]))
    usual = 1.0 if views.covariance is not None else PRIOR * height
    every = _shrunk(table.ravel()[:, None], usual**2, PRIOR_POINTS)[0]
    least = 1.0 if views.covariance is not None else _LEAST_SCALE
    return np.maximum(np.sqrt(_shrunk(table, every, 5 * PRIOR_POINTS)), least)


def _shrunk(variance: FloatArray, towards: float, points: float) -> FloatArray:
    """Medians over rows, drawn to ``towards`` as strongly as that many points would."""
    counts = np.isfinite(variance).sum(axis=0)
    filled = np.where(np.isfinite(variance), variance, np.inf)
    filled = np.concatenate([filled, np.full((1, variance.shape[1]), np.inf)])  # there may be none
    middle = np.sort(filled, axis=0)[np.maximum(counts - 1, 0) // 2, np.arange(variance.shape[1])]
    drawn = counts * np.where(counts > 0, middle, 0.0) + points * towards
    return np.asarray(drawn / (counts + points), np.float64)


def _gates(views: Views, scale: FloatArray, threshold_px: float | None, cap: float) -> FloatArray:
    """(C, N) squared error of an outlier, in the units of the rays' errors times confidence = 1."""
    frames = len(views.time)
    gates = []
    for c, camera in enumerate(views.cameras):
        confidence = np.maximum(views.confidence[c], 1e-3)
        unit = 1.0
        if views.covariance is not None:  # errors are in sigmas there
            unit = np.sqrt(np.nan_to_num(np.trace(views.covariance[c], axis1=-2, axis2=-1) / 2, nan=1.0))
        if threshold_px is not None:
            limit = np.broadcast_to(threshold_px / unit, (frames, len(scale)))
        else:
            low, high = 0.001 * camera.size[1] / unit, cap * camera.size[1] / unit
            limit = np.clip(GATE * scale / confidence, low, high)
        gates.append(limit.ravel() ** 2)
    return np.stack(gates)


def _agreeing(
    rays: list[_Ray], xyz: FloatArray, weight: FloatArray, sigma: FloatArray, gates: FloatArray
) -> BoolArray:
    """(C, N) the views to use: all where they agree, else the set that the best pair gathers round it."""
    seen = weight > 0
    apart = _sizes2(rays, xyz, seen)
    odd = (~(apart <= gates * (SUSPECT / GATE) ** 2)).any(axis=0)
    odd &= seen.sum(axis=0) >= 2
    used: BoolArray = seen & (seen.sum(axis=0) >= 2)
    which = np.flatnonzero(odd)
    if len(which):
        few = [_Ray(ray.camera, ray.flat[:, which], ray.b[:, :, which]) for ray in rays]
        used[:, which] = _consensus(few, seen[:, which], weight[:, which] / sigma[which], gates[:, which])
    return used


def _consensus(rays: list[_Ray], seen: BoolArray, weight: FloatArray, gates: FloatArray) -> BoolArray:
    """(C, n) for points whose views disagree: which of them agree, at least two, or none."""
    best = np.full(seen.shape[1], np.inf)
    place = np.full((3, seen.shape[1]), np.nan)
    for a, b in combinations(range(len(rays)), 2):
        pair = np.zeros_like(weight)
        pair[[a, b]] = np.where(seen[a] & seen[b], weight[[a, b]], 0.0)
        point, _ = _refine(
            [rays[a], rays[b]], _start([rays[a], rays[b]], pair[[a, b]]), pair[[a, b]], rounds=2, huber=np.inf
        )
        cost = np.zeros(seen.shape[1])
        for ray, here, w, gate in zip(rays, seen, weight, gates, strict=True):
            cost += np.minimum(_size2(ray, point, here), gate) * w * w
        cost = np.where(seen[a] & seen[b] & np.isfinite(point).all(axis=0), cost, np.inf)
        better = cost < best
        best, place = np.where(better, cost, best), np.where(better, point, place)
    inside = seen & (_sizes2(rays, place, seen) <= gates)
    # once more from all that agree: the pair's own point leans on its two views only
    place, _ = _refine(rays, place, np.where(inside, weight, 0.0), rounds=3, huber=HUBER)
    inside = seen & (_sizes2(rays, place, seen) <= gates)
    agreeing: BoolArray = inside & (inside.sum(axis=0) >= 2)
    return agreeing


def _covariance(
    rays: list[_Ray], xyz: FloatArray, h: FloatArray, weight: FloatArray, used: BoolArray
) -> FloatArray:
    """(N, 3, 3) metres²; infinite where the rays leave a direction open."""
    squared = np.zeros(xyz.shape[1])
    for ray, w in zip(rays, weight, strict=True):
        squared += np.minimum(w * w * _size2(ray, xyz, w > 0), HUBER * GATE)
    freedom = np.maximum(2 * used.sum(axis=0) - 3, 0)
    inflated = (NU + squared) / (NU + freedom)
    inverse, det = _adjugate(h)
    with np.errstate(all="ignore"):
        entries = np.nan_to_num(inverse / det, nan=np.inf) * inflated
    a, b, c, d, e, f = entries
    return np.stack([np.stack([a, b, c], -1), np.stack([b, d, e], -1), np.stack([c, e, f], -1)], axis=-2)


def _largest(covariance: FloatArray) -> FloatArray:
    """(N,) the largest variance in any direction, metres²; infinite where unknown."""
    known = np.isfinite(covariance).all(axis=(-1, -2))
    largest = np.full(len(covariance), np.inf)
    largest[known] = np.linalg.eigvalsh(covariance[known])[:, -1]
    return largest
