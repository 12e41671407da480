"""``capbench synthpose``: from a recipe to a model that capbench evaluates, and what it says of itself."""

import json
import pickle
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from toy_recipes import tiny_file

from capbench.cli import synthpose_data, synthpose_train
from capbench.cli.main import COMMANDS, cli
from capbench.cli.synthpose_card import START, learnt_from, trained_card
from capbench.cli.synthpose_data import Span, gathered
from capbench.cli.synthpose_train import joint_angle_validation
from capbench.models.card import read_card
from capbench.models.checkpoint import read_checkpoint, write_safetensors
from capbench.models.registry import open_model
from capbench.run.evaluate import Options, evaluate, prepare
from capbench.run.noisy_truth import Noise
from capbench.run.result import read_result
from capbench.run.sources import NoisyTruth
from cohorts.errors import CapbenchError
from cohorts.store import open_cohort, sha256
from synthpose.export import HONEST
from synthpose.train_recipe import read_recipe

RECIPE = tiny_file(
    {
        "sparse": {"skeleton": "coco-17", "samples": 96},
        "dense": {"skeleton": "synthpose-52", "samples": 48, "start": "sparse"},
    },
    log=2,
)


def run(*words):
    """Exit code and output; an error's text where one was raised."""
    result = CliRunner().invoke(cli, ["synthpose", *map(str, words)], standalone_mode=False)
    if isinstance(result.exception, CapbenchError):
        return result.exception.exit_code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        if hasattr(result.exception, "format_message"):
            return 2, result.exception.format_message()
        raise result.exception
    return (result.return_value if result.return_value is not None else result.exit_code), result.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the recipe, and a cache of its own for the whole module."""
    folder = tmp_path_factory.mktemp("synthpose")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPBENCH_CACHE", str(folder / "cache"))
        (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
        yield folder


@pytest.fixture(scope="module")
def recipe(home):
    return home / "tiny.yaml"


@pytest.fixture(scope="module")
def trained(home, recipe):
    """Both phases, trained by one command."""
    code, text = run("train", recipe, "-o", home / "run", "--workers", 1)
    assert code == 0, text
    return home / "run", text


# --- the group ----------------------------------------------------------------------------------


def test_it_stands_under_a_heading_of_its_own() -> None:
    assert COMMANDS["synthpose"].heading == "Train"
    text = CliRunner().invoke(cli, ["--help"]).stdout
    assert text.index("\nTrain:") < text.index("synthpose") < text.index("\nFit & files:")


@pytest.mark.parametrize("name", ["", "plan", "render", "train", "finetune", "export", "eval"])
def test_help(name) -> None:
    result = CliRunner().invoke(cli, ["synthpose", *name.split(), "--help"])
    assert result.exit_code == 0 and "Usage: capbench synthpose" in result.stdout


# --- plan and render ----------------------------------------------------------------------------


@pytest.mark.truth("arithmetic")
def test_plan_counts_pictures_once_and_every_sample(recipe, monkeypatch) -> None:
    monkeypatch.setattr(synthpose_data, "training_speed", lambda *_, **__: 32.0)
    code, text = run("plan", recipe, "--workers", 1, "--json")
    rows = json.loads(text)["rows"]
    assert code == 0 and [row["what"] for row in rows] == ["pictures", "train sparse", "train dense"]
    assert rows[0]["count"] == 16 and 0 < rows[0]["GB"] < 16 * 64 * 64 * 3 / 1e9
    assert rows[0]["seconds"] == pytest.approx(16 / rows[0]["per second"], rel=0.1, abs=0.1)
    assert [row["count"] for row in rows[1:]] == [96, 48]
    assert [row["seconds"] for row in rows[1:]] == [3.0, 1.5]
    text = run("plan", recipe, "--phase", "dense", "--samples", 3200, "--workers", 1)[1]
    assert "3,200" in text and "1:40" in text and "sparse" not in text


@pytest.mark.truth("arithmetic")
def test_worker_processes_read_pictures_unpacked_beside_them(home, recipe, monkeypatch) -> None:
    alone = read_recipe(recipe, "dense")
    machine = alone.machine.model_copy(update={"processes": True, "workers": 2})
    several = alone.model_copy(update={"machine": machine})
    held, shared = (
        gathered(one, home / "unpacked", {}, workers=1, quiet=True).source for one in (alone, several)
    )
    assert held.file is None and shared.file == home / "unpacked" / "unpacked.npy"
    for mine, theirs in zip(held.batch(np.arange(16)), shared.batch(np.arange(16)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(pickle.dumps(shared)) < held.pictures.nbytes / 8  # a worker gets the file's name
    content = yaml.safe_load(recipe.read_text())
    content["recipe"]["machine"] = {"processes": True, "workers": 2}
    (home / "several.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setattr(synthpose_data, "training_speed", lambda *_, **__: 32.0)
    once, both = (
        json.loads(run("plan", path, "--workers", 1, "--json")[1])["rows"][0]["GB"]
        for path in (recipe, home / "several.yaml")
    )
    assert both - once == pytest.approx(shared.file.stat().st_size / 1e9, rel=0.01)


def test_epochs_of_unknown_pictures_are_not_counted() -> None:
    paper = read_recipe("paper-vitb")
    assert synthpose_data.samples_of(paper) is None
    tiny = paper.model_copy(update={"samples": 320, "epochs": None})
    assert synthpose_data.samples_of(tiny) == 320


def test_speed_is_measured_by_training(recipe) -> None:
    assert 1 < synthpose_data.training_speed(read_recipe(recipe, "dense"), device="cpu", seconds=0.3) < 1e6


def test_render_makes_the_pictures_once(home, recipe) -> None:
    code, text = run("render", recipe, "-o", home / "pictures", "--workers", 1, "--json", "-q")
    told = json.loads(text)
    assert code == 0 and told["pictures"] == 16
    shards = list((home / "pictures").glob("*.npz"))
    assert {path.name: sha256(path) for path in shards} == told["sha256"]
    before = [path.stat().st_mtime_ns for path in shards]
    code, text = run("render", recipe, "-o", home / "pictures", "--workers", 1)
    assert code == 0 and "16 pictures" in text
    assert [path.stat().st_mtime_ns for path in shards] == before


# --- train --------------------------------------------------------------------------------------


def test_one_command_trains_all_phases_each_from_the_one_it_names(trained) -> None:
    folder, text = trained
    assert text.index("tiny-sparse") < text.index("tiny-dense") and "pictures/s" in text
    told = {name: json.loads((folder / name / "training.json").read_text()) for name in ("sparse", "dense")}
    assert told["sparse"]["steps"] == 12 and told["dense"]["steps"] == 6
    assert told["dense"]["hashes"]["start"] == sha256(folder / "sparse" / "model.safetensors")
    shapes = read_checkpoint(folder / "dense" / "model.safetensors").shapes
    assert shapes["head.final_layer.weight"][0] == 52


def test_what_is_done_stays_and_what_was_stopped_goes_on_to_the_same_weights(trained, home, recipe) -> None:
    folder, _ = trained
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    code, text = run("train", recipe, "-o", folder, "--workers", 1, "-q", "--json")
    rows = json.loads(text)
    assert code == 0 and [row["done"] for row in rows] == [True, True]
    assert all(path.read_bytes() == data for path, data in before.items())
    other = home / "stopped"
    code, text = run("train", recipe, "-o", other, "--workers", 1, "-q", "--seconds", 1e-4)
    assert code == 0 and "not yet all" in text and not (other / "dense").exists()
    code, text = run("train", recipe, "-o", other, "--workers", 1, "-q", "--phase", "sparse")
    assert code == 0 and "not yet all" not in text
    ours, theirs = ((path / "sparse" / "model.safetensors").read_bytes() for path in (folder, other))
    assert ours == theirs


def test_changes_of_the_command_line_belong_to_the_recipe(trained, home, recipe) -> None:
    code, text = run("train", recipe, "-o", trained[0], "--workers", 1, "--seed", 4, "--phase", "sparse")
    assert code == 2 and "another recipe" in text
    chosen = synthpose_train.chosen_phases(
        str(recipe), ["sparse"], **synthpose_train.changes_of(cohort="clinic-mini", trials=3, samples=16)
    )
    assert chosen["sparse"].checks.cohort == "clinic-mini" and chosen["sparse"].checks.trials == 3
    assert chosen["sparse"].checks.shots == 4 and chosen["sparse"].samples == 16
    assert chosen["sparse"].digest != read_recipe(recipe, "sparse").digest


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--phase", "dens"], "Did you mean 'dense'"),
        (["--phase", "dense"], "Expected the folder of a training"),
        (["--source", "coco=a.json,b"], "source of tiny"),
        (["--source", "coco"], "NAME=ANNOTATIONS.json,PICTURES"),
        (["--device", "tpu"], "Expected the device"),
        (["--phase", "sparse", "--validate", "clinc"], "Did you mean 'clinic'"),
    ],
)
def test_bad_requests_are_told(home, recipe, tmp_path, words, says) -> None:
    code, text = run("train", recipe, "-o", tmp_path / "out", "--workers", 1, "-q", *words)
    assert code == 2 and says in text


def test_an_unknown_recipe_is_told_the_nearest(tmp_path) -> None:
    code, text = run("train", "mini-cpo", "-o", tmp_path)
    assert code == 2 and "Did you mean 'mini-cpu'" in text


# --- finetune and what cards say ----------------------------------------------------------------


def test_finetune_starts_from_a_checkpoint_and_does_not_call_it_synthetic(trained, home, recipe) -> None:
    weights = home / "somebody.safetensors"
    write_safetensors(
        weights, read_checkpoint(trained[0] / "sparse" / "model.safetensors").tensors, overwrite=True
    )
    words = ("finetune", recipe, "--start", weights, "-o", home / "tuned", "--workers", 1, "-q")
    code, text = run(*words)
    assert code == 2 and "--phase" in text
    code, text = run(*words, "--phase", "dense")
    assert code == 2 and "whose points" in text.lower()
    code, text = run(*words, "--phase", "dense", "--points", "coco-17")
    assert code == 0, text
    folder = home / "tuned" / "dense"
    card = trained_card(folder, read_recipe(recipe, "dense"))
    assert [data.synthetic for data in card.training_data] == [False, True]
    assert "not declared" in card.training_data[0].note and sha256(weights) in card.training_data[0].note
    assert HONEST not in card.notes
    (folder / START).unlink()  # without it nobody knows, and it still says so
    assert [data.synthetic for data in trained_card(folder, read_recipe(recipe, "dense")).training_data] == [
        False,
        True,
    ]


def test_a_chain_of_trainings_is_synthetic_from_end_to_end(trained, recipe) -> None:
    folder = trained[0] / "dense"
    card = trained_card(folder, read_recipe(recipe, "dense"))
    assert [data.name for data in card.training_data] == ["synthpose tiny-sparse", "synthpose tiny-dense"]
    assert all(data.synthetic for data in card.training_data) and card.notes[0] == HONEST
    told = " ".join(card.notes)
    digest = read_recipe(recipe, "dense").digest
    for words in (digest, sha256(folder / "model.safetensors"), "6 steps, 48 pictures", "best at step 6"):
        assert words in told, words


def test_a_model_folder_lends_what_its_card_declares(trained, home) -> None:
    made = home / "lent"
    assert run("export", trained[0] / "sparse", "-o", made, "--format", "safetensors")[0] == 0
    weights = made / "safetensors" / "model.safetensors"
    assert [one.name for one in learnt_from(weights, sha256(weights))] == ["synthpose tiny-sparse"]
    assert learnt_from(weights, "0" * 64)[0].synthetic is False  # a card of other weights


# --- export and eval ----------------------------------------------------------------------------


def test_export_writes_models_that_open(trained, home) -> None:
    pytest.importorskip("onnxscript")
    out = home / "models"
    words = ("export", trained[0] / "dense", "-o", out, "--name", "mine", "--version", "7")
    code, text = run(*words)
    assert code == 0 and "capbench evaluate" in text and text.count("model") >= 2, text
    for name in ("safetensors", "onnx"):
        card = read_card(out / name)
        assert (card.name, card.version, card.skeleton) == ("mine", "7", "synthpose-52")
        assert card.codec.activation == "softmax" and card.input.size == (64, 64)
        model = open_model(out / name)
        found = model.predict([np.zeros((90, 70, 3), np.uint8)], np.array([[5.0, 5, 60, 80]]))
        model.close()
        assert np.isfinite(found.points).all()
    code, text = run(*words)
    assert code == 2 and "exists" in text
    code, text = run(*words, "--force", "--format", "safetensors", "--json")
    assert code == 0 and json.loads(text)[0]["format"] == "safetensors"


def test_export_and_eval_want_one_training(trained, home, tmp_path) -> None:
    code, text = run("export", trained[0], "-o", tmp_path)
    assert code == 2 and "holds those of dense, sparse" in text
    code, text = run("eval", tmp_path)
    assert code == 2 and "capbench synthpose train" in text
    code, text = run("eval", trained[0] / "dense", trained[0] / "sparse", "--out", tmp_path)
    assert code == 2 and "--out" in text


def test_eval_is_the_benchmark_and_tells_how_to_compare(trained, tiny_cohort, tmp_path) -> None:
    folders = [shutil.copytree(trained[0] / name, tmp_path / name) for name in ("sparse", "dense")]
    words = (
        "--cohort",
        tiny_cohort,
        "--limit",
        1,
        "--no-causes",
        "--workers",
        0,
        "--store",
        tmp_path / "store",
    )
    code, text = run("eval", *folders, *words)
    assert code in (0, 1) and "joint-angle error" in text
    name = open_cohort(tiny_cohort).card.name
    outs = [folder / f"eval-{name}" for folder in folders]
    assert f"capbench compare {outs[0]} {outs[1]}" in text
    found = read_result(outs[1])
    assert found.model.name == "tiny-dense" and found.partial and (outs[1] / "report.html").is_file()
    assert found.model.details["skeleton"] == "synthpose-52"
    before = sha256(folders[1] / "model" / "model.safetensors")
    run("eval", folders[1], *words)
    assert sha256(folders[1] / "model" / "model.safetensors") == before


# --- validation by joint angles -----------------------------------------------------------------


@pytest.fixture
def net(trained, recipe):
    from synthpose.train import load_trained

    return load_trained(trained[0] / "sparse")[1]


@pytest.mark.truth("capbench evaluate on the same points")
def test_validation_is_what_evaluate_says(recipe, net, tiny_cohort, tmp_path, monkeypatch) -> None:
    """The model is replaced by the truth with noise, whose error is not the cap."""
    asked = []

    def source(spec, cohort, **rest):
        asked.append((spec, read_card(spec).skeleton))
        return NoisyTruth(cohort, Noise(3.0, 1.0), 0)

    monkeypatch.setattr("capbench.run.sources.source_of", source)
    cohort = open_cohort(tiny_cohort)
    look = joint_angle_validation(read_recipe(recipe, "sparse"), cohort, tmp_path / "v", trials=1, workers=0)
    first, second = look(net, 6), look(net, 12)
    options = Options(split="development", limit=1, causes=False)
    direct = prepare(lambda on: NoisyTruth(on, Noise(3.0, 1.0), 0), cohort, options, store=tmp_path / "s")
    wanted = evaluate(direct, tmp_path / "direct").overall.value
    assert 0.1 < wanted < 25
    assert first["joint_angles"] == wanted and first["score"] == pytest.approx(wanted, abs=1e-6)
    assert second["score"] < first["score"]  # of equals the later one
    assert first["coverage"] > 90 and first["validation_seconds"] > 0
    assert len({spec for spec, _ in asked}) == 2  # workers keep models open by their path
    assert {points for _, points in asked} == {"coco-17"}
    assert {path.name for path in (tmp_path / "v").iterdir()} == {"store", "result"}


def test_the_weights_as_they_are_go_through(recipe, net, tiny_cohort, tmp_path) -> None:
    cohort = open_cohort(tiny_cohort)
    look = joint_angle_validation(read_recipe(recipe, "sparse"), cohort, tmp_path / "v", trials=1, workers=0)
    found = look(net, 1)
    assert 0 < found["joint_angles"] <= 30 and np.isfinite(found["score"])
    assert read_result(tmp_path / "v" / "result").model.name == "tiny-sparse"


def test_people_of_a_test_split_choose_no_weights(recipe, net, tiny_cohort, tmp_path) -> None:
    folder = shutil.copytree(tiny_cohort, tmp_path / "test")
    text = (folder / "cohort.yaml").read_text()
    assert "development:" in text
    (folder / "cohort.yaml").write_text(text.replace("development:", "test:"))
    look = joint_angle_validation(
        read_recipe(recipe, "sparse"), open_cohort(folder), tmp_path / "v", trials=1, workers=0
    )
    with pytest.raises(CapbenchError, match="split development"):
        look(net, 1)


# --- sources of the user ------------------------------------------------------------------------


@pytest.fixture
def annotated(tmp_path):
    """Two pictures with one person each, in COCO's form."""
    import cv2

    from cohorts.skeleton import skeleton

    names = skeleton("coco-17").points
    images, people = [], []
    random = np.random.default_rng(0)
    for k in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), random.integers(0, 256, (120, 100, 3), dtype=np.uint8))
        images.append({"id": k, "file_name": f"{k}.png", "width": 100, "height": 120})
        xy = random.uniform([20, 20], [80, 100], (17, 2)).round(1)
        keypoints = np.concatenate([xy, np.full((17, 1), 2)], axis=1).ravel().tolist()
        people.append(
            {"id": k, "image_id": k, "category_id": 1, "bbox": [15, 15, 70, 90], "iscrowd": 0, "area": 6300,
             "num_keypoints": 17, "keypoints": keypoints}
        )  # fmt: skip
    categories = [{"id": 1, "name": "person", "keypoints": list(names), "skeleton": []}]
    content = {"images": images, "annotations": people, "categories": categories}
    (tmp_path / "people.json").write_text(json.dumps(content))
    return tmp_path / "people.json", tmp_path


