"""ONNX networks: run, told apart, guessed from their shapes, and refused where they reach outside."""

import contextlib
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import blobs, heatmap_net, simcc_net

from capbench.models.adapters import onnx as adapter
from capbench.models.adapters.onnx import card_of, choose
from capbench.models.adapters.onnx_file import look
from capbench.models.card import Codec, Input, ModelCard, Points
from capbench.models.faults import ModelFault
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.store import sha256

SIZE = (96, 128)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def card(path, codec, *, points=3, size=SIZE, **more):
    skeleton = Points(name="dots", points=tuple(f"p{i}" for i in range(points)))
    given = {"input": Input(size=size, **PLAIN), "skeleton": skeleton, **more}
    given |= {"name": "blobs", "version": "1", "licence": "CC0-1.0", "route": "onnx"}
    return ModelCard(codec=codec, files={path.name: sha256(path)}, **given)


def scene():
    """Two pictures with three blobs each, and boxes."""
    spots = np.array(
        [[[150.3, 180.6], [170.8, 230.1], [138.2, 260.7]], [[310.4, 200.2], [260.9, 150.3], [333.0, 90.5]]]
    )
    pictures = [blobs(spots[0], (320, 400), sigma=9), blobs(spots[1], (640, 300), sigma=7)]
    boxes = np.array([[100.0, 120, 220, 320], [220.0, 60, 370, 250]])
    return pictures, boxes, spots


HEADS = {
    "msra geometry": (heatmap_net, Codec(kind="heatmap", decoding="dark"), SIZE, 0.05),
    # (96 - 1) / (24 - 1) is no whole number of pixels, (93 - 1) / (24 - 1) is 4
    "udp geometry": (heatmap_net, Codec(kind="heatmap", decoding="udp"), (93, 125), 0.05),
    "quarter cells": (heatmap_net, Codec(kind="heatmap", decoding="msra"), SIZE, 1.05),
    "simcc": (simcc_net, Codec(kind="simcc"), SIZE, 0.55),
    "simcc refined": (simcc_net, Codec(kind="simcc", refine=True), SIZE, 0.05),
}


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_a_network_finds_the_blobs_where_they_were_drawn(head, batch, tmp_path):
    make, codec, size, reach = HEADS[head]
    path = make(tmp_path / "net.onnx", size=size, batch=batch)
    model = adapter.open(card(path, codec, size=size), tmp_path)
    pictures, boxes, spots = scene()
    found = model.predict(pictures, boxes)
    extent = 1.25 * np.maximum(boxes[:, 3] - boxes[:, 1], (boxes[:, 2] - boxes[:, 0]) * size[1] / size[0])
    off = np.abs(found.points - spots) * (size[1] / extent)[:, None, None]
    assert off.max() < reach  # pixels of the crop
    assert np.array_equal(found.points, model.predict(pictures, boxes).points)
    model.close()


def test_threads_are_taken_and_change_nothing_here(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx")
    pictures, boxes, _ = scene()
    found = [
        adapter.open(card(path, Codec(kind="heatmap")), tmp_path, threads=t).predict(pictures, boxes).points
        for t in (None, 1, 2)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)


def test_colours_last_and_half_precision(tmp_path):
    """The same blur behind a transpose and a cast: a network for (n, h, w, 3) of float16."""
    path = heatmap_net(tmp_path / "plain.onnx")
    made = onnx.load(path)
    w, h = SIZE
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("in16", TensorProto.FLOAT16, ["n", h, w, 3]))
    made.graph.node.insert(0, helper.make_node("Cast", ["in16"], ["in32"], to=TensorProto.FLOAT))
    made.graph.node.insert(1, helper.make_node("Transpose", ["in32"], ["input"], perm=[0, 3, 1, 2]))
    made.graph.node.append(helper.make_node("Transpose", ["heatmaps"], ["last"], perm=[0, 2, 3, 1]))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("last", TensorProto.FLOAT, None))
    other = tmp_path / "last.onnx"
    onnx.save(made, str(other))
    pictures, boxes, _ = scene()
    plain = adapter.open(card(path, Codec(kind="heatmap")), tmp_path).predict(pictures, boxes)
    last = adapter.open(
        card(other, Codec(kind="heatmap"), input=Input(size=SIZE, layout="nhwc", **PLAIN)), tmp_path
    ).predict(pictures, boxes)
    np.testing.assert_allclose(last.points, plain.points, atol=0.02)


