"""``capbench doctor``: every landmine played on a made-up machine, and one real run."""

import json
import signal
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

import capbench.machine
from capbench.cli.doctor import show
from capbench.cli.main import cli
from capbench.doctor import (
    CORE,
    OPTIONAL,
    SMALL,
    TORCH,
    Check,
    Outcome,
    core_is_sound,
    examine,
    release,
    within,
)
from capbench.machine import Machine

ROOT = Path(__file__).parent.parent
HEALTHY = {
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "pandas": "3.1.1",
    "numba": "0.68.1",
    "opensim": "4.6",
    "onnxruntime": "1.31.1",
    "opencv-python-headless": "5.0.0.93",
    "click": "8.5.1",
    "matplotlib": "3.11.2",
    "pydantic": "2.14.3",
    "pyyaml": "6.0.3",
    "torch": "2.13.0+cpu",
    "transformers": "5.23.0",
    "pyarrow": "26.0.1",
    "ezc3d": "1.7.2",
    "pycocotools": "2.0.11",
    "mediapipe": "0.10.14",
    "protobuf": "4.25.9",
    "onnx": "1.22.0",
}
WORKER = {
    "versions": {
        "mmpose": "1.3.2",
        "mmengine": "0.10.7",
        "mmcv-lite": "2.1.0",
        "mmdet": "3.3.0",
        "setuptools": "81.0.0",
    },
    "pkg_resources": True,
}


def worker(*, pkg_resources: bool = True, **versions: str) -> Outcome:
    """What the worker's Python answers, with other versions."""
    there = {**WORKER["versions"], **{name.replace("_", "-"): v for name, v in versions.items()}}
    return Outcome(0, json.dumps({"versions": there, "pkg_resources": pkg_resources}))


@dataclass
class Fake:
    """A machine on which everything is well, but for what a test changes."""

    versions: dict = field(default_factory=lambda: dict(HEALTHY))
    outcomes: dict = field(default_factory=dict)  # a word in the child's code -> how it ends
    variables: dict = field(default_factory=dict)
    python: str = "python"
    python_version: tuple = (3, 12, 1)
    encoding: str = "utf-8"
    workers: tuple = ("w/bin/python",)
    worker: Outcome = field(default_factory=lambda: Outcome(0, json.dumps(WORKER)))
    free: dict = field(default_factory=lambda: {"/here": 50e9})
    count: float = 8
    bytes: int | None = 32 * 10**9

    def version(self, distribution):
        return self.versions.get(distribution)

    def run(self, code, *, python=None):
        if python is not None:
            return self.worker
        for word, outcome in self.outcomes.items():
            if f"import {word}" in code or f", {word}" in code:
                return outcome
        return Outcome(0, '{"cuda": null, "gpus": []}')

    def worker_candidates(self):
        return self.workers

    def free_bytes(self):
        return self.free

    def cores(self):
        return self.count

    def memory(self):
        return self.bytes


def found(machine: Fake, name: str) -> Check:
    (check,) = [check for check in examine(machine) if check.name == name]
    return check


def leave(monkeypatch, machine: Fake, *words: str):
    monkeypatch.setattr(capbench.machine, "Machine", lambda: machine)
    return CliRunner().invoke(cli, ["doctor", *words])


def test_a_healthy_machine(monkeypatch) -> None:
    checks = examine(Fake())
    assert {check.status for check in checks} == {"ok"}
    assert all(check.fix is None for check in checks)
    result = leave(monkeypatch, Fake())
    assert result.exit_code == 0
    assert "The core is sound." in result.stdout and "fix:" not in result.stdout


def without(*names: str) -> dict:
    return {name: version for name, version in HEALTHY.items() if name not in names}


