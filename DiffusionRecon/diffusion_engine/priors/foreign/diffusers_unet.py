"""The UNet2DModel of diffusers, written anew: same arithmetic and same names of tensors, built from its config.json.

Only what unconditional image models use: convolutional levels with or without self-attention, positional time
embedding. Anything else in a config is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
UP = {"UpBlock2D": False, "AttnUpBlock2D": True}
FIXED: dict[str, tuple[Any, ...]] = {
    "time_embedding_type": ("positional",), "mid_block_type": ("UNetMidBlock2D",), "act_fn": ("silu", "swish"),
    "downsample_type": ("conv",), "upsample_type": ("conv",), "class_embed_type": (None,), "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default", "scale_shift"), "add_attention": (True, False),
}
"""Options of which only some values are known here; the first is what a config without the option means."""
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class Residual(nn.Module):
    """Two normalised convolutions around the time embedding, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, time: int, config: Mapping[str, Any], divide: float = 1.0) -> None:
        super().__init__()
        groups, eps = config["norm_num_groups"], config["norm_eps"]
        self.modulate, self.divide = config["resnet_time_scale_shift"] == "scale_shift", divide
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs * (2 if self.modulate else 1))
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        shift = self.time_emb_proj(F.silu(embedding))[..., None, None]
        if self.modulate:
            scale, shift = shift.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + shift)
        h = self.conv2(F.silu(h))
        short = self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x
        return (short + h) / self.divide


