"""What a network says of pictures that nobody labelled: its points in several weak views of each.

A view is an affine map of the crop (turned, scaled, shifted, every other one mirrored); its points are mapped
back, sides exchanged where it was mirrored. Where the views agree the network sees something; where its
points stay put in the frame instead of following the map, it sees nothing of the person.

Letters: v view, n crop, k point.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from capbench.models import decode
from capbench.models.adapters.torch_run import device_of
from capbench.models.nets.pose import PoseNet
from cohorts.skeleton import Skeleton
from cohorts.values import FloatArray
from synthpose.adaptation import Labels, Marks
from synthpose.augment import Augmentation, Augmenter, warped
from synthpose.feeding import Batch
from synthpose.looks import network_input, peaks
from synthpose.plausible import Plausible
from synthpose.processes import threads
from synthpose.train_recipe import TrainRecipe

CHUNK = 64  #: crops at a time
CAP = 0.25  #: of the crop's height: points farther apart are simply not found
STRANGEST = 8.0  #: standard deviations: a posture stranger than that is simply none


@dataclass(frozen=True)
class Views:
    """A network's points in several views of n crops.

    Attributes
    ----------
    points : (V, n, K, 2) pixels of the crop, mapped back; NaN where missing
    confidence : (V, n, K) highest value of the map by that of a perfect one; 0 where missing
    maps : (V, n, 2, 3) from pixels of the crop to those of the view
    height : of the crops, pixels
    """

    points: FloatArray
    confidence: FloatArray
    maps: FloatArray
    height: int

    @property
    def mean(self) -> FloatArray:
        """(n, K, 2) pixels of the crop; NaN where no view has the point."""
        return _mean(self.points)

    @property
    def sure(self) -> FloatArray:
        """(n, K) mean confidence; a view without the point counts as 0."""
        return np.asarray(self.confidence.mean(0))

    @property
    def spread(self) -> FloatArray:
        """(n, K) root mean square distance of the views from their mean, of the crop's height; capped."""
        return _spread(self.points, self.height)

    def blind(self, skeleton: Skeleton) -> FloatArray:
        """(n, K) what ``spread`` would be of a network that gives each view its own mean answer.

        That answer does not depend on how the view was moved: a network that sees spreads much less.
        """
        seen = forth(self.points, self.maps, skeleton)
        constant = np.broadcast_to(_mean(seen), seen.shape)
        return _spread(back(constant, self.maps, skeleton), self.height)


def _mean(points: FloatArray) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # points that no view has are NaN
        return np.asarray(np.nanmean(points, axis=0))


def _spread(points: FloatArray, height: int) -> FloatArray:
    far = ((points - _mean(points)) ** 2).sum(-1) / height**2
    return np.asarray(np.sqrt(np.where(np.isfinite(far), np.minimum(far, CAP**2), CAP**2).mean(0)))


def forth(points: FloatArray, maps: FloatArray, skeleton: Skeleton) -> FloatArray:
    """(..., n, K, 2) pixels of crops as pixels of their views ``maps`` (..., n, 2, 3), sides as there."""
    moved = np.einsum("...ij,...kj->...ki", maps[..., :2], points) + maps[..., None, :, 2]
    return _exchanged(moved, maps, skeleton)


def back(points: FloatArray, maps: FloatArray, skeleton: Skeleton) -> FloatArray:
    """The inverse of :func:`forth`."""
    inverse = np.linalg.inv(maps[..., :2])
    moved = np.einsum("...ij,...kj->...ki", inverse, points - maps[..., None, :, 2])
    return _exchanged(moved, maps, skeleton)


def _exchanged(points: FloatArray, maps: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Left and right exchanged where a map mirrors; a point without a partner is missing there."""
    order = np.array(skeleton.flip_indices)
    sided = np.array([side != "middle" for side in skeleton.sides])
    lone = sided & (order == np.arange(len(order)))
    other = np.where(lone[:, None], np.nan, points[..., order, :])
    return np.where((np.linalg.det(maps[..., :2]) < 0)[..., None, None], other, points)


# --- asking the network -----------------------------------------------------------------------------


def view(
    net: PoseNet,
    recipe: TrainRecipe,
    pictures: NDArray[np.uint8],
    *,
    views: int,
    weak: Augmentation,
    seed: int,
    device: str = "cpu",
) -> Views:
    """The network's points in ``views`` views of each picture; the same seed gives the same views."""
    points, confidence, maps = [], [], []
    net.to(device_of(device)).eval()
    with threads(recipe.machine.threads), torch.inference_mode():
        for v in range(views):
            found = [
                _asked(net, recipe, pictures[k : k + CHUNK], weak, v, np.random.default_rng([seed, 31, v, k]))
                for k in range(0, len(pictures), CHUNK)
            ]
            whole = [np.concatenate(parts) for parts in zip(*found, strict=True)]
            points.append(whole[0])
            confidence.append(whole[1])
            maps.append(whole[2])
    return Views(np.stack(points), np.stack(confidence), np.stack(maps), pictures.shape[1])


def _asked(
    net: PoseNet,
    recipe: TrainRecipe,
    pictures: NDArray[np.uint8],
    weak: Augmentation,
    number: int,
    random: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    skeleton = recipe.points
    how = weak.model_copy(update={"flip": float(number % 2), "half_body": 0.0})
    nothing = np.zeros((len(pictures), len(skeleton), 2), np.float32)
    maps = Augmenter(how, skeleton).maps(Batch(pictures, nothing, nothing[..., 0]), random)
    seen = np.stack([warped(picture, by) for picture, by in zip(pictures, maps, strict=True)])
    device = next(net.parameters()).device
    found = peaks(net(network_input(seen, device)), recipe)
    points = back(found.cells, maps, skeleton)
    # a missing point has no confidence; those of the other side come with it
    order = list(skeleton.flip_indices)
    sure = found.confidence[:, order] if number % 2 else found.confidence
    return points, np.where(np.isfinite(points[..., 0]), sure / decode.highest(recipe.codec), 0.0), maps


# --- pseudo-labels and marks ------------------------------------------------------------------------


def inside(points: FloatArray, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(n, K) whether points lie in pictures of that width and height."""
    with np.errstate(invalid="ignore"):
        return np.asarray(((points >= -0.5) & (points <= np.array(size) - 0.5)).all(-1))


def labels_of(
    seen: Views, prior: Plausible, size: tuple[int, int], *, sure: float, spread: float, gate: float
) -> Labels:
    """The points of which the network is sure, on which its views agree, and that can be a person's."""
    points = seen.mean
    peaked = np.isfinite(points[..., 0]) & (seen.sure >= sure) & inside(points, size)
    steady = peaked & (seen.spread <= spread)
    good = prior.plausible(points, steady, gate=gate)
    facts = {
        "peaked, %": 100 * float(peaked.mean()),
        "steady, %": 100 * float(steady.mean()),
        "plausible, %": 100 * float(good.mean()),
    }
    return Labels(points, good.astype(float), facts)


def marks_of(seen: Views, prior: Plausible, labelled: FloatArray) -> Marks:
    """The spread of a crop's views, and how strange its posture is; all points count, sure or not."""
    strange = prior.strangeness(seen.mean)
    strange = np.minimum(np.where(np.isfinite(strange), strange, STRANGEST), STRANGEST)
    blind = float(seen.blind(prior.skeleton).mean())
    spread = seen.spread
    follows = float(spread.mean()) / blind if blind > 0 else 1.0
    return Marks(labelled, {"views": np.asarray(spread.mean(1)), "posture": strange}, follows)
