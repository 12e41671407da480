"""The subject among several: planted people in space, seen by cameras whose rays must meet."""

import numpy as np
import pytest
from scipy.optimize import minimize

from capbench.vision import boxes as box_tools
from capbench.vision import rays, subject
from capbench.vision.tracking import Seen, link
from cohorts.camera import Camera
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton

SIZE = (1280, 720)
SHAPE = np.array(
    [
        [0, 1.7, 0],
        [0, 1.4, 0.2],
        [0, 1.4, -0.2],
        [0, 0.9, 0.15],
        [0, 0.9, -0.15],
        [0.1, 0, 0.1],
        [0.1, 0, -0.1],
    ]
)
SKELETON = Skeleton("seven", tuple(f"p{i}" for i in range(7)))


def camera(name: str, at, focal=900.0) -> Camera:
    """Looks at (0, 1, 0) from ``at``; y up in the world, down in the picture."""
    ahead = np.array([0, 1, 0]) - at
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 1, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    matrix = [[focal, 0, 640], [0, focal, 360], [0, 0, 1]]
    return Camera(name, matrix, rotation, -rotation @ at, SIZE, (0.05, -0.02, 0.001, 0.0))


CAMERAS = {
    "left": camera("left", np.array([4.0, 1.4, -3.0])),
    "front": camera("front", np.array([5.0, 1.6, 0.5])),
    "right": camera("right", np.array([3.5, 1.2, 3.5])),
}
TIME = np.arange(50) / 25


def walker(start, speed) -> np.ndarray:
    """(T, 7, 3) metres."""
    way = np.array(start) + np.array(speed) * TIME[:, None]
    return SHAPE + way[:, None]


def views(people, *, noise=1.0, names=tuple(CAMERAS), seed=0, visible=None):
    """What each camera sees of ``people`` (name -> (T, 7, 3)), linked; and who each identity is."""
    rng = np.random.default_rng(seed)
    found, identities, truth = {}, {}, {}
    for name in names:
        frame, xy, who = [], [], []
        for t in range(len(TIME)):
            for person in rng.permutation(list(people)):
                if visible is not None and not visible(name, person, t):
                    continue
                frame.append(t)
                xy.append(CAMERAS[name].project(people[person][t]) + rng.normal(0, noise, (7, 2)))
                who.append(person)
        points, who = np.array(xy).reshape(-1, 7, 2), np.array(who)
        found[name] = Seen(
            TIME,
            np.array(frame, np.int64),
            box_tools.from_points(points),
            np.full(len(frame), 0.9),
            points,
            np.full(points.shape[:2], 0.9),
        )
        identities[name] = link(found[name])
        truth[name] = {
            int(i): str(who[np.argmax(identities[name] == i)]) for i in np.unique(identities[name])
        }
    return found, identities, truth


def chosen(choice, truth) -> dict[str, set[str]]:
    return {name: {truth[name][i] for i in who} for name, who in choice.identity.items()}


SIZES = dict.fromkeys(CAMERAS, SIZE)


@pytest.mark.truth("closed form")
def test_two_rays_miss_by_the_known_distance() -> None:
    one = Camera("one", np.diag([500.0, 500, 1]), np.eye(3), np.zeros(3), SIZE)
    # looks along -x from (3, 0.25, 2): camera z = -world x, camera x = world z
    turned = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    two = Camera("two", np.diag([500.0, 500, 1]), turned, -turned @ [3.0, 0.25, 2.0], SIZE)
    behind = Camera("behind", np.diag([500.0, 500, 1]), turned, -turned @ [-3.0, 0.25, 2.0], SIZE)
    ahead = np.zeros((1, 2))
    points, miss = rays.meet([rays.bundle(one, ahead), rays.bundle(two, ahead)])
    np.testing.assert_allclose(points, [[0, 0.125, 2]])
    np.testing.assert_allclose(miss, [0.25 / np.sqrt(2)])  # twice the square of half the gap, one freedom
    assert np.isinf(rays.meet([rays.bundle(one, ahead), rays.bundle(behind, ahead)])[1])
    for views in ([(one, ahead)], [(one, ahead), (one, ahead)], [(one, ahead), (two, ahead * np.nan)]):
        points, miss = rays.meet([rays.bundle(*view) for view in views])
        assert np.isnan(points).all()
        assert np.isnan(miss).all()


@pytest.mark.truth("numerical minimisation")
def test_the_meeting_point_is_the_nearest_to_all_rays() -> None:
    rng = np.random.default_rng(7)
    xy = rng.uniform(200, 500, (3, 2))
    views = [rays.bundle(c, xy[i][None]) for i, c in enumerate(CAMERAS.values())]
    (point,), (miss,) = rays.meet(views)

    def square(p):
        lines = [c.ray(xy[i]) for i, c in enumerate(CAMERAS.values())]
        return sum(np.linalg.norm(np.cross(p - start, way)) ** 2 for start, way in lines)

    best = minimize(
        square, np.array([0.5, 1, 0.1]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}
    )
    np.testing.assert_allclose(point, best.x, atol=1e-5)
    if np.isfinite(miss):
        assert miss == pytest.approx(np.sqrt(best.fun / 3))


def test_one_person_needs_no_choice() -> None:
    found, identities, truth = views({"a": walker([0, 0, 0], [0.8, 0, 0])})
    choice = subject.choose(found, identities, SIZES, cameras=CAMERAS)
    assert chosen(choice, truth) == {name: {"a"} for name in CAMERAS}
    assert choice.margin == 1
    assert choice.notes == ()
    assert choice.apart < 0.02  # 1 px of noise at 5 m and 900 px focal length is 6 mm in each view


