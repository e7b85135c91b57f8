"""Solvers that promise posterior draws, against the exact Gaussian posterior; what they are built from."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
import torch
from diffusion_engine.likelihoods.conditional import SolveSettings
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.hamiltonian import Chain, hamiltonian_move
from diffusion_engine.sampling.movers import multistep_estimates
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.catalogue import METHODS, method_named
from diffusion_engine.solvers.contract import SPREADS, denoise, linearise
from diffusion_engine.solvers.daps import DAPSSettings, daps
from diffusion_engine.solvers.mmps import MMPSSettings, mmps
from diffusion_engine.solvers.moment_matching import jacobian_spectrum, posterior_denoiser
from diffusion_engine.solvers.pnp_dm import PnPDMSettings, pnp_dm
from diffusion_engine.solvers.tmpd import TMPDSettings, tmpd

SIZE, NOISE, DRAWS = 8, 0.1, 400
TABLE = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "posterior_truth.json"
FREQUENCY = torch.fft.fftfreq(SIZE) * SIZE
SPECTRUM = (FREQUENCY[:, None] ** 2 + FREQUENCY**2 + 1.0) ** -1.5
PRIOR = GaussianDenoiser(torch.zeros(SIZE, SIZE), SPECTRUM * 0.25 / SPECTRUM.mean())


@pytest.fixture
def posterior(dense):
    """A likelihood of 40 readings of 64 pixels, the exact posterior mean and covariance."""
    operator = dense((SIZE, SIZE), (5, 8), dtype=torch.float32)
    generator = torch.Generator().manual_seed(5)
    truth = torch.fft.ifft2(PRIOR.spectrum.sqrt() * torch.fft.fft2(torch.randn(SIZE, SIZE, generator=generator))).real
    data = operator.forward(truth) + NOISE * torch.randn(operator.out_shape, generator=generator)
    eye = torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)
    covariance = torch.fft.ifft2(PRIOR.spectrum * torch.fft.fft2(eye)).real.flatten(1).double()
    matrix = operator.matrix.double()
    gain = covariance @ matrix.T @ torch.linalg.inv(matrix @ covariance @ matrix.T + NOISE**2 * torch.eye(len(matrix)))
    likelihood = GaussianLikelihood(operator, data[None], torch.tensor(NOISE**2))
    return likelihood, gain @ data.flatten().double(), covariance - gain @ matrix @ covariance


def whitened(draws: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Draws in coordinates in which the posterior is standard normal."""
    values, vectors = torch.linalg.eigh(covariance)
    return (draws.double().flatten(1) - mean) @ (vectors / values.sqrt())


def sample(solve, settings, likelihood, seed: int = 1) -> torch.Tensor:
    start = torch.zeros(DRAWS, SIZE, SIZE)
    return deque(solve(PRIOR, likelihood, start, settings, seeded(seed)), 1)[0].estimate


@pytest.mark.parametrize(
    ("solve", "settings"),
    [
        (mmps, MMPSSettings()),
        (tmpd, TMPDSettings()),
        (pnp_dm, PnPDMSettings()),
    ],
    ids=["mmps", "tmpd", "pnp-dm"],
)
def test_draws_have_the_posterior_mean_and_variance(posterior, solve, settings) -> None:
    likelihood, mean, covariance = posterior
    found = whitened(sample(solve, settings, likelihood), mean, covariance)
    # 400 draws of 64 directions know their mean variance to 0.9 %, and the mean to 0.05.
    assert float(found.var(0).mean()) == pytest.approx(1.0, abs=0.06 if solve is not pnp_dm else 0.12)
    assert float(found.mean(0).square().mean().sqrt()) < 0.1


def test_daps_draws_are_near_but_not_the_posterior(posterior) -> None:
    likelihood, mean, covariance = posterior
    draws = sample(daps, DAPSSettings(steps=30), likelihood)
    assert float(whitened(draws, mean, covariance).mean(0).square().mean().sqrt()) < 0.6
    assert METHODS["daps"].spread != "posterior"


def test_the_posterior_denoiser_is_the_exact_conditional_mean(posterior) -> None:
    likelihood, _, _ = posterior
    sigma, x = 0.7, torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(8))
    found = posterior_denoiser(PRIOR, likelihood, x, sigma, SolveSettings(40, 1e-7, 60, 1e-6), seeded(0))
    prior = torch.diag(torch.ones(SIZE * SIZE, dtype=torch.float64))
    eye = torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)
    covariance = torch.fft.ifft2(PRIOR.spectrum * torch.fft.fft2(eye)).real.flatten(1).double()
    matrix = likelihood.operator.matrix.double()
    precision = torch.linalg.inv(covariance) + prior / sigma**2 + matrix.T @ matrix / NOISE**2
    right = x.flatten(1).double() / sigma**2 + likelihood.data.flatten(1).double() @ matrix / NOISE**2
    exact = torch.linalg.solve(precision, right.T).T
    torch.testing.assert_close(found.flatten(1).double(), exact, atol=2e-4, rtol=0)


