"""The rooms of the design: who may import whom, and what must stay cheap to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: a room may import itself and the rooms before it; what else is in capbench is left to its own issues
ORDER = ("metrics", "cohorts", "capbench.biomech", "capbench.vision", "capbench.models", "synthpose")
#: modules of synthpose that train or export, and may need torch; whatever makes people and pictures may not
TRAINING = {
    "compiled",
    "export",
    "feeding",
    "looks",
    "losses",
    "onnx_export",
    "render_torch",
    "schedule",
    "train",
} | {
    "beside",
    "cells",
    "distill",
    "processes",
    "teacher",
    "training_state",
    "vitpose_export",
}
#: of these, the ones that only trainings import, so that torch may stand at their top
TORCH_AT_TOP = {"cells", "compiled", "distill", "looks", "losses", "teacher", "train", "training_state"}
HEAVY = {"torch", "opensim", "cv2", "matplotlib", "pandas", "transformers", "onnxruntime", "ezc3d", "pyarrow"}


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "capbench":  # from capbench import biomech
                found |= {f"capbench.{alias.name}" for alias in node.names}
            else:
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
                scores = room == "synthpose"  # a cohort card states what knowing nothing costs
                assert target != "metrics" or scores, f"{path} imports {module}: only the run scores"


def test_only_the_roof_reaches_up_to_synthpose() -> None:
    for path in (ROOT / "capbench").rglob("*.py"):
        if any(room_of(module) == "synthpose" for module in imports(path)):
            assert path.parent == ROOT / "capbench" / "cli", f"{path} imports synthpose"
            assert not {m for m in imports(path, top_only=True) if room_of(m) == "synthpose"}, path


def test_metrics_need_numpy_and_scipy_only() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "metrics"}
    for path in (ROOT / "metrics").rglob("*.py"):
        assert {m.split(".")[0] for m in imports(path)} <= allowed, path


@pytest.mark.parametrize("room", ["cohorts", "synthpose"])
def test_nothing_heavy_at_the_top_of_a_module(room) -> None:
    for path in (ROOT / room).rglob("*.py"):
        allowed = {"torch"} if room == "synthpose" and path.stem in TORCH_AT_TOP else set()
        assert not {m.split(".")[0] for m in imports(path, top_only=True)} & HEAVY - allowed, path


def test_people_are_made_without_torch_and_without_the_body_s_makers() -> None:
    for path in (ROOT / "synthpose").rglob("*.py"):
        found = {m.split(".")[0] for m in imports(path)}
        assert "anny" not in found, path
        assert "torch" not in found or path.stem in TRAINING, path


LIGHT = (
    "capbench",
    "cohorts",
    "capbench.cli.main",
    "capbench.cli.synthpose",
    "synthpose.clinic",
    "synthpose.shards",
)


@pytest.mark.parametrize(
    "module", [*LIGHT, "synthpose.train_recipe", "synthpose.overlay", "synthpose.export"]
)
def test_importing_loads_nothing_heavy(module) -> None:
    code = f"import sys, {module}; print([m for m in {sorted(HEAVY)!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
