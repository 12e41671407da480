"""``capbench cohort``: what it prints, writes and exits with."""

import json
from pathlib import Path

import made_up_lab
import pytest
from click.testing import CliRunner

from capbench.cli.main import cli
from cohorts.store import open_cohort


def run(*words: object):
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["cohort", *map(str, words)])


def said(result) -> str:
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    return made_up_lab.make_lab(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def cohort(tmp_path, lab) -> Path:
    result = run("import", lab, "-o", tmp_path / "c")
    assert result.exit_code == 0, result.output
    return tmp_path / "c"


def test_list_and_describe() -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert "opencap-labvalidation" in {row["name"] for row in rows}
    result = run("list", "--sources")
    assert result.exit_code == 0 and "pose2sim" in result.stdout and "skeleton" in result.stdout
    text = said(run("describe", "opencap-labvalidation"))
    for part in ("6 female, 4 male", "not synchronised (up to 6 frames apart)", "capbench-1", "SimTK"):
        assert part in text
    card = json.loads(run("describe", "opencap-labvalidation", "--json").stdout)
    assert card["subjects"]["count"] == 10
    schema = json.loads(run("describe", "--schema").stdout)
    assert schema["additionalProperties"] is False
    assert run("describe").exit_code == 2


def test_a_cards_floors_are_shown_per_coordinate(tmp_path) -> None:
    from cohorts.card import builtin_card, write_card

    card = builtin_card("opencap-labvalidation")
    reference = card.reference.model_copy(
        update={
            "noise_floor": {"hip_flexion_r": 0.524},
            "null_error": {"hip_flexion_r": 13.5, "pelvis_tx": 240},
        }
    )
    write_card(tmp_path / "mine.yaml", card.model_copy(update={"reference": reference}))
    lines = run("describe", tmp_path / "mine.yaml").stdout.splitlines()
    assert any(line.split() == ["hip_flexion_r", "0.52", "13.50", "deg"] for line in lines)
    assert any(line.split() == ["pelvis_tx", "-", "240.00", "mm"] for line in lines)


def test_import_and_check_a_good_lab(cohort) -> None:
    result = run("check", cohort, "-q")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == "made-up-lab 1: nothing found"
    told = json.loads(run("check", cohort, "--quick", "--json").stdout)
    assert told == {"cohort": "made-up-lab", "version": "1", "findings": []}
    assert json.loads(run("list", cohort.parent, "--json").stdout)[-1]["where"] == str(cohort)


def test_check_names_card_line_and_fix(tmp_path, cohort) -> None:
    file = cohort / "trials.yaml"
    file.write_text(file.read_text().replace("  mass: 70.5\n", ""))
    result = run("check", cohort, "--quick")
    line = file.read_text().splitlines().index("- pseudonym: s01") + 1
    assert result.exit_code == 1
    assert "error [no-mass] Expected the subject's mass, got none" in result.stdout
    assert f"at {file}, line {line}, s01" in result.stdout
    assert "Try: add mass: in kilograms" in result.stdout
    told = json.loads(run("check", cohort, "--quick", "--json").stdout)
    assert told["findings"][0]["line"] == line


def test_warnings_fail_only_when_asked_and_kinds_are_folded(tmp_path, cohort) -> None:
    file = cohort / "trials.yaml"
    text = file.read_text()
    people = "".join(f"- pseudonym: x{k}\n  mass: 60.0\n  height: 1.6\n" for k in range(9))
    file.write_text(text.replace("subjects:\n", f"subjects:\n{people}"))
    result = run("check", cohort, "--quick")
    assert result.exit_code == 0 and "warning [no-trials] and 6 more (--all tells them)" in result.stdout
    assert run("check", cohort, "--quick", "--all").stdout.count("warning [no-trials]") == 9
    assert run("check", cohort, "--quick", "--strict").exit_code == 1


def test_a_protocol_that_nobody_knows(cohort) -> None:
    file = cohort / "cohort.yaml"
    file.write_text(file.read_text().replace("capbench-1", "capbench-l"))
    result = run("check", cohort, "--quick")
    assert "Did you mean 'capbench-1'?" in said(result)


def test_stats_count_what_is_there(cohort) -> None:
    told = json.loads(run("stats", cohort, "--decode", "--json").stdout)
    assert (told["subjects"], told["sexes"], told["age_bands"]) == (1, {"female": 1}, {"20-29": 1})
    assert told["cameras"] == {"camA": 1, "camB": 1} and told["decoded"] is True
    (walking,) = told["activities"]
    assert (walking["trials"], walking["videos"], walking["frames"]) == (1, 2, 120)  # 2 x 1.2 s at 50 Hz
    assert walking["reference_minutes"] == pytest.approx(1.2 / 60)
    assert walking["video_minutes"] == pytest.approx(2.4 / 60, rel=1e-3)
    text = run("stats", cohort).stdout
    assert "as the headers claim" in text and "walking" in text


def test_export_copies_a_part_that_stands_alone(tmp_path, cohort) -> None:
    result = run("export", cohort, "-o", tmp_path / "part", "--activity", "walking", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["trials"] == 1
    assert open_cohort(tmp_path / "part").root == (tmp_path / "part" / "files").resolve()
    result = run("export", cohort, "-o", tmp_path / "m", "--manifest", "--hash", "all")
    assert result.exit_code == 0
    assert sorted(entry.name for entry in (tmp_path / "m").iterdir()) == ["cohort.yaml", "trials.yaml"]
    result = run("export", cohort, "-o", tmp_path / "x", "--activity", "walkin")
    assert result.exit_code == 2 and "Did you mean 'walking'" in result.output
    assert not (tmp_path / "x").exists()


def test_import_is_careful_with_its_output_and_options(tmp_path, lab, cohort) -> None:
    assert run("import", lab, "-o", cohort).exit_code == 2
    assert run("import", lab, "-o", cohort, "--force").exit_code == 0
    result = run("import", lab, "-o", tmp_path / "d", "--with", "masss=3")
    assert result.exit_code == 2 and "option of the source folder" in result.output
    assert run("import", lab, "-o", tmp_path / "d", "--with", "mass").exit_code == 2
    result = run("import", lab, "-o", tmp_path / "d", "--as", "pose2sin", "--json")
    assert result.exit_code == 2
    assert "pose2sim" in json.loads(result.stdout)["error"]["problem"]
    assert not (tmp_path / "d").exists()


def test_a_path_out_of_the_cohort_is_refused_for_safety(cohort) -> None:
    file = cohort / "trials.yaml"
    file.write_text(file.read_text().replace("markers: s01/", "markers: ../"))
    result = run("check", cohort)
    assert result.exit_code == 4
    line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if "markers: ../" in text)
    assert f"{file}, line {line}" in result.output and "Try: write it relative to the root" in result.output


def test_a_card_alone_can_t_be_checked() -> None:
    result = run("check", "opencap-labvalidation")
    assert result.exit_code == 2 and "the card of opencap-labvalidation alone" in said(result)
    assert "SimTK" in result.output
    result = run("stats", "opencap-labvalidaton")
    assert result.exit_code == 2 and "Did you mean 'opencap-labvalidation'?" in said(result)


# --- make ---------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """The file of a card that takes a second to make; the cache is elsewhere."""
    from tiny_clinic import tiny_card

    from cohorts.card import write_card

    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "cache"))
    write_card(tmp_path / "tiny.yaml", tiny_card(trials=[], static=0.1))
    return tmp_path / "tiny.yaml"


