"""Where a person goes in the world: W-MPJPE, WA-MPJPE, root translation error, drift.

Predictions in a world of their own (a moving camera, one view without scale) are moved onto the truth before
they are compared, and the more they are moved, the better they look. So every name says whether the move is
rigid (rotation and translation) or a similarity (a scale too), and what it was fitted to.

Frames in which prediction and truth have no point in common are taken out before anything is cut or aligned,
as the published code does with its mask of invalid frames.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import MM, BoolArray, FloatArray, MetricError, alike, floats, mean_present
from metrics.catalogue import metric
from metrics.procrustes import procrustes

Align = Literal["first two", "all"]
#: frames in a chunk of W-MPJPE and WA-MPJPE as published, at 30 frames a second
CHUNK = 100
#: points lie on a line, and fix no rotation, when the second singular value of their covariance is no more
#: than this share of the first
ON_A_LINE = 1e-10
WHAM = "Shin 2024, CVPR (WHAM); Shen 2024 (GVHMR) eval_utils"


@metric(
    "W-MPJPE@100·similarity",
    unit="mm",
    direction="lower",
    definition=(
        "Mean joint error in chunks of 100 frames, each moved onto the truth by the similarity (with scale) "
        "that fits its first two frames; a shorter last chunk counts as it is."
    ),
    reference=f"{WHAM}; Ye 2023, CVPR (SLAHMR)",
    align="first two",
    scale=True,
    chunk=CHUNK,
)
@metric(
    "W-MPJPE@100·rigid",
    unit="mm",
    direction="lower",
    definition=(
        "Mean joint error in chunks of 100 frames, each moved onto the truth by the rigid move (no scale) "
        "that fits its first two frames; a shorter last chunk counts as it is."
    ),
    reference=f"after {WHAM}",
    align="first two",
    scale=False,
    chunk=CHUNK,
)
@metric(
    "WA-MPJPE@100·similarity",
    unit="mm",
    direction="lower",
    definition=(
        "Mean joint error in chunks of 100 frames, each moved onto the truth by the similarity (with scale) "
        "that fits all of it; a shorter last chunk counts as it is."
    ),
    reference=f"{WHAM}; Ye 2023, CVPR (SLAHMR)",
    align="all",
    scale=True,
    chunk=CHUNK,
)
@metric(
    "WA-MPJPE@100·rigid",
    unit="mm",
    direction="lower",
    definition=(
        "Mean joint error in chunks of 100 frames, each moved onto the truth by the rigid move (no scale) "
        "that fits all of it; a shorter last chunk counts as it is."
    ),
    reference=f"after {WHAM}",
    align="all",
    scale=False,
    chunk=CHUNK,
)
def world_mpjpe(
    predicted: ArrayLike, reference: ArrayLike, *, align: Align, scale: bool = True, chunk: int = CHUNK
) -> float:
    """Mean joint error after aligning chunk by chunk: ``mean_tj ‖s R p[t,j] + d - g[t,j]‖ · 1000``.

    The rotation ``R``, shift ``d`` and, with ``scale``, the scale ``s`` are the least-squares ones (Umeyama
    1991, without mirror) for the joints of the chunk's first two frames ("first two": W-MPJPE) or of the
    whole chunk ("all": WA-MPJPE). Chunks start at the first frame and the last is as short
    as it comes: one of one or two frames is fitted to itself. A chunk is a number of frames, not of seconds:
    100 frames at 100 a second are 1 s, in which little drifts; set ``chunk`` to 3.3 s of frames to compare
    with tables made at 30.

    Parameters
    ----------
    predicted, reference : (T, J, 3) joints in metres, NaN where missing
    align : what each chunk is fitted to
    scale : whether the move may scale
    chunk : frames in a chunk

    Returns
    -------
    mm; NaN where any chunk can't be fitted: fewer than three points for it or, in its first two frames, all
    on one line (they fix no rotation)

    >>> truth = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]] * 4, dtype=float)
    >>> sliding = 2 * truth
    >>> sliding[2:] += [0, 0, 0.1]
    >>> round(world_mpjpe(sliding, truth, align="first two"), 9)
    25.0
    >>> round(world_mpjpe(sliding, truth, align="first two", chunk=2), 9)
    0.0
    """
    p, g = alike(predicted=predicted, reference=reference)
    if p.ndim != 3 or p.shape[-1] != 3:
        raise MetricError(f"Expected joints (frames, joints, 3), got shape {p.shape}.")
    if align not in get_args(Align):
        raise MetricError(f"Expected align 'first two' or 'all', got {align!r}.")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise MetricError(f"Expected chunk as a whole number of frames from 1, got {chunk!r}.")
    seen = ~np.isnan(p + g).any(axis=-1).all(axis=-1)
    if not seen.any():
        return float("nan")
    size = min(chunk, int(seen.sum()))
    p, g = _chunks(p[seen], size), _chunks(g[seen], size)
    head = g.copy()
    if align == "first two":
        head[:, 2:] = np.nan
    points = (len(p), -1, 3)
    move = procrustes(p.reshape(points), head.reshape(points), scale=scale)
    error = np.linalg.norm(move.aligned - g.reshape(points), axis=-1)
    if align == "first two":
        error[~_fixed(p[:, :2].reshape(points), g[:, :2].reshape(points))] = np.nan
    both = ~np.isnan(p + g).any(axis=-1).reshape(len(p), -1)
    return float(error[both].mean()) * MM


def _chunks(points: FloatArray, size: int) -> FloatArray:
    """(frames, joints, 3) as (chunks, size, joints, 3), the last one filled up with missing frames."""
    count = -(-len(points) // size)
    whole = np.full((count * size, *points.shape[1:]), np.nan)
    whole[: len(points)] = points
    return whole.reshape(count, size, *points.shape[1:])


def _fixed(source: FloatArray, target: FloatArray) -> BoolArray:
    """Whether laying points (…, N, 3) on others fixes the rotation, which points on a line don't."""
    gone = np.isnan(source + target).any(axis=-1, keepdims=True)
    x, y = (np.where(gone, np.nan, points) for points in (source, target))
    x, y = (np.nan_to_num(points - mean_present(points, axis=-2)[..., None, :]) for points in (x, y))
    singular = np.linalg.svd(np.swapaxes(y, -1, -2) @ x, compute_uv=False)
    fixed: BoolArray = singular[..., 1] > ON_A_LINE * singular[..., 0]
    return fixed


