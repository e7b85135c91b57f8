"""Solvers that promise posterior draws, against the exact Gaussian posterior; what they are built from."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
import torch
from benchmarks import posterior_truth as truth_table
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import DenseMixtureDenoiser, GaussianDenoiser
from diffusion_engine.run.presets import PRESETS
from diffusion_engine.sampling.hamiltonian import Chain, hamiltonian_move
from diffusion_engine.sampling.movers import multistep_estimates
from diffusion_engine.sampling.noise import Noise, seeded
from diffusion_engine.solvers.catalogue import METHODS, method_named
from diffusion_engine.solvers.contract import SPREADS, denoise, linearise
from diffusion_engine.solvers.daps import DAPSSettings, daps
from diffusion_engine.solvers.effort import Effort, Efforts, joined
from diffusion_engine.solvers.mmps import MMPSSettings, mmps
from diffusion_engine.solvers.moment_matching import PosteriorSettings, jacobian_spectrum, posterior_denoiser
from diffusion_engine.solvers.pnp_dm import PnPDMSettings, pnp_dm
from diffusion_engine.solvers.tmpd import TMPDSettings, tmpd
from torch import Tensor

SIZE, NOISE, DRAWS = 8, 0.1, 200
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


class Quick(Noise):
    """Numbers of one stream for the whole batch, where only their distribution matters: much faster."""

    def normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._generator(), dtype=like.dtype)

    def uniform(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self._generator(), dtype=like.dtype)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * self.seed + self.take())


def whitened(draws: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Draws in coordinates in which the posterior is standard normal."""
    values, vectors = torch.linalg.eigh(covariance)
    return (draws.double().flatten(1) - mean) @ (vectors / values.sqrt())


def error_of_the_mean(found: torch.Tensor) -> float:
    """Of whitened draws, root mean square over directions, beyond what so few draws have by chance; in deviations."""
    return max(0.0, float(found.mean(0).square().mean()) - 1 / len(found)) ** 0.5


def sample(solve, settings, likelihood, noise: Noise, draws: int = DRAWS) -> torch.Tensor:
    start = torch.zeros(draws, SIZE, SIZE)
    return deque(solve(PRIOR, likelihood, start, settings, noise), 1)[0].estimate


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
    found = whitened(sample(solve, settings, likelihood, Quick(1)), mean, covariance)
    # 200 draws of 64 directions know their mean variance to 1.3 %, and the error of the mean to 0.03.
    assert float(found.var(0).mean()) == pytest.approx(1.0, abs=0.06 if solve is not pnp_dm else 0.12)
    assert error_of_the_mean(found) < 0.06


def test_daps_draws_are_near_but_not_the_posterior(posterior) -> None:
    likelihood, mean, covariance = posterior
    draws = sample(daps, DAPSSettings(steps=30), likelihood, Quick(1))
    assert float(whitened(draws, mean, covariance).mean(0).square().mean().sqrt()) < 0.6
    assert METHODS["daps"].spread != "posterior"


