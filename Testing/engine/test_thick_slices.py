"""Thin slices from thick ones: the exact data step, and two perpendicular priors that use it."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from diffusion_engine.coupling.perpendicular import InPlane, TwoPlanes
from diffusion_engine.likelihoods.thick_slices import SliceMeans, thick_slices
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.tpdm import TPDMSettings, tpdm
from torch import Tensor

SIZE, SLICES, FACTOR, NOISE = 6, 24, 3, 0.02
REACH = 3.0


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def along_z() -> Tensor:
    """The covariance of a voxel's values along z; voxels beside each other are independent."""
    place = torch.arange(SLICES, dtype=torch.float64)
    return 0.249 * torch.exp(-((place[:, None] - place) ** 2) / (2 * REACH**2)) + 0.001 * torch.eye(SLICES).double()


def across(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """The exact denoiser of coronal slices (rows, 1, slices, columns)."""
    covariance = along_z()
    gain = covariance @ torch.linalg.inv(covariance + sigma.double() ** 2 * torch.eye(SLICES, dtype=torch.float64))
    return torch.einsum("ij,rkjc->rkic", gain, x)


def axial(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """The exact denoiser of each slice alone: of white images."""
    return x * 0.25 / (0.25 + sigma.to(x) ** 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_operator_has_its_adjoint_and_equal_singular_values(dtype: torch.dtype) -> None:
    operator = SliceMeans((SIZE, SIZE), FACTOR)
    x, y = random(SLICES, SIZE, SIZE, dtype=dtype), random(SLICES // FACTOR, SIZE, SIZE, seed=2, dtype=dtype)
    torch.testing.assert_close((operator.forward(x).conj() * y).sum(), (x.conj() * operator.adjoint(y)).sum())
    torch.testing.assert_close(operator.forward(operator.adjoint(y)), y / FACTOR)
    torch.testing.assert_close(operator.forward(x)[1], x[3:6].mean(0))


def test_the_proximal_step_is_the_minimiser() -> None:
    data = random(SLICES // FACTOR, SIZE, SIZE)
    likelihood, x, g = thick_slices(data, FACTOR, 0.5), random(SLICES, SIZE, SIZE, seed=2), 0.3
    z = likelihood.proximal(x, g)
    torch.testing.assert_close((z - x) / g + likelihood.gradient(z), torch.zeros_like(z), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="one variance of the prior for all voxels, found a map"):
        likelihood.proximal(x, torch.full_like(x, g))


def test_stacks_that_are_no_whole_number_of_thick_slices_are_refused() -> None:
    with pytest.raises(ValueError, match="7 slices are no whole number of thick ones of 3"):
        SliceMeans((SIZE, SIZE), 3).forward(random(7, SIZE, SIZE))
    with pytest.raises(ValueError, match="thick slices of 1 thin one or more, found 0"):
        SliceMeans((SIZE, SIZE), 0)


def test_two_perpendicular_priors_restore_thin_slices() -> None:
    """The mean of draws is near the exact posterior mean, where repeated thick slices are far from it."""
    covariance = along_z()
    truth = torch.einsum("ij,jrc->irc", torch.linalg.cholesky(covariance), random(SLICES, SIZE, SIZE))
    operator = SliceMeans((SIZE, SIZE), FACTOR)
    data = operator.forward(truth) + NOISE * random(SLICES // FACTOR, SIZE, SIZE, seed=3)
    likelihood = thick_slices(data, FACTOR, NOISE)
    means = torch.kron(torch.eye(SLICES // FACTOR), torch.full((1, FACTOR), 1 / FACTOR)).double()
    inner = means @ covariance @ means.T + NOISE**2 * torch.eye(len(means), dtype=torch.float64)
    exact = torch.einsum("ij,jrc->irc", covariance @ means.T @ torch.linalg.inv(inner), data)
    repeated = data.repeat_interleave(FACTOR, 0)
    planes = TwoPlanes(axial, InPlane(across, "coronal"))

    def drawn(every: float, seed: int) -> Tensor:
        settings = TPDMSettings(steps=40, sigma_start=1.0, every=every)
        return deque(tpdm(planes, likelihood, repeated, settings, seeded(seed)), 1)[0].estimate

    away = {every: (sum(drawn(every, seed) for seed in range(3)) / 3 - exact).norm() for every in (1.3, 1e9)}
    assert away[1.3] < 0.6 * (repeated - exact).norm()
    assert away[1.3] < 0.4 * away[1e9]
    assert float(likelihood.residual_ratio(drawn(1.3, 9)).mean()) < 1.5
