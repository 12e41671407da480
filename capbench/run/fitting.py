"""From markers to joint angles: the model that wears a skeleton's points, scaled to the person, and solved.

The person is measured by what the evaluated model itself saw of them, standing in the static trial and
moving.
Neither tells all. Standing (near upright) tells how points sit on the bones; moving tells how long bones are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capbench.biomech.body import fullbody, fullbody_card, marker_sets
from capbench.biomech.fit import fit
from capbench.biomech.kinematics import forward
from capbench.biomech.kinematics import points as points_of
from capbench.biomech.model import Model
from capbench.biomech.osim import read_model
from capbench.biomech.scale import scale_model
from capbench.biomech.scale_joint import scale_from_motion
from capbench.biomech.solve import solve
from capbench.biomech.tree import build_tree
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion, Subject
from cohorts.remap import remap_markers
from cohorts.skeleton import Skeleton, skeleton
from cohorts.values import FloatArray

FRAMES = 40  #: moving frames of all trials together that a person is scaled on; a quarter as many standing
#: what keypoints of video are like: metres, standard deviations of a point along an axis, and of its place on
#: a person's bone against the model's. Chosen on the people of clinic-mini, who are for tuning
NOISE, OFFSET_SD = 0.015, 0.02
#: the priors that are tried, loosest first, until the person is a plausible one: of factors, and of noise
PRIORS = ((0.10, NOISE), (0.05, 2 * NOISE), (0.02, 4 * NOISE))
UNSEEN = "mtp_angle"  #: the toes' joint, which few skeletons show and no protocol scores
LEAST = 0.5  #: share of a trial's points that a frame must show to be solved
#: marker set -> the preset of weights that the published code fits it with; others weigh the same throughout
PUBLISHED_WEIGHTS = {"synthpose-52": "opencap-synthpose", "openpose-25": "opencap-openpose"}


@dataclass(frozen=True)
class Person:
    """A person's musculoskeletal model, and how it came about, in words."""

    model: Model
    facts: Mapping[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Solved:
    """A trial's joint angles.

    Attributes
    ----------
    motion : of every coordinate of the model; NaN in frames that show too few points
    sd : (T, C) standard deviations by the points' own, radians and metres; infinite where nothing tells
    held : coordinates that no point shows
    facts, notes : numbers and words on how well it fits
    """

    motion: Motion
    sd: FloatArray
    held: tuple[str, ...]
    facts: Mapping[str, float]
    notes: tuple[str, ...]


def worn(points: Skeleton) -> str:
    """The name of the model's marker set that a skeleton's points are worn as: its own, or the nearest."""
    if points.name in marker_sets() and skeleton(points.name).points == points.points:
        return points.name
    best = max(marker_sets(), key=lambda name: len(points.map_to(skeleton(name)).exact))
    if len(points.map_to(skeleton(best)).exact) < 6:
        raise CapbenchError(
            f"Expected a skeleton that shares at least 6 landmarks with a marker set of the model, got "
            f"{points.name}.",
            fix=f"one of {', '.join(marker_sets())}, or name each point's landmark in the model's card",
        )
    return best


def wearable(points: Skeleton) -> tuple[Skeleton, frozenset[str]]:
    """The set that a skeleton's points are worn as, and the names of it that they give."""
    own = skeleton(worn(points))
    gives = own.points if _as_it_is(points, own) else points.map_to(own).exact
    return own, frozenset(gives) & {m.name for m in fullbody(markers=own.name).markers}


def _as_it_is(points: Skeleton, own: Skeleton) -> bool:
    return points.name == own.name and points.points == own.points


def as_worn(markers: Markers, points: Skeleton) -> Markers:
    """Markers named by a skeleton as those of the set that :func:`worn` names; missing ones left out."""
    own, known = wearable(points)
    if not _as_it_is(points, own):
        markers = remap_markers(markers, points.map_to(own), approximate=False)
    there = [bool(column.any()) for column in np.isfinite(markers.xyz[..., 0]).T]
    return markers.select(n for n, seen in zip(markers.names, there, strict=True) if seen and n in known)


def scale_person(
    points: Skeleton, standing: Markers | None, moving: Sequence[Markers], subject: Subject
) -> Person:
    """The model of ``subject``, scaled by markers of ``points`` as :func:`as_worn` gives them.

    Height and mass are taken from the cohort where it knows them, as a clinic measures them: they draw the
    person's size and set the masses; the joint angles follow from the points.
    """
    generic = fullbody(markers=worn(points))
    moving = [m for m in moving if len(m)]
    notes: list[str] = []
    if standing is None and not moving:
        raise CapbenchError("Expected markers to scale the person by, got none.")
    if standing is None:
        notes.append("no static trial: scaled by the moving trials alone")
    together = _joined(moving) if moving else _joined([standing] if standing is not None else [])
    size = limb_size(generic, together) if subject.height is None else subject.height / fullbody_card().height
    for factor_sd, noise in PRIORS:
        try:
            found = scale_from_motion(
                generic,
                together,
                mass=subject.mass,
                size=size,
                frames=FRAMES,
                noise=noise,
                offset_sd=OFFSET_SD,
                factor_sd=factor_sd,
                standing=standing,
            )
        except CapbenchError as error:
            notes.append(f"not scaled with factors within {factor_sd:.0%}: {error.problem}")
            continue
        return Person(found.model, {"scaling rms mm": 1000 * found.rms, "size": found.size}, tuple(notes))
    if size is None:
        raise CapbenchError("Expected markers of a plausible person, got none by any of the priors.")
    notes.append("scaled by the person's height alone")
    scales = {body.name: np.full(3, size) for body in generic.bodies}
    return Person(scale_model(generic, scales, subject.mass), {"size": size}, tuple(notes))


#: limbs whose ends are landmarks of nearly every skeleton, and whose length no pose changes much
LIMBS = (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))