# --- which output is which ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ({"output": (1, 17, 64, 48)}, {"heatmaps": "output"}),
        ({"features": (1, 256, 8, 6), "maps": (1, 17, 64, 48)}, {"heatmaps": "maps"}),
        ({"simcc_x": (1, 17, 384), "simcc_y": (1, 17, 512)}, {"simcc_x": "simcc_x", "simcc_y": "simcc_y"}),
        ({"simcc_y": (1, 17, 512), "simcc_x": (1, 17, 384)}, {"simcc_x": "simcc_x", "simcc_y": "simcc_y"}),
        ({"511": (1, 17, 512), "512": (1, 17, 384)}, {"simcc_x": "512", "simcc_y": "511"}),
        ({"511": (1, 17, 384), "512": (1, 17, 512)}, {"simcc_x": "511", "simcc_y": "512"}),
        ({"511": ("n", 17, None), "512": ("n", 17, None)}, {"simcc_x": "511", "simcc_y": "512"}),
        ({"xy": (1, 17, 2), "s": (1, 17)}, {"points": "xy", "confidence": "s"}),
    ],
)
def test_outputs_are_told_apart_by_names_and_shapes(shapes, wanted):
    assert choose(shapes, 17, (192, 256), kind=None) == wanted


def test_outputs_that_fit_nothing_are_listed():
    with pytest.raises(ModelFault, match=r"SimCC vectors.*got heat \[1, 17, 64, 48\]"):
        choose({"heat": (1, 17, 64, 48)}, 17, (192, 256), kind="simcc")
    with pytest.raises(ModelFault, match="for 17 points"):
        choose({"heat": (1, 16, 64, 48)}, 17, (192, 256), kind=None)


def test_a_card_of_another_skeleton_is_the_model_s_fault(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx")
    pictures, boxes, _ = scene()
    with pytest.raises(ModelFault) as caught:
        adapter.open(card(path, Codec(kind="heatmap"), points=4), tmp_path).predict(pictures, boxes)
    assert caught.value.kind == "shape"


# --- without a card -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "skeleton"),
    [(17, "coco-17"), (26, "halpe-26"), (52, "synthpose-52"), (133, "coco-wholebody-133")],
)
def test_a_bare_file_is_known_by_its_shapes_and_says_what_was_guessed(points, skeleton, tmp_path):
    made = card_of(heatmap_net(tmp_path / "some net.onnx", points=points))
    assert made.skeleton == skeleton and made.input.size == SIZE
    assert made.codec.kind == "heatmap" and made.codec.decoding == "dark"
    assert made.name == "some-net" and made.licence == "unknown"
    assert any("Guessed" in note and skeleton in note for note in made.notes)


def test_a_bare_simcc_file_and_one_that_attends(tmp_path):
    made = card_of(simcc_net(tmp_path / "rtm.onnx", points=26, batch=1))
    assert made.codec.kind == "simcc" and made.skeleton == "halpe-26"
    net = onnx.load(heatmap_net(tmp_path / "net.onnx", points=17))
    net.graph.node[0].output[0] = "raw"
    net.graph.node.append(helper.make_node("Softmax", ["raw"], ["heatmaps"], axis=-1))
    onnx.save(net, str(tmp_path / "vit.onnx"))
    assert card_of(tmp_path / "vit.onnx").codec.decoding == "udp"


