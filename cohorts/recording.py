"""The nouns of a recording: samples over time that know their names, units and gaps.

All are immutable, validated when built, cheap to slice in time (slices share memory) and equal by
value. A missing sample is NaN with confidence 0, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, cast, get_args

import numpy as np

from cohorts.errors import CapbenchError, unknown_name
from cohorts.skeleton import Skeleton
from cohorts.values import (
    ByValue,
    FloatArray,
    FrozenDict,
    IntArray,
    check_shape,
    check_time,
    check_unique,
    frozen,
)

Kind = Literal["rotation", "translation"]
BodyFamily = Literal["smpl", "smplh", "smplx", "mano"]


class Timed(ByValue):
    """What every noun with a ``time`` vector (seconds, strictly increasing) can do."""

    time: FloatArray
    _per_frame: ClassVar[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, frames: slice) -> Self:
        """The given frames, sharing memory: ``markers[10:20]``."""
        if not isinstance(frames, slice):
            raise TypeError(f"index by a slice of frames, not by {type(frames).__name__}")
        cut = object.__new__(type(self))  # parts of a valid whole are valid: skip the checks
        cut.__dict__.update(self.__dict__)
        for name in self._per_frame:
            value = getattr(self, name)
            if value is not None:
                cut.__dict__[name] = value[frames]
        if frames.step is not None and frames.step < 0:
            check_time(cut.time)
        return cut

    def between(self, start: float, stop: float) -> Self:
        """The frames with ``start <= time <= stop`` (seconds), sharing memory."""
        first = int(np.searchsorted(self.time, start, side="left"))
        return self[first : int(np.searchsorted(self.time, stop, side="right"))]

    @property
    def duration(self) -> float:
        """Seconds from the first to the last sample; 0 for fewer than two."""
        return float(self.time[-1] - self.time[0]) if len(self.time) > 1 else 0.0

    @property
    def rate(self) -> float:
        """Samples per second: from the mean step, or from the median where there are gaps; NaN below 2."""
        if len(self.time) < 2:
            return float("nan")
        steps = np.diff(self.time)
        even = steps.max() < 1.5 * steps.min()  # times rounded to milliseconds still count as even
        return float(1 / (steps.mean() if even else np.median(steps)))


def _set(noun: object, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(noun, name, value)


def _columns(kind: str, names: tuple[str, ...], wanted: Iterable[str]) -> list[int]:
    place = {name: i for i, name in enumerate(names)}
    picked = []
    for name in wanted:
        if name not in place:
            raise unknown_name(kind, name, names)
        picked.append(place[name])
    return picked


def _confidence(given: Any, missing: np.ndarray[Any, Any], names: Iterable[str]) -> FloatArray:
    """Checked confidences; by default 1 where a point is present and 0 where it is missing."""
    if given is None:
        return frozen(np.where(missing, 0.0, 1.0))
    confidence = frozen(given)
    check_shape("confidence", confidence, missing.shape)
    for wrong, found in (
        (~(np.isfinite(confidence) & (confidence >= 0)), "a negative or non-finite one"),
        (missing & (confidence > 0), "a positive one for a missing (NaN) point"),
    ):
        if wrong.any():
            frame, point = np.argwhere(wrong)[0]
            raise CapbenchError(
                f"Expected confidences that are finite, >= 0 and 0 where the point is missing, got {found}.",
                place=f"frame {frame}, point {list(names)[point]}",
            )
    return confidence


def _missing(points: FloatArray, names: Iterable[str]) -> np.ndarray[Any, Any]:
    """Where points (..., point, axis) are missing; a point must be whole or all NaN, never infinite."""
    nan = np.isnan(points)
    wrong = np.isinf(points).any(axis=-1) | (nan.any(axis=-1) & ~nan.all(axis=-1))
    if wrong.any():
        frame, point = np.argwhere(wrong)[0]
        raise CapbenchError(
            "Expected each point to be all finite or, where missing, all NaN; "
            f"got {points[frame, point].tolist()}.",
            place=f"frame {frame}, point {list(names)[point]}",
        )
    return cast("np.ndarray[Any, Any]", nan.all(axis=-1))


@dataclass(frozen=True, eq=False)
class Markers(Timed):
    """Named 3D points over time, in the ground frame (x forward, y up, z right).

    Attributes
    ----------
    time : (T,) seconds, strictly increasing
    names : M unique marker names
    xyz : (T, M, 3) metres; a missing point is NaN in all three
    confidence : (T, M) >= 0, 1 = full trust; 0 where missing. Default: 1 where present.
    """

    time: FloatArray
    names: tuple[str, ...]
    xyz: FloatArray
    confidence: FloatArray = None  # type: ignore[assignment]  # filled in below
    _per_frame = ("time", "xyz", "confidence")

    def __post_init__(self) -> None:
        _set(self, time=frozen(self.time), names=tuple(self.names), xyz=frozen(self.xyz))
        check_time(self.time)
        check_unique("marker", self.names)
        check_shape("xyz", self.xyz, (len(self.time), len(self.names), 3))
        missing = _missing(self.xyz, self.names)
        _set(self, confidence=_confidence(self.confidence, missing, self.names))

    def select(self, names: Iterable[str]) -> Markers:
        """Only these markers, in this order."""
        names = tuple(names)
        columns = _columns("marker", self.names, names)
        return Markers(self.time, names, self.xyz[:, columns], self.confidence[:, columns])


@dataclass(frozen=True, eq=False)
class Keypoints(Timed):
    """One person's named 2D points in one camera over time.

    Attributes
    ----------
    camera : name of the camera
    time : (T,) seconds, strictly increasing
    xy : (T, K, 2) pixels, (0, 0) = centre of the top-left pixel; a missing point is NaN in both
    confidence : (T, K) >= 0; 0 where missing. Default: 1 where present.
    skeleton : the K named points
    person : who; the identity of a track, or the rank of a detection where nothing was tracked
    covariance : (T, K, 2, 2) pixels², or None where the model gives none
    frames : (T,) frame numbers (or image ids) in the source, or None
    score : (T,) detection score of the whole person, or None
    """

    camera: str
    time: FloatArray
    xy: FloatArray
    skeleton: Skeleton
    confidence: FloatArray = None  # type: ignore[assignment]  # filled in below
    person: str = "0"
    covariance: FloatArray | None = None
    frames: IntArray | None = None
    score: FloatArray | None = None
    _per_frame = ("time", "xy", "confidence", "covariance", "frames", "score")

    def __post_init__(self) -> None:
        _set(self, time=frozen(self.time), xy=frozen(self.xy))
        check_time(self.time)
        shape = (len(self.time), len(self.skeleton.points))
        check_shape(f"xy for skeleton {self.skeleton.name}", self.xy, (*shape, 2))
        missing = _missing(self.xy, self.skeleton.points)
        _set(self, confidence=_confidence(self.confidence, missing, self.skeleton.points))
        if self.covariance is not None:
            _set(self, covariance=frozen(self.covariance))
            check_shape("covariance", self.covariance, (*shape, 2, 2))
            self._check_covariance(missing)
        if self.frames is not None:
            _set(self, frames=frozen(self.frames, np.int64))
            check_shape("frames", self.frames, shape[:1])
        if self.score is not None:
            _set(self, score=frozen(self.score))
            check_shape("score", self.score, shape[:1])
            if not np.isfinite(self.score).all():
                raise CapbenchError("Expected finite scores, got NaN or infinity.")

    def _check_covariance(self, missing: np.ndarray[Any, Any]) -> None:
        c = cast(FloatArray, self.covariance)
        det = c[..., 0, 0] * c[..., 1, 1] - c[..., 0, 1] * c[..., 1, 0]
        good = np.isfinite(c).all(axis=(-1, -2)) & (c[..., 0, 0] > 0) & (det > 0)
        good &= np.isclose(c[..., 0, 1], c[..., 1, 0])
        if not (good | missing).all():
            frame, point = np.argwhere(~(good | missing))[0]
            raise CapbenchError(
                "Expected symmetric positive definite covariances (pixels²), "
                f"got {c[frame, point].tolist()}.",
                place=f"frame {frame}, point {self.skeleton.points[point]}",
            )


@dataclass(frozen=True, eq=False)
class Motion(Timed):
    """Named coordinates of a musculoskeletal model over time.

    Attributes
    ----------
    time : (T,) seconds, strictly increasing
    names : N unique coordinate names
    values : (T, N) radians for rotations, metres for translations; NaN where unknown
    kinds : N of "rotation" or "translation"; default: by name, ``*_tx``, ``*_ty``, ``*_tz`` translate
    coupled : names whose value follows from another coordinate (default: ``*_beta``, the patella)
    """

    time: FloatArray
    names: tuple[str, ...]
    values: FloatArray
    kinds: tuple[Kind, ...] = None  # type: ignore[assignment]  # filled in below
    coupled: tuple[str, ...] = None  # type: ignore[assignment]  # filled in below
    _per_frame = ("time", "values")

    def __post_init__(self) -> None:
        _set(self, time=frozen(self.time), names=tuple(self.names), values=frozen(self.values))
        check_time(self.time)
        check_unique("coordinate", self.names)
        check_shape("values", self.values, (len(self.time), len(self.names)))
        if np.isinf(self.values).any():
            frame, column = np.argwhere(np.isinf(self.values))[0]
            raise CapbenchError(
                "Expected finite values or NaN, got infinity.",
                place=f"frame {frame}, coordinate {self.names[column]}",
            )
        kinds = tuple(map(kind_by_name, self.names)) if self.kinds is None else tuple(self.kinds)
        if len(kinds) != len(self.names) or not set(kinds) <= set(get_args(Kind)):
            raise CapbenchError(
                f"Expected {len(self.names)} kinds, each 'rotation' or 'translation', got {kinds}."
            )
        coupled = self.coupled
        if coupled is None:
            coupled = tuple(n for n in self.names if n.endswith("_beta"))
        _columns("coordinate", self.names, coupled)
        _set(self, kinds=kinds, coupled=tuple(coupled))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def column(self, name: str) -> FloatArray:
        """(T,) values of one coordinate, radians or metres."""
        return self.values[:, _columns("coordinate", self.names, [name])[0]]

    def select(self, names: Iterable[str]) -> Motion:
        """Only these coordinates, in this order."""
        names = tuple(names)
        columns = _columns("coordinate", self.names, names)
        return Motion(
            self.time,
            names,
            self.values[:, columns],
            tuple(self.kinds[i] for i in columns),
            tuple(n for n in self.coupled if n in names),
        )


def kind_by_name(name: str) -> Kind:
    """What OpenSim's habit of naming says: ``pelvis_tx`` translates, ``knee_angle_r`` rotates."""
    return "translation" if name.endswith(("_tx", "_ty", "_tz")) else "rotation"


