"""What scripts/twofold.py finds: runs of sparse and dense models, and the ratio of their errors.

The ratio is that of mean errors, sparse / dense; each person's error is averaged over seeds first. Intervals
come from resampling people, both models on the same resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from capbench.run.compare import of_people
from capbench.run.result import Result, TrialRow, read_result
from cohorts.errors import CapbenchError
from metrics.aggregate import exact_mean
from metrics.bootstrap import Bootstrap, bootstrap_means, bootstrap_ratio

KINDS = ("sparse", "dense", "scratch")
#: what docs/twofold.md registers
COHORT, PROTOCOL, SCALING, SEEDS = "clinic-unseen", "capbench-1", "own", 3
POINTS = {"sparse": "coco-17", "dense": "synthpose-52", "scratch": "synthpose-52"}


class Run(NamedTuple):
    """An evaluation: of which kind of model, of which seed (from 1, as given), where, and what it says."""

    kind: str
    seed: int
    place: Path
    result: Result


@dataclass(frozen=True)
class Test:
    """Runs on one cohort with one scaling; kind -> its seeds in order."""

    cohort: str
    protocol: str
    scaling: str
    runs: Mapping[str, tuple[Run, ...]]

    @property
    def every(self) -> tuple[Run, ...]:
        """All runs."""
        return tuple(run for kind in KINDS for run in self.runs.get(kind, ()))


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)
#: (person -> number) of a result
Numbers = Callable[[Result], Mapping[str, float]]


class Row(NamedTuple):
    """One thing that has errors: all coordinates, one, or one activity.

    ``errors`` by kind; ``ratio`` sparse / dense, ``difference`` sparse − dense; ``seeds``: each seed's ratio.
    """

    name: str
    unit: str
    errors: Mapping[str, float]
    null: float
    ratio: Estimate
    difference: Estimate
    seeds: tuple[Estimate, ...]

    @property
    def word(self) -> str:
        """What may be said of dense against sparse."""
        value, low, high = self.ratio
        if not math.isfinite(value) or value == 1:
            return "the same" if value == 1 else ""
        if value > 1:
            return "better" if low > 1 else "better?"
        return "**worse**" if high < 1 else "**worse?**"


# --- what there is ------------------------------------------------------------------------------


def tests_of(given: Mapping[str, Sequence[Path]]) -> list[Test]:
    """The runs by cohort, protocol and scaling; refuses what can't be compared."""
    found: dict[tuple[str, str, str], dict[str, list[Run]]] = {}
    for kind in KINDS:
        for place in given.get(kind, ()):
            result = read_result(place)
            key = (result.cohort.name, result.protocol.name, str(result.settings.get("scaling", "own")))
            runs = found.setdefault(key, {}).setdefault(kind, [])
            runs.append(Run(kind, len(runs) + 1, place, result))
    made = []
    for (cohort, protocol, scaling), runs_by_kind in found.items():
        counts = [len(runs_by_kind.get(kind, ())) for kind in ("sparse", "dense")]
        if counts[0] != counts[1] or not counts[0]:
            raise CapbenchError(
                f"Expected as many runs of sparse as of dense models on {cohort} with {scaling} scaling, got "
                f"{counts[0]} and {counts[1]}.",
                fix="give both, each seed in the same place",
            )
        for run in (run for runs in runs_by_kind.values() for run in runs):
            _check_points(run)
        made.append(Test(cohort, protocol, scaling, {k: tuple(v) for k, v in runs_by_kind.items()}))
    return sorted(made, key=lambda test: ((test.cohort, test.scaling) != (COHORT, SCALING), test.cohort))


def _check_points(run: Run) -> None:
    """Refuse a model under a name that its points contradict."""
    points = run.result.model.details.get("skeleton")
    if points is not None and points != POINTS[run.kind]:
        raise CapbenchError(
            f"Expected a model of {POINTS[run.kind]} as {run.kind}, got one of {points}.", file=run.place
        )


