"""Native torch models: what a card says is what runs; what bare weights tell becomes a card."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import small_models as small

from capbench.models import crop
from capbench.models.adapters import torch_native, torch_run
from capbench.models.card import Codec, Input, Points
from capbench.models.mmpose_text import said
from capbench.models.nets.names import to_transformers
from capbench.models.registry import open_model
from capbench.models.topdown import normalised
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.skeleton import skeleton


def folder_of(tmp_path, net, card, name="weights.pth"):
    torch.save({"state_dict": net.state_dict()}, tmp_path / name)
    return small.in_folder(tmp_path, card, name)


@pytest.mark.truth("the highest cell of torch's own maps, carried back by hand")
@pytest.mark.parametrize("base", [small.HRNET, small.VIT])
def test_keypoints_are_the_highest_cells(base, tmp_path) -> None:
    net = small.network(base)
    model = open_model(folder_of(tmp_path, net, small.card_for(base)))
    frames, boxes = small.pictures()
    found = model.predict(frames, boxes)
    crops = crop.plan(boxes, small.SIZE)
    with torch.no_grad():
        maps = net(torch.from_numpy(normalised(crop.cut(frames, crops), Input(size=small.SIZE)))).numpy()
    for n in range(2):
        for k in range(17):
            if maps[n, k].max() <= 0:
                assert np.isnan(found.points[n, k]).all() and found.confidence[n, k] == 0
                continue
            y, x = np.unravel_index(maps[n, k].argmax(), maps[n, k].shape)
            wanted = (np.array([4 * x, 4 * y]) - crops.shift[n]) / crops.scale[n]
            assert np.allclose(found.points[n, k], wanted, atol=1e-9)
            assert np.isclose(found.confidence[n, k], maps[n, k].max(), rtol=1e-4)
    assert (found.confidence > 0).any()


def test_simcc_heads_run(tmp_path) -> None:
    net = small.network(bins=[128, 192])
    card = small.card_for(bins=[128, 192], codec=Codec(kind="simcc"))
    frames, boxes = small.pictures()
    found = open_model(folder_of(tmp_path, net, card)).predict(frames, boxes)
    crops = crop.plan(boxes, small.SIZE)
    with torch.no_grad():
        x, y = net(torch.from_numpy(normalised(crop.cut(frames, crops), Input(size=small.SIZE))))
    seen = found.confidence[0] > 0
    assert seen.any()
    wanted = np.stack([x[0].argmax(1) / 2, y[0].argmax(1) / 2], axis=1)
    assert np.allclose(found.points[0][seen], crops.to_picture(wanted[None])[0][seen])


def test_the_same_bytes_each_time_and_torch_s_settings_untouched(tmp_path) -> None:
    path = folder_of(tmp_path, small.network(), small.card_for(codec=Codec(kind="heatmap", decoding="dark")))
    frames, boxes = small.pictures(3)
    before = torch.get_num_threads()
    one, other = open_model(path), open_model(path)
    first = one.predict(frames, boxes)
    assert torch.get_num_threads() == before and torch.is_grad_enabled()
    for found in (one.predict(frames, boxes), other.predict(frames, boxes)):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, found, strict=True))
    one.close()


def test_any_batch_gives_the_same_keypoints(tmp_path) -> None:
    model = open_model(folder_of(tmp_path, small.network(), small.card_for()))
    frames, boxes = small.pictures(3)
    whole = model.predict(frames, boxes)
    for i in range(3):
        alone = model.predict(frames[i : i + 1], boxes[i : i + 1])
        assert np.allclose(alone.points[0], whole.points[i], equal_nan=True)


def test_weights_as_safetensors_and_under_hugging_face_s_names(tmp_path) -> None:
    from capbench.models.checkpoint import write_safetensors

    net = small.network(small.VIT)
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    frames, boxes = small.pictures()
    answers = []
    for name, arrays in (("ours", state), ("theirs", to_transformers(state))):
        folder = tmp_path / name
        folder.mkdir()
        write_safetensors(folder / "w.safetensors", arrays)
        small.in_folder(folder, small.card_for(small.VIT), "w.safetensors")
        answers.append(open_model(folder).predict(frames, boxes).points)
    assert np.array_equal(*answers, equal_nan=True) and np.isfinite(answers[0]).any()


# --- what can't run -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 12}, "has shape"),
        ({"blocks": 2}, "is missing"),
        ({"final_kernel": 3}, "head.final_layer.weight has shape (17, 8, 1, 1) where (17, 8, 3, 3) is due"),
        ({"depht": 3}, "net option"),
    ],
)
def test_a_card_that_is_not_of_these_weights_says_which(changes, says, tmp_path) -> None:
    with pytest.raises(CapbenchError, match=re.escape(says)):
        open_model(folder_of(tmp_path, small.network(), small.card_for(**changes)))


def test_a_skeleton_of_other_points_says_so(tmp_path) -> None:
    with pytest.raises(CapbenchError, match=r"\(17, 8, 1, 1\) where \(52, 8, 1, 1\)"):
        open_model(folder_of(tmp_path, small.network(), small.card_for(points="synthpose-52")))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", ""])
def test_devices_are_named_as_torch_names_them(device) -> None:
    with pytest.raises(CapbenchError, match="Expected the device"):
        torch_run.device_of(device)


def test_a_gpu_that_is_not_there_is_the_machine_s_fault() -> None:
    with pytest.raises(EnvironmentFault, match="Expected a GPU"):
        torch_run.device_of("cuda:99")


def test_without_torch_the_extra_is_named(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EnvironmentFault, match=r"capbench\[torch\]"):
        torch_run.need_torch()


# --- cards from weights -------------------------------------------------------------------------


@pytest.mark.parametrize("base", [small.HRNET, small.VIT])
def test_a_card_from_bare_weights_runs_them(base, tmp_path) -> None:
    net = small.network(base, size=(192, 256) if base is small.HRNET else (48, 64))
    path = tmp_path / "some weights.pth"
    torch.save({"state_dict": net.state_dict(), "x": torch.nn.Linear(1, 1)}, path)
    card = torch_native.card_of(path)
    assert card.name == "some-weights" and card.skeleton == "coco-17" and card.licence == "unknown"
    assert any("Linear" in note for note in card.notes)
    assert card.codec.decoding == ("dark" if base is small.HRNET else "udp")
    frames, boxes = small.pictures()
    heads = {} if base is small.HRNET else {"heads": 3}
    card = card.model_copy(
        update={"net": card.net.model_copy(update={"options": {**card.net.options, **heads}})}
    )
    model = torch_native.open(card, tmp_path)
    wanted = small.card_for(base, size=card.input.size, codec=card.codec)
    other = tmp_path / "other"
    other.mkdir()
    again = open_model(folder_of(other, net, wanted)).predict(frames, boxes)
    assert np.array_equal(model.predict(frames, boxes).points, again.points, equal_nan=True)


@pytest.mark.parametrize(
    ("points", "name"), [(17, "coco-17"), (26, "halpe-26"), (52, "synthpose-52"), (133, "coco-wholebody-133")]
)
def test_skeletons_by_their_number_of_points(points, name) -> None:
    net = small.network(points=points)
    card = torch_native.card_from_state_dict({n: v.numpy() for n, v in net.state_dict().items()})
    assert card.skeleton == name and any(name in note for note in card.notes)


def test_points_of_no_known_number_get_names_to_be_replaced() -> None:
    net = small.network(points=4)
    card = torch_native.card_from_state_dict({n: v.numpy() for n, v in net.state_dict().items()})
    assert isinstance(card.skeleton, Points) and len(card.points) == 4


CONFIG = """
codec = dict(type='MSRAHeatmap', input_size=(288, 384), heatmap_size=(72, 96), sigma=3, unbiased=True)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='HRNet', in_channels=3),
    head=dict(type='HeatmapHead', decoder=dict(blur_kernel_size=17, type='MSRAHeatmap')),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))
