"""The Gaussian likelihood against dense algebra, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_engine.classical.tv import tv
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.start import predicted_start_error


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=["scalar", "by reading", "by image"])
def likelihood(request: pytest.FixtureRequest, dense) -> GaussianLikelihood:
    shape = {"scalar": (), "by reading": (3, 5), "by image": (2, 1, 1)}[request.param]
    variance = 0.2 + torch.rand(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return GaussianLikelihood(dense((4, 3), (3, 5)), random(2, 3, 5), variance)


@pytest.mark.parametrize("uniform", [True, False])
def test_proximal_is_the_dense_solution(likelihood: GaussianLikelihood, uniform: bool) -> None:
    """With one variance for all pixels or one for each."""
    x, g = random(2, 4, 3, seed=2), 0.7 if uniform else 0.1 + random(2, 4, 3, seed=3) ** 2
    variance = torch.as_tensor(g, dtype=torch.float64).expand(2, 4, 3).flatten(1)
    found = likelihood.proximal(x, g, iterations=60, tolerance=1e-12)
    matrix = likelihood.operator.matrix
    weights = (1 / likelihood.variance).expand(2, 3, 5).flatten(1)
    for n in range(2):
        system = torch.diag(1 / variance[n]) + matrix.T @ (weights[n][:, None] * matrix)
        right = x[n].flatten() / variance[n] + matrix.T @ (weights[n] * likelihood.data[n].flatten())
        torch.testing.assert_close(found[n].flatten(), torch.linalg.solve(system, right), rtol=1e-8, atol=1e-8)


def test_gradient_is_the_derivative(likelihood: GaussianLikelihood) -> None:
    x = random(2, 4, 3, seed=3).requires_grad_()
    loss = ((likelihood.data - likelihood.operator.forward(x)) ** 2 / (2 * likelihood.variance)).sum()
    expected = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(likelihood.gradient(x.detach()), expected)


def test_scaled_says_the_same_in_other_units(likelihood: GaussianLikelihood) -> None:
    z, scale, offset = random(2, 4, 3, seed=5), 0.02, 1.5
    other = likelihood.scaled(scale, offset)
    x = scale * (z + offset)
    torch.testing.assert_close(other.residual_per_view(z), likelihood.residual_per_view(x))
    torch.testing.assert_close(other.gradient(z), scale * likelihood.gradient(x))
    y = random(2, 3, 5, seed=6)
    torch.testing.assert_close(
        (other.operator.forward(z) * y).sum(), (other.operator.adjoint(y) * z).sum()
    )


def test_residual_of_the_truth_is_the_noise(dense) -> None:
    operator, truth = dense((8, 8), (40, 50)), random(3, 8, 8, seed=7)
    variance = 0.5 + torch.rand(40, 50, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    data = operator.forward(truth) + variance.sqrt() * random(3, 40, 50, seed=9)
    likelihood = GaussianLikelihood(operator, data, variance)
    ratio = likelihood.residual_ratio(truth)
    assert ratio.shape == (3,)
    assert bool(((ratio - 1).abs() < 4 * (2 / 2000) ** 0.5).all())
    assert bool((likelihood.residual_ratio(truth + 1) > 2).all())
    assert likelihood.residual_per_view(truth).shape == (3, 40)


def test_select_takes_images_with_their_variance(likelihood: GaussianLikelihood) -> None:
    x = random(2, 4, 3, seed=2)
    part = likelihood.select(slice(1, 2))
    torch.testing.assert_close(part.residual_per_view(x[1:]), likelihood.residual_per_view(x)[1:])


def test_select_keeps_a_variance_that_all_images_share(dense) -> None:
    operator, data = dense((4, 3), (3, 5)), random(2, 3, 5)
    shared = GaussianLikelihood(operator, data, torch.full((1, 3, 5), 0.3, dtype=torch.float64))
    x = random(2, 4, 3, seed=2)
    torch.testing.assert_close(
        shared.select(slice(1, 2)).residual_per_view(x[1:]), shared.residual_per_view(x)[1:]
    )


def test_refusals(dense) -> None:
    operator, one = dense((4, 3), (3, 5)), torch.ones(())
    with pytest.raises(ValueError, match=r"expected trailing shape \(3, 5\), found \(5, 3\)"):
        GaussianLikelihood(operator, random(2, 5, 3), one)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="variance must be positive"):
            GaussianLikelihood(operator, random(2, 3, 5), one * bad)
    data = random(2, 3, 5)
    data[1, 2, 3] = float("inf")
    with pytest.raises(ValueError, match="NaN or infinite"):
        GaussianLikelihood(operator, data, one)


def test_readings_of_infinite_variance_have_no_weight(dense) -> None:
    operator = dense((4, 5), (6, 8))
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 4, 5, generator=generator, dtype=torch.float64)
    data = operator.forward(x) + 0.1 * torch.randn(2, 6, 8, generator=generator, dtype=torch.float64)
    variance = torch.full((2, 6, 8), 0.01, dtype=torch.float64)
    variance[:, :, 3] = math.inf
    variance[:, 2] = math.inf
    wild = data.clone()
    wild[variance.isinf()] = 1e6
    one, other = (GaussianLikelihood(operator, values, variance) for values in (data, wild))
    for look in ("misfit", "gradient", "residual_per_view", "residual_ratio"):
        torch.testing.assert_close(getattr(one, look)(x), getattr(other, look)(x))
    torch.testing.assert_close(one.proximal(x, 0.1), other.proximal(x, 0.1))
    torch.testing.assert_close(tv(one, iterations=20), tv(other, iterations=20))
    # 35 of 48 readings count: the ratio is their mean, and noise is drawn for them alone
    used = torch.isfinite(variance)
    expected = ((data - operator.forward(x))[used].square() / 0.01).reshape(2, 35).mean(1)
    torch.testing.assert_close(one.residual_ratio(x), expected)
    assert bool((one.noise_std[~used] == 0).all())
    torch.testing.assert_close(one.noise_levels().double(), torch.full((2,), 0.1, dtype=torch.float64))


def test_tv_reaches_the_noise_of_the_readings_that_count(dense) -> None:
    operator = dense((6, 6), (10, 12), positive=True)
    x = torch.zeros(1, 6, 6, dtype=torch.float64)
    x[:, 2:4, 2:5] = 1.0
    noise = 0.2 * torch.randn(1, 10, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    variance = torch.full((1, 10, 12), 0.04, dtype=torch.float64)
    variance[..., 6:] = math.inf
    found = tv(GaussianLikelihood(operator, operator.forward(x) + noise, variance), iterations=2000)
    ratio = GaussianLikelihood(operator, operator.forward(x) + noise, variance).residual_ratio(found)
    assert float(ratio) == pytest.approx(1.0, abs=0.02)


def test_the_predicted_start_error_draws_no_noise_where_there_is_no_reading(dense) -> None:
    operator = dense((4, 5), (6, 8))
    variance = torch.full((6, 8), 0.04, dtype=torch.float64)
    variance[:, 2] = math.inf
    likelihood = GaussianLikelihood(operator, random(1, 6, 8), variance)

    def start(data: torch.Tensor) -> torch.Tensor:
        return operator.adjoint(data) - operator.adjoint(operator.forward(torch.ones(1, 4, 5, dtype=torch.float64)))

    surrogate = torch.ones(1, 4, 5, dtype=torch.float64)
    found = predicted_start_error(surrogate, likelihood, start, Noise(0))
    noise = Noise(0).normal(likelihood.data) * 0.2
    noise[..., 2] = 0
    torch.testing.assert_close(found, (operator.adjoint(noise) - 1).square().mean((-2, -1)).sqrt())
