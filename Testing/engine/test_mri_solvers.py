"""Solvers on complex images of several coils, against the exact posterior of nearly real ones."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from benchmarks import posterior_truth
from diffusion_engine.coupling.perpendicular import TwoPlanes
from diffusion_engine.coupling.ztv import clip, couple_z, z_difference, z_difference_adjoint, ztv_proximal
from diffusion_engine.likelihoods.contract import weighted_readings
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.masked_fourier import MaskedFourier, centred_fft
from diffusion_engine.physics.mri import MultiCoilFourier
from diffusion_engine.priors.real_part import RealPart
from diffusion_engine.sampling.noise import Noise, seeded
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.contract import linearise
from diffusion_engine.solvers.ilvr import low_pass
from diffusion_engine.solvers.moment_matching import jacobian_spectrum
from diffusion_engine.solvers.scd import with_adapter
from diffusion_engine.solvers.score_mri import ScoreMRISettings, score_mri
from diffusion_engine.solvers.tpdm import guided
from torch import Tensor, nn

SIZE, DRAWS, NOISE = 12, 4, 0.05


@dataclass(frozen=True, eq=False)
class Small:
    """A prior, a likelihood, a zero-filled start and the exact posterior mean, complex."""

    denoiser: Any
    likelihood: GaussianLikelihood
    start: Tensor
    exact: Tensor


@cache
def small() -> Small:
    """Three coils, six of twelve lines."""
    problem = posterior_truth.PROBLEMS["coils_fourier"](size=SIZE, coils=3, scans=((6, NOISE),))
    case, = problem.cases
    eye = torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)
    basis = torch.cat([torch.complex(eye, 0 * eye), torch.complex(0 * eye, eye)])
    mean = torch.linalg.solve(case.truth.coordinates(basis).T, case.truth.mean).float()
    exact = torch.complex(*mean.reshape(2, SIZE, SIZE))[None]
    return Small(problem.denoiser, case.likelihood, case.likelihood.operator.adjoint(case.likelihood.data), exact)


def draws_of(name: str, problem: Small, count: int = DRAWS, **options: Any) -> Tensor:
    """The last estimates of a method of the catalogue."""
    method = METHODS[name]
    start = problem.start.expand(count, SIZE, SIZE).clone()
    steps = method.solve(problem.denoiser, problem.likelihood, start, method.settings(**options), seeded(3))
    return deque(steps, 1)[0].estimate


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().square().mean().sqrt())


LEVELS = {"steps": 20, "sigma_start": 1.0}
SOLVERS: dict[str, tuple[str, dict[str, Any], float]] = {
    "dds": ("dds", LEVELS, 0.4), "dds, products": ("dds", {**LEVELS, "products": 3}, 0.4),
    "tmpd": ("tmpd", {"steps": 20, "sigma_max": 20.0}, 0.4), "mmps": ("mmps", {"steps": 20, "sigma_max": 20.0}, 0.4),
    "tmpd, broad": ("tmpd", {"steps": 20, "sigma_max": 20.0, "broad_std": 0.05}, 0.4),
    "dds, broad": ("dds", {**LEVELS, "broad_std": 0.05}, 0.4),
    "csgm": ("csgm", LEVELS, 0.5), "diffpir": ("diffpir", LEVELS, 0.5), "ddnm": ("ddnm", LEVELS, 0.5),
    "pigdm": ("pigdm", LEVELS, 0.4), "dps": ("dps", {**LEVELS, "steps": 60}, 0.6), "mcg": ("mcg", LEVELS, 0.6),
    "red_diff": ("red_diff", LEVELS, 0.6), "song": ("song", LEVELS, 0.6),
    "ccdf": ("ccdf", {**LEVELS, "iterations": 2}, 0.7), "pfgm": ("pfgm", LEVELS, 0.6),
    "consistency": ("consistency", {"steps": 8, "sigma_start": 1.0}, 0.5), "score_mri": ("score_mri", LEVELS, 0.6),
    "score_mri, separate": ("score_mri", {**LEVELS, "channels": "separate"}, 0.6),
    "r2d2": ("r2d2", {**LEVELS, "factor": 6.0}, 0.6),
}


@pytest.mark.parametrize("name", list(SOLVERS))
def test_draws_of_several_coils_come_near_the_exact_posterior_mean(name: str) -> None:
    method, options, share = SOLVERS[name]
    problem = small()
    found = draws_of(method, problem, **options)
    assert found.is_complex()
    assert distance(found.mean(0), problem.exact[0]) < share * distance(problem.start, problem.exact)
    assert 0.2 < float(problem.likelihood.residual_ratio(found).mean()) < 1.5


@pytest.mark.parametrize("name", ["ilvr", "hijack"])
def test_denoisers_of_an_image_take_complex_ones(name: str) -> None:
    """Of the real parts' noise; the little imaginary one shrinks."""
    problem = small()
    noisy = problem.exact + 0.3 * seeded(1).normal(problem.exact)
    found = draws_of(name, replace(problem, start=noisy), sigma_start=0.3, **({} if name == "ilvr" else {"entry": 1.0}))
    assert found.is_complex()
    assert distance(found.mean(0), problem.exact[0]) < 0.8 * distance(noisy, problem.exact)
    assert float(found.imag.abs().mean()) < 0.7 * float(noisy.imag.abs().mean())


