"""A trained network as others run it: the same answers, whole files, nothing overwritten or half done."""

import hashlib
import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnxruntime
import small_models as small

from capbench.models import crop, decode
from capbench.models.card import Codec, Input, ModelCard, TrainingData, read_card
from capbench.models.checkpoint import read_checkpoint
from capbench.models.nets.planted import marked_pictures, plant, target_maps
from capbench.models.registry import find_model
from capbench.models.topdown import normalised
from cohorts.errors import CapbenchError
from synthpose import export as module
from synthpose import onnx_export, vitpose_export
from synthpose.export import HONEST, Parity, draft_card, export, tensors_of, whole_boxes

FPN = ("fpn-mini", {"width": 96, "stages": [32, 32, 48, 48], "stage_blocks": [1, 1, 1, 1]})
VITPOSE = ("vit-tiny", {"width": 48, "depth": 2, "heads": 3, "head": "simple"})
SIZE = (96, 128)
DATA = TrainingData(name="made people", synthetic=True)
RECIPE = hashlib.sha256(b"a recipe").hexdigest()


def planted(base, *, codec: Codec | None = None, points: int = 17, seed: int = 0):
    """A network whose maps have peaks, its card, and crops to ask it about."""
    codec = codec or Codec(kind="heatmap", decoding="dark")
    net = small.network(base, points=points, size=SIZE, seed=seed)
    pictures, marks, boxes = marked_pictures(4, points, seed=seed)
    crops = crop.plan(boxes, SIZE, geometry="udp" if codec.udp else "msra")
    cut = crop.cut(list(pictures), crops)
    made = net.architecture
    cell = decode.cell_size(SIZE, made.heatmap_size, codec=codec)
    maps = target_maps(crops.to_crop(marks) / np.array(cell), made.heatmap_size)
    plant(net, normalised(cut, Input(size=SIZE)), maps)
    card = draft_card(
        made, training=[DATA], recipe=RECIPE, name="small", version="1",
        skeleton={17: "coco-17", 52: "synthpose-52"}[points], input=Input(size=SIZE), codec=codec,
    )  # fmt: skip
    return net, card, cut


@pytest.fixture(scope="module")
def fpn():
    return planted(FPN)


@pytest.fixture(scope="module")
def made(fpn, tmp_path_factory):
    """The folder with the FPN as safetensors, ONNX and eight bits, and what was found."""
    net, card, cut = fpn
    folder = tmp_path_factory.mktemp("made") / "small"
    return folder, {one.format: one for one in export(net, card, folder, crops=cut, int8=True)}


def answers(net, batch):
    with torch.no_grad():
        found = net(torch.from_numpy(batch))
    return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]


