"""Pseudo-labels by fitting a body: several calibrated views of one moment, and a skeleton that has bones.

The network's own points of synchronised cameras are triangulated, a musculoskeletal model is scaled to each
person and brought to the points by inverse kinematics, and the fitted model's landmarks, seen by each camera,
are what the network learns. A point that one view has wrong, or that no view is sure of, is put right by the
others and by the bones.

Of each person and frame the best fit so far is kept. A new one is taken in its place only where it lies
nearer to what the network is sure of, robustly measured, and near enough by a stated bar. Both are held
against the same points, those that the network gives now.

Letters: n crop, c camera, t frame, k point.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from capbench.biomech.body import fullbody, marker_sets
from capbench.biomech.kinematics import coordinates_of, forward
from capbench.biomech.kinematics import points as points_of
from capbench.biomech.model import Model
from capbench.biomech.scale_joint import scale_from_motion
from capbench.biomech.solve import solve
from capbench.biomech.tree import build_tree
from capbench.models.crop import Crops as Placed
from capbench.vision.markers import ground_rotation, to_ground
from capbench.vision.triangulate import triangulate
from cohorts.camera import Camera
from cohorts.card import Axis
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Markers
from cohorts.skeleton import Skeleton, skeleton
from cohorts.strict import Strict
from cohorts.values import FloatArray, IntArray
from synthpose.adaptation import Labels

if TYPE_CHECKING:
    from synthpose.teacher import Views

FRAMES = 40  #: of a person, that they are scaled on
#: metres, standard deviations of a point along an axis, and of its place on a bone against the model's
NOISE, OFFSET_SD = 0.015, 0.02
#: the priors that are tried, loosest first, until the person is a plausible one: of factors, and of noise
PRIORS = ((0.10, NOISE), (0.05, 2 * NOISE), (0.02, 4 * NOISE))
FEWEST = 6  #: sure points of a person in all views together, below which no fit is believed
LEAST = 0.5  #: share of the points that a frame must have in space
CAP = 0.25  #: of the crop's height: how much two networks' rays can differ in for the marks


class Fitting(Strict):
    """How fits are made and taken."""

    sure: float = Field(default=0.3, ge=0, le=1, description="Confidence from which on a point counts.")
    bar: float = Field(
        default=0.02, gt=0, le=1, description="Largest distance of a fit that is taken, of the crop's height."
    )
    cap: float = Field(
        default=0.06, gt=0, le=1, description="Distance of a point beyond which it counts no more."
    )


@dataclass(frozen=True)
class Film:
    """One person in front of several calibrated cameras.

    Attributes
    ----------
    person : who; scaled once from all their films
    time : (T,) seconds, one clock for all
    cameras : C calibrations
    rows : (T, C) which crop shows the person then and there; -1 none
    up : the calibrations' axis that points up
    """

    person: str
    time: FloatArray
    cameras: tuple[Camera, ...]
    rows: IntArray
    up: Axis = "+y"

    def __post_init__(self) -> None:
        if self.rows.shape != (len(self.time), len(self.cameras)):
            raise CapbenchError(
                f"Expected a crop's number for each of {len(self.time)} frames and "
                f"{len(self.cameras)} cameras, "
                f"got shape {self.rows.shape}."
            )
        if len(self.cameras) < 2:
            raise CapbenchError(f"Expected two cameras or more, got {len(self.cameras)}.")


class Fit(NamedTuple):
    """A person's fitted landmarks (n, K, 2) in pixels of the crops, NaN where there is no fit; why not."""

    points: FloatArray
    facts: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FitInLoop:
    """A :class:`synthpose.adapt.Labeller` of films; ``placed`` says where crops lie in their pictures."""

    films: tuple[Film, ...]
    placed: Placed
    skeleton: Skeleton
    asked: Fitting = field(default_factory=Fitting)

    def __post_init__(self) -> None:
        if not _worn(self.skeleton):
            raise CapbenchError(
                f"Expected points that the model of the body wears, got {self.skeleton.name}.",
                fix=f"train one of {', '.join(name for name in marker_sets() if _worn(skeleton(name)))}",
            )
        if not self.films:
            raise CapbenchError("Expected films of two calibrated cameras or more, got none.")
        rows = np.concatenate([film.rows.ravel() for film in self.films])
        rows = rows[rows >= 0]
        if len(np.unique(rows)) != len(rows) or (len(rows) and rows.max() >= len(self.placed.scale)):
            raise CapbenchError("Expected films whose crops are there, each in one film once.")

    @cached_property
    def sha256(self) -> str:
        """See :class:`synthpose.adapt.Labeller`."""
        made = hashlib.sha256(self.asked.model_dump_json().encode())
        for film in self.films:
            made.update(film.person.encode() + film.up.encode())
            for camera in film.cameras:
                made.update(camera.lens.encode())
                for array in (camera.matrix, camera.distortion, camera.rotation, camera.translation):
                    made.update(np.ascontiguousarray(array).tobytes())
            made.update(film.time.tobytes() + film.rows.astype(np.int64).tobytes())
        made.update(self.placed.scale.tobytes() + self.placed.shift.tobytes())
        return made.hexdigest()

    # --- as a labeller ------------------------------------------------------------------------------

    def labels(self, seen: Views, before: Labels | None) -> Labels:
        """See :class:`synthpose.adapt.Labeller`: the best fits so far."""
        sure = np.where(np.isfinite(seen.mean[..., 0]), seen.sure, 0.0)
        fitted = self.fitted(seen.mean, sure)
        return self.taken(fitted, seen.mean, sure, before)

    def marks(self, seen: Views, numbers: IntArray) -> dict[str, FloatArray]:
        """How far a crop's points are from where the rays of all views meet, of the crop's height; capped.

        All points count alike, sure or not, so that being unsure of the wrong ones doesn't look better.
        """
        whole = np.full((len(self.placed.scale), len(self.skeleton), 2), np.nan)
        whole[numbers] = seen.mean
        pictures = self.placed.to_picture(whole)
        made = np.full(len(whole), CAP)
        for film in self.films:
            tracks = _tracks(film, pictures, np.ones(whole.shape[:2]), self.skeleton)
            if len(tracks) < 2:
                continue
            met = triangulate(tracks, {camera.name: camera for camera in film.cameras})
            for c, name in enumerate(met.cameras):
                rows = film.rows[:, [camera.name for camera in film.cameras].index(name)]
                there = rows >= 0
                far = met.residual[there, c] * self.placed.scale[rows[there]].mean(1)[:, None]
                far = np.where(np.isfinite(far), far / self.placed.size[1], CAP)
                made[rows[there]] = np.minimum(far, CAP).mean(1)
        return {"rays": made[numbers]}

    # --- fitting ------------------------------------------------------------------------------------

    def fitted(self, points: FloatArray, sure: FloatArray) -> Fit:
        """The model's landmarks in all crops, from points (n, K, 2) of the crops and confidences (n, K)."""
        pictures = self.placed.to_picture(points)
        believed = np.where(sure >= self.asked.sure, sure, 0.0)
        made = np.full(points.shape, np.nan)
        notes: list[str] = []
        fits = 0
        for person in dict.fromkeys(film.person for film in self.films):
            films = [film for film in self.films if film.person == person]
            try:
                seen = [_markers(film, pictures, believed, self.skeleton) for film in films]
                model = scaled(self.skeleton, [markers for markers, _ in seen if len(markers)])
            except CapbenchError as error:  # a person whom it can't fit is one that it doesn't learn from
                notes.append(f"{person}: {error.problem}")
                continue
            for film, (markers, frames) in zip(films, seen, strict=True):
                if not len(frames):
                    continue
                fits += len(frames)
                _project(film, frames, landmarks(model, markers), made)
        return Fit(self.placed.to_crop(made), {"person-frames fitted": float(fits)}, tuple(notes))

    def distances(self, fit: FloatArray, points: FloatArray, sure: FloatArray) -> tuple[FloatArray, ...]:
        """Of each film: (T,) robust distance of the fit from the sure points of all its views.

        The mean over them of distance, at most ``cap``, by the crop's height; infinite where there is no fit,
        or where fewer than ``FEWEST`` sure points could tell.
        """
        far = np.linalg.norm(fit - points, axis=-1) / self.placed.size[1]
        counts = (sure >= self.asked.sure) & np.isfinite(points[..., 0])
        capped = np.where(np.isfinite(far), np.minimum(far, self.asked.cap), self.asked.cap)
        made = []
        for film in self.films:
            there = (film.rows >= 0)[..., None] & counts[film.rows]  # (T, C, K); row -1 is left out
            number = there.sum((1, 2))
            mean = np.where(there, capped[film.rows], 0.0).sum((1, 2)) / np.maximum(number, 1)
            known = np.isfinite(fit[film.rows]).any((2, 3)) | (film.rows < 0)
            made.append(np.where(known.all(1) & (number >= FEWEST), mean, np.inf))
        return tuple(made)

    def taken(self, fit: Fit, points: FloatArray, sure: FloatArray, before: Labels | None) -> Labels:
        """The kept fits, and the new ones in place of those that they are better than."""
        kept = np.full(points.shape, np.nan) if before is None else before.points.copy()
        own = self.distances(fit.points, points, sure)
        old = self.distances(kept, points, sure)
        better = total = held = 0
        for film, new, now in zip(self.films, own, old, strict=True):
            take = (new < now) & (new <= self.asked.bar)
            better, total = better + int(take.sum()), total + len(take)
            rows = film.rows[take]
            kept[rows[rows >= 0]] = fit.points[rows[rows >= 0]]
            held += int((take | np.isfinite(now)).sum())
        facts = {
            **fit.facts,
            "person-frames": float(total),
            "taken": float(better),
            "kept": float(held),
            "people not fitted": float(len(fit.notes)),
        }
        return Labels(kept, self._weight(kept), facts)

    def _weight(self, points: FloatArray) -> FloatArray:
        """1 for points of fits that lie inside their crops, seen or hidden."""
        with np.errstate(invalid="ignore"):
            inside = ((points >= -0.5) & (points <= np.array(self.placed.size) - 0.5)).all(-1)
        return np.asarray(inside, float)


