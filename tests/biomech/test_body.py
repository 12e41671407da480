"""``capbench:fullbody``: its figures, its mirror image, OpenSim's view, the published model beside it."""

import copy
import json
import math

import numpy as np
import pytest
from biomech.models import OpenSim, our_places
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from capbench.biomech.body import (
    FILE,
    build,
    card_markers,
    fullbody,
    fullbody_card,
    marker_sets,
    mirrored_name,
    parse_card,
    read_card,
    resolve_model,
)
from capbench.biomech.compare import compare, random_poses
from capbench.biomech.kinematics import body_frames, forward, marker_tracks, points
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.osim_write import write_model
from capbench.biomech.problem import build_problem
from capbench.biomech.solve import solve
from capbench.biomech.tree import build_tree
from capbench.cli.main import cli
from cohorts.bounded import load_yaml
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.skeleton import skeleton

EVERYTHING = ("head", "wrists")


@pytest.fixture(scope="module")
def whole():
    return fullbody(groups=EVERYTHING)


@pytest.fixture(scope="module")
def published(shared_data):
    return read_model(shared_data / "opencap_setup" / "LaiUhlrich2022.osim")


def published_markers(shared_data, which):
    return read_markers(shared_data / "opencap_setup" / f"RajagopalModified2016_markers_{which}.xml")


# --- masses -------------------------------------------------------------------------------------


def test_masses_sum_to_the_whole() -> None:
    card = load_yaml(FILE)["bodies"]
    share = sum(b["mass"] * (2 if name.endswith("_r") else 1) for name, b in card.items())
    assert share == pytest.approx(1, abs=1e-12)
    assert fullbody().mass == pytest.approx(75.337, abs=1e-9)
    assert fullbody(mass=60).mass == pytest.approx(60, abs=1e-9)


def test_size_scales_lengths_masses_and_inertia() -> None:
    small, large = fullbody(), fullbody(height=2.04, mass=80)
    for a, b in zip(small.bodies, large.bodies, strict=True):
        assert b.mass == pytest.approx(a.mass * 80 / 75.337, rel=1e-12)
        np.testing.assert_allclose(b.mass_centre, a.mass_centre * 1.2, rtol=1e-12)
        np.testing.assert_allclose(b.inertia, a.inertia * 1.44 * 80 / 75.337, rtol=1e-12)
    # a body 1.2 times as large reaches 1.2 times as far, in every pose, knees' gliding included
    tree_a, tree_b = build_tree(small), build_tree(large)
    q = random_poses(small, 50, seed=1)
    shifts = [tree_a.index(f"pelvis_t{axis}") for axis in "xyz"]
    wide = q.copy()
    wide[:, shifts] *= 1.2
    np.testing.assert_allclose(
        our_places(large, tree_b, wide).markers, 1.2 * our_places(small, tree_a, q).markers, atol=1e-12
    )
    pelvis = {c.name: c for c in large.coordinates}["pelvis_ty"]
    assert pelvis.default == pytest.approx(0.93 * 1.2) and pelvis.range == (-1, 2)


def test_height_alone_keeps_the_body_mass_index() -> None:
    assert fullbody(height=1.53).mass == pytest.approx(75.337 * 0.81, rel=1e-12)


@pytest.mark.parametrize(
    ("size", "unit"),
    [({"height": 170.0}, "metres"), ({"mass": math.nan}, "kilograms"), ({"height": 0.0}, "metres")],
)
def test_impossible_sizes_are_refused(size, unit) -> None:
    with pytest.raises(CapbenchError, match=unit):
        fullbody(**size)


def test_head_and_torso_are_the_published_torso(published) -> None:
    """Their common mass, mass centre and inertia (parallel axes) are those of the model without a head."""
    ours = fullbody(groups=EVERYTHING)
    torso, head = ours.body("torso"), ours.body("head")
    neck = ours.joint_of("head").in_parent.translation
    theirs = published.body("torso")
    mass = torso.mass + head.mass
    assert mass == pytest.approx(theirs.mass, abs=1e-4)
    centres = [torso.mass_centre, head.mass_centre + neck]
    common = (torso.mass * centres[0] + head.mass * centres[1]) / mass
    np.testing.assert_allclose(common, theirs.mass_centre, atol=1e-5)
    inertia = np.zeros(3)
    for body, centre in zip((torso, head), centres, strict=True):
        d = centre - common
        inertia += body.inertia[:3] + body.mass * (d @ d - d**2)
    np.testing.assert_allclose(inertia, theirs.inertia[:3], rtol=1e-3)


