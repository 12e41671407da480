"""The protocols as data, and capbench-1's errors of one trial."""

import dataclasses
import math
import warnings

import numpy as np
import pytest

from metrics import angles
from metrics.arrays import MetricError
from metrics.lag import Lag, Pair, measure_lag
from metrics.protocols import (
    ARMS,
    PROTOCOLS,
    CoordinateScores,
    Curves,
    kind_by_name,
    score_trial,
    session_lag,
)

NAN = np.nan
NO_LAG = Lag(NAN, NAN, NAN, False, 0)
IN_TIME = Lag(0.0, 1.0, 0.0, False, 9)
TIME = np.arange(200) / 100
KNEE, HEIGHT = "knee_angle_r", "pelvis_ty"


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def curves(names, *, late=0.0, time=TIME, noise=0.0, seed=0, amplitude=0.4):
    """Each name its own curve, the same in every call; radians or metres."""
    paces = np.array([4.0 + sum(map(ord, name)) % 7 for name in names])
    values = amplitude * np.sin(paces * (time[:, None] - late)) + 0.2 * np.sin(
        2.2 * paces * (time[:, None] - late)
    )
    return Curves(time, values + np.random.default_rng(seed).normal(0, 1, values.shape) * noise, tuple(names))


# --- the data ---


def test_the_protocols_are_what_their_authors_say():
    legs = {f"{name}_{side}" for side in "rl" for name in ("hip_flexion", "hip_adduction", "hip_rotation")}
    legs |= {f"{name}_{side}" for side in "rl" for name in ("knee_angle", "ankle_angle", "subtalar_angle")}
    trunk = {"pelvis_tilt", "pelvis_list", "pelvis_rotation"}
    trunk |= {"lumbar_extension", "lumbar_bending", "lumbar_rotation"}
    place = {"pelvis_tx", "pelvis_ty", "pelvis_tz"}
    assert list(PROTOCOLS) == ["opencapbench", "opencap", "capbench-1"]
    bench, opencap, ours = PROTOCOLS.values()
    assert set(bench.coordinates) == set(ours.coordinates) == legs | trunk
    assert set(opencap.coordinates) == legs | trunk | place
    assert [len(p.coordinates) for p in PROTOCOLS.values()] == [18, 21, 18]
    arms = {
        f"{name}_{side}"
        for side in "rl"
        for name in ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup")
    }
    assert set(ARMS) == arms and len(ARMS) == 10
    assert set(ours.optional) == place | arms and not (bench.optional or opencap.optional)
    assert [p.version for p in PROTOCOLS.values()] == [1, 1, 1]
    assert all(PROTOCOLS[name].name == name for name in PROTOCOLS)
    assert [p.lag for p in PROTOCOLS.values()] == ["trial", "none", "session"]
    assert [p.lag_range for p in PROTOCOLS.values()] == [(-40, 39), (0, 0), (-0.5, 0.5)]
    assert [p.lag_signals for p in PROTOCOLS.values()] == [
        ("knee_angle_r", "knee_angle_l"),
        (),
        ("pelvis_ty",),
    ]
    assert [p.join for p in PROTOCOLS.values()] == ["labels", "labels", "interpolation"]
    assert [p.missing for p in PROTOCOLS.values()] == ["vanishes", "vanishes", "counts"]
    assert [p.wrap for p in PROTOCOLS.values()] == [False, False, True]
    assert [p.offset for p in PROTOCOLS.values()] == [False, True, True]
    assert [p.decimals for p in PROTOCOLS.values()] == [3, None, None]
    assert [p.max_gap for p in PROTOCOLS.values()] == [0.0, 0.0, 0.1]
    assert [p.lag_step for p in PROTOCOLS.values()] == [0.0, 0.0, 0.01]


def test_the_protocols_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["opencap"].version = 2
    with pytest.raises(TypeError):
        PROTOCOLS["mine"] = PROTOCOLS["opencap"]


