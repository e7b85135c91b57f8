"""Projection, Langevin and one-step solvers on Gaussian images, and their special cases of known answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.masked_fourier import MaskedFourier, centred_fft
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.consistency import ConsistencySettings, consistency
from diffusion_engine.solvers.contract import SPREADS
from diffusion_engine.solvers.ilvr import low_pass
from diffusion_engine.solvers.projection import least_squares, project
from torch import Tensor

SIZE = 8
NOISE = 0.05
NAMES = ("song", "score_mri", "csgm", "ilvr", "mcg", "ccdf", "hijack", "tweedie", "consistency")


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth_prior(power: float = 1.0) -> GaussianDenoiser:
    """Images of mean zero and standard deviation 0.5, the smoother the larger ``power``."""
    frequency = torch.fft.fftfreq(SIZE, dtype=torch.float64)
    spectrum = (0.02 + frequency[:, None] ** 2 + frequency**2) ** -power
    return GaussianDenoiser(torch.zeros(SIZE, SIZE, dtype=torch.float64), 0.25 * spectrum / spectrum.mean())


def draw(prior: GaussianDenoiser, count: int, seed: int = 1) -> Tensor:
    return torch.fft.ifft2(prior.spectrum.sqrt() * torch.fft.fft2(random(count, SIZE, SIZE, seed=seed))).real


@dataclass(frozen=True, eq=False)
class PixelDenoiser:
    """Complex images of independent pixels with mean zero and E|x|^2 = ``variance`` (rows, columns): exact."""

    variance: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.variance / (self.variance + sigma**2) * x


@dataclass(frozen=True, eq=False)
class Problem:
    """A prior, a likelihood, a start, and the exact posterior mean."""

    denoiser: Any
    likelihood: GaussianLikelihood
    start: Tensor
    exact: Tensor


def posterior_mean(prior: GaussianDenoiser, matrix: Tensor, data: Tensor, variance: float) -> Tensor:
    """Of real images with mean zero: S A' (A S A' + v)^-1 y."""
    eye = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    covariance = torch.fft.ifft2(prior.spectrum * torch.fft.fft2(eye)).real.flatten(1)
    inner = matrix @ covariance @ matrix.T + variance * torch.eye(len(matrix), dtype=torch.float64)
    return (data.flatten(1) @ torch.linalg.solve(inner, matrix @ covariance)).unflatten(-1, (SIZE, SIZE))


def sparse(dense: Callable[..., Any]) -> Problem:
    """40 readings of 64 pixels; the start is zero."""
    prior = smooth_prior()
    operator = dense((SIZE, SIZE), (5, 8))
    data = operator.forward(draw(prior, 4)) + NOISE * random(4, 5, 8, seed=3)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(NOISE**2, dtype=torch.float64))
    exact = posterior_mean(prior, operator.matrix, data, NOISE**2)
    return Problem(prior, likelihood, torch.zeros_like(exact), exact)


def noisy(level: float = 0.3) -> Problem:
    """Every pixel measured once with white noise of ``level``; the start is the noisy image."""
    prior = smooth_prior(3.0)
    data = draw(prior, 4) + level * random(4, SIZE, SIZE, seed=3)

    class Identity:
        in_shape = out_shape = (SIZE, SIZE)

        def forward(self, x: Tensor) -> Tensor:
            return x

        def adjoint(self, y: Tensor) -> Tensor:
            return y

    likelihood = GaussianLikelihood(Identity(), data, torch.tensor(level**2, dtype=torch.float64))
    return Problem(prior, likelihood, data, prior(data[:, None], torch.tensor(level, dtype=torch.float64))[:, 0])


def line_mask() -> Tensor:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[[0, 3, 4, 5, 7]] = True
    return mask


def masked() -> Problem:
    """Five of eight lines of the k-space of complex images, bright in the middle; the start is zero-filled."""
    operator = MaskedFourier(line_mask())
    spread = torch.full((SIZE, SIZE), 0.01, dtype=torch.float64)
    spread[2:6, 2:6] = 0.5
    truth = spread.sqrt() * random(4, SIZE, SIZE, dtype=torch.complex128)
    data = operator.forward(truth) + NOISE * random(4, *operator.out_shape, seed=3, dtype=torch.complex128)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(NOISE**2, dtype=torch.float64))
    eye = torch.eye(SIZE * SIZE, dtype=torch.complex128).reshape(-1, SIZE, SIZE)
    matrix = operator.forward(eye).flatten(1).mT
    weighted = spread.flatten() * matrix
    inner = weighted @ matrix.mH + NOISE**2 * torch.eye(len(matrix), dtype=torch.complex128)
    exact = weighted.mH @ torch.linalg.solve(inner, data.flatten(1).mT)
    return Problem(PixelDenoiser(spread), likelihood, operator.adjoint(data), exact.mT.reshape(truth.shape))


def solve(name: str, problem: Problem, seed: int = 5, **options: Any) -> Tensor:
    """The last estimate of a method of the catalogue, with a check of its steps."""
    method = METHODS[name]
    settings = method.settings(**options)
    arguments = (problem.denoiser, problem.likelihood, problem.start, settings, seeded(seed))
    steps = list(method.solve(*arguments))
    assert [s.index for s in steps] == list(range(1, len(steps) + 1))
    assert all(s.total == len(steps) and s.estimate.shape == problem.start.shape for s in steps)
    return steps[-1].estimate


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().square().mean().sqrt())


@pytest.fixture
def cases(dense) -> dict[str, tuple[Problem, dict[str, Any]]]:
    """What each method is for, and settings that fit the small problem."""
    scan, image, kspace = sparse(dense), noisy(), masked()
    levels = {"steps": 20, "sigma_start": 1.0}
    return {
        "song": (scan, {**levels, "iterations": 30, "relaxation": 1.0}),
        "score_mri": (kspace, levels),
        "csgm": (kspace, {**levels, "steps": 60}),
        "ilvr": (image, {"steps": 20, "sigma_start": 0.6, "factor": 4.0}),
        "mcg": (scan, {**levels, "iterations": 30}),
        "ccdf": (scan, {**levels, "iterations": 30, "relaxation": 1.0}),
        "hijack": (image, {"sigma_start": 0.6, "entry": 0.5, "weight": 1.0, "sigma_end": 0.01}),
        "tweedie": (image, {"sigma_start": 0.6, "entry": 0.5}),
        "consistency": (scan, {"steps": 4, "sigma_start": 1.0, "cg_iterations": 30}),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_solver_comes_closer_to_the_exact_posterior_mean(name: str, cases) -> None:
    problem, options = cases[name]
    found = solve(name, problem, **options)
    assert bool(torch.isfinite(found).all())
    assert distance(found, problem.exact) < 0.75 * distance(problem.start, problem.exact)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_a_draw_and_a_point_estimate_has_none(name: str, cases) -> None:
    problem, options = cases[name]
    first = solve(name, problem, **options)
    assert torch.equal(first, solve(name, problem, **options))
    change = distance(first, solve(name, problem, seed=6, **options))
    assert METHODS[name].spread in SPREADS
    assert (change == 0) == (METHODS[name].spread == "point")


@pytest.mark.parametrize("name", ["song", "mcg", "ccdf", "consistency"])
def test_the_data_misfit_falls_to_the_noise(name: str, cases) -> None:
    problem, options = cases[name]
    assert bool((problem.likelihood.residual_ratio(problem.start) > 100).all())
    assert bool((problem.likelihood.residual_ratio(solve(name, problem, **options)) < 2).all())


@pytest.mark.parametrize("name", ["ilvr", "hijack", "tweedie"])
def test_image_denoisers_leave_the_noise_and_no_more_than_noise(name: str, cases) -> None:
    """The noisy start fits itself exactly; the removed part is of the size of the noise, or of its open part."""
    problem, options = cases[name]
    assert bool((problem.likelihood.residual_ratio(problem.start) == 0).all())
    ratio = problem.likelihood.residual_ratio(solve(name, problem, **options))
    assert bool((ratio > 0.3).all())
    assert bool((ratio < 1.5).all())


@pytest.mark.parametrize("name", ["song", "mcg", "ccdf", "consistency"])
def test_solvers_of_scans_take_complex_images_too(name: str) -> None:
    problem = masked()
    size = {"steps": 8 if name == "consistency" else 20}
    found = solve(name, problem, sigma_start=1.0, **size)
    assert found.is_complex()
    assert distance(found, problem.exact) < 0.8 * distance(problem.start, problem.exact)
    assert bool((problem.likelihood.residual_ratio(found) < 2).all())


def test_the_published_predictor_needs_many_levels() -> None:
    """With few it leaves too much noise in the state; the ancestral one draws at the right level."""
    problem = masked()

    def away(predictor: str, steps: int) -> float:
        found = solve("song", problem, sigma_start=1.0, steps=steps, predictor=predictor)
        return distance(found, problem.exact)

    assert away("ancestral", 10) < 0.9 * away("reverse_diffusion", 10)
    assert away("reverse_diffusion", 100) < 0.9 * away("reverse_diffusion", 10)


def test_score_mri_ends_with_the_measured_k_space(cases) -> None:
    problem, options = cases["score_mri"]
    found = solve("score_mri", problem, **options)
    torch.testing.assert_close(problem.likelihood.operator.forward(found), problem.likelihood.data)
    assert float((centred_fft(found) * ~line_mask()).abs().max()) > 0.01
    with pytest.raises(ValueError, match="no predictor named 'euler': choose from"):
        solve("score_mri", problem, predictor="euler")
    real = Problem(problem.denoiser, problem.likelihood, problem.start.real, problem.exact)
    with pytest.raises(ValueError, match="needs complex images"):
        solve("score_mri", real, **options)


def test_annealed_langevin_draws_from_the_posterior_in_the_limit_of_many_levels() -> None:
    """Mean and variance of 400 draws of one complex image against the exact ones, in units of these."""
    whole, count = masked(), 400
    likelihood = whole.likelihood.select(slice(0, 1))
    problem = Problem(whole.denoiser, likelihood, whole.start[:1].expand(count, SIZE, SIZE), whole.exact[:1])
    eye = torch.eye(SIZE * SIZE, dtype=torch.complex128).reshape(-1, SIZE, SIZE)
    information = likelihood.operator.adjoint(likelihood.operator.forward(eye)).flatten(1).mT / NOISE**2
    covariance = torch.linalg.inv(torch.diag(1 / whole.denoiser.variance.flatten()) + information)
    variance = covariance.diagonal().real.reshape(SIZE, SIZE)

    def errors(steps: int) -> tuple[float, float]:
        found = solve("csgm", problem, sigma_start=1.0, steps=steps)
        away = (found - problem.exact).mean(0).abs().square() / variance
        return float(away.mean()), abs(float((found.var(0) / variance).mean()) - 1)

    few, many = errors(20), errors(240)
    # The mean of 400 draws is known to 1 / 400 of the variance.
    assert many[0] < 0.02
    assert many[1] < 0.06
    assert few[0] > 3 * many[0]
    assert few[1] > 3 * many[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_breakdown_of_the_prior_raises(name: str, cases) -> None:
    problem, options = cases[name]
    broken = Problem(lambda x, s, c=None: x * float("nan"), problem.likelihood, problem.start, problem.exact)
    with pytest.raises(FloatingPointError, match="not finite at noise level"):
        solve(name, broken, **options)


# Projection


def test_the_projection_is_the_pseudo_inverse(dense) -> None:
    operator = dense((SIZE, SIZE), (5, 8))
    variance = 0.5 + torch.rand(5, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    likelihood = GaussianLikelihood(operator, random(2, 5, 8), variance)
    # 40 independent readings of 64 pixels: the weights do not matter to a residual that can be fitted exactly.
    expected = (random(2, 40, seed=3) @ torch.linalg.pinv(operator.matrix).T).unflatten(-1, (SIZE, SIZE))
    residual = random(2, 40, seed=3).unflatten(-1, (5, 8))
    torch.testing.assert_close(least_squares(likelihood, residual, 200), expected, rtol=1e-4, atol=1e-5)
    x = random(2, SIZE, SIZE, seed=7)
    exact = project(likelihood, x, 0.0, 1.0, 200, seeded(0))
    torch.testing.assert_close(operator.forward(exact), likelihood.data, rtol=1e-4, atol=1e-4)
    half = project(likelihood, x, 0.0, 0.5, 200, seeded(0))
    torch.testing.assert_close(half, (x + exact) / 2)


def test_the_projection_keeps_the_noise_level() -> None:
    """The state keeps noise of level sigma in the measured entries, and all it had in the others."""
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[::2] = True
    operator = MaskedFourier(mask)
    truth = random(1, 64, 64, dtype=torch.complex128)
    likelihood = GaussianLikelihood(operator, operator.forward(truth), torch.tensor(1e-6, dtype=torch.float64))
    x = truth + 0.7 * random(1, 64, 64, seed=2, dtype=torch.complex128)
    away = centred_fft(project(likelihood, x, 0.7, 1.0, 1, seeded(3)) - truth)
    assert float(away[..., mask].abs().square().mean()) == pytest.approx(0.49, rel=0.1)
    torch.testing.assert_close(away[..., ~mask], centred_fft(x - truth)[..., ~mask])
    passed = project(likelihood, x, 0.7, 1.0, 1, seeded(3), pseudo_inverse=operator.adjoint)
    torch.testing.assert_close(centred_fft(passed - truth), away)


# ILVR, hijack, few steps


def test_ilvr_keeps_the_low_pass_and_changes_the_rest(cases) -> None:
    problem, options = cases["ilvr"]
    found = solve("ilvr", problem, **options)
    torch.testing.assert_close(low_pass(found, 4.0), low_pass(problem.start, 4.0))
    assert distance(found - low_pass(found, 4.0), problem.start - low_pass(problem.start, 4.0)) > 0.1
    torch.testing.assert_close(low_pass(low_pass(found, 2.0), 2.0), low_pass(found, 2.0))
    torch.testing.assert_close(low_pass(found, 1.0), found)
    assert low_pass(random(6, 6, dtype=torch.complex128), 3.0).is_complex()
    with pytest.raises(ValueError, match="factor of 1 or more"):
        solve("ilvr", problem, factor=0.5)


def test_ilvr_keeps_the_low_pass_of_the_state_at_every_level(cases) -> None:
    """Even where the prior says zero, each state's low frequencies are the reference's, with noise of its level."""
    problem, options = cases["ilvr"]
    seen = []

    def nothing(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        seen.append((x[:, 0], float(sigma)))
        return torch.zeros_like(x)

    solve("ilvr", Problem(nothing, problem.likelihood, problem.start, problem.exact), **options)
    assert len(seen) == options["steps"]
    for state, sigma in seen:
        assert float(low_pass(state - problem.start, 4.0).abs().max()) < 3 * sigma


def test_hijack_blends_and_one_level_is_one_call(cases) -> None:
    problem, options = cases["hijack"]
    whole = solve("hijack", problem, **options)
    part = solve("hijack", problem, **{**options, "weight": 0.25})
    torch.testing.assert_close(part, 0.25 * whole + 0.75 * problem.start)
    assert torch.equal(solve("hijack", problem, **{**options, "weight": 0.0}), problem.start)
    once = solve("hijack", problem, **{**options, "levels": 1})
    torch.testing.assert_close(once, problem.exact)
    with pytest.raises(ValueError, match="between 0 and 1"):
        solve("hijack", problem, weight=1.5)


def test_the_flow_of_hijack_is_the_exact_one(cases) -> None:
    """dx/dsigma = (x - D) / sigma takes (S + s^2)^(1/2) coefficients to S^(1/2) ones, frequency by frequency."""
    problem, options = cases["hijack"]
    found = solve("hijack", problem, **{**options, "levels": 400, "sigma_end": 1e-4})
    spectrum = problem.denoiser.spectrum
    expected = torch.fft.ifft2((spectrum / (spectrum + 0.09)).sqrt() * torch.fft.fft2(problem.start)).real
    assert distance(found, expected) < 0.01 * distance(problem.start, expected)


def test_one_level_of_the_few_step_sampler_is_a_denoiser_call_and_a_data_step(cases) -> None:
    problem, _ = cases["consistency"]
    settings = ConsistencySettings(steps=1, sigma_start=0.7, cg_iterations=50, cg_tolerance=1e-10)
    found = list(consistency(problem.denoiser, problem.likelihood, problem.start, settings, seeded(2)))
    assert len(found) == 1
    x = problem.start + 0.7 * seeded(2).normal(problem.start)
    estimate = problem.denoiser(x[:, None], torch.tensor(0.7))[:, 0]
    g = settings.prior_variance * 0.49 * 0.25 / 0.74
    root = settings.root(g, estimate)
    torch.testing.assert_close(found[0].estimate, problem.likelihood.proximal(estimate, root, 50, 1e-10))
