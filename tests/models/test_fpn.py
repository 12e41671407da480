"""The small feature pyramid: its size, what cards may change, where its cells are, and its routes out."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from network_shapes import shapes
from small_models import card_for, in_folder

from capbench.models.card import Codec
from capbench.models.checkpoint import write_safetensors
from capbench.models.nets.architecture import (
    BACKBONES,
    FPNSize,
    architecture,
    architecture_of,
    from_options,
    to_options,
)
from capbench.models.nets.pose import fill, load
from capbench.models.registry import open_model
from cohorts.errors import CapbenchError

SMALL = {"width": 16, "stem": 8, "stages": [8, 16, 16, 24], "stage_blocks": [1, 1, 2, 1]}


def small(**changes):
    return from_options("fpn-mini", SMALL | changes, points=5, input_size=(64, 96))


def counted(size, points):
    """How many numbers, by the definition: convolutions of 9 in x out, two for each norm's channel."""

    def step(given, made):
        return 9 * given * made + 2 * made

    total = step(3, size.stem)
    for before, wide, blocks in zip(
        (size.stem, *size.stages[:-1]), size.stages, size.stage_blocks, strict=True
    ):
        total += step(before, wide) + blocks * 2 * step(wide, wide) + size.width * (wide + 1)
    return total + step(size.width, size.width) + points * (size.width + 1)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("points", [17, 52])
@pytest.mark.parametrize(("name", "millions"), [("fpn-mini", 0.97), ("fpn-small", 2.15)])
def test_a_pyramid_is_as_large_as_its_definition_says(name, millions, points) -> None:
    net = architecture(name, points=points, input_size=(96, 128)).build()
    total = sum(parameter.numel() for parameter in net.parameters())
    size = BACKBONES[name]
    assert isinstance(size, FPNSize) and total == counted(size, points)
    assert total == pytest.approx(1e6 * millions, rel=0.01)


def test_maps_are_a_quarter_of_the_picture() -> None:
    made = architecture("fpn-mini", points=52, input_size=(96, 128))
    with torch.inference_mode():
        out = made.build(seed=0).eval()(torch.zeros(2, 3, 128, 96))
    assert made.heatmap_size == (24, 32)
    assert tuple(out.shape) == (2, 52, 32, 24)


@pytest.mark.parametrize("changes", [{}, {"deconv": [8]}, {"final_kernel": 3}, {"bins": [128, 192]}])
def test_the_architecture_is_read_off_the_shapes(changes) -> None:
    made = small(**changes)
    found = architecture_of(shapes(made.build()), input_size=(64, 96))
    assert found == made
    name, options = to_options(made)
    assert name == "fpn-mini"
    assert from_options(name, options, points=5, input_size=(64, 96)) == made


def test_an_input_size_is_guessed_and_said() -> None:
    notes = []
    assert architecture_of(shapes(small().build()), notes=notes).input_size == (96, 128)
    assert any("96x128" in note for note in notes)
    notes = []
    assert architecture_of(shapes(small(bins=[128, 192]).build()), notes=notes).input_size == (64, 96)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"stages": [8, 16]}, "4 whole numbers"),
        ({"stage_blocks": [1, 1, 1, -1]}, "4 whole numbers"),
        ({"stem": 10_000}, "from 1 to 4096"),
        ({"depth": 3}, "net option"),
    ],
)
def test_a_card_s_nonsense_is_refused(options, problem) -> None:
    with pytest.raises(CapbenchError, match=problem):
        from_options("fpn-mini", options, points=5, input_size=(64, 96))


def test_an_input_that_does_not_halve_five_times_is_refused() -> None:
    with pytest.raises(CapbenchError, match="multiples of 32 for FPN"):
        architecture("fpn-mini", points=5, input_size=(72, 96))


def test_every_parameter_learns() -> None:
    net = small().build(seed=0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # a block whose last norm is zero passes nothing back
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    net(torch.randn(4, 3, 96, 64)).square().sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_a_block_starts_as_its_shortcut() -> None:
    net = small().build(seed=0).train()
    block = net.backbone.stages[0][1]
    x = torch.rand(2, 8, 24, 16)
    torch.testing.assert_close(block(x), x)


def test_a_picture_moved_by_32_pixels_moves_the_maps_by_8_cells() -> None:
    net = from_options("fpn-mini", SMALL, points=5, input_size=(256, 256)).build(seed=0).eval()
    picture = torch.zeros(1, 3, 256, 256)
    picture[:, :, 96:128, 96:128] = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        here, there = net(picture), net(picture.roll((32, 32), (2, 3)))
    inner = slice(16, 40)
    torch.testing.assert_close(there[..., 24:48, 24:48], here[..., inner, inner], rtol=1e-4, atol=1e-6)
    assert (here - there).abs().max() > 1e-4


def test_weights_go_round_through_arrays() -> None:
    made = small()
    net = made.build(seed=3).eval()
    again = load(made, {name: value.numpy() for name, value in net.state_dict().items()})
    picture = torch.randn(1, 3, 96, 64)
    with torch.inference_mode():
        assert torch.equal(net(picture), again(picture))


def test_a_card_that_names_it_runs_through_the_torch_route(tmp_path) -> None:
    from capbench.models.crop import cut, plan
    from capbench.models.nets.planted import marked_pictures, plant, target_maps
    from capbench.models.topdown import normalised

    card = card_for(("fpn-mini", SMALL), codec=Codec(kind="heatmap", decoding="dark", kernel=5))
    pictures, marks, boxes = marked_pictures(12, 17, seed=1)
    crops = plan(boxes, card.input.size, padding=card.input.padding)
    cells = crops.to_crop(marks) / 4
    net = from_options("fpn-mini", SMALL, points=17, input_size=card.input.size).build(seed=0)
    plant(net, normalised(cut(list(pictures), crops), card.input), target_maps(cells, (16, 24), sigma=1.0))
    arrays = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    write_safetensors(tmp_path / "weights.safetensors", arrays)
    found = open_model(in_folder(tmp_path, card, "weights.safetensors")).predict(list(pictures), boxes)
    far = np.linalg.norm(found.points - marks, axis=-1)
    nothing_known = np.linalg.norm(marks.mean(axis=(0, 1)) - marks, axis=-1)
    assert np.median(far) < 0.2 * np.median(nothing_known)


def test_onnx_of_any_batch_answers_alike(tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    made = architecture("fpn-mini", points=52, input_size=(96, 128))
    net = made.build(seed=0)
    fill(net, {name: value.numpy() for name, value in _trained_a_little(net).items()})
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.onnx.export(
        net, (torch.randn(2, 3, 128, 96),), dynamo=True, dynamic_shapes={"picture": {0: batch}}, verbose=False
    )
    program.save(str(tmp_path / "model.onnx"))
    assert (tmp_path / "model.onnx").stat().st_size < 5e6
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for count in (1, 5, 16):
        picture = torch.randn(count, 3, 128, 96)
        with torch.inference_mode():
            wanted = net(picture).numpy()
        (found,) = session.run(None, {name: picture.numpy()})
        assert found.shape == (count, 52, 32, 24)
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def _trained_a_little(net):
    """Norms with statistics and weights of their own, and maps that aren't flat."""
    net.train()
    torch.manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
        net.head.final_layer.weight.normal_()
        for _ in range(3):
            net(torch.randn(8, 3, 128, 96))
    net.eval()
    return net.state_dict()