@dataclass(frozen=True, eq=False)
class Signals(Timed):
    """Named channels over time in the units their file used: forces, EMG, marker errors.

    Attributes
    ----------
    time : (T,) seconds, strictly increasing
    names : N unique channel names
    values : (T, N) in whatever unit the source has; NaN where unknown
    in_degrees : what the file said of its rotational channels, kept for writing it back
    """

    time: FloatArray
    names: tuple[str, ...]
    values: FloatArray
    in_degrees: bool = False
    _per_frame = ("time", "values")

    def __post_init__(self) -> None:
        _set(self, time=frozen(self.time), names=tuple(self.names), values=frozen(self.values))
        check_time(self.time)
        check_unique("channel", self.names)
        check_shape("values", self.values, (len(self.time), len(self.names)))
        if np.isinf(self.values).any():
            frame, column = np.argwhere(np.isinf(self.values))[0]
            raise CapbenchError(
                "Expected finite values or NaN, got infinity.",
                place=f"frame {frame}, channel {self.names[column]}",
            )

    def column(self, name: str) -> FloatArray:
        """(T,) values of one channel."""
        return self.values[:, _columns("channel", self.names, [name])[0]]


@dataclass(frozen=True, eq=False)
class BodyParameters(Timed):
    """Pose and shape of a parametric body model over time.

    Attributes
    ----------
    family : "smpl" (24 joints), "smplh" (52), "smplx" (55) or "mano" (16)
    time : (T,) seconds, strictly increasing
    poses : (T, J, 3) axis-angle of each joint relative to its parent, radians; joint 0 is the root
    trans : (T, 3) root translation, metres
    betas : (B,) shape coefficients of the whole sequence
    gender : "neutral", "female" or "male"
    """

    family: BodyFamily
    time: FloatArray
    poses: FloatArray
    trans: FloatArray
    betas: FloatArray
    gender: Literal["neutral", "female", "male"] = "neutral"
    _per_frame = ("time", "poses", "trans")
    JOINTS: ClassVar[Mapping[str, int]] = {"smpl": 24, "smplh": 52, "smplx": 55, "mano": 16}

    def __post_init__(self) -> None:
        for name in ("time", "poses", "trans", "betas"):
            _set(self, **{name: frozen(getattr(self, name))})
        check_time(self.time)
        if self.family not in self.JOINTS:
            raise unknown_name("body model", self.family, self.JOINTS)
        if self.gender not in ("neutral", "female", "male"):
            raise unknown_name("gender", self.gender, ("neutral", "female", "male"))
        check_shape("poses", self.poses, (len(self.time), self.JOINTS[self.family], 3))
        check_shape("trans", self.trans, (len(self.time), 3))
        if self.betas.ndim != 1:
            raise CapbenchError(f"Expected betas of shape (B,), got {self.betas.shape}.")
        for name in ("poses", "trans", "betas"):
            if not np.isfinite(getattr(self, name)).all():
                raise CapbenchError(f"Expected finite {name}, got NaN or infinity.")


