"""The U-Nets of EDM (DDPM++, NCSN++ and ADM), built from the papers: same arithmetic and same names of tensors.

Sources: arXiv:2206.00364 (appendix F.3, table 7), arXiv:2011.13456 (DDPM++, NCSN++), arXiv:2105.05233 (ADM). Without
classes, without the augmentation labels that are used in training alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("SongUNet", "DhariwalUNet")
EMBEDDINGS = ("positional", "fourier")
ENCODERS = ("standard", "skip", "residual")
DECODERS = ("standard", "skip")
ADM_HEAD_CHANNELS = 64


@dataclass(frozen=True)
class EDMNetOptions:
    """What describes a network, by the names of EDM's own options; raises ValueError for what is not known.

    ``kind``: SongUNet (DDPM++, NCSN++) or DhariwalUNet (ADM, whose embedding, encoder and decoder are the standard
    ones). ``resolution``: image size it was made for, after which its tensors are named; sizes in
    ``attn_resolutions`` are relative to it. ``resample_filter``: taps of the separable filter, an even number.
    """

    kind: str = "SongUNet"
    resolution: int = 256
    in_channels: int = 1
    out_channels: int = 1
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    channel_mult_emb: int = 4
    channel_mult_noise: int = 1
    num_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    embedding_type: str = "positional"
    encoder_type: str = "standard"
    decoder_type: str = "standard"
    resample_filter: tuple[float, ...] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for name, known in (
            ("kind", KINDS), ("embedding_type", EMBEDDINGS), ("encoder_type", ENCODERS), ("decoder_type", DECODERS)
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"no {name} '{getattr(self, name)}' of EDM networks: choose from {known}")
        if len(self.resample_filter) % 2 or not self.resample_filter or not sum(self.resample_filter) > 0:
            raise ValueError(f"expected a resampling filter of an even number of taps, found {self.resample_filter}")

    @property
    def song(self) -> bool:
        return self.kind == "SongUNet"

    @property
    def sizes(self) -> list[str]:
        """The name of each level: the image size on it, "64x64"."""
        return [f"{self.resolution >> n}x{self.resolution >> n}" for n in range(len(self.channel_mult))]


class Conv(nn.Module):
    """A convolution (none for ``kernel`` 0) that can halve or double the size by a separable filter f.

    Twice the size: zeros between the pixels, then 4 f; half the size: f, then every second pixel. The filter comes
    before the convolution; ``late``: after it, over one margin of zeros around the image for both.
    """

    weight: Tensor | None
    bias: Tensor | None
    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, resize: str = "", taps: tuple[float, ...] = (1.0, 1.0),
        late: bool = False,
    ) -> None:
        super().__init__()
        self.resize, self.late, self.margin = resize, late, (len(taps) - 1) // 2
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if kernel:
            self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
            self.bias = nn.Parameter(torch.zeros(outputs))
            nn.init.xavier_uniform_(self.weight)
        if resize:
            line = torch.tensor(taps, dtype=torch.float32)
            self.register_buffer("resample_filter", (torch.outer(line, line) / line.sum() ** 2)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.late and self.weight is not None:
            x = F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2 + self.margin)
            x = self._halved(x, 0)
            return x if self.bias is None else x + self.bias[:, None, None]
        if self.resize == "down":
            x = self._halved(x, self.margin)
        elif self.resize == "up":
            filters = 4 * self.resample_filter.expand(x.shape[1], -1, -1, -1)
            x = F.conv_transpose2d(x, filters, stride=2, padding=self.margin, groups=x.shape[1])
        if self.weight is None:
            return x
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)

    def _halved(self, x: Tensor, margin: int) -> Tensor:
        filters = self.resample_filter.expand(x.shape[1], -1, -1, -1)
        return F.conv2d(x, filters, stride=2, padding=margin, groups=x.shape[1])


class Block(nn.Module):
    """c (skip(x) + h), h of two convolutions with the embedding between, then c (h + attention(h)).

    Song: c = sqrt(1/2), the embedding is added before the second norm; ADM: c = 1, it scales and shifts after it.
    """

    def __init__(self, inputs: int, outputs: int, o: EDMNetOptions, resize: str = "", attention: bool = False) -> None:
        super().__init__()
        eps, taps = (1e-6, o.resample_filter) if o.song else (1e-5, (1.0, 1.0))
        self.modulates = not o.song
        self.gain = math.sqrt(0.5) if o.song else 1.0
        self.heads = (1 if o.song else outputs // ADM_HEAD_CHANNELS) if attention else 0
        self.norm0 = norm(inputs, eps)
        self.conv0 = Conv(inputs, outputs, 3, resize, taps)
        self.affine = nn.Linear(o.model_channels * o.channel_mult_emb, outputs * (2 if self.modulates else 1))
        self.norm1 = norm(outputs, eps)
        self.conv1 = Conv(outputs, outputs, 3)
        self.skip = None
        if inputs != outputs or resize:
            self.skip = Conv(inputs, outputs, 1 if inputs != outputs or o.song else 0, resize, taps)
        if self.heads:
            self.norm2 = norm(outputs, eps)
            self.qkv = Conv(outputs, 3 * outputs, 1)
            self.proj = Conv(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        shift = self.affine(embedding)[..., None, None]
        if self.modulates:
            scale, shift = shift.chunk(2, dim=1)
            h = self.norm1(h) * (1 + scale) + shift
        else:
            h = self.norm1(h + shift)
        h = self.gain * ((x if self.skip is None else self.skip(x)) + self.conv1(F.silu(h)))
        return self.gain * (h + self._attended(h)) if self.heads else h

    def _attended(self, h: Tensor) -> Tensor:
        # Queries, keys and values lie side by side for each channel of each head.
        parts = self.qkv(self.norm2(h)).flatten(2).unflatten(1, (self.heads, -1, 3))
        q, k, v = (part.transpose(-1, -2) for part in parts.unbind(3))
        found = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return self.proj(found.reshape(h.shape))


def norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group norm of 32 groups, of fewer where a group would have less than 4 channels."""
    return nn.GroupNorm(max(1, min(32, channels // 4)), channels, eps)


class LevelEmbedding(nn.Module):
    """(batch,) -> (batch, width): sines and cosines of 10000^(-i / n) c or of 2 pi f c, f the random ``freqs``.

    Song: sines first, n = width / 2 - 1; ADM: cosines first, n = width / 2.
    """

    freqs: Tensor

    def __init__(self, width: int, o: EDMNetOptions) -> None:
        super().__init__()
        self.pairs, self.song = width // 2, o.song
        if o.embedding_type == "fourier":
            self.register_buffer("freqs", torch.zeros(self.pairs))

    def forward(self, level: Tensor) -> Tensor:
        if hasattr(self, "freqs"):
            rates = 2 * math.pi * self.freqs
        else:
            steps = torch.arange(self.pairs, device=level.device, dtype=torch.float32)
            rates = 10000 ** (-steps / (self.pairs - (1 if self.song else 0)))
        angle = level.float()[:, None] * rates
        parts = [angle.sin(), angle.cos()] if self.song else [angle.cos(), angle.sin()]
        return torch.cat(parts, dim=1)


class EDMUNet(nn.Module):
    """network(x (batch, in_channels, rows, columns), level (batch,)) -> (batch, out_channels, rows, columns).

    Rows and columns: multiples of 2^(levels - 1), ``multiple``.
    """

    def __init__(self, options: EDMNetOptions) -> None:
        super().__init__()
        self.options = o = options
        self.multiple = 2 ** (len(o.channel_mult) - 1)
        noise, width = o.model_channels * o.channel_mult_noise, o.model_channels * o.channel_mult_emb
        self.map_noise = LevelEmbedding(noise, o)
        self.map_layer0, self.map_layer1 = nn.Linear(noise, width), nn.Linear(width, width)
        widths = [o.model_channels * mult for mult in o.channel_mult]
        attends = [o.resolution >> n in o.attn_resolutions for n in range(len(widths))]
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        taps = o.resample_filter
        channels, beside = o.model_channels if o.song else widths[0], o.in_channels
        self.enc[f"{o.sizes[0]}_conv"] = Conv(o.in_channels, channels, 3)
        skips = [channels]
        for level, size in enumerate(o.sizes):
            if level:
                self.enc[f"{size}_down"] = Block(channels, channels, o, "down")
                if o.encoder_type == "skip":
                    self.enc[f"{size}_aux_down"] = Conv(beside, beside, 0, "down", taps)
                    self.enc[f"{size}_aux_skip"] = Conv(beside, channels, 1)
                elif o.encoder_type == "residual":
                    self.enc[f"{size}_aux_residual"] = Conv(beside, channels, 3, "down", taps, late=True)
                    beside = channels
                skips.append(channels)
            for n in range(o.num_blocks):
                self.enc[f"{size}_block{n}"] = Block(channels, widths[level], o, attention=attends[level])
                channels = widths[level]
                skips.append(channels)
        last = len(widths) - 1
        for level in range(last, -1, -1):
            size = o.sizes[level]
            if level == last:
                self.dec[f"{size}_in0"] = Block(channels, channels, o, attention=True)
                self.dec[f"{size}_in1"] = Block(channels, channels, o)
            else:
                self.dec[f"{size}_up"] = Block(channels, channels, o, "up")
            for n in range(o.num_blocks + 1):
                # The Song networks attend once a level on the way up, ADM in every block.
                attention = attends[level] and (n == o.num_blocks or not o.song)
                self.dec[f"{size}_block{n}"] = Block(channels + skips.pop(), widths[level], o, attention=attention)
                channels = widths[level]
            if o.song and (level == 0 or o.decoder_type == "skip"):
                if level < last and o.decoder_type == "skip":
                    self.dec[f"{size}_aux_up"] = Conv(o.out_channels, o.out_channels, 0, "up", taps)
                self.dec[f"{size}_aux_norm"] = norm(channels, 1e-6)
                self.dec[f"{size}_aux_conv"] = Conv(channels, o.out_channels, 3)
        if not o.song:
            self.out_norm = norm(channels, 1e-5)
            self.out_conv = Conv(channels, o.out_channels, 3)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        o = self.options
        embedding = F.silu(self.map_layer1(F.silu(self.map_layer0(self.map_noise(level)))))
        h, beside = self.enc[f"{o.sizes[0]}_conv"](x), x
        skips = [h]
        for n, size in enumerate(o.sizes):
            if n:
                h = self.enc[f"{size}_down"](h, embedding)
                if o.encoder_type == "skip":
                    beside = self.enc[f"{size}_aux_down"](beside)
                    h = h + self.enc[f"{size}_aux_skip"](beside)
                elif o.encoder_type == "residual":
                    h = beside = (h + self.enc[f"{size}_aux_residual"](beside)) / math.sqrt(2)
                skips.append(h)
            for block in range(o.num_blocks):
                h = self.enc[f"{size}_block{block}"](h, embedding)
                skips.append(h)
        image: Tensor | None = None
        for n, size in reversed(list(enumerate(o.sizes))):
            for name in ("in0", "in1") if n == len(o.sizes) - 1 else ("up",):
                h = self.dec[f"{size}_{name}"](h, embedding)
            for block in range(o.num_blocks + 1):
                h = self.dec[f"{size}_block{block}"](torch.cat([h, skips.pop()], dim=1), embedding)
            if f"{size}_aux_conv" in self.dec:
                found = self.dec[f"{size}_aux_conv"](F.silu(self.dec[f"{size}_aux_norm"](h)))
                image = found if image is None else found + self.dec[f"{size}_aux_up"](image)
        return self.out_conv(F.silu(self.out_norm(h))) if image is None else image
