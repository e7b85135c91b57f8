"""What of a draw the measurement determines, and what the prior decided.

With W = V^-1/2 the whitening and p the prior variance of a pixel, x = x_seen + x_unseen,

    x_seen = (A'V^-1 A + 1/p)^-1 A'V^-1 A x,    x_unseen = (I + p A'V^-1 A)^-1 x,

the second solved by conjugate gradients. The first part holds the directions that the data determine better than the
prior does, the second part those that the data barely determine. Both maps are linear, so it is enough to split the
differences between draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..likelihoods.conjugate_gradient import conjugate_gradient
from ..likelihoods.gaussian import GaussianLikelihood
from .moments import RunningMoments

TOLERANCE = 1e-6
ITERATIONS = 2000
"""Bound of conjugate gradients; whitened scans at 0.2 % noise need some hundreds."""


def unseen_part(
    x: Tensor, likelihood: GaussianLikelihood, prior_variance: float, iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """(I + p A'V^-1 A)^-1 x: the part of images that the measurement does not determine.

    ``x``: (batch, rows, columns) in the likelihood's units; ``prior_variance`` p: of a pixel, those units squared.
    The eigenvalues of the system are at least 1, so a residual of ``tolerance`` |x| leaves no larger error. Raises
    ValueError unless p is positive, FloatingPointError where the result is not finite.
    """
    if not prior_variance > 0:
        raise ValueError(f"expected a positive prior variance, found {prior_variance}: take sigma_data squared")
    operator, weight = likelihood.operator, prior_variance / likelihood.variance
    unseen = conjugate_gradient(
        lambda z: z + operator.adjoint(weight * operator.forward(z)), x, iterations, tolerance
    )
    if not bool(torch.isfinite(unseen).all()):
        raise FloatingPointError("the split of a draw is not finite: check the noise level of the data")
    return unseen


class SplitMoments:
    """Running variance of the seen and the unseen part of draws, one draw at a time.

    The first draw is the origin: variances do not depend on it, and the differences from it are small, so that the
    tolerance of the solve is relative to the spread and not to the image. In float32 a ``tolerance`` below 1e-4 gains
    nothing.
    """

    def __init__(
        self, likelihood: GaussianLikelihood, prior_variance: float, tolerance: float = TOLERANCE,
        iterations: int = ITERATIONS,
    ) -> None:
        self.likelihood, self.prior_variance = likelihood, prior_variance
        self.tolerance, self.iterations = tolerance, iterations
        self._origin: Tensor | None = None
        self._seen, self._unseen = RunningMoments(), RunningMoments()

    def add(self, draw: Tensor) -> None:
        """Take in one draw (batch, rows, columns) in the likelihood's units."""
        if self._origin is None:
            self._origin = draw.clone()
        away = draw - self._origin
        unseen = unseen_part(away, self.likelihood, self.prior_variance, self.iterations, self.tolerance)
        self._unseen.add(unseen)
        self._seen.add(away - unseen)

    @property
    def seen_std(self) -> Tensor:
        """Standard deviation of the part that the measurement determines, the likelihood's units."""
        return self._seen.std

    @property
    def unseen_std(self) -> Tensor:
        """Standard deviation of the part that it does not determine, the likelihood's units."""
        return self._unseen.std

    @property
    def unseen_share(self) -> Tensor:
        """Var(unseen) / (Var(seen) + Var(unseen)), 0 to 1; 0 where all draws agree, since nothing was decided there."""
        unseen, total = self.unseen_std.square(), self.seen_std.square() + self.unseen_std.square()
        return torch.where(total > 0, unseen / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
