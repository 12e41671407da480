"""Camera against OpenCV (an independent implementation) and closed forms."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts.camera import Camera
from cohorts.errors import CapbenchError

#: realistic coefficients of each length; each grows monotonically out to 45 degrees
DISTORTIONS = {
    0: [],
    4: [-0.10, 0.05, 1e-3, -2e-3],
    5: [0.1278, -0.2842, -0.0003, 0.0001, 0.2134],
    8: [0.30, 0.10, 1e-3, -1e-3, 0.02, 0.35, 0.12, 0.01],
    12: [0.30, 0.10, 1e-3, -1e-3, 0.02, 0.35, 0.12, 0.01, 1e-3, -5e-4, 2e-3, 3e-4],
}


def make(seed: int = 0, **changes: object) -> Camera:
    rng = np.random.default_rng(seed)
    rotation, _ = cv2.Rodrigues(rng.normal(size=3))
    return Camera(
        **{
            "name": "cam01",
            "matrix": [[900 + seed % 50, 0, 640.5], [0, 910 - seed % 50, 355.25], [0, 0, 1]],
            "rotation": rotation,
            "translation": rng.normal(size=3),
            "size": (1280, 720),
            **changes,
        }  # type: ignore[arg-type]
    )


def points_before(camera: Camera, count: int = 300, spread: float = 0.45) -> np.ndarray:
    """World points 1 to 9 m before the camera, at most 0.64 off the axis."""
    rng = np.random.default_rng(count)
    depth = rng.uniform(1, 9, (count, 1))
    ahead = np.hstack([rng.uniform(-spread, spread, (count, 2)) * depth, depth])
    return (ahead - camera.translation) @ camera.rotation


@pytest.mark.parametrize("length", DISTORTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_project_as_opencv(length: int, seed: int) -> None:
    camera = make(seed, distortion=DISTORTIONS[length])
    xyz = points_before(camera)
    expected, _ = cv2.projectPoints(
        xyz, camera.rotation.copy(), camera.translation.copy(), camera.matrix.copy(), camera.distortion.copy()
    )
    assert np.abs(camera.project(xyz) - expected[:, 0]).max() < 1e-9


@pytest.mark.parametrize("length", DISTORTIONS)
def test_undistort_as_opencv_and_inverts_distortion(length: int) -> None:
    camera = make(distortion=DISTORTIONS[length])
    perfect = replace(camera, distortion=())
    xyz = points_before(camera)
    bent = camera.project(xyz)
    assert np.abs(camera.undistort(bent) - perfect.project(xyz)).max() < 1e-9
    # OpenCV iterates to its own tolerance, so the bound is what it reaches
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    solve = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # OpenCV 4 has the criteria there
    theirs = solve(
        bent[:, None],
        camera.matrix.copy(),
        camera.distortion.copy(),
        R=np.eye(3),
        P=camera.matrix.copy(),
        criteria=criteria,
    )[:, 0]
    assert np.abs(camera.undistort(bent) - theirs).max() < 1e-6


FISHEYE = [0.05, -0.02, 0.004, -0.0005]


@pytest.mark.parametrize("seed", range(3))
def test_fisheye_as_opencv(seed: int) -> None:
    camera = make(seed, distortion=FISHEYE, lens="fisheye")
    xyz = points_before(camera, spread=2.0)
    rotation, _ = cv2.Rodrigues(camera.rotation.copy())
    expected, _ = cv2.fisheye.projectPoints(
        xyz[:, None], rotation, camera.translation.copy(), camera.matrix.copy(), camera.distortion.copy()
    )
    bent = camera.project(xyz)
    assert np.abs(bent - expected[:, 0]).max() < 1e-9
    ideal = Camera("p", camera.matrix, camera.rotation, camera.translation, camera.size).project(xyz)
    assert np.abs(camera.undistort(bent) - ideal).max() < 1e-9
    theirs = cv2.fisheye.undistortPoints(
        bent[:, None], camera.matrix.copy(), camera.distortion.copy(), P=camera.matrix.copy()
    )[:, 0]
    assert np.abs(camera.undistort(bent) - theirs).max() < 1e-4


def test_skew_shifts_x_by_y() -> None:
    # cv2.projectPoints has no skew: closed form u = fx x + s y + cx
    camera = Camera("a", [[800, 5, 320], [0, 810, 240], [0, 0, 1]], np.eye(3), np.zeros(3), (640, 480))
    assert np.allclose(camera.project([0.2, -0.1, 2.0]), [800 * 0.1 + 5 * -0.05 + 320, 810 * -0.05 + 240])
    fish = replace(camera, lens="fisheye", distortion=FISHEYE)
    there, _ = cv2.fisheye.projectPoints(
        np.array([[[0.2, -0.1, 2.0]]]),
        np.zeros(3),
        np.zeros(3),
        camera.matrix.copy(),
        np.array(FISHEYE),
        alpha=5 / 800,
    )
    assert np.allclose(fish.project([0.2, -0.1, 2.0]), there[0, 0], atol=1e-9)
    assert np.allclose(fish.undistort(there[0, 0]), camera.project([0.2, -0.1, 2.0]), atol=1e-9)


def test_top_left_pixel_is_zero_zero() -> None:
    # a principal point at (0, 0): the axis meets the centre of the top-left pixel
    camera = Camera("a", np.eye(3), np.eye(3), np.zeros(3), (2, 2))
    assert camera.project([0, 0, 1.0]).tolist() == [0, 0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.sampled_from([*DISTORTIONS, "fisheye"]))
def test_point_lies_on_the_ray_of_its_projection(seed: int, length: int | str) -> None:
    fish = length == "fisheye"
    camera = make(
        seed, distortion=FISHEYE if fish else DISTORTIONS[length], lens="fisheye" if fish else "pinhole"
    )
    xyz = points_before(camera, 20)
    origin, ahead = camera.ray(camera.project(xyz))
    assert np.allclose(np.linalg.norm(ahead, axis=1), 1, atol=1e-12)
    along = ((xyz - origin) * ahead).sum(axis=1)
    assert (along > 0).all()
    assert np.abs(origin + along[:, None] * ahead - xyz).max() < 1e-11


def test_centre_by_hand() -> None:
    # a camera 2 m up the world's y axis looking along -y, with its own y along +z... R maps world -y to +z
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, -1, 0]]) * [[1], [1], [1]]
    rotation[0, 0] = np.linalg.det(rotation)  # make it right-handed
    camera = Camera("a", np.eye(3), rotation, rotation @ [0, -2.0, 0], (2, 2))
    assert np.allclose(camera.centre, [0, 2, 0])
    assert np.allclose(camera.ray([0, 0])[1], [0, -1, 0])


def test_shapes_are_kept() -> None:
    for camera in (make(), make(distortion=DISTORTIONS[5]), make(distortion=FISHEYE, lens="fisheye")):
        xyz = points_before(camera, 24).reshape(2, 3, 4, 3)
        xy = camera.project(xyz)
        assert xy.shape == (2, 3, 4, 2)
        assert camera.undistort(xy).shape == (2, 3, 4, 2)
        assert camera.ray(xy)[1].shape == (2, 3, 4, 3)
        assert camera.project(xyz[0, 0, 0]).shape == (2,)
        assert np.array_equal(camera.project(xyz)[1, 2, 3], camera.project(xyz[1, 2, 3]))
        assert camera.project(np.zeros((0, 3))).shape == (0, 2)
        assert camera.undistort(np.zeros((0, 2))).shape == (0, 2)


def test_behind_the_camera_is_nan() -> None:
    for distortion, lens in (([], "pinhole"), (DISTORTIONS[5], "pinhole"), (FISHEYE, "fisheye")):
        camera = Camera(
            "a",
            [[800, 0, 320], [0, 800, 240], [0, 0, 1]],
            np.eye(3),
            np.zeros(3),
            (640, 480),
            distortion,
            lens,
        )
        seen = camera.project([[0.1, 0, 1], [0.1, 0, -1], [0.1, 0, 0], [np.nan, 0, 1]])
        assert np.isfinite(seen[0]).all()
        assert np.isnan(seen[1:]).all()
        assert np.isnan(camera.undistort([np.nan, 1])).all()


def test_missing_points_stay_missing_and_leave_others_alone() -> None:
    camera = make(distortion=DISTORTIONS[5])
    xy = camera.project(points_before(camera, 5))
    xy[2] = np.nan
    got = camera.undistort(xy)
    assert np.isnan(got[2]).all()
    assert np.array_equal(np.delete(got, 2, 0), camera.undistort(np.delete(xy, 2, 0)))


K1 = -0.3  # r (1 + k1 r²) grows up to r = 1 / sqrt(-3 k1), where it is 2/3 of that


def test_reach_of_one_coefficient_in_closed_form() -> None:
    camera = Camera("a", np.eye(3), np.eye(3), np.zeros(3), (2, 2), [K1, 0, 0, 0])
    top = 1 / math.sqrt(-3 * K1)
    assert camera.reach == pytest.approx(top, rel=1e-12)
    assert camera.project([0.999 * top, 0, 1])[0] == pytest.approx(
        0.999 * top * (1 + K1 * (0.999 * top) ** 2)
    )
    # cv2 folds this one back to x = 0 exactly: r = sqrt(-1 / k1), in the middle of the picture
    folded = np.array([math.sqrt(-1 / K1), 0, 1])
    wrong, _ = cv2.projectPoints(folded, np.zeros(3), np.zeros(3), np.eye(3), np.array([K1, 0, 0, 0]))
    assert abs(wrong[0, 0, 0]) < 1e-12
    assert np.isnan(camera.project(folded)).all()
    assert np.isfinite(camera.undistort([0.66 * top, 0])).all()
    assert np.isnan(camera.undistort([0.67 * top, 0])).all()  # beyond 2/3 top: no point maps there
    assert np.isnan(camera.ray([0.67 * top, 0])[1]).all()


def test_reach_of_a_pole_and_of_none() -> None:
    rational = Camera("a", np.eye(3), np.eye(3), np.zeros(3), (2, 2), [0, 0, 0, 0, 0, -0.25, 0, 0])
    assert rational.reach == pytest.approx(2.0)  # 1 - 0.25 r² = 0
    assert Camera("a", np.eye(3), np.eye(3), np.zeros(3), (2, 2)).reach == math.inf
    assert replace(rational, distortion=[0.1, 0.1, 0, 0]).reach == math.inf
    fish = replace(rational, lens="fisheye", distortion=[-1 / 3, 0, 0, 0])  # slope 1 - theta²
    assert fish.reach == pytest.approx(math.tan(1.0))
    assert np.isnan(fish.project([math.tan(1.01), 0, 1])).all()
    assert fish.project([math.tan(0.99), 0, 1])[0] == pytest.approx(0.99 - 0.99**3 / 3)
    assert np.isnan(fish.undistort([2 / 3 + 1e-3, 0])).all()
    assert replace(fish, distortion=[0.1, 0, 0, 0]).reach == math.inf


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=2),
    st.floats(-0.2, 0.2),
    st.sampled_from([4, 5, 8]),
)
def test_reach_is_where_the_radius_first_stops_growing(k: list[float], k3: float, length: int) -> None:
    d = np.array([k[0], k[1], 0, 0, k3, 0.7 * k[1], 0.3 * k[0], 0])[:length]
    camera = Camera("a", np.eye(3), np.eye(3), np.zeros(3), (2, 2), d)
    r = np.linspace(1e-4, 5, 20_001)
    seen, _ = cv2.projectPoints(
        np.stack([r, 0 * r, 0 * r + 1], axis=1), np.zeros(3), np.zeros(3), np.eye(3), np.asarray(d)
    )
    stops = np.flatnonzero(np.diff(seen[:, 0, 0]) <= 0)
    if len(stops):
        assert camera.reach == pytest.approx(r[stops[0]], abs=2e-3) or camera.reach < r[stops[0]] + 2e-3
        # a reach before the first fall can only be a flat spot
        assert camera.reach > r[stops[0]] - 2e-3 or _flat_at(camera.reach, d)
    else:
        assert camera.reach > 5 - 2e-3 or _flat_at(camera.reach, d)
    inside = r[r < min(0.98 * camera.reach, 5)]
    back = camera.undistort(camera.project(np.stack([inside, 0 * inside, 0 * inside + 1], axis=1)))
    assert np.abs(back[:, 0] - inside).max() < 1e-8


def _flat_at(r: float, d: np.ndarray) -> bool:
    near = np.array([[r - 1e-5, 0, 1], [r + 1e-5, 0, 1]])
    seen, _ = cv2.projectPoints(near, np.zeros(3), np.zeros(3), np.eye(3), np.asarray(d))
    return bool(abs(np.diff(seen[:, 0, 0])[0]) < 1e-7)


def test_a_frozen_value() -> None:
    matrix = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
    camera = Camera("a", matrix, np.eye(3), np.zeros(3), (1280, 720), [0.1, 0, 0, 0])
    matrix[0, 0] = 1
    assert camera.matrix[0, 0] == 900
    for field in ("matrix", "rotation", "translation", "distortion"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(camera, field)[...] = 0
    same = Camera("a", camera.matrix, np.eye(3), np.zeros(3), (1280.0, 720.0), [0.1, 0, 0, 0])  # type: ignore[arg-type]
    assert camera == same
    assert camera.reach == same.reach
    assert pickle.loads(pickle.dumps(camera)) == camera  # noqa: S301  # our own bytes
    for change in (
        {"name": "b"},
        {"size": (720, 1280)},
        {"distortion": [0.1, 0, 0, 1e-9]},
        {"translation": [0, 0, 1]},
    ):
        assert camera != replace(camera, **change)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(camera)


def test_a_rounded_rotation_becomes_proper() -> None:
    exact = make(3).rotation
    rounded = np.round(exact, 4)
    camera = make(3, rotation=rounded)
    assert np.abs(camera.rotation @ camera.rotation.T - np.eye(3)).max() < 1e-14
    assert np.abs(camera.rotation - exact).max() < 1e-4
    assert not np.array_equal(camera.rotation, rounded)
    assert replace(camera).rotation is camera.rotation  # a proper one is left as it is


BAD = {
    "singular": ({"rotation": np.zeros((3, 3))}, "proper rotation.*singular"),
    "flat": ({"rotation": np.diag([1.0, 1, 0])}, "proper rotation.*singular"),
    "mirrored": ({"rotation": np.diag([1.0, 1, -1])}, "proper rotation.*mirrored"),
    "scaled": ({"rotation": np.eye(3) * 1.01}, "proper rotation.*not orthonormal"),
    "nan": ({"rotation": np.full((3, 3), np.nan)}, "finite rotation"),
    "huge rotation": ({"rotation": np.full((3, 3), 1e300)}, "rotation below"),
    "vector": ({"rotation": [0.1, 0.2, 0.3]}, r"rotation of shape \(3, 3\), got \(3,\)"),
    "words": ({"rotation": "north"}, "rotation to be an array of numbers"),
    "ragged": ({"matrix": [[1, 2], [3]]}, "matrix to be an array"),
    "no focal length": ({"matrix": np.diag([0.0, 1, 1])}, "fx, fy > 0"),
    "mirror focal length": ({"matrix": np.diag([-900.0, 900, 1])}, "fx, fy > 0"),
    "transposed matrix": ({"matrix": [[900, 0, 0], [0, 900, 0], [640, 360, 1]]}, "intrinsics"),
    "infinite translation": ({"translation": [0, 0, np.inf]}, "finite translation"),
    "far": ({"translation": [0, 0, 1e9]}, "translation below"),
    "column": ({"translation": [[0], [0], [1]]}, "translation of shape"),
    "three coefficients": ({"distortion": [0.1, 0.1, 0.1]}, "0 or 4 or 5 or 8 or 12 distortion"),
    "column of coefficients": ({"distortion": [[0.1], [0.1], [0], [0]]}, "distortion coefficients"),
    "huge coefficient": ({"distortion": [1e300, 0, 0, 0]}, "distortion below"),
    "fisheye of five": (
        {"distortion": [0.0] * 5, "lens": "fisheye"},
        "4 distortion coefficients for a fisheye",
    ),
    "fisheye of none": ({"lens": "fisheye"}, "4 distortion"),
    "no such lens": ({"lens": "mirror"}, "pinhole or fisheye"),
    "no size": ({"size": (0, 720)}, "size"),
    "half a pixel": ({"size": (1280.5, 720)}, "whole pixels"),
    "nan size": ({"size": (np.nan, 720)}, "whole pixels"),
    "three sides": ({"size": (1, 2, 3)}, "whole pixels"),
    "huge size": ({"size": (10**400, 720)}, "whole pixels"),
    "words for size": ({"size": "HD"}, "whole pixels"),
    "no name": ({"name": ""}, "name"),
    "numeric name": ({"name": 3}, "name"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.filterwarnings("error")
def test_refused_with_words(what: str) -> None:
    changes, words = BAD[what]
    with pytest.raises(CapbenchError, match=words) as caught:
        make(**changes)  # type: ignore[arg-type]
    if "name" not in changes:
        assert "camera cam01" in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([4, 5, 8, 12]).flatmap(lambda n: st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n)),
    st.booleans(),
)
@pytest.mark.filterwarnings("error")
def test_no_coefficients_break_it(d: list[float], fisheye: bool) -> None:
    camera = Camera(
        "a",
        np.eye(3),
        np.eye(3),
        np.zeros(3),
        (640, 480),
        d[:4] if fisheye else d,
        "fisheye" if fisheye else "pinhole",
    )
    grid = np.stack(np.meshgrid([-1e9, -1, -1e-9, 0, 0.3, 1e300], [-2.0, 0, 0.1, np.nan]), axis=-1)
    assert camera.reach > 0
    back = camera.undistort(grid)
    assert back.shape == grid.shape
    known = np.isfinite(back).all(axis=-1)
    ahead = np.concatenate([back[known], np.ones((known.sum(), 1))], axis=1)
    off = np.abs(camera.project(ahead) - grid[known]).max(axis=1, initial=0)
    assert (off <= 1e-6 * (1 + np.abs(grid[known]).max(axis=1, initial=0))).all()
