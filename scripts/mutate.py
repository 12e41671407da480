"""Break the metrics library on purpose and see whether its tests notice.

    python scripts/mutate.py                       # 320 mutants over metrics/, seed 1
    python scripts/mutate.py --module inference    # one module
    python scripts/mutate.py --mutants 1000 --seed 7

A mutant is one small change to one module: another comparison, sign, constant, axis, branch or function.
It is killed when a test that imports the module fails, or runs over its time. Nothing on disk is changed:
each mutant lives in a child process, whose importer is handed the changed source. Survivors are printed as
a diff; each is either equivalent to the original or a hole in the tests. Texts (docstrings, messages, what a
card says in words) and type annotations are not changed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "metrics"
#: what a card says in words, and what it holds for people: not numbers that a test could miss
CARD_TEXT = {"unit", "direction", "definition", "reference", "needs", "merge", "version", "part"}
COMPARE = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
BINARY = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
SWAPPED = [
    ("min", "max"),
    ("minimum", "maximum"),
    ("nanmin", "nanmax"),
    ("argmin", "argmax"),
    ("any", "all"),
    ("floor", "ceil"),
    ("sin", "cos"),
    ("mean", "sum"),
    ("std", "var"),
    ("cumsum", "asarray"),
    ("sqrt", "asarray"),
    ("abs", "asarray"),
]
SWAP = dict(SWAPPED) | {b: a for a, b in SWAPPED if b != "asarray"}


@dataclass(frozen=True)
class Mutant:
    """One change: which module, where (a number among the module's nodes), which of its changes."""

    module: str
    node: int
    change: int


def changes(node: ast.AST) -> list[ast.AST]:
    """Every way to change this one node."""
    if isinstance(node, ast.Compare):
        return [
            _with(node, ops=[*node.ops[:k], other(), *node.ops[k + 1 :]])
            for k, op in enumerate(node.ops)
            for other in COMPARE[type(op)]
        ]
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return [_with(node, op=other()) for other in BINARY.get(type(node.op), ())]
    if isinstance(node, ast.BoolOp):
        return [_with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())]
    if isinstance(node, ast.UnaryOp):
        return [copy.deepcopy(node.operand)]
    if isinstance(node, ast.If | ast.While):
        return [_with(node, test=ast.UnaryOp(ast.Not(), copy.deepcopy(node.test)))]
    if isinstance(node, ast.IfExp):
        return [_with(node, body=copy.deepcopy(node.orelse), orelse=copy.deepcopy(node.body))]
    if isinstance(node, ast.Constant):
        return _other_constants(node)
    if isinstance(node, ast.Call):
        return _other_calls(node)
    return []


def _other_constants(node: ast.Constant) -> list[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        return [ast.Constant(not value)]
    if isinstance(value, int):
        return [ast.Constant(value + 1), *([ast.Constant(value - 1)] if value else [])]
    if isinstance(value, float):
        return [ast.Constant(value * 1.5 if value else 1.0)]
    return []


def _other_calls(node: ast.Call) -> list[ast.AST]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    other = SWAP.get(name)
    if other is None:
        return []
    if isinstance(function, ast.Attribute):
        if other == "asarray" and getattr(function.value, "id", "") != "np":
            return []
        return [_with(node, func=_with(function, attr=other))]
    return [_with(node, func=ast.Name("float" if other == "asarray" else other, ast.Load()))]


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


class Places(ast.NodeTransformer):
    """Walks the nodes that may change, in order; changes the one asked for."""

    def __init__(self, target: int = -1, change: int = 0) -> None:
        self.count = 0
        self.choices: list[int] = []
        self.target, self.change = target, change

    def visit(self, node: ast.AST) -> ast.AST:
        """Number the node, and change it if it is the one."""
        if _is_text(node):
            return node
        possible = changes(node)
        self.choices.append(len(possible))
        mine = self.count
        self.count += 1
        self._visit_inside(node)
        if mine == self.target:
            return ast.copy_location(changes(node)[self.change], node)
        return node

    def _visit_inside(self, node: ast.AST) -> None:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "type_params"):
                continue
            if isinstance(value, list):
                value[:] = [self.visit(v) if isinstance(v, ast.AST) else v for v in value]
            elif isinstance(value, ast.AST):
                setattr(node, field, self.visit(value))


def _is_text(node: ast.AST) -> bool:
    """Whether a node only speaks to people, or to the type checker."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.keyword) and node.arg in CARD_TEXT:
        return True
    if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") in ("Literal", "NDArray", "tuple"):
        return True
    # @dataclass(frozen=True) and the like
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dataclass"


@cache
def source_of(module: str) -> str:
    """A module's source as it stood when first asked for: a long run is not disturbed by somebody's edits."""
    return (ROOT / PACKAGE / f"{module}.py").read_text(encoding="utf-8")


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of a module."""
    places = Places()
    places.visit(ast.parse(source_of(module)))
    return [Mutant(module, node, k) for node, count in enumerate(places.choices) for k in range(count)]


def mutated(mutant: Mutant) -> str:
    """A module's source with the one change, formatted as ``ast`` prints it."""
    tree = Places(mutant.node, mutant.change).visit(ast.parse(source_of(mutant.module)))
    return ast.unparse(ast.fix_missing_locations(tree))


