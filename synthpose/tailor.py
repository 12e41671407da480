"""A tailor's tools: pieces cut from the body's surface along exact lines, laid over it, and rings round it.

Cutting happens on the canonical body, the same for everybody: each vertex of a piece is a mean of body
vertices with fixed shares, so a piece fits every phenotype and hems are lines, not the borders of triangles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cohorts.errors import unknown_name
from cohorts.values import FloatArray, IntArray
from synthpose.body import asset
from synthpose.person import mesh_landmarks
from synthpose.render import normals
from synthpose.shade import noise

TONGUE, EYE = 226, 72  #: vertices of the tongue and of each eye: the last of the body's
LONGEST = 0.024  #: canonical metres: longer edges of cloth are halved
COLLAR_RISE = 2.5  #: per metre: how much more a shoe's collar rises with every metre forward
FAR = 9.0  #: value of a coordinate where a vertex is of another part of the body: on neither side's hem
BoolArray = NDArray[np.bool_]
#: one cut: a coordinate's name, the level of the line, and whether what lies above it is kept
Cut = tuple[str, float, bool]


@dataclass(frozen=True)
class Sheet:
    """A piece of the canonical body's surface.

    Attributes
    ----------
    shares_nv : (N, V) sparse: of which body vertices each vertex is the mean
    faces_f3 : (F, 3) anticlockwise from outside
    fields : coordinate name -> (N,) its value at each vertex; linear inside triangles
    """

    shares_nv: csr_array
    faces_f3: IntArray
    fields: Mapping[str, FloatArray]

    @property
    def canonical_v3(self) -> FloatArray:
        """(N, 3) metres on the canonical body."""
        return carried(self.shares_nv, asset().mean_v3[: asset().body_vertices])


def carried(shares_nv: csr_array, values: FloatArray) -> FloatArray:
    """(N, …) values of body vertices (V, …) as a sheet's vertices have them."""
    made: FloatArray = np.ascontiguousarray(shares_nv @ values)
    return made


# --- coordinates on the canonical body -----------------------------------------------------------


def joints(rest_v3: FloatArray) -> dict[str, FloatArray]:
    """Centres of joints of a mesh at rest: shoulder, elbow, wrist, hip, knee, ankle; ``_r`` and ``_l``."""
    at = mesh_landmarks(rest_v3)
    found = {}
    for side, s in (("right", "r"), ("left", "l")):
        found[f"shoulder_{s}"] = at[f"{side}_shoulder@coco"]
        found[f"hip_{s}"] = at[f"{side}_hip@coco"]
        for joint, pair in (
            ("elbow", ("humerus_lateral_epicondyle", "humerus_medial_epicondyle")),
            ("wrist", ("radial_styloid", "ulnar_styloid")),
            ("knee", ("femur_lateral_epicondyle", "femur_medial_epicondyle")),
            ("ankle", ("lateral_malleolus", "medial_malleolus")),
        ):
            found[f"{joint}_{s}"] = (at[f"{side}_{pair[0]}"] + at[f"{side}_{pair[1]}"]) / 2
    return found


def along(points: FloatArray, chain: Sequence[FloatArray]) -> FloatArray:
    """(N,) how far along a limb points lie: 0 its root, 1 its middle joint, 2 its end; linear beyond."""
    first, second = chain[1] - chain[0], chain[2] - chain[1]
    a = np.einsum("ni,i->n", points - chain[0], first) / np.einsum("i,i->", first, first)
    b = np.einsum("ni,i->n", points - chain[1], second) / np.einsum("i,i->", second, second)
    return np.asarray(np.minimum(a, 1.0) + np.maximum(b, 0.0))


def collar_ramp(forward: FloatArray, size: float) -> FloatArray:
    """How many times higher a shoe's collar is at places that many metres before the ankle."""
    return np.asarray(np.maximum(1 + COLLAR_RISE / size * forward, 0.6))


def limb(at: Mapping[str, FloatArray], names: tuple[str, str, str], side: str) -> tuple[FloatArray, ...]:
    """The three joints of a limb on a side."""
    return tuple(at[f"{n}_{side}"] for n in names)


LEG, ARM = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")


