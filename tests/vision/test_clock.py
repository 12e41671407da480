"""Cubic polynomials are reproduced exactly; everything else follows from which samples are there."""

from dataclasses import replace

import numpy as np
import pytest
from walkers import BODY, filmed, person, rig, without

from capbench.vision.clock import common_clock, resample
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton

ONE = Skeleton("one", ("p",))


def track(time, x, **more) -> Keypoints:
    x = np.asarray(x, float)
    return Keypoints("c", np.asarray(time, float), np.stack([x, 2 * x], axis=-1)[:, None], ONE, **more)


@pytest.mark.truth("the polynomial through four points of a cubic is that cubic")
@pytest.mark.parametrize("offset", [0.0, 0.0123, -0.0301])
def test_cubics_pass_exactly_uneven_times_or_not(offset) -> None:
    own = np.cumsum(np.random.default_rng(0).uniform(0.012, 0.022, 60))

    def curve(t):
        return 3 + 100 * t - 220 * t**2 + 90 * t**3

    wanted = np.arange(0.2, 0.7, 0.0083)
    found = resample(track(own, curve(own)), wanted, offset=offset)
    # what happens at t stands at t + offset in the file
    np.testing.assert_allclose(found.xy[:, 0, 0], curve(wanted + offset), rtol=1e-10)
    np.testing.assert_allclose(found.xy[:, 0, 1], 2 * curve(wanted + offset), rtol=1e-10)


def test_the_first_interval_is_a_parabola_and_two_samples_a_line() -> None:
    t = np.arange(5.0)
    assert resample(track(t, t**2), np.array([0.5])).xy[0, 0, 0] == pytest.approx(0.25)
    assert resample(track(t[:2], t[:2]), np.array([0.25])).xy[0, 0, 0] == pytest.approx(0.25)


def test_nothing_before_the_first_sample_nor_after_the_last() -> None:
    found = resample(track([1.0, 2.0, 3.0], [1, 2, 3]), np.array([0.99, 1.0, 3.0, 3.01]))
    assert np.isnan(found.xy[:, 0, 0]).tolist() == [True, False, False, True]
    assert found.confidence[:, 0].tolist() == [0, 1, 1, 0]


def test_one_missing_sample_is_bridged_two_are_not() -> None:
    t = np.arange(12.0)
    gone = t.copy()
    gone[[3, 7, 8]] = np.nan
    found = resample(track(t, gone), np.array([2.5, 3.0, 3.5, 6.5, 7.5, 8.5, 9.5]))
    np.testing.assert_allclose(found.xy[:, 0, 0], [2.5, 3.0, 3.5, np.nan, np.nan, np.nan, 9.5], atol=1e-12)


def test_a_pause_in_the_recording_is_no_line() -> None:
    t = np.array([0, 1, 2, 3, 8, 9, 10, 11.0])
    found = resample(track(t, t), np.array([2.5, 4.0, 7.5, 8.5]))
    assert np.isnan(found.xy[:, 0, 0]).tolist() == [False, True, True, False]


def test_confidence_is_the_lesser_neighbours_and_covariance_lies_between() -> None:
    covariance = np.array([np.eye(2) * s for s in (1.0, 3.0, 5.0, 7.0)])[:, None]
    given = track(
        range(4), range(4), confidence=[[0.9], [0.4], [0.8], [0.7]], covariance=covariance, frames=range(4)
    )
    found = resample(given, np.array([0.5, 1.0, 2.25]))
    assert found.confidence[:, 0].tolist() == [0.4, 0.4, 0.7]
    np.testing.assert_allclose(found.covariance[:, 0, 0, 0], [2.0, 3.0, 5.5])
    assert found.frames is None  # these are no frames of the video any more


def test_tracks_on_one_clock_stay_as_they_are() -> None:
    tracks = filmed(rig())
    tracks["Cam1"] = without(tracks["Cam1"], slice(3, 4))
    assert common_clock(tracks) == tracks
    jittered = replace(tracks["Cam3"], time=tracks["Cam3"].time + 1e-7)
    assert common_clock({**tracks, "Cam3": jittered})["Cam3"] == jittered


@pytest.mark.truth("closed form")
def test_different_rates_and_offsets_meet() -> None:
    cameras = rig(("Cam1", "Cam2", "Cam3"))
    offsets = {"Cam2": 0.0377, "Cam3": -0.05}
    tracks = filmed(cameras, rates={"Cam1": 60.0, "Cam2": 30.0, "Cam3": 50.0}, offsets=offsets)
    found = common_clock(tracks, offsets)
    time = found["Cam1"].time
    assert all(np.array_equal(t.time, time) for t in found.values())
    np.testing.assert_allclose(np.diff(time), 1 / 60)
    for name, camera in cameras.items():
        true = camera.project(person(time))
        there = np.isfinite(found[name].xy)
        assert there.mean() > 0.95
        # 1.5 px: a cubic through samples 33 ms apart of feet that turn within a tenth of a second
        assert np.abs(found[name].xy - true)[there].max() < (1e-6 if name == "Cam1" else 1.5)
    assert len(common_clock(tracks, offsets, rate=100.0)["Cam1"]) == pytest.approx(
        len(time) * 100 / 60, abs=2
    )


def test_the_clock_runs_while_two_cameras_do() -> None:
    long, short, late = (
        track(np.arange(a, b) / 10, np.arange(a, b)) for a, b in ((0, 100), (20, 60), (90, 130))
    )
    found = common_clock({"a": long, "b": short, "c": late})
    assert found["a"].time[0] == pytest.approx(2.0) and found["a"].time[-1] == pytest.approx(9.9)


def test_one_frame_and_none() -> None:
    single = {"a": track([0.0], [1]), "b": track([0.0], [2])}
    assert common_clock(single) == single
    empty = Keypoints("c", np.empty(0), np.empty((0, 1, 2)), ONE)
    found = common_clock({"a": track(range(5), range(5)), "b": empty, "c": track(range(5), range(5))})
    assert np.isnan(found["b"].xy).all() and len(found["b"]) == 5
    assert common_clock({}) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"offsets": {"Cam1": np.nan}}, "finite offsets"),
        ({"rate": -1.0}, "positive rate"),
        ({"rate": np.inf}, "positive rate"),
        ({"rate": 1e9}, "at most"),
    ],
)
def test_wrong_numbers_are_refused(options, said) -> None:
    with pytest.raises(CapbenchError, match=said):
        common_clock(filmed(rig()), options.pop("offsets", None), **options)


def test_names_keep_their_order() -> None:
    assert list(common_clock(filmed(rig(("Cam3", "Cam1"))), {"Cam1": 0.1})) == ["Cam3", "Cam1"]
    assert BODY.points[0] == "left_ear"
