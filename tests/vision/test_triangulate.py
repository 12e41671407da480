"""Against OpenCV, brute force, Monte Carlo and the error measured for LabValidation's geometry."""

import time as clock
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.optimize import least_squares
from walkers import BODY, FIVE, filmed, person, rig, without

from capbench.vision.faults import DifferentPoints, NoCalibration, TooFewViews
from capbench.vision.triangulate import triangulate
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton

THREE = ("Cam1", "Cam2", "Cam3")


def cloud(count: int, cameras, *, noise=0.0, seed=0, confidence=None, covariance=None):
    """Points all over a person's room, one name, ``count`` frames of it as 20 points."""
    random = np.random.default_rng(seed)
    xyz = random.uniform([-0.4, 0.0, -0.4], [0.4, 1.8, 0.4], (count, 20, 3))
    skeleton = Skeleton("cloud", tuple(f"p{i}" for i in range(20)))
    tracks = {}
    for name, camera in cameras.items():
        xy = camera.project(xyz)
        xy = xy + noise * random.normal(size=xy.shape)
        tracks[name] = Keypoints(name, np.arange(count) / 60, xy, skeleton)
    return xyz, tracks


@pytest.mark.truth("closed form: exact views have one meeting point")
@pytest.mark.parametrize("names", [("Cam1", "Cam3"), THREE, FIVE])
def test_exact_views_meet_where_they_came_from(names) -> None:
    cameras = rig(names)
    found = triangulate(filmed(cameras), cameras)
    np.testing.assert_allclose(found.markers.xyz, person(found.markers.time), atol=1e-9)
    assert found.used.all() and (found.views == len(names)).all() and found.residual.max() < 1e-6
    assert found.cameras == names and found.markers.names == BODY.points


@pytest.mark.truth("OpenCV's triangulatePoints")
def test_as_opencv_without_noise_through_the_same_lens() -> None:
    cameras = rig()
    tracks = filmed(cameras, seconds=0.2)
    ideal = []
    for name, camera in cameras.items():
        points = tracks[name].xy.reshape(-1, 1, 2)
        ideal.append(
            cv2.undistortPoints(points, camera.matrix, camera.distortion, P=camera.matrix).reshape(-1, 2).T
        )
    p = [c.matrix @ np.column_stack([c.rotation, c.translation]) for c in cameras.values()]
    homogeneous = cv2.triangulatePoints(*p, *ideal)
    theirs = (homogeneous[:3] / homogeneous[3]).T.reshape(-1, len(BODY), 3)
    np.testing.assert_allclose(
        triangulate(tracks, cameras).markers.xyz, theirs, atol=1e-4
    )  # their lens: 5 rounds


@pytest.mark.truth("SciPy's least_squares on Camera.project")
@pytest.mark.parametrize("names", [("Cam1", "Cam3"), FIVE])
def test_minimises_the_reprojection_error_of_the_real_picture(names) -> None:
    cameras = rig(names)
    _, tracks = cloud(2, cameras, noise=2.0)
    confidence = np.random.default_rng(1).uniform(0.5, 1.0, (len(names), 2, 20))
    tracks = {n: replace(t, confidence=c) for (n, t), c in zip(tracks.items(), confidence, strict=True)}
    found = triangulate(tracks, cameras, threshold_px=1000.0)
    for frame, point in ((0, 0), (1, 7), (1, 19)):

        def error(x, frame=frame, point=point):
            rows = zip(cameras.items(), confidence, strict=True)
            return np.concatenate(
                [w[frame, point] * (c.project(x) - tracks[n].xy[frame, point]) for (n, c), w in rows]
            )

        brute = least_squares(error, found.markers.xyz[frame, point] + 0.01, xtol=1e-12, ftol=1e-12).x
        # 5 microns: the lens is taken for straight over the few pixels of the error
        np.testing.assert_allclose(found.markers.xyz[frame, point], brute, atol=5e-6)


