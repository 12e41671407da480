"""A cohort on disk: its card, its trials, and a root that their paths stay below.

A folder with ``cohort.yaml`` (the card) and ``trials.yaml``: the people, and for each trial where its files
lie, relative to the ``root`` that the file declares ("." is the folder itself; an import declares the user's
own folder, so that nothing is copied). Nothing may lead out of the root: not by ``..``, not by a link.

Folders are written whole or not at all: beside the target under a hidden name, then renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cohorts.bounded import MB, check_new, read_text, write_text
from cohorts.camera import Camera
from cohorts.card import FILE_NAME, Card, leads_out, read_card, write_card
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.recording import Cohort, Subject, Trial
from cohorts.strict import Lines, Strict, Texts, parse_strict, to_yaml

TRIALS_NAME = "trials.yaml"
FILES_NAME = "files"  #: where copies lie
OWN_NAMES = {FILE_NAME, TRIALS_NAME, FILES_NAME}
TRIALS_LIMIT = 16 * MB
Hashing = Literal["none", "reference", "all"]


class SubjectRow(Strict):
    """One person."""

    pseudonym: str = Field(description="The only name ever used.")
    mass: float | None = Field(default=None, description="Kilograms.")
    height: float | None = Field(default=None, description="Metres.")
    sex: Literal["female", "male"] | None = Field(default=None, description="Where known.")
    age_band: str | None = Field(default=None, description="Such as '20-29'; never a date of birth.")


class TrialRow(Strict):
    """One recording; every path is relative to the root."""

    name: str = Field(description="Unique within subject and session, such as 'walking1'.")
    subject: str = Field(description="Pseudonym.")
    activity: str = Field(description="Such as 'walking'.")
    session: str = Field(default="", description="Cameras stay where they are within a session.")
    videos: Mapping[str, str] = Field(default_factory=dict, description="Camera -> video.")
    calibrations: Mapping[str, str] = Field(default_factory=dict, description="Camera -> calibration.")
    markers: str | None = Field(default=None, description="Reference markers.")
    motion: str | None = Field(default=None, description="Reference joint angles.")
    extras: Mapping[str, str] = Field(default_factory=dict, description="Role -> file of what else there is.")


class Trials(Strict):
    """The file ``trials.yaml``."""

    root: str = Field(default=".", description="Folder that all paths are relative to; '.' is this one.")
    source: str = Field(default="", description="Which importer made it; empty: none.")
    subjects: Annotated[tuple[SubjectRow, ...], Field(strict=False)] = Field(description="The people.")
    trials: Annotated[tuple[TrialRow, ...], Field(strict=False)] = Field(description="The recordings.")
    notes: Texts = Field(default=(), description="What the importer found odd.")


@dataclass(frozen=True)
class Imported:
    """A cohort with its card, and where its files are.

    Attributes
    ----------
    card : what a reader of a score must know
    cohort : people and trials; paths are relative to ``root``
    notes : what was odd when it was read, in words
    root : the folder that paths are relative to (filled in by :func:`cohorts.sources.read_folder`)
    folder : where card and trials are stored, or None
    source : the name of the importer, or ""
    """

    card: Card
    cohort: Cohort
    notes: tuple[str, ...] = ()
    root: Path | None = None
    folder: Path | None = None
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(self.notes))
        if (self.card.name, self.card.version) != (self.cohort.name, self.cohort.version):
            raise CapbenchError(
                f"Expected a card and trials of one cohort, got {self.card.name} {self.card.version} "
                f"and {self.cohort.name} {self.cohort.version}."
            )

    def rooted(self, root: Path, *, source: str) -> Imported:
        """With ``root`` where none is set; absolute paths below the root become relative."""
        base = (root if self.root is None else self.root).resolve()

        def relative(path: str) -> str:
            try:
                if Path(path).is_absolute():
                    path = _below(Path(path), base)
                if not leads_out(path):
                    return path
                raise ValueError
            except ValueError:
                raise RefusedError(
                    "Expected files below the folder that is imported, got one outside.",
                    file=path,
                    fix=f"move it below {base}, or import a folder that holds both",
                ) from None

        trials = tuple(map_paths(trial, relative) for trial in self.cohort.trials)
        return replace(self, cohort=replace(self.cohort, trials=trials), root=base, source=source)

    def path(self, relative: str) -> Path:
        """Where a trial's file lies; refused if it leads out of the root, by name or by a link."""
        if self.root is None:
            raise CapbenchError("Expected a cohort with a root, got none.", file=relative)
        if leads_out(relative):
            raise RefusedError(
                f"Expected a path below the cohort's root, got {relative!r}.",
                file=self.trials_file,
                fix="write it relative to the root, with / and without ..",
            )
        path = self.root / relative
        real, base = os.path.realpath(path), os.path.realpath(self.root)
        if real != base and not real.startswith(base.rstrip(os.sep) + os.sep):
            raise RefusedError(
                f"Expected a file below the cohort's root {base}, got a link to {real}.",
                file=path,
                fix="import the folder that the links lead to, or make copies with --copy",
            )
        return path

    @property
    def trials_file(self) -> Path | None:
        """The stored trials, or None."""
        return None if self.folder is None else self.folder / TRIALS_NAME

    @cached_property
    def lines(self) -> Lines | None:
        """Where things stand in the stored trials, or None."""
        file = self.trials_file
        return None if file is None else Lines.of_file(file, TRIALS_LIMIT)

    def cameras(self, trial: Trial, *, notes: list[str] | None = None) -> dict[str, Camera]:
        """Each calibrated camera of a trial; see :func:`camera_in`."""
        return {
            name: camera_in(self.path(path), name, notes=notes) for name, path in trial.calibrations.items()
        }


