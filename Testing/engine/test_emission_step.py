"""Anchored EM and exact draws under Poisson counts."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_engine.classical.osem import mlem_steps, uniform_start
from diffusion_engine.likelihoods.emission_step import anchored_em, anchored_misfit, emission_draw
from diffusion_engine.likelihoods.ordered_subsets import OrderedSubsets
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.physics.pet import EmissionProjector
from diffusion_engine.sampling.noise import seeded
from emission_scans import activity, scan
from emission_scans import seeded as torch_seeded
from torch import Tensor


def anchor(likelihood: PoissonEmission) -> Tensor:
    shift = torch.randn(likelihood.data.shape[0], 12, 10, generator=torch_seeded(6), dtype=torch.float64)
    return activity(len(shift)) + 8 * shift  # also below 0


@pytest.mark.parametrize("precision", [1e-4, 0.01, 1.0])
@pytest.mark.parametrize("background", [0.0, 3.0])
def test_every_iteration_lowers_the_anchored_objective(precision, background) -> None:
    likelihood = scan(background=background)
    near, z = anchor(likelihood), uniform_start(likelihood)
    values = [anchored_misfit(likelihood, near, precision, z)]
    for _ in range(25):
        z = anchored_em(OrderedSubsets.of(likelihood, 1), near, precision, start=z, iterations=1)
        values.append(anchored_misfit(likelihood, near, precision, z))
    falls = torch.stack(values).diff(dim=0)
    assert (falls <= 1e-9).all()
    assert (falls[0] < 0).all()


def test_it_ends_where_the_gradient_does_or_at_zero() -> None:
    likelihood = scan()
    near, precision = anchor(likelihood), torch.tensor([0.02, 0.2], dtype=torch.float64).reshape(2, 1, 1)
    z = anchored_em(OrderedSubsets.of(likelihood, 1), near, precision, start=uniform_start(likelihood), iterations=3000)
    slope = likelihood.gradient(z) + precision * (z - near)
    assert (z >= 0).all()
    assert (z < 0.01).any()
    assert slope[z > 0.01].abs().max() < 1e-3
    assert slope[z <= 0.01].min() > -1e-3


def test_without_an_anchor_it_is_mlem_and_with_a_strong_one_the_anchor() -> None:
    likelihood = scan()
    near, start = anchor(likelihood), uniform_start(likelihood)
    *_, expected = mlem_steps(likelihood, iterations=4)
    assert torch.allclose(anchored_em(OrderedSubsets.of(likelihood, 1), near, 0.0, start=start, iterations=4), expected)
    tied = anchored_em(OrderedSubsets.of(likelihood, 1), near, 1e9, start=start, iterations=4)
    assert torch.allclose(tied, near.clamp_min(0), atol=1e-3)


def test_subsets_come_close_to_all_views_in_a_fraction_of_the_iterations() -> None:
    likelihood = scan(dead=False)
    near, start = anchor(likelihood), uniform_start(likelihood)
    best = anchored_em(OrderedSubsets.of(likelihood, 1), near, 0.05, start=start, iterations=500)
    by_four = anchored_em(OrderedSubsets.of(likelihood, 4), near, 0.05, start=start, iterations=3)
    by_one = anchored_em(OrderedSubsets.of(likelihood, 1), near, 0.05, start=start, iterations=3)
    assert (by_four - best).norm() < 0.5 * (by_one - best).norm()


def test_a_pixel_that_no_bin_sees_goes_to_the_anchor() -> None:
    likelihood = scan()
    own = likelihood.operator
    blind = EmissionProjector(own.lines, torch.zeros_like(own.factors), own.pixel_mm)
    nothing = PoissonEmission(blind, likelihood.data, likelihood.background)
    near, ordered = anchor(likelihood), OrderedSubsets.of(nothing, 1)
    assert torch.allclose(anchored_em(ordered, near, 0.1, start=activity() + 1, iterations=1), near.clamp_min(0))
    assert torch.equal(anchored_em(ordered, near, 0.0, start=activity(), iterations=1), activity())


class Matrix:
    """Images (batch, 1, n) to readings (batch, m, 1) by a matrix."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.in_shape, self.out_shape = (1, matrix.shape[1]), (matrix.shape[0], 1)

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 0, :] @ self.matrix.T.unsqueeze(0) if x.ndim == 2 else (x[..., 0, :] @ self.matrix.T)[..., None]

    def adjoint(self, y: Tensor) -> Tensor:
        return (y[..., 0] @ self.matrix)[..., None, :]


