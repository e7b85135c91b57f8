"""Networks of EDM: the arithmetic block by block from the papers' equations, and what names and shapes tell."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.priors.foreign.edm import iddpm_levels, options_from
from diffusion_engine.priors.foreign.edm_unet import EDMNetOptions, EDMUNet
from diffusion_engine.priors.foreign.families import read_edm_network
from foreign_priors import imported
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

BASE: dict[str, Any] = {
    "resolution": 16, "model_channels": 16, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (8,),
}
DDPMPP: dict[str, Any] = {}
NCSNPP: dict[str, Any] = {
    "embedding_type": "fourier", "channel_mult_noise": 2, "encoder_type": "residual",
    "resample_filter": (1.0, 3.0, 3.0, 1.0),
}
SKIP: dict[str, Any] = {
    "encoder_type": "skip", "decoder_type": "skip", "channel_mult": (1, 2, 2), "num_blocks": 2,
    "attn_resolutions": (16, 4),
}
ADM: dict[str, Any] = {"kind": "DhariwalUNet", "model_channels": 64, "channel_mult": (1, 2), "attn_resolutions": (16,)}
CASES = {"DDPM++": DDPMPP, "NCSN++": NCSNPP, "skips": SKIP, "ADM": ADM}


def tiny(changes: dict[str, Any]) -> EDMUNet:
    """A network of weights by a formula; filters stay."""
    network = EDMUNet(EDMNetOptions(**{**BASE, **changes}))
    with torch.no_grad():
        for n, (name, value) in enumerate(sorted(network.state_dict().items())):
            if name.endswith("resample_filter"):
                continue
            wave = 0.3 * torch.sin(torch.arange(value.numel()).double() * (1.3 + 0.01 * n) + n).reshape(value.shape)
            size = 1 if value.ndim < 2 else value[0].numel() ** 0.5
            value.copy_(2 * wave / size + ("norm" in name and name.endswith("weight")))
    return network.eval()


class Reference:
    """The network evaluated on its state dict in float64: sums and products of the papers, no modules."""

    def __init__(self, state: dict[str, Tensor], options: EDMNetOptions) -> None:
        self.w = {name: value.double() for name, value in state.items()}
        self.o, self.song = options, options.kind == "SongUNet"
        taps = torch.tensor(options.resample_filter if self.song else (1.0, 1.0)).double()
        self.taps = taps / taps.sum()

    def convolved(self, name: str, x: Tensor, padding: int | None = None) -> Tensor:
        weight = self.w[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, weight, padding=padding) + self.w[f"{name}.bias"].reshape(1, -1, 1, 1)

    def halved(self, x: Tensor, margin: int | None = None) -> Tensor:
        """Rows, then columns: a sum of shifted copies, every second kept."""
        n = len(self.taps)
        margin = (n - 1) // 2 if margin is None else margin
        for axis in (-1, -2):
            x = F.pad(x, (margin, margin, 0, 0) if axis == -1 else (0, 0, margin, margin))
            length = x.shape[axis] - n + 1
            x = sum(self.taps[k] * x.narrow(axis, k, length) for k in range(n))
            x = x[..., ::2] if axis == -1 else x[..., ::2, :]
        return x

    def doubled(self, x: Tensor) -> Tensor:
        """Every pixel adds twice the taps to the line it becomes."""
        n, margin = len(self.taps), (len(self.taps) - 1) // 2
        for _ in range(2):
            x = x.transpose(-1, -2)
            line = x.new_zeros(*x.shape[:-1], 2 * x.shape[-1] + n - 2)
            for k in range(n):
                line[..., k : k + 2 * x.shape[-1] : 2][..., : x.shape[-1]] += 2 * self.taps[k] * x
            x = line[..., margin : line.shape[-1] - margin]
        return x

    def normed(self, name: str, x: Tensor, eps: float) -> Tensor:
        groups = min(32, x.shape[1] // 4)
        parts = x.unflatten(1, (groups, -1))
        mean, variance = parts.mean((2, 3, 4), keepdim=True), parts.var((2, 3, 4), unbiased=False, keepdim=True)
        parts = ((parts - mean) / (variance + eps).sqrt()).flatten(1, 2)
        return parts * self.w[f"{name}.weight"].reshape(1, -1, 1, 1) + self.w[f"{name}.bias"].reshape(1, -1, 1, 1)

    def block(self, name: str, x: Tensor, embedding: Tensor) -> Tensor:
        eps, gain = (1e-6, 0.5**0.5) if self.song else (1e-5, 1.0)

        def resized(h: Tensor) -> Tensor:
            return self.halved(h) if name.endswith("_down") else self.doubled(h) if name.endswith("_up") else h

        h = self.convolved(f"{name}.conv0", resized(F.silu(self.normed(f"{name}.norm0", x, eps))))
        shift = (embedding @ self.w[f"{name}.affine.weight"].T + self.w[f"{name}.affine.bias"])[..., None, None]
        if self.song:
            h = self.normed(f"{name}.norm1", h + shift, eps)
        else:
            half = shift.shape[1] // 2
            h = self.normed(f"{name}.norm1", h, eps) * (1 + shift[:, :half]) + shift[:, half:]
        side = resized(x)
        if f"{name}.skip.weight" in self.w:
            side = self.convolved(f"{name}.skip", side)
        h = gain * (side + self.convolved(f"{name}.conv1", F.silu(h)))
        if f"{name}.qkv.weight" not in self.w:
            return h
        heads = 1 if self.song else h.shape[1] // 64
        qkv = self.convolved(f"{name}.qkv", self.normed(f"{name}.norm2", h, eps)).flatten(2)
        out = []
        for head in range(heads):
            c = h.shape[1] // heads
            q, k, v = (qkv[:, 3 * head * c + part : 3 * (head + 1) * c : 3] for part in range(3))
            share = (torch.einsum("bcq,bck->bqk", q, k) / math.sqrt(c)).softmax(-1)
            out.append(torch.einsum("bqk,bck->bcq", share, v))
        return gain * (h + self.convolved(f"{name}.proj", torch.cat(out, 1).reshape(h.shape)))

    def embedding(self, level: Tensor) -> Tensor:
        o = self.o
        half = o.model_channels * o.channel_mult_noise // 2
        if o.embedding_type == "fourier":
            rates = 2 * math.pi * self.w["map_noise.freqs"]
        else:
            steps = torch.arange(half).double() / (half - 1 if self.song else half)
            rates = torch.exp(-math.log(1e4) * steps)
        angle = level.double()[:, None] * rates
        e = torch.cat([angle.sin(), angle.cos()] if self.song else [angle.cos(), angle.sin()], 1)
        for layer in ("map_layer0", "map_layer1"):
            e = F.silu(e @ self.w[f"{layer}.weight"].T + self.w[f"{layer}.bias"])
        return e

    def __call__(self, x: Tensor, level: Tensor) -> Tensor:
        o, e = self.o, self.embedding(level)
        h, side, image = self.convolved(f"enc.{o.resolution}x{o.resolution}_conv", x), x, None
        skips, levels = [h], len(o.channel_mult)
        for n in range(levels):
            size = f"enc.{o.resolution >> n}x{o.resolution >> n}"
            if n:
                h = self.block(f"{size}_down", h, e)
                if o.encoder_type == "skip":
                    side = self.halved(side)
                    h = h + self.convolved(f"{size}_aux_skip", side)
                elif o.encoder_type == "residual":
                    margin = (len(self.taps) - 1) // 2
                    h = side = (h + self.halved(self.convolved(f"{size}_aux_residual", side, 1 + margin), 0)) / 2**0.5
                skips.append(h)
            for b in range(o.num_blocks):
                h = self.block(f"{size}_block{b}", h, e)
                skips.append(h)
        for n in reversed(range(levels)):
            size = f"dec.{o.resolution >> n}x{o.resolution >> n}"
            for name in ("_in0", "_in1") if n == levels - 1 else ("_up",):
                h = self.block(size + name, h, e)
            for b in range(o.num_blocks + 1):
                h = self.block(f"{size}_block{b}", torch.cat([h, skips.pop()], 1), e)
            if f"{size}_aux_conv.weight" in self.w:
                found = self.convolved(f"{size}_aux_conv", F.silu(self.normed(f"{size}_aux_norm", h, 1e-6)))
                image = found if image is None else found + self.doubled(image)
        return self.convolved("out_conv", F.silu(self.normed("out_norm", h, 1e-5))) if image is None else image


@pytest.mark.parametrize("case", CASES)
def test_the_arithmetic_is_that_of_the_papers(case: str) -> None:
    network = tiny(CASES[case])
    x = torch.sin(torch.arange(2 * 16 * 24).float() * 0.37).reshape(2, 1, 16, 24)
    level = torch.tensor([-1.3, 0.8])
    with torch.no_grad():
        found = network(x, level)
    expected = Reference(network.state_dict(), network.options)(x.double(), level)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(found.double(), expected, atol=2e-4 * float(expected.std()), rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_names_and_shapes_tell_the_network(case: str, tmp_path: Path) -> None:
    """The options come back, with the wrapper's prefix and in spite of augmentation labels."""
    network = tiny(CASES[case])
    found = options_from(network.state_dict(), "weights")
    taps = torch.tensor([found.resample_filter, network.options.resample_filter])
    taps = taps / taps.sum(1, keepdim=True)
    torch.testing.assert_close(taps[0], taps[1])
    given = {**vars(network.options), "resample_filter": found.resample_filter}
    assert vars(found) == given
    state = {f"model.{name}": value.contiguous() for name, value in network.state_dict().items()}
    state["model.map_augment.weight"] = torch.ones(network.options.model_channels, 9)
    save_file(state, str(tmp_path / "weights.safetensors"))
    denoiser = imported(read_edm_network(tmp_path / "weights.safetensors", sigma_data=0.7))
    x, sigma = torch.sin(torch.arange(16 * 16).float()).reshape(1, 1, 16, 16), torch.tensor(0.4)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(x, sigma), EDMDenoiser(network, 0.7)(x, sigma))
    assert denoiser(torch.ones(1, 1, 13, 15), sigma).shape == (1, 1, 13, 15)


