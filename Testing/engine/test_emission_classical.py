"""MLEM, OSEM and the relative difference prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_engine.classical.osem import mlem_steps, osem_steps, uniform_start
from diffusion_engine.classical.relative_difference import (
    ALONG_Z,
    IN_PLANE,
    IN_VOLUME,
    RelativeDifference,
    certainty,
    penalised_misfit,
    relative_difference_steps,
)
from diffusion_engine.likelihoods.ordered_subsets import OrderedSubsets, herman_meyer, sensitivity
from diffusion_engine.likelihoods.poisson import PoissonEmission
from emission_scans import ANGLES, COLUMNS, ROWS, activity, dense, operator, scan, seeded


@pytest.mark.parametrize("background", [0.5, 3.0])
def test_every_iteration_of_mlem_raises_the_likelihood(background) -> None:
    likelihood = scan(background=background)
    misfits = torch.stack([likelihood.misfit(x) for x in mlem_steps(likelihood, iterations=60)])
    assert (misfits.diff(dim=0) < 0).all()


def test_mlem_conserves_counts_where_there_is_no_background() -> None:
    likelihood = scan(background=0.0)
    live = likelihood.operator.factors > 0
    for x in mlem_steps(likelihood, iterations=4):
        assert torch.allclose(likelihood.operator.forward(x).sum((1, 2)), (likelihood.data * live).sum((1, 2)))


def test_mlem_attributes_to_the_image_its_share_of_the_counts() -> None:
    likelihood = scan(background=3.0)
    before = uniform_start(likelihood)
    after = next(mlem_steps(likelihood, iterations=1))
    trues = likelihood.operator.forward(before)
    assert torch.allclose((sensitivity(likelihood) * after).sum((1, 2)),
                          (likelihood.data * trues / (trues + 3.0)).sum((1, 2)))


@pytest.mark.parametrize("subsets", [1, 3, 4, 12])
def test_osem_agrees_with_a_dense_matrix(subsets) -> None:
    likelihood = scan()
    matrices, counts = dense(likelihood.operator).numpy(), likelihood.data.numpy()
    start = uniform_start(likelihood)
    expected = []
    for number, matrix in enumerate(matrices):
        views = matrix.reshape(ANGLES, -1, ROWS * COLUMNS)
        x = start[number].numpy().ravel().copy()
        for _ in range(3):
            for first in herman_meyer(subsets):
                a = views[first::subsets].reshape(-1, ROWS * COLUMNS)
                y = counts[number, first::subsets].ravel()
                seen = a.sum(0)
                x[seen > 0] *= (a.T @ (y / (a @ x + 3.0)))[seen > 0] / seen[seen > 0]
        expected.append(x.reshape(ROWS, COLUMNS))
    *_, found = osem_steps(likelihood, subsets=subsets, iterations=3)
    assert found.numpy() == pytest.approx(np.stack(expected), rel=1e-8)
    assert (found >= 0).all()


def test_mlem_of_counts_without_noise_comes_to_the_truth() -> None:
    likelihood = scan(noise=False)
    *_, x = mlem_steps(likelihood, iterations=3000)
    assert (x - activity()).square().mean().sqrt() < 0.05 * activity().max()


def test_dead_bins_do_not_matter_nor_do_empty_ones() -> None:
    likelihood = scan(background=0.0)
    other = likelihood.data.clone()
    other[:, 7], other[:, 3, 8] = 500.0, 0.0
    changed = PoissonEmission(likelihood.operator, other, likelihood.background)
    start = torch.ones(2, ROWS, COLUMNS, dtype=torch.float64)
    for a, b in zip(osem_steps(likelihood, subsets=4, iterations=2, start=start),
                    osem_steps(changed, subsets=4, iterations=2, start=start), strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()


def test_a_pixel_that_no_bin_sees_stays_and_a_slice_that_none_sees_is_refused() -> None:
    own = operator(1)
    blind = torch.zeros_like(own.factors)
    blind[:, 0, 8:10] = 0.03  # one view of two bins
    narrow = type(own)(own.lines, blind, own.pixel_mm, 0.0)
    counts = narrow.forward(activity(1))
    likelihood = PoissonEmission(narrow, counts, torch.zeros_like(counts))
    unseen = sensitivity(likelihood) == 0
    assert unseen.any()
    *_, x = osem_steps(likelihood, subsets=1, iterations=3, start=torch.full((1, ROWS, COLUMNS), 7.0).double())
    assert (x[unseen] == 7.0).all()
    nothing = type(own)(own.lines, 0 * blind, own.pixel_mm, 0.0)
    with pytest.raises(ValueError, match="slice without"):
        uniform_start(PoissonEmission(nothing, counts, torch.zeros_like(counts)))


def test_an_even_start_gives_the_counts_beyond_the_background() -> None:
    likelihood = scan(dead=False)
    trues = likelihood.operator.forward(uniform_start(likelihood)).sum((1, 2))
    assert torch.allclose(trues, (likelihood.data - 3.0).sum((1, 2)))
    below = PoissonEmission(likelihood.operator, likelihood.data, likelihood.data + 1)
    assert (uniform_start(below)[:, 5, 5] > 0).all()


@pytest.mark.parametrize("count", [1, 2, 4, 6, 7, 10, 12, 28])
def test_every_subset_comes_once(count) -> None:
    assert sorted(herman_meyer(count)) == list(range(count))


def test_order_of_subsets_is_that_of_herman_and_meyer() -> None:
    assert herman_meyer(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert herman_meyer(6) == [0, 3, 1, 4, 2, 5]


def test_bad_options_are_refused() -> None:
    likelihood = scan()
    with pytest.raises(ValueError, match="1 to 12 subsets"):
        OrderedSubsets.of(likelihood, 13)
    with pytest.raises(ValueError, match="negative pixels"):
        next(osem_steps(likelihood, start=-activity()))
    with pytest.raises(ValueError, match="epsilon"):
        RelativeDifference(0.0)
    with pytest.raises(ValueError, match="penalty weights"):
        next(relative_difference_steps(likelihood, RelativeDifference(0.1), weight=-1.0))
    with pytest.raises(ValueError, match="relaxation"):
        next(relative_difference_steps(likelihood, RelativeDifference(0.1), weight=1.0, relaxation=-1.0))


@pytest.mark.parametrize("offsets", [IN_PLANE, ALONG_Z, IN_VOLUME], ids=["plane", "z", "volume"])
@pytest.mark.parametrize("kappa", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_derivatives_of_the_relative_difference_prior(offsets, kappa, gamma) -> None:
    x = torch.rand(3, 4, 5, generator=seeded(3), dtype=torch.float64)
    x[0, 1, 2] = 0.0
    weights = torch.rand(3, 4, 5, generator=seeded(4), dtype=torch.float64) if kappa else None
    prior = RelativeDifference(0.05, gamma, offsets, weights)

    def total(image: torch.Tensor) -> torch.Tensor:
        return prior.value(image).sum()

    image = x.clone().requires_grad_()
    assert torch.allclose(torch.autograd.grad(total(image), image)[0], prior.gradient(x))
    hessian = torch.autograd.functional.hessian(total, x).reshape(60, 60)
    assert torch.allclose(hessian.diagonal().reshape(3, 4, 5), prior.curvature(x))
    assert torch.linalg.eigvalsh(hessian).min() > -1e-8  # convex


def test_pairs_count_once_and_scale_with_the_image() -> None:
    x = torch.tensor([[[1.0, 3.0]]], dtype=torch.float64)
    assert RelativeDifference(0.5).value(x).item() == pytest.approx(4 / (4 + 2 * 2 + 0.5))
    assert RelativeDifference(5.0).value(10 * x).item() == pytest.approx(10 * 4 / (4 + 2 * 2 + 0.5))


@pytest.mark.parametrize("weight", [0.3, 5.0])
def test_bsrem_falls_to_the_minimum_of_the_penalised_likelihood(weight) -> None:
    likelihood, prior = scan(), RelativeDifference(0.2)
    steps = list(relative_difference_steps(likelihood, prior, weight=weight, subsets=4, iterations=150))
    misfits = torch.stack([penalised_misfit(likelihood, prior, weight, x) for x in steps])
    assert (misfits[20:].diff(dim=0) <= 1e-9).all()
    x = steps[-1]
    slope = likelihood.gradient(x) + weight * prior.gradient(x)
    scale = sensitivity(likelihood).mean()
    assert slope[x > 0.1].abs().max() < 0.02 * scale  # stationary where positive
    assert (slope[x <= 0.1] > -0.02 * scale).all()  # and rising where zero
    other = list(relative_difference_steps(likelihood, prior, weight=weight, subsets=1, iterations=400,
                                           relaxation=0.0, start=activity() + 1))[-1]
    assert (x - other).abs().max() < 0.02 * other.max()


def test_a_greater_weight_is_smoother_and_each_slice_has_its_own() -> None:
    likelihood, prior = scan(), RelativeDifference(0.2)
    both = list(relative_difference_steps(likelihood, prior, weight=torch.tensor([0.1, 20.0]), iterations=30))[-1]
    rough = prior.value(both)
    assert rough[1] < 0.5 * rough[0]
    one = PoissonEmission(likelihood.operator.of_images(slice(1, 2)), likelihood.data[1:], likelihood.background[1:])
    alone = list(relative_difference_steps(one, prior, weight=20.0, iterations=30))[-1]
    assert torch.allclose(alone[0], both[1])


def test_certainty_is_that_of_the_fisher_information() -> None:
    likelihood = scan()
    at = activity() + 1
    expected = []
    for number, matrix in enumerate(dense(likelihood.operator)):
        information = matrix.T @ (matrix / likelihood.mean(at)[number].flatten()[:, None])
        expected.append(information.sum(1).sqrt().reshape(ROWS, COLUMNS))
    expected = torch.stack(expected)
    mean = (expected * at).sum((1, 2), keepdim=True) / at.sum((1, 2), keepdim=True)
    assert torch.allclose(certainty(likelihood, at), expected / mean)
    assert torch.isfinite(certainty(likelihood, torch.zeros_like(at))).all()
