import time
from dataclasses import replace

import numpy as np
import pytest
from closed_meshes import is_closed, merged, winding
from scipy.spatial import cKDTree
from wardrobe import BUILDS, SQUAT, STAND, body, pose

from cohorts.errors import CapbenchError
from synthpose.body import asset
from synthpose.clothing import (
    BRACES,
    SHOES,
    TOPS,
    WAIST,
    Outfit,
    draw_outfit,
    dress,
    materials,
    sole_height,
)
from synthpose.garments import wearer
from synthpose.head import STYLES
from synthpose.mesh import Surface
from synthpose.palette import MONK, alike, linear, skin
from synthpose.person import Person
from synthpose.render import normals, rasterise
from synthpose.rings import Shoe, make_shoe
from synthpose.solids import volume
from synthpose.tailor import cloth_body, hull_rings, joints, piece, whole_body

LOOSE = Outfit(top="long", bottom="trousers", top_loose=0.9, bottom_loose=0.9, sleeve=1.9, leg=1.95, seed=3)
TIGHT = Outfit(top="vest", bottom="tights", top_loose=0.0, bottom_loose=0.0, leg=1.2, feet="bare", seed=4)
SPECIAL = (
    LOOSE,
    TIGHT,
    Outfit(top="gown", leg=1.1, feet="socks", hair="long"),
    Outfit(top="dress", leg=0.8, feet="flat", hair="bun"),
    Outfit(bottom="skirt", tucked=True, leg=0.9, hair="ponytail", scoop=0.05),
    Outfit(brace="knee_r", leg=0.5, hair="bald", beard=0.01, glasses=True),
    Outfit(brace="afo_l", leg=0.5, tucked=True, hair="bob"),
)


def worn(person: Person, name: str) -> Surface:
    return next(s for s in person.surfaces if s.name == name)


