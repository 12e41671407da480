"""Pictures with annotated keypoints (BEDLAM, 3DPW, RICH, AGORA, COCO …) as keypoint cohorts.

The data stay the user's: none of these sets may be passed on, so nothing is fetched or copied. Two formats:

- **COCO annotations** (``.json``): ``images`` (``id``, ``file_name``, ``width``, ``height``), ``annotations``
  (``image_id``, ``keypoints`` as ``[x, y, v, …]``, ``bbox``, perhaps ``track_id``) and ``categories`` with
  the ``keypoints``' names. v = 0 is not annotated (missing), 1 annotated but hidden, 2 visible.
- **npz** as BEDLAM's and AGORA's processed labels are: ``imgname`` (N,) paths of pictures, ``gtkps``
  (N, K, 2 or 3) pixels (the third number is 0 where a point is missing), perhaps ``sub`` (N,) who it is.
  ``keypoints_2d`` is taken for ``gtkps``, as converted labels of other sets call it. Everything else is left
  unread. K = 127 are SMPL-X's joints and face, of which the first 55 are the joints.

Each file is a trial whose extra "keypoints" is the file and "images" the folder of the pictures (none: the
cohort's root). Keypoints read from it have confidence 1 where visible and 0.5 where hidden.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cohorts.bounded import about, load_json, load_npz
from cohorts.card import Reference
from cohorts.errors import CapbenchError
from cohorts.formats import keypoint_lists as lists
from cohorts.recording import Keypoints, Subject, Trial
from cohorts.skeleton import Skeleton, skeleton_names
from cohorts.skeleton import skeleton as built_in
from cohorts.sources import common
from cohorts.store import Imported
from cohorts.values import FloatArray

NAME = "annotations"
TITLE = "pictures with annotated keypoints: COCO JSON, or npz as BEDLAM's and AGORA's"
SUFFIXES = (".json", ".npz")
HIDDEN = 0.5  #: confidence of a point that is annotated but can't be seen
EVERYONE = "everyone"  #: the one subject of a set that doesn't tell people apart
_POINT_KEYS = ("gtkps", "keypoints_2d")
_SMPLX_ALL, _SMPLX_JOINTS = 127, 55


def recognise(folder: Path) -> str | None:
    """Whether a .json or .npz directly in the folder, or in its annotations/, holds annotations."""
    for path in _candidates(folder)[:4]:
        try:
            content = _content(folder / path)
        except CapbenchError:
            continue
        if content is not None:
            return f"{path} holds annotated keypoints"
    return None


def _candidates(folder: Path) -> list[str]:
    found = []
    for place in (folder, folder / "annotations", folder / "labels"):
        if place.is_dir():
            found += [
                p.relative_to(folder).as_posix() for p in place.iterdir() if p.suffix.lower() in SUFFIXES
            ]
    return sorted(found)


def _content(path: Path) -> Any:
    """The parsed file if it holds annotations, else None."""
    if path.suffix.lower() == ".npz":
        arrays = load_npz(path, [])
        return arrays if "imgname" in arrays and any(key in arrays for key in _POINT_KEYS) else None
    content = load_json(path)
    return content if isinstance(content, dict) and {"images", "annotations"} <= content.keys() else None


def read(
    folder: Path, *, name: str | None = None, images: str | None = None, skeleton: str | None = None
) -> Imported:
    """The annotation files of a folder; ``images`` is the pictures' folder below it (default: the folder).

    ``skeleton`` is the built-in skeleton of an npz, which names no points.
    """
    notes: list[str] = []
    trials: list[Trial] = []
    base = images or next((n for n in ("images", "img") if (folder / n).is_dir()), ".")
    if not (folder / base).is_dir():
        raise CapbenchError("Expected the folder of the pictures, got none.", file=folder / base)
    skeletons = set()
    for path in _candidates(folder):
        if _content(folder / path) is None:
            notes.append(f"{path} holds no annotated keypoints and was left out")
            continue
        found = read_keypoints(folder / path, skeleton=skeleton, notes=notes)
        skeletons.add(found[0].skeleton.name)
        trials.append(
            Trial(
                name=PurePosixPath(path).stem,
                subject=EVERYONE,
                activity="pictures",
                extras={"keypoints": path} | ({} if base == "." else {"images": base}),
            )
        )
    short = common.short_name(name or folder.absolute().name)
    if not trials:
        raise CapbenchError(
            "Expected .json or .npz files with annotated keypoints, got none.",
            file=folder,
            fix="see the formats in: capbench cohort import --help",
        )
    cohort = common.cohort_of(short, "1", [Subject(EVERYONE)], trials, folder=folder)
    card = common.draft_card(
        cohort,
        title=f"Annotated pictures in {folder.absolute().name}",
        reference=Reference(
            kind="keypoints",
            model=None if skeleton is None else f"skeleton {skeleton}",
            solved="annotated, or projected from a fitted body model; as the set's authors did",
        ),
        protocol="keypoints",
    )
    notes.append(f"points: {', '.join(sorted(skeletons))}; all people of a set count as one subject")
    return Imported(card, cohort, tuple(dict.fromkeys(notes)), folder)


# --- the files ----------------------------------------------------------------------------------


def read_keypoints(
    path: Path, *, skeleton: str | None = None, notes: list[str] | None = None
) -> tuple[Keypoints, ...]:
    """Everyone annotated in a file: one track per person; time counts pictures, frames are their places.

    The pictures are numbered in sorted order of their names.
    """
    notes = [] if notes is None else notes
    content = _content(path)
    if content is None:
        raise CapbenchError(
            "Expected images and annotations (COCO), or imgname and gtkps (npz), got neither.", file=path
        )
    with about(path):
        if path.suffix.lower() == ".npz":
            rows, named = _npz_rows(content), _npz_skeleton(content, skeleton, notes)
        else:
            rows, named = _coco_rows(content), _coco_skeleton(content, skeleton)
        return _tracks(rows, named, path.stem)


Row = tuple[str, str | None, FloatArray]  #: picture, person, (K, 3) x y confidence


def _tracks(rows: Iterator[Row], named: Skeleton, camera: str) -> tuple[Keypoints, ...]:
    pictures: dict[str, dict[str, FloatArray]] = defaultdict(dict)
    for picture, person, points in rows:
        if len(points) != len(named):
            raise CapbenchError(
                f"Expected {len(named)} points as skeleton {named.name} has, got {len(points)}.",
                place=f"picture {picture}",
            )
        here = pictures[picture]
        label = str(len(here)) if person is None else person
        if label in here:
            raise CapbenchError(
                f"Expected each person once, got {label!r} twice.", place=f"picture {picture}"
            )
        here[label] = points
    order = {picture: i for i, picture in enumerate(sorted(pictures, key=common.natural))}
    people: dict[str, list[tuple[int, FloatArray]]] = defaultdict(list)
    for picture, place in order.items():
        for label, points in pictures[picture].items():
            people[label].append((place, points))
    if not people:
        raise CapbenchError("Expected at least one annotated person, got none.")
    tracks = []
    for label in sorted(people, key=common.natural):
        frames = np.array([place for place, _ in people[label]])
        xyc = np.stack([points for _, points in people[label]])
        gone = (xyc[..., 2] <= 0) | ~np.isfinite(xyc).all(axis=-1)
        tracks.append(
            Keypoints(
                camera=camera,
                time=frames.astype(float),
                xy=np.where(gone[..., None], np.nan, xyc[..., :2]),
                skeleton=named,
                confidence=np.where(gone, 0.0, xyc[..., 2]),
                person=label,
                frames=frames,
            )
        )
    return tuple(tracks)


def _coco_rows(content: dict[Any, Any]) -> Iterator[Row]:
    names: dict[Any, str] = {}
    for i, image in enumerate(lists.need_list(content["images"], "images")):
        place = f"image {i}"
        image = lists.need_dict(image, "an image", place)
        key = lists.identity(lists.need_entry(image, "id", place), "id", place)
        name = lists.need_entry(image, "file_name", place)
        if not isinstance(name, str) or key in names:
            raise CapbenchError("Expected images with a file_name and an id of their own.", place=place)
        names[key] = name
    for i, entry in enumerate(lists.need_list(content["annotations"], "annotations")):
        place = f"annotation {i}"
        entry = lists.need_dict(entry, "an annotation", place)
        if not entry.get("keypoints"):
            continue  # a person in the crowd, boxed only
        key = lists.identity(lists.need_entry(entry, "image_id", place), "image_id", place)
        if key not in names:
            raise CapbenchError(f"Expected an image_id among the images, got {key!r}.", place=place)
        points = lists.flat_points(entry["keypoints"], "keypoints", place).copy()
        seen = points[:, 2]
        if not np.isin(seen, (0, 1, 2)).all():
            raise CapbenchError("Expected visibilities 0, 1 or 2.", place=place)
        points[:, 2] = np.where(seen == 2, 1.0, np.where(seen == 1, HIDDEN, 0.0))
        track = entry.get("track_id")
        yield names[key], None if track is None else lists.identity(track, "track_id", place), points


def _coco_skeleton(content: dict[Any, Any], wanted: str | None) -> Skeleton:
    if wanted is not None:
        return built_in(wanted)
    for category in lists.need_list(content.get("categories", []), "categories"):
        points = lists.need_dict(category, "a category").get("keypoints")
        if isinstance(points, list) and points and all(isinstance(p, str) for p in points):
            for name in skeleton_names():
                if built_in(name).points == tuple(points):
                    return built_in(name)
            return Skeleton(str(category.get("name") or "annotated"), tuple(points))
    raise CapbenchError(
        "Expected the points' names in categories, got none.",
        fix="--with skeleton=NAME (capbench list skeletons)",
    )


def _raw_points(arrays: dict[str, Any]) -> FloatArray:
    key = next(key for key in _POINT_KEYS if key in arrays)
    points = arrays[key]
    if points.dtype.kind not in "iuf" or points.ndim != 3 or points.shape[2] not in (2, 3):
        raise CapbenchError(f"Expected {key} of shape (N, K, 2 or 3), got {points.shape} {points.dtype}.")
    return np.asarray(points.astype(np.float64))


def _points_of(arrays: dict[str, Any]) -> FloatArray:
    """(N, K, 3) x, y and visibility; of SMPL-X's 127 the 55 joints."""
    points = _raw_points(arrays)
    if points.shape[2] == 2:
        known = np.isfinite(points).all(axis=-1) & (points != 0).any(axis=-1)
        points = np.concatenate([points, known[..., None].astype(float)], axis=-1)
    if points.shape[1] == _SMPLX_ALL:
        points = points[:, :_SMPLX_JOINTS]
    points[..., 2] = np.clip(np.nan_to_num(points[..., 2]), 0, 1)
    return np.asarray(points)


