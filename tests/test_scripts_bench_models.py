"""scripts/bench/models.py: that its RTMPose-m and ViTPose-B are those, and what its table says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "scripts" / "bench" / "models.py"
    spec = importlib.util.spec_from_file_location("scripts_bench_models", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


@pytest.fixture(scope="module")
def rtmpose(script):
    torch.manual_seed(0)
    return script.RTMPose().eval()


@pytest.mark.truth("MMPose 1.3.2: its RTMPose-m, built from its own configuration, counted once")
def test_rtmpose_has_the_parameters_of_the_published_one(rtmpose) -> None:
    assert sum(p.numel() for p in rtmpose.parameters()) == 13_587_611
    assert len(list(rtmpose.parameters())) == 191


def test_rtmpose_answers_with_bins_and_looks_at_everything(rtmpose) -> None:
    pictures = torch.randn(2, 3, 256, 192, requires_grad=True)
    x, y = rtmpose(pictures)
    assert x.shape == (2, 17, 384) and y.shape == (2, 17, 512)
    (x[0].sum() + y[0].sum()).backward()
    assert (pictures.grad[0] != 0).all() and (pictures.grad[1] == 0).all()
    # a point's answer is mixed from all points
    tokens = torch.randn(1, 17, 256, requires_grad=True)
    rtmpose.mix(tokens)[0, 0].sum().backward()
    assert (tokens.grad != 0).any(dim=2).all()


@pytest.mark.truth("Hua et al. 2022, written out for each pair of points")
def test_the_gated_unit_is_as_published(script) -> None:
    torch.manual_seed(1)
    unit = script.Gated(width=6, inner=8, shared=4).double()
    x = torch.randn(1, 3, 6, dtype=torch.float64)
    with torch.no_grad():
        found = unit(x)[0].numpy()
    weight, out = unit.given.weight.detach().numpy(), unit.out.weight.detach().numpy()
    gamma, beta = unit.gamma.detach().numpy(), unit.beta.detach().numpy()
    given = x[0].numpy()
    normed = given / np.sqrt((given**2).mean(axis=1, keepdims=True))
    hidden = normed @ weight.T
    hidden = hidden / (1 + np.exp(-hidden))
    gate, value, base = hidden[:, :8], hidden[:, 8:16], hidden[:, 16:]
    for i in range(3):
        mixed = np.zeros(8)
        for j in range(3):
            score = (base[i] * gamma[0] + beta[0]) @ (base[j] * gamma[1] + beta[1]) / 2.0  # root of 4
            mixed += max(score, 0.0) ** 2 * value[j]
        np.testing.assert_allclose(found[i], given[i] + out @ (gate[i] * mixed), rtol=1e-9)


@pytest.mark.truth("onnxruntime against torch")
def test_rtmpose_in_onnx_says_the_same_and_is_timed(script, rtmpose, tmp_path) -> None:
    from capbench.models.adapters.onnx import session

    pytest.importorskip("onnxscript")
    file = tmp_path / "rtmpose.onnx"
    script.write_onnx(file, rtmpose)
    pictures = torch.randn(3, 3, 256, 192)
    with torch.no_grad():
        expected = rtmpose(pictures)
    made = session(file)
    assert [output.name for output in made.get_outputs()] == ["simcc_x", "simcc_y"]
    found = made.run(None, {"picture": pictures.numpy()})
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=2e-3 * float(other.abs().max()))
    taken = script.timings({"a": file}, 2, 1, 1)
    assert set(taken) == {"a"} and taken["a"] > 0
    assert script.size_of(file) == "192x256"


def test_the_table_has_ms_and_ratios_side_by_side(script) -> None:
    found = {
        "models": {"mini": {"millions": 0.95, "crop": "192x256"}, "big": {"millions": 90, "crop": "192x256"}},
        "ms": {"1, 1": {"mini": 4.0, "big": 200.0}, "16, 1": {"mini": 2.5, "big": 170.0}},
        "first": "mini", "cores": 2, "machine": "x86_64", "onnxruntime": "1",
    }  # fmt: skip
    lines = script.report(found).splitlines()
    assert "batch 1, threads 1" in lines[2] and "batch 16, threads 1" in lines[2]
    assert lines[3].split() == ["mini", "192x256", "0.95", "4.00", "(1.0x)", "2.50", "(1.0x)"]
    assert lines[4].split() == ["big", "192x256", "90.00", "200.00", "(50.0x)", "170.00", "(68.0x)"]


def test_the_built_in_model_is_found(script) -> None:
    name, path, millions = script.built_in(script.default_model())
    assert name == "mini-52" and path.suffix == ".onnx" and 0.1 < millions < 10
