#!/usr/bin/env python
"""Hold a made cohort of the synthetic clinic against OpenSim, our solver, its cameras and its own pictures.

    python scripts/check_clinic.py COHORT [--seed N] [--frames 3] [--trials 5]

OpenSim itself opens each stored model and motion and says where bodies, joints and landmarks are; our solver
gets the stored landmarks and mocap markers and must find the stored angles; each camera must have the 2D
points where it projects the stored landmarks; some frames are drawn again, and a landmark that the cohort
calls seen must lie no deeper behind what its pixel shows than its tolerance. The depth at those pixels is
found a second time, by rays against all triangles. Leaves with 1 if any of it is broken.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from capbench.biomech.kinematics import body_frames, coordinates_of, forward, joint_centres, marker_tracks
from capbench.biomech.model import Model
from capbench.biomech.osim import read_model
from capbench.biomech.solve import solve
from capbench.biomech.tree import build_tree
from cohorts import formats
from cohorts.camera import Camera
from cohorts.recording import Keypoints, Markers, Motion, Trial
from cohorts.store import Imported, open_cohort
from cohorts.values import FloatArray
from synthpose import clinic
from synthpose.recipe import PersonPlan, Recipe, TrialPlan, plan, recipe_of
from synthpose.room import draw_room
from synthpose.scene import Actor, Stage, View, tolerances

PLACES, ANGLES, PIXELS = 1e-6, 0.01, 0.01  #: bars: metres (turns: no unit), degrees, pixels
DEPTH = 1e-4  #: metres between the depth that is drawn and that of a ray, away from outlines
EDGE = 2  #: pixels from an outline within which depth may belong to either side of it


# --- OpenSim's own word -------------------------------------------------------------------------


def opensim_child(job_file: str) -> None:
    """In a process of its own: where OpenSim has everything in each motion, as one .npz a motion."""
    import opensim

    opensim.Logger.removeFileSink()
    opensim.Logger.setLevelString("error")
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    model = opensim.Model(job["model"])
    state = model.initSystem()
    coordinates = {c.getName(): c for c in model.getCoordinateSet()}
    listed = {
        "bodies": [model.getBodySet().get(i) for i in range(model.getBodySet().getSize())],
        "joints": [model.getJointSet().get(i).getParentFrame() for i in range(model.getJointSet().getSize())],
        "markers": [model.getMarkerSet().get(i) for i in range(model.getMarkerSet().getSize())],
    }
    names = {
        "bodies": [b.getName() for b in listed["bodies"]],
        "joints": [model.getJointSet().get(i).getName() for i in range(model.getJointSet().getSize())],
        "markers": [m.getName() for m in listed["markers"]],
    }
    for motion, out in job["motions"]:
        table = opensim.TimeSeriesTable(motion)
        labels = list(table.getColumnLabels())
        values = table.getMatrix().to_numpy()
        turns = [coordinates[n].getMotionType() == opensim.Coordinate.Rotational for n in labels]
        if table.getTableMetaDataString("inDegrees") == "yes":
            values = np.where(turns, np.radians(values), values)
        found: dict[str, list[Any]] = {k: [] for k in ("rotation", *listed)}
        for row in values:
            for name, value in zip(labels, row, strict=True):
                coordinates[name].setValue(state, float(value), False)
            model.realizePosition(state)
            turned = [b.getTransformInGround(state).R().asMat33() for b in listed["bodies"]]
            found["rotation"].append([[[m.get(i, j) for j in range(3)] for i in range(3)] for m in turned])
            for what in ("bodies", "joints"):
                at = [f.getPositionInGround(state) for f in listed[what]]
                found[what].append([[p.get(i) for i in range(3)] for p in at])
            at = [m.getLocationInGround(state) for m in listed["markers"]]
            found["markers"].append([[p.get(i) for i in range(3)] for p in at])
        arrays = {k: np.array(v) for k, v in found.items()}
        time = np.array(table.getIndependentColumn())
        arrays |= {"time": time, **{f"{k}_names": np.array(v) for k, v in names.items()}}
        np.savez(out, allow_pickle=False, **arrays)
    sys.stdout.flush()
    os._exit(0)  # OpenSim's own clearing up at exit can crash after all is done


def ask_opensim(model: Path, motions: Sequence[Path], folder: Path) -> list[dict[str, NDArray[Any]]]:
    """Names, times, places (metres) and turns of everything of the model in each motion."""
    outs = [folder / f"{k}.npz" for k in range(len(motions))]
    job = {
        "model": str(model.resolve()),
        "motions": [[str(m.resolve()), str(o)] for m, o in zip(motions, outs, strict=True)],
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, __file__, "--opensim-child", str(folder / "job.json")]
    subprocess.run(command, check=True, cwd=folder, timeout=900, stdin=subprocess.DEVNULL)
    return [dict(np.load(out)) for out in outs]


def against_opensim(
    model: Model, motion: Motion, landmarks: Markers, said: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Largest differences of ours and of the stored landmarks from OpenSim's, metres (turns: no unit)."""

    def columns(kind: str, names: Iterable[str]) -> list[int]:
        theirs = said[f"{kind}_names"].tolist()
        return [theirs.index(n) for n in names]

    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, motion))
    bodies = [b.name for b in model.bodies]
    placed = [body_frames(tree, frames, b) for b in bodies]
    at, joints, ours = columns("bodies", bodies), joint_centres(model, motion), marker_tracks(model, motion)
    where = {
        "clock": (motion.time, said["time"]),
        "turn": (np.stack([r for r, _ in placed], axis=1), said["rotation"][:, at]),
        "body": (np.stack([o for _, o in placed], axis=1), said["bodies"][:, at]),
        "joint": (joints.xyz, said["joints"][:, columns("joints", joints.names)]),
        "mark": (ours.xyz, said["markers"][:, columns("markers", ours.names)]),
        "trc": (landmarks.xyz, said["markers"][:, columns("markers", landmarks.names)]),
    }
    return {name: float(np.abs(one - two).max()) for name, (one, two) in where.items()}


