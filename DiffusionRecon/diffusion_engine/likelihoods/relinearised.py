"""A Gaussian stand-in for counts that is made anew in every data step, near the image that the step begins at.

    p(y | z) ~ exp(-(z - x)' g - (z - x)' A' diag(1 / m) A (z - x) / 2),   g = A' (1 - y / m),   m = A x + b

at x, the prior's estimate of the step, raised to 0 at least. A stand-in near a classical image has the weights of that
image's noise for good; here they become those of the estimate, and where the steps settle the gradient is the counts'
own (Fisher scoring).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..physics.operator import of_images
from .conditional import Covariance, Solved, SolveSettings
from .gaussian import GaussianLikelihood
from .poisson import PoissonEmission
from .root import Root


@dataclass(frozen=True, eq=False)
class RelinearisedLikelihood(GaussianLikelihood):
    """The Gaussian likelihood near one image, whose data steps are those of ``counts`` near their own estimate."""

    counts: PoissonEmission | None = None

    @classmethod
    def of(cls, counts: PoissonEmission, at: Tensor) -> RelinearisedLikelihood:
        """That of counts, near images ``at`` (batch, rows, columns) where no step says better."""
        near = counts.local_gaussian(at)
        return cls(near.operator, near.data, near.variance, counts)

    def near(self, x: Tensor) -> GaussianLikelihood:
        """The Gaussian likelihood near ``x`` raised to 0."""
        assert self.counts is not None
        return self.counts.local_gaussian(x.detach().clamp_min(0))

    def proximal(
        self, x: Tensor, prior_variance: float | Tensor | Root, iterations: int | Tensor = 8, tolerance: float = 1e-3
    ) -> Tensor:
        """See :meth:`.gaussian.GaussianLikelihood.proximal`."""
        return self.near(x).proximal(x, prior_variance, iterations, tolerance)

    def conditional_mean(
        self, x: Tensor, covariance: Covariance, approximation: Covariance, settings: SolveSettings
    ) -> Tensor:
        """See :meth:`.gaussian.GaussianLikelihood.conditional_mean`."""
        return self.near(x).conditional_mean(x, covariance, approximation, settings)

    def conditional_mean_within(
        self, x: Tensor, covariance: Covariance, approximation: Covariance, settings: SolveSettings, allowed: float
    ) -> Solved:
        """See :meth:`.gaussian.GaussianLikelihood.conditional_mean_within`."""
        return self.near(x).conditional_mean_within(x, covariance, approximation, settings, allowed)

    def select(self, index: slice | Tensor) -> RelinearisedLikelihood:
        """The likelihood of some images of the batch."""
        assert self.counts is not None
        return replace(
            self, operator=of_images(self.operator, index), data=self.data[index], variance=self.variance[index],
            counts=self.counts.select(index),
        )

    def subset(self, index: slice | Tensor) -> GaussianLikelihood:
        """The likelihood of some views, near the one image."""
        return GaussianLikelihood(self.operator, self.data, self.variance).subset(index)
