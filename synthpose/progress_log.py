"""What a training says of itself: ``log.jsonl``, one line for each look at it, and its curves.

Lines are of two kinds: ``{"step": …, "loss": …, …}`` and ``{"step": …, "validation": {…}}``. A training that
goes on from a checkpoint drops what a killed run wrote after it, so that each step stands there once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohorts.bounded import TEXT_LIMIT, read_text, replacing

NAME = "log.jsonl"
CURVES = "curves.png"


class ProgressLog:
    """Appends to a log; ``path`` None writes nothing (all processes but the first)."""

    def __init__(self, path: Path | None, *, from_step: int = 0) -> None:
        self.path = path
        if path is not None:
            kept = [line for line in read_log(path) if line["step"] <= from_step] if from_step else []
            with replacing(path, overwrite=True) as temporary:
                temporary.write_text("".join(_line(entry) for entry in kept), encoding="utf-8")

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add a line, on disk before this returns to no one's surprise."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(entry))


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(_plain(entry)) + "\n"


def _plain(value: Any) -> Any:
    """Numbers shortened to six digits; what is not finite becomes null, which JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last one cut short by a kill is left out."""
    if not path.exists():
        return []
    entries = []
    for line in read_text(path, TEXT_LIMIT).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def draw_curves(log: Path, target: Path) -> None:
    """Loss, learning rate, pixels of error by group of points and speed over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = read_log(log)
    train = [e for e in entries if "loss" in e]
    looks = [e for e in entries if "validation" in e]
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    steps = [e["step"] for e in train]
    names = sorted({name for e in train for name in e.get("parts", {})})
    for name in ["loss", *(names if len(names) > 1 else [])]:
        values = [e["loss"] if name == "loss" else e.get("parts", {}).get(name) for e in train]
        axes[0, 0].plot(steps, _numbers(values), label=name)
    axes[0, 0].set(title="loss (training)", yscale="log")
    axes[0, 1].plot(steps, _numbers([e.get("rate") for e in train]))
    axes[0, 1].set(title="learning rate")
    groups = sorted({name for e in looks for name in e["validation"] if name.startswith("px")})
    for name in groups:
        values = _numbers([e["validation"].get(name) for e in looks])
        axes[1, 0].plot([e["step"] for e in looks], values, marker=".", label=name)
    axes[1, 0].set(title="error (validation), pixels of the crop", xlabel="step", yscale="log")
    angles = [
        (e["step"], e["validation"]["joint_angles"]) for e in looks if "joint_angles" in e["validation"]
    ]
    if angles:
        degrees = axes[1, 0].twinx()
        degrees.plot(*zip(*angles, strict=True), color="black", linestyle="--", label="joint angles, degrees")
        degrees.set_ylim(bottom=0)
        degrees.legend(loc="lower left", fontsize="small")
    axes[1, 1].plot(steps, _numbers([e.get("samples_per_second") for e in train]), label="pictures a second")
    axes[1, 1].set(title="speed", xlabel="step")
    axes[1, 1].set_ylim(bottom=0)
    beside = axes[1, 1].twinx()
    waits = _numbers([e.get("waiting") for e in train])
    beside.plot(steps, waits, color="tab:red", label="share of time waiting for data")
    beside.set_ylim(0, 1)
    beside.legend(loc="lower left", fontsize="small")
    for axis in (axes[0, 0], axes[1, 0], axes[1, 1]):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper right", fontsize="small")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    with replacing(target, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _numbers(values: list[Any]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