# --- angles found again -------------------------------------------------------------------------


@dataclass
class Left:
    """What one marker set cannot tell: coordinate -> frames in which it is not seen, or undetermined."""

    frames: int = 0
    unseen: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)

    def words(self) -> str:
        """All of it in a line."""
        rows = [
            f"{what} {', '.join(f'{n} ({100 * k / self.frames:.0f} %)' for n, k in by.items()) or 'none'}"
            for what, by in (
                ("no marker depends on", self.unseen),
                ("undetermined together with others", self.unsure),
            )
        ]
        return "; ".join(rows)


def found_again(model: Model, motion: Motion, markers: Markers, left: Left) -> tuple[float, float, str]:
    """Largest differences of the solved from the stored: degrees, millimetres, and the worst angle's name."""
    solved = solve(model, markers)
    proof = solved.certificate
    names = proof.coordinates
    gap = np.abs(solved.motion.select(names).values - motion.select(names).values)
    turning = np.array([motion.kinds[motion.names.index(n)] == "rotation" for n in names])
    gap[:, turning] = np.abs(gap[:, turning] - 2 * np.pi * np.round(gap[:, turning] / (2 * np.pi)))
    unsure = proof.observed & ~np.isfinite(proof.sigma)
    left.frames += len(gap)
    for flags, counts in ((~proof.observed, left.unseen), (unsure, left.unsure)):
        for name, count in zip(names, flags.sum(axis=0), strict=True):
            if count:
                counts[name] = counts.get(name, 0) + int(count)
    gap = np.where(proof.observed & ~unsure, gap, 0.0)
    angles, slides = np.where(turning, gap, 0.0), np.where(turning, 0.0, gap)
    worst = names[int(angles.max(axis=0).argmax())]
    return float(np.degrees(angles.max())), float(1e3 * slides.max()), worst


