"""A made-up person for ``capbench models check``: from the front and from behind, with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import replacing
from cohorts.skeleton import Skeleton, skeleton
from cohorts.values import FloatArray

if TYPE_CHECKING:
    from capbench.models.card import ModelCard
    from capbench.models.predictor import Predicted

SIZE = (270, 480)  #: pixels of a picture
AZIMUTHS = {"front": 20.0, "back": 200.0, "left": 70.0, "right": -60.0}  #: degrees round the person


class Posed(NamedTuple):
    """One person in n pictures: (n, h, w, 3) RGB, boxes (n, 4) and points (n, K, 2) in pixels."""

    pictures: NDArray[np.uint8]
    boxes: FloatArray
    truth: FloatArray
    skeleton: Skeleton


def posed_person() -> Posed:
    """Somebody who stands, seen from four sides; always the same."""
    from cohorts.card import builtin_card
    from synthpose import sensor
    from synthpose.clinic import cast_of
    from synthpose.motion import make_motion, sole_points
    from synthpose.recipe import plan, recipe_of
    from synthpose.rig import phone_rig
    from synthpose.room import draw_room
    from synthpose.scene import Stage, View

    who = plan(recipe_of(builtin_card("clinic-mini")))[0]
    cast = cast_of(who)
    person = cast.person
    walk = make_motion("gait", person.model, seed=1, rate=20, sole=sole_points(person))
    middle = len(walk) // 2
    walk = walk[middle : middle + 1]
    points = skeleton("synthpose-52")
    landmarks = person.landmarks(walk).select(points.points)
    room = draw_room(who.seed, "room")
    stature = person.phenotype.stature
    cameras = phone_rig(
        tuple(AZIMUTHS),
        azimuths=AZIMUTHS,
        distance=2.2,
        height=0.7 * stature,
        target=tuple(landmarks.xyz[0].mean(axis=0)),
        size=SIZE,
    )
    scene = Stage(cast.actors(1), room).pose([vertices[0] for vertices in person.posed(walk)])
    pictures, truth = [], []
    for camera in cameras:
        phone = sensor.draw_sensor(1, camera.name)
        shot = View(camera, room).see(scene)
        pictures.append(sensor.develop(shot.linear, phone, seed=1, camera=camera.name, frame=0))
        truth.append(camera.project(landmarks.xyz)[0])
    xy = np.array(truth)
    low, high = xy.min(axis=1), xy.max(axis=1)
    tall = (high - low)[:, 1:]  # the landmarks end at the eyes and the toes
    boxes = np.concatenate([low - tall * [0.06, 0.12], high + tall * [0.06, 0.04]], axis=1)
    return Posed(np.stack(pictures), boxes, xy, points)


def draw(path: Path, person: Posed, found: Predicted, card: ModelCard, *, force: bool = False) -> None:
    """A PNG of the pictures side by side: boxes, limbs, the person's left in red and right in blue."""
    import cv2

    scale = 2
    colours = {"left": (60, 60, 230), "right": (230, 120, 40), "middle": (40, 200, 40)}  # blue, green, red
    points = card.points
    sheets = []
    for picture, box, xy in zip(person.pictures, person.boxes, found.points, strict=True):
        sheet = cv2.resize(picture[..., ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        spots = [tuple(int(v) for v in scale * p) if np.isfinite(p).all() else None for p in xy[:, :2]]
        corners = [int(scale * v) for v in box]
        cv2.rectangle(sheet, corners[:2], corners[2:], (200, 200, 200), 1)
        for a, b in points.limbs:
            one, other = spots[points.index(a)], spots[points.index(b)]
            if one is not None and other is not None:
                cv2.line(sheet, one, other, (220, 220, 220), 1, cv2.LINE_AA)
        for spot, side in zip(spots, points.sides, strict=True):
            if spot is not None:
                cv2.circle(sheet, spot, 4, colours[side], -1, cv2.LINE_AA)
        sheets.append(sheet)
    with replacing(path, overwrite=force) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.concatenate(sheets, axis=1))[1].tobytes())
