"""Plug-and-play diffusion models (PnP-DM): split Gibbs sampling with an annealed coupling.

    z ~ p(y | z) exp(-|z - x|^2 / (2 rho^2))       exactly for a linear Gaussian scan, by Hamiltonian moves otherwise
    x ~ p(x) exp(-|x - z|^2 / (2 rho^2))           the reverse diffusion from noise level rho, begun at z

for rho falling geometrically. A direction freezes when rho passes its posterior width, a little too wide: its variance
is high by about -ln(decay); several anatomies freeze when rho passes half their distance.

Source: arXiv:2405.18782.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.contract import SmoothLikelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import geometric_grid
from ..sampling.hamiltonian import Chain, hamiltonian_move
from ..sampling.movers import multistep_estimates
from ..sampling.noise import Noise
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class PnPDMSettings:
    """Gibbs iterations, range of rho (network units), calls of a prior half-step and how far it goes down.

    ``moves`` of ``leaps`` leapfrog steps make a likelihood half-step where no exact one exists.
    """

    iterations: int = 240
    rho_max: float = 20.0
    rho_min: float = 0.003
    prior_steps: int = 12
    prior_span: float = 20.0
    cg_iterations: int = 60
    cg_tolerance: float = 1e-4
    moves: int = 4
    leaps: int = 8


def pnp_dm(
    denoiser: Denoiser, likelihood: GaussianLikelihood | SmoothLikelihood, start: Tensor, settings: PnPDMSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``start`` (batch, rows, columns), network units. Raises FloatingPointError where an estimate is not finite.
    """
    levels = geometric_grid(settings.rho_max, settings.rho_min, settings.iterations).tolist()[:-1]
    x = start
    step = torch.full(start.shape[:1], 0.1 * levels[0], dtype=start.real.dtype, device=start.device)
    for index, rho in enumerate(levels):
        if isinstance(likelihood, GaussianLikelihood):
            z = likelihood.conditional_draw(x, rho**2, noise, settings.cg_iterations, settings.cg_tolerance)
        else:
            z, step = half_step(likelihood, x, rho, step.clamp_max(rho), settings.moves, settings.leaps, noise)
        x = finite(_clean_given(denoiser, z, rho, settings, noise, condition), rho)
        yield SolverStep(index + 1, len(levels), rho, x)


def half_step(
    likelihood: SmoothLikelihood, x: Tensor, rho: float, step: Tensor, moves: int, leaps: int, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Hamiltonian moves on exp(-misfit(z) - |z - x|^2 / (2 rho^2)) from ``x``: z and the adapted step sizes."""
    chain = Chain(x, step, torch.zeros_like(step, dtype=torch.bool))

    def potential(z: Tensor) -> Tensor:
        return likelihood.misfit(z) + (z - x).abs().square().flatten(1).sum(1) / (2 * rho**2)

    def gradient(z: Tensor) -> Tensor:
        return likelihood.gradient(z) + (z - x) / rho**2

    for _ in range(moves):
        chain = hamiltonian_move(chain, potential, gradient, leaps, noise)
    return chain.position, chain.step


def _clean_given(
    denoiser: Denoiser, z: Tensor, rho: float, settings: PnPDMSettings, noise: Noise, condition: Tensor | None
) -> Tensor:
    """A draw of p(clean | clean + rho n = z) by the reverse diffusion."""
    levels = geometric_grid(rho, rho / settings.prior_span, settings.prior_steps).tolist()

    def clean_at(x: Tensor, sigma: float) -> Tensor:
        return denoise(denoiser, x, sigma, condition)

    return deque(multistep_estimates(clean_at, z, levels, noise), 1)[0]
