"""Scaling a model from a moving trial: scale factors, marker offsets and poses that fit it together.

What is minimised, over N frames of the trial and all three kinds of unknown at once::

    Σ weight · |marker - recorded|² / noise² + Σ |offset|² / offset_sd² + Σ ln(factor / size)² / factor_sd²

Poses are solved exactly for given factors and offsets. Between these solves, factors and offsets take a
damped Gauss-Newton step that knows how the poses will answer (variable projection), so that few rounds do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from capbench.biomech.certificate import BoolArray
from capbench.biomech.kinematics import Frames, body_frames, forward, jacobian, points
from capbench.biomech.model import GROUND, Model
from capbench.biomech.scale import LARGEST, SMALLEST, check_plausible, scale_model
from capbench.biomech.scale_groups import Groups, groups_of_bodies, groups_of_setup
from capbench.biomech.scale_setup import AXES, ScaleSetup
from capbench.biomech.tree import Tree, build_tree
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray, IntArray

NOISE = 0.005  #: metres, standard deviation of a recorded marker along an axis, soft tissue included
LOOSE_SD = (
    0.3  #: metres, the same of markers that the set-up measures nothing by, such as clusters on a thigh
)
OFFSET_SD = 0.010  #: metres, how far along an axis a marker may lie from the model's place for it
FACTOR_SD = 0.10  #: how far a factor may lie from the subject's size as a whole
FRAMES = 60
ROUNDS = 30
ENOUGH = 1e-6  #: relative fall of the cost that ends the rounds
FAR = 0.05  #: metres between two markers of a body from which their distance tells the size
FEW = 10  # frames below which a note is due
UNSURE = 0.8  # share of the declared factor_sd above which the trial says nothing of a factor
_STEP = 1e-5  # of a log factor, for central differences
_DAMPING = (1e-6, 1e6)  # where the damping starts, and where a step is given up
_RANK = 1e-9  # singular values of a pose's Jacobian below this share of the largest are none


@dataclass(frozen=True, eq=False)
class JointScaling:
    """A model scaled from a moving trial.

    Attributes
    ----------
    model : scaled, its markers moved
    factors : group -> factor
    sigma : group -> standard deviation of the factor: noise as large as the residuals say, independent
        between frames, and offsets as large as declared
    scales : body -> (3,) factors
    offsets : marker -> (3,) metres that it was moved in its body; markers that the model calls fixed have
        offsets while factors are sought, but are put back
    motion : poses of the frames used
    size : what the factors are drawn towards
    noise : metres per axis, as estimated from the residuals
    rms, rms_before : metres, root mean square marker distance over the frames used, of the model as it is
        now and as it came
    costs : total cost at the start and after every round; it never rises
    converged : whether the rounds ended because the cost fell no further
    notes : in words
    """

    model: Model
    factors: dict[str, float]
    sigma: dict[str, float]
    scales: dict[str, FloatArray]
    offsets: dict[str, FloatArray]
    motion: Motion
    size: float
    noise: float
    rms: float
    rms_before: float
    costs: tuple[float, ...]
    converged: bool
    notes: tuple[str, ...]

    @property
    def rounds(self) -> int:
        """How many rounds were taken."""
        return len(self.costs) - 1


#: said with every result: soft tissue moves with the limb, frame after frame in the same way
SOFT_TISSUE = (
    "standard deviations count markers' noise only; on a real walk limbs came within 5 % of a static trial, "
    "pelvis and trunk up to 18 % off: use a static trial where there is one"
)


@dataclass(frozen=True)
class Declared:
    """What is known beforehand: standard deviations (metres, metres, relative) and the subject's size."""

    noise: float
    offset_sd: float
    factor_sd: float
    size: float
    loose: frozenset[str]


