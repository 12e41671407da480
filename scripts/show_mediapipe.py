#!/usr/bin/env python3
"""Real video to joint angles with MediaPipe: keypoints, markers, a model scaled to the person, both knees.

    scripts/show_mediapipe.py ../shared/data/pose2sim_single --out shown

FOLDER holds ``videos/NAME.mp4`` and one calibration file below ``calibration/`` whose cameras bear the
videos' names. Written to --out: each camera's keypoints (``NAME.npz``), pictures with the keypoints and the
markers drawn on them (``NAME.png``), the markers (``markers.trc``), the model (``scaled.osim``), the motion
(``motion.mot``) and a plot of both knees (``knees.png``). Printed: reprojection error, how constant the bones
are, marker error.
MediaPipe needs its environment: capbench models install mediapipe.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from capbench.biomech.osim_write import write_model
from capbench.models.predictor import Predictor
from capbench.models.registry import open_model
from capbench.run import fitting
from capbench.vision.markers import Found, markers_of
from cohorts import formats
from cohorts.camera import Camera
from cohorts.errors import CapbenchError
from cohorts.formats import native_npz, video
from cohorts.recording import Keypoints, Markers, Motion, Subject
from cohorts.skeleton import skeleton
from cohorts.values import FloatArray
from metrics.plausibility import bone_length_cv

BONES = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]
BATCH = 16


def keypoints_of(model: Predictor, path: Path) -> Keypoints:
    """Every frame's keypoints, the person looked for in the whole picture."""
    times, points, confidence = [], [], []
    batch: list[np.ndarray] = []

    def ask() -> None:
        got = model.predict(batch, np.full((len(batch), 4), np.nan))
        points.append(got.points)
        confidence.append(got.confidence)
        batch.clear()

    for when, picture in video.frames(path):
        times.append(when)
        batch.append(picture)
        if len(batch) == BATCH:
            ask()
    if batch:
        ask()
    return Keypoints(
        camera=path.stem,
        time=np.array(times),
        xy=np.concatenate(points),
        confidence=np.concatenate(confidence),
        skeleton=model.card.points,
    )


def draw(path: Path, source: Path, track: Keypoints, camera: Camera, markers: Markers, frame: int) -> None:
    """One frame with its keypoints (circles) and the projected markers (crosses)."""
    import cv2 as opencv

    cv2: Any = opencv  # its types leave out half of what it takes
    picture = next(p for i, (_, p) in enumerate(video.frames(source)) if i == frame)[..., ::-1].copy()
    at = int(np.abs(markers.time - track.time[frame]).argmin())
    projected = camera.project(from_ground(markers.xyz[at]))
    for start, end in track.skeleton.limbs:
        ends = [track.xy[frame, track.skeleton.points.index(name)] for name in (start, end)]
        if np.isfinite(ends).all():
            cv2.line(picture, *(tuple(int(v) for v in np.rint(p)) for p in ends), (0, 255, 255), 2)
    for xy, confidence in zip(track.xy[frame], track.confidence[frame], strict=True):
        if np.isfinite(xy).all():
            colour = (0, 200, 0) if confidence > 0.5 else (0, 0, 255)
            cv2.circle(picture, tuple(int(v) for v in np.rint(xy)), 7, colour, 2)
    for xy in projected:
        if np.isfinite(xy).all():
            cv2.drawMarker(
                picture, tuple(int(v) for v in np.rint(xy)), (255, 0, 255), cv2.MARKER_TILTED_CROSS, 12, 2
            )
    cv2.imwrite(str(path), picture)


def from_ground(xyz: FloatArray) -> FloatArray:
    """Points of the ground frame (y up) in a z-up calibration's world."""
    return np.stack([xyz[..., 0], -xyz[..., 2], xyz[..., 1]], axis=-1)


