"""Comparisons within people: numbers by hand, by scipy, and by metrics.inference; refusals; verdicts."""

import itertools
import math

import numpy as np
import pytest
from results import FAILED, made_result, made_trials, mean
from scipy import stats

from capbench.run.compare import FEW, MOST, compare, judge, least_people
from capbench.run.result import About, Failure, Result, TrialRow
from cohorts.errors import CapbenchError
from metrics.inference import compare_models, holm


def of_people(values, *, seed: int = 0, coordinate=None, **changes) -> Result:
    """A result whose people have these errors; the one coordinate may have others."""
    coordinate = list(values) if coordinate is None else coordinate
    rows = [
        TrialRow(
            key=f"p{k}/d/walk",
            subject=f"p{k}",
            activity="walk",
            charged=value,
            uncapped=value,
            coverage=100.0,
            coordinates={"knee_angle_r": c},
        )
        for k, (value, c) in enumerate(zip(values, coordinate, strict=True))
    ]
    return made_result(seed, rows=rows, curves=(), **changes)


A = [3.0, 4.0, 5.0, 4.0, 3.5, 6.0, 5.5]
B = [4.0, 5.5, 6.0, 4.5, 4.0, 6.5, 5.0]


@pytest.mark.truth("by hand")
def test_differences_are_of_people_and_means_of_them() -> None:
    found = compare([of_people(A), of_people(B, seed=1)])
    (pair,) = found.pairs
    assert pair.value_a == pytest.approx(31 / 7)
    assert pair.value_b == pytest.approx(35.5 / 7)
    assert pair.difference == pytest.approx(-4.5 / 7)
    assert (pair.a_better, pair.b_better, pair.people) == (6, 1, 7)
    assert found.people == ("p0", "p1", "p2", "p3", "p4", "p5", "p6")
    assert found.by_person == {"A": tuple(A), "B": tuple(B)}
    assert (pair.what, pair.name, pair.unit, found.unit) == ("all", "all", "°", "°")


@pytest.mark.truth("scipy.stats.permutation_test, all sign flips")
def test_p_is_that_of_scipy_s_permutation_test() -> None:
    (pair,) = compare([of_people(A), of_people(B, seed=1)]).pairs
    gaps = np.subtract(A, B)
    exact = stats.permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert pair.p == pytest.approx(exact.pvalue)
    assert pair.p == pair.p_holm  # one pair


@pytest.mark.truth("all 7^7 resamples would be; here scipy.stats.bootstrap")
def test_the_interval_is_a_percentile_bootstrap_over_people() -> None:
    (pair,) = compare([of_people(A), of_people(B, seed=1)]).pairs
    gaps = np.subtract(A, B)
    other = stats.bootstrap(
        (gaps,), np.mean, method="percentile", n_resamples=20_000, rng=5
    ).confidence_interval
    assert pair.low == pytest.approx(other.low, abs=0.03)
    assert pair.high == pytest.approx(other.high, abs=0.03)


def test_pairs_are_as_metrics_inference_has_them() -> None:
    results = [made_result(k, name=f"m{k}", subjects=8, effect=e) for k, e in enumerate((0.0, 0.3, 1.5))]
    found = compare(results)
    table = [[s.value for s in r.by_subject] for r in results]
    people = [s.name for s in results[0].by_subject]
    for ours, theirs in zip(found.pairs, compare_models(table, ["A", "B", "C"], people), strict=True):
        assert (ours.a, ours.b) == (theirs.a, theirs.b)
        for name in ("difference", "low", "high", "p", "p_holm"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-12), name


