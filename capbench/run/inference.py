"""Videos of one trial through a model: keypoints of the subject in each camera.

Frames are decoded once, ahead of the model, and batched across cameras. Where to look comes from given boxes,
from a detector, or from the previous frame's keypoints. One camera's bad video loses that camera only; a
model's bad answer is a :class:`~capbench.models.faults.ModelFault`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from capbench.models.predictor import Predictor
from capbench.run import decoding
from capbench.run.answers import Asked, Asker, Look
from capbench.run.decoding import Feed
from capbench.run.result import Fault
from capbench.vision import boxes as box_tools
from capbench.vision import subject
from capbench.vision.boxes import BoxTrack
from capbench.vision.detector import Detected, Detector
from capbench.vision.tracking import Follower, Seen, link
from cohorts.bounded import shorten
from cohorts.camera import Camera
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.recording import Keypoints, Markers
from cohorts.values import FloatArray

Way = Literal["cohort", "track"] | Detector
PEOPLE = 4  #: of those a detector finds in a frame, so many are looked at by the model
Told = Callable[[int], None]


class Lost(NamedTuple):
    """Why a camera gave nothing: a word, whose fault, and in words what was expected and found."""

    kind: str
    fault: Fault
    reason: str


@dataclass(frozen=True)
class Seconds:
    """Where the time went: decoding (its threads together), the detector, the model; from start to end."""

    decode: float
    detect: float
    model: float
    total: float


@dataclass(frozen=True)
class Inferred:
    """What a model says of one trial.

    Attributes
    ----------
    tracks : camera -> the subject's keypoints, person "0", each frame at its own time; a 3D model's where the
        camera is calibrated, projected into it
    space : camera -> a 3D model's points, metres in the camera's own frame (x right, y down, z ahead)
    boxes : camera -> (T, 4) pixels where it looked, NaN where it didn't
    lost : camera -> why it gave nothing
    facts : numbers and words for the result
    notes : what was odd, in words
    seconds : where the time went
    frames : decoded frames of all cameras
    """

    tracks: Mapping[str, Keypoints]
    space: Mapping[str, Markers]
    boxes: Mapping[str, FloatArray]
    lost: Mapping[str, Lost]
    facts: Mapping[str, float | str | None]
    notes: tuple[str, ...]
    seconds: Seconds
    frames: int


@dataclass
class _Log:
    """One camera's frames as they come in; answers are filled in when a batch is through."""

    feed: Feed
    number: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    answers: dict[int, Asked] = field(default_factory=dict)

    def add(self, frame: decoding.Frame) -> _Waiting:
        """A new frame, to be answered."""
        self.number.append(frame.number)
        self.time.append(frame.time)
        self.boxes.append(np.full(4, np.nan))
        return _Waiting(self, len(self.number) - 1, frame)

    def set(self, row: int, box: FloatArray, answer: Asked) -> None:
        """What was seen in a frame, and where it was looked for."""
        self.boxes[row], self.answers[row] = box, answer


class _Waiting(NamedTuple):
    """A frame that the model has yet to see; ``row`` is its place in the log."""

    log: _Log
    row: int
    frame: decoding.Frame

    def look(self, box: FloatArray) -> Look:
        """As the model is asked."""
        return self.log.feed.name, self.frame.number, self.frame.picture, box


class _Person(NamedTuple):
    """Somebody whom the detector found."""

    row: int
    score: float
    box: FloatArray
    answer: Asked


