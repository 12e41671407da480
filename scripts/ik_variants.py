#!/usr/bin/env python
"""What else inverse kinematics could do with a model's points: each variant's joint-angle error.

    python scripts/ik_variants.py COHORT runs/mini-17 runs/mini-52 [--out ik_variants.md]

Takes runs of ``capbench evaluate`` on the cohort folder COHORT and solves their markers again, on the
person's model of the run, scored as capbench-1 does. Variants:

as it is        every point weighs the same, frames by themselves: the protocol
by residual     points weigh as the inverse variance of their residuals in the trial (with 5 mm added), twice
by variance     points weigh as the inverse of what the model's own maps spread in the trial, median, pixels²
N Hz            a temporal prior that leaves motion below N hertz
population P    joint angles pulled to the mean of the conditions that mini-cpu trains on, by their variance
                there against points of 25 mm error; P times as strongly
both            the two together

Error in degrees, over the cohort as the protocol averages; ratio is the first run's to the last one's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.model import Model
from capbench.biomech.osim import read_model
from capbench.biomech.problem import CoordinateTask
from capbench.biomech.solve import solve
from capbench.run import scoring
from capbench.run.truths import read_truths
from cohorts.bounded import write_text
from cohorts.errors import CapbenchError
from cohorts.formats import native_npz, trc
from cohorts.recording import Keypoints, Markers, Motion
from cohorts.store import open_cohort
from synthpose.postures import STANDING, Library
from synthpose.train_recipe import read_recipe

FLOOR = 0.005  #: metres added to residuals
NOISE = 0.025  #: metres, what a point's error is taken for by the population prior
VARIANTS = 2  #: motions of each condition that the population is made of

Spreads = Mapping[str, float]  #: marker -> median variance of its point's maps, pixels²
Variant = Callable[[Model, Markers, Spreads], Motion]
Prior = Mapping[str, tuple[float, float]]


def population() -> Prior:
    """Coordinate -> mean and standard deviation over the conditions that mini-cpu trains on, radians."""
    data = read_recipe("mini-cpu", "dense").data
    assert data is not None
    library = Library(data.model_copy(update={"variants": VARIANTS}))
    motions = [library.motion(*name) for name in library.names if name[0] != STANDING]
    found = {}
    for name in scoring.PROTOCOL.coordinates:
        if name == "pelvis_rotation" or (name.startswith("pelvis_t") and name != "pelvis_tilt"):
            continue  # where somebody walks to, and where they are
        values = [m.values[:, m.names.index(name)] for m in motions]
        # every motion counts alike, however long
        mean = float(np.mean([v.mean() for v in values]))
        found[name] = mean, float(np.sqrt(np.mean([((v - mean) ** 2).mean() for v in values])))
    return found


def pulls(prior: Prior, points: int, strength: float) -> tuple[CoordinateTask, ...]:
    """Tasks that make the answer the likeliest one: the markers' cost is the mean square, in metres²."""
    return tuple(
        CoordinateTask(name, weight=strength * NOISE**2 / points / sd**2, value=mean)
        for name, (mean, sd) in prior.items()
    )


def spreads(path: Path) -> Spreads:
    """Of a trial's keypoints, over its frames and cameras."""
    tracks = [track for track in native_npz.read(path) if isinstance(track, Keypoints)]
    told = [track.covariance for track in tracks if track.covariance is not None]
    if len(told) != len(tracks):
        return {}
    variance = np.nanmedian(np.concatenate([np.trace(c, axis1=2, axis2=3) / 2 for c in told]), axis=0)
    return dict(zip(tracks[0].skeleton.points, variance.tolist(), strict=True))


def by_variance(model: Model, markers: Markers, spread: Spreads) -> Motion:
    """Points weigh by how sure the model says it is of them."""
    if not spread:
        raise CapbenchError(
            "Expected keypoints with covariances, got some without.", fix="leave 'by variance' out (--only)"
        )
    weights = {name: 1 / spread[name] for name in markers.names if name in spread}
    mean = float(np.mean(list(weights.values())))
    return solve(model, markers, weights={name: w / mean for name, w in weights.items()}).motion


def by_residual(model: Model, markers: Markers, spread: Spreads, rounds: int = 2) -> Motion:
    """Points weigh by how well they were met."""
    motion = solve(model, markers).motion
    for _ in range(rounds):
        made = marker_tracks(model, motion).select(markers.names)
        square = np.nanmean(((markers.xyz - made.xyz) ** 2).sum(axis=2), axis=0) / 3
        weights = 1 / (square + FLOOR**2)
        named = dict(zip(markers.names, (weights / weights.mean()).tolist(), strict=True))
        motion = solve(model, markers, weights=named).motion
    return motion


def variants(prior: Prior) -> dict[str, Variant]:
    """All of them by name."""

    def solved(hertz: float | None, strength: float) -> Variant:
        return lambda model, markers, spread: (
            solve(
                model,
                markers,
                prior=hertz,
                tasks=pulls(prior, len(markers.names), strength) if strength else (),
            ).motion
        )

    found: dict[str, Variant] = {
        "as it is": solved(None, 0), "by residual": by_residual, "by variance": by_variance
    }  # fmt: skip
    found |= {f"{hertz:g} Hz": solved(hertz, 0) for hertz in (6.0, 3.0)}
    found |= {f"population {k:g}": solved(None, k) for k in (0.1, 1.0)}
    return found | {"both: 3 Hz, population 1": solved(3.0, 1.0)}


def rows(cohort_folder: Path, runs: list[Path], only: list[str] | None) -> list[tuple[str, list[float]]]:
    """Variant -> each run's error, degrees."""
    cohort = open_cohort(cohort_folder)
    trials = [t for t in cohort.cohort.trials if (runs[0] / "predictions/motions" / f"{t.key}.mot").is_file()]
    truths = read_truths(cohort, trials)
    found = []
    for name, variant in variants(population()).items():
        if only and name not in only:
            continue
        errors = []
        for run in runs:
            answers = {}
            for trial in trials:
                model = read_model(run / "predictions/models" / f"{trial.subject}.osim")
                markers = trc.read(run / "predictions/markers" / f"{trial.key}.trc")
                worn = {m.name for m in model.markers}
                some = markers.select(n for n in markers.names if n in worn)
                spread = spreads(run / "predictions/keypoints" / f"{trial.key}.npz")
                answers[trial.key] = variant(model, some, spread)
            errors.append(scoring.score(answers, truths, trials).summary.cohort.score)
        found.append((name, errors))
        print(f"{name:28}", *(f"{e:7.2f}°" for e in errors), flush=True)
    return found


def table(found: list[tuple[str, list[float]]], runs: list[Path]) -> str:
    """As Markdown."""
    heads = ["inverse kinematics", *(run.name for run in runs), "ratio"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for name, errors in found:
        cells = [name, *(f"{e:.2f}°" for e in errors), f"{errors[0] / errors[-1]:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """As the file says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="some of them")
    parser.add_argument("--out", type=Path, help="also write the table there, as Markdown")
    asked = parser.parse_args()
    text = table(rows(asked.cohort, asked.runs, asked.only), asked.runs)
    if asked.out is not None:
        write_text(asked.out, text, overwrite=True)
    print(f"\n{text}")


if __name__ == "__main__":
    try:
        main()
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
