"""The reference: can it be read, in which unit is it, how much is missing, and when was it?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import shorten
from cohorts.checks import sides
from cohorts.checks.findings import Report
from cohorts.errors import CapbenchError
from cohorts.formats.video import VideoInfo
from cohorts.recording import Keypoints, Markers, Motion, Trial

Timed = Markers | Motion
SPAN = (0.25, 4.0)  #: metres that the markers of a person's frame reach, along the longest axis
MISSING_NOTE, MISSING_WARNING = 0.02, 0.2  #: shares of missing samples
STARTS_LATE = 0.1  #: seconds
_APART = 0.35  #: metres between the pelvis of the angles and that of the markers, offsets of markers included
_FARTHEST = 50.0  #: metres from the origin that a pelvis may be
_TURN = 7.0  #: radians; more than a full turn
_FREE = ("pelvis_rotation", "arm_", "pro_sup")  #: coordinates that may wind up
_SMALL = 0.06  #: radians: 3.4 degrees is less than anybody moves


def check_reference(
    report: Report, trial: Trial, files: Mapping[tuple[str, ...], Path], videos: Mapping[str, VideoInfo]
) -> None:
    """Everything about a trial's markers and joint angles."""
    markers = _read(report, trial, files.get(("markers",)), Markers)
    motion = _read(report, trial, files.get(("motion",)), Motion)
    if isinstance(markers, Markers):
        path = files[("markers",)]
        _check_span(report, trial, markers, path)
        _check_axes_and_sides(report, trial, markers, path)
        _check_missing_markers(report, trial, markers, path)
    if isinstance(motion, Motion):
        _check_angles(report, trial, motion, files[("motion",)])
    filmed = max((info.time[-1] for info in videos.values() if info.frames), default=None)
    for found, at in ((motion, ("motion",)), (markers, ("markers",))):
        if found is not None and filmed is not None:
            _check_overlap(report, trial, found, float(filmed), files[at])
    if isinstance(markers, Markers) and isinstance(motion, Motion):
        _check_agreement(report, trial, markers, motion, files[("motion",)])
    _check_keypoints(report, trial, files.get(("extras", "keypoints")))


def _read(report: Report, trial: Trial, path: Path | None, kind: type[Any]) -> Any:
    """The noun in a file, or None where there is none of that kind."""
    from cohorts.formats import read

    if path is None:
        return None
    try:
        _, found = read(path)
    except CapbenchError as error:
        report.add_error(error, "unreadable", trial=trial, file=path)
        return None
    if not isinstance(found, kind) or len(found) == 0:
        got = "no frames" if isinstance(found, kind) else f"a file of {type(found).__name__.lower()}"
        report.add(
            "error", "unreadable", f"Expected {kind.__name__.lower()}, got {got}.", trial=trial, file=path
        )
        return None
    return found


def _check_span(report: Report, trial: Trial, markers: Markers, path: Path) -> None:
    full = np.isfinite(markers.xyz).all(axis=-1).sum(axis=1) >= 3
    if not full.any():
        return
    some = markers.xyz[full]
    span = float(np.median((np.nanmax(some, axis=1) - np.nanmin(some, axis=1)).max(axis=-1)))
    if SPAN[0] <= span <= SPAN[1]:
        return
    unit = "millimetres" if span > 400 else "centimetres" if span > 20 else "another unit"
    certain = span > 20 or span < 0.02
    report.add(
        "error" if certain else "warning",
        "unit",
        f"Expected markers of a person, {SPAN[0]:g} to {SPAN[1]:g} m apart, got {span:.3g} m: "
        + (
            f"surely {unit} taken for metres." if span > 20 else "metres taken for a smaller unit, or a part?"
        ),
        trial=trial,
        file=path,
        fix="write the unit that the numbers are in into the file's header",
    )


