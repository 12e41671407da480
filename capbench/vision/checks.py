"""What is wrong with a trial's views before anything is made of them; each by its own type of error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from capbench.vision.faults import (
    DifferentPoints,
    SameView,
    TooFewViews,
    WrongCalibration,
    WrongSize,
    WrongUnits,
)
from capbench.vision.triangulate import CAP, Triangulated, residuals, triangulate_views
from capbench.vision.views import Views, check_calibrated, views_of
from cohorts.camera import Camera
from cohorts.recording import Keypoints
from cohorts.values import FloatArray

OUTSIDE = 0.25  #: share of a camera's points that may lie outside its picture, by more than 2 % of it
#: metres across a person, arms spread and in stride, at most, and at least
LARGEST, SMALLEST = 5.0, 0.3
#: median reprojection error, as a share of the picture's height, from which on it is looked into; and below
#: which another size of the pictures explains it (10 and 8 px of 1280)
ODD, MENDED = 0.008, 0.006
CONTRADICTED = 0.5  #: share of the points that no two views agree on, at most
_FRAMES = 60  # looked at
_SCALES = (1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0)  # of pictures against calibrations, that are tried
#: centimetres, millimetres and the like: how often a person may seem to fit into their own height
_UNITS = {"millimetres": 1000.0, "centimetres": 100.0}


def check_tracks(
    tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera], notes: list[str]
) -> dict[str, Keypoints]:
    """The tracks that have points; refused where there are fewer than two, or a calibration is lacking."""
    kept = {name: track for name, track in tracks.items() if (track.confidence > 0).any()}
    notes += [f"{name}: no points, left out" for name in tracks if name not in kept]
    if len(kept) < 2:
        seen = ", ".join(kept) or "none"
        raise TooFewViews(
            f"Expected the person in two cameras or more, got them in {len(kept)} of {len(tracks)}: {seen}.",
            fix="add a camera, or use a model that gives 3D from one",
        )
    check_calibrated(kept, cameras)
    (first, one), *others = kept.items()
    for name, track in others:
        if track.skeleton.points != one.skeleton.points:
            raise DifferentPoints(
                f"Expected the same points in all cameras, got {one.skeleton.name} in {first} and "
                f"{track.skeleton.name} in {name}.",
                fix="predict all cameras with one model",
            )
    return kept


def check_sizes(
    tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera], sizes: Mapping[str, tuple[int, int]]
) -> None:
    """Refuse pictures turned or scaled against their calibration, by their size or by where points lie."""
    for name, track in tracks.items():
        own = cameras[name].size
        size = sizes.get(name)
        if size is not None and tuple(size) != own:
            _refuse_size(name, own, tuple(size))
        points = track.xy[track.confidence > 0]
        slack = 0.02 * np.array(own)
        outside = ((points < -slack) | (points > np.array(own) - 1 + slack)).any(axis=1)
        if outside.mean() > OUTSIDE:
            far = np.percentile(points, 99, axis=0)
            turned = bool((far <= np.array(own[::-1])).all())
            raise WrongSize(
                f"Expected points within the calibration's {own[0]} x {own[1]} pixels, got "
                f"{outside.mean():.0%} of them outside, up to x {far[0]:.0f}, y {far[1]:.0f}.",
                place=f"camera {name}",
                fix="turn the video as it was when it was calibrated"
                if turned
                else "give the points in pixels of the video that was calibrated",
            )


def _refuse_size(name: str, own: tuple[int, int], size: tuple[int, ...]) -> None:
    turned = size == own[::-1]
    scale = size[0] / own[0]
    same_shape = abs(size[1] / own[1] / scale - 1) < 0.02
    raise WrongSize(
        f"Expected pictures of {own[0]} x {own[1]} pixels, as the camera was calibrated with, got "
        f"{size[0]} x {size[1]}{': turned on their side' if turned else ''}.",
        place=f"camera {name}",
        fix="turn the video upright as in the calibration"
        if turned
        else f"scale the calibration by {scale:.3g}, or the video back"
        if same_shape
        else "use the calibration made with this picture format",
    )


def check_same_views(tracks: Mapping[str, Keypoints]) -> None:
    """Refuse two cameras with the very same points: one file under two names."""
    names = list(tracks)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            one, two = tracks[a], tracks[b]
            count = min(len(one), len(two))
            both = (one.confidence[:count] > 0) & (two.confidence[:count] > 0)
            if both.sum() < 5:
                continue
            equal = (np.abs(one.xy[:count][both] - two.xy[:count][both]) < 1e-6).all(axis=1)
            if equal.mean() > 0.9:
                raise SameView(
                    f"Expected each camera's own view, got the same points in {a} and {b}.",
                    place=f"cameras {a} and {b}",
                    fix="check whether one video was given twice",
                )


# --- do the views fit each other ----------------------------------------------------------------


def check_geometry(
    tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera], notes: list[str], *, drop_bad: bool
) -> dict[str, float]:
    """Cameras that contradict all others, which agree: name -> pixels; refused unless ``drop_bad``.

    Refused are views that don't fit each other at all, and a person who is no person's size.
    """
    few = {name: _some(track) for name, track in tracks.items()}
    views = views_of(few, cameras)
    if int((views.seen.sum(axis=0) >= 2).sum()) < 5:
        return {}
    robust, error = _met(views), _plain_error(views)
    if error > ODD:
        _check_scale(views, few, cameras, error)
    if _contradicted(views, robust) > CONTRADICTED:
        _refuse_contradiction(views, few, cameras, error)
    _check_units(views, robust)
    heights = [camera.size[1] for camera in views.cameras]
    apart = {c.name: _median(robust.residual[:, n]) for n, c in enumerate(views.cameras)}
    bad = {n: e for (n, e), height in zip(apart.items(), heights, strict=True) if e > CAP * height}
    if bad and (not drop_bad or len(tracks) - len(bad) < 2):
        worst = max(bad, key=lambda name: bad[name])
        raise WrongCalibration(
            f"Expected all cameras to show one person, got {worst} {bad[worst]:.0f} pixels off what the "
            "others agree on: calibrated elsewhere, moved since, or of another moment or person.",
            place=f"camera {worst}",
            fix=f"leave {worst} out, or calibrate it again",
        )
    if error > ODD and not bad:
        notes.append(
            f"the views fit each other badly: {error * _height(views):.0f} px median reprojection error; "
            "another person in one view, a camera that was moved, or a poor model"
        )
    return bad


def _some(track: Keypoints) -> Keypoints:
    return track[:: max(1, int(np.ceil(len(track) / _FRAMES)))]


def _met(views: Views) -> Triangulated:
    return triangulate_views(views, largest_sd=np.inf)


def _contradicted(views: Views, met: Triangulated) -> float:
    """Share of the points with two views or more whose views disagree."""
    could = views.seen.sum(axis=0) >= 2
    return float((met.views[could] == 0).mean()) if could.any() else 0.0


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _plain_error(views: Views) -> float:
    """Median reprojection error with every view believed, as a share of the picture's height."""
    xyz = triangulate_views(views, threshold_px=1e9, largest_sd=np.inf).markers.xyz
    heights = np.array([camera.size[1] for camera in views.cameras], float)
    error = _median(residuals(views, xyz) / heights[:, None])
    return error if np.isfinite(error) else np.inf