def rim(faces: np.ndarray) -> np.ndarray:
    """Vertices on edges that have one face only."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, times = np.unique(pairs, axis=0, return_counts=True)
    assert times.max() <= 2
    return np.unique(edges[times == 1])


# --- cutting ----------------------------------------------------------------------------------------


@pytest.mark.truth("the waist's and hem's places are heights of the canonical body")
def test_hems_of_the_trunk_are_level():
    sheet = piece((("height", -0.02, True), ("height", WAIST, False)))
    at = sheet.canonical_v3[rim(sheet.faces_f3)][:, 1]
    assert np.minimum(np.abs(at + 0.02), np.abs(at - WAIST)).max() < 1e-9
    assert (np.abs(at + 0.02) < 1e-9).sum() > 50 and (np.abs(at - WAIST) < 1e-9).sum() > 50


@pytest.mark.truth("projection on the line from joint to joint, worked out here")
@pytest.mark.parametrize(
    ("field", "level", "root", "end"), [("arm", 0.55, "shoulder", "elbow"), ("leg", 0.72, "hip", "knee")]
)
def test_hems_of_limbs_are_plane(field, level, root, end):
    other = ("height", 0.02, True) if field == "arm" else ("height", WAIST, False)
    sheet = piece((other, (field, level, False), ("neck", 0.0, False)))
    at = joints(asset().mean_v3)
    edge = sheet.canonical_v3[rim(sheet.faces_f3)]
    found = []
    for side, sign in (("r", 1), ("l", -1)):
        way = at[f"{end}_{side}"] - at[f"{root}_{side}"]
        own = edge[(sign * edge[:, 2] > 0) & (edge[:, 1] < 0.45)]
        share = (own - at[f"{root}_{side}"]) @ way / (way @ way)
        off = own - at[f"{root}_{side}"] - share[:, None] * way
        hem = (np.abs(share - level) < 0.05) & (np.linalg.norm(off, axis=1) < 0.13)
        found.append(share[hem])
    assert min(map(len, found)) >= 20
    assert np.abs(np.concatenate(found) - level).max() < 1e-9


def test_a_cut_leaves_every_vertex_on_its_side_and_no_area_lost():
    def area(sheet):
        a, b, c = (sheet.canonical_v3[sheet.faces_f3[:, k]] for k in range(3))
        return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()

    above, below = piece((("leg", 0.7, True),)), piece((("leg", 0.7, False),))
    assert above.fields["leg"].min() >= 0.7 - 1e-12 and below.fields["leg"].max() <= 0.7 + 1e-12
    assert area(above) + area(below) == pytest.approx(area(cloth_body()), rel=1e-12)
    assert not set(map(tuple, np.round(above.canonical_v3, 9))) <= set(
        map(tuple, np.round(asset().mean_v3, 9))
    )


def test_finer_cloth_is_the_same_surface():
    fine = cloth_body()
    assert fine.shares_nv.sum(axis=1) == pytest.approx(1.0)
    rim(fine.faces_f3)  # asserts that no edge has three faces
    edge = fine.canonical_v3[fine.faces_f3] - fine.canonical_v3[np.roll(fine.faces_f3, 1, axis=1)]
    coarse = whole_body()
    wide = coarse.canonical_v3[coarse.faces_f3] - coarse.canonical_v3[np.roll(coarse.faces_f3, 1, axis=1)]
    assert np.linalg.norm(edge, axis=-1).max() < 0.75 * np.linalg.norm(wide, axis=-1).max()


def test_an_unknown_coordinate_is_refused():
    with pytest.raises(CapbenchError, match="coordinate of the body"):
        piece((("hight", 0.1, True),))


@pytest.mark.truth("a circle's outline by 72 tangents is between r and r / cos(pi / 72)")
def test_rings_go_round_what_is_inside():
    turn = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    points = np.concatenate(
        [
            np.stack([np.full(720, h), r * np.cos(turn) + 0.3, r * np.sin(turn)], 1)
            for h, r in ((1, 0.2), (0, 0.1))
        ]
    )
    centre = np.array([[0.3, 0.0]] * 3)
    angles = np.linspace(0, 2 * np.pi, 50)
    hanging = hull_rings(points, np.array([1.2, 0.8, 0.0]), angles, centre, hanging=True)
    assert hanging.min() > 0.2 - 1e-6 and hanging.max() < 0.2 / np.cos(np.pi / 72) + 1e-9
    slices = hull_rings(points, np.array([1.2, 0.8, 0.0]), angles, centre, hanging=False)
    assert slices[2].max() < 0.1 / np.cos(np.pi / 72) + 1e-9
    upward = hull_rings(points, np.array([-0.5, 0.5, 1.0]), angles, centre, hanging=True)
    assert upward[2] == pytest.approx(0.2, rel=1e-3)


# --- dressed people -----------------------------------------------------------------------------------


def test_forty_outfits_dress_four_builds_in_time():
    spent = []
    for seed in range(40):
        person = body(list(BUILDS)[seed % 4])
        outfit = draw_outfit(seed, person.phenotype)
        start = time.process_time()
        dressed = dress(person, outfit)
        spent.append(time.process_time() - start)
        check_dressed(dressed, outfit)
    assert np.median(spent) < 0.3


@pytest.mark.parametrize("number", range(len(SPECIAL)))
def test_every_kind_of_outfit_is_sound(number):
    check_dressed(dress(body(list(BUILDS)[number % 4]), SPECIAL[number]), SPECIAL[number])


def check_dressed(dressed: Person, outfit: Outfit) -> None:
    assert dressed.surfaces[0].name == "body"
    names = [s.name for s in dressed.surfaces]
    assert len(set(names)) == len(names) and "top" in names and {"bottom", "lining"} & set(names)
    assert sum(len(s.faces_f3) for s in dressed.surfaces) < 45_000
    known = materials(outfit)
    for surface in dressed.surfaces:
        assert set(surface.materials) <= set(known)
        assert surface.material_f.max() < len(surface.materials)
        assert np.isfinite(surface.rest_v3).all() and np.isfinite(surface.canonical_v3).all()
        assert np.abs(surface.weights_vk.sum(axis=1) - 1).max() < 1e-12 and surface.weights_vk.min() >= 0
        assert surface.faces_f3.max() == len(surface.rest_v3) - 1 or surface.name != "body"
    lowest = min(s.rest_v3[:, 1].min() for s in dressed.surfaces)
    assert lowest == pytest.approx(-sole_height(outfit), abs=1e-9)


@pytest.mark.parametrize("outfit", [LOOSE, TIGHT, replace(LOOSE, tucked=True), SPECIAL[2]])
@pytest.mark.parametrize("build", list(BUILDS))
def test_no_cloth_is_inside_the_body(build, outfit):
    """Save for a vertex or two where thighs or an arm and the chest touch: there is no room between them."""
    person = body(build)
    skin_ = person.surfaces[0]
    faces = whole_body().faces_f3
    for surface in dress(person, outfit).surfaces:
        if surface.name in ("top", "bottom", "lining", "socks", "skirt", "shoe_r", "shoe_l"):
            inside = winding(surface.rest_v3, skin_.rest_v3, faces) > 0
            place = surface.canonical_v3
            touching = (np.abs(place[:, 2]) < 0.04) & (place[:, 1] < -0.08) & (place[:, 1] > -0.35)
            free = inside & ~touching
            if surface.name.startswith("shoe"):
                assert free.sum() == 1 and free[-1]  # the middle of the lid
            else:
                assert free.sum() <= 2, surface.name


def test_the_test_of_inside_can_fail():
    person = body("adult")
    surface = worn(dress(person, TIGHT), "top")
    shrunk = surface.rest_v3 - 0.01 * (surface.rest_v3 - surface.rest_v3.mean(axis=0)) / 0.1
    assert (winding(shrunk, person.surfaces[0].rest_v3, whole_body().faces_f3) > 0).mean() > 0.5


@pytest.mark.parametrize(("top_loose", "bottom_loose"), [(0.9, 0.9), (0.1, 0.9), (0.9, 0.1)])
def test_a_top_lies_over_what_it_covers(top_loose, bottom_loose):
    """The trousers' cloth under the shirt's hem is behind the shirt, seen along the shirt's normals."""
    outfit = replace(LOOSE, hem=0.0, top_loose=top_loose, bottom_loose=bottom_loose)
    dressed = dress(body("adult"), outfit)
    top, bottom = worn(dressed, "top"), worn(dressed, "bottom")
    under = bottom.rest_v3[bottom.canonical_v3[:, 1] > 0.01]
    near = cKDTree(top.rest_v3).query(under)[1]
    outward = normals(top.rest_v3, top.faces_f3)[near]
    assert len(under) > 50
    assert np.einsum("ni,ni->n", top.rest_v3[near] - under, outward).min() > 0.0005