# --- cameras ------------------------------------------------------------------------------------


def reprojected(camera: Camera, landmarks: Markers, points: Keypoints) -> tuple[float, float]:
    """Largest distance (pixels) of the 2D points from where the camera has the stored landmarks.

    First at frames that fall on a stored sample, then at all: between samples (and for clocks that are late)
    the landmarks are taken from cubic splines of their own, before and after the trial from its ends.
    """
    xyz = landmarks.select(points.skeleton.points).xyz
    times = np.clip(points.time, landmarks.time[0], landmarks.time[-1])
    nearest = np.abs(times[:, None] - landmarks.time).argmin(axis=1)
    on = np.abs(times - landmarks.time[nearest]) < 1e-9
    smooth = CubicSpline(landmarks.time, xyz)(times)
    apart = []
    for at, rows in ((xyz[nearest[on]], on), (smooth, np.ones(len(times), bool))):
        should, have = camera.project(at), points.xy[rows]
        if (np.isnan(should) != np.isnan(have)).any():
            return math.inf, math.inf
        apart.append(float(np.nanmax(np.hypot(*np.moveaxis(should - have, -1, 0)), initial=0.0)))
    return apart[0], apart[1]


# --- depth and visibility -----------------------------------------------------------------------


@dataclass
class Seen:
    """What drawing frames again said: counts of landmarks, metres over tolerance, depths apart."""

    landmarks: int = 0
    seen: int = 0
    otherwise: int = 0
    deepest: float = -math.inf
    tolerance: float = 0.0
    pose: float = 0.0
    rays: list[float] = field(default_factory=list)


def depth_by_rays(camera: Camera, pixels: FloatArray, corners_f33: FloatArray) -> FloatArray:
    """(N,) metres along the axis to the first triangle that each pixel's ray meets (Möller and Trumbore)."""
    centre, ways = camera.ray(pixels)
    a, b, c = corners_f33[:, 0], corners_f33[:, 1], corners_f33[:, 2]
    ab, ac, s = b - a, c - a, centre - a
    q = np.cross(s, ab)
    along = (ac * q).sum(axis=1)
    found = np.full(len(pixels), np.inf)
    for n, way in enumerate(ways):
        p = np.cross(way, ac)
        with np.errstate(all="ignore"):
            det = (ab * p).sum(axis=1)
            u, v, t = (s * p).sum(axis=1) / det, (q @ way) / det, along / det
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.05)
        if hit.any():
            found[n] = t[hit].min() * float(way @ camera.rotation[2])
    return found


