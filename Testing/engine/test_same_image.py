"""A slice's image depends on its data, the seed and its place in the stack alone, not on what is solved with it."""

from __future__ import annotations

from collections import deque
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.posterior.residual_map import residual_map
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.sampling.noise import USES, Noise
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.listing import listed_couplings, listed_methods, ties_slices
from diffusion_engine.volume import Volume
from torch import Tensor, nn

SIZE, SLICES = 16, 3
QUICK: dict[str, Any] = {
    "steps": 4, "levels": 3, "inner_steps": 1, "first_inner_steps": 2, "rank": 2, "patch": 8, "iterations": 4,
    "cg_iterations": 5, "products": 2, "inner_iterations": 4, "sigma_start": 0.6, "sigma_max": 5.0, "sigma_min": 0.02,
    "tolerance": 0.2, "cg_tolerance": 0.05, "inner_tolerance": 0.2,
}
APART = [name for name, method in METHODS.items() if "ct" in method.modalities and not method.ties]


class Local(nn.Module):
    """A denoiser that is neither linear nor stationary, with a network that can be adapted."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.filter.weight[:] = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64) / 16

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        share = 0.25 / (0.25 + sigma.to(x).reshape(-1, 1, 1, 1) ** 2)
        return share * self.filter(x) + 0.1 * (1 - share) * torch.tanh(x)


@pytest.fixture(scope="module")
def scan() -> tuple[GaussianLikelihood, Tensor]:
    """Three quite different slices, so that each takes its own number of iterations, and their start."""
    generator = torch.Generator().manual_seed(0)
    grid = ImageGrid(SIZE, SIZE, (4.0, 4.0))
    projector = make_projector(parallel_geometry(grid, 8), grid, dtype=torch.float64)
    scale = torch.tensor([0.05, 0.4, 2.0], dtype=torch.float64)[:, None, None]
    truth = scale * torch.randn(SLICES, SIZE, SIZE, generator=generator, dtype=torch.float64)
    clean = projector.forward(0.02 * (truth + 1))
    std = 0.005 * (1 + torch.arange(SLICES, dtype=torch.float64))[:, None, None]
    data = clean + std * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return GaussianLikelihood(projector, data, std**2).scaled(0.02, 1.0), 0.8 * truth


def result(name: str, likelihood: GaussianLikelihood, start: Tensor, noise: Noise) -> Tensor:
    method, denoiser = METHODS[name], Local()
    known = {field.name for field in fields(method.settings)}
    given = {key: value for key, value in QUICK.items() if key in known}
    if name == "tweedie":
        given.pop("rate", None)
    options = method.options(given)
    return deque(method.solve(denoiser, likelihood, start, options, noise), 1)[0].estimate


@pytest.mark.parametrize("name", APART)
def test_slices_together_are_slices_one_by_one(name: str, scan: tuple) -> None:
    likelihood, start = scan
    places = (4, 9, 7)
    whole = result(name, likelihood, start, Noise(3, places))
    for n, place in enumerate(places):
        one = slice(n, n + 1)
        alone = result(name, likelihood.select(one), start[one], Noise(3, place))
        assert float((alone - whole[one]).norm()) < 1e-4 * float(alone.norm()), n


@pytest.mark.parametrize("products", [1, 3])
def test_dds_with_products_too(products: int, scan: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUICK, "products", products)
    test_slices_together_are_slices_one_by_one("dds", scan)


def test_methods_that_tie_slices_are_solved_all_together() -> None:
    tied = {name for name, method in METHODS.items() if method.ties}
    assert tied == {"diffusion_mbir", "diffusion_blend", "tpdm", "pet_dds"}
    methods = listed_methods()
    assert ties_slices(methods["diffusion_mbir"], "none")
    tied = {coupling for coupling in listed_couplings() if ties_slices(methods["dds"], coupling)}
    assert tied == set(listed_couplings()) - {"none", "noise"}


@pytest.mark.parametrize("period", [1, 3])
def test_numbers_know_seed_use_draw_call_and_slice_alone(period: int) -> None:
    like = torch.zeros(11, 4, 5, dtype=torch.float64)
    whole = Noise(7, period=period)
    first, second = whole.normal(like), whole.normal(like)
    assert len({float(x[0, 0]) for x in (*first, *second)}) == 22
    for a, b in ((0, 4), (4, 5), (5, 11)):
        part = Noise(7, a, period=period)
        assert torch.equal(part.normal(like[a:b]), first[a:b])
        assert torch.equal(part.normal(like[a:b]), second[a:b])
    picked = [9, 2, 5]
    assert torch.equal(Noise(7, picked, period=period).normal(like[picked]), first[picked])
    later = whole.of(picked)
    assert torch.equal(later.normal(like[picked]), whole.normal(like)[picked])
    others = [Noise(8), *(Noise(7, use=use) for use in USES[1:]), *(own for _, own in Noise(7).draws(3))]
    values = {float(noise.normal(like)[0, 0, 0]) for noise in (Noise(7, 1), *others)}
    assert len(values) == 1 + len(others)
    with pytest.raises(ValueError, match="batch of 3"):
        Noise(7, picked).normal(like)
    for wrong in ({"seed": -1}, {"slices": -1}, {"period": 0}, {"use": "magic"}):
        with pytest.raises(ValueError, match="seed and slices of 0 or more"):
            Noise(**{"seed": 0, **wrong})


def test_a_draw_is_the_same_however_many_are_asked_for() -> None:
    like = torch.zeros(2, 3, 3)
    few, many = ([own.normal(like) for _, own in Noise(1).draws(count)] for count in (4, 8))
    assert all(torch.equal(a, b) for a, b in zip(few, many[:4], strict=True))
    assert len({float(x[0, 0, 0]) for x in many}) == 8


def test_other_kinds_of_numbers_go_by_slice_as_well() -> None:
    like = torch.zeros(4, 3)
    whole = Noise(5).uniform(like)
    assert torch.equal(Noise(5, 2).uniform(like[2:]), whole[2:])
    assert bool(((whole > 0) & (whole < 1)).all())
    assert Noise(5, 2).streams(1)[0].poisson(100, 9).tolist() == Noise(5).streams(3)[2].poisson(100, 9).tolist()
    assert Noise(5, 2).common().random() == Noise(5, 7).common().random()
    complex_numbers = Noise(5).normal(torch.zeros(1, 200, 200, dtype=torch.complex64))
    assert float(complex_numbers.abs().square().mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("noise", [{}, {"i0": 1e4, "electronic_std": 5.0}])
def test_a_scan_of_some_slices_is_a_part_of_the_scan_of_all(noise: dict) -> None:
    volume = phantom(5)
    settings = Settings(views=6, **noise)
    whole = simulate(volume, settings, 1).measurement.values
    part = simulate(volume.crop(slices=(2, 4)), settings, 1, 2).measurement.values
    np.testing.assert_allclose(part, whole[2:4], rtol=1e-5)
    assert not np.allclose(whole[2], whole[3])


def test_the_residual_map_of_a_slice_does_not_know_the_others(scan: tuple) -> None:
    likelihood, start = scan
    varied = GaussianLikelihood(
        likelihood.operator, likelihood.data, likelihood.variance * torch.linspace(1, 2, likelihood.data.shape[-1])
    )
    for each in (likelihood, varied):
        whole = residual_map(each, start, Noise(2))
        part = residual_map(each.select(slice(1, 3)), start[1:], Noise(2, 1))
        torch.testing.assert_close(part, whole[1:], rtol=1e-6, atol=1e-9)


def phantom(slices: int) -> Volume:
    """Discs that grow from slice to slice, pixels of 2 mm."""
    y, x = np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 18), indexing="ij")
    images = [np.where(x**2 + y**2 < 0.2 + 0.2 * n, 40.0 + 30 * n, -1000.0) for n in range(slices)]
    return Volume(np.stack(images).astype(np.float32), np.diag([-2.0, -2.0, 5.0, 1.0]), "HU")


def test_a_run_gives_the_same_images_whatever_is_solved_together() -> None:
    """The default method: a slab of 3, of 1; the last two slices alone, a region of them, with another draw."""
    asked = {
        "methods": ["tv", "diffusion"], "views": 8, "steps": 2, "draws": 2, "tv_iterations": 20, "slab": 3, "seed": 4,
        "keep": ["mean", "uncertainty", "residual", "draws"], "trust_unit": True, "device": "cpu",
        "precision": "float32",
    }
    whole = reconstruct(phantom(3), asked)
    levels = whole.report["sigma_start"]
    assert len(levels) == 3
    assert len(set(levels)) > 1
    one_by_one = reconstruct(phantom(3), asked, slab=1)
    last = reconstruct(phantom(3), asked, slices=(1, 3), region=(3, 15, 2, 14), draws=3)
    assert one_by_one.report["sigma_start"] == levels
    assert last.report["sigma_start"] == levels[1:]
    for key in ("mean", "tv", "uncertainty", "residual", "draw_1", "draw_2"):
        expected = whole.volumes[key].array
        # HU but for the residual, which is in units of the noise; draws are kept in half precision.
        bound = 0.01 if key == "residual" else 0.5
        assert np.abs(one_by_one.volumes[key].array - expected).max() < bound, key
        if key in ("tv", "draw_1", "draw_2"):
            assert np.abs(last.volumes[key].array - expected[1:, 2:14, 3:15]).max() < bound, key
