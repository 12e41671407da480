"""Plausible results of evaluations, made from a seed: for tests of reports and comparisons.

Means are taken here by plain loops, not by the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from capbench.run.result import (
    About,
    Beside,
    Cause,
    Curve,
    Failure,
    Result,
    Score,
    TrialRow,
)

ANGLES = (
    "pelvis_tilt", "pelvis_list", "pelvis_rotation",
    "hip_flexion_r", "hip_adduction_r", "hip_rotation_r", "knee_angle_r", "ankle_angle_r", "subtalar_angle_r",
    "hip_flexion_l", "hip_adduction_l", "hip_rotation_l", "knee_angle_l", "ankle_angle_l", "subtalar_angle_l",
    "lumbar_extension", "lumbar_bending", "lumbar_rotation",
)  # fmt: skip
PLACES = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
ACTIVITIES = ("gait", "stiff_knee", "squat", "sts")

#: how hard each coordinate is, as a factor of the model's error
HARD = {name: 0.5 + (17 * k % 11) / 7 for k, name in enumerate(ANGLES + PLACES)}


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def up(rows: Sequence[TrialRow], value: Callable[[TrialRow], float]) -> float:
    """Trials -> activities -> subjects -> cohort, by loops."""
    subjects = []
    for subject in sorted({row.subject for row in rows}):
        activities = []
        for activity in sorted({row.activity for row in rows if row.subject == subject}):
            activities.append(
                mean(value(row) for row in rows if (row.subject, row.activity) == (subject, activity))
            )
        subjects.append(mean(activities))
    return mean(subjects)


def score(name: str, unit: str, rows: Sequence[TrialRow], value: Callable[[TrialRow], float]) -> Score:
    by_subject = [up([r for r in rows if r.subject == s], value) for s in sorted({r.subject for r in rows})]
    middle = mean(by_subject)
    half = 2 * float(np.std(by_subject)) / len(by_subject) ** 0.5
    several = len(by_subject) > 1
    mm = unit == "mm"
    null = (120.0 if mm else 14.0) * HARD.get(name, 1.2)
    return Score(
        name=name,
        unit=unit,
        value=middle,
        low=middle - half if several else None,
        high=middle + half if several else None,
        n=len(by_subject),
        trials=len(rows),
        coverage=up(rows, lambda row: row.coverage),
        uncapped=middle * 1.03,
        null=null,
        skill=1 - middle / null,
        noise_floor=6.0 if mm else 0.4 + 0.5 * HARD.get(name, 1.0),
    )


def made_trials(
    seed: int, error: float, subjects: int, activities: Sequence[str], repeats: int, effect: float
) -> list[TrialRow]:
    """Trials whose difficulty comes from the cohort (one seed for all) and whose noise from ``seed``."""
    shared, own = np.random.default_rng(7), np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        person = float(np.exp(0.25 * shared.normal()))
        for activity in activities:
            task = float(np.exp(0.2 * shared.normal()))
            for k in range(repeats):
                noise = np.exp(0.1 * own.normal(size=len(ANGLES + PLACES)))
                values = {
                    name: float(
                        (error * person * task + effect) * HARD[name] * n * (6 if name in PLACES else 1)
                    )
                    for name, n in zip(ANGLES + PLACES, noise, strict=True)
                }
                charged = mean(values[name] for name in ANGLES)
                subject = f"p{s + 1:02d}"
                rows.append(
                    TrialRow(
                        key=f"{subject}/day1/{activity}{k + 1}",
                        subject=subject,
                        activity=activity,
                        charged=charged,
                        uncapped=charged * 1.02,
                        coverage=100.0 if own.random() < 0.7 else float(np.round(90 + 10 * own.random(), 1)),
                        lag=float(np.round(own.normal() * 20)),
                        coordinates=values,
                        facts={"reprojection_px": float(np.round(2 + own.random(), 2)), "cameras": "2 of 2"},
                    )
                )
    return rows


def made_curves(rows: Sequence[TrialRow], seed: int) -> tuple[Curve, ...]:
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 2.5, 101)
    found = []
    for row in rows:
        for name, lift in (("knee_angle_r", 30), ("hip_flexion_r", 20), ("ankle_angle_r", 8)):
            if name not in row.coordinates:
                continue
            truth = lift * (1 - np.cos(2 * np.pi * time / 1.1 + lift))
            wrong = float(row.coordinates[name] or 0.0) * np.sin(3 * time + rng.normal()) + truth
            answered: list[float | None] = [float(v) for v in wrong]
            if name == "knee_angle_r":
                answered[40:52] = [None] * 12
            found.append(
                Curve(
                    trial=row.key,
                    coordinate=name,
                    time=tuple(time.tolist()),
                    reference=tuple(truth.tolist()),
                    predicted=tuple(answered),
                    sd=tuple((2 + np.sin(time) ** 2).tolist()),
                )
            )
    return tuple(found)


def made_result(
    seed: int = 0,
    *,
    name: str = "acme:pose-large",
    error: float = 4.0,
    effect: float = 0.0,
    subjects: int = 6,
    activities: Sequence[str] = ACTIVITIES,
    repeats: int = 2,
    rows: Sequence[TrialRow] | None = None,
    **changes: Any,
) -> Result:
    """A result; ``effect`` is added to every trial's error, ``changes`` replace fields."""
    rows = list(rows) if rows is not None else made_trials(seed, error, subjects, activities, repeats, effect)
    names = list(rows[0].coordinates)
    ordered = sorted(rows, key=lambda row: -(row.charged or 0.0))

    def of(coordinate: str) -> Callable[[TrialRow], float]:
        return lambda row: float(row.coordinates[coordinate] or 0.0)

    def charged(row: TrialRow) -> float:
        return float(row.charged or 0.0)

    def parts(which: str) -> tuple[Score, ...]:
        found = sorted({getattr(row, which) for row in rows})
        return tuple(score(p, "°", [r for r in rows if getattr(r, which) == p], charged) for p in found)

    overall = score("all", "°", rows, charged)
    value = overall.value or 0.0
    fields: dict[str, Any] = {
        "capbench": About(name="capbench", version="0.1.0"),
        "model": About(name=name, version="1.2", sha256=f"{seed:02x}" * 32, licence="Apache-2.0"),
        "cohort": About(name="clinic-mini", version="1", sha256="cd" * 32, title="Four made people"),
        "protocol": About(name="capbench-1", version="1"),
        "settings": {"seed": 0, "scaling": "own", "cutoff_hz": 6.0, "cameras": ["Cam1", "Cam3"]},
        "subjects": len({row.subject for row in rows}),
        "trials": len(rows),
        "answered": sum(row.coverage > 0 for row in rows),
        "overall": overall,
        "coordinates": tuple(score(c, "mm" if c in PLACES else "°", rows, of(c)) for c in names),
        "activities": parts("activity"),
        "by_subject": parts("subject"),
        "beside": (
            Beside(name="MPJPE", unit="mm", direction="lower", value=24.13, low=20.2, high=28.9, n=6,
                   coverage=98.2),
            Beside(name="PCK@50mm", unit="%", direction="higher", value=93.4, low=90.1, high=96.0, n=6),
        ),
        "causes": (
            Cause(stage="keypoints", value=0.45 * value, brings=0.55 * value),
            Cause(stage="calibration and sync", value=1.02 * value, brings=-0.02 * value),
            Cause(stage="scaling", value=0.8 * value, brings=0.2 * value),
            Cause(stage="solver", value=0.08 * value, brings=0.08 * value),
        ),
        "curves": made_curves([ordered[0], ordered[len(ordered) // 2]], seed),
        "per_trial": tuple(rows),
        "hashes": {"predictions/p01/day1/gait1.npz": f"{seed + 1:02x}" * 32},
    }  # fmt: skip
    return Result(**{**fields, **changes})


INDEX = "IndexError: list index out of range"
FAILED = (
    Failure(unit="predict p02/day1/gait1", fault="model", kind="threw", reason=INDEX),
    Failure(unit="predict p03/day1/squat2", fault="model", kind="threw", reason=INDEX),
    Failure(unit="solve p04/day1/sts1", fault="environment", kind="killed", reason="Out of memory."),
)

TIMING = {
    "stages": {"decode": 12.4, "predict": 83.2, "triangulate": 1.31, "solve": 9.7, "score": 0.4},
    "frames": 12_480,
    "frames_per_second": 150.0,
    "hardware": {"cpu": "2 cores", "device": "cpu", "memory": "24 GiB"},
}  # fmt: skip
