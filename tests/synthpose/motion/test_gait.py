from __future__ import annotations

import numpy as np
import pytest
from synthpose_motion_measures import sole_tracks, stride_curves

from capbench.biomech.kinematics import joint_centres
from cohorts.errors import CapbenchError
from synthpose.motion import CONDITIONS, make_motion, perform
from synthpose.motion.curves import normal, normal_sd
from synthpose.motion.gait import plan_steps, plan_walk


def walked(cast, condition="gait", *, seed=1, variability=0.0, **how):
    return perform(
        condition, cast.person.model, seed=seed, sole=cast.stage.sole, variability=variability, **how
    )


@pytest.mark.parametrize(("speed", "cadence"), [(0.6, 84.0), (1.1, None), (1.5, 124.0)])
def test_speed_and_cadence_are_what_was_asked(anybody, speed, cadence):
    speed = speed * np.sqrt(anybody.stage.leg / 0.9)
    done = walked(anybody, speed=speed, cadence=cadence, duration=5.0)
    strikes = done.strikes("r")
    stride = np.diff(strikes)
    if cadence is not None:
        assert stride == pytest.approx(120.0 / cadence)
    heel = sole_tracks(anybody.stage, done.motion)[:, anybody.stage.sole.of("r")[0], 0]
    print_x = np.interp(strikes + 0.25 * stride[0], done.motion.time, heel)  # flat on the floor
    assert np.diff(print_x[:3]) / stride[:2] == pytest.approx(speed, rel=0.01)


@pytest.mark.truth(
    "the plan in closed form: one stride lasts 120/cadence, feet alternate, feet leave at 59 %"
)
def test_events_come_when_the_plan_says(adult):
    done = walked(adult, cadence=120.0, speed=0.429 * np.sqrt(9.81 * adult.stage.leg), duration=4.0)
    right, left = done.strikes("r"), done.strikes("l")
    assert np.diff(right) == pytest.approx(1.0) and np.diff(left) == pytest.approx(1.0)
    assert (left - right[0]) % 1.0 == pytest.approx(0.5)
    assert (done.offs("r") - right[0]) % 1.0 == pytest.approx(0.59)
    at = sole_tracks(adult.stage, done.motion)[:, adult.stage.sole.of("r"), 1].min(axis=1)
    on = at < 0.002  # told from the points alone, a frame or two around
    for start, end in zip(right, done.offs("r")[done.offs("r") > right[0]], strict=False):
        inside = (done.motion.time > start + 0.02) & (done.motion.time < end - 0.02)
        assert on[inside].all()
        swing = (done.motion.time > end + 0.06) & (done.motion.time < start + 1.0 - 0.06)
        assert at[swing].min() > 0.004


def test_an_antalgic_walker_stands_shorter_on_the_painful_leg(adult):
    done = walked(adult, "antalgic", side="l", duration=5.0)
    stance = {}
    for side in "rl":
        strike = done.strikes(side)
        offs = done.offs(side)
        stance[side] = np.mean([offs[offs > s][0] - s for s in strike[:3]]) / np.diff(strike)[0]
    assert stance["r"] - stance["l"] == pytest.approx(0.11)  # -7 and +4 % of the cycle


@pytest.mark.truth(
    "Schwartz et al. 2008: mean and standard deviation between people, at the walk's own speed"
)
def test_healthy_gait_is_within_a_standard_deviation_of_the_norm(anybody):
    done = walked(anybody, duration=4.0)
    pace, cycle = done.facts["pace"], np.linspace(0, 1, 101)
    zero = {"ankle_angle": np.degrees(anybody.stage.flat_pitch["r"])}
    tilt = np.degrees(anybody.stage.sole.upright["pelvis_tilt"])
    zero |= {"hip_flexion": -11.5 - tilt}  # the norm's pelvis is tilted 11.5° where OpenSim's is upright
    shares = []
    for name, norm in {
        "hip_flexion": "hip_flexion",
        "hip_adduction": "hip_adduction",
        "hip_rotation": "hip_rotation",
        "knee_angle": "knee_flexion",
        "ankle_angle": "ankle_dorsiflexion",
    }.items():
        told = stride_curves(done, f"{name}_r").mean(axis=0) - zero.get(name, 0.0)
        shares.append(np.abs(told - normal(norm, cycle, pace)) <= normal_sd(norm, pace))
    start, end = done.strikes("r")[:2]
    at = start + cycle * (end - start)
    for name, norm, sign, shift in (
        ("pelvis_tilt", "pelvic_tilt", -1, 11.5 + tilt),
        ("pelvis_list", "pelvic_obliquity", -1, 0.0),
        ("pelvis_rotation", "pelvic_rotation", 1, 0.0),
    ):
        told = sign * np.degrees(np.interp(at, done.motion.time, done.motion.column(name))) + shift
        shares.append(np.abs(told - normal(norm, cycle, pace)) <= normal_sd(norm, pace))
    assert np.mean(shares) >= 0.95
    # the ankle pushes off 10 to 15° less: OpenCap's models hold the toes to the heel, and so does the mesh
    assert sorted(np.mean(s) for s in shares)[1] > 0.85 and min(np.mean(s) for s in shares) > 0.55


