"""The reference of a posterior without a closed form: a long Markov chain, and checks of its own convergence.

Elliptical slice sampling, arXiv:1001.0175; split R-hat and effective sample size, arXiv:1903.08008.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from truth_scans import LogPoisson, hartley


def elliptical_slice(
    likelihood: LogPoisson, spectrum: Tensor, generator: torch.Generator, chains: int = 16, length: int = 4000,
    burn: int = 500, thin: int = 5,
) -> tuple[Tensor, dict[str, Any]]:
    """Draws of the exact posterior, (n, rows, columns), and the chains' own checks."""
    shape = (chains, *spectrum.shape)

    def prior_draw() -> Tensor:
        return hartley(spectrum.sqrt() * torch.randn(shape, generator=generator))

    u = prior_draw()
    energy = likelihood.misfit(u)
    kept = []
    for step in range(length):
        other = prior_draw()
        bound = energy - torch.log(torch.rand(chains, generator=generator))
        angle = 2 * math.pi * torch.rand(chains, generator=generator)
        low, high = angle - 2 * math.pi, angle.clone()
        proposal, found = u, energy
        waiting = torch.ones(chains, dtype=torch.bool)
        while bool(waiting.any()):
            turned = angle.cos()[:, None, None] * u + angle.sin()[:, None, None] * other
            value = likelihood.misfit(turned)
            good = waiting & (value < bound)
            proposal = torch.where(good[:, None, None], turned, proposal)
            found = torch.where(good, value, found)
            waiting = waiting & ~good
            low, high = torch.where(angle < 0, angle, low), torch.where(angle >= 0, angle, high)
            angle = torch.where(waiting, low + (high - low) * torch.rand(chains, generator=generator), angle)
        u, energy = proposal, found
        if step >= burn and step % thin == 0:
            kept.append(u)
    return checked(torch.stack(kept, 1))


def checked(samples: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """The samples (chains, n, ...) as one row, with their own checks."""
    return samples.flatten(0, 1), {"r_hat": round(_r_hat(samples), 4), "effective_samples": round(_effective(samples))}


def _r_hat(samples: Tensor) -> float:
    """Largest split R-hat over pixels; samples (chains, n, ...)."""
    halves = torch.cat(samples.flatten(2).double().chunk(2, 1)[:2], 0)
    count = halves.shape[1]
    within = halves.var(1).mean(0)
    between = halves.mean(1).var(0)
    return float((((count - 1) / count * within + between) / within).sqrt().max())


def _effective(samples: Tensor) -> float:
    """Smallest effective sample size over pixels, by Geyer's initial positive sequence."""
    x = samples.flatten(2).double()
    chains, count, _ = x.shape
    x = x - x.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(x, 2 * count, dim=1).abs() ** 2
    auto = torch.fft.irfft(spectrum, dim=1)[:, :count].mean(0) / count
    rho = (auto / auto[0]).numpy()
    pairs = rho[1:-1:2] + rho[2::2][: len(rho[1:-1:2])]
    # Sum of autocorrelation pairs until the first negative one.
    positive = np.minimum.accumulate(pairs > 0, axis=0)
    return float((chains * count / (1 + 2 * (pairs * positive).sum(0))).min())
