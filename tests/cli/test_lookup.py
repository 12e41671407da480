"""``list``, ``describe`` and ``completion``."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from capbench.biomech.presets import presets
from capbench.cli.main import COMMANDS, cli
from capbench.cli.registries import REGISTRIES
from cohorts import skeleton, skeleton_names
from cohorts.formats import FORMATS
from metrics.catalogue import cards


def run(*words: str):
    return CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("skeletons", skeleton_names()),
        ("formats", tuple(FORMATS)),
        ("presets", tuple(presets())),
        ("metrics", tuple(cards())),
    ],
)
def test_list_has_every_name(what, names) -> None:
    result = run("list", what)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()[1:]
    assert len(lines) == len(names)
    assert all(line.startswith(f"{name} ") for line, name in zip(lines, names, strict=True))
    assert [row["name"] for row in json.loads(run("list", what, "--json").stdout)] == list(names)


def test_list_of_something_unknown() -> None:
    result = run("list", "skeleton")
    assert result.exit_code == 2 and "Did you mean 'skeletons'?" in result.stderr


@pytest.mark.parametrize("name", [*skeleton_names(), *FORMATS, *cards()])
def test_everything_listed_can_be_described(name) -> None:
    result = run("describe", name)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{name}: a ")
    (told,) = json.loads(run("describe", name, "--json").stdout)
    assert told["name"] == name


def test_describe_a_skeleton() -> None:
    text = run("describe", "coco-17").stdout
    # COCO's published constants: nose 0.026, hips 0.107
    nose = next(line.split() for line in text.splitlines() if " nose " in line)
    assert nose[:4] == ["0", "nose", "middle", "0.026"]
    hip = next(line.split() for line in text.splitlines() if " left_hip " in line)
    assert hip[:4] == ["11", "left_hip", "left", "0.107"]
    (told,) = json.loads(run("describe", "coco-17", "--json").stdout)
    assert [p["name"] for p in told["points"]] == list(skeleton("coco-17").points)
    assert told["points"][12]["sigma"] == 0.107
    assert ["left_hip", "right_hip"] in told["flip_pairs"]


def test_describe_a_format() -> None:
    text = run("describe", "coco").stdout
    assert ".json" in text and "--rate" in text and "skeleton" in text
    (told,) = json.loads(run("describe", "storage", "--json").stdout)
    assert told["endings"] == [".mot", ".sto"]
    assert {o["name"]: o["words"] for o in told["read_options"]} == {
        "units": ["deg", "rad"],
        "kind": ["motion", "signals"],
    }
    assert "`" not in run("describe", "storage").stdout


def test_describe_a_metric() -> None:
    text = run("describe", "metric", "PCK@0.2·bbox").stdout
    assert "higher is better" in text and "bounding box" in text
    assert "metrics.keypoints2d." in text and "threshold=0.2" in text
    (told,) = json.loads(run("describe", "metric", "ranked", "error", "--json").stdout)
    assert told["kind"] == "metric" and told["name"] == "ranked error"
    assert told["direction"] == "lower is better"
    assert "capped" in told["definition"] and told["version"] == 1
    assert told["function"] == "metrics.aggregate.summarise" and told["part"] == "cohort.score"
    assert set(told["needs"]) == {"reference", "subjects"}


def test_describe_narrows_by_kind() -> None:
    result = run("describe", "metric", "trc")
    assert result.exit_code == 2 and "Expected the name of a metric, got 'trc'" in result.stderr
    assert "capbench list metrics" in result.stderr
    assert run("describe", "format", "trc").stdout == run("describe", "trc").stdout
    assert run("describe").exit_code == 2


def test_describe_a_map() -> None:
    result = run("describe", "synthpose-52", "--to", "coco-17")
    assert result.exit_code == 0
    assert result.stdout.startswith("coco-17 from synthpose-52: 17 exact, 0 approximate, 0 missing")
    told = json.loads(run("describe", "coco-17", "--to", "h36m-17", "--json").stdout)
    assert told["source"] == "coco-17" and told["target"] == "h36m-17"
    parts = [*told["exact"], *told["approximate"], *told["missing"]]
    assert sorted(parts) == sorted(skeleton("h36m-17").points)
    assert "left_hip" in told["approximate"]  # Human3.6M's hip is not COCO's


def test_unknown_names_are_told_the_nearest() -> None:
    result = run("describe", "coco17", "--json")
    assert result.exit_code == 2
    assert "Did you mean 'coco-17'?" in json.loads(result.stdout)["error"]["problem"]
    assert "Did you mean 'h36m-17'?" in run("describe", "coco-17", "--to", "h36m17").stderr
    assert "the format 'trc'" in run("describe", "trc", "--to", "coco-17").stderr


def test_every_registry_can_be_described_in_words() -> None:
    for registry in REGISTRIES.values():
        assert run("describe", registry.names()[0]).exit_code == 0


# --- completion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_clicks_script(shell) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_CAPBENCH_COMPLETE={shell}_complete" in result.stdout
    assert "capbench" in result.stdout.splitlines()[0] + result.stdout.splitlines()[-1]


def test_bash_accepts_the_script() -> None:
    ended = subprocess.run(["bash", "-n"], input=run("completion", "bash").stdout, text=True, check=False)
    assert ended.returncode == 0


def test_unknown_shells() -> None:
    result = run("completion", "bsh")
    assert result.exit_code == 2 and "Did you mean 'bash'?" in result.stderr


def complete(*words: str) -> list[str]:
    """What bash would be offered for the last word."""
    env = {
        **os.environ,
        "_CAPBENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("capbench", *words)),
        "COMP_CWORD": str(len(words)),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "capbench"], capture_output=True, text=True, env=env, check=False
    )
    return [line.partition(",")[2] for line in ended.stdout.splitlines()]


def test_commands_and_names_complete() -> None:
    assert complete("d") == ["describe", "doctor"]
    assert complete("describe", "coco-w") == ["coco-wholebody-133"]
    assert complete("convert", "--map-to", "synth") == ["synthpose-52"]
    assert complete("info", "--format", "tr") == ["trc"]
    assert complete("list", "f") == ["formats"]
    assert "--json" in complete("list", "--j")


def test_completion_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys, os\n"
        "os.environ.update(_CAPBENCH_COMPLETE='bash_complete', COMP_WORDS='capbench f', COMP_CWORD='1')\n"
        "from capbench.cli.main import COMMANDS, cli\n"
        "try: cli.main([])\n"
        "except SystemExit: pass\n"
        "print([e.module for e in COMMANDS.values() if e.module in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == ["plain,fit", "[]"]
    assert len(COMMANDS) >= 7
