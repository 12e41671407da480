"""Recordings as the outputs of units: keypoints, markers, motions and models, to arrays and back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from capbench.biomech.model import Model
from capbench.biomech.osim import read_model
from capbench.biomech.osim_write import write_model
from cohorts.recording import Keypoints, Kind, Markers, Motion
from cohorts.skeleton import Skeleton, skeleton, skeleton_names

Arrays = dict[str, NDArray[Any]]
_PER_FRAME = ("covariance", "frames", "score")


def put_tracks(tracks: Mapping[str, Keypoints]) -> tuple[Arrays, Any]:
    """Keypoints by camera as arrays, and what is about them."""
    arrays: Arrays = {}
    told = []
    for i, (camera, track) in enumerate(tracks.items()):
        arrays |= {f"{i}.time": track.time, f"{i}.xy": track.xy, f"{i}.confidence": track.confidence}
        for name in _PER_FRAME:
            if getattr(track, name) is not None:
                arrays[f"{i}.{name}"] = getattr(track, name)
        told.append({"camera": camera, "person": track.person, "skeleton": tell_skeleton(track.skeleton)})
    return arrays, told


def get_tracks(arrays: Mapping[str, NDArray[Any]], told: Sequence[Mapping[str, Any]]) -> dict[str, Keypoints]:
    """What :func:`put_tracks` was given."""
    found = {}
    for i, one in enumerate(told):
        rest = {name: arrays[f"{i}.{name}"] for name in _PER_FRAME if f"{i}.{name}" in arrays}
        found[one["camera"]] = Keypoints(
            one["camera"],
            arrays[f"{i}.time"],
            arrays[f"{i}.xy"],
            get_skeleton(one["skeleton"]),
            arrays[f"{i}.confidence"],
            one["person"],
            **rest,
        )
    return found


def tell_skeleton(points: Skeleton) -> Any:
    """A built-in skeleton's name, or all of another one."""
    if points.name in skeleton_names() and skeleton(points.name) == points:
        return points.name
    return {
        "name": points.name,
        "points": list(points.points),
        "landmarks": list(points.landmarks),
        "flip_pairs": [list(pair) for pair in points.flip_pairs],
    }


def get_skeleton(told: Any) -> Skeleton:
    """What :func:`tell_skeleton` was given."""
    if isinstance(told, str):
        return skeleton(told)
    pairs = tuple((a, b) for a, b in told["flip_pairs"])
    return Skeleton(told["name"], tuple(told["points"]), tuple(told["landmarks"]), flip_pairs=pairs)


def put_markers(markers: Markers) -> tuple[Arrays, Any]:
    """Markers as arrays, and their names."""
    return {"time": markers.time, "xyz": markers.xyz, "confidence": markers.confidence}, list(markers.names)


def get_markers(arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Markers:
    """What :func:`put_markers` was given."""
    return Markers(arrays["time"], tuple(names), arrays["xyz"], arrays["confidence"])


def put_motion(motion: Motion) -> tuple[Arrays, Any]:
    """A motion as arrays, and its names."""
    told = {"names": list(motion.names), "kinds": list(motion.kinds), "coupled": list(motion.coupled)}
    return {"time": motion.time, "values": motion.values}, told


def get_motion(arrays: Mapping[str, NDArray[Any]], told: Mapping[str, Any]) -> Motion:
    """What :func:`put_motion` was given."""
    kinds = cast("tuple[Kind, ...]", tuple(told["kinds"]))
    return Motion(arrays["time"], tuple(told["names"]), arrays["values"], kinds, tuple(told["coupled"]))


def put_model(model: Model) -> NDArray[np.uint8]:
    """A musculoskeletal model as the bytes of its .osim."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.osim"
        write_model(model, path)
        return np.frombuffer(path.read_bytes(), np.uint8)


def get_model(osim: NDArray[np.uint8]) -> Model:
    """What :func:`put_model` was given."""
    with model_file(osim) as path:
        return read_model(path)


@contextmanager
def model_file(osim: NDArray[np.uint8]) -> Iterator[Path]:
    """A file of those bytes, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.osim"
        path.write_bytes(osim.tobytes())
        yield path