class Attention(nn.Module):
    """Self-attention over all pixels, with its residual connection."""

    def __init__(self, channels: int, head: int | None, groups: int | None, eps: float, divide: float = 1.0) -> None:
        super().__init__()
        self.heads, self.divide = channels // (head or channels), divide
        if groups is not None:
            self.group_norm = nn.GroupNorm(groups, channels, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.group_norm(x) if hasattr(self, "group_norm") else x
        h = h.flatten(2).transpose(1, 2)

        def split(part: Tensor) -> Tensor:
            return part.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        h = F.scaled_dot_product_attention(split(self.to_q(h)), split(self.to_k(h)), split(self.to_v(h)))
        h = self.to_out[0](h.transpose(1, 2).flatten(2))
        return (x + h.transpose(1, 2).reshape(x.shape)) / self.divide


class Resize(nn.Module):
    """Half the size by a strided convolution, or twice by repeating pixels and a convolution."""

    def __init__(self, channels: int, up: bool, padding: int = 1) -> None:
        super().__init__()
        self.up, self.padding = up, padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else padding)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        elif self.padding == 0:
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class Level(nn.Module):
    """Residual blocks of one resolution, attention after each if wanted, and the way to the next resolution."""

    def __init__(
        self, widths: list[tuple[int, int]], time: int, attend: bool, config: Mapping[str, Any], resize: str,
    ) -> None:
        super().__init__()
        outputs = widths[0][1]
        groups, eps = config["norm_num_groups"], config["norm_eps"]
        self.resnets = nn.ModuleList(Residual(i, o, time, config) for i, o in widths)
        if attend:
            head = config["attention_head_dim"]
            self.attentions = nn.ModuleList(Attention(outputs, head, groups, eps) for _ in widths)
        if resize:
            module = Resize(outputs, resize == "upsamplers", config["downsample_padding"])
            self.add_module(resize, nn.ModuleList([module]))

    def block(self, n: int, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.resnets[n](x, embedding)
        return cast(nn.ModuleList, self.attentions)[n](x) if hasattr(self, "attentions") else x

    def resized(self, x: Tensor, name: str) -> Tensor:
        return getattr(self, name)[0](x)


class Middle(nn.Module):
    """Residual, attention, residual at the coarsest resolution."""

    def __init__(self, channels: int, time: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        divide, groups = config["mid_block_scale_factor"], config["attn_norm_num_groups"]
        if groups is None and config["resnet_time_scale_shift"] == "default":
            groups = config["norm_num_groups"]
        self.resnets = nn.ModuleList(Residual(channels, channels, time, config, divide) for _ in range(2))
        if config["add_attention"]:
            head = config["attention_head_dim"]
            self.attentions = nn.ModuleList([Attention(channels, head, groups, config["norm_eps"], divide)])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.resnets[0](x, embedding)
        if hasattr(self, "attentions"):
            x = cast(nn.ModuleList, self.attentions)[0](x)
        return self.resnets[1](x, embedding)


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, then two linear layers."""

    def __init__(self, width: int, time: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.width, self.shift, self.flip = width, config["freq_shift"], config["flip_sin_to_cos"]
        self.linear_1, self.linear_2 = nn.Linear(width, time), nn.Linear(time, time)

    def forward(self, time: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, device=time.device) / (half - self.shift))
        angle = time[:, None].float() * rates
        parts = [angle.cos(), angle.sin()] if self.flip else [angle.sin(), angle.cos()]
        return self.linear_2(F.silu(self.linear_1(F.pad(torch.cat(parts, 1), (0, self.width % 2)))))


class UNet2D(nn.Module):
    """network(x (batch, in_channels, rows, columns), time (batch,)) -> (batch, out_channels, rows, columns).

    ``config``: the content of config.json, defaults of diffusers where a key is missing. Rows and columns: multiples of
    2^(levels - 1), ``multiple``. Raises ValueError for an option that is not known here.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        config = {
            "in_channels": 3, "out_channels": 3, "center_input_sample": False, "freq_shift": 0, "flip_sin_to_cos": True,
            "block_out_channels": (224, 448, 672, 896), "layers_per_block": 2, "mid_block_scale_factor": 1,
            "downsample_padding": 1, "attention_head_dim": 8, "norm_num_groups": 32, "attn_norm_num_groups": None,
            "norm_eps": 1e-5, "time_embedding_dim": None, **{key: values[0] for key, values in FIXED.items()}, **config,
        }
        widths, layers = tuple(config["block_out_channels"]), config["layers_per_block"]
        down = tuple(config.get("down_block_types", ("DownBlock2D", *("AttnDownBlock2D",) * 3)))
        up = tuple(config.get("up_block_types", (*("AttnUpBlock2D",) * 3, "UpBlock2D")))
        wrong = {key: config[key] for key, values in FIXED.items() if config[key] not in values}
        wrong |= {kind: "block" for kind in (*down, *up) if kind not in {**DOWN, **UP}}
        if wrong or not len(down) == len(up) == len(widths):
            raise ValueError(
                f"this network uses {wrong or 'unequal numbers of levels'}, which is not known here: only "
                f"{[*DOWN, *UP]} with positional time and no classes can be imported"
            )
        time = config["time_embedding_dim"] or 4 * widths[0]
        self.centre, self.multiple = config["center_input_sample"], 2 ** (len(widths) - 1)
        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], time, config)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        before = widths[0]
        for n, (kind, width) in enumerate(zip(down, widths, strict=True)):
            pairs = [(before if layer == 0 else width, width) for layer in range(layers)]
            resize = "downsamplers" if n < len(widths) - 1 else ""
            self.down_blocks.append(Level(pairs, time, DOWN[kind], config, resize))
            before = width
        self.mid_block = Middle(widths[-1], time, config)
        for n, (kind, width) in enumerate(zip(up, reversed(widths), strict=True)):
            finer = widths[max(0, len(widths) - 2 - n)]
            skips = [width] * layers + [finer]
            pairs = [((before if layer == 0 else width) + skips[layer], width) for layer in range(layers + 1)]
            self.up_blocks.append(Level(pairs, time, UP[kind], config, "upsamplers" if n < len(widths) - 1 else ""))
            before = width
        self.conv_norm_out = nn.GroupNorm(config["norm_num_groups"], widths[0], config["norm_eps"])
        self.conv_out = nn.Conv2d(widths[0], config["out_channels"], 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        embedding = self.time_embedding(time)
        h = self.conv_in(2 * x - 1 if self.centre else x)
        skips = [h]
        for module in self.down_blocks:
            level = cast(Level, module)
            for n in range(len(level.resnets)):
                h = level.block(n, h, embedding)
                skips.append(h)
            if hasattr(level, "downsamplers"):
                h = level.resized(h, "downsamplers")
                skips.append(h)
        h = self.mid_block(h, embedding)
        for module in self.up_blocks:
            level = cast(Level, module)
            for n in range(len(level.resnets)):
                h = level.block(n, torch.cat([h, skips.pop()], dim=1), embedding)
            if hasattr(level, "upsamplers"):
                h = level.resized(h, "upsamplers")
        return self.conv_out(F.silu(self.conv_norm_out(h)))


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of old files under today's names: query, key, value, proj_attn -> to_q, to_k, to_v, to_out.0."""
    found = {}
    for name, value in state.items():
        parts = name.split(".")
        if "attentions" in parts and len(parts) > 2 and parts[-2] in OLD_NAMES:
            parts[-2] = OLD_NAMES[parts[-2]]
            # The oldest files keep these as 1 x 1 convolutions.
            value = value.flatten(1) if value.ndim == 4 else value
        found[".".join(parts)] = value
    return found