def mixed(home, tmp_path, **coco):
    content = json.loads(json.dumps(RECIPE))
    content["phases"] = {"dense": {"skeleton": "synthpose-52", "samples": 48}}
    content["recipe"]["sources"] = {
        "made": {"kind": "made", "ratio": 1.0},
        "clinic": {"kind": "coco", "skeleton": "coco-17", "ratio": 3.0, "note": "our clinic", **coco},
    }
    path = tmp_path / "mixed.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_recipe(path)


def test_sources_are_mixed_and_the_held_out_are_not_trained_on(home, annotated, tmp_path) -> None:
    recipe = mixed(home, tmp_path)
    with pytest.raises(CapbenchError, match=r"our clinic.*--source clinic="):
        gathered(recipe, home / "pictures", {}, workers=1, quiet=True)
    found = gathered(recipe, home / "pictures", {"clinic": annotated}, workers=1, quiet=True)
    made, _ = found.source.parts
    assert len(made.source) == 12 and len(found.held_out) == 4  # of 16
    assert isinstance(made.source, Span) and made.source.stop == found.held_out.start
    assert found.source.counts == (12, 36)
    _, _, weight = found.source.batch(np.arange(len(found.source)))
    assert weight.shape == (48, 52) and (weight[12:, 17:] == 0).all() and (weight[12:, :17] > 0).any()
    again = gathered(recipe, home / "pictures", {"clinic": annotated}, workers=1, quiet=True)
    assert again.sha256 == found.sha256
    annotated[0].write_text(annotated[0].read_text() + "\n")
    changed = gathered(recipe, home / "pictures", {"clinic": annotated}, workers=1, quiet=True)
    assert changed.sha256 != found.sha256


def test_a_span_gives_its_own_part() -> None:
    class Numbers:
        skeleton = None

        def batch(self, numbers):
            return numbers, numbers, numbers

    part = Span(Numbers(), 10, 14)
    assert len(part) == 4 and part.batch(np.array([0, 3]))[0].tolist() == [10, 13]


def test_pictures_of_the_user_are_declared(home, annotated, tmp_path) -> None:
    card = synthpose_train.training_card(mixed(home, tmp_path))
    assert [(one.name, one.synthetic) for one in card.training_data] == [
        ("synthpose made", True),
        ("clinic", False),
    ]
    assert card.training_data[1].note == "our clinic" and HONEST not in card.notes
