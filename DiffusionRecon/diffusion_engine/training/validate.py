"""The denoising error of a prior on held-out slices, for its card."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..priors.card import STACK
from ..priors.denoiser import EDMDenoiser
from ..priors.imported import ImportedDenoiser
from ..priors.stack import SPACING_UNIT_MM
from .data import TrainingSlices, neighbours

VALIDATION_SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
VALIDATION_DEPTHS = (0.2, 0.5, 0.8)


def denoising_psnr(denoiser: EDMDenoiser | ImportedDenoiser, held: Sequence[TrainingSlices]) -> dict[str, float]:
    """PSNR in dB over a range of 2 network units of D(x + s n; s), by noise level, over held-out slices.

    A denoiser of stacks sees each slice with its two neighbours, and its estimate of the middle one counts.
    """
    generator = torch.Generator().manual_seed(1)
    stack = getattr(denoiser.network, "outputs", 1) == STACK
    result = {}
    for sigma in VALIDATION_SIGMAS:
        errors = []
        for clean, place in held_slices(held, stack):
            noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
            with torch.no_grad():
                error = (denoiser(noisy, torch.tensor([sigma]), place) - clean)[:, clean.shape[1] // 2]
            errors.append(float(error.square().mean()))
        result[f"{sigma:g}"] = decibel(sum(errors) / len(errors))
    return result


def held_slices(
    held: Sequence[TrainingSlices], stack: bool, depths: Sequence[float] = VALIDATION_DEPTHS
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slices (1, 1, rows, columns) of every volume at some depths, with planes; ``stack``: and both neighbours.

    Raises ValueError where no volume has neighbouring slices for a stack.
    """
    sources = neighbours(held) if stack else held
    if not sources:
        raise ValueError("a prior of three slices needs held-out volumes of three neighbouring slices: give one")
    for source in sources:
        for depth in depths:
            k = int(depth * len(source.values))
            place = source.place(k)
            if stack:
                k = min(max(k, 1), len(source.values) - 2)
            chosen = source.values[k - 1 : k + 2] if stack else source.values[k : k + 1]
            clean = torch.from_numpy(chosen.astype("float32"))[None]
            if stack:
                place = torch.cat([place, torch.full_like(place[:1], source.slice_mm / SPACING_UNIT_MM)])
            yield clean, place


def decibel(mean_square: float) -> float:
    """PSNR over a range of 2 network units."""
    return round(10 * math.log10(4 / mean_square), 2)
