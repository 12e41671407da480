"""Scaling a model to a subject: factors from distances between markers, masses, and markers put in place.

Factors, scaled bodies and masses equal those of OpenSim's scale tool. The static pose, from which markers are
put in place, is solved exactly instead of as far as OpenSim's optimiser goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from capbench.biomech.kinematics import forward, points
from capbench.biomech.model import GROUND, Body, Coupler, Joint, Marker, Model, Placement
from capbench.biomech.place import Placed, frames_between, place_markers, quietest_frames
from capbench.biomech.scale_setup import AXES, MANUAL, MEASUREMENTS, Measurement, ScaleSetup
from capbench.biomech.tree import Tree, build_tree, is_identity
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError, unknown_name
from cohorts.recording import Markers
from cohorts.values import FloatArray

SMALLEST, LARGEST = 0.3, 2.5  #: scale factors beyond are no human's
SPREAD = 1.0  #: most by which factors of one axis may differ between bodies
_EQUAL = 2e-14  # factors this alike are one factor, as in OpenSim
_MASSLESS = 2.3e-16  # kg


@dataclass(frozen=True)
class PairMeasure:
    """One pair of markers: distances (metres) in the model and in the subject, their ratio, frames used."""

    markers: tuple[str, str]
    model: float
    subject: float
    frames: int

    @property
    def ratio(self) -> float:
        """Subject by model."""
        return self.subject / self.model


@dataclass(frozen=True)
class Factor:
    """A scale factor and how sure it is.

    Attributes
    ----------
    measurement : its name
    value : subject by model, mean over the pairs
    standard_error : of ``value``, from its spread over the frames (frames that resemble their neighbours
        count for less than one each); 0 for a single frame
    pair_spread : standard deviation among the pairs' ratios; NaN for one pair
    pairs : the pairs it is the mean of
    left_out : pairs that could not be measured
    scales : the bodies that it scales, and the numbers of their axes
    """

    measurement: str
    value: float
    standard_error: float
    pair_spread: float
    pairs: tuple[PairMeasure, ...]
    left_out: tuple[tuple[str, str], ...]
    scales: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def bodies(self) -> tuple[str, ...]:
        """The bodies that it scales."""
        return tuple(body for body, _ in self.scales)


@dataclass(frozen=True)
class Scaled:
    """A scaled model: ``factors`` per measurement, ``scales`` (3,) per body, ``placed`` if markers were."""

    model: Model
    factors: tuple[Factor, ...]
    scales: dict[str, FloatArray]
    placed: Placed | None
    notes: tuple[str, ...]


def scale(
    model: Model,
    markers: Markers,
    setup: ScaleSetup,
    *,
    mass: float | None = None,
    still: float | None = None,
) -> Scaled:
    """Scale ``model`` to the subject whose static trial is ``markers`` as ``setup`` says.

    ``mass`` in kg takes the place of the set-up's. ``still`` takes the stillest so many seconds of the trial
    instead of the set-up's time ranges.
    """
    mass = setup.mass if mass is None else mass
    notes = [*setup.notes]
    if still is not None:
        markers = markers[quietest_frames(markers, still)]
        setup = replace(setup, time_range=None, placing_time_range=None)
        notes = [f"the stillest {still:g} s are used: {markers.time[0]:g} to {markers.time[-1]:g} s"]
    factors: tuple[Factor, ...] = ()
    scales = {body.name: np.ones(3) for body in model.bodies}
    if setup.scaling:
        factors = measure(model, markers, setup, notes)
        scales = body_scales(model, factors, setup, notes)
        check_plausible(scales, factors)
        model = scale_model(model, scales, mass, setup.preserve_mass)
    placed = place_markers(model, markers, setup) if setup.placing else None
    if placed is not None:
        notes += placed.notes
        model = placed.model
    return Scaled(model, factors, scales, placed, tuple(notes))


# --- factors ------------------------------------------------------------------------------------


def measure(model: Model, markers: Markers, setup: ScaleSetup, notes: list[str]) -> tuple[Factor, ...]:
    """The factor of every measurement that can be taken.

    Per pair, the mean over the frames of the subject's distance, by the model's in its default pose; then the
    mean over the pairs. OpenSim leaves a measurement out altogether when one of its markers is missing (in
    the model, the recording or a single frame); here the other pairs and frames count, and notes say so.
    """
    still = markers[frames_between(markers.time, setup.time_range)]
    own = {marker.name: marker for marker in model.markers}
    tree = build_tree(model)
    found = [_measure(each, tree, own, still, notes) for each in setup.measurements]
    return tuple(factor for factor in found if factor is not None)


def _measure(
    measurement: Measurement, tree: Tree, own: Mapping[str, Marker], still: Markers, notes: list[str]
) -> Factor | None:
    place = f"measurement {measurement.name}"
    tracks: list[FloatArray] = []
    pairs: list[PairMeasure] = []
    left_out: list[tuple[str, str]] = []
    for pair in measurement.pairs:
        lengths = _distances(still, pair)
        if lengths is None or any(name not in own for name in pair):
            left_out.append(pair)
            lacking = [f"{n} (model)" for n in pair if n not in own]
            lacking += [f"{n} (recording)" for n in pair if n not in still.names or lengths is None]
            notes.append(f"{place}: {pair[0]} to {pair[1]} left out, missing {', '.join(lacking)}")
            continue
        length = _model_distance(tree, own[pair[0]], own[pair[1]])
        if length < 1e-6:
            raise CapbenchError(
                f"Expected markers apart, got {pair[0]} and {pair[1]} in one place in the model.", place=place
            )
        seen = np.isfinite(lengths)
        pairs.append(PairMeasure(pair, length, float(lengths[seen].mean()), int(seen.sum())))
        tracks.append(lengths / length)
        if not seen.all():
            notes.append(f"{place}: {pair[0]} to {pair[1]} is seen in {seen.sum()} of {len(seen)} frames")
    if not pairs:
        notes.append(f"{place}: no pair can be measured; it scales nothing")
        return None
    ratios = np.array([pair.ratio for pair in pairs])
    return Factor(
        measurement.name,
        float(ratios.mean()),
        _standard_error(np.array(tracks)),
        float(ratios.std(ddof=1)) if len(ratios) > 1 else float("nan"),
        tuple(pairs),
        tuple(left_out),
        measurement.bodies,
    )


def _distances(markers: Markers, pair: tuple[str, str]) -> FloatArray | None:
    """(T,) metres, NaN where either is missing; None where they are never seen together."""
    if any(name not in markers.names for name in pair):
        return None
    both = markers.select(pair).xyz
    lengths: FloatArray = np.linalg.norm(both[:, 1] - both[:, 0], axis=-1)
    return lengths if np.isfinite(lengths).any() else None


def _model_distance(tree: Tree, a: Marker, b: Marker) -> float:
    frames = forward(tree, tree.defaults[None])
    at = points(tree, frames, [a.body, b.body], np.array([a.location, b.location]))[0]
    return float(np.linalg.norm(at[0] - at[1]))


def _standard_error(tracks: FloatArray) -> float:
    """Of the mean over frames of the mean over pairs (P, T); frames like their neighbours count for less."""
    seen = np.isfinite(tracks).all(axis=0)
    track = tracks[:, seen].mean(axis=0)
    if len(track) < 3:
        return float(track.std() / np.sqrt(max(len(track), 1))) if len(track) else 0.0
    off = track - track.mean()
    power = float((off**2).sum())
    likeness = float(np.clip((off[1:] * off[:-1]).sum() / power, 0, 0.99)) if power > 0 else 0.0
    worth = max(len(track) * (1 - likeness) / (1 + likeness), 1.0)
    return float(track.std(ddof=1) / np.sqrt(worth))


def body_scales(
    model: Model, factors: tuple[Factor, ...], setup: ScaleSetup, notes: list[str]
) -> dict[str, FloatArray]:
    """(3,) factors x, y, z of every body; what comes later in the set-up's order prevails."""
    scales = {body.name: np.ones(3) for body in model.bodies}
    unknown: dict[str, None] = {}
    for step in setup.order:
        if step == MEASUREMENTS:
            for factor in factors:
                for body, axes in factor.scales:
                    if body in scales:
                        scales[body][list(axes)] = factor.value
                    else:
                        unknown[body] = None
        elif step == MANUAL:
            for manual in setup.manual:
                if manual.body in scales:
                    scales[manual.body] = np.array(manual.factors)
                else:
                    unknown[manual.body] = None
    if unknown:
        notes.append(f"{len(unknown)} bodies to scale are not in the model: {shorten(list(unknown))}")
    return scales


