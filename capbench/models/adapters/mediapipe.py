"""MediaPipe's BlazePose: 33 points, weights in its package, nothing to download.

It runs in a worker with a Python of its own (``capbench models install mediapipe``), because its packages and
ours exclude one another. The person is looked for in the given box and a margin around it.
"""

from __future__ import annotations

from pathlib import Path

from capbench.models.card import Limits, ModelCard, TrainingData
from capbench.models.environments import ENVIRONMENTS, python_of
from capbench.models.worker import child
from capbench.models.worker.host import Launch, Worker
from cohorts.errors import CapbenchError

#: of the box's longer side, added on every side. On a real four-camera recording its points fit one another
#: as well as those of whole pictures do (12.7 pixels); without a margin 7 % of the people are not found
MARGIN = 0.25


def find(rest: str = "") -> tuple[ModelCard, None]:
    """The card of the model that comes with the package."""
    if rest:
        raise CapbenchError(f"Expected 'mediapipe' alone, got {rest!r} after it.")
    card = ModelCard(
        name="mediapipe-blazepose",
        version="0.10.14",
        title="MediaPipe's BlazePose, complexity 1, each picture by itself",
        licence="Apache-2.0",
        authors=("Google",),
        training_data=(TrainingData(name="BlazePose", synthetic=False, note="in-house; 85 000 pictures"),),
        route="mediapipe",
        skeleton="blazepose-33",
        devices=("cpu",),
        limits=Limits(memory=4096),
        notes=(f"the person is looked for in the box and {MARGIN:.0%} of its longer side around it",),
    )
    return card, None


def open(card: ModelCard, folder: Path, *, python: str | None = None, threads: int | None = None) -> Worker:
    """BlazePose behind a worker."""
    del folder  # it has no files
    if card.skeleton != "blazepose-33":
        raise CapbenchError(
            f"Expected the skeleton blazepose-33 with route mediapipe, got {card.points.name}."
        )
    command = (python_of("mediapipe", python), child.__file__, "mediapipe")
    needs = ENVIRONMENTS["mediapipe"].command
    return Worker(card, Launch(command, model={"margin": MARGIN}, needs=needs), threads=threads)
