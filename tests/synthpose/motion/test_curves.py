from __future__ import annotations

import numpy as np
import pytest

from cohorts.errors import CapbenchError
from synthpose.motion import CONDITIONS
from synthpose.motion.curves import Edit, at_speed, figures, foot_off, free_speed, normal, normal_cadence
from synthpose.motion.variability import at_least, chance, ease, wandering

CYCLE = np.linspace(0.0, 1.0, 501)[:-1]


@pytest.mark.truth("Schwartz et al. 2008, free speed, read at every tenth of the cycle, degrees")
@pytest.mark.parametrize(
    ("name", "published", "within"),
    [
        ("hip_flexion", [35.8, 32.8, 22.5, 11.4, 1.6, -5.3, -0.9, 17.9, 32.0, 36.7], 0.7),
        ("knee_flexion", [5.6, 18.6, 16.5, 10.1, 6.2, 11.6, 33.9, 58.2, 49.8, 18.7], 1.2),
        ("ankle_dorsiflexion", [-2.1, -2.1, 5.2, 8.6, 11.1, 10.4, -13.8, -11.2, 1.1, 1.0], 1.2),
    ],
)
def test_normal_curves_are_the_published_ones(name, published, within):
    told = normal(name, np.arange(10) / 10, 0.429)
    assert np.abs(told - published).max() < within


@pytest.mark.truth("Schwartz et al. 2008: extremes of the curves and where in the cycle they are")
@pytest.mark.parametrize(
    ("name", "low", "low_at", "high", "high_at"),
    [
        ("hip_flexion", -5.8, 52, 36.7, 90),
        ("knee_flexion", 4.0, 98, 59.1, 72),
        ("ankle_dorsiflexion", -19.8, 64, 11.8, 46),
        ("pelvic_obliquity", -4.1, 66, 4.1, 16),
        ("pelvic_rotation", -4.4, 52, 4.4, 2),
    ],
)
def test_extremes_are_where_they_were_published(name, low, low_at, high, high_at):
    told = normal(name, CYCLE, 0.429)
    assert abs(told.min() - low) < 1.1 and abs(told.max() - high) < 1.1
    gap = (100 * CYCLE[[told.argmin(), told.argmax()]] - [low_at, high_at] + 50) % 100 - 50
    assert np.abs(gap).max() <= 5


def test_curves_are_periodic_and_smooth():
    for name in (*figures()["norms"], *figures()["extra"]):
        near = normal(name, np.array([-1e-6, 0.0, 1e-6, 1.0]), 0.35)
        assert np.ptp(near) < 1e-2
        slope = np.diff(normal(name, np.linspace(-0.02, 0.02, 41), 0.35))
        assert np.abs(np.diff(slope)).max() < 0.05


def test_speeds_between_the_norms_are_mixed_and_beyond_them_held():
    assert at_speed([10, 20, 30, 40, 50], 0.3595) == pytest.approx(25.0)  # half-way from 0.290 to 0.429
    assert at_speed([10, 20, 30, 40, 50], 0.01) == 10 and at_speed([10, 20, 30, 40, 50], 2.0) == 50
    assert foot_off(0.429) == pytest.approx(0.59)


@pytest.mark.truth("gaitutils: an adult's leg of 0.90 m walks 1.28 m/s at 121 steps/min")
def test_an_adult_walks_at_the_published_speed_and_cadence():
    assert free_speed(0.90) == pytest.approx(1.28, abs=0.02)
    assert normal_cadence(1.28, 0.90) == pytest.approx(121, abs=2.5)
    # dimensional analysis: legs a quarter as long walk half as fast, with twice the cadence
    assert free_speed(0.225) == pytest.approx(0.5 * free_speed(0.90))
    assert normal_cadence(0.64, 0.225) == pytest.approx(2 * normal_cadence(1.28, 0.90))


@pytest.mark.truth("Bohannon & Andrews 2011: 94 to 97 cm/s at 80 to 99 years against 139 cm/s at 20 to 59")
def test_the_old_walk_slower():
    assert free_speed(0.9, age=90) / free_speed(0.9, age=40) == pytest.approx(0.69, abs=0.02)


def test_edits_act_in_their_window_only_also_past_the_end_of_the_cycle():
    edit = Edit("knee_flexion", "both", "", add=1.0, window=(80.0, 90.0, 105.0, 120.0))
    told = edit.share(np.array([0.5, 0.79, 0.85, 0.95, 0.02, 0.125, 0.21]))
    assert told == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0])


def test_every_condition_is_there_and_every_edit_names_a_source():
    wanted = """gait gait_slow gait_fast stiff_knee crouch drop_foot equinus trendelenburg antalgic
        circumduction parkinson ataxic trunk_sway toe_in toe_out
        squat squat_asym sts sts_weak drop_jump drop_jump_asym"""
    assert set(CONDITIONS) == set(wanted.split())
    assert all(c.source and c.title for c in CONDITIONS.values())
    assert all(e.source for c in CONDITIONS.values() for e in c.edits)


def test_an_unknown_condition_is_named_with_what_there_is():
    with pytest.raises(CapbenchError, match="stiff_knee"):
        CONDITIONS["stif_knee"]


def test_wandering_has_the_memory_and_spread_that_were_asked_for():
    told = wandering(chance(1, "a"), 20000, 2.0, 0.5)
    assert told.std() == pytest.approx(2.0, rel=0.05)
    assert np.corrcoef(told[1:], told[:-1])[0, 1] == pytest.approx(0.5, abs=0.03)
    assert not np.array_equal(chance(1, "a").random(3), chance(1, "b").random(3))
    assert not np.array_equal(chance(1, "a").random(3), chance(2, "a").random(3))


def test_ease_begins_and_ends_at_rest_and_at_least_keeps_above():
    t = np.linspace(0, 1, 1001)
    told = ease(t, 0.2, 0.8)
    assert told[[0, 200, 500, 800, 1000]] == pytest.approx([0, 0, 0.5, 1, 1])
    assert np.abs(np.gradient(told, t)[[200, 800]]).max() < 1e-3
    assert at_least(np.array([-5.0, 5.0]), 0.1) == pytest.approx([0.1, 5.0])
