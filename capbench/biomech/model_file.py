"""A model by name or path as a file that either engine can open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capbench.biomech.body import SCHEME, resolve_model
from capbench.biomech.osim_write import write_model


@contextmanager
def model_file(name: str | os.PathLike[str]) -> Iterator[Path]:
    """The path of an .osim file; a ``capbench:`` model is written to one that lasts as long as the block."""
    text = os.fspath(name)
    if not text.startswith(SCHEME):
        yield Path(text)
        return
    with tempfile.TemporaryDirectory(prefix="capbench-") as folder:
        path = Path(folder) / "model.osim"
        write_model(resolve_model(text), path)
        yield path
