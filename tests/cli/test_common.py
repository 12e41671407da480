"""Tables, lists of facts and JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from capbench.cli.common import count, echo_json, facts, plain, share, table
from cohorts.values import FrozenDict


def test_tables_are_aligned_and_numbers_stand_right() -> None:
    text = table(("name", "n", "none"), [("a", "1.5", ""), ("long name", "-20.0", "")])
    assert text.splitlines() == ["name           n", "a            1.5", "long name  -20.0"]


def test_tables_and_facts_spell_out_control_characters() -> None:
    assert "\x1b" not in table(("name",), [("a\x1b[31m",)])
    assert "\x1b" not in facts([("name", "a\x1b[31m\nb")])


def test_facts_wrap_beneath_themselves() -> None:
    lines = facts([("a", "word " * 40), ("bcd", "x")]).splitlines()
    assert lines[0].startswith("  a    word") and lines[1].startswith("       word")
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "  bcd  x"


@dataclass(frozen=True)
class Noun:
    time: np.ndarray
    name: str


def test_everything_becomes_plain_json() -> None:
    value = {
        "noun": Noun(np.array([0.5, np.nan]), "é"),
        "path": Path("a/b"),
        "many": (np.float64("inf"), np.int64(3), True, None),
        "map": FrozenDict({"a": "b"}),
    }
    assert plain(value) == {
        "noun": {"time": [0.5, None], "name": "é"},
        "path": "a/b",
        "many": [None, 3, True, None],
        "map": {"a": "b"},
    }


def test_json_output_is_ascii_and_reads_back(capsys) -> None:
    echo_json({"name": "é ✓", "bad": float("nan")})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"name": "é ✓", "bad": None}


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0 %"), (0, 7, "0 %"), (7, 7, "100 %"), (1, 10**6, "<0.1 %"), (1, 8, "12.5 %")],
)
def test_share_rounds_neither_to_nothing_nor_to_all(part, whole, text) -> None:
    assert share(part, whole) == text
    if part == 1 and whole == 10**6:
        assert share(whole - 1, whole) == ">99.9 %"


def test_count() -> None:
    assert count(1, "frame") == "1 frame"
    assert count(12345, "frame") == "12,345 frames"
