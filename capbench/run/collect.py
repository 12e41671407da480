"""From the outputs of units to a result: who answered what, what it scores, which stage brings the error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import capbench
from capbench.run import beside, nouns, scoring, scoring_published
from capbench.run.executors import Outcomes
from capbench.run.reference import engine_version
from capbench.run.result import About, Beside, Cause, Curve, Failure, Result, Score, TrialRow
from capbench.run.scoring import Scored
from capbench.run.store import Store
from capbench.run.truths import read_truths
from capbench.run.units import Failed, Unit, digest, unpack
from capbench.run.way import Way
from cohorts.bounded import shorten
from cohorts.recording import Keypoints, Markers, Motion, Trial
from cohorts.skeleton import Skeleton
from cohorts.store import Imported
from cohorts.values import FloatArray

if TYPE_CHECKING:
    from capbench.run.evaluate import Evaluation

#: the angles that a report draws, of the median and of the worst trial
DRAWN = ("hip_flexion_r", "knee_angle_r", "ankle_angle_r")


@dataclass(frozen=True)
class Answers:
    """What one way gave, by trial."""

    motions: Mapping[str, Motion]
    sd: Mapping[str, FloatArray]
    about: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Collected:
    """All outputs, read.

    Attributes
    ----------
    answers : of the way as it is
    swapped : of the ways with one stage swapped for the truth
    tracks, markers : keypoints by trial and camera, points in space with their skeleton by trial
    models : person -> .osim as bytes
    truths : trial -> the reference's angles
    failures : what has no answer
    """

    answers: Answers
    swapped: Mapping[str, Answers]
    tracks: Mapping[str, Mapping[str, Keypoints]]
    markers: Mapping[str, tuple[Markers, Skeleton]]
    models: Mapping[str, bytes]
    truths: Mapping[str, Motion]
    failures: tuple[Failure, ...]


def collect(evaluation: Evaluation, outcomes: Outcomes) -> Collected:
    """Read what the units gave."""
    as_is, *others = evaluation.ways
    tracks, markers, models = {}, {}, {}
    for key, unit in as_is.keypoints.items():
        arrays, about = _read(outcomes, unit)
        if about is not None and about["kind"] == "keypoints":
            tracks[key] = nouns.get_tracks(arrays, about["tracks"])
    for key, unit in as_is.markers.items():
        arrays, about = _read(outcomes, unit)
        if about is not None and about["kind"] == "markers":
            points = nouns.get_skeleton(about["skeleton"])
            markers[key] = nouns.get_markers(arrays, about["names"]), points
    for person, unit in as_is.models.items():
        arrays, _ = _read(outcomes, unit)
        if "osim" in arrays:
            models[person] = arrays["osim"].tobytes()
    failures = _failures(evaluation, outcomes, as_is)
    truths = {trial.key: _truth(evaluation, outcomes, trial) for trial in evaluation.scored}
    return Collected(
        _answers(outcomes, as_is),
        {way.swap: _answers(outcomes, way) for way in others},
        tracks,
        markers,
        models,
        truths,
        failures,
    )


def _read(outcomes: Outcomes, unit: Unit) -> tuple[Mapping[str, Any], Any]:
    """A unit's arrays and what is about them; no ``about`` where it failed."""
    output = outcomes[unit]
    return ({}, None) if isinstance(output, Failed) else unpack(output)


def _answers(outcomes: Outcomes, way: Way) -> Answers:
    motions, sd, told = {}, {}, {}
    for key, unit in way.motions.items():
        arrays, about = _read(outcomes, unit)
        if about is None:
            continue
        motions[key] = nouns.get_motion(arrays, about["motion"])
        told[key] = about
        if "sd" in arrays:
            sd[key] = arrays["sd"]
    return Answers(motions, sd, told)


def _truth(evaluation: Evaluation, outcomes: Outcomes, trial: Trial) -> Motion:
    """The reference's angles: as the file has them, or solved again; what no marker shows is NaN."""
    if trial.key in evaluation.truths:
        return evaluation.truths[trial.key]
    arrays, about = _read(outcomes, evaluation.references[trial.key])
    if about is None:  # the markers could not be solved: the published angles, if there are any
        return read_truths(evaluation.cohort, [trial])[trial.key]
    found = nouns.get_motion(arrays, about["motion"])
    values = found.values.copy()
    values[:, [found.names.index(n) for n in about["held"]]] = np.nan
    return Motion(found.time, found.names, values, found.kinds, found.coupled)