def test_other_bodies_have_the_published_masses(published) -> None:
    ours = {b.name: b for b in fullbody().bodies}
    for theirs in published.bodies:
        if theirs.name.startswith(("patella", "torso")):
            continue
        body = ours[theirs.name]
        patella = published.body("patella_r").mass if theirs.name.startswith("femur") else 0.0
        assert body.mass == pytest.approx(theirs.mass + patella, abs=1e-5), theirs.name
        np.testing.assert_allclose(body.mass_centre, theirs.mass_centre, atol=1e-9)
        # radii are written to 0.01 mm; the femur's is that of the thigh without the patella
        np.testing.assert_allclose(body.inertia[:3] / body.mass, theirs.inertia[:3] / theirs.mass, rtol=2e-3)


# --- the mirror ---------------------------------------------------------------------------------


def swapped(name: str) -> str:
    return mirrored_name(name) if name.endswith("_r") else name[:-2] + "_r" if name.endswith("_l") else name


def test_mirrored_poses_put_left_where_right_was(whole) -> None:
    """Sides' values exchanged, turns and shifts that lead sideways reversed: the picture in a mirror."""
    tree = build_tree(whole)
    q = random_poses(whole, 100, seed=2)
    sideways = {n for n in tree.coordinates if n.endswith(("_list", "_rotation", "_bending", "_tz"))}
    assert sideways == {
        "pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation", "neck_bending",
        "neck_rotation",
    }  # fmt: skip
    mirrored = np.stack(
        [(-1 if n in sideways else 1) * q[:, tree.index(swapped(n))] for n in tree.coordinates], axis=1
    )
    flip = np.diag([1.0, 1.0, -1.0])
    before, after = forward(tree, q), forward(tree, mirrored)
    for body in whole.bodies:
        rotation, origin = body_frames(tree, before, body.name)
        other_rotation, other_origin = body_frames(tree, after, swapped(body.name))
        np.testing.assert_allclose(other_origin, origin * [1, 1, -1], atol=1e-12)
        np.testing.assert_allclose(other_rotation, flip @ rotation @ flip, atol=1e-12)
    for marker in whole.markers:
        if not marker.name.startswith("right_"):
            continue
        left = next(m for m in whole.markers if m.name == marker.name.replace("right_", "left_"))
        was = points(tree, before, [marker.body], marker.location[None])
        is_now = points(tree, after, [left.body], left.location[None])
        np.testing.assert_allclose(is_now, was * [1, 1, -1], atol=1e-12)


def placed(model, body, at, **degrees):
    """Where a point of a body is, the pelvis standing at ground's origin."""
    tree = build_tree(model)
    q = np.zeros((1, len(tree.coordinates)))
    for name, value in degrees.items():
        q[0, tree.index(name)] = np.radians(value)
    return points(tree, forward(tree, q), [body], np.array([at], float))[0, 0]