def test_ddpmpp_has_the_tensors_of_published_files() -> None:
    """Names as in a published state dict, so that its files fit."""
    names = set(tiny(NCSNPP).state_dict())
    for expected in (
        "map_noise.freqs", "map_layer0.weight", "map_layer1.bias", "enc.16x16_conv.weight",
        "enc.8x8_down.conv0.resample_filter", "enc.8x8_down.skip.resample_filter", "enc.8x8_down.skip.weight",
        "enc.8x8_aux_residual.resample_filter", "enc.8x8_aux_residual.bias", "enc.8x8_block0.qkv.weight",
        "enc.8x8_block0.affine.weight", "dec.8x8_in0.proj.bias", "dec.8x8_in1.norm1.bias", "dec.8x8_block1.norm2.bias",
        "dec.16x16_up.conv0.resample_filter", "dec.16x16_block0.skip.weight", "dec.16x16_aux_norm.weight",
        "dec.16x16_aux_conv.bias",
    ):
        assert expected in names
    assert {"out_norm.weight", "out_conv.bias"} <= set(tiny(ADM).state_dict())
    assert "dec.8x8_block0.qkv.weight" not in names, "on the way up only the last block of a level attends"


@pytest.mark.parametrize("precond", ["edm", "ve", "vp", "iddpm"])
def test_preconditionings_of_table_1(precond: str, tmp_path: Path) -> None:
    """D = c_skip x + c_out F(c_in x; c_noise), by hand."""
    network = tiny({"out_channels": 2} if precond == "iddpm" else {})
    state = dict(network.state_dict())
    s = 0.6
    if precond == "iddpm":
        levels = torch.cat([iddpm_levels(1000), torch.zeros(1, dtype=torch.float64)])
        state["u"] = iddpm_levels(1000).flip(0).float()
        state["u"] = torch.cat([state["u"], torch.zeros(1)])
        s = float(levels[400])
    torch.save(state, tmp_path / "weights.pt")
    x = torch.sin(torch.arange(16 * 16).float()).reshape(1, 1, 16, 16)
    scale, offset, d = 0.5, -0.2, 0.5
    z = (x - offset) / scale
    c_skip, c_out, c_in, c_noise = {
        "edm": (d**2 / (s**2 + d**2), s * d / math.hypot(s, d), 1 / math.hypot(s, d), math.log(s) / 4),
        "ve": (1.0, s, 1.0, math.log(s / 2)),
        "vp": (1.0, -s, 1 / math.hypot(s, 1),
               999 * (math.sqrt(0.1**2 + 2 * 19.9 * math.log(1 + s**2)) - 0.1) / 19.9),
        "iddpm": (1.0, -s, 1 / math.hypot(s, 1), 400.0),
    }[precond]
    with torch.no_grad():
        raw = network(c_in * z, torch.tensor([c_noise]))[:, :1]
        denoiser = imported(
            read_edm_network(tmp_path / "weights.pt", "" if precond in ("edm", "iddpm") else precond), scale, offset
        )
        found = denoiser(x, torch.tensor(s * scale))
    torch.testing.assert_close(found, offset + scale * (c_skip * z + c_out * raw), atol=1e-4, rtol=1e-4)


