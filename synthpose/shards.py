"""Training pictures on disk: shards that any number of workers makes alike, and what reads them.

A folder holds ``shard-00000.npz``, … and ``manifest.json``, which is written last and names the recipe and
each shard's SHA-256. Pictures are kept as the JPEGs that the shots are. A shard appears whole or not at all,
so a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from cohorts.bounded import load_json, load_npz, read_bytes, replacing, write_text
from cohorts.errors import CapbenchError, EnvironmentFault
from synthpose.data_recipe import DataRecipe
from synthpose.render import Float32Array
from synthpose.shots import POINTS, SEEN, Shot, decoded, draw_shot

MANIFEST = "manifest.json"
LAYOUT = "capbench training pictures 1"
ABOUT = 1024  #: pictures in a shard, or nearly: whole people
SHARD_LIMIT = 2**31  #: bytes
MOST = 10_000_000  #: pictures
HELD = 8  #: shards that a reader keeps in memory
#: weight of a point by its visibility: ``shots.OUTSIDE``, ``HIDDEN``, ``SEEN``
WEIGHTS = np.array([0.0, 1.0, 1.0], np.float32)
KINDS = {"jpeg": "u", "ends": "i", "points": "f", "visible": "u"}  #: of the numbers of a shard's arrays
Pictures = NDArray[np.uint8]
Told = Callable[[str], None]


def per_shard(data: DataRecipe) -> int:
    """Pictures in a whole shard."""
    return data.shots_per_person * max(1, ABOUT // data.shots_per_person)


def shard_name(number: int) -> str:
    """Of the file."""
    return f"shard-{number:05d}.npz"


# --- planning -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """What a set of pictures will take on this machine.

    Attributes
    ----------
    pictures, shards, people : how many
    gigabytes, hours : on disk, and with that many workers
    rate : pictures/s of one worker
    """

    pictures: int
    shards: int
    people: int
    gigabytes: float
    hours: float
    rate: float


def plan(data: DataRecipe, *, count: int, workers: int = 1, sample: int = 24) -> Planned:
    """What ``count`` pictures will take, from making ``sample`` of them now (a few seconds).

    The sample tells what a picture and what a person costs; motions, which each worker makes once, too.
    """
    from synthpose.shots import studio

    _check_count(count)
    made = studio(data)
    began = time.process_time()
    made.session(0)
    ready = time.process_time()
    shots = [made.shot(k) for k in range(min(sample, data.shots_per_person))]
    each = (time.process_time() - ready) / len(shots)
    again = time.process_time()
    made.session(0 if count <= data.shots_per_person else 1)
    person = time.process_time() - again
    motions = min(len(made.library.names), data.motions_per_person + 1)
    library = max(ready - began - person, 0.0) / motions * len(made.library.names)
    people = -(-count // data.shots_per_person)
    seconds = library + (people * person + count * each) / workers
    held = float(np.mean([len(s.jpeg) for s in shots])) + 9.0 * len(POINTS)
    return Planned(count, -(-count // per_shard(data)), people, count * held / 1e9, seconds / 3600, 1 / each)


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST:
        raise CapbenchError(f"Expected 1 to {MOST} pictures, got {count}.")


# --- writing --------------------------------------------------------------------------------------


def write_shards(
    data: DataRecipe, folder: Path, *, count: int, workers: int = 1, told: Told | None = None
) -> Shards:
    """Make the first ``count`` pictures of a recipe in ``folder``; shards that are there already stay.

    Shots that are there may be more than asked for, never of another recipe. ``told`` hears of each shard.
    """
    _check_count(count)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"Can't be written: {error.strerror}.", file=folder) from error
    whole = per_shard(data)
    wanted = [(k, min(whole, count - k * whole)) for k in range(-(-count // whole))]
    missing = [(k, n) for k, n in wanted if not _is_there(data, folder, k, n)]
    if told is not None and len(missing) < len(wanted):
        told(f"{len(wanted) - len(missing)} of {len(wanted)} shards are there already")
    began = time.monotonic()
    for done, number in enumerate(_make_all(data, folder, missing, workers), 1):
        if told is not None:
            rate = sum(n for _, n in missing) * done / len(missing) / (time.monotonic() - began)
            told(f"{shard_name(number)}: {done} of {len(missing)}, {rate:.0f} pictures/s")
    manifest = {
        "layout": LAYOUT,
        "recipe": json.loads(data.model_dump_json()),
        "recipe_sha256": data.digest,
        "made_with": {name: version(name) for name in ("numpy", "opencv-python-headless")},
        "points": list(POINTS),
        "count": count,
        "shards": [
            {"file": shard_name(k), "pictures": n, "sha256": _sha256(folder / shard_name(k))}
            for k, n in wanted
        ],
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n", overwrite=True)
    return Shards(folder)


def _make_all(data: DataRecipe, folder: Path, missing: Sequence[tuple[int, int]], workers: int) -> Any:
    whole = per_shard(data)
    if workers <= 1 or len(missing) < 2:
        for number, count in missing:
            yield make_shard(data, folder, number, number * whole, count)
        return
    # spawned, not forked: a fork of a process with threads may stop
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        jobs = [
            pool.submit(make_shard, data, folder, number, number * whole, count) for number, count in missing
        ]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:  # after a failure the rest is not waited for
            pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    """Workers share the cores already."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import cv2

    cv2.setNumThreads(1)


