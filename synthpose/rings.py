"""Garments made of rings round a body: skirts that hang outside both legs, shoes and socks round a foot."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from cohorts.values import FloatArray, IntArray
from synthpose.body import asset
from synthpose.garments import Fit, Wearer, nobody, surface, trunk
from synthpose.mesh import Surface
from synthpose.solids import capped, strip
from synthpose.tailor import LEG, BoolArray, body_fields, collar_ramp, hull_rings, ripples, smoother


def borrowed(w: Wearer, places: FloatArray, of: BoolArray, reach: float, count: int = 16) -> FloatArray:
    """(N, B) weights as the nearest of some of the body's vertices have them, blended over a reach (m)."""
    ids = np.flatnonzero(of)
    found = cKDTree(w.rest_v3[ids]).query(places, k=count)
    distance, near = np.asarray(found[0]), np.asarray(found[1])
    closeness = np.exp(-0.5 * ((distance - distance[:, :1]) / reach) ** 2)
    closeness /= closeness.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkb->nb", closeness, w.shares_vb[ids[near]]))


@dataclass(frozen=True)
class Skirt:
    """A skirt: from a height at the trunk (canonical metres) to a level along the legs."""

    top: float = 0.10
    hem: float = 0.9
    flare: float = 0.05
    fit: Fit = field(default_factory=Fit)


RINGS, AROUND = 26, 72


def skirt_places(w: Wearer, skirt: Skirt) -> FloatArray:
    """(rings, around, 3) metres."""
    f = body_fields()
    body = trunk(w)
    on = (f["limb"] < 0.5) & (np.abs(f["height"] - skirt.top) < 0.02)
    top = float(w.rest_v3[on, 1].mean())
    ends = [(w.at[f"{j}_r"][1] + w.at[f"{j}_l"][1]) / 2 for j in LEG]
    hem = float(np.interp(skirt.hem, [0, 1, 2], ends))
    levels = np.linspace(top, hem, RINGS)
    angles = 2 * np.pi * np.arange(AROUND) / AROUND
    hips = (w.at["hip_r"] + w.at["hip_l"]) / 2
    waist = w.rest_v3[on].mean(axis=0)
    centre = np.stack([np.interp(levels, [hips[1], top], [hips[k], waist[k]]) for k in (0, 2)], axis=1)
    centre[levels < hips[1]] = hips[[0, 2]]
    first = body[:, 0] <= top + 0.03 * w.size
    radius = hull_rings(body[first], levels, angles, centre, hanging=True)
    down = np.linspace(0.0, 1.0, RINGS)[:, None]
    fit = skirt.fit
    wave = ripples(
        np.stack([3 * np.cos(angles), np.zeros(AROUND), 3 * np.sin(angles)], axis=1), np.ones(3), fit.seed
    )
    ease = fit.gap * np.minimum(1.0, 0.15 + 5 * down)
    radius = radius + w.size * (ease + skirt.flare * down**1.2 + fit.fold * down * 2 * wave)
    return np.stack(
        [
            centre[:, :1] + radius * np.cos(angles),
            np.broadcast_to(levels[:, None], radius.shape),
            centre[:, 1:] + radius * np.sin(angles),
        ],
        axis=-1,
    )


def make_skirt(w: Wearer, skirt: Skirt, material: str) -> Surface:
    """The lower part of a skirt, dress or gown: rings from the trunk down, outside all they pass."""
    rest = skirt_places(w, skirt).reshape(-1, 3)
    f = body_fields()
    shares = borrowed(w, rest, (f["limb"] < 0.5) & (f["leg"] < 1.6) & (f["neck"] < 0), 0.035 * w.size, 24)
    faces = strip(RINGS, AROUND)
    mean = smoother(faces, len(rest))
    for _ in range(6):
        shares = 0.5 * shares + 0.5 * (mean @ shares)
    return surface("skirt", rest, skirt_places(nobody(), skirt).reshape(-1, 3), faces, shares, (material,))


@dataclass(frozen=True)
class Shoe:
    """A shoe or a sock as a foot's outline: sole and stuff in metres, collar in heights of the malleoli."""

    sole: float = 0.02
    stuff: float = 0.005
    collar: float = 0.95
    welt: float = 0.004


HALF = 20  #: of a shoe's vertices on each ring's half