CRASH = Outcome(-signal.SIGSEGV)
NMS = Outcome(1, "", "Traceback …\nRuntimeError: operator torchvision::nms does not exist")
#: machine, the line it shows up in, status, words of what was found, the one command that mends it
LANDMINES = {
    "an old Python": (
        Fake(python_version=(3, 10, 9)),
        "Python",
        "broken",
        "3.10.9",
        "python3.12 -m venv .venv && .venv/bin/pip install capbench",
    ),
    "a Python too new": (Fake(python_version=(3, 14, 0)), "Python", "broken", "3.14.0", None),
    "numpy 1": (
        Fake({**HEALTHY, "numpy": "1.26.4"}),
        "numpy",
        "broken",
        "1.26.4; expected numpy>=2.1,<3",
        "python -m pip install 'numpy>=2.1,<3'",
    ),
    "no opensim": (
        Fake(without("opensim")),
        "opensim",
        "missing",
        "not installed",
        "python -m pip install 'opensim>=4.6,<4.7'",
    ),
    "opensim crashes": (
        Fake(outcomes={"opensim": CRASH}),
        "opensim",
        "broken",
        "crashes (SIGSEGV)",
        "python -m pip install --force-reinstall --no-deps 'opensim>=4.6,<4.7'",
    ),
    "onnxruntime hangs": (
        Fake(outcomes={"onnxruntime": Outcome(None)}),
        "onnxruntime",
        "broken",
        "does not answer",
        "python -m pip install --force-reinstall --no-deps 'onnxruntime>=1.20'",
    ),
    "a cv2 without a decoder": (
        Fake(outcomes={"cv2": Outcome(1, "", "wrote 8 frames, decoded 0")}),
        "video decoding",
        "broken",
        "decoded 0",
        "python -m pip install --force-reinstall --no-deps 'opencv-python-headless>=4.10,<6'",
    ),
    "no pydantic": (
        Fake(without("pydantic")),
        "small packages",
        "broken",
        "pydantic missing",
        "python -m pip install 'pydantic>=2.7,<3'",
    ),
    "a torchvision that does not fit": (
        Fake({**HEALTHY, "torchvision": "0.29.1"}, {"torchvision": NMS}),
        "torchvision",
        "broken",
        "operator torchvision::nms does not exist",
        "python -m pip uninstall -y torchvision",
    ),
    "two cv2": (
        Fake({**HEALTHY, "opencv-python": "4.14.0", "opencv-contrib-python": "5.0"}),
        "opencv",
        "broken",
        "opencv-python-headless and opencv-python and opencv-contrib-python",
        "python -m pip uninstall -y opencv-python-headless opencv-python opencv-contrib-python && "
        "python -m pip install --force-reinstall --no-deps 'opencv-python-headless>=4.10,<6'",
    ),
    "protobuf 7 beside mediapipe": (
        Fake({**HEALTHY, "protobuf": "7.1.0"}),
        "protobuf",
        "broken",
        "protobuf 7.1.0",
        "python -m pip install 'protobuf>=4.25.3,<5'",
    ),
    "onnx that wants protobuf 6 beside mediapipe": (
        Fake({**HEALTHY, "protobuf": "6.31.1", "onnx": "1.23.0"}),
        "protobuf",
        "broken",
        "onnx 1.23.0",
        "python -m pip install 'onnx>=1.18,<1.23' 'protobuf>=4.25.3,<5'",
    ),
    "mediapipe without a model": (
        Fake({**HEALTHY, "mediapipe": "1.2.2"}),
        "mediapipe",
        "note",
        "holds no pose model",
        "python -m pip install --no-deps mediapipe==0.10.14 absl-py attrs flatbuffers 'protobuf>=4.25.3,<5'",
    ),
    "mmpose in this environment": (
        Fake({**HEALTHY, "mmpose": "1.3.2", "mmengine": "0.10.7"}),
        "mmpose",
        "broken",
        "mmpose, mmengine",
        "python -m pip uninstall -y mmpose mmengine",
    ),
    "a torch that runs what it loads": (
        Fake({**HEALTHY, "torch": "2.5.1"}),
        "torch",
        "broken",
        "CVE-2025-32434",
        "python -m pip install torch==2.13.0",
    ),
    "a CUDA torch without a GPU": (
        Fake(outcomes={"torch": Outcome(0, '{"cuda": "13.0", "gpus": []}')}),
        "torch",
        "note",
        "sees no GPU",
        None,
    ),
    "no torch": (
        Fake(without("torch")),
        "torch",
        "missing",
        "optional",
        "python -m pip install torch==2.13.0",
    ),
    "no ezc3d": (
        Fake(without("ezc3d")),
        "ezc3d",
        "missing",
        "optional",
        "python -m pip install 'ezc3d>=1.5.17'",
    ),
    "no worker": (
        Fake(workers=()),
        "mmpose worker",
        "missing",
        "not set up",
        "python3 -m venv .venv-mmpose && .venv-mmpose/bin/pip install torch==2.13.0 && "
        ".venv-mmpose/bin/pip install --no-deps -r requirements/mmpose.txt",
    ),
    "a worker that is named but not there": (
        Fake(workers=(), variables={"CAPBENCH_MMPOSE_PYTHON": "/gone/python"}),
        "mmpose worker",
        "broken",
        "no Python at /gone/python",
        None,
    ),
    "an empty worker": (
        Fake(worker=Outcome(0, json.dumps({"versions": {"mmcv-lite": "2.1.0"}, "pkg_resources": True}))),
        "mmpose worker",
        "broken",
        "lacks mmpose, mmengine, mmdet",
        "w/bin/python -m pip install --no-deps -r requirements/mmpose.txt",
    ),
    "an mmcv that mmdet refuses": (
        Fake(worker=worker(mmcv_lite="2.2.0")),
        "mmpose worker",
        "broken",
        "mmcv 2.2.0",
        "w/bin/python -m pip install --no-deps mmcv-lite==2.1.0",
    ),
    "a worker without pkg_resources": (
        Fake(worker=worker(pkg_resources=False)),
        "mmpose worker",
        "note",
        "has no pkg_resources",
        "w/bin/python -m pip install 'setuptools<82'",
    ),
    "a full disk": (
        Fake(free={"/tmp": 1e9}),
        "disk",
        "note",
        "1.0 GB free in /tmp",
        "export TMPDIR=/a/folder/with/room",
    ),
    "little memory": (Fake(bytes=2 * 10**9), "cores, memory", "note", "2.0 GB", None),
    "no unicode": (Fake(encoding="ascii"), "text encoding", "note", "ascii", "export PYTHONUTF8=1"),
}
CORE_LINES = {"Python", "numpy", "opensim", "onnxruntime", "video decoding", "small packages"}


