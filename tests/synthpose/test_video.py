"""Videos are written whole or not at all, and their digest is of the frames before compression."""

import hashlib

import numpy as np
import pytest

from cohorts.errors import CapbenchError
from cohorts.formats import video as reader
from synthpose import video


def clip(count=9, size=(64, 48)):
    y, x = np.mgrid[: size[1], : size[0]]
    for k in range(count):
        frame = np.stack([x * 3 + 5 * k, y * 4, 255 - x - 10 * k], axis=-1)
        yield np.clip(frame, 0, 255).astype(np.uint8)


@pytest.mark.truth("hashlib over the frames' bytes")
@pytest.mark.parametrize(("name", "off"), [("a.avi", 4), ("a.mp4", 8)])
def test_what_is_written_can_be_read(tmp_path, name, off) -> None:
    got = video.write(tmp_path / name, clip(), rate=60.0)
    assert got == video.Written(9, hashlib.sha256(b"".join(f.tobytes() for f in clip())).hexdigest())
    assert got.sha256 == video.digest(clip())
    frames = list(reader.frames(tmp_path / name))
    assert len(frames) == 9
    np.testing.assert_allclose([t for t, _ in frames], np.arange(9) / 60, atol=1e-3)
    for (_, back), frame in zip(frames, clip(), strict=True):
        assert np.abs(back.astype(float) - frame).mean() < off  # red is red
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_interrupted_write_leaves_nothing(tmp_path) -> None:
    def broken():
        yield from clip(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write(tmp_path / "a.avi", broken(), rate=30.0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept(tmp_path) -> None:
    (tmp_path / "a.avi").write_bytes(b"mine")
    with pytest.raises(CapbenchError, match="exists"):
        video.write(tmp_path / "a.avi", clip(), rate=30.0)
    assert (tmp_path / "a.avi").read_bytes() == b"mine"
    video.write(tmp_path / "a.avi", clip(), rate=30.0, overwrite=True)
    assert len(list(reader.frames(tmp_path / "a.avi"))) == 9


@pytest.mark.parametrize(
    ("name", "frames", "rate", "words"),
    [
        ("a.mkv", [np.zeros((4, 4, 3), np.uint8)], 30.0, "mp4 or"),
        ("a.avi", [], 30.0, "at least one frame"),
        ("a.avi", [np.zeros((4, 4, 3), np.uint8)], 0.0, "rate"),
        ("a.mp4", [np.zeros((5, 4, 3), np.uint8)], 30.0, "even sides"),
        ("a.mp4", [np.zeros((4, 4), np.uint8)], 30.0, "even sides"),
        ("a.avi", [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)], 30.0, "frame 1"),
        ("a.avi", [np.zeros((16, 16, 3), float)], 30.0, "uint8"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, name, frames, rate, words) -> None:
    with pytest.raises(CapbenchError, match=words):
        video.write(tmp_path / name, frames, rate=rate)
    assert not list(tmp_path.iterdir())
