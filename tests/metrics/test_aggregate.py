"""Up the tree: closed forms, and the two promises: silence never pays, and sharding changes no byte."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.aggregate import (
    ExactSum,
    Line,
    TrialKey,
    charge,
    exact_mean,
    mean_pose,
    summarise,
    tree_mean,
)
from metrics.arrays import MetricError
from metrics.catalogue import card

NAN = math.nan
KEY = TrialKey("s1", "walk", "1")


# --- exact sums ---------------------------------------------------------------------------------


@pytest.mark.truth("fractions")
@pytest.mark.parametrize("seed", range(6))
def test_exact_sum_is_the_rational_sum_in_any_sharding(seed) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=400) * 2.0 ** random.integers(-1074, 900, 400)
    expected = float(sum(map(Fraction, values.tolist()), Fraction(0)))
    shards = np.array_split(random.permutation(values), random.integers(1, 9))
    total = ExactSum()
    for shard in shards:
        total = total + ExactSum(shard)
    assert total.value == expected == ExactSum(values).value
    assert total.count == 400
    assert total.mean == float(sum(map(Fraction, values.tolist()), Fraction(0)) / 400)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([], 0.0),
        ([5e-324, 5e-324], 1e-323),
        ([5e-324, -5e-324], 0.0),
        ([1.7e308, -1.7e308, 1.0], 1.0),
        ([1e16, 1.0, -1e16], 1.0),
        ([-0.5, -0.25], -0.75),
        ([[1.0, 2.0], [3.0, 4.0]], 10.0),
        ([2.0**53, 1.0, 1.0], 2.0**53 + 2),
    ],
)
def test_exact_sum_closed_forms(values, total) -> None:
    assert ExactSum(values).value == total
    assert ExactSum(values).count == np.size(values)


def test_exact_sum_holds_many_equal_values_without_overflow() -> None:
    largest = np.full(5000, np.nextafter(1.0, 0.0))  # every bit of the mantissa set
    assert ExactSum(largest).value == float(Fraction(largest[0]) * 5000)
    assert ExactSum(-largest).value == -float(Fraction(largest[0]) * 5000)


def test_exact_sum_of_nothing_has_no_mean() -> None:
    assert math.isnan(ExactSum().mean)
    assert ExactSum([3.0]).mean == 3.0


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_exact_sum_refuses_what_is_not_finite(bad) -> None:
    with pytest.raises(MetricError, match="finite values"):
        ExactSum([1.0, bad])


# --- means --------------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
def test_tree_mean_weighs_trials_activities_and_subjects_in_turn() -> None:
    values = {
        TrialKey("a", "walk", "1"): 1.0,
        TrialKey("a", "walk", "2"): 3.0,  # a, walk: 2
        TrialKey("a", "squat", "1"): 6.0,  # a: (2 + 6) / 2 = 4
        TrialKey("b", "squat", "1"): 10.0,  # b: 10
    }
    assert tree_mean(values) == 7.0
    assert tree_mean(dict(reversed(values.items()))) == 7.0


def test_tree_mean_leaves_out_what_is_nan_and_is_nan_of_nothing() -> None:
    one, two = TrialKey("a", "walk", "1"), TrialKey("b", "walk", "1")
    assert tree_mean({one: NAN, two: 4.0}) == 4.0
    assert math.isnan(tree_mean({one: NAN}))
    assert math.isnan(tree_mean({}))


@pytest.mark.truth("closed form")
def test_exact_mean_is_the_rounded_rational_mean_in_any_order() -> None:
    values = [1e16, 1.0, -1e16, 3.0]
    assert {exact_mean(order) for order in itertools.permutations(values)} == {1.0}
    assert exact_mean([NAN, 2.0, 4.0]) == 3.0


# --- charging one trial -------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("error", "null", "cap", "kind", "charged", "uncapped", "null_charged", "cap_used", "answered"),
    [
        # all answered, nothing capped
        ([3, -4], [6, 6], 1, "rms", math.sqrt(12.5), math.sqrt(12.5), 6, 6, 1),
        ([3, -4], [6, 6], 1, "mean", 3.5, 3.5, 6, 6, 1),
        # the declared cap is the greater
        ([3, 30], [6, 6], 20, "mean", 11.5, 16.5, 6, 20, 1),
        ([3, 30], [6, 6], 20, "rms", math.sqrt((9 + 400) / 2), math.sqrt(909 / 2), 6, 20, 1),
        # exactly at the cap
        ([20, 20], [6, 6], 20, "rms", 20, 20, 6, 20, 1),
        # half missing: the other half at the cap
        ([3, NAN], [8, 6], 5, "mean", 5, 3, 6.5, 7, 0.5),
        ([3, NAN], [6, 6], 5, "rms", math.sqrt((9 + 36) / 2), 3, 6, 6, 0.5),
        # nothing answered
        ([NAN, NAN], [6, 6], 5, "rms", 6, NAN, 6, 6, 0),
        ([NAN, NAN], [1, 1], 5, "mean", 5, NAN, 1, 5, 0),
        # the reference lacks a sample: nobody's
        ([3, 99], [6, NAN], 5, "mean", 3, 3, 6, 6, 1),
        ([NAN, 99], [6, NAN], 5, "mean", 6, NAN, 6, 6, 0),
        # an answer of infinity is capped, and told
        ([3, math.inf], [6, 6], 5, "mean", 4.5, math.inf, 6, 6, 1),
        # the reference lacks all
        ([3, 4], [NAN, NAN], 5, "rms", NAN, NAN, NAN, NAN, NAN),
    ],
)
def test_charge(error, null, cap, kind, charged, uncapped, null_charged, cap_used, answered) -> None:
    found = charge(np.c_[error], np.c_[null], key=KEY, declared_cap=cap, kind=kind)
    assert found.key == KEY
    for got, wanted in (
        (found.charged_c, charged),
        (found.uncapped_c, uncapped),
        (found.null_c, null_charged),
        (found.cap_c, cap_used),
        (found.answered_c, answered),
    ):
        np.testing.assert_allclose(got, [wanted], rtol=1e-15)


def test_charge_defaults_to_rms() -> None:
    found = charge([[3.0], [4.0]], [[9.0], [9.0]], key=KEY, declared_cap=1)
    assert found.charged_c == pytest.approx([math.sqrt(12.5)], rel=1e-15)


def test_each_coordinate_has_its_cap_and_missing_costs_it_to_the_last_bit() -> None:
    null = np.full((7, 3), 0.1)
    error = np.full((7, 3), NAN)
    error[:, 2] = 0.01
    found = charge(error, null, key=KEY, declared_cap=[0.3, 0.7, 0.9])
    assert found.charged_c[:2].tolist() == [0.3, 0.7] == found.cap_c[:2].tolist()
    assert found.answered_c.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("error", "null", "options", "problem"),
    [
        ([[1.0]], [[1.0, 2.0]], {}, "one shape"),
        ([1.0], [1.0], {}, "2 axes"),
        ([[1.0]], [[1.0]], {"kind": "median"}, "kind 'rms' or 'mean'"),
        ([[1.0]], [[1.0]], {"declared_cap": 0.0}, "above zero"),
        ([[1.0]], [[1.0]], {"declared_cap": math.inf}, "above zero"),
        ([[1.0, 1.0]], [[1.0, math.inf]], {}, "finite errors"),
    ],
)
def test_charge_refuses(error, null, options, problem) -> None:
    with pytest.raises(MetricError, match=problem):
        charge(error, null, **{"key": KEY, "declared_cap": 1.0, **options})


# --- the null model -----------------------------------------------------------------------------


@pytest.mark.truth("closed form")
def test_mean_pose_goes_up_the_tree_and_round_the_circle() -> None:
    keys = [TrialKey("a", "walk", "1"), TrialKey("a", "walk", "2"), TrialKey("b", "walk", "1")]
    degrees = np.array([[170.0, 0.0], [170.0, 2.0], [-170.0, 5.0]])
    pose = np.c_[np.radians(degrees[:, 0]), degrees[:, 1]]
    mean = mean_pose(pose, keys, period_c=[2 * np.pi, np.inf])
    assert abs(math.degrees(mean[0])) == pytest.approx(180.0, abs=1e-9)
    assert mean[1] == 3.0
    assert mean.shape == (2,)
    leaning = mean_pose(np.radians([[10.0], [30.0]]), [keys[0], keys[2]], period_c=[2 * np.pi])
    assert math.degrees(leaning[0]) == pytest.approx(20.0, rel=1e-12)
    quarter = mean_pose([[0.9], [0.1]], [keys[0], keys[2]], period_c=[1.0])
    assert quarter[0] == pytest.approx(0.0, abs=1e-15)
    assert mean_pose([[0.2], [0.4]], [keys[0], keys[2]], period_c=[1.0])[0] == pytest.approx(0.3, rel=1e-12)


def test_mean_pose_skips_what_a_trial_lacks() -> None:
    keys = [TrialKey("a", "walk", "1"), TrialKey("b", "walk", "1")]
    assert mean_pose([[1.0, NAN], [3.0, 5.0]], keys).tolist() == [2.0, 5.0]


def test_mean_pose_refuses() -> None:
    with pytest.raises(MetricError, match="each of 1 trials, got 2"):
        mean_pose([[1.0]], [KEY, KEY])
    for period in ([1.0], [1.0, 0.0]):
        with pytest.raises(MetricError, match="each of 2 coordinates"):
            mean_pose([[1.0, 2.0]], [KEY], period_c=period)


# --- the cohort ---------------------------------------------------------------------------------


def cohort(seed: int, *, scale: float = 1.0) -> tuple[list[TrialKey], list[np.ndarray], list[np.ndarray]]:
    """Trials of three subjects, unevenly many; errors and the null model's on 6 samples of 2 coordinates."""
    random = np.random.default_rng(seed)
    keys = [
        TrialKey(subject, activity, str(k))
        for subject, activity, count in (
            ("a", "walk", 3),
            ("a", "squat", 1),
            ("b", "walk", 2),
            ("c", "sit", 1),
        )
        for k in range(count)
    ]
    null = [random.normal(size=(6, 2)) * 10 for _ in keys]
    error = [random.normal(size=(6, 2)) * scale * random.choice([1, 30]) for _ in keys]
    return keys, error, null