@pytest.mark.parametrize("name", LANDMINES)
def test_landmines(name, monkeypatch) -> None:
    machine, line, status, words, fix = LANDMINES[name]
    check = found(machine, line)
    assert check.status == status
    assert words in check.found
    if fix is not None:
        assert check.fix == fix
    result = leave(monkeypatch, machine)
    broken_core = line in CORE_LINES
    assert check.core == broken_core
    assert result.exit_code == (3 if broken_core else 0)
    if check.fix:
        assert f"fix: {check.fix}" in result.stdout
    told = json.loads(leave(monkeypatch, machine, "--json").stdout)
    assert told["ok"] is not broken_core
    assert {c["name"]: c["status"] for c in told["checks"]}[line] == status


def test_two_cv2_but_not_headless_still_decodes() -> None:
    versions = {**without("opencv-python-headless"), "opencv-python": "4.14.0"}
    assert found(Fake(versions), "video decoding").status == "ok"


def test_a_gpu_is_named() -> None:
    machine = Fake(outcomes={"torch": Outcome(0, '{"cuda": "13.0", "gpus": ["NVIDIA H200"]}')})
    assert found(machine, "torch") == Check(
        "torch", "ok", "2.13.0+cpu, GPU: NVIDIA H200", None, "PyTorch models, training"
    )