@cache
def body_fields() -> dict[str, FloatArray]:
    """Coordinate -> (V,) on the canonical body.

    - ``limb``: 1 on arms, 0 elsewhere; ``side``: metres to the right
    - ``height``: metres, of all but arms (those: FAR)
    - ``leg_r``, ``leg_l``: along each leg and up the trunk (0 hip, 1 knee, 2 ankle; the other side: -FAR);
      ``leg``: along the one that the vertex is on; ``front``: metres before the leg's axis
    - ``foot``: height above the sole as a share of the malleoli's; ``shoe``: the same along a shoe's collar,
      which rises forward
    - ``arm``: along the arms (0 shoulder, 1 elbow, 2 wrist; elsewhere at most 0.1)
    - ``neck``: metres above a plane through C7 and the pit of the throat; ``neck_front``: the same, of a
      plane that falls forward; ``shoulder``: metres outward of a plane at the armhole that leans inward
    - ``scalp``, ``beard``, ``brow``: metres, about, within their borders
    """
    a = asset()
    v = a.mean_v3[: a.body_vertices]
    at = joints(a.mean_v3)
    part = np.array(a.bodies)[_dominant()]
    arm = np.char.startswith(part, ("humerus",)) | np.char.startswith(part, ("ulna",))
    arm |= np.char.startswith(part, ("radius",)) | np.char.startswith(part, ("hand",))
    right = v[:, 2] >= 0
    legs = {s: along(v, limb(at, LEG, s)) for s in "rl"}
    arms = np.where(right, along(v, limb(at, ARM, "r")), along(v, limb(at, ARM, "l")))
    leg = np.where(arm, -FAR, np.where(right, legs["r"], legs["l"]))
    floor = v[:, 1].min()
    malleoli = (at["ankle_r"][1] + at["ankle_l"][1]) / 2 - floor
    ramp = collar_ramp(v[:, 0] - at["ankle_r"][0], 1.0)
    found = {
        "limb": np.where(arm, 1.0, 0.0),
        "height": np.where(arm, FAR, v[:, 1]),
        "leg": leg,
        "leg_r": np.where(right, leg, -FAR),
        "leg_l": np.where(right, -FAR, leg),
        "arm": np.where(arm, arms, np.minimum(arms, 0.1)),
        "foot": np.where(leg > 1.2, (v[:, 1] - floor) / malleoli, FAR),
        "shoe": np.where(leg > 1.2, (v[:, 1] - floor) / malleoli / ramp, FAR),
        "side": v[:, 2],
        "front": v[:, 0] - np.interp(leg, [0.0, 1.0, 2.0], [at[f"{j}_r"][0] for j in LEG]),
    }
    return found | _trunk_fields(v, arm) | _head_fields(v, part == "head")


def _dominant() -> IntArray:
    a = asset()
    n = a.body_vertices
    bones: IntArray = a.bones_vk[:n][np.arange(n), a.weights_vk[:n].argmax(axis=1)]
    return bones


def _trunk_fields(v: FloatArray, arm: BoolArray) -> dict[str, FloatArray]:
    """Where necklines and armholes run."""
    at = mesh_landmarks(asset().mean_v3)
    back, front = at["c7"], at["sternum"] + [0.0, 0.045, 0.0]
    slope = (front[1] - back[1]) / (front[0] - back[0])
    neck = v[:, 1] - back[1] - slope * (v[:, 0] - back[0])
    out = np.abs(v[:, 2]) + 0.35 * (v[:, 1] - 0.42)
    high = arm | (v[:, 1] > 0.30)
    return {
        "neck": np.where(arm, -FAR, neck),
        "neck_front": np.where(arm | (v[:, 1] < 0.25), -FAR, neck + 1.2 * np.maximum(v[:, 0] - 0.0, 0.0)),
        "shoulder": np.where(high, out, -FAR),
    }


