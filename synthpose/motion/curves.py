"""The figures of ``curves.yaml``: normal curves at any speed, and the edits that make an impairment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from cohorts.bounded import load_yaml
from cohorts.errors import CapbenchError, unknown_name
from cohorts.values import FloatArray

CURVES = Path(__file__).parent / "curves.yaml"
GRAVITY = 9.81  #: m/s²
ROLES = ("affected", "other", "both")
POINTS = 101  #: of a cycle where a curve is tabled


@dataclass(frozen=True)
class Edit:
    """What an impairment does to one curve at full severity.

    Attributes
    ----------
    curve : its name
    side : "affected", "other" or "both"
    add : degrees
    scale, about : the curve times ``scale`` about the level ``about`` (degrees)
    window : begin, full, full, end in % of the cycle; None for always
    source : a word of the file's list of sources
    """

    curve: str
    side: str
    source: str
    add: float = 0.0
    scale: float = 1.0
    about: float = 0.0
    window: tuple[float, float, float, float] | None = None

    def share(self, phase: FloatArray) -> FloatArray:
        """How much of the edit acts at phases (0 to 1, periodic): 0 to 1, smooth."""
        if self.window is None:
            return np.ones_like(phase)
        a, b, c, d = self.window
        percent = (100.0 * phase - a) % 100.0
        up = np.clip(percent / (b - a), 0.0, 1.0)
        down = np.clip((d - a - percent) / (d - c), 0.0, 1.0)
        both: FloatArray = (0.5 - 0.5 * np.cos(np.pi * up)) * (0.5 - 0.5 * np.cos(np.pi * down))
        return both


@dataclass(frozen=True)
class Condition:
    """One way to move.

    Attributes
    ----------
    name, activity, title, source : what it is and where its figures are from
    speed, cadence, width, sway : factors on the norm at full severity
    stance : role -> % of the cycle by which stance is longer
    time_cv, amplitude, step_cv : factors on the variability from stride to stride
    asymmetry, weak : how much the sides differ, how weak the legs are, at full severity (tasks)
    edits : of the normal curves (gait)
    """

    name: str
    activity: str
    title: str
    source: str
    speed: float = 1.0
    cadence: float = 1.0
    width: float = 1.0
    sway: float = 1.0
    stance: Mapping[str, float] = field(default_factory=dict)
    time_cv: float = 1.0
    amplitude: float = 1.0
    step_cv: float = 1.0
    asymmetry: float = 0.0
    weak: float = 0.0
    edits: tuple[Edit, ...] = ()


@cache
def figures() -> Mapping[str, Any]:
    """The file, read once."""
    loaded: Mapping[str, Any] = load_yaml(CURVES)
    return loaded


@cache
def conditions() -> Mapping[str, Condition]:
    """Every condition by its name."""
    made = {}
    for name, row in figures()["conditions"].items():
        row = dict(row)
        edits = tuple(_edit(name, e) for e in row.pop("edits", ()))
        made[name] = Condition(name=name, edits=edits, **row)
    return made


def _edit(condition: str, row: Mapping[str, Any]) -> Edit:
    known = {*figures()["norms"], *figures()["extra"]}
    if row["curve"] not in known:
        raise unknown_name("curve", row["curve"], known)
    if row["side"] not in ROLES:
        raise unknown_name("side of an edit", row["side"], ROLES)
    window = row.get("window")
    if window is not None and not (
        len(window) == 4 and window[0] < window[1] <= window[2] < window[3] <= window[0] + 100
    ):
        raise CapbenchError(
            f"Expected a window of begin, full, full, end (%), got {window}.",
            file=CURVES, place=f"condition {condition}",
        )  # fmt: skip
    return Edit(**{**row, "window": None if window is None else tuple(map(float, window))})


def at_speed(values: FloatArray | list[Any], speed: float) -> FloatArray:
    """Rows given for each of the norm's speeds, at one nondimensional speed (held beyond the ends)."""
    speeds = figures()["cycle"]["speeds"]
    table = np.asarray(values, float)
    k = int(np.clip(np.searchsorted(speeds, speed), 1, len(speeds) - 1))
    part = float(np.clip((speed - speeds[k - 1]) / (speeds[k] - speeds[k - 1]), 0.0, 1.0))
    made: FloatArray = (1 - part) * table[k - 1] + part * table[k]
    return made


def foot_off(speed: float) -> float:
    """Share of the cycle at which the foot leaves the floor at a nondimensional speed."""
    return float(at_speed(figures()["cycle"]["foot_off"], speed)) / 100.0


@cache
def _spline(name: str, speed: float) -> CubicSpline:
    file = figures()
    if name in file["norms"]:
        row = file["norms"][name]
        mean = at_speed(row["mean"], speed)
    elif name in file["extra"]:
        row = file["extra"][name]
        mean = np.asarray(row["mean"], float)
    else:
        raise unknown_name("curve", name, (*file["norms"], *file["extra"]))
    knots = np.array([*row["at"], 100.0]) / 100.0
    return CubicSpline(knots, np.append(mean, mean[0]), bc_type="periodic")


def normal(name: str, phase: FloatArray, speed: float) -> FloatArray:
    """A normal curve in degrees at phases (1 a cycle) and a nondimensional speed."""
    made: FloatArray = np.asarray(_spline(name, float(speed))(phase % 1.0))
    return made


def normal_sd(name: str, speed: float) -> float:
    """Standard deviation between people in degrees, mean over the cycle."""
    return float(at_speed(figures()["norms"][name]["sd"], speed))


def free_speed(leg: float, *, age: float | None = None) -> float:
    """Comfortable walking speed in m/s of a leg (m); slower in old age."""
    cycle = figures()["cycle"]
    factor = 1.0 if age is None else np.interp(age, cycle["aging"]["years"], cycle["aging"]["of_free"])
    return float(cycle["free"] * factor * np.sqrt(GRAVITY * leg))


def normal_cadence(speed: float, leg: float) -> float:
    """Steps per minute of a leg (m) at a speed in m/s."""
    rule = figures()["cycle"]["step"]
    step = leg * rule["factor"] * (speed / np.sqrt(GRAVITY * leg)) ** rule["power"]
    return float(60.0 * speed / step)


class _Conditions(Mapping[str, Condition]):
    """The conditions, read when first asked for."""

    def __getitem__(self, name: str) -> Condition:
        if name not in conditions():
            raise unknown_name("condition", name, conditions())
        return conditions()[name]

    def __contains__(self, name: object) -> bool:
        return name in conditions()

    def __iter__(self) -> Iterator[str]:
        return iter(conditions())

    def __len__(self) -> int:
        return len(conditions())


CONDITIONS: Mapping[str, Condition] = _Conditions()