def _failures(evaluation: Evaluation, outcomes: Outcomes, way: Way) -> tuple[Failure, ...]:
    """Why units of the way as it is, and references, have no output; cameras that were lost on the way."""
    found = []
    for unit in (*evaluation.references.values(), *way.units()):
        output = outcomes[unit]
        if isinstance(output, Failed):
            found.append(Failure(unit=str(unit), fault=output.fault, kind=output.kind, reason=output.reason))
    for key, unit in way.keypoints.items():
        _, about = _read(outcomes, unit)
        for camera, (kind, fault, reason) in ({} if about is None else about.get("lost", {})).items():
            told = _local(evaluation, reason)
            found.append(Failure(unit=f"predict {key} {camera}", fault=fault, kind=kind, reason=told))
    found += [
        Failure(
            unit=f"predict {trial.key} {name}",
            fault="cohort",
            kind="missing-camera",
            reason=f"Expected a video of camera {name}, which others of the same session have; got none.",
        )
        for trial in evaluation.trials
        for name in evaluation.missing_cameras(trial)
    ]
    answered = {*way.keypoints}
    found += [
        Failure(
            unit=f"read {trial.key}", fault="model", kind="nothing", reason="Expected predictions, got none."
        )
        for trial in evaluation.scored
        if trial.key not in answered
    ]
    return tuple(found)


def _local(evaluation: Evaluation, reason: str) -> str:
    """A reason without the folder that the cohort lies in on this machine: results travel."""
    root = evaluation.cohort.root
    return reason if root is None else reason.replace(f"{root}/", "")


# --- the result ---------------------------------------------------------------------------------


def result(evaluation: Evaluation, found: Collected, hashes: Mapping[str, str]) -> Result:
    """All that an evaluation says."""
    published = evaluation.options.protocol == scoring_published.PROTOCOL.name
    judged = _by_published(evaluation, found) if published else _by_ours(evaluation, found)
    overall, coordinates, activities, people = judged.rows
    unread: dict[str, str] = {}
    others = _beside(evaluation, found, judged.lags, unread)
    beside_failures = (
        Failure(unit=f"beside {key}", fault="cohort", kind="unusable", reason=_local(evaluation, reason))
        for key, reason in unread.items()
    )
    return Result(
        capbench=About(
            name="capbench",
            version=capbench.__version__,
            details={"engine": engine_version(), "python packages": packages()},
        ),
        model=evaluation.source.about,
        cohort=about_cohort(evaluation.cohort, evaluation.store, evaluation.scored),
        protocol=judged.protocol,
        settings=evaluation.settings(),
        partial=evaluation.partial,
        marks=(*judged.marks, *_marks(evaluation)),
        subjects=len(people),
        trials=len(evaluation.scored),
        answered=judged.answered,
        overall=overall,
        coordinates=tuple(coordinates),
        activities=tuple(activities),
        by_subject=tuple(people),
        beside=tuple(others),
        causes=judged.causes,
        curves=tuple(_curves(found, judged)),
        per_trial=judged.trials,
        failures=(*found.failures, *judged.failures, *beside_failures),
        hashes=dict(hashes),
    )


@dataclass(frozen=True)
class _Judged:
    """What a protocol says of the answers; lags in seconds (NaN: none)."""

    protocol: About
    rows: tuple[Score, list[Score], list[Score], list[Score]]
    trials: tuple[TrialRow, ...]
    answered: int
    lags: Mapping[str, float]
    causes: tuple[Cause, ...] = ()
    marks: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


def _by_ours(evaluation: Evaluation, found: Collected) -> _Judged:
    trials = evaluation.scored
    scored = scoring.score(found.answers.motions, found.truths, trials)
    return _Judged(
        About(
            name=scoring.PROTOCOL.name,
            version=str(scoring.PROTOCOL.version),
            title=scoring.PROTOCOL.definition,
            details={"cap": scoring.CAP, "coordinates": list(scored.coordinates)},
        ),
        scoring.rows(scored, evaluation.cohort.card, seed=evaluation.options.seed),
        tuple(_trial_row(trial, found, scored) for trial in trials),
        scored.summary.answered,
        {key: errors.lag.seconds for key, errors in scored.errors.items()},
        tuple(_causes(evaluation, found, scored)),
        failures=tuple(_unmet(found, scored)),
    )


def _unmet(found: Collected, scored: Scored) -> Iterator[Failure]:
    """Trials that have an answer, which meets no sample of the reference."""
    for key, motion in found.answers.motions.items():
        if (np.nan_to_num(scored.scores[key].answered_c) > 0).any():
            continue
        truth = found.truths[key]
        shared = [name for name in scored.coordinates if name in motion.names]
        if not len(motion):
            said = "got no frame"
        elif not shared:
            said = f"got none of them, but {shorten(motion.names)}"
        elif not np.isfinite(motion.select(shared).values).any():
            said = "got no number in any frame"
        else:
            said = f"got {motion.time[0]:g} to {motion.time[-1]:g} s in {len(motion)} frames"
        yield Failure(
            unit=f"score {key}",
            fault="model",
            kind="no-overlap",
            reason=f"Expected angles of the coordinates scored between {truth.time[0]:g} and "
            f"{truth.time[-1]:g} s, no two frames more than {scoring.PROTOCOL.max_gap:g} s apart; {said}.",
        )


