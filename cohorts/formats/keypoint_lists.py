"""From lists of detections per frame, as 2D pose files hold them, to tracks of named keypoints; and back.

These files count frames and know no time, hold points in an order that only a skeleton explains, and
may or may not say who is who. What every such format shares is here: checking numbers from strangers,
gathering one person's detections, and finding the skeleton.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.bounded import about, shorten, write_text
from cohorts.errors import CapbenchError, RefusedError
from cohorts.recording import Keypoints
from cohorts.skeleton import Skeleton, skeleton, skeleton_names
from cohorts.values import FloatArray, IntArray

FRAME_LIMIT = 2**48  #: frame numbers and image ids; times stay exact and increasing below it
PERSON_LIMIT = 10_000
POINT_LIMIT = 1000  #: of one person in one frame
POINTS_LIMIT = 40_000_000  #: of a whole file
PICKLED_LIMIT = 5_000_000  #: of a pickle, whose few bytes can name one list again and again
#: what a file without names most likely means by its number of points
GUESSES = {
    14: "crowdpose-14",
    16: "mpii-16",
    17: "coco-17",
    25: "openpose-25",
    26: "halpe-26",
    33: "blazepose-33",
    52: "synthpose-52",
    133: "coco-wholebody-133",
}


@dataclass(frozen=True, slots=True)
class Detection:
    """One person in one frame.

    Attributes
    ----------
    frame : frame number or image id
    points : (K, 3) x and y in pixels, and confidence
    person : identity given by the file, or None
    score : of the whole person, or None
    """

    frame: int
    points: FloatArray
    person: str | None = None
    score: float | None = None


class Detections:
    """Detections as they are found, in the order of the file; refuses more points than ``limit``."""

    def __init__(self, limit: int = POINTS_LIMIT) -> None:
        self.items: list[Detection] = []
        self.limit = limit
        self.points = 0

    def reserve(self, points: int) -> None:
        """Refuse if ``points`` more would be too many."""
        if self.points + points > self.limit:
            raise RefusedError(
                f"Expected at most {self.limit // 1_000_000} million points in one file, got more.",
                fix="split the recording into parts",
            )

    def add(self, detection: Detection) -> None:
        """Take one more."""
        self.reserve(len(detection.points))
        self.points += len(detection.points)
        self.items.append(detection)


# --- values from strangers ----------------------------------------------------------------------


def said(value: Any) -> str:
    """What ``value`` is, in a few words; never all of it, which may be endless."""
    if value is None:
        return "null"
    if isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else "a huge whole number"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}"


def need_list(value: Any, what: str, place: str | None = None) -> list[Any]:
    """``value`` if it is a list (or tuple)."""
    if not isinstance(value, (list, tuple)):
        raise CapbenchError(f"Expected {what}, got {said(value)}.", place=place)
    return list(value)


def need_dict(value: Any, what: str, place: str | None = None) -> dict[Any, Any]:
    """``value`` if it is a mapping."""
    if not isinstance(value, dict):
        raise CapbenchError(f"Expected {what}, got {said(value)}.", place=place)
    return value


def need_entry(mapping: dict[Any, Any], key: str, place: str | None = None) -> Any:
    """The value of ``key``, which must be there."""
    if key not in mapping:
        raise CapbenchError(f"Expected the entry {key!r}, got none.", place=place)
    return mapping[key]


def whole(value: Any, what: str, place: str | None = None) -> int:
    """A whole number; files may write it as 3.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise CapbenchError(f"Expected {what} to be a whole number, got {said(value)}.", place=place)
    return value


def frame_number(value: Any, what: str, place: str | None = None) -> int:
    """A frame number or image id: a whole number from 0 to 2**48, perhaps as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    number = whole(value, what, place)
    if not 0 <= number < FRAME_LIMIT:
        raise CapbenchError(f"Expected {what} to be from 0 to 2**48, got {said(value)}.", place=place)
    return number


def finite(value: Any, what: str, place: str | None = None) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CapbenchError(f"Expected {what} to be a number, got {said(value)}.", place=place)
    if (isinstance(value, int) and abs(value) >= 2**63) or not math.isfinite(value):
        raise CapbenchError(f"Expected {what} to be finite, got {said(value)}.", place=place)
    return float(value)


def numbers(value: Any, what: str, place: str | None = None) -> FloatArray:
    """A flat list (or array) of numbers as float64; null becomes NaN."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iuf" or value.ndim != 1:
            raise CapbenchError(f"Expected {what} to be a list of numbers, got {said(value)}.", place=place)
        return value.astype(np.float64)
    items = need_list(value, f"{what} to be a list of numbers", place)
    kinds = set(map(type, items))
    if not kinds <= {int, float, type(None)}:
        wrong = next(v for v in items if type(v) not in (int, float, type(None)))
        raise CapbenchError(f"Expected {what} to be numbers, got {said(wrong)}.", place=place)
    try:
        return np.array(items, dtype=np.float64)
    except OverflowError:
        raise CapbenchError(f"Expected {what} to be finite, got a huge whole number.", place=place) from None


