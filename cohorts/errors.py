"""The one exception a user can cause, and the words it speaks in.

A message says what was expected, what was found, where (file, line, camera, frame) and what to try.
The command line prints it without a traceback and leaves with ``exit_code``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any, ClassVar


def printable(text: object) -> str:
    r"""``text`` on one line with control characters spelled out: no name steers a terminal.

    >>> printable("knee\x1b[2Jangle")
    'knee\\x1b[2Jangle'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


class CapbenchError(Exception):
    """Something the user gave or asked for can't be used (exit code 2).

    Parameters
    ----------
    problem
        What was expected and what was found: one or two whole sentences.
    file, line
        Where it is; ``line`` counts from 1.
    place
        Finer or other whereabouts in words, such as ``"camera cam01, frame 17"``.
    fix
        What to try next, as an order: ``"give --rate"``.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        problem: str,
        *,
        file: str | os.PathLike[str] | None = None,
        line: int | None = None,
        place: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = None if file is None else os.fspath(file)
        self.line = line
        self.place = place
        self.fix = fix

    def __str__(self) -> str:
        parts = []
        if self.file is not None:
            parts.append(self.file)
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.place is not None:
            parts.append(self.place)
        text = ", ".join(parts) + ": " if parts else ""
        text += self.problem
        if self.fix is not None:
            text += f" Try: {self.fix}"
        return printable(text)

    def __reduce__(self) -> tuple[Any, ...]:  # so that it crosses process borders whole
        return _rebuild, (type(self), self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The parts of the message, for ``--json``."""
        return {
            "problem": self.problem,
            "file": self.file,
            "line": self.line,
            "place": self.place,
            "fix": self.fix,
        }


class EnvironmentFault(CapbenchError):
    """This machine lacks something: a package, disk space, a decoder (exit code 3)."""

    exit_code: ClassVar[int] = 3


class RefusedError(CapbenchError):
    """Refused for safety: the file holds code, a bomb, or a way out of its folder (exit code 4)."""

    exit_code: ClassVar[int] = 4


def _rebuild(kind: type[CapbenchError], parts: dict[str, Any]) -> CapbenchError:
    return kind(parts.pop("problem"), **parts)


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """The known name nearest to ``name``, or None when nothing is near.

    >>> did_you_mean("coco17", ["coco-17", "halpe-26"])
    'coco-17'
    """
    by_lower = {c.lower(): c for c in choices}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.55)
    return by_lower[near[0]] if near else None


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> CapbenchError:
    """The error for a name that is not among ``choices``: says the nearest, and lists them all."""
    choices = sorted(choices)
    near = did_you_mean(name, choices)
    listed = ", ".join(choices[:40]) + (f" and {len(choices) - 40} more" if len(choices) > 40 else "")
    article = "an" if kind[:1] in tuple("aeio") else "a"
    return CapbenchError(
        f"Expected the name of {article} {kind}, got {name!r}."
        + (f" Did you mean {near!r}?" if near else ""),
        fix=f"one of {listed}." if listed else None,
    )
