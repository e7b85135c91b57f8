"""Likelihood of linear measurements with Gaussian noise, weighted or not: data term, gradient, proximal step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..physics.noise import typical_noise_std
from ..physics.operator import (
    LinearOperator,
    NormalOperator,
    normal,
    of_images,
    on_support,
    some_views,
    taken,
    view_axis,
)
from ..sampling.noise import Noise
from .conditional import Covariance, Solved, SolveSettings, minimal_residual_mean
from .conjugate_gradient import conjugate_gradient, image_dot, item_dot, ratio
from .root import Root

UNEVEN, SAMPLED = 3, 1 << 16
"""How many times as many iterations data of uneven weight take; readings that tell whether they are."""


@dataclass(frozen=True, eq=False)
class ScaledOperator:
    """x -> scale * A x, with the adjoint scale * A'."""

    operator: LinearOperator
    scale: float

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.operator.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.operator.out_shape

    @property
    def view_axis(self) -> int:
        return view_axis(self.operator)

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(x) * self.scale

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y) * self.scale

    def normal(self, x: Tensor, variance: Tensor) -> Tensor:
        """scale^2 A' V^-1 A x."""
        if isinstance(self.operator, NormalOperator):
            return self.operator.normal(x, variance) * self.scale**2
        return self.adjoint(self.forward(x) / variance)

    def subset(self, index: slice | Tensor) -> ScaledOperator:
        """The same for some views."""
        return ScaledOperator(some_views(self.operator, index), self.scale)

    def of_images(self, index: slice | Tensor) -> ScaledOperator:
        """The same for some images."""
        return ScaledOperator(of_images(self.operator, index), self.scale)


