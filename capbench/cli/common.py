"""What all commands share: options, JSON, tables, and the names that complete."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from click.shell_completion import CompletionItem

from cohorts.errors import printable

F = TypeVar("F", bound=Callable[..., Any])

WIDTH = 100  #: columns that running text is wrapped to
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}


def json_option(command: F) -> F:
    """``--json``: print one JSON value on stdout and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def quiet_option(command: F) -> F:
    """``--quiet``: no progress, no remarks; errors are still told."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")(command)


def force_option(command: F) -> F:
    """``--force``: overwrite the output."""
    return click.option("--force", is_flag=True, help="Overwrite the output if it exists.")(command)


# --- JSON ---------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: dataclasses become mappings, arrays lists, NaN and infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def echo_json(value: Any) -> None:
    """``value`` as JSON on stdout; pure ASCII, so that no terminal's encoding can spoil it."""
    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


# --- text ---------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, indent: str = "") -> str:
    """An aligned plain-text table; columns of numbers are right-aligned, empty columns left out."""
    cells = [[printable(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(headings)) if any(row[i] for row in cells)]
    right = {i for i in kept if all(_is_number(row[i]) for row in cells)}
    widths = {i: max(len(headings[i]), *(len(row[i]) for row in cells)) for i in kept}
    lines = []
    for row in ([*headings], *cells):
        texts = [row[i].rjust(widths[i]) if i in right else row[i].ljust(widths[i]) for i in kept]
        lines.append((indent + "  ".join(texts)).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    words = cell.split()
    try:
        return not words or math.isfinite(float(words[0].rstrip("%")))
    except ValueError:
        return words[0] in ("-", "–")


def facts(pairs: Sequence[tuple[str, str]], *, indent: str = "  ") -> str:
    """Labels and texts in two columns; long texts are wrapped beneath themselves."""
    width = max((len(label) for label, _ in pairs), default=0)
    lines = []
    for label, text in pairs:
        head = f"{indent}{label.ljust(width)}  "
        lines.append(wrapped(printable(text), head, " " * len(head)))
    return "\n".join(lines)


def wrapped(text: str, first: str = "", then: str = "", width: int = WIDTH) -> str:
    """``text`` in lines of at most ``width`` columns; words (paths, commands) are never broken."""
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def count(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun.

    >>> count(1, "person", "people"), count(2, "person", "people"), count(1200, "frame")
    ('1 person', '2 people', '1,200 frames')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """A share in per cent that is "0 %" and "100 %" only where it is exactly so.

    >>> share(0, 5), share(1, 2000), share(1999, 2000), share(1, 3)
    ('0 %', '<0.1 %', '>99.9 %', '33.3 %')
    """
    if part == 0 or whole == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "<0.1 %"
    return ">99.9 %" if percent > 99.9 else f"{percent:.1f} %"


# --- completion ---------------------------------------------------------------------------------

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completes(names: Callable[[], Mapping[str, str] | Sequence[str]]) -> Completer:
    """A click completer for ``names()``: a sequence, or a mapping of names to a short help."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        known = names()
        return [
            CompletionItem(name, help=known[name] if isinstance(known, Mapping) else None)
            for name in known
            if name.lower().startswith(begun.lower())
        ]

    return complete


def skeleton_titles() -> tuple[str, ...]:
    """The names of the built-in skeletons."""
    from cohorts.skeleton import skeleton_names

    return skeleton_names()


def format_titles() -> dict[str, str]:
    """The names of the formats and what they are."""
    from cohorts.formats import FORMATS

    return {name: row.title for name, row in FORMATS.items()}


def preset_titles() -> dict[str, str]:
    """The names of the presets of marker weights and what they are."""
    from capbench.biomech.presets import presets

    return {name: str(card["title"]) for name, card in presets().items()}


def readable(path: Path) -> str:
    """``path`` as a person would write it: free of control characters."""
    return printable(path)