# --- Curves ---


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pelvis_tx", "translation"),
        ("pelvis_ty", "translation"),
        ("pelvis_tz", "translation"),
        ("pelvis_tilt", "rotation"),
        ("tx_pelvis", "rotation"),
    ],
)
def test_kinds_by_name(name, kind):
    assert kind_by_name(name) == kind
    assert Curves(np.zeros(1), np.zeros((1, 1)), (name,)).kinds == (kind,)


@pytest.mark.truth("closed form")
def test_curves_select_by_name():
    given = Curves(
        [0.0, 1.0], [[1, 2, 3], [4, 5, 6]], ["a", "b", "c_tx"], ["translation", "rotation", "rotation"]
    )
    assert given.names == ("a", "b", "c_tx") and given.kinds == ("translation", "rotation", "rotation")
    picked = given.select(["c_tx", "d_tx", "a", "e"])
    assert picked.names == ("c_tx", "d_tx", "a", "e")
    assert picked.kinds == ("rotation", "translation", "translation", "rotation")
    assert np.array_equal(picked.values_tc, [[3, NAN, 1, NAN], [6, NAN, 4, NAN]], equal_nan=True)
    assert np.array_equal(picked.time_t, [0.0, 1.0])
    assert given.reported() == pytest.approx(
        np.array([[1000, 360 / math.pi, 540 / math.pi], [4000, 900 / math.pi, 1080 / math.pi]])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_t": [0.0]}, "each of 2 samples, got 1"),
        ({"time_t": [0.0, 0.0]}, "increase strictly"),
        ({"values_tc": [0.0, 1.0]}, "2 axes"),
        ({"values_tc": [[0.0, np.inf], [0.0, 0.0]]}, "got infinity"),
        ({"names": ["a", "a"]}, "2 different names of coordinates"),
        ({"names": ["a"]}, "2 different names"),
        ({"kinds": ["rotation"]}, "Expected 2 kinds, each 'rotation' or 'translation'"),
        ({"kinds": ["rotation", "angle"]}, "each 'rotation' or 'translation', got"),
    ],
)
def test_curves_are_checked(change, message):
    given = {"time_t": [0.0, 1.0], "values_tc": np.zeros((2, 2)), "names": ["a", "b"]}
    with pytest.raises(MetricError, match=message):
        Curves(**{**given, **change})


# --- the lag of a session ---


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("lag", [-0.5, -0.314, -0.02, 0.0, 0.1, 0.257, 0.5])
def test_session_lag_is_the_planted_one(lag):
    reference = {"a": curves([HEIGHT, KNEE]), "b": curves([HEIGHT])}
    predicted = {
        "b": curves([HEIGHT], late=lag, time=np.arange(-40, 160) / 60),
        "a": curves([KNEE, HEIGHT], late=lag, time=np.arange(-100, 320) / 100),
        "not in the cohort": curves([HEIGHT]),
    }
    found = session_lag(predicted, reference)
    assert found.seconds == pytest.approx(lag, abs=1e-3)
    assert found.agreement > 0.99 and found.samples == 400
    assert found.at_edge == (abs(lag) == 0.5)


@pytest.mark.truth("literal definition")
def test_session_lag_is_measured_on_the_signals_given():
    names = ("arm_flex_r", "heel_y", HEIGHT)
    reference, predicted = curves(names), curves(names, late=0.033, noise=0.05)
    reference.values_tc[:, 0] += 3.1  # the arm crosses half a turn
    predicted.values_tc[:, 0] += 3.1
    wrapped = Curves(
        TIME, np.column_stack([angles.wrap(predicted.values_tc[:, 0]), predicted.values_tc[:, 1:]]), names
    )
    expected = measure_lag(
        [Pair(TIME, predicted.values_tc[:, [1, 0]], TIME, reference.values_tc[:, [1, 0]])],
        max_lag=0.5,
        step=0.01,
        max_gap=0.1,
        subsample=True,
    )
    found = session_lag({"a": wrapped}, {"a": reference}, signals=["heel_y", "arm_flex_r"])
    assert found == pytest.approx(expected)
    turned = Curves(TIME, angles.wrap(reference.values_tc), names, ("rotation", "translation", "translation"))
    assert session_lag({"a": wrapped}, {"a": turned}, signals=["heel_y", "arm_flex_r"]) == pytest.approx(
        expected
    )
    assert session_lag({"a": wrapped}, {"a": reference}) != found


