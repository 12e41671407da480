"""Scenes of several people: planted by hand, and random ones scored by a loop that follows the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from metrics import catalogue, detection3d
from metrics.arrays import MetricError
from metrics.detection3d import ap3d, map3d, mpjpe_found, nearest3d, pcp3d, recall3d

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
BODY = np.array([[0, 1, 0], [0.1, 0.5, 0], [-0.1, 0.5, 0.1], [0, 1.6, -0.05]])


def close(expected, rel: float = 1e-9, abs: float = 0.0):
    return pytest.approx(expected, rel=rel, abs=abs)


def at(*places: float, off: float = 0.0) -> np.ndarray:
    """People standing at so many metres along x, all joints ``off`` metres too high."""
    return np.array([BODY + np.array([x, off, 0]) for x in places]).reshape(-1, 4, 3)


def scene(seed: int, frames: int = 14):
    """Random people, detections of most of them at various errors, doubles and inventions, tied scores."""
    rng = np.random.default_rng(seed)
    predicted, scores, reference = [], [], []
    for _ in range(frames):
        people = BODY + rng.uniform(-2, 2, size=(rng.integers(0, 4), 1, 3))
        people[rng.random(people.shape[:2]) < 0.15] = NAN
        found = [
            np.where(np.isnan(p), 0.5, p) + rng.normal(scale=rng.choice([0.01, 0.05, 0.1]), size=p.shape)
            for p in people
            for _ in range(rng.choice([0, 1, 1, 1, 2]))
        ]
        found += [BODY + rng.uniform(-2, 2, size=3) for _ in range(rng.choice([0, 0, 1]))]
        predicted.append(np.array(found).reshape(-1, 4, 3))
        scores.append(rng.choice([0.1, 0.3, 0.5, 0.9], size=len(found)))
        reference.append(people)
    return predicted, scores, reference


def slow_ranking(predicted, scores, reference, mode):
    """(score, distance in mm, (frame, person)) of each detection, best first; and the number of people."""
    found, people = [], 0
    for t, (bodies, ranks, truths) in enumerate(zip(predicted, scores, reference, strict=True)):
        truths = [(g, y) for g, y in enumerate(truths) if not np.isnan(y).all()]
        people += len(truths)
        for body, rank in zip(bodies, ranks, strict=True):
            best = (math.inf, None)
            for g, y in truths:
                labelled = [k for k in range(len(y)) if not np.isnan(y[k]).any()]
                distance = 1000 * sum(math.dist(body[k], y[k]) for k in labelled) / len(labelled)
                if math.isnan(distance):
                    distance = math.inf
                if best[1] is None or distance < best[0]:
                    best = (distance, (t, g))
            if truths or mode == "exact":
                found.append((rank, *best))
    return sorted(found, key=lambda f: f[0], reverse=True), people


def slow_ap(ranking, people: int, limit: float, mode: str) -> float:
    epsilon = 1e-5 if mode == "voxelpose" else 0.0
    points, taken = [(0.0, 0.0)], set()
    for n, (_, distance, person) in enumerate(ranking, start=1):
        if distance < limit:
            taken.add(person)
        points.append((len(taken) / (people + epsilon), len(taken) / (n + epsilon)))
    area = 0.0
    for k in range(1, len(points)):
        area += (points[k][0] - points[k - 1][0]) * max(p for _, p in points[k:])
    return 100 * area


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("mode", ["voxelpose", "exact"])
@pytest.mark.parametrize("seed", range(6))
def test_random_scenes_as_the_loop_has_them(seed, mode):
    predicted, scores, reference = scene(seed)
    ranking, people = slow_ranking(predicted, scores, reference, mode)
    limits = (25, 50, 75, 100, 125, 150)
    wanted = [slow_ap(ranking, people, limit, mode) for limit in limits]
    assert 5 < np.mean(wanted) < 95
    for limit, value in zip(limits, wanted, strict=True):
        assert ap3d(predicted, scores, reference, threshold=limit / 1000, mode=mode) == close(value)
        if mode == "voxelpose":
            assert catalogue._cards[f"AP3D@{limit}"](predicted, scores, reference) == close(value)
    assert map3d(predicted, scores, reference, mode=mode) == close(np.mean(wanted))


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("limit", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_recall_and_error_of_the_people_found(seed, limit):
    predicted, scores, reference = scene(seed)
    ranking, people = slow_ranking(predicted, scores, reference, "voxelpose")
    first = {}
    for _, distance, person in ranking:
        if distance < 1000 * limit:
            first.setdefault(person, distance)
    assert recall3d(predicted, reference, threshold=limit) == close(100 * len(first) / people)
    assert mpjpe_found(predicted, scores, reference, threshold=limit) == close(np.mean(list(first.values())))
    if limit == 0.5:
        assert catalogue._cards["recall3D@500"](predicted, reference) == close(100 * len(first) / people)
        assert catalogue._cards["MPJPE@500"](predicted, scores, reference) == close(
            np.mean(list(first.values()))
        )


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_measured_in_pieces(seed, monkeypatch):
    predicted, scores, reference = scene(seed)
    wanted = nearest3d(predicted, scores, reference)
    monkeypatch.setattr(detection3d, "PAIRS", 7)
    found = nearest3d(predicted, scores, reference)
    assert np.array_equal(found.distance, wanted.distance)
    assert np.array_equal(found.person, wanted.person)
    ranking, people = slow_ranking(predicted, scores, reference, "exact")
    assert found.distance == close([distance for _, distance, _ in ranking])
    assert found.people == people


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("n", [1, 2, 5])
def test_perfect_detections(n):
    """VoxelPose's ε keeps even them from 100 %: recall and precision both end at n/(n+ε)."""
    people = [at(*range(n))]
    scores = [np.linspace(1, 0.5, n)]
    assert map3d(people, scores, people, mode="exact") == 100
    assert map3d(people, scores, people, mode="voxelpose") == close(100 * (n / (n + 1e-5)) ** 2, rel=1e-12)
    assert recall3d(people, people, threshold=0.5) == 100
    assert mpjpe_found(people, scores, people, threshold=0.5) == 0


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("off", "right"), [(0.0249, 6), (0.025, 5), (0.0375, 5), (0.05, 4), (0.0999, 3), (0.125, 1), (0.15, 0)]
)
def test_a_threshold_is_not_met_at_itself(off, right):
    people = [np.zeros((1, 4, 3))]
    found = [np.full((1, 4, 3), [0, 0, off])]
    assert map3d(found, [[1]], people, mode="exact") == close(100 * right / 6)


