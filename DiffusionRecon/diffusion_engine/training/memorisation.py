"""Whether a prior repeats its training images: it denoises them better, and its draws come close to them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..classical.denoise import wiener
from ..denoiser import Denoiser
from ..priors.neighbours import denoised
from ..sampling.noise import Noise
from .data import PatchSampler, TrainingSlices
from .samples import draw_samples

FACTOR = 4
"""Patches are compared at a quarter of the resolution: anatomy, not noise."""
NEAR = 0.5
SAME = 0.01
GAP_DB = 1.0
SLICES_AT_ONCE = 32
COMPARED = 4


def nearest(patches: Tensor, sources: Iterable[TrainingSlices]) -> Tensor:
    """Distance of each patch (n, size, size) to the nearest place of any training slice, over the patch's deviation.

    min over slices and places of rms(patch - slice) / std(patch), after averaging over 4 x 4 pixels: 0 for a copy at
    any place, about 1 for a flat slice of the patch's mean. Raises ValueError for patches below 8 x 8 pixels.
    """
    size = patches.shape[-1] - FACTOR
    if size < FACTOR:
        raise ValueError(f"expected patches of {2 * FACTOR} x {2 * FACTOR} pixels or more, found {patches.shape[-1]}")
    # Every shift against the 4 x 4 grid of the slices, so that a copy is found wherever it was cut from.
    shifts = [
        F.avg_pool2d(patches[:, None, dy : dy + size, dx : dx + size], FACTOR)
        for dy in range(FACTOR) for dx in range(FACTOR)
    ]
    kernels = torch.cat(shifts)
    spread = kernels.flatten(1).std(1)
    own = kernels.square().flatten(1).mean(1)
    best = torch.full((len(kernels),), float("inf"))
    for source in sources:
        for first in range(0, len(source.values), SLICES_AT_ONCE):
            part = source.values[first : first + SLICES_AT_ONCE].astype(np.float32)
            images = F.avg_pool2d(torch.from_numpy(part)[:, None], FACTOR)
            if min(images.shape[-2:]) < kernels.shape[-1]:
                continue
            cross = F.conv2d(images, kernels) / kernels[0].numel()
            energy = F.avg_pool2d(images.square(), kernels.shape[-1], 1)
            distance = (energy - 2 * cross).amin((0, 2, 3)) + own
            best = torch.minimum(best, distance.clamp_min(0))
    relative = best.sqrt() / spread.clamp_min(1e-6)
    return relative.reshape(FACTOR**2, -1).amin(0)


def copies(
    denoiser: Denoiser, sources: Sequence[TrainingSlices], held: Sequence[TrainingSlices], sigma: tuple[float, float],
    noise: Noise, size: int = 64, empty_std: float = 0.02,
) -> dict[str, Any]:
    """Distance of draws from training images, compared with that of patches of held-out images.

    Draws of ``size`` pixels at the places of as many held-out patches. Returns "samples" and "held" (distances of
    :func:`nearest`), "ratio" of their medians, "suspicious" (ratio below 0.5) and a "sentence". Where the held-out
    patches are training patches themselves, that is suspicious, and there is no ratio.
    """
    size = min(size, *(min(s.values.shape[1:]) for s in held))
    sampler = PatchSampler(list(held), empty_std=10 * empty_std)
    clean, place = sampler.draw(COMPARED, size, torch.Generator().manual_seed(noise.seed))
    shape = (1, *clean.shape[1:])
    drawn = torch.cat([draw_samples(denoiser, shape, p, sigma, noise) for p in place])
    samples, others = (nearest(x[:, 0], sources).tolist() for x in (drawn, clean))
    found = {"samples": [round(d, 4) for d in samples], "held": [round(d, 4) for d in others]}
    if statistics.median(others) < SAME:
        sentence = "The held-out images are themselves among the training images: hold out other volumes."
        return {**found, "ratio": None, "suspicious": True, "sentence": sentence}
    ratio = statistics.median(samples) / statistics.median(others)
    suspicious = ratio < NEAR
    sentence = (
        f"Draws are {ratio:.2f} times as far from their nearest training images as held-out images are"
        + (": the prior repeats what it was trained on; give it more volumes or fewer steps." if suspicious else ".")
    )
    return {**found, "ratio": round(ratio, 4), "suspicious": suspicious, "sentence": sentence}


def excess_gap(
    denoiser: Denoiser, training: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], sigmas: Sequence[float],
    seed: int, own: int = 1,
) -> float:
    """How much better the prior denoises training than held-out patches, beyond what a plain filter does, in dB.

    mean over ``sigmas`` of (P(training) - P(held)) - (W(training) - W(held)), P and W the PSNR of the prior and of a
    local Wiener filter with the same noise: patches that are merely smoother gain both alike. ``own``: channels of one.
    """
    gaps = []
    for sigma in sigmas:
        ours, simple = (
            [psnr_of(patches, places, sigma, seed, method, own) for patches, places in (training, held)]
            for method in (denoiser, None)
        )
        gaps.append(ours[0] - ours[1] - (simple[0] - simple[1]))
    return statistics.fmean(gaps)


def psnr_of(
    clean: Tensor, place: Tensor, sigma: float, seed: int, denoiser: Denoiser | None, own: int = 1
) -> float:
    """PSNR in dB over 2 network units of denoised patches; without a denoiser, of a 3 x 3 Wiener filter."""
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    if denoiser is None:
        single = noisy[:, :own].flatten(0, -3)
        estimate = wiener(single, sigma).reshape(clean[:, :own].shape)
    else:
        with torch.no_grad():
            estimate = denoised(denoiser, noisy, torch.tensor(sigma), place, own)
    return float(10 * torch.log10(4 / (estimate - clean[:, :own]).square().mean()))
