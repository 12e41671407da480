"""What the tests of evaluations share: two people out of one, and runs of known noise."""

import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spoiling import edit

from capbench.run.evaluate import Evaluation, Means, Options, evaluate, prepare
from capbench.run.noisy_truth import Noise
from capbench.run.result import Result
from capbench.run.sources import Files, NoisyTruth
from cohorts.store import open_cohort

ONE, OTHER = "adult01", "adult02"
STATIC_KEYS = tuple(f"{person}/room/static1" for person in (ONE, OTHER))
#: the second walk of each counts as squats, so that there are two activities
KEYS = tuple(f"{person}/walk/gait{k}" for person in (ONE, OTHER) for k in (1, 2))
QUICK = Options(scaling="reference", causes=False)


@dataclass(frozen=True)
class Run:
    """An evaluation that was done: the cohort's folder, what was prepared, its folder, result and store."""

    cohort: Path
    evaluation: Evaluation
    out: Path
    result: Result
    store: Path


def make_twins(cohort: Path, target: Path) -> Path:
    """The tiny cohort with its person once more under another name, and two activities."""
    shutil.copytree(cohort, target)
    shutil.copytree(target / "files" / ONE, target / "files" / OTHER)

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: renamed(v) for k, v in value.items()}
        return value.replace(ONE, OTHER) if isinstance(value, str) else value

    def double(content: dict[str, Any]) -> None:
        for row in content["trials"]:
            if row["name"] == "gait2":
                row["activity"] = "squats"
        content["subjects"] += [renamed(deepcopy(s)) for s in content["subjects"]]
        content["trials"] += [renamed(deepcopy(t)) for t in content["trials"]]

    edit(target, double)
    return target


def ready(
    cohort: Path,
    store: Path,
    options: Options = QUICK,
    *,
    noise: tuple[float, float] = (1.0, 0.5),
    files: Path | None = None,
) -> Evaluation:
    """Prepared: the cohort's truth with ``noise`` (pixels, white and bias), or ``files`` of predictions."""
    if files is not None:
        return prepare(
            lambda c: Files(files, c.cohort.trials, None), open_cohort(cohort), options, store=store
        )
    return prepare(
        lambda c: NoisyTruth(c, Noise(*noise), options.seed), open_cohort(cohort), options, store=store
    )


def run(evaluation: Evaluation, out: Path, *, workers: int = 0, **rest: Any) -> Result:
    """Do it, with the store that it was prepared with."""
    means = Means(workers=workers, **rest.pop("means", {}))
    return evaluate(evaluation, out, means=means, **rest)


def contents(folder: Path) -> dict[str, bytes]:
    """Each file below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
