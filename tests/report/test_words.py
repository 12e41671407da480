"""How numbers and verdicts are said."""

import math
from dataclasses import replace

import pytest
from results import FAILED, made_result

from capbench.report import words
from capbench.run.compare import Difference
from capbench.run.result import Score


def score(value, **changes) -> Score:
    return Score(
        **{"name": "all", "unit": "°", "value": value, "n": 4, "trials": 8, "coverage": 100.0, **changes}
    )


@pytest.mark.truth("by hand")
@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (4.126, "°", "4.13°"),
        (-4.126, "°", "−4.13°"),
        (-0.001, "°", "0.00°"),
        (24.16, "mm", "24.2 mm"),
        (17.6, "ms", "18 ms"),
        (0.734, "1", "0.73"),
        (None, "°", "–"),
        (math.nan, "mm", "–"),
        (math.inf, "°", "–"),
        (1e300, "°", "1.0e+300°"),
        (True, "°", "–"),
    ],
)
def test_quantities(value, unit, said) -> None:
    assert words.quantity(value, unit) == said


def test_signs_are_shown_on_request_and_zero_has_none() -> None:
    assert words.number(0.5, sign=True) == "+0.50"
    assert words.number(-0.5, sign=True) == "−0.50"
    assert words.number(0.001, sign=True) == "0.00"


@pytest.mark.parametrize(
    ("value", "said"),
    [(100, "100 %"), (99.96, ">99.9 %"), (0.04, "<0.1 %"), (0, "0 %"), (50, "50.0 %"), (math.nan, "–")],
)
def test_shares_never_round_to_all_or_nothing(value, said) -> None:
    assert words.percent(value) == said


def test_the_worst_come_first_and_unknown_ones_last() -> None:
    scores = [score(v, name=n) for n, v in (("c", 1.0), ("a", 3.0), ("x", None), ("b", 3.0), ("n", math.nan))]
    assert [s.name for s in words.worst_first(scores)] == ["a", "b", "c", "n", "x"]


def test_degrees_come_before_other_units() -> None:
    scores = [score(1, unit=u) for u in ("mm", "°", "%")]
    assert list(words.by_unit(scores)) == ["°", "%", "mm"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("knee_angle_r", "knee angle, right"),
        ("hip_flexion_l", "hip flexion, left"),
        ("pelvis_ty", "pelvis up"),
        ("_r", "r"),
        ("", ""),
        ("arm_flex_R", "arm flex, right"),
    ],
)
def test_coordinates_are_spoken(name, said) -> None:
    assert words.spoken(name) == said


@pytest.mark.truth("by hand")
@pytest.mark.parametrize(
    ("value", "null", "floor", "said"),
    [
        (None, 10.0, 1.0, "Nothing could be scored."),
        (10.0, 10.0, 1.0, "No better than answering every frame with the same mean pose."),
        (2.5, 10.0, 1.0, "75 % of the null model's error is gone; the error is 2.5 times the noise floor."),
        (
            0.5,
            10.0,
            1.0,
            "95 % of the null model's error is gone; the error is within what the reference "
            "itself is uncertain by.",
        ),
        (2.5, None, 1.0, "The error is 2.5 times the noise floor."),
        (2.5, None, None, ""),
    ],
)
def test_verdict(value, null, floor, said) -> None:
    assert words.verdict(made_result(overall=score(value, null=null, noise_floor=floor))) == said


def test_failures_are_counted_by_kind() -> None:
    first, second = words.failures_by_kind(FAILED)
    assert (first.kind, first.fault, first.count) == ("threw", "model", 2)
    assert first.first == "predict p02/day1/gait1: IndexError: list index out of range"
    assert (second.kind, second.count) == ("killed", 1)


@pytest.mark.parametrize(
    "timing",
    [
        None,
        [],
        {},
        {"stages": 3, "frames": "x", "hardware": [1]},
        {"stages": {"a": -1, "b": math.nan, "c": "1"}},
    ],
)
def test_odd_timings_say_nothing(timing) -> None:
    assert words.speed_of(timing) == words.Speed((), None, None, ())


def gap(**changes) -> Difference:
    made = Difference(
        what="all", name="all", unit="°", a="A", b="B", value_a=4.0, value_b=5.0,
        difference=-1.0, low=-1.5, high=-0.5, p=0.001, p_holm=0.001, people=20, a_better=18, b_better=2,
        noise_floor=0.4, verdict="shown", needed=6.0,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "A is better than B by 1.00°, for 18 of 20 people."),
        ({"difference": 1.0}, "B is better than A by 1.00°, for 2 of 20 people."),
        ({"verdict": "too few people", "people": 1}, "Nothing can be concluded about A and B from 1 person."),
        (
            {"verdict": "below the noise floor", "difference": -0.3},
            "A is better than B by 0.30°, less than the noise floor of 0.40°: it means nothing.",
        ),
        (
            {"verdict": "none shown", "people": 5},
            "No difference shown between A and B: 5 people can't show one, whatever the numbers; "
            "it takes at least 6.",
        ),
        (
            {"verdict": "none shown", "needed": 44.0, "difference": 0.2},
            "No difference shown between A and B. If there is one of 0.20°, about 44 people would show it.",
        ),
        ({"verdict": "none shown", "needed": math.nan}, "No difference shown between A and B."),
        ({"verdict": "none shown", "needed": 19.0}, "No difference shown between A and B."),
    ],
)
def test_conclusions(changes, said) -> None:
    assert words.conclusion(gap(**changes), 6) == said


def test_every_word_of_the_glossary_is_one_or_more_sentences() -> None:
    for meaning in words.GLOSSARY.values():
        assert meaning[0].isalnum()
        assert meaning.endswith(".")
