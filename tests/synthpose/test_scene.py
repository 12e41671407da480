"""Shadows, visibility, labels and stages against geometry and brute force."""

import numpy as np
import pytest
from solids import actor, bare_room, box, camera, markers, ray_hits, sphere, surface

from cohorts.errors import CapbenchError
from synthpose.scene import VISIBLE, Actor, Material, Room, Stage, View, parts, tolerances
from synthpose.shadow import axes_of, cast

HIGH = {"place": (1.5, 2.8, 1.2), "aim": (0.0, 0.0, 0.0), "size": (160, 120), "focal": 120.0}


def places(view):
    """(h, w, 3) where in the room each pixel of the empty picture is."""
    return view.beneath.astype(float) @ view.room.axes


# --- the room -----------------------------------------------------------------------------------


@pytest.mark.truth("ray and box")
@pytest.mark.parametrize("place", [(3.0, 1.2, 1.0), (7.0, 1.2, 5.5)])  # the second stands outside the room
def test_each_pixel_of_the_room_is_where_its_ray_ends(place) -> None:
    view = View(camera(place=place, size=(64, 48), focal=40.0), Room())
    got = places(view)
    origin, ray = view.camera.ray(np.stack(np.meshgrid(np.arange(64.0), np.arange(48.0)), axis=-1))
    floor = view.surface == 0
    assert 300 < floor.sum() < 64 * 48
    t = -origin[1] / ray[..., 1]
    np.testing.assert_allclose(got[floor], (origin + t[..., None] * ray)[floor], atol=1e-4)
    assert (ray[floor][:, 1] < 0).all()
    off = got - origin
    along = off / np.linalg.norm(off, axis=-1, keepdims=True)
    np.testing.assert_allclose(along, ray, atol=1e-4)
    low, high = np.minimum(Room().low, place), np.maximum(Room().high, place)
    assert (got > low - 0.02).all() and (got < high + 0.02).all()


def test_a_camera_under_the_floor_is_refused() -> None:
    with pytest.raises(CapbenchError, match=r"camera cam.*above the floor"):
        View(camera(place=(3.0, -0.1, 0.0)), Room())


# --- shadows ------------------------------------------------------------------------------------


@pytest.mark.truth("a plate's shadow is the plate, moved along the light")
@pytest.mark.parametrize(
    ("toward", "place"),
    [
        ((0.0, 1.0, 0.0), (2.2, 1.2, 1.5)),
        ((0.5, 1.0, 0.3), (-2.2, 1.2, -1.5)),
        ((-0.6, 0.8, 0.4), (2.2, 1.2, -1.5)),
        ((1.0, 0.2, 0.0), (0.5, 1.5, 3.0)),
    ],
)
def test_a_shadow_falls_where_the_light_sends_it(toward, place) -> None:
    size, up = np.array([0.5, 0.02, 0.4]), 0.4
    vertices, faces = box([-0.25, up - 0.01, -0.2], np.array([-0.25, up - 0.01, -0.2]) + size)
    unit = np.array(toward) / np.linalg.norm(toward)
    way = up * unit / unit[1] * [1, 0, 1]  # from the shadow to the plate, along the floor
    view = View(camera(place, -way, size=(320, 240), focal=280.0), bare_room(toward))
    picture = view.draw([actor(vertices, faces)], [vertices])
    # one light of 0.6 cos and 0.3 from everywhere, all of it on the floor
    share = 0.6 * unit[1] / (0.6 * unit[1] + 0.3)
    floor = (view.surface == 0) & (picture.person == 0)
    taken = (1 - picture.linear / view.empty)[..., 0] / share
    at = places(view)[..., [0, 2]] + way[[0, 2]]
    soft = 0.02 + 0.045 / unit[1]  # half of 4 of the map's pixels, along a slanted light, and the thickness
    inside = (np.abs(at) < np.array([0.25, 0.2]) - soft).all(axis=-1) & floor
    outside = (np.abs(at) > np.array([0.25, 0.2]) + soft).any(axis=-1) & floor
    np.testing.assert_allclose(taken[outside], 0, atol=1e-5)
    assert taken[floor].max() > 0.99
    if unit[1] < 0.5:  # so low a sun blurs all of it
        return
    assert inside.sum() > 300 and outside.sum() > 10_000
    np.testing.assert_allclose(taken[inside], 1.0, atol=1e-5)
    # its middle, each pixel by how much floor it covers
    _, ray = view.camera.ray(np.stack(np.meshgrid(np.arange(320.0), np.arange(240.0)), axis=-1))
    forward = ray @ view.camera.rotation[2]
    cover = np.where(floor, forward**3 / np.abs(ray[..., 1]) ** 3, 0) * taken
    middle = (cover[..., None] * at).sum(axis=(0, 1)) / cover.sum()
    np.testing.assert_allclose(middle, 0, atol=0.012)
    # and half of it is where the plate's edge is, its size so to speak
    np.testing.assert_allclose(cover.sum() * (place[1] / 280.0) ** 2 / 1.02, 0.5 * 0.4, rtol=0.1)


