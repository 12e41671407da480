"""What ``capbench synthpose`` trains on: pictures made by a recipe, those of the user, both mixed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cohorts.errors import CapbenchError, unknown_name
from cohorts.skeleton import Skeleton

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synthpose.feeding import Source
    from synthpose.shards import Shards
    from synthpose.train_recipe import Mixture, TrainRecipe

UNPACKED = "unpacked.npy"  #: pictures as worker processes read them
HELD = 2 << 30  #: bytes of decoded pictures up to which all are kept in memory
TRIED = 6.0  #: seconds that training is tried for, to tell how long it will take


def pictures_folder(recipe: TrainRecipe) -> Path:
    """Where a recipe's pictures lie unless told otherwise: in the cache, by what they follow from."""
    from capbench.run.reference import cache_folder

    assert recipe.data is not None
    return cache_folder() / "pictures" / recipe.data.digest[:16]


def pictures(recipe: TrainRecipe, folder: Path | None, *, workers: int, quiet: bool) -> Shards:
    """The recipe's pictures: those in ``folder``, or made now; what is there already stays."""
    from synthpose.shards import MANIFEST, Shards, write_shards

    if recipe.data is None:
        raise CapbenchError(
            f"Expected a recipe that makes pictures, got {recipe.name} without data.",
            fix="add data: and pictures: to the recipe",
        )
    if folder is not None and (folder / MANIFEST).is_file():
        found = Shards(folder)
        if len(found) >= recipe.pictures and found.data == recipe.data:
            return found
    place = pictures_folder(recipe) if folder is None else folder
    if not recipe.pictures:
        raise CapbenchError(f"Expected pictures: in the recipe {recipe.name}, got none.", fix="--pictures N")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # one process makes them, beforehand
        return Shards(place)
    told = (lambda _: None) if quiet else _say
    return write_shards(recipe.data, place, count=recipe.pictures, workers=workers, told=told)


def _say(words: str) -> None:
    import click

    click.echo(f"pictures: {words}", err=True)


@dataclass(frozen=True)
class Noise:
    """Pictures of noise with points anywhere: enough to tell how fast a training runs."""

    skeleton: Skeleton
    size: tuple[int, int]

    def __len__(self) -> int:
        return 4096

    def batch(self, numbers: NDArray[np.int64], /) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
        """Pictures, points and visibility."""
        random = np.random.default_rng(0)
        width, height = self.size
        shape = (len(numbers), len(self.skeleton))
        made = random.integers(0, 256, (len(numbers), height, width, 3), dtype=np.uint8)
        points = (random.random((*shape, 2)) * self.size).astype(np.float32)
        return made, points, np.full(shape, 2, np.uint8)


def samples_of(recipe: TrainRecipe) -> int | None:
    """Pictures that a training sees, with repetition; None where it depends on how many the user has."""
    if recipe.samples is None and any(one.kind == "coco" for one in recipe.sources.values()):
        return None
    return recipe.steps(max(1, recipe.pictures - recipe.checks.shots)) * recipe.batch