def test_a_lag_is_never_fitted_on_what_is_scored():
    reference = {"a": curves([HEIGHT, KNEE])}
    with pytest.raises(MetricError, match="signals for the lag that are not scored, got knee_angle_r"):
        session_lag(reference, reference, signals=[KNEE, HEIGHT])
    with pytest.raises(MetricError, match="not scored, got pelvis_ty"):
        session_lag(reference, reference, coordinates=[HEIGHT])
    assert session_lag(reference, reference, signals=[KNEE], coordinates=[HEIGHT]).seconds == pytest.approx(
        0, abs=1e-3
    )
    with pytest.raises(MetricError, match="signals that the reference has, got heel, toe"):
        session_lag(reference, reference, signals=["toe", HEIGHT, "heel"])


def test_a_lag_without_an_answer_is_unknown():
    reference = {"a": curves([HEIGHT])}
    for predicted in ({}, {"b": reference["a"]}, {"a": curves([KNEE])}):
        assert np.isnan(session_lag(predicted, reference).seconds)


# --- the errors of a trial ---

BOTH = (KNEE, "pelvis_rotation", HEIGHT, "arm_flex_l")


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("late", [0.0, 0.05, -0.1])
@pytest.mark.parametrize("rate", [60, 100])
def test_scores_are_those_of_the_interpolated_curve(late, rate):
    time = np.arange(-20, 3 * rate) / rate
    reference = curves(BOTH)
    predicted = curves(BOTH, late=late, time=time, noise=0.02)
    reference.values_tc[50:60, 0] = NAN
    errors = score_trial(predicted, reference, lag=IN_TIME._replace(seconds=late), coordinates=BOTH)
    assert errors.coordinates == BOTH and errors.kinds == ("rotation", "rotation", "translation", "rotation")
    assert np.array_equal(errors.reference_tc, reference.values_tc, equal_nan=True)
    assert np.array_equal(errors.time_t, TIME) and errors.lag.seconds == late
    assert (errors.protocol, errors.version) == ("capbench-1", 1)
    for answer, lag in ((errors.raw, 0.0), (errors.corrected, late)):
        for column, name in enumerate(BOTH):
            unit = 1000 if name == HEIGHT else 180 / math.pi
            r = reference.values_tc[:, column]
            p = np.interp(TIME + lag, time, predicted.values_tc[:, column])
            error = (p - r) * unit
            bias, scores = np.nanmean(error), answer.scores
            offset = bias if name == HEIGHT else 0.0
            assert answer.error_tc[:, column] == pytest.approx(error - offset, abs=1e-9, nan_ok=True)
            there = error[~np.isnan(error)]
            p, r = p[~np.isnan(r)] * unit, r[~np.isnan(r)] * unit
            expected = {
                "rmse": np.sqrt(np.mean((there - offset) ** 2)),
                "mae": np.mean(np.abs(there - offset)),
                "bias": bias,
                "sd": np.std(there, ddof=1),
                "rmse_offset_removed": np.std(there),
                "rom_error": np.ptp(p) - np.ptp(r),
                "peak_max_error": p.max() - r.max() - offset,
                "peak_min_error": p.min() - r.min() - offset,
                "coverage": 100.0,
            }
            assert expected.keys() == set(CoordinateScores._fields)
            for field, value in expected.items():
                assert getattr(scores, field)[column] == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.truth("closed form")
