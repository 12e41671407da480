"""Live inverse kinematics: one frame of markers in, the pose and its proof out, for one person or several."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from capbench.biomech.certificate import Certificate, spread
from capbench.biomech.kernel_numba import CONVERGED
from capbench.biomech.kinematics import forward
from capbench.biomech.model import Model
from capbench.biomech.problem import CoordinateTask, Problem, build_problem
from capbench.biomech.solve import Chain, run_chain
from capbench.biomech.starts import nearest_angles, neutral, rigid_starts, root_elements, z_angles
from capbench.biomech.suspect import Suspicion, refuse, unmatched_names
from capbench.biomech.tree import is_identity
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FloatArray, check_shape, check_unique

BoolArray = NDArray[np.bool_]

LONGEST_GAP = 0.5  #: s: a person moves from any pose to any other in this time, so the last pose says little
LONGEST_REACH = 4.0  #: steps: how far ahead the last two poses are carried on; farther, their noise rules
JUMP = 4.0  #: times the cost of late (that is, twice the misfit) is a jump
JUMP_FLOOR = 0.5 * 0.005**2  #: m²: a cost below this, 5 mm of misfit, is never one
MEMORY = 0.2  #: s: how long "of late" is
SECOND_OPINION = 0.25  #: s between solves from a cold start that look for a better minimum
BETTER = 1e-6  #: a cold start wins by this share of the cost, so that equal minima don't alternate
BAD_FIT = 0.15  #: m: a body's markers never lie this far off when names, units and axes are right
TINY = 1e-15  #: m²: costs that small are both zero
FARTHEST = 1e5  #: m: coordinates beyond this are no places in a room (and their squares would overflow)
FEWEST = 3  #: points that place one body


@dataclass(frozen=True)
class Frame:
    """The answer to one frame of markers.

    Attributes
    ----------
    time : seconds, as given
    names : N coordinates of the model, locked and coupled ones too
    values : (N,) radians or metres; NaN in a frame without markers
    cost : OpenSim's objective, m² (+ coordinate tasks); NaN in a frame without markers
    rms : metres, root mean square distance of the seen markers from the model's
    gradient : largest component of the gradient projected on the bounds
    converged : whether the gradient is below the tolerance
    markers : how many were seen
    observed : (N,) whether a seen marker depends on the coordinate; else it stays where it was
    sigma : (N,) standard deviation of ``values``, NaN where held; marker noise is estimated from this one
        frame's misfit unless it was given
    status : all that is odd about the frame, in words; "solved" where nothing is
    """

    time: float
    names: tuple[str, ...]
    values: FloatArray
    cost: float
    rms: float
    gradient: float
    converged: bool
    markers: int
    observed: BoolArray
    sigma: FloatArray
    status: str

    def value(self, name: str) -> float:
        """One coordinate, radians or metres."""
        if name not in self.names:
            raise unknown_name("coordinate", name, self.names)
        return float(self.values[self.names.index(name)])


@dataclass(frozen=True)
class RigidRoot:
    """``rigid_starts`` for one frame from one pose, thirty times faster: what stays the same is kept."""

    coordinates: NDArray[np.int64]  # the six of the root
    low: FloatArray  # (3,) bounds of its rotations
    high: FloatArray
    points: FloatArray  # (M, 3) the markers in the pose
    weights: FloatArray
    own: BoolArray  # (M,) markers of the root's own body
    rotation: FloatArray  # (3, 3) and (3,) the root in the pose
    origin: FloatArray
    before: FloatArray  # (3, 3) fixed rotations before the three angles, and between them
    between: tuple[FloatArray, FloatArray]
    unslide: FloatArray  # (3, 3) from a place to the slides
    zero: FloatArray  # (3,) the root's place with no slide

    def placed(self, start: FloatArray, y: FloatArray, there: BoolArray) -> FloatArray:
        """``start`` (1, Q) with the root moved so that the markers lie best on ``y`` (M, 3)."""
        use = there & self.own
        if use.sum() < FEWEST:
            use = there
        if use.sum() < FEWEST:
            return start
        a, b, w = self.points[use], y[use], self.weights[use]
        w = w / w.sum()
        mean_a, mean_b = w @ a, w @ b
        u, _, vt = np.linalg.svd((w[:, None] * (a - mean_a)).T @ (b - mean_b))
        if np.linalg.det(u) * np.linalg.det(vt) < 0:
            vt[2] *= -1
        turn = vt.T @ u.T
        origin = turn @ (self.origin - mean_a) + mean_b
        moved = start.copy()
        angles = z_angles(self.before.T @ (turn @ self.rotation)[None], *self.between)
        near = start[:, self.coordinates[3:]]
        moved[:, self.coordinates[3:]] = nearest_angles(angles, near, self.low, self.high)
        moved[0, self.coordinates[:3]] = self.unslide @ (origin - self.zero)
        return moved


def rigid_root(problem: Problem, q: FloatArray) -> RigidRoot | None:
    """What ``rigid_starts`` needs of a pose ``q`` (1, Q); None where the root is no joint of that kind."""
    chain = root_elements(problem)
    if not chain or problem.translation[chain[4:]].any():
        return None
    coordinates = problem.coordinate[chain]
    still = q.copy()
    still[:, coordinates[:3]] = 0.0
    kept = [problem.kept[e] for e in chain]
    frames, zero = forward(problem.tree, q), forward(problem.tree, still)
    own = {m: problem.kept[e] if e >= 0 else -1 for m, e in enumerate(problem.marker_element)}
    points = np.array(
        [
            at if own[m] < 0 else frames.rotation[0, own[m]] @ at + frames.origin[0, own[m]]
            for m, at in enumerate(problem.marker_at)
        ]
    )
    turned = problem.rotation[chain]
    fixed = turned[0] @ turned[1] @ turned[2] @ turned[3]
    axes = frames.rotation[0, kept[:3], :, 2].T
    low, high = problem.tree.low[coordinates[3:]], problem.tree.high[coordinates[3:]]
    return RigidRoot(
        coordinates, low, high, points, problem.weights, problem.marker_element == chain[-1],
        frames.rotation[0, kept[-1]], frames.origin[0, kept[-1]], fixed, (turned[4], turned[5]),
        np.asarray(np.linalg.inv(axes)), zero.origin[0, kept[-1]],
    )  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """What is the same for all frames and people."""

    problem: Problem
    names: tuple[str, ...]  # of the markers, in the order they are pushed
    order: NDArray[np.int64]  # of the problem's markers among them
    neutral: FloatArray  # (1, Q) where a cold start begins
    depends: BoolArray  # (M, Q) which coordinates move which marker
    turns: BoolArray  # (Q,) which coordinates only turn: a whole turn changes nothing
    root: RigidRoot | None  # None: the root is no free joint
    coordinates: tuple[str, ...]  # N
    source: NDArray[np.int64]  # (N,) free coordinate behind each; -1: locked
    fixed: FloatArray  # (N,) values of the locked
    covariance: float | None


class Stream:
    """Follows one person: ``push`` each frame of markers as it comes.

    Each frame starts from the last two poses carried on to its time. It is solved from a cold start too
    (the pelvis placed in closed form) after a gap, where the fit gets suddenly worse, where the root runs
    into a bound, and every quarter of a second; the better answer is kept.

    Parameters
    ----------
    model : the model to fit
    marker_names : names of the points of each frame, in their order
    weights : marker name -> weight; default: all that the model has, equally
    tasks : coordinates to be pulled towards values
    covariance : variance of a marker position per axis, m²; by default each frame's misfit estimates it
    """

    def __init__(
        self,
        model: Model,
        marker_names: Sequence[str],
        weights: Mapping[str, float] | None = None,
        *,
        tasks: tuple[CoordinateTask, ...] = (),
        covariance: float | None = None,
    ) -> None:
        names = tuple(marker_names)
        check_unique("marker", names)
        if covariance is not None and not (math.isfinite(covariance) and covariance >= 0):
            raise CapbenchError(f"Expected a variance of at least 0 m², got {covariance!r}.")
        #: markers left out of the fit, and why
        self.notes: tuple[Suspicion, ...] = unmatched_names(model, names, weights)
        refuse(self.notes)
        own = {m.name for m in model.markers}
        if weights is None:
            weights = {name: 1.0 for name in names if name in own}
        used = {n: w for n, w in weights.items() if w > 0 and n in names and n in own}
        self._plan = _make_plan(model, names, build_problem(model, used, tasks), covariance)
        self._prepare()

    def _prepare(self) -> None:
        plan = self._plan
        size = len(plan.problem.tree.coordinates)
        self._y = np.full((1, len(plan.order), 3), np.nan)
        self._now = np.empty((1, size))
        self._last, self._before = np.zeros(size), np.zeros(size)
        self.reset()

    def another(self) -> Stream:
        """A stream for another person with the same model and markers; what can be shared is."""
        made = object.__new__(Stream)
        made.notes, made._plan = self.notes, self._plan
        made._prepare()
        return made

    def reset(self) -> None:
        """Forget all frames: the next one is the first."""
        self._time: float | None = None  # of the last frame pushed
        self._solved_at = self._step = math.nan  # of the last pose, and to it from the one before
        self._known = 0  # poses to carry on from
        self._level = self._opinion_at = 0.0
        self._at_bound = False

    def warm_up(self) -> None:
        """Compile, so that the first frame does not wait (seconds the first time on a machine)."""
        other = self.another()
        problem, plan = self._plan.problem, self._plan
        xyz = np.full((len(plan.names), 3), np.nan)
        xyz[plan.order] = 1.0 + 0.1 * problem.marker_at
        for time in (0.0, 0.01, 1.0):
            other.push(time, xyz)

    def push(self, time: float, xyz: ArrayLike) -> Frame:
        """The pose at ``time`` (seconds, after the last) from points (M, 3) in metres, NaN where missing."""
        time, given = self._checked(time, xyz)
        zeros = (given == 0).all(axis=1)
        if zeros.any():
            given = np.where(zeros[:, None], np.nan, given)
        y = given[self._plan.order]
        there = ~np.isnan(y[:, 0])
        words: list[str] = []
        if zeros.any():
            words.append(f"taken as missing, at exactly (0, 0, 0): {shorten(self._named(zeros))}")
        self._time = time
        self._y[0] = y
        if not there.any():
            return self._empty(time, words)
        chain, afresh = self._solve(time, there, words)
        q = self._whole_turns(chain.q)
        certificate = spread(self._plan.problem, q, self._y, chain, self._plan.covariance)
        self._remember(time, q[0], float(chain.cost[0]), afresh)
        return self._frame(time, q, certificate, words)

    def _checked(self, time: float, xyz: ArrayLike) -> tuple[float, FloatArray]:
        """The frame, refused where it is none; a refused frame changes nothing."""
        names = self._plan.names
        try:
            time, points = float(time), np.asarray(xyz, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise CapbenchError(
                f"Expected a time and points that are numbers, got others: {error}."
            ) from None
        if not math.isfinite(time):
            raise CapbenchError(f"Expected a finite time in seconds, got {time}.")
        if self._time is not None and time <= self._time:
            raise CapbenchError(
                f"Expected time to increase, got {time:g} s after {self._time:g} s.",
                fix="drop late frames, or reset() to start again",
            )
        check_shape(f"points of the {len(names)} markers", points, (len(names), 3))
        nan = np.isnan(points)
        wrong = (nan.any(axis=1) & ~nan.all(axis=1)) | (np.abs(points) > FARTHEST).any(axis=1)
        if wrong.any():
            m = int(wrong.argmax())
            raise CapbenchError(
                "Expected each point to be all finite metres within 100 km or, where missing, all NaN; "
                f"got {points[m].tolist()}.",
                place=f"time {time:g} s, marker {names[m]}",
            )
        return time, points

    def _named(self, which: BoolArray) -> list[str]:
        return [self._plan.names[i] for i in np.flatnonzero(which)]

    def _solve(self, time: float, there: BoolArray, words: list[str]) -> tuple[Chain, bool]:
        """The better of going on and, where there is reason to doubt that, starting afresh (True)."""
        if not self._known:
            return self._cold(there), True
        gap = time - self._solved_at
        lost = gap > LONGEST_GAP
        self._now[0] = self._last
        if self._known > 1 and not lost:
            seen = self._plan.depends[there].any(axis=0)
            reach = min(gap / self._step, LONGEST_REACH)
            self._now[0] += np.where(seen, reach * (self._last - self._before), 0.0)
        chain = self._run(self._now)
        at_bound = self._root_at_bound(chain.q[0])
        doubts = (
            lost,
            self._jumped(float(chain.cost[0])),
            chain.status[0] != CONVERGED,
            at_bound and not self._at_bound,  # someone turns round: go on from the range's other end
            time >= self._opinion_at,
        )
        self._at_bound = at_bound
        if not any(doubts):
            return chain, False
        if lost:
            words.append(f"after a gap of {gap:.2g} s")
        self._opinion_at = time + SECOND_OPINION
        cold = self._cold(there)
        if not cold.cost[0] < chain.cost[0] * (1 - BETTER) - TINY:
            return chain, lost
        words.append("started afresh: fits better")
        self._at_bound = self._root_at_bound(cold.q[0])
        return cold, True

    def _jumped(self, cost: float) -> bool:
        return cost > JUMP * self._level + JUMP_FLOOR

    def _root_at_bound(self, q: FloatArray) -> bool:
        tree, root = self._plan.problem.tree, self._plan.root
        return root is not None and bool(((q <= tree.low) | (q >= tree.high))[root.coordinates].any())

    def _cold(self, there: BoolArray) -> Chain:
        """From the neutral pose, placed on the markers; what no seen marker moves stays where it was."""
        plan = self._plan
        start = plan.neutral
        if self._known:
            start = np.where(plan.depends[there].any(axis=0), start, self._last)
        if plan.root is None:
            return self._run(rigid_starts(plan.problem, self._y, start))
        return self._run(plan.root.placed(start, self._y[0], there))

    def _run(self, start: FloatArray) -> Chain:
        return run_chain(self._plan.problem, self._y, start, warm=False, backwards=False)

    def _whole_turns(self, q: FloatArray) -> FloatArray:
        """Rotations moved by whole turns, within their bounds, to follow on from the last pose."""
        if not self._known:
            return q
        turns = np.round((q - self._last) / (2 * np.pi)) * self._plan.turns
        moved = q - 2 * np.pi * turns
        tree = self._plan.problem.tree
        return np.where((turns != 0) & (moved >= tree.low) & (moved <= tree.high), moved, q)

    def _remember(self, time: float, q: FloatArray, cost: float, afresh: bool) -> None:
        if afresh:
            self._known, self._level, self._opinion_at = 1, cost, time + SECOND_OPINION
        else:
            self._known, self._step = 2, time - self._solved_at
            # a jump that starting afresh didn't mend is the new level, else each frame would start afresh
            share = 1.0 if self._jumped(cost) else min(self._step / MEMORY, 1.0)
            self._level += share * (cost - self._level)
        self._solved_at = time
        self._before[:] = self._last
        self._last[:] = q

    def _empty(self, time: float, words: list[str]) -> Frame:
        plan = self._plan
        nan = np.full(len(plan.coordinates), np.nan)
        status = "; ".join(["no markers seen", *words])
        none = np.zeros(len(nan), dtype=bool)
        return Frame(
            time, plan.coordinates, nan, math.nan, math.nan, math.nan, False, 0, none, nan.copy(), status
        )

    def _frame(self, time: float, q: FloatArray, certificate: Certificate, words: list[str]) -> Frame:
        plan = self._plan
        tree = plan.problem.tree
        locked = plan.source < 0
        values = np.where(locked, plan.fixed, q[0, plan.source])
        sigma = np.where(locked, np.nan, certificate.sigma[0, plan.source])
        observed = ~locked & certificate.observed[0, plan.source]
        for name, (_, function) in tree.coupled.items():
            n = plan.coordinates.index(name)
            x = q[0, plan.source[n : n + 1]]
            sigma[n] *= abs(float(function.derivatives(x)[1][0]))
            values[n] = float(function(x)[0])
        held = [tree.coordinates[c] for c in np.flatnonzero(plan.depends.any(0) & ~certificate.observed[0])]
        seen, rms = int(certificate.markers[0]), float(certificate.rms[0])
        converged = bool(certificate.converged[0])
        if held:
            words.append(f"held, no marker that moves them is seen: {shorten(held)}")
        if seen < FEWEST:
            words.append(f"{seen} of {len(plan.order)} markers seen: too few to place a body")
        if not converged:
            words.append(f"not converged: gradient {certificate.gradient[0]:.1e}")
        if rms > BAD_FIT:
            words.append(f"fits badly, {rms * 1000:.0f} mm rms: check names, units and axes of the markers")
        return Frame(
            time, plan.coordinates, values, float(certificate.cost[0]), rms, float(certificate.gradient[0]),
            converged, seen, observed, sigma, "; ".join(words) or "solved",
        )  # fmt: skip


def _make_plan(model: Model, names: tuple[str, ...], problem: Problem, covariance: float | None) -> _Plan:
    tree = problem.tree
    place = {name: i for i, name in enumerate(tree.coordinates)}
    leader = {**{n: place[n] for n in place}, **{n: place[other] for n, (other, _) in tree.coupled.items()}}
    depends = np.zeros((len(problem.markers), len(place)), dtype=bool)
    for m, e in enumerate(problem.marker_element):
        while e >= 0:
            depends[m, problem.coordinate[e]] = True
            e = problem.parent[e]
    depends |= problem.task_weight > 0
    turns = np.ones(len(place), dtype=bool)
    for element in tree.elements:
        turns[element.coordinate] &= not element.slides and is_identity(element.function)
    return _Plan(
        problem,
        names,
        np.array([names.index(name) for name in problem.markers], dtype=np.int64),
        neutral(tree)[None],
        depends,
        turns,
        rigid_root(problem, neutral(tree)[None]),
        model.coordinate_names,
        np.array([leader.get(name, -1) for name in model.coordinate_names], dtype=np.int64),
        np.array([tree.locked.get(name, np.nan) for name in model.coordinate_names]),
        covariance,
    )


class People:
    """Several people at once, each followed by a stream of its own; who is who, the caller knows.

    The parameters are those of ``Stream``. Anything hashable identifies a person.
    """

    def __init__(
        self,
        model: Model,
        marker_names: Sequence[str],
        weights: Mapping[str, float] | None = None,
        *,
        tasks: tuple[CoordinateTask, ...] = (),
        covariance: float | None = None,
    ) -> None:
        self._first = Stream(model, marker_names, weights, tasks=tasks, covariance=covariance)
        self._streams: dict[Hashable, Stream] = {}

    @property
    def ids(self) -> tuple[Hashable, ...]:
        """Who is followed, in order of arrival."""
        return tuple(self._streams)

    @property
    def notes(self) -> tuple[Suspicion, ...]:
        """Markers left out of the fit, and why."""
        return self._first.notes

    def warm_up(self) -> None:
        """Compile, so that the first frame does not wait."""
        self._first.warm_up()

    def push(self, person: Hashable, time: float, xyz: ArrayLike) -> Frame:
        """One person's pose; someone new is followed from here on."""
        stream = self._streams.get(person)
        if stream is not None:
            return stream.push(time, xyz)
        stream = self._first.another()
        frame = stream.push(time, xyz)
        self._streams[person] = stream  # only now: a refused frame introduces nobody
        return frame

    def forget(self, person: Hashable) -> None:
        """Stop following someone who has left."""
        if person not in self._streams:
            raise unknown_name("person", str(person), (str(p) for p in self._streams))
        del self._streams[person]
