"""Which of several people is the subject, and is it the same person in every camera, all the time?

In one camera the subject is told by being there throughout, large, sure, moving and in the middle. Calibrated
cameras add what no single one knows: the rays of one person's points meet, those of two people don't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from capbench.vision import boxes as box_tools
from capbench.vision.rays import Bundle, bundle, median, meet, together
from capbench.vision.tracking import Seen
from cohorts.camera import Camera
from cohorts.recording import Keypoints
from cohorts.values import FloatArray, IntArray

#: what speaks for being the subject, and how much
WEIGHTS: Mapping[str, float] = {
    "presence": 0.3,
    "size": 0.25,
    "confidence": 0.15,
    "motion": 0.15,
    "centrality": 0.15,
}
SHORT = 0.1  #: share of the frames below which somebody only passes by
MOST = 4  #: candidates in each camera
#: metres by which rays may miss for free, and that take away half a score more. Of two people of one height
#: in front of two cameras of one height the rays miss by centimetres only: in the plan they cross anyway
FREE, HALF = 0.01, 0.15
CLOSE = 0.1  #: lead below which the choice is called close
FRAMES, POINTS = 20, 12  #: moments and points at which views are held against each other
SWAPPED = 0.1  #: metres by which the rays of what should be one person miss …
LASTING = 0.2  #: … for so many seconds: somebody else
JUMP, SPEED = 0.3, 8.0  #: metres, and metres a second more, that nobody moves between two frames


@dataclass(frozen=True)
class Choice:
    """Who the subject is.

    Attributes
    ----------
    identity : camera -> identities: the subject's, and those under which the same person came back after a
        long absence; a camera that shows nobody is left out
    margin : how far the choice leads the next best, 0 to 1; 1 where there is no other
    apart : metres by which the rays of the chosen miss each other, the median; NaN without two calibrated
        cameras
    notes : what was doubtful, in words
    """

    identity: Mapping[str, tuple[int, ...]]
    margin: float
    apart: float
    notes: tuple[str, ...] = field(default=())


def scores(found: Seen, identity: IntArray, size: tuple[int, int]) -> dict[int, float]:
    """Each identity of one camera -> how much speaks for it, 0 to 1; ``size`` (width, height) of the picture.

    Presence and confidence are as they are; size and motion (way of the centre per second in own sizes) are
    relative to the largest; centrality is 1 in the middle and 0 in a corner.
    """
    people = np.unique(identity)
    if not len(people):
        return {}
    middle, half = (np.array(size) - 1) / 2, float(np.hypot(*size)) / 2
    rows: list[list[float]] = []
    for person in people.tolist():
        own = identity == person
        time = found.time[found.frame[own]]
        large = float(np.median(box_tools.scale(found.boxes[own])))
        centres = box_tools.centre(found.boxes[own])
        # over half seconds: a box that trembles goes nowhere
        stride = max(1, int(np.searchsorted(time, time[0] + 0.5)))
        way = float(np.linalg.norm(np.diff(centres[::stride], axis=0), axis=1).sum())
        lasted = max(float(time[-1] - time[0]), 1e-6)
        sure = found.score[own] if found.confidence is None else found.confidence[own].mean(axis=1)
        off = float(np.linalg.norm(np.median(centres, axis=0) - middle)) / half
        rows.append(
            [
                own.sum() / max(len(found.time), 1),
                large,
                float(np.clip(sure.mean(), 0, 1)),
                way / max(large, 1e-6) / lasted if stride < len(time) else 0.0,
                1 - min(off, 1.0),
            ]
        )
    table = np.array(rows)
    table[:, 1] /= max(table[:, 1].max(), 1e-9)
    table[:, 3] /= max(table[:, 3].max(), 0.2)  # slower than a fifth of one's size a second: all stand
    total = table @ np.array(list(WEIGHTS.values()))
    return dict(zip(people.tolist(), total.tolist(), strict=True))


def choose(
    found: Mapping[str, Seen],
    identities: Mapping[str, IntArray],
    sizes: Mapping[str, tuple[int, int]],
    *,
    cameras: Mapping[str, Camera] | None = None,
    offsets: Mapping[str, float] | None = None,
) -> Choice:
    """The subject: one identity in each camera, from :func:`capbench.vision.tracking.link`.

    The combination with the highest mean score, less up to 1 by how far the rays of its points miss each
    other between calibrated ``cameras``. ``offsets`` are seconds to add to a camera's times, where known.
    """
    points = {name: scores(found[name], identities[name], sizes[name]) for name in found}
    candidates = {name: _candidates(points[name], found[name], identities[name]) for name in found}
    names = [name for name in found if candidates[name]]
    if not names:
        return Choice({}, 0.0, float("nan"), ("nobody is seen in any camera",))
    rays = _rays(found, identities, candidates, names, cameras or {}, offsets or {})
    ranked: list[tuple[float, float, tuple[int, ...]]] = []
    for combination in product(*(candidates[name] for name in names)):
        picked = dict(zip(names, combination, strict=True))
        score = float(np.mean([points[name][who] for name, who in picked.items()]))
        views = [rays[name][picked[name]] for name in rays]
        apart = median(meet(views)[1]) if len(views) > 1 else float("nan")
        ranked.append((score - _penalty(apart), apart, combination))
    ranked.sort(key=lambda row: (-row[0], row[2]))
    best = ranked[0]
    margin = min(best[0] - ranked[1][0], 1.0) if len(ranked) > 1 else 1.0
    chosen = dict(zip(names, best[2], strict=True))
    notes = _doubts(margin, best[1], candidates)
    whole = {name: _returned(found[name], identities[name], who) for name, who in chosen.items()}
    for name, parts in whole.items():
        if len(parts) > 1:
            notes.append(f"camera {name}: the subject was away {len(parts) - 1} times for long")
    return Choice(whole, margin, best[1], tuple(notes))


def _returned(found: Seen, identity: IntArray, who: int) -> tuple[int, ...]:
    """``who``, and the identities that are the only person in view while ``who`` is away, of like size."""
    own = identity == who
    kept, frames = [who], set(found.frame[own].tolist())
    size = float(np.median(box_tools.scale(found.boxes[own])))
    alone = np.bincount(found.frame, minlength=len(found.time)) == 1
    for other in sorted(set(identity.tolist()) - {who}):
        rows = identity == other
        taken = set(found.frame[rows].tolist())
        ratio = float(np.median(box_tools.scale(found.boxes[rows]))) / max(size, 1e-9)
        # somebody who was in view together with the subject is somebody else, whatever they do later
        if alone[found.frame[rows]].all() and not taken & frames and 0.5 <= ratio <= 2:
            kept.append(other)
            frames |= taken
    return tuple(kept)


def _penalty(apart: float) -> float:
    """From 0 for rays that meet to 1."""
    if np.isnan(apart):
        return 0.0
    excess = max(apart - FREE, 0.0)
    return 1.0 if np.isinf(excess) else excess / (excess + HALF)


def _doubts(margin: float, apart: float, candidates: Mapping[str, list[int]]) -> list[str]:
    notes = []
    several = [name for name, people in candidates.items() if len(people) > 1]
    if several:
        notes.append(f"several people in view of {', '.join(several)}; the subject leads by {margin:.2f}")
    if margin < CLOSE:
        notes.append("who the subject is was a close call")
    if apart > HALF:
        notes.append(
            f"the views of the subject lie {apart:.2f} m apart: cameras not synchronised or calibrated "
            "otherwise, or not one person"
        )
    return notes


def _candidates(points: Mapping[int, float], found: Seen, identity: IntArray) -> list[int]:
    """Those who don't only pass by, best first, ``MOST`` at most; somebody in any case."""
    ranked = sorted(points, key=lambda who: (-points[who], who))
    staying = [who for who in ranked if (identity == who).sum() >= SHORT * len(found.time)]
    return (staying or ranked[:1])[:MOST]


