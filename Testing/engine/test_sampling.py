"""Noise grids and movers: end points, identities, and the distribution that a Gaussian prior must give."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.grids import poly_grid
from diffusion_engine.sampling.movers import ddim, heun


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_grid_runs_from_the_first_level_to_zero() -> None:
    grid = poly_grid(80.0, 0.002, 18)
    assert grid.shape == (19,)
    assert float(grid[0]) == pytest.approx(80.0)
    assert float(grid[-2]) == pytest.approx(0.002)
    assert float(grid[-1]) == 0
    assert bool((grid[1:] < grid[:-1]).all())
    # Karras et al. give rho = 7; the middle of an odd grid is the mean of the seventh roots, to the seventh power.
    assert float(poly_grid(80.0, 0.002, 3)[1]) == pytest.approx(((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7)
    assert poly_grid(4.0, 1.0, 4, rho=1.0).tolist() == pytest.approx([4, 3, 2, 1, 0])


@pytest.mark.parametrize(
    "values", [(1.0, 2.0, 5), (1.0, 0.0, 5), (1.0, -1.0, 5), (1.0, 0.1, 1), (float("nan"), 0.1, 5)]
)
def test_grid_refusals(values: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="needs sigma_max > sigma_min > 0 and 2 steps or more"):
        poly_grid(*values)


def test_ddim_without_fresh_noise_is_the_euler_step() -> None:
    x, estimate, sigma, following = random(2, 3, 4), random(2, 3, 4, seed=2), 0.7, 0.4
    found = ddim(x, estimate, estimate, sigma, following, 0.0, random(2, 3, 4, seed=3))
    torch.testing.assert_close(found, x + (following - sigma) * (x - estimate) / sigma)
    torch.testing.assert_close(ddim(x, estimate, estimate, sigma, sigma, 0.0, x), x)
    torch.testing.assert_close(ddim(x, estimate, estimate, sigma, 0.0, 0.5, x), estimate)


@pytest.mark.parametrize("eta", [0.0, 0.4, 0.85, 1.0])
def test_ddim_keeps_the_noise_level(eta: float) -> None:
    """x = clean + sigma e becomes clean + sigma' e' with e' of variance 1 for every eta."""
    clean, noise, fresh = random(200, 200), random(200, 200, seed=2), random(200, 200, seed=3)
    found = (ddim(clean + 0.7 * noise, clean, clean, 0.7, 0.3, eta, fresh) - clean) / 0.3
    assert float(found.var()) == pytest.approx(1.0, abs=0.03)
    assert float((found * noise).mean()) == pytest.approx((1 - eta**2) ** 0.5, abs=0.03)
    assert float((found * fresh).mean()) == pytest.approx(eta, abs=0.03)


def test_heun_draws_from_a_gaussian_prior() -> None:
    """40 steps from 80 to 0.002: mean and variance of every frequency are those of the prior."""
    size, draws = 8, 8000
    frequency = torch.fft.fftfreq(size, dtype=torch.float64)
    spectrum = 1 / (0.05 + frequency[:, None] ** 2 + frequency**2)
    mean = random(size, size, seed=7)
    prior = GaussianDenoiser(mean, spectrum)
    grid = poly_grid(80.0, 0.002, 40).tolist()
    x = 80.0 * random(draws, 1, size, size)
    for sigma, following in pairwise(grid):
        x = heun(prior, x, sigma, following)
    away = x[:, 0] - mean
    power = torch.fft.fft2(away, norm="ortho").abs().square().mean(0)
    ratio = power / spectrum
    assert float((ratio - 1).abs().max()) < 5 * (2 / draws) ** 0.5
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(away.mean(0).abs().max()) < 5 * float((spectrum.mean() / draws).sqrt())