def training_speed(recipe: TrainRecipe, *, device: str, seconds: float = TRIED) -> float:
    """Samples/s of a training like this one, tried for a few seconds on noise."""
    import tempfile

    from synthpose.train import train

    checks = recipe.checks.model_copy(update={"every": 10**9, "log": 1, "shots": 0})
    changes = {"checks": checks, "samples": 10**9, "epochs": None}
    tried = recipe.model_copy(update=changes)
    rates: list[float] = []

    def told(entry: Mapping[str, Any]) -> None:
        rates.append(float(entry["samples_per_second"]))

    with tempfile.TemporaryDirectory() as folder:
        source = Noise(recipe.points, recipe.network.input_size)
        train(tried, Path(folder) / "tried", data=source, device=device, seconds=seconds, told=told)
    return float(np.median(rates[len(rates) // 3 :]))  # the first steps prepare what the others use


# --- as a training takes them ---------------------------------------------------------------------


class Gathered(NamedTuple):
    """All pictures of a training.

    Attributes
    ----------
    source : to train on
    held_out : to look at instead of the source's last ones; a mixture's
    sha256 : of what they follow from
    """

    source: Source
    held_out: Source | None
    sha256: str


def gathered(
    recipe: TrainRecipe,
    folder: Path | None,
    given: Mapping[str, tuple[Path, Path]],
    *,
    workers: int,
    quiet: bool,
) -> Gathered:
    """A recipe's pictures: those it makes, or its sources mixed.

    Parameters
    ----------
    folder : where made pictures lie or are put; None: in the cache
    given : name of a source -> its file of annotations and its folder of pictures
    """
    from synthpose.mixing import Mixed, Part
    from synthpose.train_recipe import digest

    for name in given:
        if name not in recipe.sources or recipe.sources[name].kind != "coco":
            known = [name for name, one in recipe.sources.items() if one.kind == "coco"]
            raise unknown_name(f"source of {recipe.name}", name, known)
    if not recipe.sources:
        made = pictures(recipe, folder, workers=workers, quiet=quiet)
        return Gathered(_loaded(made, recipe), None, made.data.digest)
    parts, hashes, held_out = [], {}, None
    for name, how in recipe.sources.items():
        if how.kind == "made":
            made = pictures(recipe, folder, workers=workers, quiet=quiet)
            source, hashes[name] = _loaded(made, recipe), made.data.digest
            if shots := min(recipe.checks.shots, len(source) - 1):
                held_out = Span(source, len(source) - shots, len(source))
                source = Span(source, 0, len(source) - shots)
        else:
            source, hashes[name] = _annotated(recipe, name, how, given)
        rest = how.model_dump(exclude={"kind", "skeleton", "note"})
        parts.append(Part(source, **rest))
    return Gathered(Mixed(recipe.points, tuple(parts)), held_out, digest(list(hashes.items())))


def _annotated(
    recipe: TrainRecipe, name: str, how: Mixture, given: Mapping[str, tuple[Path, Path]]
) -> tuple[Source, str]:
    """A source of the user and the SHA-256 of its annotations."""
    from cohorts.store import sha256
    from synthpose.coco import CocoSource

    if name not in given:
        raise CapbenchError(
            f"Expected where the source {name} of {recipe.name} lies, got nothing ({how.note or how.kind}).",
            fix=f"--source {name}=ANNOTATIONS.json,PICTURES",
        )
    annotations, below = given[name]
    source = CocoSource(
        annotations,
        below,
        size=recipe.network.input_size,
        geometry=recipe.loss.geometry,
        skeleton_name=how.skeleton or recipe.skeleton,
        **({} if recipe.data is None else {"padding": recipe.data.padding}),
    )
    return source, sha256(annotations)


def _loaded(made: Shards, recipe: TrainRecipe) -> Source:
    """Pictures in memory where that is not much, else decoded as they are asked for.

    Worker processes share them: unpacked into a file beside them.
    """
    from synthpose.feeding import Labelled, held

    width, height = made.data.size
    source = Labelled(made)
    if unpacked_bytes(recipe):
        return held(source, made.folder / UNPACKED)
    return held(source) if 3 * width * height * len(made) <= HELD else source


def unpacked_bytes(recipe: TrainRecipe) -> int:
    """What the pictures that it makes take unpacked, as worker processes read them; 0 without such."""
    if recipe.data is None or not (recipe.machine.processes and recipe.machine.workers):
        return 0
    width, height = recipe.data.size
    return 3 * width * height * recipe.pictures


@dataclass(frozen=True)
class Span:
    """The pictures of a source from ``start`` to before ``stop``."""

    whole: Source
    start: int
    stop: int

    @property
    def skeleton(self) -> Skeleton:
        """Whose points it gives."""
        return self.whole.skeleton

    def __len__(self) -> int:
        return self.stop - self.start

    def batch(self, numbers: NDArray[np.int64], /) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
        """See :class:`synthpose.feeding.Source`."""
        return self.whole.batch(np.asarray(numbers) + self.start)


def sources_of(words: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """``NAME=ANNOTATIONS.json,PICTURES`` of the command line."""
    import click

    found = {}
    for word in words:
        name, equals, places = word.partition("=")
        file, comma, folder = places.partition(",")
        if not (name and equals and file and comma and folder):
            raise click.BadParameter(
                f"expected NAME=ANNOTATIONS.json,PICTURES, got {word!r}", param_hint="--source"
            )
        found[name] = (Path(file), Path(folder))
    return found
