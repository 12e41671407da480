"""``capbench evaluate`` as it is typed."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from capbench.cli.evaluate import has_boxes
from capbench.cli.evaluation import Choices, _names, _only
from capbench.cli.main import COMMANDS, cli
from capbench.run.evaluate import Options
from capbench.run.result import read_result
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort

QUICK = ("--scaling", "reference", "--no-causes", "--workers", "0", "--quiet")
MODEL = "capbench:noisy-truth:1,0.5"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def home(tmp_path, cache, monkeypatch):
    """A folder to work in, a cache for all."""
    monkeypatch.setenv("CAPBENCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words, code=0):
    ended = CliRunner().invoke(cli, [str(w) for w in words], standalone_mode=False)
    if isinstance(ended.exception, CapbenchError):
        raise ended.exception
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    assert ended.exit_code == code, ended.output
    return ended.stdout


def evaluate(cohort, *words, code=0):
    return call("evaluate", MODEL, "--cohort", cohort, *QUICK, *words, code=code)


def test_the_command_is_in_the_table() -> None:
    for name in ("evaluate", "score", "selftest"):
        assert COMMANDS[name].module == f"capbench.cli.{name}"


def test_one_line_gives_a_table_a_report_and_the_files(tiny_cohort, home) -> None:
    text = evaluate(tiny_cohort)
    out = home / "runs" / "noisy-truth-tiny"
    result = read_result(out)
    assert f"{result.overall.value:.1f}" in text and "self-test, no pose model" in text
    assert max(map(len, text.splitlines())) <= 100
    assert (out / "report.html").stat().st_size > 10_000
    assert {p.name for p in out.iterdir()} >= {
        "run.json",
        "result.json",
        "timing.json",
        "predictions",
        "units",
    }
    assert "PARTIAL" not in text and result.partial == ()


def test_the_same_again_goes_on_and_another_is_refused(tiny_cohort, home) -> None:
    first = evaluate(tiny_cohort, "-o", "mine", "--json")
    assert evaluate(tiny_cohort, "-o", "mine", "--json") == first
    with pytest.raises(CapbenchError, match="another run"):
        evaluate(tiny_cohort, "-o", "mine", "--seed", "1")
    again = evaluate(tiny_cohort, "-o", "mine", "--seed", "1", "--force", "--json")
    assert json.loads(again)["settings"]["seed"] == 1
    (home / "theirs").mkdir()
    (home / "theirs" / "file").touch()
    with pytest.raises(CapbenchError, match="without run\\.json"):
        evaluate(tiny_cohort, "-o", "theirs", "--force")


def test_json_is_the_result(tiny_cohort, home) -> None:
    told = json.loads(evaluate(tiny_cohort, "-o", "mine", "--json"))
    assert told == json.loads((home / "mine" / "result.json").read_text())


def test_a_plan_says_what_would_be_done_and_does_nothing(
    tiny_cohort, home, monkeypatch, tmp_path_factory
) -> None:
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path_factory.mktemp("another")))
    text = call("evaluate", "capbench:noisy-truth:3", "--cohort", tiny_cohort, "--plan")
    assert list(home.iterdir()) == []
    rows = {line.split()[0]: line.split()[1:4] for line in text.splitlines() if line[:1].isalpha()}
    assert rows["noisy-truth"] == ["6", "0", "6"] and rows["scale"] == ["3", "0", "3"]
    total = sum(
        int(v[0])
        for k, v in rows.items()
        if k in ("noisy-truth", "markers", "true-markers", "scale", "motion")
    )
    assert rows["all"] == [str(total), "0", str(total)]
    evaluate(tiny_cohort)
    text = evaluate(tiny_cohort, "--plan")
    rows = {line.split()[0]: line.split()[1:4] for line in text.splitlines() if line[:1].isalpha()}
    assert rows["all"][0] == rows["all"][1] and rows["all"][2] == "0"


def test_a_part_is_marked(tiny_cohort) -> None:
    text = evaluate(tiny_cohort, "--limit", "1", "-o", "part")
    assert "PARTIAL: only 1 of 2 trials" in text
    told = json.loads(
        evaluate(tiny_cohort, "--only", "subject=adult01,activity=walking", "-o", "b", "--json")
    )
    assert told["partial"] == ["only the subjects adult01", "only the activities walking"]
    told = json.loads(evaluate(tiny_cohort, "--split", "development", "-o", "c", "--json"))
    assert told["partial"] == ["only the split development"]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("--only", "subject=adult1"), "adult01"),
        (("--only", "activity=walk"), "walking"),
        (("--only", "trial=adult01/walk/gait11"), "adult01/walk/gait1"),
        (("--cameras", "Cam2"), "Cam"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(words, near, tiny_cohort) -> None:
    with pytest.raises(CapbenchError, match=f"Did you mean '{near}"):
        evaluate(tiny_cohort, *words)


def test_what_fails_is_told_and_the_exit_code_is_1(tiny_cohort, home) -> None:
    shutil.copytree(tiny_cohort, home / "cohort")
    (home / "cohort/files/adult01/walk/Cam1/gait1.npz").write_bytes(b"no points")
    text = evaluate(home / "cohort", "-o", "mine", code=1)
    result = read_result(home / "mine")
    assert result.failures and "noisy-truth" in text
    assert evaluate(home / "cohort", "-o", "mine", "--json", code=1)


def test_the_command_line_is_kept(tiny_cohort, home, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/capbench", "evaluate", "--seed", "0"])
    evaluate(tiny_cohort, "-o", "mine")
    told = json.loads((home / "mine" / "run.json").read_text())
    assert told["command"] == ["capbench", "evaluate", "--seed", "0"]


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), {}),
        (("subject=a",), {"subject": ("a",)}),
        (("subject=a,b",), {"subject": ("a", "b")}),
        (("subject=a,b,activity=c", "subject=d,a"), {"subject": ("a", "b", "d"), "activity": ("c",)}),
        (("trial=a/b/c,d/e",), {"trial": ("a/b/c", "d/e")}),
    ],
)
def test_only_takes_several_by_commas_and_again(words, found) -> None:
    assert _only(words) == found


@pytest.mark.parametrize("word", ["a", "subject", "subject=", "camera=Cam1", "subject=a,,b", "=a", ""])
def test_other_words_are_refused(word, tiny_cohort) -> None:
    ended = CliRunner().invoke(cli, ["evaluate", "--cohort", str(tiny_cohort), "--only", word])
    assert ended.exit_code == 2 and "subject=, activity= or trial=" in ended.stderr


def test_camera_names_are_split_at_commas() -> None:
    assert _names(None) is None and _names("Cam1,Cam3,Cam1,") == ("Cam1", "Cam3")


def test_choices_hold_what_was_typed(tiny_cohort, monkeypatch) -> None:
    seen: list[Choices] = []
    monkeypatch.setattr("capbench.cli.evaluate.perform", lambda source, found, choices: seen.append(choices))
    call("evaluate", "--cohort", tiny_cohort)
    call("evaluate", "--cohort", tiny_cohort, "--only", "subject=a", "--cameras", "Cam3", "--no-causes",
         "--fresh", "--workers", 0, "--unit-time", 60, "--unit-memory", 0.5, "--limit", 3, "--seed", 7,
         "--force", "-o", "x")  # fmt: skip
    plain, typed = seen
    assert plain.options == Options() and plain.means.workers >= 1 and plain.out is None and not plain.force
    assert typed.options == Options(cameras=("Cam3",), subjects=("a",), limit=3, causes=False, seed=7)
    assert typed.means.fresh and typed.means.workers == 0 and typed.force and typed.out == Path("x")
    assert (typed.means.limits.seconds, typed.means.limits.memory_bytes) == (60, 1 << 29)


@pytest.mark.parametrize("given", [("--executor", "dask"), ("--scheduler", "tcp://127.0.0.1:1")])
def test_a_scheduler_and_dask_belong_together(given, tiny_cohort) -> None:
    ended = CliRunner().invoke(cli, ["evaluate", "--cohort", str(tiny_cohort), *given])
    assert ended.exit_code == 2 and "belong together" in ended.stderr


@pytest.mark.parametrize(
    "given", [("--limit", "0"), ("--workers", "-1"), ("--unit-time", "0"), ("--seed", "-1"), ("--split", "x")]
)
def test_numbers_out_of_range_are_refused(given) -> None:
    ended = CliRunner().invoke(cli, ["evaluate", *given])
    assert ended.exit_code == 2 and re.search("Invalid value", ended.stderr)


# --- cohorts -------------------------------------------------------------------------------------


def test_a_card_without_recordings_asks_for_them() -> None:
    with pytest.raises(CapbenchError, match="--data FOLDER"):
        call("evaluate", "--cohort", "opencap-labvalidation")


def test_data_of_another_cohort_are_refused(tiny_cohort, home) -> None:
    with pytest.raises(CapbenchError):
        call("evaluate", "--cohort", "opencap-labvalidation", "--data", home)
    # the folder of a cohort is taken as it is
    told = json.loads(
        call("evaluate", MODEL, "--cohort", "clinic-mini", "--data", tiny_cohort, *QUICK, "--json")
    )
    assert told["cohort"]["name"] == "tiny"


def test_boxes_are_the_cohort_s_where_every_camera_has_some(tiny_cohort, home) -> None:
    from spoiling import edit, row

    assert has_boxes(open_cohort(tiny_cohort))
    shutil.copytree(tiny_cohort, home / "cohort")
    edit(home / "cohort", lambda c: row(c)["extras"].pop("keypoints:Cam3") and None)
    assert not has_boxes(open_cohort(home / "cohort"))
