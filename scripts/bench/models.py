#!/usr/bin/env python
"""What a crop costs on this CPU: the built-in model beside RTMPose-m and ViTPose-B, all in onnxruntime.

    python scripts/bench/models.py                                   # needs capbench[export]; two minutes
    python scripts/bench/models.py --model runs/mine/export --repeats 9 --json

The other two have random weights: what they cost does not depend on them, and nothing is downloaded.
ViTPose-B is our own ViT-B with its head of two transposed convolutions; RTMPose-m is built here from its
published configuration (Jiang et al. 2023, Lyu et al. 2022: CSPNeXt of depth 0.67 and width 0.75, a head of
SimCC with one gated attention unit). Their numbers of parameters are compared with the published ones. The
networks alone are timed, no cropping and no decoding, at one and at all threads; models take turns and the
median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from capbench.models.adapters.onnx import session
from capbench.models.nets.architecture import architecture
from capbench.models.registry import default_model, find_model
from cohorts.errors import CapbenchError
from synthpose.onnx_export import write_onnx

SIZE = (192, 256)  #: width and height of RTMPose-m's and ViTPose-B's crops
POINTS = 17
BINS = (2 * SIZE[0], 2 * SIZE[1])  #: SimCC's, two a pixel
MILLIONS = {"RTMPose-m": 13.6, "ViTPose-B": 90.0}  #: parameters as published, to the digits given
BATCHES = (1, 16)
#: RTMPose-m: (channels, blocks, shortcut) at 1/4, 1/8, 1/16 and 1/32 of the picture
STAGES = ((96, 2, True), (192, 4, True), (384, 4, True), (768, 2, False))


# --- RTMPose-m ----------------------------------------------------------------------------------


def conv(given: int, wanted: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, norm, SiLU."""
    made = nn.Conv2d(given, wanted, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(made, nn.BatchNorm2d(wanted), nn.SiLU())


class Block(nn.Module):
    """3 x 3, then 5 x 5 for each channel alone and 1 x 1, beside a shortcut."""

    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.path = nn.Sequential(
            conv(width, width, 3), conv(width, width, 5, groups=width), conv(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) -> the same."""
        out: Tensor = self.path(x)
        return x + out if self.shortcut else out


class Stage(nn.Module):
    """Half the channels through blocks, half past them; together weighted channel by channel."""

    def __init__(self, width: int, blocks: int, shortcut: bool) -> None:
        super().__init__()
        half = width // 2
        self.main, self.past, self.last = conv(width, half, 1), conv(width, half, 1), conv(width, width, 1)
        self.blocks = nn.Sequential(*(Block(half, shortcut) for _ in range(blocks)))
        self.attention = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) -> the same."""
        both = torch.cat([self.blocks(self.main(x)), self.past(x)], dim=1)
        share = functional.hardsigmoid(self.attention(both.mean(dim=(2, 3), keepdim=True)))
        out: Tensor = self.last(both * share)
        return out


class Pyramid(nn.Module):
    """A map beside its maxima over 5, 9 and 13 cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = conv(width, width // 2, 1), conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) -> the same."""
        x = self.first(x)
        around = [functional.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
        out: Tensor = self.last(torch.cat([x, *around], dim=1))
        return out


class ScaleNorm(nn.Module):
    """Vectors of one length, learnt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.root = nn.Parameter(torch.ones(1)), width**0.5

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / self.root
        out: Tensor = x / length.clamp_min(1e-5) * self.scale
        return out


class Gated(nn.Module):
    """A gated attention unit (Hua et al. 2022) over the points: queries and keys of one projection."""

    def __init__(self, width: int = 256, inner: int = 512, shared: int = 128) -> None:
        super().__init__()
        self.norm, self.parts = ScaleNorm(width), [inner, inner, shared]
        self.given = nn.Linear(width, 2 * inner + shared, bias=False)
        self.gamma = nn.Parameter(torch.rand(2, shared))
        self.beta = nn.Parameter(torch.rand(2, shared))
        self.out = nn.Linear(inner, width, bias=False)
        self.past = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, K, C) -> the same."""
        gate, value, base = torch.split(functional.silu(self.given(self.norm(x))), self.parts, dim=2)
        query, key = base * self.gamma[0] + self.beta[0], base * self.gamma[1] + self.beta[1]
        kernel = functional.relu(query @ key.transpose(1, 2) / base.shape[2] ** 0.5) ** 2
        out: Tensor = x * self.past + self.out(gate * (kernel @ value))
        return out


class RTMPose(nn.Module):
    """RTMPose-m for 17 points in crops of 192 x 256, random weights."""

    def __init__(self) -> None:
        super().__init__()
        #: what ``synthpose.onnx_export`` asks a network for
        self.architecture = SimpleNamespace(input_size=SIZE, head=SimpleNamespace(bins=BINS))
        layers = [conv(3, 24, 3, stride=2), conv(24, 24, 3), conv(24, 48, 3)]
        width = 48
        for channels, blocks, shortcut in STAGES:
            layers.append(conv(width, channels, 3, stride=2))
            if channels == STAGES[-1][0]:
                layers.append(Pyramid(channels))
            layers.append(Stage(channels, blocks, shortcut))
            width = channels
        self.backbone = nn.Sequential(*layers)
        self.maps = nn.Conv2d(width, POINTS, 7, padding=3)
        cells = SIZE[0] // 32 * (SIZE[1] // 32)
        self.tokens = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, 256, bias=False))
        self.mix = Gated()
        self.x, self.y = (nn.Linear(256, bins, bias=False) for bins in BINS)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, 256, 192) -> (n, 17, 384) and (n, 17, 512)."""
        mixed = self.mix(self.tokens(self.maps(self.backbone(pictures)).flatten(2)))
        return self.x(mixed), self.y(mixed)


def vitpose() -> nn.Module:
    """ViTPose-B for 17 points, random weights."""
    return architecture("vit-base", points=POINTS, input_size=SIZE).build(seed=0)


def parameters(net: nn.Module) -> float:
    """How many, in millions."""
    return sum(p.numel() for p in net.parameters()) / 1e6


# --- timing -------------------------------------------------------------------------------------


def export(folder: Path) -> tuple[dict[str, Path], dict[str, float]]:
    """ONNX files of the two random networks, and their parameters in millions, checked."""
    files, counts = {}, {}
    torch.manual_seed(0)
    for name, net in (("RTMPose-m", RTMPose()), ("ViTPose-B", vitpose())):
        counts[name] = parameters(net)
        if abs(counts[name] / MILLIONS[name] - 1) > 0.01:
            raise CapbenchError(
                f"Expected {MILLIONS[name]} million parameters of {name}, got {counts[name]:.2f}."
            )
        files[name] = folder / f"{name}.onnx"
        write_onnx(files[name], cast(Any, net.eval()))
    return files, counts


def built_in(spec: str) -> tuple[str, Path, float]:
    """The model's name, its ONNX file, and the numbers in it, in millions."""
    import onnx

    found = find_model(spec)
    names = [name for name in found.card.files if name.endswith(".onnx")]
    if found.folder is None or not names:
        raise CapbenchError(f"Expected a model with an ONNX file, got {spec}.")
    path = found.folder / names[0]
    weights = onnx.load(str(path)).graph.initializer
    return found.card.name, path, sum(int(np.prod(w.dims)) for w in weights if w.dims) / 1e6


