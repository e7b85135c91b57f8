"""The data step of the projection solvers: a relaxed move of a noisy image onto equally noisy data.

    x' = x - lambda A^+ (A x - y_sigma),   y_sigma = y + sigma A z

y_sigma are data of a noisy image clean + sigma z, so that the state keeps its noise level. A^+ r is the least squares
image argmin_d |V^(-1/2) (A d - r)| by conjugate gradients from zero: of minimum norm when solved out, regularised by
stopping early when not. Where A has orthonormal rows (masked Fourier) one iteration is exact, and lambda = 1 replaces
the measured entries. Sources: arXiv:2111.08005, eq. 10; conjugate gradients as a regulariser: M. Hanke, Conjugate
Gradient Type Methods for Ill-Posed Problems (1995).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..classical.conjugate_gradient import conjugate_gradient
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.noise import Noise

PseudoInverse = Callable[[Tensor], Tensor]
"""Data (batch, *out_shape) -> images (batch, rows, columns), in the likelihood's units: linear, A^+ or nearly so."""

TOLERANCE = 1e-6


def least_squares(likelihood: GaussianLikelihood, residual: Tensor, iterations: int) -> Tensor:
    """argmin_d |V^(-1/2) (A d - r)|^2 of data r (batch, *out_shape), by conjugate gradients from zero."""
    operator, variance = likelihood.operator, likelihood.variance

    def normal(d: Tensor) -> Tensor:
        return operator.adjoint(operator.forward(d) / variance)

    return conjugate_gradient(normal, operator.adjoint(residual / variance), iterations, TOLERANCE)


def project(
    likelihood: GaussianLikelihood, x: Tensor, sigma: float, relaxation: float, iterations: int, noise: Noise,
    pseudo_inverse: PseudoInverse | None = None,
) -> Tensor:
    """x - lambda A^+ (A (x - sigma z) - y) for images (batch, rows, columns) with noise of level ``sigma``.

    ``relaxation``: lambda, from 0 (no step) to 1 (full projection); ``iterations``: of conjugate gradients, unless a
    ``pseudo_inverse`` is given, such as a filtered image. No random number is drawn when ``sigma`` is 0.
    """
    state = x - sigma * noise.normal(x) if sigma > 0 else x
    residual = likelihood.operator.forward(state) - likelihood.data
    step = least_squares(likelihood, residual, iterations) if pseudo_inverse is None else pseudo_inverse(residual)
    return x - relaxation * step
