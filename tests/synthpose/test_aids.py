import numpy as np
import pytest
from closed_meshes import is_closed, merged
from wardrobe import SQUAT, body, pose

from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from synthpose import aids
from synthpose.mesh import Surface, frames_of, skin
from synthpose.solids import box, ellipsoid, hoop, rod, volume

STANDING = {
    "chair": aids.chair(),
    "armchair": aids.chair(arms=True, seat=0.40),
    "stool": aids.chair(back=False),
    "box": aids.jump_box(),
    "bars": aids.bars(),
    "walker": aids.walker(),
    "frame": aids.walker(wheels=False),
}


@pytest.mark.truth("volumes of solids in closed form; a regular n-gon's area is n/2 r^2 sin(2 pi / n)")
def test_solids_are_closed_and_outward():
    ngon = 10 / 2 * 0.02**2 * np.sin(2 * np.pi / 10)
    for (vertices, faces), expected, near in (
        (box([0.0, 0.1, 0.2], [0.5, 0.4, 0.9]), 0.5 * 0.3 * 0.7, 1e-9),
        (rod([[0, 0, 0], [0.3, 0.4, 0.0]], 0.02), ngon * 0.5, 1e-9),
        (rod([[0, 0, 0], [0, 1, 0]], [0.02, 0.04]), ngon * (1 + 2 + 4) / 3, 1e-9),
        (
            hoop([1, 1, 1], [0.1, 0, 0], [0, 0.1, 0], 0.01, around=200, sides=60),
            2 * np.pi**2 * 0.1 * 1e-4,
            5e-3,
        ),
        (ellipsoid([1, 2, 3], [0.1, 0.2, 0.3], rings=60, around=90), 4 / 3 * np.pi * 0.006, 5e-3),
    ):
        assert is_closed(merged(vertices, faces))
        assert volume(vertices, faces) == pytest.approx(expected, rel=near)


@pytest.mark.parametrize("name", list(STANDING))
def test_aids_are_closed_stand_on_the_floor_and_have_materials(name):
    surface = STANDING[name]
    assert is_closed(merged(surface.rest_v3, surface.faces_f3))
    assert volume(surface.rest_v3, surface.faces_f3) > 0
    assert surface.rest_v3[:, 1].min() == pytest.approx(0.0, abs=1e-3)
    assert surface.bodies == ("ground",) and (surface.weights_vk == 1).all()
    assert set(surface.materials) <= set(aids.MATERIALS)
    assert len(surface.faces_f3) < 4000


@pytest.mark.truth("a box of 0.44 x 0.30 x 0.60 m")
def test_the_box_is_as_high_as_said():
    assert volume(STANDING["box"].rest_v3, STANDING["box"].faces_f3) == pytest.approx(0.44 * 0.30 * 0.60)
    raised = aids.jump_box(height=0.5, at=(1.0, 2.0), floor=-0.02)
    assert raised.rest_v3[:, 1].max() == pytest.approx(0.48)
    assert (raised.rest_v3.min(axis=0) + raised.rest_v3.max(axis=0))[[0, 2]] / 2 == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("seat", [0.30, 0.45, 0.60])
def test_the_seat_is_where_it_is_said(seat):
    stool = aids.chair(seat=seat, back=False)
    middle = stool.rest_v3[np.hypot(stool.rest_v3[:, 0], stool.rest_v3[:, 2]) < 0.12]
    assert middle[:, 1].max() == pytest.approx(seat, abs=1e-9)
    assert aids.chair(seat=seat).rest_v3[:, 1].max() > seat + 0.35


@pytest.mark.truth("a chair's back is behind one who sits; turned to the left by 90 degrees, behind is +z")
def test_facing_turns_to_the_left():
    back = aids.chair(facing=np.pi / 2)
    high = back.rest_v3[back.rest_v3[:, 1] > 0.7]
    assert high[:, 2].min() > 0.15
    straight = aids.chair()
    assert straight.rest_v3[straight.rest_v3[:, 1] > 0.7][:, 0].max() < -0.15


