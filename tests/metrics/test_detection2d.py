"""The benchmarks' choices on top of COCO's evaluation: parts of the body, CrowdPose's areas, our sigmas."""

import math

import numpy as np
import pytest
from coco_scenes import coco_stats, scene, to_people

from cohorts.skeleton import skeleton
from metrics.arrays import MetricError
from metrics.catalogue import card, cards
from metrics.detection2d import (
    CROWD_LEVELS,
    PALPATION,
    PERSON_SCALE,
    WHOLEBODY_PARTS,
    capbench_sigmas,
    coco,
    crowdpose,
    synthpose,
    wholebody,
    without_segments,
)
from metrics.oks import evaluate, people2d

WHOLE = skeleton("coco-wholebody-133")
CROWD = skeleton("crowdpose-14")
SYNTH = skeleton("synthpose-52")
FIELDS = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
NUMBERS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def ten(result) -> list[float]:
    return [getattr(result, field) for field in FIELDS]


def figure_of(points: int):
    return np.random.default_rng(points).uniform(0, 1, (points, 2))


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", [0, 1])
def test_every_number_of_coco_has_its_card(seed):
    sigmas = skeleton("coco-17").sigmas
    made = scene(seed)
    expected = coco_stats(made.ground_truth, made.results, sigmas)
    found = [card(f"OKS-{n}·coco")(made.reference, made.detections, sigmas=sigmas) for n in NUMBERS]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert ten(coco(made.reference, made.detections, sigmas=sigmas)) == found


# --- COCO-WholeBody ---


def of_part(rows, part, areas):
    """COCO's annotations or results with the points of ``part`` only; results without any are left out."""
    kept, kept_areas = [], []
    for row, area in zip(rows, areas, strict=True):
        flat = np.array(row["keypoints"]).reshape(-1, 3)[part]
        seen = int((flat[:, 2] > 0).sum())
        if "score" in row and not seen:
            continue
        kept.append(row | {"keypoints": flat.ravel().tolist(), "num_keypoints": seen})
        kept_areas.append(area)
    return kept, kept_areas


def wholebody_scene(seed: int):
    """Whole parts are unlabelled, and whole parts are not predicted, here and there."""
    made = scene(seed, figure=figure_of(133), pictures=8, spread=0.01)
    rng = np.random.default_rng(seed)
    for row in (*made.ground_truth["annotations"], *made.results):
        flat = np.array(row["keypoints"]).reshape(-1, 3)
        for part in list(WHOLEBODY_PARTS.values())[:-1]:
            if rng.random() < 0.3:
                flat[part, 2] = 0
        row["keypoints"] = flat.ravel().tolist()
    return made


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("region", list(WHOLEBODY_PARTS))
@pytest.mark.parametrize("seed", range(3))
def test_each_part_is_coco_on_its_points_and_sigmas(region, seed):
    made = wholebody_scene(seed)
    reference = to_people(made.ground_truth["annotations"], 133)
    detections = to_people(made.results, 133)
    sigmas = np.array(WHOLE.sigmas)
    part = WHOLEBODY_PARTS[region]
    rows, _ = of_part(made.ground_truth["annotations"], part, reference.area)
    results, areas = of_part(made.results, part, detections.area)
    expected = coco_stats(made.ground_truth | {"annotations": rows}, results, sigmas[part], areas)
    found = wholebody(reference, detections, sigmas=sigmas, region=region)
    np.testing.assert_allclose(ten(found), expected, rtol=0, atol=1e-12)
    assert found.ap > 0
    assert len(results) < len(made.results) or region == "wholebody"
    assert card(f"OKS-AP·wholebody·{region}")(reference, detections, sigmas=sigmas) == found.ap
    assert card(f"OKS-AR·wholebody·{region}")(reference, detections, sigmas=sigmas) == found.ar


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("region", ["foot", "wholebody"])
def test_a_part_may_have_scores_of_its_own(region):
    made = wholebody_scene(5)
    reference, detections = to_people(made.ground_truth["annotations"], 133), to_people(made.results, 133)
    sigmas = WHOLE.sigmas
    scores = np.random.default_rng(0).uniform(0, 1, len(detections))
    rescored = to_people([row | {"score": s} for row, s in zip(made.results, scores, strict=True)], 133)
    own = wholebody(reference, detections, sigmas=sigmas, region=region, scores=scores)
    assert ten(own) == ten(wholebody(reference, rescored, sigmas=sigmas, region=region))
    assert own.ap != wholebody(reference, detections, sigmas=sigmas, region=region).ap