"""


def test_the_configuration_beside_the_weights_settles_what_shapes_leave_open() -> None:
    net = small.network()
    points = skeleton("coco-17").points
    meta = {
        "cfg": CONFIG,
        "dataset_meta": {"keypoint_id2name": dict(enumerate(points)), "dataset_name": "coco"},
    }
    card = torch_native.card_from_state_dict({n: v.numpy() for n, v in net.state_dict().items()}, meta=meta)
    assert card.input.size == (288, 384) and card.flip_test and card.shift_heatmap
    assert (card.codec.decoding, card.codec.sigma, card.codec.kernel) == ("dark", 3, 17)
    assert card.skeleton == "coco-17" and card.notes == ()


def test_names_beside_the_weights_come_before_their_number() -> None:
    """17 points of animals are not COCO's people."""
    net = small.network()
    names = [f"{side}_{part}" for part in ("eye", "ear", "paw", "hip") for side in ("left", "right")]
    names += ["nose", "neck", "tail", "a", "b", "c", "d", "e", "f"]
    flips = [1, 0, 3, 2, 5, 4, 7, 6, *range(8, 17)]
    meta = {"dataset_meta": {"keypoint_id2name": dict(enumerate(names)), "flip_indices": flips}}
    card = torch_native.card_from_state_dict({n: v.numpy() for n, v in net.state_dict().items()}, meta=meta)
    assert isinstance(card.skeleton, Points)
    assert card.points.points == tuple(names) and card.points.flip_indices == tuple(flips)


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        {"cfg": ""},
        {"cfg": "input_size=(99999, 1)"},
        {"cfg": 5},
        {"dataset_meta": {"keypoint_id2name": {"x": 1}}},
        {"dataset_meta": {"keypoint_id2name": {0: "a", 1: "a"}, "flip_indices": [1, 0]}},
        {"dataset_meta": {"keypoint_id2name": dict.fromkeys(range(17), "a"), "flip_indices": [99] * 17}},
    ],
)
def test_nonsense_beside_the_weights_changes_nothing(meta) -> None:
    state = {n: v.numpy() for n, v in small.network().state_dict().items()}
    assert torch_native.card_from_state_dict(state, meta=meta) == torch_native.card_from_state_dict(state)


def test_what_a_configuration_says() -> None:
    assert said({"cfg": "codec = {'type': 'UDPHeatmap', 'sigma': 2.5}"}).decoding == "udp"
    assert said({"cfg": "codec = dict(type='MSRAHeatmap', sigma=2)"}).decoding == "msra"
    assert said({"cfg": "backbone=dict(arch='large', type='mmpretrain.VisionTransformer')"}).heads == 16
    assert said({"cfg": "arch=dict(num_heads=6)"}).heads == 6
    assert said({"cfg": "simcc_split_ratio=2.0, test_cfg=dict(flip_test=False)"}).flip_test is False
    assert said({"config": "simcc_split_ratio=2.0"}).split_ratio == 2