def predict_trial(
    predictor: Predictor,
    videos: Mapping[str, Path],
    *,
    boxes: Way = "track",
    given: Mapping[str, BoxTrack] | None = None,
    cameras: Mapping[str, Camera] | None = None,
    batch: int = 32,
    rate: float | None = None,
    told: Told | None = None,
) -> Inferred:
    """The subject's keypoints in every camera of a trial.

    Parameters
    ----------
    predictor : the model
    videos : camera -> file
    boxes : where to look: "cohort", in the boxes that are ``given`` (:func:`capbench.vision.boxes.of_trial`);
        "track", where the previous frame's keypoints are, the first frame as a whole; or a detector, whose
        people are told apart over time and across views
    cameras : camera -> calibration, where known: pictures must have its size, views must show one person
    batch : pictures the model gets at once at most; its card may say fewer
    rate : frames/s to look at, by default every frame; those nearest in time are taken, none twice
    told : called with the number of frames that were finished since the last call
    """
    began = time.perf_counter()
    cameras, given = cameras or {}, given or {}
    _check(predictor, videos, boxes, given, cameras, batch, rate)
    notes: list[str] = []
    lost: dict[str, Lost] = {}
    if boxes == "cohort":
        for name in videos.keys() - given.keys():
            said = f"Expected boxes from the cohort for camera {name}, got none."
            lost[name] = Lost("no-boxes", "cohort", said)
    feeds = _opened({n: path for n, path in videos.items() if n not in lost}, cameras, rate, lost, notes)
    asker = Asker(predictor, cameras, min(batch, predictor.card.limits.batch))
    run = _Run(asker, {feed.name: _Log(feed) for feed in feeds}, cameras, notes, told or (lambda _: None))
    try:
        decoding.start(feeds, batch=batch)
        if boxes == "cohort":
            run.given(given)
        elif boxes == "track":
            run.follow()
        else:
            run.detect(boxes)
    finally:
        for feed in feeds:
            feed.close()
    for feed in feeds:
        if feed.fault is not None:
            if isinstance(feed.fault, EnvironmentFault):
                raise feed.fault
            lost[feed.name] = Lost("bad-video", "cohort", str(feed.fault))
    notes += decoding.oddities([feed for feed in feeds if feed.name not in lost])
    tracks, space, looked = run.results(lost)
    notes += _swaps(tracks, cameras)
    if asker.outside:
        notes.append(f"{asker.outside} points lie more than a picture's size outside the picture")
    return Inferred(
        tracks,
        space,
        looked,
        dict(sorted(lost.items())),
        {**run.facts, "frames": float(sum(f.decoded for f in feeds)), "outside": float(asker.outside)},
        tuple(notes),
        Seconds(sum(f.seconds for f in feeds), run.detecting, asker.seconds, time.perf_counter() - began),
        sum(f.decoded for f in feeds),
    )


def _check(
    predictor: Predictor,
    videos: Mapping[str, Path],
    boxes: Way,
    given: Mapping[str, BoxTrack],
    cameras: Mapping[str, Camera],
    batch: int,
    rate: float | None,
) -> None:
    """Refuse what can't work before anything is decoded."""
    if not videos:
        raise CapbenchError("Expected videos, got none.")
    if batch < 1:
        raise CapbenchError(f"Expected a batch of at least 1, got {batch}.")
    if rate is not None and not 0 < rate <= 10_000:
        raise CapbenchError(f"Expected a rate between 0 and 10,000 frames/s, got {rate:g}.")
    kind = predictor.card.kind
    if not kind.startswith("keypoints"):
        raise CapbenchError(f"Expected a model that gives keypoints, got one of kind {kind}.")
    if isinstance(boxes, str) and boxes not in ("cohort", "track"):
        raise CapbenchError(f"Expected boxes 'cohort', 'track' or a detector, got {boxes!r}.")
    if boxes == "cohort" and not given.keys() & videos.keys():
        raise CapbenchError(
            f"Expected boxes from the cohort for {shorten(list(videos))}, got none.",
            fix="let the model find the person: --boxes track, or give a detector",
        )
    blind = [name for name in videos if name not in cameras]
    if kind == "keypoints3d" and boxes != "cohort" and blind:
        raise CapbenchError(
            "Expected boxes from the cohort or calibrated cameras for a model that gives no pixels, got "
            f"neither for {shorten(blind)}.",
        )


def _opened(
    videos: Mapping[str, Path],
    cameras: Mapping[str, Camera],
    rate: float | None,
    lost: dict[str, Lost],
    notes: list[str],
) -> list[Feed]:
    """The videos that can be used; the others are in ``lost``."""
    feeds = []
    for name, path in videos.items():
        try:
            feed = Feed(name, Path(path), rate=rate)
        except EnvironmentFault:
            raise
        except CapbenchError as error:
            lost[name] = Lost("bad-video", "cohort", str(error))
            continue
        problem = decoding.size_problem(feed, cameras[name], notes) if name in cameras else None
        if problem is not None:
            feed.close()
            lost[name] = Lost("picture-size", "cohort", str(problem))
            continue
        feeds.append(feed)
    return feeds


def _swaps(tracks: Mapping[str, Keypoints], cameras: Mapping[str, Camera]) -> list[str]:
    """Words for stretches in which a camera seems to show somebody else."""
    found = subject.swapped(tracks, cameras)
    said = [f"{name} {start:.2f} to {end:.2f} s" for name, spans in found.items() for start, end in spans]
    if not said:
        return []
    which = "one of these cameras follows" if len(tracks) == 2 else "followed"
    return [f"{which} somebody else for a while: {shorten(said)}"]