def test_parts_follow_the_point_names():
    """The parts' bounds, from the names of the points."""
    first = {"body": "nose", "foot": "left_big_toe", "face": "face-0"}
    first |= {"lefthand": "left_hand_root", "righthand": "right_hand_root", "wholebody": "nose"}
    last = {"body": "right_ankle", "foot": "right_heel", "face": "face-67"}
    last |= {"lefthand": "left_pinky_finger4", "righthand": "right_pinky_finger4"}
    last |= {"wholebody": "right_pinky_finger4"}
    for region, part in WHOLEBODY_PARTS.items():
        names = WHOLE.points[part]
        assert (names[0], names[-1]) == (first[region], last[region])
    assert [part.stop - part.start for part in WHOLEBODY_PARTS.values()] == [17, 6, 68, 21, 21, 133]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": "arms"}, r"region as one of body, foot, .*, got 'arms'"),
        ({"sigmas": np.ones(17)}, r"sigmas of shape \(133,\), got \(17,\)"),
        ({"reference": people2d([1], np.zeros((1, 17, 2)))}, "reference with 133 points, got 17"),
        ({"detections": people2d([1], np.zeros((1, 17, 2)))}, "detections with 133 points, got 17"),
        ({"scores": [1, 2]}, r"scores of shape \(1,\), got \(2,\)"),
    ],
)
def test_wholebody_says_what_does_not_fit(change, message):
    people = people2d([1], np.zeros((1, 133, 2)), scores=[1])
    options = {"reference": people, "detections": people, "sigmas": np.ones(133), "region": "foot"}
    with pytest.raises(MetricError, match=message):
        wholebody(**(options | change))


# --- CrowdPose ---


def crowd_scene(seed: int):
    """Some detections have no point; the areas of CrowdPose's annotations are 0.53 of the boxes'."""
    made = scene(seed, figure=figure_of(14), pictures=15)
    for row in made.results[::7]:
        flat = np.array(row["keypoints"]).reshape(-1, 3)
        flat[:, 2] = 0
        row["keypoints"] = flat.ravel().tolist()
    index = dict(zip(range(1, 16), np.linspace(0, 1, 15), strict=True))
    return made, {picture: float(value) for picture, value in index.items()}


