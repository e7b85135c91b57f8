"""Decomposed diffusion sampling (DDS), noisy proximal form.

    x0 = D(x; sigma)
    x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2        (conjugate gradients)
    x   = x0' + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z)        (DDIM)

started at sigma_0 from a classical image plus noise of that level (come-closer diffusion). The data weight W comes
from the measured noise, the prior's from g(sigma) = w c s^2 d^2 / (s^2 + d^2); w, of mean 1 over an image, is larger
where the network is less sure (:mod:`.local_variance`). With ``products`` the prior's weight is the whole covariance
C = c s^2 J that the network itself states, J = dD/dx, by so many products with J a step:

    x0' = argmin_z (z - x0)' C^-1 (z - x0) / 2 + |W(A z - y)|^2 / 2

Every second call sees the image left-right reversed, so that a network's error in one direction is not repeated.
Draws are concentrated: each step pulls towards a point estimate, so their spread is narrower than the posterior's.

Sources: DDS, arXiv:2303.05754; covariance, arXiv:2405.13712; start, arXiv:2112.05146; reversed calls, arXiv:2312.01831.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.conditional import SolveSettings
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.root import Root
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .broad import Broad
from .contract import SolverStep, denoise, finite, linearise
from .local_variance import LocalVariance, prior_variance


@dataclass(frozen=True)
class DDSSettings(Broad, AnnealedSettings):
    """Steps, noise levels (network units) and the weights of one run.

    ``mirrored``: every second call is reversed; ``local_variance``: the prior's variance differs from pixel to pixel;
    ``products``: with the network's Jacobian in a step, each as much work as a whole step without (0: no covariance);
    ``antithetic``: every second of several draws has the opposite noise of the draw before it; the caller makes that
    noise (:meth:`..sampling.noise.Noise.draws`). Raises ValueError for a negative number of products.
    """

    eta: float = 1.0
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3
    mirrored: bool = True
    local_variance: bool = True
    products: int = 0
    antithetic: bool = False

    def __post_init__(self) -> None:
        if self.products < 0:
            raise ValueError(f"expected 0 products or more, found {self.products}: change the option")

    def mirrors(self, index: int) -> bool:
        """Whether the call of step ``index`` (from 0) sees the image reversed."""
        return self.mirrored and index % 2 == 1

    def variance(self, sigma: float, change: Tensor) -> float | Tensor:
        """g(sigma), a number, or (batch, rows, columns) where the estimates' ``change`` (same shape) sets it."""
        return prior_variance(sigma, self.sigma_data, self.prior_variance, change if self.local_variance else None)


def dds(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DDSSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises FloatingPointError where an estimate
    is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    local = LocalVariance()
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate, clean = corrected(denoiser, likelihood, x, sigma, index, settings, local, condition)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, estimate, clean, sigma, following, settings.eta, noise.normal(x))


def corrected(
    denoiser: Denoiser, likelihood: GaussianLikelihood, x: Tensor, sigma: float, index: int, settings: DDSSettings,
    local: LocalVariance, condition: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """x0 of call ``index``, which updates ``local``, and x0': images (batch, rows, columns).

    Raises FloatingPointError where x0' is not finite.
    """
    mirrored, tolerance = settings.mirrors(index), settings.cg_tolerance
    iterations = likelihood.iterations(settings.cg_iterations)
    if settings.products == 0:
        estimate = denoise(denoiser, x, sigma, condition, mirrored)
        variance = settings.variance(sigma, local.update(estimate, sigma))
        root = settings.root(variance, estimate)
        return estimate, finite(likelihood.proximal(estimate, root, iterations, tolerance), sigma)
    estimate, product = linearise(denoiser, x, sigma, condition, mirrored)
    variance = settings.variance(sigma, local.update(estimate, sigma))
    cheap = settings.root(variance, estimate)
    broad = Root(0.0, cheap.broad)
    clean = likelihood.conditional_mean(
        estimate, lambda v: settings.prior_variance * sigma**2 * product(v) + broad.covariance(v), cheap.covariance,
        SolveSettings(settings.products, tolerance, iterations),
    )
    return estimate, finite(clean, sigma)