def peak(done, name, first=55, last=95):
    return stride_curves(done, name)[:, first:last].max()


@pytest.mark.truth("after stroke: swing peak below 44.3° and more than 17° below the other side (facts 3.3)")
def test_a_stiff_knee_is_stiff_in_swing(anybody):
    done = walked(anybody, "stiff_knee", duration=3.5)
    assert peak(done, "knee_angle_r") < 44.3
    assert peak(done, "knee_angle_l") - peak(done, "knee_angle_r") > 17
    mirrored = walked(anybody, "stiff_knee", side="l", duration=3.5)
    assert peak(mirrored, "knee_angle_l") < 44.3 < peak(mirrored, "knee_angle_r")


def test_severity_goes_from_nothing_to_all(adult):
    peaks = [peak(walked(adult, "stiff_knee", severity=s, speed=0.9), "knee_angle_r") for s in (0, 0.5, 1)]
    assert peaks[0] > peaks[1] + 8 > peaks[2] + 16
    plain = make_motion("gait", adult.person.model, seed=5, speed=1.1, variability=0, sole=adult.stage.sole)
    none = make_motion(
        "drop_foot", adult.person.model, seed=5, speed=1.1, severity=0, variability=0, sole=adult.stage.sole
    )
    # the same walk, begun elsewhere in its cycle
    assert np.ptp(plain.column("knee_angle_r")) == pytest.approx(
        np.ptp(none.column("knee_angle_r")), abs=0.03
    )


def test_each_impairment_does_what_it_says(adult):
    plain = walked(adult, duration=3.5)

    def mean(done, name, first, last):
        return stride_curves(done, name)[:, first:last].mean()

    crouch = walked(adult, "crouch", duration=3.5)
    for side in "rl":
        more = mean(crouch, f"knee_angle_{side}", 20, 45) - mean(plain, f"knee_angle_{side}", 20, 45)
        assert 18 < more < 50  # +20 to +50° in stance
    drop = walked(adult, "drop_foot", duration=3.5)
    less = mean(plain, "ankle_angle_r", 80, 96) - mean(drop, "ankle_angle_r", 80, 96)
    assert 8 < less < 22 and peak(drop, "hip_flexion_r") - peak(plain, "hip_flexion_r") > 6
    equinus = walked(adult, "equinus", duration=3.5)
    assert mean(plain, "ankle_angle_r", 15, 45) - mean(equinus, "ankle_angle_r", 15, 45) > 10
    circling = walked(adult, "circumduction", duration=3.5)
    away = mean(circling, "hip_adduction_r", 68, 85) - mean(plain, "hip_adduction_r", 68, 85)
    assert -14 < away < -5
    for name, sign in (("toe_in", 1), ("toe_out", -1)):
        turned = walked(adult, name, duration=3.5)
        assert sign * (mean(turned, "hip_rotation_l", 10, 50) - mean(plain, "hip_rotation_l", 10, 50)) > 6