# --- one film ---------------------------------------------------------------------------------------


def _worn(points: Skeleton) -> bool:
    """Whether the body's model wears them all."""
    if points.name not in marker_sets() or skeleton(points.name).points != points.points:
        return False
    return set(points.points) <= {marker.name for marker in fullbody(markers=points.name).markers}


def _tracks(film: Film, pictures: FloatArray, sure: FloatArray, points: Skeleton) -> Mapping[str, Keypoints]:
    """Camera -> the film's points in its pictures; cameras without any are left out."""
    made = {}
    for c, camera in enumerate(film.cameras):
        rows = film.rows[:, c]
        xy = np.where((rows >= 0)[:, None, None], pictures[rows], np.nan)
        confidence = np.where((rows >= 0)[:, None] & np.isfinite(xy[..., 0]), sure[rows], 0.0)
        xy = np.where((confidence > 0)[..., None], xy, np.nan)
        if (confidence > 0).any():
            made[camera.name] = Keypoints(camera.name, film.time, xy, points, confidence)
    return made


def _markers(
    film: Film, pictures: FloatArray, sure: FloatArray, points: Skeleton
) -> tuple[Markers, IntArray]:
    """The points in space, standing on the ground, in the frames that have enough of them; and these."""
    tracks = _tracks(film, pictures, sure, points)
    nobody = Markers(np.empty(0), points.points, np.empty((0, len(points), 3)))
    if len(tracks) < 2:
        return nobody, np.empty(0, np.int64)
    met = triangulate(tracks, {camera.name: camera for camera in film.cameras})
    markers = to_ground(met.markers, film.up)
    enough = np.isfinite(markers.xyz[..., 0]).mean(1) >= LEAST
    frames = np.flatnonzero(enough)
    return Markers(markers.time[frames], markers.names, markers.xyz[frames]), frames


