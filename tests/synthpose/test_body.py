"""The body: the asset, its surface, and that people have what was asked for."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from cohorts import CapbenchError
from synthpose.body import BODY_FILE, DENSITY, Phenotype, age_scale, asset, coefficients, rest_vertices
from synthpose.person import mesh_landmarks

PEOPLE = {
    "adult": Phenotype(),
    "thin man": Phenotype(sex=0, age=25, stature=1.86, bmi=18, muscle=0.8),
    "obese woman": Phenotype(sex=1, age=50, stature=1.60, bmi=40),
    "boy": Phenotype(sex=0, age=5, stature=1.09, bmi=15),
    "old woman": Phenotype(sex=1, age=85, stature=1.52, bmi=22, muscle=0.3),
    "uneven": Phenotype(leg_difference=-0.02, valgus=0.5),
}


@pytest.fixture(scope="module")
def rests() -> dict[str, np.ndarray]:
    return {name: rest_vertices(phenotype) for name, phenotype in PEOPLE.items()}


def skin(rest: np.ndarray) -> np.ndarray:
    return rest[: asset().body_vertices]


def columns_volume(vertices: np.ndarray, faces: np.ndarray, *, step: float) -> float:
    """m³ by counting: along vertical lines on a grid, the lengths between going in and coming out."""
    flat = vertices[:, [0, 2]] / step + [0.3141, 0.2718]  # no line through the plane of symmetry
    crossings: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for face in faces:
        (a, b, c), heights = flat[face], vertices[face, 1]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0:
            continue
        low, high = np.ceil(flat[face].min(axis=0)).astype(int), np.floor(flat[face].max(axis=0)).astype(int)
        for i in range(low[0], high[0] + 1):
            for k in range(low[1], high[1] + 1):
                u = ((i - a[0]) * (c[1] - a[1]) - (k - a[1]) * (c[0] - a[0])) / area
                v = ((b[0] - a[0]) * (k - a[1]) - (b[1] - a[1]) * (i - a[0])) / area
                if u >= 0 and v >= 0 and u + v <= 1:
                    y = heights[0] + u * (heights[1] - heights[0]) + v * (heights[2] - heights[0])
                    crossings.setdefault((i, k), []).append((y, 1 if area > 0 else -1))
    total = 0.0
    for found in crossings.values():
        found.sort()
        depth, below = 0, 0.0
        for y, sign in found:  # where the mesh runs into itself (a fold) both parts count, as they do in mass
            total += depth * (y - below)
            depth, below = depth + sign, y
        assert depth == 0  # what goes in comes out
    return abs(total) * step**2


# --- the asset ----------------------------------------------------------------------------------


def test_the_asset_is_the_one_whose_provenance_is_told() -> None:
    told = (BODY_FILE.parent / "PROVENANCE.md").read_text()
    (digest,) = re.findall(r"sha256 ([0-9a-f]{64})", told)
    assert hashlib.sha256(BODY_FILE.read_bytes()).hexdigest() == digest
    assert BODY_FILE.stat().st_size <= 6e6
    assert "CC0" in told


def test_the_skin_is_closed_and_oriented() -> None:
    """Every directed edge is there once, and once the other way: a closed surface with one outside."""
    faces = asset().faces["body"]
    edges = Counter(
        map(tuple, np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist())
    )
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    assert faces.max() + 1 == asset().body_vertices == len(np.unique(faces))


def test_the_mirror_map_is_an_involution_that_keeps_bodies_apart() -> None:
    a = asset()
    assert np.array_equal(a.mirror[a.mirror], np.arange(len(a.mirror)))
    other = {n: n[:-2] + {"r": "_l", "l": "_r"}[n[-1]] if n[-2] == "_" else n for n in a.bodies}
    swap = np.array([a.bodies.index(other[n]) for n in a.bodies])
    dense = np.zeros((len(a.mirror), len(a.bodies)))
    np.put_along_axis(dense, a.bones_vk, a.weights_vk, axis=1)
    count = a.body_vertices
    assert np.array_equal(dense[a.mirror][:count][:, swap], dense[:count])


def test_weights_sum_to_one() -> None:
    assert np.abs(asset().weights_vk.sum(axis=1) - 1).max() < 1e-12


# --- people -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEOPLE)
def test_stature_and_mass_are_what_was_asked_for(rests, name) -> None:
    """Volume by the divergence theorem about another point than the code's."""
    body, phenotype = skin(rests[name]), PEOPLE[name]
    assert np.ptp(body[:, 1]) == pytest.approx(phenotype.stature, rel=1e-9)
    assert body[:, 1].min() == pytest.approx(0, abs=1e-12)
    a, b, c = (body[asset().faces["body"][:, k]] - [3.0, -2.0, 5.0] for k in range(3))
    volume = np.linalg.det(np.stack([a, b, c], axis=1)).sum() / 6
    assert volume * DENSITY / phenotype.stature**2 == pytest.approx(phenotype.bmi, rel=5e-3)


def test_volume_is_that_of_counted_columns(rests) -> None:
    """Independent of the divergence theorem: lengths of vertical lines inside, 6 mm apart."""
    body = skin(rests["adult"])
    counted = columns_volume(body, asset().faces["body"], step=0.006)
    assert counted * DENSITY == pytest.approx(PEOPLE["adult"].mass, rel=5e-3)