def make_shard(data: DataRecipe, folder: Path, number: int, first: int, count: int) -> int:
    """Write one shard of ``count`` pictures from shot ``first`` on; returns its number."""
    shots = [draw_shot(data, first + k) for k in range(count)]
    with replacing(folder / shard_name(number), overwrite=True) as path, path.open("wb") as file:
        np.savez(file, allow_pickle=False, **_arrays(data, shots))
    return number


def _arrays(data: DataRecipe, shots: Sequence[Shot]) -> dict[str, NDArray[Any]]:
    return {
        "recipe": np.array([data.digest]),
        "jpeg": np.frombuffer(b"".join(s.jpeg for s in shots), np.uint8),
        "ends": np.cumsum([len(s.jpeg) for s in shots]),
        "points": np.stack([s.points for s in shots]),
        "visible": np.stack([s.visible for s in shots]),
        "condition": np.array([s.condition for s in shots]),
        "person": np.array([s.person for s in shots]),
    }


def _is_there(data: DataRecipe, folder: Path, number: int, count: int) -> bool:
    path = folder / shard_name(number)
    if not path.exists():
        return False
    arrays = load_npz(path)
    recipe = str(arrays["recipe"][0]) if arrays.get("recipe", np.empty(0)).size else "none"
    if recipe != data.digest:
        raise CapbenchError(
            f"Expected a shard of the recipe {data.digest[:12]}, got one of {recipe[:12]}.",
            file=path,
            fix="choose another folder",
        )
    return len(arrays.get("ends", ())) == count


def version(package: str) -> str:
    """Of an installed package; a JPEG's bytes may depend on it."""
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "unknown"


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, SHARD_LIMIT)).hexdigest()


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Held:
    """One shard in memory."""

    jpeg: Pictures
    ends: NDArray[np.int64]
    points: Float32Array
    visible: Pictures

    def picture(self, k: int) -> Pictures:
        """(h, w, 3) RGB."""
        start = int(self.ends[k - 1]) if k else 0
        return decoded(self.jpeg[start : int(self.ends[k])].tobytes())


