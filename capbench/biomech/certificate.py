"""The proof that comes with each frame: how good the optimum is, and how far noise could have moved it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from capbench.biomech import kernel_numba, kernel_proof
from capbench.biomech.problem import Problem
from cohorts.recording import Signals
from cohorts.values import FloatArray, IntArray

if TYPE_CHECKING:
    from capbench.biomech.solve import Chain

BoolArray = NDArray[np.bool_]
#: curvature (m² per radian²) below which markers don't determine a combination of coordinates: a wobble of
#: one radian would change their root mean square distance by less than 0.01 mm
SINGULAR = 1e-10


@dataclass(frozen=True)
class Certificate:
    """Per frame, and per free coordinate where it says so.

    Attributes
    ----------
    coordinates : names of the Q free coordinates
    cost : (T,) OpenSim's objective, m² (+ coordinate tasks)
    gradient : (T,) largest component of the gradient projected on the bounds; NaN in empty frames
    iterations : (T,) Newton steps of the chain that was kept
    converged : (T,) whether the gradient is below the tolerance
    markers : (T,) how many markers were seen
    rms : (T,) metres, root mean square distance of the seen markers, unweighted
    observed : (T, Q) whether a seen marker depends on the coordinate; else it was held
    bounded : (T, Q) whether the coordinate lies on its bound and is pushed against it
    sigma : (T, Q) standard deviation, radians or metres, of noise in the markers carried to the
        coordinate: NaN where it is held, 0 where it is bounded, infinite where the seen markers leave it
        undetermined together with others (a straight elbow hides the arm's turn)
    """

    coordinates: tuple[str, ...]
    cost: FloatArray
    gradient: FloatArray
    iterations: IntArray
    converged: BoolArray
    markers: IntArray
    rms: FloatArray
    observed: BoolArray
    bounded: BoolArray
    sigma: FloatArray

    def table(self, time: FloatArray) -> Signals:
        """All of it as channels over time (seconds); standard deviations in radians or metres."""
        whole = {
            "cost": self.cost,
            "gradient": self.gradient,
            "iterations": self.iterations,
            "converged": self.converged,
            "markers": self.markers,
            "marker_rms": self.rms,
        }
        per_coordinate = {"sigma": self.sigma, "observed": self.observed, "bounded": self.bounded}
        channels = {name: np.asarray(values, dtype=np.float64) for name, values in whole.items()}
        for what, values in per_coordinate.items():
            for i, name in enumerate(self.coordinates):
                channels[f"{what}_{name}"] = values[:, i].astype(np.float64)
        return Signals(time, tuple(channels), np.stack(list(channels.values()), axis=1))


def spread(
    problem: Problem,
    q: FloatArray,
    y: FloatArray,
    chain: Chain,
    covariance: FloatArray | float | None,
) -> Certificate:
    """The certificate of coordinates ``q`` (T, Q) found for markers ``y`` (T, M, 3)."""
    frames, size = q.shape
    there = np.asarray(np.isfinite(y).all(axis=-1))
    hessian, noise = np.zeros((frames, size, size)), np.zeros((frames, size, size))
    gradient, observed = np.zeros((frames, size)), np.zeros((frames, size), dtype=bool)
    rms = np.full(frames, np.nan)
    given = covariance if isinstance(covariance, np.ndarray) else np.zeros((0, 0, 3, 3))
    kernel_proof.certify_frames(
        problem.arrays, problem.weights, np.nan_to_num(q), y, np.ascontiguousarray(given), hessian, noise,
        gradient, observed, rms,
    )  # fmt: skip
    low, high = problem.tree.low, problem.tree.high
    bounded = observed & (((q <= low) & (gradient > 0)) | ((q >= high) & (gradient < 0)))
    free = observed & ~bounded
    sigma = _sigma(hessian, noise, free)
    if covariance is None:
        deviation = _marker_noise(there, rms, free)
    else:
        deviation = 1.0 if isinstance(covariance, np.ndarray) else float(np.sqrt(covariance))
    sigma = np.where(np.isinf(sigma), np.inf, np.where(np.isinf(sigma), 0.0, sigma) * deviation)
    sigma = np.where(bounded, 0.0, np.where(observed, sigma, np.nan))
    sigma[chain.status == kernel_numba.EMPTY] = np.nan
    return Certificate(
        problem.tree.coordinates,
        chain.cost,
        chain.slope,
        chain.iterations,
        chain.status == kernel_numba.CONVERGED,
        there.sum(axis=1),
        rms,
        observed & (chain.status != kernel_numba.EMPTY)[:, None],
        bounded,
        sigma,
    )


def _sigma(hessian: FloatArray, noise: FloatArray, free: BoolArray) -> FloatArray:
    """(T, Q) square roots of the diagonal of H⁻¹ N H⁻¹ over the free coordinates; inf where undetermined."""
    both = free[:, :, None] & free[:, None, :]
    h = np.where(both, hessian, np.eye(hessian.shape[1]))
    n = np.where(both, noise, 0.0)
    sure = np.asarray(np.isfinite(h).all(axis=(1, 2)))
    h[~sure] = np.eye(h.shape[1])
    smallest = np.linalg.eigvalsh(h)[:, 0]
    sound = sure & (smallest > SINGULAR)
    inverse = np.linalg.inv(np.where(sound[:, None, None], h, np.eye(h.shape[1])))
    covariance = inverse @ n @ np.swapaxes(inverse, 1, 2)
    sigma: FloatArray = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    for t in np.flatnonzero(sure & ~sound):
        sigma[t] = _sigma_of_singular(h[t], n[t])
    sigma[~sure] = np.inf
    return sigma


def _sigma_of_singular(h: FloatArray, n: FloatArray) -> FloatArray:
    """(Q,) as above for one frame whose markers leave some combination of coordinates undetermined."""
    values, axes = np.linalg.eigh(h)
    lost = values <= SINGULAR
    kept = axes[:, ~lost]
    inverse = kept / values[~lost] @ kept.T
    sigma = np.sqrt(np.maximum(np.diagonal(inverse @ n @ inverse.T), 0.0))
    touched = (np.abs(axes[:, lost]) > 1e-3).any(axis=1)
    return np.where(touched, np.inf, sigma)


def _marker_noise(there: BoolArray, rms: FloatArray, free: BoolArray) -> float:
    """One marker's standard deviation per axis, metres, from the misfit per degree of freedom left."""
    count = 3 * there.sum(axis=1)
    left = count - free.sum(axis=1)
    squares = np.nan_to_num(rms) ** 2 * there.sum(axis=1)
    good = left > 0
    return float(np.sqrt(squares[good].sum() / max(left[good].sum(), 1)))
