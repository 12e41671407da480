"""The cards: each whole, each callable by its name, and the errors of a card that is not."""

import doctest
import inspect
import re
from importlib import import_module

import pytest

from metrics import catalogue
from metrics.arrays import MetricError
from metrics.catalogue import DIRECTIONS, MERGES, NEEDS, ORDER, card, cards, metric

CARDS = cards()


@pytest.fixture
def own_cards(monkeypatch):
    """An empty catalogue for one test."""
    monkeypatch.setattr(catalogue, "_cards", {})


def public_functions() -> list:
    found = []
    for module in ORDER:
        for name, thing in vars(import_module(f"metrics.{module}")).items():
            own = getattr(thing, "__module__", "") == f"metrics.{module}"
            if own and not name.startswith("_") and inspect.isroutine(thing):
                found.append(pytest.param(thing, id=f"{module}.{name}"))
    return found


@pytest.mark.parametrize("function", public_functions())
def test_every_public_function_has_a_runnable_example(function) -> None:
    assert doctest.DocTestFinder(recurse=False).find(function)[0].examples


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_whole(name) -> None:
    found = CARDS[name]
    assert found.name == name == name.strip()
    assert found.version >= 1
    assert found.direction in DIRECTIONS
    assert found.merge in MERGES
    assert set(found.needs) <= NEEDS.keys()
    assert found.definition.endswith(".")
    assert "\n" not in found.definition
    assert inspect.signature(found.function).parameters.keys() >= found.fixed.keys()


@pytest.mark.truth("the name says it")
@pytest.mark.parametrize(
    "name", [n for n, c in CARDS.items() if "threshold" in c.fixed and c.module != "smoothness"]
)
def test_a_threshold_in_the_name_is_the_one_that_is_fixed(name) -> None:
    """Shares and pixels as they are; distances in the name are mm and metres in the argument."""
    said = float(re.search(r"[@>](\d+(?:\.\d+)?)", name)[1])
    metres = CARDS[name].module in ("keypoints3d", "detection3d", "ranking") or name.endswith("mm")
    assert CARDS[name].fixed["threshold"] == pytest.approx(said / 1000 if metres else said, rel=1e-12)


def test_every_module_in_the_order_has_cards() -> None:
    assert {c.module for c in CARDS.values()} == set(ORDER)


def test_cards_come_in_the_order_of_the_modules() -> None:
    places = [ORDER.index(c.module) for c in CARDS.values()]
    assert places == sorted(places)


def test_names_that_hide_a_choice_are_not_used() -> None:
    """Each of these has several definitions in print."""
    assert not CARDS.keys() & {
        "PCK",
        "PCKh",
        "MPJPE",
        "AP",
        "OKS-AP",
        "AUC",
        "NMVE",
        "ECE",
        "accel",
        "GPS-mean",
    }


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(
        MetricError, match=r"Expected the name of a metric, got 'skil'\. Did you mean 'skill'\?"
    ):
        card("skil")
    with pytest.raises(MetricError, match=r"got 'zzzzzz'\.$"):
        card("zzzzzz")


class Pair:
    """A result with parts."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high


def both(value: float, *, width: float = 1.0) -> Pair:
    """A value and one above it."""
    return Pair(value, value + width)


ABOUT = {
    "unit": "1",
    "direction": "lower",
    "definition": "A number.",
    "reference": "capbench",
}


def test_a_card_fixes_arguments_and_picks_a_part(own_cards) -> None:
    assert metric("wide", **ABOUT, width=10.0)(both) is both
    metric("deep", **ABOUT, part="high", width=3.0)(both)
    metric("plain", **ABOUT)(both)
    made = catalogue._cards
    assert made["wide"](1.0).high == 11.0
    assert made["deep"](1.0) == 4.0
    assert made["plain"](1.0, width=2.0).high == 3.0
    assert made["plain"].needs == ("reference",)
    assert (made["plain"].merge, made["plain"].version, made["plain"].part) == ("trials", 1, "")
    with pytest.raises(MetricError, match="Expected width as wide fixes it"):
        made["wide"](1.0, width=2.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"direction": "sideways"}, "unknown 'sideways'"),
        ({"merge": "glue"}, "'glue'"),
        ({"needs": ("luck", "reference")}, "needs luck, which no one knows"),
        ({"definition": "No full stop"}, "a whole sentence"),
        ({"unit": ""}, "expected a unit"),
        ({"reference": ""}, "a reference"),
        ({"depth": 1.0}, "fixes depth: its function takes no such"),
    ],
)
def test_a_card_that_is_wrong_is_refused(own_cards, change, problem) -> None:
    with pytest.raises(MetricError, match=problem):
        metric("odd", **{**ABOUT, **change})(both)
    assert not catalogue._cards


def test_two_scores_cannot_share_a_name(own_cards) -> None:
    metric("same", **ABOUT)(both)
    metric("same", **ABOUT)(both)  # a module imported twice says the same thing again
    with pytest.raises(MetricError, match="Expected one score named 'same'"):
        metric("same", **ABOUT)(lambda value: value)