def uneven(ratio: float, views: int, noise: float) -> tuple[DenseMixtureDenoiser, GaussianLikelihood, Tensor, Tensor]:
    """A prior ``ratio`` times as wide in a disc, a scan of one of its images, posterior mean and covariance."""
    size = 12
    place = torch.cartesian_prod(torch.arange(size), torch.arange(size)).double()
    std = torch.where((place - (size - 1) / 2).norm(dim=1) < 0.35 * size, 0.5, 0.5 / ratio)
    covariance = std[:, None] * torch.exp(-torch.cdist(place, place) / 3) * std
    grid = ImageGrid(size, size, (1.0, 1.0))
    operator = make_projector(parallel_geometry(grid, views), grid)
    matrix = operator.forward(torch.eye(size * size).reshape(-1, size, size)).double().flatten(1).T
    generator = torch.Generator().manual_seed(5)
    truth = torch.linalg.cholesky(covariance) @ torch.randn(size * size, generator=generator, dtype=torch.float64)
    data = matrix @ truth + noise * torch.randn(len(matrix), generator=generator, dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(
        matrix @ covariance @ matrix.T + noise**2 * torch.eye(len(matrix))
    )
    prior = DenseMixtureDenoiser(torch.zeros(1, size, size), covariance[None], torch.ones(1))
    likelihood = GaussianLikelihood(operator, data.float().reshape(1, *operator.out_shape), torch.tensor(noise**2))
    return prior, likelihood, gain @ data, covariance - gain @ matrix @ covariance


@pytest.mark.parametrize(
    ("solve", "settings"), [(tmpd, TMPDSettings()), (mmps, MMPSSettings())], ids=["tmpd", "mmps"]
)
def test_draws_of_an_uneven_prior_have_the_posterior_mean_and_variance(solve, settings) -> None:
    """Three products a step leave the mean of TMPD 0.11, of MMPS 0.34 of a standard deviation away."""
    prior, likelihood, mean, covariance = uneven(30.0, 9, 0.05)
    *_, last = solve(prior, likelihood, torch.zeros(200, 12, 12), settings, Quick(1))
    found = whitened(last.estimate, mean, covariance)
    assert error_of_the_mean(found) < 0.08
    assert float(found.var(0).mean()) == pytest.approx(1.0, abs=0.05)


def test_a_step_that_stops_short_says_so() -> None:
    prior, likelihood, _, _ = uneven(30.0, 9, 0.05)
    few, enough = TMPDSettings(steps=8, products=1, sigma_max=1.0), TMPDSettings(steps=8, products=200, sigma_max=1.0)
    short, whole = Efforts(), Efforts()
    for settings, efforts in ((few, short), (enough, whole)):
        for step in tmpd(prior, likelihood, torch.zeros(2, 12, 12), settings, seeded(1)):
            efforts.add(step.effort)
    assert whole.short == 0
    assert whole.sentence is None
    assert whole.products > short.products > 0
    assert short.most == 1
    assert 0 < short.short < 8
    assert short.sentence is not None
    assert f"stopped at 1 products in {short.short} of 8 steps" in short.sentence


def test_slices_that_are_solved_apart_count_as_one_step() -> None:
    assert joined([None, None]) is None
    assert joined([Effort(7, 0.01, 0.02), None, Effort(3, 0.05, 0.02)]) == Effort(7, 0.05, 0.02)


def test_the_error_left_is_foretold() -> None:
    prior, likelihood, mean, covariance = uneven(30.0, 9, 0.05)
    sigma, x = 0.05, torch.randn(4, 12, 12, generator=torch.Generator().manual_seed(8)) * 0.05 + mean.reshape(12, 12)
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(144))
    exact = mean + (x.double().flatten(1) - mean) @ gain.T
    for products in (1, 2, 4):
        settings = TMPDSettings(products=products, tolerance=1e-6)
        found = posterior_denoiser(prior, likelihood, x.float(), sigma, settings, seeded(0))
        away = (found.image.double().flatten(1) - exact).square().mean(1).sqrt().max()
        assert found.products == products
        assert found.error == pytest.approx(float(away), rel=0.5)


def test_an_image_is_solved_alike_beside_others() -> None:
    prior, likelihood, mean, _ = uneven(30.0, 9, 0.05)
    x = (mean.reshape(12, 12) + 0.1 * torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(8))).float()
    x[1:] *= 50
    probe = seeded(3).normal(x)

    class Same:
        def normal(self, like: Tensor) -> Tensor:
            return probe[: len(like)]

    # Where the inner iteration stops early, rounding decides where, and moves an image by a share of its error.
    settings = TMPDSettings(inner_iterations=100, inner_tolerance=1e-5)
    together = posterior_denoiser(prior, likelihood, x, 0.1, settings, Same())
    alone = posterior_denoiser(prior, likelihood, x[:1], 0.1, settings, Same())
    assert together.products > alone.products
    assert alone.error > 1e-4
    torch.testing.assert_close(together.image[:1], alone.image, atol=2e-6, rtol=0)


