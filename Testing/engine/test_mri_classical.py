"""Classical reconstructions of multi-coil data on problems whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch
from diffusion_engine.classical.best_weight import best_weight, magnitude_nrmse
from diffusion_engine.classical.complex_tv import complex_tv_steps
from diffusion_engine.classical.denoise import Identity
from diffusion_engine.classical.sense import cg_sense_steps, eigenvalue_bound, zero_filled
from diffusion_engine.classical.tv import gradient, tv
from diffusion_engine.classical.wavelet import (
    forward_wavelets,
    inverse_wavelets,
    soft_wavelets,
    wavelet_levels,
    wavelet_steps,
)
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.mri import MultiCoilFourier
from diffusion_engine.physics.mri_masks import Sampling, sampling_mask
from mri_coils import head, ring_maps, scanned
from torch import Tensor

NOISE = 0.01


def last(steps: Iterator[Tensor]) -> Tensor:
    *_, found = steps
    return found


def scan(rows: int = 48, columns: int = 40, coils: int = 4, acceleration: float = 3.0) -> GaussianLikelihood:
    """A head before a ring of coils, seen in a part of the lines, a fifth of all in the middle."""
    mask = sampling_mask((rows, columns), Sampling("gaussian", acceleration, rows // 5), 1)[None]
    maps = ring_maps(coils, rows, columns)
    operator = MultiCoilFourier(maps, mask)
    level = torch.tensor(NOISE**2, dtype=torch.float64)
    data = scanned(head(rows, columns), maps, NOISE) * mask[:, None]
    return GaussianLikelihood(operator, data, operator.variance(level))


def whole(image: Tensor) -> GaussianLikelihood:
    """Everything measured without noise, with maps of sum 1: A'A = 1 and A' y is the image."""
    rows, columns = image.shape[-2:]
    operator = MultiCoilFourier(ring_maps(3, rows, columns), torch.ones(1, rows, columns, dtype=torch.bool))
    return GaussianLikelihood(operator, operator.forward(image), torch.tensor(2.0, dtype=torch.float64))


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def dense(likelihood: GaussianLikelihood) -> tuple[Tensor, Tensor]:
    """Whitened matrix and data of a likelihood of one image."""
    rows, columns = likelihood.operator.in_shape
    basis = torch.eye(rows * columns, dtype=torch.complex128).reshape(-1, rows, columns)
    whiten = likelihood.variance.rsqrt()
    return (likelihood.operator.forward(basis) * whiten).flatten(1).mT, (likelihood.data * whiten).flatten()


@pytest.mark.parametrize("shape", [(16, 16), (17, 22), (37, 41), (2, 3)])
def test_the_wavelet_transform_is_orthonormal(shape: tuple[int, int]) -> None:
    x = random(2, *shape)
    for levels in (1, wavelet_levels(*shape)):
        coarse, details = forward_wavelets(x, levels)
        torch.testing.assert_close(inverse_wavelets(coarse, details), x)
        parts = [coarse, *(band for bands in details for band in bands)]
        torch.testing.assert_close(sum(part.abs().square().sum() for part in parts), x.abs().square().sum())
        assert sum(part.numel() for part in parts) == x.numel()


def test_wavelets_of_two_vanishing_moments() -> None:
    """Details of a plane are 0 except where the period ends; those of a single pixel are the four taps."""
    y, x = torch.meshgrid(torch.arange(16.0).double(), torch.arange(16.0).double(), indexing="ij")
    _, (bands,) = forward_wavelets(3 + 2 * y - x, 1)
    assert all(float(band[:-1, :-1].abs().max()) < 1e-12 for band in bands)
    assert float(bands[0][0, -1].abs()) > 1
    pixel = torch.zeros(1, 16, dtype=torch.float64)
    pixel[0, 5] = 1
    coarse, (bands,) = forward_wavelets(pixel.expand(2, 16), 1)
    root = 3**0.5
    taps = torch.tensor([3 + root, 1 - root]).double() / (4 * 2**0.5) * 2**0.5
    torch.testing.assert_close(coarse[0, [2, 1]], taps)
    assert wavelet_levels(256, 256) == 4
    assert wavelet_levels(20, 300) == 1


def test_soft_thresholds_are_exact() -> None:
    """z = argmin |z - x|^2 / 2 + t |P z|_1: each detail keeps its phase and loses t, the coarse image stays."""
    x, threshold = random(1, 16, 18), torch.tensor(0.6, dtype=torch.float64)
    before, after = forward_wavelets(x, 2), forward_wavelets(soft_wavelets(x, threshold, 2), 2)
    torch.testing.assert_close(after[0], before[0])
    for old, new in zip(chain(*before[1]), chain(*after[1]), strict=True):
        torch.testing.assert_close(new.abs(), (old.abs() - 0.6).clamp_min(0))
        torch.testing.assert_close((new * old.conj()).imag, torch.zeros_like(old.real))


def test_cg_sense_reaches_the_least_squares_image() -> None:
    likelihood = scan(14, 12, 6, 1.5)
    likelihood = replace(likelihood, variance=likelihood.variance * torch.linspace(1, 3, 6).double()[:, None, None])
    matrix, data = dense(likelihood)
    expected = torch.linalg.lstsq(matrix, data).solution.reshape(1, 14, 12)
    found = list(cg_sense_steps(likelihood, iterations=400, tolerance=0.0))
    torch.testing.assert_close(found[-1], expected, rtol=0, atol=1e-6)
    misfits = [float(likelihood.misfit(x)) for x in found[:30]]
    assert all(later <= earlier for earlier, later in pairwise(misfits))


def test_cg_sense_has_a_best_stop() -> None:
    """With few data the error falls, then grows: the iterates are what is chosen among."""
    steps = cg_sense_steps(scan(acceleration=4.0), iterations=60, tolerance=0.0)
    errors = [magnitude_nrmse(x, head(48, 40)) for x in steps]
    best = errors.index(min(errors))
    assert 1 <= best < 30
    assert errors[-1] > 1.3 * errors[best]


def test_the_bound_of_the_eigenvalues() -> None:
    """Never below the largest one, whatever the weights; of scaled operators and of some lines too."""
    likelihood = scan(14, 12)
    uneven = replace(likelihood, variance=likelihood.variance * torch.linspace(1, 3, 4).double()[:, None, None])
    bound = float(eigenvalue_bound(likelihood.operator))
    true = [float(torch.linalg.matrix_norm(dense(some)[0] * NOISE, 2) ** 2) for some in (likelihood, uneven)]
    assert true[1] < true[0] <= bound <= 1.2 * true[0]
    assert float(eigenvalue_bound(likelihood.scaled(2.0, 0.0).operator)) == 4 * bound
    assert float(eigenvalue_bound(likelihood.subset(slice(2, 9)).operator)) == bound
    brighter = replace(likelihood.operator, maps=torch.cat([likelihood.operator.maps, 3 * likelihood.operator.maps]))
    torch.testing.assert_close(eigenvalue_bound(brighter).flatten(), torch.tensor([1.0, 9.0]).double() * bound)
    with pytest.raises(ValueError, match="bound of its norm, found Identity"):
        eigenvalue_bound(Identity((2, 2)))


def test_wavelets_without_shifts_reach_their_minimum() -> None:
    """Where all is measured it is the soft threshold of the image; else no small change lowers the sum."""
    image = head(32, 32)
    found = last(wavelet_steps(whole(image), weight=0.05, iterations=60, shifted=False))
    expected = soft_wavelets(image, 0.05 * image.abs().amax(), 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    likelihood = scan(32, 32)
    weight = 0.01 * zero_filled(likelihood).abs().amax()

    def cost(x: Tensor) -> Tensor:
        (bands,) = forward_wavelets(x, 1)[1]
        return likelihood.misfit(x)[0] * NOISE**2 + weight * sum(band.abs().sum() for band in bands)

    found = last(wavelet_steps(likelihood, weight=0.01, iterations=2000, shifted=False))
    least = float(cost(found))
    for seed in range(8):
        away = random(1, 32, 32, seed=seed) if seed % 2 else head(32, 32).roll(seed, 1)
        assert float(cost(found + 1e-4 * away)) > least * (1 - 1e-9)
        assert float(cost(found - 1e-4 * away)) > least * (1 - 1e-9)


def test_total_variation_of_one_phase_is_that_of_the_magnitude() -> None:
    """Where all is measured and the phase is constant: the image that the real algorithm finds, turned by the phase."""
    real = head(16, 14).abs() + 0.05 * random(1, 16, 14).real
    phase = torch.polar(torch.tensor(1.0).double(), torch.tensor(0.8).double())
    weight = 0.05 * real.abs().amax()
    found = last(complex_tv_steps(whole(real * phase), weight=0.05, iterations=1500, pace=1.0))
    likelihood = GaussianLikelihood(Identity((16, 14)), real, torch.tensor(1.0, dtype=torch.float64))
    expected = tv(likelihood, weight=weight[None], iterations=3000, nonnegative=False, pace=0.3)
    torch.testing.assert_close(found * phase.conj(), expected.to(found.dtype), rtol=0, atol=1e-3)


def test_total_variation_reaches_its_minimum() -> None:
    likelihood = scan(24, 20)
    weight = 0.01 * zero_filled(likelihood).abs().amax()

    def cost(x: Tensor) -> Tensor:
        total = gradient(x).abs().square().sum(-3).sqrt().sum()
        return likelihood.misfit(x)[0] * NOISE**2 + weight * total

    found = last(complex_tv_steps(likelihood, weight=0.01, iterations=4000))
    least = float(cost(found))
    for seed in range(8):
        away = random(1, 24, 20, seed=seed) if seed % 2 else head(24, 20).roll(seed, 1)
        assert float(cost(found + 1e-3 * away)) > least * (1 - 1e-8)
        assert float(cost(found - 1e-3 * away)) > least * (1 - 1e-8)


STEPS = (
    lambda likelihood: wavelet_steps(likelihood, weight=0.01, iterations=60),
    lambda likelihood: complex_tv_steps(likelihood, weight=0.01, iterations=60),
    lambda likelihood: cg_sense_steps(likelihood, iterations=8),
)


@pytest.mark.parametrize("steps", STEPS, ids=["wavelet", "tv", "cg"])
def test_units_and_neighbours_change_nothing(steps: Callable[[GaussianLikelihood], Iterator[Tensor]]) -> None:
    """Data a million times smaller give that image; so does another noise level, and each image of a batch alone."""
    likelihood = scan()
    found = last(steps(likelihood))
    tiny = replace(likelihood, data=likelihood.data * 1e-6, variance=likelihood.variance * 1e-9)
    torch.testing.assert_close(last(steps(tiny)) * 1e6, found)
    both = replace(likelihood, data=torch.cat([3 * likelihood.data.flip(1), likelihood.data, 0 * likelihood.data]))
    batch = last(steps(both))
    torch.testing.assert_close(batch[1:2], found)
    assert not bool(batch[2].any())
    factor = torch.tensor([1.0, 1e-4, 1e3], dtype=torch.float64).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(last(steps(replace(both, variance=both.variance * factor))), batch)
    silent = torch.ones(4, 1, 1, dtype=torch.float64)
    silent[2] = torch.inf
    changed = replace(likelihood, variance=likelihood.variance * silent)
    other = replace(changed, data=changed.data * torch.where(torch.isfinite(silent), 1.0, 50.0))
    torch.testing.assert_close(last(steps(other)), last(steps(changed)))


def test_a_weight_of_each_image() -> None:
    likelihood = scan()
    both = replace(likelihood, data=likelihood.data.repeat(2, 1, 1, 1))
    for steps in (wavelet_steps, complex_tv_steps):
        found = last(steps(both, weight=torch.tensor([0.002, 0.02]), iterations=40))
        torch.testing.assert_close(found[:1], last(steps(likelihood, weight=0.002, iterations=40)))
        torch.testing.assert_close(found[1:], last(steps(likelihood, weight=0.02, iterations=40)))


def test_sparsity_beats_least_squares_and_zeros() -> None:
    likelihood, truth = scan(), head(48, 40)
    zeros = magnitude_nrmse(zero_filled(likelihood), truth)
    least = min(magnitude_nrmse(x, truth) for x in cg_sense_steps(likelihood, iterations=30))
    wavelet = magnitude_nrmse(last(wavelet_steps(likelihood, weight=0.002, iterations=80)), truth)
    total = magnitude_nrmse(last(complex_tv_steps(likelihood, weight=0.002, iterations=200)), truth)
    assert least < 0.9 * zeros
    assert wavelet < 0.8 * least
    assert total < 0.8 * least


def test_the_best_weight_of_a_known_curve() -> None:
    """Images whose error is 0 at one weight; and at an end of the range."""
    reference = torch.ones(1, 4, 4, dtype=torch.complex128)
    for true in (0.0007, 0.004, 0.03):
        found = best_weight(lambda w, true=true: reference * (1 + abs(math.log(w / true))), reference, refinements=8)
        assert found.weight == pytest.approx(true, rel=0.06)
        assert found.error == magnitude_nrmse(found.image, reference) == min(error for _, error in found.tried)
        assert len(found.tried) == 5 + 9
    assert best_weight(lambda w: reference * (1 + w), reference).weight == pytest.approx(0.0005)
    assert best_weight(lambda w: reference * (2 - w), reference).weight == pytest.approx(0.05)
    with pytest.raises(ValueError, match="0 < low < high"):
        best_weight(lambda w: reference, reference, 0.1, 0.01)