def _head_fields(v: FloatArray, head: BoolArray) -> dict[str, FloatArray]:
    """Where hair and beard grow: signed like distances, positive inside."""
    at = mesh_landmarks(asset().mean_v3)
    eye, ear, nose = (at[f"{n}@coco"] for n in ("right_eye", "right_ear", "nose"))
    x, y, z = v[:, 0], v[:, 1], np.abs(v[:, 2])
    # the hairline falls from the forehead to the temple, passes round the ear, and ends on the nape
    temple = np.minimum(0.02 + 0.6 * np.maximum(z - 0.035, 0.0), 0.045)
    forehead = (
        y
        - (eye[1] + 0.058)
        + 1.6 * np.maximum(eye[0] - temple - x, 0.0)
        + 2.2 * np.maximum(0.03 - z, 0) ** 1.5
    )
    nape = 0.42 * (ear[0] - x) + 0.8 * (y - (ear[1] - 0.005)) + 0.025
    scalp = np.minimum(forehead, np.where(x < ear[0] + 0.012, nape, y - ear[1] - 0.012))
    round_ear = np.hypot(np.hypot(x - ear[0] + 0.008, y - ear[1]), 0.5 * np.maximum(0.055 - z, 0.0)) - 0.034
    scalp = np.minimum(scalp, round_ear) + 0.010 * (ripples(v, np.array([90.0, 90.0, 90.0]), 5) - 0.5)
    jaw = np.minimum(nose[1] - 0.008 - y, x - (ear[0] + 0.012))
    mouth = np.hypot((y - (nose[1] - 0.0345)) / 0.55, z) - 0.023
    jaw = np.minimum(np.minimum(jaw, mouth), y - (nose[1] - 0.105 + 0.35 * (eye[0] - x)))
    front = nose[0] - 0.028
    back = np.clip((front - x) / (front - ear[0]), 0.0, 1.0)
    low, high = nose[1] - 0.026, ear[1] - 0.012
    cheek = np.where(z < 0.026, nose[1] - 0.012, low + (high - low) * back**1.6) - y
    jaw = np.minimum(jaw, cheek)
    ridge = eye[1] + 0.019 - 0.35 * np.maximum(z - 0.04, 0.0)
    brow = np.minimum(0.0042 - np.abs(y - ridge), np.minimum(z - 0.012, 0.052 - z))
    keep = head | (v[:, 1] > 0.50)
    return {
        "scalp": np.where(keep & (v[:, 1] > 0.49), scalp, -FAR),
        "beard": np.where(keep & (v[:, 1] > 0.48), jaw, -FAR),
        "brow": np.where(x > eye[0] - 0.03, brow, -FAR),
    }


# --- sheets and cutting ---------------------------------------------------------------------------


@cache
def whole_body() -> Sheet:
    """The outer skin of the canonical body as a sheet; tongue and eyes left out."""
    a = asset()
    faces = a.faces["body"]
    return Sheet(_identity(a.body_vertices), faces[faces[:, 0] < skin_vertices()], body_fields())


def skin_vertices() -> int:
    """How many vertices the outer skin has; the tongue's and the two eyes' follow."""
    return asset().body_vertices - TONGUE - 2 * EYE


@cache
def cloth_body() -> Sheet:
    """The body's surface without head, hands and toes, its long triangles divided: fine enough for cloth."""
    sheet = whole_body()
    f = sheet.fields
    keep = (f["arm"] < 2.2) & (f["foot"] > 0.55) & (f["neck"] < 0.04)
    return refined(_part(sheet, np.asarray(keep[sheet.faces_f3].all(axis=1))), LONGEST)


def _identity(count: int) -> csr_array:
    return csr_array((np.ones(count), np.arange(count), np.arange(count + 1)), shape=(count, count))


def _part(sheet: Sheet, keep_f: BoolArray) -> Sheet:
    """Only some faces, and only the vertices they use."""
    faces = sheet.faces_f3[keep_f]
    used, place = np.unique(faces, return_inverse=True)
    fields = {name: values[used] for name, values in sheet.fields.items()}
    return Sheet(sheet.shares_nv[used], place.reshape(faces.shape), fields)


def _on_edges(sheet: Sheet, edges_e2: IntArray, at_e: FloatArray) -> Sheet:
    """The sheet with a vertex more on each edge, at a share from its first vertex to its second."""
    count, extra = sheet.shares_nv.shape[0], len(edges_e2)
    rows = np.concatenate([np.arange(count), np.repeat(np.arange(count, count + extra), 2)])
    columns = np.concatenate([np.arange(count), edges_e2.ravel()])
    shares = np.concatenate([np.ones(count), np.stack([1 - at_e, at_e], axis=1).ravel()])
    step = csr_array((shares, (rows, columns)), shape=(count + extra, count))
    fields = {name: carried(step, values) for name, values in sheet.fields.items()}
    return Sheet(csr_array(step @ sheet.shares_nv), sheet.faces_f3, fields)


