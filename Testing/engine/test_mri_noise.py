"""The covariance of coil noise, from a noise scan and from the data; prewhitening."""

from __future__ import annotations

import pytest
import torch
from diffusion_engine.physics.coil_compression import mixed
from diffusion_engine.physics.masked_fourier import centred_fft
from diffusion_engine.physics.mri_masks import Sampling, sampling_mask
from diffusion_engine.physics.mri_noise import estimate_noise, noise_covariance, noise_levels, whitening
from mri_coils import head, ring_maps
from torch import Tensor

COILS = 4
LEVELS = torch.tensor([0.01, 0.02, 0.015, 0.03], dtype=torch.float64)


def mixing() -> Tensor:
    """Noise of neighbouring coils that is shared in part; rows scaled to LEVELS."""
    matrix = torch.eye(COILS, dtype=torch.complex128) + 0.4j * torch.eye(COILS).roll(1, 0)
    return matrix * (LEVELS / matrix.abs().square().sum(1).sqrt())[:, None]


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def noisy(rows: int, columns: int, slices: int = 1, seed: int = 0) -> Tensor:
    """The head has sharp edges, which reach all of k-space: here it is seen through a low-pass of k-space."""
    y, x = torch.arange(rows) - rows // 2, torch.arange(columns) - columns // 2
    smooth = torch.exp(-20 * ((y / rows) ** 2)[:, None] - 12 * (x / columns) ** 2)
    clean = centred_fft(head(rows, columns)[:, None] * ring_maps(COILS, rows, columns)) * smooth
    return clean + mixed(mixing(), white(slices, COILS, rows, columns, seed=seed))


def test_a_noise_scan_gives_the_covariance() -> None:
    found = noise_covariance(mixing() @ white(COILS, 40000))
    true = mixing() @ mixing().mH
    torch.testing.assert_close(found, true, rtol=0, atol=0.02 * float(LEVELS.max()) ** 2)
    torch.testing.assert_close(noise_levels(found), LEVELS, rtol=0.02, atol=0)


def test_whitened_noise_is_white() -> None:
    true = mixing() @ mixing().mH
    white_matrix = whitening(true)
    torch.testing.assert_close(white_matrix @ true @ white_matrix.mH, torch.eye(COILS, dtype=torch.complex128))
    found = noise_covariance(mixed(white_matrix, mixed(mixing(), white(COILS, 200, 200))).flatten(1))
    torch.testing.assert_close(found, torch.eye(COILS, dtype=torch.complex128), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("sampling", "place"),
    [
        (None, ""), (Sampling("gaussian", 4.0, 16), "beside"), (Sampling("gaussian", 6.0, 16), "beside"),
        (Sampling("uniform", 3.0, 16, partial_fourier=0.75), ""), (Sampling("random", 2.0, 16, axes=2), "outer"),
    ],
)
def test_the_level_of_each_coil_from_the_data(sampling: Sampling | None, place: str) -> None:
    shape = (160, 128)
    mask = torch.ones(shape, dtype=torch.bool) if sampling is None else sampling_mask(shape, sampling, 1)
    kspace = noisy(*shape, slices=3) * mask
    found = estimate_noise(kspace, mask[None])
    assert found.place.startswith(place)
    torch.testing.assert_close(noise_levels(found.covariance), LEVELS, rtol=0.05, atol=0)
    turned = estimate_noise(kspace.mT, mask.mT[None])
    torch.testing.assert_close(noise_levels(turned.covariance), LEVELS, rtol=0.05, atol=0)
    correlation = found.covariance / (LEVELS[:, None] * LEVELS)
    true = mixing() @ mixing().mH / (LEVELS[:, None] * LEVELS)
    torch.testing.assert_close(correlation, true, rtol=0, atol=0.12)


def test_zeros_are_no_noise() -> None:
    """Rows that were filled with zeros and called measured do not lower the level."""
    kspace = noisy(144, 128)
    kspace[:, :, :30] = 0
    found = estimate_noise(kspace, torch.ones(1, 144, 128, dtype=torch.bool))
    torch.testing.assert_close(noise_levels(found.covariance), LEVELS, rtol=0.05, atol=0)


def test_the_choice_of_quiet_places_does_not_bias() -> None:
    """Noise alone, where every place is as good: mean of many estimates, to 1.5 percent of the variance."""
    mask = sampling_mask((32, 64), Sampling("gaussian", 2.0, 8), 1)
    whole = mask[None]
    found = torch.stack([
        estimate_noise(mixed(mixing(), white(4, COILS, 32, 64, seed=seed)) * mask, whole).covariance.diagonal().real
        for seed in range(40)
    ])
    assert float((found / LEVELS**2).mean()) == pytest.approx(1, abs=0.015)


def test_noise_refusals() -> None:
    with pytest.raises(ValueError, match="expected complex noise"):
        noise_covariance(torch.ones(4, 100))
    with pytest.raises(ValueError, match="at least 40 noise samples of 4 coils, found 20"):
        noise_covariance(white(4, 20))
    with pytest.raises(ValueError, match="NaN or infinite"):
        noise_covariance(white(4, 100) * torch.nan)
    with pytest.raises(ValueError, match="found none in coil 2"):
        noise_covariance(white(4, 100) * (torch.arange(4) != 2)[:, None])
    with pytest.raises(ValueError, match="covariance \\(coils, coils\\)"):
        whitening(white(4, 3))
    with pytest.raises(ValueError, match="Hermitian"):
        whitening(white(4, 4))
    with pytest.raises(ValueError, match="Hermitian"):
        whitening(torch.full((2, 2), torch.nan, dtype=torch.complex128))
    with pytest.raises(ValueError, match="not positive"):
        whitening(torch.ones(2, 2, dtype=torch.complex128))
    with pytest.raises(ValueError, match="expected complex k-space"):
        estimate_noise(torch.ones(1, 2, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        estimate_noise(white(1, 4, 8, 8) * torch.nan, torch.ones(1, 8, 8, dtype=torch.bool))
    middle = torch.zeros(1, 32, 32, dtype=torch.bool)
    middle[:, 12:20, 12:20] = True
    with pytest.raises(ValueError, match="too few samples"):
        estimate_noise(white(1, 4, 32, 32) * middle, middle)
