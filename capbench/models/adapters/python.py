"""A submission folder: ``model.yaml`` and a Python class that has ``predict(frames, boxes)``.

    route: python
    entry: model.py:Model      # or package.module:Model

The class is made without arguments, or with those of ``device``, ``folder`` and ``points`` that its
constructor names. ``predict`` gets frames uint8 (n, h, w, 3), or a list where sizes differ, and boxes (n, 4);
it returns (keypoints, confidences) or (keypoints, confidences, covariances). It runs in a process of its own,
with the folder first on ``sys.path`` and none of our packages there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from capbench.models.card import ModelCard, file_below
from capbench.models.worker import child
from capbench.models.worker.host import Launch, Worker
from cohorts.errors import CapbenchError

_ENTRY = re.compile(r"(?P<place>\w+(?:\.\w+)*|[\w./ -]+\.py):(?P<name>[^\W\d]\w*(?:\.\w+)*)")


def open(
    card: ModelCard,
    folder: Path,
    *,
    device: str = "cpu",
    python: str | None = None,
    threads: int | None = None,
) -> Worker:
    """The class in ``folder`` behind a worker that ``python`` runs (by default this Python).

    It was the caller's part to check the files and to have leave for them to run.
    """
    entry = card.entry if isinstance(card.entry, str) else ""
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise CapbenchError(
            f"Expected the entry of a Python model as FILE.py:CLASS, got {entry[:60] or card.entry!r}.",
            file=folder,
            place="model.yaml",
        )
    place = found["place"]
    if place.endswith(".py") and not file_below(folder, place).is_file():
        raise CapbenchError(f"Expected the file that {entry!r} names, got none.", file=folder / place)
    folder = folder.resolve()
    return Worker(
        card,
        Launch(
            (python or sys.executable, child.__file__, "python"),
            folder,
            {"folder": str(folder), "entry": entry},
        ),
        device=device,
        threads=threads,
    )
