"""Is this recording what it says it is? Checks before and after a fit, answered in words.

OpenSim fits whatever it is given: markers at (0, 0, 0), millimetres taken as metres, a mirrored person. The
angles look like angles. Each check here returns what it found; "refuse" where the fit would be wrong
for certain, "flag" where a person should look. What can't be told from markers alone is only flagged: someone
who lies down looks like someone in a room whose vertical axis is z.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from capbench.biomech.kinematics import forward, marker_tracks, points
from capbench.biomech.model import Model
from capbench.biomech.problem import build_problem
from capbench.biomech.solve import run_chain
from capbench.biomech.starts import best_rigid_motion, neutral, rigid_starts
from capbench.biomech.suspect_time import jumps, swapped_markers
from capbench.biomech.suspicion import BoolArray, Found, Suspicion, refuse, there, where
from capbench.biomech.tree import build_tree
from cohorts.bounded import shorten
from cohorts.errors import CapbenchError
from cohorts.recording import Markers, Motion
from cohorts.values import FloatArray, IntArray

FEWEST = 3  #: points that place one body
SAMPLES = 12  #: frames, spread over the recording, that stand for all where a check needs a fit
#: times too large -> whose units were taken for whose
UNITS = {
    1000.0: "millimetres, taken as metres", 100.0: "centimetres, taken as metres",
    39.3701: "inches, taken as metres", 10.0: "millimetres, taken as centimetres",
    3.28084: "feet, taken as metres", 0.1: "centimetres, taken as millimetres",
    0.01: "metres, taken as centimetres", 0.001: "metres, taken as millimetres",
}  # fmt: skip
PERSON = (0.5, 2.0)  #: times the model's size: from a toddler's to twice any adult's
NOBODY = (0.25, 4.0)  #: times the model's size: no person is that small or large, so the unit is wrong
GUESS = 2.5  #: the unit is named where the person is within this factor of the model then
REACH = 1e8  #: m: micrometres taken as metres stay within it; beyond, squares of squares overflow
SPOT = 0.02  #: m in the model's size: points spread less than this are one point
LINE = 0.02  #: share of the length that points on one line may spread sideways
MIRROR = 0.5  #: the mirrored fit is to leave less than this share of the misfit: shapes are clearly handed
MIRROR_FLOOR = 0.03  #: m: below this the fit is good as it is
UPRIGHT = 0.7  #: cosine: nearer than 45 degrees to an axis
ALWAYS = 0.9  #: share of frames: more is not a movement but the whole recording
FLOOR = 0.15  #: m: the lowest marker of someone who stands is that near to the floor
FAR_OFF = 5.0  #: times the usual misfit
FAR_OFF_FLOOR = 0.03  #: m: skin markers and keypoints are off by less


def suspicions(model: Model, markers: Markers, weights: Mapping[str, float] | None = None) -> Found:
    """All that is odd about ``markers`` before ``model`` is fitted to them; the worst first.

    ``weights`` are the tasks, marker name -> weight; default: all that model and recording share.
    """
    found = [*unmatched_names(model, markers.names, weights), *origin_points(markers)]
    found += never_seen(markers) + out_of_reach(markers)
    used = without_origin(markers.select(_shared(model, markers.names, weights)))
    found += too_few(used)
    if any(s.severity == "refuse" for s in found if s.kind in ("names", "few", "reach")):
        return _worst_first(found)
    size = size_ratio(model, used)
    unit = size if not NOBODY[0] <= size <= NOBODY[1] else 1.0
    one_place = flat(used, size)
    if one_place:
        return _worst_first([*found, *one_place])
    found += implausible_size(size)
    in_metres = Markers(used.time, used.names, used.xyz / unit)
    swaps = swapped_markers(in_metres)
    found += swaps + jumps(in_metres, swaps) + upside_down(model, in_metres) + mirrored(model, in_metres)
    return _worst_first(found)


def _worst_first(found: Iterable[Suspicion]) -> Found:
    return tuple(sorted(found, key=lambda s: s.severity != "refuse"))


# --- names --------------------------------------------------------------------------------------


def _shared(model: Model, names: Sequence[str], weights: Mapping[str, float] | None) -> list[str]:
    own = {m.name for m in model.markers}
    return [n for n in names if n in own and (weights is None or weights.get(n, 0.0) > 0)]


def unmatched_names(model: Model, names: Sequence[str], weights: Mapping[str, float] | None) -> Found:
    """Markers that no task names, tasks that no marker has, weights of zero: OpenSim is silent on these."""
    own, there = {m.name for m in model.markers}, set(names)
    tasks = dict.fromkeys(own & there, 1.0) if weights is None else weights
    wrong = tuple(n for n, w in tasks.items() if not (np.isfinite(w) and w >= 0))
    if wrong:
        text = f"Expected weights that are finite and not negative, got others for {shorten(wrong)}."
        return (Suspicion("refuse", "names", text, None, wrong),)
    lists = (
        ([n for n in names if n not in own], "recorded markers are not in the model"),
        ([n for n in names if n in own and n not in tasks], "recorded markers have no task"),
        ([n for n in names if n in own and tasks.get(n) == 0], "recorded markers have weight 0"),
        ([n for n, w in tasks.items() if w > 0 and n not in own], "tasks name markers that the model lacks"),
        (
            [n for n, w in tasks.items() if w > 0 and n in own - there],
            "tasks name markers that are not recorded",
        ),
    )
    found = [
        Suspicion("flag", "names", f"{len(odd)} {what}: {shorten(odd)}.", markers=tuple(odd))
        for odd, what in lists
        if odd
    ]
    shared = _shared(model, names, weights)
    if len(shared) < FEWEST:
        found.append(
            Suspicion(
                "refuse",
                "names",
                f"Expected at least {FEWEST} markers that recording, tasks and model share, got "
                f"{len(shared)}. Recorded: {shorten(names)}. Model: {shorten(sorted(own)) or 'none'}.",
                "rename the recorded markers, or give a model with this marker set",
            )
        )
    return tuple(found)


def opposites(names: Iterable[str]) -> dict[str, str]:
    """Names with a partner on the other side: ``r_knee`` <-> ``L_knee``, ``RightHip`` <-> ``LeftHip``."""
    known = {name.lower(): name for name in names}
    found = {}
    for low, name in known.items():
        swapped = [low.replace("right", "left")] if "right" in low else []
        for mark in ("", "_", ".", " ", "-"):
            swapped += ["l" + low[1:]] if low.startswith("r" + mark) else []
            swapped += [low[:-1] + "l"] if low.endswith(mark + "r") else []
        swapped += [low.replace(f"{a}r{a}", f"{a}l{a}") for a in "_. -"]
        for other in swapped:
            if other != low and other in known and name not in found:
                found[name], found[known[other]] = known[other], name
    return found


# --- points -------------------------------------------------------------------------------------


def _at_origin(markers: Markers) -> BoolArray:
    return np.asarray((markers.xyz == 0).all(axis=-1))


def without_origin(markers: Markers) -> Markers:
    """The same, points at exactly (0, 0, 0) taken as missing."""
    at = _at_origin(markers)
    return (
        Markers(markers.time, markers.names, np.where(at[..., None], np.nan, markers.xyz))
        if at.any()
        else markers
    )


def origin_points(markers: Markers) -> Found:
    """Points at exactly (0, 0, 0): how some software writes "missing"."""
    at = _at_origin(markers)
    if not at.any():
        return ()
    names, frames = where(markers, at)
    text = f"{at.sum()} points lie at exactly (0, 0, 0), of {shorten(names)}, from frame {frames[0]} on."
    return (Suspicion("refuse", "origin", text, "mark missing points by NaN", names, frames),)


def out_of_reach(markers: Markers) -> Found:
    """Points so far away that no unit explains them."""
    far = np.asarray((np.abs(markers.xyz) > REACH).any(axis=-1))
    if not far.any():
        return ()
    names, frames = where(markers, far)
    text = f"{far.sum()} points lie over {REACH:g} m away, of {shorten(names)}, from frame {frames[0]} on."
    return (Suspicion("refuse", "reach", text, "mark missing points by NaN", names, frames),)


def never_seen(markers: Markers) -> Found:
    """Markers without a single point."""
    seen = np.atleast_1d(there(without_origin(markers)).any(axis=0))
    names = tuple(n for n, here in zip(markers.names, seen, strict=True) if not here)
    text = f"{len(names)} markers are missing in every frame: {shorten(names)}."
    return (Suspicion("flag", "missing", text, None, names),) if names and len(markers) else ()


def too_few(markers: Markers) -> Found:
    """Frames with fewer points than place one body."""
    count = there(markers).sum(axis=1)
    bad = tuple(np.flatnonzero(count < FEWEST).tolist())
    if not bad and len(markers):
        return ()
    empty = int((count == 0).sum())
    text = (
        f"{len(bad)} of {len(markers)} frames have fewer than {FEWEST} markers to fit ({empty} have none)"
        + (f", the first frame {bad[0]}." if bad else ".")
    )
    return (Suspicion("refuse" if len(bad) == len(markers) else "flag", "few", text, None, (), bad),)


def flat(markers: Markers, size: float = 1.0) -> Found:
    """All markers on one point or one line (``size`` is the person's, in the model's)."""
    xyz = markers.xyz[_samples(markers)] / (size or 1.0)
    spread = []
    for frame in xyz:
        seen = frame[~np.isnan(frame[:, 0])]
        spread.append(np.linalg.svd(seen - seen.mean(axis=0), compute_uv=False) / np.sqrt(len(seen)))
    if not spread:
        return ()
    length, side = np.median(np.array(spread), axis=0)[:2]
    text = "All markers of a frame lie on one {}: that places no body."
    if length < SPOT:
        return (Suspicion("refuse", "flat", text.format("point")),)
    if side < LINE * length:
        return (Suspicion("refuse", "flat", text.format("line")),)
    return ()


def _samples(markers: Markers) -> IntArray:
    """Frames to look at: evenly spread among those with most markers."""
    count = there(markers).sum(axis=1)
    good = np.flatnonzero(count >= max(FEWEST, 0.9 * count.max()))
    if not len(good):
        return np.zeros(0, dtype=np.int64)
    pick = np.unique(np.linspace(0, len(good) - 1, SAMPLES).round().astype(np.int64))
    return np.asarray(good[pick], dtype=np.int64)


# --- size ---------------------------------------------------------------------------------------


def size_ratio(model: Model, markers: Markers) -> float:
    """How many times larger the recorded person is than the model: median over pairs of near markers.

    Pairs lie on one body or on two that share a joint, as poses change their distances least.
    """
    own = {m.name: m for m in model.markers}
    rest = _neutral_points(model, markers.names)
    first, second = np.triu_indices(len(rest), 1)
    apart = np.linalg.norm(rest[first] - rest[second], axis=1)
    joined = {(j.parent, j.child) for j in model.joints}
    bodies = [own[n].body for n in markers.names]
    pairs = [(bodies[a], bodies[b]) for a, b in zip(first, second, strict=True)]
    near = np.array([a == b or (a, b) in joined or (b, a) in joined for a, b in pairs], dtype=bool)
    far = apart > SPOT
    use = near & far if (near & far).sum() >= FEWEST else far
    xyz = markers.xyz[_samples(markers)]
    recorded = np.linalg.norm(xyz[:, first[use]] - xyz[:, second[use]], axis=-1)
    ratios = recorded / apart[use]
    return float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else 1.0


def implausible_size(ratio: float) -> Found:
    """Wrong units, or a person who does not suit the model; ``ratio`` is the person's size over its."""
    if PERSON[0] <= ratio <= PERSON[1]:
        return ()
    factor = min(UNITS, key=lambda f: abs(np.log(max(ratio, 1e-300) / f)))
    text = f"The person is {ratio:{'.0f' if ratio >= 10 else '.3g'}} times as large as the model."
    if 1 / GUESS <= ratio / factor <= GUESS:
        text += f" These look like {UNITS[factor]}."
    if NOBODY[0] <= ratio <= NOBODY[1]:
        return (Suspicion("flag", "size", text, "scale the model to the person, or check the unit"),)
    return (Suspicion("refuse", "units", text, f"divide the points by {factor:g}, or name their unit"),)


