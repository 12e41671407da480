"""The rasteriser against planes, spheres and capsules in closed form, and against rays."""

import numpy as np
import pytest
from solids import camera, capsule, pixels_of, ray_hits, sphere

from cohorts.errors import CapbenchError
from synthpose import lens
from synthpose.render import NEAR, interpolate, normals, rasterise

PHONE = np.array([0.1278, -0.2842, -0.0003, 0.0001, 0.2134])


def seen(cam, vertices, faces):
    pixels, depth = lens.project(cam, vertices)
    return rasterise(pixels, depth, faces, size=cam.size)


def rays(cam):
    """Directions that are 1 long along the axis, so that how far along them is depth."""
    origin, unit = cam.ray(pixels_of(cam))
    return origin, unit / (unit @ cam.rotation[2])[..., None]


def grid(n, corner, u, v):
    """A parallelogram of n x n squares, two triangles each."""
    s = np.arange(n + 1) / n
    vertices = corner + s[:, None, None] * np.asarray(u, float) + s[None, :, None] * np.asarray(v, float)
    k = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = k[:-1, :-1].ravel(), k[1:, :-1].ravel(), k[1:, 1:].ravel(), k[:-1, 1:].ravel()
    return vertices.reshape(-1, 3), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


# --- depth --------------------------------------------------------------------------------------


@pytest.mark.truth("ray and plane")
@pytest.mark.parametrize("normal", [(1.0, 0.2, 0.5), (1.0, 0.9, -0.3), (0.3, 0.1, 1.0)])
def test_depth_and_place_on_a_slanted_plane(normal) -> None:
    cam, normal = camera(), np.array(normal) / np.linalg.norm(normal)
    u = np.cross(normal, [0, 1, 0])
    v = np.cross(normal, u)
    vertices, faces = grid(1, np.array([0, 1.0, 0]) - 0.8 * u - 0.8 * v, 1.6 * u, 1.6 * v)
    buffers = seen(cam, vertices, faces)
    origin, ray = rays(cam)
    true = (normal @ ([0, 1.0, 0] - origin)) / (ray @ normal)
    drawn = buffers.face_hw >= 0
    assert drawn.sum() > 300
    # two big triangles, seen at an angle: only perspective-correct shares agree
    np.testing.assert_allclose(buffers.depth_hw[drawn], true[drawn], rtol=3e-6)
    place = interpolate(buffers, faces, vertices)
    np.testing.assert_allclose(place[drawn], (origin + true[..., None] * ray)[drawn], atol=1e-5)
    assert np.isinf(buffers.depth_hw[~drawn]).all() and np.isnan(place[~drawn]).all()


@pytest.mark.truth("Camera.ray, which inverts Camera.project by Newton's method")
@pytest.mark.parametrize(
    "bend", [{"distortion": PHONE}, {"distortion": [0.05, -0.02, 0.01, 0.0], "lens": "fisheye"}]
)
def test_a_lens_bends_what_is_drawn(bend) -> None:
    cam = camera(focal=60.0, **bend)
    vertices, faces = grid(120, np.array([-1.0, -5.0, -9.0]), (0.0, 12.0, 0.0), (1.0, 0.0, 16.0))
    buffers = seen(cam, vertices, faces)
    origin, ray = rays(cam)
    normal = np.cross([0.0, 12.0, 0.0], [1.0, 0.0, 16.0])
    true = (normal @ (vertices[0] - origin)) / (ray @ normal)
    drawn = buffers.face_hw >= 0
    assert drawn.mean() > 0.999
    # triangles of 0.13 m have straight edges where the lens bends them
    np.testing.assert_allclose(buffers.depth_hw[drawn], true[drawn], rtol=5e-4)
    straight = seen(camera(focal=60.0), vertices, faces).depth_hw
    assert np.abs(straight - true)[drawn].max() > 0.01  # and it would matter


