"""The package, its pins and its scripts agree with one another."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import capbench
from capbench.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = ("scripts/quickstart", "scripts/test", ".ci/run")
#: what must never be asked for: it breaks the environment, or its licence would bind ours
NEVER = {
    "torchvision": "fails beside a CPU torch and takes transformers with it",
    "opencv-python": "writes the same cv2 folder as the headless build",
    "opencv-contrib-python": "the same",
    "mmpose": "can't be installed with its requirements",
    "mmcv": "has no built package for this torch",
    "xtcocotools": "built for numpy 1",
    "chumpy": "can't be built",
    "ultralytics": "AGPL",
    "decord": "fails on vp9",
}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """name -> requirement; capbench's own extras are left out."""
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r for r in found if r.name != "capbench"}


def pins(path: Path) -> dict[str, Requirement]:
    """name -> the one requirement of a file of pins, comments left out."""
    lines = [line.partition(" #")[0].strip() for line in path.read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    found = requirements(lines)
    assert len(found) == len(lines), "a package is named twice"
    return found


def exact(requirement: Requirement) -> Version:
    """The version of a requirement that allows exactly one."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, requirement
    return Version(specifier.version)


CORE = requirements(PROJECT["dependencies"])
EXTRAS = {name: requirements(lines) for name, lines in PROJECT["optional-dependencies"].items()}
ASKED = {name: r for group in (CORE, *EXTRAS.values()) for name, r in group.items()}
CONSTRAINTS = pins(ROOT / "constraints.txt")


def test_version_is_said_once() -> None:
    assert capbench.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_core_runs_without_torch() -> None:
    assert not {"torch", "transformers", "onnx", "safetensors"} & CORE.keys()
    # the built-in ONNX model reads videos: both belong to the core
    assert {"onnxruntime", "opencv-python-headless", "opensim", "numpy"} <= CORE.keys()
    assert PROJECT["requires-python"] == ">=3.11,<3.14"


def test_all_holds_every_extra_but_the_developers_tools() -> None:
    (line,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(line).extras == EXTRAS.keys() - {"all", "dev", "reference"}


def test_nothing_that_breaks_the_environment_is_asked_for() -> None:
    assert not NEVER.keys() & (ASKED.keys() | CONSTRAINTS.keys())


def test_constraints_pin_everything_within_its_range() -> None:
    assert ASKED.keys() <= CONSTRAINTS.keys()
    for name, requirement in ASKED.items():
        version = exact(CONSTRAINTS[name])
        assert requirement.specifier.contains(version), f"{name} {version} is outside {requirement}"
    for requirement in CONSTRAINTS.values():
        exact(requirement)


def test_constraints_leave_the_build_of_torch_open() -> None:
    assert exact(CONSTRAINTS["torch"]).local is None
    assert not [name for name in CONSTRAINTS if re.match("nvidia|cuda|triton", name)]
    assert (ROOT / "scripts" / "common.sh").read_text().count(str(CONSTRAINTS["torch"])) == 1


def test_constraints_let_mediapipe_and_the_export_share_protobuf() -> None:
    # onnx from 1.23 on needs protobuf 6; mediapipe 0.10.14 needs one below 5
    assert Version("4.25.3") <= exact(CONSTRAINTS["protobuf"]) < Version("5")
    assert exact(CONSTRAINTS["onnx"]) < Version("1.23")


def test_the_mmpose_worker_is_pinned_and_agrees_with_the_rest() -> None:
    worker = pins(ROOT / "requirements" / "mmpose.txt")
    versions = {name: exact(requirement) for name, requirement in worker.items()}
    assert {"mmpose", "mmengine", "mmcv-lite", "mmdet", "six", "pycocotools"} <= versions.keys()
    assert versions["mmcv-lite"] < Version("2.2")  # mmdet 3.3.0 refuses 2.2.0
    assert not (NEVER.keys() - {"mmpose"}) & versions.keys()
    assert "torch" not in versions  # installed before, from whichever index has it
    for name in versions.keys() & CONSTRAINTS.keys():
        assert versions[name] == exact(CONSTRAINTS[name]), name


def test_this_environment_has_no_torchvision() -> None:
    code = "import importlib.util; print(importlib.util.find_spec('torchvision'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "None"


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_run(script) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in text


@pytest.mark.parametrize("script", [*SCRIPTS, "scripts/common.sh"])
def test_scripts_are_sound_bash(script) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def bash(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code after scripts/common.sh."""
    return subprocess.run(
        ["bash", "-euc", f'source "{ROOT}/scripts/common.sh"\n{code}'],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def fake_python(folder: Path, version: str, word: str, name: str = "python3") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version} {word}'\n")
    path.chmod(0o755)
    return path


def only(folder: Path) -> str:
    """A PATH with the tools that common.sh calls, and no Python but those in ``folder``."""
    tools = folder / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(
            Path("/usr/bin") / tool if Path(f"/usr/bin/{tool}").exists() else f"/bin/{tool}"
        )
    return f"{folder}:{tools}"


def test_a_fitting_python_is_found(tmp_path) -> None:
    fake_python(tmp_path, "3.9.2", "old")
    fake_python(tmp_path, "3.12.1", "bare", "python3.12")
    fake_python(tmp_path, "3.13.0", "ok", "python3.13")
    ran = bash('find_python; echo "$python"', PATH=only(tmp_path), CAPBENCH_PYTHON="")
    assert ran.stdout.strip() == "python3.13"


def test_a_chosen_python_goes_first_and_must_fit(tmp_path) -> None:
    fake_python(tmp_path, "3.11.7", "ok")
    folder = tmp_path / "with space"
    folder.mkdir()
    chosen = str(fake_python(folder, "3.12.1", "ok", "my python"))
    path = only(tmp_path)
    assert bash('find_python; echo "$python"', PATH=path, CAPBENCH_PYTHON=chosen).stdout.strip() == chosen
    fake_python(folder, "3.10.1", "old", "my python")
    ran = bash("find_python", PATH=path, CAPBENCH_PYTHON=chosen)
    assert ran.returncode == 3 and chosen in ran.stderr and "3.10.1" in ran.stderr


@pytest.mark.parametrize(
    ("version", "word", "says"),
    [
        ("3.9.2", "old", ["found python3 is 3.9.2", "sudo apt-get install python3 python3-venv"]),
        ("3.14.0", "new", ["found python3 is 3.14.0"]),
        ("3.11.2", "bare", ["without its venv module", "python3-venv (or python3.11-venv)"]),
        ("", "", ["found none"]),
    ],
)
def test_without_a_fitting_python_it_says_what_to_install(tmp_path, version, word, says) -> None:
    if version:
        fake_python(tmp_path, version, word)
    ran = bash("find_python", PATH=only(tmp_path), CAPBENCH_PYTHON="")
    assert ran.returncode == 3 and ran.stdout == ""
    assert all(text in ran.stderr for text in says), ran.stderr


def test_this_python_describes_itself() -> None:
    ran = bash(f'describe_python "{sys.executable}"')
    assert ran.stdout.strip() == ".".join(map(str, sys.version_info[:3])) + " ok"
    assert bash("describe_python no-such-python || true").stdout == ""


def test_the_stamp_tells_whether_an_installation_is_still_good(tmp_path) -> None:
    setup = f'venv="{tmp_path}"; stamp="{tmp_path}/stamp"; '
    mark = '{ echo LEVEL; fingerprint; } >"$stamp"; '

    def holds(level: str, wanted: str, after: str = "") -> bool:
        code = setup + mark.replace("LEVEL", level) + after + f"installed {wanted} && echo yes || echo no"
        return bash(code).stdout.strip() == "yes"

    assert holds("core", "core") and holds("all", "all")
    assert holds("all", "core")  # quickstart is content with what scripts/test installed
    assert not holds("core", "all")
    assert not holds("core", "core", f'venv="{tmp_path}/moved"; ')
    assert not holds("core", "core", "torch=torch==1; ")
    assert not holds("core", "core", 'rm "$stamp"; ')
    assert not holds("core", "core", f'root="{tmp_path}"; touch "$root"/{{pyproject.toml,constraints.txt}}; ')


def test_readme_names_only_what_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    assert set(
        re.findall(r"\bcapbench ([a-z]+)(?= |`|$)(?!-)", " ".join(re.findall(r"`([^`]*)`", text)))
    ) <= set(COMMANDS)
    assert {name for name in COMMANDS if f"`capbench {name}" in text} == set(COMMANDS)
    for path in re.findall(
        r"\b(?:scripts|requirements|capbench|metrics|cohorts|synthpose|tests)/[\w./]*", text
    ):
        assert (ROOT / path).exists(), path


def test_readme_lists_every_format() -> None:
    from cohorts.formats import FORMATS

    section = (ROOT / "README.md").read_text().split("## File formats")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(FORMATS)
    for row, found in zip(rows, FORMATS.values(), strict=True):
        title, endings, _, writes = (cell.strip() for cell in row.strip("|").split("|"))
        assert (writes == "–") == (not found.writes), title
        for ending in re.findall(r"`(\.[\w.]+)`", endings):
            assert ending in found.suffixes, title


def test_citation_has_what_the_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys() and citation["authors"]
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= reference.keys()
