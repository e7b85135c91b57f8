"""Masked Fourier operator, and the likelihood and conjugate gradients of complex images."""

from __future__ import annotations

import pytest
import torch
from diffusion_engine.likelihoods.conjugate_gradient import conjugate_gradient
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.masked_fourier import MaskedFourier, centred_fft, centred_ifft
from diffusion_engine.sampling.noise import seeded
from torch import Tensor

SIZE = 8


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def line_mask() -> Tensor:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[[0, 3, 4, 5, 7]] = True
    return mask


def test_masked_fourier_is_adjoint_orthonormal_and_centred() -> None:
    generator = torch.Generator().manual_seed(0)
    operator = MaskedFourier(torch.rand(7, 10, generator=generator) < 0.4)
    x = random(3, 7, 10)
    y = random(3, *operator.out_shape, seed=2)
    left = (operator.forward(x).conj() * y).sum()
    torch.testing.assert_close(left, (x.conj() * operator.adjoint(y)).sum())
    torch.testing.assert_close(operator.forward(operator.adjoint(y)), y)
    torch.testing.assert_close(centred_fft(x).abs().square().sum(), x.abs().square().sum())
    torch.testing.assert_close(centred_ifft(centred_fft(x)), x)
    flat = centred_fft(torch.ones(7, 10, dtype=torch.complex128))
    assert float(flat[3, 5].real) == pytest.approx(70**0.5)
    assert float(flat.abs().sum()) == pytest.approx(70**0.5)
    torch.testing.assert_close(
        operator.data_to_spectral(operator.forward(x)), operator.singular_values * operator.to_spectral(x)
    )
    torch.testing.assert_close(operator.from_spectral(operator.to_spectral(x)), x)


def test_masked_fourier_refusals() -> None:
    with pytest.raises(ValueError, match="mask of type bool"):
        MaskedFourier(torch.ones(4, 4))
    with pytest.raises(ValueError, match="mask of type bool"):
        MaskedFourier(torch.ones(2, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="measures nothing"):
        MaskedFourier(torch.zeros(4, 4, dtype=torch.bool))


def test_conjugate_gradients_solve_a_hermitian_system() -> None:
    root = random(24, 24)
    matrix = root @ root.mH + 5 * torch.eye(24, dtype=torch.complex128)
    right = random(2, 4, 6, seed=2)
    found = conjugate_gradient(lambda x: (x.flatten(1) @ matrix.mT).unflatten(-1, (4, 6)), right, 200, 1e-12)
    torch.testing.assert_close(found.flatten(1), torch.linalg.solve(matrix, right.flatten(1).mT).mT)


def test_the_likelihood_of_complex_images() -> None:
    """Closed form in k-space: proximal point, gradient of -log p, residual of noise, and the spread of exact draws."""
    operator = MaskedFourier(line_mask())
    variance = torch.tensor(0.3, dtype=torch.float64)
    data = random(400, *operator.out_shape)
    likelihood = GaussianLikelihood(operator, data * variance.sqrt(), variance)
    x, g, mask = random(400, SIZE, SIZE, seed=2), 0.8, line_mask()
    weight = g / (g + 0.3)
    kspace = centred_fft(x)
    expected = torch.where(mask, kspace + weight * (operator.on_grid(likelihood.data) - kspace), kspace)
    torch.testing.assert_close(centred_fft(likelihood.proximal(x, g, 10, 1e-10)), expected)
    torch.testing.assert_close(
        likelihood.gradient(x), operator.adjoint(operator.forward(x) - likelihood.data) / 0.3
    )
    ratio = likelihood.residual_ratio(torch.zeros_like(x))
    assert ratio.dtype == torch.float64
    assert float(ratio.mean()) == pytest.approx(1, abs=5 / (400 * 40) ** 0.5)
    away = centred_fft(likelihood.conditional_draw(x, g, seeded(4)) - likelihood.proximal(x, g, 10, 1e-10))
    assert float(away[..., mask].abs().square().mean()) == pytest.approx(g * 0.3 / (g + 0.3), rel=0.05)
    assert float(away[..., ~mask].abs().square().mean()) == pytest.approx(g, rel=0.05)
    other = likelihood.scaled(0.5, 1.0)
    torch.testing.assert_close(other.residual_ratio(2 * x - 1), likelihood.residual_ratio(x))
