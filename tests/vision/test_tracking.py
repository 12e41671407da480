"""Planted people: who is who must come back as it was put in."""

import numpy as np
import pytest

from capbench.vision import boxes as box_tools
from capbench.vision import tracking
from capbench.vision.tracking import Follower, Seen, link
from cohorts.errors import CapbenchError

SIZE = (640, 480)


def body(x: float, y: float, height: float = 200.0) -> np.ndarray:
    """(8, 2) points of somebody whose middle is at x, y."""
    shape = np.array([[0, -1], [-0.3, -0.6], [0.3, -0.6], [-0.2, 0], [0.2, 0], [-0.2, 1], [0.2, 1], [0, 0.3]])
    return shape * height / 2 + [x, y]


def seen(time, people, *, points=True, shuffle=0, score=0.9) -> tuple[Seen, np.ndarray]:
    """``people``: name -> (T, 3) x, y, height, NaN where unseen; detections in a random order per frame."""
    rng = np.random.default_rng(shuffle)
    frame, boxes, xy, who = [], [], [], []
    for t in range(len(time)):
        for name in rng.permutation(list(people)):
            x, y, height = people[name][t]
            if np.isfinite(x):
                frame.append(t)
                xy.append(body(x, y, height))
                boxes.append(box_tools.from_points(xy[-1]))
                who.append(name)
    confidence = np.full((len(xy), 8), 0.9)
    found = Seen(
        np.asarray(time),
        np.array(frame, np.int64),
        np.array(boxes).reshape(-1, 4),
        np.full(len(frame), score),
        np.array(xy).reshape(-1, 8, 2) if points else None,
        confidence if points else None,
    )
    return found, np.array(who)


def consistent(identity, who) -> bool:
    """Whether identities and names say the same, one to one."""
    pairs = set(zip(identity.tolist(), who.tolist(), strict=True))
    return len(pairs) == len(set(identity.tolist())) == len(set(who.tolist()))


def walk(time, x, speed, y=240.0, height=200.0) -> np.ndarray:
    return np.stack([x + speed * time, np.full_like(time, y), np.full_like(time, height)], axis=1)


# --- one person, followed -----------------------------------------------------------------------


class Sight:
    """What a model would see of somebody at ``where``: the body if the box covers its middle."""

    def __init__(self, where, height=200.0, level=0.8) -> None:
        self.where, self.height, self.level = where, height, level
        self.looks: list[np.ndarray] = []

    def __call__(self, box):
        self.looks.append(box)
        x0, y0, x1, y1 = box
        points = body(*self.where, self.height)
        inside = x0 <= self.where[0] <= x1 and y0 <= self.where[1] <= y1
        return points, np.full(8, self.level if inside else 0.02)


def settle(follower, sight, frame, time):
    while True:
        verdict = follower.take(*sight(follower.box), frame=frame, time=time)
        if verdict != "look again":
            return verdict


def test_the_first_frame_is_seen_whole_then_closer_twice() -> None:
    follower, sight = Follower(SIZE), Sight((300, 240))
    assert settle(follower, sight, 0, 0.0) == "held"
    expected = box_tools.from_points(body(300, 240), size=SIZE)
    np.testing.assert_array_equal(sight.looks[0], box_tools.whole(SIZE))
    np.testing.assert_array_equal(sight.looks[1:], [expected, expected])
    np.testing.assert_array_equal(follower.box, expected)


def test_someone_who_walks_is_looked_at_once_a_frame_where_they_were() -> None:
    follower = Follower(SIZE)
    settle(follower, Sight((100, 240)), 0, 0.0)
    for k in range(1, 60):
        sight = Sight((100 + 7 * k, 240))
        assert settle(follower, sight, k, k / 25) == "held"
        np.testing.assert_allclose(
            sight.looks, [box_tools.from_points(body(100 + 7 * (k - 1), 240), size=SIZE)]
        )
    assert not follower.losses


@pytest.mark.parametrize(
    ("sight", "words"),
    [
        (Sight((300, 240), level=0.2), "confidence fell from 0.80 to 0.20"),
        (Sight((340, 240), height=60), "the box went"),
        (Sight((300, 240), height=470), "the box went"),
    ],
)
def test_losses_say_why(sight, words) -> None:
    follower = Follower(SIZE)
    settle(follower, Sight((300, 240)), 0, 0.0)
    assert follower.take(*sight(follower.box), frame=1, time=0.04) == "look again"
    assert words in follower.losses[1]
    np.testing.assert_array_equal(follower.box, box_tools.whole(SIZE))


def test_a_jump_is_a_loss_unless_time_allows_it() -> None:
    for step, verdict in ((0.04, "look again"), (0.5, "held")):
        follower = Follower(SIZE)
        settle(follower, Sight((200, 240)), 0, 0.0)
        points = body(300, 240)
        assert follower.take(points, np.full(8, 0.8), frame=1, time=step) == verdict
        assert ("jumped" in follower.losses.get(1, "")) == (verdict == "look again")


def test_who_is_lost_is_found_again_in_the_same_frame() -> None:
    follower = Follower(SIZE)
    settle(follower, Sight((150, 240)), 0, 0.0)
    sight = Sight((500, 240))
    assert settle(follower, sight, 1, 0.04) == "held"
    assert len(sight.looks) == tracking.MOST_LOOKS
    assert follower.found_again == [1]
    np.testing.assert_allclose(box_tools.centre(follower.box)[0], 500)


