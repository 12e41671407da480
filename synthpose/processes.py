"""The processes of one training: this one alone, or those that ``torchrun`` started; and their threads."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capbench.models.adapters.torch_run import device_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class World:
    """Which of how many processes this is, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0


@contextmanager
def world_of(device: str) -> Iterator[World]:
    """The processes that ``torchrun`` started, or this one alone."""
    import torch
    import torch.distributed as distributed

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, device_of(device))
        return
    kind = device.partition(":")[0]
    own = device_of(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if kind == "cuda" else device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if not distributed.is_initialized():  # once a process: those of a second group would not find each other
        distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
        atexit.register(_leave)
    yield World(distributed.get_rank(), size, own)
    distributed.barrier()  # nobody goes on before the first has written


def _leave() -> None:
    import torch.distributed as distributed

    gc.collect()  # what sums gradients must go before the group that it does it with
    distributed.destroy_process_group()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within: torch uses so many threads in an operator."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Within: networks compute in a recipe's precision."""
    import torch

    half = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, half, enabled=precision != "fp32")