def _below(path: Path, base: Path) -> str:
    """``path`` relative to ``base``; a link at its end stays a link, the way to it may be written anyhow."""
    return (path.parent.resolve() / path.name).relative_to(base).as_posix()


def paths_of(trial: Trial) -> dict[tuple[str, ...], str]:
    """Everything that a trial refers to: place in the trial's row -> path."""
    found: dict[tuple[str, ...], str] = {}
    for what in ("videos", "calibrations", "extras"):
        found |= {(what, key): path for key, path in getattr(trial, what).items()}
    for what in ("markers", "motion"):
        if getattr(trial, what) is not None:
            found[(what,)] = getattr(trial, what)
    return found


def map_paths(trial: Trial, change: Callable[[str], str]) -> Trial:
    """``trial`` with ``change(path)`` for every path."""
    return replace(
        trial,
        videos={key: change(path) for key, path in trial.videos.items()},
        calibrations={key: change(path) for key, path in trial.calibrations.items()},
        extras={key: change(path) for key, path in trial.extras.items()},
        markers=None if trial.markers is None else change(trial.markers),
        motion=None if trial.motion is None else change(trial.motion),
    )


def camera_in(path: Path, name: str, *, notes: list[str] | None = None) -> Camera:
    """The camera ``name`` in a calibration file; a file of one camera holds it whatever it is called."""
    from cohorts.formats import read

    _, found = read(path, notes=notes)
    given = found if isinstance(found, tuple) else ()
    cameras = [camera for camera in given if isinstance(camera, Camera)]
    if not cameras:
        raise CapbenchError("Expected a calibration, got something else.", file=path, place=f"camera {name}")
    for camera in cameras:
        if camera.name == name:
            return camera
    if len(cameras) == 1:
        return replace(cameras[0], name=name)
    have = ", ".join(camera.name for camera in cameras[:12])
    raise CapbenchError(
        f"Expected a camera called {name!r} among those calibrated ({have}), got none.",
        file=path,
        fix="give the video and its calibration one name",
    )


# --- reading ------------------------------------------------------------------------------------


def is_cohort(folder: Path) -> bool:
    """Whether a folder holds a stored cohort."""
    return (folder / FILE_NAME).is_file() and (folder / TRIALS_NAME).is_file()


