"""A user's own pictures with COCO-style annotations, as a source of training pictures.

The file is JSON with ``images``, ``annotations`` (``bbox``, ``keypoints`` as x, y, v) and usually
``categories`` that name the points. File and pictures come from outside: every number is checked, pictures
lie below one folder, and a picture's size is read from its first bytes before it is unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.card import Geometry
from capbench.models.crop import cut, plan
from capbench.vision.boxes import from_points
from cohorts.bounded import about, load_json, read_bytes
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.formats import keypoint_lists as lists
from cohorts.skeleton import Skeleton, skeleton
from cohorts.values import FloatArray
from synthpose.render import Float32Array

PICTURE_LIMIT = 64 << 20  #: bytes of a picture's file
PIXELS_LIMIT = 50_000_000
SIDE_LIMIT = 20_000  #: pixels
ENTRIES_LIMIT = 2_000_000  #: annotations or pictures
FEWEST = 3  #: points that make a person worth training on
SEGMENTS = 10_000  #: parts of a JPEG before its picture
SMALLEST = 16.0  #: pixels of a box's longer side
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Annotated:
    """One person in one picture.

    Attributes
    ----------
    picture : path of the file below the folder
    size : (width, height) pixels that the file of annotations says
    box : (4,) x0 y0 x1 y1, pixels
    points, visible : (K, 2) pixels and (K,) 2 seen, 1 hidden, 0 not labelled
    """

    picture: str
    size: tuple[int, int]
    box: FloatArray
    points: FloatArray
    visible: Pictures


class CocoSource:
    """People of a COCO-style file, cut out as a network gets them.

    Parameters
    ----------
    annotations : the JSON file
    pictures : the folder that its ``file_name`` are below
    size, padding, geometry : of the crops, as in the recipe of the synthetic ones
    skeleton_name : what the points are; the names in the file's ``categories``, where given, must be its own
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        pictures: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        padding: float = 1.25,
        geometry: Geometry = "msra",
        skeleton_name: str = "coco-17",
    ) -> None:
        self.file, self.folder = Path(annotations), Path(pictures)
        self.size, self.padding, self.geometry = size, padding, geometry
        self.points_of = skeleton(skeleton_name)
        if not self.folder.is_dir():
            raise CapbenchError("Expected a folder of pictures, got none.", file=self.folder)
        self.people, self.left_out = read_annotations(self.file, self.points_of)
        if not self.people:
            raise CapbenchError(
                f"Expected people with {FEWEST} points or more, got none.",
                file=self.file,
                fix="crowds and boxes below 16 pixels are left out, too",
            )

    @property
    def skeleton(self) -> Skeleton:
        """Whose points it gives."""
        return self.points_of

    def __len__(self) -> int:
        return len(self.people)

    def batch(self, numbers: NDArray[np.int64], /) -> tuple[Pictures, Float32Array, Pictures]:
        """Pictures (n, h, w, 3) RGB, points (n, K, 2) pixels of them, visibility (n, K) as in the file."""
        wanted = np.asarray(numbers, np.int64).ravel()
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise CapbenchError(f"Expected numbers from 0 to {len(self) - 1}.", file=self.file)
        width, height = self.size
        pictures = np.empty((len(wanted), height, width, 3), np.uint8)
        points = np.zeros((len(wanted), len(self.points_of), 2), np.float32)
        visible = np.zeros((len(wanted), len(self.points_of)), np.uint8)
        for row, number in enumerate(wanted.tolist()):
            one = self.people[number]
            whole = read_picture(self._below(one.picture), one.size)
            crops = plan(one.box[None], self.size, padding=self.padding, geometry=self.geometry)
            pictures[row] = cut([whole], crops)[0]
            at = crops.to_crop(one.points[None])[0]
            inside = ((at >= -0.5) & (at <= np.array(self.size) - 0.5)).all(axis=1)
            visible[row] = np.where(inside, one.visible, 0)
            points[row] = np.where(visible[row, :, None] > 0, at, 0.0)
        return pictures, points, visible

    def _below(self, name: str) -> Path:
        """A picture's path; links must not lead out of the folder."""
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise RefusedError("Expected a picture below the folder, got a link out of it.", file=path)
        return path


