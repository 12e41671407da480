"""Parameter names: ours (MMPose 1.x), Hugging Face's VitPose, and the older ones of published checkpoints.

Works on arrays, so that nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohorts.errors import CapbenchError

Tensors = Mapping[str, NDArray[Any]]

# Hugging Face's name -> ours, "#" the number of a layer; query, key and value become one, see below
_VITPOSE = {
    "backbone.embeddings.patch_embeddings.projection": "backbone.patch_embed.projection",
    "backbone.encoder.layer.#.layernorm_before": "backbone.layers.#.ln1",
    "backbone.encoder.layer.#.attention.output.dense": "backbone.layers.#.attn.proj",
    "backbone.encoder.layer.#.layernorm_after": "backbone.layers.#.ln2",
    "backbone.encoder.layer.#.mlp.fc1": "backbone.layers.#.ffn.layers.0.0",
    "backbone.encoder.layer.#.mlp.fc2": "backbone.layers.#.ffn.layers.1",
    "backbone.layernorm": "backbone.ln1",
    "head.deconv1": "head.deconv_layers.0",
    "head.batchnorm1": "head.deconv_layers.1",
    "head.deconv2": "head.deconv_layers.3",
    "head.batchnorm2": "head.deconv_layers.4",
    "head.conv": "head.final_layer",
}
_OURS = {ours: theirs for theirs, ours in _VITPOSE.items()}
_POSITION = "backbone.embeddings.position_embeddings"
_QKV = ("query", "key", "value")

# names before MMPose 1.0 and of the original ViTPose -> ours
_OLD = (
    (r"keypoint_head\.", "head."),
    (r"backbone\.blocks\.(\d+)\.norm([12])\.", r"backbone.layers.\1.ln\2."),
    (r"backbone\.blocks\.(\d+)\.mlp\.fc1\.", r"backbone.layers.\1.ffn.layers.0.0."),
    (r"backbone\.blocks\.(\d+)\.mlp\.fc2\.", r"backbone.layers.\1.ffn.layers.1."),
    (r"backbone\.blocks\.(\d+)\.", r"backbone.layers.\1."),
    (r"backbone\.patch_embed\.proj\.", "backbone.patch_embed.projection."),
    (r"backbone\.last_norm\.", "backbone.ln1."),
)


def to_ours(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Weights under our names, whichever of the known names they have; unknown ones stay as they are."""
    if _POSITION in tensors:
        return from_transformers(tensors)
    made: dict[str, NDArray[Any]] = {}
    for name, array in tensors.items():
        new = name
        for pattern, replacement in _OLD:
            new = re.sub(f"^{pattern}", replacement, new)
        if new in made:
            raise CapbenchError(f"Expected each parameter once, got {new} twice.")
        made[new] = array
    _fold_class_position(made)
    return made


def _fold_class_position(tensors: dict[str, NDArray[Any]]) -> None:
    """The original ViTPose keeps the class token's position and adds it to every patch: one sum in ours."""
    position = tensors.get("backbone.pos_embed")
    if position is None or position.ndim != 3 or "backbone.cls_token" in tensors:
        return
    patches = position.shape[1] - 1
    if _is_grid(patches) and not _is_grid(patches + 1):
        tensors["backbone.pos_embed"] = position[:, 1:] + position[:, :1]


def _is_grid(patches: int) -> bool:
    """Whether so many patches fill a 3:4 or a square crop."""
    return any(round((patches / ratio) ** 0.5) ** 2 * ratio == patches for ratio in (12, 1) if patches > 0)


def from_transformers(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """A VitPose state dict of Hugging Face under our names."""
    if any(".experts." in name for name in tensors):
        raise CapbenchError(
            "Expected one expert, got a mixture of experts, which our ViT has not.", fix="run it as hf"
        )
    made: dict[str, NDArray[Any]] = {}
    for name, array in tensors.items():
        if name == _POSITION:
            made["backbone.pos_embed"] = array[:, 1:] + array[:, :1]
        elif found := re.match(
            r"(backbone\.encoder\.layer\.(\d+)\.attention\.attention\.)query\.(.+)$", name
        ):
            stem, number, kind = found.groups()
            parts = [_part(tensors, f"{stem}{part}.{kind}") for part in _QKV]
            made[f"backbone.layers.{number}.attn.qkv.{kind}"] = np.concatenate(parts)
        elif ".attention.attention." not in name:
            made[_renamed(name, _VITPOSE)] = array
    return made


def to_transformers(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Our weights of a ViT under Hugging Face's names; its class position, which it adds, becomes zero."""
    made: dict[str, NDArray[Any]] = {}
    for name, array in tensors.items():
        if name == "backbone.pos_embed":
            made[_POSITION] = np.concatenate([np.zeros_like(array[:, :1]), array], axis=1)
        elif found := re.match(r"backbone\.layers\.(\d+)\.attn\.qkv\.(.+)$", name):
            number, kind = found.groups()
            for part, third in zip(_QKV, np.split(array, 3), strict=True):
                made[f"backbone.encoder.layer.{number}.attention.attention.{part}.{kind}"] = third
        else:
            made[_renamed(name, _OURS)] = array
    return made


def _part(tensors: Tensors, name: str) -> NDArray[Any]:
    if name not in tensors:
        raise CapbenchError(f"Expected the parameter {name}, got none.")
    return tensors[name]


def _renamed(name: str, table: Mapping[str, str]) -> str:
    stem, _, kind = name.rpartition(".")
    number = re.search(r"\.(?:layer|layers)\.(\d+)\.", stem)
    if number and not stem.startswith("head."):
        stem = f"{stem[: number.start(1)]}#{stem[number.end(1) :]}"
    if stem not in table:
        raise CapbenchError(f"Expected a parameter of VitPose, got {name!r}.")
    return f"{table[stem].replace('#', number[1] if number else '')}.{kind}"
