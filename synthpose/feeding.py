"""Batches for a training: which pictures make up each step, made ready ahead of it.

Everything about a step's batch follows from the recipe's seed and the step's number, so a training that goes
on after a kill sees what it would have seen, whatever number of threads prepare batches.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cohorts.bounded import replacing
from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton, skeleton

if TYPE_CHECKING:
    from synthpose.train_recipe import TrainRecipe

HIDDEN, SEEN = 1, 2  #: what visibility says of a point inside the picture


class Batch(NamedTuple):
    """Pictures (n, h, w, 3) uint8 RGB, points (n, K, 2) float32 in their pixels, weight (n, K) float32."""

    pictures: NDArray[np.uint8]
    points: NDArray[np.float32]
    weight: NDArray[np.float32]


class Source(Protocol):
    """Pictures by number, such as ``synthpose.shards.Shards``.

    ``skeleton`` names the points. ``batch`` gives pictures, points, and for each point either its visibility
    (uint8: 2 seen, 1 hidden, 0 outside or not labelled) or its weight (floats). A number may repeat.
    """

    @property
    def skeleton(self) -> Skeleton:
        """Whose points it gives."""
        ...

    def __len__(self) -> int: ...

    def batch(self, numbers: NDArray[np.int64], /) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
        """Pictures, points and visibility or weight of these numbers."""
        ...


@dataclass(frozen=True)
class Held:
    """A source whose pictures all lie in memory, or unpacked in a file: decoded once, not once a step."""

    skeleton: Skeleton
    pictures: NDArray[np.uint8]
    points: NDArray[np.float32]
    visible: NDArray[Any]
    file: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """What worker processes get: the file instead of its gigabytes."""
        if self.file is None:
            return Held, (self.skeleton, self.pictures, self.points, self.visible)
        return _mapped, (self.skeleton, self.points, self.visible, self.file)

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, numbers: NDArray[np.int64], /) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
        """See :class:`Source`."""
        return self.pictures[numbers], self.points[numbers], self.visible[numbers]


def held(source: Source, file: Path | None = None) -> Held:
    """Everything of a source, read from its first picture to its last.

    With ``file`` the pictures are unpacked into that .npy, which several processes share; one that is there
    is replaced, and who reads it goes on with the old one.
    """
    if file is None:
        return _read(source, lambda shape: np.empty(shape, np.uint8))
    with replacing(file, overwrite=True) as path:
        found = _read(source, lambda shape: np.lib.format.open_memmap(path, "w+", np.uint8, shape))
    return _mapped(found.skeleton, found.points, found.visible, file)


def _read(source: Source, room: Callable[[tuple[int, ...]], NDArray[np.uint8]]) -> Held:
    points, visible = [], []
    pictures: NDArray[np.uint8] | None = None
    for k in range(0, len(source), 256):
        some, at, seen = source.batch(np.arange(k, min(k + 256, len(source))))
        if pictures is None:
            pictures = room((len(source), *some.shape[1:]))
        pictures[k : k + len(some)] = some
        points.append(at.astype(np.float32))
        visible.append(seen)
    if pictures is None:
        raise CapbenchError("Expected pictures to train on, got none.")
    if isinstance(pictures, np.memmap):
        pictures.flush()
    return Held(source.skeleton, pictures, np.concatenate(points), np.concatenate(visible))


def _mapped(skeleton: Skeleton, points: NDArray[np.float32], visible: NDArray[Any], file: Path) -> Held:
    return Held(skeleton, np.load(file, mmap_mode="r"), points, visible, file)


@dataclass(frozen=True)
class Labelled:
    """A folder of ``synthpose.shards`` as a source whose points are seen, hidden or outside."""

    shards: Any

    @property
    def skeleton(self) -> Skeleton:
        """Whose points the folder has."""
        return skeleton("synthpose-52")

    def __len__(self) -> int:
        return len(self.shards)

    def batch(self, numbers: NDArray[np.int64], /) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
        """See :class:`Source`."""
        found: tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]] = self.shards.labelled(numbers)
        return found


def chosen(given: Skeleton, wanted: Skeleton) -> list[int]:
    """Which of ``given``'s points are ``wanted``'s, by landmark."""
    found = given.map_to(wanted)
    if len(found.exact) != len(wanted):
        lacking = [point for point in wanted.points if point not in found.exact]
        raise CapbenchError(
            f"Expected pictures with all points of {wanted.name}, but those of {given.name} lack "
            f"{', '.join(lacking[:4])}.",
            fix="train a skeleton whose points they have, or mix in a source that labels them",
        )
    return [given.index(found.exact[point]) for point in wanted.points]


@dataclass
class Order:
    """Which of ``count`` pictures step s is made of: all of them once, in chance order, then again.

    Process ``rank`` of ``world`` takes its share of each step's ``batch``.
    """

    count: int
    batch: int
    seed: int
    rank: int = 0
    world: int = 1
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def __call__(self, step: int) -> NDArray[np.int64]:
        """(batch / world,) numbers."""
        places = step * self.batch + np.arange(self.rank, self.batch, self.world)
        return np.array([self._epoch(int(p) // self.count)[int(p) % self.count] for p in places])

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        orders = self._orders  # several threads may ask: replaced as a whole, never changed
        if epoch not in orders:
            made = np.random.default_rng([self.seed, 1, epoch]).permutation(self.count)
            orders = {k: v for k, v in orders.items() if abs(k - epoch) <= 1} | {epoch: made}
            self._orders = orders
        return orders[epoch]


@dataclass
class Feed:
    """A recipe's batches by step."""

    recipe: TrainRecipe
    source: Source
    order: Order

    def __post_init__(self) -> None:
        from synthpose.augment import Augmenter

        how = self.recipe.augment
        self.augment = None if how is None else Augmenter(how, self.source.skeleton)
        self.columns = chosen(self.source.skeleton, self.recipe.points)
        points = self.source.skeleton.points
        own = self.recipe.loss.points
        self.by_point = np.array([own.get(name, 1.0) for name in self.recipe.points.points], np.float32)
        self._all = self.columns == list(range(len(points)))

    def __call__(self, step: int) -> Batch:
        """The batch of a step: of this process, with this recipe's points and weights, augmented."""
        made = self.plain(self.order(step))
        if self.augment is not None:
            made = self.augment(made, np.random.default_rng([self.recipe.seed, 2, step, self.order.rank]))
        points, weight = made.points, made.weight
        if not self._all:
            points, weight = points[:, self.columns], weight[:, self.columns]
        return Batch(made.pictures, points, weight * self.by_point)

    def plain(self, numbers: NDArray[np.int64]) -> Batch:
        """Pictures as they are, with all points of the source."""
        pictures, points, given = self.source.batch(numbers)
        pictures, points = fewer(pictures, np.asarray(points, np.float32), self.recipe.network.input_size)
        weight = weights(given, hidden=self.recipe.loss.hidden)
        usable = np.asarray(np.isfinite(points).all(-1))
        return Batch(pictures, np.where(usable[..., None], points, 0), np.where(usable, weight, 0))


