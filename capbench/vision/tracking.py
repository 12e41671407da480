"""Who is where from frame to frame: one person followed by their own keypoints, several told apart.

:class:`Follower` feeds a top-down model without a detector: the box of the next frame is the extent of this
frame's keypoints. :func:`link` joins the detections of each frame into identities; who of them is the subject
is :mod:`capbench.vision.subject`'s question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from capbench.vision import boxes as box_tools
from cohorts.errors import CapbenchError
from cohorts.values import ByValue, FloatArray, IntArray, check_shape, check_time, frozen

# --- one person, followed by their own keypoints ------------------------------------------------

FADED = 0.4  #: a track is lost where the confidence falls below this share of its usual level …
BLANK = 0.15  #: … or below this, whatever its level
SHRUNK, GROWN = 0.5, 2.0  #: how much smaller or larger a person may appear from one frame to the next
#: how far a person may move between frames, in their own size: a step's worth, and 4 sizes a second (a sprint
#: is 5 m/s, a person 1.8 m high and 0.7 m wide has a size of 1.1 m)
LEAP, SPEED = 0.25, 4.0
MOST_LOOKS = 4  #: at one frame: with the old box, at the whole picture, and twice at what was found
_MEMORY = 0.1  #: share that a frame has in the usual confidence

Verdict = Literal["held", "look again", "nobody"]


@dataclass
class Follower:
    """Follows one person in one camera; a small state, one frame at a time.

    For each frame: predict in :attr:`box`, give the points to :meth:`take`, and as long as that says
    "look again", predict once more in the new :attr:`box` of the same picture. The first frame is looked at
    whole; what is found there is looked at twice more closely. The same is done where the person is lost:
    confidence falls, the box collapses, swells or jumps.

    Attributes
    ----------
    size : (width, height) of the picture, pixels
    least : confidence a point needs to bear on the box
    losses : frame number -> why the person was lost there
    found_again : frame numbers at which a lost person was found
    """

    size: tuple[int, int]
    least: float = box_tools.LEAST
    losses: dict[int, str] = field(default_factory=dict)
    found_again: list[int] = field(default_factory=list)
    _box: FloatArray | None = None  # where the person was last
    _candidate: FloatArray | None = None  # what a look at the whole picture found in this frame
    _looks: int = 0
    _frame: int = -1
    _time: float = 0.0
    _usual: float = 0.0
    _ever: bool = False

    @property
    def box(self) -> FloatArray:
        """(4,) where to look next, pixels."""
        if self._candidate is not None:
            return self._candidate
        return box_tools.whole(self.size) if self._box is None else self._box

    def take(self, xy: ArrayLike, confidence: ArrayLike, *, frame: int, time: float) -> Verdict:
        """What the model saw in :attr:`box`: points (K, 2) pixels, confidences (K,); ``time`` in seconds."""
        if frame != self._frame:
            self._frame, self._looks = frame, 0
            step = time - self._time
        else:
            step = 0.0
        self._looks += 1
        confidence = np.asarray(confidence, float)
        found = box_tools.from_points(xy, confidence, least=self.least, size=self.size)
        level = _level(confidence)
        if self._box is not None:
            why = self._lost(found, level, step)
            if why is None:
                return self._hold(found, level, time)
            self.losses[frame] = why
            self._box = None
            return "look again"
        if not np.isfinite(found).all() or level < BLANK:
            self._candidate = None
            return "nobody"
        self._candidate = found
        if self._looks < MOST_LOOKS - (not self._lost_now):
            return "look again"
        self._candidate = None
        if self._ever:
            self.found_again.append(frame)
        return self._hold(found, level, time)

    @property
    def _lost_now(self) -> bool:
        return self._frame in self.losses

    def _hold(self, found: FloatArray, level: float, time: float) -> Verdict:
        usual = level if self._box is None else (1 - _MEMORY) * self._usual + _MEMORY * level
        self._box, self._time, self._usual, self._ever = found, time, usual, True
        return "held"

    def _lost(self, found: FloatArray, level: float, step: float) -> str | None:
        """Why the person isn't where they were, or None."""
        assert self._box is not None
        if level < max(BLANK, FADED * self._usual):
            return f"confidence fell from {self._usual:.2f} to {level:.2f}"
        if not np.isfinite(found).all():
            return "too few points"
        old, new = float(box_tools.scale(self._box)), float(box_tools.scale(found))
        if not SHRUNK <= new / old <= GROWN:
            return f"the box went from {old:.0f} to {new:.0f} px"
        moved = float(np.linalg.norm(box_tools.centre(found) - box_tools.centre(self._box)))
        if moved > old * (LEAP + SPEED * max(step, 0.0)):
            return f"the box jumped {moved:.0f} px"
        return None


