"""Draw where the anatomical landmarks lie on people of many builds, close up, for the documentation.

    python scripts/draw_landmarks.py docs/landmarks.png                # every view of three people
    python scripts/draw_landmarks.py sheet.png --people 14 --views pelvis_front foot_above

A row is a view, a column a person in the pose that mesh and model are bound in. A filled point is seen, a
ring lies behind the body; COCO's points are blue. Seen from so far away that nothing shrinks with distance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.values import FloatArray
from synthpose.body import Phenotype, asset, rest_vertices
from synthpose.person import mesh_landmarks
from synthpose.render import interpolate, normals, rasterise

RED, BLUE, INK = (40, 40, 200), (200, 90, 20), (60, 60, 60)  #: OpenCV's order: blue, green, red
SKIN, SUIT, PAPER = (176, 180, 184), (120, 104, 92), (255, 255, 255)
SUITED = {"pelvis", "femur_r", "femur_l", "torso"}  #: bodies that wear the suit (femora: their upper part)
BEHIND = 0.02  #: metres a landmark may lie under what a pixel sees and still count as seen
PEOPLE: tuple[tuple[str, Phenotype], ...] = (
    ("adult", Phenotype()),
    ("woman 35, BMI 22", Phenotype(sex=1, age=35, stature=1.64, bmi=22)),
    ("man 45, BMI 27", Phenotype(sex=0, age=45, stature=1.77, bmi=27)),
    ("child 5", Phenotype(sex=0.3, age=5, stature=1.10, bmi=15.5)),
    ("child 9", Phenotype(sex=0.8, age=9, stature=1.33, bmi=16.5)),
    ("girl 14", Phenotype(sex=1, age=14, stature=1.60, bmi=19.5)),
    ("man 25, muscular", Phenotype(sex=0, age=25, stature=1.84, bmi=26, muscle=0.95)),
    ("woman 28, thin", Phenotype(sex=1, age=28, stature=1.70, bmi=18, muscle=0.3)),
    ("woman 50, BMI 36", Phenotype(sex=1, age=50, stature=1.62, bmi=36)),
    ("man 55, BMI 36", Phenotype(sex=0, age=55, stature=1.74, bmi=36)),
    ("woman 82", Phenotype(sex=1, age=82, stature=1.55, bmi=25)),
    ("man 78, BMI 30", Phenotype(sex=0, age=78, stature=1.70, bmi=30)),
    ("knock-knees, left leg +3 cm", Phenotype(valgus=0.8, leg_difference=0.03)),
    ("bowed, tall", Phenotype(sex=0.2, age=60, stature=1.96, bmi=23, valgus=-0.7)),
)


@dataclass(frozen=True)
class Look:
    """A view of a part: towards which side one looks and what fills the picture.

    Attributes
    ----------
    forward, up : the direction from eye to person, and upwards in the picture
    about : landmark that the picture is centred on
    span : height of what it shows, as a share of stature
    words : a landmark is named if its name holds one of these
    """

    forward: tuple[float, float, float]
    up: tuple[float, float, float]
    about: str
    span: float
    words: tuple[str, ...]


FRONT, BACK, LEFT, INNER, UP = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0, 1, 0)
_FOOT = ("malleolus", "calcaneus", "metatarsal", "toe", "heel", "ankle")
VIEWS: dict[str, Look] = {
    "front": Look(FRONT, UP, "l2", 1.3, ()),
    "side": Look(LEFT, UP, "l2", 1.3, ()),
    "back": Look(BACK, UP, "l2", 1.3, ()),
    "pelvis_front": Look(FRONT, UP, "l2", 0.34, ("asis", "hip")),
    "pelvis_back": Look(BACK, UP, "l2", 0.34, ("psis", "l2")),
    "pelvis_side": Look(LEFT, UP, "l2", 0.34, ("asis", "psis", "l2", "hip")),
    "trunk_back": Look(BACK, UP, "t6", 0.40, ("c7", "t6", "t11", "l2", "acromion")),
    "shoulder_front": Look(FRONT, UP, "left_acromion", 0.26, ("acromion", "sternum", "shoulder")),
    "shoulder_side": Look(LEFT, UP, "left_acromion", 0.26, ("acromion", "shoulder", "c7")),
    "shoulder_above": Look((0, -1, 0), (1, 0, 0), "left_acromion", 0.26, ("acromion", "sternum", "c7")),
    "elbow_front": Look(FRONT, UP, "left_humerus_lateral_epicondyle", 0.16, ("humerus", "elbow")),
    "elbow_back": Look(BACK, UP, "left_humerus_lateral_epicondyle", 0.16, ("humerus", "elbow")),
    "wrist_front": Look(FRONT, UP, "left_ulnar_styloid", 0.14, ("styloid", "wrist")),
    "wrist_back": Look((0.3, -0.3, 1), UP, "left_ulnar_styloid", 0.14, ("styloid", "wrist")),
    "knee_front": Look(FRONT, UP, "left_femur_lateral_epicondyle", 0.16, ("femur", "knee")),
    "knee_side": Look(LEFT, UP, "left_femur_lateral_epicondyle", 0.16, ("femur", "knee")),
    "ankle_front": Look(FRONT, UP, "left_lateral_malleolus", 0.16, _FOOT),
    "foot_side": Look(LEFT, UP, "left_lateral_malleolus", 0.19, _FOOT),
    "foot_inner": Look((-0.5, -0.3, -1), UP, "left_lateral_malleolus", 0.19, _FOOT),
    "foot_above": Look((-0.5, -1, 0), (1, 0, 0), "left_lateral_malleolus", 0.24, _FOOT),
    "heel_back": Look(BACK, UP, "left_lateral_malleolus", 0.15, _FOOT),
    "face": Look(FRONT, UP, "nose@coco", 0.18, ("nose", "eye", "ear")),
    "face_side": Look(LEFT, UP, "nose@coco", 0.18, ("nose", "eye", "ear")),
}  # fmt: skip
#: the documentation's sheet shows these people
SHOWN = ("adult", "child 5", "woman 50, BMI 36")


def draw(phenotype: Phenotype, look: Look, *, size: int = 300) -> Any:
    """(size, size, 3) bytes: one person in one view."""
    import cv2

    count = asset().body_vertices
    rest = rest_vertices(phenotype)
    body, there = rest[:count], mesh_landmarks(rest)
    forward = np.array(look.forward) / np.linalg.norm(look.forward)
    right = np.cross(forward, look.up)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    centre = there[look.about]
    scale = size / (look.span * phenotype.stature)

    def seen(points: FloatArray) -> tuple[FloatArray, FloatArray]:
        from_centre = points - centre
        at = scale * np.stack([from_centre @ right, from_centre @ down], axis=-1) + size / 2
        return at, from_centre @ forward + 10.0

    faces = asset().faces["body"]
    at, depth = seen(body)
    buffers = rasterise(at, depth, faces, size=(size, size))
    colours = np.where(_suited()[:, None], SUIT, SKIN) / 255.0
    both = interpolate(buffers, faces, np.hstack([normals(body, faces), colours]))
    light = -0.8 * forward - 0.5 * down + 0.35 * right
    shade = 0.25 + 0.75 * np.clip(both[..., :3] @ (light / np.linalg.norm(light)), 0, 1)
    there_is = buffers.face_hw >= 0
    image = np.where(there_is[..., None], 255 * both[..., 3:] * shade[..., None], PAPER).astype(np.uint8)
    for name, place in there.items():
        (x, y), z = (part[0] for part in seen(place[None]))
        if not (0 <= x < size and 0 <= y < size):
            continue
        colour = BLUE if name.endswith("@coco") else RED
        column, row = round(float(x)), round(float(y))
        visible = z < buffers.depth_hw[min(row, size - 1), min(column, size - 1)] + BEHIND
        cv2.circle(image, (column, row), 3, colour, -1 if visible else 1, cv2.LINE_AA)
        if visible and any(word in name for word in look.words):
            words = name.removeprefix("left_").removesuffix("@coco").replace("_", " ")
            for ink, thick in ((PAPER, 3), (INK, 1)):
                cv2.putText(image, words, (column + 5, row + 3), 0, 0.3, ink, thick, cv2.LINE_AA)
    return image


def _suited() -> Any:
    """(V,) whether a vertex of the body wears the suit."""
    a = asset()
    main = np.array(a.bodies)[a.bones_vk[: a.body_vertices, 0]]
    height = a.mean_v3[: a.body_vertices, 1] - a.mean_v3[: a.body_vertices, 1].min()
    height /= height.max()
    return np.isin(main, list(SUITED)) & (height > 0.43) & (height < 0.78)


def sheet(people: Sequence[tuple[str, Phenotype]], views: Sequence[str], *, size: int = 300) -> Any:
    """All views of all people as one picture, with names along the edges."""
    import cv2

    rows = []
    for view in views:
        row = [draw(phenotype, VIEWS[view], size=size) for _, phenotype in people]
        for image, (name, _) in zip(row, people, strict=True):
            for ink, thick in ((PAPER, 3), (INK, 1)):
                cv2.putText(image, f"{view} - {name}", (4, 11), 0, 0.35, ink, thick, cv2.LINE_AA)
            cv2.rectangle(image, (0, 0), (size - 1, size - 1), (220, 220, 220), 1)
        rows.append(np.hstack(row))
    return np.vstack(rows)


def main(words: Sequence[str] | None = None) -> int:
    """Draw, write."""
    import cv2

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("output", type=Path)
    parser.add_argument("--people", type=int, default=0, help="how many people (default: the sheet's three)")
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=list(VIEWS), metavar="VIEW")
    parser.add_argument("--size", type=int, default=300, help="pixels of a picture")
    chosen = parser.parse_args(words)
    people = PEOPLE[: chosen.people] if chosen.people else [p for p in PEOPLE if p[0] in SHOWN]
    if not cv2.imwrite(str(chosen.output), sheet(people, chosen.views, size=chosen.size)):
        raise SystemExit(f"Expected a PNG that can be written, got {chosen.output}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
