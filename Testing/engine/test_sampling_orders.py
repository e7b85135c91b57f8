"""Orders of accuracy against the exact flow of a Gaussian prior, and the noise of PFGM++."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.grids import poly_grid
from diffusion_engine.sampling.movers import heun, multistep
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.sampling.pfgm import pfgm_noise
from torch import Tensor

SIZE, FIRST, LAST = 8, 20.0, 0.05


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FREQUENCY = torch.fft.fftfreq(SIZE, dtype=torch.float64)
PRIOR = GaussianDenoiser(random(SIZE, SIZE), 0.1 / (0.05 + FREQUENCY[:, None] ** 2 + FREQUENCY**2))


def flow(x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """The exact probability flow: m + sqrt((S + s'^2) / (S + s^2)) (x - m) at each frequency."""
    gain = ((PRIOR.spectrum + sigma_next**2) / (PRIOR.spectrum + sigma**2)).sqrt()
    return PRIOR.mean + torch.fft.ifft2(gain * torch.fft.fft2(x - PRIOR.mean)).real


def error(kind: str, steps: int) -> float:
    levels = poly_grid(FIRST, LAST, steps + 1).tolist()[:-1]
    x = first = PRIOR.mean + FIRST * random(4, 1, SIZE, SIZE, seed=3)
    earlier: Tensor | None = None
    for index, (sigma, following) in enumerate(pairwise(levels)):
        if kind == "heun":
            x = heun(PRIOR, x, sigma, following)
            continue
        clean = PRIOR(x, torch.tensor(sigma))
        x = multistep(x, clean, earlier if kind == "dpm_2m" else None, levels, index)
        earlier = clean
    return float((x - flow(first, FIRST, LAST)).square().mean().sqrt())


@pytest.mark.parametrize(("kind", "order"), [("euler", 1), ("heun", 2), ("dpm_2m", 2)])
def test_twice_the_steps_divide_the_error_by_two_to_the_order(kind: str, order: int) -> None:
    errors = [error(kind, steps) for steps in (80, 160, 320)]
    for coarse, fine in pairwise(errors):
        assert 0.8 * 2**order < coarse / fine < 1.3 * 2**order, errors


def test_dpm_solver_ends_at_the_estimate_and_is_euler_at_first() -> None:
    x, clean, before = random(2, 3, 4), random(2, 3, 4, seed=2), random(2, 3, 4, seed=3)
    assert torch.equal(multistep(x, clean, before, (0.7, 0.5, 0.0), 1), clean)
    torch.testing.assert_close(multistep(x, clean, None, (0.5, 0.3), 0), x + (0.3 - 0.5) * (x - clean) / 0.5)


@pytest.mark.parametrize("dimension", [3, 64])
def test_pfgm_noise_has_the_length_of_its_kernel(dimension: int) -> None:
    """|n|^2 / (|n|^2 + D) ~ Beta(N / 2, D / 2), whose mean and variance are known; the direction is uniform."""
    draws, pixels = 20000, 12
    found = pfgm_noise(torch.zeros(draws, 3, 4, dtype=torch.float64), dimension, seeded(0))
    square = found.square().sum((-2, -1))
    share = square / (square + dimension)
    a, b = pixels / 2, dimension / 2
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    assert float(share.mean()) == pytest.approx(a / (a + b), abs=5 * (variance / draws) ** 0.5)
    assert float(share.var()) == pytest.approx(variance, rel=0.05)
    direction = found.flatten(1) / square.sqrt()[:, None]
    assert float((direction.T @ direction / draws * pixels - torch.eye(pixels)).abs().max()) < 0.06
    with pytest.raises(ValueError, match="whole number of 1 or more, or inf"):
        pfgm_noise(found, 0.5, seeded(0))


def test_pfgm_noise_of_infinite_dimension_is_gaussian() -> None:
    like = torch.zeros(3, 4, 5)
    assert torch.equal(pfgm_noise(like, math.inf, seeded(1)), seeded(1).normal(like))
    assert float(pfgm_noise(torch.zeros(9, 50, 50), 10**6, seeded(1)).std()) == pytest.approx(1, abs=0.02)


def test_the_flow_of_pfgm_leads_its_noise_back_to_the_points() -> None:
    """Data on three points: the exact PFGM++ denoiser weighs them by (|x - y|^2 + r^2)^(-(N + D) / 2)."""
    points, dimension = 2 * random(3, 2, 3, seed=8), 4
    weights = torch.tensor([0.2, 0.3, 0.5]).double()

    def exact(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        square = (x - points).square().sum((-2, -1)) + dimension * float(sigma) ** 2
        share = torch.softmax(-(6 + dimension) / 2 * square.log() + weights.log(), dim=1)
        return torch.einsum("bk,kij->bij", share, points)[:, None]

    draws = 1500
    centre = (weights[:, None, None] * points).sum(0)
    x = centre + 40 * pfgm_noise(torch.zeros(draws, 1, 2, 3, dtype=torch.float64), dimension, seeded(2))
    for sigma, following in pairwise(poly_grid(40.0, 0.01, 40).tolist()):
        x = heun(exact, x, sigma, following)
    distance = (x - points).square().sum((-2, -1)).sqrt()
    nearest = distance.argmin(1)
    assert float(distance.min(1).values.median()) < 1e-3
    share = torch.bincount(nearest, minlength=3) / draws
    assert float((share - weights).abs().max()) < 0.06