def open_cohort(folder: str | Path) -> Imported:
    """The cohort stored in a folder; nothing of what it refers to is opened."""
    folder = Path(folder)
    if folder.name == FILE_NAME and folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        raise CapbenchError("Expected the folder of a cohort, got none.", file=folder)
    if not is_cohort(folder):
        raise CapbenchError(
            f"Expected a cohort, a folder with {FILE_NAME} and {TRIALS_NAME}, got neither or only one.",
            file=folder,
            fix=f"import the recordings first: capbench cohort import {folder} -o COHORT",
        )
    card = read_card(folder / FILE_NAME)
    file = folder / TRIALS_NAME
    text = read_text(file, TRIALS_LIMIT)
    rows = parse_strict(text, Trials, file=file, what="list of trials")
    root = (folder / rows.root).resolve()
    if not root.is_dir():
        raise CapbenchError(
            f"Expected the recordings in {root}, got no such folder.",
            file=file,
            line=Lines(text).of("root"),
            fix="mount it, or write where they are now into root:",
        )
    cohort = _cohort(card, rows, file, text)
    return Imported(card, cohort, rows.notes, root, folder, rows.source)


def _cohort(card: Card, rows: Trials, file: Path, text: str) -> Cohort:
    subjects, trials = [], []
    known: set[str] = set()
    keys: set[str] = set()
    for i, person in enumerate(rows.subjects):
        with _at(file, text, "subjects", i):
            if person.pseudonym in known:
                raise CapbenchError(f"Expected each subject once, got {person.pseudonym!r} again.")
            known.add(person.pseudonym)
            subjects.append(Subject(**person.model_dump()))
    for i, row in enumerate(rows.trials):
        with _at(file, text, "trials", i):
            trial = Trial(**row.model_dump())
            if trial.key in keys:
                raise CapbenchError(f"Expected each trial once, got {trial.key} again.")
            if trial.subject not in known:
                raise CapbenchError(
                    f"Expected a subject among those listed, got {trial.subject!r}.",
                    fix="add the person under subjects:",
                )
            keys.add(trial.key)
            trials.append(trial)
        for place, path in paths_of(trial).items():
            if leads_out(path):
                raise RefusedError(
                    f"Expected a path below the root {rows.root!r}, got {path!r}.",
                    file=file,
                    line=Lines(text).of("trials", i, *place),
                    place=trial.key,
                    fix="write it relative to the root, with / and without ..; or declare another root:",
                )
    return Cohort(card.name, card.version, tuple(subjects), tuple(trials))


@contextmanager
def _at(file: Path, text: str, *place: str | int) -> Iterator[None]:
    """Errors raised inside stand at ``place`` of ``text``."""
    try:
        yield
    except CapbenchError as error:
        if error.file is None:
            error.file, error.line = str(file), Lines(text).of(*place)
        raise


# --- writing ------------------------------------------------------------------------------------