@pytest.mark.truth("Camera.project")
@pytest.mark.parametrize(
    "bend",
    [
        {},
        {"distortion": PHONE},
        {"distortion": [0.1, -0.05, 0.001, -0.002, 0.01, 0.02, -0.01, 0.003, 0.001, -0.002, 0.003, 0.001]},
        {"distortion": [0.05, -0.02, 0.01, -0.003], "lens": "fisheye"},
    ],
)
def test_compiled_projection_is_the_cameras(bend) -> None:
    cam = camera(**bend)
    points = np.random.default_rng(1).uniform(-4, 4, (2000, 3))
    points[0] = cam.centre + cam.rotation[2]  # on the axis
    pixels, depth = lens.project(cam, points)
    expected = cam.project(points)
    np.testing.assert_allclose(pixels, expected, rtol=1e-9, atol=1e-9)
    assert 100 < np.isnan(pixels[:, 0]).sum() < 1900
    np.testing.assert_allclose(depth, (points - cam.centre) @ cam.rotation[2], atol=1e-12)


@pytest.mark.truth("Camera.ray")
def test_rays_of_all_pixels_are_the_cameras() -> None:
    cam = camera(distortion=PHONE)
    np.testing.assert_allclose(lens.rays(cam), rays(cam)[1], atol=1e-9)


