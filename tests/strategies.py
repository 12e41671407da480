"""Hypothesis strategies for the nouns: what property tests write and read back."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohorts import Markers, Motion, Signals
from cohorts.values import FloatArray

#: names as labs write them: dots, spaces, colons, accents; no tabs, line ends, brackets or outer spaces
names = st.text("abcXYZ019._-: é%*'#", min_size=1, max_size=12).filter(lambda s: s == s.strip())
#: printable but without white space: what a table split at spaces can hold
plain_names = st.text("abcXYZ019._-é%*'#", min_size=1, max_size=12)


def several(name: st.SearchStrategy[str], most: int = 5) -> st.SearchStrategy[tuple[str, ...]]:
    """One to ``most`` different names."""
    return st.lists(name, min_size=1, max_size=most, unique=True).map(tuple)


@st.composite
def times(draw: st.DrawFn, least: int = 1) -> FloatArray:
    """Increasing times in seconds that need not start at 0."""
    steps = draw(st.lists(st.floats(1e-4, 1), min_size=least, max_size=6))
    return draw(st.floats(-10, 1000)) + np.cumsum(steps)


def floats(rows: int, columns: int, low: float, high: float) -> st.SearchStrategy[FloatArray]:
    """A (rows, columns) array of ordinary numbers."""
    return hnp.arrays(np.float64, (rows, columns), elements=st.floats(low, high, allow_subnormal=False))


@st.composite
def all_markers(draw: st.DrawFn) -> Markers:
    """Markers of something a few metres large, some missing, none at the very origin."""
    time, marks = draw(times()), draw(several(names))
    xyz = draw(floats(len(time), 3 * len(marks), 0.05, 3)).reshape(len(time), len(marks), 3)
    xyz = xyz + np.arange(len(marks))[:, None] * 0.1  # never all in one spot: that would be no person
    xyz[draw(hnp.arrays(bool, xyz.shape[:2]))] = np.nan
    return Markers(time, marks, xyz)


@st.composite
def all_motions(draw: st.DrawFn) -> Motion:
    """Motions with translations, rotations and patellas."""
    time = draw(times())
    bases = draw(several(st.sampled_from(["pelvis_tx", "pelvis_ty", "hip_r", "knee_r", "knee_r_beta", "é%"])))
    return Motion(time, bases, draw(floats(len(time), len(bases), -20, 20)))


@st.composite
def all_signals(draw: st.DrawFn) -> Signals:
    """Channels of any size, some samples missing."""
    time, channels = draw(times()), draw(several(names))
    values = draw(floats(len(time), len(channels), -1e30, 1e30))
    values[draw(hnp.arrays(bool, values.shape))] = np.nan
    return Signals(time, channels, values, draw(st.booleans()))
