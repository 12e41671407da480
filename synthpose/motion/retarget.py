"""Real motions on another body: angles by name, the way scaled by the leg, the feet put on the floor."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from capbench.biomech.kinematics import forward
from capbench.biomech.model import Model
from cohorts.errors import CapbenchError
from cohorts.recording import Motion
from cohorts.values import FloatArray
from synthpose.motion.contact import Sole
from synthpose.motion.stage import PATH, Stage, make_stage

GROUNDED = 0.035  #: a foot this much (of a leg) above the lowest it gets is taken to stand
SMOOTH = 0.03  #: seconds over which the correction of height is smoothed
#: without these a motion can't be shown
NEEDED = (
    *PATH,
    "pelvis_tilt",
    *(f"{n}_{s}" for n in ("hip_flexion", "knee_angle", "ankle_angle") for s in "rl"),
)


def retarget(
    motion: Motion, model: Model, *, source: Model | None = None, sole: Sole | None = None
) -> Motion:
    """A motion of another body (a ``.mot``, say) on this model, same times; deterministic.

    Coordinates go by name; what the motion lacks is as the person stands upright, what the model lacks is
    left out, and angles stay within the model's ranges. The pelvis' way is scaled by the leg: ``source``, the
    model that the motion was made with, tells its leg; without it the leg is told by how high the pelvis is
    when these angles stand on a floor at y = 0. Then heights are corrected so that the soles neither sink nor
    hover; flights stay flights. Feet may slide where the bodies' proportions differ.
    """
    missing = [name for name in NEEDED if name not in motion]
    if missing:
        raise CapbenchError(f"Expected a motion of pelvis and legs, got none of {', '.join(missing)}.")
    if len(motion) < 2:
        raise CapbenchError(f"Expected a motion of at least 2 frames, got {len(motion)}.")
    stage = make_stage(model, sole)
    table = _by_name(stage, motion)
    low = _lowest(stage, {**table, "pelvis_ty": np.zeros(len(motion))})
    if source is not None:
        scale = make_stage(model).leg / make_stage(source).leg  # both on plain soles: shoes do not count
    else:
        scale = 1.0 / float(np.median(motion.column("pelvis_ty") / -low))
    if not 0.2 <= scale <= 5.0:
        raise CapbenchError(
            f"Expected a motion on a floor at y = 0, of a body 0.2 to 5 times this one, "
            f"got {1 / scale:.3g} times.",
            fix="give the model it was made with (source), or move its floor to y = 0",
        )
    for name in PATH:
        table[name] = scale * table[name]
    table["pelvis_ty"] = table["pelvis_ty"] + _onto_floor(low + table["pelvis_ty"], stage.leg, motion.rate)
    values = np.stack([table[n] for n in stage.tree.coordinates], axis=-1)
    names = model.coordinate_names
    kinds = tuple(c.kind for c in model.coordinates)
    return Motion(motion.time, names, stage.tree.expand(values, names), kinds, tuple(stage.tree.coupled))


def _by_name(stage: Stage, motion: Motion) -> dict[str, FloatArray]:
    table = stage.blank(len(motion))
    for coordinate in stage.model.coordinates:
        name = coordinate.name
        if name not in motion:
            continue
        column = motion.column(name)
        if np.isnan(column).any():
            frame = int(np.flatnonzero(np.isnan(column))[0])
            raise CapbenchError(
                "Expected a motion without gaps, got NaN.",
                place=f"frame {frame}, coordinate {name}", fix="fill or cut the gap first",
            )  # fmt: skip
        table[name] = column if name in PATH else np.clip(column, *coordinate.range)
    return table


def _lowest(stage: Stage, table: dict[str, FloatArray]) -> FloatArray:
    """(T,) metres: height of the soles' lowest point."""
    feet = stage.feet(forward(stage.legs.tree, stage.legs_table(table)))
    made: FloatArray = feet[..., 1].min(axis=1)
    return made


def _onto_floor(low: FloatArray, leg: float, rate: float) -> FloatArray:
    """(T,) metres to add so that what stands is at 0: in flight, between what is before and after."""
    standing = low <= np.percentile(low, 5) + GROUNDED * leg
    frames = np.arange(len(low))
    needed = np.interp(frames, frames[standing], -low[standing])
    sigma = SMOOTH * rate
    raised = gaussian_filter1d(needed, sigma, mode="nearest")
    under = np.maximum(-(low + raised), 0.0)  # what smoothing lets sink is lifted around that moment
    reach = 2 * int(np.ceil(2 * sigma)) + 1
    lifted: FloatArray = raised + gaussian_filter1d(
        maximum_filter1d(under, reach), sigma, mode="nearest", truncate=2
    )
    return lifted
