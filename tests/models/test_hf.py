"""Hugging Face's VitPose: transformers' own answers, cards from its folders, and what a folder may not do."""

import json
import re
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import small_models as small
from hostile_pickles import PAYLOADS

from capbench.models.adapters import hf
from capbench.models.card import Codec, Input, ModelCard, Net, Points, write_card
from capbench.models.registry import open_model
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError


def saved(folder, *, points=17, size=(64, 48), simple=True, labels=None, **backbone):
    """A small random VitPose as transformers saves it; ``size`` is (height, width)."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    options = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3} | backbone
    made = transformers.VitPoseBackboneConfig(
        image_size=size, out_indices=[options["num_hidden_layers"]], **options
    )
    config = transformers.VitPoseConfig(backbone_config=made, num_labels=points, use_simple_decoder=simple)
    if labels:
        config.id2label = dict(enumerate(labels))
    net = transformers.VitPoseForPoseEstimation(config).eval()
    for value in net.state_dict().values():
        if value.is_floating_point() and value.ndim > 1:
            value.normal_(std=0.2)
    net.save_pretrained(folder)
    return net


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf") / "vitpose"
    saved(folder)
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "vitpose")


def edit(folder, change, name="config.json"):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def image_processor():
    """transformers' own; since version 5 its other one needs torchvision."""
    try:
        from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil as kind
    except ImportError:
        from transformers.models.vitpose.image_processing_vitpose import VitPoseImageProcessor as kind
    return kind()


@pytest.mark.truth("transformers' own image processor and post-processing, from the same weights")
def test_keypoints_are_those_of_transformers_own_processing(tmp_path) -> None:
    """Their crop is scipy's, which is not rounded to grey levels: hence a margin, of 0.2 px."""
    script = small.script()
    made = script.planted("vit", pictures=3)
    script.write_hf(tmp_path, made)
    processor = image_processor()
    net = transformers.VitPoseForPoseEstimation.from_pretrained(tmp_path, local_files_only=True).eval()
    boxes = made.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]  # they want x, y, width, height
    per_picture = [[box.tolist()] for box in boxes]
    inputs = processor(images=made.pictures, boxes=per_picture, return_tensors="pt")
    with torch.no_grad():
        outputs = net(inputs["pixel_values"])
    theirs = processor.post_process_pose_estimation(outputs, boxes=per_picture)
    theirs = np.stack([people[0]["keypoints"].numpy() for people in theirs])
    ours = open_model(tmp_path).predict(made.pictures, made.boxes)
    assert (ours.confidence > 0.5).all()
    assert np.linalg.norm(ours.points - theirs, axis=-1).max() < 0.2


def test_a_card_is_inferred(folder) -> None:
    card = hf.card_of(folder)
    assert card.name == "vitpose" and card.route == "hf" and card.skeleton == "coco-17"
    assert card.input.size == (48, 64) and card.codec.decoding == "udp" and card.net is None
    assert list(card.files) == ["model.safetensors", "config.json"]
    assert card.weights == "model.safetensors"


def test_52_points_are_synthpose_s(tmp_path) -> None:
    saved(tmp_path, points=52)
    assert hf.card_of(tmp_path).skeleton == "synthpose-52"


def test_other_points_are_those_it_names(tmp_path) -> None:
    saved(tmp_path, points=3, labels=("head", "hand", "foot"))
    card = hf.card_of(tmp_path)
    assert isinstance(card.skeleton, Points) and card.points.points == ("head", "hand", "foot")


def test_points_without_a_count_are_counted_in_the_weights(folder) -> None:
    edit(folder, lambda c: [c.pop(key, None) for key in ("id2label", "label2id", "num_labels")])
    assert hf.card_of(folder).skeleton == "coco-17"


def test_normalisation_is_the_processor_s(folder) -> None:
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    card = hf.card_of(folder)
    assert card.input.mean == (0.5,) * 3 and card.input.std == (0.25,) * 3
    assert "preprocessor_config.json" in card.files


