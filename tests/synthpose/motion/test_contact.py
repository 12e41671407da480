from __future__ import annotations

import numpy as np
import pytest

from capbench.biomech.body import fullbody
from capbench.biomech.kinematics import coordinates_of, forward, points
from capbench.biomech.scale import scale_model
from capbench.biomech.tree import build_tree
from synthpose.motion.contact import Sole, model_sole
from synthpose.motion.stage import make_stage


def test_soles_are_on_the_floor_in_the_bind_pose_where_the_mesh_is(anybody):
    person, sole = anybody.person, anybody.stage.sole
    tree = build_tree(person.model)
    frames = forward(tree, coordinates_of(tree, person.bind))
    at = points(tree, frames, sole.bodies, sole.locations)[0]
    assert at[:, 1] == pytest.approx(sole.flat[:, 1] + person.surfaces[0].rest_v3[:, 1].min(), abs=2e-3)
    for side in "rl":
        own = sole.of(side)
        along = at[own][:, 0]
        assert sole.names[own[np.argmin(along)]].startswith(("heel", "edge")) and np.ptp(along) > 0.75 * 0.14
        assert (at[own][:, 2] * (1 if side == "r" else -1) > 0).all()


def test_left_and_right_are_mirror_images(adult):
    sole = adult.stage.sole
    shared = [n[:-2] for n in sole.names if n.endswith("_r") and n[:-2] + "_l" in sole.names]
    assert {"heel", "mt1", "mt5", "toe1"} <= set(shared)
    for name in shared:
        a = sole.flat[sole.names.index(f"{name}_r")]
        b = sole.flat[sole.names.index(f"{name}_l")]
        assert a == pytest.approx(b, abs=0.004)


def block() -> Sole:
    """A flat foot of three points: heel at 0, ball at 0.2, toe at 0.25 m and 10 mm up."""
    flat = np.array([[0.0, 0.0, 0.0], [0.20, 0.0, 0.0], [0.25, 0.01, 0.0]])
    names = ("heel_r", "mt1_r", "toe1_r")
    return Sole(
        names, ("calcn_r",) * 3, flat.copy(), flat, {"r": np.eye(3), "l": np.eye(3)}, np.zeros((2, 3))
    )


@pytest.mark.truth(
    "a rigid rocker in closed form: it turns about the ball until the toe touches, then about that"
)
def test_a_foot_rolls_over_its_points_without_slipping():
    pitch = np.radians([0.0, 20.0, -10.0, -30.0])
    at, share = block().rolled("r", pitch)
    assert at[0] == pytest.approx(block().flat[:, :2])
    assert at[1, 0] == pytest.approx([0.0, 0.0], abs=2e-4)  # heel stays
    assert at[1, 1] == pytest.approx([0.2 * np.cos(pitch[1]), 0.2 * np.sin(pitch[1])], abs=2e-4)
    assert at[2, 1] == pytest.approx([0.2, 0.0], abs=2e-4)  # the toe touches at atan(0.01/0.05) = 11.3° only
    touch = np.arctan2(0.01, 0.05)
    toe = 0.2 + np.hypot(0.05, 0.01)
    assert at[3, 2] == pytest.approx([toe, 0.0], abs=1e-3)
    assert at[3, 1, 1] == pytest.approx(np.hypot(0.05, 0.01) * np.sin(-pitch[3] - touch), abs=1e-3)
    assert at[..., 1].min() > -1e-4
    assert share[1].argmax() == 0 and share[3].argmax() == 2 and share[3, 0] < 1e-6


def test_a_plain_model_stands_as_high_as_its_leg_and_scales(adult):
    plain = fullbody(groups=("head", "wrists"))
    leg = make_stage(plain).leg
    # thigh 0.4096, shank 0.4 and the rest of the foot of the 1.70 m model; a leg is 0.50 to 0.56 of stature
    assert 0.50 * 1.70 < leg < 0.56 * 1.70
    half = scale_model(plain, {b.name: np.full(3, 0.5) for b in plain.bodies}, 30.0)
    assert make_stage(half).leg == pytest.approx(0.5 * leg, rel=1e-4)
    assert model_sole(half).locations == pytest.approx(0.5 * model_sole(plain).locations)
    assert 0.50 * 1.68 < adult.stage.leg < 0.56 * 1.68
