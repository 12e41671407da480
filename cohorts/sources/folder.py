"""Any lab's recordings: a folder in a plain layout, described by a small YAML.

``capbench.yaml`` in the folder (or any file, given as ``layout``)::

    name: gait-lab
    title: Walking in our laboratory
    subjects:
      s01: {mass: 70.2, height: 1.75, sex: female, age_band: 20-29}
    layout:
      videos: "{subject}/{session}/{camera}/{trial}.mp4"
      calibrations: "{subject}/{session}/calibration.toml"
      markers: "{subject}/mocap/{trial}.trc"
      motion: "{subject}/ik/{trial}.mot"
      extras:
        model: "{subject}/model.osim"
        "motion:second": "{subject}/ik2/{trial}.mot"
    activities:
      walking: "walk*"

A pattern is a path in which ``{subject}``, ``{session}``, ``{trial}`` and ``{camera}`` stand for a piece of a
name and ``*`` for anything but "/"; a list of patterns takes whatever any of them finds. A pattern
without ``{subject}`` is for the only subject there is, one without ``{trial}`` for all trials. A calibration
without ``{camera}`` holds several cameras. Trials are found, never assumed: whatever ``videos``, ``markers``
or ``motion`` name. Without ``layout`` it is ``LAYOUT`` below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator

from cohorts.bounded import read_text, shorten
from cohorts.card import Axis, Licence, Reference, Rig, Splits
from cohorts.errors import CapbenchError
from cohorts.recording import Subject, Trial
from cohorts.sources import common
from cohorts.store import Imported
from cohorts.strict import Lines, Strict, Texts, parse_strict, wrong

NAME = "folder"
TITLE = "any lab: videos, calibrations, TRC, C3D or MOT in a plain layout with a small YAML"
FILE_NAME = "capbench.yaml"
FIELDS = ("subject", "session", "trial", "camera")


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Patterns = Annotated[Texts, BeforeValidator(_one_or_more)]


class Person(Strict):
    """What is known of one subject."""

    mass: float | None = Field(default=None, description="Kilograms.")
    height: float | None = Field(default=None, description="Metres.")
    sex: Literal["female", "male"] | None = Field(default=None, description="Where known.")
    age_band: str | None = Field(default=None, description="Such as '20-29'; never a date of birth.")


class Layout(Strict):
    """Where files are, as patterns."""

    videos: Patterns = Field(default=(), description="Videos; needs {trial} and {camera}.")
    calibrations: Patterns = Field(default=(), description="Calibrations of one or of several cameras.")
    markers: Patterns = Field(default=(), description="Reference markers (.trc, .c3d); needs {trial}.")
    motion: Patterns = Field(default=(), description="Reference joint angles (.mot, .sto); needs {trial}.")
    extras: Mapping[str, Patterns] = Field(
        default_factory=dict, description="Role -> what else belongs to a trial: model, forces, static …"
    )

    @field_validator("videos", "markers", "motion")
    @classmethod
    def _names_trial(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if "{trial}" not in pattern:
                wrong(f"Expected {{trial}} in the pattern, got {pattern!r}.")
        return patterns

    @field_validator("videos")
    @classmethod
    def _names_camera(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if "{camera}" not in pattern:
                wrong(f"Expected {{camera}} in the pattern, got {pattern!r}.")
        return patterns


class Description(Strict):
    """The file ``capbench.yaml``."""

    name: str = Field(description="Short name of the cohort: letters, digits, dots, dashes, underscores.")
    version: str = Field(default="1", description="Counts up whenever data change; in quotes.")
    title: str = Field(default="", description="What it is, in a phrase.")
    subjects: Mapping[str, Person] = Field(description="Pseudonym -> what is known of the person.")
    layout: Layout | None = Field(default=None, description="Where files are; see the documentation.")
    activities: Mapping[str, str] = Field(
        default_factory=dict, description="Activity -> wildcard of trial names; default: the name's letters."
    )
    leave_out: Patterns = Field(default=(), description="Wildcards of trials to leave out.")
    up: Axis | None = Field(default=None, description="Which axis of the calibrations' world points up.")
    floor: float | None = Field(default=None, description="Where the floor is along it, metres.")
    synchronised: bool = Field(default=False, description="Whether the cameras are; see the card.")
    licence: Licence | None = Field(default=None, description="As in the card.")
    consent: str | None = Field(default=None, description="As in the card.")
    protocol: str = Field(default="capbench-1", description="As in the card.")
    reference: Reference | None = Field(default=None, description="As in the card.")
    splits: Splits | None = Field(default=None, description="As in the card.")


LAYOUT = Layout(
    videos=("{subject}/videos/{camera}/{trial}.*",),
    calibrations=("{subject}/calibration.toml", "{subject}/calibration/{camera}.*"),
    markers=("{subject}/markers/{trial}.trc", "{subject}/markers/{trial}.c3d"),
    motion=("{subject}/motion/{trial}.mot", "{subject}/motion/{trial}.sto"),
    extras={"model": ("{subject}/model.osim",), "forces": ("{subject}/forces/{trial}.mot",)},
)


def recognise(folder: Path) -> str | None:
    """Whether the folder describes itself."""
    return f"it holds a {FILE_NAME}" if (folder / FILE_NAME).is_file() else None


def read(folder: Path, *, layout: Path | None = None, name: str | None = None) -> Imported:
    """The cohort that the folder's ``capbench.yaml``, or the file ``layout``, describes."""
    file = folder / FILE_NAME if layout is None else layout
    text = read_text(file, 1 << 20)
    said = parse_strict(text, Description, file=file, what="description of a folder")
    notes: list[str] = []
    finder = _Finder(folder, file, Lines(text), said, notes)
    trials = finder.trials()
    used = {trial.subject for trial in trials}
    finder.check_subjects(used)
    people = [_subject(pseudonym, said.subjects[pseudonym], finder) for pseudonym in sorted(said.subjects)]
    cohort = common.cohort_of(
        common.short_name(name or said.name), said.version, people, trials, folder=folder
    )
    given = {
        key: getattr(said, key)
        for key in ("licence", "consent", "splits", "protocol")
        if getattr(said, key) is not None
    }
    card = common.draft_card(
        cohort, title=said.title or f"Recordings in {folder.name}", reference=said.reference,
        up=said.up, floor=said.floor, **given,
    )  # fmt: skip
    if card.cameras is not None and said.synchronised:
        rig = Rig.model_validate({**card.cameras.model_dump(), "synchronised": True})
        card = card.model_copy(update={"cameras": rig})
    return Imported(card, cohort, tuple(notes), folder)