@pytest.mark.truth("measured for this geometry by another implementation: 11.0, 9.6 and 7.1 mm")
@pytest.mark.parametrize(("names", "mm"), [(("Cam1", "Cam3"), 11.0), (THREE, 9.6), (FIVE, 7.1)])
def test_two_pixels_of_noise_at_three_and_a_half_metres(names, mm) -> None:
    cameras = rig(names)
    xyz, tracks = cloud(300, cameras, noise=2.0)
    error = np.linalg.norm(triangulate(tracks, cameras).markers.xyz - xyz, axis=-1)
    assert 1e3 * error.mean() == pytest.approx(mm, rel=0.05)


@pytest.mark.truth("Monte Carlo")
@pytest.mark.parametrize("names", [("Cam1", "Cam3"), FIVE])
def test_covariance_is_that_of_the_errors(names) -> None:
    cameras = rig(names)
    still = np.repeat(
        np.random.default_rng(3).uniform([-0.3, 0, -0.3], [0.3, 1.8, 0.3], (1, 6, 3)), 3000, axis=0
    )
    random = np.random.default_rng(4)
    skeleton = Skeleton("six", tuple("abcdef"))
    tracks = {}
    for name, camera in cameras.items():
        xy = camera.project(still) + 3.0 * random.normal(size=(3000, 6, 2))
        tracks[name] = Keypoints(name, np.arange(3000) / 60, xy, skeleton)
    found = triangulate(tracks, cameras)
    np.testing.assert_allclose(found.scale, 3.0, rtol=0.05)
    for k in range(6):
        true = np.cov((found.markers.xyz - still)[:, k].T)
        told = found.covariance[:, k].mean(axis=0)
        np.testing.assert_allclose(np.sqrt(np.diag(told)), np.sqrt(np.diag(true)), rtol=0.07)
        off = np.abs(told - true) / np.sqrt(np.outer(np.diag(true), np.diag(true)))
        assert off.max() < 0.13
    # and the least known direction is known to be so
    axes_told = np.linalg.eigh(found.covariance[:, 0].mean(axis=0))[1][:, -1]
    axes_true = np.linalg.eigh(np.cov((found.markers.xyz - still)[:, 0].T))[1][:, -1]
    assert abs(axes_told @ axes_true) > 0.95


def test_a_confident_view_pulls_more() -> None:
    cameras = rig(FIVE)
    xyz, tracks = cloud(200, cameras)
    random = np.random.default_rng(0)
    noisy = {}
    for n, (name, track) in enumerate(tracks.items()):
        sigma = 2.0 if n < 3 else 8.0
        xy = track.xy + sigma * random.normal(size=track.xy.shape)
        noisy[name] = replace(track, xy=xy, confidence=np.full(xy.shape[:2], 1.0 if n < 3 else 0.25))
    weighed = triangulate(noisy, cameras)
    blind = triangulate(
        {n: replace(t, confidence=np.ones_like(t.confidence)) for n, t in noisy.items()}, cameras
    )
    error = [np.linalg.norm(f.markers.xyz - xyz, axis=-1).mean() for f in (weighed, blind)]
    assert error[0] < 0.75 * error[1]
    np.testing.assert_allclose(weighed.scale, 2.0, rtol=0.15)
    assert (weighed.markers.confidence == 1.0).all()  # the second best of those used


def test_the_models_own_covariance_counts_and_is_inflated_where_it_is_too_small() -> None:
    cameras = rig(THREE)
    xyz, tracks = cloud(300, cameras)
    random = np.random.default_rng(0)
    shape = {"Cam1": (1.0, 9.0), "Cam2": (9.0, 1.0), "Cam3": (1.0, 1.0)}  # px² in x and y

    def told(factor):
        given = {}
        for name, track in tracks.items():
            xy = track.xy + np.sqrt(shape[name]) * random.normal(size=track.xy.shape)
            covariance = np.broadcast_to(np.diag(shape[name]) * factor, (*xy.shape, 2))
            given[name] = replace(track, xy=xy, covariance=covariance)
        found = triangulate(given, cameras)
        error = found.markers.xyz - xyz
        return found, np.mean(
            np.einsum("tmi,tmij,tmj->tm", error, np.linalg.inv(found.covariance), error)
        ) / 3

    honest, fit = told(1.0)
    np.testing.assert_allclose(honest.scale, 1.0, atol=0.1)
    assert fit == pytest.approx(1.0, abs=0.1)
    vain, fit = told(0.25)  # says half the true standard deviation
    np.testing.assert_allclose(vain.scale, 2.0, rtol=0.15)
    assert fit == pytest.approx(1.0, abs=0.15)
    modest, fit = told(4.0)  # says twice as much: believed
    np.testing.assert_allclose(modest.scale, 1.0)
    assert fit < 0.5


