"""Noise of MR coils: its covariance from a noise scan or from the quietest places of the data, and prewhitening.

Noise of a complex sample is circular: C = E[n n'], n of all coils, the same for every sample. With the orthonormal
Fourier transform it is the same in k-space, in images, and in k-space transformed along one axis.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .masked_fourier import centred_ifft

_LINES = 4  # measured lines that a look along the readout needs
_GROUP = 16  # consecutive entries of the outer k-space judged together
_OUTER = 0.7  # of the radius at the middle of a side, where that outer k-space begins
_QUIETEST = 0.1  # of the groups, which say what the noise is
_SAMPLES_PER_COIL = 10
_EDGE = 1 / 16  # of the readout at either end, where the receiver's filter lets less noise through
_AGREE = 0.15  # of their logarithms: two places that hold as much noise as each other
_ERRORS = 3.0  # standard errors of a level within which two estimates are as good


class NoiseEstimate(NamedTuple):
    """C (coils, coils), complex128; where it was found; of how many samples; whether another place says the same."""

    covariance: Tensor
    place: str
    samples: int
    confirmed: bool = False

    @property
    def level(self) -> float:
        """The geometric mean of the coils' standard deviations."""
        return float(noise_levels(self.covariance).log().mean().exp())


def noise_covariance(samples: Tensor) -> Tensor:
    """C = N N' / n of samples (coils, n) without signal: (coils, coils), complex128.

    A noise scan of dwell time t1 for data of dwell time t: multiply by t1 / t, as the variance goes with the bandwidth.
    Raises ValueError for samples that are not complex or finite, fewer than ten a coil, or a coil that has none.
    """
    if samples.ndim != 2 or not samples.is_complex():
        raise ValueError(f"expected complex noise (coils, samples), found {samples.dtype} of {tuple(samples.shape)}")
    coils, count = samples.shape
    if count < _SAMPLES_PER_COIL * coils:
        raise ValueError(
            f"expected at least {_SAMPLES_PER_COIL * coils} noise samples of {coils} coils, found {count}: "
            "give the noise level"
        )
    values = samples.to(torch.complex128)
    if not bool(torch.isfinite(torch.view_as_real(values)).all()):
        raise ValueError("the noise samples hold NaN or infinite values: leave them out")
    covariance = values @ values.mH / count
    silent = [n for n, level in enumerate(noise_levels(covariance).tolist()) if level == 0]
    if silent:
        raise ValueError(f"expected noise in every coil, found none in coil {silent[0]}: leave that coil out")
    return covariance


def noise_levels(covariance: Tensor) -> Tensor:
    """Standard deviation sqrt(C_cc) of a complex sample of each coil, E|n_c|^2 its square: (coils,), real."""
    return covariance.diagonal().real.sqrt()


def whitening(covariance: Tensor) -> Tensor:
    """W with W C W' = 1, the inverse of the Cholesky factor: (coils, coils), complex128.

    Data, maps and coil images become W y (:func:`.coil_compression.mixed`); noise is then independent in all coils,
    with E|n|^2 = 1. Raises ValueError for a matrix that is not Hermitian and positive.
    Source: Pruessmann et al., doi:10.1002/mrm.1241.
    """
    matrix = covariance.to(torch.complex128)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected a noise covariance (coils, coils), found {tuple(matrix.shape)}")
    size = float(matrix.abs().amax())
    if not size < float("inf") or float((matrix - matrix.mH).abs().amax()) > 1e-5 * size:
        raise ValueError("expected a finite Hermitian noise covariance, E[n n'] of one sample: found another matrix")
    factor, wrong = torch.linalg.cholesky_ex((matrix + matrix.mH) / 2)
    if bool(wrong):
        raise ValueError(
            "the noise covariance is not positive: two coils hold the same noise, or one has none; leave one out"
        )
    return torch.linalg.solve_triangular(factor, torch.eye(len(matrix)).to(matrix), upper=False)


