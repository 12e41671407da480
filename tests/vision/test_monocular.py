"""A body whose place is known is put back there from one camera's account of it."""

from dataclasses import replace

import numpy as np
import pytest
from walkers import BODY, filmed, person, rig

from capbench.vision.faults import DifferentPoints
from capbench.vision.markers import ground_rotation
from capbench.vision.monocular import markers_from_camera, placed, scale_to
from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton

CAMERA = rig(("Cam1",))["Cam1"]
TIME = np.arange(60) / 60
TRUE = person(TIME)
IN_CAMERA = TRUE @ CAMERA.rotation.T + CAMERA.translation
ROOT = IN_CAMERA[:, BODY.index("left_hip")][:, None]


@pytest.mark.truth("the inverse of the camera's own motion")
def test_points_that_stand_where_they_are() -> None:
    confidence = np.full(TRUE.shape[:2], 0.7)
    found = markers_from_camera(IN_CAMERA, TIME, BODY, CAMERA, confidence=confidence)
    np.testing.assert_allclose(found.xyz, TRUE, atol=1e-12)
    assert (found.confidence == 0.7).all() and found.names == BODY.points


@pytest.mark.parametrize("up", ["-y", "+z", "-x"])
def test_another_world_s_axis(up) -> None:
    turn = ground_rotation(up)
    camera = replace(CAMERA, rotation=CAMERA.rotation @ turn)
    found = markers_from_camera(IN_CAMERA, TIME, BODY, camera, up=up)
    np.testing.assert_allclose(found.xyz, TRUE, atol=1e-12)
    lifted = markers_from_camera(IN_CAMERA, TIME, BODY, camera, up=up, floor=-0.3)
    sign = 1 if up[0] == "+" else -1
    np.testing.assert_allclose(lifted.xyz - TRUE, np.broadcast_to([0, 0.3 * sign, 0], TRUE.shape), atol=1e-12)


@pytest.mark.truth("planted")
def test_placed_by_where_it_falls_in_the_picture() -> None:
    tracks = filmed({"Cam1": CAMERA}, seconds=1.0)
    found = markers_from_camera(
        IN_CAMERA - ROOT, TIME, BODY, CAMERA, root_relative=True, keypoints=tracks["Cam1"]
    )
    np.testing.assert_allclose(found.xyz, TRUE, atol=1e-7)
    noisy = filmed({"Cam1": CAMERA}, seconds=1.0, noise=2.0)["Cam1"]
    found = markers_from_camera(IN_CAMERA - ROOT, TIME, BODY, CAMERA, root_relative=True, keypoints=noisy)
    error = found.xyz - TRUE
    depth = (error @ CAMERA.rotation.T)[..., 2]
    # 2 px over 27 points of a body 1.6 m high, seen at 3.5 m: millimetres across, centimetres in depth
    assert (
        np.abs(depth).mean() < 0.05
        and np.linalg.norm((error @ CAMERA.rotation.T)[..., :2], axis=-1).mean() < 0.01
    )


@pytest.mark.truth("SciPy's least_squares")
def test_the_place_minimises_the_error() -> None:
    from scipy.optimize import least_squares

    from capbench.vision.views import to_flat

    noisy = filmed({"Cam1": CAMERA}, seconds=0.05, noise=4.0)["Cam1"]
    relative = (IN_CAMERA - ROOT)[:3]
    found = placed(relative, noisy, CAMERA)
    flat = to_flat(CAMERA, CAMERA.undistort(noisy.xy))
    for t in range(3):

        def error(move, t=t):
            at = relative[t] + move
            return (at[:, :2] / at[:, 2:] - flat[t]).ravel()

        np.testing.assert_allclose(found[t], least_squares(error, [0, 0, 3], xtol=1e-12).x, atol=1e-6)