@pytest.mark.parametrize(("names", "wrong", "share"), [(THREE, 1, 0.1), (FIVE, 1, 0.5), (FIVE, 2, 0.2)])
def test_views_far_off_are_left_out(names, wrong, share) -> None:
    cameras = rig(names)
    xyz, tracks = cloud(100, cameras, noise=2.0)
    random = np.random.default_rng(9)
    hit = random.random((100, 20)) < share
    order = np.argsort(random.random((100, 20, len(names))), axis=-1)[..., :wrong]
    spoiled = {}
    for n, (name, track) in enumerate(tracks.items()):
        mine = hit & (order == n).any(axis=-1)
        angle = random.uniform(0, 2 * np.pi, mine.sum())
        xy = track.xy.copy()
        xy[mine] += 150 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        spoiled[name] = replace(track, xy=xy)
    found = triangulate(spoiled, cameras)
    error = np.linalg.norm(found.markers.xyz - xyz, axis=-1)
    assert np.isfinite(error).all()
    assert np.median(error[hit]) < 1.6 * np.median(error[~hit]) < 0.02
    # along the epipolar lines of the rest an error of any size is invisible: a few stay
    assert (error[hit] > 0.1).mean() < 0.04
    assert found.used[:, :, :][~np.broadcast_to(hit[:, None], found.used.shape)].mean() > 0.995
    np.testing.assert_allclose(found.scale.mean(), 2.0, rtol=0.1)


def test_two_views_that_contradict_each_other_make_no_point() -> None:
    cameras = rig()
    tracks = filmed(cameras, noise=1.0)
    xy = tracks["Cam1"].xy.copy()
    xy[10:20, 3, 1] += 60.0  # across the epipolar lines
    found = triangulate({**tracks, "Cam1": replace(tracks["Cam1"], xy=xy)}, cameras)
    lost = np.isnan(found.markers.xyz[..., 0])
    assert lost[10:20, 3].all() and lost.sum() == 10
    assert not found.used[10:20, :, 3].any() and np.isnan(found.covariance[10:20, 3]).all()
    assert (found.markers.confidence[10:20, 3] == 0).all()


def test_a_given_threshold_decides() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras)
    xy = tracks["Cam2"].xy + np.array([0.0, 12.0])
    off = {**tracks, "Cam2": replace(tracks["Cam2"], xy=xy)}
    strict, lax = (triangulate(off, cameras, threshold_px=px) for px in (6.0, 50.0))
    assert (strict.used.mean(axis=(0, 2)) == [1, 0, 1]).all() and lax.used.all()
    np.testing.assert_allclose(strict.markers.xyz, person(strict.markers.time), atol=1e-6)
    np.testing.assert_allclose(strict.residual[:, 1], 12.0, rtol=1e-6)  # told of views without a say too


def test_missing_is_nan_and_never_zero() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras, noise=1.0)
    tracks["Cam1"] = without(tracks["Cam1"], slice(5, 9))
    tracks["Cam2"] = without(tracks["Cam2"], slice(7, 12))
    found = triangulate(tracks, cameras)
    assert found.views[:, 0].tolist()[4:13] == [3, 2, 2, 0, 0, 2, 2, 2, 3]
    assert (
        np.isnan(found.markers.xyz[7:9]).all()
        and np.isfinite(np.delete(found.markers.xyz, [7, 8], axis=0)).all()
    )
    assert np.abs(found.markers.xyz[np.isfinite(found.markers.xyz)]).max() < 3


