"""How the learning rate runs over the steps, and which parameters follow it how closely."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cohorts.errors import CapbenchError

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["cosine", "step", "constant"]


def factor(
    step: int,
    steps: int,
    *,
    kind: Kind = "cosine",
    warm_up: int = 0,
    drops: Sequence[float] = (),
    floor: float = 0.0,
) -> float:
    """What the learning rate is multiplied by at ``step`` of ``steps``, which count from 0.

    Parameters
    ----------
    warm_up : steps that it takes to rise in a straight line; the first is not at 0
    drops : shares of the whole at which a step schedule falls to a tenth, such as 15 / 30 epochs
    floor : what a cosine ends at
    """
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    if kind == "constant":
        return 1.0
    if kind == "step":
        return float(0.1 ** sum(step >= share * steps for share in drops))
    share = (step - warm_up) / max(1, steps - warm_up)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def layer(name: str, depth: int) -> int:
    """Which layer of a ViT a parameter belongs to: 0 the patches, then the blocks, ``depth`` + 1 the rest."""
    if name.startswith(("backbone.pos_embed", "backbone.patch_embed")):
        return 0
    found = re.match(r"backbone\.layers\.(\d+)\.", name)
    return int(found[1]) + 1 if found else depth + 1


def groups(
    net: nn.Module, *, weight_decay: float, layer_decay: float = 1.0, head_rate: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, each with ``rate`` (of the learning rate) and ``weight_decay``.

    Biases, norms and positions don't decay, as is usual. With ``layer_decay`` every layer of a ViT learns at
    that share of the rate of the layer above it. ``head_rate`` is for a head that starts from nothing.
    """
    depth = 1 + max((int(m[1]) for m in _blocks(net)), default=-1)
    if layer_decay != 1.0 and not depth:
        raise CapbenchError(
            "Expected a layer decay with a ViT only, got one with a network of convolutions.",
            place="optimiser.layer_decay",
            fix="layer_decay: 1.0",
        )
    made: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = layer_decay ** (depth + 1 - layer(name, depth)) if depth else 1.0
        rate *= head_rate if name.startswith("head.") else 1.0
        decays = parameter.ndim > 1 and not name.endswith(".pos_embed")
        made.setdefault((rate, weight_decay if decays else 0.0), []).append(parameter)
    return [{"params": params, "rate": rate, "weight_decay": decay} for (rate, decay), params in made.items()]


def _blocks(net: nn.Module) -> Iterable[re.Match[str]]:
    for name, _ in net.named_parameters():
        if found := re.match(r"backbone\.layers\.(\d+)\.", name):
            yield found