def timings(files: Mapping[str, Path], batch: int, threads: int, repeats: int) -> dict[str, float]:
    """Median milliseconds a crop of each model, who take turns so that a busy moment meets all."""
    random = np.random.default_rng(0)
    runs = {}
    for name, file in files.items():
        made = session(file, threads=threads)
        given = made.get_inputs()[0]
        shape = [batch, *given.shape[1:]]
        runs[name] = (made, {given.name: random.normal(size=shape).astype(np.float32)})
        made.run(None, runs[name][1])  # warm
    taken: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(repeats):
        for name, (made, feed) in runs.items():
            began = time.perf_counter()
            made.run(None, feed)
            taken[name].append(1000 * (time.perf_counter() - began) / batch)
    return {name: statistics.median(each) for name, each in taken.items()}


def size_of(file: Path) -> str:
    """Width x height of the crops that a network takes."""
    height, width = session(file).get_inputs()[0].shape[2:]
    return f"{width}x{height}"


def measure(spec: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Everything."""
    files, counts = export(folder)
    name, path, count = built_in(spec)
    files, counts = {name: path, **files}, {name: count, **counts}
    cores = len(os.sched_getaffinity(0))
    threads = sorted({1, cores})
    return {
        "models": {n: {"millions": counts[n], "crop": size_of(f)} for n, f in files.items()},
        "ms": {f"{b}, {t}": timings(files, b, t, repeats) for t in threads for b in BATCHES},
        "first": name,
        "cores": cores,
        "machine": platform.machine(),
        "onnxruntime": __import__("onnxruntime").__version__,
    }


def report(found: Mapping[str, Any]) -> str:
    """A table: milliseconds a crop, and by how much more than the first model."""
    first = found["first"]
    columns = list(found["ms"])
    lines = [
        f"ms a crop on {found['cores']} cores ({found['machine']}, onnxruntime {found['onnxruntime']}); in "
        f"brackets times {first}",
        "",
        f"{'':12}{'crop':>9}{'M params':>10}"
        + "".join(f"{'batch {}, threads {}'.format(*c.split(', ')):>22}" for c in columns),
    ]
    for name, facts in found["models"].items():
        cells = [(found["ms"][c][name], found["ms"][c][name] / found["ms"][c][first]) for c in columns]
        lines.append(
            f"{name:12}{facts['crop']:>9}{facts['millions']:>10.2f}"
            + "".join(f"{f'{ms:.2f} ({times:.1f}x)':>22}" for ms, times in cells)
        )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default=default_model(), help="an ONNX model, as capbench evaluate takes it"
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.model, Path(folder), given.repeats)
    print(json.dumps(found, indent=1) if given.json else report(found))
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except CapbenchError as error:
        raise SystemExit(str(error)) from None
