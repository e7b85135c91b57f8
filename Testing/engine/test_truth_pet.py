"""The small PET of the truth test: its references, its denoiser, and what it gives to the methods."""

from __future__ import annotations

import pytest
import torch
from benchmarks import posterior_truth as truth_table  # puts the benchmarks' own folder on the path
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.likelihoods.relinearised import RelinearisedLikelihood
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.solvers.catalogue import METHODS
from truth_chain import elliptical_slice
from truth_pet import CountsAround, pet_body, scan
from truth_pet_blocks import BLOCK, MEAN, BlockDenoiser, BlocksAround, activity, blocks, spread
from truth_uneven import correlated

SIZE = 8


@pytest.fixture
def counted():
    """Few counts of 8 x 8 pixels, their likelihood, and the walk around the posterior's peak."""
    generator = torch.Generator().manual_seed(1)
    mean = torch.full((SIZE * SIZE,), 1.0, dtype=torch.float64)
    covariance = correlated(torch.full((SIZE, SIZE), 0.4, dtype=torch.float64))
    likelihood = scan(torch.full((1, SIZE, SIZE), 1.2), None, 300, generator)
    eye = torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)
    matrix = likelihood.operator.forward(eye).double().flatten(1).T
    around = CountsAround.of(
        matrix, likelihood.background.double().flatten(), likelihood.data.double().flatten(), mean, covariance
    )
    return likelihood, around, mean, torch.linalg.inv(covariance)


def test_the_walk_has_the_posterior_of_the_counts(counted) -> None:
    likelihood, around, mean, precision = counted
    u = torch.randn(6, SIZE * SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x = around.image(u)
    away = x - mean
    energy = likelihood.misfit(x.reshape(-1, SIZE, SIZE).float()).double() + ((away @ precision) * away).sum(1) / 2
    walked = around.misfit(u) + u.square().sum(1) / 2
    torch.testing.assert_close(energy - energy[0], walked - walked[0], rtol=0, atol=2e-3)
    assert around.misfit(1000 * u[:1]).isinf().all()


def test_the_reference_agrees_with_weighted_draws(counted) -> None:
    """Importance sampling from the Gaussian around the peak, which needs no chain."""
    _, around, _, _ = counted
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(20_000, SIZE * SIZE, generator=generator, dtype=torch.float64)
    weight = torch.softmax(-around.misfit(u), 0)
    assert 1 / float(weight.square().sum()) > 4000
    wanted = weight @ u
    chain, checks = elliptical_slice(
        around, torch.ones(SIZE, SIZE), generator, chains=32, length=200, burn=40, thin=2
    )
    assert checks["r_hat"] < 1.1
    found = chain.flatten(1).double()
    assert float((found.mean(0) - wanted).square().mean().sqrt()) < 0.05
    assert float(found.var(0).mean()) == pytest.approx(float((weight @ (u - wanted).square()).mean()), rel=0.04)


def test_the_denoiser_of_blocks_is_the_mean_of_the_clean_image() -> None:
    """Against a sum over activities."""
    x = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for sigma in (0.2, 3.0):
        place = (torch.arange(120_000, dtype=torch.float64) + 0.5) * 1e-4
        found = BlockDenoiser()(x, torch.tensor(sigma))
        for mean, estimate in zip(blocks(x).flatten(), blocks(found).flatten(), strict=True):
            weight = torch.softmax(-place / MEAN - (mean - place).square() * BLOCK**2 / (2 * sigma**2), 0)
            assert float(weight @ place) == pytest.approx(float(estimate), rel=1e-4)
    assert torch.equal(found, spread(found[..., ::BLOCK, ::BLOCK]))
    assert bool((found >= 0).all())


@pytest.fixture
def walked():
    """Few counts of four blocks, their likelihood, and the walk around the posterior's peak."""
    likelihood = scan(spread(torch.tensor([[[0.02, 1.0], [0.3, 0.6]]])), None, 60, torch.Generator().manual_seed(5))
    matrix = likelihood.operator.forward(spread(torch.eye(4).reshape(-1, 2, 2))).double().flatten(1).T
    return likelihood, BlocksAround.of(
        matrix, likelihood.background.double().flatten(), likelihood.data.double().flatten()
    )


def test_the_walk_of_blocks_has_the_posterior_of_the_counts(walked) -> None:
    likelihood, around = walked
    w = torch.randn(6, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64, requires_grad=True)
    energy = around.energy(w)
    torch.testing.assert_close(torch.autograd.grad(energy.sum(), w)[0], around.slope(w))
    u = around.at(w)
    image = spread(activity(u).reshape(-1, 2, 2)).float()
    direct = likelihood.misfit(image).double() + u.square().sum(1) / 2
    torch.testing.assert_close(direct - direct[0], energy - energy[0], rtol=0, atol=1e-3)
    assert float(around.slope(torch.zeros(1, 4).double()).abs().max()) < 1e-5


def test_the_reference_of_blocks_agrees_with_a_sum_over_activities(walked) -> None:
    _, around = walked
    samples, checks = around.draws(60, 7, burn=60)
    assert checks["r_hat"] < 1.1
    axis = torch.linspace(-5, 5, 15, dtype=torch.float64)
    w = torch.cartesian_prod(axis, axis, axis, axis)
    weight, values = torch.softmax(-around.energy(w), 0), activity(around.at(w))
    mean = weight @ values
    variance = weight @ (values - mean).square()
    assert ((samples.mean(0) - mean) / variance.sqrt()).abs().max() < 0.12
    torch.testing.assert_close(samples.var(0), variance, rtol=0.2, atol=0)


def test_methods_of_the_small_pet_have_the_likelihood_and_settings_of_a_run() -> None:
    problem = pet_body(draws=2, trues=(500,), size=SIZE, length=120)
    case = problem.cases[0]
    start = case.start.expand(2, SIZE, SIZE)
    assert isinstance(truth_table._likelihood(METHODS["tmpd"], case.likelihood, start), RelinearisedLikelihood)
    assert isinstance(truth_table._likelihood(METHODS["pet_dds"], case.likelihood, start), PoissonEmission)
    row = truth_table.run(METHODS["dds"], problem)
    assert MODALITIES["pet"].usual["dds"]["sigma_start"] == 1.0
    assert row["forwards"] == 30
    assert row["problem"] == "pet_body"
    assert float(case.likelihood.background.sum()) == pytest.approx(0.3 * 500)


def test_a_figure_that_one_measurement_lacks_is_that_of_the_others() -> None:
    assert truth_table._worst([{"coverage90": None}, {"coverage90": 0.8}]) == {"coverage90": 0.8}
    assert truth_table._worst([{"coverage90": None}, {"coverage90": None}]) == {"coverage90": None}


def test_a_ratio_of_few_directions_is_not_given() -> None:
    """Of 400 draws the variance along one direction is known to 7 %, the mean of 8 directions to 2.5 %."""
    assert truth_table._told(torch.ones(1), 400) is None
    assert truth_table._told(torch.ones(8), 400) == 1.0
    assert truth_table._told(torch.ones(0), 400) is None