@pytest.mark.truth("closed form")
def test_at_500_mm_nobody_is_found():
    people = [np.zeros((1, 4, 3))]
    for off, recall in ((0.5, 0), (0.499, 100)):
        found = [np.full((1, 4, 3), [0, 0, off])]
        assert recall3d(found, people, threshold=0.5) == recall
        error = mpjpe_found(found, [[1]], people, threshold=0.5)
        assert math.isnan(error) if not recall else error == close(499)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([0.9, 0.8, 0.7], 2 / 3),  # right, double, right
        ([0.9, 0.7, 0.8], 1.0),  # right, right, double
        ([0.7, 0.9, 0.8], 1.0),
    ],
)
def test_double_detections_are_false(scores, wanted):
    """People at 0 and 5; found are the first, the first again 20 mm off, and the second."""
    people = [at(0, 5)]
    found = [np.concatenate([at(0, off=0.01), at(0, off=0.02), at(5)])]
    area = 100 * (0.5 + 0.5 * wanted)
    assert ap3d(found, [scores], people, threshold=0.15, mode="exact") == close(area)


@pytest.mark.truth("closed form")
def test_there_is_no_second_choice():
    """Two detections nearest to the first person: the second of them would fit the other person too."""
    people = [at(0, 0.1)]
    found = [at(0.01, 0.04)]
    assert ap3d(found, [[0.9, 0.8]], people, threshold=0.15, mode="exact") == close(50)
    assert recall3d(found, people, threshold=0.15) == 50
    assert nearest3d(found, [[0.9, 0.8]], people).person.tolist() == [0, 0]


