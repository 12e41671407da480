"""The benchmark's own arithmetic: its counts are held against the kernel's source run on counting numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capbench.biomech import kernel_numba
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
from capbench.biomech.problem import Problem, build_problem
from cohorts.values import FloatArray

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def bench() -> Any:
    kept = list(sys.path)
    sys.path.insert(0, str(BENCH))
    import ik
    import operations

    sys.path[:] = kept
    return ik, operations


def arm(bend: Axis, shift: Axis) -> Model:
    """A carriage along x, on it an arm that turns about z (and whatever ``bend`` and ``shift`` do)."""
    rail = Joint(
        "rail", "CustomJoint", "ground", "carriage", Placement(), Placement(),
        (fixed_axis(Z), fixed_axis(X), fixed_axis(Y)), (free_axis(X, "x"), fixed_axis(Y), fixed_axis(Z)),
        (Coordinate("x", kind="translation"),),
    )  # fmt: skip
    hinge = Joint(
        "hinge", "CustomJoint", "carriage", "arm", Placement(), Placement(),
        (free_axis(Z, "angle"), bend, fixed_axis(Y)), (shift, fixed_axis(Y), fixed_axis(Z)),
        (Coordinate("angle", 0.1),),
    )  # fmt: skip
    return Model(
        "arm",
        (Body("carriage"), Body("arm")),
        (rail, hinge),
        markers=(
            Marker("base", "carriage", np.array([0.0, 0.1, 0.0])),
            Marker("tip", "arm", np.array([0.5, 0.0, 0.1])),
            Marker("side", "arm", np.array([0.3, 0.1, -0.1])),
        ),
    )


def plain_arm() -> Problem:
    return build_problem(arm(fixed_axis(X), fixed_axis(X)), {"base": 1.0, "tip": 1.0, "side": 2.0})


def curved_arm() -> Problem:
    spline = simm_spline(np.linspace(-2, 2, 5), np.array([0.0, 0.1, 0.05, 0.0, 0.1]))
    bend = Axis(np.array(X), spline, "angle")
    shift = Axis(np.array(Y), Polynomial(np.array([0.1, 0.2, 0.0])), "angle")
    return build_problem(arm(bend, shift), {"base": 1.0, "tip": 1.0, "side": 2.0})


class Counting:
    """A number that counts the operations done with it."""

    done = 0

    def __init__(self, value: Any) -> None:
        self.value = float(value)

    def __float__(self) -> float:
        return self.value

    def __neg__(self) -> Counting:
        return Counting(-self.value)

    def __abs__(self) -> Counting:
        return Counting(abs(self.value))

    def __bool__(self) -> bool:
        return self.value != 0

    def __lt__(self, other: Any) -> bool:
        return self.value < float(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > float(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= float(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= float(other)

    def __eq__(self, other: object) -> bool:
        return self.value == float(other)  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]


def _counted(name: str) -> Any:
    def operation(self: Counting, other: Any) -> Counting:
        Counting.done += 1
        found = getattr(self.value, name)(float(other))
        return Counting(found)

    return operation


for _name in ("add", "sub", "mul", "truediv"):
    for _kind in ("", "r"):
        setattr(Counting, f"__{_kind}{_name}__", _counted(f"__{_kind}{_name}__"))


def counting(values: FloatArray) -> Any:
    return np.vectorize(Counting, otypes=[object])(values) if values.size else values.astype(object)


@dataclass
class Run:
    """What the kernel did: operations in placing the elements, all others, and how often."""

    placing: int = 0
    other: int = 0
    looks: int = 0
    turns: int = 0


def run_counting(problem: Problem, q: FloatArray, y: FloatArray, patch: pytest.MonkeyPatch) -> Run:
    """One frame solved by the compiled kernel's own Python source."""
    for name, value in list(vars(kernel_numba).items()):
        if hasattr(value, "py_func"):
            patch.setattr(kernel_numba, name, value.py_func)
    function, place, run = kernel_numba._function, kernel_numba.place_elements, Run()

    def place_apart(*arguments: Any) -> None:
        before = Counting.done
        place(*arguments)
        run.placing += Counting.done - before
        run.looks += 1
        Counting.done = before

    patch.setattr(kernel_numba, "_function", lambda *a: tuple(Counting(v) for v in function(*a)))
    patch.setattr(kernel_numba, "place_elements", place_apart)
    work = kernel_numba.workspace(len(problem.parent), len(q))
    own = tuple(a.astype(object) if a.dtype == float else a for a in work)
    p = tuple(counting(a) if a.dtype == float else a for a in problem.arrays)
    w = problem.weights / problem.weights.sum()
    far = np.full(len(q), np.inf)
    Counting.done = 0
    _, _, run.turns, status = kernel_numba.newton(
        p, -far, far, counting(q), counting(y), counting(w), np.ones(len(q), dtype=bool), 1e-12, 50, own
    )
    assert status == kernel_numba.CONVERGED and run.looks == run.turns + 1  # no step was shortened
    run.other = Counting.done
    return run


