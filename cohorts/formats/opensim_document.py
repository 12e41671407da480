"""OpenSim XML documents (.osim models and set-up files): what one is, without OpenSim.

This only tells and counts; the models themselves are read by ``capbench.biomech``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohorts.bounded import load_xml, parse_number, shorten
from cohorts.errors import CapbenchError
from cohorts.values import FrozenDict

#: what the root element holds -> what that is in words
KINDS = {
    "Model": "musculoskeletal model",
    "MarkerSet": "marker set",
    "InverseKinematicsTool": "inverse-kinematics set-up",
    "ScaleTool": "scaling set-up",
    "ScaleSet": "scale factors",
    "IKTaskSet": "inverse-kinematics tasks",
}


@dataclass(frozen=True)
class OpenSimDocument:
    """An OpenSim XML document in brief.

    Attributes
    ----------
    kind : the element below the root, such as "Model"
    name : its name
    version : of the document format, such as "40000" (4.0)
    facts : what it holds, in words
    """

    kind: str
    name: str
    version: str
    facts: Mapping[str, str]


def recognise(content: Any) -> bool:
    """Whether an XML root is OpenSim's."""
    return bool(content.tag == "OpenSimDocument" or content.tag in KINDS)


def read(path: Path, *, notes: list[str] | None = None) -> OpenSimDocument:
    """What the document is and what it holds."""
    notes = [] if notes is None else notes
    root = load_xml(path)
    if not recognise(root):
        raise CapbenchError(f"Expected an OpenSimDocument, got <{root.tag}>.", file=path, line=root.line)
    inside = next(iter(root), None) if root.tag == "OpenSimDocument" else root
    if inside is None:
        raise CapbenchError("Expected an OpenSimDocument with something in it, got an empty one.", file=path)
    describe = {
        "Model": _model,
        "MarkerSet": _marker_set,
        "InverseKinematicsTool": _tasks,
        "IKTaskSet": _tasks,
        "ScaleTool": _scaling,
        "ScaleSet": _scale_set,
    }.get(inside.tag)
    if describe is None:
        notes.append(f"<{inside.tag}> is nothing capbench uses")
    facts = {} if describe is None else describe(inside, notes)
    kept = {key: value for key, value in facts.items() if value}
    return OpenSimDocument(
        inside.tag, inside.get("name", ""), root.get("Version", "before 2.0"), FrozenDict(kept)
    )


def _named(root: Any, *tags: str) -> list[str]:
    return [element.get("name", "") for tag in tags for element in root.iter(tag)]


def _text(root: Any, tag: str) -> str:
    return (root.findtext(f".//{tag}") or "").strip()


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return f"{len(names)}: {shorten(names, 8)}" if names else ""


def _note_repeats(names: list[str], what: str, notes: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        notes.append(f"{what} named more than once: {shorten(repeated)}")


_JOINTS = ("Custom", "Pin", "Weld", "Ball", "Free", "Slider", "Universal", "Planar", "Gimbal", "Ellipsoid")


def _model(model: Any, notes: list[str]) -> dict[str, str]:
    bodies = [b for b in model.iter("Body") if b.find("mass") is not None]
    masses = [_mass(body) for body in bodies]
    joints = Counter(joint.tag for kind in _JOINTS for joint in model.iter(f"{kind}Joint"))
    markers = _named(model, "Marker")
    _note_repeats(markers, "markers", notes)
    return {
        "bodies": _listed(b.get("name", "") for b in bodies),
        "mass": f"{sum(masses):.3f} kg" if masses else "",
        "joints": ", ".join(f"{count} {tag}" for tag, count in joints.most_common()),
        "coordinates": _listed(_named(model, "Coordinate")),
        "constraints": _listed(_named(model, "CoordinateCouplerConstraint")),
        "markers": _listed(markers),
        "muscles": _listed(
            element.get("name", "") for element in model.iter() if element.tag.endswith("Muscle")
        ),
    }


def _mass(body: Any) -> float:
    try:
        return parse_number(body.findtext("mass") or "0")
    except ValueError:
        return float("nan")


def _marker_set(root: Any, notes: list[str]) -> dict[str, str]:
    markers = _named(root, "Marker")
    _note_repeats(markers, "markers", notes)
    fixed = [m.get("name", "") for m in root.iter("Marker") if _text(m, "fixed").lower() == "true"]
    return {"markers": _listed(markers), "fixed markers": _listed(fixed)}


def _tasks(root: Any, notes: list[str]) -> dict[str, str]:
    weights = {}
    for task in root.iter("IKMarkerTask"):
        applied = (_text(task, "apply") or "true").lower() == "true"
        weights[task.get("name", "")] = _text(task, "weight") or "1" if applied else "off"
    _note_repeats(_named(root, "IKMarkerTask"), "tasks", notes)
    by_weight = Counter(weights.values())
    return {
        "marker tasks": _listed(weights),
        "weights": ", ".join(f"{count} at {weight}" for weight, count in by_weight.most_common(8)),
        "coordinate tasks": _listed(_named(root, "IKCoordinateTask")),
        "accuracy": _text(root, "accuracy"),
        "model": _text(root, "model_file"),
        "markers": _text(root, "marker_file"),
        "time range": _text(root, "time_range"),
    }


def _scaling(root: Any, notes: list[str]) -> dict[str, str]:
    return {
        "mass": f"{_text(root, 'mass')} kg" if _text(root, "mass") else "",
        "height": _text(root, "height"),
        "measurements": _listed(_named(root, "Measurement")),
        "order": _text(root, "scaling_order"),
        "marker tasks": _listed(_named(root, "IKMarkerTask")),
        "model": _text(root, "model_file"),
        "markers": _text(root, "marker_file"),
        "time range": _text(root, "time_range"),
    }


def _scale_set(root: Any, notes: list[str]) -> dict[str, str]:
    factors = {_text(s, "segment"): " ".join(_text(s, "scales").split()) for s in root.iter("Scale")}
    return {"segments": f"{len(factors)}: " + "; ".join(f"{k} {v}" for k, v in list(factors.items())[:30])}