@pytest.mark.truth("a light from behind a wall gives it nothing, so nothing can take it away")
def test_walls_turned_from_the_light_have_no_shadow() -> None:
    vertices, faces = box((-4.6, 0.5, -0.5), (-4.5, 1.5, 0.5))
    view = View(camera(place=(0.0, 1.5, 0.1), aim=(-5, 1, 0), focal=80.0), bare_room((-0.8, 0.6, 0.0)))
    picture = view.draw([actor(vertices, faces)], [vertices])
    wall = (view.surface == 2) & (picture.person == 0)
    np.testing.assert_array_equal(picture.linear[wall], view.empty[wall])


def test_people_cast_shadows_on_each_other_and_none_on_their_lit_side() -> None:
    high, low = box((-0.3, 1.5, -0.3), (0.3, 1.55, 0.3)), box((-0.6, 0.4, -0.6), (0.6, 0.5, 0.6))
    view = View(camera(**HIGH), bare_room())
    both = [actor(*high, person=1), actor(*low, person=2)]
    lit = view.draw(both[1:], [low[0]]).linear
    picture = view.draw(both, [high[0], low[0]])
    top = (picture.person == 2) & (picture.normal[..., 1] > 0.99)
    where = view.camera.centre + picture.depth[..., None] * _along(view)
    inside = top & (np.abs(where[..., [0, 2]]) < 0.3 - 0.06).all(axis=-1)
    outside = top & (np.abs(where[..., [0, 2]]) > 0.3 + 0.06).any(axis=-1)
    assert inside.sum() > 50 and outside.sum() > 100
    np.testing.assert_allclose((picture.linear / lit)[inside], 0.3 / 0.9, rtol=1e-5)
    np.testing.assert_allclose(picture.linear[outside], lit[outside], rtol=1e-5)
    ball, faces = sphere(40, 0.5, (0, 1, 0))
    seen = View(camera(), bare_room((0.5, 1.0, 0.2))).draw([actor(ball, faces)], [ball])
    on = seen.person == 1
    unit = np.array([0.5, 1.0, 0.2]) / np.linalg.norm([0.5, 1.0, 0.2])
    n = seen.normal[on]
    law = 0.5 * (0.3 * (0.75 + 0.25 * n[:, 1]) + 0.6 * np.maximum(n @ unit, 0))
    np.testing.assert_allclose(seen.linear[on][:, 0], law, atol=0.01)  # no speckles of shade


def _along(view):
    _, ray = view.camera.ray(np.stack(np.meshgrid(*map(np.arange, map(float, view.camera.size))), axis=-1))
    return ray / (ray @ view.camera.rotation[2])[..., None]


def test_the_shadow_map_holds_the_whole_scene() -> None:
    axes = axes_of((0.3, 1.0, 0.2))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert axes_of((1.0, 0.0, 0.0)).shape == (3, 3)  # a light along x
    for wide in (0.5, 5.0, 60.0):
        vertices, faces = box((-wide, 0, -1), (wide, 1, 1))
        shadow = cast(vertices, faces, axes)
        assert max(shadow.far.shape) <= 1024
        at = (shadow.cast_v3[:, :2] - shadow.corner) * shadow.scale
        assert at.min() >= 3 and (at.max(axis=0) <= np.array(shadow.far.shape[::-1]) - 4).all()
        drawn = shadow.far[np.isfinite(shadow.far)]
        depth = vertices @ axes[2]
        assert depth.min() - 1e-4 <= drawn.min() and drawn.max() <= depth.max()