def summary(keys, error, null, *, shards=None, cap=15.0, kind="rms"):
    scored = [
        charge(e, n, key=k, declared_cap=cap, kind=kind) for k, e, n in zip(keys, error, null, strict=True)
    ]
    parts = [scored] if shards is None else [[scored[i] for i in shard] for shard in shards]
    return summarise(parts, roster=keys, coordinates=["knee", "hip"])


@pytest.mark.truth("closed form")
def test_summary_by_hand() -> None:
    """Two subjects; numbers small enough to do in the head."""
    walk1, walk2 = TrialKey("a", "walk", "1"), TrialKey("a", "walk", "2")
    squat, other = TrialKey("a", "squat", "1"), TrialKey("b", "walk", "1")
    rows = {  # errors of (knee, hip); the null model errs by 8 everywhere, the cap is 10
        walk1: [2.0, 4.0],  # mean 3
        walk2: [NAN, 1.0],  # charged 10 and 1: 5.5, uncapped 1
        squat: [30.0, 2.0],  # capped 10 and 2: 6, uncapped 16
        other: [NAN, NAN],  # charged 10
    }
    scored = [charge([row], [[8.0, 8.0]], key=key, declared_cap=10.0) for key, row in rows.items()]
    found = summarise([scored], roster=rows, coordinates=["knee", "hip"], worst=2)
    # a: walk (3 + 5.5) / 2 = 4.25, squat 6 -> 5.125; b: 10
    assert found.cohort.score == (5.125 + 10) / 2
    # a: walk (3 + 1) / 2 = 2, squat 16 -> 9; b: nothing
    assert found.cohort.uncapped == 9.0
    assert found.cohort.null == 8.0
    assert found.cohort.skill == 1 - found.cohort.score / 8
    # a: walk (1 + 0.5) / 2, squat 1 -> 0.875; b: 0
    assert found.cohort.coverage == 43.75
    # knee: a: walk (2 + 10) / 2, squat 10 -> 8; b: 10. hip: a: walk (4 + 1) / 2, squat 2 -> 2.25; b: 10
    assert found.by_coordinate["knee"].score == 9.0
    assert found.by_coordinate["hip"].score == 6.125
    assert found.by_coordinate["hip"].uncapped == 2.25
    assert found.by_coordinate["knee"].coverage == pytest.approx(100 * ((0.5 + 1) / 2) / 2)
    assert found.by_activity["walk"].score == (4.25 + 10) / 2
    assert list(found.by_activity) == ["squat", "walk"]
    assert found.by_activity["squat"] == Line(6.0, 16.0, 8.0, 0.25, 100.0)
    assert {s: line.score for s, line in found.by_subject.items()} == {"a": 5.125, "b": 10.0}
    assert math.isnan(found.by_subject["b"].uncapped)
    assert (found.trials, found.answered) == (4, 3)
    assert [(w.key, w.charged) for w in found.worst] == [(other, 10.0), (squat, 6.0)]
    assert found.worst[1].uncapped == 16.0
    assert math.isnan(found.worst[0].uncapped)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize("kind", ["rms", "mean"])
