"""The script that makes the bundled walk, for its closed-form kinematics."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_demo.py"


@pytest.fixture(scope="session")
def make_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_demo", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_demo"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
