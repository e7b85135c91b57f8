"""SENSE with total variation of complex images, by a primal-dual algorithm with one product A'A a step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood
from ..physics.operator import normal
from .sense import eigenvalue_bound, ratio_of, scaled_problem
from .tv import gradient, gradient_adjoint

_GRADIENT = 8.0  # bound of the squared norm of the gradient's forward differences


def complex_tv_steps(
    likelihood: GaussianLikelihood, *, weight: float | Tensor, iterations: int = 200, pace: float = 0.2
) -> Iterator[Tensor]:
    """min |W (A x - y)|^2 / 2 + weight m TV(x), TV(x) = sum sqrt(|d_r x|^2 + |d_c x|^2) of a complex image.

    W'W = v0 / V with the least variance v0, 1 for equal noise; m = max |A' W'W y|, so that the weight is relative to
    the zero-filled image: useful ones are .0005 to .05. ``weight``: one, or one an image; ``pace``: dual step times 8
    over the bound of |A|^2; less is faster for small weights, more for large ones.
    Yields an iterate (batch, rows, columns) a step, the last is the result.
    Sources: Block et al., doi:10.1002/mrm.21236; algorithm: Condat, doi:10.1007/s10957-012-0245-9.
    """
    problem = scaled_problem(likelihood)
    eigenvalue = eigenvalue_bound(likelihood.operator)
    dual = pace * eigenvalue / _GRADIENT
    step = 1 / (eigenvalue / 2 + dual * _GRADIENT)
    # The image is measured in m / eigenvalue here, so that the dual is at most the weight.
    right = ratio_of(problem.adjoint, problem.largest) * eigenvalue
    most = torch.as_tensor(weight).to(problem.largest).reshape(-1, 1, 1) * eigenvalue
    x = torch.zeros_like(right * most)
    q = gradient(x)
    for _ in range(iterations):
        down = normal(likelihood.operator, x, problem.variance) - right
        new = x - step * (down + gradient_adjoint(q))
        q = q + dual[..., None, :, :] * gradient(2 * new - x)
        length = q.abs().square().sum(-3, keepdim=True).sqrt()
        q = q * (most[..., None, :, :] / torch.maximum(length, most[..., None, :, :]).clamp_min(1e-30))
        x = new
        yield x * problem.largest / eigenvalue
