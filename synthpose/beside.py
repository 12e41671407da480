"""What a training can be asked for beside its recipe's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from capbench.models.nets.pose import PoseNet
    from synthpose.losses import Terms


class Beside(Protocol):
    """A loss beside the recipe's, or in its place, such as a teacher's; see ``synthpose.distill``."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """Of what it follows from, kept with the training's."""
        ...

    @property
    def told(self) -> Mapping[str, Any]:
        """What ``training.json`` says of it."""
        ...

    @property
    def own(self) -> nn.Module:
        """What is trained along with the network and thrown away in the end."""
        ...

    @property
    def best(self) -> float | None:
        """Score of the weights that already lie in the folder, kept until better ones come; None: none do."""
        ...

    def around(self, net: PoseNet) -> nn.Module:
        """What is called with each step's pictures; its answer starts with the network's."""
        ...

    def terms(self, truth: Terms, answer: Any, pictures: Tensor, weight: Tensor, *, share: float) -> Terms:
        """The whole loss, from the recipe's; ``share`` of the training is over."""
        ...
