"""The same problem in torch: all frames of a batch at once, on CPU or GPU, and differentiable.

Same minima as :mod:`capbench.biomech.kernel_numba`, which is faster on a CPU; this one is for GPUs and for
training through the fit. All in float64.

Markers p with residuals ``r = p - y`` are summed once over what lies beyond each element:
``w (1, p)(1, y)ᵀ``, ``w r`` and ``w p × r``, 22 numbers. With z an element's axis and o its origin these give
a pair of vectors (G, F) for each element b; with the screw (z, o × z) of a turning and (0, z) of a sliding
element a::

    ∂²cost/∂u_a ∂u_b = screw_a · (G_b, F_b)      a on the way from ground to b, or b itself
    turning b:  F = z × (Σwp - o Σw),  G = z (tr Σwpyᵀ - o·Σwy) - Σwpyᵀ z + o (z·Σwy)
    sliding b:  F = z Σw,              G = Σwy × z

so the Hessian is one batched product of six-vectors, masked by who lies above whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capbench.biomech.plan_torch import Plan, prepare
from capbench.biomech.problem import Problem
from capbench.biomech.starts import neutral, rigid_starts
from cohorts.values import FloatArray

CONVERGED, STALLED, EMPTY = 0, 1, 2  # as in kernel_numba, which need not be compiled to use this
TOLERANCE = 1e-12
ITERATIONS = 200
LONGEST_STEP = 1.0  # radians or metres
SHORTENINGS = 30  # of one step before the damping is raised
HOPELESS = 1e3  # damping with which still no step lowers the cost
CHUNK = {"cpu": 256, "cuda": 32768}  #: frames solved at a time, 0.15 MB each: what a CPU's cache holds

Answers = tuple[FloatArray, FloatArray, FloatArray, np.ndarray[Any, Any], np.ndarray[Any, Any]]


# --- cost, gradient, Hessian --------------------------------------------------------------------


def weigh(plan: Plan, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """(T, M) weights of the markers that are there (not NaN), summing to 1 in each frame, or all 0."""
    given = plan.weights if weights is None else weights.to(plan.fixed)
    w = torch.where(torch.isnan(y).any(dim=-1), 0.0, given)
    total = w.sum(dim=-1, keepdim=True)
    return w / torch.where(total > 0, total, 1.0)


def _moves(plan: Plan, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(T, E) each element's value u, du/dq and d²u/dq²."""
    x = q[:, plan.coordinate]
    plain = x[:, plan.plain]
    parts = [(plain, torch.ones_like(plain), torch.zeros_like(plain))]
    if len(plan.polynomials):
        parts.append(_polynomials(plan, x[:, plan.polynomials]))
    if len(plan.splines):
        parts.append(_splines(plan, x[:, plan.splines]))
    u, du, ddu = (torch.cat(same, dim=1)[:, plan.sorting] for same in zip(*parts, strict=True))
    return u, du, ddu