def _by_published(evaluation: Evaluation, found: Collected) -> _Judged:
    trials = evaluation.scored
    protocol = scoring_published.PROTOCOL
    scored = scoring_published.score(found.answers.motions, found.truths, trials)
    compared = scored.table.trials
    rows = []
    for trial in trials:
        one = compared.get(trial.key)
        about = found.answers.about.get(trial.key, {})
        value = None if one is None else scoring_published.trial_mean(one)
        rows.append(
            TrialRow(
                key=trial.key,
                subject=trial.subject,
                activity=trial.activity,
                charged=value,
                uncapped=value,
                coverage=0.0 if one is None else 100.0,
                lag=None,
                coordinates={} if one is None else dict(one.rmse),
                facts=about.get("facts", {}),
                notes=tuple(about.get("notes", [])),
            )
        )
    failures = tuple(
        Failure(unit=f"score {key}", fault="model", kind="published-code-stops", reason=reason)
        for key, reason in scored.stopped.items()
    )
    return _Judged(
        About(name=protocol.name, version=str(protocol.version), title=protocol.definition),
        scoring_published.rows(scored, trials, seed=evaluation.options.seed),
        tuple(rows),
        len(compared),
        dict.fromkeys((t.key for t in trials), float("nan")),
        marks=("by the published protocol: trials without an answer vanish from the mean",),
        failures=failures,
    )


def _marks(evaluation: Evaluation) -> tuple[str, ...]:
    marks = [*evaluation.source.marks]
    if evaluation.options.scaling == "reference":
        marks.append("people were scaled by the reference's own models, which no user has")
    if evaluation.cohort.card.kind == "synthetic":
        marks.append("the people of this cohort are made: it shows nothing of how a model does on real video")
    return tuple(marks)


def about_cohort(cohort: Imported, store: Store, trials: Sequence[Trial]) -> About:
    """What the cohort is, with a hash of its card, its trials and their references."""
    references = {
        trial.key: store.hash_file(cohort.path(trial.motion or str(trial.markers))) for trial in trials
    }
    card = cohort.card
    return About(
        name=card.name,
        version=card.version,
        sha256=digest({"card": card.model_dump(mode="json"), "references": references}),
        title=card.title,
        licence=card.licence.name,
        details={"kind": card.kind, "exact": card.reference.exact, "subjects": card.subjects.count},
    )


def packages() -> dict[str, str]:
    """The versions of the packages that numbers can depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("numpy", "scipy", "numba", "onnxruntime", "opencv-python-headless", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _beside(
    evaluation: Evaluation, found: Collected, lags: Mapping[str, float], notes: dict[str, str]
) -> list[Beside]:
    trials, seed = evaluation.scored, evaluation.options.seed
    return [
        *beside.of_pixels(
            evaluation.cohort, trials, found.tracks, evaluation.cameras, seed=seed, notes=notes
        ),
        *beside.of_space(evaluation.cohort, trials, found.markers, lags, seed=seed, notes=notes),
    ]


def _causes(evaluation: Evaluation, found: Collected, scored: Scored) -> list[Cause]:
    """The whole way again with one stage's truth: what the error falls by is what the stage brings."""
    whole = scored.summary.cohort.score
    causes = []
    for swap, answers in found.swapped.items():
        again = scoring.score(answers.motions, found.truths, evaluation.scored).summary
        # a trial that failed on this way alone would count as an error of the swapped stage
        whole_way = answers.motions.keys() >= found.answers.motions.keys()
        value = again.cohort.score if whole_way else None
        brings = None if value is None else value if swap == "solver" else whole - value
        rows = {name: line.score for name, line in again.by_coordinate.items()} if whole_way else {}
        causes.append(
            Cause(stage=swap, value=value, brings=brings, coordinates=rows)  # type: ignore[arg-type]  # of SWAPS
        )
    return causes


def _curves(found: Collected, judged: _Judged) -> list[Curve]:
    """The drawn angles of the median and of the worst trial that has an answer."""
    cost = {row.key: row.charged for row in judged.trials if row.key in found.answers.motions}
    order = sorted((value, key) for key, value in cost.items() if value is not None)
    picked = dict.fromkeys([order[len(order) // 2][1], order[-1][1]]) if order else {}
    return [
        scoring.curve(
            key,
            name,
            found.truths[key],
            found.answers.motions.get(key),
            found.answers.sd.get(key),
            judged.lags[key],
        )
        for key in picked
        for name in DRAWN
        if name in found.truths[key].names
    ]


def _trial_row(trial: Trial, found: Collected, scored: Scored) -> TrialRow:
    cost, errors = scored.scores[trial.key], scored.errors[trial.key]
    about = found.answers.about.get(trial.key, {})
    notes = list(about.get("notes", []))
    lag = errors.lag.seconds
    return TrialRow(
        key=trial.key,
        subject=trial.subject,
        activity=trial.activity,
        charged=_mean(cost.charged_c),
        uncapped=_mean(cost.uncapped_c),
        coverage=100 * (_mean(cost.answered_c) or 0.0),
        lag=1000 * lag if np.isfinite(lag) else None,
        coordinates={
            name: float(v) if np.isfinite(v) else None
            for name, v in zip(scored.coordinates, cost.charged_c.tolist(), strict=True)
        },
        facts=about.get("facts", {}),
        notes=tuple(notes),
    )


def _mean(values: FloatArray) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else None