def check_plausible(scales: Mapping[str, FloatArray], factors: tuple[Factor, ...]) -> None:
    """Refuse bodies that are no person's: wrong units, swapped markers, another model."""
    for body, values in scales.items():
        for axis, value in zip(AXES, values.tolist(), strict=True):
            if not SMALLEST <= value <= LARGEST:
                raise CapbenchError(
                    f"Expected scale factors from {SMALLEST:g} to {LARGEST:g}, got {value:.4g} for {body} "
                    f"along {axis}{_because(body, value, factors)}.",
                    fix="check the recording's units and whether its markers bear the right names",
                )
    table = np.array(list(scales.values())).reshape(-1, 3)
    if not len(table):
        return
    for axis, (low, high) in zip(AXES, zip(table.min(axis=0), table.max(axis=0), strict=True), strict=True):
        if high - low > SPREAD:
            raise CapbenchError(
                f"Expected factors along {axis} that differ by at most {SPREAD:g} between bodies, "
                f"got {low:.3f} to {high:.3f}.",
                fix="check whether the recording's markers bear the right names",
            )


def _because(body: str, value: float, factors: tuple[Factor, ...]) -> str:
    for factor in factors:
        if body in factor.bodies and factor.value == value:
            pair = max(factor.pairs, key=lambda p: abs(np.log(p.ratio)) if p.ratio > 0 else np.inf)
            return (
                f" ({factor.measurement}: {' to '.join(pair.markers)} is {pair.subject:.4g} m, "
                f"in the model {pair.model:.4g} m)"
            )
    return ""


