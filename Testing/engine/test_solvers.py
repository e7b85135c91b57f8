"""DDS on a Gaussian prior, and the choice of its first noise level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.classical.tv import tv
from diffusion_engine.denoiser import positions
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.scale import hu_to_attenuation
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers import dds as solver
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.start import DEFAULTS, predicted_start_error, start_levels
from diffusion_engine.volume import Volume

SIZE = 8
SETTINGS = solver.DDSSettings(steps=12, sigma_start=1.0, cg_iterations=30, cg_tolerance=1e-8)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def problem(dense) -> tuple[GaussianDenoiser, GaussianLikelihood, torch.Tensor]:
    """A smooth Gaussian prior of standard deviation about 0.5, 40 readings of 64 pixels, and the truths."""
    frequency = torch.fft.fftfreq(SIZE, dtype=torch.float64)
    spectrum = 1 / (0.02 + frequency[:, None] ** 2 + frequency**2)
    prior = GaussianDenoiser(torch.zeros(SIZE, SIZE, dtype=torch.float64), 0.25 * spectrum / spectrum.mean())
    truth = torch.fft.ifft2(prior.spectrum.sqrt() * torch.fft.fft2(random(4, SIZE, SIZE))).real
    operator = dense((SIZE, SIZE), (5, 8))
    noise = 0.05
    data = operator.forward(truth) + noise * random(4, 5, 8, seed=3)
    return prior, GaussianLikelihood(operator, data, torch.tensor(noise**2, dtype=torch.float64)), truth


def last(prior, likelihood, start, seed: int, settings: solver.DDSSettings = SETTINGS) -> torch.Tensor:
    steps = list(solver.dds(prior, likelihood, start, settings, seeded(seed)))
    assert [s.index for s in steps] == list(range(1, settings.steps + 1))
    assert all(s.total == settings.steps for s in steps)
    assert steps[0].sigma == pytest.approx(settings.sigma_start)
    assert steps[-1].sigma == pytest.approx(settings.sigma_end)
    return steps[-1].estimate


def test_a_seed_is_a_draw(problem) -> None:
    prior, likelihood, truth = problem
    start = torch.zeros_like(truth)
    first = last(prior, likelihood, start, 5)
    assert torch.equal(first, last(prior, likelihood, start, 5))
    assert float((first - last(prior, likelihood, start, 6)).abs().max()) > 0.01


def test_every_second_call_sees_the_mirrored_image_at_its_place(problem) -> None:
    """What this prior, which knows no sides, makes of it is the same; the positions are those of the mirrored body."""
    prior, likelihood, truth = problem
    place, mirrored = (positions(SIZE, SIZE, (2.0, 3.0), (4.0, x)) for x in (-10.0, 10.0))
    seen: dict[bool, list[tuple[torch.Tensor, torch.Tensor]]] = {False: [], True: []}
    estimates = []
    for reverse, calls in seen.items():

        def spy(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor, calls=calls) -> torch.Tensor:
            calls.append((x, condition))
            return prior(x, sigma)

        settings = replace(SETTINGS, mirrored=reverse, local_variance=False)
        estimates.append(list(solver.dds(spy, likelihood, torch.zeros_like(truth), settings, seeded(5), place)))
    torch.testing.assert_close(estimates[0][-1].estimate, estimates[1][-1].estimate, rtol=1e-5, atol=1e-5)
    for index, ((plain, _), (x, where)) in enumerate(zip(*seen.values(), strict=True)):
        torch.testing.assert_close(x.flip(-1) if index % 2 else x, plain, rtol=1e-5, atol=1e-5)
        assert torch.equal(where, mirrored if index % 2 else place)


def test_draws_agree_with_the_data_and_come_closer_to_the_truth(problem) -> None:
    prior, likelihood, truth = problem
    start = torch.zeros_like(truth)
    found = last(prior, likelihood, start, 5)
    assert bool((likelihood.residual_ratio(start) > 100).all())
    assert bool((likelihood.residual_ratio(found) < 2).all())
    assert float((found - truth).norm()) < 0.8 * float((start - truth).norm())


def test_the_mean_of_draws_comes_near_the_exact_posterior_mean(problem) -> None:
    """Draws are concentrated estimates: their mean is near the Gaussian posterior's, their spread below its."""
    prior, likelihood, truth = problem
    draws = torch.stack([last(prior, likelihood, torch.zeros_like(truth), seed) for seed in range(24)])
    eye = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    covariance = torch.fft.ifft2(prior.spectrum * torch.fft.fft2(eye)).real.flatten(1)
    matrix = likelihood.operator.matrix
    inner = matrix @ covariance @ matrix.T + likelihood.variance * torch.eye(40, dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(inner)
    exact = (likelihood.data.flatten(1) @ gain.T).reshape(truth.shape)
    spread = (covariance - gain @ matrix @ covariance).diagonal().mean().sqrt()
    away = (draws.mean(0) - exact).square().mean().sqrt()
    assert float(away) < 0.7 * float(spread)
    assert 0 < float(draws.std(0).square().mean().sqrt()) < 1.05 * float(spread)


def test_the_spread_is_labelled_for_what_it_is() -> None:
    assert METHODS["dds"].spread == "concentrated"


def test_a_prior_that_breaks_down_raises(problem) -> None:
    _, likelihood, truth = problem

    def broken(x, sigma, condition=None):
        return x * float("nan") if float(sigma) < 0.5 else x

    with pytest.raises(FloatingPointError, match="not finite at noise level"):
        last(broken, likelihood, torch.zeros_like(truth), 0)


def test_the_prior_is_given_its_condition(problem) -> None:
    prior, likelihood, truth = problem
    seen = []

    def watching(x, sigma, condition=None):
        seen.append((x.shape, condition))
        return prior(x, sigma)

    marker = torch.ones(2, SIZE, SIZE)
    list(solver.dds(watching, likelihood, truth, replace(SETTINGS, steps=2, mirrored=False), seeded(0), marker))
    assert len(seen) == 2
    assert all(shape == (4, 1, SIZE, SIZE) and condition is marker for shape, condition in seen)


def test_the_predicted_error_of_the_start_is_about_the_real_one(chest: Volume) -> None:
    truth = torch.from_numpy(hu_to_attenuation(np.maximum(chest.array, -1000)).astype(np.float32))
    grid = ImageGrid(96, 96, (4.0, 4.0))
    for views in (12, 48):
        geometry = parallel_geometry(grid, views)
        projector = make_projector(geometry, grid)
        clean = projector.forward(truth)
        std = 0.002 * clean.max()
        likelihood = GaussianLikelihood(projector, clean + std * random(*clean.shape).float(), std**2)

        def start(data: torch.Tensor, geometry=geometry) -> torch.Tensor:
            return fbp(data, geometry, grid).clamp_min(0)

        surrogate = tv(likelihood.scaled(0.0193, 0.0), iterations=60) * 0.0193
        predicted = predicted_start_error(surrogate, likelihood, start, seeded(0))
        real = (start(likelihood.data) - truth).square().mean((-2, -1)).sqrt()
        assert predicted.shape == (2,)
        assert bool((predicted / real > 0.5).all()), predicted / real
        assert bool((predicted / real < 1.5).all()), predicted / real


def test_the_first_level_is_the_error_times_the_ratio_within_bounds() -> None:
    calibration = {"ratio": 3.0, "smallest": 0.2, "largest": 1.0}
    found = start_levels(torch.tensor([0.05, 0.1, 0.01, 0.9]), calibration)
    assert found[1] == pytest.approx(0.3, rel=0.045)
    assert found[0] == 0.2 == found[2]
    assert found[3] == 1.0
    errors = torch.linspace(0.1, 0.2, 50)
    many = start_levels(errors, {})
    # A slice's own level, and few different ones.
    assert many == [start_levels(error[None], {})[0] for error in errors]
    assert many == pytest.approx((DEFAULTS["ratio"] * errors).tolist(), rel=0.045)
    assert len(set(many)) == 9
    with pytest.raises(FloatingPointError, match="not finite"):
        start_levels(torch.tensor([float("nan")]), {})
