"""OpenSim's set-ups of its scale tool (documents of version 2.x to 4.x), read without OpenSim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from capbench.biomech.opensim_setup import Tasks, read_tasks
from cohorts.bounded import about, load_xml, parse_number
from cohorts.errors import CapbenchError, RefusedError
from cohorts.values import FloatArray, frozen

AXES = ("X", "Y", "Z")
MEASUREMENTS, MANUAL = "measurements", "manualScale"

Node = Any  # an ``Element`` of ``cohorts.bounded``


@dataclass(frozen=True)
class Measurement:
    """Distances between pairs of markers, and the axes of the bodies that they scale.

    ``bodies`` maps a body to the numbers of its axes, 0 to 2 for x to z.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    bodies: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class ManualScale:
    """A body's scale factors (3,) set by hand."""

    body: str
    factors: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", frozen(self.factors))


@dataclass(frozen=True)
class ScaleSetup:
    """How to scale a model to a subject and place its markers.

    Attributes
    ----------
    mass : kg, or None where the set-up gives none
    height : metres, or None; no factor depends on it
    scaling : whether to scale at all
    order : "measurements" and "manualScale", the later one prevails
    measurements, manual : those that apply
    time_range : seconds over which distances are averaged; None: the whole trial
    preserve_mass : whether bodies keep their shares of the mass
    placing : whether to move the markers
    tasks : marker weights and coordinate tasks of the static pose
    placing_time_range : seconds over which positions are averaged; None: the whole trial
    notes : oddities, in words
    """

    mass: float | None = None
    height: float | None = None
    scaling: bool = True
    order: tuple[str, ...] = (MEASUREMENTS,)
    measurements: tuple[Measurement, ...] = ()
    manual: tuple[ManualScale, ...] = ()
    time_range: tuple[float, float] | None = None
    preserve_mass: bool = False
    placing: bool = True
    tasks: Tasks = field(default_factory=lambda: Tasks({}, ()))
    placing_time_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def read_setup(path: str | Path) -> ScaleSetup:
    """The set-up in a document of OpenSim's scale tool; its file names are left aside."""
    path = Path(path)
    root = load_xml(path)
    with about(path):
        tool = root if root.tag == "ScaleTool" else next(root.iter("ScaleTool"), None)
        if tool is None:
            raise CapbenchError(
                f"Expected a set-up of OpenSim's scale tool (<ScaleTool>), got <{root.tag}>.",
            )
        element: Node
        for element in root.iter():
            if element.get("file") is not None:
                raise RefusedError(
                    f"Expected a document in one file, got <{element.tag}> that pulls in another.",
                    line=element.line,
                    fix="open it in OpenSim and save it as one file",
                )
        return _setup(tool, path)


def _setup(tool: Node, path: Path) -> ScaleSetup:
    notes: list[str] = []
    scaler, placer = tool.find("ModelScaler"), tool.find("MarkerPlacer")
    height = _positive(tool, "height")
    if height is not None and height > 3:
        height /= 1000  # OpenSim says millimetres; people also write metres
    placing = placer is not None and _flag(placer, "apply", True)
    coordinates_file = "" if placer is None else _text(placer, "coordinate_file")
    if placing and coordinates_file not in ("", "Unassigned"):
        notes.append("the set-up's coordinate_file is left aside")
    tasks = next(tool.iter("IKTaskSet"), None)
    own = scaler is not None
    return ScaleSetup(
        mass=_positive(tool, "mass"),
        height=height,
        scaling=own and _flag(scaler, "apply", True),
        order=_order(scaler) if own else (),
        measurements=tuple(_measurements(scaler)) if own else (),
        manual=tuple(_manual(scaler)) if own else (),
        time_range=_time_range(scaler, "scaling", notes) if own else None,
        preserve_mass=own and _flag(scaler, "preserve_mass_distribution", False),
        placing=placing,
        tasks=read_tasks(path) if placing and tasks is not None else Tasks({}, ()),
        placing_time_range=_time_range(placer, "placing", notes) if placing else None,
        notes=tuple(notes),
    )


