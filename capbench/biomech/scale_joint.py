"""Scaling a model from a moving trial: scale factors, marker offsets and poses that fit it together.

What is minimised, over N frames of the trial and all three kinds of unknown at once::

    Σ weight · |marker - recorded|² / noise² + Σ |offset|² / offset_sd² + Σ ln(factor / size)² / factor_sd²

Poses are solved exactly for given factors and offsets. Between these solves, factors and offsets take a
damped Gauss-Newton step that knows how the poses will answer (variable projection), so that few rounds do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from capbench.biomech.model import Model
from capbench.biomech.scale import LARGEST, SMALLEST, check_plausible, scale_model
from capbench.biomech.scale_groups import Groups, groups_of_bodies, groups_of_setup
from capbench.biomech.scale_search import POSE_SD, Declared, Search
from capbench.biomech.scale_setup import AXES, ScaleSetup
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray, IntArray

NOISE = 0.005  #: metres, standard deviation of a recorded marker along an axis, soft tissue included
OFFSET_SD = 0.010  #: metres, how far along an axis a marker may lie from the model's place for it
FACTOR_SD = 0.10  #: how far a factor may lie from the subject's size as a whole
STANDING_SHARE = 4  #: one frame in so many is of standing, where there are such frames
FRAMES = 60
FAR = 0.05  #: metres between two markers of a body from which their distance tells the size
FEW = 10  # frames below which a note is due
UNSURE = 0.8  # share of the declared factor_sd above which the trial says nothing of a factor


@dataclass(frozen=True, eq=False)
class JointScaling:
    """A model scaled from a moving trial.

    Attributes
    ----------
    model : scaled, its markers moved
    factors : group -> factor
    sigma : group -> standard deviation of the factor: noise as large as the residuals say, independent
        between frames, and offsets as large as declared
    scales : body -> (3,) factors
    offsets : marker -> (3,) metres that it was moved in its body; markers that the model calls fixed have
        offsets while factors are sought, but are put back
    motion : poses of the frames used
    size : what the factors are drawn towards
    noise : metres per axis, as estimated from the residuals
    rms, rms_before : metres, root mean square marker distance over the frames used, of the model as it is
        now and as it came
    costs : total cost at the start and after every round; it never rises
    converged : whether the rounds ended because the cost fell no further
    notes : in words
    """

    model: Model
    factors: dict[str, float]
    sigma: dict[str, float]
    scales: dict[str, FloatArray]
    offsets: dict[str, FloatArray]
    motion: Motion
    size: float
    noise: float
    rms: float
    rms_before: float
    costs: tuple[float, ...]
    converged: bool
    notes: tuple[str, ...]

    @property
    def rounds(self) -> int:
        """How many rounds were taken."""
        return len(self.costs) - 1


#: said with every result: soft tissue moves with the limb, frame after frame in the same way
SOFT_TISSUE = (
    "standard deviations count markers' noise only; on a real walk limbs came within 5 % of a static trial, "
    "pelvis and trunk up to 18 % off: use a static trial where there is one"
)


def scale_from_motion(
    model: Model,
    markers: Markers,
    setup: ScaleSetup | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    mass: float | None = None,
    size: float | None = None,
    frames: int = FRAMES,
    noise: float = NOISE,
    offset_sd: float = OFFSET_SD,
    factor_sd: float = FACTOR_SD,
    standing: Markers | None = None,
    pose_sd: float = POSE_SD,
) -> JointScaling:
    """Scale ``model`` to the subject whose moving trial is ``markers``.

    Bodies and axes that share a measurement of ``setup`` share a factor; without one each body has one
    factor, the same left and right. Of the set-up nothing else counts but its masses and manual factors.
    Markers that it measures nothing by may lie anywhere in their bodies; the others near their places.
    ``weights`` of markers default to 1. ``mass`` in kg. ``size`` is subject by model, such as a ratio of
    heights; by default it is taken from distances within bodies. ``offset_sd`` of 0 holds the markers in
    place.

    ``standing`` are frames of the same person standing still (their time counts for nothing): legs, pelvis
    and trunk are then taken to be within ``pose_sd`` (radians) of the model's own upright pose. It tells
    how markers sit on a body apart from how the body is held, which no movement tells of a pelvis.
    """
    _check(frames=frames, noise=noise, factor_sd=factor_sd, offset_sd=offset_sd)
    names = _shared(model, markers, weights)
    seen = _chosen(markers.select(names), frames)
    still = 0
    if standing is not None:
        upright = _chosen(_named(standing, names), max(frames // STANDING_SHARE, 1))
        still = len(upright)
        xyz = np.concatenate([upright.xyz, seen.xyz])
        seen = Markers(np.arange(float(len(xyz))), names, xyz)
    loose = loose_markers(model, names, setup)
    groups = groups_of_setup(model, setup) if setup is not None else groups_of_bodies(model)
    size = size_ratio(model, seen) if size is None else size
    if not SMALLEST <= size <= LARGEST:
        raise CapbenchError(
            f"Expected a subject {SMALLEST:g} to {LARGEST:g} times as large as the model, got {size:.4g}.",
            fix="check the recording's units and whether its markers bear the right names",
        )
    weigh = {name: 1.0 if weights is None else weights[name] for name in names}
    search = Search(
        model, seen, groups, weigh, Declared(noise, offset_sd, factor_sd, size, loose, pose_sd), still=still
    )
    _, before = search.fit(model)
    state, costs, converged = search.run()
    scales = groups.scales(state.x[: search.size])
    check_plausible(scales, ())
    preserve = setup is not None and setup.preserve_mass
    mass = setup.mass if mass is None and setup is not None else mass
    sigma, found = search.spread(state)
    factors = np.exp(state.x[: search.size])
    fixed = {m.name for m in model.markers if m.fixed}
    offsets = {name: o for name, o in search.offsets(state.x).items() if name not in fixed}
    final = search.moved(scale_model(model, scales, mass, preserve), offsets)
    motion, rms = search.fit(final)
    notes = _notes(model, names, seen, groups, sigma, factor_sd)
    if not converged:
        notes.append(f"the cost still fell after {len(costs) - 1} rounds")
    return JointScaling(
        final,
        dict(zip(groups.names, factors.tolist(), strict=True)),
        dict(zip(groups.names, (factors * sigma).tolist(), strict=True)),
        scales,
        offsets,
        motion,
        size,
        found,
        rms,
        before,
        tuple(costs),
        converged,
        tuple(notes),
    )


def _check(*, frames: int, noise: float, factor_sd: float, offset_sd: float) -> None:
    if frames < 1:
        raise CapbenchError(f"Expected at least 1 frame, got {frames}.")
    for name, value in (("noise", noise), ("factor_sd", factor_sd)):
        if not 0 < value < np.inf:
            raise CapbenchError(f"Expected a {name} above 0, got {value:g}.")
    if not 0 <= offset_sd < np.inf:
        raise CapbenchError(f"Expected an offset_sd of 0 or more, got {offset_sd:g}.")


def _shared(model: Model, markers: Markers, weights: Mapping[str, float] | None) -> tuple[str, ...]:
    if weights is not None and not all(np.isfinite(w) and w >= 0 for w in weights.values()):
        raise CapbenchError("Expected marker weights that are finite and not negative.")
    names = tuple(
        m.name
        for m in model.markers
        if m.name in markers.names and (weights is None or weights.get(m.name, 0) > 0)
    )
    if len(names) < 3:
        raise CapbenchError(
            f"Expected at least 3 markers that model and recording share, got {len(names)}. "
            f"Recorded: {shorten(markers.names)}.",
            fix="give the marker set that belongs to the recording (--markers), or rename the markers",
        )
    return names


def _chosen(markers: Markers, count: int) -> Markers:
    """The ``count`` frames to use."""
    chosen = well_observed(markers, count)
    return Markers(markers.time[chosen], markers.names, markers.xyz[chosen])


def _named(markers: Markers, names: tuple[str, ...]) -> Markers:
    """These markers in this order, missing where they were not recorded."""
    xyz = np.full((len(markers), len(names), 3), np.nan)
    there = [k for k, name in enumerate(names) if name in markers.names]
    xyz[:, there] = markers.select([names[k] for k in there]).xyz
    return Markers(markers.time, names, xyz)


def loose_markers(model: Model, names: tuple[str, ...], setup: ScaleSetup | None) -> frozenset[str]:
    """Markers for whose places the model's word is not taken: those by which ``setup`` measures nothing.

    It is taken where there is no set-up, where too few markers would be left, and for fixed markers.
    """
    if setup is None:
        return frozenset()
    landmarks = {name for m in setup.measurements for pair in m.pairs for name in pair}
    if sum(name in landmarks for name in names) < 3:
        return frozenset()
    fixed = {m.name for m in model.markers if m.fixed}
    return frozenset(name for name in names if name not in landmarks and name not in fixed)


# --- what to fit --------------------------------------------------------------------------------


def well_observed(markers: Markers, count: int = FRAMES) -> IntArray:
    """Numbers of up to ``count`` frames, evenly spread over those in which nearly as many markers are seen
    as ever."""
    seen = np.isfinite(markers.xyz).all(axis=-1).sum(axis=1)
    best = int(seen.max(initial=0))
    if best < 3:
        raise CapbenchError(f"Expected frames with at least 3 of the model's markers, got at most {best}.")
    good = np.flatnonzero(seen >= max(3.0, 0.9 * best))
    if len(good) < count:
        good = np.sort(np.argsort(-seen, kind="stable")[:count])
        good = good[seen[good] >= 3]
    spread = np.unique(np.linspace(0, len(good) - 1, min(count, len(good))).round().astype(int))
    return np.asarray(good[spread])


def size_ratio(model: Model, markers: Markers) -> float:
    """Subject by model: the median over pairs of markers on one body of their distances' ratios."""
    own = [m for m in model.markers if m.name in markers.names]
    xyz = {m.name: markers.select([m.name]).xyz[:, 0] for m in own}
    ratios: list[float] = []
    for i, a in enumerate(own):
        for b in own[:i]:
            length = float(np.linalg.norm(a.location - b.location))
            if a.body != b.body or length < FAR:
                continue
            apart = np.linalg.norm(xyz[a.name] - xyz[b.name], axis=-1)
            if np.isfinite(apart).any():
                ratios.append(float(np.nanmedian(apart)) / length)
    return float(np.median(ratios)) if ratios else 1.0


def _notes(
    model: Model, names: tuple[str, ...], seen: Markers, groups: Groups, sigma: FloatArray, factor_sd: float
) -> list[str]:
    notes = [SOFT_TISSUE]
    lacking = [m.name for m in model.markers if m.name not in names]
    if lacking:
        notes.append(f"{len(lacking)} model markers are not fitted; they are scaled only: {shorten(lacking)}")
    if len(seen) < FEW:
        notes.append(f"only {len(seen)} frames are used: factors lean on the model's marker places")
    unsure = [
        name for name, value in zip(groups.names, sigma.tolist(), strict=True) if value > UNSURE * factor_sd
    ]
    if unsure:
        notes.append(f"the trial hardly tells these factors, the subject's size does: {shorten(unsure)}")
    held = [
        f"{body} {axis}"
        for body, row in zip(groups.bodies, groups.number, strict=True)
        for axis, k in zip(AXES, row, strict=True)
        if k < 0
    ]
    if held:
        notes.append(f"{len(held)} axes of bodies have no measurement and keep their factor: {shorten(held)}")
    return notes