def _subject(pseudonym: str, person: Person, finder: _Finder) -> Subject:
    try:
        return Subject(pseudonym, **person.model_dump())
    except CapbenchError as error:
        error.file, error.line = str(finder.file), finder.lines.of("subjects", pseudonym)
        raise


# --- patterns -----------------------------------------------------------------------------------


class Match(NamedTuple):
    """A file that a pattern found, and what its fields are."""

    path: str
    fields: Mapping[str, str]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern; a field that comes again must have the same text.

    >>> compile_pattern("{subject}/{trial}_{trial}.*").fullmatch("s1/walk_walk.mp4")["trial"]
    'walk'
    """
    parts, seen = [], set()
    for literal, field in re.findall(r"([^{}]*)(?:\{([^{}]*)\})?", pattern):
        parts.append("[^/]*".join(map(re.escape, literal.split("*"))))
        if field in seen:
            parts.append(f"(?P={field})")
        elif field in FIELDS:
            seen.add(field)
            parts.append(f"(?P<{field}>[^/]+?)")
        elif field:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise CapbenchError(f"Expected the fields {known}, got {{{field}}}.")
    return re.compile("".join(parts))


@dataclass
class _Finder:
    """Finds what the patterns name, and puts it together into trials."""

    folder: Path
    file: Path
    lines: Lines
    said: Description
    notes: list[str]

    def __post_init__(self) -> None:
        self.files = common.files_of(self.folder, self.notes)
        self.layout = LAYOUT if self.said.layout is None else self.said.layout

    def error(self, problem: str, *place: str, fix: str | None = None) -> CapbenchError:
        """An error about a place in the description."""
        return CapbenchError(problem, file=self.file, line=self.lines.of(*place), fix=fix)

    def matches(self, patterns: tuple[str, ...], *place: str) -> Iterator[Match]:
        """Everything that the patterns find, the first that finds a file wins."""
        taken: set[str] = set()
        for pattern in patterns:
            try:
                compiled = compile_pattern(pattern)
            except CapbenchError as error:
                raise self.error(error.problem, "layout", *place) from None
            for path in self.files:
                found = None if path in taken else compiled.fullmatch(path)
                if found is not None:
                    taken.add(path)
                    yield Match(path, self.with_subject(found.groupdict(), pattern, *place))

    def with_subject(self, fields: dict[str, str], pattern: str, *place: str) -> dict[str, str]:
        """The fields, the only subject filled in where the pattern names trials but no subject."""
        if "subject" in fields or "{trial}" not in pattern:
            return fields
        if len(self.said.subjects) != 1:
            raise self.error(
                f"Expected {{subject}} in the pattern, or one subject, got {len(self.said.subjects)}.",
                "layout",
                *place,
            )
        return {**fields, "subject": next(iter(self.said.subjects))}

    def trials(self) -> list[Trial]:
        """All trials with what belongs to them."""
        layout = self.layout
        videos = [m for m in self.matches(layout.videos, "videos") if common.is_video(m.path)]
        markers = list(self.matches(layout.markers, "markers"))
        motion = list(self.matches(layout.motion, "motion"))
        calibrations = list(self.matches(layout.calibrations, "calibrations"))
        extras = {
            role: list(self.matches(patterns, "extras", role)) for role, patterns in layout.extras.items()
        }
        self.note_unfound(videos=videos, markers=markers, motion=motion, calibrations=calibrations, **extras)
        made = []
        for subject, session, trial in self.identities([*videos, *markers, *motion]):
            own = {"subject": subject, "session": session, "trial": trial}
            rig = {m.fields["camera"]: m.path for m in _fitting(videos, own)}
            made.append(
                Trial(
                    name=trial,
                    subject=subject,
                    session=session,
                    activity=common.activity_of(trial, self.said.activities),
                    videos=rig,
                    calibrations=self.calibrations(_fitting(calibrations, own), rig),
                    markers=self.only(_fitting(markers, own), "markers", own),
                    motion=self.only(_fitting(motion, own), "motion", own),
                    extras={
                        role: path
                        for role, found in extras.items()
                        if (path := self.only(_fitting(found, own), role, own)) is not None
                    },
                )
            )
        return made

    def identities(self, found: list[Match]) -> list[tuple[str, str, str]]:
        """(subject, session, trial) of all; one without a session joins those of the same name with one."""
        from fnmatch import fnmatchcase

        every = {(m.fields["subject"], m.fields.get("session", ""), m.fields["trial"]) for m in found}
        every = {
            identity
            for identity in every
            if not any(fnmatchcase(identity[2], pattern) for pattern in self.said.leave_out)
        }
        with_session = {(subject, trial) for subject, session, trial in every if session}
        return sorted(i for i in every if i[1] or (i[0], i[2]) not in with_session)

    def only(self, found: list[Match], what: str, own: Mapping[str, str]) -> str | None:
        """The one file found for a trial; notes when there were several."""
        if len(found) > 1:
            where = "/".join(filter(None, own.values()))
            self.notes.append(
                f"{where}: {len(found)} files fit {what}, the first was taken: "
                f"{shorten([m.path for m in found], 3)}"
            )
        return found[0].path if found else None

    def calibrations(self, found: list[Match], videos: Mapping[str, str]) -> dict[str, str]:
        """Camera -> calibration; of files that hold several cameras, those that there are videos of."""
        rig: dict[str, str] = {}
        for match in found:
            if "camera" in match.fields:
                rig.setdefault(match.fields["camera"], match.path)
                continue
            held = [camera.name for camera in common.calibrated(self.folder / match.path)]
            wanted = list(videos) if len(held) == 1 and len(videos) == 1 else held
            for name in wanted:
                if name in videos or not videos:
                    rig.setdefault(name, match.path)
            lost = [name for name in videos if name not in held and name not in rig]
            if lost:
                note = (
                    f"{match.path} calibrates {shorten(held)} but not {shorten(lost)}: "
                    "give videos the cameras' names"
                )
                if note not in self.notes:
                    self.notes.append(note)
        return rig

    def check_subjects(self, used: set[str]) -> None:
        """Refuse a subject that is found but not described."""
        unknown = sorted(used - set(self.said.subjects))
        if unknown:
            raise self.error(
                f"Expected the subjects {shorten(list(self.said.subjects))}, found files of "
                f"{shorten(unknown)}.",
                "subjects",
                fix=f"add {unknown[0]}: {{mass: …, height: …}}, or a narrower pattern",
            )

    def note_unfound(self, **found: list[Match]) -> None:
        """Say which patterns found nothing."""
        written = self.said.layout is not None
        for what, matches in found.items():
            given = getattr(self.layout, what, None) or self.layout.extras.get(what)
            if written and given and not matches:
                self.notes.append(f"no file fits {what}: {shorten(list(given), 3)}")


def _fitting(found: list[Match], own: Mapping[str, str]) -> list[Match]:
    """Those whose fields don't contradict a trial's."""
    return [
        match
        for match in found
        if all(match.fields[key] == own[key] for key in own if key in match.fields and own[key])
    ]
