#!/usr/bin/env python
"""Run one and the same checkpoint by every route, and show how far the keypoints are apart.

    python scripts/model_routes.py [--keep FOLDER] [--python MMPOSE_PYTHON] [--repeat 5]

A small HRNet and a small ViTPose with random weights go through our own torch modules, ONNX, TorchScript,
Hugging Face's transformers (ViTPose only) and, where its environment is found, MMPose in a worker. All of
them are opened by ``open_model``. Random weights give flat maps whose highest cell is decided by rounding, so
the last layer is solved for (:mod:`capbench.models.nets.planted`) until each map has one peak.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from capbench.models import crop, decode
from capbench.models.adapters.hf import BLUR
from capbench.models.card import Codec, Decoding, Input, ModelCard, Net, write_card
from capbench.models.environments import python_of
from capbench.models.nets import names
from capbench.models.nets.architecture import Architecture, HRNetSize, from_options, to_options
from capbench.models.nets.planted import marked_pictures, plant, target_maps
from capbench.models.nets.pose import PoseNet
from capbench.models.predictor import Predicted
from capbench.models.registry import open_model
from capbench.models.topdown import normalised
from cohorts.errors import CapbenchError, EnvironmentFault
from cohorts.store import sha256
from cohorts.values import FloatArray

POINTS, SIZE = 17, (192, 256)
NETS: Mapping[str, tuple[str, dict[str, Any], Decoding]] = {
    "hrnet": (
        "hrnet-w32",
        {"stem_blocks": 1, "blocks": 1, "modules": [1, 1, 1], "final_kernel": 3},
        "dark",
    ),
    "vit": ("vit-tiny", {"width": 96, "depth": 2, "head": "simple"}, "udp"),
}  #: name -> architecture, what departs from it, decoding
LIMIT = 0.2  #: pixels
Route = Literal["torch", "onnx", "torchscript", "hf"]


@dataclass(frozen=True)
class Planted:
    """A network, the pictures that its last layer was solved for, and its card without files."""

    net: PoseNet
    card: ModelCard
    pictures: list[Any]
    boxes: FloatArray


def planted(name: str, *, pictures: int = 3) -> Planted:
    """The network ``name`` of :data:`NETS`, the same every time."""
    base, options, decoding = NETS[name]
    made = from_options(base, options, points=POINTS, input_size=SIZE)
    # the folder of Hugging Face is decoded as transformers does: so are the others
    codec = Codec(kind="heatmap", decoding=decoding, kernel=BLUR if decoding == "udp" else 11)
    seen, marks, boxes = marked_pictures(pictures, POINTS)
    crops = crop.plan(boxes, SIZE, geometry="udp" if codec.udp else "msra")
    batch = normalised(crop.cut(list(seen), crops), Input(size=SIZE))
    cell = decode.cell_size(SIZE, made.heatmap_size, codec=codec)
    maps = target_maps(crops.to_crop(marks) / np.array(cell), made.heatmap_size)
    card = ModelCard(
        name=name,
        version="1",
        licence="CC0-1.0",
        route="torch",
        skeleton="coco-17",
        net=Net(architecture=to_options(made)[0], options=to_options(made)[1]),
        input=Input(size=SIZE),
        codec=codec,
    )
    return Planted(plant(made.build(seed=0), batch, maps), card, list(seen), boxes)


# --- one writer a route -----------------------------------------------------------------------------


def _with_card(folder: Path, card: ModelCard, route: Route, weights: str) -> Path:
    update = {"route": route, "files": {weights: sha256(folder / weights)}}
    write_card(folder / "model.yaml", card.model_copy(update=update))
    return folder


def write_torch(folder: Path, made: Planted) -> Path:
    """A folder with a checkpoint as MMPose writes it."""
    torch.save({"meta": {"epoch": 1}, "state_dict": made.net.state_dict()}, folder / "weights.pth")
    return _with_card(folder, made.card, "torch", "weights.pth")


def write_onnx(folder: Path, made: Planted) -> Path:
    """A folder with an ONNX export."""
    example = torch.zeros(2, 3, SIZE[1], SIZE[0])
    batch = torch.export.Dim("batch", min=1, max=1024)
    with _quiet():
        program = torch.onnx.export(
            made.net,
            (example,),
            dynamo=True,
            input_names=["picture"],
            output_names=["heatmaps"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(folder / "weights.onnx")
    return _with_card(folder, made.card, "onnx", "weights.onnx")


def write_torchscript(folder: Path, made: Planted) -> Path:
    """A folder with a traced network."""
    with _quiet(), torch.no_grad():
        trace: Any = torch.jit.trace
        trace(made.net, torch.zeros(2, 3, SIZE[1], SIZE[0])).save(str(folder / "weights.pt"))
    return _with_card(folder, made.card, "torchscript", "weights.pt")


def write_hf(folder: Path, made: Planted) -> Path:
    """A folder as transformers writes it; no card: it tells all itself."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.utils.logging import disable_progress_bar

    hush: Any = disable_progress_bar
    hush()
    size = made.net.architecture.backbone
    assert not isinstance(size, HRNetSize)
    make: Any = VitPoseBackboneConfig
    backbone = make(
        image_size=(SIZE[1], SIZE[0]),
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        out_indices=[size.depth],
    )
    make = VitPoseConfig
    model: Any = VitPoseForPoseEstimation(
        make(backbone_config=backbone, num_labels=POINTS, use_simple_decoder=True)
    )
    state = {name: value.numpy() for name, value in made.net.state_dict().items()}
    weights = {name: torch.from_numpy(array.copy()) for name, array in names.to_transformers(state).items()}
    model.load_state_dict(weights, strict=True)
    model.save_pretrained(folder)
    return folder


