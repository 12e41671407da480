"""The shape of a person: an open parametric body, from age, sex, stature and build to a mesh at rest.

The asset (``assets/body.npz``, CC0; ``scripts/bake_body.py`` makes it, ``assets/PROVENANCE.md`` tells from
what) holds a mean mesh and components that differ between people. Which components, and how much, follows
from products of phenotype variations (child, young, tall, …), each between 0 and 1, and local changes.
Stature and body-mass index are what was asked for: the shape's own scales of height and build are searched
until the mesh has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.spatial import cKDTree

from cohorts.bounded import load_npz
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FloatArray, IntArray

BODY_FILE = Path(__file__).parent / "assets" / "body.npz"
AGES = (4.0, 90.0)  #: years
STATURES = (0.95, 2.10)  #: metres
REACHED = 0.004  #: share of the mass asked for by which a person may miss it
DENSITY = 1010.0  #: kg/m³ of a whole body with half a breath (Durnin & Womersley 1974: 1,000 to 1,070)
#: metres by which the knee goes down and up at the ends of the upper leg's scale, the ankle at the lower's
LEG_SCALES = {"upperleg": (0.0371, 0.0552), "lowerleg": (0.0871, 0.0724)}
#: (weight, muscle) along the scale of build, from gaunt to obese; None: the person's own muscle. The open
#: data's heavy people are those without muscle: with middling muscle the heaviest woman's BMI is 22.5 only
BUILDS: tuple[tuple[float, float | None], ...] = (
    (0.0, 0.0), (0.0, None), (0.5, None), (1.0, None), (1.0, 0.0),
)  # fmt: skip
STRAIGHT = (
    0.25  #: of the shape's valgus: there the knee lies between hip and ankle, at 0 legs are bowed by 3°
)
BEYOND = 2.0  #: lengths of its last stretch, without its folds, by which the scale of build goes on
SMOOTHING = 40  #: rounds of averaging with the neighbours that take the folds out
#: years -> the shape's age scale (0 infant, 1/3 child, 2/3 young adult, 1 old): children are put where the
#: mesh of middling height is about as tall as a child of that age
AGE_SCALE = (
    (2.0, 0.0), (4.0, 0.13), (6.0, 0.20), (9.0, 0.29),
    (11.0, 1 / 3), (18.0, 0.60), (25.0, 2 / 3), (90.0, 1.0),
)  # fmt: skip
#: years -> kg/m²: medians of the CDC's growth charts (Kuczmarski et al. 2002), then a lean adult's
USUAL_BMI = (
    (4.0, 15.5), (6.0, 15.3), (8.0, 15.8), (10.0, 16.7), (12.0, 17.9), (14.0, 19.2), (16.0, 20.5),
    (20.0, 22.0),
)  # fmt: skip
#: the scales that variations stand on, in the asset's names; a value between two mixes them linearly
_SCALES: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "age": (("newborn", "baby", "child", "young", "old"), (-1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)),
    "sex": (("male", "female"), (0.0, 1.0)),
    "muscle": (("minmuscle", "averagemuscle", "maxmuscle"), (0.0, 0.5, 1.0)),
    "weight": (("minweight", "averageweight", "maxweight"), (0.0, 0.5, 1.0)),
    "height": (("minheight", "maxheight"), (0.0, 1.0)),
    "proportions": (("idealproportions", "uncommonproportions"), (0.0, 1.0)),
    "bust": (("mincup", "averagecup", "maxcup"), (0.0, 0.5, 1.0)),
    "firmness": (("minfirmness", "averagefirmness", "maxfirmness"), (0.0, 0.5, 1.0)),
}
_ANCESTRIES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Phenotype:
    """Who a synthetic person is.

    Attributes
    ----------
    sex : 0 male to 1 female
    age : years, 4 to 90
    stature : metres
    bmi : kg/m²
    muscle : 0 to 1
    proportions : 0 (as drawn by artists) to 1 (uncommon)
    ancestry : shares of the three face and build families the open data know, in their order
    leg_difference : metres by which the left leg is the longer
    valgus : -1 (bowed legs) to 1 (knock-knees), both sides
    local : further local changes, name -> -1 to 1
    """

    sex: float = 0.5
    age: float = 30.0
    stature: float = 1.70
    bmi: float = 23.0
    muscle: float = 0.5
    proportions: float = 0.5
    ancestry: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    leg_difference: float = 0.0
    valgus: float = 0.0
    local: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, value, (low, high) in (
            ("sex", self.sex, (0.0, 1.0)),
            ("age", self.age, AGES),
            ("stature", self.stature, STATURES),
            ("bmi", self.bmi, (11.0, 50.0)),
            ("muscle", self.muscle, (0.0, 1.0)),
            ("proportions", self.proportions, (0.0, 1.0)),
            ("leg_difference", self.leg_difference, (-0.05, 0.05)),
            ("valgus", self.valgus, (-1.0, 1.0)),
        ):
            if not low <= value <= high:
                raise CapbenchError(f"Expected {what} from {low:g} to {high:g}, got {value:g}.")

    @property
    def mass(self) -> float:
        """Kilograms."""
        return self.bmi * self.stature**2

    @property
    def fatness(self) -> float:
        """kg/m² of BMI above the usual at that age."""
        ages, usual = zip(*USUAL_BMI, strict=True)
        return self.bmi - float(np.interp(self.age, ages, usual))


@dataclass(frozen=True)
class Asset:
    """What ``body.npz`` holds; V vertices in OpenSim's axes (x forward, y up, z right), metres.

    Attributes
    ----------
    mean_v3, basis_rv3 : mean mesh and R components
    projection_cr : (coefficients, R): what each product of variations adds to the components
    mean_coefficients : of the mean mesh
    mask : (products, variations) which variations each product multiplies
    variations, local : names of the mask's columns, and of the signed local changes behind the products
    faces : surface name -> (F, 3) vertices, anticlockwise from outside: "body", "hair", "skirt"
    bones_vk, weights_vk : (V, 4) indices into ``bodies``, and shares that sum to 1
    bodies : names of bodies of capbench:fullbody
    points : COCO's points and six of the feet -> (vertices, shares)
    body_vertices : how many vertices are the body's own; proxies follow
    mirror : (V,) for each vertex the one on the other side
    """

    mean_v3: FloatArray
    basis_rv3: FloatArray
    projection_cr: FloatArray
    mean_coefficients: FloatArray
    mask: IntArray
    variations: tuple[str, ...]
    local: tuple[str, ...]
    faces: Mapping[str, IntArray]
    bones_vk: IntArray
    weights_vk: FloatArray
    bodies: tuple[str, ...]
    points: Mapping[str, tuple[IntArray, FloatArray]]
    body_vertices: int
    mirror: IntArray


@cache
def asset() -> Asset:
    """The body asset, read once."""
    a = load_npz(BODY_FILE)
    large, small = a["basis_large"].astype(np.float64), a["basis_small"].astype(np.float64)
    basis = np.concatenate([large, small]) * a["step"][:, None, None]
    ends = np.cumsum(a["coco_counts"].astype(np.int64))
    points = {
        str(name): (
            a["coco_ids"][end - n : end].astype(np.int64),
            a["coco_shares"][end - n : end].astype(float),
        )
        for name, n, end in zip(a["coco_names"], a["coco_counts"].astype(np.int64), ends, strict=True)
    }
    return Asset(
        mean_v3=a["mean"].astype(np.float64),
        basis_rv3=basis,
        projection_cr=a["projection"].astype(np.float64),
        mean_coefficients=a["mean_coefficients"].astype(np.float64),
        mask=a["mask"].astype(np.int64),
        variations=tuple(map(str, a["variations"])),
        local=tuple(map(str, a["local"])),
        faces={
            "body": a["faces"].astype(np.int64),
            "hair": a["faces_hair"].astype(np.int64),
            "skirt": a["faces_skirt"].astype(np.int64),
        },
        bones_vk=a["bones"].astype(np.int64),
        weights_vk=a["weights"].astype(np.float64) / 255.0,
        bodies=tuple(map(str, a["bodies"])),
        points=points,
        body_vertices=int(a["body_vertices"]),
        mirror=a["mirror"].astype(np.int64),
    )


# --- from a phenotype to a mesh -----------------------------------------------------------------


def rest_vertices(phenotype: Phenotype) -> FloatArray:
    """(V, 3) metres: the person at rest (arms away from the body), soles on y = 0, facing x.

    The shape's own scales of height and build are searched in turn for the stature and mass asked for; what
    the stature still lacks at the scale's end is made up by scaling the whole. A build out of reach is an
    error.
    """
    shapes = _extremes(phenotype)
    body = np.ascontiguousarray(shapes[:, :, : asset().body_vertices])

    def stature(height: float, build: float) -> float:
        return _stature(_between(body, height, build))

    def mass(build: float, height: float) -> float:
        return _mass(_between(body, height, build))

    height, build = 0.4, 2.0
    for _ in range(4):
        height = _search(1.0, phenotype.stature, partial(stature, build=build))
        scale = phenotype.stature / stature(height, build)
        build = _search(shapes.shape[1] - 1.0, phenotype.mass / scale**3, partial(mass, height=height))
    vertices = _between(shapes, height, build)
    vertices = vertices * (phenotype.stature / _stature(vertices))
    if abs(_mass(vertices) / phenotype.mass - 1) > REACHED:
        raise CapbenchError(
            f"Expected a build within reach, got a BMI of {phenotype.bmi:g} kg/m²; the nearest for this sex, "
            f"age and muscle is {_mass(vertices) / phenotype.stature**2:.1f}.",
            fix="ask for that one",
        )
    vertices[:, 1] -= vertices[: asset().body_vertices, 1].min()
    return vertices


def _extremes(phenotype: Phenotype) -> FloatArray:
    """(2, builds, V, 3): the person at both ends of height and the stops of build; linear in between.

    The last stop lies beyond the fattest the open data know: there its difference from the middle is laid on
    once more, averaged between neighbours, lest folds of fat become spikes.
    """
    slack = replace(phenotype, muscle=0.0)
    rows = []
    for height in (0.0, 1.0):
        row = [_shape(phenotype if muscle is None else slack, height, weight) for weight, muscle in BUILDS]
        rows.append([*row, row[-1] + BEYOND * _smoothed(row[-1] - _shape(slack, height, 0.5))])
    return np.array(rows)


def _between(shapes: FloatArray, height: float, build: float) -> FloatArray:
    """(V, 3) at places on the scales of height (0 to 1) and build (0 to its number of stops less one)."""
    stop = min(int(build), shapes.shape[1] - 2)
    part = build - stop
    made: FloatArray = (1 - height) * ((1 - part) * shapes[0, stop] + part * shapes[0, stop + 1])
    made += height * ((1 - part) * shapes[1, stop] + part * shapes[1, stop + 1])
    return made


def _smoothed(shift_v3: FloatArray) -> FloatArray:
    """A field of shifts, averaged between neighbours on the mesh; the proxies follow their nearest skin."""
    mean, nearest = _neighbours()
    mirror, count = asset().mirror, asset().body_vertices
    body = shift_v3[:count]
    for _ in range(SMOOTHING):
        body = mean @ body
    other = mirror[nearest[mirror[count:] - count]]  # the same seen from the other side, so both sides agree
    return np.concatenate([body, 0.5 * (body[nearest] + body[other])])


@cache
def _neighbours() -> tuple[csr_array, IntArray]:
    """The matrix that averages a vertex (half) with its neighbours; the skin nearest to each proxy vertex."""
    a = asset()
    count = a.body_vertices
    faces = a.faces["body"]
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([ends, ends[:, ::-1]])
    links = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    links.data[:] = 1.0
    degree = np.maximum(links.sum(axis=1), 1.0)
    mean = 0.5 * (eye_array(count) + diags_array(1 / degree) @ links)
    nearest = cKDTree(a.mean_v3[:count]).query(a.mean_v3[count:])[1]
    return csr_array(mean), np.asarray(nearest, np.int64)


def _search(end: float, goal: float, measured: Callable[[float], float]) -> float:
    """Where on a scale from 0 to ``end`` a growing measure meets its goal, or the nearer end."""
    low, high = 0.0, end
    if goal <= measured(low):
        return low
    if goal >= measured(high):
        return high
    return float(brentq(lambda x: measured(x) - goal, low, high, xtol=1e-4))


def _stature(vertices: FloatArray) -> float:
    heights = vertices[: asset().body_vertices, 1]
    return float(heights.max() - heights.min())


def _mass(vertices: FloatArray) -> float:
    """Kilograms of the body's volume: a sixth of the sum of its triangles' spans with the origin."""
    a, b, c = (vertices[asset().faces["body"][:, k]] for k in range(3))
    return float(DENSITY * np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)


def _shape(phenotype: Phenotype, height: float, weight: float) -> FloatArray:
    """(V, 3) for given places on the scales of height and weight."""
    a = asset()
    row = coefficients(phenotype, height, weight)
    mirrored = row[_other_side()]
    shape = _shape_of(row)
    other = shape if np.array_equal(row, mirrored) else _shape_of(mirrored)
    # the basis is symmetric to 0.7 mm only
    made: FloatArray = 0.5 * (shape + other[a.mirror] * [1.0, 1.0, -1.0])
    return made


def _shape_of(coefficients_c: FloatArray) -> FloatArray:
    a = asset()
    change = (coefficients_c - a.mean_coefficients) @ a.projection_cr
    shape: FloatArray = a.mean_v3 + np.einsum("r,rvi->vi", change, a.basis_rv3)
    return shape


@cache
def _other_side() -> IntArray:
    """For each coefficient that of the same change on the other side."""
    local = asset().local
    first = len(asset().mask)
    swapped = {"l": "r", "r": "l"}
    row = list(range(first))
    for name in local:
        sign, side, rest = name[0], name[1], name[2:]
        other = sign + swapped[side] + rest if rest.startswith("-") and side in swapped else name
        row.append(first + local.index(other))
    return np.array(row)


def coefficients(phenotype: Phenotype, height: float, weight: float) -> FloatArray:
    """What multiplies each row of the asset's projection: products of variations, then local changes."""
    a = asset()
    places = {
        "age": age_scale(phenotype.age),
        "sex": phenotype.sex,
        "muscle": phenotype.muscle,
        "weight": weight,
        "height": height,
        "proportions": phenotype.proportions,
        "bust": 0.5,
        "firmness": 0.5,
    }
    shares = dict(zip(_ANCESTRIES, np.array(phenotype.ancestry) / sum(phenotype.ancestry), strict=True))
    for scale, (names, stops) in _SCALES.items():
        for name, stop in zip(names, stops, strict=True):
            others = [1.0 if s == stop else 0.0 for s in stops]
            shares[name] = float(np.interp(places[scale], stops, others))
    row = np.array([shares[name] for name in a.variations])
    products = np.where(a.mask > 0, row, 1.0).prod(axis=1)
    return np.concatenate([products, _local_row(phenotype)])


