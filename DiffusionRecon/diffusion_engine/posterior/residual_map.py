"""Where in the image the data disagree: the backprojected, weighted residual in units of its own noise.

    r = A'V^-1 (y - A x) / std,    std^2 = diag(A'V^-1 A),

so that r has variance 1 everywhere if y - A x is nothing but noise. An image that was fitted to the data has taken a
part of the noise in, and lies below 1. Of complex images r is complex.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..likelihoods.gaussian import GaussianLikelihood
from ..physics.operator import of_images
from ..sampling.noise import Noise

PROBES = 24
SMOOTHING = 9
"""Pixels over which the probed variance is averaged: it changes slowly; 24 probes alone would leave 29 % of error."""


def residual_map(likelihood: GaussianLikelihood, x: Tensor, noise: Noise) -> Tensor:
    """The residual of images ``x`` (batch, rows, columns), the likelihood's units, as images in noise units.

    The diagonal is probed with white noise z: E (A'V^-1/2 z)^2 = diag(A'V^-1 A), ``PROBES`` backprojections, once for
    all images where each has one noise level. Pixels that no ray meets are 0. Source of the probing: Bekas et al.,
    doi:10.1016/j.apnum.2007.01.003.
    """
    operator, variance = likelihood.operator, likelihood.variance
    whitening = variance.rsqrt()
    residual = operator.adjoint(whitening * whitening * (likelihood.data - operator.forward(x)))
    shared = variance.ndim < 2 or max(variance.shape[-2:]) == 1
    shape = tuple(operator.out_shape)
    real = x.real
    weights = [torch.ones(shape).to(real)] if shared else [whitening.expand(len(x), *shape)[n] for n in range(len(x))]
    scales: list[Tensor] = []
    streams = [noise.common()] if shared else noise.streams(len(x))
    for weight, stream in zip(weights, streams, strict=True):
        probes = torch.from_numpy(stream.standard_normal((PROBES, *shape), np.float32)).to(x) * weight
        own = of_images(operator, slice(len(scales), len(scales) + 1))
        squares = own.adjoint(probes).abs().square().mean(0)
        edge = SMOOTHING // 2
        smooth = F.avg_pool2d(squares[None, None], SMOOTHING, 1, edge, count_include_pad=False)[0, 0]
        scales.append(smooth.sqrt())
    scale = torch.stack(scales)
    if shared:
        scale = scale * whitening
    return torch.where(scale > 0, residual / scale.clamp_min(torch.finfo(real.dtype).tiny), 0.0)
