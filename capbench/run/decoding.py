"""Frames of several cameras, decoded once each, ahead of whoever takes them, in bounded memory.

A thread per camera decodes into a short queue, so decoding goes on while a model computes. Whoever takes the
frames decides their order, never the threads' luck: the same videos give the same batches.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.formats import video

MEMORY = 256 << 20  #: bytes of frames that wait in the queues of all cameras together
BLOCK = 16  #: pixels to which encoders fill up a picture
_NAP = 0.05  #: seconds after which a thread that can't go on looks whether it should


class Frame(NamedTuple):
    """``number`` in the video from 0, ``time`` in seconds from its first frame, picture (h, w, 3) RGB."""

    number: int
    time: float
    picture: NDArray[np.uint8]


class Claim(NamedTuple):
    """What a container says of itself, unproven; 0 where it says nothing."""

    frames: int
    rate: float
    size: tuple[int, int]

    @property
    def duration(self) -> float:
        """Seconds; 0 where frames or rate aren't claimed."""
        return self.frames / self.rate if self.rate > 0 else 0.0


def claim(path: str | Path) -> Claim:
    """What the container claims; nothing is decoded (about 10 ms)."""
    cv2, capture = video._open(Path(path))
    try:
        count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    finally:
        capture.release()
    return Claim(
        int(count) if 0 < count < 1e9 else 0,
        float(rate) if 0 < rate < 1e5 else 0.0,
        (int(width), int(height)),
    )


def thinned(frames: Iterator[Frame], rate: float) -> Iterator[Frame]:
    """Of ``frames`` those nearest to k / ``rate`` seconds, each at most once and with its own time."""
    k, held = 0, None
    for frame in frames:
        if held is not None:
            wanted = False
            while k / rate - held.time <= frame.time - k / rate + 1e-6:  # of two as near, the earlier
                wanted, k = True, k + 1
            if wanted:
                yield held
        held = frame
    if held is not None and k / rate <= held.time + 1e-6:
        yield held


