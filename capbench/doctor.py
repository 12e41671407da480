"""What this machine has, lacks or has wrong, each with the one command that mends it.

Every check is a function of an :class:`Environment`, so that tests can play any machine. Packages are
imported in child processes: a native crash or a hang there is a finding here.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Status = Literal["ok", "missing", "broken", "note"]
GB = 10**9


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes
    ----------
    name : what was looked at
    status : "ok", "missing", "broken", or "note" (works, but worth knowing)
    found : what was found, in words
    fix : the one command that mends it, or None
    needed_for : what can't be done without it
    core : whether capbench is of no use without it
    """

    name: str
    status: Status
    found: str
    fix: str | None = None
    needed_for: str = ""
    core: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a child process ended: exit code (negative: signal; None: timed out) and what it said."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def value(self) -> Mapping[str, Any]:
        """The JSON object on the last line of its output; empty where there is none."""
        try:
            found = json.loads(self.out.strip().splitlines()[-1])
        except (IndexError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def why(self) -> str:
        """Why it failed, in words."""
        if self.code is None:
            return "does not answer"
        if self.code < 0:
            return f"crashes ({signal.Signals(-self.code).name})"
        lines = self.err.strip().splitlines()
        return lines[-1][:200] if lines else f"leaves with exit code {self.code}"


class Environment(Protocol):
    """The machine as the checks see it.

    Attributes
    ----------
    variables : environment variables
    python : the command that runs this very Python
    python_version : (major, minor, micro)
    encoding : of the standard output
    """

    variables: Mapping[str, str]
    python: str
    python_version: tuple[int, int, int]
    encoding: str

    def version(self, distribution: str) -> str | None:
        """The installed version of a distribution, or None."""

    def run(self, code: str, *, python: str | None = None) -> Outcome:
        """Run Python code in a child process (of another Python, where given) in an empty folder."""

    def worker_candidates(self) -> Sequence[str]:
        """Pythons at the places where the mmpose worker is looked for, those that exist, best first."""

    def free_bytes(self) -> Mapping[str, int]:
        """Folders written to -> free bytes."""

    def cores(self) -> float:
        """How many processor cores this process may use."""

    def memory(self) -> int | None:
        """How many bytes of memory this process may use, or None where that is unknown."""


def examine(env: Environment) -> list[Check]:
    """All checks, run at the same time, in a fixed order."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [check for found in pool.map(lambda check: check(env), CHECKS) for check in found]


def core_is_sound(checks: Sequence[Check]) -> bool:
    """Whether no core check is missing or broken."""
    return not any(c.core and c.status in ("missing", "broken") for c in checks)


# --- versions -----------------------------------------------------------------------------------


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version.

    >>> release("2.13.0+cpu"), release("5.0.0rc1")
    ((2, 13, 0), (5, 0, 0))
    """
    numbers = []
    for part in version.partition("+")[0].split("."):
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def within(version: str, requirement: str) -> bool:
    """Whether a version satisfies ``name>=a,<b``.

    >>> within("2.4.6", "numpy>=2.1,<3"), within("1.26.4", "numpy>=2.1,<3")
    (True, False)
    """
    have = release(version)
    for bound in filter(None, requirement[len(name_of(requirement)) :].split(",")):
        if bound.startswith(">=") and have < release(bound[2:]):
            return False
        if not bound.startswith(">=") and have >= release(bound[1:]):
            return False
    return True


def name_of(requirement: str) -> str:
    """The distribution in ``name>=a,<b``."""
    return requirement.partition(">")[0].partition("<")[0]


def _pip(env: Environment, *words: str) -> str:
    return shlex.join([env.python, "-m", "pip", *words])


# --- the core -----------------------------------------------------------------------------------

PYTHON = ((3, 11), (3, 14))
_OPENSIM = """
import opensim
opensim.Logger.removeFileSink()
opensim.Model().initSystem()
"""
_ONNX = """
import json, onnxruntime
print(json.dumps({"extra": ", ".join(onnxruntime.get_available_providers())}))
"""
_VIDEO = """
import json, cv2, numpy
writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
for k in range(8):
    writer.write(numpy.full((48, 64, 3), 20 * k + 10, numpy.uint8))
writer.release()
clip, seen = cv2.VideoCapture("clip.mp4"), []
while True:
    good, picture = clip.read()
    if not good:
        break
    seen.append(float(picture.mean()))
if len(seen) != 8 or max(abs(g - 20 * k - 10) for k, g in enumerate(seen)) > 8:
    raise SystemExit(f"wrote 8 frames, decoded {len(seen)}")
print(json.dumps({"extra": "wrote and decoded a clip"}))
"""


@dataclass(frozen=True)
class Package:
    """A package of the core: what pip calls it and its range, code that tries it, what it is for."""

    requirement: str
    code: str
    needed_for: str
    title: str = ""


CORE = (
    Package("numpy>=2.1,<3", "import numpy", "everything"),
    Package("scipy>=1.13", "import scipy", "metrics"),
    Package("pandas>=2.2,<4", "import pandas", "tables"),
    Package("numba>=0.61", "import numba", "the fast inverse kinematics"),
    Package("opensim>=4.6,<4.7", _OPENSIM, "scaling and inverse kinematics"),
    Package("onnxruntime>=1.20", _ONNX, "the built-in pose model"),
    Package("opencv-python-headless>=4.10,<6", _VIDEO, "reading videos", "video decoding"),
)
#: pure Python or nearly: their versions are enough
SMALL = ("click>=8.1", "matplotlib>=3.9", "pydantic>=2.7,<3", "pyyaml>=6.0")


def check_python(env: Environment) -> list[Check]:
    """Python is one that OpenSim has wheels for."""
    version = ".".join(map(str, env.python_version))
    if PYTHON[0] <= env.python_version[:2] < PYTHON[1]:
        return [Check("Python", "ok", version, core=True)]
    found = f"{version}; expected 3.11, 3.12 or 3.13, for which OpenSim has packages"
    fix = "python3.12 -m venv .venv && .venv/bin/pip install capbench"
    return [Check("Python", "broken", found, fix, "everything", core=True)]


def check_package(package: Package) -> Callable[[Environment], list[Check]]:
    """The check of one core package."""

    def check(env: Environment) -> list[Check]:
        name = name_of(package.requirement)
        installed = env.version(name)
        if installed is None and package.title:  # another package may provide the same module
            installed = next(filter(None, map(env.version, CV2_PROVIDERS)), None)
        status: Status = "ok"
        fix: str | None = _pip(env, "install", package.requirement)
        if installed is None:
            status, found = "missing", "not installed"
        elif not within(installed, package.requirement):
            status, found = "broken", f"{installed}; expected {package.requirement}"
        else:
            outcome = env.run(package.code)
            if outcome.code == 0:
                fix, extra = None, outcome.value.get("extra")
                found = f"{installed} ({extra})" if extra else installed
            else:
                status, found = "broken", f"{installed} is installed, but {outcome.why}"
                fix = _pip(env, "install", "--force-reinstall", "--no-deps", package.requirement)
        return [Check(package.title or name, status, found, fix, package.needed_for, core=True)]

    return check


def check_small(env: Environment) -> list[Check]:
    """The small packages of the core, on one line."""
    installed = {spec: env.version(name_of(spec)) for spec in SMALL}
    wrong = [spec for spec, version in installed.items() if version is None or not within(version, spec)]
    found = ", ".join(f"{name_of(spec)} {version or 'missing'}" for spec, version in installed.items())
    fix = _pip(env, "install", *wrong) if wrong else None
    return [Check("small packages", "broken" if wrong else "ok", found, fix, "everything", core=True)]


# --- optional -----------------------------------------------------------------------------------

_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"cuda": torch.version.cuda, "gpus": names}))
"""
TORCH = "torch==2.13.0"  # the one that is tested; a range would take the newest, with gigabytes of CUDA


def check_torch(env: Environment) -> list[Check]:
    """PyTorch, whether it is safe, and whether it sees a GPU."""
    needed_for = "PyTorch models, training"
    installed = env.version("torch")
    install = _pip(env, "install", TORCH)
    if installed is None:
        return [Check("torch", "missing", "not installed (optional)", install, needed_for)]
    if release(installed) < (2, 6):
        found = f"{installed}; before 2.6 a checkpoint can run code even when loaded safely (CVE-2025-32434)"
        return [Check("torch", "broken", found, install, needed_for)]
    outcome = env.run(_TORCH)
    if outcome.code != 0:
        fix = _pip(env, "install", "--force-reinstall", TORCH)
        found = f"{installed} is installed, but {outcome.why}"
        return [Check("torch", "broken", found, fix, needed_for)]
    gpus = [str(gpu) for gpu in outcome.value.get("gpus", ())]
    if gpus:
        many = f"{len(gpus)} GPUs" if len(gpus) > 1 else "GPU"
        return [Check("torch", "ok", f"{installed}, {many}: {', '.join(gpus)}", None, needed_for)]
    if outcome.value.get("cuda"):
        found = f"{installed}, built for CUDA but sees no GPU: runs on the CPU"
        return [Check("torch", "note", found, None, needed_for)]
    return [Check("torch", "ok", f"{installed}, on the CPU (sees no GPU)", None, needed_for)]


#: requirement, what it is for
OPTIONAL = (
    ("transformers>=4.48,<6", "Hugging Face models"),
    ("pyarrow>=17", "Parquet files"),
    ("ezc3d>=1.5.17", "C3D files"),
    ("pycocotools>=2.0.8", "COCO average precision"),
)
_MEDIAPIPE_OK = "0.10.14"
_MEDIAPIPE = (
    "install",
    "--no-deps",
    f"mediapipe=={_MEDIAPIPE_OK}",
    "absl-py",
    "attrs",
    "flatbuffers",
    "protobuf>=4.25.3,<5",
)


def check_optional(env: Environment) -> list[Check]:
    """Packages that only some tasks need, one line each."""
    checks = []
    for spec, needed_for in OPTIONAL:
        name, version = name_of(spec), env.version(name_of(spec))
        fix = _pip(env, "install", spec)
        if version is None:
            checks.append(Check(name, "missing", "not installed (optional)", fix, needed_for))
        elif not within(version, spec):
            checks.append(Check(name, "broken", f"{version}; expected {spec}", fix, needed_for))
        else:
            checks.append(Check(name, "ok", version, None, needed_for))
    return checks


def check_mediapipe(env: Environment) -> list[Check]:
    """Mediapipe in the one version that holds a model and lives beside numpy 2."""
    version, needed_for = env.version("mediapipe"), "the mediapipe baseline"
    fix = _pip(env, *_MEDIAPIPE)
    if version is None:
        return [Check("mediapipe", "missing", "not installed (optional)", fix, needed_for)]
    if version != _MEDIAPIPE_OK:
        why = "needs numpy 1" if release(version) < (0, 10, 30) else "holds no pose model"
        return [Check("mediapipe", "note", f"{version} {why}; expected {_MEDIAPIPE_OK}", fix, needed_for)]
    return [Check("mediapipe", "ok", version, None, needed_for)]


WORKER_VARIABLE = "CAPBENCH_MMPOSE_PYTHON"
_WORKER = """
import importlib.metadata as m, importlib.util as u, json
names = ("mmpose", "mmengine", "mmcv-lite", "mmcv", "mmdet", "setuptools")
found = {}
for name in names:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps({"versions": found, "pkg_resources": u.find_spec("pkg_resources") is not None}))
"""


def check_worker(env: Environment) -> list[Check]:
    """The environment that MMPose runs in, beside this one."""
    needed_for = "running MMPose itself"
    candidates = env.worker_candidates()
    make = (
        "python3 -m venv .venv-mmpose && .venv-mmpose/bin/pip install torch==2.13.0 && "
        ".venv-mmpose/bin/pip install --no-deps -r requirements/mmpose.txt"
    )
    if not candidates:
        named = env.variables.get(WORKER_VARIABLE)
        found = f"no Python at {named} ({WORKER_VARIABLE})" if named else "not set up (optional)"
        return [Check("mmpose worker", "broken" if named else "missing", found, make, needed_for)]
    python = candidates[0]
    outcome = env.run(_WORKER, python=python)
    status, found, fix = _judge_worker(outcome, shlex.quote(python))
    return [Check("mmpose worker", status, f"{found} [{python}]", fix, needed_for)]


def _judge_worker(outcome: Outcome, python: str) -> tuple[Status, str, str | None]:
    if outcome.code != 0:
        return "broken", f"its Python {outcome.why}", None
    versions: Mapping[str, str] = outcome.value.get("versions", {})
    missing = [name for name in ("mmpose", "mmengine", "mmdet") if name not in versions]
    mmcv = versions.get("mmcv-lite") or versions.get("mmcv")
    missing += [] if mmcv else ["mmcv-lite"]
    if missing:
        fix = f"{python} -m pip install --no-deps -r requirements/mmpose.txt"
        return "broken", f"lacks {', '.join(missing)}", fix
    if not release(mmcv or "") < (2, 2):
        found = f"mmcv {mmcv}, which mmdet {versions['mmdet']} refuses (expected below 2.2)"
        return "broken", found, f"{python} -m pip install --no-deps mmcv-lite==2.1.0"
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "setuptools")
    if not outcome.value.get("pkg_resources"):
        found = f"{listed}; setuptools {versions.get('setuptools', 'missing')} has no pkg_resources"
        return "note", f"{found}, which mmengine imports", f"{python} -m pip install 'setuptools<82'"
    return "ok", listed, None


# --- known clashes ------------------------------------------------------------------------------

CV2_PROVIDERS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def broken_torchvision(env: Environment) -> Check | None:
    """A torchvision that does not fit its torch fails to import, and takes transformers' models with it."""
    installed = env.version("torchvision")
    if installed is None:
        return None
    outcome = env.run("import torchvision")
    if outcome.code == 0:
        return None
    found = f"{installed} is installed, but {outcome.why}; transformers' pose models then fail too"
    return Check("torchvision", "broken", found, _pip(env, "uninstall", "-y", "torchvision"), "nothing here")