def test_the_posterior_denoiser_is_the_exact_conditional_mean(posterior) -> None:
    likelihood, _, _ = posterior
    sigma, x = 0.7, torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(8))
    found = posterior_denoiser(PRIOR, likelihood, x, sigma, PosteriorSettings(40, 1e-7, 60, 1e-6), seeded(0)).image
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
    exact = posterior_denoiser(PRIOR, likelihood, x, 0.5, PosteriorSettings(40, 1e-7, 60, 1e-6), seeded(0)).image
    few = posterior_denoiser(PRIOR, likelihood, x, 0.5, PosteriorSettings(2, 1e-7, 60, 1e-4), seeded(0)).image
    plain = posterior_denoiser(PRIOR, likelihood, x, 0.5, PosteriorSettings(2, 1e-7, 0, 1.0), seeded(0)).image
    without = denoise(PRIOR, x, 0.5)
    assert float((few - exact).norm()) < 0.1 * float((without - exact).norm())
    # No inner iteration means no preconditioned direction, so nothing is corrected.
    assert torch.equal(plain, without)


def test_the_spectrum_of_the_jacobian_is_measured() -> None:
    sigma = 0.5
    _, product = linearise(PRIOR, torch.zeros(200, SIZE, SIZE), sigma)
    found = jacobian_spectrum(product, seeded(3).normal(torch.zeros(200, SIZE, SIZE)))
    exact = PRIOR.spectrum / (PRIOR.spectrum + sigma**2)
    assert found.shape == (200, SIZE, SIZE)
    # Rings of one radius mix frequencies of slightly different gain.
    torch.testing.assert_close(found, exact.expand_as(found), atol=0.06, rtol=0)


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
    noise = Quick(6)
    chain = Chain(noise.normal(torch.zeros(4000, 2)) @ root.T, torch.full((4000,), 0.25), torch.zeros(4000, dtype=bool))
    for _ in range(30):
        chain = hamiltonian_move(
            chain, lambda x: 0.5 * ((x @ precision) * x).sum(1), lambda x: x @ precision, 5, noise, adapt=False
        )
    assert 0.5 < float(chain.accepted.float().mean()) < 1
    torch.testing.assert_close(torch.cov(chain.position.T), root @ root.T, atol=0.07, rtol=0)


def test_the_diffusion_step_has_the_exact_variance_in_the_limit_of_small_steps() -> None:
    """From N(0, s^2 + c) at s to N(0, c) at 0, clean images ~ N(0, c)."""
    c, noise = 0.3, Quick(7)
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
    first, again, other = (sample(solve, few, likelihood, seeded(seed), 3) for seed in (1, 1, 2))
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


def test_labels_are_earned_from_the_committed_table_a_modality_at_a_time() -> None:
    """By all and only those that were run on every problem of the modality with no figure outside the limits."""
    result = json.loads(TABLE.read_text(encoding="utf-8"))
    assert result["limits"] == json.loads(json.dumps(truth_table.LIMITS))
    linear = {
        "gauss_fourier", "gauss_ct", "mixture", "uneven_3_ct", "uneven_30_ct", "uneven_3_inpainting",
        "uneven_30_inpainting", "uneven_mixture", "coils_fourier",
    }
    assert {name: set(problems) for name, problems in truth_table.LABELLED.items()} == {
        "ct": linear, "mri": linear, "pet": {*linear, "pet_field", "pet_body", "pet_blocks"},
    }
    for modality in truth_table.LABELLED:
        given = {name: METHODS[name].spread_for(modality) for name in METHODS}
        best = truth_table.earned(result["rows"], modality, truth_table.LIMITS)
        near = truth_table.earned(result["rows"], modality, truth_table.NEAR)
        assert sorted(name for name, label in given.items() if label == "posterior") == best
        assert sorted(name for name, label in given.items() if label in ("posterior", "near-posterior")) == near
    for row in result["rows"]:
        if not row["peer"]:
            method = METHODS[row["solver"]]
            modality = "pet" if row["problem"].startswith("pet_") else None
            assert row["spread"] == (method.spread_for(modality) if modality else method.spread)


