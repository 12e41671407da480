"""The search behind :func:`capbench.biomech.scale_joint.scale_from_motion`: one cost, and its minimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from capbench.biomech.certificate import BoolArray
from capbench.biomech.kinematics import Frames, body_frames, forward, jacobian, points
from capbench.biomech.model import GROUND, Model
from capbench.biomech.problem import CoordinateTask
from capbench.biomech.scale import LARGEST, scale_model
from capbench.biomech.scale_groups import Groups
from capbench.biomech.tree import Tree, build_tree
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray

LOOSE_SD = (
    0.3  #: metres, the same of markers that the set-up measures nothing by, such as clusters on a thigh
)
POSE_SD = 0.09  #: radians (5°), how far from upright a person stands in a coordinate
#: coordinates that a standing person has near the model's default
UPRIGHT = (
    "pelvis_tilt", "pelvis_list", "lumbar_extension", "lumbar_bending", "lumbar_rotation",
    *(f"{name}_{side}" for side in "rl" for name in (
        "hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle",
    )),
)  # fmt: skip
ROUNDS = 30
ENOUGH = 1e-6  #: relative fall of the cost that ends the rounds
_DAMPING = (1e-6, 1e6)  # where the damping starts, and where a step is given up
_RANK = 1e-9  # singular values of a pose's Jacobian below this share of the largest are none


@dataclass(frozen=True)
class Declared:
    """What is known beforehand: standard deviations (metres, metres, relative) and the subject's size."""

    noise: float
    offset_sd: float
    factor_sd: float
    size: float
    loose: frozenset[str]
    pose_sd: float = POSE_SD


@dataclass(frozen=True)
class State:
    """Unknowns x (log factors, then offsets in metres), the poses that are exact for them, what they cost."""

    x: FloatArray
    model: Model
    q: FloatArray
    held: BoolArray  # (T, Q) coordinates on a bound, or that no seen marker depends on
    residual: FloatArray  # (T, M, 3) metres, 0 where unseen
    cost: float