def two_opencvs(env: Environment) -> Check | None:
    """All builds of OpenCV write the same folder cv2/: the last one installed wins, in part."""
    there = [name for name in CV2_PROVIDERS if env.version(name) is not None]
    if len(there) < 2:
        return None
    reinstall = ("install", "--force-reinstall", "--no-deps", "opencv-python-headless>=4.10,<6")
    fix = f"{_pip(env, 'uninstall', '-y', *there)} && {_pip(env, *reinstall)}"
    return Check("opencv", "broken", f"{' and '.join(there)} share one folder cv2", fix, "reading videos")


def mediapipe_protobuf(env: Environment) -> Check | None:
    """Mediapipe 0.10.14 needs protobuf 4; onnx from 1.23 on needs protobuf 6."""
    protobuf, onnx = env.version("protobuf"), env.version("onnx")
    if env.version("mediapipe") != _MEDIAPIPE_OK or protobuf is None:
        return None
    new_onnx = onnx is not None and release(onnx) >= (1, 23)
    if release(protobuf) < (5,) and not new_onnx:
        return None
    found = f"protobuf {protobuf}; mediapipe {_MEDIAPIPE_OK} needs one below 5"
    specs = ["protobuf>=4.25.3,<5"]
    if new_onnx:
        found += f", and onnx {onnx} one from 6.31 on: they can't share"
        specs.insert(0, "onnx>=1.18,<1.23")
    return Check("protobuf", "broken", found, _pip(env, "install", *specs), "the mediapipe baseline")


