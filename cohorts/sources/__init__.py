"""Importers: what turns a folder that a user has into a cohort that refers to it.

One module per source, each with

- ``NAME``: what ``--as`` takes; ``TITLE``: what it is, in a phrase;
- ``recognise(folder) -> str | None``: why the folder looks like one (in words), or None;
- ``read(folder, *, …options) -> Imported``: the card and the cohort, paths relative to its ``root``;
  the options are keyword-only texts and paths.

The tuple ``MODULES`` is the one place that lists them, the most particular layout first.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

from cohorts.errors import CapbenchError, unknown_name
from cohorts.store import Imported

__all__ = ["MODULES", "Imported", "find_source", "options_of", "read_folder", "recognise", "sources"]

MODULES: tuple[str, ...] = (
    "folder",
    "opencap_labvalidation",
    "opencap_app",
    "addbiomechanics",
    "pose2sim",
    "annotations",
)


def sources() -> dict[str, Any]:
    """name -> module, in the order in which they are asked whether they know a folder."""
    found = {}
    for module in MODULES:
        loaded = import_module(f"cohorts.sources.{module}")
        found[str(loaded.NAME)] = loaded
    return found


def find_source(name: str) -> Any:
    """The module of the source called ``name``."""
    known = sources()
    if name not in known:
        raise unknown_name("source", name, known)
    return known[name]


def recognise(folder: str | Path) -> tuple[str, str]:
    """The name of the source that knows ``folder``, and why it thinks so."""
    folder = _folder(folder)
    for name, module in sources().items():
        reason = module.recognise(folder)
        if reason is not None:
            return name, reason
    known = "; ".join(f"{name} ({module.TITLE})" for name, module in sources().items())
    raise CapbenchError(
        f"Expected a folder in one of the layouts that are known: {known}. Got something else.",
        file=folder,
        fix="describe its layout in a capbench.yaml (see: capbench cohort import --help), "
        "or name the source with --as to see what it misses",
    )


def options_of(module: Any) -> dict[str, type]:
    """The options that a source's ``read`` takes, each with Path, float or str as its type."""
    kinds = {"Path": Path, "float": float, "str": str}
    return {
        name: next((kind for word, kind in kinds.items() if word in str(parameter.annotation)), str)
        for name, parameter in inspect.signature(module.read).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def read_folder(folder: str | Path, *, source: str | None = None, **options: Any) -> Imported:
    """The cohort in a user's folder, read by ``source`` or by whichever knows its layout."""
    folder = _folder(folder)
    name = source if source is not None else recognise(folder)[0]
    module = find_source(name)
    known = options_of(module)
    given = {}
    for option, value in options.items():
        if option not in known:
            raise unknown_name(f"option of the source {name}", option, known)
        try:
            given[option] = known[option](value)
        except (TypeError, ValueError):
            raise CapbenchError(f"Expected {option} to be a number, got {value!r}.") from None
    found: Imported = module.read(folder, **given)
    return found.rooted(folder, source=name)


def _folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise CapbenchError(f"Expected a folder, got {found}.", file=folder)
    return folder
