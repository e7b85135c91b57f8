"""The split of draws into what the measurement determines and the rest, against closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.posterior.split import SplitMoments, unseen_part


@pytest.fixture
def diagonal(dense: Callable) -> tuple[GaussianLikelihood, torch.Tensor]:
    """A measurement of each of 12 pixels with its own gain, some unseen, and the gains."""
    gains = torch.tensor([0.0, 0.0, 0.01, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 10.0, 30.0, 0.0], dtype=torch.float64)
    operator = dense((3, 4), (3, 4))
    operator = type(operator)(torch.diag(gains), (3, 4), (3, 4))
    return GaussianLikelihood(operator, torch.zeros(1, 3, 4, dtype=torch.float64), torch.tensor(0.09)), gains


def test_the_seen_part_of_a_diagonal_operator(diagonal: tuple) -> None:
    """Each pixel shows e / (e + 1 / p) of itself to the scanner, e = gain^2 / v."""
    likelihood, gains = diagonal
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = gains**2 / 0.09
    expected = x * (weight / (weight + 1 / 0.25)).reshape(3, 4)
    torch.testing.assert_close(x - unseen_part(x, likelihood, 0.25), expected, rtol=1e-5, atol=1e-5)


def test_the_variances_of_a_diagonal_operator(diagonal: tuple) -> None:
    likelihood, gains = diagonal
    draws = 5 + torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    split = SplitMoments(likelihood, 0.25)
    for draw in draws:
        split.add(draw)
    weight = gains**2 / 0.09
    keep = (weight / (weight + 4)).reshape(3, 4)
    std = draws.std(0)
    np.testing.assert_allclose(split.seen_std, keep * std, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(split.unseen_std, (1 - keep) * std, rtol=1e-4, atol=1e-5)
    share = (1 - keep) ** 2 / (keep**2 + (1 - keep) ** 2)
    np.testing.assert_allclose(split.unseen_share, share.expand(2, 3, 4), rtol=1e-3, atol=1e-5)


def test_the_seen_part_of_a_dense_operator(dense: Callable) -> None:
    operator = dense((4, 5), (3, 4), seed=3)
    variance = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.1
    likelihood = GaussianLikelihood(operator, torch.zeros(1, 3, 4, dtype=torch.float64), variance)
    x = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    curvature = operator.matrix.T @ (operator.matrix / variance.flatten()[:, None])
    expected = torch.linalg.solve(curvature + torch.eye(20, dtype=torch.float64) / 0.5, curvature @ x.flatten())
    torch.testing.assert_close((x - unseen_part(x, likelihood, 0.5)).flatten(), expected, rtol=1e-4, atol=1e-5)


def test_what_the_scanner_sees_well_is_seen_and_its_null_space_is_not(dense: Callable) -> None:
    operator = dense((4, 5), (3, 4), seed=6)
    likelihood = GaussianLikelihood(operator, torch.zeros(1, 3, 4, dtype=torch.float64), torch.tensor(1e-8))
    _, _, basis = torch.linalg.svd(operator.matrix)
    seen, unseen = basis[0].reshape(1, 4, 5), basis[-1].reshape(1, 4, 5)
    assert float(unseen_part(seen, likelihood, 1.0).abs().max()) < 1e-5
    torch.testing.assert_close(unseen_part(unseen, likelihood, 1.0), unseen, rtol=1e-5, atol=1e-5)


def test_equal_draws_decide_nothing(diagonal: tuple) -> None:
    likelihood, _ = diagonal
    split = SplitMoments(likelihood, 0.25)
    for _ in range(3):
        split.add(torch.ones(1, 3, 4, dtype=torch.float64))
    assert float(split.unseen_share.abs().max()) == 0
    with pytest.raises(ValueError, match="positive prior variance"):
        unseen_part(torch.ones(1, 3, 4, dtype=torch.float64), likelihood, 0.0)
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        split.add(torch.full((1, 3, 4), float("nan"), dtype=torch.float64))
