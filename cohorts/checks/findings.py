"""A finding: one thing that is wrong or odd with a cohort, in words, and where it stands."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cohorts.errors import CapbenchError
from cohorts.recording import Trial
from cohorts.store import Imported

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    severity : "error" makes scores meaningless, "warning" may, a "note" is to be known
    code : its kind in a word or two, such as "phantom-frames"
    message : what was expected and what was found, in whole sentences
    place : trial, camera, marker … in words
    file, line : where it stands; ``line`` counts from 1
    fix : what to try, as an order
    """

    severity: Severity
    code: str
    message: str
    place: str | None = None
    file: str | None = None
    line: int | None = None
    fix: str | None = None


@dataclass
class Report:
    """Findings as they come, about one cohort."""

    imported: Imported
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._index = {trial.key: i for i, trial in enumerate(self.imported.cohort.trials)}
        self._people = {s.pseudonym: i for i, s in enumerate(self.imported.cohort.subjects)}

    def add(
        self,
        severity: Severity,
        code: str,
        message: str,
        *,
        trial: Trial | None = None,
        subject: str | None = None,
        at: tuple[str, ...] = (),
        place: str | None = None,
        file: str | os.PathLike[str] | None = None,
        line: int | None = None,
        fix: str | None = None,
    ) -> None:
        """Add a finding; ``at`` is the place below the trial's or the subject's row.

        Without a ``file``, it is the list of trials, at the line of that row.
        """
        imported = self.imported
        if file is None and imported.trials_file is not None:
            file = imported.trials_file
            row: tuple[str | int, ...] | None = None
            if trial is not None and trial.key in self._index:
                row = ("trials", self._index[trial.key], *at)
            elif subject is not None and subject in self._people:
                row = ("subjects", self._people[subject], *at)
            if row is not None and imported.lines is not None:
                line = imported.lines.of(*row)
        where = ", ".join(part for part in (trial.key if trial else subject, place) if part)
        self.findings.append(
            Finding(
                severity, code, message, where or None, None if file is None else os.fspath(file), line, fix
            )
        )

    def add_error(
        self,
        error: CapbenchError,
        code: str,
        *,
        severity: Severity = "error",
        trial: Trial | None = None,
        place: str | None = None,
        file: Path | None = None,
    ) -> None:
        """Add what a reader refused; said once, however many trials share the file."""
        said = ", ".join(part for part in (place, error.place) if part)
        where = error.file or (None if file is None else str(file))
        if any(f.code == code and f.file == where and f.message == error.problem for f in self.findings):
            return
        self.add(
            severity, code, error.problem, trial=trial, place=said or None, file=where, line=error.line,
            fix=error.fix,
        )  # fmt: skip

    def sorted(self) -> list[Finding]:
        """Errors first, each kind in the order found."""
        return sorted(self.findings, key=lambda f: SEVERITIES.index(f.severity))
