"""Each kind of bad recording is found, in words; good ones, whatever the person does, are left alone."""

import numpy as np
import pytest

from capbench.biomech.model import Model
from capbench.biomech.opensim_setup import read_tasks
from capbench.biomech.osim import read_model
from capbench.biomech.solve import solve
from capbench.biomech.suspect import (
    Suspicion,
    flat,
    implausible_size,
    jumps,
    mirrored,
    misplaced,
    opposites,
    origin_points,
    refuse,
    size_ratio,
    suspicions,
    swapped_markers,
    too_few,
    trunk_direction,
    unmatched_names,
    upside_down,
)
from capbench.cli.fit import DEMO
from cohorts.errors import CapbenchError
from cohorts.formats import trc
from cohorts.recording import Markers


@pytest.fixture(scope="module")
def walker() -> Model:
    return read_model(DEMO / "walker.osim")


@pytest.fixture(scope="module")
def walk() -> Markers:
    return trc.read(DEMO / "walker.trc")


@pytest.fixture(scope="module")
def real_model(shared_data) -> Model:
    return read_model(shared_data / "labvalidation_subject4/model/manually_scaled.osim")


@pytest.fixture(scope="module")
def real_weights(shared_data) -> dict[str, float]:
    return read_tasks(shared_data / "opencap_setup/Setup_IK_Mocap.xml").markers


def changed(markers: Markers, xyz: np.ndarray) -> Markers:
    return Markers(markers.time, markers.names, xyz)


