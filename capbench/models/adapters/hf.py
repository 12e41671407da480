"""Hugging Face's VitPose: a folder of ``config.json`` and weights, or ``hf:ORG/NAME`` from the hub.

The network is transformers' own; crop, normalisation and decoding are ours. The configuration is taken field
by field and the weights go through :mod:`capbench.models.checkpoint`, so that nothing a folder says makes
transformers load other code (``auto_map``, kernels from the hub, adapters, quantisers, other backbones).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.torch_native import SKELETONS
from capbench.models.adapters.torch_run import Network, need_torch
from capbench.models.card import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Codec,
    Input,
    ModelCard,
    Net,
    Points,
    file_below,
    input_of,
)
from capbench.models.checkpoint import read_checkpoint
from capbench.models.topdown import TopDown
from cohorts.bounded import CARD_LIMIT, about, load_json, read_text
from cohorts.errors import CapbenchError, EnvironmentFault, printable
from cohorts.store import sha256

if TYPE_CHECKING:
    import torch

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|pytorch_model(-\d{5}-of-\d{5})?\.bin")
#: what of a backbone's configuration is taken over, and the largest value it may have
_SIZES = {
    "hidden_size": 4096,
    "num_hidden_layers": 128,
    "num_attention_heads": 256,
    "mlp_ratio": 16,
    "num_experts": 64,
    "part_features": 4096,
}
#: transformers blurs maps by 0.8 cells before it looks between them (OpenCV's Gaussian of width 3); the
#: original ViTPose does so by 2 (width 11). On a clean peak both are exact
BLUR = 3
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def open(card: ModelCard, folder: Path, *, device: str = "cpu", threads: int | None = None) -> TopDown:
    """transformers' VitPose with the folder's weights.

    A mixture of experts is asked as ``card.net.options["dataset_index"]`` says (0 is COCO).
    """
    need_torch()
    facts = read_config(folder)
    if input_of(card).size != facts.input_size:
        raise CapbenchError(
            f"Expected the input size {facts.input_size} of {CONFIG}, got {input_of(card).size} in the card.",
            file=folder,
        )
    module = _module(facts, folder, len(card.points))
    expert = _expert(card, facts, folder)
    network = _VitPose(module, device=device, threads=threads, expert=expert)

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        (heatmaps,) = network(batch).values()
        return {"heatmaps": heatmaps}

    return TopDown(card, run, close=network.close)


class _VitPose(Network):
    """VitPose gives an object; its experts want to be told which of them is asked."""

    def __init__(self, module: Any, *, device: str, threads: int | None, expert: int | None) -> None:
        super().__init__(module, device=device, threads=threads)
        self._expert = expert

    def _answer(self, batch: torch.Tensor) -> Any:
        if self._expert is None:
            return self._module(batch).heatmaps
        return self._module(batch, dataset_index=batch.new_full((len(batch),), self._expert).long()).heatmaps


def _expert(card: ModelCard, facts: Facts, folder: Path) -> int | None:
    """Which expert to ask; None where there is but one."""
    if facts.experts == 1:
        return None
    index = None if card.net is None else card.net.options.get("dataset_index")
    if type(index) is not int or not 0 <= index < facts.experts:
        raise CapbenchError(
            f"Expected which of {facts.experts} experts to ask, got {printable(index)[:40]}.",
            file=folder,
            fix="net: {architecture: vitpose, options: {dataset_index: 0}}, where 0 is COCO",
        )
    return index


def _module(facts: Facts, folder: Path, points: int) -> torch.nn.Module:
    try:
        from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that fits another torch
        raise EnvironmentFault(
            f"Expected transformers with VitPose, got: {str(error).splitlines()[0][:200]}",
            fix="pip install 'capbench[hf]'; if it names torchvision: pip uninstall torchvision",
        ) from None
    import torch

    from capbench.models.nets.pose import fill

    make: Any = VitPoseBackboneConfig  # its types leave out what its parents take
    backbone = make(**facts.backbone, out_indices=[facts.backbone["num_hidden_layers"]])
    make = VitPoseConfig
    config = make(
        backbone_config=backbone,
        num_labels=points,
        scale_factor=facts.scale_factor,
        use_simple_decoder=facts.simple,
    )
    with torch.device("meta"):
        module = cast("torch.nn.Module", VitPoseForPoseEstimation(config))
    with about(folder):
        fill(module, _weights(folder, facts))
    return module


def _weights(folder: Path, facts: Facts) -> dict[str, NDArray[Any]]:
    """All tensors of the folder's files, under the names that this version of transformers has."""
    made: dict[str, NDArray[Any]] = {}
    for name in facts.weights:
        for key, array in read_checkpoint(file_below(folder, name)).tensors.items():
            # transformers 4 nested the experts once more than 5 does
            made[key.replace(".experts.experts.", ".experts.")] = array
    if _experts_nested():
        made = {key.replace(".experts.", ".experts.experts."): array for key, array in made.items()}
    return made


