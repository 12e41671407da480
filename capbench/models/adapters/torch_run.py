"""What the routes on torch share: the device, one way of running, and getting numbers out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from capbench.models.faults import ModelFault
from cohorts.errors import CapbenchError, EnvironmentFault

if TYPE_CHECKING:
    import torch


def need_torch() -> None:
    """Refuse kindly where torch is not installed."""
    try:
        import torch  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise EnvironmentFault(
            f"Expected PyTorch, which this model runs on, got none ({error}).",
            fix="pip install 'capbench[torch]', or export the model to ONNX",
        ) from None


def device_of(name: str) -> torch.device:
    """The device ``name`` (cpu, cuda or cuda:N), if this machine has it."""
    import torch

    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and (kind == "cpu" or not number.isdecimal())):
        raise CapbenchError(f"Expected the device cpu, cuda or cuda:N, got {name!r}.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise EnvironmentFault(
                f"Expected a GPU for {name}, got {count} that torch can use.", fix="--device cpu"
            )
    return torch.device(name)


@contextmanager
def same_each_time(threads: int) -> Iterator[None]:
    """Within: no gradients, so many threads, and only algorithms that give the same bytes each time.

    torch keeps all of that per process; what it was before is put back.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_num_threads(before)


class Network:
    """A torch module as the function that :class:`~capbench.models.topdown.TopDown` runs.

    ``channels_last`` lays pictures out pixel by pixel, which convolutions are faster with.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        device: str = "cpu",
        threads: int | None = None,
        channels_last: bool = False,
    ) -> None:
        import torch

        self._device = device_of(device)
        self._threads = 1 if threads is None else threads
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        placed: Any = module.eval()
        self._module: Any = placed.to(self._device, memory_format=self._layout)

    def __call__(self, batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """What the module gives for a batch (n, 3, h, w); see :func:`arrays`."""
        import torch

        try:
            with same_each_time(self._threads):
                given = torch.from_numpy(batch).to(self._device).contiguous(memory_format=self._layout)
                return arrays(self._answer(given))
        except torch.cuda.OutOfMemoryError as error:
            raise ModelFault(f"The GPU's memory was too little: {error}", kind="memory") from error

    def _answer(self, batch: torch.Tensor) -> Any:
        return self._module(batch)

    def close(self) -> None:
        """Drop the module and its memory."""
        self._module = None


def arrays(found: Any) -> dict[str, NDArray[Any]]:
    """A module's answer by its own names, or as output_0, output_1, …; floats become float32."""
    import torch

    if isinstance(found, torch.Tensor):
        found = (found,)
    if isinstance(found, Mapping):
        named = {str(name): v for name, v in found.items() if isinstance(v, torch.Tensor)}
        return {name: _array(value) for name, value in named.items()}
    if not isinstance(found, (tuple, list)) or not all(isinstance(v, torch.Tensor) for v in found):
        raise ModelFault(f"Expected the network to give tensors, got {type(found).__name__}.", kind="shape")
    return {f"output_{i}": _array(value) for i, value in enumerate(found)}


def _array(value: torch.Tensor) -> NDArray[Any]:
    value = value.detach().cpu()
    made: NDArray[Any] = (value.float() if value.is_floating_point() else value).numpy()
    return made
