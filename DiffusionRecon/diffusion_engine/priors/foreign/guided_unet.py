"""The U-Net of guided-diffusion (ADM), written anew: same arithmetic and same names of tensors.

The network of DDS, of many fine-tuned medical models and of OpenAI's checkpoints; without classes.
Source: arXiv:2105.05233.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class GuidedOptions:
    """What the command line of guided-diffusion calls by the same names.

    ``attention_factors``: reductions of the size at which there is attention, image_size / attention_resolutions;
    ``head_channels`` (num_head_channels) where positive, else ``heads`` (num_heads).
    """

    in_channels: int = 3
    out_channels: int = 3
    model_channels: int = 128
    num_res_blocks: int = 2
    channel_mult: tuple[float, ...] = (1, 1, 2, 3, 4)
    attention_factors: tuple[int, ...] = (8, 16)
    heads: int = 4
    head_channels: int = -1
    use_scale_shift_norm: bool = True
    resblock_updown: bool = False
    conv_resample: bool = True
    use_new_attention_order: bool = False


class Resample(nn.Module):
    """Twice or half the size, with a convolution where ``convolve``."""

    def __init__(self, channels: int, up: bool, convolve: bool) -> None:
        super().__init__()
        self.up = up
        if convolve:
            if up:
                self.conv = nn.Conv2d(channels, channels, 3, padding=1)
            else:
                self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            return self.conv(x) if hasattr(self, "conv") else x
        return self.op(x) if hasattr(self, "op") else F.avg_pool2d(x, 2)


class ResBlock(nn.Module):
    """Normalise, activate, (resize,) convolve; again with the time embedding; plus the input."""

    def __init__(self, inputs: int, outputs: int, time: int, modulate: bool, resize: str = "") -> None:
        super().__init__()
        self.modulate = modulate
        self.resize = Resample(inputs, resize == "up", False) if resize else None
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, outputs * (2 if modulate else 1)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs), nn.SiLU(), nn.Identity(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        if inputs != outputs:
            self.skip_connection = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[1](self.in_layers[0](x))
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        h = self.in_layers[2](h)
        shift = self.emb_layers(embedding)[..., None, None]
        if self.modulate:
            scale, shift = shift.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + shift)
        return (self.skip_connection(x) if hasattr(self, "skip_connection") else x) + h


class AttentionBlock(nn.Module):
    """Self-attention over all pixels; ``new_order``: queries, keys and values split before the heads, else after."""

    def __init__(self, channels: int, options: GuidedOptions) -> None:
        super().__init__()
        fixed = options.head_channels
        self.heads = channels // fixed if fixed > 0 else options.heads
        self.new_order = options.use_new_attention_order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        parts = self.qkv(self.norm(flat))
        if self.new_order:
            parts = parts.unflatten(1, (3, self.heads, -1))
        else:
            parts = parts.unflatten(1, (self.heads, 3, -1)).transpose(1, 2)
        q, k, v = (part.transpose(-1, -2) for part in parts.unbind(1))
        h = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).flatten(1, 2)
        return x + self.proj_out(h).reshape(x.shape)


class GuidedUNet(nn.Module):
    """network(x (batch, in_channels, rows, columns), time (batch,)) -> (batch, out_channels, rows, columns).

    Rows and columns: multiples of 2^(levels - 1), ``multiple``. Channels of every level: multiples of 32.
    """

    def __init__(self, options: GuidedOptions) -> None:
        super().__init__()
        o = options
        self.width = o.model_channels
        time = 4 * self.width
        self.multiple = 2 ** (len(o.channel_mult) - 1)
        self.time_embed = nn.Sequential(nn.Linear(self.width, time), nn.SiLU(), nn.Linear(time, time))
        widths = [int(mult * self.width) for mult in o.channel_mult]

        def block(inputs: int, outputs: int, resize: str = "") -> ResBlock:
            return ResBlock(inputs, outputs, time, o.use_scale_shift_norm, resize)

        def resampler(channels: int, direction: str) -> nn.Module:
            if o.resblock_updown:
                return block(channels, channels, direction)
            return Resample(channels, direction == "up", o.conv_resample)

        width = widths[0]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(o.in_channels, width, 3, padding=1)])])
        skips, factor = [width], 1
        for level, outputs in enumerate(widths):
            for _ in range(o.num_res_blocks):
                layers: list[nn.Module] = [block(width, outputs)]
                width = outputs
                if factor in o.attention_factors:
                    layers.append(AttentionBlock(width, o))
                self.input_blocks.append(nn.ModuleList(layers))
                skips.append(width)
            if level < len(widths) - 1:
                self.input_blocks.append(nn.ModuleList([resampler(width, "down")]))
                skips.append(width)
                factor *= 2
        self.middle_block = nn.ModuleList([block(width, width), AttentionBlock(width, o), block(width, width)])
        self.output_blocks = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(widths))):
            for n in range(o.num_res_blocks + 1):
                layers = [block(width + skips.pop(), outputs)]
                width = outputs
                if factor in o.attention_factors:
                    layers.append(AttentionBlock(width, o))
                if level > 0 and n == o.num_res_blocks:
                    layers.append(resampler(width, "up"))
                    factor //= 2
                self.output_blocks.append(nn.ModuleList(layers))
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, o.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, device=x.device) / half)
        angle = time[:, None].float() * rates
        embedding = self.time_embed(F.pad(torch.cat([angle.cos(), angle.sin()], 1), (0, self.width % 2)))

        def run(layers: nn.Module, h: Tensor) -> Tensor:
            for layer in cast(nn.ModuleList, layers):
                h = layer(h, embedding) if isinstance(layer, ResBlock) else layer(h)
            return h

        h, skips = x, []
        for layers in self.input_blocks:
            h = run(layers, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for layers in self.output_blocks:
            h = run(layers, torch.cat([h, skips.pop()], dim=1))
        return self.out(h)