def near_pose(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """A pose, and markers of one close by with a few millimetres of misfit: whole steps all the way."""
    y = np.array([[0.21, 0.1, 0.0], [0.69, 0.1, 0.1], [0.47, 0.16, -0.1]])
    return np.array([0.2, 0.15]), y


@pytest.mark.parametrize("make", [plain_arm, curved_arm])
def test_counts_are_those_of_the_kernel_run_on_counting_numbers(
    bench: Any, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Problem]
) -> None:
    """Placing may cost more than is counted: ones and zeros are multiplied where that spares a branch."""
    problem = make()
    count = bench[1].count_operations(problem)
    run = run_counting(problem, *near_pose(problem), monkeypatch)
    assert run.turns >= 3
    assert run.other == count.frame(run.turns) - run.looks * count.placing
    assert count.placing <= run.placing / run.looks + 1  # a polynomial's first 2 · 0 hides from the count
    assert count.placing >= 0.5 * run.placing / run.looks


def test_counts_by_hand(bench: Any) -> None:
    """One slider, one hinge on it; three markers, two of them beyond the hinge.

    Look: frames 6 + (63 + 18), markers 3 · 72, tasks 2 · 5, slopes (5 + 2) + (20 + 2 + 22), tasks 2 · 2.
    Step: forces (24 + 2) + (79 + 2), pairs slider 8, hinge 20 + 8 for the slider above it; factor of a 2 × 2:
    damping 2, one division and one product and difference 1 + 2, solved 1 + (1 + 4); moved 2 · 2, checks 3.
    """
    count = bench[1].count_operations(plain_arm())
    look = 6 + 81 + 216 + 10 + 7 + 44 + 4
    assert count.start == look and count.placing == 6 + 81
    assert count.iteration == look + 26 + 81 + 36 + 2 + 3 + 6 + 4 + 3
    assert count.trigonometry == 2
    assert count.frame(3) == look + 3 * count.iteration


def test_tables_add_up(bench: Any) -> None:
    ik = bench[0]
    case = ik.shortened(ik.demo_case(), 5)
    peak = 1e11
    rows = {row["engine"]: row for row in ik.speeds(case, peak, opensim=False)}
    assert {"ours, single pass", "ours, best of 3 starts", "torch float64, CPU"} <= set(rows)
    fast = rows["ours, single pass"]
    assert fast["share of peak"] == pytest.approx(fast["kflop/frame"] * 1e3 * fast["frames/s"] / peak)
    size = ik.problem_row(case)
    assert (size["frames"], size["markers"]) == (5, 27)
    start = ik.begin(case.problem, case.points)
    rounds = ik.single_pass(case.problem, case.points, start).iterations
    whole = sum(size["flop at start"] + n * size["flop/iteration"] for n in rounds)
    assert fast["kflop/frame"] * 1e3 * 5 == pytest.approx(whole)


def test_scaling_tables_solve_what_they_say(bench: Any) -> None:
    ik = bench[0]
    case = ik.shortened(ik.demo_case(), 5)
    markers = ik.by_markers(case, 8)
    assert [row["markers"] for row in markers] == [27, 54, 108, 216]
    assert len({row["coordinates"] for row in markers}) == 1
    rows = ik.by_coordinates(case, 8)
    assert [r["coordinates"] for r in rows] == sorted({r["coordinates"] for r in rows})
    assert rows[-1]["coordinates"] == len(case.problem.order) and rows[0]["coordinates"] == 6
    assert [row["frames"] for row in ik.by_frames(case, 1000)] == [100, 1000]
    assert [row["people"] for row in ik.by_people(case, 5)] == [1, 10, 100]
    assert [row["people"] for row in ik.latencies(case, 12)] == [1, 10]


def test_to_and_fro_never_jumps(bench: Any) -> None:
    y = np.arange(4.0).reshape(4, 1, 1)
    assert bench[0].to_and_fro(y, 11)[:, 0, 0].tolist() == [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2]


def test_table_and_json_hold_the_figures(bench: Any, tmp_path: Path) -> None:
    ik = bench[0]
    text = ik.table("Title", [{"a": 1234.5, "b": "x"}, {"a": float("nan"), "c": 0.12345}])
    assert [line.split() for line in text.splitlines() if line] == [
        ["Title"], ["a", "b", "c"], ["1,234", "x", "-"], ["-", "-", "0.1235"],
    ]  # fmt: skip
    options = ik.arguments(["--quick", "--json", str(tmp_path / "x.json")])
    assert options.opensim_frames == 60 and options.most_frames == 10_000
    assert json.dumps(ik.problem_row(ik.demo_case()))


def test_peak_is_above_what_the_kernel_reaches(bench: Any) -> None:
    """No timing is asserted, only that the measurement ends in a number of operations."""
    assert np.isfinite(bench[1].measure_peak(0.01)) and bench[1].measure_peak(0.01) > 0
