"""Slices tied to a volume: z-TV against an exact solver, shared noise, stacks of three, planes, and their solvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from diffusion_engine.coupling import COUPLINGS, coupling_named
from diffusion_engine.coupling.perpendicular import InPlane, TwoPlanes
from diffusion_engine.coupling.stack import StackBlend, covering, triplets
from diffusion_engine.coupling.ztv import couple_z, z_difference, z_difference_adjoint, ztv_proximal
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.neighbours import StackDenoiser as NeighbourStack
from diffusion_engine.sampling.noise import Noise, seeded
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.solvers.diffusion_blend import DiffusionBlendSettings, diffusion_blend
from diffusion_engine.solvers.diffusion_mbir import DiffusionMBIRSettings, diffusion_mbir
from diffusion_engine.solvers.tpdm import TPDMSettings, tpdm
from torch import Tensor

SIZE, SLICES = 6, 12


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_ztv(likelihood: GaussianLikelihood, x: Tensor, g: float | Tensor, weight: float) -> Tensor:
    """The minimiser by accelerated projected gradients on the dual, each slice's quadratic solved densely."""
    count, size = x.shape[0], x[0].numel()
    matrix = likelihood.operator.matrix
    v = likelihood.variance.expand(likelihood.data.shape).flatten(1)
    trust = 1 / torch.as_tensor(g, dtype=x.dtype).expand(x.shape).flatten(1)
    inverse = torch.stack([
        torch.linalg.inv(torch.diag(trust[n]) + matrix.T @ (matrix / v[n][:, None])) for n in range(count)
    ])
    right = x.flatten(1) * trust + (likelihood.data.flatten(1) / v) @ matrix

    def primal(p: Tensor) -> Tensor:
        away = right - z_difference_adjoint(p.unflatten(-1, x.shape[1:])).flatten(1)
        return torch.einsum("nij,nj->ni", inverse, away)

    p = ahead = torch.zeros(count - 1, size, dtype=x.dtype)
    momentum = 1.0
    for _ in range(2000):
        new = (ahead + z_difference(primal(ahead)) * trust.min().item() / 4).clamp(-weight, weight)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, p, momentum = new + (momentum - 1) / following * (new - p), new, following
    return primal(p).unflatten(-1, x.shape[1:])


