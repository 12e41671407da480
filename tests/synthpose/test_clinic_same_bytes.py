"""A cohort's frames, motions and markers are the same bytes with any number of processes and threads."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
from cohorts.card import builtin_card
from synthpose import clinic

recipe = {
    "seed": 5,
    "people": {"child": 1, "elder": 1},
    "trials": [{"condition": "gait", "seconds": 0.6}],
    "cameras": ["Cam1"],
    "size": [90, 160],
    "rate": 10,
    "static": 0.1,
}
if __name__ == "__main__":
    card = builtin_card("clinic-mini").model_copy(update={"recipe": recipe})
    clinic.make(card, Path(sys.argv[1]), workers=int(sys.argv[2]))
"""
KINDS = (".json", ".mot", ".trc", ".toml", ".osim", ".yaml")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def start(folder: Path, *, workers: int, threads: int) -> subprocess.Popen[bytes]:
    script = folder / "make.py"
    script.parent.mkdir()
    script.write_text(CODE)
    env = os.environ | dict.fromkeys(THREADS, str(threads)) | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(script), str(folder / "made"), str(workers)], env=env)


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in sorted((folder / "made").rglob("*")) if p.suffix in KINDS]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_processes_and_threads_change_no_byte(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for running in (start(one, workers=1, threads=1), start(two, workers=2, threads=2)):
        assert running.wait(timeout=120) == 0
    first = digests(one)
    assert {Path(p).suffix for p in first} == set(KINDS)
    assert sum(p.endswith(".mot") for p in first) == 4
    assert digests(two) == first