def test_make_writes_a_cohort_where_it_is_asked_to(tiny, tmp_path) -> None:
    result = run("make", tiny, "-o", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "1 subject, 1 trial: static 1" in result.stdout
    assert "people 1/1" in result.stderr
    assert open_cohort(tmp_path / "out").card.name == "tiny"
    assert run("check", tmp_path / "out", "-q").exit_code == 0
    again = run("make", tiny, "-o", tmp_path / "out", "--workers", 1)
    assert again.exit_code == 2 and "--force" in again.stderr


def test_make_keeps_built_in_cohorts_in_the_cache_and_makes_them_once(tiny, tmp_path) -> None:
    first = run("make", tiny, "--workers", 1, "--json", "-q")
    (made,) = (tmp_path / "cache" / "cohorts").iterdir()
    assert made.name.startswith("tiny-1-")
    before = (made / "cohort.yaml").stat().st_mtime_ns
    second = run("make", tiny, "--workers", 1, "--json", "-q")
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert (made / "cohort.yaml").stat().st_mtime_ns == before


def test_make_refuses_what_it_cannot(tmp_path) -> None:
    result = run("make", "opencap-labvalidation", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "Expected a card with a recipe" in result.stderr
    result = run("make", "clinic-hidden", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "give --seed NUMBER" in result.stderr
    assert not (tmp_path / "out").exists()
