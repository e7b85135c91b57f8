"""Draws in pairs of opposite noise: which numbers each draw gets, and that what is linear in them cancels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_engine.coupling import coupling_named
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.dds import DDSSettings, dds
from torch import Tensor

SETTINGS = DDSSettings(
    steps=6, sigma_start=1.0, cg_iterations=64, cg_tolerance=1e-10, local_variance=False, antithetic=True
)
LIKE = torch.zeros(5, 4, 4, dtype=torch.float64)


@pytest.fixture
def likelihood(dense) -> GaussianLikelihood:
    operator = dense((4, 4), (2, 5))
    truth = torch.randn(LIKE.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return GaussianLikelihood(operator, operator.forward(truth), torch.tensor(0.5, dtype=torch.float64))


def gaussian() -> GaussianDenoiser:
    return GaussianDenoiser(torch.zeros(4, 4), torch.ones(4, 4))


def numbers(noise: Noise, draws: int, antithetic: bool) -> list[Tensor]:
    """The numbers of two calls of each draw."""
    return [torch.stack([own.normal(LIKE), own.normal(LIKE)]) for _, own in noise.draws(draws, antithetic)]


@pytest.mark.parametrize("noise", [Noise(3), Noise(3, 2), Noise(3, 2, period=3), Noise(3, [7, 0, 3, 4, 9])])
def test_every_second_draw_has_the_opposite_numbers(noise: Noise) -> None:
    usual, found = numbers(noise, 5, False), numbers(noise, 5, True)
    for n, expected in enumerate((usual[0], -usual[0], usual[2], -usual[2], usual[4])):
        assert torch.equal(found[n], expected)
    assert [number for number, _ in noise.draws(3, True)] == [1, 2, 3]
    first, second = (own.uniform(LIKE) for _, own in noise.draws(2, True))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["none", "noise"])
def test_what_is_linear_in_the_noise_cancels(name: str, likelihood) -> None:
    """Every step of DDS is affine for a Gaussian prior: the mean of a pair is that of all draws, whatever the seed."""

    def mean_of_pair(seed: int) -> tuple[Tensor, Tensor]:
        found = []
        for _, noise in Noise(seed).draws(2, SETTINGS.antithetic):
            coupled, shared = coupling_named(name).couple(likelihood, noise, 5.0)
            *_, step = dds(gaussian(), coupled, LIKE, SETTINGS, shared)
            found.append(step.estimate)
        return (found[0] + found[1]) / 2, found[0] - found[1]

    (first, apart), (second, _) = mean_of_pair(1), mean_of_pair(2)
    assert float(apart.std()) > 0.1
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_a_run_in_pairs() -> None:
    """The first and third draw are the usual ones; pairs vary against each other."""
    asked = {
        "methods": ["diffusion"], "views": 8, "steps": 3, "draws": 4, "slices": [0, 1], "pixel_mm": 16.0,
        "keep": ["draws"],
    }
    scan = synthetic_chest((1, 40, 48), (10.0, 8.0, 8.0))[0]
    usual, pairs = (
        [reconstruction.volumes[f"draw_{n}"].array for n in (1, 2, 3, 4)]
        for reconstruction in (
            reconstruct(scan, asked, solver_options={"antithetic": antithetic}) for antithetic in (False, True)
        )
    )
    np.testing.assert_array_equal(usual[0], pairs[0])
    np.testing.assert_allclose(usual[2], pairs[2], atol=1)
    away = np.stack(pairs) - np.mean(pairs, axis=0)
    alike = np.corrcoef(away.reshape(4, -1))
    assert max(alike[0, 1], alike[2, 3]) < min(alike[0, 2], alike[1, 3])
