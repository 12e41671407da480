from __future__ import annotations

import numpy as np
import pytest
from synthpose_motion_measures import sole_tracks

from cohorts.errors import CapbenchError
from cohorts.formats import storage
from cohorts.recording import Motion
from synthpose.motion import perform, retarget
from synthpose.motion.stage import make_stage


def test_a_motion_put_back_on_its_own_body_is_the_same(adult):
    own = perform("gait", adult.person.model, seed=1, sole=adult.stage.sole, duration=2.0).motion
    for source in (None, adult.person.model):
        told = retarget(own, adult.person.model, source=source, sole=adult.stage.sole)
        assert np.array_equal(told.column("knee_angle_r"), own.column("knee_angle_r"))
        assert np.abs(told.values - own.values).max() < 0.012


def test_a_childs_walk_by_an_adults_angles_is_shorter_by_the_leg_and_on_the_floor(adult, child):
    own = perform("gait", adult.person.model, seed=1, sole=adult.stage.sole, duration=2.0).motion
    told = retarget(own, child.person.model, source=adult.person.model, sole=child.stage.sole)
    scale = make_stage(child.person.model).leg / make_stage(adult.person.model).leg
    assert scale == pytest.approx(child.stage.leg / adult.stage.leg, rel=0.04)
    way = [np.ptp(m.column("pelvis_tx")) for m in (told, own)]
    assert way[0] == pytest.approx(scale * way[1], rel=1e-9)
    low = sole_tracks(child.stage, told)[..., 1].min(axis=1)
    assert low.min() > -0.003 and low.max() < 0.008
    assert np.array_equal(told.time, own.time)


def test_a_flight_stays_a_flight(adult, child):
    done = perform("drop_jump", adult.person.model, seed=1, sole=adult.stage.sole)
    landed = done.motion.between(done.facts["lands"], 9.0)  # from the floor on
    told = retarget(landed, child.person.model, source=adult.person.model, sole=child.stage.sole)
    low = sole_tracks(child.stage, told)[..., 1].min(axis=1)
    height = sole_tracks(adult.stage, landed)[..., 1].min(axis=1)
    scale = child.stage.leg / adult.stage.leg
    assert low.min() > -0.003
    assert low.max() == pytest.approx(scale * height.max(), rel=0.25)


@pytest.mark.truth("a recording of a person (LabValidation subject 4, walking), IK as published")
def test_a_real_walk_drives_a_person(adult, shared_data):
    real = storage.read(shared_data / "labvalidation_subject4" / "reference_ik" / "walking1.mot")
    assert isinstance(real, Motion)
    told = retarget(real, adult.person.model, sole=adult.stage.sole)
    assert np.array_equal(told.column("hip_flexion_r"), real.column("hip_flexion_r"))
    low = sole_tracks(adult.stage, told)[..., 1].min(axis=1)
    assert low.min() > -0.004 and low.max() < 0.012
    assert np.isfinite(told.values).all()
    speed = [np.ptp(m.column("pelvis_tx")) / m.duration for m in (told, real)]
    assert 0.85 < speed[0] / speed[1] < 1.15  # a person of about the same size


def test_what_cannot_be_shown_is_refused_in_words(adult):
    model = adult.person.model
    own = perform("gait", model, seed=1, duration=0.5).motion
    with pytest.raises(CapbenchError, match="knee_angle_l"):
        retarget(own.select(n for n in own.names if n != "knee_angle_l"), model)
    hole = np.array(own.values)
    hole[7, own.names.index("hip_flexion_r")] = np.nan
    with pytest.raises(CapbenchError, match=r"frame 7.*hip_flexion_r"):
        retarget(Motion(own.time, own.names, hole), model)
    with pytest.raises(CapbenchError, match="2 frames"):
        retarget(own[:1], model)
    high = np.array(own.values)
    high[:, own.names.index("pelvis_ty")] += 900.0
    with pytest.raises(CapbenchError, match="floor"):
        retarget(Motion(own.time, own.names, high), model)