def _experts_nested() -> bool:
    from torch import nn
    from transformers.models.vitpose_backbone import modeling_vitpose_backbone as module

    moe = getattr(module, "VitPoseNaiveMoe", None)
    return moe is not None and not issubclass(moe, nn.ModuleList)


# --- the folder -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What a folder's configuration says, checked.

    Attributes
    ----------
    backbone : what transformers' VitPoseBackboneConfig takes
    input_size : (width, height)
    experts : 1 without a mixture
    simple : the head: enlarge and one convolution, or two transposed convolutions
    labels : the points' names in their order, or None where it has none
    weights : the files that hold them
    """

    backbone: Mapping[str, Any]
    input_size: tuple[int, int]
    experts: int
    simple: bool
    scale_factor: int
    labels: tuple[str, ...] | None
    weights: tuple[str, ...]


def read_config(folder: Path) -> Facts:
    """``config.json`` of a VitPose model; anything else is refused kindly."""
    path = folder / CONFIG
    given = load_json(path, CARD_LIMIT)
    with about(path):
        if not isinstance(given, dict) or given.get("model_type") != "vitpose":
            kind = given.get("model_type") if isinstance(given, dict) else None
            raise CapbenchError(
                f"Expected a model of type vitpose, got {printable(kind)[:40]}.",
                fix="export it to ONNX, or bring it as a Python class (route python)",
            )
        backbone: Any = given.get("backbone_config")
        own = isinstance(backbone, dict) and backbone.get("model_type") == "vitpose_backbone"
        if not own or given.get("backbone") or given.get("use_timm_backbone"):
            raise CapbenchError("Expected VitPose's own backbone in backbone_config, got another.")
        size, patch = _pair(backbone, "image_size"), _pair(backbone, "patch_size")
        taken: dict[str, Any] = {"image_size": size, "patch_size": patch}
        for key, most in _SIZES.items():
            if key in backbone:
                taken[key] = _whole(backbone, key, most)
        taken.setdefault("num_hidden_layers", 12)
        if (eps := backbone.get("layer_norm_eps")) is not None:
            taken["layer_norm_eps"] = _share(eps)
        if backbone.get("hidden_act", "gelu") != "gelu" or backbone.get("qkv_bias", True) is not True:
            raise CapbenchError("Expected gelu and biases of query, key and value, as VitPose has them.")
        return Facts(
            backbone=taken,
            input_size=(size[1], size[0]),
            experts=taken.get("num_experts", 1),
            simple=given.get("use_simple_decoder", True) is True,
            scale_factor=_whole(given, "scale_factor", 16) if "scale_factor" in given else 4,
            labels=_labels(given),
            weights=_weight_files(folder),
        )


def _whole(given: Mapping[str, Any], key: str, most: int) -> int:
    value = given[key]
    if type(value) is not int or not 1 <= value <= most:
        raise CapbenchError(f"Expected {key} from 1 to {most}, got {printable(value)[:40]}.")
    return value


_PAIRS = {"image_size": (256, 192), "patch_size": (16, 16)}


def _pair(given: Mapping[str, Any], key: str) -> tuple[int, int]:
    """Height and width."""
    value = given.get(key, _PAIRS[key])
    both = value if isinstance(value, (list, tuple)) else (value, value)
    if len(both) != 2 or not all(type(v) is int and 1 <= v <= 4096 for v in both):
        raise CapbenchError(f"Expected {key} as height and width in pixels, got {printable(value)[:40]}.")
    return both[0], both[1]


def _share(value: Any) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise CapbenchError(f"Expected layer_norm_eps between 0 and 1, got {printable(value)[:40]}.")
    return value


def _labels(given: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The points' names; None where the file has placeholders or nothing."""
    labels = given.get("id2label")
    if not isinstance(labels, dict) or not 0 < len(labels) <= 1000:
        return None
    names = tuple(printable(labels.get(str(i), ""))[:80] for i in range(len(labels)))
    return names if all(names) else None


def _weight_files(folder: Path) -> tuple[str, ...]:
    """Safetensors where there are any, otherwise torch's own files."""
    found = sorted(path.name for path in folder.iterdir() if _WEIGHTS.fullmatch(path.name))
    safe = tuple(name for name in found if name.endswith(".safetensors"))
    if not found:
        raise CapbenchError("Expected model.safetensors or pytorch_model.bin beside it, got neither.")
    return safe or tuple(found)


# --- cards ------------------------------------------------------------------------------------------


def card_of(folder: Path) -> ModelCard:
    """A card from what the folder itself says; its ``notes`` say what was guessed."""
    facts = read_config(folder)
    notes = ["Guessed: licence and training data unknown; no flip test."]
    names = (*facts.weights, CONFIG, *([PROCESSOR] if (folder / PROCESSOR).is_file() else []))
    options = {"dataset_index": 0} if facts.experts > 1 else {}
    if options:
        notes.append(f"Guessed: the first of {facts.experts} experts, which is COCO's where published.")
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in folder.resolve().name)
    return ModelCard(
        name=stem.lstrip("._-")[:80] or "model",
        version="unknown",
        title=f"{folder.resolve().name[:80]}, a VitPose of transformers",
        licence="unknown",
        route="hf",
        skeleton=_skeleton(facts, folder, notes),
        net=Net(architecture="vitpose", options=options) if options else None,
        input=_input(facts, folder),
        codec=Codec(kind="heatmap", decoding="udp", sigma=2, kernel=BLUR),
        files={name: sha256(file_below(folder, name)) for name in names},
        notes=tuple(notes),
    )