def identity(value: Any, what: str, place: str | None = None) -> str | None:
    """A person's name: a number or text, perhaps alone in a list; negative numbers mean "not known"."""
    for _ in range(3):  # not "while": a list may hold itself
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
    if isinstance(value, str):
        if not 0 < len(value) <= 100:
            raise CapbenchError(f"Expected {what} of 1 to 100 letters, got {len(value)}.", place=place)
        return value
    number = whole(value, what, place)
    return None if number < 0 else str(number)


def flat_points(value: Any, what: str, place: str | None = None) -> FloatArray:
    """(K, 3) points of a flat list ``x, y, confidence, x, y, confidence, …``."""
    flat = numbers(value, what, place)
    if flat.size == 0 or flat.size % 3 or flat.size > 3 * POINT_LIMIT:
        raise CapbenchError(
            f"Expected {what} to be three numbers (x, y, confidence) per point, "
            f"at most {POINT_LIMIT} points, got {flat.size} numbers.",
            place=place,
        )
    return flat.reshape(-1, 3)


# --- reading ------------------------------------------------------------------------------------


def tracks(
    found: Detections,
    path: Path,
    *,
    notes: list[str],
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """One ``Keypoints`` per person, in order of identity.

    Parameters
    ----------
    found : detections in the order of the file, which is their rank within a frame
    path : the file, for messages and the camera's name
    notes : takes what the reader should know
    rate : frames per second; without it time counts frames
    skeleton : name of a built-in skeleton; without it the number of points decides
    camera : name of the camera; default: the file's name without its ending
    """
    with about(path):
        if not found.items:
            raise CapbenchError("Expected at least one person in one frame, got none.")
        named = _skeleton(found.items, skeleton, notes)
        people = _people(found.items, notes)
        check_rate(rate)
        if rate is None:
            notes.append("no frame rate in the file: time counts frames; give --rate")
        found.items = []  # the stacks below are copies: hold each number only once
        stacks = [_stack(person, people) for person in list(people)]
        _note_points([stack.points for stack in stacks], notes)
        return tuple(_track(stack, named, camera or path.stem, rate or 1.0) for stack in stacks)


@dataclass(frozen=True, slots=True)
class _Stack:
    """All of one person: (T,) frames, (T, K, 3) points and, where each detection has one, (T,) scores."""

    person: str
    frames: IntArray
    points: FloatArray
    scores: FloatArray | None


def _stack(person: str, people: dict[str, list[Detection]]) -> _Stack:
    group = people.pop(person)
    scores = [d.score for d in group]
    return _Stack(
        person,
        np.array([d.frame for d in group], dtype=np.int64),
        np.stack([d.points for d in group]),
        None if None in scores else np.array(scores, dtype=np.float64),
    )


def _skeleton(detections: Sequence[Detection], wanted: str | None, notes: list[str]) -> Skeleton:
    count = len(detections[0].points)
    for d in detections:
        if len(d.points) != count:
            raise CapbenchError(
                f"Expected {count} points for everyone, as in the first detection, got {len(d.points)}.",
                place=f"frame {d.frame}",
            )
    fits = [name for name in skeleton_names() if name.endswith(f"-{count}")]
    fix = f"give --skeleton ({', '.join(fits)})" if fits else f"known are: {', '.join(skeleton_names())}"
    if wanted is not None:
        found = skeleton(wanted)
        if len(found) != count:
            raise CapbenchError(
                f"Expected {len(found)} points for skeleton {wanted}, got {count}.",
                fix=fix if fits else None,
            )
        return found
    guess = GUESSES.get(count)
    if guess is None:
        raise CapbenchError(f"Expected points of a known skeleton, got {count} points per person.", fix=fix)
    others = [name for name in fits if name != guess]
    if others:
        notes.append(
            f"{count} points taken for {guess}; {shorten(others)} would fit too (--skeleton decides)"
        )
    return skeleton(guess)


def _people(detections: Sequence[Detection], notes: list[str]) -> dict[str, list[Detection]]:
    """Detections by person, each in order of frames."""
    known = [d.person is not None for d in detections]
    if any(known) and not all(known):
        notes.append(f"{known.count(False)} of {len(known)} detections have no identity: identities not used")
    people: dict[str, list[Detection]] = {}
    if all(known):
        for d in detections:
            people.setdefault(str(d.person), []).append(d)
    else:
        rank: dict[int, int] = {}
        for d in detections:
            people.setdefault(str(rank.setdefault(d.frame, 0)), []).append(d)
            rank[d.frame] += 1
        notes.append(
            "no identities in the file, nothing was tracked: person N is the N-th detection of each frame"
        )
    if len(people) > PERSON_LIMIT:
        raise CapbenchError(f"Expected at most {PERSON_LIMIT} people, got {len(people)}.")
    turned = [person for person, group in people.items() if _sort(person, group)]
    if turned:
        notes.append(f"frames not in order, sorted: person {shorten(turned)}")
    return dict(sorted(people.items(), key=lambda item: _person_order(item[0])))


def _person_order(person: str) -> tuple[bool, int, str]:
    number = person.isascii() and person.isdigit()
    return not number, int(person[:18]) if number else 0, person


def _sort(person: str, group: list[Detection]) -> bool:
    """Put one person's detections in order of frames, each once; says whether they were not."""
    in_order = all(a.frame <= b.frame for a, b in pairwise(group))
    if not in_order:
        group.sort(key=lambda d: d.frame)
    for a, b in pairwise(group):
        if a.frame == b.frame:
            raise CapbenchError(
                f"Expected person {person} once per frame, got two detections.", place=f"frame {a.frame}"
            )
    return not in_order


def check_rate(rate: float | None) -> None:
    """Refuse a frame rate (per second) that is none; None is fine."""
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1e6:
        raise CapbenchError(f"Expected a frame rate above 0 and up to 1e6 per second, got {said(rate)}.")


def _note_points(stacks: list[FloatArray], notes: list[str]) -> None:
    """Say what is odd about the points of everyone."""
    unsure = sum(int(np.isnan(s[..., 2]).sum()) for s in stacks)
    if unsure:
        notes.append(f"{unsure} points without a confidence (null or NaN) read as missing")
    no_xy = sum(int((np.isnan(s[..., :2]).any(-1) & (s[..., 2] > 0)).sum()) for s in stacks)
    if no_xy:
        notes.append(f"{no_xy} points without coordinates (null or NaN) read as missing")
    distrusted = sum(int(((s[..., 2] == 0) & (s[..., :2] != 0).any(-1)).sum()) for s in stacks)
    if distrusted:
        notes.append(f"{distrusted} points with coordinates but confidence 0 read as missing")
    most = max(_largest(s[..., :2]) for s in stacks)
    if 0 < most <= 1:
        notes.append(f"all coordinates lie within {most:.3g} of 0: normalised, not pixels?")
    flags = all(np.isin(s[..., 2], (0, 1, 2)).all() for s in stacks)
    if flags and any((s[..., 2] == 2).any() for s in stacks):
        notes.append("all confidences are 0, 1 or 2: visibility flags, not confidences?")


def _largest(values: FloatArray) -> float:
    """The largest size of a number that is not NaN."""
    known = ~np.isnan(values)
    return float(max(values.max(initial=0, where=known), -values.min(initial=0, where=known)))


def _track(stack: _Stack, named: Skeleton, camera: str, rate: float) -> Keypoints:
    points = stack.points
    for wrong, found in (
        (points[..., 2] < 0, "a negative confidence"),
        (np.isinf(points).any(axis=-1), "infinity"),
    ):
        if wrong.any():
            row, k = np.argwhere(wrong)[0]
            raise CapbenchError(
                f"Expected finite pixels and a confidence >= 0, got {found}.",
                place=f"frame {stack.frames[row]}, person {stack.person}, point {named.points[k]}",
            )
    missing = ~(points[..., 2] > 0) | np.isnan(points[..., :2]).any(axis=-1)
    points[missing] = np.nan, np.nan, 0
    points.setflags(write=False)  # so that the noun shares it
    return Keypoints(
        camera=camera,
        time=stack.frames / rate,
        xy=points[..., :2],
        skeleton=named,
        confidence=points[..., 2],
        person=stack.person,
        frames=stack.frames,
        score=stack.scores,
    )


# --- writing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One person in one frame, to be written.

    Attributes
    ----------
    frame : frame number
    rank : the track's place among the tracks written
    label : the person's name (a number where it is one), or None for a lone person "0"
    number : the person's own number; ``rank`` where not everyone's name is a number
    points : (K, 3) x, y, confidence; (0, 0, 0) where missing
    score : of the whole person, or None
    """

    frame: int
    rank: int
    label: int | str | None
    number: int
    points: FloatArray
    score: float | None

    def mean_confidence(self) -> float:
        """Of the points that are there; 0 where none is: what stands in for a missing score."""
        confidence = self.points[:, 2]
        return float(confidence.sum() / max((confidence > 0).sum(), 1))


def rows(value: Keypoints | Sequence[Keypoints], path: Path) -> list[Row]:
    """All detections of one camera's tracks, by frame and person; frames are numbered as in the source.

    Tracks without frame numbers count the frames of their common time. Covariances can't be kept.
    """
    people = (value,) if isinstance(value, Keypoints) else tuple(value)
    with about(path):
        _check_writable(people)
    numbering = _numbers(people)
    grid = np.unique(np.concatenate([p.time for p in people]))
    lone = len(people) == 1 and people[0].person == "0"
    made = []
    for rank, (person, number) in enumerate(zip(people, numbering, strict=True)):
        frames = np.searchsorted(grid, person.time) if person.frames is None else person.frames
        points = np.concatenate([person.xy, person.confidence[..., None]], axis=-1)
        points[np.isnan(points).any(axis=-1)] = 0
        scores = [None] * len(person) if person.score is None else person.score.tolist()
        label = None if lone else _label(person.person)
        made += [
            Row(frame, rank, label, number, row, score)
            for frame, row, score in zip(frames.tolist(), points, scores, strict=True)
        ]
    return sorted(made, key=lambda row: (row.frame, row.rank))


def write_json(path: Path, value: Any, *, overwrite: bool) -> None:
    """Write ``value`` as JSON, numbers to the last digit."""
    write_text(path, json.dumps(value, allow_nan=False) + "\n", overwrite=overwrite)


def _check_writable(people: tuple[Keypoints, ...]) -> None:
    if not any(len(p) for p in people):
        raise CapbenchError("Expected at least one frame of keypoints to write, got none.")
    for what, names in (
        ("camera", {p.camera for p in people}),
        ("skeleton", {p.skeleton.name for p in people}),
    ):
        if len(names) > 1:
            raise CapbenchError(
                f"Expected keypoints of one {what}, got {shorten(sorted(names))}.",
                fix=f"write one file per {what}, or .npz",
            )
    if len({p.person for p in people}) < len(people):
        raise CapbenchError("Expected each person once, got two tracks with one name.")
    if len({p.frames is None for p in people}) > 1:
        raise CapbenchError("Expected frame numbers for everyone or for no one.")
    for p in people:
        if not 0 < len(p.person) <= 100:
            raise CapbenchError(f"Expected names of 1 to 100 letters, got {said(p.person)}.")
        if p.frames is not None and not _counts(p.frames):
            raise CapbenchError(
                "Expected frame numbers from 0 to 2**48 that increase.", place=f"person {p.person}"
            )


def _counts(frames: IntArray) -> bool:
    return bool((np.diff(frames) > 0).all() and ((frames >= 0) & (frames < FRAME_LIMIT)).all())


def _numbers(people: tuple[Keypoints, ...]) -> list[int]:
    """Everyone's own number where all persons are named by plain numbers; else 0, 1, 2, …."""
    labels = [_label(p.person) for p in people]
    own = [label for label in labels if isinstance(label, int)]
    return own if len(own) == len(people) else list(range(len(people)))


def _label(person: str) -> int | str:
    """The person's name, as a number where that says the same."""
    short = person.isascii() and person.isdigit() and len(person) < 10
    return int(person) if short and str(int(person)) == person else person
