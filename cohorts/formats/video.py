"""Video: one sequential reader that keeps each frame's own time.

A header's frame count and rate are claims: an edit list or a cut file makes the count wrong, variable
frame rates make the rate wrong. So frames are read in order to the end, each with the time stamp of its
packet (seconds from the first frame), already rotated as the file asks. ``read`` decodes the whole file in
a child process, where a damaged one can do no harm, and says what is really in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import MB, regular_file
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.formats.child import run_child
from cohorts.values import ByValue, FloatArray, frozen

VIDEO_LIMIT = 16384 * MB
MEMORY = 1536 * MB  #: decoders hold several frames for each of many threads
#: a "video" that is really a playlist could name other files of this machine, or hosts to call
_FFMPEG_OPTIONS = (
    "protocol_whitelist;file"
    "|format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,asf,flv,ogg"
)
PIXEL_LIMIT = 5120 * 2880  #: a header can claim any size, and the decoder would make room for it


@dataclass(frozen=True, eq=False)
class VideoInfo(ByValue):
    """What a video file really holds.

    Attributes
    ----------
    codec : four letters
    size : (width, height) in pixels as seen, rotation applied
    rotation : degrees clockwise that the file asks for, already applied to the frames
    time : (T,) seconds from the first decoded frame
    declared_frames, declared_rate : what the header claims; 0 where it claims nothing
    """

    codec: str
    size: tuple[int, int]
    rotation: int
    time: FloatArray
    declared_frames: int
    declared_rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", frozen(self.time))

    @property
    def frames(self) -> int:
        """How many frames were decoded."""
        return len(self.time)

    @property
    def rate(self) -> float:
        """Frames per second as decoded (1 / mean step); NaN below two frames."""
        return (len(self.time) - 1) / float(self.time[-1]) if len(self.time) > 1 else float("nan")

    @property
    def variable(self) -> bool:
        """Whether the steps between frames differ by more than a third of their median."""
        steps = np.diff(self.time)
        return bool(len(steps) and np.ptp(steps) > np.median(steps) / 3)


def read(path: Path, *, notes: list[str] | None = None) -> VideoInfo:
    """What the video holds, found by decoding all of it in a child process (about 200 to 400 frames/s)."""
    notes = [] if notes is None else notes
    found = run_child("video_child", regular_file(path, VIDEO_LIMIT), what="video", memory=MEMORY)
    width, height = (int(n) for n in found["size"])
    info = VideoInfo(
        codec=str(found["codec"]),
        size=(width, height),
        rotation=int(found["rotation"]),
        time=found["time"],
        declared_frames=int(found["declared_frames"]),
        declared_rate=float(found["declared_rate"]),
    )
    _note_oddities(info, bool(found["has_times"]), notes)
    return info


def _note_oddities(info: VideoInfo, has_times: bool, notes: list[str]) -> None:
    if info.declared_frames and info.declared_frames != info.frames:
        notes.append(f"the header counts {info.declared_frames} frames, {info.frames} can be decoded")
    if not has_times:
        notes.append(f"no time stamps; times follow the header's {info.declared_rate:g} frames/s")
    elif info.variable:
        steps = np.diff(info.time) * 1000
        notes.append(
            f"the frame rate varies: {steps.min():.1f} to {steps.max():.1f} ms between frames; "
            "resample by time, not by frame number"
        )
    elif info.frames > 1 and info.declared_rate and abs(info.rate / info.declared_rate - 1) > 0.005:
        notes.append(f"the header says {info.declared_rate:g} frames/s, the time stamps {info.rate:.4g}")
    if info.rotation:
        notes.append(f"stored turned by {info.rotation}°; the frames come upright")


def _open(path: Path) -> tuple[Any, Any]:
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            f"Decoding video needs OpenCV, which can't be imported ({error}).",
            fix="pip install 'opencv-python-headless>=4.10,<6'",
        ) from error
    regular_file(path, VIDEO_LIMIT)
    # FFmpeg prints of damaged files what we say in our own words
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = _FFMPEG_OPTIONS
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise CapbenchError("Expected a video, got a file that no decoder opens.", file=path)
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if not 0 < width * height <= PIXEL_LIMIT:
        capture.release()
        raise CapbenchError(
            f"Expected frames of at most {PIXEL_LIMIT / 1e6:.0f} megapixels, got {width:g} x {height:g}.",
            file=path,
        )
    return cv2, capture


def frames(path: str | Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Every frame in order: its time in seconds from the first one, and its picture (h, w, 3), uint8 RGB."""
    path = Path(path)
    cv2, capture = _open(path)
    try:
        clock = Clock(capture.get(cv2.CAP_PROP_FPS))
        while True:
            good, picture = capture.read()
            if not good:
                break
            yield (
                clock.tick(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000),
                cv2.cvtColor(picture, cv2.COLOR_BGR2RGB),
            )
    finally:
        capture.release()


class Clock:
    """Turns decoders' time stamps into seconds from the first frame, strictly increasing.

    A stamp that does not move on (some containers store none) is replaced by one nominal step.
    """

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate if 0 < rate <= 10_000 else 1 / 30
        self._first: float | None = None
        self._last = 0.0
        self.guessed = 0  #: how many times were made up

    def tick(self, stamp: float) -> float:
        """The time of the next frame, whose stamp is ``stamp`` seconds."""
        if self._first is None:
            self._first = stamp if np.isfinite(stamp) else 0.0
            return 0.0
        time = stamp - self._first
        if not np.isfinite(time) or time <= self._last:
            time = self._last + self._step
            self.guessed += 1
        self._last = time
        return time


def resampled(path: str | Path, rate: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames at ``k / rate`` seconds, each the decoded frame nearest in time (RGB, as ``frames``)."""
    if not 0 < rate <= 10_000:
        raise CapbenchError(f"Expected a rate between 0 and 10,000 Hz, got {rate:g}.", file=path)
    k, tie = 0, 1e-6  # halfway between two frames the earlier one is taken
    held: tuple[float, NDArray[np.uint8]] | None = None
    for time, picture in frames(path):
        while held is not None and k / rate - held[0] <= time - k / rate + tie:
            yield k / rate, held[1]
            k += 1
        held = time, picture
    while held is not None and k / rate <= held[0] + tie:
        yield k / rate, held[1]
        k += 1
