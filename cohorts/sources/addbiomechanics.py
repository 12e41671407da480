"""Exports of AddBiomechanics: one folder per subject, as its web page gives them.

::

    <subject>/_subject.json                     massKg, heightM, sex (may be absent)
    <subject>/osim_results/                     this level may be absent
      IK/<trial>_ik.mot                         ID/<trial>_grf.mot, ID/<trial>_id.sto
      MarkerData/<trial>.trc
      Models/final.osim                         or match_markers_but_ignore_physics.osim

There are no videos: such a cohort scores markers and angles that were made elsewhere. A trial in several
segments (``<trial>_segment_0_ik.mot``) is as many trials. Its binary ``.b3d`` files are not read.
Source: the exports in the repository of the AddBiomechanics paper (Werling et al. 2023).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from cohorts.bounded import load_json
from cohorts.card import Reference
from cohorts.errors import CapbenchError
from cohorts.recording import Subject, Trial
from cohorts.sources import common
from cohorts.store import Imported

NAME = "addbiomechanics"
TITLE = "exports of AddBiomechanics: IK, markers, models"
MODELS = (
    "final.osim",
    "match_markers_and_physics.osim",
    "match_markers_but_ignore_physics.osim",
    "optimized_scale_and_markers.osim",
)


def recognise(folder: Path) -> str | None:
    """Whether there is an ``IK/*_ik.mot`` beside ``Models/``."""
    return "it holds IK/*_ik.mot and Models/" if _places(common.files_of(folder)) else None


def _places(files: list[str]) -> list[PurePosixPath]:
    """The folders that hold IK and Models."""
    solved = {
        PurePosixPath(path).parent.parent
        for path in files
        if path.endswith("_ik.mot") and PurePosixPath(path).parent.name == "IK"
    }
    models = {
        PurePosixPath(path).parent.parent for path in files if PurePosixPath(path).parent.name == "Models"
    }
    return sorted(solved & models)


def read(folder: Path, *, name: str | None = None, activity: str | None = None) -> Imported:
    """The subjects in a folder; ``activity`` of all trials, else from their names."""
    notes: list[str] = []
    files = common.files_of(folder, notes)
    places = _places(files)
    if not places:
        binary = any(path.endswith(".b3d") for path in files)
        raise CapbenchError(
            "Expected IK/*_ik.mot beside Models/ in a subject's folder, got "
            + ("only .b3d files, which are not read." if binary else "none."),
            file=folder,
            fix="download the OpenSim results of the subject" if binary else None,
        )
    people: dict[str, Subject] = {}
    trials: list[Trial] = []
    for place in places:
        owner = place.parent if place.name == "osim_results" else place
        person = _subject(folder, owner, notes)
        if person.pseudonym in people:
            raise CapbenchError(
                f"Expected one folder per subject, got {person.pseudonym!r} again.", file=folder / place
            )
        people[person.pseudonym] = person
        trials += _trials(place, person, files, activity)
    short = common.short_name(name or folder.absolute().name)
    cohort = common.cohort_of(short, "1", people.values(), trials, folder=folder)
    reference = Reference(
        kind="motion",
        model="each subject's own, as AddBiomechanics scaled it",
        solved="AddBiomechanics: scaling, marker places and angles found together in one optimisation",
    )
    card = common.draft_card(
        cohort, title=f"AddBiomechanics exports in {folder.absolute().name}", reference=reference
    )
    return Imported(card, cohort, tuple(notes), folder)


def _subject(folder: Path, owner: PurePosixPath, notes: list[str]) -> Subject:
    name = owner.name or folder.absolute().name
    file = folder / owner / "_subject.json"
    said: Any = load_json(file) if file.is_file() else {}
    if not isinstance(said, dict):
        raise CapbenchError("Expected a mapping of keys (massKg, heightM, …).", file=file, line=1)
    if not file.is_file():
        notes.append(f"{name}: no _subject.json, so mass and height are unknown")
    sex = said.get("sex")
    try:
        return Subject(
            name,
            common.number_or_none(said.get("massKg")),
            common.number_or_none(said.get("heightM")),
            sex if sex in ("female", "male") else None,
        )
    except CapbenchError as error:
        error.file = str(file)
        raise


def _trials(place: PurePosixPath, person: Subject, files: list[str], activity: str | None) -> list[Trial]:
    known = set(files)

    def there(path: str) -> str | None:
        found = (place / path).as_posix()
        return found if found in known else None

    model = next((path for name in MODELS if (path := there(f"Models/{name}"))), None)
    made = []
    for path in files:
        if PurePosixPath(path).parent != place / "IK" or not path.endswith("_ik.mot"):
            continue
        trial = PurePosixPath(path).name.removesuffix("_ik.mot")
        others = {
            "model": model,
            "forces": there(f"ID/{trial}_grf.mot"),
            "moments": there(f"ID/{trial}_id.sto"),
        }
        whole = re.sub(r"_segment_\d+$", "", trial)
        made.append(
            Trial(
                name=trial,
                subject=person.pseudonym,
                activity=activity or common.activity_of(whole),
                markers=there(f"MarkerData/{trial}.trc") or there(f"MarkerData/{trial}.c3d"),
                motion=path,
                extras={role: found for role, found in others.items() if found is not None},
            )
        )
    return made
