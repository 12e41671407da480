"""The torch rasteriser draws the pictures of the compiled one."""

import builtins

import numpy as np
import pytest
from solids import camera, sphere

from cohorts.errors import CapbenchError, EnvironmentFault
from synthpose import lens, render, render_torch

DEVICES = ["cpu", "cuda"]


def torch_on(device):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch


def crowd():
    """A fine sphere in part behind a soup of triangles of all sizes, some near, behind and twice."""
    random = np.random.default_rng(3)
    ball, faces = sphere(50, 0.8, (0, 1, 0))
    soup = random.uniform([-2, -1, -2], [3.5, 3, 2.5], (300, 3))
    soup[1::3] = soup[::3] + random.normal(0, 0.4, (100, 3))
    soup[2::3] = soup[::3] + random.normal(0, 0.4, (100, 3))
    vertices = np.concatenate([ball, soup, soup[:60]])
    more = np.arange(360).reshape(-1, 3) + len(ball)
    return vertices, random.permutation(np.concatenate([faces, more]))


def assert_equal_pictures(one, other):
    np.testing.assert_array_equal(one.face_hw, other.face_hw)
    np.testing.assert_array_equal(one.depth_hw, other.depth_hw)
    np.testing.assert_array_equal(one.bary_hw2, other.bary_hw2)
    assert [a.dtype for a in vars(one).values()] == [a.dtype for a in vars(other).values()]


@pytest.mark.truth("synthpose.render, held against closed forms in test_render")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("portion", [7, 1000, 1 << 18])
def test_equal_pictures(device, portion) -> None:
    torch_on(device)
    vertices, faces = crowd()
    cam = camera(distortion=[0.1278, -0.2842, -0.0003, 0.0001, 0.2134])
    pixels, depth = lens.project(cam, vertices)
    if portion == 7:  # one triangle at a time: a few will do
        faces = faces[:400]
    assert np.isnan(pixels).any() and (depth < 0).any()
    mine = render.rasterise(pixels, depth, faces, size=cam.size)
    assert (mine.face_hw >= 0).mean() > 0.05
    theirs = render_torch.rasterise(pixels, depth, faces, size=cam.size, device=device, portion=portion)
    assert_equal_pictures(mine, theirs)


@pytest.mark.truth("synthpose.render")
@pytest.mark.parametrize("device", DEVICES)
def test_ties_go_to_the_lower_number_too(device) -> None:
    torch_on(device)
    random = np.random.default_rng(5)
    pixels = random.integers(0, 30, (60, 2)).astype(float)  # corners and many edges on pixel centres
    faces = random.integers(0, 60, (200, 3))  # some without area
    depth = np.full(60, 2.0)
    mine = render.rasterise(pixels, depth, faces, size=(32, 32))
    theirs = render_torch.rasterise(pixels, depth, faces, size=(32, 32), device=device)
    assert_equal_pictures(mine, theirs)
    depth = random.uniform(1, 3, 60)
    depth[:3] = [np.nan, np.inf, -1]
    pixels[3:6, 0] = [np.nan, np.inf, 1e300]
    mine = render.rasterise(pixels, depth, faces, size=(32, 32))
    theirs = render_torch.rasterise(pixels, depth, faces, size=(32, 32), device=device)
    assert_equal_pictures(mine, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_many_pictures_at_once_are_each_by_itself(device) -> None:
    torch = torch_on(device)
    vertices, faces = crowd()
    cams = [camera(place=p) for p in ((3.0, 1.2, 1.0), (-2.5, 1.0, 2.0), (0.0, 2.0, -3.0))]
    seen = [lens.project(cam, vertices) for cam in cams]
    got = render_torch.rasterise_batch(
        torch.tensor(np.array([p for p, _ in seen]), device=device),
        torch.tensor(np.array([d for _, d in seen]), device=device),
        torch.tensor(faces, device=device),
        size=cams[0].size,
        portion=5000,
    )
    for k, (pixels, depth) in enumerate(seen):
        alone = render.rasterise(pixels, depth, faces, size=cams[0].size)
        assert_equal_pictures(alone, render.Buffers(*(t[k].cpu().numpy() for t in got)))


def test_nothing_to_draw() -> None:
    torch_on("cpu")
    got = render_torch.rasterise(np.zeros((3, 2)), -np.ones(3), np.array([[0, 1, 2]]), size=(5, 4))
    assert (got.face_hw == -1).all() and np.isinf(got.depth_hw).all()
    got = render_torch.rasterise(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3), int), size=(5, 4))
    assert (got.face_hw == -1).all()
    with pytest.raises(CapbenchError, match="Expected faces of vertices"):
        render_torch.rasterise(np.zeros((3, 2)), np.ones(3), np.array([[0, 1, 3]]), size=(5, 4))


def test_without_torch_it_says_what_to_install(monkeypatch) -> None:
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(EnvironmentFault, match=r"capbench\[torch\]"):
        render_torch.rasterise(np.zeros((3, 2)), np.ones(3), np.array([[0, 1, 2]]), size=(5, 4))