@pytest.mark.truth("closed form")
def test_equal_scores_stay_in_their_order():
    people = [at(0)]
    good, bad = at(0), at(0, off=0.1)
    for order, error in (([good, bad], 0), ([bad, good], 100)):
        found = [np.concatenate(order)]
        assert mpjpe_found(found, [[0.5, 0.5]], people, threshold=0.5) == close(error, abs=1e-9)
    # over frames too: a false one in the first frame comes before a right one in the second
    frames = [at(3), at(0)], [[0.5], [0.5]], [at(0), at(0)]
    assert ap3d(*frames, threshold=0.1, mode="exact") == close(25)
    assert ap3d(*(side[::-1] for side in frames), threshold=0.1, mode="exact") == close(50)


@pytest.mark.truth("closed form")
def test_of_two_people_equally_near_it_is_the_first():
    nearest = nearest3d([np.zeros((1, 1, 3))], [[1]], [np.array([[[0, 0, 2.0]], [[0, 0, -1]], [[0, 1, 0]]])])
    assert (nearest.person.tolist(), nearest.distance.tolist(), nearest.people) == ([1], [1000], 3)


@pytest.mark.truth("closed form")
def test_frames_without_people():
    """VoxelPose never looks at them; exactly, what is found there is false."""
    predicted, scores, reference = (
        [at(0), at(1), at(2)],
        [[0.5], [0.9], [0.8]],
        [at(0), [], np.full((1, 4, 3), NAN)],
    )
    assert ap3d(predicted, scores, reference, threshold=0.1, mode="exact") == close(100 / 3)
    epsilon = 100 / (1 + 1e-5) ** 2
    assert ap3d(predicted, scores, reference, threshold=0.1, mode="voxelpose") == close(epsilon, rel=1e-12)
    nearest = nearest3d(predicted, scores, reference)
    assert nearest.person.tolist() == [-1, -1, 0]
    assert nearest.distance.tolist() == [np.inf, np.inf, 0]
    assert nearest.people == 1


@pytest.mark.truth("closed form")
def test_missed_people_count():
    people = [at(0, 5), at(1, 2), at(3)]
    found = [at(0), [], []]
    scores = [[1], [], []]
    assert ap3d(found, scores, people, threshold=0.1, mode="exact") == close(20)
    assert recall3d(found, people, threshold=0.5) == close(20)
    assert ap3d([[], [], []], [[], [], []], people, threshold=0.1, mode="exact") == 0
    assert ap3d([[], [], []], [[], [], []], people, threshold=0.1, mode="voxelpose") == 0
    assert recall3d([[], [], []], people, threshold=0.5) == 0
    assert math.isnan(mpjpe_found([[], [], []], [[], [], []], people, threshold=0.5))


@pytest.mark.truth("closed form")
def test_joints_nobody_labelled_and_joints_nobody_found():
    person = np.zeros((1, 3, 3))
    person[0, 2, 1] = NAN
    found = np.array([[[0, 0, 0.03], [0, 0, 0.05], [9, 9, 9]]])
    nearest = nearest3d([found], [[1]], [person])
    assert nearest.distance == close([40])
    found[0, 1, 0] = NAN
    nearest = nearest3d([found], [[1]], [person])
    assert (nearest.distance.tolist(), nearest.person.tolist()) == ([np.inf], [0])
    found[0, 1, 0], found[0, 2, 2] = 0, NAN
    assert nearest3d([found], [[1]], [person]).distance == close([40])


@pytest.mark.parametrize("mode", ["voxelpose", "exact"])
def test_no_people_no_score(mode):
    for reference in ([[]], [np.full((1, 4, 3), NAN)], [np.empty((0, 4, 3))]):
        assert math.isnan(ap3d([at(0)], [[1]], reference, threshold=0.1, mode=mode))
        assert math.isnan(map3d([at(0)], [[1]], reference, mode=mode))
        assert math.isnan(recall3d([at(0)], reference, threshold=0.1))
        assert math.isnan(mpjpe_found([at(0)], [[1]], reference, threshold=0.1))
    assert math.isnan(map3d([], [], [], mode=mode))


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(4))
def test_only_who_stands_where_matters(seed):
    predicted, scores, reference = scene(seed)
    rng = np.random.default_rng(seed)
    scores = [rng.random(len(s)) for s in scores]
    wanted = map3d(predicted, scores, reference, mode="exact")
    turn = Rotation.random(rng=rng).as_matrix()
    order = rng.permutation(4)

    def changed(frames):
        return [(body @ turn.T + [1, 2, 3])[:, order] for body in frames]

    assert map3d(changed(predicted), scores, changed(reference), mode="exact") == close(wanted)
    back = [side[::-1] for side in (predicted, scores, reference)]
    assert map3d(*back, mode="exact") == close(wanted)
    assert map3d(predicted, [np.exp(3 * s) for s in scores], reference, mode="exact") == close(wanted)
    # what is sure to be false and least sure of itself costs nothing
    extra = [np.concatenate([body, at(50)]) for body in predicted]
    assert map3d(extra, [np.append(s, -1) for s in scores], reference, mode="exact") == close(wanted)
    sure = map3d(extra, [np.append(s, 2) for s in scores], reference, mode="exact")
    assert sure < wanted
    assert recall3d(extra, reference, threshold=0.1) == recall3d(predicted, reference, threshold=0.1)


