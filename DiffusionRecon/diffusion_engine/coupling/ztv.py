"""Total variation along z in the data step, by ADMM: a second prior, which ties the slices of a stack.

    argmin_z |z - x|^2 / (2 g) + |W (A z - y)|^2 / 2 + lambda |D z|_1,   (D z)_k = z_(k + 1) - z_k

by sweeps of

    z = argmin_z |z - x|^2 / (2 g) + |W (A z - y)|^2 / 2 + <p, D z - u> + rho |D z - u|^2 / 2    (conjugate gradients)
    u = shrink(D z + p / rho, lambda / rho)
    p = p + rho (D z - u), which is p + rho D z clipped to [-lambda, lambda]

with rho = 1 / (mean of g), which gives the three terms of the linear system similar weights. The first and the last
slice are not tied to each other. Duals p and differences u are kept over the steps of a draw, so that few sweeps a step
are enough. One array v = p + u stores both for any rho: u is zero where |p| < lambda, and has the sign of p elsewhere.

Sources: DiffusionMBIR, arXiv:2211.10655; DDS, arXiv:2303.05754; ADMM, doi:10.1561/2200000016.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..likelihoods.conditional import Covariance, Solved, SolveSettings
from ..likelihoods.conjugate_gradient import conjugate_gradient
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.root import Root
from ..sampling.noise import Noise

NO_COVARIANCE = (
    "a data step with the covariance of the network cannot hold z-TV, which is not Gaussian: choose products 0, or "
    "shared noise as the coupling"
)


def z_difference(x: Tensor) -> Tensor:
    """Differences of neighbouring slices: (slices, rows, columns) -> (slices - 1, rows, columns)."""
    return x[1:] - x[:-1]


def z_difference_adjoint(p: Tensor) -> Tensor:
    """Adjoint of :func:`z_difference`: (slices - 1, rows, columns) -> (slices, rows, columns)."""
    zero = torch.zeros_like(p[:1]) if p.shape[0] else p.new_zeros((1, *p.shape[1:]))
    return torch.cat([zero, p]) - torch.cat([p, zero])


def clip(p: Tensor, weight: float) -> Tensor:
    """The nearest values of magnitude at most ``weight``, which is positive; real or complex."""
    return p / (p.abs() / weight).clamp_min(1.0)


def ztv_proximal(
    likelihood: GaussianLikelihood, x: Tensor, prior_variance: float | Tensor | Root, weight: float,
    dual: Tensor | None = None, sweeps: int = 2, iterations: int | Tensor = 8, tolerance: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """The minimiser above after ``sweeps`` of ADMM, and v = p + u (slices - 1, rows, columns) for the next call.

    ``x``: (slices, rows, columns), in order along z; ``prior_variance`` g, a number, in the shape of ``x``, or a root
    of the whole covariance, of whose broad part g does not know;
    ``weight`` lambda > 0 in 1 / unit of x;
    ``dual``: v of the previous call, None at first. Conjugate gradients run over the whole stack at once and stop
    after ``iterations`` or when its residual has fallen below ``tolerance`` times its start, in each sweep.
    """
    shape, most = x.shape, iterations if isinstance(iterations, int) else int(iterations.max())
    root = prior_variance if isinstance(prior_variance, Root) else Root(prior_variance**0.5)
    g = float((root.deviation**2).mean()) if isinstance(root.deviation, Tensor) else root.deviation**2
    u_shape = root.adjoint(x).shape

    def system(v: Tensor) -> Tensor:
        # In e of z = x + R e, so that it stays symmetric where the variance is not uniform.
        e = v.reshape(u_shape)
        z = root.forward(e)
        data = likelihood.operator.adjoint(likelihood.operator.forward(z) / likelihood.variance)
        # One image as tall as the stack: the scalars of the conjugate gradients are then those of the whole stack.
        return (e + root.adjoint(data + z_difference_adjoint(z_difference(z)) / g)).reshape(1, -1, shape[-1])

    z, e = x, x.new_zeros(u_shape)
    if dual is None:
        p = torch.zeros_like(x[1:])
        u = z_difference(x) - g * clip(z_difference(x) / g, weight)
    else:
        p = clip(dual, weight)
        u = dual - p
    for _ in range(sweeps):
        pull = z_difference_adjoint((u - z_difference(z)) / g - p)
        right = root.adjoint(pull - likelihood.gradient(z)) - e
        change = conjugate_gradient(system, right.reshape(1, -1, shape[-1]), most, tolerance).reshape(u_shape)
        e = e + change
        z = z + root.forward(change)
        moved = z_difference(z)
        new = clip(p + moved / g, weight)
        u, p = moved + g * (p - new), new
    return z, p + u


@dataclass
class _Warm:
    dual: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ZTVLikelihood(GaussianLikelihood):
    """A Gaussian likelihood of a stack whose proximal step also holds lambda |D z|_1; the rest is the data's alone.

    ``weight`` lambda: 0 or more, in 1 / unit of the images; ``sweeps`` of ADMM a step. The duals are kept from
    one proximal step to the next: make a new one for every draw (:meth:`fresh`), so that draws do not know each other.
    Raises ValueError for a negative weight, fewer than one sweep, or data that are not a stack.
    """

    weight: float = 0.0
    sweeps: int = 2
    warm: _Warm = field(default_factory=_Warm, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight >= 0 or self.sweeps < 1:
            raise ValueError(
                f"z-TV expects a weight of 0 or more and 1 sweep or more, found {self.weight:g} and {self.sweeps}: "
                "correct them"
            )
        if self.data.ndim != len(tuple(self.operator.out_shape)) + 1:
            raise ValueError(
                f"z-TV expects the data of one stack, (slices, {', '.join(map(str, self.operator.out_shape))}), found "
                f"{tuple(self.data.shape)}: give the slices in order as the first axis"
            )

    def proximal(
        self, x: Tensor, prior_variance: float | Tensor | Root, iterations: int | Tensor = 8, tolerance: float = 1e-3
    ) -> Tensor:
        """argmin_z |z - x|^2 / (2 g) + sum (y - A z)^2 / (2 v) + lambda |D z|_1 after ``sweeps`` of ADMM."""
        if self.weight == 0 or x.shape[0] == 1:
            return super().proximal(x, prior_variance, iterations, tolerance)
        z, self.warm.dual = ztv_proximal(
            self, x, prior_variance, self.weight, self.warm.dual, self.sweeps, iterations, tolerance
        )
        return z

    def conditional_mean(
        self, x: Tensor, covariance: Covariance, approximation: Covariance, settings: SolveSettings
    ) -> Tensor:
        """Exact where the weight is 0; raises ValueError otherwise, since z-TV is not Gaussian."""
        if self.weight == 0:
            return super().conditional_mean(x, covariance, approximation, settings)
        raise ValueError(NO_COVARIANCE)

    def conditional_mean_within(
        self, x: Tensor, covariance: Covariance, approximation: Covariance, settings: SolveSettings, allowed: float
    ) -> Solved:
        """Exact where the weight is 0; raises ValueError otherwise, since z-TV is not Gaussian."""
        if self.weight == 0:
            return super().conditional_mean_within(x, covariance, approximation, settings, allowed)
        raise ValueError(NO_COVARIANCE)

    def conditional_draw(
        self, x: Tensor, prior_variance: float, noise: Noise, iterations: int = 50, tolerance: float = 1e-5
    ) -> Tensor:
        """Exact where the weight is 0; raises ValueError otherwise, since z-TV is not Gaussian."""
        if self.weight == 0:
            return super().conditional_draw(x, prior_variance, noise, iterations, tolerance)
        raise ValueError(
            "a method that draws from the exact conditional distribution cannot hold z-TV, which is not Gaussian: "
            "choose shared noise as the coupling, or another method"
        )

    def fresh(self) -> ZTVLikelihood:
        """The same with cold duals, for the next draw."""
        return replace(self, warm=_Warm())

    def scaled(self, scale: float, offset: float) -> ZTVLikelihood:
        """The same likelihood in the variable z with x = scale * (z + offset), with cold duals."""
        plain = super().scaled(scale, offset)
        return ZTVLikelihood(plain.operator, plain.data, plain.variance, self.weight * abs(scale), self.sweeps)

    def select(self, index: slice | Tensor) -> ZTVLikelihood:
        """The likelihood of some slices, in order, with cold duals."""
        plain = super().select(index)
        return ZTVLikelihood(plain.operator, plain.data, plain.variance, self.weight, self.sweeps)


def couple_z(likelihood: GaussianLikelihood, weight: float, sweeps: int = 2) -> ZTVLikelihood:
    """``likelihood`` of a stack (network units) with z-TV of ``weight`` in its proximal step, duals cold."""
    return ZTVLikelihood(likelihood.operator, likelihood.data, likelihood.variance, weight, sweeps)
