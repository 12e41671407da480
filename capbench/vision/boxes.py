"""Boxes around people: from their keypoints, from a cohort's files, compared, enlarged, smoothed.

A box is x0 y0 x1 y1 in pixels of the whole picture, the person's extent without padding; (0, 0) is the centre
of the top-left pixel, so a picture of w x h pixels reaches from -0.5 to w - 0.5 and h - 0.5. A row of NaN
means nobody. Every function takes any number of leading axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Signals, Trial
from cohorts.store import Imported
from cohorts.values import ByValue, FloatArray, check_shape, check_time, frozen

#: what keypoints leave out of a person on each side, as a share of the longer side of their extent: eyes and
#: ankles, the outermost points of most sets, lie about 6 % of the height inside crown and sole
MARGIN = 0.06
LEAST = 0.3  #: confidence that a point needs to say where the person is
FEWEST = 3  #: points that make a person
CORNERS = ("x0", "y0", "x1", "y1")
#: seconds from the nearest box of a file up to which a frame takes it over
REACH = 0.1


def whole(size: tuple[int, int]) -> FloatArray:
    """(4,) the box of a whole picture of ``size`` (width, height)."""
    return np.array([-0.5, -0.5, size[0] - 0.5, size[1] - 0.5])


def from_points(
    xy: ArrayLike,
    confidence: ArrayLike | None = None,
    *,
    least: float = LEAST,
    fewest: int = FEWEST,
    margin: float = MARGIN,
    size: tuple[int, int] | None = None,
) -> FloatArray:
    """(..., 4) boxes of the people whose points are ``xy`` (..., K, 2).

    The extent of the points whose confidence is at least ``least``, larger by ``margin`` times its longer
    side all round. NaN with fewer than ``fewest`` such points, or no extent. Cut off at the picture's edges
    only where its ``size`` (width, height) is given: without, a person half out of it keeps the whole box.
    """
    xy = np.asarray(xy, float)
    seen = np.isfinite(xy).all(axis=-1)
    if confidence is not None:
        seen &= np.asarray(confidence, float) >= least
    low = np.where(seen[..., None], xy, np.inf).min(axis=-2, initial=np.inf)
    high = np.where(seen[..., None], xy, -np.inf).max(axis=-2, initial=-np.inf)
    enough = (seen.sum(axis=-1) >= max(fewest, 1))[..., None]
    low, high = np.where(enough, low, np.nan), np.where(enough, high, np.nan)
    longer = (high - low).max(axis=-1, keepdims=True)
    found = np.concatenate([low - margin * longer, high + margin * longer], axis=-1)
    found = np.where(longer > 0, found, np.nan)
    return found if size is None else clip(found, size)


def clip(boxes: ArrayLike, size: tuple[int, int]) -> FloatArray:
    """``boxes`` (..., 4) cut off at the edges of a picture of ``size``; NaN for one wholly outside."""
    boxes = np.asarray(boxes, float)
    low, high = whole(size)[:2], whole(size)[2:]
    cut = np.concatenate([np.clip(boxes[..., :2], low, high), np.clip(boxes[..., 2:], low, high)], axis=-1)
    return np.where(area(cut)[..., None] > 0, cut, np.nan)


def area(boxes: ArrayLike) -> FloatArray:
    """(...) pixels² of boxes (..., 4); 0 where a box is turned inside out or missing."""
    boxes = np.asarray(boxes, float)
    sides = boxes[..., 2:] - boxes[..., :2]
    return np.asarray(np.where((sides > 0).all(axis=-1), np.nan_to_num(sides).prod(axis=-1), 0.0))


def scale(boxes: ArrayLike) -> FloatArray:
    """(...) the side in pixels of the square as large as each box: how large the person appears."""
    return np.asarray(np.sqrt(area(boxes)))


def centre(boxes: ArrayLike) -> FloatArray:
    """(..., 2) the middles of boxes (..., 4)."""
    boxes = np.asarray(boxes, float)
    return np.asarray((boxes[..., :2] + boxes[..., 2:]) / 2)


def iou(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """(...) intersection over union of boxes, broadcast; 0 where one is missing.

    All pairs of ``a`` (m, 4) and ``b`` (n, 4): ``iou(a[:, None], b)``.

    >>> float(iou([0, 0, 2, 2], [1, 0, 3, 2]))
    0.3333333333333333
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    both = np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    shared = area(both)
    union = area(a) + area(b) - shared
    return np.where(shared > 0, shared / np.where(union > 0, union, 1.0), 0.0)


def enlarge(boxes: ArrayLike, factor: float) -> FloatArray:
    """``boxes`` (..., 4) with both sides ``factor`` times as long around the same centre."""
    boxes = np.asarray(boxes, float)
    half = (boxes[..., 2:] - boxes[..., :2]) * (factor / 2)
    return np.concatenate([centre(boxes) - half, centre(boxes) + half], axis=-1)


def smooth(boxes: ArrayLike, time: ArrayLike, *, span: float = 0.1) -> FloatArray:
    """(T, 4) a track of boxes without its trembling: a weighted mean over the frames around each.

    The weight is a Gaussian of standard deviation ``span`` seconds, so nothing is shifted in time, whatever
    the steps between frames. Frames without a box keep none and lend none.
    """
    boxes, time = np.asarray(boxes, float), np.asarray(time, float)
    if len(time) < 2 or span <= 0:
        return boxes.copy()
    known = np.isfinite(boxes).all(axis=-1)
    total, weight = np.zeros_like(boxes), np.zeros(len(time))
    reach = min(int(np.ceil(3 * span / float(np.median(np.diff(time))))), len(time) - 1)
    for shift in range(-reach, reach + 1):
        here = slice(max(0, -shift), len(time) - max(0, shift))
        there = slice(max(0, shift), len(time) - max(0, -shift))
        part = known[there] * np.exp(-0.5 * ((time[there] - time[here]) / span) ** 2)
        total[here] += part[:, None] * np.nan_to_num(boxes[there])
        weight[here] += part
    return np.where(known[:, None], total / np.where(weight > 0, weight, 1.0)[:, None], np.nan)


