"""Adapt a prior to a scan of something else: it learns from the scan's own reconstructions, round after round.

    x_k ~ DDS(y_k; w),   k = 1..n slices of the scan                  (at first: x_k by TV)
    w   <- training on x_k, turned by any angle, mirrored, and stretched a little

is expectation maximisation with a diffusion prior. The data step keeps what was measured of a slice; what the
measurement leaves open is learnt from all other places of the scan. Artefacts follow the directions of the views, the
anatomy does not: in turned images they have other directions, so that the network learns the anatomy and averages the
artefacts. No reference is needed. The result is a new prior for this scan; the one that it started from is unchanged.

Sources: arXiv:2405.13712 (expectation maximisation), arXiv:2103.14756 (turned images).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modalities.ct.measurement import Measurement
from ..modalities.ct.problem import Problem, prepare
from ..priors.card import SLICE
from ..priors.conditions import condition_from_card
from ..priors.library import Prior
from ..priors.networks import PatchUNet
from ..priors.slices import resample
from ..run.costs import SURROGATE_ITERATIONS
from ..run.draws import diffusion_draws
from ..run.settings import Settings
from ..volume import Volume
from .adapt import adaptable_prior
from .augment import warped
from .data import PatchSampler, TrainingSlices
from .run import export_prior
from .train import TrainingSettings, train

SLICES = 24
"""Number of slices of a scan that are learnt from, evenly spread."""
VARIANTS = 12
"""Turned versions of each slice."""
RATE = 0.01
"""Peak learning rate of a round, twice that of a training that continues."""
PIXELS = 131072
"""Of all patches of a step."""
STRETCH = 0.1
"""Standard deviation of the logarithm of their size."""


def adapt_to_scan(
    prior: str, source: Volume | Measurement, settings: Settings, out: Path, name: str, steps: int = 500,
    rounds: int = 4, seed: int = 0, device: str = "auto", each: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Train ``prior`` on a CT scan alone, write NAME.safetensors and NAME.json into ``out``; returns the card.

    ``source``: a measurement, or a volume in HU to be scanned in the computer as ``settings`` say. ``rounds`` of
    ``steps`` training steps. ``each`` is told of the rounds that are done. Raises ValueError for a prior that is itself
    an adapter's, taught for one method, or not of single slices, for a name that is taken, and for rounds below 1.
    """
    if rounds < 1:
        raise ValueError(f"expected 1 round or more, found {rounds}: raise it")
    if (out / f"{name}.json").exists():
        raise ValueError(f"there is a prior called '{name}' in {out} already: choose another name")
    base = adaptable_prior(prior, name, device)
    if base.card.sees != SLICE:
        raise ValueError(f"the prior {base.card.name} sees more than a slice ({base.card.sees}): adapt another one")
    settings = replace(settings, prior=prior, solver="dds", draws=1, coupling="none")
    problem = spread(prepare(source, settings, base.device, base.card))
    network = base.own().network
    assert isinstance(network, PatchUNet)
    learning = learnt(base, problem, settings, steps, rounds, seed)
    for done in range(1, rounds + 1):
        images = next(learning)
        each(done)
    out.mkdir(parents=True, exist_ok=True)
    pixel, known = problem.prior.grid.pixel_mm[0], base.card.pixel_mm
    scan = TrainingSlices("a scan alone", images.cpu().numpy(), np.full(problem.slices, pixel))
    details = {"rounds": rounds, "views": len(problem.delivered.geometry.angles_rad), "notes": problem.notes}
    return export_prior(
        network, out, name, manner(base, steps, seed), [scan], [], details=details,
        origin={"name": base.card.name, "sha256": base.card.sha256}, condition=condition_from_card(base.card.condition),
        earlier=[{**entry, "through": base.card.name} for entry in base.card.data],
        start_error=base.card.start_error, title=f"{base.card.title}, adapted to a scan ({name})",
        pixel_mm=(min(pixel, known[0]), max(pixel, known[1])),
    )


def manner(base: Prior, steps: int, seed: int) -> TrainingSettings:
    """How a round learns."""
    return TrainingSettings(
        steps=steps, seed=seed, patch_sizes=(64,), pixels_per_step=PIXELS, learning_rate=RATE,
        warmup_steps=max(1, steps // 20), average_halflife_steps=max(1, steps // 10),
        bf16=base.bf16, sigma_data=base.card.sigma_data,
    )


def learnt(
    prior: Prior, problem: Problem, settings: Settings, steps: int, rounds: int, seed: int
) -> Iterator[Tensor]:
    """Train the network of ``prior`` in place on its reconstructions of a scan, a round at a time.

    Yields what a round has learnt from, (slices, rows, columns) in network units, after it.
    """
    network = prior.own().network
    name = settings.entry.fallback
    surrogate = problem.classical(name, SURROGATE_ITERATIONS)
    images = resample(problem.classical(name, settings.iterations(name)), *problem.prior.grid.shape)
    generator = torch.Generator().manual_seed(seed)
    for round_ in range(rounds):
        if round_ > 0:
            images = reconstructed(problem, replace(settings, seed=seed + round_), prior, surrogate)
        sampler = PatchSampler([turned(images.cpu(), problem.prior.grid.pixel_mm[0], generator)])
        network.requires_grad_(True).train()
        for _ in train(network, sampler, manner(prior, steps, seed + round_)):
            pass
        network.requires_grad_(False).eval()
        yield images


def spread(problem: Problem) -> Problem:
    """The problem of up to 24 of its slices, evenly spread."""
    count = problem.slices
    if count <= SLICES:
        return problem
    return problem.select(torch.linspace(0, count - 1, SLICES).round().long().to(problem.device))


def reconstructed(problem: Problem, settings: Settings, prior: Prior, surrogate: Tensor) -> Tensor:
    """A draw of every slice by the prior as it is, (slices, rows, columns) on its grid, network units."""
    found = []
    for first in range(0, problem.slices, settings.slab):
        chunk = slice(first, min(first + settings.slab, problem.slices))
        found += [
            state.estimate for state in diffusion_draws(problem, settings, prior, chunk, surrogate[chunk])
            if state.finished
        ]
    return torch.cat(found)


def turned(images: Tensor, pixel_mm: float, generator: torch.Generator) -> TrainingSlices:
    """Every image (n, rows, columns) in 12 versions: half turned by any angle and stretched, all mirrored at random.

    No value falls below the smallest of its image. Half of them are on the image's own grid, whose detail no
    interpolation has softened.
    """
    x = images.repeat(VARIANTS, 1, 1)[:, None]
    count = len(x)
    moved = torch.arange(count) // len(images) % 2 == 0
    angle = (2 * torch.rand(count, generator=generator) - 1) * math.pi * moved
    scale = (torch.randn(count, generator=generator).clamp(-3, 3) * STRETCH * moved).exp()
    cosine, sine, zero = scale * angle.cos(), scale * angle.sin(), torch.zeros(count)
    # The grid's sides are -1 to 1 whatever their length: a turn of a slice that is not square needs their ratio.
    ratio = images.shape[-2] / images.shape[-1]
    maps = torch.stack([
        torch.stack([cosine, -sine * ratio, zero], 1), torch.stack([sine / ratio, cosine, zero], 1),
    ], 1)
    result = torch.maximum(warped(x, maps), x.amin((1, 2, 3), keepdim=True))
    for axis in (-1, -2):
        flipped = torch.rand(count, generator=generator) < 0.5
        result = torch.where(flipped[:, None, None, None], result.flip(axis), result)
    return TrainingSlices("scan", result[:, 0].half().numpy(), np.full(count, pixel_mm))