@pytest.mark.truth("scaled by 0.8, so it must be scaled back by 1.25")
def test_the_size_is_taken_from_the_height() -> None:
    stands = person(np.zeros(3), "stand")
    # of the test body: 0.43 + 0.43 + 0.481 m from ankle to shoulder, 0.779 of the height
    legs = np.linalg.norm(stands[0, BODY.index("left_knee")] - stands[0, BODY.index("left_ankle")])
    thigh = np.linalg.norm(stands[0, BODY.index("left_hip")] - stands[0, BODY.index("left_knee")])
    trunk = np.linalg.norm(stands[0, BODY.index("left_shoulder")] - stands[0, BODY.index("left_hip")])
    height = (legs + thigh + trunk) / 0.779
    assert scale_to(stands, BODY, height) == pytest.approx(1.0)
    assert scale_to(0.8 * stands, BODY, height) == pytest.approx(1.25)
    one_sided = stands.copy()
    one_sided[:, [BODY.index("left_ankle"), BODY.index("left_knee")]] = np.nan
    assert scale_to(0.8 * one_sided, BODY, height) == pytest.approx(1.25, rel=0.03)
    small = markers_from_camera(0.5 * IN_CAMERA, TIME, BODY, CAMERA, root_relative=True, height=height)
    across = np.linalg.norm(small.xyz[:, BODY.index("nose")] - small.xyz[:, BODY.index("left_heel")], axis=-1)
    true = np.linalg.norm(TRUE[:, BODY.index("nose")] - TRUE[:, BODY.index("left_heel")], axis=-1)
    np.testing.assert_allclose(across, true, rtol=0.03)


def test_without_a_picture_it_stands_on_the_floor() -> None:
    found = markers_from_camera(IN_CAMERA - ROOT, TIME, BODY, CAMERA, root_relative=True)
    feet = [k for k, name in enumerate(BODY.points) if "heel" in name or "toe" in name or "fifth" in name]
    np.testing.assert_allclose(found.xyz[:, feet, 1].min(axis=1), 0.0, atol=1e-12)
    relative = found.xyz - found.xyz[:, :1]
    np.testing.assert_allclose(relative, TRUE - TRUE[:, :1], atol=1e-12)
    ankles = Skeleton("ankles", ("a", "b"), landmarks=("left_ankle", "right_ankle"))
    points = np.zeros((1, 2, 3))
    stood = markers_from_camera(points, TIME[:1], ankles, CAMERA, root_relative=True)
    np.testing.assert_allclose(stood.xyz[0, :, 1], 0.08)


def test_missing_points_and_frames_stay_missing() -> None:
    points = IN_CAMERA - ROOT
    points[3], points[5, 4, 0], points[7, 1] = np.nan, np.nan, np.inf
    tracks = filmed({"Cam1": CAMERA}, seconds=1.0)["Cam1"]
    found = markers_from_camera(
        points, TIME, BODY, CAMERA, root_relative=True, keypoints=tracks, confidence=np.ones(TRUE.shape[:2])
    )
    assert (
        np.isnan(found.xyz[3]).all() and np.isnan(found.xyz[5, 4]).all() and np.isnan(found.xyz[7, 1]).all()
    )
    assert np.isnan(found.xyz[..., 0]).sum() == len(BODY) + 2 and (found.confidence[3] == 0).all()
    blind = replace(tracks, xy=np.full_like(tracks.xy, np.nan), confidence=np.zeros_like(tracks.confidence))
    nowhere = markers_from_camera(points, TIME, BODY, CAMERA, root_relative=True, keypoints=blind)
    assert np.isnan(nowhere.xyz).all()


def test_what_can_not_be_told_is_refused() -> None:
    bare = Skeleton("bare", ("a", "b"))
    two = IN_CAMERA[:, :2]
    with pytest.raises(DifferentPoints, match="feet to stand on"):
        markers_from_camera(two, TIME, bare, CAMERA, root_relative=True)
    with pytest.raises(DifferentPoints, match="to tell the size from"):
        markers_from_camera(two, TIME, bare, CAMERA, root_relative=True, height=1.7)
    with pytest.raises(CapbenchError, match="height in metres, got 170"):
        markers_from_camera(IN_CAMERA, TIME, BODY, CAMERA, root_relative=True, height=170.0)
    with pytest.raises(CapbenchError, match="points of shape"):
        markers_from_camera(IN_CAMERA[:5], TIME, BODY, CAMERA)