def test_the_lag_moves_the_prediction_back():
    reference = curves(PROTOCOLS["capbench-1"].coordinates)
    late = curves(reference.names, late=0.05)
    errors = score_trial(late, reference, lag=IN_TIME._replace(seconds=0.05))
    assert errors.coordinates == reference.names
    assert errors.corrected.scores.rmse == pytest.approx(np.zeros(18), abs=1e-9)
    assert errors.corrected.scores.coverage == pytest.approx([97.5] * 18)
    assert errors.raw.scores.coverage == pytest.approx([100.0] * 18)
    assert (errors.raw.scores.rmse > 2).all()
    assert (
        np.isnan(errors.corrected.error_tc[-5:]).all() and not np.isnan(errors.corrected.error_tc[:-5]).any()
    )


def test_without_a_lag_nothing_is_corrected():
    reference = curves([KNEE])
    errors = score_trial(reference, reference, lag=NO_LAG)
    assert errors.corrected is None and errors.lag is NO_LAG
    assert score_trial(reference, reference, lag=IN_TIME).corrected is not None


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("missing", "answered"), [(9, 200), (10, 190), (30, 170)])
def test_gaps_up_to_a_tenth_of_a_second_are_filled(missing, answered):
    reference, predicted = curves([KNEE, HEIGHT]), curves([KNEE, HEIGHT])
    predicted.values_tc[100 : 100 + missing, 0] = NAN  # missing + 1 steps of 0.01 s between those there
    errors = score_trial(predicted, reference, lag=IN_TIME, coordinates=[KNEE, HEIGHT])
    for answer in (errors.raw, errors.corrected):
        assert answer.scores.coverage == pytest.approx([answered / 2, 100.0])
        assert np.isnan(answer.error_tc[:, 0]).sum() == 200 - answered


@pytest.mark.truth("closed form")
def test_nothing_is_answered_beyond_the_prediction():
    reference = curves([KNEE])
    errors = score_trial(Curves(TIME[50:150], reference.values_tc[50:150], (KNEE,)), reference, lag=IN_TIME)
    there = ~np.isnan(errors.raw.error_tc[:, list(errors.coordinates).index(KNEE)])
    assert np.array_equal(there, (TIME >= 0.5) & (TIME < 1.5))


@pytest.mark.truth("closed form")
def test_what_is_missing_has_no_answer():
    reference = curves(["hip_flexion_r", KNEE])
    names = ["hip_flexion_r", KNEE, "ankle_angle_r"]
    nothing = score_trial(None, reference, lag=IN_TIME, coordinates=names)
    empty = score_trial(Curves([], np.empty((0, 1)), (KNEE,)), reference, lag=IN_TIME, coordinates=names)
    for errors in (nothing, empty):
        for answer in (errors.raw, errors.corrected):
            assert answer.error_tc.shape == (200, 3) and np.isnan(answer.error_tc).all()
            assert np.array_equal(answer.scores.coverage, [0.0, 0.0, NAN], equal_nan=True)
            assert all(np.isnan(score).all() for score in answer.scores[:-1])
    part = score_trial(curves([KNEE]), reference, lag=IN_TIME, coordinates=names)
    assert np.array_equal(part.raw.scores.coverage, [0.0, 100.0, NAN], equal_nan=True)
    assert np.isnan(part.reference_tc[:, 2]).all() and part.coordinates == tuple(names)


@pytest.mark.truth("metamorphic")
def test_turns_jumps_and_the_order_of_columns_change_nothing():
    reference = curves(BOTH)
    predicted = curves(BOTH, noise=0.02, time=np.arange(-6, 240) / 60 + 0.002)
    plain = score_trial(predicted, reference, lag=IN_TIME, coordinates=BOTH)
    jumps = (
        2
        * math.pi
        * np.random.default_rng(0).integers(-1, 2, predicted.values_tc.shape)
        * np.array([1, 1, 0, 1])
    )
    order = [2, 0, 3, 1]
    other = Curves(predicted.time_t, (predicted.values_tc + jumps)[:, order], tuple(BOTH[k] for k in order))
    again = score_trial(other, reference, lag=IN_TIME, coordinates=BOTH)
    assert again.raw.error_tc == pytest.approx(plain.raw.error_tc, abs=1e-9)
    for a, b in zip(again.raw.scores, plain.raw.scores, strict=True):
        assert a == pytest.approx(b, abs=1e-9)