def estimate_noise(kspace: Tensor, mask: Tensor) -> NoiseEstimate:
    """C of the data themselves: from beside the object along the readout, or from the outer k-space.

    ``kspace``: (slices, coils, rows, columns), complex; ``mask``: bool (slices or 1, rows, columns). Where whole rows
    or whole columns are measured, the outer half of these lines is transformed along itself, and places beside the
    object hold noise alone, however few lines there are. The other candidate is the outer measured k-space. Of each,
    the quietest tenth is chosen by every other sample, and the covariance is that of the samples between (and the other
    way round), so that the choice does not bias it. As signal can only add, the lowest of them is taken, or that of
    more samples where they agree; where the object fills the field of view and the outer k-space, it is too high. One
    that is lower than two others which agree is left: a receiver's filter takes noise away at the ends of the readout.
    Entries that are zero in all coils are no samples.
    Raises ValueError where too few are left, and as :func:`noise_covariance`.
    """
    if kspace.ndim != 4 or not kspace.is_complex():
        raise ValueError(
            f"expected complex k-space (slices, coils, rows, columns), found {kspace.dtype} of {tuple(kspace.shape)}"
        )
    if not bool(torch.isfinite(torch.view_as_real(kspace)).all()):
        raise ValueError("the k-space holds NaN or infinite values: repair or remove those samples")
    read = mask.expand(len(kspace), *mask.shape[1:]) & (kspace != 0).any(1)
    found = [
        *_beside(kspace, read), *_beside(kspace.mT, read.mT), *_outer(kspace, read),
    ]
    estimates = [
        NoiseEstimate(noise_covariance(samples), place, samples.shape[1])
        for place, samples in found if samples.shape[1] >= _SAMPLES_PER_COIL * kspace.shape[1]
    ]
    if not estimates:
        raise ValueError(
            "expected whole lines or outer k-space of noise to estimate its level from, found too few samples: "
            "give a noise scan or the noise level"
        )
    lowest = _lowest(estimates)
    near = [
        estimate for estimate in estimates
        if 0 <= math.log(estimate.level / lowest.level) < _ERRORS / (2 * estimate.samples**0.5)
    ]
    best = max(near or [lowest], key=lambda estimate: estimate.samples)
    return best._replace(confirmed=any(_agree(best, other) for other in estimates if other is not best))


def _lowest(estimates: list[NoiseEstimate]) -> NoiseEstimate:
    """The lowest level, or the second of three where the third says the same and the first much less."""
    ordered = sorted(estimates, key=lambda estimate: estimate.level)
    left = len(ordered) == 3 and _agree(ordered[1], ordered[2]) and not _agree(ordered[0], ordered[1])
    return ordered[1 if left else 0]


def _agree(one: NoiseEstimate, other: NoiseEstimate) -> bool:
    return abs(math.log(one.level / other.level)) < _AGREE


def _beside(kspace: Tensor, read: Tensor) -> list[tuple[str, Tensor]]:
    """Samples beside the object along whole rows: nothing where a slice has too few of them."""
    rows = kspace.shape[-2]
    parts = []
    for values, measured in zip(kspace, read, strict=True):
        lines = torch.nonzero(measured.all(-1))[:, 0]
        if len(lines) < _LINES:
            return []
        outer = lines[torch.argsort((lines - rows // 2).abs(), stable=True)[len(lines) // 2 :]]
        edge = round(_EDGE * values.shape[-1])
        parts.append(_along(values[:, outer]).mT[:, edge : values.shape[-1] - edge])  # coils, columns, lines
    return [("beside the object along the readout", _quietest(torch.cat(parts, 1)))]


def _along(lines: Tensor) -> Tensor:
    """The centred orthonormal inverse transform of the last axis."""
    return centred_ifft(lines[..., None, :])[..., 0, :]


def _outer(kspace: Tensor, read: Tensor) -> list[tuple[str, Tensor]]:
    """Samples of the outer measured k-space in groups of neighbours."""
    square = torch.zeros((), device=read.device)
    for n in read.shape[-2:]:
        square = square[..., None] + ((torch.arange(n, device=read.device) - n // 2) / (n / 2)) ** 2
    entries = kspace.movedim(1, 0)[:, read & (square >= _OUTER**2)]
    count = entries.shape[1] // _GROUP
    return [("outer k-space", _quietest(entries[:, : count * _GROUP].unflatten(1, (count, _GROUP))))] if count else []


def _quietest(groups: Tensor) -> Tensor:
    """The samples of the quietest groups, chosen by the other half of each: (coils, groups, samples) to (coils, n)."""
    count = max(1, round(_QUIETEST * groups.shape[1]))
    halves = groups[..., ::2], groups[..., 1::2]
    chosen = []
    for judged, taken in (halves, halves[::-1]):
        power = judged.abs().square().mean(-1)
        typical = power.median(1, keepdim=True).values.clamp_min(torch.finfo(power.dtype).tiny)
        chosen.append(taken[:, torch.argsort((power / typical).sum(0), stable=True)[:count]].flatten(1))
    return torch.cat(chosen, 1)
