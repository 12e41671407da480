"""The card of a cohort that takes seconds to make: one person, two short trials, one small camera."""

from cohorts.card import Card, builtin_card

RECIPE = {
    "seed": 5,
    "people": {"adult": 1},
    "trials": [
        {"condition": "gait", "seconds": 0.6},
        {"condition": "sts", "repetitions": 1},
    ],
    "cameras": ["Cam3"],
    "size": [90, 160],
    "rate": 10,
    "static": 0.2,
}


def tiny_card(**recipe) -> Card:
    """``clinic-mini`` with another recipe: ``RECIPE`` with the given changes (None leaves a key out)."""
    said = {key: value for key, value in {**RECIPE, **recipe}.items() if value is not None}
    return builtin_card("clinic-mini").model_copy(update={"name": "tiny", "recipe": said})
