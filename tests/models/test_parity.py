"""One checkpoint, every route, the same keypoints."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import small_models as small

script = small.script()


@pytest.fixture(scope="module")
def planted():
    return {name: script.planted(name) for name in script.NETS}


@pytest.fixture(scope="module")
def native(planted, tmp_path_factory):
    """The answers of route torch, which others are held against."""
    folder = tmp_path_factory.mktemp("native")
    return {
        name: script.run(made, name, "torch", folder, python=None, repeat=1).answer
        for name, made in planted.items()
    }


def test_peaks_are_decided_and_where_they_were_planted(planted, native) -> None:
    """Otherwise routes would agree or differ by luck."""
    _, marks, _ = script.marked_pictures(3, script.POINTS)
    for name in planted:
        apart = np.linalg.norm(native[name].points - marks, axis=-1)
        assert np.median(apart) < 2 and apart.max() < 5, name
        assert np.ptp(native[name].points, axis=(0, 1)).min() > 50  # all over the picture


@pytest.mark.parametrize(
    ("name", "route"),
    [(n, r) for n, routes in script.ROUTES.items() for r in routes if r not in ("torch", "mmpose")],
)
def test_routes_give_the_same_keypoints(name, route, planted, native, tmp_path) -> None:
    if route == "onnx":
        pytest.importorskip("onnxscript")
    if route == "hf":
        pytest.importorskip("transformers")
    found = script.run(planted[name], name, route, tmp_path, python=None, repeat=1).answer
    assert np.linalg.norm(found.points - native[name].points, axis=-1).max() < 0.01
    assert np.allclose(found.confidence, native[name].confidence, atol=1e-4)


@pytest.mark.truth("MMPose 1.3.2 itself, its own crop and DARK decoding, in its own process")
def test_mmpose_gives_the_same_keypoints(planted, native, tmp_path) -> None:
    python = script.mmpose_python(None)
    if python is None:
        pytest.skip("no MMPose environment here (capbench models install mmpose)")
    found = script.run(planted["hrnet"], "hrnet", "mmpose", tmp_path, python=python, repeat=1).answer
    assert np.linalg.norm(found.points - native["hrnet"].points, axis=-1).max() < script.LIMIT
    assert np.allclose(found.confidence, native["hrnet"].confidence, atol=1e-2)