class _Run:
    """One trial on its way through the model."""

    def __init__(
        self,
        asker: Asker,
        logs: Mapping[str, _Log],
        cameras: Mapping[str, Camera],
        notes: list[str],
        told: Told,
    ) -> None:
        self._asker, self._logs, self._cameras = asker, logs, cameras
        self._notes, self._told = notes, told
        self._feeds = [log.feed for log in logs.values()]
        self.facts: dict[str, float | str | None] = {}
        self.detecting = 0.0
        self._score: dict[str, FloatArray] = {}  # a detector's, of the subject in each frame

    # --- the three ways of knowing where to look ---

    def given(self, tracks: Mapping[str, BoxTrack]) -> None:
        """Each frame in its own given box."""
        self.facts["boxes"] = " and ".join(sorted({tracks[name].source for name in self._logs}))
        waiting: list[tuple[_Waiting, FloatArray]] = []
        frames = 0
        for taken in decoding.rounds(self._feeds):
            for feed, frame in taken:
                frames += 1
                item, box = self._logs[feed.name].add(frame), tracks[feed.name].at(frame.time)
                if np.isfinite(box).all():
                    waiting.append((item, box))
                if len(waiting) == self._asker.batch:
                    self._ask(waiting)
                    self._told(frames)
                    waiting, frames = [], 0
        self._ask(waiting)
        self._told(frames)

    def _ask(self, waiting: list[tuple[_Waiting, FloatArray]]) -> None:
        answers = self._asker.ask([item.look(box) for item, box in waiting])
        for (item, box), answer in zip(waiting, answers, strict=True):
            item.log.set(item.row, box, answer)

    def follow(self) -> None:
        """Each frame where the person was in the frame before; one frame of each camera at a time."""
        self.facts["boxes"] = "the previous frame's keypoints"
        followers = {name: Follower(log.feed.size) for name, log in self._logs.items()}
        for taken in decoding.rounds(self._feeds):
            looking = [(self._logs[feed.name].add(frame), followers[feed.name]) for feed, frame in taken]
            while looking:
                looks = [follower.box for _, follower in looking]
                answers = self._asker.ask(
                    [item.look(box) for (item, _), box in zip(looking, looks, strict=True)]
                )
                again = []
                for (item, follower), box, answer in zip(looking, looks, answers, strict=True):
                    verdict = follower.take(
                        answer.xy, answer.confidence, frame=item.frame.number, time=item.frame.time
                    )
                    if verdict == "look again":
                        again.append((item, follower))
                    elif verdict == "held":
                        item.log.set(item.row, box, answer)
                looking = again
            self._told(len(taken))
        self._note_losses(followers)

    def _note_losses(self, followers: Mapping[str, Follower]) -> None:
        self.facts["times lost"] = float(sum(len(follower.losses) for follower in followers.values()))
        for name, follower in followers.items():
            if follower.losses:
                first, why = next(iter(follower.losses.items()))
                self._notes.append(
                    f"camera {name}: lost the person {len(follower.losses)} times, found somebody again "
                    f"{len(follower.found_again)} times; first in frame {first}: {why}"
                )

    def detect(self, detector: Detector) -> None:
        """Everybody whom the detector finds; afterwards it is told who is who, and who the subject is."""
        self.facts["boxes"] = "a detector"
        people: dict[str, list[_Person]] = {name: [] for name in self._logs}
        waiting: list[_Waiting] = []
        for taken in decoding.rounds(self._feeds):
            for feed, frame in taken:
                waiting.append(self._logs[feed.name].add(frame))
                if len(waiting) == self._asker.batch:
                    self._look(detector, waiting, people)
                    waiting = []
        self._look(detector, waiting, people)
        self._choose({name: seen for name, seen in people.items() if self._logs[name].feed.fault is None})

    def _look(self, detector: Detector, waiting: list[_Waiting], people: Mapping[str, list[_Person]]) -> None:
        if not waiting:
            return
        began = time.perf_counter()
        found = detector.detect([item.frame.picture for item in waiting])
        self.detecting += time.perf_counter() - began
        _check_detected(found, len(waiting))
        seen = [
            (item, box, float(score))
            for item, detected in zip(waiting, found, strict=True)
            for box, score in zip(detected.boxes[:PEOPLE], detected.scores[:PEOPLE], strict=True)
        ]
        answers = self._asker.ask([item.look(box) for item, box, _ in seen])
        for (item, box, score), answer in zip(seen, answers, strict=True):
            people[item.log.feed.name].append(_Person(item.row, score, box, answer))
        self._told(len(waiting))

    def _choose(self, people: Mapping[str, list[_Person]]) -> None:
        k = len(self._asker.skeleton)
        found = {
            name: Seen(
                np.array(self._logs[name].time),
                np.array([person.row for person in those], np.int64),
                np.array([person.box for person in those]).reshape(-1, 4),
                np.array([person.score for person in those]),
                np.array([person.answer.xy for person in those]).reshape(-1, k, 2),
                np.array([person.answer.confidence for person in those]).reshape(-1, k),
            )
            for name, those in people.items()
        }
        identities = {name: link(seen) for name, seen in found.items()}
        sizes = {name: self._logs[name].feed.size for name in found}
        choice = subject.choose(found, identities, sizes, cameras=self._cameras)
        self._notes += choice.notes
        self.facts["people"] = float(max((len(np.unique(i)) for i in identities.values()), default=0))
        self.facts["subject margin"] = choice.margin
        for name, who in choice.identity.items():
            log = self._logs[name]
            self._score[name] = np.zeros(len(log.time))
            for index in np.flatnonzero(np.isin(identities[name], who)).tolist():
                person = people[name][index]
                log.set(person.row, person.box, person.answer)
                self._score[name][person.row] = person.score

    # --- what came of it ---

    def results(
        self, lost: dict[str, Lost]
    ) -> tuple[dict[str, Keypoints], dict[str, Markers], dict[str, FloatArray]]:
        """Tracks, 3D points and boxes of the cameras that aren't lost; those without anybody are."""
        tracks, space, looked = {}, {}, {}
        frames = found = 0
        for name, log in self._logs.items():
            if name in lost:
                continue
            frames, found = frames + len(log.time), found + len(log.answers)
            if not any((answer.confidence > 0).any() for answer in log.answers.values()):
                lost[name] = _nobody(name, log, self.facts["boxes"])
                continue
            looked[name] = np.array(log.boxes)
            if self._asker.in_space:
                space[name] = self._markers(log)
            if not self._asker.in_space or name in self._cameras:
                tracks[name] = self._track(name, log)
        self.facts["found"] = 100.0 * found / frames if frames else 0.0
        return tracks, space, looked

    def _track(self, name: str, log: _Log) -> Keypoints:
        rows = sorted(log.answers)
        count, points = len(log.time), len(self._asker.skeleton)
        xy, confidence = np.full((count, points, 2), np.nan), np.zeros((count, points))
        xy[rows] = [log.answers[row].xy for row in rows]
        confidence[rows] = [log.answers[row].confidence for row in rows]
        covariance = None
        if all(log.answers[row].covariance is not None for row in rows):
            covariance = np.full((count, points, 2, 2), np.nan)
            covariance[rows] = [log.answers[row].covariance for row in rows]
        return Keypoints(
            name,
            np.array(log.time),
            xy,
            self._asker.skeleton,
            np.where(np.isnan(xy).any(axis=-1), 0.0, confidence),
            "0",
            covariance,
            np.array(log.number, np.int64),
            self._score.get(name),
        )

    def _markers(self, log: _Log) -> Markers:
        rows = sorted(log.answers)
        xyz = np.full((len(log.time), len(self._asker.skeleton), 3), np.nan)
        confidence = np.zeros(xyz.shape[:2])
        xyz[rows] = [log.answers[row].xyz for row in rows]
        confidence[rows] = [log.answers[row].confidence for row in rows]
        return Markers(np.array(log.time), self._asker.skeleton.points, xyz, confidence)


def _nobody(name: str, log: _Log, way: float | str | None) -> Lost:
    """The reason for a camera without anybody; given boxes that are all empty are the cohort's fault."""
    empty = not np.isfinite(np.array(log.boxes)).any()
    if isinstance(way, str) and "cohort" in way and empty:
        return Lost("no-boxes", "cohort", f"Expected boxes for the frames of camera {name}, got none in any.")
    return Lost(
        "nobody",
        "model",
        f"Expected a person in the pictures of camera {name}, got none in any of {len(log.time)} frames.",
    )


def _check_detected(found: list[Detected], count: int) -> None:
    """Refuse a detector's answer that isn't one."""
    good = len(found) == count and all(
        np.ndim(boxes) == 2
        and np.shape(boxes)[1] == 4
        and np.shape(scores) == (len(boxes),)
        and np.isfinite(boxes).all()
        and np.isfinite(scores).all()
        and (box_tools.area(boxes) > 0).all()
        for boxes, scores in found
    )
    if not good:
        raise CapbenchError(
            f"Expected {count} answers of a detector, each boxes (m, 4) and scores (m,), all finite, got "
            "others.",
            fix="is it the right file and layout?",
        )