# --- annotations ----------------------------------------------------------------------------------


def read_annotations(path: Path, points: Skeleton) -> tuple[tuple[Annotated, ...], int]:
    """Everybody to train on in the order of the file, and how many others there are."""
    content = load_json(path)
    with about(path):
        content = lists.need_dict(content, "COCO annotations, a mapping")
        images = _images(content)
        orders = _orders(content, points)
        entries = lists.need_list(lists.need_entry(content, "annotations"), "annotations to be a list")
        if len(entries) > ENTRIES_LIMIT:
            raise RefusedError(f"Expected at most {ENTRIES_LIMIT} annotations, got {len(entries)}.")
        found = [_person(entry, f"annotation {k}", images, orders, points) for k, entry in enumerate(entries)]
    people = tuple(one for one in found if one is not None)
    return people, len(found) - len(people)


def _images(content: Mapping[Any, Any]) -> dict[int, tuple[str, tuple[int, int]]]:
    """Number of an image -> its file and size."""
    entries = lists.need_list(lists.need_entry(dict(content), "images"), "images to be a list")
    if len(entries) > ENTRIES_LIMIT:
        raise RefusedError(f"Expected at most {ENTRIES_LIMIT} images, got {len(entries)}.")
    made: dict[int, tuple[str, tuple[int, int]]] = {}
    for k, entry in enumerate(entries):
        place = f"image {k}"
        entry = lists.need_dict(entry, "an image", place)
        number = lists.frame_number(lists.need_entry(entry, "id", place), "id", place)
        width, height = (
            lists.whole(lists.need_entry(entry, side, place), side, place) for side in ("width", "height")
        )
        if not (1 <= width <= SIDE_LIMIT and 1 <= height <= SIDE_LIMIT and width * height <= PIXELS_LIMIT):
            raise RefusedError(
                f"Expected pictures of at most {PIXELS_LIMIT // 1_000_000} million pixels, got {width} x "
                f"{height}.",
                place=place,
            )
        if number in made:
            raise CapbenchError(f"Expected each image once, got id {number} twice.", place=place)
        made[number] = (_name(lists.need_entry(entry, "file_name", place), place), (width, height))
    return made


def _name(value: Any, place: str) -> str:
    """A path that stays below its folder."""
    if not isinstance(value, str) or not 0 < len(value) <= 1000 or "\0" in value:
        raise CapbenchError(f"Expected file_name to be a path, got {lists.said(value)}.", place=place)
    parts = PureWindowsPath(value).parts + PurePosixPath(value).parts
    if PureWindowsPath(value).anchor or PurePosixPath(value).anchor or ".." in parts:
        raise RefusedError(
            f"Expected a file_name below the folder of pictures, got {lists.said(value)}.", place=place
        )
    return value


def _orders(content: Mapping[Any, Any], points: Skeleton) -> dict[int, list[int]]:
    """Number of a category -> for each point of the file its place in the skeleton."""
    made: dict[int, list[int]] = {}
    for k, entry in enumerate(lists.need_list(content.get("categories", []), "categories to be a list")):
        place = f"category {k}"
        entry = lists.need_dict(entry, "a category", place)
        if "keypoints" not in entry:
            continue
        names = lists.need_list(entry["keypoints"], "keypoints to be a list of names", place)
        if not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
            raise CapbenchError("Expected keypoints to be names, each once.", place=place)
        number = lists.whole(lists.need_entry(entry, "id", place), "id", place)
        made[number] = [points.index(n) for n in names]
    return made


