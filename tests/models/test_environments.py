"""Building the workers' environments; a script stands in for Python, venv and pip."""

from pathlib import Path

import pytest

from capbench.models import environments
from capbench.models.environments import ENVIRONMENTS, install, is_installed, python_of, requirements
from cohorts.errors import CapbenchError, EnvironmentFault

#: does what "-m venv" does, logs what pip is asked, and fails where the file "fail" says so
FAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$@" >>"LOG"
if [ -e "FAIL" ] && echo "$@" | grep -q -- "$(cat "FAIL")"; then
  echo "something" >&2; echo "ERROR: No matching distribution found" >&2; echo "hint: none" >&2; exit 1
fi
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
"""


@pytest.fixture
def fake(tmp_path) -> str:
    path = tmp_path / "python"
    path.write_text(FAKE.replace("LOG", str(tmp_path / "log")).replace("FAIL", str(tmp_path / "fail")))
    path.chmod(0o755)
    return str(path)


def calls(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "log").read_text().splitlines()
    (tmp_path / "log").unlink()
    return lines


def test_torch_comes_first_and_the_pins_without_what_they_ask_for(tmp_path, fake) -> None:
    said: list[str] = []
    python = install("mmpose", folder=tmp_path / "e", python=fake, told=said.append)
    assert python == tmp_path / "e" / "mmpose" / "bin" / "python" and python.is_file()
    venv, torch, pins, probe = calls(tmp_path)
    assert venv.startswith("-m venv ")
    assert torch.startswith("-m pip install ") and torch.endswith(" torch==2.13.0")
    assert "--no-deps" not in torch
    assert pins.endswith(f" --no-deps -r {requirements('mmpose')}") and probe == "-c import torch"
    assert any("33 packages of mmpose.txt" in line for line in said)
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["mmpose"]  # nothing is left over


def test_what_is_there_is_left_alone_until_the_pins_change(tmp_path, fake, monkeypatch) -> None:
    folder = tmp_path / "e"
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1  # why\n")
    monkeypatch.setattr(environments, "requirements", lambda name: pins)
    monkeypatch.setattr(environments.sys, "executable", fake)
    assert not is_installed("mediapipe", folder=folder)
    install("mediapipe", folder=folder)
    assert is_installed("mediapipe", folder=folder) and len(calls(tmp_path)) == 2
    mark = folder / "mediapipe" / "mark"
    mark.touch()
    pins.write_text("# another word\na==1\n")
    install("mediapipe", folder=folder)
    assert not (tmp_path / "log").exists() and mark.exists()
    pins.write_text("a==2\n")
    assert not is_installed("mediapipe", folder=folder)
    assert Path(python_of("mediapipe", folder=folder)).is_file()  # it still runs with the pins it was made of
    install("mediapipe", folder=folder)
    assert not mark.exists() and is_installed("mediapipe", folder=folder)
    mark.touch()
    install("mediapipe", folder=folder, fresh=True)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("fail", "says", "fix"),
    [
        ("venv", "Can't make an environment", "python3-venv"),
        ("torch==", "Can't install torch==2.13.0: ERROR: No matching distribution found", "package index"),
        ("--no-deps", "Can't install mmpose.txt", "package index"),
        ("import torch", "Can't import torch", "package index"),
    ],
)
def test_a_step_that_fails_leaves_nothing_new_and_the_old_as_it_was(tmp_path, fake, fail, says, fix) -> None:
    folder = tmp_path / "e"
    (tmp_path / "fail").write_text(fail)
    with pytest.raises(EnvironmentFault) as caught:
        install("mmpose", folder=folder, python=fake)
    assert caught.value.problem.startswith(says) and fix in str(caught.value.fix)
    assert list(folder.iterdir()) == []
    (tmp_path / "fail").unlink()
    install("mmpose", folder=folder, python=fake)
    (folder / "mmpose" / "mark").touch()
    (tmp_path / "fail").write_text(fail)
    with pytest.raises(EnvironmentFault):
        install("mmpose", folder=folder, python=fake, fresh=True)
    assert (folder / "mmpose" / "mark").exists() and len(list(folder.iterdir())) == 1


def test_a_python_that_is_not_there(tmp_path) -> None:
    with pytest.raises(EnvironmentFault, match="No such file"):
        install("mediapipe", folder=tmp_path, python=str(tmp_path / "absent"))


def test_which_python_runs_it(tmp_path, fake, monkeypatch) -> None:
    monkeypatch.delenv("CAPBENCH_MMPOSE_PYTHON", raising=False)
    with pytest.raises(EnvironmentFault) as caught:
        python_of("mmpose", folder=tmp_path)
    for word in ("capbench models install mmpose", "--python", "$CAPBENCH_MMPOSE_PYTHON"):
        assert word in str(caught.value)
    install("mmpose", folder=tmp_path, python=fake)
    assert python_of("mmpose", folder=tmp_path) == str(tmp_path / "mmpose" / "bin" / "python")
    monkeypatch.setenv("CAPBENCH_MMPOSE_PYTHON", "/from/variable")
    assert python_of("mmpose", folder=tmp_path) == "/from/variable"
    assert python_of("mmpose", "/given", folder=tmp_path) == "/given"


def test_environments_lie_in_the_cache(tmp_path, monkeypatch) -> None:
    from capbench.run.reference import cache_folder

    for name, value in (("CAPBENCH_CACHE", tmp_path / "a"), ("XDG_CACHE_HOME", tmp_path / "b")):
        monkeypatch.delenv("CAPBENCH_CACHE", raising=False)
        monkeypatch.setenv(name, str(value))
        assert environments._folder(None) == cache_folder() / "environments"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert environments._folder(None) == cache_folder() / "environments"


def test_names_that_are_none() -> None:
    with pytest.raises(CapbenchError, match="Did you mean 'mmpose'"):
        install("mmpos")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_has_its_pins_and_they_agree_with_ours(name) -> None:
    lines = environments._pins(requirements(name))
    pins = dict(line.split("==") for line in lines)
    assert pins and len(pins) == len(lines)
    ours = environments._pins(requirements(name).parent.parent / "constraints.txt")
    for package, version in (line.split("==") for line in ours):
        assert pins.get(package, version) == version, package
