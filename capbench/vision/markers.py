"""From every camera's keypoints to markers on the ground: the whole way in order, with what was odd about it.

sizes, same views → synchronise → one clock → left and right → do the views fit each other at all →
triangulate → short gaps → low-pass. Synchronising comes before the repair of swaps, since it can bear with
swaps and not the other way round. Whatever can't be made into markers is refused by a typed error
(:mod:`capbench.vision.faults`); whatever was mended is in the notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from capbench.vision.checks import check_geometry, check_same_views, check_sizes, check_tracks
from capbench.vision.clock import common_clock
from capbench.vision.gaps import LONGEST, fill_covariance, fill_gaps
from capbench.vision.smooth import cutoff_of, smooth
from capbench.vision.swaps import repair_swaps
from capbench.vision.sync import FEWEST, MAX_OFFSET, Sync, synchronise
from capbench.vision.triangulate import Triangulated, triangulate
from capbench.vision.views import BoolArray
from cohorts.camera import Camera
from cohorts.card import Axis
from cohorts.errors import unknown_name
from cohorts.recording import Keypoints, Markers
from cohorts.values import FloatArray

#: seconds around the card's largest offset that are searched too, so that its edge is no edge of the search
MARGIN = 0.05


@dataclass(frozen=True)
class Found:
    """Markers, and all that was found on the way.

    Attributes
    ----------
    markers : in the ground frame, metres; gaps filled, smoothed
    covariance : (T, M, 3, 3) metres², of the unsmoothed points (how much a filter takes off depends on how
        fast the errors change, which nobody knows); NaN where missing
    filled : (T, M) samples that no two cameras saw
    residual : (T, C, M) pixels between the views and the triangulated (unsmoothed) points; NaN where missing
    used : (T, C, M) whether a view had a say
    cameras : C names, those that were used
    sync : offsets and how sure they are
    swapped : camera -> (T, K) points whose sides were exchanged
    notes : in words
    facts : what a result keeps of it: numbers by name
    """

    markers: Markers
    covariance: FloatArray
    filled: BoolArray
    residual: FloatArray
    used: BoolArray
    cameras: tuple[str, ...]
    sync: Sync
    swapped: Mapping[str, BoolArray]
    notes: tuple[str, ...]
    facts: Mapping[str, float]


def markers_of(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    *,
    activity: str = "",
    synchronised: bool = False,
    max_offset: float | None = None,
    offsets: Mapping[str, float] | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    up: Axis = "+y",
    floor: float = 0.0,
    rate: float | None = None,
    cutoff: float | None = None,
    longest_gap: float = LONGEST,
    swaps: bool = True,
    drop_bad: bool = True,
) -> Found:
    """Markers from the keypoints of one person in two cameras or more.

    Parameters
    ----------
    tracks, cameras : by camera name; a camera without a track, or without a single point, is left out
    activity : sets the cut-off of the low-pass (:data:`capbench.vision.smooth.CUTOFFS`)
    synchronised : whether the cameras are said to be; an offset is believed then on strong evidence only
    max_offset : seconds between two cameras, at most; 0 with ``synchronised`` looks for none at all
    offsets : camera -> seconds, where they are known
    sizes : camera -> (width, height) of the pictures that the points are in, to be held against the
        calibration's
    up, floor : the calibrations' axis that points up, and where on it the floor is, metres
    rate : samples per second of the markers; default: the fastest camera's
    cutoff : Hz; infinite for no filter; default: by activity
    longest_gap : seconds
    swaps : whether to look for swapped sides
    drop_bad : whether a camera that contradicts all others, which agree, is left out with a note, or refused
    """
    notes: list[str] = []
    tracks = check_tracks(tracks, cameras, notes)
    check_sizes(tracks, cameras, sizes or {})
    check_same_views(tracks)
    sync = _synchronised(tracks, cameras, synchronised, max_offset, offsets)
    notes += sync.notes
    tracks = common_clock(tracks, sync.offsets, rate=rate)
    if rate is None and _uneven(tracks):
        notes.append("frames are spaced unevenly: brought to an even rate")
        tracks = common_clock(tracks, rate=max(t.rate for t in tracks.values()))
    swapped = {name: np.zeros(track.confidence.shape, bool) for name, track in tracks.items()}
    if swaps:
        repaired = repair_swaps(tracks, cameras)
        tracks, swapped = repaired.tracks, repaired.swapped
        notes += _told_swaps(repaired.swapped)
        if repaired.mirrored:
            notes.append("left and right contradict the way the body faces, in all views alike")
    bad = check_geometry(tracks, cameras, notes, drop_bad=drop_bad)
    for name, error in bad.items():
        notes.append(f"{name}: contradicts the other cameras ({error:.0f} px off), left out")
    tracks = {name: track for name, track in tracks.items() if name not in bad}
    return _finish(tracks, cameras, sync, swapped, notes, cutoff, activity, longest_gap, up, floor)


def _synchronised(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    synchronised: bool,
    max_offset: float | None,
    offsets: Mapping[str, float] | None,
) -> Sync:
    """The offsets; those given where all are, none looked for where none can be."""
    shortest = min(len(track) for track in tracks.values())
    nowhere = synchronised and max_offset == 0
    if nowhere or shortest < FEWEST:
        given = {name: float((offsets or {}).get(name, 0.0)) for name in tracks}
        why = () if nowhere or shortest == 1 else (f"fewer than {FEWEST} frames: not synchronised",)
        trust = {name: float(nowhere or name in (offsets or {})) for name in tracks}
        nan = float("nan")
        return Sync(given, trust, dict.fromkeys(tracks, 0.0), next(iter(tracks)), nan, nan, why)
    reach = MAX_OFFSET if max_offset is None else max_offset + MARGIN
    return synchronise(tracks, cameras, max_offset=reach, known=offsets, snap=synchronised)


def _uneven(tracks: Mapping[str, Keypoints]) -> bool:
    steps = np.diff(next(iter(tracks.values())).time)
    return len(steps) > 1 and bool(steps.max() > 1.05 * steps.min() + 2e-3)


def _told_swaps(swapped: Mapping[str, BoolArray]) -> list[str]:
    told = []
    for name, where in swapped.items():
        frames = int(where.any(axis=1).sum())
        if frames:
            told.append(f"{name}: left and right exchanged in {frames} of {len(where)} frames")
    return told


def _finish(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    sync: Sync,
    swapped: Mapping[str, BoolArray],
    notes: list[str],
    cutoff: float | None,
    activity: str,
    longest_gap: float,
    up: Axis,
    floor: float,
) -> Found:
    """Triangulated, gaps filled, smoothed, stood on the ground."""
    met = triangulate(tracks, cameras)
    _tell_idle(met, tracks, notes)
    whole, filled = fill_gaps(met.markers, longest=longest_gap)
    covariance = fill_covariance(whole.time, met.covariance, filled)
    cutoff = cutoff_of(activity) if cutoff is None else cutoff
    markers = smooth(whole, cutoff=cutoff) if np.isfinite(cutoff) else whole
    markers = to_ground(markers, up, floor=floor)
    turn = ground_rotation(up)
    return Found(
        markers,
        turn @ covariance @ turn.T,
        filled,
        met.residual,
        met.used,
        met.cameras,
        sync,
        swapped,
        tuple(notes),
        _facts(met, markers, filled, sync, swapped, cutoff),
    )


def _tell_idle(met: Triangulated, tracks: Mapping[str, Keypoints], notes: list[str]) -> None:
    """A note for each camera that was outvoted most of the time."""
    for c, name in enumerate(met.cameras):
        had = tracks[name].confidence > 0
        share = float(met.used[:, c][had].mean()) if had.any() else 0.0
        if share < 0.5:
            notes.append(f"{name}: only {share:.0%} of its points agree with the other cameras")


def _facts(
    met: Triangulated,
    markers: Markers,
    filled: BoolArray,
    sync: Sync,
    swapped: Mapping[str, BoolArray],
    cutoff: float,
) -> dict[str, float]:
    apart = np.where(met.used, met.residual, np.nan)
    facts = {
        "cameras": float(len(met.cameras)),
        "reprojection, px": _median(apart),
        "noise of a view, px": _median(met.scale),
        "outliers, %": 100 * float(1 - met.used.sum() / max(np.isfinite(met.residual).sum(), 1)),
        "views per marker": float(met.views[met.views > 0].mean()) if (met.views > 0).any() else 0.0,
        "missing, %": 100 * float(np.isnan(markers.xyz[..., 0]).mean()) if markers.xyz.size else 100.0,
        "filled, %": 100 * float(filled.mean()) if filled.size else 0.0,
        "swapped, %": 100
        * float(np.mean([where.mean() for where in swapped.values() if where.size] or [0.0])),
        "cut-off, Hz": cutoff,
    }
    for name, offset in sync.offsets.items():
        facts[f"offset {name}, ms"] = 1e3 * offset
        facts[f"offset {name}, confidence"] = sync.confidence[name]
    return facts


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


# --- the ground ---------------------------------------------------------------------------------

_TURNS: Mapping[str, tuple[tuple[int, int, int], ...]] = {  # rows: where ground x, y, z come from
    "+y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "+z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "+x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}


def ground_rotation(up: Axis | str) -> FloatArray:
    """(3, 3) from the calibrations' world to the ground frame (x forward, y up, z right).

    The rule: the world is tipped by the least turn about one of its own axes that brings ``up`` to y: about
    x for y and z (-y by half a turn), about z for x. It says nothing of where forward is: that is as it was
    calibrated.
    """
    if up not in _TURNS:
        raise unknown_name("axis", str(up), _TURNS)
    return np.array(_TURNS[up], float)


def to_ground(markers: Markers, up: Axis | str, *, floor: float = 0.0) -> Markers:
    """Markers of the calibrations' world in the ground frame, the floor at y = 0.

    ``floor`` is the floor's coordinate along the axis as it is named, sign included: 1.1 with "-y" is a floor
    1.1 m below the world's origin, as y runs down.
    """
    turn = ground_rotation(up)
    height = -floor if up.startswith("-") else floor
    return replace(markers, xyz=markers.xyz @ turn.T - [0.0, height, 0.0])
