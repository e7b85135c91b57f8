"""State dicts of EDM networks, whose options are read off names and shapes, and the preconditionings of its table 1.

A state dict tells the network, not how it was wrapped: ``precond`` and ``sigma_data`` are asked for, and the
self-test finds a wrong one. Source: arXiv:2206.00364.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...denoiser import Denoiser, EDMDenoiser
from ..state import read_state
from .edm_unet import EDMNetOptions
from .parameterised import VEDenoiser, VPDenoiser
from .schedules import ContinuousVP, DiscreteSchedule, LogTime

PRECONDS = ("edm", "ve", "vp", "iddpm")
EDM_LEVELS = (0.002, 80.0)
VE_LEVELS = (0.02, 100.0)
VP_BETA, VP_STEPS, VP_FIRST_TIME = (0.1, 20.0), 1000, 1e-5
C_1, C_2 = 0.001, 0.008


def read_edm(path: Path) -> tuple[EDMNetOptions, dict[str, Tensor], int]:
    """Options, tensors in their own precision, and the steps of an iDDPM wrapping (0 for another one).

    ``path``: the state dict of the wrapped network or of the inner one, .safetensors or a torch file of tensors alone.
    Raises ValueError for a pickled snapshot, saying how to convert it, and for a network that is not known.
    """
    if path.suffix == ".pkl":
        raise ValueError(
            f"{path.name} is a pickled snapshot, which runs code when read: convert it once with the program that made "
            f"it, in a place where you trust it: import pickle, torch; net = pickle.load(open('{path.name}', "
            f"'rb'))['ema']; torch.save(net.state_dict(), '{path.stem}.pt')"
        )
    state = {name.removeprefix("model."): value for name, value in read_state(path, exact=True).items()}
    # The levels of the iDDPM wrapping follow from their number; augmentation labels are zero but in training.
    steps = state.pop("u", torch.zeros(1))
    state.pop("map_augment.weight", None)
    return options_from(state, path.name), state, len(steps) - 1


def options_from(state: Mapping[str, Tensor], source: str) -> EDMNetOptions:
    """The options that a state dict's names and shapes tell; raises ValueError where they tell no known network."""
    if "map_label.weight" in state:
        raise ValueError(f"{source} is a network of classes: only unconditional networks can be imported")
    sizes = sorted({int(n) for name in state for n in re.findall(r"^enc\.(\d+)x\1_", name)}, reverse=True)
    try:
        top = sizes[0]
        first = state[f"enc.{top}x{top}_conv.weight"]
        width, noise = state["map_layer0.weight"].shape
        song = "out_conv.weight" not in state
        last = state[f"dec.{top}x{top}_aux_conv.weight" if song else "out_conv.weight"]
        base = first.shape[0] if song else noise
        filters = [v for name, v in state.items() if name.endswith("resample_filter")] if song else []
        return EDMNetOptions(
            kind="SongUNet" if song else "DhariwalUNet", resolution=top, in_channels=first.shape[1],
            out_channels=last.shape[0], model_channels=base,
            channel_mult=tuple(state[f"enc.{s}x{s}_block0.conv0.weight"].shape[0] // base for s in sizes),
            channel_mult_emb=width // base, channel_mult_noise=noise // base,
            num_blocks=sum(f"enc.{top}x{top}_block{n}.conv0.weight" in state for n in range(100)),
            attn_resolutions=tuple(s for s in sizes if f"enc.{s}x{s}_block0.qkv.weight" in state),
            embedding_type="fourier" if "map_noise.freqs" in state else "positional",
            encoder_type=_which(state, "aux_residual", "residual", "aux_skip", "skip"),
            decoder_type=_which(state, "aux_up", "skip"),
            resample_filter=tuple(filters[0].float()[0, 0].sum(0).tolist()) if filters else (1.0, 1.0),
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise ValueError(
            f"{source} does not have the names of a SongUNet or DhariwalUNet of EDM: expected tensors such as "
            "enc.64x64_conv.weight and map_layer0.weight; choose another family"
        ) from None


def _which(state: Mapping[str, Tensor], *pairs: str) -> str:
    """The option of the first part of a name that occurs, "standard" for none."""
    for part, option in zip(pairs[::2], pairs[1::2], strict=True):
        if any(f"_{part}." in name for name in state):
            return option
    return "standard"


def iddpm_levels(steps: int = 1000) -> Tensor:
    """Rising noise levels of the iDDPM preconditioning: (steps,) float64.

    u_{j-1} = sqrt((u_j^2 + 1) / max(abar_{j-1} / abar_j, C_1) - 1), u_M = 0, abar_j = sin^2(pi j / (2 M (C_2 + 1))),
    whose j = M - 1, ..., 0 are the network's times 0, ..., M - 1.
    """
    bar = torch.sin(0.5 * math.pi * torch.arange(steps + 1, dtype=torch.float64) / steps / (C_2 + 1)) ** 2
    gains = 1 / (bar[:-1] / bar[1:]).clamp_min(C_1).flip(0)
    # With w = u^2 + 1 every step is a product.
    return (gains.cumprod(0) - 1).sqrt()


def preconditioning(entry: Mapping[str, Any]) -> tuple[Callable[[nn.Module], Denoiser], tuple[float, float]]:
    """What makes a denoiser of the network, and the range of its noise levels.

    ``entry``: "precond" out of PRECONDS; "sigma_data" (edm); "steps" and "interpolate" (iddpm). With s = sigma:
    edm: see :class:`EDMDenoiser`; ve: D = x + s F(x; ln(s / 2)); vp and iddpm: D = x - s F(x / sqrt(1 + s^2); t(s)).
    Raises ValueError for another one.
    """
    kind = entry.get("precond", "edm")
    if kind == "edm":
        data = float(entry.get("sigma_data", 0.5))
        if not data > 0:
            raise ValueError(f"expected a positive sigma_data, found {data}: give that of the network's training")
        return lambda network: EDMDenoiser(network, data), EDM_LEVELS
    if kind == "ve":
        told = LogTime(unit=2.0, largest=VE_LEVELS[1])
        return lambda network: VEDenoiser(network, told), VE_LEVELS
    if kind == "vp":
        continuous = ContinuousVP(*VP_BETA, scale=VP_STEPS - 1)
        slope = VP_BETA[1] - VP_BETA[0]
        low, high = (
            math.sqrt(math.expm1(slope * t**2 / 2 + VP_BETA[0] * t)) for t in (VP_FIRST_TIME, 1.0)
        )
        return lambda network: VPDenoiser(network, continuous), (low, high)
    if kind == "iddpm":
        levels = iddpm_levels(int(entry.get("steps") or 1000))
        steps = DiscreteSchedule(levels, bool(entry.get("interpolate", True)))
        return lambda network: VPDenoiser(network, steps), (float(levels[0]), float(levels[-1]))
    raise ValueError(f"no preconditioning '{kind}' of EDM: choose from {PRECONDS}")
