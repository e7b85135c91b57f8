"""Guidance, spectral and variational solvers on a Gaussian prior, where the posterior is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.likelihoods.poisson import PoissonEmission, PoissonTransmission
from diffusion_engine.physics.operator import SpectralOperator
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.grids import poly_grid
from diffusion_engine.sampling.noise import Noise, seeded
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.ddnm import DDNMSettings, ddnm, missing_noise
from diffusion_engine.solvers.ddrm import DDRMSettings, ddrm
from diffusion_engine.solvers.diffpir import DiffPIRSettings, diffpir
from diffusion_engine.solvers.dps import DPSSettings, dps
from diffusion_engine.solvers.pigdm import PiGDMSettings, correction, pigdm
from diffusion_engine.solvers.red_diff import REDDiffSettings, red_diff
from torch import Tensor

SIZE = 8
NOISE = 0.05
ACCURATE = {"cg_iterations": 30, "cg_tolerance": 1e-8}
SOLVERS: dict[str, tuple[Callable[..., Any], Any]] = {
    "dps": (dps, DPSSettings(steps=60, sigma_start=1.0, zeta=100.0)),
    "pigdm": (pigdm, PiGDMSettings(steps=12, sigma_start=1.0, **ACCURATE)),
    "ddnm": (ddnm, DDNMSettings(steps=20, sigma_start=1.0, **ACCURATE)),
    "ddrm": (ddrm, DDRMSettings(steps=20)),
    "diffpir": (diffpir, DiffPIRSettings(steps=20, sigma_start=1.0, **ACCURATE)),
    "red_diff": (red_diff, REDDiffSettings(sigma_start=1.0)),
}


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Blur:
    """y = the coefficients of x in a random orthonormal basis, times given values; zeros are left out of the data."""

    basis: Tensor
    singular_values: Tensor

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (SIZE, SIZE)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (int((self.singular_values > 0).sum()) // SIZE, SIZE)

    def to_spectral(self, x: Tensor) -> Tensor:
        return (x.flatten(-2) @ self.basis).unflatten(-1, self.in_shape)

    def from_spectral(self, c: Tensor) -> Tensor:
        return (c.flatten(-2) @ self.basis.T).unflatten(-1, self.in_shape)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.singular_values > 0
        return (self.to_spectral(x)[..., kept] * self.singular_values[kept]).unflatten(-1, self.out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.from_spectral(self._spread(y, self.singular_values))

    def data_to_spectral(self, y: Tensor) -> Tensor:
        return self._spread(y, 1 / self.singular_values)

    def _spread(self, y: Tensor, factor: Tensor) -> Tensor:
        kept = self.singular_values > 0
        c = y.new_zeros((*y.shape[:-2], *self.in_shape))
        c[..., kept] = y.flatten(-2) * factor[kept]
        return c


@pytest.fixture
def blur() -> Blur:
    values = torch.linspace(2.0, 0.01, SIZE * SIZE, dtype=torch.float64)
    values[40:] = 0
    values[36:40] = 0.01
    return Blur(torch.linalg.qr(random(SIZE * SIZE, SIZE * SIZE, seed=9))[0], values.reshape(SIZE, SIZE))


@dataclass(frozen=True, eq=False)
class Setting:
    """A prior, data of several images, the exact posterior mean and the root mean square of its deviation."""

    prior: GaussianDenoiser
    likelihood: GaussianLikelihood
    mean: Tensor
    spread: float


def problem(operator: Any, matrix: Tensor) -> Setting:
    """A smooth Gaussian prior of standard deviation about 0.5 and 40 readings of 64 pixels."""
    frequency = torch.fft.fftfreq(SIZE, dtype=torch.float64)
    spectrum = 1 / (0.02 + frequency[:, None] ** 2 + frequency**2)
    prior = GaussianDenoiser(torch.zeros(SIZE, SIZE, dtype=torch.float64), 0.25 * spectrum / spectrum.mean())
    truth = torch.fft.ifft2(prior.spectrum.sqrt() * torch.fft.fft2(random(6, SIZE, SIZE))).real
    data = operator.forward(truth) + NOISE * random(6, *operator.out_shape, seed=3)
    eye = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    covariance = torch.fft.ifft2(prior.spectrum * torch.fft.fft2(eye)).real.flatten(1)
    inner = matrix @ covariance @ matrix.T + NOISE**2 * torch.eye(len(matrix), dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(inner)
    spread = (covariance - gain @ matrix @ covariance).diagonal().mean().sqrt()
    variance = torch.tensor(NOISE**2, dtype=torch.float64)
    exact = (data.flatten(1) @ gain.T).reshape(truth.shape)
    return Setting(prior, GaussianLikelihood(operator, data, variance), exact, float(spread))


@pytest.fixture
def setting(dense) -> Setting:
    operator = dense((SIZE, SIZE), (5, 8))
    return problem(operator, operator.matrix)


def setting_of(name: str, setting: Setting, blur: Blur) -> Setting:
    """The dense problem, for DDRM the spectral one."""
    if name != "ddrm":
        return setting
    eye = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    return problem(blur, blur.forward(eye).flatten(1).T)


def last(name: str, where: Setting, seed: int, copies: int = 1, **changes: Any) -> Tensor:
    """The result (copies, images, rows, columns) of a solver started from zero."""
    solve, settings = SOLVERS[name]
    settings = replace(settings, **changes)
    likelihood = replace(where.likelihood, data=where.likelihood.data.repeat(copies, 1, 1))
    start = torch.zeros_like(where.mean).repeat(copies, 1, 1)
    steps = list(solve(where.prior, likelihood, start, settings, seeded(seed)))
    assert [s.index for s in steps] == list(range(1, settings.steps + 1))
    assert all(s.total == settings.steps for s in steps)
    assert steps[0].sigma == pytest.approx(settings.sigma_start)
    assert steps[-1].sigma == pytest.approx(settings.sigma_end)
    return steps[-1].estimate.unflatten(0, (copies, -1))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_seed_is_a_result(name: str, setting: Setting, blur: Blur) -> None:
    where = setting_of(name, setting, blur)
    first = last(name, where, 5)
    assert torch.equal(first, last(name, where, 5))
    assert not torch.equal(first, last(name, where, 6))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_mean_of_draws_comes_near_the_exact_posterior_mean(name: str, setting: Setting, blur: Blur) -> None:
    where = setting_of(name, setting, blur)
    draws = last(name, where, 0, copies=16)
    start = torch.zeros_like(where.mean)
    before = where.likelihood.residual_ratio(start)
    after = where.likelihood.residual_ratio(draws[0])
    assert bool((after < 0.05 * before).all()), (after, before)
    away = float((draws.mean(0) - where.mean).square().mean().sqrt())
    assert away < 0.4 * float(where.mean.square().mean().sqrt())
    assert away < 0.7 * where.spread
    # No method is wider than the posterior; what is narrower is labelled so.
    assert float(draws.std(0).square().mean().sqrt()) < 1.1 * where.spread


@pytest.mark.parametrize("name", SOLVERS)
def test_a_prior_that_breaks_down_raises(name: str, setting: Setting, blur: Blur) -> None:
    where = setting_of(name, setting, blur)

    def broken(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x * float("nan") if float(sigma) < 0.5 else where.prior(x, sigma)

    with pytest.raises(FloatingPointError, match="not finite at noise level"):
        last(name, replace(where, prior=broken), 0)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_prior_is_given_its_condition(name: str, setting: Setting, blur: Blur) -> None:
    where, seen = setting_of(name, setting, blur), []
    marker = torch.ones(2, SIZE, SIZE)

    def watching(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        seen.append((x.shape, condition))
        return where.prior(x, sigma)

    solve, settings = SOLVERS[name]
    list(solve(watching, where.likelihood, torch.zeros_like(where.mean), replace(settings, steps=2), seeded(0), marker))
    assert len(seen) == 2
    assert all(shape == (6, 1, SIZE, SIZE) and condition is marker for shape, condition in seen)


@pytest.mark.parametrize("name", SOLVERS)
def test_no_spread_is_called_posterior(name: str) -> None:
    solve, settings = SOLVERS[name]
    method = METHODS[name]
    assert method.solve is solve
    assert method.settings is type(settings)
    assert method.spread == ("point" if name == "red_diff" else "concentrated")


def test_pigdm_correction_is_the_dense_solve(dense) -> None:
    operator, x = dense((4, 3), (3, 5)), random(2, 4, 3, seed=2)
    variance = 0.2 + torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    likelihood = GaussianLikelihood(operator, random(2, 3, 5), variance)
    found = correction(likelihood, x, 0.3, 60, 1e-12)
    residual = (likelihood.data - operator.forward(x)).flatten(1)
    for n in range(2):
        inner = 0.3 * operator.matrix @ operator.matrix.T + variance[n].flatten().diag()
        expected = 0.3 * operator.matrix.T @ torch.linalg.solve(inner, residual[n])
        torch.testing.assert_close(found[n].flatten(), expected, rtol=1e-8, atol=1e-8)


def test_pigdm_step_is_the_exact_posterior_mean_for_a_white_prior(dense) -> None:
    """With white clean images of variance d^2, x0' is E[clean | x, y]: dense algebra as the witness."""
    operator, d, sigma = dense((4, 3), (3, 5)), 0.5, 0.8
    prior = GaussianDenoiser(torch.zeros(4, 3, dtype=torch.float64), torch.full((4, 3), d**2, dtype=torch.float64))
    likelihood = GaussianLikelihood(operator, random(2, 3, 5), torch.tensor(0.04, dtype=torch.float64))
    start = random(2, 4, 3, seed=2)
    settings = PiGDMSettings(steps=2, sigma_start=sigma, sigma_data=d, cg_iterations=60, cg_tolerance=1e-12)
    found = next(pigdm(prior, likelihood, start, settings, seeded(0))).estimate
    x = start + sigma * seeded(0).normal(start)
    matrix = operator.matrix
    precision = (1 / d**2 + 1 / sigma**2) * torch.eye(12, dtype=torch.float64) + matrix.T @ matrix / 0.04
    right = x.flatten(1) / sigma**2 + likelihood.data.flatten(1) @ matrix / 0.04
    torch.testing.assert_close(found.flatten(1), torch.linalg.solve(precision, right.T).T, rtol=1e-6, atol=1e-7)


