"""The posterior's own denoiser, from the first two moments of the prior's: exact for a Gaussian prior.

    p(x0 | x) ~ N(D(x; s), s^2 J),  J = dD/dx                              (Tweedie's second moment)
    D_y(x; s) = D + s^2 J A' w,  (V + A s^2 J A') w = y - A D

w comes from conjugate gradients, each of whose iterations takes one product with J, a backward pass through the
network. Two things keep these few. The sum of J A' over the search directions is J A' w itself, so no product is spent
on it; and the preconditioner solves the same system with J replaced by the stationary matrix F' diag(j) F, whose radial
spectrum j is measured by one product with a random vector: that takes scans, but no network.

Source: moment matching, arXiv:2405.13712. Flexible conjugate gradients: doi:10.1137/S1064827597323415.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..classical.conjugate_gradient import conjugate_gradient, item_dot, ratio
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.denoiser import Denoiser
from ..sampling.noise import Noise
from .contract import finite, linearise

SMALLEST_SHARE = 1e-4
"""Floor of the measured spectrum of J, whose eigenvalues lie between 0 and 1."""


@dataclass(frozen=True)
class SolveSettings:
    """Accuracy of the linear systems: ``products`` with the Jacobian at most, and inner iterations of scans only."""

    products: int = 3
    tolerance: float = 1e-3
    inner_iterations: int = 15
    inner_tolerance: float = 1e-2


def posterior_denoiser(
    denoiser: Denoiser, likelihood: GaussianLikelihood, x: Tensor, sigma: float, settings: SolveSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Tensor:
    """D_y(x; sigma) ~ E[clean | x, y]: (batch, rows, columns), network units; ``noise`` draws the probing vector.

    Raises FloatingPointError where the result is not finite.
    """
    estimate, product = linearise(denoiser, x, sigma, condition)
    operator = likelihood.operator
    whiten = likelihood.variance.rsqrt()
    spectrum = sigma**2 * jacobian_spectrum(product, noise.normal(x))

    def lift(v: Tensor) -> Tensor:
        return sigma**2 * product(operator.adjoint(whiten * v))

    def stationary(v: Tensor) -> Tensor:
        back = torch.fft.ifft2(spectrum * torch.fft.fft2(operator.adjoint(whiten * v)))
        return v + whiten * operator.forward(back if x.is_complex() else back.real)

    right = whiten * (likelihood.data - operator.forward(estimate))
    total = torch.zeros_like(x)
    residual, floor = right, item_dot(right, right) * settings.tolerance**2
    scale = torch.ones_like(floor)
    direction, change = torch.zeros_like(right), torch.zeros_like(right)
    for _ in range(settings.products):
        if not bool((item_dot(residual, residual) > floor).any()):
            break
        towards = conjugate_gradient(
            stationary, residual, settings.inner_iterations, settings.inner_tolerance, item_dot, apart=False
        )
        direction = towards + ratio(item_dot(towards, change), scale) * direction
        scale = item_dot(residual, towards)
        lifted = lift(direction)
        image = direction + whiten * operator.forward(lifted)
        # A network's Jacobian is only nearly a covariance: a direction of no positive curvature is left.
        step = ratio(item_dot(direction, residual), item_dot(direction, image))
        total = total + step.reshape(-1, *([1] * (x.ndim - 1))) * lifted
        change = -step * image
        residual = residual + change
    return finite(estimate + total, sigma)


def jacobian_spectrum(product: Callable[[Tensor], Tensor], probe: Tensor) -> Tensor:
    """Mean gain of J at each spatial frequency's magnitude: (rows, columns), between SMALLEST_SHARE and 1.

    j(k) = sum |F z| |F J z| cos / sum |F z|^2 over the batch and a ring of frequencies, z = ``probe`` standard normal.
    """
    response = torch.fft.fft2(product(probe), norm="ortho")
    source = torch.fft.fft2(probe, norm="ortho")
    rows, columns = probe.shape[-2:]
    size = max(rows, columns)
    fy = torch.fft.fftfreq(rows, 1 / size, device=probe.device)
    fx = torch.fft.fftfreq(columns, 1 / size, device=probe.device)
    ring = (fy[:, None] ** 2 + fx**2).sqrt().round().long()
    count = int(ring.max()) + 1

    def gathered(values: Tensor) -> Tensor:
        empty = torch.zeros(count, dtype=values.dtype, device=values.device)
        return empty.index_add(0, ring.flatten(), values.mean(0).flatten())

    gain = gathered((source.conj() * response).real) / gathered(source.abs() ** 2)
    return gain.clamp(SMALLEST_SHARE, 1.0)[ring]