def _rays(
    found: Mapping[str, Seen],
    identities: Mapping[str, IntArray],
    candidates: Mapping[str, list[int]],
    names: list[str],
    cameras: Mapping[str, Camera],
    offsets: Mapping[str, float],
) -> dict[str, dict[int, Bundle]]:
    """Each calibrated camera -> candidate -> rays (moments, points), the same moments in all of them."""
    calibrated = [name for name in names if name in cameras]
    if len(calibrated) < 2:
        return {}
    clocks = {name: found[name].time + offsets.get(name, 0.0) for name in calibrated}
    reference = clocks[calibrated[0]]
    moments = reference[np.unique(np.linspace(0, len(reference) - 1, FRAMES).astype(int))]
    rays: dict[str, dict[int, Bundle]] = {}
    for name in calibrated:
        rows = together(moments, clocks[name])
        rays[name] = {}
        for who in candidates[name]:
            dense = _dense(found[name], identities[name], who)
            some = np.unique(np.linspace(0, dense.shape[1] - 1, POINTS).astype(int))
            xy = np.where((rows >= 0)[:, None, None], dense[rows][:, some], np.nan)
            rays[name][who] = bundle(cameras[name], xy)
    return rays


def _dense(found: Seen, identity: IntArray, who: int) -> FloatArray:
    """(T, K, 2) one identity's points in every frame, NaN where unseen; top, middle and foot of boxes."""
    own = identity == who
    if found.xy is not None and found.confidence is not None:
        points = np.where((found.confidence[own] >= box_tools.LEAST)[..., None], found.xy[own], np.nan)
    else:
        box = found.boxes[own]
        middle = box_tools.centre(box)
        points = np.stack([middle, middle, middle], axis=1)
        points[:, 0, 1], points[:, 2, 1] = box[:, 1], box[:, 3]
    dense = np.full((len(found.time), *points.shape[1:]), np.nan)
    dense[found.frame[own]] = points
    return dense


