"""The whole way from keypoints to markers, and everything that can be wrong with what goes in."""

from dataclasses import replace

import numpy as np
import pytest
from walkers import BODY, FIVE, filmed, person, rig, without

from capbench.vision import faults
from capbench.vision.markers import ground_rotation, markers_of, to_ground
from capbench.vision.swaps import exchanged
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers
from cohorts.skeleton import Skeleton

THREE = ("Cam1", "Cam2", "Cam3")


def error_mm(found, offset=0.0, what="walk") -> float:
    return 1e3 * float(
        np.nanmean(np.linalg.norm(found.markers.xyz - person(found.markers.time - offset, what), axis=-1))
    )


@pytest.mark.truth("planted: offsets, a swap, a gap, an outlier and noise, all at once")
def test_everything_at_once_comes_out_right() -> None:
    cameras, offsets = rig(THREE), {"Cam1": 0.0, "Cam2": 0.0433, "Cam3": -0.07}
    tracks = filmed(cameras, noise=2.0, offsets=offsets, rates={"Cam1": 60.0, "Cam2": 60.0, "Cam3": 50.0})
    where = np.zeros(tracks["Cam3"].confidence.shape, bool)
    where[20:40] = True
    tracks["Cam3"] = exchanged(tracks["Cam3"], where)
    for name in ("Cam1", "Cam2"):
        tracks[name] = without(tracks[name], slice(70, 76), [4])
    xy = tracks["Cam2"].xy.copy()
    xy[50, 6] += 200
    tracks["Cam2"] = replace(tracks["Cam2"], xy=xy)
    found = markers_of(tracks, cameras, activity="walking")
    assert error_mm(found, offsets[found.sync.reference]) < 10
    assert found.facts["cameras"] == 3 and found.facts["views per marker"] > 2.9
    assert 10 < found.swapped["Cam3"].any(axis=1).sum() < 30 and "left and right exchanged" in " ".join(
        found.notes
    )
    assert found.filled[:, 4].sum() >= 3 and found.filled[:, 5].sum() == 0
    assert (found.markers.confidence[found.filled] == 0.5).all()
    assert np.isfinite(found.covariance[np.isfinite(found.markers.xyz[..., 0])]).all()
    moved = {n: found.sync.offsets[n] - offsets[n] + offsets[found.sync.reference] for n in THREE}
    assert max(map(abs, moved.values())) < 0.3 / 50
    assert found.facts["cut-off, Hz"] == 6.0 and found.facts["noise of a view, px"] == pytest.approx(
        2.0, rel=0.25
    )


def test_synchronised_cameras_without_noise_are_the_truth_but_for_the_filter() -> None:
    cameras = rig()
    found = markers_of(filmed(cameras), cameras, synchronised=True, max_offset=0.0, cutoff=np.inf)
    np.testing.assert_allclose(found.markers.xyz, person(found.markers.time), atol=1e-8)
    assert set(found.sync.offsets.values()) == {0.0} and set(found.sync.confidence.values()) == {1.0}
    assert not found.notes and not found.filled.any()
    smoothed = markers_of(filmed(cameras), cameras, synchronised=True, max_offset=0.0, activity="walking")
    assert 0 < error_mm(smoothed) < 3


def test_one_frame_and_a_few() -> None:
    cameras = rig(THREE)
    for count in (1, 2, 5):
        tracks = {n: t[:count] for n, t in filmed(cameras, noise=1.0).items()}
        found = markers_of(tracks, cameras, activity="walking")
        assert len(found.markers) == count and error_mm(found) < 12
        assert (found.notes == ()) == (count == 1)


def test_uneven_frames_are_brought_to_an_even_rate() -> None:
    cameras = rig()
    time = np.cumsum(np.random.default_rng(0).choice([1 / 60, 2 / 60], 90, p=[0.9, 0.1]))
    tracks = {n: Keypoints(n, time, c.project(person(time)), BODY) for n, c in cameras.items()}
    found = markers_of(tracks, cameras, synchronised=True, max_offset=0.0, activity="walking")
    np.testing.assert_allclose(np.diff(found.markers.time), 1 / 60, rtol=1e-6)
    assert error_mm(found) < 3 and "evenly" in found.notes[0]


