"""Parts of a cohort: fewer people, fewer activities, and a card that says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cohorts.card import SPLITS
from cohorts.errors import CapbenchError
from cohorts.store import Imported


def selected(
    imported: Imported, *, subjects: Iterable[str] | None = None, activities: Iterable[str] | None = None
) -> Imported:
    """Only these subjects and activities, with a card that says so."""
    if subjects is None and activities is None:
        return imported
    cohort = imported.cohort.select(subjects=subjects, activities=activities)
    if not cohort.trials:
        raise CapbenchError("Expected trials of these subjects and activities, got none.")
    card = imported.card
    left = {person.pseudonym for person in cohort.subjects}
    done = {trial.activity for trial in cohort.trials}
    sexes = [person.sex for person in cohort.subjects]
    people = card.subjects.model_copy(
        update={
            "count": len(left),
            "female": sexes.count("female") if None not in sexes else None,
            "male": sexes.count("male") if None not in sexes else None,
            "note": f"{len(left)} of {card.subjects.count}. {card.subjects.note}".strip(),
        }
    )
    splits = {}
    for name in SPLITS:
        split = getattr(card.splits, name)
        if split is not None:
            kept = tuple(person for person in split.subjects if person in left or person == "all")
            splits[name] = split.model_copy(update={"subjects": kept})
    card = card.model_copy(
        update={
            "subjects": people,
            "activities": {name: said for name, said in card.activities.items() if name in done},
            "splits": card.splits.model_copy(update=splits),
        }
    )
    return replace(imported, card=card, cohort=cohort)