def by_onnxruntime(path, batch):
    """The bare runtime, none of our own reading."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})


# --- the same answers -------------------------------------------------------------------------------


@pytest.mark.truth("onnxruntime and torch, each asked directly")
def test_onnx_gives_the_networks_maps_for_any_batch(fpn, made) -> None:
    net, card, cut = fpn
    batch = normalised(cut, card.input)
    (wanted,) = answers(net, batch)
    assert np.ptp(wanted) > 0.5
    for count in (1, 3, 4):
        (found,) = by_onnxruntime(made[0] / "onnx" / "model.onnx", batch[:count])
        np.testing.assert_allclose(found, wanted[:count], atol=1e-4 * np.abs(wanted).max())
    thirty = np.concatenate([batch] * 8)[:30]
    (found,) = by_onnxruntime(made[0] / "onnx" / "model.onnx", thirty)
    np.testing.assert_allclose(found[28:], wanted[:2], atol=1e-4 * np.abs(wanted).max())


def test_safetensors_hold_the_weights(fpn, made) -> None:
    kept = read_checkpoint(made[0] / "safetensors" / "model.safetensors").tensors
    state = fpn[0].state_dict()
    assert kept.keys() == state.keys()
    assert all(np.array_equal(kept[name], value.numpy()) for name, value in state.items())


def test_every_folder_opens_and_sees_what_was_planted(fpn, made) -> None:
    folder, found = made
    _, card, cut = fpn
    boxes = whole_boxes(card, len(cut))
    _, marks, seen = marked_pictures(4, 17)
    truth = crop.plan(seen, SIZE).to_crop(marks)
    for name, reach in (("safetensors", 2.0), ("onnx", 2.0), ("int8", 3.0)):
        model = find_model(folder / name).open()
        points = model.predict(list(cut), boxes).points
        model.close()
        assert np.median(np.linalg.norm(points - truth, axis=-1)) < reach, name
        assert found[name].folder == folder / name
    for name in ("safetensors", "onnx"):
        assert found[name].pixels < 1e-3 and found[name].maps < 1e-4 and found[name].undecided == 0


def test_eight_bits_are_smaller_and_say_what_they_cost(made) -> None:
    folder, found = made
    eight, whole = found["int8"], found["onnx"]
    assert eight.size < 0.6 * whole.size and 0 < eight.typical <= eight.most <= eight.pixels
    note = read_card(folder / "int8").notes[-1]
    assert f"{eight.typical:.2f} px (median)" in note and "4 crops of 96 x 128 px" in note
    assert "Eight bits" not in " ".join(read_card(folder / "onnx").notes)


def test_half_the_bytes_nearly_the_same_answers(tmp_path) -> None:
    net, card, cut = planted(FPN)
    (half,) = export(net, card, tmp_path, crops=cut, formats=["onnx"], half=True)
    weights = sum(v.numel() for v in net.state_dict().values())
    assert half.size < 2.6 * weights < 4 * weights
    assert 0 < half.maps < 5e-3 and half.pixels < 0.05
    batch = normalised(cut, card.input)
    (found,) = by_onnxruntime(tmp_path / "onnx" / "model.onnx", batch)
    assert found.dtype == np.float32
    rounded = planted(FPN)[0]
    rounded.load_state_dict(
        {k: v.half().float() if v.numel() >= 1024 else v for k, v in net.state_dict().items()}
    )
    (wanted,) = answers(rounded, batch)  # norms are folded into weights before rounding: near, not equal
    assert np.abs(found - wanted).max() < 2e-2 * np.abs(wanted).max()


def test_simcc_has_two_outputs_by_name(tmp_path) -> None:
    net = small.network(FPN, size=(64, 96), bins=[128, 192])
    onnx_export.write_onnx(tmp_path / "a.onnx", net)
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    assert [out.name for out in session.get_outputs()] == ["simcc_x", "simcc_y"]
    batch = np.random.default_rng(0).normal(size=(3, 3, 96, 64)).astype(np.float32)
    for found, wanted in zip(session.run(None, {"picture": batch}), answers(net, batch), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_network_stays_as_it_is(fpn, tmp_path) -> None:
    net, card, cut = fpn
    net.train()
    before = tensors_of(net)
    try:
        export(net, card, tmp_path / "a", crops=cut, formats=["safetensors"])
        assert net.training
        assert all(np.array_equal(value, before[name]) for name, value in tensors_of(net).items())
        net.to(memory_format=torch.channels_last)
        export(net, card, tmp_path / "b", crops=cut, formats=["safetensors"])
    finally:
        net.eval()
    one, other = ((tmp_path / name / "safetensors" / "model.safetensors").read_bytes() for name in "ab")
    assert one == other


# --- the files --------------------------------------------------------------------------------------


def test_the_same_network_gives_the_same_bytes_and_no_paths(fpn, made, tmp_path) -> None:
    onnx_export.write_onnx(tmp_path / "again.onnx", fpn[0])
    data = (tmp_path / "again.onnx").read_bytes()
    assert data == (made[0] / "onnx" / "model.onnx").read_bytes()
    for path in (tmp_path / "again.onnx", made[0] / "int8" / "model.onnx"):
        assert not re.search(rb"\.py|/tmp/|site-packages|stack_trace", path.read_bytes())


def test_there_is_nothing_but_model_and_card(made) -> None:
    folder, _ = made
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {
        "safetensors", "safetensors/model.yaml", "safetensors/model.safetensors",
        "onnx", "onnx/model.yaml", "onnx/model.onnx", "int8", "int8/model.yaml", "int8/model.onnx",
    }  # fmt: skip
    routes = {name: read_card(folder / name).route for name in ("safetensors", "onnx", "int8")}
    assert routes == {"safetensors": "torch", "onnx": "onnx", "int8": "onnx"}


def test_nothing_is_overwritten_unasked(fpn, tmp_path) -> None:
    net, card, cut = fpn
    export(net, card, tmp_path, crops=cut, formats=["safetensors"])
    with pytest.raises(CapbenchError, match="exists"):
        export(net, card, tmp_path, crops=cut, formats=["onnx", "safetensors"])
    assert not (tmp_path / "onnx").exists()  # refused before any work
    other = card.model_copy(update={"version": "2"})
    export(net, other, tmp_path, crops=cut, formats=["safetensors"], overwrite=True)
    assert read_card(tmp_path / "safetensors").version == "2"
    (tmp_path / "safetensors" / "thesis.txt").write_text("mine")
    with pytest.raises(CapbenchError, match=r"thesis\.txt"):
        export(net, card, tmp_path, crops=cut, formats=["safetensors"], overwrite=True)
    assert (tmp_path / "safetensors" / "thesis.txt").read_text() == "mine"


def test_an_export_that_answers_otherwise_is_not_kept(fpn, tmp_path, monkeypatch) -> None:
    net, card, cut = fpn
    export(net, card, tmp_path, crops=cut, formats=["safetensors"])
    kept = (tmp_path / "safetensors" / "model.safetensors").read_bytes()
    write = module.write_safetensors

    def spoilt(path, tensors, **rest):
        # one channel of one point's map, moved by three cells: nothing that a glance would show
        changed = {name: array.copy() for name, array in tensors.items()}
        changed["head.final_layer.weight"][5] = changed["head.final_layer.weight"][6]
        write(path, changed, **rest)

    monkeypatch.setattr(module, "write_safetensors", spoilt)
    with pytest.raises(CapbenchError, match="answer as the network does"):
        export(net, card, tmp_path, crops=cut, formats=["safetensors"], overwrite=True)
    assert (tmp_path / "safetensors" / "model.safetensors").read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["safetensors"]


def test_a_network_that_decides_nothing_is_not_passed_off_as_equal(fpn) -> None:
    found = Parity("onnx", None, 1, maps=1e-7, pixels=0.0, typical=0.0, most=0.0, undecided=0.9)
    with pytest.raises(CapbenchError, match="90%"):
        module._check(found, half=False)


# --- Hugging Face -----------------------------------------------------------------------------------


@pytest.mark.truth("transformers' own VitPose")
@pytest.mark.parametrize("head", ["simple", "deconv"])
def test_transformers_loads_the_folder(head, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    base = (VITPOSE[0], VITPOSE[1] | {"head": head})
    net, card, cut = planted(base, codec=Codec(kind="heatmap", decoding="udp", kernel=3))
    (found,) = export(net, card, tmp_path, crops=cut, formats=["hf"])
    assert found.maps < 1e-4 and found.pixels < 0.01
    theirs = transformers.VitPoseForPoseEstimation.from_pretrained(
        tmp_path / "hf", local_files_only=True
    ).eval()
    batch = normalised(cut, card.input)
    with torch.no_grad():
        maps = theirs(torch.from_numpy(batch)).heatmaps.numpy()
    np.testing.assert_allclose(maps, answers(net, batch)[0], atol=1e-4)
    assert theirs.config.id2label[5] == "left_shoulder" and len(theirs.config.id2label) == 17
    told = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert told["size"] == {"height": 128, "width": 96} and told["image_mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        (FPN, {}, "fpn-mini"),
        ((VITPOSE[0], {"width": 48, "heads": 3, "depth": 1, "deconv": [8, 8]}), {}, "deconv of 256"),
        ((VITPOSE[0], VITPOSE[1] | {"hidden": 100}), {}, "multiple"),
        (VITPOSE, {"padding": 1.5}, "padding 1.5"),
        (VITPOSE, {"colour": "bgr"}, "bgr"),
    ],
)
def test_what_vitpose_cannot_be_is_refused_before_anything_is_written(base, changes, words, tmp_path) -> None:
    net = small.network(base, size=SIZE)
    card = draft_card(
        net.architecture, training=[DATA], name="a", version="1", skeleton="coco-17",
        input=Input(size=SIZE, **changes), codec=Codec(kind="heatmap"),
    )  # fmt: skip
    with pytest.raises(CapbenchError, match=re.escape(words)):
        export(net, card, tmp_path / "out", crops=np.zeros((2, 128, 96, 3), np.uint8), formats=["onnx", "hf"])
    assert not (tmp_path / "out").exists()


def test_crops_that_are_not_whole_patches_are_refused() -> None:
    net = small.network(VITPOSE, size=(100, 132))
    card = ModelCard(
        name="a", version="1", licence="x", route="torch", skeleton="coco-17", input=Input(size=(100, 132)),
        codec=Codec(kind="heatmap"), net={"architecture": "vit-tiny"},
    )  # fmt: skip
    with pytest.raises(CapbenchError, match="whole patches"):
        vitpose_export.config_of(net.architecture, card)


# --- what is asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crops", "formats", "words"),
    [
        (np.zeros((2, 96, 128, 3), np.uint8), ["onnx"], r"\(n, 128, 96, 3\)"),
        (np.zeros((2, 128, 96, 3), np.float32), ["onnx"], "float32"),
        (np.zeros((1, 128, 96, 3), np.uint8), ["onnx"], "two crops"),
        (np.zeros((2, 128, 96, 3), np.uint8), ["onxx"], "Did you mean 'onnx'"),
    ],
)
def test_bad_requests(fpn, crops, formats, words, tmp_path) -> None:
    with pytest.raises(CapbenchError, match=words):
        export(fpn[0], fpn[1], tmp_path / "out", crops=crops, formats=formats)
    assert not (tmp_path / "out").exists()


def test_cards_say_what_a_network_learnt_from_and_is_not_for(fpn) -> None:
    _, card, _ = fpn
    assert card.notes == (HONEST, f"Trained by the recipe with SHA-256 {RECIPE}.")
    assert card.licence == "Apache-2.0" and card.training_data == (DATA,)
    assert card.net.architecture == "fpn-mini" and card.net.options["width"] == 96
    real = TrainingData(name="COCO", synthetic=False)
    architecture = small.network(FPN, size=SIZE).architecture
    later = draft_card(
        architecture, card.model_copy(update={"licence": "CC0-1.0"}), training=[DATA, real], version="2"
    )
    assert later.name == "small" and later.version == "2" and later.licence == "CC0-1.0"
    assert HONEST not in later.notes and later.input == card.input
    with pytest.raises(CapbenchError, match="Expected a card of 17 points"):
        draft_card(architecture, card, training=[DATA], skeleton="synthpose-52")


# --- how it is measured -----------------------------------------------------------------------------


@pytest.mark.truth("the identity")
@pytest.mark.parametrize("geometry", ["msra", "udp"])
@pytest.mark.parametrize("padding", [1.0, 1.25])
def test_whole_boxes_make_crops_of_the_pictures_themselves(geometry, padding) -> None:
    card = ModelCard(
        name="a", version="1", licence="x", route="onnx", skeleton="coco-17",
        input=Input(size=(48, 64), padding=padding), codec=Codec(kind="heatmap", geometry=geometry),
    )  # fmt: skip
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), dtype=np.uint8)
    crops = crop.plan(whole_boxes(card, 3), (48, 64), padding=padding, geometry=geometry)
    if geometry == "udp":  # width 47 to 63 x 48 / 64 of a pixel: its own doing
        corners = crops.to_crop(np.tile([[[0.0, 0], [47, 63]]], (3, 1, 1)))
        assert np.abs(corners - [[0, 0], [47, 63]]).max() < 0.2
        return
    np.testing.assert_allclose(crops.scale, 1, atol=1e-12)
    np.testing.assert_allclose(crops.shift, 0, atol=1e-9)
    np.testing.assert_array_equal(crop.cut(list(pictures), crops), pictures)


def test_hills_are_counted_not_cells() -> None:
    y, x = np.mgrid[:20, :16]

    def hill(cx, cy, high):
        return high * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 1.5**2)

    maps = np.stack([hill(5, 5, 1.0), hill(5, 5, 1.0) + hill(11, 14, 0.98), hill(5.5, 5, 1.0)])[None]
    assert module._leads(maps, 0.05).tolist() == [[True, False, True]]
    assert module._leads(maps, 0.01).tolist() == [[True, True, True]]
    vectors = np.exp(-0.5 * (np.arange(40) - np.array([[[10.0]], [[39.0]]])) ** 2)
    assert module._leads(vectors, 0.1).all()