def _edges(faces: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """(E, 2) edges, and (F, 3) which edge leaves each corner for the next."""
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1), axis=-1)
    key, place = np.unique(pairs[..., 0] * count + pairs[..., 1], return_inverse=True)
    return np.stack([key // count, key % count], axis=1), place.reshape(faces.shape)


def refined(sheet: Sheet, longest: float) -> Sheet:
    """The sheet with every edge longer than that (canonical metres) halved, and its triangles divided so."""
    count = sheet.shares_nv.shape[0]
    edges, of_face = _edges(sheet.faces_f3, count)
    place = sheet.canonical_v3
    way = place[edges[:, 0]] - place[edges[:, 1]]
    long = np.einsum("ei,ei->e", way, way) > longest**2
    number = np.full(len(edges), -1)
    number[long] = count + np.arange(long.sum())
    new = _on_edges(sheet, edges[long], np.full(long.sum(), 0.5))
    return Sheet(new.shares_nv, _halved_faces(sheet.faces_f3, number[of_face]), new.fields)


def _halved_faces(faces: IntArray, edge: IntArray) -> IntArray:
    """Faces divided at the middles of some edges (``edge``, -1 where an edge stays whole)."""
    many = (edge >= 0).sum(axis=1)
    made = [faces[many == 0]]
    for number, front in ((1, True), (2, False), (3, True)):
        chosen = many == number
        f, e = faces[chosen], edge[chosen]
        first = np.argmax((e >= 0) == front, axis=1)  # turned so that the edge that differs comes first
        order = (first[:, None] + np.arange(3)) % 3
        (i, j, k), (ij, jk, ki) = (np.take_along_axis(a, order, axis=1).T for a in (f, e))
        corners = {
            1: ((i, ij, k), (ij, j, k)),
            2: ((jk, k, ki), (i, j, jk), (i, jk, ki)),
            3: ((i, ij, ki), (ij, j, jk), (ki, jk, k), (ij, jk, ki)),
        }[number]
        made += [np.stack(c, axis=1) for c in corners]
    return np.concatenate(made)


def cut(sheet: Sheet, field: str, level: float, above: bool = True) -> Sheet:
    """What lies on one side of a line; triangles are split exactly where the coordinate has the level."""
    if field not in sheet.fields:
        raise unknown_name("coordinate of the body", field, sheet.fields)
    height = sheet.fields[field] - level if above else level - sheet.fields[field]
    inside = height >= 0
    count = len(height)
    edges, of_face = _edges(sheet.faces_f3, count)
    crossed = inside[edges[:, 0]] != inside[edges[:, 1]]
    number = np.full(len(edges), -1)
    number[crossed] = count + np.arange(crossed.sum())
    ends = height[edges[crossed]]
    new = _on_edges(sheet, edges[crossed], ends[:, 0] / (ends[:, 0] - ends[:, 1]))
    faces = _split_faces(sheet.faces_f3, number[of_face], inside)
    whole = Sheet(new.shares_nv, faces, new.fields)
    return _part(whole, np.ones(len(faces), bool))


def _split_faces(faces: IntArray, edge: IntArray, inside: BoolArray) -> IntArray:
    """The inner parts of faces whose crossed edges have a new vertex (``edge``, -1 without)."""
    many = inside[faces].sum(axis=1)
    made = [faces[many == 3]]
    for inner, lone in ((1, True), (2, False)):
        chosen = many == inner
        f, e = faces[chosen], edge[chosen]
        first = np.argmax(inside[f] == lone, axis=1)  # the corner that is alone on its side, turned to front
        order = (first[:, None] + np.arange(3)) % 3
        f, e = np.take_along_axis(f, order, axis=1), np.take_along_axis(e, order, axis=1)
        if lone:
            made.append(np.stack([f[:, 0], e[:, 0], e[:, 2]], axis=1))
        else:
            made.append(np.stack([e[:, 0], f[:, 1], f[:, 2]], axis=1))
            made.append(np.stack([e[:, 0], f[:, 2], e[:, 2]], axis=1))
    return np.concatenate(made)


@lru_cache(maxsize=128)
def piece(cuts: tuple[Cut, ...], fine: bool = True) -> Sheet:
    """The body's surface after some cuts, in turn; ``fine`` starts from triangles that suit cloth."""
    sheet = cloth_body() if fine else whole_body()
    for field, level, above in cuts:
        sheet = cut(sheet, field, level, above)
    return sheet


# --- laying a piece over a body -------------------------------------------------------------------


def smoother(faces: IntArray, count: int) -> csr_array:
    """(N, N) each vertex's mean with its neighbours; borders only along the border, so hems stay lines."""
    edges, of_face = _edges(faces, count)
    times = np.bincount(of_face.ravel(), minlength=len(edges))
    border = np.zeros(count, bool)
    border[edges[times == 1].ravel()] = True
    keep = (times == 1) | ~(border[edges].all(axis=1))
    pairs = np.concatenate([edges[keep], edges[keep][:, ::-1]])
    along_hem = np.concatenate([times[keep] == 1] * 2)
    pairs = pairs[along_hem | ~border[pairs[:, 0]]]
    grid = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    total = np.maximum(np.asarray(grid.sum(axis=1)).ravel(), 1.0)
    lone = csr_array((np.where(np.diff(grid.indptr) == 0, 1.0, 0.0), (np.arange(count),) * 2), grid.shape)
    return csr_array(csr_array((1 / total, (np.arange(count),) * 2), grid.shape) @ grid + lone)


def drape(
    skin_v3: FloatArray,
    normal_v3: FloatArray,
    faces: IntArray,
    least: FloatArray,
    rounds: int,
    start_v3: FloatArray,
) -> FloatArray:
    """(N, 3) a cloth that was laid over a body and drawn smooth, at least ``least`` (N,) metres above it.

    It bridges hollows as cloth does: in turns it moves to its neighbours' mean, and is pushed out along the
    body's normals again. ``start_v3`` (N, 3) is where it starts.
    """
    mean = smoother(faces, len(skin_v3))
    cloth = start_v3.copy()
    for _ in range(rounds):
        cloth = 0.4 * cloth + 0.6 * (mean @ cloth)
        height = np.einsum("ni,ni->n", cloth - skin_v3, normal_v3)
        cloth += normal_v3 * np.maximum(least - height, 0.0)[:, None]
    return cloth


def soft_normals(vertices: FloatArray, faces: IntArray, rounds: int) -> FloatArray:
    """(N, 3) unit normals of a surface, smoothed: what cloth is pushed out along."""
    mean = smoother(faces, len(vertices))
    normal = normals(vertices, faces)
    for _ in range(rounds):
        normal = normal + mean @ normal
        normal /= np.maximum(np.sqrt(np.einsum("ni,ni->n", normal, normal)), 1e-9)[:, None]
    return normal


@nb.njit(cache=True)
def ripples(places: FloatArray, scale: FloatArray, seed: int) -> FloatArray:
    """(N,) smooth noise from 0 to 1 at places (N, 3), ``scale`` (3,) ripples a metre along each axis."""
    out = np.empty(len(places))
    for i in range(len(places)):
        x, y, z = places[i, 0] * scale[0], places[i, 1] * scale[1], places[i, 2] * scale[2]
        out[i] = 0.7 * noise(x, y, z, seed) + 0.3 * noise(2.1 * x, 2.1 * y, 2.1 * z, seed + 1)
    return out


# --- rings round a body ---------------------------------------------------------------------------

NORMALS = 72  #: directions in which a hull is felt


def hull_rings(
    points: FloatArray, levels: FloatArray, angles: FloatArray, centre_j2: FloatArray, hanging: bool
) -> FloatArray:
    """(J, K) distances from a centre to the convex outline of a body, at J heights and K angles.

    Parameters
    ----------
    points : (P, 3) of the body: height (any order), and two more axes
    levels : (J,) heights, rising or falling; the outline at one takes in all points between its neighbours
    angles : (K,) radians in the plane of the other two axes
    centre_j2 : (J, 2) in that plane; inside the outline
    hanging : the outline takes in all points beyond the level as well: cloth that hangs, a shoe's upper

    The outline is the polygon of ``NORMALS`` tangents, so it contains the hull.
    """
    way = 2 * np.pi * np.arange(NORMALS) / NORMALS
    normal = np.stack([np.cos(way), np.sin(way)])
    reach = points[:, 1:2] * normal[0] + points[:, 2:3] * normal[1]
    falling = levels[-1] < levels[0]
    height = -points[:, 0] if falling else points[:, 0]
    rising = -levels if falling else levels
    order = np.argsort(height, kind="stable")
    height, reach = height[order], reach[order]
    first = np.searchsorted(height, np.concatenate([[-np.inf], rising[:-1]]) - 1e-9)
    last = np.searchsorted(height, np.concatenate([rising[1:], [np.inf]]) + 1e-9)
    support = np.full((len(levels), NORMALS), -np.inf)
    for j in range(len(levels)):
        # beyond: where a hanging cloth's levels fall, all that was met before; where a shoe's rise, all above
        low, high = ((0, last[j]) if falling else (first[j], len(height))) if hanging else (first[j], last[j])
        if high > low:
            support[j] = reach[low:high].max(axis=0)
    support -= centre_j2[:, :1] * normal[0] + centre_j2[:, 1:] * normal[1]
    facing = np.cos(way[:, None] - angles[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(facing > 0.05, support[:, :, None] / facing, np.inf)
    return np.asarray(distance.min(axis=1))