@pytest.mark.parametrize("simple", [True, False])
def test_answers_are_the_network_s_own(simple, tmp_path) -> None:
    net = saved(tmp_path, simple=simple)
    frames, boxes = small.pictures()
    found = open_model(tmp_path).predict(frames, boxes)
    from capbench.models import crop
    from capbench.models.topdown import normalised

    crops = crop.plan(boxes, (48, 64), geometry="udp")
    with torch.no_grad():
        maps = net(torch.from_numpy(normalised(crop.cut(frames, crops), Input(size=(48, 64))))).heatmaps
    wanted = np.maximum(maps.numpy().max(axis=(2, 3)), 0)
    assert (wanted > 0).any()
    assert np.allclose(found.confidence, wanted, rtol=1e-3, atol=1e-6)


def test_weights_in_torch_s_format_are_read_without_running_them(folder) -> None:
    frames, boxes = small.pictures()
    wanted = open_model(folder).predict(frames, boxes).points
    from safetensors.torch import load_file

    mark = folder / "mark"
    content = dict(load_file(folder / "model.safetensors"))
    content["evil"] = PAYLOADS["builtins.open"](mark, folder)
    torch.save(content, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert np.array_equal(open_model(folder).predict(frames, boxes).points, wanted, equal_nan=True)
    assert not mark.exists()


def test_weights_in_several_files_are_put_together(folder) -> None:
    from safetensors.torch import load_file, save_file

    frames, boxes = small.pictures()
    wanted = open_model(folder).predict(frames, boxes).points
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for i, part in enumerate((list(whole)[:10], list(whole)[10:]), start=1):
        save_file({name: whole[name] for name in part}, folder / f"model-0000{i}-of-00002.safetensors")
    assert np.array_equal(open_model(folder).predict(frames, boxes).points, wanted, equal_nan=True)


# --- mixtures of experts ------------------------------------------------------------------------


def test_each_expert_answers_for_itself(tmp_path) -> None:
    net = saved(tmp_path, num_experts=3, part_features=8)
    card = hf.card_of(tmp_path)
    assert card.net == Net(architecture="vitpose", options={"dataset_index": 0})
    frames, boxes = small.pictures()
    answers = []
    for index in range(3):
        asked = card.model_copy(update={"net": Net(architecture="vitpose", options={"dataset_index": index})})
        answers.append(hf.open(asked, tmp_path).predict(frames, boxes).confidence)
    assert not np.allclose(answers[0], answers[1]) and not np.allclose(answers[1], answers[2])
    from capbench.models import crop
    from capbench.models.topdown import normalised

    batch = normalised(crop.cut(frames, crop.plan(boxes, (48, 64), geometry="udp")), Input(size=(48, 64)))
    with torch.no_grad():
        maps = net(torch.from_numpy(batch), dataset_index=torch.tensor([2, 2])).heatmaps.numpy()
    assert np.allclose(answers[2], np.maximum(maps.max(axis=(2, 3)), 0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "options", [None, {}, {"dataset_index": 3}, {"dataset_index": -1}, {"dataset_index": "0"}]
)
def test_which_expert_must_be_said(options, tmp_path) -> None:
    saved(tmp_path, num_experts=3, part_features=8)
    net = None if options is None else Net(architecture="vitpose", options=options)
    card = hf.card_of(tmp_path).model_copy(update={"net": net})
    with pytest.raises(CapbenchError, match="which of 3 experts"):
        hf.open(card, tmp_path)


# --- what a folder may not do -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(model_type="llama"), "of type vitpose, got llama"),
        (lambda c: c.pop("model_type"), "of type vitpose"),
        (lambda c: c.update(backbone="microsoft/resnet-50"), "own backbone"),
        (lambda c: c.update(use_timm_backbone=True), "own backbone"),
        (lambda c: c["backbone_config"].update(model_type="dinov2"), "own backbone"),
        (lambda c: c.update(backbone_config="x"), "own backbone"),
        (lambda c: c["backbone_config"].update(hidden_size=10**9), "hidden_size from 1 to 4096"),
        (lambda c: c["backbone_config"].update(num_hidden_layers=-1), "num_hidden_layers"),
        (lambda c: c["backbone_config"].update(image_size=[64]), "image_size"),
        (lambda c: c["backbone_config"].update(image_size="64"), "image_size"),
        (lambda c: c["backbone_config"].update(layer_norm_eps="x"), "layer_norm_eps"),
        (lambda c: c["backbone_config"].update(hidden_act="relu"), "gelu"),
        (lambda c: c.update(scale_factor=10**6), "scale_factor"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(change, says, folder) -> None:
    edit(folder, change)
    with pytest.raises(CapbenchError, match=re.escape(says)) as caught:
        hf.card_of(folder)
    assert caught.value.file == str(folder / "config.json")


def test_code_that_a_folder_names_is_not_loaded(folder) -> None:
    mark = folder / "mark"
    code = f"open({str(mark)!r}, 'w').close()\n"
    (folder / "modeling_evil.py").write_text(code)
    (folder / "adapter_config.json").write_text("{}")

    def change(config):
        config["auto_map"] = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
        config["_attn_implementation"] = config["attn_implementation"] = "someone/kernel"
        config["quantization_config"] = {"quant_method": "bitsandbytes"}
        config["backbone_config"]["auto_map"] = config["auto_map"]

    edit(folder, change)
    frames, boxes = small.pictures()
    assert np.isfinite(open_model(folder).predict(frames, boxes).points).any()
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_files_outside_the_folder_are_refused(name, folder, tmp_path) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="link"):
        open_model(folder)


def test_weights_of_another_size_say_which(folder) -> None:
    edit(folder, lambda c: c["backbone_config"].update(num_hidden_layers=3))
    with pytest.raises(CapbenchError, match=r"encoder\.layer\.2"):
        open_model(folder)


def test_a_folder_without_weights_says_so(folder) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CapbenchError, match=r"model\.safetensors or pytorch_model\.bin"):
        open_model(folder)


def test_a_card_of_another_size_is_refused(folder) -> None:
    card = hf.card_of(folder)
    write_card(folder / "model.yaml", card.model_copy(update={"input": Input(size=(64, 64))}))
    with pytest.raises(CapbenchError, match="input size"):
        open_model(folder)


def test_preprocessors_that_make_no_sense_are_refused(folder) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": "x"}))
    with pytest.raises(CapbenchError, match="three numbers in image_mean"):
        hf.card_of(folder)


# --- the hub ------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_hub_model_is_fetched_once_without_code(pristine, cache, monkeypatch) -> None:
    import huggingface_hub

    asked = []

    def fetch(repository, *, revision, local_dir, allow_patterns):
        asked.append((repository, revision, tuple(allow_patterns)))
        shutil.copytree(pristine, local_dir, dirs_exist_ok=True)
        note = local_dir / ".cache" / "huggingface" / "download" / "config.json.metadata"
        note.parent.mkdir(parents=True)
        note.write_text("0123456789" * 4 + "\netag\n1.5\n")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    frames, boxes = small.pictures()
    model = open_model("hf:stanford/synthpose-x")
    assert np.isfinite(model.predict(frames, boxes).points).any()
    assert model.card.name == "stanford-synthpose-x" and model.card.version == "0123456789" * 4
    open_model("hf:stanford/synthpose-x")
    assert len(asked) == 1 and asked[0][:2] == ("stanford/synthpose-x", None)
    assert not any(pattern.endswith((".py", "*")) for pattern in asked[0][2])
    open_model("hf:stanford/synthpose-x@v2")
    assert asked[1][1] == "v2"


def test_without_a_network_the_way_out_is_named(cache, monkeypatch) -> None:
    import huggingface_hub

    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(EnvironmentFault, match="no route to host") as caught:
        open_model("hf:stanford/synthpose-x")
    assert "--local-dir" in caught.value.fix


@pytest.mark.parametrize("name", ["x", "a/b/c", "../../etc", "a/..", "a b/c", "a/b@../../x y", "/a"])
def test_names_that_are_none_are_refused(name, cache) -> None:
    with pytest.raises(CapbenchError, match="ORG/NAME"):
        hf.find(name)


def test_cards_may_name_a_flip_test_and_codec(folder) -> None:
    card = hf.card_of(folder).model_copy(
        update={"flip_test": True, "codec": Codec(kind="heatmap", decoding="argmax", geometry="udp")}
    )
    assert isinstance(card, ModelCard)
    frames, boxes = small.pictures()
    plain, flipped = hf.open(hf.card_of(folder), folder), hf.open(card, folder)
    assert not np.allclose(plain.predict(frames, boxes).confidence, flipped.predict(frames, boxes).confidence)