def test_a_bare_file_runs_as_its_guessed_card_says(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx", points=17)
    pictures, boxes, spots = scene()
    found = adapter.open(card_of(path), tmp_path).predict(pictures, boxes)
    for k in range(17):  # point k is the blob of colour k % 3
        np.testing.assert_allclose(found.points[:, k], spots[:, k % 3], atol=1.0)


def test_bare_files_that_cannot_be_guessed_say_what_to_do(tmp_path):
    with pytest.raises(CapbenchError, match=r"models init") as caught:
        card_of(heatmap_net(tmp_path / "five.onnx", points=5))
    assert "[1, 5, 32, 24]" in str(caught.value)
    net = onnx.load(heatmap_net(tmp_path / "net.onnx", points=17))
    net.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    onnx.save(net, str(tmp_path / "any_size.onnx"))
    with pytest.raises(CapbenchError, match=r"fixed size.*models init"):
        card_of(tmp_path / "any_size.onnx")


# --- what a file says, before the runtime sees it -----------------------------------------------


def test_the_look_sees_shape_operators_and_weights_outside(tmp_path):
    facts = look(simcc_net(tmp_path / "net.onnx", batch=2))
    assert facts.input_shape == (2, 3, 128, 96) and facts.operators == {"Conv", "ReduceMax"}
    assert not facts.external
    facts = look(heatmap_net(tmp_path / "big.onnx", external="big.bin"))
    assert facts.input_shape == (None, 3, 128, 96) and facts.external == {"big.bin"}


def test_weights_beside_the_network_are_its_own(tmp_path):
    path = heatmap_net(tmp_path / "big.onnx", points=17, external="big.bin")
    made = card_of(path)
    assert set(made.files) == {"big.onnx", "big.bin"}
    pictures, boxes, spots = scene()
    found = adapter.open(made, tmp_path).predict(pictures, boxes)
    np.testing.assert_allclose(found.points[:, 0], spots[:, 0], atol=0.5)
    (tmp_path / "big.bin").unlink()
    with pytest.raises(CapbenchError, match=r"big\.bin"):
        look(path)


def tensor_outside(location):
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[3, 3, 13, 13])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "C:/secret.bin", "", "a\\b"]
)
def test_weights_that_lead_out_are_refused(location, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"\0" * 100000)
    home = tmp_path / "model"
    home.mkdir()
    net = onnx.load(heatmap_net(home / "net.onnx"))
    net.graph.initializer[0].CopyFrom(tensor_outside(location))
    (home / "net.onnx").write_bytes(net.SerializeToString())
    with pytest.raises(RefusedError, match="own folder"):
        look(home / "net.onnx")
    with pytest.raises(RefusedError):
        adapter.open(card(home / "net.onnx", Codec(kind="heatmap")), home)


def test_a_link_that_leads_out_is_refused(tmp_path):
    home = tmp_path / "model"
    home.mkdir()
    path = heatmap_net(home / "net.onnx", external="net.bin")
    shutil.move(home / "net.bin", tmp_path / "net.bin")
    (home / "net.bin").symlink_to(tmp_path / "net.bin")
    with pytest.raises(RefusedError, match="own folder"):
        look(path)


@pytest.mark.parametrize("where", ["attribute", "branch", "sparse", "function", "training"])
def test_weights_outside_are_found_wherever_a_graph_can_hold_them(where, tmp_path):
    net = onnx.load(heatmap_net(tmp_path / "net.onnx"))
    bad = tensor_outside("../secret.bin")
    node = helper.make_node("Constant", [], ["c"], value=bad)
    if where == "attribute":
        net.graph.node.append(node)
    elif where == "branch":
        inner = helper.make_graph([node], "inner", [], [])
        inner = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "outer", [], [])
        net.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner))
    elif where == "sparse":
        net.graph.sparse_initializer.add().values.CopyFrom(bad)
    elif where == "function":
        function = net.functions.add()
        function.name, function.domain = "f", "own"
        function.node.append(node)
    else:
        net.training_info.add().algorithm.node.append(node)
    (tmp_path / "net.onnx").write_bytes(net.SerializeToString())
    with pytest.raises(RefusedError, match="own folder"):
        look(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am no network", b"ORTM" * 50, b"\x3a\xff\xff\xff\xff\x7f", b"PK\x03\x04" * 9]
)
def test_files_that_are_no_network(content, tmp_path):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(CapbenchError, match="Expected an ONNX network"):
        adapter.open(card(tmp_path / "net.onnx", Codec(kind="heatmap")), tmp_path)


