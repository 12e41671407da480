"""What the tests of bad input share: a tiny made cohort, a model that knows it by heart, and its results."""

from dataclasses import dataclass
from pathlib import Path

import hostile_models
import hostile_predictions
import pytest
import spoiling
from bad_input import OWN, QUICK, Bench

from capbench.run.result import Result


@dataclass(frozen=True)
class Good:
    """Nothing is wrong with these.

    Attributes
    ----------
    bench : runs evaluations
    cohort : the cohort's folder
    model : a submission that answers with the truth
    result, own : what it scores with the reference's scaling, and with its own
    run : the folder of the first of them
    """

    bench: Bench
    cohort: Path
    model: Path
    result: Result
    own: Result
    run: Path


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("good")
    cohort = spoiling.make_tiny(folder / "cohort")
    model = hostile_models.learn(folder / "model", cohort)
    bench = Bench(folder)
    results = [bench.run(model, cohort, options=options) for options in (QUICK, OWN)]
    for result in results:
        assert isinstance(result, Result) and not result.failures and result.overall.coverage == 100
    return Good(bench, cohort, model, *results, folder / "run1")  # type: ignore[arg-type]  # checked above


@pytest.fixture(scope="session")
def predictions(good: Good, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Result]]:
    """Kind of file -> a folder of good predictions, and what they score."""
    found = {}
    for kind in hostile_predictions.ENDING:
        folder = hostile_predictions.write_good(tmp_path_factory.mktemp(kind), good.run, kind)
        result = good.bench.run(folder, good.cohort, files=True)
        assert isinstance(result, Result) and not result.failures
        found[kind] = folder, result
    return found
