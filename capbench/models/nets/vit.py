"""A plain vision transformer for pose: patches in, a map of features out.

Written from Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021) and Xu et al., "ViTPose" (2022).
Names of parameters are those of MMPose 1.x (its transformer comes from mmpretrain); :mod:`names` leads to
and from those of Hugging Face.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capbench.models.nets.architecture import ViTSize

NORM_EPS = 1e-6
PATCH_PADDING = 2  #: pixels around the picture before it is cut: published models were trained so


class Attention(nn.Module):
    """Each token asks all others."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, C) -> the same."""
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return out


class FeedForward(nn.Module):
    """Each token on its own; the nesting is what the published names ask for."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.layers = nn.Sequential(inner, nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, C) -> the same."""
        out: Tensor = self.layers(x)
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a shortcut.

    In training each is left out for a whole sample with the probability ``drop`` (stochastic depth).
    """

    def __init__(self, size: ViTSize, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.ln1 = nn.LayerNorm(size.width, eps=NORM_EPS)
        self.attn = Attention(size.width, size.heads)
        self.ln2 = nn.LayerNorm(size.width, eps=NORM_EPS)
        self.ffn = FeedForward(size.width, size.hidden or 4 * size.width)

    def _kept(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return branch
        keep = 1 - self.drop
        return branch * torch.empty(len(branch), 1, 1, device=branch.device).bernoulli_(keep).div_(keep)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, C) -> the same."""
        x = x + self._kept(self.attn(self.ln1(x)))
        return x + self._kept(self.ffn(self.ln2(x)))


class PatchEmbedding(nn.Module):
    """Cuts a picture into patches, each a token."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch, stride=patch, padding=PATCH_PADDING)

    def forward(self, picture: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, C, rows, columns)."""
        out: Tensor = self.projection(picture)
        return out


class ViT(nn.Module):
    """(n, 3, h, w) -> (n, C, rows of patches, columns of patches), for one input size."""

    def __init__(self, size: ViTSize, input_size: tuple[int, int], *, drop_path: float = 0.0) -> None:
        super().__init__()
        columns, rows = size.grid(input_size)
        self.patch_embed = PatchEmbedding(size.width, size.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns, size.width))
        drops = [drop_path * i / max(1, size.depth - 1) for i in range(size.depth)]  # deeper, more often
        self.layers = nn.ModuleList(Layer(size, drop) for drop in drops)
        self.ln1 = nn.LayerNorm(size.width, eps=NORM_EPS)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, picture: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, C, rows, columns)."""
        patches: Tensor = self.patch_embed(picture)
        n, width, rows, columns = patches.shape
        x: Tensor = patches.flatten(2).transpose(1, 2) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        x = self.ln1(x)
        return x.transpose(1, 2).reshape(n, width, rows, columns)
