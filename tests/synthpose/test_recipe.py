"""What a recipe means, and which are refused."""

import pytest
from tiny_clinic import RECIPE, tiny_card

from cohorts.card import builtin_card
from cohorts.errors import CapbenchError
from synthpose.recipe import Recipe, chance, plan, recipe_of


@pytest.mark.parametrize(
    "name", ["clinic-mini", "clinic", "clinic-train", "clinic-unseen", "clinic-restyled"]
)
def test_built_in_recipes_make_as_many_people_as_their_cards_say(name) -> None:
    card = builtin_card(name)
    people = plan(recipe_of(card))
    assert len(people) == card.subjects.count
    assert len({p.name for p in people}) == len(people)
    for person in people:
        assert {t.activity for t in person.trials} <= card.activities.keys()
        assert len({t.name for t in person.trials}) == len(person.trials)


def test_the_public_test_has_people_and_conditions_enough() -> None:
    people = plan(recipe_of(builtin_card("clinic")))
    assert len(people) >= 24
    assert all(len({t.doing.condition for t in p.trials if t.doing}) >= 12 for p in people)


def test_hidden_and_public_differ_in_their_seed_alone() -> None:
    public, hidden = builtin_card("clinic"), builtin_card("clinic-hidden")
    assert {**hidden.recipe, "seed": public.recipe["seed"]} == dict(public.recipe)
    with pytest.raises(CapbenchError, match="keeps it a secret") as caught:
        recipe_of(hidden)
    assert caught.value.fix == "give --seed NUMBER"
    assert recipe_of(hidden, seed=3).seed == 3


def test_the_restyled_cohort_differs_from_the_unseen_one_in_its_style_alone() -> None:
    unseen, restyled = builtin_card("clinic-unseen"), builtin_card("clinic-restyled")
    assert {**unseen.recipe, "style": "sunlit"} == dict(restyled.recipe)
    assert recipe_of(unseen).style == "default"
    assert plan(recipe_of(unseen)) == plan(recipe_of(restyled))
    told = ("subjects", "activities", "cameras", "reference", "protocol", "splits")
    assert all(getattr(unseen, name) == getattr(restyled, name) for name in told)


def test_a_persons_part_follows_from_nobody_elses() -> None:
    few = plan(Recipe.model_validate({**RECIPE, "people": {"adult": 1, "elder": 1}}))
    many = plan(Recipe.model_validate({**RECIPE, "people": {"adult": 3, "child": 2, "elder": 1}}))
    assert {p.name: p for p in few}.items() <= {p.name: p for p in many}.items()
    other = plan(Recipe.model_validate({**RECIPE, "seed": 6}))
    assert few[0].seed != other[0].seed


def test_severities_are_drawn_from_their_range_and_sides_from_both() -> None:
    doing = {"condition": "crouch", "severity": [0.25, 0.5], "repeats": 20}
    (person,) = plan(Recipe.model_validate({**RECIPE, "trials": [doing], "others": 0.5}))
    trials = [t for t in person.trials if t.doing]
    assert [t.name for t in trials] == [f"crouch{k}" for k in range(1, 21)]
    assert all(0.25 <= t.severity <= 0.5 for t in trials)
    assert len({t.severity for t in trials}) == 20
    assert {t.side for t in trials} == {"r", "l"}
    assert {t.other for t in trials} == {True, False}
    assert person.trials[0].name == "static1" and person.trials[0].activity == "static"


def test_every_name_has_chances_of_its_own() -> None:
    assert chance(1, "a").random() == chance(1, "a").random() != chance(1, "b").random()


@pytest.mark.parametrize(
    ("change", "problem", "place"),
    [
        ({"trials": [{"condition": "moonwalk"}]}, "one of the conditions", "recipe.trials.0.condition"),
        ({"trials": [{"condition": "gait", "severity": 1.5}]}, "from 0 to 1", "recipe.trials.0.severity"),
        (
            {"trials": [{"condition": "gait", "severity": [0.9, 0.1]}]},
            "from 0 to 1",
            "recipe.trials.0.severity",
        ),
        ({"people": {"giant": 1}}, "groups among child", "recipe.people"),
        ({"people": {"adult": 0}}, "at least one person", "recipe.people"),
        ({"cameras": ["Cam9"]}, "phones among Cam0", "recipe.cameras"),
        ({"speed": 3}, "Extra inputs", "recipe.speed"),
        ({"seed": -1}, "greater than or equal to 0", "recipe.seed"),
    ],
)
def test_recipes_that_cannot_be_made_are_refused(change, problem, place) -> None:
    with pytest.raises(CapbenchError, match=problem) as caught:
        recipe_of(tiny_card(**change))
    assert caught.value.place == place


def test_people_who_exist_are_not_made() -> None:
    with pytest.raises(
        CapbenchError, match="Expected a card with a recipe, got that of opencap-labvalidation"
    ):
        recipe_of(builtin_card("opencap-labvalidation"))
