"""The posterior's own denoiser, from the first two moments of the prior's: exact for a Gaussian prior.

    p(x0 | x) ~ N(D(x; s), s^2 J),  J = dD/dx                              (Tweedie's second moment)
    D_y(x; s) = D + s^2 J A' w,  (V + A s^2 J A') w = y - A D

w comes from conjugate gradients, each of whose iterations takes one product with J, a backward pass through the
network (:meth:`..likelihoods.gaussian.GaussianLikelihood.conditional_mean`). Their preconditioner has J replaced by the
stationary matrix F' diag(j) F, whose radial spectrum j is measured by one product with a random vector.

Source: moment matching, arXiv:2405.13712.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood, SolveSettings
from ..priors.denoiser import Denoiser
from ..sampling.noise import Noise
from .contract import finite, linearise

SMALLEST_SHARE = 1e-4
"""Floor of the measured spectrum of J, whose eigenvalues lie between 0 and 1."""


def posterior_denoiser(
    denoiser: Denoiser, likelihood: GaussianLikelihood, x: Tensor, sigma: float, settings: SolveSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Tensor:
    """D_y(x; sigma) ~ E[clean | x, y]: (batch, rows, columns), network units; ``noise`` draws the probing vector.

    Raises FloatingPointError where the result is not finite.
    """
    estimate, product = linearise(denoiser, x, sigma, condition)
    spectrum = sigma**2 * jacobian_spectrum(product, noise.normal(x))

    def stationary(v: Tensor) -> Tensor:
        image = torch.fft.ifft2(spectrum * torch.fft.fft2(v))
        return image if v.is_complex() else image.real

    clean = likelihood.conditional_mean(estimate, lambda v: sigma**2 * product(v), stationary, settings)
    return finite(clean, sigma)


def jacobian_spectrum(product: Callable[[Tensor], Tensor], probe: Tensor) -> Tensor:
    """Mean gain of J at each spatial frequency's magnitude: (batch, rows, columns), between SMALLEST_SHARE and 1.

    j(k) = mean of Re F z* F J z over a ring of frequencies, for each image; z: ``probe`` (standard normal) with all of
    its Fourier coefficients made as large as each other, so that none of a ring counts more than the others.
    """
    spectrum = torch.fft.fft2(probe, norm="ortho")
    source = spectrum / spectrum.abs().clamp_min(torch.finfo(spectrum.real.dtype).tiny)
    white = torch.fft.ifft2(source, norm="ortho")
    response = torch.fft.fft2(product(white if probe.is_complex() else white.real), norm="ortho")
    rows, columns = probe.shape[-2:]
    size = max(rows, columns)
    fy = torch.fft.fftfreq(rows, 1 / size, device=probe.device)
    fx = torch.fft.fftfreq(columns, 1 / size, device=probe.device)
    ring = (fy[:, None] ** 2 + fx**2).sqrt().round().long()
    count = int(ring.max()) + 1

    def gathered(values: Tensor) -> Tensor:
        empty = torch.zeros((len(values), count), dtype=values.dtype, device=values.device)
        return empty.index_add(1, ring.flatten(), values.flatten(1))

    gain = gathered((source.conj() * response).real) / gathered(source.abs() ** 2)
    return gain.clamp(SMALLEST_SHARE, 1.0)[:, ring]
