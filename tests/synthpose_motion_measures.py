"""What tests measure on motions, from the model's kinematics alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from capbench.biomech.kinematics import coordinates_of, forward, points
from capbench.biomech.tree import build_tree


def sole_tracks(stage, motion):
    """(T, P, 3) metres of the soles' points, by the whole model's kinematics."""
    tree = build_tree(stage.model)
    frames = forward(tree, coordinates_of(tree, motion))
    return points(tree, frames, stage.sole.bodies, stage.sole.locations)


def worst_slide(stage, done, *, ground=0.0, touching=0.002):
    """Metres: the farthest that a point, touching the ground, gets from its place in a contact."""
    at = sole_tracks(stage, done.motion)
    time, worst = done.motion.time, 0.0
    for contact in done.contacts:
        if not contact.what.startswith("foot"):
            continue
        during = (time >= contact.start) & (time <= contact.end)
        for p in stage.sole.of(contact.what[-1]):
            on = during & (np.abs(at[:, p, 1] - ground) < touching)
            if on.any():
                where = at[on, p][:, [0, 2]]
                worst = max(worst, np.hypot(*(where - np.median(where, axis=0)).T).max())
    return worst


def stride_curves(done, name, *, points_=101):
    """(S, points) degrees of ``name_side``'s whole strides."""
    side = name[-1]
    strikes = done.strikes(side)
    cycle = np.linspace(0, 1, points_)
    values = np.degrees(done.motion.column(name))
    return np.array([np.interp(a + cycle * (b - a), done.motion.time, values) for a, b in pairwise(strikes)])
