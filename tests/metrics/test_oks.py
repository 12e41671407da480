"""OKS and COCO's evaluation: equal to pycocotools on random scenes, and rule by rule on planted ones."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from coco_scenes import FIGURE, coco_evaluator, coco_stats, scene, to_people

from cohorts.skeleton import skeleton
from metrics import oks as module
from metrics.arrays import MetricError
from metrics.oks import (
    AREAS,
    AveragePrecision,
    checked_sigmas,
    closeness,
    evaluate,
    match,
    oks,
    people2d,
    point_box,
    same_image,
)

SIGMAS = np.array(skeleton("coco-17").sigmas)
FIELDS = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")


def ten(result: AveragePrecision) -> list[float]:
    return [getattr(result, field) for field in FIELDS]


def same_as_pycocotools(made, sigmas=SIGMAS):
    expected = coco_stats(made.ground_truth, made.results, sigmas)
    found = evaluate(made.reference, made.detections, sigmas=sigmas)
    np.testing.assert_allclose(ten(found), expected, rtol=0, atol=1e-12)
    return found


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", range(12))
def test_random_scenes(seed):
    found = same_as_pycocotools(scene(seed))
    assert 0 < found.ap < 1


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize(
    "choices",
    [
        {"crowds": 0.6},
        {"unlabelled": 0.6},
        {"crowds": 0.5, "unlabelled": 0.5},
        {"step": 1.0},
        {"step": 0.25, "people": 5},
        {"step": 1e-9},
        {"sides": (10.0, 60.0)},
        {"sides": (120.0, 400.0)},
        {"sides": (30.0, 34.0)},
        {"false": 0.0},
        {"false": 12.0, "pictures": 5},
        {"people": 8, "pictures": 4},
        {"people": 1, "pictures": 30},
        {"spread": 0.0},
        {"spread": 0.015},
        {"spread": 0.2},
        {"pictures": 1},
        {"first_id": 97},
    ],
    ids=lambda choices: "-".join(f"{k}={v}" for k, v in choices.items()),
)
@pytest.mark.parametrize("seed", [100, 101])
def test_scenes_of_one_kind(choices, seed):
    same_as_pycocotools(scene(seed, **choices))


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize(
    ("name", "seed"),
    [("crowdpose-14", 0), ("halpe-26", 1), ("coco-wholebody-133", 2), ("synthpose-52", 3)],
)
def test_other_point_sets(name, seed):
    sigmas = skeleton(name).sigmas
    figure = np.random.default_rng(seed).uniform(0, 1, (len(sigmas), 2))
    same_as_pycocotools(scene(seed, figure=figure, pictures=6, spread=0.02), sigmas)


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", range(3))
def test_precision_at_every_recall_and_threshold(seed):
    made = scene(seed, pictures=20)
    evaluator = coco_evaluator(made.ground_truth, made.results, SIGMAS)
    evaluator.evaluate()
    evaluator.accumulate()
    found = evaluate(made.reference, made.detections, sigmas=SIGMAS)
    expected = np.moveaxis(evaluator.eval["precision"][:, :, 0, :, 0], -1, 0)
    np.testing.assert_allclose(found.precision, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.recall, evaluator.eval["recall"][:, 0, :, 0].T, rtol=0, atol=1e-12)


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", range(4))
def test_oks_of_every_pair_of_a_picture(seed):
    made = scene(seed, pictures=1, people=6, unlabelled=0.4, first_id=5)
    evaluator = coco_evaluator(made.ground_truth, made.results, SIGMAS)
    evaluator.evaluate()
    expected = evaluator.ious[5, 1]
    order = np.argsort(-made.detections.scores, kind="stable")[:20]
    found = oks(made.detections.only(order), made.reference, sigmas=SIGMAS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    assert ((made.reference.visibility > 0).sum(axis=1) == 0).any() or seed


@pytest.mark.truth("pycocotools")
def test_no_detection_at_all():
    made = scene(4)
    expected = coco_stats(made.ground_truth, [], SIGMAS)
    found = evaluate(made.reference, made.detections.only(np.zeros(0, int)), sigmas=SIGMAS)
    assert ten(found) == expected.tolist() == [0.0] * 10


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("choices", [{"people": 0}, {"crowds": 1.0}, {"unlabelled": 1.0}])
def test_no_reference_that_counts_is_nan(choices):
    made = scene(4, **({"pictures": 40} | choices))
    expected = coco_stats(made.ground_truth, made.results, SIGMAS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(made.reference, made.detections, sigmas=SIGMAS)
    assert len(made.detections)
    assert np.isnan(ten(found)).all() and np.isnan(expected).all()
    assert np.isnan(found.precision).all() and np.isnan(found.recall).all()


def test_nobody_at_all_is_nan():
    nobody = people2d([], np.zeros((0, 17, 2)), scores=[])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(ten(evaluate(nobody, nobody, sigmas=SIGMAS))).all()
        assert oks(nobody, nobody, sigmas=SIGMAS).shape == (0, 0)


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("side", [32.0, 96.0, np.nextafter(32.0, 0), np.nextafter(96.0, 100)])
def test_ends_of_the_ranges_of_area(side):
    """People exactly on the ends of a range, and beside them; a false detection of the same area."""
    rows, found = [], []
    for number in range(4):
        xy = FIGURE * side + 10 * number
        flat = np.concatenate([xy, np.full((17, 1), 2.0)], axis=1)
        rows.append(
            {
                "id": number + 1,
                "image_id": number % 2 + 1,
                "category_id": 1,
                "keypoints": flat.ravel().tolist(),
                "num_keypoints": 17,
                "area": side**2 if number else 50.0**2,
                "bbox": [0.0, 0.0, side, side],
                "iscrowd": 0,
            }
        )
        for shift, score in ((0.02, 0.5), (2.0, 0.6)):
            moved = flat + np.array([shift * side, 0.0, 0.0])
            box = [0.0, 0.0, side, side]
            found.append({"image_id": number % 2 + 1, "category_id": 1, "score": score, "bbox": box})
            found[-1]["keypoints"] = moved.ravel().tolist()
    truth = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": rows}
    expected = coco_stats(truth, found, SIGMAS)
    detections = replace(to_people(found, 17), area=np.full(8, side * side))
    result = evaluate(to_people(rows, 17), detections, sigmas=SIGMAS)
    np.testing.assert_allclose(ten(result), expected, rtol=0, atol=1e-12)


# Planted people of one point: a square of area 1000, so that a distance of d has ks = exp(-d² / 80) at σ .1.
def at(*x: float, images=None, scores=None, **given):
    """People of one point at (x, 0), σ .1."""
    images = [1] * len(x) if images is None else images
    given = {"area": [1000.0] * len(x), "bbox": [[v - 5, -5, 10, 10] for v in x]} | given
    return people2d(images, [[[v, 0.0]] for v in x], scores=scores, **given)


def distance(ks: float, area: float = 1000.0, sigma: float = 0.1) -> float:
    return math.sqrt(-math.log(ks) * 2 * area * (2 * sigma) ** 2)


def partners(reference, detections, threshold=0.5, areas=((0.0, 1e10),)):
    found = match(reference, detections, sigmas=[0.1], thresholds=[threshold], areas=areas)
    by_detection = np.full(len(detections), -2)
    by_detection[found.order] = found.partner[0, 0]
    ignored = np.zeros(len(detections), bool)
    ignored[found.order] = found.ignored[0, 0]
    return by_detection.tolist(), ignored.tolist()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("ks", [0.05, 0.5, 0.75, 0.99])
def test_oks_of_one_point_follows_its_formula(ks):
    found = oks(at(distance(ks)), at(0.0), sigmas=[0.1])
    assert found.item() == pytest.approx(ks, rel=1e-12)
    with_more_area = oks(at(distance(ks)), at(0.0, area=[4000.0]), sigmas=[0.1])
    assert with_more_area.item() == pytest.approx(ks**0.25, rel=1e-12)
    with_double_sigma = oks(at(distance(ks)), at(0.0), sigmas=[0.2])
    assert with_double_sigma.item() == pytest.approx(ks**0.25, rel=1e-12)


@pytest.mark.truth("closed form")
def test_oks_of_an_area_of_zero():
    on, off = oks(at(0.0, 1e-9), at(0.0, area=[0.0]), sigmas=[0.5])[:, 0]
    assert on == 1.0
    assert off == pytest.approx(math.exp(-(1e-18) / 2 / np.spacing(1.0)), rel=1e-9)


@pytest.mark.truth("closed form")
def test_oks_is_the_mean_over_labelled_points_and_a_missing_prediction_counts_zero():
    truth = people2d([1], [[[0, 0], [5, 5], [9, 9]]], visibility=[[1, 2, 0]], area=[1000])
    found = people2d([1], [[[0, distance(0.6)], [np.nan, 5], [500, 500]]])
    assert oks(found, truth, sigmas=[0.1] * 3).item() == pytest.approx(0.3, rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("x", "y", "away"),
    [
        (0.0, 0.0, 0.0),
        (-10.0, 40.0, 0.0),
        (20.0, -20.0, 0.0),
        (-13.0, 0.0, 3.0),
        (24.0, 0.0, 4.0),
        (5.0, -26.0, 6.0),
        (5.0, 48.0, 8.0),
        (23.0, 44.0, 5.0),
        (-13.0, -24.0, 5.0),
    ],
)
def test_oks_to_somebody_without_labels_is_to_the_box_widened_by_its_sides(x, y, away):
    """The box is x 0…10, y 0…20; widened x -10…20, y -20…40."""
    ignored = people2d([1], [[[500, 500], [600, 600]]], visibility=[[0, 0]], bbox=[[0, 0, 10, 20]], area=[50])
    found = people2d([1], [[[x, y], [np.nan, np.nan]]])
    expected = math.exp(-(away**2) / (2 * 50 * 0.2**2)) / 2
    assert oks(found, ignored, sigmas=[0.1, 0.1]).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("metamorphic")
def test_oks_does_not_change_under_scale_translation_and_order_of_points():
    made = scene(0, pictures=1, people=5, unlabelled=0.3)
    d, r = made.detections, made.reference
    plain = oks(d, r, sigmas=SIGMAS)
    order = np.random.default_rng(1).permutation(17)
    permuted = oks(d.points(order), r.points(order), sigmas=SIGMAS[order])
    np.testing.assert_allclose(permuted, plain, rtol=1e-12)

    def moved(people):
        box = people.bbox * 3 + [60, -30, 0, 0]
        return replace(people, keypoints=people.keypoints * 3 + [60, -30], bbox=box, area=people.area * 9)

    np.testing.assert_allclose(oks(moved(d), moved(r), sigmas=SIGMAS), plain, rtol=1e-9, atol=1e-15)


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("block", [1, 40, 1000])
def test_the_size_of_blocks_does_not_matter(monkeypatch, block):
    made = scene(7)
    plain = evaluate(made.reference, made.detections, sigmas=SIGMAS)
    monkeypatch.setattr(module, "BLOCK", block)
    assert ten(evaluate(made.reference, made.detections, sigmas=SIGMAS)) == ten(plain)


@pytest.mark.truth("metamorphic")
def test_order_of_references_and_numbers_of_pictures_do_not_matter():
    made = scene(8, step=1e-9)
    plain = ten(evaluate(made.reference, made.detections, sigmas=SIGMAS))
    rng = np.random.default_rng(0)
    r = made.reference.only(rng.permutation(len(made.reference)))
    d = made.detections.only(rng.permutation(len(made.detections)))
    assert ten(evaluate(r, d, sigmas=SIGMAS)) == pytest.approx(plain, abs=1e-12)
    r, d = (replace(each, images=-7 * each.images) for each in (r, d))
    assert ten(evaluate(r, d, sigmas=SIGMAS)) == pytest.approx(plain, abs=1e-12)


@pytest.mark.truth("closed form")
def test_the_better_scored_detection_takes_the_nearest_and_leaves_the_rest():
    assert partners(at(0.0, 3.0), at(1.0, 0.0, scores=[0.9, 0.5])) == ([0, 1], [False, False])
    assert partners(at(0.0), at(3.0, 0.0, scores=[0.9, 0.5])) == ([0, -1], [False, False])
    assert partners(at(0.0), at(3.0, 0.0, scores=[0.5, 0.9])) == ([-1, 0], [False, False])


@pytest.mark.truth("closed form")
def test_of_equal_scores_the_first_goes_first_and_of_equal_references_the_last_is_taken():
    assert partners(at(0.0), at(2.0, 0.0, scores=[0.5, 0.5]))[0] == [0, -1]
    assert partners(at(-1.0, 1.0), at(0.0, scores=[0.5]))[0] == [1]
    assert partners(at(1.0, 1.0, 1.0), at(0.0, 0.0, scores=[0.5, 0.4]))[0] == [2, 1]


@pytest.mark.truth("closed form")
def test_an_oks_at_the_threshold_is_a_match():
    """Two points, one of which is exact and one infinitely far: OKS is exactly .5."""
    truth = people2d([1], [[[0, 0], [0, 0]]], area=[100])
    found = people2d([1], [[[0, 0], [1e9, 0]]], scores=[1])
    assert match(truth, found, sigmas=[0.1, 0.1], thresholds=[0.5]).partner[0].item() == 0
    above = np.nextafter(0.5, 1)
    assert match(truth, found, sigmas=[0.1, 0.1], thresholds=[above]).partner[0].item() == -1
    result = evaluate(truth, found, sigmas=[0.1, 0.1])
    assert (result.ap50, result.ap75, result.ap) == pytest.approx((1.0, 0.0, 0.1))
    assert (result.ar50, result.ar75, result.ar) == pytest.approx((1.0, 0.0, 0.1))


@pytest.mark.truth("closed form")
def test_a_reference_that_counts_goes_before_a_nearer_ignored_one():
    truth = at(0.0, 4.0, crowd=[True, False])
    assert partners(truth, at(1.0, scores=[0.5])) == ([1], [False])
    truth = at(0.0, 50.0, crowd=[True, False])
    assert partners(truth, at(1.0, scores=[0.5])) == ([0], [True])


@pytest.mark.truth("closed form")
def test_a_crowd_is_taken_many_times_and_an_ignored_person_once():
    three = at(0.0, 1.0, 2.0, scores=[0.9, 0.8, 0.7])
    assert partners(at(0.0, crowd=[True]), three) == ([0, 0, 0], [True] * 3)
    unlabelled = at(0.0, visibility=[[0]])
    assert partners(unlabelled, three) == ([0, -1, -1], [True, False, False])


@pytest.mark.truth("closed form")
def test_an_unmatched_detection_outside_the_range_is_ignored_and_its_ends_belong_to_it():
    truth = at(0.0, area=[1000.0])
    strays = at(*[500.0] * 4, scores=[0.9, 0.8, 0.7, 0.6], area=[99.0, 100.0, 2000.0, 2001.0])
    assert partners(truth, strays, areas=[(100.0, 2000.0)]) == ([-1] * 4, [True, False, False, True])
    for area, counts in ((99.9, 0), (100.0, 1), (2000.0, 1), (2000.1, 0)):
        found = match(at(0.0, area=[area]), strays, sigmas=[0.1], areas=[(100.0, 2000.0)])
        assert found.counted.tolist() == [counts]


@pytest.mark.truth("closed form")
def test_only_the_20_best_of_a_picture_count():
    scores = np.linspace(0.1, 0.9, 21)
    found = match(at(0.0), at(*[0.0] * 21, scores=scores), sigmas=[0.1])
    assert found.order.tolist() == list(range(20, 0, -1))
    two_pictures = at(*[0.0] * 22, scores=[*scores, 0.0], images=[1] * 21 + [2])
    assert len(match(at(0.0), two_pictures, sigmas=[0.1]).order) == 21


@pytest.mark.truth("closed form")
def test_people_meet_only_in_their_own_picture():
    truth = at(0.0, 0.0, images=[3, 1])
    assert partners(truth, at(0.0, 0.0, 0.0, scores=[0.1, 0.2, 0.3], images=[1, 2, 3]))[0] == [1, -1, 0]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([1, 1], 1.0),
        ([1, 0], 51 / 101),
        ([0, 1], 0.5 * 51 / 101),
        ([0, 0], 0.0),
        ([1, 0, 1], (51 + 50 * 2 / 3) / 101),
        ([0, 1, 1], 2 / 3),
    ],
)
def test_ap_of_two_people_by_hand(right, expected):
    """Recalls 0, .01, … .50 are reached by the first right one, the other 50 by the second."""
    x = np.where(right, 0.0, 900.0)
    x[np.flatnonzero(right)[1:]] = 100.0
    scores = np.linspace(0.9, 0.1, len(right))
    result = evaluate(at(0.0, 100.0), at(*x, scores=scores), sigmas=[0.1])
    assert result.ap == pytest.approx(expected, rel=1e-9)
    assert result.ar == pytest.approx(sum(right) / 2)


@pytest.mark.truth("closed form")
def test_the_ten_numbers_are_of_their_thresholds_and_ranges():
    """One medium person found with OKS .77, one large with .52, one large missed."""
    truth = at(0.0, 1000.0, 5000.0, area=[50.0**2, 100.0**2, 100.0**2])
    x = [distance(0.77, 50.0**2), 1000.0 + distance(0.52, 100.0**2)]
    found = at(*x, scores=[0.9, 0.8], area=[50.0**2, 100.0**2])
    result = evaluate(truth, found, sigmas=[0.1])
    assert result.recall[0].tolist() == pytest.approx([2 / 3] + [1 / 3] * 5 + [0.0] * 4)
    assert result.recall[1].tolist() == [1.0] * 6 + [0.0] * 4
    assert result.recall[2].tolist() == [0.5] + [0.0] * 9
    assert result.precision.shape == (3, 10, 101)
    expected = [(67 + 5 * 34) / 1010, 67 / 101, 34 / 101, 0.6, 51 / 1010]
    expected += [7 / 30, 2 / 3, 1 / 3, 0.6, 0.05]
    assert ten(result) == pytest.approx(expected, rel=1e-9)


def test_ranges_are_cocos():
    assert list(AREAS.items()) == [("all", (0, 1e10)), ("medium", (1024, 9216)), ("large", (9216, 1e10))]


@pytest.mark.truth("closed form")
def test_what_people2d_fills_in():
    people = people2d([4, 4], [[[1, 2], [4, 8], [np.nan, 50]], [[np.nan, 1], [np.nan, 2], [3, np.nan]]])
    assert people.images.dtype == np.int64
    assert people.bbox.tolist() == [[1, 2, 3, 6], [0, 0, 0, 0]]
    assert people.area.tolist() == [18, 0]
    assert people.visibility.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert people.crowd.tolist() == [False, False]
    assert np.isnan(people.scores).all()
    assert len(people) == 2
    given = people2d(
        [4, 4],
        people.keypoints,
        visibility=np.full((2, 3), 2),
        area=[5, 6],
        bbox=np.arange(8).reshape(2, 4),
        crowd=[0, 1],
        scores=[0.5, 0.25],
    )
    assert given.visibility.tolist() == [[2, 2, 0], [0, 0, 0]]
    assert given.area.tolist() == [5, 6]
    assert given.bbox.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert given.crowd.tolist() == [False, True]
    assert given.scores.tolist() == [0.5, 0.25]
    second = given.only(np.array([1]))
    assert (second.images.tolist(), second.area.tolist(), second.scores.tolist()) == ([4], [6.0], [0.25])
    assert (second.bbox.tolist(), second.crowd.tolist()) == ([[4, 5, 6, 7]], [True])
    assert (second.visibility.tolist(), second.keypoints.shape) == ([[0, 0, 0]], (1, 3, 2))
    part = given.points(slice(0, 2))
    assert (part.keypoints.shape, part.visibility.shape, part.area.tolist()) == ((2, 2, 2), (2, 2), [5, 6])
    assert people2d([1], [[[0, 0], [2, 2]]], bbox=[[0, 0, 3, 3]]).area.tolist() == [9.0]


def test_a_box_around_no_points_is_empty():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert point_box(np.full((1, 2, 2), np.nan)).tolist() == [[0, 0, 0, 0]]
        assert point_box(np.zeros((0, 2, 2))).shape == (0, 4)
        assert point_box(np.zeros((1, 0, 2))).tolist() == [[0, 0, 0, 0]]


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_the_same_picture(seed):
    rng = np.random.default_rng(seed)
    images, references = rng.integers(0, 6, 15), np.sort(rng.integers(0, 6, 9))
    d, g = same_image(images, references)
    expected = [(i, j) for i in range(15) for j in range(9) if images[i] == references[j]]
    assert list(zip(d.tolist(), g.tolist(), strict=True)) == expected


@pytest.mark.truth("literal definition")
def test_closeness_of_points():
    rng = np.random.default_rng(0)
    found, truth = rng.normal(0, 3, (4, 5, 2)), rng.normal(0, 3, (4, 5, 2))
    found[1, 2, 0] = np.nan
    area, sigmas = rng.uniform(50, 500, 4), rng.uniform(0.05, 0.5, 5)
    near = closeness(found, truth, area, sigmas)
    for p, k in np.ndindex(4, 5):
        e = math.dist(found[p, k], truth[p, k]) ** 2 / (2 * (2 * sigmas[k]) ** 2 * area[p])
        assert near[p, k] == (0.0 if (p, k) == (1, 2) else pytest.approx(math.exp(-e), rel=1e-12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [1]}, "whole number of a picture for each of 2 people"),
        ({"images": [1, 1.5]}, "whole number of a picture for each of 2 people"),
        ({"images": [[1, 1]]}, "images with 1 axes"),
        ({"keypoints": np.zeros((2, 3))}, "keypoints with 3 axes"),
        ({"keypoints": np.zeros((2, 3, 3))}, "2 entries on the last axis of keypoints"),
        ({"keypoints": np.full((2, 3, 2), np.inf)}, "finite keypoints"),
        ({"visibility": [1, 1]}, r"visibility of shape \(2, 3\), got \(2,\)"),
        ({"area": [1]}, r"area of shape \(2,\), got \(1,\)"),
        ({"bbox": [[1, 2, 3]]}, r"bbox of shape \(2, 4\), got \(1, 3\)"),
        ({"crowd": 1}, r"crowd of shape \(2,\), got \(\)"),
        ({"scores": [1, 2, 3]}, r"scores of shape \(2,\), got \(3,\)"),
    ],
)
def test_people_that_do_not_fit_are_refused(change, message):
    with pytest.raises(MetricError, match=message):
        people2d(**({"images": [1, 2], "keypoints": np.zeros((2, 3, 2))} | change))


def test_detections_need_scores_and_the_references_points():
    with pytest.raises(MetricError, match="a score for every detection"):
        evaluate(at(0.0), at(0.0), sigmas=[0.1])
    other = people2d([1], np.zeros((1, 2, 2)), scores=[1])
    with pytest.raises(MetricError, match="detections of 1 points as the references have, got 2"):
        evaluate(at(0.0), other, sigmas=[0.1])
    with pytest.raises(MetricError, match="detections of 1 points as the references have, got 2"):
        oks(other, at(0.0), sigmas=[0.1])


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([0.1, 0.1], r"sigmas of shape \(1,\), got \(2,\)"),
        ([0.0], "every sigma above zero"),
        ([-0.1], "every sigma above zero"),
        ([np.nan], "every sigma above zero"),
        ([np.inf], "every sigma above zero"),
    ],
)
def test_sigmas_are_checked(sigmas, message):
    with pytest.raises(MetricError, match=message):
        checked_sigmas(sigmas, 1)
