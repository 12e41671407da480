"""The self-test: answers whose score is known beforehand, through the whole way.

``gold`` is the truth (error 0), ``null`` the cohort's mean pose (what the null model is charged), offsets are
errors of so many degrees, one trial of all costs the cap for the others, and noise in pixels goes all the way
from keypoints to angles. If any of these comes out otherwise, no score of this machine is to be
believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from capbench.run.evaluate import Means, Options, evaluate, prepare
from capbench.run.noisy_truth import Noise
from capbench.run.reference import STATIC
from capbench.run.result import Result
from capbench.run.scoring import CAP
from capbench.run.sources import Files, NoisyTruth, Source
from cohorts import formats
from cohorts.errors import CapbenchError
from cohorts.recording import Motion, Trial
from cohorts.store import Imported
from cohorts.values import FloatArray
from metrics.aggregate import TrialKey, mean_pose
from metrics.angles import unwrap

OFFSETS = (1.0, 5.0, 20.0, 90.0)  #: degrees
PIXELS = (0.0, 0.5, 1.0, 2.0, 4.0)  #: white noise and bias
#: degrees by which .mot files, which round to eight decimals of a degree, may be off
ROUNDED = 1e-6
#: degrees that true points and true models may be off: angles are joined by lines between frames, and points
#: pass a low-pass filter (0.07 at 25 frames/s)
EXACT = 0.15


@dataclass(frozen=True)
class Check:
    """One known answer: ``expected`` in words, what was ``found`` in degrees, and whether it is so."""

    name: str
    expected: str
    found: float
    good: bool


def selftest(
    cohort: Imported,
    folder: Path,
    *,
    means: Means | None = None,
    store: Path | None = None,
    told: Callable[[str], None] | None = None,
) -> list[Check]:
    """Run every known answer on an exact cohort; what they write goes below ``folder``."""
    if not cohort.card.reference.exact:
        raise CapbenchError(
            f"Expected a cohort whose truth is exact, got {cohort.card.name}.", fix="--cohort clinic-mini"
        )
    checks: list[Check] = []
    for name, source, options, expected in _known(cohort, folder):
        if told is not None:
            told(name)
        evaluation = prepare(lambda _, made=source: made, cohort, options, store=store)  # type: ignore[misc]
        result = evaluate(evaluation, folder / "runs" / name.replace(" ", "-"), means=means)
        checks.append(expected(name, result))
    checks.append(_rises([c for c in checks if c.name.startswith("noise")]))
    return checks


Expected = Callable[[str, Result], Check]


def _known(cohort: Imported, folder: Path) -> Iterator[tuple[str, Source, Options, Expected]]:
    """Name, source, options, and what must come out."""
    plain = Options(causes=False)
    trials = tuple(t for t in cohort.cohort.trials if t.activity != STATIC)
    truths = {t.key: _truth(cohort, t) for t in trials}

    def files(name: str, motions: Mapping[str, Motion]) -> Source:
        home = folder / "predictions" / name
        for key, motion in motions.items():
            path = home / f"{key}.mot"
            path.parent.mkdir(parents=True, exist_ok=True)
            formats.write(path, motion, overwrite=True)
        return Files(home, cohort.cohort.trials, None)

    yield "gold", files("gold", truths), plain, _equal(0.0)
    pose = _mean_pose(trials, truths)
    yield "null", files("null", {k: _constant(m, pose) for k, m in truths.items()}), plain, _as_null
    for offset in OFFSETS:
        moved = {key: _turned(motion, math.radians(offset)) for key, motion in truths.items()}
        yield f"offset {offset:g}°", files(f"offset-{offset:g}", moved), plain, _offset(offset)
    first = trials[0].key
    yield "one trial of all", files("one", {first: truths[first]}), plain, _one_of(trials)
    exact = Options(causes=False, scaling="reference")
    yield "true points, true model", NoisyTruth(cohort, Noise(0, 0), 0), exact, _below(EXACT)
    for pixels in PIXELS:
        yield f"noise {pixels:g} px", NoisyTruth(cohort, Noise(pixels, pixels), 0), plain, _answered


def _truth(cohort: Imported, trial: Trial) -> Motion:
    found = formats.read(cohort.path(str(trial.motion)))[1]
    if not isinstance(found, Motion):
        raise CapbenchError("Expected the truth's joint angles.", place=trial.key)
    return found


def _turned(motion: Motion, angle: float) -> Motion:
    turns = np.array([kind == "rotation" for kind in motion.kinds])
    return replace(motion, values=motion.values + angle * turns)


def _mean_pose(trials: tuple[Trial, ...], truths: Mapping[str, Motion]) -> Mapping[str, float]:
    names = truths[trials[0].key].names
    keys = [TrialKey(t.subject, t.activity, t.key) for t in trials]
    turns = np.array([k == "rotation" for k in truths[trials[0].key].kinds])

    def mean(motion: Motion) -> FloatArray:
        return np.asarray(np.where(turns, unwrap(motion.values), motion.values).mean(axis=0))

    poses = np.array([mean(truths[t.key]) for t in trials])
    found = mean_pose(poses, keys, period_c=np.where(turns, 2 * np.pi, np.inf))
    return dict(zip(names, found.tolist(), strict=True))


def _constant(motion: Motion, pose: Mapping[str, float]) -> Motion:
    row = np.array([pose[name] for name in motion.names])
    return replace(motion, values=np.broadcast_to(row, motion.values.shape))


# --- what must come out -------------------------------------------------------------------------


def _value(result: Result) -> float:
    return math.nan if result.overall.value is None else result.overall.value


def _equal(wanted: float) -> Expected:
    def check(name: str, result: Result) -> Check:
        found = _value(result)
        return Check(name, f"{wanted:g}°", found, abs(found - wanted) <= ROUNDED)

    return check


def _below(most: float) -> Expected:
    def check(name: str, result: Result) -> Check:
        found = _value(result)
        return Check(name, f"below {most:g}°", found, found < most)

    return check


def _as_null(name: str, result: Result) -> Check:
    null = result.overall.null if result.overall.null is not None else math.nan
    found = _value(result)
    return Check(name, f"{null:.6f}°, skill 0", found, abs(found - null) <= ROUNDED)


def _offset(offset: float) -> Expected:
    """An offset costs itself, and never more than the cap of each coordinate."""

    def check(name: str, result: Result) -> Check:
        found = _value(result)
        if offset <= CAP:
            return Check(name, f"{offset:g}°", found, abs(found - offset) <= ROUNDED)
        wrong = [
            s.value for s in result.coordinates if s.value is None or not CAP <= s.value + ROUNDED < offset
        ]
        return Check(name, f"the cap: {CAP:g}° or a little more", found, not wrong)

    return check


def _one_of(trials: tuple[Trial, ...]) -> Expected:
    """All but one trial cost their caps: the score is that of the tree with one zero in it."""

    def check(name: str, result: Result) -> Check:
        rows = [row for row in result.per_trial if row.key != trials[0].key]
        capped = all(
            row.coverage == 0 and row.charged is not None and row.charged >= CAP - ROUNDED for row in rows
        )
        return Check(name, f"0° for one trial, {CAP:g}° or more for {len(rows)}", _value(result), capped)

    return check


def _answered(name: str, result: Result) -> Check:
    found = _value(result)
    return Check(name, "answered, better than the null model", found, found < (result.overall.null or 0.0))


def _rises(ladder: list[Check]) -> Check:
    found = [c.found for c in ladder]
    rises = all(a < b for a, b in pairwise(found))
    return Check("noise ladder", f"a higher error at each of {len(found)} steps", found[-1], rises)