def expected_of_crowd(made, keep):
    rows = [
        row | {"area": 0.53 * row["bbox"][2] * row["bbox"][3]}
        for row in made.ground_truth["annotations"]
        if row["image_id"] in keep
    ]
    results = [row for row in made.results if row["image_id"] in keep and any(row["keypoints"][2::3])]
    truth = made.ground_truth | {"annotations": rows, "images": [{"id": k} for k in sorted(keep)]}
    return coco_stats(truth, results, CROWD.sigmas)


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", range(3))
def test_crowdpose_takes_its_area_from_the_box(seed):
    made, _ = crowd_scene(seed)
    reference, detections = to_people(made.ground_truth["annotations"], 14), to_people(made.results, 14)
    expected = expected_of_crowd(made, set(range(1, 16)))
    found = crowdpose(reference, detections, sigmas=CROWD.sigmas, level="all")
    np.testing.assert_allclose(ten(found), expected, rtol=0, atol=1e-12)
    for number, field in (("AP", 0), ("AP50", 1), ("AP75", 2), ("AR", 5), ("AR50", 6), ("AR75", 7)):
        value = card(f"OKS-{number}·crowdpose")(reference, detections, sigmas=CROWD.sigmas)
        assert value == pytest.approx(expected[field], abs=1e-12)


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("level", "inside"),
    [
        ("easy<0.1", lambda c: c < 0.1),
        ("medium0.1-0.8", lambda c: 0.1 <= c < 0.8),
        ("easy<0.2", lambda c: c < 0.2),
        ("medium0.2-0.8", lambda c: 0.2 <= c < 0.8),
        ("hard≥0.8", lambda c: c >= 0.8),
    ],
)
def test_levels_of_crowding_are_evaluations_of_their_pictures(level, inside, seed):
    made, index = crowd_scene(seed)
    index |= {3: 0.1, 4: 0.2, 5: 0.8}  # on the bounds
    reference, detections = to_people(made.ground_truth["annotations"], 14), to_people(made.results, 14)
    expected = expected_of_crowd(made, {picture for picture, c in index.items() if inside(c)})
    found = card(f"OKS-AP·crowdpose·{level}")(reference, detections, sigmas=CROWD.sigmas, crowd_index=index)
    np.testing.assert_allclose(found, expected[0], rtol=0, atol=1e-12)


@pytest.mark.truth("closed form")
def test_levels_of_either_definition_cover_all_pictures_once():
    crowding = np.array([-0.0, 0.05, 0.1, 0.15, 0.2, 0.5, 0.8, 1.0])
    for names in (
        ("easy<0.1", "medium0.1-0.8", "hard≥0.8"),
        ("easy<0.2", "medium0.2-0.8", "hard≥0.8"),
        ("all",),
    ):
        inside = [(CROWD_LEVELS[n][0] <= crowding) & (crowding < CROWD_LEVELS[n][1]) for n in names]
        assert np.sum(inside, axis=0).tolist() == [1] * 8
    assert set(CROWD_LEVELS) == {
        *("all", "easy<0.1", "medium0.1-0.8", "easy<0.2", "medium0.2-0.8", "hard≥0.8")
    }


def test_area_without_segments():
    people = without_segments(people2d([1], [[[0, 0]]], bbox=[[7, 7, 10, 30]], area=[5]))
    assert people.area.tolist() == [159.0]


def test_crowdpose_says_what_does_not_fit():
    people = people2d([1, 4], np.zeros((2, 14, 2)), scores=[1, 1])
    with pytest.raises(MetricError, match=r"level as one of all, easy<0.1, .*, got 'easy'"):
        crowdpose(people, people, sigmas=CROWD.sigmas, level="easy")
    with pytest.raises(MetricError, match="a crowd index for every picture, found none for 4"):
        crowdpose(people, people, sigmas=CROWD.sigmas, level="hard≥0.8", crowd_index={1: 0.9})
    with pytest.raises(MetricError, match="a crowd index for every picture, found none for 1"):
        crowdpose(people, people, sigmas=CROWD.sigmas, level="hard≥0.8")


# --- capbench σ v1 ---


def test_our_sigmas_are_of_exactly_the_anatomical_points():
    assert set(PALPATION) == set(SYNTH.points[17:])
    assert len(PALPATION) == 35
    assert not set(PALPATION) & set(skeleton("coco-17").points)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("name", SYNTH.points)
