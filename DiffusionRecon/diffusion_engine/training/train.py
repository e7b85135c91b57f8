"""The training loop of a patch prior: EDM loss, moving average of the weights, exact resume."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ..denoiser import EDMDenoiser, as_column
from ..priors.neighbours import denoised
from .augment import draw_variants
from .averages import Averages
from .batches import Batch, one_ahead
from .checkpoint import Run
from .data import PatchSampler
from .optimiser import MuonWithAdam
from .team import ALONE, Team

AVERAGE_HALFLIFE = 500
"""Steps over which the weights are averaged, unless held-out volumes tell better."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a run is: steps, the patches of one step, and the optimiser's few numbers (see :class:`MuonWithAdam`).

    ``compiled``: with kernels made for the network (torch.compile), other in the last bits and faster. ``augment``:
    from variants of the patches too (see :mod:`.augment`).
    """

    steps: int = 2000
    patch_sizes: tuple[int, ...] = (64, 128)
    pixels_per_step: int = 65536
    learning_rate: float = 0.02
    warmup_steps: int = 200
    log_sigma_mean: float = -1.8
    log_sigma_std: float = 1.3
    average_halflife_steps: int = AVERAGE_HALFLIFE
    further_halflives: tuple[int, ...] = ()
    sigma_data: float = 0.5
    clip_norm: float = 1.0
    seed: int = 0
    bf16: bool = True
    compiled: bool = False
    augment: bool = False


@dataclass(frozen=True)
class TrainingStep:
    """One step as reported: number (from 1), total, loss (1 = predicting the mean, smaller is better), rate."""

    step: int
    total: int
    loss: float
    learning_rate: float


def edm_loss(denoiser: EDMDenoiser, clean: Tensor, place: Tensor, sigma: Tensor, noise: Tensor, bf16: bool) -> Tensor:
    """Mean of lambda(s) |D(x + s n; s) - x|^2, lambda = (s^2 + d^2) / (s d)^2 (arXiv:2206.00364, eq. 108).

    ``clean``: slices alone or with their neighbours, see :func:`denoised`, or volumes.
    """
    own = getattr(denoiser.network, "outputs", 1)
    s = as_column(sigma, clean)
    d = denoiser.sigma_data
    noisy = clean + s * noise
    if noisy.ndim == 4:
        noisy = noisy.contiguous(memory_format=torch.channels_last)
    with torch.autocast(clean.device.type, dtype=torch.bfloat16, enabled=bf16):
        estimate = denoised(denoiser, noisy, sigma, place, own)
    weight = (s**2 + d**2) / (s * d) ** 2
    return (weight * (estimate.float() - clean[:, :own]) ** 2).mean()


def levels(settings: TrainingSettings, count: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,): ln sigma is normal, no further than three standard deviations from its mean.

    Levels beyond that are so rare that the network only extrapolates there: such a step has an error of thousands and
    teaches nothing.
    """
    normal = torch.randn(count, generator=generator).clamp(-3.0, 3.0)
    return (normal * settings.log_sigma_std + settings.log_sigma_mean).exp()


def patches_of(pixels_per_step: int, size: int, depth: int = 1) -> int:
    """How many patches of a size, of ``depth`` slices, one step learns from: one at least."""
    return max(1, pixels_per_step // (depth * size**2))


def draw_batch(sampler: PatchSampler, settings: TrainingSettings, generator: torch.Generator) -> Batch:
    """Patches of one of the sizes, with noise levels and noise, and variants where they are wanted."""
    size = settings.patch_sizes[int(torch.randint(len(settings.patch_sizes), (1,), generator=generator))]
    count = patches_of(settings.pixels_per_step, size, sampler.depth)
    clean, place = sampler.draw(count, size, generator)
    sigma = levels(settings, count, generator)
    noise = torch.randn(clean.shape, generator=generator)
    variants = draw_variants(count, generator) if settings.augment else None
    return Batch(clean, place, sigma, noise, variants, generator.get_state())


class Paced(Protocol):
    """Settings with a length, a peak learning rate and a warm-up."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...


def rate(settings: Paced, step: int) -> float:
    """Learning rate at a step (from 0): linear warm-up, then a half cosine down to 2 % of the peak."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    network: nn.Module, sampler: PatchSampler, settings: TrainingSettings, checkpoint: Path | None = None,
    save_every: int = 250, averages: Averages | None = None, team: Team = ALONE,
) -> Iterator[TrainingStep]:
    """Train ``network`` in place, a step at a time; afterwards it holds the averaged weights.

    ``checkpoint``: file that holds the whole state; an existing one is continued (bit-identical on the same
    CPU). ``averages``: to read the other averages while it trains and afterwards, of the settings' half-lives.
    ``team``: of all processes, where several train together (see :mod:`.team`).
    Raises ValueError when the checkpoint's settings differ, FloatingPointError when the loss stops being finite.
    """
    device = next(network.parameters()).device
    # The stubs of Module.to leave memory_format out.
    denoiser = EDMDenoiser(
        network.to(memory_format=torch.channels_last), settings.sigma_data,  # type: ignore[call-overload]
    )
    called = cast(EDMDenoiser, torch.compile(denoiser, dynamic=False)) if settings.compiled else denoiser
    optimiser = MuonWithAdam(network, settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.seed)
    if averages is None:
        averages = averages_of(network, settings)
    run = Run(network, optimiser, generator, averages, settings, checkpoint, save_every, team)
    done = run.resume()
    # Drawn ahead by a generator of its own: that of the run stands where its last step ended.
    drawing = torch.Generator()
    drawing.set_state(generator.get_state())
    batches = one_ahead(lambda: draw_batch(sampler, settings, drawing), settings.steps - done)
    for step, batch in enumerate(batches, done):
        generator.set_state(batch.after)
        part, share = team.part(batch)
        loss = run.advance(share * edm_loss(called, *part.on(device), settings.bf16), step, rate(settings, step))
        yield TrainingStep(step + 1, settings.steps, loss, rate(settings, step))
    network.load_state_dict(averages.values[settings.average_halflife_steps])


def averages_of(network: nn.Module, settings: TrainingSettings) -> Averages:
    """The averages that a run of these settings keeps, as they are before its first step."""
    return Averages(network, (settings.average_halflife_steps, *settings.further_halflives))
