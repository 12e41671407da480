import numpy as np
import pytest
import samples

from cohorts import CapbenchError
from cohorts.formats import video
from cohorts.formats.video import Clock


def test_what_is_really_in_a_clip(tmp_path) -> None:
    samples.video(tmp_path / "a.mp4", frames=8, rate=25)
    notes: list[str] = []
    info = video.read(tmp_path / "a.mp4", notes=notes)
    assert (info.size, info.frames, info.rotation) == ((64, 48), 8, 0)
    np.testing.assert_allclose(info.time, np.arange(8) / 25, atol=1e-6)
    assert info.rate == pytest.approx(25)
    assert not info.variable
    assert notes == []


def test_frames_come_in_order_in_rgb_with_their_times(tmp_path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for k in range(4):
        writer.write(np.full((32, 32, 3), (10, 60, 100 + 30 * k), np.uint8))  # blue, green, red
    writer.release()
    got = list(video.frames(tmp_path / "a.avi"))
    assert [t for t, _ in got] == pytest.approx([0, 0.1, 0.2, 0.3])
    for k, (_, picture) in enumerate(got):
        assert picture.shape == (32, 32, 3)
        np.testing.assert_allclose(picture[16, 16], [100 + 30 * k, 60, 10], atol=4)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (25.0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (12.5, [0, 2, 4, 6]),  # samples at 0, 80, 160, 240 ms; the last frame is at 280 ms
        (50.0, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]),  # halfway: the earlier frame
    ],
)
def test_resampling_is_by_time(tmp_path, rate, expected) -> None:
    samples.video(tmp_path / "a.mp4", frames=8, rate=25)
    greys = [int(picture.mean()) for _, picture in video.frames(tmp_path / "a.mp4")]
    got = list(video.resampled(tmp_path / "a.mp4", rate))
    nearest = [int(np.argmin(np.abs(np.array(greys) - picture.mean()))) for _, picture in got]
    assert nearest == expected
    np.testing.assert_allclose([t for t, _ in got], np.arange(len(got)) / rate)


def test_a_cut_file_counts_what_it_decodes(tmp_path) -> None:
    # an AVI whose data end early still claims all its frames in the header
    import cv2

    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    notes: list[str] = []
    info = video.read(path, notes=notes)
    assert 0 < info.frames < 20
    assert any(f"{info.frames} can be decoded" in note for note in notes)


def test_clock_starts_at_zero_and_never_stands_still() -> None:
    clock = Clock(rate=10)
    assert [clock.tick(t) for t in (5.0, 5.1, 5.1, 5.3, float("nan"), 5.9)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.9]
    )
    assert clock.guessed == 2


def test_playlists_in_disguise_are_not_followed(tmp_path) -> None:
    samples.video(tmp_path / "real.mp4")
    disguise = tmp_path / "a.mp4"
    disguise.write_text("ffconcat version 1.0\nfile real.mp4\n")
    with pytest.raises(CapbenchError, match="no decoder opens"):
        video.read(disguise)
    with pytest.raises(CapbenchError, match="no decoder opens"):
        next(video.frames(disguise))


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 50])
def test_files_that_are_no_video(tmp_path, content) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(CapbenchError, match="Expected a video"):
        video.read(path)


def test_real_videos(shared_data) -> None:
    # facts: 100 frames at 60 frames/s, 1080 or 1088 by 1920, h264 and vp9
    for camera, width, codec in (("cam01", 1080, "h264"), ("cam02", 1080, "VP90"), ("cam03", 1088, "h264")):
        info = video.read(shared_data / f"pose2sim_single/videos/{camera}.mp4")
        assert (info.frames, info.size, info.codec) == (100, (width, 1920), codec)
        assert info.rate == pytest.approx(60, rel=1e-3)
