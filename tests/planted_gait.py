"""A walk whose events and distances are known in closed form: feet that stand still, then swing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from metrics.events import FootEvents

SIDES = ("left", "right")


@dataclass(frozen=True)
class Walk:
    """Right heel strikes at k·period, left ones ``left_phase`` periods later; lengths in m, times in s."""

    period: float = 1.0
    rate: float = 100.0
    duration: float = 4.5
    stride: float = 1.3
    left_step: float = 0.6
    left_phase: float = 0.5
    stance: Mapping[str, float] = field(default_factory=lambda: {"left": 0.6, "right": 0.62})
    width: float = 0.12
    out: Mapping[str, float] = field(default_factory=lambda: {"left": 0.1, "right": 0.2})
    heading: float = 0.0
    swing: str = "cycloid"
    circumduction: float = 0.05

    @property
    def time(self) -> np.ndarray:
        return np.arange(round(self.duration * self.rate) + 1) / self.rate

    @property
    def forward(self) -> np.ndarray:
        return self._turn(np.array([1.0, 0.0, 0.0]))

    def _turn(self, points: np.ndarray) -> np.ndarray:
        c, s = np.cos(self.heading), np.sin(self.heading)
        return points @ np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])

    def _heel(self, side: str) -> np.ndarray:
        phase = self.left_phase if side == "left" else 0.0
        cycles = self.time / self.period - phase
        k = np.floor(cycles + 1e-9)
        swing = np.clip((cycles - k - self.stance[side]) / (1 - self.stance[side]), 0.0, 1.0)
        gone = swing - np.sin(2 * np.pi * swing) / (2 * np.pi) if self.swing == "cycloid" else swing
        lift = (1 - np.cos(2 * np.pi * swing)) / 2
        sign = 1.0 if side == "right" else -1.0
        x = (k + gone) * self.stride + (self.left_step if side == "left" else 0.0)
        z = sign * (self.width / 2 + self.circumduction * lift)
        return np.stack([x, 0.04 + 0.1 * lift, z], axis=1)

    @property
    def heels(self) -> dict[str, np.ndarray]:
        return {side: self._turn(self._heel(side)) for side in SIDES}

    @property
    def toes(self) -> dict[str, np.ndarray]:
        found = {}
        for side in SIDES:
            sign = 1.0 if side == "right" else -1.0
            foot = 0.2 * np.array([np.cos(self.out[side]), 0.0, sign * np.sin(self.out[side])])
            found[side] = self._turn(self._heel(side) + foot)
        return found

    @property
    def sacrum(self) -> np.ndarray:
        t = self.time
        bounce = 0.02 * np.sin(4 * np.pi * t / self.period)
        return self._turn(np.stack([self.stride / self.period * t, 0.95 + bounce, 0 * t], axis=1))

    @property
    def events(self) -> dict[str, FootEvents]:
        found = {}
        for side in SIDES:
            phase = self.left_phase if side == "left" else 0.0
            strikes = (np.arange(-1, 20) + phase) * self.period
            offs = strikes + self.stance[side] * self.period
            last = self.time[-1]
            found[side] = FootEvents(*(t[(t >= 0) & (t <= last)] for t in (strikes, offs)))
        return found

    def but(self, **changes: object) -> Walk:
        return replace(self, **changes)