def scale_from_motion(
    model: Model,
    markers: Markers,
    setup: ScaleSetup | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    mass: float | None = None,
    size: float | None = None,
    frames: int = FRAMES,
    noise: float = NOISE,
    offset_sd: float = OFFSET_SD,
    factor_sd: float = FACTOR_SD,
) -> JointScaling:
    """Scale ``model`` to the subject whose moving trial is ``markers``.

    Bodies and axes that share a measurement of ``setup`` share a factor; without one each body has one
    factor, the same left and right. Of the set-up nothing else counts but its masses and manual factors.
    Markers that it measures nothing by may lie anywhere in their bodies; the others near their places.
    ``weights`` of markers default to 1. ``mass`` in kg. ``size`` is subject by model, such as a ratio of
    heights; by default it is taken from distances within bodies. ``offset_sd`` of 0 holds the markers in
    place.
    """
    _check(frames=frames, noise=noise, factor_sd=factor_sd, offset_sd=offset_sd)
    names = _shared(model, markers, weights)
    seen = markers.select(names)
    chosen = well_observed(seen, frames)
    seen = Markers(seen.time[chosen], seen.names, seen.xyz[chosen])
    loose = loose_markers(model, names, setup)
    groups = groups_of_setup(model, setup) if setup is not None else groups_of_bodies(model)
    size = size_ratio(model, seen) if size is None else size
    if not SMALLEST <= size <= LARGEST:
        raise CapbenchError(
            f"Expected a subject {SMALLEST:g} to {LARGEST:g} times as large as the model, got {size:.4g}.",
            fix="check the recording's units and whether its markers bear the right names",
        )
    weigh = {name: 1.0 if weights is None else weights[name] for name in names}
    search = _Search(model, seen, groups, weigh, Declared(noise, offset_sd, factor_sd, size, loose))
    _, before = search.fit(model)
    state, costs, converged = search.run()
    scales = groups.scales(state.x[: search.size])
    check_plausible(scales, ())
    preserve = setup is not None and setup.preserve_mass
    mass = setup.mass if mass is None and setup is not None else mass
    sigma, found = search.spread(state)
    factors = np.exp(state.x[: search.size])
    fixed = {m.name for m in model.markers if m.fixed}
    offsets = {name: o for name, o in search.offsets(state.x).items() if name not in fixed}
    final = search.moved(scale_model(model, scales, mass, preserve), offsets)
    motion, rms = search.fit(final)
    notes = _notes(model, names, seen, groups, sigma, factor_sd)
    if not converged:
        notes.append(f"the cost still fell after {len(costs) - 1} rounds")
    return JointScaling(
        final,
        dict(zip(groups.names, factors.tolist(), strict=True)),
        dict(zip(groups.names, (factors * sigma).tolist(), strict=True)),
        scales,
        offsets,
        motion,
        size,
        found,
        rms,
        before,
        tuple(costs),
        converged,
        tuple(notes),
    )


def _check(*, frames: int, noise: float, factor_sd: float, offset_sd: float) -> None:
    if frames < 1:
        raise CapbenchError(f"Expected at least 1 frame, got {frames}.")
    for name, value in (("noise", noise), ("factor_sd", factor_sd)):
        if not 0 < value < np.inf:
            raise CapbenchError(f"Expected a {name} above 0, got {value:g}.")
    if not 0 <= offset_sd < np.inf:
        raise CapbenchError(f"Expected an offset_sd of 0 or more, got {offset_sd:g}.")


def _shared(model: Model, markers: Markers, weights: Mapping[str, float] | None) -> tuple[str, ...]:
    if weights is not None and not all(np.isfinite(w) and w >= 0 for w in weights.values()):
        raise CapbenchError("Expected marker weights that are finite and not negative.")
    names = tuple(
        m.name
        for m in model.markers
        if m.name in markers.names and (weights is None or weights.get(m.name, 0) > 0)
    )
    if len(names) < 3:
        raise CapbenchError(
            f"Expected at least 3 markers that model and recording share, got {len(names)}. "
            f"Recorded: {shorten(markers.names)}.",
            fix="give the marker set that belongs to the recording (--markers), or rename the markers",
        )
    return names


def loose_markers(model: Model, names: tuple[str, ...], setup: ScaleSetup | None) -> frozenset[str]:
    """Markers for whose places the model's word is not taken: those by which ``setup`` measures nothing.

    It is taken where there is no set-up, where too few markers would be left, and for fixed markers.
    """
    if setup is None:
        return frozenset()
    landmarks = {name for m in setup.measurements for pair in m.pairs for name in pair}
    if sum(name in landmarks for name in names) < 3:
        return frozenset()
    fixed = {m.name for m in model.markers if m.fixed}
    return frozenset(name for name in names if name not in landmarks and name not in fixed)


# --- what to fit --------------------------------------------------------------------------------


def well_observed(markers: Markers, count: int = FRAMES) -> IntArray:
    """Numbers of up to ``count`` frames, evenly spread over those in which nearly as many markers are seen
    as ever."""
    seen = np.isfinite(markers.xyz).all(axis=-1).sum(axis=1)
    best = int(seen.max(initial=0))
    if best < 3:
        raise CapbenchError(f"Expected frames with at least 3 of the model's markers, got at most {best}.")
    good = np.flatnonzero(seen >= max(3.0, 0.9 * best))
    if len(good) < count:
        good = np.sort(np.argsort(-seen, kind="stable")[:count])
        good = good[seen[good] >= 3]
    spread = np.unique(np.linspace(0, len(good) - 1, min(count, len(good))).round().astype(int))
    return np.asarray(good[spread])


def size_ratio(model: Model, markers: Markers) -> float:
    """Subject by model: the median over pairs of markers on one body of their distances' ratios."""
    own = [m for m in model.markers if m.name in markers.names]
    xyz = {m.name: markers.select([m.name]).xyz[:, 0] for m in own}
    ratios: list[float] = []
    for i, a in enumerate(own):
        for b in own[:i]:
            length = float(np.linalg.norm(a.location - b.location))
            if a.body != b.body or length < FAR:
                continue
            apart = np.linalg.norm(xyz[a.name] - xyz[b.name], axis=-1)
            if np.isfinite(apart).any():
                ratios.append(float(np.nanmedian(apart)) / length)
    return float(np.median(ratios)) if ratios else 1.0


