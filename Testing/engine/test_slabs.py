"""Slabs of a stack against the whole stack, and what they leave on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion_engine.coupling.shared_noise import SliceNoise
from diffusion_engine.coupling.slabs import SlabRun, SlabSettings, StoredVolume
from diffusion_engine.coupling.ztv import couple_z
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.posterior.moments import RunningMoments
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import numbered_draws
from diffusion_engine.solvers.dds import DDSSettings, dds
from torch import Tensor

SIZE, SLICES = 16, 13
SETTINGS = DDSSettings(steps=4, sigma_start=0.6, cg_iterations=6)


def scan(implementation: str) -> GaussianLikelihood:
    """Sparse-view CT of slowly changing slices, network units, each slice with a noise level of its own."""
    generator = torch.Generator().manual_seed(0)
    grid = ImageGrid(SIZE, SIZE, (4.0, 4.0))
    projector = make_projector(parallel_geometry(grid, 6), grid, implementation=implementation)
    truth = torch.randn(SLICES, SIZE, SIZE, generator=generator).cumsum(0) * 0.1
    clean = projector.forward(0.02 * (truth + 1))
    std = 0.02 * (1 + torch.rand(SLICES, 1, 1, generator=generator))
    data = clean + std * torch.randn(clean.shape, generator=generator)
    return GaussianLikelihood(projector, data, std**2).scaled(0.02, 1.0)


@pytest.fixture(scope="module")
def likelihood() -> GaussianLikelihood:
    """The same sums in the same order for any number of slices; the stored matrix has another product for few."""
    return scan("on_the_fly")


@pytest.fixture(scope="module")
def stored() -> GaussianLikelihood:
    return scan("matrix")


@pytest.fixture(scope="module")
def prior() -> GaussianDenoiser:
    frequency = torch.fft.fftfreq(SIZE)
    spectrum = 1 / (0.02 + frequency[:, None] ** 2 + frequency**2)
    return GaussianDenoiser(torch.zeros(SIZE, SIZE), 0.25 * spectrum / spectrum.mean())


def run(
    folder: Path, likelihood: GaussianLikelihood, prior, slabs: SlabSettings, noise: SliceNoise, draws: int = 1,
    settings: DDSSettings = SETTINGS,
) -> SlabRun:
    def start(part: slice) -> Tensor:
        return torch.zeros(part.stop - part.start, SIZE, SIZE)

    found = SlabRun((SLICES, SIZE, SIZE), folder, likelihood.select, start, slabs)
    steps = list(found.draw(prior, settings, noise, draws))
    assert len(steps) == draws * settings.steps * len(found.parts())
    assert (steps[-1].draw, steps[-1].step, steps[-1].slab) == (draws, settings.steps, steps[-1].slabs)
    return found


def whole(likelihood: GaussianLikelihood, prior, noise: SliceNoise, settings: DDSSettings = SETTINGS) -> Tensor:
    *_, step = dds(prior, likelihood, torch.zeros(SLICES, SIZE, SIZE), settings, noise)
    return step.estimate


@pytest.mark.parametrize("slices", [1, 4, 5, 20])
@pytest.mark.parametrize("period", [1, 3])
def test_slabs_give_the_whole_stack_bit_for_bit(tmp_path: Path, likelihood, prior, slices: int, period: int) -> None:
    expected = whole(likelihood, prior, SliceNoise(3, period=period))
    found = run(tmp_path, likelihood, prior, SlabSettings(slices), SliceNoise(3, period=period))
    assert torch.equal(found.state.read(slice(None)), expected)
    assert {path.stem for path in tmp_path.iterdir()} == {"state", "mean", "squares", "estimate", "change"}
    sizes = [part.stop - part.start for part in found.parts()]
    assert sum(sizes) == SLICES
    assert max(sizes) <= slices
    assert max(sizes) - min(sizes) <= 1


def test_slabs_with_products_give_the_whole_stack_within_tolerance(tmp_path: Path, likelihood, prior) -> None:
    settings = replace(SETTINGS, products=2)
    expected = whole(likelihood, prior, SliceNoise(3), settings)
    scale = float((expected - whole(likelihood, prior, SliceNoise(3))).norm())
    found = run(tmp_path, likelihood, prior, SlabSettings(5), SliceNoise(3), settings=settings)
    assert float((found.state.read(slice(None)) - expected).norm()) < 0.001 * scale
    with pytest.raises(ValueError, match=r"cannot hold z-TV.*choose products 0"):
        run(tmp_path, likelihood, prior, SlabSettings(5, weight=1.0), SliceNoise(3), settings=settings)


@pytest.mark.parametrize("slices", [3, 7])
def test_slabs_with_ztv_give_the_whole_stack_within_tolerance(tmp_path: Path, stored, prior, slices: int) -> None:
    settings = DDSSettings(steps=4, sigma_start=0.6, cg_iterations=40, cg_tolerance=1e-6)
    expected = whole(couple_z(stored, 3.0, 2), prior, SliceNoise(3), settings)
    apart = whole(stored, prior, SliceNoise(3), settings)
    scale = float((expected - apart).norm())
    errors = []
    for halo in (1, 6):
        slabs = SlabSettings(slices, weight=3.0, sweeps=2, halo=halo)
        found = run(tmp_path / str(halo), stored, prior, slabs, SliceNoise(3), settings=settings)
        errors.append(float((found.state.read(slice(None)) - expected).norm()) / scale)
        assert len(list((tmp_path / str(halo)).iterdir())) == 6
    assert errors[1] < 0.01
    assert errors[1] < errors[0] < 0.5


def test_one_slab_with_ztv_is_the_whole_stack(tmp_path: Path, stored, prior) -> None:
    expected = whole(couple_z(stored, 3.0, 2), prior, SliceNoise(3))
    found = run(tmp_path, stored, prior, SlabSettings(SLICES, weight=3.0, sweeps=2), SliceNoise(3))
    assert torch.equal(found.state.read(slice(None)), expected)


@pytest.mark.parametrize("antithetic", [False, True])
def test_moments_are_those_of_the_draws(tmp_path: Path, likelihood, prior, antithetic: bool) -> None:
    noise, moments, settings = SliceNoise(3), RunningMoments(), replace(SETTINGS, antithetic=antithetic)
    for _ in numbered_draws(noise, 3, antithetic):
        moments.add(whole(likelihood, prior, noise))
    found = run(tmp_path, likelihood, prior, SlabSettings(4), SliceNoise(3), draws=3, settings=settings)
    part = slice(2, 9)
    torch.testing.assert_close(found.mean(part), moments.mean[part], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.std(part), moments.std[part], rtol=1e-4, atol=1e-5)


def test_slabs_refuse_what_they_cannot_do(tmp_path: Path, likelihood, prior) -> None:
    with pytest.raises(ValueError, match="slabs need 1 slice or more"):
        SlabSettings(0)
    found = SlabRun((3, SIZE, SIZE), tmp_path, likelihood.select, lambda part: torch.zeros(3), SlabSettings())
    with pytest.raises(ValueError, match="no draw yet"):
        found.mean(slice(0, 1))
    with pytest.raises(ValueError, match="at least 2 draws"):
        found.std(slice(0, 1))
    with pytest.raises(ValueError, match=r"expected slices of shape \(2, 4, 4\), found \(1, 4, 4\)"):
        StoredVolume(tmp_path / "x.npy", (3, 4, 4)).write(slice(0, 2), torch.zeros(1, 4, 4))

    def broken(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x * float("nan")

    with pytest.raises(FloatingPointError, match="not finite at noise level"):
        run(tmp_path, likelihood, broken, SlabSettings(4), SliceNoise(3))