def _check_scale(
    views: Views, tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera], error: float
) -> None:
    """Refuse pictures of another size than was calibrated: one scale for all makes a bad fit a good one."""
    scales = {}
    for scale in _SCALES:
        scaled = views_of(tracks, {name: _scaled(cameras[name], scale) for name in tracks})
        scales[scale] = _plain_error(scaled) * scale  # of the picture as it was calibrated
    scale = min(scales, key=lambda s: scales[s])
    if scales[scale] < min(error / 4, MENDED):
        height = _height(views)
        raise WrongSize(
            "Expected points in pixels of the calibrated pictures, got a median reprojection error of "
            f"{error * height:.0f} pixels; it falls to {scales[scale] * height:.1f} if the pictures are "
            f"{scale:.3g} times as large as the calibration's.",
            fix=f"scale the calibration by {scale:.3g}",
        )


def _refuse_contradiction(
    views: Views, tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera], error: float
) -> None:
    """Say whether leaving one camera out mends it."""
    height = _height(views)
    said = f"got a median reprojection error of {error * height:.0f} pixels ({error:.0%} of the picture)"
    if not np.isfinite(error):
        said = "got rays that do not meet in front of the cameras"
    fix = "check that the calibration belongs to this recording, and that all videos show one moment"
    place = None
    if len(tracks) > 2:
        left = {}
        for out in tracks:
            left[out] = _plain_error(views_of({n: t for n, t in tracks.items() if n != out}, cameras))
        best = min(left, key=lambda name: left[name])
        if left[best] < min(error / 2, CAP):
            place = f"camera {best}"
            falls = left[best] * height
            fix = f"leave {best} out (the error falls to {falls:.1f} pixels), or calibrate it again"
    raise WrongCalibration(f"Expected views that fit each other, {said}.", place=place, fix=fix)


def _height(views: Views) -> float:
    return float(np.median([camera.size[1] for camera in views.cameras]))


def _scaled(camera: Camera, scale: float) -> Camera:
    matrix = camera.matrix.copy()
    matrix[:2, 2] += 0.5  # pixel centres are whole numbers: edges scale
    matrix[:2] *= scale
    matrix[:2, 2] -= 0.5
    return replace(camera, matrix=matrix)


def _check_units(views: Views, met: Triangulated) -> None:
    """Refuse a person of no person's size."""
    xyz = met.markers.xyz
    there = np.isfinite(xyz[..., 0])
    enough = there.sum(axis=1) >= max(4, there.shape[1] // 3)
    if not enough.any():
        return
    low = np.where(there[..., None], xyz, np.inf).min(axis=1)[enough]
    high = np.where(there[..., None], xyz, -np.inf).max(axis=1)[enough]
    across = float(np.median(np.linalg.norm(high - low, axis=1)))
    marks = " ".join(views.skeleton.landmarks)
    whole = "ankle" in marks or "malleolus" in marks
    if across > LARGEST or (whole and across < SMALLEST):
        unit = next((u for u, n in _UNITS.items() if 0.5 * n < across < 3 * n), "")
        raise WrongUnits(
            f"Expected calibrations in metres, got a person {across:.3g} m across"
            f"{f': these are {unit}' if unit else ''}.",
            fix=f"divide the calibrations' translations by {_UNITS[unit]:g}"
            if unit
            else "check the calibrations' unit",
        )