def _paths(predicted: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray, float]:
    """Both paths (T, 3) where both are there, and the length of the true one in metres."""
    p, g = alike(predicted=floats("predicted", predicted, ndim=2, last=3), reference=reference)
    both = ~np.isnan(p + g).any(axis=1)
    p, g = p[both], g[both]
    return p, g, float(np.linalg.norm(np.diff(g, axis=0), axis=1).sum())


@metric(
    "RTE·rigid",
    unit="%",
    direction="lower",
    definition=(
        "Mean distance of predicted and true root after the rigid move (no scale) that fits the whole root "
        "path, in per cent of the length of the true path."
    ),
    reference=f"{WHAM} compute_rte",
)
def root_translation_error(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Root error after aligning: ``100 · mean_t ‖R p[t] + d - g[t]‖ / Σ_t ‖g[t+1] - g[t]‖``.

    ``R`` and ``d`` fit the whole path (least squares, no scale, no mirror). Where a path is straight, ``R``
    is free to turn about it, which changes no distance. The path's length is summed over the frames that
    both have, straight across gaps; for someone who stays in place it is nearly nothing, and the score
    means nothing.

    Parameters
    ----------
    predicted, reference : (T, 3) root positions in metres, NaN where missing

    Returns
    -------
    %; NaN where the true root doesn't move or fewer than three frames are there

    >>> truth = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=float)
    >>> round(root_translation_error(1.3 * truth, truth), 9)
    10.0
    """
    p, g, length = _paths(predicted, reference)
    if not length > 0:
        return float("nan")
    error = np.linalg.norm(procrustes(p, g, scale=False).aligned - g, axis=1)
    return 100.0 * float(error.mean()) / length


@metric(
    "drift·mm/m",
    unit="mm/m",
    direction="lower",
    definition=(
        "Distance of the predicted and true ends of the root path once both start at the same point, in one "
        "common orientation, per metre of the true path."
    ),
    reference="capbench",
)
def drift(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Drift at the end of the root path: ``1000 ‖(p[T] - p[0]) - (g[T] - g[0])‖ / Σ_t ‖g[t+1] - g[t]‖``.

    Nothing is rotated or scaled: a wrong heading is drift. First and last are the first and last frames
    that both have.

    Parameters
    ----------
    predicted, reference : (T, 3) root positions in metres, NaN where missing

    Returns
    -------
    mm per m; NaN where the true root doesn't move

    >>> truth = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=float)
    >>> drift(1.25 * truth, truth)
    250.0
    """
    p, g, length = _paths(predicted, reference)
    if not length > 0:
        return float("nan")
    return float(np.linalg.norm((p[-1] - p[0]) - (g[-1] - g[0]))) * MM / length
