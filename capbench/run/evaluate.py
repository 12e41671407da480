"""An evaluation: what is asked for, the units that answer it, and the folder that holds all that came of it.

The folder of a run::

    run.json       what was asked for: everything that is needed to repeat it
    units/         what was done: one line a unit, and the key its output is kept under
    predictions/   keypoints/ (.npz), markers/ (.trc), motions/ (.mot) and scaled models/ (.osim)
    result.json    the numbers (see capbench.run.result); the same bytes for any number of workers
    timing.json    seconds and hardware, which differ from run to run
    report.html    the same to look at

Outputs of units are kept by content in capbench's cache, so that a run that was killed, or another that
shares work with it, computes nothing twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import capbench
from capbench.run import collect, export
from capbench.run.executors import Executor, Limits, Progress, run_units
from capbench.run.plan import Plan, make_plan
from capbench.run.reference import STATIC, cache_folder
from capbench.run.result import FILE_NAME, REPORT_NAME, TIMING_NAME, Result, write_result
from capbench.run.sources import Source
from capbench.run.stages import SOURCES, WORK, version
from capbench.run.store import Store
from capbench.run.truths import read_truths
from capbench.run.units import Unit, digest
from capbench.run.way import SWAPS, Scaling, Way, Ways, limited
from cohorts.bounded import load_json, write_text
from cohorts.card import SPLITS
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Motion, Trial
from cohorts.selection import selected
from cohorts.store import Imported

RUN_NAME = "run.json"
UNITS_NAME = "units/units.jsonl"
PROTOCOLS = ("capbench-1", "opencapbench")
Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Options:
    """Every choice of an evaluation.

    Attributes
    ----------
    cameras : used; default: those that the cohort's card says, else all
    subjects, activities, trials : only these (by trial key); None: all
    split : only this split's people
    limit : only so many trials, of all people in turn
    scaling : "own": people are scaled by what the model saw of them; "reference": by the reference's model
    protocol : of :data:`PROTOCOLS`
    causes : whether to find which stage brings how much of the error, where the truth is known
    seed : of resampling, and of a self-test's noise
    """

    cameras: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    activities: tuple[str, ...] | None = None
    trials: tuple[str, ...] | None = None
    split: str | None = None
    limit: int | None = None
    scaling: Scaling = "own"
    protocol: str = "capbench-1"
    causes: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise unknown_name("protocol", self.protocol, PROTOCOLS)
        if self.split is not None and self.split not in SPLITS:
            raise unknown_name("split", self.split, SPLITS)


@dataclass(frozen=True)
class Means:
    """How the work is done; nothing here changes a number.

    Attributes
    ----------
    workers, executor, scheduler : see :func:`capbench.run.executors.run_units`
    limits : of one unit
    fresh : compute again what is kept
    """

    workers: int = 1
    executor: Executor = "local"
    scheduler: str | None = None
    limits: Limits = field(default_factory=Limits)
    fresh: bool = False
    told: Told | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is going to be done, not yet done."""

    cohort: Imported
    source: Source
    options: Options
    trials: tuple[Trial, ...]
    cameras: tuple[str, ...]
    partial: tuple[str, ...]
    ways: tuple[Way, ...]
    references: Mapping[str, Unit]
    truths: Mapping[str, Motion]
    store: Store

    @property
    def scored(self) -> tuple[Trial, ...]:
        """The trials that count: all but the static ones that people are scaled on."""
        return tuple(t for t in self.trials if t.activity != STATIC)

    def missing_cameras(self, trial: Trial) -> list[str]:
        """Cameras in use that this trial lacks, though others of the same session have them."""
        peers = [t for t in self.trials if (t.subject, t.session) == (trial.subject, trial.session)]
        shared = {name for t in peers for name in self._seen_by(t)}
        return [name for name in self.cameras if name in shared - self._seen_by(trial)]

    def _seen_by(self, trial: Trial) -> set[str]:
        return set(trial.videos) | set(trial.calibrations) if self.source.looks else set()

    @property
    def units(self) -> list[Unit]:
        """All units of all ways."""
        every = [*self.references.values(), *(unit for way in self.ways for unit in way.units())]
        return list({unit.key: unit for unit in every}.values())

    @property
    def context(self) -> dict[str, Any]:
        """What workers must be told."""
        return {"cohort": str(self.cohort.folder), "source": dict(self.source.context)}

    def plan(self, *, fresh: bool = False) -> Plan:
        """What it will cost, from what such units cost before; ``fresh``: all of it again."""
        return make_plan(self.units, self.store, fresh=fresh)

    def settings(self) -> dict[str, Any]:
        """Every choice that changes a number."""
        chosen = asdict(self.options)
        return {
            **chosen,
            "cameras": list(self.cameras),
            "stages": {stage: version(stage) for stage in SOURCES},
        }