def _npz_rows(arrays: dict[str, Any]) -> Iterator[Row]:
    points, names = _points_of(arrays), arrays["imgname"]
    people = arrays.get("sub")
    for what, array in (("imgname", names), ("sub", people)):
        if array is not None and (array.shape != (len(points),) or array.dtype.kind not in "US"):
            raise CapbenchError(f"Expected {what} as {len(points)} texts, got {array.shape} {array.dtype}.")

    def text(value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    for i, row in enumerate(points):
        yield text(names[i].item()), None if people is None else text(people[i].item()), row


def _npz_skeleton(arrays: dict[str, Any], wanted: str | None, notes: list[str]) -> Skeleton:
    if wanted is not None:
        return built_in(wanted)
    count = _raw_points(arrays).shape[1]
    if count == _SMPLX_ALL:
        notes.append("127 points are taken for SMPL-X's; the 55 joints were kept")
        return built_in("smplx-55")
    fits = [name for name in skeleton_names() if len(built_in(name)) == count]
    if len(fits) == 1:
        notes.append(f"{count} points are taken for {fits[0]}; --with skeleton=NAME says otherwise")
        return built_in(fits[0])
    raise CapbenchError(
        f"Expected a number of points that one skeleton has, got {count}"
        + (f" ({', '.join(fits)} have as many)." if fits else "."),
        fix="--with skeleton=NAME (capbench list skeletons)",
    )