@pytest.fixture
def stack(dense) -> GaussianLikelihood:
    """Five slices of 4 x 3 pixels, the last far from the first, 9 readings each."""
    truth = random(1, 4, 3) + torch.linspace(0, 3, 5, dtype=torch.float64)[:, None, None].pow(2)
    operator = dense((4, 3), (3, 3))
    variance = 0.1 + torch.rand(5, 1, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return GaussianLikelihood(operator, operator.forward(truth) + 0.3 * random(5, 3, 3, seed=3), variance)


def test_z_difference_has_its_adjoint_and_does_not_tie_the_ends() -> None:
    x, p = random(5, 3, 2), random(4, 3, 2, seed=2)
    torch.testing.assert_close((z_difference(x) * p).sum(), (x * z_difference_adjoint(p)).sum())
    assert z_difference_adjoint(p[:0]).shape == (1, 3, 2)
    assert z_difference(x).shape[0] == 4


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("weight", [0.05, 0.7, 5.0])
def test_ztv_proximal_is_the_exact_minimiser(stack: GaussianLikelihood, weight: float, uniform: bool) -> None:
    """With one prior variance for all pixels or one for each."""
    x, g = random(5, 4, 3, seed=2), 0.7 if uniform else 0.3 + 0.5 * random(5, 4, 3, seed=6) ** 2
    exact = exact_ztv(stack, x, g, weight)
    found, _ = ztv_proximal(stack, x, g, weight, sweeps=150, iterations=60, tolerance=1e-10)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


def test_warm_duals_lead_to_the_minimiser_over_the_steps(stack: GaussianLikelihood) -> None:
    x, g = random(5, 4, 3, seed=2), 0.7
    exact = exact_ztv(stack, x, g, 0.7)
    coupled = couple_z(stack, 0.7, sweeps=1)
    first = coupled.proximal(x, g, 60, 1e-10)
    for _ in range(60):
        last = coupled.proximal(x, g, 60, 1e-10)
    assert float((last - exact).norm()) < 0.02 * float((first - exact).norm())
    assert torch.equal(coupled.fresh().proximal(x, g, 60, 1e-10), first)


def test_without_weight_or_neighbours_it_is_the_plain_proximal(stack: GaussianLikelihood) -> None:
    x = random(5, 4, 3, seed=2)
    assert torch.equal(couple_z(stack, 0.0).proximal(x, 0.5), stack.proximal(x, 0.5))
    one = slice(2, 3)
    assert torch.equal(couple_z(stack, 3.0).select(one).proximal(x[one], 0.5), stack.select(one).proximal(x[one], 0.5))


def test_ztv_says_the_same_in_other_units(stack: GaussianLikelihood) -> None:
    z, scale, offset, g = random(5, 4, 3, seed=5), 0.2, 1.5, 0.3
    coupled = couple_z(stack, 0.7)
    inner = coupled.scaled(scale, offset).proximal(z, g / scale**2, 60, 1e-12)
    torch.testing.assert_close(
        scale * (inner + offset), coupled.proximal(scale * (z + offset), g, 60, 1e-12), rtol=1e-7, atol=1e-7
    )


def test_ztv_refusals(stack: GaussianLikelihood) -> None:
    with pytest.raises(ValueError, match="weight of 0 or more"):
        couple_z(stack, -1.0)
    with pytest.raises(ValueError, match="not Gaussian: choose shared noise"):
        couple_z(stack, 1.0).conditional_draw(random(5, 4, 3), 0.5, seeded(0))
    with pytest.raises(ValueError, match="the data of one stack"):
        couple_z(GaussianLikelihood(stack.operator, stack.data[:, None], torch.ones(())), 1.0)


def test_shared_noise_is_standard_and_correlates_as_stated() -> None:
    period, pixels = 4, 20000
    noise = Noise(3, 5, period=period).normal(torch.zeros(13, 1, pixels))[:, 0]
    away = 4 / math.sqrt(pixels)
    assert bool((noise.mean(1).abs() < away).all())
    assert bool((noise.square().mean(1) - 1).abs().max() < away * math.sqrt(2))
    neighbours = (noise[1:] * noise[:-1]).mean(1)
    assert bool((neighbours - math.cos(math.pi / (2 * period))).abs().max() < away * math.sqrt(2))
    assert bool((noise[2 * period :] * noise[: -2 * period]).mean(1).abs().max() < away)
    apart = Noise(3, 5).normal(torch.zeros(4, 1, pixels))[:, 0]
    assert bool((apart[1:] * apart[:-1]).mean(1).abs().max() < away)


@pytest.mark.parametrize("gap", [1, 3])
def test_triplets_cover_every_slice_once_and_stay_inside(gap: int) -> None:
    for count in range(9 if gap == 3 else 1, 24):
        for offset in range(3):
            taken = []
            for slices, places in covering(count, gap, [offset, (offset + 1) % 3, 0][:gap]):
                taken += [slices[place] for place in places]
                assert 0 <= min(slices) <= max(slices) < count
                if count >= 3:
                    assert (slices[1] - slices[0], slices[2] - slices[1]) == (gap, gap)
            assert sorted(taken) == list(range(count))
    with pytest.raises(ValueError, match="an offset from 0 to 2"):
        triplets(range(4), 3)


@dataclass
class ChainDenoiser:
    """The exact denoiser of white images whose slices form a chain of the given correlation, three at a time."""

    correlation: float
    variance: float = 0.25
    stack: int = 3

    def gain(self, count: int, gap: int, sigma: Tensor) -> Tensor:
        place = torch.arange(count, dtype=torch.float64)
        covariance = self.variance * self.correlation ** (gap * (place[:, None] - place).abs())
        return covariance @ torch.linalg.inv(covariance + sigma.double() ** 2 * torch.eye(count, dtype=torch.float64))

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None, gap: int = 1) -> Tensor:
        assert x.shape[1] == 3
        return torch.einsum("ij,njrc->nirc", self.gain(3, gap, sigma), x)

    def sample(self, count: int, seed: int) -> Tensor:
        place = torch.arange(count, dtype=torch.float64)
        covariance = self.variance * self.correlation ** (place[:, None] - place).abs()
        return torch.einsum("ij,jrc->irc", torch.linalg.cholesky(covariance), random(count, SIZE, SIZE, seed=seed))


@dataclass
class SeeingDenoiser:
    """The exact denoiser of a slice of the chain from itself and what is seen of its neighbours."""

    chain: ChainDenoiser
    slice_mm: float
    sigma_data: float = 0.5
    seen: set[int] = field(default_factory=set)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        found = []
        for own, planes in zip(x[:, 0], condition, strict=True):
            values, places = [own], [0]
            for side, image, close in zip((-1, 1), planes[2:4], planes[4:, 0, 0].tolist(), strict=True):
                gap = round(-10 * math.log(close) / self.slice_mm) if close > 0 else 0
                self.seen.add(gap)
                values += [image * (sigma.double() ** 2 + 0.25).sqrt()] if gap else []
                places += [side * gap] if gap else []
            apart = (torch.tensor(places)[:, None] - torch.tensor(places)).abs()
            covariance = 0.25 * self.chain.correlation ** apart.double()
            gain = covariance @ torch.linalg.inv(covariance + sigma.double() ** 2 * torch.eye(len(places)).double())
            found.append(torch.einsum("j,jrc->rc", gain[0], torch.stack(values)))
        return torch.stack(found)[:, None]


