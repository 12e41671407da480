#!/usr/bin/env python
"""How much of a run's joint-angle error is the same throughout a trial, and how much comes and goes.

    python scripts/offsets.py COHORT runs/mini-17 runs/mini-52

Takes runs of ``capbench evaluate`` on the cohort folder COHORT. For each coordinate and run, in degrees:

common   the mean offset over trials: what all people have in common
offset   the mean size of a trial's offset: how points sit on the bones, and what is always wrong of a person
within   the standard deviation within a trial: noise, and motion that is missed

Frames without an answer are left out; nothing is capped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from capbench.run import scoring
from capbench.run.truths import read_truths
from cohorts.errors import CapbenchError
from cohorts.formats import read
from cohorts.recording import Motion
from cohorts.store import open_cohort
from cohorts.values import FloatArray


class Split(NamedTuple):
    """A coordinate's error in degrees, see above."""

    common: float
    offset: float
    within: float


def split(errors: Sequence[FloatArray]) -> Split:
    """Of each trial's errors, degrees.

    >>> split([np.array([1.0, 3.0]), np.array([-4.0, -4.0])])
    Split(common=-1.0, offset=3.0, within=0.5)
    """
    offsets = np.array([trial.mean() for trial in errors])
    within = np.array([trial.std() for trial in errors])
    return Split(float(offsets.mean()), float(np.abs(offsets).mean()), float(within.mean()))


def errors_of(cohort_folder: Path, run: Path) -> dict[str, list[FloatArray]]:
    """Coordinate -> the errors of each trial that has an answer, degrees."""
    cohort = open_cohort(cohort_folder)
    trials = [t for t in cohort.cohort.trials if (run / "predictions/motions" / f"{t.key}.mot").is_file()]
    truths = read_truths(cohort, trials)
    found: dict[str, list[FloatArray]] = {name: [] for name in scoring.PROTOCOL.coordinates}
    for trial in trials:
        truth = truths[trial.key]
        _, answer = read(run / "predictions/motions" / f"{trial.key}.mot")
        assert isinstance(answer, Motion)
        for name, errors in found.items():
            if name not in truth.names or name not in answer.names:
                continue
            known = truth.values[:, truth.names.index(name)]
            apart = answer.values[:, answer.names.index(name)] - np.interp(answer.time, truth.time, known)
            apart = np.degrees(apart[np.isfinite(apart)])
            if len(apart):
                errors.append(apart)
    return {name: errors for name, errors in found.items() if errors}


def table(runs: Sequence[tuple[str, dict[str, list[FloatArray]]]]) -> str:
    """Markdown: a line for each coordinate, three columns for each run."""
    heads = [f"{name}: {what}" for name, _ in runs for what in ("common", "offset", "within")]
    lines = ["| coordinate | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for coordinate in runs[0][1]:
        cells = []
        for _, found in runs:
            part = split(found[coordinate])
            cells += [f"{part.common:+.1f}°", f"{part.offset:.1f}°", f"{part.within:.1f}°"]
        lines.append(f"| {coordinate} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """As the file says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    asked = parser.parse_args()
    print(table([(run.name, errors_of(asked.cohort, run)) for run in asked.runs]))


if __name__ == "__main__":
    try:
        main()
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
