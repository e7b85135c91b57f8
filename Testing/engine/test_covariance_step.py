"""The data step with the whole covariance: against dense solutions, and what DDS makes of the network's Jacobian."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusion_engine.coupling.ztv import couple_z
from diffusion_engine.denoiser import mirrored_positions
from diffusion_engine.likelihoods.conditional import SolveSettings
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.contract import linearise
from diffusion_engine.solvers.dds import DDSSettings, corrected, dds
from diffusion_engine.solvers.local_variance import LocalVariance
from torch import Tensor

SIZE, BATCH, NOISE = 8, 3, 0.1
FREQUENCY = torch.fft.fftfreq(SIZE, dtype=torch.float64) * SIZE
SPECTRUM = 4.0 / (1.0 + FREQUENCY[:, None] ** 2 + FREQUENCY**2) ** 1.5
PRIOR = GaussianDenoiser(torch.zeros(SIZE, SIZE, dtype=torch.float64), SPECTRUM)


def images(seed: int, dtype: torch.dtype = torch.float64, batch: int = BATCH) -> Tensor:
    return torch.randn(batch, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth(seed: int, batch: int = BATCH) -> Tensor:
    """Draws of the prior."""
    return torch.fft.ifft2(SPECTRUM.sqrt() * torch.fft.fft2(images(seed, batch=batch))).real


def scan(dense, truth: Tensor) -> GaussianLikelihood:
    operator = dense((SIZE, SIZE), (4, 6), dtype=truth.dtype)
    data = operator.forward(truth)
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(9), dtype=data.dtype)
    return GaussianLikelihood(operator, data + NOISE * noise, torch.tensor(NOISE**2, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_conditional_mean_is_the_dense_solution(dense, dtype: torch.dtype) -> None:
    """Each image of the batch with a covariance of its own, the preconditioner knowing its diagonal alone."""
    likelihood, x, pixels = scan(dense, images(1, dtype)), images(2, dtype), SIZE * SIZE
    root = torch.randn(BATCH, pixels, pixels, generator=torch.Generator().manual_seed(3), dtype=dtype) / SIZE
    matrices = root @ root.mH
    diagonal = matrices.diagonal(dim1=-2, dim2=-1).real.reshape(x.shape)

    def covariance(v: Tensor) -> Tensor:
        return (matrices @ v.flatten(1)[..., None])[..., 0].reshape(v.shape)

    found = likelihood.conditional_mean(x, covariance, lambda v: diagonal * v, SolveSettings(40, 1e-12, 60, 1e-10))
    a = likelihood.operator.matrix.to(dtype)
    system = a @ matrices @ a.mH + NOISE**2 * torch.eye(len(a), dtype=dtype)
    right = likelihood.data.flatten(1) - x.flatten(1) @ a.T
    exact = x.flatten(1) + (matrices @ a.mH @ torch.linalg.solve(system, right[..., None]))[..., 0]
    torch.testing.assert_close(found.flatten(1), exact, rtol=0, atol=1e-7)


def test_no_more_products_than_asked_for(dense) -> None:
    likelihood, calls = scan(dense, images(1)), []

    def covariance(v: Tensor) -> Tensor:
        calls.append(v.shape)
        return 0.5 * v

    likelihood.conditional_mean(images(2), covariance, lambda v: 0.1 * v, SolveSettings(3, 1e-12, 2, 0.5))
    assert len(calls) == 3
    calls.clear()
    # An approximation that is the covariance itself needs one.
    likelihood.conditional_mean(images(2), covariance, lambda v: 0.5 * v, SolveSettings(3, 1e-3, 60, 1e-6))
    assert len(calls) == 1


def test_a_step_of_dds_with_products_is_the_exact_posterior_mean(dense) -> None:
    """For a Gaussian prior and c = 1: E[clean | x, y], which a variance for each pixel is far from."""
    sigma, truth = 0.5, smooth(4)
    likelihood, x = scan(dense, truth), truth + 0.5 * images(5)
    settings = DDSSettings(mirrored=False, cg_iterations=60, cg_tolerance=1e-9, broad_std=0.0, prior_variance=1.0)
    eye = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    prior = torch.fft.ifft2(SPECTRUM * torch.fft.fft2(eye)).real.flatten(1)
    a = likelihood.operator.matrix
    precision = torch.linalg.inv(prior) + a.T @ a / NOISE**2 + torch.eye(SIZE * SIZE) / sigma**2
    exact = torch.linalg.solve(precision, (x.flatten(1) / sigma**2 + likelihood.data.flatten(1) @ a / NOISE**2).T).T

    def away(products: int) -> float:
        one = replace(settings, products=products)
        _, clean = corrected(PRIOR, likelihood, x, sigma, 0, one, LocalVariance())
        return float((clean.flatten(1) - exact).norm() / exact.norm())

    assert away(40) < 1e-6
    assert away(3) < 0.5 * away(1)
    assert away(3) < 0.2 * away(0)


def test_a_reversed_call_has_the_reversed_jacobian() -> None:
    x, v = images(6), images(7)

    def lopsided(z: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        return z.cumsum(-1).square() * condition[:1]

    place = torch.arange(2.0 * SIZE * SIZE, dtype=torch.float64).reshape(2, SIZE, SIZE)
    estimate, product = linearise(lopsided, x, 0.3, place, mirrored=True)
    leaf = x.clone().requires_grad_()
    turned = lopsided(leaf.flip(-1)[:, None], torch.tensor(0.3), mirrored_positions(place)).flip(-1)[:, 0]
    assert torch.equal(estimate, turned)
    assert torch.equal(product(v), torch.autograd.grad(turned, leaf, v)[0])


def test_few_steps_with_products_are_nearer_the_truth(dense) -> None:
    """20 readings of 64 pixels of smooth images: the covariance says where else a correction belongs."""
    # The draws of single images differ by more than the two ways do.
    truth = smooth(8, 60)
    likelihood = scan(dense, truth)
    errors = {}
    for products, steps in ((0, 40), (3, 10)):
        settings = DDSSettings(steps=steps, sigma_start=1.0, products=products, cg_iterations=30)
        *_, last = dds(PRIOR, likelihood, torch.zeros_like(truth), settings, seeded(2))
        errors[products] = float((last.estimate - truth).norm())
    assert errors[3] < errors[0]


def test_total_variation_along_z_cannot_be_held(dense) -> None:
    truth = smooth(8)
    likelihood, settings = scan(dense, truth), DDSSettings(steps=2, products=1)
    with pytest.raises(ValueError, match=r"cannot hold z-TV.*choose products 0"):
        list(dds(PRIOR, couple_z(likelihood, 1.0), torch.zeros_like(truth), settings, seeded(2)))
    *_, free = dds(PRIOR, couple_z(likelihood, 0.0), torch.zeros_like(truth), settings, seeded(2))
    *_, plain = dds(PRIOR, likelihood, torch.zeros_like(truth), settings, seeded(2))
    assert torch.equal(free.estimate, plain.estimate)


def test_a_run_with_products() -> None:
    """Closer to the object than without them, and said in the report."""
    asked = {"methods": ["diffusion"], "views": 12, "steps": 8, "draws": 1, "slices": [0, 1], "pixel_mm": 12.0}
    scanned, errors = synthetic_chest((1, 40, 48), (10.0, 8.0, 8.0))[0], {}
    for products in (0, 2):
        found = reconstruct(scanned, asked, solver_options={"products": products})
        assert found.report["settings"]["solver_options"] == {"products": products}
        errors[products] = float(abs(found.volumes["mean"].array - found.volumes["reference"].array).mean())
    assert errors[2] < errors[0]