def _neutral_points(model: Model, names: Sequence[str]) -> FloatArray:
    """(M, 3) the model's markers at rest, metres."""
    tree = build_tree(model)
    own = {m.name: m for m in model.markers}
    at = np.array([own[n].location for n in names]).reshape(-1, 3)
    placed: FloatArray = points(tree, forward(tree, neutral(tree)[None]), [own[n].body for n in names], at)[0]
    return placed


# --- sides and axes -----------------------------------------------------------------------------


def mirrored(model: Model, markers: Markers) -> Found:
    """A person whose left is right: an axis mirrored, or the names of the sides swapped.

    The model is fitted to a few frames as they are, mirrored, and with the names of the sides swapped. A
    body and its markers are handed, so the wrong hand fits much worse, whatever the pose and the heading.
    (All points in one plane have no hand: such a recording is not found out.)
    """
    markers = without_origin(markers)
    sample = Markers(markers.time, markers.names, markers.xyz / size_ratio(model, markers))
    xyz = sample.xyz[_samples(sample)]
    if not len(xyz):
        return ()
    partner = opposites(markers.names)
    swap = [markers.names.index(partner.get(n, n)) for n in markers.names]
    flip = xyz * np.array([1.0, 1.0, -1.0])
    given, mirror, swapped = (_misfit(model, markers.names, v) for v in (xyz, flip, xyz[:, swap]))
    best = min(mirror, swapped)
    if given < MIRROR_FLOOR or best > MIRROR * given:
        return ()
    if swapped < MIRROR * mirror:
        what, fix = "the names of left and right are swapped", "swap the names of left and right"
    elif mirror < MIRROR * swapped:
        what, fix = "an axis is mirrored", "change the sign of one axis"
    else:
        what = (
            "the names of left and right are swapped, or an axis is mirrored (the markers can't tell which)"
        )
        fix = "swap the names of left and right, or change the sign of one axis"
    text = (
        f"Left and right are the wrong way round: {what}. The model misses the markers by {_mm(given)} as "
        f"they are, by {_mm(mirror)} mirrored, by {_mm(swapped)} with the names swapped."
    )
    return (Suspicion("refuse", "mirrored", text, fix),)