def test_angles_turn_the_way_their_names_say(whole) -> None:
    """Closed form: a quarter turn about one axis takes a unit step down, forward, or to a side."""
    neck, hip = whole.joint_of("head"), whole.joint_of("femur_r").in_parent.translation
    base = whole.joint_of("torso").in_parent.translation + neck.in_parent.translation
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    # extension: the top of the head goes back; bending: to the right; rotation: the face goes to the left
    np.testing.assert_allclose(
        placed(whole, "head", (0, 1, 0), neck_extension=30), base + np.array([-s, c, 0]), atol=1e-12
    )
    np.testing.assert_allclose(
        placed(whole, "head", (0, 1, 0), neck_bending=30), base + np.array([0, c, s]), atol=1e-12
    )
    np.testing.assert_allclose(
        placed(whole, "head", (1, 0, 0), neck_rotation=30), base + np.array([c, 0, -s]), atol=1e-12
    )
    # hip flexion lifts the thigh forward, adduction takes it to the other side, on both sides
    np.testing.assert_allclose(
        placed(whole, "femur_r", (0, -1, 0), hip_flexion_r=30), hip + np.array([s, -c, 0]), atol=1e-12
    )
    left = hip * [1, 1, -1]
    np.testing.assert_allclose(
        placed(whole, "femur_l", (0, -1, 0), hip_flexion_l=30), left + np.array([s, -c, 0]), atol=1e-12
    )
    np.testing.assert_allclose(
        placed(whole, "femur_r", (0, -1, 0), hip_adduction_r=30), hip + np.array([0, -c, -s]), atol=1e-12
    )
    np.testing.assert_allclose(
        placed(whole, "femur_l", (0, -1, 0), hip_adduction_l=30), left + np.array([0, -c, s]), atol=1e-12
    )
    # palms forward: wrist flexion takes the fingers forward, deviation towards the little finger's side
    for side, inward in (("r", -1), ("l", 1)):
        wrist = placed(whole, f"hand_{side}", (0, 0, 0))
        flexed = placed(whole, f"hand_{side}", (0, -1, 0), **{f"wrist_flex_{side}": 30}) - wrist
        deviated = placed(whole, f"hand_{side}", (0, -1, 0), **{f"wrist_dev_{side}": 30}) - wrist
        np.testing.assert_allclose(flexed, [s, -c, 0], atol=1e-12)
        np.testing.assert_allclose(deviated, [0, -c, inward * s], atol=1e-12)


# --- OpenSim's view -----------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [(), EVERYTHING])
def test_opensim_puts_the_written_model_where_we_do(groups, tmp_path) -> None:
    model = fullbody(groups=groups, height=1.83, mass=81)
    path = tmp_path / "body.osim"
    write_model(model, path)
    tree = build_tree(model)
    q = random_poses(model, 100, seed=3, beyond=0.1)
    far = np.abs(q) > 1.001 * np.array([max(map(abs, c.range)) for c in model.coordinates])
    assert far.any()
    theirs = OpenSim(path)
    assert our_places(model, tree, q).distance(theirs.places(model, tree.coordinates, q)) <= 1e-12
    assert theirs.model.getTotalMass(theirs.state) == pytest.approx(81, abs=1e-9)
    assert read_model(path).coordinates == model.coordinates


# --- the published model beside it --------------------------------------------------------------


def test_joints_and_bodies_are_where_the_published_model_has_them(published) -> None:
    found = compare(fullbody(markers=None), published, poses=500, seed=4)
    assert len(found.posed) == 33 and len(found.joints) == 20 and len(found.bodies) == 20
    worst = {name: gap.largest for name, gap in found.joints.items()}
    assert max(worst.values()) < 1e-9, worst  # axes are written to nine digits
    for name, gap in found.bodies.items():
        # the published left toe axis leans by 2e-6 to the side that its mirror image would lean away from
        assert gap.largest < np.radians(2e-4 if name == "toes_l" else 2e-7), name
    assert found.ranges == {}
    # the head is ours, the patella theirs
    assert found.joints_only.a == ("neck",) and found.bodies_only.a == ("head",)
    assert found.joints_only.b == ("patellofemoral_r", "patellofemoral_l")
    assert found.bodies_only.b == ("patella_r", "patella_l")
    assert found.coordinates_only.a == ()
    assert found.coordinates_only.b == ("knee_angle_r_beta", "knee_angle_l_beta")


def test_coordinates_come_in_the_published_order(published) -> None:
    theirs = tuple(n for n in published.coordinate_names if not n.endswith("_beta"))
    assert fullbody().coordinate_names == theirs
    defaults = {c.name: c.default for c in published.coordinates}
    assert all(c.clamped and c.default == pytest.approx(defaults[c.name]) for c in fullbody().coordinates)


