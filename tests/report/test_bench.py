"""The page of an evaluation: whole, true to the result, safe, small, the same each time."""

import json
import re

import pytest
from pages import parse, part, rows, words
from results import ANGLES, FAILED, TIMING, made_result, made_trials, mean

from capbench.report.bench import report, write_report
from capbench.report.heat import cell_means
from capbench.run.result import (
    About,
    Beside,
    Cause,
    Curve,
    Failure,
    Result,
    Score,
    TrialRow,
    read_result,
    write_result,
)

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'&"


def test_the_headline_is_the_overall_score() -> None:
    result = made_result()
    score = result.overall
    root = parse(report(result, TIMING))
    said = words(next(root.iter("header")))
    assert f"{score.value:.2f}°" in said
    assert f"95 % CI {score.low:.2f} to {score.high:.2f}°" in said
    assert f"Noise floor {score.noise_floor:.2f}°" in said
    assert f"Null model {score.null:.2f}°" in said
    assert "48 of 48" in said
    assert words(next(root.iter("h1"))) == "acme:pose-large 1.2 on clinic-mini 1"


def test_each_part_is_there_and_linked() -> None:
    root = parse(report(made_result(failures=FAILED), TIMING))
    names = [s.get("id") for s in root.iter("section")]
    assert names == [
        *("angles", "tasks", "people", "causes", "curves", "points"),
        *("failures", "trials", "speed", "made", "words"),
    ]
    assert [a.get("href") for a in next(root.iter("nav"))] == [f"#{name}" for name in names]


def test_what_is_not_known_has_no_part() -> None:
    bare = made_result(beside=(), causes=(), curves=())
    names = {s.get("id") for s in parse(report(bare)).iter("section")}
    assert not names & {"points", "failures", "causes", "curves", "speed"}


def test_every_coordinate_has_its_numbers_left_and_right_in_one_row() -> None:
    result = made_result()
    section = part(parse(report(result)), "angles")
    found = {row[0]: row[2] for table in section.iter("table") for row in rows(table) if len(row) == 3}
    by_name = {s.name: s for s in result.coordinates}
    assert len(found) == 6 + 6 + 3
    for base, said in found.items():
        name = base.replace(" ", "_")
        for letter, side in (("R", "_r"), ("L", "_l")):
            if f"{name}{side}" in by_name:
                score = by_name[f"{name}{side}"]
                assert f"{letter} {score.value:.2f} {score.low:.2f}–{score.high:.2f}" in said
    middle = by_name["pelvis_tilt"]
    assert found["pelvis tilt"] == f"{middle.value:.2f} {middle.low:.2f}–{middle.high:.2f}"
    place = by_name["pelvis_ty"]
    assert found["pelvis up"] == f"{place.value:.1f} {place.low:.1f}–{place.high:.1f}"


def test_coordinates_are_sorted_worst_first_within_their_unit() -> None:
    result = made_result()
    angles, places = [
        t for t in part(parse(report(result)), "angles").iter("table") if t.get("class") == "strips"
    ]
    values = [max(map(float, re.findall(r"[\d.]+(?= [\d.]+–)", row[2]))) for row in rows(angles)]
    assert values == sorted(values, reverse=True)
    assert len(rows(places)) == 3


@pytest.mark.truth("loops over the trials")
def test_the_heat_table_holds_means_over_people_of_means_over_trials() -> None:
    trials = made_trials(3, 4.0, 3, ("gait", "squat"), 3, 0.0)[1:]  # the first person has a trial less
    result = made_result(rows=trials)
    table = next(part(parse(report(result)), "tasks").iter("table"))
    head = [words(h) for h in table.iter("th") if h.get("scope") == "col"][1:]
    found = {row[0]: dict(zip(head, row[1:], strict=True)) for row in rows(table)}
    for activity in ("gait", "squat"):
        people = [
            mean(t.coordinates["knee_angle_l"] for t in trials if t.subject == who and t.activity == activity)
            for who in ("p01", "p02", "p03")
        ]
        assert found["knee angle, left"][activity] == f"{mean(people):.1f}"
        assert cell_means(trials, "knee_angle_l", activity) == pytest.approx(mean(people), rel=1e-12)
    assert cell_means(trials, "knee_angle_l", "stairs") is None