def mmpose_here(env: Environment) -> Check | None:
    """MMPose in this very environment: its stand-ins for torchvision break transformers' models."""
    family = ("mmpose", "mmengine", "mmcv-lite", "mmcv", "mmdet", "mmpretrain", "chumpy", "xtcocotools")
    there = [name for name in family if env.version(name) is not None]
    if "mmpose" not in there:
        return None
    found = f"{', '.join(there)} in capbench's own environment; they belong in the worker's"
    return Check("mmpose", "broken", found, _pip(env, "uninstall", "-y", *there), "Hugging Face models")


CLASHES = (broken_torchvision, two_opencvs, mediapipe_protobuf, mmpose_here)


def check_clashes(env: Environment) -> list[Check]:
    """Packages known to break each other; one line where there are none."""
    found = [check for clash in CLASHES if (check := clash(env)) is not None]
    names = "torchvision, opencv, protobuf, mmpose"
    return found or [Check("known clashes", "ok", f"none (looked at {names})")]


# --- the machine --------------------------------------------------------------------------------


def check_machine(env: Environment) -> list[Check]:
    """Disk, cores, memory and text encoding; too little is a note."""
    checks = []
    for folder, free in env.free_bytes().items():
        low = free < 2 * GB
        fix = "export TMPDIR=/a/folder/with/room" if low else None
        checks.append(
            Check("disk", "note" if low else "ok", f"{free / GB:.1f} GB free in {folder}", fix, "results")
        )
    memory = env.memory()
    few = memory is not None and memory < 4 * GB
    words = "memory unknown" if memory is None else f"{memory / GB:.1f} GB of memory"
    found = f"{env.cores():g} cores, {words}" + (" (little: 4 GB are comfortable)" if few else "")
    checks.append(Check("cores, memory", "note" if few else "ok", found, None, "speed"))
    unicode = env.encoding.lower().replace("-", "") == "utf8"
    fix = None if unicode else "export PYTHONUTF8=1"
    checks.append(Check("text encoding", "ok" if unicode else "note", env.encoding, fix, "names as written"))
    return checks


CHECKS: tuple[Callable[[Environment], list[Check]], ...] = (
    check_python,
    *(check_package(package) for package in CORE),
    check_small,
    check_torch,
    check_optional,
    check_mediapipe,
    check_worker,
    check_clashes,
    check_machine,
)
