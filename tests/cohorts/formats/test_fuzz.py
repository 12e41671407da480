"""A short seeded run of scripts/fuzz_formats.py; the long one is run by hand (see its help)."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "fuzz_formats.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_formats", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_formats"] = module  # the spawned workers import it by this name
    sys.path.insert(0, str(SCRIPT.parent))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules["fuzz_formats"]


def test_damaged_files_end_in_success_or_a_capbench_error(fuzz, capsys, tmp_path) -> None:
    counts = fuzz.run(inputs=420, seed=7, jobs=2, keep=tmp_path)
    failed = {name: n for (name, outcome), n in counts.items() if outcome == "FAILED"}
    assert failed == {}, capsys.readouterr().out
    assert sum(counts.values()) == 420
    assert sum(n for (_, outcome), n in counts.items() if outcome == "refused") > 100


def test_an_input_is_the_same_bytes_every_time(fuzz, tmp_path) -> None:
    (tmp_path / "a.trc").write_bytes(bytes(range(256)) * 4)
    made = []
    for run in "xy":
        (tmp_path / run).mkdir()
        _, path = fuzz.make_input([("trc", tmp_path / "a.trc")], 3, 14, tmp_path / run)
        made.append(path.read_bytes())
    assert made[0] == made[1] != (tmp_path / "a.trc").read_bytes()


def test_the_harness_sees_failures(fuzz, tmp_path, monkeypatch) -> None:
    """A reader that raises, hangs or dies must be counted: else all the rest proves nothing."""
    (tmp_path / "a.trc").write_text("x")
    worker = fuzz.Worker([("no-such-format", tmp_path / "a.trc")], seed=0)
    outcome, detail = worker.ask(1)  # odd rounds of one sample are told this format
    assert (outcome, "no-such-format" in detail) == ("refused", True)
    worker.process.kill()
    worker.process.join()
    with pytest.raises((BrokenPipeError, EOFError, OSError)):
        for _ in range(3):
            worker.pipe.send(2)
            worker.pipe.recv()
    assert fuzz.SECONDS == 5
    assert fuzz.MEGABYTES == 512


@pytest.mark.parametrize("seed", range(5))
def test_every_mutation_takes_any_bytes(fuzz, seed) -> None:
    for mutation in fuzz.MUTATIONS:
        for data in (b"", b"1", b"name 1 2\n", bytes(range(256))):
            assert isinstance(bytes(mutation(bytearray(data), np.random.default_rng(seed))), bytes)
