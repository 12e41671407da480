"""Write pictures as a video, whole or not at all, and say what they were before compression.

Encoders differ between machines and versions; the SHA-256 of the frames as they went in does not, so that is
what a cohort's manifest holds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import replacing
from cohorts.errors import CapbenchError, EnvironmentFault

#: file name's ending -> four letters of the codec
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


@dataclass(frozen=True)
class Written:
    """What went into a video: how many frames, and the SHA-256 of their bytes (RGB, row by row, in order)."""

    frames: int
    sha256: str


def write(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]],
    *,
    rate: float,
    quality: int = 90,
    overwrite: bool = False,
) -> Written:
    """Write RGB frames (h, w, 3) of one size at a constant rate (frames/s).

    ``.mp4`` holds MPEG-4, ``.avi`` JPEGs of that ``quality`` (1 to 100; MPEG-4 chooses its own). A file that
    exists is kept unless ``overwrite``; an interrupted write leaves nothing.
    """
    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise CapbenchError(
            f"Expected a video named *.mp4 or *.avi, got {path.suffix or 'no ending'!r}.", file=path
        )
    if not 0 < rate <= 1000:
        raise CapbenchError(f"Expected a rate of up to 1000 frames/s, got {rate:g}.", file=path)
    with replacing(path, overwrite=overwrite) as temporary:
        return _write(temporary, path, frames, rate, quality)


def digest(frames: Iterable[NDArray[np.uint8]]) -> str:
    """The SHA-256 of frames as ``write`` gives it, without writing them."""
    total = hashlib.sha256()
    for frame in frames:
        total.update(np.asarray(frame, np.uint8).tobytes())
    return total.hexdigest()


def _write(
    temporary: Path, path: Path, frames: Iterable[NDArray[np.uint8]], rate: float, quality: int
) -> Written:
    writer: Any = None
    shape: tuple[int, ...] = ()
    total, count = hashlib.sha256(), 0
    try:
        for count, frame in enumerate(frames, 1):
            if writer is None:
                shape = _checked(frame, path)
                writer = _opened(temporary, path, shape, rate, quality)
            if frame.shape != shape or frame.dtype != np.uint8:
                raise CapbenchError(
                    f"Expected frames of shape {shape}, uint8, got {frame.shape}, {frame.dtype}.",
                    file=path,
                    place=f"frame {count - 1}",
                )
            total.update(frame.tobytes())
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        if writer is not None:
            writer.release()
    if writer is None:
        raise CapbenchError("Expected at least one frame, got none.", file=path)
    return Written(count, total.hexdigest())


def _checked(frame: NDArray[np.uint8], path: Path) -> tuple[int, ...]:
    shape = frame.shape
    if len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2 or not shape[0] * shape[1]:
        raise CapbenchError(
            f"Expected frames (h, w, 3) with even sides, as video codecs need, got {shape}.", file=path
        )
    return shape


def _opened(temporary: Path, path: Path, shape: tuple[int, ...], rate: float, quality: int) -> Any:
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            f"Writing video needs OpenCV, which can't be imported ({error}).",
            fix="pip install 'opencv-python-headless>=4.10,<6'",
        ) from error
    code = CODECS[path.suffix.lower()]
    backend = cv2.CAP_OPENCV_MJPEG if code == "MJPG" else cv2.CAP_FFMPEG
    letters = cv2.VideoWriter.fourcc(*code)
    writer = cv2.VideoWriter(str(temporary), backend, letters, float(rate), (shape[1], shape[0]))
    if not writer.isOpened():
        raise EnvironmentFault(
            f"This OpenCV can't write {code} videos.", file=path, fix="write .avi, or reinstall OpenCV"
        )
    if code == "MJPG":
        writer.set(cv2.VIDEOWRITER_PROP_QUALITY, quality)
    return writer
