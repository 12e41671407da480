#!/usr/bin/env python
"""A real person in made-up cameras: how pixel noise becomes error of joint angles, by cameras and protocol.

    python scripts/check_labvalidation.py --data ../shared/data [--out labvalidation.png] [--repeats 2]

The markers of LabValidation's subject 4 are projected into five phones that stand as OpenCap's do. Noise of
so many pixels is added, half of its variance new in every frame and half steady through the trial, for each
point and camera. The points are triangulated from 2, 3 and 5 phones, a generic model is scaled by the static
trial's own points and fitted to the others, and the angles are held against the reference (the recorded
markers on the reference's own model, solved again). By capbench-1, and the published way (opencapbench: its
triangulation, its filter and its score; the model is fitted by our solver in both). Prints a table and draws
it. Leaves with 1 where an error does not grow with the noise, or where more cameras do not help.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from capbench.biomech.fit import fit
from capbench.biomech.model import Model
from capbench.biomech.opensim_scale import with_marker_set
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.osim_write import write_model
from capbench.biomech.scale import scale
from capbench.biomech.scale_setup import ScaleSetup, read_setup
from capbench.run import scoring, scoring_published
from capbench.run.reference import WEIGHTS, resolve
from capbench.vision.markers import markers_of
from capbench.vision.published import markers_published
from cohorts import formats
from cohorts.camera import Camera
from cohorts.recording import Keypoints, Markers, Motion, Trial
from cohorts.skeleton import Skeleton, skeleton
from cohorts.values import FloatArray
from synthpose.rig import phone_rig

TRIALS = {"walking1": "walking", "walking2": "walking", "squats1": "squats", "DJ1": "DJ"}
RIGS = {2: ("Cam1", "Cam3"), 3: ("Cam1", "Cam2", "Cam3"), 5: ("Cam0", "Cam1", "Cam2", "Cam3", "Cam4")}
NOISE = (0.0, 1.0, 2.0, 4.0, 8.0)
RATE = 60.0
PROTOCOLS = ("capbench-1", "opencapbench")
SETUP = "Setup_scaling_RajagopalModified2016_withArms_KA_Mocap.xml"


def recorded(path: Path) -> tuple[Skeleton, Markers]:
    """The recording's markers of the published 49, and those as a skeleton."""
    found = formats.read(path)[1]
    assert isinstance(found, Markers)
    whole = skeleton("opencap-mocap-49")
    names = tuple(name for name in whole.points if name in found.names)
    marks = tuple(whole.landmarks[whole.index(name)] for name in names)
    pairs = tuple(pair for pair in whole.flip_pairs if set(pair) <= set(names))
    return Skeleton("recorded", names, landmarks=marks, flip_pairs=pairs), found.select(names)


def at_video_rate(markers: Markers) -> tuple[FloatArray, FloatArray]:
    """Times 60 a second from the trial's start, and (T, M, 3): cubic, straight for markers with gaps."""
    time = np.arange(markers.time[0], markers.time[-1] + 1e-9, 1 / RATE)
    xyz = np.empty((len(time), len(markers.names), 3))
    for m in range(len(markers.names)):
        track = markers.xyz[:, m]
        if np.isfinite(track).all():
            xyz[:, m] = CubicSpline(markers.time, track)(time)
        else:
            xyz[:, m] = np.stack([np.interp(time, markers.time, axis) for axis in track.T], axis=-1)
    return time, xyz


def filmed(path: Path, noise: float, seed: int) -> tuple[dict[str, Keypoints], dict[str, Camera]]:
    """What a detector with so much noise says of the trial in all five phones, which look at its middle."""
    points, markers = recorded(path)
    time, xyz = at_video_rate(markers)
    middle = np.nanmean(xyz, axis=(0, 1))
    cameras = {c.name: c for c in phone_rig(RIGS[5], target=(middle[0], 0.95, middle[2]))}
    random = np.random.default_rng([seed, *path.stem.encode()])
    tracks = {}
    for name, camera in cameras.items():
        xy = camera.project(xyz)
        steady = random.normal(size=(1, *xy.shape[1:]))
        xy = xy + noise / np.sqrt(2) * (random.normal(size=xy.shape) + steady)
        inside = ((xy > 0) & (xy < np.array(camera.size) - 1)).all(axis=-1, keepdims=True)
        tracks[name] = Keypoints(name, time, np.where(inside, xy, np.nan), points)
    return tracks, cameras


def made(
    tracks: Mapping[str, Keypoints],
    cameras: Mapping[str, Camera],
    rig: tuple[str, ...],
    protocol: str,
    activity: str,
) -> Markers:
    """The markers, as the protocol makes them."""
    some = {name: tracks[name] for name in rig}
    if protocol == "opencapbench":
        return markers_published(some, cameras, rate=RATE)
    return markers_of(some, cameras, activity=activity, synchronised=True, max_offset=0.0).markers