def test_few_products_are_enough_because_of_the_preconditioner(posterior) -> None:
    likelihood, _, _ = posterior
    x = 0.5 * torch.randn(4, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    exact = posterior_denoiser(PRIOR, likelihood, x, 0.5, SolveSettings(40, 1e-7, 60, 1e-6), seeded(0))
    few = posterior_denoiser(PRIOR, likelihood, x, 0.5, SolveSettings(2, 1e-7, 60, 1e-4), seeded(0))
    plain = posterior_denoiser(PRIOR, likelihood, x, 0.5, SolveSettings(2, 1e-7, 0, 1.0), seeded(0))
    without = denoise(PRIOR, x, 0.5)
    assert float((few - exact).norm()) < 0.1 * float((without - exact).norm())
    # No inner iteration means no preconditioned direction, so nothing is corrected.
    assert torch.equal(plain, without)


def test_the_spectrum_of_the_jacobian_is_measured() -> None:
    sigma = 0.5
    _, product = linearise(PRIOR, torch.zeros(200, SIZE, SIZE), sigma)
    found = jacobian_spectrum(product, seeded(3).normal(torch.zeros(200, SIZE, SIZE)))
    exact = PRIOR.spectrum / (PRIOR.spectrum + sigma**2)
    # Rings of one radius mix frequencies of slightly different gain.
    torch.testing.assert_close(found, exact, atol=0.06, rtol=0)


def test_conditional_draws_have_the_exact_mean_and_variance(posterior) -> None:
    likelihood, _, _ = posterior
    x, variance = torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)), 0.3
    draws = likelihood.conditional_draw(x.expand(4000, SIZE, SIZE), variance, seeded(4), 80, 1e-7)
    matrix = likelihood.operator.matrix.double()
    covariance = torch.linalg.inv(torch.eye(SIZE * SIZE) / variance + matrix.T @ matrix / NOISE**2)
    right = x.flatten().double() / variance + matrix.T @ likelihood.data.flatten().double() / NOISE**2
    found = whitened(draws, covariance @ right, covariance)
    assert float(found.mean(0).square().mean().sqrt()) < 0.03
    assert float(found.var(0).mean()) == pytest.approx(1.0, abs=0.02)


def test_hamiltonian_moves_keep_their_distribution() -> None:
    """Chains begun in a correlated Gaussian stay in it, whatever the step size."""
    root = torch.tensor([[1.0, 0.0], [0.9, 0.3]])
    precision = torch.linalg.inv(root @ root.T)
    noise = seeded(6)
    chain = Chain(noise.normal(torch.zeros(4000, 2)) @ root.T, torch.full((4000,), 0.25), torch.zeros(4000, dtype=bool))
    for _ in range(30):
        chain = hamiltonian_move(
            chain, lambda x: 0.5 * ((x @ precision) * x).sum(1), lambda x: x @ precision, 5, noise, adapt=False
        )
    assert 0.5 < float(chain.accepted.float().mean()) < 1
    torch.testing.assert_close(torch.cov(chain.position.T), root @ root.T, atol=0.07, rtol=0)


def test_the_diffusion_step_has_the_exact_variance_in_the_limit_of_small_steps() -> None:
    """From N(0, s^2 + c) at s to N(0, c) at 0, clean images ~ N(0, c)."""
    c, noise = 0.3, seeded(7)
    levels = [*torch.logspace(1, -3, 80).tolist(), 0.0]
    x = (levels[0] ** 2 + c) ** 0.5 * noise.normal(torch.zeros(20000))
    clean = list(multistep_estimates(lambda x, sigma: c / (c + sigma**2) * x, x, levels, noise))
    assert len(clean) == 80
    assert float(clean[-1].var()) == pytest.approx(c, rel=0.03)


@pytest.mark.parametrize("solve", [mmps, tmpd, pnp_dm, daps])
def test_a_seed_is_a_draw(posterior, solve) -> None:
    likelihood, _, _ = posterior
    few = {
        mmps: MMPSSettings(steps=3), tmpd: TMPDSettings(steps=3), pnp_dm: PnPDMSettings(iterations=3),
        daps: DAPSSettings(steps=3),
    }[solve]
    first, again, other = (sample(solve, few, likelihood, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_catalogue_is_consistent() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.spread in SPREADS
        assert method.start in ("image", "noise")
        assert isinstance(method.options({}), method.settings)
        assert method.purpose
        assert method.source
    with pytest.raises(ValueError, match="no method named"):
        method_named("magic")
    with pytest.raises(ValueError, match="no option"):
        METHODS["dds"].options({"magic": 1})


def test_the_label_posterior_is_earned_from_the_committed_table() -> None:
    result = json.loads(TABLE.read_text(encoding="utf-8"))
    low, high = result["limits"]["variance"]
    least, most = result["limits"]["coverage90"]
    rows = {(row["solver"], row["problem"]): row for row in result["rows"]}
    earned = [method for method in METHODS.values() if method.spread == "posterior"]
    assert earned
    for method in earned:
        for problem in ("gauss_fourier", "gauss_ct"):
            row = rows[method.name, problem]
            assert low <= row["variance_ratio_measured"] <= high
            assert low <= row["variance_ratio_unmeasured"] <= high
            assert row["mean_error_sd"] < result["limits"]["mean_error_sd"]
            assert least <= row["coverage90"] <= most
        assert rows[method.name, "mixture"]["mode_weight_error"] < result["limits"]["mode_weight_error"]


def test_settings_of_the_linear_systems_are_options_too() -> None:
    settings = METHODS["mmps"].options({"products": 1}, steps=7)
    assert (settings.steps, settings.products) == (7, 1)