@contextmanager
def new_folder(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside ``target`` that becomes it, whole, when the block ends well.

    On any failure, an interruption too, it is removed, and what was there stays. An existing ``target`` is
    replaced only if ``overwrite`` is given and it holds nothing but a cohort as written here.
    """
    target = Path(target)
    _check_target(target, overwrite=overwrite)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise EnvironmentFault(f"Can't be written: {error.strerror or error}.", file=target.parent) from error
    old = made.with_suffix(".old")
    try:
        yield made
        made.chmod(0o755)
        if target.exists():
            target.rename(old)
        made.rename(target)
    except BaseException as error:
        if old.exists() and not target.exists():
            old.rename(target)
        if isinstance(error, OSError):
            raise EnvironmentFault(f"Can't be written: {error.strerror or error}.", file=target) from error
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_target(target: Path, *, overwrite: bool) -> None:
    check_new(target, overwrite=overwrite)
    if not target.exists():
        return
    is_folder = target.is_dir() and not target.is_symlink()
    entries = {entry.name for entry in target.iterdir()} if is_folder else {target.name}
    if entries - OWN_NAMES or (entries and not is_cohort(target)):
        odd = ", ".join(sorted(entries - OWN_NAMES)[:4]) or target.name
        raise CapbenchError(
            f"Expected a folder that holds nothing but a cohort, got one with {odd}: it is not replaced.",
            file=target,
            fix="choose another folder",
        )


def save(
    imported: Imported,
    target: str | Path,
    *,
    copy: bool = False,
    manifest: bool = False,
    hashes: Hashing = "reference",
    overwrite: bool = False,
) -> Imported:
    """Store a cohort in a new folder and give back what was stored.

    Parameters
    ----------
    imported : the cohort, with its root
    target : the folder to make
    copy : copy the files into it (links are followed), so that the folder stands alone
    manifest : store paths and hashes only, to be laid over someone else's copy of the files: its root is
        the folder itself
    hashes : of which files SHA-256 are stored: none, all, or "reference" (all but the videos)
    overwrite : replace a cohort that is there
    """
    if imported.root is None:
        raise CapbenchError("Expected a cohort with a root, got none.")
    target = Path(target)
    if not copy and target.exists() and imported.root.resolve().is_relative_to(target.resolve()):
        raise CapbenchError(
            "Expected a folder that doesn't hold the recordings themselves, got one that does: replacing it "
            "would delete them.",
            file=target,
            fix="choose another folder",
        )
    with new_folder(target, overwrite=overwrite) as made:
        card = imported.card.model_copy(update={"hashes": _hashes(imported, hashes, follow=copy)})
        if copy:
            _copy_files(imported, made / FILES_NAME)
        root = FILES_NAME if copy else "." if manifest else os.fspath(imported.root)
        _write_rows(made, imported, card, root)
    stored_root = target / FILES_NAME if copy else imported.root
    return replace(imported, card=card, root=stored_root.resolve(), folder=target)


def write_cohort(folder: Path, imported: Imported, *, root: str = ".") -> None:
    """Write card and trials into a folder that exists, such as one that :func:`new_folder` gave."""
    _write_rows(folder, imported, imported.card, root)


def _write_rows(folder: Path, imported: Imported, card: Card, root: str) -> None:
    cohort = imported.cohort
    rows = Trials(
        root=root,
        source=imported.source,
        subjects=tuple(
            SubjectRow(pseudonym=s.pseudonym, mass=s.mass, height=s.height, sex=s.sex, age_band=s.age_band)
            for s in cohort.subjects
        ),
        trials=tuple(
            TrialRow(
                name=t.name,
                subject=t.subject,
                activity=t.activity,
                session=t.session,
                videos=dict(t.videos),
                calibrations=dict(t.calibrations),
                markers=t.markers,
                motion=t.motion,
                extras=dict(t.extras),
            )
            for t in cohort.trials
        ),
        notes=imported.notes,
    )
    write_text(folder / TRIALS_NAME, to_yaml(rows))
    write_card(folder / FILE_NAME, card)  # last: without it the folder is no cohort


def _all_paths(imported: Imported) -> dict[str, bool]:
    """Every path of the cohort once, sorted -> whether it is a video or a folder of pictures."""
    found: dict[str, bool] = {}
    for trial in imported.cohort.trials:
        for place, path in paths_of(trial).items():
            found[path] = place[0] == "videos" or place == ("extras", "images")
    return dict(sorted(found.items()))


def _located(imported: Imported, path: str, *, follow: bool) -> Path:
    if follow and imported.root is not None and not leads_out(path):
        return imported.root / path
    return imported.path(path)


def files_below(path: Path) -> list[Path]:
    """``path`` if it is a file, or all files of the folder, sorted; links to folders are not followed."""
    if not path.is_dir():
        return [path]
    return sorted(Path(top) / name for top, _, names in os.walk(path) for name in names)


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder: of the sorted names and hashes of its files."""
    if path.is_dir():
        lines = [f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files_below(path)]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CapbenchError(f"Can't be read: {error.strerror}.", file=path) from None


def _hashes(imported: Imported, which: Hashing, *, follow: bool) -> dict[str, str]:
    wanted = [
        path
        for path, is_video in _all_paths(imported).items()
        if which == "all" or (which == "reference" and not is_video)
    ]
    found = {}
    for path in wanted:
        place = _located(imported, path, follow=follow)
        if place.exists():  # check tells what is missing
            found[path] = sha256(place)
    return found


def _copy_files(imported: Imported, target: Path) -> None:
    for path in _all_paths(imported):
        source = _located(imported, path, follow=True)
        for file in files_below(source):
            if not file.is_file():
                continue  # check tells what is missing
            copied = target / path if file == source else target / path / file.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)
    target.mkdir(exist_ok=True)