def yaw(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def kinds(found: tuple[Suspicion, ...]) -> list[tuple[str, str]]:
    return [(s.severity, s.kind) for s in found]


def only(found: tuple[Suspicion, ...]) -> Suspicion:
    assert len(found) == 1, found
    return found[0]


# --- recordings that are well ---------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 60, 90, 135, 180, 250, 300])
def test_a_walk_in_any_direction_is_fine(walker, walk, degrees) -> None:
    assert suspicions(walker, changed(walk, walk.xyz @ yaw(degrees).T + np.array([1.0, 0.0, -2.0]))) == ()


@pytest.mark.parametrize("size", [0.6, 0.8, 1.2, 1.6])
def test_a_child_or_a_giant_on_the_unscaled_model_is_fine(walker, walk, size) -> None:
    assert suspicions(walker, changed(walk, walk.xyz * size)) == ()


@pytest.mark.parametrize(("noise", "step"), [(0.005, 1), (0.02, 1), (0.05, 1), (0.02, 4)])
def test_noise_and_missing_points_are_fine(walker, walk, noise, step) -> None:
    rng = np.random.default_rng(5)
    xyz = walk.xyz + rng.normal(0, noise, walk.xyz.shape)
    xyz[rng.random(xyz.shape[:2]) < 0.1] = np.nan
    assert suspicions(walker, changed(walk, xyz)[::step]) == ()


def test_fast_sampling_of_noise_is_no_jump(walk) -> None:
    rng = np.random.default_rng(6)
    xyz = walk.xyz + rng.normal(0, 0.02, walk.xyz.shape)
    assert jumps(Markers(walk.time / 10, walk.names, xyz)) == ()  # 1000 frames per second: up to 100 m/s


def test_one_frame_is_fine(walker, walk) -> None:
    assert suspicions(walker, walk[7:8]) == ()


@pytest.mark.parametrize("trial", ["walking1", "DJ1", "squats1"])
def test_real_trials_say_what_is_true(shared_data, real_model, real_weights, trial) -> None:
    markers = trc.read(shared_data / f"labvalidation_subject4/markers/{trial}.trc")
    found = suspicions(real_model, markers, real_weights)
    assert [(s.severity, s.kind, set(s.markers)) for s in found] == [
        # as grep finds them in the files: no markers of the model; in the model, but no task in the set-up
        ("flag", "names", {f"{side}_{n}" for side in "LR" for n in ("HJC_reg", "forearm", "humerus")}),
        ("flag", "names", {"L_HJC", "R_HJC"}),
    ]
    some = markers[:150]
    assert misplaced(real_model, some, solve(real_model, some, weights=real_weights, passes=1).motion) == ()


# --- names ----------------------------------------------------------------------------------------


def test_names_that_do_not_meet_are_listed(walker, walk) -> None:
    names = list(walk.names)
    weights = dict.fromkeys(names[:-3], 1.0) | {names[0]: 0.0, "r_ASSIS": 2.0, "sternum": 1.0}
    recorded = [n for n in names if n != "sternum"]
    found = unmatched_names(walker, ["stick", *recorded], weights)
    assert [(s.severity, s.markers) for s in found] == [
        ("flag", ("stick",)),
        ("flag", tuple(names[-3:])),
        ("flag", (names[0],)),
        ("flag", ("r_ASSIS",)),
        ("flag", ("sternum",)),
    ]
    said = [s.text for s in found]
    for text, words in zip(
        said, ("not in the model", "no task", "weight 0", "the model lacks", "not recorded"), strict=True
    ):
        assert words in text


def test_too_little_in_common_is_refused(walker, walk) -> None:
    for names, weights in (
        (walk.names[:2], None),
        (["a", "b", "c", "d"], None),
        (walk.names, {}),
        (walk.names, dict.fromkeys(walk.names, 0.0)),
        (walk.names, dict.fromkeys(walk.names[:2], 1.0)),
    ):
        found = unmatched_names(walker, names, weights)
        with pytest.raises(CapbenchError, match="at least 3 markers that recording, tasks and model share"):
            refuse(found)
    strangers = Markers(walk.time, tuple(f"m{i}" for i in range(27)), walk.xyz)
    assert ("refuse", "names") in kinds(suspicions(walker, strangers))
    assert kinds(suspicions(walker, walk, {walk.names[0]: float("nan")}))[0] == ("refuse", "names")


def test_both_sides_are_known_by_their_names() -> None:
    pairs = [
        ("r_knee", "L_knee"), ("r.ASIS", "L.ASIS"), ("RASI", "LASI"), ("rShoulder", "lShoulder"),
        ("right_hip", "left_hip"), ("RightAnkle", "LeftAnkle"), ("femur_r", "femur_l"), ("toe.R", "toe.L"),
        ("mid_r_arm", "mid_l_arm"),
    ]  # fmt: skip
    names = [n for pair in pairs for n in pair] + ["sternum", "head", "lumbar", "T10", "rib"]
    found = opposites(names)
    assert found == {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    assert opposites(["r_knee", "neck"]) == {}


# --- points ---------------------------------------------------------------------------------------


def test_points_at_the_origin_are_refused(walker, walk) -> None:
    xyz = walk.xyz.copy()
    xyz[10:20, 3] = xyz[15, 8] = 0.0
    found = suspicions(walker, changed(walk, xyz))
    one = only(found)
    assert (one.severity, one.kind) == ("refuse", "origin")
    assert one.text.startswith("11 points lie at exactly (0, 0, 0)")
    assert one.markers == (walk.names[3], walk.names[8]) and one.frames == tuple(range(10, 20))
    with pytest.raises(CapbenchError, match="mark missing points by NaN"):
        refuse(found)
    xyz[10:20, 3, 0] = 1e-9  # near is not at
    assert len(origin_points(changed(walk, xyz))[0].frames) == 1


@pytest.mark.parametrize("factor", [1e12, 1e150, 1e300])
def test_points_out_of_reach_are_refused(walker, walk, factor) -> None:
    xyz = walk.xyz.copy()
    xyz[5, 3] *= factor
    one = only(suspicions(walker, changed(walk, xyz)))
    assert (one.severity, one.kind) == ("refuse", "reach")
    assert one.markers == (walk.names[3],) and one.frames == (5,)


def test_markers_never_seen_and_frames_with_too_few(walker, walk) -> None:
    xyz = walk.xyz.copy()
    xyz[:, 4] = np.nan
    xyz[50:60, 2:] = np.nan
    xyz[57:60] = np.nan
    found = suspicions(walker, changed(walk, xyz))
    assert kinds(found) == [("flag", "missing"), ("flag", "few")]
    assert found[0].markers == (walk.names[4],)
    assert found[1].frames == tuple(range(50, 60))
    assert found[1].text.startswith("10 of 201 frames have fewer than 3 markers to fit (3 have none)")
    xyz[:, 2:] = np.nan
    assert ("refuse", "few") in kinds(suspicions(walker, changed(walk, xyz)))
    assert only(too_few(walk[:0])).severity == "refuse"


def test_markers_without_extent_are_refused(walker, walk) -> None:
    noise = np.random.default_rng(2).normal(0, 1e-4, walk.xyz.shape)
    line = only(suspicions(walker, changed(walk, walk.xyz[:, :, [1, 0, 2]] * [1, 1e-3, 1e-3] + noise)))
    assert (line.severity, line.kind) == ("refuse", "flat") and "one line" in line.text
    point = only(suspicions(walker, changed(walk, np.ones_like(walk.xyz))))
    assert (point.severity, point.kind) == ("refuse", "flat") and "one point" in point.text
    assert flat(changed(walk, walk.xyz * [1, 1, 0.0])) == ()  # a plane is enough to place a body


# --- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1000, "millimetres, taken as metres"),
        (100, "centimetres, taken as metres"),
        (39.37, "inches, taken as metres"),
        (10, "millimetres, taken as centimetres"),
        (0.001, "metres, taken as millimetres"),
        (0.01, "metres, taken as centimetres"),
        (0.1, "centimetres, taken as millimetres"),
    ],
)
@pytest.mark.parametrize("size", [0.9, 1.15])
def test_wrong_units_are_refused_and_named(walker, walk, factor, words, size) -> None:
    wrong = changed(walk, walk.xyz * factor * size)
    assert size_ratio(walker, wrong) == pytest.approx(factor * size, rel=0.05)
    one = only(suspicions(walker, wrong))  # and no other alarm follows from it
    assert (one.severity, one.kind) == ("refuse", "units")
    assert words in one.text


