"""Linearity of a result in its first noise: known maps, a solver with the exact Gaussian denoiser, bad input."""

from __future__ import annotations

import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.posterior.linearity import ShiftedNoise, linearity
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import Noise, seeded
from diffusion_engine.solvers.dds import DDSSettings, dds
from torch import Tensor

LIKE = torch.zeros(2, 8, 8)


def test_only_the_first_numbers_move() -> None:
    plain, still, moved = seeded(3), ShiftedNoise(3, 0.0, 4), ShiftedNoise(3, 0.5, 4)
    first = plain.normal(LIKE)
    torch.testing.assert_close(still.normal(LIKE), first)
    torch.testing.assert_close(moved.normal(LIKE), first + 0.5 * seeded(4).normal(LIKE))
    following = plain.normal(LIKE)
    torch.testing.assert_close(still.normal(LIKE), following)
    torch.testing.assert_close(moved.normal(LIKE), following)


def test_known_maps() -> None:
    assert linearity(lambda noise: 3 * noise.normal(LIKE) + 1) == pytest.approx([1, 1], abs=1e-6)
    # Results that have nothing in common: differences share the middle one, so the cosine is -1/2.
    wide = torch.zeros(2, 100, 100)
    scattered = linearity(lambda noise: (1e6 * noise.normal(wide)).sin())
    assert scattered == pytest.approx([-0.5, -0.5], abs=0.05)
    bent = [linearity(lambda noise: torch.exp(noise.normal(LIKE)), e)[0] for e in (0.1, 1.0)]
    assert 0.99 > bent[0] > bent[1] > 0
    assert linearity(lambda noise: noise.normal(LIKE).sin()) == linearity(lambda noise: noise.normal(LIKE).sin())


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_solver_of_a_gaussian_is_linear(dense, eta: float) -> None:
    """Every step of DDS is affine there, once its conjugate gradients are exact."""
    operator = dense((8, 8), (4, 5))
    truth = torch.randn(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    data = operator.forward(truth)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(0.5, dtype=torch.float64))
    prior = GaussianDenoiser(torch.zeros(8, 8), torch.ones(8, 8))
    settings = DDSSettings(steps=4, eta=eta, cg_iterations=64, cg_tolerance=1e-10)

    def run(noise: Noise) -> Tensor:
        *_, last = dds(prior, likelihood, torch.zeros(2, 8, 8, dtype=torch.float64), settings, noise)
        return last.estimate

    assert linearity(run) == pytest.approx([1, 1], abs=1e-3)


def test_bad_input() -> None:
    for epsilon in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="epsilon"):
            linearity(lambda noise: noise.normal(LIKE), epsilon)
    with pytest.raises(ValueError, match="does not depend on the first noise"):
        linearity(lambda noise: LIKE)
    with pytest.raises(FloatingPointError, match="not finite"):
        linearity(lambda noise: noise.normal(LIKE) / 0)