# limbs

LIMBS = {"trunk": ("pelvis", "neck"), "thigh": ("pelvis", "knee")}
JOINTS = ("pelvis", "neck", "knee")
ACTOR = np.array([[0.0, 1, 0], [0, 1.5, 0], [0, 0.6, 0]])  # trunk 0.5 m, thigh 0.4 m


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("off", "trunk", "thigh"),
    [
        ([0, 0, 0], 100, 100),
        ([0.125, 0.375, 0], 100, 100),  # trunk (0.125 + 0.375)/2 = 0.25 = 0.5·0.5: still correct
        ([0.125, 0.3751, 0], 0, 100),
        ([0, 0.5, 0], 100, 100),
        ([0, 0.501, 0], 0, 100),
        ([0, 0, 0.399], 100, 100),
        ([0, 0, 0.401], 100, 0),
        ([0.3, 0.3, 0.3], 0, 0),
    ],
)
def test_a_limb_is_right_up_to_half_its_length(off, trunk, thigh):
    found = ACTOR + np.array(off)[:, None] * [0, 0, 1]
    score = pcp3d([found[None]], ACTOR[None, None], limbs=LIMBS, joints=JOINTS, alpha=0.5)
    assert score.per_limb == {"trunk": trunk, "thigh": thigh}
    assert score.value == (trunk + thigh) / 2
    assert score.per_actor.tolist() == [(trunk + thigh) / 2]
    card = catalogue._cards["PCP3D"]([found[None]], ACTOR[None, None], limbs=LIMBS, joints=JOINTS)
    assert card == score.value


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("alpha", "wanted"), [(0.2, 100), (0.1999, 0), (1.0, 100)])
def test_alpha_is_the_share_of_the_length(alpha, wanted):
    found = ACTOR[None] + [0, 0, 0.1]
    score = pcp3d([found], ACTOR[None, None], limbs={"trunk": (0, 1)}, alpha=alpha)
    assert score.value == wanted


@pytest.mark.truth("closed form")
def test_a_limb_may_end_between_joints():
    actor = np.array([[0.1, 0, 0], [-0.1, 0, 0], [0, 0.5, 0]])
    found = actor + np.array([[0.9, 0, 0], [-0.9, 0, 0], [0, 0, 0]])
    limbs = {"torso": (("r_hip", "l_hip"), "neck"), "side": ("r_hip", "neck")}
    score = pcp3d([found[None]], actor[None, None], limbs=limbs, joints=("r_hip", "l_hip", "neck"), alpha=0.5)
    assert score.per_limb == {"torso": 100, "side": 0}


@pytest.mark.truth("closed form")
def test_actors_that_are_missed_shared_or_gone():
    """Four actors in three frames: A always found; B shares A's detection; C comes once; D never."""
    near = ACTOR + np.array([0, 0, 0.2])
    far = ACTOR + np.array([3, 0, 0])
    never = np.full_like(ACTOR, NAN)
    reference = np.array(
        [[ACTOR, near, far, never], [ACTOR, near, never, never], [ACTOR, never, never, never]]
    )
    predicted = [[ACTOR], [ACTOR], []]
    score = pcp3d(predicted, reference, limbs=LIMBS, joints=JOINTS, alpha=0.5)
    assert score.per_actor[:3] == close([200 / 3, 100, 0])
    assert np.isnan(score.per_actor[3])
    assert score.value == close((200 / 3 + 100) / 3)
    # thigh: 0.2 m is half of its 0.4 m, trunk too; each limb has 6 places, of which 4 are right
    assert score.per_limb == close({"trunk": 400 / 6, "thigh": 400 / 6})


