"""A person who walks, squats or stands in closed form, and what cameras see of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cohorts.camera import Camera
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton
from synthpose.rig import AZIMUTHS, phone_rig

PAIRED = {  # x forward, y up, z to the right, metres, of the right side of a person of 1.75 m
    "ear": (0.0, 1.62, 0.08), "shoulder": (0.0, 1.42, 0.19), "elbow": (0.0, 1.12, 0.24),
    "wrist": (0.05, 0.87, 0.26), "hip": (0.0, 0.95, 0.09), "asis": (0.08, 1.0, 0.12),
    "psis": (-0.09, 1.02, 0.05), "knee": (0.02, 0.52, 0.10), "ankle": (0.0, 0.09, 0.10),
    "heel": (-0.05, 0.04, 0.10), "big_toe": (0.16, 0.03, 0.12), "fifth_metatarsal_head": (0.1, 0.03, 0.16),
}  # fmt: skip
MIDDLE = {"nose": (0.1, 1.6, 0.0), "sternum": (0.08, 1.35, 0.0), "c7": (-0.08, 1.45, 0.0)}
LEG = {"knee": 0.45, "ankle": 0.9, "heel": 0.9, "big_toe": 0.9, "fifth_metatarsal_head": 0.9}
ARM = {"elbow": 0.3, "wrist": 0.55}
SIDES = ("left", "right")
BODY = Skeleton(
    "test-body",
    (*(f"{side}_{name}" for name in PAIRED for side in SIDES), *MIDDLE),
    landmarks=(*(f"{side}_{name}" for name in PAIRED for side in SIDES), *MIDDLE),
    flip_pairs=tuple((f"left_{name}", f"right_{name}") for name in PAIRED),
)


def person(time: np.ndarray, what: str = "walk", *, speed: float = 1.2, pace: float = 0.9) -> np.ndarray:
    """(T, K, 3) metres in the ground frame at any times (seconds)."""
    t = np.asarray(time, float)[:, None]
    points = np.array(
        [[x, y, z if side == "right" else -z] for x, y, z in PAIRED.values() for side in SIDES]
        + list(MIDDLE.values())
    )
    xyz = np.repeat(points[None], len(t), axis=0)
    if what == "walk":
        xyz[..., 0] += speed * (t - 1.0)
        xyz[..., 1] += 0.02 * np.sin(4 * np.pi * pace * t)
        for k, name in enumerate(BODY.points[: 2 * len(PAIRED)]):
            side, _, part = name.partition("_")
            phase = 2 * np.pi * pace * t[:, 0] + (0 if side == "right" else np.pi)
            xyz[:, k, 0] += 0.35 * LEG.get(part, 0.0) * np.sin(phase) - 0.4 * ARM.get(part, 0.0) * np.sin(
                phase
            )
            lift = np.clip(np.cos(phase), 0, None) ** 2
            xyz[:, k, 1] += 0.12 * LEG.get(part, 0.0) * lift
    elif what == "squat":  # repetitions that differ a little from each other, or ("squats alike") don't
        down = 0.2 * (1 - np.cos(2 * np.pi * 0.7 * t + 0.6 * np.sin(0.9 * t)))
        _sink(xyz, down)
    elif what == "squats alike":
        _sink(xyz, 0.2 * (1 - np.cos(2 * np.pi * 1.0 * t)))
    return xyz


def _sink(xyz: np.ndarray, down: np.ndarray) -> None:
    for k, name in enumerate(BODY.points):
        part = name.partition("_")[2] if name in BODY.points[: 2 * len(PAIRED)] else name
        share = {"ankle": 0.0, "heel": 0.0, "big_toe": 0.0, "fifth_metatarsal_head": 0.0, "knee": 0.5}
        xyz[:, k, 1] -= share.get(part, 1.0) * down[:, 0]
        xyz[:, k, 0] += (0.5 if part == "knee" else 0.0) * down[:, 0]


def rig(names: list[str] | tuple[str, ...] = ("Cam1", "Cam3"), **options: object) -> dict[str, Camera]:
    return {camera.name: camera for camera in phone_rig(list(names), **options)}  # type: ignore[arg-type]


FIVE = tuple(AZIMUTHS)


def filmed(
    cameras: Mapping[str, Camera],
    what: str = "walk",
    *,
    noise: float = 0.0,
    bias: float = 0.0,
    seconds: float = 2.0,
    rate: float = 60.0,
    rates: Mapping[str, float] | None = None,
    offsets: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Keypoints]:
    """What each camera's detector says; a clock that is ahead by ``offsets`` seconds starts at that time.

    ``noise``: pixels, new in every frame; ``bias``: pixels, of each point in each camera, through the trial.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, camera in cameras.items():
        time = np.arange(round(seconds * (rates or {}).get(name, rate))) / (rates or {}).get(name, rate)
        xy = camera.project(person(time, what))
        xy = xy + noise * random.normal(size=xy.shape) + bias * random.normal(size=(1, *xy.shape[1:]))
        found[name] = Keypoints(name, time + (offsets or {}).get(name, 0.0), xy, BODY)
    return found


def without(
    track: Keypoints, frames: slice | np.ndarray, points: slice | list[int] = slice(None)
) -> Keypoints:
    """The track with samples missing."""
    xy, confidence = track.xy.copy(), track.confidence.copy()
    xy[frames, points], confidence[frames, points] = np.nan, 0.0
    return replace(track, xy=xy, confidence=confidence)