def plot_knees(path: Path, motion: Motion, sigma: Mapping[str, FloatArray]) -> None:
    """Both knees' flexion over time, each with the standard deviation that its frame's markers leave it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    for side, colour in (("r", "tab:red"), ("l", "tab:blue")):
        name = f"knee_angle_{side}"
        angle = np.degrees(motion.values[:, motion.names.index(name)])
        axes.plot(motion.time, angle, color=colour, label=f"{'right' if side == 'r' else 'left'} knee")
        spread = np.degrees(sigma[name])
        axes.fill_between(motion.time, angle - spread, angle + spread, color=colour, alpha=0.2, lw=0)
    axes.set(xlabel="time, s", ylabel="flexion, °", title="MediaPipe, four cameras")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def print_reprojection(found: Found) -> None:
    """Pixels between views and triangulated points, by camera."""
    print("\nreprojection error, pixels     median     90 %     views used")
    for c, name in enumerate(found.cameras):
        apart = found.residual[:, c][found.used[:, c]]
        share = found.used[:, c].mean()
        print(f"  {name:<26} {np.median(apart):8.1f} {np.percentile(apart, 90):8.1f} {share:13.0%}")
    every = found.residual[found.used]
    print(f"  {'all':<26} {np.median(every):8.1f} {np.percentile(every, 90):8.1f}")


def print_bones(markers: Markers) -> None:
    """Mean length and variation of each bone, unsmoothed by any model."""
    print("\nbones                        length, m   SD / mean")
    for bone in BONES:
        ends = [markers.xyz[:, markers.names.index(name)] for name in bone]
        length = np.linalg.norm(ends[0] - ends[1], axis=1)
        mean, sd = np.nanmean(length), np.nanstd(length)
        print(f"  {bone[0]:>14} - {bone[1]:<10} {mean:8.3f} {sd / mean:10.1%}")
    print(f"  mean coefficient of variation {bone_length_cv(markers.xyz, markers.names, BONES):.1f} %")


def main() -> int:
    """Do it all, and say how long each step took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python", help="an interpreter that has MediaPipe")
    parser.add_argument("--frame", type=int, default=40, help="which frame to draw")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    videos = {path.stem: path for path in sorted((asked.folder / "videos").glob("*.mp4"))}

    began = time.monotonic()
    model = open_model("mediapipe", python=asked.python)
    tracks = {name: keypoints_of(model, path) for name, path in videos.items()}
    model.close()
    seconds, count = time.monotonic() - began, sum(len(t) for t in tracks.values())
    each = 1000 * seconds / count
    print(f"MediaPipe: {count} frames in {seconds:.1f} s ({each:.0f} ms a frame, decoding included)")
    for name, track in tracks.items():
        seen = np.isfinite(track.xy[:, 0, 0]).mean()
        sure = track.confidence.mean()
        print(f"  {name}: a person in {seen:.0%} of {len(track)} frames, mean visibility {sure:.2f}")
        native_npz.write(asked.out / f"{name}.npz", [track], overwrite=True)

    cameras = cameras_of(asked.folder / "calibration", videos)
    began = time.monotonic()
    found = markers_of(tracks, cameras, synchronised=True, activity="gait", up="+z")
    print(f"\ntriangulated in {time.monotonic() - began:.1f} s; notes: {'; '.join(found.notes) or 'none'}")
    print_reprojection(found)
    print_bones(found.markers)
    formats.write(asked.out / "markers.trc", found.markers, overwrite=True)
    for name, path in videos.items():
        draw(asked.out / f"{name}.png", path, tracks[name], cameras[name], found.markers, asked.frame)
    return fit(found.markers, asked.out)


def cameras_of(folder: Path, videos: Mapping[str, Path]) -> dict[str, Camera]:
    """The calibration's cameras, by the videos' names."""
    (path,) = sorted(p for p in folder.iterdir() if p.is_file())
    notes: list[str] = []
    cameras = {camera.name: camera for camera in formats.read(path, notes=notes)[1]}
    for note in notes:
        print(f"calibration: {note}")
    for name, source in videos.items():
        size = video.read(source).size
        if name in cameras and cameras[name].size != size:
            print(f"calibration: {name} is for {cameras[name].size} pixels, its video has {size}")
    return {name: camera for name, camera in cameras.items() if name in videos}


def fit(markers: Markers, out: Path) -> int:
    """Scale the model to the person from the walk itself and fit it, as evaluations do; draw the knees."""
    began = time.monotonic()
    points = skeleton("blazepose-33")
    worn = fitting.as_worn(markers, points)
    person = fitting.scale_person(points, None, [worn], Subject("shown"))
    print(f"\nscaled in {time.monotonic() - began:.1f} s")
    for text in (*(f"{name} {value:.3g}" for name, value in person.facts.items()), *person.notes):
        print(f"  {text}")
    began = time.monotonic()
    solved = fitting.solve_trial(person.model, worn)
    print(f"fitted in {time.monotonic() - began:.1f} s")
    for text in (*(f"{name} {value:.3g}" for name, value in solved.facts.items()), *solved.notes):
        print(f"  {text}")
    compare_knees(markers, solved.motion)
    write_model(person.model, out / "scaled.osim", overwrite=True)
    formats.write(out / "motion.mot", solved.motion, overwrite=True)
    sigma = dict(zip(solved.motion.names, solved.sd.T, strict=True))
    plot_knees(out / "knees.png", solved.motion, sigma)
    return 0


def compare_knees(markers: Markers, motion: Motion) -> None:
    """The fitted knees beside the angle that the points of hip, knee and ankle enclose."""
    for side in ("left", "right"):
        hip, knee, ankle = (markers.select([f"{side}_{name}"]).xyz[:, 0] for name in ("hip", "knee", "ankle"))
        thigh, shank = knee - hip, ankle - knee
        cosine = (thigh * shank).sum(axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
        enclosed = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        off = np.degrees(motion.column(f"knee_angle_{side[0]}")) - enclosed
        print(f"  {side} knee: {np.nanmean(off):+.1f}° from the enclosed angle, SD {np.nanstd(off):.1f}°")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CapbenchError as error:
        sys.exit(f"error: {error}")
