"""Few-step reconstruction: denoise, agree with the data, noise again at the next of a few levels.

    x0 = D(x; sigma)
    x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2        (conjugate gradients)
    x = x0' + sigma' z

the multistep sampler of consistency models with a data step in each, for any D: a consistency network, whose single
call ends on the data manifold, or an ordinary denoiser. g(sigma) = w c s^2 d^2 / (s^2 + d^2) as in DDS, w of
:mod:`.local_variance`. Draws are concentrated. Sources: arXiv:2303.01469, algorithm 1; data step, arXiv:2303.05754.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .broad import Broad
from .contract import SolverStep, denoise, finite
from .local_variance import LocalVariance, prior_variance


@dataclass(frozen=True)
class ConsistencySettings(Broad, AnnealedSettings):
    """Denoiser calls, the first and last noise level (network units), and the weights of the data step.

    ``local_variance``: the prior's variance differs from pixel to pixel.
    """

    steps: int = 4
    sigma_end: float = 0.05
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3
    local_variance: bool = True


def consistency(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: ConsistencySettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch, one denoiser call a level; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises FloatingPointError where an estimate
    is not finite.
    """
    first, count = settings.sigma_start, settings.steps
    levels = [first, 0.0] if count == 1 else poly_grid(first, settings.sigma_end, count).tolist()
    x = start + first * noise.normal(start)
    local, iterations = LocalVariance(), likelihood.iterations(settings.cg_iterations)
    for index in range(count):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        change = local.update(estimate, sigma) if settings.local_variance else None
        variance = prior_variance(sigma, settings.sigma_data, settings.prior_variance, change)
        root = settings.root(variance, estimate)
        clean = finite(likelihood.proximal(estimate, root, iterations, settings.cg_tolerance), sigma)
        yield SolverStep(index + 1, count, sigma, clean)
        x = clean + following * noise.normal(x)
