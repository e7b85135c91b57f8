"""Langevin moves, predictors and the grids of variance-exploding and variance-preserving diffusion."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.grids import geometric_grid, poly_grid
from diffusion_engine.sampling.langevin import corrector, langevin, score
from diffusion_engine.sampling.movers import ancestral, ddim, reverse_diffusion
from diffusion_engine.sampling.noise import seeded
from torch import Tensor


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def white(variance: float, size: int = 64) -> GaussianDenoiser:
    return GaussianDenoiser(torch.zeros(size, size, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64))


def test_geometric_grid_has_equal_ratios_and_ends_in_zero() -> None:
    grid = geometric_grid(8.0, 0.5, 5)
    torch.testing.assert_close(grid, torch.tensor([8, 4, 2, 1, 0.5, 0], dtype=torch.float64))


@pytest.mark.parametrize("values", [(1.0, 2.0, 5), (1.0, 0.0, 5), (1.0, 0.1, 1), (float("nan"), 0.1, 5)])
def test_grid_refusals(values: tuple[float, float, int]) -> None:
    for grid in (geometric_grid, poly_grid):
        with pytest.raises(ValueError, match="needs sigma_max > sigma_min > 0 and 2 steps or more"):
            grid(*values)


def test_ancestral_is_the_posterior_of_the_chain() -> None:
    """The next state given this one and the clean image: mean and variance of the product of two Gaussians."""
    x, clean, sigma, following = 1.3, 0.4, 0.7, 0.5
    fresh = random(1000, 1000)
    found = ancestral(torch.full_like(fresh, x), torch.full_like(fresh, clean), sigma, following, fresh)
    # x' ~ N(clean, s'^2) and x | x' ~ N(x', s^2 - s'^2)
    precision = 1 / following**2 + 1 / (sigma**2 - following**2)
    mean = (clean / following**2 + x / (sigma**2 - following**2)) / precision
    assert float(found.mean()) == pytest.approx(mean, abs=2e-3)
    assert float(found.var()) == pytest.approx(1 / precision, rel=0.01)
    eta = (1 - (following / sigma) ** 2) ** 0.5
    state, estimate = random(2, 5, 5, seed=2), random(2, 5, 5, seed=3)
    expected = ddim(state, estimate, estimate, sigma, following, eta, state)
    torch.testing.assert_close(ancestral(state, estimate, sigma, following, state), expected)


@pytest.mark.parametrize("move", [ancestral, reverse_diffusion])
def test_predictors_draw_from_a_gaussian_prior(move) -> None:
    prior, noise = white(0.25), seeded(0)
    x = 20.0 * random(8, 64, 64)
    for sigma, following in pairwise(geometric_grid(20.0, 0.005, 300).tolist()):
        estimate = prior(x, torch.tensor(sigma, dtype=torch.float64))
        x = move(x, estimate, sigma, following, noise.normal(x))
    assert float(x.var()) == pytest.approx(0.25, rel=0.05)
    assert float(x.mean()) == pytest.approx(0, abs=0.02)


def test_langevin_has_the_stationary_variance_of_its_step() -> None:
    """x' = (1 - a / V) x + sqrt(2 a) z with V = S + sigma^2 settles at V / (1 - a / (2 V))."""
    prior, sigma, step = white(0.25), 0.5, 0.4
    total, length = 0.25 + sigma**2, step * sigma**2
    x, noise = torch.zeros(20, 64, 64, dtype=torch.float64), seeded(1)
    for _ in range(60):
        x = langevin(x, score(x, prior(x, torch.tensor(sigma, dtype=torch.float64)), sigma), length, noise.normal(x))
    assert float(x.var()) == pytest.approx(total / (1 - length / (2 * total)), rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_corrector_moves_by_its_signal_to_noise_ratio(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, estimate, fresh = (torch.randn(3, 6, 6, generator=generator, dtype=dtype) for _ in range(3))
    x[2] = estimate[2]
    moved = corrector(x, estimate, 0.3, fresh, 0.16)
    assert torch.equal(moved[2], x[2])
    for n in range(2):
        size = float(score(x, estimate, 0.3)[n].abs().square().sum().sqrt())
        step = 2 * (0.16 * float(fresh[n].abs().square().sum().sqrt()) / size) ** 2
        expected = x[n] + step * score(x, estimate, 0.3)[n] + (2 * step) ** 0.5 * fresh[n]
        torch.testing.assert_close(moved[n], expected)
        drift = step * size / float(((2 * step) ** 0.5 * fresh[n]).abs().square().sum().sqrt())
        assert drift == pytest.approx(0.16)
