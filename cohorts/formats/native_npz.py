"""capbench's own .npz: keypoints of any number of people and cameras, markers, or a motion, bit for bit.

The array ``capbench`` holds the version of the layout and what the file holds. Keypoint tracks are
numbered: ``0.xy``, ``0.confidence``, …, ``1.xy``, …. Numbers are float64 and names are text: no pickles.
The same content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import NPZ_FREE, NPZ_RATIO, about, load_npz, replacing
from cohorts.errors import CapbenchError
from cohorts.recording import Keypoints, Kind, Markers, Motion
from cohorts.skeleton import Skeleton, skeleton, skeleton_names
from cohorts.values import FloatArray

VERSION = "1"
TRACK_LIMIT = 100_000
Arrays = Mapping[str, NDArray[Any]]


def recognise(content: Any) -> bool:
    """Whether the arrays of an .npz are capbench's own."""
    return isinstance(content, dict) and "capbench" in content


def read(path: Path, *, notes: list[str] | None = None) -> tuple[Keypoints, ...] | Markers | Motion:
    """What a capbench .npz holds; a tuple of tracks for keypoints."""
    objects: list[str] = []
    arrays = load_npz(path, objects)
    if objects and notes is not None:
        notes.append(f"not read (no plain numbers or text): {', '.join(objects)}")
    with about(path):
        version, holds = _texts(arrays, "capbench", 2)
        if version != VERSION:
            raise CapbenchError(
                f"Expected layout version {VERSION}, got {version[:20]!r}.",
                fix="update capbench: a newer one wrote this file",
            )
        if holds == "keypoints":
            return _keypoints(arrays)
        if holds == "markers":
            return Markers(
                _numbers(arrays, "time"),
                _texts(arrays, "names"),
                _numbers(arrays, "xyz"),
                _numbers(arrays, "confidence"),
            )
        if holds == "motion":
            return Motion(
                _numbers(arrays, "time"),
                _texts(arrays, "names"),
                _numbers(arrays, "values"),
                cast("tuple[Kind, ...]", _texts(arrays, "kinds")),
                _texts(arrays, "coupled"),
            )
        raise CapbenchError(f"Expected keypoints, markers or motion, got {holds[:40]!r}.")


def _keypoints(arrays: Arrays) -> tuple[Keypoints, ...]:
    tracks: list[Keypoints] = []
    while f"{len(tracks)}.xy" in arrays:
        i = len(tracks)
        camera, person, name = _texts(arrays, f"{i}.about", 3)
        tracks.append(
            Keypoints(
                camera=camera,
                time=_numbers(arrays, f"{i}.time"),
                xy=_numbers(arrays, f"{i}.xy"),
                skeleton=_skeleton(name, _texts(arrays, f"{i}.points")),
                confidence=_numbers(arrays, f"{i}.confidence"),
                person=person,
                covariance=_optional(arrays, f"{i}.covariance"),
                frames=_whole(arrays, f"{i}.frames"),
                score=_optional(arrays, f"{i}.score"),
            )
        )
    if not tracks:
        raise CapbenchError("Expected at least one track of keypoints (0.xy), got none.")
    return tuple(tracks)


def _skeleton(name: str, points: tuple[str, ...]) -> Skeleton:
    """The built-in skeleton of that name, which must have these points; else a bare one of that name."""
    if name not in skeleton_names():
        return Skeleton(name, points)
    built_in = skeleton(name)
    if built_in.points != points:
        raise CapbenchError(
            f"Expected the points of skeleton {name}, got others ({len(points)} instead of {len(built_in)}, "
            "or in another order).",
            fix="give your own skeleton a name of its own",
        )
    return built_in


def _array(arrays: Arrays, key: str, kinds: str, what: str) -> NDArray[Any]:
    if key not in arrays:
        raise CapbenchError(f"Expected the array {key!r}, got none.")
    array = arrays[key]
    if array.dtype.kind not in kinds:
        raise CapbenchError(f"Expected {what}, got {array.dtype}.", place=f"array {key}")
    return array


def _numbers(arrays: Arrays, key: str) -> FloatArray:
    return _array(arrays, key, "iuf", "numbers").astype(np.float64)


def _optional(arrays: Arrays, key: str) -> FloatArray | None:
    return _numbers(arrays, key) if key in arrays else None


def _whole(arrays: Arrays, key: str) -> NDArray[np.int64] | None:
    return _array(arrays, key, "i", "whole numbers").astype(np.int64) if key in arrays else None


def _texts(arrays: Arrays, key: str, count: int | None = None) -> tuple[str, ...]:
    array = _array(arrays, key, "U", "text")
    if array.ndim != 1 or (count is not None and len(array) != count):
        wanted = "a list of texts" if count is None else f"{count} texts"
        raise CapbenchError(f"Expected {wanted}, got shape {array.shape}.", place=f"array {key}")
    return tuple(array.tolist())


# --- writing ------------------------------------------------------------------------------------


def write(
    path: Path, value: Keypoints | Sequence[Keypoints] | Markers | Motion, *, overwrite: bool = False
) -> None:
    """Write keypoints (one track or several), markers or a motion; reading gives back an equal value.

    Of a skeleton that is not built in, only its name and its points are kept.
    """
    with about(path):
        holds, arrays = _arrays(value)
    arrays = {"capbench": np.array([VERSION, holds]), **arrays}
    with replacing(path, overwrite=overwrite) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        size = sum(array.nbytes + 1000 for array in arrays.values())
        if size > max(NPZ_FREE, NPZ_RATIO * temporary.stat().st_size):
            with temporary.open("wb") as file:  # packed this tightly, it would be refused as a bomb
                np.savez(file, allow_pickle=False, **arrays)


def _arrays(value: Any) -> tuple[str, dict[str, NDArray[Any]]]:
    if isinstance(value, Markers):
        return "markers", {
            "time": value.time,
            "names": _text_array(value.names),
            "xyz": value.xyz,
            "confidence": value.confidence,
        }
    if isinstance(value, Motion):
        return "motion", {
            "time": value.time,
            "names": _text_array(value.names),
            "values": value.values,
            "kinds": _text_array(value.kinds),
            "coupled": _text_array(value.coupled),
        }
    tracks = (value,) if isinstance(value, Keypoints) else tuple(value)
    if not 0 < len(tracks) <= TRACK_LIMIT or not all(isinstance(t, Keypoints) for t in tracks):
        raise CapbenchError("Expected keypoints, markers or a motion to write.")
    arrays: dict[str, NDArray[Any]] = {}
    for i, track in enumerate(tracks):
        _skeleton(track.skeleton.name, track.skeleton.points)  # refuses what could not be read back
        arrays |= {
            f"{i}.about": _text_array((track.camera, track.person, track.skeleton.name)),
            f"{i}.points": _text_array(track.skeleton.points),
            f"{i}.time": track.time,
            f"{i}.xy": track.xy,
            f"{i}.confidence": track.confidence,
        }
        for name in ("covariance", "frames", "score"):
            if getattr(track, name) is not None:
                arrays[f"{i}.{name}"] = getattr(track, name)
    return "keypoints", arrays


def _text_array(texts: Sequence[str]) -> NDArray[np.str_]:
    for text in texts:
        if text.endswith("\0"):
            raise CapbenchError(f"Expected names that don't end in NUL, got {text!r}.")
    return np.array(texts, dtype=np.str_)