def _misfit(model: Model, names: Sequence[str], xyz: FloatArray) -> float:
    """Metres: median over frames of the root mean square miss of the model, fitted to (T, M, 3)."""
    problem = build_problem(model, dict.fromkeys(names, 1.0))
    rest = _neutral_points(model, names)
    seen = ~np.isnan(xyz[..., 0])
    filled = np.where(seen[..., None], xyz, 0.0)
    turn, shift = best_rigid_motion(filled, np.broadcast_to(rest, xyz.shape), seen.astype(float))
    # laid onto the model at rest, so that no bound or pole of the root's angles is in the way
    y = np.einsum("tij,tmj->tmi", turn, filled) + shift[:, None]
    y = np.where(seen[..., None], y, np.nan)
    start = rigid_starts(problem, y, neutral(problem.tree))
    chain = run_chain(problem, y, start, warm=False, backwards=False)
    return float(np.sqrt(2 * np.median(chain.cost)))


def upside_down(model: Model, markers: Markers) -> Found:
    """A person whose head points down, or along x or z, all the time.

    Only the trunk counts, so limbs may do what they like. Which way the person faces does not matter.
    """
    up = trunk_direction(model, markers)
    if not len(up):
        return ()
    mean = up.mean(axis=0)
    axis = int(np.argmax(np.abs(mean)))
    sign = 1.0 if mean[axis] > 0 else -1.0
    steady = (sign * up[:, axis] > UPRIGHT).mean()
    if (axis == 1 and sign > 0) or steady < ALWAYS:
        return ()
    name = f"{'-' if sign < 0 else ''}{'xyz'[axis]}"
    head = f"The trunk points along {name}, not up along y, in {steady:.0%} of the frames looked at"
    if axis == 1:
        fix = "turn the points by 180 degrees about x: (x, -y, -z)"
        return (Suspicion("refuse", "upside down", head + ": the person is upside down.", fix),)
    lowest = np.nanmin(sign * markers.xyz[_samples(markers)][..., axis], axis=1)
    floor = float(np.median(np.abs(lowest)))
    stands = floor < FLOOR
    evidence = f"the lowest marker along {name} is {floor:.2f} m from 0, as of someone who "
    evidence += "stands on a floor" if stands else "lies"
    text = f"{head}: the vertical axis is {name}, or the person lies or bends down ({evidence})."
    turned = {"z": "(x, z, -y)", "-z": "(x, -z, y)", "x": "(-y, x, z)", "-x": "(y, -x, z)"}[name]
    return (
        Suspicion("flag", "vertical axis", text, f"unless the person does so, turn the points to {turned}"),
    )