@pytest.mark.truth("closed form")
def test_limbs_the_reference_lacks_do_not_count_and_those_the_prediction_lacks_do():
    reference = np.array([[ACTOR], [ACTOR]])
    reference[0, 0, 2, 0] = NAN
    predicted = [ACTOR[None].copy(), ACTOR[None].copy()]
    predicted[1][0, 1, 0] = NAN
    score = pcp3d(predicted, reference, limbs=LIMBS, joints=JOINTS, alpha=0.5)
    assert score.per_limb == {"trunk": 50, "thigh": 100}
    assert score.value == close(200 / 3)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_random_actors_limb_by_limb(seed):
    rng = np.random.default_rng(seed)
    reference = ACTOR + rng.uniform(-0.4, 0.4, size=(9, 3, 1, 3))
    reference[rng.random((9, 3)) < 0.3] = NAN
    predicted = [
        ACTOR + rng.uniform(-0.4, 0.4, size=(n, 1, 3)) + rng.normal(scale=0.1, size=(n, 3, 3))
        for n in rng.integers(0, 4, size=9)
    ]
    right = {(a, limb): [] for a in range(3) for limb in LIMBS}
    for t in range(9):
        for a in range(3):
            y = reference[t, a]
            if np.isnan(y).any():
                continue
            distances = [np.linalg.norm(x - y, axis=1).mean() for x in predicted[t]]
            for limb, (start, end) in LIMBS.items():
                i, j = JOINTS.index(start), JOINTS.index(end)
                ok = False
                if distances:
                    x = predicted[t][int(np.argmin(distances))]
                    off = (math.dist(x[i], y[i]) + math.dist(x[j], y[j])) / 2
                    ok = off <= 0.5 * math.dist(y[i], y[j])
                right[a, limb].append(ok)
    score = pcp3d(predicted, reference, limbs=LIMBS, joints=JOINTS, alpha=0.5)
    per_actor = [100 * np.mean(right[a, "trunk"] + right[a, "thigh"]) for a in range(3)]
    assert score.per_actor == close(per_actor)
    assert score.value == close(np.mean(per_actor))
    assert 0 < score.value < 100
    for limb in LIMBS:
        every = [ok for a in range(3) for ok in right[a, limb]]
        assert score.per_limb[limb] == close(100 * np.mean(every))


def test_nobody_has_no_limbs():
    for shape in ((0, 2, 3, 3), (2, 0, 3, 3)):
        score = pcp3d([[]] * shape[0], np.empty(shape), limbs=LIMBS, joints=JOINTS, alpha=0.5)
        assert math.isnan(score.value)
        assert score.per_actor.shape == (shape[1],)
        assert all(math.isnan(v) for v in score.per_limb.values())


# arguments


