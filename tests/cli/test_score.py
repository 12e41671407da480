"""``capbench score`` as it is typed."""

import json
import shutil

import pytest
from click.testing import CliRunner

from capbench.cli.main import cli
from capbench.cli.score import _rate
from capbench.run.result import read_result
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort

QUICK = ("--scaling", "reference", "--no-causes", "--workers", "0", "--quiet")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def angles(tiny_cohort, home):
    """The reference itself as predictions."""
    folder = home / "predictions" / "adult01" / "walk"
    folder.mkdir(parents=True)
    for k in (1, 2):
        shutil.copy(tiny_cohort / f"files/adult01/walk/motion/gait{k}.mot", folder)
    return home / "predictions"


def score(*words, code=0):
    ended = CliRunner().invoke(cli, ["score", *map(str, words), *QUICK], standalone_mode=False)
    if isinstance(ended.exception, CapbenchError):
        raise ended.exception
    assert ended.exit_code == code, (ended.output, ended.exception)
    return ended.stdout


def test_the_truth_scores_nothing(angles, tiny_cohort, home) -> None:
    text = score(angles, "--cohort", tiny_cohort)
    result = read_result(home / "runs" / "predictions-tiny")
    assert result.overall.value == pytest.approx(0, abs=1e-6) and result.overall.coverage == 100
    assert "no model was run" in text and not result.failures
    assert (home / "runs" / "predictions-tiny" / "report.html").is_file()


def test_what_is_missing_is_charged_and_the_exit_code_is_1(angles, tiny_cohort) -> None:
    (angles / "adult01/walk/gait2.mot").unlink()
    told = json.loads(score(angles, "--cohort", tiny_cohort, "--json", code=1))
    assert told["overall"]["value"] == pytest.approx(15, abs=0.5) and told["overall"]["coverage"] == 50
    assert [f["kind"] for f in told["failures"]] == ["nothing"]


def test_a_run_s_own_predictions_score_again(tiny_cohort, home) -> None:
    words = ["evaluate", "capbench:noisy-truth:1", "--cohort", str(tiny_cohort), *QUICK, "-o", "first"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    score("first/predictions/motions", "--cohort", tiny_cohort, "-o", "second")
    one, two = (read_result(home / name) for name in ("first", "second"))
    assert two.overall.value == pytest.approx(one.overall.value, abs=1e-6)
    with pytest.raises(CapbenchError, match="that of a run"):
        score("first", "--cohort", tiny_cohort)


def test_nothing_to_score_is_refused(tiny_cohort, home) -> None:
    (home / "empty").mkdir()
    with pytest.raises(CapbenchError, match="got none"):
        score("empty", "--cohort", tiny_cohort)
    with pytest.raises(CapbenchError):
        score("nowhere", "--cohort", tiny_cohort)
    assert CliRunner().invoke(cli, ["score", "empty"]).exit_code == 2  # no cohort
    for wrong in (("--rate", "0"), ("--up", "z")):
        assert (
            CliRunner().invoke(cli, ["score", "empty", "--cohort", str(tiny_cohort), *wrong]).exit_code == 2
        )
    assert not (home / "runs").exists()


def test_the_rate_is_the_card_s_unless_it_is_given(tiny_cohort) -> None:
    assert _rate(open_cohort(tiny_cohort)) == 25.0