def test_odd_sizes_are_flagged(walker, walk) -> None:
    assert implausible_size(0.5) == implausible_size(2.0) == ()
    for size in (0.3, 0.45, 2.2, 3.3):
        one = only(suspicions(walker, changed(walk, walk.xyz * size)))
        assert (one.severity, one.kind) == ("flag", "size")
    assert "feet" in only(implausible_size(3.3)).text
    for size in (1e-9, 1e9, 0.2, 4.1):
        assert only(implausible_size(size)).severity == "refuse"
    assert "look like" not in only(implausible_size(1e9)).text


# --- sides and axes -------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [[-1, 1, 1], [1, 1, -1]])
@pytest.mark.parametrize("degrees", [0, 130])
@pytest.mark.parametrize("size", [0.7, 1.0])
def test_a_mirrored_walk_is_refused(walker, walk, flip, degrees, size) -> None:
    one = only(suspicions(walker, changed(walk, walk.xyz * flip @ yaw(degrees).T * size)))
    assert (one.severity, one.kind) == ("refuse", "mirrored")
    # the walker's markers are the same on both sides, so nobody can tell the two causes apart
    assert "the markers can't tell which" in one.text


def test_swapped_sides_are_refused(walker, walk) -> None:
    other = opposites(walk.names)
    swapped = Markers(walk.time, tuple(other.get(n, n) for n in walk.names), walk.xyz)
    one = only(suspicions(walker, swapped))
    assert (one.severity, one.kind) == ("refuse", "mirrored")
    assert "the names of left and right are swapped" in one.text


