"""Patch, stack and latent priors as denoisers, and the solvers PaDIS, ReSample and PFGM++ on exact Gaussian priors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from diffusion_engine.denoiser import as_column, positions
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.latent import LatentPrior
from diffusion_engine.priors.patches import PatchDenoiser, cut, extended, join
from diffusion_engine.sampling.grids import poly_grid
from diffusion_engine.sampling.movers import ddim
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.padis import PaDISSettings, padis
from diffusion_engine.solvers.pfgm import PFGMSettings, pfgm
from diffusion_engine.solvers.resample import ReSampleSettings, resample
from torch import Tensor

SIZE = 8
HALF = torch.tensor(0.5, dtype=torch.float64)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def placed(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """Exact for pixels ~ N(y + 2 x position, 0.3): it needs the true place of every pixel."""
    mean = 0.0 if condition is None else condition[..., :1, :, :] + 2 * condition[..., 1:2, :, :]
    return mean + 0.3 / (0.3 + as_column(sigma, x) ** 2) * (x - mean)


@pytest.mark.parametrize("shape", [(11, 17), (16, 16), (3, 5), (1, 9)])
@pytest.mark.parametrize("shifts", [1, 3])
def test_patches_of_pixels_are_exact_at_any_size_and_place(shape: tuple[int, int], shifts: int) -> None:
    x, place = random(3, 1, *shape), positions(*shape, (1.3, 2.1), (30, -40)).double()
    levels = torch.tensor([0.2, 0.5, 3.0], dtype=torch.float64)
    denoiser = PatchDenoiser(placed, 8, seeded(3), shifts=shifts)
    for sigma in (HALF, levels):
        torch.testing.assert_close(denoiser(x, sigma, place), placed(x, sigma, place))
        torch.testing.assert_close(denoiser(x, sigma), placed(x, sigma))
    with pytest.raises(ValueError, match="2 pixels or more"):
        PatchDenoiser(placed, 1, seeded(0))


def test_cut_join_and_continued_positions() -> None:
    images = random(2, 3, 8, 12)
    patches, grid = cut(images, 4)
    assert grid == (2, 3)
    assert torch.equal(join(patches, grid), images)
    assert torch.equal(patches[4], images[0, :, 4:8, 4:8])
    whole = positions(20, 30, (1.5, 2.0))
    torch.testing.assert_close(extended(whole[:, 4:15, 7:19], (7, 11, 4, 5)), whole)


def test_patches_beyond_the_image_see_noisy_air() -> None:
    seen = []

    def watching(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        seen.append(x)
        return x

    denoiser = PatchDenoiser(watching, 64, seeded(1), outside=-7.0)
    denoiser(torch.zeros(1, 1, 5, 5), torch.tensor(0.5))
    whole = torch.cat(seen).flatten()
    outside = whole[whole < -3]
    assert len(outside) == len(whole) - 25
    assert float(outside.mean()) == pytest.approx(-7, abs=0.03)
    assert float(outside.std()) == pytest.approx(0.5, abs=0.03)
    seen.clear()
    again = PatchDenoiser(watching, 64, seeded(1), outside=-7.0)
    again(torch.zeros(1, 1, 5, 5), torch.tensor(0.5))
    assert torch.equal(torch.cat(seen).flatten(), whole)


def test_shifts_leave_no_seams() -> None:
    """Patches of a correlated image, each with its own exact prior: jumps at the borders of a fixed grid only."""
    patch, size = 8, 32
    frequency = torch.fft.fftfreq(patch, dtype=torch.float64)
    smooth = GaussianDenoiser(
        torch.zeros(patch, patch, dtype=torch.float64), 0.02 / (0.002 + frequency[:, None] ** 2 + frequency**2) ** 2
    )

    def jumps(shifted: bool) -> float:
        noise = seeded(5)
        denoiser = PatchDenoiser(smooth, patch, noise, outside=0.0)
        x = 20 * random(6, 1, size, size)
        for sigma, following in pairwise(poly_grid(20.0, 0.02, 60).tolist()):
            if shifted:
                clean = denoiser(x, torch.tensor(sigma))
            else:
                tiles, grid = cut(x, patch)
                clean = join(smooth(tiles, torch.tensor(sigma)), grid)
            x = ddim(x, clean, clean, sigma, following, 1.0, noise.normal(x))
        step = (x[..., 1:] - x[..., :-1]).square().mean((0, 1, 2))
        place = torch.arange(1, size) % patch
        return float(step[place == 0].mean() / step[place != 0].mean())

    assert jumps(shifted=False) > 3
    assert 0.7 < jumps(shifted=True) < 1.4


@dataclass(frozen=True, eq=False)
class LinearCode:
    """Orthonormal linear autoencoder: ``latents`` numbers as (1, 1, latents)."""

    basis: Tensor

    def encode(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.basis)[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        return (latents.flatten(1) @ self.basis.T).reshape(-1, 1, SIZE, SIZE)


def gaussian_posterior(matrix: Tensor, covariance: Tensor, data: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    inner = matrix @ covariance @ matrix.T + variance * torch.eye(len(matrix), dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(inner)
    return data @ gain.T, covariance - gain @ matrix @ covariance


def test_a_latent_prior_is_exact_for_an_orthonormal_code() -> None:
    basis = torch.linalg.qr(random(SIZE * SIZE, 20)).Q
    spread = torch.linspace(2, 0.2, 20, dtype=torch.float64)
    latent = GaussianDenoiser(torch.zeros(1, 20, dtype=torch.float64), torch.ones(1, 20, dtype=torch.float64))

    def white(z: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return spread * latent(z / spread, torch.zeros(1)) * spread**2 / (spread**2 + as_column(sigma, z) ** 2)

    prior = LatentPrior(LinearCode(basis), white)
    x, covariance = random(3, 1, SIZE, SIZE), basis @ torch.diag(spread**2) @ basis.T
    gain = covariance @ torch.linalg.inv(covariance + 0.25 * torch.eye(SIZE * SIZE, dtype=torch.float64))
    torch.testing.assert_close(prior(x, HALF).flatten(1), x.flatten(1) @ gain.T)


def last(steps: Iterator, total: int) -> Tensor:
    found = list(steps)
    assert [step.index for step in found] == list(range(1, total + 1))
    return found[-1].estimate


def test_resample_of_an_exact_latent_gaussian(dense) -> None:
    """Its mean over draws lies near the exact posterior mean, and every draw agrees with the data."""
    basis = torch.linalg.qr(random(SIZE * SIZE, 20)).Q
    spread = torch.linspace(2, 0.3, 20, dtype=torch.float64)

    def latent(z: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return spread**2 / (spread**2 + as_column(sigma, z) ** 2) * z

    prior = LatentPrior(LinearCode(basis), latent)
    truth = (random(1, 20, seed=2) * spread) @ basis.T
    operator, std = dense((SIZE, SIZE), (2, 6)), 0.2
    data = operator.forward(truth.reshape(-1, SIZE, SIZE)) + std * random(1, 2, 6, seed=4)
    variance = torch.tensor(std**2, dtype=torch.float64)
    draws = 24
    likelihood = GaussianLikelihood(operator, data.repeat(draws, 1, 1), variance)
    start = torch.zeros(draws, SIZE, SIZE, dtype=torch.float64)
    settings = ReSampleSettings()
    found = last(resample(prior, likelihood, start, settings, seeded(0)), settings.steps)
    exact, covariance = gaussian_posterior(
        operator.matrix @ basis, torch.diag(spread**2), data.flatten(1), std**2
    )
    width = float(covariance.diagonal().mean().sqrt())
    away = float((found.flatten(1).mean(0) @ basis - exact).square().mean().sqrt())
    fitted = torch.linalg.lstsq(operator.matrix @ basis, data.flatten(1).T).solution.T
    # ReSample is no posterior sampler: near the mean compared with what the data leave open, and with a plain fit.
    assert away < 0.75 * width, (away, width)
    assert away < 0.75 * float((fitted - exact).square().mean().sqrt())
    assert bool((likelihood.residual_ratio(found) < 1.1).all())
    again = last(resample(prior, likelihood, start, settings, seeded(0)), settings.steps)
    assert torch.equal(found, again)
    with pytest.raises(ValueError, match="needs a latent prior"):
        next(resample(latent, likelihood, start, settings, seeded(0)))


@pytest.fixture
def problem(dense) -> tuple[GaussianDenoiser, GaussianLikelihood, Tensor, Tensor, float]:
    """White prior of variance 0.25 (so that patches are exact), 40 readings of 64 pixels: the exact mean and width."""
    flat = torch.full((SIZE, SIZE), 0.25, dtype=torch.float64)
    prior = GaussianDenoiser(torch.zeros(SIZE, SIZE, dtype=torch.float64), flat)
    truth, operator, std = 0.5 * random(2, SIZE, SIZE), dense((SIZE, SIZE), (5, 8)), 0.3
    data = operator.forward(truth) + std * random(2, 5, 8, seed=3)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(std**2, dtype=torch.float64))
    eye = 0.25 * torch.eye(SIZE * SIZE, dtype=torch.float64)
    exact, covariance = gaussian_posterior(operator.matrix, eye, data.flatten(1), std**2)
    return prior, likelihood, truth, exact.reshape(-1, SIZE, SIZE), float(covariance.diagonal().mean().sqrt())


def pixelwise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    return 0.25 / (0.25 + as_column(sigma, x) ** 2) * x


@pytest.mark.parametrize("kind", ["padis", "pfgm"])
def test_solvers_come_near_the_exact_posterior_mean(problem, kind: str) -> None:
    prior, likelihood, truth, exact, width = problem
    start = torch.zeros_like(truth)

    def run(seed: int) -> Tensor:
        if kind == "padis":
            settings = PaDISSettings(steps=12, inner=3, sigma_start=1.0, patch=5, outside=0.0)
            return last(padis(pixelwise, likelihood, start, settings, seeded(seed)), 12)
        options = PFGMSettings(steps=20, sigma_start=1.0, cg_iterations=30, cg_tolerance=1e-8)
        return last(pfgm(prior, likelihood, start, options, seeded(seed)), 20)

    draws = torch.stack([run(seed) for seed in range(12)])
    away = float((draws.mean(0) - exact).square().mean().sqrt())
    assert away < 0.6 * width, (away, width)
    assert bool((likelihood.residual_ratio(draws.mean(0)) < 0.2 * likelihood.residual_ratio(start)).all())
    assert float((draws.mean(0) - truth).norm()) < 0.9 * float((start - truth).norm())
    assert torch.equal(draws[3], run(3))
    assert float(draws.std(0).min()) > 0


def test_padis_takes_a_patch_prior_and_gives_it_the_noise_of_the_run(problem) -> None:
    _, likelihood, truth, _, _ = problem
    settings = PaDISSettings(steps=2, inner=1, sigma_start=1.0, patch=5, outside=0.0)
    own = PatchDenoiser(pixelwise, 5, seeded(99), outside=0.0)
    first = last(padis(own, likelihood, truth, settings, seeded(1)), 2)
    assert torch.equal(first, last(padis(pixelwise, likelihood, truth, settings, seeded(1)), 2))


def test_pfgm_of_infinite_dimension_has_gaussian_noise_and_eta_is_a_probability(problem) -> None:
    prior, likelihood, truth, _, _ = problem
    settings = PFGMSettings(steps=6, sigma_start=1.0, dimension=float("inf"), eta=0.0)
    found = last(pfgm(prior, likelihood, truth, settings, seeded(1)), 6)
    assert float((found - last(pfgm(prior, likelihood, truth, settings, seeded(2)), 6)).abs().max()) > 0
    heavy = last(pfgm(prior, likelihood, truth, replace(settings, dimension=4), seeded(1)), 6)
    assert float((found - heavy).abs().max()) > 0
    with pytest.raises(ValueError, match="probability"):
        PFGMSettings(eta=1.5)
