"""What the tests of evaluations share: a model that knows a tiny cohort by heart, people, and results."""

from dataclasses import dataclass
from pathlib import Path

import evaluations
import hostile_models
import hostile_predictions
import pytest
from bad_input import OWN, QUICK, Bench

from capbench.run.evaluate import Options
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
def good(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder, cohort = tmp_path_factory.mktemp("good"), tiny_cohort
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


@pytest.fixture(scope="session")
def twins(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people of two activities each; never to be changed."""
    return evaluations.make_twins(tiny_cohort, tmp_path_factory.mktemp("twins") / "cohort")


@pytest.fixture(scope="session")
def whole(twins: Path, tmp_path_factory: pytest.TempPathFactory) -> evaluations.Run:
    """Their whole evaluation, with own scaling and causes, of some pixels of noise."""
    folder = tmp_path_factory.mktemp("whole")
    evaluation = evaluations.ready(twins, folder / "store", Options())
    result = evaluations.run(evaluation, folder / "run", command=["capbench", "evaluate", "…"])
    return evaluations.Run(twins, evaluation, folder / "run", result, folder / "store")