class Blurring(nn.Module):
    """A network of real images that only knows that they are smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
        nn.init.constant_(self.filter.weight, 1 / 9)
        self.requires_grad_(False)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        found: Tensor = self.filter(x) / (1 + sigma**2)
        return found


def test_a_network_of_the_real_part_is_adapted_to_the_data() -> None:
    """The adapters are in the network alone; the imaginary part shrinks as without them."""
    network = Blurring()
    prior = RealPart(network, 0.05)
    adapted, adapter = with_adapter(prior, 4)
    assert isinstance(adapted, RealPart)
    assert (adapted.denoiser, adapted.imaginary_std) == (adapter, 0.05)
    options = {"steps": 4, "sigma_start": 1.0, "skip": 2, "last": 1, "inner_steps": 3, "first_inner_steps": 3}
    problem = replace(small(), denoiser=prior)
    found = draws_of("scd", problem, 1, **options)
    plain = draws_of("scd", problem, 1, **{**options, "inner_steps": 0, "first_inner_steps": 0})
    assert not torch.equal(found, plain)
    assert bool(torch.isfinite(found.abs()).all())
    torch.testing.assert_close(network.filter.weight, torch.full((1, 1, 3, 3), 1 / 9))
    with pytest.raises(ValueError, match="function has none to adapt"):
        with_adapter(RealPart(lambda x, sigma, condition=None: x, 0.05), 2)


# What a data step makes of complex readings, and of those that were not taken.


def test_only_readings_that_were_taken_count() -> None:
    """Six lines of twelve, of three coils; a run is the same when what was not measured is not there at all."""
    problem = small()
    assert weighted_readings(problem.likelihood, problem.start).flatten().tolist() == [3 * 6 * SIZE]
    operator = problem.likelihood.operator
    assert isinstance(operator, MultiCoilFourier)
    lines = operator.mask[0].any(1).nonzero()[:, 0]
    few = problem.likelihood.subset(lines)
    assert few.data.shape[-2] == 6
    bare = replace(problem, likelihood=replace(few, variance=torch.tensor(NOISE**2)))
    for name in ("dps", "mcg"):
        torch.testing.assert_close(
            draws_of(name, problem, 1, steps=6, sigma_start=1.0), draws_of(name, bare, 1, steps=6, sigma_start=1.0),
            rtol=1e-3, atol=1e-4,
        )


def test_a_gradient_turned_in_the_complex_plane_turns_the_step_of_red_diff() -> None:
    """Adam's first step is along slope / |slope|: of data i y, where the prior says nothing, i times that of y."""
    problem = small()

    def first(factor: complex) -> Tensor:
        likelihood = replace(problem.likelihood, data=problem.likelihood.data * factor)
        method = METHODS["red_diff"]
        settings = method.settings(weight=0.0, step_length=0.01)
        zero = torch.zeros_like(problem.start)
        return next(iter(method.solve(problem.denoiser, likelihood, zero, settings, seeded(0)))).estimate

    torch.testing.assert_close(first(1j), 1j * first(1.0))
    torch.testing.assert_close(first(1.0).abs(), torch.full((1, SIZE, SIZE), 0.01), rtol=1e-3, atol=1e-6)


def test_the_pull_of_the_data_is_the_best_step_of_all_coils() -> None:
    """Along d = J' grad f the misfit has its minimum at the full step."""
    problem = small()
    x = problem.start + 0.3 * seeded(2).normal(problem.start)
    estimate, product = linearise(problem.denoiser, x, 0.3)
    pull = guided(problem.likelihood, estimate, product, 1.0)
    least = float(problem.likelihood.misfit(estimate - pull))
    for share in (0.9, 1.1):
        assert float(problem.likelihood.misfit(estimate - share * pull)) > least


