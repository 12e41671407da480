"""A made-up laboratory: one subject walks in front of two cameras; every number is known.

The markers are those of a stick person who walks along x at 1.2 m/s, y up, z to the right. The cameras stand
3 m in front and behind, aside, and look at the middle of the walk. Tests take a good lab and spoil one thing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohorts import Camera, Markers, Motion
from cohorts.formats import write

RATE, FILM, SECONDS = 100, 50, 1.2
SIZE = (72, 128)
#: name -> place in the pelvis' moving frame, metres
STICK = {
    "L.ASIS": (0.12, 0.0, -0.12), "R.ASIS": (0.12, 0.0, 0.12),
    "L.PSIS": (-0.10, 0.02, -0.05), "R.PSIS": (-0.10, 0.02, 0.05),
    "L_Shoulder": (0.0, 0.5, -0.18), "R_Shoulder": (0.0, 0.5, 0.18),
    "L_knee": (0.0, -0.45, -0.14), "R_knee": (0.0, -0.45, 0.14),
    "L_ankle": (0.0, -0.85, -0.13), "R_ankle": (0.0, -0.85, 0.13),
    "L_calc": (-0.06, -0.90, -0.1), "R_calc": (-0.06, -0.90, 0.1),
    "L_toe": (0.16, -0.92, -0.11), "R_toe": (0.16, -0.92, 0.11),
    "C7": (-0.08, 0.55, 0.0),
}  # fmt: skip
YAML = """\
name: made-up-lab
title: One subject walks
subjects:
  s01: {mass: 70.5, height: 1.75, sex: female, age_band: 20-29}
layout:
  videos: "{subject}/{camera}/{trial}.avi"
  calibrations: "{subject}/rig.toml"
  markers: "{subject}/mocap/{trial}.trc"
  motion: "{subject}/ik/{trial}.mot"
  extras:
    model: "{subject}/model.osim"
activities:
  walking: "walk*"
up: +y
floor: 0.0
"""


def pelvis(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 3) where the pelvis is: forward at 1.2 m/s, with three quick hops at uneven times."""
    hops = sum(0.3 * np.exp(-(((time - at) / 0.06) ** 2)) for at in (0.25, 0.5, 0.95))
    return np.stack([1.2 * time - 0.7, 0.95 + hops, 0 * time], axis=1)


def markers() -> Markers:
    """The stick person's markers at 100 Hz."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    xyz = pelvis(time)[:, None] + np.array(list(STICK.values()))
    return Markers(time, tuple(STICK), xyz)


def motion() -> Motion:
    """Joint angles that fit the markers' pelvis."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    names = ("pelvis_tilt", "pelvis_tx", "pelvis_ty", "pelvis_tz", "knee_angle_r")
    knee = 0.4 + 0.3 * np.sin(5 * time)
    return Motion(time, names, np.column_stack([0.05 * np.sin(4 * time), pelvis(time), knee]))


def camera(name: str, place: tuple[float, float, float], size: tuple[int, int] = SIZE) -> Camera:
    """A camera at ``place`` that looks at (0, 0.9, 0), upright."""
    centre = np.array(place)
    ahead = np.array([0, 0.9, 0]) - centre
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 1.0, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    matrix = np.array([[90.0, 0, (size[0] - 1) / 2], [0, 90.0, (size[1] - 1) / 2], [0, 0, 1]])
    return Camera(name, matrix, rotation, -rotation @ centre, size)


def rig() -> tuple[Camera, ...]:
    """The two good cameras."""
    return camera("camA", (2.8, 1.2, 2.0)), camera("camB", (2.6, 1.2, -2.2))


def film(path: Path, seen: Camera, *, late: int = 0, frames: int | None = None) -> None:
    """A video of the markers as white dots, ``late`` frames after the markers' own time."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    time = (np.arange(frames or round(SECONDS * FILM)) - late) / FILM
    places = pelvis(time)[:, None] + np.array(list(STICK.values()))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FILM, seen.size)
    assert writer.isOpened()
    for points in seen.project(places):
        picture = np.full((seen.size[1], seen.size[0], 3), 40, np.uint8)
        for x, y in points.round().astype(int).tolist():
            cv2.circle(picture, (x, y), 2, (230, 230, 230), -1)
        writer.write(picture)
    writer.release()


def add_phantoms(path: Path, count: int) -> None:
    """Make the header of an AVI count ``count`` frames too many.

    The fifth number of the main header and the ninth of the stream's are frame counts (Microsoft's AVI RIFF
    reference: dwTotalFrames, dwLength).
    """
    data = bytearray(path.read_bytes())
    for mark, number in ((b"avih", 4), (b"strh", 8)):
        at = data.index(mark) + 8 + 4 * number
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + count).to_bytes(4, "little")
    path.write_bytes(data)


def make_lab(folder: Path, *, videos: bool = True) -> Path:
    """A good lab below ``folder``: nothing is wrong with it."""
    lab = folder / "lab"
    person = lab / "s01"
    for part in ("mocap", "ik"):
        (person / part).mkdir(parents=True)
    (lab / "capbench.yaml").write_text(YAML, encoding="utf-8")
    (person / "model.osim").write_text("<OpenSimDocument Version='40000'/>", encoding="utf-8")
    write(person / "mocap" / "walk1.trc", markers())
    write(person / "ik" / "walk1.mot", motion())
    if videos:
        write(person / "rig.toml", rig())
        for seen in rig():
            film(person / seen.name / "walk1.avi", seen)
    return lab