@pytest.mark.truth("the steps named in the page")
@pytest.mark.parametrize(
    ("value", "level"), [(0.0, 1), (1.99, 1), (2.0, 2), (5.0, 3), (10.0, 4), (19.9, 4), (20.0, 5)]
)
def test_heat_changes_colour_at_its_steps(value, level) -> None:
    row = TrialRow(
        key="p/d/g",
        subject="p",
        activity="g",
        charged=1.0,
        uncapped=1.0,
        coverage=100.0,
        coordinates={"knee_angle_r": value},
    )
    table = next(part(parse(report(made_result(rows=[row], curves=()))), "tasks").iter("table"))
    cells = {words(r[0]): r[1] for r in table.iter("tr") if len(r) == 2}
    assert cells["knee angle, right"].get("class") == f"h{level}"
    assert cells["knee angle, right"].text == f"{value:.1f}"  # colour is never alone


def test_people_are_sorted_and_their_trials_are_drawn_at_their_errors() -> None:
    result = made_result(subjects=3)
    section = part(parse(report(result)), "people")
    table = next(section.iter("table"))
    worst = sorted(result.by_subject, key=lambda s: -(s.value or 0))
    assert [row[0] for row in rows(table)] == [s.name for s in worst]
    highest = max(t.charged or 0 for t in result.per_trial) * 1.05  # where the scale ends
    body = table.find("tbody")
    assert body is not None
    for score, row in zip(worst, body, strict=True):
        own = sorted((t for t in result.per_trial if t.subject == score.name), key=lambda t: t.key)
        circles = [c for c in row.iter("circle") if c.get("class") == "speck"]
        assert [c.get("cx") for c in circles] == [f"{100 * (t.charged or 0) / highest:.2f}%" for t in own]
        (dot,) = [c for c in row.iter("circle") if c.get("class") == "c1 dot"]
        assert dot.get("cx") == f"{100 * (score.value or 0) / highest:.2f}%"


@pytest.mark.truth("by hand")
def test_causes_fall_from_the_error_as_it_is() -> None:
    overall = Score(name="all", unit="°", value=8.0, n=4, trials=4, coverage=100.0)
    causes = (
        Cause(stage="keypoints", value=2.0, brings=6.0),
        Cause(stage="scaling", value=10.0, brings=-2.0),
        Cause(stage="solver", value=1.0, brings=1.0),
    )
    table = next(part(parse(report(made_result(overall=overall, causes=causes))), "causes").iter("table"))
    assert [(row[0].split(" ")[0], row[2]) for row in rows(table)] == [
        ("as", "8.00°"),
        ("keypoints", "−6.00° leaves 2.00"),
        ("scaling", "+2.00° leaves 10.00"),
        ("solver", "1.00° remains"),
    ]
    boxes = [(b.get("class"), b.get("x"), b.get("width")) for b in table.iter("rect")]
    span = 10.5
    assert boxes == [
        ("rest", "0.00%", f"{800 / span:.2f}%"),
        ("gain", f"{200 / span:.2f}%", f"{600 / span:.2f}%"),
        ("loss", f"{800 / span:.2f}%", f"{200 / span:.2f}%"),
        ("rest", "0.00%", f"{100 / span:.2f}%"),
    ]


def test_curves_name_their_trial_and_the_worst_is_said_to_be() -> None:
    result = made_result()
    section = part(parse(report(result)), "curves")
    worst = max(result.per_trial, key=lambda t: t.charged or 0)
    first = words(section.findall("h3")[0])
    assert first == f"{worst.key} : {worst.charged:.2f}° over all joint angles (the worst)"
    captions = [words(c) for c in section.iter("figcaption")]
    assert captions[0] == f"knee angle, right, error {worst.coordinates['knee_angle_r']:.2f}°"
    assert len(captions) == 6


def test_trials_come_worst_first_with_what_was_odd() -> None:
    made = made_result()
    rows_ = list(made.per_trial)
    rows_[5] = rows_[5].model_copy(
        update={"charged": None, "uncapped": None, "coverage": 0.0, "notes": ("no person seen",)}
    )
    result = made.model_copy(update={"per_trial": tuple(rows_), "failures": FAILED})
    table = next(part(parse(report(result)), "trials").iter("table"))
    shown = rows(table)
    assert shown[0][:5] == [rows_[5].key, rows_[5].activity, "–", "–", "0 %"]
    assert "no person seen" in shown[0][6]
    values = [float(row[2]) for row in shown[1:]]
    assert values == sorted(values, reverse=True)
    (failed,) = [row for row in shown if row[0] == "p04/day1/sts1"]
    assert failed[6].startswith("killed Out of memory.")
    (other,) = [row for row in shown if row[0] == "p04/day1/sts2"]
    assert "killed" not in other[6]