def trunk_direction(model: Model, markers: Markers) -> FloatArray:
    """(T, 3) which way the top of the trunk points in sample frames; empty where too few markers are seen."""
    own = {m.name: m for m in model.markers}
    sided = opposites(b.name for b in model.bodies)
    trunk = np.array([own[n].body not in sided for n in markers.names], dtype=bool)
    if trunk.sum() < FEWEST:
        trunk[:] = True
    xyz = markers.xyz[_samples(markers)][:, trunk] / size_ratio(model, markers)
    rest = _neutral_points(model, markers.names)[trunk]
    seen = ~np.isnan(xyz[..., 0])
    enough = seen.sum(axis=1) >= FEWEST
    xyz, seen = xyz[enough], seen[enough]
    filled = np.where(seen[..., None], xyz, 0.0)
    turn, _ = best_rigid_motion(np.broadcast_to(rest, xyz.shape), filled, seen.astype(float))
    return np.asarray(turn[:, :, 1])


def _mm(metres: float) -> str:
    return f"{metres * 1000:.0f} mm"


# --- after the fit ------------------------------------------------------------------------------


def misplaced(model: Model, markers: Markers, motion: Motion) -> Found:
    """Markers that a fitted motion misses by far more than the others.

    They are mislabelled, or placed wrong on the model. ``motion`` has the times of ``markers``.
    """
    if not np.array_equal(motion.time, markers.time):
        raise CapbenchError("Expected a motion with the times of the markers, got others.")
    own = {m.name for m in model.markers}
    shared = [n for n in markers.names if n in own]
    fitted = marker_tracks(model, motion)
    miss = np.linalg.norm(markers.select(shared).xyz - fitted.select(shared).xyz, axis=-1)
    seen = ~np.isnan(miss).all(axis=0) if len(miss) else np.zeros(len(shared), dtype=bool)
    if not seen.any():
        return ()
    typical = np.full(len(shared), 0.0)
    typical[seen] = np.nanmedian(miss[:, seen], axis=0)
    usual = float(np.median(typical[seen]))
    found = []
    for n in np.flatnonzero(typical > max(FAR_OFF * usual, FAR_OFF_FLOOR)):
        text = f"{shared[n]} lies {_mm(typical[n])} from where the fitted model has it, others {_mm(usual)}."
        fix = "check its name in the recording and its place on the model"
        found.append(Suspicion("flag", "misplaced", text, fix, (shared[n],)))
    return tuple(found)


__all__ = [
    "Found", "Suspicion", "flat", "implausible_size", "jumps", "mirrored", "misplaced", "never_seen",
    "opposites", "origin_points", "out_of_reach", "refuse", "size_ratio", "suspicions", "swapped_markers",
    "too_few", "trunk_direction", "unmatched_names", "upside_down", "without_origin",
]  # fmt: skip