def drawn_again(
    recipe: Recipe, who: PersonPlan, one: TrialPlan, cast: clinic.Cast, stored: Stored, frames: int
) -> Seen:
    """Some frames of every camera of a trial drawn from the stored motion, as ``clinic.film`` does it."""
    take = clinic.take_of(recipe, who, one, cast)
    result = Seen(pose=float(np.abs(take.motion.values - stored.motion.values).max()))
    person, room = cast.person, draw_room(who.seed, "walk" if one.activity == "walking" else "room")
    others: Sequence[Actor] = () if take.other is None else take.other[0].actors(2)
    stage = Stage([*cast.actors(1), *take.things, *others], room)
    still = [thing.surface.rest_v3 for thing in take.things]
    if take.other is not None:
        still += [p[0] for p in take.other[0].person.posed(take.other[1][:1])]
    for name, camera in stored.cameras.items():
        points, view = stored.points[name], View(camera, room)
        moved = clinic.at_times(stored.motion, points.time)
        landmarks = person.landmarks(moved)
        order = [landmarks.names.index(n) for n in points.skeleton.points]
        slack = tolerances([p[0] for p in person.posed(moved[:1])], landmarks, 0)[order]
        for k in np.unique(np.linspace(0, len(points) - 1, frames).astype(int)):
            picture = view.see(stage.pose([*(p[0] for p in person.posed(moved[k : k + 1])), *still]))
            xyz = landmarks.xyz[k, order]
            called = points.confidence[k] == 1
            result.landmarks += len(called)
            result.seen += int(called.sum())
            again = view.visible(picture, landmarks, int(k), tolerance=_back(slack, order))[order]
            result.otherwise += int((again != called).sum())
            depth = xyz @ camera.rotation[2] + camera.translation[2]
            x, y = np.round(np.nan_to_num(points.xy[k])).astype(int).T
            inside = (x >= 0) & (y >= 0) & (x < camera.size[0]) & (y < camera.size[1])
            x, y = np.where(inside, x, 0), np.where(inside, y, 0)
            first, whose = picture.depth[y, x], picture.person[y, x]
            if (called & (~inside | (np.isfinite(first) & (whose != 1)))).any():
                result.deepest = math.inf  # seen through somebody else, or outside the picture
            behind = np.where(called, depth - first, -np.inf)
            result.deepest = max(result.deepest, float((behind - slack).max()))
            result.tolerance = max(result.tolerance, float(slack.max()))
            sure = inside & ~_edges(picture.buffers.face_hw >= 0, picture.depth)[y, x]
            corners = picture.scene.vertices[stage.faces]
            pixels = np.stack([x, y], axis=1)[sure].astype(float)
            apart = np.abs(depth_by_rays(camera, pixels, corners) - first[sure])
            result.rays += apart[~np.isnan(apart)].tolist()  # not a number: both say that it is the room
    return result


def _back(slack: FloatArray, order: Sequence[int]) -> FloatArray:
    """``slack`` in the order of the markers again."""
    made = np.empty(len(order))
    made[list(order)] = slack
    return made


def _edges(there: NDArray[np.bool_], depth: NDArray[Any]) -> NDArray[np.bool_]:
    """(h, w) pixels near an outline: a step in depth of over 3 cm, or the end of a person or thing."""
    import cv2

    depth = np.where(there, depth, 99.0).astype(np.float32)
    box = np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8)
    return np.asarray(cv2.dilate(depth, box) - cv2.erode(depth, box) > 0.03)


# --- a cohort -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """What the cohort has of a trial."""

    trial: Trial
    model: Model
    mocap: Model
    motion: Motion
    landmarks: Markers
    markers: Markers
    cameras: Mapping[str, Camera]
    points: Mapping[str, Keypoints]


def stored(cohort: Imported, trial: Trial) -> Stored:
    """A trial read from its files."""

    def read(path: str | None) -> Any:
        assert path is not None
        return formats.read(cohort.path(path))[1]

    points = {c: read(trial.extras[f"keypoints:{c}"])[0] for c in trial.videos}
    return Stored(
        trial,
        read_model(cohort.path(trial.extras["model"])),
        read_model(cohort.path(trial.extras["mocap_model"])),
        read(trial.motion),
        read(trial.markers),
        read(trial.extras["mocap"]),
        cohort.cameras(trial),
        points,
    )


HEAD = (
    f"{'':26}|{'OpenSim against ours and the .trc, m':^51}|{'52 solved':^15} |{'mocap solved':^15} |"
    f"{'2D points, px':^23}|{'depth':^37}\n"
    f"{'trial':19}{'frames':>6} |{'bodies':>8}{'turns':>8}{'joints':>8}{'markers':>8}"
    f"{'.trc':>8}{'clock s':>8}   |"
    f"{'°':>8}{'mm':>7} |{'°':>8}{'mm':>7} |{'on frame':>8}{'all':>8}{'late':>7}|"
    f"{'seen/all':>9}{'differ':>8}{'over mm':>9}{'rays':>6}{'mm':>9}{'pose':>7}"
)


