"""OpenPose JSON: a folder with one ``NAME_000000000012_keypoints.json`` per frame, or one such file.

Each holds ``{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, …]}]}``. The frame number is
in the file's name. A ``person_id`` of -1 says that nobody was tracked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cohorts.bounded import JSON_LIMIT, MB, about, load_json, shorten
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.formats import keypoint_lists as lists
from cohorts.recording import Keypoints

FILE_LIMIT = 16 * MB  #: one frame
FILES_LIMIT = 500_000
ENDING = "_keypoints.json"
_NAME = re.compile(r"(?s)(.*?)_?([0-9]{1,15})_keypoints\.json")
_UNREAD = (
    "face_keypoints_2d",
    "hand_left_keypoints_2d",
    "hand_right_keypoints_2d",
    "pose_keypoints_3d",
    "face_keypoints_3d",
    "hand_left_keypoints_3d",
    "hand_right_keypoints_3d",
)


def recognise(content: Any) -> bool:
    """Whether a folder's file names, or the parsed JSON of one file, look like OpenPose's."""
    if isinstance(content, list):
        return any(isinstance(name, str) and name.endswith(ENDING) for name in content)
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def read(
    path: Path,
    *,
    notes: list[str] | None = None,
    rate: float | None = None,
    skeleton: str | None = None,
    camera: str | None = None,
) -> tuple[Keypoints, ...]:
    """Keypoints (pixels) of everyone in a folder of OpenPose files, or in one of them.

    ``rate`` is in frames per second, ``skeleton`` the name of a built-in one, ``camera`` a name
    (default: the folder's, or the file's without its number).
    """
    notes = [] if notes is None else notes
    folder = path.is_dir()
    files = _numbered(path, notes) if folder else {_frame_of(path.name): path}
    found = lists.Detections()
    unread: set[str] = set()
    total = 0
    for frame, file in files.items():
        content = load_json(file, FILE_LIMIT)
        total += file.stat().st_size
        if total > JSON_LIMIT:
            raise RefusedError(f"Expected at most {JSON_LIMIT // MB} MB in all files.", file=path)
        with about(file):
            _collect(content, frame, found, unread)
    if unread:
        notes.append(f"not read: {', '.join(sorted(unread))}")
    named = camera or (path.name if folder else _prefix(path.name))
    return lists.tracks(found, path, notes=notes, rate=rate, skeleton=skeleton, camera=named)


def _frame_of(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match[2]) if match and int(match[2]) < lists.FRAME_LIMIT else 0


def _prefix(name: str) -> str:
    match = _NAME.fullmatch(name)
    return (match[1] if match else "") or name.removesuffix(ENDING).removesuffix(".json") or name


def _numbered(folder: Path, notes: list[str]) -> dict[int, Path]:
    """Frame number -> file, in order."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(ENDING))
    except OSError as error:
        raise CapbenchError(f"Can't be listed: {error.strerror}.", file=folder) from None
    if not 0 < len(names) <= FILES_LIMIT:
        raise CapbenchError(
            f"Expected 1 to {FILES_LIMIT} files ending in {ENDING}, got {len(names)}.", file=folder
        )
    matches = [_NAME.fullmatch(name) for name in names]
    numbered = [m for m in matches if m and int(m[2]) < lists.FRAME_LIMIT]
    if not numbered:
        notes.append("file names hold no frame numbers: numbered in alphabetical order")
        return {i: folder / name for i, name in enumerate(names)}
    prefixes = sorted({m[1] for m in numbered})
    if len(prefixes) > 1 or len(numbered) < len(names):
        odd = prefixes if len(prefixes) > 1 else [n for n, m in zip(names, matches, strict=True) if not m]
        raise CapbenchError(
            f"Expected the files of one recording, got names of several kinds: {shorten(odd)}.",
            file=folder,
            fix="put each camera's files into a folder of their own",
        )
    files: dict[int, Path] = {}
    for match in numbered:
        frame = int(match[2])
        if frame in files:
            raise CapbenchError(f"Expected frame {frame} once, got two files.", file=folder / match[0])
        files[frame] = folder / match[0]
    return dict(sorted(files.items()))


