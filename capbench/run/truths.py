"""The references that a cohort is scored against, read and held to be sane before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cohorts import formats
from cohorts.errors import CapbenchError
from cohorts.recording import Motion, Trial
from cohorts.store import Imported
from metrics.protocols import PROTOCOLS

SCORED = PROTOCOLS["capbench-1"].coordinates
#: radians beyond which no joint turns: more are degrees that a file calls radians
MOST_TURN, MOST_HEADING = 15.0, 100.0
HEADING = "pelvis_rotation"  #: people may walk round and round


def read_truths(
    cohort: Imported, trials: Sequence[Trial], *, solved: Sequence[str] = ()
) -> dict[str, Motion]:
    """The joint angles of each trial's reference by key; those of ``solved`` come of the run itself.

    A reference that can't be read, has no sample, or lacks what those of the other trials have is refused:
    nobody could be charged for what it leaves out.
    """
    found: dict[str, Motion] = {}
    for trial in trials:
        if trial.key in solved:
            continue
        if trial.motion is None:
            raise CapbenchError(
                "Expected joint angles as the reference, or markers and a scaled model to solve them from; "
                "got neither.",
                place=trial.key,
                fix="leave the trial out (--only), or mend the cohort (capbench cohort check)",
            )
        path = cohort.path(trial.motion)
        try:
            noun = formats.read(path)[1]
        except CapbenchError as error:
            error.place = f"the reference of {trial.key}" + (f", {error.place}" if error.place else "")
            raise
        if not isinstance(noun, Motion):
            raise CapbenchError(
                f"Expected the reference's joint angles, got {formats.holds_of(noun)}.", file=path
            )
        check_sane(noun, str(path))
        found[trial.key] = noun
    _check_alike(cohort, trials, found)
    return found


def check_sane(motion: Motion, place: str) -> None:
    """Refuse angles that no joint has."""
    for name, kind, column in zip(motion.names, motion.kinds, motion.values.T, strict=True):
        if kind != "rotation":
            continue
        most = MOST_HEADING if name == HEADING else MOST_TURN
        largest = float(np.nanmax(np.abs(column), initial=0.0))
        if largest > most:
            raise CapbenchError(
                f"Expected {name} within {most:g} radians ({np.degrees(most):.0f}°), got {largest:.4g}.",
                place=place,
                fix="is it in degrees, in a file that says inDegrees=no?",
            )


def _check_alike(cohort: Imported, trials: Sequence[Trial], found: Mapping[str, Motion]) -> None:
    """Every trial's reference has the coordinates that any has, or that the card says something of."""
    have = {key: _shown(motion) for key, motion in found.items()}
    said = cohort.card.reference
    every = {name for name in SCORED if name in said.null_error or name in said.noise_floor}
    every = every.union(*have.values()) if have else set()
    if found and not every:
        raise CapbenchError(f"Expected references with any of {', '.join(SCORED)}, got none.")
    for trial in trials:
        lacking = sorted(every - have.get(trial.key, every))
        if lacking:
            raise CapbenchError(
                f"Expected a reference with the coordinates of the other trials, got no sample of "
                f"{', '.join(lacking[:6])}{' …' if len(lacking) > 6 else ''}: nobody can be charged for it.",
                file=cohort.path(str(trial.motion)),
                place=trial.key,
                fix="mend it, or leave the trial out (--only)",
            )


def _shown(motion: Motion) -> set[str]:
    """The scored coordinates that have a sample."""
    there = np.isfinite(motion.values)
    return {
        name for name, column in zip(motion.names, there.T, strict=True) if column.any() and name in SCORED
    }