def _level(confidence: FloatArray) -> float:
    """The mean of the better half of the points: those hidden by the body itself don't count."""
    if not len(confidence):
        return 0.0
    return float(np.sort(confidence)[len(confidence) // 2 :].mean())


# --- several people, told apart over time -------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Seen(ByValue):
    """All people that were seen in one camera, frame by frame.

    Attributes
    ----------
    time : (T,) seconds of each frame, those without people too
    frame : (N,) which frame each detection is of, an index into ``time``, in order
    boxes : (N, 4) pixels
    score : (N,) of the detections
    xy, confidence : (N, K, 2) pixels and (N, K), or None where there are boxes only
    """

    time: FloatArray
    frame: IntArray
    boxes: FloatArray
    score: FloatArray
    xy: FloatArray | None = None
    confidence: FloatArray | None = None

    def __post_init__(self) -> None:
        for name in ("time", "boxes", "score"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        object.__setattr__(self, "frame", frozen(self.frame, np.int64))
        check_time(self.time)
        n = len(self.frame)
        check_shape("boxes", self.boxes, (n, 4))
        check_shape("score", self.score, (n,))
        if n and (np.diff(self.frame) < 0).any():
            raise CapbenchError("Expected detections in the order of their frames, got others.")
        if n and (self.frame[0] < 0 or self.frame[-1] >= len(self.time)):
            raise CapbenchError(f"Expected frames from 0 to {len(self.time) - 1}, got others.")
        if (self.xy is None) != (self.confidence is None):
            raise CapbenchError("Expected points and confidences, got only one of them.")
        if self.xy is not None and self.confidence is not None:
            object.__setattr__(self, "xy", frozen(self.xy))
            object.__setattr__(self, "confidence", frozen(self.confidence))
            check_shape("xy", self.xy, (n, self.confidence.shape[-1], 2))
            check_shape("confidence", self.confidence, (n, self.xy.shape[1]))

    def __len__(self) -> int:
        return len(self.frame)


def seen(time: ArrayLike, per_frame: Iterable[tuple[FloatArray, FloatArray]]) -> Seen:
    """Detections as a detector gives them, (boxes (m, 4), scores (m,)) for each frame."""
    pairs = list(per_frame)
    counts = [len(boxes) for boxes, _ in pairs]
    return Seen(
        np.asarray(time, float),
        np.repeat(np.arange(len(pairs)), counts),
        np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _ in pairs)]),
        np.concatenate([np.zeros(0), *(scores for _, scores in pairs)]),
    )


LONGEST_GAP = 1.0  #: seconds for which a person may be hidden and still be the same
_GATE = 1.0  #: cost above which two detections aren't the same person
_PENALTY = 1e3
_SLOW = 0.25  #: seconds over which a person's speed is averaged


@dataclass
class _Track:
    """Where one identity was last, how fast, and what it looked like."""

    identity: int
    time: float
    box: FloatArray
    speed: FloatArray  # (2,) px/s
    points: FloatArray | None
    frames: int = 1

    def moved(self, time: float) -> FloatArray:
        """(2,) how far they will have gone by ``time``, px; a speed told by two frames is half believed."""
        trust = min(1.0, self.frames / 4)
        return self.speed * (time - self.time) * trust

    def update(self, time: float, box: FloatArray, points: FloatArray | None) -> None:
        """Seen again."""
        step = time - self.time
        speed = (box_tools.centre(box) - box_tools.centre(self.box)) / step
        keep = np.exp(-step / _SLOW) if self.frames > 1 else 0.0
        self.speed = keep * self.speed + (1 - keep) * speed
        self.time, self.box, self.points, self.frames = time, box, points, self.frames + 1


