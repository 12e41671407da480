"""PCK, AUC, EPE and NME against their definitions in loops, at their thresholds, and when nothing counts."""

import math
import warnings

import numpy as np
import pytest

from metrics.arrays import MetricError
from metrics.catalogue import card
from metrics.keypoints2d import (
    auc,
    bbox_size,
    end_point_error,
    head_size,
    normalised_error,
    pck,
    torso_length,
)


def people(seed: int, n: int = 9, k: int = 6, missing: float = 0.1):
    """n people of k points in boxes, some points unlabelled, some predictions missing."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 50, (n, 2)), rng.uniform(20, 90, (n, 2))], axis=1)
    reference = boxes[:, None, :2] + rng.uniform(0, 1, (n, k, 2)) * boxes[:, None, 2:]
    predicted = reference + rng.normal(0, 6, (n, k, 2))
    predicted[rng.random((n, k)) < missing] = np.nan
    visibility = rng.choice([0, 1, 2], (n, k))
    return predicted, reference, visibility, boxes


def literal_pck(predicted, reference, visibility, sizes, threshold, *, closed=False, pooled=False, skip=()):
    """The definition, one point at a time."""
    right = [[] for _ in range(reference.shape[1])]
    for n in range(len(reference)):
        for k in range(reference.shape[1]):
            if k in skip or visibility[n, k] <= 0:
                continue
            if any(math.isnan(c) for c in predicted[n, k]):
                right[k].append(0)
                continue
            share = math.dist(predicted[n, k], reference[n, k]) / sizes[n]
            right[k].append(int(share < threshold or (closed and share == threshold)))
    if pooled:
        every = [hit for hits in right for hit in hits]
        return 100 * sum(every) / len(every)
    means = [sum(hits) / len(hits) for hits in right if hits]
    return 100 * sum(means) / len(means)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", ["0.05", "0.1", "0.2"])
def test_pck_of_the_box_is_its_definition(seed, threshold):
    predicted, reference, visibility, boxes = people(seed)
    found = card(f"PCK@{threshold}·bbox")(predicted, reference, of=boxes, visibility=visibility)
    sizes = [max(w, h) for _, _, w, h in boxes]
    assert found == pytest.approx(
        literal_pck(predicted, reference, visibility, sizes, float(threshold)), rel=1e-12
    )


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(4))
def test_pckh_divides_by_six_tenths_of_the_head_boxs_diagonal(seed):
    predicted, reference, visibility, boxes = people(seed)
    sizes = [0.6 * math.hypot(w, h) for _, _, w, h in boxes]
    found = card("PCKh@0.5")(predicted, reference, of=boxes / 5, visibility=visibility)
    expected = literal_pck(predicted, reference, visibility, np.array(sizes) / 5, 0.5)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(4))
def test_pckh_of_mpii_leaves_out_pelvis_and_thorax_and_pools_points(seed):
    predicted, reference, visibility, boxes = people(seed)
    names = ["head_top", "pelvis", "left_hip", "thorax", "left_knee", "left_ankle"]
    sizes = [0.6 * math.hypot(w, h) for _, _, w, h in boxes]
    found = card("PCKh@0.5·mpii")(predicted, reference, of=boxes, visibility=visibility, names=names)
    expected = literal_pck(predicted, reference, visibility, sizes, 0.5, pooled=True, skip=(1, 3))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_pck_of_the_torso_is_its_definition(seed):
    predicted, reference, visibility, _ = people(seed)
    names = ["a", "right_hip", "b", "left_shoulder", "c", "d"]
    sizes = [math.dist(person[3], person[1]) for person in reference]
    lengths = torso_length(reference, names)
    assert lengths == pytest.approx(sizes)
    found = card("PCK@0.2·torso")(predicted, reference, of=lengths, visibility=visibility)
    expected = literal_pck(predicted, reference, visibility, sizes, 0.2)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_pck_of_50_mm_pools_points_in_space(seed):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(-1, 1, (7, 12, 3))
    predicted = reference + rng.normal(0, 0.03, reference.shape)
    labelled = rng.random((7, 12)) < 0.7
    reference[~labelled] = np.nan
    expected = literal_pck(predicted, reference, labelled, np.ones(7), 0.05, pooled=True)
    assert card("PCK@50mm")(predicted, reference) == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("name", "limit", "of"),
    [
        ("PCK@0.05·bbox", 2.0, [0, 0, 30, 40]),
        ("PCK@0.1·bbox", 4.0, [0, 0, 40, 30]),
        ("PCK@0.2·bbox", 8.0, [5, 5, 40, 40]),
        ("PCK@0.2·torso", 8.0, 40.0),
        ("PCKh@0.5", 15.0, [0, 0, 30, 40]),
    ],
)
def test_a_point_at_the_limit_is_wrong_and_a_hair_nearer_is_right(name, limit, of):
    for distance, expected in ((limit, 0.0), (limit * (1 - 1e-9), 100.0), (limit * (1 + 1e-9), 0.0)):
        assert card(name)([[distance, 0.0]], [[0.0, 0.0]], of=of) == expected


@pytest.mark.truth("closed form")
def test_a_point_at_50_mm_is_right_and_a_hair_further_is_wrong():
    assert card("PCK@50mm")([[0.05, 0, 0]], [[0.0, 0, 0]]) == 100.0
    assert card("PCK@50mm")([[0.05 + 1e-12, 0, 0]], [[0.0, 0, 0]]) == 0.0


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0.0, 19), (1.5, 18), (1.49, 19), (15.0, 9), (28.4, 1), (28.5, 0), (28.51, 0), (1000.0, 0)],
)
def test_auc_counts_the_20_thresholds_below_1_that_lie_above_the_distance(distance, expected):
    """Of the thresholds 0, 1.5, … 28.5 px those that are greater than the distance."""
    found = card("AUC·2D·30px")([[distance, 0.0]], [[0.0, 0.0]])
    assert found == pytest.approx(expected / 20)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_auc_is_the_mean_of_20_pcks(seed):
    predicted, reference, visibility, boxes = people(seed)
    sizes = [max(w, h) for _, _, w, h in boxes]
    expected = sum(literal_pck(predicted, reference, visibility, sizes, i / 20) for i in range(20)) / 2000
    found = card("AUC·2D·bbox")(predicted, reference, of=boxes, visibility=visibility)
    assert found == pytest.approx(expected, rel=1e-12)
    sizes = [30.0] * len(boxes)
    expected = sum(literal_pck(predicted, reference, visibility, sizes, i / 20) for i in range(20)) / 2000
    assert card("AUC·2D·30px")(predicted, reference, visibility=visibility) == pytest.approx(expected)


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_end_point_error_and_nme_pool_what_was_predicted(seed):
    predicted, reference, visibility, boxes = people(seed)
    pairs = [
        (math.dist(predicted[n, k], reference[n, k]), n)
        for n, k in np.ndindex(visibility.shape)
        if visibility[n, k] > 0 and not np.isnan(predicted[n, k, 0])
    ]
    epe = end_point_error(predicted, reference, visibility=visibility)
    assert epe.mean == pytest.approx(sum(d for d, _ in pairs) / len(pairs), rel=1e-12)
    assert card("EPE·2D")(predicted, reference, visibility=visibility) == epe.mean
    nme = card("NME·bbox")(predicted, reference, of=boxes, visibility=visibility)
    expected = 100 * sum(d / max(boxes[n, 2:]) for d, n in pairs) / len(pairs)
    assert nme == pytest.approx(expected, rel=1e-12)
    lengths = np.arange(1.0, len(boxes) + 1)
    nme = card("NME·torso")(predicted, reference, of=lengths, visibility=visibility)
    assert nme == pytest.approx(100 * sum(d / (n + 1) for d, n in pairs) / len(pairs), rel=1e-12)


@pytest.mark.truth("closed form")
def test_a_missing_prediction_is_wrong_and_is_counted():
    predicted = [[[np.nan, 1.0], [0.0, 0.0], [5.0, np.nan]], [[0.0, 0.0], [np.nan, np.nan], [9.0, 9.0]]]
    reference = np.zeros((2, 3, 2))
    visibility = [[2, 1, 0], [1, 1, 0]]
    found = pck(predicted, reference, of=10.0, visibility=visibility, threshold=0.5, size="length")
    assert found.per_keypoint[:2].tolist() == [50.0, 50.0]
    assert np.isnan(found.per_keypoint[2])
    assert found.mean == 50.0
    assert found.labelled.tolist() == [2, 2, 0]
    assert found.unanswered.tolist() == [1, 1, 0]
    epe = end_point_error(predicted, reference, visibility=visibility)
    assert (epe.mean, epe.unanswered.tolist()) == (0.0, [1, 1, 0])
    nme = normalised_error(predicted, reference, of=10.0, visibility=visibility, size="length")
    assert (nme.mean, nme.labelled.tolist(), nme.unanswered.tolist()) == (0.0, [2, 2, 0], [1, 1, 0])
    area = auc(predicted, reference, of=10.0, visibility=visibility, size="length")
    assert area.per_keypoint[:2] == pytest.approx([0.475, 0.475])


@pytest.mark.truth("closed form")
def test_the_mean_over_keypoints_and_the_pooled_mean_differ():
    """Point 0: 1 of 1 right; point 1: 1 of 3 right. Means: (1 + 1/3) / 2 and 2 / 4."""
    predicted = np.zeros((3, 2, 2))
    predicted[1:, 1] = 9.0
    visibility = [[1, 1], [0, 1], [0, 1]]
    options = {"of": 10.0, "visibility": visibility, "threshold": 0.5, "size": "length"}
    assert pck(predicted, np.zeros((3, 2, 2)), **options).mean == pytest.approx(200 / 3)
    assert pck(predicted, np.zeros((3, 2, 2)), **options, pooled=True).mean == pytest.approx(50.0)


@pytest.mark.truth("closed form")
def test_errors_of_points_pool_over_people():
    predicted = np.zeros((2, 2, 2))
    predicted[:, 1] = [[3, 4], [6, 8]]
    visibility = [[1, 1], [0, 1]]
    found = end_point_error(predicted, np.zeros((2, 2, 2)), visibility=visibility)
    assert found.mean == pytest.approx(5.0)
    assert found.per_keypoint.tolist() == [0.0, 7.5]
    found = normalised_error(
        predicted, np.zeros((2, 2, 2)), of=[10.0, 20.0], visibility=visibility, size="length"
    )
    assert found.mean == pytest.approx(100 / 3)
    assert found.per_keypoint.tolist() == [0.0, 50.0]


@pytest.mark.truth("closed form")
def test_sizes():
    assert bbox_size([[100, 100, 3, 4], [0, 0, 9, 2]]).tolist() == [4.0, 9.0]
    assert head_size([[100, 100, 3, 4], [0, 0, 6, 8]]) == pytest.approx([3.0, 6.0])
    points = [[[0, 0], [1, 1], [6, 8]]]
    assert torso_length(points, ["a", "b", "c"], ends=("c", "a")).tolist() == [10.0]


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("factor", [0.01, 3.0, 1000.0])
def test_scores_of_the_box_do_not_change_with_the_size_of_the_picture(factor):
    predicted, reference, visibility, boxes = people(3)
    for name in ("PCK@0.1·bbox", "PCKh@0.5", "AUC·2D·bbox", "NME·bbox"):
        plain = card(name)(predicted, reference, of=boxes, visibility=visibility)
        scaled = card(name)(predicted * factor, reference * factor, of=boxes * factor, visibility=visibility)
        assert scaled == pytest.approx(plain, rel=1e-9)


@pytest.mark.truth("metamorphic")
def test_leading_axes_order_and_place_do_not_matter():
    predicted, reference, visibility, boxes = people(5, n=12)
    plain = pck(predicted, reference, of=boxes, visibility=visibility, threshold=0.1, size="bbox")
    order = np.random.default_rng(0).permutation(12)
    shuffled = pck(
        predicted[order] + 50,
        reference[order] + 50,
        of=boxes[order],
        visibility=visibility[order],
        threshold=0.1,
        size="bbox",
    )
    stacked = pck(
        predicted.reshape(3, 4, 6, 2),
        reference.reshape(3, 4, 6, 2),
        of=boxes.reshape(3, 4, 4),
        visibility=visibility.reshape(3, 4, 6),
        threshold=0.1,
        size="bbox",
    )
    for other in (shuffled, stacked):
        assert other.mean == pytest.approx(plain.mean, rel=1e-12)
        assert other.per_keypoint == pytest.approx(plain.per_keypoint, rel=1e-12)
        assert other.labelled.tolist() == plain.labelled.tolist()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_a_person_without_a_size_does_not_count(size):
    predicted, reference = np.array([[[1.0, 0]], [[9.0, 0]]]), np.zeros((2, 1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pck(predicted, reference, of=[10.0, size], threshold=0.5, size="length")
        alone = pck(predicted[1:], reference[1:], of=[size], threshold=0.5, size="length")
    assert (found.mean, found.labelled.tolist()) == (100.0, [1])
    assert (np.isnan(alone.mean), alone.labelled.tolist()) == (True, [0])


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 2)])
def test_nothing_labelled_is_nan_without_a_warning(shape):
    nothing = np.full(shape, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (
            pck(nothing, nothing, of=np.ones(shape[0]), threshold=0.5, size="length"),
            pck(nothing, nothing, of=np.ones(shape[0]), threshold=0.5, size="length", pooled=True),
            auc(nothing, nothing, of=1.0, size="length"),
            end_point_error(nothing, nothing),
            normalised_error(nothing, nothing, of=1.0, size="length"),
        ):
            assert np.isnan(found.mean)
            assert np.isnan(found.per_keypoint).tolist() == [True] * 3
            assert found.labelled.tolist() == found.unanswered.tolist() == [0, 0, 0]


def test_labelled_is_visible_and_not_nan():
    reference = np.array([[[0.0, np.nan], [0, 0], [0, 0], [0, 0]]])
    found = end_point_error(np.ones((1, 4, 2)), reference, visibility=[[2, 0, 1, np.nan]])
    assert found.labelled.tolist() == [0, 0, 1, 0]
    assert end_point_error(np.ones((1, 4, 2)), reference).labelled.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.zeros((2, 3, 2))}, "predicted and reference of one shape"),
        ({"of": np.ones(3)}, r"one size for each of \(2,\) people, got shape \(3,\)"),
        ({"of": np.ones((2, 3)), "size": "bbox"}, "4 entries on the last axis of bbox"),
        ({"of": np.ones((2, 3)), "size": "head"}, "4 entries on the last axis of bbox"),
        ({"of": "wide"}, "Expected of as numbers"),
        ({"size": "height"}, "size as one of bbox, head, length, got 'height'"),
        ({"visibility": np.ones((2, 3))}, r"visibility of shape \(2, 4\), got \(2, 3\)"),
        ({"without": ("a",)}, "4 different names of points"),
        ({"without": ("a", "e"), "names": list("abcd")}, "a, e among the points, found no e"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    options = {
        "predicted": np.zeros((2, 4, 2)),
        "reference": np.zeros((2, 4, 2)),
        "of": np.ones(2),
        "size": "length",
        "threshold": 0.5,
    }
    with pytest.raises(MetricError, match=message):
        pck(**(options | change))


def test_points_need_a_person_and_names_need_points():
    with pytest.raises(MetricError, match=r"reference as \(…, K, D\), got shape \(2,\)"):
        end_point_error([0, 0], [0, 0])
    with pytest.raises(MetricError, match=r"points as \(…, K, D\), got shape \(2,\)"):
        torso_length([0, 0], ["left_shoulder", "right_hip"])
    with pytest.raises(MetricError, match="2 different names of points"):
        torso_length([[0, 0], [1, 1]], ["left_shoulder"])
    with pytest.raises(MetricError, match="left_shoulder and right_hip among the points, found no right_hip"):
        torso_length([[0, 0], [1, 1]], ["left_shoulder", "left_hip"])


@pytest.mark.parametrize(
    ("name", "unit", "direction", "needs"),
    [
        ("PCK@0.05·bbox", "%", "higher", {"reference", "visibility", "bbox"}),
        ("PCKh@0.5·mpii", "%", "higher", {"reference", "visibility", "head"}),
        ("PCK@0.2·torso", "%", "higher", {"reference", "visibility", "torso"}),
        ("AUC·2D·30px", "1", "higher", {"reference", "visibility"}),
        ("EPE·2D", "px", "lower", {"reference", "visibility"}),
        ("NME·bbox", "%", "lower", {"reference", "visibility", "bbox"}),
    ],
)
def test_cards_say_unit_direction_and_needs(name, unit, direction, needs):
    found = card(name)
    assert (found.unit, found.direction, set(found.needs), found.merge) == (unit, direction, needs, "sums")
