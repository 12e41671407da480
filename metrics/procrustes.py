"""Laying one set of points on another: the best rotation, shift and scale for every frame at once.

Points are (…, point, 3) in metres; the leading axes are frames. A point with a NaN in it is missing.
Held to work at 100,000 frames in well under a second: the rotation comes from a closed form instead of a
singular value decomposition for each frame, which only the nearly degenerate frames get.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, BoolArray, FloatArray, MetricError, alike, floats

#: fewer common points can always be laid on one another, so their alignment says nothing
LEAST_POINTS = 3
#: points in one piece of work, so that its arrays stay in the processor's cache
PIECE = 25_000


class Procrustes(NamedTuple):
    """The best map of a prediction onto its reference: aligned = scale · rotation · point + translation.

    Attributes
    ----------
    aligned : (…, point, 3), in m
    scale : (…,)
    rotation : (…, 3, 3), determinant +1
    translation : (…, 3), in m
    """

    aligned: FloatArray
    scale: FloatArray
    rotation: FloatArray
    translation: FloatArray


def point_pair(predicted: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as float arrays of one shape (…, point, 3), missing as NaN; see ``refuse_infinite``.

    >>> point_pair([[0, 0, 0]], [[0, 0, 1]])[1].shape
    (1, 3)
    """
    p, r = alike(predicted=predicted, reference=reference)
    floats("predicted", p, last=3)
    if p.ndim < 2:
        raise MetricError(f"Expected points shaped (…, point, 3), got shape {p.shape}.")
    return p, r


def refuse_infinite(p: FloatArray, r: FloatArray) -> None:
    """Refuse an infinite coordinate of prediction or reference; to look for when a result is not finite.

    >>> refuse_infinite(np.zeros((1, 3)), np.array([[0, np.nan, 1]]))
    """
    for name, points in (("predicted", p), ("reference", r)):
        if np.isinf(points).any():
            raise MetricError(f"Expected {name} finite, or NaN where missing, got an infinite coordinate.")


def procrustes(predicted: ArrayLike, reference: ArrayLike, *, scale: bool = True) -> Procrustes:
    """The rotation R, shift t and (where ``scale``) factor s that minimise Σ‖s·R·x + t − y‖² in each frame.

    Closed form for all frames at once. Fitted over the points that both sides have, applied to all predicted
    ones. The rotation is proper: a mirror image isn't turned into its original.

    Degenerate frames: with fewer than three common points all is NaN (two always fit). Where the points lie
    on a line, or a mirror tie leaves several rotations equally good, one of them is given. A prediction that
    has collapsed to one point is laid on the reference's centroid, with scale 0.

    >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> fit = procrustes(square, 2 * square + [1, 3, 5])
    >>> float(fit.scale.round(9)), fit.translation.round(9).tolist()
    (2.0, [1.0, 3.0, 5.0])
    """
    p, r = point_pair(predicted, reference)
    refuse_infinite(p, r)
    lead = p.shape[:-2]
    frames = int(np.prod(lead))
    scales, rotations, shifts = np.empty(frames), np.empty((frames, 3, 3)), np.empty((frames, 3))
    for piece, x, y in _pieces(p, r):
        fit = _fit(x, y, scale)
        scales[piece], rotations[piece] = fit.scale, fit.rotation.transpose(2, 0, 1)
        shifts[piece] = (fit.to - fit.scale * np.einsum("abn,bn->an", fit.rotation, fit.origin)).T
    factor, rotation, translation = (
        scales.reshape(lead),
        rotations.reshape(*lead, 3, 3),
        shifts.reshape(*lead, 3),
    )
    aligned = factor[..., None, None] * (p @ np.swapaxes(rotation, -1, -2)) + translation[..., None, :]
    return Procrustes(aligned, factor, rotation, translation)


def aligned_errors(predicted: FloatArray, reference: FloatArray, *, scale: bool) -> FloatArray:
    """How far each point, aligned as by ``procrustes``, is from its true place, in mm: (…, point).

    Both sides as ``point_pair`` hands them back.

    >>> x, y = point_pair([[0, 0, 0], [2, 0, 0], [0, 2, 0]], [[0, 0, 1], [0, 1, 1], [-1, 0, 1]])
    >>> aligned_errors(x, y, scale=True).round(9)
    array([0., 0., 0.])
    """
    errors = np.empty((int(np.prod(predicted.shape[:-2])), predicted.shape[-2]))
    for piece, x, y in _pieces(predicted, reference):
        fit = _fit(x, y, scale)
        length = np.zeros(fit.gone.shape)
        for row, y_axis in zip(fit.rotation * fit.scale, fit.y, strict=True):
            off = np.einsum("bn,bjn->jn", row, fit.x)
            off -= y_axis
            off *= off
            length += off
        np.sqrt(length, out=length)
        length[fit.gone] = np.nan
        np.multiply(length.T, MM, out=errors[piece])
    return errors.reshape(predicted.shape[:-1])