def link(found: Seen, *, longest_gap: float = LONGEST_GAP) -> NDArray[np.int64]:
    """(N,) the identity of each detection: numbers from 0 in the order in which people appear.

    Frame by frame the cheapest pairing of detections with the people known so far (Hungarian method). The
    cost is how far a detection lies from where the person would be by now at their own speed, in their own
    size, and, with keypoints, how far its points lie from theirs, moved along; so two people who cross keep
    who they are. Who isn't seen for ``longest_gap`` seconds and comes back is somebody new.
    """
    identity = np.full(len(found), -1, np.int64)
    starts = np.searchsorted(found.frame, np.arange(len(found.time) + 1))
    tracks: list[_Track] = []
    known = 0
    for t, time in enumerate(found.time.tolist()):
        rows = np.arange(starts[t], starts[t + 1])
        if not len(rows):
            continue
        tracks = [track for track in tracks if time - track.time <= longest_gap + 1e-9]
        for row, track in _paired(found, rows, tracks, time):
            identity[row] = track.identity
            track.update(time, found.boxes[row], _points(found, row))
        for row in rows[identity[rows] < 0].tolist():
            tracks.append(_Track(known, time, found.boxes[row], np.zeros(2), _points(found, row)))
            identity[row] = known
            known += 1
    return identity


def _points(found: Seen, row: int) -> FloatArray | None:
    """(K, 2) the points of a detection, NaN where they aren't trusted; None without keypoints."""
    if found.xy is None or found.confidence is None:
        return None
    return np.where((found.confidence[row] >= box_tools.LEAST)[:, None], found.xy[row], np.nan)


def _paired(found: Seen, rows: IntArray, tracks: list[_Track], time: float) -> list[tuple[int, _Track]]:
    """Which of the frame's detections is which known person: the pairs of least total cost."""
    from scipy.optimize import linear_sum_assignment

    if not tracks:
        return []
    pairs = [_costs(found, rows, track, time) for track in tracks]
    cost, near = np.array([c for c, _ in pairs]), np.array([n for _, n in pairs])
    best = linear_sum_assignment(np.where(near, cost, _PENALTY))
    return [
        (int(rows[column]), tracks[line]) for line, column in zip(*best, strict=True) if near[line, column]
    ]


def _costs(found: Seen, rows: IntArray, track: _Track, time: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(m,) how unlike the person each detection is, and whether it may be them."""
    step = time - track.time
    moved = track.moved(time)
    size = max(float(box_tools.scale(track.box)), 1.0)
    room = LEAP + SPEED * step
    shift = found.boxes[rows].reshape(-1, 2, 2) - track.box.reshape(2, 2) - moved
    off = np.linalg.norm(shift.mean(axis=1), axis=-1) / size
    # who is half hidden has a smaller box, one corner of which is where it was
    corner = np.hypot(np.abs(shift[..., 0]).min(axis=1), np.abs(shift[..., 1]).min(axis=1)) / size
    larger = np.maximum(box_tools.scale(found.boxes[rows]), 1.0)
    grown = np.minimum(np.abs(np.log(larger / size)) / np.log(GROWN), 2.0)
    cost: FloatArray = 0.8 * off / room + 0.2 * grown
    # points rank and boxes decide: while one person hides another, a model gives both the same points
    near = np.asarray(0.8 * np.minimum(off, corner) / room + 0.2 * grown <= _GATE)
    if track.points is None:
        return cost, near
    here = np.array([_points(found, row) for row in rows.tolist()], float)
    apart = np.linalg.norm(here - (track.points + moved), axis=-1) / size
    count = np.isfinite(apart).sum(axis=-1)
    mean = np.nansum(apart, axis=-1) / np.maximum(count, 1)
    return np.where(count >= 3, 0.5 * cost + 0.5 * mean / room, cost), near