# --- who and what is seen -----------------------------------------------------------------------


def test_labels_say_who_and_which_body() -> None:
    one, other, thing = (
        box((0, 0, 0), (0.5, 1, 0.5)),
        box((-1, 0, 0), (-0.5, 1, 0.5)),
        box((0, 0, -1), (0.5, 1, -0.5)),
    )
    actors = [
        actor(*one, person=1, body="tibia_r"),
        actor(*other, person=2, body="torso"),
        actor(*thing, person=0, body="tibia_r"),
    ]
    assert parts(actors) == ("tibia_r", "torso")
    view = View(camera(**HIGH), Room())
    picture = view.draw(actors, [one[0], other[0], thing[0]])
    face = picture.buffers.face_hw
    for n, (person, part) in enumerate(((1, 0), (2, 1), (0, 0))):
        on = (face >= 12 * n) & (face < 12 * n + 12)
        assert on.sum() > 100
        assert (picture.person[on] == person).all() and (picture.part[on] == part).all()
        assert np.isfinite(picture.depth[on]).all() and np.isfinite(picture.normal[on]).all()
    assert (picture.person[face < 0] == 0).all() and (picture.part[face < 0] == -1).all()
    assert np.isinf(picture.depth[face < 0]).all() and np.isnan(picture.normal[face < 0]).all()
    np.testing.assert_array_equal(picture.silhouette(2), picture.person == 2)
    assert picture.rgb.dtype == np.uint8 and picture.rgb.shape == (120, 160, 3)


def test_a_face_belongs_to_the_body_that_its_corners_follow_most() -> None:
    vertices, faces = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]])
    s = surface(vertices, faces)
    shared = type(s)(
        "leg", s.rest_v3, s.rest_v3, s.faces_f3, s.material_f, s.materials,
        np.array([[0, 1], [1, 0], [1, 1]]), np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]),
        ("femur_r", "tibia_r"),
    )  # fmt: skip
    stage = Stage([Actor(shared, {"stuff": Material((1, 1, 1))})], Room())
    assert stage.parts[stage.part[0]] == "tibia_r"  # 0.1 + 0.6 + 1.0 against 0.9 + 0.4


@pytest.mark.truth("rays from the camera to each point against every triangle (Möller and Trumbore)")
def test_visibility_is_what_rays_say() -> None:
    random = np.random.default_rng(2)
    cam = camera(place=(3.0, 1.3, 0.8), size=(240, 180), focal=280.0)
    ball, faces = sphere(20, 0.5, (0, 1, 0))
    wall = box((0.8, 0.2, -0.1), (0.85, 1.1, 0.6))  # a thing before part of it
    friend = box((-0.9, 0.3, -0.9), (-0.7, 1.7, 0.9))  # somebody behind
    points = np.array([0, 1, 0]) + random.normal(size=(300, 3)) * 0.35
    view = View(cam, Room())
    picture = view.draw([actor(ball, faces), actor(*wall, person=0), actor(*friend, person=2)],
                        [ball, wall[0], friend[0]])  # fmt: skip
    got = view.visible(picture, markers(points), 0)
    vertices = np.concatenate([ball, wall[0], friend[0]])
    triangles = np.concatenate([faces, wall[1] + len(ball), friend[1] + len(ball) + len(wall[0])])
    ray = points - cam.centre
    depth = ray @ cam.rotation[2]
    first, hit = ray_hits(cam.centre, ray / depth[:, None], vertices, triangles)
    own = (hit < len(faces)) | (hit < 0)
    at = cam.project(points)
    inside = ((at > -0.5) & (at < [239.5, 179.5])).all(axis=1)
    expected = inside & own & (depth <= first + VISIBLE)
    # a pixel's centre is up to half a pixel from the point: leave out who is so near to a limit or an outline
    sure = np.abs(depth - first - VISIBLE) > 0.02
    for shift in random.normal(size=(8, 3)):
        moved = ray + 0.012 * shift / np.linalg.norm(shift)
        sure &= (ray_hits(cam.centre, moved, vertices, triangles)[1] < len(faces)) == own
    assert sure.mean() > 0.7 and 30 < expected[sure].sum() < sure.sum() - 30
    np.testing.assert_array_equal(got[sure], expected[sure])


