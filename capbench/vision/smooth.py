"""Zero-lag low-pass filtering with a declared cut-off for each activity.

A Butterworth filter of order 2 runs forwards and backwards: order 4, no delay. The cut-off is where the two
passes together halve the power (-3 dB); each pass alone is set wider for that, exactly, on the bilinear
transform's warped axis. Every unbroken stretch is filtered by itself: a gap is no step and does not
spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.signal import butter, sosfiltfilt

from capbench.vision.views import BoolArray
from cohorts.errors import CapbenchError
from cohorts.recording import Markers
from cohorts.values import FloatArray

ORDER = 2  #: of one pass
#: Activity (how its name begins, in lower case) -> Hz.
#: Walking's markers hold 99.7 % of their power below 6 Hz (Winter, Sidwall & Hobson 1974), which gait
#: laboratories use; OpenCap filters gait at 12 Hz and leaves all else as it is. On LabValidation's subject 4,
#: seen by two made-up phones with 2 px of noise, markers come out best at 5 Hz (walking), 3 Hz (squats) and
#: 6 to 8 Hz (drop jump), within 3 % at what stands here; without noise these cost 0.5 mm. Rather too
#: little is filtered than too much: a landing's peak is what is looked for.
CUTOFFS: Mapping[str, float] = {
    "walking": 6.0,
    "gait": 6.0,
    "squat": 4.0,
    "sit-to-stand": 4.0,
    "sts": 4.0,
    "dj": 10.0,
    "drop": 10.0,
    "jump": 10.0,
    "static": 2.0,
}
OTHER = 10.0  #: Hz for an activity that is not in the table
HIGHEST = 0.9  #: of the Nyquist frequency; a cut-off from there on filters nothing


def cutoff_of(activity: str) -> float:
    """Hz for an activity: by the longest beginning of its name in :data:`CUTOFFS`, else :data:`OTHER`.

    >>> cutoff_of("walkingTS"), cutoff_of("DJAsym"), cutoff_of("cartwheel")
    (6.0, 10.0, 10.0)
    """
    name = activity.lower()
    known = [key for key in CUTOFFS if name.startswith(key)]
    return CUTOFFS[max(known, key=len)] if known else OTHER


def low_pass(values: FloatArray, rate: float, cutoff: float) -> FloatArray:
    """(T, ...) values without what is faster than ``cutoff`` Hz; NaN stays NaN, stretch by stretch.

    A stretch of fewer than four samples stays as it is. At its ends a stretch is continued by its own mirror
    image turned about the last sample, for one and a half periods of the cut-off (or as much as there is), so
    straight lines pass unchanged.
    """
    if not (cutoff > 0 and rate > 0):
        raise CapbenchError(f"Expected a positive cut-off and rate, got {cutoff:g} Hz at {rate:g} Hz.")
    if cutoff >= HIGHEST * rate / 2 or len(values) < 4:
        return values
    sos = _sos(rate, cutoff)
    flat = values.reshape(len(values), -1)
    out = flat.copy()
    finite = np.isfinite(flat)
    pad = int(np.ceil(1.5 * rate / cutoff))
    whole = finite.all(axis=0)
    if whole.any():
        out[:, whole] = _both_ways(sos, flat[:, whole], pad)
    for first, stop, columns in _stretches(finite, ~whole):
        if stop - first >= 4:
            out[first:stop, columns] = _both_ways(sos, flat[first:stop, columns], pad)
    return out.reshape(values.shape)


def _both_ways(sos: Any, part: FloatArray, pad: int) -> FloatArray:
    """(n, columns) filtered; the line from end to end is kept out of it: its start-up would bend."""
    share = np.linspace(0, 1, len(part))[:, None]
    line = part[0] + share * (part[-1] - part[0])
    return np.asarray(
        line + sosfiltfilt(sos, part - line, axis=0, padlen=min(pad, len(part) - 1)), np.float64
    )


def _sos(rate: float, cutoff: float) -> Any:
    """One pass, such that two have their -3 dB at ``cutoff``: 1 / (1 + (Ω/Ω_c)⁴) squared is ½ there."""
    warped = np.tan(np.pi * cutoff / rate) / (np.sqrt(2) - 1) ** (1 / (2 * ORDER))
    return butter(ORDER, 2 * np.arctan(warped) / np.pi, output="sos")


def _stretches(finite: BoolArray, chosen: Any) -> list[tuple[int, int, list[int]]]:
    """Unbroken stretches (first, stop) of the chosen columns, those of equal extent together."""
    found: dict[tuple[int, int], list[int]] = {}
    for column in np.flatnonzero(chosen).tolist():
        edges = np.diff(np.concatenate([[0], finite[:, column].astype(np.int8), [0]]))
        ends = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
        for first, stop in ends:
            found.setdefault((first, stop), []).append(column)
    return [(first, stop, columns) for (first, stop), columns in found.items()]


def smooth(markers: Markers, *, cutoff: float) -> Markers:
    """Markers without what is faster than ``cutoff`` Hz; evenly sampled ones only."""
    if len(markers) < 4:
        return markers
    steps = np.diff(markers.time)
    if steps.max() > 1.05 * steps.min() + 2e-3:
        raise CapbenchError(
            f"Expected evenly sampled markers to filter, got steps of {steps.min():g} to {steps.max():g} s.",
            fix="bring them onto one clock first: capbench.vision.clock.common_clock with a rate",
        )
    return Markers(
        markers.time, markers.names, low_pass(markers.xyz, markers.rate, cutoff), markers.confidence
    )