def test_a_point_without_confidence_has_no_say() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras)
    xy, confidence = tracks["Cam1"].xy.copy(), tracks["Cam1"].confidence.copy()
    xy[4], confidence[4] = 5.0, 0.0
    found = triangulate({**tracks, "Cam1": replace(tracks["Cam1"], xy=xy, confidence=confidence)}, cameras)
    np.testing.assert_allclose(found.markers.xyz, person(found.markers.time), atol=1e-8)
    assert not found.used[4, 0].any()


def test_rays_that_are_nearly_parallel_are_told_so() -> None:
    close = rig(("a", "b"), azimuths={"a": 0.0, "b": 0.4})  # 2 cm apart
    some = rig(("a", "b"), azimuths={"a": 0.0, "b": 10.0})
    wide = rig(("a", "b"), azimuths={"a": 0.0, "b": 90.0})
    found = [triangulate(filmed(c, noise=2.0), c) for c in (close, some, wide)]
    assert np.isnan(found[0].markers.xyz).mean() > 0.95  # noise may make it seem near
    depth = [np.sqrt(np.median(f.covariance[..., 0, 0])) for f in found[1:]]
    assert depth[0] > 5 * depth[1]
    same = {"a": wide["a"], "b": replace(wide["a"], name="b")}
    assert np.isnan(triangulate(filmed(same, noise=2.0), same).markers.xyz).all()
    lax = triangulate(filmed(close, noise=2.0), close, largest_sd=np.inf)
    assert np.isfinite(lax.markers.xyz).mean() > 0.9


def test_a_point_behind_a_camera_is_none() -> None:
    ahead = Camera("a", np.diag([900.0, 900, 1]), np.eye(3), np.zeros(3), (720, 1280))
    beside = replace(ahead, name="b", translation=np.array([-1.0, 0, 0]))
    # rays that part from each other in front and meet 2 m behind the cameras
    x, time = np.array([[[450.0, 0.0]]]), np.zeros(1)
    skeleton = Skeleton("one", ("p",))
    tracks = {"a": Keypoints("a", time, -x / 2, skeleton), "b": Keypoints("b", time, x / 2, skeleton)}
    assert np.isnan(triangulate(tracks, {"a": ahead, "b": beside}).markers.xyz).all()


def test_order_and_frames_do_not_matter() -> None:
    cameras = rig(FIVE)
    tracks = filmed(cameras, noise=3.0)
    found, turned = triangulate(tracks, cameras), triangulate(dict(reversed(tracks.items())), cameras)
    np.testing.assert_allclose(turned.markers.xyz, found.markers.xyz, atol=1e-7)
    assert turned.cameras == FIVE[::-1] and np.array_equal(turned.used[:, ::-1], found.used)
    one = triangulate({n: t[:1] for n, t in tracks.items()}, cameras)
    assert np.linalg.norm(one.markers.xyz - person(one.markers.time), axis=-1).max() < 0.05
    none = triangulate({n: t[:0] for n, t in tracks.items()}, cameras)
    assert none.markers.xyz.shape == (0, len(BODY), 3) and none.covariance.shape == (0, len(BODY), 3, 3)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda t: {"Cam1": t["Cam1"]}, TooFewViews, "two cameras or more"),
        (lambda t: {**t, "Cam9": t["Cam1"]}, NoCalibration, "none for Cam9"),
        (lambda t: {**t, "Cam1": t["Cam1"][:50]}, DifferentPoints, "50 samples in Cam1"),
        (
            lambda t: {**t, "Cam3": replace(t["Cam3"], time=t["Cam3"].time + 0.01)},
            DifferentPoints,
            "same times",
        ),
    ],
)
def test_what_is_no_set_of_views_is_refused(change, error, said) -> None:
    cameras = rig()
    with pytest.raises(error, match=said):
        triangulate(change(filmed(cameras)), cameras)
    with pytest.raises(CapbenchError, match="positive threshold"):
        triangulate(filmed(cameras), cameras, threshold_px=0.0)


def test_a_minute_of_five_cameras_takes_seconds() -> None:
    cameras = rig(FIVE)
    _, tracks = cloud(1000, cameras, noise=2.0)
    start = clock.process_time()
    triangulate(tracks, cameras)
    assert clock.process_time() - start < 2.0  # 0.2 s where it was written
