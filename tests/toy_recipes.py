"""The recipe file that tests of the command line train by: a network of a few channels, one condition."""

from typing import Any

from synthpose.motion import CONDITIONS

NET = {"width": 16, "stem": 8, "stages": [8, 8, 16, 16], "stage_blocks": [1, 1, 1, 1]}


def tiny_file(phases: dict[str, Any], *, log: int, **shared: Any) -> dict[str, Any]:
    """A recipe file of these phases, with further keys that all of them share."""
    recipe = {
        "network": {"architecture": "fpn-mini", "options": NET, "input_size": [64, 64]},
        "batch": 8,
        "optimiser": {"rate": 0.003, "ema": 0.9},
        "checks": {"every": 6, "shots": 4, "log": log},
        "data": {
            "seed": 1, "size": [64, 64], "shots_per_person": 8, "motions_per_person": 1, "variants": 1,
            "held_out_conditions": [name for name in CONDITIONS if name != "gait"],
            "others": 0.0, "aids": 0.0,
        },
        "pictures": 16,
        "machine": {"threads": 1, "workers": 0},
    }  # fmt: skip
    return {"name": "tiny", "recipe": recipe | shared, "phases": phases}
