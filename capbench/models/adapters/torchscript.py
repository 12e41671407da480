"""TorchScript archives: ``torch.jit.load`` and run. They need trust.

Such an archive is a program and not only weights: loading compiles its code and may run some of it
(``__setstate__``), and its operators reach files (``aten::from_file``, ``aten::save``) and whatever native
libraries the process has loaded. No mode of torch keeps the network and runs no code. So it runs only with
leave; ONNX, safetensors and state dicts are the formats for strangers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.adapters.onnx import choose
from capbench.models.adapters.torch_run import Network, need_torch
from capbench.models.card import ModelCard, codec_of, file_below, input_of
from capbench.models.checkpoint import CHECKPOINT_LIMIT
from capbench.models.topdown import TopDown
from cohorts.bounded import regular_file
from cohorts.errors import CapbenchError, RefusedError


def open(
    card: ModelCard, folder: Path, *, device: str = "cpu", trust: bool = False, threads: int | None = None
) -> TopDown:
    """The program in ``card``'s first file; it must give heatmaps or SimCC vectors for (n, 3, h, w)."""
    if not trust:
        raise RefusedError(
            f"Expected leave to run {card.name}, got none: a TorchScript file is a program.",
            file=folder,
            fix="give --trust if you know its maker, or ask for ONNX or a state dict",
        )
    need_torch()
    if card.weights is None:
        raise CapbenchError(
            f"Expected a TorchScript file among the files of {card.name}, got none.", file=folder
        )
    path = regular_file(file_below(folder, card.weights), CHECKPOINT_LIMIT)
    network = Network(_loaded(path), device=device, threads=threads)
    size, kind, count = input_of(card).size, codec_of(card).kind, len(card.points)

    def run(batch: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        found = network(batch)
        chosen = choose({name: v.shape for name, v in found.items()}, count, size, kind=kind)
        return {role: found[name] for role, name in chosen.items()}

    return TopDown(card, run, close=network.close)


def _loaded(path: Path) -> Any:
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            # torch is phasing TorchScript out: its advice is for those who write such files
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Any = torch.jit.load  # has no types
            return load(str(path), map_location="cpu")
    except (
        Exception
    ) as error:  # torch raises RuntimeError, ValueError and others, all for a file it can't use
        first = str(error).strip().splitlines()
        raise CapbenchError(
            f"Expected a TorchScript archive, got: {first[0][:200] if first else type(error).__name__}",
            file=path,
            fix="make it with torch.jit.save, or run a state dict as route torch",
        ) from None
