"""Scaling: factors, bodies and masses against OpenSim's own tool, and against made-up subjects."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from biomech.models import C, J, coupler, document, linear, multiplied, polynomial, table

from capbench.biomech import opensim_scale
from capbench.biomech.kinematics import marker_tracks
from capbench.biomech.model import Body, Model
from capbench.biomech.opensim_scale import with_marker_set
from capbench.biomech.opensim_setup import CoordinateTask, Tasks
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.place import _average, frames_between, place_markers, quietest_frames
from capbench.biomech.scale import body_scales, check_plausible, measure, scale, scale_model
from capbench.biomech.scale_setup import ManualScale, Measurement, ScaleSetup, read_setup
from capbench.cli.fit import DEMO
from cohorts import CapbenchError, Markers, Motion
from cohorts.formats import trc

GAIT = (
    "opensim_gait2354/gait2354_simbody.osim",
    "opensim_gait2354/gait2354_Scale_MarkerSet.xml",
    "opensim_gait2354/subject01_Setup_Scale.xml",
    "opensim_gait2354/subject01_static.trc",
    72.6,  # kg, the set-up's own
)
LAB = (
    "opencap_setup/LaiUhlrich2022.osim",
    "opencap_setup/RajagopalModified2016_markers_mocap.xml",
    "opencap_setup/Setup_scaling_RajagopalModified2016_withArms_KA_Mocap.xml",
    "labvalidation_subject4/markers/static1.trc",
    62.6,
)


def gaps(one: Model, other: Model) -> dict[str, float]:
    """The largest differences of two models of the same make."""
    worst: dict[str, float] = {}

    def note(what: str, a, b) -> None:
        worst[what] = max(worst.get(what, 0.0), float(np.abs(np.asarray(a) - np.asarray(b)).max()))

    assert {b.name for b in one.bodies} == {b.name for b in other.bodies}
    assert [m.name for m in one.markers] == [m.name for m in other.markers]
    grid = np.linspace(-2.5, 2.5, 101)
    for a in one.bodies:
        b = other.body(a.name)
        note("mass", a.mass, b.mass)
        note("centre", a.mass_centre, b.mass_centre)
        note("inertia", a.inertia, b.inertia)
    for a in one.joints:
        b = other.joint_of(a.child)
        for place in ("in_parent", "in_child"):
            note("place", getattr(a, place).translation, getattr(b, place).translation)
            note("turn", getattr(a, place).rotation, getattr(b, place).rotation)
        for x, y in zip(a.rotations + a.translations, b.rotations + b.translations, strict=True):
            note("motion", x.function(grid), y.function(grid))
    for a, b in zip(one.couplers, other.couplers, strict=True):
        note("coupler", a.function(grid), b.function(grid))
    for a, b in zip(one.markers, other.markers, strict=True):
        note("marker", a.location, b.location)
    return worst


def half_mean_square(
    model: Model, pose: Motion, placed, there: Markers, setup: ScaleSetup
) -> tuple[float, float]:
    """(marker part, whole cost) of a static pose, written out as OpenSim states it."""
    names, weights = list(placed.weights), np.array(list(placed.weights.values()))
    off = marker_tracks(model, pose).select(names).xyz[0] - there.select(names).xyz[0]
    part = 0.5 * float((weights * (off**2).sum(axis=1)).sum() / weights.sum())
    pulls = sum(
        0.5 * t.weight * (pose.column(t.name)[0] - t.value) ** 2
        for t in setup.tasks.coordinates
        if t.name in model.coordinate_names
    )
    return part, part + float(pulls)


@pytest.mark.parametrize("case", [GAIT, LAB], ids=["gait2354", "labvalidation"])
def test_real_subjects_are_scaled_as_by_opensim(shared_data, case) -> None:
    """Factors, bodies, joints and masses to 1e-12; a better static pose."""
    file, set_file, setup_file, static, mass = case
    setup, markers = read_setup(shared_data / setup_file), trc.read(shared_data / static)
    theirs = opensim_scale.scale(
        shared_data / file, markers, setup, marker_set=shared_data / set_file, mass=mass
    )
    generic = with_marker_set(read_model(shared_data / file), read_markers(shared_data / set_file))
    ours = scale(generic, markers, setup, mass=mass)
    assert {f.measurement for f in ours.factors} == set(theirs.factors) and len(ours.factors) >= 5
    for factor in ours.factors:
        assert factor.value == pytest.approx(theirs.factors[factor.measurement], rel=1e-12)
    scaled = scale_model(generic, ours.scales, mass, setup.preserve_mass)
    assert max(gaps(scaled, theirs.scaled).values()) <= 1e-12
    assert scaled.mass == pytest.approx(mass, rel=1e-12)

    there = _average(markers[frames_between(markers.time, setup.placing_time_range)])
    part, cost = half_mean_square(scaled, ours.placed.pose, ours.placed, there, setup)
    assert cost == pytest.approx(ours.placed.cost, rel=1e-9)
    assert 2 * part == pytest.approx(ours.placed.rms**2, rel=1e-9)
    their_part, their_cost = half_mean_square(scaled, theirs.pose, ours.placed, there, setup)
    assert part < their_part and cost < their_cost
    # all but the markers is the same in the model with placed markers; they follow the better pose
    apart = gaps(ours.model, theirs.placed)
    assert apart.pop("marker") < 0.02 and max(apart.values()) <= 1e-12


def test_the_published_factors_of_gait2354(shared_data) -> None:
    """subject01_scaleSet_applied.xml, as OpenSim ships it (6 digits)."""
    file, set_file, setup_file, static, _ = GAIT
    generic = with_marker_set(read_model(shared_data / file), read_markers(shared_data / set_file))
    scaled = scale(generic, trc.read(shared_data / static), read_setup(shared_data / setup_file))
    root = ElementTree.parse(shared_data / "opensim_gait2354/subject01_scaleSet_applied.xml")
    published = {s.findtext("segment").strip(): s.findtext("scales").split() for s in root.iter("Scale")}
    assert set(scaled.scales) == set(published) - {"ground"}
    for body, factors in scaled.scales.items():
        assert factors == pytest.approx([float(x) for x in published[body]], rel=5e-6)


# --- models made up to be awkward ---------------------------------------------------------------


AXES = {
    "rotation3": ("a", (0.0, 0.0, 1.0), linear()),
    "translation1": ("a", (1.0, 0.0, 0.0), polynomial(0.1, 0.02, 0.3)),
    "translation2": ("a", (0.0, -1.0, 0.0), table("SimmSpline", (-2, -1, 1, 2), (0.1, 0.2, 0.05, 0.1))),
    "translation3": ("s", (0.0, 0.0, 1.0), linear()),
}
SKEW = {
    "rotation1": ("b", (0.6, 0.0, 0.8), linear()),
    "translation1": ("b", (0.6, 0.8, 0.0), linear(2.0, 0.1)),
    "translation2": ("", (-0.8, 0.6, 0.0), "<Constant><value>0.25</value></Constant>"),
    "translation3": ("b", (0.0, 0.0, 1.0), multiplied(0.5, polynomial(0.1, 0.2, 0.3))),
}


def awkward(folder, constraint: str = "") -> tuple[Model, object]:
    """Motions along skewed and negative axes, frames that are turned, uneven inertia."""
    place = ((0.1, -0.2, 0.3), (0.5, -0.4, 1.0))
    joints = (
        J("free", "ground", "one", "FreeJoint", tuple(C(f"f{i}") for i in range(6)), {}, place, place),
        J("custom", "one", "two", "CustomJoint", (C("a"), C("s")), AXES, place, place),
        J("skew", "two", "three", "CustomJoint", (C("b"),), SKEW, place, ((0.0, 0.3, 0.0), (0.0, 0.0, 0.0))),
        J("slide", "three", "four", "SliderJoint", (C("x"),), {}, place, place),
    )
    text = document(joints, constraints=constraint)
    text = text.replace("<mass_center>0 0 0", "<mass_center>0.1 -0.2 0.05")
    for inertia in ("0.9 0.4 0.8 0.01 0.02 -0.03", "0.2 0.4 0.3 0 0.02 -0.01", "0.7 0.6 0.2 0.1 0 0"):
        text = text.replace("<inertia>1 1 1 0 0 0", f"<inertia>{inertia}", 1)
    path = folder / "awkward.osim"
    path.write_text(text)
    return read_model(path), path


UNEVEN = {"one": (1.2, 0.9, 1.1), "two": (0.8, 1.3, 1.05), "three": (1.1, 1.25, 0.7), "four": (1.3, 1.3, 1.3)}


@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("mass", [None, 55.5])
def test_uneven_factors_do_what_they_do_in_opensim(tmp_path, preserve, mass) -> None:
    model, path = awkward(tmp_path)
    manual = tuple(ManualScale(body, np.array(factors)) for body, factors in UNEVEN.items())
    setup = ScaleSetup(
        mass=mass, order=("manualScale",), manual=manual, preserve_mass=preserve, placing=False
    )
    still = marker_tracks(model, Motion(np.arange(2.0), model.coordinate_names, np.zeros((2, 10))))
    theirs = opensim_scale.scale(path, still, setup)
    ours = scale(model, still, setup)
    assert {b: tuple(f) for b, f in ours.scales.items()} == UNEVEN
    assert max(gaps(ours.model, theirs.scaled).values()) <= 1e-12
    if mass is None:
        volume = sum(np.prod(f) for f in UNEVEN.values())  # each body has 1 kg
        assert ours.model.mass == pytest.approx(4.0 if preserve else volume, rel=1e-12)


def test_a_coupled_translation_is_stretched_as_in_opensim(tmp_path) -> None:
    """Even factors: OpenSim refuses to scale it unevenly."""
    model, path = awkward(tmp_path, coupler("s", "a", polynomial(0.3, 0.1, 0.2)))
    manual = tuple(ManualScale(body, np.full(3, 1.2)) for body in ("one", "two"))
    setup = ScaleSetup(order=("manualScale",), manual=manual, placing=False)
    still = marker_tracks(model, Motion(np.arange(2.0), model.coordinate_names, np.zeros((2, 10))))
    theirs = opensim_scale.scale(path, still, setup)
    assert max(gaps(scale(model, still, setup).model, theirs.scaled).values()) <= 1e-12


def test_an_even_factor_keeps_the_shape_and_one_of_one_everything(tmp_path) -> None:
    model, _ = awkward(tmp_path)
    assert (
        gaps(scale_model(model, {}), model)["marker"] == 0 and scale_model(model, {}).bodies == model.bodies
    )
    twice = scale_model(model, {b.name: np.full(3, 2.0) for b in model.bodies}, preserve_mass=False)
    for old, new in zip(model.bodies, twice.bodies, strict=True):
        assert new.mass == pytest.approx(8 * old.mass) and new.inertia == pytest.approx(32 * old.inertia)


def test_a_body_without_mass_has_no_inertia_left() -> None:
    """As in OpenSim."""
    model = read_model(DEMO / "walker.osim")
    light = replace(model, bodies=(Body("pelvis", 0.0, np.zeros(3), np.ones(6)), *model.bodies[1:]))
    assert not scale_model(light, {"pelvis": np.array([1.0, 2.0, 1.5])}).body("pelvis").inertia.any()


@pytest.mark.parametrize(
    ("scales", "mass", "words"),
    [
        ({"pelvsi": np.ones(3)}, None, "did you mean|pelvis"),
        ({"pelvis": np.ones(2)}, None, "three factors"),
        ({"pelvis": np.array([1.0, -1.0, 1.0])}, None, "above 0"),
        ({"pelvis": np.array([1.0, np.nan, 1.0])}, None, "above 0"),
        ({}, 0.0, "mass above 0"),
        ({}, float("nan"), "mass above 0"),
    ],
)
def test_factors_that_are_none_are_refused(scales, mass, words) -> None:
    with pytest.raises(CapbenchError, match=words):
        scale_model(read_model(DEMO / "walker.osim"), scales, mass)


# --- a subject whose size is known --------------------------------------------------------------

TRUE = {"femur_r": 1.1, "femur_l": 0.95, "tibia_r": 1.05, "pelvis": 1.2}
WITHIN = {
    "femur_r": ("r_thigh", "r_knee"),
    "femur_l": ("l_thigh", "l_knee"),
    "tibia_r": ("r_shank", "r_ankle"),
}


def subject(noise: float = 0.0, frames: int = 40) -> tuple[Model, Markers, ScaleSetup, Motion]:
    """A walker of known factors standing a little bent, and the set-up that finds them within each body."""
    generic = read_model(DEMO / "walker.osim")
    grown = scale_model(generic, {body: np.full(3, factor) for body, factor in TRUE.items()})
    pose = np.linspace(-0.2, 0.25, len(generic.coordinate_names))
    motion = Motion(np.arange(frames) / 100, generic.coordinate_names, np.tile(pose, (frames, 1)))
    tracks = marker_tracks(grown, motion)
    rng = np.random.default_rng(2)
    markers = Markers(tracks.time, tracks.names, tracks.xyz + noise * rng.standard_normal(tracks.xyz.shape))
    measurements = [Measurement(b, (pair,), ((b, (0, 1, 2)),)) for b, pair in WITHIN.items()]
    wide = (("r_ASIS", "l_ASIS"), ("r_PSIS", "l_PSIS"))
    measurements.append(Measurement("hips", wide, (("pelvis", (0, 1, 2)), ("sacrum", (2,)))))
    return generic, markers, ScaleSetup(measurements=tuple(measurements), preserve_mass=True), motion


def test_a_known_subject_is_recovered() -> None:
    generic, markers, setup, truth = subject()
    found = scale(generic, markers, setup, mass=60.0)
    for factor in found.factors:
        assert factor.value == pytest.approx(TRUE.get(factor.measurement, TRUE["pelvis"]), rel=1e-12)
        assert factor.standard_error < 1e-12
    assert [f.pair_spread == pytest.approx(0, abs=1e-12) for f in found.factors] == [False] * 3 + [True]
    assert found.model.mass == pytest.approx(60.0)
    assert found.placed.rms < 1e-9 and max(found.placed.moved.values()) < 1e-9
    assert found.placed.pose.values[0] == pytest.approx(truth.values[0], abs=1e-9)
    assert any("sacrum" in note for note in found.notes)


def test_markers_go_where_they_were_seen_but_fixed_ones_stay() -> None:
    generic, markers, setup, _ = subject()
    own = scale(generic, markers, replace(setup, placing=False)).model
    moved, fixed = "r_thigh", "l_thigh"
    odd = own.with_markers(
        tuple(
            replace(m, location=m.location + np.array([0.01, 0.0, 0.02]), fixed=m.name == fixed)
            if m.name in (moved, fixed)
            else m
            for m in own.markers
        )
    )
    tasks = Tasks({m.name: 1.0 for m in own.markers if m.name not in (moved, fixed)}, ())
    placed = place_markers(odd, markers, replace(setup, tasks=tasks))
    where = {m.name: m.location for m in placed.model.markers}
    assert where[moved] == pytest.approx(next(m for m in own.markers if m.name == moved).location, abs=1e-9)
    assert np.array_equal(where[fixed], next(m for m in odd.markers if m.name == fixed).location)
    size = np.hypot(0.01, 0.02)
    assert placed.moved[moved] == pytest.approx(size) and placed.moved[fixed] == 0
    assert placed.errors[moved] == pytest.approx(size) == placed.errors[fixed]


def test_coordinate_tasks_pull_to_their_value_or_the_default() -> None:
    generic, markers, setup, _ = subject()
    strong = (
        CoordinateTask("hip_flexion_r", 1e6, "manual_value", 0.5),
        CoordinateTask("knee_angle_r", 1e6, "default_value", 0.7),
        CoordinateTask("tail", 1.0, "manual_value", 0.0),
    )
    placed = place_markers(generic, markers, replace(setup, tasks=Tasks({}, strong)))
    assert placed.pose.column("hip_flexion_r")[0] == pytest.approx(0.5, abs=1e-5)
    assert placed.pose.column("knee_angle_r")[0] == pytest.approx(0.0, abs=1e-5)
    assert any("tail" in note for note in placed.notes)


def test_the_static_pose_is_of_the_averaged_markers(tmp_path) -> None:
    """A marker that jumps between two places is put in the middle; one seen rarely where it was seen."""
    generic, markers, setup, _ = subject()
    xyz = markers.xyz.copy()
    jumping, rare = markers.names.index("r_thigh"), markers.names.index("l_thigh")
    xyz[::2, jumping] += 0.01
    xyz[1::2, jumping] -= 0.01
    xyz[3:, rare] = np.nan
    there = _average(Markers(markers.time, markers.names, xyz))
    assert there.names == markers.names
    assert there.xyz[0] == pytest.approx(markers.xyz[0], abs=1e-12)
    lost = Markers(
        markers.time, markers.names, np.where(np.arange(len(markers.names))[:, None] == rare, np.nan, xyz)
    )
    placed = place_markers(generic, lost, setup)
    assert "l_thigh" not in {m.name for m in placed.model.markers}
    assert any("l_thigh" in note for note in placed.notes)


# --- how sure -----------------------------------------------------------------------------------


def test_the_standard_error_is_that_of_repeated_recordings() -> None:
    """Independent noise of 2 mm in 40 frames: the spread of the factor over 400 recordings, within 15 %."""
    generic, _, setup, motion = subject()
    clean = subject()[1]
    rng = np.random.default_rng(0)
    setup = replace(setup, measurements=setup.measurements[:1])
    values, errors = [], []
    for _ in range(400):
        xyz = clean.xyz + 0.002 * rng.standard_normal(clean.xyz.shape)
        (factor,) = measure(generic, Markers(motion.time, clean.names, xyz), setup, [])
        values.append(factor.value)
        errors.append(factor.standard_error)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.15)


def test_slow_sway_counts_for_fewer_frames() -> None:
    """A distance that drifts by the same spread is less sure than one that jumps about."""
    generic, markers, setup, _ = subject()
    setup = replace(setup, measurements=setup.measurements[:1])
    knee = markers.names.index("r_knee")
    wave = 0.003 * np.sin(2 * np.pi * np.arange(40) / 40)
    shuffled = wave[np.random.default_rng(1).permutation(40)]
    errors = []
    for off in (wave, shuffled):
        xyz = markers.xyz.copy()
        xyz[:, knee, 1] += off
        (factor,) = measure(generic, Markers(markers.time, markers.names, xyz), setup, [])
        errors.append(factor.standard_error)
    assert errors[0] > 3 * errors[1]


def test_pairs_that_disagree_show_it() -> None:
    generic, markers, setup, _ = subject()
    xyz = markers.xyz.copy()
    names = [markers.names.index(n) for n in ("r_PSIS", "l_PSIS")]
    middle = xyz[:, names].mean(axis=1, keepdims=True)
    xyz[:, names] = middle + 1.1 * (xyz[:, names] - middle)  # ratios 1.2 and 1.32
    hips = measure(generic, Markers(markers.time, markers.names, xyz), setup, [])[-1]
    assert hips.value == pytest.approx(1.26) and hips.pair_spread == pytest.approx(0.12 / np.sqrt(2))


def test_pairs_that_cannot_be_measured_are_told() -> None:
    generic, markers, setup, _ = subject()
    kept = markers.select(n for n in markers.names if n not in ("r_PSIS", "r_shank"))
    xyz = kept.xyz.copy()
    xyz[5:9, kept.names.index("r_thigh")] = np.nan
    notes: list[str] = []
    factors = measure(generic, Markers(kept.time, kept.names, xyz), setup, notes)
    assert [f.measurement for f in factors] == ["femur_r", "femur_l", "hips"]
    assert factors[2].left_out == (("r_PSIS", "l_PSIS"),) and len(factors[2].pairs) == 1
    assert factors[0].pairs[0].frames == 36 and factors[0].value == pytest.approx(1.1)
    said = " ".join(notes)
    for words in ("r_PSIS (recording)", "r_shank (recording)", "tibia_r: no pair", "36 of 40 frames"):
        assert words in said
    scales = body_scales(generic, factors, setup, [])
    assert (scales["tibia_r"] == 1).all() and (scales["femur_r"] == pytest.approx(1.1))


def test_what_comes_later_in_the_order_prevails() -> None:
    generic, markers, setup, _ = subject()
    manual = (ManualScale("femur_r", np.array([1.0, 1.3, 1.0])),)
    both = replace(setup, manual=manual, order=("measurements", "manualScale"))
    factors = measure(generic, markers, both, [])
    assert body_scales(generic, factors, both, [])["femur_r"].tolist() == [1.0, 1.3, 1.0]
    turned = replace(both, order=("manualScale", "measurements"))
    assert body_scales(generic, factors, turned, [])["femur_r"] == pytest.approx(1.1)


# --- implausible subjects -----------------------------------------------------------------------


def test_a_recording_in_wrong_units_is_refused_with_the_pair() -> None:
    generic, markers, setup, _ = subject()
    huge = Markers(markers.time, markers.names, 1000 * markers.xyz)
    with pytest.raises(
        CapbenchError, match=r"0\.3 to 2\.5, got 1200 for pelvis along X.*r_ASIS to l_ASIS is 288 m"
    ) as caught:
        scale(generic, huge, setup)
    assert "units" in caught.value.fix


def test_bodies_of_all_sizes_on_one_person_are_refused() -> None:
    with pytest.raises(CapbenchError, match="along Y that differ by at most 1"):
        check_plausible({"a": np.array([1.0, 0.8, 1.0]), "b": np.array([1.0, 1.81, 1.0])}, ())
    check_plausible({"a": np.array([1.0, 0.8, 1.0]), "b": np.array([1.5, 1.79, 1.0])}, ())


def test_markers_in_one_place_of_the_model_are_refused() -> None:
    generic, markers, setup, _ = subject()
    first = generic.markers[0]
    same = generic.with_markers(
        tuple(replace(m, body=first.body, location=first.location) for m in generic.markers)
    )
    with pytest.raises(CapbenchError, match="in one place"):
        measure(same, markers, setup, [])


def test_too_few_markers_for_a_pose_are_refused() -> None:
    generic, markers, setup, _ = subject()
    with pytest.raises(CapbenchError, match="at least 3 markers"):
        place_markers(generic, markers, replace(setup, tasks=Tasks({"r_knee": 1.0, "x": 1.0, "y": 1.0}, ())))


# --- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (None, (0, 10)),
        ((0.2, 0.4), (2, 5)),  # both ends
        ((0.25, 0.41), (2, 6)),  # between frames: out to the next ones, as OpenSim does
        ((-1.0, 0.15), (0, 3)),
        ((0.85, 7.0), (8, 10)),
        ((0.3, 0.3), (3, 4)),
    ],
)
def test_frames_of_a_time_range(span, expected) -> None:
    cut = frames_between(np.arange(10) / 10, span)
    assert (cut.start, cut.stop) == expected


@pytest.mark.parametrize("span", [(-3.0, -1.0), (2.0, 3.0)])
def test_a_time_range_of_another_recording_is_refused(span) -> None:
    with pytest.raises(CapbenchError, match=r"covers .* as the set-up says"):
        frames_between(np.arange(10) / 10, span)


def test_the_stillest_frames() -> None:
    """A body that swings, rests from 0.5 to 0.8 s, and swings on; lost markers make no stillness."""
    time = np.arange(200) / 100
    swing = np.where((time >= 0.5) & (time <= 0.8), 0.0, 1.0) * np.sin(9 * time) * 0.1
    xyz = np.zeros((200, 4, 3)) + np.arange(4)[:, None] + 1000.0  # far off: squares must not cancel
    xyz += swing[:, None, None]
    assert quietest_frames(Markers(time, tuple("abcd"), xyz), 0.3) == slice(50, 81)
    xyz[120:, 2:] = np.nan
    xyz[150:] = xyz[150]
    assert quietest_frames(Markers(time, tuple("abcd"), xyz), 0.3) == slice(50, 81)


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 seconds or more"), (np.nan, "0 seconds"), (9, "at least 9 s")]
)
def test_windows_that_cannot_be(seconds, words) -> None:
    _, markers, _, _ = subject()
    with pytest.raises(CapbenchError, match=words):
        quietest_frames(markers, seconds)


def test_the_stillest_part_takes_the_place_of_the_time_ranges() -> None:
    generic, markers, setup, _ = subject()
    xyz = markers.xyz.copy()
    xyz[:20] += np.random.default_rng(0).normal(0, 0.03, (20, 1, 3)) * np.arange(len(markers.names))[:, None]
    odd = Markers(markers.time, markers.names, xyz)
    setup = replace(setup, time_range=(9.0, 9.5), placing_time_range=(9.0, 9.5))
    found = scale(generic, odd, setup, still=0.15)
    assert found.factors[0].value == pytest.approx(1.1) and found.placed.rms < 1e-9
    assert any("stillest 0.15 s" in note for note in found.notes)
