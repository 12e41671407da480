"""What a run leaves in its folder beside its result: predictions in open formats, units, timings."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capbench.run.collect import Collected
from capbench.run.executors import Outcomes
from capbench.run.way import Way
from cohorts import formats
from cohorts.bounded import replacing, write_text
from cohorts.store import sha256

if TYPE_CHECKING:
    from capbench.run.evaluate import Evaluation


def predictions(way: Way, found: Collected, folder: Path) -> dict[str, str]:
    """Write what was found, a folder for each kind; each file's place below ``folder`` and its SHA-256.

    Each of the folders can be scored again: ``capbench score RUN/predictions/markers``.
    """
    made: dict[str, str] = {}
    for key, tracks in found.tracks.items():
        _write(folder, f"keypoints/{key}.npz", tuple(tracks.values()), made)
    for key, (markers, _) in found.markers.items():
        _write(folder, f"markers/{key}.trc", markers, made)
    for key, motion in found.answers.motions.items():
        _write(folder, f"motions/{key}.mot", motion, made)
    for person, osim in found.models.items():
        path = folder / "models" / f"{person}.osim"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, overwrite=True) as temporary:
            temporary.write_bytes(osim)
        made[f"models/{person}.osim"] = sha256(path)
    return dict(sorted(made.items()))


def _write(folder: Path, name: str, noun: Any, made: dict[str, str]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    formats.write(path, noun, overwrite=True)
    made[name] = sha256(path)


def units(outcomes: Outcomes, path: Path) -> None:
    """One line a unit, in an order that the units alone decide."""
    lines = []
    for unit, failed in outcomes:
        line: dict[str, Any] = {"stage": unit.stage, "of": unit.of, "key": unit.key, "version": unit.version}
        if failed is not None:
            line["failed"] = {"fault": failed.fault, "kind": failed.kind, "reason": failed.reason}
        lines.append(json.dumps(line, sort_keys=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(lines) + "\n", overwrite=True)


def timing(evaluation: Evaluation, outcomes: Outcomes, found: Collected) -> dict[str, Any]:
    """Seconds of each stage's units when they were computed, and on what; differs from run to run."""
    seconds = outcomes.seconds()
    frames = sum(len(track) for tracks in found.tracks.values() for track in tracks.values())
    model = seconds.get("predict", 0.0)
    return {
        "stages": {name: round(value, 3) for name, value in seconds.items()},
        "frames": frames,
        "frames_per_second": round(frames / model, 2) if model else None,
        "hardware": hardware(),
    }


def hardware() -> Mapping[str, Any]:
    """The machine in a few words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
