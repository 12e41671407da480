"""Strips and curves: places derived by hand."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capbench.report.figures import (
    Mark,
    Scale,
    axis,
    bar,
    curve,
    legend,
    nice_step,
    scale_of,
    shape,
    strip,
    tick,
)


@pytest.mark.truth("by hand")
@pytest.mark.parametrize(
    ("span", "most", "step"),
    [(10, 5, 2), (10, 4, 5), (10, 10, 1), (0.03, 6, 0.005), (730, 5, 200), (0, 5, 1), (math.nan, 5, 1)],
)
def test_steps_are_round(span, most, step) -> None:
    assert nice_step(span, most) == pytest.approx(step)


@given(st.floats(1e-6, 1e6), st.integers(2, 10))
def test_steps_cut_into_few_enough_parts_and_no_smaller_round_one_does(span, most) -> None:
    step = nice_step(span, most)
    assert span / step <= most * 1.001
    smaller = {1: 0.5, 2: 1, 5: 2}[round(step / 10 ** math.floor(math.log10(step) + 1e-9))]
    smaller *= 10 ** math.floor(math.log10(step) + 1e-9)
    assert span / smaller > most * 0.999


@pytest.mark.truth("by hand")
def test_scales_hold_what_can_be_drawn() -> None:
    assert scale_of([2.0, 10.0, None, math.nan, 1e300, True]) == Scale(0.0, 10.5)
    assert scale_of([-2.0, 8.0]) == Scale(-2.5, 8.5)
    assert scale_of([-1.0, 4.0], even=True) == Scale(-4.32, 4.32)
    assert scale_of([], even=True) == Scale(-1.0, 1.0)
    assert scale_of([5.0, 5.0], zero=False) == Scale(4.0, 6.0)
    assert scale_of([]).high > scale_of([]).low
    assert Scale(-4.32, 4.32).ticks() == [-4, -2, 0, 2, 4]
    assert Scale(0, 10).at(2.5) == "25.00%"
    assert (Scale(0, 10).at(-3), Scale(0, 10).at(99)) == ("0.00%", "100.00%")


@pytest.mark.truth("by hand")
def test_marks_stand_where_their_values_are() -> None:
    scale = Scale(0.0, 20.0)
    dot = ET.fromstring(shape(scale, 5.0, 13, "dot", "c1"))
    assert (dot.get("cx"), dot.get("cy")) == ("25.00%", "13")
    diamond = ET.fromstring(shape(scale, 15.0, 7.5, "diamond", "c2"))
    assert (diamond.tag, diamond.get("x"), diamond.get("y")) == ("svg", "75.00%", "7.5")
    box = ET.fromstring(bar(scale, 12.0, 4.0, 13, "gain", thick=10) or "")
    assert (box.get("x"), box.get("width"), box.get("y"), box.get("height")) == (
        "20.00%",
        "40.00%",
        "8",
        "10",
    )
    line = ET.fromstring(bar(scale, 4.0, 12.0, 13, "ci") or "")
    assert (line.get("x1"), line.get("x2")) == ("20.00%", "60.00%")
    assert bar(scale, None, 3.0, 13, "ci") is None
    assert tick(scale, math.nan, 13, "null") is None


def test_a_strip_has_a_title_and_a_mark_for_each_value() -> None:
    made = ET.fromstring(
        strip(
            Scale(0, 10),
            "knee <4°>",
            Mark(4, 3, 5, 1, 9, "dot", "c1"),
            Mark(None, None, None, 2, 8, "square"),
        )
    )
    assert made.get("role") == "img"
    assert made[0].tag == "title"
    assert made[0].text == "knee <4°>"
    classes = [e.get("class") for e in made.iter() if e.get("class")]
    assert classes.count("floor") == 2
    assert classes.count("null") == 2
    assert classes.count("ci c1") == 1
    assert [e.get("cx") for e in made.iter("circle")] == ["40.00%"]
    assert not list(made.iter("svg"))[1:]  # no square, for there's no value


def test_axes_say_round_numbers() -> None:
    assert [t.text for t in ET.fromstring(axis(Scale(0, 20), "°"))] == ["0°", "5°", "10°", "15°", "20°"]
    assert [t.text for t in ET.fromstring(axis(Scale(-1, 1), "mm"))] == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]


def points(path: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split())) for pair in run.split("L")]  # type: ignore[misc]
        for run in path.removesuffix("z").split("M")[1:]
    ]


@pytest.mark.truth("by hand")
def test_curves_are_drawn_to_scale_and_broken_where_something_is_missing() -> None:
    time, truth = [0.0, 1.0, 2.0, 3.0], [0.0, 10.0, 20.0, 30.0]
    root = ET.fromstring(curve(time, truth, [5.0, None, 25.0, 25.0], [1.0, 1.0, None, 2.0], said="a & b"))
    paths = {e.get("class"): e.get("d", "") for e in root.iter("path")}
    (line,) = points(paths["truth"])
    xs, ys = zip(*line, strict=True)
    steps = [b - a for a, b in itertools.pairwise(xs)]
    assert max(steps) - min(steps) < 0.11
    assert xs[0] == 34  # time begins at the left edge
    assert ys[0] > ys[1] > ys[2] > ys[3]  # larger is higher
    unit = (ys[0] - ys[3]) / 30
    lone, pair = paths["answer"].split("M")[1:]
    assert lone.endswith("h1")  # one sample alone can be seen
    (second,) = points("M" + pair)
    assert second[0][1] == second[1][1]
    assert ys[3] + 5 * unit == pytest.approx(second[0][1], abs=0.11)
    bands = [e.get("d", "") for e in root.iter("path") if e.get("class") == "band"]
    assert len(bands) == 2  # where both the answer and its sd are known
    (last,) = points(bands[1])
    assert abs(last[0][1] - last[-1][1]) == pytest.approx(2 * 2 * unit, abs=0.11)


def test_curves_of_nothing_still_draw() -> None:
    for series in ([None, None], [1e300, math.nan], []):
        root = ET.fromstring(curve([0.0, 1.0][: len(series)], series, series, [], said="x"))
        assert all(e.get("d") in ("", None) for e in root.iter("path"))


@given(st.lists(st.one_of(st.none(), st.floats()), min_size=2, max_size=8))
def test_no_number_leads_out_of_a_picture(values) -> None:
    made = curve([float(k) for k in range(len(values))], values, values[::-1], values, said="x")
    made += strip(scale_of(values), "x", *(Mark(v, v, v, v, v) for v in values))
    assert not re.search(r"nan|inf|\de[+-]?\d", made)
    for share in re.findall(r'(?:cx|x|x1|x2)="(-?[\d.]+)%"', made):
        assert 0 <= float(share) <= 100
    ET.fromstring(f"<a>{made}</a>")


def test_legends_show_shape_and_words() -> None:
    root = ET.fromstring(legend(("dot", "c1", "right"), ("null", "", "null <model>")))
    assert [span.find("svg") is not None for span in root] == [True, True]
    assert "".join(root.itertext()) == "rightnull <model>"
