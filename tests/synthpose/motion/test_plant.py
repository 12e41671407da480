from __future__ import annotations

import numpy as np
import pytest

from capbench.biomech import kinematics
from capbench.biomech.body import fullbody
from synthpose.motion.plant import (
    Pins,
    _solve_banded,
    frames_of,
    make_rig,
    mass_centre,
    plant,
    slopes,
    world,
)

MODEL = fullbody(groups=("head", "wrists"))


def some_pose(rig, frames=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.05, 0.5, (frames, len(rig.tree.coordinates)))


@pytest.mark.truth("the same system as one dense matrix, solved by numpy")
def test_the_banded_solver_solves_the_system_it_says():
    rng = np.random.default_rng(1)
    frames, size = 7, 3
    half = rng.standard_normal((frames, size, size))
    normal = half @ half.transpose(0, 2, 1) + np.eye(size)
    pull, off, bend = (
        rng.standard_normal((frames, size)),
        rng.standard_normal((frames, size)),
        rng.random(size),
    )
    second = np.zeros((frames - 2, frames))
    for t in range(frames - 2):
        second[t, t : t + 3] = 1, -2, 1
    dense = np.zeros((frames * size, frames * size))
    for t in range(frames):
        dense[t * size : (t + 1) * size, t * size : (t + 1) * size] = normal[t]
    smooth = np.kron(second.T @ second, np.diag(bend))
    want = np.linalg.solve(dense + smooth, pull.ravel() - smooth @ off.ravel())
    assert _solve_banded(normal, pull, off, bend).ravel() == pytest.approx(want, abs=1e-10)


@pytest.mark.truth("capbench.biomech.kinematics on the whole model")
def test_points_and_their_slopes_are_those_of_the_whole_model():
    rig, whole = make_rig(MODEL), make_rig(MODEL, whole=True)
    q = some_pose(whole)
    own = q[:, [whole.tree.index(n) for n in rig.tree.coordinates]]
    at = np.array([[0.1, -0.02, 0.03]])
    frames = frames_of(rig, own)
    all_frames = kinematics.forward(whole.tree, q)
    told = world(rig, frames, ("toes_l",), at)
    assert told == pytest.approx(kinematics.points(whole.tree, all_frames, ["toes_l"], at), abs=1e-12)
    slope = slopes(rig, frames, own, ("toes_l",), told)[:, 0]
    want = kinematics.jacobian(whole.tree, all_frames, q, "toes_l", at[0])
    want = want[:, :, [whole.tree.index(rig.tree.coordinates[c]) for c in rig.free]]
    assert slope == pytest.approx(want, abs=1e-12)


@pytest.mark.truth("masses and mass centres of the bodies summed one by one; finite differences")
def test_the_mass_centre_is_that_of_all_bodies_and_moves_as_told():
    from synthpose.motion.plant import _centre_slopes

    rig = make_rig(MODEL, whole=True)
    q = some_pose(rig, frames=2)
    frames = kinematics.forward(rig.tree, q)
    total = np.zeros((2, 3))
    for body in MODEL.bodies:
        rotation, origin = kinematics.body_frames(rig.tree, frames, body.name)
        total += body.mass * (rotation @ body.mass_centre + origin)
    assert mass_centre(rig, frames) == pytest.approx(total / MODEL.mass, abs=1e-12)
    slope = _centre_slopes(rig, frames, q)
    for k, column in enumerate(rig.free):
        nudged = q.copy()
        nudged[:, column] += 1e-6
        moved = (mass_centre(rig, kinematics.forward(rig.tree, nudged)) - total / MODEL.mass) / 1e-6
        assert slope[..., k] == pytest.approx(moved, abs=1e-5)


def held(frames, points, **over):
    blank = {
        "bodies": ("calcn_r",) * points,
        "locations": np.zeros((points, 3)),
        "places": np.zeros((frames, points, 3)),
        "shares": np.zeros((frames, points, 3)),
        "floor": np.full((frames, points), -9.0),
    }
    return Pins(**{**blank, **over})


def test_nothing_is_bent_where_nothing_is_held():
    rig = make_rig(MODEL)
    q = some_pose(rig, frames=20)
    assert plant(rig, q, 100.0, held(20, 1)) == pytest.approx(q, abs=1e-6)


def test_a_pinned_heel_stays_and_what_is_over_the_floor_does_not_go_under():
    rig = make_rig(MODEL)
    frames = 60
    q = np.tile(rig.tree.defaults, (frames, 1))
    q[:, rig.tree.index("pelvis_ty")] = 0.90
    q[:, rig.tree.index("knee_angle_r")] = 0.3
    q[:, rig.tree.index("pelvis_tx")] = np.linspace(0, 0.10, frames)  # the pelvis goes on over the foot
    place = world(rig, frames_of(rig, q[:1]), ("calcn_r",), np.zeros((1, 3)))
    shares = np.zeros((frames, 2, 3))
    shares[:, 0] = 1.0
    pins = held(
        frames,
        2,
        places=np.broadcast_to(place, (frames, 1, 3)).repeat(2, axis=1),
        shares=shares,
        floor=np.full((frames, 2), -9.0) + np.array([0.0, 9.02]),
        locations=np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]),
    )
    told = plant(rig, q, 100.0, pins)
    at = world(rig, frames_of(rig, told), pins.bodies, pins.locations)
    assert np.abs(at[:, 0] - place[0]).max() < 5e-4
    assert at[:, 1, 1].min() > 0.02 - 1e-3
    assert np.abs(told - q).max() < 0.5


def test_ranges_hold():
    rig = make_rig(MODEL)
    q = np.tile(rig.tree.defaults, (30, 1))
    q[:, rig.tree.index("knee_angle_l")] = -0.2
    told = plant(rig, q, 100.0, held(30, 1))
    assert told[:, rig.tree.index("knee_angle_l")].min() >= 0.0