@pytest.mark.truth("closed form: what was up before is up after, and nothing is mirrored")
@pytest.mark.parametrize("up", ["+x", "-x", "+y", "-y", "+z", "-z"])
def test_the_ground_frame(up) -> None:
    turn = ground_rotation(up)
    axis = {"x": 0, "y": 1, "z": 2}[up[1]]
    before = np.zeros(3)
    before[axis] = 1.0 if up[0] == "+" else -1.0
    np.testing.assert_array_equal(turn @ before, [0, 1, 0])
    assert np.linalg.det(turn) == pytest.approx(1.0)
    # a point 1.5 m over a floor that lies at 0.7 on the axis as it is named
    place = np.zeros(3)
    place[axis] = 0.7 + (1.5 if up[0] == "+" else -1.5)
    stood = to_ground(Markers(np.zeros(1), ("a",), place[None, None]), up, floor=0.7)
    assert stood.xyz[0, 0, 1] == pytest.approx(1.5)


@pytest.mark.parametrize("up", ["-y", "+z"])
def test_another_worlds_axes(up) -> None:
    turn = ground_rotation(up)
    cameras = rig(THREE)
    # the same cameras in a world with another axis up, its floor at 0.4 on it
    lift = np.array([0.0, 0.4 if up[0] == "+" else -0.4, 0.0])
    turned = {
        n: replace(c, rotation=c.rotation @ turn, translation=c.translation - c.rotation @ lift)
        for n, c in cameras.items()
    }
    plain = markers_of(filmed(cameras, noise=2.0), cameras, activity="walking")
    found = markers_of(filmed(cameras, noise=2.0), turned, activity="walking", up=up, floor=0.4)
    np.testing.assert_allclose(found.markers.xyz, plain.markers.xyz, atol=1e-6)
    np.testing.assert_allclose(found.covariance, plain.covariance, atol=1e-8)
    with pytest.raises(CapbenchError, match="name of an axis"):
        ground_rotation("up")


# --- bad input ----------------------------------------------------------------------------------


def test_a_camera_without_points_is_left_out_and_one_alone_is_too_few() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras, noise=1.0)
    blind = {**tracks, "Cam2": without(tracks["Cam2"], slice(None))}
    found = markers_of(blind, cameras)
    assert found.cameras == ("Cam1", "Cam3") and "Cam2: no points, left out" in found.notes
    blind["Cam3"] = without(tracks["Cam3"], slice(None))
    with pytest.raises(faults.TooFewViews, match=r"got them in 1 of 3: Cam1") as caught:
        markers_of(blind, cameras)
    assert caught.value.kind == "too-few-views" and caught.value.exit_code == 2
    with pytest.raises(faults.TooFewViews, match="none"):
        markers_of({}, cameras)


def test_missing_calibration() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras)
    del cameras["Cam2"]
    with pytest.raises(faults.NoCalibration, match=r"none for Cam2; calibrated: Cam1, Cam3"):
        markers_of(tracks, cameras)


def test_calibration_of_another_place_two_cameras() -> None:
    cameras = rig()
    tracks = filmed(cameras, noise=1.0)
    moved = replace(cameras["Cam1"], translation=cameras["Cam1"].translation + np.array([0.0, 1.0, 0.3]))
    with pytest.raises(faults.WrongCalibration, match="median reprojection error of"):
        markers_of(tracks, {**cameras, "Cam1": moved}, synchronised=True, max_offset=0.0)


@pytest.mark.parametrize("names", [THREE, FIVE])
def test_calibration_of_another_place_one_of_several(names) -> None:
    cameras = rig(names)
    tracks = filmed(cameras, noise=1.0)
    other = rig(["x"], azimuths={"x": 100.0})["x"]
    wrong = {**cameras, "Cam2": replace(other, name="Cam2")}
    found = markers_of(tracks, wrong, synchronised=True, max_offset=0.0)
    assert "Cam2" not in found.cameras and any(n.startswith("Cam2: contradicts") for n in found.notes)
    assert error_mm(found) < 10
    with pytest.raises(faults.WrongCalibration) as caught:
        markers_of(tracks, wrong, synchronised=True, max_offset=0.0, drop_bad=False)
    assert caught.value.place == "camera Cam2" and "leave Cam2 out" in caught.value.fix


def test_all_calibrations_of_another_place() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras, noise=1.0)
    places = {
        "Cam1": (20.0, (0.0, 1.6, 0.5)),
        "Cam2": (-80.0, (0.5, 0.2, 0)),
        "Cam3": (130.0, (0.0, 0.9, 0.0)),
    }
    shuffled = {n: rig([n], azimuths={n: azimuth}, target=aim)[n] for n, (azimuth, aim) in places.items()}
    with pytest.raises(faults.WrongCalibration, match="Expected views that fit each other"):
        markers_of(tracks, shuffled, synchronised=True, max_offset=0.0)


