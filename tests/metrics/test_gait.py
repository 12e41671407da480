"""The time–distance table and the angles of planted walks, in any direction; errors by closed form."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from planted_gait import SIDES, Walk

from metrics.arrays import MetricError
from metrics.catalogue import _cards
from metrics.cycles import stance_mean, stance_peak
from metrics.events import FootEvents
from metrics.gait import (
    OUTWARD,
    QUANTITIES,
    LegMeans,
    Strides,
    foot_progression,
    pelvic_drop,
    pelvis_list,
    strides,
    summary,
    trunk_lean,
    value_error,
)

NAMES = [found.name for found in fields(Strides)]
MEASURES = NAMES[3:]
NONE = np.empty(0)


def table(walk: Walk, **changes) -> dict[str, Strides]:
    given = {"heels": walk.heels, "events": walk.events, "time": walk.time, "forward": walk.forward}
    with np.errstate(all="raise"):
        return strides(**(given | changes))


def truth(walk: Walk, side: str) -> dict[str, float]:
    other = "left" if side == "right" else "right"
    lag = walk.left_phase if side == "right" else 1 - walk.left_phase  # own strike to the other's, in cycles
    own_stance, other_stance = walk.stance[side], walk.stance[other]
    first = lag + other_stance - 1  # the other's toe off after the own strike, in cycles
    second = own_stance - lag
    return {
        "stride_time": walk.period,
        "stride_length": walk.stride,
        "speed": walk.stride / walk.period,
        "cadence": 120 / walk.period,
        "step_time": (1 - lag) * walk.period,
        "step_length": walk.left_step if side == "left" else walk.stride - walk.left_step,
        "step_width": walk.width,
        "stance": 100 * own_stance,
        "swing": 100 * (1 - own_stance),
        "double_support": 100 * (first + second),
        "single_support": 100 * (1 - other_stance),
    }


WALKS = {
    "plain": Walk(),
    "slow": Walk(period=1.6, duration=7.0, stride=0.7, left_step=0.3, stance={"left": 0.7, "right": 0.65}),
    "limping": Walk(left_phase=0.56, left_step=0.75, stance={"left": 0.58, "right": 0.66}),
    "hardly any double support": Walk(stance={"left": 0.51, "right": 0.51}),
    "crossing feet": Walk(width=-0.05),
    "along z": Walk(heading=np.pi / 2, left_step=0.5),
    "along −x": Walk(heading=np.pi, left_step=0.7),
    "askew": Walk(heading=2.5, period=0.8, width=0.3, stride=1.9, left_step=1.0),
    "fast cameras": Walk(rate=1000, duration=3.2, circumduction=0.15),
}


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", WALKS)
def test_the_table_of_a_planted_walk(name, side):
    walk = WALKS[name]
    found = table(walk)[side]
    assert len(found.start) >= 2
    for measure, expected in truth(walk, side).items():
        values = getattr(found, measure)
        if measure == "step_width":  # the other foot's stance may reach beyond the recording
            assert not np.isnan(values[:-1]).any()
            values = values[~np.isnan(values)]
        np.testing.assert_allclose(values, expected, rtol=1e-9, err_msg=measure)
    events = walk.events[side]
    np.testing.assert_array_equal(found.start, events.heel_strikes[:-1])
    np.testing.assert_array_equal(found.end, events.heel_strikes[1:])
    np.testing.assert_allclose(found.toe_off, found.start + walk.stance[side] * walk.period, rtol=1e-12)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("change", ["turn", "mirror", "shift", "grow", "slow", "delay", "shuffle"])
def test_the_table_moves_with_the_walk(change):
    walk = Walk(heading=0.7, left_phase=0.53, left_step=0.7)
    heels, events, time, forward = walk.heels, walk.events, walk.time, walk.forward
    plain = table(walk)
    expected = {side: {m: getattr(plain[side], m) for m in MEASURES} for side in SIDES}
    lengths, times = ("stride_length", "step_length", "step_width"), ("stride_time", "step_time")
    if change == "turn":
        c, s = np.cos(1.9), np.sin(1.9)
        turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        heels, forward = {k: p @ turn for k, p in heels.items()}, forward @ turn
    elif change == "mirror":
        flip = np.array([1.0, 1.0, -1.0])
        other = {"left": "right", "right": "left"}
        heels, forward = {other[k]: p * flip for k, p in heels.items()}, forward * flip
        events = {other[k]: e for k, e in events.items()}
        expected = {other[k]: e for k, e in expected.items()}
    elif change == "shift":
        heels = {k: p + np.array([5.0, 2.0, -3.0]) for k, p in heels.items()}
    elif change == "grow":
        heels = {k: 3.0 * p for k, p in heels.items()}
        for side in SIDES:
            expected[side] |= {m: 3.0 * expected[side][m] for m in (*lengths, "speed")}
    elif change == "slow":
        time = 2.0 * time
        events = {k: FootEvents(*(2.0 * t for t in e)) for k, e in events.items()}
        for side in SIDES:
            expected[side] |= {m: 2.0 * expected[side][m] for m in times}
            expected[side] |= {m: expected[side][m] / 2.0 for m in ("speed", "cadence")}
    elif change == "delay":
        time = time + 50.0
        events = {k: FootEvents(*(t + 50.0 for t in e)) for k, e in events.items()}
    else:
        events = {k: FootEvents(*(np.append(t[::-1], np.nan) for t in e)) for k, e in events.items()}
        forward = 7.0 * forward + np.array([0.0, 3.0, 0.0])
    found = strides(heels, events, time, forward)
    for side in SIDES:
        for measure in MEASURES:
            np.testing.assert_allclose(
                getattr(found[side], measure), expected[side][measure], rtol=1e-8, atol=1e-8, err_msg=measure
            )


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("name", WALKS)
def test_the_parts_add_up(name):
    found = table(WALKS[name])
    for side in SIDES:
        leg = found[side]
        np.testing.assert_allclose(leg.stance + leg.swing, 100.0)
        np.testing.assert_allclose(leg.double_support + leg.single_support, leg.stance)
        np.testing.assert_allclose(leg.speed * leg.stride_time, leg.stride_length)
    both = found["left"].step_length[0] + found["right"].step_length[0]
    np.testing.assert_allclose(both, found["left"].stride_length[0])


def without(events: dict[str, FootEvents], side: str, kind: str, index: int) -> dict[str, FootEvents]:
    changed = events[side]._replace(**{kind: np.delete(getattr(events[side], kind), index)})
    return events | {side: changed}


def missing(leg: Strides) -> dict[str, list[int]]:
    found = {m: np.flatnonzero(np.isnan(getattr(leg, m))).tolist() for m in NAMES}
    return {m: rows for m, rows in found.items() if rows}


ALL = ("toe_off", *MEASURES)


def test_a_missed_toe_off_costs_its_stride_and_keeps_the_row():
    walk = Walk(duration=6.2)
    events = without(walk.events, "right", "toe_offs", 1)
    leg = table(walk, events=events)["right"]
    gaps = missing(leg)
    assert set(gaps) == set(ALL)
    assert all(rows == [1] for m, rows in gaps.items() if m != "step_width")
    np.testing.assert_array_equal(leg.start[1], 1.0)
    np.testing.assert_array_equal(leg.end[1], 2.0)


def test_a_missed_heel_strike_costs_the_double_stride_it_makes():
    walk = Walk(duration=6.2)
    leg = table(walk, events=without(walk.events, "right", "heel_strikes", 2))["right"]
    gaps = missing(leg)
    assert set(gaps) == set(ALL)
    assert all(rows == [1] for rows in gaps.values())
    assert leg.end[1] - leg.start[1] == 2.0


@pytest.mark.parametrize(
    ("kind", "index", "gone"),
    [
        ("heel_strikes", 2, {"step_time", "step_width", "double_support", "single_support"}),
        ("toe_offs", 2, {"double_support", "single_support"}),
    ],
)
def test_an_event_missed_on_the_other_foot(kind, index, gone):
    walk = Walk(duration=6.2)
    right = table(walk, events=without(walk.events, "left", kind, index))["right"]
    gaps = missing(right)
    # the left foot strikes at 0.5, 1.5, 2.5 … and lifts off at 0.1, 1.1, 2.1 …
    assert gone == {m for m, rows in gaps.items() if 2 in rows}
    assert all(set(rows) <= {1, 2} for rows in gaps.values())
    if kind == "toe_offs":  # that stance has no end, so there is no middle of it
        assert gaps["step_width"] == [1]


def test_supports_of_a_run_are_unknown():
    walk = Walk(stance={"left": 0.4, "right": 0.4})
    found = table(walk)["right"]
    assert np.isnan(found.double_support).all() and np.isnan(found.single_support).all()
    np.testing.assert_allclose(found.stance, 40.0)
    np.testing.assert_allclose(found.step_time, 0.5)
    # one leg that floats is enough
    for leg in ({"left": 0.45, "right": 0.6}, {"left": 0.6, "right": 0.45}):
        for found in table(walk.but(stance=leg)).values():
            assert np.isnan(found.double_support).all() and np.isnan(found.single_support).all()


def test_supports_need_the_other_foot_off_before_it_lands():
    walk = Walk()
    # the other foot's toe off is told after its strike: no single support to speak of
    events = walk.events
    events["left"] = FootEvents(np.array([0.3, 1.3, 2.3]), np.array([0.4, 1.4, 2.4]))
    found = table(walk, events=events)["right"]
    assert np.isnan(found.double_support[:3]).all() and np.isnan(found.single_support[:3]).all()
    events["left"] = FootEvents(np.array([0.3, 1.3, 2.3]), np.array([0.3, 1.3, 2.3]))
    found = table(walk, events=events)["right"]
    np.testing.assert_allclose(found.single_support[:3], 0.0)
    np.testing.assert_allclose(found.double_support[:3], 62.0)


def test_gaps_in_the_heels_cost_the_lengths_alone():
    walk = Walk(duration=6.2)
    heels = walk.heels
    heels["right"] = heels["right"].copy()
    heels["right"][200] = np.nan  # the strike at 2 s
    gaps = missing(table(walk, heels=heels)["right"])
    assert gaps["stride_length"] == gaps["speed"] == [1, 2]
    assert gaps["step_length"] == [1]
    assert set(gaps) <= {"stride_length", "speed", "step_length", "step_width"}
    heels = walk.heels
    heels["left"] = heels["left"].copy()
    heels["left"][200] = np.nan
    gaps = missing(table(walk, heels=heels)["right"])
    assert gaps["step_length"] == [1] and "stride_length" not in gaps


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("side", SIDES)
def test_step_width_is_read_from_40_to_60_percent_of_stance(side):
    walk = Walk(stance={"left": 0.6, "right": 0.6}, duration=4.5, rate=1000)
    sign = OUTWARD[side]
    phase = 0.0 if side == "right" else 0.5
    part = ((walk.time - phase) % 1.0) / 0.6

    def width(bump):
        heels = walk.heels
        heels[side] = heels[side] + np.outer(bump, [0.0, 0.0, sign])
        return table(walk, heels=heels)[side].step_width[1:2]

    # 40 % of stance is 0.24 s into the cycle, 60 % is 0.36 s
    np.testing.assert_allclose(width(1.0 * ((part < 0.38) | (part > 0.62))), 0.12, atol=1e-9)
    # a straight line has its middle at 50 %, so the mean over 40–60 % is there
    np.testing.assert_allclose(width(0.1 * part), 0.12 + 0.05, atol=1e-9)
    # 21 samples from end to end of a parabola: mean of (k/100)² for k = −10 … 10
    np.testing.assert_allclose(
        width((part - 0.5) ** 2), 0.12 + np.mean((np.arange(-10, 11) / 100) ** 2), atol=3e-6
    )
    edge = width(1.0 * (part > 0.58) * (part < 0.9))
    assert (edge > 0.13).all()
    edge = width(1.0 * (part > 0.1) * (part < 0.42))
    assert (edge > 0.13).all()


def test_step_width_needs_every_sample_of_midstance():
    walk = Walk(duration=6.2)
    heels = walk.heels
    heels["right"] = heels["right"].copy()
    heels["right"][131] = np.nan  # 1.31 s is the middle of the stance from 1.0 to 1.62 s
    gaps = missing(table(walk, heels=heels)["right"])
    assert gaps == {"step_width": [1]}


def test_too_few_strikes_make_an_empty_table():
    walk = Walk(duration=0.9)
    found = table(walk)
    for side in SIDES:
        assert all(getattr(found[side], name).shape == (0,) for name in NAMES)
    nothing = {side: FootEvents(NONE, NONE) for side in SIDES}
    assert table(walk, events=nothing)["left"].speed.shape == (0,)


def test_no_direction_no_lengths():
    found = strides(Walk().heels, Walk().events, Walk().time, [np.nan] * 3)["left"]
    assert np.isnan(found.stride_length).all() and np.isnan(found.step_width).all()
    np.testing.assert_allclose(found.stance, 60.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heels": {"left": [[0.0] * 3]}}, "heels of left and right, got left"),
        ({"heels": {}}, "heels of left and right, got none"),
        (
            {"events": {"left": None, "right": None, "tail": None}},
            "events of left and right, got left, right, tail",
        ),
        (
            {"heels": {"left": np.zeros((3, 3)), "right": np.zeros((4, 3))}},
            "left_heel and right_heel of one shape",
        ),
        ({"heels": {"left": np.zeros(3), "right": np.zeros(3)}}, "heels with 2 axes"),
        (
            {"heels": {"left": np.zeros((451, 2)), "right": np.zeros((451, 2))}},
            "3 entries on the last axis of heels",
        ),
        ({"forward": [0.0, 1.0, 0.0]}, "direction along the ground"),
        ({"time": np.arange(3.0)}, "each of 451 samples, got 3"),
    ],
)
def test_the_table_says_what_it_wants(changes, message):
    with pytest.raises(MetricError, match=message):
        table(Walk(), **changes)


# ---- summary


def leg(**values) -> Strides:
    rows = len(next(iter(values.values())))
    return Strides(*(np.array(values.get(name, [np.nan] * rows)) for name in NAMES))


def test_summary_weighs_the_legs_alike():
    legs = {
        "left": leg(speed=[1.0, 2.0, np.nan, 3.0], stance=[60.0] * 4),
        "right": leg(speed=[5.0], stance=[np.nan]),
    }
    with np.errstate(all="raise"):
        found = summary(legs)
    assert list(found) == MEASURES
    assert found["speed"] == LegMeans(left=2.0, right=5.0, both=3.5)
    np.testing.assert_equal(tuple(found["stance"]), (60.0, np.nan, 60.0))
    np.testing.assert_equal(tuple(found["cadence"]), (np.nan, np.nan, np.nan))
    with pytest.raises(MetricError, match="strides of left and right, got left"):
        summary({"left": legs["left"]})


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("name", WALKS)
def test_summary_of_a_planted_walk(name):
    walk = WALKS[name]
    found = summary(table(walk))
    for measure in MEASURES:
        left, right = (truth(walk, side)[measure] for side in SIDES)
        np.testing.assert_allclose(found[measure], (left, right, (left + right) / 2), rtol=1e-9)


# ---- angles


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("degrees", [0, 7, -12, 90, 135])
@pytest.mark.parametrize("heading", [0.0, 1.2, -2.8])
def test_foot_progression_is_outward_on_both_sides(side, degrees, heading):
    walk = Walk(heading=heading, out={"left": np.radians(degrees), "right": np.radians(degrees)})
    found = foot_progression(walk.heels[side], walk.toes[side], walk.forward, side=side)
    assert found.shape == walk.time.shape
    np.testing.assert_allclose(found, np.radians(degrees), atol=1e-9)
    mean = stance_mean(found, walk.time, walk.events[side])
    np.testing.assert_allclose(mean[:-1], np.radians(degrees), atol=1e-9)


def test_foot_progression_looks_from_above():
    raised = foot_progression([[0.0, 0.0, 0.0]], [[0.1, 0.3, 0.1]], [1, 0, 0], side="left")
    np.testing.assert_allclose(raised, [-np.pi / 4])
    with pytest.raises(MetricError, match="side left or right, got 'Right'"):
        foot_progression([0.0] * 3, [1.0] * 3, [1, 0, 0], side="Right")
    with pytest.raises(MetricError, match="heel and toe of one shape"):
        foot_progression([0.0] * 3, [[1.0] * 3], [1, 0, 0], side="right")
    with pytest.raises(MetricError, match="3 entries on the last axis of heel"):
        foot_progression([0.0] * 2, [1.0] * 2, [1, 0, 0], side="right")
    assert np.isnan(foot_progression([np.nan] * 3, [1.0] * 3, [1, 0, 0], side="right"))


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("heading", [0.0, 0.9, np.pi])
@pytest.mark.parametrize(("forward", "right"), [(10, 0), (-5, 0), (0, 8), (0, -8), (20, 15)])
def test_trunk_lean_in_the_planes_of_the_walk(heading, forward, right):
    walk = Walk(heading=heading)
    tan_f, tan_r = np.tan(np.radians([forward, right]))
    trunk = 0.5 * walk._turn(np.array([[tan_f, 1.0, tan_r]]))
    base = np.array([[3.0, 1.0, -2.0]])
    lean = trunk_lean(base, base + trunk, walk.forward)
    np.testing.assert_allclose(np.degrees(lean.sagittal), [forward], atol=1e-9)
    np.testing.assert_allclose(np.degrees(lean.frontal), [right], atol=1e-9)


def test_trunk_lean_of_one_who_lies():
    lean = trunk_lean([0.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [1, 0, 0])
    assert np.degrees(lean.sagittal) == -90.0
    with pytest.raises(MetricError, match="lower and upper of one shape"):
        trunk_lean([0.0] * 3, [[1.0] * 3], [1, 0, 0])
    with pytest.raises(MetricError, match="3 entries on the last axis of lower"):
        trunk_lean([0.0] * 2, [1.0] * 2, [1, 0, 0])


def opensim_pelvis(tilt, list_, rotation):
    """Rotation of OpenSim's pelvis joint: about z, then the new x, then the new y."""
    ct, st, cl, sl, cr, sr = (
        np.cos(tilt),
        np.sin(tilt),
        np.cos(list_),
        np.sin(list_),
        np.cos(rotation),
        np.sin(rotation),
    )
    about_z = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cl, -sl], [0, sl, cl]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return about_z @ about_x @ about_y


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("degrees", [0, 3, -7, 25])
def test_pelvis_list_is_that_of_opensim(degrees):
    turn = opensim_pelvis(0.0, np.radians(degrees), 0.0)
    left, right = turn @ [0.1, 0.02, -0.12], turn @ [0.1, 0.02, 0.12]
    assert np.degrees(pelvis_list(left, right)) == pytest.approx(degrees, abs=1e-9)
    # whichever way the walker faces, and shifted
    c, s = np.cos(2.0), np.sin(2.0)
    yaw = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    found = pelvis_list(np.stack([yaw @ left + 5.0, left]), np.stack([yaw @ right + 5.0, right]))
    np.testing.assert_allclose(np.degrees(found), degrees, atol=1e-9)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("side", SIDES)
