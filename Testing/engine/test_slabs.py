"""Slabs of a stack against the whole stack, and the run that chooses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from diffusion_engine.coupling.ztv import couple_z
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.run import costs
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.slabs import Slabs, dds_in_slabs
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.solvers.listing import listed_methods, working_megabytes
from diffusion_engine.volume import Volume
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
    likelihood: GaussianLikelihood, prior, slabs: Slabs, noise: Noise, settings: DDSSettings = SETTINGS
) -> Tensor:
    def start(part: slice) -> Tensor:
        return torch.zeros(part.stop - part.start, SIZE, SIZE)

    steps = list(dds_in_slabs(prior, likelihood, start, settings, noise, slabs))
    assert [(step.index, step.total) for step in steps] == [(n + 1, settings.steps) for n in range(settings.steps)]
    return steps[-1].estimate


def whole(likelihood: GaussianLikelihood, prior, noise: Noise, settings: DDSSettings = SETTINGS) -> Tensor:
    *_, step = dds(prior, likelihood, torch.zeros(SLICES, SIZE, SIZE), settings, noise)
    return step.estimate


@dataclass(frozen=True)
class Looking:
    """A denoiser whose estimate of a slice is that of the mean of it and the slices ``reach`` below and above."""

    prior: GaussianDenoiser
    reach: int

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        padded = torch.cat([x[:1]] * self.reach + [x] + [x[-1:]] * self.reach)
        around = x + padded[2 * self.reach :] + padded[: len(x)]
        return self.prior(around / 3, sigma, condition)


@pytest.mark.parametrize("slices", [1, 4, 5, 20])
@pytest.mark.parametrize("period", [1, 3])
def test_slabs_give_the_whole_stack_bit_for_bit(likelihood, prior, slices: int, period: int) -> None:
    expected = whole(likelihood, prior, Noise(3, 4, period=period))
    found = run(likelihood, prior, Slabs(slices), Noise(3, 4, period=period))
    assert torch.equal(found, expected)
    sizes = [part.stop - part.start for part in Slabs(slices).parts(SLICES)]
    assert sum(sizes) == SLICES
    assert max(sizes) <= slices
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_a_denoiser_that_looks_at_neighbours_sees_those_of_the_whole_stack(likelihood, prior, slices: int) -> None:
    looking = Looking(prior, 2)
    expected = whole(likelihood, looking, Noise(3))
    found = run(likelihood, looking, Slabs(slices, reach=2), Noise(3))
    assert torch.equal(found, expected)
    assert not torch.equal(run(likelihood, looking, Slabs(slices), Noise(3)), expected)


@pytest.mark.parametrize("slices", [3, 7])
def test_slabs_with_ztv_give_the_whole_stack_within_tolerance(stored, prior, slices: int) -> None:
    settings = DDSSettings(steps=4, sigma_start=0.6, cg_iterations=40, cg_tolerance=1e-6)
    expected = whole(couple_z(stored, 3.0, 2), prior, Noise(3), settings)
    apart = whole(stored, prior, Noise(3), settings)
    scale = float((expected - apart).norm())
    errors = []
    for halo in (1, 6):
        found = run(stored, prior, Slabs(slices, weight=3.0, sweeps=2, halo=halo), Noise(3), settings)
        errors.append(float((found - expected).norm()) / scale)
    assert errors[1] < 0.01
    assert errors[1] < errors[0] < 0.5


def test_one_slab_with_ztv_is_the_whole_stack(stored, prior) -> None:
    expected = whole(couple_z(stored, 3.0, 2), prior, Noise(3))
    assert torch.equal(run(stored, prior, Slabs(SLICES, weight=3.0, sweeps=2), Noise(3)), expected)


def test_slabs_refuse_what_they_cannot_do(likelihood, prior) -> None:
    with pytest.raises(ValueError, match="slabs need 1 slice or more"):
        Slabs(0)
    with pytest.raises(ValueError, match=r"cannot hold z-TV.*choose products 0"):
        run(likelihood, prior, Slabs(5), Noise(3), replace(SETTINGS, products=2))

    def broken(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x * float("nan")

    with pytest.raises(FloatingPointError, match="not finite at noise level"):
        run(likelihood, broken, Slabs(4), Noise(3))


@pytest.mark.parametrize(("coupling", "close"), [("neighbours", 0.0), ("ztv+noise", 1.0)])
def test_a_tied_run_without_memory_for_all_slices_goes_slab_by_slab(
    monkeypatch: pytest.MonkeyPatch, coupling: str, close: float
) -> None:
    """The forecast chooses slabs where the whole does not fit, and says so; the images are those of the whole."""
    y, x = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 24), indexing="ij")
    body = np.stack([np.where(x**2 + (y - z / 20) ** 2 < 0.6, 40.0, -1000.0) for z in range(6)])
    scan = Volume(body.astype(np.float32), np.diag([-2.0, -2.0, 5.0, 1.0]), "HU")
    asked = {
        "methods": ["diffusion"], "views": 9, "steps": 3, "draws": 1, "coupling": coupling, "slab": 2,
        "keep": ["mean"], "device": "cpu", "precision": "float32", "trust_unit": True, "tv_iterations": 5,
        "prior": "ct-body-stack" if coupling == "neighbours" else "ct-body",
        # Without the broad part, whose system lets the last digits of the projections grow.
        "solver_options": {"broad_std": 0.0},
    }
    usual = reconstruct(scan, asked)
    assert "at a time at every noise level" not in " ".join(usual.report["notes"])
    together, slabs = working_megabytes(listed_methods()["dds"], coupling, {}, 48 * 56, 40, 2, False)
    assert together[0] + 40 * together[1] > slabs[0] + 40 * slabs[1]
    real = costs.forecast

    def tight(shape: tuple[int, int, int], settings: dict, micro: Callable) -> dict:
        """As much memory as slabs need, and not as much as all at once."""
        run = micro()
        enough = real(shape, settings, micro, 1e9)["memory_mb"]
        return real(shape, settings, micro, (enough / 0.9 + 1) if run.batch_mb else enough / 0.9 - 1)

    monkeypatch.setattr(costs, "forecast", tight)
    found = reconstruct(scan, asked)
    assert "they were solved 2 at a time at every noise level" in " ".join(found.report["notes"])
    np.testing.assert_allclose(found.volumes["mean"].array, usual.volumes["mean"].array, atol=0.5 + close * 3)
    with pytest.raises(ValueError, match=r"of memory, .* can be used: "):
        reconstruct(scan, asked, solver="diffpir", solver_options={}, steps=3)