def test_loose_clothes_stand_off_and_tight_ones_cling():
    person = body("adult")

    def distance(outfit):
        surface = worn(dress(person, outfit), "bottom")
        legs = (surface.canonical_v3[:, 1] < -0.2) & (surface.canonical_v3[:, 1] > -0.6)
        at = surface.rest_v3[legs]
        return np.sqrt(
            ((at[:, None] - person.surfaces[0].rest_v3[None, ::3]) ** 2).sum(-1).min(axis=1)
        ).mean()

    assert distance(replace(LOOSE, bottom_loose=0.9)) > distance(replace(LOOSE, bottom_loose=0.1)) + 0.01


@pytest.mark.parametrize("build", list(BUILDS))
@pytest.mark.parametrize("side", ["r", "l"])
def test_shoes_are_closed_round_the_foot_and_flat_below(build, side):
    person = body(build)
    w = wearer(person.surfaces[0])
    shoe = make_shoe(w, Shoe(sole=0.02), side, "shoe", "sole")
    assert is_closed(shoe.faces_f3)
    assert 0.0001 < volume(shoe.rest_v3, shoe.faces_f3) < 0.004
    bottom = np.isclose(shoe.rest_v3[:, 1], -0.02, atol=1e-12)
    assert bottom.sum() > 30 and shoe.rest_v3[:, 1].min() == pytest.approx(-0.02)
    fields = whole_body().fields
    foot = (fields["shoe"] < 0.7) & (fields["side"] * (1 if side == "r" else -1) > 0)
    foot &= fields["leg"] > 1.5
    assert foot.sum() > 500
    assert (winding(w.rest_v3[foot], shoe.rest_v3, shoe.faces_f3) == 1).all()
    bones = {shoe.bodies[b] for b in shoe.bones_vk[shoe.weights_vk > 1e-9]}
    assert bones == {f"calcn_{side}", f"toes_{side}"}


@pytest.mark.parametrize("brace", [b for b in BRACES if b != "none"])
def test_braces_are_closed_and_rigid(brace):
    kind, side = brace.split("_")
    shells = [
        s for s in dress(body("adult"), Outfit(brace=brace, leg=0.5)).surfaces if s.name.startswith("brace")
    ]
    assert len(shells) == 2
    for surface in shells:
        assert is_closed(surface.faces_f3)
        assert volume(surface.rest_v3, surface.faces_f3) > 2e-5
        assert (surface.weights_vk[:, 0] == 1.0).all()
        assert len({surface.bodies[b] for b in surface.bones_vk[:, 0]}) == 1
    bones = {s.bodies[s.bones_vk[0, 0]] for s in shells}
    assert bones == ({f"femur_{side}", f"tibia_{side}"} if kind == "knee" else {f"tibia_{side}"})


def test_solid_ornaments_are_closed():
    dressed = dress(body("adult"), Outfit(hair="ponytail", glasses=True))
    for name in ("tied", "glasses"):
        surface = worn(dressed, name)
        assert is_closed(merged(surface.rest_v3, surface.faces_f3))
        assert volume(surface.rest_v3, surface.faces_f3) > 0


# --- decency --------------------------------------------------------------------------------------------


