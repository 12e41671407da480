"""Cohort cards: what is refused, in which words and on which line; the schema; the built-in cards."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from cohorts import CapbenchError, RefusedError
from cohorts import card as card_module
from cohorts.card import Card, builtin_card, card_names, parse_card, read_card, schema, write_card
from cohorts.strict import Lines

GOOD = """\
name: two-people
version: "1"
title: Two people walk
kind: synthetic
licence:
  name: CC0-1.0
  obtain: Make them.
consent: nobody was recorded
subjects:
  count: 2
  female: 1
activities:
  walking: as they would
cameras:
  names: [left, right]
  synchronised: true
  up: +y
  floor: 0.0
reference:
  kind: motion
  exact: true
  model: capbench:fullbody
  null_error: {hip_flexion_r: 13.5, pelvis_tx: 240}
protocol: capbench-1
splits:
  development:
    subjects: [a]
  test:
    subjects: [b]
  hidden:
    note: the same recipe with a secret seed
hashes:
  a/walk.mot: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
recipe:
  seed: 7
  anything: [{deep: yes}]
"""


def refused(text: str) -> CapbenchError:
    with pytest.raises(CapbenchError) as caught:
        parse_card(text, file="two.yaml")
    assert caught.value.file == "two.yaml"
    return caught.value


def line_of(text: str, part: str) -> int:
    """Counted apart from the code: the line that holds ``part``."""
    return next(i for i, line in enumerate(text.splitlines(), start=1) if part in line)


def test_a_good_card_survives_being_written(tmp_path) -> None:
    card = parse_card(GOOD)
    assert card.reference.null_error == {"hip_flexion_r": 13.5, "pelvis_tx": 240.0}
    assert card.recipe == {"seed": 7, "anything": [{"deep": True}]}
    assert card.splits.test is not None and card.splits.test.subjects == ("b",)
    write_card(tmp_path / "cohort.yaml", card)
    assert read_card(tmp_path / "cohort.yaml") == card
    with pytest.raises(CapbenchError, match="new file"):
        write_card(tmp_path / "cohort.yaml", card)


@pytest.mark.parametrize(
    ("good", "bad", "where", "says", "fix"),
    [
        ("title:", "titel:", "titel:", "got 'titel'. Did you mean 'title'?", "name, version, title"),
        ("  obtain:", "  obtian:", "obtian", "got 'obtian'. Did you mean 'obtain'?", "name, obtain, url"),
        ("    subjects: [a]", "    subject: [a]", "subject: [a]", "Did you mean 'subjects'?", "commitment"),
        ('version: "1"', "version: 1.5", "version:", "Expected text, got 1.5", "quotes"),
        ("kind: synthetic", "kind: synthetik", "kind: synth", "Did you mean 'synthetic'?", None),
        ("up: +y", "up: y", "up: y", "got 'y'", None),
        ("count: 2", "count: 0", "count: 0", "greater than or equal to 1, got 0", None),
        ("female: 1", "female: 3", "count: 2", "at most 2 people, got 3 female", None),
        ("names: [left, right]", "names: [left, left]", "names:", "each camera's name once", None),
        ("hip_flexion_r: 13.5", "hip_flexion_r: -1", "null_error", "got -1", None),
        ("hip_flexion_r: 13.5", "hip_flexion_r: .nan", "null_error", "finite number, got nan", None),
        ("  model: capbench:fullbody\n", "", "kind: motion", "the model that the joint angles", "model:"),
        ("    subjects: [b]", "    subjects: [a]", "subjects: [a]", "each subject in one split", None),
        ("    subjects: [b]", "    subjects: [all]", "subjects: [all]", "'all' or names, got both", None),
        ("a/walk.mot:", "../walk.mot:", "../walk.mot", "cohort's root, got '../walk.mot'", "relative"),
        ("a/walk.mot:", "/etc/passwd:", "/etc/passwd", "below the cohort's root", "relative"),
        ("e3b0c442", "E3B0C442", "a/walk.mot", "SHA-256", None),
        ("name: two-people", "name: two people", "name: two", "a short name", None),
        ("title: Two people walk", 'title: "  "', "title:", "Expected some text", None),
        ("  walking: as they would", "  {}", "activities", "", None),
        ("  up: +y\n", "", "floor: 0.0", "Expected 'up' beside 'floor'", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(good, bad, where, says, fix) -> None:
    text = GOOD.replace(good, bad, 1)
    assert text != GOOD
    error = refused(text)
    if where == "subjects: [a]":  # stands twice; the second is wrong
        assert error.line == len(text[: text.rindex("    subjects: [a]")].splitlines()) + 1
    else:
        assert error.line == line_of(text, where)
    assert says in error.problem
    assert fix is None or (error.fix is not None and fix in error.fix)


def test_missing_keys_are_told_with_what_they_mean() -> None:
    error = refused(GOOD.replace("consent: nobody was recorded\n", ""))
    assert "'consent'" in error.problem and error.line == 1
    assert error.fix is not None and "agreed to" in error.fix
    error = refused(GOOD.replace("  obtain: Make them.\n", ""))
    assert error.line == line_of(GOOD, "licence:") and error.place == "licence"


def test_several_errors_are_told_by_their_lines() -> None:
    text = GOOD.replace("count: 2", "count: no").replace("exact: true", "exact: 1")
    error = refused(text)
    assert error.line == line_of(text, "count: no")
    assert f"More on line {line_of(text, 'exact: 1')}" in error.problem


def test_only_made_people_are_exact_and_have_recipes() -> None:
    text = GOOD.replace("kind: synthetic", "kind: real")
    assert "recipe in synthetic" in refused(text).problem
    text = text[: text.index("recipe:")]
    error = refused(text)
    assert "people can't be known exactly" in error.problem and error.line == line_of(text, "exact: true")


@pytest.mark.parametrize("text", ["", "- a", "just text", "name: &a x\ntitle: *a"])
def test_what_is_no_card(text) -> None:
    refused(text)


def test_code_in_a_card_is_refused_for_safety() -> None:
    with pytest.raises(RefusedError):
        parse_card(GOOD.replace("Make them.", "!!python/object/apply:os.system [ls]"))


def test_cards_cant_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_card(GOOD).name = "other"  # type: ignore[misc]


def test_every_field_says_what_it_is() -> None:
    made = schema()
    json.dumps(made)
    assert made["additionalProperties"] is False
    for part in (made, *made["$defs"].values()):
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            assert len(field.get("description", "")) > 10, name
    assert set(made["required"]) == {
        "name", "version", "title", "kind", "licence", "consent", "subjects", "activities", "reference",
        "protocol",
    }  # fmt: skip


def test_models_of_the_card_are_all_strict() -> None:
    models = [v for v in vars(card_module).values() if isinstance(v, type) and issubclass(v, BaseModel)]
    assert len(models) > 6
    for model in models:
        assert model.model_config["extra"] == "forbid" and model.model_config["frozen"]


def test_built_in_cards_are_good_and_named_like_their_files() -> None:
    assert "opencap-labvalidation" in card_names()
    for name in card_names():
        assert builtin_card(name).name == name
    with pytest.raises(CapbenchError, match="opencap-labvalidation"):
        builtin_card("opencap-labvalidaton")


@pytest.mark.truth("protocol.md: Uhlrich et al. 2023 and the archive's own files")
def test_the_card_of_labvalidation() -> None:
    card = builtin_card("opencap-labvalidation")
    assert (card.subjects.count, card.subjects.female, card.subjects.male) == (10, 6, 4)
    assert len(card.activities) == 8
    assert card.cameras is not None
    assert (card.cameras.size, card.cameras.rate, card.cameras.max_offset) == ((720, 1280), 60, 6)
    assert card.cameras.default == ("Cam1", "Cam3") and not card.cameras.synchronised


def test_lines_of_what_is_not_there_are_those_of_what_holds_it() -> None:
    lines = Lines("a:\n  - b: 1\n    c: 2\nd: 3\n")
    assert [lines.of(*place) for place in [("a", 0, "c"), ("a", 0, "x"), ("a", 9), ("d",), ("z",)]] == [
        3, 2, 1, 4, 1,
    ]  # fmt: skip


def test_cards_from_long_files_are_bounded(tmp_path) -> None:
    path = Path(tmp_path / "big.yaml")
    path.write_bytes(b"a" * (2 << 20))
    with pytest.raises(RefusedError):
        read_card(path)


def test_the_type_is_the_one_that_is_exported() -> None:
    assert isinstance(parse_card(GOOD), Card)
