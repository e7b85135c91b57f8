"""Adaptation to a measurement: the gradient of the objective, what it gains, and that the prior stays what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.lora import LowRank
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.solvers.scd import SMOOTHING, SCDSettings, adapt_step, scd, with_adapter
from torch import Tensor, nn

SIZE = 8
SETTINGS = SCDSettings(
    steps=6, sigma_start=1.0, cg_iterations=40, cg_tolerance=1e-10, rank=2, skip=3, last=1, first_inner_steps=4,
    inner_steps=4,
    learning_rate=0.02,
)


class Smoother(nn.Module):
    """A prior that knows one thing, wrongly: images are smooth and near ``level``."""

    def __init__(self, level: float = 0.0) -> None:
        super().__init__()
        self.filter = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular").double()
        nn.init.constant_(self.filter.weight, 1 / 9)
        nn.init.constant_(self.filter.bias, level)
        self.requires_grad_(False)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        share = 1 / (1 + sigma.to(x) ** 2)
        return self.filter(x) * share


@pytest.fixture
def problem(dense) -> tuple[GaussianLikelihood, Tensor]:
    """Forty readings of 64 rough pixels, for each of two images; and the images."""
    truth = torch.randn(2, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = dense((SIZE, SIZE), (5, 8))
    noise = 0.05 * torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    data = operator.forward(truth) + noise
    return GaussianLikelihood(operator, data, torch.tensor(0.05**2, dtype=torch.float64)), truth


def run(denoiser, likelihood: GaussianLikelihood, settings: SCDSettings = SETTINGS, seed: int = 3) -> Tensor:
    start = torch.zeros(2, SIZE, SIZE, dtype=torch.float64)
    steps = list(scd(denoiser, likelihood, start, settings, seeded(seed)))
    assert [s.index for s in steps] == list(range(1, settings.steps + 1))
    assert all(s.total == settings.steps and not s.estimate.requires_grad for s in steps)
    return steps[-1].estimate


def test_without_inner_steps_it_is_dds(problem) -> None:
    """Adapters of zero change nothing, and the noise is drawn in the same order."""
    likelihood, truth = problem
    known = {"steps": 6, "sigma_start": 1.0, "cg_iterations": 40, "cg_tolerance": 1e-10, "eta": 0.5}
    plain = DDSSettings(
        **known, prior_variance=SETTINGS.prior_variance, mirrored=False, local_variance=False
    )
    steps = list(dds(Smoother(), likelihood, torch.zeros_like(truth), plain, seeded(3)))
    found = run(Smoother(), likelihood, replace(SETTINGS, first_inner_steps=0, inner_steps=0, eta=0.5))
    # One image after the other: rounding of the operator's products.
    torch.testing.assert_close(found, steps[-1].estimate, rtol=0, atol=1e-8)
    assert not torch.equal(found, run(Smoother(), likelihood, replace(SETTINGS, eta=0.5)))


def test_the_gradient_is_that_of_the_objective(problem) -> None:
    """Against automatic differentiation through a dense solve, at an adapter that is not zero."""
    likelihood, truth = problem
    adapted, adapter = with_adapter(Smoother(0.3), 2)
    generator = torch.Generator().manual_seed(5)
    for value in adapter.parameters():
        value.data = 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    sigma, variance = 0.4, 0.02
    matrix, weight = likelihood.operator.matrix, 1 / likelihood.variance
    system = torch.eye(SIZE * SIZE, dtype=torch.float64) + variance * weight * matrix.T @ matrix
    estimate = adapted(truth[:, None], torch.tensor(sigma))[:, 0].flatten(1)
    right = estimate + variance * weight * likelihood.data.flatten(1) @ matrix
    clean = torch.linalg.solve(system, right.T).T.reshape(truth.shape)
    residual = (likelihood.operator.forward(clean) - likelihood.data) ** 2 * weight
    down = torch.zeros_like(clean)
    down[:, :-1] = clean[:, 1:] - clean[:, :-1]
    across = torch.zeros_like(clean)
    across[:, :, :-1] = clean[:, :, 1:] - clean[:, :, :-1]
    roughness = (down**2 + across**2 + SMOOTHING**2).sqrt().sum()
    objective = residual.mean() + 2 * 0.7 * roughness / likelihood.data.numel()
    expected = torch.autograd.grad(objective, list(adapter.parameters()))
    still = torch.optim.SGD(adapter.parameters(), lr=0.0)
    settings = replace(SETTINGS, tv_weight=0.7, cg_iterations=100, cg_tolerance=1e-13)
    found = adapt_step(adapted, still, likelihood, truth, sigma, variance, settings)
    assert found == pytest.approx(float(objective.detach()))
    for parameter, gradient in zip(adapter.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-9)
        assert float(gradient.abs().max()) > 1e-3


def test_inner_steps_lower_the_misfit(problem) -> None:
    likelihood, truth = problem
    adapted, adapter = with_adapter(Smoother(), 2)
    optimiser = torch.optim.Adam(adapter.parameters(), lr=0.05)
    x = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    values = [adapt_step(adapted, optimiser, likelihood, x, 0.3, 1e-4, SETTINGS) for _ in range(20)]
    assert values[-1] < 0.3 * values[0]


def test_adaptation_gains_on_naive_use_of_a_wrong_prior(problem) -> None:
    """The images are white, so the right prior smooths nothing: the adapters can get there, the naive use cannot."""
    likelihood, truth = problem
    more = replace(SETTINGS, inner_steps=40, learning_rate=0.05, sigma_data=1.0, prior_variance=1.0)
    found, naive = (
        sum(float((run(Smoother(), likelihood, settings, seed) - truth).norm()) for seed in (3, 4))
        for settings in (more, replace(more, first_inner_steps=0, inner_steps=0))
    )
    assert found < 0.92 * naive


def test_a_seed_is_a_draw(problem) -> None:
    likelihood, _ = problem
    first = run(Smoother(), likelihood)
    assert torch.equal(first, run(Smoother(), likelihood))
    assert not torch.equal(first, run(Smoother(), likelihood, seed=4))


def unchanged(module: nn.Module, before: dict[str, Tensor]) -> bool:
    after = module.state_dict()
    return list(after) == list(before) and all(torch.equal(value, after[n]) for n, value in before.items())


@pytest.mark.parametrize("how", ["finished", "abandoned", "held", "broken"])
def test_the_prior_is_bit_equal_afterwards(problem, how: str) -> None:
    likelihood, _ = problem
    torch.manual_seed(0)
    network = PatchUNet(inputs=1, channels=(8, 12), blocks=1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    prior = EDMDenoiser(network.requires_grad_(False))
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    single = GaussianLikelihood(
        replace(likelihood.operator, matrix=likelihood.operator.matrix.float()), likelihood.data.float(),
        likelihood.variance.float(),
    )
    settings = replace(SETTINGS, learning_rate=1e18 if how == "broken" else 0.02, cg_tolerance=1e-5)
    steps = scd(prior, single, torch.zeros(2, SIZE, SIZE), settings, seeded(0))
    if how == "finished":
        list(steps)
    elif how == "broken":
        with pytest.raises(FloatingPointError, match="not finite at noise level"):
            list(steps)
    else:
        next(steps)
        if how == "abandoned":
            steps.close()
    assert unchanged(prior, before)
    assert not any(p.requires_grad or p.grad is not None for p in prior.parameters())


def test_what_offers_a_network_is_adapted(problem) -> None:
    """Through ``adaptable()``, as a loaded prior does, with the same result as the module itself."""
    likelihood, _ = problem
    inside = Smoother()

    class Offering:
        def __init__(self, network: nn.Module) -> None:
            self.network = network

        def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return self.network(x, sigma)

        def adaptable(self):
            return self.network, Offering

    denoiser, adapter = with_adapter(Offering(inside), 2)
    assert isinstance(denoiser, Offering)
    assert isinstance(adapter, LowRank)
    assert adapter.network is inside
    assert torch.equal(run(Offering(inside), likelihood), run(inside, likelihood))


def test_a_prior_without_a_network_is_refused(problem) -> None:
    likelihood, truth = problem
    flat = GaussianDenoiser(torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE))
    with pytest.raises(ValueError, match="GaussianDenoiser has none to adapt: choose another solver") as error:
        next(scd(flat, likelihood, torch.zeros_like(truth), SETTINGS, seeded(0)))
    assert "\n" not in str(error.value)


def test_it_is_on_offer_with_an_honest_label() -> None:
    method = METHODS["scd"]
    assert (method.spread, method.solve, method.settings) == ("concentrated", scd, SCDSettings)