@pytest.mark.parametrize("seed", range(4))
def test_the_null_model_has_no_skill_and_the_truth_has_all(seed, kind) -> None:
    keys, error, null = cohort(seed)
    assert summary(keys, null, null, kind=kind).cohort.skill == 0.0
    assert summary(keys, [0 * e for e in error], null, kind=kind).cohort.skill == 1.0


def test_skill_is_undefined_where_the_null_model_is_perfect() -> None:
    still = charge([[1.0]], [[0.0]], key=KEY, declared_cap=5.0)
    assert math.isnan(summarise([[still]], roster=[KEY], coordinates=["knee"]).cohort.skill)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 5.0, 100.0]),
    kind=st.sampled_from(["rms", "mean"]),
    data=st.data(),
)
def test_leaving_out_can_never_help(seed, scale, kind, data) -> None:
    """Trials, coordinates or samples: in every line, also for a model far worse than the null model."""
    keys, error, null = cohort(seed, scale=scale)
    full = summary(keys, error, null, kind=kind)
    less = [e.copy() for e in error]
    for k in data.draw(st.sets(st.integers(0, len(keys) - 1), min_size=1)):
        what = data.draw(st.sampled_from(["trial", "coordinate", "sample"]))
        if what == "trial":
            less[k][:] = NAN
        elif what == "coordinate":
            less[k][:, data.draw(st.integers(0, 1))] = NAN
        else:
            less[k][data.draw(st.integers(0, 5)), data.draw(st.integers(0, 1))] = NAN
    fewer = summary(keys, less, null, kind=kind)
    assert fewer.cohort.score >= full.cohort.score
    assert fewer.cohort.skill <= full.cohort.skill
    assert fewer.cohort.coverage < full.cohort.coverage
    for field in ("by_coordinate", "by_activity", "by_subject"):
        for name, line in getattr(full, field).items():
            assert getattr(fewer, field)[name].score >= line.score
            assert getattr(fewer, field)[name].null == line.null


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(8))
def test_any_order_and_any_sharding_give_the_same_bytes(seed) -> None:
    keys, error, null = cohort(seed)
    random = np.random.default_rng(seed)
    once = json.dumps(summary(keys, error, null), default=vars)
    for _ in range(5):
        order = random.permutation(len(keys))
        shards = np.array_split(order, random.integers(1, len(keys) + 1))
        random.shuffle(shards)
        assert json.dumps(summary(keys, error, null, shards=shards), default=vars) == once