def _person(
    entry: Any,
    place: str,
    images: Mapping[int, tuple[str, tuple[int, int]]],
    orders: Mapping[int, list[int]],
    points: Skeleton,
) -> Annotated | None:
    """One annotation; None for a crowd, and for who has too few points or is too small."""
    entry = lists.need_dict(entry, "an annotation", place)
    if entry.get("iscrowd", 0) not in (0, False) or "keypoints" not in entry:
        return None
    number = lists.frame_number(lists.need_entry(entry, "image_id", place), "image_id", place)
    if number not in images:
        raise CapbenchError(
            f"Expected the image of an annotation among images, got id {number}.", place=place
        )
    picture, size = images[number]
    order = orders.get(entry.get("category_id", -1), list(range(len(points))))
    given = lists.flat_points(entry["keypoints"], "keypoints", place)
    if len(given) != len(order):
        raise CapbenchError(
            f"Expected {len(order)} points of {points.name}, got {len(given)}.",
            place=place,
            fix="say which skeleton the file uses",
        )
    marks = np.zeros((len(points), 3))
    marks[order] = given
    labelled = np.isfinite(marks).all(axis=1) & (marks[:, 2] > 0)
    visible = np.where(labelled, np.clip(np.nan_to_num(marks[:, 2]), 1, 2), 0).astype(np.uint8)
    box = _box(entry, place) if "bbox" in entry else from_points(marks[:, :2], labelled)
    small = not np.isfinite(box).all() or float((box[2:] - box[:2]).max()) < SMALLEST
    if small or labelled.sum() < FEWEST:
        return None
    if np.abs(marks[labelled, :2]).max() > 10 * SIDE_LIMIT:
        raise CapbenchError("Expected points in or near the picture.", place=place)
    return Annotated(picture, size, box, np.where(labelled[:, None], marks[:, :2], 0.0), visible)


def _box(entry: Mapping[Any, Any], place: str) -> FloatArray:
    """(4,) x0 y0 x1 y1 of a box x y width height."""
    x, y, width, height = (
        lists.finite(v, "bbox", place)
        for v in _four(lists.need_list(entry["bbox"], "bbox to be a list", place), place)
    )
    if max(abs(x), abs(y), width, height) > 10 * SIDE_LIMIT or min(width, height) < 0:
        raise CapbenchError("Expected a bbox (x, y, width, height) in or near the picture.", place=place)
    return np.array([x, y, x + max(width, 1.0), y + max(height, 1.0)])


def _four(values: list[Any], place: str) -> list[Any]:
    if len(values) != 4:
        raise CapbenchError(f"Expected a bbox of four numbers, got {len(values)}.", place=place)
    return values


# --- pictures -------------------------------------------------------------------------------------


def read_picture(path: Path, size: tuple[int, int]) -> Pictures:
    """(h, w, 3) RGB of a JPEG or PNG that must be of ``size``; turned by no tag that it carries."""
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            f"Reading pictures needs OpenCV, which can't be imported ({error}).",
            fix="pip install 'opencv-python-headless>=4.10,<6'",
        ) from error
    data = read_bytes(path, PICTURE_LIMIT)
    found = stated_size(data)
    if found is None:
        raise CapbenchError("Expected a JPEG or PNG picture, got something else.", file=path)
    if found != size:
        raise CapbenchError(
            f"Expected the picture of {size[0]} x {size[1]} that the annotations are of, got {found[0]} x "
            f"{found[1]}.",
            file=path,
        )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None or picture.shape != (size[1], size[0], 3):
        raise CapbenchError("Expected a whole picture, got a damaged one.", file=path)
    return np.asarray(np.ascontiguousarray(picture[..., ::-1]), np.uint8)


def stated_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that a JPEG's or PNG's first bytes state, without unpacking it; None for others."""
    if len(data) >= 24 and data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    for _ in range(SEGMENTS):
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        kind = data[at + 1]
        if kind == 0xFF:  # fill
            at += 1
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a frame's header
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
