"""Which bodies and axes of a model share a scale factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capbench.biomech.model import Model
from capbench.biomech.scale_setup import MANUAL, MEASUREMENTS, ScaleSetup
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.values import FloatArray, IntArray


@dataclass(frozen=True)
class Groups:
    """Which factor scales what: group names, and per body and axis (B, 3) the group's number or -1.

    ``constant`` (B, 3) are the factors where no group applies.
    """

    names: tuple[str, ...]
    bodies: tuple[str, ...]
    number: IntArray
    constant: FloatArray

    def scales(self, logs: FloatArray) -> dict[str, FloatArray]:
        """(3,) factors of every body for log factors (G,)."""
        table = np.where(self.number >= 0, np.exp(logs)[self.number], self.constant)
        return dict(zip(self.bodies, table, strict=True))


def groups_of_setup(model: Model, setup: ScaleSetup) -> Groups:
    """A group for every measurement that prevails on some body and axis of the model."""
    bodies = tuple(body.name for body in model.bodies)
    place = {name: i for i, name in enumerate(bodies)}
    number, constant = np.full((len(bodies), 3), -1), np.ones((len(bodies), 3))
    for step in setup.order:
        if step == MEASUREMENTS:
            for k, measurement in enumerate(setup.measurements):
                for body, axes in measurement.bodies:
                    if body in place:
                        number[place[body], list(axes)] = k
        elif step == MANUAL:
            for manual in setup.manual:
                if manual.body in place:
                    number[place[manual.body]], constant[place[manual.body]] = -1, manual.factors
    used = sorted(set(number[number >= 0].tolist()))
    if not used:
        raise CapbenchError(
            "Expected a set-up with measurements that scale bodies of the model, got none.",
            fix=f"its bodies are {shorten(bodies)}",
        )
    renumbered = {k: i for i, k in enumerate(used)} | {-1: -1}
    number = np.vectorize(renumbered.__getitem__, otypes=[np.int64])(number)
    return Groups(_unique([setup.measurements[k].name for k in used]), bodies, number, constant)


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(
        name if names.index(name) == i else f"{name} ({names[:i].count(name) + 1})"
        for i, name in enumerate(names)
    )


def groups_of_bodies(model: Model) -> Groups:
    """One group for each body; bodies whose names differ in a last ``_r`` or ``_l`` share one."""
    bodies = tuple(body.name for body in model.bodies)
    own = set(bodies)

    def group(name: str) -> str:
        stem, side = name[:-2], name[-2:]
        return stem if side in ("_r", "_l") and {f"{stem}_r", f"{stem}_l"} <= own else name

    names = tuple(dict.fromkeys(group(body) for body in bodies))
    number = np.array([[names.index(group(body))] * 3 for body in bodies])
    return Groups(names, bodies, number, np.ones((len(bodies), 3)))