@pytest.mark.parametrize(
    ("ours", "theirs", "shared", "apart"),
    [
        ("synthpose-52", "mmpose_final_adjusted", 33, {}),
        # the published left wrist, heel and ankle are not the right ones' mirror image; ours are
        (
            "opencap-mocap-49",
            "mocap",
            49,
            {"L_wrist_ulna": 0.0118, "L_wrist_radius": 0.0064, "L_calc": 0.0026, "L_ankle": 0.0006},
        ),
        ("openpose-25", "openpose", 20, {}),
    ],
)
def test_markers_are_where_the_published_sets_have_them(
    ours, theirs, shared, apart, published, shared_data
) -> None:
    worn = {m.name: m for m in published_markers(shared_data, theirs)}
    if theirs == "openpose":
        worn["MidHip"] = type(worn["midHip"])("MidHip", worn["midHip"].body, worn.pop("midHip").location)
    dressed = published.with_markers(tuple(worn.values()))
    found = compare(fullbody(markers=ours), dressed, poses=500, seed=5).markers
    assert len(found) == shared
    for name, gap in found.items():
        assert gap.largest < apart.get(name, 2e-6), name
    model = {m.name: m for m in fullbody(markers=ours).markers}
    assert all(model[n].fixed == worn[n].fixed for n in found)


# --- marker sets --------------------------------------------------------------------------------


def test_every_point_of_every_set_has_a_site() -> None:
    assert set(marker_sets()) == {
        "synthpose-52", "opencap-mocap-49", "coco-17", "openpose-25", "halpe-26", "coco-wholebody-133",
        "blazepose-33",
    }  # fmt: skip
    for name in marker_sets():
        points_of = skeleton(name).points
        worn = tuple(m.name for m in fullbody(markers=name).markers)
        assert worn == (points_of[:23] if name == "coco-wholebody-133" else points_of)


def test_marker_sides_are_the_landmarks_sides() -> None:
    """In the neutral pose everything named right lies at z > 0, left at z < 0, the middle at 0."""
    for name in marker_sets():
        model = fullbody(markers=name)
        time = np.zeros(1)
        rest = Motion(time, model.coordinate_names, np.zeros((1, len(model.coordinates))))
        xyz = marker_tracks(model, rest).xyz[0]
        found = skeleton(name)
        for marker, point in zip(model.markers, xyz, strict=True):
            side = found.sides[found.index(marker.name)]
            if side == "middle":
                assert abs(point[2]) < 0.004, (name, marker.name)
            else:
                assert point[2] * {"right": 1, "left": -1}[side] > 0.009, (name, marker.name)


def test_heights_of_landmarks_stand_as_people_do() -> None:
    model = fullbody(markers="halpe-26")
    rest = np.zeros((1, len(model.coordinates)))
    rest[0, model.coordinate_names.index("pelvis_ty")] = 0.93
    at = marker_tracks(model, Motion(np.zeros(1), model.coordinate_names, rest))
    height = dict(zip(at.names, at.xyz[0, :, 1], strict=True))
    assert height["head"] == pytest.approx(1.70, abs=0.005)  # the card's height is the vertex above the floor
    assert height["head"] - height["left_ear"] == pytest.approx(0.130, abs=0.005)  # ANSUR II, both sexes
    assert 0 < height["left_heel"] < 0.03 and height["left_eye"] > height["nose"] > height["neck"]


def test_a_landmark_without_a_site_is_named() -> None:
    card = fullbody_card()
    bare = type(card)(**{**card.__dict__, "sites": {k: v for k, v in card.sites.items() if k != "c7"}})
    with pytest.raises(CapbenchError, match="landmark c7") as caught:
        card_markers(bare, "synthpose-52")
    assert caught.value.place == "marker set synthpose-52, point C7"


# --- fitting it ---------------------------------------------------------------------------------

#: ranges in which Euler angles are one-to-one, degrees; elsewhere the model's own
NARROW = {
    "arm_flex": 80,
    "arm_add": 60,
    "arm_rot": 80,
    "pelvis_list": 50,
    "pelvis_tilt": 60,
    "pelvis_rotation": 170,
}


