"""What is evaluated: a model that looks at pictures, files of predictions, or the cohort's truth with noise.

Each source says what it is, what the workers must be told of it, and which unit a trial's way begins with.
After that unit everything is the same for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from capbench.run.noisy_truth import NAME as NOISY_TRUTH
from capbench.run.noisy_truth import Noise, parse
from capbench.run.result import About
from capbench.run.stages import version
from capbench.run.store import Store
from capbench.run.units import Unit, digest
from cohorts.errors import CapbenchError
from cohorts.recording import Trial
from cohorts.store import Imported


class Source(Protocol):
    """Where a trial's way begins."""

    @property
    def about(self) -> About:
        """What it is."""

    @property
    def context(self) -> Mapping[str, Any]:
        """What the workers must be told, as JSON."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader of its scores must be told."""

    @property
    def looks(self) -> bool:
        """Whether it looks at videos."""

    def first(self, trial: Trial, cameras: Sequence[str], store: Store) -> Unit | None:
        """The unit that gives a trial's keypoints (or what comes after them); None where there is nothing."""


@dataclass(frozen=True)
class PixelModel:
    """A pose model that looks at the videos."""

    spec: str
    cohort: Imported
    boxes: str
    device: str = "cpu"
    trust: bool = False
    python: str | None = None
    batch: int = 32
    found: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from capbench.models.registry import find_model

        object.__setattr__(self, "found", find_model(self.spec))
        self.found.check(device=self.device, trust=self.trust)

    @property
    def about(self) -> About:
        """What its card says."""
        card = self.found.card
        data = [one.model_dump(mode="json") for one in card.training_data]
        points = card.points.name if card.skeleton is not None else ""
        return About(
            name=card.name,
            version=card.version,
            sha256=self.found.fingerprint,
            title=card.title,
            licence=card.licence,
            details={
                "route": card.route,
                "skeleton": points,
                "training data": data,
                "notes": list(card.notes),
            },
        )

    @property
    def context(self) -> Mapping[str, Any]:
        """How a worker opens it."""
        spec = str(Path(self.spec).resolve()) if Path(self.spec).exists() else self.spec
        return {"spec": spec, "device": self.device, "trust": self.trust, "python": self.python}

    @property
    def marks(self) -> tuple[str, ...]:
        """None but where the boxes came from."""
        return ("the person's box was given, from the cohort",) if self.boxes == "cohort" else ()

    @property
    def looks(self) -> bool:
        """It does."""
        return True

    def first(self, trial: Trial, cameras: Sequence[str], store: Store) -> Unit | None:
        """The prediction of a trial's videos; None where it has none."""
        cameras = [name for name in cameras if name in trial.videos]
        if not cameras:
            return None
        inputs = {"model": self.found.fingerprint}
        for camera in cameras:
            inputs |= _hashed(self.cohort, trial, camera, store, boxes=self.boxes == "cohort")
        limits = self.found.card.limits
        params = {
            "trial": trial.key, "cameras": list(cameras), "boxes": self.boxes, "batch": self.batch,
            "device": self.device.partition(":")[0], "limits": [limits.answer, limits.memory],
        }  # fmt: skip
        return Unit(
            "predict", trial.key, inputs, params, version("predict"), blame="model", size=float(len(cameras))
        )


def _hashed(cohort: Imported, trial: Trial, camera: str, store: Store, *, boxes: bool) -> dict[str, str]:
    found = {f"video {camera}": store.hash_file(cohort.path(trial.videos[camera]))}
    if camera in trial.calibrations:
        found[f"calibration {camera}"] = store.hash_file(cohort.path(trial.calibrations[camera]))
    for role in (f"boxes:{camera}", f"keypoints:{camera}"):
        if boxes and role in trial.extras:
            found[role] = store.hash_file(cohort.path(trial.extras[role]))
    return found


