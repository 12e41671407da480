"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

# as in the workers of a run, and before numpy is imported: with more threads, sums differ in their last digit
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it are skipped where it is not at hand."""
    folder = Path(os.environ.get("CAPBENCH_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder} (set CAPBENCH_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One made person who stands and twice takes a step before Cam1 and Cam3; never to be changed."""
    from spoiling import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny") / "cohort")