def test_wrong_arguments_are_refused():
    people, found = [at(0)], [at(0)]
    with pytest.raises(MetricError, match="same frames, got 2, 1 and 1"):
        nearest3d(found * 2, [[1]], people)
    with pytest.raises(MetricError, match="same frames, got 1, 2 and 1"):
        nearest3d(found, [[1], [1]], people)
    with pytest.raises(MetricError, match="same frames, got 1, 1 and 0"):
        nearest3d(found, [[1]], [])
    with pytest.raises(MetricError, match="Expected 1 scores in frame 1, got 2"):
        nearest3d(found * 2, [[1], [1, 2]], people * 2)
    with pytest.raises(MetricError, match="scores with 1 axes"):
        nearest3d(found, [1], people)
    with pytest.raises(MetricError, match="score for every detection, got NaN"):
        nearest3d(found, [[NAN]], people)
    with pytest.raises(MetricError, match=r"detections of each frame shaped .* got \(4, 3\)"):
        nearest3d([BODY], [[1, 1, 1, 1]], people)
    with pytest.raises(MetricError, match=r"people of each frame shaped .* got \(1, 4, 2\)"):
        nearest3d(found, [[1]], [np.zeros((1, 4, 2))])
    with pytest.raises(MetricError, match=r"same joints, got \(1, 4, 3\), \(1, 5, 3\)"):
        nearest3d([at(0), np.zeros((1, 5, 3))], [[1], [1]], people * 2)
    with pytest.raises(MetricError, match="detections with 4 joints as the people have, got 5"):
        nearest3d([np.zeros((1, 5, 3))], [[1]], people)
    with pytest.raises(MetricError, match="detections finite, or NaN"):
        nearest3d([at(np.inf)], [[1]], people)
    with pytest.raises(MetricError, match="people finite, or NaN"):
        nearest3d(found, [[1]], [at(-np.inf)])
    for call in (ap3d, map3d):
        options = {"threshold": 0.1} if call is ap3d else {}
        with pytest.raises(MetricError, match="mode as one of voxelpose, exact, got 'coco'"):
            call(found, [[1]], people, mode="coco", **options)
    for wrong in (0, -1, NAN, np.inf):
        with pytest.raises(MetricError, match="threshold above zero"):
            ap3d(found, [[1]], people, threshold=wrong, mode="exact")
        with pytest.raises(MetricError, match="threshold above zero"):
            recall3d(found, people, threshold=wrong)
        with pytest.raises(MetricError, match="threshold above zero"):
            mpjpe_found(found, [[1]], people, threshold=wrong)
        with pytest.raises(MetricError, match="alpha above zero"):
            pcp3d(found, people, limbs={"a": (0, 1)}, alpha=wrong)


def test_wrong_limbs_are_refused():
    limbs = {"a": (0, 1)}
    with pytest.raises(MetricError, match="reference with 4 axes"):
        pcp3d([at(0)], at(0), limbs=limbs, alpha=0.5)
    with pytest.raises(MetricError, match="detections of 1 frames, got 2"):
        pcp3d([at(0)] * 2, [at(0)], limbs=limbs, alpha=0.5)
    with pytest.raises(MetricError, match="at least one limb"):
        pcp3d([at(0)], [at(0)], limbs={}, alpha=0.5)
    with pytest.raises(MetricError, match="root among the joints 0, 1, 2, 3, got 4"):
        pcp3d([at(0)], [at(0)], limbs={"a": (0, 4)}, alpha=0.5)
    with pytest.raises(MetricError, match="people finite, or NaN"):
        pcp3d([at(0)], [at(np.inf)], limbs=limbs, alpha=0.5)
    with pytest.raises(MetricError, match="detections with 4 joints as the people have, got 5"):
        pcp3d([np.zeros((1, 5, 3))], [at(0)], limbs=limbs, alpha=0.5)


CARDS = {
    "AP3D@25": ("%", "higher", "samples"),
    "AP3D@50": ("%", "higher", "samples"),
    "AP3D@75": ("%", "higher", "samples"),
    "AP3D@100": ("%", "higher", "samples"),
    "AP3D@125": ("%", "higher", "samples"),
    "AP3D@150": ("%", "higher", "samples"),
    "mAP3D": ("%", "higher", "samples"),
    "mAP3D·exact": ("%", "higher", "samples"),
    "recall3D@500": ("%", "higher", "sums"),
    "MPJPE@500": ("mm", "lower", "sums"),
    "PCP3D": ("%", "higher", "sums"),
}


@pytest.mark.parametrize("name", CARDS)
def test_cards(name):
    card = catalogue._cards[name]
    assert (card.unit, card.direction, card.merge, card.module) == (*CARDS[name], "detection3d")
    assert card.needs[:3] == ("reference", "markers", "detections")
    assert (card.needs[3:] == ("scores",)) == (name not in ("recall3D@500", "PCP3D"))


def test_every_score_of_the_module_is_in_the_list():
    assert {c.name for c in catalogue._cards.values() if c.module == "detection3d"} == CARDS.keys()
    assert catalogue._cards["mAP3D"].fixed == {"mode": "voxelpose"}
    assert catalogue._cards["mAP3D·exact"].fixed == {"mode": "exact"}
    assert catalogue._cards["AP3D@75"].fixed == {"threshold": 0.075, "mode": "voxelpose"}