def test_each_sigma_is_palpation_over_the_nominal_scale(name):
    """The SD of palpation in metres over √(0.53 · 1.7 m · 0.5 m); COCO's own for COCO's points."""
    published = dict(zip(SYNTH.points, SYNTH.sigmas, strict=True))
    found = dict(zip(SYNTH.points, capbench_sigmas(SYNTH.points, SYNTH.sigmas), strict=True))
    if name in skeleton("coco-17").points:
        expected = dict(zip(skeleton("coco-17").points, skeleton("coco-17").sigmas, strict=True))[name]
        assert found[name] == expected == published[name]
    else:
        expected = PALPATION[name] / 1000 / math.sqrt(0.53 * 1.7 * 0.5)
        assert found[name] == pytest.approx(expected, abs=0.0005)
        assert found[name] == round(found[name], 3)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(("level", "sigma", "count"), [(20.0, 0.03, 7), (15.0, 0.022, 11), (10.0, 0.015, 17)])
def test_levels_lie_in_the_published_range(level, sigma, count):
    names = [name for name, value in PALPATION.items() if value == level]
    assert len(names) == count
    assert 6.0 <= level <= 25.0
    assert capbench_sigmas(names, np.ones(count)).tolist() == [sigma] * count


def test_both_sides_have_the_same_sigma():
    for left, right in SYNTH.flip_pairs:
        assert PALPATION.get(left) == PALPATION.get(right)


def test_the_levels_of_some_landmarks():
    assert [PALPATION[n] for n in ("r_ASIS", "T6", "C7", "l_mknee", "r_calc", "sternum")] == [
        *(20, 20, 15, 15, 10, 10)
    ]
    assert pytest.approx(671.2, abs=0.05) == PERSON_SCALE


@pytest.mark.truth("pycocotools")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("anatomical", [False, True])
def test_our_score_is_cocos_evaluation_with_our_sigmas(seed, anatomical):
    made = scene(seed, figure=figure_of(52), pictures=8, spread=0.008)
    part = slice(17, 52) if anatomical else slice(0, 52)
    sigmas = capbench_sigmas(SYNTH.points, SYNTH.sigmas)
    rows, _ = of_part(made.ground_truth["annotations"], part, made.reference.area)
    results, areas = of_part(made.results, part, made.detections.area)
    expected = coco_stats(made.ground_truth | {"annotations": rows}, results, sigmas[part], areas)
    options = {"points": SYNTH.points, "sigmas": SYNTH.sigmas}
    found = synthpose(made.reference, made.detections, **options, anatomical=anatomical)
    np.testing.assert_allclose(ten(found), expected, rtol=0, atol=1e-12)
    ending = "·anatomical" if anatomical else ""
    for number, value in (("AP", found.ap), ("AP50", found.ap50), ("AP75", found.ap75), ("AR", found.ar)):
        name = f"OKS-{number}·capbench-σ-v1{ending}"
        assert card(name)(made.reference, made.detections, **options) == value
    assert found.ap != evaluate(made.reference, made.detections, sigmas=SYNTH.sigmas).ap


def test_our_sigmas_say_what_does_not_fit():
    with pytest.raises(MetricError, match="3 different names of points"):
        capbench_sigmas(["nose", "C7", "C7"], [0.1] * 3)
    with pytest.raises(MetricError, match=r"sigmas of shape \(2,\), got \(1,\)"):
        capbench_sigmas(["nose", "C7"], [0.1])
    people = people2d([1], [[[0, 0]]], scores=[1])
    with pytest.raises(MetricError, match="anatomical points of SynthPose among the points, found none"):
        synthpose(people, people, points=["nose"], sigmas=[0.1], anatomical=True)


def test_our_score_never_carries_cocos_name():
    ours = [name for name, found in cards().items() if found.function is synthpose]
    assert len(ours) == 8
    assert all("capbench-σ-v1" in name and "coco" not in name for name in ours)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("OKS-AP·coco", {"detections", "reference", "visibility", "area", "bbox", "sigmas", "scores"}),
        ("OKS-AP·crowdpose·hard≥0.8", {"detections", "reference", "visibility", "bbox", "sigmas", "scores"}),
    ],
)
def test_cards_say_what_they_need(name, needs):
    found = card(name)
    assert (set(found.needs), found.unit, found.direction, found.merge) == (needs, "1", "higher", "samples")
