"""The shipped convolutional network: a small U-Net without spatial statistics, so patches teach whole slices.

Normalisation layers that average over the image (group norm, attention) see other statistics on a 64-pixel
patch than on a whole slice; this network has none, and is therefore the same function at every image size.

A network of volumes is that of slices with one layer more in every block, which looks along the slices: convolutions
of 3 x 3 x 3 in two factors, so that a network of slices grows into one (Ho et al., arXiv:2204.03458).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .card import ALONE, FURTHER_PLANES, SLICE, VOLUME, seen_by


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


class AlongSlices(nn.Module):
    """h_k + B h_(k-1) + C h_k + A h_(k+1) of slice k of a volume, zero beyond its ends; B, C and A begin as zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3 * channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(cast(Tensor, self.mix.bias))

    def forward(self, h: Tensor, depth: int) -> Tensor:
        """``h``: (volumes x depth, channels, rows, columns), the slices of a volume in order."""
        volumes = h.unflatten(0, (-1, depth))
        padded = F.pad(volumes, (0, 0) * 3 + (1, 1))
        below, above = padded[:, :-2].flatten(0, 1), padded[:, 2:].flatten(0, 1)
        return h + self.mix(torch.cat([below, h, above], dim=1))


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)) * (1 + scale(level)) + shift(level))), second convolution starting at zero.

    ``volumes``: then along the slices.
    """

    def __init__(self, channels: int, embedding: int, volumes: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.modulation.weight)
        self.along = AlongSlices(channels) if volumes else None

    def forward(self, x: Tensor, embedding: Tensor, depth: int = 1) -> Tensor:
        scale, shift = self.modulation(embedding)[..., None, None].chunk(2, dim=1)
        hidden = self.first(F.silu(x))
        result = x + self.second(F.silu(torch.addcmul(hidden + shift, hidden, scale)))
        return result if self.along is None else self.along(result, depth)


class PatchUNet(nn.Module):
    """U-Net on 2 x 2 pixel blocks: (batch, inputs, rows, columns), (batch,) -> (batch, outputs, rows, columns).

    ``volumes``: (batch, inputs, slices, rows, columns) -> (batch, outputs, slices, rows, columns), for any number of
    slices; a batch of images is then one of single slices. ``conditions``: how many of the inputs, the last ones, tell
    the condition (see :mod:`.conditions`).

    ``channels``: width of each level, each half the resolution of the one before; the first works on
    pixel blocks (space to depth), which on a CPU costs half the memory traffic of full resolution at the
    same arithmetic. Rows and columns of any size: padded by their last pixel to a multiple of the coarsest grid.
    """

    def __init__(
        self, inputs: int = ALONE, outputs: int = 1, channels: tuple[int, ...] = (48, 80, 112, 128), blocks: int = 2,
        volumes: bool = False, conditions: int = 0,
    ) -> None:
        super().__init__()
        width = 128
        self.inputs, self.outputs, self.channels, self.blocks = inputs, outputs, channels, blocks
        self.conditions = conditions
        self.sees = seen_by(inputs - conditions - (outputs - 1), volumes)
        self.further_planes = FURTHER_PLANES[self.sees]
        self.multiple = 2 ** len(channels)
        self.embedding = NoiseEmbedding(width)
        self.head = nn.Conv2d(4 * inputs, channels[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.coarser, self.finer = nn.ModuleList(), nn.ModuleList()
        last = len(channels) - 1
        for level, c in enumerate(channels):
            self.down.append(nn.ModuleList(ResidualBlock(c, width, volumes) for _ in range(blocks)))
            if level < last:
                self.coarser.append(nn.Conv2d(c, channels[level + 1], 2, stride=2))
                self.finer.append(nn.ConvTranspose2d(channels[level + 1], c, 2, stride=2))
                self.up.append(nn.ModuleList(ResidualBlock(c, width, volumes) for _ in range(blocks)))
        self.tail = nn.Conv2d(channels[0], 4 * outputs, 3, padding=1)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        if x.ndim == 4:
            return self._slices(x, level, 1)
        depth = x.shape[2]
        slices = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        found = self._slices(slices, level.repeat_interleave(depth), depth)
        return found.unflatten(0, (-1, depth)).transpose(1, 2)

    def _slices(self, x: Tensor, level: Tensor, depth: int) -> Tensor:
        """Of (volumes x depth, inputs, rows, columns), the slices of a volume in order."""
        rows, columns = x.shape[-2:]
        bottom, right = -rows % self.multiple, -columns % self.multiple
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        embedding = self.embedding(level)
        h = self.head(F.pixel_unshuffle(x, 2))
        skips = []
        for stage, blocks in enumerate(self.down):
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding, depth)
            if stage < len(self.coarser):
                skips.append(h)
                h = self.coarser[stage](h)
        for finer, blocks in zip(reversed(self.finer), reversed(self.up), strict=True):
            h = skips.pop() + finer(h)
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding, depth)
        return F.pixel_shuffle(self.tail(F.silu(h)), 2)[..., :rows, :columns]


@dataclass(frozen=True)
class NetworkSize:
    """Widths and blocks of a :class:`PatchUNet`."""

    channels: tuple[int, ...]
    blocks: int


SIZES: dict[str, NetworkSize] = {
    "tiny": NetworkSize((32, 54, 74, 84), 2),
    "small": NetworkSize((48, 80, 112, 128), 2),
    "medium": NetworkSize((80, 136, 184, 208), 2),
    "large": NetworkSize((176, 304, 432, 480), 2),
}
"""1.2, 2.7, 6.9 and about 35 million parameters; time and memory of a step grow about as these."""


def sized(size: str, sees: str = SLICE) -> PatchUNet:
    """The untrained network of a named size; raises ValueError with the names there are."""
    if size not in SIZES:
        raise ValueError(f"no network size named '{size}': choose from {', '.join(SIZES)}")
    return seeing_network(sees, SIZES[size].channels, SIZES[size].blocks)


def seeing_network(sees: str, channels: tuple[int, ...], blocks: int) -> PatchUNet:
    """The untrained network of single-channel images with positions that sees so much at once."""
    return PatchUNet(ALONE + FURTHER_PLANES[sees], 1, channels, blocks, volumes=sees == VOLUME)