def _check_axes_and_sides(report: Report, trial: Trial, markers: Markers, path: Path) -> None:
    up = sides.up_of(markers)
    if up is not None and np.isfinite(up).all(axis=1).any():
        mean = np.nanmean(up, axis=0)
        axis = int(np.abs(mean).argmax())
        if axis != 1 or mean[1] < 0:
            name = f"{'-' if mean[axis] < 0 else '+'}{'xyz'[axis]}"
            report.add(
                "error",
                "axes",
                f"Expected y to point up, as in OpenSim, got people who stand along {name}.",
                trial=trial,
                file=path,
                fix="turn the markers into a frame with x forward, y up, z right",
            )
    wrong, seen = sides.swapped(markers)
    if wrong:
        every = len(wrong) == seen
        report.add(
            "error",
            "swapped-sides",
            "Expected left markers on the subject's left, got "
            + ("all of them" if every else shorten(wrong))
            + (" on the other side: swapped names, or mirrored axes." if every else " swapped."),
            trial=trial,
            file=path,
            fix="rename the markers, or mend the axes",
        )


def _check_missing_markers(report: Report, trial: Trial, markers: Markers, path: Path) -> None:
    gone = np.asarray(~np.isfinite(markers.xyz).all(axis=-1))
    never = [name for name, lost in zip(markers.names, np.logical_and.reduce(gone), strict=True) if lost]
    if never:
        report.add(
            "warning", "missing-samples", f"Expected every marker in some frame, never got {shorten(never)}.",
            trial=trial, file=path,
        )  # fmt: skip
    share = float(gone[:, ~gone.all(axis=0)].mean()) if not gone.all() else 1.0
    _tell_share(report, trial, share, "markers", path)


def _tell_share(report: Report, trial: Trial, share: float, what: str, path: Path) -> None:
    if share > MISSING_NOTE:
        report.add(
            "warning" if share > MISSING_WARNING else "note",
            "missing-samples",
            f"Expected whole {what}, got {100 * share:.1f} % missing (NaN).",
            trial=trial,
            file=path,
        )


def _check_angles(report: Report, trial: Trial, motion: Motion, path: Path) -> None:
    _tell_share(report, trial, float(np.isnan(motion.values).mean()), "joint angles", path)
    turns = [
        i
        for i, (name, kind) in enumerate(zip(motion.names, motion.kinds, strict=True))
        if kind == "rotation" and name not in motion.coupled and not name.startswith(_FREE)
    ]
    moves = [i for i, kind in enumerate(motion.kinds) if kind == "translation"]
    with np.errstate(all="ignore"):
        largest = np.nanmax(np.abs(motion.values), axis=0, initial=0)
    wound = [motion.names[i] for i in turns if largest[i] > _TURN]
    if wound:
        report.add(
            "error",
            "unit",
            f"Expected joint angles within a turn, got up to {max(largest[turns]):.3g} rad in "
            f"{shorten(wound)}: degrees taken for radians?",
            trial=trial,
            file=path,
            fix="write inDegrees=yes into the header",
        )
    elif turns and max(largest[turns]) < _SMALL:
        report.add(
            "warning",
            "unit",
            f"Expected joints that move, got angles of at most {np.degrees(max(largest[turns])):.2g} "
            "degrees: radians taken for degrees?",
            trial=trial,
            file=path,
            fix="write inDegrees=no into the header if they are radians",
        )
    far = [motion.names[i] for i in moves if largest[i] > _FARTHEST]
    if far:
        report.add(
            "error",
            "unit",
            f"Expected a pelvis within {_FARTHEST:g} m of the origin, got up to {max(largest[moves]):.4g} m "
            f"in {shorten(far)}: millimetres taken for metres?",
            trial=trial,
            file=path,
            fix="write translations in metres",
        )


