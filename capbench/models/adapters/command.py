"""Any program that speaks the worker's protocol (:mod:`capbench.models.worker` describes it).

    route: command
    entry: [./serve, --weights, net.bin]

The first word is a file of the folder, or a program on the PATH; the program runs in the folder. The words
are handed on as they are: no shell reads them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from capbench.models.card import ModelCard, file_below
from capbench.models.worker.host import Launch, Worker
from cohorts.errors import CapbenchError, EnvironmentFault


def open(
    card: ModelCard,
    folder: Path,
    *,
    device: str = "cpu",
    python: str | None = None,
    threads: int | None = None,
) -> Worker:
    """The command line of the card behind a worker; ``python`` takes the place of a first word "python".

    It was the caller's part to check the files and to have leave for them to run.
    """
    if not card.command or any("\0" in word for word in card.command):
        raise CapbenchError(
            "Expected a command line as the entry, got none.", file=folder, place="model.yaml"
        )
    program, *words = card.command
    if python is not None and program in ("python", "python3"):
        program = python
    launch = Launch((_program(program, folder), *words), folder.resolve())
    return Worker(card, launch, device=device, threads=threads)


def _program(name: str, folder: Path) -> str:
    """The program's whole path."""
    if Path(name).is_absolute():
        return name  # only ever the Python that the user chose, or one that the card can't know to be there
    own = file_below(folder, name.removeprefix("./"))
    if own.is_file():
        if not os.access(own, os.X_OK):
            raise CapbenchError(
                "Expected a program that may be run, got a file that may not.",
                file=own,
                fix=f"chmod +x {own}",
            )
        return str(own.resolve())
    found = shutil.which(name) if "/" not in name else None
    if found is None:
        raise EnvironmentFault(
            f"Expected the program {name!r} in the model's folder or on the PATH, found none.", file=folder
        )
    return found