def test_a_network_cut_short(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CapbenchError, match="cut short"):
        look(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_bytes_the_look_ends_and_says_so(data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        whole = bytearray(simcc_net(Path(folder) / "net.onnx").read_bytes()[:3000])
        for _ in range(data.draw(st.integers(1, 6))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path = Path(folder) / "bad.onnx"
        path.write_bytes(bytes(whole))
        with contextlib.suppress(CapbenchError):
            look(path)


def test_graphs_nested_without_end_are_refused(tmp_path):
    """A message within a message within a message …, as no exporter writes it."""

    def wrapped(tag, body):
        size, out = len(body), b""
        while True:
            size, low = size >> 7, size & 127
            out += bytes([low | (128 if size else 0)])
            if not size:
                return tag + out + body

    body = b""
    for _ in range(200):  # node (1) . attribute (5) . graph (6)
        body = wrapped(b"\x0a", wrapped(b"\x2a", wrapped(b"\x32", body)))
    (tmp_path / "deep.onnx").write_bytes(wrapped(b"\x3a", body))
    with pytest.raises(CapbenchError):
        look(tmp_path / "deep.onnx")


# --- what the runtime refuses -------------------------------------------------------------------


def test_operators_from_outside_are_not_loaded(tmp_path):
    net = onnx.load(heatmap_net(tmp_path / "net.onnx"))
    net.graph.node[0].domain = "their.ops"
    net.opset_import.append(helper.make_opsetid("their.ops", 1))
    (tmp_path / "net.onnx").write_bytes(net.SerializeToString())
    with pytest.raises(CapbenchError, match="standard operators"):
        adapter.open(card(tmp_path / "net.onnx", Codec(kind="heatmap")), tmp_path)


def test_two_inputs_and_whole_numbers_are_refused(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx")
    net = onnx.load(path)
    net.graph.input.append(helper.make_tensor_value_info("prompt", TensorProto.FLOAT, [1]))
    onnx.save(net, str(path))
    with pytest.raises(CapbenchError, match="one input"):
        adapter.open(card(path, Codec(kind="heatmap")), tmp_path)
    net = onnx.load(heatmap_net(path))
    net.graph.input[0].CopyFrom(helper.make_tensor_value_info("raw", TensorProto.UINT8, [1, 3, 128, 96]))
    net.graph.node.insert(0, helper.make_node("Cast", ["raw"], ["input"], to=TensorProto.FLOAT))
    onnx.save(net, str(path))
    with pytest.raises(CapbenchError, match="float pictures"):
        adapter.open(card(path, Codec(kind="heatmap")), tmp_path)


def test_a_network_that_fails_while_it_runs_is_at_fault(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx")
    net = onnx.load(path)
    net.graph.node[0].output[0] = "raw"
    net.graph.initializer.append(numpy_helper.from_array(np.array([7, 7], dtype=np.int64), "seven"))
    net.graph.node.append(helper.make_node("Reshape", ["raw", "seven"], ["heatmaps"]))
    onnx.save(net, str(path))
    pictures, boxes, _ = scene()
    with pytest.raises(ModelFault, match="can't be run") as caught:
        adapter.open(card(path, Codec(kind="heatmap")), tmp_path).predict(pictures, boxes)
    assert caught.value.kind == "threw"


def test_devices(tmp_path):
    path = heatmap_net(tmp_path / "net.onnx")
    with pytest.raises(CapbenchError, match="cpu, cuda or cuda:N"):
        adapter.open(card(path, Codec(kind="heatmap")), tmp_path, device="tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(EnvironmentFault, match="without"):
            adapter.open(card(path, Codec(kind="heatmap")), tmp_path, device="cuda:0")