def write_mmpose(folder: Path, made: Planted) -> str:
    """A config and a checkpoint; the specification that names both."""
    torch.save({"meta": {}, "state_dict": made.net.state_dict()}, folder / "weights.pth")
    (folder / "config.py").write_text(mmpose_config(made.net.architecture), encoding="utf-8")
    return f"mmpose:{folder / 'config.py'}:{folder / 'weights.pth'}"


def mmpose_config(made: Architecture) -> str:
    """An MMPose configuration of an HRNet that is run as our card says: no flip test."""
    size = made.backbone
    assert isinstance(size, HRNetSize)
    stages = {"stage1": (1, 1, "BOTTLENECK", size.stem_blocks, (size.stem_width,))}
    for i, modules in enumerate(size.modules, start=2):
        widths = tuple(size.width * 2**b for b in range(i))
        stages[f"stage{i}"] = (modules, i, "BASIC", size.blocks, widths)
    extra = {
        name: {
            "num_modules": modules,
            "num_branches": branches,
            "block": block,
            "num_blocks": (blocks,) * branches,
            "num_channels": widths,
        }
        for name, (modules, branches, block, blocks, widths) in stages.items()
    }
    codec = {
        "type": "MSRAHeatmap",
        "input_size": made.input_size,
        "heatmap_size": made.heatmap_size,
        "sigma": 2,
        "unbiased": True,
    }
    kernel = made.head.final_kernel
    head = {
        "type": "HeatmapHead",
        "in_channels": size.width,
        "out_channels": made.head.points,
        "deconv_out_channels": None,
        "final_layer": {"kernel_size": kernel, "padding": kernel // 2},
        "loss": {"type": "KeypointMSELoss", "use_target_weight": True},
        "decoder": codec,
    }
    # the words that say which points there are must be told apart without running the file
    return f"""default_scope = "mmpose"
dataset_type = "CocoDataset"
codec = {codec!r}
model = dict(
    type="TopdownPoseEstimator",
    data_preprocessor=dict(
        type="PoseDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="HRNet", in_channels=3, extra={extra!r}),
    head=dict({", ".join(f"{key}={value!r}" for key, value in head.items())}),
    test_cfg=dict(flip_test=False),
)
val_pipeline = [
    dict(type="LoadImage"),
    dict(type="GetBBoxCenterScale"),
    dict(type="TopdownAffine", input_size=codec["input_size"]),
    dict(type="PackPoseInputs"),
]
test_dataloader = dict(dataset=dict(type=dataset_type, data_mode="topdown", pipeline=val_pipeline,
    metainfo=dict(from_file="configs/_base_/datasets/coco.py")))
"""


def _quiet() -> Any:
    """Exporters write a page about themselves each time, and warn that others are newer."""
    import contextlib
    import logging
    import os
    import warnings

    @contextlib.contextmanager
    def hushed() -> Any:
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield

    return hushed()


WRITERS: Mapping[str, Callable[[Path, Planted], Path | str]] = {
    "torch": write_torch,
    "onnx": write_onnx,
    "torchscript": write_torchscript,
    "hf": write_hf,
    "mmpose": write_mmpose,
}
ROUTES = {"hrnet": ("torch", "onnx", "torchscript", "mmpose"), "vit": ("torch", "onnx", "torchscript", "hf")}


# --- the comparison ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What one route gave; ``apart`` is the largest distance of a keypoint from the first route's, pixels."""

    net: str
    route: str
    apart: float
    milliseconds: float
    answer: Predicted


def run(made: Planted, name: str, route: str, folder: Path, *, python: str | None, repeat: int) -> Row:
    """Write, open and ask: the answer, and the median time for a crop."""
    folder = folder / f"{name}-{route}"
    folder.mkdir()
    spec = WRITERS[route](folder, made)
    model = open_model(spec, trust=True, python=python if route == "mmpose" else None)
    try:
        answer = model.predict(made.pictures, made.boxes)
        times = []
        for _ in range(repeat):
            begun = time.perf_counter()
            model.predict(made.pictures, made.boxes)
            times.append(time.perf_counter() - begun)
    finally:
        model.close()
    return Row(name, route, np.nan, 1e3 * float(np.median(times)) / len(made.pictures), answer)


def compare(name: str, folder: Path, *, python: str | None = None, repeat: int = 1) -> list[Row]:
    """Every route of the network ``name``; MMPose's only where ``python`` has it."""
    made = planted(name)
    rows: list[Row] = []
    for route in ROUTES[name]:
        if route == "mmpose" and python is None:
            continue
        row = run(made, name, route, folder, python=python, repeat=repeat)
        first = rows[0].answer.points if rows else row.answer.points
        apart = float(np.linalg.norm(row.answer.points - first, axis=-1).max())  # NaN counts as different
        rows.append(Row(name, route, apart, row.milliseconds, row.answer))
    return rows


def mmpose_python(given: str | None) -> str | None:
    """The Python that has MMPose, or None where there is none."""
    try:
        return python_of("mmpose", given)
    except EnvironmentFault:
        return None


def main() -> int:
    """Print the table; 0 if all routes agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="an empty folder to keep the models in")
    parser.add_argument("--python", help="the Python that has MMPose (default: what models install made)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each is timed")
    parser.add_argument("--json", action="store_true", help="print rows of JSON")
    args = parser.parse_args()
    python = mmpose_python(args.python)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        rows = [row for name in NETS for row in compare(name, folder, python=python, repeat=args.repeat)]
    if args.json:
        listed = [{"net": r.net, "route": r.route, "px": r.apart, "ms": r.milliseconds} for r in rows]
        print(json.dumps(listed))
    else:
        print(f"{'network':8}{'route':13}{'max difference (px)':>20}{'ms a crop':>11}")
        for row in rows:
            print(f"{row.net:8}{row.route:13}{row.apart:20.2g}{row.milliseconds:11.1f}")
        if python is None:
            print("mmpose left out: no environment (capbench models install mmpose)")
    return int(not all(row.apart < LIMIT for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CapbenchError as error:
        sys.exit(str(error))