def prepare(
    source: Callable[[Imported], Source], cohort: Imported, options: Options, *, store: Path | None = None
) -> Evaluation:
    """Everything that can be refused is refused here, before any work; no video is decoded.

    ``source`` makes the source for the cohort that it is evaluated on (see ``sources``).
    """
    if cohort.folder is None:
        raise CapbenchError("Expected a stored cohort, got one in memory.", fix="save it first")
    trials, partial = _chosen(cohort, options)
    cameras = _cameras(cohort, trials, options.cameras)
    kept = Store(cache_folder() / "units" if store is None else store)
    made = source(cohort)
    exact = cohort.card.reference.exact
    ways = Ways(
        cohort, made, kept, trials, cameras, options.scaling, published=options.protocol == "opencapbench"
    )
    as_is = ways.way()
    if not as_is.keypoints:
        raise CapbenchError("Expected an answer for any of the trials, got none.", place=made.about.name)
    known = exact and options.causes and options.protocol == "capbench-1" and _truth(trials, cameras)
    swapped = [ways.way(swap) for swap in SWAPS] if known and as_is.keypoints else []
    solved = ways.references()
    scored = [t for t in trials if t.activity != STATIC]
    truths = read_truths(cohort, scored, solved=tuple(solved))
    return Evaluation(
        cohort, made, options, trials, cameras, partial, (as_is, *swapped), solved, truths, kept
    )


def _chosen(cohort: Imported, options: Options) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """The trials, and why they are not all there are."""
    partial = []
    subjects = options.subjects
    if options.split is not None:
        subjects = _of_split(cohort, options.split, subjects)
        partial.append(f"only the split {options.split}")
    if options.subjects is not None:
        partial.append(f"only the subjects {', '.join(options.subjects)}")
    activities = options.activities
    if activities is not None:
        partial.append(f"only the activities {', '.join(activities)}")
        has_static = any(t.activity == STATIC for t in cohort.cohort.trials)
        activities = (*activities, STATIC) if has_static and STATIC not in activities else activities
    chosen = selected(cohort, subjects=subjects, activities=activities).cohort.trials
    if options.trials is not None:
        keys = {t.key for t in chosen}
        for key in options.trials:
            if key not in keys:
                raise unknown_name("trial", key, keys)
        partial.append(f"only the trials {', '.join(options.trials)}")
        people_left = {t.subject for t in chosen if t.key in options.trials}
        chosen = tuple(
            t
            for t in chosen
            if t.key in options.trials or (t.activity == STATIC and t.subject in people_left)
        )
    whole = len([t for t in chosen if t.activity != STATIC])
    if options.limit is not None and options.limit < whole:
        partial.append(f"only {options.limit} of {whole} trials")
    trials = limited(chosen, options.limit)
    unscored = [t for t in trials if t.activity != STATIC and t.motion is None and t.markers is None]
    trials = tuple(t for t in trials if t not in unscored)
    if unscored:
        partial.append(f"{len(unscored)} trials have no reference and can't be scored: {unscored[0].key} …")
    if not any(t.activity != STATIC for t in trials):
        raise CapbenchError("Expected trials with a reference to score, got none.")
    return trials, tuple(partial)


