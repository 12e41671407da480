"""Learning rates by hand, and groups of parameters as the published layer decay has them."""

import math

import pytest

torch = pytest.importorskip("torch")

from capbench.models.nets.architecture import from_options
from cohorts.errors import CapbenchError
from synthpose.schedule import factor, groups, layer


def test_the_warm_up_rises_in_a_straight_line_from_more_than_nothing() -> None:
    found = [factor(s, 100, warm_up=4) for s in range(5)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.truth("closed form")
def test_cosine() -> None:
    assert factor(0, 100) == 1.0
    assert factor(50, 100) == pytest.approx(0.5)
    assert factor(25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(100, 100, floor=0.1) == pytest.approx(0.1)
    assert factor(60, 110, warm_up=10, floor=0.2) == pytest.approx(0.6)
    falling = [factor(s, 100) for s in range(101)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.truth("the published schedule: a tenth from epoch 15 on, a hundredth from epoch 20 on, of 30")
def test_steps() -> None:
    drops = (15 / 30, 20 / 30)
    per_epoch = 7
    found = [factor(epoch * per_epoch, 30 * per_epoch, kind="step", drops=drops) for epoch in range(30)]
    assert found == pytest.approx([1.0] * 15 + [0.1] * 5 + [0.01] * 10)
    assert factor(15 * per_epoch - 1, 30 * per_epoch, kind="step", drops=drops) == 1.0


def test_constant_stays() -> None:
    assert {factor(s, 10, kind="constant") for s in range(10)} == {1.0}
    assert factor(0, 10, kind="constant", warm_up=1) == 0.5


VIT = from_options(
    "vit-tiny", {"width": 24, "depth": 3, "heads": 3, "deconv": [8]}, points=5, input_size=(64, 96)
)
FPN = from_options(
    "fpn-mini", {"width": 16, "stem": 8, "stages": [8, 8, 8, 8]}, points=5, input_size=(64, 96)
)


def by_name(net, made):
    named = {id(p): name for name, p in net.named_parameters()}
    return {named[id(p)]: group for group in made for p in group["params"]}


@pytest.mark.truth("ViTPose: the patches are layer 0, block i layer i + 1, the rest layer depth + 1")
def test_layer_decay_is_vitpose_s() -> None:
    net = VIT.build()
    found = by_name(net, groups(net, weight_decay=0.1, layer_decay=0.75))
    assert found["backbone.pos_embed"]["rate"] == pytest.approx(0.75**4)
    assert found["backbone.patch_embed.projection.weight"]["rate"] == pytest.approx(0.75**4)
    for block in range(3):
        name = f"backbone.layers.{block}.attn.qkv.weight"
        assert found[name]["rate"] == pytest.approx(0.75 ** (3 - block))
    for name in ("backbone.ln1.weight", "head.final_layer.weight", "head.deconv_layers.0.weight"):
        assert found[name]["rate"] == 1.0


@pytest.mark.parametrize("made", [VIT, FPN])
def test_every_parameter_is_in_one_group_and_only_weights_decay(made) -> None:
    net = made.build()
    found = groups(net, weight_decay=0.1)
    listed = [id(p) for group in found for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in net.parameters())
    for name, group in by_name(net, found).items():
        parameter = net.get_parameter(name)
        decays = parameter.ndim >= 2 and name != "backbone.pos_embed"
        assert group["weight_decay"] == (0.1 if decays else 0.0), name


def test_a_new_head_may_learn_faster() -> None:
    net = FPN.build()
    found = by_name(net, groups(net, weight_decay=0.0, head_rate=5.0))
    assert {g["rate"] for n, g in found.items() if n.startswith("head.")} == {5.0}
    assert {g["rate"] for n, g in found.items() if n.startswith("backbone.")} == {1.0}


def test_what_is_frozen_is_left_out() -> None:
    net = FPN.build()
    net.backbone.requires_grad_(False)
    found = groups(net, weight_decay=0.0)
    assert sum(len(group["params"]) for group in found) == len(list(net.head.parameters()))


def test_layer_decay_of_a_network_of_convolutions_is_refused() -> None:
    with pytest.raises(CapbenchError, match="with a ViT only"):
        groups(FPN.build(), weight_decay=0.0, layer_decay=0.9)


def test_layers_of_names() -> None:
    assert layer("backbone.layers.11.ln1.weight", 12) == 12
    assert layer("backbone.patch_embed.projection.bias", 12) == 0
    assert layer("backbone.ln1.bias", 12) == layer("head.final_layer.bias", 12) == 13
