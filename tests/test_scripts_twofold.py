"""scripts/twofold.py on made-up results whose ratio is known: from factors, and by loops over people."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from results import ANGLES, made_result, made_trials, mean

from capbench.run.result import About, write_result
from cohorts.errors import CapbenchError

WORST = ("subtalar_angle_r", "subtalar_angle_l")
TASKS = ("gait", "squat")


def loaded():
    path = Path(__file__).parents[1] / "scripts" / "twofold.py"
    name = "scripts_twofold"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look for their module
        kept = list(sys.path)
        spec.loader.exec_module(sys.modules[name])
        sys.path[:] = kept
    return sys.modules[name]


twofold = loaded()


def scaled(rows, factor):
    """Each angle's error times ``factor(person, angle)``; the mean over angles follows."""
    made = []
    for row in rows:
        values = {name: value * factor(row.subject, name) for name, value in row.coordinates.items()}
        charged = mean(values[name] for name in ANGLES)
        made.append(row.model_copy(update={"coordinates": values, "charged": charged}))
    return made


def person_error(rows, person, names=ANGLES):
    """Mean over trials of an activity, then over activities, by loops."""
    return mean(
        mean(mean(row.coordinates[name] for name in names) for row in rows
             if (row.subject, row.activity) == (person, task))
        for task in TASKS
    )  # fmt: skip


class Runs:
    """Folders of runs as the command line names them."""

    def __init__(self, folder):
        self.folder, self.words = folder, []

    def add(self, kind, rows, *, points=None, scaling="own", cohort="clinic-unseen", **changes):
        number = len(list(self.folder.glob("run-*")))
        place = self.folder / f"run-{number}"
        place.mkdir()
        points = points or ("coco-17" if kind == "sparse" else "synthpose-52")
        result = made_result(
            number,
            rows=rows,
            model=About(name=f"{kind}-{number}", version="1", sha256=f"{number:02x}" * 32,
                        details={"skeleton": points}),
            settings={"seed": 0, "scaling": scaling},
            cohort=About(name=cohort, version="1", sha256="cd" * 32),
            **changes,
        )  # fmt: skip
        nulled = result.overall.model_copy(update={"null": 9.0, "skill": 1 - result.overall.value / 9.0})
        write_result(place / "result.json", result.model_copy(update={"overall": nulled}))
        self.words += [f"--{kind}", str(place)]

    def page(self, *more):
        out = self.folder / "out"
        assert twofold.main([*self.words, "--out", str(out), *more]) == 0
        return (out / "twofold.md").read_text(encoding="utf-8")

    def tests(self):
        given = {}
        for kind, place in zip(self.words[::2], self.words[1::2], strict=True):
            given.setdefault(kind[2:], []).append(Path(place))
        return twofold.tests_of(given)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


def dense_rows(seed=0, subjects=6):
    return made_trials(seed, 4.0, subjects, TASKS, 2, 0.0)


def line(page, start):
    return next(text for text in page.splitlines() if text.startswith(start))


@pytest.mark.truth("closed form")
def test_identical_models_have_a_ratio_of_exactly_1(runs) -> None:
    for _ in range(2):
        runs.add("sparse", dense_rows())
        runs.add("dense", dense_rows())
    (test,) = runs.tests()
    for row in (twofold.overall(test), *twofold.coordinates(test), *twofold.activities(test)):
        assert row.ratio == (1.0, 1.0, 1.0) and set(row.seeds) == {(1.0, 1.0, 1.0)}
        assert row.difference == (0.0, 0.0, 0.0)
        assert row.word == "the same"
    page = runs.page()
    assert "sparse / dense: 1.00 (1.00 to 1.00).** The bar (at least 1.5," in page
    assert "is NOT met: the ratio is 1.00 and its interval, 1.00 to 1.00, does not leave out 1.3." in page
    assert "No coordinate is worse" in page


@pytest.mark.truth("closed form")
def test_a_common_factor_is_the_ratio_of_everything(runs) -> None:
    rows = dense_rows()
    runs.add("sparse", scaled(rows, lambda person, name: 1.6))
    runs.add("dense", rows)
    (test,) = runs.tests()
    for row in (twofold.overall(test), *twofold.coordinates(test), *twofold.activities(test)):
        np.testing.assert_allclose(row.ratio, 1.6, rtol=1e-12)
        assert row.difference.value == pytest.approx(0.6 * row.errors["dense"])
        assert row.word == "better"
    page = runs.page()
    assert "The bar (at least 1.5, with an interval that leaves out 1.3) is met: the ratio is 1.60" in page
    assert "2, which the paper claims, lies above the interval." in page