# --- is it the same person all the time? --------------------------------------------------------


def swapped(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    *,
    offsets: Mapping[str, float] | None = None,
) -> dict[str, list[tuple[float, float]]]:
    """Cameras that show somebody else for a while -> from when to when (seconds of the first camera).

    With three cameras or more: a stretch of at least ``LASTING`` seconds in which the rays miss by more than
    ``SWAPPED`` metres and four times the usual; the camera without which the others agree best is named.
    With two, whose rays nearly meet whatever they show, it is that the person jumps; both are named, since
    which of them went astray can't be told, and the stretch is the one from jump to jump.
    """
    names = [name for name in tracks if name in cameras]
    if len(names) < 2 or min(len(tracks[name]) for name in names) < 5:
        return {}
    offsets = offsets or {}
    clocks = {name: tracks[name].time + offsets.get(name, 0.0) for name in names}
    views: dict[str, Bundle] = {}
    for name in names:
        rows = together(clocks[names[0]], clocks[name])
        sure = (tracks[name].confidence >= box_tools.LEAST)[..., None]
        xy = np.where(sure, tracks[name].xy, np.nan)[rows]
        views[name] = bundle(cameras[name], np.where((rows >= 0)[:, None, None], xy, np.nan))
    time = tracks[names[0]].time
    if len(names) == 2:
        return _jumps(views, time)
    return _strangers(views, time)


def _strangers(views: Mapping[str, Bundle], time: FloatArray) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    miss = _by_row(meet(list(views.values()))[1])
    known = np.flatnonzero(~np.isnan(miss))
    if len(known) < 5:
        return found
    usual = float(np.percentile(miss[known], 40))
    if usual > HALF:
        return found  # nothing fits anywhere: that is no swap
    odd = np.diff(np.r_[0, _running_median(miss[known]) > max(SWAPPED, 4 * usual), 0])
    for start, stop in np.flatnonzero(odd).reshape(-1, 2).tolist():
        rows = known[start:stop]
        if time[rows[-1]] - time[rows[0]] < LASTING:
            continue
        without = {
            name: median(meet([views[other].at(rows) for other in views if other != name])[1])
            for name in views
        }
        culprit = min(without, key=lambda name: (np.isnan(without[name]), without[name]))
        found.setdefault(culprit, []).append((float(time[rows[0]]), float(time[rows[-1]])))
    return found


def _jumps(views: Mapping[str, Bundle], time: FloatArray) -> dict[str, list[tuple[float, float]]]:
    points, miss = meet(list(views.values()))
    known = np.flatnonzero(np.isfinite(points).any(axis=(1, 2)) & ~np.isinf(_by_row(miss)))
    if len(known) < 5:
        return {}
    middle = np.nanmedian(points[known], axis=1)
    moved = np.linalg.norm(np.diff(middle, axis=0), axis=1)
    at = np.flatnonzero(moved > JUMP + SPEED * np.diff(time[known])) + 1
    ends = [*at.tolist(), len(known)]
    spans = [
        (float(time[known[start]]), float(time[known[stop - 1]]))
        for start, stop in zip(ends[:-1:2], ends[1::2], strict=False)
        if time[known[stop - 1]] - time[known[start]] >= LASTING
    ]
    return {name: list(spans) for name in views} if spans else {}


def _by_row(miss: FloatArray) -> FloatArray:
    """(T,) the median over points (T, K) that are no NaN."""
    some = ~np.isnan(miss).all(axis=1)
    rows = np.full(len(miss), np.nan)
    rows[some] = np.nanmedian(miss[some], axis=1)
    return rows


def _running_median(values: FloatArray) -> FloatArray:
    """(T,) the median of five around each, the ends repeated."""
    padded = np.pad(values, 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1))