# --- boxes that come with a recording -----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BoxTrack(ByValue):
    """One person's boxes in one camera over time, and where they come from.

    Attributes
    ----------
    time : (T,) seconds from the video's first frame, strictly increasing
    boxes : (T, 4) pixels; NaN where nobody is
    source : in words, for the result: "boxes from the cohort" …
    """

    time: FloatArray
    boxes: FloatArray
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", frozen(self.time))
        boxes = np.array(self.boxes, float)
        check_time(self.time)
        check_shape("boxes", boxes, (len(self.time), 4))
        boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
        wrong = np.isfinite(boxes).all(axis=1) & (area(boxes) <= 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise CapbenchError(
                f"Expected boxes x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {boxes[row].tolist()}.",
                place=f"row {row}",
                fix="x y width height becomes x0 y0 x1 y1 by adding; leave all four empty where nobody is",
            )
        object.__setattr__(self, "boxes", frozen(boxes))

    def at(self, time: ArrayLike) -> FloatArray:
        """(..., 4) boxes at times (...): between two frames in proportion, NaN where there is no neighbour.

        Where one neighbour has no box, the other's holds up to ``REACH`` seconds; so it does beyond the ends.
        """
        time = np.asarray(time, float)
        if not len(self.time):
            return np.full((*time.shape, 4), np.nan)
        after = np.searchsorted(self.time, time).clip(0, len(self.time) - 1)
        before = np.where(self.time[after] > time, np.maximum(after - 1, 0), after)
        near, far = time - self.time[before], self.time[after] - time
        step = self.time[after] - self.time[before]
        share = np.where(step > 0, near / np.where(step > 0, step, 1.0), 0.0)[..., None]
        first, second = self.boxes[before], self.boxes[after]
        first_holds = (np.abs(near) <= REACH + 1e-9)[..., None]
        second_holds = (np.abs(far) <= REACH + 1e-9)[..., None]
        one = np.where(
            np.isnan(second) & first_holds, first, np.where(np.isnan(first) & second_holds, second, np.nan)
        )
        two = (1 - share) * first + share * second
        at_end = ((time < self.time[0]) | (time > self.time[-1]))[..., None]
        two = np.where(at_end & ~first_holds, np.nan, two)
        return np.where(np.isnan(two), one, two)


def read_boxes(path: Path, *, source: str = "boxes from a file") -> BoxTrack:
    """Boxes of one person in one camera from a file.

    CSV with the columns ``time``, ``x0``, ``y0``, ``x1``, ``y1`` (seconds, pixels; empty where nobody is), or
    .npz with the arrays ``time`` (T,) and ``boxes`` (T, 4).
    """
    from cohorts.bounded import about, load_npz
    from cohorts.formats import csv_table

    with about(path):
        if path.suffix.lower() == ".npz":
            arrays = load_npz(path)
            if not {"time", "boxes"} <= arrays.keys():
                have = ", ".join(sorted(arrays)[:12]) or "none"
                raise CapbenchError(f"Expected the arrays 'time' and 'boxes', got {have}.")
            if any(arrays[name].dtype.kind not in "iuf" for name in ("time", "boxes")):
                raise CapbenchError("Expected the arrays 'time' and 'boxes' to hold numbers.")
            return BoxTrack(arrays["time"].astype(float), arrays["boxes"].astype(float), source)
        table = csv_table.read(path, notes=[])
        if not isinstance(table, Signals) or not set(CORNERS) <= set(table.names):
            raise CapbenchError("Expected the columns time, x0, y0, x1, y1, got others.")
        return BoxTrack(table.time, np.stack([table.column(name) for name in CORNERS], axis=1), source)


def of_trial(imported: Imported, trial: Trial) -> Mapping[str, BoxTrack]:
    """Each camera's boxes as the cohort has them; a camera without any is left out.

    The trial's extra ``boxes:CAMERA`` where there is one, else the extent of its 2D reference
    ``keypoints:CAMERA`` with the usual margin. Either is told by ``source``.
    """
    found: dict[str, BoxTrack] = {}
    for camera in trial.videos:
        if f"boxes:{camera}" in trial.extras:
            path = imported.path(trial.extras[f"boxes:{camera}"])
            found[camera] = read_boxes(path, source="boxes from the cohort")
        elif f"keypoints:{camera}" in trial.extras:
            track = _reference(imported.path(trial.extras[f"keypoints:{camera}"]), camera)
            if track is not None:
                found[camera] = around(track, source="boxes around the cohort's 2D reference")
    return found


def around(track: Keypoints, *, source: str, least: float = LEAST, margin: float = MARGIN) -> BoxTrack:
    """The boxes of a track of keypoints, hidden points included where their confidence is enough."""
    return BoxTrack(track.time, from_points(track.xy, track.confidence, least=least, margin=margin), source)


def _reference(path: Path, camera: str) -> Keypoints | None:
    """The one person that a 2D reference shows most."""
    from cohorts.formats import read

    _, tracks = read(path, notes=[])
    people = [t for t in tracks if isinstance(t, Keypoints)] if isinstance(tracks, tuple) else []
    of_camera = [t for t in people if t.camera == camera] or people
    return max(of_camera, key=lambda t: float(t.confidence.sum()), default=None)
