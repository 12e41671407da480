"""The Python environments of models that can't live in ours, built once and kept below the cache folder.

MMPose and MediaPipe ask for packages that fail beside ours, or make ours fail. Each gets an environment of
its own from a file of exact pins (``requirements/NAME.txt``), and runs in a worker.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cohorts.bounded import write_text
from cohorts.errors import CapbenchError, EnvironmentFault, unknown_name

STAMP = "capbench-environment"  #: written last; says what the environment was made from
_INSTALL_LIMIT = 3600.0  # seconds for one pip call: torch is 0.2 to 2 GB


@dataclass(frozen=True)
class Environment:
    """What is installed, in this order, and how to see that it works.

    Attributes
    ----------
    first : requirements that come with what they ask for
    needs : the module that must be importable afterwards
    """

    name: str
    first: tuple[str, ...]
    needs: str

    @property
    def variable(self) -> str:
        """The environment variable that names another Python for it."""
        return f"CAPBENCH_{self.name.upper()}_PYTHON"

    @property
    def command(self) -> str:
        """What a person types to have it."""
        return f"capbench models install {self.name}"


#: torch comes before the pins, so that any build of it (CPU, CUDA) may serve
ENVIRONMENTS: Mapping[str, Environment] = {
    "mmpose": Environment("mmpose", ("torch==2.13.0",), "torch"),
    "mediapipe": Environment("mediapipe", (), "mediapipe"),
}


def python_of(name: str, python: str | None = None, *, folder: Path | None = None) -> str:
    """The Python for ``name``: as given, else as its variable says, else the one built here."""
    environment = _known(name)
    chosen = python or os.environ.get(environment.variable)
    if chosen:
        return chosen
    built = _folder(folder) / name
    if not (built / STAMP).is_file():
        raise EnvironmentFault(
            f"{name} runs in a Python environment of its own, and there is none yet.",
            file=built,
            fix=f"{environment.command}, or name a Python that has it: --python or ${environment.variable}",
        )
    return str(_python_in(built))


def is_installed(name: str, *, folder: Path | None = None) -> bool:
    """Whether the environment is there and made from today's pins."""
    stamp = _folder(folder) / _known(name).name / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp(_known(name), sys.executable)


def install(
    name: str,
    *,
    folder: Path | None = None,
    told: Callable[[str], None] | None = None,
    python: str | None = None,
    fresh: bool = False,
) -> Path:
    """Build the environment ``name`` and give its Python; nothing happens where it is there already.

    Parameters
    ----------
    folder : where environments lie; default: ``environments`` in capbench's cache folder
    told : is told each step in words
    python : what the environment is made with; default: this Python
    fresh : build it again even so
    """
    environment, base = _known(name), python or sys.executable
    say = told or (lambda _: None)
    target = _folder(folder) / name
    stamp = _stamp(environment, base)
    if not fresh and (target / STAMP).is_file() and (target / STAMP).read_text(encoding="utf-8") == stamp:
        say(f"{name} is there already: {target}")
        return _python_in(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    except OSError as error:
        raise EnvironmentFault(f"Can't be made: {error.strerror}.", file=target.parent) from error
    try:
        _build(environment, base, made, say)
        write_text(made / STAMP, stamp)
        _replace(target, made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    say(f"{name} is ready: {target}")
    return _python_in(target)


def requirements(name: str) -> Path:
    """The file of pins, inside the installed package or beside the package's source."""
    inside = Path(__file__).parent.parent
    for folder in (inside / "requirements", inside.parent / "requirements"):
        path = folder / f"{_known(name).name}.txt"
        if path.is_file():
            return path
    raise EnvironmentFault(
        f"Expected the list of what {name} needs in this installation of capbench, found none.",
        file=inside,
        fix="install capbench again",
    )


# --- building -----------------------------------------------------------------------------------


def _build(environment: Environment, base: str, made: Path, say: Callable[[str], None]) -> None:
    say(f"making an environment with {base}")
    _run(
        [base, "-m", "venv", str(made)],
        "make an environment",
        fix="install Python's venv module (Debian, Ubuntu: apt-get install python3-venv)",
    )
    pip = [str(_python_in(made)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    fix = "see that this machine reaches a package index (pip config list), and try again"
    for requirement in environment.first:
        say(f"installing {requirement}")
        _run([*pip, requirement], f"install {requirement}", fix=fix)
    pins = requirements(environment.name)
    say(f"installing the {len(_pins(pins))} packages of {pins.name}")
    _run([*pip, "--no-deps", "-r", str(pins)], f"install {pins.name}", fix=fix)
    if environment.needs == "mediapipe":
        return  # it can't be imported without the worker's stand-in
    _run([str(_python_in(made)), "-c", f"import {environment.needs}"], f"import {environment.needs}", fix=fix)


def _run(command: list[str], what: str, *, fix: str) -> None:
    try:
        ended = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_INSTALL_LIMIT, check=False
        )
    except OSError as error:
        raise EnvironmentFault(f"Can't {what}: {command[0]}: {error.strerror}.", fix=fix) from error
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"Can't {what}: no end after {_INSTALL_LIMIT:.0f} s.", fix=fix) from None
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip().splitlines()
        said = [line for line in lines if "error" in line.lower()] or lines[-1:] or ["it says nothing"]
        raise EnvironmentFault(f"Can't {what}: {said[-1].strip()[:400]}", fix=fix)


def _replace(target: Path, made: Path) -> None:
    """Put ``made`` where ``target`` is; an older environment goes only once the new one is whole."""
    old = made.with_name(made.name + "-old")
    try:
        if target.exists():
            target.rename(old)
        made.rename(target)
    except OSError as error:
        raise EnvironmentFault(f"Can't be put in its place: {error.strerror}.", file=target) from error
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _pins(path: Path) -> list[str]:
    lines = [line.partition(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _stamp(environment: Environment, base: str) -> str:
    """What an environment is made from, as text that is equal when nothing of it has changed."""
    pins = "\n".join([*environment.first, *_pins(requirements(environment.name))])
    return f"{hashlib.sha256(pins.encode()).hexdigest()} {os.path.realpath(base)}\n"


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _folder(given: Path | None) -> Path:
    """Where environments lie: below the cache folder, which ``capbench.run.reference`` finds the same way."""
    if given is not None:
        return given
    if os.environ.get("CAPBENCH_CACHE"):
        return Path(os.environ["CAPBENCH_CACHE"]).expanduser() / "environments"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(xdg) if Path(xdg).is_absolute() else Path("~/.cache").expanduser()
    return home / "capbench" / "environments"


def _known(name: str) -> Environment:
    if name not in ENVIRONMENTS:
        error: CapbenchError = unknown_name("environment", name, ENVIRONMENTS)
        raise error
    return ENVIRONMENTS[name]