def smooth_motion(model, frames, seed):
    """Each coordinate waves about a random middle, always 2 % of its range within it."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / 100
    columns = []
    for c in model.coordinates:
        low, high = c.range
        for start, degrees in NARROW.items():
            if c.name.startswith(start):
                low, high = -np.radians(degrees), np.radians(degrees)
        if c.kind == "translation":
            low, high = -1.0, 1.0
        middle = rng.uniform(0.3, 0.7) * (high - low) + low
        room = min(middle - low, high - middle) - 0.02 * (high - low)
        columns.append(middle + room * np.sin(2 * np.pi * (rng.uniform(0.2, 1) * time + rng.uniform())))
    return Motion(
        time, model.coordinate_names, np.stack(columns, axis=1), tuple(c.kind for c in model.coordinates)
    )


@pytest.mark.parametrize(
    ("markers", "groups", "held"),
    [
        ("synthpose-52", ("head",), {"mtp_angle_r", "mtp_angle_l"}),
        ("opencap-mocap-49", (), {"mtp_angle_r", "mtp_angle_l"}),
        ("blazepose-33", ("head", "wrists"), {"mtp_angle_r", "mtp_angle_l"}),
    ],
)
def test_motions_are_recovered_from_their_markers(markers, groups, held) -> None:
    model = fullbody(markers=markers, groups=groups)
    truth = smooth_motion(model, 120, seed=6)
    solution = solve(model, marker_tracks(model, truth))
    certificate = solution.certificate
    assert certificate.converged.all() and certificate.rms.max() < 1e-8
    observed = {
        n for n, seen in zip(certificate.coordinates, certificate.observed.T, strict=True) if seen.all()
    }
    assert set(model.coordinate_names) - observed == held
    for name in observed:
        gap = np.abs(solution.motion.column(name) - truth.column(name)).max()
        assert gap < np.radians(1e-4), (name, np.degrees(gap))
    pruned = set(build_problem(model, {m.name: 1.0 for m in model.markers}).pruned)
    assert {"toes_r", "toes_l"} <= pruned


# --- the card -----------------------------------------------------------------------------------


@pytest.fixture
def card():
    return copy.deepcopy(load_yaml(FILE))


def put(card, way, value):
    """Set (or, with None, delete) what lies at a dotted way."""
    *parts, last = way.split(".")
    for part in parts:
        card = card[int(part) if part.isdigit() else part]
    if value is None:
        del card[last]
    else:
        card[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(
    ("way", "value", "place", "problem"),
    [
        ("masss", 3, "the card", "masss"),
        ("height", None, "the card", "the key height"),
        ("height", "1.7", "height", "a number"),
        ("height", True, "height", "a number"),
        ("mass", float("nan"), "mass", "2 to 700"),
        ("bodies.head.mass", 0.07, "bodies", "sum to 1"),
        ("bodies.head.mass", -0.0681, "bodies.head.mass", "0 to 1"),
        ("bodies.head.centre", [0, 1], "bodies.head.centre", "3 numbers"),
        ("bodies.head.gyration.1", "x", "bodies.head.gyration[1]", "a number"),
        ("bodies.head.colour", "red", "bodies.head", "colour"),
        ("bodies", [], "bodies", "a mapping"),
        ("joints.neck.parent", "tors", "joints.neck.parent", "torso"),
        ("joints.neck.group", "hat", "joints.neck.group", "head"),
        ("joints.neck.turns.0.about", "w", "joints.neck.turns[0].about", "axis"),
        ("joints.neck.turns.1.about", "z", "joints.neck.turns[1]", "differs"),
        ("joints.neck.turns.0.coordinate", "neck", "joints.neck.turns[0].coordinate", "neck_extension"),
        ("joints.neck.turns", {}, "joints.neck.turns", "a list"),
        ("joints.mtp_r.coordinates.mtp_angle_r.range", [9, 20], "joints.mtp_r.coordinates.mtp_angle_r",
         "default 0"),
        ("joints.neck.coordinates.nod", {"range": [0, 1]}, "joints.neck.coordinates", "nod"),
        ("joints.ankle_r.axes.ankle", [0, 0, 0], "joints.ankle_r.axes.ankle", "no length"),
        ("joints.hip_r.child", "torso", "joints.hip_r", "end in _r"),
        ("sites.c7.body", "neck", "sites.c7.body", "body"),
        ("sites.c7.at", 3, "sites.c7.at", "a list"),
        ("sites.SIDE_ulnar_styloid.fixed", "yes", "sites.SIDE_ulnar_styloid.fixed", "true or false"),
        ("sets.opencap-mocap-49.moved.c8", [0, 0, 0], "sets.opencap-mocap-49.moved.c8", "c8"),
        ("sets.coco-17", "all", "sets.coco-17", "a mapping"),
    ],
)  # fmt: skip
def test_errors_in_the_card_name_their_place(card, way, value, place, problem) -> None:
    put(card, way, value)
    with pytest.raises(CapbenchError) as caught:
        build(parse_card(card), markers=None)
    assert caught.value.place == place
    assert problem in str(caught.value)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.floats(), max_size=4), st.just(10**400),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_change_of_the_card_is_fine_or_told(data) -> None:
    card = copy.deepcopy(load_yaml(FILE))
    here = card
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        inner = here[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 3)) == 0:
            here[key] = data.draw(JUNK)
            break
        here = inner
    try:
        made = parse_card(card)
        for name in made.sets:
            build(made, markers=name)
    except CapbenchError:
        pass


def test_a_file_that_errs_is_named(tmp_path, card) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\n")
    with pytest.raises(CapbenchError) as caught:
        read_card(path)
    assert caught.value.file == str(path)
    path.write_text("name: &a x\nheight: *a\n")
    with pytest.raises(CapbenchError, match="aliases"):
        read_card(path)


# --- names and the command ----------------------------------------------------------------------


def test_names_of_models(tmp_path) -> None:
    assert resolve_model("capbench:fullbody") == fullbody()
    assert resolve_model("capbench:fullbody+head+coco-17") == fullbody(groups=("head",), markers="coco-17")
    added = set(fullbody(groups=EVERYTHING).coordinate_names) - set(fullbody().coordinate_names)
    assert added == {
        "neck_extension", "neck_bending", "neck_rotation", "wrist_flex_r", "wrist_dev_r", "wrist_flex_l",
        "wrist_dev_l",
    }  # fmt: skip
    path = tmp_path / "mine.osim"
    write_model(fullbody(), path)
    assert resolve_model(path).coordinates == fullbody().coordinates
    for wrong, near in (
        ("capbench:fulbody", "capbench:fullbody"),
        ("capbench:fullbody+heads", "head"),
        ("capbench:fullbody+coco-18", "coco-17"),
        ("capbench:fullbody+", "head"),
    ):
        with pytest.raises(CapbenchError, match=near):
            resolve_model(wrong)
    with pytest.raises(CapbenchError, match="one marker set"):
        resolve_model("capbench:fullbody+coco-17+halpe-26")
    with pytest.raises(CapbenchError, match=r"no\.osim"):
        resolve_model(tmp_path / "no.osim")


def run(*arguments: object):
    return CliRunner().invoke(cli, ["model", *map(str, arguments)])


def test_build_writes_what_was_asked(tmp_path) -> None:
    path = tmp_path / "body.osim"
    ran = run(
        "build", "capbench:fullbody+head", "--markers", "coco-17", "--height", 1.8, "-o", path, "--json"
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["coordinates"] == 36 and told["markers"] == 17
    assert told["mass_kg"] == pytest.approx(75.337 * (1.8 / 1.7) ** 2)
    assert read_model(path).coordinate_names == fullbody(groups=("head",)).coordinate_names
    again = run("build", "-o", path)
    assert again.exit_code == 2 and "exists" in again.stderr
    ran = run("build", "-o", path, "--force", "--markers", "none")
    assert ran.exit_code == 0 and "0 markers" in ran.stdout and read_model(path).markers == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "x.osim", "-o", "y.osim"), "capbench's own"),
        (("build", "-o", "y.xml"), ".osim"),
        (("build", "-o", "y.osim", "--height", "180"), "metres"),
        (("build", "-o", "y.osim", "--markers", "coco"), "coco-17"),
        (("build", "capbench:fullbody+coco-17", "-o", "y.osim", "--markers", "none"), "one marker set"),
    ],
)
def test_build_refuses(words, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*words)
    assert ran.exit_code == 2 and message in ran.stderr
    assert not list(tmp_path.iterdir())


def test_info_tells_what_markers_leave_unobserved() -> None:
    told = json.loads(run("info", "capbench:fullbody+wrists", "--json").stdout)
    assert told["mass_kg"] == pytest.approx(75.337)
    states = {c["name"]: c["state"] for c in told["coordinates"]}
    held = {"mtp_angle_r", "mtp_angle_l", "wrist_flex_r", "wrist_dev_r", "wrist_flex_l", "wrist_dev_l"}
    assert {n for n, state in states.items() if state == "held"} == held
    assert set(told["unobserved_bodies"]) == {"toes_r", "toes_l", "hand_r", "hand_l"}
    ranges = {c["name"]: c["range"] for c in told["coordinates"]}
    assert ranges["hip_flexion_l"] == pytest.approx([-30, 120]) and ranges["pelvis_ty"] == [-1, 2]
    text = run("info", "capbench:fullbody").stdout
    assert "left out  toes_r, toes_l: no marker" in text and "r_ASIS" in text


def test_compare_tells_joints_markers_and_what_one_lacks(tmp_path) -> None:
    path = tmp_path / "large.osim"
    write_model(fullbody(height=1.87, markers="coco-17"), path)
    ran = run("compare", "capbench:fullbody+head", path, "--poses", 20, "--json")
    told = json.loads(ran.stdout)
    assert told["poses"] == 20 and told["coordinates_only"]["a"][0] == "neck_extension"
    # both pelvises stand at the same place, so the hips are apart by a tenth of their own distance from it
    hip = fullbody().joint_of("femur_r").in_parent.translation
    assert told["joints"]["hip_r"]["largest"] == pytest.approx(0.1 * np.linalg.norm(hip), abs=1e-9)
    assert told["bodies"]["torso"]["largest"] == pytest.approx(0, abs=1e-9)
    assert "nose" in told["markers"] and "C7" in told["markers_only"]["a"]
    # B in A's own markers, read from a file: nothing but the size differs, so the body's origin coincides
    worn = tmp_path / "worn.osim"
    write_model(fullbody(), worn)
    told = json.loads(run("compare", "capbench:fullbody", path, "--markers-of-b", worn, "--json").stdout)
    assert told["markers_only"] == {"a": [], "b": []} and len(told["markers"]) == 52
    assert told["markers"]["r_ASIS"]["largest"] == pytest.approx(0, abs=1e-12)
    text = run("compare", "capbench:fullbody+head", path, "--poses", 20).stdout
    assert "neck_extension, neck_bending, neck_rotation" in text and "max mm" in text


def test_compare_measures_turns(whole) -> None:
    """A torso turned by 0.2 rad at rest is 0.2 rad off in every pose."""
    from dataclasses import replace

    from capbench.biomech.model import Placement
    from capbench.biomech.tree import rotation_about

    turned = Placement(rotation_about(np.array([0.0, 0.0, 1.0]), 0.2))
    joints = tuple(replace(j, in_child=turned) if j.name == "neck" else j for j in whole.joints)
    found = compare(whole, replace(whole, joints=joints), poses=10)
    assert found.bodies["head"].largest == pytest.approx(0.2, abs=1e-12)
    assert found.bodies["head"].mean == pytest.approx(0.2, abs=1e-12)
    assert max(g.largest for n, g in found.bodies.items() if n != "head") == 0


def test_compare_refuses_ranges_that_never_meet(whole) -> None:
    from dataclasses import replace

    hip = whole.joint_of("femur_r")
    apart = tuple(replace(c, range=(3.0, 3.1)) for c in hip.coordinates)
    joints = tuple(replace(j, coordinates=apart) if j.name == "hip_r" else j for j in whole.joints)
    with pytest.raises(CapbenchError, match="overlap"):
        compare(whole, replace(whole, joints=joints))