def limb_size(generic: Model, markers: Markers) -> float | None:
    """Subject by model, from the lengths of arms and legs; None where fewer than four of them are seen.

    Hands, feet and faces, of which skeletons have many points, say little of a person's size.
    """
    tree = build_tree(generic)
    frames = forward(tree, tree.defaults[None])
    bodies = [m.body for m in generic.markers]
    at = points_of(tree, frames, bodies, np.array([m.location for m in generic.markers]))[0]
    own = {m.name: place for m, place in zip(generic.markers, at, strict=True)}
    named = {}
    for name in markers.names:
        word = name.lower()
        for side in ("left", "right"):
            short = side[0]
            for joint in {j for limb in LIMBS for j in limb}:
                if word in (f"{side}_{joint}", f"{short}{joint}"):
                    named[side, joint] = name
    ratios = []
    for side in ("left", "right"):
        for a, b in LIMBS:
            ends = named.get((side, a)), named.get((side, b))
            if None in ends:
                continue
            seen = markers.select(ends).xyz  # type: ignore[arg-type]  # no None is left
            apart = np.linalg.norm(seen[:, 1] - seen[:, 0], axis=-1)
            if np.isfinite(apart).any():
                length = np.linalg.norm(own[str(ends[0])] - own[str(ends[1])])
                ratios.append(float(np.nanmedian(apart) / length))
    return float(np.median(ratios)) if len(ratios) >= 4 else None


def _joined(trials: Sequence[Markers]) -> Markers:
    """The frames of several trials one after another; their times count for nothing."""
    names = tuple(dict.fromkeys(name for m in trials for name in m.names))
    parts = []
    for markers in trials:
        xyz = np.full((len(markers), len(names), 3), np.nan)
        xyz[:, [names.index(n) for n in markers.names]] = markers.xyz
        parts.append(xyz)
    whole = np.concatenate(parts)
    return Markers(np.arange(float(len(whole))), names, whole)


def solve_trial(model: Model, markers: Markers, covariance: FloatArray | None = None) -> Solved:
    """The joint angles of a trial, each frame solved to its optimum.

    ``markers`` as :func:`as_worn` gives them; ``covariance`` (T, M, 3, 3) m² of them in the same order.
    """
    known = {m.name for m in model.markers}
    chosen = [n for n in markers.names if n in known]
    if len(chosen) < 3:
        raise CapbenchError(f"Expected at least 3 markers that the model wears, got {len(chosen)}.")
    keep = [markers.names.index(n) for n in chosen]
    markers = markers.select(chosen)
    seen = np.isfinite(markers.xyz[..., 0])
    enough = seen.sum(axis=1) >= max(3, LEAST * len(chosen))
    if not enough.any():
        raise CapbenchError(
            f"Expected frames that show half of the {len(chosen)} points or more, got none of {len(markers)}."
        )
    xyz = np.where(enough[:, None, None], markers.xyz, np.nan)
    some = Markers(markers.time, markers.names, xyz)
    spread = None if covariance is None else _present(covariance[:, keep], seen)
    found = solve(model, some, covariance=spread)
    proof = found.certificate
    names = found.motion.names
    sd = np.full((len(markers), len(names)), np.nan)
    sd[:, [names.index(c) for c in proof.coordinates]] = proof.sigma
    values = np.where(enough[:, None], found.motion.values, np.nan)
    motion = Motion(found.motion.time, names, values, found.motion.kinds, found.motion.coupled)
    shown: list[bool] = np.asarray(proof.observed[enough].any(axis=0)).tolist()
    held = tuple(c for c, there in zip(proof.coordinates, shown, strict=True) if not there)
    facts = {
        "marker rms mm": 1000 * float(np.sqrt(np.nanmean(proof.rms[enough] ** 2))),
        "frames solved %": 100 * float(enough.mean()),
        "converged %": 100 * float(proof.converged[enough].mean()),
    }
    notes = [] if enough.all() else [f"{int((~enough).sum())} of {len(enough)} frames show too few points"]
    told = [name for name in held if not name.startswith(UNSEEN)]
    if told:
        notes.append(f"no point shows {', '.join(told)}: left where the model has them")
    return Solved(motion, sd, held, facts, tuple(notes))


def _present(covariance: FloatArray, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    """Covariances with a wide one where a point was filled in or came without."""
    known = np.isfinite(covariance).all(axis=(-1, -2))
    wide = np.eye(3) * (4 * NOISE**2)
    return np.where((known | ~seen)[..., None, None], covariance, wide)


def solve_published(osim: Path, markers: Markers, points: Skeleton) -> Solved:
    """The joint angles as the published code finds them: OpenSim, which stops at 1e-5, and its weights."""
    preset = PUBLISHED_WEIGHTS.get(worn(points))
    known = {m.name for m in read_model(osim).markers}
    seen = markers.select(n for n in markers.names if n in known)
    found = fit(seen, osim, tasks=preset, engine="published", anyway=True)
    sd = np.full(found.motion.values.shape, np.nan)
    facts = {"marker rms mm": 1000 * found.rms}
    return Solved(found.motion, sd, (), facts, found.notes)
