"""Where a denoiser is unsure: read off its estimates, and what DDS makes of it."""

from __future__ import annotations

import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.solvers.local_variance import FLOOR, LocalVariance, relative_variance
from torch import Tensor

SIZE = 8


def gain() -> Tensor:
    """A diagonal Jacobian: sure on the left, unsure on the right."""
    return torch.tensor([0.05] * 4 + [0.8] * 4, dtype=torch.float64).expand(SIZE, SIZE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_weights_go_with_the_jacobian_of_a_diagonal_denoiser(dtype: torch.dtype) -> None:
    """Estimates in fresh noise at falling levels: variances s^2 J up to a factor, whatever the scale of the noise."""
    generator, local = torch.Generator().manual_seed(0), LocalVariance()
    for sigma in torch.linspace(1.0, 0.1, 300).tolist():
        noise = torch.randn(2, SIZE, SIZE, generator=generator, dtype=dtype)
        change = local.update(gain() * sigma * noise, sigma)
    weights = relative_variance(change)
    assert weights.shape == (2, SIZE, SIZE)
    assert not weights.is_complex()
    torch.testing.assert_close(weights.mean((-2, -1)), torch.ones(2, dtype=torch.float64))
    expected = (FLOOR + gain() / gain().mean()) / (FLOOR + 1)
    sides = weights.mean(-2), expected.mean(-2)
    torch.testing.assert_close(sides[0], sides[1].expand(2, SIZE), rtol=0.2, atol=0.02)


def test_without_any_change_all_pixels_are_alike() -> None:
    """At the first call, and in an image that stays as it is beside one that does not."""
    local, image = LocalVariance(), torch.zeros(2, SIZE, SIZE)
    assert torch.equal(relative_variance(local.update(image, 0.5)), torch.ones(2, SIZE, SIZE))
    other = image.clone()
    other[1, 3, 3] = 1.0
    weights = relative_variance(local.update(other, 0.5))
    assert torch.equal(weights[0], torch.ones(SIZE, SIZE))
    assert weights[1].argmax() == 3 * SIZE + 3
    assert bool((weights > 0).all())


def test_images_of_a_batch_do_not_know_each_other() -> None:
    estimates = torch.randn(4, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    together, alone = LocalVariance(), LocalVariance()
    for estimate in estimates:
        change, own = together.update(estimate, 0.3), alone.update(estimate[1:], 0.3)
    assert torch.equal(relative_variance(change)[1:], relative_variance(own))


def test_dds_corrects_where_the_prior_is_unsure(dense) -> None:
    """Few readings of an image whose left half the prior nearly knows: what they say is put into the right half."""
    truth = torch.randn(2, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = dense((SIZE, SIZE), (3, 8))
    likelihood = GaussianLikelihood(operator, operator.forward(truth), torch.tensor(0.01, dtype=torch.float64))

    def half(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return (1 - gain()) * truth[:, None] + gain() * x

    errors = {}
    for local in (False, True):
        settings = DDSSettings(steps=10, sigma_start=1.0, mirrored=False, local_variance=local)
        *_, last = dds(half, likelihood, torch.zeros_like(truth), settings, seeded(2))
        errors[local] = float((last.estimate - truth)[..., :4].norm())
    assert errors[True] < 0.8 * errors[False]