@dataclass(frozen=True, eq=False)
class GaussianLikelihood:
    """-log p(y | x) = sum_i (y_i - (A x)_i)^2 / (2 v_i) + const.

    ``data``: (batch, *operator.out_shape); ``variance``: noise variance v in data units squared, a scalar
    tensor or broadcastable to ``data``; real; infinite where a reading is none, which has weight zero. Complex data
    have circular noise with E|n|^2 = v, so that -log p = sum_i |y_i - (A x)_i|^2 / v_i + const; every other formula
    stays as it is, with A' conjugate transposed.
    Raises ValueError for a shape mismatch or a variance that is not positive.
    """

    operator: LinearOperator
    data: Tensor
    variance: Tensor
    kind: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        expected = tuple(self.operator.out_shape)
        found = tuple(self.data.shape[-len(expected) :])
        if found != expected:
            raise ValueError(f"data and geometry do not match: expected trailing shape {expected}, found {found}")
        if not bool((self.variance > 0).all()):
            raise ValueError(
                "the noise variance must be positive everywhere: give the noise level, or let it be estimated"
            )
        if not bool(torch.isfinite(self.data).all()):
            raise ValueError("the measured data hold NaN or infinite values: repair or remove those readings")

    @property
    def noise_std(self) -> Tensor:
        """sqrt(v) for drawing noise, in the shape of the variance; 0 where a reading has no weight."""
        return torch.where(torch.isfinite(self.variance), self.variance, 0.0).sqrt()

    def noise_levels(self) -> Tensor:
        """One standard deviation for each image of the batch: the root mean variance of readings that say something."""
        each = self.variance.expand(self.data.shape)
        return torch.tensor([typical_noise_std(variance) for variance in each], device=self.data.device)

    def iterations(self, usual: int) -> Tensor:
        """Of conjugate gradients for each image: ``usual``, or UNEVEN times as many where readings differ in weight.

        They differ where the 90 % quantile of the variance is over twice the 10 % one. Gradients then follow the few
        rays of large weight first, and what the others say comes late.
        """
        shared = self.variance.ndim < self.data.ndim or len(self.variance) == 1
        each = [self.variance] if shared else list(self.variance)
        return torch.tensor([UNEVEN * usual if _uneven(own) else usual for own in each], device=self.data.device)

    def misfit(self, x: Tensor) -> Tensor:
        """sum_i (y_i - (A x)_i)^2 / (2 v_i) for each image of the batch."""
        residual = self.data - self.operator.forward(x)
        return (residual.abs() ** 2 / (2 * self.variance)).flatten(1).sum(-1)

    def curvature(self, x: Tensor) -> Tensor:
        """Weights w of the Hessian A' diag(w) A of the misfit: 1 / v, wherever ``x`` is; the shape of the data."""
        return (1 / self.variance).expand_as(self.data)

    def gradient(self, x: Tensor) -> Tensor:
        """A' V^-1 (A x - y), the gradient of the negative log-likelihood."""
        return self.operator.adjoint((self.operator.forward(x) - self.data) / self.variance)

    def residual_ratio(self, x: Tensor) -> Tensor:
        """|(y - A x) / sigma|^2 / m for each image of the batch: about 1 where noise alone explains the residual."""
        return self.residual_per_view(x).mean(-1)

    def residual_per_view(self, x: Tensor) -> Tensor:
        """Mean over the readings of a view of |(y - A x) / sigma|^2: (batch, views).

        Where readings have no weight it is the sum over a view's others, by their number in an average view.
        """
        squares = _square(self.data - self.operator.forward(x)) / self.variance
        used = torch.isfinite(self.variance)
        every = tuple(range(1, squares.ndim))
        within = tuple(axis for axis in every if axis != squares.ndim + view_axis(self.operator))
        if bool(used.all()):
            return squares.mean(within)
        share = used.expand_as(self.data).to(squares).mean(every, keepdim=True).clamp_min(1 / squares[0].numel())
        return (squares / share).mean(within)

    def proximal(
        self, x: Tensor, prior_variance: float | Tensor | Root, iterations: int | Tensor = 8, tolerance: float = 1e-3
    ) -> Tensor:
        """argmin_z (z - x)' C^-1 (z - x) / 2 + sum (y - A z)^2 / (2 v), by conjugate gradients from ``x``.

        C = diag(g) for a ``prior_variance`` g, a number or in the shape of ``x``; or R R' for a :class:`.root.Root`.
        With z = x + R u it solves (I + R' A' V^-1 A R) u = -R' A' V^-1 (A x - y), and stops an image when its residual
        has fallen below ``tolerance`` times its start. Outside of the operator's support, if it knows one, z = 0.
        """
        root = prior_variance if isinstance(prior_variance, Root) else Root(prior_variance**0.5)

        def system(u: Tensor) -> Tensor:
            return u + root.adjoint(normal(self.operator, root.forward(u), self.variance))

        dot = image_dot if root.broad is None else item_dot
        right = -root.adjoint(self.gradient(x))
        moved = x + root.forward(conjugate_gradient(system, right, iterations, tolerance, dot))
        return on_support(self.operator, moved)

    def conditional_mean(
        self, x: Tensor, covariance: Covariance, approximation: Covariance, settings: SolveSettings
    ) -> Tensor:
        """argmin_z (z - x)' C^-1 (z - x) / 2 + sum (y - A z)^2 / (2 v) = x + C A' w, (V + A C A') w = y - A x.

        C = ``covariance``, a function of images in the shape of ``x``, which is expensive: w comes from flexible
        conjugate gradients that call it ``settings.products`` times at most, since the sum of C A' over the search
        directions is C A' w itself. They are preconditioned by the same system with C replaced by ``approximation``.
        Each image has scalars of its own and stops on its own, so C must not mix those of a batch. A network's Jacobian
        is only nearly a covariance: a direction of no positive curvature is left.
        Flexible conjugate gradients: doi:10.1137/S1064827597323415.
        """
        operator, whiten = self.operator, self.variance.rsqrt()

        def approximate(v: Tensor) -> Tensor:
            return v + whiten * operator.forward(approximation(operator.adjoint(whiten * v)))

        residual = whiten * (self.data - operator.forward(x))
        floor = item_dot(residual, residual) * settings.tolerance**2
        scale = torch.ones_like(floor)
        direction, change = torch.zeros_like(residual), torch.zeros_like(residual)
        for _ in range(settings.products):
            short = item_dot(residual, residual) > floor
            if not bool(short.any()):
                break
            towards = conjugate_gradient(
                approximate, residual, settings.inner_iterations, settings.inner_tolerance, item_dot
            )
            direction = towards + ratio(item_dot(towards, change), scale) * direction
            scale = item_dot(residual, towards)
            lifted = covariance(operator.adjoint(whiten * direction))
            image = direction + whiten * operator.forward(lifted)
            step = torch.where(short, ratio(item_dot(direction, residual), item_dot(direction, image)), 0.0)
            x = x + step.reshape(-1, *([1] * (x.ndim - 1))) * lifted
            change = -step * image
            residual = residual + change
        return on_support(self.operator, x)

    def conditional_mean_within(
        self, x: Tensor, covariance: Covariance, approximation: Covariance, settings: SolveSettings, allowed: float
    ) -> Solved:
        """The same to a root mean square error of ``allowed``, in the unit of the images, or as near as
        ``settings.products`` bring it: :func:`.conditional.minimal_residual_mean`.
        """
        found = minimal_residual_mean(
            self.operator, self.data, self.variance, x, covariance, approximation, settings, allowed
        )
        return replace(found, image=on_support(self.operator, found.image))

    def conditional_draw(
        self, x: Tensor, prior_variance: float, noise: Noise, iterations: int = 50, tolerance: float = 1e-5
    ) -> Tensor:
        """An exact draw z ~ exp(-|z - x|^2 / (2 g) - sum (y - A z)^2 / (2 v)), up to the tolerance of the solve.

        Perturb and optimise: the proximal point of x + sqrt(g) n1 for the data y + sqrt(v) n2, n1 and n2 standard
        normal, has that mean and that covariance. Source: Papandreou and Yuille, NIPS 2010.
        """
        shape = torch.broadcast_shapes(self.data.shape, (x.shape[0], *self.operator.out_shape))
        data = self.data + self.noise_std * noise.normal(self.data.expand(shape))
        moved = x + prior_variance**0.5 * noise.normal(x)
        return GaussianLikelihood(self.operator, data, self.variance).proximal(
            moved, prior_variance, iterations, tolerance
        )

    def scaled(self, scale: float, offset: float) -> GaussianLikelihood:
        """The same likelihood in the variable z with x = scale * (z + offset)."""
        ones = torch.full(tuple(self.operator.in_shape), scale * offset, dtype=self.data.dtype, device=self.data.device)
        shifted = self.data - self.operator.forward(ones)
        return GaussianLikelihood(ScaledOperator(self.operator, scale), shifted, self.variance)

    def select(self, index: slice | Tensor) -> GaussianLikelihood:
        """The likelihood of some images of the batch."""
        own = self.variance.ndim == self.data.ndim and self.variance.shape[0] == self.data.shape[0]
        variance = self.variance[index] if own else self.variance
        return GaussianLikelihood(of_images(self.operator, index), self.data[index], variance)

    def subset(self, index: slice | Tensor) -> GaussianLikelihood:
        """The likelihood of some views, which lie along the operator's axis: slice(k, None, n) is subset k of n."""
        axis = view_axis(self.operator)
        own = self.variance.ndim >= -axis and self.variance.shape[axis] == self.data.shape[axis] > 1
        variance = taken(self.variance, index, axis) if own else self.variance
        return GaussianLikelihood(some_views(self.operator, index), taken(self.data, index, axis), variance)

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        """The likelihood itself, wherever ``at`` is: it is Gaussian."""
        return self


def _uneven(variance: Tensor) -> bool:
    finite = variance[torch.isfinite(variance)].flatten()
    some = finite[:: max(1, finite.numel() // SAMPLED)].double()
    if some.numel() < 2:
        return False
    low, high = torch.quantile(some, some.new_tensor([0.1, 0.9]))
    return bool(high > 2 * low)


def _square(x: Tensor) -> Tensor:
    """|x|^2 of each element, real."""
    return x.real**2 + x.imag**2 if x.is_complex() else x**2
