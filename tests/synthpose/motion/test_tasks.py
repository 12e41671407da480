from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from synthpose_motion_measures import sole_tracks, worst_slide

from capbench.biomech.kinematics import body_frames, coordinates_of, forward, points
from capbench.biomech.tree import build_tree
from cohorts.errors import CapbenchError
from synthpose.motion import CONDITIONS, perform

TASKS = [name for name, c in CONDITIONS.items() if c.activity != "walking"]


def done_by(cast, condition, *, seed=1, variability=1.0, **how):
    return perform(
        condition, cast.person.model, seed=seed, sole=cast.stage.sole, variability=variability, **how
    )


def centre_of_mass(model, motion):
    tree = build_tree(model)
    frames = forward(tree, coordinates_of(tree, motion))
    total = np.zeros((len(motion), 3))
    for body in model.bodies:
        rotation, origin = body_frames(tree, frames, body.name)
        total += body.mass * (rotation @ body.mass_centre + origin)
    return total / model.mass


@pytest.mark.parametrize("condition", TASKS)
def test_feet_neither_slide_nor_sink_and_everything_is_in_range_and_smooth(anybody, condition):
    done = done_by(anybody, condition, **({} if "jump" in condition else {"repetitions": 2}))
    motion = done.motion
    at = sole_tracks(anybody.stage, motion)
    ground = np.where(motion.time <= done.facts.get("leaves", -1.0), done.facts.get("box", 0.0), 0.0)
    assert (at[..., 1] - ground[:, None]).min() > -0.0045
    assert worst_slide(anybody.stage, done) < 0.005
    skin = np.concatenate([v[..., 1] for v in anybody.person.posed(motion[::10])], axis=1)
    assert skin.min() > -0.005
    assert motion.names == anybody.person.model.coordinate_names and np.isfinite(motion.values).all()
    for c in anybody.person.model.coordinates:
        assert c.range[0] <= motion.column(c.name).min() and motion.column(c.name).max() <= c.range[1]
    turns = [n for n, kind in zip(motion.names, motion.kinds, strict=True) if kind == "rotation"]
    jumps = np.abs(np.diff(np.degrees(motion.select(turns).values), n=2, axis=0)).max()
    assert jumps < (3.0 if "jump" in condition else 0.3)  # degrees from frame to frame


@pytest.mark.truth("LabValidation subject 4, squats: 1st and 99th percentile of tilt, hip, knee and ankle")
def test_squats_reach_the_measured_depth(adult):
    motion = done_by(adult, "squat", variability=0.0, repetitions=2).motion
    for name, low, high in (("hip_flexion_r", -13, 104), ("knee_angle_r", 1, 103), ("pelvis_tilt", -33, 8)):
        told = np.degrees(motion.column(name))
        assert told.max() == pytest.approx(high, abs=12) if name != "pelvis_tilt" else told.min() > low - 8
        assert told.min() > low - 8
    assert np.degrees(motion.column("ankle_angle_r").max()) == pytest.approx(35, abs=10)


def test_repetitions_are_counted_and_depth_is_obeyed(adult):
    knees = {}
    for depth in (0.6, 1.0):
        done = done_by(adult, "squat", repetitions=4, depth=depth)
        knee = np.degrees(done.motion.column("knee_angle_r"))
        half = 0.5 * (knee.max() + knee.min())
        assert ((knee[:-1] < half) & (knee[1:] >= half)).sum() == 4
        knees[depth] = knee.max()
    assert knees[0.6] < 0.75 * knees[1.0]


@pytest.mark.parametrize("side", ["r", "l"])
def test_an_asymmetric_squat_leans_off_the_affected_leg(adult, side):
    sign = 1 if side == "r" else -1
    done = done_by(adult, "squat_asym", side=side, variability=0.0, repetitions=1)
    plain = done_by(adult, "squat", variability=0.0, repetitions=1)
    deep = done.motion.column("knee_angle_l").argmax()
    com = centre_of_mass(adult.person.model, done.motion)[deep]
    feet = sole_tracks(adult.stage, done.motion)[deep][:, 2]
    middle = 0.5 * (feet[adult.stage.sole.of("r")].mean() + feet[adult.stage.sole.of("l")].mean())
    assert -sign * (com[2] - middle) > 0.025
    com0 = centre_of_mass(adult.person.model, plain.motion)
    assert abs(com0[:, 2]).max() < 0.01