# --- the scaled model ---------------------------------------------------------------------------


def scale_model(
    model: Model,
    scales: Mapping[str, FloatArray],
    mass: float | None = None,
    preserve_mass: bool = True,
) -> Model:
    """``model`` with every body stretched by its factors (3,), in total ``mass`` kg (None: as it comes).

    As OpenSim does it: what is fixed in a body is stretched with it; translations of a CustomJoint that
    follow a function are stretched with the parent body, those that are a coordinate are not. With
    ``preserve_mass`` bodies keep their shares of the mass, else each is as heavy as its volume says.
    """
    names = {body.name for body in model.bodies}
    for body in scales:
        if body not in names:
            raise unknown_name("body", body, names)
    factors = {GROUND: np.ones(3), **{name: np.asarray(scales.get(name, np.ones(3))) for name in names}}
    if any(f.shape != (3,) or not np.isfinite(f).all() or f.min() <= 0 for f in factors.values()):
        raise CapbenchError("Expected three factors above 0 for each body.")
    if mass is not None and not 0 < mass < np.inf:
        raise CapbenchError(f"Expected a mass above 0 kg, got {mass:g}.")
    bodies = tuple(_scale_body(body, factors[body.name], preserve_mass) for body in model.bodies)
    total = sum(body.mass for body in bodies)
    if mass is not None and total > 0:
        share = mass / total
        bodies = tuple(replace(b, mass=b.mass * share, inertia=b.inertia * share) for b in bodies)
    return replace(
        model,
        bodies=bodies,
        joints=tuple(_scale_joint(joint, factors) for joint in model.joints),
        couplers=tuple(_scale_coupler(c, model, factors) for c in model.couplers),
        markers=tuple(replace(m, location=m.location * factors[m.body]) for m in model.markers),
    )


def _scale_body(body: Body, factors: FloatArray, preserve_mass: bool) -> Body:
    mass = body.mass if preserve_mass else body.mass * float(np.prod(factors))
    if mass <= _MASSLESS:
        inertia = np.zeros(6)
    elif np.ptp(factors) <= _EQUAL * max(1.0, float(factors.max())):
        inertia = body.inertia * (mass / body.mass) * factors[0] ** 2
    else:
        inertia = _cylinder(body, mass, factors)
    return Body(body.name, mass, body.mass_centre * factors, inertia)


def _cylinder(body: Body, mass: float, factors: FloatArray) -> FloatArray:
    """(6,) the inertia of a body stretched unevenly, which OpenSim takes for a cylinder.

    Its axis is that of the smallest moment; radius and length follow from that and one other moment.
    """
    axis = int(np.argmin(body.inertia[:3]))
    others = [i for i in range(3) if i != axis]
    radius2 = max(2 * body.inertia[axis] / body.mass, 0.0)
    length2 = max(12 * (body.inertia[others[0]] / body.mass - radius2 / 4), 0.0)
    radius2 *= float(np.prod(factors[others]))
    length2 *= factors[axis] ** 2
    inertia = np.empty(6)
    inertia[axis] = mass * radius2 / 2
    inertia[others] = mass * (length2 / 12 + radius2 / 4)
    for k, (i, j) in enumerate(((0, 1), (0, 2), (1, 2)), start=3):
        inertia[k] = body.inertia[k] * factors[i] * factors[j] * (mass / body.mass)
    return inertia


def _scale_joint(joint: Joint, factors: Mapping[str, FloatArray]) -> Joint:
    translations = joint.translations
    if joint.kind == "CustomJoint":
        translations = tuple(
            axis
            if axis.coordinate is not None and is_identity(axis.function)
            else replace(axis, function=axis.function.scaled(along(axis.direction, factors[joint.parent])))
            for axis in translations
        )
    return replace(
        joint,
        in_parent=_scale_placement(joint.in_parent, factors[joint.parent]),
        in_child=_scale_placement(joint.in_child, factors[joint.child]),
        translations=translations,
    )


def _scale_placement(placement: Placement, factors: FloatArray) -> Placement:
    return Placement(placement.rotation, placement.translation * factors)


def along(direction: FloatArray, factors: FloatArray) -> float:
    """OpenSim's factor for a motion along ``direction``; exact for the three axes only."""
    return float(np.abs(direction) @ factors)


def _scale_coupler(coupler: Coupler, model: Model, factors: Mapping[str, FloatArray]) -> Coupler:
    """A coupled coordinate that is itself a translation is stretched with the parent body of its joint."""
    for joint in model.joints:
        for axis in joint.translations:
            if axis.coordinate == coupler.dependent and is_identity(axis.function):
                size = along(axis.direction, factors[joint.parent])
                return replace(coupler, function=coupler.function.scaled(size))
    return coupler
