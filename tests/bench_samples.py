"""Trials as OpenSim writes them, and the definition of OpenCapBench's scores spelled out in pandas."""

import numpy as np
import pandas as pd

from metrics.protocols import Curves

LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "knee_angle_beta", "ankle_angle")
LEG += ("subtalar_angle", "mtp_angle")
ARM = ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup")
SIDES = ("r", "l")


def _sided(name, side):
    return f"knee_angle_{side}_beta" if name == "knee_angle_beta" else f"{name}_{side}"


#: the columns of an inverse-kinematics file, in its order
COLUMNS = (
    *("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz"),
    *(_sided(name, side) for side in SIDES for name in LEG),
    *("lumbar_extension", "lumbar_bending", "lumbar_rotation"),
    *(_sided(name, side) for side in SIDES for name in ARM),
)
PLACE = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
NOT_MEASURED = ("knee_angle_r_beta", "knee_angle_l_beta", "mtp_angle_r", "mtp_angle_l")
#: what the published table prints, in its order
TWELVE = (
    *(
        "lumbar_bending",
        "lumbar_extension",
        "lumbar_rotation",
        "pelvis_list",
        "pelvis_rotation",
        "pelvis_tilt",
    ),
    *("ankle_angle", "hip_adduction", "hip_flexion", "hip_rotation", "knee_angle", "subtalar_angle"),
)


def trial(seed=0, *, rows=200, start=0, rate=100, late=0.0):
    """A motion as a table of degrees and metres, indexed by time, with 8 decimals; ``late`` by seconds."""
    rng = np.random.default_rng(seed)
    time = (start + np.arange(rows)) / rate
    phase, pace = rng.uniform(0, 6, (2, len(COLUMNS)))
    swing = np.sin((5 + pace) * (time[:, None] - late) + phase) + 0.3 * np.sin(
        17 * (time[:, None] - late) + phase
    )
    amplitude = np.where(np.isin(COLUMNS, PLACE), 0.1, 20.0)
    table = np.round(np.where(np.isin(COLUMNS, PLACE), 0.9, 5.0) + amplitude * swing, 8)
    return pd.DataFrame(table, columns=list(COLUMNS), index=np.round(time, 8))


def curves(table):
    """The same as we take it: radians and metres."""
    place = np.isin(table.columns, PLACE)
    values = table.to_numpy(dtype=float)
    return Curves(table.index.to_numpy(), np.where(place, values, np.radians(values)), tuple(table.columns))


def literal(predicted, reference, *, shifts=range(-40, 40)):
    """OpenCapBench's two tables and lags from tables of degrees by trial, step by step as defined."""
    tables, lags = {"shifted": [], "unshifted": []}, {}
    for name, truth in reference.items():
        if name not in predicted:
            continue
        gaps = {shift: (predicted[name].shift(shift) - truth).dropna() for shift in shifts}
        best = []
        for knee in ("knee_angle_r", "knee_angle_l"):
            costs = pd.Series({shift: gap[knee].abs().mean() for shift, gap in gaps.items()})
            costs = costs[costs < 100000]
            best.append(costs.idxmin() if len(costs) else 0)
        lag = int((best[0] + best[1]) / 2)
        lags[name] = (lag, len(gaps[lag]), len(gaps[0]))
        for key, shift in (("shifted", lag), ("unshifted", 0)):
            square = (gaps[shift] ** 2).loc[:, :"lumbar_rotation"].drop(columns=[*PLACE, *NOT_MEASURED])
            tables[key].append(square.mean() ** 0.5)
    return {key: _both_sides(pd.concat(found)) for key, found in tables.items()} | {"lags": lags}


def _both_sides(rmse):
    mean = rmse.groupby(level=0).mean()
    right = [name for name in mean.index if name.endswith("_r")]
    sides = {name[:-2]: (mean[name] + mean[name[:-2] + "_l"]) / 2 for name in right}
    rest = mean.drop(right + [name[:-2] + "_l" for name in right])
    return pd.concat([rest, pd.Series(sides)]).round(3)
