#!/usr/bin/env python
"""How fast synthetic people are filmed on one core: images per second, milliseconds a stage, peak memory.

    python scripts/bench/render.py                 # 30 s
    python scripts/bench/render.py --device cuda   # the torch rasteriser there

Everything is timed in processor time of one core (the torch rasteriser on a GPU: wall time, copies included).
A stage's time is the middle of its repetitions. The person is bare: clothes add triangles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # read by the libraries when they are imported
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from cohorts.camera import Camera
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray
from synthpose import lens, render, render_torch, sensor
from synthpose.body import Phenotype
from synthpose.person import Person, make_person
from synthpose.rig import cut, phone_rig
from synthpose.scene import Actor, Material, Picture, Room, Scene, Stage, View, tolerances

Clock = Callable[[], float]
#: name -> the picture's size and the part of a phone's picture that it shows (None: all)
PICTURES: dict[str, tuple[tuple[int, int], tuple[float, float, float, float] | None]] = {
    "192x256, cut out": ((192, 256), (174.5, 414.5, 549.5, 914.5)),
    "360x640": ((360, 640), None),
    "720x1280": ((720, 1280), None),
}


def milliseconds(work: Callable[[], Any], clock: Clock = time.process_time, least: float = 0.3) -> float:
    """What one call takes: the middle of as many as fit in ``least`` seconds, five or more."""
    work()
    taken: list[float] = []
    while sum(taken) < least or len(taken) < 5:
        before = clock()
        work()
        taken.append(clock() - before)
    return 1000 * float(np.median(taken))


def cameras_of(size: tuple[int, int], box: tuple[float, float, float, float] | None) -> list[Camera]:
    """The usual pair of phones."""
    if box is None:
        return phone_rig(size=size)
    return [cut(camera, box, size) for camera in phone_rig()]


def stages_of(
    person: Person, stage: Stage, view: View, motion: Motion
) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is done for each frame (the first two once for all cameras) and each picture, and for how many."""
    posed = [v[0] for v in person.posed(motion)]
    frames = len(motion)
    scene = stage.pose(posed)
    pixels, depth = lens.project(view.camera, scene.vertices)
    picture, marks = view.see(scene), person.landmarks(motion)
    bare = replace(sensor.draw_sensor(1, view.camera.name), quality=0)
    noise: dict[str, Any] = {"seed": 1, "camera": "c", "frame": 0}
    tolerance = tolerances(posed, marks)
    return {
        "frame: skin": (lambda: person.posed(motion), frames),
        "frame: normals, shadow": (lambda: stage.pose(posed), 1),
        "project": (lambda: lens.project(view.camera, scene.vertices), 1),
        "rasterise": (lambda: render.rasterise(pixels, depth, stage.faces, size=view.camera.size), 1),
        "see (both of these, and light)": (lambda: view.see(scene), 1),
        "sensor, not compressed": (lambda: sensor.develop(picture.linear, bare, **noise), 1),
        "JPEG": (lambda: sensor.compressed(picture.rgb, 85), 1),
        "labels: normals, parts, visibility": (lambda: labels(view, picture, marks, tolerance), 1),
    }


def labels(view: View, picture: Picture, marks: Markers, tolerance: FloatArray) -> Any:
    """All that is worked out when asked for, anew."""
    fresh = replace(picture)
    return fresh.normal, fresh.part, view.visible(fresh, marks, 0, tolerance=tolerance)


def whole(person: Person, stage: Stage, views: list[View], motion: Motion) -> float:
    """Images per second of all of it: motion to skin, light, sensor and JPEG, every label."""
    how = [sensor.draw_sensor(1, v.camera.name) for v in views]
    before = time.process_time()
    surfaces, marks = person.posed(motion), person.landmarks(motion)
    tolerance = tolerances([v[0] for v in surfaces], marks)
    for frame in range(len(motion)):
        scene = stage.pose([v[frame] for v in surfaces])
        for view, one in zip(views, how, strict=True):
            picture = view.see(scene)
            sensor.develop(picture.linear, one, seed=1, camera=view.camera.name, frame=frame)
            labels(view, picture, marks[frame : frame + 1], tolerance)
    return len(motion) * len(views) / (time.process_time() - before)


def standing(person: Person, frames: int) -> Motion:
    """The bind pose again and again, at 60 frames/s: what moves costs the same."""
    bind = person.bind
    return replace(bind, time=np.arange(frames) / 60, values=np.repeat(bind.values, frames, axis=0))


def torch_beside(view: View, scene: Scene, device: str) -> tuple[dict[str, float], bool] | None:
    """Milliseconds of both rasterisers, and whether their pictures are equal; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    clock = time.process_time if device == "cpu" else time.perf_counter
    pixels, depth = lens.project(view.camera, scene.vertices)
    faces, size = scene.stage.faces, view.camera.size
    theirs = partial(render_torch.rasterise, pixels, depth, faces, size=size, device=device)
    mine = partial(render.rasterise, pixels, depth, faces, size=size)
    a, b = mine(), theirs()
    equal = all(np.array_equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    return {"numba": milliseconds(mine), f"torch, {device}": milliseconds(theirs, clock)}, equal


def measure(name: str, person: Person, device: str) -> dict[str, Any]:
    """All numbers of one kind of picture."""
    room = Room()
    stage = Stage([Actor(person.surfaces[0], {"skin": Material((0.5, 0.35, 0.25))})], room)
    motion = standing(person, 60 if PICTURES[name][1] else 10)
    began = time.process_time()
    views = [View(camera, room) for camera in cameras_of(*PICTURES[name])]
    ready = (time.process_time() - began) / len(views)
    scene = stage.pose([v[0] for v in person.posed(motion)])
    taken = {
        what: milliseconds(work) / count
        for what, (work, count) in stages_of(person, stage, views[0], motion).items()
    }
    beside = torch_beside(views[0], scene, device)
    return {
        "picture": name,
        "triangles": len(stage.faces),
        "covered": float((views[0].see(scene).person > 0).mean()),
        "view_seconds": ready,
        "stages_ms": taken,
        "images_per_second": whole(person, stage, views, motion),
        "rasterise_ms": None if beside is None else beside[0],
        "equal": None if beside is None else beside[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def show(found: dict[str, Any]) -> None:
    """Print one kind of picture."""
    print(
        f"\n{found['picture']}: {found['triangles']} triangles on {100 * found['covered']:.0f} % of it; "
        f"a view is ready in {found['view_seconds']:.2f} s"
    )
    for what, taken in found["stages_ms"].items():
        print(f"  {what:<45} {taken:7.2f} ms")
    if found["rasterise_ms"]:
        both = ", ".join(f"{what} {taken:.2f} ms" for what, taken in found["rasterise_ms"].items())
        print(f"  rasterisers: {both}; pictures {'equal' if found['equal'] else 'DIFFER'}")
    print(
        f"  whole generator, two cameras: {found['images_per_second']:.0f} images/s on one core; "
        f"peak memory so far {found['peak_mb']:.0f} MB"
    )


def main() -> int:
    """Measure and print; 1 if the rasterisers' pictures differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", help="of the torch rasteriser: cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    given = parser.parse_args()
    person = make_person(Phenotype())
    good = True
    if not given.json:
        print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for name in PICTURES:
        found = measure(name, person, given.device)
        print(json.dumps(found)) if given.json else show(found)
        good &= found["equal"] is not False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