def fewer(
    pictures: NDArray[np.uint8], points: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Pictures of ``size``, whose pixels are means of blocks of those given, and their points.

    A network may so learn from coarse pictures first, which takes a quarter of the time.
    """
    import cv2

    _, height, width, _ = pictures.shape
    if (width, height) == size:
        return pictures, points
    by = width // size[0]
    if (width, height) != (by * size[0], by * size[1]):
        raise CapbenchError(
            f"Expected pictures of {size[0]} x {size[1]} pixels or of a multiple, got {width} x {height}."
        )
    made = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
    return made.astype(np.uint8), (points + 0.5) / by - 0.5


def weights(given: NDArray[Any], *, hidden: float) -> NDArray[np.float32]:
    """Weights of points from their visibility; weights stay as they are."""
    if given.dtype.kind in "ui":
        return np.where(given >= SEEN, 1, np.where(given == HIDDEN, hidden, 0)).astype(np.float32)
    return given.astype(np.float32)


T = TypeVar("T")


def ahead(make: Callable[[int], T], steps: Iterable[int], *, workers: int, depth: int) -> Generator[T]:
    """``make`` of each step in order, up to ``depth`` of them made beforehand by so many threads.

    An error of ``make`` is raised where its step is due.
    """
    if not workers:
        yield from map(make, steps)
        return
    rest = iter(steps)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="feed")
    waiting: deque[Future[T]] = deque()
    try:
        for step in rest:
            waiting.append(pool.submit(make, step))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead_in_processes(feed: Feed, steps: range, *, workers: int, depth: int) -> Generator[Batch]:
    """Likewise by worker processes, for pictures that take much of Python to prepare."""
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _BySteps(feed, steps),  # type: ignore[arg-type]  # all that is asked of it
        batch_size=None,
        num_workers=workers,
        prefetch_factor=max(1, depth // workers),
        multiprocessing_context="spawn",
        collate_fn=_shared,
    )
    for made in loader:
        yield Batch(*(part.numpy() for part in made))


def _shared(batch: Any) -> Any:
    """A batch as tensors, which a worker hands over in shared memory; arrays would go through a pipe."""
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in batch)


@dataclass
class _BySteps:
    feed: Feed
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: int) -> Batch:
        return self.feed(self.steps[place])


class Waiting:
    """Measures how long a loop waits for what it iterates over."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterator[T]) -> Iterator[T]:
        """``items``, the time until each added to ``seconds``."""
        while True:
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - start
            yield item
