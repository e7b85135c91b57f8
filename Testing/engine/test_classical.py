"""Conjugate gradients and total variation on systems whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine.classical.tv import _discrepancy, _dual_step, gradient, gradient_adjoint, tv, tv_steps
from diffusion_engine.likelihoods.conjugate_gradient import conjugate_gradient, item_dot
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_conjugate_gradient_solves_each_image(dense) -> None:
    root = dense((5, 4), (6, 5)).matrix
    matrix = root.T @ root + torch.eye(20, dtype=torch.float64)
    right = random(3, 5, 4) * torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)[:, None, None]
    found = conjugate_gradient(lambda x: (x.flatten(1) @ matrix).reshape(x.shape), right, 60, 1e-12)
    expected = np.linalg.solve(matrix.numpy(), right.flatten(1).numpy().T).T
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=1e-8)


def test_conjugate_gradient_stops_each_image_by_itself() -> None:
    """An image that is done stays as it is while another goes on, and nothing runs once all are done."""
    easy = torch.ones(1, 4, 4, dtype=torch.float64)
    hard = random(1, 4, 4)
    scale = torch.linspace(1, 50, 16, dtype=torch.float64).reshape(4, 4)
    weights = torch.stack([torch.ones(4, 4, dtype=torch.float64), scale])
    calls = []

    def system(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * weights[: x.shape[0]] if x.shape[0] == 2 else x * weights[:1]

    both = conjugate_gradient(system, torch.cat([easy, hard]), 100, 1e-6)
    assert 5 < len(calls) < 40
    calls.clear()
    alone = conjugate_gradient(system, easy, 100, 1e-6)
    assert len(calls) == 1
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=0)
    residual = (hard - both[1:] * scale).norm() / hard.norm()
    assert float(residual) < 1e-6
    assert not conjugate_gradient(system, torch.zeros(1, 4, 4), 5).any()


def test_conjugate_gradient_takes_items_of_any_shape() -> None:
    """Two items of three axes: each stops at its own tolerance, as it does alone."""
    right = random(2, 2, 3, 4)
    scale = torch.stack([torch.linspace(1, 2, 24), torch.linspace(1, 500, 24)]).double().reshape(2, 2, 3, 4)
    found = conjugate_gradient(lambda x: x * scale, right, 100, 1e-3, item_dot)
    left = (item_dot(right - scale * found, right - scale * found) / item_dot(right, right)).sqrt().flatten()
    assert 1e-6 < float(left[0]) < 1e-3
    assert float(left[1]) < 1e-3
    for n in (0, 1):
        alone = conjugate_gradient(lambda x, n=n: x * scale[n : n + 1], right[n : n + 1], 100, 1e-3, item_dot)
        torch.testing.assert_close(alone, found[n : n + 1], rtol=0, atol=0)


def test_conjugate_gradient_stays_at_the_solution_in_single_precision() -> None:
    scale = torch.linspace(1, 3, 16).reshape(4, 4)
    right = random(1, 4, 4).float()
    found = conjugate_gradient(lambda x: x * scale, right, 500)
    torch.testing.assert_close(found, right / scale, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def disc() -> dict:
    """A disc of 0.02 / mm with a hole, 24 x 24 pixels, 24 parallel views, no noise."""
    grid = ImageGrid(24, 24, (2.0, 2.0))
    y, x = torch.meshgrid(torch.from_numpy(grid.y_mm), torch.from_numpy(grid.x_mm), indexing="ij")
    truth = 0.02 * ((x**2 + y**2 < 20**2) & ((x - 6) ** 2 + y**2 > 5**2)).double()[None]
    geometry = parallel_geometry(grid, 24, math.pi)
    projector = make_projector(geometry, grid, dtype=torch.float64)
    parts = [slice(n, None, 6) for n in range(6)]
    subsets = [
        make_projector(replace(geometry, angles_rad=geometry.angles_rad[p]), grid, dtype=torch.float64) for p in parts
    ]
    data = projector.forward(truth)
    return {
        "truth": truth, "projector": projector, "data": data, "subsets": subsets, "parts": [data[:, p] for p in parts],
    }


def test_gradient_and_its_adjoint() -> None:
    x, g = random(2, 5, 7), random(2, 2, 5, 7, seed=2)
    torch.testing.assert_close((gradient(x) * g).sum(), (x * gradient_adjoint(g)).sum())
    ramp = torch.arange(7.0).expand(5, 7)
    assert bool((gradient(ramp)[1, :, :-1] == 1).all())
    assert not gradient(ramp)[0].any()
    assert not gradient(torch.ones(3, 4)).any()


@pytest.fixture(scope="module")
def noisy(disc: dict) -> GaussianLikelihood:
    """Two noisy measurements of the disc, image in units of water so that it is about 1."""
    data = disc["data"].repeat(2, 1, 1)
    std = torch.tensor([0.01, 0.03], dtype=torch.float64)[:, None, None]
    likelihood = GaussianLikelihood(disc["projector"], data + std * random(*data.shape), std**2)
    return likelihood.scaled(0.02, 0.0)


def total_variation(x: torch.Tensor) -> torch.Tensor:
    return gradient(x).square().sum(-3).sqrt().sum((-2, -1))


def test_constrained_tv_leaves_the_noise_as_residual(noisy: GaussianLikelihood, disc: dict) -> None:
    image = tv(noisy, iterations=600)
    ratio = noisy.residual_ratio(image)
    assert bool(((ratio - 1).abs() < 0.05).all()), ratio
    assert float(image.min()) >= 0
    assert bool((total_variation(image) <= total_variation(disc["truth"] / 0.02) * 1.02).all())
    looser = tv(noisy, iterations=600, target=2.0)
    assert bool(((noisy.residual_ratio(looser) - 2).abs() < 0.1).all())


def test_weighted_tv_reaches_the_least_objective(noisy: GaussianLikelihood) -> None:
    weight = torch.tensor([4.0, 4.0])

    def objective(x: torch.Tensor) -> torch.Tensor:
        misfit = (noisy.data - noisy.operator.forward(x)) ** 2 / noisy.variance
        return misfit.sum((-2, -1)) / 2 + weight * total_variation(x)

    best = tv(noisy, weight=weight, iterations=1500)
    reference = objective(best)
    short, long = (objective(tv(noisy, weight=weight, iterations=n)) for n in (30, 500))
    assert bool((short > reference * 1.001).all())
    assert bool((long < reference * 1.001).all())
    # A minimum: no image nearby is better.
    for seed in range(5):
        near = (best + 0.01 * random(*best.shape, seed=seed)).clamp_min(0)
        assert bool((objective(near) > reference).all())


def test_tv_of_a_batch_is_tv_of_each(noisy: GaussianLikelihood) -> None:
    both = tv(noisy, iterations=40)
    for n in range(2):
        torch.testing.assert_close(tv(noisy.select(slice(n, n + 1)), iterations=40)[0], both[n])


def test_tv_may_go_negative_only_when_allowed(noisy: GaussianLikelihood) -> None:
    assert float(tv(noisy, iterations=100, nonnegative=False).min()) < 0
    assert all(float(x.min()) >= 0 for x in tv_steps(noisy, iterations=30))
    with pytest.raises(ValueError, match="at least one iteration"):
        tv(noisy, iterations=0)


@pytest.fixture(scope="module")
def counted(disc: dict) -> GaussianLikelihood:
    """Measurements whose noise differs by a factor of 50 from ray to ray, as behind bone and beside the body."""
    clean = disc["data"]
    std = 1e-3 * torch.exp(math.log(50) * clean / clean.amax())
    return GaussianLikelihood(disc["projector"], clean + std * random(*clean.shape), std**2).scaled(0.02, 0.0)


def test_tv_of_rays_of_unequal_weight_comes_as_near(counted: GaussianLikelihood) -> None:
    """One dual step for all, of which the least weights want fifty times as much, leaves 5.6 times the noise here."""
    image = tv(counted, iterations=150)
    assert float(counted.residual_ratio(image)) == pytest.approx(1, abs=0.1)
    assert float((image - tv(counted, iterations=600)).abs().max()) < 0.1


def test_weighted_tv_of_unequal_rays_reaches_the_least_objective(counted: GaussianLikelihood) -> None:
    def objective(x: torch.Tensor) -> float:
        return float(counted.misfit(x) + 20 * total_variation(x))

    weight = torch.tensor([20.0])
    best = objective(tv(counted, weight=weight, iterations=600))
    assert objective(tv(counted, weight=weight, iterations=150)) < best * 1.01


def test_rays_of_equal_weight_keep_one_dual_step(noisy: GaussianLikelihood) -> None:
    """Whether given as one number or a ray, and whether or not some rays have none: the same bits."""
    spread = noisy.variance.expand(noisy.data.shape).clone()
    each = replace(noisy, variance=spread)
    torch.testing.assert_close(tv(each, iterations=20), tv(noisy, iterations=20), rtol=0, atol=0)
    spread[0, 3:5] = torch.inf
    dead = replace(noisy, variance=spread)
    assert _dual_step(torch.ones(2, 24, 4), dead.variance[..., :4].rsqrt()).shape == (2, 1, 1)


def test_an_image_of_equal_weights_is_the_same_beside_one_of_unequal(
    noisy: GaussianLikelihood, counted: GaussianLikelihood
) -> None:
    one = noisy.select(slice(0, 1))
    both = GaussianLikelihood(
        one.operator, torch.cat([one.data, counted.data]),
        torch.cat([one.variance.expand(one.data.shape), counted.variance]),
    )
    found = tv(both, iterations=40)
    torch.testing.assert_close(found[:1], tv(one, iterations=40))
    torch.testing.assert_close(found[1:], tv(counted, iterations=40))


def test_the_dual_step_ends_on_the_ball() -> None:
    """p_new / step = z - projection: the point that is left lies on the ball's edge, or p is 0 inside of it."""
    p, step = random(2, 6, 7), random(2, 6, 7, seed=3).exp()
    radius = torch.tensor([0.3, 1e3], dtype=torch.float64)[:, None, None]
    new = _discrepancy(p, step, radius)
    left = (p - new) / step
    assert float(left[0].norm()) == pytest.approx(0.3, rel=1e-6)
    # What is left points along p_new: the multiplier is one number.
    factor = new[0] / left[0]
    torch.testing.assert_close(factor, torch.full_like(factor, float(factor[0, 0])))
    assert not new[1].any()
    assert not _discrepancy(torch.zeros(1, 6, 7), step[:1].float(), radius[:1].float()).any()
