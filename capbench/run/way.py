"""The way of every trial as units of work, and the ways on which one stage is swapped for the truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from capbench.run.noisy_truth import Noise
from capbench.run.reference import STATIC, WEIGHTS
from capbench.run.sources import NoisyTruth, Source
from capbench.run.stages import version
from capbench.run.store import Store
from capbench.run.units import Unit
from cohorts.errors import CapbenchError
from cohorts.recording import Trial
from cohorts.store import Imported

Swap = Literal["", "keypoints", "calibration and sync", "scaling", "solver"]
Scaling = Literal["own", "reference"]
#: what is swapped for the truth, one at a time; with "solver" everything before the solver is
SWAPS: tuple[Swap, ...] = ("keypoints", "calibration and sync", "scaling", "solver")


@dataclass(frozen=True)
class Way:
    """The units of one way: by trial, keypoints, markers and angles; by person, the scaled model.

    Attributes
    ----------
    swap : what is the truth on this way; "" is the way as it is
    keypoints, markers, motions : trial's key -> unit; none for a trial of which nothing was predicted
    models : person -> unit
    """

    swap: Swap = ""
    keypoints: Mapping[str, Unit] = field(default_factory=dict)
    markers: Mapping[str, Unit] = field(default_factory=dict)
    motions: Mapping[str, Unit] = field(default_factory=dict)
    models: Mapping[str, Unit] = field(default_factory=dict)

    def units(self) -> Iterator[Unit]:
        """All of them, earlier stages first."""
        for part in (self.keypoints, self.markers, self.models, self.motions):
            yield from part.values()


@dataclass(frozen=True)
class Ways:
    """Builds the units for one source on one cohort.

    Attributes
    ----------
    cohort, source, store : on whom, what, and where outputs are kept
    trials : those that are scored, and the static ones of the same people
    cameras : used by every trial that has them
    scaling : how people are scaled
    published : whether markers are made as the published code makes them (protocol opencapbench)
    """

    cohort: Imported
    source: Source
    store: Store
    trials: tuple[Trial, ...]
    cameras: tuple[str, ...]
    scaling: Scaling = "own"
    published: bool = False

    def way(self, swap: Swap = "") -> Way:
        """The units of a way."""
        if swap == "calibration and sync" and self._one_clock:
            return replace(self.way(), swap=swap)  # there is nothing to swap
        keypoints = dict(self._keypoints(swap))
        markers = self._markers(keypoints, swap)
        models = dict(self._models(markers, swap))
        motions = {
            key: self._motion(key, unit, models)
            for key, unit in markers.items()
            if self._trial(key).activity != STATIC
        }
        return Way(swap, keypoints, markers, motions, models)

    @property
    def _one_clock(self) -> bool:
        """Whether the cameras are known to share their clock to the frame."""
        rig = self.cohort.card.cameras
        return rig is not None and rig.synchronised and rig.max_offset == 0

    def _trial(self, key: str) -> Trial:
        return next(trial for trial in self.trials if trial.key == key)

    def cameras_of(self, trial: Trial) -> tuple[str, ...]:
        """The cameras that are used of a trial."""
        have = {*trial.videos, *(r.partition(":")[2] for r in trial.extras if r.startswith("keypoints:"))}
        return tuple(name for name in self.cameras if name in have)

    def _keypoints(self, swap: Swap) -> Iterator[tuple[str, Unit]]:
        source = NoisyTruth(self.cohort, Noise(0, 0), 0) if swap == "keypoints" else self.source
        if swap == "solver":
            return
        for trial in self.trials:
            unit = source.first(trial, self.cameras_of(trial), self.store)
            if unit is not None:
                yield trial.key, unit

    def _markers(self, keypoints: Mapping[str, Unit], swap: Swap) -> dict[str, Unit]:
        if swap == "solver":
            return {trial.key: self._true_markers(trial) for trial in self.trials if trial.markers}
        return {key: self._marker_unit(self._trial(key), unit, swap) for key, unit in keypoints.items()}

    def _marker_unit(self, trial: Trial, keypoints: Unit, swap: Swap) -> Unit:
        inputs = {"keypoints": keypoints.key}
        for name in self.cameras_of(trial):
            if name in trial.calibrations:
                path = self.cohort.path(trial.calibrations[name])
                inputs[f"calibration {name}"] = self.store.hash_file(path)
        rig = self.cohort.card.cameras
        clock = "shared" if rig is not None and rig.synchronised else "find"
        most = None
        if rig is not None and rig.max_offset is not None and rig.rate:
            most = (rig.max_offset + 1 if rig.max_offset else 0) / rig.rate
        if swap == "calibration and sync":
            clock, most = "truth", 0.0
            for name in self.cameras_of(trial):
                path = self.cohort.path(trial.extras[f"keypoints:{name}"])
                inputs[f"truth {name}"] = self.store.hash_file(path)
        params = {
            "trial": trial.key,
            "activity": trial.activity,
            "clock": clock,
            "max_offset": most,
            "up": "+y" if rig is None or rig.up is None else rig.up,
            "floor": 0.0 if rig is None or rig.floor is None else rig.floor,
            "published": self.published,
        }
        return Unit("markers", trial.key, inputs, params, version("markers"), needs=(keypoints.key,))

    def _true_markers(self, trial: Trial) -> Unit:
        inputs = {"markers": self.store.hash_file(self.cohort.path(str(trial.markers)))}
        params = {"trial": trial.key, "skeleton": "synthpose-52"}
        return Unit("true-markers", trial.key, inputs, params, version("true-markers"))

    def _models(self, markers: Mapping[str, Unit], swap: Swap) -> Iterator[tuple[str, Unit]]:
        people: dict[str, list[str]] = defaultdict(list)
        for key in markers:
            people[self._trial(key).subject].append(key)
        for person, keys in people.items():
            if swap in ("scaling", "solver") or self.scaling == "reference":
                yield person, self._reference_model(person)
            else:
                yield person, self._scaled(person, {key: markers[key] for key in keys})

    def _reference_model(self, person: str) -> Unit:
        path = next(
            (
                t.extras["model"]
                for t in self.cohort.cohort.trials
                if t.subject == person and "model" in t.extras
            ),
            None,
        )
        if path is None:
            raise CapbenchError(
                f"Expected the reference's scaled model of {person}, got none.",
                fix="scale each person by what the evaluated model saw of them (--scaling own)",
            )
        inputs = {"model": self.store.hash_file(self.cohort.path(path))}
        params = {"by": "reference", "model": path}
        return Unit("scale", person, inputs, params, version("scale"))

    def _scaled(self, person: str, markers: Mapping[str, Unit]) -> Unit:
        inputs: dict[str, str] = {}
        for key, unit in markers.items():
            standing = self._trial(key).activity == STATIC
            name = "standing" if standing and "standing" not in inputs else f"moving {key}"
            inputs[name] = unit.key
        subject = self.cohort.cohort.subject(person)
        params = {"by": "own", "subject": person, "mass": subject.mass, "height": subject.height}
        return Unit(
            "scale", person, inputs, params, version("scale"),
            needs=tuple(sorted({*inputs.values()})), may_lack=tuple(inputs),
        )  # fmt: skip

    def _motion(self, key: str, markers: Unit, models: Mapping[str, Unit]) -> Unit:
        trial = self._trial(key)
        model = models[trial.subject]
        inputs = {"model": model.key, "markers": markers.key}
        return Unit(
            "motion", key, inputs, {"trial": key, "published": self.published}, version("motion"),
            needs=(model.key, markers.key), may_lack=("model",),
        )  # fmt: skip

    # --- references ---

    def references(self) -> dict[str, Unit]:
        """Measured trials whose reference is solved again; those of an exact cohort are files."""
        if self.cohort.card.reference.exact:
            return {}
        found = {}
        for trial in self.trials:
            if trial.activity == STATIC or trial.markers is None or "model" not in trial.extras:
                continue
            files = {"markers": trial.markers, "model": trial.extras["model"]}
            inputs = {what: self.store.hash_file(self.cohort.path(path)) for what, path in files.items()}
            params = {"trial": trial.key, "weights": WEIGHTS}
            found[trial.key] = Unit("reference", trial.key, inputs, params, version("reference"))
        return found


def limited(trials: Sequence[Trial], most: int | None) -> tuple[Trial, ...]:
    """The first ``most`` scored trials, of all people in turn, and the static trials of those people."""
    scored = [t for t in trials if t.activity != STATIC]
    if most is not None:
        turn: dict[str, int] = defaultdict(int)
        order: list[tuple[int, int, Trial]] = []
        for trial in scored:
            order.append((turn[trial.subject], len(order), trial))
            turn[trial.subject] += 1
        scored = [trial for _, _, trial in sorted(order, key=lambda row: row[:2])[:most]]
    people = {t.subject for t in scored}
    keep = {t.key for t in scored}
    return tuple(t for t in trials if t.key in keep or (t.activity == STATIC and t.subject in people))