def test_people_without_sides_are_symmetric(rests) -> None:
    for name in ("adult", "obese woman", "boy"):
        image = rests[name][asset().mirror] * [1, 1, -1]
        assert np.abs(image - rests[name]).max() < 1e-12
    uneven = skin(rests["uneven"])
    mirrored = skin(rest_vertices(Phenotype(leg_difference=0.02, valgus=0.5)))
    image = mirrored[asset().mirror[: len(mirrored)]] * [1, 1, -1]
    assert np.abs(image - uneven).max() < 1e-4  # the searches for stature and mass end anywhere within 1e-4


@pytest.mark.parametrize(
    "phenotype", [Phenotype(leg_difference=0.03), Phenotype(age=7, stature=1.2, bmi=16, leg_difference=-0.02)]
)
def test_legs_differ_by_what_was_asked_for(phenotype) -> None:
    """From the front of the pelvis, which is level, over the knee to the ankle."""
    there = mesh_landmarks(rest_vertices(phenotype))
    length = {}
    for side in ("left", "right"):
        knee = (there[f"{side}_femur_lateral_epicondyle"] + there[f"{side}_femur_medial_epicondyle"]) / 2
        ankle = (there[f"{side}_lateral_malleolus"] + there[f"{side}_medial_malleolus"]) / 2
        top = there[f"{side}_asis"]
        length[side] = np.linalg.norm(knee - top) + np.linalg.norm(ankle - knee)
    assert there["left_asis"][1] == pytest.approx(there["right_asis"][1], abs=1e-4)
    assert length["left"] - length["right"] == pytest.approx(phenotype.leg_difference, abs=2e-3)


def test_valgus_brings_the_knees_together() -> None:
    def gap(valgus: float) -> float:
        there = mesh_landmarks(rest_vertices(Phenotype(valgus=valgus)))
        return there["right_femur_medial_epicondyle"][2] - there["left_femur_medial_epicondyle"][2]

    gaps = [gap(v) for v in (-1.0, 0.0, 1.0)]
    assert gaps[0] > gaps[1] + 0.02 > gaps[2] + 0.04


def test_heavier_and_more_muscular_is_wider_where_it_should_be() -> None:
    there = {b: skin(rest_vertices(Phenotype(sex=0, bmi=b))) for b in (19.0, 24.0, 30.0, 38.0)}
    trunk = {}
    for bmi, body in there.items():
        belt = body[np.abs(body[:, 1] - 0.62 * 1.70) < 0.02]
        trunk[bmi] = np.ptp(belt[np.abs(belt[:, 2]) < 0.25][:, 0])
    assert list(trunk.values()) == sorted(trunk.values())
    assert trunk[38.0] > 1.4 * trunk[19.0]


def test_ages_go_from_child_to_elder() -> None:
    places = [age_scale(years) for years in (4, 8, 12, 18, 25, 60, 90)]
    assert places == sorted(places) and places[0] > 0 and places[-1] == 1
    breadth = {}
    for name, phenotype in (("child", Phenotype(age=5, stature=1.7, bmi=16)), ("adult", Phenotype())):
        there = mesh_landmarks(rest_vertices(phenotype))
        breadth[name] = there["right_ear@coco"][2] - there["left_ear@coco"][2]
    assert breadth["child"] > 1.15 * breadth["adult"]  # children have large heads for their height


def test_products_of_variations_share_out_a_whole() -> None:
    """A person between the scales' stops mixes the shapes at the stops, and the shares sum to one."""
    a = asset()
    row = coefficients(Phenotype(age=40, sex=0.3, muscle=0.2, ancestry=(0.2, 0.5, 0.3)), 0.7, 0.6)
    names = np.array(a.variations)
    words = [set(names[m > 0]) for m in a.mask]
    of_faces = {"african", "asian", "caucasian"}
    plain = [k for k, w in enumerate(words) if w & of_faces and len(w) == 3 and w & {"male", "female"}]
    assert len(plain) >= 18
    assert row[plain].sum() == pytest.approx(1.0)
    assert row[plain].min() >= 0


# --- what can't be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"age": 3}, "age from 4 to 90, got 3"),
        ({"stature": 172}, "stature from 0.95 to 2.1, got 172"),
        ({"bmi": 8}, "bmi from 11 to 50"),
        ({"muscle": 1.2}, "muscle from 0 to 1"),
        ({"leg_difference": 0.2}, "leg_difference from -0.05 to 0.05"),
        ({"valgus": float("nan")}, "valgus"),
    ],
)
def test_impossible_people_are_refused(given, words) -> None:
    with pytest.raises(CapbenchError, match=re.escape(words)):
        Phenotype(**given)


def test_a_build_out_of_reach_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(CapbenchError, match=r"BMI of 50 kg/m².*nearest.* \d\d\.\d") as caught:
        rest_vertices(Phenotype(age=5, stature=1.1, bmi=50))
    nearest = float(re.findall(r"is (\d\d\.\d)", str(caught.value))[0])
    made = skin(rest_vertices(Phenotype(age=5, stature=1.1, bmi=nearest)))
    assert np.ptp(made[:, 1]) == pytest.approx(1.1)


def test_unknown_local_changes_are_refused() -> None:
    with pytest.raises(CapbenchError, match="torso-vshape"):
        rest_vertices(Phenotype(local={"torso-v": 0.5}))
    with pytest.raises(CapbenchError, match="from -1 to 1"):
        rest_vertices(Phenotype(local={"torso-vshape": 3.0}))
