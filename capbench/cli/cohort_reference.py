"""``capbench cohort reference``: solves a cohort's reference again and says how well it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capbench.cli.common import count, facts, table, wrapped
from cohorts.errors import CapbenchError, printable, unknown_name

if TYPE_CHECKING:
    from capbench.run.noise import NoiseFloor
    from capbench.run.reference import Recorded
    from cohorts.card import Card
    from cohorts.store import Imported

EQUAL = "equal"  #: the word for weighing all markers the same


@dataclass(frozen=True)
class Told:
    """What there is to tell.

    Attributes
    ----------
    cohort : the card's name and version
    floor : the noise floor, with all failures
    activity : what the table is of; "" is the mean over all
    solved : how many trials have a reference now
    stored : the card's file, if the noise floor was written there
    """

    cohort: tuple[str, str]
    floor: NoiseFloor
    activity: str
    solved: int
    stored: Path | None


def solve(
    found: Imported,
    *,
    weights: str,
    cache: Path | None,
    activity: str,
    store: bool,
    force: bool,
    quiet: bool,
) -> Told:
    """Solve the references of a cohort again, compare them, and write the noise floor into its card if asked.

    With ``activity`` only its trials are solved, unless the noise floor is stored: that one is of all.
    """
    from capbench.cli.progress import track
    from capbench.run.noise import noise_floor
    from capbench.run.reference import recordings

    if store:
        _may_store(found.card, found, force=force)
    if weights != EQUAL:
        _check_weights(weights)
    failures: dict[str, str] = {}
    trials = recordings(found, failures=failures)
    if activity:
        trials, failures = _of(activity, found, trials, failures, keep_all=store)
    _need_trials(found, trials, failures)
    floor = noise_floor(
        track(trials, label="trials", quiet=quiet), weights=None if weights == EQUAL else weights, cache=cache
    )
    floor = replace(floor, failures={**failures, **floor.failures})
    if not any(gap.activity == activity for gap in floor.gaps):
        _refuse_nothing(floor, activity)
    stored = _store(found, floor, force=force) if store else None
    solved = sum(trial.key not in floor.failures for trial in trials)
    return Told((found.card.name, found.card.version), floor, activity, solved, stored)


def _check_weights(weights: str) -> None:
    """Once and for all: a slip would fail each trial for itself."""
    from capbench.biomech.opensim_setup import read_tasks
    from capbench.biomech.presets import presets

    if weights.endswith(".xml") or Path(weights).exists():
        read_tasks(Path(weights))
    elif weights not in presets():
        raise unknown_name("preset of marker weights", weights, [*presets(), EQUAL])


def _of(
    activity: str, found: Imported, trials: list[Recorded], failures: dict[str, str], *, keep_all: bool
) -> tuple[list[Recorded], dict[str, str]]:
    activities = {trial.key: trial.activity for trial in found.cohort.trials}
    known = {trial.activity for trial in trials} | {activities[key] for key in failures}
    if activity not in known:
        raise unknown_name("activity", activity, known)
    if keep_all:
        return trials, failures
    return (
        [trial for trial in trials if trial.activity == activity],
        {key: why for key, why in failures.items() if activities[key] == activity},
    )


def _need_trials(found: Imported, trials: list[Recorded], failures: Mapping[str, str]) -> None:
    if trials:
        return
    key, why = next(iter(failures.items()), ("", "no trial but standing ones has markers or angles"))
    raise CapbenchError(
        f"Expected trials with recorded markers and a scaled model, got none: {why}.",
        file=found.trials_file,
        place=key or None,
        fix="import the cohort with markers: and extras: {model: …} (capbench cohort import --help)",
    )


def _refuse_nothing(floor: NoiseFloor, activity: str) -> None:
    if floor.failures:
        key, why = next(iter(floor.failures.items()))
        raise CapbenchError(
            f"Expected a trial that can be solved, got none. The first says: {why}", place=key
        )
    raise CapbenchError(
        f"Expected a second answer{f' for {activity}' if activity else ''} to compare with, got none: no "
        "published joint angles and no other pipeline's.",
        fix='give the trials a motion:, or another pipeline\'s under extras: {"motion:NAME": …}',
    )


# --- storing it in the card ---------------------------------------------------------------------


def _may_store(card: Card, found: Imported, *, force: bool) -> None:
    file = found.folder / _card_name() if found.folder is not None else None
    if card.reference.exact:
        raise CapbenchError(
            "Expected a reference that was measured, got one that is exact: it has no noise floor.",
            file=file,
            fix="leave out --store",
        )
    if card.reference.noise_floor and not force:
        raise CapbenchError(
            "Expected a card without a noise floor, got one that has it.",
            file=file,
            fix="--force replaces it",
        )


def _card_name() -> str:
    from cohorts.card import FILE_NAME

    return FILE_NAME


def _store(found: Imported, floor: NoiseFloor, *, force: bool) -> Path:
    """Write the noise floor into the card as it is now: solving may have taken long."""
    from capbench.run.noise import with_noise_floor
    from cohorts.card import read_card, write_card

    assert found.folder is not None  # a cohort whose files are at hand
    file = found.folder / _card_name()
    card = read_card(file)
    _may_store(card, found, force=force)
    write_card(file, with_noise_floor(card, floor), overwrite=True)
    return file


# --- telling ------------------------------------------------------------------------------------


def as_plain(told: Told) -> dict[str, Any]:
    """All of it in JSON's terms."""
    from capbench.run.noise import noise_floor_table

    return {
        "cohort": told.cohort[0],
        "version": told.cohort[1],
        "engine": told.floor.engine,
        "weights": told.floor.weights,
        "activity": told.activity or None,
        "solved": told.solved,
        "pairs": [" vs ".join(pair) for pair in told.floor.pairs],
        "coordinates": noise_floor_table(told.floor, activity=told.activity),
        "failures": dict(told.floor.failures),
        "stored": None if told.stored is None else str(told.stored),
    }


def show(told: Told, *, notes: bool) -> str:
    """The table of coordinates, what it is of, and what failed."""
    from capbench.run.noise import noise_floor_table

    rows = noise_floor_table(told.floor, activity=told.activity)
    pairs = [" vs ".join(pair) for pair in told.floor.pairs]
    headings = ("coordinate", *pairs, "", "trials", "")
    alike = len({row["trials"] for row in rows}) == 1
    cells = [
        (
            row["coordinate"],
            *(_cell(row, pair) for pair in pairs),
            row["unit"],
            "" if alike else row["trials"],
            "no marker shows it" if row["held"] else "",
        )
        for row in rows
    ]
    head = [
        ("cohort", " ".join(told.cohort)),
        ("solved", count(told.solved, "trial")),
        ("weights", told.floor.weights),
    ]
    if told.activity:
        head.append(("of", f"{told.activity} only"))
    if notes:
        head.append(("engine", told.floor.engine))
    if told.stored is not None:
        head.append(("written", printable(told.stored)))
    lines = [facts(head), "", table(headings, cells, indent="  ")]
    if notes:
        said = "Root mean square difference; in brackets after each trial's mean difference is taken away."
        lines += ["", wrapped(said, "  ", "  ")]
    failures = told.floor.failures
    if failures:
        lines += ["", f"  {count(len(failures), 'trial')} failed:"]
        lines += [wrapped(printable(f"{key}: {why}"), "    ", "      ") for key, why in failures.items()]
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], pair: str) -> str:
    if pair not in row:
        return "-"
    shape = f"({row[f'{pair}, offset removed']:.2f})"
    return f"{row[pair]:.2f} {shape:>7}"