class Person:
    """The subject's files, and what noise makes of them."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "labvalidation_subject4"
        setups = data / "opencap_setup"
        marker_set = read_markers(setups / "RajagopalModified2016_markers_mocap.xml")
        self.generic: Model = with_marker_set(read_model(setups / "LaiUhlrich2022.osim"), marker_set)
        self.setup: ScaleSetup = read_setup(setups / SETUP)
        self.trials = [Trial(name, "subject4", activity) for name, activity in TRIALS.items()]
        self.truths: dict[str, Motion] = {}
        for trial in self.trials:
            model = self.folder / "model" / "manually_scaled.osim"
            self.truths[trial.key] = resolve(model, self.path(trial.name), keep=False).motion

    def path(self, trial: str) -> Path:
        """The recording of a trial."""
        return self.folder / "markers" / f"{trial}.trc"

    def angles(
        self, cameras: int, noise: float, seed: int, protocol: str, folder: Path
    ) -> tuple[dict[str, Motion], float]:
        """Every trial's angles, and the mean distance of its markers from the recorded ones, mm."""
        rig = RIGS[cameras]
        standing = made(*filmed(self.path("static1"), noise, seed), rig, protocol, "static")
        scaled = scale(self.generic, standing, self.setup, still=min(1.0, standing.duration))
        model = folder / "scaled.osim"
        write_model(scaled.model, model, overwrite=True)
        found, apart = {}, []
        for trial in self.trials:
            markers = made(*filmed(self.path(trial.name), noise, seed), rig, protocol, trial.activity)
            if protocol == "opencapbench":  # it counts time from 0, as these trials do within a sample
                start = recorded(self.path(trial.name))[1].time[0]
                markers = Markers(
                    np.round(markers.time + start, 6), markers.names, markers.xyz, markers.confidence
                )
            found[trial.key] = fit(markers, model, tasks=WEIGHTS, anyway=True).motion
            apart.append(distance(markers, recorded(self.path(trial.name))[1]))
        return found, float(np.mean(apart))


def distance(markers: Markers, true: Markers) -> float:
    """Mean distance at the recorded times, mm."""
    moved = np.full(true.xyz.shape, np.nan)
    for m in range(len(true.names)):
        for axis in range(3):
            moved[:, m, axis] = np.interp(true.time, markers.time, markers.xyz[:, m, axis])
    return 1e3 * float(np.nanmean(np.linalg.norm(moved - true.xyz, axis=-1)))


def score(person: Person, found: Mapping[str, Motion], protocol: str) -> float:
    """Mean joint-angle error, degrees."""
    if protocol == "capbench-1":
        return scoring.score(found, person.truths, person.trials).summary.cohort.score
    table = scoring_published.score(found, person.truths, person.trials)
    if table.stopped:
        print("   the published code stops:", *table.stopped.values(), sep="\n      ")
    return float(np.mean(list(table.table.rmse.values())))


def run(person: Person, repeats: int) -> dict[tuple[str, int, float], tuple[float, float]]:
    """(protocol, cameras, noise) -> mean joint-angle error in degrees, marker error in mm."""
    results = {}
    print(f"{'protocol':14}{'cameras':>8}{'noise px':>10}{'markers mm':>12}{'angles °':>10}")
    with tempfile.TemporaryDirectory() as name:
        for protocol in PROTOCOLS:
            for cameras in RIGS:
                for noise in NOISE:
                    each = []
                    for seed in range(repeats if noise else 1):
                        found, apart = person.angles(cameras, noise, seed, protocol, Path(name))
                        each.append((score(person, found, protocol), apart))
                    angles, apart = np.mean(each, axis=0).tolist()
                    results[protocol, cameras, noise] = angles, apart
                    print(f"{protocol:14}{cameras:8d}{noise:10g}{apart:12.1f}{angles:10.2f}", flush=True)
    return results


def draw(results: Mapping[tuple[str, int, float], tuple[float, float]], path: Path) -> None:
    """Error against noise, a line for each rig and protocol."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    colours = dict(zip(RIGS, ("#c1440e", "#2a7f62", "#1f4e8c"), strict=True))
    for protocol, style in zip(PROTOCOLS, ("-", "--"), strict=True):
        for cameras, colour in colours.items():
            rows = [results[protocol, cameras, noise] for noise in NOISE]
            label = f"{cameras} cameras, {protocol}"
            left.plot(NOISE, [row[0] for row in rows], style, marker="o", color=colour, label=label)
            right.plot(NOISE, [row[1] for row in rows], style, marker="o", color=colour)
    left.set(
        xlabel="noise of a 2D point, px (half steady, half new)",
        ylabel="mean joint-angle error, °",
        ylim=(0, None),
    )
    right.set(
        xlabel="noise of a 2D point, px (half steady, half new)",
        ylabel="mean marker error, mm",
        ylim=(0, None),
    )
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle("LabValidation subject 4 in five made-up phones: walking, squats, drop jump")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Print, draw, and check what must hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with labvalidation_subject4 and opencap_setup"
    )
    parser.add_argument("--out", type=Path, default=Path("labvalidation.png"), help="picture to write")
    parser.add_argument("--repeats", type=int, default=2, help="draws of the noise")
    options = parser.parse_args()
    results = run(Person(options.data), options.repeats)
    draw(results, options.out)
    print(f"drawn: {options.out}")
    wrong = []
    for protocol in PROTOCOLS:
        for cameras in RIGS:
            grows = [results[protocol, cameras, noise][0] for noise in NOISE[1:]]
            if grows != sorted(grows):
                wrong.append(f"{protocol}, {cameras} cameras: {grows} does not grow")
        if not results[protocol, 2, 8.0][0] > results[protocol, 5, 8.0][0]:
            wrong.append(f"{protocol}: five cameras are no better than two")
    print("\n".join(wrong) or "errors grow with the noise and fall with cameras")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
