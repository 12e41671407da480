"""The reference, solved again by the converged engine and kept by content.

Published joint angles were solved by a program that stops early: at the accuracy of the published set-ups
(1e-5) its answers lie 0.1° to 0.8° from the optimum, and a second pipeline on the same markers lies farther
still (:mod:`capbench.run.noise` measures both). So the motion that a cohort is scored against is solved here
once more, to the end, with the published marker weights; the published one stays beside it.

A solved trial is kept in a file whose name is the hash of everything that its content follows from (model
file, marker file, weights, engine). Nothing is ever reused because its name fits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import capbench
from capbench.biomech.fit import fit
from capbench.biomech.matching import Fit
from capbench.biomech.opensim_setup import Tasks, read_tasks
from capbench.biomech.presets import preset
from cohorts import formats
from cohorts.bounded import MB, XML_LIMIT, about, load_npz, read_bytes, replacing
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.recording import Kind, Markers, Motion
from cohorts.store import Imported
from cohorts.values import FloatArray

WEIGHTS = "opencap-mocap"  #: the preset that LabValidation's reference was published with
PASSES = 3  #: chains of starts; more find better minima in fast motion
MARKER_LIMIT = 512 * MB
LAYOUT = 1  #: of the files kept; raised when they change
STATIC = "static"  #: the activity of the trial that models are scaled on
SOLUTION = "motion:"  #: begins the role, among a trial's extras, of another solution of its reference
PUBLISHED = "published"  #: the name of the solution that the cohort's makers published

Weights = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Recorded:
    """The files that one trial's reference comes from.

    Attributes
    ----------
    key : unique in the cohort, as :attr:`cohorts.Trial.key`
    subject, activity : what the noise floor is averaged over
    model : the subject's scaled .osim
    markers : recorded markers (.trc, .c3d, …)
    published : joint angles as the cohort's makers published them
    others : name of a further pipeline -> its joint angles of this trial
    """

    key: str
    subject: str
    activity: str
    model: Path
    markers: Path
    published: Path | None = None
    others: Mapping[str, Path] = field(default_factory=dict)


def recordings(imported: Imported, *, failures: dict[str, str] | None = None) -> list[Recorded]:
    """The trials of a cohort whose reference can be solved from markers, with every other solution beside it.

    A trial with joint angles but without markers or a scaled model goes to ``failures`` with the reason.
    The static trial that models are scaled on is none.
    """
    failures = {} if failures is None else failures
    found = []
    for trial in imported.cohort.trials:
        if trial.activity == STATIC or (trial.motion is None and trial.markers is None):
            continue
        lacks = [
            what
            for what, path in (("markers", trial.markers), ("scaled model", trial.extras.get("model")))
            if path is None
        ]
        if lacks:
            failures[trial.key] = f"no {' and no '.join(lacks)} to solve its reference from"
            continue
        others = {
            role.removeprefix(SOLUTION): path
            for role, path in trial.extras.items()
            if role.startswith(SOLUTION)
        }
        published = others.pop(PUBLISHED, trial.motion)
        found.append(
            Recorded(
                trial.key,
                trial.subject,
                trial.activity,
                imported.path(trial.extras["model"]),
                imported.path(str(trial.markers)),
                None if published is None else imported.path(published),
                {name: imported.path(path) for name, path in others.items()},
            )
        )
    return found


@dataclass(frozen=True)
class Resolved:
    """A reference solved again.

    Attributes
    ----------
    motion : every coordinate of the model at the markers' times, radians and metres
    marker_rms : (T,) metres, root mean square distance of the recorded markers from the model's
    held : coordinates that no marker shows: they stand where the model has them, and mean nothing
    converged : share of the fitted frames that were solved to the end
    engine : what solved it
    notes : oddities, in words
    key : the name of the file it is kept in
    """

    motion: Motion
    marker_rms: FloatArray
    held: tuple[str, ...]
    converged: float
    engine: str
    notes: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Reference:
    """All that is known of one trial's true motion: ours, the published one, and other pipelines'."""

    trial: Recorded
    resolved: Resolved
    published: Motion | None
    others: Mapping[str, Motion]


# --- solving, and keeping what was solved --------------------------------------------------------


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Where results are kept: as given, else $CAPBENCH_CACHE, $XDG_CACHE_HOME/capbench, ~/.cache/capbench."""
    for candidate in (given, os.environ.get("CAPBENCH_CACHE")):
        if candidate:
            return Path(candidate).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG base directory specification: a relative path there is to be ignored
    home = Path(xdg) if Path(xdg).is_absolute() else Path("~/.cache").expanduser()
    return home / "capbench"


@cache
def engine_version() -> str:
    """capbench's version and a hash of the sources that an answer depends on: the engine and the readers."""
    digest = hashlib.sha256()
    root = Path(capbench.__file__).parent
    for folder in (root / "biomech", Path(formats.__file__).parent):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"capbench {capbench.__version__} {digest.hexdigest()[:16]}"


