from __future__ import annotations

import numpy as np
import pytest
from synthpose_motion_measures import sole_tracks, worst_slide

from synthpose.motion import CONDITIONS, perform

GAITS = [name for name, c in CONDITIONS.items() if c.activity == "walking"]


@pytest.mark.parametrize("condition", GAITS)
def test_feet_neither_slide_nor_sink(anybody, condition):
    done = perform(condition, anybody.person.model, seed=1, sole=anybody.stage.sole, duration=1.4)
    at = sole_tracks(anybody.stage, done.motion)
    assert worst_slide(anybody.stage, done) < 0.005
    assert at[..., 1].min() > -0.003
    skin = np.concatenate([v[..., 1] for v in anybody.person.posed(done.motion[::3])], axis=1)
    assert skin.min() > -0.005  # the mesh itself, not only the points that were planned with
    assert skin.min(axis=1).max() < 0.003  # and a walker always touches the floor


@pytest.mark.parametrize("condition", GAITS)
def test_within_ranges_finite_smooth_and_whole(adult, condition):
    motion = perform(condition, adult.person.model, seed=3, sole=adult.stage.sole, duration=2.0).motion
    assert motion.names == adult.person.model.coordinate_names
    assert motion.rate == pytest.approx(100) and len(motion) == 201 and np.isfinite(motion.values).all()
    for c in adult.person.model.coordinates:
        assert c.range[0] <= motion.column(c.name).min() and motion.column(c.name).max() <= c.range[1]
    turns = [n for n, kind in zip(motion.names, motion.kinds, strict=True) if kind == "rotation"]
    fast = np.abs(np.diff(np.degrees(motion.select(turns).values), axis=0)) * 100
    assert fast.max() < 750  # degrees/s; the quickest of healthy gait are about 450 (knee) and 400 (ankle)
    jumps = np.abs(np.diff(np.degrees(motion.select(turns).values), n=2, axis=0))
    assert jumps.max() < 2.2  # degrees from frame to frame by which the step changes: no velocity jumps
    way = np.abs(np.diff(motion.select(("pelvis_tx", "pelvis_ty", "pelvis_tz")).values, n=2, axis=0)) * 1e4
    assert way.max() < 12  # m/s²
