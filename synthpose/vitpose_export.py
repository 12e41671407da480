"""A ViT of ours as Hugging Face's VitPose: a folder that transformers loads.

Its shapes are VitPose's or it is refused: one of its two heads, feed-forward blocks of whole multiples, crops
of whole patches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.hf import CONFIG, PROCESSOR
from capbench.models.card import ModelCard, input_of
from capbench.models.checkpoint import write_safetensors
from capbench.models.nets import names
from capbench.models.nets.architecture import Architecture, HeadSize, ViTSize, to_options
from capbench.models.topdown import Outputs, Run
from cohorts.bounded import write_text
from cohorts.errors import CapbenchError, EnvironmentFault

WEIGHTS = "model.safetensors"
PADDING = 1.25  #: of boxes, in transformers' own processor of VitPose
NORM_EPS = 1e-6  #: of our ViT's norms; transformers' default is another


def config_of(made: Architecture, card: ModelCard) -> dict[str, Any]:
    """What transformers' VitPoseConfig is told; refused for what its VitPose can't be."""
    size, head, given = made.backbone, made.head, input_of(card)
    simple = (
        head == HeadSize(points=head.points, final_kernel=3, upsample=head.upsample) and head.upsample > 1
    )
    classic = head == HeadSize(points=head.points, deconv=(256, 256))
    if not isinstance(size, ViTSize) or not (simple or classic):
        raise CapbenchError(
            "Expected a ViT with the head of ViTPose (simple, or deconv of 256 and 256) to write as Hugging "
            f"Face's VitPose, got {to_options(made)[0]}"
            + (f" with {head}." if isinstance(size, ViTSize) else "."),
            fix="leave out the format hf",
        )
    if (size.hidden or 4 * size.width) % size.width or any(side % size.patch for side in made.input_size):
        raise CapbenchError(
            "Expected feed-forward blocks of a whole multiple of the width, and crops of whole patches, for "
            f"VitPose, got {size} and {made.input_size}.",
            fix="leave out the format hf",
        )
    if given.scale != 1 or given.colour != "rgb" or given.layout != "nchw" or given.padding != PADDING:
        raise CapbenchError(
            f"Expected an input of RGB from 0 to 1, and boxes padded by {PADDING}, as VitPose's processor "
            f"has them, got {given.colour}, {given.scale}, {given.layout}, padding {given.padding:g}.",
            fix="leave out the format hf",
        )
    backbone = {
        "image_size": [made.input_size[1], made.input_size[0]],
        "patch_size": [size.patch, size.patch],
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "mlp_ratio": (size.hidden or 4 * size.width) // size.width,
        "layer_norm_eps": NORM_EPS,
        "out_indices": [size.depth],
    }
    return {
        "backbone": backbone,
        "use_simple_decoder": simple,
        "scale_factor": head.upsample if simple else 4,
    }


def write(folder: Path, made: Architecture, state: names.Tensors, card: ModelCard) -> None:
    """``config.json``, ``preprocessor_config.json`` and weights, as transformers reads them."""
    told = config_of(made, card)
    config = _config(told, card.points.points)
    text = json.dumps(config.to_diff_dict() | {"architectures": ["VitPoseForPoseEstimation"]}, indent=1)
    write_text(folder / CONFIG, text + "\n")
    given = input_of(card)
    processor = {
        "image_processor_type": "VitPoseImageProcessor",
        "do_affine_transform": True,
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": list(given.mean),
        "image_std": list(given.std),
        "rescale_factor": 1 / 255,
        "size": {"height": given.size[1], "width": given.size[0]},
    }
    write_text(folder / PROCESSOR, json.dumps(processor, indent=1) + "\n")
    write_safetensors(folder / WEIGHTS, names.to_transformers(state))


def _config(told: Mapping[str, Any], points: Sequence[str]) -> Any:
    try:
        from transformers import VitPoseBackboneConfig, VitPoseConfig
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that fits another torch
        raise EnvironmentFault(
            f"Expected transformers with VitPose, got: {str(error).splitlines()[0][:200]}",
            fix="pip install 'capbench[hf]'",
        ) from None
    make: Any = VitPoseBackboneConfig  # its types leave out what its parents take
    backbone = make(**told["backbone"])
    make = VitPoseConfig
    return make(
        backbone_config=backbone,
        id2label=dict(enumerate(points)),
        label2id={name: i for i, name in enumerate(points)},
        use_simple_decoder=told["use_simple_decoder"],
        scale_factor=told["scale_factor"],
    )


def run_of(folder: Path) -> Run:
    """The folder as transformers itself loads it."""
    import torch
    from transformers import VitPoseForPoseEstimation
    from transformers.utils import logging

    hush: Any = logging.disable_progress_bar
    hush()
    kind: Any = VitPoseForPoseEstimation
    module = kind.from_pretrained(folder, local_files_only=True).eval()

    def run(batch: NDArray[np.float32]) -> Outputs:
        with torch.inference_mode():
            return {"heatmaps": module(torch.from_numpy(batch)).heatmaps.numpy()}

    return run