def test_a_sound_torchvision_is_no_clash() -> None:
    assert found(Fake({**HEALTHY, "torchvision": "0.28.0"}), "known clashes").status == "ok"


def test_the_order_of_lines_is_fixed() -> None:
    names = [[check.name for check in examine(Fake())] for _ in range(3)]
    assert names[0] == names[1] == names[2]
    assert names[0][0] == "Python"


def test_marks_have_a_plain_form() -> None:
    checks = [
        Check("a", "ok", "1"),
        Check("b", "missing", "x", "do", core=True),
        Check("c", "missing", "x"),
        Check("d", "note", "x"),
    ]
    plain = show(checks, unicode=False)
    assert "\x1b[32mok\x1b[0m a" in plain and plain.replace("\x1b", "").isascii()
    assert next(line for line in show(checks, unicode=True).splitlines() if "✗" in line).endswith("b  x")
    assert not core_is_sound(checks) and core_is_sound(checks[2:])


@pytest.mark.parametrize(
    ("version", "requirement", "good"),
    [
        ("4.6", "opensim>=4.6,<4.7", True),
        ("4.7", "opensim>=4.6,<4.7", False),
        ("4.10.0.84", "opencv-python-headless>=4.10,<6", True),
        ("4.9.0", "opencv-python-headless>=4.10,<6", False),
        ("2.13.0+cu130", "torch>=2.6,<3", True),
        ("3.0.0", "torch>=2.6,<3", False),
        ("1.13", "scipy>=1.13", True),
    ],
)
def test_ranges(version, requirement, good) -> None:
    assert within(version, requirement) is good


def test_release_stops_at_words() -> None:
    assert release("2.0.0.dev1") == (2, 0, 0)
    assert release("garbage") == ()


def test_the_ranges_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {package.requirement for package in CORE} | set(SMALL)
    assert known == set(project["dependencies"])
    extras = {spec for specs in project["optional-dependencies"].values() for spec in specs}
    assert {spec for spec, _ in OPTIONAL} <= extras
    wanted = next(spec for spec in extras if spec.startswith("torch>"))
    assert TORCH in (ROOT / "constraints.txt").read_text().split()
    assert within(TORCH.removeprefix("torch=="), wanted)


# --- the real machine ---------------------------------------------------------------------------


def test_a_real_run() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == (0 if told["ok"] else 3)
    by_name = {check["name"]: check for check in told["checks"]}
    assert by_name["Python"]["found"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("numpy", "scipy", "pandas", "opensim", "onnxruntime", "video decoding"):
        assert by_name[name]["status"] == "ok", by_name[name]


def test_real_children(tmp_path, monkeypatch) -> None:
    machine = Machine()
    assert machine.run("import os; os.kill(os.getpid(), 11)").why == "crashes (SIGSEGV)"
    assert machine.run("print('{\"a\": 1}')").value == {"a": 1}
    assert machine.run("raise SystemExit('no such luck')").why == "no such luck"
    assert machine.run("pass").value == {}
    assert machine.run("", python=str(tmp_path / "none")).code == 127
    monkeypatch.setattr(capbench.machine, "PATIENCE", 0.2)
    assert machine.run("import time; time.sleep(60)").why == "does not answer"


def test_the_worker_is_looked_for_where_the_variable_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CAPBENCH_MMPOSE_PYTHON", sys.executable)
    assert Machine().worker_candidates() == [sys.executable]
    monkeypatch.setenv("CAPBENCH_MMPOSE_PYTHON", str(tmp_path / "none"))
    assert Machine().worker_candidates() == []
    monkeypatch.delenv("CAPBENCH_MMPOSE_PYTHON")
    monkeypatch.chdir(tmp_path)
    place = tmp_path / ".venv-mmpose" / "bin"
    place.mkdir(parents=True)
    (place / "python").touch()
    assert Machine().worker_candidates()[0] == str(place / "python")
