"""Kinds of wrong points on planted people, and against the definition in loops; what corrections gain."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from coco_scenes import scene

from cohorts.skeleton import skeleton
from metrics.arrays import MetricError
from metrics.catalogue import card, cards
from metrics.failures2d import KINDS, correction_gain, point_failures
from metrics.oks import evaluate, oks, people2d

COCO = skeleton("coco-17")
NAMED = {"points": COCO.points, "flip_pairs": COCO.flip_pairs, "sigmas": COCO.sigmas}
# three points: a pair and one in the middle; area 1000 and σ .1, so that ks = exp(-d² / 80)
THREE = {"points": ["l", "m", "r"], "flip_pairs": [("l", "r")], "sigmas": [0.1] * 3}
TRUE = np.array([[0.0, 0], [100, 0], [200, 0]])


def moved(x: float, y: float):
    """The person elsewhere."""
    return TRUE + np.array([x, y])


def first_moved(y: float):
    """The person with the first point off by y."""
    return np.array([[0.0, y], *TRUE[1:]])


def far(ks: float, area: float = 1000.0) -> float:
    return math.sqrt(-math.log(ks) * 2 * area * 0.2**2)


def one(found, truth=TRUE, **given):
    """Kind of each point of one detected person, by name."""
    truth = np.asarray(truth, dtype=float)
    truth = truth if truth.ndim == 3 else truth[None]
    area = given.pop("area", [1000.0] * len(truth))
    reference = people2d([1] * len(truth), truth, area=area, **given)
    result = point_failures(reference, people2d([1], [found], scores=[1]), **THREE)
    assert result.counts.sum(axis=0).max() <= 1
    return [KINDS[k] if any(column) else "" for column in result.counts.T for k in [int(column.argmax())]]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("ks", "kind"),
    [
        (1.0, "good"),
        (0.851, "good"),
        (0.849, "jitter"),
        (0.501, "jitter"),
        (0.499, "miss"),
        (1e-9, "miss"),
    ],
)
def test_kinds_by_the_distance_to_the_own_place(ks, kind):
    assert one(first_moved(far(ks))) == [kind, "good", "good"]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("bound", "kinds"), [(0.85, ("good", "jitter")), (0.5, ("jitter", "miss"))])
def test_a_closeness_on_the_bound_belongs_to_the_better_kind(bound, kinds):
    """With σ .5 and an area of .5 less ε, ks = exp(-x² - y²): for some floats it is the bound exactly."""
    truth = people2d([1], [[[0, 0], [0, 0]]], area=[0.5 - np.spacing(1.0)])
    x = math.sqrt(-math.log(bound)) * (1 - 1e-15)
    y = np.linspace(0, 1e-7, 5000)
    exact = y[np.exp(-(x**2 + y**2)) == bound][0]
    for off, kind in ((exact, kinds[0]), (1e-6, kinds[1])):
        found = people2d([1], [[[x, off], [0, 0]]], scores=[1])
        counts = point_failures(truth, found, points=["m", "x"], flip_pairs=[], sigmas=[0.5, 0.5]).counts
        assert KINDS[int(counts[:, 0].argmax())] == kind


@pytest.mark.truth("closed form")
def test_the_mirrored_place_is_an_inversion_and_the_middle_point_has_none():
    assert one(TRUE[[2, 1, 0]]) == ["inversion", "good", "inversion"]
    near = [[200 - far(0.51), 0], [100, 0], [200, 0]]
    assert one(near) == ["inversion", "good", "good"]
    assert one([[200 - far(0.49), 0], [100, 0], [200, 0]]) == ["miss", "good", "good"]
    assert one([[100, 0], [100, 0], [200, 0]]) == ["miss", "good", "good"]


@pytest.mark.truth("closed form")
def test_another_persons_point_or_its_twin_is_a_swap():
    two = np.stack([TRUE, moved(0, 500)])
    assert one([[0, 500], [100, 0], [200, 0]], two) == ["swap", "good", "good"]
    assert one([[200, 500], [100, 0], [200, 0]], two) == ["swap", "good", "good"]
    assert one([[0, 500 - far(0.49)], [100, 0], [200, 0]], two) == ["miss", "good", "good"]
    assert one([[100, 500], [100, 0], [200, 0]], two) == ["miss", "good", "good"]


@pytest.mark.truth("closed form")
def test_the_other_person_is_measured_by_its_own_area():
    two = np.stack([TRUE, moved(0, 500)])
    off = [[0, 500 - far(0.6, 9000.0)], [100, 0], [200, 0]]
    assert one(off, two, area=[1000.0, 9000.0]) == ["swap", "good", "good"]
    assert one(off, two, area=[1000.0, 1000.0]) == ["miss", "good", "good"]


@pytest.mark.truth("closed form")
def test_the_closest_place_decides_and_equal_ones_in_the_order_own_twin_other():
    close = [[0, 0], [100, 0], [4, 0]]  # both of the pair within reach of each other
    assert one([[1, 0], [100, 0], [4, 0]], close) == ["good", "good", "good"]
    assert one([[3, 0], [100, 0], [4, 0]], close) == ["inversion", "good", "good"]
    assert one([[2, 0], [100, 0], [2, 0]], close) == ["good", "good", "good"]
    same = np.stack([TRUE, TRUE])
    assert one(TRUE, same) == ["good", "good", "good"]
    assert one(TRUE[[2, 1, 0]], same) == ["inversion", "good", "inversion"]
    two = np.stack([TRUE, moved(0, 6)])
    assert one([[0, 4], [100, 0], [200, 0]], two) == ["swap", "good", "good"]


@pytest.mark.truth("closed form")
def test_points_without_a_label_have_no_kind_and_attract_none():
    assert one([[0, 0], [100, 0], [0, 0]], visibility=[[0, 1, 2]]) == ["", "good", "miss"]
    two = np.stack([TRUE, moved(0, 500)])
    seen = [[1, 1, 1], [0, 1, 1]]
    assert one([[0, 500], [100, 0], [200, 0]], two, visibility=seen) == ["miss", "good", "good"]
    assert one([[200, 500], [100, 0], [200, 0]], two, visibility=seen) == ["swap", "good", "good"]


@pytest.mark.truth("closed form")
def test_a_missing_prediction_is_a_miss():
    assert one([[np.nan, 0], [100, 0], [200, 0]]) == ["miss", "good", "good"]


@pytest.mark.truth("closed form")
def test_only_people_with_an_oks_of_a_tenth_or_more_are_looked_at():
    """One of three points near: OKS a third of its ks."""
    reference = people2d([1], [TRUE], area=[1000])
    for ks, matched in ((0.301, 1), (0.299, 0)):
        found = people2d([1], [[[0, far(ks)], [9e3, 0], [9e3, 0]]], scores=[1])
        result = point_failures(reference, found, **THREE)
        assert (result.matched, result.unmatched) == (matched, 0 if matched else 3)
        assert result.miss == pytest.approx(100.0 if matched else np.nan, nan_ok=True)


@pytest.mark.truth("closed form")
def test_shares_counts_and_people_without_a_match():
    """Person 1 found with a swap onto person 2, who is missed with two labels; a crowd is not counted."""
    truth = np.stack([TRUE, moved(0, 500), moved(0, 900), TRUE])
    seen = [[1, 2, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]]
    reference = people2d([1, 1, 1, 2], truth, area=[1000.0] * 4, visibility=seen, crowd=[0, 0, 1, 0])
    found = people2d([1, 1], [[[0, 500], [100, far(0.6)], [200, 0]], moved(0, 900)], scores=[0.5, 0.9])
    result = point_failures(reference, found, **THREE)
    assert (result.matched, result.unmatched) == (1, 2)
    assert result.counts.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert result.good == result.jitter == result.swap == pytest.approx(100 / 3)
    assert result.inversion == result.miss == 0.0
    values = {kind: card(f"keypoint-failure·{kind}")(reference, found, **THREE) for kind in KINDS}
    assert values == {kind: getattr(result, kind) for kind in KINDS}


def literal_kinds(reference, detections, partner):
    """The definition, one point at a time; ``partner``: detection -> reference."""
    twin = {name: name for name in COCO.points}
    for left, right in COCO.flip_pairs:
        twin[left], twin[right] = right, left
    counts = {kind: [0] * 17 for kind in KINDS}
    for d, g in partner.items():
        for k, name in enumerate(COCO.points):
            if not reference.visibility[g, k]:
                continue
            closest, kind = -1.0, ""
            places = [("own", g, k), ("inversion", g, COCO.index(twin[name]))]
            for other in range(len(reference)):
                if other != g and reference.images[other] == reference.images[g]:
                    places += [("swap", other, k), ("swap", other, COCO.index(twin[name]))]
            for label, person, point in places:
                if reference.visibility[person, point]:
                    gap = math.dist(detections.keypoints[d, k], reference.keypoints[person, point])
                    ks = math.exp(-(gap**2) / 8 / COCO.sigmas[k] ** 2 / reference.area[person])
                    if ks > closest:
                        closest, kind = ks, label
            if closest < 0.5:
                kind = "miss"
            elif kind == "own":
                kind = "good" if closest >= 0.85 else "jitter"
            counts[kind][k] += 1
    return [counts[kind] for kind in KINDS]


def literal_partners(reference, detections):
    """Greedy matching at OKS .1 in loops."""
    alike = oks(detections, reference, sigmas=COCO.sigmas)
    counts = (reference.visibility > 0).any(axis=1) & ~reference.crowd
    partner, taken = {}, set()
    for image in sorted(set(detections.images.tolist())):
        inside = [d for d in range(len(detections)) if detections.images[d] == image]
        for d in sorted(inside, key=lambda d: -detections.scores[d])[:20]:
            free = [g for g in range(len(reference)) if reference.images[g] == image and g not in taken]
            able = [g for g in free if alike[d, g] >= 0.1]
            if chosen := [g for g in able if counts[g]] or able:
                best = max(chosen, key=lambda g: (alike[d, g], g))
                if counts[best]:
                    partner[d] = best
                if not reference.crowd[best]:
                    taken.add(best)
    return partner


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(6))
def test_random_scenes_are_classed_by_the_definition(seed):
    made = scene(seed, pictures=8, people=4, spread=0.08, step=1e-9)
    rng = np.random.default_rng(seed)
    keypoints = made.detections.keypoints.copy()
    mirrored = rng.random(len(keypoints)) < 0.4  # detections with some sides confused
    flipped = keypoints[:, list(COCO.flip_indices)]
    confused = mirrored[:, None] & (rng.random(keypoints.shape[:2]) < 0.5)
    keypoints = np.where(confused[..., None], flipped, keypoints)
    for d in np.flatnonzero(rng.random(len(keypoints)) < 0.3):  # and some points of somebody else
        near = np.flatnonzero(made.reference.images == made.detections.images[d])
        stolen = rng.integers(0, 17, 5)
        keypoints[d, stolen] = made.reference.keypoints[rng.choice(near), stolen] if len(near) else 0.0
    detections = replace(made.detections, keypoints=keypoints)
    partner = literal_partners(made.reference, detections)
    result = point_failures(made.reference, detections, **NAMED)
    assert result.counts.tolist() == literal_kinds(made.reference, detections, partner)
    assert result.matched == len(partner)
    assert (result.counts.sum(axis=1) > 0).all()
    total = result.good + result.jitter + result.inversion + result.swap + result.miss
    assert total == pytest.approx(100.0)
    left = [g for g in range(len(made.reference)) if g not in partner.values()]
    seen = (made.reference.visibility > 0) & ~made.reference.crowd[:, None]
    assert result.unmatched == seen[left].sum()


@pytest.mark.truth("metamorphic")
def test_a_mirrored_picture_has_the_same_kinds():
    made = scene(3, pictures=8, people=4, spread=0.08)
    plain = point_failures(made.reference, made.detections, **NAMED)
    flip = np.array(COCO.flip_indices)

    def mirror(people):
        box = np.column_stack([500 - people.bbox[:, 0] - people.bbox[:, 2], people.bbox[:, 1:]])
        return replace(
            people.points(flip), keypoints=people.keypoints[:, flip] * [-1, 1] + [500, 0], bbox=box
        )

    other = point_failures(mirror(made.reference), mirror(made.detections), **NAMED)
    assert other.counts[:, flip].tolist() == plain.counts.tolist()


# --- corrections ---


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("kind", "first", "after"),
    [
        ("jitter", [0, far(0.6)], 0.85),
        ("miss", [0, far(0.3)], 0.5),
        ("inversion", [200, -far(0.7)], 0.7),
        ("swap", [0, 500 + far(0.9)], 0.9),
    ],
)
def test_one_kind_is_corrected_to_its_closeness(kind, first, after):
    reference = people2d([1, 1], np.stack([TRUE, moved(0, 500)]), area=[1000.0] * 2)
    found = people2d([1], [[first, [100, 0], [200, 0]]], scores=[1])
    before = oks(found, reference, sigmas=[0.1] * 3)[0, 0]
    gain = correction_gain(reference, found, **THREE, kind=kind)
    assert gain.oks == pytest.approx((2 + after) / 3 - before, rel=1e-9)
    thresholds = np.linspace(0.5, 0.95, 10)
    reached = [np.mean(value >= thresholds) for value in (before, (2 + after) / 3)]
    assert gain.ap == pytest.approx((reached[1] - reached[0]) * 51 / 101, abs=1e-12)
    for other in set(KINDS[1:]) - {kind}:
        assert correction_gain(reference, found, **THREE, kind=other) == (0.0, 0.0)
    assert card(f"ΔAP·{kind}-corrected")(reference, found, **THREE) == gain.ap
    assert card(f"ΔOKS·{kind}-corrected")(reference, found, **THREE) == gain.oks


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("area", "sigma"), [(400.0, 0.05), (9e4, 0.2)])
def test_a_missed_person_corrected_reaches_the_threshold(area, sigma):
    """All points missed but for their OKS of .3: corrected, every ks and so the OKS is .5, which counts."""
    constants = THREE | {"sigmas": [sigma] * 3}
    reference = people2d([1], [TRUE * 50], area=[area])
    away = math.sqrt(-math.log(0.3) * 2 * area) * 2 * sigma
    found = people2d([1], [TRUE * 50 + [0, away]], scores=[1])
    gain = correction_gain(reference, found, **constants, kind="miss")
    assert gain.ap == pytest.approx(0.1)
    assert gain.oks == pytest.approx(0.2, rel=1e-9)


@pytest.mark.truth("closed form")
def test_a_person_without_area_is_corrected_too():
    """Two points of three are exact, the third missed: an OKS of 2/3, corrected 2.5/3."""
    reference = people2d([1], [TRUE], area=[0.0])
    gain = correction_gain(reference, people2d([1], [first_moved(1.0)], scores=[1]), **THREE, kind="miss")
    assert gain.oks == pytest.approx(0.5 / 3, rel=1e-9)
    assert gain.ap == pytest.approx(0.7 - 0.4)


@pytest.mark.truth("closed form")
def test_corrected_points_stand_beside_their_place_along_x():
    """On the other side they would lie nearer to the second person and take it from its own detection."""
    second = -2 * far(0.5) + 1
    reference = people2d([1, 1], [[[0, 0]], [[second, 0]]], area=[1000.0] * 2)
    found = people2d([1, 1], [[[0, far(0.3)]], [[second, 0]]], scores=[0.9, 0.8])
    gain = correction_gain(reference, found, points=["m"], flip_pairs=[], sigmas=[0.1], kind="miss")
    assert gain.ap == pytest.approx((1 - 51 / 101 / 2) / 10)


@pytest.mark.truth("closed form")
def test_the_gain_is_the_mean_over_matched_people():
    reference = people2d([1, 2, 3], [TRUE] * 3, area=[1000.0] * 3, visibility=[[1, 1, 1], [1, 0, 0], [1] * 3])
    found = people2d(
        [1, 2, 3],
        [first_moved(far(0.6)), moved(0, far(0.7)), moved(9000, 0)],
        scores=[1, 1, 1],
    )
    gain = correction_gain(reference, found, **THREE, kind="jitter")
    assert gain.oks == pytest.approx((0.25 / 3 + 0.15) / 2, rel=1e-9)


@pytest.mark.truth("closed form")
def test_a_missing_prediction_corrected_is_half_right():
    reference = people2d([1], [TRUE], area=[1000.0])
    found = people2d([1], [[[np.nan, np.nan], [100, 0], [200, 0]]], scores=[1])
    gain = correction_gain(reference, found, **THREE, kind="miss")
    assert gain.oks == pytest.approx(0.5 / 3, rel=1e-9)
    assert gain.ap == pytest.approx(0.7 - 0.4)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("kind", KINDS[1:])
def test_gains_on_random_scenes(kind):
    """Perfect detections gain nothing, others never lose OKS."""
    made = scene(2, pictures=10, people=3, spread=0.08)
    gain = correction_gain(made.reference, made.detections, **NAMED, kind=kind)
    assert gain.oks >= 0.0
    assert evaluate(made.reference, made.detections, sigmas=COCO.sigmas).ap + gain.ap <= 1.0
    made = scene(2, pictures=10, people=3, spread=0.0, false=0.0)
    assert correction_gain(made.reference, made.detections, **NAMED, kind=kind) == (0.0, 0.0)


def test_nobody_matched_is_nan():
    nobody = people2d([], np.zeros((0, 3, 2)), scores=[])
    someone = people2d([1], [TRUE], scores=[1], area=[1000])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reference, detections in ((nobody, nobody), (someone, nobody), (nobody, someone)):
            result = point_failures(reference, detections, **THREE)
            assert np.isnan([getattr(result, kind) for kind in KINDS]).all()
            assert (result.matched, result.unmatched) == (0, 3 * len(reference))
            assert result.counts.tolist() == [[0, 0, 0]] * 5
            gain = correction_gain(reference, detections, **THREE, kind="miss")
            assert np.isnan(gain.oks)
            assert gain.ap == 0.0 if len(reference) else np.isnan(gain.ap)


def test_what_does_not_fit_is_said():
    someone = people2d([1], [TRUE], scores=[1])
    with pytest.raises(MetricError, match="kind as one of jitter, inversion, swap, miss, got 'good'"):
        correction_gain(someone, someone, **THREE, kind="good")
    with pytest.raises(MetricError, match="flip pairs' names among the points, found no x"):
        point_failures(someone, someone, **(THREE | {"flip_pairs": [("l", "x")]}))
    with pytest.raises(MetricError, match="3 different names of points"):
        point_failures(someone, someone, **(THREE | {"points": ["l", "l", "r"]}))
    with pytest.raises(MetricError, match=r"sigmas of shape \(3,\), got \(2,\)"):
        point_failures(someone, someone, **(THREE | {"sigmas": [0.1, 0.1]}))


@pytest.mark.parametrize("kind", KINDS)
def test_cards_say_which_way_is_better(kind):
    found = card(f"keypoint-failure·{kind}")
    assert (found.unit, found.merge) == ("%", "sums")
    assert found.direction == ("higher" if kind == "good" else "lower")
    for what in ("AP", "OKS"):
        name = f"Δ{what}·{kind}-corrected"
        assert (name in cards()) == (kind != "good")
        if kind != "good":
            assert (card(name).unit, card(name).direction, card(name).merge) == (
                "1",
                "lower",
                "samples",
            )
