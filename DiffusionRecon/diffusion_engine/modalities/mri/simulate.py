"""Simulation of an accelerated acquisition from an MR volume.

    y_c = M F [S_c m exp(i phi)] + n

m: magnitudes on their own pixels; phase phi and coil sensitivities S_c are smooth functions of the place, so that the
samples of the middle of the fine k-space are those that a scanner with that field of view would take. What pixels do
not hold was lost when the volume was made; beyond that, none of the reconstruction's discretisation is in the data.
Coils: small loops around the patient, as in the tools of the field (a ring of 1.5 times half the field of view).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...physics.masked_fourier import centred_fft, centred_ifft
from ...physics.mri_masks import Sampling, sampling_mask
from ...sampling.noise import Noise
from ...volume import Volume
from .grids import middle_of, on_matrix, padded_matrix, rescaled_matrix
from .kspace import KSpace
from .question import NEGATIVE
from .scale import network_unit
from .scan import MRIScan

RING = 1.5
"""Distance of the coils from the middle, in halves of the field of view."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """Simulated samples, and the magnitudes (slices, rows, columns) that they stand for, in the volume's values."""

    kspace: KSpace
    reference: np.ndarray


def matrix_for(volume: Volume, scan: MRIScan, smallest_mm: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the volume's pixels in the field of view, and of the acquisition's in the same field.

    Where the scan does not say, the field is the volume's and pixels are at least ``smallest_mm`` wide (2 % tolerance).
    """
    sizes, spacings = volume.array.shape[1:], volume.spacing_mm[1::-1]
    if scan.field_mm is not None and scan.matrix is not None:
        fine = tuple(max(2, round(scan.field_mm / own)) for own in spacings)
        return (fine[0], fine[1]), (scan.matrix, scan.matrix)
    coarse = tuple(
        size if own >= 0.98 * smallest_mm else max(1, math.floor(size * own / smallest_mm + 1e-6))
        for size, own in zip(sizes, spacings, strict=True)
    )
    return (sizes[0], sizes[1]), (coarse[0], coarse[1])


def simulate(
    volume: Volume, scan: MRIScan, seed: int, fine: tuple[int, int], coarse: tuple[int, int], first: int = 0
) -> Simulation:
    """Samples of the slices of a volume (its values as magnitudes) on ``coarse`` rows and columns of its field.

    ``fine``: rows and columns of the volume's own pixels in that field; what lies outside is left out. ``first``: index
    of the first slice in the whole stack; a slice's noise depends on seed and index alone, the mask and the phase on
    the seed. Raises ValueError for a volume without signal and for negative values, but for those that interpolation
    leaves beside edges (2 % of the brightest), which are scanned as they are.
    """
    low = float(volume.array.min())
    if low < NEGATIVE * float(np.percentile(np.abs(volume.array), 99.9)):
        raise ValueError(
            f"expected magnitudes of an MR image, found values down to {low:.4g}: shift or mask them first"
        )
    magnitude = middle_of(torch.from_numpy(np.ascontiguousarray(volume.array, np.float32)), fine)
    image = magnitude * torch.polar(torch.ones(fine), quadratic_phase(fine, scan.phase_radians, seed))
    maps = ring_of_coils(scan.coils, fine)
    ideal = torch.stack([on_matrix(centred_fft(maps * one), coarse) for one in image])
    reference = centred_ifft(on_matrix(centred_fft(image), coarse)).abs()
    mask = sampling_mask(
        coarse,
        Sampling(
            scan.pattern, scan.acceleration, scan.acs_lines, scan.axes,
            partial_fourier=scan.partial_fourier, elliptical=scan.elliptical,
        ),
        seed,
    )
    std = scan.noise_percent / 100 * network_unit(reference.numpy())
    values = torch.where(mask, ideal + std * Noise(seed, first, "scan").normal(ideal), 0)
    place = padded_matrix(volume.ijk_to_ras, (volume.array.shape[1], volume.array.shape[2]), fine)
    place = rescaled_matrix(place, fine, coarse)
    wide, tall, apart = np.linalg.norm(place[:3, :3], axis=0).tolist()
    kspace = KSpace(
        values.to(torch.complex64).numpy(), np.broadcast_to(mask.numpy(), (len(values), *coarse)), apart, (tall, wide),
        noise_covariance=std**2 * np.eye(scan.coils), ijk_to_ras=place,
        facts={"simulated": True, "coils": scan.coils, "pattern": scan.pattern},
    )
    return Simulation(kspace, reference.numpy().astype(np.float32))


def quadratic_phase(shape: tuple[int, int], range_radians: float, seed: int) -> Tensor:
    """A polynomial of second degree of the place with random coefficients, from its least to its greatest value."""
    drawn = np.random.default_rng((seed, 7)).uniform(-1, 1, 5)
    y, x = (torch.linspace(-1, 1, n) for n in shape)
    y = y[:, None]
    terms = (y, x, y * x, y**2, x**2)
    phase = sum(float(c) * term for c, term in zip(drawn, terms, strict=True)) + torch.zeros(shape)
    span = float(phase.max() - phase.min())
    return (phase - phase.mean()) * (range_radians / span if span > 0 else 0.0)


def ring_of_coils(count: int, shape: tuple[int, int]) -> Tensor:
    """Sensitivities (coils, rows, columns), complex, of loops evenly around the field; sum |S|^2 = 1 everywhere.

    That of a coil falls with the distance from it, and its phase turns around it. A single coil is even.
    """
    if count == 1:
        return torch.ones((1, *shape), dtype=torch.complex64)
    y, x = ((torch.arange(n) - n // 2) / (n / 2) for n in shape)
    angle = torch.arange(count) * (2 * math.pi / count)
    away_x = x[None, None, :] - RING * angle.cos()[:, None, None]
    away_y = y[None, :, None] - RING * angle.sin()[:, None, None]
    around = torch.atan2(away_x, -away_y) - angle[:, None, None]
    maps = torch.polar(1 / (away_x**2 + away_y**2).sqrt(), around)
    return maps / maps.abs().square().sum(0).sqrt()