def check_person(
    cohort: Imported, recipe: Recipe, who: PersonPlan, limit: int, frames: int, left: Mapping[str, Left]
) -> bool:
    """A row for each trial; whether all bars hold."""
    trials = [stored(cohort, t) for t in cohort.cohort.trials if t.subject == who.name][:limit]
    cast = clinic.cast_of(who)
    plans = {one.name: one for one in who.trials}
    good = True
    with tempfile.TemporaryDirectory(prefix="capbench-") as name:
        model = cohort.path(trials[0].trial.extras["model"])
        said = ask_opensim(model, [cohort.path(str(t.trial.motion)) for t in trials], Path(name))
    for one, word in zip(trials, said, strict=True):
        places = against_opensim(one.model, one.motion, one.landmarks, word)
        angle, slide, worst = found_again(one.model, one.motion, one.landmarks, left["52 landmarks"])
        angle2, slide2, worst2 = found_again(one.mocap, one.motion, one.markers, left["49 mocap markers"])
        pixels = np.max([reprojected(one.cameras[c], one.landmarks, p) for c, p in one.points.items()], 0)
        late = max((float(p.time[0] - one.motion.time[0]) for p in one.points.values()), key=abs)
        again = drawn_again(recipe, who, plans[one.trial.name], cast, one, frames)
        rays = np.array(again.rays)
        print(
            f"{who.name + ' ' + one.trial.name:19}{len(one.motion):6} |"
            + "".join(f"{places[k]:8.0e}" for k in ("body", "turn", "joint", "mark", "trc", "clock"))
            + f"   |{angle:8.1e}{slide:7.0e} |{angle2:8.1e}{slide2:7.0e} |"
            + f"{pixels[0]:8.0e}{pixels[1]:8.0e}{1e3 * late:4.0f} ms |"
            + f"{again.seen:4}/{again.landmarks:4}{again.otherwise:8}{1e3 * again.deepest:9.1f}"
            + f"{len(rays):6}{1e3 * rays.max(initial=0.0):9.0e} {again.pose:6.0e}",
            flush=True,
        )
        broken = [f"{k} {v:.2g}" for k, v in places.items() if not v <= PLACES]
        broken += [f"{n} {v:.4f}° ({w})" for n, v, w in (("52", angle, worst), ("mocap", angle2, worst2))
                   if not v <= ANGLES]  # fmt: skip
        broken += [f"2D {v:.3f} px" for v in pixels if not v <= PIXELS]
        broken += [f"{again.otherwise} landmarks seen otherwise than stored"] if again.otherwise else []
        broken += ["a landmark called seen lies too deep"] if again.deepest > 1e-6 else []
        broken += [f"depth {rays.max():.2g} m off"] if rays.max(initial=0.0) > DEPTH else []
        broken += ["made with other code than this: motion differs"] if again.pose > 1e-9 else []
        for words in broken:
            print(f"    BROKEN: {words}")
        good &= not broken
    return good


def main(words: Sequence[str] | None = None) -> int:
    """Check, print, say whether all bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--seed", type=int, help="of a cohort whose card keeps it a secret")
    parser.add_argument("--frames", type=int, default=3, help="frames of each video that are drawn again")
    parser.add_argument("--people", type=int, default=1000, help="the first so many")
    parser.add_argument("--trials", type=int, default=1000, help="the first so many of each person")
    given = parser.parse_args(words)
    cohort = open_cohort(given.cohort)
    recipe = recipe_of(cohort.card, seed=given.seed)
    left = {"52 landmarks": Left(), "49 mocap markers": Left()}
    print(HEAD)
    good = True
    for who in plan(recipe)[: given.people]:
        good &= check_person(cohort, recipe, who, given.trials, given.frames, left)
    for name, what in left.items():
        print(f"left out of the angles, {name}: {what.words()}")
    held = "all hold" if good else "BROKEN"
    print(f"bars: OpenSim {PLACES:g} m, angles {ANGLES}°, 2D {PIXELS} px, depth {1e3 * DEPTH} mm: {held}")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--opensim-child"]:
        opensim_child(sys.argv[2])
    raise SystemExit(main())