def test_pelvic_drop_peak_of_a_planted_list(side):
    # standing on a leg the other side sinks by 6° in the middle of the stance
    walk = Walk(stance={"left": 0.6, "right": 0.6})
    lag = 0.0 if side == "right" else 0.5
    part = ((walk.time - lag) % 1.0) / 0.6
    sunk = np.radians(6.0) * np.sin(np.pi * np.clip(part, 0, 1))
    other_side_down = sunk * (
        1 if side == "left" else -1
    )  # standing left, the right side goes down: positive
    drop = pelvic_drop(other_side_down, side=side)
    peaks = stance_peak(drop, walk.time, walk.events[side], end=100)
    np.testing.assert_allclose(np.degrees(peaks[:-1]), 6.0, atol=1e-6)
    other = "left" if side == "right" else "right"
    np.testing.assert_allclose(pelvic_drop(other_side_down, side=other), -sunk, atol=1e-12)


def test_pelvis_functions_say_what_they_want():
    with pytest.raises(MetricError, match="side left or right, got 'both'"):
        pelvic_drop([0.0], side="both")
    with pytest.raises(MetricError, match="left_asis and right_asis of one shape"):
        pelvis_list([0.0] * 3, [[1.0] * 3])
    with pytest.raises(MetricError, match="3 entries on the last axis of left_asis"):
        pelvis_list([0.0] * 2, [1.0] * 2)
    with pytest.raises(MetricError, match="pelvis_list as numbers"):
        pelvic_drop("level", side="left")
    assert dict(OUTWARD) == {"left": -1.0, "right": 1.0}


