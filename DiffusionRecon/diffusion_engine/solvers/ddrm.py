"""Denoising diffusion restoration (DDRM), for operators whose singular vectors are a fast transform.

In the spectral coordinates c = V' x, with c0 = V' D(x; sigma), singular values S, data d = S^+ U' y and their noise
s = sigma_y / S, a coefficient moves to the level sigma' by

    S = 0            c' = c0 + sigma' (sqrt(1 - eta^2) (c - c0) / sigma + eta z)        unmeasured: DDIM
    sigma' <  s      c' = c0 + sigma' (sqrt(1 - eta^2) (d - c0) / s + eta z)            noisier than the state: a hint
    sigma' >= s      c' = (1 - b) c0 + b d + sqrt(sigma'^2 - b^2 s^2) z                 cleaner: replaced, b = eta_b

Source: arXiv:2201.11793, eqs. 7 and 8, in coordinates x = clean + sigma * noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood, ScaledOperator
from ..physics.operator import LinearOperator, SpectralOperator
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class DDRMSettings(AnnealedSettings):
    """Steps, noise levels (network units) and the shares of fresh noise and of data of one run."""

    steps: int = 50
    sigma_start: float = 1.0
    eta: float = 0.85
    eta_b: float = 1.0


def ddrm(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DDRMSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises ValueError for an operator without
    known singular values or a noise variance that differs between the readings of an image, FloatingPointError where
    an estimate is not finite.
    """
    operator, scale = spectral(likelihood.operator)
    values = operator.singular_values * scale
    seen = values > 0
    std = _noise_std(likelihood.variance) / torch.where(seen, values, 1.0)
    data = operator.data_to_spectral(likelihood.data) / scale
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    first = operator.to_spectral(start)
    fresh = operator.to_spectral(noise.normal(start))
    replaced = data + (levels[0] ** 2 - std**2).clamp_min(0).sqrt() * fresh
    c = torch.where(seen & (std <= levels[0]), replaced, first + levels[0] * fresh)
    keep = (1 - settings.eta**2) ** 0.5
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = finite(denoise(denoiser, operator.from_spectral(c), sigma, condition), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, estimate)
        c0 = operator.to_spectral(estimate)
        z = operator.to_spectral(noise.normal(estimate))
        direction = torch.where(seen, (data - c0) / std, (c - c0) / sigma)
        hinted = c0 + following * (keep * direction + settings.eta * z)
        left = (following**2 - (settings.eta_b * std) ** 2).clamp_min(0).sqrt()
        exact = (1 - settings.eta_b) * c0 + settings.eta_b * data + left * z
        c = torch.where(seen & (std <= following), exact, hinted)


def spectral(operator: LinearOperator) -> tuple[SpectralOperator, float]:
    """The operator with its singular values, and the factor that multiplies it; raises ValueError for any other."""
    if isinstance(operator, ScaledOperator):
        inner, scale = spectral(operator.operator)
        return inner, scale * operator.scale
    if not isinstance(operator, SpectralOperator):
        raise ValueError(
            f"DDRM needs an operator with known singular values, found {type(operator).__name__}: choose DDNM, DDS or "
            "PiGDM, which take any linear operator"
        )
    return operator, 1.0


def _noise_std(variance: Tensor) -> Tensor:
    """One standard deviation an image, broadcastable to (batch, rows, columns)."""
    flat = variance.flatten(1) if variance.ndim > 2 else variance.reshape(1, -1)
    if not bool((flat == flat[:, :1]).all()):
        raise ValueError(
            "DDRM needs one noise level for all readings of an image, found several: choose DDNM or DDS, which weigh "
            "each reading"
        )
    return flat[:, :1, None].sqrt()