def test_an_empty_room_costs_one_look_a_frame_and_is_nobody() -> None:
    follower = Follower(SIZE)
    settle(follower, Sight((300, 240)), 0, 0.0)
    looks = []
    for k in range(1, 30):
        sight = Sight((5000, 5000))
        assert settle(follower, sight, k, k / 25) == "nobody"
        looks.append(len(sight.looks))
    assert looks == [2, *[1] * 28]
    assert settle(follower, Sight((400, 240)), 30, 1.2) == "held"
    assert follower.found_again == [30]
    assert list(follower.losses) == [1]


def test_a_ghost_of_the_whole_picture_is_nobody() -> None:
    follower = Follower(SIZE)
    assert follower.take(body(300, 240), np.full(8, 0.5), frame=0, time=0.0) == "look again"
    assert follower.take(body(300, 240), np.full(8, 0.05), frame=0, time=0.0) == "nobody"
    np.testing.assert_array_equal(follower.box, box_tools.whole(SIZE))


def test_looks_at_a_frame_are_bounded_whatever_the_model_says() -> None:
    rng = np.random.default_rng(4)
    follower = Follower(SIZE)
    for frame in range(300):
        verdicts = []
        while "look again" in verdicts[-1:] or not verdicts:
            points = rng.uniform(-100, 800, (8, 2))
            verdicts.append(follower.take(points, rng.uniform(0, 1, 8), frame=frame, time=frame / 25))
        assert len(verdicts) <= tracking.MOST_LOOKS


# --- several people -----------------------------------------------------------------------------


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("shuffle", range(10))
def test_two_who_cross_keep_who_they_are(points, shuffle) -> None:
    time = np.arange(75) / 25
    rng = np.random.default_rng(shuffle)
    people = {
        "a": walk(time, 60, rng.uniform(150, 220)),
        "b": walk(time, 600, -rng.uniform(150, 220), y=250, height=rng.uniform(170, 230)),
    }
    found, who = seen(time, people, points=points, shuffle=shuffle)
    assert consistent(link(found), who)


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("hidden", [3, 8, 12])
def test_one_hidden_behind_the_other_comes_out_as_themselves(points, hidden) -> None:
    time = np.arange(75) / 25
    people = {"a": walk(time, 60, 200), "b": walk(time, 600, -160, y=245)}
    middle = int(np.argmin(np.abs(people["a"][:, 0] - people["b"][:, 0])))
    people["b"][middle - hidden // 2 : middle + hidden - hidden // 2] = np.nan
    found, who = seen(time, people, points=points)
    assert consistent(link(found), who)


def test_a_crowd_of_five_who_pass_each_other() -> None:
    time = np.arange(100) / 25
    people = {
        str(i): walk(time, x, v, y=200 + 25 * i, height=150 + 12 * i)
        for i, (x, v) in enumerate([(40, 120), (600, -130), (320, 8), (100, 60), (520, -40)])
    }
    found, who = seen(time, people)
    assert consistent(link(found), who)


def test_identities_are_numbered_as_people_appear() -> None:
    time = np.arange(10) / 25
    late = walk(time, 500, 0)
    late[:4] = np.nan
    found, who = seen(time, {"late": late, "early": walk(time, 100, 0)})
    assert set(link(found)[who == "early"]) == {0}
    assert set(link(found)[who == "late"]) == {1}


@pytest.mark.parametrize(("gap", "people"), [(0.8, 1), (1.4, 2)])
def test_short_gaps_are_bridged_long_ones_are_not(gap, people) -> None:
    time = np.arange(100) / 25
    track = walk(time, 100, 30)
    track[(time > 1) & (time < 1 + gap)] = np.nan
    found, _ = seen(time, {"a": track})
    assert len(set(link(found))) == people


def test_someone_who_appears_elsewhere_is_somebody_else() -> None:
    time = np.arange(20) / 25
    here, there = walk(time, 100, 0), walk(time, 500, 0)
    here[10:], there[:10] = np.nan, np.nan
    found, who = seen(time, {"here": here, "there": there})
    assert consistent(link(found), who)


def test_nobody_and_one() -> None:
    time = np.arange(5) / 25
    nobody, _ = seen(time, {})
    assert link(nobody).shape == (0,)
    one, _ = seen(time, {"a": walk(time, 100, 5)})
    np.testing.assert_array_equal(link(one), np.zeros(5))
    assert link(Seen(np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))).shape == (0,)


def test_a_detector_s_answers_line_up() -> None:
    boxes = [np.array([[0.0, 0, 1, 1], [5, 5, 9, 9]]), np.zeros((0, 4)), np.array([[1.0, 0, 2, 1]])]
    found = tracking.seen([0, 0.1, 0.2], [(b, np.arange(len(b)) + 0.5) for b in boxes])
    np.testing.assert_array_equal(found.frame, [0, 0, 2])
    np.testing.assert_array_equal(found.boxes, np.concatenate(boxes))
    np.testing.assert_array_equal(found.score, [0.5, 1.5, 0.5])


@pytest.mark.parametrize(
    ("frame", "words"), [([1, 0], "order"), ([0, 3], "frames from 0 to 2"), ([-1, 0], "frames")]
)
def test_detections_out_of_order_are_refused(frame, words) -> None:
    with pytest.raises(CapbenchError, match=words):
        Seen(np.arange(3.0), np.array(frame), np.ones((2, 4)), np.ones(2))