def test_real_markers_tell_a_mirrored_axis_from_swapped_names(shared_data, real_model, real_weights) -> None:
    markers = trc.read(shared_data / "labvalidation_subject4/markers/walking1.trc")
    axis = only(mirrored(real_model, fitted_only(changed(markers, markers.xyz * [1, 1, -1]), real_weights)))
    assert "way round: an axis is mirrored. " in axis.text
    other = opposites(markers.names)
    names = Markers(markers.time, tuple(other.get(n, n) for n in markers.names), markers.xyz)
    swapped = only(mirrored(real_model, fitted_only(names, real_weights)))
    assert "way round: the names of left and right are swapped. " in swapped.text


def fitted_only(markers: Markers, weights: dict[str, float]) -> Markers:
    return markers.select([n for n in markers.names if weights.get(n, 0) > 0])


def test_one_side_of_a_body_alone_has_a_hand(walker, walk) -> None:
    right = walk.select([n for n in walk.names if not n.startswith("l_")])
    assert suspicions(walker, right) == ()
    one = only(mirrored(walker, changed(right, right.xyz * [-1, 1, 1])))
    assert "way round: an axis is mirrored. " in one.text  # there are no names to swap


@pytest.mark.parametrize("degrees", [0, 90, 200])
def test_upside_down_is_refused(walker, walk, degrees) -> None:
    one = only(suspicions(walker, changed(walk, walk.xyz @ yaw(degrees).T * [1, -1, -1] + [0, 1.7, 0])))
    assert (one.severity, one.kind) == ("refuse", "upside down")
    # a y axis that points down is a mirrored one, too
    assert set(kinds(suspicions(walker, changed(walk, walk.xyz * [1, -1, 1])))) == {
        ("refuse", "upside down"),
        ("refuse", "mirrored"),
    }


@pytest.mark.parametrize(
    ("to", "axis"),
    [
        ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], "z"),
        ([[1, 0, 0], [0, 0, 1], [0, -1, 0]], "-z"),
        ([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], "x"),
        ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], "-x"),
    ],
)
@pytest.mark.parametrize("degrees", [0, 77])
def test_another_vertical_axis_is_flagged_with_the_remedy(walker, walk, to, axis, degrees) -> None:
    upright = walk.xyz @ yaw(degrees).T
    there = upright @ np.array(to).T
    one = only(suspicions(walker, changed(walk, there)))
    assert (one.severity, one.kind) == ("flag", "vertical axis")
    assert f"the vertical axis is {axis}, or the person lies" in one.text
    assert "as of someone who stands on a floor" in one.text
    # the remedy it gives is the one that undoes it
    assert one.fix is not None
    remedy = one.fix[one.fix.index("(") + 1 : one.fix.index(")")].split(", ")
    x, y, z = np.moveaxis(there, -1, 0)
    known = {"x": x, "y": y, "z": z, "-x": -x, "-y": -y, "-z": -z}
    assert np.array_equal(np.stack([known[part] for part in remedy], axis=-1), upright)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_someone_who_lies_down_is_at_most_flagged(walker, walk, degrees) -> None:
    along = walk.xyz - walk.xyz[:, :1] * [1, 0, 0]  # without the walking
    lying = along @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).T @ yaw(degrees).T + [0.7, 0.15, 0.7]
    one = only(suspicions(walker, changed(walk, lying)))
    assert (one.severity, one.kind) == ("flag", "vertical axis")
    assert "the person lies" in one.text and "as of someone who lies" in one.text
    # who lies for half of the time only is not worth a word
    half = np.concatenate([lying[:100], walk.xyz[100:]])
    assert upside_down(walker, changed(walk, half)) == ()


def test_the_trunk_points_up(walker, walk) -> None:
    up = trunk_direction(walker, walk)
    assert (up[:, 1] > 0.95).all() and np.linalg.norm(up, axis=1) == pytest.approx(1.0)


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [[0.0, 0.02, 0.01], [0.0, 0.01, 0.01]])
def test_time_that_goes_back_or_stands_is_refused(walk, time) -> None:
    with pytest.raises(CapbenchError, match="time to increase"):
        Markers(np.array(time), walk.names, walk.xyz[:3])


