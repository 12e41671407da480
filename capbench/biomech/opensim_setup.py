"""What a fit needs of OpenSim's XML documents, read without OpenSim: names in a model, weights of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import load_xml, parse_number
from cohorts.errors import CapbenchError, RefusedError


@dataclass(frozen=True)
class ModelNames:
    """Names of the markers and coordinates of a model."""

    markers: tuple[str, ...]
    coordinates: tuple[str, ...]


@dataclass(frozen=True)
class CoordinateTask:
    """A coordinate to be held near a value: ``kind`` is "default_value" or "manual_value"."""

    name: str
    weight: float
    kind: str
    value: float


@dataclass(frozen=True)
class Tasks:
    """What a fit tries to meet: marker weights (they multiply squared metres) and coordinate tasks."""

    markers: dict[str, float]
    coordinates: tuple[CoordinateTask, ...]


def model_names(path: Path) -> ModelNames:
    """Marker and coordinate names of an .osim model; refuses one that pulls in other files."""
    root = load_xml(path)
    model = root.find("Model")
    if root.tag != "OpenSimDocument" or model is None:
        raise CapbenchError(
            f"Expected an OpenSim model (<OpenSimDocument> with a <Model>), got <{root.tag}>{_inside(root)}.",
            file=path,
        )
    _refuse_includes(root, path)
    markers = [str(element.get("name", "")) for element in model.iter("Marker")]
    coordinates = [str(element.get("name", "")) for element in model.iter("Coordinate")]
    for what, names in (("marker", markers), ("coordinate", coordinates)):
        twice = sorted({name for name in names if names.count(name) > 1}) if _repeats(names) else []
        if twice:
            raise CapbenchError(f"Expected each {what} once, got {twice[0]!r} twice.", file=path)
    return ModelNames(tuple(markers), tuple(coordinates))


def _inside(root: Any) -> str:
    first = next(iter(root), None)
    return "" if first is None else f" with a <{first.tag}>"


def _repeats(names: list[str]) -> bool:
    return len(set(names)) < len(names)


def _refuse_includes(root: Any, path: Path) -> None:
    """OpenSim replaces an element that has a ``file`` attribute by that file, which nobody has checked."""
    for element in root.iter():
        if element.get("file") is not None:
            raise RefusedError(
                f"Expected a document in one file, got <{element.tag}> that pulls in another.",
                file=path,
                line=element.line,
                fix="open it in OpenSim and save it as one file",
            )


def read_tasks(path: Path) -> Tasks:
    """Marker weights and coordinate tasks of an inverse kinematics set-up (or a bare task set)."""
    root = load_xml(path)
    _refuse_includes(root, path)
    task_set = next(root.iter("IKTaskSet"), None)
    if task_set is None:
        raise CapbenchError(
            f"Expected an inverse kinematics set-up with an <IKTaskSet>, got <{root.tag}>{_inside(root)}.",
            file=path,
        )
    markers: dict[str, float] = {}
    for task in task_set.iter("IKMarkerTask"):
        name = str(task.get("name", ""))
        if name in markers:
            raise CapbenchError(
                f"Expected one task for each marker, got two for {name!r}.", file=path, line=_line(task)
            )
        markers[name] = _weight(task, path) if _applies(task, path) else 0.0
    coordinates = (_coordinate(t, path) for t in task_set.iter("IKCoordinateTask") if _applies(t, path))
    return Tasks(markers, tuple(task for task in coordinates if task.weight > 0))


def _line(element: Any) -> int:
    return int(element.line)


def _applies(task: Any, path: Path) -> bool:
    text = (task.findtext("apply") or "true").strip().lower()
    if text not in ("true", "false", "1", "0"):
        raise CapbenchError(
            f"Expected <apply> to be true or false, got {text[:20]!r}.", file=path, line=_line(task)
        )
    return text in ("true", "1")


def _number(task: Any, tag: str, default: float, path: Path) -> float:
    text = task.findtext(tag)
    try:
        value = default if text is None or not text.strip() else parse_number(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise CapbenchError(
            f"Expected <{tag}> to be a number, got {str(text)[:20]!r}.",
            file=path,
            line=_line(task),
            place=f"task {task.get('name')}",
        )
    return value


def _weight(task: Any, path: Path) -> float:
    weight = _number(task, "weight", 1.0, path)
    if weight < 0:
        raise CapbenchError(
            f"Expected a weight of at least 0, got {weight:g}.",
            file=path,
            line=_line(task),
            place=f"task {task.get('name')}",
        )
    return weight


def _coordinate(task: Any, path: Path) -> CoordinateTask:
    name = str(task.get("name", ""))
    kind = (task.findtext("value_type") or "default_value").strip()
    weight = _weight(task, path)
    if weight > 0 and kind not in ("default_value", "manual_value"):
        raise CapbenchError(
            f"Expected the task for coordinate {name!r} to use default_value or manual_value, "
            f"got {kind[:20]!r}.",
            file=path,
            line=_line(task),
            fix="set its <apply> to false",
        )
    return CoordinateTask(name, weight, kind, _number(task, "value", 0.0, path))