def test_diffpir_weighs_prior_and_data_as_published(dense) -> None:
    """x0' solves (A'A + rho I) z = A'y + rho x0 with rho = lambda sigma_n^2 / sigma^2: dense algebra as the witness."""
    operator, sigma, weight = dense((4, 3), (3, 5)), 0.8, 3.0
    prior = GaussianDenoiser(torch.zeros(4, 3, dtype=torch.float64), torch.full((4, 3), 0.25, dtype=torch.float64))
    likelihood = GaussianLikelihood(operator, random(2, 3, 5), torch.tensor(0.04, dtype=torch.float64))
    start = random(2, 4, 3, seed=2)
    settings = DiffPIRSettings(steps=2, sigma_start=sigma, weight=weight, cg_iterations=60, cg_tolerance=1e-12)
    found = next(diffpir(prior, likelihood, start, settings, seeded(0))).estimate
    denoised = 0.25 / (0.25 + sigma**2) * (start + sigma * seeded(0).normal(start)).flatten(1)
    rho, matrix = weight * 0.04 / sigma**2, operator.matrix
    system = matrix.T @ matrix + rho * torch.eye(12, dtype=torch.float64)
    right = likelihood.data.flatten(1) @ matrix + rho * denoised
    torch.testing.assert_close(found.flatten(1), torch.linalg.solve(system, right.T).T, rtol=1e-6, atol=1e-7)


