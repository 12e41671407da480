"""``capbench selftest`` as it is typed."""

import json

import pytest
from click.testing import CliRunner

from capbench.cli.main import cli
from capbench.run import selftest
from capbench.run.selftest import Check

GOOD = [Check("gold", "0°", 0.0, True), Check("offset 5°", "5°", 5.0, True)]


def run(monkeypatch, checks, *words):
    calls = []

    def test(cohort, folder, *, means, told):
        told("gold")
        calls.append((cohort.card.name, folder.is_dir(), means.workers))
        return checks

    monkeypatch.setattr(selftest, "selftest", test)
    return CliRunner().invoke(cli, ["selftest", *map(str, words)]), calls


def test_all_well_is_exit_code_0(monkeypatch, tiny_cohort) -> None:
    ended, calls = run(monkeypatch, GOOD, "--cohort", tiny_cohort, "--workers", 0)
    assert ended.exit_code == 0 and ended.stdout.count("ok") == 2 and "5.0000°" in ended.stdout
    assert "gold …" in ended.stderr and calls == [("tiny", True, 0)]
    ended, _ = run(monkeypatch, GOOD, "--cohort", tiny_cohort, "--quiet")
    assert ended.stderr == ""


def test_anything_wrong_is_exit_code_1(monkeypatch, tiny_cohort) -> None:
    bad = [*GOOD, Check("null", "7°, skill 0", 3.0, False)]
    ended, _ = run(monkeypatch, bad, "--cohort", tiny_cohort)
    assert ended.exit_code == 1 and "WRONG" in ended.stdout
    ended, _ = run(monkeypatch, bad, "--cohort", tiny_cohort, "--json")
    told = json.loads(ended.stdout)
    assert ended.exit_code == 1 and [c["good"] for c in told] == [True, True, False]
    assert told[2] == {"name": "null", "expected": "7°, skill 0", "found": pytest.approx(3.0), "good": False}