def test_blending_a_denoiser_of_single_slices_is_that_denoiser() -> None:
    x, sigma = random(11, 1, SIZE, SIZE), torch.tensor(0.7)
    blend = StackBlend(lambda x, sigma, condition, gap: 0.5 * x, seeded(0))
    for _ in range(4):
        torch.testing.assert_close(blend(x, sigma), 0.5 * x)


def test_blending_comes_nearer_to_the_denoiser_of_the_volume_than_slices_do() -> None:
    chain, sigma = ChainDenoiser(0.95), torch.tensor(0.7)
    for count in (1, 2, 7, 14):
        x = chain.sample(count, 1) + float(sigma) * random(count, SIZE, SIZE, seed=9)
        exact = torch.einsum("ij,jrc->irc", chain.gain(count, 1, sigma), x)
        blend = StackBlend(chain, seeded(0))
        blended = [blend(x[:, None], sigma)[:, 0] for _ in range(4)]
        single = x * 0.25 / (0.25 + float(sigma) ** 2)
        for image in blended if count > 2 else []:
            assert float((image - exact).norm()) < 0.8 * float((single - exact).norm())
        assert all(bool(torch.isfinite(image).all()) for image in blended)


def test_a_prior_that_looks_at_neighbours_blends_as_well(chained) -> None:
    """The exact denoiser of a slice between its neighbours, told by planes how close they are: near and far in turn."""
    chain, likelihood, _ = chained
    seeing = SeeingDenoiser(chain, 5.0)
    alone = last(dds, single, likelihood, DDS)
    draw = last(diffusion_blend, NeighbourStack(seeing, 5.0), likelihood, BLEND, place=torch.zeros(2, SIZE, SIZE))
    assert seeing.seen == {0, 1, 3}
    assert float(z_difference(draw).norm()) < 0.75 * float(z_difference(alone).norm())