def reference_key(model: Path, markers: Path, *, weights: Weights = WEIGHTS, passes: int = PASSES) -> str:
    """The hash of everything that a solved reference follows from: 64 hexadecimal digits."""
    parts = {
        "layout": LAYOUT,
        "engine": engine_version(),
        "passes": passes,
        "model": hashlib.sha256(read_bytes(model, XML_LIMIT)).hexdigest(),
        "markers": hashlib.sha256(read_bytes(markers, MARKER_LIMIT)).hexdigest(),
        "format": markers.suffix.lower(),
        "weights": _canonical(weights),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _canonical(weights: Weights) -> Any:
    """Marker weights and coordinate tasks as JSON; a preset and the file it came from are the same."""
    if weights is None:
        return "equal"
    tasks = _tasks(weights)
    steering = sorted((t.name, t.weight, t.kind, t.value) for t in tasks.coordinates)
    return {"markers": {n: w for n, w in tasks.markers.items() if w > 0}, "coordinates": steering}


def _tasks(weights: str | os.PathLike[str]) -> Tasks:
    text = os.fspath(weights)
    return read_tasks(Path(text)) if text.endswith(".xml") or Path(text).exists() else preset(text)


def resolve(
    model: Path,
    markers: Path,
    *,
    weights: Weights = WEIGHTS,
    passes: int = PASSES,
    cache: str | os.PathLike[str] | None = None,
    keep: bool = True,
) -> Resolved:
    """The motion of ``model`` nearest to the recorded ``markers``, solved to the end, or as it was kept.

    ``weights`` names a preset or an OpenSim set-up; None weighs all markers the same. ``cache`` is the folder
    to keep it in (see :func:`cache_folder`); ``keep=False`` neither looks there nor writes.
    """
    key = reference_key(model, markers, weights=weights, passes=passes)
    path = cache_folder(cache) / "reference" / key[:2] / f"{key}.npz"
    if keep and path.is_file():
        try:
            return _load(path, key)
        except CapbenchError:
            pass  # damaged: solved again below, and replaced
    notes: list[str] = []
    recorded = formats.read(markers, notes=notes)[1]
    if not isinstance(recorded, Markers):
        raise CapbenchError(
            f"Expected markers to solve a reference from, got {formats.holds_of(recorded)}.", file=markers
        )
    with about(markers):
        found = fit(recorded, model, tasks=weights, passes=passes)
    made = _resolved(found, notes, key)
    if keep:
        _save(path, made)
    return made


def _resolved(found: Fit, notes: list[str], key: str) -> Resolved:
    proof = found.certificate
    assert proof is not None  # the fast engine always gives one
    shown = np.asarray(proof.observed.any(axis=0))
    held = tuple(name for name, seen in zip(proof.coordinates, shown.tolist(), strict=True) if not seen)
    fitted = np.isfinite(found.marker_rms)
    return Resolved(
        found.motion,
        found.marker_rms,
        held,
        float(proof.converged[fitted].mean()),
        engine_version(),
        (*notes, *found.notes),
        key,
    )


def _save(path: Path, made: Resolved) -> None:
    """All of it as plain arrays, whole or not at all."""
    about_it = {
        "key": made.key,
        "held": made.held,
        "converged": made.converged,
        "engine": made.engine,
        "notes": made.notes,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"Can't be made: {error.strerror}.", file=path.parent, fix="set CAPBENCH_CACHE to another folder"
        ) from None
    with replacing(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            about=np.array(json.dumps(about_it)),
            time=made.motion.time,
            names=np.array(made.motion.names),
            kinds=np.array(made.motion.kinds),
            coupled=np.array(made.motion.coupled, dtype=np.str_),
            values=made.motion.values,
            marker_rms=made.marker_rms,
        )


def _load(path: Path, key: str) -> Resolved:
    arrays = load_npz(path)
    try:
        told = json.loads(str(arrays["about"]))
        if told["key"] != key:
            raise CapbenchError("Expected the reference that its name says, got another.", file=path)
        motion = Motion(
            arrays["time"],
            _words(arrays["names"]),
            arrays["values"],
            cast("tuple[Kind, ...]", _words(arrays["kinds"])),
            _words(arrays["coupled"]),
        )
        return Resolved(
            motion,
            arrays["marker_rms"],
            tuple(map(str, told["held"])),
            float(told["converged"]),
            str(told["engine"]),
            tuple(map(str, told["notes"])),
            key,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CapbenchError(f"Expected a solved reference, got: {error}.", file=path) from None


def _words(array: NDArray[Any]) -> tuple[str, ...]:
    return tuple(str(word) for word in array.tolist())


def reference_of(
    trial: Recorded, *, weights: Weights = WEIGHTS, cache: str | os.PathLike[str] | None = None
) -> Reference:
    """The trial's motion solved again, with the published one and other pipelines' beside it."""
    return Reference(
        trial,
        resolve(trial.model, trial.markers, weights=weights, cache=cache),
        None if trial.published is None else _motion(trial.published),
        {name: _motion(path) for name, path in trial.others.items()},
    )


def _motion(path: Path) -> Motion:
    found = formats.read(path)[1]
    if not isinstance(found, Motion):
        raise CapbenchError(
            f"Expected joint angles, got {formats.holds_of(found)}.",
            file=path,
            fix="a .mot whose first line is 'Coordinates'",
        )
    return found


def resolve_all(
    trials: Iterable[Recorded],
    *,
    weights: Weights = WEIGHTS,
    cache: str | os.PathLike[str] | None = None,
    failures: dict[str, str],
) -> list[Reference]:
    """The references of all trials; what fails is written to ``failures`` by key, with its reason."""
    found = []
    for trial in trials:
        try:
            found.append(reference_of(trial, weights=weights, cache=cache))
        except EnvironmentFault:
            raise  # a full disk fails for all of them
        except CapbenchError as error:
            failures[trial.key] = str(error)
    return found