def _collect(content: Any, frame: int, found: lists.Detections, unread: set[str]) -> None:
    content = lists.need_dict(content, "a mapping with the people of one frame")
    people = lists.need_list(lists.need_entry(content, "people"), "a list of people")
    for i, person in enumerate(people):
        detection = person_detection(person, frame, f"frame {frame}, person {i}", unread)
        if detection is not None:
            found.add(detection)


def person_detection(person: Any, frame: int, place: str, unread: set[str]) -> lists.Detection | None:
    """One entry of ``people``; None where it holds no body. Names of what is left out go to ``unread``."""
    person = lists.need_dict(person, "a person", place)
    unread.update(key for key in _UNREAD if isinstance(person.get(key), list) and person[key])
    flat = lists.need_entry(person, "pose_keypoints_2d", place)
    if isinstance(flat, list) and not flat:
        unread.add("people without body points")
        return None
    who = person.get("person_id", -1)
    if isinstance(who, list) and not who:
        who = -1
    return lists.Detection(
        frame=frame,
        points=lists.flat_points(flat, "pose_keypoints_2d", place),
        person=lists.identity(who, "person_id", place),
    )


def write(path: Path, value: Keypoints | Sequence[Keypoints], *, overwrite: bool = False) -> None:
    """Write one camera's keypoints as a folder of OpenPose files; a missing point is (0, 0, 0).

    Frames between the first and the last that nobody is in get a file without people, as OpenPose
    writes. Scores can't be kept, and people whose names are not all numbers are numbered anew.
    """
    if path.suffix == ".json":
        raise CapbenchError(
            "Expected a folder to write, got the name of a file: OpenPose writes one file per frame.",
            file=path,
            fix=f"name it {path.with_suffix('').name}",
        )
    frames: dict[int, list[dict[str, Any]]] = {}
    for row in lists.rows(value, path):
        person = {
            "person_id": [-1 if row.label is None else row.number],
            "pose_keypoints_2d": row.points.ravel().tolist(),
        }
        frames.setdefault(row.frame, []).append(person)
    first, last = min(frames, default=0), max(frames, default=-1)
    if last - first >= FILES_LIMIT:
        raise CapbenchError(
            f"Expected frame numbers that count frames, got {first} to {last}.",
            file=path,
            fix="a format of one file, such as COCO results",
        )
    prefix = re.sub(r"[^\w.-]", "_", path.name).lstrip(".") or "frame"
    texts = {
        f"{prefix}_{frame:012d}{ENDING}": {"version": 1.3, "people": frames.get(frame, [])}
        for frame in range(first, last + 1)
    }
    _write_folder(path, texts, overwrite)


def _write_folder(path: Path, files: dict[str, Any], overwrite: bool) -> None:
    """All files or none: written into a folder beside, which then takes the place of ``path``."""
    _check_target(path, overwrite)
    workshop: Path | None = None
    try:
        workshop = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
        new, old = workshop / "new", workshop / "old"
        new.mkdir()
        for name, content in files.items():
            with (new / name).open("w", encoding="utf-8") as file:
                json.dump(content, file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    except OSError as error:
        raise EnvironmentFault(f"Can't be written: {error.strerror or error}.", file=path) from error
    finally:
        if workshop is not None:
            shutil.rmtree(workshop, ignore_errors=True)


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise CapbenchError("Expected an existing folder to write into, got none.", file=path.parent)
    if not path.exists():
        return
    if not overwrite:
        raise CapbenchError(
            "Expected a new folder, got one that exists.",
            file=path,
            fix="choose another name, or allow overwriting with --force",
        )
    if not path.is_dir() or any(not entry.name.endswith(ENDING) for entry in path.iterdir()):
        raise CapbenchError(
            f"Expected to overwrite a folder of {ENDING} files only, got something else in it.",
            file=path,
            fix="choose another name",
        )