def test_levels_of_iddpm_obey_their_recursion() -> None:
    u = [0.0]
    for j in range(100, 0, -1):
        before, here = (math.sin(0.5 * math.pi * k / 100 / 1.008) ** 2 for k in (j - 1, j))
        u.append(math.sqrt((u[-1] ** 2 + 1) / max(before / here, 0.001) - 1))
    torch.testing.assert_close(iddpm_levels(100), torch.tensor(u[1:], dtype=torch.float64), rtol=1e-9, atol=0)


class Trap:
    """A pickle that runs code when it is read without care."""

    place = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (Trap.place,)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    Trap.place = str(tmp_path / "ran")
    (tmp_path / "network-snapshot.pkl").write_bytes(pickle.dumps({"ema": Trap()}))
    with pytest.raises(ValueError, match=r"runs code when read.*\['ema'\]; torch.save\(net.state_dict\(\), 'network-"):
        imported(read_edm_network(tmp_path / "network-snapshot.pkl"))
    torch.save({"ema": Trap()}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="could run code"):
        imported(read_edm_network(tmp_path / "state.pt"))
    assert not Path(Trap.place).exists()
    state = dict(tiny({}).state_dict())
    for change, message in (
        ({"map_label.weight": torch.ones(16, 10)}, "network of classes"),
        ({"map_layer0.weight": None}, "does not have the names of a SongUNet"),
        ({"enc.8x8_down.conv0.weight": None}, r"1 tensors are missing.*enc.8x8_down.conv0.weight"),
    ):
        torch.save({k: v for k, v in {**state, **change}.items() if v is not None}, tmp_path / "weights.pt")
        with pytest.raises(ValueError, match=message):
            imported(read_edm_network(tmp_path / "weights.pt"))
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="no preconditioning 'rf' of EDM"):
        imported(read_edm_network(tmp_path / "weights.pt", precond="rf"))
    with pytest.raises(ValueError, match="positive sigma_data"):
        imported(read_edm_network(tmp_path / "weights.pt", sigma_data=0.0))
    torch.save({**state, "u": torch.zeros(1001)}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="holds the noise levels of the iddpm"):
        imported(read_edm_network(tmp_path / "weights.pt", precond="ve"))