def quadrature(likelihood: PoissonEmission, near: Tensor, variance: float, points: int, low: float) -> Tensor:
    """Means, standard deviations and P(z_0 < 1) of the density, by the sum over a grid of its midpoints."""
    n = near.shape[-1]
    axis = low + (torch.arange(points, dtype=torch.float64) + 0.5) * (8.0 - low) / points
    z = torch.cartesian_prod(*[axis] * n)[:, None]
    one = PoissonEmission(likelihood.operator, likelihood.data[:1].expand(len(z), -1, -1), likelihood.background[:1])
    energy = one.misfit(z) + (z - near[:1]).square().flatten(1).sum(1) / (2 * variance)
    chance = torch.softmax(-energy, 0)
    mean = chance @ z[:, 0]
    deviation = (chance @ (z[:, 0] - mean) ** 2).sqrt()
    return torch.cat((mean, deviation, (chance * (z[:, 0, 0] < 1)).sum()[None]))


@pytest.mark.parametrize(("rows", "near", "counts", "points"), [
    ([[1.0, 0.5], [0.2, 1.5], [1.0, 1.0]], [1.5, -2.0], [2.0, 0.0, 5.0], 300),
    ([[1.0, 0.5, 0.0], [0.2, 1.5, 0.5], [1.0, 1.0, 1.0], [0.0, 0.1, 2.0]], [-0.5, 3.0, 1.0], [0.0, 6.0, 5.0, 1.0], 70),
    ([[9.0, 4.0], [3.0, 8.0]], [2.0, 2.0], [40.0, 12.0], 300),
])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_draws_have_the_moments_of_the_density(rows, near, counts, points, nonnegative) -> None:
    chains, variance = 200, 2.0
    operator = Matrix(torch.tensor(rows, dtype=torch.float64))
    data = torch.tensor(counts, dtype=torch.float64).reshape(1, -1, 1).expand(chains, -1, -1)
    likelihood = PoissonEmission(operator, data, torch.full_like(data, 0.3))
    centre = torch.tensor(near, dtype=torch.float64).reshape(1, 1, -1).expand(chains, -1, -1)
    noise, z, step, found, accepted = seeded(4), torch.ones_like(centre), None, [], []
    for n in range(45):
        draw = emission_draw(likelihood, centre, variance, start=z, noise=noise, step=step, moves=1, leaps=4,
                             adapt=n < 15, nonnegative=nonnegative)
        z, step = draw.image, draw.step
        assert not nonnegative or (z >= 0).all()
        if n >= 15:
            found.append(z[:, 0])
            accepted.append(draw.accepted.mean())
    values = torch.cat(found)
    expected = quadrature(likelihood, centre, variance, points, 0.0 if nonnegative else -6.0)
    moments = torch.cat((values.mean(0), values.std(0), (values[:, 0] < 1).double().mean()[None]))
    assert (moments - expected).abs().max() < 0.05 * max(1.0, math.sqrt(expected.max().item()))
    assert torch.stack(accepted).mean() > 0.6


def test_bad_anchors_are_refused() -> None:
    likelihood = scan()
    near = anchor(likelihood)
    with pytest.raises(ValueError, match="precision"):
        anchored_em(OrderedSubsets.of(likelihood, 1), near, -1.0, start=activity())
    with pytest.raises(ValueError, match="negative pixels"):
        anchored_em(OrderedSubsets.of(likelihood, 1), near, 1.0, start=near)
    with pytest.raises(ValueError, match="variance above 0"):
        emission_draw(likelihood, near, 0.0, start=activity(), noise=seeded(0))