@pytest.mark.parametrize(("factor", "unit"), [(1000.0, "millimetres"), (100.0, "centimetres"), (0.001, "")])
def test_other_units_than_metres(factor, unit) -> None:
    cameras = {n: replace(c, translation=c.translation * factor) for n, c in rig(THREE).items()}
    with pytest.raises(faults.WrongUnits, match=f"these are {unit}" if unit else "calibrations in metres"):
        markers_of(filmed(rig(THREE), noise=1.0), cameras, synchronised=True, max_offset=0.0)


def test_a_video_turned_on_its_side() -> None:
    cameras = rig()
    tracks = filmed(cameras)
    sizes = {"Cam1": (1280, 720), "Cam3": (720, 1280)}
    with pytest.raises(faults.WrongSize, match=r"1280 x 720: turned on their side") as caught:
        markers_of(tracks, cameras, sizes=sizes)
    assert caught.value.place == "camera Cam1" and "turn the video" in caught.value.fix
    # without its size: the points themselves lie where no upright picture is
    xy = np.stack([1279 - tracks["Cam1"].xy[..., 1], tracks["Cam1"].xy[..., 0]], axis=-1)
    with pytest.raises(faults.WrongSize, match="of them outside"):
        markers_of({**tracks, "Cam1": replace(tracks["Cam1"], xy=xy)}, cameras)


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0, 2 / 3])
def test_a_video_scaled_against_its_calibration(scale) -> None:
    cameras = rig()
    tracks = {n: replace(t, xy=(t.xy + 0.5) * scale - 0.5) for n, t in filmed(cameras, noise=1.0).items()}
    with pytest.raises(faults.WrongSize) as caught:
        markers_of(tracks, cameras, synchronised=True, max_offset=0.0)
    if scale < 1:  # inside the picture, but the rays don't meet
        assert f"{scale:.3g} times as large" in str(caught.value)
    size = (round(720 * scale), round(1280 * scale))
    with pytest.raises(faults.WrongSize, match=f"scale the calibration by {scale:.3g}"):
        markers_of(tracks, cameras, sizes={"Cam1": size})


def test_one_video_under_two_names() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras)
    tracks["Cam3"] = replace(tracks["Cam1"], camera="Cam3")
    with pytest.raises(faults.SameView, match="Cam1 and Cam3"):
        markers_of(tracks, cameras)


def test_different_skeletons() -> None:
    cameras = rig()
    tracks = filmed(cameras)
    other = Skeleton("other", tuple(f"p{i}" for i in range(len(BODY))))
    with pytest.raises(faults.DifferentPoints, match="other in Cam3"):
        markers_of({**tracks, "Cam3": replace(tracks["Cam3"], skeleton=other)}, cameras)


def test_another_person_in_one_view_makes_no_markers() -> None:
    cameras = rig()
    tracks = filmed(cameras, noise=1.0)
    above = person(tracks["Cam3"].time) + np.array([0.0, 0.6, 0.0])  # on a box
    spoiled = {**tracks, "Cam3": replace(tracks["Cam3"], xy=cameras["Cam3"].project(above))}
    with pytest.raises(faults.WrongCalibration):
        markers_of(spoiled, cameras, synchronised=True, max_offset=0.0)
    beside = person(tracks["Cam3"].time) + np.array(
        [0.3, 0.12, 0.4]
    )  # nearly where the other stands: doubted at least
    near = {**tracks, "Cam3": replace(tracks["Cam3"], xy=cameras["Cam3"].project(beside))}
    found = markers_of(near, cameras, synchronised=True, max_offset=0.0)
    assert any("fit each other badly" in note for note in found.notes)


def test_nothing_is_gained_by_garbage_in_one_view_of_three() -> None:
    cameras = rig(THREE)
    tracks = filmed(cameras, noise=1.0)
    random = np.random.default_rng(0)
    noise = random.uniform([0, 0], [720, 1280], tracks["Cam2"].xy.shape)
    found = markers_of({**tracks, "Cam2": replace(tracks["Cam2"], xy=noise)}, cameras)
    assert "Cam2" not in found.cameras or found.used[:, found.cameras.index("Cam2")].mean() < 0.1
    assert error_mm(found) < 12


def test_faults_cross_process_borders_whole() -> None:
    import pickle

    fault = faults.WrongUnits("Expected metres.", place="camera a", fix="divide")
    again = pickle.loads(pickle.dumps(fault))  # noqa: S301  # our own
    assert type(again) is faults.WrongUnits and again.kind == "wrong-units" and str(again) == str(fault)