class Search:
    """The cost and its minimiser, for one trial."""

    def __init__(
        self,
        model: Model,
        markers: Markers,
        groups: Groups,
        weights: dict[str, float],
        declared: Declared,
        *,
        still: int = 0,
    ) -> None:
        own = {m.name: m for m in model.markers}
        self.model, self.markers, self.groups, self.declared = model, markers, groups, declared
        self.weights = weights
        self.still = still  # so many frames, the first, are of standing
        # the solver's cost is ours times noise² / the sum of weights
        pull = declared.noise**2 / declared.pose_sd**2 / sum(weights[name] for name in markers.names)
        defaults = {c.name: c.default for c in model.coordinates}
        self.upright = tuple(CoordinateTask(n, pull, defaults[n]) for n in UPRIGHT if n in defaults)
        self.fitted = [own[name] for name in markers.names]
        # fixed markers have offsets too: held, their misplacement would bend the factors
        free = [i for i, m in enumerate(self.fitted) if m.body != GROUND]
        self.free = free if declared.offset_sd > 0 else []
        self.size = len(groups.names)
        self._sizes: list[tuple[Tree, Model]] = []  # of factor 1 throughout, then with one factor of 2 each
        self.unknowns = self.size + 3 * len(self.free)
        self.seen = np.asarray(np.isfinite(markers.xyz).all(axis=-1))
        root = np.sqrt([weights[name] for name in markers.names]) / declared.noise
        self.root = self.seen * root[None, :]
        self.centre = np.zeros(self.unknowns)
        self.centre[: self.size] = np.log(declared.size)
        self.precision = np.full(self.unknowns, 1 / declared.factor_sd**2)
        if self.free:
            own_sd = [self._offset_sd(self.fitted[i].name) for i in self.free]
            self.precision[self.size :] = np.repeat(1 / np.square(own_sd), 3)

    def _offset_sd(self, name: str) -> float:
        return (
            max(LOOSE_SD, self.declared.offset_sd) if name in self.declared.loose else self.declared.offset_sd
        )

    def start(self) -> FloatArray:
        """Unknowns to start from: loose markers where poses that fit the others put them on average."""
        x = self.centre.copy()
        loose = [(k, i) for k, i in enumerate(self.free) if self.fitted[i].name in self.declared.loose]
        if not loose:
            return x
        sure = {n: w for n, w in self.weights.items() if n not in self.declared.loose}
        state = self.at(x, sure)
        tree, frames, at = self.positions(state.model, state.q)
        for k, i in loose:
            off = self.markers.xyz[:, i] - at[:, i]
            seen = np.isfinite(off).all(axis=-1)
            if seen.any():
                rotation = body_frames(tree, frames, self.fitted[i].body)[0]
                inside = np.einsum("tji,tj->ti", rotation[seen], off[seen])
                x[self.size + 3 * k : self.size + 3 * k + 3] = inside.mean(axis=0)
        return x

    def offsets(self, x: FloatArray) -> dict[str, FloatArray]:
        """(3,) metres per marker."""
        table = x[self.size :].reshape(-1, 3)
        return {self.fitted[i].name: table[k] for k, i in enumerate(self.free)}

    def moved(self, scaled: Model, offsets: Mapping[str, FloatArray]) -> Model:
        """A scaled model with the offsets added."""
        return scaled.with_markers(
            tuple(
                replace(m, location=m.location + offsets[m.name]) if m.name in offsets else m
                for m in scaled.markers
            )
        )

    def built(self, x: FloatArray) -> Model:
        """The model for unknowns ``x``; masses do not matter here."""
        scales = self.groups.scales(x[: self.size])
        return self.moved(scale_model(self.model.with_markers(tuple(self.fitted)), scales), self.offsets(x))

    def positions(self, model: Model, q: FloatArray) -> tuple[Tree, Frames, FloatArray]:
        """The tree, its frames and where its markers are (T, M, 3)."""
        tree = build_tree(model)
        return tree, *_places(tree, model, q)

    def at(self, x: FloatArray, weights: dict[str, float] | None = None) -> State:
        """Poses solved exactly, and the cost; ``weights`` replace the declared ones in the poses."""
        from capbench.biomech.solve import solve  # compiled: slow to import

        model = self.built(x)
        tree = build_tree(model)
        parts = [
            solve(model, part, weights=weights or self.weights, tasks=tasks, passes=2)
            for part, tasks in ((self.markers[: self.still], self.upright), (self.markers[self.still :], ()))
            if len(part)
        ]
        q = np.concatenate([p.motion.select(tree.coordinates).values for p in parts])
        held = np.concatenate([p.certificate.bounded | ~p.certificate.observed for p in parts])
        _, _, at = self.positions(model, q)
        residual = np.where(self.seen[..., None], at - self.markers.xyz, 0.0)
        cost = float(((self.root[..., None] * residual) ** 2).sum())
        cost += float((self.precision * (x - self.centre) ** 2).sum())
        cost += float((self.pose_residual(tree, q) ** 2).sum())
        return State(x, model, q, held, residual, cost)

    def pose_residual(self, tree: Tree, q: FloatArray) -> FloatArray:
        """(T, Q) how far standing frames are from upright, in standard deviations; 0 elsewhere."""
        off = np.zeros_like(q)
        for task in self.upright:
            c = tree.coordinates.index(task.name)
            off[: self.still, c] = (q[: self.still, c] - task.value) / self.declared.pose_sd
        return off

    def fit(self, model: Model) -> tuple[Motion, float]:
        """The best poses of any model with the markers fitted, and its marker distance (metres)."""
        from capbench.biomech.solve import solve  # compiled: slow to import

        solution = solve(model, self.markers, weights=self.weights, passes=2)
        count = solution.certificate.markers
        squares = np.nan_to_num(solution.certificate.rms) ** 2 * count
        return solution.motion, float(np.sqrt(squares.sum() / count.sum()))

    def normal(self, state: State) -> tuple[FloatArray, FloatArray, int]:
        """Normal matrix (K, K) and gradient (K,) of the marker part with poses eliminated; coordinates."""
        tree, frames, _ = self.positions(state.model, state.q)
        slopes = self._slopes(state, tree, frames)
        poses = np.stack(
            [jacobian(tree, frames, state.q, m.body, m.location) for m in state.model.markers], axis=1
        )
        poses = np.where(state.held[:, None, None, :], 0.0, poses)
        size, count = len(state.q), self.unknowns
        root = self.root[:, :, None, None]
        slopes = (root * slopes).reshape(size, -1, count)
        poses = (root * poses).reshape(size, slopes.shape[1], -1)
        residual = (self.root[..., None] * state.residual).reshape(size, -1)
        if self.still:
            slopes, poses, residual = self._with_pose(state, tree, slopes, poses, residual)
        matrix, gradient, used = np.zeros((count, count)), np.zeros(count), 0
        for s, p, r in zip(slopes, poses, residual, strict=True):
            basis, singular, _ = np.linalg.svd(p, full_matrices=False)
            basis = basis[:, singular > _RANK * max(float(singular.max(initial=0)), 1e-300)]
            left = s - basis @ (basis.T @ s)
            matrix += left.T @ left
            gradient += left.T @ r
            used += basis.shape[1]
        return matrix, gradient, used

    def _with_pose(
        self, state: State, tree: Tree, slopes: FloatArray, poses: FloatArray, residual: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The same with a row for each coordinate that standing pulls upright."""
        pulled = np.array([c in {t.name for t in self.upright} for c in tree.coordinates])
        rows = np.zeros((len(state.q), len(pulled), len(pulled)))
        rows[: self.still] = np.diag(pulled / self.declared.pose_sd)
        rows = np.where(state.held[:, None, :], 0.0, rows)
        none = np.zeros((len(state.q), len(pulled), self.unknowns))
        return (
            np.concatenate([slopes, none], axis=1),
            np.concatenate([poses, rows], axis=1),
            np.concatenate([residual, self.pose_residual(tree, state.q)], axis=1),
        )

    def _slopes(self, state: State, tree: Tree, frames: Frames) -> FloatArray:
        """(T, M, 3, K) how markers move with each unknown, poses held."""
        made = np.zeros((len(state.q), len(self.fitted), 3, self.unknowns))
        for g, by_one in enumerate(self._by_factor(state.q)):
            made[..., g] = np.exp(state.x[g]) * by_one
        for k, i in enumerate(self.free):
            first = self.size + 3 * k
            made[:, i, :, first : first + 3] = body_frames(tree, frames, self.fitted[i].body)[0]
        return made

    def _by_factor(self, q: FloatArray) -> list[FloatArray]:
        """(T, M, 3) how far markers move as each factor grows by one, poses held.

        Every length of a scaled model is one factor times a constant, and no angle depends on any: places
        are linear in the factors, so the difference of two sizes is the slope, exactly, at any size.
        """
        if not self._sizes:
            plain = self.model.with_markers(tuple(self.fitted))
            for g in range(-1, self.size):
                logs = np.where(np.arange(self.size) == g, np.log(2.0), 0.0)
                model = scale_model(plain, self.groups.scales(logs))
                self._sizes.append((build_tree(model), model))
        base, *doubled = (_places(tree, model, q)[1] for tree, model in self._sizes)
        return [places - base for places in doubled]

    def run(self) -> tuple[State, list[float], bool]:
        """Rounds until the cost falls no further."""
        state = self.at(self.start())
        costs, damping = [state.cost], _DAMPING[0]
        for _ in range(ROUNDS):
            matrix, gradient, _ = self.normal(state)
            matrix = matrix + np.diag(self.precision)
            gradient = gradient + self.precision * (state.x - self.centre)
            new, damping = self._step(state, matrix, gradient, damping)
            if new is None:
                return state, costs, True
            fall, state = state.cost - new.cost, new
            costs.append(state.cost)
            if fall < ENOUGH * state.cost or state.cost < 1e-12:
                return state, costs, True
        return state, costs, False

    def _step(
        self, state: State, matrix: FloatArray, gradient: FloatArray, damping: float
    ) -> tuple[State | None, float]:
        """The first step, damped more and more, that makes the cost fall; None where none does."""
        while damping <= _DAMPING[1]:
            change = np.linalg.solve(matrix + damping * np.diag(np.diagonal(matrix)), -gradient)
            x = state.x + change
            if np.abs(x[: self.size]).max() <= np.log(2 * LARGEST):
                new = self.at(x)
                if new.cost < state.cost:
                    return new, max(damping / 10, 1e-12)
            damping *= 10
        return None, damping

    def spread(self, state: State) -> tuple[FloatArray, float]:
        """Standard deviations of the log factors (G,), and the noise (metres per axis) in the residuals."""
        matrix, _, used = self.normal(state)
        inverse = np.linalg.inv(matrix + np.diag(self.precision))
        told = float(np.trace(inverse @ matrix))  # unknowns that the markers, not the priors, decide
        left = max(3 * int(self.seen.sum()) - used - told, 1.0)
        scatter = float(((self.root[..., None] * state.residual) ** 2).sum()) / left
        # the weighting stays as declared, the noise is as found
        covariance = inverse @ (matrix * scatter + np.diag(self.precision)) @ inverse
        sigma: FloatArray = np.sqrt(np.diagonal(covariance)[: self.size])
        return sigma, self.declared.noise * float(np.sqrt(scatter))


def _places(tree: Tree, model: Model, q: FloatArray) -> tuple[Frames, FloatArray]:
    """The frames of a model's tree, and where its markers are (T, M, 3)."""
    frames = forward(tree, q)
    bodies = [m.body for m in model.markers]
    return frames, points(tree, frames, bodies, np.array([m.location for m in model.markers]))
