"""OpenSim's own scale tool, as the reference, in a child process.

Set-up and markers are those that our readers understood, written anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from capbench.biomech.model import Marker, Model
from capbench.biomech.opensim_setup import model_names
from capbench.biomech.opensim_tools import call_child
from capbench.biomech.osim import read_markers, read_model
from capbench.biomech.osim_write import HEAD, VERSION, marker_set_text
from capbench.biomech.scale_setup import AXES, ScaleSetup
from cohorts.bounded import XML_LIMIT, read_text, shorten
from cohorts.errors import CapbenchError
from cohorts.formats import storage, trc
from cohorts.recording import Markers, Motion

_SECONDS = 120.0  # of processor time; the largest measured model needs half a second


@dataclass(frozen=True)
class Reference:
    """What OpenSim's scale tool made.

    Attributes
    ----------
    factors : measurement -> factor; None where OpenSim could not take it
    scaled : the model after scaling, before its markers were moved; None if the set-up does not scale
    placed : the model with its markers moved; None if the set-up places none
    pose : the static pose (one frame) of ``placed``
    text : the last of these models as OpenSim wrote it, muscles and all
    notes : in words
    engine : OpenSim and its version
    """

    factors: dict[str, float | None]
    scaled: Model | None
    placed: Model | None
    pose: Motion | None
    text: str
    notes: tuple[str, ...]
    engine: str


def scale(
    model: str | Path,
    markers: Markers,
    setup: ScaleSetup,
    *,
    marker_set: str | Path | None = None,
    mass: float | None = None,
    timeout: float | None = None,
) -> Reference:
    """Scale an .osim file with OpenSim's scale tool.

    ``marker_set`` is a file of markers that take the place of the model's of the same names. ``mass`` in kg
    takes the place of the set-up's. Coordinate tasks that the model has no coordinate for, which stop
    OpenSim, are left out and noted. ``timeout`` is in seconds of wall time.
    """
    path = Path(model).resolve()
    if not (setup.scaling or setup.placing):
        raise CapbenchError("Expected a set-up that scales or places markers, got one that does neither.")
    model_names(path)  # refuses documents that pull in others
    own = read_model(path)
    steering = setup.tasks.coordinates
    absent = [t.name for t in steering if t.name not in own.coordinate_names]
    notes = [f"{len(absent)} coordinate tasks without a coordinate: {shorten(absent)}"] if absent else []
    tasks = replace(setup.tasks, coordinates=tuple(t for t in steering if t.name in own.coordinate_names))
    setup = replace(setup, tasks=tasks, mass=setup.mass if mass is None else mass)
    with tempfile.TemporaryDirectory(prefix="capbench-") as name:
        folder = Path(name)
        trc.write(folder / "static.trc", markers)
        extra = None
        if marker_set is not None:
            extra = "markers.xml"
            (folder / extra).write_text(marker_set_text(read_markers(marker_set)), encoding="utf-8")
        text = setup_text(setup, str(path), markers, extra)
        (folder / "setup.xml").write_text(text, encoding="utf-8")
        job = json.dumps({"tool": "scale", "setup": "setup.xml", "markers": "static.trc"})
        (folder / "job.json").write_text(job, encoding="utf-8")
        call_child(folder, path, _SECONDS, timeout)
        return _reference(folder, setup, notes)


def _reference(folder: Path, setup: ScaleSetup, notes: list[str]) -> Reference:
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    scaled, placed = folder / "scaled.osim", folder / "placed.osim"
    last = placed if setup.placing else scaled
    return Reference(
        factors=done["factors"],
        scaled=read_model(scaled) if setup.scaling else None,
        placed=read_model(placed) if setup.placing else None,
        pose=_pose(folder / "pose.mot") if setup.placing else None,
        text=read_text(last, XML_LIMIT),
        notes=tuple(notes),
        engine=f"OpenSim {str(done['version']).split('-')[0][:20]}",
    )


def _pose(path: Path) -> Motion:
    """The static pose, in radians and metres; OpenSim names states by their paths."""
    table = storage.read(path, kind="signals")
    paths = [name for name in table.names if name.startswith("/jointset/") and name.endswith("/value")]
    values = np.stack([table.column(name) for name in paths], axis=-1)
    return Motion(table.time[:1], tuple(name.split("/")[-2] for name in paths), values[:1])


# --- the set-up, written anew -------------------------------------------------------------------


def setup_text(setup: ScaleSetup, model: str, markers: Markers, marker_set: str | None) -> str:
    """A set-up document for OpenSim with these files; results go to the current folder."""
    body = "".join(_document(setup, model, markers, marker_set))
    return f'{HEAD}\n<OpenSimDocument Version="{VERSION}">{body}</OpenSimDocument>\n'


def _document(setup: ScaleSetup, model: str, markers: Markers, marker_set: str | None) -> Iterator[str]:
    whole = (float(markers.time[0]), float(markers.time[-1]))
    yield '<ScaleTool name="scaled">'
    yield _leaf("mass", repr(-1.0 if setup.mass is None else float(setup.mass)))
    yield "<GenericModelMaker>" + _leaf("model_file", model)
    yield _leaf("marker_set_file", marker_set or "Unassigned") + "</GenericModelMaker>"
    if setup.scaling:  # OpenSim takes a step that is there, but does not apply, for one that failed
        yield "<ModelScaler>" + _leaf("apply", "true") + _leaf("scaling_order", " ".join(setup.order))
        yield "<MeasurementSet><objects>" + "".join(_measurements(setup)) + "</objects></MeasurementSet>"
        yield "<ScaleSet><objects>" + "".join(_manual(setup)) + "</objects></ScaleSet>"
        yield _leaf("marker_file", "static.trc") + _leaf("time_range", _words(setup.time_range or whole))
        yield _leaf("preserve_mass_distribution", "true" if setup.preserve_mass else "false")
        yield _leaf("output_model_file", "scaled.osim") + "</ModelScaler>"
    if setup.placing:
        yield "<MarkerPlacer>" + _leaf("apply", "true")
        yield "<IKTaskSet><objects>" + "".join(_tasks(setup)) + "</objects></IKTaskSet>"
        yield _leaf("marker_file", "static.trc")
        yield _leaf("time_range", _words(setup.placing_time_range or whole))
        yield _leaf("max_marker_movement", "-1")
        yield _leaf("output_motion_file", "pose.mot") + _leaf("output_model_file", "placed.osim")
        yield "</MarkerPlacer>"
    yield "</ScaleTool>"


def _leaf(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>\n"


def _words(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(n)) for n in numbers)


def _measurements(setup: ScaleSetup) -> Iterator[str]:
    for measurement in setup.measurements:
        pairs = "".join(
            f"<MarkerPair>{_leaf('markers', ' '.join(pair))}</MarkerPair>" for pair in measurement.pairs
        )
        bodies = "".join(
            f"<BodyScale name={quoteattr(body)}>{_leaf('axes', ' '.join(AXES[i] for i in axes))}</BodyScale>"
            for body, axes in measurement.bodies
        )
        yield (
            f"<Measurement name={quoteattr(measurement.name)}><apply>true</apply>"
            f"<MarkerPairSet><objects>{pairs}</objects></MarkerPairSet>"
            f"<BodyScaleSet><objects>{bodies}</objects></BodyScaleSet></Measurement>"
        )


def _manual(setup: ScaleSetup) -> Iterator[str]:
    for manual in setup.manual:
        inner = _leaf("scales", _words(manual.factors)) + _leaf("segment", manual.body)
        yield f"<Scale>{inner}<apply>true</apply></Scale>"


def _tasks(setup: ScaleSetup) -> Iterator[str]:
    for name, weight in setup.tasks.markers.items():
        inner = _leaf("weight", repr(float(weight)))
        yield f"<IKMarkerTask name={quoteattr(name)}><apply>true</apply>{inner}</IKMarkerTask>"
    for task in setup.tasks.coordinates:
        inner = _leaf("weight", repr(float(task.weight))) + _leaf("value_type", task.kind)
        inner += _leaf("value", repr(float(task.value)))
        yield f"<IKCoordinateTask name={quoteattr(task.name)}><apply>true</apply>{inner}</IKCoordinateTask>"


def with_marker_set(model: Model, markers: Iterable[Marker]) -> Model:
    """``model`` with these markers, in the place of its own of the same names and after the others."""
    new = {marker.name: marker for marker in markers}
    kept = tuple(marker for marker in model.markers if marker.name not in new)
    return model.with_markers((*kept, *new.values()))
