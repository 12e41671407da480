"""What a person types becomes the right model, or an error that says what would."""

import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from onnx_models import blobs, heatmap_net

from capbench.models import registry
from capbench.models.card import FILE_NAME, ModelCard, write_card
from capbench.models.registry import ADAPTERS, find_model, is_builtin_source, model_names, open_model
from cohorts.errors import CapbenchError, RefusedError
from cohorts.store import sha256


def card_for(path, **more):
    given = {"name": "mine", "version": "1", "licence": "x", "route": "onnx", "skeleton": "coco-17"}
    given |= {"input": {"size": [96, 128]}, "codec": {"kind": "heatmap"}, "files": {path.name: sha256(path)}}
    return ModelCard(**{**given, **more})


@pytest.fixture
def net(tmp_path):
    return heatmap_net(tmp_path / "net.onnx", points=17)


def test_a_bare_onnx_file_runs(net):
    model = open_model(net)
    assert model.card.skeleton == "coco-17"
    found = model.predict(
        [blobs([(50, 60), (52, 70), (48, 66)], (100, 130))], np.array([[20.0, 20, 80, 110]])
    )
    assert found.points.shape == (1, 17, 2) and np.isfinite(found.points).all()
    model.close()


def test_a_card_beside_the_file_or_in_the_folder_is_the_one_that_counts(net):
    folder = net.parent
    write_card(folder / FILE_NAME, card_for(net))
    for spec in (folder, str(folder), net, folder / FILE_NAME):
        found = find_model(spec)
        assert found.card.name == "mine" and found.folder == folder
    write_card(folder / "net.yaml", card_for(net, name="nearer"))
    assert find_model(net).card.name == "nearer"
    other = heatmap_net(folder / "other.onnx", points=17)
    assert find_model(other).card.name == "other"  # the folder's card is not of this file


def test_files_are_verified_before_anything_runs(net):
    write_card(net.parent / FILE_NAME, card_for(net))
    with net.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RefusedError, match="not the one"):
        open_model(net.parent)


def test_a_fingerprint_is_had_without_running(net):
    write_card(net.parent / FILE_NAME, card_for(net))
    one = find_model(net.parent).fingerprint
    assert find_model(net).fingerprint == one
    write_card(net.parent / FILE_NAME, card_for(net, flip_test=True), overwrite=True)
    assert find_model(net).fingerprint != one
    other = heatmap_net(net.parent / "other.onnx", points=17)  # a card that was inferred follows its file
    first = find_model(other).fingerprint
    assert find_model(heatmap_net(other, points=26)).fingerprint != first


@pytest.mark.parametrize("route", ["python", "command", "torchscript", "mmpose"])
def test_code_of_strangers_needs_leave(route, net):
    write_card(net.parent / FILE_NAME, card_for(net, route=route, entry="m.py:M"))
    with pytest.raises(RefusedError, match="leave to run mine") as caught:
        open_model(net.parent)
    assert "--trust" in caught.value.fix and caught.value.exit_code == 4


def test_predictions_are_no_model_that_runs(net):
    write_card(net.parent / FILE_NAME, card_for(net, route="predictions"))
    with pytest.raises(CapbenchError, match="capbench score"):
        open_model(net.parent)


def test_devices_are_those_of_the_card(net):
    write_card(net.parent / FILE_NAME, card_for(net, devices=["cuda"]))
    with pytest.raises(CapbenchError, match=r"can run on \(cuda\), got cpu"):
        open_model(net.parent)


def test_threads_reach_the_adapter_and_only_what_it_takes(net, monkeypatch):
    taken = {}

    def opener(card, folder, *, threads=None):
        taken.update(threads=threads, folder=folder)
        return "running"

    monkeypatch.setattr(registry.adapter_module("onnx"), "open", opener)
    assert open_model(net, threads=3) == "running"
    assert taken == {"threads": 3, "folder": net.parent}


WRONG = {
    "nothing": ("no-such-model", "capbench:noisy-truth"),
    "near": ("capbench:noisy-trut", "Did you mean 'capbench:noisy-truth'"),
    "source": ("capbench:noisy-truth", "a self-test, no model"),
    "path out": ("capbench:../../x", "name of a model"),
    "no file": ("no/such.onnx", "nothing of that name"),
    "no file of weights": ("such.pth", "nothing of that name"),
    "mediapipe with more": ("mmpose:", "name of a model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_names_no_model(case):
    spec, words = WRONG[case]
    with pytest.raises(CapbenchError) as caught:
        find_model(spec)
    assert words in str(caught.value)


def test_folders_and_files_that_are_no_model(tmp_path, net):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CapbenchError, match="capbench score"):
        find_model(empty)
    with pytest.raises(CapbenchError, match=r"models init .*net\.onnx"):
        find_model(net.parent)
    (tmp_path / "a.trc").write_text("x")
    with pytest.raises(CapbenchError, match="capbench score"):
        find_model(tmp_path / "a.trc")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CapbenchError):
        find_model(tmp_path)


def test_sources_that_are_no_network():
    assert is_builtin_source("capbench:noisy-truth")
    assert not is_builtin_source("noisy-truth") and not is_builtin_source("capbench:mini-52")
    assert "capbench:noisy-truth" in model_names() and "mediapipe" in model_names()


def test_every_route_has_an_adapter_that_opens():
    assert set(ADAPTERS) | {"predictions"} == set(ModelCard.model_fields["route"].annotation.__args__)
    for route in ADAPTERS:
        assert callable(registry.adapter_module(route).open), route


def test_the_registry_imports_nothing_heavy():
    import subprocess

    code = "import sys, capbench.models.registry, capbench.models.predictions, capbench.models.check\n"
    code += "print([m for m in ('torch', 'onnxruntime', 'cv2', 'transformers') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert ran.stdout.strip() == "[]"


# --- what other packages bring ------------------------------------------------------------------


def brought(monkeypatch, **parts):
    module = types.ModuleType("their_models")
    module.__dict__.update(parts)
    monkeypatch.setitem(sys.modules, "their_models", module)
    point = EntryPoint("theirs", "their_models", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


def test_another_package_s_models_open_by_its_name(monkeypatch, tmp_path):
    card = ModelCard(name="t", version="1", licence="x", route="python", entry="x", skeleton="coco-17")
    opened = {}

    def opener(card, folder, *, device):
        opened.update(card=card, folder=folder, device=device)
        return "running"

    brought(monkeypatch, find=lambda rest: (card.model_copy(update={"title": rest}), tmp_path), open=opener)
    assert "theirs" in model_names()
    assert find_model("theirs:big").card.title == "big"
    assert open_model("theirs:big", device="cpu") == "running"  # installed, so it needs no leave
    assert opened["folder"] == tmp_path and opened["device"] == "cpu"


def test_a_package_that_does_not_load_is_named(monkeypatch):
    point = EntryPoint("theirs", "no_such_module", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(CapbenchError, match="'theirs' to load, got ModuleNotFoundError"):
        find_model("theirs:big")
