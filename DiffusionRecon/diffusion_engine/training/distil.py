"""Consistency distillation: a prior's whole probability flow in one call of a student network.

    x_i = x + sigma_i z                                        a noisy training image
    x_j = teacher's probability flow from sigma_i to sigma_j   (j = i + skip, Heun's rule on the levels between)
    loss = h((f(x_i; sigma_i) - f'(x_j; sigma_j)) / c_out(sigma_i)),   h(u) = sqrt(u^2 + c^2) - c, or u^2

f is the student and f' a moving average of it without gradient, the target. The EDM parametrisation gives the boundary
condition f(x; 0) = x, and the last level is 0, so that the teacher's own last step is learnt first. The student is a
network of the same kind as the teacher's. In the solver "consistency" it reaches the data manifold in one call or a
few. It is not a denoiser: f is the end of the flow, not the mean of the clean images.

Sources: arXiv:2303.01469 (consistency models, algorithm 2); skip, arXiv:2310.04378; pseudo-Huber, arXiv:2310.14189.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..denoiser import Denoiser, EDMDenoiser, as_column
from ..sampling.grids import poly_grid
from .averages import Averages
from .checkpoint import Run
from .data import PatchSampler
from .optimiser import MuonWithAdam
from .train import TrainingStep, patches_of

LOSSES = ("huber", "l2")


@dataclass(frozen=True)
class DistilSettings:
    """Levels of the flow, how many of them the teacher passes at once, the loss, the target's average.

    ``sigma_min`` and ``sigma_max`` in network units; ``levels`` from one to the other, then 0.
    """

    steps: int = 2000
    levels: int = 36
    skip: int = 3
    sigma_min: float = 0.005
    sigma_max: float = 5.0
    sigma_data: float = 0.5
    loss: str = "huber"
    huber: float = 0.03
    target_halflife_steps: int = 15
    average_halflife_steps: int = 200
    patch_sizes: tuple[int, ...] = (64, 128)
    pixels_per_step: int = 65536
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.skip <= self.levels:
            raise ValueError(f"expected a skip from 1 to the {self.levels} levels, found {self.skip}: correct it")
        if self.loss not in LOSSES or self.huber <= 0:
            raise ValueError(f"expected a loss out of {LOSSES} with a positive width, found {self.loss}, {self.huber}")


def flow(teacher: Denoiser, x: Tensor, levels: Tensor, place: Tensor | None) -> Tensor:
    """The probability flow dx/ds = (x - D(x; s)) / s along ``levels`` (steps, batch), each image at its own levels.

    Heun's rule, Euler's into zero; an image whose next level is the same stays where it is.
    """
    for level, following in pairwise(levels):
        s, t = as_column(level, x), as_column(following, x)
        moving = t < s
        # An image that rests is evaluated at a level of 1 and its slope multiplied by zero.
        safe = torch.where(moving, s, torch.ones_like(s))
        slope = (x - teacher(x, safe.flatten(), place)) / safe
        moved = x + (t - s) * slope
        inner = (t > 0) & moving
        if bool(inner.any()):
            safe_next = torch.where(inner, t, torch.ones_like(t))
            slope_next = (moved - teacher(moved, safe_next.flatten(), place)) / safe_next
            slope = torch.where(inner, 0.5 * (slope + slope_next), slope)
        x = x + (t - s) * slope
    return x


def consistency_loss(
    student: EDMDenoiser, target: EDMDenoiser, x: Tensor, sigma: Tensor, moved: Tensor, sigma_moved: Tensor,
    place: Tensor | None, settings: DistilSettings,
) -> Tensor:
    """Mean of h((f(x; s) - f'(x'; s')) / c_out(s)), c_out = s d / sqrt(s^2 + d^2); f' is x' itself where s' is 0."""
    with torch.no_grad():
        ended = as_column(sigma_moved, x) == 0
        safe = torch.where(sigma_moved > 0, sigma_moved, torch.ones_like(sigma_moved))
        wanted = torch.where(ended, moved, target(moved, safe, place))
    s, d = as_column(sigma, x), settings.sigma_data
    error = (student(x, sigma, place).float() - wanted) * (s**2 + d**2).sqrt() / (s * d)
    if settings.loss == "l2":
        return error.square().mean()
    c = settings.huber
    return ((error.square() + c**2).sqrt() - c).mean()


def distil(
    teacher: Denoiser, network: nn.Module, sampler: PatchSampler, settings: DistilSettings,
    checkpoint: Path | None = None, save_every: int = 100,
) -> Iterator[TrainingStep]:
    """Teach ``network``, best begun with the teacher's weights, a step at a time; afterwards it holds the average.

    ``checkpoint``: file of the whole state; an existing one is continued (bit-identical on the same CPU). Raises
    ValueError when its settings differ, FloatingPointError when the loss stops being finite.
    """
    device = next(network.parameters()).device
    student = EDMDenoiser(
        network.to(memory_format=torch.channels_last), settings.sigma_data,  # type: ignore[call-overload]
    )
    shadow = copy.deepcopy(student).requires_grad_(False)
    optimiser = MuonWithAdam(network, settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.seed)
    averages = Averages(network, (settings.target_halflife_steps, settings.average_halflife_steps))
    levels = poly_grid(settings.sigma_max, settings.sigma_min, settings.levels).float()
    run = Run(network, optimiser, generator, averages, settings, checkpoint, save_every)
    for step in range(run.resume(), settings.steps):
        rate = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
        shadow.network.load_state_dict(averages.values[settings.target_halflife_steps])
        size = settings.patch_sizes[int(torch.randint(len(settings.patch_sizes), (1,), generator=generator))]
        count = patches_of(settings.pixels_per_step, size)
        clean, place = (part.to(device) for part in sampler.draw(count, size, generator))
        noise = torch.randn(clean.shape, generator=generator).to(device)
        first = torch.randint(settings.levels, (count,), generator=generator)
        passed = (first + torch.arange(settings.skip + 1)[:, None]).clamp_max(settings.levels)
        path = levels[passed].to(device)
        noisy = clean + as_column(path[0], clean) * noise
        with torch.no_grad():
            moved = flow(teacher, noisy, path, place)
        loss = consistency_loss(student, shadow, noisy, path[0], moved, path[-1], place, settings)
        run.advance(loss, step, rate)
        yield TrainingStep(step + 1, settings.steps, loss.item(), rate)
    network.load_state_dict(averages.values[settings.average_halflife_steps])