def test_a_marker_that_jumps_is_flagged(walker, walk) -> None:
    xyz = walk.xyz.copy()
    xyz[50, 5] += [0.3, 0.2, 0.0]
    xyz[120:, 9] += [0.0, 0.0, 0.5]
    one = only(suspicions(walker, changed(walk, xyz)))
    assert (one.severity, one.kind) == ("flag", "jumps")
    assert one.markers == (walk.names[5], walk.names[9]) and one.frames == (50, 51, 120)
    xyz = walk.xyz.copy()
    xyz[50, 5] += [0.1, 0.1, 0.0]  # 14 m/s
    assert jumps(changed(walk, xyz)) == ()


@pytest.mark.parametrize("pair", [("r_PSIS", "l_PSIS"), ("r_ankle", "r_mankle"), ("r_knee", "l_knee")])
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_markers_that_change_places_are_flagged(walker, walk, pair, noise) -> None:
    a, b = (walk.names.index(n) for n in pair)
    xyz = walk.xyz + np.random.default_rng(4).normal(0, noise, walk.xyz.shape)
    xyz[50:70, [a, b]] = xyz[50:70, [b, a]]
    one = only(suspicions(walker, changed(walk, xyz)))  # and it is not a jump as well
    assert (one.severity, one.kind) == ("flag", "swapped")
    assert set(one.markers) == set(pair) and one.frames == (50, 70)


def test_every_pair_that_changes_places_at_once_is_found_once(walk) -> None:
    xyz = walk.xyz.copy()
    columns = [walk.names.index(n) for n in ("r_ankle", "r_mankle", "C7", "sternum", "l_ankle", "l_mankle")]
    xyz[1:, columns] = xyz[1:][:, [columns[i ^ 1] for i in range(6)]]  # from the very start
    found = swapped_markers(changed(walk, xyz))
    assert {frozenset(s.markers) for s in found} == {
        frozenset({"r_ankle", "r_mankle"}),
        frozenset({"C7", "sternum"}),
        frozenset({"l_ankle", "l_mankle"}),
    }
    assert {s.frames for s in found} == {(1,)}


# --- after the fit --------------------------------------------------------------------------------


def test_a_misplaced_marker_stands_out_after_the_fit(walker, walk) -> None:
    some = walk[::4]
    xyz = some.xyz + np.random.default_rng(9).normal(0, 0.003, some.xyz.shape)
    assert misplaced(walker, changed(some, xyz), solve(walker, changed(some, xyz), passes=1).motion) == ()
    i = walk.names.index("T10")
    xyz[:, i] += [0.0, 0.12, 0.0]
    xyz[3] = np.nan  # a frame without markers has no say
    wrong = changed(some, xyz)
    one = only(misplaced(walker, wrong, solve(walker, wrong, passes=1).motion))
    assert (one.severity, one.kind, one.markers) == ("flag", "misplaced", ("T10",))
    with pytest.raises(CapbenchError, match="times of the markers"):
        misplaced(walker, wrong, solve(walker, wrong[1:], passes=1).motion)


def test_refusals_come_first_and_become_one_error(walker, walk) -> None:
    xyz = walk.xyz * 1000
    xyz[10, 3] = 0.0
    found = suspicions(walker, Markers(walk.time, ("stick", *walk.names[1:]), xyz))
    assert [s.severity for s in found] == ["refuse", "refuse", "flag"]
    with pytest.raises(CapbenchError, match=r"\(0, 0, 0\).*millimetres.*NaN; divide the points by 1000"):
        refuse(found)
    refuse(s for s in found if s.severity == "flag")
    assert "Try:" in str(found[0]) and str(found[2]) == found[2].text