@pytest.mark.parametrize("seed", range(6))
def test_the_walker_not_the_bystander(seed) -> None:
    rng = np.random.default_rng(seed)
    people = {
        "subject": walker([-1, 0, rng.uniform(-0.4, 0.4)], [1.1, 0, 0]),
        "bystander": walker([-1.5, 0, rng.choice([-2.0, 2.0])], [0, 0, 0]),
    }
    found, identities, truth = views(people, seed=seed)
    choice = subject.choose(found, identities, SIZES, cameras=CAMERAS)
    assert chosen(choice, truth) == {name: {"subject"} for name in CAMERAS}
    assert choice.margin > subject.CLOSE
    assert any("several people" in note for note in choice.notes)


def test_the_views_overrule_a_camera_that_has_somebody_else_up_close() -> None:
    people = {
        "subject": walker([-0.5, 0, 0], [0.6, 0, 0]),
        "passer": walker([2.3, 0, 1.6], [0, 0, 0.45]),
    }
    found, identities, truth = views(people, visible=lambda c, p, t: p == "subject" or c != "left")
    alone = subject.choose(found, identities, SIZES)
    assert chosen(alone, truth)["right"] == {"passer"}
    together = subject.choose(found, identities, SIZES, cameras=CAMERAS)
    assert chosen(together, truth) == {name: {"subject"} for name in CAMERAS}
    assert together.apart < 0.02


def test_two_alike_are_a_close_call() -> None:
    people = {"a": walker([0, 0, -0.6], [0.5, 0, 0]), "b": walker([0, 0, 0.6], [0.5, 0, 0])}
    found, identities, _ = views(people, names=("front",))
    choice = subject.choose(found, identities, SIZES)
    assert choice.margin < subject.CLOSE
    assert any("close call" in note for note in choice.notes)


def test_nobody_is_said() -> None:
    found, identities, _ = views({}, names=("left", "front"))
    choice = subject.choose(found, identities, SIZES, cameras=CAMERAS)
    assert choice.identity == {}
    assert choice.notes == ("nobody is seen in any camera",)


def test_a_camera_without_anybody_is_left_out() -> None:
    found, identities, _ = views({"a": walker([0, 0, 0], [0.8, 0, 0])}, visible=lambda c, p, t: c != "front")
    choice = subject.choose(found, identities, SIZES, cameras=CAMERAS)
    assert set(choice.identity) == {"left", "right"}


def test_who_comes_back_after_long_is_the_same_person_unless_both_were_seen_together() -> None:
    away = lambda c, p, t: not 10 <= t < 42  # noqa: E731
    found, identities, truth = views({"a": walker([0, 0, 0], [0.3, 0, 0])}, visible=away, names=("left",))
    assert len(truth["left"]) == 2
    choice = subject.choose(found, identities, SIZES)
    assert choice.identity["left"] == (0, 1)
    assert any("away" in note for note in choice.notes)
    people = {"a": walker([0, 0, 0], [0.3, 0, 0]), "b": walker([0, 0, -1], [0, 0, 0])}
    # b is in view with a at first, and alone at the end
    found, identities, truth = views(
        people, names=("left",), visible=lambda c, p, t: t < 30 if p == "a" else t < 2 or t > 30
    )
    choice = subject.choose(found, identities, SIZES)
    names = {truth["left"][i] for i in choice.identity["left"]}
    assert "a" in names


def keypoints(people_at, name, *, noise=1.0) -> Keypoints:
    """A track that shows ``people_at(t)`` (7, 3) in each frame."""
    rng = np.random.default_rng(len(name))
    xy = np.array([CAMERAS[name].project(people_at(t)) for t in range(len(TIME))])
    return Keypoints(name, TIME, xy + rng.normal(0, noise, xy.shape), SKELETON)


def test_a_camera_that_goes_over_to_somebody_else_is_noticed() -> None:
    a, b = walker([-0.5, 0, 0], [0.6, 0, 0]), walker([-0.5, 0, 1.2], [0.2, 0, 0])
    tracks = {name: keypoints(lambda t: a[t], name) for name in CAMERAS}
    assert subject.swapped(tracks, CAMERAS) == {}
    tracks["front"] = keypoints(lambda t: b[t] if 20 <= t < 35 else a[t], "front")
    found = subject.swapped(tracks, CAMERAS)
    assert set(found) == {"front"}
    ((start, end),) = found["front"]
    assert start == pytest.approx(20 / 25, abs=0.09)
    assert end == pytest.approx(34 / 25, abs=0.09)
    del tracks["right"]
    assert set(subject.swapped(tracks, CAMERAS)) == {"left", "front"}  # which of two can't be told


def test_cameras_that_never_agree_are_no_swap() -> None:
    a, b = walker([-0.5, 0, 0], [0.6, 0, 0]), walker([-0.5, 0, 1.2], [0.2, 0, 0])
    tracks = {"left": keypoints(lambda t: a[t], "left"), "front": keypoints(lambda t: b[t], "front")}
    assert subject.swapped(tracks, CAMERAS) == {}
    assert subject.swapped({"left": tracks["left"]}, CAMERAS) == {}


@pytest.mark.truth("brute force")
def test_frames_are_paired_by_time() -> None:
    rng = np.random.default_rng(5)
    a, b = np.cumsum(rng.uniform(0.03, 0.05, 40)), np.cumsum(rng.uniform(0.015, 0.025, 60))
    half = max(np.median(np.diff(a)), np.median(np.diff(b))) / 2
    want = [int(np.abs(b - t).argmin()) if np.abs(b - t).min() <= half else -1 for t in a]
    assert -1 in want
    np.testing.assert_array_equal(rays.together(a, b), want)
    np.testing.assert_array_equal(rays.together(a, np.zeros(0)), np.full(40, -1))
