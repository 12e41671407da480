#!/usr/bin/env python
"""Pictures trained on a second: our loop beside a plain one around transformers' VitPose.

    python scripts/bench/training.py                                  # needs capbench[hf]; three minutes
    python scripts/bench/training.py --device cuda --batch 128 --steps 100 --workers 14 --processes

The same network (a ViT of ViTPose's kind with its simple head), batch, optimiser and random pictures in both.
The plain loop is what one writes first: a data set that changes one picture at a time (turned, scaled, other
light) and draws its Gaussian maps, a DataLoader, the model, the mean square error, AdamW. Ours is
``synthpose.train.train`` with its usual changes of pictures, its loss, running average and log. The first
steps of both are left out; the loops take turns, and the median of their turns counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from capbench.models.card import IMAGENET_MEAN, IMAGENET_STD
from capbench.models.nets.architecture import ViTSize
from cohorts.errors import CapbenchError
from cohorts.skeleton import skeleton
from synthpose.feeding import Held, held
from synthpose.train import train
from synthpose.train_recipe import TrainRecipe

POINTS = "synthpose-52"
SIZE = (192, 256)
SIGMA = 2.0
FIRST = 3  #: steps that are not counted: threads start, memory is asked for
LEAD, PLAIN = "capbench", "plain loop"


def pictures(count: int) -> Held:
    """Noise in blocks, with points anywhere: what a network costs does not depend on what it sees."""
    random = np.random.default_rng(0)
    width, height = SIZE
    coarse = random.integers(0, 256, (count, height // 8, width // 8, 3), np.uint8)
    made = np.repeat(np.repeat(coarse, 8, 1), 8, 2)
    points = random.uniform([0, 0], SIZE, (count, len(skeleton(POINTS)), 2)).astype(np.float32)
    return Held(skeleton(POINTS), made, points, np.full(points.shape[:2], 2, np.uint8))


def recipe(given: argparse.Namespace, precision: str) -> TrainRecipe:
    """Ours."""
    return TrainRecipe.model_validate(
        {
            "name": "bench",
            "skeleton": POINTS,
            "network": {
                "architecture": given.network,
                "input_size": SIZE,
                "options": {"head": "simple"},
            },
            "batch": given.batch,
            "samples": given.batch * (given.steps + FIRST),
            "precision": precision,
            "augment": {},
            "loss": {"kind": "divergence", "sigma": SIGMA, "soft_argmax": 0.5},
            "optimiser": {"rate": 1e-4, "weight_decay": 0.05, "ema": 0.999},
            "checks": {"every": 10**6, "shots": 0, "log": FIRST},
            "machine": {"threads": given.threads, "workers": given.workers, "processes": given.processes},
        }
    )


# --- ours ---------------------------------------------------------------------------------------


def ours(given: argparse.Namespace, data: Held, precision: str) -> tuple[float, float]:
    """Pictures a second, and the share of time that it waited for them."""
    lines: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        train(recipe(given, precision), Path(folder), data=data, device=given.device, told=lines.append)
    lines = [line for line in lines if "samples_per_second" in line and line["step"] > FIRST]
    speeds = [line["samples_per_second"] for line in lines]
    return statistics.median(speeds), statistics.median(line["waiting"] for line in lines)


# --- the plain loop -----------------------------------------------------------------------------


@dataclass
class Plain:
    """A data set that prepares one picture at a time."""

    data: Held
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A picture (3, h, w) and maps (K, h / 4, w / 4)."""
        random = np.random.default_rng()
        width, height = SIZE
        by = cv2.getRotationMatrix2D(
            (width / 2, height / 2), random.uniform(-15, 15), random.uniform(0.8, 1.25)
        )
        picture = cv2.warpAffine(self.data.pictures[number], by, SIZE).astype(np.float32)
        points = self.data.points[number] @ by[:, :2].T + by[:, 2]
        picture = np.clip(picture * random.uniform(0.8, 1.2) + random.uniform(-20, 20), 0, 255) / 255
        picture = (picture - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
        columns, rows = self.grid
        at = points * [columns / width, rows / height]
        x, y = (
            np.exp(-((np.arange(n) - at[:, axis, None]) ** 2) / (2 * SIGMA**2))
            for axis, n in enumerate((columns, rows))
        )
        maps = y[:, :, None] * x[:, None]
        return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1), torch.from_numpy(maps).float()


