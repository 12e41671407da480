"""Garments: what each piece of clothing is cut from, how far it stands off, how it moves with the wearer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from cohorts.values import FloatArray, IntArray
from synthpose.body import asset
from synthpose.mesh import Surface
from synthpose.render import normals
from synthpose.tailor import (
    ARM,
    LEG,
    TONGUE,
    BoolArray,
    Cut,
    Sheet,
    along,
    body_fields,
    carried,
    drape,
    hull_rings,
    joints,
    limb,
    piece,
    ripples,
    skin_vertices,
    smoother,
    soft_normals,
)

TALL = 1.70  #: metres: lengths here are those of a person of that stature
#: metres that a unit of a coordinate is long on the canonical body, so that margins can be said in metres
UNIT = {"leg": 0.36, "leg_r": 0.36, "leg_l": 0.36, "arm": 0.21, "foot": 0.07}
MARGIN = 0.02  #: metres of skin that go on under a hem
INSET = 0.004  #: metres by which skin draws back under a garment, so that it never shows through near a hem


@dataclass(frozen=True)
class Wearer:
    """Whom clothes are made for.

    Attributes
    ----------
    rest_v3, normal_v3 : the body at rest, metres, and its outward unit normals
    shares_vb : (V, B) skin weights on each of the asset's bodies
    at : centres of joints
    size : stature as a multiple of ``TALL``
    """

    rest_v3: FloatArray
    normal_v3: FloatArray
    shares_vb: FloatArray
    at: Mapping[str, FloatArray]
    size: float

    @property
    def floor(self) -> float:
        """Metres: the height of the bare soles."""
        return float(self.rest_v3[:, 1].min())


def wearer(surface: Surface) -> Wearer:
    """The person inside a skin."""
    rest = surface.rest_v3
    shares = np.zeros((len(rest), len(surface.bodies)))
    np.put_along_axis(shares, surface.bones_vk, surface.weights_vk, axis=1)
    return Wearer(
        rest, normals(rest, surface.faces_f3), shares, joints(rest), float(np.ptp(rest[:, 1])) / TALL
    )


@cache
def nobody() -> Wearer:
    """The canonical body: what is made for it lies where textures are looked up."""
    a = asset()
    n = a.body_vertices
    shares = np.zeros((n, len(a.bodies)))
    np.put_along_axis(shares, a.bones_vk[:n], a.weights_vk[:n], axis=1)
    rest = a.mean_v3[:n]
    return Wearer(
        rest, normals(rest, a.faces["body"]), shares, joints(rest), float(np.ptp(rest[:, 1])) / TALL
    )


def surface(
    name: str,
    rest_v3: FloatArray,
    canonical_v3: FloatArray,
    faces: IntArray,
    shares_vb: FloatArray,
    materials: Sequence[str],
    material_f: IntArray | None = None,
) -> Surface:
    """A surface on the asset's bodies; the four largest weights of each vertex are kept."""
    order = np.argsort(-shares_vb, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(shares_vb, order, axis=1)
    return Surface(
        name=name,
        rest_v3=np.ascontiguousarray(rest_v3),
        canonical_v3=np.ascontiguousarray(canonical_v3),
        faces_f3=np.ascontiguousarray(faces, np.int64),
        material_f=np.zeros(len(faces), np.int64) if material_f is None else material_f,
        materials=tuple(materials),
        bones_vk=order,
        weights_vk=top / top.sum(axis=1, keepdims=True),
        bodies=asset().bodies,
    )


# --- pieces cut from the body's surface ------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """How a piece lies over the body.

    Attributes
    ----------
    gap : metres above the skin, at least
    loose : 0 follows the body to 1 hangs free
    smooth : rounds of drawing it over hollows
    wide : metres that a loose sleeve's or leg's hem is wider than the limb (radius)
    fold : metres, height of its folds
    seed : of the folds
    """

    gap: float = 0.003
    loose: float = 0.0
    smooth: int = 10
    wide: float = 0.0
    fold: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Layer:
    """A piece as worn: a sheet with places and weights, and the cuts that bound it."""

    name: str
    sheet: Sheet
    rest_v3: FloatArray
    shares_vb: FloatArray
    cuts: tuple[Cut, ...]
    margin: float

    def worn(self, over: Sequence[Layer], material: str) -> Surface:
        """The surface, without what garments over it hide."""
        keep = ~hidden(self.sheet.fields, over)[self.sheet.faces_f3].all(axis=1)
        faces = self.sheet.faces_f3[keep]
        used, place = np.unique(faces, return_inverse=True)
        return surface(
            self.name, self.rest_v3[used], self.sheet.canonical_v3[used], place.reshape(-1, 3),
            self.shares_vb[used], (material,),
        )  # fmt: skip


def inner(fields: Mapping[str, FloatArray], cuts: Sequence[Cut]) -> FloatArray:
    """(N,) metres, about, from a piece's nearest hem, positive under the piece."""
    depth = np.full(len(fields["height"]), np.inf)
    for field, level, above in cuts:
        unit = UNIT.get(field, 1.0)
        depth = np.minimum(depth, unit * ((fields[field] - level) if above else (level - fields[field])))
    return depth


def hidden(fields: Mapping[str, FloatArray], over: Sequence[Layer]) -> BoolArray:
    """(N,) which vertices lie so far under a garment that they are never seen."""
    found = np.zeros(len(fields["height"]), bool)
    for layer in over:
        found |= inner(fields, layer.cuts) > layer.margin
    return found


def lay(w: Wearer, name: str, cuts: tuple[Cut, ...], fit: Fit, under: Sequence[Layer] = ()) -> Layer:
    """A piece of the body's surface as cloth over a wearer, and over other garments."""
    sheet = piece(cuts)
    skin = carried(sheet.shares_nv, w.rest_v3)
    normal = soft_normals(skin, sheet.faces_f3, 2 + int(6 * fit.loose))
    shares = carried(sheet.shares_nv, w.shares_vb)
    folds = fit.fold * w.size * _folds(sheet, fit.seed)
    least = np.full(len(skin), fit.gap * w.size) + folds * (0.25 + 0.75 * fit.loose)
    for other in under:
        least = np.maximum(least, 0.004 * w.size + _height_of(other, w, sheet, skin, normal))
    start = skin + normal * least[:, None]
    if fit.loose > 0:
        start = _hung(w, sheet, start, fit)
        start = _straight(w, sheet, start, fit)
    cloth = drape(skin, normal, sheet.faces_f3, least, fit.smooth + int(6 * fit.loose), start)
    cloth = _apart(sheet, skin, cloth)
    mean = smoother(sheet.faces_f3, len(skin))
    for _ in range(int(12 * fit.loose)):
        shares = 0.5 * shares + 0.5 * (mean @ shares)
    return Layer(name, sheet, cloth, shares, cuts, MARGIN + 0.05 * fit.loose)


def _height_of(under: Layer, w: Wearer, sheet: Sheet, skin: FloatArray, normal: FloatArray) -> FloatArray:
    """(N,) metres by which another garment stands off the skin at a sheet's places; 0 where it ends."""
    found = cKDTree(under.sheet.canonical_v3).query(sheet.canonical_v3, k=3)
    distance, near = np.asarray(found[0]), np.asarray(found[1])
    off = under.rest_v3 - carried(under.sheet.shares_nv, w.rest_v3)
    height = np.einsum("nki,ni->nk", off[near], normal).max(axis=1)
    return np.asarray(np.maximum(height, 0.0) * (distance[:, 0] < 0.02))


def _folds(sheet: Sheet, seed: int) -> FloatArray:
    """(N,) 0 to 1: folds run along limbs, and across where joints bend."""
    place = sheet.canonical_v3
    down = ripples(place, np.array([14.0, 5.0, 14.0]), seed)
    across = ripples(place, np.array([6.0, 18.0, 6.0]), seed + 7)
    f = sheet.fields
    bent = np.exp(-(((f["arm"] - 1.0) / 0.25) ** 2)) + np.exp(-(((f["leg"] - 1.0) / 0.2) ** 2))
    bent += np.exp(-(((f["leg"] - 2.0) / 0.25) ** 2)) + np.exp(-(((f["arm"] - 1.9) / 0.3) ** 2))
    bent = np.clip(bent, 0.0, 1.0)
    return np.asarray((1 - bent) * down + bent * across)


def _apart(sheet: Sheet, skin: FloatArray, cloth: FloatArray) -> FloatArray:
    """Cloth of one leg that stays on its side of the middle, where the legs touch."""
    leg = (sheet.fields["limb"] < 0.5) & (sheet.fields["leg"] > 0.02)
    side = np.where(sheet.fields["side"] >= 0, 1.0, -1.0)
    out = cloth.copy()
    near = np.minimum(side * skin[:, 2], 0.0015)
    out[leg, 2] = (side * np.maximum(side * cloth[:, 2], near))[leg]
    return out


def trunk(w: Wearer) -> FloatArray:
    """(P, 3) height, forward and right of the body without its arms and head."""
    f = body_fields()
    part = w.rest_v3[(f["limb"] < 0.5) & (f["neck"] < 0.0) & (f["foot"] > 0.8)]
    return part[:, [1, 0, 2]]


def _hung(w: Wearer, sheet: Sheet, cloth: FloatArray, fit: Fit) -> FloatArray:
    """Cloth of the trunk moved towards where it would hang: from the shoulders, or from a waist."""
    f = sheet.fields
    waisted = f["leg"].max() > 0.3
    upper = float(cloth[:, 1].max() if waisted else (w.at["shoulder_r"][1] + w.at["shoulder_l"][1]) / 2)
    hips = (w.at["hip_r"] + w.at["hip_l"]) / 2
    levels = np.linspace(upper, min(float(cloth[:, 1].min()), hips[1]) - 0.02, 16)
    angles = np.linspace(-np.pi, np.pi, 49)
    body = trunk(w)
    body = body[body[:, 0] < upper + 0.02] if waisted else body
    chest = body[np.abs(body[:, 0] - (0.6 * upper + 0.4 * hips[1])) < 0.06]
    centre = np.linspace(chest[:, 1:].mean(axis=0), hips[[0, 2]], 16)
    rings = hull_rings(body, levels, angles, centre, hanging=True)
    down = np.interp(-cloth[:, 1], -levels, np.arange(16.0))
    low = np.minimum(down.astype(int), 14)
    share = down - low
    middle = centre[low] + share[:, None] * (centre[low + 1] - centre[low])
    out = cloth[:, [0, 2]] - middle
    now = np.sqrt(np.einsum("ni,ni->n", out, out))
    turn = (np.arctan2(out[:, 1], out[:, 0]) + np.pi) / (2 * np.pi) * 48
    k = np.minimum(turn.astype(int), 47)
    t = turn - k
    aim = (1 - share) * ((1 - t) * rings[low, k] + t * rings[low, k + 1])
    aim += share * ((1 - t) * rings[low + 1, k] + t * rings[low + 1, k + 1])
    deep = np.clip((upper - 0.02 - cloth[:, 1]) / 0.15, 0.0, 1.0)
    part = np.where((f["limb"] < 0.5) & (f["leg"] < 0.0), fit.loose * deep, 0.0)
    part *= np.clip(-f["leg"] / 0.12, 0.0, 1.0) if waisted else 1.0
    more = part * np.maximum(aim + 0.006 + 0.015 * fit.loose * deep - now, 0.0)
    moved = cloth.copy()
    moved[:, [0, 2]] += out * (more / np.maximum(now, 1e-6))[:, None]
    return moved


def _straight(w: Wearer, sheet: Sheet, cloth: FloatArray, fit: Fit) -> FloatArray:
    """Sleeves and legs widened towards straight tubes."""
    moved = cloth.copy()
    for names, s in ((LEG, "r"), (LEG, "l"), (ARM, "r"), (ARM, "l")):
        f = sheet.fields
        own = (f["side"] >= 0) == (s == "r")
        own &= (f["limb"] > 0.5) if names is ARM else (f["limb"] < 0.5) & (f["leg"] > 0.0)
        if not own.any():
            continue
        chain = limb(w.at, names, s)
        at = along(cloth[own], chain)
        axis = np.stack([np.interp(at, [0, 1, 2], [p[k] for p in chain]) for k in range(3)], axis=1)
        beyond = np.clip(at, 0, 2)
        out = cloth[own] - axis
        way = chain[2] - chain[0]
        way = way / np.sqrt(np.einsum("i,i->", way, way))
        out -= np.einsum("ni,i->n", out, way)[:, None] * way
        now = np.sqrt(np.einsum("ni,ni->n", out, out))
        end = float(at.max())
        root = now[(at > 0.2) & (at < 0.35)]
        thick = float(np.median(root)) if len(root) else float(np.median(now))
        hem = float(np.median(now[at > end - 0.12])) + fit.wide * w.size
        aim = np.interp(beyond, [0.2, max(end, 0.25)], [thick, max(hem, 0.55 * thick)])
        part = fit.loose * np.clip((at - 0.05) / 0.25, 0.0, 1.0)
        more = part * np.maximum(aim - now, 0.0)
        moved[own] += out * (more / np.maximum(now, 1e-6))[:, None]
    return moved


# --- rigid shells -----------------------------------------------------------------------------------


def shell(w: Wearer, name: str, cuts: tuple[Cut, ...], body: str, gap: float, thick: float) -> Surface:
    """A closed shell over a part of the body, rigid on one body: inside, outside and edges."""
    sheet = piece(cuts)
    skin = carried(sheet.shares_nv, w.rest_v3)
    normal = soft_normals(skin, sheet.faces_f3, 8)
    within = drape(skin, normal, sheet.faces_f3, np.full(len(skin), gap), 8, skin + gap * normal)
    outside = within + thick * soft_normals(within, sheet.faces_f3, 3)
    faces, count = sheet.faces_f3, len(skin)
    rim = _rim(faces, count)
    sides = np.concatenate(
        [
            np.stack([rim[:, 1], rim[:, 0], rim[:, 0] + count], axis=1),
            np.stack([rim[:, 1], rim[:, 0] + count, rim[:, 1] + count], axis=1),
        ]
    )
    # vertices: outside first, then inside; the rim joins them
    everything = np.concatenate([faces, faces[:, ::-1] + count, sides])
    shares = np.zeros((2 * count, len(asset().bodies)))
    shares[:, asset().bodies.index(body)] = 1.0
    canonical = np.concatenate([sheet.canonical_v3] * 2)
    return surface(name, np.concatenate([outside, within]), canonical, everything, shares, ("brace",))


def _rim(faces: IntArray, count: int) -> IntArray:
    """(E, 2) directed edges of one face only."""
    pairs = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    key = pairs.min(axis=1) * count + pairs.max(axis=1)
    _, place, times = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray(pairs[times[place] == 1])


def bare_skin(
    w: Wearer, skin: Surface, over: Sequence[Layer], below: float, hair: bool
) -> tuple[IntArray, FloatArray]:
    """Faces of the skin and eyes that are seen or nearly, and (V, 3) places drawn back a little under cloth.

    ``below``: height (in malleoli's) under which a shoe hides the foot; ``hair``: whether some hides the
    scalp.
    """
    f = body_fields()
    gone = hidden(f, over) | (f["shoe"] < below)
    if hair:
        gone |= f["scalp"] > 0.015
    faces = skin.faces_f3
    first = skin_vertices()
    outer, eye = faces[:, 0] < first, faces[:, 0] >= first + TONGUE
    keep = eye | (outer & ~gone[faces].all(axis=1))
    depth = np.zeros(len(gone))
    for layer in over:
        depth = np.maximum(depth, np.clip(inner(f, layer.cuts) / layer.margin, 0.0, 1.0))
    rest = w.rest_v3 - w.normal_v3 * (INSET * w.size * depth)[:, None]
    return faces[keep], rest
