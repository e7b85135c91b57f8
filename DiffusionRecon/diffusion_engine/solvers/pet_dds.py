"""PET-DDS: decomposed diffusion sampling of counts, whose data step is expectation maximisation held by an anchor.

    x0 = D(x; sigma)
    x0' = argmin_z>=0 |z - x0|^2 / (2 g(sigma)) + sum(m - y ln m) + w R_z(z),   m = A z + b
    x   = x0' + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z)        (DDIM)

The step keeps the counts' own likelihood and the bound at 0, by a few passes through ordered subsets from the estimate
on. g(sigma) is that of :mod:`.dds`. R_z, the relative difference penalty between neighbouring slices, ties a stack; its
slope at the last iterate stands in the step (one step late). Draws are concentrated, as those of DDS.

Sources: Singh et al., arXiv:2308.14190; anchored maximisation, De Pierro, doi:10.1109/42.370409; one step late, Green,
doi:10.1109/42.52985.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..classical.relative_difference import ALONG_Z, RelativeDifference
from ..denoiser import Denoiser
from ..likelihoods.emission_step import anchored_em
from ..likelihoods.ordered_subsets import OrderedSubsets
from ..likelihoods.poisson import PoissonEmission
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite
from .local_variance import LocalVariance, prior_variance

LEAST = 1e-4
"""Network units that a pixel begins a data step with at least: multiplication would keep a 0."""
EPSILON = 0.002
"""Of the penalty between slices, network units."""


@dataclass(frozen=True)
class PETDDSSettings(AnnealedSettings):
    """Steps, noise levels (network units) and the weights of one run.

    ``prior_variance``, ``mirrored``, ``local_variance``: as of DDS; ``sweeps`` through ``subsets`` of the views in each
    step; ``z_weight``: of the penalty between neighbouring slices, 1 / network unit, 0 for none.
    """

    eta: float = 1.0
    sigma_data: float = 0.5
    prior_variance: float = 1.0
    sweeps: int = 2
    subsets: int = 6
    mirrored: bool = True
    local_variance: bool = True
    z_weight: float = 0.0
    antithetic: bool = False


def pet_dds(
    denoiser: Denoiser, likelihood: PoissonEmission, start: Tensor, settings: PETDDSSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result, at least 0.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises ValueError for more subsets than views,
    FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    ordered = OrderedSubsets.of(likelihood, settings.subsets)
    tie = RelativeDifference(EPSILON, offsets=ALONG_Z) if settings.z_weight > 0 and len(start) > 1 else None
    x = start + levels[0] * noise.normal(start)
    local = LocalVariance()
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition, settings.mirrored and index % 2 == 1)
        change = local.update(estimate, sigma) if settings.local_variance else None
        variance = prior_variance(sigma, settings.sigma_data, settings.prior_variance, change)
        precision = 1 / torch.as_tensor(variance, dtype=estimate.dtype, device=estimate.device)
        clean = estimate.clamp_min(LEAST)
        for _ in range(settings.sweeps):
            pull = estimate if tie is None else estimate - settings.z_weight * tie.gradient(clean) / precision
            clean = anchored_em(ordered, pull, precision, start=clean.clamp_min(LEAST), iterations=1)
        clean = finite(clean, sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, estimate, clean, sigma, following, settings.eta, noise.normal(x))