def difference(mutant: Mutant) -> str:
    """The change as a diff without context, with the line in the file as it stands."""
    before = ast.unparse(ast.parse(source_of(mutant.module))).splitlines()
    lines = difflib.unified_diff(before, mutated(mutant).splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def tests_of(module: str) -> list[str]:
    """The test files that import a module; the one named after it first."""
    wanted = re.compile(rf"\b{PACKAGE}\.{module}\b|from {PACKAGE} import .*\b{module}\b")
    files = [
        path
        for path in sorted((ROOT / "tests" / PACKAGE).glob("test_*.py"))
        if wanted.search(path.read_text(encoding="utf-8")) and path.stem != "test_catalogue"
    ]
    if module == "catalogue":
        files = [ROOT / "tests" / PACKAGE / "test_catalogue.py"]
    files.sort(key=lambda path: (not path.stem.startswith(f"test_{module}"), path.stem))
    return [str(path) for path in files]


class Overlay(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hands one module its changed source."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of the one module, and of no other."""
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=f"mutant of {name}")

    def exec_module(self, module: object) -> None:
        """Run the changed source."""
        exec(compile(self.source, f"<mutant of {self.name}>", "exec"), module.__dict__)


def run_tests(module: str, source: str | None) -> int:
    """In a child: pytest's exit code with the module's source changed (None: as it stands)."""
    import pytest

    if source is not None:
        sys.meta_path.insert(0, Overlay(f"{PACKAGE}.{module}", source))
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests_of(module)]))


def start(module: str, source: str | None) -> int:
    """Fork a child that runs the tests of a module; its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        code = run_tests(module, source)
    finally:
        os._exit(code)


def finish(running: dict[int, tuple[Mutant | str, float]], limit: float) -> tuple[Mutant | str, str]:
    """Wait for a child to end, or for its time to be over: what it ran, and how it ended."""
    while True:
        for child, (what, began) in running.items():
            ended, status = os.waitpid(child, os.WNOHANG)
            late = time.monotonic() - began > limit
            if late and not ended:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if ended or late:
                del running[child]
                code = "late" if late and not ended else str(os.waitstatus_to_exitcode(status))
                return what, code
        time.sleep(0.01)


def run_all(jobs: list[Mutant | str], width: int, limit: float) -> Iterator[tuple[Mutant | str, str]]:
    """Run every job (a mutant, or a module's name for its source as it stands), ``width`` at a time."""
    running: dict[int, tuple[Mutant | str, float]] = {}
    waiting = list(reversed(jobs))
    try:
        while waiting or running:
            while waiting and len(running) < width:
                job = waiting.pop()
                module, source = (job, None) if isinstance(job, str) else (job.module, mutated(job))
                running[start(module, source)] = (job, time.monotonic())
            yield finish(running, limit)
    finally:
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)


def choose(modules: list[str], count: int, seed: int) -> list[Mutant]:
    """``count`` mutants, every one of all modules as likely as any other."""
    everything = [mutant for module in modules for mutant in mutants_of(module)]
    print(f"{len(everything)} mutants of {len(modules)} modules are possible")
    chosen = random.Random(seed).sample(everything, min(count, len(everything)))
    return sorted(chosen, key=lambda m: (m.module, m.node, m.change))


def preload() -> None:
    """Load what is slow before forking, but none of what is mutated."""
    for name in ("numpy", "scipy.stats", "scipy.optimize", "scipy.signal", "scipy.spatial", "pytest"):
        importlib.import_module(name)


def main() -> int:
    """Choose mutants, run them, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--module", action="append", help="only this module of metrics/ (may be repeated)")
    parser.add_argument("--mutants", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=float, default=90.0, help="seconds a mutant's tests may take")
    options = parser.parse_args()
    found = sorted(p.stem for p in (ROOT / PACKAGE).glob("*.py") if p.stem != "__init__")
    modules = options.module or [m for m in found if m != "__main__"]
    if unknown := sorted(set(modules) - set(found)):
        parser.error(f"no module {', '.join(unknown)} in {PACKAGE}/; there are {', '.join(found)}")
    os.chdir(ROOT)
    preload()
    sick = [m for m, code in run_all(list(modules), options.jobs, 10 * options.limit) if code != "0"]
    if sick:
        print(f"the tests of {', '.join(map(str, sick))} fail as they stand: nothing to measure")
        return 1
    chosen = choose(modules, options.mutants, options.seed)
    killed: Counter[str] = Counter()
    survived: list[Mutant] = []
    for done, (mutant, code) in enumerate(run_all(list(chosen), options.jobs, options.limit), 1):
        assert isinstance(mutant, Mutant)
        if code == "0":
            survived.append(mutant)
            print(f"\nsurvived: {mutant.module} node {mutant.node} change {mutant.change}")
            print(difference(mutant), flush=True)
        else:
            killed[mutant.module] += 1
        if sys.stderr.isatty():
            print(f"\r{done} of {len(chosen)}", end="", file=sys.stderr)
    report(chosen, killed)
    return 0


def report(chosen: list[Mutant], killed: Counter[str]) -> None:
    """How many were killed, by module."""
    total = Counter(mutant.module for mutant in chosen)
    print()
    for module in sorted(total):
        print(f"{module:14} {killed[module]:4} of {total[module]:4} killed")
    share = killed.total() / len(chosen)
    print(f"{'all':14} {killed.total():4} of {len(chosen):4} killed: {share:.1%}")


if __name__ == "__main__":
    sys.exit(main())