def test_red_diff_first_moves_against_the_slope_of_its_loss(dense) -> None:
    """Adam's first step has its full length in every pixel, against the sign of the loss's derivative by autograd."""
    operator, sigma, weight, gain = dense((4, 3), (3, 5)), 0.8, 0.7, 0.25 / (0.25 + 0.8**2)
    prior = GaussianDenoiser(torch.zeros(4, 3, dtype=torch.float64), torch.full((4, 3), 0.25, dtype=torch.float64))
    likelihood = GaussianLikelihood(operator, random(2, 3, 5), torch.tensor(0.04, dtype=torch.float64))
    start = random(2, 4, 3, seed=2)
    settings = REDDiffSettings(steps=2, sigma_start=sigma, weight=weight, step_length=0.01)
    found = next(red_diff(prior, likelihood, start, settings, seeded(0))).estimate
    mu, z = start.clone().requires_grad_(), seeded(0).normal(start)
    x = mu.detach() + sigma * z
    away = (x - gain * x) / sigma - z
    largest = torch.linalg.eigvalsh(operator.matrix.T @ operator.matrix / 0.04)[-1]
    loss = likelihood.misfit(mu).sum() / largest + weight * sigma * (away * mu).sum()
    slope = torch.autograd.grad(loss, mu)[0]
    # Where the two terms nearly cancel, the sign hangs on the few per cent by which power iteration misses L.
    clear = slope.abs() > 0.1 * slope.abs().mean()
    torch.testing.assert_close(found[clear], (start - 0.01 * slope.sign())[clear])