def test_a_coordinate_that_a_reference_lacks_counts_for_nobody() -> None:
    keys = [TrialKey("a", "walk", "1"), TrialKey("b", "walk", "1")]
    scored = [
        charge([[2.0, 5.0]], [[4.0, NAN]], key=keys[0], declared_cap=10.0),
        charge([[4.0, 8.0]], [[4.0, 9.0]], key=keys[1], declared_cap=10.0),
    ]
    found = summarise([scored], roster=keys, coordinates=["knee", "toe"])
    assert found.cohort.score == (2 + 6) / 2
    assert found.by_coordinate["toe"].score == 8.0
    assert found.cohort.coverage == 100.0


def test_a_trial_with_nothing_to_score_is_not_among_the_worst() -> None:
    keys = [TrialKey("a", "walk", "1"), TrialKey("b", "walk", "1")]
    scored = [
        charge([[2.0]], [[NAN]], key=keys[0], declared_cap=10.0),
        charge([[0.0]], [[4.0]], key=keys[1], declared_cap=10.0),
    ]
    found = summarise([scored], roster=keys, coordinates=["knee"])
    assert [w.key for w in found.worst] == [keys[1]]
    assert found.cohort.score == 0.0


def test_five_worst_by_default_ties_by_name() -> None:
    keys = [TrialKey("s", "walk", name) for name in "fbdaec"]
    scored = [charge([[3.0]], [[4.0]], key=key, declared_cap=10.0) for key in keys]
    found = summarise([scored], roster=keys, coordinates=["knee"])
    assert [w.key.trial for w in found.worst] == list("abcde")