def departures(test: Test) -> list[str]:
    """In which ways this is not the test that was registered."""
    found = []
    for what, got, wanted in (
        ("cohort", test.cohort, COHORT),
        ("protocol", test.protocol, PROTOCOL),
        ("scaling", test.scaling, SCALING),
        ("number of seeds", len(test.runs["dense"]), SEEDS),
    ):
        if got != wanted:
            found.append(f"its {what} is {got}, not {wanted}")
    found += sorted({f"{run.kind} is of a part of the cohort" for run in test.every if run.result.partial})
    if "scratch" not in test.runs:
        found.append("nothing was trained from scratch beside it")
    return found


# --- numbers ------------------------------------------------------------------------------------


def table_of(test: Test, numbers: Numbers) -> dict[str, NDArray[np.float64]]:
    """Kind -> (seeds, people) errors; people in the order of their names."""
    found = {kind: [numbers(run.result) for run in runs] for kind, runs in test.runs.items()}
    people = sorted(found["dense"][0])
    return {
        kind: np.array([[values[person] for person in people] for values in each])
        for kind, each in found.items()
    }


def row_of(test: Test, name: str, unit: str, numbers: Numbers, null: float) -> Row:
    """Everything about one thing that has errors."""
    table = table_of(test, numbers)
    means = {kind: values.mean(axis=0) for kind, values in table.items()}
    first, *seeds = ratios(*(np.stack([means[kind], *table[kind]]) for kind in ("sparse", "dense")))
    return Row(
        name,
        unit,
        {kind: exact_mean(values.tolist()) for kind, values in means.items()},
        null,
        first,
        _estimate(bootstrap_means(means["sparse"] - means["dense"])),
        tuple(seeds),
    )


def ratios(above: NDArray[np.float64], below: NDArray[np.float64]) -> list[Estimate]:
    """Of mean errors of the same people, a row each; nothing where somebody has no error to divide by."""
    found = bootstrap_ratio(above, np.where(below > 0, below, 1.0))
    numbers = np.stack([found.estimate, found.low, found.high], axis=-1)
    known = [bool((row > 0).all()) for row in below]
    return [Estimate(*row.tolist()) if some else NOTHING for row, some in zip(numbers, known, strict=True)]


def _estimate(found: Bootstrap) -> Estimate:
    return Estimate(float(found.estimate), float(found.low), float(found.high))


def overall(test: Test) -> Row:
    """The number that was registered: by person, as the results state it."""

    def stated(result: Result) -> Mapping[str, float]:
        return {score.name: score.value for score in result.by_subject if score.value is not None}

    nulls = [run.result.overall.null for run in test.every]
    return row_of(test, "all", test.every[0].result.overall.unit, stated, mean(nulls))


def without(test: Test, names: Sequence[str]) -> Row:
    """The same over all angles but these."""
    angles = [score.name for score in test.every[0].result.coordinates if score.unit == "°"]
    for name in names:
        if name not in angles:
            raise CapbenchError(f"Expected angles to leave out among {', '.join(angles)}, got {name!r}.")
    kept = [name for name in angles if name not in names]

    def of(row: TrialRow) -> float | None:
        values = [row.coordinates.get(name) for name in kept]
        known = [value for value in values if value is not None]
        return exact_mean(known) if known else None

    return row_of(test, f"without {', '.join(names)}", "°", lambda r: of_people(r.per_trial, of), math.nan)


def coordinates(test: Test) -> list[Row]:
    """Every coordinate."""
    made = []
    for score in test.every[0].result.coordinates:

        def of(result: Result, name: str = score.name) -> Mapping[str, float]:
            return of_people(result.per_trial, lambda row: row.coordinates.get(name))

        nulls = [s.null for run in test.every for s in run.result.coordinates if s.name == score.name]
        made.append(row_of(test, score.name, score.unit, of, mean(nulls)))
    return made


def activities(test: Test) -> list[Row]:
    """Every activity."""
    made = []
    for score in test.every[0].result.activities:

        def of(result: Result, name: str = score.name) -> Mapping[str, float]:
            rows = (row for row in result.per_trial if row.activity == name)
            return of_people(rows, lambda row: row.charged)

        nulls = [s.null for run in test.every for s in run.result.activities if s.name == score.name]
        made.append(row_of(test, score.name, score.unit, of, mean(nulls)))
    return made


def mean(values: Sequence[float | None]) -> float:
    """Of those that are known; NaN where none is."""
    known = [value for value in values if value is not None]
    return exact_mean(known) if known else math.nan
