"""What heads wear: hair, beards, brows, glasses; eyes and lips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cohorts.values import FloatArray, IntArray
from synthpose.body import asset
from synthpose.garments import Wearer, nobody, surface
from synthpose.mesh import Surface
from synthpose.person import mesh_landmarks
from synthpose.solids import Solid, ellipsoid, hoop, joined, rod, strip
from synthpose.tailor import (
    EYE,
    TONGUE,
    Sheet,
    body_fields,
    carried,
    hull_rings,
    piece,
    ripples,
    skin_vertices,
    soft_normals,
)


@dataclass(frozen=True)
class Style:
    """A way to wear hair: how thick (m) the cap is, how far strands fall (m below the ears), what is tied."""

    thick: float
    rough: float = 0.0
    fall: float = 0.0
    tied: str = ""


STYLES = {
    "bald": Style(0.0),
    "buzz": Style(0.003),
    "short": Style(0.014, 0.008),
    "full": Style(0.024, 0.014),
    "curls": Style(0.042, 0.016),
    "bob": Style(0.016, 0.004, fall=0.09),
    "long": Style(0.016, 0.004, fall=0.27),
    "bun": Style(0.010, 0.002, tied="bun"),
    "ponytail": Style(0.010, 0.002, tied="ponytail"),
}


def _patch(w: Wearer, field: str, height: FloatArray | float, ease: float) -> tuple[Sheet, FloatArray]:
    """A patch of the skin lifted by a height (m) that it reaches ``ease`` metres from its border."""
    sheet = piece(((field, 0.0, True),), fine=False)
    place = carried(sheet.shares_nv, w.rest_v3)
    normal = soft_normals(place, sheet.faces_f3, 6)
    rise = np.clip(sheet.fields[field] / ease, 0.0, 1.0)
    rise = rise * (2 - rise)
    return sheet, place + normal * (w.size * (0.001 + rise * height))[:, None]


def _on_head(count: int) -> FloatArray:
    shares = np.zeros((count, len(asset().bodies)))
    shares[:, asset().bodies.index("head")] = 1.0
    return shares


def cap(w: Wearer, style: Style, seed: int) -> Surface:
    """Hair over the scalp."""
    sheet = piece((("scalp", 0.0, True),), fine=False)
    waves = ripples(sheet.canonical_v3, np.array([60.0, 60.0, 60.0]), seed)
    _, place = _patch(w, "scalp", style.thick + style.rough * (waves - 0.4), 0.035)
    shares = carried(sheet.shares_nv, w.shares_vb)
    return surface("hair", place, sheet.canonical_v3, sheet.faces_f3, shares, ("hair",))


FALL_RINGS, FALL_AROUND = 14, 33


def _fall_places(w: Wearer, style: Style) -> FloatArray:
    """(rings, around, 3) a curtain of hair from the back of the head downward, outside neck and back."""
    f, at = body_fields(), mesh_landmarks(w.rest_v3)
    ear = (at["left_ear@coco"] + at["right_ear@coco"]) / 2
    levels = np.linspace(ear[1] + 0.045 * w.size, ear[1] - style.fall * w.size, FALL_RINGS)
    down = np.linspace(0.0, 1.0, FALL_RINGS)[:, None]
    below = np.maximum(ear[1] - levels, 0.0)[:, None] / w.size
    half = np.radians(108.0 - 50.0 * np.clip(below / 0.22, 0, 1))
    angles = np.pi + half * np.linspace(1, -1, FALL_AROUND)
    head = w.rest_v3[f["scalp"] > 0.0][:, [1, 0, 2]]
    whole = np.linspace(0, 2 * np.pi, 145)
    skull = hull_rings(head, levels, whole, np.repeat(ear[None, [0, 2]], FALL_RINGS, axis=0), hanging=True)
    radius = np.array([np.interp(a % (2 * np.pi), whole, r) for a, r in zip(angles, skull, strict=True)])
    radius = radius * (1 - 0.22 * np.clip(below / 0.10, 0, 1)) + 0.012 * w.size * np.minimum(1, 3 * down)
    body = w.rest_v3[(f["limb"] < 0.5) & (f["scalp"] <= 0.0) & (np.abs(f["side"]) < 0.12)]
    radius = np.maximum(radius, _about(body - ear, levels - ear[1], angles, 0.02 * w.size) + 0.012 * w.size)
    for _ in range(2):
        radius[1:-1] = np.maximum(radius[1:-1], (radius[:-2] + radius[2:]) / 2)
    x, z = ear[0] + radius * np.cos(angles), ear[2] + radius * np.sin(angles)
    return np.stack([x, np.broadcast_to(levels[:, None], x.shape), z], axis=-1)


def _about(body: FloatArray, levels: FloatArray, angles: FloatArray, reach: float) -> FloatArray:
    """(J, K) metres from the vertical through the origin to the farthest of a body's points near a direction.

    Near: within ``reach`` metres of height and 12 degrees. Then smoothed along each level.
    """
    way, far = np.arctan2(body[:, 2], body[:, 0]), np.hypot(body[:, 0], body[:, 2])
    found = np.zeros(angles.shape)
    for j, level in enumerate(levels):
        near = np.abs(body[:, 1] - level) < reach
        turn = np.abs((angles[j][:, None] - way[None, near] + np.pi) % (2 * np.pi) - np.pi)
        if near.any():
            found[j] = np.where(turn < 0.21, far[near], 0.0).max(axis=1)
    for _ in range(3):
        found[:, 1:-1] = (found[:, :-2] + 2 * found[:, 1:-1] + found[:, 2:]) / 4
    return found


def fall(w: Wearer, style: Style) -> Surface:
    """Hair that falls behind the ears; the head carries it, the trunk its lower end."""
    place = _fall_places(w, style)
    shares = _on_head(place.shape[0] * place.shape[1])
    ear = w.rest_v3[body_fields()["scalp"] > 0.0][:, 1].mean() - 0.05 * w.size
    low = 0.6 * np.clip((ear - 0.08 * w.size - place[..., 1].ravel()) / (0.15 * w.size), 0.0, 1.0)
    shares *= 1 - low[:, None]
    shares[:, asset().bodies.index("torso")] = low
    faces = strip(FALL_RINGS, FALL_AROUND, closed=False)[:, ::-1]
    canonical = _fall_places(nobody(), style).reshape(-1, 3)
    return surface("fall", place.reshape(-1, 3), canonical, faces, shares, ("hair",))


def _solids(name: str, parts: Sequence[Solid], material: str) -> Surface:
    vertices, faces, _ = joined(parts)
    return surface(name, vertices, vertices, faces, _on_head(len(vertices)), (material,))


def tied(w: Wearer, what: str) -> Surface:
    """A bun or a ponytail at the back of the head."""
    scalp = w.rest_v3[body_fields()["scalp"] > 0.0]
    back = scalp[scalp[:, 0].argmin()]
    top = scalp[:, 1].max()
    s = w.size
    root = np.array([back[0] - 0.004 * s, 0.45 * back[1] + 0.55 * top, back[2]])
    if what == "bun":
        return _solids("tied", [ellipsoid(root, np.array([0.034, 0.036, 0.040]) * s)], "hair")
    steps = np.array([[0.02, 0, 0], [-0.018, 0.008, 0], [-0.042, -0.01, 0], [-0.048, -0.06, 0],
                      [-0.04, -0.13, 0], [-0.036, -0.19, 0]])  # fmt: skip
    radii = np.array([0.016, 0.015, 0.021, 0.026, 0.021, 0.007]) * s
    return _solids("tied", [rod(list(root + s * steps), radii, sides=12)], "hair")


def _eye_centres(w: Wearer) -> tuple[FloatArray, FloatArray, float]:
    """Centres of the eyes and their radius, metres."""
    first = len(w.rest_v3) - 2 * EYE
    eyes = [w.rest_v3[first + k * EYE : first + (k + 1) * EYE] for k in (0, 1)]
    centres = [e.mean(axis=0) for e in eyes]
    return centres[0], centres[1], float(np.ptp(eyes[0][:, 1]) / 2)


def _beside(w: Wearer, ear: FloatArray, hinge: FloatArray, out: float) -> float:
    """Metres from the middle at which a temple passes the side of the head."""
    v = w.rest_v3[: skin_vertices()]
    near = (np.abs(v[:, 1] - hinge[1]) < 0.012 * w.size) & (v[:, 0] > ear[0] + 0.014 * w.size)
    return float((out * v[near, 2]).max() + 0.003 * w.size)


def glasses(w: Wearer) -> Surface:
    """Two rims, a bridge and temples."""
    one, two, radius = _eye_centres(w)
    at = mesh_landmarks(w.rest_v3)
    parts: list[Solid] = []
    wire = 0.0016 * w.size
    front = max(one[0], two[0]) + radius + 0.009 * w.size
    for centre, side in ((one, "left"), (two, "right")):
        ear = at[f"{side}_ear@coco"]
        out = np.sign(centre[2])
        middle = np.array([front, centre[1] - 0.15 * radius, centre[2] + 0.2 * radius * out])
        parts.append(hoop(middle, [0, 0, 1.35 * radius], [0, 1.2 * radius, 0], wire))
        hinge = middle + np.array([0, 0.5 * radius, 1.5 * radius * out])
        bend = [0.35 * front + 0.65 * ear[0], hinge[1], out * _beside(w, ear, hinge, out)]
        temple = [
            hinge,
            [hinge[0] - 0.01, hinge[1], bend[2]],
            bend,
            np.array([ear[0] - 0.012, hinge[1] - 0.006, bend[2]]),
        ]
        parts.append(rod(temple, wire, sides=6))
    inner = [np.array([front, c[1] + 0.1 * radius, c[2] - 1.1 * radius * np.sign(c[2])]) for c in (one, two)]
    parts.append(rod([inner[0], (inner[0] + inner[1]) / 2 + [0.003, 0.004, 0], inner[1]], wire, sides=6))
    return _solids("glasses", parts, "frame")


def growth(w: Wearer, field: str, name: str, height: float) -> Surface:
    """A beard or brows: a patch of skin, lifted a little."""
    sheet, place = _patch(w, field, height, 0.012)
    shares = carried(sheet.shares_nv, w.shares_vb)
    return surface(
        name, place, sheet.canonical_v3, sheet.faces_f3, shares, ("hair" if name == "beard" else "brow",)
    )


FACE = ("skin", "lips", "eye", "iris")


def face_materials(faces: IntArray) -> IntArray:
    """Which of ``FACE`` each face of the body's own surface is."""
    v = asset().mean_v3
    middle = v[faces].mean(axis=1)
    made = np.zeros(len(faces), np.int64)
    mouth = mesh_landmarks(v)["nose@coco"] - [0.0, 0.0345, 0.0]
    across = np.abs(middle[:, 2]) / 0.024
    lips = (np.abs(middle[:, 1] - mouth[1]) < 0.0095 * np.sqrt(np.maximum(1 - across**2, 0.0))) & (across < 1)
    made[lips & (middle[:, 0] > mouth[0] - 0.03) & (faces[:, 0] < skin_vertices())] = 1
    eye = faces[:, 0] >= skin_vertices() + TONGUE
    made[eye] = 2
    first = skin_vertices() + TONGUE
    for k in (0, 1):
        ball = v[first + k * EYE : first + (k + 1) * EYE]
        way = middle - ball.mean(axis=0)
        ahead = way[:, 0] / np.sqrt(np.einsum("fi,fi->f", way, way))
        own = (faces[:, 0] >= first + k * EYE) & (faces[:, 0] < first + (k + 1) * EYE)
        made[own & (ahead > 0.90)] = 3
    return made
