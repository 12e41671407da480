"""What the sensor does, against what its numbers declare."""

import numpy as np
import pytest
from solids import camera

from cohorts.errors import CapbenchError
from synthpose.sensor import (
    PRESETS,
    Sensor,
    compressed,
    develop,
    draw_sensor,
    exposed,
    frame_times,
    kept,
    offsets,
    openings,
    rolled,
    softened,
)
from synthpose.shade import to_bytes

PERFECT = PRESETS["perfect"]
HOW = {"seed": 1, "camera": "Cam1", "frame": 0}


def linear_of(bytes_):
    return (np.asarray(bytes_, float) / 255) ** 2.2


# --- noise --------------------------------------------------------------------------------------


def test_a_perfect_sensor_changes_nothing() -> None:
    light = np.random.default_rng(0).random((40, 30, 3)).astype(np.float32)
    np.testing.assert_array_equal(develop(light, PERFECT, **HOW), to_bytes(light))


@pytest.mark.truth("variance = read noise² + light / electrons, in linear light")
@pytest.mark.parametrize(
    ("level", "read", "electrons"), [(0.3, 0.02, 1e12), (0.3, 0.0, 500.0), (0.5, 0.01, 2000.0)]
)
def test_noise_is_as_strong_as_declared(level, read, electrons) -> None:
    light = np.full((200, 200, 3), level, np.float32)
    sensor = Sensor(soft=0.0, read_noise=read, electrons=electrons)
    got = linear_of(develop(light, sensor, **HOW))
    step = 2.2 * level ** (1 - 1 / 2.2) / 255  # of 8 bits, in linear light
    expected = np.sqrt(read**2 + level / electrons + step**2 / 12)
    assert got.std() == pytest.approx(expected, rel=0.015)
    assert got.mean() == pytest.approx(level, abs=4 * expected / np.sqrt(got.size) + 1e-4)
    z = (got - got.mean()) / got.std()
    assert abs((z**3).mean()) < 0.05 and 2.7 < (z**4).mean() < 3.1  # near to Gaussian
    flat = got - got.mean()
    for a, b in ((flat[:, 1:], flat[:, :-1]), (flat[1:], flat[:-1]), (flat[..., 0], flat[..., 1])):
        assert abs((a * b).mean()) < 0.02 * got.var()  # each pixel and colour by itself


def test_noise_is_the_frames_own_and_repeats() -> None:
    light = np.full((60, 50, 3), 0.4, np.float32)
    sensor = Sensor(read_noise=0.03)
    one = develop(light, sensor, **HOW)
    np.testing.assert_array_equal(one, develop(light, sensor, **HOW))
    for change in ({"seed": 2}, {"camera": "Cam2"}, {"frame": 1}):
        other = develop(light, sensor, **HOW | change)
        a, b = one.astype(float).ravel(), other.astype(float).ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


# --- exposure and colour ------------------------------------------------------------------------


@pytest.mark.truth("a stop is a factor of two in linear light")
def test_exposure_and_white_balance() -> None:
    light = np.broadcast_to(np.linspace(0.02, 0.2, 50, dtype=np.float32)[None, :, None], (4, 50, 3)).copy()
    sensor = Sensor(exposure=1.0, balance=(1.1, 1.0, 0.8), soft=0, read_noise=0, electrons=1e12)
    np.testing.assert_array_equal(
        develop(light, sensor, **HOW), to_bytes((light * np.array([2.2, 2.0, 1.6])).astype(np.float32))
    )
    assert (develop(light * 100, sensor, **HOW) >= 254).any()  # full is full


# --- blur ---------------------------------------------------------------------------------------


@pytest.mark.truth("a Gaussian of that width; mirrored edges keep all light")
@pytest.mark.parametrize("soft", [0.4, 0.8, 2.0])
def test_the_lens_spreads_light_and_loses_none(soft) -> None:
    light = np.random.default_rng(3).random((31, 42, 3)).astype(np.float32)
    out = softened(light, soft)
    np.testing.assert_allclose(out.sum(axis=(0, 1)), light.sum(axis=(0, 1)), rtol=1e-5)
    point = np.zeros((31, 41, 3), np.float32)
    point[15, 20] = 1
    spread = softened(point, soft)[..., 0].astype(float)
    y, x = np.mgrid[-15:16, -20:21]
    expected = np.exp(-(x**2 + y**2) / (2 * soft**2))
    np.testing.assert_allclose(spread, expected / expected.sum(), atol=4e-3)
    if soft >= 0.8:
        assert (spread * x**2).sum() == pytest.approx(soft**2, rel=0.03)
    corner = np.zeros((31, 42, 3), np.float32)
    corner[0, 41] = 1
    assert softened(corner, soft)[..., 1].sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(softened(light, 0.0), light)
    tiny = np.ones((1, 1, 3), np.float32)
    np.testing.assert_allclose(softened(tiny, 2.0), 1, rtol=1e-6)


@pytest.mark.truth("the mean of what falls on a pixel while the shutter is open")
def test_motion_blur_is_a_mean_and_loses_no_light() -> None:
    def bar(time):  # 4 pixels wide, 100 pixels/s, its edges on pixels' edges
        picture = np.zeros((3, 30, 3), np.float32)
        at = 10 + round(100 * time)
        picture[:, at : at + 4] = 0.8
        return picture

    times = openings(0.0, 0.05, 5)
    np.testing.assert_allclose(times, [-0.02, -0.01, 0, 0.01, 0.02])
    out = exposed(bar(t) for t in times)
    assert out.sum() == pytest.approx(bar(0).sum(), rel=1e-6)
    np.testing.assert_allclose(out[1, 7:18, 0] / 0.8 * 5, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0], atol=1e-6)
    assert out.dtype == np.float32
    np.testing.assert_allclose(openings(2.0, 0.1, 1), [2.0])
    with pytest.raises(CapbenchError, match="at least one"):
        exposed([])