def test_summarise_refuses_what_is_not_the_roster() -> None:
    one = charge([[1.0]], [[1.0]], key=KEY, declared_cap=1.0)
    other = KEY._replace(trial="2")
    with pytest.raises(MetricError, match="each trial once, got s1 walk 1 again"):
        summarise([[one], [one]], roster=[KEY], coordinates=["knee"])
    with pytest.raises(MetricError, match="trials of the roster, got s1 walk 1"):
        summarise([[one]], roster=[other], coordinates=["knee"])
    with pytest.raises(MetricError, match="all 2 trials of the roster, 1 are missing: s1 walk 2"):
        summarise([[one]], roster=[KEY, other], coordinates=["knee"])
    with pytest.raises(MetricError, match="at least one trial"):
        summarise([], roster=[], coordinates=["knee"])
    with pytest.raises(MetricError, match="2 coordinates in trial s1 walk 1, got 1"):
        summarise([[one]], roster=[KEY], coordinates=["knee", "hip"])
    with pytest.raises(MetricError, match="different names"):
        summarise([[one]], roster=[KEY], coordinates=["knee", "knee"])


def test_missing_trials_are_named_five_at_most() -> None:
    roster = [KEY._replace(trial=str(k)) for k in range(7)]
    with pytest.raises(MetricError, match=r"7 are missing: s1 walk 0, .* s1 walk 4\. A trial"):
        summarise([], roster=roster, coordinates=["knee"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("ranked error", 1.0), ("uncapped error", 1.0), ("skill", 0.75), ("coverage·samples", 100.0)],
)
def test_cards_pick_their_number(name, value) -> None:
    one = charge([[1.0], [-1.0]], [[4.0], [4.0]], key=KEY, declared_cap=20.0)
    assert card(name)([[one]], roster=[KEY], coordinates=["knee"]) == value
