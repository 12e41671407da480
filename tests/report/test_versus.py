"""The page of a comparison: true to it, safe, small, the same each time."""

import re

import pytest
from pages import parse, part, rows, words
from results import made_result

from capbench.report.versus import versus
from capbench.run.compare import compare

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'&"


def three():
    return compare(
        [made_result(k, name=f"m{k}", subjects=8, effect=e) for k, e in enumerate((0.0, 0.3, 2.0))]
    )


def test_the_models_and_what_may_be_said_of_them() -> None:
    found = three()
    root = parse(versus(found))
    assert words(next(root.iter("h1"))) == "Which model is better on clinic-mini 1 ?"
    shown = rows(next(part(root, "ranks").iter("table")))
    for entrant, row in zip(found.entrants, shown, strict=True):
        assert row[0] == f"{entrant.letter} {entrant.label}"
        assert row[2] == f"{entrant.value:.2f}° {entrant.low:.2f} to {entrant.high:.2f}"
    (hero,) = [d for d in root.iter("div") if d.get("class") == "hero"]
    assert [words(p).split(" by ")[0] for p in hero] == [
        "A is better than B",
        "A is better than C",
        "B is better than C",
    ]
    assert "it means nothing" in words(hero[0])


def test_differences_are_drawn_about_zero_in_the_band_of_the_noise_floor() -> None:
    found = three()
    table = next(part(parse(versus(found)), "pairs").iter("table"))
    reach = 1.08 * max(abs(v) for g in found.pairs for v in (g.difference, g.low, g.high, 0.9))
    body = table.find("tbody")
    assert body is not None
    for gap, row in zip(found.pairs, body, strict=True):
        (dot,) = row.iter("circle")
        assert dot.get("cx") == f"{50 + 50 * gap.difference / reach:.2f}%"
        assert ("ring" in (dot.get("class") or "")) == (gap.verdict != "shown")
        (band,) = row.iter("rect")
        assert band.get("x") == f"{50 - 50 * 0.9 / reach:.2f}%"
        assert band.get("width") == f"{100 * 0.9 / reach:.2f}%"
        said = [words(cell) for cell in row]
        assert said[2].startswith(f"−{abs(gap.difference):.2f}°")
        assert said[5] == "8 : 0"
        assert (
            said[6] == ("A better" if gap.a == "A" else "B better") if gap.verdict == "shown" else gap.verdict
        )


def test_people_are_joined_and_sorted_by_their_difference() -> None:
    found = three()
    section = part(parse(versus(found)), "people")
    tables = list(section.iter("table"))
    assert [words(h) for h in section.findall("h3")] == ["A and B", "A and C", "B and C"]
    a, b = found.by_person["A"], found.by_person["B"]
    gaps = sorted((x - y, who) for x, y, who in zip(a, b, found.people, strict=True))
    assert [(row[0], row[2]) for row in rows(tables[0])] == [(who, f"−{-gap:.2f}°") for gap, who in gaps]
    highest = 1.05 * max(*a, *b)
    body = tables[0].find("tbody")
    assert body is not None
    for (_, who), row in zip(gaps, body, strict=True):
        k = found.people.index(who)
        (joined,) = [e for e in row.iter("line") if "ci" in (e.get("class") or "")]
        ends = sorted((a[k], b[k]))
        assert [joined.get("x1"), joined.get("x2")] == [f"{100 * v / highest:.2f}%" for v in ends]


def test_each_unit_has_a_table_of_its_own_and_says_how_many_were_asked() -> None:
    section = part(parse(versus(three())), "angles")
    degrees, places = list(section.iter("table"))
    assert all("mm" not in row[2] for row in rows(degrees))
    assert len(rows(places)) == 9
    assert "over the 63 differences here" in words(section)
    assert "With 8 people nothing can be shown for so many; it takes 12." in words(section)


def test_the_same_comparison_gives_the_same_bytes() -> None:
    assert versus(three()) == versus(three())


@pytest.mark.parametrize("people", [1, 4])
def test_few_people_are_said_to_say_nothing(people) -> None:
    found = compare([made_result(k, subjects=people) for k in range(2)])
    root = parse(versus(found))
    said = words(root)
    assert f"Nothing can be concluded about A and B from {people} pe" in said
    outcomes = {row[-1] for name in ("pairs", "angles") for row in rows(next(part(root, name).iter("table")))}
    assert outcomes == {"too few people"}
    assert "nan" not in said


def test_hostile_names_do_nothing() -> None:
    results = [made_result(k, name=f"{HOSTILE}{k}", marks=(HOSTILE,)) for k in range(2)]
    content = versus(compare(results, names=[HOSTILE, HOSTILE + "x"]))
    root = parse(content)
    assert {e.tag for e in root.iter()}.isdisjoint(
        {"script", "img", "iframe", "object", "link", "base", "form"}
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", content)


def test_a_large_comparison_stays_below_a_megabyte() -> None:
    many = ("gait", "squat", "sts", "stairs", "jump", "turn", "reach", "lunge")
    results = [
        made_result(k, name=f"m{k}&&&&", subjects=25, activities=many, repeats=1, curves=()) for k in range(5)
    ]
    content = versus(compare(results))
    assert len(content.encode()) < 1_000_000
    parse(content)