def test_ddnm_noise_completes_what_the_data_bring(dense) -> None:
    """Cov n + Cov(L A^+ y | clean) = t^2 I, for the sample covariance of many draws."""
    operator, level, count = dense((3, 3), (2, 3)), 0.3, 40_000
    variance = 0.05 + torch.rand(2, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    likelihood = GaussianLikelihood(operator, torch.zeros(1, 2, 3, dtype=torch.float64), variance)
    like = torch.zeros(count, 3, 3, dtype=torch.float64)
    fresh = missing_noise(likelihood, like, level, seeded(0), 40, 1e-10).flatten(1)
    hessian = operator.matrix.T @ (operator.matrix / variance.flatten()[:, None])
    damped = torch.linalg.inv(hessian + torch.eye(9, dtype=torch.float64) / level**2)
    total = fresh.T @ fresh / count + damped @ hessian @ damped
    assert float((total / level**2 - torch.eye(9, dtype=torch.float64)).abs().max()) < 5 * (2 / count) ** 0.5


def test_ddnm_follows_exact_data_where_they_measure(setting: Setting) -> None:
    """Nearly noise-free readings are reproduced at every step but the last, which is the denoiser's."""
    exact = replace(setting.likelihood, variance=torch.tensor(1e-12, dtype=torch.float64))
    settings = DDNMSettings(steps=6, sigma_start=1.0, cg_iterations=200, cg_tolerance=1e-14)
    steps = list(ddnm(setting.prior, exact, torch.zeros_like(setting.mean), settings, seeded(0)))
    for step in steps[:-1]:
        torch.testing.assert_close(exact.operator.forward(step.estimate), exact.data, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="expected eta above 0"):
        next(ddnm(setting.prior, exact, setting.mean, replace(settings, eta=0.0), seeded(0)))


class Silence(Noise):
    """No noise at all: what remains is the mean of a linear chain."""

    def normal(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)


@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.5, 0.7), (0.0, 1.0)])
def test_ddrm_on_a_diagonal_operator_is_its_closed_form(eta: float, eta_b: float) -> None:
    """White prior, identity basis: mean and variance of every coefficient follow a scalar recursion."""
    values = torch.tensor([0.0, 0.001, 0.1, 0.3, 1.0, 4.0, 0.0, 0.03], dtype=torch.float64).repeat(SIZE, 1)
    operator = Blur(torch.eye(SIZE * SIZE, dtype=torch.float64), values)
    assert isinstance(operator, SpectralOperator)
    prior_variance, count = 0.25, 4000
    prior = GaussianDenoiser(
        torch.zeros(SIZE, SIZE, dtype=torch.float64), torch.full((SIZE, SIZE), prior_variance, dtype=torch.float64)
    )
    data = random(1, *operator.out_shape, seed=4)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(NOISE**2, dtype=torch.float64))
    settings = DDRMSettings(steps=15, eta=eta, eta_b=eta_b)
    start = 0.3 * random(1, SIZE, SIZE, seed=5)
    levels = poly_grid(1.0, 0.01, 15).tolist()
    d, seen = operator.data_to_spectral(data)[0], values > 0
    s = torch.where(seen, NOISE / values.clamp_min(1e-9), torch.inf)
    clean = s <= levels[0]
    mean = torch.where(clean, d, start[0])
    variance = torch.where(clean, levels[0] ** 2 - s**2, levels[0] ** 2)
    for sigma, following in itertools.pairwise(levels[:-1]):
        gain = prior_variance / (prior_variance + sigma**2)
        keep = following * (1 - eta**2) ** 0.5
        by_state = gain + keep * (1 - gain) / sigma
        by_hint = gain * (1 - keep / s)
        factor = torch.where(seen, torch.where(s <= following, (1 - eta_b) * gain, by_hint), by_state)
        added = torch.where(seen, torch.where(s <= following, eta_b * d, keep * d / s), 0.0)
        fresh = torch.where(seen & (s <= following), following**2 - (eta_b * s) ** 2, (eta * following) ** 2)
        mean, variance = factor * mean + added, factor**2 * variance + fresh
    gain = prior_variance / (prior_variance + levels[-2] ** 2)
    found = list(ddrm(prior, likelihood, start, settings, Silence(0)))[-1].estimate
    torch.testing.assert_close(found[0], gain * mean)
    many = replace(likelihood, data=data.repeat(count, 1, 1))
    draws = list(ddrm(prior, many, start.repeat(count, 1, 1), settings, seeded(1)))[-1].estimate
    ratio = draws.var(0) / (gain**2 * variance)
    assert float((ratio - 1).abs().max()) < 5 * (2 / count) ** 0.5