def _polynomials(plan: Plan, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    f, d, dd = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for c in plan.coefficients.unbind(dim=1):
        dd = dd * x + 2 * d
        d = d * x + f
        f = f * x + c
    return f, d, dd


def _splines(plan: Plan, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    knots, last = plan.knots, plan.last
    own = torch.arange(len(last), device=x.device)
    lowest, highest = knots[:, 0], knots[own, last]
    piece = torch.searchsorted(knots, x.detach().T.contiguous(), right=True).T - 1
    piece = torch.minimum(piece.clamp(min=0), (last - 1).clamp(min=0))
    past = x > highest
    piece = torch.where(past, last, piece)
    y, b, c, d = plan.pieces[own, piece].unbind(dim=-1)
    straight = past | (x < lowest)  # goes on along the end's tangent
    c, d = torch.where(straight, 0.0, c), torch.where(straight, 0.0, d)
    h = x - knots[own, piece]
    return y + h * (b + h * (c + h * d)), b + h * (2 * c + 3 * h * d), 2 * c + 6 * h * d


def _frames(plan: Plan, u: Tensor) -> Tensor:
    """(T, E + 1, 3, 4) rotation and origin of every element's frame in ground, and ground's own."""
    cos, sin = torch.cos(u * plan.turns)[..., None], torch.sin(u * plan.turns)[..., None]
    x, y, z, t = plan.fixed.unbind(dim=-1)
    slid = t + z * (u * (1 - plan.turns))[..., None]
    local = torch.stack([x * cos + y * sin, y * cos - x * sin, z.expand_as(slid), slid], dim=-1)
    ground = torch.eye(3, 4, dtype=u.dtype, device=u.device).expand(len(u), 1, 3, 4)
    done: list[Tensor] = []
    for start, stop, parent in plan.levels:
        here = local[:, start:stop]
        if done:
            up = done[-1][:, parent]
            here = up[..., :3] @ here
            here[..., 3] += up[..., 3]
        done.append(here)
    return torch.cat([*done, ground], dim=1)


def _points(plan: Plan, frames: Tensor) -> Tensor:
    """(T, M, 3) where the model's markers are."""
    return (frames[:, plan.holder] * plan.at[:, None, :]).sum(dim=-1)


def _residuals(p: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """(T, M, 3) model less recording; 0 where the marker is missing or weighs nothing."""
    there = (w > 0)[..., None]
    return torch.where(there, p - torch.where(there, y, 0.0), 0.0)


def cost(problem: Problem | Plan, q: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """(T,) OpenSim's objective (m²) at q (T, Q), for markers y (T, M, 3) of weights w (T, M) that sum to 1.

    Differentiable by autograd, any number of times, in ``q``, ``y`` and ``w``.
    """
    plan = prepare(problem, q.device)
    r = _residuals(_points(plan, _frames(plan, _moves(plan, q)[0])), y, w)
    task = plan.task_weight * (q - plan.task_value) ** 2
    return 0.5 * (w * (r * r).sum(dim=-1)).sum(dim=-1) + 0.5 * task.sum(dim=-1)


@torch.no_grad()
def evaluate(problem: Problem | Plan, q: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cost (T,), gradient (T, Q) and Hessian (T, Q, Q) at q (T, Q); ``y`` and ``w`` as for :func:`cost`."""
    plan = prepare(problem, q.device)
    u, du, ddu = _moves(plan, q)
    frames = _frames(plan, u)
    p = _points(plan, frames)
    r = _residuals(p, y, w)
    sums = _sums(plan, p, r, w)
    z, o = (frames[:, :-1, :, k].transpose(1, 2).contiguous() for k in (2, 3))  # (T, 3, E)
    slope, force = _forces(plan, z, o, sums)
    screw = _screws(plan, z, o)
    value = 0.5 * (w * (r * r).sum(dim=-1)).sum(dim=-1)
    off = q - plan.task_value
    value += 0.5 * (plan.task_weight * off * off).sum(dim=-1)
    gradient = (slope * du) @ plan.fold + plan.task_weight * off
    products = (screw * du[:, None]).transpose(1, 2) @ (force * du[:, None])
    hessian = _gathered(plan, products.flatten(1))
    hessian.diagonal(dim1=1, dim2=2).add_((slope * ddu) @ plan.fold + plan.task_weight)
    return value, gradient, hessian


def _sums(plan: Plan, p: Tensor, r: Tensor, w: Tensor) -> Tensor:
    """(T, 22, E) sums over the markers beyond each element: w (1, p)(1, y)ᵀ row by row, w r, w p × r."""
    one = torch.ones_like(w)[..., None]
    left, right = torch.cat([one, p], dim=-1) * w[..., None], torch.cat([one, p - r], dim=-1)
    each = [
        (left[..., :, None] * right[..., None, :]).flatten(2), w[..., None] * r,
        w[..., None] * torch.linalg.cross(p, r),
    ]  # fmt: skip
    return torch.cat(each, dim=-1).transpose(1, 2).contiguous() @ plan.beyond.T


def _forces(plan: Plan, z: Tensor, o: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """(T, E) derivatives of the cost by u, and (T, 6, E) the pairs (G, F) of the Hessian."""
    moment = sums[:, :16].view(len(sums), 4, 4, sums.shape[2])
    mass, first, other, mixed = moment[:, :1, 0], moment[:, 1:, 0], moment[:, 0, 1:], moment[:, 1:, 1:]
    residual, turning = sums[:, 16:19], sums[:, 19:]

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=1, keepdim=True)

    def cross(a: Tensor, b: Tensor) -> Tensor:
        product: Tensor = torch.linalg.cross(a, b, dim=1)
        return product

    turns = plan.turns > 0
    slope = torch.where(turns, dot(z, turning - cross(o, residual)), dot(z, residual))
    trace = mixed[:, 0, :1] + mixed[:, 1, 1:2] + mixed[:, 2, 2:]
    around = z * (trace - dot(o, other)) - (mixed * z[:, None]).sum(dim=2) + o * dot(z, other)
    g = torch.where(turns, around, cross(other, z))
    f = torch.where(turns, cross(z, first - mass * o), mass * z)
    return slope[:, 0], torch.cat([g, f], dim=1)


def _screws(plan: Plan, z: Tensor, o: Tensor) -> Tensor:
    """(T, 6, E) how a unit of u turns (first three) and shifts what lies beyond: x moves by ω × x + τ."""
    turns = plan.turns > 0
    return torch.cat([z * plan.turns, torch.where(turns, torch.linalg.cross(o, z, dim=1), z)], dim=1)


def _gathered(plan: Plan, products: Tensor) -> Tensor:
    """(T, Q, Q) from the products (T, E²) of elements."""
    size = len(plan.low)
    if not len(plan.coordinate):
        return products.new_zeros((len(products), size, size))
    entries = products[:, plan.first] * plan.some
    if len(plan.more_to):
        entries[:, plan.more_to] += products[:, plan.more_from] @ plan.more
    return entries.view(len(entries), size, size)


# --- Newton's method ----------------------------------------------------------------------------


def solve_batch(
    problem: Problem | Plan,
    y: FloatArray,
    start: FloatArray | None = None,
    *,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    most: int = ITERATIONS,
    chunk: int | None = None,
) -> Answers:
    """Every frame of markers y (T, M, 3) solved from its own start (T, Q), by default the rigid one.

    Returns what :class:`capbench.biomech.solve.Chain` holds, in its order: coordinates (T, Q), costs, largest
    projected gradients, iterations and status (T,). ``chunk`` frames are held in memory at a time.
    """
    plan = prepare(problem, device)
    if start is None:
        start = _rigid(plan, y)
    made = []
    step = chunk or CHUNK.get(plan.device.type, CHUNK["cpu"])
    for a in range(0, max(len(y), 1), step):
        part = torch.tensor(y[a : a + step], dtype=torch.float64, device=plan.device)
        begin = torch.tensor(start[a : a + step], dtype=torch.float64, device=plan.device)
        found = newton(plan, begin, part, weigh(plan, part), tolerance=tolerance, most=most)
        made.append([x.cpu().numpy() for x in found])
    q, value, slope, turns, status = (np.concatenate(same) for same in zip(*made, strict=True))
    return q, value, slope, turns, status


def _rigid(plan: Plan, y: FloatArray) -> FloatArray:
    middle = np.repeat(neutral(plan.problem.tree)[None], len(y), axis=0)
    return rigid_starts(plan.problem, y, middle)


@dataclass(frozen=True)
class _Batch:
    """Frames still at work: where they are, what is known there, and the step being tried."""

    index: Tensor  # (N,) which frame of the batch
    y: Tensor
    w: Tensor
    seen: Tensor  # (N, Q) coordinates that move a marker which is there
    q: Tensor
    cost: Tensor
    gradient: Tensor
    hessian: Tensor
    turn: Tensor  # (N,) iterations so far
    damping: Tensor
    step: Tensor
    length: Tensor  # of the step being tried
    tries: Tensor  # how often it was shortened; 0 asks for a new step

    def take(self, which: Tensor) -> _Batch:
        """Only those frames."""
        return _Batch(*(getattr(self, f.name)[which] for f in fields(self)))


@torch.no_grad()
def newton(
    problem: Problem | Plan,
    q: Tensor,
    y: Tensor,
    w: Tensor,
    *,
    tolerance: float = TOLERANCE,
    most: int = ITERATIONS,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Minimise all frames together from q (T, Q) within the bounds; the same steps as the compiled kernel.

    A frame that has converged leaves the batch. Returns coordinates, cost, largest projected gradient,
    iterations and status; frames without markers are NaN with status EMPTY.
    """
    plan = prepare(problem, q.device)
    frames = len(q)
    nan = torch.full((frames,), float("nan"), dtype=q.dtype, device=q.device)
    whole = torch.zeros(frames, dtype=torch.int64, device=q.device)
    out = (nan[:, None].repeat(1, q.shape[1]), nan.clone(), nan.clone(), whole.clone(), whole + EMPTY)
    batch = _begin(plan, q, y, w)
    while len(batch.index):
        free, worst = _free(plan, batch.q, batch.gradient, batch.seen)
        good = worst <= tolerance
        done = (batch.tries == 0) & (good | (batch.damping > HOPELESS) | (batch.turn >= most))
        if bool(done.any()):
            _write(out, batch, worst, torch.where(good, CONVERGED, STALLED), done)
            batch, free = batch.take(~done), free[~done]
            if not len(batch.index):
                break
        batch = _try(plan, _new_steps(batch, free))
    return out


def _begin(plan: Plan, q: Tensor, y: Tensor, w: Tensor) -> _Batch:
    index = torch.nonzero((w > 0).any(dim=1))[:, 0]
    q, y, w = torch.minimum(torch.maximum(q[index], plan.low), plan.high), y[index], w[index]
    value, gradient, hessian = evaluate(plan, q, y, w)
    zero = torch.zeros_like(value)
    none = torch.zeros_like(index)
    return _Batch(
        index, y, w, _seen(plan, w), q, value, gradient, hessian, none, zero, torch.zeros_like(q), zero + 1.0,
        none.clone(),
    )  # fmt: skip


def _seen(plan: Plan, w: Tensor) -> Tensor:
    """(T, Q) coordinates that move a marker which is there, or that have a task."""
    return (((w > 0).to(plan.fold) @ plan.beyond.T @ plan.fold) > 0) | (plan.task_weight > 0)


def _free(plan: Plan, q: Tensor, gradient: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(T, Q) coordinates that may move: seen, and not pushed against a bound; (T,) their largest gradient."""
    pushed = ((q <= plan.low) & (gradient > 0)) | ((q >= plan.high) & (gradient < 0))
    free = seen & ~pushed
    return free, torch.where(free, gradient.abs(), 0.0).amax(dim=1)


def _write(out: Sequence[Tensor], batch: _Batch, worst: Tensor, status: Tensor, done: Tensor) -> None:
    rows = batch.index[done]
    found = (batch.q, batch.cost, worst, batch.turn, status)
    for into, values in zip(out, found, strict=True):
        into[rows] = values[done]


def _new_steps(batch: _Batch, free: Tensor) -> _Batch:
    """The frames that ask for one get a new Newton step, no coordinate of which is longer than 1."""
    rows = torch.nonzero(batch.tries == 0)[:, 0]
    if not len(rows):
        return batch
    found, damping = _newton_step(batch.gradient[rows], batch.hessian[rows], free[rows], batch.damping[rows])
    step, length, dampings = batch.step.clone(), batch.length.clone(), batch.damping.clone()
    step[rows], dampings[rows] = found, damping
    length[rows] = LONGEST_STEP / found.abs().amax(dim=1).clamp(min=LONGEST_STEP)
    return replace(batch, step=step, length=length, damping=dampings)


def _newton_step(gradient: Tensor, hessian: Tensor, free: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """(N, Q) -(H + damping)⁻¹ gradient over the free coordinates; damping (N,) raised until it exists."""
    step, damping = torch.zeros_like(gradient), damping.clone()
    todo = torch.arange(len(gradient), device=gradient.device)
    while len(todo):
        root, good = _root(hessian[todo], free[todo], damping[todo])
        right = torch.where(free[todo], -gradient[todo], 0.0)[..., None]
        solved = torch.cholesky_solve(right, root)[..., 0]
        given_up = damping[todo] > 1e12  # a Hessian that is no number: no step
        step[todo] = torch.where(good[:, None], solved, 0.0)
        todo = todo[~good & ~given_up]
        damping[todo] = torch.clamp(4.0 * damping[todo], min=1e-6)
    return step, damping


def _root(hessian: Tensor, free: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of Hessian + damping over the free coordinates, 1 elsewhere; whether there is one."""
    both = free[:, :, None] & free[:, None, :]
    reduced = torch.where(both, hessian, 0.0)
    reduced.diagonal(dim1=1, dim2=2).add_(torch.where(free, damping[:, None], 1.0))
    root, failed = torch.linalg.cholesky_ex(reduced)
    pivots = torch.diagonal(root, dim1=1, dim2=2) ** 2
    return root, (failed == 0) & (pivots > 1e-14).all(dim=1)


def _try(plan: Plan, batch: _Batch) -> _Batch:
    """One step of all frames: taken where the cost does not rise, else shortened, in the end damped more."""
    trial = batch.q + batch.length[:, None] * batch.step
    trial = torch.minimum(torch.maximum(trial, plan.low), plan.high)
    value, gradient, hessian = evaluate(plan, trial, batch.y, batch.w)
    lower = value <= batch.cost * (1.0 + 1e-13) + 1e-22
    tries = torch.where(lower, 0, batch.tries + 1)
    over = tries >= SHORTENINGS
    full = batch.length == 1.0
    eased = torch.where(
        (batch.damping > 1e-9) & full, 0.1 * batch.damping, torch.where(full, 0.0, batch.damping)
    )
    raised = torch.where(over, torch.clamp(10.0 * batch.damping, min=1e-6), batch.damping)
    return replace(
        batch,
        q=torch.where(lower[:, None], trial, batch.q),
        cost=torch.where(lower, value, batch.cost),
        gradient=torch.where(lower[:, None], gradient, batch.gradient),
        hessian=torch.where(lower[:, None, None], hessian, batch.hessian),
        turn=batch.turn + (lower | over),
        damping=torch.where(lower, eased, raised),
        length=torch.where(lower, 1.0, 0.25 * batch.length),
        tries=torch.where(over, 0, tries),
    )


# --- training through the fit -------------------------------------------------------------------


def implicit_angles(
    problem: Problem | Plan,
    y: Tensor,
    *,
    weights: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """(T, Q) coordinates fitted to markers y (T, M, 3), differentiable in ``y`` and ``weights``.

    ``weights`` are (M,) or (T, M), by default the problem's; missing markers are NaN in ``y``. The
    derivatives are those of the minimum, by the implicit function theorem: ``dq/dy = -H⁻¹ ∂²cost/∂q∂y``
    over the coordinates that are seen and not held by a bound. The others, empty frames and frames that did
    not end in a minimum have derivative 0.
    """
    plan = prepare(problem, y.device)
    points = y.to(torch.float64)
    w = weigh(plan, points, weights)
    if start is None:
        start = torch.tensor(_rigid(plan, points.detach().cpu().numpy()), device=y.device)
    found: Tensor = _Minimum.apply(plan, points, w, start)  # type: ignore[no-untyped-call]  # torch types no apply
    return found


class _Minimum(torch.autograd.Function):
    """The fitted coordinates, with the derivative of the minimum."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, y: Tensor, w: Tensor, start: Tensor) -> Tensor:
        q, _, _, _, status = newton(plan, start, y, w)
        ctx.plan = plan
        ctx.save_for_backward(q, y, w, status)
        return q

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *passed: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        q, y, w, status = ctx.saved_tensors
        q = torch.where(torch.isnan(q), 0.0, q)
        _, gradient, hessian = evaluate(plan, q, y, w)
        free, _ = _free(plan, q, gradient, _seen(plan, w))
        root, good = _root(hessian, free, torch.zeros_like(q[:, 0]))
        good &= status == CONVERGED
        root = torch.where(good[:, None, None], root, torch.eye(q.shape[1], dtype=q.dtype, device=q.device))
        right = torch.where(free & good[:, None], passed[0], 0.0)
        moved, r = _marker_shift(plan, q, y, w, torch.cholesky_solve(right[..., None], root)[..., 0])
        return None, w[..., None] * moved, -(moved * r).sum(dim=-1), None


def _marker_shift(plan: Plan, q: Tensor, y: Tensor, w: Tensor, dq: Tensor) -> tuple[Tensor, Tensor]:
    """(T, M, 3) how the model's markers move with ``dq`` (T, Q), and their residuals."""
    u, du, _ = _moves(plan, q)
    frames = _frames(plan, u)
    p = _points(plan, frames)
    z, o = (frames[:, :-1, :, k].transpose(1, 2) for k in (2, 3))
    rate = _screws(plan, z, o) * (du * dq[:, plan.coordinate])[:, None]
    twist = (rate @ plan.beyond).transpose(1, 2)
    return torch.linalg.cross(twist[..., :3], p) + twist[..., 3:], _residuals(p, y, w)