@pytest.mark.truth("loops over the trials")
def test_coordinates_and_activities_go_from_trials_over_activities_to_people() -> None:
    rows = [made_trials(k, 4.0, 6, ("gait", "squat"), 3, e)[1:] for k, e in ((0, 0.0), (1, 0.5))]
    found = compare([made_result(k, rows=r) for k, r in enumerate(rows)])
    (knee,) = [d for d in found.coordinates if d.name == "knee_angle_l"]
    (squat,) = [d for d in found.activities if d.name == "squat"]
    people = sorted({r.subject for r in rows[0]})
    knees, squats = [], []
    for person in people:
        own = [[r for r in some if r.subject == person] for some in rows]
        at = [
            mean(
                mean(r.coordinates["knee_angle_l"] for r in some if r.activity == a)
                for a in ("gait", "squat")
            )
            for some in own
        ]
        knees.append(at[0] - at[1])
        charged = [mean(r.charged for r in some if r.activity == "squat") for some in own]
        squats.append(charged[0] - charged[1])
    assert knee.difference == pytest.approx(mean(knees))
    assert squat.difference == pytest.approx(mean(squats))
    assert knee.unit == "°"
    assert {d.unit for d in found.coordinates if d.name.startswith("pelvis_t") and d.name[-2] == "t"} == {
        "mm"
    }


def test_holm_is_over_everything_in_a_table() -> None:
    results = [made_result(k, subjects=9, effect=0.02 * k) for k in range(3)]
    found = compare(results)
    for table, size in ((found.pairs, 3), (found.coordinates, 3 * 21), (found.activities, 3 * 4)):
        assert len(table) == size
        assert [d.p_holm for d in table] == holm([d.p for d in table]).tolist()
    assert min(d.p_holm for d in found.coordinates) > min(d.p for d in found.coordinates)


def test_a_coordinate_is_judged_by_its_own_numbers() -> None:
    wide = [v + 2.0 + 0.1 * k for k, v in enumerate(A)]
    found = compare([of_people(A, coordinate=A), of_people(A, seed=1, coordinate=wide)])
    assert found.pairs[0].difference == 0.0
    assert found.coordinates[0].difference == pytest.approx(-2.3)


@pytest.mark.truth("by hand: 2 of 2^n flips are as far")
@pytest.mark.parametrize(("n", "p"), [(5, 2 / 32), (6, 2 / 64), (9, 2 / 512)])
def test_the_smallest_p(n, p) -> None:
    (pair,) = compare([of_people([1.0 + k / 10 for k in range(n)]), of_people([5.0] * n, seed=1)]).pairs
    assert pair.p == pytest.approx(p)
    assert (pair.verdict == "shown") == (n >= 6)


@pytest.mark.truth("brute force over n")
@pytest.mark.parametrize("tests", [1, 3, 21, 66, 1386])
def test_the_fewest_people(tests) -> None:
    expected = next(n for n in itertools.count(FEW) if tests * 2 / 2**n < 0.05)
    assert least_people(tests) == expected


def test_nothing_is_concluded_from_fewer_than_five() -> None:
    for n in (1, 2, 4):
        found = compare([of_people([1.0] * n), of_people([50.0] * n, seed=1)])
        assert {d.verdict for d in (*found.pairs, *found.coordinates)} == {"too few people"}
    assert math.isnan(compare([of_people([1.0]), of_people([5.0], seed=1)]).pairs[0].low)


@pytest.mark.parametrize(
    ("difference", "p", "people", "floor", "verdict"),
    [
        (-1.0, 0.049, 5, 0.9, "shown"),
        (-1.0, 0.05, 5, 0.9, "none shown"),
        (0.9, 0.01, 5, 0.9, "shown"),
        (0.89, 0.01, 5, 0.9, "below the noise floor"),
        (-0.1, 0.01, 5, None, "shown"),
        (-9.0, 0.0, 4, 0.0, "too few people"),
        (9.0, math.nan, 9, 0.0, "none shown"),
    ],
)
def test_judging(difference, p, people, floor, verdict) -> None:
    assert judge(difference, p, people, floor) == verdict


