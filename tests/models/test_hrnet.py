"""HRNet: sizes and names as published, gradients everywhere, and what cards may change."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from network_shapes import digest_of, meta, shapes

from capbench.models.nets.architecture import (
    BACKBONES,
    HRNetSize,
    architecture,
    architecture_of,
    from_options,
    to_options,
)
from capbench.models.nets.pose import fill, load
from cohorts.errors import CapbenchError

SMALL = {"width": 8, "stem_width": 4, "stem_blocks": 1, "blocks": 1, "modules": [1, 1, 1]}


def small(**changes):
    return from_options("hrnet-w32", SMALL | changes, points=5, input_size=(64, 96))


@pytest.mark.truth(
    "MMPose 1.3.2 built the same network: count of its parameters, SHA-256 of its names and shapes"
)
@pytest.mark.parametrize(
    ("name", "count", "digest"),
    [
        ("hrnet-w32", 28_536_113, "3c3a94e00a1fdf73b6e8e512937c5f5d20afa2ce5e8d9173726802bf3a8a43a6"),
        ("hrnet-w48", 63_595_745, "0135ea797dccb2e6b93fa37b9c32a570fab93a00300411d007bd84264926bb5b"),
    ],
)
def test_all_names_and_shapes_are_mmpose_s(name, count, digest) -> None:
    net = meta(architecture(name, points=17, input_size=(192, 256)))
    assert sum(p.numel() for p in net.parameters()) == count
    assert digest_of(shapes(net)) == digest


@pytest.mark.truth("names and shapes listed by MMPose 1.3.2 for HRNet-W32 with a HeatmapHead")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("backbone.conv1.weight", (64, 3, 3, 3)),
        ("backbone.bn2.running_var", (64,)),
        ("backbone.layer1.0.downsample.1.bias", (256,)),
        ("backbone.layer1.3.conv3.weight", (256, 64, 1, 1)),
        ("backbone.transition1.0.0.weight", (32, 256, 3, 3)),
        ("backbone.transition1.1.0.0.weight", (64, 256, 3, 3)),
        ("backbone.stage2.0.branches.0.0.conv1.weight", (32, 32, 3, 3)),
        ("backbone.stage2.0.fuse_layers.0.1.0.weight", (32, 64, 1, 1)),
        ("backbone.stage2.0.fuse_layers.1.0.0.0.weight", (64, 32, 3, 3)),
        ("backbone.transition2.2.0.0.weight", (128, 64, 3, 3)),
        ("backbone.stage3.3.fuse_layers.2.0.0.0.weight", (32, 32, 3, 3)),
        ("backbone.stage3.3.fuse_layers.2.0.1.0.weight", (128, 32, 3, 3)),
        ("backbone.transition3.3.0.0.weight", (256, 128, 3, 3)),
        ("backbone.stage4.1.fuse_layers.3.0.2.1.num_batches_tracked", ()),
        ("backbone.stage4.2.fuse_layers.0.3.1.weight", (32,)),
        ("head.final_layer.weight", (17, 32, 1, 1)),
    ],
)
def test_some_names_spelled_out(name, shape) -> None:
    found = shapes(meta(architecture("hrnet-w32", points=17, input_size=(192, 256))))
    assert found[name] == shape
    assert not [
        n for n in found if n.startswith("backbone.stage4.2.fuse_layers.1")
    ]  # only one output at the end


def test_heatmaps_are_a_quarter_of_the_picture() -> None:
    with torch.no_grad():
        assert small().build(seed=0).eval()(torch.zeros(3, 3, 96, 64)).shape == (3, 5, 24, 16)


@pytest.mark.parametrize("changes", [{}, {"head": "deconv", "deconv": [6, 4]}, {"bins": [128, 192]}])
def test_every_parameter_takes_part(changes) -> None:
    net = small(**changes).build(seed=1)
    found = net(torch.randn(2, 3, 96, 64))
    (
        found if isinstance(found, torch.Tensor) else torch.cat([part.flatten() for part in found])
    ).sum().backward()
    # a ReLU may be shut for a whole channel, but no parameter as a whole may be out of reach
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_each_branch_reaches_the_output() -> None:
    """The answer in one corner follows from the opposite corner, which only coarse branches see."""
    net = small().build(seed=2).eval()
    picture = torch.zeros(1, 3, 96, 64)
    changed = picture.clone()
    changed[..., -8:, -8:] = 5
    with torch.no_grad():
        difference = (net(picture) - net(changed)).abs().amax(1)[0]
    assert difference[0, 0] > 0


def test_simcc_gives_two_vectors() -> None:
    with torch.no_grad():
        x, y = small(bins=[128, 192]).build(seed=0).eval()(torch.zeros(2, 3, 96, 64))
    assert x.shape == (2, 5, 128) and y.shape == (2, 5, 192)


def test_seed_decides_the_weights_and_leaves_torch_s_own_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, other, third = (small().build(seed=s).state_dict() for s in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["backbone.conv1.weight"], third["backbone.conv1.weight"])


# --- sizes by name and by option ----------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in BACKBONES if n.startswith("hrnet")])
@pytest.mark.parametrize("head", ["conv", "deconv"])
def test_architecture_is_read_off_the_shapes(name, head) -> None:
    made = architecture(name, points=19, input_size=(192, 256), head=head)
    assert architecture_of(shapes(meta(made)), input_size=(192, 256)) == made


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"final_kernel": 3},
        {"head": "deconv", "deconv_kernel": 2},
        {"bins": [32, 48], "modules": [1, 2, 1]},
    ],
)
def test_options_lead_there_and_back(changes) -> None:
    made = small(**changes)
    name, options = to_options(made)
    assert from_options(name, options, points=5, input_size=(64, 96)) == made
    assert architecture_of(shapes(meta(made)), input_size=(64, 96)) == made


def test_the_small_one_has_about_three_million_parameters() -> None:
    net = meta(architecture("hrnet-w18-small", points=52, input_size=(192, 256)))
    assert 3e6 < sum(p.numel() for p in net.parameters()) < 4e6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"widht": 8}, "Did you mean 'width'"),
        ({"points": 8}, "points"),
        ({"width": 0}, "from 1 to 4096"),
        ({"width": 10**9}, "from 1 to 4096"),
        ({"width": "8"}, "a whole number"),
        ({"width": True}, "a whole number"),
        ({"modules": [1, 1]}, "3 whole numbers"),
        ({"modules": 4}, "3 whole numbers"),
        ({"blocks": [4]}, "a whole number"),
        ({"head": "simcc"}, "head"),
        ({"head": {"deconv": []}}, "name of a head"),
        ({"deconv": [256], "deconv_kernel": 5}, "keeps the sizes"),
        ({"final_kernel": 2}, "keeps the sizes"),
        ({"heads": 3}, "heads"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, says) -> None:
    with pytest.raises(CapbenchError, match=re.escape(says)):
        from_options("hrnet-w32", options, points=17, input_size=(192, 256))


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(CapbenchError, match="Did you mean 'hrnet-w32'"):
        architecture("hrnet-w33", points=17, input_size=(192, 256))


def test_sizes_that_do_not_halve_five_times_are_refused() -> None:
    with pytest.raises(CapbenchError, match="multiples of 32"):
        architecture("hrnet-w32", points=17, input_size=(190, 256))


def test_sizes_are_told_apart() -> None:
    assert BACKBONES["hrnet-w48"] == HRNetSize(width=48) != BACKBONES["hrnet-w32"]


# --- loading ------------------------------------------------------------------------------------


def test_loading_gives_the_same_maps_and_leaves_the_arrays_alone() -> None:
    made = small()
    net = made.build(seed=4).eval()
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    for array in state.values():
        array.flags.writeable = False
    again = load(made, state)
    picture = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(net(picture), again(picture))
        again.head.final_layer.bias += 1
    assert not again.training
    assert np.array_equal(state["head.final_layer.bias"], net.head.final_layer.bias.detach().numpy())


def test_counters_of_norms_may_be_missing_and_half_precision_is_taken() -> None:
    net = small().build(seed=4)
    state = {n: v.numpy() for n, v in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    state["head.final_layer.bias"] = state["head.final_layer.bias"].astype(np.float16)
    assert load(small(), state).head.final_layer.bias.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("head.final_layer.bias"), "head.final_layer.bias is missing"),
        (lambda s: s.update(extra=np.zeros(3)), "extra is not part of it"),
        (lambda s: s.update({"head.final_layer.bias": np.zeros(6)}), "has shape (6,) where (5,) is due"),
    ],
)
def test_weights_of_another_network_are_refused(change, says) -> None:
    state = {name: value.numpy() for name, value in small().build(seed=0).state_dict().items()}
    change(state)
    with pytest.raises(CapbenchError, match=re.escape(says)):
        fill(small().build(seed=0), state)