@dataclass(frozen=True)
class Subject:
    """A person, known by a pseudonym.

    Attributes
    ----------
    pseudonym : the only name ever used
    mass : kilograms, or None where unknown
    height : metres, or None where unknown
    sex : "female", "male" or None
    age_band : such as "20-29"; never a date of birth
    """

    pseudonym: str
    mass: float | None = None
    height: float | None = None
    sex: Literal["female", "male"] | None = None
    age_band: str | None = None

    def __post_init__(self) -> None:
        if not self.pseudonym:
            raise CapbenchError("Expected a pseudonym for the subject, got none.")
        for what, value, unit, low, high, hint in (
            ("mass", self.mass, "kg", 1.0, 400.0, "is it in grams or pounds?"),
            ("height", self.height, "m", 0.3, 2.6, "is it in centimetres or millimetres?"),
        ):
            if value is not None and not low <= value <= high:
                raise CapbenchError(
                    f"Expected a {what} between {low:g} and {high:g} {unit}, got {value:g}; {hint}",
                    place=f"subject {self.pseudonym}",
                )
        if self.sex not in ("female", "male", None):
            raise unknown_name("sex", str(self.sex), ("female", "male"))


@dataclass(frozen=True)
class Trial:
    """One recording of one subject doing one activity: where its files lie.

    Attributes
    ----------
    name : unique within the subject and session, such as "walking1"
    subject : pseudonym
    activity : such as "walking"
    session : cameras stay where they are within a session
    videos : camera name -> file
    calibrations : camera name -> file
    markers, motion : reference markers and joint angles, where there are any
    extras : role -> file of what else belongs to it: "model" (scaled), "static", "forces", "emg",
        "keypoints" (2D reference), and, with what tells them apart behind a colon, another solution
        ("motion:published") or a detector's output of one camera ("keypoints:Cam1")
    """

    name: str
    subject: str
    activity: str
    session: str = ""
    videos: Mapping[str, str] = field(default_factory=dict)
    calibrations: Mapping[str, str] = field(default_factory=dict)
    markers: str | None = None
    motion: str | None = None
    extras: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what in ("videos", "calibrations", "extras"):
            _set(self, **{what: FrozenDict(getattr(self, what))})
        for what in ("name", "subject", "activity"):
            if not getattr(self, what):
                raise CapbenchError(f"Expected a {what} for the trial, got none.")

    @property
    def key(self) -> str:
        """Unique in the cohort: ``subject/session/name``, the session left out where there is none."""
        return "/".join(part for part in (self.subject, self.session, self.name) if part)


