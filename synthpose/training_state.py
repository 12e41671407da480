"""What a training needs to go on after a kill, in one safetensors file that is replaced as a whole.

Random numbers need no place in it: every step makes its own from the seed and its number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from capbench.models.checkpoint import read_checkpoint, write_safetensors
from cohorts.bounded import about
from cohorts.errors import CapbenchError

NAME = "state.safetensors"
META = "meta"  #: a tensor that holds JSON


@dataclass
class Progress:
    """Where a training stands.

    Attributes
    ----------
    step : steps done
    best : lowest value so far of what the best checkpoint is chosen by, or None
    best_step : when that was
    seconds : spent so far, over all runs
    identity : hashes of what the weights follow from; another training's state is refused
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    identity: Mapping[str, str] = field(default_factory=dict)


def arrays(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """A state dict as arrays of their own."""
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}


def save_state(
    path: Path,
    progress: Progress,
    *,
    net: nn.Module,
    averaged: nn.Module,
    own: nn.Module,
    optimiser: torch.optim.Optimizer,
    scale: Mapping[str, Any] | None = None,
) -> None:
    """Write everything; the file that was there stays until this one is whole."""
    kept: dict[str, NDArray[Any]] = {}
    for prefix, module in (("net", net), ("average", averaged), ("own", own)):
        kept |= {f"{prefix}.{name}": value for name, value in arrays(module.state_dict()).items()}
    for index, state in optimiser.state_dict()["state"].items():
        kept |= {f"optimiser.{index}.{name}": value for name, value in arrays(state).items()}
    meta = json.dumps({"progress": vars(progress), "scale": dict(scale or {})}, sort_keys=True)
    kept[META] = np.frombuffer(meta.encode(), np.uint8)
    write_safetensors(path, kept, overwrite=True)


def load_state(
    path: Path,
    identity: Mapping[str, str],
    *,
    net: nn.Module,
    averaged: nn.Module,
    own: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> tuple[Progress, dict[str, Any]]:
    """Fill all of them from a file that :func:`save_state` wrote; (progress, the gradient scaler's state)."""
    with about(path):
        found = read_checkpoint(path).tensors
        try:
            meta = json.loads(bytes(found[META]).decode())
            progress, scale = Progress(**meta["progress"]), dict(meta["scale"])
        except (KeyError, TypeError, ValueError):
            raise CapbenchError(
                "Expected the state of a training, got other tensors.", fix="start afresh in another folder"
            ) from None
        names = {**identity, **progress.identity}  # a teacher may have come or gone
        changed = [name for name in names if progress.identity.get(name) != identity.get(name)]
        if changed:
            raise CapbenchError(
                f"Expected the state of this training, got one with another {' and '.join(changed)}.",
                fix="go on with the same recipe, data and start, or train in another folder",
            )
        for prefix, module in (("net", net), ("average", averaged), ("own", own)):
            module.load_state_dict(_tensors(found, prefix))
        whole = optimiser.state_dict()
        whole["state"] = _optimiser_state(found)
        optimiser.load_state_dict(whole)
        _lay_out(optimiser)
    return progress, scale


def _lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Give each moment the memory layout of its parameter: fused steps go through both as they lie."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _tensors(found: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    own = {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}
    return {name: torch.from_numpy(value.copy()) for name, value in own.items()}


def _optimiser_state(found: Mapping[str, NDArray[Any]]) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _tensors(found, "optimiser").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return state