def test_a_thing_or_another_person_before_a_landmark_hides_it() -> None:
    ball, faces = sphere(20, 0.3, (0, 1, 0))
    view = View(camera(place=(3.0, 1.0, 0.0), aim=(0, 1, 0)), Room())
    front, inside, back = [0.3, 1, 0], [0.2, 1, 0], [-0.3, 1, 0]
    points = markers([front, inside, back, [0, 1, 5.0], [9.0, 1, 0]])  # beside the picture, behind the camera
    alone = view.draw([actor(ball, faces)], [ball])
    np.testing.assert_array_equal(view.visible(alone, points, 0), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(view.visible(alone, points, 0, tolerance=0.15), [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(
        view.visible(alone, points, 0, tolerance=[0.0, 0.0, 1.0, 1.0, 1.0]), [1, 0, 1, 0, 0]
    )
    screen = box((1.0, 0.5, -0.5), (1.1, 1.5, 0.5))
    for person in (0, 2):
        picture = view.draw([actor(ball, faces), actor(*screen, person=person)], [ball, screen[0]])
        assert not view.visible(picture, points, 0, tolerance=5.0).any()
    mine = view.draw([actor(ball, faces), actor(*screen, person=1)], [ball, screen[0]])
    np.testing.assert_array_equal(view.visible(mine, points, 0), [0, 0, 0, 0, 0])
    behind = view.draw([actor(ball, faces), actor(screen[0] - [3, 0, 0], screen[1], person=2)],
                       [ball, screen[0] - [3, 0, 0]])  # fmt: skip
    np.testing.assert_array_equal(view.visible(behind, points, 0), [1, 0, 0, 0, 0])


def test_tolerances_grow_with_the_depth_under_the_skin() -> None:
    ball, _ = sphere(60, 0.3, (0, 1, 0))
    got = tolerances([ball], markers([[0, 1.3, 0], [0, 1.2, 0], [0, 1.0, 0]]))
    np.testing.assert_allclose(got, [VISIBLE, 0.13, 0.33], atol=0.002)


# --- stages -------------------------------------------------------------------------------------


def test_a_shared_stage_draws_what_a_view_alone_draws() -> None:
    ball, faces = sphere(16, 0.4, (0, 1, 0))
    actors, room = [actor(ball, faces)], bare_room((0.4, 1.0, 0.3))
    views = [View(camera(place=p), room) for p in ((3.0, 1.2, 1.0), (2.0, 1.5, -2.0))]
    stage = Stage(actors, room)
    for shift in (0.0, 0.2):
        moved = ball + np.array([0, 0, shift])
        scene = stage.pose([moved])
        for view in views:
            one, other = view.see(scene), view.draw(actors, [moved])
            np.testing.assert_array_equal(one.linear, other.linear)
            np.testing.assert_array_equal(one.depth, other.depth)
    first = views[0]._stage
    views[0].draw([actors[0]], [ball])
    assert views[0]._stage is first  # joined once, not every frame
    red = Actor(actors[0].surface, {"stuff": Material((0.9, 0.0, 0.0), rough=0.0)})
    picture = views[0].draw([red], [ball])
    assert views[0]._stage is not first and (picture.linear[picture.person == 1][:, 1] == 0).all()


def test_gain_and_an_empty_stage() -> None:
    view = View(camera(), Room())
    nobody = view.draw([], [])
    np.testing.assert_array_equal(nobody.linear, view.empty)
    assert (nobody.person == 0).all() and (nobody.part == -1).all() and np.isinf(nobody.depth).all()
    assert view.draw([], [], gain=0.25).rgb.mean() < nobody.rgb.mean()


def test_what_does_not_fit_is_refused() -> None:
    ball, faces = sphere(8, 0.4, (0, 1, 0))
    view = View(camera(), Room())
    with pytest.raises(CapbenchError, match=r"Expected places \(V, 3\)"):
        view.draw([actor(ball, faces)], [ball[:-1]])
    with pytest.raises(CapbenchError, match="another room"):
        view.see(Stage([actor(ball, faces)], Room(seed=1)).pose([ball]))
    with pytest.raises(CapbenchError, match="material 'stuff' for surface solid"):
        Stage([Actor(surface(ball, faces), {"cloth": Material((1, 1, 1))})], Room())
    with pytest.raises(CapbenchError, match="six surfaces"):
        Room(surfaces=(Material((1, 1, 1)),))