def test_a_difference_below_the_noise_floor_is_said_to_mean_nothing() -> None:
    small = [v + 0.2 + 0.01 * k for k, v in enumerate(A)]
    (pair,) = compare([of_people(A), of_people(small, seed=1)]).pairs
    assert pair.p_holm < 0.05
    assert pair.noise_floor == pytest.approx(0.9)
    assert pair.verdict == "below the noise floor"


def test_the_larger_noise_floor_counts() -> None:
    other = of_people(B, seed=1)
    wider = other.overall.model_copy(update={"noise_floor": 1.4})
    (pair,) = compare([of_people(A), other.model_copy(update={"overall": wider})]).pairs
    assert pair.noise_floor == 1.4


def test_swapping_the_results_swaps_the_signs() -> None:
    a, b = made_result(0, subjects=7), made_result(1, subjects=7, effect=0.4)
    one, other = compare([a, b]), compare([b, a])
    for x, y in zip(one.coordinates + one.pairs, other.coordinates + other.pairs, strict=True):
        assert x.difference == pytest.approx(-y.difference)
        assert (x.low, x.high) == (pytest.approx(-y.high), pytest.approx(-y.low))
        assert (x.p, x.p_holm, x.verdict) == (y.p, y.p_holm, y.verdict)
        assert (x.a_better, x.b_better) == (y.b_better, y.a_better)


def test_the_order_of_trials_and_people_changes_no_bit() -> None:
    a, b = made_result(0), made_result(1, effect=0.2)
    turned = a.model_copy(update={"per_trial": a.per_trial[::-1], "by_subject": a.by_subject[::-1]})
    assert compare([a, b]) == compare([turned, b])


def test_the_same_twice_is_no_difference() -> None:
    found = compare([made_result(), made_result()], names=["x", "y"])
    (pair,) = found.pairs
    assert (pair.difference, pair.p, pair.verdict) == (0.0, 1.0, "none shown")
    assert "A and B are the same model with the same predictions." in found.warnings
    assert [e.label for e in found.entrants] == ["acme:pose-large 1.2 (x)", "acme:pose-large 1.2 (y)"]


def test_ranks() -> None:
    found = compare(
        [made_result(k, name=f"m{k}", subjects=8, effect=e) for k, e in enumerate((1.0, 0.0, 3.0))]
    )
    assert [e.rank for e in found.entrants] == [2.0, 1.0, 3.0]
    assert [e.first for e in found.entrants] == [0.0, 1.0, 0.0]
    assert [e.label for e in found.entrants] == ["m0 1.2", "m1 1.2", "m2 1.2"]


def test_a_coordinate_that_the_reference_lacks_for_a_person_is_left_out_for_that_person() -> None:
    def without(result: Result) -> Result:
        rows = [
            r.model_copy(update={"coordinates": {**r.coordinates, "knee_angle_r": None}})
            if r.subject == "p01"
            else r
            for r in result.per_trial
        ]
        return result.model_copy(update={"per_trial": tuple(rows)})

    found = compare([without(made_result(k, subjects=7)) for k in range(2)])
    by_name = {d.name: d for d in found.coordinates}
    assert by_name["knee_angle_r"].people == 6
    assert by_name["knee_angle_l"].people == 7


# --- what is refused ----------------------------------------------------------------------------


def changed(**changes) -> Result:
    return made_result(1).model_copy(update=changes)


def rows_changed(change) -> Result:
    result = made_result(1)
    return result.model_copy(update={"per_trial": tuple(change(list(result.per_trial)))})


def dropped_number(rows):
    rows[3] = rows[3].model_copy(update={"coordinates": {**rows[3].coordinates, "knee_angle_r": None}})
    return rows


def no_charge(rows):
    rows[3] = rows[3].model_copy(update={"charged": None})
    return rows


def moved(rows):
    rows[3] = rows[3].model_copy(update={"activity": "dance"})
    return rows