def _shoe_angles() -> FloatArray:
    """(K,) radians about the ankle's vertical, so that a sole of common shape is evenly divided."""
    t = np.linspace(0, 1, 241)
    outline = np.stack([0.05 + 0.125 * np.cos(np.pi * t), 0.048 * np.sin(np.pi * t) ** 0.8], axis=1)
    length = np.concatenate([[0], np.cumsum(np.sqrt((np.diff(outline, axis=0) ** 2).sum(axis=1)))])
    half = np.interp(np.linspace(0, length[-1], HALF + 1), length, np.arctan2(outline[:, 1], outline[:, 0]))
    return np.concatenate([half[:-1], 2 * np.pi - half[:0:-1]])


@cache
def _foot_edges(side: str) -> tuple[IntArray, IntArray]:
    """Both ends of each of the body's edges about a foot; what lies between counts for its outline too."""
    f = body_fields()
    own = (f["leg_r" if side == "r" else "leg_l"] > 1.2) & (f["foot"] < 2.2)
    faces = asset().faces["body"]
    faces = faces[own[faces].all(axis=1)]
    return faces.ravel(), np.roll(faces, -1, axis=1).ravel()


def shoe_places(w: Wearer, shoe: Shoe, side: str) -> tuple[FloatArray, int]:
    """(rings, around, 3) metres from the sole's edge up to the collar; how many are the sole's."""
    ankle = w.at[f"ankle_{side}"]
    malleoli = ankle[1] - w.floor
    one, other = _foot_edges(side)
    points = np.concatenate([w.rest_v3[one], (w.rest_v3[one] + w.rest_v3[other]) / 2])
    rise = collar_ramp(points[:, 0] - ankle[0], w.size)
    tall = shoe.collar * malleoli
    levels = np.concatenate([np.linspace(0, 0.55, 7), np.linspace(0.64, 1, 5)]) * tall
    angles = _shoe_angles()
    centre = np.repeat(ankle[None, [0, 2]] + [[0.004, 0]], len(levels), axis=0)
    flat = np.stack([(points[:, 1] - w.floor) / rise, points[:, 0], points[:, 2]], axis=1)
    radius = hull_rings(flat, levels, angles, centre, hanging=True) + shoe.stuff * w.size
    radius += 0.002 * w.size * np.clip((levels / tall - 0.5) / 0.3, 0, 1)[:, None]  # a padded collar
    for _ in range(2):  # a sole's outline is rounder than a polygon
        radius = np.maximum(radius, (np.roll(radius, 1, axis=1) + np.roll(radius, -1, axis=1)) / 2)
    foot = w.floor + levels
    sole = radius[:1] + shoe.welt * w.size
    radius = np.concatenate([sole * 0.97, sole, sole, radius])
    down = w.floor - shoe.sole
    edge = [down, down + 0.15 * shoe.sole, w.floor + 0.2 * shoe.sole]
    heights = np.concatenate([edge, foot])
    x, z = centre[0, 0] + radius * np.cos(angles), centre[0, 1] + radius * np.sin(angles)
    up = heights[:, None] - w.floor
    y = w.floor + np.where(up > 0.21 * shoe.sole, up * collar_ramp(x - ankle[0], w.size), up)
    return np.stack([x, y, z], axis=-1), 3


def make_shoe(w: Wearer, shoe: Shoe, side: str, upper: str, under: str) -> Surface:
    """A shoe: closed, its sole flat and parallel to the bare foot's, ``shoe.sole`` metres below it.

    The lid on its collar, which the leg goes through, hides what is not there inside; its middle alone, the
    last vertex, lies within the leg.
    """
    rings, sole = shoe_places(w, shoe, side)
    rest, faces = _closed(rings)
    canonical, _ = _closed(shoe_places(nobody(), shoe, side)[0])
    f = body_fields()
    own = (f["leg_r" if side == "r" else "leg_l"] > 1.5) & (f["foot"] < 1.6)
    shares = borrowed(w, rest, own, 0.015 * w.size, 12)
    names = asset().bodies
    shin, heel = names.index(f"tibia_{side}"), names.index(f"calcn_{side}")
    shares[:, heel] += shares[:, shin]
    shares[:, shin] = 0.0
    mean = smoother(faces, len(rest))
    for _ in range(6):
        shares = 0.5 * shares + 0.5 * (mean @ shares)
    around = rings.shape[1]
    material = np.where((faces < sole * around).all(axis=1), 1, 0)
    material[(faces == len(rest) - 2).any(axis=1)] = 1
    return surface(f"shoe_{side}", rest, canonical, faces, shares, (upper, under), material)


def _closed(rings: FloatArray) -> tuple[FloatArray, IntArray]:
    """A shoe's rings, which rise and turn from x to z, closed below and above."""
    vertices, faces = capped(rings[:, ::-1])
    return vertices, faces
