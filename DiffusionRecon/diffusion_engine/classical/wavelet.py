"""SENSE with sparse wavelets: an orthonormal Daubechies transform of complex images, and FISTA with random shifts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood
from ..physics.operator import normal
from .sense import eigenvalue_bound, scaled_problem

_ROOT = math.sqrt(3.0)
_LOW = tuple(value / (4 * math.sqrt(2.0)) for value in (1 + _ROOT, 3 + _ROOT, 3 - _ROOT, 1 - _ROOT))
_HIGH = (_LOW[3], -_LOW[2], _LOW[1], -_LOW[0])
_SMALLEST = 16  # pixels of the shorter side of the coarsest image


def wavelet_levels(rows: int, columns: int) -> int:
    """How often images are halved: as often as the shorter side keeps 16 pixels, at least once."""
    return max(1, math.floor(math.log2(min(rows, columns) / _SMALLEST)))


def wavelet_steps(
    likelihood: GaussianLikelihood, *, weight: float | Tensor, iterations: int = 100, seed: int = 0,
    shifted: bool = True,
) -> Iterator[Tensor]:
    """min |W (A x - y)|^2 / 2 + weight m |P x|_1, by FISTA; P the wavelet transform of :func:`soft_wavelets`.

    W'W = v0 / V with the least variance v0, 1 for equal noise; m = max |A' W'W y|, so that the weight is relative to
    the zero-filled image: useful ones are .0005 to .05. ``weight``: one, or one an image. |P x|_1 sums absolute values
    of complex detail coefficients; the coarsest image is not penalised. The grid of the wavelets is shifted at random
    in every step (``seed``), which removes its blocks; the minimum itself is reached unless ``shifted``.
    Yields an iterate (batch, rows, columns) a step, the last is the result.
    Sources: Lustig et al., doi:10.1002/mrm.21391; FISTA: Beck and Teboulle, doi:10.1137/080716542; random shifts:
    Figueiredo and Nowak, doi:10.1109/TIP.2003.814255.
    """
    problem = scaled_problem(likelihood)
    step = 1 / eigenvalue_bound(likelihood.operator)
    threshold = step * problem.largest * torch.as_tensor(weight).to(problem.largest).reshape(-1, 1, 1)
    levels = wavelet_levels(*problem.adjoint.shape[-2:])
    generator = torch.Generator().manual_seed(seed)
    x = ahead = torch.zeros_like(problem.adjoint * threshold)
    momentum = 1.0
    for _ in range(iterations):
        shift = torch.randint(2**levels if shifted else 1, (2,), generator=generator).tolist()
        down = ahead - step * (normal(likelihood.operator, ahead, problem.variance) - problem.adjoint)
        moved = soft_wavelets(down.roll(shift, (-2, -1)), threshold, levels)
        new = moved.roll([-n for n in shift], (-2, -1))
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - x)
        x, momentum = new, following
        yield x


def soft_wavelets(x: Tensor, threshold: Tensor, levels: int) -> Tensor:
    """argmin_z |z - x|^2 / 2 + t |P z|_1, exact as P is orthonormal: each detail c becomes c max(1 - t / |c|, 0).

    ``x``: (..., rows, columns), real or complex; ``threshold``: broadcastable to it.
    """
    coarse, details = forward_wavelets(x, levels)
    return inverse_wavelets(coarse, [[_soft(band, threshold) for band in bands] for bands in details])


def forward_wavelets(x: Tensor, levels: int) -> tuple[Tensor, list[list[Tensor]]]:
    """Orthonormal periodic Daubechies transform of two vanishing moments (four taps), the last two axes.

    Returns the coarsest image and, finest level first, the details across columns, across rows, and across both. Of an
    odd number the last pixel passes unchanged to the coarse half.
    Source: Daubechies, doi:10.1002/cpa.3160410705.
    """
    details = []
    for _ in range(levels):
        low, high = _split(x)
        x, across_rows = (part.mT for part in _split(low.mT))
        across_columns, both = (part.mT for part in _split(high.mT))
        details.append([across_columns, across_rows, both])
    return x, details


def inverse_wavelets(coarse: Tensor, details: list[list[Tensor]]) -> Tensor:
    """The image of coefficients in the form of :func:`forward_wavelets`."""
    for across_columns, across_rows, both in reversed(details):
        low = _join(coarse.mT, across_rows.mT).mT
        coarse = _join(low, _join(across_columns.mT, both.mT).mT)
    return coarse


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high half of the last axis."""
    pairs = x.shape[-1] // 2
    even, odd = x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]
    later = even.roll(-1, -1), odd.roll(-1, -1)
    low, high = (h[0] * even + h[1] * odd + h[2] * later[0] + h[3] * later[1] for h in (_LOW, _HIGH))
    return torch.cat([low, x[..., 2 * pairs :]], -1), high


def _join(low: Tensor, high: Tensor) -> Tensor:
    """The inverse of :func:`_split`, its transpose."""
    pairs = high.shape[-1]
    rest, low = low[..., pairs:], low[..., :pairs]
    earlier = low.roll(1, -1), high.roll(1, -1)
    even = _LOW[0] * low + _HIGH[0] * high + _LOW[2] * earlier[0] + _HIGH[2] * earlier[1]
    odd = _LOW[1] * low + _HIGH[1] * high + _LOW[3] * earlier[0] + _HIGH[3] * earlier[1]
    return torch.cat([torch.stack([even, odd], -1).flatten(-2), rest], -1)


def _soft(band: Tensor, threshold: Tensor) -> Tensor:
    size = band.abs()
    return band * (1 - threshold / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_min(0)