def huge(rows):
    rows[3] = rows[3].model_copy(update={"charged": 1e308})
    return rows


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            lambda: changed(cohort=About(name="clinic", version="1")),
            "one cohort, got 'clinic-mini 1' in a and 'clinic 1'",
        ),
        (lambda: changed(cohort=About(name="clinic-mini", version="2")), "one cohort"),
        (
            lambda: changed(cohort=About(name="clinic-mini", version="1", sha256="00" * 32)),
            "differ: SHA-256 cdcdcdcdcdcd",
        ),
        (lambda: changed(protocol=About(name="opencap", version="1")), "one protocol"),
        (lambda: made_result(1, subjects=5), "the same trials as in a, got a result without p06/day1/gait1"),
        (lambda: made_result(1, subjects=7), "with p07/day1/gait1"),
        (lambda: made_result(1, subjects=5, partial=("5 of 6",)), "One of them is of a part of the cohort"),
        (lambda: rows_changed(moved), "the same trials"),
        (lambda: rows_changed(lambda rows: [*rows, rows[0]]), "each trial once"),
        (
            lambda: rows_changed(dropped_number),
            "none for 'knee_angle_r' in trial 'p01/day1/stiff_knee2' of b, but one in a",
        ),
        (lambda: rows_changed(no_charge), "none for 'all'"),
        (lambda: rows_changed(huge), "at most 1e"),
        (lambda: changed(by_subject=made_result(1).by_subject[1:]), "same people"),
        (lambda: changed(by_subject=()), "a number for each person"),
        (lambda: changed(by_subject=made_result(1).by_subject * 2), "each named once"),
        (
            lambda: changed(overall=made_result(1).overall.model_copy(update={"null": 17.0})),
            "the same reference",
        ),
    ],
)
def test_what_can_t_be_compared_is_refused_with_the_reason(other, says) -> None:
    with pytest.raises(CapbenchError, match=says):
        compare([made_result(), other()], names=["a", "b"])


def test_one_or_too_many_or_unnamed_results_are_refused() -> None:
    one = made_result(subjects=1, repeats=1, activities=("gait",))
    for count in (0, 1, MOST + 1):
        with pytest.raises(CapbenchError, match=f"2 to {MOST} results"):
            compare([one] * count)
    with pytest.raises(CapbenchError, match="a name for each of 2"):
        compare([one, one], names=["a"])


def test_parts_of_a_cohort_are_compared_if_they_are_the_same() -> None:
    a, b = (made_result(k, subjects=6, partial=("6 of 40 people",)) for k in range(2))
    assert any("A is of a part of the cohort: 6 of 40 people." in w for w in compare([a, b]).warnings)


# --- what is warned of --------------------------------------------------------------------------


def test_a_fair_comparison_has_no_warnings() -> None:
    assert compare([made_result(0), made_result(1)]).warnings == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"settings": {**made_result().settings, "scaling": "reference"}},
            "The setting 'scaling' differs (A 'own', B 'reference'): the difference is not",
        ),
        (
            {"capbench": About(name="capbench", version="0.2.0")},
            "Computed by different versions of capbench: A 0.1.0, B 0.2.0.",
        ),
        ({"failures": FAILED}, "B lost 1 unit to the machine that it ran on"),
        (
            {"by_subject": made_result(0).by_subject},
            "B gives people numbers that do not follow from its trials",
        ),
    ],
)
def test_warnings(changes, says) -> None:
    found = compare([made_result(0), made_result(1).model_copy(update=changes)])
    assert any(says in warning for warning in found.warnings), found.warnings


def test_failures_of_the_model_are_no_reason_to_run_again() -> None:
    own = (Failure(unit="predict x", fault="model", kind="threw", reason="x"),)
    assert compare([made_result(0), changed(failures=own)]).warnings == ()


def test_marks_travel() -> None:
    found = compare([made_result(0, marks=("Self-test model.",)), made_result(1)])
    assert [e.marks for e in found.entrants] == [("Self-test model.",), ()]