def _of_split(cohort: Imported, split: str, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The people of a split, of those that are wanted."""
    own = getattr(cohort.card.splits, split)
    if own is None or not own.subjects:
        raise CapbenchError(f"Expected people in the split {split}, got none in the card.")
    people = tuple(s.pseudonym for s in cohort.cohort.subjects) if "all" in own.subjects else own.subjects
    for name in wanted or ():
        if name not in people:
            raise unknown_name("subject", name, people)
    return people if wanted is None else tuple(p for p in people if p in wanted)


def _cameras(cohort: Imported, trials: Sequence[Trial], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    have = dict.fromkeys(name for t in trials for name in (*t.videos, *t.calibrations))
    rig = cohort.card.cameras
    if wanted is not None:
        for name in wanted:
            if name not in have:
                raise unknown_name("camera", name, have)
        return wanted
    default = tuple(name for name in rig.default if name in have) if rig is not None else ()
    return default or tuple(have)


def _truth(trials: Sequence[Trial], cameras: Sequence[str]) -> bool:
    """Whether every trial has true 2D points, landmarks and a model to swap in."""
    roles = {"model", *(f"keypoints:{name}" for name in cameras)}
    return bool(cameras) and all(t.markers is not None and roles <= t.extras.keys() for t in trials)


def identity(evaluation: Evaluation) -> dict[str, Any]:
    """What makes a run this run and no other: its folder holds one of them only."""
    return {
        "model": evaluation.source.about.model_dump(mode="json"),
        "cohort": collect.about_cohort(evaluation.cohort, evaluation.store, evaluation.scored).model_dump(
            mode="json"
        ),
        "settings": evaluation.settings(),
        "units": digest(sorted(unit.key for unit in evaluation.units)),
    }


def evaluate(
    evaluation: Evaluation,
    out: Path,
    *,
    means: Means | None = None,
    command: Sequence[str] = (),
    force: bool = False,
) -> Result:
    """Do it, and write the folder of the run (but for ``report.html``, which :mod:`capbench.report` writes).

    A folder that holds the same run is gone on with; one that holds another is refused unless ``force``.
    """
    means = means or Means()
    told = identity(evaluation)
    _claim(out, told, command, force=force)
    outcomes = run_units(
        evaluation.units,
        WORK,
        evaluation.store,
        shared=evaluation.context,
        workers=means.workers,
        limits=means.limits,
        told=means.told,
        executor=means.executor,
        scheduler=means.scheduler,
        fresh=means.fresh,
    )
    found = collect.collect(evaluation, outcomes)
    hashes = export.predictions(evaluation.ways[0], found, out / "predictions")
    result = collect.result(evaluation, found, hashes)
    export.units(outcomes, out / UNITS_NAME)
    write_result(out / FILE_NAME, result)
    timing = export.timing(evaluation, outcomes, found)
    write_text(out / TIMING_NAME, json.dumps(timing, indent=1, allow_nan=False) + "\n", overwrite=True)
    return result


def _claim(out: Path, told: Mapping[str, Any], command: Sequence[str], *, force: bool) -> None:
    """Make the folder the run's own."""
    file = out / RUN_NAME
    plain = json.loads(json.dumps(told))
    if out.exists() and not out.is_dir():
        raise CapbenchError("Expected a folder for the run, got a file.", file=out, fix="give another --out")
    if file.is_file():
        held = load_json(file)
        same = isinstance(held, dict) and held.get("run") == plain
        if not same and not force:
            raise CapbenchError(
                "Expected a folder of the same run or an empty one, got another run's (other model, cohort, "
                "settings or version).",
                file=out,
                fix="give another --out, or --force to put this run in its place",
            )
        if not same:  # nothing of another run is left to be taken for this one's
            shutil.rmtree(out / "predictions", ignore_errors=True)
            for name in (FILE_NAME, TIMING_NAME, REPORT_NAME, UNITS_NAME):
                (out / name).unlink(missing_ok=True)
    elif out.is_dir() and any(out.iterdir()):
        raise CapbenchError(
            f"Expected a new folder, an empty one or that of a run, got one without {RUN_NAME}.",
            file=out,
            fix="give another --out",
        )
    (out / "units").mkdir(parents=True, exist_ok=True)
    text = {"run": plain, "command": list(command), "capbench": capbench.__version__}
    write_text(file, json.dumps(text, indent=1, allow_nan=False) + "\n", overwrite=True)


def default_out(source: Source, cohort: Imported) -> Path:
    """``runs/MODEL-COHORT`` in the current folder."""
    name = source.about.name.replace("capbench:", "")
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).strip("._") or "model"
    return Path("runs") / f"{safe[:60]}-{cohort.card.name}"


def workers_here() -> int:
    """One worker a processor that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))