def test_the_coverage_of_the_table_is_that_of_the_common_interval() -> None:
    """Of 39 draws the 2nd and the 38th, see :func:`prediction_interval`; of 4, Student's factor."""
    def covered(values: Tensor) -> float | None:
        truth = truth_table.Truth(
            lambda draws: draws.flatten(1), torch.zeros(1), torch.ones(1), None, lambda low, high: high - low
        )
        return truth_table.score(values[:, None, None], truth)["coverage90"]

    assert covered(torch.arange(39.0).roll(7)) == 36.0
    few = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert covered(few) == pytest.approx(2 * 2.35336 * 1.25**0.5 * float(few.std()), rel=1e-4)


@pytest.mark.parametrize("name", [method.name for method in METHODS.values() if method.spread == "near-posterior"])
def test_a_method_near_the_posterior_misses_the_limits_only_between_distinct_anatomies(name: str) -> None:
    """What the note of a run with it says, from the committed table."""
    rows = [row for row in json.loads(TABLE.read_text(encoding="utf-8"))["rows"] if row["solver"] == name]
    missed = {row["problem"] for row in rows if truth_table.outside(row, truth_table.LIMITS)}
    assert {row["problem"] for row in rows} >= set(truth_table.LINEAR)
    assert missed & set(truth_table.LINEAR) == {"uneven_mixture"}


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("variance_ratio_measured", 1.06), ("variance_ratio_unmeasured", 0.94), ("mean_error_sd", 0.11),
        ("coverage90", 0.87), ("mode_weight_error", 0.06),
    ],
)
def test_one_row_outside_the_limits_loses_the_label(figure: str, value: float) -> None:
    good = {
        "variance_ratio_measured": 1.0, "variance_ratio_unmeasured": None, "mean_error_sd": 0.05, "coverage90": 0.9,
        "mode_weight_error": None,
    }
    rows = [{"solver": "one", "problem": problem, **good} for problem in truth_table.LABELLED["pet"]]
    assert truth_table.passes(rows, "one", "pet")
    assert not truth_table.passes(rows[1:], "one", "pet")
    for row in rows:
        worse = [{**r, figure: value} if r is row else r for r in rows]
        assert not truth_table.passes(worse, "one", "pet")
        assert truth_table.passes(worse, "one", "pet", truth_table.NEAR) == (figure != "coverage90")
        assert truth_table.passes(worse, "one", "ct") == (row["problem"] not in truth_table.LINEAR)


def test_the_table_names_what_was_not_run() -> None:
    left = {"solver": "dds", "problem": "mixture", "reason": "because"}
    result = {"problems": {"mixture": {"draws": 1, "cases": []}}, "rows": [], "left_out": [left], "peers": "not run"}
    lines = truth_table.markdown(result).splitlines()
    assert "Left out: dds (because)." in lines
    missing = next(line for line in lines if line.startswith("Not run: "))
    assert missing.removeprefix("Not run: ").rstrip(".").split(", ") == [name for name in METHODS if name != "dds"]


def test_the_word_posterior_is_kept_for_those_who_earned_it() -> None:
    for preset in PRESETS.values():
        labels = {METHODS[name].spread for name in preset.solvers}
        assert len(labels) <= 1
        assert preset.title != "Posterior" or labels == {"posterior"}


def test_settings_of_the_linear_systems_are_options_too() -> None:
    settings = METHODS["mmps"].options({"products": 1}, steps=7)
    assert (settings.steps, settings.products) == (7, 1)