def test_planes_turn_the_volume_and_back() -> None:
    x, sigma = random(4, 1, 5, 6), torch.tensor(0.5)
    row = torch.arange(1.0, 4.0)  # stands for a denoiser that tells stack, rows and columns apart

    def marked(axis: int) -> Callable[..., Tensor]:
        def denoiser(images: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            shape = [1] * 4
            shape[axis] = -1
            factor = 1 + torch.arange(images.shape[axis], dtype=images.dtype)
            return images * factor.reshape(shape) * row[0]

        return denoiser

    for plane, axes in (("axial", (0, 1, 2)), ("coronal", (1, 0, 2)), ("sagittal", (2, 0, 1))):
        for place, axis in zip((0, 2, 3), axes, strict=True):
            shape = [1, 1, 1]
            shape[axis] = -1
            expected = x[:, 0] * (1 + torch.arange(x[:, 0].shape[axis], dtype=x.dtype)).reshape(shape)
            torch.testing.assert_close(InPlane(marked(place), plane)(x, sigma)[:, 0], expected)
    with pytest.raises(ValueError, match="no plane named 'oblique'"):
        InPlane(marked(0), "oblique")


@pytest.fixture
def chained(dense) -> tuple[ChainDenoiser, GaussianLikelihood, Tensor]:
    """Slices that resemble their neighbours, 12 readings of 36 pixels each, and the truths."""
    chain = ChainDenoiser(0.95)
    truth = chain.sample(SLICES, 1)
    operator = dense((SIZE, SIZE), (3, 4))
    data = operator.forward(truth) + 0.05 * random(SLICES, 3, 4, seed=3)
    return chain, GaussianLikelihood(operator, data, torch.tensor(0.05**2, dtype=torch.float64)), truth


def single(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """The exact denoiser of each slice of the chain alone."""
    return x * 0.25 / (0.25 + sigma.to(x) ** 2)


def last(
    solve, denoiser, likelihood: GaussianLikelihood, settings, seed: int = 5, place: Tensor | None = None
) -> Tensor:
    start = torch.zeros(likelihood.data.shape[0], SIZE, SIZE, dtype=torch.float64)
    steps = list(solve(denoiser, likelihood, start, settings, seeded(seed), place))
    assert [s.index for s in steps] == list(range(1, settings.steps + 1))
    return steps[-1].estimate


DDS = DDSSettings(steps=12, sigma_start=1.0, cg_iterations=20, cg_tolerance=1e-8)
BLEND = DiffusionBlendSettings(steps=12, sigma_start=1.0, cg_iterations=20, cg_tolerance=1e-8)
MBIR = DiffusionMBIRSettings(steps=50, sigma_start=1.0, weight=4.0, cg_iterations=8)
TPDM = TPDMSettings(steps=60, sigma_start=1.0, every=2.0, cg_iterations=20, cg_tolerance=1e-8)


def coronal(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """The exact denoiser of coronal slices of the chain: (rows, 1, slices, columns)."""
    return torch.einsum("ij,rkjc->rkic", ChainDenoiser(0.95).gain(x.shape[2], 1, sigma), x)


@pytest.mark.parametrize("name", ["diffusion_blend", "diffusion_mbir", "tpdm"])
def test_solvers_of_volumes_use_what_slices_share(name: str, chained) -> None:
    """Draws fit the data and change less from slice to slice than without the coupling; a seed is a draw.

    All slices are measured alike, so that what the data leave open changes along z as the prior has it.
    """
    chain, likelihood, truth = chained
    planes = TwoPlanes(single, InPlane(coronal, "coronal"))
    solve, prior, settings, without = {
        "diffusion_blend": (diffusion_blend, chain, BLEND, (dds, single, DDS)),
        "diffusion_mbir": (diffusion_mbir, single, MBIR, (diffusion_mbir, single, replace(MBIR, weight=0.0))),
        "tpdm": (tpdm, planes, TPDM, (tpdm, planes, replace(TPDM, every=1e9))),
    }[name]
    alone, draw = last(without[0], without[1], likelihood, without[2]), last(solve, prior, likelihood, settings)
    changes = [float(z_difference(x).norm() / z_difference(truth).norm()) for x in (alone, draw)]
    assert changes[0] > 2
    assert 0.5 < changes[1] < 0.75 * changes[0]
    assert torch.equal(draw, last(solve, prior, likelihood, settings))
    assert not torch.equal(draw, last(solve, prior, likelihood, settings, 6))
    assert float(likelihood.residual_ratio(draw).mean()) < 5 < 0.01 * float(likelihood.residual_ratio(0 * draw).mean())


def test_solvers_that_need_another_prior_say_so(chained) -> None:
    _, likelihood, _ = chained
    with pytest.raises(ValueError, match="a prior of three neighbouring slices"):
        last(diffusion_blend, single, likelihood, BLEND)
    with pytest.raises(ValueError, match="one of a perpendicular plane"):
        last(tpdm, single, likelihood, TPDM)
    planes = TwoPlanes(single, single)
    with pytest.raises(ValueError, match="every 1 or more steps"):
        last(tpdm, planes, likelihood, replace(TPDM, every=0.5))


@pytest.mark.parametrize("solve", [diffusion_mbir, tpdm])
def test_a_prior_that_breaks_down_raises(solve, chained) -> None:
    _, likelihood, _ = chained

    def broken(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x * float("nan") if float(sigma) < 0.5 else x

    prior, settings = (TwoPlanes(broken, broken), TPDM) if solve is tpdm else (broken, MBIR)
    with pytest.raises(FloatingPointError, match="not finite at noise level"):
        last(solve, prior, likelihood, settings)


@pytest.mark.parametrize("name", list(COUPLINGS))
def test_couplings_are_deterministic_and_draws_differ(name: str, chained) -> None:
    _, likelihood, truth = chained

    def draws() -> list[Tensor]:
        found = []
        for _, noise in Noise(2).draws(2):
            coupled, shared = coupling_named(name).couple(likelihood, noise, 5.0)
            *_, step = dds(single, coupled, torch.zeros_like(truth), replace(DDS, steps=4), shared)
            found.append(step.estimate)
        return found

    first, again = draws(), draws()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])


def test_ztv_and_shared_noise_calm_what_the_data_do_not_decide(chained) -> None:
    """Draws of slices whose truth hardly changes: second differences fall with each coupling, most with both."""
    _, likelihood, _ = chained
    still = replace(likelihood, data=likelihood.data[:1].expand_as(likelihood.data).contiguous())

    def rough(name: str) -> float:
        coupled, noise = coupling_named(name).couple(still, Noise(2), 5.0)
        *_, step = dds(single, coupled, torch.zeros(SLICES, SIZE, SIZE, dtype=torch.float64), DDS, noise)
        return float(z_difference(z_difference(step.estimate)).abs().mean())

    alone, tv, noise, both = (rough(name) for name in ("none", "ztv", "noise", "ztv+noise"))
    assert tv < 0.9 * alone
    assert noise < 0.9 * alone
    assert both < min(tv, noise)


def test_an_unknown_coupling_is_refused() -> None:
    with pytest.raises(ValueError, match="no coupling named 'glue': choose from"):
        coupling_named("glue")


def test_in_plane_prior_of_a_volume_is_the_wiener_filter_of_its_slices() -> None:
    spectrum = torch.ones(4, 6, dtype=torch.float64)
    prior = GaussianDenoiser(torch.zeros(4, 6, dtype=torch.float64), spectrum)
    x, sigma = random(4, 1, 5, 6), torch.tensor(1.0)
    torch.testing.assert_close(InPlane(prior, "coronal")(x, sigma), 0.5 * x)