class Shards:
    """The pictures of a folder, by number.

    ``points`` are the names of the columns; ``data`` is the recipe that made them.
    """

    def __init__(self, folder: Path, *, check: bool = False) -> None:
        """``check``: compare every shard's SHA-256 with the manifest's."""
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        manifest = load_json(path)
        try:
            if manifest["layout"] != LAYOUT:
                raise KeyError("layout")
            self.data = DataRecipe.model_validate(manifest["recipe"])
            self.points = tuple(str(p) for p in manifest["points"])
            files = [(str(s["file"]), int(s["pictures"]), str(s["sha256"])) for s in manifest["shards"]]
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise CapbenchError(
                f"Expected a manifest of training pictures, got something else ({error!s:.80}).",
                file=path,
            ) from None
        if any(name != shard_name(k) or not 0 < n <= MOST for k, (name, n, _) in enumerate(files)):
            raise CapbenchError("Expected shards in their order.", file=path)
        self.starts = np.cumsum([0, *(n for _, n, _ in files)])
        self.sha256 = {name: digest for name, _, digest in files}
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._lock = Lock()
        if check:
            self.check()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def check(self) -> None:
        """Refuse shards that are not what the manifest says."""
        for name, digest in self.sha256.items():
            if _sha256(self.folder / name) != digest:
                raise CapbenchError(
                    "Expected the shard that the manifest names, got other bytes.",
                    file=self.folder / name,
                    fix="delete it and make it anew",
                )

    def batch(self, indices: ArrayLike) -> tuple[Pictures, Float32Array, Float32Array]:
        """Pictures (n, h, w, 3) RGB, points (n, K, 2) pixels and weights (n, K): 0 for points outside."""
        pictures, points, visible = self.labelled(indices)
        return pictures, points, WEIGHTS[visible]

    def labelled(self, indices: ArrayLike) -> tuple[Pictures, Float32Array, Pictures]:
        """As ``batch``, with (n, K) visibility: 2 seen, 1 hidden, 0 outside."""
        wanted = np.asarray(indices, np.int64).ravel()
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise CapbenchError(f"Expected numbers from 0 to {len(self) - 1}.", file=self.folder)
        width, height = self.data.size
        count = len(self.points)
        pictures = np.empty((len(wanted), height, width, 3), np.uint8)
        points = np.empty((len(wanted), count, 2), np.float32)
        visible = np.empty((len(wanted), count), np.uint8)
        shard = np.searchsorted(self.starts, wanted, side="right") - 1
        for number in np.unique(shard).tolist():
            held = self._shard(number)
            for row in np.flatnonzero(shard == number).tolist():
                k = int(wanted[row] - self.starts[number])
                picture = held.picture(k)
                if picture.shape != pictures.shape[1:]:
                    raise CapbenchError(
                        f"Expected pictures of {width} x {height}, got {picture.shape[1]} x "
                        f"{picture.shape[0]}.",
                        file=self.folder / shard_name(number),
                    )
                pictures[row], points[row], visible[row] = picture, held.points[k], held.visible[k]
        return pictures, points, visible

    def _shard(self, number: int) -> _Held:
        with self._lock:  # several threads may ask
            if number not in self._held:
                while len(self._held) >= HELD:
                    self._held.popitem(last=False)
                self._held[number] = self._read(number)
            self._held.move_to_end(number)
            return self._held[number]

    def _read(self, number: int) -> _Held:
        path = self.folder / shard_name(number)
        arrays = load_npz(path)
        count, points = int(self.starts[number + 1] - self.starts[number]), len(self.points)
        shapes = {"points": (count, points, 2), "visible": (count, points), "ends": (count,)}
        for name in ("jpeg", *shapes):
            array = arrays.get(name, np.empty(0))
            shape = shapes.get(name, (array.size,))
            if name not in arrays or array.shape != shape or array.dtype.kind != KINDS[name]:
                raise CapbenchError(
                    f"Expected {name} of shape {shape}, numbers of kind {KINDS[name]}, got {array.shape}, "
                    f"{array.dtype}.",
                    file=path,
                )
        ends, jpeg = arrays["ends"].astype(np.int64), arrays["jpeg"].astype(np.uint8, copy=False)
        if (np.diff(ends, prepend=0) <= 0).any() or ends[-1] > jpeg.size:
            raise CapbenchError("Expected pictures one after the other.", file=path)
        visible = np.minimum(arrays["visible"].astype(np.uint8, copy=False), np.uint8(SEEN))
        return _Held(jpeg, ends, arrays["points"].astype(np.float32, copy=False), visible)
