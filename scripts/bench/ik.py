#!/usr/bin/env python
"""How fast inverse kinematics is, beside OpenSim, on one core and on the same frames.

    python scripts/bench/ik.py --data FOLDER       # recordings: LabValidation subject 4
    python scripts/bench/ik.py --quick             # 20 s; without --data a made-up trial of the bundled walk

Everything is timed in processor time of the one core that the run is pinned to, files left out; OpenSim's
time is what its tool takes by its own clock or the processor time of its process, whichever is less. The
share of the peak is operations (counted from the problem, see operations.py) per second over the
multiply-adds that the core was measured to reach just now.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # read by the libraries when they are imported
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import numpy as np
from operations import count_operations, measure_peak

from capbench.biomech import opensim_tools, solve
from capbench.biomech.model import Marker, Model
from capbench.biomech.opensim_setup import read_tasks
from capbench.biomech.osim import read_model
from capbench.biomech.problem import Problem, build_problem
from capbench.biomech.starts import neutral, rigid_starts
from capbench.biomech.stream import People
from cohorts.errors import CapbenchError
from cohorts.formats import trc
from cohorts.recording import Markers
from cohorts.values import FloatArray

DEMO = Path(__file__).parents[2] / "capbench" / "demo"
TRIALS = ("walking1", "squats1", "DJ1")
Row = dict[str, Any]


# --- what is solved -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A recording, the model to fit and the weights; ``tasks`` is the file that OpenSim gets them from."""

    name: str
    model_file: Path
    model: Model
    markers: Markers
    weights: Mapping[str, float]
    tasks: Path | None

    @property
    def problem(self) -> Problem:
        """The problem as the kernels take it."""
        return build_problem(self.model, self.weights)

    @property
    def points(self) -> FloatArray:
        """(T, M, 3) metres, in the problem's order."""
        return np.ascontiguousarray(self.markers.select(self.problem.markers).xyz)


def recorded_cases(folder: Path) -> list[Case]:
    """Three real trials with the weights of the published recipe."""
    subject, tasks = folder / "labvalidation_subject4", folder / "opencap_setup" / "Setup_IK_Mocap.xml"
    file = subject / "model" / "manually_scaled.osim"
    model, wanted = read_model(file), read_tasks(tasks).markers
    cases = []
    for name in TRIALS:
        markers = trc.read(subject / "markers" / f"{name}.trc")
        shared = {m.name for m in model.markers} & set(markers.names)
        cases.append(
            Case(name, file, model, markers, {n: w for n, w in wanted.items() if n in shared}, tasks)
        )
    return cases


def demo_case(noise: float = 0.005, seed: int = 1) -> Case:
    """The bundled walk with noise (m) on its markers, all weighing the same."""
    file = DEMO / "walker.osim"
    model, clean = read_model(file), trc.read(DEMO / "walker.trc")
    shaken = clean.xyz + noise * np.random.default_rng(seed).standard_normal(clean.xyz.shape)
    markers = Markers(clean.time, clean.names, shaken)
    own = {m.name for m in model.markers}
    return Case("demo", file, model, markers, {n: 1.0 for n in markers.names if n in own}, None)


def shortened(case: Case, frames: int) -> Case:
    """Its first frames."""
    m = case.markers
    return replace(case, markers=Markers(m.time[:frames], m.names, m.xyz[:frames]))