class _Fit(NamedTuple):
    """A piece's alignment: frames on the last axis; points about their centroids, missing ones 0."""

    x: FloatArray  # (3, point, frame), the prediction
    y: FloatArray  # (3, point, frame), the reference
    gone: BoolArray  # (point, frame)
    origin: FloatArray  # (3, frame), the prediction's centroid
    to: FloatArray  # (3, frame), the reference's centroid
    scale: FloatArray  # (frame,)
    rotation: FloatArray  # (3, 3, frame)


def _pieces(p: FloatArray, r: FloatArray) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Copies (3, point, frame) of a piece of the frames: with frames on the last axis numpy is fast."""
    frames, points = int(np.prod(p.shape[:-2])), p.shape[-2]
    p, r = p.reshape(frames, points, 3), r.reshape(frames, points, 3)
    step = max(PIECE // max(points, 1), 16)
    for start in range(0, frames, step):
        piece = slice(start, start + step)
        yield (
            piece,
            np.array(p[piece].transpose(2, 1, 0), order="C"),
            np.array(r[piece].transpose(2, 1, 0), order="C"),
        )


def _fit(x: FloatArray, y: FloatArray, scale: bool) -> _Fit:
    """Least squares of the prediction x on the reference y; takes both over."""
    origin, to = x.sum(axis=1), y.sum(axis=1)
    gone = np.zeros(x.shape[1:], dtype=np.bool_)
    if not np.isfinite(origin + to).all():
        refuse_infinite(x, y)
        gone = np.isnan((x + y).sum(axis=0))
        x[:, gone], y[:, gone] = 0.0, 0.0
        origin, to = x.sum(axis=1), y.sum(axis=1)
    count = len(gone) - gone.sum(axis=0)
    origin /= np.maximum(count, 1)
    to /= np.maximum(count, 1)
    x -= origin[:, None]
    y -= to[:, None]
    x[:, gone], y[:, gone] = 0.0, 0.0
    rotation, fitted = _rotations(np.einsum("ajn,bjn->abn", y, x))
    spread = np.einsum("ajn,ajn->n", x, x)
    factor = np.ones_like(spread)
    if scale:
        factor = np.divide(fitted, spread, out=np.zeros_like(spread), where=spread > 0)
    too_few = count < LEAST_POINTS
    factor[too_few], rotation[..., too_few] = np.nan, np.nan
    return _Fit(x, y, gone, origin, to, factor, rotation)


def _rotations(k: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The proper rotations R that maximise λ = Σ R·K for K (3, 3, frame), and λ.

    With signed singular values s of K (the last negative where det K is), λ = s₁+s₂+s₃ is the largest root
    of (λ² − a)² = 4b + 8dλ; a = ‖K‖², b = ‖cof K‖², d = det K. Write K = R·H, H symmetric. Cayley–Hamilton
    for H, in K·Kᵀ·K = R·H³ and cof K = R·cof H, leaves

        R = (λ·cof K + ½(λ²+a)·K − K·Kᵀ·K) / (½λ(λ²−a) − d),

    whose denominator is (s₁+s₂)(s₂+s₃)(s₃+s₁). Where that is small, singular values are surer.
    """
    size = np.sqrt(np.einsum("abn,abn->n", k, k))
    unit = k / np.where(size > 0, size, 1.0)  # so that a = 1
    ring = np.concatenate([unit, unit[:, :2]], axis=1)
    cof = np.empty_like(unit)
    for a in range(3):
        b, c = ring[a - 2], ring[a - 1]
        cof[a] = b[1:4] * c[2:5] - b[2:5] * c[1:4]
    det = np.einsum("bn,bn->n", unit[0], cof[0])
    root = _largest_root(det, np.einsum("abn,abn->n", cof, cof))
    below = 0.5 * root * (root * root - 1) - det
    weak = ~(below > 0.01 * root * root * root)
    turn = root * cof + 0.5 * (root * root + 1) * unit
    turn -= np.einsum("abn,bcn->acn", np.einsum("acn,bcn->abn", unit, unit), unit)
    turn /= np.where(weak, 1.0, below)
    root *= size
    if weak.any():
        turn[..., weak], root[weak] = _rotations_svd(k[..., weak])
    return turn, root


def _largest_root(d: FloatArray, b: FloatArray) -> FloatArray:
    """The largest λ of (λ² − 1)² = 4b + 8dλ, by Newton's method from above.

    As λ² = 1 + 2√(b + 2dλ) at the root and λ ≤ √3, the start is never below it. A slope near 0 stops a frame:
    it has (nearly) a double root, so its rotation isn't taken from here.
    """
    root: FloatArray = np.sqrt(1 + 2 * np.sqrt(b + np.maximum(d, 0) * np.sqrt(12.0)))
    for _ in range(20):
        excess = root * root - 1
        slope = 4 * root * excess - 8 * d
        step = np.divide(
            excess * excess - 8 * d * root - 4 * b, slope, out=np.zeros_like(root), where=slope > 1e-3
        )
        root -= step
        if not (np.abs(step) > 1e-9).any():
            break
    return root


def _rotations_svd(k: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What ``_rotations`` gives, for any K."""
    u, s, vt = np.linalg.svd(k.transpose(2, 0, 1))
    sign = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1.0, 1.0)
    u[:, :, 2] *= sign[:, None]
    s[:, 2] *= sign
    return (u @ vt).transpose(1, 2, 0), s.sum(axis=1)