def test_a_banner_says_what_must_be_known() -> None:
    said = words(
        next(
            parse(report(made_result(partial=("only 3 of 40 trials",), marks=("Self-test model.",)))).iter(
                "header"
            )
        )
    )
    assert "Not a whole evaluation only 3 of 40 trials" in said
    assert "To be known before reading on Self-test model." in said
    assert "Not a whole" not in report(made_result())


def test_how_to_do_it_again() -> None:
    result = made_result(name="my model; rm -rf ~")
    section = part(parse(report(result)), "made")
    assert words(next(section.iter("pre"))) == "capbench evaluate 'my model; rm -rf ~' --cohort clinic-mini"
    text = words(section)
    assert "cd" * 32 in text
    assert "predictions/p01/day1/gait1.npz" in text
    assert "cutoff_hz 6.0" in text
    given = report(result, command="capbench evaluate a.onnx --cohort clinic --workers 8")
    assert "capbench evaluate a.onnx --cohort clinic --workers 8" in given


def test_speed_is_told() -> None:
    said = words(part(parse(report(made_result(), TIMING)), "speed"))
    assert "150 frames/s · 12,480 frames · 1 min 47 s in all stages" in said  # 107.01 s
    assert "1 min 23 s 77.7 %" in said  # 83.2 of 107.01


