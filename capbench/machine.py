"""The real machine, as :mod:`capbench.doctor` sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from capbench.doctor import WORKER_VARIABLE, Outcome

PATIENCE = 60  #: seconds a child may take; a cold disk can make a first import slow


class Machine:
    """The :class:`capbench.doctor.Environment` that this process runs in."""

    def __init__(self) -> None:
        self.variables: Mapping[str, str] = os.environ
        self.python = _short(sys.executable)
        self.python_version = sys.version_info[0], sys.version_info[1], sys.version_info[2]
        self.encoding = sys.stdout.encoding or "unknown"

    def version(self, distribution: str) -> str | None:
        """The installed version of a distribution, or None."""
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return None

    def run(self, code: str, *, python: str | None = None) -> Outcome:
        """Run Python code in a child process in an empty folder."""
        with tempfile.TemporaryDirectory(prefix="capbench-") as folder:
            try:
                ended = subprocess.run(
                    [python or sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    cwd=folder,
                    timeout=PATIENCE,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Outcome(None)
            except OSError as error:
                return Outcome(127, "", error.strerror or str(error))
        out, err = (stream.decode("utf-8", "replace") for stream in (ended.stdout, ended.stderr))
        return Outcome(ended.returncode, out, err)

    def worker_candidates(self) -> Sequence[str]:
        """The Python that the variable names, or those at the usual places, as far as they exist."""
        named = self.variables.get(WORKER_VARIABLE)
        usual = (
            Path.cwd() / ".venv-mmpose" / "bin" / "python",
            Path("~/.cache/capbench/mmpose/bin/python").expanduser(),
        )
        return [str(path) for path in ((Path(named),) if named else usual) if path.is_file()]

    def free_bytes(self) -> Mapping[str, int]:
        """Free bytes here and where temporary files go; one line where both are the same disk."""
        folders = {Path.cwd().stat().st_dev: Path.cwd()}
        temporary = Path(tempfile.gettempdir())
        folders.setdefault(temporary.stat().st_dev, temporary)
        return {str(folder): shutil.disk_usage(folder).free for folder in folders.values()}

    def cores(self) -> float:
        """Cores this process may use: by affinity, and by the control group's share."""
        available = getattr(os, "sched_getaffinity", None)
        cores = float(len(available(0)) if available else os.cpu_count() or 1)
        quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit() and int(period) > 0:
            cores = min(cores, int(quota) / int(period))
        return cores

    def memory(self) -> int | None:
        """Bytes: what the machine has, or what the control group allows where that is less."""
        try:
            limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
        except (ValueError, OSError):
            limits = []
        for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            if (said := _read(file)).isdigit():
                limits.append(int(said))
        return min(limits, default=None)


def _read(file: str) -> str:
    try:
        return Path(file).read_text("ascii").strip()
    except OSError:
        return ""


def _short(python: str) -> str:
    """The path of a Python, relative where it lies below the current folder."""
    path = Path(python)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else python