def test_gains_of_the_parts_are_measured_apart() -> None:
    """By one product: the real part's spectrum and the imaginary part's constant share."""
    problem, sigma = small(), 0.2
    calls = []
    x = torch.zeros(1, SIZE, SIZE, dtype=torch.complex64)
    _, product = linearise(problem.denoiser, x, sigma)

    def counted(v: Tensor) -> Tensor:
        calls.append(v)
        return product(v)

    real, imaginary = jacobian_spectrum(counted, seeded(4).normal(x))
    assert len(calls) == 1
    torch.testing.assert_close(imaginary, torch.full_like(imaginary, 0.05**2 / (0.05**2 + sigma**2 / 2)))
    spectrum = problem.denoiser.denoiser.spectrum
    assert float((real[0] - spectrum / (spectrum + sigma**2 / 2)).abs().max()) < 0.05
    assert real.max() > 4 * imaginary.max()


# Score-MRI of several coils


def test_one_coil_ends_with_the_measured_samples_and_both_variants_are_one() -> None:
    problem = small()
    mask = problem.likelihood.operator.mask  # type: ignore[attr-defined]
    single = MultiCoilFourier(torch.ones(1, 1, SIZE, SIZE, dtype=torch.complex64), mask)
    likelihood = GaussianLikelihood(single, single.forward(problem.exact), single.variance(torch.tensor(NOISE**2)))
    one = replace(problem, likelihood=likelihood, start=single.adjoint(likelihood.data))
    found = [
        draws_of("score_mri", one, 1, steps=6, **options)
        for options in ({}, {"channels": "separate", "every": 1000}, {"channels": "separate", "every": 1})
    ]
    torch.testing.assert_close(single.forward(found[0]), likelihood.data, rtol=1e-4, atol=1e-4)
    for other in found[1:]:
        assert distance(found[0], other) < 0.05 * distance(found[0], one.start)


def test_separate_coils_keep_their_own_samples_until_they_are_tied() -> None:
    """Their root of the sum of squares sees the samples; tied, coil images that cannot be S_c x are made so."""
    problem = small()
    residual = {}
    for every in (1000, 2):
        found = draws_of("score_mri", problem, 1, steps=12, channels="separate", every=every)
        residual[every] = float(problem.likelihood.residual_ratio(found))
        assert distance(found, problem.exact) < 0.7 * distance(problem.start, problem.exact)
    assert residual[1000] != residual[2]
    turned = 2.0 * problem.likelihood.operator.maps  # type: ignore[attr-defined]
    other = replace(problem.likelihood.operator, maps=turned)  # type: ignore[type-var]
    scaled = GaussianLikelihood(other, 2.0 * problem.likelihood.data, problem.likelihood.variance)
    options = {"steps": 4, "channels": "separate"}
    torch.testing.assert_close(
        draws_of("score_mri", replace(problem, likelihood=scaled), 1, **options),
        draws_of("score_mri", problem, 1, **options),
    )


def test_separate_coils_need_coil_maps() -> None:
    problem = small()
    plain = MaskedFourier(torch.ones(SIZE, SIZE, dtype=torch.bool))
    likelihood = GaussianLikelihood(plain, plain.forward(problem.exact), torch.tensor(1.0))
    with pytest.raises(ValueError, match="found MaskedFourier: choose combined channels"):
        next(score_mri(problem.denoiser, likelihood, problem.start, ScoreMRISettings(channels="separate"), seeded(0)))
    with pytest.raises(ValueError, match="one of \\('combined', 'separate'\\) as the option channels"):
        METHODS["score_mri"].options({"channels": "both"})


# R2D2+


def _coarse(level: float = 0.3) -> Small:
    """The middle of k-space alone, noisy: an image of low resolution, whose parts do not mix."""
    problem, frequency = small(), torch.arange(SIZE) - SIZE // 2
    mask = ((frequency.abs()[:, None] <= 3) & (frequency.abs() <= 3))[None]
    operator = MultiCoilFourier(torch.ones(1, 1, SIZE, SIZE, dtype=torch.complex64), mask)
    white = seeded(5).normal(torch.zeros(1, 1, SIZE, SIZE, dtype=torch.complex64))
    data = (operator.forward(problem.exact) + level * white) * mask
    likelihood = GaussianLikelihood(operator, data, operator.variance(torch.tensor(level**2)))
    start = operator.adjoint(data)
    exact = problem.denoiser(start[:, None], torch.tensor(level))[:, 0]
    return replace(problem, likelihood=likelihood, start=start, exact=exact)


def test_r2d2_denoises_and_fills_in_at_once() -> None:
    """The mean of draws is near the exact posterior mean; draws differ where the data do not see."""
    problem = _coarse()
    found = draws_of("r2d2", problem, 8, sigma_start=0.4, factor=12.0)
    assert distance(found.mean(0), problem.exact[0]) < 0.6 * distance(problem.start, problem.exact)
    beyond = centred_fft(found) * ~problem.likelihood.operator.mask  # type: ignore[attr-defined]
    assert float(beyond.abs().square().mean()) > 1e-4


