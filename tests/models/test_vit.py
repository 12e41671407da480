"""The vision transformer: names as published, Hugging Face's as another implementation of the same."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from network_shapes import digest_of, meta, shapes

from capbench.models.nets import names
from capbench.models.nets.architecture import (
    BACKBONES,
    architecture,
    architecture_of,
    from_options,
    to_options,
)
from capbench.models.nets.pose import load
from capbench.models.nets.vit import Attention, Layer
from cohorts.errors import CapbenchError

SMALL = {"width": 24, "depth": 2, "heads": 3}
SIZE = (48, 64)


def small(**changes):
    return from_options("vit-tiny", SMALL | changes, points=5, input_size=SIZE)


def arrays(net):
    return {name: value.detach().numpy() for name, value in net.state_dict().items()}


def shaken(net, seed=0):
    """Random values everywhere, norms' statistics and positions too: no zero or one hides anything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(
                    torch.rand(value.shape, generator=generator) * 0.4 - 0.2 + (value.ndim == 1) * 0.5
                )
    return net.eval()


@pytest.mark.truth("MMPose 1.3.2 with mmpretrain 1.2.0: count of parameters, SHA-256 of names and shapes")
@pytest.mark.parametrize(
    ("name", "count", "digest"),
    [
        ("vit-small", 24_290_193, "0943704e4ee3e4716d65c657414a5b30bbae9b67b52caa4b9fe55358afe272df"),
        ("vit-base", 89_993_745, "df4c09e65f1c919399f25f56f313e4c2b7acc3085288b024367a37ba1a5c8bc9"),
        ("vit-large", 308_543_761, "44a5d31ef5a6cebba68e9a37e70d0b55f9c696319c8ad79c39cf1893d7aaf648"),
        ("vit-huge", 637_207_569, "4ccfec65829eea4fae4d9a0c8e8b45de38b1f18198edfe03b424c7224c3ca682"),
    ],
)
def test_all_names_and_shapes_are_mmpose_s(name, count, digest) -> None:
    net = meta(architecture(name, points=17, input_size=(192, 256)))
    assert sum(p.numel() for p in net.parameters()) == count
    assert digest_of(shapes(net)) == digest


def test_heatmaps_are_a_quarter_of_the_picture() -> None:
    for head in ("deconv", "simple"):
        made = from_options("vit-tiny", SMALL | {"head": head}, points=5, input_size=SIZE)
        with torch.no_grad():
            assert made.build(seed=0).eval()(torch.zeros(2, 3, 64, 48)).shape == (2, 5, 16, 12)


@pytest.mark.truth("softmax(q kᵀ / √d) v, written out")
def test_attention_by_its_formula() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    weight, bias = (value.detach().numpy() for value in attention.qkv.parameters())
    q, k, v = np.split(x.numpy() @ weight.T + bias, 3, axis=-1)
    mixed = np.empty((2, 7, 12))
    for n in range(2):
        for h in range(3):
            part = slice(4 * h, 4 * h + 4)
            scores = np.exp(q[n, :, part] @ k[n, :, part].T / 2)
            mixed[n, :, part] = scores / scores.sum(1, keepdims=True) @ v[n, :, part]
    weight, bias = (value.detach().numpy() for value in attention.proj.parameters())
    assert np.allclose(attention(x).detach().numpy(), mixed @ weight.T + bias, atol=1e-12)


def test_layers_are_left_out_in_training_only_and_make_up_for_it() -> None:
    torch.manual_seed(0)
    layer = Layer(from_options("vit-tiny", SMALL, points=1, input_size=SIZE).backbone, drop=0.5)
    x = torch.randn(2000, 2, 24)
    full = layer.eval()(x)
    dropped = layer.train()(x)
    # a quarter of the samples lose both branches, and pass as they are
    assert 0.2 < (dropped == x).all(dim=2).all(dim=1).float().mean() < 0.3
    after_attention = x + layer.attn(layer.ln1(x))
    assert torch.allclose(layer._kept(after_attention).mean(), after_attention.mean(), atol=0.05)
    assert torch.equal(layer.eval()(x), full)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.truth("transformers' VitPose, an implementation of its own")
@pytest.mark.parametrize("head", ["deconv", "simple"])
def test_the_same_maps_as_hugging_face(head) -> None:
    transformers = pytest.importorskip("transformers")
    made = small(head=head)
    net = shaken(made.build())
    backbone = transformers.VitPoseBackboneConfig(
        image_size=(64, 48),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        out_indices=[2],
        layer_norm_eps=1e-6,
    )
    other = transformers.VitPoseForPoseEstimation(
        transformers.VitPoseConfig(
            backbone_config=backbone, num_labels=5, use_simple_decoder=head == "simple"
        )
    ).eval()
    theirs = names.to_transformers(arrays(net))
    other.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in theirs.items()}, strict=True
    )
    picture = torch.randn(3, 3, 64, 48)
    with torch.no_grad():
        ours, found = net(picture), other(picture).heatmaps
    assert found.std() > 0.01
    assert torch.allclose(ours, found, atol=1e-5 * float(found.abs().max()))
    # and back, where its own class position is added to every patch
    state = arrays(other)
    state["backbone.embeddings.position_embeddings"] = (
        np.random.default_rng(0).normal(size=(1, 13, 24)).astype("f4")
    )
    other.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in state.items()}, strict=True
    )
    with torch.no_grad():
        found = other(picture).heatmaps
        again = load(made, names.to_ours(state))(picture)
    assert torch.allclose(again, found, atol=1e-5 * float(found.abs().max()))
    assert not torch.allclose(again, ours, atol=1e-3)


