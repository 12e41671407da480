"""``capbench synthpose distill``: a phase with a teacher, from the command line to the model's card."""

import json

import pytest
import yaml
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from toy_recipes import tiny_file

from capbench.cli.main import cli
from capbench.cli.synthpose_card import START, TEACHER, run_folder, trained_card
from capbench.models.checkpoint import read_checkpoint
from cohorts.errors import CapbenchError
from cohorts.store import sha256
from synthpose.distill import FIRST
from synthpose.export import HONEST
from synthpose.train import load_trained

RECIPE = tiny_file(
    {
        "sparse": {"skeleton": "coco-17"},
        "wide": {"skeleton": "synthpose-52", "network": {"options": {"width": 20}}},
        "dense": {"skeleton": "synthpose-52", "start": "sparse", "samples": 40},
        "tall": {"skeleton": "synthpose-52", "network": {"input_size": [64, 96]}, "data": {"size": [64, 96]}},
    },
    log=1,
    samples=16,
)


def run(*words):
    """Exit code and output; an error's text where one was raised."""
    result = CliRunner().invoke(cli, ["synthpose", *map(str, words)], standalone_mode=False)
    if isinstance(result.exception, CapbenchError):
        return result.exception.exit_code, str(result.exception)
    if result.exception is not None:
        return 2, result.exception.format_message()
    return result.exit_code, result.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the recipe, its phases sparse and wide trained, and a cache of its own."""
    folder = tmp_path_factory.mktemp("distill")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPBENCH_CACHE", str(folder / "cache"))
        patch.setattr("synthpose.train.draw_curves", lambda log, target: None)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
        words = ("-o", folder / "run", "--phase", "sparse", "--phase", "wide", "--workers", 1, "-q")
        code, text = run("train", folder / "tiny.yaml", *words)
        assert code == 0, text
        yield folder


def command(home, *words):
    return ("distill", home / "tiny.yaml", "--workers", 1, "-q", *words)


def test_a_phase_learns_from_a_teacher_and_its_card_says_from_whom(home) -> None:
    teacher, out = home / "run" / "wide", home / "run"
    words = command(home, "--phase", "dense", "--teacher", teacher, "-o", out)
    code, text = run(*words, "--seconds", 1e-6)
    assert code == 0 and FIRST in text and "not yet all" in text, text
    code, text = run(*words, "--json")
    (row,) = json.loads(text)
    assert code == 0 and row["done"] and row["step"] == 1 and row["folder"] == str(out / "dense")
    folder = run_folder(out / "dense")
    told = json.loads((folder / "training.json").read_text())
    assert told["hashes"]["teacher"] == sha256(teacher / "model.safetensors")
    assert told["hashes"]["start"] == sha256(folder / FIRST / "model.safetensors")
    first = json.loads((folder / FIRST / "training.json").read_text())
    assert first["steps"] == 5 and first["hashes"]["start"] == sha256(out / "sparse" / "model.safetensors")
    shapes = read_checkpoint(folder / "model.safetensors").shapes
    assert shapes["head.final_layer.weight"][:2] == (52, 16)
    card = trained_card(folder, load_trained(folder)[0])
    names = [one.name for one in card.training_data]
    assert sorted(names) == ["synthpose tiny-dense", "synthpose tiny-sparse", "synthpose tiny-wide"]
    assert HONEST in card.notes and any(told["hashes"]["teacher"] in note for note in card.notes)
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    assert run(*words)[0] == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    # whoever teaches without saying what it learnt from spoils the claim that all was synthetic
    (folder / TEACHER).unlink()
    assert HONEST not in trained_card(folder, load_trained(folder)[0]).notes
    assert (folder / START).is_file()
    code, text = run("train", home / "tiny.yaml", "--phase", "dense", "-o", out, "--workers", 1, "-q")
    assert code == 2 and "teacher" in text


def test_settings_come_from_a_file_and_a_start_from_anywhere(home, tmp_path) -> None:
    (tmp_path / "how.yaml").write_text("features: 0\nmaps: 0.5\nsecond: 0\n")
    words = command(home, "--phase", "dense", "--teacher", home / "run" / "wide", "-o", tmp_path)
    start = ("--start", home / "run" / "wide" / "model.safetensors")
    code, text = run(*words, *start, "--points", "synthpose-52", "--settings", tmp_path / "how.yaml")
    assert code == 2 and "Expected backbone." in text and "to start from" in text  # it is wider
    start = ("--start", home / "run" / "sparse")
    code, text = run(*words, *start, "--settings", tmp_path / "how.yaml")
    assert code == 0, text
    told = json.loads((tmp_path / "dense" / "training.json").read_text())
    assert told["distillation"]["maps"] == 0.5 and told["steps"] == 5
    assert not (tmp_path / "dense" / FIRST).exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--teacher", "wide"), "--phase"),
        (("--phase", "dense", "--teacher", "."), "holds those of"),
        (("--phase", "tall", "--teacher", "wide"), "aspect of 64x96, got one of 64x64"),
        (("--phase", "dense", "--teacher", "wide", "--settings", "alpha: 1"), "'alpha'"),
        (("--phase", "dense", "--teacher", "wide"), "Expected the folder of a training"),  # no start there
    ],
)
def test_bad_requests_are_told_before_pictures_are_made(home, tmp_path, monkeypatch, words, says) -> None:
    def none(*_, **__):
        raise AssertionError("made pictures")

    monkeypatch.setattr("capbench.cli.synthpose_train.gathered", none)
    given = list(words)
    given[given.index("--teacher") + 1] = home / "run" / given[given.index("--teacher") + 1]
    if "--settings" in given:
        (tmp_path / "how.yaml").write_text(given[-1])
        given[-1] = tmp_path / "how.yaml"
    code, text = run(*command(home, *given, "-o", tmp_path))
    assert code == 2 and says in text
