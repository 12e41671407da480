"""The batched kernel against the compiled one, autograd and finite differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from capbench.biomech import kernel_numba, kernel_proof, kernel_torch
from capbench.biomech.functions import Polynomial, simm_spline
from capbench.biomech.model import (
    Axis,
    Body,
    Coordinate,
    Joint,
    Marker,
    Model,
    Placement,
    fixed_axis,
    free_axis,
)
from capbench.biomech.opensim_setup import read_tasks
from capbench.biomech.osim import read_model
from capbench.biomech.problem import CoordinateTask, Problem, build_problem
from capbench.biomech.solve import run_chain
from capbench.biomech.starts import neutral, rigid_starts
from capbench.biomech.tree import rotation_about
from cohorts.formats import trc
from cohorts.values import FloatArray

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
WEIGHTS = {"p1": 1.0, "p2": 2.0, "p3": 1.5, "s1": 1.0, "s2": 3.0, "s3": 0.5, "f1": 1.0, "f2": 2.0, "g1": 1.0}


def leg() -> Model:
    """Free root, a knee whose one angle moves five axes, an ankle that slides a little, a fixed point."""
    angle = np.array([-2.2, -1.4, -0.7, 0.0, 0.3])
    slide = simm_spline(angle, np.array([-0.02, 0.004, 0.011, 0.0, -0.003]))
    tip = simm_spline(np.array([-2.0, -1.0, 0.2]), np.array([0.2, 0.07, -0.01]))
    free = Joint(
        "free", "CustomJoint", "ground", "pelvis", Placement(), Placement(),
        (free_axis(Z, "tilt"), free_axis(X, "list"), free_axis(Y, "turn")),
        (free_axis(X, "tx"), free_axis(Y, "ty"), free_axis(Z, "tz")),
        tuple(Coordinate(n) for n in ("tilt", "list", "turn"))
        + tuple(Coordinate(n, kind="translation") for n in ("tx", "ty", "tz")),
    )  # fmt: skip
    knee = Joint(
        "knee", "CustomJoint", "pelvis", "shank",
        Placement(rotation_about(np.array(X), 0.2), np.array([0.01, -0.4, 0.05])),
        Placement(rotation_about(np.array(Y), -0.1), np.array([0.0, 0.02, 0.0])),
        (
            free_axis(Z, "knee"),
            Axis(np.array(X), tip, "knee"),
            Axis(np.array(Y), Polynomial(np.array([0.05, -0.1, 0.12, 0.01])), "knee"),
        ),
        (Axis(np.array(X), slide, "knee"), Axis(np.array(Y), slide.scaled(0.5), "knee"), fixed_axis(Z)),
        (Coordinate("knee", -0.3, (-1.5, 0.1), clamped=True),),
    )  # fmt: skip
    ankle = Joint(
        "ankle", "CustomJoint", "shank", "foot",
        Placement(np.eye(3), np.array([0.0, -0.4, 0.0])), Placement(),
        (
            Axis(np.array([0.6, 0.0, 0.8]), Polynomial(np.array([0.9, 0.0])), "ankle"),
            fixed_axis(X),
            fixed_axis(Y),
        ),
        (fixed_axis(X), free_axis(Y, "drop"), fixed_axis(Z)),
        (Coordinate("ankle", 0.0, (-0.4, 0.4), clamped=True), Coordinate("drop", kind="translation")),
    )  # fmt: skip
    places = {
        "p1": ("pelvis", (0.1, 0.0, 0.12)), "p2": ("pelvis", (0.1, 0.03, -0.12)),
        "p3": ("pelvis", (-0.1, 0.0, 0.0)), "s1": ("shank", (0.04, -0.1, 0.05)),
        "s2": ("shank", (0.0, -0.35, -0.05)), "s3": ("shank", (-0.05, -0.2, 0.0)),
        "f1": ("foot", (0.12, -0.05, 0.03)), "f2": ("foot", (-0.06, -0.04, 0.0)),
        "g1": ("ground", (1.0, 0.0, 0.0)),
    }  # fmt: skip
    return Model(
        "leg",
        tuple(Body(n) for n in ("pelvis", "shank", "foot")),
        (free, knee, ankle),
        markers=tuple(Marker(name, body, np.array(at, float)) for name, (body, at) in places.items()),
    )


def leg_problem() -> Problem:
    return build_problem(leg(), WEIGHTS, (CoordinateTask("drop", 0.3, 0.02),))


def made_up(problem: Problem, frames: int, noise: float, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Poses (T, Q), some beyond bounds and knots, and noisy markers of them, some missing."""
    rng = np.random.default_rng(seed)
    q = rng.uniform(-1, 1, (frames, len(problem.moved)))
    q[:, problem.tree.index("knee")] = rng.uniform(-2.6, 0.5, frames)
    plan = kernel_torch.prepare(problem)
    u = kernel_torch._moves(plan, torch.tensor(q))[0]
    y = kernel_torch._points(plan, kernel_torch._frames(plan, u)).numpy()
    y = y + noise * rng.standard_normal(y.shape)
    y[rng.uniform(size=y.shape[:2]) < 0.1] = np.nan
    return q, y