def test_a_translation_is_scored_without_its_offset():
    reference = curves([HEIGHT])
    moved = Curves(TIME, reference.values_tc + 7.0, (HEIGHT,))
    errors = score_trial(moved, reference, lag=IN_TIME, coordinates=[HEIGHT])
    assert errors.raw.scores.rmse == pytest.approx([0], abs=1e-6)
    assert errors.raw.scores.mae == pytest.approx([0], abs=1e-6)
    assert errors.raw.scores.peak_max_error == pytest.approx([0], abs=1e-6)
    assert errors.raw.scores.bias == pytest.approx([7000])


def test_only_coordinates_of_the_protocol():
    reference = curves([KNEE])
    with pytest.raises(MetricError, match="coordinates of capbench-1, got neck, mtp_angle_r"):
        score_trial(reference, reference, lag=IN_TIME, coordinates=["neck", KNEE, "mtp_angle_r"])
    every = PROTOCOLS["capbench-1"].coordinates + PROTOCOLS["capbench-1"].optional
    assert score_trial(reference, reference, lag=IN_TIME, coordinates=every).raw.error_tc.shape == (200, 31)


def test_what_the_lag_moves_out_of_sight_is_excused_and_nothing_else() -> None:
    """Ten samples, the prediction 0.2 s late: the last two can't be seen; one more was never answered."""
    time = np.arange(10) / 10
    truth = Curves(time, np.zeros((10, 1)), ("knee_angle_r",))
    answered = np.zeros((10, 1))
    answered[3] = np.nan
    late = Curves(time, answered, ("knee_angle_r",))
    lag = Lag(0.2, 1.0, 0.1, False, 10)
    found = score_trial(late, truth, lag=lag, coordinates=["knee_angle_r"])
    assert np.flatnonzero(found.excused_tc[:, 0]).tolist() == [8, 9]
    early = score_trial(late, truth, lag=lag._replace(seconds=-0.2), coordinates=["knee_angle_r"])
    assert np.flatnonzero(early.excused_tc[:, 0]).tolist() == [0, 1]
    cut = score_trial(
        Curves(time[:9], answered[:9], late.names), truth, lag=lag, coordinates=["knee_angle_r"]
    )
    assert np.flatnonzero(cut.excused_tc[:, 0]).tolist() == [7, 8]  # the tenth was left out: not excused
    shifted = Curves(time - 0.03, answered, late.names)  # another clock: the last sample is 0.03 s beyond it
    off = score_trial(shifted, truth, lag=lag._replace(seconds=0.0), coordinates=["knee_angle_r"])
    assert np.flatnonzero(off.excused_tc[:, 0]).tolist() == [9]
    short = Curves(time[:9], answered[:9], late.names)  # the same clock, one sample less: left out
    cut = score_trial(short, truth, lag=lag._replace(seconds=0.0), coordinates=["knee_angle_r"])
    assert not cut.excused_tc.any()
    unknown = Curves(time, np.r_[np.zeros((9, 1)), [[np.nan]]], late.names)
    assert not score_trial(shifted, unknown, lag=off.lag, coordinates=["knee_angle_r"]).excused_tc.any()
    alone = Curves(time[:1], answered[:1], late.names)
    assert not score_trial(alone, truth, lag=off.lag, coordinates=["knee_angle_r"]).excused_tc.any()
    for nothing in (
        score_trial(None, truth, lag=lag, coordinates=["knee_angle_r"]),
        score_trial(late, truth, lag=lag._replace(seconds=np.nan), coordinates=["knee_angle_r"]),
        score_trial(late, truth, lag=lag._replace(seconds=0.0), coordinates=["knee_angle_r"]),
    ):
        assert not nothing.excused_tc.any()