@pytest.mark.truth("plain loops")
def test_seeds_are_averaged_within_people_and_each_stands_beside(runs) -> None:
    """Two seeds of sparse models, 1.2 and 2 times the errors of one dense model: 1.6, of which ±0.4."""
    rows = dense_rows()
    for factor in (1.2, 2.0):
        runs.add("sparse", scaled(rows, lambda person, name, by=factor: by))
        runs.add("dense", rows)
    (test,) = runs.tests()
    whole = twofold.overall(test)
    np.testing.assert_allclose(whole.ratio, 1.6, rtol=1e-12)
    np.testing.assert_allclose([seed.value for seed in whole.seeds], [1.2, 2.0], rtol=1e-12)
    page = runs.page()
    assert line(page, "| seed 1 alone").startswith("| seed 1 alone | 1.20 (1.20 to 1.20)")
    assert line(page, "| seed 2 alone").startswith("| seed 2 alone | 2.00 (2.00 to 2.00)")
    assert "its number of seeds is 2, not 3" in page


@pytest.mark.truth("plain loops")
def test_the_interval_is_of_people_drawn_for_both_models_at_once(runs) -> None:
    """Three people of 1 and three of 2.4 times the error: at least 1.5 on average, but for whom?"""
    rows = dense_rows()
    by_person = {f"p{k + 1:02d}": 1.0 if k < 3 else 2.4 for k in range(6)}
    sparse = scaled(rows, lambda person, name: by_person[person])
    runs.add("sparse", sparse)
    runs.add("dense", rows)
    (test,) = runs.tests()
    whole = twofold.overall(test)
    above = [person_error(sparse, person) for person in by_person]
    below = [person_error(rows, person) for person in by_person]
    assert whole.ratio.value == pytest.approx(sum(above) / sum(below), rel=1e-12)
    assert whole.errors == pytest.approx({"sparse": mean(above), "dense": mean(below)})
    drawn = np.random.default_rng(5).integers(6, size=(20_000, 6))
    ratios = np.array(above)[drawn].sum(axis=1) / np.array(below)[drawn].sum(axis=1)
    np.testing.assert_allclose(whole.ratio[1:], np.quantile(ratios, [0.025, 0.975]), rtol=0.02)
    assert whole.ratio.value > 1.5 and whole.ratio.low < 1.3
    assert not twofold.verdict(whole.ratio)[0]
    assert "is NOT met" in runs.page()


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("found", "met", "words"),
    [
        ((1.5, 1.31, 1.9), True, "lies above the interval"),
        ((1.5, 1.3, 2.0), False, "lies within the interval"),
        ((1.49, 1.4, 1.6), False, "leaves out 1.3. 2,"),
        ((2.4, 2.1, 2.6), True, "lies below the interval"),
        ((1.7, float("nan"), float("nan")), False, "no interval"),
    ],
)
def test_the_bar(found, met, words) -> None:
    told = twofold.verdict(twofold.Estimate(*found))
    assert told[0] is met and words in told[1]
    assert ("is met" in told[1]) is met and ("NOT met" in told[1]) is not met


def test_an_error_of_nothing_has_no_ratio(runs) -> None:
    rows = dense_rows()
    runs.add("sparse", rows)
    runs.add("dense", scaled(rows, lambda person, name: 0.0 if (person, name) == ("p01", WORST[0]) else 1.0))
    (test,) = runs.tests()
    of = {row.name: row for row in twofold.coordinates(test)}
    assert np.isnan(of[WORST[0]].ratio).all() and of[WORST[1]].ratio == (1, 1, 1)
    assert line(runs.page(), f"| {WORST[0]} |").split("|")[-4].strip() == "–"


def test_losses_are_shown_and_marked(runs) -> None:
    rows = dense_rows()
    sparse = scaled(rows, lambda person, name: 0.5 if name in WORST else 2.0)
    note = "no point shows subtalar_angle_r: left where the model has them"
    runs.add("sparse", [row.model_copy(update={"notes": (note,)}) for row in sparse])
    runs.add("dense", rows)
    page = runs.page("--without", *WORST)
    for name in ANGLES:
        cells = line(page, f"| {name} |").split("|")
        assert cells[-2].strip() == ("**worse**" if name in WORST else "better")
        ratio = "0.50 (0.50 to 0.50)" if name in WORST else "2.00 (2.00 to 2.00)"
        assert cells[-4].strip() == ratio
        dense = mean(person_error(rows, f"p{k + 1:02d}", [name]) for k in range(6))
        assert cells[3].strip() == f"{dense:.2f}°"
    assert "- Worse with dense points: subtalar_angle_r (ratio 0.50), subtalar_angle_l (ratio 0.50)." in page
    assert f"- Sparse, {len(rows)} trials: {note}." in page
    without = line(page, "| without subtalar_angle_r, subtalar_angle_l (not registered)")
    assert without.split("|")[2].strip() == "2.00 (2.00 to 2.00)"
    assert "| pelvis_tx |" in page and line(page, "| pelvis_tx |").count(" mm") >= 3


