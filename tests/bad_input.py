"""Runs an evaluation on something spoilt, and judges what it says of it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capbench.run.evaluate import Means, Options, evaluate, prepare
from capbench.run.result import Result
from capbench.run.sources import Files, Source, source_of
from cohorts.errors import CapbenchError
from cohorts.store import Imported, open_cohort

QUICK = Options(scaling="reference", causes=False)  #: a person's own scaling takes seconds
OWN = Options(causes=False)


@dataclass(frozen=True)
class Bench:
    """Where evaluations of a test run are made: in ``folder``, with one store for all."""

    folder: Path
    numbers: list[int] = field(default_factory=lambda: [0])

    def run(
        self, source: str | Path, cohort: Path, *, options: Options = QUICK, files: bool = False, **how: Any
    ) -> Result | CapbenchError:
        """The result, or the error that came before any work was done; one that comes later goes through.

        ``source`` is what a person would type; ``files`` says that it is a folder of predictions.
        """

        def made(opened: Imported) -> Source:
            if files:
                return Files(Path(source), opened.cohort.trials, None)
            return source_of(str(source), opened, trust=True, **how)

        self.numbers[0] += 1
        out = self.folder / f"run{self.numbers[0]}"
        store = self.folder / "store"
        try:
            ready = prepare(made, open_cohort(cohort), options, store=store)
        except CapbenchError as error:
            assert not out.exists()
            return error
        return evaluate(ready, out, means=Means(workers=0))


def reasons(result: Result) -> str:
    """All that a result says went wrong."""
    failures = [f"{f.unit} {f.kind}: {f.reason}" for f in result.failures]
    return "\n".join(
        [*failures, *(note for trial in result.per_trial for note in trial.notes), *result.partial]
    )


def check_said(pattern: str, text: str) -> None:
    """Search for what must be said; the folders of paths, which hold the case's own name, don't count."""
    bare = re.sub(r"/\S*/", "", text)
    assert re.search(pattern, bare, re.IGNORECASE), bare


def judge(found: Result | CapbenchError, base: Result, *, says: str, outcome: str) -> None:
    """Hold what came of a spoilt input against what must (see ``hostile_cohorts.Case``)."""
    if isinstance(found, CapbenchError):
        assert outcome in ("refused", "either"), found
        check_said(says, str(found))
        return
    assert outcome != "refused", "it went to work"
    check_said(says, reasons(found))
    if outcome == "partial":  # no score that could be better: a part of the cohort, and marked as one
        assert found.partial
        return
    assert found.trials == base.trials and found.subjects == base.subjects
    assert found.overall.value is not None and base.overall.value is not None
    assert found.overall.coverage is not None and base.overall.coverage is not None
    assert found.overall.value >= base.overall.value - 1e-9
    assert found.overall.coverage <= base.overall.coverage + 1e-9
    assert not found.partial
    if outcome == "failure":
        assert found.failures