def vitpose(size: ViTSize) -> nn.Module:
    """The same network as transformers has it."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    make: Any = VitPoseBackboneConfig  # its types leave out what its parents take
    backbone = make(
        image_size=[SIZE[1], SIZE[0]],
        patch_size=[size.patch, size.patch],
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        out_indices=[size.depth],
    )
    names = dict(enumerate(skeleton(POINTS).points))
    config = VitPoseConfig(backbone_config=backbone, id2label=names, use_simple_decoder=True, scale_factor=4)
    built: nn.Module = VitPoseForPoseEstimation(config)
    return built


def plain(given: argparse.Namespace, data: Held, precision: str) -> tuple[float, float]:
    """Likewise."""
    torch.set_num_threads(given.threads)
    device, made = torch.device(given.device), recipe(given, precision)
    size = made.made.backbone
    if not isinstance(size, ViTSize):
        raise CapbenchError(f"Expected a ViT, which transformers has too, got {given.network}.")
    net = vitpose(size).to(device).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.05)
    loader: Any = DataLoader(
        Plain(data, made.made.heatmap_size),  # type: ignore[arg-type]  # all that is asked of it
        batch_size=given.batch,
        shuffle=True,
        num_workers=given.workers,
        drop_last=True,
        persistent_workers=given.workers > 0,
    )
    waited, steps, began = 0.0, 0, time.perf_counter()
    while steps < given.steps + FIRST:
        batches = iter(loader)
        while steps < given.steps + FIRST:
            asked = time.perf_counter()
            try:
                seen, wanted = next(batches)
            except StopIteration:
                break
            waited += time.perf_counter() - asked
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                out = net(pixel_values=seen.to(device)).heatmaps
            loss = nn.functional.mse_loss(out.float(), wanted.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1
            if steps == FIRST:
                _ended(device)
                waited, began = 0.0, time.perf_counter()
    _ended(device)
    taken = time.perf_counter() - began
    return given.steps * given.batch / taken, waited / taken


def _ended(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(given: argparse.Namespace, data: Held) -> dict[str, dict[str, float]]:
    """Loop and precision -> pictures a second, share of time waiting, and how much faster ours is."""
    found: dict[str, dict[str, float]] = {}
    for precision in given.precision:
        turns: dict[str, list[tuple[float, float]]] = {LEAD: [], PLAIN: []}
        for _ in range(given.turns):
            turns[LEAD].append(ours(given, data, precision))
            turns[PLAIN].append(plain(given, data, precision))
        for name, some in turns.items():
            speed, waiting = (statistics.median(values) for values in zip(*some, strict=True))
            found[f"{name}, {precision}"] = {"pictures/s": speed, "waiting": waiting}
        found[f"{LEAD}, {precision}"]["times as fast"] = (
            found[f"{LEAD}, {precision}"]["pictures/s"] / found[f"{PLAIN}, {precision}"]["pictures/s"]
        )
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Time both and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", default="vit-tiny", help="a ViT of ours")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12, help="counted, of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="that prepare batches, in both")
    parser.add_argument("--processes", action="store_true", help="ours prepares in processes, as for a GPU")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = timed(given, held(pictures(8 * given.batch), Path(folder) / "pictures.npy"))
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    size = f"{SIZE[0]} x {SIZE[1]}"
    print(f"{given.network}, {size}, batch {given.batch}, {given.device}, torch {torch.__version__}")
    for name, row in found.items():
        ratio = f"{row['times as fast']:6.2f} times as fast" if "times as fast" in row else ""
        print(f"{name:20s} {row['pictures/s']:8.1f} pictures/s   waiting {row['waiting']:5.1%}   {ratio}")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