def test_null_model_skill_and_scratch_stand_beside(runs) -> None:
    rows = dense_rows()
    runs.add("sparse", scaled(rows, lambda person, name: 1.6))
    runs.add("dense", rows)
    runs.add("scratch", scaled(rows, lambda person, name: 1.25))
    page = runs.page()
    dense = mean(person_error(rows, f"p{k + 1:02d}") for k in range(6))
    cells = [cell.strip() for cell in line(page, "| B: dense 1").split("|")]
    assert cells[3].startswith(f"{dense:.2f}°") and cells[4:6] == ["9.00°", f"{1 - dense / 9:.2f}"]
    assert line(page, "| sparse / scratch").split("|")[2].strip() == "1.28 (1.28 to 1.28)"
    assert line(page, "| scratch / dense").split("|")[2].strip() == "1.25 (1.25 to 1.25)"
    assert "nothing was trained from scratch" not in page
    (test,) = runs.tests()
    assert twofold.coordinates(test)[0].errors["scratch"] == pytest.approx(
        1.25 * twofold.coordinates(test)[0].errors["dense"]
    )


def test_scores_beside_say_how_far_they_move(runs) -> None:
    rows = dense_rows()
    runs.add("sparse", rows)
    beside = made_result(0).beside
    moved = [beside[0].model_copy(update={"value": 12.065}), beside[1].model_copy(update={"value": 94.334})]
    runs.add("dense", rows, beside=tuple(moved))
    page = runs.page()
    assert line(page, "| MPJPE").split("|")[-2].strip() == "-50.0 %"
    assert line(page, "| PCK@50mm").split("|")[-2].strip() == "+1.0 %"
    assert "By less than 10 %: PCK@50mm barely moves. By more: MPJPE." in page


def test_cohorts_and_scalings_are_sections_with_pictures(runs) -> None:
    rows = dense_rows()
    for factor, more in ((1.4, {"scaling": "reference"}), (1.6, {}), (1.1, {"cohort": "other"})):
        runs.add("sparse", scaled(rows, lambda person, name, by=factor: by), **more)
        runs.add("dense", rows, **more)
    page = runs.page()
    first, second, third = page.split("\n## ")[1:]
    assert first.startswith("clinic-unseen, capbench-1, scaled by what the model saw") and "1.60 (" in first
    assert "scaled by the reference" in second and "1.40 (" in second
    assert "its scaling is reference, not own" in second
    assert third.startswith("other,") and "its cohort is other, not clinic-unseen" in third
    for name in ("clinic-unseen-own", "clinic-unseen-reference", "other-own"):
        assert f"({name}.png)" in page
        assert (runs.folder / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_registered_test_says_so(runs) -> None:
    rows = dense_rows()
    for _ in range(3):
        for kind, factor in (("sparse", 1.6), ("dense", 1.0), ("scratch", 1.2)):
            runs.add(kind, scaled(rows, lambda person, name, by=factor: by))
    assert "\nThis is the registered test.\n" in runs.page()
    with pytest.raises(CapbenchError):
        twofold.main([*runs.words, "--out", str(runs.folder / "out")])  # nothing is overwritten unasked


def test_a_part_of_the_cohort_is_not_the_registered_test(runs) -> None:
    for kind in ("sparse", "dense"):
        runs.add(kind, dense_rows(), partial=("--limit 2",))
    assert "dense is of a part of the cohort; sparse is of a part of the cohort" in runs.page()


def test_what_can_not_be_compared_is_refused(tmp_path) -> None:
    def refused(folder, words, *added):
        (tmp_path / folder).mkdir()
        runs = Runs(tmp_path / folder)
        for kind, rows, more in added:
            runs.add(kind, rows, **more)
        with pytest.raises(CapbenchError, match=words):
            runs.page()

    rows = dense_rows()
    refused("seeds", "got 2 and 1", ("sparse", rows, {}), ("sparse", rows, {}), ("dense", rows, {}))
    refused("cohorts", "got 1 and 0", ("sparse", rows, {}), ("dense", rows, {"cohort": "other"}))
    refused("swapped", "as sparse, got one of synthpose-52",
            ("sparse", rows, {"points": "synthpose-52"}), ("dense", rows, {}))  # fmt: skip
    refused("people", "same trials", ("sparse", rows, {}), ("dense", dense_rows(subjects=5), {}))