def compiled(problem: Problem, q: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cost, gradient and Hessian of the compiled kernel."""
    frames, size = q.shape
    cost, gradient, hessian = np.zeros(frames), np.zeros((frames, size)), np.zeros((frames, size, size))
    kernel_proof.costs_of_frames(problem.arrays, problem.weights, q, y, cost, gradient, hessian)
    return cost, gradient, hessian


def batched(problem: Problem, q: FloatArray, y: FloatArray, device: str) -> tuple[FloatArray, ...]:
    plan = kernel_torch.prepare(problem, device)
    points = torch.tensor(y, device=device)
    found = kernel_torch.evaluate(
        plan, torch.tensor(q, device=device), points, kernel_torch.weigh(plan, points)
    )
    return tuple(x.cpu().numpy() for x in found)


def real_problem(folder: Path) -> tuple[Problem, FloatArray]:
    """The published weights on a recorded walk of 131 frames."""
    model = read_model(folder / "labvalidation_subject4" / "model" / "manually_scaled.osim")
    markers = trc.read(folder / "labvalidation_subject4" / "markers" / "walking1.trc")
    tasks = read_tasks(folder / "opencap_setup" / "Setup_IK_Mocap.xml")
    own = {m.name for m in model.markers} & set(markers.names)
    problem = build_problem(model, {n: w for n, w in tasks.markers.items() if n in own})
    return problem, np.ascontiguousarray(markers.select(problem.markers).xyz)


def starts(problem: Problem, y: FloatArray) -> FloatArray:
    return rigid_starts(problem, y, np.repeat(neutral(problem.tree)[None], len(y), axis=0))


def same(a: FloatArray, b: FloatArray, share: float = 1e-12) -> None:
    """Equal to a share of the largest number of each frame."""
    size = np.abs(b).reshape(len(b), -1).max(axis=1).reshape(-1, *[1] * (b.ndim - 1))
    assert (np.abs(a - b) <= share * size).all()


@pytest.mark.parametrize("device", DEVICES)
def test_cost_gradient_and_hessian_are_those_of_the_compiled_kernel(device: str) -> None:
    problem = leg_problem()
    q, y = made_up(problem, 200, 0.05)
    for ours, theirs in zip(batched(problem, q, y, device), compiled(problem, q, y), strict=True):
        same(ours, theirs)


def test_derivatives_are_those_of_the_cost_by_autograd() -> None:
    problem = leg_problem()
    pose, y = made_up(problem, 6, 0.05)
    plan = kernel_torch.prepare(problem)
    points = torch.tensor(y)
    w = kernel_torch.weigh(plan, points)
    q = torch.tensor(pose, requires_grad=True)
    _, gradient, hessian = kernel_torch.evaluate(plan, q.detach(), points, w)
    value = kernel_torch.cost(plan, q, points, w)
    (slope,) = torch.autograd.grad(value.sum(), q, create_graph=True)
    assert torch.allclose(slope, gradient, rtol=0, atol=1e-13)
    for c in range(q.shape[1]):
        (row,) = torch.autograd.grad(slope[:, c].sum(), q, retain_graph=True)
        assert torch.allclose(row, hessian[:, c], rtol=0, atol=1e-12)


def test_cost_is_what_opensim_states() -> None:
    """By hand: one marker 3 mm off and one 4 mm off, weights 1 and 3, and a task 0.1 from its value."""
    model = Model(
        "slider",
        (Body("b"),),
        (
            Joint(
                "j", "CustomJoint", "ground", "b", Placement(), Placement(),
                (fixed_axis(Z), fixed_axis(X), fixed_axis(Y)),
                (free_axis(X, "x"), fixed_axis(Y), fixed_axis(Z)),
                (Coordinate("x", kind="translation"),),
            ),
        ),
        markers=(Marker("a", "b", np.zeros(3)), Marker("c", "b", np.array([0.0, 1.0, 0.0]))),
    )  # fmt: skip
    problem = build_problem(model, {"a": 1.0, "c": 3.0}, (CoordinateTask("x", 2.0, 0.4),))
    y = torch.tensor([[[0.5, 0.003, 0.0], [0.504, 1.0, 0.0]]], dtype=torch.float64)
    plan = kernel_torch.prepare(problem)
    w = kernel_torch.weigh(plan, y)
    value, gradient, hessian = kernel_torch.evaluate(plan, torch.full((1, 1), 0.5, dtype=torch.float64), y, w)
    assert w.tolist() == [[0.25, 0.75]]
    assert value.item() == pytest.approx(0.5 * (0.25 * 9e-6 + 0.75 * 16e-6) + 0.5 * 2 * 0.01, rel=1e-12)
    assert gradient.item() == pytest.approx(0.75 * -0.004 + 2 * 0.1, rel=1e-12)
    assert hessian.item() == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_solves_to_the_same_minima_with_bounds_and_gaps(device: str) -> None:
    problem = leg_problem()
    _, y = made_up(problem, 120, 0.02)
    y[7] = np.nan
    y[11, [i for i, n in enumerate(problem.markers) if n[0] in "fs"]] = np.nan  # knee and ankle unseen
    start = starts(problem, y)
    theirs = run_chain(problem, y, start, warm=False, backwards=False)
    q, cost, slope, iterations, status = kernel_torch.solve_batch(problem, y, start, device=device)
    assert status[7] == kernel_numba.EMPTY and np.isnan(q[7]).all() and np.isnan([cost[7], slope[7]]).all()
    some = np.delete(np.arange(120), 7)
    assert (status == theirs.status).all() and (status[some] == kernel_numba.CONVERGED).all()
    assert (slope[some] <= 1e-12).all() and iterations[some].max() < 60
    np.testing.assert_allclose(cost[some], theirs.cost[some], rtol=1e-10, atol=1e-20)
    assert np.abs(np.degrees(q - theirs.q))[some].max() <= 1e-6
    knee = q[some, problem.tree.index("knee")]
    assert knee.min() == -1.5 and knee.max() == 0.1  # both bounds are met, none is crossed
    ankle = problem.tree.index("ankle")
    assert q[11, ankle] == start[11, ankle]  # nothing shows it: held


def test_batches_of_any_size_give_the_same() -> None:
    problem = leg_problem()
    _, y = made_up(problem, 50, 0.02)
    whole, single, odd = (kernel_torch.solve_batch(problem, y, chunk=n) for n in (50, 1, 7))
    for other in (single, odd):
        np.testing.assert_allclose(other[0], whole[0], rtol=0, atol=1e-11)
        assert (other[4] == whole[4]).all()


def test_no_frames_and_no_seen_markers() -> None:
    problem = leg_problem()
    q, cost, *_ = kernel_torch.solve_batch(problem, np.empty((0, 9, 3)))
    assert q.shape == (0, 9) and cost.shape == (0,)
    q, *_, status = kernel_torch.solve_batch(problem, np.full((3, 9, 3), np.nan))
    assert np.isnan(q).all() and (status == kernel_numba.EMPTY).all()


def test_derivative_of_the_angles_by_finite_differences() -> None:
    problem = leg_problem()
    pose, y = made_up(problem, 3, 0.01, seed=5)
    start = torch.tensor(pose)
    y[0, 3] = np.nan
    given = torch.tensor(y)
    there = ~torch.isnan(given)

    def angles(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        points = torch.full_like(given, float("nan")).masked_scatter(there, values)
        return kernel_torch.implicit_angles(problem, points, weights=weights, start=start)

    values = given[there].requires_grad_()
    weights = torch.rand(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.5
    bounded = angles(values, weights).detach().numpy()
    at_bound = np.isin(bounded[:, problem.tree.index("knee")], (-1.5, 0.1))
    assert at_bound.any() and not at_bound.all()  # both cases are looked at
    assert torch.autograd.gradcheck(
        angles, (values, weights.requires_grad_()), eps=1e-5, atol=1e-6, rtol=1e-5
    )


def test_derivatives_of_frames_without_an_answer_are_zero() -> None:
    problem = leg_problem()
    _, y = made_up(problem, 4, 0.01)
    y[1] = np.nan
    y[2, 3:8] = np.nan
    points = torch.tensor(y, requires_grad=True)
    q = kernel_torch.implicit_angles(problem, points)
    torch.nansum(q).backward()
    assert points.grad is not None and torch.isfinite(points.grad).all()
    assert (points.grad[1] == 0).all() and (points.grad[2, 3:] == 0).all() and (points.grad[3] != 0).any()


def test_training_pulls_the_points_towards_the_angles() -> None:
    """Gradient descent through the fit reaches the wanted knee angle, which only the fit can measure."""
    problem = leg_problem()
    knee = problem.tree.index("knee")
    pose, _ = made_up(problem, 1, 0.0)
    pose[:, knee] = -0.6
    plan = kernel_torch.prepare(problem)
    y = kernel_torch._points(
        plan, kernel_torch._frames(plan, kernel_torch._moves(plan, torch.tensor(pose))[0])
    )
    y = y.clone().requires_grad_()
    start = torch.tensor(pose)
    for _ in range(60):
        loss = (kernel_torch.implicit_angles(plan, y, start=start)[:, knee] + 0.8).square().sum()
        (slope,) = torch.autograd.grad(loss, y)
        y = (y - 0.02 * slope).detach().requires_grad_()
    assert loss.item() < 1e-6


def test_recorded_walk(shared_data: Path) -> None:
    problem, y = real_problem(shared_data)
    start = starts(problem, y)
    theirs = run_chain(problem, y, start, warm=False, backwards=False)
    q, cost, slope, _, status = kernel_torch.solve_batch(problem, y, start)
    assert (status == kernel_numba.CONVERGED).all() and slope.max() <= 1e-12
    assert np.abs(np.degrees(q - theirs.q)).max() <= 1e-6
    np.testing.assert_allclose(cost, theirs.cost, rtol=1e-11)
    around = q + 0.1 * np.random.default_rng(3).standard_normal(q.shape)
    for ours, wanted in zip(batched(problem, around, y, "cpu"), compiled(problem, around, y), strict=True):
        same(ours, wanted)