class Feed:
    """One camera's frames, in order, decoded ahead by a thread.

    The first frame is decoded at once, so that a file which is no video is refused here. A decoder's failure
    later on is :attr:`fault` once the feed has ended.
    """

    def __init__(self, name: str, path: Path, *, rate: float | None = None) -> None:
        self.name, self.path = name, path
        self.claim = claim(path)
        self.seconds = 0.0  #: spent decoding
        self.decoded = 0
        self.last = 0.0  #: time of the last decoded frame
        self.fault: CapbenchError | None = None
        self._source = thinned(self._decode(), rate) if rate else self._decode()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._queue: queue.Queue[Frame | None] = queue.Queue()
        first = next(self._source, None)
        if first is None:
            raise self.fault or CapbenchError(
                "Expected a video, got a file from which no frame can be decoded.", file=path
            )
        self._first: Frame | None = first
        self.size: tuple[int, int] = (first.picture.shape[1], first.picture.shape[0])

    @property
    def bytes(self) -> int:
        """Of one frame."""
        return 3 * int(self.size[0]) * int(self.size[1])

    def start(self, depth: int) -> None:
        """Begin to decode, at most ``depth`` frames ahead."""
        self._queue = queue.Queue(max(depth, 1))
        self._thread = threading.Thread(target=self._run, name=f"decode {self.name}", daemon=True)
        self._thread.start()

    def take(self) -> Frame | None:
        """The next frame; None after the last one, when :attr:`fault` says whether it ended well."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._thread is None:
            return None
        frame = self._queue.get()
        if frame is None:
            self._thread.join()
            self._thread = None
        return frame

    def close(self) -> None:
        """Stop decoding, whatever is left."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _decode(self) -> Iterator[Frame]:
        """Frames until the end or the first thing that is wrong with them."""
        source = video.frames(self.path)
        shape: tuple[int, ...] | None = None
        try:
            while not self._stop.is_set():
                began = time.perf_counter()
                item = next(source, None)
                self.seconds += time.perf_counter() - began
                if item is None:
                    return
                moment, picture = item
                if shape is not None and picture.shape != shape:
                    self.fault = CapbenchError(
                        f"Expected frames of one size, got {shape[1]} x {shape[0]} and then "
                        f"{picture.shape[1]} x {picture.shape[0]}.",
                        file=self.path,
                        place=f"frame {self.decoded}",
                        fix="cut the video where its size changes",
                    )
                    return
                shape = picture.shape
                self.decoded, self.last = self.decoded + 1, moment
                yield Frame(self.decoded - 1, moment, picture)
        except CapbenchError as error:
            self.fault = error
        except MemoryError:
            self.fault = EnvironmentFault("Not enough memory to decode the video.", file=self.path)
        except Exception as error:  # cv2.error, where the decoder itself gives up
            self.fault = CapbenchError(
                f"The decoder failed: {str(error).strip()[:200]}.",
                file=self.path,
                place=f"frame {self.decoded}",
            )
        finally:
            source.close()  # type: ignore[attr-defined]  # it is a generator

    def _run(self) -> None:
        try:
            for frame in self._source:
                if not self._put(frame):
                    return
        finally:
            self._put(None)

    def _put(self, frame: Frame | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(frame, timeout=_NAP)
            except queue.Full:
                continue
            return True
        return False


def start(feeds: list[Feed], *, batch: int) -> None:
    """Start all, each as far ahead as ``MEMORY`` allows and a batch asks for, two frames at least."""
    together = sum(feed.bytes for feed in feeds)
    for feed in feeds:
        feed.start(max(2, min(batch, MEMORY // max(together, 1))))


def rounds(feeds: list[Feed]) -> Iterator[list[tuple[Feed, Frame]]]:
    """One frame of each camera that has any left, until none has."""
    live = list(feeds)
    while live:
        taken = [(feed, feed.take()) for feed in live]
        live = [feed for feed, frame in taken if frame is not None]
        some = [(feed, frame) for feed, frame in taken if frame is not None]
        if some:
            yield some


# --- what is odd about a video ------------------------------------------------------------------


def size_problem(feed: Feed, camera: Camera, notes: list[str]) -> CapbenchError | None:
    """Why the picture doesn't fit the calibration, or None; an encoder's padding is only noted."""
    have, want = feed.size, camera.size
    if have == want:
        return None
    if max(abs(a - b) for a, b in zip(have, want, strict=True)) < BLOCK:
        notes.append(
            f"camera {feed.name}: pictures of {have[0]} x {have[1]}, calibrated as {want[0]} x {want[1]}; "
            "taken for an encoder's padding"
        )
        return None
    expected = f"Expected pictures of {want[0]} x {want[1]} as calibrated, got {have[0]} x {have[1]}: "
    if have == want[::-1]:
        why, fix = "turned by 90°.", "turn the video back, or calibrate it as it is; both must agree"
    elif abs(have[0] * want[1] - have[1] * want[0]) < 0.01 * have[0] * want[1]:
        why, fix = "resized.", "use the video in the size that was calibrated"
    else:
        why, fix = "of another shape.", "use the video and the calibration of one camera and session"
    return CapbenchError(expected + why, file=feed.path, place=f"camera {feed.name}", fix=fix)


def oddities(feeds: list[Feed]) -> list[str]:
    """What is odd about videos that were decoded to their ends, in words."""
    notes = []
    for feed in feeds:
        if feed.decoded < feed.claim.frames:
            notes.append(
                f"camera {feed.name}: the container claims {feed.claim.frames} frames, {feed.decoded} could "
                "be decoded: cut short, or counted wrongly"
            )
    lasted = {feed.name: feed.last for feed in feeds}
    rates = {f.name: (f.decoded - 1) / f.last for f in feeds if f.decoded > 2 and f.last > 0}
    if rates and max(rates.values()) > 1.02 * min(rates.values()):
        said = ", ".join(f"{name} {rate:.4g}" for name, rate in rates.items())
        notes.append(f"frame rates differ: {said} frames/s")
    slack = 2.5 / min(rates.values()) if rates else 0.1
    if lasted and max(lasted.values()) - min(lasted.values()) > slack:
        said = ", ".join(f"{name} {last:.2f}" for name, last in lasted.items())
        notes.append(f"cameras recorded unequally long: {said} s to the last frame")
    return notes