def test_ddrm_in_other_units_is_the_same(setting: Setting, blur: Blur) -> None:
    where = setting_of("ddrm", setting, blur)
    half = GaussianLikelihood(blur, where.likelihood.data, where.likelihood.variance).scaled(0.5, 0.0)
    plain = GaussianLikelihood(blur, where.likelihood.data * 2, where.likelihood.variance * 4)
    start = torch.zeros_like(where.mean)
    settings = DDRMSettings(steps=5)
    a, b = (list(ddrm(where.prior, each, start, settings, seeded(0)))[-1].estimate for each in (half, plain))
    torch.testing.assert_close(a, b)


def test_ddrm_refuses_what_it_cannot_do(setting: Setting, blur: Blur) -> None:
    start = torch.zeros_like(setting.mean)
    with pytest.raises(ValueError, match="needs an operator with known singular values, found DenseOperator"):
        next(ddrm(setting.prior, setting.likelihood, start, DDRMSettings(), seeded(0)))
    uneven = torch.linspace(1, 2, SIZE, dtype=torch.float64)
    weighted = GaussianLikelihood(blur, random(6, 5, 8), uneven)
    with pytest.raises(ValueError, match="one noise level for all readings"):
        next(ddrm(setting.prior, weighted, start, DDRMSettings(), seeded(0)))


def counted(kind: str, dense, truth: Tensor) -> PoissonEmission | PoissonTransmission:
    """Counts of images around 0, seen with an offset that keeps them positive."""
    operator, one = dense((SIZE, SIZE), (40, 8), positive=True), torch.ones((), dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    lifted = operator.forward(truth + 2)
    if kind == "emission":
        counts = torch.poisson(200 * lifted + 3, generator=generator)
        return PoissonEmission(operator, counts, 3 * one).scaled(200.0, 2.0)
    counts = torch.poisson(1e4 * torch.exp(-0.05 * lifted) + 3, generator=generator)
    return PoissonTransmission(operator, counts, 1e4 * one, 3 * one).scaled(0.05, 2.0)


@pytest.mark.parametrize("name", ["dps", "red_diff"])
@pytest.mark.parametrize("kind", ["emission", "transmission"])
def test_gradient_methods_take_counts(name: str, kind: str, setting: Setting, dense) -> None:
    truth = torch.fft.ifft2(setting.prior.spectrum.sqrt() * torch.fft.fft2(random(4, SIZE, SIZE))).real
    likelihood = counted(kind, dense, truth)
    solve, settings = SOLVERS[name]
    start = torch.zeros_like(truth)
    found = list(solve(setting.prior, likelihood, start, settings, seeded(0)))[-1].estimate
    assert bool((likelihood.residual_ratio(found) - 1 < 0.1 * (likelihood.residual_ratio(start) - 1)).all())
    assert float((found - truth).norm()) < 0.8 * float(truth.norm())


def test_dps_with_ordered_subsets_comes_to_the_same_place(setting: Setting, dense) -> None:
    """Steps of subsets use all data in turn; more subsets than views are refused."""
    solve, settings = SOLVERS["dps"]
    truth = torch.fft.ifft2(setting.prior.spectrum.sqrt() * torch.fft.fft2(random(4, SIZE, SIZE))).real
    likelihood = counted("transmission", dense, truth)
    start = torch.zeros_like(truth)
    found = list(solve(setting.prior, likelihood, start, replace(settings, subsets=4), seeded(0)))[-1].estimate
    assert bool((likelihood.residual_ratio(found) - 1 < 0.1 * (likelihood.residual_ratio(start) - 1)).all())
    assert float((found - truth).norm()) < 0.8 * float(truth.norm())
    for subsets, sentence in ((0, "expected 1 subset"), (41, "holds none of the 40 views")):
        with pytest.raises(ValueError, match=sentence):
            next(solve(setting.prior, likelihood, start, replace(settings, subsets=subsets), seeded(0)))


def test_dps_steps_are_never_longer_than_the_noise(setting: Setting, dense) -> None:
    """Far too large a weight would throw counts out of the domain of their logarithm."""
    solve, settings = SOLVERS["dps"]
    truth = torch.fft.ifft2(setting.prior.spectrum.sqrt() * torch.fft.fft2(random(4, SIZE, SIZE))).real
    likelihood = counted("emission", dense, truth)
    denoised = []

    def watching(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        estimate = setting.prior(x, sigma)
        denoised.append(estimate.detach())
        return estimate

    steps = list(solve(watching, likelihood, torch.zeros_like(truth), replace(settings, zeta=1e6), seeded(0)))
    for step, estimate in zip(steps, denoised, strict=True):
        length = (step.estimate - estimate[:, 0]).square().mean((-2, -1)).sqrt()
        assert float(length.max()) <= step.sigma * (1 + 1e-9)
    assert float(steps[-1].estimate.abs().max()) < 10
