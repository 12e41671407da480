"""Light and texture against Lambert's law and the definition of 8-bit values."""

import numpy as np
import pytest
from solids import actor, bare_room, box, camera

from synthpose.scene import Light, Material, Room, View
from synthpose.shade import (
    BLOTCHES,
    CHECKS,
    COARSE,
    PINSTRIPES,
    PLAIN,
    STRIPES,
    _grain,
    _second,
    noise,
    to_bytes,
)

CLOSE = {"place": (0.9, 1.3, 0.7), "aim": (0.0, 1.0, 0.0), "focal": 110.0}


def test_bytes_are_the_nearest_of_a_gamma_curve() -> None:
    linear = np.concatenate(
        [np.linspace(0, 1.2, 20001), np.geomspace(1e-8, 1, 20001), [-1.0, np.nan, np.inf]]
    )
    linear = linear[: len(linear) // 3 * 3].astype(np.float32).reshape(1, -1, 3)
    expected = np.floor(255 * np.clip(np.nan_to_num(linear.astype(float)), 0, 1) ** (1 / 2.2) + 0.5)
    np.testing.assert_array_equal(to_bytes(linear), expected)
    np.testing.assert_array_equal(to_bytes(linear / 2, gain=2.0), expected)
    odd = np.array([[[np.nan, np.inf, -np.inf]]], np.float32)
    np.testing.assert_array_equal(to_bytes(odd), [[[0, 255, 0]]])


@pytest.mark.truth("the lattice's corners, and that cubics meet without a jump or a kink")
def test_noise_is_smooth_and_its_own_for_each_seed() -> None:
    x = np.linspace(-3, 3, 6001)
    values = np.array([noise(v, 0.3, -0.7, 4) for v in x])
    assert values.min() >= 0 and values.max() <= 1 and np.ptp(values) > 0.3
    slope = np.diff(values) / np.diff(x)
    assert np.abs(slope).max() <= 1.5  # a cubic between numbers at most 1 apart
    assert np.abs(np.diff(slope)).max() < 0.01
    other = np.array([noise(v, 0.3, -0.7, 5) for v in x])
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.6
    corners = np.array([noise(i, j, k, 1) for i in range(12) for j in range(12) for k in range(12)])
    assert abs(corners.mean() - 0.5) < 3 * np.sqrt(1 / 12 / len(corners))
    assert abs(corners.std() - np.sqrt(1 / 12)) < 0.01


@pytest.mark.truth("the patterns' periods")
def test_patterns() -> None:
    at = np.linspace(0.003, 0.993, 34)
    for x in at:
        assert _second(PLAIN, x, x, x, 0.2, 0) == 0
        assert _second(STRIPES, 9 * x, x, 7 * x, 0.2, 0) == float(np.sin(2 * np.pi * x / 0.2) > 0.2)
        assert _second(PINSTRIPES, 9 * x, 7 * x, x, 0.2, 0) == float(np.sin(2 * np.pi * x / 0.2) > 0.7)
        half = 0.5 * (np.sin(2 * np.pi * x / 0.2) > 0) + 0.5 * (np.sin(10 * np.pi * (x + 0.05)) > 0)
        assert _second(CHECKS, 0, x, x + 0.05, 0.2, 0) == half
    shares = [_second(BLOTCHES, *p, 0.2, 0) for p in np.random.default_rng(0).uniform(-9, 9, (4000, 3))]
    assert set(shares) == {0.0, 1.0} and 0.2 < np.mean(shares) < 0.5


def test_grain_finer_than_a_pixel_is_left_out() -> None:
    places = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    fine, coarse, far = (np.array([_grain(*p, pixel, 3) for p in places]) for pixel in (1e-4, 0.01, 0.03))
    assert fine.std() > coarse.std() > 0.05 and far.std() == 0 and far[0] == 0.5
    assert 1 / COARSE < 0.03
    assert abs(fine.mean() - 0.5) < 0.03


@pytest.mark.truth("Lambert's law")
@pytest.mark.parametrize("toward", [(0.0, 1.0, 0.0), (0.8, 0.5, 0.1), (0.1, 0.3, 0.9)])
def test_each_side_of_a_box_is_lit_by_its_angle(toward) -> None:
    colour, lamp, second, ambient = (0.5, 0.4, 0.3), (0.6, 0.5, 0.4), (0.1, 0.2, 0.3), (0.3, 0.2, 0.1)
    unit = np.array(toward) / np.linalg.norm(toward)
    room = Room(lights=(Light(toward, lamp), Light((-0.2, 0.9, 1.0), second)), ambient=ambient)
    other = np.array([-0.2, 0.9, 1.0]) / np.linalg.norm([-0.2, 0.9, 1.0])
    vertices, faces = box((-0.2, 0.8, -0.2), (0.2, 1.2, 0.2))
    view = View(camera(**CLOSE), room)
    for winding in (faces, faces[:, ::-1]):  # the side that is seen counts, not how it was wound
        picture = view.draw([actor(vertices, winding, colour=colour)], [vertices])
        seen = 0
        for face in range(len(faces)):
            on = picture.buffers.face_hw == face
            if on.sum() < 20:
                continue
            seen += 1
            a, b, c = vertices[faces[face]]
            n = np.cross(b - a, c - a)
            n /= np.linalg.norm(n)
            light = np.array(ambient) * (0.75 + 0.25 * n[1])
            light = light + max(n @ unit, 0) * np.array(lamp) + max(n @ other, 0) * np.array(second)
            np.testing.assert_allclose(
                np.median(picture.linear[on], axis=0), np.array(colour) * light, rtol=1e-5
            )
            np.testing.assert_allclose(picture.normal[on], np.broadcast_to(n, (on.sum(), 3)), atol=1e-6)
        assert seen == 6


@pytest.mark.truth("a texture in space: the same place of the body has the same colour wherever it goes")
def test_texture_moves_with_the_body() -> None:
    vertices, faces = box((-0.2, 0.8, -0.2), (0.2, 1.2, 0.2))
    one = actor(vertices, faces)
    kinds = [
        Material((0.6, 0.1, 0.1), (0.1, 0.1, 0.6), k, 0.09, rough) for k, rough in ((CHECKS, 0), (PLAIN, 0.9))
    ]
    for material in kinds:
        solid = type(one)(one.surface, {"stuff": material}, 1)
        shift = np.array([0.3, -0.1, 0.2])
        pictures = [
            View(camera(np.add(CLOSE["place"], by), np.add(CLOSE["aim"], by)), bare_room()).draw(
                [solid], [vertices + by]
            )
            for by in (0 * shift, shift)
        ]
        on = (pictures[0].person == 1) & (pictures[1].person == 1)
        assert on.sum() > 1000 and pictures[0].linear[on].std(axis=0).max() > 0.02
        close = np.abs(pictures[0].linear - pictures[1].linear)[on].max(axis=1) < 1e-3
        assert close.mean() > 0.97  # the edges of checks and of sides may fall one pixel further


@pytest.mark.truth("Lambert's law on the room's own surfaces")
def test_the_empty_room_is_lit_too() -> None:
    materials = tuple(Material((0.1 * k + 0.2, 0.3, 0.5)) for k in range(6))
    room = bare_room((1.0, 2.0, 0.5), (0.6, 0.5, 0.4), (0.3, 0.2, 0.1), surfaces=materials)
    unit = np.array([1.0, 2.0, 0.5]) / np.sqrt(5.25)
    inward = np.array([[0, 1, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1]])
    for aim, surfaces in (((-2.0, 1.0, -3.0), {0, 2, 4}), ((5.0, 2.9, 3.0), {1, 3, 5})):
        view = View(camera(place=(0.5, 1.5, 0.2), aim=aim, focal=30.0), room)
        assert surfaces <= set(np.unique(view.surface))
        for k in surfaces:
            light = np.array([0.3, 0.2, 0.1]) * (0.75 + 0.25 * inward[k, 1])
            light = light + max(inward[k] @ unit, 0) * np.array([0.6, 0.5, 0.4])
            share = view.empty[view.surface == k] / (np.array(materials[k].first) * light)
            assert share.min() >= 0.75 and share.max() <= 1.15 + 1e-6  # the clouds on it
            np.testing.assert_allclose(share.std(axis=1), 0, atol=1e-5)