# --- pieces -------------------------------------------------------------------------------------


def _error(node: Node, problem: str, fix: str | None = None) -> CapbenchError:
    name = node.get("name")
    return CapbenchError(problem, line=node.line, place=f"{node.tag} {name}" if name else node.tag, fix=fix)


def _text(node: Node, tag: str) -> str:
    return (node.findtext(tag) or "").strip()


def _flag(node: Node, tag: str, default: bool) -> bool:
    text = _text(node, tag).lower() or str(default).lower()
    if text not in ("true", "false", "1", "0"):
        raise _error(node, f"Expected <{tag}> to be true or false, got {text[:20]!r}.")
    return text in ("true", "1")


def _numbers(node: Node, tag: str) -> list[float]:
    text = _text(node, tag)
    try:
        values = [parse_number(word) for word in text.split()]
    except ValueError:
        values = [float("nan")]
    if not np.isfinite(values).all():
        raise _error(node, f"Expected <{tag}> to hold numbers, got {text[:40]!r}.")
    return values


def _positive(node: Node, tag: str) -> float | None:
    """One number; None where there is none, or OpenSim's stand-in for none: one that is not above 0."""
    values = _numbers(node, tag)
    if len(values) > 1:
        raise _error(node, f"Expected one number in <{tag}>, got {len(values)}.")
    return values[0] if values and values[0] > 0 else None


def _time_range(node: Node, what: str, notes: list[str]) -> tuple[float, float] | None:
    values = _numbers(node, "time_range")
    if not values or values == [-1.0, -1.0]:
        notes.append(f"the set-up has no time range for {what}: the whole trial is used")
        return None
    if len(values) != 2 or values[0] > values[1]:
        raise _error(node, f"Expected a time_range from start to end, got {values[:4]}.")
    return values[0], values[1]


def _order(scaler: Node) -> tuple[str, ...]:
    words = tuple(_text(scaler, "scaling_order").split())
    for word in words:
        if word not in (MEASUREMENTS, MANUAL):
            raise _error(
                scaler, f"Expected a scaling_order of {MEASUREMENTS} and {MANUAL}, got {word[:30]!r}."
            )
    return words


def _objects(node: Node, set_tag: str, tag: str) -> Iterator[Node]:
    found = node.find(set_tag)
    objects = None if found is None else found.find("objects")
    yield from (o for o in (objects if objects is not None else ()) if o.tag == tag)


def _measurements(scaler: Node) -> Iterator[Measurement]:
    for node in _objects(scaler, "MeasurementSet", "Measurement"):
        if not _flag(node, "apply", True):
            continue
        pairs = tuple(_pair(pair) for pair in _objects(node, "MarkerPairSet", "MarkerPair"))
        bodies = tuple(_body(body) for body in _objects(node, "BodyScaleSet", "BodyScale"))
        yield Measurement(str(node.get("name", "")), pairs, bodies)


def _pair(node: Node) -> tuple[str, str]:
    names = _text(node, "markers").split()
    if len(names) != 2 or names[0] == names[1]:
        raise _error(node, f"Expected the names of two markers, got {' '.join(names)[:60]!r}.")
    return names[0], names[1]


def _body(node: Node) -> tuple[str, tuple[int, ...]]:
    words = _text(node, "axes").upper().split()
    if not words or any(word not in AXES for word in words):
        raise _error(node, f"Expected axes out of X Y Z, got {' '.join(words)[:20]!r}.")
    return str(node.get("name", "")), tuple(sorted({AXES.index(word) for word in words}))


def _manual(scaler: Node) -> Iterator[ManualScale]:
    for node in _objects(scaler, "ScaleSet", "Scale"):
        if not _flag(node, "apply", True):
            continue
        factors = _numbers(node, "scales")
        if len(factors) != 3 or min(factors) <= 0:
            raise _error(node, f"Expected three scale factors above 0, got {factors[:4]}.")
        yield ManualScale(_text(node, "segment"), np.array(factors))