@pytest.mark.parametrize("head", ["deconv", "simple"])
def test_names_lead_there_and_back(head) -> None:
    state = arrays(shaken(small(head=head).build()))
    again = names.from_transformers(names.to_transformers(state))
    assert set(again) == set(state)
    assert all(np.array_equal(again[name], state[name]) for name in state)


@pytest.mark.truth("the original ViTPose's names, as its published checkpoints have them")
def test_names_of_the_original_are_known() -> None:
    net = shaken(small().build())
    state = arrays(net)
    position = state.pop("backbone.pos_embed")
    old = {
        "backbone.pos_embed": np.concatenate([np.full_like(position[:, :1], 0.25), position - 0.25], axis=1)
    }
    for name, array in state.items():
        for ours, theirs in (
            ("head.", "keypoint_head."),
            ("ffn.layers.0.0", "mlp.fc1"),
            ("ffn.layers.1", "mlp.fc2"),
            ("projection", "proj"),
            ("backbone.ln1", "backbone.last_norm"),
            (".ln1", ".norm1"),
            (".ln2", ".norm2"),
            ("backbone.layers", "backbone.blocks"),
        ):
            name = name.replace(ours, theirs, 1)
        old[name] = array
    assert "backbone.blocks.1.norm2.bias" in old and "backbone.blocks.0.mlp.fc1.weight" in old
    again = names.to_ours(old)
    assert set(again) == set(arrays(net))
    assert all(np.allclose(again[name], array, atol=1e-6) for name, array in arrays(net).items())


def test_a_grid_of_patches_keeps_its_position() -> None:
    """192 patches (12 x 16) are positions, 193 hold a class's besides: 16² + 1 would too."""
    for patches, kept in ((192, 192), (193, 192), (256, 256), (257, 256), (432, 432), (433, 432)):
        made = names.to_ours({"backbone.pos_embed": np.ones((1, patches, 4))})
        assert made["backbone.pos_embed"].shape[1] == kept


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"backbone.encoder.layer.0.mlp.experts.0.weight": 1}, "mixture of experts"),
        ({"backbone.encoder.layer.0.attention.attention.query.weight": 1}, "key.weight"),
        ({"backbone.surprise.weight": 1}, "Expected a parameter of VitPose"),
    ],
)
def test_foreign_names_are_refused(state, says) -> None:
    state = {name: np.zeros((4, 4)) for name in state}
    with pytest.raises(CapbenchError, match=re.escape(says)):
        names.from_transformers(state)


def test_two_names_for_one_parameter_are_refused() -> None:
    with pytest.raises(CapbenchError, match="twice"):
        names.to_ours({"keypoint_head.a": np.zeros(1), "head.a": np.zeros(1)})


# --- architecture from shapes -------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in BACKBONES if n.startswith("vit")])
@pytest.mark.parametrize("head", ["simple", "deconv"])
def test_architecture_is_read_off_the_shapes(name, head) -> None:
    made = architecture(name, points=52, input_size=(192, 256), head=head)
    notes: list[str] = []
    assert architecture_of(shapes(meta(made)), notes=notes) == made
    assert any("heads" in note for note in notes) and any("192x256" in note for note in notes)


@pytest.mark.parametrize("size", [(192, 256), (288, 384), (224, 224), (48, 64)])
def test_input_size_follows_from_the_patches(size) -> None:
    made = from_options("vit-tiny", SMALL, points=5, input_size=size)
    assert architecture_of(shapes(meta(made)), heads=3).input_size == size


def test_other_aspects_must_be_given() -> None:
    found = shapes(meta(from_options("vit-tiny", SMALL, points=5, input_size=(64, 96))))
    with pytest.raises(CapbenchError, match="3:4 or square"):
        architecture_of(found)
    assert architecture_of(found, input_size=(64, 96), heads=3).backbone.depth == 2


@pytest.mark.parametrize(
    "changes",
    [{}, {"head": "simple"}, {"hidden": 50}, {"bins": [96, 128]}, {"deconv": [8], "deconv_kernel": 3}],
)
def test_options_lead_there_and_back(changes) -> None:
    made = small(**changes)
    name, options = to_options(made)
    assert from_options(name, options, points=5, input_size=SIZE) == made
    with torch.no_grad():
        found = made.build(seed=0).eval()(torch.zeros(1, 3, 64, 48))
    assert isinstance(found, tuple) == ("bins" in changes)


def test_simcc_takes_no_bilinear_enlargement() -> None:
    with pytest.raises(CapbenchError, match="got both"):
        small(head="simple", bins=[96, 128])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(CapbenchError, match="5 heads divide"):
        small(heads=5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.clear(), "Expected the parameters of an HRNet or ViT"),
        (lambda s: s.update({"backbone.pos_embed": (192, 24)}), "Expected patches"),
        (lambda s: s.pop("backbone.layers.0.ffn.layers.0.0.weight"), "ffn.layers.0.0.weight, got none"),
        (lambda s: s.pop("head.final_layer.weight"), "head.final_layer.weight, got none"),
        (lambda s: s.update({"head.final_layer.weight": (5, 7, 1, 1)}), "got 7"),
        (lambda s: s.update({"head.final_layer.weight": (5,)}), "4 axes"),
        (lambda s: s.update({"head.conv_layers.0.weight": (5, 7, 1, 1)}), "conv_layers"),
        (lambda s: s.update({"head.deconv_layers.0.weight": (5, 7, 9, 9)}), "kernel 2, 3 or 4"),
    ],
)
def test_shapes_of_something_else_are_refused(change, says) -> None:
    found = shapes(meta(small()))
    change(found)
    with pytest.raises(CapbenchError, match=re.escape(says)):
        architecture_of(found)
