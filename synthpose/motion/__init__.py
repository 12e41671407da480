"""Whole-body motions: parametric, seeded, smooth, planted on the floor; and the way in for real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from capbench.biomech.model import Model
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from synthpose.motion.contact import SIDES, Sole, model_sole, sole_points
from synthpose.motion.curves import CONDITIONS, Condition
from synthpose.motion.gait import walk
from synthpose.motion.jump import drop_jump
from synthpose.motion.retarget import retarget
from synthpose.motion.stage import RATE, Contact, Performance, make_stage
from synthpose.motion.tasks import sit_to_stand, squat

_ACTIVITIES: Mapping[str, Callable[..., Performance]] = {
    "walking": walk,
    "squats": squat,
    "sit-to-stand": sit_to_stand,
    "drop jump": drop_jump,
}


def perform(
    condition: str,
    model: Model,
    *,
    seed: int,
    rate: float = RATE,
    severity: float = 1.0,
    side: str = "r",
    sole: Sole | None = None,
    **how: Any,
) -> Performance:
    """A motion of a condition, with what is known of it: contacts, speed, seat.

    ``severity`` 0 (none of the impairment) to 1; ``side`` "r" or "l" is the affected one. ``sole``: what of
    the body touches floor and seat, from ``sole_points(person)``; by default that of a plain model. ``how``
    goes to the activity: ``gait.walk``, ``tasks.squat``, ``tasks.sit_to_stand``, ``jump.drop_jump``. The same
    arguments give the same bytes.
    """
    known = CONDITIONS[condition]
    if not 0.0 <= severity <= 1.0:
        raise CapbenchError(f"Expected a severity between 0 and 1, got {severity:g}.")
    if side not in SIDES:
        raise CapbenchError(f"Expected side r or l, got {side!r}.")
    act = _ACTIVITIES[known.activity]
    stage = make_stage(model, sole)
    return act(stage, known, seed=seed, rate=rate, severity=severity, side=side, **how)


def make_motion(
    condition: str,
    model: Model,
    *,
    seed: int,
    rate: float = RATE,
    severity: float = 1.0,
    side: str = "r",
    **how: Any,
) -> Motion:
    """All coordinates of a model during a motion of a condition; see ``perform``."""
    return perform(condition, model, seed=seed, rate=rate, severity=severity, side=side, **how).motion


__all__ = [
    "CONDITIONS", "Condition", "Contact", "Performance", "Sole", "make_motion", "model_sole", "perform",
    "retarget", "sole_points",
]  # fmt: skip
