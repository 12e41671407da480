"""What comes along: the rules of its folder, that it is packed, and that it is what is evaluated first."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx_models import heatmap_net

import capbench.cli.evaluate as evaluate_command
from capbench.cli.main import cli
from capbench.models import registry
from capbench.models.adapters.onnx_file import look
from capbench.models.card import FILE_NAME, Codec, Input, ModelCard, TrainingData, read_card, write_card
from capbench.models.registry import BUILTIN, default_model, find_model, model_names
from capbench.run.inference import predict_trial
from capbench.vision.boxes import LEAST
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort, sha256

ROOT = Path(__file__).parents[2]
LARGEST = 15e6  #: bytes of a folder
HERE = sorted(path.parent for path in BUILTIN.glob(f"*/{FILE_NAME}"))
HONEST = re.compile(r"[Ss]ynthetic pixels only.*not for real video")


def test_mini_52_finds_somebody_whom_no_box_points_out(tiny_cohort) -> None:
    """Its softmaxed maps never come near 1: confidences count against the best that there can be."""
    cohort = open_cohort(tiny_cohort)
    trial = next(t for t in cohort.cohort.trials if t.name == "gait1")
    model = find_model("capbench:mini-52").open()
    try:
        videos = {name: cohort.path(file) for name, file in trial.videos.items()}
        found = predict_trial(model, videos, boxes="track").tracks
    finally:
        model.close()
    sure = np.concatenate([track.confidence for track in found.values()])
    assert (sure <= 1).all()
    assert (np.median(sure, axis=1) > LEAST).mean() > 0.8


def a_model(folder: Path, *, points: int = 52) -> Path:
    """A folder that keeps the rules: a network of blobs."""
    folder.mkdir(parents=True)
    path = heatmap_net(folder / "model.onnx", points=points)
    card = ModelCard(
        name=folder.name, version="1", licence="Apache-2.0", route="onnx", skeleton="synthpose-52",
        input=Input(size=(96, 128), mean=(0, 0, 0), std=(1, 1, 1)), codec=Codec(kind="heatmap"),
        training_data=({"name": "made", "synthetic": True},),
        notes=(
            "Learnt from synthetic pixels only: for demonstration and testing; not for real video.",
            f"Trained by the recipe with SHA-256 {'a' * 64}.",
        ),
        files={"model.onnx": sha256(path)},
    )  # fmt: skip
    write_card(folder / FILE_NAME, card)
    return folder


def broken_rules(folder: Path) -> list[str]:
    """Which rules of ``builtin/README.md`` a folder breaks."""
    card = read_card(folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    rules = {
        "name": card.name == folder.name,
        "route": card.route == "onnx",
        "size": size <= LARGEST,
        "files": names == {FILE_NAME, *card.files} and card.weights == "model.onnx",
        "hashes": all(sha256(folder / name) == digest for name, digest in card.files.items()),
        "external": not look(folder / "model.onnx").external,
        "paths": not re.search(rb"/(home|work|root|Users|tmp)/", (folder / "model.onnx").read_bytes()),
        "batch": look(folder / "model.onnx").input_shape[:1] == (None,),
        "synthetic": bool(card.training_data) and all(data.synthetic for data in card.training_data),
        "recipe": any(re.search(r"recipe.*[0-9a-f]{64}", note) for note in card.notes),
        "limits": any(HONEST.search(note) for note in card.notes),
        "licence": card.licence in ("Apache-2.0", "CC0-1.0"),
    }
    return [rule for rule, kept in rules.items() if not kept]


# --- the rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", HERE, ids=lambda folder: folder.name)
def test_every_built_in_model_keeps_the_rules_and_runs(folder) -> None:
    assert broken_rules(folder) == []
    model = find_model(f"capbench:{folder.name}").open()
    try:
        frames = np.full((3, 96, 72, 3), 120, np.uint8)
        frames[1:, 30:60, 20:50] = 30
        boxes = np.tile([10.0, 10, 60, 90], (3, 1))
        found = model.predict(list(frames), boxes)
        alone = model.predict([frames[0]], boxes[:1])
    finally:
        model.close()
    assert found.points.shape == (3, len(model.card.points), 2)
    np.testing.assert_allclose(found.points[0], alone.points[0], atol=0.05)
    np.testing.assert_allclose(found.points[1], found.points[2], atol=1e-6)


def change(**fields):
    def changed(folder: Path) -> None:
        write_card(folder / FILE_NAME, read_card(folder).model_copy(update=fields), overwrite=True)

    return changed


def fixed_batch(folder: Path) -> None:
    heatmap_net(folder / "model.onnx", points=52, batch=1)
    change(files={"model.onnx": sha256(folder / "model.onnx")})(folder)


def with_a_path(folder: Path) -> None:
    import onnx

    made = onnx.load(str(folder / "model.onnx"))
    made.doc_string = f"traced in {Path(__file__).resolve()}"
    onnx.save(made, str(folder / "model.onnx"))
    change(files={"model.onnx": sha256(folder / "model.onnx")})(folder)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (change(name="other"), "name"),
        (change(training_data=(TrainingData(name="COCO", synthetic=False),)), "synthetic"),
        (change(training_data=()), "synthetic"),
        (change(notes=(f"Trained by the recipe with SHA-256 {'a' * 64}.",)), "limits"),
        (change(notes=("Synthetic pixels only; not for real video.",)), "recipe"),
        (change(licence="CC-BY-NC-4.0"), "licence"),
        (change(files={"model.onnx": "0" * 64}), "hashes"),
        (lambda folder: (folder / "log.txt").write_text("x"), "files"),
        (lambda folder: (folder / "more.bin").write_bytes(bytes(15_000_001)), "size"),
        (fixed_batch, "batch"),
        (with_a_path, "paths"),
    ],
)
def test_the_rules_notice(spoil, rule, tmp_path) -> None:
    folder = a_model(tmp_path / "mini-52")
    assert broken_rules(folder) == []
    spoil(folder)
    assert rule in broken_rules(folder)


# --- found by name ------------------------------------------------------------------------------


@pytest.fixture
def builtin(tmp_path, monkeypatch) -> Path:
    """An installation with no model but what a test puts there."""
    monkeypatch.setattr(registry, "BUILTIN", tmp_path / "builtin")
    return tmp_path / "builtin"


def test_without_the_model_the_self_test_is_evaluated(builtin) -> None:
    assert default_model() == evaluate_command.default_model() == "capbench:noisy-truth"
    with pytest.raises(CapbenchError, match="noisy-truth"):
        find_model("capbench:mini-52")


def test_with_the_model_it_is_evaluated(builtin) -> None:
    a_model(builtin / "mini-17")
    assert default_model() == "capbench:noisy-truth"
    a_model(builtin / "mini-52")
    assert default_model() == evaluate_command.default_model() == "capbench:mini-52"
    assert {"capbench:mini-17", "capbench:mini-52", "capbench:noisy-truth"} <= set(model_names())
    assert find_model("capbench:mini-52").folder == builtin / "mini-52"


def test_the_command_line_evaluates_the_model_that_is_there(builtin, monkeypatch) -> None:
    """Which model the command asks for when none is named; nothing is run."""
    asked = []
    monkeypatch.setattr(evaluate_command, "chosen_cohort", lambda *_, **__: "cohort")
    monkeypatch.setattr(evaluate_command, "has_boxes", lambda _: True)
    monkeypatch.setattr("capbench.run.sources.source_of", lambda model, *_, **__: asked.append(model))
    monkeypatch.setattr(evaluate_command, "perform", lambda source, cohort, _: source(cohort))
    for make in (lambda: None, lambda: a_model(builtin / "mini-52")):
        make()
        assert CliRunner().invoke(cli, ["evaluate"]).exit_code == 0
    assert asked == ["capbench:noisy-truth", "capbench:mini-52"]


@pytest.mark.parametrize("name", ["../mini-52", "mini-52/..", "/etc", "mini-53"])
def test_no_other_name_is_found(builtin, name) -> None:
    a_model(builtin / "mini-52")
    with pytest.raises(CapbenchError):
        find_model(f"capbench:{name}")


# --- packed -------------------------------------------------------------------------------------


def test_the_wheel_holds_networks_and_cards(tmp_path) -> None:
    """What hatch would pack of a tree like ours, with this project's own settings."""
    wheel = pytest.importorskip("hatchling.builders.wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    a_model(tmp_path / "capbench" / "models" / "builtin" / "mini-52")
    (tmp_path / "capbench" / "models" / "builtin" / "README.md").write_text("rules")
    for room in ("capbench", "cohorts", "metrics", "synthpose"):
        (tmp_path / room).mkdir(exist_ok=True)
        (tmp_path / room / "__init__.py").write_text("")
    (tmp_path / "synthpose" / "recipes").mkdir()
    (tmp_path / "synthpose" / "recipes" / "mini-cpu.yaml").write_text("seed: 1")
    builder = wheel.WheelBuilder(str(tmp_path))
    packed = {file.distribution_path for file in builder.recurse_included_files()}
    assert {
        "capbench/models/builtin/mini-52/model.onnx",
        "capbench/models/builtin/mini-52/model.yaml",
        "synthpose/recipes/mini-cpu.yaml",
    } <= packed
    assert all(not path.startswith(("tests", "scripts")) for path in packed)
