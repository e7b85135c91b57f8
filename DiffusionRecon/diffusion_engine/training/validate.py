"""The denoising error of a prior on held-out slices, for its card."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..denoiser import EDMDenoiser
from ..priors.card import NEIGHBOURS, SLICE, VOLUME
from ..priors.channels import pair
from ..priors.conditions import Condition
from ..priors.foreign.imported import ImportedDenoiser
from ..priors.neighbours import denoised, slices_apart
from ..priors.volumes import volume_planes
from .data import TrainingSlices

VALIDATION_SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
VALIDATION_DEPTHS = (0.2, 0.5, 0.8)
VOLUME_REACH = 4
"""Slices on either side of a held-out one that make its volume."""


def denoising_psnr(
    denoiser: EDMDenoiser | ImportedDenoiser, held: Sequence[TrainingSlices], alone: bool = False,
    condition: Condition | None = None,
) -> dict[str, float]:
    """PSNR in dB over a range of 2 network units of D(x + s n; s), by noise level, over held-out slices.

    A denoiser that looks at neighbours is given them, noisy too, and one of volumes a volume about the slice, unless
    the slices are to be ``alone``; all of the ``condition`` is told.
    """
    generator = torch.Generator().manual_seed(1)
    seen = SLICE if alone else getattr(denoiser.network, "sees", SLICE)
    own = 1 if condition is None else condition.outputs
    result = {}
    for sigma in VALIDATION_SIGMAS:
        errors = []
        for clean, place in held_slices(held, seen, condition=condition):
            noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
            with torch.no_grad():
                error = denoised(denoiser, noisy, torch.tensor([sigma]), place, own) - clean[:, :own]
            errors.append(float(error.square().mean()))
        result[f"{sigma:g}"] = decibel(sum(errors) / len(errors))
    return result


def held_slices(
    held: Sequence[TrainingSlices], seen: str, depths: Sequence[float] = VALIDATION_DEPTHS,
    condition: Condition | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slices (1, 1, rows, columns) of every volume at some depths, with planes.

    ``seen``: by itself, with both neighbours as further channels, or as the middle of a volume (1, 1, slices, ...).
    ``condition``: told by the last planes.
    """
    for source in held:
        for depth in depths:
            k = int(depth * len(source.values))
            clean, place = torch.from_numpy(source.values[k : k + 1].astype("float32")), source.place(k)
            if seen == NEIGHBOURS:
                cut, told = source.around(k, 1, (slice(None), slice(None)))
                clean, place = torch.cat([clean, cut]), torch.cat([place, told])
            if seen == VOLUME and source.has_neighbours:
                apart = slices_apart(source.slice_mm)
                part = range(max(k % apart, k - VOLUME_REACH * apart), len(source.values), apart)
                part = part[: 2 * VOLUME_REACH + 1]
                clean = torch.from_numpy(source.values[list(part)].astype("float32"))[None]
                place = volume_planes(place, apart * source.slice_mm, len(part))
            if condition is not None:
                own, planes = pair(condition, clean[:1], source.told(k))
                clean, place = torch.cat([own, clean[1:]]), torch.cat([place, planes])
            yield clean[None], place[None]


def decibel(mean_square: float) -> float:
    """PSNR over a range of 2 network units."""
    return round(10 * math.log10(4 / mean_square), 2)
