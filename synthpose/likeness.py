"""Labelled pictures made to look as somebody's recordings do: their colours, contrast, sharpness and noise.

A look is what pictures have in common whatever they show: mean colour, saturation, and the power spectrum of
their light by frequency. From one look to another, pictures get the other's mean colour, contrast and
saturation; frequencies that the other lacks are damped, as a lens or a scaling does; what it has more of is
added as noise of that spectrum. Where points are does not change, so a network's error in another look can
be known without a label there.

Letters: n picture, f frequency.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray, IntArray
from synthpose.augment import LUMA
from synthpose.feeding import Source, fewer

Pictures = NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)
ENOUGH = 256  #: pictures, evenly taken, that a look is measured on
EDGES = np.linspace(0, 0.5, 21)  #: of bands of frequency, cycles a pixel
COARSE = 0.06  #: cycles a pixel: up to there power says contrast, beyond it sharpness and noise
GAINS = (0.4, 2.5)  #: contrast and saturation change by no more
LEAST_POWER = 1e-3  #: grey levels², a hundredth of what rounding to whole levels adds
BLOCK = 8  #: pixels
MARGIN = 12  #: pixels mirrored at the edges, so that a filter does not wrap round


class Look(NamedTuple):
    """What pictures look like.

    Attributes
    ----------
    colour : (3,) mean RGB
    saturation : root mean square of what coarse colours differ from their grey, less its mean
    power : (F,) mean power of the luma's residual by band of frequency; white noise has its variance
    """

    colour: FloatArray
    saturation: float
    power: FloatArray


def look_of(pictures: Pictures) -> Look:
    """Of pictures (n, h, w, 3)."""
    seen = evenly(pictures).astype(np.float32)
    luma = seen @ LUMA.astype(np.float32)
    chroma = _coarse(seen - luma[..., None])
    chroma -= chroma.mean((1, 2), keepdims=True)
    return Look(seen.mean((0, 1, 2)).astype(float), float(np.sqrt((chroma**2).mean())), _power(luma))


def _coarse(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of blocks too large for a lens or noise to matter; what is over at the edges is left out."""
    height, width = (side // BLOCK for side in pictures.shape[1:3])
    some = pictures[:, : height * BLOCK, : width * BLOCK]
    return np.asarray(some.reshape(len(some), height, BLOCK, width, BLOCK, 3).mean((2, 4)))


def _frequency(height: int, width: int) -> FloatArray:
    """(h, w // 2 + 1) cycles a pixel of ``rfft2``."""
    return np.asarray(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)))


def _power(luma: NDArray[np.float32]) -> FloatArray:
    """(F,) of pictures (n, h, w); frequencies beyond the last band's, in the corners, are left out."""
    height, width = luma.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    rest = (luma - luma.mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.rfft2(rest)) ** 2).mean(0) / (window**2).sum()
    band = np.digitize(_frequency(height, width).ravel(), EDGES) - 1
    inside = band < len(EDGES) - 1
    total = np.bincount(band[inside], power.ravel()[inside], len(EDGES) - 1)
    count = np.bincount(band[inside], minlength=len(EDGES) - 1)
    return np.maximum(total / np.maximum(count, 1), LEAST_POWER)