# --- the search ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """Unknowns x (log factors, then offsets in metres), the poses that are exact for them, what they cost."""

    x: FloatArray
    model: Model
    q: FloatArray
    held: BoolArray  # (T, Q) coordinates on a bound, or that no seen marker depends on
    residual: FloatArray  # (T, M, 3) metres, 0 where unseen
    cost: float


class _Search:
    """The cost and its minimiser, for one trial."""

    def __init__(
        self, model: Model, markers: Markers, groups: Groups, weights: dict[str, float], declared: Declared
    ) -> None:
        own = {m.name: m for m in model.markers}
        self.model, self.markers, self.groups, self.declared = model, markers, groups, declared
        self.weights = weights
        self.fitted = [own[name] for name in markers.names]
        # fixed markers have offsets too: held, their misplacement would bend the factors
        free = [i for i, m in enumerate(self.fitted) if m.body != GROUND]
        self.free = free if declared.offset_sd > 0 else []
        self.size = len(groups.names)
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
        frames = forward(tree, q)
        at = points(
            tree, frames, [m.body for m in model.markers], np.array([m.location for m in model.markers])
        )
        return tree, frames, at

    def at(self, x: FloatArray, weights: dict[str, float] | None = None) -> _State:
        """Poses solved exactly, and the cost; ``weights`` replace the declared ones in the poses."""
        from capbench.biomech.solve import solve  # compiled: slow to import

        model = self.built(x)
        solution = solve(model, self.markers, weights=weights or self.weights, passes=2)
        tree = build_tree(model)
        q = solution.motion.select(tree.coordinates).values
        _, _, at = self.positions(model, q)
        residual = np.where(self.seen[..., None], at - self.markers.xyz, 0.0)
        cost = float(((self.root[..., None] * residual) ** 2).sum())
        cost += float((self.precision * (x - self.centre) ** 2).sum())
        certificate = solution.certificate
        held = certificate.bounded | ~certificate.observed
        return _State(x, model, q, held, residual, cost)

    def fit(self, model: Model) -> tuple[Motion, float]:
        """The best poses of any model with the markers fitted, and its marker distance (metres)."""
        from capbench.biomech.solve import solve  # compiled: slow to import

        solution = solve(model, self.markers, weights=self.weights, passes=2)
        count = solution.certificate.markers
        squares = np.nan_to_num(solution.certificate.rms) ** 2 * count
        return solution.motion, float(np.sqrt(squares.sum() / count.sum()))

    def normal(self, state: _State) -> tuple[FloatArray, FloatArray, int]:
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
        matrix, gradient, used = np.zeros((count, count)), np.zeros(count), 0
        for s, p, r in zip(slopes, poses, residual, strict=True):
            basis, singular, _ = np.linalg.svd(p, full_matrices=False)
            basis = basis[:, singular > _RANK * max(float(singular.max(initial=0)), 1e-300)]
            left = s - basis @ (basis.T @ s)
            matrix += left.T @ left
            gradient += left.T @ r
            used += basis.shape[1]
        return matrix, gradient, used

    def _slopes(self, state: _State, tree: Tree, frames: Frames) -> FloatArray:
        """(T, M, 3, K) how markers move with each unknown, poses held."""
        made = np.zeros((len(state.q), len(self.fitted), 3, self.unknowns))
        for g in range(self.size):
            step = np.zeros(self.unknowns)
            step[g] = _STEP
            ends = [self.positions(self.built(state.x + h), state.q)[2] for h in (step, -step)]
            made[..., g] = (ends[0] - ends[1]) / (2 * _STEP)
        for k, i in enumerate(self.free):
            first = self.size + 3 * k
            made[:, i, :, first : first + 3] = body_frames(tree, frames, self.fitted[i].body)[0]
        return made

    def run(self) -> tuple[_State, list[float], bool]:
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
        self, state: _State, matrix: FloatArray, gradient: FloatArray, damping: float
    ) -> tuple[_State | None, float]:
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

    def spread(self, state: _State) -> tuple[FloatArray, float]:
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


def _notes(
    model: Model, names: tuple[str, ...], seen: Markers, groups: Groups, sigma: FloatArray, factor_sd: float
) -> list[str]:
    notes = [SOFT_TISSUE]
    lacking = [m.name for m in model.markers if m.name not in names]
    if lacking:
        notes.append(f"{len(lacking)} model markers are not fitted; they are scaled only: {shorten(lacking)}")
    if len(seen) < FEW:
        notes.append(f"only {len(seen)} frames are used: factors lean on the model's marker places")
    unsure = [
        name for name, value in zip(groups.names, sigma.tolist(), strict=True) if value > UNSURE * factor_sd
    ]
    if unsure:
        notes.append(f"the trial hardly tells these factors, the subject's size does: {shorten(unsure)}")
    held = [
        f"{body} {axis}"
        for body, row in zip(groups.bodies, groups.number, strict=True)
        for axis, k in zip(AXES, row, strict=True)
        if k < 0
    ]
    if held:
        notes.append(f"{len(held)} axes of bodies have no measurement and keep their factor: {shorten(held)}")
    return notes
