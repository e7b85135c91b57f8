"""ReSample: latent diffusion with hard data consistency, brought back to the noise level by a stochastic resample.

    z0  = D_z(z; s),   z' = z0 + s' (z - z0) / s                                     (DDIM, eta 0)
    every few steps of the last two thirds:
        z0y = encode(argmin_x misfit(x), from decode(z0))     in the middle third     (few CG iterations)
        z0y = argmin_z misfit(decode(z)), from z0             in the last third       (Adam)
        z'  = (k z0y + z') / (k + 1) + s' sqrt(k / (k + 1)) n,   k = gamma (1 - s'^2 / s^2)

k is the variance gamma (1 - a') / (1 - a) (1 - a / a') of published code, a = abar, in coordinates
z = clean + s * noise. Both optimisations stop where the noise alone explains the residual (residual ratio 1), instead
of at a fixed small loss: data with noise must not be fitted further. Source: arXiv:2307.08123.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.latent import LatentPrior
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, finite


@dataclass(frozen=True)
class ReSampleSettings(AnnealedSettings):
    """Steps and noise levels in latent units; ``every``: steps between data consistency; limits of both optimisations.

    ``pixel_weight``: prior variance of the pixel stage, image units squared, large so that the data decide.
    """

    steps: int = 60
    sigma_start: float = 20.0
    every: int = 3
    gamma: float = 40.0
    pixel_iterations: int = 20
    pixel_weight: float = 100.0
    latent_iterations: int = 200
    latent_rate: float = 0.02


def resample(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: ReSampleSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch, from noise in the latent space; ``start`` gives the shape alone.

    ``denoiser``: a LatentPrior, else ValueError. Raises FloatingPointError where an estimate is not finite.
    """
    if not isinstance(denoiser, LatentPrior):
        raise ValueError("ReSample needs a latent prior (autoencoder and denoiser of latents): choose another method")
    code, prior = denoiser.autoencoder, denoiser.denoiser
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    with torch.no_grad():
        shape = code.encode(start[:, None])
    z = levels[0] * noise.normal(shape)
    third = settings.steps // 3
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        with torch.no_grad():
            clean = prior(z, torch.tensor(sigma), condition)
        moved = ddim(z, clean, clean, sigma, following, 0.0, torch.zeros_like(z))
        last = index == settings.steps - 1
        if index >= third and ((index - third) % settings.every == 0 or last):
            if index < 2 * third:
                clean = pixel_consistent(denoiser, likelihood, clean, settings)
            else:
                clean = latent_consistent(denoiser, likelihood, clean, settings)
            weight = settings.gamma * (1 - following**2 / sigma**2)
            fresh = following * (weight / (weight + 1)) ** 0.5 * noise.normal(moved)
            moved = (weight * clean + moved) / (weight + 1) + fresh
        with torch.no_grad():
            yield SolverStep(index + 1, settings.steps, sigma, finite(code.decode(clean)[:, 0], sigma))
        z = moved


def pixel_consistent(
    prior: LatentPrior, likelihood: GaussianLikelihood, latents: Tensor, settings: ReSampleSettings
) -> Tensor:
    """Latents of the image that fits the data, reached from decode(latents); images that fit already stay."""
    with torch.no_grad():
        image = prior.autoencoder.decode(latents)[:, 0]
        fitted = likelihood.proximal(image, settings.pixel_weight, settings.pixel_iterations)
        wanting = (likelihood.residual_ratio(image) > 1).reshape(-1, 1, 1, 1)
        return torch.where(wanting, prior.autoencoder.encode(fitted[:, None]), latents)


def latent_consistent(
    prior: LatentPrior, likelihood: GaussianLikelihood, latents: Tensor, settings: ReSampleSettings
) -> Tensor:
    """Latents whose image fits the data, by Adam through the decoder; each image stops at residual ratio 1."""
    found = latents.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([found], settings.latent_rate)
    with torch.enable_grad():
        for _ in range(settings.latent_iterations):
            ratio = likelihood.residual_ratio(prior.autoencoder.decode(found)[:, 0])
            wanting = ratio > 1
            if not bool(wanting.any()):
                break
            before = found.detach().clone()
            optimiser.zero_grad()
            ratio[wanting].sum().backward()
            optimiser.step()
            with torch.no_grad():
                found.copy_(torch.where(wanting.reshape(-1, 1, 1, 1), found, before))
    return found.detach()