@pytest.mark.truth("a point that moves sideways is seen where it is when its row is read")
def test_a_rolling_shutter_reads_each_row_in_its_time() -> None:
    cam = camera(place=(3.0, 1.0, 0.0), aim=(0, 1, 0), size=(120, 160), focal=150.0)
    heights = np.linspace(0.2, 1.8, 9)
    points = np.stack([0 * heights, heights, 0 * heights], axis=1)
    velocity = np.broadcast_to([0.0, 0.0, 2.0], points.shape)
    readout = 0.03
    moved = rolled(cam, points, velocity, readout)
    rows = cam.project(points)[:, 1]
    assert (rows >= 0).all() and (rows <= 159).all()
    np.testing.assert_allclose(moved[:, 2], 2.0 * readout * (rows / 159 - 0.5), atol=1e-9)
    np.testing.assert_allclose(moved[:, :2], points[:, :2])
    # a falling point: its own row while it falls
    fall = rolled(cam, points, np.broadcast_to([0.0, -3.0, 0.0], points.shape), readout)
    time = (points[:, 1] - fall[:, 1]) / 3.0
    np.testing.assert_allclose(time, readout * (cam.project(fall)[:, 1] / 159 - 0.5), atol=2e-5)
    np.testing.assert_array_equal(rolled(cam, points, velocity, 0.0), points)
    far = rolled(cam, np.array([[0.0, 40.0, 0.0], [9.0, 1.0, 0.0]]), np.ones((2, 3)), readout)
    np.testing.assert_allclose(far, [[-0.015, 39.985, -0.015], [9.0, 1.0, 0.0]])  # above; behind the camera


# --- time ---------------------------------------------------------------------------------------


def test_offsets_are_constant_each_cameras_own_and_bounded() -> None:
    names = [f"Cam{k}" for k in range(5)]
    found = [offsets(names, seed=s) for s in range(200)]
    values = np.array([[one[n] for n in names] for one in found])
    assert np.ptp(values, axis=1).max() <= 0.1 and np.abs(values).max() > 0.045
    assert values.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.05)
    assert offsets(["Cam3"], seed=7)["Cam3"] == found[7]["Cam3"]
    assert offsets(names, seed=7) == found[7] != found[8]
    assert set(offsets(names, seed=1, most=0.0).values()) == {0.0}


def test_frame_times_are_exact() -> None:
    np.testing.assert_allclose(frame_times(1.0, 2.0, 60.0), 1 + np.arange(61) / 60, atol=1e-12)
    late = frame_times(1.0, 2.0, 60.0, offset=0.037)
    np.testing.assert_allclose(late - frame_times(1.0, 2.0, 60.0), 0.037, atol=1e-12)
    assert len(frame_times(0.0, 0.99, 100.0)) == 100 and len(frame_times(0.5, 0.5, 30.0)) == 1
    for wrong in ((1.0, 0.0, 60.0), (0.0, 1.0, 0.0)):
        with pytest.raises(CapbenchError, match="rate"):
            frame_times(*wrong)


def test_dropped_frames() -> None:
    keep = kept(100, share=0.1, seed=3, camera="Cam1")
    assert (~keep).sum() == 10 and keep[0] and keep[-1]
    np.testing.assert_array_equal(keep, kept(100, share=0.1, seed=3, camera="Cam1"))
    assert (keep != kept(100, share=0.1, seed=3, camera="Cam2")).any()
    for frames in (0, 1, 2, 3):
        assert kept(frames, share=0.9, seed=0, camera="c").sum() >= min(frames, 2)
    assert kept(50, share=0.0, seed=0, camera="c").all()
    with pytest.raises(CapbenchError, match="share"):
        kept(10, share=1.0, seed=0, camera="c")


# --- compression and settings -------------------------------------------------------------------


def test_compression_loses_more_at_lower_quality() -> None:
    light = np.random.default_rng(0).random((8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1).astype(np.float32)
    rgb = to_bytes(light)
    off = [np.abs(compressed(rgb, q).astype(int) - rgb).mean() for q in (95, 70, 20)]
    assert 0 < off[0] < off[1] < off[2] < 40
    np.testing.assert_array_equal(compressed(rgb, 70), compressed(rgb, 70))
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(compressed(red, 95)[8, 8], [200, 0, 0], atol=6)  # RGB stays RGB
    sensor = Sensor(soft=0, read_noise=0, electrons=1e12, quality=70)
    np.testing.assert_array_equal(develop(light, sensor, **HOW), compressed(rgb, 70))


def test_drawn_sensors_differ_between_cameras_and_repeat() -> None:
    one = draw_sensor(4, "Cam1")
    assert one == draw_sensor(4, "Cam1") != draw_sensor(4, "Cam2") != draw_sensor(5, "Cam2")
    many = [draw_sensor(s, "Cam0") for s in range(300)]
    assert np.std([s.exposure for s in many]) == pytest.approx(0.3, rel=0.15)
    assert {s.quality for s in many} <= set(range(70, 96))
    assert min(s.shutter for s in many) >= 1 / 1000 and max(s.shutter for s in many) <= 1 / 120


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exposure", float("nan")),
        ("balance", (1.0, 0.0, 1.0)),
        ("soft", -1.0),
        ("shutter", 2.0),
        ("readout", float("inf")),
        ("read_noise", -0.1),
        ("electrons", 0.0),
        ("quality", 101),
    ],
)
def test_impossible_sensors_are_refused(field, value) -> None:
    with pytest.raises(CapbenchError, match=field):
        Sensor(**{field: value})
