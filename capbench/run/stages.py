"""The stages of an evaluation: what is done, unit by unit, in worker processes.

Each takes a unit, the run's context (where things lie) and the outputs of earlier units, and gives bytes that
depend on nothing but the unit. A stage's version is a hash of the sources that it follows from, so that
nothing is ever reused which other code made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import capbench
from capbench.biomech.body_parameters import motion_of
from capbench.models.faults import ModelFault
from capbench.models.predictions import Predictions, find_predictions
from capbench.models.predictor import Predictor
from capbench.run import fitting, nouns
from capbench.run.noisy_truth import Noise, noisy
from capbench.run.reference import resolve
from capbench.run.truths import check_sane
from capbench.run.units import Unit, UnitError, pack, unpack
from capbench.vision.faults import ViewFault
from cohorts import formats
from cohorts.bounded import shorten
from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.recording import BodyParameters, Keypoints, Markers, Motion, Trial
from cohorts.skeleton import Skeleton, skeleton, skeleton_names
from cohorts.store import Imported, open_cohort

WORK = "capbench.run.stages:work"
_READS = ("cohorts/formats", "cohorts/camera.py", "cohorts/recording.py", "cohorts/remap.py",
          "cohorts/skeleton.py", "cohorts/skeletons", "cohorts/values.py",
          "capbench/run/nouns.py")  # fmt: skip
_LOOKS = (*_READS, "capbench/models", "capbench/run/answers.py", "capbench/run/decoding.py",
          "capbench/run/inference.py", "capbench/vision/boxes.py", "capbench/vision/detector.py",
          "capbench/vision/subject.py", "capbench/vision/tracking.py")  # fmt: skip
_FITS = (*_READS, "capbench/biomech", "capbench/run/fitting.py")
#: the stages, and the sources that what each makes follows from, besides this file
SOURCES: Mapping[str, tuple[str, ...]] = {
    "predict": _LOOKS,
    "noisy-truth": (*_READS, "capbench/run/noisy_truth.py"),
    "read": (*_FITS, "capbench/models/predictions.py"),
    "true-markers": _FITS,  # points are told as those that the musculoskeletal model wears
    "markers": (*_FITS, "capbench/vision"),
    "scale": _FITS,
    "motion": _FITS,
    "reference": (*_FITS, "capbench/run/reference.py"),
}
Inputs = Mapping[str, bytes]
Context = Mapping[str, Any]


@cache
def version(stage: str) -> str:
    """Sixteen digits that change with any source that the stage's output follows from."""
    root, cohorts = Path(capbench.__file__).parent.parent, Path(formats.__file__).parent.parent
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name in SOURCES[stage]:
        place = (cohorts.parent if name.startswith("cohorts/") else root) / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in (".py", ".yaml", ".txt"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def work(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """Do one unit; see :mod:`capbench.run.executors`."""
    with faults():
        return _STAGES[unit.stage](unit, context, inputs)


@contextmanager
def faults() -> Iterator[None]:
    """What models, views and points do wrong, with their own word for it; a bug of ours stays one."""
    try:
        yield
    except (UnitError, EnvironmentFault, RefusedError):
        raise
    except ModelFault as error:
        raise _typed(error, "model", error.kind) from error
    except ViewFault as error:
        raise _typed(error, "cohort" if error.kind in COHORTS else "model", error.kind) from error
    except CapbenchError as error:
        raise _typed(error, "model", "unusable") from error


@contextmanager
def of_cohort() -> Iterator[None]:
    """What is wrong in here is the cohort's fault."""
    try:
        yield
    except (UnitError, EnvironmentFault, RefusedError):
        raise
    except CapbenchError as error:
        raise _typed(error, "cohort", "unusable") from error


#: what views do wrong through no fault of whoever found the points
COHORTS = {"no-calibration", "wrong-units"}


def _typed(error: CapbenchError, fault: Any, kind: str) -> UnitError:
    return UnitError(error.problem, fault=fault, kind=kind, file=error.file, place=error.place, fix=error.fix)


@lru_cache(maxsize=2)
def _cohort(folder: str) -> Imported:
    return open_cohort(folder)


def trial_of(unit: Unit, context: Context) -> tuple[Imported, Trial]:
    """The cohort, and the trial that a unit is of."""
    found = _cohort(context["cohort"])
    for trial in found.cohort.trials:
        if trial.key == unit.params["trial"]:
            return found, trial
    raise CapbenchError(f"Expected a trial of the cohort, got {unit.params['trial']!r}.")


# --- keypoints ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _opened(spec: str, device: str, trust: bool, python: str | None, threads: int) -> Predictor | ModelFault:
    """The model, or why it can't be started: one that hangs at its start is not waited for in every unit."""
    from capbench.models.registry import open_model

    try:
        return open_model(spec, device=device, trust=trust, python=python, threads=threads)
    except ModelFault as error:
        return error


def predict(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """A pixel model's keypoints in every camera of a trial."""
    from capbench.run.inference import predict_trial
    from capbench.vision.boxes import of_trial

    cohort, trial = trial_of(unit, context)
    model = context["source"]
    predictor = _opened(
        model["spec"], model["device"], model["trust"], model["python"], model.get("threads", 1)
    )
    wanted = unit.params["cameras"]
    if isinstance(predictor, ModelFault):
        raise predictor
    with of_cohort():
        given = {name: box for name, box in of_trial(cohort, trial).items() if name in wanted}
        cameras = {name: c for name, c in cohort.cameras(trial).items() if name in wanted}
        videos = {name: cohort.path(trial.videos[name]) for name in wanted}
    found = predict_trial(
        predictor,
        videos,
        boxes=unit.params["boxes"],
        given=given if unit.params["boxes"] == "cohort" else None,
        cameras=cameras,
        batch=unit.params["batch"],
    )
    if not found.tracks and found.lost:
        first = next(iter(found.lost.values()))
        reasons = "; ".join(f"{name}: {lost.reason}" for name, lost in found.lost.items())
        raise UnitError(reasons, fault=first.fault, kind=first.kind)
    lost = {name: [one.kind, one.fault, one.reason] for name, one in found.lost.items()}
    return _keypoints(found.tracks, space=found.space, facts=found.facts, notes=found.notes, lost=lost)


def _keypoints(
    tracks: Mapping[str, Keypoints], *, space: Mapping[str, Markers] | None = None, **about: Any
) -> bytes:
    """Keypoints by camera, and what a 3D model saw in each camera's own axes."""
    arrays, told = nouns.put_tracks(tracks)
    for name, seen in (space or {}).items():
        arrays |= {f"space {name} {what}": array for what, array in nouns.put_markers(seen)[0].items()}
    about["space"] = {name: list(seen.names) for name, seen in (space or {}).items()}
    return pack(
        arrays, {"kind": "keypoints", "tracks": told, "lost": {}, "facts": {}, "notes": [], **_plain(about)}
    )


def noisy_truth(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """The cohort's own 2D points with declared noise; with noise 0 and ``clock`` the truth itself."""
    cohort, trial = trial_of(unit, context)
    noise = Noise(unit.params["white"], unit.params["bias"])
    tracks = {}
    for name in unit.params["cameras"]:
        truth = true_points(cohort, trial, name)
        found = noisy(truth, noise, seed=unit.params["seed"], trial=trial.key)
        tracks[name] = found if unit.params["clock"] == "video" else _at(found, truth.time)
    return _keypoints(tracks)


def read(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """Predictions from files: keypoints, or what comes after them."""
    _, trial = trial_of(unit, context)
    found = _files(context["source"]["folder"], context["cohort"])
    notes: list[str] = []
    loaded: Any = found.load(trial, rate=unit.params["rate"], notes=notes)
    if isinstance(loaded, Markers):
        points = skeleton(found.skeleton or _named(loaded.names))
        return _markers(loaded, None, points=points, notes=notes, facts={})
    if isinstance(loaded, BodyParameters):
        loaded = motion_of(loaded, up=unit.params["up"])
        notes.append("angles follow from the rotations of the body model's joints, without a mesh")
    if isinstance(loaded, Motion):
        check_sane(loaded, trial.key)
        return _motion(loaded, None, held=(), facts={}, notes=notes)
    if not loaded:
        raise UnitError("Expected predictions, got none.", fault="model", kind="nothing", place=trial.key)
    wanted = [name for name in unit.params["cameras"] if name in loaded]
    tracks = {name: _subject(loaded[name], notes) for name in wanted}
    lost = {
        name: ["no-file", "model", "no predictions of this camera"]
        for name in unit.params["cameras"]
        if name not in loaded
    }
    return _keypoints(tracks, notes=notes, lost=lost)


def _named(names: tuple[str, ...]) -> str:
    """The built-in skeleton that most of the markers' names are of."""
    best = max(skeleton_names(), key=lambda name: len({*skeleton(name).points} & {*names}))
    if len({*skeleton(best).points} & {*names}) < 3:
        raise CapbenchError(
            f"Expected markers named as a built-in skeleton's points, got {shorten(names)}.",
            fix="say which in predictions.yaml (skeleton: NAME); see: capbench list skeletons",
        )
    return best


def _subject(people: tuple[Keypoints, ...], notes: list[str]) -> Keypoints:
    """The one of several people in a file whom most of it is of."""
    if len(people) > 1:
        notes.append(f"{len(people)} people in the file of camera {people[0].camera}: the surest is taken")
    return max(people, key=lambda one: (float(one.confidence.sum()), one.person))


@lru_cache(maxsize=2)
def _files(folder: str, cohort: str) -> Predictions:
    return find_predictions(folder, _cohort(cohort).cohort.trials)


def _at(track: Keypoints, time: NDArray[np.float64]) -> Keypoints:
    return replace(track, time=time)


def true_points(cohort: Imported, trial: Trial, camera: str) -> Keypoints:
    """Where the camera truly has each point, by the cohort."""
    role = f"keypoints:{camera}"
    if role not in trial.extras:
        raise UnitError(
            f"Expected the true points of camera {camera} ({role}), got none.",
            fault="cohort",
            kind="no-truth",
            place=trial.key,
        )
    with of_cohort():
        found = formats.read(cohort.path(trial.extras[role]))[1]
    return cast(Keypoints, next(track for track in found if track.camera in (camera, "")))


# --- markers ------------------------------------------------------------------------------------


def markers(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """Keypoints of all cameras -> points in space, in the ground frame."""
    from capbench.vision.markers import to_ground

    cohort, trial = trial_of(unit, context)
    arrays, about = unpack(inputs["keypoints"])
    if about["kind"] != "keypoints":  # files may begin here, or at the angles
        return inputs["keypoints"]
    # a model's covariances say how widely its maps spread, in no known proportion to how far it errs (a
    # softmax over a whole crop is metres wide): confidence weighs views, and the residuals set the scale
    found_tracks = nouns.get_tracks(arrays, about["tracks"])
    tracks = {name: replace(track, covariance=None) for name, track in found_tracks.items()}
    if unit.params["clock"] == "truth":  # the cause of errors that is swapped for the truth
        tracks = {c: _at(t, true_points(cohort, trial, c).time[: len(t)]) for c, t in tracks.items()}
    with of_cohort():
        cameras = {name: camera for name, camera in cohort.cameras(trial).items() if name in tracks}
    missing = {name: lost[2] for name, lost in about["lost"].items()}
    notes = [*about["notes"], *(f"camera {name} is lost: {why}" for name, why in missing.items())]
    if len(cameras) == 1 and about["space"]:
        ((name, camera),) = cameras.items()
        seen = nouns.get_markers(
            {what: arrays[f"space {name} {what}"] for what in ("time", "xyz", "confidence")},
            about["space"][name],
        )
        height = cohort.cohort.subject(trial.subject).height
        made = _of_one_camera(seen, tracks[name], camera, unit.params, height=height)
        notes.append("one camera: depth is what the model says")
        return _markers(made, None, points=tracks[name].skeleton, notes=notes, facts=about["facts"])
    if unit.params["published"]:
        from capbench.vision.published import markers_published

        made = to_ground(markers_published(tracks, cameras), unit.params["up"], floor=unit.params["floor"])
        return _markers(made, None, points=next(iter(tracks.values())).skeleton, notes=notes, facts={})
    found = _of_views(about["lost"], looked="spec" in context["source"])(
        tracks,
        cameras,
        activity=unit.params["activity"],
        synchronised=unit.params["clock"] != "find",
        max_offset=unit.params["max_offset"],
        up=unit.params["up"],
        floor=unit.params["floor"],
    )
    facts = {**about["facts"], **found.facts, "cameras used": float(len(tracks))}
    return _markers(
        found.markers,
        found.covariance,
        points=next(iter(tracks.values())).skeleton,
        notes=[*notes, *found.notes],
        facts=facts,
    )


#: metres: nobody is filmed from nearer, so points whose depth is less are relative to a root
NEAREST = 0.5


def _of_one_camera(
    seen: Markers, track: Keypoints, camera: Camera, params: Mapping[str, Any], *, height: float | None
) -> Markers:
    """What a 3D model saw in a single camera, in the ground frame; see :mod:`capbench.vision.monocular`."""
    from capbench.vision.monocular import markers_from_camera
    from capbench.vision.smooth import cutoff_of, smooth

    depth = seen.xyz[..., 2]
    relative = not np.isfinite(depth).any() or float(np.nanmedian(depth)) < NEAREST
    made = markers_from_camera(
        seen.xyz,
        seen.time,
        track.skeleton,
        camera,
        confidence=seen.confidence,
        root_relative=relative,
        height=height,
        up=params["up"],
        floor=params["floor"],
    )
    steps = np.diff(made.time)
    even = len(steps) > 2 and steps.max() <= 1.05 * steps.min()
    return smooth(made, cutoff=cutoff_of(params["activity"])) if even else made


def _of_views(lost: Mapping[str, Any], *, looked: bool) -> Callable[..., Any]:
    """``markers_of``, its faults laid at the right door.

    Points outside of the calibrated picture are the model's if they came from a file, but the cohort's if a
    model found them in the cohort's own video. Too few views are the cohort's if it lost the others.
    """
    from capbench.vision.markers import markers_of

    def called(*args: Any, **options: Any) -> Any:
        try:
            return markers_of(*args, **options)
        except ViewFault as error:
            resized = error.kind == "wrong-size" and looked
            blind = (
                error.kind == "too-few-views" and lost and all(one[1] == "cohort" for one in lost.values())
            )
            if resized or blind:
                raise _typed(error, "cohort", error.kind) from error
            raise

    return called


def _markers(
    made: Markers, covariance: NDArray[np.float64] | None, *, points: Skeleton, notes: Any, facts: Any
) -> bytes:
    """The markers as the musculoskeletal model wears them."""
    worn = fitting.as_worn(made, points)
    arrays, names = nouns.put_markers(worn)
    if covariance is not None and set(worn.names) <= set(made.names):
        arrays["covariance"] = covariance[:, [made.names.index(n) for n in worn.names]]
    told = nouns.tell_skeleton(points)
    about = {"kind": "markers", "names": names, "skeleton": told}
    return pack(arrays, {**about, **_plain({"notes": notes, "facts": facts})})


def true_markers(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """The cohort's own points in space."""
    cohort, trial = trial_of(unit, context)
    with of_cohort():
        found = formats.read(cohort.path(str(trial.markers)))[1]
    return _markers(found, None, points=skeleton(unit.params["skeleton"]), notes=[], facts={})


# --- models and motions -------------------------------------------------------------------------


def scale(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """A person's musculoskeletal model: scaled by their own trials, or the reference's if that is asked."""
    if unit.params["by"] == "reference":
        cohort = _cohort(context["cohort"])
        path = cohort.path(unit.params["model"])
        osim = np.frombuffer(path.read_bytes(), np.uint8)
        nouns.get_model(osim)  # refuses what is none
        return pack({"osim": osim}, {"facts": {}, "notes": ["scaled by the reference"]})
    subject = _cohort(context["cohort"]).cohort.subject(unit.params["subject"])
    standing: Markers | None = None
    moving: list[Markers] = []
    points, angles = None, False
    for name in sorted(inputs):
        arrays, about = unpack(inputs[name])
        if about["kind"] != "markers":
            angles = True
            continue
        points = nouns.get_skeleton(about["skeleton"])
        seen = nouns.get_markers(arrays, about["names"])
        if name == "standing":
            standing = seen
        else:
            moving.append(seen)
    if points is None and angles:  # files of joint angles need no model
        return pack({}, {"facts": {}, "notes": []})
    if points is None:
        raise UnitError(
            "Expected any trial of the person to scale by, got none.", fault="model", kind="no-markers"
        )
    person = fitting.scale_person(points, standing, moving, subject)
    about = _plain({"facts": person.facts, "notes": person.notes})
    return pack({"osim": nouns.put_model(person.model)}, about)


def motion(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """Joint angles of a trial, by inverse kinematics; those that came as angles stay as they are."""
    arrays, about = unpack(inputs["markers"])
    if about["kind"] == "motion":
        return inputs["markers"]
    osim, scaled = unpack(inputs["model"])
    seen = nouns.get_markers(arrays, about["names"])
    if unit.params["published"]:
        with nouns.model_file(osim["osim"]) as path:
            found = fitting.solve_published(path, seen, nouns.get_skeleton(about["skeleton"]))
    else:
        model = nouns.get_model(osim["osim"])
        found = fitting.solve_trial(model, seen, arrays.get("covariance"))
    facts = {**about["facts"], **scaled["facts"], **found.facts}
    notes = [*about["notes"], *scaled["notes"], *found.notes]
    return _motion(found.motion, found.sd, held=found.held, facts=facts, notes=notes)


def _motion(motion: Motion, sd: NDArray[np.float64] | None, *, held: Any, facts: Any, notes: Any) -> bytes:
    arrays, told = nouns.put_motion(motion)
    if sd is not None:
        arrays["sd"] = sd
    about = {"kind": "motion", "motion": told, "held": held, "facts": facts, "notes": notes}
    return pack(arrays, _plain(about))


def reference(unit: Unit, context: Context, inputs: Inputs) -> bytes:
    """The reference of a measured trial: its markers solved again, to the end."""
    cohort, trial = trial_of(unit, context)
    with of_cohort():
        model, seen = cohort.path(trial.extras["model"]), cohort.path(str(trial.markers))
        found = resolve(model, seen, weights=unit.params["weights"])
    return _motion(found.motion, None, held=found.held, facts={}, notes=found.notes)


def _plain(value: Any) -> Any:
    """``value`` as JSON: floats that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


_STAGES: Mapping[str, Callable[[Unit, Context, Inputs], bytes]] = {
    "predict": predict,
    "noisy-truth": noisy_truth,
    "markers": markers,
    "read": read,
    "true-markers": true_markers,
    "scale": scale,
    "motion": motion,
    "reference": reference,
}