def test_r2d2_keeps_low_frequencies_as_far_as_it_is_told() -> None:
    """Where the data say nothing and the prior says zero, the kept share of what the image shows is left."""
    problem = _coarse()
    silent = replace(problem.likelihood, variance=torch.full_like(problem.likelihood.variance, 1e12))

    def nothing(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)

    for weight in (0.0, 0.25, 1.0):
        found = draws_of(
            "r2d2", replace(problem, likelihood=silent, denoiser=nothing), 1, steps=5, factor=4.0, weight=weight
        )
        torch.testing.assert_close(found, weight * low_pass(problem.start, 4.0))
    with pytest.raises(ValueError, match="weight of the low frequencies must lie between 0 and 1, found 2"):
        draws_of("r2d2", problem, 1, weight=2.0)


# Stacks of complex slices


def _stack(slices: int = 5) -> GaussianLikelihood:
    problem = small()
    operator = problem.likelihood.operator
    turned = torch.polar(torch.ones(slices), torch.linspace(0, 0.6, slices))[:, None, None]
    images = problem.exact * turned
    noise = Noise(6).normal(torch.zeros(slices, *operator.out_shape, dtype=torch.complex64))
    data = (operator.forward(images) + NOISE * noise) * operator.mask  # type: ignore[attr-defined]
    return GaussianLikelihood(operator, data, problem.likelihood.variance)


def test_z_tv_of_complex_stacks_is_the_exact_minimiser() -> None:
    """By its conditions: (z - x) / g + A' V^-1 (A z - y) + D' p = 0 with p of length lambda along every difference."""
    stack, g, weight = _stack(), 0.2, 3.0
    double = replace(
        stack, operator=replace(stack.operator, maps=stack.operator.maps.to(torch.complex128)),  # type: ignore
        data=stack.data.to(torch.complex128), variance=stack.variance.double() * 100,
    )
    x = Noise(7).normal(torch.zeros(5, SIZE, SIZE, dtype=torch.complex128))
    z, dual = ztv_proximal(double, x, g, weight, None, 120, 20, 1e-8)
    p = clip(dual, weight)
    slope = (z - x) / g + double.gradient(z) + z_difference_adjoint(p)
    assert float(slope.abs().max()) < 1e-4
    assert float(p.abs().max()) <= weight * (1 + 1e-9)
    step = z_difference(z)
    moved = step.abs() > 1e-3
    assert 0.02 < float(moved.double().mean()) < 0.98
    torch.testing.assert_close(p[moved], weight * step[moved] / step[moved].abs(), rtol=1e-2, atol=1e-2)


def test_z_tv_and_shared_noise_calm_complex_stacks() -> None:
    """Of one image measured in every slice alike, draws differ less along z with each coupling."""
    whole, problem = _stack(6), small()
    same = replace(whole, data=whole.data[:1].expand_as(whole.data).contiguous())
    settings = METHODS["dds"].settings(steps=8, sigma_start=1.0)
    start = problem.start.expand(6, SIZE, SIZE).clone()

    def rough(likelihood: GaussianLikelihood, noise: Noise) -> float:
        found = deque(METHODS["dds"].solve(problem.denoiser, likelihood, start, settings, noise), 1)[0].estimate
        return float(z_difference(found).abs().mean())

    alone = rough(same, Noise(2))
    assert rough(couple_z(same, 3.0), Noise(2)) < 0.8 * alone
    assert rough(same, Noise(2).shared(4)) < 0.8 * alone


def test_two_perpendicular_priors_see_all_coils() -> None:
    """TPDM of complex slices, the same prior across: draws fit the data of all coils and near the exact mean."""
    problem, stack = small(), _stack(4)
    still = replace(stack, data=problem.likelihood.data.expand(4, -1, -1, -1).contiguous())

    def across(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """Slices that are all the same, with white noise: the mean of what was seen."""
        clean = problem.denoiser(x.mean(0, keepdim=True), sigma / 2, condition)
        return clean.expand_as(x).clone()

    planes = TwoPlanes(problem.denoiser, across)
    settings = METHODS["tpdm"].settings(steps=40, sigma_start=1.0, every=2.0)
    start = problem.start.expand(4, SIZE, SIZE).clone()
    found = deque(METHODS["tpdm"].solve(planes, still, start, settings, seeded(3)), 1)[0].estimate
    assert distance(found.mean(0), problem.exact[0]) < 0.5 * distance(problem.start, problem.exact)
    assert 0.2 < float(still.residual_ratio(found).mean()) < 1.5
