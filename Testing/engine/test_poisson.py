"""Poisson likelihoods: gradients against autograd, subsets, units, the deviance of the truth, refusals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusion_engine.likelihoods.contract import stiffness
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.likelihoods.poisson import PoissonEmission, PoissonTransmission, expected_deviance
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from torch import Tensor

Likelihoods = GaussianLikelihood | PoissonEmission | PoissonTransmission


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def poisson(mean: Tensor, seed: int = 2) -> Tensor:
    return torch.poisson(mean, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["gaussian", "emission", "transmission", "electronic"])
def likelihood(request: pytest.FixtureRequest, dense) -> Likelihoods:
    """Two images of 4 x 3 pixels seen by 6 views of 5 bins, backgrounds and weights that differ by reading."""
    operator, truth = dense((4, 3), (6, 5), positive=True), uniform(2, 4, 3)
    if request.param == "gaussian":
        return GaussianLikelihood(operator, uniform(2, 6, 5, seed=3), 0.1 + uniform(2, 6, 5, seed=4))
    background = uniform(6, 5, seed=5)
    if request.param == "emission":
        return PoissonEmission(operator, poisson(operator.forward(truth) + background), background)
    i0 = 200 + 100 * uniform(2, 6, 5, seed=6)
    counts = poisson(i0 * torch.exp(-operator.forward(truth)) + background)
    if request.param == "transmission":
        return PoissonTransmission(operator, counts, i0, background)
    noisy = counts + 3 * torch.randn(counts.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return PoissonTransmission(operator, noisy, i0, background, electronic_std=3.0)


def test_gradient_is_the_derivative_of_the_misfit(likelihood: Likelihoods) -> None:
    # -0.4 takes some emission means below the floor and below zero, where the parabola continues the logarithm.
    for x in (uniform(2, 4, 3, seed=8), uniform(2, 4, 3, seed=9) - 0.4):
        leaf = x.clone().requires_grad_()
        misfit = likelihood.misfit(leaf)
        assert misfit.shape == (2,)
        expected = torch.autograd.grad(misfit.sum(), leaf)[0]
        torch.testing.assert_close(likelihood.gradient(x), expected)


def test_misfit_is_zero_where_the_image_explains_the_data(dense) -> None:
    operator, truth = dense((4, 3), (6, 5), positive=True), uniform(2, 4, 3)
    p, one = operator.forward(truth), torch.ones((), dtype=torch.float64)
    exact = (
        GaussianLikelihood(operator, p, one),
        PoissonEmission(operator, p + 1, one),
        PoissonTransmission(operator, 50 * torch.exp(-p) + 1, 50 * one, one),
    )
    for each in exact:
        assert float(each.misfit(truth).abs().max()) < 1e-12
        assert float(each.gradient(truth).abs().max()) < 1e-12
        assert bool((each.misfit(truth + 0.1) > 1e-3).all())


def test_subsets_sum_to_the_whole(likelihood: Likelihoods) -> None:
    x = uniform(2, 4, 3, seed=8)
    parts = [likelihood.subset(slice(k, None, 4)) for k in range(4)]
    assert [part.data.shape[-2] for part in parts] == [2, 2, 1, 1]
    torch.testing.assert_close(torch.stack([p.misfit(x) for p in parts]).sum(0), likelihood.misfit(x))
    torch.testing.assert_close(torch.stack([p.gradient(x) for p in parts]).sum(0), likelihood.gradient(x))
    listed = likelihood.subset(torch.tensor([0, 4]))
    torch.testing.assert_close(listed.misfit(x), parts[0].misfit(x))


def test_the_gaussian_stand_in_has_the_gradient_and_the_hessian_there(likelihood: Likelihoods) -> None:
    for x in (uniform(2, 4, 3, seed=8), uniform(2, 4, 3, seed=9) - 0.4):
        near = likelihood.local_gaussian(x)
        assert isinstance(near, GaussianLikelihood)
        torch.testing.assert_close(near.gradient(x), likelihood.gradient(x))
        torch.testing.assert_close(near.curvature(x), likelihood.curvature(x))
        # Newton's step of the one is the other's minimum as far as both are parabolas: it lowers the misfit.
        moved = near.proximal(x, 1e-3)
        assert bool((likelihood.misfit(moved) < likelihood.misfit(x)).all())


def test_the_stand_in_of_counts_is_their_mean_and_variance(dense) -> None:
    """y ~ Poisson(A x + b) is near A x ~ Normal(y - b, A x + b); where no beam is left a reading has no weight."""
    operator, truth, background = dense((4, 3), (6, 5), positive=True), uniform(1, 4, 3), uniform(6, 5, seed=5)
    mean = operator.forward(truth) + background
    counts = poisson(mean)
    near = PoissonEmission(operator, counts, background).local_gaussian(truth)
    torch.testing.assert_close(near.data, counts - background)
    torch.testing.assert_close(near.variance, mean)
    one = torch.ones((), dtype=torch.float64)
    dark = PoissonTransmission(operator, counts, 100 * one, 0 * one).local_gaussian(truth * 1000)
    assert bool((dark.variance == torch.inf).any())
    assert bool(torch.isfinite(dark.data).all())


def test_views_lie_along_the_axis_that_the_operator_names(dense) -> None:
    """Of data (coils, spokes, samples) each coil is a view: subsets and residuals by coil."""

    @dataclass(frozen=True)
    class Coils:
        whole: Any
        out_shape: tuple[int, ...] = (3, 2, 5)
        in_shape: tuple[int, ...] = (4, 3)
        view_axis: int = -3

        def forward(self, x: Tensor) -> Tensor:
            return self.whole.forward(x).unflatten(-2, (3, 2))

        def adjoint(self, y: Tensor) -> Tensor:
            return self.whole.adjoint(y.flatten(-3, -2))

    rows, x = dense((4, 3), (6, 5)), uniform(2, 4, 3)
    data, variance = uniform(2, 3, 2, 5, seed=3), 0.1 + uniform(3, 1, 1, seed=4)
    likelihood = GaussianLikelihood(Coils(rows), data, variance)
    plain = GaussianLikelihood(rows, data.flatten(1, 2), variance.expand(3, 2, 1).flatten(0, 1))
    torch.testing.assert_close(likelihood.gradient(x), plain.gradient(x))
    by_coil = likelihood.residual_per_view(x)
    assert by_coil.shape == (2, 3)
    torch.testing.assert_close(by_coil, plain.residual_per_view(x).unflatten(1, (3, 2)).mean(-1))
    one = likelihood.subset(slice(1, 2)).scaled(1.0, 0.0)
    assert one.operator.out_shape == (1, 2, 5)
    torch.testing.assert_close(one.gradient(x), plain.subset(slice(2, 4)).gradient(x))
    torch.testing.assert_close(one.subset(slice(0, 1)).misfit(x), one.misfit(x))
    lost = replace(likelihood, variance=torch.where(torch.arange(5) < 2, torch.inf, 1.0).to(data))
    assert lost.residual_per_view(x).shape == (2, 3)


def test_a_projector_makes_itself_for_some_views() -> None:
    grid = ImageGrid(12, 12, (2.0, 2.0))
    image = uniform(2, 12, 12).float()
    for kind in ("matrix", "on_the_fly"):
        whole = make_projector(parallel_geometry(grid, 7), grid, implementation=kind)
        for index in (slice(1, None, 3), torch.tensor([1, 4])):
            part = whole.subset(index)
            torch.testing.assert_close(part.forward(image), whole.forward(image)[..., index, :])
    likelihood = GaussianLikelihood(whole, whole.forward(image), torch.ones(())).scaled(0.5, 1.0)
    part = likelihood.subset(slice(0, None, 3))
    assert part.operator.out_shape == (3, whole.out_shape[1])
    torch.testing.assert_close(part.misfit(image), likelihood.subset(torch.tensor([0, 3, 6])).misfit(image))
    with pytest.raises(ValueError, match="holds none of the 7 views"):
        likelihood.subset(slice(7, None, 8))


def test_scaled_says_the_same_in_other_units(likelihood: Likelihoods) -> None:
    z, scale, offset = uniform(2, 4, 3, seed=8), 0.4, 0.7
    x, other = scale * (z + offset), likelihood.scaled(scale, offset)
    torch.testing.assert_close(other.misfit(z), likelihood.misfit(x))
    torch.testing.assert_close(other.gradient(z), scale * likelihood.gradient(x))
    torch.testing.assert_close(other.curvature(z), likelihood.curvature(x))
    torch.testing.assert_close(other.residual_per_view(z), likelihood.residual_per_view(x))


def test_select_takes_images_with_what_is_theirs(likelihood: Likelihoods) -> None:
    x = uniform(2, 4, 3, seed=8)
    torch.testing.assert_close(likelihood.select(slice(1, 2)).misfit(x[1:]), likelihood.misfit(x)[1:])


def test_curvature_is_the_expected_hessian(dense) -> None:
    """Where the counts equal their mean, the Hessian of the misfit is A' diag(w) A."""
    operator, x = dense((4, 3), (6, 5), positive=True), uniform(1, 4, 3)
    p, one = operator.forward(x), torch.ones((), dtype=torch.float64)
    for each in (
        PoissonEmission(operator, p + 2, 2 * one),
        PoissonTransmission(operator, 90 * torch.exp(-p) + 2, 90 * one, 2 * one),
    ):
        hessian = torch.autograd.functional.hessian(lambda v, e=each: e.misfit(v).sum(), x).reshape(12, 12)
        matrix = operator.matrix.T @ (each.curvature(x).flatten()[:, None] * operator.matrix)
        torch.testing.assert_close(hessian, matrix)
        largest = torch.linalg.eigvalsh(matrix)[-1]
        assert float(stiffness(each, x, iterations=60)) == pytest.approx(float(largest), rel=1e-6)


