"""Who is drawn: within published distributions, reproducible, and always within reach of the mesh."""

import numpy as np
import pytest

from cohorts import CapbenchError
from synthpose.body import rest_vertices
from synthpose.people import GROUPS, draw_phenotype
from synthpose.person import make_person


def drawn(group: str, sex: str | None = None, count: int = 400):
    return [draw_phenotype(seed, group=group, sex=sex) for seed in range(count)]


@pytest.mark.parametrize("group", GROUPS)
def test_ages_are_the_group_s(group) -> None:
    low, high = GROUPS[group]
    ages = [p.age for p in drawn(group)]
    assert low <= min(ages) and max(ages) <= high and np.std(ages) > 0.2 * (high - low)


@pytest.mark.truth("ANSUR II (Gordon et al. 2014), means and standard deviations of stature")
def test_adults_are_as_tall_as_measured() -> None:
    for sex, mean, spread in (("male", 1.756, 0.069), ("female", 1.628, 0.064)):
        tall = np.array([p.stature for p in drawn("adult", sex) if p.age < 35])
        assert tall.mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(len(tall)) + 0.005)
        assert 0.8 * spread < tall.std() < 1.1 * spread


@pytest.mark.truth(
    "CDC growth charts, 2 to 20 years: medians at 10 years, 1.38 m, 16.6 (boys) and 16.9 (girls)"
)
def test_ten_year_olds_are_as_the_charts_have_them() -> None:
    ten = [p for p in drawn("child", count=1500) if 9.5 <= p.age <= 10.5]
    assert len(ten) > 100
    assert np.median([p.stature for p in ten]) == pytest.approx(1.385, abs=0.02)
    assert np.median([p.bmi for p in ten]) == pytest.approx(16.75, abs=0.6)


def test_old_people_are_shorter_and_children_grow() -> None:
    for sex in ("male", "female"):
        young, old = (np.mean([p.stature for p in drawn(g, sex)]) for g in ("adult", "elder"))
        assert 0.02 < young - old < 0.08
        children = drawn("child", sex)
        assert np.corrcoef([p.age for p in children], [p.stature for p in children])[0, 1] > 0.9


def test_unlike_legs_and_knees_are_rare() -> None:
    people = drawn("adult", count=2000)
    for share in (np.mean([p.leg_difference != 0 for p in people]), np.mean([p.valgus != 0 for p in people])):
        assert 0.07 < share < 0.13
    assert max(abs(p.leg_difference) for p in people) <= 0.03


def test_the_same_seed_is_the_same_person() -> None:
    assert draw_phenotype(3) == draw_phenotype(3)
    assert draw_phenotype(3) != draw_phenotype(4)
    assert draw_phenotype(3, word="P01") != draw_phenotype(3, word="P02")
    assert draw_phenotype(3, sex="male").sex < 0.5 < draw_phenotype(3, sex="female").sex
    np.testing.assert_allclose(
        [draw_phenotype(3).stature, draw_phenotype(3).bmi], [draw_phenotype(3).stature, draw_phenotype(3).bmi]
    )


def test_unknown_groups_and_sexes_are_refused() -> None:
    with pytest.raises(CapbenchError, match="adult"):
        draw_phenotype(1, group="adults")
    with pytest.raises(CapbenchError, match="female"):
        draw_phenotype(1, sex="f")


@pytest.mark.parametrize("group", GROUPS)
def test_extremes_of_each_group_can_be_made(group) -> None:
    """Of 400 people the thinnest, the fattest, the shortest and the tallest have a mesh, one also a model."""
    people = drawn(group)
    for key in ("bmi", "stature"):
        ordered = sorted(people, key=lambda p: getattr(p, key))
        for phenotype in (ordered[0], ordered[-1]):
            rest_vertices(phenotype)
    heaviest = max(people, key=lambda p: p.bmi)
    assert make_person(heaviest).misfit < 0.018
