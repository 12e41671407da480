"""``capbench:noisy-truth``: the cohort's own true 2D points with declared noise, in place of a model.

It looks at no picture. It is there to test the way from keypoints to scores, and to show what a pose model of
a known pixel error would reach; every output says so.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace

import numpy as np

from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints

NAME = "capbench:noisy-truth"
WHITE, BIAS = 1.0, 1.0  #: pixels, standard deviations along an axis, where the name says nothing
_LARGEST = 1000.0  # pixels
_SPEC = re.compile(r"capbench:noisy-truth(?::([0-9.]+)(?:,([0-9.]+))?)?")


@dataclass(frozen=True)
class Noise:
    """Pixels along an axis: ``white`` anew in every frame, ``bias`` the same all through a trial's camera."""

    white: float = WHITE
    bias: float = BIAS


def parse(spec: str) -> Noise:
    """The noise that a name asks for: ``capbench:noisy-truth``, ``…:2`` (both), ``…:2,0.5`` (white, bias)."""
    found = _SPEC.fullmatch(spec)
    try:
        if found is None:
            raise ValueError
        white = WHITE if found[1] is None else float(found[1])
        bias = (BIAS if found[1] is None else white) if found[2] is None else float(found[2])
        if not (white <= _LARGEST and bias <= _LARGEST):
            raise ValueError
    except ValueError:
        raise CapbenchError(
            f"Expected {NAME}[:PIXELS or :WHITE,BIAS], up to {_LARGEST:g} pixels, got {spec!r}."
        ) from None
    return Noise(white, bias)


def noisy(truth: Keypoints, noise: Noise, *, seed: int, trial: str) -> Keypoints:
    """The true points of one camera with noise that ``seed``, the trial's key and the camera decide alone.

    Times start at 0 with the first frame, as those of a video do: what the cameras' clocks have in common is
    for the synchronisation to find.
    """
    words = [zlib.crc32(word.encode()) for word in (trial, truth.camera)]
    random = np.random.default_rng(np.random.SeedSequence([seed, *words]))
    points = truth.xy.shape[1:]
    off = noise.bias * random.standard_normal(points) + noise.white * random.standard_normal(truth.xy.shape)
    xy = truth.xy + off
    time = truth.time - truth.time[0] if len(truth) else truth.time
    return replace(truth, time=time, xy=xy)
