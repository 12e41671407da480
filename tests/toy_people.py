"""Pictures that a network of a few thousand numbers learns in seconds: coloured dots for a body."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cohorts.skeleton import Skeleton, skeleton

#: a network and training to go with them
TINY = {
    "width": 16, "stem": 8, "stages": [12, 16, 24, 24], "stage_blocks": [1, 1, 1, 1],
}  # fmt: skip


def toy_recipe(**changes):
    """A recipe of 24 steps on 48 pictures; ``changes`` replace its keys."""
    from synthpose.train_recipe import TrainRecipe, merged

    base = {
        "name": "toy",
        "skeleton": "coco-17",
        "network": {"architecture": "fpn-mini", "options": TINY, "input_size": (64, 64)},
        "batch": 8,
        "samples": 192,
        "loss": {"sigma": 1.0, "soft_argmax": 1.0},
        "optimiser": {"rate": 0.01, "warm_up": 4, "clip": 1.0, "ema": 0.9},
        "checks": {"every": 8, "shots": 8, "log": 4},
        "machine": {"threads": 1, "workers": 1},
    }
    return TrainRecipe.model_validate(merged(base, changes))


@dataclass(frozen=True)
class ToyPeople:
    """People of dots, seen from the front, anywhere in the picture; points of ``synthpose-52``."""

    count: int
    size: tuple[int, int] = (64, 64)
    seed: int = 0

    @property
    def skeleton(self) -> Skeleton:
        return skeleton("synthpose-52")

    @cached_property
    def points(self):
        from synthpose.surgery import standing

        random = np.random.default_rng([self.seed, 1])
        body = np.array([standing()[name] for name in self.skeleton.landmarks])
        flat = np.stack([-body[:, 2], -body[:, 1]], axis=1)
        flat -= (flat.max(0) + flat.min(0)) / 2
        width, height = self.size
        scale = random.uniform(0.38, 0.5, self.count) * height
        turn = random.uniform(-0.3, 0.3, self.count)
        c, s = np.cos(turn), np.sin(turn)
        turned = np.einsum("nij,kj->nki", np.stack([c, -s, s, c], 1).reshape(-1, 2, 2), flat)
        middle = random.uniform([width * 0.4, height * 0.45], [width * 0.6, height * 0.55], (self.count, 2))
        return (turned * scale[:, None, None] + middle[:, None]).astype(np.float32)

    @cached_property
    def pictures(self):
        random = np.random.default_rng([self.seed, 2])
        width, height = self.size
        made = random.integers(0, 50, (self.count, height, width, 3), dtype=np.uint8)
        colours = np.random.default_rng(9).integers(80, 256, (17, 3))
        y, x = np.mgrid[:height, :width]
        for k in range(17):
            at = self.points[:, k]
            inside = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2 < 2.5**2
            made[inside] = colours[k]
        return made

    def __len__(self):
        return self.count

    def batch(self, numbers, /):
        inside = ((self.points >= 0) & (self.points <= np.array(self.size) - 1)).all(2)
        return self.pictures[numbers], self.points[numbers], np.where(inside, 2, 0).astype(np.uint8)[numbers]