@pytest.mark.parametrize("side", ["r", "l"])
def test_trendelenburg_drops_the_other_side_of_the_pelvis(adult, side):
    done = walked(adult, "trendelenburg", side=side, duration=3.5)
    plain = walked(adult, duration=3.5)
    other = {"r": "l", "l": "r"}[side]

    def drop(walk):  # of the other hip below the standing one, metres, in mid-stance of the affected leg
        hips = joint_centres(adult.person.model, walk.motion).select((f"hip_{side}", f"hip_{other}")).xyz
        start, end = walk.strikes(side)[:2]
        at = (walk.motion.time > start + 0.2 * (end - start)) & (
            walk.motion.time < start + 0.4 * (end - start)
        )
        return (hips[at, 0, 1] - hips[at, 1, 1]).mean()

    width = np.linalg.norm(
        np.diff(joint_centres(adult.person.model, plain.motion).select(("hip_r", "hip_l")).xyz[0], axis=0)
    )
    more = np.degrees(np.arcsin((drop(done) - drop(plain)) / width))
    assert 4 < more < 11  # facts: 5 to 10°


def test_parkinson_takes_small_steps_bent_with_still_arms(adult):
    ill, plain = walked(adult, "parkinson", duration=4.0), walked(adult, duration=4.0)
    assert ill.facts["cadence"] / plain.facts["cadence"] == pytest.approx(102 / 114, rel=0.01)
    step = [w.facts["speed"] / w.facts["cadence"] for w in (ill, plain)]
    assert step[0] < 0.75 * step[1]
    swing = [np.ptp(w.motion.column("arm_flex_r")) for w in (ill, plain)]
    assert swing[0] < 0.4 * swing[1]
    lean = [
        np.degrees((w.motion.column("lumbar_extension") + w.motion.column("pelvis_tilt")).mean())
        for w in (ill, plain)
    ]
    assert 12 < lean[1] - lean[0] < 25


def test_ataxic_steps_are_wide_and_vary(adult):
    cv, width = [], []
    for name in ("ataxic", "gait"):
        plan = plan_walk(adult.stage, CONDITIONS[name], seed=3)
        width.append(plan.width)
        stride = np.diff(plan_steps(plan, 200.0).strikes["r"])
        cv.append(stride.std() / stride.mean())
    assert cv[1] == pytest.approx(0.02, rel=0.2) and cv[0] == pytest.approx(0.06, rel=0.2)
    assert width[0] > 1.5 * width[1]


def test_people_and_trials_differ_so_that_the_mean_pose_is_a_bad_answer(adult):
    means = [
        np.degrees(walked(adult, seed=seed, variability=1.0, duration=1.5).motion.values.mean(axis=0))
        for seed in range(8)
    ]
    spread = dict(zip(adult.person.model.coordinate_names, np.std(means, axis=0), strict=True))
    for name, least in {"pelvis_tilt": 2.0, "pelvis_list": 0.4, "pelvis_rotation": 0.8, "hip_rotation_r": 2.5,
                        "subtalar_angle_r": 0.8, "lumbar_extension": 2.0}.items():  # fmt: skip
        assert spread[name] > least, name


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(adult):
    def bytes_of(seed, rate=100.0):
        return walked(
            adult, "ataxic", seed=seed, variability=1.0, duration=1.5, rate=rate
        ).motion.values.tobytes()

    assert bytes_of(4) == bytes_of(4) != bytes_of(5)


def test_another_rate_shows_the_same_motion(adult):
    slow = walked(adult, variability=1.0, duration=2.0, rate=50.0).motion
    full = walked(adult, variability=1.0, duration=2.0).motion
    odd = walked(adult, variability=1.0, duration=2.0, rate=60.0).motion
    assert np.array_equal(slow.values, full.values[::2])
    knee = np.interp(odd.time, full.time, full.column("knee_angle_r"))
    assert len(odd) == 121 and np.abs(odd.column("knee_angle_r") - knee).max() < 0.003


def test_a_plain_model_walks_too(adult):
    done = perform("gait", adult.person.model, seed=1, duration=2.0)
    assert np.isfinite(done.motion.values).all()


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"speed": 9.0}, "walking speed"),
        ({"cadence": 5.0}, "cadence"),
        ({"duration": float("nan")}, "duration"),
        ({"rate": 0.0}, "rate"),
        ({"severity": 1.5}, "severity"),
        ({"side": "left"}, "side"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_words(adult, how, match):
    with pytest.raises(CapbenchError, match=match):
        perform("gait", adult.person.model, seed=1, **how)