@dataclass(frozen=True)
class Cohort:
    """People and their trials.

    Attributes
    ----------
    name, version : identity of the cohort
    subjects : each pseudonym once
    trials : each key once; every trial's subject is among ``subjects``
    """

    name: str
    version: str
    subjects: tuple[Subject, ...]
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        _set(self, subjects=tuple(self.subjects), trials=tuple(self.trials))
        check_unique("subject", tuple(s.pseudonym for s in self.subjects))
        check_unique("trial", tuple(t.key for t in self.trials))
        known = {s.pseudonym for s in self.subjects}
        for trial in self.trials:
            if trial.subject not in known:
                raise unknown_name("subject", trial.subject, known)

    def subject(self, pseudonym: str) -> Subject:
        """The subject of that pseudonym."""
        for subject in self.subjects:
            if subject.pseudonym == pseudonym:
                return subject
        raise unknown_name("subject", pseudonym, (s.pseudonym for s in self.subjects))

    def select(
        self, *, subjects: Iterable[str] | None = None, activities: Iterable[str] | None = None
    ) -> Cohort:
        """Only these subjects and activities; subjects left without a trial go too."""
        people = {s.pseudonym for s in self.subjects}
        wanted = people if subjects is None else set(subjects)
        for name in wanted - people:
            raise unknown_name("subject", name, people)
        done = {t.activity for t in self.trials}
        doing = done if activities is None else set(activities)
        for name in doing - done:
            raise unknown_name("activity", name, done)
        trials = tuple(t for t in self.trials if t.subject in wanted and t.activity in doing)
        left = {t.subject for t in trials}
        return replace(self, subjects=tuple(s for s in self.subjects if s.pseudonym in left), trials=trials)
