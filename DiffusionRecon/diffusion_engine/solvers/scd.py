"""Steerable conditional diffusion (SCD): the prior is adapted, from the measurement alone, while it reconstructs.

    x0 = D_w(x; sigma),  x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2        (as in DDS)
    every few steps:  w <- Adam on  (|W(A x0' - y)|^2 + 2 a TV(x0')) / m,  with g = ``inner_variance`` g(sigma)
    x = x0' + sigma' (sqrt(1 - eta^2) (x - D_0(x; sigma)) / sigma + eta z)

with m readings. The objective is that of TV with weight a, minimised over the images that the network can produce
instead of over all images.
w are low-rank adapters of the network, zero at first, each image of a batch its own; D_0 is the network without
them, which gives the direction of the noise. Each step of Adam sees the last x0' (at first, the start) with fresh noise
of level sigma, where the source keeps to the one x, and the first noise level takes the most steps. The gradient
passes the solve for x0' by implicit differentiation. The prior's own weights are never written to. Draws are
concentrated, as DDS's.

Source: arXiv:2308.14409.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..classical.tv import gradient, gradient_adjoint
from ..denoiser import Denoiser
from ..likelihoods.contract import weighted_readings
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.implicit import proximal
from ..priors.lora import LowRank
from ..priors.real_part import RealPart
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .broad import Broad
from .contract import SolverStep, clean_variance, denoise, finite

SMOOTHING = 1e-3
"""Differences (network units) below which the total variation is rounded off, so that it has a gradient."""


@dataclass(frozen=True)
class SCDSettings(Broad, AnnealedSettings):
    """Those of DDS, and of the inner loop: every ``skip`` steps and in the ``last`` ones, ``inner_steps`` of Adam.

    The first step takes ``first_inner_steps``: what the state keeps of the start's artefacts is decided at high noise.
    """

    eta: float = 1.0
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    cg_iterations: int = 5
    cg_tolerance: float = 1e-3
    rank: int = 12
    skip: int = 2
    last: int = 4
    first_inner_steps: int = 120
    inner_steps: int = 6
    learning_rate: float = 8e-3
    inner_variance: float = 0.1
    tv_weight: float = 20.0


def scd(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: SCDSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises ValueError for a denoiser without a
    network to adapt, FloatingPointError where an estimate or the misfit is not finite.
    """
    runs = [
        _one(denoiser, likelihood.select(slice(n, n + 1)), start[n : n + 1], settings, noise.of([n]), condition)
        for n in range(len(start))
    ]
    for steps in zip(*runs, strict=True):
        yield replace(steps[0], estimate=torch.cat([step.estimate for step in steps]))


def _one(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: SCDSettings,
    noise: Noise, condition: Tensor | None,
) -> Iterator[SolverStep]:
    """:func:`scd` of a single image (1, rows, columns), to which alone the network is adapted."""
    adapted, adapter = with_adapter(denoiser, settings.rank)
    optimiser = torch.optim.Adam(adapter.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    clean, x = start, start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        g = clean_variance(sigma, settings.sigma_data, settings.prior_variance)
        if index % settings.skip == 0 or index >= settings.steps - settings.last:
            for _ in range(settings.inner_steps if index else settings.first_inner_steps):
                # Fresh noise each time, so that the adapters learn the image and not one draw of the noise.
                seen = clean + sigma * noise.normal(clean)
                variance = g * settings.inner_variance
                adapt_step(adapted, optimiser, likelihood, seen, sigma, variance, settings, condition)
        estimate = denoise(denoiser, x, sigma, condition)
        better = denoise(adapted, x, sigma, condition)
        root = settings.root(g, better)
        clean = finite(likelihood.proximal(better, root, settings.cg_iterations, settings.cg_tolerance), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, estimate, clean, sigma, following, settings.eta, noise.normal(x))


def with_adapter(denoiser: Denoiser, rank: int) -> tuple[Denoiser, LowRank]:
    """The denoiser called with low-rank adapters, zero at first, and the adapters; raises ValueError if it has none.

    A denoiser can be adapted when it is a module, or offers ``adaptable()``: its network, and what makes a denoiser of
    an adapted one. Of a network that judges the real part of complex images it is that network.
    """
    if isinstance(denoiser, RealPart):
        inner, adapter = with_adapter(denoiser.denoiser, rank)
        return replace(denoiser, denoiser=inner), adapter
    if hasattr(denoiser, "adaptable"):
        network, around = denoiser.adaptable()
        adapter = LowRank(network, rank)
        return around(adapter), adapter
    if isinstance(denoiser, nn.Module):
        adapter = LowRank(denoiser, rank)
        return adapter, adapter
    raise ValueError(
        f"SCD adapts the prior's network, and {type(denoiser).__name__} has none to adapt: choose another solver, or a "
        "prior that is a network"
    )


def adapt_step(
    adapted: Denoiser, optimiser: torch.optim.Optimizer, likelihood: GaussianLikelihood, x: Tensor, sigma: float,
    variance: float, settings: SCDSettings, condition: Tensor | None = None,
) -> float:
    """One step of the adapters; returns the objective before it. ``variance``: g of the estimate x0' in it."""
    optimiser.zero_grad(set_to_none=True)
    with torch.enable_grad():
        estimate = adapted(x[:, None], torch.tensor(sigma), condition)[:, 0]
        fitted = proximal(likelihood, estimate, variance, settings.cg_iterations, settings.cg_tolerance)
    clean = fitted.detach()
    misfit = likelihood.residual_ratio(clean).mean()
    differences = gradient(clean)
    length = (differences.abs().square().sum(-3, keepdim=True) + SMOOTHING**2).sqrt()
    share = 2 / int(weighted_readings(likelihood, clean).sum())
    objective = misfit + share * settings.tv_weight * length.sum()
    if not bool(torch.isfinite(objective)):
        raise FloatingPointError(f"the misfit is not finite at noise level {sigma:.3g}: lower the learning rate")
    slope = share * (likelihood.gradient(clean) + settings.tv_weight * gradient_adjoint(differences / length))
    fitted.backward(slope)
    optimiser.step()
    return float(objective)
