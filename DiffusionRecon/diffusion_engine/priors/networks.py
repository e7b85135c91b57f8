"""The shipped convolutional network: a small U-Net without spatial statistics, so patches teach whole slices.

Normalisation layers that average over the image (group norm, attention) see other statistics on a 64-pixel
patch than on a whole slice; this network has none, and is therefore the same function at every image size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NoiseEmbedding(nn.Module):
    """Fourier features of the noise level, then a two-layer perceptron: (batch,) -> (batch, width)."""

    frequencies: Tensor

    def __init__(self, width: int, features: int = 32) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(-1, 1.2, features), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, level: Tensor) -> Tensor:
        angle = 2 * math.pi * level.float()[:, None] * self.frequencies
        return self.layers(torch.cat([angle.cos(), angle.sin()], dim=1))


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)) * (1 + scale(level)) + shift(level))), second convolution starting at zero."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.modulation.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[..., None, None].chunk(2, dim=1)
        hidden = self.first(F.silu(x))
        return x + self.second(F.silu(torch.addcmul(hidden + shift, hidden, scale)))


class PatchUNet(nn.Module):
    """U-Net on 2 x 2 pixel blocks: (batch, inputs, rows, columns), (batch,) -> (batch, outputs, rows, columns).

    ``channels``: width of each level, each half the resolution of the one before; the first works on
    pixel blocks (space to depth), which on a CPU costs half the memory traffic of full resolution at the
    same arithmetic. Rows and columns of any size: padded by their last pixel to a multiple of the coarsest grid.
    """

    def __init__(
        self, inputs: int = 3, outputs: int = 1, channels: tuple[int, ...] = (48, 80, 112, 128), blocks: int = 2
    ) -> None:
        super().__init__()
        width = 128
        self.inputs, self.outputs, self.channels, self.blocks = inputs, outputs, channels, blocks
        self.multiple = 2 ** len(channels)
        self.embedding = NoiseEmbedding(width)
        self.head = nn.Conv2d(4 * inputs, channels[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.coarser, self.finer = nn.ModuleList(), nn.ModuleList()
        last = len(channels) - 1
        for level, c in enumerate(channels):
            self.down.append(nn.ModuleList(ResidualBlock(c, width) for _ in range(blocks)))
            if level < last:
                self.coarser.append(nn.Conv2d(c, channels[level + 1], 2, stride=2))
                self.finer.append(nn.ConvTranspose2d(channels[level + 1], c, 2, stride=2))
                self.up.append(nn.ModuleList(ResidualBlock(c, width) for _ in range(blocks)))
        self.tail = nn.Conv2d(channels[0], 4 * outputs, 3, padding=1)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        bottom, right = -rows % self.multiple, -columns % self.multiple
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        embedding = self.embedding(level)
        h = self.head(F.pixel_unshuffle(x, 2))
        skips = []
        for stage, blocks in enumerate(self.down):
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding)
            if stage < len(self.coarser):
                skips.append(h)
                h = self.coarser[stage](h)
        for finer, blocks in zip(reversed(self.finer), reversed(self.up), strict=True):
            h = skips.pop() + finer(h)
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding)
        return F.pixel_shuffle(self.tail(F.silu(h)), 2)[..., :rows, :columns]


@dataclass(frozen=True)
class NetworkSize:
    """Widths and blocks of a :class:`PatchUNet`."""

    channels: tuple[int, ...]
    blocks: int


SIZES: dict[str, NetworkSize] = {
    "small": NetworkSize((48, 80, 112, 128), 2),
    "medium": NetworkSize((80, 136, 184, 208), 2),
    "large": NetworkSize((176, 304, 432, 480), 2),
}
"""2.7, 6.9 and about 35 million parameters; time and memory of a step grow about as these."""


def sized(size: str, inputs: int = 3, outputs: int = 1) -> PatchUNet:
    """The untrained network of a named size; raises ValueError with the names there are."""
    if size not in SIZES:
        raise ValueError(f"no network size named '{size}': choose from {', '.join(SIZES)}")
    return PatchUNet(inputs, outputs, SIZES[size].channels, SIZES[size].blocks)
