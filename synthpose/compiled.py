"""``torch.compile`` for training, trusted only where its gradient is the network's own.

With torch 2.13 on a CPU in bf16 the compiled ``fpn-mini`` answers as it should, and most of its gradient is
0: it goes on training, and learns next to nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cohorts.errors import CapbenchError
from synthpose.processes import autocast

APART = 0.25  #: of a gradient's length, the mean over parameters; rounding in bf16 makes some hundredths


def compiled(net: nn.Module, *, size: tuple[int, int], precision: str, device: torch.device) -> nn.Module:
    """The network compiled, if its gradients for two pictures of ``size`` are right; refused otherwise."""
    made: Any = torch.compile(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, size[1], size[0], generator=random).to(device)
    pictures = pictures.to(memory_format=torch.channels_last)
    own, other = (_gradient(model, net, pictures, precision) for model in (net, made))
    net.load_state_dict(before)  # norms had counted these pictures
    # each parameter by itself: a head's gradient may be far larger than all others
    far = [min(1.0, float((b - a).norm() / a.norm())) for a, b in zip(own, other, strict=True) if a.any()]
    apart = sum(far) / max(len(far), 1)
    if not apart <= APART:
        raise CapbenchError(
            f"Expected the compiled network's gradients to be its own, got some that are {apart:.0%} "
            f"of their length away ({precision}, {device.type}, torch {torch.__version__}).",
            fix="leave machine.compile out, or train in another precision",
        )
    checked: nn.Module = made
    return checked


def _gradient(model: nn.Module, net: nn.Module, pictures: Tensor, precision: str) -> list[Tensor]:
    """Of a fixed weighing of all that the model answers, by each parameter that is learnt."""
    model.train()
    torch.manual_seed(0)
    with autocast(precision, pictures.device):
        answer = model(pictures)
    parts = [(part.float() * _weighing(part)).sum() for part in _tensors(answer)]
    torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it so
    learnt = [p for p in net.parameters() if p.requires_grad]
    made = [torch.zeros_like(p) if p.grad is None else p.grad for p in learnt]
    net.zero_grad(set_to_none=True)
    return [gradient.float() for gradient in made]


def _weighing(part: Tensor) -> Tensor:
    return torch.randn(part.shape, generator=torch.Generator().manual_seed(1)).to(part.device)


def _tensors(answer: Any) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    return [tensor for part in answer if part is not None for tensor in _tensors(part)]