def _project(film: Film, frames: IntArray, places: FloatArray, into: FloatArray) -> None:
    """Landmarks (F, K, 3) on the ground as pixels of every camera's picture, by the crops' numbers."""
    world = places @ ground_rotation(film.up)
    for c, camera in enumerate(film.cameras):
        rows = film.rows[frames, c]
        into[rows[rows >= 0]] = camera.project(world[rows >= 0])


def scaled(points: Skeleton, seen: Sequence[Markers]) -> Model:
    """The model that wears the  points, scaled to the person of these markers."""
    if not seen:
        raise CapbenchError("Expected frames with half of the points in space, got none.")
    xyz = np.concatenate([markers.xyz for markers in seen])
    there = np.isfinite(xyz[..., 0]).any(0)
    names = [points.points[k] for k in np.flatnonzero(there)]
    together = Markers(np.arange(float(len(xyz))), points.points, xyz).select(names)
    problem = ""
    for factor_sd, noise in PRIORS:
        try:
            return scale_from_motion(
                fullbody(markers=points.name),
                together,
                frames=FRAMES,
                noise=noise,
                offset_sd=OFFSET_SD,
                factor_sd=factor_sd,
            ).model
        except CapbenchError as error:  # the next prior is tighter
            problem = error.problem
    raise CapbenchError(f"Expected markers of a plausible person by one of the priors: {problem}")


def landmarks(model: Model, markers: Markers) -> FloatArray:
    """(T, M, 3) metres where the model, fitted to the markers that are seen, has all of them."""
    own = {marker.name: marker for marker in model.markers}
    there = np.isfinite(markers.xyz[..., 0]).any(0)
    shown = [markers.names[k] for k in np.flatnonzero(there)]
    tree = build_tree(model)
    motion = solve(model, markers.select(shown)).motion
    frames = forward(tree, coordinates_of(tree, motion))
    return points_of(
        tree,
        frames,
        [own[name].body for name in markers.names],
        np.array([own[name].location for name in markers.names]),
    )
