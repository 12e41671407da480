"""What a model can do wrong while it runs; told from what the cohort or the machine does wrong."""

from __future__ import annotations

import os
from typing import Any, Literal

from cohorts.errors import CapbenchError

FaultKind = Literal["threw", "shape", "nan", "hung", "memory", "died", "protocol"]


class ModelFault(CapbenchError):
    """The model failed: its trials stay in the denominator.

    ``kind`` says how: it "threw" an exception, answered in the wrong "shape", with "nan" throughout, "hung",
    took too much "memory", "died" (its process ended), or broke the worker's "protocol".
    """

    def __init__(
        self,
        problem: str,
        *,
        kind: FaultKind,
        file: str | os.PathLike[str] | None = None,
        line: int | None = None,
        place: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(problem, file=file, line=line, place=place, fix=fix)
        self.kind: FaultKind = kind

    def __reduce__(self) -> tuple[Any, ...]:  # so that it crosses process borders whole
        return _rebuild, (self.kind, super().to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The parts of the message and ``kind``, for ``--json``."""
        return {**super().to_dict(), "kind": self.kind}


def _rebuild(kind: FaultKind, parts: dict[str, Any]) -> ModelFault:
    return ModelFault(parts.pop("problem"), kind=kind, **parts)