@pytest.mark.parametrize("seat", [0.40, 0.47])
def test_who_sits_is_on_the_seat_and_nobody_goes_below_it(adult, seat):
    done = done_by(adult, "sts", seat=seat, repetitions=2)
    motion = done.motion
    tree = build_tree(adult.person.model)
    frames = forward(tree, coordinates_of(tree, motion))
    bones = points(tree, frames, ["pelvis", "pelvis"], adult.stage.sole.seat)
    sitting = np.zeros(len(motion), bool)
    for contact in done.contacts:
        if contact.what == "seat":
            sitting |= (motion.time >= contact.start) & (motion.time <= contact.end)
    assert np.abs(bones[sitting][..., 1] - seat).max() < 0.003
    assert np.ptp(bones[sitting][:, 0, 0]) < 0.005  # and does not slide about on it
    assert bones[..., 1].min() > seat - 0.003
    assert bones[~sitting][..., 1].max() > seat + 0.25  # stands up in between
    # the mesh itself, sitting upright: buttocks and thighs at the seat's height
    skin = adult.person.posed(motion[:1])[0][0]
    hips = bones[0, :, 0].mean()
    under = skin[(np.abs(skin[:, 0] - hips) < 0.08) & (np.abs(skin[:, 2]) < 0.16)]
    assert under[:, 1].min() == pytest.approx(seat, abs=0.03)


def test_rises_are_where_the_contacts_say(adult):
    done = done_by(adult, "sts", repetitions=3)
    seats = [c for c in done.contacts if c.what == "seat"]
    assert len(seats) == 4 and seats[0].start == -np.inf and seats[-1].end == np.inf
    high = done.motion.column("pelvis_ty")
    for before, after in pairwise(seats):
        up = high[(done.motion.time > before.end) & (done.motion.time < after.start)]
        assert up.max() > 0.85 * adult.stage.leg + 0.05


@pytest.mark.truth(
    "LabValidation subject 4: weak legs lean further, lumbar -53 against -39, tilt -40 against -29"
)
def test_weak_legs_lean_further_and_take_longer(adult):
    plain = done_by(adult, "sts", variability=0.0, repetitions=2).motion
    weak = done_by(adult, "sts_weak", variability=0.0, repetitions=2).motion
    for name in ("lumbar_extension", "pelvis_tilt"):
        assert np.degrees(weak.column(name).min() - plain.column(name).min()) < -7
    assert weak.duration > 1.25 * plain.duration


@pytest.mark.parametrize("condition", ["drop_jump", "drop_jump_asym"])
@pytest.mark.truth("free fall: in flight the mass centre accelerates by -9.81 m/s², and sideways not at all")
def test_flights_obey_gravity(anybody, condition):
    done = done_by(anybody, condition)
    time, facts = done.motion.time, done.facts
    com = centre_of_mass(anybody.person.model, done.motion)
    for start, end in ((facts["leaves"], facts["lands"]), (facts["jumps"], facts["lands_again"])):
        inside = (time > start + 0.011) & (time < end - 0.011)
        assert inside.sum() > 12
        rise = np.polynomial.polynomial.polyfit(time[inside], com[inside, 1], 2)
        assert 2 * rise[2] == pytest.approx(-9.81, abs=1e-3)
        assert np.abs(np.diff(com[inside, 0], n=2)).max() < 1e-6
    # v²/2g: how high it jumps is what was planned
    top = com[(time > facts["jumps"]) & (time < facts["lands_again"]), 1].max()
    off = np.interp(facts["jumps"], time, com[:, 1])
    assert top - off == pytest.approx(facts["height"], abs=0.006)


def test_feet_are_in_the_air_in_flight_and_down_in_contact(adult):
    done = done_by(adult, "drop_jump")
    time, facts = done.motion.time, done.facts
    low = sole_tracks(adult.stage, done.motion)[..., 1].min(axis=1)
    flying = (time > facts["jumps"] + 0.06) & (time < facts["lands_again"] - 0.06)
    assert low[flying].min() > 0.03
    standing = (time > facts["lands"] + 0.02) & (time < facts["jumps"] - 0.02)
    assert np.abs(low[standing]).max() < 0.004
    assert low[0] == pytest.approx(facts["box"], abs=0.003) and low[-1] == pytest.approx(0, abs=0.003)


def test_an_asymmetric_landing_puts_one_foot_down_first(adult):
    done = done_by(adult, "drop_jump_asym", side="r")
    first = [done.strikes(side)[0] for side in "lr"]
    assert first[1] - first[0] == pytest.approx(0.035)


@pytest.mark.parametrize("condition", TASKS)
def test_the_same_seed_gives_the_same_bytes(adult, condition):
    how = {} if "jump" in condition else {"repetitions": 1}
    once, again, other = (done_by(adult, condition, seed=s, **how).motion.values for s in (2, 2, 3))
    assert once.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("condition", "how", "match"),
    [
        ("squat", {"repetitions": 0}, "repetitions"),
        ("squat", {"depth": 3.0}, "depth"),
        ("sts", {"seat": 1.2}, "seat"),
        ("drop_jump", {"box": 2.0}, "box"),
        ("drop_jump", {"height": -1.0}, "jump"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(adult, condition, how, match):
    with pytest.raises(CapbenchError, match=match):
        perform(condition, adult.person.model, seed=1, **how)
