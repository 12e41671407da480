"""Batches of training pictures changed at random; points and weights follow exactly.

Geometry first (turn, scale, shift, mirror, half bodies: one affine map per picture), then what hides parts
(patches around points, rectangles and ellipses), then light, lens and sensor. Every choice comes from the
generator that is given, so the same generator gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from cohorts.errors import CapbenchError
from cohorts.skeleton import Skeleton
from cohorts.strict import Strict, wrong
from cohorts.values import FloatArray
from synthpose.data_recipe import Share
from synthpose.feeding import Batch

Picture = NDArray[np.uint8]
#: parts of landmarks' names that belong to the lower half of a body; the pelvis belongs to both
LOWER = ("femur", "knee", "tibia", "ankle", "malleolus", "metatarsal", "toe", "heel", "calcaneus", "foot")
BOTH = ("hip", "asis", "psis")
HALF_MARGIN = 0.25  #: of the extent of a half's points, on each side
FEWEST = 4  #: points in sight that make a half body worth looking at
MOST = 3  #: patches, or things, in a picture
PATCH = (0.04, 0.11)  #: half a side of a patch, of the picture's height
OCCLUDER = ((0.03, 0.03), (0.20, 0.35))  #: half the sides of a thing, from and to, of the picture's height
LUMA = np.array([0.299, 0.587, 0.114])


class Augmentation(Strict):
    """How much pictures are changed. Shares are of pictures; 0 leaves a kind out."""

    flip: Share = Field(default=0.5, description="Share that is mirrored.")
    moved: Share = Field(default=0.7, description="Share that is turned, scaled and shifted.")
    turn: float = Field(default=15.0, ge=0, le=180, description="Degrees, at most either way.")
    scale: float = Field(default=1.25, ge=1, le=4, description="At most, larger or smaller.")
    shift: float = Field(default=0.06, ge=0, le=1, description="Of the sides, at most either way.")
    half_body: Share = Field(default=0.06, description="Share that shows one half of the body.")
    colour: Share = Field(default=0.8, description="Share of other light and colours.")
    grey: Share = Field(default=0.04, description="Share without colour.")
    blur: Share = Field(default=0.15, description="Share that is out of focus or moved.")
    coarse: Share = Field(default=0.08, description="Share of fewer pixels.")
    noise: Share = Field(default=0.3, description="Share with noise.")
    compression: Share = Field(default=0.08, description="Share that is compressed strongly.")
    occluders: Share = Field(default=0.25, description="Share with something drawn over it.")
    part_drop: Share = Field(default=0.25, description="Share with patches around points removed.")
    covered: Share = Field(default=1.0, description="What the weight of covered points is multiplied by.")

    @field_validator("scale")
    @classmethod
    def _factor(cls, value: float) -> float:
        if not np.isfinite(value):
            wrong("Expected a finite scale.")
        return value


NOTHING = Augmentation(
    flip=0, moved=0, half_body=0, colour=0, grey=0, blur=0, coarse=0, noise=0, compression=0, occluders=0,
    part_drop=0,
)  # fmt: skip


@dataclass(frozen=True)
class Augmenter:
    """Changes batches of pictures of one skeleton's points."""

    how: Augmentation
    skeleton: Skeleton

    @cached_property
    def halves(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(K,) which points belong to the upper and to the lower half of a body."""
        names = [landmark.partition("@")[0] for landmark in self.skeleton.landmarks]
        both = np.array([any(word in n for word in BOTH) for n in names])
        lower = np.array([any(word in n for word in LOWER) for n in names]) | both
        return ~lower | both, lower

    @cached_property
    def _lone(self) -> NDArray[np.bool_]:
        """(K,) which points of one side have no partner: mirrored, they are points of no name."""
        flip = np.array(self.skeleton.flip_indices)
        sided = np.array([side != "middle" for side in self.skeleton.sides])
        return np.asarray(sided & (flip == np.arange(len(flip))))

    def __call__(self, batch: Batch, random: np.random.Generator) -> Batch:
        """The batch changed; what is given stays as it is."""
        count, height, width, _ = batch.pictures.shape
        if batch.points.shape[1] != len(self.skeleton):
            raise CapbenchError(
                f"Expected the {len(self.skeleton)} points of {self.skeleton.name}, "
                f"got {batch.points.shape[1]}."
            )
        maps = self.maps(batch, random)
        pictures = np.stack([warped(p, m) for p, m in zip(batch.pictures, maps, strict=True)])
        points, weight = self._follow(batch, maps, (width, height))
        hidden = np.zeros(weight.shape, bool)
        for k in range(count):
            self._hide(pictures, k, points[k], weight[k], hidden[k], random)
            pictures[k] = self._light(pictures[k], random)
        weight = np.where(hidden, weight * np.float32(self.how.covered), weight)
        return Batch(pictures, points, weight)

    # --- geometry -------------------------------------------------------------------------------

    def maps(self, batch: Batch, random: np.random.Generator) -> FloatArray:
        """(n, 2, 3) from pixels of each picture to pixels of the changed one."""
        count, height, width, _ = batch.pictures.shape
        how, middle = self.how, np.array([width - 1, height - 1]) / 2
        moved = np.asarray(random.random(count) < how.moved)
        turn = np.radians(random.uniform(-how.turn, how.turn, count)) * moved
        scale = np.exp(random.uniform(-1, 1, count) * np.log(how.scale) * moved)
        shift = random.uniform(-how.shift, how.shift, (count, 2)) * [width, height] * moved[:, None]
        mirrored = np.asarray(random.random(count) < how.flip)
        half = random.random(count) < how.half_body
        upper = np.asarray(random.random(count) < 0.5)
        c, s = scale * np.cos(turn), scale * np.sin(turn)
        made = np.empty((count, 2, 3))
        made[:, :, :2] = np.stack([c, -s, s, c], axis=1).reshape(-1, 2, 2)
        centre = np.broadcast_to(middle, (count, 2)).copy()
        for k in np.flatnonzero(half).tolist():
            found = self._half(batch, k, bool(upper[k]))
            if found is not None:
                centre[k], zoom = found
                made[k, :, :2] *= zoom
        made[:, :, 2] = middle + shift - np.einsum("nij,nj->ni", made[:, :, :2], centre)
        made[mirrored, 0] *= -1
        made[mirrored, 0, 2] += width - 1
        return made

    def _half(self, batch: Batch, k: int, upper: bool) -> tuple[FloatArray, float] | None:
        """The middle of the points of a half in sight, and by how much the crop could show it larger."""
        seen = self.halves[0 if upper else 1] & (batch.weight[k] > 0)
        if seen.sum() < FEWEST:
            return None
        at = batch.points[k, seen].astype(float)
        low, high = at.min(axis=0), at.max(axis=0)
        _, height, width, _ = batch.pictures.shape
        zoom = np.array([width, height]) / np.maximum((high - low) * (1 + 2 * HALF_MARGIN), 1.0)
        return (low + high) / 2, float(np.clip(zoom.min(), 0.8, 2.0))

    def _follow(
        self, batch: Batch, maps: FloatArray, size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        points = np.einsum("nij,nkj->nki", maps[:, :, :2], batch.points.astype(float)) + maps[:, None, :, 2]
        weight = batch.weight.astype(np.float32).copy()
        mirrored = np.linalg.det(maps[:, :, :2]) < 0
        flip = list(self.skeleton.flip_indices)
        points[mirrored] = points[mirrored][:, flip]
        weight[mirrored] = np.where(self._lone, 0, weight[mirrored][:, flip])
        inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(axis=2)
        return points.astype(np.float32), np.where(inside, weight, np.float32(0))

    # --- what hides -----------------------------------------------------------------------------

    def _hide(
        self,
        pictures: Picture,
        k: int,
        points: NDArray[np.float32],
        weight: NDArray[np.float32],
        hidden: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> None:
        """Draw over picture ``k``; notes which points are covered."""
        height, width = pictures.shape[1:3]
        shapes: list[tuple[FloatArray, FloatArray, float]] = []
        if random.random() < self.how.part_drop and (weight > 0).any():
            for _ in range(int(random.integers(1, MOST + 1))):
                at = points[int(random.choice(np.flatnonzero(weight > 0)))].astype(float)
                shapes.append((at, random.uniform(*PATCH, 2) * height, 0.0))
        if random.random() < self.how.occluders:
            for _ in range(int(random.integers(1, MOST + 1))):
                at = random.uniform(-0.1, 1.1, 2) * [width, height]
                half = random.uniform(*OCCLUDER) * height
                shapes.append((at, half, float(random.uniform(0, np.pi))))
        for at, half, turn in shapes:
            inside = _shape(at, half, turn, bool(random.random() < 0.5))
            reach = float(np.hypot(*half)) + 1
            rows, columns = (
                slice(max(0, int(at[a] - reach)), max(0, min(side, int(at[a] + reach) + 1)))
                for a, side in ((1, height), (0, width))
            )
            y, x = np.ogrid[rows, columns]
            window = pictures[k, rows, columns]
            if window.size:
                stuff = _stuff(pictures, k, window.shape[:2], random)
                np.copyto(window, stuff, where=inside(x, y)[..., None])
            hidden |= inside(points[:, 0], points[:, 1])

    # --- light, lens, sensor --------------------------------------------------------------------

    def _light(self, picture: Picture, random: np.random.Generator) -> Picture:
        how = self.how
        chosen = random.random(6) < (how.colour, how.grey, how.blur, how.coarse, how.noise, how.compression)
        steps: list[Callable[[Picture, np.random.Generator], Picture]] = [
            _coloured, _greyed, _blurred, _coarser, _noisy, _compressed
        ]  # fmt: skip
        for step, on in zip(steps, chosen, strict=True):
            if on:
                picture = step(picture, random)
        return picture


def warped(picture: Picture, by: FloatArray) -> Picture:
    """A picture by an affine map of pixels (2, 3); black where it shows nothing."""
    import cv2

    if np.array_equal(by, np.eye(2, 3)):
        return picture.copy()
    height, width = picture.shape[:2]
    made = cv2.warpAffine(
        picture, by, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(made, np.uint8)


def _shape(
    at: FloatArray, half: FloatArray, turn: float, round_: bool
) -> Callable[[NDArray[np.generic], NDArray[np.generic]], NDArray[np.bool_]]:
    """Whether places (x, y) lie in an ellipse or rectangle about ``at`` with those half-axes."""
    c, s = np.cos(turn), np.sin(turn)

    def inside(x: NDArray[np.generic], y: NDArray[np.generic]) -> NDArray[np.bool_]:
        u = np.abs((x - at[0]) * c + (y - at[1]) * s) / half[0]
        v = np.abs((y - at[1]) * c - (x - at[0]) * s) / half[1]
        return np.asarray(u * u + v * v <= 1 if round_ else (u <= 1) & (v <= 1))

    return inside


def _stuff(pictures: Picture, k: int, size: tuple[int, ...], random: np.random.Generator) -> Picture:
    """(h, w, 3) of that size to draw shapes with: a colour, the mean, coarse noise, stripes, a picture."""
    import cv2

    height, width = size
    kind = int(random.integers(5))
    if kind == 0:
        return random.integers(0, 256, (1, 1, 3), np.uint8)
    if kind == 1:
        return np.asarray(pictures[k, ::4, ::4].mean(axis=(0, 1), keepdims=True), np.uint8)
    if kind == 2:
        cell = int(random.integers(2, 12))
        coarse = random.integers(0, 256, (1 + height // cell, 1 + width // cell, 3), np.uint8)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if kind == 3:
        two = random.integers(0, 256, (2, 3), np.uint8)
        across, down = random.uniform(0.0, 1.5, 2)
        wave = np.sin(np.arange(width) * across + np.arange(height)[:, None] * down)
        return np.asarray(two[(wave > 0).astype(int)])
    other = pictures[int(random.integers(len(pictures)))]
    row, column = (int(random.integers(a - b + 1)) for a, b in zip(other.shape, size, strict=False))
    return np.array(other[row : row + height, column : column + width])


def _coloured(picture: Picture, random: np.random.Generator) -> Picture:
    """Other gains of the channels, saturation, brightness, contrast and gamma."""
    import cv2

    gain = np.exp(random.normal(0, 0.10, 3)) * np.exp(random.normal(0, 0.18))
    saturation, gamma = np.exp(random.normal(0, 0.3)), np.exp(random.normal(0, 0.15))
    lift = random.normal(0, 12)
    matrix = gain[:, None] * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    table = np.clip(255 * (np.arange(256) / 255) ** gamma + lift, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(np.asarray(cv2.transform(picture, matrix), np.uint8), table), np.uint8)


def _greyed(picture: Picture, random: np.random.Generator) -> Picture:
    import cv2

    return np.asarray(cv2.transform(picture, np.tile(LUMA, (3, 1))), np.uint8)


def _blurred(picture: Picture, random: np.random.Generator) -> Picture:
    """Out of focus, or moved along a line; the middle of what is seen stays."""
    import cv2

    scale = picture.shape[0] / 128
    if random.random() < 0.6:
        soft = float(random.uniform(0.3, 1.2)) * scale
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), soft), np.uint8)
    reach, angle = float(random.uniform(1.0, 3.0)) * scale, random.uniform(0, np.pi)
    size = 2 * int(np.ceil(reach)) + 1
    kernel = np.zeros((size, size), np.float32)
    steps = np.linspace(-reach, reach, 8 * size)
    x, y = (np.rint(size // 2 + steps * f(angle)).astype(int) for f in (np.cos, np.sin))
    np.add.at(kernel, (y, x), 1.0)
    kernel = (kernel + kernel[::-1, ::-1]) / (2 * kernel.sum())
    return np.asarray(cv2.filter2D(picture, -1, kernel), np.uint8)


def _coarser(picture: Picture, random: np.random.Generator) -> Picture:
    """As from a picture of fewer pixels; edges of both pictures stay where they are."""
    import cv2

    height, width = picture.shape[:2]
    share = random.uniform(0.35, 0.8)
    small = (max(4, round(width * share)), max(4, round(height * share)))
    fewer = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(fewer, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _noisy(picture: Picture, random: np.random.Generator) -> Picture:
    """Noise of a nearly Gaussian kind: the sum of four random bytes."""
    strength = float(np.exp(random.uniform(np.log(1.5), np.log(10.0))))
    draws = random.integers(0, 256, (4, picture.size // 4 + 1), np.uint8)
    total = draws.astype(np.int16).sum(axis=0) - 510
    total = np.concatenate([total, -total, total[::-1], -total[::-1]])[: picture.size]
    start = int(random.integers(picture.size))
    added = np.roll(total, start).reshape(picture.shape) * np.float32(strength / 147.8)
    return np.asarray(np.clip(picture + added + 0.5, 0, 255), np.uint8)


def _compressed(picture: Picture, random: np.random.Generator) -> Picture:
    from synthpose.sensor import compressed

    return compressed(picture, int(random.integers(15, 60)))
