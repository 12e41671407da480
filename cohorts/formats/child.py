"""Native readers in a child process: a crash, a hang or a memory bomb there is an error here.

``python -m cohorts.formats.c3d_child IN OUT`` and its like read one file and leave an .npz of plain
arrays. The child may use so much processor time and memory and no more, and leaves no core file.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import MB, load_npz
from cohorts.errors import CapbenchError, EnvironmentFault

CPU_SECONDS = 2  #: for a small file, eight times what one needs; a hang burns it in as long
CPU_SECONDS_PER_MB = 20
MEMORY = 384 * MB  #: private memory for a small file, shared libraries not counted
MEMORY_PER_BYTE = 8
REFUSED = 65  #: exit status of a child that read on but would not have the file; its last line says why


def run_child(module: str, path: Path, *, what: str, memory: int = MEMORY) -> dict[str, NDArray[Any]]:
    """The arrays that ``cohorts.formats.<module>`` makes of ``path``; ``what`` names the format in errors.

    ``memory`` is in bytes, for a small file.
    """
    path = Path(path).resolve()
    with tempfile.TemporaryDirectory(prefix="capbench-") as folder:
        out = Path(folder) / "out.npz"
        ended = _run(module, path, out, what, memory)
        if ended.returncode == 0:
            return load_npz(out)
    raise _failure(ended, what, path)


def write_in_child(module: str, arrays: dict[str, Any], path: Path, *, what: str) -> None:
    """Have ``cohorts.formats.<module>`` write ``arrays`` to ``path``, an empty file that is there already."""
    path = Path(path).resolve()
    with tempfile.TemporaryDirectory(prefix="capbench-") as folder:
        source = Path(folder) / "in.npz"
        np.savez(source, **arrays)
        ended = _run(module, source, path, what, MEMORY)
    if ended.returncode != 0:
        raise _failure(ended, what, path)


def _run(
    module: str, source: Path, target: Path, what: str, memory: int
) -> subprocess.CompletedProcess[bytes]:
    """The ended child; its limits grow with the size of ``source``."""
    size = source.stat().st_size
    seconds = CPU_SECONDS + CPU_SECONDS_PER_MB * size // MB
    memory += MEMORY_PER_BYTE * size

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    root = str(Path(__file__).parent.parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    try:
        return subprocess.run(
            [sys.executable, "-P", "-m", f"cohorts.formats.{module}", str(source), str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            cwd=target.parent,
            timeout=60 + 3 * seconds,  # a busy machine may give the child little time
            preexec_fn=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CapbenchError(f"Expected a {what} file, got one that never ends.", file=source) from None


def _failure(ended: subprocess.CompletedProcess[bytes], what: str, path: Path) -> CapbenchError:
    said = (ended.stderr.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
    if ended.returncode == REFUSED:
        return CapbenchError(said, file=path)
    if ended.returncode == EnvironmentFault.exit_code:
        return EnvironmentFault(said)
    if ended.returncode < 0:
        cause = signal.Signals(-ended.returncode).name
        how = "hangs" if cause in ("SIGXCPU", "SIGKILL") else f"crashes ({cause})"
        return CapbenchError(f"Expected a sound {what} file, got one on which its reader {how}.", file=path)
    return CapbenchError(f"Expected a {what} file, got: {said[:300]}.", file=path)


def refuse(message: str) -> None:
    """In a child: leave with ``message`` as the parent's error."""
    sys.stderr.write(message.replace("\n", " ") + "\n")
    sys.exit(REFUSED)
