"""Markers put in place on a scaled model, from a static pose that is solved exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from capbench.biomech.kinematics import body_frames, forward, points
from capbench.biomech.model import Marker, Model
from capbench.biomech.problem import CoordinateTask
from capbench.biomech.scale_setup import ScaleSetup
from capbench.biomech.tree import Tree, build_tree
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray, IntArray

NEAR = 1e-9  # seconds by which a frame may miss the ends of a time range


@dataclass(frozen=True)
class Placed:
    """A model whose markers are where the subject's are, and the static pose it was done in.

    Attributes
    ----------
    model : with its markers moved
    pose : one frame; every coordinate
    errors : marker -> metres between it and the subject's, before it was moved
    moved : marker -> metres that it was moved
    weights : marker -> weight in the static pose
    cost : what the pose minimises: half the weighted mean square marker error (m²) and the coordinate tasks
    notes : in words
    """

    model: Model
    pose: Motion
    errors: dict[str, float]
    moved: dict[str, float]
    weights: dict[str, float]
    cost: float
    notes: tuple[str, ...]

    @property
    def rms(self) -> float:
        """Weighted root mean square marker error before the markers were moved, metres."""
        weights = np.array([self.weights[name] for name in self.weights])
        errors = np.array([self.errors[name] for name in self.weights])
        return float(np.sqrt((weights * errors**2).sum() / weights.sum()))


# --- frames -------------------------------------------------------------------------------------


def frames_between(time: FloatArray, span: tuple[float, float] | None) -> slice:
    """The frames that OpenSim takes for a time range: both ends, and out to the next frame."""
    if span is None:
        return slice(0, len(time))
    if span[1] < time[0] - NEAR or span[0] > time[-1] + NEAR:
        raise CapbenchError(
            f"Expected a recording that covers {span[0]:g} to {span[1]:g} s as the set-up says, "
            f"got one from {time[0]:g} to {time[-1]:g} s.",
            fix="set the set-up's time_range, or use the stillest part of the trial (--still 0.1)",
        )
    first = max(int(np.searchsorted(time, span[0] + NEAR, side="right")) - 1, 0)
    last = int(np.searchsorted(time[first:], span[1] - NEAR, side="left")) + first
    return slice(first, min(last, len(time) - 1) + 1)


def quietest_frames(markers: Markers, seconds: float = 0.1) -> slice:
    """The window of so many seconds in which markers move least, of those in which most are seen throughout.

    Least is the mean square distance of the markers from their own mean over the window.
    """
    if not 0 <= seconds < np.inf:
        raise CapbenchError(f"Expected a window of 0 seconds or more, got {seconds:g}.")
    step = float(np.median(np.diff(markers.time))) if len(markers) > 1 else 1.0
    size = round(seconds / step) + 1
    if size > len(markers):
        raise CapbenchError(
            f"Expected a recording of at least {seconds:g} s, got {markers.time[-1] - markers.time[0]:g} s."
        )
    seen = np.asarray(np.isfinite(markers.xyz).all(axis=-1))
    centre = np.where(seen[..., None], markers.xyz, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)[:, None]
    xyz = np.where(seen[..., None], markers.xyz - centre, 0.0)  # from the mean, lest the squares cancel

    def windows(values: FloatArray) -> FloatArray:
        total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        summed: FloatArray = total[size:] - total[:-size]
        return summed

    whole = windows(seen.astype(float)) > size - 0.5
    spread = windows((xyz**2).sum(axis=-1)) / size - ((windows(xyz) / size) ** 2).sum(axis=-1)
    count = whole.sum(axis=1)
    if not count.max():
        raise CapbenchError(f"Expected markers that are seen for {seconds:g} s on end, got none.")
    moving = np.where(whole, np.maximum(spread, 0), 0).sum(axis=1) / np.maximum(count, 1)
    start = int(np.where(count == count.max(), moving, np.inf).argmin())
    return slice(start, start + size)


# --- markers in place ---------------------------------------------------------------------------


def place_markers(model: Model, markers: Markers, setup: ScaleSetup) -> Placed:
    """Move the model's markers to where the subject's are in the static pose.

    The positions are averaged over the set-up's time range, the pose that fits them best is solved exactly
    with the set-up's weights and coordinate tasks, and every marker that is not fixed goes to its average in
    its body. Markers that the recording lacks are dropped, as OpenSim does.
    """
    from capbench.biomech.solve import solve  # compiled: slow to import

    notes: list[str] = []
    average = _average(markers[frames_between(markers.time, setup.placing_time_range)])
    there = dict(zip(average.names, average.xyz[0], strict=True))
    kept = tuple(m for m in model.markers if m.name in there)
    lacking = [m.name for m in model.markers if m.name not in there]
    if lacking:
        notes.append(f"{len(lacking)} model markers are not in the recording and dropped: {shorten(lacking)}")
    model = model.with_markers(kept)
    weights = _weights(model, setup, notes)
    seen = average.select(weights)
    solution = solve(model, seen, weights=weights, tasks=_tasks(model, setup, notes))
    tree = build_tree(model)
    q = solution.motion.select(tree.coordinates).values
    at = points(tree, forward(tree, q), [m.body for m in kept], np.array([m.location for m in kept]))[0]
    errors = {m.name: float(np.linalg.norm(p - there[m.name])) for m, p in zip(kept, at, strict=True)}
    placed = tuple(_moved(tree, q, marker, there[marker.name]) for marker in kept)
    moved = {
        new.name: float(np.linalg.norm(new.location - old.location))
        for new, old in zip(placed, kept, strict=True)
    }
    cost = float(solution.certificate.cost[0])
    return Placed(model.with_markers(placed), solution.motion, errors, moved, weights, cost, tuple(notes))


def _average(markers: Markers) -> Markers:
    """One frame: the mean of each marker over the frames it is seen in; markers never seen are left out."""
    seen = np.asarray(np.isfinite(markers.xyz).all(axis=-1))
    count: IntArray = seen.sum(axis=0)
    mean = np.where(seen[..., None], markers.xyz, 0).sum(axis=0) / np.maximum(count, 1)[:, None]
    kept = [i for i in range(len(markers.names)) if count[i]]
    return Markers(markers.time[:1], tuple(markers.names[i] for i in kept), mean[None, kept])


def _weights(model: Model, setup: ScaleSetup, notes: list[str]) -> dict[str, float]:
    """Marker weights of the static pose; without any marker task all markers weigh the same."""
    own = [m.name for m in model.markers]
    if not setup.tasks.markers:
        return dict.fromkeys(own, 1.0)
    weights = {n: w for n, w in setup.tasks.markers.items() if w > 0 and n in own}
    missing = [n for n, w in setup.tasks.markers.items() if w > 0 and n not in own]
    if missing:
        notes.append(f"{len(missing)} marker tasks have no marker in model and recording: {shorten(missing)}")
    if len(weights) < 3:
        raise CapbenchError(
            f"Expected at least 3 markers that set-up, model and recording share, got {len(weights)}. "
            f"Model: {shorten(own) or 'none that was recorded'}.",
            fix="give the marker set that belongs to the recording (--markers), or rename the markers",
        )
    return weights


def _tasks(model: Model, setup: ScaleSetup, notes: list[str]) -> tuple[CoordinateTask, ...]:
    tree = build_tree(model)
    default = dict(zip(tree.coordinates, tree.defaults.tolist(), strict=True))
    tasks = []
    left_out = []
    for task in setup.tasks.coordinates:
        if task.name in default:
            value = default[task.name] if task.kind == "default_value" else task.value
            tasks.append(CoordinateTask(task.name, task.weight, value))
        else:
            left_out.append(task.name)
    if left_out:
        notes.append(f"{len(left_out)} coordinate tasks without a free coordinate: {shorten(left_out)}")
    return tuple(tasks)


def _moved(tree: Tree, q: FloatArray, marker: Marker, there: FloatArray) -> Marker:
    """``marker`` at ``there`` (3,) in ground, unless it is fixed."""
    if marker.fixed:
        return marker
    rotation, origin = body_frames(tree, forward(tree, q), marker.body)
    return replace(marker, location=(there - origin[0]) @ rotation[0])