def to_and_fro(y: FloatArray, frames: int) -> FloatArray:
    """As many frames as wanted, the recording forwards and backwards in turn, so that nothing jumps."""
    loop = np.concatenate([y, y[::-1]])
    long = np.ascontiguousarray(np.tile(loop, (-(-frames // len(loop)), 1, 1))[:frames])
    long.setflags(write=False)  # as recordings are: the kernel is compiled for that
    return long


# --- timing -------------------------------------------------------------------------------------


def processor_time(work: Callable[[], Any], least: float = 0.3) -> float:
    """Seconds that one call takes: the middle of as many as fit in ``least`` seconds, three or more."""
    work()
    taken: list[float] = []
    while sum(taken) < least or len(taken) < 3:
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return float(np.median(taken))


def begin(problem: Problem, y: FloatArray) -> FloatArray:
    """(T, Q) what a forward pass starts from: only its first row counts, the first frame's rigid start."""
    start = np.zeros((len(y), len(problem.moved)))
    start[:1] = rigid_starts(problem, y[:1], neutral(problem.tree)[None])
    return start


def single_pass(problem: Problem, y: FloatArray, start: FloatArray) -> solve.Chain:
    """Forward through the recording, each frame from those before."""
    return solve.run_chain(problem, y, start, warm=True, backwards=False)


def best_of_starts(problem: Problem, y: FloatArray) -> solve.Chain:
    """Forward, backward and each frame by itself."""
    return solve.best_of(solve.run_passes(problem, y, 3))


def opensim_seconds(case: Case, accuracy: float) -> float:
    """What OpenSim's tool takes; the child inherits the one core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    fit = opensim_tools.fit(case.markers, case.model_file, tasks=case.tasks, accuracy=accuracy)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return min(fit.seconds, used)


def torch_pass(problem: Problem, y: FloatArray) -> Callable[[], Any] | None:
    """Each frame from its rigid start, in one batch on the CPU; None without torch."""
    try:
        import torch

        from capbench.biomech import kernel_torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    plan = kernel_torch.prepare(problem)
    return lambda: kernel_torch.solve_batch(plan, y)


# --- the tables ---------------------------------------------------------------------------------


def speeds(case: Case, peak: float, *, opensim: bool = True) -> list[Row]:
    """Every engine on the same frames: frames/s, and times OpenSim's."""
    problem, y = case.problem, case.points
    made: list[tuple[str, float, str]] = []
    if opensim:
        for accuracy in (1e-5, 1e-9):
            made.append((f"OpenSim {accuracy:.0e}", opensim_seconds(case, accuracy), "tool"))
    start = begin(problem, y)
    rounds = float(single_pass(problem, y, start).iterations.mean())
    made += [
        (
            "ours, single pass",
            processor_time(lambda: single_pass(problem, y, start)),
            f"{rounds:.2f} iterations, first start given",
        ),
        (
            "ours, best of 3 starts",
            processor_time(lambda: best_of_starts(problem, y)),
            "forward, backward, cold",
        ),
        (
            "ours, all of solve()",
            processor_time(lambda: solve.solve(case.model, case.markers, weights=case.weights)),
            "3 passes, proof, names",
        ),
    ]
    batch = torch_pass(problem, y)
    if batch:
        made.append(("torch float64, CPU", processor_time(batch), "cold starts"))
    rows: list[Row] = [
        {"case": case.name, "engine": engine, "frames/s": len(y) / seconds, "note": note}
        for engine, seconds, note in made
    ]
    for accuracy in ("1e-05", "1e-09"):
        base = [r["frames/s"] for r in rows if r["engine"] == f"OpenSim {accuracy}"]
        for row in rows:
            row[f"x OpenSim {accuracy}"] = row["frames/s"] / base[0] if base else float("nan")
    count = count_operations(problem)
    fast = next(r for r in rows if r["engine"] == "ours, single pass")
    fast["kflop/frame"] = count.frame(rounds) / 1e3
    fast["share of peak"] = efficiency(count.frame(rounds), fast["frames/s"], peak)
    return rows


def efficiency(operations: float, frames_per_second: float, peak: float) -> float:
    """The share of the measured peak (operations/s) that the counted operations of a frame reach."""
    return operations * frames_per_second / peak


def problem_row(case: Case) -> Row:
    """How large a problem is, and what one iteration of it costs."""
    problem = case.problem
    count = count_operations(problem)
    return {
        "case": case.name, "frames": len(case.markers), "coordinates": len(problem.order),
        "elements": len(problem.parent), "markers": len(problem.markers),
        "flop at start": count.start, "flop/iteration": count.iteration, "sin and cos": count.trigonometry,
    }  # fmt: skip


def by_frames(case: Case, most: int) -> list[Row]:
    """Single pass over ever longer recordings, and what it keeps in memory beyond the markers themselves."""
    problem, rows = case.problem, []
    warm = to_and_fro(case.points, 10)
    single_pass(problem, warm, begin(problem, warm))
    for frames in [n for n in (100, 1_000, 10_000, 100_000, 1_000_000) if n <= most]:
        y = to_and_fro(case.points, frames)
        start = begin(problem, y)
        before, resident = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        single_pass(problem, y, start)
        seconds = time.process_time() - before
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident
        held = float("nan")  # what Python's allocator handed out for the answers
        if frames <= 10_000:  # tracing is slow; the larger ones show in the resident size
            tracemalloc.start()
            single_pass(problem, y, start)
            held = tracemalloc.get_traced_memory()[1] / frames
            tracemalloc.stop()
        rows.append(
            {
                "frames": frames, "seconds": seconds, "frames/s": frames / seconds,
                "bytes/frame traced": held, "bytes/frame resident": grown * 1024 / frames,
            }
        )  # fmt: skip
    return rows


def sized(case: Case, frames: int) -> Row:
    """One row of a scaling table."""
    problem, y = case.problem, to_and_fro(case.points, frames)
    start = begin(problem, y)
    turns = float(single_pass(problem, y, start).iterations.mean())
    seconds = processor_time(lambda: single_pass(problem, y, start), 0.1)
    return {
        "markers": len(problem.markers), "coordinates": len(problem.order),
        "iterations": turns, "kflop/frame": count_operations(problem).frame(turns) / 1e3,
        "us/frame": seconds / frames * 1e6,
    }  # fmt: skip


def by_markers(case: Case, frames: int) -> list[Row]:
    """The same bodies with one, two, four and eight times the markers, the new ones beside the old."""
    return [sized(with_more_markers(case, times), frames) for times in (1, 2, 4, 8)]


def with_more_markers(case: Case, times: int) -> Case:
    """Each marker ``times`` times; the copies are recorded where the first is, but a millimetre off."""
    own = [m for m in case.model.markers if m.name in case.weights]
    copies = [Marker(f"{m.name}#{i}", m.body, m.location) for i in range(times) for m in own]
    xyz = case.markers.select([m.name for m in own]).xyz
    shaken = np.concatenate([xyz, *(_shaken(xyz, i) for i in range(1, times))], axis=1)
    return replace(
        case,
        model=case.model.with_markers(tuple(copies)),
        markers=Markers(case.markers.time, tuple(m.name for m in copies), shaken),
        weights={m.name: case.weights[m.name.partition("#")[0]] for m in copies},
    )


def _shaken(xyz: FloatArray, seed: int) -> FloatArray:
    moved: FloatArray = xyz + 0.001 * np.random.default_rng(seed).standard_normal(xyz.shape)
    return moved


def by_coordinates(case: Case, frames: int) -> list[Row]:
    """Only the first bodies' markers, then more and more: what no marker depends on is pruned."""
    body = {m.name: m.body for m in case.model.markers}
    order = [j.child for j in case.model.joints]
    used = sorted({body[n] for n in case.weights}, key=order.index)
    rows: list[Row] = []
    for count in sorted({round(x) for x in np.linspace(1, len(used), 5)}):
        weights = {n: w for n, w in case.weights.items() if body[n] in used[:count]}
        rows.append(sized(replace(case, weights=weights), frames))
    return rows


def by_people(case: Case, frames: int) -> list[Row]:
    """Several people's recordings one after the other: time per person and frame."""
    problem, y = case.problem, to_and_fro(case.points, frames)
    start = begin(problem, y)
    rows: list[Row] = []
    for people in (1, 10, 100):

        def all_of_them(people: int = people) -> None:
            for _ in range(people):
                single_pass(problem, y, start)

        seconds = processor_time(all_of_them, 0.1)
        rows.append(
            {
                "people": people,
                "us/frame": seconds * 1e6 / frames,
                "us/person": seconds * 1e6 / frames / people,
            }
        )
    return rows


def latencies(case: Case, frames: int) -> list[Row]:
    """Wall time of one frame of everybody through the stream, proof included, milliseconds."""
    names = case.markers.names
    rows: list[Row] = []
    for people in (1, 10):
        crowd = People(case.model, names, case.weights)
        crowd.warm_up()
        xyz = to_and_fro(case.markers.xyz, frames)
        taken = []
        for t, points in enumerate(xyz):
            before = time.perf_counter()
            for person in range(people):
                crowd.push(person, t / 100, points)
            taken.append(1e3 * (time.perf_counter() - before))
        p50, p95 = np.percentile(taken[10:], [50, 95])
        rows.append({"people": people, "frames": frames, "p50 ms": float(p50), "p95 ms": float(p95)})
    return rows


def table(title: str, rows: list[Row]) -> str:
    """Rows as plain text; figures to four digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    text = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([f"\n{title}", *text])


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def processor_name() -> str:
    """As Linux tells it, else its architecture."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


# --- the run ------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All tables."""
    cases = recorded_cases(options.data) if options.data else [demo_case()]
    cases = cases[:1] if options.quick else cases
    short = [shortened(case, options.opensim_frames) for case in cases]
    first = cases[0]
    peak = measure_peak()
    few = 1_000 if options.quick else 5_000
    result: dict[str, Any] = {
        "machine": {
            "processor": processor_name(),
            "core": sorted(os.sched_getaffinity(0)), "load": os.getloadavg(),
            "multiply-add peak, GFLOP/s": peak / 1e9,
        },
        "problems": [problem_row(case) for case in short],
        "speed": [row for case in short for row in speeds(case, peak, opensim=not options.no_opensim)],
        "frames": by_frames(first, options.most_frames),
        "markers": by_markers(first, few),
        "coordinates": by_coordinates(first, few),
        "people": by_people(first, few // 10),
        "latency": latencies(first, 200 if options.quick else 1_000),
    }  # fmt: skip
    return result


TITLES = {
    "problems": "Problems: sizes, and operations counted from their structure",
    "speed": "Speed on the same frames, one core",
    "frames": "With the number of frames (single pass)",
    "markers": "With the number of markers",
    "coordinates": "With the number of coordinates",
    "people": "With the number of people",
    "latency": "Live: one frame of everybody through the stream",
}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of shared recordings (labvalidation_subject4, …)")
    parser.add_argument(
        "--opensim-frames", type=int, default=131, help="frames of each trial in the comparison"
    )
    parser.add_argument("--no-opensim", action="store_true", help="leave OpenSim out")
    parser.add_argument("--most-frames", type=int, default=1_000_000, help="longest recording to scale to")
    parser.add_argument("--core", type=int, help="core to run on (default: the last allowed one)")
    parser.add_argument("--quick", action="store_true", help="one trial, few frames: 20 s")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args(words)
    if options.quick:
        options.opensim_frames = min(options.opensim_frames, 60)
        options.most_frames = min(options.most_frames, 10_000)
    return options


def main() -> int:
    """Pin, measure, print."""
    options = arguments()
    core = options.core if options.core is not None else max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    try:
        result = run(options)
    except CapbenchError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in result["machine"].items():
        print(f"{name}: {value}")
    for name, title in TITLES.items():
        print(table(title, result[name]))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