# ---- errors


UNITS = {
    "gait speed": ("m/s", 1.0),
    "cadence": ("steps/min", 1.0),
    "stride time": ("ms", 1000.0),
    "stride length": ("mm", 1000.0),
    "step time": ("ms", 1000.0),
    "step length": ("mm", 1000.0),
    "step width": ("mm", 1000.0),
    "stance": ("%", 1.0),
    "swing": ("%", 1.0),
    "double support": ("%", 1.0),
    "single support": ("%", 1.0),
    "foot progression": ("°", 57.29577951308232),
    "frontal trunk lean": ("°", 57.29577951308232),
    "sagittal trunk lean": ("°", 57.29577951308232),
    "pelvic drop peak": ("°", 57.29577951308232),
    "knee adduction peak": ("°", 57.29577951308232),
    "hip adduction peak": ("°", 57.29577951308232),
    "GPS": ("°", 1.0),
    "GDI-like": ("1", 1.0),
}


def test_the_quantities_are_these():
    assert list(QUANTITIES) == list(UNITS)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("quantity", UNITS)
def test_error_in_the_unit_of_the_card(quantity):
    unit, factor = UNITS[quantity]
    told, true = [0.9, np.nan, 1.0], [[1.2, 1.0], [1.1, 1.3]]
    for part, direction, expected in (("bias", "zero", -0.2), ("absolute", "lower", 0.2)):
        card = _cards[f"{quantity} {part} error"]
        assert (card.unit, card.direction, card.part, card.merge) == (unit, direction, part, "trials")
        assert dict(card.fixed) == {"quantity": quantity} and card.needs == ("reference",)
        assert card(told, true) == pytest.approx(expected * factor, rel=1e-12)