@pytest.mark.truth("ray and sphere")
def test_depth_and_normals_of_a_sphere() -> None:
    cam = camera(place=(3.0, 0.5, 0.4), aim=(0, 0, 0), size=(120, 120), focal=140.0)
    rows = 60
    vertices, faces = sphere(rows)
    buffers = seen(cam, vertices, faces)
    origin, ray = rays(cam)
    b, c, a = ray @ origin, origin @ origin - 1.0, (ray**2).sum(axis=-1)
    root = b * b - a * c
    true = (-b - np.sqrt(np.maximum(root, 0))) / a
    place = origin + true[..., None] * ray
    cosine = -(ray * place).sum(axis=-1) / np.sqrt(a)
    inner = (root > 0) & (cosine > 0.3)
    assert inner.sum() > 4000 and (buffers.face_hw[inner] >= 0).all()
    # a facet's middle lies below the sphere by at most half its diagonal squared over 8, seen at an angle
    sag = ((np.pi / rows) ** 2 * 2) / 8
    behind = (buffers.depth_hw - true)[inner] * cosine[inner]
    assert behind.min() > -1e-5 and behind.max() < 1.3 * sag
    assert behind.max() > 0.3 * sag
    found = interpolate(buffers, faces, normals(vertices, faces))[inner]
    np.testing.assert_allclose(np.linalg.norm(normals(vertices, faces), axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(found, place[inner], atol=0.02)
    # outside the sphere's outline nothing is drawn
    assert (buffers.face_hw[root < 0] == -1).all()


@pytest.mark.truth("ray and capsule: its distance is the distance to a line segment, followed along the ray")
def test_depth_of_a_capsule() -> None:
    cam = camera(place=(2.5, 0.4, 0.8), aim=(0, 0, 0), size=(80, 96), focal=110.0)
    rows, radius, length = 64, 0.3, 1.0
    vertices, faces = capsule(rows, radius, length)
    buffers = seen(cam, vertices, faces)
    origin, ray = rays(cam)
    long = np.linalg.norm(ray, axis=-1)
    true = np.zeros(ray.shape[:2])
    for _ in range(200):
        at = origin + true[..., None] * ray
        on = np.clip(at[..., 1], -length / 2, length / 2)[..., None] * [0, 1.0, 0]
        true += (np.linalg.norm(at - on, axis=-1) - radius) / long
    cosine = -((at - on) * ray).sum(axis=-1) / radius / long
    inner = (true < 6) & (cosine > 0.3)
    assert inner.sum() > 1400 and (buffers.face_hw[inner] >= 0).all()
    behind = (buffers.depth_hw - true)[inner] * cosine[inner]
    sag = radius * ((np.pi / rows) ** 2 * 2) / 8
    assert behind.min() > -1e-5 and behind.max() < 1.5 * sag


@pytest.mark.truth("rays through every pixel against every triangle (Möller and Trumbore)")
def test_a_soup_of_triangles_against_rays() -> None:
    random = np.random.default_rng(7)
    cam = camera()
    vertices = random.uniform([-1, 0, -1.2], [1.5, 2, 1.2], (240, 3))
    faces = np.arange(240).reshape(80, 3)
    buffers = seen(cam, vertices, faces)
    origin, ray = rays(cam)
    depth, face = ray_hits(origin, ray.reshape(-1, 3), vertices, faces)
    np.testing.assert_array_equal(buffers.face_hw.ravel(), face)
    hit = face >= 0
    np.testing.assert_allclose(buffers.depth_hw.ravel()[hit], depth[hit], rtol=2e-5)


# --- which pixels -------------------------------------------------------------------------------

SQUARE = np.array([[2.0, 3.0], [9.0, 3.0], [9.0, 10.0], [2.0, 10.0]])  # corners on pixel centres


def test_a_pixel_on_a_shared_edge_is_drawn_once_by_the_lower_number() -> None:
    one, two = [0, 1, 2], [0, 2, 3]
    for faces in ([one, two], [two, one], [one[::-1], two], [two, one[::-1]]):
        got = rasterise(SQUARE, np.ones(4), np.array(faces), size=(12, 14)).face_hw
        expected = np.full((14, 12), -1)
        first_is_upper = sorted(faces[0]) == one
        for y in range(3, 11):
            for x in range(2, 10):  # the diagonal: x - 2 = y - 3
                upper = x - 2 >= y - 3 if first_is_upper else x - 2 > y - 3
                expected[y, x] = 0 if upper == first_is_upper else 1
        np.testing.assert_array_equal(got, expected)


def test_at_one_depth_the_lower_number_wins_and_nearer_wins_over_both() -> None:
    pixels, depth = np.tile(SQUARE[:3], (3, 1)), np.repeat([2.0, 2.0, 1.5], 3)
    faces = np.arange(9).reshape(3, 3)
    assert set(rasterise(pixels, depth, faces[:2], size=(12, 14)).face_hw.ravel()) == {-1, 0}
    assert set(rasterise(pixels, depth, faces, size=(12, 14)).face_hw.ravel()) == {-1, 2}


@pytest.mark.truth("a convex solid's picture is one run of pixels a row")
@pytest.mark.parametrize("seed", range(4))
def test_a_closed_mesh_has_no_holes(seed) -> None:
    random = np.random.default_rng(seed)
    vertices, faces = sphere(90)  # triangles of about a pixel and less
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    faces = random.permutation(faces)
    cam = camera(place=(2.6, 0.3, 0.1), aim=random.normal(size=3) * 0.01, focal=70.0)
    drawn = seen(cam, vertices @ turn, faces).face_hw >= 0
    assert drawn.sum() > 1500
    for line in [*drawn, *drawn.T]:
        on = np.flatnonzero(line)
        assert len(on) == 0 or on[-1] - on[0] + 1 == len(on)


@pytest.mark.truth("the triangulated square is the square")
@pytest.mark.parametrize("snap", [1, 2, 4096])
def test_a_triangulated_square_has_no_holes(snap) -> None:
    from scipy.spatial import Delaunay

    random = np.random.default_rng(snap)
    points = np.round(random.uniform(0, 40, (600, 2)) * snap) / snap  # many on pixel centres, many edges too
    points = np.unique(np.concatenate([points, [[0, 0], [40, 0], [0, 40], [40, 40]]]), axis=0)
    faces = random.permutation(Delaunay(points).simplices)
    flip = random.random(len(faces)) < 0.5
    faces[flip] = faces[flip][:, ::-1]
    buffers = rasterise(points, np.full(len(points), 2.0), faces, size=(44, 44))
    assert (buffers.face_hw[:41, :41] >= 0).all()
    assert (buffers.face_hw[41:] == -1).all() and (buffers.face_hw[:, 41:] == -1).all()
    assert (buffers.depth_hw[:41, :41] == 2).all()
    shares = buffers.bary_hw2[:41, :41]
    assert shares.min() >= 0 and shares.sum(axis=-1).max() <= 1 + 1e-6
    ties = [  # of all triangles that cover a pixel's centre the lowest has it
        min(_covering(points, faces, x, y)) for y in range(41) for x in range(41)
    ]
    np.testing.assert_array_equal(buffers.face_hw[:41, :41].ravel(), ties)


def _covering(points, faces, x, y):
    a, b, c = (points[faces[:, k]] - [x, y] for k in range(3))
    sides = np.stack([p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((a, b), (b, c), (c, a))])
    flat = (sides == 0).all(axis=0)
    return np.flatnonzero(((sides >= 0).all(axis=0) | (sides <= 0).all(axis=0)) & ~flat)


def test_winding_does_not_matter() -> None:
    vertices, faces = sphere(16)
    cam = camera(aim=(0, 0, 0))
    one, other = seen(cam, vertices, faces), seen(cam, vertices, faces[:, [1, 0, 2]])
    np.testing.assert_array_equal(one.face_hw, other.face_hw)
    np.testing.assert_array_equal(one.depth_hw, other.depth_hw)
    np.testing.assert_allclose(one.bary_hw2, other.bary_hw2[..., ::-1], atol=1e-6)


def test_what_is_behind_near_or_not_seen_is_left_out() -> None:
    faces = np.array([[0, 1, 2]])
    for depth in (-1.0, 0.0, NEAR, np.nan):
        got = rasterise(SQUARE[:3], np.array([1.0, 1.0, depth]), faces, size=(12, 14))
        assert (got.face_hw == -1).all()
    assert (rasterise(SQUARE[:3], np.array([1, 1, 1.01 * NEAR]), faces, size=(12, 14)).face_hw == 0).any()
    for odd in (np.nan, np.inf, -np.inf, 1e300):
        pixels = SQUARE[:3].copy()
        pixels[1, 0] = odd
        got = rasterise(pixels, np.ones(3), faces, size=(12, 14))
        assert got.face_hw.min() >= -1 and (got.face_hw == -1).sum() >= 12 * 14 - 64
    vertices, faces = sphere(12)
    cam = camera(place=(3, 0, 0), aim=(9, 0, 0))  # looks away
    assert (seen(cam, vertices, faces).face_hw == -1).all()


def test_a_triangle_far_larger_than_the_picture_covers_it() -> None:
    pixels = np.array([[-1e7, -1e7], [3e7, -1e7], [-1e7, 3e7]])
    got = rasterise(pixels, np.array([1.0, 2.0, 4.0]), np.array([[0, 1, 2]]), size=(7, 5))
    assert (got.face_hw == 0).all()
    # at the corner's far surroundings depth is what 1/z, linear in the picture, says: shares 1/2, 1/4, 1/4
    np.testing.assert_allclose(got.depth_hw, 1 / (0.5 + 0.25 / 2 + 0.25 / 4), rtol=1e-5)


def test_no_faces_and_wrong_arrays() -> None:
    empty = rasterise(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3), int), size=(4, 3))
    assert empty.face_hw.shape == (3, 4) and (empty.face_hw == -1).all()
    for pixels, depth, faces in (
        (SQUARE, np.ones(3), [[0, 1, 2]]),
        (SQUARE, np.ones(4), [[0, 1, 4]]),
        (SQUARE, np.ones(4), [[0, -1, 2]]),
        (SQUARE, np.ones(4), [[0, 1]]),
    ):
        with pytest.raises(CapbenchError, match="Expected"):
            rasterise(pixels, depth, np.array(faces), size=(4, 4))
    with pytest.raises(CapbenchError, match="1 to 8192"):
        rasterise(SQUARE, np.ones(4), np.array([[0, 1, 2]]), size=(9000, 4))