def _check_overlap(report: Report, trial: Trial, found: Timed, filmed: float, path: Path) -> None:
    """Video time starts at 0 with the first frame; the reference's own times say when it was."""
    start, stop = float(found.time[0]), float(found.time[-1])
    both = min(stop, filmed) - max(start, 0.0)
    what = "joint angles" if isinstance(found, Motion) else "markers"
    said = f"{what} from {start:.2f} to {stop:.2f} s against a video from 0 to {filmed:.2f} s"
    length = max(stop - start, 1e-9)
    if both <= 0:
        report.add(
            "error", "no-overlap", f"Expected the reference during the video, got {said}: no overlap.",
            trial=trial, file=path,
            fix="give the reference the video's time, or the video that belongs to it",
        )  # fmt: skip
    elif both < 0.5 * length:
        report.add(
            "warning", "little-overlap",
            f"Expected the reference during the video, got {said}: {100 * both / length:.0f} % overlap.",
            trial=trial, file=path, fix="check that the video was not cut",
        )  # fmt: skip
    elif isinstance(found, Motion) and start > STARTS_LATE:
        report.add(
            "note", "starts-late", f"The reference covers a part of the video only: {said}.",
            trial=trial, file=path,
        )  # fmt: skip


def _check_agreement(report: Report, trial: Trial, markers: Markers, motion: Motion, path: Path) -> None:
    """Joint angles and markers are of the same time and place."""
    start, stop = max(markers.time[0], motion.time[0]), min(markers.time[-1], motion.time[-1])
    if start > stop:
        report.add(
            "error",
            "no-overlap",
            f"Expected markers and joint angles of one time, got {markers.time[0]:.2f} to "
            f"{markers.time[-1]:.2f} s and {motion.time[0]:.2f} to {motion.time[-1]:.2f} s.",
            trial=trial,
            file=path,
        )
        return
    pairs = sides.pairs_of(markers.names)
    own = [name for stem in ("asis", "asi", "psis", "psi") for name in pairs.get(stem, ())]
    places = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
    if len(own) < 4 or not set(places) <= set(motion.names):
        return
    middle = markers.select(own).xyz.mean(axis=1)
    pelvis = motion.select(places).values
    inside = (motion.time >= start) & (motion.time <= stop)
    known = np.isfinite(middle).all(axis=1)
    if known.sum() < 2 or not inside.any():
        return
    there = np.stack(
        [np.interp(motion.time[inside], markers.time[known], middle[known, k]) for k in range(3)], axis=1
    )
    distance = np.linalg.norm(pelvis[inside] - there, axis=1)
    if not np.isfinite(distance).any():
        return
    apart = float(np.nanmedian(distance))
    if apart > _APART:
        report.add(
            "warning",
            "frames-differ",
            f"Expected the pelvis of the joint angles among its markers, got it {apart:.2f} m away: another "
            "frame, unit or trial?",
            trial=trial,
            file=path,
        )


def _check_keypoints(report: Report, trial: Trial, path: Path | None) -> None:
    """Annotated keypoints that are the reference."""
    if path is None:
        return
    from cohorts.sources.annotations import read_keypoints

    try:
        tracks = read_keypoints(path, skeleton=_skeleton_of(report))
    except CapbenchError as error:
        report.add_error(error, "unreadable", trial=trial, file=path)
        return
    whole = sum(track.confidence.size for track in tracks)
    gone = sum(int(_lost(track).sum()) for track in tracks)
    if whole and gone == whole:
        report.add(
            "error", "missing-samples", "Expected some annotated point, got none.", trial=trial, file=path
        )
    elif whole:
        _tell_share(report, trial, gone / whole, "keypoints", path)


def _lost(track: Keypoints) -> np.ndarray[Any, Any]:
    return np.asarray(np.isnan(track.xy).any(axis=-1))


def _skeleton_of(report: Report) -> str | None:
    """The skeleton that the import was told of, as the card keeps it."""
    said = report.imported.card.reference.model
    return said.removeprefix("skeleton ") if said and said.startswith("skeleton ") else None
