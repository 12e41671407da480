"""Videos: are they videos, do they hold what their headers claim, and do the cameras run together?

Each is decoded to its end in a child process. Whether two cameras keep a constant offset is told from their
numbers of frames, from keypoints of each camera where there are any, and else from how much of the picture
changes from frame to frame: people who jump or step move in all cameras at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cohorts.bounded import shorten
from cohorts.camera import Camera
from cohorts.checks.findings import Report
from cohorts.errors import CapbenchError
from cohorts.formats.video import VideoInfo
from cohorts.formats.video import read as read_video
from cohorts.recording import Trial
from cohorts.values import FloatArray

MOST_SHIFT = 0.5  #: seconds that two cameras may be apart and still be found
SURE, BETTER = 0.75, 0.1  #: correlation needed to claim an offset, and how much better than none it must be
_FRAMES = 1500  #: of each video that are looked at for an offset
_THUMBNAIL = (48, 48)
_BLOCK = 16  #: pixels


def check_cameras(report: Report, trial: Trial, expected: tuple[str, ...]) -> None:
    """Every camera of the session is there, with a video and a calibration."""
    if not trial.videos:
        if expected:
            report.add(
                "warning",
                "no-video",
                f"Expected videos of {shorten(list(expected))}, got none: only results made elsewhere can be "
                "scored on this trial.",
                trial=trial,
                at=("videos",),
            )
        return
    for name in expected:
        if name not in trial.videos:
            report.add(
                "warning",
                "missing-camera",
                f"Expected a video of camera {name} as other trials have, got none.",
                trial=trial,
                at=("videos",),
                place=f"camera {name}",
                fix="fetch it, or leave the camera out of the run",
            )
    lost = [name for name in trial.videos if name not in trial.calibrations]
    if lost and trial.calibrations:
        report.add(
            "error",
            "no-calibration",
            f"Expected a calibration of every camera, got none of {shorten(lost)}.",
            trial=trial,
            at=("calibrations",),
            fix="give the video and its calibration one name, or leave the camera out",
        )
    elif lost:
        report.add(
            "error" if len(lost) > 1 else "warning",
            "no-calibration",
            "Expected calibrations of the cameras, got none: points can't be placed in space.",
            trial=trial,
        )


def check_videos(
    report: Report, trial: Trial, files: Mapping[str, Path], cameras: Mapping[str, Camera]
) -> dict[str, VideoInfo]:
    """What each video of the trial really holds; whatever is wrong is reported."""
    found: dict[str, VideoInfo] = {}
    for name, path in files.items():
        place = f"camera {name}"
        try:
            info = read_video(path, notes=[])
        except CapbenchError as error:
            report.add_error(error, "not-a-video", trial=trial, place=place, file=path)
            continue
        found[name] = info
        if info.variable:
            report.add(
                "note", "variable-rate", "The frame rate varies: frames must be placed by their own times.",
                trial=trial, place=place, file=path,
            )  # fmt: skip
        camera = cameras.get(name)
        if camera is not None and camera.size != info.size:
            turned = camera.size == info.size[::-1]
            # encoders fill up to whole blocks of 16 pixels, and players cut them off again
            padded = max(abs(a - b) for a, b in zip(camera.size, info.size, strict=True)) < _BLOCK
            end = (
                ": width and height are swapped." if turned else ": an encoder's padding?" if padded else "."
            )
            report.add(
                "warning" if padded else "error",
                "picture-size",
                f"Expected pictures of {camera.size[0]} x {camera.size[1]} as calibrated, got "
                f"{info.size[0]} x {info.size[1]}{end}",
                trial=trial, place=place, file=path,
                fix="use the video that was calibrated, neither turned nor resized",
            )  # fmt: skip
    _check_phantoms(report, trial, found)
    _compare_counts(report, trial, found)
    return found


def _check_phantoms(report: Report, trial: Trial, found: Mapping[str, VideoInfo]) -> None:
    odd = [
        f"{name} {info.declared_frames} and {info.frames}"
        for name, info in found.items()
        if info.declared_frames > info.frames
    ]
    if odd:
        report.add(
            "warning",
            "phantom-frames",
            "Expected as many frames as the headers count, got fewer that can be decoded (counted and "
            f"decoded: {shorten(odd)}): the rest are phantoms.",
            trial=trial,
            at=("videos",),
            fix="count frames by decoding; never seek by frame number",
        )


def _compare_counts(report: Report, trial: Trial, found: Mapping[str, VideoInfo]) -> None:
    counts = {name: info.frames for name, info in found.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        apart = max(counts.values()) - min(counts.values())
        report.add(
            "warning",
            "frame-counts",
            f"Expected as many frames in every camera, got {said} ({apart} apart): they may keep a constant "
            "offset.",
            trial=trial,
            fix="synchronise the cameras; don't pair frames by number",
        )
    rates = {name: info.rate for name, info in found.items() if info.frames > 1}
    if rates and max(rates.values()) > 1.02 * min(rates.values()):
        said = ", ".join(f"{name} {rate:.4g}" for name, rate in rates.items())
        report.add(
            "warning", "frame-rates", f"Expected one frame rate, got {said} frames/s.", trial=trial,
            fix="resample by time",
        )  # fmt: skip


# --- offsets between cameras --------------------------------------------------------------------


def check_offsets(
    report: Report,
    trial: Trial,
    videos: Mapping[str, Path],
    infos: Mapping[str, VideoInfo],
    keypoints: Mapping[str, Path],
) -> None:
    """Whether cameras show the same moment in the same frame; only what is clear is claimed."""
    rates = [info.rate for info in infos.values() if info.frames > 1]
    if len(keypoints) > 1:
        signals = {name: _from_keypoints(report, trial, path) for name, path in keypoints.items()}
        source = "their keypoints"
    else:
        signals = {name: changes(videos[name]) for name in infos}
        source = "how their pictures change"
    known = {name: signal for name, signal in signals.items() if signal is not None and len(signal) > 20}
    if len(known) < 2:
        return
    most = round(MOST_SHIFT * float(np.median(rates))) if rates else 30
    (first, reference), *others = known.items()
    for name, signal in others:
        lag = offset(reference, signal, most=most)
        if lag:
            later = "after" if lag > 0 else "before"
            report.add(
                "warning",
                "camera-offset",
                f"Expected the same moment in the same frame, got camera {name} {abs(lag)} frames {later} "
                f"camera {first}, by {source}.",
                trial=trial,
                place=f"camera {name}",
                fix="synchronise the cameras before triangulating",
            )


def offset(reference: FloatArray, other: FloatArray, *, most: int) -> int | None:
    """Frames by which ``other`` shows later what ``reference`` shows; None where it can't be told.

    The shift of at most ``most`` frames with the highest correlation; claimed only where that is ``SURE``,
    ``BETTER`` than without a shift, and no end of the range.
    """
    scores = {}
    for lag in range(-most, most + 1):
        a, b = (reference, other[lag:]) if lag >= 0 else (reference[-lag:], other)
        n = min(len(a), len(b))
        if n >= max(20, min(len(reference), len(other)) // 2):
            scores[lag] = _correlation(a[:n], b[:n])
    if 0 not in scores:
        return None
    best = max(scores, key=lambda lag: (scores[lag], -abs(lag)))
    if abs(best) == most or scores[best] < SURE:
        return None
    if best != 0 and scores[best] - scores[0] < BETTER:
        return None
    return best


def _correlation(a: FloatArray, b: FloatArray) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 20:
        return -1.0
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else -1.0


def changes(path: Path) -> FloatArray | None:
    """(T - 1,) mean change of brightness (0 to 255) from frame to frame, of a small grey picture."""
    import cv2

    from cohorts.formats.video import frames

    energies: list[float] = []
    before: FloatArray | None = None
    for i, (_, picture) in enumerate(frames(path)):
        small = cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_AREA).mean(axis=2)
        if before is not None:
            energies.append(float(np.abs(small - before).mean()))
        before = small
        if i >= _FRAMES:
            break
    return np.array(energies) if energies else None


def _from_keypoints(report: Report, trial: Trial, path: Path) -> FloatArray | None:
    """(F,) mean downward speed of one person's points, pixels per frame, by frame number; NaN in gaps."""
    from cohorts.formats import read

    try:
        _, found = read(path)
    except CapbenchError as error:
        report.add_error(error, "unreadable", trial=trial, file=path)
        return None
    tracks = [track for track in found if hasattr(track, "xy")] if isinstance(found, tuple) else []
    if not tracks:
        return None
    track = max(tracks, key=len)
    places = track.frames if track.frames is not None else np.arange(len(track))
    if not len(places) or places.max() - places.min() > 1_000_000:
        return None
    heights = np.full(int(places.max()) + 1, np.nan)
    y = track.xy[..., 1]
    known = np.isfinite(y).any(axis=1)
    heights[places[known]] = np.nanmean(y[known], axis=1)
    return np.asarray(np.diff(heights))
