"""Each habit of the published code, shown; its linear algebra against a plain re-statement."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from walkers import BODY, FIVE, filmed, person, rig, without

from capbench.vision import faults
from capbench.vision.published import at_100_hz, bridged, filtered, linear, markers_published
from cohorts.errors import CapbenchError


@pytest.mark.truth("closed form: exact views have one meeting point")
@pytest.mark.parametrize("names", [("Cam1", "Cam3"), FIVE])
def test_exact_views_meet_at_100_hz(names) -> None:
    cameras = rig(names)
    found = markers_published(filmed(cameras), cameras)
    np.testing.assert_allclose(found.time, np.arange(201) / 100)
    inside = found.time < 1.95
    # straight lines between frames at 60 Hz, and a filter whose gain at 25 Hz is 1
    assert np.abs(found.xyz - person(found.time))[inside].max() < 0.003


@pytest.mark.truth("the equations w (u P3 - P1) X = 0, w (v P3 - P2) X = 0, one point at a time")
def test_the_weight_is_the_raw_confidence_inside_the_equations() -> None:
    cameras = rig(FIVE)
    tracks = filmed(cameras, noise=5.0, seconds=0.2)
    random = np.random.default_rng(0)
    weight = random.uniform(0.1, 1.0, (5, 12, len(BODY)))
    flat = np.stack([cameras[n].undistort(t.xy) for n, t in tracks.items()])
    found, confidence = linear(flat, weight, list(cameras.values()))
    for t, k in ((0, 0), (5, 11), (11, 26)):
        rows = []
        for c, camera in enumerate(cameras.values()):
            p = camera.matrix @ np.hstack([camera.rotation, camera.translation[:, None]])
            u, v = flat[c, t, k]
            rows += [weight[c, t, k] * (u * p[2] - p[0]), weight[c, t, k] * (v * p[2] - p[1])]
        x = np.linalg.svd(np.array(rows))[2][-1]
        np.testing.assert_allclose(found[t, k], x[:3] / x[3], atol=1e-6)
        assert confidence[t, k] == pytest.approx(weight[:, t, k].mean())
    unit, _ = linear(flat, np.where(weight > 0, 1.0, 0.0), list(cameras.values()))
    half, _ = linear(flat, np.where(weight > 0, np.nan, 0.0), list(cameras.values()))
    np.testing.assert_allclose(
        half, unit, atol=1e-9
    )  # NaN counts as 0.5 everywhere: the same as 1 everywhere


def test_the_filter_is_none_even_for_gait() -> None:
    time = np.arange(600) / 60
    wave = np.sin(2 * np.pi * 25 * time)[:, None, None] * np.ones((1, 1, 2))
    out = filtered(wave, 60.0)
    assert np.abs(out - wave)[250:350].max() < 1e-3  # gain 1.000 at 25 Hz; ends ring on for 100 frames
    expected = sosfiltfilt(butter(2, 0.99, output="sos"), wave, axis=0)
    np.testing.assert_allclose(out, expected)
    slow = filtered(wave, 240.0)  # there it is 30 Hz
    np.testing.assert_allclose(slow, sosfiltfilt(butter(2, 0.25, output="sos"), wave, axis=0))


def test_one_missing_sample_takes_the_whole_track_with_it() -> None:
    cameras = rig()
    tracks = filmed(cameras)
    tracks["Cam1"] = without(tracks["Cam1"], slice(7, 8), [5])
    found = markers_published(tracks, cameras)
    assert np.isnan(found.xyz[:, 5]).all() and np.isfinite(np.delete(found.xyz, 5, axis=1)).all()


def test_fewer_than_two_confident_cameras_make_the_worlds_origin() -> None:
    cameras = rig()
    tracks = filmed(cameras, rate=50.0)
    confidence = tracks["Cam3"].confidence.copy()
    confidence[:20, 2] = 0.0  # at the start: not bridged
    confidence[40:45, 3] = 0.0  # short, inside: bridged
    confidence[40:60, 4] = 0.0  # too long
    found = markers_published({**tracks, "Cam3": replace(tracks["Cam3"], confidence=confidence)}, cameras)
    assert (found.xyz[:38, 2] == 0).all() and (found.confidence[:38, 2] == 1).all()
    assert (found.xyz[82:118, 4] == 0).all()
    at = found.time
    assert np.abs(found.xyz[80:90, 3] - person(at)[80:90, 3]).max() < 0.01


def test_a_wild_view_is_believed() -> None:
    cameras = rig(("Cam1", "Cam2", "Cam3"))
    tracks = filmed(cameras)
    xy = tracks["Cam2"].xy.copy()
    xy[60, 0] += 300
    found = markers_published({**tracks, "Cam2": replace(tracks["Cam2"], xy=xy)}, cameras)
    assert np.linalg.norm(found.xyz[100, 0] - person(found.time)[100, 0]) > 0.15


def test_offsets_are_not_looked_for() -> None:
    cameras = rig()
    late = filmed(
        cameras, offsets={"Cam3": 0.1}
    )  # its clock is ahead: frame k is the same moment all the same
    np.testing.assert_array_equal(
        markers_published(late, cameras).xyz, markers_published(filmed(cameras), cameras).xyz
    )
    cut = {"Cam1": filmed(cameras)["Cam1"][:114], "Cam3": filmed(cameras)["Cam3"][6:]}  # 6 frames apart
    found = markers_published(cut, cameras)
    assert np.linalg.norm(found.xyz - person(found.time), axis=-1).mean() > 0.03


@pytest.mark.truth("arange(0, N / fps + 0.01, 0.01) and a line through the last two frames")
def test_lines_to_100_hz_go_on_past_the_end() -> None:
    ramp = np.arange(6.0)[:, None, None] * np.ones((1, 1, 3))
    time, xyz = at_100_hz(ramp, 60.0)
    np.testing.assert_allclose(time, np.arange(0, 0.105, 0.01))
    np.testing.assert_allclose(xyz[:, 0, 0], time * 60)  # frame 5 is at 0.0833 s
    one_time, one = at_100_hz(ramp[:1], 60.0)
    assert len(one_time) == len(one) == 3 and (one == 0).all()


@pytest.mark.truth("SciPy's pchip, over zeros elsewhere too")
def test_bridges_are_pchip_over_everything_else() -> None:
    from scipy.interpolate import PchipInterpolator

    random = np.random.default_rng(0)
    xyz, confidence = random.normal(size=(60, 1, 3)), np.ones((60, 1))
    for zero in (slice(0, 4), slice(20, 25), slice(40, 52)):
        xyz[zero], confidence[zero] = 0.0, 0.0
    out = bridged(xyz, confidence, 12.0)
    known = np.delete(np.arange(60), np.arange(20, 25))
    np.testing.assert_allclose(out[20:25, 0], PchipInterpolator(known, xyz[known, 0])(np.arange(20, 25)))
    assert (out[:4] == 0).all() and (out[40:52] == 0).all()  # the start, and as long as the limit
    assert (bridged(np.zeros((5, 1, 3)), np.zeros((5, 1)), 12.0) == 0).all()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda t: {"Cam1": t["Cam1"]}, faults.TooFewViews, "two cameras"),
        (lambda t: {**t, "Cam1": t["Cam1"][:50]}, faults.DifferentPoints, "AssertionError"),
        (lambda t: {**t, "Cam9": t["Cam1"]}, faults.NoCalibration, "Cam9"),
        (lambda t: {n: x[:1] for n, x in t.items()}, CapbenchError, "one frame does not show it"),
    ],
)
def test_where_the_published_code_stops(change, error, said) -> None:
    cameras = rig()
    with pytest.raises(error, match=said):
        markers_published(change(filmed(cameras)), cameras)


def test_one_frame_with_a_rate() -> None:
    cameras = rig()
    found = markers_published({n: t[:1] for n, t in filmed(cameras).items()}, cameras, rate=60.0)
    np.testing.assert_allclose(found.xyz[0], person(np.zeros(1))[0], atol=1e-6)