def test_rails_are_as_high_and_as_far_apart_as_said():
    rails = aids.bars(height=0.8, apart=0.7, length=2.0)
    assert rails.rest_v3[:, 1].max() == pytest.approx(0.8, abs=0.001)
    high = rails.rest_v3[rails.rest_v3[:, 1] > 0.75]
    inner = np.abs(high[:, 2]).min() * 2
    assert inner == pytest.approx(0.7 - 2 * 0.022, abs=0.003)
    assert np.ptp(high[:, 0]) == pytest.approx(2.0)


def test_what_stands_stays_where_it_is():
    person = body("adult")
    chair = aids.chair(at=(-0.2, 0.1))
    frames = frames_of(person.model, pose(person, SQUAT), ("ground",))
    still = skin(chair, frames_of(person.model, person.bind, ("ground",)), frames)[0]
    assert still == pytest.approx(chair.rest_v3, abs=1e-12)


@pytest.mark.parametrize("side", ["r", "l"])
@pytest.mark.parametrize("sole", [0.0, 0.02])
def test_a_cane_reaches_the_floor_of_one_who_stands(side, sole):
    person = body("elder")
    cane = aids.cane(person, side=side, sole=sole)
    assert is_closed(merged(cane.rest_v3, cane.faces_f3)) and cane.bodies == (f"hand_{side}",)
    degrees = {f"{k}_{side}": np.degrees(v) for k, v in aids.CANE_POSE.items()}
    standing = carried(person, cane, pose(person, degrees))
    soles = person.posed(pose(person, degrees))[0][0][:, 1].min()
    assert standing[:, 1].min() == pytest.approx(soles - sole, abs=0.012)
    shaft = standing[standing[:, 1] < 0.4]
    assert np.ptp(shaft[:, [0, 2]], axis=0).max() < 0.05  # upright
    hand = person.posed(pose(person, degrees))[0][0]
    grip = standing[standing[:, 1] > standing[:, 1].max() - 0.03].mean(axis=0)
    assert np.linalg.norm(hand - grip, axis=1).min() < 0.03
    moved = carried(person, cane, pose(person, {**degrees, f"arm_flex_{side}": 40}))
    before = np.linalg.norm(standing[0] - standing[-1])
    assert np.linalg.norm(moved[0] - moved[-1]) == pytest.approx(before, abs=1e-9)
    assert np.abs(moved - standing).max() > 0.1


def carried(person, surface: Surface, motion: Motion) -> np.ndarray:
    frames = frames_of(person.model, motion, surface.bodies)
    return skin(surface, frames_of(person.model, person.bind, surface.bodies), frames)[0]


@pytest.mark.truth(
    "a straight walk at 1.2 m/s: after 1 s the walker is 1.2 m further; sway of 1 Hz averages out"
)
def test_a_walker_goes_along_without_swaying():
    time = np.arange(0, 4, 0.01)
    names = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
    values = np.stack([1.2 * time, 0.9 + 0 * time, 0.03 * np.sin(2 * np.pi * time)], axis=1)
    walker = aids.walker(at=(0.3, 0.0))
    path = aids.followed(walker, Motion(time, names, values), over=1.0) - walker.rest_v3
    assert path[200, :, 0] == pytest.approx(path[100, :, 0] + 1.2, abs=1e-3)
    assert np.ptp(path[100:300, 0, 2]) < 0.004
    assert path[:, :, 1] == pytest.approx(0.0)
    assert path.shape == (400, *walker.rest_v3.shape) and path[0] == pytest.approx(0.0)


def test_absurd_aids_are_refused():
    for make in (
        lambda: aids.chair(seat=3.0),
        lambda: aids.jump_box(height=0.0),
        lambda: aids.bars(apart=3.0),
        lambda: aids.walker(height=3.0),
        lambda: aids.cane(body("adult"), side="x"),
        lambda: aids.followed(aids.cane(body("adult")), body("adult").bind),
    ):
        with pytest.raises(CapbenchError):
            make()