def _local_row(phenotype: Phenotype) -> FloatArray:
    """The signed local changes: each has a row for more and one for less."""
    wanted: dict[str, float] = {}
    for side, longer in (("l", phenotype.leg_difference / 2), ("r", -phenotype.leg_difference / 2)):
        for part, share in (("upperleg", 0.5), ("lowerleg", 1.0)):
            grows, shrinks = LEG_SCALES[part]
            wanted[f"{side}-{part}-scale-vert"] = share * longer / (grows if longer > 0 else shrinks)
        bent = phenotype.valgus
        wanted[f"{side}-leg-valgus"] = STRAIGHT + (1 - STRAIGHT * np.sign(bent)) * bent
    wanted |= phenotype.local
    known = asset().local
    for name, value in wanted.items():
        if f"+{name}" not in known:
            raise unknown_name("local change", name, {n[1:] for n in known})
        if not -1 <= value <= 1:
            raise CapbenchError(f"Expected the local change {name} from -1 to 1, got {value:g}.")
    return np.array([max(0.0, wanted.get(n[1:], 0.0) * (1 if n[0] == "+" else -1)) for n in known])


def age_scale(years: float) -> float:
    """Where an age stands on the shape's own scale.

    >>> round(age_scale(25), 3), age_scale(90)
    (0.667, 1.0)
    """
    ages, places = zip(*AGE_SCALE, strict=True)
    return float(np.interp(years, ages, places))