def test_error_without_values_is_unknown():
    with np.errstate(all="raise"):
        for told, true in (([], [1.0]), ([1.0], []), ([np.nan], [1.0]), ([1.0], np.nan)):
            found = value_error(told, true, quantity="cadence")
            assert np.isnan(found.bias) and np.isnan(found.absolute)
    assert value_error(1.5, 1.0, quantity="gait speed") == (0.5, 0.5)
    with pytest.raises(MetricError, match=r"Expected one of gait speed, cadence, .*, got 'speed'"):
        value_error([1.0], [1.0], quantity="speed")
    with pytest.raises(MetricError, match="predicted as numbers"):
        value_error("fast", [1.0], quantity="gait speed")
    with pytest.raises(MetricError, match="reference as numbers"):
        value_error([1.0], "fast", quantity="gait speed")


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("quantity", ["gait speed", "step length", "stance"])
def test_error_swapped_and_shuffled(quantity):
    rng = np.random.default_rng(5)
    told, true = rng.normal(size=7), rng.normal(size=5)
    plain = value_error(told, true, quantity=quantity)
    swapped = value_error(rng.permutation(true), rng.permutation(told), quantity=quantity)
    assert swapped.bias == pytest.approx(-plain.bias) and swapped.absolute == pytest.approx(plain.absolute)
    assert value_error(told, told, quantity=quantity) == (0.0, 0.0)
