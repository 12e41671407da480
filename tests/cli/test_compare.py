"""``capbench compare`` as it is typed."""

import json
import re

import pytest
from click.testing import CliRunner
from results import made_result

from capbench.cli.main import cli
from capbench.run.compare import compare
from capbench.run.result import write_result


@pytest.fixture
def runs(tmp_path):
    for k, (name, effect) in enumerate({"hrnet": 0.0, "vitpose": 0.3, "mini": 2.0}.items()):
        (tmp_path / name).mkdir()
        write_result(tmp_path / name / "result.json", made_result(k, name=name, subjects=12, effect=effect))
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli, ["compare", *map(str, words)])


def test_folders_or_files_are_compared(runs) -> None:
    ended = run(runs / "hrnet", runs / "vitpose" / "result.json", runs / "mini")
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[0] == "clinic-mini 1, protocol capbench-1 1: 12 people, 96 trials"
    assert max(map(len, lines)) <= 100
    assert re.search(r"^  A  hrnet 1\.2 +4\.23°", ended.stdout, re.M)
    assert "A is better than C by 2.30°, for 12 of 12 people." in ended.stdout
    assert "less than the noise floor of 0.90°: it means nothing." in " ".join(ended.stdout.split())
    assert "and 57 more (--all)" in ended.stdout


def test_all_rows_on_request(runs) -> None:
    ended = run(runs / "hrnet", runs / "mini", "--all")
    assert "more (--all)" not in ended.stdout
    names = re.findall(r"^  ((?:pelvis|hip|knee|ankle|subtalar|lumbar)_\w+)", ended.stdout, re.M)
    assert len(names) == len(set(names)) == 21
    assert "A − B" in ended.stdout  # for the pair itself


def test_angles_come_before_places(runs) -> None:
    ended = run(runs / "hrnet", runs / "mini")
    table = ended.stdout.split("coordinate")[1].split("activity")[0]
    assert "mm" not in table


def test_json_holds_the_whole_comparison(runs) -> None:
    ended = run(runs / "hrnet", runs / "mini", "--json", "--seed", "3")
    told = json.loads(ended.stdout)
    found = compare(
        [made_result(0, name="hrnet", subjects=12), made_result(2, name="mini", subjects=12, effect=2.0)],
        seed=3,
    )
    assert told["pairs"][0]["difference"] == found.pairs[0].difference
    assert told["pairs"][0]["low"] == found.pairs[0].low
    assert [e["label"] for e in told["entrants"]] == ["hrnet 1.2", "mini 1.2"]
    assert len(told["coordinates"]) == 21
    assert told["by_person"]["A"] == list(found.by_person["A"])


def test_a_page_is_written_and_an_old_one_kept(runs) -> None:
    page = runs / "c.html"
    ended = run(runs / "hrnet", runs / "mini", "--html", page)
    assert ended.exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert str(page) in ended.stdout.replace("\n", "")
    page.write_text("mine")
    ended = run(runs / "hrnet", runs / "mini", "--html", page)
    assert ended.exit_code != 0
    assert page.read_text() == "mine"
    assert run(runs / "hrnet", runs / "mini", "--html", page, "--force").exit_code == 0
    assert page.read_text() != "mine"


def test_what_can_t_be_compared_says_why_and_leaves_with_2(runs) -> None:
    (runs / "other").mkdir()
    write_result(runs / "other" / "result.json", made_result(5, subjects=11))
    ended = run(runs / "hrnet", runs / "other")
    assert ended.exit_code == 2
    assert "without p12/day1/gait1" in ended.stderr
    ended = run(runs / "hrnet", runs / "nowhere")
    assert ended.exit_code == 2
    assert "folder of a run" in ended.stderr


def test_one_result_is_not_enough(runs) -> None:
    ended = run(runs / "hrnet")
    assert ended.exit_code == 2
    assert "2 to 12 results" in ended.stderr