def bare_pixels(person: Person, degrees: dict[str, float]) -> int:
    """Pixels from four sides that show skin of pelvis or thighs' root, or of the trunk below the armpits."""
    posed = [v[0] for v in person.posed(pose(person, degrees))]
    starts = np.cumsum([0, *(len(v) for v in posed)])
    vertices = np.concatenate(posed)
    faces = np.concatenate([s.faces_f3 + at for s, at in zip(person.surfaces, starts, strict=False)])
    private = []
    for surface in person.surfaces:
        names = np.array(surface.materials)[surface.material_f]
        place = surface.canonical_v3[surface.faces_f3].mean(axis=1)
        bone = surface.bones_vk[np.arange(len(surface.bones_vk)), surface.weights_vk.argmax(axis=1)]
        part = np.array(surface.bodies)[bone][surface.faces_f3[:, 0]]
        trunk = np.isin(part, ["pelvis", "torso"]) & (place[:, 1] < 0.33) & (np.abs(place[:, 2]) < 0.13)
        trunk |= np.char.startswith(part, "femur") & (place[:, 1] > -0.10)
        private.append((names == "skin") & trunk)
    hidden = np.concatenate(private)
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    count = 0
    for azimuth in np.radians([0, 90, 180, 270]):
        right = np.array([np.sin(azimuth), 0, -np.cos(azimuth)])
        toward = np.array([np.cos(azimuth), 0, np.sin(azimuth)])
        at = vertices - middle
        pixels = np.stack([120 + 110 * at @ right, 130 - 110 * at[:, 1]], axis=1)
        seen = rasterise(pixels, 10 - at @ toward, faces, size=(240, 260)).face_hw
        count += int(hidden[seen[seen >= 0]].sum())
    return count


@pytest.mark.parametrize("build", list(BUILDS))
def test_nobody_is_bare(build):
    person = body(build)
    outfits = [*SPECIAL, *(draw_outfit(seed, person.phenotype) for seed in range(200, 203))]
    for outfit in outfits:
        dressed = dress(person, outfit)
        assert bare_pixels(dressed, STAND) == 0
        assert bare_pixels(dressed, SQUAT) == 0


def test_the_test_of_bareness_can_fail():
    assert bare_pixels(body("adult"), STAND) > 1000


# --- chance and words --------------------------------------------------------------------------------------


def test_a_seed_says_everything():
    person = body("adult")
    one, two = (dress(person, draw_outfit(11, person.phenotype)) for _ in range(2))
    for a, b in zip(one.surfaces, two.surfaces, strict=True):
        assert a.rest_v3.tobytes() == b.rest_v3.tobytes() and a.faces_f3.tobytes() == b.faces_f3.tobytes()
        assert a.weights_vk.tobytes() == b.weights_vk.tobytes()
    assert draw_outfit(11, person.phenotype) == draw_outfit(11, person.phenotype)
    assert draw_outfit(11, person.phenotype) != draw_outfit(12, person.phenotype)


def test_chance_reaches_every_kind_and_respects_who_wears_it():
    woman, man, child = (replace(BUILDS["adult"], sex=s, age=a) for s, a in ((1.0, 40), (0.0, 40), (0.0, 8)))
    women, men, children = ([draw_outfit(k, p) for k in range(300)] for p in (woman, man, child))
    assert {o.top for o in women} == set(TOPS)
    assert {o.hair for o in women + men} == set(STYLES) and {o.feet for o in men} == set(SHOES)
    assert {o.brace for o in women} == set(BRACES)
    assert any(o.beard > 0 for o in men)
    assert not any(o.beard > 0 for o in women + children)
    assert not {"dress"} & {o.top for o in men} and "skirt" not in {o.bottom for o in men}
    tones = np.array([o.colours["skin"].first[0] for o in women])
    assert tones.min() < 0.03 and tones.max() == pytest.approx(0.68)  # the scale's both ends
    for o in women + men:
        assert not alike(o.colours["bottom"].first, o.colours["skin"].first)


@pytest.mark.truth("Monk scale 6 is #a07e56; gamma 2.2 by hand: (160 / 255) ** 2.2 = 0.3586")
def test_skin_tones_are_the_scales():
    assert skin(6).first[0] == pytest.approx(0.3586, abs=5e-4)
    assert skin(6.5).first[0] == pytest.approx((linear(MONK[5])[0] + linear(MONK[6])[0]) / 2)
    light = [sum(skin(t).first) for t in np.linspace(4, 10, 25)]
    assert (np.diff(light) < 0).all()


@pytest.mark.truth("metres of the shoes' table")
def test_soles_are_said():
    assert {f: sole_height(Outfit(feet=f)) for f in SHOES} == {
        "bare": 0.0, "socks": 0.002, "shoes": 0.020, "thick": 0.025, "flat": 0.015,
    }  # fmt: skip


def test_what_cannot_be_worn_is_refused():
    with pytest.raises(CapbenchError, match="top"):
        Outfit(top="none")
    with pytest.raises(CapbenchError, match="leg"):
        Outfit(leg=2.5)
    dressed = dress(body("adult"), Outfit())
    with pytest.raises(CapbenchError, match="dressed already"):
        dress(dressed, Outfit())