def test_the_same_result_gives_the_same_bytes(tmp_path) -> None:
    result = made_result(failures=FAILED)
    write_result(tmp_path / "result.json", result)
    write_report(result, TIMING, tmp_path / "a.html")
    write_report(read_result(tmp_path), json.loads(json.dumps(TIMING)), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    write_report(made_result(2), None, tmp_path / "a.html")  # an older page is replaced
    assert (tmp_path / "a.html").read_bytes() != (tmp_path / "b.html").read_bytes()


def hostile() -> Result:
    bad = HOSTILE
    row = TrialRow(
        key=bad,
        subject=bad,
        activity=bad,
        charged=1e308,
        uncapped=float("inf"),
        coverage=-5.0,
        lag=float("nan"),
        coordinates={bad: 1e308, "b": None},
        facts={bad: bad, "x": float("nan")},
        notes=(bad,),
    )
    score = Score(
        name=bad,
        unit=bad,
        value=1e308,
        low=-1e308,
        high=1e308,
        n=1,
        trials=1,
        coverage=1e9,
        null=0.0,
        noise_floor=-1.0,
    )
    about = About(name=bad, version=bad, sha256=bad, title=bad, licence=bad, details={bad: {bad: [bad]}})
    curve = Curve(
        trial=bad, coordinate=bad, time=(0.0, 1e308), reference=(1e308, None), predicted=(None,), sd=(1e308,)
    )
    return Result(
        capbench=about,
        model=about,
        cohort=about,
        protocol=about,
        settings={bad: bad},
        partial=(bad,),
        marks=(bad,),
        subjects=1,
        trials=1,
        answered=1,
        overall=score,
        coordinates=(score,),
        activities=(score,),
        by_subject=(score,),
        beside=(Beside(name=bad, unit=bad, direction="lower", value=1.0, n=1),),
        causes=(Cause(stage="keypoints", value=1e308, brings=float("nan")),),
        curves=(curve,),
        per_trial=(row,),
        failures=(Failure(unit=bad, fault="model", kind=bad, reason=bad),),
        hashes={bad: bad},
    )


def test_hostile_texts_and_numbers_do_nothing() -> None:
    content = report(hostile(), {"stages": {HOSTILE: 1.0}, "hardware": {HOSTILE: HOSTILE}}, command=HOSTILE)
    root = parse(content)
    assert {e.tag for e in root.iter()}.isdisjoint(
        {"script", "img", "iframe", "object", "link", "base", "form"}
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", content)
    for element in root.iter():
        assert not any(key.startswith("on") or key == "style" for key in element.attrib)
        href = element.get("href")
        assert href is None or href.startswith("#")
        assert "src" not in element.attrib
    assert "<script>alert(1)</script>" in words(next(root.iter("h1")))  # it's read, as text


@pytest.mark.parametrize("long", ["x" * 500, "&" * 500, "\x00" * 500])
def test_a_page_stays_below_a_megabyte_whatever_it_is_of(long) -> None:
    rows_ = [
        TrialRow(
            key=f"{k}{long}",
            subject=f"p{k % 90}{long}",
            activity=f"a{k % 15}{long}",
            charged=float(k),
            uncapped=1.0,
            coverage=50.0,
            coordinates={},
            notes=(long,) * 9,
        )
        for k in range(2_000)
    ]

    def scores(letter: str, count: int) -> tuple[Score, ...]:
        return tuple(
            Score(name=f"{letter}{k}{long}", unit="°", value=float(k), n=3, trials=3, coverage=1.0)
            for k in range(count)
        )

    result = made_result(
        subjects=1,
        repeats=1,
        activities=("gait",),
    ).model_copy(
        update={
            "per_trial": tuple(rows_),
            "by_subject": scores("p", 90),
            "activities": scores("a", 15),
            "coordinates": scores("c", 90),
            "failures": tuple(
                Failure(unit=long, fault="model", kind=f"{k}{long}", reason=long) for k in range(500)
            ),
            "hashes": {f"{k}{long}": "0" * 64 for k in range(3000)},
            "settings": {f"{k}{long}": long for k in range(300)},
        }
    )
    content = report(result, TIMING)
    assert len(content.encode()) < 1_000_000
    root = parse(content)
    assert "left out here" in words(part(root, "trials"))


def test_pictures_say_what_they_show_and_tables_what_they_head() -> None:
    root = parse(report(made_result(failures=FAILED), TIMING))
    assert root.get("lang") == "en"
    for svg in root.iter("svg"):
        if svg.get("role") == "img":
            assert svg[0].tag == "title"
            assert words(svg[0])
        else:  # a scale, a swatch of a legend, or a mark within a picture
            assert svg.get("aria-hidden") == "true" or svg.get("overflow") == "visible"
    for table in root.iter("table"):
        heads = [h for row in table.find("thead") or [] for h in row]
        assert heads
        assert {h.get("scope") for h in heads} == {"col"}
        for row in table.find("tbody") or []:
            assert row[0].get("scope") == "row"
            assert len(row) == len(heads)


def test_every_class_has_a_style_and_every_reference_a_place() -> None:
    content = report(made_result(failures=FAILED, marks=("x",)), TIMING)
    root = parse(content)
    sheet = next(root.iter("style")).text or ""
    used = {name for e in root.iter() for name in (e.get("class") or "").split()}
    plain = {"dot", "axis", "strip", "square"}  # have no look of their own
    assert {name for name in used - plain if not re.search(rf"\.{name}\b", sheet)} == set()
    named = set(re.findall(r"var\((--\w+)\)", sheet))
    assert all(f"{name}:" in sheet for name in named)


def test_dark_and_light_have_the_same_colours_by_name() -> None:
    from capbench.report.page import style

    light, dark = re.findall(r":root\{([^}]*)\}", style())[:2]
    names = [set(re.findall(r"--\w+", block)) for block in (light, dark)]
    assert names[0] == names[1]


def luminance(colour: str) -> float:
    colour = colour.lstrip("#")
    colour = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
    parts = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.truth("WCAG 2.1 contrast ratio")
@pytest.mark.parametrize("block", [0, 1])
def test_contrast_is_enough_in_light_and_dark(block) -> None:
    from capbench.report.page import style

    text = re.findall(r":root\{([^}]*)\}", style())[block]
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", text))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(colours[a]), luminance(colours[b])))
        return (high + 0.05) / (low + 0.05)

    for ink in ("ink", "soft", "link", "bad"):
        assert contrast(ink, "paper") >= 4.5, ink
    assert contrast("soft", "card") >= 4.5
    assert contrast("warn", "warnback") >= 4.5
    for cell in ("h1", "h2", "h3", "h4"):
        assert contrast("ink", cell) >= 4.5, cell
    assert contrast("h5ink", "h5") >= 4.5
    for mark in ("c0", "c1", "c2", "c3", "c4", "c5", "null"):
        assert contrast(mark, "paper") >= 3.0, mark  # graphics


def test_a_single_person_has_no_interval() -> None:
    said = words(next(parse(report(made_result(subjects=1))).iter("header")))
    assert "no interval: it takes more than one person" in said


def test_more_units_than_a_page_shows_are_not_all_drawn() -> None:
    base = made_result()
    odd = tuple(s.model_copy(update={"unit": f"u{k}"}) for k, s in enumerate(base.coordinates))
    section = part(parse(report(base.model_copy(update={"coordinates": odd}))), "angles")
    assert len(section.findall("h3")) == 4
    assert len(ANGLES) > 4