@dataclass(frozen=True)
class Change:
    """From one look to another."""

    source: Look
    target: Look
    contrast: float = field(init=False)
    saturation: float = field(init=False)
    damped: FloatArray = field(init=False)
    added: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        coarse = EDGES[1:] <= COARSE
        ratio = self.target.power / self.source.power
        contrast = float(np.clip(np.sqrt(np.exp(np.log(ratio[coarse]).mean())), *GAINS))
        known = self.source.saturation > 0
        by = self.target.saturation / self.source.saturation if known else 1.0
        left = ratio / contrast**2
        damped = np.where(coarse, 1.0, np.sqrt(np.minimum(left, 1.0)))
        power = self.source.power * (contrast * damped) ** 2
        object.__setattr__(self, "contrast", contrast)
        object.__setattr__(self, "saturation", float(min(by, GAINS[1])))
        object.__setattr__(self, "damped", damped)
        object.__setattr__(self, "added", np.where(coarse, 0.0, np.maximum(self.target.power - power, 0.0)))

    def __call__(self, picture: Pictures, random: np.random.Generator) -> Pictures:
        """One picture (h, w, 3) as it would look there."""
        seen = picture.astype(np.float32)
        grey = float(self.source.colour @ LUMA)
        luma = (seen @ LUMA.astype(np.float32))[..., None]
        tint = self.source.colour - grey  # of the source's grey, which becomes the target's
        made = self.contrast * (luma - grey) + self.saturation * (seen - luma - tint) + self.target.colour
        there = self._filtered(made.astype(np.float32), random)
        return np.asarray(np.clip(there + 0.5, 0, 255), np.uint8)

    def _filtered(self, picture: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        height, width = picture.shape[:2]
        wide = np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
        shape = wide.shape[:2]
        middles = (EDGES[:-1] + EDGES[1:]) / 2
        frequency = _frequency(*shape)
        damped = np.interp(frequency, middles, self.damped)
        made = np.fft.irfft2(np.fft.rfft2(wide, axes=(0, 1)) * damped[..., None], s=shape, axes=(0, 1))
        if self.added.any():
            loud = np.sqrt(np.interp(frequency, middles, self.added))
            noise = np.fft.irfft2(np.fft.rfft2(random.standard_normal(shape)) * loud, s=shape)
            made = made + noise[..., None]
        return made[MARGIN : MARGIN + height, MARGIN : MARGIN + width].astype(np.float32)


@dataclass(frozen=True)
class Likened:
    """Some pictures of a labelled source, of one size and as recordings look.

    Each takes the look of one group of recorded pictures, such as a video, in turn; its noise follows from
    the seed and its number.
    """

    source: Source
    numbers: IntArray
    size: tuple[int, int]
    changes: tuple[Change, ...]
    seed: int

    @property
    def skeleton(self) -> Skeleton:
        """Of the source."""
        return self.source.skeleton

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, numbers: IntArray, /) -> tuple[Pictures, NDArray[Any], NDArray[Any]]:
        """See :class:`synthpose.feeding.Source`."""
        own = self.numbers[numbers]
        pictures, points, given = plain(self.source, own, self.size)
        made = [
            self.changes[n % len(self.changes)](picture, np.random.default_rng([self.seed, 43, n]))
            for n, picture in zip(own.tolist(), pictures, strict=True)
        ]
        return np.stack(made), points, given


def plain(
    source: Source, numbers: IntArray, size: tuple[int, int]
) -> tuple[Pictures, NDArray[np.float32], NDArray[Any]]:
    """Pictures of a source as they are, but of ``size``."""
    pictures, points, given = source.batch(numbers)
    return (*fewer(pictures, np.asarray(points, np.float32), size), given)


def likened(source: Source, numbers: IntArray, pictures: Pictures, group: IntArray, *, seed: int) -> Likened:
    """The pictures ``numbers`` of ``source`` in the looks of the groups of ``pictures`` (n, h, w, 3)."""
    if not len(numbers) or not len(pictures):
        raise CapbenchError("Expected pictures with labels and pictures without, got none.")
    size = (pictures.shape[2], pictures.shape[1])
    own = look_of(plain(source, evenly(numbers), size)[0])
    looks = [look_of(pictures[group == one]) for one in np.unique(group)]
    return Likened(source, numbers, size, tuple(Change(own, look) for look in looks), seed)


def evenly(values: NDArray[T]) -> NDArray[T]:
    """At most ``ENOUGH`` of them."""
    count = min(len(values), ENOUGH)
    return values[np.arange(count) * len(values) // max(count, 1)]
