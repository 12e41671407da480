import sys

import pytest

from cohorts import CapbenchError, EnvironmentFault
from cohorts.formats import child


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a made-up child module over a small file."""
    (tmp_path / "input").write_bytes(b"x")
    monkeypatch.setattr(child, "CPU_SECONDS", 1)

    def go(body: str):
        # stand in for ``-m cohorts.formats.X``: an interpreter that ignores its arguments and runs ``body``
        script = tmp_path / "python"
        script.write_text(f"#!{sys.executable}\nimport sys\nIN, OUT = sys.argv[-2:]\n{body}\n")
        script.chmod(0o755)
        monkeypatch.setattr(child.sys, "executable", str(script))
        return child.run_child("any", tmp_path / "input", what="test")

    return go


def test_arrays_come_back(run) -> None:
    assert run("import numpy as np; np.savez(OUT, a=np.arange(3))")["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"crashes \(SIGSEGV\)"),
        ("while True: pass", "hangs"),
        ("x = bytearray(3 << 30)", "got: MemoryError"),
        ("raise ValueError('torn page')", "got: ValueError: torn page"),
        ("sys.stderr.write('too odd'); sys.exit(65)", "too odd"),
        ("sys.exit(0)", "Expected a readable file"),
    ],
)
def test_whatever_the_child_does_is_one_error(run, body, message) -> None:
    with pytest.raises(CapbenchError, match=message):
        run(body)


def test_a_missing_package_is_the_environment_s_fault(run) -> None:
    with pytest.raises(EnvironmentFault, match="install it"):
        run("sys.stderr.write('install it'); sys.exit(3)")
