"""The rooms of the design: who may import whom, and what must stay cheap to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: a room may import itself and the rooms before it; synthpose and the roof are left to their own issues
ORDER = ("metrics", "cohorts", "capbench.biomech", "capbench.vision", "capbench.models")
HEAVY = {"torch", "opensim", "cv2", "matplotlib", "pandas", "transformers", "onnxruntime", "ezc3d", "pyarrow"}


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def room_of(module: str) -> str | None:
    return next((room for room in ORDER if module == room or module.startswith(room + ".")), None)


@pytest.mark.parametrize("room", ORDER)
def test_rooms_import_only_rooms_above(room) -> None:
    folder = ROOT / room.replace(".", "/")
    for path in folder.rglob("*.py"):
        for module in imports(path):
            target = room_of(module)
            if target is None:
                assert not module.startswith(("capbench", "synthpose")), f"{path} imports {module}"
            elif target != room:
                assert ORDER.index(target) < ORDER.index(room), f"{path} imports {module}"
                assert target != "metrics", f"{path} imports {module}: only the run scores"


def test_metrics_need_numpy_and_scipy_only() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "metrics"}
    for path in (ROOT / "metrics").rglob("*.py"):
        assert {m.split(".")[0] for m in imports(path)} <= allowed, path


def test_nothing_heavy_at_the_top_of_a_cohorts_module() -> None:
    for path in (ROOT / "cohorts").rglob("*.py"):
        assert not {m.split(".")[0] for m in imports(path, top_only=True)} & HEAVY, path


@pytest.mark.parametrize("module", ["capbench", "cohorts", "capbench.cli.main"])
def test_importing_loads_nothing_heavy(module) -> None:
    code = f"import sys, {module}; print([m for m in {sorted(HEAVY)!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