def _skeleton(facts: Facts, folder: Path, notes: list[str]) -> str | Points:
    labels = facts.labels
    count = len(labels) if labels is not None else _channels(folder, facts)
    if count in SKELETONS:
        notes.append(f"Guessed: {SKELETONS[count]}, as it gives {count} points.")
        return SKELETONS[count]
    if labels is None or len(set(labels)) != count:
        raise CapbenchError(
            f"Expected {' or '.join(map(str, SKELETONS))} points or names in id2label, got {count} without.",
            file=folder / CONFIG,
            fix="write a card beside it (model.yaml) that names them",
        )
    notes.append("Guessed: the points are those that id2label names; which of them are pairs isn't known.")
    return Points(name="id2label", points=labels)


def _channels(folder: Path, facts: Facts) -> int:
    """How many maps the head gives."""
    for name in facts.weights:
        found = read_checkpoint(file_below(folder, name)).shapes.get("head.conv.weight")
        if found:
            return found[0]
    raise CapbenchError("Expected head.conv.weight among the weights, got none.", file=folder)


def _input(facts: Facts, folder: Path) -> Input:
    path = folder / PROCESSOR
    given = load_json(path, CARD_LIMIT) if path.is_file() else {}
    mean, std = (
        _triple(given, key, default, path)
        for key, default in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD))
    )
    return Input(size=facts.input_size, padding=1.25, mean=mean, std=std)


def _triple(
    given: Any, key: str, default: tuple[float, float, float], path: Path
) -> tuple[float, float, float]:
    value = given.get(key, default) if isinstance(given, dict) else default
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 3
        or not all(isinstance(v, float) for v in value)
    ):
        raise CapbenchError(f"Expected three numbers in {key}, got {printable(value)[:40]}.", file=path)
    return value[0], value[1], value[2]


# --- the hub ----------------------------------------------------------------------------------------


def find(name: str) -> tuple[ModelCard, Path]:
    """The model ``ORG/NAME`` or ``ORG/NAME@REVISION`` of the hub: its card and where its files are now.

    Only configuration and weights are fetched, into the cache (``$CAPBENCH_CACHE/hub``); nothing that could
    run. What was fetched before serves without a network.
    """
    repository, _, revision = name.partition("@")
    if not _ID.fullmatch(repository) or not re.fullmatch(r"[\w./-]{0,80}", revision):
        raise CapbenchError(f"Expected hf:ORG/NAME or hf:ORG/NAME@REVISION, got hf:{name[:80]}.")
    folder = _cache() / "hub" / repository.replace("/", "--") / (revision.replace("/", "-") or "main")
    if not (folder / CONFIG).is_file() or not any(_WEIGHTS.fullmatch(p.name) for p in folder.iterdir()):
        _download(repository, revision or None, folder)
    card = card_of(folder)
    words = {"name": repository.replace("/", "-")[:80], "title": f"{repository} on Hugging Face's hub"}
    return card.model_copy(update={**words, "version": _commit(folder) or revision or "main"}), folder


def _commit(folder: Path) -> str | None:
    """Which commit was fetched, as the hub's client notes it."""
    path = folder / ".cache" / "huggingface" / "download" / f"{CONFIG}.metadata"
    first = read_text(path, CARD_LIMIT).partition("\n")[0] if path.is_file() else ""
    return first if re.fullmatch(r"[0-9a-f]{40}", first) else None


def _cache() -> Path:
    for variable, below in (("CAPBENCH_CACHE", ""), ("XDG_CACHE_HOME", "capbench")):
        given = os.environ.get(variable, "")
        if given and Path(given).is_absolute():
            return Path(given) / below
    return Path("~/.cache/capbench").expanduser()


def _download(repository: str, revision: str | None, folder: Path) -> None:
    """Fetch configuration and weights; safetensors alone where the repository has them."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise EnvironmentFault(
            "Expected huggingface_hub to fetch from the hub, got none.", fix="pip install 'capbench[hf]'"
        ) from None

    def fetch(*patterns: str) -> None:
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(patterns))

    try:
        fetch(CONFIG, PROCESSOR, "model*.safetensors")
        if not any(path.suffix == ".safetensors" for path in folder.iterdir()):
            fetch("pytorch_model*.bin")
    except Exception as error:  # the hub's client, its HTTP library and the system all have their own kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EnvironmentFault(
            f"Expected to fetch {repository} from huggingface.co, got: {first[:200]}",
            fix="check the name and the network; or fetch it elsewhere and give its folder: "
            f"hf download {repository} --local-dir FOLDER",
        ) from None