@dataclass(frozen=True)
class NoisyTruth:
    """The cohort's own 2D points with noise."""

    cohort: Imported
    noise: Noise
    seed: int
    clock: str = "video"

    @property
    def about(self) -> About:
        """Its name and its noise."""
        noise = {"white": self.noise.white, "bias": self.noise.bias, "seed": self.seed}
        return About(
            name=NOISY_TRUTH,
            version="1",
            sha256=digest(noise),
            title="the cohort's true points with declared noise: no model",
            licence="CC0-1.0",
            details={"route": "built in", "skeleton": "synthpose-52", "noise px": noise},
        )

    @property
    def context(self) -> Mapping[str, Any]:
        """Nothing: all is in the units."""
        return {}

    @property
    def marks(self) -> tuple[str, ...]:
        """That it is no model."""
        return (
            f"a self-test, no pose model: {NOISY_TRUTH} projects the cohort's true landmarks and adds "
            f"{self.noise.white:g} px of white noise and {self.noise.bias:g} px of bias",
        )

    @property
    def looks(self) -> bool:
        """It doesn't."""
        return False

    def first(self, trial: Trial, cameras: Sequence[str], store: Store) -> Unit | None:
        """The noisy points of a trial."""
        roles = [f"keypoints:{camera}" for camera in cameras]
        inputs = {
            role: store.hash_file(self.cohort.path(trial.extras[role]))
            for role in roles
            if role in trial.extras
        }
        if not inputs:
            raise CapbenchError(
                f"Expected a cohort with true 2D points for {NOISY_TRUTH}, got none for {trial.key}.",
                fix="a cohort of the synthetic clinic (capbench cohort list), or another model",
            )
        params = {
            "trial": trial.key, "cameras": list(cameras), "white": float(self.noise.white),
            "bias": float(self.noise.bias), "seed": self.seed, "clock": self.clock,
        }  # fmt: skip
        return Unit(
            "noisy-truth", trial.key, inputs, params, version("noisy-truth"), size=float(len(cameras))
        )


@dataclass(frozen=True)
class Files:
    """Predictions made elsewhere: keypoints, points in space, body parameters or joint angles."""

    folder: Path
    trials: tuple[Trial, ...]
    rate: float | None
    up: str = "+y"
    found: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from capbench.models.predictions import find_predictions

        if (self.folder / "run.json").is_file():
            raise CapbenchError(
                "Expected a folder of predictions, got that of a run.",
                file=self.folder,
                fix=f"one of its kinds, such as {self.folder / 'predictions' / 'keypoints'}",
            )
        found = find_predictions(self.folder, self.trials)
        if not found.files:
            raise CapbenchError(
                f"Expected predictions of any of {len(self.trials)} trials, got none.",
                file=self.folder,
                fix=f"name them SUBJECT/SESSION/TRIAL.ENDING or SUBJECT/SESSION/TRIAL_CAMERA.ENDING, such as "
                f"{self.trials[0].key}.mot, or list them in predictions.yaml",
            )
        object.__setattr__(self, "found", found)

    @property
    def about(self) -> About:
        """What the card beside them says, if there is one."""
        card = self.found.card
        prints = [self.found.fingerprint(t) for t in self.trials if t.key in self.found.files]
        whole = hashlib.sha256("".join(prints).encode()).hexdigest()
        name = self.folder.resolve().name if card is None else card.name
        details = {"route": "files", "missing": list(self.found.missing), "extra": list(self.found.extra)}
        return About(
            name=name,
            version="unknown" if card is None else card.version,
            sha256=whole,
            title="predictions from files" if card is None else card.title,
            licence="unknown" if card is None else card.licence,
            details=details,
        )

    @property
    def context(self) -> Mapping[str, Any]:
        """Where they lie."""
        return {"folder": str(self.folder.resolve())}

    @property
    def marks(self) -> tuple[str, ...]:
        """That no model was run."""
        return ("predictions from files: no model was run here",)

    @property
    def looks(self) -> bool:
        """It doesn't."""
        return False

    def first(self, trial: Trial, cameras: Sequence[str], store: Store) -> Unit | None:
        """The reading of a trial's files; None where there are none."""
        if trial.key not in self.found.files:
            return None
        inputs = {"files": self.found.fingerprint(trial)}
        params = {"trial": trial.key, "cameras": list(cameras), "rate": self.rate, "up": self.up}
        return Unit("read", trial.key, inputs, params, version("read"), blame="model")


def source_of(
    spec: str,
    cohort: Imported,
    *,
    boxes: str = "cohort",
    device: str = "cpu",
    trust: bool = False,
    python: str | None = None,
    seed: int = 0,
) -> Source:
    """What ``spec`` names: a built-in source, or a model (:func:`capbench.models.registry.find_model`)."""
    from capbench.models.registry import is_builtin_source

    if is_builtin_source(spec) or spec.startswith(NOISY_TRUTH):
        return NoisyTruth(cohort, parse(spec), seed)
    return PixelModel(spec, cohort, boxes, device=device, trust=trust, python=python)