@pytest.mark.parametrize("mean", [1e-3, 0.05, 0.7, 3.0, 12.0, 19.9, 20.1, 150.0])
def test_expected_deviance_is_the_sum_over_all_counts(mean: float) -> None:
    m = torch.tensor(mean, dtype=torch.float64)
    counts = torch.arange(600, dtype=torch.float64)
    chance = torch.exp(counts * m.log() - m - torch.lgamma(counts + 1))
    exact = 2 * (chance * (m - counts + torch.xlogy(counts, counts / m))).sum()
    assert float(expected_deviance(m)) == pytest.approx(float(exact), rel=1e-3)


def test_deviance_ratio_of_the_truth_is_one(dense) -> None:
    """Simulated counts, few and many, with background and electronic noise; wrong images give more than one."""
    operator, truth = dense((8, 8), (60, 50), positive=True), uniform(3, 8, 8) / 16
    p, one = operator.forward(truth), torch.ones((), dtype=torch.float64)
    for scale in (0.3, 30.0):
        emission = PoissonEmission(operator, poisson(scale * (p + 0.5)), 0.5 * scale * one).scaled(scale, 0.0)
        assert bool(((emission.residual_ratio(truth) - 1).abs() < 0.12).all())
        assert bool((emission.residual_ratio(truth * 6) > 1.2).all())
    for i0, s in ((20.0, 0.0), (1e4, 0.0), (300.0, 8.0)):
        counts = poisson(i0 * torch.exp(-p) + 2)
        counts = counts + s * torch.randn(p.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        each = PoissonTransmission(operator, counts, i0 * one, 2 * one, s)
        assert bool(((each.residual_ratio(truth) - 1).abs() < 0.12).all()), (i0, s)
        assert bool((each.residual_ratio(truth * 1.5) > 1.2).all())
        torch.testing.assert_close(each.residual_per_view(truth).mean(-1), each.residual_ratio(truth))


def test_refusals(dense) -> None:
    operator, one = dense((4, 3), (6, 5), positive=True), torch.ones((), dtype=torch.float64)
    counts = poisson(5 * uniform(2, 6, 5))
    bad = counts.clone()
    bad[1, 2, 3] = -1
    with pytest.raises(ValueError, match="found 1 negative readings"):
        PoissonEmission(operator, bad, one)
    with pytest.raises(ValueError, match="found 1 negative readings"):
        PoissonTransmission(operator, bad, 9 * one, one)
    electronic = PoissonTransmission(operator, bad, 9 * one, one, 0.5)
    assert bool(torch.isfinite(electronic.misfit(uniform(2, 4, 3))).all())
    for wrong in (float("nan"), float("inf")):
        bad[1, 2, 3] = wrong
        with pytest.raises(ValueError, match="NaN or infinite"):
            PoissonEmission(operator, bad, one)
    with pytest.raises(ValueError, match=r"expected trailing shape \(6, 5\), found \(5, 6\)"):
        PoissonEmission(operator, counts.mT, one)
    with pytest.raises(ValueError, match="background of 0 or more"):
        PoissonEmission(operator, counts, -one)
    with pytest.raises(ValueError, match="i0 of more than 0"):
        PoissonTransmission(operator, counts, 0 * one, one)
    with pytest.raises(ValueError, match="electronic_std of 0 counts or more"):
        PoissonTransmission(operator, counts, one, one, -1.0)
    with pytest.raises(ValueError, match="floor above 0"):
        PoissonEmission(operator, counts, one, floor=0.0)
